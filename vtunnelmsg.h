/*
 * vtunnelmsg.h: vtunnel's own texts: keys, and the JSON of its requests, replies and channels. Pure.
 */
#ifndef VTUNNELMSG_H
#define VTUNNELMSG_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "http.h"	/* struct str */
#include "json.h"

enum {
	VTUNNEL_KEY = 32,		/* bytes of a seed, or of a public key (Ed25519) */
	VTUNNEL_PRIV_LEN = 8 + 43,	/* "vt-priv-" and base64 without padding */
	VTUNNEL_PUB_LEN = 7 + 43,	/* "vt-pub-" likewise */
	VTUNNEL_BLOB = 51,		/* the public key as SSH has it, bytes */
	VTUNNEL_ADDR_MAX = 512,		/* local_addr and domain, with the NUL */
	VTUNNEL_FIELDS_MAX = 4096	/* header fields, bytes */
};

/* To the letter: prefix, alphabet, no padding, 32 bytes. 0, or -1. What they write is the caller's to wipe. */
int vtunnel_priv_parse(uint8_t seed[VTUNNEL_KEY], const char *text, size_t len);
int vtunnel_pub_parse(uint8_t pub[VTUNNEL_KEY], const char *text, size_t len);
void vtunnel_priv_format(char out[VTUNNEL_PRIV_LEN + 1], const uint8_t seed[VTUNNEL_KEY]);
void vtunnel_pub_format(char out[VTUNNEL_PUB_LEN + 1], const uint8_t pub[VTUNNEL_KEY]);

void vtunnel_blob(uint8_t blob[VTUNNEL_BLOB], const uint8_t pub[VTUNNEL_KEY]);
/* The seed of the host key that both ends derive from the client's public key: whoever knows that one can be the server. */
void vtunnel_host_seed(uint8_t seed[VTUNNEL_KEY], const uint8_t pub[VTUNNEL_KEY]);

struct vtunnel_msg {		/* a listen, a reply to it, what a channel says of itself */
	int64_t port;		/* 0: none */
	char local_addr[VTUNNEL_ADDR_MAX], domain[VTUNNEL_ADDR_MAX];	/* "": none */
	struct str headers;	/* field lines, "Name: value\r\n"; a name's further values are lines of their own, behind the first */
	char fields[VTUNNEL_FIELDS_MAX];	/* where a parsed message's are */
	struct json_node node[256];	/* the parser's */
};

/*
 * Read one: members of other names are ignored, names are taken in either case, a value of another type is an error. 0; or -1 and
 * *why, a constant string: "invalid payload", or which header cannot be. Only msg->headers of names and values that may stand in a
 * request, and that do not frame it, come through; a Host is taken, and left out.
 */
int vtunnel_parse(struct vtunnel_msg *msg, const char *text, size_t len, const char **why);

/* Write one as vtunnel does; what is empty is left out. */
void vtunnel_put(struct buf *, int64_t port, const char *local_addr, const char *domain, struct str headers);

/* Has local_addr a host and a port ("[::1]:80" too), and is it no address of the client's own? 1: it is a name for the proxy map. */
int vtunnel_maps(const char *local_addr);

#endif
