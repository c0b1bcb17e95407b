/*
 * ssh_test.c: channels and requests: the published messages (V6 to V8), how channels end, what breaks the protocol.
 */
#include "sshrig.h"

/* The published messages */

static void
test_published(void)
{
	static const char json[] = "{\"port\":9000,\"local_addr\":\"localhost:3000\"}";
	struct user u;

	begin(SSH_WINDOW);
	ssh_request(ssh, "listen", 1, json, strlen(json));
	talk();
	check(got_is(0, "50000000066c697374656e017b22706f7274223a393030302c226c6f63616c5f61646472223a226c6f63616c686f73743a33303030227d"), "V6: listen", ngot);
	check(say_hex("517b22706f7274223a393030307d") == 0 && last_ok == 1 && strcmp(last_reply, "{\"port\":9000}") == 0, "V6: listening", 0);
	ssh_request(ssh, "listen", 1, json, strlen(json));
	ssh_request(ssh, "ping", 1, NULL, 0);
	talk();
	check(say_hex("52696e76616c6964207061796c6f6164") == 0 && last_ok == 0 && strcmp(last_reply, "invalid payload") == 0, "V6: refused", 0);
	check(say_hex("51") == 0 && last_ok == 1 && strcmp(last_reply, "") == 0 && nreplies == 3, "V6: reused", 0);
	check(say_hex("500000000470696e6701") == 0 && ngot == 1 && got_is(0, "51706f6e67"), "V7: ping", 0);
	check(say_hex("500000000470696e6700") == 0 && ngot == 0, "V7: no reply is wanted", 0);
	check(say_hex("500000000470696e6f01") == 0 && got_is(0, "52"), "V7: unknown request", 0);
	check(say_hex("c0000000026869") == 0 && got_is(0, "c1000000026869"), "ping@openssh.com", 0);

	ask(&u, "{\"port\":9000}");
	check(got_is(0, "5a0000000674756e6e656c0000000000200000000080007b22706f7274223a393030307d"), "V8: open", ngot);
	check(write_str(u.s, "GET", 0) == 0 && ngot == 0, "nothing is written before it is confirmed", 0);
	check(say_hex(CONFIRM) == 0 && u.writables == 1, "V8: confirm", 0);
	check(write_str(u.s, "GET / HTTP/1.0\r\n\r\n", 0) == 18 && ngot == 1 &&
	    got_is(0, "5e0000000000000012474554202f20485454502f312e300d0a0d0a"), "V8: data", ngot);
	check(say_hex("5e0000000000000012474554202f20485454502f312e300d0a0d0a") == 0 && u.bytes == 18, "V8: data, to us", u.bytes);
	ngot = 0;
	stream_fin(u.s);
	talk();
	check(ngot == 1 && got_is(0, "6000000000"), "V8: eof", ngot);
	check(say_hex("6000000000") == 0 && u.fins == 1 && ngot == 1 && got_is(0, "6100000000"), "V8: close, when both have said EOF", ngot);
	check(say_hex("6100000000") == 0 && ngot == 0 && ssh_channels(ssh) == 0, "V8: closed", 0);
	stream_leave(u.s);
	talk();
	check(ngot == 0 && u.resets == 0, "nothing more", ngot);
	ask(&u, "");
	check(say_hex("5c0000000000000002000000136e6f20666f727761726420666f7220706f727400000002656e") == 0 && u.resets == 1 &&
	    ssh_channels(ssh) == 0, "V8: refuse", 0);
	check(write_str(u.s, "x", 0) == -1, "a refused one", 0);
	stream_leave(u.s);
	end();

	begin(WINDOW);
	opened(&u, CONFIRM);
	stream_credit(u.s, WINDOW / 2 - 1, 0);
	ngot = 0;
	talk();
	check(ngot == 0, "little is not granted", ngot);
	stream_credit(u.s, 1, 0);
	talk();
	check(got_is(0, "5d0000000000020000"), "V8: adjust", ngot);
	stream_leave(u.s);
	end();
}

/* What the other side asks for */

#define SESSION "5a0000000773657373696f6e" "00000007" "00000005" "00008000"

static void
test_asked(void)
{
	struct stream *all[CHANNELS];
	int i;

	begin(SSH_WINDOW);
	open_answer = SSH_OPEN_PROHIBITED;
	check(say_hex(SESSION) == 0 && got_is(0, "5c00000007000000010000000772656675736564" "00000002656e") && ssh_channels(ssh) == 0, "refused", ngot);
	open_answer = 0;
	check(say_hex(SESSION) == 0 && ngot == 0 && ssh_channels(ssh) == 1, "not answered yet", ngot);
	check(write_str(asked.s, "x", 0) == 1 && ngot == 0, "what is written waits", ngot);
	ssh_confirm(asked.s);
	talk();
	check(ngot == 2 && got_is(0, "5b00000007000000000020000000008000") && got_is(1, "5e000000070000000178"), "confirmed, then data", ngot);
	check(say_hex("620000000000000004657865630100000002" "6c73") == 0 && got_is(0, "6300000007"), "request granted", ngot);
	check(say_hex("62000000000000000465786563" "00" "00000002" "6c73") == 0 && ngot == 0, "no answer is wanted", ngot);
	check(say_hex("620000000000000003707479" "01") == 0 && got_is(0, "6400000007"), "request refused", ngot);
	check(say_hex("5f000000000000000100000002" "6869") == 0 && asked.bytes == 0, "extended data is dropped", asked.bytes);
	check(write_str(asked.s, "12345678", 0) == 4 && got_is(0, "5e000000070000000431323334"), "the window is kept to", ngot);
	asked.writables = 0;
	check(say_hex("5d0000000000000002") == 0 && asked.writables == 1, "it opens", 0);
	check(write_str(asked.s, "56", 1) == 2 && ngot == 2 && got_is(1, "6000000007"), "EOF behind the last", ngot);
	check(write_str(asked.s, "x", 0) == -1 && ngot == 0, "nothing behind EOF", ngot);
	ngot = 0;
	stream_leave(asked.s);
	talk();
	check(ngot == 1 && got_is(0, "6100000007"), "left: CLOSE", ngot);
	check(say_hex("5e000000000000000178") == 0 && say_hex("5d0000000000000002") == 0 && say_hex("6000000000") == 0 && ngot == 0,
	    "what crossed our CLOSE", ngot);
	check(say_hex("620000000000000003707479" "01") == 0 && ngot == 0, "a request crossed it: no answer", ngot);
	check(say_hex("6100000000") == 0 && ngot == 0 && ssh_channels(ssh) == 0, "closed", ngot);
	for (i = 0; i < CHANNELS; i++) {
		check(say_hex(SESSION) == 0 && ngot == 0, "as many as may be", (size_t)i);
		all[i] = asked.s;
	}
	check(say_hex(SESSION) == 0 && ngot == 1 && got[0].text[0] == SSH_CHANNEL_OPEN_FAILURE && got[0].text[8] == SSH_OPEN_SHORTAGE, "one more", ngot);
	for (i = 0; i < CHANNELS; i++)
		stream_leave(all[i]);
	ngot = 0;
	talk();
	check(ngot == CHANNELS && got[0].text[0] == SSH_CHANNEL_OPEN_FAILURE && ssh_channels(ssh) == 0, "left: refused", ngot);
	end();
}

/* How a channel ends: what each side does, and what the peer gets. */

static void
test_endings(void)
{
	struct user u;

	begin(SSH_WINDOW);
	opened(&u, CONFIRM);
	check(say_hex("6100000000") == 0 && u.fins == 1 && u.resets == 0 && ngot == 1 && got_is(0, "6100000000"), "CLOSE is answered", ngot);
	check(write_str(u.s, "x", 0) == -1 && errno == ESHUTDOWN && stream_dead(u.s) && !stream_over(u.s) && ngot == 0, "and that is all", ngot);
	stream_fin(u.s);
	stream_leave(u.s);
	talk();
	check(ngot == 0 && ssh_channels(ssh) == 0, "CLOSE once", ngot);

	opened(&u, "5b00000000000000000000000400008000");
	check(write_str(u.s, "123456", 0) == 4, "part of it", 0);
	u.writables = 0;
	check(say_hex("6100000000") == 0 && u.writables == 1 && write_str(u.s, "56", 0) == -1, "who waits for the window learns of CLOSE", 0);
	stream_leave(u.s);

	opened(&u, CONFIRM);
	stream_reset(u.s);
	ngot = 0;
	talk();
	check(ngot == 1 && got_is(0, "6100000000"), "reset: CLOSE without EOF", ngot);
	check(say_hex("5e000000000000000178") == 0 && u.bytes == 0 && say_hex("6100000000") == 0 && u.fins == 0 && ngot == 0, "nothing is told after it", ngot);
	stream_leave(u.s);

	ask(&u, "");
	stream_reset(u.s);
	stream_leave(u.s);
	ngot = 0;
	talk();
	check(ngot == 0, "left before it was answered", ngot);
	check(say_hex(CONFIRM) == 0 && ngot == 1 && got_is(0, "6100000000") && say_hex("6100000000") == 0 && ssh_channels(ssh) == 0, "closed then", ngot);
	ask(&u, "");
	stream_leave(u.s);
	check(say_hex("5c00000000000000020000000000000000") == 0 && ngot == 0 && ssh_channels(ssh) == 0, "or refused", ngot);
	end();
}

/* What comes and goes behind EOF, and behind whoever counts. */
static void
test_behind_the_end(void)
{
	uint64_t tally[2] = { 0, 0 };
	struct user u;

	begin(SSH_WINDOW);
	opened(&u, CONFIRM);
	check(ssh_ask(u.s, "tunnel", NULL, 0) == -1, "a channel is asked for once", 0);
	check(say_hex("6000000000") == 0 && u.fins == 1 && say_hex("5e000000000000000178") == 0 && u.bytes == 0, "nothing comes behind EOF", u.bytes);
	stream_credit(u.s, SSH_WINDOW, 0);
	ngot = 0;
	talk();
	check(ngot == 0, "nor is more granted", ngot);
	stream_fin(u.s);
	talk();
	check(ngot == 2 && got_is(0, "6000000000") && got_is(1, "6100000000"), "EOF last: CLOSE", ngot);
	check(say_hex("6100000000") == 0 && ssh_channels(ssh) == 0, "closed", 0);
	stream_leave(u.s);

	opened(&u, CONFIRM);
	stream_credit(u.s, SSH_WINDOW, 0);
	stream_fin(u.s);
	check(say_hex("6100000000") == 0 && ngot == 1 && got_is(0, "6100000000"), "behind CLOSE there is but CLOSE", ngot);
	stream_leave(u.s);

	opened(&u, "5b00000000000000000020000000000004");
	check(write_str(u.s, "123456", 0) == 6 && ngot == 2 && got_is(0, "5e000000000000000431323334") && got_is(1, "5e00000000000000023536"),
	    "no more in a packet than it takes", ngot);
	stream_leave(u.s);
	talk();
	check(say_hex("6100000000") == 0, "closed", 0);

	opened(&u, CONFIRM);
	ssh_tally(u.s, tally);
	check(say_hex("5e00000000000000027879") == 0 && write_str(u.s, "z", 0) == 1 && tally[0] == 2 && tally[1] == 1, "counted", tally[0]);
	stream_leave(u.s);
	check(say_hex("5e000000000000000178") == 0 && tally[0] == 2, "what comes later is not, for who counts may be gone", tally[0]);
	check(say_hex("6100000000") == 0 && ssh_channels(ssh) == 0, "closed", 0);
	join(&u, ssh_open(ssh));
	check(say_hex(CONFIRM) == -SSH_PROTOCOL_ERROR && ssh_channels(ssh) == 1, "an answer to what nobody has asked", 0);
	stream_leave(u.s);
	check(ssh_channels(ssh) == 0, "left before it was asked for", 0);
	end();

	begin(SSH_WINDOW);
	check(say_hex(SESSION) == 0 && ngot == 0, "asked", 0);
	stream_reset(asked.s);
	talk();
	check(ngot == 1 && got[0].text[0] == SSH_CHANNEL_OPEN_FAILURE && ssh_channels(ssh) == 0, "reset before it was answered: refused", ngot);
	stream_leave(asked.s);
	check(say_hex(SESSION) == 0, "asked", 0);
	ssh_confirm(asked.s);
	ask(&u, "");
	check(say_hex("5b00000001000000000020000000008000") == 0, "another", 0);
	stream_reset(u.s);	/* its CLOSE does not get out */
	u.reset_again = 1;
	ssh_end(ssh);
	check(ssh_channels(ssh) == 0, "no channel is left", (size_t)ssh_channels(ssh));
	stream_leave(u.s);
	check(asked.resets == 1 && stream_over(asked.s) && write_str(asked.s, "x", 0) == -1, "the connection ends", 0);
	stream_leave(asked.s);
	check(ssh_open(ssh) == NULL && errno == EPIPE && ssh_request(ssh, "ping", 1, NULL, 0) == -1, "nothing begins any more", 0);
	end();
}

/* New keys hold everything else back. */
static void
test_rekey(void)
{
	static uint8_t out[OUT];
	struct iovec held = { (void *)(uintptr_t)"held", 4 };
	struct user u;
	size_t n, len;
	int more;

	begin(SSH_WINDOW);
	opened(&u, CONFIRM);
	ssh_rekey(ssh);
	n = ssh_output(ssh, out, OUT, &more);	/* our KEXINIT */
	check(n > 0 && !more, "KEXINIT", n);
	ngot = 0;
	check(stream_write(u.s, &held, 1, 1, CONN_FOREVER) == 4, "written meanwhile", 0);
	check(ssh_reply(ssh, 0, NULL, 0) == 0 && !ssh_pending(ssh), "it waits", 0);
	to_peer(out, n);
	check(ssh_output(ssh, out, OUT, &more) == 0, "whoever asks for it", 0);
	check(ngot == 0, "nothing but KEXINIT", ngot);
	n = sshtrans_next(&peer, out + SSH_PAYLOAD_AT, SSH_QUEUE_MAX);
	check(ssh_input(ssh, out, sshtrans_seal(&peer, out, n), &why) == 0, "the other side's KEXINIT", n);
	check(say_hex("5e000000000000000178") == -SSH_PROTOCOL_ERROR, "nothing else behind it", 0);
	stream_leave(u.s);
	end();

	begin(SSH_WINDOW);
	opened(&u, CONFIRM);
	ssh_rekey(ssh);
	check(say_hex("5e000000000000000178") == 0 && u.bytes == 1, "but what it sent before", u.bytes);
	check(write_str(u.s, "held", 1) == 4 && got_is(0, "5e000000000000000468656c64") && got_is(1, "6000000000"), "it goes on", ngot);
	stream_leave(u.s);
	end();

	begin(WINDOW);
	opened(&u, CONFIRM);
	ssh_rekey(ssh);
	to_peer(out, ssh_output(ssh, out, OUT, &more));
	for (n = 0; (len = sshtrans_next(&peer, out + n + SSH_PAYLOAD_AT, SSH_QUEUE_MAX)) > 0; )
		n += sshtrans_seal(&peer, out + n, len);
	check(ssh_input(ssh, out, n, &why) == 0, "the other side's half: NEWKEYS of ours waits, and the answer in front of it", n);
	stream_credit(u.s, WINDOW / 2, 0);
	n = ssh_output(ssh, out, 100, &more);	/* as much as others may have left */
	check(n == 0 && more, "what is small does not overtake them", n);
	ngot = 0;
	talk();
	check(got_is(0, "5d0000000000020000"), "it comes behind them", ngot);
	stream_leave(u.s);
	end();

	begin(SSH_WINDOW);
	opened(&u, CONFIRM);
	for (len = 0; len < 560 && broken == 0; len++) {	/* what it does not read leaves no room for a KEXINIT */
		n = unhex(out + SSH_PAYLOAD_AT, 1, "e0");
		broken = ssh_input(ssh, out, sshtrans_seal(&peer, out, n), &why);
	}
	ssh_rekey(ssh);
	talk();
	check(broken == 0 && write_str(u.s, "on", 0) == 2 && got_is(0, "5e00000000000000026f6e"), "keys that cannot be renewed now hold nothing back", ngot);
	stream_leave(u.s);
	end();
}

/* Windows beyond the first are lent, and given back with the channel. */
static void
test_budget(void)
{
	struct budget b = { .mtx = PTHREAD_MUTEX_INITIALIZER, .left = 3 * WINDOW, .size = 3 * WINDOW };
	struct user u[2];

	begin(WINDOW);
	ssh->conf.budget = &b;
	ssh->conf.window_more = 2 * WINDOW;
	opened(&u[0], CONFIRM);
	check(got[0].len > 0 && b.left == WINDOW, "lent", b.left);
	join(&u[1], ssh_open(ssh));
	check(b.left == WINDOW && ssh_ask(u[1].s, "tunnel", NULL, 0) == 0, "not enough for another: it has the first window alone", b.left);
	ngot = 0;
	talk();
	check(got_is(0, "5a0000000674756e6e656c00000001" "00040000" "00008000"), "which the other side is told", ngot);
	stream_leave(u[0].s);
	talk();
	check(say_hex("6100000000") == 0 && b.left == 3 * WINDOW, "given back", b.left);
	stream_leave(u[1].s);
	end();
}

/* What breaks the protocol; %: a channel that is open, with a window of 16 bytes for the peer. */
static const struct { const char *name, *text; } bad[] = {
	{ "data for no channel", "5e000000010000000178" },
	{ "data for a channel far away", "5effffffff0000000178" },
	{ "EOF for no channel", "6000000005" },
	{ "CLOSE for no channel", "6100000005" },
	{ "request for no channel", "62000000050000000370747901" },
	{ "window for no channel", "5d0000000500000001" },
	{ "answer for no channel", "6300000005" },
	{ "confirmed again", CONFIRM },
	{ "refused when confirmed", "5c0000000000000002000000136e6f20666f727761726420666f7220706f727400000002656e" },
	{ "reply to no request", "51" },
	{ "refusal of no request", "52" },
	{ "window overrun", "5e000000000000001100112233445566778899aabbccddeeff00" },
	{ "window overrun by extended data", "5f00000000000000010000001100112233445566778899aabbccddeeff00" },
	{ "window beyond 2^32", "5d00000000ffffffff" },
	{ "half a window", "5d00000000" },
	{ "data shorter than it says", "5e000000000000000278" },
	{ "data longer than it says", "5e00000000000000017879" },
	{ "EOF with more", "600000000000" },
	{ "CLOSE with more", "610000000000" },
	{ "half a channel's number", "610000" },
	{ "request without a name", "6200000000" },
	{ "global request without a name", "50" },
	{ "half an open", "5a0000000773657373696f6e0000000700000005" },
	{ "packets of no bytes", "5a0000000773657373696f6e000000070000000500000000" },
	{ "half a confirmation", "5b0000000000000000" },
	{ "half a ping", "c00000000268" },
	{ "authentication again, from the server's side", "34" },
};

static void
test_bad(void)
{
	struct user u;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin(16);
		opened(&u, CONFIRM);
		check(say_hex(bad[i].text) == -SSH_PROTOCOL_ERROR, bad[i].name, i);
		ssh_disconnect(ssh, -broken, why);
		check(ssh_pending(ssh) && !ssh_said_bye(ssh), "the peer is told", i);
		stream_leave(u.s);
		end();
	}
	for (i = 0; i < 3; i++) {	/* a channel of ours or of theirs that has no answer yet; one that is closed, but for our own CLOSE */
		begin(16);
		if (i == 0)
			ask(&u, "");
		else if (i == 2)
			opened(&u, CONFIRM);
		else if (say_hex(SESSION) == 0)
			u = asked;
		if (i == 2)
			say_first("6100000000");
		check(say_hex("5e000000000000000178") == -SSH_PROTOCOL_ERROR && u.bytes == 0, "data too early, or too late", i);
		stream_leave(u.s);
		end();
	}
	begin(16);
	ask(&u, "");
	check(say_hex("5b00000000000000000020000000000000") == -SSH_PROTOCOL_ERROR, "confirmed with packets of no bytes", 0);
	stream_leave(u.s);
	end();
	begin(16);
	ssh_request(ssh, "x", 0, NULL, 0);
	talk();
	check(say_hex("51") == -SSH_PROTOCOL_ERROR, "reply to a request that wants none", 0);
	end();
	begin(16);
	ssh_for_go(ssh);
	check(say_hex("e0") == -SSH_PROTOCOL_ERROR && ngot == 0, "unknown message of a Go program, which takes no UNIMPLEMENTED", 0);
	end();
	begin(16);
	opened(&u, CONFIRM);
	check(say_hex("5f00000000000000010000000801020304") == -SSH_PROTOCOL_ERROR, "half of extended data", 0);
	stream_leave(u.s);
	end();
	begin(16);
	opened(&u, CONFIRM);
	check(say_hex("5f0000000000000001000000080102030405060708") == 0 && got_is(0, "5d0000000000000008"), "extended data gives its window back", ngot);
	check(say_hex("e0") == 0 && ngot == 0, "unknown message", 0);
	check(say_hex("6100000000") == 0 && say_hex("6100000000") == -SSH_PROTOCOL_ERROR, "CLOSE twice", 0);
	stream_leave(u.s);
	end();
	begin(16);		/* one who asks, and never reads */
	for (i = 0; i < 1000000 && broken == 0; i++) {
		static uint8_t out[SSH_PACKET_ROOM];
		size_t n = unhex(out + SSH_PAYLOAD_AT, 64, SESSION);

		open_answer = SSH_OPEN_PROHIBITED;
		broken = ssh_input(ssh, out, sshtrans_seal(&peer, out, n), &why);
	}
	check(broken == -SSH_PROTOCOL_ERROR && i < 20000, "answers nobody reads", i);
	end();
}

int
main(void)
{
	rig_init();
	test_published();
	test_asked();
	test_endings();
	test_behind_the_end();
	test_rekey();
	test_budget();
	test_bad();
	return test_end();
}
