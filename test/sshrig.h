/*
 * sshrig.h: an ssh of ours and a peer, a bare transport that notes every message, joined in memory.
 */
#ifndef SSHRIG_H
#define SSHRIG_H

#include <errno.h>

#include "../conn.h"
#include "../random.h"
#include "../sshint.h"
#include "sshtest.h"

enum { NOTED = 64, TEXT = 256, OUT = SSH_OUTPUT_MIN + 4096, WINDOW = 262144, CHANNELS = 8 };

/* Our side's user of a stream. */
struct user {
	struct stream *s;
	size_t bytes;
	int fins, resets, writables;
	int reset_again;	/* when it is reset */
};

static struct ssh *ssh;
static struct sshtrans peer;	/* the other side: a client */
static int broken;		/* our reader's verdict */
static const char *why;
static struct {			/* what the peer got */
	uint8_t text[TEXT];
	size_t len;
} got[NOTED];
static size_t ngot;
static void (*peer_hook)(const uint8_t *msg, size_t n);	/* sees it, too */
static struct user asked;	/* of the channel the peer has asked for */
static int open_answer, kicks, grant;
static char last_reply[TEXT];
static int nreplies, last_ok;
static struct sshkey host;

/* Our user's callbacks */

static inline void
on_data(void *arg, const uint8_t *p, size_t n)
{
	(void)p;
	((struct user *)arg)->bytes += n;
}

static inline void
on_fin(void *arg)
{
	((struct user *)arg)->fins++;
}

static inline void
on_reset(void *arg)
{
	((struct user *)arg)->resets++;
	if (((struct user *)arg)->reset_again)
		stream_reset(((struct user *)arg)->s);
}

static inline void
on_writable(void *arg)
{
	((struct user *)arg)->writables++;
}

static const struct stream_ops stream_ops = { on_data, on_fin, on_reset, on_writable };

static inline void
join(struct user *u, struct stream *s)
{
	memset(u, 0, sizeof(*u));
	u->s = s;
	pthread_mutex_lock(&s->mtx);
	s->ops = &stream_ops;
	s->arg = u;
	pthread_mutex_unlock(&s->mtx);
}

static inline int
yes(void *arg, struct str blob)
{
	(void)arg;
	return blob.len > 0;
}

static inline int
let_in(void *arg, struct str user, struct str blob)
{
	(void)arg;
	return user.len > 0 && blob.len == 0;
}

static inline void
on_ready(void *arg)
{
	(void)arg;
}

static inline int
on_open(void *arg, struct stream *s, struct str type, struct str data)
{
	(void)arg;
	(void)type;
	(void)data;
	if (open_answer == 0)
		join(&asked, s);
	return open_answer;
}

static inline int
on_request(void *arg, struct stream *s, struct str type, struct str data)
{
	(void)arg;
	(void)data;
	return grant && s != NULL && str_is(type, "exec");
}

static inline void
on_global(void *arg, struct str name, struct str data, int want)
{
	(void)arg;
	(void)data;
	if (want && str_is(name, "ping"))
		ssh_reply(ssh, 1, "pong", 4);
	else if (want)
		ssh_reply(ssh, 0, NULL, 0);
}

static inline void
on_reply(void *arg, int ok, struct str data)
{
	(void)arg;
	nreplies++;
	last_ok = ok;
	memcpy(last_reply, data.p, data.len < TEXT ? data.len : TEXT - 1);
	last_reply[data.len < TEXT ? data.len : TEXT - 1] = '\0';
}

static const struct ssh_ops ops = { yes, let_in, on_ready, on_open, on_request, on_global, on_reply };

static inline void
on_kick(void *arg)
{
	(void)arg;
	kicks++;
}

/* Both ends, and the wire */

static inline void
peer_gets(const uint8_t *msg, size_t n)
{
	int rc = sshtrans_message(&peer, msg, n, &why);

	if (rc == SSHTRANS_HOST_KEY)
		rc = sshtrans_answer(&peer, 1, &why);
	if (rc < 0)
		abort();
	if (rc != SSHTRANS_MESSAGE)
		return;
	if (ngot < NOTED) {
		got[ngot].len = n;
		memcpy(got[ngot++].text, msg, n < TEXT ? n : TEXT);
	}
	if (peer_hook != NULL)
		peer_hook(msg, n);
}

static inline void
to_peer(uint8_t *p, size_t n)
{
	uint8_t *msg;
	size_t len;
	long took;

	for (; n > 0; p += took, n -= (size_t)took) {
		if ((took = sshtrans_take(&peer, p, n, &msg, &len, &why)) < 0)
			abort();
		if (msg != NULL)
			peer_gets(msg, len);
	}
}

static size_t out_cap = OUT;

/* Until neither has anything to say. */
static inline void
talk(void)
{
	static uint8_t out[OUT];
	size_t n, len, back;
	int more;

	do {
		n = ssh_output(ssh, out, out_cap, &more);
		if (n > out_cap)
			check(0, "room is kept to", n);
		to_peer(out, n);
		back = sshtrans_ident(&peer, out);
		while (OUT - back > SSH_QUEUE_MAX + SSH_OVERHEAD && (len = sshtrans_next(&peer, out + back + SSH_PAYLOAD_AT, SSH_QUEUE_MAX)) > 0)
			back += sshtrans_seal(&peer, out + back, len);
		if (broken == 0)
			broken = ssh_input(ssh, out, back, &why);
	} while ((n > 0 || back > 0) && broken == 0);
	if (broken == 0 && ssh_pending(ssh))
		check(0, "nothing is left", 0);
}

static inline void
begin(uint32_t window)
{
	struct ssh_conf c;

	memset(&c, 0, sizeof(c));
	c.trans.server = 1;
	c.trans.ident = "SSH-2.0-Example";
	c.trans.keys[0] = &host;
	c.trans.random = random_bytes;
	c.channels_max = CHANNELS;
	c.window = window;
	if ((ssh = ssh_new(&c, &ops, NULL)) == NULL)
		abort();
	ssh_attach(ssh, on_kick, NULL);
	c.trans.server = 0;
	c.trans.ident = "SSH-2.0-Go";
	c.trans.keys[0] = NULL;
	c.trans.user = "vtunnel";
	if (sshtrans_init(&peer, &c.trans) == -1)
		abort();
	broken = 0;
	open_answer = nreplies = 0;
	grant = 1;
	talk();
	check(ssh_ready(ssh) && peer.phase == SSH_PHASE_RUN, "ready", 0);
	ngot = 0;
}

static inline void
end(void)
{
	ssh_end(ssh);
	sshtrans_free(&peer);
	ssh_unref(ssh);
}

/* The peer sends one message. Our verdict; what we answer is in got. */
static inline int
say(const void *msg, size_t n)
{
	static uint8_t out[SSH_PACKET_ROOM];

	memcpy(out + SSH_PAYLOAD_AT, msg, n);
	n = sshtrans_seal(&peer, out, n);
	ngot = 0;
	if (broken == 0)
		broken = ssh_input(ssh, out, n, &why);
	if (broken == 0)
		talk();
	return broken;
}

/* Likewise, and before anything is answered another comes, by say. */
static inline void
say_first(const char *text)
{
	static uint8_t out[SSH_PACKET_ROOM];
	size_t n = unhex(out + SSH_PAYLOAD_AT, 1024, text);

	broken = ssh_input(ssh, out, sshtrans_seal(&peer, out, n), &why);
}

static inline int
say_hex(const char *text)
{
	uint8_t msg[1024];

	return say(msg, unhex(msg, sizeof(msg), text));
}

/* The i-th message the peer got since. */
static inline int
got_is(size_t i, const char *text)
{
	return i < ngot && is_hex(got[i].text, got[i].len, text);
}

static inline int
write_str(struct stream *s, const char *text, int fin)
{
	struct iovec iov;
	long n;

	iov.iov_base = (void *)(uintptr_t)text;
	iov.iov_len = strlen(text);
	n = stream_write(s, &iov, 1, fin, CONN_FOREVER);
	ngot = 0;
	talk();
	return (int)n;
}

#define CONFIRM "5b00000000000000000020000000008000"

/* A channel of ours that is asked for; its message is in got. */
static inline void
ask(struct user *u, const char *data)
{
	struct stream *s = ssh_open(ssh);

	if (s == NULL)
		abort();
	join(u, s);
	check(ssh_ask(s, "tunnel", data, strlen(data)) == 0, "asked for", 0);
	ngot = 0;
	talk();
}

/* And confirmed with these. */
static inline void
opened(struct user *u, const char *confirm)
{
	ask(u, "{\"port\":9000}");
	check(say_hex(confirm) == 0 && u->writables == 1, "confirmed", 0);
}

static inline void
rig_init(void)
{
	uint8_t secret[32] = { 7 };

	if (sshcrypt_init() == -1 || sshkey_init(&host, SSHKEY_ED25519, secret) == -1)
		abort();
}

#endif
