/*
 * tlsconn.h: TLS on a connection: RFC 5246, and RFC 8446 where the library has it. tlsconn.c is
 * the connection; what the library does stands in tls_bearssl.c, tls_libtls.c or
 * tls_none.c, of which config.mk chooses one.
 */
#ifndef TLSCONN_H
#define TLSCONN_H

#include <stddef.h>
#include <stdint.h>

#include "conn.h"

enum {
	TLS_PAIRS_MAX = 32,	/* certificates of a server */
	TLS_PINS_MAX = 8,
	TLS_PIN_LEN = 32,	/* SHA-256 of a SubjectPublicKeyInfo */
	TLS_WHY_MAX = 200
};

/* What a server has: certificates and their keys. Does not change; counted. */
struct tls_server;

struct tls_files {		/* PEM: the certificate with its chain, and its key; copied by nobody */
	const char *cert, *key;
};

/*
 * Read n pairs of files; the first is for callers that name no host, or one that no
 * certificate names. NULL, and one line in why that names the file.
 */
struct tls_server *tls_server_new(const struct tls_files *, int n, char why[TLS_WHY_MAX]);
void tls_server_ref(struct tls_server *);
void tls_server_unref(struct tls_server *);

/* What a client believes, and the session it may resume: for one server. Any thread may use it. */
struct tls_client;

struct tls_trust {
	const char *ca;		/* PEM file; NULL: the system's, unless there are pins */
	uint8_t pin[TLS_PINS_MAX][TLS_PIN_LEN];	/* the server's key must be one of these */
	int npins;
	int insecure;		/* verify nothing */
	int many;		/* it is for many servers, and resumes no session */
};

/* "sha256:BASE64". 0, or -1. */
int tls_pin_parse(uint8_t pin[TLS_PIN_LEN], const char *text);

struct tls_client *tls_client_new(const struct tls_trust *, char why[TLS_WHY_MAX]);
void tls_client_free(struct tls_client *);

enum tls_result {
	TLS_OK,
	TLS_NETWORK,		/* the connection ended, or time is over: try again */
	TLS_REFUSED,		/* the handshake failed: perhaps it is not TLS */
	TLS_UNFIT,		/* it says that there is no version or cipher in common; anybody on the way can say so */
	TLS_UNTRUSTED,		/* certificate or pin */
	TLS_PLAIN_HTTP,		/* (accept) it is no TLS but a plain HTTP request, whose first bytes are lost; nothing was sent */
	TLS_MEMORY
};

/*
 * Shake hands on a plain connection, by deadline (clock_ms CLOCK_STEADY) or, connecting, until wakefd
 * (-1: none) is readable. With TLS_OK the connection is a TLS one; else it stays as it is, plain and of no
 * other use than to be closed, and why is one line.
 *
 * On a TLS connection a conn_read of 0 is a close_notify, and an end without one is ECONNABORTED: what
 * came may not be all. conn_shutdown with SHUT_WR sends close_notify.
 */
enum tls_result tlsconn_accept(struct conn *, struct tls_server *, int64_t deadline, char why[TLS_WHY_MAX]);
enum tls_result tlsconn_connect(struct conn *, struct tls_client *, const char *host,
    int64_t deadline, int wakefd, char why[TLS_WHY_MAX]);

#endif
