/* Who a tunnel's callers are: guard.h. */
#include "../base64.h"
#include "../guard.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define X50	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* printf %s "Aladdin:open sesame" | sha256sum */
#define ALADDIN	"e30592c37ff33ddbcf5bca999e379f4a73dcab070892bddee33aae1d4a02e413"
#define NONE	""

static const struct { const char *text; int want; } users[] = {
	{ "a:b", 1 }, { "user:pass:word", 1 }, { "us er: ", 1 }, { "\xc3\xa4:\xc3\xb6", 1 },
	{ "", 0 }, { ":", 0 }, { "a", 0 }, { "a:", 0 }, { ":b", 0 }, { "a:b\n", 0 }, { "a\t:b", 0 }, { "a:\177", 0 },
	{ "a:" X50 X50 X50 X50 X50 "xxx", 1 },		/* 255 */
	{ "a:" X50 X50 X50 X50 X50 "xxxx", 0 },
};

static const struct { const char *cidr; int want; } nets[] = {
	{ "192.0.2.0/24", 0 }, { "192.0.2.7", 0 }, { "2001:db8::/32", 0 }, { "0.0.0.0/0", 0 }, { "::/0", 0 },
	{ "192.0.2.1/24", -1 }, { "", -1 }, { "host", -1 }, { "192.0.2.0/33", -1 }, { "192.0.2.0/", -1 },
};

/* Callers of a tunnel for Aladdin and one more, from two networks. */
static const struct {
	const char *addr, *fields;
	enum guard_verdict want;	/* with both; */
	int users, nets;		/* and whether either alone lets it pass */
} callers[] = {
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_PASS, 1, 1 },
	{ "2001:db8::1", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_PASS, 1, 1 },
	{ "192.0.2.9", "authorization: bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_PASS, 1, 1 },
	{ "192.0.2.9", "Authorization: Basic b3RoZXI6cGFzc3dvcmQ=\r\n", GUARD_PASS, 1, 1 },
	{ "192.0.3.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_ADDRESS, 1, 0 },
	{ "::1", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_ADDRESS, 1, 0 },
	{ "::192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_ADDRESS, 1, 0 },
	{ "192.0.3.9", NONE, GUARD_ADDRESS, 0, 0 },
	{ "192.0.2.9", NONE, GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic \r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ\r\n", GUARD_CREDENTIALS, 0, 1 },	/* no padding */
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=== \r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, x\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==\r\n", GUARD_CREDENTIALS, 0, 1 },	/* bits left over */
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2Ft\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpPcGVuIHNlc2FtZQ==\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"	/* which one counts? */
	    "Authorization: Basic eDp5\r\n", GUARD_CREDENTIALS, 0, 1 },
	{ "192.0.2.9", "Authorization: Basic eDp5\r\n"
	    "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", GUARD_CREDENTIALS, 0, 1 },
};

static void
parse(struct http_head *h, char *text, size_t cap, const char *fields)
{
	const char *why;

	snprintf(text, cap, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
	memset(h, 0, sizeof(*h));
	check(http_req_parse(h, text, strlen(text), &why) > 0, fields, 0);
}

static void
test_check(void)
{
	static struct guard both, user, net, open;
	static struct http_head h;
	char text[2000], hex[2 * SHA256_LEN + 1];
	uint8_t hash[SHA256_LEN];
	const char *why;
	struct addr a;
	size_t i;
	int k;

	check(guard_add_user(&both, ALADDIN, &why) == 0, "Aladdin", 0);
	sha256("other:password", 14, hash);
	for (k = 0; k < SHA256_LEN; k++)
		snprintf(hex + 2 * k, 3, "%02X", hash[k]);	/* upper case will do */
	check(guard_add_user(&both, hex, &why) == 0, "other", 0);
	user = both;
	check(guard_add_net(&both, "192.0.2.0/24", &why) == 0, "net", 0);
	check(guard_add_net(&both, "2001:db8::/32", &why) == 0, "net 6", 0);
	net = both;
	net.nusers = 0;
	for (i = 0; i < LEN(callers); i++) {
		parse(&h, text, sizeof(text), callers[i].fields);
		check(addr_parse(&a, callers[i].addr) == 0, callers[i].addr, i);
		check(guard_check(&both, &a, &h) == callers[i].want, callers[i].fields, i);
		check((guard_check(&user, &a, &h) == GUARD_PASS) == callers[i].users, callers[i].fields, i);
		check((guard_check(&net, &a, &h) == GUARD_PASS) == callers[i].nets, callers[i].fields, i);
		check(guard_check(&open, &a, &h) == GUARD_PASS, callers[i].fields, i);
	}
	/* whoever is no address at all is in no network */
	parse(&h, text, sizeof(text), NONE);
	memset(&a, 0, sizeof(a));
	check(guard_check(&net, &a, &h) == GUARD_ADDRESS, "no address", 0);
}

/* The longest that there may be, and one byte more. */
static void
test_long(void)
{
	static struct guard g;
	static struct http_head h;
	static char fields[1000], text[2000];
	char word[GUARD_USER_MAX + 2], hex[2 * SHA256_LEN + 1], b64[BASE64_LEN(GUARD_USER_MAX + 1) + 1];
	uint8_t hash[SHA256_LEN];
	const char *why;
	struct addr a;
	size_t len;
	int k;

	addr_parse(&a, "192.0.2.9");
	for (len = GUARD_USER_MAX; len <= GUARD_USER_MAX + 1; len++) {
		memset(word, 'x', len);
		word[1] = ':';
		sha256(word, len, hash);
		for (k = 0; k < SHA256_LEN; k++)
			snprintf(hex + 2 * k, 3, "%02x", hash[k]);
		memset(&g, 0, sizeof(g));
		check(guard_add_user(&g, hex, &why) == 0, "long", len);
		base64_encode(b64, word, len);
		snprintf(fields, sizeof(fields), "Authorization: Basic %s\r\n", b64);
		parse(&h, text, sizeof(text), fields);
		check(len > GUARD_USER_MAX || guard_check(&g, &a, &h) == GUARD_PASS, "long", len);
	}
	snprintf(fields, sizeof(fields), "Authorization: Basic %.900s\r\n", "QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ" X50 X50 X50 X50 X50 X50 X50 X50);
	parse(&h, text, sizeof(text), fields);
	check(guard_check(&g, &a, &h) == GUARD_CREDENTIALS, "too long", 0);
}

static void
test_add(void)
{
	static const char *const bad[] = { "", "eb", ALADDIN "0", "g" X50 "xxxxxxxxxxxxx", "\xff" X50 "xxxxxxxxxxxxx" };
	static struct guard g;
	const char *why;
	size_t i;

	for (i = 0; i < LEN(bad); i++) {
		why = NULL;
		check(guard_add_user(&g, bad[i], &why) == -1 && why != NULL, bad[i], i);
	}
	for (i = 0; i < GUARD_USERS_MAX; i++)
		check(guard_add_user(&g, ALADDIN, &why) == 0, "user", i);
	check(guard_add_user(&g, ALADDIN, &why) == -1, "user", i);
	for (i = 0; i < GUARD_NETS_MAX; i++)
		check(guard_add_net(&g, "192.0.2.0/24", &why) == 0, "net", i);
	check(guard_add_net(&g, "192.0.2.0/24", &why) == -1, "net", i);
	for (i = 0; i < LEN(nets); i++) {
		memset(&g, 0, sizeof(g));
		check(guard_add_net(&g, nets[i].cidr, &why) == nets[i].want, nets[i].cidr, i);
	}
	for (i = 0; i < LEN(users); i++)
		check(guard_user_ok(users[i].text) == users[i].want, users[i].text, i);
}

int
main(void)
{
	test_add();
	test_check();
	test_long();
	return test_end();
}
