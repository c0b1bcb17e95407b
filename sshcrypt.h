/*
 * sshcrypt.h: the primitives SSH is made of, by BearSSL and libsodium. No I/O, no random numbers of
 * their own: who needs a fresh secret brings its bytes. Secret keys are the caller's to wipe.
 */
#ifndef SSHCRYPT_H
#define SSHCRYPT_H

#include <stddef.h>
#include <stdint.h>

enum {
	SSH_X25519_LEN = 32,		/* a private or public key, a shared secret (RFC 7748) */
	SSH_ED25519_SEED = 32, SSH_ED25519_PUB = 32, SSH_ED25519_SIG = 64,	/* RFC 8032 */
	SSH_P256_SECRET = 32, SSH_P256_PUB = 65, SSH_P256_SIG = 64,	/* public: uncompressed point; signature: r, s */
	SSH_TAG_LEN = 16,		/* authentication tag of every cipher below */
	SSH_CIPHER_KEY_MAX = 64, SSH_CIPHER_IV_MAX = 12
};

/* Before anything else, by one thread, while descriptors can still be opened. 0, or -1: it cannot be used. */
int sshcrypt_init(void);

void ssh_x25519_public(uint8_t pub[SSH_X25519_LEN], const uint8_t secret[SSH_X25519_LEN]);
/* 0, or -1: theirs is of low order, and the secret would be known to all (RFC 8731, 3). */
int ssh_x25519(uint8_t shared[SSH_X25519_LEN], const uint8_t secret[SSH_X25519_LEN],
    const uint8_t theirs[SSH_X25519_LEN]);

void ssh_ed25519_public(uint8_t pub[SSH_ED25519_PUB], const uint8_t seed[SSH_ED25519_SEED]);
void ssh_ed25519_sign(uint8_t sig[SSH_ED25519_SIG], const uint8_t seed[SSH_ED25519_SEED], const void *msg, size_t len);
int ssh_ed25519_verify(const uint8_t pub[SSH_ED25519_PUB], const uint8_t sig[SSH_ED25519_SIG], const void *msg, size_t len);	/* 1: good */

/* ECDSA on P-256 with SHA-256. secret: 0 or -1, if the bytes are no valid key (once in 2^32 for random ones). */
int ssh_p256_public(uint8_t pub[SSH_P256_PUB], const uint8_t secret[SSH_P256_SECRET]);
void ssh_p256_sign(uint8_t sig[SSH_P256_SIG], const uint8_t secret[SSH_P256_SECRET], const void *msg, size_t len);
int ssh_p256_verify(const uint8_t pub[SSH_P256_PUB], const uint8_t sig[SSH_P256_SIG], const void *msg, size_t len);	/* 1: good */

enum sshcipher_alg {
	SSH_AES128_GCM,		/* aes128-gcm@openssh.com: RFC 5647 */
	SSH_AES256_GCM,
	SSH_CHACHA20_POLY1305	/* chacha20-poly1305@openssh.com: OpenSSH's PROTOCOL.chacha20poly1305 */
};

struct sshcipher;		/* one direction's; used by one thread at a time */

size_t sshcipher_key_len(enum sshcipher_alg);	/* bytes of key */
size_t sshcipher_iv_len(enum sshcipher_alg);	/* 0: its nonce is the sequence number */
size_t sshcipher_block(enum sshcipher_alg);	/* what a packet is padded to, its length field not counted */
int sshcipher_fast_aes(void);	/* the machine has instructions for it; otherwise ChaCha20 is many times faster */

struct sshcipher *sshcipher_new(enum sshcipher_alg, const uint8_t *key, const uint8_t *iv);	/* copies both; NULL: no memory */
void sshcipher_free(struct sshcipher *);	/* wipes it; NULL is none */

/* What the four bytes in front of packet number seq say; not authenticated yet. Changes nothing. */
uint32_t sshcipher_length(const struct sshcipher *, uint32_t seq, const uint8_t in[4]);
/* p: the length field, len bytes, and room for the tag: all is encrypted in place, and the tag written. */
void sshcipher_seal(struct sshcipher *, uint32_t seq, uint8_t *p, size_t len);
/* p: the same as received. 0 and len bytes behind the length field are plain; or -1: the tag is wrong, and nothing of it may be used. */
int sshcipher_open(struct sshcipher *, uint32_t seq, uint8_t *p, size_t len);

#endif
