/* target.c: a place that a caller wants to be connected to; see target.h. */
#include <stdio.h>
#include <string.h>

#include "target.h"

int
target_take(struct target *t, struct str host, unsigned port, const struct target_rules *r, const char **why)
{
	struct addr a;
	int rc = netrule_host(host, &a, t->name);

	t->port = port;
	t->n = 0;
	memcpy(t->shown, "?", 2);
	*why = "no host name";
	if (rc == -1)
		return -1;
	if (rc == 1) {
		net_at(&a, port, &t->at[0]);
		net_format(&t->at[0], t->shown);
		t->n = 1;
	} else
		snprintf(t->shown, sizeof(t->shown), "%s:%u", t->name, port);
	*why = "no rule allows it";
	if (rc == 1 ? !netrule_allows(r->rule, r->n, "", &a, port) : !netrule_may(r->rule, r->n, t->name, port))
		return -1;
	return rc;
}

int
target_find(struct target *t, const struct target_rules *r, const char **why)
{
	char port[8], host[NET_ADDR_MAX];
	struct addr a;
	int i;

	if (t->name[0] == '\0')
		return 0;	/* judged already */
	snprintf(port, sizeof(port), "%u", t->port);
	*why = "the name is not known";
	if ((t->n = net_resolve(t->name, port, t->at, TARGET_ADDRESSES)) == 0)
		return -1;
	*why = "no rule allows one of its addresses";
	for (i = 0; i < t->n; i++) {
		net_format_host(&t->at[i], host);
		if (addr_parse(&a, host) == -1 || !netrule_allows(r->rule, r->n, t->name, &a, t->port))
			return -1;
	}
	return 0;
}

int
target_dial(const struct target *t, int64_t deadline, int wakefd, char addr[NET_ADDR_MAX], enum net_fail *fail, const char **why)
{
	int which = 0, fd = net_dial_any(t->at, t->n, deadline, wakefd, fail, &which);

	net_format(&t->at[which], addr);
	*why = *fail == NET_TIMEOUT ? "timeout" : *fail == NET_LOCAL ? "no descriptors or memory" : "refused";
	if (fd != -1)
		net_tune(fd);
	return fd;
}
