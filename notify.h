/*
 * notify.h: tell a supervisor how the daemon is: systemd by datagrams to $NOTIFY_SOCKET (sd_notify(3)),
 * s6 by a newline on a descriptor. Of the program, not of the library.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

struct notify {
	int sock;		/* connected; -1: none */
	int ready_fd;		/* -1: none, or the newline is out */
};

/* path: $NOTIFY_SOCKET, "/..." or "@..." (abstract); NULL: none. ready_fd: -1: none. 0, or -1 with errno: then nothing goes to path. */
int notify_open(struct notify *, const char *path, int ready_fd);

void notify_ready(struct notify *);	/* the first time, and after notify_reloading */
void notify_main(const struct notify *, long pid);	/* that process is the daemon now */
void notify_reloading(const struct notify *);
void notify_stopping(const struct notify *);

#endif
