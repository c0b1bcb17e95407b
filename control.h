/*
 * control.h: the unix socket "control" in the state folder: status, stop and takeover.
 * One command a line; the answer runs to the end of the connection.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <stddef.h>

#include "daemon.h"

enum { CONTROL_PATH_MAX = 100 };

/* The socket's path in the state folder: 0, or -1 if it is too long for one. */
int control_path(char out[CONTROL_PATH_MAX], const char *state);

/* Serve one connection, fd: "status", "status json", "listening" (the first
 * listener's address), "stop" (which calls the daemon's) or "takeover" (takeover.h). Bounded in time. */
void control_serve(struct daemon *, int fd);

/*
 * The command-line side: send cmd, write the answer to fd out. 0; or -1 with errno
 * (ENOENT, ECONNREFUSED: no daemon runs there).
 */
int control_ask(const char *state, const char *cmd, int out);

#endif
