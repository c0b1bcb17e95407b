/* sshfront.c: OpenSSH's client as a client of ours; see sshfront.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backoff.h"
#include "caller.h"
#include "clock.h"
#include "log.h"
#include "login.h"
#include "sshfrontint.h"

enum {
	WORD_MAX = 64,		/* of the network's words in the log */
	LEAVE_MS = 2000		/* for the client to go, once its user has ended it; what still runs keeps it from that */
};

/* The network's bytes as a string, cut. */
static const char *
word(char out[WORD_MAX + 1], struct str s)
{
	size_t n = s.len < WORD_MAX ? s.len : WORD_MAX;

	memcpy(out, s.p, n);
	out[n] = '\0';
	return out;
}

static struct str
blob_of(const struct front *f)
{
	struct str s;

	s.p = (const char *)f->blob;
	s.len = f->nblob;
	return s;
}

/* Who it is. */

static int
auth(struct sshsess *e, struct str user, struct str blob)
{
	struct front *f = front_of(e);
	char name[WORD_MAX + 1], who[SSHSESS_WHO_MAX];
	struct identity got;

	if (blob.len == 0 || blob.len > sizeof(f->blob))
		return 0;
	sshallow_reload(f->files->allow, 0);	/* a key counts, or does not, from the moment it was written there */
	memcpy(f->blob, blob.p, blob.len);
	f->nblob = blob.len;
	if (sshallow_find(f->files->allow, blob, clock_ms(CLOCK_WALL) / 1000, &got))
		return 1;
	f->failed = 1;
	key_who(blob, who);
	log_line(LOG_INFO, "key_refused", "dialect", "ssh", "peer", e->session.peer, "user", word(name, user), "who", who, (char *)NULL);
	return 0;
}

static const char *
ready(struct sshsess *e)
{
	struct front *f = front_of(e);
	struct str blob = ssh_user_key(e->ssh);
	const char *user = ssh_user(e->ssh);

	memcpy(f->blob, blob.p, blob.len);
	f->nblob = blob.len;
	f->failed = 0;
	if (!sshallow_find(f->files->allow, blob, clock_ms(CLOCK_WALL) / 1000, &e->session.identity))
		return "the key may not come in any more";
	key_who(blob, e->session.identity.who);
	if (strlen(user) < sizeof(f->user)) {
		memcpy(f->user, user, strlen(user) + 1);
		name_fold(f->user);
		if (!name_ok(f->user))
			f->user[0] = '\0';
	}
	return NULL;
}

/* What its user reads. */

static int
shell(struct front *f)
{
	struct forward w;
	uint32_t id = 0;
	int i;

	if (sshterm_shown(&f->term))
		return 0;
	sshterm_show(&f->term);
	for (; sshforward_next(f, &w, id); id = w.id)
		sshforward_show(f, &w);
	for (i = 0; i < f->nsaid; i++) {
		sshterm_line(&f->term, f->said[i]);
		free(f->said[i]);
	}
	if (id == 0 && f->nsaid == 0)
		sshterm_line(&f->term, "nothing is forwarded here: ssh -R 80:localhost:3000 NAME@HOST gives NAME to what runs on port 3000");
	f->nsaid = 0;
	if (id == 0)
		sshterm_exit(&f->term, 1, 0);
	else
		sshterm_hint(&f->term, "Ctrl-C ends it.");
	return 1;
}

static void
quit(void *arg)
{
	struct front *f = arg;

	pthread_mutex_lock(&f->mtx);
	f->quit_ms = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&f->mtx);
	sshterm_exit(&f->term, 0, 1);
}

static void
seen(struct session *s, const char *what, unsigned status, int64_t ms)
{
	struct front *f = s->impl;
	time_t now = (time_t)(clock_ms(CLOCK_WALL) / 1000);
	char line[FRONT_LINE_MAX], number[16] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm) == NULL)
		return;
	if (status != 0)
		snprintf(number, sizeof(number), " %u", status);
	snprintf(line, sizeof(line), "%02d:%02d:%02d %s%s %lld ms", tm.tm_hour, tm.tm_min, tm.tm_sec, what, number, (long long)ms);
	sshterm_line(&f->term, line);
}

/* d->ssh.mtx is held: nothing is done here but looked. */
static const char *
lost(struct sshsess *e)
{
	struct front *f = front_of(e);
	int64_t since;

	pthread_mutex_lock(&f->mtx);
	since = f->quit_ms;
	pthread_mutex_unlock(&f->mtx);
	if (since != 0 && clock_ms(CLOCK_STEADY) - since >= LEAVE_MS)
		return "left";
	return sshallow_lost(f->files->allow, blob_of(f), clock_ms(CLOCK_WALL) / 1000, &e->session.identity);
}

/* Channels. */

static void
log_refused(struct sshsess *e, const char *what, struct str type)
{
	char text[WORD_MAX + 1];

	log_line(LOG_INFO, "ssh_refused", what, word(text, type), "peer", e->session.peer, "who", e->session.identity.who, (char *)NULL);
}

static int
open_channel(struct sshsess *e, struct stream *s, struct str type, struct str data)
{
	(void)data;
	if (str_is(type, "session"))
		return sshterm_open(&front_of(e)->term, s);
	log_refused(e, "channel", type);
	return SSH_OPEN_PROHIBITED;
}

/* What clients ask for again and again, or as a matter of course, and do without: it is nothing to tell of. */
static int
is_idle_wish(struct str type)
{
	static const char *const wish[] = {
		"env", "window-change", "keepalive@openssh.com", "simple@putty.projects.tartarus.org", "winadj@putty.projects.tartarus.org"
	};
	size_t i;

	for (i = 0; i < sizeof(wish) / sizeof(wish[0]); i++)
		if (str_is(type, wish[i]))
			return 1;
	return 0;
}

static int
request(struct sshsess *e, struct stream *s, struct str type, struct str data)
{
	struct front *f = front_of(e);

	(void)data;
	if (!sshterm_is(&f->term, s) || is_idle_wish(type))
		return 0;
	if (str_is(type, "shell"))
		return shell(f);
	if (str_is(type, "pty-req")) {
		sshterm_pty(&f->term);
		return 1;
	}
	log_refused(e, "request", type);
	return 0;
}

/* The end. */

static void
over(struct sshsess *e)
{
	struct front *f = front_of(e);
	long ms;

	sshterm_over(&f->term);
	if (!f->failed || caller_trusts(e->d, &e->addr))
		return;
	if ((ms = backoff_failed(e->d->logins, &e->addr, f->blob, f->nblob, clock_ms(CLOCK_STEADY))) > 0)
		login_tell(e->session.peer, ms);
}

static void
free_front(struct sshsess *e)
{
	struct front *f = front_of(e);

	sshforward_free(f);
	while (f->nsaid > 0)
		free(f->said[--f->nsaid]);
	pthread_mutex_destroy(&f->mtx);
	sshterm_free(&f->term);
	free(f);
}

static const struct sshsess_ops ops = {
	.ping = "keepalive@openssh.com", .auth = auth, .ready = ready, .global = sshforward_global, .open = open_channel, .request = request,
	.ask = sshforward_ask, .gone = sshforward_gone, .lost = lost, .over = over, .free = free_front
};

static const struct dialect dialect = {
	.name = "ssh", .open = sshsess_open, .ask = sshsess_ask, .gone = sshsess_gone, .end = sshsess_end,
	.tally = sshsess_tally, .run = sshsess_run, .free = sshsess_free, .seen = seen
};

/* The start. */

struct sshfront *
sshfront_new(const struct sshfront_conf *conf, char why[SSHFRONT_WHY_MAX])
{
	struct sshfront *files = calloc(1, sizeof(*files));
	const char *path = conf->host_key[0] != '\0' ? conf->host_key : NULL;
	int make = conf->state != -1;

	if (files == NULL || sshcrypt_init() == -1) {
		snprintf(why, SSHFRONT_WHY_MAX, files == NULL ? "no memory" : "libsodium cannot be used");
		free(files);
		return NULL;
	}
	if (sshallow_host_key(&files->host, path, conf->state, conf->state_path, make, why, SSHFRONT_WHY_MAX) == 0 &&
	    (files->allow = sshallow_new(conf->keys, why, SSHFRONT_WHY_MAX)) != NULL)
		return files;
	sshfront_free(files);
	return NULL;
}

void
sshfront_free(struct sshfront *files)
{
	if (files->allow != NULL)
		sshallow_free(files->allow);
	wipe(files, sizeof(*files));
	free(files);
}

void
sshfront_reload(struct sshfront *files, int force)
{
	sshallow_reload(files->allow, force);
}

static struct front *
new_front(struct daemon *d)
{
	struct front *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->files = d->ssh_front;
	sshterm_init(&f->term, quit, f);
	pthread_mutex_init(&f->mtx, NULL);
	return f;
}

/* NULL, and the connection is the session's; or why not. */
static const char *
begin(struct front *f, struct daemon *d, const struct conn *c, const struct sockaddr_storage *peer)
{
	struct sockaddr_storage local;
	struct ssh_conf conf;
	char host[NET_ADDR_MAX];
	const char *why = NULL;
	struct addr a;

	net_local(c->fd, &local);
	net_format_host(&local, f->host);
	net_format_host(peer, host);
	if (addr_parse(&a, host) == 0 && !caller_trusts(d, &a) && backoff_wait(d->logins, &a, clock_ms(CLOCK_STEADY)) > 0)
		return login_later;
	memset(&conf, 0, sizeof(conf));
	conf.trans.keys[0] = &d->ssh_front->host;
	return sshsess_open_tcp(&f->sess, d, c, peer, &dialect, &ops, &conf, &why) == 0 ? NULL : why;
}

void
sshfront_serve(struct daemon *d, int fd, const struct sockaddr_storage *peer)
{
	const char *why = "no memory";
	char text[NET_ADDR_MAX];
	struct front *f = NULL;
	struct conn c;

	net_tune(fd);
	conn_plain(&c, fd);
	if (!daemon_enter(d)) {
		log_line(LOG_WARN, "callers_full", "for", "ssh", (char *)NULL);
		conn_close(&c);
		return;
	}
	if ((f = new_front(d)) != NULL && (why = begin(f, d, &c, peer)) == NULL) {
		dialect.run(&f->sess.session);
		return;
	}
	net_format(peer, text);
	log_line(LOG_WARN, "refused", "dialect", "ssh", "reason", why, "peer", text, (char *)NULL);
	if (f != NULL)
		free_front(&f->sess);
	conn_close(&c);
	daemon_leave(d);
}
