/* privileges.c: from root to an ordinary user, and into the sandbox; see privileges.h. */
#include <sys/types.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "privileges.h"
#include "sandbox.h"
#include "sink.h"
#include "tunneld.h"

/*
 * For every certificate and key, those of JWTs, their secret and their JWK Set, vtunnel's keys, those of SSH, and two logs: the folder it is in, and the one a link
 * leads to. And two for names.
 */
enum { FOLDERS_MAX = 4 * TLS_PAIRS_MAX + 2 * (JWT_FILES_MAX + 4) + 4 + 2, ID_MAX = INT_MAX };

struct account {
	char name[USER_MAX];
	uid_t uid;
	gid_t gid;
};

/* NAME or NAME:GROUP, each a name or a number. */
static void
find_account(const struct conf *c, struct account *a)
{
	char *group;
	struct passwd *pw;
	struct group *gr;
	long n;

	memset(a, 0, sizeof(*a));
	opt_copy(a->name, sizeof(a->name), c->user);
	if ((group = strchr(a->name, ':')) != NULL)
		*group++ = '\0';
	pw = getpwnam(a->name);
	if (pw == NULL && opt_number(a->name, 0, ID_MAX, &n) == 0) {
		a->uid = (uid_t)n;
		pw = getpwuid(a->uid);
	} else if (pw == NULL)
		die(EXIT_USAGE, "--user: there is no user '%s'", a->name);
	if (pw != NULL) {
		a->uid = pw->pw_uid;
		a->gid = pw->pw_gid;
	}
	if (group != NULL && (gr = getgrnam(group)) != NULL)
		a->gid = gr->gr_gid;
	else if (group != NULL && opt_number(group, 0, ID_MAX, &n) == 0)
		a->gid = (gid_t)n;
	else if (group != NULL)
		die(EXIT_USAGE, "--user: there is no group '%s'", group);
	else if (pw == NULL)
		die(EXIT_USAGE, "--user: '%s' is no user of this system: say which group, NUMBER:GROUP", a->name);
	if (a->uid == 0)
		die(EXIT_USAGE, "--user: '%s' is root", a->name);
}

void
privileges_check(const struct conf *c, int serving)
{
	struct account a;
	struct stat st;

	if (c->chroot[0] != '\0') {
		if (c->user[0] == '\0')
			die(EXIT_USAGE, "--chroot needs --user: root can leave a chroot");
		if (stat(c->chroot, &st) == -1)
			die(EXIT_USAGE, "--chroot: %s: %s", c->chroot, strerror(errno));
		if (!S_ISDIR(st.st_mode))
			die(EXIT_USAGE, "--chroot: %s is no folder", c->chroot);
	}
	if (c->chroot[0] != '\0' && jwtauth_is_url(c->jwt.jwks))
		die(EXIT_USAGE, "--chroot: looking up the name in --jwks wants files outside of it; leave --chroot out, or give --jwks a file");
	if (c->user[0] == '\0')
		return;
	find_account(c, &a);
	if (serving && geteuid() != 0 && (a.uid != geteuid() || c->chroot[0] != '\0'))
		die(1, "only root can become --user %s%s%s", c->user,
		    c->chroot[0] != '\0' ? " in --chroot " : "", c->chroot);
}

void
privileges_own(const struct conf *c, int dir)
{
	struct account a;
	struct stat st;

	if (geteuid() != 0 || c->user[0] == '\0')
		return;
	find_account(c, &a);
	if (fstat(dir, &st) == -1 || st.st_uid != 0)
		die(1, "state folder %s: somebody else has put another in its place", c->state);
	if (fchown(dir, a.uid, a.gid) == -1)
		die(1, "state folder %s: cannot give it to %s: %s", c->state, c->user, strerror(errno));
}

struct was {			/* before being the owner; home -1: nothing changed */
	int home;
	gid_t gid;
};

/*
 * Be the folder's owner, in it: the owner may not be let through the folders above. Without root's
 * further groups, for good: they may own disks. A root that may not do it, as in some containers, goes on
 * as it is.
 */
static void
owner_begin(struct was *w, int dir)
{
	struct stat st;

	w->gid = getegid();
	w->home = -1;
	if (geteuid() != 0 || fstat(dir, &st) == -1 || st.st_uid == 0 ||
	    (w->home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return;
	if (fchdir(dir) == 0 && setgroups(0, NULL) == 0 && setegid(st.st_gid) == 0 && seteuid(st.st_uid) == 0)
		return;
	if (setegid(w->gid) == -1 || fchdir(w->home) == -1)
		die(1, "cannot go on as root: %s", strerror(errno));
	close(w->home);
	w->home = -1;
}

static void
owner_end(struct was *w)
{
	int saved = errno;

	if (w->home == -1)
		return;
	if (seteuid(0) == -1 || setegid(w->gid) == -1 || fchdir(w->home) == -1)
		die(1, "cannot go on as root: %s", strerror(errno));
	close(w->home);
	errno = saved;
}

int
privileges_listen(int dir, const char *path)
{
	enum net_fail fail;
	struct was w;
	int fd;

	/* the owner could not tell root's living socket from one that a killed daemon of root's left */
	if ((fd = net_dial_unix(path, &fail)) != -1) {
		close(fd);
		errno = EADDRINUSE;
		return -1;
	}
	if (errno == ECONNREFUSED)
		unlinkat(dir, "control", 0);
	owner_begin(&w, dir);
	fd = net_listen_unix(w.home != -1 ? "control" : path);
	owner_end(&w);
	return fd;
}

int
privileges_log(const struct conf *c, struct sink *s, const char *where)
{
	const char *slash = strrchr(where, '/'), *name;
	char folder[FILE_PATH_MAX];
	struct was w;
	int dir, rc;

	if (c->user[0] == '\0' || !sink_is_file(where))
		return s != NULL ? sink_open(s, where) : sink_check(where);
	opt_copy(folder, sizeof(folder), where);
	folder[slash == NULL ? 0 : slash == where ? 1 : slash - where] = '\0';
	if ((dir = open(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return -1;
	owner_begin(&w, dir);
	name = w.home != -1 && slash != NULL ? slash + 1 : where;
	rc = s != NULL ? sink_open(s, name) : sink_check(name);
	owner_end(&w);
	close(dir);
	if (s != NULL)
		s->path = where;
	return rc;
}

/* A file's folder, real where links lead elsewhere, without the name. NULL: unknown. The caller's to free. */
static char *
real_folder(const char *path)
{
	char text[FILE_PATH_MAX];
	char *slash;

	opt_copy(text, sizeof(text), path);
	if ((slash = strrchr(text, '/')) == NULL)
		return realpath(".", NULL);
	slash[slash == text] = '\0';
	return realpath(text, NULL);
}

/* The path that leads in the chroot to what path leads to now. What is outside keeps its own, which may exist inside. */
static void
relocate(const char *root, char *path)
{
	const char *slash = strrchr(path, '/'), *leaf = slash != NULL ? slash + 1 : path;
	char *folder = real_folder(path), *top = realpath(root, NULL), inside[FILE_PATH_MAX];
	size_t len = top != NULL ? strlen(top) : 0;
	int n;

	if (folder != NULL && len > 1 && strncmp(folder, top, len) == 0 &&
	    (folder[len] == '/' || folder[len] == '\0')) {
		n = snprintf(inside, sizeof(inside), "%s/%s", folder + len, leaf);
		if (n > 0 && (size_t)n < sizeof(inside))
			memcpy(path, inside, (size_t)n + 1);
	}
	free(folder);
	free(top);
}

/* File i of those that are read again, on SIGHUP or, the JWK Set and SSH's keys, at any time. NULL: there are no more. */
static char *
file_again(struct conf *c, int i)
{
	if (i < c->ncerts)
		return c->cert[i];
	if ((i -= c->ncerts) < c->nkeys)
		return c->key[i];
	if ((i -= c->nkeys) < c->jwt.nkeys)
		return c->jwt.key[i];
	i -= c->jwt.nkeys;
	if (c->jwt.secret_file[0] != '\0' && i-- == 0)
		return c->jwt.secret_file;
	if (c->ssh.keys[0] != '\0' && i-- == 0)
		return c->ssh.keys;
	if (c->vtunnel_keys[0] != '\0' && i-- == 0)
		return c->vtunnel_keys;
	return c->jwt.jwks[0] != '\0' && !jwtauth_is_url(c->jwt.jwks) && i == 0 ? c->jwt.jwks : NULL;
}

static void
enter_chroot(struct conf *c, char *const *log)
{
	char *path;
	int i;

	for (i = 0; (path = file_again(c, i)) != NULL; i++)
		relocate(c->chroot, path);
	for (i = 0; log[i] != NULL; i++)
		relocate(c->chroot, log[i]);
	if (chroot(c->chroot) == -1 || chdir("/") == -1)
		die(1, "--chroot %s: %s", c->chroot, strerror(errno));
}

/* Is root gone for good? Saved ids, where the system cannot tell them, show when one tries to have them back. */
static void
prove(const struct account *a)
{
	uid_t uid[3];
	gid_t gid[3], group[2];
	int i, n;

	if (getuid() != a->uid || geteuid() != a->uid || getgid() != a->gid || getegid() != a->gid)
		die(1, "--user: the user or the group is not as it was set");
	for (i = 0; sandbox_ids(uid, gid) == 0 && i < 3; i++)
		if (uid[i] != a->uid || gid[i] != a->gid)
			die(1, "--user: a real, effective or saved id is still another");
	n = getgroups(2, group);
	if (n == -1 || n > 1 || (n == 1 && group[0] != a->gid))
		die(1, "--user: groups are left");
	if (setuid(0) != -1 || seteuid(0) != -1 || (a->gid != 0 && (setgid(0) != -1 || setegid(0) != -1)))
		die(1, "--user: the way back to root is open");
}

static void
become(const struct account *a)
{
	if (setgroups(1, &a->gid) == -1)
		die(1, "--user: groups: %s", strerror(errno));
	if (setgid(a->gid) == -1)
		die(1, "--user: group %lu: %s", (unsigned long)a->gid, strerror(errno));
	if (setuid(a->uid) == -1)
		die(1, "--user: user %lu: %s", (unsigned long)a->uid, strerror(errno));
	prove(a);
}

struct folders {
	struct sandbox_folder folder[FOLDERS_MAX];
	int n;
};

/* path: the caller's no more; NULL adds nothing. */
static void
add_folder(struct folders *f, char *path, int write)
{
	int i = 0;

	if (path == NULL)
		return;
	while (i < f->n && strcmp(f->folder[i].path, path) != 0)
		i++;
	if (i < f->n) {
		free(path);
	} else {
		assert(f->n < FOLDERS_MAX);
		memset(&f->folder[i], 0, sizeof(f->folder[i]));
		f->folder[f->n++].path = path;
	}
	if (write)
		f->folder[i].write = 1;
	else
		f->folder[i].read = 1;
}

/*
 * Folders, not files: a renewed certificate is another file under the same name, and often that
 * name is a link into a further folder. The root folder would be no limit, and where devices are there
 * are others: of those it is the file.
 */
static void
add_file_folders(struct folders *f, const char *path, int write)
{
	char *real = realpath(path, NULL), *folder = real_folder(path), *slash;
	struct stat st;
	int alone = stat(path, &st) == 0 && !S_ISREG(st.st_mode);

	if (!alone && real != NULL && (slash = strrchr(real, '/')) != real)
		*slash = '\0';
	add_folder(f, real, write);
	if (!alone && folder != NULL && strcmp(folder, "/") != 0)
		add_folder(f, folder, write);
	else
		free(folder);
}

/* To look up names: what the C library reads, of which resolv.conf is often a link to where it is written anew. */
static void
add_name_folders(struct folders *f)
{
	add_folder(f, realpath("/etc", NULL), 0);
	add_file_folders(f, "/etc/resolv.conf", 0);
}

static void
enter_sandbox(struct conf *c, int dir, char *const *log, struct sandbox_told *told)
{
	struct folders f;
	struct sandbox s;
	char *path;
	int i;

	f.n = 0;
	for (i = 0; (path = file_again(c, i)) != NULL; i++)
		add_file_folders(&f, path, 0);
	for (i = 0; log[i] != NULL; i++)
		add_file_folders(&f, log[i], 1);
	s.dir = dir;
	s.state = c->state;
	s.folder = f.folder;
	s.chrooted = c->chroot[0] != '\0';
	s.binds = !c->d.no_ports;
	if ((s.dials = jwtauth_is_url(c->jwt.jwks) || c->d.nrelay > 0 || c->d.npass > 0))
		add_name_folders(&f);
	s.nfolders = f.n;
	s.limit = c->sandbox;
	sandbox_enter(&s, told);
	while (f.n > 0)
		free(f.folder[--f.n].path);
}

/* By doing what SIGHUP would have to, or SIGUSR1. */
static void
try_file(int dir, const char *path, int how, const char *name)
{
	int fd = openat(dir, path, how | O_CLOEXEC | O_NONBLOCK);

	if (fd == -1 && (errno != ENOENT || dir == AT_FDCWD))
		log_line(LOG_WARN, how == O_RDONLY ? "unreadable" : "unwritable", "file", name, "reason", strerror(errno), (char *)NULL);
	if (fd != -1)
		close(fd);
}

static void
try_files(struct conf *c, int dir, char *const *log)
{
	char tokens[FILE_PATH_MAX + 8], *path;
	int i;

	snprintf(tokens, sizeof(tokens), "%s/tokens", c->state);
	try_file(dir, "tokens", O_RDONLY, tokens);
	for (i = 0; (path = file_again(c, i)) != NULL; i++)
		try_file(AT_FDCWD, path, O_RDONLY, path);
	for (i = 0; log[i] != NULL; i++)
		try_file(AT_FDCWD, log[i], O_WRONLY | O_APPEND, log[i]);
}

void
privileges_drop(struct conf *c, int dir, char *const *log)
{
	char uid[24], gid[24];
	struct sandbox_told told;
	struct account a;

	tzset();		/* its file is not there any more when the C library thinks of it */
	if (c->user[0] != '\0' && geteuid() == 0) {
		find_account(c, &a);
		if (c->chroot[0] != '\0')
			enter_chroot(c, log);
		become(&a);
	}
	enter_sandbox(c, dir, log, &told);
	snprintf(uid, sizeof(uid), "%lu", (unsigned long)getuid());
	snprintf(gid, sizeof(gid), "%lu", (unsigned long)getgid());
	log_line(LOG_INFO, "privileges", "user", c->user[0] != '\0' ? c->user : NULL, "uid", uid, "gid", gid,
	    "chroot", c->chroot[0] != '\0' ? c->chroot : NULL, "sandbox", told.has[0] != '\0' ? told.has : "none",
	    "lacks", told.lacks[0] != '\0' ? told.lacks : NULL, (char *)NULL);
	try_files(c, dir, log);
}
