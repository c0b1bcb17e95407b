/*
 * yamux.h: yamux frame headers, tunnel-protocol(7). Pure.
 */
#ifndef YAMUX_H
#define YAMUX_H

#include <stddef.h>
#include <stdint.h>

enum { YAMUX_HDR = 12, YAMUX_WINDOW = 262144 };	/* bytes; a stream's first window */
enum yamux_type { YAMUX_DATA, YAMUX_UPDATE, YAMUX_PING, YAMUX_GO_AWAY };
enum yamux_flag { YAMUX_SYN = 1, YAMUX_ACK = 2, YAMUX_FIN = 4, YAMUX_RST = 8 };
enum yamux_away { YAMUX_NORMAL, YAMUX_PROTOCOL_ERROR, YAMUX_INTERNAL_ERROR };

struct yamux_hdr {
	uint8_t type;
	uint16_t flags;
	uint32_t id;		/* stream, 0: the session */
	uint32_t len;		/* data: bytes that follow; update: added window; ping: value; go away: reason */
};

/*
 * YAMUX_HDR if a header stands at the start of buf, 0 if len is too small,
 * -1 and *why if it breaks the protocol: version, type, unknown flags, a stream id of 0 for data
 * or update, another for ping and go away.
 */
int yamux_parse(struct yamux_hdr *h, const uint8_t *buf, size_t len, const char **why);

void yamux_write(uint8_t out[YAMUX_HDR], const struct yamux_hdr *h);

#endif
