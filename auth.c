/* auth.c: credentials to identities; see auth.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth.h"
#include "file.h"

static const char token_prefix[] = "token:";	/* of identities */

struct watched {		/* a file of the folder */
	const char *name;
	struct stat seen;	/* as it was when last read, well or not */
	int missing;		/* there was none */
};

struct auth {
	int dir;		/* constant */
	pthread_mutex_t reload;	/* one reads the files at a time, so that the last read is the newest; before mtx */
	struct watched tokens, jwts;	/* guarded by it */
	pthread_mutex_t mtx;	/* guards everything below */
	struct store store;
	struct revoked revoked;
	char why[128];		/* what the last reading failed for, so that it is told once */
};

/* Is the file another than when it was last read? *now is how it is. 1 or 0; or an error number, negated. */
static int
changed(const struct auth *a, const struct watched *w, struct watched *now)
{
	*now = *w;
	memset(&now->seen, 0, sizeof(now->seen));
	if ((now->missing = fstatat(a->dir, w->name, &now->seen, 0) == -1) && errno != ENOENT)
		return -errno;	/* unseen is not missing */
	if (now->missing || w->missing)
		return now->missing != w->missing;
	return !file_same(&now->seen, &w->seen);
}

/* A failure: 0 if it is the one told last. */
static int
failed_locked(struct auth *a, const char *why, int force)
{
	int news = force || strncmp(a->why, why, sizeof(a->why) - 1) != 0;

	snprintf(a->why, sizeof(a->why), "%s", why);
	return news ? -1 : 0;
}

void
auth_take(struct auth *a, struct store *fresh)
{
	struct store old;

	pthread_mutex_lock(&a->mtx);
	old = a->store;
	a->store = *fresh;
	pthread_mutex_unlock(&a->mtx);
	store_free(&old);
}

/* What has been read takes the place of what there was, which is freed. */
static int
take_tokens(struct auth *a, char *why, size_t whylen)
{
	struct store fresh = { NULL, 0 };

	if (store_load(&fresh, a->dir, why, whylen) == -1)
		return -1;
	auth_take(a, &fresh);
	return 0;
}

static int
take_revoked(struct auth *a, char *why, size_t whylen)
{
	struct revoked fresh, old;

	if (revoked_load(&fresh, a->dir, why, whylen) == -1)
		return -1;
	pthread_mutex_lock(&a->mtx);
	old = a->revoked;
	a->revoked = fresh;
	pthread_mutex_unlock(&a->mtx);
	free(old.hash);
	return 0;
}

/* One of the files: 1: read, 0: unchanged, -1: damaged or unreadable. */
static int
look_at(struct auth *a, struct watched *w, int force, int (*take)(struct auth *, char *, size_t), char *why, size_t whylen)
{
	struct watched now;
	int differs = changed(a, w, &now);

	if (differs < 0) {
		snprintf(why, whylen, "%s: %s", w->name, strerror(-differs));
		return -1;
	}
	if (!differs && !force)
		return 0;
	if (take(a, why, whylen) == 0) {
		*w = now;
		return 1;
	}
	if (errno == EINVAL)	/* a damaged file is read again when it changes; a failing system, until it works */
		*w = now;
	return -1;
}

static int
reload(struct auth *a, int force, char *why, size_t whylen)
{
	int tokens = look_at(a, &a->tokens, force, take_tokens, why, whylen);
	int jwts = tokens == -1 ? 0 : look_at(a, &a->jwts, force, take_revoked, why, whylen);
	int rc = tokens == -1 || jwts == -1 ? -1 : tokens || jwts;

	pthread_mutex_lock(&a->mtx);
	if (rc == -1)
		rc = failed_locked(a, why, force);
	else if (rc == 1)
		a->why[0] = '\0';
	pthread_mutex_unlock(&a->mtx);
	return rc;
}

int
auth_reload(struct auth *a, int force, char *why, size_t whylen)
{
	int rc;

	if (a->dir == -1)
		return 0;
	pthread_mutex_lock(&a->reload);
	rc = reload(a, force, why, whylen);
	pthread_mutex_unlock(&a->reload);
	return rc;
}

struct auth *
auth_new(int dir, char *why, size_t whylen)
{
	struct auth *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		snprintf(why, whylen, "no memory");
		return NULL;
	}
	a->dir = dir;
	a->tokens.name = "tokens";
	a->jwts.name = revoked_name;
	pthread_mutex_init(&a->mtx, NULL);
	pthread_mutex_init(&a->reload, NULL);
	if (auth_reload(a, 1, why, whylen) == -1) {
		pthread_mutex_destroy(&a->mtx);
		pthread_mutex_destroy(&a->reload);
		free(a);
		return NULL;
	}
	return a;
}

void
auth_free(struct auth *a)
{
	store_free(&a->store);
	free(a->revoked.hash);
	pthread_mutex_destroy(&a->mtx);
	pthread_mutex_destroy(&a->reload);
	free(a);
}

int
auth_bearer(const struct str *field, struct str *credential)
{
	struct str text;

	if (field == NULL || field->len < 7)
		return 0;
	text.p = field->p;
	text.len = 6;
	if (!http_is(text, "Bearer") || field->p[6] != ' ')
		return 0;
	for (text.p += 7, text.len = field->len - 7; text.len > 0 && *text.p == ' '; text.len--)
		text.p++;
	*credential = text;
	return 1;
}

int
auth_check(struct auth *a, const struct str *text, int64_t now, struct identity *who)
{
	const struct token *t;
	int status = 401;

	pthread_mutex_lock(&a->mtx);
	t = store_find(&a->store, text->p, text->len);
	if (t != NULL && (t->expires == 0 || now < t->expires)) {
		snprintf(who->who, sizeof(who->who), "%s%s", token_prefix, t->id);
		memcpy(who->scope, t->scope, sizeof(who->scope));
		who->expires = t->expires;
		status = 0;
	}
	pthread_mutex_unlock(&a->mtx);
	return status;
}

void
auth_jwt(struct identity *who, const struct jwt_claims *c)
{
	jwt_who(c, who->who);
	who->has_jti = c->jti[0] != '\0';
	sha256(c->jti, strlen(c->jti), who->jti);
}

const char *
auth_lost(struct auth *a, const struct identity *who, int64_t now)
{
	int known;

	if (who->expires != 0 && now >= who->expires)
		return "expired";
	pthread_mutex_lock(&a->mtx);
	if (strncmp(who->who, token_prefix, strlen(token_prefix)) == 0)
		known = store_by_id(&a->store, who->who + strlen(token_prefix)) != NULL;
	else			/* a JWT, of which nothing else is stored */
		known = !(who->has_jti && revoked_has(&a->revoked, who->jti));
	pthread_mutex_unlock(&a->mtx);
	return known ? NULL : "revoked";
}
