/*
 * bifrostmsg.h: bifrost's messages: requests to JSON, JSON to responses; and the other way round, for the client. Pure, but
 * that it allocates what it returns.
 */
#ifndef BIFROSTMSG_H
#define BIFROSTMSG_H

#include <stdint.h>

#include "clientmsg.h"
#include "http.h"
#include "message.h"

/*
 * The message for a request: *text is the caller's to free, *len bytes. 0; or -1 with errno: EINVAL for a request
 * that would kill such a client (a target with bytes that are not printable ASCII), ENOMEM.
 */
int bifrost_encode(const struct message *, char **text, size_t *len);

struct bifrost_answer {
	char id[MESSAGE_ID_LEN + 1];
	char *memory;		/* to free; NULL: none */
	struct str head, body;	/* head.p NULL: the answer is no good. In memory, and in the text */
};

/*
 * asked: is an answer with this id waited for: 0; 1 if to a HEAD request; -1: no. 1, and *a;
 * or 0: it is no answer that anybody waits for, to be ignored. text is written to: the content, up to 75 MiB, is
 * decoded where it stands.
 */
int bifrost_decode(struct bifrost_answer *a, char *text, size_t len,
    int (*asked)(void *arg, const char *id), void *arg);

/* 1 and the id of an answer whose first bytes these are, if it stands among them; else 0. */
int bifrost_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1]);

/* The client's side; see clientmsg.h. */
void bifrost_take_request(struct clientmsg_request *, char *text, size_t len, const struct clientmsg_server *);
int bifrost_put_answer(const struct clientmsg_answer *, const struct clientmsg_server *, char **text, size_t *len);
extern const struct clientmsg_dialect bifrost_client;

#endif
