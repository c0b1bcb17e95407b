/*
 * activate.h: listening sockets that a supervisor has opened: sd_listen_fds(3). Of the
 * program, not of the library.
 */
#ifndef ACTIVATE_H
#define ACTIVATE_H

enum {
	ACTIVATE_FIRST = 3,	/* their descriptors start here */
	ACTIVATE_MAX = 64
};

struct activation {
	int n;			/* sockets; 0: there are none for us */
	int fd[ACTIVATE_MAX];
	int tls[ACTIVATE_MAX];	/* it speaks TLS */
	int ssh[ACTIVATE_MAX];	/* it speaks SSH */
	int connect[ACTIVATE_MAX];	/* it is the CONNECT proxy's */
};

/*
 * Take what LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES say, and unset them: before a fork, and before a descriptor is
 * opened. Sockets are made non-blocking and close-on-exec. Dies if one does not listen for TCP.
 */
void activate(struct activation *);

#endif
