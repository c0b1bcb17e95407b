/*
 * msgclient.h: the client's half of the dialects that carry requests whole, the other end of message.h: each request that a
 * server's message tells becomes a stream (stream.h) of HTTP/1.1 to a local service, and what comes back one message.
 */
#ifndef MSGCLIENT_H
#define MSGCLIENT_H

#include "clientmsg.h"
#include "link.h"
#include "local.h"

struct msgclient;

enum {
	MSGCLIENT_IN_MAX = 104857600,	/* a message from a server, bytes */
	MSGCLIENT_MEMORY = 320 << 20	/* for what a client's sessions hold of messages and content, bytes */
};

struct msgclient_conf {
	const struct clientmsg_dialect *dialect;
	struct clientmsg_server server;	/* its texts live as long as the msgclient, as do the next two */
	struct local *local;	/* of one service */
	struct budget *budget;
	int64_t ping_ms;
	/* In the reader: the server has been heard since the handshake, it has not just refused us. Once. */
	void (*heard)(void *arg);
	void (*complain)(void *arg, const char *what);	/* in the reader: of a message that is no request; rarely */
	void *arg;
};

/* Take conn over. NULL: no memory or descriptors; then it is the caller's still. early: as link_new has it. */
struct msgclient *msgclient_new(const struct msgclient_conf *, const struct conn *conn, const void *early, size_t nearly);

struct link *msgclient_link(struct msgclient *);
int msgclient_running(struct msgclient *);	/* requests that are not answered yet */
void msgclient_end(struct msgclient *);		/* link_run has returned: every stream is reset */
void msgclient_ref(struct msgclient *);
void msgclient_unref(struct msgclient *);	/* the last one frees it */

#endif
