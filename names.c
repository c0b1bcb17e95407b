/* names.c: names as they are told outside, and known from there; see registry.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "registryint.h"

static void
copy_status(struct tunnel_status *st, const struct tunnel *t, struct holder *h)
{
	uint64_t tally[2];

	memset(st, 0, sizeof(*st));
	memcpy(st->name, t->name, sizeof(st->name));
	memcpy(st->who, t->who, sizeof(st->who));
	memcpy(st->dialect, t->dialect, sizeof(st->dialect));
	st->path = t->path;
	st->any = t->any;
	memcpy(st->instance, t->instance, sizeof(st->instance));
	st->listen_id = t->listen_id;
	if (h == NULL) {
		st->lost = 1;
		st->since = t->since;
		st->left = t->grace_until - clock_ms(CLOCK_STEADY);
		return;
	}
	st->whole = h->session->dialect->whole;
	st->brief = h->session->dialect->brief;
	memcpy(st->peer, h->session->peer, sizeof(st->peer));
	st->since = h->since;
	st->guarded = h->guard != NULL;
	snprintf(st->url, sizeof(st->url), "%s", h->url != NULL ? h->url : "");
	snprintf(st->path_url, sizeof(st->path_url), "%s", h->path_url != NULL ? h->path_url : "");
	st->running = h->running;
	st->requests = h->requests;
	h->session->dialect->tally(h->session, h->tally, tally);
	st->in = tally[1];
	st->out = tally[0];
}

size_t
registry_status(struct registry *r, struct tunnel_status *out, size_t max)
{
	struct tunnel *t;
	struct holder *h;
	size_t n = 0;
	int i;

	pthread_mutex_lock(&r->mtx);
	for (i = 0; i < CHAINS; i++)
		for (t = r->chain[i]; t != NULL; t = t->next) {
			h = t->holders;
			do {
				if (n < max)
					copy_status(&out[n], t, h);
				n++;
			} while (h != NULL && (h = h->next) != NULL);
		}
	pthread_mutex_unlock(&r->mtx);
	return n;
}

int
registry_hold(struct registry *r, const struct hold *h)
{
	struct tunnel *t = NULL;

	pthread_mutex_lock(&r->mtx);
	if (registry_find_locked(r, h->name) == NULL && (t = registry_name_locked(r, h->name)) != NULL) {
		memcpy(t->who, h->who, strlen(h->who) + 1);
		snprintf(t->dialect, sizeof(t->dialect), "%s", h->dialect);
		t->path = h->path;
		t->moving = h->moving;
		t->lease = h->lease;
		t->any = h->any;
		memcpy(t->instance, h->instance, strlen(h->instance) + 1);
		t->listen_id = h->listen_id;
		t->since = clock_ms(CLOCK_WALL);
		t->grace_until = clock_ms(CLOCK_STEADY) + h->ms;
	}
	pthread_mutex_unlock(&r->mtx);
	return t != NULL;
}

int
registry_again(struct registry *r, const struct session *s, uint32_t listen_id, char name[NAME_LEN_MAX + 1])
{
	const struct tunnel *t;
	int i, found = 0;

	if (s->instance[0] == '\0')
		return 0;
	pthread_mutex_lock(&r->mtx);
	for (i = 0; i < CHAINS && !found; i++)
		for (t = r->chain[i]; t != NULL && !found; t = t->next) {
			found = t->any && t->listen_id == listen_id && strcmp(t->instance, s->instance) == 0 &&
			    strcmp(t->who, s->identity.who) == 0;
			if (found)
				memcpy(name, t->name, strlen(t->name) + 1);
		}
	pthread_mutex_unlock(&r->mtx);
	return found;
}

struct holder *
registry_held_locked(const struct tunnel *t, const struct session *s)
{
	struct holder *h;

	for (h = t->holders; h != NULL && h->session != s; h = h->next)
		;
	return h;
}

enum use_result
registry_use(struct registry *r, const struct session *s, const char *name, uint32_t *listen_id)
{
	const struct tunnel *t;
	const struct holder *h = NULL;

	pthread_mutex_lock(&r->mtx);
	if ((t = registry_find_locked(r, name)) != NULL) {
		h = registry_held_locked(t, s);
		*listen_id = h != NULL ? h->listen_id : t->listen_id;
	}
	pthread_mutex_unlock(&r->mtx);
	return t == NULL ? USE_NONE : h != NULL ? USE_OWN : USE_OTHERS;
}

const char *
registry_name(const struct holder *h)
{
	return h->tunnel->name;
}

int
registry_speaks(struct registry *r, const char *name, const char *dialect)
{
	struct tunnel *t;
	int speaks;

	pthread_mutex_lock(&r->mtx);
	t = registry_find_locked(r, name);
	speaks = t != NULL && strcmp(t->dialect, dialect) == 0;
	pthread_mutex_unlock(&r->mtx);
	return speaks;
}

/* Its names are lost, as if it had gone, and it ends when nothing runs. */
static void
part(struct registry *r, struct session *s)
{
	struct tunnel *t;
	int end;

	pthread_mutex_lock(&r->mtx);
	s->draining = 1;
	while (s->holders != NULL) {
		t = s->holders->tunnel;
		registry_drop_locked(s->holders);	/* the table has a reference to t, too */
		t->grace_until = clock_ms(CLOCK_STEADY) + registry_grace(r, s);
		t->since = clock_ms(CLOCK_WALL);
	}
	end = registry_moved_locked(s);
	pthread_mutex_unlock(&r->mtx);
	if (end)
		s->dialect->end(s, WS_GOING_AWAY, "drained");
}

void
registry_part(struct registry *r)
{
	struct session **all;
	int i, n;

	all = registry_all(r, &n);
	for (i = 0; i < n; i++) {
		if (all[i]->dialect->drain == NULL)
			part(r, all[i]);
		session_unref(r, all[i]);
	}
	free(all);
}

int
registry_running(struct registry *r)
{
	int n;

	pthread_mutex_lock(&r->mtx);
	n = r->running;
	pthread_mutex_unlock(&r->mtx);
	return n;
}

int
registry_running_on(struct registry *r, const struct session *s)
{
	int n;

	pthread_mutex_lock(&r->mtx);
	n = s->running;
	pthread_mutex_unlock(&r->mtx);
	return n;
}

int
registry_sessions(struct registry *r)
{
	int n;

	pthread_mutex_lock(&r->mtx);
	n = r->nsessions;
	pthread_mutex_unlock(&r->mtx);
	return n;
}
