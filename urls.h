/*
 * urls.h: where callers come to, as clients are told: scheme and authority are those of the client's endpoint, or of --url, which
 * all URLs have; host names end in --domain. Pure.
 */
#ifndef URLS_H
#define URLS_H

#include "buf.h"
#include "daemon.h"

struct url_base {
	const char *scheme;
	struct str host, port;	/* port with its colon, or empty */
};

/* endpoint: what the client says it has dialled, "wss://tunnel.example.com"; it may be nonsense. *base points into both. */
void url_base(struct url_base *, const struct daemon_conf *, const char *endpoint);

/* "https://preview.tunnel.example.com:8443", and "https://tunnel.example.com:8443/preview/". NUL-terminated. */
void url_put_name(struct buf *, const struct daemon_conf *, const char *endpoint, const char *name);
void url_put_path(struct buf *, const struct daemon_conf *, const char *endpoint, const char *name);

/*
 * Is this host[:port] surely ours: an address, localhost or below it, --domain, or without one the host of --url? Anybody can have another name
 * that leads here.
 */
int url_is_ours(const struct daemon_conf *, struct str authority);

#endif
