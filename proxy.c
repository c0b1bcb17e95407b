/* proxy.c: to the daemon through an HTTP proxy; see proxy.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "cidr.h"
#include "conn.h"
#include "http.h"
#include "proxy.h"
#include "sha256.h"

enum {
	PLACE_MAX = NET_HOST_MAX + 9,	/* "[HOST]:PORT" */
	SHOWN = 80,			/* of one in a message: two, and the words, are below 256 */
	ENTRY_MAX = NET_HOST_MAX + 16,
	ANSWER_MAX = 16384		/* the proxy's answer, interim ones included */
};

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

/* The proxy's URL. */

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Append len bytes of text, decoded (RFC 3986 2.1). */
static int
decode(struct buf *out, const char *text, size_t len, const char **why)
{
	size_t i;
	char c;

	for (i = 0; i < len; i++) {
		c = text[i];
		if (c == '%') {
			if (len - i < 3 || hex(text[i + 1]) == -1 || hex(text[i + 2]) == -1)
				return bad(why, "the proxy's user name or password has a % without two hexadecimal digits");
			c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
			i += 2;
		}
		/* in base64 they would do no harm to us, but RFC 7617 section 2 forbids them */
		if ((unsigned char)c < ' ' || c == 0x7f)
			return bad(why, "the proxy's user name or password has a control character");
		buf_char(out, c);
	}
	return out->full ? bad(why, "the proxy's user name and password are too long") : 0;
}

/* "USER[:PASSWORD]" to the credentials of RFC 7617 section 2. */
static int
take_user(struct proxy *p, const char *text, size_t len, const char **why)
{
	char plain[PROXY_USER_MAX];
	const char *colon = memchr(text, ':', len);
	size_t ulen = colon != NULL ? (size_t)(colon - text) : len;
	struct buf b;
	int rc = -1;

	buf_init(&b, plain, sizeof(plain));
	if (decode(&b, text, ulen, why) == -1)
		goto out;
	if (memchr(plain, ':', b.len) != NULL) {	/* the password would begin there */
		*why = "a user name for a proxy cannot have a ':'";
		goto out;
	}
	buf_char(&b, ':');
	if (decode(&b, text + ulen + (colon != NULL), len - ulen - (colon != NULL), why) == -1)
		goto out;
	base64_encode(p->auth, plain, b.len);
	rc = 0;
out:
	wipe(plain, sizeof(plain));
	return rc;
}

/* A name, or an address as a URL has it. What else there may be goes neither to a resolver nor into a message. */
static int
host_ok(const char *text, const char *host)
{
	struct addr a;
	size_t i;

	if (text[0] == '[')
		return strchr(host, ':') != NULL && addr_parse(&a, host) == 0;
	for (i = 0; host[i] != '\0'; i++)
		if (!(host[i] >= 'a' && host[i] <= 'z') && !(host[i] >= 'A' && host[i] <= 'Z') &&
		    !(host[i] >= '0' && host[i] <= '9') && strchr("-._", host[i]) == NULL)
			return 0;
	return i > 0;
}

static int
take_place(struct proxy *p, const char *text, size_t len)
{
	char place[PLACE_MAX];

	if (len == 0 || len >= sizeof(place) - 3)
		return -1;
	memcpy(place, text, len);
	place[len] = '\0';
	if (place[len - 1] == ']' || strchr(place, ':') == NULL)
		memcpy(place + len, ":80", 4);
	return net_split(place, p->host, p->port) == -1 || !host_ok(place, p->host) ||
	    p->port[strspn(p->port, "0")] == '\0' ? -1 : 0;
}

int
proxy_parse(struct proxy *p, const char *url, const char **why)
{
	static const char scheme[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
	size_t n = strspn(url, scheme), len, at;

	memset(p, 0, sizeof(*p));
	if (strncmp(url + n, "://", 3) == 0) {
		if (n != 4 || !http_same(url, "http", 4))
			return bad(why, "only http:// proxies are known");
		url += n + 3;
	}
	len = strcspn(url, "/?#");
	for (at = len; at > 0 && url[at - 1] != '@'; at--)	/* the last one: passwords have had it unencoded */
		;
	if ((url[len] != '\0' && strcmp(url + len, "/") != 0) || take_place(p, url + at, len - at) == -1)
		return bad(why, "the proxy is not http://[USER:PASSWORD@]HOST[:PORT]");
	return at > 1 ? take_user(p, url, at - 1, why) : 0;
}

/* Exceptions. */

/* Cut ":PORT" off an entry, and the brackets. 0 if it is for another port. */
static int
cut_port(char **entry, const char *port)
{
	char *e = *entry, *colon = strchr(e, ':'), *end;

	if (e[0] == '[' && (end = strchr(e, ']')) != NULL) {
		*entry = e + 1;
		*end = '\0';
		if (end[1] == '\0')
			return 1;
		return end[1] == ':' && strcmp(end + 2, port) == 0;
	}
	if (colon == NULL || strchr(colon + 1, ':') != NULL)	/* IPv6 without brackets has no port */
		return 1;
	*colon = '\0';
	return strcmp(colon + 1, port) == 0;
}

/* "ADDR" or "ADDR/BITS" against an address; unlike cidr_parse it takes any host part, as curl does. */
static int
net_match(char *entry, const struct addr *a)
{
	static const struct cidr v4 = { { { [10] = 0xff, [11] = 0xff } }, 96 };
	char *slash = strchr(entry, '/');
	struct cidr c;
	unsigned bits = 0, max, i;

	if (slash != NULL)
		*slash = '\0';
	if (addr_parse(&c.net, entry) == -1)
		return 0;
	max = strchr(entry, ':') != NULL ? 128 : 32;
	if (slash == NULL)
		bits = max;
	else if (slash[1] == '\0')
		return 0;
	for (i = 1; slash != NULL && slash[i] != '\0'; i++) {
		if (slash[i] < '0' || slash[i] > '9')
			return 0;
		bits = bits * 10 + (unsigned)(slash[i] - '0');
		if (bits > max)
			return 0;
	}
	c.bits = bits + 128 - max;
	/* "::/0" is for IPv6, though the mapped addresses are in it */
	return cidr_match(&v4, &c.net) == cidr_match(&v4, a) && cidr_match(&c, a);
}

/* The name itself, or one below it. Both without the final dot. */
static int
name_match(const char *entry, size_t len, const char *host, size_t hlen)
{
	if (len > 2 && entry[0] == '*' && entry[1] == '.')
		entry++, len--;
	if (len > 1 && entry[0] == '.')
		entry++, len--;
	return len > 0 && hlen >= len && http_same(host + hlen - len, entry, len) &&
	    (hlen == len || host[hlen - len - 1] == '.');
}

static size_t
name_len(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

int
proxy_exempt(const char *list, const char *host, const char *port)
{
	static const char between[] = ", \t";
	char text[ENTRY_MAX], *entry;
	struct addr a;
	int is_addr = addr_parse(&a, host) == 0;
	size_t n;

	for (; *(list += strspn(list, between)) != '\0'; list += n) {
		n = strcspn(list, between);
		if (n >= sizeof(text))
			continue;
		memcpy(text, list, n);
		text[n] = '\0';
		entry = text;
		if (strcmp(text, "*") == 0)
			return 1;
		if (cut_port(&entry, port) && (is_addr ? net_match(entry, &a) :
		    name_match(entry, name_len(entry), host, name_len(host))))
			return 1;
	}
	return 0;
}

/* CONNECT. */

struct talk {			/* too large for a thread's stack */
	char buf[ANSWER_MAX];
	size_t len;
	struct http_head head;
	char proxy[PLACE_MAX], to[PLACE_MAX];
};

static void
put_place(char out[PLACE_MAX], const char *host, const char *port)
{
	int v6 = strchr(host, ':') != NULL;

	snprintf(out, PLACE_MAX, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static int
ask(struct conn *c, struct talk *t, const char *auth, int64_t deadline)
{
	struct buf b;
	int rc;

	buf_init(&b, t->buf, sizeof(t->buf));
	buf_str(&b, "CONNECT ");
	buf_str(&b, t->to);
	buf_str(&b, " HTTP/1.1\r\nHost: ");
	buf_str(&b, t->to);
	if (auth[0] != '\0') {
		buf_str(&b, "\r\nProxy-Authorization: Basic ");
		buf_str(&b, auth);
	}
	buf_str(&b, "\r\nUser-Agent: tunnel/" VERSION "\r\n\r\n");
	/* a new connection takes so few bytes at once: nothing to be woken from */
	rc = conn_write_all(c, t->buf, b.len, deadline);
	wipe(t->buf, b.len);
	return rc;
}

/* Read the final answer's head. 0, or what proxy_connect says, and *wrong. */
static int
read_answer(struct conn *c, struct talk *t, int64_t deadline, int wakefd, const char **wrong)
{
	size_t at = 0;		/* behind the interim answers */
	ssize_t n;
	int rc, woken;

	t->len = t->head.scanned = 0;
	for (;;) {
		rc = http_res_parse(&t->head, t->buf + at, t->len - at, 0, wrong);
		if (rc < 0)
			return PROXY_REFUSED;
		if (rc > 0) {
			at += (size_t)rc;
			t->head.scanned = 0;
			if (t->head.status >= 100 && t->head.status < 200 && t->head.status != 101)
				continue;
			*wrong = "more than an answer came";	/* whoever speaks there speaks after us */
			return t->head.status / 100 == 2 && t->len > at ? PROXY_REFUSED : 0;
		}
		*wrong = "its answer is too long";
		if (t->len == sizeof(t->buf))
			return PROXY_REFUSED;
		n = conn_read(c, t->buf + t->len, sizeof(t->buf) - t->len);
		if (n > 0) {
			t->len += (size_t)n;
			continue;
		}
		*wrong = "it closed the connection";
		if (n == 0 || errno != EAGAIN)
			return PROXY_AGAIN;
		*wrong = "no answer in time";
		if (conn_wait(c, POLLIN, deadline, wakefd, &woken) == 0 || woken)
			return PROXY_AGAIN;
	}
}

/* 1 if credentials of ours can be what it wants: it names Basic among its challenges, or none at all. */
static int
takes_basic(const struct http_head *h)
{
	struct str tok;
	size_t at = 0;
	int any = 0;

	while (http_list_next(h, "Proxy-Authenticate", &at, &tok)) {
		if (tok.len >= 5 && http_same(tok.p, "Basic", 5) && (tok.len == 5 || tok.p[5] == ' '))
			return 1;
		any = 1;
	}
	return !any;
}

/* What an answer but 2xx means. */
static int
refused(const struct talk *t, int had_auth, char *why, size_t whylen)
{
	int status = t->head.status;

	if (status == 407 && !takes_basic(&t->head))
		snprintf(why, whylen, "the proxy %.*s wants credentials of a kind that tunnel does not know (407): "
		    "it knows Basic only", SHOWN, t->proxy);
	else if (status == 407)
		snprintf(why, whylen, "the proxy %.*s wants %s user name and password (407): "
		    "http://USER:PASSWORD@HOST in HTTPS_PROXY or --proxy", SHOWN, t->proxy,
		    had_auth ? "another" : "a");
	else if (status == 403)
		snprintf(why, whylen, "the proxy %.*s refuses to connect to %.*s (403): its owner must allow that",
		    SHOWN, t->proxy, SHOWN, t->to);
	else
		snprintf(why, whylen, "the proxy %.*s answered %d %s to CONNECT %.*s",
		    SHOWN, t->proxy, status, http_reason(status), SHOWN, t->to);
	if (status == 408 || status == 429)
		return PROXY_AGAIN;
	return status < 500 || status == 501 || status == 505 ? PROXY_REFUSED : PROXY_AGAIN;
}

int
proxy_connect(struct conn *c, const struct proxy *p, const char *host, const char *port,
    int64_t deadline, int wakefd, char *why, size_t whylen)
{
	struct talk *t = malloc(sizeof(*t));
	const char *wrong = "";
	int rc;

	if (t == NULL) {
		snprintf(why, whylen, "no memory for the proxy's answer");
		return PROXY_AGAIN;
	}
	put_place(t->proxy, p->host, p->port);
	put_place(t->to, host, port);
	if (ask(c, t, p->auth, deadline) == -1) {
		snprintf(why, whylen, "cannot ask the proxy %.*s: %.80s", SHOWN, t->proxy, strerror(errno));
		rc = PROXY_AGAIN;
	} else if ((rc = read_answer(c, t, deadline, wakefd, &wrong)) == PROXY_AGAIN)
		snprintf(why, whylen, "the proxy %.*s: %s", SHOWN, t->proxy, wrong);
	else if (rc == PROXY_REFUSED)
		snprintf(why, whylen, "%.*s is no HTTP proxy: %s", SHOWN, t->proxy, wrong);
	else if (t->head.status / 100 != 2)
		rc = refused(t, p->auth[0] != '\0', why, whylen);
	free(t);
	return rc;
}
