/* clientmsg.c: see clientmsg.h. */
#include <stdlib.h>
#include <string.h>

#include "clientmsg.h"
#include "ws.h"

struct str
clientmsg_id(struct str value)
{
	static const struct str none = { NULL, 0 };
	struct str in;
	uint32_t state = 0;

	if (!msgfields_inside(value, &in) || in.len == 0 || value.len > CLIENTMSG_ID_MAX ||
	    ws_utf8(&state, (const uint8_t *)in.p, in.len) == -1 || state != 0)	/* it came in a binary message */
		return none;
	return value;
}

void
clientmsg_take(struct clientmsg_request *out, char *text, size_t len, const struct clientmsg_form *form, const struct clientmsg_server *server)
{
	struct clientmsg_parts *r = malloc(sizeof(*r));
	struct str all = { text, len };

	memset(out, 0, sizeof(*out));
	out->why = "no memory";
	if (r == NULL)
		return;
	r->fields.n = 0;
	r->fields.split = r->fields.utf8 = 0;
	if (msgfields_scan(r->value, form->names, form->n, 0, all, &out->why)) {
		out->id = clientmsg_id(r->value[0]);
		out->why = out->id.p == NULL ? form->no_id : form->compose(out, r, server);
	}
	free(r);
}

const char *
clientmsg_head(struct clientmsg_request *out, struct msgfields *f, struct str method, struct str target, const struct clientmsg_server *server)
{
	struct buf b;

	if ((out->memory = malloc(MSGFIELDS_HEAD)) == NULL)
		return "no memory";
	buf_init(&b, out->memory, MSGFIELDS_HEAD);
	if (msgfields_request(&b, f, method, target, &server->own, out->body.len) == -1)
		return "a header is no field, or they are too many";
	out->bare = str_is(method, "HEAD");
	out->head.p = out->memory;
	out->head.len = b.len;
	return NULL;
}
