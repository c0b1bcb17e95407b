/*
 * sshtalk.h: a channel with blocking reads and writes, and what sshpeer's client does with some.
 */
#ifndef SSHTALK_H
#define SSHTALK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../conn.h"
#include "../deadline.h"
#include "../queue.h"
#include "../ssh.h"

enum { CHUNK = 32768, COMMAND_SIZE = 256 };

struct talk {			/* guarded by s->mtx */
	void *of;		/* whatever it belongs to */
	struct stream *s;
	pthread_cond_t cond;
	struct queue q;
	int fin, reset, opened, started;
	char command[COMMAND_SIZE];
};

static inline void
talk_data(void *arg, const uint8_t *p, size_t n)
{
	struct talk *t = arg;

	if (queue_put(&t->q, p, n) == -1)
		abort();
	pthread_cond_broadcast(&t->cond);
}

static inline void
talk_fin(void *arg)
{
	((struct talk *)arg)->fin = 1;
	pthread_cond_broadcast(&((struct talk *)arg)->cond);
}

static inline void
talk_reset(void *arg)
{
	((struct talk *)arg)->reset = 1;
	pthread_cond_broadcast(&((struct talk *)arg)->cond);
}

static inline void
talk_writable(void *arg)
{
	((struct talk *)arg)->opened = 1;
	pthread_cond_broadcast(&((struct talk *)arg)->cond);
}

static const struct stream_ops talk_ops = { talk_data, talk_fin, talk_reset, talk_writable };

static inline struct talk *
talk_new(void *of, struct stream *s)
{
	struct talk *t = calloc(1, sizeof(*t));

	if (t == NULL)
		abort();
	t->of = of;
	t->s = s;
	queue_init(&t->q);
	cond_init(&t->cond);
	pthread_mutex_lock(&s->mtx);
	s->ops = &talk_ops;
	s->arg = t;
	t->reset = stream_dead(s);
	pthread_mutex_unlock(&s->mtx);
	return t;
}

static inline void
talk_end(struct talk *t)
{
	stream_leave(t->s);
	queue_free(&t->q);
	pthread_cond_destroy(&t->cond);
	free(t);
}

/* At most n bytes: how many, 0 at the end, -1 if it was reset. */
static inline long
talk_read(struct talk *t, void *buf, size_t n)
{
	struct iovec iov;
	size_t k = 0;

	pthread_mutex_lock(&t->s->mtx);
	while (t->q.len == 0 && !t->fin && !t->reset)
		pthread_cond_wait(&t->cond, &t->s->mtx);
	if (t->q.len > 0 && queue_peek(&t->q, &iov, 1) == 1) {
		k = iov.iov_len < n ? iov.iov_len : n;
		memcpy(buf, iov.iov_base, k);
		queue_drop(&t->q, k);
	} else if (!t->fin) {
		pthread_mutex_unlock(&t->s->mtx);
		return -1;
	}
	pthread_mutex_unlock(&t->s->mtx);
	if (k > 0)
		stream_credit(t->s, k, 0);
	return (long)k;
}

/* All of it: 0, or -1. */
static inline int
talk_write(struct talk *t, const void *buf, size_t n, int fin)
{
	const char *p = buf;
	struct iovec iov;
	long k;

	for (;;) {
		pthread_mutex_lock(&t->s->mtx);
		t->opened = 0;
		pthread_mutex_unlock(&t->s->mtx);
		iov.iov_base = (void *)(uintptr_t)p;
		iov.iov_len = n;
		if ((k = stream_write(t->s, &iov, 1, fin, CONN_FOREVER)) == -1)
			return -1;
		p += k;
		n -= (size_t)k;
		if (n == 0)
			return 0;
		pthread_mutex_lock(&t->s->mtx);
		while (!t->opened && !t->reset)
			pthread_cond_wait(&t->cond, &t->s->mtx);
		pthread_mutex_unlock(&t->s->mtx);
	}
}

/* The client's work */

struct work {
	struct ssh *ssh;
	struct str target;	/* of direct-tcpip */
	unsigned long long bytes, calls;
	unsigned seed;
	int bad, started;
	struct talk *t;
};

static inline void *
echo_writer(void *arg)
{
	struct work *w = arg;
	unsigned long long at = 0;
	uint8_t buf[CHUNK];
	size_t i, n;

	do {
		n = w->bytes - at < sizeof(buf) ? (size_t)(w->bytes - at) : sizeof(buf);
		for (i = 0; i < n; i++)
			buf[i] = (uint8_t)((at + i) * 7 + ((at + i) >> 8) + w->seed);
		at += n;
		if (talk_write(w->t, buf, n, at == w->bytes) == -1)
			w->bad = 1;
	} while (at < w->bytes && !w->bad);
	return NULL;
}

/* One channel to the echo: what comes back must be what went. */
static inline int
echo_once(struct work *w)
{
	unsigned long long at = 0;
	uint8_t buf[CHUNK];
	struct stream *s = ssh_open(w->ssh);
	pthread_t writer;
	long n = 0, i;

	if (s == NULL)
		return 0;
	w->t = talk_new(NULL, s);
	if (ssh_ask(s, "direct-tcpip", w->target.p, w->target.len) == -1)
		abort();
	if (pthread_create(&writer, NULL, echo_writer, w) != 0)
		abort();
	while (!w->bad && (n = talk_read(w->t, buf, sizeof(buf))) > 0)
		for (i = 0; i < n; i++, at++)
			if (buf[i] != (uint8_t)(at * 7 + (at >> 8) + w->seed))
				w->bad = 1;
	if (w->bad || n == -1 || at != w->bytes)
		stream_reset(s);
	pthread_join(writer, NULL);
	talk_end(w->t);
	return !w->bad && n == 0 && at == w->bytes;
}

static inline void *
echo_calls(void *arg)
{
	struct work *w = arg;
	unsigned long long i;
	int ok = 1;

	for (i = 0; i < w->calls && ok; i++)
		ok = echo_once(w);
	w->bad |= !ok;
	return NULL;
}

/* threads at once, calls in each. */
static inline int
echo_all(struct ssh *ssh, int threads, unsigned long long calls, unsigned long long bytes, const char *host, const char *port)
{
	struct work *w = calloc((size_t)threads, sizeof(*w));
	pthread_t *t = calloc((size_t)threads, sizeof(*t));
	uint8_t text[256];
	struct buf b;
	int i, bad = 0;

	if (w == NULL || t == NULL)
		abort();
	buf_init(&b, text, sizeof(text));
	ssh_put_cstr(&b, host);
	ssh_put_u32(&b, (uint32_t)atoi(port));
	ssh_put_cstr(&b, "127.0.0.1");
	ssh_put_u32(&b, 1);
	for (i = 0; i < threads; i++) {
		w[i].ssh = ssh;
		w[i].target.p = b.p;
		w[i].target.len = b.len;
		w[i].calls = calls;
		w[i].bytes = bytes;
		w[i].seed = (unsigned)i;
		if (pthread_create(&t[i], NULL, echo_calls, &w[i]) != 0)
			abort();
	}
	for (i = 0; i < threads; i++) {
		pthread_join(t[i], NULL);
		bad += w[i].bad;
	}
	free(w);
	free(t);
	if (bad > 0)
		fprintf(stderr, "sshpeer: %d of %d failed\n", bad, threads);
	return bad == 0;
}

static inline void *
exec_writer(void *arg)
{
	struct work *w = arg;
	char buf[CHUNK];
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		if (talk_write(w->t, buf, (size_t)n, 0) == -1)
			return NULL;
	stream_fin(w->t->s);
	return NULL;
}

static inline int
exec(struct ssh *ssh, const char *command)
{
	struct work w;
	char buf[CHUNK], text[256];
	pthread_t writer;
	struct buf b;
	struct stream *s = ssh_open(ssh);
	long n, k, done;

	if (s == NULL)
		return 0;
	memset(&w, 0, sizeof(w));
	w.t = talk_new(NULL, s);
	ssh_ask(s, "session", NULL, 0);
	pthread_mutex_lock(&s->mtx);
	while (!w.t->opened && !w.t->reset)
		pthread_cond_wait(&w.t->cond, &s->mtx);
	pthread_mutex_unlock(&s->mtx);
	buf_init(&b, text, sizeof(text));
	ssh_put_cstr(&b, command);
	if (ssh_channel_request(s, "exec", 1, b.p, b.len) == -1 || pthread_create(&writer, NULL, exec_writer, &w) != 0)
		return 0;
	while ((n = talk_read(w.t, buf, sizeof(buf))) > 0)
		for (done = 0; done < n; done += k)
			if ((k = write(1, buf + done, (size_t)(n - done))) <= 0)
				return 0;
	pthread_join(writer, NULL);
	talk_end(w.t);
	return n == 0;
}

static inline int
work(struct ssh *ssh, int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[0], "exec") == 0)
		return exec(ssh, argv[1]);
	if (argc == 5 && strcmp(argv[0], "many") == 0)
		return echo_all(ssh, atoi(argv[1]), 1, strtoull(argv[4], NULL, 10), argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[0], "short") == 0)
		return echo_all(ssh, 8, strtoull(argv[1], NULL, 10) / 8, 10, argv[2], argv[3]);
	fprintf(stderr, "sshpeer: what work?\n");
	return 0;
}

#endif
