/* relayto.c: where a relay leads to; see relayint.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "clock.h"
#include "handshake.h"
#include "log.h"
#include "query.h"
#include "random.h"
#include "relayint.h"
#include "sha256.h"
#include "tlsconn.h"

enum { PARAM_MAX = 3 * RELAY_SECRET_MAX + 1 };

static const char refused[] = "target address not allowed", blocked[] = "cf_domain resolves to a blocked address";

static int
answer(struct caller *c, int status, const char *text)
{
	webgate_answer(c, status, text);
	return -1;
}

static int
deny(struct caller *c, const struct relay_to *to, const char *why)
{
	log_line(LOG_INFO, "relay_denied", "target", to->at.shown, "reason", why, "peer", c->peer, "id", c->request_id, (char *)NULL);
	return answer(c, 403, to->access ? blocked : refused);
}

/* A port as text: its number, or 0. */
static unsigned
port_of(const char *text)
{
	size_t n = strlen(text), i;
	unsigned port = 0;

	for (i = 0; i < n && n < 6; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	return port < 65536 ? port : 0;
}

/* host and port. */
static int
take_target(struct caller *c, struct relay_to *to, const char *text)
{
	const struct target_rules rules = { c->d->conf.relay, c->d->conf.nrelay };
	char port[16] = "";
	unsigned number;
	const char *why;
	struct str host;
	long n = query_get(c->head.target, "port", QUERY_FIRST, port, sizeof(port));

	if (text[0] == '\0' || n == 0 || n == -1)
		return answer(c, 400, "host and port query params required");
	if (n < 0 || (number = port_of(port)) == 0)
		return answer(c, 400, "invalid port (must be 1-65535)");
	host.p = text;
	host.len = strlen(text);
	return target_take(&to->at, host, number, &rules, &why) == -1 ? deny(c, to, why) : 0;
}

static int
has_controls(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return 1;
	return 0;
}

/* What cf_domain says; cf_id and cf_secret are in to already. */
static int
take_access(struct caller *c, struct relay_to *to, const char *domain)
{
	const struct target_rules rules = { c->d->conf.relay, c->d->conf.nrelay };
	const char *why;
	struct str s;
	struct addr a;
	int rc;

	s.p = domain;
	s.len = strlen(domain);
	to->access = 1;
	if ((rc = netrule_host(s, &a, to->at.name)) != 0)
		return answer(c, 400, rc == 1 ? "cf_domain must be a hostname, not an IP" : "invalid cf_domain");
	if (has_controls(to->id) || has_controls(to->secret))
		return answer(c, 400, "cf_id or cf_secret contains invalid characters");
	return target_take(&to->at, s, 443, &rules, &why) == -1 ? deny(c, to, why) : 0;
}

/* A secret of at most RELAY_SECRET_MAX bytes: its length, 0: none, -1: too long. */
static long
take_secret(struct caller *c, const char *name, char out[RELAY_SECRET_MAX + 1])
{
	char text[PARAM_MAX];
	long n = query_get(c->head.target, name, QUERY_FIRST, text, sizeof(text));

	if (n == -2 || n > RELAY_SECRET_MAX)
		n = -1;
	else if (n == -1)
		n = 0;
	if (n > 0)
		memcpy(out, text, (size_t)n + 1);
	wipe(text, sizeof(text));
	return n;
}

int
relayto_take(struct caller *c, struct relay_to *to)
{
	char text[PARAM_MAX];
	long id, secret, n;

	memset(to, 0, sizeof(*to));
	id = take_secret(c, "cf_id", to->id);
	secret = take_secret(c, "cf_secret", to->secret);
	if (id != 0 && secret != 0 && query_get(c->head.target, "cf_domain", QUERY_FIRST, text, sizeof(text)) > 0) {
		if (id == -1 || secret == -1)
			return answer(c, 400, "cf_id or cf_secret too long");
		return take_access(c, to, text);
	}
	if ((n = query_get(c->head.target, "host", QUERY_FIRST, text, sizeof(text))) < 0)
		memcpy(text, n == -1 ? "" : "?", n == -1 ? 1 : 2);	/* none; or no name is so long, or has a NUL */
	return take_target(c, to, text);
}

int
relayto_find(struct caller *c, struct relay_to *to)
{
	const struct target_rules rules = { c->d->conf.relay, c->d->conf.nrelay };
	const char *why;

	return target_find(&to->at, &rules, &why) == -1 ? deny(c, to, why) : 0;
}

/* Cloudflare's variant: TLS and the opening handshake. NULL, or why not. */

static const char *
read_answer(struct wspipe *w, struct http_head *h, const char *key, int64_t deadline, int wakefd, size_t *taken)
{
	const char *why = "";
	char *in = (char *)w->in;
	ssize_t n;
	size_t len = 0;
	int rc, woken;

	for (h->scanned = 0; (rc = http_res_parse(h, in, len, 0, &why)) == 0;) {
		if (len == sizeof(w->in))
			return "the head of its answer is too long";
		n = conn_read(w->conn, in + len, sizeof(w->in) - len);
		if (n > 0)
			len += (size_t)n;
		else if (n == 0 || errno != EAGAIN)
			return "it closed the connection";
		else if (conn_wait(w->conn, POLLIN, deadline, wakefd, &woken) == 0 || woken)
			return "no answer in time";
	}
	if (rc < 0)
		return why;
	if (ws_client_check(h, key, NULL, &why) == -1)	/* a redirection is none either */
		return why;
	*taken = (size_t)rc;
	w->nin = len;
	return NULL;
}

static const char *
shake(struct wspipe *w, const struct relay_to *to, int64_t deadline, int wakefd)
{
	char fields[2 * RELAY_SECRET_MAX + 128], key[WS_KEY_LEN + 1], text[2 * RELAY_SECRET_MAX + NETRULE_HOST_MAX + 512];
	struct http_head *h = calloc(1, sizeof(*h));
	const char *why = "no memory or no random bytes";
	uint8_t nonce[16];
	size_t taken = 0;
	struct buf b;

	if (h == NULL || random_bytes(nonce, sizeof(nonce)) == -1) {
		free(h);
		return why;
	}
	snprintf(fields, sizeof(fields), "CF-Access-Client-Id: %s\r\nCF-Access-Client-Secret: %s\r\nUser-Agent: tunneld/%s\r\n",
	    to->id, to->secret, VERSION);
	buf_init(&b, text, sizeof(text));
	ws_client_request(&b, to->at.name, "/", NULL, fields, nonce, key);
	if (conn_write_all(w->conn, text, b.len, deadline) == -1)
		why = "it takes no request";
	else
		why = read_answer(w, h, key, deadline, wakefd, &taken);
	wipe(fields, sizeof(fields));
	wipe(text, sizeof(text));
	if (why == NULL) {
		memmove(w->in, w->in + taken, w->nin - taken);
		w->nin -= taken;
	}
	free(h);
	return why;
}

static const char *
open_access(struct caller *c, const struct relay_to *to, struct conn *conn, struct wspipe **up, int64_t deadline)
{
	char tls[TLS_WHY_MAX];
	const char *why;

	if (c->d->relay_tls == NULL)
		return "no CA certificates were found at the start";
	if (tlsconn_connect(conn, c->d->relay_tls, to->at.name, deadline, c->wake.rd, tls) != TLS_OK) {
		log_line(LOG_INFO, "relay_untrusted", "target", to->at.shown, "reason", tls, "id", c->request_id, (char *)NULL);
		return "no trusted TLS connection";
	}
	if ((*up = calloc(1, sizeof(**up))) == NULL)
		return "no memory";
	wspipe_init(*up, conn, 1, "", 0);
	(*up)->ping_ms = c->d->conf.ping_ms;
	if ((why = shake(*up, to, deadline, c->wake.rd)) != NULL) {
		free(*up);
		*up = NULL;
	}
	return why;
}

int
relayto_dial(struct caller *c, const struct relay_to *to, struct conn *conn, struct wspipe **up, char addr[NET_ADDR_MAX], const char **why)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + TARGET_DIAL_MS;
	enum net_fail fail;
	int fd = target_dial(&to->at, deadline, c->wake.rd, addr, &fail, why);

	if (fd == -1)
		return -1;
	conn_plain(conn, fd);
	if (!to->access)
		return 0;
	if ((*why = open_access(c, to, conn, up, deadline)) == NULL)
		return 0;
	conn_close(conn);
	return -1;
}
