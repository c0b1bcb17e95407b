/* jwks.c: when keys are fetched, and how long they count; see jwks.h. */
#include "jwks.h"

int
jwks_counts(const struct jwks *k, int64_t now)
{
	return k->has && now - k->good < JWKS_STALE_MS;
}

int
jwks_failed(const struct jwks *k)
{
	return k->asked && (!k->has || k->tried != k->good);
}

enum jwks_step
jwks_next(const struct jwks *k, int known, int64_t now)
{
	if (known && k->has && !k->renew && now - k->good < JWKS_FRESH_MS)
		return JWKS_USE;
	if (k->busy)
		return JWKS_WAIT;
	if (!k->asked || now - k->tried >= JWKS_RETRY_MS)
		return JWKS_FETCH;
	return known && jwks_counts(k, now) ? JWKS_USE : JWKS_NONE;
}

void
jwks_renew(struct jwks *k)
{
	k->renew = 1;
	k->asked = 0;
}

void
jwks_begin(struct jwks *k)
{
	k->busy = 1;
}

void
jwks_end(struct jwks *k, int ok, int64_t now)
{
	k->busy = 0;
	k->asked = 1;
	k->tried = now;
	if (ok) {
		k->has = 1;
		k->renew = 0;
		k->good = now;
	}
}
