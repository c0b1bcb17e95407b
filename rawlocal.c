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

/* The stream and a connection of its own to the service, until both have ended. NULL, or why not in order. */
static const char *
join(struct raw *r)
{
	struct str none = { NULL, 0 };
	const char *why;
	int fd;

	if ((fd = local_dial(&r->pool->to.target, clock_ms(CLOCK_STEADY) + DIAL_MS, &why)) == -1)
		return why;
	conn_plain(&r->tcp.conn, fd);
	if (send_header(r) == -1)
		return "connection_lost";
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
	q.error = why;
	r->l->request(r->l->arg, &q);
}

static void
run(void *arg)
{
	struct raw *r = arg;
	const char *why = join(r);

	tcp_end(&r->tcp, why);
	report(r, why);
	free(r);
}

int
rawlocal_begin_locked(struct local *l, struct pool *pool, struct stream *s, const struct json *j, size_t len)
{
	const struct stream_ops *ops = s->ops;
	struct raw *r = malloc(sizeof(*r));
	void *arg = s->arg;

	if (r == NULL)
		return -1;
	r->l = l;
	r->pool = pool;
	r->began = clock_ms(CLOCK_STEADY);
	if (json_get_str(j, 0, "peer", r->peer, sizeof(r->peer)) != 1)
		r->peer[0] = '\0';
	if (json_get_str(j, 0, "local", r->local, sizeof(r->local)) != 1)
		r->local[0] = '\0';
	if (tcp_init(&r->tcp) == -1) {
		free(r);
		return -1;
	}
	tcp_join_locked(&r->tcp, s, 0);
	pump_put_locked(&r->tcp.pump, NULL, 0, len);	/* the window gets the preface back */
	if (workers_run(l->workers, run, r) == 0)
		return 0;
	s->ops = ops;
	s->arg = arg;
	wake_close(&r->tcp.wake);
	free(r);
	return -1;
}
