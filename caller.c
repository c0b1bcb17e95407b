/* caller.c: a public connection; see caller.h. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bifrost.h"
#include "caller.h"
#include "clock.h"
#include "connect.h"
#include "handshake.h"
#include "log.h"
#include "native.h"
#include "pipegate.h"
#include "relay.h"
#include "route.h"
#include "webgate.h"
#include "vtunnel.h"
#include "wsproxy.h"

enum {
	LINGER_MS = 1000,	/* see close_caller */
	LINGER_MAX = 65536,
	SPARE_MAX = 32,		/* memory kept for the next connections */
	HEAD_WAIT = 2		/* the watch calls when there is one */
};

/* With --origin as wsproxy has it, to the letter. */
static void
health(struct caller *c)
{
	int web = c->d->conf.web;
	struct str ok = { "ok\n", web ? 2 : 3 };
	char fields[1024];
	struct buf b;

	if (web && !webgate_enter(c))
		return;
	buf_init(&b, fields, sizeof(fields) - 1);
	if (web)
		webgate_cors(c, &b);
	else
		buf_str(&b, "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n");
	fields[b.len] = '\0';
	caller_answer(c, str_is(c->head.method, "OPTIONS") ? 204 : 200, "text/plain; charset=utf-8", fields, ok);
}

static void
ping(struct caller *c)
{
	struct str ok = { "ok", 2 };

	caller_answer(c, 200, "text/plain", "", ok);
}

static void
page(struct caller *c)
{
	static const char text[] =
	    "<!DOCTYPE html>\n<title>tunneld</title>\n"
	    "<p>tunneld " VERSION ": relay running, it gives local services behind NAT a name here.\n"
	    "<p>No tunnel is the default one; ask its owner for a URL, or see tunnel(1).\n";
	struct str content;

	content.p = text;
	content.len = sizeof(text) - 1;
	caller_answer(c, 200, "text/html; charset=utf-8", "", content);
}

/* May a front proxy get a certificate for this name? The answer is for "on demand" certificates. */
static void
ask(struct caller *c)
{
	static const char key[] = "domain=";
	struct daemon *d = c->d;
	char host[NAME_LEN_MAX + 1], name[NAME_LEN_MAX + 1];
	const char *p = c->head.target.p, *end = p + c->head.target.len, *amp;
	struct str domain = { "", 0 }, none = { "", 0 };
	int ok = 0;

	for (p = memchr(p, '?', (size_t)(end - p)); p != NULL; p = amp < end ? amp : NULL) {
		p++;
		amp = memchr(p, '&', (size_t)(end - p));
		amp = amp != NULL ? amp : end;
		if ((size_t)(amp - p) < sizeof(key) - 1 || memcmp(p, key, sizeof(key) - 1) != 0)
			continue;
		domain.p = p + sizeof(key) - 1;
		domain.len = (size_t)(amp - domain.p);
		break;
	}
	route_fold(domain, host);
	/* without --domain anybody could have a certificate made for tunnel.SOMETHING */
	if (d->conf.domain[0] != '\0' && host[0] != '\0')
		ok = strcmp(host, d->conf.domain) == 0 ||
		    (route_host(d, host, name) && !wsproxy_name(d, name) && registry_has(d->registry, name, 0));
	caller_answer(c, ok ? 200 : 404, "text/plain; charset=utf-8", "", none);
}

int
caller_secure(const struct caller *c)
{
	const struct str *proto = c->trusted ? http_field(&c->head, "X-Forwarded-Proto") : NULL;

	return c->secure || (proto != NULL && http_is(*proto, "https"));
}

/* To the same place over TLS. */
static void
redirect(struct caller *c)
{
	const struct daemon_conf *conf = &c->d->conf;
	const struct http_head *h = &c->head;
	const char *port = c->d->https_port, *url;
	char host[NAME_LEN_MAX + 1], *field = c->exchange.request;
	struct str none = { "", 0 };
	struct buf b;

	c->close = 1;		/* its content is nobody's, its next request for elsewhere */
	route_fold(h->host, host);
	if (host[0] == '\0')
		memcpy(host, conf->domain, strlen(conf->domain) + 1);
	if (strncmp(conf->url, "https://", 8) == 0) {
		url = strchr(conf->url + 8, ']');
		url = strchr(url != NULL ? url : conf->url + 8, ':');
		port = url != NULL ? url + 1 : "443";
	}
	if (host[0] == '\0' || port[0] == '\0') {
		caller_error(c, 400, "this is https only, and the request names no host", NULL, "");
		return;
	}
	buf_init(&b, field, sizeof(c->exchange.request));
	buf_str(&b, "Location: https://");
	buf_str(&b, host);
	if (strcmp(port, "443") != 0) {
		buf_str(&b, ":");
		buf_put(&b, port, strspn(port, "0123456789"));
	}
	if (h->target.p[0] == '/')
		buf_put(&b, h->target.p, h->target.len);
	buf_str(&b, "\r\n");
	buf_put(&b, "", 1);
	caller_answer(c, 308, "text/plain; charset=utf-8", field, none);
}

/* To the same path with a slash behind it, prefix: what a page there links to is relative to that. */
static void
add_slash(struct caller *c, struct str prefix)
{
	const struct http_head *h = &c->head;
	char *field = c->exchange.request;
	struct str none = { "", 0 };
	struct buf b;

	buf_init(&b, field, sizeof(c->exchange.request));
	buf_str(&b, "Location: ");
	if (h->host.len > 0) {
		buf_str(&b, caller_secure(c) ? "https://" : "http://");
		buf_put(&b, h->host.p, h->host.len);
	}
	buf_put(&b, prefix.p, prefix.len);
	buf_str(&b, "/");
	buf_put(&b, prefix.p + prefix.len, h->target.len - prefix.len);
	buf_str(&b, "\r\n");
	buf_put(&b, "", 1);
	caller_answer(c, 307, "text/plain; charset=utf-8", field, none);
}

/* Read bytes behind those that are there. 1, 0: none now, -1: the end. */
static int
read_more(struct caller *c)
{
	ssize_t n;

	if (c->at > 0) {
		memmove(c->in, c->in + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
	}
	n = conn_read(&c->conn, c->in + c->len, sizeof(c->in) - c->len);
	if (n > 0)
		c->len += (size_t)n;
	return n > 0 ? 1 : n == -1 && errno == EAGAIN ? 0 : -1;
}

/* The same, but wait for them. 0 at the deadline. */
static int
more(struct caller *c, int64_t deadline)
{
	int rc;

	while ((rc = read_more(c)) == 0)
		if (conn_wait(&c->conn, POLLIN, deadline, -1, NULL) == 0)
			return 0;
	return rc;
}

static void called(struct watched *);
static void later(struct watched *);

int
caller_watch(struct caller *c)
{
	struct watch *w = c->secure ? NULL : c->d->watch;	/* TLS may have read what the system does not tell of */

	if (!c->watched.joined && w != NULL)
		watch_join(&c->watched, w, c->conn.fd, called, later);
	return c->watched.joined;
}

/* What an error needs to know before there is a sound head. */
static void
fresh(struct caller *c)
{
	char id[17];

	daemon_request_id(c->d, id);
	memcpy(c->request_id, id, sizeof(id));
	c->head.scanned = 0;
	c->is_head = 0;
	c->json = 0;
	c->minor = 1;
}

/*
 * Read a request head. 1: it is in c->head; 0: close, silently; or an error
 * status negated; or HEAD_WAIT: the watch is to wait for it. deadline: for the first byte.
 */
static int
read_head(struct caller *c, int64_t deadline, const char **why)
{
	int n = 0, rc, begun = c->len > c->at;

	fresh(c);
	if (begun)
		deadline = clock_ms(CLOCK_STEADY) + c->d->conf.head_ms;
	for (;;) {
		if (begun)
			n = (c->connect ? http_proxy_parse : http_req_parse)(&c->head, c->in + c->at, c->len - c->at, why);
		if (n < 0)
			return n;
		*why = "the request head is too long";
		if (n > CALLER_HEAD_MAX || (n == 0 && c->len - c->at > CALLER_HEAD_MAX) ||
		    (n > 0 && c->head.nfields > CALLER_FIELDS_MAX))
			return -431;
		if (n > 0) {
			c->at += (size_t)n;
			return 1;
		}
		if (begun || !c->served || !caller_watch(c))
			rc = more(c, deadline);
		else if ((rc = read_more(c)) == 0 && clock_ms(CLOCK_STEADY) < deadline)
			return HEAD_WAIT;
		if (rc == -1 || (rc == 0 && !begun))
			return 0;
		*why = "the request head did not arrive in time";
		if (rc == 0)
			return -408;
		if (!begun)
			deadline = clock_ms(CLOCK_STEADY) + c->d->conf.head_ms;
		begun = 1;
	}
}

/* A proxy we trust may have named the request already. */
static void
take_request_id(struct caller *c)
{
	const struct str *id = c->trusted ? http_field(&c->head, "X-Request-Id") : NULL;

	if (id == NULL || !http_is_token(*id) || id->len >= sizeof(c->request_id))
		return;
	memcpy(c->request_id, id->p, id->len);
	c->request_id[id->len] = '\0';
}

static int
wants_json(const struct http_head *h)
{
	struct str tok;
	const char *semi;
	size_t at = 0;

	while (http_list_next(h, "Accept", &at, &tok)) {
		if ((semi = memchr(tok.p, ';', tok.len)) != NULL)
			tok.len = (size_t)(semi - tok.p);
		while (tok.len > 0 && (tok.p[tok.len - 1] == ' ' || tok.p[tok.len - 1] == '\t'))
			tok.len--;
		if (http_is(tok, "application/json"))
			return 1;
	}
	return 0;
}

/* Answer what is not for a tunnel. A session to be run if the connection has become one. */
static struct session *
other(struct caller *c, enum route r, struct str prefix)
{
	if (r == ROUTE_NATIVE)
		return native_accept(c);
	if (r == ROUTE_BIFROST)
		return bifrost_accept(c);
	if (r == ROUTE_PIPEGATE)
		return pipegate_accept(c);
	if ((r == ROUTE_RELAY || r == ROUTE_WSPROXY) && !webgate_enter(c))
		return NULL;
	if (r == ROUTE_RELAY && c->d->relays != NULL) {
		relay_serve(c);
		return NULL;
	}
	if (r == ROUTE_WSPROXY)
		return wsproxy_accept(c);
	if (r == ROUTE_VTUNNEL)
		return vtunnel_accept(c);
	if (c->head.framing != HTTP_NO_BODY)
		c->close = 1;	/* its content is nobody's */
	switch (r) {
	case ROUTE_SLASH:
		add_slash(c, prefix);
		break;
	case ROUTE_HEALTH:
		health(c);
		break;
	case ROUTE_PING:
		ping(c);
		break;
	case ROUTE_PAGE:
		page(c);
		break;
	case ROUTE_ASK:
		ask(c);
		break;
	case ROUTE_GONE:
		caller_plain(c, 404, "tunnel not found", "");
		break;
	case ROUTE_RELAY:
	case ROUTE_OFF:
		caller_error(c, 404, "this endpoint is off", NULL, "");
		break;
	default:
		caller_error(c, 503, "no client serves this name", NULL, "Retry-After: 1\r\n");
		break;
	}
	return NULL;
}

/* Answer one request. 1: it is the watch's until that is done. *s: a session to be run if the connection has become one. */
static int
serve(struct caller *c, struct session **s)
{
	struct str prefix;
	enum route r;

	c->is_head = str_is(c->head.method, "HEAD");
	c->json = wants_json(&c->head);
	c->minor = c->head.minor;
	c->retry = 0;
	c->close = !c->head.keep_alive || daemon_draining(c->d);
	take_request_id(c);
	if (c->connect) {
		watch_leave();
		connect_serve(c);
		return 0;
	}
	r = route(c, c->name, &prefix);
	if (c->only[0] != '\0') {
		snprintf(c->name, sizeof(c->name), "%s", c->only);
		prefix.len = 0;
		r = ROUTE_TUNNEL;
	}
	if (c->d->conf.redirect && r != ROUTE_ASK && r != ROUTE_HEALTH && !caller_secure(c)) {
		redirect(c);
		return 0;
	}
	if (r == ROUTE_TUNNEL || r == ROUTE_PATH) {
		access_tunnel(c, c->name);
		memset(&c->to, 0, sizeof(c->to));
		c->to.name = c->name;
		c->to.prefix = prefix;
		c->to.waits = c->busy = 1;
		return exchange_run(c, &c->to);
	}
	watch_leave();		/* what follows may take long */
	*s = other(c, r, prefix);
	return 0;
}

/*
 * Close so that the caller still reads our answer: closing with its bytes
 * unread would send a reset that overtakes it. Bounded in bytes and time.
 */
static void
close_caller(struct caller *c)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + LINGER_MS;
	size_t seen = 0;

	if (c->abort) {
		conn_reset_on_close(&c->conn);
		conn_close(&c->conn);
		return;
	}
	if (c->cut)
		shutdown(c->conn.fd, SHUT_WR);
	else
		conn_shutdown(&c->conn, SHUT_WR);
	while (seen < LINGER_MAX) {
		c->at = c->len = 0;
		if (more(c, deadline) != 1)
			break;
		seen += c->len;
	}
	conn_close(&c->conn);
}

static void
init(struct caller *c, struct daemon *d, int fd, const struct daemon_listener *l, const struct caller_from *from)
{
	c->d = d;
	net_tune(fd);
	conn_plain(&c->conn, fd);
	daemon_greet(d, &c->guest, fd);
	caller_from(c, &from->peer);
	snprintf(c->only, sizeof(c->only), "%s", from->only != NULL ? from->only : "");
	if ((c->connect = l->connect))
		c->trusted = 0;		/* no front proxy comes here: nobody speaks for others */
	c->secure = 0;
	c->at = 0;
	c->len = from->nearly;
	memcpy(c->in, from->nearly > 0 ? from->early : "", from->nearly);
	c->close = c->cut = c->abort = c->busy = c->served = 0;
	c->watched.joined = 0;
}

/* Memory for a connection. NULL: there are too many already, or there is none. */
static struct caller *
enter(struct daemon *d)
{
	const char *why = "callers_full";
	struct caller *c = NULL;
	int ok = daemon_enter(d);

	pthread_mutex_lock(&d->mtx);
	if (ok && (c = d->spare) != NULL) {
		d->spare = c->next;
		d->nspare--;
	}
	pthread_mutex_unlock(&d->mtx);
	if (ok && c == NULL) {
		if ((c = malloc(sizeof(*c))) != NULL)	/* not zeroed: most of it is never touched */
			c->wake.rd = c->wake.wr = -1;
		else {
			why = "no_memory";
			daemon_leave(d);
		}
	}
	if (c == NULL)
		log_line(LOG_WARN, why, "for", "caller", (char *)NULL);
	return c;
}

/* counts: its connection does so still. */
static void
leave(struct daemon *d, struct caller *c, int counts)
{
	int spare;

	pthread_mutex_lock(&d->mtx);
	d->ncallers -= !counts;
	spare = d->nspare < SPARE_MAX;
	if (spare) {
		c->next = d->spare;
		d->spare = c;
		d->nspare++;
	}
	pthread_mutex_unlock(&d->mtx);
	if (spare)
		return;
	wake_close(&c->wake);
	free(c);
}

void
caller_refuse(int fd, int tls)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 35\r\n"
	    "Retry-After: 1\r\nConnection: close\r\n\r\n503 the daemon is full, come again\n";
	ssize_t n;

	n = tls ? 0 : send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
	(void)n;
	shutdown(fd, SHUT_WR);
	close(fd);
}

/* The TLS handshake. 0: there will be no request. */
static int
secure(struct caller *c)
{
	struct daemon *d = c->d;
	struct tls_server *s;
	enum tls_result rc;
	char why[TLS_WHY_MAX];

	if (!c->trusted && !limit_take(d->handshakes, &c->addr, 0)) {
		log_line(LOG_WARN, "handshakes_full", "peer", c->peer, (char *)NULL);
		return 0;
	}
	s = daemon_tls(d);
	rc = tlsconn_accept(&c->conn, s, clock_ms(CLOCK_STEADY) + d->conf.head_ms, why);
	tls_server_unref(s);
	if (!c->trusted)
		limit_give(d->handshakes, &c->addr);
	c->secure = rc == TLS_OK;
	if (rc == TLS_OK)
		return 1;
	fresh(c);
	c->close = 1;
	if (rc == TLS_PLAIN_HTTP) {
		access_begin(c, 0);
		caller_error(c, 400, "this port speaks TLS: use https:// or wss://", NULL, "");
		access_end(c);
	} else
		log_line(LOG_INFO, "handshake_failed", "peer", c->peer, "reason", why, (char *)NULL);
	return 0;
}

/* No request comes any more. s: the connection has become a session, or NULL. */
static void
end(struct caller *c, struct session *s)
{
	struct daemon *d = c->d;
	int refused = s != NULL && s->refused;

	watch_forget(&c->watched);
	daemon_part(d, &c->guest);
	if (s == NULL)
		close_caller(c);
	if (refused)		/* it counts as a caller until it is gone: nobody has to prove who they are to get so far */
		s->dialect->run(s);
	leave(d, c, s != NULL && !refused && s->counts);
	if (s != NULL && !refused)
		s->dialect->run(s);
}

static void
answered(struct caller *c)
{
	access_end(c);
	c->busy = 0;
	c->served = 1;
	c->until = clock_ms(CLOCK_STEADY) + c->d->conf.keep_alive_ms;
}

/* One request after the other. */
static void
go_on(struct caller *c)
{
	struct session *s = NULL;
	const char *why = "";
	int rc, n = 0;

	while (s == NULL && !c->close) {
		if (n++ > 0)
			watch_leave();	/* who sends many requests ahead keeps nobody waiting */
		if ((rc = read_head(c, c->until, &why)) == HEAD_WAIT) {
			watch_idle(&c->watched, c->until);
			return;
		}
		if (rc == 0)
			break;
		access_begin(c, rc > 0);
		if (rc < 0) {
			c->close = 1;
			caller_error(c, -rc, why, NULL, "");
		} else if (serve(c, &s))
			return;
		if (s != NULL)
			c->access.status = 101;
		answered(c);
	}
	end(c, s);
}

static struct caller *
caller_of(struct watched *w)
{
	return (struct caller *)(void *)((char *)w - offsetof(struct caller, watched));
}

/* By the watch. */
static void
called(struct watched *w)
{
	struct caller *c = caller_of(w);

	if (c->busy && exchange_go_on(c))
		return;
	if (c->busy)
		answered(c);
	go_on(c);
}

static void
later(struct watched *w)
{
	exchange_later(caller_of(w));
}

void
caller_run(struct daemon *d, int fd, const struct daemon_listener *l, const struct caller_from *from)
{
	struct caller *c;

	if ((c = enter(d)) == NULL) {
		caller_refuse(fd, l->tls);
		return;
	}
	init(c, d, fd, l, from);
	if ((l->proxy && !caller_proxied(c)) || (l->tls && !secure(c)))
		c->close = 1;
	c->until = clock_ms(CLOCK_STEADY) + d->conf.head_ms;
	go_on(c);
}
