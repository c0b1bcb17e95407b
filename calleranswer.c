/* calleranswer.c: answers of our own to a public connection; see caller.h. */
#include <stdio.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "rewrite.h"

enum { WRITE_MS = 5000 };

void
caller_answer(struct caller *c, int status, const char *type, const char *fields, struct str content)
{
	char *text = c->exchange.text;	/* there is none, or it is over */
	struct buf b;
	int64_t deadline = clock_ms(CLOCK_STEADY) + WRITE_MS;
	int bodiless = c->is_head || status == 204;
	size_t bytes = content.len;

	buf_init(&b, text, sizeof(c->exchange.text));
	buf_str(&b, "HTTP/1.1 ");
	buf_u64(&b, (unsigned)status);
	buf_str(&b, " ");
	buf_str(&b, http_reason(status));
	buf_str(&b, "\r\n");
	if (status != 204) {
		buf_str(&b, "Content-Type: ");
		buf_str(&b, type);
		buf_str(&b, "\r\nContent-Length: ");
		buf_u64(&b, content.len);
		buf_str(&b, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
	}
	rewrite_date(&b, clock_ms(CLOCK_WALL) / 1000);
	if (c->request_id[0] != '\0') {
		buf_str(&b, "X-Request-Id: ");
		buf_str(&b, c->request_id);
		buf_str(&b, "\r\n");
	}
	buf_str(&b, fields);
	if (c->close)
		buf_str(&b, "Connection: close\r\n");
	else if (c->minor == 0)
		buf_str(&b, "Connection: keep-alive\r\n");
	buf_str(&b, "\r\n");
	if (!bodiless && content.len <= sizeof(c->exchange.text) - b.len) {	/* one packet, where it fits */
		buf_put(&b, content.p, content.len);
		content.len = 0;
	}
	c->access.status = status;
	c->access.bytes = bodiless ? 0 : bytes;
	if (conn_write_all(&c->conn, text, b.len, deadline) == -1 || (!bodiless &&
	    content.len > 0 && conn_write_all(&c->conn, content.p, content.len, deadline) == -1))
		c->close = 1;
}

static void
log_refusal(const struct caller *c, int status, const char *reason)
{
	char num[16];

	snprintf(num, sizeof(num), "%d", status);
	log_line(LOG_INFO, "refused", "status", num, "reason", reason, "peer", c->peer, "id", c->request_id, (char *)NULL);
}

void
caller_refuse_client(struct caller *c, int status, const char *reason)
{
	struct str none = { "", 0 };

	log_refusal(c, status, reason);
	caller_answer(c, status, "text/plain", "", none);
}

void
caller_error(struct caller *c, int status, const char *text, const char *reason, const char *fields)
{
	char body[512];
	struct str content;
	struct buf b;

	log_refusal(c, status, reason != NULL ? reason : text);
	buf_init(&b, body, sizeof(body));
	if (c->json) {
		buf_str(&b, "{");
		json_put_name(&b, "error");
		json_put_str(&b, text, strlen(text));
		json_put_name(&b, "status");
		buf_u64(&b, (unsigned)status);
		json_put_name(&b, "request_id");
		json_put_str(&b, c->request_id, strlen(c->request_id));
		buf_str(&b, "}\n");
	} else {
		buf_u64(&b, (unsigned)status);
		buf_str(&b, " ");
		buf_str(&b, text);
		buf_str(&b, " (request ");
		buf_str(&b, c->request_id);
		buf_str(&b, ")\n");
	}
	content.p = body;
	content.len = b.len;
	caller_answer(c, status, c->json ? "application/json" : "text/plain; charset=utf-8", fields, content);
}

const char *
caller_fields(struct caller *c, int status)
{
	if (status == 426)
		return "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
	if (status == 401)
		return "WWW-Authenticate: Bearer\r\n";
	if (status != 429 && status != 503)
		return "";
	snprintf(c->fields, sizeof(c->fields), "Retry-After: %ld\r\n", c->retry > 1 ? c->retry : 1);
	return c->fields;
}

void
caller_plain(struct caller *c, int status, const char *text, const char *fields)
{
	char body[512];
	struct str content;
	struct buf b;

	if (status >= 400)
		log_refusal(c, status, text);
	buf_init(&b, body, sizeof(body));
	buf_str(&b, text);
	buf_str(&b, "\n");
	content.p = body;
	content.len = b.len;
	caller_answer(c, status, "text/plain; charset=utf-8", fields, content);
}
