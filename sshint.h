/*
 * sshint.h: what ssh.c (streams), sshin.c (the reader) and sshout.c (what goes out) share.
 */
#ifndef SSHINT_H
#define SSHINT_H

#include "queue.h"
#include "ssh.h"

enum {
	SSH_CHANNEL_QUEUE = 128 * 1024	/* bytes of one channel that wait to go out */
};

struct channel {		/* but for base guarded by the ssh's mutex */
	struct stream base;
	struct ssh *ssh;		/* constant */
	uint32_t id;			/* constant; ours */
	uint32_t peer_id, peer_packet;	/* what the other side calls it, and takes at once */
	uint32_t window;		/* constant: recv_window when all is delivered */
	uint32_t send_window, recv_window;
	uint32_t credit;		/* delivered, not granted again yet */
	uint64_t *tally;		/* NULL: not counted */
	struct queue q;			/* to be sent, within send_window */
	pthread_cond_t room;		/* there is some in q, or will never be */
	struct channel *owed_next;
	int refs;			/* the table's, the user's, the reader's */
	unsigned opening:1,		/* ours, not answered yet */
	    unsent:1,			/* nor asked for */
	    asked:1,			/* theirs, not answered yet */
	    owed:1,			/* in the list of those with something to send */
	    owe_adjust:1, owe_eof:1, owe_close:1,
	    eof_sent:1, eof_seen:1, close_sent:1, close_seen:1,
	    dead:1,			/* reset by us, refused, or over */
	    listed:1,			/* in the table */
	    blocked:1;			/* a writer waits for the window */
};

struct ssh {
	struct ssh_conf conf;
	const struct ssh_ops *ops;
	void *arg;
	void (*kick)(void *);		/* constant after ssh_attach */
	void *carrier;
	int failed;			/* the reader's: the reason that ssh_input has answered last; 0: none */
	struct sshtrans t;		/* in parts: see sshtrans.h. What is shared is under mtx */

	pthread_mutex_t mtx;		/* guards everything below */
	struct channel **table;		/* by id */
	uint32_t ntable;
	struct channel *owed_first, **owed_last;
	struct queue fifo;		/* requests, replies, opens: each with its length, four bytes, in front */
	int asked;			/* requests of ours that no reply has come to */
	int refs, nchannels, ended;
	int left;			/* DISCONNECT has come */
	int for_go;			/* see ssh_for_go */
};

struct channel *ssh_new_channel(struct ssh *);	/* NULL: no memory */
void ssh_drop_channel(struct channel *);	/* one that has not got into the table */
/* Put it into the table, with the table's reference: 0, or an error number. */
int ssh_add_locked(struct ssh *, struct channel *);
int ssh_wants_locked(const struct channel *);	/* something can be sent on it */
void ssh_owe_channel_locked(struct channel *);
/* Take it out of the table, if nothing can happen to it any more. 1: the table's reference is the caller's to drop. */
int ssh_retire_locked(struct channel *);
void ssh_unref_unlock(struct channel *);	/* with the ssh's mutex held, which is given back */
int ssh_push_locked(struct ssh *, const void *head, size_t nhead, const void *data, size_t len);	/* into the fifo: 0, or -1 */
void ssh_put_head(struct buf *, uint8_t type, const struct channel *);	/* of a message for its channel */
void ssh_kick(struct ssh *);
int ssh_refuse_locked(struct ssh *, uint32_t peer_id, enum ssh_open_reason, const char *text);

extern const struct stream_type ssh_stream_type;

#endif
