/* clientrun.c: the client as a library: start, more tunnels, end; see tunnel.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "deadline.h"
#include "log.h"

static void
on_log(void *arg, int level, const char *line, size_t len)
{
	struct tunnel_client *c = arg;

	(void)len;
	c->events.log(c->arg, level, line);
}

/* 0, or -1 and why; lc has room for TUNNEL_MAX. */
static int
build(struct tunnel_client *c, const struct tunnel_options *o, struct local_service *lc, char *why, size_t whylen)
{
	if ((c->tunnel = calloc(TUNNEL_MAX, sizeof(c->tunnel[0]))) == NULL || lc == NULL ||
	    (c->events.log != NULL && (c->log = log_new(on_log, c)) == NULL))
		return -1;
	return client_make(c, o, lc, why, whylen);
}

struct tunnel_client *
tunnel_new(const struct tunnel_options *o, const struct tunnel_events *events, void *arg,
    char *why, size_t whylen)
{
	struct tunnel_client *c = client_alloc();
	struct local_service *lc = calloc(TUNNEL_MAX, sizeof(lc[0]));
	int i;

	snprintf(why, whylen, "no memory or no random bytes");
	if (c != NULL && events != NULL)
		c->events = *events;
	if (c != NULL)
		c->arg = arg;
	if (c != NULL && build(c, o, lc, why, whylen) == -1) {
		for (i = 0; lc != NULL && i < TUNNEL_MAX; i++)
			if (lc[i].tls != NULL)
				tls_client_free(lc[i].tls);
		client_free(c);
		c = NULL;
	}
	free(lc);
	return c;
}

int
tunnel_listen(struct tunnel_client *c, const struct tunnel_spec *spec, char *why, size_t whylen)
{
	struct log *had = log_use(c->log);
	struct local_service lc;
	struct tunnel t;
	int i = -1;

	if (c->dialect->more == NULL)
		snprintf(why, whylen, "the dialect %s has all its tunnels from the start: give them to tunnel_new", c->dialect->name);
	else if (client_tunnel(c, spec, &t, &lc, why, whylen) == 0) {
		pthread_mutex_lock(&c->mtx);
		if (c->over)
			snprintf(why, whylen, "the client has ended: %.300s", c->why);
		else if (client_fits_locked(c, &t, spec->target, why, whylen) == 0) {
			i = c->ntunnels;
			c->tunnel[i] = t;
			local_add(c->local, &lc);
			c->ntunnels++;
		}
		pthread_mutex_unlock(&c->mtx);
		if (i == -1 && lc.tls != NULL)
			tls_client_free(lc.tls);
	}
	if (i != -1)
		agent_more(c);
	log_use(had);
	return i;
}

void
tunnel_close(struct tunnel_client *c)
{
	struct log *had = log_use(c->log);

	agent_finish(c, TUNNEL_STOPPED, "stopped", 0);
	log_use(had);
}

/* Running. */

static int
leaving_locked(const struct tunnel_client *c)
{
	const struct session *s;

	for (s = c->sessions; s != NULL; s = s->next)
		if (s->leaving != 0)
			return 1;
	return 0;
}

/* The keeper: looks after the lanes until all of them have ended. */
static void *
keep(void *arg)
{
	struct tunnel_client *c = arg;
	struct timespec until;

	pthread_mutex_lock(&c->mtx);
	while (c->threads > 0) {
		deadline_in(&until, leaving_locked(c) ? LOOK_MS : TICK_MS);
		pthread_cond_timedwait(&c->change, &c->mtx, &until);
		pthread_mutex_unlock(&c->mtx);
		agent_look(c);
		pthread_mutex_lock(&c->mtx);
	}
	c->kept = 0;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	return NULL;
}

/* Once: lanes and keeper. */
static void
start(struct tunnel_client *c)
{
	int i, first;

	pthread_mutex_lock(&c->mtx);
	first = !c->started;
	c->started = 1;
	if (first)
		c->kept = 1;
	pthread_mutex_unlock(&c->mtx);
	if (!first)
		return;
	for (i = 0; i < c->nlanes && agent_start(&c->lane[i]) == 0; i++)
		;
	if (i < c->nlanes)
		agent_finish(c, TUNNEL_FAILED, "no thread can be had", 0);
	if (thread_start(c->stack, keep, c) != 0) {
		agent_finish(c, TUNNEL_FAILED, "no thread can be had", 0);
		keep(c);
	}
}

/* Wait until the keeper has gone. */
static void
wait_end(struct tunnel_client *c)
{
	pthread_mutex_lock(&c->mtx);
	while (c->kept)
		pthread_cond_wait(&c->change, &c->mtx);
	pthread_mutex_unlock(&c->mtx);
}

enum tunnel_end
tunnel_run(struct tunnel_client *c, char *why, size_t whylen)
{
	struct log *had = log_use(c->log);
	enum tunnel_end end;

	start(c);
	wait_end(c);
	pthread_mutex_lock(&c->mtx);
	end = c->end;
	snprintf(why, whylen, "%s", c->why);
	pthread_mutex_unlock(&c->mtx);
	log_use(had);
	return end;
}

/* Wait for *what to be set, or until it is over, or for ms: 0, or -1 and why. */
static int
await(struct tunnel_client *c, const int *what, const int *lost, long ms, char *why, size_t whylen)
{
	struct timespec until;
	int late = 0, rc;

	deadline_in(&until, ms);
	pthread_mutex_lock(&c->mtx);
	while (!*what && !*lost && !c->over && !late)
		late = pthread_cond_timedwait(&c->change, &c->mtx, &until) != 0;
	rc = *what && !*lost && !c->over ? 0 : -1;
	if (c->over)
		snprintf(why, whylen, "%s", c->why);
	else if (*lost)
		snprintf(why, whylen, "the tunnel is lost");
	else if (rc == -1)
		snprintf(why, whylen, "not in time: %s", c->trouble[0] != '\0' ? c->trouble : "no answer");
	pthread_mutex_unlock(&c->mtx);
	return rc;
}

int
tunnel_connect(struct tunnel_client *c, long ms, char *why, size_t whylen)
{
	static const int never = 0;
	struct log *had = log_use(c->log);
	int rc;

	start(c);
	rc = await(c, &c->connected, &never, ms, why, whylen);
	log_use(had);
	return rc;
}

int
tunnel_ready(struct tunnel_client *c, int i, long ms, char *url, size_t urllen, char *why, size_t whylen)
{
	int rc;

	if (i < 0 || i >= agent_tunnels(c)) {
		snprintf(why, whylen, "there is no tunnel %d", i);
		return -1;
	}
	if ((rc = await(c, &c->tunnel[i].up, &c->tunnel[i].lost, ms, why, whylen)) == 0) {
		pthread_mutex_lock(&c->mtx);
		snprintf(url, urllen, "%s", c->tunnel[i].url);
		pthread_mutex_unlock(&c->mtx);
	}
	return rc;
}

void
tunnel_free(struct tunnel_client *c)
{
	if (c == NULL)
		return;
	tunnel_close(c);
	wait_end(c);
	/* an exchange that still runs keeps what it needs: better a leak than a crash */
	if (local_end(c->local, END_MS))
		client_free(c);
}
