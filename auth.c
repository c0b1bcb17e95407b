/* auth.c: credentials to identities; see auth.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth.h"

static const char token_prefix[] = "token:";	/* of identities */

struct auth {
	int dir;		/* constant */
	pthread_mutex_t reload;	/* one reads the file at a time, so that the last read is the newest; before mtx */
	pthread_mutex_t mtx;	/* guards everything below */
	struct store store;
	struct stat seen;	/* the file as it was when last read, well or not */
	int missing;		/* there was none */
	char why[128];		/* what the last reading failed for, so that it is told once */
};

/* 1 if the file is another than st tells. */
static int
changed_locked(const struct auth *a, const struct stat *st, int missing)
{
	if (missing || a->missing)
		return missing != a->missing;
	return st->st_ino != a->seen.st_ino || st->st_size != a->seen.st_size ||
	    st->st_mtim.tv_sec != a->seen.st_mtim.tv_sec ||
	    st->st_mtim.tv_nsec != a->seen.st_mtim.tv_nsec;
}

/* A failure: 0 if it is the one told last. */
static int
failed_locked(struct auth *a, const char *why, int force)
{
	int news = force || strncmp(a->why, why, sizeof(a->why) - 1) != 0;

	snprintf(a->why, sizeof(a->why), "%s", why);
	return news ? -1 : 0;
}

static int
reload(struct auth *a, int force, char *why, size_t whylen)
{
	struct store fresh = { NULL, 0 }, old;
	struct stat st;
	int missing, differs, rc = 0, err;

	memset(&st, 0, sizeof(st));
	missing = fstatat(a->dir, "tokens", &st, 0) == -1;
	err = missing && errno != ENOENT ? errno : 0;
	pthread_mutex_lock(&a->mtx);
	differs = force || err != 0 || changed_locked(a, &st, missing);	/* unseen is not missing */
	pthread_mutex_unlock(&a->mtx);
	if (!differs)
		return 0;
	if (err != 0)
		snprintf(why, whylen, "tokens: %s", strerror(err));
	else if (store_load(&fresh, a->dir, why, whylen) == -1)
		err = errno;
	pthread_mutex_lock(&a->mtx);
	/* a damaged file is read again when it changes; a failing system, until it works */
	if (err == 0 || err == EINVAL) {
		a->seen = st;
		a->missing = missing;
	}
	if (err != 0)
		rc = failed_locked(a, why, force);
	else {
		old = a->store;
		a->store = fresh;
		fresh = old;
		a->why[0] = '\0';
		rc = 1;
	}
	pthread_mutex_unlock(&a->mtx);
	store_free(&fresh);
	return rc;
}

int
auth_reload(struct auth *a, int force, char *why, size_t whylen)
{
	int rc;

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

const char *
auth_lost(struct auth *a, const struct identity *who, int64_t now)
{
	int known;

	if (who->expires != 0 && now >= who->expires)
		return "expired";
	if (strncmp(who->who, token_prefix, strlen(token_prefix)) != 0)
		return NULL;	/* a JWT: nothing is stored of it */
	pthread_mutex_lock(&a->mtx);
	known = store_by_id(&a->store, who->who + strlen(token_prefix)) != NULL;
	pthread_mutex_unlock(&a->mtx);
	return known ? NULL : "revoked";
}
