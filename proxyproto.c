/* proxyproto.c: the PROXY protocol's header; see proxyproto.h. */
#include <sys/types.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proxyproto.h"

enum { V4_AT = 12, V4_LEN = 4, V6_LEN = 16, PORTS_LEN = 4, TEXT_MAX = 107, FIXED_LEN = 16 };

static const unsigned char signature[] = "\r\n\r\n\0\r\nQUIT\n";	/* of version 2 */

static int
is_v4(const struct addr *a)
{
	static const unsigned char mapped[V4_AT] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

static size_t
write_text(char *out, const struct proxyproto_end *src, const struct proxyproto_end *dst, int v4)
{
	char from[INET6_ADDRSTRLEN] = "", to[INET6_ADDRSTRLEN] = "";
	int family = v4 ? AF_INET : AF_INET6, skip = v4 ? V4_AT : 0;

	inet_ntop(family, src->addr.ip + skip, from, sizeof(from));
	inet_ntop(family, dst->addr.ip + skip, to, sizeof(to));
	return (size_t)snprintf(out, PROXYPROTO_MAX, "PROXY %s %s %s %u %u\r\n", v4 ? "TCP4" : "TCP6", from, to,
	    src->port & 0xffff, dst->port & 0xffff);
}

static size_t
write_binary(unsigned char *out, const struct proxyproto_end *src, const struct proxyproto_end *dst, int v4)
{
	size_t len = v4 ? V4_LEN : V6_LEN, skip = v4 ? V4_AT : 0, n = sizeof(signature) - 1;

	memcpy(out, signature, n);
	out[n++] = 0x21;		/* version 2, PROXY */
	out[n++] = src == NULL ? 0x00 : v4 ? 0x11 : 0x21;	/* UNSPEC, TCP over IPv4, TCP over IPv6 */
	out[n++] = 0;
	out[n++] = (unsigned char)(src == NULL ? 0 : 2 * len + PORTS_LEN);
	if (src == NULL)
		return n;
	memcpy(out + n, src->addr.ip + skip, len);
	memcpy(out + n + len, dst->addr.ip + skip, len);
	n += 2 * len;
	out[n++] = (unsigned char)(src->port >> 8);
	out[n++] = (unsigned char)src->port;
	out[n++] = (unsigned char)(dst->port >> 8);
	out[n++] = (unsigned char)dst->port;
	return n;
}

size_t
proxyproto_write(unsigned char out[PROXYPROTO_MAX], int version, const struct proxyproto_end *src,
    const struct proxyproto_end *dst)
{
	static const char unknown[] = "PROXY UNKNOWN\r\n";
	int known = src != NULL && dst != NULL, v4 = known && is_v4(&src->addr) && is_v4(&dst->addr);

	if (version == 2)
		return write_binary(out, known ? src : NULL, dst, v4);
	if (known)
		return write_text((char *)out, src, dst, v4);
	memcpy(out, unknown, sizeof(unknown) - 1);
	return sizeof(unknown) - 1;
}

int
proxyproto_end(struct proxyproto_end *e, const char *text)
{
	char host[INET6_ADDRSTRLEN + 1];
	const char *colon = strrchr(text, ':'), *p;
	size_t len;
	unsigned port = 0;

	if (colon == NULL || colon == text)
		return -1;
	for (p = colon + 1; *p >= '0' && *p <= '9' && p - colon <= 5; p++)
		port = port * 10 + (unsigned)(*p - '0');
	if (*p != '\0' || p == colon + 1 || port > 65535)
		return -1;
	len = (size_t)(colon - text);
	if (text[0] == '[') {
		if (len < 2 || colon[-1] != ']')
			return -1;
		text++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	e->port = port;
	return addr_parse(&e->addr, host);
}

/* Reading. */

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

/* The word at *p up to end or a blank, which is left behind, as text. 0, or -1: it is empty, or too long. */
static int
word(const char **p, const char *end, char *out, size_t cap)
{
	const char *blank = memchr(*p, ' ', (size_t)(end - *p));
	size_t len = (size_t)((blank != NULL ? blank : end) - *p);

	if (len == 0 || len >= cap)
		return -1;
	memcpy(out, *p, len);
	out[len] = '\0';
	*p = blank != NULL ? blank + 1 : end;
	return 0;
}

/* An address of the family. 0, or -1. */
static int
take_address(struct addr *a, const char *text, int v4)
{
	return (strchr(text, ':') == NULL) == v4 && addr_parse(a, text) == 0 ? 0 : -1;
}

/* 0 to 65535 without leading zeros. -1: it is none. */
static long
take_port(const char *text)
{
	long n = 0;

	if (text[0] == '0' && text[1] != '\0')
		return -1;
	for (; *text >= '0' && *text <= '9' && n <= 65535; text++)
		n = n * 10 + (*text - '0');
	return *text == '\0' && n <= 65535 ? n : -1;
}

/* The line of version 1, from behind "PROXY ". */
static int
take_line(struct proxyproto_end *src, int *known, const char *p, const char *end)
{
	char kind[8], from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN], sport[6], dport[6];
	struct addr dst;
	int v4;

	if (word(&p, end, kind, sizeof(kind)) == -1)
		return -1;
	*known = strcmp(kind, "UNKNOWN") != 0;
	if (!*known)
		return 0;	/* whatever is behind it */
	v4 = strcmp(kind, "TCP4") == 0;
	if ((!v4 && strcmp(kind, "TCP6") != 0) || word(&p, end, from, sizeof(from)) == -1 || word(&p, end, to, sizeof(to)) == -1 ||
	    word(&p, end, sport, sizeof(sport)) == -1 || word(&p, end, dport, sizeof(dport)) == -1 || p != end || end[-1] == ' ')
		return -1;
	if (take_address(&src->addr, from, v4) == -1 || take_address(&dst, to, v4) == -1 || take_port(sport) == -1 || take_port(dport) == -1)
		return -1;
	src->port = (unsigned)take_port(sport);
	return 0;
}

static int
parse_text(struct proxyproto_end *src, int *known, const char *buf, size_t len, const char **why)
{
	static const char start[] = "PROXY ";
	size_t n = sizeof(start) - 1, max = len < TEXT_MAX ? len : TEXT_MAX;
	const char *lf;

	if (memcmp(buf, start, len < n ? len : n) != 0)
		return bad(why, "there is no PROXY header");
	lf = memchr(buf, '\n', max);
	if (lf == NULL)
		return len < TEXT_MAX ? 0 : bad(why, "its line is too long");
	if (lf[-1] != '\r' || lf - 1 < buf + n || take_line(src, known, buf + n, lf - 1) == -1)
		return bad(why, "its line is malformed");
	return (int)(lf + 1 - buf);
}

/* Version 2, all of it there: the addresses. */
static void
take_binary(struct proxyproto_end *src, int v4, const unsigned char *p)
{
	size_t len = v4 ? V4_LEN : V6_LEN;

	memset(&src->addr, 0, sizeof(src->addr));
	if (v4)
		src->addr.ip[10] = src->addr.ip[11] = 0xff;
	memcpy(src->addr.ip + (v4 ? V4_AT : 0), p, len);
	src->port = (unsigned)p[2 * len] << 8 | p[2 * len + 1];
}

static int
parse_binary(struct proxyproto_end *src, int *known, const unsigned char *buf, size_t len, const char **why)
{
	size_t n, need;
	int v4, v6;

	if (memcmp(buf, signature, len < sizeof(signature) - 1 ? len : sizeof(signature) - 1) != 0)
		return bad(why, "there is no PROXY header");
	if (len < FIXED_LEN)
		return 0;
	if (buf[12] != 0x20 && buf[12] != 0x21)
		return bad(why, "its version or command is not known");
	n = FIXED_LEN + ((size_t)buf[14] << 8 | buf[15]);
	if (n > PROXYPROTO_READ_MAX)
		return bad(why, "it is too long");
	v4 = buf[13] == 0x11;
	v6 = buf[13] == 0x21;
	need = v4 ? 2 * V4_LEN + PORTS_LEN : v6 ? 2 * V6_LEN + PORTS_LEN : 0;
	if (buf[12] == 0x21 && n - FIXED_LEN < need)
		return bad(why, "it is too short for its addresses");
	if (len < n)
		return 0;
	*known = buf[12] == 0x21 && (v4 || v6);
	if (*known)
		take_binary(src, v4, buf + FIXED_LEN);
	return (int)n;
}

int
proxyproto_parse(struct proxyproto_end *src, int *known, const unsigned char *buf, size_t len, const char **why)
{
	*known = 0;
	if (len == 0)
		return 0;
	return buf[0] == signature[0] ? parse_binary(src, known, buf, len, why) : parse_text(src, known, (const char *)buf, len, why);
}
