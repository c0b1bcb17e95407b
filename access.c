/* access.c: the access log's lines; see access.h. */
#include <stdio.h>
#include <time.h>

#include "access.h"
#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "log.h"
#include "query.h"
#include "sink.h"

static void
put_escaped(struct buf *b, char c)
{
	static const char from[] = "\n\r\t", to[] = "nrt";
	const char *p;

	if (c == '"' || c == '\\') {
		buf_char(b, '\\');
		buf_char(b, c);
	} else if (c >= ' ' && c <= '~') {
		buf_char(b, c);
	} else if (c != '\0' && (p = strchr(from, c)) != NULL) {
		buf_char(b, '\\');
		buf_char(b, to[p - from]);
	} else {
		buf_str(b, "\\x");
		buf_hex(b, &c, 1);
	}
}

/* A quoted value; "-" if there is none. */
static void
put_value(struct buf *b, struct str v)
{
	size_t i;

	buf_str(b, " \"");
	for (i = 0; i < v.len && i < ACCESS_VALUE_MAX; i++)
		put_escaped(b, v.p[i]);
	buf_str(b, v.len == 0 ? "-" : v.len > ACCESS_VALUE_MAX ? "..." : "");
	buf_char(b, '"');
}

static void
put_field(struct buf *b, const struct http_head *h, const char *name)
{
	static const struct str none = { "", 0 };
	const struct str *v = h != NULL ? http_field(h, name) : NULL;

	put_value(b, v != NULL ? *v : none);
}

/* In UTC, and in English whatever the locale. */
static void
put_time(struct buf *b, int64_t wall)
{
	time_t t = (time_t)(wall / 1000);
	char text[64];
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	snprintf(text, sizeof(text), "[%02d/%s/%04d:%02d:%02d:%02d +0000]", tm.tm_mday, http_month[tm.tm_mon],
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	buf_str(b, text);
}

/* Whose request it is. */
static void
put_host(struct buf *b, const struct caller *c, int sound)
{
	static const struct addr none;
	char text[NET_ADDR_MAX];
	struct addr a = none;

	if (sound)
		caller_address(c, &a);
	/* hearsay that makes no sense, no address, or our proxies alone */
	if (memcmp(&a, &none, sizeof(a)) == 0 || caller_trusts(c->d, &a)) {
		buf_str(b, c->host);
		return;
	}
	addr_format(&a, text, sizeof(text));
	buf_str(b, text);
}

/* How many bytes of s, which may be percent-encoded, are the key's; 0: it begins otherwise. */
static size_t
begins(struct str s, const char *key)
{
	size_t at = 0, n;

	for (; *key != '\0'; key++, at += n)
		if (at == s.len || query_byte(str_behind(s, at), &n) != *key)
			return 0;
	return at;
}

/* Where the first secret in a target stands: a PipeGate client's token is meant for "/", and may have gone elsewhere. NULL: nowhere. */
static const char *
secret_in(struct str target)
{
	static const char *const keys[] = { "token=", "cf_id=", "cf_secret=" };
	size_t i, k, n;

	for (i = 0; i < target.len; i++)
		for (k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if ((n = begins(str_behind(target, i), keys[k])) > 0)
				return target.p + i + n;
	return NULL;
}

/* Is the target one that clients send secrets to, or meant to? //relay and /tunnel/ are what a base URL with a slash too many makes of it. */
static int
has_secrets(const struct http_head *h)
{
	struct str query, path = str_split(h->target, '?', &query);

	while (path.len > 0 && path.p[0] == '/')
		path = str_behind(path, 1);
	while (path.len > 0 && path.p[path.len - 1] == '/')
		path.len--;
	return ws_is_upgrade(h) || http_is(path, "relay") || http_is(path, "tunnel") || http_is(path, "health");
}

static int
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Where a user and password may stand in the first line of a bad request, of which they may be why. NULL: nowhere, but in a path. */
static const char *
user_in(struct str line)
{
	const char *at = line.len > 0 ? memchr(line.p, '@', line.len) : NULL, *p;

	if (at == NULL)
		return NULL;
	for (p = line.p; p + 3 <= at; p++)
		if (memcmp(p, "://", 3) == 0)
			return p + 3;
	for (p = line.p; p < at && !is_blank(*p); p++)	/* the method */
		;
	while (p < at && is_blank(*p))
		p++;
	return p == at ? line.p : *p == '/' ? NULL : p;
}

/* The first secret of either kind in such a line, however it is cut. NULL: there is none. */
static const char *
secret_in_line(struct str line)
{
	const char *user = user_in(line), *key = secret_in(line);

	return user == NULL || (key != NULL && key < user) ? key : user;
}

/* The request line as it came, but for a secret and what follows; of a bad request its first bytes. */
static struct str
request_line(const struct caller *c, int sound)
{
	struct str line;
	const char *end = c->in + c->len, *secret;

	line.p = c->in + c->at;
	if (sound)
		line.p = c->head.method.p;
	else
		while (line.p < end && (*line.p == '\r' || *line.p == '\n'))
			line.p++;
	for (line.len = 0; line.p + line.len < end; line.len++)
		if (line.p[line.len] == '\r' || line.p[line.len] == '\n')
			break;
	secret = !sound ? secret_in_line(line) : has_secrets(&c->head) ? secret_in(c->head.target) : NULL;
	if (secret != NULL)
		line.len = (size_t)(secret - line.p);
	return line;
}

void
access_seen(const struct caller *c, char out[ACCESS_SEEN_MAX])
{
	const struct str part[3] = { c->head.method, { " ", 1 }, c->head.target };
	const size_t limit = ACCESS_SEEN_MAX - 8;	/* an escape, the dots and the NUL may follow */
	struct buf b;
	size_t i, k;

	buf_init(&b, out, ACCESS_SEEN_MAX);
	for (k = 0; k < 3 && b.len < limit; k++)
		for (i = 0; i < part[k].len && b.len < limit; i++)
			put_escaped(&b, part[k].p[i]);
	buf_str(&b, b.len >= limit ? "..." : "");
	buf_char(&b, '\0');
}

void
access_begin(struct caller *c, int sound)
{
	struct access *a = &c->access;
	struct buf b;

	if (c->d->access == NULL)
		return;
	a->began = clock_ms(CLOCK_STEADY);
	a->ended = 0;
	a->status = 0;
	a->bytes = 0;
	a->tunnel[0] = '\0';
	buf_init(&b, c->access_text, sizeof(c->access_text));
	put_host(&b, c, sound);
	buf_str(&b, " - - ");
	put_time(&b, clock_ms(CLOCK_WALL));
	put_value(&b, request_line(c, sound));
	a->answer = b.len;
	put_field(&b, sound ? &c->head : NULL, "Referer");
	put_field(&b, sound ? &c->head : NULL, "User-Agent");
	a->len = b.len;
}

void
access_tunnel(struct caller *c, const char *name)
{
	if (c->d->access != NULL)
		memcpy(c->access.tunnel, name, strlen(name) + 1);
}

void
access_end(struct caller *c)
{
	struct access *a = &c->access;
	char text[48], *p = c->access_text + a->answer;
	struct buf b;
	int64_t ms;

	if (c->d->access == NULL)
		return;
	ms = (a->ended != 0 ? a->ended : clock_ms(CLOCK_STEADY)) - a->began;
	buf_init(&b, text, sizeof(text));
	buf_char(&b, ' ');
	buf_u64(&b, (unsigned)(a->status != 0 ? a->status : ACCESS_LEFT));
	buf_char(&b, ' ');
	buf_u64(&b, a->bytes);
	/* there is room: values are bounded, and so is all between them */
	memmove(p + b.len, p, a->len - a->answer);
	memcpy(p, text, b.len);
	a->len += b.len;
	buf_init(&b, c->access_text, sizeof(c->access_text));
	b.len = a->len;
	buf_char(&b, ' ');
	buf_str(&b, a->tunnel[0] != '\0' ? a->tunnel : "-");
	buf_char(&b, ' ');
	buf_u64(&b, ms > 0 ? (unsigned long long)ms : 0);
	buf_char(&b, ' ');
	buf_str(&b, c->request_id);
	buf_char(&b, '\n');
	sink_write(c->d->access, LOG_INFO, c->access_text, b.len);
}

/* The status that an exchange would have had. */
static unsigned
port_status(const char *why)
{
	static const struct {
		const char *why;
		unsigned status;
	} table[] = {
		{ "caller_left", ACCESS_LEFT }, { "connection_lost", ACCESS_LEFT }, { "guard_address", 403 }, { "session_lost", 502 },
		{ "stream_reset", 502 }, { "unacknowledged", 504 }, { "shutdown", 504 }
	};
	size_t i;

	if (why == NULL)
		return 200;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].why, why) == 0)
			return table[i].status;
	return 503;
}

void
access_port(const struct daemon *d, const char *host, const char *name, int64_t began, const char *why, uint64_t bytes)
{
	int64_t ms = clock_ms(CLOCK_STEADY) - began;
	char text[512];
	struct str request;
	struct buf b;

	if (d->access == NULL)
		return;
	request.p = name;
	request.len = strlen(name);
	buf_init(&b, text, sizeof(text));
	buf_str(&b, host);
	buf_str(&b, " - - ");
	put_time(&b, clock_ms(CLOCK_WALL) - ms);
	put_value(&b, request);
	buf_char(&b, ' ');
	buf_u64(&b, port_status(why));
	buf_char(&b, ' ');
	buf_u64(&b, bytes);
	buf_str(&b, " \"-\" \"-\" ");
	buf_str(&b, name);
	buf_char(&b, ' ');
	buf_u64(&b, ms > 0 ? (unsigned long long)ms : 0);
	buf_str(&b, " -\n");
	sink_write(d->access, LOG_INFO, text, b.len);
}
