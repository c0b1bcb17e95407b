/* sshkex.c: key exchange: algorithms, exchange hash, keys; see sshkex.h. */
#include <string.h>

#include "sshkex.h"

#define KEX "curve25519-sha256,curve25519-sha256@libssh.org"
#define AES "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
#define CHACHA "chacha20-poly1305@openssh.com"

enum list { KEX_ALGS, HOST_KEYS, CIPHERS_C2S, CIPHERS_S2C, MACS_C2S, MACS_S2C, COMPRESS_C2S, COMPRESS_S2C, LANG_C2S, LANG_S2C, LISTS };

static const char *const cipher_names[] = {	/* by enum sshcipher_alg */
	"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", CHACHA
};

struct kexinit {
	struct str list[LISTS];
	int follows;		/* a packet of the exchange that its sender guesses comes right behind it */
};

const char *
sshkex_ciphers(void)
{
	return sshcipher_fast_aes() ? AES "," CHACHA : CHACHA "," AES;
}

void
sshkex_put_init(struct buf *b, const uint8_t cookie[SSH_COOKIE_LEN], const struct sshkex_offer *o)
{
	buf_char(b, SSH_KEXINIT);
	buf_put(b, cookie, SSH_COOKIE_LEN);
	if (!o->first)
		ssh_put_cstr(b, KEX);
	else if (o->server)
		ssh_put_cstr(b, KEX ",kex-strict-s-v00@openssh.com");
	else
		ssh_put_cstr(b, KEX ",ext-info-c,kex-strict-c-v00@openssh.com");
	ssh_put_cstr(b, o->keys);
	ssh_put_cstr(b, o->ciphers);
	ssh_put_cstr(b, o->ciphers);
	/* never chosen, for every cipher authenticates; but some do not take an empty list */
	ssh_put_cstr(b, "hmac-sha2-256");
	ssh_put_cstr(b, "hmac-sha2-256");
	ssh_put_cstr(b, "none");
	ssh_put_cstr(b, "none");
	ssh_put_cstr(b, "");
	ssh_put_cstr(b, "");
	buf_char(b, 0);
	ssh_put_u32(b, 0);
}

static int
parse(struct kexinit *k, const struct str *payload)
{
	struct ssh_in in;
	int i;

	ssh_in_init(&in, payload->p, payload->len);
	for (i = 0; i < 1 + SSH_COOKIE_LEN; i++)
		ssh_get_byte(&in);
	for (i = 0; i < LISTS; i++)
		k->list[i] = ssh_get_str(&in);
	k->follows = ssh_get_bool(&in);
	ssh_get_u32(&in);	/* reserved */
	return ssh_in_whole(&in) ? 0 : -1;
}

static int
same(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* The first name of the client's that the server has, too; empty: there is none. */
static struct str
common(struct str client, struct str server)
{
	struct str none = { "", 0 }, name, list;

	while (client.len > 0) {
		name = ssh_list_next(&client);
		for (list = server; list.len > 0 && name.len > 0; )
			if (same(ssh_list_next(&list), name))
				return name;
	}
	return none;
}

static int
cipher(enum sshcipher_alg *alg, struct str name)
{
	int i;

	for (i = 0; i < 3; i++)
		if (str_is(name, cipher_names[i])) {
			*alg = (enum sshcipher_alg)i;
			return 1;
		}
	return 0;
}

static int
bad(const char **why, enum ssh_reason reason, const char *what)
{
	*why = what;
	return -(int)reason;
}

int
sshkex_choose(struct sshkex_choice *out, const struct str *mine, const struct str *theirs, int server, const char **why)
{
	struct kexinit a, b, *c, *s;
	struct str real = { KEX, sizeof(KEX) - 1 };	/* the markers are no methods */
	int i;

	if (parse(&a, mine) == -1 || parse(&b, theirs) == -1)
		return bad(why, SSH_PROTOCOL_ERROR, "KEXINIT is malformed");
	c = server ? &b : &a;		/* the client's */
	s = server ? &a : &b;
	if (common(common(c->list[KEX_ALGS], s->list[KEX_ALGS]), real).len == 0)
		return bad(why, SSH_KEX_FAILED, "no key exchange method in common: curve25519-sha256 is the one here");
	out->host_key = common(c->list[HOST_KEYS], s->list[HOST_KEYS]);
	if (out->host_key.len == 0)
		return bad(why, SSH_KEX_FAILED, "no host key algorithm in common");
	if (!cipher(&out->c2s, common(c->list[CIPHERS_C2S], s->list[CIPHERS_C2S])) ||
	    !cipher(&out->s2c, common(c->list[CIPHERS_S2C], s->list[CIPHERS_S2C])))
		return bad(why, SSH_KEX_FAILED, "no cipher in common: AES-GCM and chacha20-poly1305 are those here");
	for (i = COMPRESS_C2S; i <= COMPRESS_S2C; i++)
		if (common(c->list[i], s->list[i]).len == 0)
			return bad(why, SSH_KEX_FAILED, "no compression method in common: none is the one here");
	out->strict = ssh_list_has(b.list[KEX_ALGS], server ? "kex-strict-c-v00@openssh.com" : "kex-strict-s-v00@openssh.com");
	out->ext_info = ssh_list_has(b.list[KEX_ALGS], server ? "ext-info-c" : "ext-info-s");
	out->wrong_guess = b.follows &&
	    (!same(ssh_list_next(&a.list[KEX_ALGS]), ssh_list_next(&b.list[KEX_ALGS])) ||
	    !same(ssh_list_next(&a.list[HOST_KEYS]), ssh_list_next(&b.list[HOST_KEYS])));
	return 0;
}

/* Hashing */

static void
hash_u32(struct sha256 *h, size_t v)
{
	uint8_t p[4];
	struct buf b;

	buf_init(&b, p, sizeof(p));
	ssh_put_u32(&b, (uint32_t)v);
	sha256_update(h, p, sizeof(p));
}

static void
hash_str(struct sha256 *h, const void *p, size_t len)
{
	hash_u32(h, len);
	sha256_update(h, p, len);
}

static void
hash_mpint(struct sha256 *h, const uint8_t k[SSH_X25519_LEN])
{
	uint8_t p[4 + 1 + SSH_X25519_LEN];
	struct buf b;

	buf_init(&b, p, sizeof(p));
	ssh_put_mpint(&b, k, SSH_X25519_LEN);
	sha256_update(h, p, b.len);
	wipe(p, sizeof(p));
}

void
sshkex_hash_begin(struct sha256 *h, const struct sshkex_text *t)
{
	sha256_init(h);
	hash_str(h, t->vc.p, t->vc.len);
	hash_str(h, t->vs.p, t->vs.len);
	hash_str(h, t->ic.p, t->ic.len);
	hash_str(h, t->is.p, t->is.len);
}

void
sshkex_hash_end(struct sha256 *h, uint8_t out[SHA256_LEN], struct str host_key, const uint8_t qc[SSH_X25519_LEN],
    const uint8_t qs[SSH_X25519_LEN], const uint8_t k[SSH_X25519_LEN])
{
	hash_str(h, host_key.p, host_key.len);
	hash_str(h, qc, SSH_X25519_LEN);
	hash_str(h, qs, SSH_X25519_LEN);
	hash_mpint(h, k);
	sha256_final(h, out);
}

void
sshkex_derive(uint8_t *out, size_t len, char letter, const uint8_t k[SSH_X25519_LEN],
    const uint8_t h[SHA256_LEN], const uint8_t session[SHA256_LEN])
{
	uint8_t block[SHA256_LEN];
	struct sha256 s;
	size_t done = 0, n;

	while (done < len) {
		sha256_init(&s);
		hash_mpint(&s, k);
		sha256_update(&s, h, SHA256_LEN);
		if (done == 0) {
			sha256_update(&s, &letter, 1);
			sha256_update(&s, session, SHA256_LEN);
		} else
			sha256_update(&s, out, done);	/* all of it so far */
		sha256_final(&s, block);
		n = len - done < sizeof(block) ? len - done : sizeof(block);
		memcpy(out + done, block, n);
		done += n;
	}
	wipe(block, sizeof(block));
}

struct sshcipher *
sshkex_cipher(enum sshcipher_alg alg, int c2s, const uint8_t k[SSH_X25519_LEN],
    const uint8_t h[SHA256_LEN], const uint8_t session[SHA256_LEN])
{
	uint8_t key[SSH_CIPHER_KEY_MAX], iv[SSH_CIPHER_IV_MAX];
	struct sshcipher *c;

	sshkex_derive(iv, sshcipher_iv_len(alg), c2s ? 'A' : 'B', k, h, session);
	sshkex_derive(key, sshcipher_key_len(alg), c2s ? 'C' : 'D', k, h, session);
	c = sshcipher_new(alg, key, iv);
	wipe(key, sizeof(key));
	wipe(iv, sizeof(iv));
	return c;
}
