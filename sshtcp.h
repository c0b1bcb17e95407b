/*
 * sshtcp.h: an SSH connection over TCP: carries the bytes of an ssh over a conn.
 *
 * Whoever has something to send writes it, for all, as far as the socket takes it without waiting; the reader does the rest.
 */
#ifndef SSHTCP_H
#define SSHTCP_H

#include "conn.h"
#include "ssh.h"

struct sshtcp;

/* Takes c over; the ssh stays the caller's, who keeps his reference until after sshtcp_free. NULL with errno: then c is the caller's still. */
struct sshtcp *sshtcp_new(const struct conn *c, struct ssh *);

/* Read until the connection ends; then it is closed, and every stream reset. *why: a constant string for the log. */
void sshtcp_run(struct sshtcp *, const char **why);
void sshtcp_abort(struct sshtcp *);	/* end it now; any thread */
void sshtcp_free(struct sshtcp *);	/* after sshtcp_run has returned, and the last stream is gone */

#endif
