/*
 * target.h: a place that a caller wants to be connected to: judged by rules (netrule.h), looked up once, and dialled at no
 * other address than those that were judged.
 */
#ifndef TARGET_H
#define TARGET_H

#include "net.h"
#include "netrule.h"

enum {
	TARGET_ADDRESSES = 16,	/* of a name that are judged and dialled */
	TARGET_DIAL_MS = 10000
};

struct target {
	char name[NETRULE_HOST_MAX + 1];	/* "": an address was asked for */
	unsigned port;
	char shown[NETRULE_HOST_MAX + 10];	/* host and port, for the log */
	struct sockaddr_storage at[TARGET_ADDRESSES];	/* judged: no others are dialled */
	int n;
};

struct target_rules {
	const struct netrule *rule;
	int n;
};

/*
 * What host, as it was asked for without its port, means. 1: an address, which is judged; 0: a name, of which the rules may allow an address;
 * -1 and *why, a constant string: they do not, or it is no host.
 */
int target_take(struct target *, struct str host, unsigned port, const struct target_rules *, const char **why);

/* Look the name up, once, and judge each of its addresses. 0, or -1 and *why, with n 0 if the name is not known. */
int target_find(struct target *, const struct target_rules *, const char **why);

/* Connect, by deadline or until wakefd (-1: none) is readable. The descriptor, or -1 and *why, a word for the log. addr: which it is. */
int target_dial(const struct target *, int64_t deadline, int wakefd, char addr[NET_ADDR_MAX], enum net_fail *, const char **why);

#endif
