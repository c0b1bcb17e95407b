/* agent.c: the client's lanes: connect, serve, reconnect, whatever the dialect; see tunnel.h and agent.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "clock.h"
#include "deadline.h"
#include "log.h"
#include "random.h"

/* Close sessions; none of our locks is held meanwhile. */
static void
close_all(struct tunnel_client *c, void **all, int n)
{
	while (n-- > 0) {
		c->dialect->bye(all[n]);
		c->dialect->unref(all[n]);
	}
}

void
agent_finish(struct tunnel_client *c, enum tunnel_end end, const char *why, int gently)
{
	void *all[2 * LANES_MAX];
	struct session *s;
	int n = 0;

	pthread_mutex_lock(&c->mtx);
	if (!c->over) {
		c->over = 1;
		c->end = end;
		snprintf(c->why, sizeof(c->why), "%s", why);
	}
	for (s = c->sessions; s != NULL; s = s->next)
		if (gently) {
			if (s->leaving == 0)
				s->leaving = clock_ms(CLOCK_STEADY);
		} else if (n == 2 * LANES_MAX) {	/* daemons that drain hold as many: agent_look closes the rest */
			s->leaving = clock_ms(CLOCK_STEADY) - LEAVE_MS;
		} else {
			c->dialect->ref(s->impl);
			all[n++] = s->impl;
		}
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	wake_post(&c->wake);
	close_all(c, all, n);
}

static void
watch_all(struct tunnel_client *c)
{
	void *all[2 * LANES_MAX];
	struct session *s;
	int n = 0;

	pthread_mutex_lock(&c->mtx);
	for (s = c->sessions; s != NULL && n < 2 * LANES_MAX; s = s->next) {
		c->dialect->ref(s->impl);
		all[n++] = s->impl;
	}
	pthread_mutex_unlock(&c->mtx);
	while (n-- > 0) {
		c->dialect->watch(all[n]);
		c->dialect->unref(all[n]);
	}
}

void
agent_look(struct tunnel_client *c)
{
	void *all[2 * LANES_MAX];
	struct session *s;
	int64_t now = clock_ms(CLOCK_STEADY);
	int n = 0;

	pthread_mutex_lock(&c->mtx);
	for (s = c->sessions; s != NULL && n < 2 * LANES_MAX; s = s->next) {
		if (s->leaving == 0 && s->lane->renew_at != 0 && now >= s->lane->renew_at) {
			s->lane->renew_at = 0;
			s->leaving = now;
		}
		if (s->leaving != 0 && (c->dialect->running(s->impl) == 0 || now - s->leaving >= LEAVE_MS)) {
			c->dialect->ref(s->impl);
			all[n++] = s->impl;
		}
	}
	pthread_mutex_unlock(&c->mtx);
	close_all(c, all, n);
	if (c->dialect->watch != NULL)
		watch_all(c);
}

/* Tunnels. */

int
agent_first_locked(const struct tunnel_client *c)
{
	int i;

	for (i = 0; i < c->ntunnels; i++)
		if (!c->tunnel[i].lost)
			return i;
	return -1;
}

int
agent_tunnels(struct tunnel_client *c)
{
	int n;

	pthread_mutex_lock(&c->mtx);
	n = c->ntunnels;
	pthread_mutex_unlock(&c->mtx);
	return n;
}

int
agent_first(struct tunnel_client *c)
{
	int i;

	pthread_mutex_lock(&c->mtx);
	i = agent_first_locked(c);
	pthread_mutex_unlock(&c->mtx);
	return i;
}

void
agent_lost(struct tunnel_client *c, struct session *s, int i, enum tunnel_end end, const char *code,
    const char *message)
{
	void *all[2 * LANES_MAX];
	struct session *other;
	char why[WHY_MAX];
	int n = 0, news, last, gently;

	pthread_mutex_lock(&c->mtx);
	news = !c->tunnel[i].lost;
	c->tunnel[i].lost = 1;
	c->taken |= strcmp(code, "taken_over") == 0;
	gently = c->taken;
	last = agent_first_locked(c) == -1;
	/* what other lanes hold of it they give back; those still asking do so when they are answered */
	for (other = c->sessions; news && !last && other != NULL && n < 2 * LANES_MAX; other = other->next)
		if (c->dialect->give_up != NULL && other != s && other->state[i] == LISTEN_READY) {
			c->dialect->ref(other->impl);
			all[n++] = other->impl;
		}
	pthread_mutex_unlock(&c->mtx);
	if (!news)
		return;
	while (n > 0) {
		c->dialect->give_up(all[--n], i);
		c->dialect->unref(all[n]);
	}
	pthread_mutex_lock(&c->mtx);
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	log_line(LOG_WARN, "lost", "target", c->tunnel[i].target, "code", code, "reason", message, (char *)NULL);
	if (c->events.lost != NULL)
		c->events.lost(c->arg, i, code, message);
	snprintf(why, sizeof(why), "%s%s%.200s", code, message[0] != '\0' ? ": " : "", message);
	if (last)
		agent_finish(c, end, why, gently);
}

void
agent_up(struct session *s, int i, const char *url, const char *path_url, int again, int news)
{
	struct tunnel_client *c = s->lane->c;

	if (again || news) {
		log_line(LOG_INFO, "ready", "url", url, "target", c->tunnel[i].target, "again", again ? "yes" : NULL, (char *)NULL);
		if (c->events.ready != NULL)
			c->events.ready(c->arg, i, url, path_url, c->tunnel[i].target, again);
	}
	pthread_mutex_lock(&c->mtx);
	c->tunnel[i].up = 1;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
}

void
agent_more(struct tunnel_client *c)
{
	struct session *s;

	if (c->dialect->more == NULL)
		return;
	pthread_mutex_lock(&c->mtx);
	for (;;) {		/* the list may have changed each time */
		for (s = c->sessions; s != NULL && (!s->greeted || s->asking || s->full || s->asked == c->ntunnels); s = s->next)
			;
		if (s == NULL)
			break;
		s->asking = 1;
		pthread_mutex_unlock(&c->mtx);
		c->dialect->more(s);
		pthread_mutex_lock(&c->mtx);
	}
	pthread_mutex_unlock(&c->mtx);
}

/* Sessions. */

/* Enter the list, so that agent_finish() reaches us. 0 if it is over already. */
static int
enter(struct session *s)
{
	struct tunnel_client *c = s->lane->c;
	int ok;

	pthread_mutex_lock(&c->mtx);
	if ((ok = !c->over)) {
		s->listed = 1;
		s->next = c->sessions;
		c->sessions = s;
	}
	pthread_mutex_unlock(&c->mtx);
	return ok;
}

static void
leave(struct session *s)
{
	struct session **p;

	pthread_mutex_lock(&s->lane->c->mtx);
	while (s->asking)
		pthread_cond_wait(&s->lane->c->change, &s->lane->c->mtx);
	for (p = &s->lane->c->sessions; s->listed && *p != s; p = &(*p)->next)
		;
	if (s->listed)
		*p = s->next;
	pthread_mutex_unlock(&s->lane->c->mtx);
}

void
agent_tell(struct tunnel_client *c, const char *what, int64_t retry_ms)
{
	char ms[24];

	pthread_mutex_lock(&c->mtx);
	snprintf(c->trouble, sizeof(c->trouble), "%s", what);
	pthread_mutex_unlock(&c->mtx);
	snprintf(ms, sizeof(ms), "%lld", (long long)retry_ms);
	log_line(LOG_INFO, "connection", "what", what, "retry_ms", retry_ms > 0 ? ms : NULL, (char *)NULL);
	if (c->events.connection != NULL)
		c->events.connection(c->arg, what, retry_ms);
}

/* A session from handshake to end. 1: the lane goes on; 0: a successor has it, or it is over. */
static int
run_session(struct lane *lane, struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	struct session s;
	struct link *link;
	const char *reason;
	int code, go_on;

	memset(&s, 0, sizeof(s));
	s.lane = lane;
	s.began = clock_ms(CLOCK_STEADY);
	if (c->dialect->open(&s, k) == -1) {
		conn_close(&k->conn);
		snprintf(why, whylen, "no memory or descriptors for the session");
		return 1;
	}
	link = c->dialect->link(s.impl);
	if (!enter(&s))
		link_abort(link);
	c->dialect->begin(&s);
	pthread_mutex_lock(&c->mtx);
	c->connected = 1;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	agent_tell(c, "connected", 0);
	code = link_run(link, &reason);
	c->dialect->end(s.impl);
	pthread_mutex_lock(&c->mtx);
	go_on = !s.drained && !c->over;
	if (s.ready && clock_ms(CLOCK_STEADY) - s.began >= SETTLED_MS)
		lane->attempts = 0;
	pthread_mutex_unlock(&c->mtx);
	leave(&s);
	snprintf(why, whylen, "connection lost: %s (%d)", reason, code);
	c->dialect->ended(&s, code, why, whylen);
	pthread_mutex_lock(&c->mtx);
	go_on &= !c->over;	/* that may have ended it */
	pthread_mutex_unlock(&c->mtx);
	c->dialect->unref(s.impl);
	return go_on;
}

/* How long before attempt n (0: the first), with jitter, so that a daemon's clients do not all come at once. */
static int64_t
delay_ms(const struct tunnel_client *c, int attempt)
{
	int64_t ms = attempt > 0 ? c->retry_min_ms : 0;
	uint16_t r;

	while (attempt-- > 1 && ms < c->retry_max_ms)
		ms *= 2;
	if (ms > c->retry_max_ms)
		ms = c->retry_max_ms;
	if (random_bytes(&r, sizeof(r)) == -1)
		r = 0;
	return ms - ms * (r % 256) / 1024;
}

/* Wait for the next attempt's time. 0 if it is over meanwhile. */
static int
pause_lane(struct tunnel_client *c, int64_t ms)
{
	struct timespec until;
	int over, rc = 0;

	deadline_in(&until, ms);
	pthread_mutex_lock(&c->mtx);
	while (!c->over && rc == 0)
		rc = pthread_cond_timedwait(&c->change, &c->mtx, &until);
	over = c->over;
	pthread_mutex_unlock(&c->mtx);
	return !over;
}

static void
lane_loop(struct lane *lane, struct shake *k)
{
	struct tunnel_client *c = lane->c;
	char why[WHY_MAX];
	int64_t ms;
	int rc;

	pthread_mutex_lock(&c->mtx);
	ms = delay_ms(c, lane->attempts);
	pthread_mutex_unlock(&c->mtx);
	while (pause_lane(c, ms)) {
		pthread_mutex_lock(&c->mtx);
		lane->attempts++;
		pthread_mutex_unlock(&c->mtx);
		k->conn.fd = -1;
		rc = reach(lane, k, why, sizeof(why));
		if (rc == 1)
			rc = run_session(lane, k, why, sizeof(why)) ? 0 : -1;
		else
			conn_close(&k->conn);
		if (rc == -1)
			break;
		pthread_mutex_lock(&c->mtx);
		ms = delay_ms(c, lane->attempts);
		pthread_mutex_unlock(&c->mtx);
		if (why[0] != '\0')	/* else it has been told */
			agent_tell(c, why, ms);
	}
}

static void *
lane_main(void *arg)
{
	struct lane *lane = arg;
	struct tunnel_client *c = lane->c;
	struct shake *k = malloc(sizeof(*k));

	if (k != NULL)
		lane_loop(lane, k);
	else
		agent_finish(c, TUNNEL_FAILED, "no memory", 0);
	free(k);
	pthread_mutex_lock(&c->mtx);
	c->threads--;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->mtx);
	return NULL;
}

int
agent_start(struct lane *lane)
{
	struct tunnel_client *c = lane->c;
	int err;

	pthread_mutex_lock(&c->mtx);
	c->threads++;
	pthread_mutex_unlock(&c->mtx);
	if ((err = thread_start(c->stack, lane_main, lane)) == 0)
		return 0;
	pthread_mutex_lock(&c->mtx);
	c->threads--;
	pthread_mutex_unlock(&c->mtx);
	errno = err;
	return -1;
}
