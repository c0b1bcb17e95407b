/* sshkey.c: keys and signatures as SSH writes them; see sshkey.h. */
#include <string.h>

#include "sshkey.h"

#define CURVE "nistp256"

static const char *const algs[] = { "ssh-ed25519", "ecdsa-sha2-nistp256" };

const char *
sshkey_alg(enum sshkey_type type)
{
	return algs[type];
}

int
sshkey_init(struct sshkey *k, enum sshkey_type type, const uint8_t secret[32])
{
	uint8_t pub[SSH_P256_PUB];
	struct buf b;

	k->type = type;
	memcpy(k->secret, secret, sizeof(k->secret));
	buf_init(&b, k->blob, sizeof(k->blob));
	ssh_put_cstr(&b, algs[type]);
	if (type == SSHKEY_ED25519) {
		ssh_ed25519_public(pub, secret);
		ssh_put_str(&b, pub, SSH_ED25519_PUB);
	} else {
		if (ssh_p256_public(pub, secret) == -1)
			return -1;
		ssh_put_cstr(&b, CURVE);
		ssh_put_str(&b, pub, SSH_P256_PUB);
	}
	k->nblob = b.len;
	return 0;
}

void
sshkey_sign(const struct sshkey *k, struct buf *out, const void *msg, size_t len)
{
	uint8_t sig[64], text[2 * (4 + 33)];
	struct buf rs;

	ssh_put_cstr(out, algs[k->type]);
	if (k->type == SSHKEY_ED25519) {
		ssh_ed25519_sign(sig, k->secret, msg, len);
		ssh_put_str(out, sig, SSH_ED25519_SIG);
		return;
	}
	ssh_p256_sign(sig, k->secret, msg, len);
	buf_init(&rs, text, sizeof(text));
	ssh_put_mpint(&rs, sig, SSH_P256_SIG / 2);
	ssh_put_mpint(&rs, sig + SSH_P256_SIG / 2, SSH_P256_SIG / 2);
	ssh_put_str(out, rs.p, rs.len);
}

/* The key itself within its blob, and its type. NULL: it is none of ours. */
static const uint8_t *
key_of(const void *blob, size_t len, enum sshkey_type *type)
{
	struct ssh_in in;
	struct str alg, pub;

	ssh_in_init(&in, blob, len);
	alg = ssh_get_str(&in);
	*type = str_is(alg, algs[SSHKEY_ED25519]) ? SSHKEY_ED25519 : SSHKEY_P256;
	if (*type == SSHKEY_P256 && (!str_is(alg, algs[SSHKEY_P256]) || !str_is(ssh_get_str(&in), CURVE)))
		return NULL;
	pub = ssh_get_str(&in);
	if (!ssh_in_whole(&in) || pub.len != (*type == SSHKEY_ED25519 ? SSH_ED25519_PUB : SSH_P256_PUB))
		return NULL;
	return (const uint8_t *)pub.p;
}

const char *
sshkey_blob_alg(const void *blob, size_t len)
{
	enum sshkey_type type;

	return key_of(blob, len, &type) != NULL ? algs[type] : NULL;
}

int
sshkey_verify(const void *blob, size_t nblob, struct str sig, const void *msg, size_t len)
{
	enum sshkey_type type;
	const uint8_t *pub = key_of(blob, nblob, &type);
	uint8_t rs[SSH_P256_SIG];
	struct ssh_in in;
	struct str alg, raw;

	if (pub == NULL)
		return 0;
	ssh_in_init(&in, sig.p, sig.len);
	alg = ssh_get_str(&in);
	raw = ssh_get_str(&in);
	if (!ssh_in_whole(&in) || !str_is(alg, algs[type]))
		return 0;
	if (type == SSHKEY_ED25519)
		return raw.len == SSH_ED25519_SIG && ssh_ed25519_verify(pub, (const uint8_t *)raw.p, msg, len);
	ssh_in_init(&in, raw.p, raw.len);
	ssh_get_mpint(&in, rs, SSH_P256_SIG / 2);
	ssh_get_mpint(&in, rs + SSH_P256_SIG / 2, SSH_P256_SIG / 2);
	return ssh_in_whole(&in) && ssh_p256_verify(pub, rs, msg, len);
}
