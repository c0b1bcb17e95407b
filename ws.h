/*
 * ws.h: WebSocket framing, RFC 6455 sections 5 and 7, and UTF-8 (8.1).
 * Bytes to frame headers and back. No I/O, no allocation, no locks:
 * the caller owns every buffer and struct passed in.
 */
#ifndef WS_H
#define WS_H

#include <stddef.h>
#include <stdint.h>

enum ws_opcode {
	WS_CONTINUATION = 0x0, WS_TEXT = 0x1, WS_BINARY = 0x2,
	WS_CLOSE = 0x8, WS_PING = 0x9, WS_PONG = 0xa
};

enum ws_status {		/* status codes, section 7.4.1 */
	WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_PROTOCOL_ERROR = 1002,
	WS_UNSUPPORTED = 1003, WS_NO_STATUS = 1005, WS_ABNORMAL = 1006,
	WS_BAD_DATA = 1007, WS_POLICY = 1008, WS_TOO_BIG = 1009,
	WS_INTERNAL = 1011, WS_RESTART = 1012, WS_TRY_AGAIN = 1013
};

enum { WS_HDR_MAX = 14, WS_CONTROL_MAX = 125 };

struct ws_hdr {
	uint64_t len;		/* payload, bytes, below 2^63 */
	uint8_t key[4];		/* masking-key, set only if masked */
	uint8_t opcode, fin, masked;
};

/*
 * Read the frame header at the start of buf (5.2).
 *  > 0  the header's length in bytes; *h is filled in
 *    0  no whole header in len bytes yet: call again with more
 *  < 0  a status code, negated: send it, log *why, fail the connection (7.1.7)
 * Nothing past buf + len is read. *why is a constant string. Refused as soon as the bytes allow it:
 * reserved bits, reserved opcodes, fragmented or long control frames, a length not in
 * its shortest form or with bit 63 set.
 */
int ws_hdr_parse(struct ws_hdr *h, const uint8_t *buf, size_t len, const char **why);

/* Write a frame header to out (WS_HDR_MAX bytes at most); its length. */
size_t ws_hdr_write(uint8_t *out, const struct ws_hdr *h);

/*
 * XOR len bytes with key, beginning with key octet at % 4 (5.3), many bytes at a time.
 * dst == src, or the two do not overlap; any alignment. Returns at + len, for the next piece.
 */
size_t ws_mask(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4], size_t at);

/*
 * Sequence of frames into messages (5.4): 0, or a status code, negated.
 * Call for every frame header, in order. Start with *in_message = 0; it holds the
 * opcode of the fragmented message under way. *opcode becomes the opcode of the
 * message this frame belongs to (its own, for a control frame).
 */
int ws_sequence(uint8_t *in_message, const struct ws_hdr *h, uint8_t *opcode, const char **why);

/*
 * UTF-8, RFC 3629, in pieces. *state starts at 0. 0 if all bytes up to here
 * can be valid UTF-8, -1 as soon as they cannot. The text is whole when *state is 0 again.
 */
int ws_utf8(uint32_t *state, const uint8_t *buf, size_t len);

/*
 * A close frame's payload (5.5.1, 7.4): the status code (WS_NO_STATUS if empty), or
 * a status code negated if the payload is wrong: one byte, a code that may
 * not be sent (7.4.2), a reason that is not UTF-8.
 */
int ws_close_parse(const uint8_t *payload, size_t len, const char **why);

#endif
