/* webgate.c: what stands in front of /relay and /tunnel; see webgate.h. */
#include <stdio.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "login.h"
#include "query.h"
#include "urls.h"
#include "webgate.h"

enum {
	FIELDS_MAX = 1024,
	SHOWN_MAX = 128,	/* bytes of a host that an answer repeats */
	WAIT_MS = 100,		/* for one that is just ending */
	WRITE_MS = 5000
};

static const char methods[] = "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
    "Access-Control-Allow-Headers: Authorization, Content-Type\r\nAccess-Control-Max-Age: 86400\r\n";

/* Origins. */

static int
listed(const struct daemon_conf *conf, struct str origin, int (*match)(const char *, struct str))
{
	int i;

	for (i = 0; i < conf->norigins; i++)
		if (match(conf->origin[i], origin))
			return 1;
	return 0;
}

int
webgate_listed(const struct daemon_conf *conf, struct str origin)
{
	return listed(conf, origin, origin_opens);
}

/*
 * May a page of this origin, by one of the rules? Without a rule any may: a page has its user's token, or has nothing. Where no token is wanted
 * just being able to reach us would do, which every page's visitor may be: then it has to be one of our own.
 */
static int
allowed(const struct daemon_conf *conf, struct str origin, int (*match)(const char *, struct str))
{
	return listed(conf, origin, match) || (conf->norigins == 0 && !conf->open_wsproxy);
}

void
webgate_cors(const struct caller *c, struct buf *b)
{
	const struct str *origin = http_field(&c->head, "Origin");

	if (origin == NULL || origin->len == 0 || origin->len > ORIGIN_MAX || !allowed(&c->d->conf, *origin, origin_reads))
		return;
	buf_str(b, "Access-Control-Allow-Origin: ");
	buf_put(b, origin->p, origin->len);
	buf_str(b, "\r\nVary: Origin\r\n");
	buf_str(b, methods);
}

/*
 * Is it a page from where the request goes? Where no token is wanted the host has to be known for ours: anybody's name can be made to lead to
 * this address (DNS rebinding), but no page can be from "127.0.0.1" that is not from there.
 */
static int
is_own(const struct caller *c, struct str host)
{
	struct str own = c->head.host;

	if (host.len == 0 || host.len != own.len || !http_same(host.p, own.p, host.len))
		return 0;
	return !c->d->conf.open_wsproxy || url_is_ours(&c->d->conf, host);
}

static int
may_open(const struct caller *c, const struct str *origin)
{
	if (origin == NULL)
		return 1;	/* no browser */
	return is_own(c, origin_host(*origin)) || allowed(&c->d->conf, *origin, origin_opens);
}

/* Answers. */

static void
refuse(struct caller *c, int status, const char *text, const char *more)
{
	char fields[FIELDS_MAX];
	struct buf b;

	buf_init(&b, fields, sizeof(fields) - 1);
	webgate_cors(c, &b);
	buf_str(&b, more);
	fields[b.len] = '\0';
	caller_plain(c, status, text, fields);
}

void
webgate_answer(struct caller *c, int status, const char *text)
{
	refuse(c, status, text, caller_fields(c, status));
}

int
webgate_enter(struct caller *c)
{
	struct str method = c->head.method;

	if (c->head.framing != HTTP_NO_BODY)
		c->close = 1;	/* its content is nobody's */
	if (str_is(method, "GET") || str_is(method, "HEAD"))
		return 1;
	if (str_is(method, "OPTIONS"))
		refuse(c, 204, "", "");
	else
		refuse(c, 405, "Method Not Allowed", "Allow: GET, HEAD\r\n");
	return 0;
}

/* Who, and how many. */

/* The credential that came with the request, if any, in memory of c's or as it stands there. */
static int
credential(struct caller *c, struct str *text)
{
	char *token = c->exchange.request;	/* there is none */
	long n = query_get(c->head.target, "token", QUERY_FIRST, token, sizeof(c->exchange.request));

	text->p = token;
	text->len = n > 0 ? (size_t)n : 0;
	/* one that cannot be taken is a bad one, not none */
	return n > 0 || (n != -2 && auth_bearer(http_field(&c->head, "Authorization"), text));
}

int
webgate_login(struct caller *c, struct web_pass *p)
{
	struct str text;
	int status = 401;

	memset(p, 0, sizeof(*p));
	caller_address(c, &p->addr);
	if (c->d->conf.open_wsproxy) {
		p->anonymous = 1;
		snprintf(p->identity.who, sizeof(p->identity.who), "anonymous");
		return 0;
	}
	if (credential(c, &text))
		status = login_check(c, &text, 1, &p->identity);
	if (status == 0)
		return 0;
	webgate_answer(c, status, status == 429 ? login_later : status == 503 ? "not now" : "unauthorized");
	return -1;
}

int
webgate_take(struct caller *c, const struct web_pass *p)
{
	struct daemon *d = c->d;

	if (limit_take(d->conns_addr, &p->addr, WAIT_MS)) {
		if (p->anonymous || limit_take_name(d->conns_user, p->identity.who, WAIT_MS))
			return 0;
		limit_give(d->conns_addr, &p->addr);
	}
	webgate_answer(c, 429, "too many connections");
	return -1;
}

void
webgate_give(struct daemon *d, const struct web_pass *p)
{
	limit_give(d->conns_addr, &p->addr);
	if (!p->anonymous)
		limit_give_name(d->conns_user, p->identity.who);
}

/* The opening handshake. */

int
webgate_upgrade(struct caller *c)
{
	const struct http_head *h = &c->head;
	const struct str *origin = http_field(h, "Origin");
	char accept[WS_ACCEPT_LEN + 1], text[2 * SHOWN_MAX + 64];
	const struct str *version = http_field(h, "Sec-WebSocket-Version");
	const char *why = "";
	struct str host;

	if (h->minor < 1 || !ws_is_upgrade(h))
		refuse(c, 426, h->minor < 1 ? "this is for HTTP/1.1" : "this is for WebSocket",
		    "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (!str_is(h->method, "GET"))
		refuse(c, 405, "Method Not Allowed", "Allow: GET\r\n");
	else if (version == NULL || !str_is(*version, "13"))
		refuse(c, 400, "Sec-WebSocket-Version is not 13", "Sec-WebSocket-Version: 13\r\n");
	else if (ws_server_check(h, NULL, accept, &why) != 101)
		refuse(c, 400, why, "");
	else if (!may_open(c, origin)) {
		host = origin_host(*origin);
		snprintf(text, sizeof(text), "request Origin \"%.*s\" is not authorized for Host \"%.*s\"",
		    (int)(host.len < SHOWN_MAX ? host.len : SHOWN_MAX), host.p,
		    (int)(h->host.len < SHOWN_MAX ? h->host.len : SHOWN_MAX), h->host.p);
		refuse(c, 403, text, "");
	} else
		return 0;
	return -1;
}

int
webgate_switch(struct caller *c, const char *protocol)
{
	char accept[WS_ACCEPT_LEN + 1], text[FIELDS_MAX + 256];
	struct buf b;

	ws_accept_key(accept, *http_field(&c->head, "Sec-WebSocket-Key"));
	buf_init(&b, text, sizeof(text));
	ws_server_answer(&b, accept, protocol);
	b.len -= 2;		/* the empty line, which comes later */
	webgate_cors(c, &b);
	buf_str(&b, "\r\n");
	return conn_write_all(&c->conn, text, b.len, clock_ms(CLOCK_STEADY) + WRITE_MS);
}
