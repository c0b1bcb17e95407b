/*
 * sink.h: where lines go: standard error, syslog(3) or a file. One system call a line, and
 * no lock held over it: a file is opened again under the descriptor that it has.
 */
#ifndef SINK_H
#define SINK_H

#include <pthread.h>
#include <stddef.h>

struct sink {			/* mtx and cut: of its own */
	int fd;			/* -1: syslog */
	const char *path;	/* the file, the caller's text; NULL: it is none */
	pthread_mutex_t mtx;	/* guards cut; a leaf */
	int cut;		/* the last line has no end: there was no room for all of it */
};

#define SINK_STDERR { STDERR_FILENO, NULL, PTHREAD_MUTEX_INITIALIZER, 0 }

/*
 * "stderr", "syslog" (facility daemon), or a file's path: appended to, mode 0640 if
 * it is made. 0, or -1 with errno.
 */
int sink_open(struct sink *, const char *where);

int sink_is_file(const char *where);	/* a path */

int sink_check(const char *where);	/* could sink_open open it, as far as can be seen without that? 0, or -1 with errno */

/* Open a file again, after somebody has renamed it: 0; or -1 with errno, and the old one stays in use. */
int sink_reopen(const struct sink *);

/* line ends in '\n'; level is an enum log_level. errors have nowhere to go; but one that a full disk has cut short gets its end before the next. */
void sink_write(struct sink *, int level, const char *line, size_t len);
void sink_log(void *sink, int level, const char *line, size_t len);	/* the same, as log.h wants it */

#endif
