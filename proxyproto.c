/* proxyproto.c: the PROXY protocol's header; see proxyproto.h. */
#include <sys/types.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proxyproto.h"

enum { V4_AT = 12, V4_LEN = 4, V6_LEN = 16, PORTS_LEN = 4 };

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
	static const unsigned char signature[] = "\r\n\r\n\0\r\nQUIT\n";
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
