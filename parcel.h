/*
 * parcel.h: a message of a session's that has been handed to its link, in memory that is charged to a share until it is out or has failed.
 */
#ifndef PARCEL_H
#define PARCEL_H

#include "budget.h"
#include "link.h"

struct parcel {			/* may outlive who sent it, not the share */
	struct link_parcel link;	/* its iov is the message, to be freed */
	struct share *share;
	size_t charge;		/* bytes of it */
};

/* An empty one, for which n bytes are charged. NULL with errno ENOMEM: there is no room for them. */
struct parcel *parcel_new(struct share *, size_t n);
/* Charge it with so many bytes, if it is not already. 0, or -1 with errno ENOMEM. */
int parcel_charge(struct parcel *, size_t n);
/* Free one that is not the link's, with what is in it. errno stays. Returns -1. */
int parcel_drop(struct parcel *);

#endif
