/* sandbox_openbsd.c: pledge(2) and unveil(2); see sandbox.h. */
#include <string.h>
#include <unistd.h>

#include "sandbox.h"

/*
 * inet and unix: accept on what listens; they do not tell listeners and dialling apart. rpath: tokens and certificates again. wpath, cpath: what
 * is replaced in the state folder, the control socket removed. fattr: the mode of a new file.
 * sendfd, recvfd: listeners handed from one daemon to the next.
 */
static const char promises[] = "stdio inet unix rpath wpath cpath fattr sendfd recvfd";
static const char promises_dns[] = "stdio inet dns unix rpath wpath cpath fattr sendfd recvfd";

static int
unveil_all(const struct sandbox *s)
{
	static const char *const how[] = { "", "r", "wc", "rwc" };
	int i, rc = s->dir != -1 ? unveil(s->state, "rwc") : 0;

	for (i = 0; i < s->nfolders; i++)
		if (unveil(s->folder[i].path, how[s->folder[i].read + 2 * s->folder[i].write]) == -1)
			rc = -1;
	return rc;
}

void
sandbox_enter(const struct sandbox *s, struct sandbox_told *told)
{
	int unveiled;

	memset(told, 0, sizeof(*told));
	if (!s->limit)
		return;
	/* in a chroot the state folder has no path that could be unveiled */
	unveiled = !s->chrooted && unveil_all(s) == 0;
	if (pledge(s->dials ? promises_dns : promises, NULL) == -1)	/* without "unveil": there can be no more of it */
		strcpy(told->lacks, "pledge");
	else
		strcpy(told->has, unveiled ? "pledge,unveil" : "pledge");
	if (!unveiled && !s->chrooted)
		strcat(strcpy(told->lacks, told->has[0] == '\0' ? "pledge," : ""), "unveil");
}

int
sandbox_ids(uid_t uid[3], gid_t gid[3])
{
	return getresuid(&uid[0], &uid[1], &uid[2]) == -1 ||
	    getresgid(&gid[0], &gid[1], &gid[2]) == -1 ? -1 : 0;
}
