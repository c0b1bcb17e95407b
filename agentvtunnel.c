/*
 * agentvtunnel.c: sessions with a vtunnel server, the original or a tunneld: SSH inside a WebSocket, of which we are the client; see
 * agent.h, ssh.h and vtunnelmsg.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "base64.h"
#include "clock.h"
#include "random.h"
#include "sshlink.h"
#include "vtunnelmsg.h"

enum {
	KEEP_MS = 30000,	/* between two pings */
	DEAD_MS = 90000,	/* for the answer to a request */
	BEGIN_MS = 30000,	/* from the WebSocket to the end of authentication */
	AGAIN_MS = 30000,	/* at most, before a port that has been ours is asked for again */
	PING = -1		/* what was asked, if it was not for tunnel i */
};

struct vt {			/* [m] guarded by mtx, [r] the reader's, else constant */
	struct tunnel_client *c;
	struct session *s;	/* [r] */
	struct ssh *ssh;
	struct link *link;
	struct sshkey key;
	uint8_t host[VTUNNEL_BLOB];	/* the host key that is made of it */
	int64_t began;		/* clock_ms */
	struct vtunnel_msg msg;	/* [r] what is being read */
	uint8_t seen[SHA256_LEN];	/* [r] of the host key that is to be the one of --host-key */

	pthread_mutex_t mtx;	/* with nothing taken under it */
	int refs;		/* [m] the session's, and each channel's */
	int ready;		/* [m] authenticated, and the tunnels asked for */
	const char *wrong;	/* [m] why we have ended it, for people */
	int asked[TUNNEL_MAX];	/* [m] requests that went out together; the next ones go when these are answered */
	int nasked, nanswered;	/* [m] */
	int64_t since;		/* [m] clock_ms when they went out, or the last answer came */
	char state[TUNNEL_MAX];	/* [m] enum listen_state */
	int64_t again_at;	/* [m] clock_ms when to ask again for those that are not to be had now */
	int refusals;		/* [m] so often, one after the other */
};

static void
vt_ref(void *impl)
{
	struct vt *v = impl;

	pthread_mutex_lock(&v->mtx);
	v->refs++;
	pthread_mutex_unlock(&v->mtx);
}

static void
vt_unref(void *impl)
{
	struct vt *v = impl;
	int refs;

	pthread_mutex_lock(&v->mtx);
	refs = --v->refs;
	pthread_mutex_unlock(&v->mtx);
	if (refs > 0)
		return;
	if (v->ssh != NULL)
		ssh_unref(v->ssh);
	if (v->link != NULL)
		link_free(v->link);
	pthread_mutex_destroy(&v->mtx);
	wipe(v, sizeof(*v));
	free(v);
}

/* Requests of ours. */

static void
ask(struct vt *v, int what)
{
	static const struct str none = { NULL, 0 };
	const struct tunnel *t = &v->c->tunnel[what != PING ? what : 0];
	char text[2 * VTUNNEL_ADDR_MAX];
	int domain = t->name[0] != '\0', named = strncmp(t->target, "unix:", 5) != 0;
	struct buf b;

	if (what == PING) {
		ssh_request(v->ssh, "ping", 1, NULL, 0);
		return;
	}
	buf_init(&b, text, sizeof(text));
	vtunnel_put(&b, domain ? 0 : t->port, named ? t->target : "", t->name, none);
	ssh_request(v->ssh, "listen", 1, b.p, b.len);
}

/* Ask for the tunnels in this state (enum listen_state); if there are none, or with PING, for an answer alone. What was asked before has been answered. */
static void
ask_for(struct vt *v, int state)
{
	struct tunnel_client *c = v->c;
	int there[TUNNEL_MAX], what[TUNNEL_MAX], nthere = 0, n = 0, i;

	pthread_mutex_lock(&c->mtx);
	for (i = 0; i < c->ntunnels; i++)
		if (!c->tunnel[i].lost)
			there[nthere++] = i;
	pthread_mutex_unlock(&c->mtx);
	pthread_mutex_lock(&v->mtx);
	for (i = 0; i < nthere; i++)
		if (v->state[there[i]] == state)
			what[n++] = there[i];
	if (n == 0)
		what[n++] = PING;
	memcpy(v->asked, what, (size_t)n * sizeof(what[0]));
	v->nasked = n;
	v->nanswered = 0;
	v->ready = 1;
	v->again_at = 0;
	v->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&v->mtx);
	for (i = 0; i < n; i++)
		ask(v, what[i]);
}

/* Where callers come to, on the server's machine; or the domain, which a proxy of the server's leads to us. */
static void
put_url(struct buf *b, const struct tunnel *t)
{
	if (t->name[0] != '\0') {
		buf_str(b, t->name);
		return;
	}
	buf_str(b, "tcp://127.0.0.1:");
	buf_u64(b, (unsigned)t->port);
}

/* The server listens for tunnel i. */
static void
listening(struct vt *v, int i, unsigned port)
{
	struct tunnel_client *c = v->c;
	struct tunnel *t = &c->tunnel[i];
	char url[URL_MAX];
	struct buf b;
	int again, back;

	buf_init(&b, url, sizeof(url) - 1);
	put_url(&b, t);
	url[b.len] = '\0';
	pthread_mutex_lock(&v->mtx);
	back = v->state[i] == LISTEN_NOT_NOW;
	v->state[i] = LISTEN_READY;
	if (back)
		v->refusals = 0;
	pthread_mutex_unlock(&v->mtx);
	pthread_mutex_lock(&c->mtx);
	v->s->ready = c->worked = 1;
	v->s->state[i] = LISTEN_READY;
	again = v->s->lane->served[i];
	v->s->lane->served[i] = 1;
	if (t->name[0] != '\0')
		t->port = (int)port;
	memcpy(t->url, url, b.len + 1);
	pthread_mutex_unlock(&c->mtx);
	agent_up(v->s, i, url, "", again, 1);
}

/* It does not. What has been ours before is asked for again: a server that has just been started may not have it free yet. */
static void
refused_listen(struct vt *v, int i, const char *text)
{
	static const struct {
		const char *words;
		enum tunnel_end end;
		const char *code;
	} table[] = {
		{ "address already in use", TUNNEL_LOST, "port_in_use" }, { "invalid port", TUNNEL_USAGE, "bad_port" },
		{ "permission denied", TUNNEL_DENIED, "refused" }, { "scope", TUNNEL_DENIED, "refused" },
		{ "", TUNNEL_LOST, "refused" },
	};
	struct tunnel_client *c = v->c;
	char what[WHY_MAX];
	struct buf b;
	size_t k = 0;
	int64_t ms = 1000;
	int served, n;

	pthread_mutex_lock(&c->mtx);
	served = v->s->lane->served[i];
	pthread_mutex_unlock(&c->mtx);
	while (strstr(text, table[k].words) == NULL)
		k++;
	if (!served) {
		agent_lost(c, v->s, i, table[k].end, table[k].code, text);
		return;
	}
	pthread_mutex_lock(&v->mtx);
	v->state[i] = LISTEN_NOT_NOW;
	if (v->again_at == 0)
		v->refusals++;
	for (n = 1; n < v->refusals && ms < AGAIN_MS; n++)
		ms *= 2;
	if (ms > AGAIN_MS)
		ms = AGAIN_MS;
	v->again_at = clock_ms(CLOCK_STEADY) + ms;
	pthread_mutex_unlock(&v->mtx);
	buf_init(&b, what, sizeof(what) - 1);
	put_url(&b, &c->tunnel[i]);
	buf_str(&b, " refused: ");
	buf_str(&b, text);
	what[b.len] = '\0';
	agent_tell(c, what, ms);
}

/* A reply to a listen; ok's text is JSON or empty, else for people. */
static void
listen_answered(struct vt *v, int i, int ok, struct str text)
{
	char words[256];
	const char *why;

	if (!ok) {
		snprintf(words, sizeof(words), "%.*s", text.len < 200 ? (int)text.len : 200, text.p);
		refused_listen(v, i, words);
		return;
	}
	v->msg.port = 0;
	if (text.len > 0 && vtunnel_parse(&v->msg, text.p, text.len, &why) == -1)
		v->msg.port = 0;	/* what an answer says beside yes is needed for a domain alone */
	if (v->c->tunnel[i].name[0] != '\0' && (v->msg.port < 1 || v->msg.port > 65535))
		refused_listen(v, i, "the server is too old for domains: it has told no port");
	else
		listening(v, i, (unsigned)v->msg.port);
}

/* SSH's callbacks, in the reader. */

static int
host_key(void *arg, struct str blob)
{
	struct vt *v = arg;

	if (v->c->keys.has_pin) {
		sha256(blob.p, blob.len, v->seen);
		return ct_equal(v->seen, v->c->keys.pin, sizeof(v->seen));
	}
	if (v->c->keys.has_seed)
		return blob.len == sizeof(v->host) && ct_equal(blob.p, v->host, sizeof(v->host));
	return 1;		/* nothing is known of it */
}

/* The session makes no sense any more. */
static void
give_up(struct vt *v, const char *why)
{
	pthread_mutex_lock(&v->mtx);
	v->wrong = why;
	pthread_mutex_unlock(&v->mtx);
	link_abort(v->link);
}

static void
ready(void *arg)
{
	ask_for(arg, LISTEN_ASKED);
}

static void
global(void *arg, struct str name, struct str data, int want_reply)
{
	struct vt *v = arg;
	int ping = str_is(name, "ping");

	(void)data;
	if (want_reply && ssh_reply(v->ssh, ping, ping ? "pong" : NULL, ping ? 4 : 0) == -1)
		give_up(v, "the server asks, and takes no answers");
}

static void
reply(void *arg, int ok, struct str data)
{
	struct vt *v = arg;
	int what = PING;

	pthread_mutex_lock(&v->mtx);
	if (v->nanswered < v->nasked)
		what = v->asked[v->nanswered++];
	v->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_unlock(&v->mtx);
	if (what != PING)
		listen_answered(v, what, ok, data);
}

static int
channel_request(void *arg, struct stream *st, struct str type, struct str data)
{
	(void)arg;
	(void)st;
	(void)type;
	(void)data;
	return 0;
}

/* Channels: callers. */

/* On the channel's thread: the target is dialled before the server hears yes, so that it can tell its caller of a no. */
static void
reached(void *arg, struct stream *st, const char *why)
{
	(void)arg;
	if (why == NULL)
		ssh_confirm(st);
	else
		ssh_refuse(st, SSH_OPEN_CONNECT_FAILED, why);
}

static const struct local_raw channel_ops = { reached, vt_unref };

static int
refuse(struct stream *st, enum ssh_open_reason reason, const char *text)
{
	ssh_refuse(st, reason, text);
	stream_leave(st);
	return 0;
}

/* Whose port it is; a server may know it from a session before, and has not been asked in this one. -1: nobody's. */
static int
find_port(struct tunnel_client *c, int64_t port)
{
	int i, found = -1;

	pthread_mutex_lock(&c->mtx);
	for (i = 0; i < c->ntunnels; i++)
		if (!c->tunnel[i].lost && c->tunnel[i].port == port && port != 0)
			found = i;
	pthread_mutex_unlock(&c->mtx);
	return found;
}

static int
on_open(void *arg, struct stream *st, struct str type, struct str data)
{
	struct vt *v = arg;
	const char *why;
	int i;

	if (!str_is(type, "tunnel"))
		return refuse(st, SSH_OPEN_UNKNOWN_TYPE, "unknown channel type");
	if (vtunnel_parse(&v->msg, data.p, data.len, &why) == -1)
		return refuse(st, SSH_OPEN_CONNECT_FAILED, "invalid tunnel request");
	if ((i = find_port(v->c, v->msg.port)) == -1)
		return refuse(st, SSH_OPEN_CONNECT_FAILED, "no forward for port");
	vt_ref(v);
	if (local_begin_raw(v->c->local, i, st, &channel_ops, v) == 0)
		return 0;
	vt_unref(v);
	return refuse(st, SSH_OPEN_SHORTAGE, "no memory or thread");
}

static const struct ssh_ops ssh_ops = {
	.host_key = host_key, .ready = ready, .open = on_open, .request = channel_request, .global = global, .reply = reply
};

/* As the lanes know it. */

static void
request(struct lane *lane, struct shake *k, struct buf *target, struct buf *fields)
{
	struct tunnel_client *c = lane->c;

	(void)k;
	buf_str(target, c->endpoint.path[0] != '\0' ? c->endpoint.path : "/");
	if (c->keys.has_pin)	/* a tunneld shows its own then; others know nothing of it, and have none */
		buf_str(fields, "Tunnel-Host-Key: own\r\n");
}

static int
refused(struct lane *lane, const struct shake *k, char *why, size_t whylen)
{
	struct tunnel_client *c = lane->c;
	int status = k->head.status;

	if (status < 500 && status != 408 && status != 429)
		return reach_strange(c, k, why, whylen);
	snprintf(why, whylen, "%.150s answered %d %s", c->endpoint.authority, status, http_reason(status));
	return 1;
}

/* Our key, and the host key it makes. 0, or -1: it is none. */
static int
take_key(struct vt *v)
{
	uint8_t pub[VTUNNEL_KEY], seed[VTUNNEL_KEY];

	if (!v->c->keys.has_seed)
		return 0;
	if (sshkey_init(&v->key, SSHKEY_ED25519, v->c->keys.seed) == -1)
		return -1;
	ssh_ed25519_public(pub, v->key.secret);
	vtunnel_host_seed(seed, pub);
	ssh_ed25519_public(pub, seed);
	vtunnel_blob(v->host, pub);
	wipe(seed, sizeof(seed));
	return 0;
}

static int
open_session(struct session *s, struct shake *k)
{
	struct tunnel_client *c = s->lane->c;
	struct ssh_conf conf;
	struct link_conf lc;
	struct vt *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return -1;
	pthread_mutex_init(&v->mtx, NULL);
	v->refs = 1;
	v->c = c;
	v->s = s;
	v->began = s->began;
	memset(&conf, 0, sizeof(conf));
	conf.trans.ident = "SSH-2.0-tunnel_" VERSION;
	conf.trans.user = "vtunnel";
	conf.trans.keys[0] = c->keys.has_seed ? &v->key : NULL;
	conf.trans.random = random_bytes;
	conf.channels_max = STREAMS_MAX;
	conf.window = SSH_WINDOW;
	memset(&lc, 0, sizeof(lc));
	lc.client = 1;
	lc.message_max = MESSAGE_MAX;
	lc.owed_max = SSHLINK_OWED_MAX;
	if (take_key(v) == -1 || (v->ssh = ssh_new(&conf, &ssh_ops, v)) == NULL ||
	    (v->link = link_new(&k->conn, &lc, &sshlink_ops, v->ssh, k->buf + k->taken, k->len - k->taken)) == NULL) {
		vt_unref(v);
		return -1;
	}
	sshlink_attach(v->ssh, v->link);
	s->impl = v;
	return 0;
}

static void
begin(struct session *s)
{
	struct vt *v = s->impl;

	link_owe(v->link);	/* both sides begin at once */
}

/* Another host key than expected. */
static void
untrusted(struct vt *v, char *why, size_t whylen)
{
	char seen[BASE64_LEN(SHA256_LEN) + 1];

	base64_encode(seen, v->seen, sizeof(v->seen));
	if (v->c->keys.has_pin)
		snprintf(why, whylen, "the server's host key is SHA256:%.43s, and not the one that was to be expected", seen);
	else
		snprintf(why, whylen, "the server's host key is not the one made of our key: it knows another key, or none, or is another server");
	agent_finish(v->c, TUNNEL_UNTRUSTED, why, 0);
}

/* What came was no SSH, or none of ours. */
static void
no_server(struct vt *v, char *why, size_t whylen)
{
	char what[WHY_MAX];

	snprintf(what, sizeof(what), "%.150s is no vtunnel server: %.300s", v->c->endpoint.authority, why);
	snprintf(why, whylen, "%s", what);
	reach_hopeless(v->c, TUNNEL_FAILED, why);
}

static void
ended(struct session *s, int code, char *why, size_t whylen)
{
	struct vt *v = s->impl;
	int failed = ssh_failed(v->ssh), begun;
	const char *wrong;

	(void)code;
	pthread_mutex_lock(&v->mtx);
	wrong = v->wrong;
	begun = v->ready;
	pthread_mutex_unlock(&v->mtx);
	if (wrong != NULL)
		snprintf(why, whylen, "connection lost: %s", wrong);
	else if (failed == SSH_HOST_KEY_NOT_VERIFIABLE)
		untrusted(v, why, whylen);
	else if (failed == SSH_NO_MORE_AUTH_METHODS) {
		snprintf(why, whylen, v->c->keys.has_seed ? "the server does not take our key" : "the server wants a key, and there is none: --key-file");
		agent_finish(v->c, TUNNEL_DENIED, why, 0);
	} else if (failed != 0 && failed != SSH_BY_APPLICATION && !begun)
		no_server(v, why, whylen);
}

static struct link *
link_of(void *impl)
{
	struct vt *v = impl;

	return v->link;
}

static int
running(void *impl)
{
	struct vt *v = impl;

	return ssh_channels(v->ssh);
}

static void
bye(void *impl)
{
	struct vt *v = impl;

	ssh_disconnect(v->ssh, SSH_BY_APPLICATION, "client stopped");
	link_close(v->link, WS_NORMAL, "client stopped");
}

static void
end(void *impl)
{
	struct vt *v = impl;

	ssh_end(v->ssh);
}

static void
watch(void *impl)
{
	struct vt *v = impl;
	int64_t now = clock_ms(CLOCK_STEADY);
	int due = 0, ask_again = 0;
	const char *late = NULL;

	pthread_mutex_lock(&v->mtx);
	if (!v->ready && now - v->began >= BEGIN_MS)
		late = "no SSH in time";
	else if (v->ready && v->nanswered < v->nasked && now - v->since >= DEAD_MS)
		late = "the server answers no more";
	else if (v->ready && v->nanswered == v->nasked) {
		ask_again = v->again_at != 0 && now >= v->again_at;
		due = ask_again || now - v->since >= KEEP_MS;
	}
	pthread_mutex_unlock(&v->mtx);
	if (late != NULL)
		give_up(v, late);
	if (due)
		ask_for(v, ask_again ? LISTEN_NOT_NOW : PING);
}

/* Options. */

static int
take_keys(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	static const char form[] = "SHA256:";
	size_t n = o->host_key != NULL ? strlen(o->host_key) : 0;
	uint8_t pin[BASE64_LEN(SHA256_LEN)];
	char text[BASE64_LEN(SHA256_LEN) + 1];

	*why = "has keys that begin with vt-priv-, as tunnel keygen makes them; this is none";
	if (o->key != NULL && vtunnel_priv_parse(c->keys.seed, o->key, strlen(o->key)) == -1)
		return -1;
	c->keys.has_seed = o->key != NULL;
	if (o->host_key == NULL)
		return 0;
	*why = "has host keys as SHA256: and 43 characters of base64";
	if (n != sizeof(form) - 1 + 43 || memcmp(o->host_key, form, sizeof(form) - 1) != 0)
		return -1;
	snprintf(text, sizeof(text), "%s=", o->host_key + sizeof(form) - 1);
	if (base64_decode(pin, text, sizeof(text) - 1) != SHA256_LEN)
		return -1;
	memcpy(c->keys.pin, pin, sizeof(c->keys.pin));
	c->keys.has_pin = 1;
	return 0;
}

/* A pin that is made of our public key would protect nothing; and of the two that are, one must not even be told. 0, or -1. */
static int
check_pin(const struct tunnel_client *c, const char **why)
{
	uint8_t pub[VTUNNEL_KEY], seed[VTUNNEL_KEY], blob[VTUNNEL_BLOB], derived[SHA256_LEN];
	int bad;

	if (!c->keys.has_pin || !c->keys.has_seed)
		return 0;
	*why = "has a host key made of our own here, which whoever knows vt-pub- can have, too: --host-key is for one of the server's own";
	ssh_ed25519_public(pub, c->keys.seed);
	vtunnel_host_seed(seed, pub);
	ssh_ed25519_public(pub, seed);
	vtunnel_blob(blob, pub);
	sha256(blob, sizeof(blob), derived);
	bad = ct_equal(derived, c->keys.pin, sizeof(derived)) || ct_equal(seed, c->keys.pin, sizeof(seed));
	wipe(seed, sizeof(seed));
	return bad ? -1 : 0;
}

static int
take(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	int i;

	for (i = 0; i < c->ntunnels; i++) {
		*why = "has TCP ports alone: use tunnel forward";
		if (!c->tunnel[i].tcp)
			return -1;
		*why = "has no port 0: say which";
		if (c->tunnel[i].port == 0 && c->tunnel[i].name[0] == '\0')
			return -1;
		*why = "has no --public, and no --proxy-protocol: its ports are for the server's own machine";
		if (c->tunnel[i].public || o->tunnels == NULL || o->tunnels[i].proxy_protocol != 0)
			return -1;
	}
	*why = "has no --share and --connections: a server speaks to one client";
	if (o->share || o->connections > 1)
		return -1;
	*why = "has no --auth-file, TUNNEL_AUTH and --allow: the server would let any caller in";
	if (o->nauth + o->nallow > 0)
		return -1;
	*why = "cannot be had: libsodium does not start";
	if (sshcrypt_init() == -1)
		return -1;
	return take_keys(c, o, why) == 0 ? check_pin(c, why) : -1;
}

int
tunnel_keygen(char priv[TUNNEL_PRIV_LEN + 1], char pub[TUNNEL_PUB_LEN + 1], char *why, size_t whylen)
{
	uint8_t seed[VTUNNEL_KEY], key[VTUNNEL_KEY];

	if (sshcrypt_init() == -1 || random_bytes(seed, sizeof(seed)) == -1) {
		snprintf(why, whylen, "no random numbers can be had");
		return -1;
	}
	ssh_ed25519_public(key, seed);
	vtunnel_priv_format(priv, seed);
	vtunnel_pub_format(pub, key);
	wipe(seed, sizeof(seed));
	return 0;
}

const struct agent_dialect agent_vtunnel = {
	.name = "vtunnel", .server = "vtunnel server", .own_path = "", .tokenless = 1, .memory = BUFFER_MAX, .take = take,
	.request = request, .refused = refused, .open = open_session, .begin = begin, .ended = ended, .link = link_of, .ref = vt_ref,
	.unref = vt_unref, .running = running, .bye = bye, .end = end, .watch = watch
};
