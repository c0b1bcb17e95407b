/* random.c: see random.h. */
#include <unistd.h>

#include "random.h"

int
random_bytes(void *buf, size_t len)
{
	unsigned char *p = buf;
	size_t n;

	for (; len > 0; p += n, len -= n) {
		n = len < 256 ? len : 256;	/* the most getentropy(3) gives at once */
		if (getentropy(p, n) == -1)
			return -1;
	}
	return 0;
}
