/*
 * supervise.h: how the daemon lives with what started it: logs, detaching, the pid file, readiness.
 * Of the program, not of the library.
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include "activate.h"
#include "notify.h"
#include "sink.h"
#include "tunneld.h"

struct supervise {
	struct activation sockets;
	struct notify notify;
	struct sink log, access;
	int has_access;
	int parent;		/* with --daemon, until it is ready: who waits; -1 */
	int dir;		/* the state folder; -1: there is no pid file */
	char path[FILE_PATH_MAX];	/* tunneld.log in the state folder */
};

/*
 * The first thing: take what came from the supervisor; with --daemon go on in a child, while
 * the parent waits in here, to exit as the child does or with 0 when that is ready. Dies.
 */
void supervise_start(struct supervise *, const struct conf *);

void supervise_logs(struct supervise *, const struct conf *);	/* open them, and the way to the supervisor; dies */
void supervise_check(const struct conf *);	/* could they be opened? dies */

/*
 * All listeners accept. dir: the state folder, whose control socket is ours. Dies without a pid file, but not when
 * another daemon has ended for this one.
 */
void supervise_ready(struct supervise *, const struct conf *, int dir);

void supervise_reopen(const struct supervise *);	/* log files, after somebody has renamed them */
void supervise_end(const struct supervise *);		/* the last thing: remove the pid file if it is ours */

#endif
