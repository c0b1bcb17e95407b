/*
 * proxyproto.h: the PROXY protocol's header: who a relayed connection is from, told before its first byte
 * ("The PROXY protocol, versions 1 & 2", HAProxy, sections 2.1 and 2.2). Pure.
 */
#ifndef PROXYPROTO_H
#define PROXYPROTO_H

#include <stddef.h>

#include "cidr.h"

enum {
	PROXYPROTO_MAX = 108,		/* bytes of a header that we write, of either version */
	PROXYPROTO_READ_MAX = 4096	/* and of one that we take, with what version 2 may have behind the addresses */
};

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

/*
 * Read the header at the start of buf, of version 1 or 2.
 *  > 0  its length in bytes; *known: 1, *src is whom the connection is from; 0: that is not said, or it is the proxy's own
 *    0  no whole header in len bytes yet
 *   -1  it is none, or longer than PROXYPROTO_READ_MAX; *why is a constant string
 */
int proxyproto_parse(struct proxyproto_end *src, int *known, const unsigned char *buf, size_t len, const char **why);

/* "192.0.2.1:80" or "[2001:db8::1]:80". 0, or -1. */
int proxyproto_end(struct proxyproto_end *, const char *text);

#endif
