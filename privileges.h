/*
 * privileges.h: what the daemon gives up when all it needs is open: root, the rest of the file
 * system, system calls. Of the program; every failure ends it, for it is only starting.
 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

struct conf;
struct sink;

/* Do --user and --chroot make sense here, and (serving) may we do it? */
void privileges_check(const struct conf *, int serving);

/* A folder on the way to the state that root has just made is --user's. */
void privileges_own(const struct conf *, int dir);

/*
 * net_listen_unix for the control socket, at path in the state folder dir. As the folder's
 * owner: root would trust names that the owner can swap under its hands.
 */
int privileges_listen(int dir, const char *path);

/* sink_open for --log and --access-log, or with NULL sink_check; with --user, likewise as the owner of the file's folder. */
int privileges_log(const struct conf *, struct sink *, const char *where);

/*
 * chroot, groups, gid, uid, the proof, the sandbox; the log says how it stands, and what cannot be read
 * again from now on. Before any thread. In a chroot the paths of certificates and keys in conf
 * (those of JWTs, too) change to those that lead to them there, and so do those of log, files that are opened again for
 * writing, up to a NULL.
 */
void privileges_drop(struct conf *, int dir, char *const *log);

#endif
