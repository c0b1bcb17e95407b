/* sshkeys.c: a line of authorized_keys; see sshkeys.h. */
#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "scope.h"
#include "sshkeys.h"

enum {
	WORD_SHOWN = 40		/* of a word in a message */
};

struct line {			/* being read */
	const char *p, *end;
	struct sshkeys_key *k;
	char *why;
	int scope, expires, restricted;	/* it has had these options */
};

static int
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct str
word(const char *from, const char *to)
{
	struct str s;

	s.p = from;
	s.len = (size_t)(to - from);
	return s;
}

/* A message about a word, which has nothing but printable characters. */
static enum sshkeys_line
say(const struct line *l, enum sshkeys_line verdict, const char *fmt, struct str w)
{
	snprintf(l->why, SSHKEYS_WHY_MAX, fmt, (int)(w.len < WORD_SHOWN ? w.len : WORD_SHOWN), w.p);
	return verdict;
}

static enum sshkeys_line
damaged(const struct line *l, const char *text)
{
	snprintf(l->why, SSHKEYS_WHY_MAX, "%s", text);
	return SSHKEYS_DAMAGED;
}

/* Options. */

/* Days from 1970-01-01 to the first of a month; month 1 to 12. */
static int64_t
days_to(int year, int month)
{
	static const int before[12] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	int y = year - (month <= 2);	/* the last whose February is behind us */

	return (int64_t)365 * (year - 1970) + (y / 4 - y / 100 + y / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400) + before[month - 1];
}

static int
digits(const char *p, int n)
{
	int v = 0;

	while (n-- > 0)
		v = 10 * v + (*p++ - '0');
	return v;
}

int64_t
sshkeys_time(const char *text, size_t len)
{
	int year, month, day, hour, minute, second;
	char full[15] = "00000000000000";
	int64_t first;
	size_t i;

	if ((len != 9 && len != 13 && len != 15) || text[len - 1] != 'Z')
		return -1;
	for (i = 0; i < len - 1; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		full[i] = text[i];
	}
	year = digits(full, 4);
	month = digits(full + 4, 2);
	day = digits(full + 6, 2);
	hour = digits(full + 8, 2);
	minute = digits(full + 10, 2);
	second = digits(full + 12, 2);
	if (year < 1970 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
		return -1;
	first = days_to(year, month);
	if (first + day > (month < 12 ? days_to(year, month + 1) : days_to(year + 1, 1)))
		return -1;
	return (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second;
}

static enum sshkeys_line
take_scope(struct line *l, struct str value)
{
	const char *wrong;

	if (l->scope++)
		return damaged(l, "scope stands there twice");
	if (value.len > SSHKEYS_SCOPE_MAX)
		return damaged(l, "scope is too long");
	memcpy(l->k->scope, value.p, value.len);
	l->k->scope[value.len] = '\0';
	if (scope_check(l->k->scope, &wrong) == 0)
		return SSHKEYS_KEY;
	snprintf(l->why, SSHKEYS_WHY_MAX, "scope: %s", wrong);
	return SSHKEYS_DAMAGED;
}

static enum sshkeys_line
take_expiry(struct line *l, struct str value)
{
	int64_t t = sshkeys_time(value.p, value.len);

	if (l->expires++)
		return damaged(l, "expiry-time stands there twice");
	if (t <= 0)
		return say(l, SSHKEYS_DAMAGED, "expiry-time \"%.*s\" is not YYYYMMDD[HHMM[SS]]Z, in UTC with a Z behind it", value);
	l->k->expires = t;
	return SSHKEYS_KEY;
}

static enum sshkeys_line
take_restrict(struct line *l, struct str value)
{
	(void)value;
	l->restricted = 1;
	return SSHKEYS_KEY;
}

static enum sshkeys_line
take_forwarding(struct line *l, struct str value)
{
	(void)value;
	l->restricted = 0;
	return SSHKEYS_KEY;
}

static enum sshkeys_line
take_none(struct line *l, struct str value)
{
	(void)l;
	(void)value;
	return SSHKEYS_KEY;	/* what it forbids, nobody has here */
}

static const struct {
	const char *name;
	int has_value;
	enum sshkeys_line (*take)(struct line *, struct str value);
} options[] = {
	{ "scope", 1, take_scope },
	{ "expiry-time", 1, take_expiry },
	{ "restrict", 0, take_restrict },
	{ "no-port-forwarding", 0, take_restrict },
	{ "port-forwarding", 0, take_forwarding },
	{ "no-agent-forwarding", 0, take_none },
	{ "no-pty", 0, take_none },
	{ "no-user-rc", 0, take_none },
	{ "no-x11-forwarding", 0, take_none },
	{ "pty", 0, take_none },
};

/* An option, in any case as sshd has it: up to a comma or a blank, but for those in quotes. */
static enum sshkeys_line
take_option(struct line *l)
{
	const char *from = l->p;
	struct str name, value = { "", 0 };
	size_t i;
	int quoted = 0;

	while (l->p < l->end && *l->p != '=' && *l->p != ',' && !is_blank(*l->p))
		l->p++;
	name = word(from, l->p);
	if (name.len == 0)
		return damaged(l, "an option has no name");
	if (l->p < l->end && *l->p == '=') {
		if (++l->p == l->end || *l->p++ != '"')
			return say(l, SSHKEYS_DAMAGED, "the value of %.*s is not in quotes", name);
		for (from = l->p; l->p < l->end && *l->p != '"'; l->p++)
			if (*l->p == '\\' && l->p + 1 < l->end)
				l->p++;
		if (l->p == l->end)
			return say(l, SSHKEYS_DAMAGED, "the value of %.*s has no quote at its end", name);
		value = word(from, l->p++);
		quoted = 1;
	}
	if (l->p < l->end && *l->p != ',' && !is_blank(*l->p))
		return say(l, SSHKEYS_DAMAGED, "no comma or blank follows %.*s", name);
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (!http_is(name, options[i].name))
			continue;
		if (options[i].has_value != quoted)
			return say(l, SSHKEYS_DAMAGED, quoted ? "option %.*s has no value" : "option %.*s wants a value in quotes", name);
		return options[i].take(l, value);
	}
	return say(l, SSHKEYS_LEFT_OUT, "option %.*s is not known here, and what it limits would not be limited", name);
}

static enum sshkeys_line
take_options(struct line *l)
{
	enum sshkeys_line rc, worst = SSHKEYS_KEY;
	char why[SSHKEYS_WHY_MAX] = "";

	for (;;) {
		rc = take_option(l);
		if (rc == SSHKEYS_DAMAGED)
			return rc;
		if (rc == SSHKEYS_LEFT_OUT && worst == SSHKEYS_KEY) {	/* the rest may be damaged all the same */
			worst = rc;
			memcpy(why, l->why, sizeof(why));
		}
		if (l->p == l->end || *l->p != ',')
			break;
		l->p++;
	}
	if (worst != SSHKEYS_KEY)
		memcpy(l->why, why, sizeof(why));
	return worst;
}

/* The key. */

static void
skip_blanks(struct line *l)
{
	while (l->p < l->end && is_blank(*l->p))
		l->p++;
}

/* The next word, which ends at a blank. */
static struct str
take_word(struct line *l)
{
	const char *from = l->p;

	while (l->p < l->end && !is_blank(*l->p))
		l->p++;
	return word(from, l->p);
}

static int
begins(struct str s, const char *with)
{
	size_t n = strlen(with);

	return s.len >= n && memcmp(s.p, with, n) == 0;
}

/* Is it the name of a type of keys? sshd's all begin so. */
static int
is_type(struct str s)
{
	return begins(s, "ssh-") || begins(s, "ecdsa-sha2-") || begins(s, "sk-");
}

static enum sshkeys_line
take_key(struct line *l, struct str type)
{
	uint8_t blob[SSHKEYS_LINE_MAX / 4 * 3 + 2];
	struct str text;
	const char *alg;
	struct ssh_in in;
	long n;

	skip_blanks(l);
	text = take_word(l);
	if (text.len == 0)
		return damaged(l, "the key itself is missing");
	if ((n = base64_decode(blob, text.p, text.len)) == -1)
		return damaged(l, "the key is not base64");
	ssh_in_init(&in, blob, (size_t)n);
	alg = sshkey_blob_alg(blob, (size_t)n);
	text = ssh_get_str(&in);
	if (in.bad || text.len != type.len || memcmp(text.p, type.p, type.len) != 0)
		return damaged(l, "the key is not of the type in front of it");
	if (!str_is(type, "ssh-ed25519") && !str_is(type, "ecdsa-sha2-nistp256"))
		return say(l, SSHKEYS_LEFT_OUT, "%.*s keys are not taken here: make one with ssh-keygen -t ed25519", type);
	if (alg == NULL)
		return damaged(l, "the key is malformed");
	memcpy(l->k->blob, blob, (size_t)n);
	l->k->nblob = (size_t)n;
	return SSHKEYS_KEY;
}

/* No control characters; ascii: nor anything beyond it, where messages are made of. */
static int
is_text(const char *p, size_t len, int ascii)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f || (ascii && (unsigned char)p[i] > 0x7e))
			return 0;
	return 1;
}

enum sshkeys_line
sshkeys_line(struct sshkeys_key *k, const char *text, size_t len, char why[SSHKEYS_WHY_MAX])
{
	struct line l = { text, text + len, k, why, 0, 0, 0 };
	enum sshkeys_line rc, options_rc = SSHKEYS_KEY;
	char options_why[SSHKEYS_WHY_MAX] = "";
	const char *from;
	struct str type;

	if (len > 0 && l.end[-1] == '\r')
		l.end--;
	skip_blanks(&l);
	if (l.p == l.end || *l.p == '#')
		return SSHKEYS_NOTHING;
	if (len > SSHKEYS_LINE_MAX)
		return damaged(&l, "the line is too long");
	if (!is_text(l.p, (size_t)(l.end - l.p), 0))
		return damaged(&l, "control characters");
	memset(k, 0, sizeof(*k));
	strcpy(k->scope, "*");
	from = l.p;
	type = take_word(&l);
	if (!is_type(type)) {
		l.p = from;
		options_rc = take_options(&l);
		if (!is_text(from, (size_t)(l.p - from), 1))
			return damaged(&l, "characters that no option has");
		if (options_rc == SSHKEYS_DAMAGED)
			return options_rc;
		memcpy(options_why, why, options_rc == SSHKEYS_LEFT_OUT ? sizeof(options_why) : 0);
		skip_blanks(&l);
		type = take_word(&l);
	}
	if (!is_type(type) || !is_text(type.p, type.len, 1))
		return damaged(&l, "no type of key follows: ssh-ed25519 or ecdsa-sha2-nistp256");
	rc = take_key(&l, type);
	if (rc == SSHKEYS_KEY && options_rc != SSHKEYS_KEY) {
		memcpy(why, options_why, sizeof(options_why));
		return options_rc;
	}
	if (rc == SSHKEYS_KEY && l.restricted && !l.scope) {
		snprintf(why, SSHKEYS_WHY_MAX, "it is restricted, and no scope says to what");
		return SSHKEYS_LEFT_OUT;
	}
	return rc;
}
