/*
 * sshstrict_test.c: both sides do anything at random. The peer is as strict as Go's: what comes for a channel that it has not open, beyond
 * its window, or behind EOF or CLOSE, ends the test.
 */
#include "sshrig.h"

static struct chan {		/* the peer's view */
	int open, asked, ours_close, their_eof, their_close;	/* ours: the peer's */
	int64_t window;		/* what we may send */
	int64_t granted;	/* what it may send */
	uint32_t id;		/* ours */
} chans[64];
static uint32_t rng;
static int violations;

static unsigned
dice(unsigned n)
{
	rng = rng * 1664525U + 1013904223U;
	return (rng >> 8) % n;
}

static void
violated(const char *what, unsigned type)
{
	violations++;
	check(0, what, type);
}

static struct chan *
chan_of(struct ssh_in *in)
{
	uint32_t id = ssh_get_u32(in);

	return id < 64 ? &chans[id] : NULL;
}

/* Strictly what our side may send. */
static void
strict(const uint8_t *msg, size_t n)
{
	struct ssh_in in;
	struct chan *c;

	ssh_in_init(&in, msg + 1, n - 1);
	if (msg[0] == SSH_CHANNEL_OPEN) {
		ssh_get_str(&in);
		for (c = chans; c->open || c->asked; c++)
			;
		memset(c, 0, sizeof(*c));
		c->id = ssh_get_u32(&in);
		c->granted = ssh_get_u32(&in);
		c->asked = 2;	/* by them */
		return;
	}
	if (msg[0] < SSH_CHANNEL_OPEN)
		return;
	if ((c = chan_of(&in)) == NULL || c->their_close || (!c->open && c->asked != 1)) {
		violated("message for a channel that is not open", msg[0]);
		return;
	}
	if (c->ours_close && msg[0] >= SSH_CHANNEL_WINDOW_ADJUST && msg[0] <= SSH_CHANNEL_EOF)
		violated("anything but CLOSE to a CLOSE", msg[0]);
	switch (msg[0]) {
	case SSH_CHANNEL_OPEN_CONFIRMATION:
		c->asked = 0;
		c->open = 1;
		c->id = ssh_get_u32(&in);
		c->granted = ssh_get_u32(&in);
		break;
	case SSH_CHANNEL_OPEN_FAILURE:
		c->asked = 0;
		break;
	case SSH_CHANNEL_WINDOW_ADJUST:
		c->granted += ssh_get_u32(&in);
		break;
	case SSH_CHANNEL_DATA:
		c->window -= (int64_t)ssh_get_str(&in).len;
		if (c->window < 0 || c->their_eof)
			violated("data beyond the window, or behind EOF", msg[0]);
		break;
	case SSH_CHANNEL_EOF:
		if (c->their_eof++)
			violated("EOF twice", msg[0]);
		break;
	case SSH_CHANNEL_CLOSE:
		c->their_close = 1;
		if (c->ours_close)
			c->open = 0;	/* its number is free */
	}
}

static void
peer_acts(void)
{
	uint8_t text[4096];
	struct chan *c = &chans[dice(16)];
	struct buf b;
	uint32_t n = dice(2000);

	buf_init(&b, text, sizeof(text));
	if (c->asked == 2) {
		buf_char(&b, dice(4) ? SSH_CHANNEL_OPEN_CONFIRMATION : SSH_CHANNEL_OPEN_FAILURE);
		ssh_put_u32(&b, c->id);
		c->asked = 0;
		if (text[0] == SSH_CHANNEL_OPEN_CONFIRMATION) {
			c->open = 1;
			c->window = n;
			ssh_put_u32(&b, (uint32_t)(c - chans));
			ssh_put_u32(&b, n);
			ssh_put_u32(&b, 500);
		} else {
			ssh_put_u32(&b, 2);
			ssh_put_cstr(&b, "");
			ssh_put_cstr(&b, "");
		}
	} else if (c->open && !c->ours_close) {
		unsigned what = dice(10);

		ssh_put_u32(&b, 0);
		b.len = 0;
		buf_char(&b, (char)(what < 4 ? SSH_CHANNEL_DATA : what < 7 ? SSH_CHANNEL_WINDOW_ADJUST : what < 8 ? SSH_CHANNEL_REQUEST :
		    what < 9 ? SSH_CHANNEL_EOF : SSH_CHANNEL_CLOSE));
		ssh_put_u32(&b, c->id);
		if (text[0] == SSH_CHANNEL_DATA) {
			n = (int64_t)n < c->granted ? n : (uint32_t)c->granted;
			c->granted -= n;
			ssh_put_u32(&b, n);
			b.len += n;
		} else if (text[0] == SSH_CHANNEL_WINDOW_ADJUST) {
			c->window += n;
			ssh_put_u32(&b, n);
		} else if (text[0] == SSH_CHANNEL_REQUEST) {
			ssh_put_cstr(&b, "exec");
			buf_char(&b, 1);
		} else if (text[0] == SSH_CHANNEL_CLOSE) {
			c->ours_close = 1;
			if (c->their_close)
				c->open = 0;
		}
	} else if (!c->open && !c->asked) {
		memset(c, 0, sizeof(*c));
		c->asked = 1;
		c->window = n;
		buf_char(&b, SSH_CHANNEL_OPEN);
		ssh_put_cstr(&b, "session");
		ssh_put_u32(&b, (uint32_t)(c - chans));
		ssh_put_u32(&b, n);
		ssh_put_u32(&b, 100);
	} else
		return;
	if (sshtrans_may_send(&peer))
		say(text, b.len);
	else
		abort();
}

enum { USERS = 12 };

static void
we_act(struct user *u)
{
	static char text[3000];
	struct iovec iov = { text, 0 };
	struct stream *s;

	if (u->s == NULL) {
		if ((s = ssh_open(ssh)) == NULL)
			return;
		join(u, s);
		if (dice(8) > 0)
			ssh_ask(s, "tunnel", NULL, 0);
		return;
	}
	iov.iov_len = dice(sizeof(text));
	switch (dice(8)) {
	case 0:
		stream_fin(u->s);
		break;
	case 1:
		if (dice(3) == 0)
			stream_reset(u->s);
		break;
	case 2:
		stream_credit(u->s, u->bytes, 0);
		u->bytes = 0;
		break;
	case 3:
		if (dice(3) == 0) {
			stream_leave(u->s);
			u->s = NULL;
		}
		break;
	case 4:
		ssh_channel_request(u->s, "x", 0, NULL, 0);
		break;
	default:
		stream_write(u->s, &iov, 1, dice(10) == 0, CONN_FOREVER);
	}
}

static void
test_at_random(void)
{
	static struct user users[USERS];
	unsigned i, seed, sent = 0;
	size_t k;

	for (seed = 1; seed <= 20; seed++) {
		rng = seed;
		memset(chans, 0, sizeof(chans));
		memset(users, 0, sizeof(users));
		memset(&asked, 0, sizeof(asked));
		begin(5000);
		peer_hook = strict;
		for (i = 0; i < 5000 && broken == 0 && violations == 0; i++) {
			out_cap = SSH_OUTPUT_MIN + dice(4096);
			if (dice(300) == 0)
				ssh_rekey(ssh);
			for (k = 0; k < dice(4); k++)
				we_act(&users[dice(USERS)]);
			if (dice(3) > 0)
				talk();
			else if (dice(400) == 0) {
				talk();
				sshtrans_rekey(&peer);
			}
			if (!sshtrans_may_send(&peer))
				talk();
			asked.s = NULL;
			open_answer = dice(4) == 0;
			peer_acts();
			if (asked.s != NULL) {	/* a user for it, if one is free */
				for (k = 0; k < USERS && users[k].s != NULL; k++)
					;
				if (k < USERS) {
					if (dice(4) > 0)
						ssh_confirm(asked.s);
					join(&users[k], asked.s);
				} else
					stream_leave(asked.s);
			}
			sent += (unsigned)ngot;
		}
		check(broken == 0 && violations == 0, broken != 0 ? why : "at random", seed);
		peer_hook = NULL;
		out_cap = OUT;
		for (k = 0; k < USERS; k++)
			if (users[k].s != NULL)
				stream_leave(users[k].s);
		end();
	}
	check(sent > 50000, "much was said", sent);
}

int
main(void)
{
	rig_init();
	test_at_random();
	return test_end();
}
