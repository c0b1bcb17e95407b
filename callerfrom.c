/* callerfrom.c: whom a public connection, or a request on it, is from; see caller.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "caller.h"
#include "clock.h"
#include "log.h"
#include "proxyproto.h"

int
caller_trusts(const struct daemon *d, const struct addr *a)
{
	int i, yes = 0;

	for (i = 0; i < d->conf.ntrust; i++)
		yes |= cidr_match(&d->conf.trust[i], a);
	return yes;
}

void
caller_from(struct caller *c, const struct sockaddr_storage *peer)
{
	net_format(peer, c->peer);
	net_format_host(peer, c->host);
	c->trusted = 0;
	memset(&c->addr, 0, sizeof(c->addr));
	if (addr_parse(&c->addr, c->host) == 0)
		c->trusted = caller_trusts(c->d, &c->addr);
}

/* "192.0.2.1:80", "[2001:db8::1]:80", "[2001:db8::1]": some proxies write so. Without a port, and without brackets. */
static const char *
without_port(char *text)
{
	char *end = strchr(text, text[0] == '[' ? ']' : ':');

	if (end == NULL || (text[0] == '[' ? end[1] != '\0' && end[1] != ':' : strchr(end + 1, ':') != NULL))
		return text;
	*end = '\0';
	return text + (text[0] == '[');
}

/* Text to an address: 1; or 0, and it is all 0. */
static int
take_address(struct addr *a, struct str s)
{
	char text[NET_ADDR_MAX];

	memset(a, 0, sizeof(*a));
	if (s.len >= sizeof(text))
		return 0;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (strlen(text) == s.len && (addr_parse(a, text) == 0 || addr_parse(a, without_port(text)) == 0))
		return 1;
	memset(a, 0, sizeof(*a));
	return 0;
}

/* The last of X-Forwarded-For that is no proxy of ours: what stands before it anybody may have written. Without any, X-Real-IP. */
void
caller_address(const struct caller *c, struct addr *out)
{
	const struct str *real;
	struct addr a;
	struct str tok;
	size_t at = 0;
	int any = 0;

	*out = c->addr;
	if (!c->trusted)
		return;
	while (http_list_next(&c->head, "X-Forwarded-For", &at, &tok)) {
		take_address(&a, tok);
		if (!any++ || !caller_trusts(c->d, &a))
			*out = a;
	}
	if (!any && (real = http_field(&c->head, "X-Real-IP")) != NULL && take_address(&a, *real))
		*out = a;
}

/* The PROXY protocol. */

/* Read the header and not a byte more: what follows may be TLS's. Its length in c->in, or -1 and *why. */
static int
read_header(struct caller *c, struct proxyproto_end *src, int *known, const char **why)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + c->d->conf.head_ms;
	size_t had = 0, take;
	ssize_t n;
	int rc = 0;

	while (rc == 0) {
		n = recv(c->conn.fd, c->in + had, PROXYPROTO_READ_MAX - had, MSG_PEEK);
		*why = "the connection ended before it";
		if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
			return -1;
		*why = "it did not come in time";
		if (n == -1 && conn_wait(&c->conn, POLLIN, deadline, -1, NULL) == 0)
			return -1;
		if (n == -1)
			continue;
		rc = proxyproto_parse(src, known, (unsigned char *)c->in, had + (size_t)n, why);
		take = rc > 0 ? (size_t)rc - had : (size_t)n;
		if (rc >= 0 && recv(c->conn.fd, c->in + had, take, 0) != (ssize_t)take)
			return -1;
		had += take;
	}
	return rc;
}

int
caller_proxied(struct caller *c)
{
	const char *why = "it is not from a --trust address";
	struct proxyproto_end src;
	char host[NET_ADDR_MAX - 8];
	int known = 0;

	if (!c->trusted || read_header(c, &src, &known, &why) < 0) {
		log_line(LOG_WARN, "proxy_header_refused", "peer", c->peer, "reason", why, (char *)NULL);
		return 0;
	}
	if (!known)
		return 1;	/* the proxy's own connection, to see whether we live */
	addr_format(&src.addr, host, sizeof(host));
	snprintf(c->host, sizeof(c->host), "%s", host);
	snprintf(c->peer, sizeof(c->peer), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, src.port);
	c->addr = src.addr;
	c->trusted = caller_trusts(c->d, &c->addr);
	return 1;
}
