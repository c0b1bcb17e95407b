/* sshpriv.c: openssh-key-v1; see sshpriv.h. */
#include <assert.h>
#include <string.h>

#include "base64.h"
#include "pem.h"
#include "sha256.h"
#include "sshpriv.h"

#define LABEL "OPENSSH PRIVATE KEY"

enum {
	DER_MAX = 2048,		/* with a comment of any usual length */
	COLUMNS = 70,
	BLOCK = 8
};

static const char magic[] = "openssh-key-v1";	/* its NUL is part of it */

/* The padding is 1, 2, 3 and so on. */
static int
padded(struct ssh_in *in)
{
	unsigned i;

	for (i = 1; in->left > 0; i++)
		if (ssh_get_byte(in) != i)
			return 0;
	return i <= BLOCK;
}

/* The section with the secrets, its public half being blob. */
static int
take_private(struct sshkey *k, struct str section, struct str blob, const char **why)
{
	uint32_t check;
	struct str type, pub, both;
	struct ssh_in in;

	ssh_in_init(&in, section.p, section.len);
	check = ssh_get_u32(&in);
	*why = "it is damaged";
	if (check != ssh_get_u32(&in) || in.bad)
		return -1;
	type = ssh_get_str(&in);
	*why = "it is no Ed25519 key: ssh-keygen -t ed25519 makes one";
	if (in.bad || !str_is(type, sshkey_alg(SSHKEY_ED25519)))
		return -1;
	pub = ssh_get_str(&in);
	both = ssh_get_str(&in);
	ssh_get_str(&in);	/* comment */
	*why = "it is damaged";
	if (in.bad || pub.len != SSH_ED25519_PUB || both.len != SSH_ED25519_SEED + SSH_ED25519_PUB || !padded(&in))
		return -1;
	if (sshkey_init(k, SSHKEY_ED25519, (const uint8_t *)both.p) == -1)
		return -1;
	*why = "its public half is another key's";
	if (memcmp(pub.p, both.p + SSH_ED25519_SEED, SSH_ED25519_PUB) != 0 || blob.len != k->nblob ||
	    memcmp(blob.p, k->blob, blob.len) != 0 || memcmp(pub.p, blob.p + blob.len - SSH_ED25519_PUB, SSH_ED25519_PUB) != 0)
		return -1;
	return 0;
}

static int
take(struct sshkey *k, const uint8_t *der, size_t n, const char **why)
{
	struct str cipher, kdf, blob, section;
	struct ssh_in in;

	*why = "it is no private key of OpenSSH's: move it away, and one is made";
	if (n < sizeof(magic) || memcmp(der, magic, sizeof(magic)) != 0)
		return -1;
	ssh_in_init(&in, der + sizeof(magic), n - sizeof(magic));
	cipher = ssh_get_str(&in);
	kdf = ssh_get_str(&in);
	ssh_get_str(&in);
	*why = "a passphrase protects it, and nobody is there to type it: ssh-keygen -p takes it off";
	if (!in.bad && (!str_is(cipher, "none") || !str_is(kdf, "none")))
		return -1;
	*why = "it is damaged";
	if (ssh_get_u32(&in) != 1)
		return -1;
	blob = ssh_get_str(&in);
	section = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return -1;
	return take_private(k, section, blob, why);
}

int
sshpriv_parse(struct sshkey *k, const char *text, size_t len, const char **why)
{
	char label[PEM_LABEL_MAX];
	uint8_t der[DER_MAX];
	size_t at = 0, n = 0;
	int rc = pem_next(text, len, &at, label, der, sizeof(der), &n, why);

	if (rc == 1 && strcmp(label, LABEL) == 0)
		rc = take(k, der, n, why);
	else if (rc != -1) {
		*why = "it is no private key of OpenSSH's: move it away, and one is made";
		rc = -1;
	}
	wipe(der, sizeof(der));
	if (rc == -1)
		wipe(k, sizeof(*k));
	return rc;
}

size_t
sshpriv_put(const struct sshkey *k, uint32_t check, const char *comment, char out[SSHPRIV_MAX])
{
	uint8_t section[256], der[512];
	char text[BASE64_LEN(sizeof(der)) + 1];
	struct buf s, d, b;
	size_t i, n, len;

	buf_init(&s, section, sizeof(section));
	ssh_put_u32(&s, check);
	ssh_put_u32(&s, check);
	buf_put(&s, k->blob, k->nblob);	/* type and public half, as they stand there */
	ssh_put_u32(&s, SSH_ED25519_SEED + SSH_ED25519_PUB);
	buf_put(&s, k->secret, SSH_ED25519_SEED);
	buf_put(&s, k->blob + k->nblob - SSH_ED25519_PUB, SSH_ED25519_PUB);
	ssh_put_cstr(&s, comment);
	for (i = 1; s.len % BLOCK != 0; i++)
		buf_char(&s, (char)i);
	buf_init(&d, der, sizeof(der));
	buf_put(&d, magic, sizeof(magic));
	ssh_put_cstr(&d, "none");
	ssh_put_cstr(&d, "none");
	ssh_put_cstr(&d, "");
	ssh_put_u32(&d, 1);
	ssh_put_str(&d, k->blob, k->nblob);
	ssh_put_str(&d, s.p, s.len);
	len = base64_encode(text, d.p, d.len);
	buf_init(&b, out, SSHPRIV_MAX - 1);
	buf_str(&b, "-----BEGIN " LABEL "-----\n");
	for (i = 0; i < len; i += n) {
		n = len - i < COLUMNS ? len - i : COLUMNS;
		buf_put(&b, text + i, n);
		buf_char(&b, '\n');
	}
	buf_str(&b, "-----END " LABEL "-----\n");
	assert(!s.full && !d.full && !b.full);	/* the comment is ours */
	out[b.len] = '\0';
	wipe(section, sizeof(section));
	wipe(der, sizeof(der));
	wipe(text, sizeof(text));
	return b.len;
}
