/* What a link does when little or nothing is to be sent: bells, lazy frames, buffers given back; link.h. */
#include "linkrig.h"

/* Idle links share a bell; each hears its own ringing, and the others go on. */

/* What a link holds on to, [m] of it. */
struct held {
	struct wake *bell;
	int own, pipes, out, queue;
};

static struct held
held(struct link *l)
{
	struct held h;

	pthread_mutex_lock(&l->mtx);
	h.bell = l->bell;
	h.own = l->bell == &l->own;
	h.pipes = (l->own.rd != -1) + (l->unblock.rd != -1);
	h.out = l->out != NULL;
	h.queue = l->queue != NULL;
	pthread_mutex_unlock(&l->mtx);
	return h;
}

/* Does the link have a bell of its own, or none, as is wanted, within 20 s? */
static int
until_own(struct link *l, int want)
{
	int tries;

	for (tries = 0; tries < 20000 && held(l).own != want; tries++)
		poll(NULL, 0, 1);
	return held(l).own == want;
}

static int
rings(const struct wake *w)
{
	struct pollfd pfd;

	pfd.fd = w->rd;
	pfd.events = POLLIN;
	return poll(&pfd, 1, 0) == 1;
}

/* The link takes and sends. */
static int
works(struct raw *r)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;

	raw_send(r, WS_PING, "w", 1);
	if (raw_frame(r, &h, p) != WS_PONG || h.len != 1 || p[0] != 'w')
		return 0;
	return send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == 0 &&
	    raw_frame(r, &h, p) == WS_BINARY && h.len == 1 && p[0] == 'x';
}

static struct raw *
raw_start(int64_t ping_ms)
{
	struct raw *r = raw_new(0, ping_ms);

	start(&r->s.reader, reader, &r->s);
	check(works(r), "raw: begins", 0);
	return r;
}

static void
shared_bell(void)
{
	struct raw *r[3];
	struct waiter w;
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int64_t from;
	int i, taken, late;

	for (i = 0; i < 3; i++)
		r[i] = raw_start(0);
	for (i = 0; i < 3; i++)
		check(!held(r[i]->s.l).own && held(r[i]->s.l).bell == held(r[0]->s.l).bell,
		    "bell: idle ones share it", (size_t)i);

	from = clock_ms(CLOCK_STEADY);	/* the reader has to be told, or would wait for its peer for ever */
	link_close(r[0]->s.l, 4001, "");
	check(raw_frame(r[0], &h, p) == WS_CLOSE, "bell: close is sent", 0);
	late = clock_ms(CLOCK_STEADY) - from > 1000;	/* on a machine that stood still it may have given up */
	check(late || until_own(r[0]->s.l, 1), "bell: one that is to close has its own", 0);

	taken = raw_fill(r[1]);		/* the reader is to wait for the socket in the writers' place */
	check(until_own(r[1]->s.l, 1), "bell: and a busy one", 0);
	check(!held(r[2]->s.l).own && works(r[2]), "bell: the third was not meant", 0);
	waiter_start(&w, r[1], 5000);
	while (taken-- > 0)
		raw_frame(r[1], &h, p);
	check(raw_frame(r[1], &h, p) == WS_BINARY && h.len == 5000 && waiter_end(&w) == 0,
	    "bell: the busy one's writers go on", 0);
	check(works(r[1]) && works(r[2]), "bell: both work", 0);

	check(side_returned(&r[0]->s, 15000), "bell: the closed one gives up", 0);
	from = clock_ms(CLOCK_STEADY) - from;
	check(from >= 1900 && from < 6000, "bell: after its time", (size_t)from);
	check(raw_end(r[0]) == 4001, "bell: its code", 0);
	check(works(r[1]) && works(r[2]) && !side_returned(&r[1]->s, 0) && !side_returned(&r[2]->s, 0),
	    "bell: the others stay", 0);
	check(!rings(held(r[2]->s.l).bell), "bell: silent again", 0);
	link_abort(r[2]->s.l);
	check(side_returned(&r[2]->s, 15000) && raw_end(r[2]) == WS_ABNORMAL, "bell: aborted asleep", 0);
	check(works(r[1]) && raw_end(r[1]) == WS_ABNORMAL, "bell: the last", 0);
}

static int
rests(struct side *s)
{
	int n;

	pthread_mutex_lock(&s->mtx);
	n = s->rests;
	pthread_mutex_unlock(&s->mtx);
	return n;
}

/* Two are rung for, and one of them is slow to answer: it still finds its post, which disturbs a third only a little. */
static void
rung_together(void)
{
	struct raw *r[2], *third = raw_start(0);
	int i, code = 0, n;
	int64_t from;

	for (i = 0; i < 2; i++) {
		r[i] = raw_start(0);
		check(held(r[i]->s.l).bell == held(third->s.l).bell, "together: a shared bell", (size_t)i);
	}
	raw_send(r[1], WS_TEXT, "H", 1);
	pthread_mutex_lock(&r[1]->s.mtx);
	while (!r[1]->s.held)
		pthread_cond_wait(&r[1]->s.news, &r[1]->s.mtx);
	pthread_mutex_unlock(&r[1]->s.mtx);
	link_close(r[1]->s.l, 4001, "");
	link_close(r[0]->s.l, 4000, "");
	check(until_own(r[0]->s.l, 1), "together: the first has answered", 0);
	check(rings(held(r[1]->s.l).bell), "together: and left the other's post", 0);
	n = rests(&third->s);
	from = clock_ms(CLOCK_STEADY);
	do		/* nothing tells of what does not happen */
		poll(NULL, 0, 100);
	while (rests(&third->s) == n && clock_ms(CLOCK_STEADY) - from < 20000);
	n = rests(&third->s) - n;
	from = clock_ms(CLOCK_STEADY) - from;
	check(n > 0 && n < from / 2, "together: the third looks now and then", (size_t)n);
	check(works(third), "together: and works", 0);
	pthread_mutex_lock(&r[1]->s.mtx);
	r[1]->s.held = 0;
	pthread_cond_broadcast(&r[1]->s.news);
	pthread_mutex_unlock(&r[1]->s.mtx);
	check(until_own(r[1]->s.l, 1), "together: which the second takes", 0);
	for (i = 0; i < 2; i++) {
		check(raw_drain(r[i], &code) == 0 && code == 4000 + i, "together: closed", (size_t)code);
		raw_end(r[i]);
	}
	raw_end(third);
}

/*
 * A link that ends takes its own post out of the bell: one left there would wake
 * all who share it, every few milliseconds, for as long as they do.
 */
static void
silent_after_the_end(void)
{
	enum { ABORTED_EARLY, ABORTED, CLOSED, CUT, UNHEARD, HOWS };
	static const char *const what[] = {
		"silent: aborted before it began", "silent: aborted asleep", "silent: closed",
		"silent: cut when it closes", "silent: no answer to ping"
	};
	struct raw *stays = raw_start(0), *r;
	struct wake *bell = held(stays->s.l).bell;
	int how, i, code;

	for (how = 0; how < HOWS; how++) {
		for (i = 0; i < (how == UNHEARD ? 1 : 20); i++) {
			r = raw_new(0, how == UNHEARD ? 100 : 0);
			check(held(r->s.l).bell == bell, what[how], (size_t)i);
			if (how == ABORTED_EARLY)
				link_abort(r->s.l);
			start(&r->s.reader, reader, &r->s);
			if (how != ABORTED_EARLY && how != UNHEARD)
				check(works(r), what[how], (size_t)i);
			if (how == ABORTED)
				link_abort(r->s.l);
			if (how == CLOSED)
				raw_send(r, WS_CLOSE, "\x03\xe8", 2);
			if (how == CUT)
				shutdown(r->fd, SHUT_WR);
			if (how == CLOSED || how == CUT)
				link_close(r->s.l, WS_GOING_AWAY, "");
			raw_drain(r, &code);
			raw_end(r);
		}
		check(!rings(bell), what[how], (size_t)i);
		wake_clear(bell);	/* for the next */
	}
	check(held(stays->s.l).bell == bell && works(stays), "silent: the one that stays", 0);
	raw_end(stays);
}

/* A second of quiet, and a link that was busy holds no buffers and no pipe. */
static void
given_back(void)
{
	enum { LONG = 10000 };
	struct raw *other = raw_start(0), *r = raw_start(0);
	struct link *l = r->s.l;
	struct wake *bell;
	uint8_t *b = malloc(WS_HDR_MAX + LONG), *text = malloc(LONG), p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int64_t from;
	int taken, grown, n;

	if (b == NULL || text == NULL)
		abort();
	memset(text, 'a', LONG);
	raw_write(r, b, raw_put(r, b, WS_TEXT, text, LONG));
	side_text(&r->s);
	pthread_mutex_lock(&r->s.mtx);
	grown = r->s.in_cap >= LONG;
	pthread_mutex_unlock(&r->s.mtx);
	check(grown, "given back: much comes, the buffer grows", 0);
	taken = raw_fill(r);
	check(until_own(l, 1) && held(l).out && held(l).queue && held(l).pipes == 2, "given back: busy", 0);
	from = clock_ms(CLOCK_STEADY);
	while (taken-- > 0)
		raw_frame(r, &h, p);
	check(until_own(l, 0), "given back: the bell", 0);
	from = clock_ms(CLOCK_STEADY) - from;
	check(from < 5000, "given back: soon", (size_t)from);
	check(held(l).bell == held(other->s.l).bell, "given back: it shares again", 0);
	check(!held(l).out && !held(l).queue, "given back: what it writes from", 0);
	check(held(l).pipes == 0, "given back: its pipes", (size_t)held(l).pipes);
	bell = held(l).bell;
	pthread_mutex_lock(&r->s.mtx);	/* what it reads into, it alone may look at: another's ringing lets it */
	n = r->s.rests;
	wake_post(bell);
	while (r->s.rests == n)
		pthread_cond_wait(&r->s.news, &r->s.mtx);
	check(!r->s.reads_into, "given back: what it reads into", 0);
	pthread_mutex_unlock(&r->s.mtx);
	wake_take(bell);
	check(works(r) && works(other), "given back: it works on", 0);
	taken = raw_fill(r);
	check(until_own(l, 1), "given back: busy again", 0);
	while (taken-- > 0)
		raw_frame(r, &h, p);
	check(works(r), "given back: and well", 0);
	raw_end(r);
	raw_end(other);
	free(b);
	free(text);
}

/* What nobody waits for rides with the next message, or goes alone after 50 ms. */
static void
lazily(void)
{
	struct raw *r = raw_start(0);
	uint8_t p[WS_CONTROL_MAX], b[64];
	struct ws_hdr h;
	int64_t took, least = INT64_MAX, alone = INT64_MAX;
	size_t n;
	int i, code;

	for (i = 0; i < 3; i++) {
		raw_send(r, WS_TEXT, "Ls", 2);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == 'x', "lazily: not before the message", (size_t)i);
		check(r->at < r->n && raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN,
		    "lazily: but with it", (size_t)i);

		n = raw_put(r, b, WS_TEXT, "L", 1);
		n += raw_put(r, b + n, WS_PING, "p", 1);
		raw_write(r, b, n);
		check(raw_frame(r, &h, p) == WS_PONG, "lazily: behind a pong", (size_t)i);
		check(r->at < r->n && raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN,
		    "lazily: with the pong", (size_t)i);

		took = clock_ms(CLOCK_STEADY);
		raw_send(r, WS_TEXT, "L", 1);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: alone", (size_t)i);
		took = clock_ms(CLOCK_STEADY) - took;
		check(took >= 50, "lazily: not before its time", (size_t)took);
		alone = took < alone ? took : alone;
	}
	check(alone < 500, "lazily: hardly after it", (size_t)alone);
	check(works(r), "lazily: nothing is left over", 0);
	for (i = 0; i < 20; i++) {	/* somebody does wait for it */
		took = clock_ms(CLOCK_STEADY);
		raw_send(r, WS_TEXT, "Ln", 2);
		check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: and in earnest", (size_t)i);
		took = clock_ms(CLOCK_STEADY) - took;
		least = took < least ? took : least;
	}
	check(least < 50, "lazily: in earnest it does not wait", (size_t)least);
	raw_send(r, WS_TEXT, "Lc", 2);
	check(raw_frame(r, &h, p) == WS_BINARY && p[0] == FIN, "lazily: before a close", 0);
	check(raw_drain(r, &code) == 0 && code == 4002, "lazily: the close", 0);
	raw_end(r);
}

/*
 * Hundreds of pings at once, beside all that can be owed: the last one is answered
 * (5.5.3), whether or not there is room to answer each.
 */
static void
flood(int client, int blocked)
{
	enum { PINGS = 600 };
	struct raw *r = raw_new_as(client, 0, 0);
	uint8_t p[WS_CONTROL_MAX], b[(PINGS + 3) * 16];
	struct ws_hdr h;
	size_t n = 0;
	int i, op, pongs = 0, messages = 0, taken = 0;

	start(&r->s.reader, reader, &r->s);
	if (blocked)
		taken = raw_fill(r);
	n += raw_put(r, b + n, WS_TEXT, "O", 1);
	for (i = 0; i < PINGS; i++)
		n += raw_put(r, b + n, WS_PING, "", 0);
	n += raw_put(r, b + n, WS_PING, "last", 4);
	n += raw_put(r, b + n, WS_TEXT, "end", 3);
	raw_write(r, b, n);
	pthread_mutex_lock(&r->s.mtx);
	while (r->s.texts < 2 && !r->s.returned)
		pthread_cond_wait(&r->s.news, &r->s.mtx);
	pthread_mutex_unlock(&r->s.mtx);
	while ((op = raw_frame(r, &h, p)) != -1 && !(op == WS_PONG && h.len > 0)) {
		pongs += op == WS_PONG;
		messages += op == WS_BINARY;
	}
	check(op == WS_PONG && h.len == 4 && memcmp(p, "last", 4) == 0, "flood: the last ping is answered", (size_t)pongs);
	check(pongs <= PINGS && (blocked || pongs > 0), "flood: no more than were asked for", (size_t)pongs);
	for (; op != -1 && messages < taken + 1; messages += op == WS_BINARY)
		op = raw_frame(r, &h, p);
	check(messages == taken + 1, "flood: nothing else is lost", (size_t)messages);
	check(works(r), "flood: it works on", 0);
	raw_end(r);
}

int
main(void)
{
	int i;

	signal(SIGPIPE, SIG_IGN);	/* the raw peers write to what may be gone */
	alarm(300);
	shared_bell();
	rung_together();
	silent_after_the_end();
	given_back();
	lazily();
	for (i = 0; i < 4; i++)
		flood(i & 1, i & 2);
	return test_end();
}
