/* tls_bearssl.c: TLS 1.2 by BearSSL; see tlsint.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "net.h"
#include "random.h"
#include "sha256.h"
#include "tls_bearssl.h"

enum {
	LEAF_MAX = 32768,	/* bytes of a server's certificate */
	RSA_BYTES_MIN = 256,
	RECORD_HEADER = 5,
	UNIX_EPOCH_DAYS = 719528,	/* BearSSL counts days from the year 0 */
	DAY = 86400,
	RESUME_MS = DAY * 1000,	/* then the certificate is looked at again */
	CONTENT_ALERT = 21, CONTENT_DATA = 23,	/* record types (RFC 5246, 6.2.1) */
	ALERT_HANDSHAKE = 40, ALERT_VERSION = 70
};

/* Verifies a server's chain, by BearSSL, and keeps its first certificate, for names and pins. */
struct verifier {
	const br_x509_class *vtable;
	br_x509_minimal_context minimal;
	br_x509_decoder_context decoder;
	const struct tls_client *client;
	const char *host;
	uint8_t der[LEAF_MAX];
	size_t len;
	int ncerts, parsed;
	struct x509 leaf;
	enum tls_result result;	/* what is wrong, and why, once the chain's end was seen */
	char why[TLS_WHY_MAX];
};

struct cache {			/* the server's cache, with its lock */
	const br_ssl_session_cache_class *vtable;
	struct tls_server *server;
};

struct policy {			/* chooses the certificate */
	const br_ssl_server_policy_class *vtable;
	struct tls_engine *engine;
};

struct tls_engine {
	br_ssl_engine_context *ssl;	/* that of server or client */
	union {
		br_ssl_server_context server;
		br_ssl_client_context client;
	} u;
	struct tls_server *server;	/* until the handshake is done */
	struct cache cache;
	struct policy policy;
	struct tls_client *client;
	struct verifier *verifier;	/* until the handshake is done */
	int shaken, heard;
	char host[NET_HOST_MAX];
	unsigned char *buf;	/* for a record in and one out; NULL between records */
	unsigned char none[2];	/* what BearSSL takes for its two buffers meanwhile: it never looks */
};

/* What both sides have in common. */

static void
set_suites(br_ssl_engine_context *ssl)
{
	static const uint16_t aes_first[] = {
		BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
	}, chacha_first[] = {
		BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
	};
	uint32_t flags = BR_OPT_NO_RENEGOTIATION | BR_OPT_FAIL_ON_ALPN_MISMATCH;

	/* without instructions for it, AES is ten times slower than ChaCha20 */
	if (br_aes_x86ni_ctr_get_vtable() != NULL || br_aes_pwr8_ctr_get_vtable() != NULL)
		br_ssl_engine_set_suites(ssl, aes_first, sizeof(aes_first) / sizeof(aes_first[0]));
	else {
		br_ssl_engine_set_suites(ssl, chacha_first, sizeof(chacha_first) / sizeof(chacha_first[0]));
		flags |= BR_OPT_ENFORCE_SERVER_PREFERENCES;
	}
	br_ssl_engine_set_all_flags(ssl, flags);
}

static int
set_up(struct tls_engine *e)
{
	static const char *const alpn[] = { "http/1.1", "http/1.0" };
	br_ssl_engine_context *ssl = e->ssl;
	unsigned char seed[32];

	br_ssl_engine_set_versions(ssl, BR_TLS12, BR_TLS12);
	set_suites(ssl);
	br_ssl_engine_set_default_ec(ssl);
	br_ssl_engine_set_default_ecdsa(ssl);
	br_ssl_engine_set_default_rsavrfy(ssl);
	br_ssl_engine_set_default_aes_gcm(ssl);
	br_ssl_engine_set_default_chapol(ssl);
	br_ssl_engine_set_hash(ssl, br_sha256_ID, &br_sha256_vtable);
	br_ssl_engine_set_hash(ssl, br_sha384_ID, &br_sha384_vtable);
	br_ssl_engine_set_hash(ssl, br_sha512_ID, &br_sha512_vtable);
	br_ssl_engine_set_prf_sha256(ssl, &br_tls12_sha256_prf);
	br_ssl_engine_set_prf_sha384(ssl, &br_tls12_sha384_prf);
	br_ssl_engine_set_protocol_names(ssl, (const char **)(uintptr_t)alpn, e->client != NULL ? 1 : 2);
	if ((e->buf = malloc(BR_SSL_BUFSIZE_BIDI)) == NULL)
		return -1;
	br_ssl_engine_set_buffers_bidi(ssl, e->buf, BR_SSL_BUFSIZE_INPUT, e->buf + BR_SSL_BUFSIZE_INPUT,
	    BR_SSL_BUFSIZE_OUTPUT);
	if (random_bytes(seed, sizeof(seed)) == -1)	/* a chroot may lack what BearSSL looks for */
		return -1;
	br_ssl_engine_inject_entropy(ssl, seed, sizeof(seed));
	wipe(seed, sizeof(seed));
	return 0;
}

static struct tls_engine *
engine_new(void)
{
	return calloc(1, sizeof(struct tls_engine));
}

/*
 * BearSSL keeps offsets into its buffers, and between two records nothing in them: then they
 * may move, or be nowhere. It has no function for that, but the members are in its header.
 */
static void
place_buffers(struct tls_engine *e)
{
	e->ssl->ibuf = e->buf != NULL ? e->buf : e->none;
	e->ssl->obuf = e->buf != NULL ? e->buf + BR_SSL_BUFSIZE_INPUT : e->none + 1;
}

static int
has_buffers(struct tls_engine *e)
{
	if (e->buf != NULL)
		return 1;
	e->buf = malloc(BR_SSL_BUFSIZE_BIDI);
	place_buffers(e);
	return e->buf != NULL;
}

void
tls_engine_trim(struct tls_engine *e)
{
	unsigned char *in, *out, *rec;
	size_t nin, nout, nrec;

	in = br_ssl_engine_recvrec_buf(e->ssl, &nin);
	out = br_ssl_engine_sendapp_buf(e->ssl, &nout);
	rec = br_ssl_engine_sendrec_buf(e->ssl, &nrec);
	if (e->buf == NULL || in != e->buf || nin != RECORD_HEADER || out == NULL || rec != NULL)
		return;
	free(e->buf);
	e->buf = NULL;
	place_buffers(e);
}

void
tls_engine_free(struct tls_engine *e)
{
	if (e->server != NULL)
		tls_server_unref(e->server);
	free(e->verifier);
	free(e->buf);
	wipe(e, sizeof(*e));
	free(e);
}

/* The server's side. */

static void
cache_save(const br_ssl_session_cache_class **ctx, br_ssl_server_context *cc,
    const br_ssl_session_parameters *params)
{
	struct tls_server *s = ((struct cache *)(void *)ctx)->server;

	pthread_mutex_lock(&s->mtx);
	s->lru.vtable->save(&s->lru.vtable, cc, params);
	pthread_mutex_unlock(&s->mtx);
}

static int
cache_load(const br_ssl_session_cache_class **ctx, br_ssl_server_context *cc,
    br_ssl_session_parameters *params)
{
	struct tls_server *s = ((struct cache *)(void *)ctx)->server;
	int rc;

	pthread_mutex_lock(&s->mtx);
	rc = s->lru.vtable->load(&s->lru.vtable, cc, params);
	pthread_mutex_unlock(&s->mtx);
	return rc;
}

static const br_ssl_session_cache_class cache_class = { sizeof(struct cache), cache_save, cache_load };

/* Would BearSSL's own policy for one certificate take this one? It then goes on in place of ours. */
static int
offer(struct tls_engine *e, const struct pair *p, br_ssl_server_choices *choices)
{
	br_ssl_server_context *cc = &e->u.server;

	if (br_skey_decoder_get_rsa(&p->key) != NULL)
		br_ssl_server_set_single_rsa(cc, p->chain, p->nchain, br_skey_decoder_get_rsa(&p->key),
		    BR_KEYTYPE_SIGN, br_rsa_private_get_default(), br_rsa_pkcs1_sign_get_default());
	else
		br_ssl_server_set_single_ec(cc, p->chain, p->nchain, br_skey_decoder_get_ec(&p->key),
		    BR_KEYTYPE_SIGN, 0, br_ec_get_default(), br_ecdsa_sign_asn1_get_default());
	return (*cc->policy_vtable)->choose(cc->policy_vtable, cc, choices);
}

static int
policy_choose(const br_ssl_server_policy_class **ctx, const br_ssl_server_context *cc,
    br_ssl_server_choices *choices)
{
	struct tls_engine *e = ((struct policy *)(void *)ctx)->engine;
	const char *name = br_ssl_engine_get_server_name(&cc->eng);
	int i, named = 0;

	for (i = 0; i < e->server->npairs; i++)
		if (name[0] != '\0' && x509_names_host(&e->server->pair[i]->leaf, name)) {
			named = 1;
			if (offer(e, e->server->pair[i], choices))
				return 1;
		}
	for (i = 0; !named && i < e->server->npairs; i++)
		if (offer(e, e->server->pair[i], choices))
			return 1;
	return 0;
}

static uint32_t
policy_keyx(const br_ssl_server_policy_class **ctx, unsigned char *data, size_t *len)
{
	(void)ctx;	/* static keys are not offered */
	(void)data;
	(void)len;
	return 0;
}

static size_t
policy_sign(const br_ssl_server_policy_class **ctx, unsigned algo, unsigned char *data,
    size_t hv_len, size_t len)
{
	(void)ctx;	/* the chosen certificate's policy does it */
	(void)algo;
	(void)data;
	(void)hv_len;
	(void)len;
	return 0;
}

static const br_ssl_server_policy_class policy_class = {
	sizeof(struct policy), policy_choose, policy_keyx, policy_sign
};

struct tls_engine *
tls_engine_accept(struct tls_server *s)
{
	struct tls_engine *e = engine_new();
	br_ssl_server_context *cc;

	if (e == NULL)
		return NULL;
	cc = &e->u.server;
	e->ssl = &cc->eng;
	br_ssl_server_zero(cc);
	tls_server_ref(s);
	e->server = s;
	e->cache.vtable = &cache_class;
	e->cache.server = s;
	br_ssl_server_set_cache(cc, &e->cache.vtable);
	e->policy.vtable = &policy_class;
	e->policy.engine = e;
	br_ssl_server_set_policy(cc, &e->policy.vtable);
	if (set_up(e) == -1 || !br_ssl_server_reset(cc)) {
		tls_engine_free(e);
		return NULL;
	}
	return e;
}

/* The client's side. */

static void
v_start_chain(const br_x509_class **ctx, const char *name)
{
	struct verifier *v = (struct verifier *)(void *)ctx;

	(void)name;	/* tls_judge looks at it: BearSSL knows no addresses */
	v->minimal.vtable->start_chain(&v->minimal.vtable, NULL);
}

static void
v_start_cert(const br_x509_class **ctx, uint32_t len)
{
	struct verifier *v = (struct verifier *)(void *)ctx;

	if (v->ncerts++ == 0)
		br_x509_decoder_init(&v->decoder, NULL, NULL);
	v->minimal.vtable->start_cert(&v->minimal.vtable, len);
}

static void
v_append(const br_x509_class **ctx, const unsigned char *p, size_t len)
{
	struct verifier *v = (struct verifier *)(void *)ctx;
	size_t all = len;

	if (v->ncerts == 1) {
		br_x509_decoder_push(&v->decoder, p, len);
		if (len > sizeof(v->der) - v->len)
			len = sizeof(v->der) - v->len;	/* it will not be whole, so it will not be parsed */
		memcpy(v->der + v->len, p, len);
		v->len += len;
	}
	v->minimal.vtable->append(&v->minimal.vtable, p, all);
}

static void
v_end_cert(const br_x509_class **ctx)
{
	struct verifier *v = (struct verifier *)(void *)ctx;
	const char *wrong;

	if (v->ncerts == 1)
		v->parsed = x509_parse(&v->leaf, v->der, v->len, &wrong) == 0;
	v->minimal.vtable->end_cert(&v->minimal.vtable);
}

/* What BearSSL found wrong with a chain. */
static enum tls_result
explain_chain(struct verifier *v, unsigned err)
{
	static const struct {
		unsigned err;
		enum tls_fault fault;
	} table[] = {
		{ BR_ERR_X509_EXPIRED, FAULT_DATES }, { BR_ERR_X509_WEAK_PUBLIC_KEY, FAULT_WEAK },
		{ BR_ERR_X509_UNSUPPORTED, FAULT_WEAK },	/* a signature with MD5 or SHA-1, say */
		{ BR_ERR_X509_CRITICAL_EXTENSION, FAULT_LIMITS },
		{ BR_ERR_X509_NOT_TRUSTED, FAULT_ISSUER }
	};
	size_t i = 0;

	while (i < sizeof(table) / sizeof(table[0]) - 1 && table[i].err != err)
		i++;
	return tls_explain(table[i].fault, v->parsed ? &v->leaf : NULL, v->host, NULL, v->why);
}

static unsigned
v_end_chain(const br_x509_class **ctx)
{
	struct verifier *v = (struct verifier *)(void *)ctx;
	const struct tls_trust *trust = &v->client->trust;
	unsigned err = v->minimal.vtable->end_chain(&v->minimal.vtable);

	v->result = TLS_OK;
	if (v->client->nanchors > 0 && err != 0)
		v->result = explain_chain(v, err);
	else if (!v->parsed && !trust->insecure)
		v->result = tls_explain(FAULT_WEAK, NULL, v->host, NULL, v->why);
	else
		v->result = tls_judge(trust, &v->leaf, v->host, v->why);
	return v->result == TLS_OK ? 0 : BR_ERR_X509_NOT_TRUSTED;
}

static const br_x509_pkey *
v_get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct verifier *v = (const struct verifier *)(const void *)ctx;

	if (v->client->nanchors > 0)
		return v->minimal.vtable->get_pkey(&v->minimal.vtable, usages);
	if (usages != NULL)
		*usages = BR_KEYTYPE_SIGN;
	return br_x509_decoder_get_pkey((br_x509_decoder_context *)(uintptr_t)&v->decoder);
}

static const br_x509_class verifier_class = {
	sizeof(struct verifier), v_start_chain, v_start_cert, v_append, v_end_cert, v_end_chain, v_get_pkey
};

static void
verifier_init(struct verifier *v, const struct tls_client *c, const char *host)
{
	br_x509_minimal_context *m = &v->minimal;
	int64_t now = clock_ms(CLOCK_WALL) / 1000;

	v->vtable = &verifier_class;
	v->client = c;
	v->host = host;
	v->len = 0;
	v->ncerts = v->parsed = 0;
	v->result = TLS_OK;
	br_x509_minimal_init(m, &br_sha256_vtable, c->anchor, c->nanchors);
	br_x509_minimal_set_rsa(m, br_rsa_pkcs1_vrfy_get_default());
	br_x509_minimal_set_ecdsa(m, br_ec_get_default(), br_ecdsa_vrfy_asn1_get_default());
	br_x509_minimal_set_hash(m, br_sha256_ID, &br_sha256_vtable);
	br_x509_minimal_set_hash(m, br_sha384_ID, &br_sha384_vtable);
	br_x509_minimal_set_hash(m, br_sha512_ID, &br_sha512_vtable);
	br_x509_minimal_set_minrsa(m, RSA_BYTES_MIN);
	br_x509_minimal_set_time(m, (uint32_t)(now / DAY + UNIX_EPOCH_DAYS), (uint32_t)(now % DAY));
}

struct tls_engine *
tls_engine_connect(struct tls_client *c, const char *host)
{
	struct tls_engine *e = engine_new();
	br_ssl_client_context *cc;
	size_t len = strlen(host);
	int resume, ok;

	if (e == NULL || len >= sizeof(e->host) || (e->verifier = malloc(sizeof(*e->verifier))) == NULL) {
		free(e);
		return NULL;
	}
	memcpy(e->host, host, len + 1);
	if (len > 1 && host[len - 1] == '.')	/* SNI has none (RFC 6066, 3) */
		e->host[len - 1] = '\0';
	cc = &e->u.client;
	e->ssl = &cc->eng;
	e->client = c;
	br_ssl_client_zero(cc);
	br_ssl_client_set_default_rsapub(cc);
	verifier_init(e->verifier, c, e->host);
	br_ssl_engine_set_x509(e->ssl, &e->verifier->vtable);
	ok = set_up(e) == 0;
	pthread_mutex_lock(&c->mtx);
	resume = c->resumable && clock_ms(CLOCK_STEADY) < c->until;
	if (resume)
		br_ssl_engine_set_session_parameters(e->ssl, &c->session);
	pthread_mutex_unlock(&c->mtx);
	if (!ok || !br_ssl_client_reset(cc, tls_sni_ok(host) ? e->host : NULL, resume)) {
		tls_engine_free(e);
		return NULL;
	}
	return e;
}

/* Records. */

/* Take what is to be sent. 0: there is no room for more. */
static int
take_out(struct tls_engine *e, struct tls_io *io)
{
	struct tls_buf *b = &io->out;
	unsigned char *p;
	size_t len, n;

	while ((p = br_ssl_engine_sendrec_buf(e->ssl, &len)) != NULL) {
		if (!tls_out_room(io, 1))
			return 0;
		n = b->cap - b->n < len ? b->cap - b->n : len;
		memcpy(b->p + b->n, p, n);
		b->n += n;
		br_ssl_engine_sendrec_ack(e->ssl, n);
	}
	return 1;
}

/* Hand on what has come. 0: the engine does not take any, or there is none. */
static int
feed(struct tls_engine *e, struct tls_io *io)
{
	struct tls_buf *b = &io->in;
	unsigned char *p;
	size_t len, n = b->n - b->at;

	if (n == 0 || (p = br_ssl_engine_recvrec_buf(e->ssl, &len)) == NULL)
		return 0;
	if (n > len)
		n = len;
	memcpy(p, b->p + b->at, n);
	b->at += n;
	br_ssl_engine_recvrec_ack(e->ssl, n);
	return 1;
}

/* Why a handshake has failed. */
static enum tls_result
explain(struct tls_engine *e, char why[TLS_WHY_MAX])
{
	int err = br_ssl_engine_last_error(e->ssl);
	char detail[64];

	if (e->client != NULL) {	/* it may be the resumption that is not liked */
		pthread_mutex_lock(&e->client->mtx);
		e->client->resumable = 0;
		pthread_mutex_unlock(&e->client->mtx);
	}
	if (e->verifier != NULL && e->verifier->result != TLS_OK) {
		memcpy(why, e->verifier->why, TLS_WHY_MAX);
		return e->verifier->result;
	}
	if (e->client != NULL && err == BR_ERR_RECV_FATAL_ALERT + ALERT_VERSION)
		return tls_explain(FAULT_NEWER, NULL, e->host, NULL, why);
	/* one that has chosen an older version may find no cipher for that */
	if (e->client != NULL && err == BR_ERR_RECV_FATAL_ALERT + ALERT_HANDSHAKE &&
	    e->ssl->version_in >= BR_TLS10 && e->ssl->version_in < BR_TLS12)
		return tls_explain(FAULT_OLDER, NULL, e->host, NULL, why);
	if (e->client != NULL && err == BR_ERR_RECV_FATAL_ALERT + ALERT_HANDSHAKE)
		return tls_explain(FAULT_CIPHER, NULL, e->host, NULL, why);
	if (e->client != NULL && err == BR_ERR_UNSUPPORTED_VERSION)
		return tls_explain(FAULT_OLDER, NULL, e->host, NULL, why);
	if (err >= BR_ERR_SEND_FATAL_ALERT)
		snprintf(detail, sizeof(detail), "alert %d sent", err - BR_ERR_SEND_FATAL_ALERT);
	else if (err >= BR_ERR_RECV_FATAL_ALERT)
		snprintf(detail, sizeof(detail), "alert %d received", err - BR_ERR_RECV_FATAL_ALERT);
	else
		snprintf(detail, sizeof(detail), "bad handshake (%d)", err);
	return tls_explain(FAULT_OTHER, NULL, e->client != NULL ? e->host : "the caller", detail, why);
}

/* The handshake is done: keep what the next may resume, give back what only it needed. */
static void
shaken(struct tls_engine *e)
{
	e->shaken = 1;
	if (e->client != NULL) {
		pthread_mutex_lock(&e->client->mtx);
		br_ssl_engine_get_session_parameters(e->ssl, &e->client->session);
		e->client->resumable = !e->client->trust.many;	/* a session says nothing of another server */
		e->client->until = clock_ms(CLOCK_STEADY) + RESUME_MS;
		pthread_mutex_unlock(&e->client->mtx);
		free(e->verifier);
		e->verifier = NULL;
	} else {
		tls_server_unref(e->server);
		e->server = NULL;
	}
}

enum tls_result
tls_engine_handshake(struct tls_engine *e, struct tls_io *io, char why[TLS_WHY_MAX])
{
	unsigned state;

	if (e->shaken)
		return TLS_OK;
	if (!e->heard && io->in.at < io->in.n) {
		e->heard = 1;
		if (e->client != NULL && (io->in.p[io->in.at] < 20 || io->in.p[io->in.at] > CONTENT_DATA))
			return tls_explain(FAULT_NOT_TLS, NULL, e->host, NULL, why);
	}
	do {
		if (!take_out(e, io))
			return TLS_NETWORK;
		state = br_ssl_engine_current_state(e->ssl);
		if (state == BR_SSL_CLOSED)
			return explain(e, why);
		if (state & (BR_SSL_SENDAPP | BR_SSL_RECVAPP)) {
			shaken(e);
			return TLS_OK;
		}
	} while (feed(e, io));
	return TLS_NETWORK;
}

ssize_t
tls_engine_read(struct tls_engine *e, struct tls_io *io, void *buf, size_t len)
{
	unsigned char *p;
	size_t got = 0, n;

	if (io->in.at < io->in.n && !has_buffers(e)) {
		errno = ENOMEM;
		return -1;
	}
	for (;;) {
		while (got < len && (p = br_ssl_engine_recvapp_buf(e->ssl, &n)) != NULL) {
			if (n > len - got)
				n = len - got;
			memcpy((char *)buf + got, p, n);
			br_ssl_engine_recvapp_ack(e->ssl, n);
			got += n;
		}
		take_out(e, io);
		if (got == len || !feed(e, io))
			break;
	}
	if (got > 0)
		return (ssize_t)got;
	if (br_ssl_engine_current_state(e->ssl) != BR_SSL_CLOSED) {
		errno = EAGAIN;
		return -1;
	}
	errno = EPROTO;
	return br_ssl_engine_last_error(e->ssl) == BR_ERR_OK ? 0 : -1;
}

/* One record from iov[0..n) behind its first skip bytes. Bytes taken. */
static size_t
fill_record(struct tls_engine *e, const struct iovec *iov, int n, size_t skip)
{
	unsigned char *p;
	size_t room, k, took = 0;

	for (; n > 0; n--, iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		if ((p = br_ssl_engine_sendapp_buf(e->ssl, &room)) == NULL)
			break;
		k = iov->iov_len - skip;
		if (k > room)
			k = room;
		memcpy(p, (const char *)iov->iov_base + skip, k);
		br_ssl_engine_sendapp_ack(e->ssl, k);
		took += k;
		if (k < iov->iov_len - skip)
			break;
		skip = 0;
	}
	br_ssl_engine_flush(e->ssl, 0);
	return took;
}

ssize_t
tls_engine_writev(struct tls_engine *e, struct tls_io *io, const struct iovec *iov, int n, size_t skip)
{
	size_t left = iov_len(iov, n) - skip, took = 0, k;
	int refused = 0;

	if (!has_buffers(e)) {
		errno = ENOMEM;
		return -1;
	}
	while (left > 0 && take_out(e, io)) {
		k = left < TLS_RECORD_MAX ? left : TLS_RECORD_MAX;
		if (!tls_out_room(io, k + TLS_RECORD_MORE))
			break;
		if ((refused = (k = fill_record(e, iov, n, skip + took)) == 0))
			break;
		took += k;
		left -= k;
	}
	take_out(e, io);
	if (took > 0)
		return (ssize_t)took;
	/* with room it takes data, but in a handshake that the other side has begun and does not end */
	errno = br_ssl_engine_current_state(e->ssl) == BR_SSL_CLOSED ? EPIPE : refused ? EPROTO : EAGAIN;
	return -1;
}

int
tls_engine_pending(const struct tls_engine *e)
{
	size_t len;

	return br_ssl_engine_recvapp_buf(e->ssl, &len) != NULL ||
	    br_ssl_engine_current_state(e->ssl) == BR_SSL_CLOSED;
}

/*
 * BearSSL's own way to close discards what still comes; in HTTP a side that has said all may still listen. So
 * the alert is written as data would be, with its own record type.
 */
void
tls_engine_close(struct tls_engine *e, struct tls_io *io)
{
	unsigned char *p;
	size_t len;

	if (!take_out(e, io) || !has_buffers(e) || (p = br_ssl_engine_sendapp_buf(e->ssl, &len)) == NULL || len < 2)
		return;
	e->ssl->record_type_out = CONTENT_ALERT;
	p[0] = 1;	/* warning */
	p[1] = 0;	/* close_notify */
	br_ssl_engine_sendapp_ack(e->ssl, 2);
	br_ssl_engine_flush(e->ssl, 0);
	take_out(e, io);
	e->ssl->record_type_out = CONTENT_DATA;
}
