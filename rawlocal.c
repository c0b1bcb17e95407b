/* rawlocal.c: callers of TCP tunnels at the local service; see localint.h. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "localint.h"
#include "proxyproto.h"
#include "tcp.h"

struct raw {
	struct local *l;
	struct pool *pool;
	char peer[NET_ADDR_MAX], local[NET_ADDR_MAX];	/* of the caller's connection, as the preface has them; "": not told */
	int64_t began;
	const struct local_raw *ops;	/* NULL: the session's streams have a preface */
	void *arg;
	char detail[TLS_WHY_MAX];	/* for people; "": the word says it all */
	struct tcp tcp;		/* last: most of its buffer is never touched */
};

/* Say who the caller is. 0, or -1. */
static int
send_header(struct raw *r)
{
	unsigned char text[PROXYPROTO_MAX];
	struct proxyproto_end src, dst;
	int known = proxyproto_end(&src, r->peer) == 0 && proxyproto_end(&dst, r->local) == 0, version = r->pool->to.proxy_protocol;
	size_t n;

	if (version == 0)
		return 0;
	n = proxyproto_write(text, version, known ? &src : NULL, known ? &dst : NULL);
	return conn_write_all(&r->tcp.conn, text, n, clock_ms(CLOCK_STEADY) + WRITE_MS);
}

/* A connection of its own to the service: NULL; or why not, in a word. */
static const char *
reach(struct raw *r)
{
	const struct local_service *to = &r->pool->to;
	int64_t deadline = clock_ms(CLOCK_STEADY) + DIAL_MS;
	const char *why;
	int fd;

	if ((fd = local_dial(r->l, r->pool, r->peer, deadline, &why)) == -1)
		return why;
	conn_plain(&r->tcp.conn, fd);
	if (send_header(r) == -1)
		return "connection_lost";
	if (to->target.tls && tlsconn_connect(&r->tcp.conn, to->tls, to->target.host, deadline, -1, r->detail) != TLS_OK)
		return "tls";
	r->detail[0] = '\0';
	return NULL;
}

/* The stream and a connection to the service, until both have ended. NULL, or why not in order. */
static const char *
join(struct raw *r)
{
	static const struct str none = { NULL, 0 };
	const char *why = reach(r);

	if (r->ops != NULL)
		r->ops->reached(r->arg, r->tcp.s, why);
	if (why != NULL)
		return why;
	tcp_attach(&r->tcp);
	return tcp_run(&r->tcp, none);
}

static void
report(struct raw *r, const char *why)
{
	static const struct {
		const char *why, *text;
	} table[] = {
		{ "stream_reset", "the caller left" }, { "session_lost", "the connection to the daemon was lost" },
		{ "connection_lost", "the service reset the connection" },
	};
	struct tunnel_request q;
	size_t i;

	if (r->l->request == NULL)
		return;
	for (i = 0; why != NULL && i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].why, why) == 0)
			why = table[i].text;
	memset(&q, 0, sizeof(q));
	q.tunnel = (int)(r->pool - r->l->pool);
	q.method = "TCP";
	q.target = r->peer;
	q.ms = clock_ms(CLOCK_STEADY) - r->began;
	q.bytes = r->tcp.taken;
	q.error = r->detail[0] != '\0' ? r->detail : why;
	r->l->request(r->l->arg, &q);
}

static void
run(void *arg)
{
	struct raw *r = arg;
	const char *why = join(r);
	const struct local_raw *ops = r->ops;
	void *user = r->arg;

	tcp_end(&r->tcp, why);
	report(r, why);
	free(r);
	if (ops != NULL)
		ops->left(user);
}

/* NULL: no memory or descriptor. */
static struct raw *
raw_new(struct local *l, struct pool *pool, const struct local_raw *ops, void *arg)
{
	struct raw *r = malloc(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->l = l;
	r->pool = pool;
	r->ops = ops;
	r->arg = arg;
	r->began = clock_ms(CLOCK_STEADY);
	r->peer[0] = r->local[0] = r->detail[0] = '\0';
	if (tcp_init(&r->tcp) == 0)
		return r;
	free(r);
	return NULL;
}

/* Its thread. 0; or -1, and s is as it was. */
static int
start_locked(struct raw *r, struct stream *s, size_t len)
{
	const struct stream_ops *ops = s->ops;
	void *arg = s->arg;

	tcp_join_locked(&r->tcp, s, 0);
	pump_put_locked(&r->tcp.pump, NULL, 0, len);	/* the window gets the preface back */
	if (workers_run(r->l->workers, run, r) == 0)
		return 0;
	s->ops = ops;
	s->arg = arg;
	wake_close(&r->tcp.wake);
	free(r);
	return -1;
}

int
rawlocal_begin_locked(struct local *l, struct pool *pool, struct stream *s, const struct json *j, size_t len)
{
	struct raw *r = raw_new(l, pool, NULL, NULL);

	if (r == NULL)
		return -1;
	if (json_get_str(j, 0, "peer", r->peer, sizeof(r->peer)) != 1)
		r->peer[0] = '\0';
	if (json_get_str(j, 0, "local", r->local, sizeof(r->local)) != 1)
		r->local[0] = '\0';
	return start_locked(r, s, len);
}

int
local_begin_raw(struct local *l, int i, struct stream *s, const struct local_raw *ops, void *arg)
{
	struct raw *r = raw_new(l, &l->pool[i], ops, arg);
	int rc;

	if (r == NULL)
		return -1;
	pthread_mutex_lock(&s->mtx);
	rc = start_locked(r, s, 0);
	pthread_mutex_unlock(&s->mtx);
	return rc;
}
