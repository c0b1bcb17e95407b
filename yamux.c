/* yamux.c: yamux frame headers; see yamux.h. */
#include "be32.h"
#include "yamux.h"

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

int
yamux_parse(struct yamux_hdr *h, const uint8_t *buf, size_t len, const char **why)
{
	const unsigned known = YAMUX_SYN | YAMUX_ACK | YAMUX_FIN | YAMUX_RST;
	unsigned flags;
	uint32_t id;
	int of_session;

	if (len < YAMUX_HDR)
		return 0;
	if (buf[0] != 0)
		return bad(why, "unknown yamux version");
	if (buf[1] > YAMUX_GO_AWAY)
		return bad(why, "unknown yamux type");
	flags = (unsigned)buf[2] << 8 | buf[3];
	if (flags & ~known)
		return bad(why, "unknown yamux flags");
	id = be32_get(buf + 4);
	of_session = buf[1] == YAMUX_PING || buf[1] == YAMUX_GO_AWAY;
	if (of_session && id != 0)
		return bad(why, "session frame with a stream id");
	if (!of_session && id == 0)
		return bad(why, "stream frame without a stream id");

	h->type = buf[1];
	h->flags = (uint16_t)flags;
	h->id = id;
	h->len = be32_get(buf + 8);
	return YAMUX_HDR;
}

void
yamux_write(uint8_t out[YAMUX_HDR], const struct yamux_hdr *h)
{
	out[0] = 0;
	out[1] = h->type;
	out[2] = (uint8_t)(h->flags >> 8);
	out[3] = (uint8_t)h->flags;
	be32_put(out + 4, h->id);
	be32_put(out + 8, h->len);
}
