/*
 * wsproxymsg.h: wsproxy's messages: control objects and requests to JSON, JSON to responses, and the frames of raw connections. Pure, but
 * that it allocates what it returns.
 */
#ifndef WSPROXYMSG_H
#define WSPROXYMSG_H

#include <stdint.h>

#include "http.h"
#include "message.h"

enum {
	WSPROXY_ID = 12,	/* hexadecimal digits of an id, of an exchange or a connection */
	WSPROXY_LABEL = 16,	/* of a tunnel's name in Host */
	WSPROXY_HEADER = 4 + WSPROXY_ID,	/* of a data frame, bytes */
	WSPROXY_SMALL = 65535,	/* a message that the browser client takes; of a longer one it loses the end */
	WSPROXY_CONTENT_MAX = 10485760	/* of a response, bytes */
};

/* Data frames: length of the id, 4 bytes; the id; bytes. */

/*
 * The id at the start of a binary message, as text in id. 0: it is a frame with at least one byte; or -1: it is none, or its id cannot be
 * one of ours.
 */
int wsproxy_frame(const uint8_t *p, size_t len, char id[WSPROXY_ID + 1]);
void wsproxy_frame_put(uint8_t out[WSPROXY_HEADER], const char *id);

/* Control objects to the client. */

void wsproxy_put_ready(struct buf *, const char *url, unsigned port);
void wsproxy_put_tcp(struct buf *, const char *type, const char *id);	/* "tcp_open", "tcp_close" */

/*
 * The message for a request: *text is the caller's to free, *len bytes, at most max. plain: the client understands no coding of content.
 * 0; or -1 with errno: EMSGSIZE, ENOMEM.
 */
int wsproxy_encode(const struct message *, size_t max, int plain, char **text, size_t *len);

/* Control objects from the client. */

enum wsproxy_type { WSPROXY_JUNK, WSPROXY_RESPONSE, WSPROXY_CLOSE };

struct wsproxy_control {	/* values are texts as they stand; p NULL: there is none */
	char id[WSPROXY_ID + 1];
	struct str status, headers, body, encoding;
};

/*
 * What is text? A control object has members of the right types, and an id that can be one of ours. JUNK is to be ignored, *why says why.
 */
enum wsproxy_type wsproxy_read(struct wsproxy_control *, struct str text, const char **why);

struct wsproxy_answer {
	char *memory;		/* to free; NULL: none */
	struct str head, body;	/* head.p NULL: there was no memory. In memory, and in the text */
	const char *why;	/* NULL; or what is wrong with it: then this is a 502 that says so */
};

/*
 * A response for its caller. 1; or 0: it is interim, and to be ignored. The text is written to: the content is decoded where it stands.
 */
int wsproxy_respond(struct wsproxy_answer *, const struct wsproxy_control *, int is_head);

/* 1 and the id of a response whose first bytes these are, if it stands among them; else 0. */
int wsproxy_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1]);

/* What a caller is told of an error in the original's words, which its users may look for; NULL: it has none. */
const char *wsproxy_words(int status, const char *why);

/* 1 if s is n lower-case hexadecimal digits. */
int wsproxy_is_hex(const char *s, size_t n);

#endif
