/* netrule.c: rules by address, host and port; see netrule.h. */
#include <string.h>

#include "netrule.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define V4(a, b, c) { .ip = { [10] = 0xff, [11] = 0xff, (a), (b), (c) } }
#define NET4(a, b, c, bits) { V4(a, b, c), 96 + (bits) }

/* The machine itself and its link: no host pattern is meant for them. */
static const struct cidr here[] = {
	NET4(0, 0, 0, 8), NET4(127, 0, 0, 8), NET4(169, 254, 0, 16), NET4(224, 0, 0, 4), NET4(240, 0, 0, 4),
	{ { { 0 } }, 96 },				/* ::, ::1, IPv4-compatible */
	{ { { 0xfe, 0x80 } }, 10 }, { { { 0xff } }, 8 },
	{ { { [8] = 0xff, [9] = 0xff } }, 96 },		/* ::ffff:0:0:0, IPv4-translated, RFC 2765 */
};

/* What else is no place on the internet: RFC 6890 and its like. */
static const struct cidr reserved[] = {
	NET4(10, 0, 0, 8), NET4(172, 16, 0, 12), NET4(192, 168, 0, 16),
	NET4(100, 64, 0, 10), NET4(198, 18, 0, 15), NET4(192, 0, 0, 24),
	NET4(192, 0, 2, 24), NET4(198, 51, 100, 24), NET4(203, 0, 113, 24),
	{ { { 0xfc } }, 7 }, { { { 0xfe, 0xc0 } }, 10 },
	{ { { 0x20, 0x01, 0x0d, 0xb8 } }, 32 },
	{ { { 0x3f, 0xff } }, 20 },			/* documentation, too, RFC 9637 */
	{ { { 0x01, 0x00 } }, 64 },			/* discard, RFC 6666 */
	{ { { 0x20, 0x01, 0x00, 0x02 } }, 48 },		/* benchmarking, RFC 5180 */
	{ { { 0x5f, 0x00 } }, 16 },			/* segment routing's SIDs, RFC 9602 */
	{ { { 0x20, 0x01 } }, 32 },			/* Teredo */
	{ { { 0x20, 0x02 } }, 16 },			/* 6to4 */
	{ { { 0x00, 0x64, 0xff, 0x9b } }, 96 },		/* NAT64, RFC 6052 */
	{ { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 },	/* and a network's own, RFC 8215 */
};

/* Where IPv6 addresses hold IPv4 ones: the four bytes' places, and what they are XORed with. */
static const struct {
	struct cidr net;
	uint8_t at[4], mask;
} embedding[] = {
	{ { { { 0 } }, 96 }, { 12, 13, 14, 15 }, 0 },
	{ { { { [8] = 0xff, [9] = 0xff } }, 96 }, { 12, 13, 14, 15 }, 0 },
	{ { { { 0x00, 0x64, 0xff, 0x9b } }, 96 }, { 12, 13, 14, 15 }, 0 },
	{ { { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 }, { 12, 13, 14, 15 }, 0 },	/* of whatever length its prefix is */
	{ { { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 }, { 6, 7, 9, 10 }, 0 },
	{ { { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 }, { 7, 9, 10, 11 }, 0 },
	{ { { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } }, 48 }, { 9, 10, 11, 12 }, 0 },
	{ { { { 0x20, 0x02 } }, 16 }, { 2, 3, 4, 5 }, 0 },
	{ { { { 0x20, 0x01 } }, 32 }, { 4, 5, 6, 7 }, 0 },
	{ { { { 0x20, 0x01 } }, 32 }, { 12, 13, 14, 15 }, 0xff },
};

static const struct cidr mapped = NET4(0, 0, 0, 0);	/* every IPv4 address */

static int
in_table(const struct cidr *net, size_t n, const struct addr *a)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (cidr_match(&net[i], a))
			return 1;
	return 0;
}

int
netrule_blocked(const struct addr *a)
{
	return in_table(here, COUNT(here), a) || in_table(reserved, COUNT(reserved), a);
}

/* An IPv6 network, however short its prefix, has no IPv4 addresses in it. */
static int
net_has(const struct cidr *net, const struct addr *a)
{
	return cidr_match(net, a) && (net->bits >= 96 || !cidr_match(&mapped, a));
}

/* Does the network have an IPv4 address that this one embeds? */
static int
net_has_embedded(const struct cidr *net, const struct addr *a)
{
	struct addr v4 = V4(0, 0, 0);
	size_t i;
	int k;

	for (i = 0; i < COUNT(embedding); i++) {
		if (!cidr_match(&embedding[i].net, a))
			continue;
		for (k = 0; k < 4; k++)
			v4.ip[12 + k] = a->ip[embedding[i].at[k]] ^ embedding[i].mask;
		if (net_has(net, &v4))
			return 1;
	}
	return 0;
}

static int
has_port(const struct netrule *r, unsigned port)
{
	int i;

	for (i = 0; i < r->nports; i++)
		if (port >= r->port[i].first && port <= r->port[i].last)
			return 1;
	return r->nports == 0;
}

static int
has_name(const struct netrule *r, const char *name)
{
	size_t n = strlen(name), tail = strlen(r->host + (r->host[0] == '*'));

	if (r->host[0] != '*')
		return strcmp(r->host, name) == 0;
	return tail == 0 || (n > tail && strcmp(name + n - tail, r->host + 1) == 0);
}

static int
covers(const struct netrule *r, const char *name, const struct addr *a, unsigned port)
{
	if (!has_port(r, port))
		return 0;
	if (r->verb == NETRULE_ANY)
		return !netrule_blocked(a);
	if (r->is_net)
		return net_has(&r->net, a) || (r->verb == NETRULE_DENY && net_has_embedded(&r->net, a));
	return has_name(r, name) && (r->verb == NETRULE_DENY || r->host[0] != '*' || !in_table(here, COUNT(here), a));
}

int
netrule_allows(const struct netrule *r, int n, const char *name, const struct addr *a, unsigned port)
{
	int i;

	for (i = 0; i < n; i++)
		if (covers(&r[i], name, a, port))
			return r[i].verb != NETRULE_DENY;
	return 0;
}

int
netrule_may(const struct netrule *r, int n, const char *name, unsigned port)
{
	int i;

	for (i = 0; i < n; i++) {
		if (!has_port(&r[i], port))
			continue;
		if (r[i].verb == NETRULE_ANY || (r[i].is_net && r[i].verb == NETRULE_ALLOW))
			return 1;
		if (!r[i].is_net && has_name(&r[i], name))
			return r[i].verb == NETRULE_ALLOW;
	}
	return 0;
}

/* Names. */

static int
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Does a C library take a name with this last label for an address? */
static int
is_number(const char *label)
{
	static const char digits[] = "0123456789abcdef";

	if (label[0] == '0' && label[1] == 'x')
		return label[2 + strspn(label + 2, digits)] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

/* RFC 1123, section 2.1; in lower case. */
static int
name_sound(const char *name)
{
	const char *p = name, *label = name;

	for (; ; p++) {
		if (is_alnum(*p) || (*p == '-' && p > label))
			continue;
		if ((*p != '.' && *p != '\0') || p == label || p - label > 63 || p[-1] == '-')
			return 0;
		if (*p == '\0')
			return !is_number(label);
		label = p + 1;
	}
}

/* In lower case, without the final dot. 0, or -1: it is no name. */
static int
take_name(char *out, const char *text, size_t len)
{
	size_t i;

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > NETRULE_HOST_MAX)
		return -1;
	for (i = 0; i < len; i++)
		out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
	out[len] = '\0';
	return strlen(out) == len && name_sound(out) ? 0 : -1;
}

int
netrule_host(struct str t, struct addr *a, char name[NETRULE_HOST_MAX + 1])
{
	for (; t.len > 0 && (t.p[0] == ' ' || t.p[0] == '\t'); t.len--)
		t.p++;
	while (t.len > 0 && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	if (t.len > NETRULE_HOST_MAX + 1 || (t.len > 0 && memchr(t.p, '\0', t.len) != NULL))
		return -1;
	if (t.len <= NETRULE_HOST_MAX) {
		memcpy(name, t.p, t.len);
		name[t.len] = '\0';
		if (addr_parse(a, name) == 0) {
			name[0] = '\0';
			return 1;
		}
	}
	return take_name(name, t.p, t.len);
}

/* Rules as text. */

/* A port at *p, which moves behind it. 0, or -1. */
static int
take_port(unsigned *port, const char **p)
{
	size_t n = strspn(*p, "0123456789"), i;

	*port = 0;
	for (i = 0; i < n && i < 6; i++)
		*port = *port * 10 + (unsigned)((*p)[i] - '0');
	*p += n;
	return n > 0 && n < 6 && *port > 0 && *port < 65536 ? 0 : -1;
}

/* "22,80-90" */
static int
take_ports(struct netrule *r, const char *p)
{
	int n;

	for (;; p++) {
		n = r->nports;
		if (n == NETRULE_PORTS_MAX || take_port(&r->port[n].first, &p) == -1)
			return -1;
		r->port[n].last = r->port[n].first;
		if (*p == '-' && (p++, take_port(&r->port[n].last, &p) == -1 || r->port[n].last < r->port[n].first))
			return -1;
		r->nports++;
		if (*p != ',')
			return *p == '\0' ? 0 : -1;
	}
}

/* Where the ports begin in "TARGET:PORTS", or the text's end; text is without brackets afterwards. */
static const char *
split_ports(char *text)
{
	char *close = text[0] == '[' ? strchr(text, ']') : NULL, *colon = strchr(text, ':'), *rest;

	if (close == NULL) {
		if (colon == NULL || strchr(colon + 1, ':') != NULL)	/* an IPv6 address, and no ports */
			return "";
		*colon = '\0';
		return colon + 1;
	}
	if (close[1] != '\0' && close[1] != ':' && close[1] != '/')
		return "";	/* no TARGET */
	rest = strchr(close, ':');
	if (rest != NULL)
		*rest++ = '\0';
	memmove(close, close + 1, strlen(close));	/* "[ADDR]/BITS" or "[ADDR/BITS]" */
	memmove(text, text + 1, strlen(text));
	return rest != NULL ? rest : "";
}

int
netrule_parse(struct netrule *r, const char *text, const char **why)
{
	char target[NETRULE_HOST_MAX + 64];
	const char *ports, *rest, *wrong;
	size_t n = strcspn(text, " \t:"), blank;

	memset(r, 0, sizeof(*r));
	*why = "is not any[:PORTS], allow TARGET[:PORTS] or deny TARGET[:PORTS]";
	blank = strspn(text + n, " \t");
	rest = text + n + blank;
	if (n == 3 && strncmp(text, "any", n) == 0) {
		r->verb = NETRULE_ANY;
		*why = "has no sound ports behind any: 22, 22-23, or 22,80-90";
		return *rest == '\0' || (blank == 0 && take_ports(r, rest + 1) == 0) ? 0 : -1;
	}
	if (blank == 0 || rest[0] == '\0' || strlen(rest) >= sizeof(target))
		return -1;
	if (n == 5 && strncmp(text, "allow", n) == 0)
		r->verb = NETRULE_ALLOW;
	else if (n == 4 && strncmp(text, "deny", n) == 0)
		r->verb = NETRULE_DENY;
	else
		return -1;
	memcpy(target, rest, strlen(rest) + 1);
	ports = split_ports(target);
	*why = "has no sound ports: 22, 22-23, or 22,80-90";
	if ((ports[0] != '\0' || rest[strlen(rest) - 1] == ':') && take_ports(r, ports) == -1)
		return -1;
	r->is_net = cidr_parse(&r->net, target, &wrong) == 0;
	if (r->is_net)
		return 0;
	*why = strchr(target, '/') != NULL ? "has no sound network: its bits behind the prefix must be 0" :
	    "names neither a host, *.NAME or *, nor an address or a network";
	if (strcmp(target, "*") == 0) {
		memcpy(r->host, "*", 2);
		return 0;
	}
	if (target[0] == '*' && target[1] == '.') {
		memcpy(r->host, "*.", 2);
		return take_name(r->host + 2, target + 2, strlen(target + 2));
	}
	if (strcmp(target, "any") == 0) {	/* surely meant for no host called so */
		*why = "has any where it stands alone: any[:PORTS]; for every target write *, for every address 0.0.0.0/0 or ::/0";
		return -1;
	}
	return take_name(r->host, target, strlen(target));
}
