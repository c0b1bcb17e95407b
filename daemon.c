/* daemon.c: the daemon's own threads, start and end; see daemon.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backoff.h"
#include "be32.h"
#include "caller.h"
#include "clock.h"
#include "control.h"
#include "daemon.h"
#include "deadline.h"
#include "log.h"
#include "ports.h"
#include "proxymap.h"
#include "random.h"
#include "relay.h"
#include "sshfront.h"
#include "sshsess.h"
#include "vtunnel.h"

enum {
	TICK_MS = 250,		/* the janitor's round: grace, expiry, the token store */
	LEAVING = 16,		/* threads of callers and sessions that count no more, and are just ending */
	PART_MS = 1000,		/* after a takeover: sessions that cannot be in two places stay so long with the old callers */
	LAST_MS = 1000		/* for the sessions to close */
};

int
daemon_draining(struct daemon *d)
{
	int draining;

	pthread_mutex_lock(&d->mtx);
	draining = d->draining;
	pthread_mutex_unlock(&d->mtx);
	return draining;
}

int
daemon_moved(struct daemon *d)
{
	int moved;

	pthread_mutex_lock(&d->mtx);
	moved = d->moved;
	pthread_mutex_unlock(&d->mtx);
	return moved;
}

void
daemon_request_id(struct daemon *d, char id[17])
{
	unsigned char be[4];
	struct buf b;
	uint32_t n;

	pthread_mutex_lock(&d->mtx);
	n = d->requests++;
	pthread_mutex_unlock(&d->mtx);
	be32_put(be, n);
	buf_init(&b, id, 16);
	buf_str(&b, d->boot);
	buf_hex(&b, be, sizeof(be));
	id[16] = '\0';
}

struct listener {		/* an acceptor's own */
	struct daemon *d;
	struct daemon_listener *l;
};

struct job {			/* a connection on its way to a thread */
	struct daemon *d;
	const struct daemon_listener *l;
	int fd;
	struct sockaddr_storage peer;
};

static void
run_caller(void *arg)
{
	struct job j = *(struct job *)arg;
	struct caller_from from;

	free(arg);
	if (j.l->ssh) {
		sshfront_serve(j.d, j.fd, &j.peer);
		return;
	}
	memset(&from, 0, sizeof(from));
	from.peer = j.peer;
	caller_run(j.d, j.fd, j.l, &from);
}

void
daemon_arriving(struct daemon *d, int n)
{
	pthread_mutex_lock(&d->mtx);
	d->arriving += n;
	pthread_mutex_unlock(&d->mtx);
}

int
daemon_enter(struct daemon *d)
{
	int ok;

	pthread_mutex_lock(&d->mtx);
	d->arriving--;
	ok = d->ncallers < d->conf.callers;
	if (ok)
		d->ncallers++;
	pthread_mutex_unlock(&d->mtx);
	return ok;
}

void
daemon_leave(struct daemon *d)
{
	pthread_mutex_lock(&d->mtx);
	d->ncallers--;
	pthread_mutex_unlock(&d->mtx);
}

void
daemon_direct(struct daemon *d, int n)
{
	pthread_mutex_lock(&d->mtx);
	d->direct += n;
	pthread_mutex_unlock(&d->mtx);
}

void
daemon_greet(struct daemon *d, struct guest *g, int fd)
{
	pthread_mutex_lock(&d->mtx);
	g->fd = fd;
	g->next = d->guests;
	g->at = &d->guests;
	if (g->next != NULL)
		g->next->at = &g->next;
	d->guests = g;
	if (d->ending)		/* it has come too late to be found */
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&d->mtx);
}

void
daemon_part(struct daemon *d, struct guest *g)
{
	pthread_mutex_lock(&d->mtx);
	*g->at = g->next;
	if (g->next != NULL)
		g->next->at = g->at;
	pthread_mutex_unlock(&d->mtx);
}

void
daemon_accepting(struct daemon *d, int n)
{
	pthread_mutex_lock(&d->mtx);
	d->accepting += n;
	pthread_mutex_unlock(&d->mtx);
}

void
daemon_accept_failed(void)
{
	if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
		return;
	log_line(LOG_WARN, "accept_failed", "reason", strerror(errno), (char *)NULL);
	poll(NULL, 0, TICK_MS);
}

static void
hand_over(struct daemon *d, int fd, const struct daemon_listener *l, const struct sockaddr_storage *peer)
{
	struct job *j = malloc(sizeof(*j));

	if (j != NULL) {
		j->d = d;
		j->fd = fd;
		j->l = l;
		j->peer = *peer;
		daemon_arriving(d, 1);
		if (workers_run(d->workers, run_caller, j) == 0)
			return;
		daemon_arriving(d, -1);
		free(j);
	}
	log_line(LOG_WARN, "no_thread", "for", "caller", (char *)NULL);
	caller_refuse(fd, l->tls || l->ssh);
}

static void *
acceptor(void *arg)
{
	struct listener *l = arg;
	struct daemon *d = l->d;
	int fd, own = l->l->fd;
	struct sockaddr_storage peer;
	struct pollfd pfd[2];

	pfd[0].fd = own;
	pfd[1].fd = d->rest.rd;
	pfd[0].events = pfd[1].events = POLLIN;
	while (daemon_draining(d) == 0) {
		if (poll(pfd, 2, -1) <= 0)
			continue;
		while (daemon_draining(d) == 0 && (fd = net_accept(own, &peer)) != -1)
			hand_over(d, fd, l->l, &peer);
		daemon_accept_failed();
	}
	pthread_mutex_lock(&d->mtx);
	close(own);
	l->l->fd = -1;		/* the number is the next connection's */
	d->accepting--;
	pthread_mutex_unlock(&d->mtx);
	free(l);
	return NULL;
}

struct tls_server *
daemon_tls(struct daemon *d)
{
	struct tls_server *s;

	pthread_mutex_lock(&d->mtx);
	if ((s = d->tls) != NULL)
		tls_server_ref(s);
	pthread_mutex_unlock(&d->mtx);
	return s;
}

/* Running connections keep what they have. */
static void
reload_tls(struct daemon *d)
{
	char why[TLS_WHY_MAX];
	struct tls_server *s = tls_server_new(d->conf.cert, d->conf.ncerts, why), *old;

	if (s == NULL) {
		log_line(LOG_ERROR, "certificates_bad", "reason", why, "kept", "the last good set", (char *)NULL);
		return;
	}
	pthread_mutex_lock(&d->mtx);
	old = d->tls;
	d->tls = s;
	pthread_mutex_unlock(&d->mtx);
	tls_server_unref(old);
	log_line(LOG_INFO, "certificates_read", (char *)NULL);
}

static void
reload_jwt(struct daemon *d)
{
	char why[JWT_WHY_MAX];

	if (jwtauth_reload(d->jwt, why) == -1)
		log_line(LOG_ERROR, "jwt_keys_bad", "reason", why, "kept", "the last good set", (char *)NULL);
	else
		log_line(LOG_INFO, "jwt_keys_read", (char *)NULL);
}

void
daemon_reload(struct daemon *d, int force)
{
	char why[300];
	int rc = auth_reload(d->auth, force, why, sizeof(why));

	if (rc == 1) {
		log_line(LOG_INFO, "tokens_read", (char *)NULL);
		relays_look(d->relays);
	} else if (rc == -1)
		log_line(LOG_ERROR, "tokens_bad", "reason", why, "kept", "the last good set", (char *)NULL);
	if (force && d->conf.ncerts > 0)
		reload_tls(d);
	if (force && d->jwt != NULL)
		reload_jwt(d);
	if (d->ssh_front != NULL)
		sshfront_reload(d->ssh_front, force);
	vtunnel_reload(d->vtunnel, force);
}

int
daemon_auth(struct daemon *d, const struct str *text, int scopeless, const char *peer, struct identity *who)
{
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	const char *why;
	int status;

	daemon_reload(d, 0);	/* a token counts, or does not, from the moment it was issued or revoked */
	if (d->jwt == NULL || !jwt_shaped(text->p, text->len))
		return auth_check(d->auth, text, now, who);
	if ((status = jwtauth_check(d->jwt, text, now, scopeless, peer, who)) != 0 || (why = auth_lost(d->auth, who, now)) == NULL)
		return status;
	log_line(LOG_WARN, "jwt_refused", "reason", strcmp(why, "revoked") == 0 ? "jti is revoked" : why, "peer", peer, "who", who->who, (char *)NULL);
	return 401;
}

static void *
janitor(void *arg)
{
	struct daemon *d = arg;
	struct timespec until;
	int rc;

	pthread_mutex_lock(&d->mtx);
	while (!d->ending) {
		deadline_in(&until, TICK_MS);
		do
			rc = pthread_cond_timedwait(&d->change, &d->mtx, &until);
		while (rc == 0 && !d->ending);
		pthread_mutex_unlock(&d->mtx);
		daemon_reload(d, 0);
		registry_tick(d->registry, d->auth);
		sshsess_tick(d);
		relays_tick(d->relays, clock_ms(CLOCK_WALL) / 1000);
		log_tell(0);
		pthread_mutex_lock(&d->mtx);
	}
	d->janitors--;
	pthread_cond_broadcast(&d->change);
	pthread_mutex_unlock(&d->mtx);
	return NULL;
}

int
daemon_init(struct daemon *d, const struct daemon_conf *conf, int dir, char *why, size_t whylen)
{
	struct registry_conf rc;
	unsigned char boot[4];

	memset(d, 0, sizeof(*d));
	d->conf = *conf;
	d->rest.rd = d->rest.wr = -1;
	pthread_mutex_init(&d->mtx, NULL);
	cond_init(&d->change);
	pthread_mutex_init(&d->ssh.mtx, NULL);
	pthread_mutex_init(&d->budget.mtx, NULL);
	d->budget.left = (size_t)conf->buffer;
	pthread_mutex_init(&d->bodies.mtx, NULL);
	d->bodies.left = d->bodies.size = (size_t)conf->bodies;
	if (random_bytes(boot, sizeof(boot)) == -1) {
		snprintf(why, whylen, "no random bytes can be had: %s", strerror(errno));
		return -1;
	}
	snprintf(d->boot, sizeof(d->boot), "%02x%02x%02x%02x", boot[0], boot[1], boot[2], boot[3]);
	if (wake_open(&d->rest) == -1) {
		snprintf(why, whylen, "no descriptors are left");
		return -1;
	}
	if ((d->auth = auth_new(dir, why, whylen)) == NULL)
		return -1;
	rc.grace_ms = conf->grace_ms;
	rc.queue = (int)conf->queue;
	rc.sessions = (int)conf->sessions;
	d->registry = registry_new(&rc);
	d->pending = pending_new((int)conf->slots);
	d->workers = workers_new(STACK_SIZE, (int)(conf->callers + conf->sessions) + 1 + LEAVING);	/* 1: the watch's */
	d->handshakes = limit_new(conf->handshakes);
	d->conns_addr = limit_new(conf->conns_per_ip);
	d->conns_user = limit_new(conf->conns_per_user);
	d->exchanges = conf->exchanges_per_ip > 0 ? limit_new(conf->exchanges_per_ip) : NULL;
	d->logins = backoff_new(conf->login_failures);
	d->ports = conf->no_ports ? NULL : ports_new(d);
	d->proxymap = proxymap_new();
	d->relays = conf->nrelay > 0 ? relays_new() : NULL;
	if (d->registry != NULL && d->pending != NULL && d->workers != NULL && d->handshakes != NULL &&
	    d->conns_addr != NULL && d->conns_user != NULL && (conf->exchanges_per_ip == 0 || d->exchanges != NULL) && d->logins != NULL &&
	    d->proxymap != NULL && (conf->no_ports || d->ports != NULL) && (conf->nrelay == 0 || d->relays != NULL))
		return 0;
	snprintf(why, whylen, "no memory");
	return -1;
}

/* The end. */

/* 1; 0: it drains already. */
static int
begin_drain(struct daemon *d, int moved)
{
	int first;

	pthread_mutex_lock(&d->mtx);
	if ((first = d->draining == 0)) {
		d->draining = 1;
		d->moved = moved;
	}
	pthread_mutex_unlock(&d->mtx);
	wake_post(&d->rest);
	return first;
}

static int
acceptors(struct daemon *d)
{
	int n;

	pthread_mutex_lock(&d->mtx);
	n = d->accepting;
	pthread_mutex_unlock(&d->mtx);
	return n;
}

static int
callers(struct daemon *d)
{
	int n;

	pthread_mutex_lock(&d->mtx);
	n = d->arriving + d->ncallers;
	pthread_mutex_unlock(&d->mtx);
	return n;
}

static int
exchanges(struct daemon *d)
{
	int direct;

	pthread_mutex_lock(&d->mtx);
	direct = d->direct;
	pthread_mutex_unlock(&d->mtx);
	return registry_running(d->registry) + relays_running(d->relays) + direct;
}

static int
sessions(struct daemon *d)
{
	return registry_sessions(d->registry);
}

/* Wait until there are none of them any more, until end (clock_ms) at most. */
static void
until_none(struct daemon *d, int (*count)(struct daemon *), int64_t end)
{
	while (count(d) > 0 && clock_ms(CLOCK_STEADY) < end)
		poll(NULL, 0, 10);
}

/*
 * Whoever is connected still goes on here, and gets "Connection: close" with the next answer; new ones come to our successor. So the
 * sessions stay until the last caller has left, but for those who cannot be in two places.
 */
static void
drain_moved(struct daemon *d, int64_t end)
{
	int64_t part = clock_ms(CLOCK_STEADY) + PART_MS;

	until_none(d, callers, part < end ? part : end);
	registry_part(d->registry);
	until_none(d, callers, end);
}

static void *
drain(void *arg)
{
	struct daemon *d = arg;
	int64_t end = clock_ms(CLOCK_STEADY) + d->conf.drain_ms;

	log_line(LOG_INFO, "draining", (char *)NULL);
	registry_drain(d->registry);
	if (daemon_moved(d))
		drain_moved(d, end);
	until_none(d, exchanges, end);
	pthread_mutex_lock(&d->mtx);
	d->draining = 2;	/* who still waits for a response head gets 504 */
	pthread_mutex_unlock(&d->mtx);
	relays_look(d->relays);
	until_none(d, exchanges, clock_ms(CLOCK_STEADY) + 2 * TICK_MS);
	registry_end(d->registry, WS_GOING_AWAY, "shutting down");
	until_none(d, sessions, clock_ms(CLOCK_STEADY) + LAST_MS);
	d->drained();
	return NULL;
}

int
daemon_drain(struct daemon *d)
{
	int err = 0;

	if (begin_drain(d, 0))
		err = thread_start(STACK_SIZE, drain, d);
	errno = err;
	return err == 0 ? 0 : -1;
}

/* Takeover. */

int
daemon_listeners(struct daemon *d, struct daemon_listener out[LISTENERS_MAX])
{
	int i, n = 0, err = 0;

	pthread_mutex_lock(&d->mtx);
	for (i = 0; i < d->nlisteners && err == 0; i++) {
		if (d->listener[i].fd == -1)
			continue;
		out[n] = d->listener[i];
		if ((out[n].fd = fcntl(out[n].fd, F_DUPFD_CLOEXEC, 0)) == -1)
			err = errno;
		else
			n++;
	}
	pthread_mutex_unlock(&d->mtx);
	while (err != 0 && n > 0)
		close(out[--n].fd);
	errno = err;
	return err != 0 ? -1 : n;
}

int
daemon_move(struct daemon *d)
{
	if (!begin_drain(d, 1))
		return 0;
	until_none(d, acceptors, clock_ms(CLOCK_STEADY) + LAST_MS);
	return 1;
}

/* Start. */

static void *
controller(void *arg)
{
	struct daemon *d = arg;
	struct sockaddr_storage peer;
	struct pollfd pfd;
	int fd;

	pthread_mutex_lock(&d->mtx);
	while (!d->up)
		pthread_cond_wait(&d->change, &d->mtx);
	pthread_mutex_unlock(&d->mtx);
	pfd.fd = d->control;
	pfd.events = POLLIN;
	while (!daemon_moved(d)) {
		if (poll(&pfd, 1, -1) <= 0)
			continue;
		if ((fd = net_accept(d->control, &peer)) != -1)
			control_serve(d, fd);
		else
			poll(NULL, 0, TICK_MS);	/* out of descriptors: until somebody has closed something */
	}
	close(d->control);
	return drain(d);
}

/* Accept on a listener, on a thread of its own. 0, or an error number. */
static int
start_acceptor(struct daemon *d, struct daemon_listener *at)
{
	struct listener *l = malloc(sizeof(*l));
	int err;

	if (l == NULL)
		return ENOMEM;
	l->d = d;
	l->l = at;
	daemon_accepting(d, 1);
	if ((err = thread_start(STACK_SIZE, acceptor, l)) != 0)
		free(l);	/* and the daemon does not start */
	return err;
}

int
daemon_run(struct daemon *d)
{
	int err;

	d->janitors = 1;
	if ((err = thread_start(STACK_SIZE, janitor, d)) != 0) {
		d->janitors = 0;
		return err;
	}
	if (d->ports != NULL && (err = ports_start(d->ports)) != 0)
		return err;
	d->watch = watch_new(d->workers);
	return 0;
}

int
daemon_start(struct daemon *d, const struct daemon_listener *l, int n, int control)
{
	struct sockaddr_storage ss;
	char addr[NET_ADDR_MAX];
	int i, err;

	if ((d->listener = calloc((size_t)n, sizeof(*l))) == NULL)
		return -1;
	memcpy(d->listener, l, (size_t)n * sizeof(*l));
	d->nlisteners = n;
	d->control = control;
	for (i = 0; i < n && !l[i].tls; i++)	/* the proxy's never do, and come last */
		;
	d->addr_tls = i < n;
	for (i = i < n ? i : 0; i < n - 1 && l[i].ssh; i++)
		;
	net_local(l[i].fd, &ss);
	net_format(&ss, d->addr);
	if (d->addr_tls)
		snprintf(d->https_port, sizeof(d->https_port), "%.5s", strrchr(d->addr, ':') + 1);
	if ((err = daemon_run(d)) != 0 || (err = thread_start(STACK_SIZE, controller, d)) != 0) {
		errno = err;
		return -1;
	}
	for (i = 0; i < n; i++) {
		net_local(l[i].fd, &ss);
		net_format(&ss, addr);
		if ((err = start_acceptor(d, &d->listener[i])) != 0) {
			errno = err;
			return -1;
		}
		log_line(LOG_INFO, "listening", "proto", l[i].ssh ? "ssh" : l[i].connect ? "proxy" : l[i].tls ? "https" : NULL,
		    "addr", addr, (char *)NULL);
	}
	return 0;
}

void
daemon_up(struct daemon *d)
{
	pthread_mutex_lock(&d->mtx);
	d->up = 1;
	pthread_cond_broadcast(&d->change);
	pthread_mutex_unlock(&d->mtx);
}
