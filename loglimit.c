/* loglimit.c: which log lines are too many of a kind; see loglimit.h. */
#include <string.h>

#include "loglimit.h"

void
loglimit_init(struct loglimit *l)
{
	memset(l, 0, sizeof(*l));
	memcpy(l->kind[0].event, "others", sizeof("others"));
	l->n = 1;
}

/* FNV-1a, over what is kept of the text and its end. */
static uint32_t
hash(uint32_t h, const char *text)
{
	size_t i;

	for (i = 0; i < LOGLIMIT_TEXT - 1 && text[i] != '\0'; i++)
		h = (h ^ (unsigned char)text[i]) * 16777619u;
	return (h ^ 0xff) * 16777619u;
}

static int
same(const char *kept, const char *text)
{
	return strncmp(kept, text, LOGLIMIT_TEXT - 1) == 0;
}

static void
keep(char *to, const char *text)
{
	strncpy(to, text, LOGLIMIT_TEXT - 1);	/* pads, and the last byte is never written */
}

/* Nothing is known of it that a new kind would not have, and for a while so. */
static int
idle(const struct loglimit_kind *k, int64_t now)
{
	return k->count == 0 && now - k->full >= LOGLIMIT_TELL_MS;
}

static struct loglimit_kind *
find(struct loglimit *l, const char *event, const char *reason, const char *who, int64_t now)
{
	uint32_t h = hash(hash(hash(2166136261u, event), reason), who);
	struct loglimit_kind *k, *spare = NULL;
	size_t i;

	for (i = 1; i < l->n; i++) {
		k = &l->kind[i];
		if (l->hash[i] == h && same(k->event, event) && same(k->reason, reason) && same(k->who, who))
			return k;
	}
	for (i = 1; i < l->n && spare == NULL; i++)
		if (idle(&l->kind[i], now))
			spare = &l->kind[i];
	if (spare == NULL && l->n == LOGLIMIT_KINDS + 1)
		return &l->kind[0];
	if (spare == NULL)
		spare = &l->kind[l->n++];
	l->hash[spare - l->kind] = h;
	keep(spare->event, event);
	keep(spare->reason, reason);
	keep(spare->who, who);
	spare->full = now;
	return spare;
}

int
loglimit_take(struct loglimit *l, const char *event, const char *reason, const char *who, int64_t now)
{
	struct loglimit_kind *k = find(l, event, reason != NULL ? reason : "", who != NULL ? who : "", now);

	if (k->full < now)
		k->full = now;
	if (k->full - now <= (LOGLIMIT_BURST - 1) * LOGLIMIT_EACH_MS) {
		k->full += LOGLIMIT_EACH_MS;
		return 1;
	}
	if (k->count++ == 0)
		k->since = now;
	return 0;
}

int
loglimit_tell(struct loglimit *l, int64_t now, int all, struct loglimit_kind *out)
{
	struct loglimit_kind *k;

	while (l->told < l->n) {
		k = &l->kind[l->told++];
		if (k->count > 0 && (all || now - k->since >= LOGLIMIT_TELL_MS)) {
			*out = *k;
			k->count = 0;
			return 1;
		}
	}
	l->told = 0;
	return 0;
}
