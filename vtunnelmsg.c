/* vtunnelmsg.c: vtunnel's own texts; see vtunnelmsg.h. */
#include <string.h>

#include "base64.h"
#include "sha256.h"
#include "vtunnelmsg.h"

static const char priv_prefix[] = "vt-priv-", pub_prefix[] = "vt-pub-";

enum { DIGITS = 43 };		/* base64 of 32 bytes, without the padding */

/* Keys */

static int
parse_key(uint8_t out[VTUNNEL_KEY], const char *prefix, const char *text, size_t len)
{
	char digits[DIGITS + 1];
	uint8_t raw[VTUNNEL_KEY + 2];
	size_t skip = strlen(prefix);
	int rc = -1;

	if (len != skip + DIGITS || memcmp(text, prefix, skip) != 0)
		return -1;
	memcpy(digits, text + skip, DIGITS);
	digits[DIGITS] = '=';
	if (base64_decode(raw, digits, sizeof(digits)) == VTUNNEL_KEY) {
		memcpy(out, raw, VTUNNEL_KEY);
		rc = 0;
	}
	wipe(digits, sizeof(digits));
	wipe(raw, sizeof(raw));
	return rc;
}

static void
format_key(char *out, const char *prefix, const uint8_t key[VTUNNEL_KEY])
{
	char digits[BASE64_LEN(VTUNNEL_KEY) + 1];
	size_t n = strlen(prefix);

	base64_encode(digits, key, VTUNNEL_KEY);
	memcpy(out, prefix, n);
	memcpy(out + n, digits, DIGITS);
	out[n + DIGITS] = '\0';
	wipe(digits, sizeof(digits));
}

int
vtunnel_priv_parse(uint8_t seed[VTUNNEL_KEY], const char *text, size_t len)
{
	return parse_key(seed, priv_prefix, text, len);
}

int
vtunnel_pub_parse(uint8_t pub[VTUNNEL_KEY], const char *text, size_t len)
{
	return parse_key(pub, pub_prefix, text, len);
}

void
vtunnel_priv_format(char out[VTUNNEL_PRIV_LEN + 1], const uint8_t seed[VTUNNEL_KEY])
{
	format_key(out, priv_prefix, seed);
}

void
vtunnel_pub_format(char out[VTUNNEL_PUB_LEN + 1], const uint8_t pub[VTUNNEL_KEY])
{
	format_key(out, pub_prefix, pub);
}

void
vtunnel_blob(uint8_t blob[VTUNNEL_BLOB], const uint8_t pub[VTUNNEL_KEY])
{
	static const uint8_t head[] = { 0, 0, 0, 11, 's', 's', 'h', '-', 'e', 'd', '2', '5', '5', '1', '9', 0, 0, 0, VTUNNEL_KEY };

	memcpy(blob, head, sizeof(head));
	memcpy(blob + sizeof(head), pub, VTUNNEL_KEY);
}

void
vtunnel_host_seed(uint8_t seed[VTUNNEL_KEY], const uint8_t pub[VTUNNEL_KEY])
{
	uint8_t blob[VTUNNEL_BLOB];

	vtunnel_blob(blob, pub);
	sha256(blob, sizeof(blob), seed);
	wipe(blob, sizeof(blob));
}

/* JSON */

static const char invalid[] = "invalid payload";

/* Names of fields that frame a message, or belong to one hop: no client sets those. */
static int
is_frame(struct str name)
{
	static const char *const table[] = {
		"Connection", "Content-Length", "Expect", "HTTP2-Settings", "Keep-Alive", "Proxy-Authenticate",
		"Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (http_is(name, table[i]))
			return 1;
	return 0;
}

static int
value_is_sound(const char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!http_is_text((unsigned char)p[i]))
			return 0;
	return len == 0 || (p[0] != ' ' && p[0] != '\t' && p[len - 1] != ' ' && p[len - 1] != '\t');
}

/* "Name: value" CRLF for each value of the array at node i, behind what is there. 0, or -1 and *why. */
static int
add_values(const struct json *j, size_t i, struct str name, struct buf *b, const char **why)
{
	size_t k;
	long n;

	if (j->node[i].type == JSON_NULL)
		return 0;
	if (j->node[i].type != JSON_ARRAY)
		return -1;
	for (k = json_first(j, i); k != 0 && k < j->node[i].next; k = j->node[k].next) {
		if (j->node[k].type != JSON_STRING)
			return -1;
		buf_put(b, name.p, name.len);
		buf_str(b, ": ");
		*why = "headers are too long";
		if (b->full || (n = json_unescape(j, k, b->p + b->len, b->cap - b->len)) == -1)
			return -1;
		*why = "a header's value has bytes that cannot be sent";
		if (!value_is_sound(b->p + b->len, (size_t)n))
			return -1;
		b->len += (size_t)n;
		buf_str(b, "\r\n");
		*why = "headers are too long";
		if (b->full)
			return -1;
		*why = invalid;
	}
	return 0;
}

static int
take_headers(struct vtunnel_msg *m, const struct json *j, size_t obj, const char **why)
{
	char name[JSON_NAME_MAX + 1];
	struct str s = { name, 0 };
	struct buf b;
	size_t i, had;
	long n;

	if (j->node[obj].type == JSON_NULL)
		return 0;
	if (j->node[obj].type != JSON_OBJECT)
		return -1;
	buf_init(&b, m->fields, sizeof(m->fields));
	for (i = json_first(j, obj); i != 0 && i < j->node[obj].next; i = j->node[i + 1].next) {
		if ((n = json_unescape(j, i, name, sizeof(name))) == -1)
			return -1;
		s.len = (size_t)n;
		if (!http_is_token(s) || is_frame(s)) {
			*why = "a header of this name cannot be set";
			return -1;
		}
		had = b.len;
		if (add_values(j, i + 1, s, &b, why) == -1)
			return -1;
		if (http_is(s, "Host"))
			b.len = had;	/* as vtunnel does, whose library keeps it elsewhere: it takes it, and nothing comes of it */
	}
	m->headers.len = b.len;
	return 0;
}

static int
take_string(char out[VTUNNEL_ADDR_MAX], const struct json *j, size_t i)
{
	long n;

	if (j->node[i].type == JSON_NULL)
		return 0;
	if (j->node[i].type != JSON_STRING || (n = json_unescape(j, i, out, VTUNNEL_ADDR_MAX)) == -1)
		return -1;
	return strlen(out) == (size_t)n ? 0 : -1;
}

/* A whole number, without fraction and exponent. */
static int
take_number(int64_t *out, const struct json *j, size_t i)
{
	const char *p = j->text + j->node[i].start, *end = j->text + j->node[i].end;
	int minus = 0;
	int64_t n = 0;

	if (j->node[i].type == JSON_NULL)
		return 0;
	if (j->node[i].type != JSON_NUMBER)
		return -1;
	if (p < end && *p == '-') {
		minus = 1;
		p++;
	}
	for (; p < end; p++) {
		if (*p < '0' || *p > '9' || n > (INT64_MAX - 9) / 10)
			return -1;
		n = 10 * n + (*p - '0');
	}
	*out = minus ? -n : n;
	return 0;
}

static int
take_member(struct vtunnel_msg *m, const struct json *j, size_t i, const char **why)
{
	char name[16];
	struct str s = { name, 0 };
	long n;

	if ((n = json_unescape(j, i, name, sizeof(name))) == -1)
		return 0;	/* longer than any of ours */
	s.len = (size_t)n;
	if (http_is(s, "port"))
		return take_number(&m->port, j, i + 1);
	if (http_is(s, "local_addr"))
		return take_string(m->local_addr, j, i + 1);
	if (http_is(s, "domain"))
		return take_string(m->domain, j, i + 1);
	return http_is(s, "headers") ? take_headers(m, j, i + 1, why) : 0;
}

int
vtunnel_parse(struct vtunnel_msg *m, const char *text, size_t len, const char **why)
{
	struct json j;
	const char *syntax;
	size_t i;

	m->port = 0;
	m->local_addr[0] = m->domain[0] = '\0';
	m->headers.p = m->fields;
	m->headers.len = 0;
	*why = invalid;
	if (json_parse(&j, m->node, sizeof(m->node) / sizeof(m->node[0]), text, len, &syntax) == -1 ||
	    m->node[0].type != JSON_OBJECT)
		return -1;
	for (i = json_first(&j, 0); i != 0 && i < j.node[0].next; i = j.node[i + 1].next)
		if (take_member(m, &j, i, why) == -1)
			return -1;
	return 0;
}

/* The next field line of *lines, which is taken off. 1, or 0 at the end. */
static int
next_line(struct str *lines, struct str *name, struct str *value)
{
	const char *end = lines->len > 1 ? memchr(lines->p, '\r', lines->len) : NULL;
	const char *colon = end != NULL ? memchr(lines->p, ':', (size_t)(end - lines->p)) : NULL;

	if (colon == NULL)
		return 0;
	name->p = lines->p;
	name->len = (size_t)(colon - lines->p);
	value->p = colon + 2;
	value->len = (size_t)(end - value->p);
	lines->len -= (size_t)(end + 2 - lines->p);
	lines->p = end + 2;
	return 1;
}

static void
put_headers(struct buf *b, struct str lines)
{
	struct str name, value, last = { NULL, 0 };

	json_put_name(b, "headers");
	buf_char(b, '{');
	while (next_line(&lines, &name, &value)) {
		if (last.len != 0 && last.len == name.len && http_same(last.p, name.p, name.len))
			buf_char(b, ',');
		else {
			buf_str(b, last.len != 0 ? "]," : "");
			json_put_str(b, name.p, name.len);
			buf_str(b, ":[");
		}
		json_put_str(b, value.p, value.len);
		last = name;
	}
	buf_str(b, last.len != 0 ? "]}" : "}");
}

void
vtunnel_put(struct buf *b, int64_t port, const char *local_addr, const char *domain, struct str headers)
{
	buf_char(b, '{');
	json_put_name(b, "port");
	buf_u64(b, (unsigned long long)port);
	if (local_addr[0] != '\0')
		json_put_member(b, "local_addr", local_addr);
	if (domain[0] != '\0')
		json_put_member(b, "domain", domain);
	if (headers.len != 0)
		put_headers(b, headers);
	buf_char(b, '}');
}

int
vtunnel_maps(const char *addr)
{
	static const char *const own[] = { "localhost", "127.0.0.1", "::1" };
	const char *colon = strrchr(addr, ':');
	struct str host;
	size_t i;

	if (colon == NULL || colon == addr || colon[1] == '\0')
		return 0;
	host.p = addr;
	host.len = (size_t)(colon - addr);
	if (host.p[0] == '[' && host.len > 2 && host.p[host.len - 1] == ']') {
		host.p++;
		host.len -= 2;
	} else if (memchr(host.p, ':', host.len) != NULL)
		return 0;	/* "tls://host:443", or an address of IPv6 without brackets */
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (http_is(host, own[i]))
			return 0;
	return 1;
}
