/*
 * reach.c: from nothing to a WebSocket: connect, TLS, opening handshake; and in what
 * words a failure is told, so that the person at the terminal knows what to do. See agent.h.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent.h"
#include "clock.h"
#include "handshake.h"
#include "random.h"
#include "sha256.h"

enum { REASON_MS = 500, FIELDS_MAX = 8192 };

/* What may help, once, and only before anything has worked. */
static const char *
advice(struct tunnel_client *c, const char *text)
{
	int first;

	pthread_mutex_lock(&c->mtx);
	first = !c->worked && !c->advised && text[0] != '\0';
	c->advised |= first;
	pthread_mutex_unlock(&c->mtx);
	return first ? text : "";
}

int
reach_answer(struct shake *k, int wakefd, const char **why)
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

/* A refusal says why in its content, which may come a moment later. */
void
reach_reason(struct shake *k, int wakefd)
{
	ssize_t n;

	if (k->len > k->taken || k->head.framing == HTTP_NO_BODY || (k->head.has_length && k->head.length == 0) ||
	    k->len == sizeof(k->buf) ||
	    conn_wait(&k->conn, POLLIN, clock_ms(CLOCK_STEADY) + REASON_MS, wakefd, NULL) == 0)
		return;
	n = conn_read(&k->conn, k->buf + k->len, sizeof(k->buf) - k->len);
	if (n > 0)
		k->len += (size_t)n;
}

/* Nothing that the handshake itself says, and of one line. */
static int
field_ok(const struct tunnel_client *c, const char *text)
{
	static const char *const own[] = { "Host", "Upgrade", "Connection", "User-Agent", "Content-Length", "Transfer-Encoding", "Expect", "TE", "Trailer" };
	size_t len = strcspn(text, ":"), i;

	if (len == 0 || text[len] != ':' || strncasecmp(text, "Sec-WebSocket-", 14) == 0)
		return 0;
	if (c->token[0] != '\0' && len == 13 && strncasecmp(text, "Authorization", len) == 0)
		return 0;
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strlen(own[i]) == len && strncasecmp(text, own[i], len) == 0)
			return 0;
	for (i = 0; text[i] != '\0'; i++)
		if (i < len ? !http_is_tchar((unsigned char)text[i]) : ((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
			return 0;
	return 1;
}

int
reach_fields(struct tunnel_client *c, const struct tunnel_options *o, char *why, size_t whylen)
{
	struct buf b;
	int i;

	if (o->nheaders == 0)
		return 0;
	snprintf(why, whylen, "no memory");
	if ((c->fields = malloc(FIELDS_MAX)) == NULL)
		return -1;
	buf_init(&b, c->fields, FIELDS_MAX - 1);
	for (i = 0; i < o->nheaders; i++) {
		if (!field_ok(c, o->headers[i])) {
			snprintf(why, whylen, "headers: '%.*s' is no field for the handshake: NAME: VALUE, and none that it has already",
			    (int)strcspn(o->headers[i], ": \r\n"), o->headers[i]);
			return -1;
		}
		buf_str(&b, o->headers[i]);
		buf_str(&b, "\r\n");
	}
	c->fields[b.len] = '\0';
	snprintf(why, whylen, "headers: they are too long");
	return b.full ? -1 : 0;
}

static int
send_handshake(struct lane *lane, struct shake *k, char key[WS_KEY_LEN + 1])
{
	struct tunnel_client *c = lane->c;
	size_t cap = strlen(c->token) + (c->fields != NULL ? strlen(c->fields) : 0) + PATH_MAX_ + NAME_MAX_ + 256;	/* token_ok has bounded the first */
	char *text = malloc(2 * cap);
	struct buf b, target, fields;
	uint8_t nonce[16];
	int rc = -1;

	if (text == NULL)
		return -1;
	buf_init(&target, text, cap - 1);
	buf_init(&fields, text + cap, cap - 1);
	k->tunnel = 0;
	c->dialect->request(lane, k, &target, &fields);
	buf_str(&fields, "User-Agent: tunnel/" VERSION "\r\n");
	buf_str(&fields, c->fields != NULL ? c->fields : "");
	target.p[target.len] = fields.p[fields.len] = '\0';
	buf_init(&b, k->buf, sizeof(k->buf));
	if (random_bytes(nonce, sizeof(nonce)) == 0 && !target.full && !fields.full) {
		ws_client_request(&b, c->endpoint.authority, target.p, c->dialect->protocol, fields.p, nonce, key);
		if (!b.full)
			rc = conn_write_all(&k->conn, k->buf, b.len, clock_ms(CLOCK_STEADY) + SHAKE_MS);
	}
	wipe(text, 2 * cap);
	wipe(k->buf, b.len);
	free(text);
	return rc;
}

int
reach_hopeless(struct tunnel_client *c, enum tunnel_end end, const char *why)
{
	int worked;

	pthread_mutex_lock(&c->mtx);
	worked = c->worked || c->dialect->patient;
	pthread_mutex_unlock(&c->mtx);
	if (!worked)
		agent_finish(c, end, why, 0);
	return worked;
}

/* Does the content that has come with the head hold these words? */
static int
content_has(const struct shake *k, const char *words)
{
	size_t n = strlen(words), at;

	for (at = k->taken; at + n <= k->len; at++)
		if (memcmp(k->buf + at, words, n) == 0)
			return 1;
	return 0;
}

/* The answer bears another server's name, which fills out[]: "", or " (Server: nginx)". */
static int
in_front(const struct http_head *h, char *out, size_t cap)
{
	const struct str *s = http_field(h, "Server"), *via = http_field(h, "Via");
	const struct str *f = s != NULL && s->len > 0 ? s : via;

	out[0] = '\0';
	if (f == NULL || f->len == 0)
		return 0;
	snprintf(out, cap, " (%s: %.*s)", f == s ? "Server" : "Via", f->len < 40 ? (int)f->len : 40, f->p);
	return 1;
}

/* It sends us to TLS, wherever that is. */
static int
sends_to_tls(const struct http_head *h)
{
	const struct str *to = http_field(h, "Location");

	return h->status == 308 || (h->status >= 301 && h->status < 308 && to != NULL && to->len > 8 &&
	    http_same(to->p, "https://", 8));
}

/* It wants TLS on this very port, and says so in one of the ways that servers have: tunneld; nginx and Go; Apache. */
static int
wants_tls(const struct shake *k)
{
	return k->head.status == 400 &&
	    (content_has(k, "this port speaks TLS") || content_has(k, "HTTPS") || content_has(k, "SSL-enabled"));
}

/* The daemon's own words about what has reached it: something on the way has taken the upgrade out. */
static int
lost_upgrade(const struct shake *k)
{
	return content_has(k, "no upgrade to websocket") || content_has(k, "handshake in HTTP/1.0") ||
	    content_has(k, "no client serves this name");
}

int
reach_strange(struct tunnel_client *c, const struct shake *k, char *why, size_t whylen)
{
	const struct http_head *h = &k->head;
	const struct str *to = http_field(h, "Location");
	const char *reason = http_reason(h->status), *at = c->endpoint.authority;
	char who[64];

	if (!c->endpoint.tls && sends_to_tls(h))
		snprintf(why, whylen, "%.150s wants TLS: use its https:// URL", at);
	else if (!c->endpoint.tls && wants_tls(k))
		snprintf(why, whylen, "%.100s wants TLS: use https://%.100s", at, at);
	else if (h->status >= 300 && h->status < 400 && to != NULL)
		snprintf(why, whylen, "%.150s answered %d, to %.*s: is the endpoint right?", at, h->status,
		    to->len < 150 ? (int)to->len : 150, to->p);
	else if (in_front(h, who, sizeof(who)) || lost_upgrade(k))
		snprintf(why, whylen, "%.150s answered %d %s%s: a proxy in front of the daemon that does not pass "
		    "WebSocket upgrades?", at, h->status, reason, who);
	else
		snprintf(why, whylen, "%.150s is no %s: it answered %d %s", at, c->dialect->server, h->status, reason);
	return reach_hopeless(c, TUNNEL_FAILED, why);
}

/* 401: the daemon's, or somebody else's who wants a login. */
static void
unauthorized(struct tunnel_client *c, const struct shake *k)
{
	const struct str *f = http_field(&k->head, "WWW-Authenticate");
	const char *name = k->tunnel != -1 ? c->tunnel[k->tunnel].name : "";
	char why[WHY_MAX];
	size_t n = f != NULL ? f->len : 0, kind;

	for (kind = 0; kind < n && kind < 30 && f->p[kind] != ' ' && f->p[kind] != ','; kind++)
		;
	if (kind > 0 && !(kind == 6 && http_same(f->p, "Bearer", 6)))
		snprintf(why, sizeof(why), "%.150s answered 401 and wants %.*s credentials: a server in front of the daemon "
		    "that asks for a login of its own?", c->endpoint.authority, (int)kind, f->p);
	else
		snprintf(why, sizeof(why), "the daemon refused the token (401): it is wrong, expired or revoked; "
		    "tunneld token issue --scope %.253s makes a new one there", name[0] != '\0' ? name : "NAME");
	agent_finish(c, TUNNEL_DENIED, why, 0);
}

int
reach_refused(struct lane *lane, const struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	int status = k->head.status;

	if (status == 401) {
		unauthorized(c, k);
		return 0;
	}
	if (status == 403) {	/* it is about the name in the request-target: the others are asked for without it */
		if (k->tunnel != -1)
			agent_lost(c, NULL, k->tunnel, TUNNEL_DENIED, "forbidden", "the token's scope does not hold this name (403)");
		pthread_mutex_lock(&c->mtx);
		lane->attempts = 0;
		pthread_mutex_unlock(&c->mtx);
		why[0] = '\0';
		return agent_first(c) != -1;
	}
	if ((status < 500 && status != 408 && status != 429) || (status == 503 && lost_upgrade(k)))
		return reach_strange(c, k, why, whylen);
	snprintf(why, whylen, "%.150s answered %d %s%s", c->endpoint.authority, status, http_reason(status),
	    status == 502 || status == 504 ? advice(c, ": a proxy, and no daemon behind it?") : "");
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
		return reach_hopeless(c, rc == TLS_UNFIT ? TUNNEL_UNTRUSTED : TUNNEL_FAILED, why) ? 0 : -1;
	return 0;
}

/* A connection to the endpoint, through the proxy if there is one: 1; 0: try again; -1: it is over. */
static int
dial(struct tunnel_client *c, struct conn *conn, char *why, size_t whylen)
{
	const struct endpoint *e = &c->endpoint;
	const struct proxy *p = c->proxy.host[0] != '\0' ? &c->proxy : NULL;
	const char *cause, *help;
	enum net_fail fail;
	int fd, rc;

	fd = net_dial(p != NULL ? p->host : e->host, p != NULL ? p->port : e->port,
	    clock_ms(CLOCK_STEADY) + DIAL_MS, c->wake.rd, &fail);
	if (fd == -1) {
		help = fail == NET_RESOLVE ? ": is it spelt right?" : errno == ECONNREFUSED ?
		    ": is the daemon running, and this its port?" :
		    fail == NET_TIMEOUT ? ": is a firewall in between?" : "";
		cause = fail == NET_RESOLVE ? "host name not found" : strerror(errno);
		if (p == NULL)
			snprintf(why, whylen, "cannot reach %.150s: %.80s%s", e->authority, cause, advice(c, help));
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
		return reach_hopeless(c, TUNNEL_FAILED, why) ? 0 : -1;
	return rc == 0;
}

/* What came is no answer: 0: try again; -1: it is over. */
static int
no_answer(struct tunnel_client *c, const struct shake *k, const char *wrong, char *why, size_t whylen)
{
	const struct endpoint *e = &c->endpoint;

	if (!e->tls && k->len > 0 && (k->buf[0] == 0x15 || k->buf[0] == 0x16)) {	/* a TLS record: alert, handshake */
		snprintf(why, whylen, "%.100s wants TLS: use https://%.100s", e->authority, e->authority);
		return reach_hopeless(c, TUNNEL_FAILED, why) ? 0 : -1;
	}
	snprintf(why, whylen, "%.150s: %s%s", e->authority, wrong,
	    !e->tls && k->len == 0 ? advice(c, ": does it want https://?") : "");
	return 0;
}

/* A 101 without what belongs to it. 0: try again; -1: it is over. */
static int
bad_upgrade(struct tunnel_client *c, const struct http_head *h, const char *wrong, char *why, size_t whylen)
{
	char who[64];

	if (in_front(h, who, sizeof(who)) ||
	    (c->dialect->protocol != NULL && http_list_has(h, "Sec-WebSocket-Protocol", c->dialect->protocol)))
		snprintf(why, whylen, "%.150s answered 101%s, but %s: a proxy in front of the daemon that does not pass "
		    "WebSocket upgrades?", c->endpoint.authority, who, wrong);
	else
		snprintf(why, whylen, "%.150s is no %s: %s", c->endpoint.authority, c->dialect->server, wrong);
	return reach_hopeless(c, TUNNEL_FAILED, why) ? 0 : -1;
}

int
reach_connect(struct tunnel_client *c, struct conn *conn, char *why, size_t whylen)
{
	int rc = dial(c, conn, why, whylen);

	return rc == 1 && c->endpoint.tls ? shake_tls(c, conn, why, whylen) : rc;
}

int
reach(struct lane *lane, struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	char key[WS_KEY_LEN + 1];
	const char *wrong = "";
	int rc;

	if ((rc = reach_connect(c, &k->conn, why, whylen)) != 1)
		return rc;
	k->len = 0;
	if (send_handshake(lane, k, key) == -1) {
		snprintf(why, whylen, "cannot send the handshake: %s", strerror(errno));
		return 0;
	}
	if (reach_answer(k, c->wake.rd, &wrong) == -1)
		return no_answer(c, k, wrong, why, whylen);
	if (k->head.status != 101) {
		reach_reason(k, c->wake.rd);
		return c->dialect->refused(lane, k, why, whylen) ? 0 : -1;
	}
	if (ws_client_check(&k->head, key, c->dialect->protocol, &wrong) == -1)
		return bad_upgrade(c, &k->head, wrong, why, whylen);
	return 1;
}
