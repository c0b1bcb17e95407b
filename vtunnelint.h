/*
 * vtunnelint.h: what vtunnel.c (sessions) and vtunnelauth.c (keys) share.
 */
#ifndef VTUNNELINT_H
#define VTUNNELINT_H

#include "sshkey.h"
#include "vtunnel.h"
#include "vtunnelkeys.h"

enum vtunnel_door { VTUNNEL_SHUT, VTUNNEL_OPEN, VTUNNEL_KEYED };

/* What there is at this path (without a query), and the host key to be shown: own: the daemon's own is wanted. Both keys are the caller's to wipe. */
enum vtunnel_door vtunnel_door(struct vtunnel *, struct str path, int own, struct sshkey *host);

/* A P-256 host key, another for each process: it lives as long as what it is of. */
const struct sshkey *vtunnel_fresh(const struct vtunnel *);

/* May this key come in at this path? 1 and its scope; or 0. */
int vtunnel_key_ok(struct vtunnel *, struct str path, struct str blob, char scope[STORE_SCOPE_MAX + 1]);

unsigned vtunnel_generation(struct vtunnel *);	/* another than before: there are other keys, or other scopes */

/* The port that a domain of this credential had last, 0: none; and which it has now. */
unsigned vtunnel_port_of(struct vtunnel *, const char *who, const char *domain);
void vtunnel_port_is(struct vtunnel *, const char *who, const char *domain, unsigned port);

struct str vtunnel_path(struct str target);	/* without the query */

#endif
