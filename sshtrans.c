/* sshtrans.c: SSH's transport as a machine; see sshtrans.h. Authentication is in sshauth.c. */
#include <string.h>

#include "sshtrans.h"

enum {
	CLEAR_BLOCK = 8,		/* without a cipher, packets are padded to this */
	BEFORE_IDENT_MAX = 4096		/* lines of a server's before its identification, bytes */
};

static const uint64_t rekey_bytes = UINT64_C(1) << 30;
static const uint32_t rekey_packets = UINT32_C(1) << 31;	/* RFC 4344, 3.1 */

int
sshtrans_fail(const char **why, enum ssh_reason reason, const char *what)
{
	*why = what;
	return -(int)reason;
}

/* Messages of our own */

int
sshtrans_push(struct sshtrans *t, const struct buf *b, const char **why)
{
	if (t->bye)
		return 0;
	if (b->full || b->len + 2 > sizeof(t->queue) - t->nqueue)
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "the other side does not read what it asks for");
	t->queue[t->nqueue++] = (uint8_t)(b->len >> 8);
	t->queue[t->nqueue++] = (uint8_t)b->len;
	memcpy(t->queue + t->nqueue, b->p, b->len);
	t->nqueue += b->len;
	return 0;
}

static int
push_byte(struct sshtrans *t, uint8_t type, const char **why)
{
	struct buf b;

	buf_init(&b, &type, 1);
	b.len = 1;
	return sshtrans_push(t, &b, why);
}

static const char *
host_algs(const struct sshtrans_conf *c)
{
	if (!c->server)
		return SSH_KEY_ALGS;
	if (c->keys[1] == NULL)
		return sshkey_alg(c->keys[0]->type);
	return c->keys[0]->type == SSHKEY_ED25519 ? SSH_KEY_ALGS : "ecdsa-sha2-nistp256,ssh-ed25519";
}

/* Queue our KEXINIT. 0, or a reason negated. */
static int
begin_kex(struct sshtrans *t, const char **why)
{
	struct sshkex_offer o;
	uint8_t cookie[SSH_COOKIE_LEN];
	struct buf b;
	int rc;

	if (t->conf.random(cookie, sizeof(cookie)) == -1)
		return sshtrans_fail(why, SSH_BY_APPLICATION, "no random numbers");
	o.server = t->conf.server;
	o.first = !t->first_done;
	o.keys = host_algs(&t->conf);
	o.ciphers = t->conf.ciphers;
	buf_init(&b, t->init, sizeof(t->init));
	sshkex_put_init(&b, cookie, &o);
	t->ninit = b.len;
	if ((rc = sshtrans_push(t, &b, why)) == 0)
		t->init_sent = 1;	/* else all that is to be sent would wait for it */
	return rc;
}

int
sshtrans_init(struct sshtrans *t, const struct sshtrans_conf *conf)
{
	const char *why;

	memset(t, 0, sizeof(*t));
	t->conf = *conf;
	if (conf->ciphers == NULL)
		t->conf.ciphers = sshkex_ciphers();
	if (conf->rekey_bytes == 0)
		t->conf.rekey_bytes = rekey_bytes;
	if (conf->rekey_packets == 0)
		t->conf.rekey_packets = rekey_packets;
	t->in_block = t->out_block = CLEAR_BLOCK;
	return begin_kex(t, &why) < 0 ? -1 : 0;
}

void
sshtrans_free(struct sshtrans *t)
{
	sshcipher_free(t->in);
	sshcipher_free(t->out);
	sshcipher_free(t->out_soon);
	sshcipher_free(t->next_in);
	sshcipher_free(t->next_out);
	wipe(t, sizeof(*t));
}

/* The reader: bytes to messages */

static long
take_ident(struct sshtrans *t, const uint8_t *buf, size_t len, const char **why)
{
	size_t had = t->nbuf, n = SSH_IDENT_MAX - had < len ? SSH_IDENT_MAX - had : len;
	struct str id;
	long whole;

	memcpy(t->buf + had, buf, n);
	t->nbuf += n;
	if ((whole = ssh_ident((const char *)t->buf, t->nbuf, &id, why)) < 0)
		return whole;
	if (whole == 0)
		return (long)n;
	t->nbuf = 0;
	if (id.len == 0) {
		t->before_ident += (size_t)whole;
		if (t->conf.server || t->before_ident > BEFORE_IDENT_MAX)
			return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "no identification string of SSH");
	} else {
		memcpy(t->peer, id.p, id.len);
		t->peer[id.len] = '\0';
		t->ident_seen = 1;
	}
	return whole - (long)had;
}

/* Gather a packet in t->buf. Bytes taken, or a reason negated. */
static long
gather(struct sshtrans *t, const uint8_t *buf, size_t len, const char **why)
{
	size_t taken = 0, want, n;
	long whole = 0;

	for (;;) {
		if (t->nbuf >= 4 && whole == 0 &&
		    (whole = ssh_packet_len(t->in, t->in_block, t->in_seq, t->buf, t->nbuf, why)) < 0)
			return whole;
		want = whole == 0 ? 4 : (size_t)whole;
		n = want - t->nbuf < len - taken ? want - t->nbuf : len - taken;
		if (n == 0)
			return (long)taken;
		memcpy(t->buf + t->nbuf, buf + taken, n);
		t->nbuf += n;
		taken += n;
	}
}

long
sshtrans_take(struct sshtrans *t, uint8_t *buf, size_t len, uint8_t **msg, size_t *n, const char **why)
{
	long taken, whole;

	*msg = NULL;
	if (!t->ident_seen)
		return take_ident(t, buf, len, why);
	if (t->used)
		t->nbuf = t->used = 0;
	if (t->nbuf == 0) {	/* most packets stand in buf as a whole */
		whole = ssh_open_packet(t->in, t->in_block, t->in_seq, buf, len, msg, n, why);
		taken = whole;
	} else
		whole = 0;
	if (whole == 0) {
		if ((taken = gather(t, buf, len, why)) < 0)
			return taken;
		whole = ssh_open_packet(t->in, t->in_block, t->in_seq, t->buf, t->nbuf, msg, n, why);
		t->used = whole > 0;
	}
	if (whole < 0)
		return whole;
	if (whole > 0) {
		t->in_seq++;
		t->in_packets++;
		t->in_bytes += (uint64_t)whole;
	}
	return taken;
}

/* Key exchange */

static int
keys_worn(const struct sshtrans *t, uint64_t bytes, uint64_t packets)
{
	return bytes >= t->conf.rekey_bytes || packets >= t->conf.rekey_packets;
}

int
sshtrans_rekey(struct sshtrans *t)
{
	const char *why;

	if (t->phase != SSH_PHASE_RUN || t->init_sent || t->newkeys_waits || t->bye)
		return 0;
	return begin_kex(t, &why) < 0 ? -1 : 0;
}

/* KEXINIT has come: choose, and begin the exchange hash. */
static int
kexinit(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	struct sshkex_text text;
	struct str mine, theirs, id;
	int rc, first = !t->first_done;

	if (t->init_got || t->newkeys_waits)
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "KEXINIT in the middle of a key exchange");
	if (!t->init_sent && (rc = begin_kex(t, why)) < 0)
		return rc;
	mine.p = (const char *)t->init;
	mine.len = t->ninit;
	theirs.p = (const char *)msg;
	theirs.len = n;
	if ((rc = sshkex_choose(&t->choice, &mine, &theirs, t->conf.server, why)) < 0)
		return rc;
	if (first) {
		t->strict = t->choice.strict;
		t->ext_info = t->choice.ext_info;
		if (t->strict && t->seq != 0)
			return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "KEXINIT is not the first packet");
	}
	id.p = t->conf.ident;
	id.len = strlen(id.p);
	text.vc.p = text.vs.p = t->peer;
	text.vc.len = text.vs.len = strlen(t->peer);
	text.ic = text.is = theirs;
	*(t->conf.server ? &text.vs : &text.vc) = id;
	*(t->conf.server ? &text.is : &text.ic) = mine;
	sshkex_hash_begin(&t->hash, &text);
	memcpy(t->host_alg, t->choice.host_key.p, t->choice.host_key.len);	/* a name of ours */
	t->host_alg[t->choice.host_key.len] = '\0';
	t->init_got = 1;
	t->skip_guess = t->choice.wrong_guess;
	return 0;
}

/* A fresh key pair: the private one is kept. 0, or a reason negated. */
static int
ephemeral(struct sshtrans *t, uint8_t q[SSH_X25519_LEN], const char **why)
{
	if (t->conf.random(t->eph, sizeof(t->eph)) == -1)
		return sshtrans_fail(why, SSH_BY_APPLICATION, "no random numbers");
	ssh_x25519_public(q, t->eph);
	return 0;
}

static int
client_begins(struct sshtrans *t, const char **why)
{
	uint8_t q[SSH_X25519_LEN], text[1 + 4 + SSH_X25519_LEN];
	struct buf b;
	int rc;

	if ((rc = ephemeral(t, q, why)) < 0)
		return rc;
	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_ECDH_INIT);
	ssh_put_str(&b, q, sizeof(q));
	return sshtrans_push(t, &b, why);
}

/* The shared secret and the exchange hash, which is the session's name if it is the first. */
static int
agree(struct sshtrans *t, struct str theirs, struct str host_key, const char **why)
{
	uint8_t mine[SSH_X25519_LEN];
	const uint8_t *q = (const uint8_t *)theirs.p;
	int low;

	if (theirs.len != SSH_X25519_LEN)
		return sshtrans_fail(why, SSH_KEX_FAILED, "public value is not of 32 bytes");
	ssh_x25519_public(mine, t->eph);
	low = ssh_x25519(t->k, t->eph, q) == -1;
	wipe(t->eph, sizeof(t->eph));
	if (low)
		return sshtrans_fail(why, SSH_KEX_FAILED, "public value is of low order");
	sshkex_hash_end(&t->hash, t->h, host_key, t->conf.server ? q : mine, t->conf.server ? mine : q, t->k);
	if (!t->first_done)
		memcpy(t->session, t->h, sizeof(t->session));
	return 0;
}

/* New keys from the secret, and NEWKEYS behind which they are ours. */
static int
make_keys(struct sshtrans *t, const char **why)
{
	int c2s_out = !t->conf.server;
	enum sshcipher_alg out = c2s_out ? t->choice.c2s : t->choice.s2c, in = c2s_out ? t->choice.s2c : t->choice.c2s;

	t->next_out = sshkex_cipher(out, c2s_out, t->k, t->h, t->session);
	t->next_in = sshkex_cipher(in, !c2s_out, t->k, t->h, t->session);
	t->next_out_block = sshcipher_block(out);
	t->next_in_block = sshcipher_block(in);
	wipe(t->k, sizeof(t->k));
	if (t->next_out == NULL || t->next_in == NULL)
		return sshtrans_fail(why, SSH_BY_APPLICATION, "no memory");
	t->keys_made = t->newkeys_waits = 1;
	return push_byte(t, SSH_NEWKEYS, why);
}

static int
push_ext_info(struct sshtrans *t, const char **why)
{
	uint8_t text[128];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_EXT_INFO);
	ssh_put_u32(&b, 1);
	ssh_put_cstr(&b, "server-sig-algs");
	ssh_put_cstr(&b, SSH_KEY_ALGS);
	return sshtrans_push(t, &b, why);
}

static const struct sshkey *
host_key(const struct sshtrans *t)
{
	int i = t->conf.keys[1] != NULL && strcmp(sshkey_alg(t->conf.keys[1]->type), t->host_alg) == 0;

	return t->conf.keys[i];
}

/* Server: the client's public value. */
static int
ecdh_init(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	uint8_t qs[SSH_X25519_LEN], text[1 + SSH_BLOB_MAX + SSH_SIGNATURE_MAX + 64], sig[SSH_SIGNATURE_MAX];
	const struct sshkey *key = host_key(t);
	struct ssh_in in;
	struct buf b, s;
	struct str qc, blob;
	int rc;

	ssh_in_init(&in, msg + 1, n - 1);
	qc = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "ECDH_INIT is malformed");
	blob.p = (const char *)key->blob;
	blob.len = key->nblob;
	if ((rc = ephemeral(t, qs, why)) < 0 || (rc = agree(t, qc, blob, why)) < 0)
		return rc;
	buf_init(&s, sig, sizeof(sig));
	sshkey_sign(key, &s, t->h, sizeof(t->h));
	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_ECDH_REPLY);
	ssh_put_str(&b, blob.p, blob.len);
	ssh_put_str(&b, qs, sizeof(qs));
	ssh_put_str(&b, s.p, s.len);
	if ((rc = sshtrans_push(t, &b, why)) < 0 || (rc = make_keys(t, why)) < 0)
		return rc;
	return !t->first_done && t->ext_info ? push_ext_info(t, why) : 0;
}

/* Client: the host key is accepted. */
static int
client_ends(struct sshtrans *t, const char **why)
{
	int rc = make_keys(t, why);

	return rc == 0 && !t->first_done ? sshauth_begin(t, why) : rc;
}

/* Client: the server's public value, its host key, and the proof that it has it. */
static int
ecdh_reply(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	uint8_t hash[SHA256_LEN];
	struct ssh_in in;
	struct str blob, qs, sig;
	const char *alg;
	int rc;

	ssh_in_init(&in, msg + 1, n - 1);
	blob = ssh_get_str(&in);
	qs = ssh_get_str(&in);
	sig = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "ECDH_REPLY is malformed");
	alg = sshkey_blob_alg(blob.p, blob.len);
	if (alg == NULL || strcmp(alg, t->host_alg) != 0)
		return sshtrans_fail(why, SSH_KEX_FAILED, "the host key is not of the type agreed upon");
	if ((rc = agree(t, qs, blob, why)) < 0)
		return rc;
	if (!sshkey_verify(blob.p, blob.len, sig, t->h, sizeof(t->h)))
		return sshtrans_fail(why, SSH_KEX_FAILED, "the host key's signature is wrong");
	if (!t->first_done) {
		memset(&t->ask, 0, sizeof(t->ask));
		t->ask.blob = blob;
		t->ask.alg = alg;
		return SSHTRANS_HOST_KEY;
	}
	sha256(blob.p, blob.len, hash);
	if (!ct_equal(hash, t->host_hash, sizeof(hash)))
		return sshtrans_fail(why, SSH_HOST_KEY_NOT_VERIFIABLE, "the host key has changed within the connection");
	return client_ends(t, why);
}

static int
newkeys(struct sshtrans *t, size_t n, const char **why)
{
	if (!t->keys_made || n != 1)
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "NEWKEYS out of place");
	sshcipher_free(t->in);
	t->in = t->next_in;
	t->next_in = NULL;
	t->in_block = t->next_in_block;
	t->in_bytes = t->in_packets = 0;
	if (t->strict)
		t->in_seq = 0;
	t->init_sent = t->init_got = t->keys_made = 0;
	if (!t->first_done)
		t->phase = SSH_PHASE_SERVICE;
	t->first_done = 1;
	return SSHTRANS_DONE;
}

static int
kex_message(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	int rc;

	if (msg[0] == SSH_KEXINIT) {
		if ((rc = kexinit(t, msg, n, why)) < 0)
			return rc;
		return t->conf.server ? SSHTRANS_DONE : client_begins(t, why);
	}
	if (msg[0] == SSH_NEWKEYS)
		return newkeys(t, n, why);
	if (t->skip_guess) {
		t->skip_guess = 0;
		return SSHTRANS_DONE;
	}
	if (!t->init_got || t->keys_made || msg[0] != (t->conf.server ? SSH_ECDH_INIT : SSH_ECDH_REPLY))
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "message of a key exchange out of place");
	return t->conf.server ? ecdh_init(t, msg, n, why) : ecdh_reply(t, msg, n, why);
}

/* Messages of every layer */

int
sshtrans_unimplemented(struct sshtrans *t, const char **why)
{
	uint8_t text[5];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_UNIMPLEMENTED);
	ssh_put_u32(&b, t->seq);
	return sshtrans_push(t, &b, why);
}

/* Messages 1 to 19, without those of services. */
static int
generic(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	struct ssh_in in;

	switch (msg[0]) {
	case SSH_DISCONNECT:
		ssh_in_init(&in, msg + 1, n - 1);
		ssh_get_u32(&in);
		memset(&t->ask, 0, sizeof(t->ask));
		t->ask.blob = ssh_get_str(&in);
		t->bye = 1;	/* it reads nothing any more */
		t->nqueue = 0;
		return SSHTRANS_BYE;
	case SSH_IGNORE:
	case SSH_DEBUG:
	case SSH_UNIMPLEMENTED:
	case SSH_EXT_INFO:	/* nothing in it matters to us */
		return SSHTRANS_DONE;
	default:
		return sshtrans_unimplemented(t, why);
	}
}

/* During the first key exchange nothing is authentic: with strict key exchange nothing but it may come. */
static int
too_early(const struct sshtrans *t, unsigned type)
{
	if (type == SSH_DISCONNECT || (type >= SSH_KEXINIT && type < SSH_USERAUTH_REQUEST))
		return 0;
	return t->strict || (type != SSH_IGNORE && type != SSH_DEBUG && type != SSH_UNIMPLEMENTED);
}

int
sshtrans_message(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	unsigned type = msg[0];

	t->seq = t->in_seq - 1;
	if (!t->first_done && too_early(t, type))
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "message out of place in the first key exchange");
	if (type == SSH_SERVICE_REQUEST || type == SSH_SERVICE_ACCEPT ||
	    (type >= SSH_USERAUTH_REQUEST && type < SSH_GLOBAL_REQUEST)) {
		if (t->init_got)
			return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "message in the middle of a key exchange");
		return sshauth_message(t, msg, n, why);
	}
	if (type < SSH_KEXINIT)
		return generic(t, msg, n, why);
	if (type < SSH_USERAUTH_REQUEST)
		return kex_message(t, msg, n, why);
	if (t->init_got || t->phase != SSH_PHASE_RUN)
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, t->init_got ? "message in the middle of a key exchange" :
		    "message before authentication");
	if (keys_worn(t, t->in_bytes, t->in_packets) && sshtrans_rekey(t) == -1)
		return sshtrans_fail(why, SSH_BY_APPLICATION, "no random numbers");
	return SSHTRANS_MESSAGE;
}

int
sshtrans_answer(struct sshtrans *t, int yes, const char **why)
{
	if (t->conf.server)
		return sshauth_answer(t, yes, why);
	if (!yes)
		return sshtrans_fail(why, SSH_HOST_KEY_NOT_VERIFIABLE, "the host key is not the one expected");
	sha256(t->ask.blob.p, t->ask.blob.len, t->host_hash);
	return client_ends(t, why);
}

void
sshtrans_disconnect(struct sshtrans *t, int reason, const char *text)
{
	uint8_t space[256];
	const char *why;
	struct buf b;
	size_t len = strlen(text);

	buf_init(&b, space, sizeof(space));
	buf_char(&b, SSH_DISCONNECT);
	ssh_put_u32(&b, (uint32_t)reason);
	ssh_put_str(&b, text, len < 200 ? len : 200);
	ssh_put_cstr(&b, "");
	sshtrans_push(t, &b, &why);	/* without room for it, it ends without */
	t->bye = 1;
}

/* The writer */

int
sshtrans_waiting(const struct sshtrans *t)
{
	return t->nqueue > 0;
}

int
sshtrans_may_send(const struct sshtrans *t)
{
	return t->phase == SSH_PHASE_RUN && !t->bye && !(t->init_sent && !t->keys_made);
}

size_t
sshtrans_next(struct sshtrans *t, uint8_t *p, size_t cap)
{
	size_t n;

	if (keys_worn(t, t->out_bytes, t->out_packets))
		sshtrans_rekey(t);	/* should there be no random numbers now, then the next time */
	if (t->nqueue == 0)
		return 0;
	n = (size_t)t->queue[0] << 8 | t->queue[1];
	if (n > cap)
		return 0;
	memcpy(p, t->queue + 2, n);
	t->nqueue -= 2 + n;
	memmove(t->queue, t->queue + 2 + n, t->nqueue);
	if (p[0] == SSH_NEWKEYS) {
		t->newkeys_waits = 0;
		t->out_soon = t->next_out;
		t->out_block_soon = t->next_out_block;
		t->next_out = NULL;
	}
	return n;
}

size_t
sshtrans_seal(struct sshtrans *t, uint8_t *out, size_t payload)
{
	int newkeys_out = out[SSH_PAYLOAD_AT] == SSH_NEWKEYS;
	size_t n = ssh_seal(t->out, t->out_block, t->out_seq, out, payload);

	t->out_seq++;
	t->out_packets++;
	t->out_bytes += n;
	if (newkeys_out) {
		sshcipher_free(t->out);
		t->out = t->out_soon;
		t->out_soon = NULL;
		t->out_block = t->out_block_soon;
		t->out_bytes = t->out_packets = 0;
		if (t->strict)
			t->out_seq = 0;
	}
	return n;
}

size_t
sshtrans_ident(struct sshtrans *t, uint8_t *out)
{
	struct buf b;

	if (t->ident_sent)
		return 0;
	t->ident_sent = 1;
	buf_init(&b, out, SSH_IDENT_MAX);
	buf_str(&b, t->conf.ident);
	buf_str(&b, "\r\n");
	return b.len;
}
