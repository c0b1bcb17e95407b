/* sshkeys_test.c: lines of authorized_keys, and host keys as OpenSSH writes them. Keys here are nobody's. */
#include "../base64.h"
#include "../sshkeys.h"
#include "../pem.h"
#include "../sshpriv.h"
#include "test.h"

#define ED "AAAAC3NzaC1lZDI1NTE5AAAAIC7nHPGLIZRWSPJl7GOra934B3J5VMsiIlmj7+Nbs+rd"
#define EC "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH6UiVsA9K9+SFoWcG+DZRHlhWLqc/eiajvw6JuvcMvT8EEsbc3CkILwZMv3/FQ9VPeSJHmZG/rxxh7BrTarQAU="
#define EC384 "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBM0DxVOoQPmRQPM1sXTOdpRvDdLFvXLFOvvTgvi06OxVnWjbmKXFn9nIwgfgI4ZEquk7/Id19LIaybnDGY7L3GyER/lEfEiPIL5H1+wnhz3T6Iahrq1k4BhDDL57FVnjIw=="
#define RSA "AAAAB3NzaC1yc2EAAAADAQABAAAAgQChaDJLM4HHQO3zhUocn6RxUWGKvyhoa7Ay6JxWws5P98GybwR5JKwU74Acm1NvBz4icUdFW8fvw8y2FENcZLc3mJTKSXNEV5v0sHY2e98/QCD8kgdz36dEj5Aa/ZJSa+1fC5PaucMV0h3g/DP+ihJxHuWP4pkGa6pYN8DNInUdTw=="
#define ED_KEY "ssh-ed25519 " ED
#define EC_KEY "ecdsa-sha2-nistp256 " EC

/* What comes of a line. */
#define NOTHING SSHKEYS_NOTHING, NULL, 0, NULL
#define KEY(scope, expires) SSHKEYS_KEY, scope, expires, NULL
#define LEFT_OUT(why) SSHKEYS_LEFT_OUT, NULL, 0, why
#define DAMAGED(why) SSHKEYS_DAMAGED, NULL, 0, why
#define UNKNOWN(option) "option " option " is not known here, and what it limits would not be limited"
#define NOT_TAKEN(type) type " keys are not taken here: make one with ssh-keygen -t ed25519"
#define RESTRICTED "it is restricted, and no scope says to what"

static const struct { const char *line; enum sshkeys_line want; const char *scope; int64_t expires; const char *why; } lines[] = {
	{ "", NOTHING },
	{ " \t", NOTHING },
	{ "\r", NOTHING },
	{ "# " ED_KEY, NOTHING },
	{ "  # \001", NOTHING },
	/* keys */
	{ ED_KEY, KEY("*", 0) },
	{ ED_KEY "\r", KEY("*", 0) },
	{ "  " ED_KEY " alice@laptop and more", KEY("*", 0) },
	{ ED_KEY " J\303\274rgen", KEY("*", 0) },
	{ "ssh-ed25519\t \t" ED "\tx", KEY("*", 0) },
	{ EC_KEY, KEY("*", 0) },
	{ "scope=\"preview,9000-9010\" " ED_KEY, KEY("preview,9000-9010", 0) },
	{ "SCOPE=\"*\" " ED_KEY, KEY("*", 0) },
	{ "restrict,scope=\"a\",pty\t" ED_KEY, KEY("a", 0) },
	{ "scope=\"a\",restrict " EC_KEY, KEY("a", 0) },
	{ "restrict,port-forwarding " ED_KEY, KEY("*", 0) },
	{ "no-pty,no-agent-forwarding,no-X11-forwarding,no-user-rc " ED_KEY, KEY("*", 0) },
	{ "expiry-time=\"20271231235959Z\" " ED_KEY, KEY("*", 1830297599) },
	{ "expiry-time=\"202712312359Z\",scope=\"a\" " ED_KEY, KEY("a", 1830297540) },
	{ "expiry-time=\"20280229Z\" " ED_KEY, KEY("*", 1835395200) },
	/* sound, and not for us */
	{ "ssh-rsa " RSA " old", LEFT_OUT(NOT_TAKEN("ssh-rsa")) },
	{ "ecdsa-sha2-nistp384 " EC384, LEFT_OUT(NOT_TAKEN("ecdsa-sha2-nistp384")) },
	{ "from=\"192.0.2.1\" " ED_KEY, LEFT_OUT(UNKNOWN("from")) },
	{ "scope=\"a\",command=\"echo \\\"x, y\\\"\" " ED_KEY, LEFT_OUT(UNKNOWN("command")) },
	{ "permitlisten=\"80\",command=\"x\" " ED_KEY, LEFT_OUT(UNKNOWN("permitlisten")) },
	{ "cert-authority " ED_KEY, LEFT_OUT(UNKNOWN("cert-authority")) },
	{ "restrict " ED_KEY, LEFT_OUT(RESTRICTED) },
	{ "no-port-forwarding " ED_KEY, LEFT_OUT(RESTRICTED) },
	/* damaged */
	{ "preview", DAMAGED("no type of key follows: ssh-ed25519 or ecdsa-sha2-nistp256") },
	{ "ssh-ed25519", DAMAGED("the key itself is missing") },
	{ "ssh-ed25519 !", DAMAGED("the key is not base64") },
	{ "ssh-ed25519 " EC, DAMAGED("the key is not of the type in front of it") },
	{ "ssh-rsa " ED, DAMAGED("the key is not of the type in front of it") },
	{ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAA==", DAMAGED("the key is malformed") },
	{ ED_KEY "\001", DAMAGED("control characters") },
	{ "scope=\"a " ED_KEY, DAMAGED("the value of scope has no quote at its end") },
	{ "scope=a " ED_KEY, DAMAGED("the value of scope is not in quotes") },
	{ "scope " ED_KEY, DAMAGED("option scope wants a value in quotes") },
	{ "restrict=\"yes\" " ED_KEY, DAMAGED("option restrict has no value") },
	{ "scope=\"a\"b " ED_KEY, DAMAGED("no comma or blank follows scope") },
	{ "scope=\"a\",scope=\"b\" " ED_KEY, DAMAGED("scope stands there twice") },
	{ "scope=\"\" " ED_KEY, DAMAGED(NULL) },
	{ "scope=\"A b\" " ED_KEY, DAMAGED(NULL) },
	{ ",restrict " ED_KEY, DAMAGED("an option has no name") },
	{ "pty, " ED_KEY, DAMAGED("an option has no name") },
	{ "from=\"a\",scope=\"\" " ED_KEY, DAMAGED(NULL) },
	{ "j\303\274 " ED_KEY, DAMAGED("characters that no option has") },
	{ "expiry-time=\"20271231\" " ED_KEY, DAMAGED("expiry-time \"20271231\" is not YYYYMMDD[HHMM[SS]]Z, in UTC with a Z behind it") },
	{ "expiry-time=\"20270229Z\" " ED_KEY, DAMAGED(NULL) },
};

static const struct { const char *text; int64_t want; } times[] = {
	{ "19700101Z", 0 }, { "19700102Z", 86400 }, { "20000229Z", 951782400 }, { "20000301Z", 951868800 }, { "21000228Z", 4107456000 },
	{ "21000229Z", -1 }, { "20261301Z", -1 }, { "20260001Z", -1 }, { "20260132Z", -1 }, { "20260100Z", -1 }, { "20260431Z", -1 },
	{ "202601012400Z", -1 }, { "202601010060Z", -1 }, { "20260101000060Z", -1 }, { "20260101z", -1 }, { "2026010Z", -1 }, { "Z", -1 },
	{ "", -1 }, { "2026 101Z", -1 }, { "99991231235959Z", 253402300799 }, { "19691231Z", -1 },
};

#define ED_PRIVATE \
    "-----BEGIN OPENSSH PRIVATE KEY-----\n" \
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n" \
    "QyNTUxOQAAACAu5xzxiyGUVkjyZexjq2vd+AdyeVTLIiJZo+/jW7Pq3QAAAIijn/ouo5/6\n" \
    "LgAAAAtzc2gtZWQyNTUxOQAAACAu5xzxiyGUVkjyZexjq2vd+AdyeVTLIiJZo+/jW7Pq3Q\n" \
    "AAAECcHJmpzT049lnL3wPHiyPcXq4sRPMCWy4y2wo2rqh4ny7nHPGLIZRWSPJl7GOra934\n" \
    "B3J5VMsiIlmj7+Nbs+rdAAAAAAECAwQF\n" \
    "-----END OPENSSH PRIVATE KEY-----\n"

static const struct { const char *name, *text; int want; const char *why; } files[] = {
	{ "of ssh-keygen -t ed25519", ED_PRIVATE, 0, NULL },
	{ "with a passphrase",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABD8S5Dpsh\n"
    "hWzsT5xxVaRwpPAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIHmHp4P9a3N1820E\n"
    "g2NFa4GYrE9LqBWcrXEWkW+VeOX4AAAAkNwwuoqpVRUN8ot8zNKaPpuGhUVj9ZSWw0KLHW\n"
    "mrkY56yPmKGhn3zly0c7yS0x6Xlu92jB8XILSJzoMxu+2KstYWIqgbQCEpW2zrfzqhMcQp\n"
    "v/REYAoqeKjyZELFhugWUMGHAqPfzrxk5OR+FzFtO/95DYkvuU5gCIQUaZRmXvk61NO6ct\n"
    "VW9a7zOpsSwNWfDw==\n"
    "-----END OPENSSH PRIVATE KEY-----\n", -1, "a passphrase protects it, and nobody is there to type it: ssh-keygen -p takes it off" },
	{ "of ssh-keygen -t ecdsa",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS\n"
    "1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQR+lIlbAPSvfkhaFnBvg2UR5YVi6nP3\n"
    "omo78Oibr3DL0/BBLG3NwpCC8GTL9/xUPVT3kiR5mRv68cYewa02q0AFAAAAoDSMPbE0jD\n"
    "2xAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH6UiVsA9K9+SFoW\n"
    "cG+DZRHlhWLqc/eiajvw6JuvcMvT8EEsbc3CkILwZMv3/FQ9VPeSJHmZG/rxxh7BrTarQA\n"
    "UAAAAhALTSm/tXciz8Y3JtpzlBbE3ifapng3VREi1zBWUsqKInAAAAAAECAwQFBgc=\n"
    "-----END OPENSSH PRIVATE KEY-----\n", -1, "it is no Ed25519 key: ssh-keygen -t ed25519 makes one" },
	{ "a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", -1, "it is no private key of OpenSSH's: move it away, and one is made" },
	{ "another magic", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", -1, "it is no private key of OpenSSH's: move it away, and one is made" },
	{ "nothing", "", -1, "it is no private key of OpenSSH's: move it away, and one is made" },
};

static void
test_lines(void)
{
	char why[SSHKEYS_WHY_MAX];
	struct sshkeys_key k;
	enum sshkeys_line rc;
	size_t i, n, len;
	char *p;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		len = strlen(lines[i].line);
		for (n = 0; n <= len; n++) {
			p = exact(lines[i].line, n);
			why[0] = '\0';
			rc = sshkeys_line(&k, p, n, why);
			free(p);
			if (rc == SSHKEYS_LEFT_OUT || rc == SSHKEYS_DAMAGED)
				check(why[0] != '\0' && memchr(why, '\0', sizeof(why)) != NULL, lines[i].line, n);
			/* nothing is taken before the whole key is there */
			check(n == len || rc != SSHKEYS_KEY || k.nblob == (strstr(lines[i].line, "nistp256") != NULL ? 104 : 51), lines[i].line, n);
		}
		check(rc == lines[i].want, lines[i].line, i);
		check(lines[i].why == NULL || strcmp(why, lines[i].why) == 0, lines[i].line, i);
		if (rc == SSHKEYS_KEY) {
			check(strcmp(k.scope, lines[i].scope) == 0, "scope", i);
			check(k.expires == lines[i].expires, "expires", i);
		}
	}
}

/* A line that is too long; a scope and an option's name that are. */
static void
test_long(void)
{
	static char text[SSHKEYS_LINE_MAX + 2];
	char why[SSHKEYS_WHY_MAX];
	struct sshkeys_key k;

	memset(text, 'a', sizeof(text) - 1);
	check(sshkeys_line(&k, text, SSHKEYS_LINE_MAX + 1, why) == SSHKEYS_DAMAGED && strcmp(why, "the line is too long") == 0, "long line", 0);
	check(sshkeys_line(&k, text, SSHKEYS_LINE_MAX, why) == SSHKEYS_DAMAGED && strlen(why) < 120, "long option", 0);
	memcpy(text, "scope=\"", 7);
	text[SSHKEYS_SCOPE_MAX + 8] = '"';
	check(sshkeys_line(&k, text, SSHKEYS_SCOPE_MAX + 9, why) == SSHKEYS_DAMAGED && strcmp(why, "scope is too long") == 0, "long scope", 0);
}

static void
test_times(void)
{
	size_t i;
	char *p;

	for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		p = exact(times[i].text, strlen(times[i].text));
		check(sshkeys_time(p, strlen(times[i].text)) == times[i].want, times[i].text, i);
		free(p);
	}
}

static void
test_files(void)
{
	struct sshkey k, again;
	char text[SSHPRIV_MAX], pub[BASE64_LEN(SSH_BLOB_MAX) + 1];
	const char *why;
	size_t i, n, len;
	char *p;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		len = strlen(files[i].text);
		for (n = 0; n <= len; n++) {
			p = exact(files[i].text, n);
			check(sshpriv_parse(&k, p, n, &why) == (n < len - (len > 0) ? -1 : files[i].want), files[i].name, n);
			free(p);
		}
		check(files[i].why == NULL || strcmp(why, files[i].why) == 0, files[i].name, i);
	}
	/* the same key, read and written */
	check(sshpriv_parse(&k, ED_PRIVATE, strlen(ED_PRIVATE), &why) == 0, "read", 0);
	base64_encode(pub, k.blob, k.nblob);
	check(strcmp(pub, ED) == 0, "its public half", 0);
	len = sshpriv_put(&k, 0x01020304, "tunneld", text);
	check(len == strlen(text) && len < SSHPRIV_MAX, "written", len);
	check(sshpriv_parse(&again, text, len, &why) == 0 && memcmp(again.secret, k.secret, sizeof(k.secret)) == 0 &&
	    again.nblob == k.nblob && memcmp(again.blob, k.blob, k.nblob) == 0, "read again", 0);
	/* a bit of any byte wrong: never another key */
	for (i = 0; i < len; i++) {
		text[i] ^= 1;
		check(sshpriv_parse(&again, text, len, &why) == -1 || memcmp(again.secret, k.secret, sizeof(k.secret)) == 0, "damaged", i);
		text[i] ^= 1;
	}
}

/* What ED_PRIVATE is when a byte in it is another, or when there is more padding behind it. */
static void
test_sections(void)
{
	enum { BLOB = 39, SECTION = 98, SEED = 161, MORE = 8 };
	static const struct { const char *name; size_t at; int more; const char *why; } rows[] = {
		{ "as it was", 0, 0, NULL },
		{ "the first of two numbers that are the same", SECTION, 0, "it is damaged" },
		{ "its public half within", 125, 0, "its public half is another key's" },
		{ "that behind its seed", SEED + 32, 0, "its public half is another key's" },
		{ "that in front", BLOB + 30, 0, "its public half is another key's" },
		{ "the seed", SEED, 0, "its public half is another key's" },
		{ "padding", SEED + 64 + 4, 0, "it is damaged" },
		{ "more padding than a block", 0, MORE, "it is damaged" },
	};
	char label[PEM_LABEL_MAX], text[1000], base64[BASE64_LEN(400) + 1];
	const char *why = "";
	uint8_t der[400];
	struct sshkey k;
	size_t i, n, at;
	int rc, m;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		at = 0;
		if (pem_next(ED_PRIVATE, strlen(ED_PRIVATE), &at, label, der, sizeof(der), &n, &why) != 1)
			abort();
		der[rows[i].at] ^= rows[i].at != 0;
		for (m = 0; m < rows[i].more; m++, der[SECTION - 1]++)
			der[n++] = (uint8_t)(6 + m);
		base64_encode(base64, der, n);
		snprintf(text, sizeof(text), "-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n", base64);
		rc = sshpriv_parse(&k, text, strlen(text), &why);
		check(rc == (rows[i].why != NULL ? -1 : 0) && (rc == 0 || strcmp(why, rows[i].why) == 0), rows[i].name, i);
	}
}

int
main(void)
{
	if (sshcrypt_init() == -1)
		return 1;
	test_lines();
	test_long();
	test_times();
	test_files();
	test_sections();
	return test_end();
}
