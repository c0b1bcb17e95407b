/* tls_libtls.c: TLS 1.2 and 1.3 by libtls; see tlsint.h. */
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tls.h>

#include "pem.h"
#include "sha256.h"
#include "tlsint.h"

enum { CONTENT_CCS = 20, CONTENT_DATA = 23 };	/* record types (RFC 8446, 5.1) */

static const char server_alpn[] = "http/1.1,http/1.0";

struct tls_server {
	pthread_mutex_t mtx;	/* guards refs, and ctx while a connection is made from it */
	int refs;
	struct tls *ctx;
};

struct tls_client {		/* does not change */
	struct tls_trust trust;	/* of its ca, only whether there is one */
	struct tls_config *config;
};

struct tls_engine {
	struct tls *ctx;
	struct tls_io *io;	/* that of the call under way */
	struct tls_server *server;	/* until the handshake is done */
	const struct tls_client *client;
	int shaken, heard;
	int ended;		/* nothing more is to be read: -1, close_notify; else an errno */
	int ahead;		/* byte has been read, for tls_engine_pending */
	uint8_t byte;
	char host[];
};

/* What both sides have in common. */

static struct tls_config *
config_new(const char *alpn)
{
	struct tls_config *c;

#ifdef OPENSSL_INIT_NO_ATEXIT
	/* at exit(3) OpenSSL would free what our threads, as they end, still use and free */
	OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
#endif
	if ((c = tls_config_new()) == NULL)
		return NULL;
	tls_config_set_protocols(c, TLS_PROTOCOL_TLSv1_2 | TLS_PROTOCOL_TLSv1_3);
	/* no RSA key below 2048 bits, no SHA-1; LibreSSL may not know the word */
	if ((tls_config_set_ciphers(c, "TLSv1.3:ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2") == -1 &&
	    tls_config_set_ciphers(c, "TLSv1.3:ECDHE+AESGCM:ECDHE+CHACHA20") == -1) ||
	    /* P-521 besides libtls's own choice: TLS 1.2 wants it of whoever meets a certificate on it */
	    tls_config_set_ecdhecurves(c, "X25519,P-256,P-384,P-521") == -1 || tls_config_set_alpn(c, alpn) == -1) {
		tls_config_free(c);
		return NULL;
	}
	tls_config_prefer_ciphers_client(c);	/* without instructions for AES it is slow: a caller knows its own CPU */
	return c;
}

static const char *
or_memory(const char *wrong)
{
	return wrong != NULL ? wrong : "no memory";
}

struct pem {			/* text */
	uint8_t *p;
	size_t len;
};

static void
pem_free(struct pem *t)
{
	if (t->p != NULL)
		wipe(t->p, t->len);
	free(t->p);
}

/*
 * Read a file, and keep of its text only the certificates, or the first private key: libtls keeps what it is
 * given for certificates, and their key may stand in the same file. 0, or -1 and why; t is to be freed in any case.
 */
static int
pem_load(struct pem *t, const char *path, int key, const char *none, char why[TLS_WHY_MAX])
{
	char *text = NULL, label[PEM_LABEL_MAX];
	const char *wrong = NULL;
	size_t len = 0, at = 0, from = 0, n;
	uint8_t *der;
	int rc;

	memset(t, 0, sizeof(*t));
	if (tls_slurp(path, &text, &len, why) == -1)
		return -1;
	t->p = malloc(len + 1);
	if ((der = malloc(len + 1)) == NULL || t->p == NULL)
		wrong = "no memory";
	for (; wrong == NULL && !(key && t->len > 0); from = at) {
		if ((rc = pem_next(text, len, &at, label, der, len, &n, &wrong)) != 1) {
			/* further certificates may be lost in what is malformed: it counts */
			wrong = rc == 0 ? t->len > 0 ? NULL : none : wrong;
			break;
		}
		wrong = NULL;
		if (key && strcmp(label, "ENCRYPTED PRIVATE KEY") == 0)
			wrong = "the key is encrypted: decrypt it with openssl pkey";
		else if (key ? strstr(label, "PRIVATE KEY") != NULL : strcmp(label, "CERTIFICATE") == 0) {
			memcpy(t->p + t->len, text + from, at - from);
			t->len += at - from;
		}
	}
	if (der != NULL)
		wipe(der, len);
	free(der);
	wipe(text, len);
	free(text);
	if (wrong != NULL)
		snprintf(why, TLS_WHY_MAX, "%.120s: %.70s", path, wrong);
	return wrong == NULL ? 0 : -1;
}

/* The server's side. */

/* Would a server with this pair alone work? 0, or -1 and why. */
static int
pair_check(const struct tls_files *f, const struct pem *cert, const struct pem *key, char why[TLS_WHY_MAX])
{
	struct tls_config *config = config_new(server_alpn);
	struct tls *ctx = tls_server();
	const char *wrong = NULL;
	int rc = -1;

	if (config != NULL && ctx != NULL &&
	    tls_config_set_keypair_mem(config, cert->p, cert->len, key->p, key->len) == 0 &&
	    (rc = tls_configure(ctx, config)) == -1)
		wrong = tls_error(ctx);
	wrong = or_memory(wrong);
	if (strstr(wrong, "mismatch") != NULL || strstr(wrong, "load private key") != NULL)
		snprintf(why, TLS_WHY_MAX, "%.60s is not for this key (%.60s)", f->cert, f->key);
	else if (strstr(wrong, "load certificate") != NULL)
		snprintf(why, TLS_WHY_MAX, "%.100s cannot be used: it is damaged, or weak (RSA below 2048 bits, SHA-1)", f->cert);
	else if (rc == -1)
		snprintf(why, TLS_WHY_MAX, "%.50s and %.50s cannot be used: %.60s", f->cert, f->key, wrong);
	tls_free(ctx);
	tls_config_free(config);
	return rc;
}

/*
 * libtls takes the first pair where no other is for the name, without a look at it. Where there are
 * others, the first stands among them once more: a wildcard of theirs must not come before it.
 */
static int
pair_add(struct tls_config *c, const struct tls_files *f, int first, int last, char why[TLS_WHY_MAX])
{
	struct pem cert, key = { NULL, 0 };
	int rc = -1;

	if (pem_load(&cert, f->cert, 0, "has no certificate", why) == 0 &&
	    pem_load(&key, f->key, 1, "has no private key", why) == 0 && pair_check(f, &cert, &key, why) == 0) {
		rc = first ? tls_config_set_keypair_mem(c, cert.p, cert.len, key.p, key.len) : 0;
		if (rc == 0 && !(first && last))
			rc = tls_config_add_keypair_mem(c, cert.p, cert.len, key.p, key.len);
		if (rc == -1)
			snprintf(why, TLS_WHY_MAX, "%.180s", or_memory(tls_config_error(c)));
	}
	pem_free(&cert);
	pem_free(&key);
	return rc;
}

struct tls_server *
tls_server_new(const struct tls_files *f, int n, char why[TLS_WHY_MAX])
{
	struct tls_server *s = calloc(1, sizeof(*s));
	struct tls_config *config = config_new(server_alpn);
	int i, rc = -1;

	snprintf(why, TLS_WHY_MAX, "no memory");
	if (s != NULL && config != NULL && (s->ctx = tls_server()) != NULL)
		for (i = rc = 0; i < n && rc == 0; i++)
			rc = pair_add(config, &f[i], i == 0, i == n - 1, why);
	if (rc == 0 && (rc = tls_configure(s->ctx, config)) == -1)
		snprintf(why, TLS_WHY_MAX, "%.180s", or_memory(tls_error(s->ctx)));
	if (config != NULL)
		tls_config_clear_keys(config);	/* the library below has them */
	tls_config_free(config);	/* ctx has its own share in it */
	if (rc == -1) {
		if (s != NULL)
			tls_free(s->ctx);
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->mtx, NULL);
	s->refs = 1;
	return s;
}

void
tls_server_ref(struct tls_server *s)
{
	pthread_mutex_lock(&s->mtx);
	s->refs++;
	pthread_mutex_unlock(&s->mtx);
}

void
tls_server_unref(struct tls_server *s)
{
	int left;

	pthread_mutex_lock(&s->mtx);
	left = --s->refs;
	pthread_mutex_unlock(&s->mtx);
	if (left > 0)
		return;
	tls_free(s->ctx);
	pthread_mutex_destroy(&s->mtx);
	free(s);
}

/* The client's side. */

struct tls_client *
tls_client_new(const struct tls_trust *trust, char why[TLS_WHY_MAX])
{
	struct tls_client *c = calloc(1, sizeof(*c));
	const char *ca = trust->ca;
	struct tls_engine *trial = NULL;
	struct pem pem;

	if (c == NULL || (c->config = config_new("http/1.1")) == NULL) {
		snprintf(why, TLS_WHY_MAX, "no memory");
		free(c);
		return NULL;
	}
	c->trust = *trust;
	tls_config_insecure_noverifyname(c->config);	/* tls_judge does */
	if (trust->insecure || (ca == NULL && trust->npins > 0)) {
		tls_config_insecure_noverifycert(c->config);
		return c;
	}
	if (ca == NULL && (ca = tls_system_ca()) == NULL) {
		snprintf(why, TLS_WHY_MAX, "no CA certificates on this system: install ca-certificates, or see --ca and --pin");
		tls_client_free(c);
		return NULL;
	}
	if (pem_load(&pem, ca, 0, "has no CA certificate", why) == 0) {
		/* libtls looks at them when it connects */
		if (tls_config_set_ca_mem(c->config, pem.p, pem.len) == 0)
			trial = tls_engine_connect(c, "localhost");
		if (trial == NULL)
			snprintf(why, TLS_WHY_MAX, "%.120s: has a CA certificate that cannot be used", ca);
	}
	pem_free(&pem);
	if (trial == NULL) {
		tls_client_free(c);
		return NULL;
	}
	tls_engine_free(trial);
	return c;
}

void
tls_client_free(struct tls_client *c)
{
	tls_config_free(c->config);
	free(c);
}

/* With the chain verified: is it the right server? */
static enum tls_result
judge(struct tls_engine *e, char why[TLS_WHY_MAX])
{
	const struct tls_trust *trust = &e->client->trust;
	char label[PEM_LABEL_MAX];
	const char *text, *wrong;
	enum tls_result rc;
	struct x509 leaf;
	size_t len = 0, at = 0, n;
	uint8_t *der;

	if (trust->insecure)
		return TLS_OK;
	text = (const char *)tls_peer_cert_chain_pem(e->ctx, &len);
	if ((der = malloc(len + 1)) == NULL) {
		snprintf(why, TLS_WHY_MAX, "no memory for TLS");
		return TLS_MEMORY;
	}
	if (text == NULL || pem_next(text, len, &at, label, der, len, &n, &wrong) != 1 ||
	    x509_parse(&leaf, der, n, &wrong) == -1)
		rc = tls_explain(FAULT_WEAK, NULL, e->host, NULL, why);
	else
		rc = tls_judge(trust, &leaf, e->host, why);
	free(der);
	return rc;
}

/* Why a handshake has failed, from what libtls says. */
static enum tls_result
explain(struct tls_engine *e, char why[TLS_WHY_MAX])
{
	static const struct {
		const char *text;
		enum tls_fault fault;
	} table[] = {
		{ "has expired", FAULT_DATES }, { "not yet valid", FAULT_DATES }, { "too weak", FAULT_WEAK },
		{ "certificate purpose", FAULT_USAGE }, { "critical extension", FAULT_LIMITS },
		{ "key too small", FAULT_WEAK }, { "md too weak", FAULT_WEAK }, { "verification failed", FAULT_ISSUER },
		{ "alert protocol version", FAULT_OLDER }, { "unsupported protocol", FAULT_OLDER },
		{ "version too low", FAULT_OLDER }, { "alert handshake failure", FAULT_CIPHER },
		{ "alert insufficient security", FAULT_CIPHER }, { "wrong version number", FAULT_NOT_TLS }
	};
	const char *text = or_memory(tls_error(e->ctx)), *colon = strrchr(text, ':');
	size_t i;

	for (i = 0; e->client != NULL && i < sizeof(table) / sizeof(table[0]); i++)
		if (strstr(text, table[i].text) != NULL)
			return tls_explain(table[i].fault, NULL, e->host,
			    strstr(text, "not yet") != NULL ? "not yet valid" : "expired", why);
	return tls_explain(FAULT_OTHER, NULL, e->client != NULL ? e->host : "the caller",
	    colon != NULL ? colon + 1 : text, why);
}

/* Records. */

static ssize_t
take_in(struct tls *ctx, void *buf, size_t len, void *arg)
{
	struct tls_buf *b = &((struct tls_engine *)arg)->io->in;

	(void)ctx;
	if (b->at == b->n)
		return TLS_WANT_POLLIN;
	if (len > b->n - b->at)
		len = b->n - b->at;
	memcpy(buf, b->p + b->at, len);
	b->at += len;
	return (ssize_t)len;
}

static ssize_t
put_out(struct tls *ctx, const void *buf, size_t len, void *arg)
{
	struct tls_io *io = ((struct tls_engine *)arg)->io;
	struct tls_buf *b = &io->out;

	(void)ctx;
	if (!tls_out_room(io, 1))
		return TLS_WANT_POLLOUT;
	if (len > b->cap - b->n)
		len = b->cap - b->n;
	memcpy(b->p + b->n, buf, len);
	b->n += len;
	return (ssize_t)len;
}

struct tls_engine *
tls_engine_accept(struct tls_server *s)
{
	struct tls_engine *e = calloc(1, sizeof(*e) + 1);
	int rc;

	if (e == NULL)
		return NULL;
	pthread_mutex_lock(&s->mtx);
	rc = tls_accept_cbs(s->ctx, &e->ctx, take_in, put_out, e);
	pthread_mutex_unlock(&s->mtx);
	if (rc == -1) {
		free(e);
		return NULL;
	}
	tls_server_ref(s);
	e->server = s;
	return e;
}

struct tls_engine *
tls_engine_connect(struct tls_client *c, const char *host)
{
	size_t len = strlen(host);
	struct tls_engine *e = calloc(1, sizeof(*e) + len + 1);

	if (e == NULL)
		return NULL;
	memcpy(e->host, host, len);
	if (len > 1 && host[len - 1] == '.')	/* SNI has none (RFC 6066, 3) */
		e->host[len - 1] = '\0';
	e->client = c;
	if ((e->ctx = tls_client()) == NULL || tls_configure(e->ctx, c->config) == -1 ||
	    tls_connect_cbs(e->ctx, take_in, put_out, e, tls_sni_ok(host) ? e->host : NULL) == -1) {
		tls_engine_free(e);
		return NULL;
	}
	return e;
}

void
tls_engine_free(struct tls_engine *e)
{
	tls_free(e->ctx);
	if (e->server != NULL)
		tls_server_unref(e->server);
	free(e);
}

enum tls_result
tls_engine_handshake(struct tls_engine *e, struct tls_io *io, char why[TLS_WHY_MAX])
{
	enum tls_result result;
	int rc;

	if (e->shaken)
		return TLS_OK;
	e->io = io;
	if (!e->heard && io->in.at < io->in.n) {
		e->heard = 1;
		if (e->client != NULL && (io->in.p[io->in.at] < CONTENT_CCS || io->in.p[io->in.at] > CONTENT_DATA))
			return tls_explain(FAULT_NOT_TLS, NULL, e->host, NULL, why);
	}
	rc = tls_handshake(e->ctx);
	if (rc == TLS_WANT_POLLIN || rc == TLS_WANT_POLLOUT)
		return TLS_NETWORK;
	if (rc == -1)
		return explain(e, why);
	if (e->client != NULL && (result = judge(e, why)) != TLS_OK) {
		tls_close(e->ctx);
		return result;
	}
	e->shaken = 1;
	if (e->server != NULL)
		tls_server_unref(e->server);
	e->server = NULL;
	return TLS_OK;
}

/* tls_read, on past what is no plaintext, such as a ticket. */
static ssize_t
pull(struct tls_engine *e, void *buf, size_t len)
{
	ssize_t n;

	do
		n = tls_read(e->ctx, buf, len);
	while (n == TLS_WANT_POLLIN && e->io->in.at < e->io->in.n);
	if (n == 0 || n == -1)
		e->ended = n == 0 ? -1 : EPROTO;
	return n;
}

ssize_t
tls_engine_read(struct tls_engine *e, struct tls_io *io, void *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;

	e->io = io;
	if (e->ahead && len > 0) {
		*(uint8_t *)buf = e->byte;
		e->ahead = 0;
		got = 1;
	}
	while (got < len && !e->ended && (n = pull(e, (char *)buf + got, len - got)) > 0)
		got += (size_t)n;
	/* libtls does not say whether there is more: look */
	if (got == len && !e->ended && !e->ahead)
		e->ahead = pull(e, &e->byte, 1) == 1;
	if (got > 0)
		return (ssize_t)got;
	if (e->ended == -1)
		return 0;
	errno = e->ended ? e->ended : EAGAIN;
	return -1;
}

int
tls_engine_pending(const struct tls_engine *e)
{
	return e->ahead || e->ended;
}

/* The next len bytes of iov behind its first skip. */
static void
gather(uint8_t *to, size_t len, const struct iovec *iov, size_t skip)
{
	size_t k;

	for (; len > 0; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		k = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		memcpy(to, (const char *)iov->iov_base + skip, k);
		to += k;
		len -= k;
		skip = 0;
	}
}

ssize_t
tls_engine_writev(struct tls_engine *e, struct tls_io *io, const struct iovec *iov, int n, size_t skip)
{
	size_t left = iov_len(iov, n) - skip, took = 0, k;
	uint8_t *record = malloc(left < TLS_RECORD_MAX ? left + 1 : TLS_RECORD_MAX);
	ssize_t rc = TLS_WANT_POLLOUT;

	if (record == NULL)
		return -1;
	e->io = io;
	while (left > 0) {
		k = left < TLS_RECORD_MAX ? left : TLS_RECORD_MAX;
		/* with room for all of a record libtls will not want the same bytes again */
		if (!tls_out_room(io, k + TLS_RECORD_MORE))
			break;
		gather(record, k, iov, skip + took);
		if ((rc = tls_write(e->ctx, record, k)) <= 0)
			break;
		took += (size_t)rc;
		left -= (size_t)rc;
	}
	free(record);
	if (took > 0)
		return (ssize_t)took;
	errno = rc == TLS_WANT_POLLOUT || rc == TLS_WANT_POLLIN ? EAGAIN : EPIPE;
	return -1;
}

void
tls_engine_close(struct tls_engine *e, struct tls_io *io)
{
	e->io = io;
	if (tls_out_room(io, TLS_RECORD_MORE))
		tls_close(e->ctx);
}

void
tls_engine_trim(struct tls_engine *e)
{
	(void)e;	/* libtls has no way to give its buffers back */
}
