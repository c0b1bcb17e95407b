/*
 * tlsint.h: what tlsconn.c wants of a TLS library: an engine that turns plaintext into records and
 * back, in memory. It makes no system call, and its user serialises all calls for one engine.
 */
#ifndef TLSINT_H
#define TLSINT_H

#include <sys/uio.h>

#include "tlsconn.h"
#include "x509.h"

enum {
	TLS_RECORD_MAX = 16384,	/* plaintext of a record (RFC 5246, 6.2.1) */
	TLS_RECORD_MORE = 256	/* what a record adds to it, at most, and to spare */
};

struct tls_buf {		/* p[at..n) is to be used, p[n..cap) is free */
	uint8_t *p;
	size_t at, n, cap;
};

struct tls_io {
	struct tls_buf in;	/* records that have been received: the engine takes them */
	struct tls_buf out;	/* records to be sent: the engine appends what has room */
};

/* Is there room for len more bytes in out? */
int tls_out_room(struct tls_io *, size_t len);

struct tls_engine;

struct tls_engine *tls_engine_accept(struct tls_server *);	/* NULL: no memory */
struct tls_engine *tls_engine_connect(struct tls_client *, const char *host);
void tls_engine_free(struct tls_engine *);

/* TLS_OK: done; TLS_NETWORK: wants more input (or room in out); else it has failed, and why. out may hold an alert in any case. */
enum tls_result tls_engine_handshake(struct tls_engine *, struct tls_io *, char why[TLS_WHY_MAX]);

/* Plaintext: as much as there is. 0: close_notify has come; -1 with errno, EAGAIN: in is used up. */
ssize_t tls_engine_read(struct tls_engine *, struct tls_io *, void *, size_t);

/*
 * Make records of iov[0..n), without its first skip bytes, as long as out has room for
 * a whole one (TLS_RECORD_MAX + TLS_RECORD_MORE, or less plaintext and TLS_RECORD_MORE). Bytes taken; -1 with errno, EAGAIN: no room.
 */
ssize_t tls_engine_writev(struct tls_engine *, struct tls_io *, const struct iovec *iov, int n, size_t skip);

void tls_engine_trim(struct tls_engine *);	/* give back the memory that only a record under way needs */
int tls_engine_pending(const struct tls_engine *);	/* plaintext is there, without more input */
void tls_engine_close(struct tls_engine *, struct tls_io *);	/* close_notify, if out has room */

/* What is wrong with a server, said in the same words whatever the library. leaf: its certificate, NULL: not known. The result, and why. */
enum tls_fault {
	FAULT_DATES,		/* expired, or not valid yet; without leaf, detail says which, or NULL */
	FAULT_ISSUER,
	FAULT_NAME,
	FAULT_PIN,
	FAULT_WEAK,		/* its key or signature */
	FAULT_USAGE,		/* it is none of a server */
	FAULT_LIMITS,		/* a critical extension that the library does not know */
	FAULT_NEWER, FAULT_OLDER,	/* it wants a TLS that we have not */
	FAULT_CIPHER,		/* nothing in common */
	FAULT_NOT_TLS,
	FAULT_OTHER		/* detail says what */
};
enum tls_result tls_explain(enum tls_fault, const struct x509 *leaf, const char *host,
    const char *detail, char why[TLS_WHY_MAX]);

/* Once the library has verified the chain, as far as there is one: the name and the pins. TLS_OK, or as tls_explain. */
enum tls_result tls_judge(const struct tls_trust *, const struct x509 *leaf, const char *host,
    char why[TLS_WHY_MAX]);

/* All of a file of certificates or keys, the caller's to wipe and free. 0, or -1 and why. */
int tls_slurp(const char *path, char **text, size_t *len, char why[TLS_WHY_MAX]);

/* Is it a name that may stand in SNI (RFC 6066, 3)? No address does. */
int tls_sni_ok(const char *host);

/* The system's CA certificates, or NULL: none is where it usually is. */
const char *tls_system_ca(void);

#endif
