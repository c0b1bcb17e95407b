/*
 * message.h: exchanges with a client that takes a request whole, in one message, and answers with
 * one. To an exchange each is a stream (stream.h) of HTTP/1.1: what is written is gathered until
 * the request is whole; the answer comes as if it had been read from a local service, so
 * that the parser that guards callers from those guards them from such clients, too.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include "budget.h"
#include "http.h"
#include "stream.h"

enum {
	MESSAGE_ID_LEN = 36,	/* the longest kind of id */
	MESSAGE_BODY_MAX = 10 << 20	/* content of a request, if no option allows more */
};

struct messages;		/* the exchanges of one session */

enum message_ids {
	MESSAGE_UUID,		/* version 4, RFC 9562 */
	MESSAGE_HEX12		/* 12 hexadecimal digits */
};

struct message {		/* a request */
	char id[MESSAGE_ID_LEN + 1];
	struct http_head head;
	const uint8_t *body;
	size_t len;
};

/*
 * send: encode the request and send it by deadline, on the thread that has written the last of
 * it. 0, or -1 with errno, as link_send. idle: no stream is open any more; any thread, a stream's
 * mutex may be held. max: streams open at once. share: what all content that is gathered, or waits for
 * slow callers, may take.
 */
struct messages *messages_new(enum message_ids, int (*send)(void *arg, const struct message *, int64_t deadline),
    void (*idle)(void *arg), void *arg, int max, struct share *);
void messages_free(struct messages *);	/* after messages_end, when every stream was left */

/* As mux_open; never waits. */
struct stream *messages_open(struct messages *, uint64_t *tally);

/* Is an answer with this id waited for: 0; 1 if to a HEAD request; -1: no. */
int messages_asked(void *messages, const char *id);

/*
 * In the reader: the answer to the exchange with this id. head: a whole HTTP/1.1 response head, NULL if the answer is no
 * good (502). body: what stands behind it, unless none may (HEAD, 204, 304). 0 if nobody waits for it. What
 * the share does not allow is refused (503).
 */
int messages_answer(struct messages *, const char *id, struct str head, struct str body);

void messages_refuse(struct messages *, const char *id);	/* likewise, but there is no room for the answer (503) */

void messages_end(struct messages *);	/* in the reader: the session is over, every stream is reset */
int messages_open_ones(struct messages *);	/* how many */
void messages_tally(struct messages *, const uint64_t from[2], uint64_t to[2]);

#endif
