/* daemonend.c: the end of a daemon that is a part of a program; see daemon.h. */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "backoff.h"
#include "caller.h"
#include "clock.h"
#include "daemon.h"
#include "deadline.h"
#include "ports.h"
#include "proxymap.h"
#include "relay.h"
#include "sshsess.h"

enum {
	LAST_MS = 1000,		/* for sessions to close in order */
	ROUND_MS = 100
};

/* No more come, and those who are here go. The janitor has gone when this returns. */
static void
stop_all(struct daemon *d)
{
	struct timespec until;
	struct guest *g;

	pthread_mutex_lock(&d->mtx);
	d->draining = 2;
	d->ending = 1;
	for (g = d->guests; g != NULL; g = g->next)
		shutdown(g->fd, SHUT_RDWR);
	pthread_cond_broadcast(&d->change);
	while (d->janitors > 0) {
		deadline_in(&until, LAST_MS);
		pthread_cond_timedwait(&d->change, &d->mtx, &until);
	}
	pthread_mutex_unlock(&d->mtx);
	wake_post(&d->rest);
	relays_look(d->relays);
}

/* Threads that accept have ended. */
static int
rests(struct daemon *d)
{
	int none;

	pthread_mutex_lock(&d->mtx);
	none = d->accepting == 0;
	pthread_mutex_unlock(&d->mtx);
	return none;
}

int
daemon_end(struct daemon *d, int ms)
{
	int64_t end = clock_ms(CLOCK_STEADY) + ms, last = clock_ms(CLOCK_STEADY) + LAST_MS;

	stop_all(d);
	do
		registry_end(d->registry, WS_GOING_AWAY, "shutting down");
	while (registry_sessions(d->registry) > 0 && clock_ms(CLOCK_STEADY) < last && poll(NULL, 0, 10) == 0);
	while (!rests(d) && clock_ms(CLOCK_STEADY) < end)
		poll(NULL, 0, 10);
	if (d->watch != NULL)
		watch_end(d->watch);
	do {
		registry_end(d->registry, 0, NULL);	/* one may have come late */
		sshsess_cut(d);
		if (clock_ms(CLOCK_STEADY) >= end)
			return 0;
	} while (!workers_end(d->workers, ROUND_MS));
	d->workers = NULL;
	if (d->watch != NULL)
		watch_free(d->watch);
	daemon_free(d);
	return 1;
}

static void
free_limit(struct limit *l)
{
	if (l != NULL)
		limit_free(l);
}

void
daemon_free(struct daemon *d)
{
	struct caller *c;

	while ((c = d->spare) != NULL) {
		d->spare = c->next;
		wake_close(&c->wake);
		free(c);
	}
	if (d->registry != NULL)
		registry_free(d->registry);
	if (d->ports != NULL)
		ports_free(d->ports);
	if (d->workers != NULL)
		workers_end(d->workers, 0);
	if (d->pending != NULL)
		pending_free(d->pending);
	relays_free(d->relays);
	proxymap_free(d->proxymap);
	free_limit(d->handshakes);
	free_limit(d->conns_addr);
	free_limit(d->conns_user);
	free_limit(d->exchanges);
	if (d->logins != NULL)
		backoff_free(d->logins);
	if (d->auth != NULL)
		auth_free(d->auth);
	if (d->tls != NULL)
		tls_server_unref(d->tls);
	free(d->listener);
	wake_close(&d->rest);
	pthread_mutex_destroy(&d->ssh.mtx);
	pthread_mutex_destroy(&d->budget.mtx);
	pthread_mutex_destroy(&d->bodies.mtx);
	pthread_cond_destroy(&d->change);
	pthread_mutex_destroy(&d->mtx);
}
