/* supervise.c: how the daemon lives with what started it; see supervise.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "privileges.h"
#include "supervise.h"

static const char pid_file[] = "tunneld.pid";

/* In the parent: what the child has to say about its start it says on our stderr. */
static void
await_child(pid_t pid, int fd)
{
	int status = 0;
	char c;
	ssize_t n;

	while ((n = read(fd, &c, 1)) == -1 && errno == EINTR)
		;
	if (n == 1)
		_exit(0);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		die(1, "signal %d ended the daemon while it started", WTERMSIG(status));
	_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

/* The child's: a session of its own, and no way to a terminal but stderr, until it is ready. */
static void
detach(struct supervise *s)
{
	int fd[2], null;
	pid_t pid;

	if ((null = open("/dev/null", O_RDWR)) == -1)
		die(1, "/dev/null: %s", strerror(errno));
	if (pipe(fd) == -1)
		die(1, "cannot detach: %s", strerror(errno));
	if ((pid = fork()) == -1)
		die(1, "cannot detach: %s", strerror(errno));
	if (pid > 0) {
		close(fd[1]);
		await_child(pid, fd[0]);
	}
	close(fd[0]);
	fcntl(fd[1], F_SETFD, FD_CLOEXEC);
	s->parent = fd[1];
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

void
supervise_start(struct supervise *s, const struct conf *c)
{
	int fd = (int)c->ready_fd;

	s->parent = s->dir = -1;
	s->has_access = 0;
	activate(&s->sockets);
	if (fd != 0 && fd < ACTIVATE_FIRST + s->sockets.n)
		die(EXIT_USAGE, "--ready-fd: %d is a listening socket", fd);
	if (fd != 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
		die(EXIT_USAGE, "--ready-fd: %d is not open", fd);
	if (c->background)
		detach(s);
}

/* s NULL: only see whether it could be. */
static void
open_sink(const struct conf *c, struct sink *s, const char *option, const char *where)
{
	if (privileges_log(c, s, where) == -1)
		die(1, "%s %s: %s", option, where, strerror(errno));
}

/* Is the access log in the state folder, which --daemon makes before it is opened? */
static int
comes_later(const struct conf *c)
{
	size_t n = strlen(c->state);

	return c->background && c->log[0] == '\0' && access(c->state, F_OK) == -1 &&
	    strncmp(c->access_log, c->state, n) == 0 && c->access_log[n] == '/';
}

void
supervise_check(const struct conf *c)
{
	if (c->log[0] != '\0')
		open_sink(c, NULL, "--log", c->log);
	if (c->access_log[0] != '\0' && !comes_later(c))
		open_sink(c, NULL, "--access-log", c->access_log);
}

void
supervise_logs(struct supervise *s, const struct conf *c)
{
	const char *where = c->log;

	if (where[0] == '\0' && c->background) {
		close(open_state(c, 1));
		if (snprintf(s->path, sizeof(s->path), "%s/tunneld.log", c->state) >= (int)sizeof(s->path))
			die(1, "the path of state folder %s is too long for its log", c->state);
		where = s->path;
	}
	open_sink(c, &s->log, "--log", where[0] != '\0' ? where : "stderr");
	if ((s->has_access = c->access_log[0] != '\0'))
		open_sink(c, &s->access, "--access-log", c->access_log);
	if (c->background && s->log.fd == -1 && s->has_access && s->access.fd == STDERR_FILENO)
		die(EXIT_USAGE, "--access-log stderr: with --daemon and --log syslog it would go nowhere");
	log_setup(log_used(), LOG_INFO, c->log_time || s->log.path != NULL);	/* nobody else adds times to a file */
	log_to(log_used(), sink_log, &s->log);
	if (notify_open(&s->notify, getenv("NOTIFY_SOCKET"), c->ready_fd != 0 ? (int)c->ready_fd : -1) == -1)
		log_line(LOG_WARN, "notify_failed", "reason", strerror(errno), (char *)NULL);	/* it runs without */
}

/* stderr of a daemon: what libc may have to say goes to the log, if that is a file. */
static void
point_stderr(const struct supervise *s)
{
	if (s->log.path != NULL)
		dup2(s->log.fd, STDERR_FILENO);
	else if (s->log.fd != STDERR_FILENO)
		dup2(STDIN_FILENO, STDERR_FILENO);	/* /dev/null, open for both */
}

void
supervise_ready(struct supervise *s, const struct conf *c, int dir)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (!c->background)
		unlinkat(dir, pid_file, 0);	/* of one that was killed */
	else if (store_replace(dir, pid_file, text, strlen(text)) == 0)
		s->dir = dir;
	else if (c->takeover) {
		log_line(LOG_ERROR, "no_pid_file", "reason", strerror(errno), (char *)NULL);
		unlinkat(dir, pid_file, 0);	/* the old one's would soon be somebody else's */
	} else
		die(1, "%s/%s: %s", c->state, pid_file, strerror(errno));
	if (!c->log_all && log_limit(log_used()) == -1)
		log_line(LOG_WARN, "no_memory", "for", "log", (char *)NULL);
	if (c->takeover)
		notify_main(&s->notify, (long)getpid());
	notify_ready(&s->notify);
	if (s->parent == -1)
		return;
	point_stderr(s);
	while (write(s->parent, "", 1) == -1 && errno == EINTR)
		;
	close(s->parent);
}

static void
reopen(const struct sink *s)
{
	if (sink_reopen(s) == 0)
		log_line(LOG_INFO, "log_opened", "file", s->path, (char *)NULL);
	else
		log_line(LOG_ERROR, "log_not_opened", "file", s->path, "reason", strerror(errno),
		    "kept", "the old one", (char *)NULL);
}

void
supervise_reopen(const struct supervise *s)
{
	if (s->log.path != NULL) {
		reopen(&s->log);
		if (s->dir != -1)
			point_stderr(s);
	}
	if (s->has_access && s->access.path != NULL)
		reopen(&s->access);
}

void
supervise_end(const struct supervise *s)
{
	char text[32];
	ssize_t n;
	int fd;

	if (s->dir == -1 || (fd = openat(s->dir, pid_file, O_RDONLY | O_CLOEXEC)) == -1)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (strtol(text, NULL, 10) == (long)getpid())	/* it may be a successor's by now */
		unlinkat(s->dir, pid_file, 0);
}
