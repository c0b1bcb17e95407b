/* sshwire_test.c: data types (RFC 4251, 5), identification, packets, keys and signatures, cut at every byte. */
#include "../sshkex.h"
#include "sshtest.h"

static const struct { const char *name, *value, *text; } mpints[] = {	/* RFC 4251, 5 */
	{ "0", "", "00000000" },
	{ "9a378f9b2e332a7", "09a378f9b2e332a7", "0000000809a378f9b2e332a7" },
	{ "80", "80", "000000020080" },
	{ "7f", "7f", "000000017f" },
	{ "zeros in front", "000001ff", "0000000201ff" },
};

static void
test_mpint(void)
{
	uint8_t value[32], out[64], back[32], *p;
	struct ssh_in in;
	struct buf b;
	size_t i, n, k;

	for (i = 0; i < sizeof(mpints) / sizeof(mpints[0]); i++) {
		n = unhex(value, sizeof(value), mpints[i].value);
		buf_init(&b, out, sizeof(out));
		ssh_put_mpint(&b, value, n);
		check(is_hex(out, b.len, mpints[i].text), mpints[i].name, 0);
		for (k = 0; k <= b.len; k++) {
			p = exact(out, k);
			ssh_in_init(&in, p, k);
			ssh_get_mpint(&in, back, n);
			check(ssh_in_whole(&in) == (k == b.len), mpints[i].name, k);
			free(p);
		}
		check(memcmp(back, value, n) == 0, mpints[i].name, 100);
		if (n > 1) {		/* one byte less than it needs */
			for (k = 0; k < n && value[k] == 0; k++)
				;
			ssh_in_init(&in, out, b.len);
			ssh_get_mpint(&in, back, n - k - 1);
			check(in.bad, mpints[i].name, 101);
		}
	}
	n = unhex(out, sizeof(out), "00000002ff00");
	ssh_in_init(&in, out, n);
	ssh_get_mpint(&in, back, sizeof(back));
	check(in.bad, "negative", 0);
}

static void
test_types(void)
{
	uint8_t text[64], *p;
	struct ssh_in in;
	struct str s;
	size_t n, k;

	n = unhex(text, sizeof(text), "07" "01" "29b7f4aa" "0000000774657374696e67" "00000000");
	for (k = 0; k <= n; k++) {
		p = exact(text, k);
		ssh_in_init(&in, p, k);
		check(ssh_get_byte(&in) == (k > 0 ? 7 : 0), "byte", k);
		check(ssh_get_bool(&in) == (k > 1), "boolean", k);
		check(ssh_get_u32(&in) == (k > 5 ? 0x29b7f4aaU : 0), "uint32", k);
		s = ssh_get_str(&in);
		check(k > 16 ? str_is(s, "testing") : s.len == 0, "string", k);
		check(ssh_get_str(&in).len == 0, "empty string", k);
		check(ssh_in_whole(&in) == (k == n), "all of it", k);
		check(in.bad == (k < n), "what is not there", k);
		check(ssh_get_u32(&in) == 0 && in.bad, "past the end", k);
		free(p);
	}
	n = unhex(text, sizeof(text), "ffffffff61");
	ssh_in_init(&in, text, n);
	check(ssh_get_str(&in).len == 0 && in.bad, "string longer than all there is", 0);
}

static void
test_lists(void)
{
	static const struct { const char *list, *name; int has; } rows[] = {
		{ "", "a", 0 }, { "a", "a", 1 }, { "ab", "a", 0 }, { "a,b,c", "c", 1 }, { "a,b,c", "b", 1 },
		{ "a,,c", "c", 1 }, { "a,b,c", "", 0 }, { "abc", "ab", 0 }, { "x,abc,", "abc", 1 },
	};
	struct str s;
	size_t i;
	char *p;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		s.len = strlen(rows[i].list);
		s.p = p = exact(rows[i].list, s.len);
		check(ssh_list_has(s, rows[i].name) == rows[i].has, rows[i].list, i);
		free(p);
	}
}

static void
test_ident(void)
{
	static const struct { const char *name, *in; size_t len; long want; const char *id; } rows[] = {
		{ "usual", "SSH-2.0-Go\r\n", 12, 12, "SSH-2.0-Go" },
		{ "without CR", "SSH-2.0-Go\n", 11, 11, "SSH-2.0-Go" },
		{ "with a comment", "SSH-2.0-x y z\r\n", 15, 15, "SSH-2.0-x y z" },
		{ "older, too", "SSH-1.99-x\r\n", 12, 12, "SSH-1.99-x" },
		{ "line before", "hello\r\n", 7, 7, "" },
		{ "empty line", "\r\n", 2, 2, "" },
		{ "beginning of it", "SSH\r\n", 5, 5, "" },
		{ "version 1", "SSH-1.5-x\r\n", 11, -SSH_VERSION_NOT_SUPPORTED, NULL },
		{ "version 3", "SSH-3.0-x\r\n", 11, -SSH_VERSION_NOT_SUPPORTED, NULL },
		{ "none", "SSH-\r\n", 6, -SSH_VERSION_NOT_SUPPORTED, NULL },
		{ "NUL", "SSH-2.0-\0\r\n", 11, -SSH_PROTOCOL_ERROR, NULL },
	};
	char line[SSH_IDENT_MAX + 1], *p;
	const char *why;
	struct str id;
	size_t i, k;
	long rc;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (k = 0; k <= rows[i].len; k++) {
			p = exact(rows[i].in, k);
			rc = ssh_ident(p, k, &id, &why);
			check(rc == (k < rows[i].len ? 0 : rows[i].want), rows[i].name, k);
			if (rc > 0)
				check(str_is(id, rows[i].id), rows[i].name, 100);
			free(p);
		}
	memset(line, 'x', sizeof(line));
	memcpy(line, "SSH-2.0-", 8);
	check(ssh_ident(line, SSH_IDENT_MAX - 1, &id, &why) == 0, "long", 0);
	check(ssh_ident(line, SSH_IDENT_MAX, &id, &why) == -SSH_PROTOCOL_ERROR, "too long", 0);
	line[SSH_IDENT_MAX - 1] = '\n';
	check(ssh_ident(line, SSH_IDENT_MAX, &id, &why) == SSH_IDENT_MAX, "as long as may be", 0);
}

/* Packets */

static void
test_clear(void)
{
	static const struct { const char *name, *text; long want; } rows[] = {
		{ "NEWKEYS", "0000000c" "0a15" "00000000000000000000", 16 },
		{ "with more padding", "00000014" "1215" "000000000000000000000000000000000000", 24 },
		{ "no payload", "0000000c" "0b" "0000000000000000000000", -SSH_PROTOCOL_ERROR },
		{ "padding beyond the packet", "0000000c" "ff" "0000000000000000000000", -SSH_PROTOCOL_ERROR },
		{ "padding too short", "0000000c" "03" "1500000000000000000000", -SSH_PROTOCOL_ERROR },
	};
	static const char *const lengths[] = { "00000000", "00000004", "0000000b", "0000000d", "00000010", "000088b9", "000088c4", "7fffffff", "ffffffff" };
	uint8_t text[64], *p, *payload;
	const char *why;
	size_t i, k, n, len;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		n = unhex(text, sizeof(text), rows[i].text);
		for (k = 0; k <= n; k++) {
			p = exact(text, k);
			check(ssh_open_packet(NULL, 8, 0, p, k, &payload, &len, &why) == (k < n ? 0 : rows[i].want), rows[i].name, k);
			if (k == n && rows[i].want > 0)
				check(payload == p + SSH_PAYLOAD_AT && len == 1 && *payload == 21, rows[i].name, 100);
			free(p);
		}
	}
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		n = unhex(text, sizeof(text), lengths[i]);
		check(ssh_open_packet(NULL, 8, 0, text, n, &payload, &len, &why) == -SSH_PROTOCOL_ERROR, lengths[i], n);
	}
}

/* Every payload length through every cipher, and the packets of vtunnel's documents. */
static void
test_sealed(enum sshcipher_alg alg, int with)
{
	static uint8_t out[SSH_PAYLOAD_MAX + SSH_OVERHEAD];
	uint8_t key[SSH_CIPHER_KEY_MAX], iv[SSH_CIPHER_IV_MAX], *p, *payload;
	struct sshcipher *to = NULL, *from = NULL;
	size_t block = with ? sshcipher_block(alg) : 8, n, len, got, k;
	uint32_t seq = 0xfffffff0;
	const char *why;

	memset(key, 0x42, sizeof(key));
	memset(iv, 0x17, sizeof(iv));
	if (with && ((to = sshcipher_new(alg, key, iv)) == NULL || (from = sshcipher_new(alg, key, iv)) == NULL))
		abort();
	for (n = 1; n <= SSH_PAYLOAD_MAX; n = n < 100 ? n + 1 : n * 3 / 2 + 1, seq++) {
		memset(out + SSH_PAYLOAD_AT, (int)n, n);
		len = ssh_seal(to, block, seq, out, n);
		check(len <= n + SSH_OVERHEAD, "overhead", n);
		for (k = 0; k < len; k += k < 8 ? 1 : len / 3) {
			p = exact(out, k);
			check(ssh_open_packet(from, block, seq, p, k, &payload, &got, &why) == 0, "a part of a packet", k);
			free(p);
		}
		p = exact(out, len);
		check(ssh_open_packet(from, block, seq, p, len, &payload, &got, &why) == (long)len && got == n &&
		    payload[0] == (uint8_t)n && payload[n - 1] == (uint8_t)n, "there and back", n);
		free(p);
	}
	sshcipher_free(to);
	sshcipher_free(from);
}

static void
test_vectors(void)		/* V4 */
{
	static const struct { const char *key, *iv, *plain, *sealed; } rows[] = {
		{ "574b7493539891f3eb6c52780a445b64", "53174d73edf6676ba72032db", "050000000c7373682d7573657261757468",
		    "00000020507c224a16064306e0a5f509d2f7071be78afb09b63a4b5255088969087d4c4f6c4fe87c7926960e6e9a42155dcd75db" },
		{ NULL, NULL, "32000000077674756e6e656c0000000e7373682d636f6e6e656374696f6e000000046e6f6e65",
		    "0000003060d4bf9972c8f46a605edaa8a9ce63d0581d6274cbe4fd78e5e44e613c73fa25763b11b024cc5a2b3ab3581a5708ebfece00a495a45ea452d013a19d351f8e39" },
		{ "e57c301edd3885e9add4ca284bafc4a8", "68ed60d4cc1b86d55c3f0793", "060000000c7373682d7573657261757468",
		    "00000020db67eac3adbb3b65121e9bd6c8af8e7ee58409408092d87a4229ee6d7c1a2c5bc5e3026fee31aead1429332e5d1e22f8" },
	};
	uint8_t key[16], iv[12], out[256];
	struct sshcipher *c = NULL;
	size_t i, n;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].key != NULL) {
			sshcipher_free(c);
			unhex(key, sizeof(key), rows[i].key);
			unhex(iv, sizeof(iv), rows[i].iv);
			c = sshcipher_new(SSH_AES128_GCM, key, iv);
		}
		n = unhex(out + SSH_PAYLOAD_AT, sizeof(out) - SSH_OVERHEAD, rows[i].plain);
		n = ssh_seal(c, 16, 0, out, n);
		check(is_hex(out, n, rows[i].sealed), "V4", i);
	}
	sshcipher_free(c);
}

/* Keys */

static void
test_keys(void)
{
	/* V1 */
	static const char blob[] = "0000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
	uint8_t secret[32], sig[SSH_SIGNATURE_MAX], hash[SHA256_LEN], *p;
	struct sshkey k;
	struct str s;
	struct buf b;
	size_t i;
	int type;

	for (i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)i;
	check(sshkey_init(&k, SSHKEY_ED25519, secret) == 0 && is_hex(k.blob, k.nblob, blob), "V1: blob", 0);
	sha256(k.blob, k.nblob, hash);
	check(is_hex(hash, sizeof(hash), "95b9aca00d322047048950d19cc5aece6fa757edd9104a5521446a168792b298"), "V1: host seed", 0);
	sshkey_init(&k, SSHKEY_ED25519, hash);
	check(is_hex(k.blob + 19, 32, "960922de043f7975d5f8fb1d603de2869158e6f10b3e2eacf1b6be7d8de99ee8"), "V1: host key", 0);
	for (type = SSHKEY_ED25519; type <= SSHKEY_P256; type++) {
		if (sshkey_init(&k, (enum sshkey_type)type, secret) == -1)
			abort();
		buf_init(&b, sig, sizeof(sig));
		sshkey_sign(&k, &b, "message", 7);
		check(!b.full, "signature", (size_t)type);
		for (i = 0; i <= k.nblob; i++) {
			p = exact(k.blob, i);
			check((sshkey_blob_alg(p, i) != NULL) == (i == k.nblob), "blob", i);
			free(p);
		}
		for (i = 0; i <= b.len; i++) {
			s.len = i;
			s.p = (char *)(p = exact(sig, i));
			check(sshkey_verify(k.blob, k.nblob, s, "message", 7) == (i == b.len), "signature's length", i);
			if (i == b.len)
				check(!sshkey_verify(k.blob, k.nblob, s, "massage", 7), "another message", i);
			free(p);
		}
		for (i = 0; i < b.len; i++) {
			sig[i] ^= 4;
			s.p = b.p;
			s.len = b.len;
			check(!sshkey_verify(k.blob, k.nblob, s, "message", 7), "signature with a wrong byte", i);
			sig[i] ^= 4;
		}
		i = 4 + strlen(sshkey_alg(k.type)) + 3;		/* the last byte of the length of what follows */
		sig[i]++;
		sig[s.len++] = 0;
		check(!sshkey_verify(k.blob, k.nblob, s, "message", 7), "signature with a byte more in it", (size_t)type);
	}
	memcpy(k.blob + 4 + 19 + 4, "nistp384", 8);
	check(sshkey_blob_alg(k.blob, k.nblob) == NULL, "another curve", 0);
}

int
main(void)
{
	int alg;

	if (sshcrypt_init() == -1)
		abort();
	test_mpint();
	test_types();
	test_lists();
	test_ident();
	test_clear();
	test_sealed(SSH_AES128_GCM, 0);
	for (alg = SSH_AES128_GCM; alg <= SSH_CHACHA20_POLY1305; alg++)
		test_sealed((enum sshcipher_alg)alg, 1);
	test_vectors();
	test_keys();
	return test_end();
}
