/*
 * log.h: log lines "level=info event=listening addr=127.0.0.1:41234". Where they go is a matter of the thread, which has a
 * log or none, and those that it starts (workers.h) have the same: so there is no log of the process's, and several daemons
 * in one have one each. Thread-safe; never called under a lock.
 */
#ifndef LOG_H
#define LOG_H

#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log;

/* One line, which ends in '\n', with a NUL behind it that len does not count; level is an enum log_level. Any thread. */
typedef void log_write(void *arg, int level, const char *line, size_t len);

struct log *log_new(log_write *, void *arg);	/* from LOG_INFO on; NULL: no memory */
void log_free(struct log *);	/* no thread has it any more */

/* This thread's log from now on, NULL: none, and its lines go nowhere. The one that it had. */
struct log *log_use(struct log *);
struct log *log_used(void);	/* the one that it has */

/* Set once, before the log is another thread's, too. stamp: begin lines with time=RFC3339. */
void log_setup(struct log *, enum log_level least, int stamp);
void log_to(struct log *, log_write *, void *arg);

/*
 * From now on repeated lines are left out, as loglimit.h says, but for LOG_ERROR. log_tell, to be
 * called a few times a second, has a line event=suppressed tell how many; all: now, because the end has come.
 * 0, or -1: no memory.
 */
int log_limit(struct log *);
void log_tell(int all);		/* of this thread's */

/*
 * log_line(LOG_INFO, "listening", "addr", addr, "port", "80", (char *)NULL): keys and
 * values in turn up to a NULL key; a pair whose value is NULL is left out. Values with blanks,
 * quotes, '=' or anything but printable ASCII are quoted and escaped (\" \\ \n \t \xHH); a value
 * beyond 512 bytes is cut and ends in "...".
 */
void log_line(enum log_level level, const char *event, ...);

#endif
