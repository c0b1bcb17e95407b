/* sshfront_none.c: builds without SSH; see sshfront.h. */
#include <stdio.h>

#include "sshfront.h"

struct sshfront *
sshfront_new(const struct sshfront_conf *conf, char why[SSHFRONT_WHY_MAX])
{
	(void)conf;
	snprintf(why, SSHFRONT_WHY_MAX, "--ssh-listen: this tunneld was built without SSH: build it with SSH = yes");
	return NULL;
}

void
sshfront_free(struct sshfront *f)
{
	(void)f;
}

void
sshfront_reload(struct sshfront *f, int force)
{
	(void)f;
	(void)force;
}

/* Nobody listens. */
void
sshfront_serve(struct daemon *d, int fd, const struct sockaddr_storage *peer)
{
	(void)d;
	(void)fd;
	(void)peer;
}
