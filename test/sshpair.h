/*
 * sshpair.h: two transports joined in memory, client and server, whose bytes can be cut anywhere.
 */
#ifndef SSHPAIR_H
#define SSHPAIR_H

#include "../sshtrans.h"
#include "sshtest.h"

enum { PIPE = 1 << 17, NOTED = 64 };

static uint8_t next_random;	/* each call gives 32 times this byte, then it goes on */

static inline int
fake_random(void *p, size_t n)
{
	memset(p, next_random, n);
	next_random = (uint8_t)(next_random + 0x11);
	return 0;
}

/* One end, and what it has to say to the other. */
struct end {
	struct sshtrans t;
	int grant_none, grant_key, grant_host;	/* its user's answers */
	int ready, bye, rc;	/* rc: the reason it failed for, negated */
	const char *why;
	uint8_t types[NOTED];	/* messages it got, */
	size_t ntypes;
	uint8_t last[SSH_PACKET_MAX];	/* and the last of them */
	size_t nlast;
	int given;		/* connection messages it got */
};

static struct sshkey ed, p256, user_key;

static inline void
end_init(struct end *e, int server, const char *ciphers)
{
	struct sshtrans_conf c;

	memset(e, 0, sizeof(*e));
	memset(&c, 0, sizeof(c));
	c.server = server;
	c.ident = server ? "SSH-2.0-Example" : "SSH-2.0-Client";
	c.ciphers = ciphers;
	c.keys[0] = server ? &ed : &user_key;
	c.user = "vtunnel";
	c.random = fake_random;
	e->grant_key = e->grant_host = 1;
	if (sshtrans_init(&e->t, &c) == -1)
		abort();
}

/* What e sends now, at most cap bytes. */
static inline size_t
output(struct end *e, uint8_t *out)
{
	size_t n = sshtrans_ident(&e->t, out), len;

	while ((len = sshtrans_next(&e->t, out + n + SSH_PAYLOAD_AT, SSH_QUEUE_MAX)) > 0)
		n += sshtrans_seal(&e->t, out + n, len);
	return n;
}

static inline int
handle(struct end *e, const uint8_t *msg, size_t n)
{
	int rc;

	if (e->ntypes < NOTED)
		e->types[e->ntypes++] = msg[0];
	memcpy(e->last, msg, n);
	e->nlast = n;
	rc = sshtrans_message(&e->t, msg, n, &e->why);
	if (rc == SSHTRANS_HOST_KEY)
		rc = sshtrans_answer(&e->t, e->grant_host, &e->why);
	else if (rc == SSHTRANS_AUTH)
		rc = sshtrans_answer(&e->t, e->t.ask.blob.len > 0 ? e->grant_key : e->grant_none, &e->why);
	e->ready |= rc == SSHTRANS_READY;
	e->bye |= rc == SSHTRANS_BYE;
	e->given += rc == SSHTRANS_MESSAGE;
	return rc;
}

/* Give e the bytes, in pieces of step, each in memory of exactly its size. */
static inline int
feed(struct end *e, const uint8_t *p, size_t n, size_t step)
{
	uint8_t *piece, *msg;
	size_t k, len, at;
	long took;

	while (n > 0 && e->rc == 0) {
		k = n < step ? n : step;
		piece = exact(p, k);
		for (at = 0; at < k && e->rc == 0; at += (size_t)took) {
			if ((took = sshtrans_take(&e->t, piece + at, k - at, &msg, &len, &e->why)) < 0) {
				e->rc = (int)took;
				break;
			}
			if (msg != NULL && (e->rc = handle(e, msg, len)) > 0)
				e->rc = 0;
		}
		free(piece);
		p += k;
		n -= k;
	}
	return e->rc;
}

/* Until neither has anything to say. */
static inline void
talk(struct end *a, struct end *b, size_t step)
{
	static uint8_t out[PIPE];
	size_t n, m;

	do {
		n = output(a, out);
		feed(b, out, n, step);
		m = output(b, out);
		feed(a, out, m, step);
	} while (n + m > 0 && a->rc == 0 && b->rc == 0);
}

/* Send one message from a to b, sealed. b's verdict. */
static inline int
send_one(struct end *a, struct end *b, const void *msg, size_t n)
{
	static uint8_t out[SSH_PACKET_ROOM];

	memcpy(out + SSH_PAYLOAD_AT, msg, n);
	return feed(b, out, sshtrans_seal(&a->t, out, n), SIZE_MAX);
}

static struct end client, server;

static inline void
start(const char *ciphers)
{
	end_init(&client, 0, ciphers);
	end_init(&server, 1, NULL);
}

static inline void
stop(void)
{
	sshtrans_free(&client.t);
	sshtrans_free(&server.t);
}

#endif
