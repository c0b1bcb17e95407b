/* sink.c: where lines go; see sink.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "sink.h"
#include "watch.h"

enum { TRIES = 3 };

static const int priority[] = {	/* by enum log_level, whose names are syslog.h's, too */
	LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR
};

/* The mode is ours alone if the file is: a umask made for secrets must not hide the log from its group. */
static int
open_file(const char *path)
{
	int flags = O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC, fd, i;

	for (i = 0; i < TRIES; i++) {
		if ((fd = open(path, flags | O_CREAT | O_EXCL, 0640)) != -1) {
			fchmod(fd, 0640);
			return fd;
		}
		if (errno != EEXIST)
			return -1;
		if ((fd = open(path, flags)) != -1 || errno != ENOENT)
			return fd;
	}			/* renamed between the two */
	return -1;
}

int
sink_is_file(const char *where)
{
	return strcmp(where, "stderr") != 0 && strcmp(where, "syslog") != 0;
}

int
sink_check(const char *where)
{
	const char *slash = strrchr(where, '/');
	size_t len = slash != NULL ? (size_t)(slash - where) + 1 : 0;
	char folder[PATH_MAX];
	struct stat st;

	if (!sink_is_file(where))
		return 0;
	errno = EISDIR;
	if (stat(where, &st) == 0 && S_ISDIR(st.st_mode))
		return -1;
	if (faccessat(AT_FDCWD, where, W_OK, AT_EACCESS) == 0)
		return 0;
	if (errno != ENOENT || lstat(where, &st) == 0)	/* a link to nowhere is no place for a file */
		return -1;
	errno = ENAMETOOLONG;
	if (len + 2 > sizeof(folder))
		return -1;
	memcpy(folder, where, len);
	memcpy(folder + len, ".", 2);
	return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS);
}

int
sink_open(struct sink *s, const char *where)
{
	s->path = NULL;
	s->cut = 0;
	pthread_mutex_init(&s->mtx, NULL);
	if (strcmp(where, "stderr") == 0) {
		s->fd = STDERR_FILENO;
		return 0;
	}
	if (strcmp(where, "syslog") == 0) {
		s->fd = -1;
		openlog("tunneld", LOG_PID | LOG_NDELAY, LOG_DAEMON);	/* now: later it may be out of reach */
		return 0;
	}
	s->path = where;
	return (s->fd = open_file(where)) == -1 ? -1 : 0;
}

int
sink_reopen(const struct sink *s)
{
	int fd, rc, saved;

	if (s->path == NULL)
		return 0;
	if ((fd = open_file(s->path)) == -1)
		return -1;
	/* dup2 replaces at once: a line goes to the old file or to the new one */
	rc = dup2(fd, s->fd) == -1 || fcntl(s->fd, F_SETFD, FD_CLOEXEC) == -1 ? -1 : 0;
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}

/* Behind a line without an end this one begins with it. */
static void
put(struct sink *s, const char *line, size_t len)
{
	struct iovec iov[2];
	char end = '\n';
	ssize_t n;
	int cut, is_cut;

	iov[0].iov_base = &end;
	iov[0].iov_len = 1;
	iov[1].iov_base = (void *)(uintptr_t)line;
	iov[1].iov_len = len;
	pthread_mutex_lock(&s->mtx);
	cut = s->cut;
	pthread_mutex_unlock(&s->mtx);
	while ((n = writev(s->fd, iov + !cut, 1 + cut)) == -1 && errno == EINTR)
		;		/* otherwise there is nowhere left to complain */
	is_cut = n > 0 ? n != cut && (size_t)n < len + (size_t)cut : cut;
	if (is_cut == cut)
		return;
	pthread_mutex_lock(&s->mtx);
	s->cut = is_cut;
	pthread_mutex_unlock(&s->mtx);
}

void
sink_write(struct sink *s, int level, const char *line, size_t len)
{
	if (s->fd == -1)
		watch_leave();
	else
		watch_leave_for(s->fd);	/* others do not wait for whoever reads a pipe */
	if (s->fd == -1)
		syslog(priority[level], "%.*s", (int)len - 1, line);
	else
		put(s, line, len);
}

void
sink_log(void *sink, int level, const char *line, size_t len)
{
	sink_write(sink, level, line, len);
}
