/*
 * ports.c: ports that are bound, and who comes there; see ports.h. One thread polls all their sockets, and it alone
 * closes them: it would not let go of one that it polls.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "deadline.h"
#include "guard.h"
#include "log.h"
#include "ports.h"

enum {
	CLOSE_MS = 1000,	/* for the acceptor to close what is in the way; it takes no time */
	AT_ONCE = 64		/* callers taken from one port before the next one's turn */
};

static const char prefix[] = "tcp:";

struct port {			/* constant but for what is marked [p], the ports' */
	struct lease lease;	/* first */
	struct ports *ports;
	unsigned number;
	int public;
	int fd[NET_LISTEN_MAX];
	int nfds;		/* [p] 0: closed */
	int refs;		/* [p] leases; with none left it is closed */
	int callers;		/* [p] */
	struct port *next;	/* [p] */
};

struct ports {
	struct daemon *d;
	struct wake wake;	/* something has changed for the acceptor */
	struct pollfd *pfd;	/* the acceptor's: wake, the daemon's rest, sockets */
	struct port **of;	/* whose they are */
	pthread_mutex_t mtx;	/* guards what follows, and what is marked [p] */
	pthread_cond_t closed;	/* a port is */
	struct port *first;
	long nopen;		/* sockets */
	long ncallers;		/* of all ports */
	unsigned last;		/* of the pool, given last */
	int ended;		/* the acceptor has gone: nothing is open, nothing can be */
};

struct ports *
ports_new(struct daemon *d)
{
	struct ports *p = calloc(1, sizeof(*p));
	size_t max = (size_t)d->conf.ports_max;

	if (p == NULL)
		return NULL;
	p->d = d;
	p->pfd = calloc(max + 2, sizeof(*p->pfd));
	p->of = calloc(max + 2, sizeof(*p->of));
	if (p->pfd == NULL || p->of == NULL || wake_open(&p->wake) == -1) {
		free(p->pfd);
		free(p->of);
		free(p);
		return NULL;
	}
	pthread_mutex_init(&p->mtx, NULL);
	cond_init(&p->closed);
	return p;
}

void
ports_free(struct ports *p)
{
	wake_close(&p->wake);
	pthread_cond_destroy(&p->closed);
	pthread_mutex_destroy(&p->mtx);
	free(p->pfd);
	free(p->of);
	free(p);
}

unsigned
port_number(const struct port *q)
{
	return q->number;
}

int
port_name(const char *name, unsigned *number)
{
	size_t n = sizeof(prefix) - 1;

	if (strncmp(name, prefix, n) != 0 || strchr(name, ',') != NULL || !scope_only_ports(name + n))
		return 0;
	*number = scope_next_port(name + n, 0);
	return !scope_has_port(name + n, *number + 1);	/* no range */
}

static struct port *
find_locked(struct ports *p, unsigned number)
{
	struct port *q;

	for (q = p->first; q != NULL && q->number != number; q = q->next)
		;
	return q;
}

/* The end of a port: its lease's, the acceptor, its last caller. */

static void
end_lease(struct lease *lease)
{
	struct port *q = (struct port *)(void *)lease;
	struct ports *p = q->ports;
	int last, gone;

	pthread_mutex_lock(&p->mtx);
	last = --q->refs == 0;
	gone = last && q->nfds == 0 && q->callers == 0;	/* the acceptor has ended before */
	pthread_mutex_unlock(&p->mtx);
	if (gone)
		free(q);
	else if (last)
		wake_post(&p->wake);
}

void
port_left(struct port *q)
{
	struct ports *p = q->ports;
	int gone;

	pthread_mutex_lock(&p->mtx);
	p->ncallers--;
	gone = --q->callers == 0 && q->nfds == 0 && q->refs == 0;
	pthread_mutex_unlock(&p->mtx);
	if (gone)
		free(q);
}

long
port_linger(struct port *q, long ms)
{
	struct ports *p = q->ports;
	long used;

	pthread_mutex_lock(&p->mtx);
	used = q->callers;
	pthread_mutex_unlock(&p->mtx);
	return limit_patience(ms, used, p->d->conf.port_callers);
}

/* Off the list, and closed. */
static void
close_locked(struct ports *p, struct port **at)
{
	struct port *q = *at;

	*at = q->next;
	p->nopen -= q->nfds;
	while (q->nfds > 0)
		close(q->fd[--q->nfds]);
	pthread_cond_broadcast(&p->closed);
	if (q->refs == 0 && q->callers == 0)
		free(q);
}

/* Accepting. */

/* A caller for q, if it may have another. NULL, or what to log. */
static const char *
admit(struct port *q)
{
	const struct daemon_conf *conf = &q->ports->d->conf;
	struct ports *p = q->ports;
	const char *full;

	pthread_mutex_lock(&p->mtx);
	full = q->callers >= conf->port_callers || q->refs == 0 ? "port_full" :
	    p->ncallers >= conf->port_callers_all ? "ports_full" : NULL;
	if (full == NULL) {
		q->callers++;
		p->ncallers++;
	}
	pthread_mutex_unlock(&p->mtx);
	return full;
}

/* No stream for this one: it sees a reset, as from a port where nobody listens. */
static void
turn_away(int fd, const struct port *q, const char *event)
{
	char number[8];
	struct conn c;

	snprintf(number, sizeof(number), "%u", q->number);
	log_line(LOG_WARN, event, "for", "port", "port", number, (char *)NULL);
	conn_plain(&c, fd);
	conn_reset_on_close(&c);
	conn_close(&c);
}

static void
hand_over(struct port *q, int fd, const struct sockaddr_storage *peer)
{
	struct daemon *d = q->ports->d;
	struct port_job *j;
	const char *full;

	if ((full = admit(q)) != NULL) {
		turn_away(fd, q, full);
		return;
	}
	if ((j = malloc(sizeof(*j))) != NULL) {
		j->d = d;
		j->port = q;
		j->fd = fd;
		j->peer = *peer;
		daemon_arriving(d, 1);
		if (workers_run(d->workers, port_call, j) == 0)
			return;
		daemon_arriving(d, -1);
		free(j);
	}
	turn_away(fd, q, "no_thread");
	port_left(q);
}

static void
accept_some(struct port *q, int listener)
{
	struct sockaddr_storage peer;
	int fd = -1, i;

	for (i = 0; i < AT_ONCE && (fd = net_accept(listener, &peer)) != -1; i++)
		hand_over(q, fd, &peer);
	if (fd == -1)
		daemon_accept_failed();
}

/* Close what nobody holds, and list what is to be polled: how many, from the third on. */
static nfds_t
gather(struct ports *p)
{
	struct port **at = &p->first, *q;
	nfds_t n = 2;
	int i;

	wake_clear(&p->wake);
	pthread_mutex_lock(&p->mtx);
	while ((q = *at) != NULL) {
		if (q->refs == 0) {
			close_locked(p, at);
			continue;
		}
		for (i = 0; i < q->nfds; i++, n++) {
			p->pfd[n].fd = q->fd[i];
			p->pfd[n].events = POLLIN;
			p->of[n] = q;
		}
		at = &q->next;
	}
	pthread_mutex_unlock(&p->mtx);
	return n;
}

static void *
acceptor(void *arg)
{
	struct ports *p = arg;
	struct daemon *d = p->d;
	nfds_t n, i;

	p->pfd[0].fd = p->wake.rd;
	p->pfd[1].fd = d->rest.rd;
	p->pfd[0].events = p->pfd[1].events = POLLIN;
	while (daemon_draining(d) == 0) {
		n = gather(p);
		if (poll(p->pfd, n, -1) <= 0)
			continue;
		for (i = 2; i < n && daemon_draining(d) == 0; i++)
			if (p->pfd[i].revents != 0)
				accept_some(p->of[i], p->pfd[i].fd);
	}
	pthread_mutex_lock(&p->mtx);
	p->ended = 1;
	while (p->first != NULL)
		close_locked(p, &p->first);
	pthread_mutex_unlock(&p->mtx);
	daemon_accepting(d, -1);
	return NULL;
}

int
ports_start(struct ports *p)
{
	int err;

	daemon_accepting(p->d, 1);
	if ((err = thread_start(STACK_SIZE, acceptor, p)) != 0)
		daemon_accepting(p->d, -1);
	return err;
}

/* Opening. */

static void
close_all(const int *fd, int n)
{
	int saved = errno;

	while (n > 0)
		close(fd[--n]);
	errno = saved;
}

/* Bind number everywhere it belongs. How many sockets, or -1 with errno. */
static int
bind_all(const struct ports *p, unsigned number, int public, int fd[NET_LISTEN_MAX])
{
	struct sockaddr_storage loopback;
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&loopback;
	int i, n = 0, want = public ? p->d->conf.nbind : 1;

	memset(&loopback, 0, sizeof(loopback));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (i = 0; i < want; i++) {
		if ((fd[n] = net_listen_at(public ? &p->d->conf.bind[i] : &loopback, number)) != -1)
			n++;
		else if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) {	/* a machine may lack IPv6 */
			close_all(fd, n);
			return -1;
		}
	}
	return n > 0 ? n : -1;
}

static struct port *
new_port(struct ports *p, unsigned number, int public, const int *fd, int n)
{
	struct port *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return NULL;
	q->lease.end = end_lease;
	q->ports = p;
	q->number = number;
	q->public = public;
	memcpy(q->fd, fd, (size_t)n * sizeof(*fd));
	q->nfds = n;
	q->refs = 1;
	return q;
}

/* 0; or -1 with errno, for the same number may have come meanwhile. */
static int
add(struct ports *p, struct port *q)
{
	int err = 0;

	pthread_mutex_lock(&p->mtx);
	if (p->ended)
		err = ESHUTDOWN;
	else if (p->nopen + q->nfds > p->d->conf.ports_max)
		err = ENFILE;
	else if (find_locked(p, q->number) != NULL)
		err = EADDRINUSE;
	else {
		q->next = p->first;
		p->first = q;
		p->nopen += q->nfds;
	}
	pthread_mutex_unlock(&p->mtx);
	wake_post(&p->wake);
	errno = err;
	return err != 0 ? -1 : 0;
}

/*
 * One more lease of a port that is open, be it about to be closed. NULL with errno: 0, it is not; EEXIST, it is bound elsewhere.
 * Waits only for one that is being closed and is in the way: a session's reader may be here.
 */
static struct port *
share_open(struct ports *p, unsigned number, int public)
{
	struct timespec until;
	struct port *q;
	int late = 0;

	deadline_in(&until, CLOSE_MS);
	pthread_mutex_lock(&p->mtx);
	while ((q = find_locked(p, number)) != NULL && q->refs == 0 && q->public != public && !late)
		late = pthread_cond_timedwait(&p->closed, &p->mtx, &until) != 0;
	errno = q == NULL ? 0 : EEXIST;
	if (q != NULL && q->public != public)
		q = NULL;
	if (q != NULL)
		q->refs++;
	pthread_mutex_unlock(&p->mtx);
	return q;
}

static struct port *
open_port(struct ports *p, unsigned number, int public)
{
	struct port *q = share_open(p, number, public);
	int fd[NET_LISTEN_MAX], n;

	if (q != NULL || errno != 0)
		return q;
	if ((n = bind_all(p, number, public, fd)) == -1)
		return NULL;
	if ((q = new_port(p, number, public, fd, n)) != NULL && add(p, q) == 0)
		return q;
	close_all(fd, n);
	free(q);
	return NULL;
}

/* The next one of the pool that is free. NULL with errno. */
static struct port *
open_any(struct ports *p, int public)
{
	const char *pool = p->d->conf.ports;
	unsigned first, number;
	struct port *q = NULL;
	int taken;

	pthread_mutex_lock(&p->mtx);
	first = p->last;
	pthread_mutex_unlock(&p->mtx);
	number = first;
	do {
		if ((number = scope_next_port(pool, number)) == 0 && (number = scope_next_port(pool, 0)) == 0)
			break;
		pthread_mutex_lock(&p->mtx);
		taken = find_locked(p, number) != NULL;
		p->last = number;
		pthread_mutex_unlock(&p->mtx);
		errno = EADDRINUSE;
		if (!taken)
			q = open_port(p, number, public);
	} while (q == NULL && (errno == EADDRINUSE || errno == EEXIST || errno == EACCES) && number != first &&
	    (first != 0 || scope_next_port(pool, number) != 0));
	return q;
}

/* One that is free, as the system chooses it. NULL with errno. */
static struct port *
open_free(struct ports *p)
{
	struct sockaddr_storage at;
	struct port *q = NULL;
	int fd[NET_LISTEN_MAX], n = bind_all(p, 0, 0, fd);

	if (n == -1)
		return NULL;
	net_local(fd[0], &at);
	q = new_port(p, ntohs(((struct sockaddr_in *)(void *)&at)->sin_port), 0, fd, n);
	if (q != NULL && add(p, q) == 0)
		return q;
	close_all(fd, n);
	free(q);
	return NULL;
}

/* Takeover. */

struct lease *
port_adopt(struct ports *p, unsigned number, int public, const int *fd, int n)
{
	struct port *q = new_port(p, number, public, fd, n);

	if (q != NULL && add(p, q) == 0)
		return &q->lease;
	free(q);
	return NULL;
}

int
port_sockets(struct ports *p, unsigned number, int *public, int fd[NET_LISTEN_MAX])
{
	struct port *q;
	int i, n = 0;

	pthread_mutex_lock(&p->mtx);
	if ((q = find_locked(p, number)) != NULL && q->refs > 0) {
		*public = q->public;
		for (i = 0; i < q->nfds; i++)
			if ((fd[n] = fcntl(q->fd[i], F_DUPFD_CLOEXEC, 0)) != -1)
				n++;
	}
	pthread_mutex_unlock(&p->mtx);
	return n;
}

/* Registering. */

/* May s have what it wants? NULL, or a code and a message. */
static const char *
check(struct daemon *d, const struct session *s, const struct port_want *w, char message[PORT_MESSAGE_MAX])
{
	const char *code = "forbidden", *why = NULL;

	if (d->ports == NULL)
		why = "this daemon offers no TCP ports";
	else if (w->number > 65535)
		code = "bad_port", why = "a port is a number from 1 to 65535, or 0 for any of the pool";
	else if (w->number == 0 && d->conf.ports[0] == '\0' && !w->any)
		why = "this daemon has no pool of ports: name one, or have its operator start it with --ports";
	else if (w->number != 0 && !scope_has_port(s->identity.scope, w->number))
		why = "the scope does not hold this port";
	else if (w->public && d->conf.nbind == 0)
		why = "this daemon binds ports to loopback only; its operator makes public ones possible with --ports-bind";
	else if (w->guard != NULL && w->guard->nusers > 0)
		code = "bad_guard", why = "callers of a TCP port have no user and password";
	if (why == NULL)
		return NULL;
	snprintf(message, PORT_MESSAGE_MAX, "%s", why);
	return code;
}

/* What errno means for whoever wanted the port. */
static const char *
explain(const struct port_want *w, char message[PORT_MESSAGE_MAX])
{
	static const struct {
		int err;
		const char *code, *text;
	} table[] = {
		{ EADDRINUSE, "port_in_use", "another program of the daemon's machine has it" },
		{ EEXIST, "port_in_use", "another tunnel has it" },
		{ EACCES, "forbidden", "the daemon may not bind it: below 1024 that is root's, which it has given up" },
		{ EPERM, "forbidden", "the daemon may not bind it" },
		{ ENFILE, "limit", "the daemon holds as many ports open as it may" },
		{ EMFILE, "limit", "the daemon has no descriptors left" },
		{ ESHUTDOWN, "limit", "the daemon is shutting down" },
		{ ENOMEM, "limit", "the daemon has no memory left" },
	};
	int err = errno;
	size_t i = 0;

	while (i < sizeof(table) / sizeof(table[0]) && table[i].err != err)
		i++;
	if (i == sizeof(table) / sizeof(table[0])) {
		snprintf(message, PORT_MESSAGE_MAX, "the daemon cannot bind it: %s", strerror(err));
		return "port_in_use";
	}
	if (err == EADDRINUSE && w->number == 0) {
		snprintf(message, PORT_MESSAGE_MAX, "every port of the pool is taken");
		return "limit";
	}
	snprintf(message, PORT_MESSAGE_MAX, "%s", table[i].text);
	return table[i].code;
}

/* The port, open. One of the pool is the same as before, if the client has only come back. */
static struct port *
open_wanted(struct daemon *d, struct session *s, const struct port_want *w)
{
	char name[NAME_LEN_MAX + 1];
	struct port *q;
	unsigned number = w->number;

	if (number == 0 && w->again != 0 && (q = open_port(d->ports, w->again, w->public)) != NULL)
		return q;
	if (number == 0 && (!registry_again(d->registry, s, w->id, name) || !port_name(name, &number)))
		return d->conf.ports[0] == '\0' ? open_free(d->ports) : open_any(d->ports, w->public);
	q = open_port(d->ports, number, w->public);
	if (q == NULL && errno == EEXIST) {	/* our own, bound elsewhere: it makes room, another's does not */
		snprintf(name, sizeof(name), "%s%u", prefix, number);
		registry_oust(d->registry, s, name);
		q = open_port(d->ports, number, w->public);
	}
	return q;
}

static const char *
refused(enum listen_result rc, const char *held, char message[PORT_MESSAGE_MAX])
{
	if (rc == LISTEN_IN_USE)
		snprintf(message, PORT_MESSAGE_MAX, "held by %s", held);
	else
		snprintf(message, PORT_MESSAGE_MAX, "%s", rc == LISTEN_LIMIT ?
		    "this session holds as many tunnels as it may" : "the daemon has no memory left");
	return rc == LISTEN_IN_USE ? "port_in_use" : "limit";
}

const char *
port_listen(struct daemon *d, struct session *s, struct port_want *w, struct port_got *got, char message[PORT_MESSAGE_MAX])
{
	struct listen want = { w->id, got->name, 0, w->share, w->guard, NULL, NULL, NULL, w->number == 0 };
	char url[NAME_LEN_MAX + 16], held[64];
	enum listen_result rc;
	struct port *q;
	const char *code;

	if ((code = check(d, s, w, message)) == NULL && (q = open_wanted(d, s, w)) == NULL)
		code = explain(w, message);
	if (code != NULL) {
		free(w->guard);
		return code;
	}
	got->number = q->number;
	snprintf(got->name, sizeof(got->name), "%s%u", prefix, q->number);
	if (w->public)
		snprintf(got->addr, sizeof(got->addr), "%.*s:%u", (int)w->host.len, w->host.p, q->number);
	else
		snprintf(got->addr, sizeof(got->addr), "127.0.0.1:%u", q->number);
	snprintf(url, sizeof(url), "tcp://%s", got->addr);
	want.url = url;
	want.lease = &q->lease;
	rc = registry_listen(d->registry, s, &want, held);
	if (rc == LISTEN_OK)
		return NULL;
	end_lease(&q->lease);
	if (rc == LISTEN_IN_USE && w->number == 0 && w->again != 0) {	/* it is another's by now */
		w->again = 0;
		return port_listen(d, s, w, got, message);
	}
	return refused(rc, held, message);
}
