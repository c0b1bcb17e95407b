/* parcel.c: messages on their way out, charged; see parcel.h. */
#include <errno.h>
#include <stdlib.h>

#include "parcel.h"

static void
release(struct link_parcel *link)
{
	struct parcel *p = (struct parcel *)(void *)link;

	free(p->link.iov.iov_base);
	share_give(p->share, p->charge);
	free(p);
}

struct parcel *
parcel_new(struct share *share, size_t n)
{
	struct parcel *p = malloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->link.release = release;
	p->link.iov.iov_base = NULL;
	p->link.iov.iov_len = 0;
	p->share = share;
	p->charge = 0;
	if (parcel_charge(p, n) == 0)
		return p;
	parcel_drop(p);
	return NULL;
}

int
parcel_charge(struct parcel *p, size_t n)
{
	if (n <= p->charge)
		return 0;
	if (!share_take(p->share, n - p->charge)) {
		errno = ENOMEM;
		return -1;
	}
	p->charge = n;
	return 0;
}

int
parcel_drop(struct parcel *p)
{
	int err = errno;

	release(&p->link);
	errno = err;
	return -1;
}
