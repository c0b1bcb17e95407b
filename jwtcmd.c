/* jwtcmd.c: tunneld's command jwt: make, explain and revoke tokens; see tunneld.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "log.h"
#include "random.h"
#include "sha256.h"
#include "tunneld.h"

enum { DAY = 86400, DEFAULT_DAYS = 21, CLAIMS_MAX = 4096 };	/* the days are PipeGate's */

static struct jwtauth *
open_keys(struct conf *c, const char *need)
{
	char why[JWT_WHY_MAX];
	struct jwtauth *a;

	jwt_settings(c);
	if (!jwtauth_configured(&c->d.jwt))
		die(EXIT_USAGE, "%s", need);
	if ((a = jwtauth_new(&c->d.jwt, why)) == NULL)
		die(1, "%s", why);
	return a;
}

static const char *
time_text(char out[32], int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "beyond all calendars", 21);
	return out;
}

/* Making. */

/* An id that PipeGate can have in a path as it is; a tunnel's name is one, too. */
static int
id_ok(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~");

	return n > 0 && id[n] == '\0' && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

static void
put_time(struct buf *b, const char *name, int64_t when)
{
	json_put_name(b, name);
	buf_u64(b, (unsigned long long)when);
}

/* The claims in PipeGate's order, and tunnel behind them if there is a scope. */
static size_t
write_claims(char out[CLAIMS_MAX], const struct conf *c, int64_t now, int64_t expires)
{
	const struct jwt_conf *j = &c->d.jwt;
	unsigned char raw[16];
	char jti[2 * sizeof(raw) + 1];
	struct buf b;

	if (random_bytes(raw, sizeof(raw)) == -1)
		die(1, "no random bytes can be had: %s", strerror(errno));
	buf_init(&b, jti, sizeof(jti) - 1);
	buf_hex(&b, raw, sizeof(raw));
	jti[b.len] = '\0';
	buf_init(&b, out, CLAIMS_MAX);
	buf_str(&b, "{");
	json_put_member(&b, "sub", c->name);
	put_time(&b, "exp", expires);
	put_time(&b, "nbf", now);
	put_time(&b, "iat", now);
	json_put_member(&b, "iss", j->issuer != NULL ? j->issuer : "pipegate");
	json_put_member(&b, "aud", j->audience != NULL ? j->audience : "pipegate");
	json_put_member(&b, "jti", jti);
	if (c->scope[0] != '\0')
		json_put_member(&b, "tunnel", c->scope);
	buf_str(&b, "}");
	return b.len;
}

static int
issue(int argc, char **argv)
{
	static const char need[] = "jwt issue needs the secret: name its file by --jwt-secret-file, or set TUNNELD_JWT_SECRET";
	static char claims[CLAIMS_MAX], text[JWT_MAX + 1];
	static struct conf c;
	static struct jwt t;
	int64_t now = clock_ms(CLOCK_WALL) / 1000, expires;
	struct jwt_claims made;
	struct jwtauth *a;
	const char *why;
	char when[32];

	options(&c, OPTIONS_JWT_ISSUE, argc, argv, 0);
	if (c.name[0] == '\0')
		die(EXIT_USAGE, "jwt issue needs --name ID");
	if (!id_ok(c.name))
		die(EXIT_USAGE, "--name: '%.60s' is not made of letters, digits and -._~", c.name);
	if (c.scope[0] != '\0' && scope_check(c.scope, &why) == -1)
		die(EXIT_USAGE, "--scope: '%.60s' %s", c.scope, why);
	a = open_keys(&c, need);
	expires = now + (c.expires_ms == 0 ? DEFAULT_DAYS * DAY : c.expires_ms / 1000);
	if (jwtauth_sign(a, claims, write_claims(claims, &c, now, expires), text) == -1)
		die(EXIT_USAGE, "%s", need);
	/* what we would not take ourselves is not given out */
	if (jwtauth_verify(a, &t, text, strlen(text), &why) != 0 || jwtauth_judge(a, &t, 1, now, &made, &why) == -1)
		die(1, "no sound token comes of this: %s", why);
	printf("name: %s\nscope: %s\nexpires: %s\ntoken: %s\n", c.name, made.scope[0] != '\0' ? made.scope : "-",
	    time_text(when, expires), text);
	print_client_line(&c, text);
	wipe(text, sizeof(text));
	jwtauth_free(a);
	return 0;
}

/* Explaining. */

/* What comes from the token, so that it cannot play with a terminal. */
static void
print_safe(const char *p, size_t len)
{
	const unsigned char *s = (const unsigned char *)p, *end = s + len;

	for (; s < end; s++)
		if (*s == 0xc2 && end - s > 1 && s[1] < 0xa0) {	/* C1 */
			putchar('?');
			s++;
		} else
			putchar(*s < ' ' || *s == 0x7f ? '?' : *s);
	putchar('\n');
}

static void
print_json(const char *name, const struct json *j)
{
	if (j->n == 0)
		return;
	printf("%s: ", name);
	print_safe(j->text + j->node[0].start, j->node[0].end - j->node[0].start);
}

/* "exp: 2026-12-12T10:02:11Z, in 21 days" */
static void
print_time(const struct json *j, const char *name, int64_t now)
{
	static const struct { int64_t seconds; const char *name; } units[] = {
		{ DAY, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" }
	};
	int64_t when, away;
	char text[32];
	int i = 0;

	if (json_get_int(j, 0, name, 0, INT64_MAX / 4, &when) != 1)
		return;
	away = when > now ? when - now : now - when;
	while (i < 3 && away < 2 * units[i].seconds)
		i++;
	away /= units[i].seconds;
	printf("%s: %s, %s%lld %s%s%s\n", name, time_text(text, when), when > now ? "in " : "", (long long)away,
	    units[i].name, away == 1 ? "" : "s", when > now ? "" : " ago");
}

/* 1 if it would be taken. */
static int
print_verdict(struct jwtauth *a, const struct jwt *t, int pipegate, int64_t now)
{
	char who[JWT_WHO_MAX + 1];
	struct jwt_claims c;
	const char *why;

	printf("%s: ", pipegate ? "pipegate" : "native");
	if (jwtauth_judge(a, t, pipegate, now, &c, &why) == -1) {
		printf("refused: %s\n", why);
		return 0;
	}
	if (pipegate) {
		printf("accepted\n");
		return 1;
	}
	jwt_who(&c, who);
	if (c.scope[0] == '\0')
		printf("refused: it has no claim tunnel, and sub is no name\n");
	else
		printf("accepted, as %s, for %s\n", who, c.scope);
	return c.scope[0] != '\0';
}

/* The token from standard input, where ps does not show it. */
static char *
read_token(void)
{
	char *text;
	size_t len;

	if (file_read(0, 2 * JWT_MAX, &text, &len) == -1)
		die(1, "standard input: %s", strerror(errno));
	text[strcspn(text, " \t\r\n")] = '\0';
	return text;
}

/* 1 if a dialect would take it. */
static int
print_token(struct jwtauth *a, const char *text)
{
	static struct jwt t;
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	const char *why;
	int good = jwtauth_verify(a, &t, text, strlen(text), &why) == 0, taken;

	print_json("header", &t.header);
	print_json("claims", &t.claims);
	if (t.claims.n > 0) {
		print_time(&t.claims, "exp", now);
		print_time(&t.claims, "nbf", now);
		print_time(&t.claims, "iat", now);
	}
	printf(good ? "signature: good\n" : "refused: %s\n", why);
	if (!good)
		return 0;
	taken = print_verdict(a, &t, 0, now);
	return print_verdict(a, &t, 1, now) || taken;
}

static int
explain(int argc, char **argv)
{
	static struct conf c;
	struct jwtauth *a;
	char *read = NULL;
	int taken;

	options(&c, OPTIONS_JWT_CHECK, argc, argv, 1);
	a = open_keys(&c, "jwt check needs the keys: --jwt-secret-file, --jwt-key or --jwks, or TUNNELD_JWT_SECRET");
	if (strcmp(argv[0], "-") == 0)
		read = read_token();
	log_setup(log_used(), LOG_WARN, 0);
	taken = print_token(a, read != NULL ? read : argv[0]);
	free(read);
	jwtauth_free(a);
	return taken ? 0 : 1;
}

/* Revoking. */

/* A whole token, or a jti alone. */
static int
end_token(int argc, char **argv)
{
	static struct conf c;
	static struct jwt t;
	char jti[JWT_TEXT_MAX + 1], *read = NULL;
	const char *text, *why;
	int64_t expires = 0;
	int dir;

	options(&c, OPTIONS_PLAIN, argc, argv, 1);
	if (strcmp(argv[0], "-") == 0)
		read = read_token();
	text = read != NULL ? read : argv[0];
	if (jwt_shaped(text, strlen(text))) {
		jwt_parse(&t, text, strlen(text), &why);	/* who has signed it does not matter */
		if (t.claims.n == 0 || json_get_str(&t.claims, 0, "jti", jti, sizeof(jti)) != 1 || jti[0] == '\0')
			die(1, "the token has no jti: nothing tells it from others; another secret ends them all");
		json_get_int(&t.claims, 0, "exp", 1, INT64_MAX / 4, &expires);
	} else if (text[0] == '\0' || opt_copy(jti, sizeof(jti), text) != NULL)
		die(EXIT_USAGE, "jwt revoke is followed by a token, its jti, or - for standard input");
	dir = open_state(&c, 0);
	if (revoked_add(dir, jti, expires, clock_ms(CLOCK_WALL) / 1000) == -1)
		die(1, "%s/%s: %s", c.state, revoked_name, strerror(errno));
	fputs("revoked: ", stdout);
	print_safe(jti, strlen(jti));
	close(dir);
	free(read);
	return 0;
}

int
jwt_command(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "issue") == 0)
		return issue(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return explain(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "revoke") == 0)
		return end_token(argc - 1, argv + 1);
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		usage();
	if (argc > 1)
		die(EXIT_USAGE, "unknown word '%.60s' after jwt; see tunneld --help", argv[1]);
	die(EXIT_USAGE, "jwt is followed by issue, check or revoke; see tunneld --help");
	return EXIT_USAGE;
}
