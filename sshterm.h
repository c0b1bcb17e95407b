/*
 * sshterm.h: what an SSH client's user sees: the "session" channel, on which lines are shown until Ctrl-C. There is no shell behind it.
 *
 * Any thread shows lines, and none of them waits: what a slow terminal does not take is left out, and counted.
 */
#ifndef SSHTERM_H
#define SSHTERM_H

#include <pthread.h>

#include "ssh.h"

enum { SSHTERM_QUEUE = 16384 };	/* bytes that wait for the channel's window */

struct sshterm {
	void (*quit)(void *arg);	/* constant: the user wants to end it: in the reader, the stream's mtx held */
	void *arg;

	pthread_mutex_t mtx;	/* guards what follows; no other is taken under it */
	pthread_cond_t idle;	/* nobody writes, or there is no channel any more */
	struct stream *s;	/* NULL: none */
	int pty, shown;		/* it has a terminal; lines are shown there */
	int writing, again;	/* somebody does; there is more than he has seen */
	int leave;		/* the channel is to be closed */
	int torn;		/* what was written last may be no whole line */
	unsigned long missed;	/* lines left out */
	size_t len;
	char out[SSHTERM_QUEUE];	/* what waits */
};

void sshterm_init(struct sshterm *, void (*quit)(void *), void *arg);
void sshterm_free(struct sshterm *);

/* The client opens a session: as ssh_ops.open answers. One at a time. */
int sshterm_open(struct sshterm *, struct stream *);
int sshterm_is(struct sshterm *, const struct stream *);	/* it is this one's */

void sshterm_pty(struct sshterm *);	/* it has a terminal: lines end in CR LF, and keys end it */
void sshterm_show(struct sshterm *);	/* from now on lines are shown. They are not before */
int sshterm_shown(struct sshterm *);

/* A line without its end; what else than printable ASCII is in it is the caller's to see to. Nothing, if nobody looks. */
void sshterm_line(struct sshterm *, const char *line);

/* The same for somebody who has keys to press. */
void sshterm_hint(struct sshterm *, const char *line);

/* Close the channel: status as a program's. What waits to be shown goes first, as far as it can at once. held: from within quit. */
void sshterm_exit(struct sshterm *, unsigned status, int held);

/* The connection is over: when this returns nobody is in here any more. */
void sshterm_over(struct sshterm *);

#endif
