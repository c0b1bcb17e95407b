/* rewrite.c: heads as an intermediary passes them on; see rewrite.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "rewrite.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NAME(lit) { lit, sizeof(lit) - 1 }

/* Fields of one connection (RFC 9110 section 7.6.1), and framing, which is written anew. */
static const struct str hop[] = {
	NAME("Connection"), NAME("Content-Length"), NAME("HTTP2-Settings"), NAME("Keep-Alive"),
	NAME("Proxy-Authenticate"), NAME("Proxy-Authentication-Info"),
	NAME("Proxy-Authorization"), NAME("Proxy-Connection"), NAME("TE"),
	NAME("Transfer-Encoding"), NAME("Upgrade")
};

/* Fields that say where a request came from: believed from trusted peers only. */
static const struct str claims[] = {
	NAME("Forwarded"), NAME("X-Forwarded-"), NAME("X-Real-IP"), NAME("X-Request-Id")
};

/*
 * RFC 9110 section 6.5.1: what a recipient may already have acted upon, or
 * would act upon differently, when it comes behind the content.
 */
static const struct str not_trailers[] = {
	NAME("Age"), NAME("Authorization"), NAME("Cache-Control"), NAME("Content-Disposition"),
	NAME("Content-Encoding"), NAME("Content-Language"), NAME("Content-Location"),
	NAME("Content-Range"), NAME("Content-Type"), NAME("Cookie"), NAME("Date"), NAME("Expect"),
	NAME("Expires"), NAME("Host"), NAME("If-Match"), NAME("If-Modified-Since"),
	NAME("If-None-Match"), NAME("If-Range"), NAME("If-Unmodified-Since"), NAME("Location"),
	NAME("Max-Forwards"), NAME("Origin"), NAME("Pragma"), NAME("Range"), NAME("Retry-After"),
	NAME("Set-Cookie"), NAME("Trailer"), NAME("Vary"), NAME("Warning"),
	NAME("WWW-Authenticate")
};

static char
lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static char
fold(char c)
{
	c = lower(c);
	return (char)((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-');
}

/*
 * 1 if name is lit to a back end that turns fields into variables, as CGI
 * does: to it X_Forwarded_For, or X.Forwarded.For, is X-Forwarded-For. A lit
 * that ends in "-" stands for every name that begins so.
 */
static int
folds_to(struct str name, struct str lit)
{
	size_t i;

	if (name.len != lit.len && !(name.len > lit.len && lit.p[lit.len - 1] == '-'))
		return 0;
	for (i = 0; i < lit.len; i++)
		if (name.p[i] != lit.p[i] && fold(name.p[i]) != fold(lit.p[i]))
			return 0;
	return 1;
}

static int
same_name(struct str a, struct str b)
{
	return a.len == b.len && http_same(a.p, b.p, a.len);
}

static int
is_among(struct str name, const struct str *list, size_t n)
{
	while (n > 0)
		if (folds_to(name, list[--n]))
			return 1;
	return 0;
}

int
rewrite_trailer_ok(struct str name)
{
	return !is_among(name, hop, LEN(hop)) && !is_among(name, claims, LEN(claims)) &&
	    !is_among(name, not_trailers, LEN(not_trailers));
}

static void
put(struct buf *out, struct str s)
{
	buf_put(out, s.p, s.len);
}

static void
put_field(struct buf *out, const char *name, struct str value)
{
	buf_str(out, name);
	buf_str(out, ": ");
	put(out, value);
	buf_str(out, "\r\n");
}

static void
copy_field(struct buf *out, const struct http_field *f)
{
	put(out, f->name);
	buf_str(out, ": ");
	put(out, f->value);
	buf_str(out, "\r\n");
}

static void
put_length(struct buf *out, uint64_t length)
{
	buf_str(out, "Content-Length: ");
	buf_u64(out, length);
	buf_str(out, "\r\n");
}

static void
put_upgrade(struct buf *out, struct str protocol)
{
	buf_str(out, "Connection: Upgrade\r\n");
	put_field(out, "Upgrade", protocol);
}

/*
 * Mark the fields that Connection names. Not those by which we vouch for the
 * caller: else it could have them taken away behind a proxy that set them.
 */
static void
mark_named(const struct http_head *h, char named[HTTP_FIELDS_MAX])
{
	struct str tok;
	size_t i, at = 0;

	memset(named, 0, HTTP_FIELDS_MAX);
	while (http_list_next(h, "Connection", &at, &tok))
		for (i = 0; i < h->nfields; i++)
			if (same_name(h->field[i].name, tok) &&
			    !is_among(tok, claims, LEN(claims)))
				named[i] = 1;
}

/*
 * A claim about the caller passes if a trusted proxy made it. One spelled in
 * another way (X_Real_IP) it did not take for its own, and passed on from anyone.
 */
static int
keep_claim(struct str name, const struct rewrite_via *via)
{
	size_t i;

	if (!via->trusted || http_is(name, "X-Forwarded-For") ||	/* written anew */
	    (via->prefix.len > 0 && http_is(name, "X-Forwarded-Prefix")))
		return 0;
	for (i = 0; i < name.len; i++)
		if (fold(name.p[i]) == '-' && name.p[i] != '-')
			return 0;
	return 1;
}

/* The next field line of *rest, which moves behind it: 1, or 0: there is none. */
static int
next_set(struct str *rest, struct http_field *f)
{
	const char *eol = rest->len > 0 ? memchr(rest->p, '\r', rest->len) : NULL, *colon;

	if (eol == NULL || (colon = memchr(rest->p, ':', (size_t)(eol - rest->p))) == NULL)
		return 0;
	f->name.p = rest->p;
	f->name.len = (size_t)(colon - rest->p);
	f->value.p = colon + 1 + (colon[1] == ' ');
	f->value.len = (size_t)(eol - f->value.p);
	rest->len -= (size_t)(eol - rest->p) + 2;
	rest->p = eol + 2;
	return 1;
}

static int
is_set(struct str name, struct str set)
{
	struct http_field f;

	while (next_set(&set, &f))
		if (same_name(f.name, name))
			return 1;
	return 0;
}

static const struct str host_name = NAME("Host");

static int
keep_in_request(const struct http_head *h, struct str name, const struct rewrite_via *via)
{
	if (is_among(name, hop, LEN(hop)) || folds_to(name, host_name) || is_set(name, via->set))
		return 0;
	if (via->proxy == NULL && is_among(name, claims, LEN(claims)))
		return keep_claim(name, via);
	/* HTTP/1.0 knows no 100: nobody may answer with one (RFC 9110 section 10.1.1). */
	return h->minor > 0 || !http_is(name, "Expect");
}

static void
put_framing(struct buf *out, const struct http_head *h)
{
	if (h->framing == HTTP_CHUNKED)
		buf_str(out, "Transfer-Encoding: chunked\r\n");
	else if (h->framing == HTTP_LENGTH)
		put_length(out, h->length);
}

/* TE is a field of one connection: it is said of ours (RFC 9110 section 10.1.4). A proxy's is for this request alone. */
static void
put_hop(struct buf *out, const struct http_head *h, const char *proxy)
{
	if (h->upgrade.len > 0 && !http_is(h->upgrade, "h2c"))
		put_upgrade(out, h->upgrade);
	else if (http_list_has(h, "TE", "trailers"))
		buf_str(out, proxy != NULL ? "Connection: TE, close\r\nTE: trailers\r\n" : "Connection: TE\r\nTE: trailers\r\n");
	else if (proxy != NULL)
		buf_str(out, "Connection: close\r\n");
}

/* The message was received in its own version (RFC 9110 section 7.6.3). */
static void
put_via(struct buf *out, const struct http_head *h, const char *proxy)
{
	if (proxy == NULL)
		return;
	buf_str(out, h->minor > 0 ? "Via: 1.1 " : "Via: 1.0 ");
	buf_str(out, proxy);
	buf_str(out, "\r\n");
}

static void
put_set(struct buf *out, struct str set)
{
	struct http_field f;

	while (next_set(&set, &f))
		if (!is_among(f.name, hop, LEN(hop)) && !folds_to(f.name, host_name))
			copy_field(out, &f);
}

/* One X-Forwarded-For: what is believed of those that came in, then the peer. */
static void
put_forwarded_for(struct buf *out, const struct http_head *h, const struct rewrite_via *via)
{
	static const char name[] = "X-Forwarded-For";
	const char *sep = "X-Forwarded-For: ";
	struct str tok;
	size_t at = 0;

	while (via->trusted && http_list_next(h, name, &at, &tok)) {
		buf_str(out, sep);
		put(out, tok);
		sep = ", ";
	}
	if (via->peer.len > 0) {
		buf_str(out, sep);
		put(out, via->peer);
		sep = ", ";
	}
	if (*sep == ',')
		buf_str(out, "\r\n");
}

/* Behind a proxy that stripped a prefix of its own, the caller sees both. */
static void
put_prefix(struct buf *out, const struct http_head *h, const struct rewrite_via *via)
{
	const struct str *had = http_field(h, "X-Forwarded-Prefix");
	size_t n = via->trusted && had != NULL ? had->len : 0;

	if (via->prefix.len == 0)
		return;
	while (n > 0 && had->p[n - 1] == '/')
		n--;
	buf_str(out, "X-Forwarded-Prefix: ");
	if (n > 0)
		buf_put(out, had->p, n);
	put(out, via->prefix);
	buf_str(out, "\r\n");
}

static void
put_claims(struct buf *out, const struct http_head *h, const struct rewrite_via *via)
{
	const struct { const char *name; struct str value; } set[] = {
		{ "X-Forwarded-Proto", via->proto },
		{ "X-Forwarded-Host", h->host },
		{ "X-Real-IP", via->peer },
		{ "X-Request-Id", via->request_id },
	};
	size_t i;

	put_forwarded_for(out, h, via);
	for (i = 0; i < LEN(set); i++)
		if (set[i].value.len > 0 && !(via->trusted && http_field(h, set[i].name) != NULL))
			put_field(out, set[i].name, set[i].value);
	put_prefix(out, h, via);
}

static void
put_request_line(struct buf *out, const struct http_head *h, struct str target, struct str host)
{
	put(out, h->method);
	buf_char(out, ' ');
	put(out, target);
	buf_str(out, " HTTP/1.1\r\n");
	put_field(out, "Host", host);
}

void
rewrite_request(struct buf *out, const struct http_head *h, struct str target,
    const struct rewrite_via *via)
{
	char named[HTTP_FIELDS_MAX];
	size_t i;

	mark_named(h, named);
	put_request_line(out, h, target, h->host);
	for (i = 0; i < h->nfields; i++)
		if (!named[i] && keep_in_request(h, h->field[i].name, via))
			copy_field(out, &h->field[i]);
	put_set(out, via->set);
	if (via->proxy == NULL)
		put_claims(out, h, via);
	put_via(out, h, via->proxy);
	put_hop(out, h, via->proxy);
	put_framing(out, h);
	buf_str(out, "\r\n");
}

void
rewrite_local(struct buf *out, const struct http_head *h, struct str host)
{
	size_t i;

	put_request_line(out, h, h->target, host.len > 0 ? host : h->host);
	for (i = 0; i < h->nfields; i++)
		if (!http_is(h->field[i].name, "Host") &&
		    !http_is(h->field[i].name, "Content-Length") &&
		    !http_is(h->field[i].name, "Transfer-Encoding"))
			copy_field(out, &h->field[i]);
	put_framing(out, h);	/* as it came, but said once */
	buf_str(out, "\r\n");
}

/* 1 if the caller gets the body in chunks: it has no length, and the caller knows them. */
static int
to_chunks(const struct http_head *h, const struct rewrite_to *to)
{
	return to->minor > 0 && (h->framing == HTTP_CHUNKED || h->framing == HTTP_TO_EOF);
}

/* What a final response says of its length and of the caller's connection. */
static void
put_final(struct buf *out, const struct http_head *h, const struct rewrite_to *to)
{
	int bare = !to_chunks(h, to) &&
	    (h->framing == HTTP_CHUNKED || h->framing == HTTP_TO_EOF);

	if (to_chunks(h, to))
		buf_str(out, "Transfer-Encoding: chunked\r\n");
	else if (!bare && h->has_length && h->status != 204)
		put_length(out, h->length);	/* to HEAD and in a 304 as well */
	if (to->close || bare)
		buf_str(out, "Connection: close\r\n");
	else if (to->minor == 0)
		buf_str(out, "Connection: keep-alive\r\n");
}

/* A field of a response, with the caller's URLs if they are asked for. */
static void
put_back(struct buf *out, const struct http_field *f, const struct reverse *back)
{
	int cookie = http_is(f->name, "Set-Cookie");

	if (back == NULL || (!cookie && !http_is(f->name, "Location") && !http_is(f->name, "Content-Location"))) {
		copy_field(out, f);
		return;
	}
	put(out, f->name);
	buf_str(out, ": ");
	(cookie ? reverse_cookie : reverse_location)(out, f->value, back);
	buf_str(out, "\r\n");
}

void
rewrite_date(struct buf *out, int64_t t)
{
	/* not the locale's */
	static const char day[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	time_t when = (time_t)t;
	char text[64];
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL)
		return;
	snprintf(text, sizeof(text), "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", day[tm.tm_wday], tm.tm_mday, http_month[tm.tm_mon],
	    tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
	buf_str(out, text);
}

void
rewrite_response(struct buf *out, const struct http_head *h, const struct rewrite_to *to)
{
	char named[HTTP_FIELDS_MAX];
	struct str name;
	size_t i;

	mark_named(h, named);
	buf_str(out, "HTTP/1.1 ");
	buf_u64(out, (unsigned long long)h->status);
	buf_char(out, ' ');
	put(out, h->reason);
	buf_str(out, "\r\n");
	for (i = 0; i < h->nfields; i++) {
		name = h->field[i].name;
		/* Alt-Svc names ports of the local service's host, which are not ours. */
		if (!named[i] && !is_among(name, hop, LEN(hop)) && !http_is(name, "Alt-Svc"))
			put_back(out, &h->field[i], to->back);
	}
	if ((h->status >= 200 || h->status == 101) && to->request_id.len > 0 &&
	    http_field(h, "X-Request-Id") == NULL)
		put_field(out, "X-Request-Id", to->request_id);
	if (h->status >= 200 && to->date != 0 && http_field(h, "Date") == NULL)
		rewrite_date(out, to->date);
	put_via(out, h, to->proxy);
	if (h->status >= 200 && to->fields != NULL)
		buf_str(out, to->fields);
	if ((h->status == 101 || (h->status == 426 && !http_is(h->upgrade, "h2c"))) && h->upgrade.len > 0)
		put_upgrade(out, h->upgrade);	/* a 426 must say to what (section 15.5.22) */
	if (h->status >= 200)
		put_final(out, h, to);
	buf_str(out, "\r\n");
}
