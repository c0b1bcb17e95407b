/* cidr.c: addresses and networks; see cidr.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "cidr.h"

int
addr_parse(struct addr *a, const char *text)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET6, text, &v6) == 1) {
		memcpy(a->ip, &v6, 16);
		return 0;
	}
	if (inet_pton(AF_INET, text, &v4) == 1) {
		memcpy(a->ip, mapped, 12);
		memcpy(a->ip + 12, &v4, 4);
		return 0;
	}
	return -1;
}

/* IPv4, as IPv4-mapped. */
static int
is_v4(const struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

void
addr_format(const struct addr *a, char *out, size_t cap)
{
	int v4 = is_v4(a);

	if (inet_ntop(v4 ? AF_INET : AF_INET6, a->ip + (v4 ? 12 : 0), out, (socklen_t)cap) == NULL)
		out[0] = '\0';
}

/* A prefix length as it is always written: digits, no leading zero. -1 if it is none. */
static int
bits_parse(const char *s, int max)
{
	int n = 0;

	if (*s == '\0' || (s[0] == '0' && s[1] != '\0'))
		return -1;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		n = n * 10 + (*s - '0');
		if (n > max)
			return -1;
	}
	return n;
}

/* Byte i of the mask of a prefix of so many bits. */
static uint8_t
mask(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (uint8_t)(0xff << (8 * (i + 1) - bits));
}

int
cidr_parse(struct cidr *c, const char *text, const char **why)
{
	char ip[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct addr a;
	unsigned i, base;
	int bits;

	*why = "not an address";
	if (len >= sizeof(ip))
		return -1;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (addr_parse(&a, ip) == -1)
		return -1;
	base = strchr(ip, ':') != NULL ? 0 : 96;
	bits = 128 - (int)base;
	if (slash != NULL)
		bits = bits_parse(slash + 1, bits);
	*why = "not a prefix length";
	if (bits == -1)
		return -1;
	*why = "address has bits set behind its prefix";
	for (i = 0; i < sizeof(a.ip); i++)
		if (a.ip[i] & ~mask(base + (unsigned)bits, i))
			return -1;
	c->net = a;
	c->bits = base + (unsigned)bits;
	return 0;
}

struct addr
addr_network(const struct addr *a)
{
	struct addr net = *a;

	if (!is_v4(a))
		memset(net.ip + 8, 0, 8);
	return net;
}

int
cidr_match(const struct cidr *c, const struct addr *a)
{
	unsigned i;

	for (i = 0; i < sizeof(a->ip); i++)
		if ((c->net.ip[i] ^ a->ip[i]) & mask(c->bits, i))
			return 0;
	return 1;
}
