/*
 * tls_bearssl.h: what tls_bearssl.c (the engine) and tls_bearkeys.c (certificates and keys) share.
 */
#ifndef TLS_BEARSSL_H
#define TLS_BEARSSL_H

#include <bearssl.h>
#include <pthread.h>

#include "tlsint.h"

enum {
	TLS_CHAIN_MAX = 8,
	TLS_CACHE_SIZE = 64 * 1024	/* sessions that may be resumed: some 600 */
};

struct pair {
	br_x509_certificate chain[TLS_CHAIN_MAX];
	size_t nchain;
	struct x509 leaf;	/* points into the first */
	br_skey_decoder_context key;
};

struct tls_server {
	pthread_mutex_t mtx;	/* guards refs and the cache */
	int refs, npairs;
	struct pair *pair[TLS_PAIRS_MAX];
	br_ssl_session_cache_lru lru;
	unsigned char store[TLS_CACHE_SIZE];
};

struct tls_client {
	struct tls_trust trust;	/* of its ca, only whether there is one */
	br_x509_trust_anchor *anchor;
	size_t nanchors;
	pthread_mutex_t mtx;	/* guards what follows */
	int resumable;
	int64_t until;		/* clock_ms, steady */
	br_ssl_session_parameters session;
};

#endif
