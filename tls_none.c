/* tls_none.c: no TLS at all; see tlsint.h. Nothing here is reached but the two that say so. */
#include <errno.h>
#include <stdio.h>

#include "tlsint.h"

static void
say(char why[TLS_WHY_MAX])
{
	snprintf(why, TLS_WHY_MAX, "this build has no TLS: build with TLS = bearssl or TLS = libtls in config.mk");
}

struct tls_server *
tls_server_new(const struct tls_files *f, int n, char why[TLS_WHY_MAX])
{
	(void)f;
	(void)n;
	say(why);
	return NULL;
}

struct tls_client *
tls_client_new(const struct tls_trust *trust, char why[TLS_WHY_MAX])
{
	(void)trust;
	say(why);
	return NULL;
}

void
tls_server_ref(struct tls_server *s)
{
	(void)s;
}

void
tls_server_unref(struct tls_server *s)
{
	(void)s;
}

void
tls_client_free(struct tls_client *c)
{
	(void)c;
}

struct tls_engine *
tls_engine_accept(struct tls_server *s)
{
	(void)s;
	return NULL;
}

struct tls_engine *
tls_engine_connect(struct tls_client *c, const char *host)
{
	(void)c;
	(void)host;
	return NULL;
}

void
tls_engine_free(struct tls_engine *e)
{
	(void)e;
}

enum tls_result
tls_engine_handshake(struct tls_engine *e, struct tls_io *io, char why[TLS_WHY_MAX])
{
	(void)e;
	(void)io;
	say(why);
	return TLS_REFUSED;
}

ssize_t
tls_engine_read(struct tls_engine *e, struct tls_io *io, void *buf, size_t len)
{
	(void)e;
	(void)io;
	(void)buf;
	(void)len;
	errno = EPROTO;
	return -1;
}

ssize_t
tls_engine_writev(struct tls_engine *e, struct tls_io *io, const struct iovec *iov, int n, size_t skip)
{
	(void)e;
	(void)io;
	(void)iov;
	(void)n;
	(void)skip;
	errno = EPIPE;
	return -1;
}

void
tls_engine_trim(struct tls_engine *e)
{
	(void)e;
}

int
tls_engine_pending(const struct tls_engine *e)
{
	(void)e;
	return 0;
}

void
tls_engine_close(struct tls_engine *e, struct tls_io *io)
{
	(void)e;
	(void)io;
}
