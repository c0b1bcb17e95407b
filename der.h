/*
 * der.h: elements of DER, X.690: what certificates and keys are written in.
 * Pure: slices of the caller's bytes, no allocation.
 */
#ifndef DER_H
#define DER_H

#include <stddef.h>
#include <stdint.h>

enum {				/* identifier octets, X.690 8.1.2 */
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BIT_STRING = 0x03, DER_OCTET_STRING = 0x04,
	DER_OID = 0x06, DER_UTC_TIME = 0x17, DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30, DER_SET = 0x31
};

struct der {			/* bytes of somebody else's, not NUL-terminated */
	const uint8_t *p;
	size_t len;
};

/* Take the element at the front: its tag, and its content in *val. -1 if it is not DER. */
int der_any(struct der *in, struct der *val);

/*
 * The same where one tag alone will do: 1, or 0 if such an element is not
 * there or is broken, and then in stays where it is. So what is OPTIONAL may
 * be tried, as a broken one is found by whoever wants the end of in.
 */
int der_take(struct der *in, int tag, struct der *val);

#endif
