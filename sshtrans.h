/*
 * sshtrans.h: SSH's transport and authentication (RFC 4253, 4252, 8308), both roles, as a machine of bytes in and bytes out:
 * identification, key exchange and its repetition, strict key exchange, `none` and `publickey`. Pure: no I/O, no clock, no lock.
 *
 * Three parts, so that a connection can be read and written at once:
 *   the reader's: sshtrans_take;
 *   the writer's, one at a time: sshtrans_seal;
 *   what they share: all other functions, under a lock of the user's.
 */
#ifndef SSHTRANS_H
#define SSHTRANS_H

#include "sshkex.h"

enum {
	SSH_QUEUE_MAX = 4096,		/* messages of the transport's own that wait to go out, bytes */
	SSH_USER_MAX = 64,		/* a user name, bytes */
	SSH_HOST_KEYS = 2
};

struct sshtrans_conf {
	int server;
	const char *ident;		/* our identification string: "SSH-2.0-...", without CR LF */
	const char *ciphers;		/* NULL: all, see sshkex_ciphers */
	const struct sshkey *keys[SSH_HOST_KEYS];	/* server: host keys, the one to be preferred first; client: [0] proves who we are. NULL: none */
	const char *user;		/* client */
	uint64_t rekey_bytes;		/* keys are renewed after so much in a direction; 0: 1 GiB */
	uint32_t rekey_packets;		/* likewise; 0: 2^31 */
	int (*random)(void *, size_t);	/* fill with what nobody can guess: 0, or -1 */
};

enum sshtrans_event {		/* what sshtrans_message has come to */
	SSHTRANS_DONE,		/* nothing for the user */
	SSHTRANS_MESSAGE,	/* a message of the connection protocol: the user's to handle */
	SSHTRANS_HOST_KEY,	/* client: is ask.blob the server's? sshtrans_answer */
	SSHTRANS_AUTH,		/* server: may ask.user in, with the key ask.blob (empty: without any)? sshtrans_answer */
	SSHTRANS_READY,		/* authenticated: messages may go both ways */
	SSHTRANS_BYE		/* the other side has sent DISCONNECT: ask.blob is its text */
};

struct sshtrans_ask {		/* points into the message */
	struct str user, blob;
	const char *alg;	/* of the key */
	struct str sig;		/* what it signs is in front of it: */
	struct str request;
	int has_sig;
};

enum sshtrans_phase { SSH_PHASE_KEX, SSH_PHASE_SERVICE, SSH_PHASE_AUTH, SSH_PHASE_RUN };

struct sshtrans {		/* [r] the reader's, [w] the writer's, [m] shared, [c] constant */
	struct sshtrans_conf conf;	/* [c] */

	struct sshcipher *in;		/* [r] NULL: not encrypted */
	size_t in_block;		/* [r] */
	uint32_t in_seq;		/* [r] */
	uint64_t in_bytes, in_packets;	/* [r] since the keys are new */
	int ident_seen;			/* [r] */
	size_t before_ident;		/* [r] bytes of lines before it */
	char peer[SSH_IDENT_MAX + 1];	/* [r] its identification string */
	size_t nbuf, used;		/* [r] bytes in buf; of them a packet that was handed on */
	uint8_t buf[SSH_PACKET_ROOM];	/* [r] the beginning of a packet */

	struct sshcipher *out;		/* [w] */
	size_t out_block;		/* [w] */
	uint32_t out_seq;		/* [w] */
	uint64_t out_bytes, out_packets;	/* [w] */
	struct sshcipher *out_soon;	/* [w] what NEWKEYS on its way switches to */
	size_t out_block_soon;		/* [w] */
	int ident_sent;			/* [w] */

	enum sshtrans_phase phase;	/* [m] */
	int strict, ext_info;		/* [m] since the first key exchange */
	int first_done;			/* [m] the first NEWKEYS has come */
	int init_sent, init_got;	/* [m] KEXINIT, of the exchange under way */
	int keys_made;			/* [m] and our NEWKEYS queued */
	int newkeys_waits;		/* [m] in the queue */
	int skip_guess;			/* [m] */
	struct sshkex_choice choice;	/* [m] */
	char host_alg[32];		/* [m] its host_key */
	struct sha256 hash;		/* [m] of the exchange, as far as it is known */
	uint8_t eph[SSH_X25519_LEN];	/* [m] our private key */
	uint8_t k[SSH_X25519_LEN], h[SHA256_LEN];	/* [m] */
	uint8_t session[SHA256_LEN];	/* [m] the first h */
	uint8_t host_hash[SHA256_LEN];	/* [m] client: of the key accepted */
	struct sshcipher *next_in, *next_out;	/* [m] */
	size_t next_in_block, next_out_block;	/* [m] */
	uint8_t init[SSH_KEXINIT_MAX];	/* [m] ours */
	size_t ninit;			/* [m] */
	int auth_tried;			/* [m] client: 0 none, 1 the key was asked for, 2 signed */
	int failures;			/* [m] server */
	int none_tried;			/* [m] server */
	int forged;			/* [m] server: a signature was wrong */
	char user[SSH_USER_MAX + 1];	/* [m] server: who was let in */
	uint8_t key[SSH_BLOB_MAX];	/* [m] and with which key */
	size_t nkey;			/* [m] 0: without */
	struct sshtrans_ask ask;	/* [m] */
	uint32_t seq;			/* [m] number of the message under way */
	uint8_t queue[SSH_QUEUE_MAX];	/* [m] each with its length, two bytes, in front */
	size_t nqueue;			/* [m] */
	int bye;			/* [m] DISCONNECT is the last of them, or has come: nothing else goes out */
};

/* conf is copied, what it points to is not. 0, or -1: no random numbers. */
int sshtrans_init(struct sshtrans *, const struct sshtrans_conf *);
void sshtrans_free(struct sshtrans *);		/* wipes it */

/*
 * The reader: take bytes of buf, which is the callee's to change. Bytes taken, and *msg (len *n) if they complete a message, else NULL;
 * it stays until the next call. Or a reason negated, and *why.
 */
long sshtrans_take(struct sshtrans *, uint8_t *buf, size_t len, uint8_t **msg, size_t *n, const char **why);

/* What to do with it: an enum sshtrans_event; or a reason negated, and *why. The reader calls it for every message, in order. */
int sshtrans_message(struct sshtrans *, const uint8_t *msg, size_t n, const char **why);

/* The user's answer to SSHTRANS_HOST_KEY or SSHTRANS_AUTH, before the next message; *why says who was refused why. As above. */
int sshtrans_answer(struct sshtrans *, int yes, const char **why);

/*
 * The writer: the next message of the transport's own, at p (cap bytes: SSH_QUEUE_MAX is enough). Its length, 0: there is none.
 * Begins a new key exchange when it is time.
 */
size_t sshtrans_next(struct sshtrans *, uint8_t *p, size_t cap);
int sshtrans_waiting(const struct sshtrans *);	/* 1: there is one */
int sshtrans_may_send(const struct sshtrans *);	/* 1: messages of the connection protocol may go out, behind those */
int sshtrans_rekey(struct sshtrans *);		/* begin a new key exchange, if none is under way and that may be. 0, or -1 */

/* Send DISCONNECT, after which nothing goes out. text is ASCII. */
void sshtrans_disconnect(struct sshtrans *, int reason, const char *text);

/* Send UNIMPLEMENTED for the message under way. 0, or a reason negated. */
int sshtrans_unimplemented(struct sshtrans *, const char **why);

/* The writer: the packet of the message at out + SSH_PAYLOAD_AT (see ssh_seal): its length. In the order of sshtrans_next. */
size_t sshtrans_seal(struct sshtrans *, uint8_t *out, size_t payload);
/* The writer, before anything else: the identification line at out (SSH_IDENT_MAX bytes). Its length, 0: it has been sent. */
size_t sshtrans_ident(struct sshtrans *, uint8_t *out);

/* Within the transport: sshauth.c has the messages of authentication. */
int sshtrans_fail(const char **why, enum ssh_reason, const char *what);
int sshtrans_push(struct sshtrans *, const struct buf *, const char **why);	/* 0, or a reason negated */
int sshauth_message(struct sshtrans *, const uint8_t *msg, size_t n, const char **why);
int sshauth_answer(struct sshtrans *, int yes, const char **why);
int sshauth_begin(struct sshtrans *, const char **why);	/* client: after the first key exchange */

#endif
