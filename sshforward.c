/* sshforward.c: the remote forwards of OpenSSH's client, as tunnels; see sshfront.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "ports.h"
#include "route.h"
#include "sshfrontint.h"
#include "urls.h"

enum {
	ENDPOINT_MAX = NET_ADDR_MAX + 24,
	FORWARDS_MAX = 2 * SESSION_TUNNELS_MAX	/* several may be for one name */
};

static const char tcp[] = "tcp://";

/* What its user reads of them. */

void
sshforward_show(struct front *f, const struct forward *w)
{
	char line[NAME_LEN_MAX + REGISTRY_URL_MAX + 8];

	snprintf(line, sizeof(line), "%s  %s", w->name, w->url);
	sshterm_line(&f->term, line);
}

/* Now, or when there is somebody to read it. */
static void
say(struct front *f, const char *line, int shown)
{
	if (shown)
		sshterm_line(&f->term, line);
	else if (f->nsaid < FRONT_SAID_MAX && (f->said[f->nsaid] = strdup(line)) != NULL)
		f->nsaid++;
}

static void
log_refused(const struct front *f, const char *code, const char *text)
{
	log_line(LOG_INFO, "listen_refused", "code", code, "reason", text, "peer", f->sess.session.peer,
	    "who", f->sess.session.identity.who, (char *)NULL);
}

/* A forward that cannot be had. text is ours. */
static void
refuse(struct front *f, uint32_t port, const char *code, const char *text)
{
	char line[FRONT_LINE_MAX];

	log_refused(f, code, text);
	snprintf(line, sizeof(line), "port %u: %s", (unsigned)port, text);
	say(f, line, sshterm_shown(&f->term));
}

/* One of a unix socket on this machine. */
static void
refuse_socket(struct front *f)
{
	static const char text[] = "a unix socket cannot be had here: -R 9000:... is a port, -R 80:... a name";

	log_refused(f, "bad_port", text);
	say(f, text, sshterm_shown(&f->term));
}

int
sshforward_next(struct front *f, struct forward *out, uint32_t after)
{
	const struct forward *w;
	int found = 0;

	pthread_mutex_lock(&f->mtx);
	for (w = f->first; w != NULL; w = w->next)
		if (w->id > after && (!found || w->id < out->id)) {
			*out = *w;
			found = 1;
		}
	pthread_mutex_unlock(&f->mtx);
	return found;
}

/* The list. */

/* The client's own, by how it asked for it; port 0: any. The place in the list, *NULL: there is none. */
static struct forward **
find_locked(struct front *f, const char *bind, uint32_t port)
{
	struct forward **p;

	for (p = &f->first; *p != NULL; p = &(*p)->next)
		if ((*p)->port == port && strcmp((*p)->bind, bind) == 0)
			break;
	return p;
}

static uint32_t
id_of_name(struct front *f, const char *name)
{
	struct forward *w;
	uint32_t id = 0;

	pthread_mutex_lock(&f->mtx);
	for (w = f->first; w != NULL; w = w->next)
		if (strcmp(w->name, name) == 0)
			id = w->id;
	pthread_mutex_unlock(&f->mtx);
	return id;
}

/* What the client would have dialled for HTTP. */
static void
put_endpoint(const struct front *f, char out[ENDPOINT_MAX])
{
	const struct daemon *d = f->sess.d;
	const char *port = strrchr(d->addr, ':');
	int six = strchr(f->host, ':') != NULL;

	if (port == NULL || strcmp(port, d->addr_tls ? ":443" : ":80") == 0)
		port = "";
	snprintf(out, ENDPOINT_MAX, "%s%s%s%s%s", d->addr_tls ? "https://" : "http://", six ? "[" : "", f->host, six ? "]" : "", port);
}

/* Does the client leave it to us where to bind, to loopback (0) or everywhere (1)? -1: it names something else. */
static int
is_anywhere(const char *bind)
{
	static const struct { const char *bind; int public; } table[] = {
		{ "", 1 }, { "*", 1 }, { "0.0.0.0", 1 }, { "::", 1 }, { "localhost", 0 }, { "127.0.0.1", 0 }, { "::1", 0 }
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].bind, bind) == 0)
			return table[i].public;
	return -1;
}

/* The name for w's bind address, or the user's. NULL, and it is in w; or why not, as port_listen tells it. */
static const char *
http_name(struct front *f, struct forward *w, char message[PORT_MESSAGE_MAX])
{
	const char *scope = f->sess.session.identity.scope;

	if (is_anywhere(w->bind) == -1) {
		memcpy(w->name, w->bind, strlen(w->bind) < sizeof(w->name) ? strlen(w->bind) + 1 : 0);
		name_fold(w->name);
	} else
		memcpy(w->name, f->user, sizeof(w->name));
	if (!name_ok(w->name)) {
		snprintf(message, PORT_MESSAGE_MAX, "a name is 1 to 63 of a-z, 0-9 and '-': log in as NAME@HOST, or say -R NAME:%u:...", (unsigned)w->port);
		return "bad_name";
	}
	if (route_reserved(&f->sess.d->conf, w->name)) {
		snprintf(message, PORT_MESSAGE_MAX, "this name is the daemon's own");
		return "forbidden";
	}
	if (!scope_has_name(scope, w->name)) {
		snprintf(message, PORT_MESSAGE_MAX, "the key's scope does not hold the name %.63s: log in as NAME@HOST", w->name);
		return "forbidden";
	}
	return NULL;
}

/* A copy of it joins the list: from now on callers find it. 0, or -1: no memory, or there are too many. */
static int
add(struct front *f, const struct forward *w)
{
	struct forward *copy = malloc(sizeof(*copy)), **p;
	int n = 0;

	if (copy == NULL)
		return -1;
	*copy = *w;
	copy->next = NULL;
	pthread_mutex_lock(&f->mtx);
	for (p = &f->first; *p != NULL; p = &(*p)->next)	/* of two for one name the older one counts */
		n++;
	if (n < FORWARDS_MAX)
		*p = copy;
	pthread_mutex_unlock(&f->mtx);
	if (n < FORWARDS_MAX)
		return 0;
	free(copy);
	return -1;
}

/* More is known of it. */
static void
settle(struct front *f, const struct forward *w)
{
	struct forward *found;

	pthread_mutex_lock(&f->mtx);
	if ((found = *find_locked(f, w->bind, w->port)) != NULL)
		memcpy(found->url, w->url, sizeof(found->url));
	pthread_mutex_unlock(&f->mtx);
}

/* Take it off. If no other has its id: 1. */
static int
drop(struct front *f, const struct forward *w)
{
	struct forward **p, *found, *other = NULL;

	pthread_mutex_lock(&f->mtx);
	if ((found = *(p = find_locked(f, w->bind, w->port))) != NULL)
		*p = found->next;
	for (other = f->first; other != NULL && other->id != w->id; other = other->next)
		;
	pthread_mutex_unlock(&f->mtx);
	free(found);
	return other == NULL;
}

static const char *
too_many(char message[PORT_MESSAGE_MAX])
{
	snprintf(message, PORT_MESSAGE_MAX, "this session holds as many tunnels as it may, or the daemon has no memory left");
	return "limit";
}

/* It is in the list before its name is: who waits for that comes at once. */
static const char *
forward_http(struct front *f, struct forward *w, char message[PORT_MESSAGE_MAX])
{
	struct daemon *d = f->sess.d;
	struct listen want = { 0, w->name, 0, 0, NULL, w->url, NULL, NULL, 0 };
	char endpoint[ENDPOINT_MAX], held[64];
	const char *code = http_name(f, w, message);
	enum listen_result rc = LISTEN_OK;
	struct buf b;
	int known;

	if (code != NULL)
		return code;
	put_endpoint(f, endpoint);
	buf_init(&b, w->url, sizeof(w->url));
	url_put_name(&b, &d->conf, endpoint, w->name);
	w->id = id_of_name(f, w->name);
	if (!(known = w->id != 0))
		w->id = ++f->last_id;
	want.id = w->id;
	if (add(f, w) == -1)
		return too_many(message);
	if (known || (rc = registry_listen(d->registry, &f->sess.session, &want, held)) == LISTEN_OK)
		return NULL;
	drop(f, w);
	if (rc != LISTEN_IN_USE)
		return too_many(message);
	snprintf(message, PORT_MESSAGE_MAX, "%.63s is held by %s", w->name, held);
	return "name_in_use";
}

static const char *
forward_port(struct front *f, struct forward *w, char message[PORT_MESSAGE_MAX])
{
	struct daemon *d = f->sess.d;
	char endpoint[ENDPOINT_MAX];
	int any = w->port == 0;
	struct port_want want;
	struct port_got got;
	struct url_base base;
	const char *code;

	memset(&want, 0, sizeof(want));
	if ((want.public = is_anywhere(w->bind)) == -1) {
		snprintf(message, PORT_MESSAGE_MAX, "a port is bound to localhost or to *, nowhere else");
		return "bad_port";
	}
	snprintf(w->name, sizeof(w->name), "tcp:%u", (unsigned)w->port);
	if (w->port > 65535 || id_of_name(f, w->name) != 0) {
		snprintf(message, PORT_MESSAGE_MAX, w->port > 65535 ? "there is no such port" : "this connection forwards it already");
		return "bad_port";
	}
	put_endpoint(f, endpoint);
	url_base(&base, &d->conf, endpoint);
	want.id = w->id = ++f->last_id;
	want.number = w->port;
	want.host = base.host;
	if (!any && add(f, w) == -1)
		return too_many(message);
	if ((code = port_listen(d, &f->sess.session, &want, &got, message)) != NULL) {
		if (!any)
			drop(f, w);
		return code;
	}
	w->port = got.number;
	memcpy(w->name, got.name, sizeof(got.name));
	snprintf(w->url, sizeof(w->url), "%s%s", tcp, got.addr);
	if (!any)
		settle(f, w);
	else if (add(f, w) == -1) {
		registry_unlisten(d->registry, &f->sess.session, w->id);
		return too_many(message);
	}
	return NULL;
}

/* What tcpip-forward and its opposite say. 0, or -1. */
static int
take_bind(struct str data, char bind[FRONT_BIND_MAX + 1], uint32_t *port)
{
	struct ssh_in in;
	struct str s;

	ssh_in_init(&in, data.p, data.len);
	s = ssh_get_str(&in);
	*port = ssh_get_u32(&in);
	if (!ssh_in_whole(&in) || s.len > FRONT_BIND_MAX || memchr(s.p, '\0', s.len) != NULL)
		return -1;
	memcpy(bind, s.p, s.len);
	bind[s.len] = '\0';
	return 0;
}

/* A forward asked for: 1, and its port is in *port; or 0. */
static int
forward(struct front *f, struct str data, uint32_t *port)
{
	struct session *s = &f->sess.session;
	char message[PORT_MESSAGE_MAX] = "the request is malformed";
	const char *code = "bad_port";
	struct forward w;
	int known;

	memset(&w, 0, sizeof(w));
	if (take_bind(data, w.bind, &w.port) == 0) {
		pthread_mutex_lock(&f->mtx);
		known = *find_locked(f, w.bind, w.port) != NULL;
		pthread_mutex_unlock(&f->mtx);
		snprintf(message, sizeof(message), "this connection forwards it already");
		if (!known)
			code = (w.port == 80 || w.port == 443 ? forward_http : forward_port)(f, &w, message);
	}
	if (code != NULL) {
		refuse(f, w.port, code, message);
		return 0;
	}
	*port = w.port;
	log_line(LOG_INFO, "tunnel_open", "name", w.name, "addr", strncmp(w.url, tcp, sizeof(tcp) - 1) == 0 ? w.url + sizeof(tcp) - 1 : NULL,
	    "who", s->identity.who, "peer", s->peer, (char *)NULL);
	if (sshterm_shown(&f->term))
		sshforward_show(f, &w);
	return 1;
}

static int
cancel(struct front *f, struct str data)
{
	struct forward w, *found;

	if (take_bind(data, w.bind, &w.port) == -1)
		return 0;
	pthread_mutex_lock(&f->mtx);
	if ((found = *find_locked(f, w.bind, w.port)) != NULL)
		w.id = found->id;
	pthread_mutex_unlock(&f->mtx);
	if (found == NULL)
		return 0;
	if (drop(f, &w))
		registry_unlisten(f->sess.d->registry, &f->sess.session, w.id);
	return 1;
}

void
sshforward_global(struct sshsess *e, struct str name, struct str data, int want_reply)
{
	struct front *f = front_of(e);
	uint32_t port = 0;
	uint8_t text[4];
	struct buf b;
	int ok = 0;

	buf_init(&b, text, sizeof(text));
	if (str_is(name, "tcpip-forward")) {
		ok = forward(f, data, &port);
		if (ok && memcmp(data.p + data.len - 4, "\0\0\0\0", 4) == 0)
			ssh_put_u32(&b, port);	/* it was ours to choose */
	} else if (str_is(name, "cancel-tcpip-forward"))
		ok = cancel(f, data);
	else if (str_is(name, "streamlocal-forward@openssh.com"))
		refuse_socket(f);
	if (want_reply && ssh_reply(e->ssh, ok, b.p, b.len) == -1)
		sshsess_end(&e->session, 0, "");	/* it asks, and does not read */
}

int
sshforward_ask(struct sshsess *e, struct stream *s, const struct holder *h, const char *peer, const char *local)
{
	struct front *f = front_of(e);
	uint8_t data[FRONT_BIND_MAX + NET_ADDR_MAX + 16];
	const char *colon = strrchr(peer, ':');
	size_t n = colon != NULL ? (size_t)(colon - peer) : strlen(peer);
	const struct forward *w;
	struct buf b;

	(void)local;		/* the client wants to hear what it has asked for */
	buf_init(&b, data, sizeof(data));
	pthread_mutex_lock(&f->mtx);
	for (w = f->first; w != NULL && w->id != h->listen_id; w = w->next)
		;
	if (w != NULL) {
		ssh_put_cstr(&b, w->bind);
		ssh_put_u32(&b, w->port);
	}
	pthread_mutex_unlock(&f->mtx);
	if (n > 1 && peer[0] == '[' && peer[n - 1] == ']')
		ssh_put_str(&b, peer + 1, n - 2);
	else
		ssh_put_str(&b, peer, n);
	ssh_put_u32(&b, colon != NULL ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0);
	return w == NULL || b.full ? -1 : ssh_ask(s, "forwarded-tcpip", b.p, b.len);
}

/* Its tunnels. The last that goes takes the connection with it: SSH cannot say that a forward has ended. */
void
sshforward_gone(struct sshsess *e, uint32_t id, const char *code)
{
	static const struct { const char *code, *text; } table[] = {
		{ "taken_over", "another connection with the same key has taken it over" },
		{ "revoked", "the key may not come in any more" },
		{ "expired", "the key has expired" },
		{ "left", "it was ended" },
	};
	struct front *f = front_of(e);
	struct forward **p, *w;
	const char *text = code;
	char line[FRONT_LINE_MAX] = "";
	size_t i;
	int last;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].code, code) == 0)
			text = table[i].text;
	pthread_mutex_lock(&f->mtx);
	for (p = &f->first; (w = *p) != NULL;) {
		if (w->id != id) {
			p = &w->next;
			continue;
		}
		snprintf(line, sizeof(line), "%.255s: %s", w->name, text);
		*p = w->next;
		free(w);
	}
	last = f->first == NULL;
	pthread_mutex_unlock(&f->mtx);
	if (line[0] != '\0')
		sshterm_line(&f->term, line);
	if (last)
		sshsess_end(&e->session, WS_POLICY, line[0] != '\0' ? line : text);
}

void
sshforward_free(struct front *f)
{
	struct forward *w;

	while ((w = f->first) != NULL) {
		f->first = w->next;
		free(w);
	}
}
