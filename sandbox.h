/*
 * sandbox.h: what the system can keep from a running daemon, whatever it is made to do: by
 * sandbox_linux.c (seccomp, Landlock, no_new_privs), sandbox_openbsd.c (pledge, unveil) or
 * sandbox_none.c, of which config.mk chooses one.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <sys/types.h>

struct sandbox_folder {
	char *path;
	int read, write;	/* what is done to files in it; write: they are made, too */
};

struct sandbox {
	int dir;			/* the state folder, open: read and written; -1: none */
	const char *state;		/* its path */
	const struct sandbox_folder *folder;	/* further ones */
	int nfolders;
	int chrooted;			/* their paths are as seen now, state's is not */
	int binds, dials;		/* TCP listeners, TCP connections: may more be made? dials: and names be looked up */
	int limit;			/* 0: give up the ways back to root and no more (--sandbox no) */
};

struct sandbox_told {			/* names of parts, "no_new_privs,landlock,seccomp", or "" */
	char has[64], lacks[64];	/* in force; asked for, and not to be had here */
};

/*
 * Call it when everything is open and before there are threads; there is no way back. What cannot
 * be had is left out, whatever the reason: the kernel is old, or a container refuses these calls.
 */
void sandbox_enter(const struct sandbox *, struct sandbox_told *);

/* The real, effective and saved ids. 0, or -1: they cannot be asked for here. */
int sandbox_ids(uid_t uid[3], gid_t gid[3]);

#endif
