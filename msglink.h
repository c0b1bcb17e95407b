/*
 * msglink.h: a session of a dialect whose clients take requests whole: message.h's exchanges over a link. A message that
 * comes is gathered, one that goes is charged, both to the session's share of the daemon's memory.
 */
#ifndef MSGLINK_H
#define MSGLINK_H

#include "budget.h"
#include "link.h"
#include "message.h"
#include "msgin.h"
#include "registry.h"

struct msglink_ops {		/* what the dialect knows of its messages */
	/* A request's text, the link's to free, and its length. 0, or -1 with errno. */
	int (*encode)(void *arg, const struct message *, char **text, size_t *len);
	/* In the reader: a whole message, text or binary; it may be written to. */
	void (*take)(void *arg, uint8_t opcode, char *text, size_t len);
	/* 1 and the id of an answer whose first bytes these are; else 0. */
	int (*id)(const char *text, size_t len, char id[MESSAGE_ID_LEN + 1]);
	/* The rest may be NULL. */
	void (*idle)(void *arg);	/* see message.h */
	/* Send a request's text in another way than as one text message; as link_send_parcel. */
	int (*send)(void *arg, struct link_parcel *, const void *key, int64_t deadline);
	void (*rest)(void *arg);	/* in the reader, before it sleeps */
	void (*over)(void *arg);	/* in the reader: the session has ended, and its names are no longer its own */
	enum message_ids ids;
};

struct msglink {		/* zero all at first; then the dialect sets session and d */
	struct session session;
	struct daemon *d;
	const struct msglink_ops *ops;
	void *arg;
	struct link *link;
	struct messages *messages;
	struct share share;	/* of the daemon's memory for bodies */
	struct msgin in;	/* the reader's */
	int skip;		/* there was no room for it: the rest is dropped */
};

/*
 * Take conn over. conf: as for link_new; a message is at most conf->message_max bytes. streams: open at once. 0; or -1: no memory or
 * descriptors, and msglink_free is all that is left to do.
 */
int msglink_open(struct msglink *, const struct msglink_ops *, void *arg, const struct conn *conn,
    const struct link_conf *conf, int streams, struct budget *, const void *early, size_t nearly);

void msglink_free(struct msglink *);

/* For such a dialect's table (registry.h); the session is a msglink's. */
struct stream *msglink_stream(struct session *, uint64_t *tally, int64_t deadline);
void msglink_tally(struct session *, const uint64_t from[2], uint64_t to[2]);
int msglink_alive(struct session *, int64_t deadline);
void msglink_run(struct session *);

#endif
