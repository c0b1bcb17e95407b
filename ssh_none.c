/* ssh_none.c: what the daemon would have of SSH, where it is built without: see sshsess.h and vtunnel.h. */
#include <errno.h>
#include <stdio.h>

#include "sshsess.h"
#include "vtunnel.h"

int
vtunnel_configured(const struct vtunnel_conf *c)
{
	return c->open || c->file != NULL || c->keys[0] != '\0';
}

struct vtunnel *
vtunnel_new(const struct vtunnel_conf *c, int dir, char *why, size_t whylen)
{
	(void)c;
	(void)dir;
	errno = EINVAL;
	snprintf(why, whylen, "this tunneld was built without SSH, which vtunnel needs: build it with SSH = yes in config.mk");
	return NULL;
}

void
vtunnel_free(struct vtunnel *v)
{
	(void)v;
}

void
vtunnel_tell(struct vtunnel *v)
{
	(void)v;
}

void
vtunnel_reload(struct vtunnel *v, int force)
{
	(void)v;
	(void)force;
}

enum vtunnel_serves
vtunnel_serves(struct vtunnel *v, struct str target)
{
	(void)v;
	(void)target;
	return VTUNNEL_NOBODY;
}

struct session *
vtunnel_accept(struct caller *c)
{
	(void)c;
	return NULL;
}

void
sshsess_tick(struct daemon *d)
{
	(void)d;
}

void
sshsess_cut(struct daemon *d)
{
	(void)d;
}
