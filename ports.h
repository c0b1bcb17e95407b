/*
 * ports.h: raw TCP ports: tunnels whose callers are plain TCP connections, each a stream of bytes. Their sockets are open as long as
 * their names are taken, also in the grace period: callers who come then wait.
 *
 * What a session asks for and what its callers get is here, whatever its dialect; ports.c binds and accepts, portcall.c joins.
 */
#ifndef PORTS_H
#define PORTS_H

#include "daemon.h"

enum { PORT_NAME_MAX = 16, PORT_MESSAGE_MAX = 200 };

struct ports *ports_new(struct daemon *);	/* NULL: no memory */
void ports_free(struct ports *);		/* when the acceptor has ended, and nobody holds a port */
int ports_start(struct ports *);		/* accept, on a thread: 0, or an error number */

struct port_want {		/* a listen for a port */
	uint32_t id;
	unsigned number;	/* 0: any of the pool */
	unsigned again;		/* then: the one it has had before, if that can be had; 0: none. Not with a guard */
	int any;		/* then: where there is no pool, any that is free */
	int public;		/* bound where the operator lets everybody come, else to loopback */
	int share;
	struct guard *guard;	/* from malloc, taken over whatever comes of it; NULL: anybody. Of networks only */
	struct str host;	/* of public ones, as callers are told: a host's name */
};

struct port_got {
	unsigned number;
	char name[PORT_NAME_MAX];	/* in the registry: "tcp:9000" */
	char addr[NAME_LEN_MAX + 8];	/* for callers: "127.0.0.1:9000" */
};

/*
 * Register a port for s, bound when this returns. NULL and *got; or a code, "port_in_use", "bad_port", "forbidden", "bad_guard" or
 * "limit", with a message for people.
 */
const char *port_listen(struct daemon *, struct session *s, struct port_want *, struct port_got *, char message[PORT_MESSAGE_MAX]);

int port_name(const char *name, unsigned *number);	/* 1 if it is the name of a port */

/* For portcall.c. */

struct port;

struct port_job {		/* a connection on its way to a thread */
	struct daemon *d;
	struct port *port;	/* with the caller counted: port_left */
	int fd;
	struct sockaddr_storage peer;
};

void port_call(void *job);	/* serve it to its end, on a thread; frees the job */
/* Make the connection, whatever it has come by, one to the name "tcp:NUMBER", to its end; it has been counted as arriving. */
void port_join(struct daemon *, const char *name, int fd, const struct sockaddr_storage *peer);
unsigned port_number(const struct port *);
void port_left(struct port *);
long port_linger(struct port *, long ms);	/* of so long, how long a caller that may have left keeps its place: the fuller, the shorter */

/* For a takeover. */

struct lease *port_adopt(struct ports *, unsigned number, int public, const int *fd, int n);	/* sockets that listen; NULL: it is here already, or it is one too many */
/* The port's sockets, as descriptors of the caller's own. How many; 0 if it is not open. */
int port_sockets(struct ports *, unsigned number, int *public, int fd[NET_LISTEN_MAX]);

#endif
