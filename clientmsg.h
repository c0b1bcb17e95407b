/*
 * clientmsg.h: what the client's side of the dialects that carry requests whole makes of a message, and of what. The
 * functions are pure, but that they allocate what they return.
 */
#ifndef CLIENTMSG_H
#define CLIENTMSG_H

#include "http.h"
#include "msgfields.h"

enum { CLIENTMSG_ID_MAX = 128 };	/* bytes of an id as JSON has it, quotes included */

struct clientmsg_server {	/* what is known of the other side */
	struct msgfields_own own;
	int ours;		/* it is a tunneld, which adds no fields of its own to answers */
	size_t max;		/* bytes of a message that it takes */
};

struct clientmsg_request {
	struct str id;		/* as JSON has it, in the text; p NULL: it has none, and cannot be answered */
	struct str head, body;	/* an HTTP/1.1 request head, in memory; p NULL: it is no good. And what is behind it, in the text */
	int bare;		/* a HEAD request */
	char *memory;		/* to free; NULL: none */
	const char *why;	/* what is wrong with it, a constant string */
};

enum { CLIENTMSG_MEMBERS_MAX = 6 };

struct clientmsg_parts {	/* of a message, large: not for a stack */
	struct str value[CLIENTMSG_MEMBERS_MAX];	/* the texts of a form's members; p NULL: there is none */
	struct msgfields fields;
	char method[MSGFIELDS_NAME + 1], target[HTTP_TARGET_MAX + 1];	/* the form's own */
};

struct clientmsg_form {		/* how a dialect writes requests */
	const char *const *names;	/* of the members; the first is the id's */
	size_t n;
	const char *no_id;		/* what is wrong without one */
	/* All else of the request: NULL, or what is wrong. */
	const char *(*compose)(struct clientmsg_request *, struct clientmsg_parts *, const struct clientmsg_server *);
};

/* A request of that form; see decode below. */
void clientmsg_take(struct clientmsg_request *, char *text, size_t len, const struct clientmsg_form *, const struct clientmsg_server *);

/* Its head of fields that have been taken, once its body is known: NULL, or what is wrong. */
const char *clientmsg_head(struct clientmsg_request *, struct msgfields *, struct str method, struct str target, const struct clientmsg_server *);

struct clientmsg_answer {
	struct str id;		/* as it came */
	const struct http_head *head;	/* without what belongs to one hop */
	const uint8_t *body;
	size_t len;
};

struct clientmsg_dialect {
	/* A message, which is written to: the content is decoded where it stands. */
	void (*decode)(struct clientmsg_request *, char *text, size_t len, const struct clientmsg_server *);
	/* *text is the caller's to free, *len bytes. 0; or -1 with errno: EMSGSIZE for more than the server takes, ENOMEM. */
	int (*encode)(const struct clientmsg_answer *, const struct clientmsg_server *, char **text, size_t *len);
};

/* A request's id: the value as it stands, if it is a string, not empty nor longer than can be kept, and UTF-8; else p is NULL. */
struct str clientmsg_id(struct str value);

#endif
