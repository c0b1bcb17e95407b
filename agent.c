/* agent.c: the client's sessions: connect, register, reconnect; see tunnel.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "deadline.h"
#include "handshake.h"
#include "json.h"
#include "random.h"
#include "sha256.h"

static const char protocol[] = "tunnel.v1";

/* Close links; none of ours is locked meanwhile. */
static void
close_all(struct mux **all, int n)
{
	while (n-- > 0) {
		mux_go_away(all[n], 0);
		link_close(mux_link(all[n]), WS_NORMAL, "client stopped");
		mux_unref(all[n]);
	}
}

void
agent_finish(struct tunnel_client *c, enum tunnel_end end, const char *why, int gently)
{
	struct mux *all[2 * LANES_MAX];
	struct session *s;
	int n = 0;

	pthread_mutex_lock(&c->mtx);
	if (!c->over) {
		c->over = 1;
		c->end = end;
		snprintf(c->why, sizeof(c->why), "%s", why);
	}
	for (s = c->sessions; s != NULL && n < 2 * LANES_MAX; s = s->next)
		if (gently) {
			if (s->leaving == 0)
				s->leaving = clock_ms(CLOCK_STEADY);
		} else {
			mux_ref(s->mux);
			all[n++] = s->mux;
		}
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	wake_post(&c->wake);
	close_all(all, n);
}

void
agent_look(struct tunnel_client *c)
{
	struct mux *all[2 * LANES_MAX];
	struct session *s;
	int64_t now = clock_ms(CLOCK_STEADY);
	int n = 0;

	pthread_mutex_lock(&c->mtx);
	for (s = c->sessions; s != NULL && n < 2 * LANES_MAX; s = s->next)
		if (s->leaving != 0 && (mux_streams(s->mux) == 0 || now - s->leaving >= LEAVE_MS)) {
			mux_ref(s->mux);
			all[n++] = s->mux;
		}
	pthread_mutex_unlock(&c->mtx);
	close_all(all, n);
}

/* The control stream, in a session's reader. */

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
	mux_control(s->mux, text, b.len);
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{");
	json_put_member(&b, "op", "listen");
	json_put_name(&b, "id");
	buf_u64(&b, 1);
	json_put_member(&b, "kind", "http");
	if (c->name[0] != '\0')
		json_put_member(&b, "name", c->name);
	if (c->share) {
		json_put_name(&b, "share");
		buf_str(&b, "true");
	}
	buf_str(&b, "}");
	mux_control(s->mux, text, b.len);
}

static void
ready(struct session *s, const struct json *j)
{
	struct tunnel_client *c = s->lane->c;
	char url[URL_MAX];
	int again, news;

	if (json_get_str(j, 0, "url", url, sizeof(url)) != 1)
		return;
	pthread_mutex_lock(&c->mtx);
	s->ready = 1;
	c->worked = 1;
	news = strcmp(c->url, url) != 0;
	again = !news && s->lane->served;
	s->lane->served = 1;
	snprintf(c->url, sizeof(c->url), "%s", url);
	pthread_mutex_unlock(&c->mtx);
	if (c->events.ready != NULL && (news || again))
		c->events.ready(c->arg, url, c->target, again);
}

/* The tunnel is refused or taken away. */
static void
lost(struct session *s, const char *code, const char *message)
{
	static const struct {
		const char *code;
		enum tunnel_end end;
	} table[] = {
		{ "forbidden", TUNNEL_DENIED }, { "revoked", TUNNEL_DENIED },
		{ "expired", TUNNEL_DENIED },
		{ "name_in_use", TUNNEL_LOST }, { "taken_over", TUNNEL_LOST },
		{ "bad_name", TUNNEL_USAGE },
	};
	struct tunnel_client *c = s->lane->c;
	char why[256];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].code, code) == 0)
			break;
	snprintf(why, sizeof(why), "%s%s%.200s", code, message[0] != '\0' ? ": " : "", message);
	if (i == sizeof(table) / sizeof(table[0])) {	/* "limit", or something new: try later */
		if (c->events.connection != NULL)
			c->events.connection(c->arg, why, 0);
		link_close(mux_link(s->mux), WS_NORMAL, "not served");
		return;
	}
	if (c->events.lost != NULL)
		c->events.lost(c->arg, code, message);
	agent_finish(c, table[i].end, why, strcmp(code, "taken_over") == 0);
}

/* The daemon wants us on another session: make it before this one breaks. */
static void
drain(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int first;

	pthread_mutex_lock(&c->mtx);
	first = s->ready && !s->drained && !c->over;
	s->drained |= first;
	if (first && clock_ms(CLOCK_STEADY) - s->began >= SETTLED_MS)
		s->lane->attempts = 0;	/* else the successor waits its turn: no daemon makes us spin */
	pthread_mutex_unlock(&c->mtx);
	if (first && agent_start(s->lane) == -1) {
		pthread_mutex_lock(&c->mtx);
		s->drained = 0;		/* this thread does it, afterwards */
		pthread_mutex_unlock(&c->mtx);
	}
}

static void
on_line(void *arg, const char *line, size_t len)
{
	struct session *s = arg;
	struct json_node node[NODES];
	struct json j;
	const char *why;
	char op[16], code[32], message[200];
	int64_t ping;

	if (json_parse(&j, node, NODES, line, len, &why) == -1 ||
	    json_get_str(&j, 0, "op", op, sizeof(op)) != 1) {
		link_close(mux_link(s->mux), WS_PROTOCOL_ERROR, "not a control object");
		return;
	}
	if (strcmp(op, "hello") == 0) {
		if (json_get_int(&j, 0, "ping", 1, 86400, &ping) == 1)
			link_set_ping(mux_link(s->mux), ping * 1000);
	} else if (strcmp(op, "ready") == 0)
		ready(s, &j);
	else if (strcmp(op, "error") == 0 || strcmp(op, "gone") == 0) {
		if (json_get_str(&j, 0, "code", code, sizeof(code)) != 1)
			code[0] = '\0';
		if (json_get_str(&j, 0, "message", message, sizeof(message)) != 1)
			message[0] = '\0';
		if (strcmp(code, "unknown_op") != 0)
			lost(s, code, message);
	} else if (strcmp(op, "drain") == 0)
		drain(s);
	else
		mux_control(s->mux, "{\"op\":\"error\",\"code\":\"unknown_op\"}", 34);
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
		drain(s);
	pthread_mutex_lock(&s->lane->c->mtx);
	s->leaving = clock_ms(CLOCK_STEADY);
	pthread_cond_broadcast(&s->lane->c->change);
	pthread_mutex_unlock(&s->lane->c->mtx);
}

static const struct mux_ops mux_ops = { on_accept, on_line, on_go_away };

/* Connecting. */

struct shake {			/* an opening handshake under way */
	struct conn conn;
	char buf[HTTP_HEAD_MAX];
	size_t len, taken;
	struct http_head head;
};

/* Read the answer's head: 0, or -1 and *why. */
static int
read_answer(struct shake *k, int wakefd, const char **why)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + SHAKE_MS;
	ssize_t n;
	int rc, woken;

	k->head.scanned = 0;
	for (;;) {
		rc = http_res_parse(&k->head, k->buf, k->len, 0, why);
		if (rc > 0) {
			k->taken = (size_t)rc;
			return 0;
		}
		if (rc < 0 || k->len == sizeof(k->buf))
			return -1;
		n = conn_read(&k->conn, k->buf + k->len, sizeof(k->buf) - k->len);
		if (n > 0) {
			k->len += (size_t)n;
			continue;
		}
		*why = "the connection was closed during the handshake";
		if (n == 0 || errno != EAGAIN)
			return -1;
		*why = "no answer to the handshake in time";
		if (conn_wait(&k->conn, POLLIN, deadline, wakefd, &woken) == 0 || woken)
			return -1;
	}
}

static int
send_handshake(struct lane *lane, struct shake *k, char key[WS_KEY_LEN + 1])
{
	struct tunnel_client *c = lane->c;
	char target[NAME_MAX_ + 16], *fields;
	size_t flen = strlen(c->token) + 128;	/* token_ok has bounded it */
	uint8_t nonce[16];
	struct buf b;
	int rc = -1;

	snprintf(target, sizeof(target), "/_tunnel%s%s", c->name[0] != '\0' ? "/" : "", c->name);
	if (random_bytes(nonce, sizeof(nonce)) == -1 || (fields = malloc(flen)) == NULL)
		return -1;
	snprintf(fields, flen, "Authorization: Bearer %s\r\nUser-Agent: tunnel/%s\r\n", c->token, VERSION);
	buf_init(&b, k->buf, sizeof(k->buf));
	ws_client_request(&b, c->endpoint.authority, target, protocol, fields, nonce, key);
	if (!b.full)
		rc = conn_write_all(&k->conn, k->buf, b.len, clock_ms(CLOCK_STEADY) + SHAKE_MS);
	wipe(fields, flen);
	wipe(k->buf, b.len);
	free(fields);
	return rc;
}

/* The other side, or the proxy, will not have us: over, unless it once did. 1: try again. */
static int
no_tunneld(struct tunnel_client *c, enum tunnel_end end, const char *why)
{
	int worked;

	pthread_mutex_lock(&c->mtx);
	worked = c->worked;
	pthread_mutex_unlock(&c->mtx);
	if (!worked)
		agent_finish(c, end, why, 0);
	return worked;
}

/* What an answer but 101 means. 1: try again. */
static int
refused(struct tunnel_client *c, int status, char *why, size_t whylen)
{
	snprintf(why, whylen, "%.150s answered %d %s", c->endpoint.authority, status, http_reason(status));
	if (status == 401) {
		agent_finish(c, TUNNEL_DENIED, "the daemon refused the token (401): it is wrong, expired or revoked", 0);
		return 0;
	}
	if (status == 403) {
		agent_finish(c, TUNNEL_DENIED, "the token's scope does not hold this name (403)", 0);
		return 0;
	}
	if (status == 308 && !c->endpoint.tls) {
		snprintf(why, whylen, "%.150s wants TLS: use its https:// URL", c->endpoint.authority);
		return no_tunneld(c, TUNNEL_FAILED, why);
	}
	if (status < 500 && status != 408 && status != 429) {
		snprintf(why, whylen, "%.150s is no tunneld: it answered %d %s",
		    c->endpoint.authority, status, http_reason(status));
		return no_tunneld(c, TUNNEL_FAILED, why);
	}
	return 1;
}

/* 1; 0: try again; -1: it is over. */
static int
shake_tls(struct tunnel_client *c, struct conn *conn, char *why, size_t whylen)
{
	char text[TLS_WHY_MAX];
	enum tls_result rc;

	rc = tlsconn_connect(conn, c->tls, c->endpoint.host, clock_ms(CLOCK_STEADY) + SHAKE_MS, c->wake.rd, text);
	snprintf(why, whylen, "%s", text);
	if (rc == TLS_OK)
		return 1;
	if (rc == TLS_UNTRUSTED) {
		agent_finish(c, TUNNEL_UNTRUSTED, why, 0);
		return -1;
	}
	if (rc == TLS_UNFIT || rc == TLS_REFUSED)
		return no_tunneld(c, rc == TLS_UNFIT ? TUNNEL_UNTRUSTED : TUNNEL_FAILED, why) ? 0 : -1;
	return 0;
}

/* A connection to the endpoint, through the proxy if there is one: 1; 0: try again; -1: it is over. */
static int
dial(struct tunnel_client *c, struct conn *conn, char *why, size_t whylen)
{
	const struct endpoint *e = &c->endpoint;
	const struct proxy *p = c->proxy.host[0] != '\0' ? &c->proxy : NULL;
	const char *cause;
	enum net_fail fail;
	int fd, rc;

	fd = net_dial(p != NULL ? p->host : e->host, p != NULL ? p->port : e->port,
	    clock_ms(CLOCK_STEADY) + DIAL_MS, c->wake.rd, &fail);
	if (fd == -1) {
		cause = fail == NET_RESOLVE ? "host name not found" : strerror(errno);
		if (p == NULL)
			snprintf(why, whylen, "cannot reach %.150s: %.80s", e->authority, cause);
		else
			snprintf(why, whylen, strchr(p->host, ':') != NULL ? "cannot reach the proxy [%.100s]:%s: %.80s" :
			    "cannot reach the proxy %.100s:%s: %.80s", p->host, p->port, cause);
		return 0;
	}
	net_tune(fd);
	conn_plain(conn, fd);
	if (p == NULL)
		return 1;
	rc = proxy_connect(conn, p, e->host, e->port, clock_ms(CLOCK_STEADY) + SHAKE_MS,
	    c->wake.rd, why, whylen);
	if (rc == PROXY_REFUSED)
		return no_tunneld(c, TUNNEL_FAILED, why) ? 0 : -1;
	return rc == 0;
}

/* A connection after its opening handshake: 1; 0: try again; -1: it is over. why says what was wrong. */
static int
shake_hands(struct lane *lane, struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	char key[WS_KEY_LEN + 1];
	const char *wrong = "";
	int rc;

	if ((rc = dial(c, &k->conn, why, whylen)) != 1)
		return rc;
	if (c->endpoint.tls && (rc = shake_tls(c, &k->conn, why, whylen)) != 1)
		return rc;
	k->len = 0;
	if (send_handshake(lane, k, key) == -1) {
		snprintf(why, whylen, "cannot send the handshake: %s", strerror(errno));
		return 0;
	}
	if (read_answer(k, c->wake.rd, &wrong) == -1) {
		snprintf(why, whylen, "%.150s: %s", c->endpoint.authority, wrong);
		return 0;
	}
	if (k->head.status != 101)
		return refused(c, k->head.status, why, whylen) ? 0 : -1;
	if (ws_client_check(&k->head, key, protocol, &wrong) == -1) {
		snprintf(why, whylen, "%.150s is no tunneld: %s", c->endpoint.authority, wrong);
		return no_tunneld(c, TUNNEL_FAILED, why) ? 0 : -1;
	}
	return 1;
}

static int
set_up(struct session *s, struct shake *k)
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
	lc.ping_ms = PING_MS;
	lc.message_max = MESSAGE_MAX;
	if ((s->mux = mux_new(&mc, &mux_ops, s)) == NULL)
		return -1;
	l = link_new(&k->conn, &lc, &mux_link_ops, s->mux, k->buf + k->taken, k->len - k->taken);
	if (l == NULL) {
		mux_unref(s->mux);
		return -1;
	}
	mux_attach(s->mux, l);
	return 0;
}

/* Enter the list, so that agent_finish() reaches us. 0 if it is over already. */
static int
enter(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int ok;

	pthread_mutex_lock(&c->mtx);
	if ((ok = !c->over)) {
		s->listed = 1;
		s->next = c->sessions;
		c->sessions = s;
	}
	pthread_mutex_unlock(&c->mtx);
	return ok;
}

static void
leave(struct session *s)
{
	struct session **p;

	pthread_mutex_lock(&s->lane->c->mtx);
	for (p = &s->lane->c->sessions; s->listed && *p != s; p = &(*p)->next)
		;
	if (s->listed)
		*p = s->next;
	pthread_mutex_unlock(&s->lane->c->mtx);
}

static void
tell(struct tunnel_client *c, const char *what, int64_t retry_ms)
{
	if (c->events.connection != NULL)
		c->events.connection(c->arg, what, retry_ms);
}

/* A session from handshake to end. 1: the lane goes on; 0: a successor has it, or it is over. */
static int
run_session(struct lane *lane, struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	struct session s;
	const char *reason;
	int code, go_on;

	memset(&s, 0, sizeof(s));
	s.lane = lane;
	s.began = clock_ms(CLOCK_STEADY);
	if (set_up(&s, k) == -1) {
		conn_close(&k->conn);
		snprintf(why, whylen, "no memory or descriptors for the session");
		return 1;
	}
	if (!enter(&s))
		link_abort(mux_link(s.mux));
	say_hello(&s);
	tell(c, "connected", 0);
	code = link_run(mux_link(s.mux), &reason);
	mux_end(s.mux);
	pthread_mutex_lock(&c->mtx);
	go_on = !s.drained && !c->over;
	if (s.ready && clock_ms(CLOCK_STEADY) - s.began >= SETTLED_MS)
		lane->attempts = 0;
	pthread_mutex_unlock(&c->mtx);
	leave(&s);
	mux_unref(s.mux);
	snprintf(why, whylen, "connection lost: %s (%d)", reason, code);
	if (code == WS_POLICY)	/* revoked or expired, if no "gone" has said so */
		agent_finish(c, TUNNEL_DENIED, "the daemon ended the session (1008): the token is expired or revoked", 0);
	return go_on;
}

/* How long before attempt n (0: the first), with jitter, so that a daemon's clients do not all come at once. */
static int64_t
delay_ms(int attempt)
{
	static const int64_t steps[] = { 0, 1000, 2000, 4000, 8000, 16000, 30000 };
	int64_t ms = steps[attempt < 6 ? attempt : 6];
	uint16_t r;

	if (random_bytes(&r, sizeof(r)) == -1)
		r = 0;
	return ms - ms * (r % 256) / 1024;
}

/* Wait for the next attempt's time. 0 if it is over meanwhile. */
static int
pause_lane(struct tunnel_client *c, int64_t ms)
{
	struct timespec until;
	int over, rc = 0;

	deadline_in(&until, ms);
	pthread_mutex_lock(&c->mtx);
	while (!c->over && rc == 0)
		rc = pthread_cond_timedwait(&c->change, &c->mtx, &until);
	over = c->over;
	pthread_mutex_unlock(&c->mtx);
	return !over;
}

static void
lane_loop(struct lane *lane, struct shake *k)
{
	struct tunnel_client *c = lane->c;
	char why[256];
	int64_t ms;
	int rc;

	pthread_mutex_lock(&c->mtx);
	ms = delay_ms(lane->attempts);
	pthread_mutex_unlock(&c->mtx);
	while (pause_lane(c, ms)) {
		pthread_mutex_lock(&c->mtx);
		lane->attempts++;
		pthread_mutex_unlock(&c->mtx);
		k->conn.fd = -1;
		rc = shake_hands(lane, k, why, sizeof(why));
		if (rc == 1)
			rc = run_session(lane, k, why, sizeof(why)) ? 0 : -1;
		else
			conn_close(&k->conn);
		if (rc == -1)
			break;
		pthread_mutex_lock(&c->mtx);
		ms = delay_ms(lane->attempts);
		pthread_mutex_unlock(&c->mtx);
		tell(c, why, ms);
	}
}

static void *
lane_main(void *arg)
{
	struct lane *lane = arg;
	struct tunnel_client *c = lane->c;
	struct shake *k = malloc(sizeof(*k));

	if (k != NULL)
		lane_loop(lane, k);
	else
		agent_finish(c, TUNNEL_FAILED, "no memory", 0);
	free(k);
	pthread_mutex_lock(&c->mtx);
	c->threads--;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	return NULL;
}

int
agent_start(struct lane *lane)
{
	struct tunnel_client *c = lane->c;
	int err;

	pthread_mutex_lock(&c->mtx);
	c->threads++;
	pthread_mutex_unlock(&c->mtx);
	if ((err = thread_start(c->stack, lane_main, lane)) == 0)
		return 0;
	pthread_mutex_lock(&c->mtx);
	c->threads--;
	pthread_mutex_unlock(&c->mtx);
	errno = err;
	return -1;
}
