/* notify.c: tell a supervisor how the daemon is; see notify.h. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "notify.h"

enum { SEND_S = 5 };		/* a supervisor that does not read must not hang the daemon */

int
notify_open(struct notify *n, const char *path, int ready_fd)
{
	struct timeval tv = { SEND_S, 0 };
	struct sockaddr_un sun;
	size_t len;
	int saved;

	n->sock = -1;
	n->ready_fd = ready_fd;
	if (path == NULL)
		return 0;
	len = strlen(path);
	errno = path[0] != '/' && path[0] != '@' ? EAFNOSUPPORT : ENAMETOOLONG;
	if (errno == EAFNOSUPPORT || len >= sizeof(sun.sun_path))
		return -1;
	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	if ((n->sock = socket(AF_UNIX, SOCK_DGRAM, 0)) == -1)
		return -1;
	setsockopt(n->sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	/* connected now: later the path may be out of reach. An abstract name is as long as it is told to be. */
	if (fcntl(n->sock, F_SETFD, FD_CLOEXEC) == 0 && connect(n->sock, (struct sockaddr *)(void *)&sun,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'))) == 0)
		return 0;
	saved = errno;
	close(n->sock);
	n->sock = -1;
	errno = saved;
	return -1;
}

static void
tell(const struct notify *n, const char *text)
{
	if (n->sock != -1)
		while (send(n->sock, text, strlen(text), MSG_NOSIGNAL) == -1 && errno == EINTR)
			;	/* a supervisor that has gone is nobody to tell */
}

void
notify_ready(struct notify *n)
{
	tell(n, "READY=1");
	if (n->ready_fd == -1)
		return;
	while (write(n->ready_fd, "\n", 1) == -1 && errno == EINTR)
		;
	close(n->ready_fd);
	n->ready_fd = -1;
}

void
notify_reloading(const struct notify *n)
{
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_us(CLOCK_STEADY));
	tell(n, text);
}

void
notify_main(const struct notify *n, long pid)
{
	char text[32];

	snprintf(text, sizeof(text), "MAINPID=%ld", pid);
	tell(n, text);
}

void
notify_stopping(const struct notify *n)
{
	tell(n, "STOPPING=1");
}
