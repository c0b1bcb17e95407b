/* server.c: the daemon's parts as a library, without listeners, files and options; see tunnel.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "caller.h"
#include "daemon.h"
#include "log.h"
#include "native.h"
#include "ports.h"
#include "proxymap.h"
#include "route.h"
#include "tokens.h"
#include "tunnel.h"
#include "vtunnel.h"

enum {
	COUNT = 1024,		/* of sessions, and of callers */
	END_MS = 5000,
	WHO_MAX = 100,		/* bytes, with a word in front of them */
	ID_BYTES = STORE_ID_MAX / 2
};

struct tunnel_server {
	struct daemon d;
	struct daemon_listener plain;	/* where all connections have come to, as it were */
	struct vtunnel *vtunnel;	/* NULL: none */
	char *keys;		/* its */
	struct log *log;	/* of its threads; NULL: none */
	void (*tell)(void *arg, int level, const char *line);
	void *arg;
};

static const struct daemon_conf defaults = {	/* as those of tunneld's options */
	.head_ms = 10000, .idle_ms = 30000, .timeout_ms = 30000, .half_close_ms = 5000, .keep_alive_ms = 75000, .stall_ms = 300000,
	.grace_ms = 10000, .ping_ms = 30000,
	.slots = 256, .queue = 100, .streams = 1024, .callers = COUNT, .sessions = COUNT,
	.window = 8 << 20, .buffer = 32 << 20, .bodies = 256 << 20, .content = 10 << 20,
	.pipegate_timeout_ms = 300000, .wsproxy_timeout_ms = 60000, .wsproxy_hold_ms = 1000,
	.handshakes = 64, .conns_per_ip = 10, .conns_per_user = 20, .login_failures = 30,
	.ports_max = 1024, .port_callers = 256, .port_callers_all = 2048
};

static void
on_log(void *arg, int level, const char *line, size_t len)
{
	struct tunnel_server *s = arg;

	(void)len;
	s->tell(s->arg, level, line);
}

/* Options. */

static int
complain(char *why, size_t whylen, const char *what, const char *wrong)
{
	snprintf(why, whylen, "%s: %s", what, wrong);
	return -1;
}

/* A text that a conf keeps. */
static int
take_text(char *out, size_t cap, const char *text, const char *what, char *why, size_t whylen)
{
	if (text == NULL)
		return 0;
	if (strlen(text) >= cap)
		return complain(why, whylen, what, "too long");
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int
take_ports(struct daemon_conf *c, const char *ports, char *why, size_t whylen)
{
	const char *wrong;

	if (ports == NULL)
		return 0;
	if (strcmp(ports, "none") == 0) {
		c->no_ports = 1;
		return 0;
	}
	if (scope_check(ports, &wrong) == -1 || !scope_only_ports(ports))
		return complain(why, whylen, "ports", "none, or PORT-PORT");
	return take_text(c->ports, sizeof(c->ports), ports, "ports", why, whylen);
}

static int
take_options(struct daemon_conf *c, const struct tunnel_server_options *o, char *why, size_t whylen)
{
	*c = defaults;
	if (take_text(c->domain, sizeof(c->domain), o->domain, "domain", why, whylen) == -1 ||
	    take_text(c->url, sizeof(c->url), o->url, "url", why, whylen) == -1 || take_ports(c, o->ports, why, whylen) == -1)
		return -1;
	if (c->domain[0] != '\0' && !domain_ok(c->domain))
		return complain(why, whylen, "domain", "a host's name, in lower case");
	if (c->url[0] != '\0' && strncmp(c->url, "http://", 7) != 0 && strncmp(c->url, "https://", 8) != 0)
		return complain(why, whylen, "url", "http://HOST[:PORT], or https");
	if (o->sessions < 0 || o->callers < 0 || o->grace_ms < -1 || o->timeout_ms < 0)
		return complain(why, whylen, "sessions, callers, grace_ms, timeout_ms", "not below 0");
	if (o->grace_ms != 0)
		c->grace_ms = o->grace_ms > 0 ? o->grace_ms : 0;
	if (o->timeout_ms != 0)
		c->timeout_ms = o->timeout_ms;
	if (o->sessions != 0)
		c->sessions = o->sessions;
	if (o->callers != 0)
		c->callers = o->callers;
	return 0;
}

/* Tokens. */

/* One as the store has them; its id is made of its hash, so that it is the same whenever it comes. 0, or -1 and *why. */
static int
take_token(struct token *t, const struct tunnel_token *from, const char **why)
{
	size_t i, len = from->token != NULL ? strlen(from->token) : 0;
	struct buf b;

	*why = "a token is empty, or has blanks or controls";
	for (i = 0; i < len; i++)
		if (from->token[i] <= ' ' || from->token[i] > '~')
			return -1;
	if (len == 0)
		return -1;
	*why = "a token has no scope";
	if (from->scope == NULL || scope_check(from->scope, why) == -1)
		return -1;
	*why = "a scope is too long";
	if (strlen(from->scope) >= sizeof(t->scope))
		return -1;
	memcpy(t->scope, from->scope, strlen(from->scope) + 1);
	sha256(from->token, len, t->hash);
	sha256(t->hash, sizeof(t->hash), (uint8_t *)t->note);	/* the hash itself stays ours */
	buf_init(&b, t->id, sizeof(t->id) - 1);
	buf_hex(&b, t->note, ID_BYTES);
	t->id[b.len] = t->note[0] = '\0';
	return 0;
}

int
tunnel_server_tokens(struct tunnel_server *s, const struct tunnel_token *from, int n, char *why, size_t whylen)
{
	struct store fresh = { NULL, 0 };
	const char *wrong = "no memory";

	if (n < 0 || (n > 0 && from == NULL))
		return complain(why, whylen, "tokens", "as many as their number says");
	if (n > 0 && (fresh.token = calloc((size_t)n, sizeof(*fresh.token))) == NULL)
		return complain(why, whylen, "tokens", wrong);
	for (; fresh.n < (size_t)n; fresh.n++)
		if (take_token(&fresh.token[fresh.n], &from[fresh.n], &wrong) == -1) {
			store_free(&fresh);
			return complain(why, whylen, "tokens", wrong);
		}
	auth_take(s->d.auth, &fresh);
	return 0;
}

/* Keys of vtunnel's clients. 0, or -1 and why. */
static int
take_keys(struct tunnel_server *s, const char *keys, char *why, size_t whylen)
{
	struct vtunnel_conf conf = { NULL, NULL, 0, NULL };

	if (keys == NULL)
		return 0;
	if ((conf.keys = s->keys = strdup(keys)) == NULL)
		return complain(why, whylen, "keys", "no memory");
	s->vtunnel = s->d.vtunnel = vtunnel_new(&conf, -1, why, whylen);
	return s->vtunnel != NULL ? 0 : -1;
}

/* Start and end. */

/* What is not the daemon's, which has gone. */
static void
free_rest(struct tunnel_server *s)
{
	if (s->vtunnel != NULL)
		vtunnel_free(s->vtunnel);
	if (s->keys != NULL)
		wipe(s->keys, strlen(s->keys));
	free(s->keys);
	if (s->log != NULL)
		log_free(s->log);
	free(s);
}

struct tunnel_server *
tunnel_server_new(const struct tunnel_server_options *o, char *why, size_t whylen)
{
	struct tunnel_server *s = calloc(1, sizeof(*s));
	struct daemon_conf *c = calloc(1, sizeof(*c));
	struct log *had;
	int rc = -1;

	snprintf(why, whylen, "no memory");
	if (s != NULL && c != NULL && take_options(c, o, why, whylen) == 0) {
		s->tell = o->log;
		s->arg = o->arg;
		s->log = o->log != NULL ? log_new(on_log, s) : NULL;
		had = log_use(s->log);
		if ((rc = daemon_init(&s->d, c, -1, why, whylen)) == -1)
			daemon_free(&s->d);
		else if ((rc = tunnel_server_tokens(s, o->tokens, o->ntokens, why, whylen)) == -1 ||
		    (rc = take_keys(s, o->keys, why, whylen)) == -1)
			daemon_free(&s->d);
		else if (daemon_run(&s->d) != 0) {
			complain(why, whylen, "threads", "none can be had");
			rc = daemon_end(&s->d, END_MS) ? -1 : -2;
		}
		log_use(had);
	}
	free(c);
	if (rc == 0)
		return s;
	if (rc == -1 && s != NULL)
		free_rest(s);
	return NULL;
}

void
tunnel_server_free(struct tunnel_server *s)
{
	struct log *had;
	int gone;

	if (s == NULL)
		return;
	had = log_use(s->log);
	gone = daemon_end(&s->d, END_MS);
	log_use(had);
	if (gone)		/* else what still runs keeps what it needs: better a leak than a crash */
		free_rest(s);
}

/* Connections, each on a thread. */

struct arrival {
	struct tunnel_server *s;
	int fd;
	struct caller_from from;
	char name[NAME_LEN_MAX + 1];	/* a connection to this tunnel; "": it says itself */
	int websocket;
	struct identity who;		/* whose */
	char early[];
};

static void
serve_websocket(struct arrival *a)
{
	struct daemon *d = &a->s->d;
	char peer[NET_ADDR_MAX];
	struct session *session;
	struct conn conn;

	net_format(&a->from.peer, peer);
	net_tune(a->fd);
	conn_plain(&conn, a->fd);
	session = native_adopt(d, &conn, &a->who, peer, a->from.early, a->from.nearly);
	free(a);
	daemon_arriving(d, -1);
	if (session != NULL)
		session->dialect->run(session);
	else
		conn_close(&conn);
}

static void
serve(void *arg)
{
	struct arrival *a = arg;
	struct daemon *d = &a->s->d;
	unsigned number;

	if (a->websocket) {
		serve_websocket(a);
		return;
	}
	if (port_name(a->name, &number))
		port_join(d, a->name, a->fd, &a->from.peer);
	else {
		a->from.only = a->name[0] != '\0' ? a->name : NULL;
		caller_run(d, a->fd, &a->s->plain, &a->from);
	}
	free(a);
}

static struct arrival *
new_arrival(struct tunnel_server *s, int fd, const void *early, size_t nearly)
{
	struct arrival *a = calloc(1, sizeof(*a) + nearly);
	socklen_t len = sizeof(a->from.peer);

	if (a == NULL)
		return NULL;
	a->s = s;
	a->fd = fd;
	if (nearly > 0)
		memcpy(a->early, early, nearly);
	a->from.early = a->early;
	a->from.nearly = nearly;
	if (getpeername(fd, (struct sockaddr *)&a->from.peer, &len) == -1)
		a->from.peer.ss_family = AF_UNIX;
	return a;
}

/* To a thread. a is gone after this; the descriptor only if it is 0. Else an error number. */
static int
hand_over(struct arrival *a)
{
	struct tunnel_server *s = a->s;
	struct log *had;
	int rc;

	if (net_flags(a->fd) == -1) {
		rc = errno;
		free(a);
		return rc;
	}
	had = log_use(s->log);
	daemon_arriving(&s->d, 1);
	if ((rc = workers_run(s->d.workers, serve, a)) == -1) {
		daemon_arriving(&s->d, -1);
		free(a);
	}
	log_use(had);
	return rc == 0 ? 0 : EAGAIN;
}

/* Whose WebSocket it is: 0, or an error number. */
static int
identify(struct tunnel_server *s, const struct tunnel_handover *h, struct identity *who)
{
	struct str text;
	const char *wrong;

	if (h->token != NULL) {
		text.p = h->token;
		text.len = strlen(h->token);
		return daemon_auth(&s->d, &text, 0, "program", who) == 0 ? 0 : EACCES;
	}
	if (h->who == NULL || h->who[0] == '\0' || h->scope == NULL || scope_check(h->scope, &wrong) == -1 ||
	    strlen(h->scope) >= sizeof(who->scope) || strlen(h->who) > WHO_MAX)
		return EINVAL;
	snprintf(who->who, sizeof(who->who), "program:%s", h->who);	/* no token's */
	memcpy(who->scope, h->scope, strlen(h->scope) + 1);
	return 0;
}

int
tunnel_server_handle_fd(struct tunnel_server *s, int fd, const struct tunnel_handover *h)
{
	static const struct tunnel_handover raw;
	struct arrival *a = NULL;
	int err = EINVAL;

	h = h != NULL ? h : &raw;
	if (h->nearly <= CALLER_IN && (h->nearly == 0 || h->early != NULL))
		err = (a = new_arrival(s, fd, h->early, h->nearly)) != NULL ? 0 : ENOMEM;
	if (err == 0 && (a->websocket = h->websocket) != 0) {
		if (registry_sessions(s->d.registry) >= s->d.conf.sessions)
			err = EAGAIN;
		else
			err = identify(s, h, &a->who);
	}
	if (err == 0)
		err = hand_over(a);
	else
		free(a);
	if (err != 0)
		close(fd);
	errno = err;
	return err == 0 ? 0 : -1;
}

/* By a domain with its port, that of a credential that still has the tunnel. */
static int
find_domain(struct tunnel_server *s, const char *text, char found[NAME_LEN_MAX + 1])
{
	char host[NET_HOST_MAX], port[6];
	struct proxymap_hit hit;
	struct session *session;
	struct str at;
	int is = 0;

	if (net_split(text, host, port) == -1)
		return 0;
	at.p = host;
	at.len = strlen(host);
	if (proxymap_find(s->d.proxymap, at, (unsigned)strtol(port, NULL, 10), &hit) != 1)
		return 0;
	if ((session = registry_holder(s->d.registry, hit.name)) != NULL) {
		is = strcmp(session->identity.who, hit.who) == 0;
		session_unref(s->d.registry, session);
	}
	if (is)
		snprintf(found, NAME_LEN_MAX + 1, "%s", hit.name);
	free(hit.who);
	free((char *)(uintptr_t)hit.fields.p);
	return is;
}

int
tunnel_server_find(struct tunnel_server *s, const char *host, char *name, size_t namelen)
{
	char found[NAME_LEN_MAX + 1];
	struct str text;

	text.p = host;
	text.len = strlen(host);
	if ((!find_domain(s, host, found) && !route_name(&s->d, text, found)) || !registry_has(s->d.registry, found, 0) || strlen(found) >= namelen)
		return 0;
	memcpy(name, found, strlen(found) + 1);
	return 1;
}

int
tunnel_server_open(struct tunnel_server *s, const char *name)
{
	struct arrival *a;
	int fd[2], err = ENOENT;

	if (strlen(name) > NAME_LEN_MAX || !registry_has(s->d.registry, name, 0)) {
		errno = err;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		return -1;
	if (fcntl(fd[1], F_SETFD, FD_CLOEXEC) == -1)
		err = errno;
	else if ((a = new_arrival(s, fd[0], NULL, 0)) == NULL)
		err = ENOMEM;
	else {
		memcpy(a->name, name, strlen(name) + 1);
		err = hand_over(a);
	}
	if (err == 0)
		return fd[1];
	close(fd[0]);
	close(fd[1]);
	errno = err;
	return -1;
}
