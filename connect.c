/* connect.c: the CONNECT proxy; see connect.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "clock.h"
#include "connect.h"
#include "direct.h"
#include "log.h"
#include "login.h"
#include "proxymap.h"
#include "request.h"
#include "target.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };

struct wanted {			/* what a request asks for */
	struct str host;	/* without brackets */
	unsigned port;
	struct target to;	/* if it is no registered domain */
	char proxy[32];		/* we, as Via tells it: no other daemon's, so that it shows a loop */
};

/* It is not served. Content that may follow is nobody's, and behind a CONNECT comes no request. */
static void
refuse(struct caller *c, int status, const char *text, const char *why)
{
	if (c->head.form == HTTP_AUTHORITY || c->head.framing != HTTP_NO_BODY)
		c->close = 1;
	caller_error(c, status, text, why, status == 407 ? "Proxy-Authenticate: Basic realm=\"tunneld\", charset=\"UTF-8\"\r\n" :
	    status == 405 ? "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT\r\n" : caller_fields(c, status));
}

static void
log_failure(const struct caller *c, const struct wanted *w, const char *why)
{
	log_line(LOG_INFO, "proxy_failed", "target", w->to.shown, "reason", why, "peer", c->peer, "id", c->request_id, (char *)NULL);
}

/* May the caller use the proxy? 0, or -1: answered. */
static int
login(struct caller *c)
{
	const struct str *credential = http_field(&c->head, "Proxy-Authorization");
	const struct guard *users = &c->d->conf.proxy_users;

	if (users->nusers == 0)
		return 0;
	if (credential != NULL && login_waits(c)) {
		refuse(c, 429, login_later, "logins_failing");
		return -1;
	}
	if (guard_user(users, &c->head, "Proxy-Authorization"))
		return 0;
	if (credential != NULL)
		login_failed(c, credential);
	refuse(c, 407, "this proxy wants a user and a password", "proxy_credentials");
	return -1;
}

/* The port at p, of n digits; 0: it is none. */
static unsigned
port_of(const char *p, size_t n)
{
	unsigned port = 0;

	for (; n > 0; n--, p++) {
		if (*p < '0' || *p > '9' || port > 65535)
			return 0;
		port = port * 10 + (unsigned)(*p - '0');
	}
	return port < 65536 ? port : 0;
}

/* The authority, which the parser has found sound; port is 0 if it has none that can be dialled. */
static void
split(struct wanted *w, const struct http_head *h)
{
	const char *p = h->host.len > 0 ? h->host.p : "", *end = p + h->host.len;
	const char *close = *p == '[' ? memchr(p, ']', h->host.len) : NULL;
	const char *from = close != NULL ? close : p, *colon = memchr(from, ':', (size_t)(end - from));

	w->host.p = close != NULL ? p + 1 : p;
	w->host.len = (size_t)((close != NULL ? close : colon != NULL ? colon : end) - w->host.p);
	w->port = h->form == HTTP_AUTHORITY ? HTTPS_PORT : HTTP_PORT;
	if (colon != NULL && (colon + 1 < end || h->form == HTTP_AUTHORITY))
		w->port = port_of(colon + 1, (size_t)(end - colon - 1));
}

/* Has this very daemon passed the request on already? */
static int
loops(const struct caller *c, const char *proxy)
{
	size_t at = 0, n = strlen(proxy);
	struct str via;

	while (http_list_next(&c->head, "Via", &at, &via))
		if (via.len > n && memcmp(via.p + via.len - n, proxy, n) == 0)
			return 1;
	return 0;
}

/* Is it a request that a proxy serves? NULL, or what it is told, with *status. */
static const char *
check(const struct caller *c, const struct wanted *w, int *status)
{
	const struct http_head *h = &c->head;

	*status = 400;
	if (h->form == HTTP_AUTHORITY && (h->framing == HTTP_CHUNKED || (h->framing == HTTP_LENGTH && h->length > 0)))
		return "CONNECT has no content";	/* two parsers would read it in two ways */
	if (w->host.len == 0)
		return "the request names no host";
	if (w->port == 0)
		return "the request names no sound port";
	*status = 501;
	if (h->form == HTTP_ABSOLUTE_TLS)
		return "https is to be had by CONNECT";
	if (http_field(h, "Max-Forwards") != NULL && (str_is(h->method, "OPTIONS") || str_is(h->method, "TRACE")))
		return "Max-Forwards is not counted here";
	*status = 405;
	if (str_is(h->method, "TRACE"))
		return "TRACE is not passed on";
	*status = 502;
	return loops(c, w->proxy) ? "the request has come back to this proxy: its name leads here" : NULL;
}

static struct target_rules
rules(const struct caller *c)
{
	struct target_rules r;

	r.rule = c->d->conf.pass;
	r.n = c->d->conf.npass;
	return r;
}

/* A connection of our own; see exchange.h. */
static struct stream *
open_direct(struct exchange *x, struct ending *e)
{
	const struct target_rules allowed = rules(x->c);
	struct wanted *w = x->to->arg;
	char addr[NET_ADDR_MAX];
	struct stream *s = NULL;
	enum net_fail fail;
	const char *why;
	int fd;

	if (target_find(&w->to, &allowed, &why) == -1) {
		*e = w->to.n == 0 ? ending(V_ERROR, 502, "the host's name is not known", why) :
		    ending(V_ERROR, 403, "this proxy does not lead there", why);
	} else if ((fd = target_dial(&w->to, clock_ms(CLOCK_STEADY) + TARGET_DIAL_MS, -1, addr, &fail, &why)) == -1) {
		*e = fail == NET_TIMEOUT ? ending(V_ERROR, 504, "the server cannot be reached in time", why) :
		    fail == NET_LOCAL ? ending(V_ERROR, 503, "no descriptors or memory are left", why) :
		    ending(V_ERROR, 502, "the server cannot be reached", why);
	} else if ((s = direct_new(fd)) == NULL) {
		close(fd);
		*e = ending(V_ERROR, 503, "no memory is left", why = "no_memory");
	}
	if (s == NULL)
		log_failure(x->c, w, why);
	return s;
}

/* To a client's tunnel. */
static void
run_mapped(struct caller *c, struct exchange_to *to, struct proxymap_hit *hit)
{
	access_tunnel(c, hit->name);
	to->name = hit->name;
	to->who = hit->who;
	to->set = hit->fields;
	exchange_run(c, to);
	free(hit->who);
	free((char *)(uintptr_t)hit->fields.p);
}

/* To where the rules allow. */
static void
run_direct(struct caller *c, struct exchange_to *to, struct wanted *w)
{
	const struct target_rules allowed = rules(c);
	const char *why;

	if (target_take(&w->to, w->host, w->port, &allowed, &why) == -1) {
		log_failure(c, w, why);
		refuse(c, 403, allowed.n == 0 ? "nobody has registered this domain, and this proxy leads nowhere else" :
		    "this proxy does not lead there", why);
		return;
	}
	to->name = w->to.shown;
	to->open = open_direct;
	to->arg = w;
	daemon_direct(c->d, 1);
	exchange_run(c, to);
	daemon_direct(c->d, -1);
}

void
connect_serve(struct caller *c)
{
	struct proxymap_hit hit;
	struct exchange_to to;
	struct wanted w;
	const char *text;
	int status, rc;

	if (login(c) == -1)
		return;
	snprintf(w.proxy, sizeof(w.proxy), "tunneld-%s", c->d->boot);
	split(&w, &c->head);
	if ((text = check(c, &w, &status)) != NULL) {
		refuse(c, status, text, NULL);
		return;
	}
	memset(&to, 0, sizeof(to));
	to.proxy = w.proxy;
	to.connect = c->head.form == HTTP_AUTHORITY;
	if (to.connect)
		c->close = 1;	/* whatever comes of it */
	if ((rc = proxymap_find(c->d->proxymap, w.host, w.port, &hit)) == -1)
		refuse(c, 503, "no memory is left", "no_memory");
	else if (rc == 1)
		run_mapped(c, &to, &hit);
	else
		run_direct(c, &to, &w);
}
