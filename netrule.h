/*
 * netrule.h: where connections may be made on a caller's behalf: rules by address, host and port. Pure.
 *
 *	allow 10.1.0.0/16:22	deny *.example.org	allow [2001:db8::]/32:22-23,80	any
 *
 * The first rule that covers a target decides; what none covers is denied.
 */
#ifndef NETRULE_H
#define NETRULE_H

#include <stdint.h>

#include "cidr.h"
#include "http.h"

enum {
	NETRULES_MAX = 128,
	NETRULE_PORTS_MAX = 8,
	NETRULE_HOST_MAX = 253	/* of a name, bytes */
};

enum netrule_verb {
	NETRULE_DENY,		/* networks: addresses that embed one of theirs, too */
	NETRULE_ALLOW,		/* a pattern with '*' does not cover the daemon's own machine and its link */
	NETRULE_ANY		/* allows all but what netrule_blocked says */
};

struct netrule {
	enum netrule_verb verb;
	int is_net;		/* a network, else a host pattern */
	struct cidr net;
	char host[NETRULE_HOST_MAX + 3];	/* "*", "*.NAME" or "NAME", in lower case */
	int nports;		/* 0: every port */
	struct { unsigned first, last; } port[NETRULE_PORTS_MAX];
};

/*
 * "any[:PORTS]", or "allow" or "deny" and TARGET[:PORTS]; PORTS: 22, 22-23, 22,80-90. TARGET: an address, a network, "*", a host
 * name, or "*." and one, for all below it. An IPv6 one stands in brackets where ports follow. 0, or -1 and *why, a constant string.
 */
int netrule_parse(struct netrule *, const char *text, const char **why);

/*
 * A target's host as it was asked for: 1 and *a if it is an address, and name is ""; 0 and the name, in lower case and
 * without its final dot; -1 if it is neither. What a C library would take for an address and is none
 * ("127.1", "0x7f000001", "017700000001") is no name.
 */
int netrule_host(struct str text, struct addr *a, char name[NETRULE_HOST_MAX + 1]);

/* 1 if the rules allow this address, which name ("": it was asked for itself) has. */
int netrule_allows(const struct netrule *, int n, const char *name, const struct addr *, unsigned port);

/* 0 if they allow no address to this name and port: it need not be looked up. */
int netrule_may(const struct netrule *, int n, const char *name, unsigned port);

/* 1 for what is no place on the internet: private, local, reserved, multicast, or with an IPv4 address embedded. */
int netrule_blocked(const struct addr *);

#endif
