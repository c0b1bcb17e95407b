/* sshtrans_test.c: the transport: the published handshake, both roles against each other at every cut, and what attackers send. */
#include "sshpair.h"

/* The published handshake: V3 to V5 */

#define GO_KEX "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384," \
    "ecdh-sha2-nistp521,diffie-hellman-group14-sha256,diffie-hellman-group14-sha1,ext-info-c,kex-strict-c-v00@openssh.com"
#define GO_KEYS "rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,ssh-rsa-cert-v01@openssh.com," \
    "ssh-dss-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com," \
    "ecdsa-sha2-nistp521-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384," \
    "ecdsa-sha2-nistp521,rsa-sha2-256,rsa-sha2-512,ssh-rsa,ssh-dss,ssh-ed25519"
#define GO_CIPHERS "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"
#define GO_MACS "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1,hmac-sha1-96"

/* A KEXINIT: its kex, keys, ciphers as given. */
static size_t
kexinit(uint8_t *out, const char *kex, const char *keys, const char *ciphers, const char *compression, int follows)
{
	uint8_t cookie[16];
	struct buf b;

	memset(cookie, 0xc1, sizeof(cookie));
	buf_init(&b, out, SSH_PAYLOAD_MAX);
	buf_char(&b, SSH_KEXINIT);
	buf_put(&b, cookie, sizeof(cookie));
	ssh_put_cstr(&b, kex);
	ssh_put_cstr(&b, keys);
	ssh_put_cstr(&b, ciphers);
	ssh_put_cstr(&b, ciphers);
	ssh_put_cstr(&b, GO_MACS);
	ssh_put_cstr(&b, GO_MACS);
	ssh_put_cstr(&b, compression);
	ssh_put_cstr(&b, compression);
	ssh_put_cstr(&b, "");
	ssh_put_cstr(&b, "");
	buf_char(&b, (char)follows);
	ssh_put_u32(&b, 0);
	return b.len;
}

static size_t
go_kexinit(uint8_t *out)
{
	return kexinit(out, GO_KEX, GO_KEYS, GO_CIPHERS, "none", 0);
}

/* The next message of the server's, in the clear, at out[*at]: its length; *at moves behind it. */
static size_t
clear_message(uint8_t *out, size_t n, size_t *at, uint8_t **msg)
{
	const char *why;
	size_t len = 0;
	long whole = ssh_open_packet(NULL, 8, 0, out + *at, n - *at, msg, &len, &why);

	check(whole > 0, "message in the clear", *at);
	*at += whole > 0 ? (size_t)whole : 0;
	return len;
}

static void
test_published(void)
{
	static uint8_t out[PIPE], go[SSH_PAYLOAD_MAX + SSH_OVERHEAD];
	uint8_t hash[SHA256_LEN], *msg, sealed[256];
	struct ssh_in in;
	struct str s;
	size_t n, at, len;

	next_random = 0x51;
	end_init(&server, 1, "aes128-gcm@openssh.com");
	feed(&server, (const uint8_t *)"SSH-2.0-Go\r\n", 12, 5);
	n = output(&server, out);
	check(n > 17 && memcmp(out, "SSH-2.0-Example\r\n", 17) == 0, "V3: version", 0);
	at = 17;
	len = clear_message(out, n, &at, &msg);
	check(is_hex(msg, len, "1451515151515151515151515151515151"
	    "0000004b637572766532353531392d7368613235362c637572766532353531392d736861323536406c69627373682e6f72672c"
	    "6b65782d7374726963742d732d763030406f70656e7373682e636f6d0000000b7373682d65643235353139000000166165733132382d67636d406f70656e7373682e636f6d"
	    "000000166165733132382d67636d406f70656e7373682e636f6d0000000d686d61632d736861322d3235360000000d686d61632d736861322d323536"
	    "000000046e6f6e65000000046e6f6e6500000000000000000000000000"), "V3: KEXINIT", len);
	len = go_kexinit(go + SSH_PAYLOAD_AT);
	sha256(go + SSH_PAYLOAD_AT, len, hash);
	check(len == 1124 && is_hex(hash, sizeof(hash), "a94db4a2a52b221a48d1bc9c4fb2287c1280bb26ebc4a4056fc32aaae327939c"), "V3: Go's KEXINIT", len);
	feed(&server, go, ssh_seal(NULL, 8, 0, go, len), 100);
	len = unhex(go + SSH_PAYLOAD_AT, 64, "1e000000207b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13");
	next_random = 0x22;
	feed(&server, go, ssh_seal(NULL, 8, 0, go, len), 3);
	n = output(&server, out);
	at = 0;
	len = clear_message(out, n, &at, &msg);
	ssh_in_init(&in, msg + 1, len - 1);
	s = ssh_get_str(&in);
	check(msg[0] == SSH_ECDH_REPLY && s.len == ed.nblob && memcmp(s.p, ed.blob, s.len) == 0, "V3: host key", 0);
	s = ssh_get_str(&in);
	check(is_hex(s.p, s.len, "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"), "V3: Q_S", 0);
	s = ssh_get_str(&in);
	check(s.len == 83 && is_hex(s.p + 19, 64, "b5e3e1e62e3b243cf7a5c7d11a7018f9d06601e58b0e149d0807931f05b15c5f03e92dd10ff6c7b2d3cdc0de4a3ab57072ce87b1d753ae8f208548cbe3beac05"), "V3: signature", 0);
	check(is_hex(server.t.session, SHA256_LEN, "dd0f2df7c1add4b86ca54192583d42212f3327fd1d9cb216e2bc2e03b2deda2a"), "V3: H", 0);
	len = clear_message(out, n, &at, &msg);
	check(len == 1 && msg[0] == SSH_NEWKEYS, "V3: NEWKEYS", 0);
	check(n - at == 4 + 64 + SSH_TAG_LEN, "EXT_INFO is next", n - at);
	go[SSH_PAYLOAD_AT] = SSH_NEWKEYS;
	feed(&server, go, ssh_seal(NULL, 8, 0, go, 1), 1);
	/* V4 */
	len = unhex(sealed, sizeof(sealed), "00000020507c224a16064306e0a5f509d2f7071be78afb09b63a4b5255088969087d4c4f6c4fe87c7926960e6e9a42155dcd75db");
	check(feed(&server, sealed, len, 7) == 0 && is_hex(server.last, server.nlast, "050000000c7373682d7573657261757468"), "V4: service", 0);
	len = unhex(sealed, sizeof(sealed), "0000003060d4bf9972c8f46a605edaa8a9ce63d0581d6274cbe4fd78e5e44e613c73fa25763b11b024cc5a2b3ab3581a5708ebfece00a495a45ea452d013a19d351f8e39");
	check(feed(&server, sealed, len, 7) == 0 && is_hex(server.last, server.nlast,
	    "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000046e6f6e65"), "V4: none", 0);
	/* V5 */
	output(&server, out);
	check(server.t.phase == SSH_PHASE_AUTH && server.t.failures == 0, "the first none is free", 0);
	sshtrans_free(&server.t);
}

#define V5_USER "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000097075626c69636b6579"
#define V5_KEY "0000000b7373682d65643235353139" "000000330000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"

static void
test_signed_request(void)	/* V5 */
{
	uint8_t text[512], sig[SSH_SIGNATURE_MAX];
	struct buf b, s;

	buf_init(&b, text, sizeof(text));
	b.len = unhex(text, sizeof(text), "00000020dd0f2df7c1add4b86ca54192583d42212f3327fd1d9cb216e2bc2e03b2deda2a" V5_USER "01" V5_KEY);
	buf_init(&s, sig, sizeof(sig));
	sshkey_sign(&user_key, &s, text, b.len);
	check(is_hex(sig, s.len, "0000000b7373682d6564323535313900000040"
	    "83fc30b1027f6f5073a84c68c44d1f1fcd63823bf76d45e641a4570464b146e80291bcc6f51072f2907abc162d2e1b27e90e3023e5974a020acfd2419005430e"),
	    "V5: signature", 0);
}

/* Both roles */

static const char *const ciphers[] = {
	NULL, "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"
};

static void
test_together(void)
{
	static const size_t steps[] = { 1, 2, 3, 7, 64, 1000, SIZE_MAX };
	static const uint8_t want_client[] = { SSH_KEXINIT, SSH_ECDH_REPLY, SSH_NEWKEYS, SSH_EXT_INFO, SSH_SERVICE_ACCEPT,
	    SSH_USERAUTH_FAILURE, SSH_USERAUTH_PK_OK, SSH_USERAUTH_SUCCESS };
	static const uint8_t want_server[] = { SSH_KEXINIT, SSH_ECDH_INIT, SSH_NEWKEYS, SSH_SERVICE_REQUEST, SSH_USERAUTH_REQUEST,
	    SSH_USERAUTH_REQUEST, SSH_USERAUTH_REQUEST };
	static const uint8_t data[2000] = { SSH_CHANNEL_DATA };
	size_t i, j, k;
	int round;

	for (i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++)
		for (j = 0; j < sizeof(steps) / sizeof(steps[0]); j++) {
			start(ciphers[i]);
			talk(&client, &server, steps[j]);
			check(client.ready && server.ready, "both ready", 10 * i + j);
			check(client.ntypes == sizeof(want_client) && memcmp(client.types, want_client, sizeof(want_client)) == 0, "what the client got", client.ntypes);
			check(server.ntypes == sizeof(want_server) && memcmp(server.types, want_server, sizeof(want_server)) == 0, "what the server got", server.ntypes);
			check(server.t.strict && client.t.strict && server.t.in_seq == 4 && client.t.in_seq == 5, "strict: numbers begin again", server.t.in_seq);
			check(strcmp(server.t.user, "vtunnel") == 0 && server.t.nkey == user_key.nblob, "who was let in", 0);
			check(memcmp(server.t.session, client.t.session, SHA256_LEN) == 0, "session", 0);
			for (round = 0; round < 3; round++) {	/* new keys: asked for by one, the other, both */
				for (k = 0; k < 3; k++)
					check(send_one(&client, &server, data, sizeof(data)) == 0 && send_one(&server, &client, data, 1 + k) == 0, "messages", k);
				if (round != 0)
					sshtrans_rekey(&client.t);
				if (round != 1)
					sshtrans_rekey(&server.t);
				check(!sshtrans_may_send(round == 0 ? &server.t : &client.t), "nothing but the exchange goes out", (size_t)round);
				talk(&client, &server, steps[j]);
				check(client.rc == 0 && server.rc == 0 && client.t.in_seq == 0 && server.t.in_seq == 0 &&
				    sshtrans_may_send(&client.t) && sshtrans_may_send(&server.t), "new keys", (size_t)round);
				check(memcmp(server.t.session, server.t.h, SHA256_LEN) != 0, "the session keeps its name", 0);
			}
			check(server.given == 9 && client.given == 9, "what was sent came", (size_t)server.given);
			stop();
		}
}

/* What a host key, a user, or the limits of keys lead to. */
static void
test_answers(void)
{
	static const uint8_t data[1000] = { SSH_CHANNEL_DATA };
	static uint8_t out[PIPE];
	size_t n;
	int i;

	start(NULL);
	client.grant_host = 0;
	talk(&client, &server, SIZE_MAX);
	check(client.rc == -SSH_HOST_KEY_NOT_VERIFIABLE && !server.t.first_done, "host key refused: before NEWKEYS", 0);
	stop();

	start(NULL);
	server.grant_key = 0;
	talk(&client, &server, SIZE_MAX);
	check(client.rc == -SSH_NO_MORE_AUTH_METHODS && !server.ready, "key refused", 0);
	stop();

	start(NULL);
	server.grant_none = 1;
	talk(&client, &server, SIZE_MAX);
	check(client.ready && server.ready && server.t.nkey == 0 && server.ntypes == 5, "nobody is asked for a key", server.ntypes);
	stop();

	start(NULL);
	client.t.conf.keys[0] = NULL;
	talk(&client, &server, SIZE_MAX);
	check(client.rc == -SSH_NO_MORE_AUTH_METHODS, "no key to show", 0);
	stop();

	start(NULL);
	talk(&client, &server, SIZE_MAX);
	sshtrans_rekey(&client.t);
	server.t.conf.keys[0] = &user_key;	/* another of the same type */
	talk(&client, &server, SIZE_MAX);
	check(client.rc == -SSH_HOST_KEY_NOT_VERIFIABLE, "host key changes", 0);
	stop();

	start(NULL);
	server.t.conf.keys[0] = &p256;	/* when Ed25519 has been agreed upon */
	talk(&client, &server, SIZE_MAX);
	check(client.rc == -SSH_KEX_FAILED && strstr(client.why, "type") != NULL, "host key of another type", 0);
	stop();

	start(NULL);
	while (server.t.phase != SSH_PHASE_AUTH && server.rc == 0) {
		feed(&server, out, output(&client, out), SIZE_MAX);
		feed(&client, out, output(&server, out), SIZE_MAX);
	}
	memset(server.t.h, 0, sizeof(server.t.h));	/* it may be another by now */
	talk(&client, &server, SIZE_MAX);
	check(client.ready && server.ready, "what is signed has the session's name", 0);
	server.ready = 0;
	server.grant_none = 1;
	n = unhex(out, sizeof(out), "32000000046576696c" "0000000e7373682d636f6e6e656374696f6e000000046e6f6e65");
	check(send_one(&client, &server, out, n) == 0 && !server.ready && !sshtrans_waiting(&server.t) && strcmp(server.t.user, "vtunnel") == 0,
	    "who is in stays who it is", 0);
	stop();

	start(NULL);
	client.t.conf.rekey_bytes = 10000;
	server.t.conf.rekey_packets = 50;
	talk(&client, &server, SIZE_MAX);
	for (i = 0; i < 100; i++) {
		send_one(&client, &server, data, sizeof(data));
		send_one(&server, &client, data, 1);
		talk(&client, &server, SIZE_MAX);
	}
	check(client.rc == 0 && server.rc == 0 && client.t.out_bytes < 11500 && client.t.in_packets <= 60 &&
	    server.given == 100 && client.given == 100, "keys wear out", (size_t)client.t.in_packets);
	stop();

	start(NULL);
	talk(&client, &server, SIZE_MAX);
	sshtrans_disconnect(&client.t, SSH_BY_APPLICATION, "bye");
	talk(&client, &server, SIZE_MAX);
	check(server.bye && server.t.ask.blob.len == 3 && !sshtrans_may_send(&client.t), "bye", 0);
	sshtrans_disconnect(&server.t, SSH_BY_APPLICATION, "bye");
	check(!sshtrans_waiting(&server.t), "no answer to it", 0);
	stop();
}

/* Each limit of the server's by itself, the client having none; to: the bytes go to the server, else they come from it. */
static const struct { const char *name; uint64_t bytes; uint32_t packets; int to; } worn[] = {
	{ "bytes that come", 10000, 0, 1 }, { "packets that come", 0, 50, 1 },
	{ "bytes that go", 10000, 0, 0 }, { "packets that go", 0, 50, 0 },
};

static void
test_worn(void)
{
	static const uint8_t data[1000] = { SSH_CHANNEL_DATA };
	struct sshtrans *t = &server.t;
	size_t i;
	int k;

	start(NULL);
	check(t->conf.rekey_bytes == UINT64_C(1) << 30 && t->conf.rekey_packets == UINT32_C(1) << 31, "as RFC 4253 and 4344 have it", 0);
	stop();
	for (i = 0; i < sizeof(worn) / sizeof(worn[0]); i++) {
		start(NULL);
		t->conf.rekey_bytes = worn[i].bytes != 0 ? worn[i].bytes : t->conf.rekey_bytes;
		t->conf.rekey_packets = worn[i].packets != 0 ? worn[i].packets : t->conf.rekey_packets;
		talk(&client, &server, SIZE_MAX);
		for (k = 0; k < 100; k++) {
			send_one(worn[i].to ? &client : &server, worn[i].to ? &server : &client, data, sizeof(data));
			talk(&client, &server, SIZE_MAX);
		}
		check(client.rc == 0 && server.rc == 0 && (worn[i].to ? server.given : client.given) == 100, worn[i].name, i);
		check(worn[i].bytes != 0 ? t->in_bytes + t->out_bytes < 15000 : t->in_packets + t->out_packets < 70, worn[i].name, 100 + i);
		stop();
	}
}

/* KEXINIT again, while NEWKEYS of the exchange before waits to go out. */
static void
test_again_too_soon(void)
{
	static uint8_t out[PIPE];
	size_t n;
	int i;

	start(NULL);
	talk(&client, &server, SIZE_MAX);
	sshtrans_rekey(&client.t);
	for (i = 0; i < 2; i++) {	/* KEXINIT and ECDH_INIT, KEXINIT alone */
		feed(&server, out, output(&client, out), SIZE_MAX);
		if (i == 0)
			feed(&client, out, output(&server, out), SIZE_MAX);
	}
	n = sshtrans_next(&server.t, out + SSH_PAYLOAD_AT, SSH_QUEUE_MAX);
	feed(&client, out, sshtrans_seal(&server.t, out, n), SIZE_MAX);
	feed(&server, out, output(&client, out), SIZE_MAX);
	check(client.rc == 0 && server.rc == 0 && server.last[0] == SSH_NEWKEYS && sshtrans_waiting(&server.t), "one has its new keys", 0);
	n = server.t.nqueue;
	check(sshtrans_rekey(&server.t) == 0 && server.t.nqueue == n, "the other begins nothing until it has, too", n);
	n = go_kexinit(out);
	check(send_one(&client, &server, out, n) == -SSH_PROTOCOL_ERROR, "and begins again", 0);
	stop();
}

/* What attackers send in the clear. Each row is a list of messages; the last must get the verdict. */

#define STRICT ",kex-strict-c-v00@openssh.com"
#define CURVE "curve25519-sha256"

enum what { END, INIT, STRICT_INIT, INIT_LIKE_OURS, WRONG_GUESS, RIGHT_GUESS, OTHER_KEX, OTHER_KEY, OTHER_CIPHER, COMPRESSED, CUT_INIT, LONG_INIT,
    WRONG_KEY_GUESS, ECDH, ECDH_ZERO, ECDH_SHORT, ECDH_CUT, BOGUS_30, NEWKEYS, NEWKEYS_LONG, IGNORE, DEBUG, UNIMPLEMENTED, SERVICE, GLOBAL, AUTH_OK, UNKNOWN,
    REPLY };

static const struct { const char *name; enum what send[6]; int want; } clear[] = {
	{ "in order", { INIT, ECDH }, 0 },
	{ "in order, strict", { STRICT_INIT, ECDH }, 0 },
	{ "IGNORE where that may be", { INIT, IGNORE, ECDH, DEBUG, UNIMPLEMENTED }, 0 },
	{ "IGNORE before KEXINIT, not strict", { IGNORE, INIT, ECDH }, 0 },
	{ "IGNORE before KEXINIT, strict", { IGNORE, STRICT_INIT }, -SSH_PROTOCOL_ERROR },
	{ "IGNORE within a strict exchange", { STRICT_INIT, IGNORE }, -SSH_PROTOCOL_ERROR },
	{ "DEBUG within a strict exchange", { STRICT_INIT, ECDH, DEBUG }, -SSH_PROTOCOL_ERROR },
	{ "UNIMPLEMENTED within a strict exchange", { STRICT_INIT, UNIMPLEMENTED }, -SSH_PROTOCOL_ERROR },
	{ "unknown message", { INIT, UNKNOWN }, -SSH_PROTOCOL_ERROR },
	{ "two KEXINIT", { INIT, INIT }, -SSH_PROTOCOL_ERROR },
	{ "KEXINIT after the exchange, before NEWKEYS", { INIT, ECDH, INIT }, -SSH_PROTOCOL_ERROR },
	{ "ECDH_INIT first", { ECDH }, -SSH_PROTOCOL_ERROR },
	{ "ECDH_INIT twice", { INIT, ECDH, ECDH }, -SSH_PROTOCOL_ERROR },
	{ "ECDH_REPLY to a server", { INIT, REPLY }, -SSH_PROTOCOL_ERROR },
	{ "NEWKEYS first", { NEWKEYS }, -SSH_PROTOCOL_ERROR },
	{ "NEWKEYS without an exchange", { INIT, NEWKEYS }, -SSH_PROTOCOL_ERROR },
	{ "NEWKEYS with more", { INIT, ECDH, NEWKEYS_LONG }, -SSH_PROTOCOL_ERROR },
	{ "service before keys", { INIT, SERVICE }, -SSH_PROTOCOL_ERROR },
	{ "request before keys", { GLOBAL }, -SSH_PROTOCOL_ERROR },
	{ "authenticated, it says", { INIT, ECDH, AUTH_OK }, -SSH_PROTOCOL_ERROR },
	{ "zero for a public value", { INIT, ECDH_ZERO }, -SSH_KEX_FAILED },
	{ "short public value", { INIT, ECDH_SHORT }, -SSH_KEX_FAILED },
	{ "half an ECDH_INIT", { INIT, ECDH_CUT }, -SSH_PROTOCOL_ERROR },
	{ "wrong guess is passed over", { WRONG_GUESS, BOGUS_30, ECDH }, 0 },
	{ "but one only", { WRONG_GUESS, BOGUS_30, BOGUS_30 }, -SSH_PROTOCOL_ERROR },
	{ "wrong guess of the host key", { WRONG_KEY_GUESS, BOGUS_30, ECDH }, 0 },
	{ "right guess counts", { RIGHT_GUESS, ECDH }, 0 },
	{ "no method in common", { OTHER_KEX }, -SSH_KEX_FAILED },
	{ "our own marker is no method", { INIT_LIKE_OURS }, -SSH_KEX_FAILED },
	{ "no host key in common", { OTHER_KEY }, -SSH_KEX_FAILED },
	{ "no cipher in common", { OTHER_CIPHER }, -SSH_KEX_FAILED },
	{ "no compression in common", { COMPRESSED }, -SSH_KEX_FAILED },
	{ "KEXINIT cut off", { CUT_INIT }, -SSH_PROTOCOL_ERROR },
	{ "KEXINIT with more behind it", { LONG_INIT }, -SSH_PROTOCOL_ERROR },
};

static size_t
put_message(uint8_t *p, enum what w)
{
	static const char ecdh[] = "1e000000207b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13";

	switch (w) {
	case STRICT_INIT:
		return kexinit(p, CURVE STRICT, "ssh-ed25519", GO_CIPHERS, "none", 0);
	case INIT_LIKE_OURS:
		return kexinit(p, "kex-strict-s-v00@openssh.com", "ssh-ed25519", GO_CIPHERS, "none", 0);
	case WRONG_GUESS:
		return kexinit(p, "ecdh-sha2-nistp256," CURVE, "ssh-ed25519", GO_CIPHERS, "none", 1);
	case WRONG_KEY_GUESS:
		return kexinit(p, CURVE, "ecdsa-sha2-nistp256,ssh-ed25519", GO_CIPHERS, "none", 1);
	case RIGHT_GUESS:
		return kexinit(p, CURVE, "ssh-ed25519", GO_CIPHERS, "none", 1);
	case OTHER_KEX:
		return kexinit(p, "ecdh-sha2-nistp256", "ssh-ed25519", GO_CIPHERS, "none", 0);
	case OTHER_KEY:
		return kexinit(p, CURVE, "ssh-rsa", GO_CIPHERS, "none", 0);
	case OTHER_CIPHER:
		return kexinit(p, CURVE, "ssh-ed25519", "aes128-ctr", "none", 0);
	case COMPRESSED:
		return kexinit(p, CURVE, "ssh-ed25519", GO_CIPHERS, "zlib", 0);
	case CUT_INIT:
		return kexinit(p, CURVE, "ssh-ed25519", GO_CIPHERS, "none", 0) - 1;
	case LONG_INIT:
		return kexinit(p, CURVE, "ssh-ed25519", GO_CIPHERS, "none", 0) + 1;
	case ECDH:
		return unhex(p, 64, ecdh);
	case ECDH_ZERO:
		memset(p, 0, 37);
		p[0] = SSH_ECDH_INIT;
		p[4] = 32;
		return 37;
	case ECDH_SHORT:
		unhex(p, 64, ecdh);
		p[4] = 31;
		return 36;
	case ECDH_CUT:
		return unhex(p, 64, ecdh) - 1;
	case BOGUS_30:
		p[0] = SSH_ECDH_INIT;
		return 1;
	case REPLY:
		p[0] = SSH_ECDH_REPLY;
		return 1;
	case NEWKEYS:
		p[0] = SSH_NEWKEYS;
		return 1;
	case NEWKEYS_LONG:
		p[0] = SSH_NEWKEYS;
		p[1] = 0;
		return 2;
	case IGNORE:
		return unhex(p, 64, "020000000178");
	case DEBUG:
		return unhex(p, 64, "0400000000017800000000");
	case UNIMPLEMENTED:
		return unhex(p, 64, "0300000000");
	case SERVICE:
		return unhex(p, 64, "050000000c7373682d7573657261757468");
	case GLOBAL:
		return unhex(p, 64, "500000000470696e6701");
	case AUTH_OK:
		p[0] = SSH_USERAUTH_SUCCESS;
		return 1;
	case UNKNOWN:
		p[0] = 9;
		return 1;
	default:
		return kexinit(p, CURVE, "ssh-ed25519", GO_CIPHERS, "none", 0);
	}
}

static void
test_clear(void)
{
	static uint8_t out[PIPE];
	size_t i, j, n, step;

	for (i = 0; i < sizeof(clear) / sizeof(clear[0]); i++)
		for (step = 1; step <= 64; step += 63) {
			end_init(&server, 1, NULL);
			feed(&server, (const uint8_t *)"SSH-2.0-x\r\n", 11, step);
			for (j = 0; clear[i].send[j] != END; j++) {
				check(server.rc == 0, clear[i].name, j);
				n = put_message(out + SSH_PAYLOAD_AT, clear[i].send[j]);
				feed(&server, out, ssh_seal(NULL, 8, 0, out, n), step);
			}
			check(server.rc == clear[i].want, clear[i].name, 100);
			check(server.rc == 0 || server.why != NULL, clear[i].name, 101);
			sshtrans_free(&server.t);
		}
}

/* What is said before the identification string. */
static void
test_before_ident(void)
{
	static const uint8_t line[] = "hello\r\n";
	int i;

	end_init(&server, 1, NULL);
	check(feed(&server, line, 7, 1) == -SSH_PROTOCOL_ERROR, "a client has nothing to say before it", 0);
	sshtrans_free(&server.t);
	end_init(&client, 0, NULL);
	for (i = 0; i < 100; i++)
		check(feed(&client, line, 7, 1) == 0, "a server has", (size_t)i);
	check(feed(&client, (const uint8_t *)"SSH-2.0-x\r\n", 11, 1) == 0 && strcmp(client.t.peer, "SSH-2.0-x") == 0, "and then comes to it", 0);
	sshtrans_free(&client.t);
	end_init(&client, 0, NULL);
	for (i = 0; i < 1000 && client.rc == 0; i++)
		feed(&client, line, 7, SIZE_MAX);
	check(client.rc == -SSH_PROTOCOL_ERROR && i < 700, "but not for ever", (size_t)i);
	sshtrans_free(&client.t);
}

/* What an unauthenticated client sends once there are keys. */

static const struct { const char *name, *text; int want; uint8_t answer; } coded[] = {
	{ "another service", "050000000c7373682d757365726175746a", -SSH_SERVICE_NOT_AVAILABLE, 0 },
	{ "the connection at once", "050000000e7373682d636f6e6e656374696f6e", -SSH_SERVICE_NOT_AVAILABLE, 0 },
	{ "request before the service", "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000046e6f6e65", -SSH_PROTOCOL_ERROR, 0 },
	{ "channel before authentication", "5a0000000773657373696f6e000000000020000000008000", -SSH_PROTOCOL_ERROR, 0 },
	{ "success to a server", "34", -SSH_PROTOCOL_ERROR, 0 },
	{ "message of a method", "3c", -SSH_PROTOCOL_ERROR, 0 },
	{ "cut service", "050000000c7373682d75736572617574", -SSH_PROTOCOL_ERROR, 0 },
	{ "unknown message", "09", 0, SSH_UNIMPLEMENTED },
	{ "EXT_INFO", "0700000000", 0, 0 },
	{ "IGNORE", "0200000000", 0, 0 },
};

/* Both have new keys; of the client nothing has come behind its NEWKEYS. */
static void
at_keys(void)
{
	static uint8_t out[PIPE];
	int i;

	start(NULL);
	for (i = 0; i < 2; i++) {
		feed(&server, out, output(&client, out), SIZE_MAX);
		feed(&client, out, output(&server, out), SIZE_MAX);
	}
	client.t.nqueue = 3;	/* not SERVICE_REQUEST */
	feed(&server, out, output(&client, out), SIZE_MAX);
	server.t.nqueue = 0;
	if (server.t.phase != SSH_PHASE_SERVICE || server.rc != 0)
		abort();
}

static void
test_coded(void)
{
	uint8_t msg[128];
	size_t i, n;

	for (i = 0; i < sizeof(coded) / sizeof(coded[0]); i++) {
		at_keys();
		n = unhex(msg, sizeof(msg), coded[i].text);
		check(send_one(&client, &server, msg, n) == coded[i].want, coded[i].name, i);
		check(server.t.nqueue == 0 ? coded[i].answer == 0 : server.t.queue[2] == coded[i].answer, coded[i].name, 100 + i);
		stop();
	}
}

/* Requests for authentication, after the service was granted. want: the answer, or what it is refused for. */

#define USER "32000000077674756e6e656c"
#define CONNECTION "0000000e7373682d636f6e6e656374696f6e"
#define PUBLICKEY "000000097075626c69636b6579"

static const struct { const char *name, *text; int want; } requests[] = {
	{ "none", USER CONNECTION "000000046e6f6e65", SSH_USERAUTH_FAILURE },
	{ "password", USER CONNECTION "0000000870617373776f726400" "00000003616263", SSH_USERAUTH_FAILURE },
	{ "another service", USER "0000000c7373682d7573657261757468" "000000046e6f6e65", SSH_USERAUTH_FAILURE },
	{ "would it do", V5_USER "00" V5_KEY, SSH_USERAUTH_PK_OK },
	{ "not signed, but said so", V5_USER "01" V5_KEY, -SSH_PROTOCOL_ERROR },
	{ "signed by nothing", V5_USER "01" V5_KEY "00000000", SSH_USERAUTH_FAILURE },
	{ "signed for another session", V5_USER "01" V5_KEY "000000530000000b7373682d6564323535313900000040"
	    "83fc30b1027f6f5073a84c68c44d1f1fcd63823bf76d45e641a4570464b146e80291bcc6f51072f2907abc162d2e1b27e90e3023e5974a020acfd2419005430e", SSH_USERAUTH_FAILURE },
	{ "signature nobody asked for", V5_USER "00" V5_KEY "00000000", -SSH_PROTOCOL_ERROR },
	{ "another algorithm than the key's", V5_USER "00" "000000077373682d727361"
	    "000000330000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8", SSH_USERAUTH_FAILURE },
	{ "key of another length", V5_USER "00" "0000000b7373682d65643235353139"
	    "000000320000000b7373682d656432353531390000001f03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531", SSH_USERAUTH_FAILURE },
	{ "cut", USER CONNECTION, -SSH_PROTOCOL_ERROR },
	{ "none with more", USER CONNECTION "000000046e6f6e6500", -SSH_PROTOCOL_ERROR },
	{ "the service again", "050000000c7373682d7573657261757468", -SSH_PROTOCOL_ERROR },
};

/* The server waits for a request, and the client sends none of its own. */
static void
at_auth(void)
{
	static const uint8_t service[] = "\5\0\0\0\14ssh-userauth";

	at_keys();
	send_one(&client, &server, service, sizeof(service) - 1);
	server.t.nqueue = 0;
	if (server.t.phase != SSH_PHASE_AUTH)
		abort();
}

static void
test_requests(void)
{
	static uint8_t init[SSH_PAYLOAD_MAX];
	static const char name[SSH_USER_MAX + 1] = "x";
	uint8_t msg[512];
	struct buf b;
	size_t i, n;
	int rc = 0;

	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		at_auth();
		n = unhex(msg, sizeof(msg), requests[i].text);
		rc = send_one(&client, &server, msg, n);
		check(rc == 0 ? server.t.queue[2] == requests[i].want : rc == requests[i].want, requests[i].name, i);
		check(!server.ready, requests[i].name, 100);
		stop();
	}
	at_auth();
	n = unhex(msg, sizeof(msg), requests[0].text);
	for (i = 0, rc = 0; i < 10 && rc == 0; i++) {
		rc = send_one(&client, &server, msg, n);
		server.t.nqueue = 0;
	}
	check(i == 7 && rc == -SSH_PROTOCOL_ERROR && strcmp(server.why, "too many authentication failures") == 0, "the first is free, six more are not", i);
	stop();
	at_auth();		/* one who asks, and never reads */
	n = unhex(msg, sizeof(msg), requests[3].text);
	for (i = 0, rc = 0; i < 1000 && rc == 0; i++)
		rc = send_one(&client, &server, msg, n);
	check(rc == -SSH_PROTOCOL_ERROR && i < 100, "answers nobody reads", i);
	server.t.nqueue = sizeof(server.t.queue) - 6;
	buf_init(&b, msg, sizeof(msg));
	b.len = 5;
	check(sshtrans_push(&server.t, &b, &server.why) == -SSH_PROTOCOL_ERROR, "no room for a message's length", 0);
	stop();
	for (i = 0; i < 2; i++) {	/* to one who would let anybody in */
		at_auth();
		server.grant_none = 1;
		buf_init(&b, msg, sizeof(msg));
		buf_char(&b, SSH_USERAUTH_REQUEST);
		ssh_put_str(&b, name, i == 0 ? 1 : sizeof(name));
		ssh_put_cstr(&b, i == 0 ? "ssh-userauth" : "ssh-connection");
		ssh_put_cstr(&b, "none");
		check(send_one(&client, &server, b.p, b.len) == 0 && !server.ready && server.t.queue[2] == SSH_USERAUTH_FAILURE,
		    "another service, a name too long", i);
		stop();
	}
	at_auth();
	n = go_kexinit(init);
	send_one(&client, &server, init, n);
	n = unhex(msg, sizeof(msg), requests[0].text);
	check(send_one(&client, &server, msg, n) == -SSH_PROTOCOL_ERROR, "within a key exchange", 0);
	stop();
}

/* What a server says to a client that has shown its key and waits to hear whether it would do; after: it says the same again. */
static const struct { const char *name, *text; int want, after; } told[] = {
	{ "its key", "3c" V5_KEY, 0, -SSH_PROTOCOL_ERROR },
	{ "another one", "3c" "0000000b7373682d65643235353139"
	    "000000330000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b9", -SSH_PROTOCOL_ERROR, 0 },
	{ "a longer one", "3c" "0000000b7373682d65643235353139"
	    "000000340000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b800", -SSH_PROTOCOL_ERROR, 0 },
	{ "another algorithm", "3c" "000000077373682d727361"
	    "000000330000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8", -SSH_PROTOCOL_ERROR, 0 },
	{ "no", "33" "000000097075626c69636b6579" "00", -SSH_NO_MORE_AUTH_METHODS, 0 },
};

static void
test_told(void)
{
	static uint8_t out[PIPE];
	uint8_t msg[128];
	size_t i, n;

	at_keys();
	check(send_one(&server, &client, "\64", 1) == -SSH_PROTOCOL_ERROR, "in, before there was a service", 0);
	stop();
	for (i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		start(NULL);
		while (client.t.auth_tried == 0 && client.rc == 0 && server.rc == 0) {
			feed(&server, out, output(&client, out), SIZE_MAX);
			feed(&client, out, output(&server, out), SIZE_MAX);
		}
		n = unhex(msg, sizeof(msg), told[i].text);
		check(send_one(&server, &client, msg, n) == told[i].want, told[i].name, i);
		check(told[i].want != 0 || send_one(&server, &client, msg, n) == told[i].after, told[i].name, 100 + i);
		stop();
	}
}

/* A wrong byte anywhere in what is encrypted ends it. */
static void
test_tampered(void)
{
	static uint8_t out[SSH_PACKET_ROOM], copy[SSH_PACKET_ROOM];
	static const uint8_t data[40] = { SSH_CHANNEL_DATA };
	size_t i, k, n;

	for (k = 1; k < sizeof(ciphers) / sizeof(ciphers[0]); k++)
		for (i = 0; i < 80; i += 3) {
			start(ciphers[k]);
			talk(&client, &server, SIZE_MAX);
			memcpy(out + SSH_PAYLOAD_AT, data, sizeof(data));
			n = sshtrans_seal(&client.t, out, sizeof(data));
			memcpy(copy, out, n);
			if (i < n)
				copy[i] ^= 0x80;
			feed(&server, copy, n, 11);
			check(server.given == 0 || i >= n, "tampered with", i);
			check(i >= n || i < 4 || server.rc == -SSH_MAC_ERROR, "it is seen", i);
			stop();
		}
	start(NULL);		/* the same packet again */
	talk(&client, &server, SIZE_MAX);
	memcpy(out + SSH_PAYLOAD_AT, data, sizeof(data));
	n = sshtrans_seal(&client.t, out, sizeof(data));
	check(feed(&server, out, n, SIZE_MAX) == 0 && feed(&server, out, n, SIZE_MAX) == -SSH_MAC_ERROR, "replayed", 0);
	stop();
}

int
main(void)
{
	uint8_t secret[32], hash[SHA256_LEN];
	size_t i;

	if (sshcrypt_init() == -1)
		abort();
	for (i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)i;
	sshkey_init(&user_key, SSHKEY_ED25519, secret);	/* V1 */
	sshkey_init(&p256, SSHKEY_P256, secret);
	sha256(user_key.blob, user_key.nblob, hash);
	sshkey_init(&ed, SSHKEY_ED25519, hash);
	test_published();
	test_signed_request();
	test_together();
	test_answers();
	test_worn();
	test_again_too_soon();
	test_clear();
	test_before_ident();
	test_coded();
	test_requests();
	test_told();
	test_tampered();
	return test_end();
}
