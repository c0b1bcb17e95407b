/*
 * fetch.h: a small resource from an https URL: one GET on a connection of its own.
 */
#ifndef FETCH_H
#define FETCH_H

#include <stddef.h>
#include <stdint.h>

#include "net.h"

struct tls_client;

enum { FETCH_URL_MAX = 512, FETCH_WHY_MAX = 300 };

struct fetch {			/* where it is */
	int tls;
	char host[NET_HOST_MAX], port[6];
	char authority[FETCH_URL_MAX], target[FETCH_URL_MAX];	/* for Host, and the request-target */
};

/*
 * "https://HOST[:PORT][/PATH]"; http:// only for localhost, 127.0.0.1 and [::1], which nobody can listen to on
 * the way. 0, or -1 and *why, a constant string.
 */
int fetch_parse(struct fetch *, const char *url, const char **why);

/*
 * Get it, by deadline (clock_ms CLOCK_STEADY; looking up the name may take longer). The content of a 200 is *p,
 * *len bytes, the caller's to free; or -1 and one line in why. Content over max bytes is an error, so is any other
 * status: redirects are not followed. client: whom to trust; NULL for http.
 */
int fetch_get(const struct fetch *, struct tls_client *client, size_t max, int64_t deadline,
    char **p, size_t *len, char why[FETCH_WHY_MAX]);

#endif
