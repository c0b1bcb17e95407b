/* vtunnelmsg_test.c: vtunnel's keys and JSON: the specification's vectors, and what they leave out. */
#include "../base64.h"
#include "../vtunnelkeys.h"
#include "test.h"

static const char priv[] = "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
static const char pub[] = "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";

static int
is_hex(const uint8_t *p, size_t n, const char *hex)
{
	uint8_t want[64];

	return strlen(hex) == 2 * n && base16_decode(want, hex, 2 * n) == 0 && memcmp(p, want, n) == 0;
}

/* V1 */
static void
test_keys(void)
{
	static const char *const bad[] = {
		"", "vt-pub-", "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", "vt-pub-A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",
		"vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMb", "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbh",
		"VT-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg", "vt-priv-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",
		" vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg", "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg ",
		"vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbgAA"
	};
	uint8_t seed[VTUNNEL_KEY], key[VTUNNEL_KEY], blob[VTUNNEL_BLOB];
	char text[VTUNNEL_PRIV_LEN + 1];
	size_t i, len;
	char *copy;

	check(vtunnel_priv_parse(seed, priv, strlen(priv)) == 0, "private key", 0);
	check(is_hex(seed, sizeof(seed), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), "its seed", 0);
	check(vtunnel_pub_parse(key, pub, strlen(pub)) == 0, "public key", 0);
	check(is_hex(key, sizeof(key), "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"), "its bytes", 0);
	vtunnel_blob(blob, key);
	check(is_hex(blob, sizeof(blob), "0000000b7373682d656432353531390000002003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"), "its blob", 0);
	vtunnel_host_seed(seed, key);
	check(is_hex(seed, sizeof(seed), "95b9aca00d322047048950d19cc5aece6fa757edd9104a5521446a168792b298"), "host seed", 0);
	vtunnel_pub_format(text, key);
	check(strcmp(text, pub) == 0, "public key written", 0);
	vtunnel_priv_parse(seed, priv, strlen(priv));
	vtunnel_priv_format(text, seed);
	check(strcmp(text, priv) == 0, "private key written", 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		copy = exact(bad[i], strlen(bad[i]));
		check(vtunnel_pub_parse(key, copy, strlen(bad[i])) == -1, "no public key", i);
		free(copy);
	}
	for (len = 0; len < strlen(priv); len++) {
		copy = exact(priv, len);
		check(vtunnel_priv_parse(seed, copy, len) == -1, "private key cut", len);
		free(copy);
	}
}

/* V6 and V9, and how they may be written otherwise */
static void
test_parse(struct vtunnel_msg *m)
{
	static const struct {
		const char *text;
		int64_t port;
		const char *addr, *domain, *headers;	/* addr NULL: it is refused */
	} rows[] = {
		{ "{\"port\":9000,\"local_addr\":\"localhost:3000\"}", 9000, "localhost:3000", "", "" },
		{ "{\"port\":0,\"local_addr\":\"localhost:8080\",\"domain\":\"myapi.local\"}", 0, "localhost:8080", "myapi.local", "" },
		{ "{\"port\":0,\"local_addr\":\"localhost:8080\",\"domain\":\"myapi.local\",\"headers\":{\"Authorization\":[\"Bearer t0ken\"]}}",
		    0, "localhost:8080", "myapi.local", "Authorization: Bearer t0ken\r\n" },
		{ "{\"headers\":{\"A\":[\"1\",\"2\"],\"b\":[],\"C\":[\"\"]}}", 0, "", "", "A: 1\r\nA: 2\r\nC: \r\n" },
		{ "{}", 0, "", "", "" },
		{ " { \"PORT\" : 40123 , \"Local_Addr\":\"x\", \"more\":[1,{}], \"DOMAIN\":null }\n", 40123, "x", "", "" },
		{ "{\"port\":null,\"headers\":null,\"local_addr\":null}", 0, "", "", "" },
		{ "{\"port\":-1}", -1, "", "", "" },
		{ "{\"port\":70000}", 70000, "", "", "" },
		{ "{\"port\":9000.5}", 0, NULL, NULL, NULL },
		{ "{\"port\":9e3}", 0, NULL, NULL, NULL },
		{ "{\"port\":\"9000\"}", 0, NULL, NULL, NULL },
		{ "{\"port\":true}", 0, NULL, NULL, NULL },
		{ "{\"port\":92233720368547758080}", 0, NULL, NULL, NULL },
		{ "{\"local_addr\":5}", 0, NULL, NULL, NULL },
		{ "{\"local_addr\":\"a\\u0000b\"}", 0, NULL, NULL, NULL },
		{ "{\"domain\":[\"a\"]}", 0, NULL, NULL, NULL },
		{ "{\"headers\":[]}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A\":\"1\"}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A\":[1]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A B\":[\"1\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"\":[\"1\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A\":[\"1\\r\\nB: 2\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A\":[\"1\\u0000\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"A\":[\" 1\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"content-length\":[\"1\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"Transfer-Encoding\":[\"chunked\"]}}", 0, NULL, NULL, NULL },
		{ "{\"headers\":{\"Host\":[\"a\"]}}", 0, "", "", "" },
		{ "{\"headers\":{\"A\":[\"1\"],\"host\":[\"a\",\"b\"],\"C\":[\"2\"]}}", 0, "", "", "A: 1\r\nC: 2\r\n" },
		{ "{\"headers\":{\"Host\":\"a\"}}", 0, NULL, NULL, NULL },
		{ "", 0, NULL, NULL, NULL }, { "null", 0, NULL, NULL, NULL }, { "[]", 0, NULL, NULL, NULL },
		{ "{\"port\":1", 0, NULL, NULL, NULL }, { "{\"port\":1} x", 0, NULL, NULL, NULL }
	};
	const char *why;
	size_t i;
	char *copy;
	int rc;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		copy = exact(rows[i].text, strlen(rows[i].text));
		rc = vtunnel_parse(m, copy, strlen(rows[i].text), &why);
		check(rc == (rows[i].addr != NULL ? 0 : -1), "listen", i);
		if (rc == 0 && rows[i].addr != NULL)
			check(m->port == rows[i].port && strcmp(m->local_addr, rows[i].addr) == 0 && strcmp(m->domain, rows[i].domain) == 0 &&
			    str_is(m->headers, rows[i].headers), "what it says", i);
		free(copy);
	}
	vtunnel_parse(m, "{", 1, &why);
	check(strcmp(why, "invalid payload") == 0, "what is said of it", 0);
}

/* What frames a message, or is for one hop, is no client's to set. */
static void
test_frames(struct vtunnel_msg *m)
{
	static const char *const names[] = {
		"Connection", "Content-Length", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "upgrade"
	};
	char text[100];
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "{\"headers\":{\"%s\":[\"1\"]}}", names[i]);
		check(vtunnel_parse(m, text, strlen(text), &why) == -1, names[i], i);
	}
}

static void
test_long(struct vtunnel_msg *m)
{
	static char text[16384];
	const char *why;
	struct buf b;
	int i;

	for (i = 1; i <= 3; i++) {
		buf_init(&b, text, sizeof(text));
		buf_str(&b, i == 1 ? "{\"domain\":\"" : i == 2 ? "{\"headers\":{\"A\":[\"" : "{\"headers\":{\"A\":[\"x\",\"");
		while (b.len < (i == 1 ? 600 : 4200))
			buf_char(&b, 'a');
		buf_str(&b, i == 1 ? "\"}" : "\"]}}");
		check(vtunnel_parse(m, text, b.len, &why) == -1, "too long", (size_t)i);
	}
	buf_init(&b, text, sizeof(text));
	buf_str(&b, "{\"a\":[");
	for (i = 0; i < 300; i++)
		buf_str(&b, i > 0 ? ",1" : "1");
	buf_str(&b, "]}");
	check(vtunnel_parse(m, text, b.len, &why) == -1, "too many values", 0);
}

static void
test_put(void)
{
	static const struct {
		int64_t port;
		const char *addr, *domain, *headers, *want;
	} rows[] = {
		{ 9000, "", "", "", "{\"port\":9000}" },
		{ 9000, "localhost:3000", "", "", "{\"port\":9000,\"local_addr\":\"localhost:3000\"}" },
		{ 0, "localhost:8080", "myapi.local", "", "{\"port\":0,\"local_addr\":\"localhost:8080\",\"domain\":\"myapi.local\"}" },
		{ 0, "localhost:8080", "myapi.local", "Authorization: Bearer t0ken\r\n",
		    "{\"port\":0,\"local_addr\":\"localhost:8080\",\"domain\":\"myapi.local\",\"headers\":{\"Authorization\":[\"Bearer t0ken\"]}}" },
		{ 0, "", "", "A: 1\r\nA: \"2\"\r\nB: \r\n", "{\"port\":0,\"headers\":{\"A\":[\"1\",\"\\\"2\\\"\"],\"B\":[\"\"]}}" }
	};
	char text[512];
	struct str headers;
	struct buf b;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		headers.p = rows[i].headers;
		headers.len = strlen(rows[i].headers);
		buf_init(&b, text, sizeof(text));
		vtunnel_put(&b, rows[i].port, rows[i].addr, rows[i].domain, headers);
		check(!b.full && b.len == strlen(rows[i].want) && memcmp(text, rows[i].want, b.len) == 0, "written", i);
	}
}

static void
test_maps(void)
{
	static const struct {
		const char *addr;
		int maps;
	} rows[] = {
		{ "localhost:3000", 0 }, { "127.0.0.1:3000", 0 }, { "[::1]:3000", 0 }, { "::1:3000", 0 }, { "LOCALHOST:1", 0 },
		{ "gitlab.example.com:443", 1 }, { "192.168.1.5:80", 1 }, { "[fe80::1]:80", 1 },
		{ "tls://gitlab.example.com:443", 0 }, { "gitlab.example.com", 0 }, { "", 0 }, { ":80", 0 }, { "a:", 0 }, { "[]:80", 1 }
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(vtunnel_maps(rows[i].addr) == rows[i].maps, rows[i].addr, i);
}

/* The file of keys */

#define PUB "vt-pub-A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
#define PUB2 "vt-pub-BqEHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"

static void
test_lines(void)
{
	static const struct {
		const char *text;
		int want;
		const char *scope, *path;
	} rows[] = {
		{ "", 0, "", "" }, { "   ", 0, "", "" }, { "# " PUB, 0, "", "" }, { "\r", 0, "", "" },
		{ PUB, 1, "*", "" }, { "\t" PUB "  # alice", 1, "*", "" }, { PUB "\r", 1, "*", "" },
		{ PUB " 9000,9100-9199,api.example.com", 1, "9000,9100-9199,api.example.com", "" },
		{ PUB " path=/alice", 1, "*", "/alice" }, { PUB " path=/a 9000 # x", 1, "9000", "/a" }, { PUB " 9000 path=/a", 1, "9000", "/a" },
		{ "vt-pub-x", -1, "", "" }, { PUB " 9000 9001", -1, "", "" }, { PUB " 0", -1, "", "" }, { PUB " path=alice", -1, "", "" },
		{ PUB " path=/a?b", -1, "", "" }, { PUB " path=/a path=/b", -1, "", "" }, { PUB " path=", -1, "", "" }, { PUB "x", -1, "", "" },
		{ "vt-priv-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", -1, "", "" }
	};
	struct vtunnel_key k;
	const char *why;
	size_t i;
	char *copy;
	int rc;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		copy = exact(rows[i].text, strlen(rows[i].text));
		rc = vtunnel_key_line(&k, copy, strlen(rows[i].text), &why);
		check(rc == rows[i].want, rows[i].text, i);
		if (rc == 1)
			check(strcmp(k.scope, rows[i].scope) == 0 && strcmp(k.path, rows[i].path) == 0, "what it grants", i);
		free(copy);
	}
	check(vtunnel_key_line(&k, PUB " 9000\0,1", strlen(PUB) + 8, &why) == -1, "a NUL in the scope", 0);
}

static void
test_many(void)
{
	uint8_t raw[VTUNNEL_KEY] = { 0 };
	struct vtunnel_keys l = { NULL, 0 };
	char text[VTUNNEL_PUB_LEN + 1];
	const char *why;
	size_t i, line;
	int rc = 0;

	for (i = 0; rc == 0 && i <= VTUNNEL_KEYS_MAX; i++) {
		raw[0] = (uint8_t)i;
		raw[1] = (uint8_t)(i >> 8);
		vtunnel_pub_format(text, raw);
		rc = vtunnel_keys_add(&l, text, strlen(text), &line, &why);
	}
	check(rc == -1 && i == VTUNNEL_KEYS_MAX + 1 && l.n == VTUNNEL_KEYS_MAX && strcmp(why, "too many keys") == 0, "no more than may be", i);
	vtunnel_keys_free(&l);
}

static void
test_file(void)
{
	static const char text[] = "# keys\n\n" PUB " 9000\n" PUB2 " path=/b", twice[] = PUB "\n\n" PUB "\n";
	struct vtunnel_keys l = { NULL, 0 };
	const struct vtunnel_key *a, *b;
	uint8_t blob[VTUNNEL_BLOB];
	const char *why;
	size_t line;

	check(vtunnel_keys_add(&l, text, strlen(text), &line, &why) == 0 && l.n == 2, "a file", 0);
	a = vtunnel_keys_first(&l, "/", 1);
	b = vtunnel_keys_first(&l, "/b", 2);
	check(a == &l.key[0] && b == &l.key[1] && vtunnel_keys_first(&l, "/bc", 3) == a, "by path", 0);
	vtunnel_blob(blob, l.key[1].pub);
	check(vtunnel_keys_find(&l, "/b", 2, blob, sizeof(blob)) == b, "found", 0);
	check(vtunnel_keys_find(&l, "/", 1, blob, sizeof(blob)) == NULL, "not at another path", 0);
	check(vtunnel_keys_find(&l, "/b", 2, blob, sizeof(blob) - 1) == NULL, "not in part", 0);
	blob[50] ^= 1;
	check(vtunnel_keys_find(&l, "/b", 2, blob, sizeof(blob)) == NULL, "nor another", 0);
	check(!vtunnel_keys_shared(&l, a) && !vtunnel_keys_shared(&l, b), "a path each", 0);
	vtunnel_keys_free(&l);
	check(vtunnel_keys_first(&l, "/", 1) == NULL, "none", 0);
	check(vtunnel_keys_add(&l, twice, strlen(twice), &line, &why) == -1 && line == 3, "a key twice", line);
	vtunnel_keys_free(&l);
	check(vtunnel_keys_add(&l, PUB "\n" PUB2 "\n", 2 * strlen(PUB) + 2, &line, &why) == 0 && vtunnel_keys_shared(&l, &l.key[0]) &&
	    !vtunnel_keys_shared(&l, &l.key[1]), "a path for two", 0);
	vtunnel_keys_free(&l);
}

int
main(void)
{
	struct vtunnel_msg *m = malloc(sizeof(*m));

	if (m == NULL)
		abort();
	test_keys();
	test_parse(m);
	test_frames(m);
	test_long(m);
	test_put();
	test_maps();
	free(m);
	test_lines();
	test_file();
	test_many();
	return test_end();
}
