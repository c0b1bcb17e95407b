/* A WebSocket connection with many writers: link.h, over socket pairs and TCP. */
#include "linkrig.h"

enum { PING_MS = 600 };		/* time enough for a peer to answer, whatever else runs */

/* The crowd: every writer of both sides at once. */

struct crowd_writer {
	struct side *s;
	pthread_t thread;
	int id, failed;
};

static void *
crowd_writer(void *arg)
{
	struct crowd_writer *w = arg;
	uint8_t hdr[HDR], *body = malloc(BIG);
	struct iovec iov[3];
	uint32_t seq;
	size_t i, len;

	if (body == NULL)
		abort();
	for (seq = 0; seq < MESSAGES; seq++) {
		len = msg_len(w->id, seq);
		hdr[0] = DATA;
		hdr[1] = (uint8_t)w->id;
		memcpy(hdr + 2, &seq, 4);
		for (i = 0; i < len; i++)
			body[i] = byte_at(w->id, seq, i);
		iov[0].iov_base = hdr;
		iov[0].iov_len = HDR;
		iov[1].iov_base = body;
		iov[1].iov_len = len / 3;
		iov[2].iov_base = body + len / 3;
		iov[2].iov_len = len - len / 3;
		/* as a stream does: first urgent, then bulk; odd ones stay urgent */
		if (link_send(w->s->l, WS_BINARY, iov, 3, seq < 20 || w->id % 2 ? LINK_URGENT :
		    LINK_BULK, w, CONN_FOREVER) == -1)
			w->failed++;
	}
	free(body);
	pthread_mutex_lock(&w->s->mtx);
	w->s->fin_owed[w->id] = 1;
	pthread_mutex_unlock(&w->s->mtx);
	link_owe(w->s->l);
	return NULL;
}

static void
wait_fins(struct side *s, int n)
{
	pthread_mutex_lock(&s->mtx);
	while (s->fins < n && !s->returned)
		pthread_cond_wait(&s->news, &s->mtx);
	pthread_mutex_unlock(&s->mtx);
}

static void
crowd(int tcp)
{
	struct side s[2];
	struct crowd_writer w[2][WRITERS];
	int fd[2], i, k;

	connect_pair(fd, tcp);
	side_init(&s[0], fd[0], 1, 500);	/* pings between them */
	side_init(&s[1], fd[1], 0, 700);
	for (k = 0; k < 2; k++) {
		start(&s[k].reader, reader, &s[k]);
		for (i = 0; i < WRITERS; i++) {
			w[k][i].s = &s[k];
			w[k][i].id = i;
			w[k][i].failed = 0;
			start(&w[k][i].thread, crowd_writer, &w[k][i]);
		}
	}
	for (k = 0; k < 2; k++)
		for (i = 0; i < WRITERS; i++) {
			pthread_join(w[k][i].thread, NULL);
			check(w[k][i].failed == 0, "crowd: every send succeeds", (size_t)i);
		}
	wait_fins(&s[0], WRITERS);
	wait_fins(&s[1], WRITERS);
	link_close(s[0].l, 4000, "done");
	for (k = 0; k < 2; k++) {
		check(side_end(&s[k]) == 4000, "crowd: closed with the code", (size_t)k);
		check(s[k].wrong == 0, "crowd: order and content", (size_t)s[k].wrong);
		check(s[k].messages == WRITERS * (MESSAGES + 1), "crowd: every message",
		    (size_t)s[k].messages);
	}
}

/* A peer that does not read, and then does: what was taken comes, what was refused does not. */
static void
deaf_peer(int tcp)
{
	static const uint8_t zeros[1000];
	struct raw *r = raw_new(tcp, 0);
	struct waiter w[3];
	int taken, i, err, code;

	start(&r->s.reader, reader, &r->s);
	taken = raw_fill(r);
	for (i = 0; i < 3; i++)
		waiter_start(&w[i], r, 5000);
	/* Whether they wait yet cannot be seen from here: so ask until they are back. */
	for (i = 0; i < 2; i++) {
		do
			link_cancel(r->s.l, &w[i]);
		while (!waiter_done(&w[i], 1));
		check(waiter_end(&w[i]) == ECANCELED, "deaf peer: cancelled", (size_t)i);
	}
	while ((err = send_bytes(r->s.l, LINK_URGENT, zeros, sizeof(zeros), NULL, 20)) == 0)
		taken++;
	check(err == ETIMEDOUT, "deaf peer: urgent times out", (size_t)err);
	check(send_bytes(r->s.l, LINK_BULK, zeros, 1, NULL, 0) == ETIMEDOUT, "deaf peer: no wait", 0);
	pthread_mutex_lock(&r->s.mtx);
	for (i = 0; i < WRITERS; i++)
		r->s.fin_owed[i] = 1;
	pthread_mutex_unlock(&r->s.mtx);
	link_owe(r->s.l);		/* must not block */
	raw_send(r, WS_PING, "a", 1);
	raw_send(r, WS_CLOSE, "\x03\xe8", 2);
	/* our answer comes behind all of it */
	check(raw_drain(r, &code) == taken + WRITERS + (waiter_end(&w[2]) == 0),
	    "deaf peer: what was taken comes", (size_t)taken);
	check(code == 1000, "deaf peer: close answered", 0);
	check(raw_end(r) == 1000, "deaf peer: code", 0);
}

static void
close_while_blocked(void)
{
	struct raw *r = raw_new(0, 0);
	struct waiter w[2];
	int taken, code;

	start(&r->s.reader, reader, &r->s);
	taken = raw_fill(r);
	waiter_start(&w[0], r, 5000);
	waiter_start(&w[1], r, 5000);
	link_close(r->s.l, 4001, "tired");
	check(waiter_done(&w[0], 1500) && waiter_done(&w[1], 1500),
	    "close: writers return before its time is up", 0);
	check(waiter_end(&w[0]) == EPIPE && waiter_end(&w[1]) == EPIPE, "close: EPIPE", 0);
	check(raw_drain(r, &code) == taken && code == 4001, "close: behind what was taken", 0);
	raw_send(r, WS_CLOSE, "\x0f\xa1", 2);
	check(raw_drain(r, &code) == 0 && code == -1, "close: the end follows", 0);
	check(raw_end(r) == 4001, "close: code", 0);
}

static void
abort_while_blocked(void)
{
	struct raw *r = raw_new(1, 0);
	struct waiter w[2];

	start(&r->s.reader, reader, &r->s);
	raw_fill(r);
	waiter_start(&w[0], r, 5000);
	waiter_start(&w[1], r, BIG);
	check(!waiter_done(&w[0], 5), "abort: the writer waits", 0);
	link_abort(r->s.l);
	check(waiter_end(&w[0]) == EPIPE && waiter_end(&w[1]) == EPIPE, "abort: EPIPE", 0);
	check(send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == EPIPE, "abort: nothing after it", 0);
	check(raw_end(r) == WS_ABNORMAL, "abort: code", 0);
}

/* A message of many frames: half of it cannot be taken back. */
static void
half_a_message(void)
{
	struct raw *r = raw_new(0, 0);
	struct waiter w;
	uint8_t *big = calloc(1, 8 << 20), p[WS_CONTROL_MAX];
	struct ws_hdr h;
	int code, pongs = 0, op;

	if (big == NULL)
		abort();
	start(&r->s.reader, reader, &r->s);
	waiter_start(&w, r, 8 << 20);
	check(raw_frame(r, &h, p) == WS_BINARY && !h.fin, "half a message: first frame", 0);
	link_cancel(r->s.l, &w);
	raw_send(r, WS_PING, "b", 1);
	raw_send(r, WS_TEXT, "", 0);
	side_text(&r->s);	/* the ping has been read, too */
	link_owe(r->s.l);
	while (r->in_message != 0 && (op = raw_frame(r, &h, p)) != -1)
		pongs += op == WS_PONG;
	check(pongs == 1, "half a message: pong inside it", (size_t)pongs);
	check(waiter_end(&w) == 0, "half a message: too late to cancel", 0);

	check(send_bytes(r->s.l, LINK_BULK, big, 8 << 20, NULL, 30) == ETIMEDOUT,
	    "half a message: deadline", 0);
	check(raw_drain(r, &code) == 0 && code == -1, "half a message: the link ends", 0);
	check(raw_end(r) == WS_ABNORMAL, "half a message: code", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	waiter_start(&w, r, 8 << 20);
	check(raw_frame(r, &h, p) == WS_BINARY && !h.fin, "half a message: first frame again", 0);
	link_close(r->s.l, 1001, "");
	check(raw_drain(r, &code) == 0 && code == 1001, "half a message: close inside it", 0);
	check(waiter_end(&w) == EPIPE, "half a message: EPIPE", 0);
	check(raw_end(r) == 1001, "half a message: code of close", 0);
	free(big);
}

struct gift {			/* a parcel that tells when it is released */
	struct link_parcel parcel;
	int *released;		/* under the link's mutex, or once nobody else has it */
};

static void
gift_release(struct link_parcel *p)
{
	struct gift *g = (struct gift *)(void *)p;

	++*g->released;
	free(g->parcel.iov.iov_base);
	free(g);
}

/* Send len bytes by ms: an error number. */
static int
give(struct raw *r, size_t len, int64_t ms, int *released)
{
	struct gift *g = malloc(sizeof(*g));

	if (g == NULL || (g->parcel.iov.iov_base = calloc(1, len)) == NULL)
		abort();
	*released = 0;
	g->parcel.iov.iov_len = len;
	g->parcel.release = gift_release;
	g->released = released;
	return link_send_parcel(r->s.l, WS_BINARY, &g->parcel, g, clock_ms(CLOCK_STEADY) + ms) == 0 ? 0 : errno;
}

static int
released_now(struct raw *r, const int *released)
{
	int n;

	pthread_mutex_lock(&r->s.l->mtx);
	n = *released;
	pthread_mutex_unlock(&r->s.l->mtx);
	return n;
}

/* Half of it is out when its time is over: the rest follows without its sender, and the link lives. */
static void
parcels(void)
{
	struct raw *r = raw_new(0, 0);
	struct waiter w;
	struct ws_hdr h;
	uint8_t p[WS_CONTROL_MAX];
	size_t got = 0, len = 8 << 20;
	int n, op, more, code, i;

	r->s.l->conf.stall_ms = 60000;
	start(&r->s.reader, reader, &r->s);
	check(give(r, 5, 1000, &n) == 0 && n == 1, "parcel: sent", 0);
	check(raw_frame(r, &h, p) == WS_BINARY && h.len == 5, "parcel: it comes", 0);
	check(give(r, len, 30, &n) == ETIMEDOUT && released_now(r, &n) == 0, "parcel: half of it is out", 0);
	check(give(r, 1000, 30, &more) == ETIMEDOUT && more == 1, "parcel: one that has not begun is taken back", 0);
	waiter_start(&w, r, 5000);
	while (got < len && (op = raw_frame(r, &h, p)) != -1)
		got += (size_t)h.len;
	check(got == len && h.fin, "parcel: all of it comes", got);
	check(raw_frame(r, &h, p) == WS_BINARY && h.fin, "parcel: and what waits behind it", (size_t)h.len);
	check(waiter_end(&w) == 0 && released_now(r, &n) == 1, "parcel: released", (size_t)n);
	link_close(r->s.l, 1001, "");
	check(raw_drain(r, &code) == 0 && code == 1001, "parcel: nothing else", 0);
	check(give(r, 5, 1000, &n) == EPIPE && n == 1, "parcel: the link is closing", 0);
	check(raw_end(r) == 1001, "parcel: code", 0);

	for (i = 0; i < 3; i++) {	/* what ends the link releases it */
		r = raw_new(0, 0);
		r->s.l->conf.stall_ms = i == 0 ? 100 : 60000;
		start(&r->s.reader, reader, &r->s);
		check(give(r, len, 30, &n) == ETIMEDOUT, "parcel: half", (size_t)i);
		if (i == 1)
			link_abort(r->s.l);
		if (i == 2)
			link_close(r->s.l, 1001, "");
		check(i != 0 || (side_returned(&r->s, 5000) && strcmp(r->s.why, "a message was not taken") == 0), "parcel: not taken", 0);
		check(raw_end(r) == (i == 2 ? 1001 : WS_ABNORMAL) && n == 1, "parcel: released with its link", (size_t)i);
	}
}

/* A message that has begun and does not go on ends the link, though its sender answers pings. */
static void
half_received(void)
{
	struct raw *r = raw_new(0, PING_MS);
	uint8_t p[WS_CONTROL_MAX], begun[] = { 0x01, 0x80, 0, 0, 0, 0 };
	struct ws_hdr h;
	int pings = 0;

	start(&r->s.reader, reader, &r->s);
	check(write(r->fd, begun, sizeof(begun)) == sizeof(begun), "half received: begun", 0);
	while (raw_frame(r, &h, p) == WS_PING) {
		raw_send(r, WS_PONG, p, (size_t)h.len);
		pings++;
	}
	check(side_returned(&r->s, 5000) && strcmp(r->s.why, "half a message, and no more of it") == 0, "half received: why", 0);
	check(pings >= 1 && pings <= 3, "half received: by the next ping", (size_t)pings);
	check(raw_end(r) == WS_ABNORMAL, "half received: code", 0);
}

/* What is owed goes before the close frame, though link_close comes at once. */
static void
owed_before_close(void)
{
	struct raw *r = raw_new(0, 0);
	int i, code, early;

	for (early = 0; early < 2; early++) {	/* early: before link_run begins */
		if (early)
			r = raw_new(0, 0);
		else
			start(&r->s.reader, reader, &r->s);
		pthread_mutex_lock(&r->s.mtx);
		for (i = 0; i < WRITERS; i++)
			r->s.fin_owed[i] = 1;
		pthread_mutex_unlock(&r->s.mtx);
		link_owe_later(r->s.l);
		check(send_bytes(r->s.l, LINK_URGENT, "x", 1, NULL, -1) == 0, "owed: send", 0);
		link_close(r->s.l, 1001, "bye");
		check(send_bytes(r->s.l, LINK_BULK, "x", 1, NULL, -1) == EPIPE, "owed: closing", 0);
		if (early)
			start(&r->s.reader, reader, &r->s);
		check(raw_drain(r, &code) == WRITERS + 1, "owed: all of it", (size_t)early);
		check(code == 1001, "owed: close behind it", 0);
		raw_send(r, WS_CLOSE, "\x03\xe9", 2);
		check(raw_end(r) == 1001, "owed: code", (size_t)early);
	}
}

static void
endings(void)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	struct raw *r;
	int code;

	r = raw_new(0, 0);
	link_abort(r->s.l);
	start(&r->s.reader, reader, &r->s);
	check(raw_end(r) == WS_ABNORMAL, "ends: aborted before it began", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	raw_send(r, WS_TEXT, "\xff", 1);
	check(raw_drain(r, &code) == 0 && code == WS_BAD_DATA, "ends: failed", 0);
	raw_send(r, WS_CLOSE, "\x03\xef", 2);
	check(raw_drain(r, &code) == 0 && code == -1, "ends: after failing", 0);
	check(raw_end(r) == WS_BAD_DATA, "ends: code of the failure", 0);

	r = raw_new(0, 0);
	start(&r->s.reader, reader, &r->s);
	raw_send(r, WS_TEXT, "cut", 3);
	check(raw_end(r) == WS_ABNORMAL, "ends: cut", 0);

	r = raw_new(0, 0);	/* our close is never answered */
	start(&r->s.reader, reader, &r->s);
	link_close(r->s.l, WS_GOING_AWAY, "");
	check(raw_frame(r, &h, p) == WS_CLOSE && raw_frame(r, &h, p) == -1, "ends: given up", 0);
	check(raw_end(r) == WS_GOING_AWAY, "ends: code without an answer", 0);
}

static void
endings_unread(void)
{
	struct raw *r;
	int code, tcp;

	for (tcp = 0; tcp < 2; tcp++) {
		r = raw_new(tcp, 0);
		raw_fill(r);
		raw_send(r, WS_CLOSE, "\x03\xe8", 2);
		start(&r->s.reader, reader, &r->s);
		check(raw_end(r) == 1000, "ends: closed by a peer that left the rest unread", (size_t)tcp);

		r = raw_new(tcp, 0);
		raw_fill(r);
		raw_send(r, WS_CLOSE, "\x03\xe8", 2);
		shutdown(r->fd, SHUT_WR);
		start(&r->s.reader, reader, &r->s);
		check(!side_returned(&r->s, 100), "ends: half-closed, our answer waits", (size_t)tcp);
		check(raw_drain(r, &code) > 0 && code == 1000, "ends: half-closed", (size_t)tcp);
		check(raw_end(r) == 1000, "ends: code of the half-closed", (size_t)tcp);
	}
}

/* 1 as soon as the owed callback hears of a round trip; the reader may still have the writing. */
static int
told_rtt(struct side *s)
{
	int tries, told = 0;

	for (tries = 0; tries < 500 && !told; tries++) {
		link_owe(s->l);
		pthread_mutex_lock(&s->mtx);
		told = s->rtt_us > 0;
		pthread_mutex_unlock(&s->mtx);
		if (!told)
			poll(NULL, 0, 1);
	}
	return told;
}

static void
pings(void)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	struct raw *r = raw_new(0, PING_MS);
	int i, err;

	start(&r->s.reader, reader, &r->s);
	for (i = 0; i < 3; i++) {
		check(raw_frame(r, &h, p) == WS_PING, "pings: come", (size_t)i);
		raw_send(r, WS_PONG, p, (size_t)h.len);
	}
	check(raw_frame(r, &h, p) == WS_PING, "pings: one more", 0);
	check(told_rtt(&r->s), "pings: round trip", 0);
	check(raw_frame(r, &h, p) == -1, "pings: none without an answer", 0);
	check(side_returned(&r->s, 5000) && strcmp(r->s.why, "no answer to ping") == 0, "pings: why", 0);
	check(raw_end(r) == WS_ABNORMAL, "pings: code", 0);

	r = raw_new(0, PING_MS);	/* a blocked writer ends with a silent peer */
	start(&r->s.reader, reader, &r->s);
	while ((err = send_bytes(r->s.l, LINK_BULK, h.key, sizeof(h.key), NULL, -1)) == 0)
		;
	check(err == EPIPE, "pings: writer of a silent peer", 0);
	check(raw_end(r) == WS_ABNORMAL, "pings: code of a silent peer", 0);
}

/* A reader that stood still for longer than a ping's interval, its ping unsent, does not blame its peer. */
static void
overslept(void)
{
	uint8_t p[WS_CONTROL_MAX];
	struct ws_hdr h;
	struct raw *r = raw_new(0, PING_MS);
	int i;

	r->s.stands_still = 3 * PING_MS;
	start(&r->s.reader, reader, &r->s);
	for (i = 0; i < 3; i++) {
		check(raw_frame(r, &h, p) == WS_PING, "overslept: a ping", (size_t)i);
		raw_send(r, WS_PONG, p, (size_t)h.len);
	}
	check(!side_returned(&r->s, 0) && raw_end(r) == WS_ABNORMAL, "overslept: still there", 0);
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);	/* the raw peers write to what may be gone */
	alarm(300);
	crowd(0);
	crowd(1);
	deaf_peer(0);
	deaf_peer(1);
	close_while_blocked();
	abort_while_blocked();
	half_a_message();
	parcels();
	half_received();
	owed_before_close();
	endings();
	endings_unread();
	pings();
	overslept();
	return test_end();
}
