/* The opening handshake: RFC 6455 sections 1.2, 1.3 and 4. */
#include "../handshake.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* The request of 1.2, in parts that a row can replace. */
#define GET		"GET /chat HTTP/1.1\r\n"
#define HOST		"Host: server.example.com\r\n"
#define UPGRADE		"Upgrade: websocket\r\n"
#define CONNECTION	"Connection: Upgrade\r\n"
#define KEY		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define PROTOCOLS	"Sec-WebSocket-Protocol: chat, superchat\r\n"
#define WS_VERSION		"Sec-WebSocket-Version: 13\r\n"
#define END		"\r\n"

#define BEFORE		GET HOST UPGRADE CONNECTION
#define REQUEST		BEFORE KEY WS_VERSION
#define ACCEPT_1_3	"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static const struct {
	const char *name, *head, *protocol;
	int want;
} requests[] = {
	{ "the example of 1.2", BEFORE KEY "Origin: http://example.com\r\n" PROTOCOLS WS_VERSION,
	    "chat", 101 },
	{ "second protocol", REQUEST PROTOCOLS, "superchat", 101 },
	{ "no protocol wanted, some offered", REQUEST PROTOCOLS, NULL, 101 },
	{ "no protocol at all", REQUEST, NULL, 101 },
	{ "protocol in the second field, 11.3.4", REQUEST "Sec-WebSocket-Protocol: a\r\n"
	    "Sec-WebSocket-Protocol: b,\ttunnel.v1 ,c\r\n", "tunnel.v1", 101 },
	{ "protocol not offered", REQUEST PROTOCOLS, "tunnel.v1", 400 },
	{ "nothing offered", REQUEST, "tunnel.v1", 400 },
	{ "protocol in another case", REQUEST PROTOCOLS, "Chat", 400 },
	{ "protocol that begins alike", REQUEST PROTOCOLS, "super", 400 },
	{ "protocol that goes on", REQUEST PROTOCOLS, "chats", 400 },
	{ "extensions are ignored", REQUEST
	    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	    "Sec-WebSocket-Extensions: x\r\n", NULL, 101 },
	{ "any case, lists, as browsers write", GET HOST "upgrade: WebSocket\r\n"
	    "connection: keep-alive, UPGRADE\r\n" KEY WS_VERSION, NULL, 101 },
	{ "lists over several fields", GET HOST "Upgrade: h2c\r\nUpgrade: websocket\r\n"
	    "Connection: keep-alive\r\nConnection: x,, upgrade\r\n" KEY WS_VERSION, NULL, 101 },
	{ "blanks around key and version", BEFORE
	    "Sec-WebSocket-Key: \t dGhlIHNhbXBsZSBub25jZQ== \t\r\n"
	    "Sec-WebSocket-Version:13 \r\n", NULL, 101 },
	{ "content of no bytes", REQUEST "Content-Length: 0\r\n", NULL, 101 },

	{ "method POST", "POST /chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY WS_VERSION,
	    NULL, 400 },
	{ "method get", "get /chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY WS_VERSION, NULL, 400 },
	{ "method HEAD", "HEAD /chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY WS_VERSION,
	    NULL, 400 },
	{ "HTTP/1.0", "GET /chat HTTP/1.0\r\n" HOST UPGRADE CONNECTION KEY WS_VERSION, NULL, 400 },
	{ "no Upgrade", GET HOST CONNECTION KEY WS_VERSION, NULL, 400 },
	{ "no Connection", GET HOST UPGRADE KEY WS_VERSION, NULL, 400 },
	{ "another Upgrade", GET HOST "Upgrade: websockets\r\n" CONNECTION KEY WS_VERSION, NULL, 400 },
	{ "Connection without upgrade", GET HOST UPGRADE "Connection: keep-alive\r\n" KEY WS_VERSION,
	    NULL, 400 },
	{ "content", REQUEST "Content-Length: 5\r\n", NULL, 400 },
	{ "content in chunks", REQUEST "Transfer-Encoding: chunked\r\n", NULL, 400 },

	{ "no key", BEFORE WS_VERSION, NULL, 400 },
	{ "empty key", BEFORE "Sec-WebSocket-Key:\r\n" WS_VERSION, NULL, 400 },
	{ "key twice", REQUEST KEY, NULL, 400 },
	{ "key of 15 bytes", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n" WS_VERSION,
	    NULL, 400 },
	{ "key of 17 bytes", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n" WS_VERSION,
	    NULL, 400 },
	{ "key of 18 bytes, 24 characters", BEFORE
	    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh\r\n" WS_VERSION, NULL, 400 },
	{ "key without padding", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n" WS_VERSION,
	    NULL, 400 },
	{ "key with bits left over", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n"
	    WS_VERSION, NULL, 400 },
	{ "key not in base64", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\r\n" WS_VERSION,
	    NULL, 400 },
	{ "key in base64url", BEFORE "Sec-WebSocket-Key: ____________________-w==\r\n" WS_VERSION,
	    NULL, 400 },
	{ "key with a blank", BEFORE "Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ==\r\n" WS_VERSION,
	    NULL, 400 },

	{ "version 8", BEFORE KEY "Sec-WebSocket-Version: 8\r\n", NULL, 426 },
	{ "version 14", BEFORE KEY "Sec-WebSocket-Version: 14\r\n", NULL, 426 },
	{ "version 013", BEFORE KEY "Sec-WebSocket-Version: 013\r\n", NULL, 426 },
	{ "version 13, 8", BEFORE KEY "Sec-WebSocket-Version: 13, 8\r\n", NULL, 426 },
	{ "empty version", BEFORE KEY "Sec-WebSocket-Version:\r\n", NULL, 426 },
	{ "no version", BEFORE KEY, NULL, 426 },
	{ "another version and no key", BEFORE "Sec-WebSocket-Version: 14\r\n", NULL, 426 },
	{ "neither version nor key", BEFORE, NULL, 400 },
	{ "version twice", REQUEST WS_VERSION, NULL, 400 },
	{ "wrong version, protocol not offered", BEFORE KEY "Sec-WebSocket-Version: 7\r\n",
	    "tunnel.v1", 426 },
};

/* The answer of 1.2 likewise; the client offered "chat" or, where NULL, nothing. */
#define SWITCH		"HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT		"Sec-WebSocket-Accept: " ACCEPT_1_3 "\r\n"
#define CHAT		"Sec-WebSocket-Protocol: chat\r\n"
#define ANSWER		SWITCH UPGRADE CONNECTION ACCEPT

static const struct {
	const char *name, *head, *protocol;
	int want;
} answers[] = {
	{ "the answer of 1.2", ANSWER CHAT, "chat", 0 },
	{ "without a protocol", ANSWER, NULL, 0 },
	{ "any case, Connection a list", SWITCH "upgrade: WebSocket\r\n"
	    "connection: keep-alive, upgrade\r\n" ACCEPT, NULL, 0 },
	{ "blanks around the accept key", SWITCH UPGRADE CONNECTION
	    "Sec-WebSocket-Accept: \t" ACCEPT_1_3 " \r\n", NULL, 0 },

	{ "200", "HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION ACCEPT, NULL, -1 },
	{ "100", "HTTP/1.1 100 Continue\r\n" UPGRADE CONNECTION ACCEPT, NULL, -1 },
	{ "426", "HTTP/1.1 426 Upgrade Required\r\n" UPGRADE CONNECTION ACCEPT, NULL, -1 },
	{ "HTTP/1.0", "HTTP/1.0 101 Switching Protocols\r\n" UPGRADE CONNECTION ACCEPT, NULL, -1 },
	{ "no Upgrade", SWITCH CONNECTION ACCEPT, NULL, -1 },
	{ "another Upgrade", SWITCH "Upgrade: h2c\r\n" CONNECTION ACCEPT, NULL, -1 },
	{ "two protocols in Upgrade", SWITCH "Upgrade: h2c, websocket\r\n" CONNECTION ACCEPT,
	    NULL, -1 },
	{ "Upgrade twice", ANSWER UPGRADE, NULL, -1 },
	{ "no Connection", SWITCH UPGRADE ACCEPT, NULL, -1 },
	{ "Connection: close", SWITCH UPGRADE "Connection: close\r\n" ACCEPT, NULL, -1 },
	{ "no accept key", SWITCH UPGRADE CONNECTION, NULL, -1 },
	{ "empty accept key", SWITCH UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n", NULL, -1 },
	{ "accept key twice", ANSWER ACCEPT, NULL, -1 },
	{ "another accept key too", ANSWER "Sec-WebSocket-Accept: x\r\n", NULL, -1 },
	{ "accept key in another case", SWITCH UPGRADE CONNECTION
	    "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", NULL, -1 },
	{ "accept key cut short", SWITCH UPGRADE CONNECTION
	    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n", NULL, -1 },
	{ "the key sent back", SWITCH UPGRADE CONNECTION
	    "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n", NULL, -1 },
	{ "extension", ANSWER "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL, -1 },
	{ "empty extension", ANSWER "Sec-WebSocket-Extensions:\r\n", NULL, -1 },
	{ "protocol not asked for", ANSWER CHAT, NULL, -1 },
	{ "protocol missing", ANSWER, "chat", -1 },
	{ "protocol in another case", ANSWER "Sec-WebSocket-Protocol: CHAT\r\n", "chat", -1 },
	{ "another protocol", ANSWER "Sec-WebSocket-Protocol: superchat\r\n", "chat", -1 },
	{ "two protocols", ANSWER "Sec-WebSocket-Protocol: chat, superchat\r\n", "chat", -1 },
	{ "protocol twice", ANSWER CHAT CHAT, "chat", -1 },
};

static const char sample_key[] = "dGhlIHNhbXBsZSBub25jZQ==";

/* Read head and an empty line, in a copy for the caller to free. 1 if it is sound. */
static int
head_of(struct http_head *h, char **copy, const char *head, int is_response)
{
	const char *why;
	size_t len = strlen(head);
	char *text = malloc(len + 3);
	int n;

	if (text == NULL)
		abort();
	memcpy(text, head, len);
	memcpy(text + len, END, 3);
	*copy = exact(text, len + 2);
	free(text);
	memset(h, 0, sizeof(*h));
	n = is_response ? http_res_parse(h, *copy, len + 2, 0, &why) :
	    http_req_parse(h, *copy, len + 2, &why);
	return n == (int)len + 2;
}

static void
test_accept_key(void)
{
	char out[WS_ACCEPT_LEN + 1], *text = exact(sample_key, WS_KEY_LEN);
	struct str key;

	key.p = text;
	key.len = WS_KEY_LEN;
	ws_accept_key(out, key);
	check(strcmp(out, ACCEPT_1_3) == 0, "accept key, 1.3", 0);
	free(text);
}

static void
test_requests(void)
{
	char accept[WS_ACCEPT_LEN + 1], *text;
	const char *why;
	struct http_head h;
	size_t i;
	int rc;

	for (i = 0; i < LEN(requests); i++) {
		check(head_of(&h, &text, requests[i].head, 0), requests[i].name, 100);
		why = NULL;
		accept[0] = '\0';
		rc = ws_server_check(&h, requests[i].protocol, accept, &why);
		check(rc == requests[i].want, requests[i].name, (size_t)rc);
		if (rc == 101)
			check(strcmp(accept, ACCEPT_1_3) == 0, requests[i].name, 101);
		else
			check(why != NULL, requests[i].name, 102);
		free(text);
	}
}

/* Which requests the handshake is for at all, sound or not. */
static void
test_is_upgrade(void)
{
	static const struct {
		const char *head;
		int want;
	} heads[] = {
		{ REQUEST, 1 },
		{ BEFORE, 1 },
		{ BEFORE "Sec-WebSocket-Version: 99\r\n", 1 },
		{ "POST / HTTP/1.1\r\n" HOST UPGRADE CONNECTION, 1 },
		{ GET HOST "Upgrade: h2c, WEBSOCKET\r\nConnection: x, upgrade\r\n", 1 },
		{ GET HOST, 0 },
		{ GET HOST UPGRADE, 0 },
		{ GET HOST CONNECTION KEY WS_VERSION, 0 },
		{ GET HOST UPGRADE "Connection: close\r\n", 0 },
		{ GET HOST "Upgrade: h2c\r\n" CONNECTION, 0 },
	};
	struct http_head h;
	char *text;
	size_t i;

	for (i = 0; i < LEN(heads); i++) {
		check(head_of(&h, &text, heads[i].head, 0), "is upgrade, head", i);
		check(ws_is_upgrade(&h) == heads[i].want, "is upgrade", i);
		free(text);
	}
}

static void
test_answers(void)
{
	const char *why;
	struct http_head h;
	char *text;
	size_t i;
	int rc;

	for (i = 0; i < LEN(answers); i++) {
		check(head_of(&h, &text, answers[i].head, 1), answers[i].name, 100);
		why = NULL;
		rc = ws_client_check(&h, sample_key, answers[i].protocol, &why);
		check(rc == answers[i].want, answers[i].name, i);
		check(rc == 0 || why != NULL, answers[i].name, 102);
		free(text);
	}
}

/* What one side writes, to the byte; and that the other side takes it. */
static void
test_both_sides(const char *protocol, const char *fields, const char *request, const char *answer)
{
	char accept[WS_ACCEPT_LEN + 1] = "", key[WS_KEY_LEN + 1], out[1024];
	const char *why;
	struct http_head h;
	struct buf b;

	buf_init(&b, out, sizeof(out));
	ws_client_request(&b, "server.example.com", "/chat", protocol, fields,
	    (const uint8_t *)"the sample nonce", key);
	check(!b.full && b.len == strlen(request) && memcmp(out, request, b.len) == 0,
	    "request written", b.len);
	check(strcmp(key, sample_key) == 0, "key written", 0);
	memset(&h, 0, sizeof(h));
	check(http_req_parse(&h, out, b.len, &why) == (int)b.len, "request read", b.len);
	check(ws_server_check(&h, protocol, accept, &why) == 101, "request taken", 0);

	buf_init(&b, out, sizeof(out));
	ws_server_answer(&b, accept, protocol);
	check(!b.full && b.len == strlen(answer) && memcmp(out, answer, b.len) == 0,
	    "answer written", b.len);
	memset(&h, 0, sizeof(h));
	check(http_res_parse(&h, out, b.len, 0, &why) == (int)b.len, "answer read", b.len);
	check(ws_client_check(&h, key, protocol, &why) == 0, "answer taken", 0);
	check(ws_client_check(&h, "AAAAAAAAAAAAAAAAAAAAAA==", protocol, &why) == -1,
	    "answer to another key", 0);
}

int
main(void)
{
	test_accept_key();
	test_requests();
	test_is_upgrade();
	test_answers();
	test_both_sides(NULL, "", GET HOST UPGRADE CONNECTION WS_VERSION KEY END, ANSWER END);
	test_both_sides("chat", "Authorization: Bearer x\r\nX-Y: z\r\n",
	    GET HOST UPGRADE CONNECTION WS_VERSION KEY CHAT
	    "Authorization: Bearer x\r\nX-Y: z\r\n" END, ANSWER CHAT END);
	return test_end();
}
