/*
 * relayint.h: what relay.c (a relay's life) and relayto.c (where it leads to) share. Nobody else includes it.
 */
#ifndef RELAYINT_H
#define RELAYINT_H

#include "bridge.h"
#include "net.h"
#include "relay.h"
#include "target.h"
#include "webgate.h"

struct caller;

enum { RELAY_SECRET_MAX = 512 };	/* Cloudflare's id and secret, bytes */

struct relay_to {
	int access;		/* a WebSocket behind Cloudflare Access, and no TCP service */
	struct target at;
	char id[RELAY_SECRET_MAX + 1], secret[RELAY_SECRET_MAX + 1];
};

/* What the request in c->head asks for: 0, as far as it can be told without looking up the name; or -1: answered. */
int relayto_take(struct caller *, struct relay_to *);

/* Look the name up, once, and judge each of its addresses: 0; or -1: answered. */
int relayto_find(struct caller *, struct relay_to *);

/*
 * Connect, until wakefd is readable or the time is up. 0 and *conn, and with access *up on it, to be freed; or -1 and *why, for the log.
 * addr: which of the addresses it is.
 */
int relayto_dial(struct caller *, const struct relay_to *, struct conn *, struct wspipe **up, char addr[NET_ADDR_MAX], const char **why);

#endif
