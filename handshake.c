/* handshake.c: the WebSocket opening handshake; see handshake.h. */
#include <assert.h>
#include <string.h>

#include "base64.h"
#include "handshake.h"
#include "sha1.h"

#define GUID		"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"	/* 1.3 */
#define GUID_LEN	(sizeof(GUID) - 1)

enum { NONCE_LEN = 16 };

static int
bad(const char **why, int status, const char *what)
{
	*why = what;
	return status;
}

/* Comparison to the letter: methods, keys and subprotocols have a case. */
static int
same(struct str s, const char *lit)
{
	return s.len == strlen(lit) && memcmp(s.p, lit, s.len) == 0;
}

/* How many fields are called name; *value is the last one's, or empty. */
static size_t
count(const struct http_head *h, const char *name, struct str *value)
{
	size_t i, n = 0;

	value->p = "";
	value->len = 0;
	for (i = 0; i < h->nfields; i++) {
		if (!http_is(h->field[i].name, name))
			continue;
		*value = h->field[i].value;
		n++;
	}
	return n;
}

/* 16 bytes of base64 in their one spelling. */
static int
key_ok(struct str key)
{
	uint8_t nonce[WS_KEY_LEN / 4 * 3 + 2];

	return key.len == WS_KEY_LEN &&
	    base64_decode(nonce, key.p, key.len) == NONCE_LEN;
}

static int
offered(const struct http_head *h, const char *protocol)
{
	struct str tok;
	size_t at = 0;

	while (http_list_next(h, "Sec-WebSocket-Protocol", &at, &tok))
		if (same(tok, protocol))
			return 1;
	return 0;
}

void
ws_accept_key(char out[WS_ACCEPT_LEN + 1], struct str key)
{
	uint8_t digest[SHA1_LEN];
	char text[WS_KEY_LEN + GUID_LEN];

	assert(key.len <= WS_KEY_LEN);
	memcpy(text, key.p, key.len);
	memcpy(text + key.len, GUID, GUID_LEN);
	sha1(text, key.len + GUID_LEN, digest);
	base64_encode(out, digest, sizeof(digest));
}

int
ws_is_upgrade(const struct http_head *h)
{
	return http_list_has(h, "Upgrade", "websocket") &&
	    http_list_has(h, "Connection", "upgrade");
}

int
ws_server_check(const struct http_head *h, const char *protocol,
    char accept[WS_ACCEPT_LEN + 1], const char **why)
{
	struct str key, version;
	size_t nkeys, nversions;

	if (!same(h->method, "GET"))
		return bad(why, 400, "handshake method is not GET");
	if (h->minor < 1)
		return bad(why, 400, "handshake in HTTP/1.0");
	if (!ws_is_upgrade(h))
		return bad(why, 400, "no upgrade to websocket");
	/* Its content would be read as frames, here or by a proxy on the way. */
	if (h->framing == HTTP_CHUNKED || (h->framing == HTTP_LENGTH && h->length > 0))
		return bad(why, 400, "handshake with content");

	nkeys = count(h, "Sec-WebSocket-Key", &key);
	nversions = count(h, "Sec-WebSocket-Version", &version);
	if (nversions > 1)		/* 11.3.5 */
		return bad(why, 400, "repeated Sec-WebSocket-Version");
	if (nversions == 0 && nkeys == 0)	/* a draft older than versions and keys */
		return bad(why, 400, "no Sec-WebSocket-Key");
	/* Judged before the key, which another version may write otherwise. */
	if (nversions == 0 || !same(version, "13"))
		return bad(why, 426, "Sec-WebSocket-Version is not 13");
	if (nkeys != 1)
		return bad(why, 400, nkeys == 0 ? "no Sec-WebSocket-Key" :
		    "repeated Sec-WebSocket-Key");
	if (!key_ok(key))
		return bad(why, 400, "malformed Sec-WebSocket-Key");
	if (protocol != NULL && !offered(h, protocol))
		return bad(why, 400, "subprotocol not offered");
	ws_accept_key(accept, key);
	return 101;
}

void
ws_server_answer(struct buf *out, const char *accept, const char *protocol)
{
	buf_str(out, "HTTP/1.1 101 Switching Protocols\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: ");
	buf_str(out, accept);
	if (protocol != NULL) {
		buf_str(out, "\r\nSec-WebSocket-Protocol: ");
		buf_str(out, protocol);
	}
	buf_str(out, "\r\n\r\n");
}

void
ws_client_request(struct buf *out, const char *host, const char *target,
    const char *protocol, const char *fields, const uint8_t nonce[16], char key[WS_KEY_LEN + 1])
{
	base64_encode(key, nonce, NONCE_LEN);
	buf_str(out, "GET ");
	buf_str(out, target);
	buf_str(out, " HTTP/1.1\r\nHost: ");
	buf_str(out, host);
	buf_str(out, "\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Key: ");
	buf_str(out, key);
	if (protocol != NULL) {
		buf_str(out, "\r\nSec-WebSocket-Protocol: ");
		buf_str(out, protocol);
	}
	buf_str(out, "\r\n");
	buf_str(out, fields);
	buf_str(out, "\r\n");
}

int
ws_client_check(const struct http_head *h, const char *key, const char *protocol, const char **why)
{
	char accept[WS_ACCEPT_LEN + 1];
	struct str sent, value;
	size_t n;

	if (h->status != 101 || h->minor < 1)
		return bad(why, -1, "not a 101 answer");
	/* Unlike a client's offer, the answer is one protocol and nothing else. */
	if (count(h, "Upgrade", &value) != 1 || !http_is(value, "websocket"))
		return bad(why, -1, "Upgrade is not websocket");
	if (!http_list_has(h, "Connection", "upgrade"))
		return bad(why, -1, "Connection does not name upgrade");

	sent.p = key;
	sent.len = strlen(key);
	ws_accept_key(accept, sent);
	if (count(h, "Sec-WebSocket-Accept", &value) != 1 || !same(value, accept))
		return bad(why, -1, "wrong Sec-WebSocket-Accept");
	if (count(h, "Sec-WebSocket-Extensions", &value) != 0)
		return bad(why, -1, "extension we did not offer");
	n = count(h, "Sec-WebSocket-Protocol", &value);
	if (protocol == NULL && n != 0)
		return bad(why, -1, "subprotocol we did not offer");
	if (protocol != NULL && (n != 1 || !same(value, protocol)))
		return bad(why, -1, "not the subprotocol we offered");
	return 0;
}
