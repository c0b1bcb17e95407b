/*
 * caller.h: a public connection: reads requests, routes them, answers errors.
 */
#ifndef CALLER_H
#define CALLER_H

#include "access.h"
#include "conn.h"
#include "daemon.h"
#include "exchange.h"
#include "http.h"
#include "wake.h"
#include "watch.h"

enum {
	CALLER_HEAD_MAX = 32768,	/* a request head, bytes; rewriting may add to it */
	CALLER_FIELDS_MAX = 128,
	CALLER_IN = 65536	/* bytes: a head, or content, of which no more than a STREAM_PIECE is read at once */
};

struct caller {			/* its own thread's, but for what exchange.h says */
	struct daemon *d;
	struct caller *next;	/* of those that wait for another connection, their wake open */
	struct guest guest;
	char only[NAME_LEN_MAX + 1];	/* all requests are for this tunnel; "": as they say */
	struct conn conn;
	struct wake wake;	/* opened when first needed */
	struct watched watched;	/* in place of a thread that sleeps, if it has joined */
	int busy;		/* an exchange has begun, and not ended */
	int served;		/* one has ended, or was answered by us */
	int64_t until;		/* clock_ms when not to wait any longer */
	char peer[NET_ADDR_MAX];	/* address and port */
	char host[NET_ADDR_MAX];	/* address */
	struct addr addr;	/* the same; all 0 if it is none */
	int trusted;
	int secure;		/* over TLS */
	int connect;		/* to the CONNECT proxy */
	char in[CALLER_IN];	/* in[at..len) has been read and not used */
	size_t at, len;
	struct http_head head;	/* of the request; points into in until the exchange reads on */
	char request_id[65];	/* ours, or a trusted proxy's */
	int is_head;		/* the request's method is HEAD */
	int json;		/* errors as JSON */
	int minor;		/* HTTP/1.minor */
	long retry;		/* seconds for Retry-After, if more than one */
	int close;		/* no further request on this connection */
	int cut;		/* what was sent is no whole answer: over TLS, no close_notify */
	int abort;		/* and only a reset can tell: close it with one */
	struct access access;	/* of the request, for the access log */
	char name[NAME_LEN_MAX + 1];	/* of the tunnel that it goes to */
	struct exchange_to to;
	struct exchange exchange;
	char fields[64];	/* caller_fields' */
	char access_text[ACCESS_LINE];	/* untouched without one */
};

/* May it wait without a thread, from now on at least? */
int caller_watch(struct caller *);

struct caller_from {		/* a connection */
	struct sockaddr_storage peer;
	const char *early;	/* has been read from it already, without TLS and PROXY header */
	size_t nearly;		/* up to CALLER_IN */
	const char *only;	/* see struct caller; NULL: "" */
};

/* Serve the connection fd to its end, on this thread, then on those of the watch. */
void caller_run(struct daemon *, int fd, const struct daemon_listener *, const struct caller_from *);

/* Answer 503 (without TLS) and close, from the acceptor, when there is no thread for it. Does not wait. */
void caller_refuse(int fd, int tls);

/* For caller.c, in callerfrom.c: whose the connection is, as the system says; as the PROXY protocol's header on it says: 1, or 0: there is none that can be believed. */
void caller_from(struct caller *, const struct sockaddr_storage *peer);
int caller_proxied(struct caller *);

/* Is it the address of a proxy of ours? */
int caller_trusts(const struct daemon *, const struct addr *);

/* Whom the request is from: the connection's address, or what trusted proxies say. All 0 if they make no sense. */
void caller_address(const struct caller *, struct addr *);

/* Send an answer of our own. fields: more field lines with their CRLF, or "". content may be empty; its length is told in any case. */
void caller_answer(struct caller *, int status, const char *type, const char *fields, struct str content);

/*
 * Answer with an error: one line of text, or JSON, that names the request's id, which stands
 * in the log with reason (NULL: the text). fields: more field lines with their CRLF, or "".
 */
void caller_error(struct caller *, int status, const char *text, const char *reason,
    const char *fields);

/* The field lines that every refusal with this status has: Retry-After, WWW-Authenticate for a token, Sec-WebSocket-Version. c's memory, or constant. */
const char *caller_fields(struct caller *, int status);

/* Answer with text and a newline as plain text, or without any if status is 204; one that refuses stands in the log. fields as above. */
void caller_plain(struct caller *, int status, const char *text, const char *fields);

/* 1 if the request came over TLS, be it to a proxy we trust. */
int caller_secure(const struct caller *);

/* Refuse a client's handshake without content, as some clients know it; reason is for the log. */
void caller_refuse_client(struct caller *, int status, const char *reason);

#endif
