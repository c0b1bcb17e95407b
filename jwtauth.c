/* jwtauth.c: the keys that JWTs are believed by; see jwtauth.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "deadline.h"
#include "fetch.h"
#include "file.h"
#include "jwks.h"
#include "jwtauth.h"
#include "log.h"
#include "sha256.h"
#include "tlsconn.h"
#include "workers.h"

enum {
	FILE_MAX = 65536,	/* bytes of a secret or PEM file */
	JWKS_MAX = 256 * 1024,	/* bytes of a JWK Set */
	JWKS_NODES = 16384,
	FETCH_MS = 10000,
	SPARE_MS = 2000,
	FETCH_STACK = 2 * STACK_SIZE	/* looking up a name takes more than others need */
};

struct keys {			/* does not change but for refs */
	int refs;		/* guarded by jwtauth.mtx */
	int n;
	struct jwt_key key[];
};

struct jwtauth {
	struct jwt_conf conf;		/* constant, with what follows */
	struct fetch from;		/* where the JWK Set is, if is_url */
	int is_url;
	struct tls_client *tls;		/* for it; NULL: none needed */
	pthread_mutex_t mtx;		/* guards what follows */
	pthread_cond_t fetched;		/* age.busy has ended */
	struct keys *own, *set;		/* configured; from the JWK Set, NULL: none yet */
	struct jwks age;		/* of set */
};

int
jwtauth_configured(const struct jwt_conf *c)
{
	return c->secret != NULL || c->secret_file != NULL || c->nkeys > 0 || c->jwks != NULL;
}

int
jwtauth_is_url(const char *jwks)
{
	return strstr(jwks, "://") != NULL;
}

/* Key sets. */

static struct keys *
keys_new(void)
{
	struct keys *k = calloc(1, sizeof(*k) + JWT_KEYS_MAX * sizeof(k->key[0]));

	if (k != NULL)
		k->refs = 1;
	return k;
}

static void
keys_free(struct keys *k)
{
	if (k != NULL)
		wipe(k, sizeof(*k) + JWT_KEYS_MAX * sizeof(k->key[0]));
	free(k);
}

/* The set at *where, counted for the caller; NULL: none. */
static struct keys *
keys_get(struct jwtauth *a, struct keys **where)
{
	struct keys *k;

	pthread_mutex_lock(&a->mtx);
	if ((k = *where) != NULL)
		k->refs++;
	pthread_mutex_unlock(&a->mtx);
	return k;
}

static void
keys_unref(struct jwtauth *a, struct keys *k)
{
	int last;

	if (k == NULL)
		return;
	pthread_mutex_lock(&a->mtx);
	last = --k->refs == 0;
	pthread_mutex_unlock(&a->mtx);
	if (last)
		keys_free(k);
}

/* Put fresh in the place of *where; what was there goes when its last user has gone. */
static void
keys_swap(struct jwtauth *a, struct keys **where, struct keys *fresh)
{
	struct keys *old;

	pthread_mutex_lock(&a->mtx);
	old = *where;
	*where = fresh;
	pthread_mutex_unlock(&a->mtx);
	keys_unref(a, old);
}

/* What is configured. */

static int
slurp(const char *path, size_t max, char **text, size_t *len, char why[JWT_WHY_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -1;

	if (fd == -1 || (rc = file_read(fd, max, text, len)) == -1)
		snprintf(why, JWT_WHY_MAX, "%.200s: %s", path, strerror(errno));
	if (fd != -1)
		close(fd);
	return rc;
}

/* Add a file's keys, or its secret. */
static int
read_file(struct keys *k, const char *path, int secret, char why[JWT_WHY_MAX])
{
	const char *wrong;
	char *text;
	size_t len;
	int n;

	if (slurp(path, FILE_MAX, &text, &len, why) == -1)
		return -1;
	if (secret)
		n = jwt_key_secret(&k->key[k->n], text, len, &wrong) == 0 ? 1 : -1;
	else
		n = jwt_keys_pem(&k->key[k->n], JWT_KEYS_MAX - k->n, text, len, &wrong);
	wipe(text, len);
	free(text);
	if (n == -1) {
		snprintf(why, JWT_WHY_MAX, "%.200s: %s", path, wrong);
		return -1;
	}
	k->n += n;
	return 0;
}

static struct keys *
read_own(const struct jwt_conf *c, char why[JWT_WHY_MAX])
{
	struct keys *k = keys_new();
	const char *wrong;
	int i, rc = 0;

	if (k == NULL) {
		snprintf(why, JWT_WHY_MAX, "no memory");
		return NULL;
	}
	if (c->secret != NULL && c->secret_file != NULL) {
		snprintf(why, JWT_WHY_MAX, "TUNNELD_JWT_SECRET and --jwt-secret-file are both given: leave one out");
		rc = -1;
	} else if (c->secret != NULL) {
		if ((rc = jwt_key_secret(&k->key[0], c->secret, strlen(c->secret), &wrong)) == -1)
			snprintf(why, JWT_WHY_MAX, "TUNNELD_JWT_SECRET: %s", wrong);
		k->n = 1;
	} else if (c->secret_file != NULL)
		rc = read_file(k, c->secret_file, 1, why);
	if (rc == 0 && k->n > 0 && k->key[0].len < JWT_SECRET_FIT)
		log_line(LOG_WARN, "jwt_secret_short", "reason", "a secret under 32 bytes can be guessed from a token", (char *)NULL);
	for (i = 0; i < c->nkeys && rc == 0; i++)
		rc = read_file(k, c->key[i], 0, why);
	if (rc == 0)
		return k;
	keys_free(k);
	return NULL;
}

static int
open_jwks(struct jwtauth *a, char why[JWT_WHY_MAX])
{
	struct tls_trust trust;
	const char *wrong;

	a->is_url = jwtauth_is_url(a->conf.jwks);
	if (a->is_url && fetch_parse(&a->from, a->conf.jwks, &wrong) == -1) {
		snprintf(why, JWT_WHY_MAX, "--jwks: '%.200s' %s", a->conf.jwks, wrong);
		return -1;
	}
	if (!a->is_url || !a->from.tls)
		return 0;
	memset(&trust, 0, sizeof(trust));
	return (a->tls = tls_client_new(&trust, why)) != NULL ? 0 : -1;
}

struct jwtauth *
jwtauth_new(const struct jwt_conf *conf, char why[JWT_WHY_MAX])
{
	struct jwtauth *a = calloc(1, sizeof(*a));

	if (a == NULL) {
		snprintf(why, JWT_WHY_MAX, "no memory");
		return NULL;
	}
	a->conf = *conf;
	pthread_mutex_init(&a->mtx, NULL);
	cond_init(&a->fetched);
	if ((conf->jwks == NULL || open_jwks(a, why) == 0) && (a->own = read_own(conf, why)) != NULL)
		return a;
	jwtauth_free(a);
	return NULL;
}

void
jwtauth_free(struct jwtauth *a)
{
	int busy;

	pthread_mutex_lock(&a->mtx);
	busy = a->age.busy;
	pthread_mutex_unlock(&a->mtx);
	if (busy)
		return;		/* a fetch that nobody waits for any more still uses it: let the process end */
	keys_free(a->own);
	keys_free(a->set);
	if (a->tls != NULL)
		tls_client_free(a->tls);
	pthread_mutex_destroy(&a->mtx);
	pthread_cond_destroy(&a->fetched);
	free(a);
}

int
jwtauth_reload(struct jwtauth *a, char why[JWT_WHY_MAX])
{
	struct keys *own = read_own(&a->conf, why);

	if (own == NULL)
		return -1;
	keys_swap(a, &a->own, own);
	pthread_mutex_lock(&a->mtx);
	jwks_renew(&a->age);
	pthread_mutex_unlock(&a->mtx);
	return 0;
}

/* The JWK Set. */

static struct keys *
read_set(struct jwtauth *a, int *skipped, char why[JWT_WHY_MAX])
{
	struct json_node *node = NULL;
	struct keys *k = NULL;
	const char *wrong = "no memory";
	char *text = NULL;
	size_t len = 0;
	int rc;

	if (a->is_url)
		rc = fetch_get(&a->from, a->tls, JWKS_MAX, clock_ms(CLOCK_STEADY) + FETCH_MS, &text, &len, why);
	else
		rc = slurp(a->conf.jwks, JWKS_MAX, &text, &len, why);
	if (rc == -1)
		return NULL;
	if ((k = keys_new()) != NULL && (node = malloc(JWKS_NODES * sizeof(*node))) != NULL)
		k->n = jwt_keys_jwks(k->key, JWT_KEYS_MAX, skipped, node, JWKS_NODES, text != NULL ? text : "", len, &wrong);
	if (k == NULL || node == NULL || k->n == -1) {
		snprintf(why, JWT_WHY_MAX, "%.200s: %s", a->conf.jwks, wrong);
		keys_free(k);
		k = NULL;
	}
	free(node);
	free(text);
	return k;
}

static void *
refresh(void *arg)
{
	struct jwtauth *a = arg;
	char why[JWT_WHY_MAX], keys[16], others[16];
	struct keys *k, *old = NULL;
	int skipped = 0;

	if ((k = read_set(a, &skipped, why)) == NULL)
		log_line(LOG_WARN, "jwks_failed", "reason", why, (char *)NULL);
	else {
		snprintf(keys, sizeof(keys), "%d", k->n);
		snprintf(others, sizeof(others), "%d", skipped);
		log_line(k->n > 0 ? LOG_INFO : LOG_WARN, "jwks_read", "keys", keys, "skipped", others, (char *)NULL);
	}
	pthread_mutex_lock(&a->mtx);
	if (k != NULL) {
		old = a->set;
		a->set = k;
	}
	if (old != NULL && --old->refs > 0)
		old = NULL;	/* its last user will free it */
	jwks_end(&a->age, k != NULL, clock_ms(CLOCK_STEADY));
	pthread_cond_broadcast(&a->fetched);
	pthread_mutex_unlock(&a->mtx);
	keys_free(old);		/* of a nothing is left to us: whoever has waited may free it */
	return NULL;
}

/* Wait until the fetch has ended: 1, or 0 if that takes too long, as looking up a name may. */
static int
wait_fetched_locked(struct jwtauth *a)
{
	struct timespec until;
	int rc = 0;

	deadline_in(&until, FETCH_MS + SPARE_MS);
	while (a->age.busy && rc == 0)
		rc = cond_wait(&a->fetched, &a->mtx, &until);
	return !a->age.busy;
}

/* By the JWK Set, after fetching it where that is due. *outage: it cannot be had, or not as it is now. */
static enum jwt_verdict
verify_by_set(struct jwtauth *a, const struct jwt *t, int *outage, const char **why)
{
	enum jwt_verdict v;
	enum jwks_step step;
	struct keys *k;

	for (;;) {
		k = keys_get(a, &a->set);
		*why = "the JWK Set cannot be had";
		v = k != NULL ? jwt_verify(t, k->key, (size_t)k->n, why) : JWT_NO_KEY;
		pthread_mutex_lock(&a->mtx);
		/* if another set has come meanwhile, that one is asked */
		step = a->set == k ? jwks_next(&a->age, v != JWT_NO_KEY, clock_ms(CLOCK_STEADY)) : JWKS_WAIT;
		if (step == JWKS_FETCH) {
			jwks_begin(&a->age);
			if (thread_start(FETCH_STACK, refresh, a) != 0)
				jwks_end(&a->age, 0, clock_ms(CLOCK_STEADY));
		}
		if (step != JWKS_USE && !wait_fetched_locked(a))
			step = v != JWT_NO_KEY && jwks_counts(&a->age, clock_ms(CLOCK_STEADY)) ? JWKS_USE : JWKS_NONE;
		*outage = step == JWKS_NONE && (a->age.busy || jwks_failed(&a->age));
		pthread_mutex_unlock(&a->mtx);
		keys_unref(a, k);
		if (step == JWKS_USE)
			return v;
		if (step == JWKS_NONE) {
			if (v != JWT_NO_KEY)
				*why = "the JWK Set is too old, and no other can be had";
			return JWT_NO_KEY;
		}
	}
}

int
jwtauth_verify(struct jwtauth *a, struct jwt *t, const char *text, size_t len, const char **why)
{
	enum jwt_verdict v;
	const char *other;
	struct keys *k;
	int outage;

	if (jwt_parse(t, text, len, why) == -1)
		return -1;
	k = keys_get(a, &a->own);
	v = jwt_verify(t, k->key, (size_t)k->n, why);
	keys_unref(a, k);
	/* a JWK Set is public: no secret is in it */
	if (v == JWT_GOOD || a->conf.jwks == NULL || t->alg == JWT_HS256)
		return v == JWT_GOOD ? 0 : -1;
	if (verify_by_set(a, t, &outage, &other) == JWT_GOOD)
		return 0;
	if (v == JWT_NO_KEY)
		*why = other;
	return outage ? JWTAUTH_LATER : -1;
}

static int64_t
leeway(const struct jwtauth *a, int pipegate)
{
	return a->conf.leeway_ms >= 0 ? a->conf.leeway_ms / 1000 : pipegate ? 0 : JWT_LEEWAY;
}

int
jwtauth_judge(struct jwtauth *a, const struct jwt *t, int pipegate, int64_t now, struct jwt_claims *c, const char **why)
{
	struct jwt_rules r;

	memset(&r, 0, sizeof(r));
	r.leeway = leeway(a, pipegate);
	r.issuer = a->conf.issuer;
	r.audience = a->conf.audience;
	r.pipegate = pipegate;
	return jwt_judge(t, &r, now, c, why);
}

int
jwtauth_sign(struct jwtauth *a, const char *claims, size_t len, char out[JWT_MAX + 1])
{
	struct keys *k = keys_get(a, &a->own);
	int rc = -1;

	if (k->n > 0 && k->key[0].alg == JWT_HS256)	/* read_own puts it first */
		rc = jwt_sign(&k->key[0], claims, len, out);
	keys_unref(a, k);
	return rc;
}

int
jwtauth_check(struct jwtauth *a, const struct str *token, int64_t now, int scopeless, const char *peer, struct identity *who)
{
	struct jwt *t = malloc(sizeof(*t));
	const char *why = "no memory";
	struct jwt_claims c;
	int status = 401, rc = t != NULL ? jwtauth_verify(a, t, token->p, token->len, &why) : JWTAUTH_LATER;

	if (rc == JWTAUTH_LATER)
		status = 503;	/* no reason to give it up for good */
	else if (rc == 0 && jwtauth_judge(a, t, 0, now, &c, &why) == 0) {
		auth_jwt(who, &c);
		memcpy(who->scope, c.scope, sizeof(who->scope));
		who->expires = c.exp + leeway(a, 0);
		status = scopeless || c.scope[0] != '\0' ? 0 : 403;
		why = "it has no claim tunnel, and sub is no name";
	}
	if (t != NULL)
		wipe(t, sizeof(*t));
	free(t);
	if (status != 0)
		log_line(LOG_WARN, "jwt_refused", "reason", why, "peer", peer,
		    "who", status == 403 ? who->who : NULL, (char *)NULL);
	return status;
}
