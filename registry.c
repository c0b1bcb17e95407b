/* registry.c: who holds which name; see registry.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "deadline.h"
#include "log.h"
#include "registryint.h"

struct registry *
registry_new(const struct registry_conf *conf)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->conf = *conf;
	pthread_mutex_init(&r->mtx, NULL);
	cond_init(&r->change);
	return r;
}

static struct tunnel **
chain_of(struct registry *r, const char *name)
{
	uint32_t h = 2166136261u;	/* FNV-1a: names are ours to refuse, not an attacker's to choose freely */

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return &r->chain[h % CHAINS];
}

struct tunnel *
registry_find_locked(struct registry *r, const char *name)
{
	struct tunnel *t;

	for (t = *chain_of(r, name); t != NULL && strcmp(t->name, name) != 0; t = t->next)
		;
	return t;
}

static void
tunnel_unref_locked(struct tunnel *t)
{
	if (--t->refs == 0)
		free(t);
}

/* The name is free; exchanges that still wait for it hear so. */
static void
unlink_locked(struct registry *r, struct tunnel *t)
{
	struct tunnel **p;

	for (p = chain_of(r, t->name); *p != t; p = &(*p)->next)
		;
	*p = t->next;
	t->linked = 0;
	if (t->lease != NULL)
		t->lease->end(t->lease);
	t->lease = NULL;
	pthread_cond_broadcast(&r->change);
	tunnel_unref_locked(t);
}

struct tunnel *
registry_name_locked(struct registry *r, const char *name)
{
	struct tunnel *t = calloc(1, sizeof(*t)), **chain = chain_of(r, name);

	if (t == NULL)
		return NULL;
	memcpy(t->name, name, strlen(name) + 1);
	t->refs = t->linked = 1;
	t->next = *chain;
	*chain = t;
	return t;
}

void
registry_free(struct registry *r)
{
	int i;

	pthread_mutex_lock(&r->mtx);
	for (i = 0; i < CHAINS; i++)
		while (r->chain[i] != NULL)
			unlink_locked(r, r->chain[i]);
	pthread_mutex_unlock(&r->mtx);
	pthread_cond_destroy(&r->change);
	pthread_mutex_destroy(&r->mtx);
	free(r);
}

/* References. What the last one frees is freed outside the lock. */

void
session_ref(struct registry *r, struct session *s)
{
	pthread_mutex_lock(&r->mtx);
	s->refs++;
	pthread_mutex_unlock(&r->mtx);
}

void
session_unref(struct registry *r, struct session *s)
{
	int refs;

	pthread_mutex_lock(&r->mtx);
	refs = --s->refs;
	pthread_mutex_unlock(&r->mtx);
	if (refs == 0)
		s->dialect->free(s);
}

static void
holder_unref_locked(struct holder *h)
{
	if (--h->refs > 0)
		return;
	tunnel_unref_locked(h->tunnel);
	free(h->guard);
	free(h->url);
	free(h->path_url);
	free(h);
}

int
registry_add(struct registry *r, struct session *s)
{
	int rc = -1;

	pthread_mutex_lock(&r->mtx);
	if (r->nsessions < r->conf.sessions) {
		r->nsessions++;
		s->refs++;
		s->listed = 1;
		s->next = r->sessions;
		r->sessions = s;
		rc = 0;
	}
	pthread_mutex_unlock(&r->mtx);
	return rc;
}

void
registry_drop_locked(struct holder *h)
{
	struct holder **p;

	for (p = &h->tunnel->holders; *p != h; p = &(*p)->next)
		;
	*p = h->next;
	for (p = &h->session->holders; *p != h; p = &(*p)->snext)
		;
	*p = h->snext;
	h->session->ntunnels--;
	holder_unref_locked(h);
}

int64_t
registry_grace(const struct registry *r, const struct session *s)
{
	int64_t own = s->grace_ms;

	return s->dialect->brief || r->conf.grace_ms == 0 ? 0 : own > r->conf.grace_ms ? own : r->conf.grace_ms;
}

void
registry_remove(struct registry *r, struct session *s, int orderly)
{
	struct session **p;
	struct tunnel *t;

	pthread_mutex_lock(&r->mtx);
	s->dead = 1;
	if (s->listed) {
		for (p = &r->sessions; *p != s; p = &(*p)->next)
			;
		*p = s->next;
		s->listed = 0;
		s->refs--;	/* the caller has another */
		r->nsessions--;
	}
	while (s->holders != NULL) {
		t = s->holders->tunnel;
		t->refs++;
		registry_drop_locked(s->holders);
		if (t->holders == NULL && t->linked) {
			t->grace_until = clock_ms(CLOCK_STEADY) + registry_grace(r, s);
			t->since = clock_ms(CLOCK_WALL);
			if (orderly || r->conf.grace_ms == 0)
				unlink_locked(r, t);
		}
		tunnel_unref_locked(t);
	}
	pthread_mutex_unlock(&r->mtx);
}

static void
describe_locked(const struct tunnel *t, char held[64])
{
	time_t when = (time_t)(t->since / 1000);
	struct tm tm;

	gmtime_r(&when, &tm);
	/* who that is concerns nobody else: of a token the id tells nothing, of a JWT sub may be a name */
	snprintf(held, 64, "%.40s since %02d:%02d UTC", strncmp(t->who, "jwt:", 4) == 0 ? "a JWT" : t->who,
	    tm.tm_hour, tm.tm_min);
}

struct loser {			/* a session to be told, outside the lock */
	struct session *session;
	uint32_t listen_id;
};

/* The same session, or an earlier one of the same client process, which knows that it is replaced. */
static int
same_client(const struct session *a, const struct session *b)
{
	return a == b || (a->instance[0] != '\0' && strcmp(a->instance, b->instance) == 0);
}

/* Take the name from those who make way for by silently. */
static void
replace_locked(struct tunnel *t, const struct session *by)
{
	struct holder *h, *next;

	for (h = t->holders; h != NULL; h = next) {
		next = h->next;
		if (same_client(h->session, by))
			registry_drop_locked(h);
	}
}

/* Take the name from all its holders. How many of them there are to be told, each with a reference. */
static int
oust_locked(struct tunnel *t, struct loser *loser, int max)
{
	struct holder *h;
	int n = 0;

	while ((h = t->holders) != NULL) {
		if (n < max) {
			loser[n].session = h->session;
			loser[n].listen_id = h->listen_id;
			h->session->refs++;
			n++;
		}
		registry_drop_locked(h);
	}
	return n;
}

static int
all_share_locked(const struct tunnel *t)
{
	const struct holder *h;

	for (h = t->holders; h != NULL; h = h->next)
		if (!h->share)
			return 0;
	return 1;
}

enum { LOSERS_MAX = 256 };

/* Its name is the last holder's choice, or chosen for it, and so is what is kept with it. */
static void
settle_locked(struct tunnel *t, const struct session *s, const struct listen *want)
{
	struct lease *old = t->lease;

	t->lease = want->lease;
	if (old != NULL)
		old->end(old);	/* often it is the same one, referred to twice */
	t->any = want->any;
	memcpy(t->instance, s->instance, sizeof(t->instance));
	t->listen_id = want->id;
}

/*
 * The same path by another name: "/id" is an id of PipeGate's, "id" a tunnel that its client has registered with a
 * path. NULL: nobody has it.
 */
static struct tunnel *
rival_locked(struct registry *r, const char *name)
{
	char other[NAME_LEN_MAX + 2];
	struct tunnel *t;

	snprintf(other, sizeof(other), "/%s", name);
	t = registry_find_locked(r, name[0] == '/' ? name + 1 : other);
	return t != NULL && t->path ? t : NULL;
}

static enum listen_result
listen_locked(struct registry *r, struct session *s, struct holder *h, const struct listen *want,
    char held[64], struct loser *loser, int *nlosers)
{
	const char *name = want->name;
	struct tunnel *t = registry_find_locked(r, name), *rival = h->path ? rival_locked(r, name) : NULL;

	if (rival != NULL || (t != NULL && strcmp(t->who, s->identity.who) != 0)) {
		describe_locked(rival != NULL ? rival : t, held);
		return LISTEN_IN_USE;
	}
	if (s->dead || (s->ntunnels >= SESSION_TUNNELS_MAX && (t == NULL || registry_held_locked(t, s) == NULL)))
		return LISTEN_LIMIT;
	if (t == NULL && (t = registry_name_locked(r, name)) == NULL)
		return LISTEN_NO_MEMORY;
	t->refs++;		/* the holder's */
	replace_locked(t, s);
	if (!h->share || !all_share_locked(t))
		*nlosers = oust_locked(t, loser, LOSERS_MAX);
	if (t->holders == NULL) {
		memcpy(t->who, s->identity.who, sizeof(t->who));
		t->since = h->since;
	}
	settle_locked(t, s, want);
	t->path = h->path;
	snprintf(t->dialect, sizeof(t->dialect), "%s", s->dialect->name);
	t->moving = 0;
	h->tunnel = t;
	h->next = t->holders;
	t->holders = h;
	h->snext = s->holders;
	s->holders = h;
	s->ntunnels++;
	pthread_cond_broadcast(&r->change);
	return LISTEN_OK;
}

static void
tell_gone(struct session *s, uint32_t listen_id, const char *code)
{
	if (s->dialect->gone != NULL)
		s->dialect->gone(s, listen_id, code);
}

/* Outside the lock: tell those who have lost name to s. Drops the references. */
static void
tell_losers(struct registry *r, const struct session *s, const char *name, struct loser *loser, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		log_line(LOG_INFO, "taken_over", "name", name, "who", s->identity.who,
		    "from", loser[i].session->peer, "by", s->peer, (char *)NULL);
		tell_gone(loser[i].session, loser[i].listen_id, "taken_over");
		session_unref(r, loser[i].session);
	}
}

enum listen_result
registry_listen(struct registry *r, struct session *s, const struct listen *want, char held[64])
{
	struct loser *loser = calloc(LOSERS_MAX, sizeof(*loser));
	struct holder *h = calloc(1, sizeof(*h));
	enum listen_result rc = LISTEN_NO_MEMORY;
	int n = 0;

	if (loser != NULL && h != NULL) {
		h->session = s;
		h->listen_id = want->id;
		h->path = want->path;
		h->share = want->share;
		h->guard = want->guard;
		h->url = want->url != NULL ? strdup(want->url) : NULL;	/* without memory, status shows less */
		h->path_url = want->path_url != NULL ? strdup(want->path_url) : NULL;
		h->since = clock_ms(CLOCK_WALL);
		h->refs = 1;
		pthread_mutex_lock(&r->mtx);
		rc = listen_locked(r, s, h, want, held, loser, &n);
		pthread_mutex_unlock(&r->mtx);
	}
	if (rc != LISTEN_OK) {
		free(want->guard);
		if (h != NULL) {
			free(h->url);
			free(h->path_url);
		}
		free(h);
	}
	tell_losers(r, s, want->name, loser, n);
	free(loser);
	return rc;
}

void
registry_oust(struct registry *r, struct session *s, const char *name)
{
	struct loser *loser = calloc(LOSERS_MAX, sizeof(*loser));
	struct tunnel *t;
	int n = 0;

	if (loser == NULL)
		return;
	pthread_mutex_lock(&r->mtx);
	if ((t = registry_find_locked(r, name)) != NULL && strcmp(t->who, s->identity.who) == 0) {
		replace_locked(t, s);
		n = oust_locked(t, loser, LOSERS_MAX);
		unlink_locked(r, t);
	}
	pthread_mutex_unlock(&r->mtx);
	tell_losers(r, s, name, loser, n);
	free(loser);
}

int
registry_unlisten(struct registry *r, struct session *s, uint32_t listen_id)
{
	struct holder *h;
	struct tunnel *t;

	pthread_mutex_lock(&r->mtx);
	for (h = s->holders; h != NULL && h->listen_id != listen_id; h = h->snext)
		;
	if (h != NULL) {
		t = h->tunnel;
		t->refs++;
		registry_drop_locked(h);
		if (t->holders == NULL && t->linked)
			unlink_locked(r, t);
		tunnel_unref_locked(t);
	}
	pthread_mutex_unlock(&r->mtx);
	return h != NULL;
}

/* The holder with the fewest running exchanges; one that drains only if there is no other. */
static struct holder *
best_locked(const struct tunnel *t)
{
	struct holder *h, *best = NULL;

	for (h = t->holders; h != NULL; h = h->next)
		if (best == NULL || h->session->draining < best->session->draining ||
		    (h->session->draining == best->session->draining && h->running < best->running))
			best = h;
	return best;
}

static void
use_locked(struct registry *r, struct holder *h)
{
	h->refs++;
	h->running++;
	h->requests++;
	h->session->refs++;
	h->session->running++;
	r->running++;
}

enum pick_result
registry_pick(struct registry *r, const char *name, int need_path, int64_t wait_ms,
    int *queued, struct holder **out, int *alone)
{
	struct timespec until;
	enum pick_result rc = PICK_NONE;
	struct tunnel *t;
	int late = 0;

	deadline_in(&until, wait_ms);
	pthread_mutex_lock(&r->mtx);
	while ((t = registry_find_locked(r, name)) != NULL && t->holders == NULL && !(need_path && !t->path)) {
		if (!*queued) {
			if (t->waiting >= r->conf.queue && !t->moving) {
				rc = PICK_FULL;
				break;
			}
			t->waiting++;
			*queued = 1;
		}
		rc = PICK_WAIT;
		if (late)
			break;
		late = cond_wait(&r->change, &r->mtx, &until) != 0;
		rc = PICK_NONE;
	}
	if (t != NULL && t->holders != NULL && !(need_path && !t->path)) {
		*out = best_locked(t);
		use_locked(r, *out);
		*alone = t->holders->next == NULL;
		rc = PICK_OK;
	}
	if (rc != PICK_WAIT && *queued) {
		if (t != NULL && t->waiting > 0)
			t->waiting--;
		*queued = 0;
	}
	pthread_mutex_unlock(&r->mtx);
	return rc;
}

void
registry_leave(struct registry *r, const char *name, int *queued)
{
	struct tunnel *t;

	if (!*queued)
		return;
	pthread_mutex_lock(&r->mtx);
	if ((t = registry_find_locked(r, name)) != NULL && t->waiting > 0)
		t->waiting--;
	*queued = 0;
	pthread_mutex_unlock(&r->mtx);
}

int
registry_moved_locked(const struct session *s)
{
	return s->draining && s->running == 0 && s->holders == NULL && !s->dead;
}

void
registry_done(struct registry *r, struct holder *h)
{
	struct session *s = h->session;
	int end;

	pthread_mutex_lock(&r->mtx);
	h->running--;
	s->running--;
	r->running--;
	end = registry_moved_locked(s);
	holder_unref_locked(h);
	pthread_mutex_unlock(&r->mtx);
	if (end)
		s->dialect->end(s, WS_GOING_AWAY, "drained");
	session_unref(r, s);
}

struct pending_share *
registry_share(struct holder *h)
{
	return &h->tunnel->share;
}

struct session *
registry_holder(struct registry *r, const char *name)
{
	struct session *s = NULL;
	struct tunnel *t;

	pthread_mutex_lock(&r->mtx);
	if ((t = registry_find_locked(r, name)) != NULL && t->holders != NULL) {
		s = t->holders->session;
		s->refs++;
	}
	pthread_mutex_unlock(&r->mtx);
	return s;
}

int
registry_has(struct registry *r, const char *name, int need_path)
{
	struct tunnel *t;
	int has;

	pthread_mutex_lock(&r->mtx);
	t = registry_find_locked(r, name);
	has = t != NULL && (!need_path || t->path);
	pthread_mutex_unlock(&r->mtx);
	return has;
}

struct session **
registry_all(struct registry *r, int *n)
{
	struct session **all, *s;

	*n = 0;
	pthread_mutex_lock(&r->mtx);
	all = r->nsessions > 0 ? malloc((size_t)r->nsessions * sizeof(*all)) : NULL;
	for (s = r->sessions; s != NULL && all != NULL; s = s->next) {
		s->refs++;
		all[(*n)++] = s;
	}
	pthread_mutex_unlock(&r->mtx);
	return all;
}

static void
end_grace(struct registry *r)
{
	struct tunnel *t, *next;
	int64_t now = clock_ms(CLOCK_STEADY);
	int i;

	pthread_mutex_lock(&r->mtx);
	for (i = 0; i < CHAINS; i++)
		for (t = r->chain[i]; t != NULL; t = next) {
			next = t->next;
			if (t->holders == NULL && now >= t->grace_until)
				unlink_locked(r, t);
		}
	pthread_mutex_unlock(&r->mtx);
}

void
registry_expel(struct registry *r, struct session *s, const char *code)
{
	uint32_t ids[SESSION_TUNNELS_MAX];
	struct holder *h;
	int i, n = 0;

	log_line(LOG_INFO, "session_ended", "reason", code, "who", s->identity.who,
	    "peer", s->peer, (char *)NULL);
	pthread_mutex_lock(&r->mtx);
	for (h = s->holders; h != NULL && n < SESSION_TUNNELS_MAX; h = h->snext)
		ids[n++] = h->listen_id;
	pthread_mutex_unlock(&r->mtx);
	for (i = 0; i < n; i++)
		tell_gone(s, ids[i], code);
	session_ref(r, s);
	registry_remove(r, s, 1);
	s->dialect->end(s, WS_POLICY, code);
	session_unref(r, s);
}

/* A session that can have no more streams: ask its client for another; end it when that has come. */
static void
replace(struct registry *r, struct session *s)
{
	int first, end;

	pthread_mutex_lock(&r->mtx);
	first = !s->draining;
	s->draining = 1;
	end = registry_moved_locked(s);
	pthread_mutex_unlock(&r->mtx);
	if (first && s->dialect->drain != NULL)
		s->dialect->drain(s);
	if (end)
		s->dialect->end(s, WS_GOING_AWAY, "drained");
}

void
registry_tick(struct registry *r, struct auth *auth)
{
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	struct session **all;
	const char *code;
	int i, n;

	end_grace(r);
	all = registry_all(r, &n);
	for (i = 0; i < n; i++) {
		if ((code = auth_lost(auth, &all[i]->identity, now)) != NULL)
			registry_expel(r, all[i], code);
		else if (all[i]->dialect->used_up != NULL && all[i]->dialect->used_up(all[i]))
			replace(r, all[i]);
		session_unref(r, all[i]);
	}
	free(all);
}

void
registry_drain(struct registry *r)
{
	struct session **all;
	int i, n;

	all = registry_all(r, &n);
	for (i = 0; i < n; i++) {
		if (all[i]->dialect->drain != NULL)
			all[i]->dialect->drain(all[i]);
		session_unref(r, all[i]);
	}
	free(all);
}

void
registry_end(struct registry *r, int code, const char *reason)
{
	struct session **all;
	int i, n;

	all = registry_all(r, &n);
	for (i = 0; i < n; i++) {
		all[i]->dialect->end(all[i], code, reason);
		session_unref(r, all[i]);
	}
	free(all);
}
