/* agentnative.c: sessions in our own dialect: registering tunnels over the control stream; see agent.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "mux.h"

static struct mux *
mux_of(const struct session *s)
{
	return s->impl;
}

static void
say_unlisten(void *impl, int i)
{
	char text[64];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "unlisten");
	json_put_name(&b, "id");
	buf_u64(&b, (unsigned)i + 1);
	buf_str(&b, "}");
	mux_control(impl, text, b.len);
}

/* The control stream, in a session's reader. */

/* 0, or -1: too much is waiting to go out. */
static int
say_listen(struct session *s, int i)
{
	struct tunnel_client *c = s->lane->c;
	char text[MUX_LINE_MAX];
	struct buf b;
	int lost;

	pthread_mutex_lock(&c->mtx);
	lost = c->tunnel[i].lost;
	pthread_mutex_unlock(&c->mtx);
	if (lost)
		return 0;
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "listen");
	json_put_name(&b, "id");
	buf_u64(&b, (unsigned)i + 1);
	json_put_member(&b, "kind", c->tunnel[i].tcp ? "tcp" : "http");
	if (c->tunnel[i].tcp) {
		json_put_name(&b, "port");
		buf_u64(&b, (unsigned)c->tunnel[i].port);
		json_put_member(&b, "bind", c->tunnel[i].public ? "public" : "loopback");
	}
	if (c->tunnel[i].name[0] != '\0')
		json_put_member(&b, "name", c->tunnel[i].name);
	if (c->share) {
		json_put_name(&b, "share");
		buf_str(&b, "true");
	}
	if (c->tunnel[i].path) {
		json_put_name(&b, "path");
		buf_str(&b, "true");
	}
	if (c->guard != NULL)
		buf_str(&b, c->guard);
	buf_str(&b, "}");
	return mux_control(mux_of(s), text, b.len);
}

/* What does not fit now is asked for when answers come. */
static void
more(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int i;

	pthread_mutex_lock(&c->mtx);
	while (!s->full && s->asked < c->ntunnels) {
		i = s->asked;
		pthread_mutex_unlock(&c->mtx);
		i = say_listen(s, i);
		pthread_mutex_lock(&c->mtx);
		s->full = i == -1;
		s->asked += i == 0;
	}
	s->asking = 0;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
}

/* The same in its reader; another thread that asks already goes on as long as there is something. */
static void
ask(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int mine;

	pthread_mutex_lock(&c->mtx);
	s->greeted = 1;
	s->full = 0;
	if ((mine = !s->asking))
		s->asking = 1;
	pthread_mutex_unlock(&c->mtx);
	if (mine)
		more(s);
}

static void
say_hello(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	char text[1024];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "hello");
	json_put_member(&b, "version", VERSION);
	json_put_member(&b, "agent", "tunnel/" VERSION);
	json_put_member(&b, "instance", s->lane->instance);
	json_put_member(&b, "endpoint", c->endpoint.url);
	buf_str(&b, "}");
	mux_control(mux_of(s), text, b.len);
	ask(s);
}

/* The daemon wants us on another session: make it before this one breaks. soon: it has said that another can be had. */
static void
drain(struct session *s, int soon)
{
	struct tunnel_client *c = s->lane->c;
	int first;

	pthread_mutex_lock(&c->mtx);
	s->to_move = 1;
	first = s->ready && !s->drained && !c->over;
	s->drained |= first;
	if (first && clock_ms(CLOCK_STEADY) - s->began >= SETTLED_MS)
		s->lane->attempts = 0;	/* else the successor waits its turn: no daemon makes us spin */
	else if (first && soon && s->lane->attempts > 1)
		s->lane->attempts = 1;	/* but not as after failures: callers may wait at another daemon */
	pthread_mutex_unlock(&c->mtx);
	if (first && agent_start(s->lane) == -1) {
		pthread_mutex_lock(&c->mtx);
		s->drained = 0;		/* this thread does it, afterwards */
		pthread_mutex_unlock(&c->mtx);
	}
}

static void
ready(struct session *s, int i, const struct json *j)
{
	struct tunnel_client *c = s->lane->c;
	struct tunnel *t = &c->tunnel[i];
	char url[URL_MAX], path_url[URL_MAX], *at = url;
	int lost, again = 0, news = 0, move = 0, guarded = 0;

	if (t->tcp)
		at += snprintf(url, sizeof(url), "tcp://");
	if (json_get_str(j, 0, t->tcp ? "addr" : "url", at, sizeof(url) - (size_t)(at - url)) != 1)
		return;
	if (json_get_str(j, 0, "path_url", path_url, sizeof(path_url)) != 1)
		path_url[0] = '\0';
	if (c->guard != NULL && (json_get_bool(j, 0, "guarded", &guarded) != 1 || !guarded)) {
		say_unlisten(mux_of(s), i);
		agent_lost(c, s, i, TUNNEL_FAILED, "unguarded", "the daemon would let any caller in");
		return;
	}
	pthread_mutex_lock(&c->mtx);
	if (!(lost = t->lost)) {
		s->state[i] = LISTEN_READY;
		s->ready = 1;
		c->worked = 1;
		news = strcmp(t->url, url) != 0;
		again = !news && s->lane->served[i];
		s->lane->served[i] = 1;
		move = s->to_move;
		snprintf(t->url, sizeof(t->url), "%s", url);
	}
	pthread_mutex_unlock(&c->mtx);
	if (lost)		/* by another lane, meanwhile */
		say_unlisten(mux_of(s), i);
	else
		agent_up(s, i, url, path_url, again, news);
	if (move)		/* the daemon has asked before there was anything to move */
		drain(s, 1);
}

/* Nothing that the session has asked for can come any more, but another session may get it. */
static int
of_no_use(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int i, left = 0, hope = 0;

	pthread_mutex_lock(&c->mtx);
	for (i = 0; i < c->ntunnels; i++)
		if (!c->tunnel[i].lost) {
			left = 1;
			hope |= s->state[i] != LISTEN_NOT_NOW;
		}
	pthread_mutex_unlock(&c->mtx);
	return left && !hope;
}

/* The tunnel is not to be had in this session: "limit", or something new. */
static void
not_now(struct session *s, int i, const char *code, const char *message)
{
	struct tunnel_client *c = s->lane->c;
	const char *name = agent_tunnels(c) > 1 ? c->tunnel[i].name : "";
	char why[WHY_MAX];
	int retry;

	pthread_mutex_lock(&c->mtx);
	s->state[i] = LISTEN_NOT_NOW;
	pthread_mutex_unlock(&c->mtx);
	retry = of_no_use(s);
	snprintf(why, sizeof(why), "%.255s%s%s%s%.190s%s", name, name[0] != '\0' ? ": " : "", code,
	    message[0] != '\0' ? ": " : "", message, retry ? "" : "; the next session asks again");
	agent_tell(c, why, retry ? 0 : -1);
}

/* The tunnel is refused or taken away. */
static void
lost(struct session *s, int i, const char *code, const char *message)
{
	static const struct {
		const char *code;
		enum tunnel_end end;
	} table[] = {
		{ "forbidden", TUNNEL_DENIED }, { "revoked", TUNNEL_DENIED },
		{ "expired", TUNNEL_DENIED },
		{ "name_in_use", TUNNEL_LOST }, { "taken_over", TUNNEL_LOST },
		{ "port_in_use", TUNNEL_LOST },
		{ "bad_name", TUNNEL_USAGE }, { "bad_port", TUNNEL_USAGE }, { "bad_guard", TUNNEL_USAGE },
	};
	struct tunnel_client *c = s->lane->c;
	int known = 0;
	size_t k;

	pthread_mutex_lock(&c->mtx);
	known = c->tunnel[i].lost;	/* "gone" answers our unlisten */
	pthread_mutex_unlock(&c->mtx);
	if (known)
		return;
	for (k = 0; k < sizeof(table) / sizeof(table[0]); k++)
		if (strcmp(table[k].code, code) == 0)
			break;
	if (k == sizeof(table) / sizeof(table[0]))
		not_now(s, i, code, message);
	else
		agent_lost(c, s, i, table[k].end, code, message);
	if (of_no_use(s))
		link_close(mux_link(mux_of(s)), WS_NORMAL, "not served");
}

static void
on_line(void *arg, const char *line, size_t len)
{
	struct session *s = arg;
	struct tunnel_client *c = s->lane->c;
	struct json_node node[NODES];
	struct json j;
	const char *why;
	char op[16], code[32], message[200];
	int64_t ping, id;
	int n = agent_tunnels(c);

	if (json_parse(&j, node, NODES, line, len, &why) == -1 ||
	    json_get_str(&j, 0, "op", op, sizeof(op)) != 1) {
		link_close(mux_link(mux_of(s)), WS_PROTOCOL_ERROR, "not a control object");
		return;
	}
	if (json_get_int(&j, 0, "id", 1, n, &id) != 1)
		id = n == 1;	/* 0: nothing that we have asked for */
	if (strcmp(op, "hello") == 0) {
		if (c->ping_ms == 0 && json_get_int(&j, 0, "ping", 1, 86400, &ping) == 1)
			link_set_ping(mux_link(mux_of(s)), ping * 1000);
	} else if (strcmp(op, "ready") == 0) {
		if (id > 0)
			ready(s, (int)id - 1, &j);
		ask(s);
	} else if (strcmp(op, "error") == 0 || strcmp(op, "gone") == 0) {
		if (json_get_str(&j, 0, "code", code, sizeof(code)) != 1)
			code[0] = '\0';
		if (json_get_str(&j, 0, "message", message, sizeof(message)) != 1)
			message[0] = '\0';
		if (strcmp(code, "unknown_op") != 0 && id > 0)
			lost(s, (int)id - 1, code, message);
		ask(s);
	} else if (strcmp(op, "drain") == 0)
		drain(s, 1);
	else
		mux_control(mux_of(s), "{\"op\":\"error\",\"code\":\"unknown_op\"}", 34);
}

static int
on_accept(void *arg, struct stream *st)
{
	struct session *s = arg;

	return local_accept(s->lane->c->local, st);
}

static void
on_go_away(void *arg, uint32_t reason)
{
	struct session *s = arg;

	if (reason == 0)
		drain(s, 0);
	pthread_mutex_lock(&s->lane->c->mtx);
	s->leaving = clock_ms(CLOCK_STEADY);
	pthread_cond_broadcast(&s->lane->c->change);
	pthread_mutex_unlock(&s->lane->c->mtx);
}

static const struct mux_ops mux_ops = { on_accept, on_line, on_go_away };

/* As the lanes know it. */

static int
open_session(struct session *s, struct shake *k)
{
	struct tunnel_client *c = s->lane->c;
	struct mux_conf mc;
	struct link_conf lc;
	struct link *l;

	memset(&mc, 0, sizeof(mc));
	mc.client = 1;
	mc.streams_max = STREAMS_MAX;
	mc.window_max = WINDOW_MAX;
	mc.budget = &c->budget;
	memset(&lc, 0, sizeof(lc));
	lc.client = 1;
	lc.ping_ms = c->ping_ms == 0 ? PING_MS : c->ping_ms > 0 ? c->ping_ms : 0;
	lc.message_max = MESSAGE_MAX;
	if ((s->impl = mux_new(&mc, &mux_ops, s)) == NULL)
		return -1;
	l = link_new(&k->conn, &lc, &mux_link_ops, mux_of(s), k->buf + k->taken, k->len - k->taken);
	if (l == NULL) {
		mux_unref(mux_of(s));
		return -1;
	}
	mux_attach(mux_of(s), l);
	return 0;
}

static void
ended(struct session *s, int code, char *why, size_t whylen)
{
	(void)why;
	(void)whylen;
	if (code == WS_POLICY)	/* revoked or expired, if no "gone" has said so */
		agent_finish(s->lane->c, TUNNEL_DENIED, "the daemon ended the session (1008): the token is expired or revoked", 0);
}

static void
request(struct lane *lane, struct shake *k, struct buf *target, struct buf *fields)
{
	struct tunnel_client *c = lane->c;
	const char *name;	/* of the first tunnel, for load balancers to hash on; "": the daemon chooses */

	k->tunnel = agent_first(c);
	name = k->tunnel != -1 ? c->tunnel[k->tunnel].name : "";
	buf_str(target, name[0] != '\0' ? "/_tunnel/" : "/_tunnel");
	buf_str(target, name);
	buf_str(fields, "Authorization: Bearer ");
	buf_str(fields, c->token);
	buf_str(fields, "\r\n");
}

static struct link *
link_of(void *impl)
{
	return mux_link(impl);
}

static void
ref(void *impl)
{
	mux_ref(impl);
}

static void
unref(void *impl)
{
	mux_unref(impl);
}

static int
running(void *impl)
{
	return mux_streams(impl);
}

static void
bye(void *impl)
{
	mux_go_away(impl, 0);
	link_close(mux_link(impl), WS_NORMAL, "client stopped");
}

static void
end(void *impl)
{
	mux_end(impl);
}

static int
take(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	int i;

	*why = "has its time from the daemon: --timeout is for pipegate and bifrost";
	if (o->timeout_ms != 0)
		return -1;
	*why = "has no --key-file and --host-key";
	if (o->key != NULL || o->host_key != NULL)
		return -1;
	*why = "has no domains: give a port";
	for (i = 0; i < c->ntunnels; i++)
		if (c->tunnel[i].tcp && c->tunnel[i].name[0] != '\0')
			return -1;
	return 0;
}

const struct agent_dialect agent_native = {
	.name = "native", .server = "tunneld", .protocol = "tunnel.v1", .memory = BUFFER_MAX, .take = take,
	.request = request, .refused = reach_refused, .open = open_session, .begin = say_hello, .ended = ended,
	.link = link_of, .ref = ref, .unref = unref, .running = running, .bye = bye, .end = end, .give_up = say_unlisten, .more = more
};
