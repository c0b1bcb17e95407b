/*
 * cidr.h: addresses and networks, RFC 4632 and RFC 4291. Pure.
 */
#ifndef CIDR_H
#define CIDR_H

#include <stddef.h>
#include <stdint.h>

struct addr {			/* IPv4 is kept as IPv4-mapped, ::ffff:a.b.c.d */
	uint8_t ip[16];
};

struct cidr {
	struct addr net;
	unsigned bits;		/* 0 to 128; an IPv4 /n is 96 + n */
};

/* Numeric text (no names, no zone, an IPv6 address without brackets) to an address. 0, or -1. */
int addr_parse(struct addr *a, const char *text);

/* The other way. cap: 46 is enough. */
void addr_format(const struct addr *a, char *out, size_t cap);

/* "ADDR" or "ADDR/BITS"; bits of the host part must be 0. 0, or -1 and *why. */
int cidr_parse(struct cidr *c, const char *text, const char **why);

/* Whose it is: an IPv6 host has all of its /64, of which this is the first address; an IPv4 address is itself. */
struct addr addr_network(const struct addr *a);

int cidr_match(const struct cidr *c, const struct addr *a);

#endif
