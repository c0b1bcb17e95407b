/* takeover.c: a new daemon in place of the running one; see takeover.h. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "json.h"
#include "log.h"
#include "pipegatemsg.h"
#include "ports.h"
#include "proxymap.h"
#include "takeover.h"

enum {
	STEP_MS = 10000,	/* for the other side's next step */
	HOLD_MS = 10000,	/* a client on its way has its names kept at least so long, however short the grace is */
	NODES = 32,		/* JSON values in a line */
	NAMES_MAX = 1 << 20
};

struct line {			/* an object that has come */
	struct json j;
	struct json_node node[NODES];
	char text[TAKEOVER_LINE], op[16];
};

union rights {			/* one descriptor in a message, aligned as it must be */
	struct cmsghdr h;
	char space[CMSG_SPACE(sizeof(int))];
};

/* Talking. */

/* Read into t->in, a byte at a time while descriptors may come: so each is known by the line that it comes with. */
static ssize_t
receive(struct takeover *t, size_t max)
{
	union rights r;
	struct msghdr m;
	struct cmsghdr *h;
	struct iovec iov;
	ssize_t n;

	memset(&m, 0, sizeof(m));
	memset(&r, 0, sizeof(r));
	iov.iov_base = t->in + t->len;
	iov.iov_len = max;
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	m.msg_control = r.space;
	m.msg_controllen = sizeof(r.space);
	if ((n = recvmsg(t->conn.fd, &m, 0)) == -1 || (h = CMSG_FIRSTHDR(&m)) == NULL)
		return n;
	if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int))) {
		if (t->fd != -1)
			close(t->fd);
		memcpy(&t->fd, CMSG_DATA(h), sizeof(int));
		if (net_flags(t->fd) == 0)
			return n;
	}
	errno = EPROTO;
	return -1;
}

static int64_t
step_end(void)
{
	return clock_ms(CLOCK_STEADY) + STEP_MS;
}

/* The next line, by deadline. 1; 0: the other side is no more; -1 with errno. fds: descriptors may come. */
static int
next_line(struct takeover *t, struct line *l, int fds, int64_t deadline)
{
	const char *why;
	char *nl;
	size_t len;
	ssize_t n;

	while ((nl = memchr(t->in + t->at, '\n', t->len - t->at)) == NULL) {
		memmove(t->in, t->in + t->at, t->len - t->at);
		t->len -= t->at;
		t->at = 0;
		errno = EPROTO;
		if (t->len == sizeof(t->in))
			return -1;
		n = receive(t, fds ? 1 : sizeof(t->in) - t->len);
		if (n == 0 || (n == -1 && errno == ECONNRESET))
			return 0;
		if (n > 0)
			t->len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return -1;
		else if (conn_wait(&t->conn, POLLIN, deadline, -1, NULL) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	len = (size_t)(nl - (t->in + t->at));
	memcpy(l->text, t->in + t->at, len);
	t->at += len + 1;
	errno = EPROTO;
	if (json_parse(&l->j, l->node, NODES, l->text, len, &why) == -1 ||
	    json_get_str(&l->j, 0, "op", l->op, sizeof(l->op)) != 1)
		return -1;
	return 1;
}

/* Wait for the object op; others are not known. 1; 0: the other side is no more; -1 with errno. */
static int
await(struct takeover *t, struct line *l, const char *op)
{
	int64_t deadline = step_end();
	int rc;

	while ((rc = next_line(t, l, 0, deadline)) == 1 && strcmp(l->op, op) != 0)
		;
	return rc;
}

/* Send a line, and with its first byte fd (-1: none). 0, or -1 with errno. */
static int
say(struct takeover *t, struct buf *b, int fd)
{
	int64_t deadline = step_end();
	union rights r;
	struct msghdr m;
	struct iovec iov;
	ssize_t n = 0;

	buf_str(b, "}\n");
	errno = EMSGSIZE;
	if (b->full)
		return -1;
	memset(&m, 0, sizeof(m));
	memset(&r, 0, sizeof(r));
	iov.iov_base = b->p;
	iov.iov_len = 1;
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	m.msg_control = r.space;
	m.msg_controllen = sizeof(r.space);
	r.h.cmsg_level = SOL_SOCKET;
	r.h.cmsg_type = SCM_RIGHTS;
	r.h.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&r.h), &fd, sizeof(int));
	while (fd != -1 && (n = sendmsg(t->conn.fd, &m, MSG_NOSIGNAL)) == -1) {
		if (errno != EAGAIN && errno != EINTR)
			return -1;
		if (conn_wait(&t->conn, POLLOUT, deadline, -1, NULL) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
	return conn_write_all(&t->conn, b->p + n, b->len - (size_t)n, deadline);
}

static void
begin(struct buf *b, char text[TAKEOVER_LINE], const char *op)
{
	buf_init(b, text, TAKEOVER_LINE);
	buf_str(b, "{");
	json_put_member(b, "op", op);
}

static int
say_op(struct takeover *t, const char *op)
{
	char text[TAKEOVER_LINE];
	struct buf b;

	begin(&b, text, op);
	return say(t, &b, -1);
}

static void
put_bool(struct buf *b, const char *name, int value)
{
	json_put_name(b, name);
	buf_str(b, value ? "true" : "false");
}

/* The running daemon. */

static int
give_sockets(struct daemon *d, struct takeover *t)
{
	char text[TAKEOVER_LINE];
	struct buf b;
	int i;

	for (i = 0; i < t->n; i++) {
		begin(&b, text, "socket");
		json_put_member(&b, "kind", t->have[i].connect ? "proxy" : "public");
		put_bool(&b, "tls", t->have[i].tls);
		put_bool(&b, "ssh", t->have[i].ssh);
		put_bool(&b, "any", t->have[i].any);
		put_bool(&b, "given", t->have[i].given);
		if (say(t, &b, t->have[i].fd) == -1)
			return -1;
	}
	begin(&b, text, "socket");
	json_put_member(&b, "kind", "control");
	if (say(t, &b, d->control) == -1)
		return -1;
	return say_op(t, "offer");
}

/* How long the new daemon is to wait for who has it: a client that cannot be in two places comes only when its exchanges are done. */
static int64_t
hold_ms(const struct daemon_conf *conf, const struct tunnel_status *s)
{
	int64_t ms = conf->grace_ms > HOLD_MS ? conf->grace_ms : HOLD_MS;

	if (s->lost)
		return s->left > 0 ? s->left : 0;
	return s->whole ? ms + conf->drain_ms : ms;
}

/* The sockets of the raw ports among them. */
static int
give_ports(struct daemon *d, struct takeover *t, const struct tunnel_status *s, size_t n)
{
	char text[TAKEOVER_LINE];
	int fd[NET_LISTEN_MAX], public, k, rc = 0;
	unsigned number;
	struct buf b;
	size_t i;

	for (i = 0; i < n && rc == 0 && d->ports != NULL; i++) {
		if (s[i].brief || !port_name(s[i].name, &number))
			continue;
		for (k = port_sockets(d->ports, number, &public, fd); k > 0; close(fd[--k])) {
			begin(&b, text, "port");
			json_put_name(&b, "port");
			buf_u64(&b, number);
			put_bool(&b, "public", public);
			if (rc == 0)
				rc = say(t, &b, fd[k - 1]);
		}
	}
	return rc;
}

/* Whose listen a name was chosen for. */
static void
put_any(struct buf *b, const struct tunnel_status *s)
{
	if (!s->any)
		return;
	put_bool(b, "any", 1);
	json_put_member(b, "instance", s->instance);
	json_put_name(b, "id");
	buf_u64(b, s->listen_id);
}

static int
give_names(struct daemon *d, struct takeover *t)
{
	struct tunnel_status *s = NULL;
	char text[TAKEOVER_LINE];
	size_t n, have, i;
	struct buf b;
	int rc = 0;

	if ((n = registry_status(d->registry, NULL, 0)) == 0)
		return 0;
	if ((s = calloc(n, sizeof(*s))) == NULL)
		return -1;
	have = registry_status(d->registry, s, n);	/* one may have come meanwhile: it is told with the rest */
	if (have > n)
		have = n;
	rc = give_ports(d, t, s, have);
	for (i = 0; i < have && rc == 0; i++) {
		if (s[i].brief)		/* nobody comes for it */
			continue;
		begin(&b, text, "name");
		json_put_member(&b, "name", s[i].name);
		json_put_member(&b, "who", s[i].who);
		json_put_member(&b, "dialect", s[i].dialect);
		put_bool(&b, "path", s[i].path);
		put_bool(&b, "lost", s[i].lost);
		json_put_name(&b, "ms");
		buf_u64(&b, (unsigned long long)hold_ms(&d->conf, &s[i]));
		put_any(&b, &s[i]);
		rc = say(t, &b, -1);
	}
	free(s);
	return rc;
}

/* An entry of the proxy's map, with so many bytes of its fields. 1 if it fits into a line. */
static int
put_map(struct buf *b, char text[TAKEOVER_LINE], const char *key, const struct proxymap_hit *hit, const char *to, size_t nfields)
{
	begin(b, text, "map");
	json_put_member(b, "key", key);
	json_put_member(b, "name", hit->name);
	json_put_member(b, "who", hit->who);
	json_put_member(b, "to", to);
	json_put_name(b, "fields");
	json_put_str(b, hit->fields.p, nfields);
	return !b->full && b->len + 2 < TAKEOVER_LINE;	/* what say puts behind it */
}

/* Which of them the proxy's hosts and ports lead to. Fields that do not fit into a line come with the client, but its domain leads nowhere else. */
static int
give_map(struct daemon *d, struct takeover *t)
{
	char text[TAKEOVER_LINE], key[PROXYMAP_TEXT_MAX], *to;
	struct proxymap_hit hit;
	struct buf b;
	int i, rc = 0, there = 1;

	for (i = 0; rc == 0 && (there = proxymap_at(d->proxymap, i, key, &hit, &to)) == 1; i++) {
		if (put_map(&b, text, key, &hit, to, hit.fields.len) || put_map(&b, text, key, &hit, to, 0) || put_map(&b, text, key, &hit, "", 0))
			rc = say(t, &b, -1);
		free((char *)(uintptr_t)hit.fields.p);
		free(hit.who);
		free(to);
	}
	return there == -1 ? -1 : rc;
}

/* Everything up to the moment when the other accepts. 1 and its process id; 0: it is no more; -1 with errno. */
static int
offer(struct daemon *d, struct takeover *t, long *pid)
{
	struct line l;
	int64_t n = 0;
	int rc;

	if (give_sockets(d, t) == -1)
		return -1;
	if ((rc = await(t, &l, "ready")) != 1)
		return rc;
	if (json_get_int(&l.j, 0, "pid", 1, LONG_MAX, &n) == 1)
		*pid = (long)n;
	if (give_names(d, t) == -1 || give_map(d, t) == -1 || say_op(t, "go") == -1)
		return -1;
	return await(t, &l, "taken");
}

static void
refuse(struct takeover *t, const char *reason)
{
	char text[TAKEOVER_LINE];
	struct buf b;

	log_line(LOG_WARN, "takeover_failed", "reason", reason, (char *)NULL);
	begin(&b, text, "refused");
	json_put_member(&b, "reason", reason);
	say(t, &b, -1);
}

void
takeover_give(struct daemon *d, struct conn *c)
{
	struct takeover *t = calloc(1, sizeof(*t));
	char text[24];
	long pid = 0;
	int rc = -1, err;

	if (t == NULL) {
		log_line(LOG_WARN, "takeover_failed", "reason", "no memory", (char *)NULL);
		return;
	}
	t->conn = *c;
	t->fd = -1;
	if (!daemon_draining(d) && (t->n = daemon_listeners(d, t->have)) >= 0)
		rc = offer(d, t, &pid);
	err = errno;
	if (rc == 1 ? !daemon_move(d) : daemon_draining(d))
		refuse(t, "this daemon is stopping");
	else if (rc != 1)
		refuse(t, rc == 0 ? "the new daemon has gone" : strerror(err));
	else {
		snprintf(text, sizeof(text), "%ld", pid);
		log_line(LOG_INFO, "handed_over", "pid", text, (char *)NULL);
		/* who has registered between "go" and now; if the new one is gone there is nobody to tell */
		if (give_names(d, t) == 0)
			say_op(t, "done");
		d->handed(pid);
	}
	takeover_drop(t);
	free(t);
}

/* The new daemon. */

int
takeover_find(struct takeover *t, const struct daemon_listener *like, const struct sockaddr *want)
{
	struct sockaddr_storage ss;
	int i, fd;

	for (i = 0; i < t->n; i++) {
		if (t->have[i].fd == -1 || (net_any_port(want) && (!t->have[i].any || t->have[i].tls != like->tls ||
		    t->have[i].connect != like->connect || t->have[i].ssh != like->ssh)))
			continue;
		net_local(t->have[i].fd, &ss);
		if (!net_same(&ss, want))
			continue;
		fd = t->have[i].fd;
		t->have[i].fd = -1;
		return fd;
	}
	return -1;
}

void
takeover_drop(struct takeover *t)
{
	int i;

	for (i = 0; i < t->n; i++)
		if (t->have[i].fd != -1)
			close(t->have[i].fd);
	t->n = 0;
	if (t->fd != -1)
		close(t->fd);
	t->fd = -1;
}

/* A socket has come with this line. 0, or -1: it is none that may come. */
static int
take_socket(struct takeover *t, const struct line *l)
{
	struct daemon_listener *at = &t->have[t->n];
	char kind[16];
	int family = t->fd != -1 ? net_listens(t->fd) : -1;

	if (json_get_str(&l->j, 0, "kind", kind, sizeof(kind)) != 1)
		return -1;
	if (strcmp(kind, "control") == 0 && family == AF_UNIX && t->control == -1)
		t->control = t->fd;
	else if ((strcmp(kind, "public") == 0 || strcmp(kind, "proxy") == 0) && (family == AF_INET || family == AF_INET6) && t->n < LISTENERS_MAX) {
		memset(at, 0, sizeof(*at));
		at->connect = kind[1] == 'r';
		if (json_get_bool(&l->j, 0, "tls", &at->tls) == -1 || json_get_bool(&l->j, 0, "ssh", &at->ssh) == -1 ||
		    json_get_bool(&l->j, 0, "any", &at->any) == -1 ||
		    json_get_bool(&l->j, 0, "given", &at->given) == -1)
			return -1;
		at->fd = t->fd;
		t->n++;
	} else
		return -1;
	t->fd = -1;
	return 0;
}

/* What it means that the conversation is over: rc as from next_line. */
static void
explain(int rc, const struct line *l, char *why, size_t whylen)
{
	char reason[200];

	if (rc == 1 && strcmp(l->op, "refused") == 0) {
		if (json_get_str(&l->j, 0, "reason", reason, sizeof(reason)) != 1)
			reason[0] = '\0';
		snprintf(why, whylen, "it refused: %s", reason);
	} else if (rc == 0)
		snprintf(why, whylen, "it has gone");
	else if (rc == -1 && errno == EPROTO)
		snprintf(why, whylen, "it does not know how; stop it, and start without --takeover");
	else
		snprintf(why, whylen, "%s", rc == -1 ? strerror(errno) : "it sent too much");
}

int
takeover_ask(struct takeover *t, const char *state, char *why, size_t whylen)
{
	int64_t deadline = step_end();
	char path[CONTROL_PATH_MAX];
	enum net_fail fail;
	struct line l;
	int fd, rc;

	memset(t, 0, sizeof(*t));
	t->fd = t->control = -1;
	errno = ENAMETOOLONG;
	if (control_path(path, state) == -1 || (fd = net_dial_unix(path, &fail)) == -1) {
		snprintf(why, whylen, "%s", strerror(errno));
		return -1;
	}
	conn_plain(&t->conn, fd);
	if (conn_write_all(&t->conn, "takeover\n", 9, deadline) == -1) {
		snprintf(why, whylen, "%s", strerror(errno));
		errno = EPROTO;
		return -1;
	}
	while ((rc = next_line(t, &l, 1, deadline)) == 1 && strcmp(l.op, "offer") != 0) {
		if (strcmp(l.op, "refused") == 0)
			break;
		if (strcmp(l.op, "socket") == 0 && take_socket(t, &l) == -1) {
			errno = EPROTO;
			rc = -1;
			break;
		}
	}
	if (rc == 1 && strcmp(l.op, "offer") == 0 && t->n > 0 && t->control != -1)
		return 0;
	if (rc == 1 && strcmp(l.op, "offer") == 0)
		snprintf(why, whylen, "it has no sockets to give");
	else
		explain(rc, &l, why, whylen);
	errno = EPROTO;
	return -1;
}

/* A socket of a raw port has come with this line. 0, or -1: it is none. */
static int
take_port(struct takeover *t, const struct daemon *d, const struct line *l)
{
	int family = t->fd != -1 ? net_listens(t->fd) : -1, public = 0, i;
	int64_t number;
	void *more;

	if (json_get_int(&l->j, 0, "port", 1, 65535, &number) != 1 || json_get_bool(&l->j, 0, "public", &public) == -1 ||
	    (family != AF_INET && family != AF_INET6))
		return -1;
	for (i = t->nports - 1; i >= 0 && t->port[i].number != (unsigned)number; i--)
		;
	if (i == -1 && t->nports < d->conf.ports_max &&
	    (more = realloc(t->port, (size_t)(t->nports + 1) * sizeof(*t->port))) != NULL) {
		t->port = more;
		i = t->nports++;
		t->port[i].number = (unsigned)number;
		t->port[i].public = public;
		t->port[i].n = 0;
	}
	if (i == -1 || t->port[i].n == NET_LISTEN_MAX)
		close(t->fd);		/* there is no room for it: the port is bound anew when its client comes */
	else
		t->port[i].fd[t->port[i].n++] = t->fd;
	t->fd = -1;
	return 0;
}

static void
drop_ports(struct takeover *t)
{
	for (; t->nports > 0; t->nports--)
		while (t->port[t->nports - 1].n > 0)
			close(t->port[t->nports - 1].fd[--t->port[t->nports - 1].n]);
	free(t->port);
	t->port = NULL;
}

/* The sockets that have come for this port, open from now on. NULL: none have, or it is open already. */
static struct lease *
adopt(struct takeover *t, struct daemon *d, unsigned number)
{
	struct lease *lease;
	int i;

	for (i = 0; i < t->nports && (t->port[i].number != number || t->port[i].n == 0); i++)
		;
	if (i == t->nports)
		return NULL;
	lease = port_adopt(d->ports, number, t->port[i].public, t->port[i].fd, t->port[i].n);
	if (lease != NULL)
		t->port[i].n = 0;
	return lease;
}

/* A name has come. How many were taken, 1 or 0. */
static int
take_name(struct takeover *t, struct daemon *d, const struct line *l)
{
	char name[NAME_LEN_MAX + 1], who[sizeof(((struct identity *)0)->who)], dialect[DIALECT_NAME_MAX] = "";
	char instance[INSTANCE_MAX + 1];
	struct hold h = { name, who, dialect, 0, 0, 0, NULL, 0, instance, 0 };
	unsigned number = 0;
	int lost = 0, taken;
	int64_t id;

	if (json_get_str(&l->j, 0, "name", name, sizeof(name)) != 1 ||
	    !(name_ok(name) || (name[0] == '/' && pipegate_id_ok(name + 1)) || (d->ports != NULL && port_name(name, &number))) ||
	    json_get_str(&l->j, 0, "who", who, sizeof(who)) != 1 ||
	    json_get_str(&l->j, 0, "dialect", dialect, sizeof(dialect)) == -1 ||	/* daemons that tell of none are older */
	    json_get_bool(&l->j, 0, "path", &h.path) == -1 ||
	    json_get_bool(&l->j, 0, "lost", &lost) == -1 || json_get_int(&l->j, 0, "ms", 0, INT_MAX, &h.ms) != 1)
		return 0;
	if (json_get_bool(&l->j, 0, "any", &h.any) != 1 || json_get_int(&l->j, 0, "id", 0, UINT32_MAX, &id) != 1 ||
	    json_get_str(&l->j, 0, "instance", instance, sizeof(instance)) != 1) {
		h.any = 0;
		id = 0;
		instance[0] = '\0';
	}
	h.listen_id = (uint32_t)id;
	h.moving = !lost;
	h.lease = number != 0 ? adopt(t, d, number) : NULL;
	if (!(taken = registry_hold(d->registry, &h)) && h.lease != NULL)
		h.lease->end(h.lease);
	return taken;
}

static int
is_nobodys(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return 0;
}

static void
take_map(struct daemon *d, const struct line *l)
{
	char key[PROXYMAP_TEXT_MAX], name[PORT_NAME_MAX], who[sizeof(((struct identity *)0)->who)], to[TAKEOVER_LINE], fields[TAKEOVER_LINE];
	struct proxymap_set s = { key, name, who, to, { fields, 0 } };
	unsigned number;

	if (json_get_str(&l->j, 0, "key", key, sizeof(key)) != 1 || json_get_str(&l->j, 0, "name", name, sizeof(name)) != 1 ||
	    json_get_str(&l->j, 0, "who", who, sizeof(who)) != 1 || json_get_str(&l->j, 0, "to", to, sizeof(to)) != 1 ||
	    json_get_str(&l->j, 0, "fields", fields, sizeof(fields)) != 1 ||
	    (!port_name(name, &number) && strcmp(name, proxymap_nowhere) != 0))
		return;
	s.fields.len = strlen(fields);
	proxymap_set(d->proxymap, &s, is_nobodys, NULL);
}

/* Take names until the object op. 0, the other side may be no more then; or -1 and why. */
static int
take_names(struct takeover *t, struct daemon *d, const char *op, char *why, size_t whylen)
{
	struct line l;
	int rc, n = 0, ports = 1, saved;

	while ((rc = next_line(t, &l, ports, step_end())) == 1 && strcmp(l.op, op) != 0) {
		if (strcmp(l.op, "refused") == 0 || n++ == NAMES_MAX)
			break;
		if (strcmp(l.op, "port") == 0 && take_port(t, d, &l) == -1) {
			errno = EPROTO;
			rc = -1;
			break;
		}
		if (strcmp(l.op, "name") == 0) {
			ports = 0;	/* they come first */
			t->names += take_name(t, d, &l);
		}
		if (strcmp(l.op, "map") == 0)
			take_map(d, &l);
	}
	saved = errno;
	drop_ports(t);
	errno = saved;
	if (rc == 0)
		t->alone = 1;
	if (rc == 0 || (rc == 1 && strcmp(l.op, op) == 0))
		return 0;
	explain(rc, &l, why, whylen);
	return -1;
}

int
takeover_go(struct takeover *t, struct daemon *d, char *why, size_t whylen)
{
	char text[TAKEOVER_LINE];
	struct buf b;

	begin(&b, text, "ready");
	json_put_name(&b, "pid");
	buf_u64(&b, (unsigned long long)getpid());
	if (say(t, &b, -1) == -1 && errno != EPIPE && errno != ECONNRESET) {
		snprintf(why, whylen, "%s", strerror(errno));
		return -1;
	}
	/* it may have said why before it went */
	return take_names(t, d, "go", why, whylen);
}

int
takeover_taken(struct takeover *t, struct daemon *d, char *why, size_t whylen)
{
	char names[16];
	int rc = 0;

	if (!t->alone) {
		say_op(t, "taken");	/* if it is no more, or has thought better of it, reading tells */
		rc = take_names(t, d, "done", why, whylen);
	}
	if (rc == -1)
		return -1;
	conn_close(&t->conn);
	snprintf(names, sizeof(names), "%d", t->names);
	log_line(LOG_INFO, "takeover", "names", names, "old", t->alone ? "gone" : "drains", (char *)NULL);
	return 0;
}
