/* sshsess.c: a client's SSH connection as a session of the daemon; see sshsess.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "random.h"
#include "sha256.h"
#include "sshlink.h"
#include "sshsess.h"

enum {
	LATE = 3,		/* so many ping intervals without an answer: it is dead */
	ROUNDS_MS = 1000,	/* of the janitor, who is late by one as a matter of course: four */
	END_MS = 3000,		/* for the client to end, too, when it has been told to */
	/*
	 * New keys after so many bytes, which is before any client begins with them, ChaCha20's after 1 GiB: a Go program that begins while much is on
	 * its way to it deadlocks within its SSH; one that is asked to does not.
	 */
	REKEY = 512 << 20,
	WINDOW = 262144,	/* of every channel, bytes; --window is no less */
	WAIT_MS = 100,		/* for a handshake that is just ending */
	MESSAGE_MAX = 1 << 30	/* of its messages nothing is kept, however long they are */
};

static const char ident[] = "SSH-2.0-tunneld_" VERSION;

static struct sshsess *
sess_of(struct session *s)
{
	return (struct sshsess *)(void *)s;
}

static void
cut(struct sshsess *e)
{
	if (e->link != NULL)
		link_abort(e->link);
	else
		sshtcp_abort(e->tcp);
}

/* Tell the client why, and end. */
static void
bye(struct sshsess *e, int code, const char *reason)
{
	ssh_disconnect(e->ssh, SSH_BY_APPLICATION, reason);
	if (e->link != NULL)
		link_close(e->link, code, reason);
	pthread_mutex_lock(&e->d->ssh.mtx);
	if (e->ended == 0)
		e->ended = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&e->d->ssh.mtx);
}

/* It is no caller any more: one of the sessions from now on, or it has ended. */
static void
leave_callers(struct sshsess *e)
{
	if (e->session.counts)
		daemon_leave(e->d);
	e->session.counts = 0;
}

/* What the connection tells, in the reader. */

static int
on_auth(void *arg, struct str user, struct str blob)
{
	struct sshsess *e = arg;

	return e->ops->auth(e, user, blob);
}

static void
on_ready(void *arg)
{
	struct sshsess *e = arg;
	struct daemon *d = e->d;
	const char *why = e->ops->ready(e);

	if (why == NULL && registry_add(d->registry, &e->session) == -1)
		why = "too many sessions";
	if (why != NULL) {
		log_line(LOG_INFO, "refused", "dialect", e->session.dialect->name, "reason", why, "peer", e->session.peer, (char *)NULL);
		bye(e, WS_TRY_AGAIN, why);
		return;
	}
	limit_give(d->handshakes, &e->addr);
	leave_callers(e);
	pthread_mutex_lock(&d->ssh.mtx);
	e->ready = 1;
	e->pinged = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&d->ssh.mtx);
	log_line(LOG_INFO, "session_start", "dialect", e->session.dialect->name, "peer", e->session.peer,
	    "who", e->session.identity.who, (char *)NULL);
	if (daemon_draining(d))	/* since the connection came: the others have been told */
		bye(e, WS_GOING_AWAY, "shutting down");
}

static int
on_open(void *arg, struct stream *s, struct str type, struct str data)
{
	struct sshsess *e = arg;

	return e->ops->open != NULL && e->ready ? e->ops->open(e, s, type, data) : SSH_OPEN_PROHIBITED;
}

static int
on_request(void *arg, struct stream *s, struct str type, struct str data)
{
	struct sshsess *e = arg;

	return e->ops->request != NULL ? e->ops->request(e, s, type, data) : 0;
}

static void
on_global(void *arg, struct str name, struct str data, int want_reply)
{
	struct sshsess *e = arg;

	if (e->ready)		/* else it has been refused, and is told so */
		e->ops->global(e, name, data, want_reply);
}

static void
on_reply(void *arg, int ok, struct str data)
{
	struct sshsess *e = arg;

	(void)ok;		/* it is an answer, whatever it says */
	(void)data;
	pthread_mutex_lock(&e->mtx);
	e->answered++;
	pthread_mutex_unlock(&e->mtx);
}

static const struct ssh_ops ssh_ops = { NULL, on_auth, on_ready, on_open, on_request, on_global, on_reply };

static void
ping(struct sshsess *e)
{
	pthread_mutex_lock(&e->mtx);
	if (ssh_request(e->ssh, e->ops->ping, 1, NULL, 0) == 0)
		e->asked++;
	pthread_mutex_unlock(&e->mtx);
}

/* What the core asks of a session. */

struct stream *
sshsess_open(struct session *s, uint64_t *tally, int64_t deadline)
{
	struct stream *stream = ssh_open(sess_of(s)->ssh);

	(void)deadline;
	if (stream != NULL)
		ssh_tally(stream, tally);
	return stream;
}

int
sshsess_ask(struct session *s, struct stream *stream, const struct holder *h, const char *peer, const char *local)
{
	struct sshsess *e = sess_of(s);

	return e->ops->ask(e, stream, h, peer, local);
}

void
sshsess_gone(struct session *s, uint32_t listen_id, const char *code)
{
	struct sshsess *e = sess_of(s);

	if (e->ops->gone != NULL)
		e->ops->gone(e, listen_id, code);
	if (e->ops->regain == NULL || strcmp(code, "taken_over") != 0)
		return;
	pthread_mutex_lock(&e->d->ssh.mtx);
	e->deprived = 1;
	pthread_mutex_unlock(&e->d->ssh.mtx);
}

void
sshsess_end(struct session *s, int code, const char *reason)
{
	if (code == 0)
		cut(sess_of(s));
	else
		bye(sess_of(s), code, reason);
}

void
sshsess_tally(struct session *s, const uint64_t from[2], uint64_t to[2])
{
	ssh_tally_copy(sess_of(s)->ssh, from, to);
}

void
sshsess_free(struct session *s)
{
	struct sshsess *e = sess_of(s);

	if (e->ssh != NULL)
		ssh_unref(e->ssh);
	if (e->link != NULL)
		link_free(e->link);
	if (e->tcp != NULL)
		sshtcp_free(e->tcp);
	pthread_mutex_destroy(&e->mtx);
	e->ops->free(e);
}

/* The reader's life. */

static int
is_late(struct sshsess *e)
{
	int late;

	pthread_mutex_lock(&e->mtx);
	late = e->asked != e->answered;
	pthread_mutex_unlock(&e->mtx);
	return late;
}

static void
list(struct sshsess *e)
{
	struct daemon *d = e->d;

	e->session.counts = 1;
	pthread_mutex_lock(&d->ssh.mtx);
	e->began = clock_ms(CLOCK_STEADY);
	e->next = d->ssh.first;
	d->ssh.first = e;
	pthread_mutex_unlock(&d->ssh.mtx);
}

static void
unlist(struct sshsess *e)
{
	struct sshsess **p;

	pthread_mutex_lock(&e->d->ssh.mtx);
	for (p = &e->d->ssh.first; *p != e; p = &(*p)->next)
		;
	*p = e->next;
	pthread_mutex_unlock(&e->d->ssh.mtx);
}

/* In what the login has failed, where the connection itself says no more than that it has ended. */
static const char *
explain(struct sshsess *e, const char *why)
{
	if (ssh_said_bye(e->ssh) && !ssh_left(e->ssh))
		return why;
	switch (ssh_phase(e->ssh)) {
	case SSH_PHASE_KEX:
		return ssh_peer(e->ssh)[0] == '\0' ? why : "it left in the key exchange: it wants another host key";
	case SSH_PHASE_AUTH:
		if (ssh_forged(e->ssh))
			return "the signature was wrong: it names a key that is known here, and does not have it";
		return "it left without a login: it has no key that is known here";
	default:
		return why;
	}
}

static void
log_end(struct sshsess *e, int code, const char *why)
{
	char num[16];

	snprintf(num, sizeof(num), "%d", code);
	if (e->late)
		log_line(LOG_INFO, "login_late", "dialect", e->session.dialect->name, "peer", e->session.peer, (char *)NULL);
	if (e->ready)
		log_line(LOG_INFO, "session_end", "peer", e->session.peer, "who", e->session.identity.who,
		    "code", num, "reason", e->deaf ? "no answer to ping" : why, (char *)NULL);
	else
		log_line(LOG_INFO, "login_failed", "dialect", e->session.dialect->name, "peer", e->session.peer,
		    "reason", explain(e, why), (char *)NULL);
}

void
sshsess_run(struct session *s)
{
	struct sshsess *e = sess_of(s);
	const char *why;
	int code;

	if (e->link != NULL)
		code = link_run(e->link, &why);
	else {
		sshtcp_run(e->tcp, &why);
		code = WS_ABNORMAL;
	}
	if (ssh_left(e->ssh))	/* in order */
		code = WS_NORMAL;
	unlist(e);
	if (e->ready)
		registry_remove(e->d->registry, s, code == WS_NORMAL || code == WS_POLICY);
	else
		limit_give(e->d->handshakes, &e->addr);
	leave_callers(e);
	if (e->ops->over != NULL)
		e->ops->over(e);
	ssh_end(e->ssh);
	log_end(e, code, why);
	session_unref(e->d->registry, s);
}

/* Opening. */

static int
init(struct sshsess *e, struct daemon *d, const struct dialect *dialect, const struct sshsess_ops *ops, struct ssh_conf *conf)
{
	e->d = d;
	e->ops = ops;
	e->session.dialect = dialect;
	e->session.impl = e;
	e->session.since = clock_ms(CLOCK_WALL);
	e->session.refs = 1;
	pthread_mutex_init(&e->mtx, NULL);
	conf->trans.server = 1;
	conf->trans.ident = ident;
	conf->trans.random = random_bytes;
	conf->trans.rekey_bytes = REKEY;
	conf->channels_max = (int)d->conf.streams;
	conf->window = WINDOW;
	conf->window_more = (d->conf.window < SSH_WINDOW ? (uint32_t)d->conf.window : SSH_WINDOW) - WINDOW;
	conf->budget = &d->budget;
	return (e->ssh = ssh_new(conf, &ssh_ops, e)) != NULL ? 0 : -1;
}

/* Nothing has come of it; the memory stays. */
static int
undo(struct sshsess *e)
{
	if (e->ssh != NULL)
		ssh_unref(e->ssh);
	e->ssh = NULL;
	pthread_mutex_destroy(&e->mtx);
	limit_give(e->d->handshakes, &e->addr);
	return -1;
}

/* One more that has not authenticated, if it may be. */
static int
enter(struct sshsess *e, struct daemon *d, const char **why)
{
	*why = "too many logins of this address are under way";
	if (!limit_take(d->handshakes, &e->addr, WAIT_MS))
		return -1;
	*why = "no memory or descriptors are left";
	return 0;
}

int
sshsess_open_ws(struct sshsess *e, struct caller *c, const struct dialect *dialect, const struct sshsess_ops *ops,
    struct ssh_conf *conf, const char **why)
{
	struct link_conf lc;

	caller_address(c, &e->addr);
	if (enter(e, c->d, why) == -1)
		return -1;
	memcpy(e->session.peer, c->peer, sizeof(e->session.peer));
	memset(&lc, 0, sizeof(lc));
	lc.message_max = MESSAGE_MAX;
	lc.owed_max = SSHLINK_OWED_MAX;
	if (init(e, c->d, dialect, ops, conf) == -1 ||
	    (e->link = link_new(&c->conn, &lc, &sshlink_ops, e->ssh, c->in + c->at, c->len - c->at)) == NULL)
		return undo(e);
	sshlink_attach(e->ssh, e->link);
	list(e);
	return 0;
}

int
sshsess_open_tcp(struct sshsess *e, struct daemon *d, const struct conn *conn, const struct sockaddr_storage *peer,
    const struct dialect *dialect, const struct sshsess_ops *ops, struct ssh_conf *conf, const char **why)
{
	char host[NET_ADDR_MAX];

	net_format_host(peer, host);
	if (addr_parse(&e->addr, host) == -1)
		memset(&e->addr, 0, sizeof(e->addr));
	if (enter(e, d, why) == -1)
		return -1;
	net_format(peer, e->session.peer);
	if (init(e, d, dialect, ops, conf) == -1 || (e->tcp = sshtcp_new(conn, e->ssh)) == NULL)
		return undo(e);
	list(e);
	return 0;
}

/* Janitor's work. */

/* Anything to be done about its credential? The registry's work, once the list is let go. */
static const char *
look(struct sshsess *e, int64_t now)
{
	int64_t interval = e->d->conf.ping_ms, deadline = e->pinged + LATE * interval;
	int late;

	if (e->ended != 0 && now >= e->ended + END_MS)
		cut(e);
	if (!e->ready && e->ended == 0 && now >= e->began + SSHSESS_LOGIN_MS) {
		e->late = 1;
		cut(e);
	}
	if (!e->ready)
		return NULL;
	late = is_late(e);
	if (late && now >= deadline && clock_overslept(now, deadline, LATE * interval + ROUNDS_MS))
		e->pinged = now - (LATE - 1) * interval;
	else if (late && now >= deadline) {
		e->deaf = 1;
		cut(e);
	}
	if (!late && now >= e->pinged + interval) {
		e->pinged = now;
		ping(e);
	}
	return e->ops->lost != NULL ? e->ops->lost(e) : NULL;
}

/* One whose key is no good any more, with a reference. NULL: there is none. */
static struct session *
look_at_all(struct daemon *d, const char **code)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	struct session *lost = NULL;
	struct sshsess *e;

	pthread_mutex_lock(&d->ssh.mtx);
	for (e = d->ssh.first; e != NULL && lost == NULL; e = e->next)
		if ((*code = look(e, now)) != NULL && e->ended == 0) {
			lost = &e->session;
			session_ref(d->registry, lost);
		}
	pthread_mutex_unlock(&d->ssh.mtx);
	return lost;
}

/* One that may have to get a tunnel back and was not asked in this round, with a reference. NULL: there is none. */
static struct sshsess *
deprived(struct daemon *d, int64_t now)
{
	struct sshsess *e;

	if (daemon_draining(d))
		return NULL;
	pthread_mutex_lock(&d->ssh.mtx);
	for (e = d->ssh.first; e != NULL; e = e->next)
		if (e->deprived && e->ended == 0 && e->looked != now && !is_late(e)) {
			e->deprived = 0;
			e->looked = now;
			session_ref(d->registry, &e->session);
			break;
		}
	pthread_mutex_unlock(&d->ssh.mtx);
	return e;
}

void
sshsess_tick(struct daemon *d)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	struct session *s;
	struct sshsess *e;
	const char *code;
	int more;

	while ((s = look_at_all(d, &code)) != NULL) {
		registry_expel(d->registry, s, code);
		session_unref(d->registry, s);
	}
	while ((e = deprived(d, now)) != NULL) {
		more = e->ops->regain(e);
		pthread_mutex_lock(&d->ssh.mtx);
		e->deprived |= more;
		pthread_mutex_unlock(&d->ssh.mtx);
		session_unref(d->registry, &e->session);
	}
}

void
key_who(struct str blob, char out[SSHSESS_WHO_MAX])
{
	static const char label[] = "tunneld key";	/* with its NUL */
	uint8_t hash[SHA256_LEN];
	struct sha256 h;
	struct buf b;

	sha256_init(&h);
	sha256_update(&h, label, sizeof(label));
	sha256_update(&h, blob.p, blob.len);
	sha256_final(&h, hash);
	buf_init(&b, out, SSHSESS_WHO_MAX - 1);
	buf_str(&b, "key:");
	buf_hex(&b, hash, 6);
	out[b.len] = '\0';
}

void
sshsess_cut(struct daemon *d)
{
	struct sshsess *e;

	pthread_mutex_lock(&d->ssh.mtx);
	for (e = d->ssh.first; e != NULL; e = e->next)
		cut(e);
	pthread_mutex_unlock(&d->ssh.mtx);
}
