/* activate.c: listening sockets that a supervisor has opened; see activate.h. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "activate.h"
#include "net.h"
#include "opt.h"
#include "tunneld.h"

static void
take(int fd)
{
	int family = net_listens(fd);

	if (family != AF_INET && family != AF_INET6)
		die(1, "LISTEN_FDS: descriptor %d is no listening TCP socket", fd);
	if (net_flags(fd) == -1)
		die(1, "LISTEN_FDS: descriptor %d: %s", fd, strerror(errno));
}

static int
ends_in(const char *name, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && memcmp(name + len - n, end, n) == 0;
}

void
activate(struct activation *a)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *name = getenv("LISTEN_FDNAMES");
	long who, n = 0;
	size_t len;
	int i;

	memset(a, 0, sizeof(*a));
	/* an environment that was inherited is somebody else's */
	if (pid != NULL && fds != NULL && opt_number(pid, 1, LONG_MAX, &who) == 0 && who == (long)getpid() &&
	    opt_number(fds, 0, ACTIVATE_MAX, &n) == -1)
		die(1, "LISTEN_FDS: '%.60s' is not a number up to %d", fds, ACTIVATE_MAX);
	a->n = (int)n;
	for (i = 0; i < a->n; i++) {
		take(a->fd[i] = ACTIVATE_FIRST + i);
		if (name == NULL)
			continue;
		len = strcspn(name, ":");
		a->tls[i] = ends_in(name, len, "tls") || ends_in(name, len, "https");
		a->ssh[i] = ends_in(name, len, "ssh");
		a->connect[i] = ends_in(name, len, "connect-proxy");
		name = name[len] == ':' ? name + len + 1 : NULL;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}
