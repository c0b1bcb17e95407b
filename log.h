/*
 * log.h: log lines "level=info event=listening addr=127.0.0.1:41234" on
 * stderr, or elsewhere, one write(2) a line. Thread-safe; never called under a lock.
 */
#ifndef LOG_H
#define LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Set once, before the first thread. stamp: begin lines with time=RFC3339. */
void log_setup(enum log_level least, int stamp);

struct sink;
void log_to(const struct sink *);	/* likewise; it must stay */

/*
 * From now on repeated lines are left out, as loglimit.h says, but for LOG_ERROR. log_tell, to be
 * called a few times a second, has a line event=suppressed tell how many; all: now, because the end has come.
 * 0, or -1: no memory.
 */
int log_limit(void);
void log_tell(int all);

/*
 * log_line(LOG_INFO, "listening", "addr", addr, "port", "80", (char *)NULL): keys and
 * values in turn up to a NULL key; a pair whose value is NULL is left out. Values with blanks,
 * quotes, '=' or anything but printable ASCII are quoted and escaped (\" \\ \n \t \xHH); a value
 * beyond 512 bytes is cut and ends in "...".
 */
void log_line(enum log_level level, const char *event, ...);

#endif
