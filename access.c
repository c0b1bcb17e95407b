/* access.c: the access log's lines; see access.h. */
#include <stdio.h>
#include <time.h>

#include "access.h"
#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "log.h"
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
	static const char month[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
	};
	time_t t = (time_t)(wall / 1000);
	char text[64];
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	snprintf(text, sizeof(text), "[%02d/%s/%04d:%02d:%02d:%02d +0000]", tm.tm_mday, month[tm.tm_mon],
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	buf_str(b, text);
}

/* Whose request it is: of those that trusted proxies tell of, the last that is none of them. */
static void
put_host(struct buf *b, const struct caller *c, int sound)
{
	const struct daemon_conf *conf = &c->d->conf;
	char text[NET_ADDR_MAX], host[NET_ADDR_MAX];
	struct addr a;
	struct str tok;
	size_t at = 0;
	int i;

	memcpy(host, c->host, sizeof(host));
	while (sound && c->trusted && http_list_next(&c->head, "X-Forwarded-For", &at, &tok)) {
		text[0] = '\0';
		if (tok.len < sizeof(text)) {
			memcpy(text, tok.p, tok.len);
			text[tok.len] = '\0';
		}
		if (strlen(text) != tok.len || addr_parse(&a, text) == -1) {
			memcpy(host, c->host, sizeof(host));	/* what came before is hearsay */
			continue;
		}
		for (i = 0; i < conf->ntrust && !cidr_match(&conf->trust[i], &a); i++)
			;
		if (i == conf->ntrust)
			memcpy(host, text, sizeof(host));
	}
	buf_str(b, host);
}

/* Where a PipeGate client's token stands, which is a secret: it is meant for "/", and may have gone elsewhere. NULL: nowhere. */
static const char *
token_in(struct str target)
{
	static const char key[] = "token=";
	size_t i, n = sizeof(key) - 1;

	for (i = 0; i + n <= target.len; i++)
		if (memcmp(target.p + i, key, n) == 0)
			return target.p + i + n;
	return NULL;
}

/* The request line as it came, but for such a token and what follows; of a bad request its first bytes. */
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
	if (sound && ws_is_upgrade(&c->head) && (secret = token_in(c->head.target)) != NULL)
		line.len = (size_t)(secret - line.p);
	return line;
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
