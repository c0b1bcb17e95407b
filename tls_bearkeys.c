/* tls_bearkeys.c: certificates, keys and CAs, for BearSSL; see tls_bearssl.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pem.h"
#include "sha256.h"
#include "tls_bearssl.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096 };	/* the latter is BearSSL's */

/* Text and what was decoded of it: there may be a key in it. */
static void
give_back(char *text, uint8_t *der, size_t len)
{
	wipe(text, len);
	free(text);
	if (der != NULL)
		wipe(der, len);
	free(der);
}

static unsigned char *
copy(const unsigned char *p, size_t len)
{
	unsigned char *q = malloc(len);

	return q != NULL ? memcpy(q, p, len) : NULL;
}

static int
refuse(char why[TLS_WHY_MAX], const char *path, const char *wrong)
{
	snprintf(why, TLS_WHY_MAX, "%.120s: %.70s", path, wrong);
	return -1;
}

/* Hand each certificate of a file to take, which returns NULL or what is wrong. 0, or -1 and why. */
static int
each_certificate(const char *path, const char *(*take)(void *arg, const uint8_t *der, size_t len), void *arg, char why[TLS_WHY_MAX])
{
	char *text, label[PEM_LABEL_MAX];
	const char *wrong = "no memory";
	size_t len, at = 0, n;
	uint8_t *der;
	int rc = -1;

	if (tls_slurp(path, &text, &len, why) == -1)
		return -1;
	der = malloc(len + 1);
	while (der != NULL && (rc = pem_next(text, len, &at, label, der, len, &n, &wrong)) == 1)
		if (strcmp(label, "CERTIFICATE") == 0 && (wrong = take(arg, der, n)) != NULL) {
			rc = -1;
			break;
		}
	give_back(text, der, len);
	return rc == 0 ? 0 : refuse(why, path, wrong);
}

static const char *
chain_add(void *arg, const uint8_t *der, size_t len)
{
	struct pair *p = arg;

	if (p->nchain == TLS_CHAIN_MAX)
		return "has too long a chain";
	if ((p->chain[p->nchain].data = copy(der, len)) == NULL)
		return "no memory";
	p->chain[p->nchain++].data_len = len;
	return NULL;
}

static int
load_chain(struct pair *p, const char *path, char why[TLS_WHY_MAX])
{
	const char *wrong = "has no certificate";

	if (each_certificate(path, chain_add, p, why) == -1)
		return -1;
	if (p->nchain > 0 && x509_parse(&p->leaf, p->chain[0].data, p->chain[0].data_len, &wrong) == 0)
		return 0;
	return refuse(why, path, wrong);
}

static int
load_key(struct pair *p, const char *path, char why[TLS_WHY_MAX])
{
	char *text, label[PEM_LABEL_MAX];
	const char *wrong = "has no private key";
	size_t len, at = 0, n;
	uint8_t *der;
	int found = 0;

	if (tls_slurp(path, &text, &len, why) == -1)
		return -1;
	der = malloc(len + 1);
	while (der != NULL && !found && pem_next(text, len, &at, label, der, len, &n, &wrong) == 1) {
		if (strcmp(label, "ENCRYPTED PRIVATE KEY") == 0) {
			wrong = "the key is encrypted: decrypt it with openssl pkey";
			break;
		}
		if (strstr(label, "PRIVATE KEY") == NULL)
			continue;
		br_skey_decoder_init(&p->key);
		br_skey_decoder_push(&p->key, der, n);
		found = br_skey_decoder_last_error(&p->key) == 0;
		wrong = "the key is none that TLS can use: RSA, or EC on P-256, P-384 or P-521";
		if (!found)
			break;
	}
	give_back(text, der, len);
	return found ? 0 : refuse(why, path, wrong);
}

static int
same_rsa(const br_rsa_public_key *pk, const br_rsa_private_key *sk)
{
	unsigned char n[RSA_BITS_MAX / 8];
	size_t len = (sk->n_bitlen + 7) / 8, skip = 0;

	while (skip < pk->nlen && pk->n[skip] == 0)
		skip++;
	if (len > sizeof(n) || pk->nlen - skip != len)
		return 0;
	/* the default one cannot do 4096 bits */
	return br_rsa_i15_compute_modulus(n, sk) == len && memcmp(n, pk->n + skip, len) == 0;
}

static int
same_ec(const br_ec_public_key *pk, const br_ec_private_key *sk)
{
	unsigned char q[BR_EC_KBUF_PUB_MAX_SIZE];
	br_ec_public_key made;

	return pk->curve == sk->curve &&
	    br_ec_compute_pub(br_ec_get_default(), &made, q, sk) == pk->qlen &&
	    memcmp(q, pk->q, pk->qlen) == 0;
}

/* Do certificate and key belong together, and can they be used? NULL, or what is wrong. */
static const char *
check_pair(struct pair *p)
{
	br_x509_decoder_context dc;
	br_x509_pkey *pk;
	const br_rsa_private_key *rsa = br_skey_decoder_get_rsa(&p->key);
	const br_ec_private_key *ec = br_skey_decoder_get_ec(&p->key);
	int same;

	br_x509_decoder_init(&dc, NULL, NULL);
	br_x509_decoder_push(&dc, p->chain[0].data, p->chain[0].data_len);
	if ((pk = br_x509_decoder_get_pkey(&dc)) == NULL)
		return "has a kind of public key that this build does not know";
	if (rsa != NULL && (rsa->n_bitlen < RSA_BITS_MIN || rsa->n_bitlen > RSA_BITS_MAX))
		return "has an RSA key that is not of 2048 to 4096 bits";
	same = pk->key_type == BR_KEYTYPE_RSA ? rsa != NULL && same_rsa(&pk->key.rsa, rsa) :
	    ec != NULL && same_ec(&pk->key.ec, ec);
	return same ? NULL : "is not for this key";
}

static void
pair_free(struct pair *p)
{
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < p->nchain; i++)
		free(p->chain[i].data);
	wipe(&p->key, sizeof(p->key));
	free(p);
}

static struct pair *
pair_load(const struct tls_files *f, char why[TLS_WHY_MAX])
{
	struct pair *p = calloc(1, sizeof(*p));
	const char *wrong;

	if (p == NULL) {
		snprintf(why, TLS_WHY_MAX, "no memory");
		return NULL;
	}
	if (load_chain(p, f->cert, why) == 0 && load_key(p, f->key, why) == 0) {
		if ((wrong = check_pair(p)) == NULL)
			return p;
		snprintf(why, TLS_WHY_MAX, "%.60s %.60s (%.60s)", f->cert, wrong, f->key);
	}
	pair_free(p);
	return NULL;
}

struct tls_server *
tls_server_new(const struct tls_files *f, int n, char why[TLS_WHY_MAX])
{
	struct tls_server *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		snprintf(why, TLS_WHY_MAX, "no memory");
		return NULL;
	}
	s->refs = 1;
	pthread_mutex_init(&s->mtx, NULL);
	br_ssl_session_cache_lru_init(&s->lru, s->store, sizeof(s->store));
	for (; s->npairs < n; s->npairs++)
		if ((s->pair[s->npairs] = pair_load(&f[s->npairs], why)) == NULL) {
			tls_server_unref(s);
			return NULL;
		}
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
	while (s->npairs > 0)
		pair_free(s->pair[--s->npairs]);
	pthread_mutex_destroy(&s->mtx);
	wipe(s, sizeof(*s));
	free(s);
}

/* CA certificates. */

struct dn {
	unsigned char *p;
	size_t len;
	int failed;
};

static void
dn_append(void *arg, const void *p, size_t len)
{
	struct dn *dn = arg;
	unsigned char *grown = realloc(dn->p, dn->len + len);

	if (grown == NULL) {
		dn->failed = 1;
		return;
	}
	memcpy(grown + dn->len, p, len);
	dn->p = grown;
	dn->len += len;
}

/* A certificate as trust anchor, if it is of use. */
static const char *
anchor_add(void *arg, const uint8_t *der, size_t len)
{
	static const char none[] = "no memory";
	struct tls_client *c = arg;
	br_x509_trust_anchor a, *grown;
	br_x509_decoder_context dc;
	struct dn dn = { NULL, 0, 0 };
	br_x509_pkey *pk;
	int ok;

	memset(&a, 0, sizeof(a));
	br_x509_decoder_init(&dc, dn_append, &dn);
	br_x509_decoder_push(&dc, der, len);
	if ((pk = br_x509_decoder_get_pkey(&dc)) == NULL || dn.p == NULL) {
		free(dn.p);	/* of a kind that BearSSL does not know */
		return dn.failed ? none : NULL;
	}
	a.dn.data = dn.p;
	a.dn.len = dn.len;
	a.flags = br_x509_decoder_isCA(&dc) ? BR_X509_TA_CA : 0;
	a.pkey = *pk;
	if (pk->key_type == BR_KEYTYPE_RSA) {
		a.pkey.key.rsa.n = copy(pk->key.rsa.n, pk->key.rsa.nlen);
		a.pkey.key.rsa.e = copy(pk->key.rsa.e, pk->key.rsa.elen);
		ok = a.pkey.key.rsa.n != NULL && a.pkey.key.rsa.e != NULL;
	} else {
		a.pkey.key.ec.q = copy(pk->key.ec.q, pk->key.ec.qlen);
		ok = a.pkey.key.ec.q != NULL;
	}
	grown = realloc(c->anchor, (c->nanchors + 1) * sizeof(a));
	if (grown != NULL) {
		c->anchor = grown;
		c->anchor[c->nanchors++] = a;
	}
	return grown != NULL && ok && !dn.failed ? NULL : none;	/* who gives up here ends */
}

static int
load_anchors(struct tls_client *c, const char *path, char why[TLS_WHY_MAX])
{
	if (each_certificate(path, anchor_add, c, why) == -1)
		return -1;
	return c->nanchors > 0 ? 0 : refuse(why, path, "has no CA certificate that BearSSL knows");
}

struct tls_client *
tls_client_new(const struct tls_trust *trust, char why[TLS_WHY_MAX])
{
	struct tls_client *c = calloc(1, sizeof(*c));
	const char *ca = trust->ca;

	if (c == NULL) {
		snprintf(why, TLS_WHY_MAX, "no memory");
		return NULL;
	}
	pthread_mutex_init(&c->mtx, NULL);
	c->trust = *trust;
	if (trust->insecure || (ca == NULL && trust->npins > 0))
		return c;
	if (ca == NULL && (ca = tls_system_ca()) == NULL)
		snprintf(why, TLS_WHY_MAX, "no CA certificates on this system: install ca-certificates, or see --ca and --pin");
	else if (load_anchors(c, ca, why) == 0)
		return c;
	tls_client_free(c);
	return NULL;
}

void
tls_client_free(struct tls_client *c)
{
	br_x509_trust_anchor *a;

	while (c->nanchors > 0) {
		a = &c->anchor[--c->nanchors];
		free(a->dn.data);
		if (a->pkey.key_type == BR_KEYTYPE_RSA) {
			free(a->pkey.key.rsa.n);
			free(a->pkey.key.rsa.e);
		} else
			free(a->pkey.key.ec.q);
	}
	free(c->anchor);
	pthread_mutex_destroy(&c->mtx);
	wipe(c, sizeof(*c));
	free(c);
}
