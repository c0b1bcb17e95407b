/*
 * pipegatemsg.h: PipeGate's messages: requests to JSON, JSON to responses; and the other way round, for the client. Pure, but that
 * it allocates what it returns.
 */
#ifndef PIPEGATEMSG_H
#define PIPEGATEMSG_H

#include "clientmsg.h"
#include "http.h"
#include "message.h"

enum {
	PIPEGATE_ID_MAX = 128,	/* bytes of a connection id */
	PIPEGATE_TAKES_MIN = 65536	/* who says that it takes less is not believed */
};

#define PIPEGATE_METHODS "GET, POST, PUT, DELETE, PATCH, OPTIONS, HEAD"	/* all that its clients know */

/*
 * 1 if id may be one: 1 to PIPEGATE_ID_MAX letters, digits and "-._~!$&'()*+,;=:@", so a segment of a path; and
 * not one that is taken: ".", "..", health, healthz, relay, tunnel, and those that begin with '_'.
 */
int pipegate_id_ok(const char *id);

/*
 * The first segment of a request's path, percent-decoded, as text in id: an escaped slash ends it, too. The length of
 * what stands for it in target: from the first slash, and with the second if that is an escaped one. 0: there is none, or it is
 * too long. *slash: there is a second.
 */
size_t pipegate_path_id(struct str target, char id[PIPEGATE_ID_MAX + 1], int *slash);

/*
 * The last value of "token" in a target's query, decoded into out[cap], with a NUL. Its length; -1: there is none, or it does not fit.
 */
long pipegate_token(struct str target, char *out, size_t cap);

/*
 * The message for a request: *text is the caller's to free, *len bytes, at most max. 0; or -1 with errno: EINVAL for a request that cannot
 * be told such a client (a method it does not know, dot segments), EMSGSIZE, ENOMEM.
 */
int pipegate_encode(const struct message *, size_t max, char **text, size_t *len);

struct pipegate_answer {
	char id[MESSAGE_ID_LEN + 1];	/* as it was sent */
	char *memory;		/* to free; NULL: none */
	struct str head, body;	/* head.p NULL: the answer is no good. In memory, and in the text */
	const char *why;	/* what is wrong with it, a constant string */
};

/*
 * asked: is an answer with this id waited for: 0; 1 if to a HEAD request; -1: no. 1, and *a; or 0: it is no answer (its
 * members are not those of one, or nobody waits for it) and is to be ignored; why says why. text is written to: the content is decoded
 * where it stands.
 */
int pipegate_decode(struct pipegate_answer *a, char *text, size_t len,
    int (*asked)(void *arg, const char *id), void *arg);

/* 1 and the id of an answer whose first bytes these are, if it stands among them; else 0. */
int pipegate_id(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1]);

/* A path with its escapes, and what must not stand in one escaped. */
void pipegate_put_path(struct buf *b, struct str path);

/* The content of a message, whose value is a string, decoded where its text stands. 0, or -1: it is not base64. */
int pipegate_take_body(struct str value, struct str *out);

/* A head's X-PipeGate-Max-Message: bytes of a message that its sender takes; dflt if it does not say, or less than anybody would. */
size_t pipegate_takes(const struct http_head *h, size_t dflt);

/* The client's side, pipegatecli.c; see clientmsg.h. */
void pipegate_take_request(struct clientmsg_request *, char *text, size_t len, const struct clientmsg_server *);
int pipegate_put_answer(const struct clientmsg_answer *, const struct clientmsg_server *, char **text, size_t *len);
extern const struct clientmsg_dialect pipegate_client;

#endif
