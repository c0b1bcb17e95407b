/* client.c: the client as a library: options, start and end; see tunnel.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "buf.h"
#include "clock.h"
#include "deadline.h"
#include "random.h"
#include "scope.h"
#include "sha256.h"

/* Options. */

/* "https://host[:port]", "wss://…", and the same without TLS. */
static int
parse_endpoint(struct endpoint *e, const char *text, const char **why)
{
	static const struct {
		const char *scheme;
		int tls;
	} table[] = { { "https://", 1 }, { "wss://", 1 }, { "http://", 0 }, { "ws://", 0 } };
	const char *rest;
	char host[NET_HOST_MAX + 8];
	size_t len, i = 0;

	*why = "is not https://HOST[:PORT], or wss, or without TLS http or ws";
	while (i < 4 && strncmp(text, table[i].scheme, strlen(table[i].scheme)) != 0)
		i++;
	if (i == 4)
		return -1;
	rest = text + strlen(table[i].scheme);
	e->tls = table[i].tls;
	len = strlen(rest);
	if (len > 0 && rest[len - 1] == '/')
		len--;
	if (len == 0 || len >= sizeof(host) - 4)
		return -1;
	memcpy(host, rest, len);
	host[len] = '\0';
	memcpy(e->authority, host, len + 1);
	if (strchr(host, ':') == NULL || host[len - 1] == ']')
		memcpy(host + len, e->tls ? ":443" : ":80", e->tls ? 5 : 4);
	if (net_split(host, e->host, e->port) == -1 || e->host[0] == '\0' ||
	    e->host[0] == '*' || strcmp(e->port, "0") == 0)
		return -1;
	snprintf(e->url, sizeof(e->url), e->tls ? "wss://%s" : "ws://%s", e->authority);
	return 0;
}

static int
token_ok(const char *token)
{
	size_t n = strlen(token), i;

	for (i = 0; i < n; i++)
		if (token[i] <= ' ' || token[i] > '~')	/* it goes into a header field */
			return 0;
	return n > 0 && n < TOKEN_MAX;
}

/* Host for the local service: what was asked for, else the target as a browser would name it. */
static void
host_header(struct local_conf *lc, const char *host)
{
	const struct local_target *t = &lc->target;
	const char *name = t->port[0] == '\0' ? "localhost" : t->host;
	int std = t->port[0] == '\0' || strcmp(t->port, t->tls ? "443" : "80") == 0;
	int v6 = strchr(name, ':') != NULL;

	lc->host_header[0] = '\0';
	if (host == NULL)
		snprintf(lc->host_header, sizeof(lc->host_header), "%s%s%s%s%s", v6 ? "[" : "", name,
		    v6 ? "]" : "", std ? "" : ":", std ? "" : t->port);
	else if (strcmp(host, "keep") != 0)
		snprintf(lc->host_header, sizeof(lc->host_header), "%s", host);
}

static int
host_ok(const char *host)
{
	size_t i;

	for (i = 0; host[i] != '\0'; i++)
		if (host[i] <= ' ' || host[i] > '~' || strchr("/@?#\\\"<>", host[i]) != NULL)
			return 0;
	return i > 0 && i < NET_HOST_MAX;
}

int
tunnel_target(const char *target, char *host, size_t hostlen, char *port, size_t portlen,
    char *why, size_t whylen)
{
	struct local_target t;
	const char *wrong;

	if (local_parse(&t, target, &wrong) == -1) {
		snprintf(why, whylen, "'%.100s' %s", target, wrong);
		return -1;
	}
	snprintf(host, hostlen, "%s", t.host);
	snprintf(port, portlen, "%s", t.port);
	return t.port[0] != '\0';
}

int
tunnel_probe(const char *target)
{
	struct local_target t;
	const char *wrong;
	enum net_fail fail;
	int fd;

	if (local_parse(&t, target, &wrong) == -1)
		return 0;
	fd = t.port[0] == '\0' ? net_dial_unix(t.host, &fail) :
	    net_dial(t.host, t.port, clock_ms(CLOCK_STEADY) + 1000, -1, &fail);
	if (fd == -1)
		return 0;
	close(fd);
	return 1;
}

static void
on_request(void *arg, const struct tunnel_request *r)
{
	struct tunnel_client *c = arg;

	if (c->events.request != NULL)
		c->events.request(c->arg, r);
}

/* Names are compared in lower case. */
static int
take_name(struct tunnel_client *c, const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(c->name) - 1 && name[i] != '\0'; i++)
		c->name[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
	return name[i] == '\0' && name_ok(c->name) ? 0 : -1;
}

/* Whom to trust, at the endpoint and at the target. 0, or -1 and why. */
static int
take_trust(struct tunnel_client *c, const struct tunnel_options *o, struct local_conf *lc,
    char *why, size_t whylen)
{
	char wrong[TLS_WHY_MAX];
	struct tls_trust trust;
	int i;

	memset(&trust, 0, sizeof(trust));
	trust.ca = o->ca;
	trust.insecure = o->insecure_target;
	if (lc->target.tls && (lc->tls = tls_client_new(&trust, wrong)) == NULL) {
		snprintf(why, whylen, "%s", wrong);
		return -1;
	}
	trust.insecure = 0;
	for (i = 0; i < o->npins; i++)
		if (i == TLS_PINS_MAX || tls_pin_parse(trust.pin[trust.npins++], o->pins[i]) == -1) {
			snprintf(why, whylen, "'%.100s' is no pin: sha256: and 44 characters of base64", o->pins[i]);
			return -1;
		}
	if (c->endpoint.tls && (c->tls = tls_client_new(&trust, wrong)) == NULL) {
		snprintf(why, whylen, "%s", wrong);
		return -1;
	}
	if (!c->endpoint.tls && trust.npins > 0) {
		snprintf(why, whylen, "a pin is for an endpoint with TLS: https://");
		return -1;
	}
	return 0;
}

/* The proxy, unless the endpoint is exempt: its URL is not even looked at then. */
static int
take_proxy(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	if (o->proxy == NULL || (o->no_proxy != NULL &&
	    proxy_exempt(o->no_proxy, c->endpoint.host, c->endpoint.port)))
		return 0;
	return proxy_parse(&c->proxy, o->proxy, why);
}

/* 0, or -1 and why. */
static int
take_options(struct tunnel_client *c, const struct tunnel_options *o, struct local_conf *lc,
    char *why, size_t whylen)
{
	const char *wrong = NULL, *word = "";

	if (parse_endpoint(&c->endpoint, word = o->endpoint, &wrong) == -1 ||
	    local_parse(&lc->target, word = o->target, &wrong) == -1)
		;
	else if (!token_ok(o->token))	/* never quoted */
		wrong = "the token is empty, or has bytes no token has", word = NULL;
	else if (o->name != NULL && take_name(c, word = o->name) == -1)
		wrong = "is no name: 1 to 63 of a-z, 0-9 and '-', first a letter or digit";
	else if (o->host != NULL && !host_ok(word = o->host))
		wrong = "is no Host";
	else if (o->connections < 0 || o->connections > LANES_MAX)
		wrong = "connections: 1 to 64", word = NULL;
	else if (take_proxy(c, o, &wrong) == -1)
		word = NULL;	/* it may hold a password */
	else
		wrong = NULL;
	if (wrong != NULL) {
		if (word != NULL)
			snprintf(why, whylen, "'%.100s' %s", word, wrong);
		else
			snprintf(why, whylen, "%s", wrong);
		return -1;
	}
	if (lc->target.port[0] == '\0')
		snprintf(c->target, sizeof(c->target), "unix:%.250s", lc->target.host);
	else
		snprintf(c->target, sizeof(c->target), strchr(lc->target.host, ':') != NULL ?
		    "%s://[%s]:%s" : "%s://%s:%s", lc->target.tls ? "https" : "http",
		    lc->target.host, lc->target.port);
	host_header(lc, o->host);
	return take_trust(c, o, lc, why, whylen);
}

static int
make_instances(struct tunnel_client *c)
{
	unsigned char raw[8];
	struct buf b;
	int i;

	for (i = 0; i < c->nlanes; i++) {
		if (random_bytes(raw, sizeof(raw)) == -1)
			return -1;
		buf_init(&b, c->lane[i].instance, sizeof(c->lane[i].instance) - 1);
		buf_hex(&b, raw, sizeof(raw));
		c->lane[i].instance[b.len] = '\0';
		c->lane[i].c = c;
	}
	return 0;
}

struct tunnel_client *
tunnel_new(const struct tunnel_options *o, const struct tunnel_events *events, void *arg,
    char *why, size_t whylen)
{
	struct tunnel_client *c = calloc(1, sizeof(*c));
	struct local_conf lc;

	memset(&lc, 0, sizeof(lc));
	if (c == NULL) {
		snprintf(why, whylen, "no memory");
		return NULL;
	}
	if (take_options(c, o, &lc, why, whylen) == -1) {
		if (lc.tls != NULL)
			tls_client_free(lc.tls);
		if (c->tls != NULL)
			tls_client_free(c->tls);
		wipe(&c->proxy, sizeof(c->proxy));
		free(c);
		return NULL;
	}
	c->events = *events;
	c->arg = arg;
	c->nlanes = o->connections > 1 ? o->connections : 1;
	c->share = o->share || c->nlanes > 1;
	c->stack = o->stack != 0 ? o->stack : STACK_DEFAULT;
	c->budget.left = BUFFER_MAX;
	c->wake.rd = c->wake.wr = -1;
	pthread_mutex_init(&c->budget.mtx, NULL);
	pthread_mutex_init(&c->mtx, NULL);
	cond_init(&c->change);
	lc.stack = c->stack;
	lc.request = on_request;
	lc.arg = c;
	c->token = strdup(o->token);
	if (wake_open(&c->wake) == -1 || c->token == NULL || make_instances(c) == -1 || (c->local = local_new(&lc)) == NULL) {
		snprintf(why, whylen, "no memory or no random bytes");
		tunnel_free(c);
		return NULL;
	}
	return c;
}

void
tunnel_free(struct tunnel_client *c)
{
	/* an exchange that still runs keeps what it needs: better a leak than a crash */
	if (c->local != NULL && !local_end(c->local, END_MS))
		return;
	if (c->token != NULL) {
		wipe(c->token, strlen(c->token));
		free(c->token);
	}
	wipe(&c->proxy, sizeof(c->proxy));
	if (c->tls != NULL)
		tls_client_free(c->tls);
	wake_close(&c->wake);
	pthread_cond_destroy(&c->change);
	pthread_mutex_destroy(&c->mtx);
	pthread_mutex_destroy(&c->budget.mtx);
	free(c);
}

void
tunnel_close(struct tunnel_client *c)
{
	agent_finish(c, TUNNEL_STOPPED, "stopped", 0);
}

static int
leaving_locked(const struct tunnel_client *c)
{
	const struct session *s;

	for (s = c->sessions; s != NULL; s = s->next)
		if (s->leaving != 0)
			return 1;
	return 0;
}

enum tunnel_end
tunnel_run(struct tunnel_client *c, char *why, size_t whylen)
{
	struct timespec until;
	enum tunnel_end end;
	int i;

	for (i = 0; i < c->nlanes; i++)
		if (agent_start(&c->lane[i]) == -1) {
			agent_finish(c, TUNNEL_FAILED, "no thread can be had", 0);
			break;
		}
	pthread_mutex_lock(&c->mtx);
	while (c->threads > 0) {
		deadline_in(&until, leaving_locked(c) ? LOOK_MS : TICK_MS);
		pthread_cond_timedwait(&c->change, &c->mtx, &until);
		pthread_mutex_unlock(&c->mtx);
		agent_look(c);
		pthread_mutex_lock(&c->mtx);
	}
	end = c->end;
	snprintf(why, whylen, "%s", c->why);
	pthread_mutex_unlock(&c->mtx);
	return end;
}
