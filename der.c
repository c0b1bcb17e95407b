/* der.c: elements of DER, X.690; see der.h. */
#include "der.h"

int
der_any(struct der *in, struct der *val)
{
	size_t len, octets, head = 2;
	int tag;

	if (in->len < head || (in->p[0] & 0x1f) == 0x1f)	/* no tag here is that high */
		return -1;
	tag = in->p[0];
	len = in->p[1];
	if (len & 0x80) {
		octets = len & 0x7f;
		if (octets == 0 || octets > 4 || octets > in->len - head)
			return -1;
		for (len = 0; head < 2 + octets; head++)
			len = len << 8 | in->p[head];
		/* 10.1: a shorter form would do */
		if (len < 0x80 || len >> 8 * (octets - 1) == 0)
			return -1;
	}
	if (len > in->len - head)
		return -1;
	val->p = in->p + head;
	val->len = len;
	in->p += head + len;
	in->len -= head + len;
	return tag;
}

int
der_take(struct der *in, int tag, struct der *val)
{
	return in->len > 0 && in->p[0] == tag && der_any(in, val) != -1;
}
