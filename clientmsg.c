/* clientmsg.c: see clientmsg.h. */
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
