/*
 * delay.c: a relay for TCP connections that lets each byte wait, half of MS on its way
 * there and half on its way back. It takes all that comes at once, so that the delay
 * is the only limit. One thread and poll(2).
 */
#include <signal.h>

#include "../opt.h"
#include "bench.h"

enum {
	PAIRS_MAX = 1024,
	RING = 64 << 20,	/* bytes under way in one direction */
	MARKS = 1 << 16,
	JOIN_US = 100,		/* bytes that come so close behind others leave with them */
	DELAY_MAX_MS = 10000
};

struct mark {			/* the bytes before end may leave when due */
	int64_t due;
	uint64_t end;
};

struct half {			/* one direction */
	int from, to;
	char *ring;
	uint64_t in, ready, out;	/* bytes read, due and written since the ring was empty */
	struct mark *mark;	/* MARKS of them, in a ring */
	unsigned first, n;
	int64_t eof;		/* us: when it is passed on. 0: none has come */
	int shut;		/* and it was */
};

struct pair {
	struct half half[2];
};

static struct half *
half_init(struct half *h, int from, int to)
{
	memset(h, 0, sizeof(*h));
	h->from = from;
	h->to = to;
	h->ring = malloc(RING);		/* memory only where bytes have been */
	h->mark = malloc(MARKS * sizeof(*h->mark));
	return h->ring != NULL && h->mark != NULL ? h : NULL;
}

static void
half_free(struct half *h)
{
	free(h->ring);
	free(h->mark);
	close(h->from);
}

static int
has_room(const struct half *h)
{
	return h->eof == 0 && h->in - h->out < RING && h->n < MARKS;
}

/* Take what has come. 0, or -1 if the connection is broken. */
static int
take(struct half *h, int64_t now, int64_t delay)
{
	size_t at, room;
	struct mark *last;
	ssize_t n;

	if (h->in == h->out)	/* the same memory again, which is in the cache */
		h->in = h->ready = h->out = 0;
	at = (size_t)(h->in % RING);
	room = RING - (size_t)(h->in - h->out);
	n = read(h->from, h->ring + at, room < RING - at ? room : RING - at);
	if (n == 0)
		h->eof = now + delay;
	if (n <= 0)
		return n == 0 || would_block() ? 0 : -1;
	h->in += (uint64_t)n;
	last = &h->mark[(h->first + h->n - 1) % MARKS];
	if (h->n == 0 || now + delay - last->due > JOIN_US) {
		last = &h->mark[(h->first + h->n++) % MARKS];
		last->due = now + delay;
	}
	last->end = h->in;
	return 0;
}

/* Let go what is due. 0, or -1 if the connection is broken. */
static int
pass(struct half *h, int64_t now)
{
	size_t at, len;
	ssize_t n;

	while (h->n > 0 && h->mark[h->first].due <= now) {
		h->ready = h->mark[h->first].end;
		h->first = (h->first + 1) % MARKS;
		h->n--;
	}
	while (h->out < h->ready) {
		at = (size_t)(h->out % RING);
		len = (size_t)(h->ready - h->out);
		n = write(h->to, h->ring + at, len < RING - at ? len : RING - at);
		if (n == -1)
			return would_block() ? 0 : -1;
		h->out += (uint64_t)n;
	}
	if (h->eof != 0 && h->eof <= now && h->n == 0 && !h->shut) {
		shutdown(h->to, SHUT_WR);
		h->shut = 1;
	}
	return 0;
}

static int64_t
next_due(const struct half *h, int64_t next)
{
	int64_t due = h->n > 0 ? h->mark[h->first].due : h->shut ? 0 : h->eof;

	return due > 0 && due < next ? due : next;
}

/* p[i] is for half[i].from, which is half[!i].to. */
static void
watch(const struct pair *q, struct pollfd *p)
{
	const struct half *h = q->half;
	int i;

	for (i = 0; i < 2; i++) {
		p[i].events = has_room(&h[i]) ? POLLIN : 0;
		if (h[!i].out < h[!i].ready)
			p[i].events |= POLLOUT;
		p[i].fd = p[i].events != 0 ? h[i].from : -1;
	}
}

/* 0, or -1 if the pair is at its end. */
static int
relay(struct pair *q, const struct pollfd *p, int64_t now, int64_t delay)
{
	struct half *h = q->half;
	int i;

	for (i = 0; i < 2; i++)
		if (p[i].fd != -1 && p[i].revents & ~POLLOUT && has_room(&h[i]) &&
		    take(&h[i], now, delay) == -1)
			return -1;
	for (i = 0; i < 2; i++)
		if (pass(&h[i], now) == -1)
			return -1;
	return h[0].shut && h[1].shut ? -1 : 0;
}

static struct pair *
pair_accept(int listener, const struct target *t)
{
	struct sockaddr_storage ss;
	struct pair *q;
	int in = net_accept(listener, &ss), out;

	if (in == -1)
		return NULL;
	if ((out = target_dial(t)) == -1) {
		close(in);
		return NULL;
	}
	no_delay(in);
	if ((q = malloc(sizeof(*q))) == NULL || half_init(&q->half[0], in, out) == NULL ||
	    half_init(&q->half[1], out, in) == NULL)
		die("delay", "memory", strerror(errno));
	return q;
}

static void
run(int listener, const struct target *t, int64_t delay)
{
	static struct pair *pair[PAIRS_MAX];
	static struct pollfd p[2 * PAIRS_MAX + 1];
	int64_t now, next;
	size_t n = 0, i;

	for (;;) {
		next = INT64_MAX;
		for (i = 0; i < n; i++) {
			watch(pair[i], &p[2 * i]);
			next = next_due(&pair[i]->half[0], next_due(&pair[i]->half[1], next));
		}
		p[2 * n].fd = n < PAIRS_MAX ? listener : -1;
		p[2 * n].events = POLLIN;
		now = clock_us(CLOCK_STEADY);
		if (poll_us(p, 2 * n + 1, next == INT64_MAX ? -1 : next > now ? next - now : 0) == -1)
			continue;
		if (p[2 * n].fd != -1 && p[2 * n].revents != 0 &&
		    (pair[n] = pair_accept(listener, t)) != NULL) {
			p[2 * n].fd = p[2 * n + 1].fd = -1;
			n++;
		}
		now = clock_us(CLOCK_STEADY);
		for (i = n; i-- > 0;) {
			if (relay(pair[i], &p[2 * i], now, delay) == 0)
				continue;
			half_free(&pair[i]->half[0]);
			half_free(&pair[i]->half[1]);
			free(pair[i]);
			pair[i] = pair[--n];	/* the last has had its turn */
		}
	}
}

int
main(int argc, char **argv)
{
	struct target t;
	long ms;

	if (argc != 4 || opt_number(argv[3], 0, DELAY_MAX_MS, &ms) == -1) {
		fprintf(stderr, "usage: delay LISTEN_ADDR:PORT TARGET_ADDR:PORT MS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	close(target_find(&t, "delay", argv[2]));
	run(bench_listen("delay", argv[1]), &t, (int64_t)ms * 500);
}
