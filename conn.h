/*
 * conn.h: a byte connection, plain or TLS. Never blocks but in conn_wait.
 * Reading is the owner's; writing is for whoever holds the lock that its
 * user made for it. Only the owner closes.
 */
#ifndef CONN_H
#define CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct conn;

struct conn_type {		/* plain is in conn.c, TLS in tlsconn.c */
	ssize_t (*read)(struct conn *, void *, size_t);
	ssize_t (*writev)(struct conn *, const struct iovec *, int);
	int (*poll)(struct conn *, int *events);	/* events that poll(2) need not wait for, or 0; else events says what to poll for */
	void (*shutdown)(struct conn *, int how);
	void (*close)(struct conn *);
};

struct conn {
	int fd;			/* -1: closed */
	const struct conn_type *type;
	void *tls;		/* the type's own */
};

void conn_plain(struct conn *, int fd);	/* takes the descriptor over */

/*
 * Bytes read or written; 0 from read is the end; -1 with errno, EAGAIN: not now. What a write has not
 * taken must come first in the next one, if there is a next one: its record may be half out.
 */
ssize_t conn_read(struct conn *, void *, size_t);
ssize_t conn_writev(struct conn *, const struct iovec *, int n);

/*
 * Sleep until one of events (POLLIN, POLLOUT), the readability of wakefd (-1: none), or
 * deadline (clock_ms CLOCK_STEADY; CONN_FOREVER). Events that came, 0 at the deadline or a wake-up
 * (*woken says which; may be NULL). Errors and hang-ups are reported as the events asked
 * for, plus POLLERR or POLLHUP.
 */
#define CONN_FOREVER INT64_MAX
int conn_wait(struct conn *, int events, int64_t deadline, int wakefd, int *woken);

/* The same for several connections, at most CONN_WANTS; without events one is left out. How many are ready; each one's are in ready. */
enum { CONN_WANTS = 3 };
struct conn_want {
	struct conn *conn;
	int events, ready;
};
int conn_wait_any(struct conn_want *, int n, int64_t deadline, int wakefd, int *woken);

/* Write all of it by deadline. 0, or -1 with errno. */
int conn_write_all(struct conn *, const void *, size_t, int64_t deadline);

int conn_broken(struct conn *);	/* 1 if it was reset, or timed out: tells it once */
int conn_quiet(struct conn *);		/* 1 if it is open and nothing has come, as far as one can see */
void conn_shutdown(struct conn *, int how);	/* shutdown(2): wakes the owner; anyone may */
void conn_reset_on_close(struct conn *);	/* closing will send RST: what was sent is no whole answer */
void conn_close(struct conn *);

/* Leave out the first n bytes of iov[*at..count). */
void iov_skip(struct iovec *iov, int count, int *at, size_t n);
size_t iov_len(const struct iovec *, int count);
/* len bytes of from, from byte at on, as pieces in to[0..max): how many, or -1: more than max. from has so many. */
int iov_cut(struct iovec *to, int max, const struct iovec *from, size_t at, size_t len);

#endif
