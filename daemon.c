/* daemon.c: the daemon's own threads, start and end; see daemon.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "clock.h"
#include "control.h"
#include "daemon.h"
#include "log.h"
#include "random.h"

enum {
	TICK_MS = 250,		/* the janitor's round: grace, expiry, the token store */
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

void
daemon_request_id(struct daemon *d, char id[17])
{
	unsigned char be[4];
	struct buf b;
	uint32_t n;

	pthread_mutex_lock(&d->mtx);
	n = d->requests++;
	pthread_mutex_unlock(&d->mtx);
	be[0] = (unsigned char)(n >> 24);
	be[1] = (unsigned char)(n >> 16);
	be[2] = (unsigned char)(n >> 8);
	be[3] = (unsigned char)n;
	buf_init(&b, id, 16);
	buf_str(&b, d->boot);
	buf_hex(&b, be, sizeof(be));
	id[16] = '\0';
}

struct listener {
	struct daemon *d;
	struct daemon_listener l;
};

struct job {			/* a connection on its way to a thread */
	struct daemon *d;
	int fd, tls;
	struct sockaddr_storage peer;
};

static void
run_caller(void *arg)
{
	struct job j = *(struct job *)arg;

	free(arg);
	caller_run(j.d, j.fd, j.tls, &j.peer);
}

static void
hand_over(struct daemon *d, int fd, int tls, const struct sockaddr_storage *peer)
{
	struct job *j = malloc(sizeof(*j));

	if (j != NULL) {
		j->d = d;
		j->fd = fd;
		j->tls = tls;
		j->peer = *peer;
		if (workers_run(d->workers, run_caller, j) == 0)
			return;
		free(j);
	}
	log_line(LOG_WARN, "no_thread", "for", "caller", (char *)NULL);
	caller_refuse(fd, tls);
}

static void *
acceptor(void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage peer;
	struct pollfd pfd;
	int fd;

	pfd.fd = l->l.fd;
	pfd.events = POLLIN;
	while (daemon_draining(l->d) == 0) {
		if (poll(&pfd, 1, TICK_MS) <= 0)
			continue;
		while ((fd = net_accept(l->l.fd, &peer)) != -1)
			hand_over(l->d, fd, l->l.tls, &peer);
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_line(LOG_WARN, "accept_failed", "reason", strerror(errno), (char *)NULL);
			poll(NULL, 0, TICK_MS);	/* until somebody has closed something */
		}
	}
	close(l->l.fd);
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

void
daemon_reload(struct daemon *d, int force)
{
	char why[300];
	int rc = auth_reload(d->auth, force, why, sizeof(why));

	if (rc == 1)
		log_line(LOG_INFO, "tokens_read", (char *)NULL);
	else if (rc == -1)
		log_line(LOG_ERROR, "tokens_bad", "reason", why, "kept", "the last good set", (char *)NULL);
	if (force && d->conf.ncerts > 0)
		reload_tls(d);
}

static void *
janitor(void *arg)
{
	struct daemon *d = arg;

	for (;;) {
		poll(NULL, 0, TICK_MS);
		daemon_reload(d, 0);
		registry_tick(d->registry, d->auth);
		log_tell(0);
	}
	return NULL;
}

static void *
controller(void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage peer;
	struct pollfd pfd;
	int fd;

	pfd.fd = l->l.fd;
	pfd.events = POLLIN;
	for (;;) {
		if (poll(&pfd, 1, -1) <= 0)
			continue;
		if ((fd = net_accept(l->l.fd, &peer)) != -1)
			control_serve(l->d, fd, l->d->stop);
		else
			poll(NULL, 0, TICK_MS);	/* out of descriptors: until somebody has closed something */
	}
	return NULL;
}

/* A thread for a listening socket. */
static int
start(struct daemon *d, void *(*fn)(void *), int fd, int tls)
{
	struct listener *l = malloc(sizeof(*l));
	int err;

	if (l == NULL)
		return -1;
	l->d = d;
	l->l.fd = fd;
	l->l.tls = tls;
	if ((err = thread_start(STACK_SIZE, fn, l)) == 0)
		return 0;
	free(l);
	errno = err;
	return -1;
}

int
daemon_init(struct daemon *d, const struct daemon_conf *conf, int dir, char *why, size_t whylen)
{
	struct registry_conf rc;
	unsigned char boot[4];

	memset(d, 0, sizeof(*d));
	d->conf = *conf;
	pthread_mutex_init(&d->mtx, NULL);
	pthread_mutex_init(&d->budget.mtx, NULL);
	d->budget.left = (size_t)conf->buffer;
	pthread_mutex_init(&d->bodies.mtx, NULL);
	d->bodies.left = (size_t)conf->bodies;
	if (random_bytes(boot, sizeof(boot)) == -1) {
		snprintf(why, whylen, "no random bytes can be had: %s", strerror(errno));
		return -1;
	}
	snprintf(d->boot, sizeof(d->boot), "%02x%02x%02x%02x", boot[0], boot[1], boot[2], boot[3]);
	if ((d->auth = auth_new(dir, why, whylen)) == NULL)
		return -1;
	rc.grace_ms = conf->grace_ms;
	rc.queue = (int)conf->queue;
	rc.sessions = (int)conf->sessions;
	d->registry = registry_new(&rc);
	d->pending = pending_new((int)conf->slots);
	d->workers = workers_new(STACK_SIZE, (int)(conf->callers + conf->sessions));
	d->handshakes = limit_new(conf->handshakes);
	if (d->registry != NULL && d->pending != NULL && d->workers != NULL && d->handshakes != NULL)
		return 0;
	snprintf(why, whylen, "no memory");
	return -1;
}

int
daemon_start(struct daemon *d, const struct daemon_listener *l, int n, int control)
{
	struct sockaddr_storage ss;
	char addr[NET_ADDR_MAX];
	int i, err;

	for (i = 0; i < n && !l[i].tls; i++)
		;
	d->addr_tls = i < n;
	net_local(l[i < n ? i : 0].fd, &ss);
	net_format(&ss, d->addr);
	if (d->addr_tls)
		snprintf(d->https_port, sizeof(d->https_port), "%.5s", strrchr(d->addr, ':') + 1);
	if ((err = thread_start(STACK_SIZE, janitor, d)) != 0) {
		errno = err;
		return -1;
	}
	if (start(d, controller, control, 0) == -1)
		return -1;
	for (i = 0; i < n; i++) {
		net_local(l[i].fd, &ss);
		net_format(&ss, addr);
		if (start(d, acceptor, l[i].fd, l[i].tls) == -1)
			return -1;
		if (l[i].tls)
			log_line(LOG_INFO, "listening", "proto", "https", "addr", addr, (char *)NULL);
		else
			log_line(LOG_INFO, "listening", "addr", addr, (char *)NULL);
	}
	return 0;
}

static void
set_draining(struct daemon *d, int how)
{
	pthread_mutex_lock(&d->mtx);
	d->draining = how;
	pthread_mutex_unlock(&d->mtx);
}

/* Wait until nothing runs any more, ms at most. */
static void
until_quiet(struct daemon *d, int (*running)(struct registry *), long ms)
{
	int64_t end = clock_ms(CLOCK_STEADY) + ms;

	while (running(d->registry) > 0 && clock_ms(CLOCK_STEADY) < end)
		poll(NULL, 0, 10);
}

static void *
drain(void *arg)
{
	struct daemon *d = arg;

	set_draining(d, 1);
	log_line(LOG_INFO, "draining", (char *)NULL);
	registry_drain(d->registry);
	until_quiet(d, registry_running, d->conf.drain_ms);
	set_draining(d, 2);	/* who still waits for a response head gets 504 */
	until_quiet(d, registry_running, 2 * TICK_MS);
	registry_end(d->registry, WS_GOING_AWAY, "shutting down");
	until_quiet(d, registry_sessions, LAST_MS);
	d->drained();
	return NULL;
}

int
daemon_drain(struct daemon *d)
{
	int err = thread_start(STACK_SIZE, drain, d);

	errno = err;
	return err == 0 ? 0 : -1;
}
