/*
 * daemon.h: what the parts of tunneld share.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <pthread.h>
#include <stdint.h>

#include "auth.h"
#include "cidr.h"
#include "guard.h"
#include "jwtauth.h"
#include "limit.h"
#include "mux.h"
#include "netrule.h"
#include "origin.h"
#include "pending.h"
#include "registry.h"
#include "tlsconn.h"
#include "wake.h"
#include "watch.h"
#include "workers.h"

enum { TRUST_MAX = 64, LISTENERS_MAX = 128 };

struct daemon_conf {		/* times in milliseconds, sizes in bytes */
	char domain[NAME_LEN_MAX + 1];	/* "": none */
	char url[256];			/* base URL for clients, "": from their endpoint */
	long head_ms, idle_ms, timeout_ms, half_close_ms, keep_alive_ms, stall_ms;
	long grace_ms, drain_ms, ping_ms;
	long slots, queue, streams, callers, sessions;
	long window, buffer;
	long bodies, content;
	long pipegate_timeout_ms;
	long wsproxy_timeout_ms, wsproxy_hold_ms;
	int pipegate_legacy;	/* tokens of sub and exp alone will do */
	long handshakes;	/* under way, of one address */
	struct tls_files cert[TLS_PAIRS_MAX];	/* for listeners that speak TLS */
	int ncerts;
	struct netrule relay[NETRULES_MAX];	/* where /relay may lead to */
	int nrelay;			/* 0: nowhere, and it is off */
	int redirect;		/* plain HTTP is answered with 308 */
	struct cidr trust[TRUST_MAX];
	int ntrust;
	struct jwt_conf jwt;
	int web;			/* /relay, /tunnel and /health are wsproxy's in all they answer, not in their handshakes alone */
	int open_wsproxy;		/* they want no credential */
	char origin[ORIGINS_MAX][ORIGIN_MAX + 1];	/* rules for the pages that use them */
	int norigins;
	long conns_per_ip, conns_per_user;	/* open there at once */
	long exchanges_per_ip;		/* 0: any number */
	long login_failures;		/* of an address, free of waiting */
	int no_ports;			/* raw TCP ports are not offered */
	char ports[STORE_SCOPE_MAX + 1];	/* the pool, as scope.h has ports; "": none */
	struct sockaddr_storage bind[NET_LISTEN_MAX];	/* where public ones are bound, whatever the port in it */
	int nbind;			/* 0: none are public */
	long ports_max;			/* open at once */
	long port_callers, port_callers_all;	/* of one port, and of all of them */
	struct netrule pass[NETRULES_MAX];	/* where the CONNECT proxy may lead to, but for registered domains */
	int npass;
	struct guard proxy_users;	/* who may use it; with none, anybody */
	long proxy_idle_ms;		/* 0: a connection may be idle for ever */
};

struct daemon_listener {
	int fd;
	int tls;		/* it speaks TLS, and plain HTTP if 0 */
	int ssh;		/* it speaks SSH, and no HTTP */
	int proxy;		/* a header of the PROXY protocol comes first */
	int connect;		/* it is the CONNECT proxy's, and serves nothing else */
	int any;		/* its port was the system's choice */
	int given;		/* a supervisor has opened it */
};

struct guest {			/* a caller's connection, as whoever ends the daemon finds it */
	int fd;
	struct guest *next, **at;
};

struct daemon {
	struct daemon_conf conf;	/* constant once threads run */
	struct registry *registry;
	struct pending *pending;
	struct auth *auth;
	struct jwtauth *jwt;		/* NULL: no JWT is believed */
	struct watch *watch;	/* callers that wait for something; NULL: each keeps its thread */
	struct workers *workers;
	struct budget budget;		/* of windows */
	struct budget bodies;		/* of requests and answers that are gathered */
	struct limit *handshakes;
	struct limit *conns_addr, *conns_user;	/* of /relay and /tunnel */
	struct limit *exchanges;	/* NULL: an address may have any number */
	struct backoff *logins;		/* that have failed */
	struct ports *ports;		/* NULL: none are offered */
	struct ssh_sessions {
		pthread_mutex_t mtx;	/* before the registry's; what is done under it does not block */
		struct sshsess *first;
	} ssh;				/* over SSH, those that have not authenticated among them: sshsess.h */
	struct sshfront *ssh_front;	/* NULL: nobody listens for it */
	struct proxymap *proxymap;
	struct vtunnel *vtunnel;	/* NULL: off. The program's to set, as jwt */
	struct relays *relays;		/* NULL: /relay is off */
	struct tls_client *relay_tls;	/* whom Cloudflare's variant of it trusts; NULL: nobody */
	struct sink *access;		/* the access log; NULL: none */
	char boot[9];			/* first half of request ids: random hex */
	char addr[NET_ADDR_MAX];	/* of the first listener that speaks TLS, or the first */
	int addr_tls;
	char https_port[6];		/* where plain HTTP is redirected to, "" if nowhere */
	int control;			/* the control socket, which the controller closes */
	struct wake rest;		/* readable: no more connections are accepted */

	void (*stop)(void);		/* the control socket was asked to stop the daemon */
	void (*drained)(void);		/* it has drained; does not return */
	void (*handed)(long pid);	/* another process has our listeners, and we drain */

	pthread_cond_t change;		/* up or ending is set, or the janitor has gone */
	pthread_mutex_t mtx;		/* guards what follows */
	int up;				/* the program has started: others may take over, or stop it */
	int draining;			/* 1: no new connections; 2: nor any more waiting */
	int moved;			/* 1, with draining: another process has listeners and control socket */
	struct daemon_listener *listener;	/* [nlisteners]; fd -1: closed */
	int nlisteners;
	int accepting;			/* acceptors */
	int arriving;			/* connections on their way to a thread */
	int ncallers;
	struct guest *guests;
	int ending;			/* the janitor is to go */
	int janitors;
	int direct;			/* connections that the CONNECT proxy has made */
	struct caller *spare;		/* memory and wakes for the next connections */
	int nspare;
	uint32_t requests;
	struct tls_server *tls;		/* NULL: no certificates */
};

/*
 * Make everything but threads; stop, drained, handed, tls, relay_tls, jwt, ssh_front and access are the caller's to set then. dir: the open state
 * folder; -1: there is none, and the tokens come from auth_take. 0, or -1 and why; then daemon_free takes away what there is.
 */
int daemon_init(struct daemon *, const struct daemon_conf *, int dir, char *why, size_t whylen);

/* Start the threads: accept on the n listeners (logged as listening; one at least is for HTTP) and, from daemon_up on, on the control socket. 0, or -1 with errno. */
int daemon_start(struct daemon *, const struct daemon_listener *, int n, int control);
void daemon_up(struct daemon *);

/* Of a daemon that is a part of a program, and has no listeners and no control socket: the other threads. 0, or an error number. */
int daemon_run(struct daemon *);
/*
 * Its end: all connections are closed, and what it has is given back, jwt, vtunnel, ssh_front, relay_tls and access too being the caller's. 1; 0:
 * something still runs after ms, and keeps what it needs. Not from one of its threads.
 */
int daemon_end(struct daemon *, int ms);
void daemon_free(struct daemon *);	/* when it has no threads */

/* Certificates and keys as they are now, counted for the caller; NULL: none. */
struct tls_server *daemon_tls(struct daemon *);

/* Read the token store again, if it has changed or if force; then the certificates and the keys of JWTs too. */
void daemon_reload(struct daemon *, int force);

/*
 * Whose credential is this? 0 and *who; or a status: 401, 403 for one with no scope at all (a JWT's; unless scopeless ones will
 * do, too), 503 if its key cannot be had now. It may wait for keys of JWTs. Callers' are for login.h, which counts the bad ones.
 */
int daemon_auth(struct daemon *, const struct str *credential, int scopeless, const char *peer, struct identity *who);

/* A connection is on its way to a thread (n: 1); there is none for it (-1). */
void daemon_arriving(struct daemon *, int n);
/* It has one, and counts as a caller if there is room: 1, and daemon_leave when it has ended; or 0. */
int daemon_enter(struct daemon *);
void daemon_leave(struct daemon *);
/* Its connection: daemon_end shuts it down, unless daemon_part comes before, as it must before it is closed. */
void daemon_greet(struct daemon *, struct guest *, int fd);
void daemon_part(struct daemon *, struct guest *);
/* The CONNECT proxy makes a connection (n: 1); it is over (-1). */
void daemon_direct(struct daemon *, int n);
/* A thread that accepts has started (n: 1) or, having closed its sockets, ended (-1). */
void daemon_accepting(struct daemon *, int n);
/* What accept(2) has failed with, now in errno: wait if descriptors or memory are short, until somebody has closed something. */
void daemon_accept_failed(void);

/* Begin to drain, on a thread: 0, or -1 with errno. If it drains already nothing changes. */
int daemon_drain(struct daemon *);

int daemon_draining(struct daemon *);
int daemon_moved(struct daemon *);

/* For a takeover: the listeners, as descriptors of the caller's own. How many, or -1 with errno. */
int daemon_listeners(struct daemon *, struct daemon_listener out[LISTENERS_MAX]);
/* Another process accepts there now: waits until none of ours does. 1; 0: it drains already, on its way to the end. */
int daemon_move(struct daemon *);
void daemon_request_id(struct daemon *, char id[17]);

#endif
