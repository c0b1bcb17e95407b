/*
 * proxyproto.h: the PROXY protocol's header: who a relayed connection is from, told before its first byte
 * ("The PROXY protocol, versions 1 & 2", HAProxy, sections 2.1 and 2.2). Pure.
 */
#ifndef PROXYPROTO_H
#define PROXYPROTO_H

#include <stddef.h>

#include "cidr.h"

enum { PROXYPROTO_MAX = 108 };	/* bytes of a header, of either version */

struct proxyproto_end {		/* of a TCP connection */
	struct addr addr;
	unsigned port;
};

/*
 * Write the header of version 1 or 2 for a TCP connection from src to dst; either may be NULL, for not known: then it
 * says so. How many bytes.
 */
size_t proxyproto_write(unsigned char out[PROXYPROTO_MAX], int version, const struct proxyproto_end *src,
    const struct proxyproto_end *dst);

/* "192.0.2.1:80" or "[2001:db8::1]:80". 0, or -1. */
int proxyproto_end(struct proxyproto_end *, const char *text);

#endif
