/* fetch.c: a small resource from an https URL; see fetch.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fetch.h"
#include "http.h"
#include "tlsconn.h"

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

int
fetch_parse(struct fetch *f, const char *url, const char **why)
{
	char place[FETCH_URL_MAX + 4];
	const char *rest;
	size_t n;

	memset(f, 0, sizeof(*f));
	f->tls = strncmp(url, "https://", 8) == 0;
	if (!f->tls && strncmp(url, "http://", 7) != 0)
		return bad(why, "is not an https:// URL");
	if (strlen(url) >= FETCH_URL_MAX)
		return bad(why, "is too long");
	for (rest = url; *rest > ' ' && *rest < 0x7f && *rest != '#'; rest++)
		;
	if (*rest != '\0')
		return bad(why, "has a blank, a '#' or a byte that no URL has");
	rest = url + (f->tls ? 8 : 7);
	n = strcspn(rest, "/?");
	memcpy(f->authority, rest, n);
	snprintf(f->target, sizeof(f->target), "%s%s", rest[n] == '/' ? "" : "/", rest + n);
	n = strcspn(f->authority, "]");
	snprintf(place, sizeof(place), "%s%s", f->authority,
	    strchr(f->authority[n] != '\0' ? f->authority + n : f->authority, ':') != NULL ? "" : f->tls ? ":443" : ":80");
	if (strchr(f->authority, '@') != NULL || net_split(place, f->host, f->port) == -1 || f->host[0] == '\0')
		return bad(why, "is not https://HOST[:PORT][/PATH]");
	if (!f->tls && strcmp(f->host, "localhost") != 0 && strcmp(f->host, "127.0.0.1") != 0 && strcmp(f->host, "::1") != 0)
		return bad(why, "must be https://, but for this machine itself");
	return 0;
}

struct talk {			/* too large for a thread's stack */
	struct conn conn;
	struct http_head head;
	struct http_body body;
	struct http_out out;
	int64_t deadline;
	size_t len, at;		/* in buf[at..len) is what nobody has looked at */
	char *content;
	size_t ncontent;
	char buf[HTTP_HEAD_MAX];
};

/* More bytes behind those that are there: 1; 0, the end; -1 and *why. */
static int
more(struct talk *t, const char **why)
{
	ssize_t n;

	if (t->at == t->len)
		t->at = t->len = 0;
	for (;;) {
		if (t->len == sizeof(t->buf))
			return bad(why, "the head of its answer is too long");
		n = conn_read(&t->conn, t->buf + t->len, sizeof(t->buf) - t->len);
		if (n >= 0) {
			t->len += (size_t)n;
			return n > 0;
		}
		if (errno != EAGAIN)
			return bad(why, "the connection broke");
		if (conn_wait(&t->conn, POLLIN, t->deadline, -1, NULL) == 0)
			return bad(why, "no whole answer in time");
	}
}

static int
read_head(struct talk *t, const char **why)
{
	int rc;

	for (t->head.scanned = 0;;) {
		rc = http_res_parse(&t->head, t->buf + t->at, t->len - t->at, 0, why);
		if (rc < 0)
			return -1;
		if (rc > 0) {
			t->at += (size_t)rc;
			t->head.scanned = 0;
			if (t->head.status >= 200)
				return 0;
			continue;
		}
		if ((rc = more(t, why)) != 1)
			return rc == 0 ? bad(why, "it closed the connection") : -1;
	}
}

static int
keep(struct talk *t, size_t max, const char **why)
{
	size_t n = iov_len(t->out.iov, t->out.n);
	char *grown;
	int i;

	if (n > max - t->ncontent)
		return bad(why, "its answer is too long");
	if (n == 0)
		return 0;
	if ((grown = realloc(t->content, t->ncontent + n)) == NULL)
		return bad(why, "no memory");
	t->content = grown;
	for (i = 0; i < t->out.n; i++) {
		memcpy(t->content + t->ncontent, t->out.iov[i].iov_base, t->out.iov[i].iov_len);
		t->ncontent += t->out.iov[i].iov_len;
	}
	return 0;
}

static int
read_content(struct talk *t, size_t max, const char **why)
{
	long n;
	int rc;

	http_body_init(&t->body, &t->head, NULL, 1);
	while (!t->body.done) {
		if (t->at < t->len) {
			n = http_body_take(&t->body, t->buf + t->at, t->len - t->at, &t->out, why);
			if (n < 0 || keep(t, max, why) == -1)
				return -1;
			t->at += (size_t)n;
		} else if ((rc = more(t, why)) == -1)
			return -1;
		else if (rc == 0 && http_body_eof(&t->body) == -1)
			return bad(why, "its answer was cut");
	}
	return 0;
}

/* Ask and read, on an open connection. */
static int
talk(struct talk *t, const struct fetch *f, size_t max, char why[FETCH_WHY_MAX])
{
	const char *wrong = "it takes no request";
	int n;

	n = snprintf(t->buf, sizeof(t->buf), "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n"
	    "User-Agent: tunneld/" VERSION "\r\nConnection: close\r\n\r\n", f->target, f->authority);
	if (conn_write_all(&t->conn, t->buf, (size_t)n, t->deadline) == -1 || read_head(t, &wrong) == -1) {
		snprintf(why, FETCH_WHY_MAX, "%.100s: %.80s", f->authority, wrong);
		return -1;
	}
	if (t->head.status != 200) {
		snprintf(why, FETCH_WHY_MAX, "%.100s answered %d %s%s", f->authority, t->head.status, http_reason(t->head.status),
		    t->head.status / 100 == 3 ? ": give the place that it redirects to" : "");
		return -1;
	}
	if (read_content(t, max, &wrong) == -1) {
		snprintf(why, FETCH_WHY_MAX, "%.100s: %.80s", f->authority, wrong);
		return -1;
	}
	return 0;
}

int
fetch_get(const struct fetch *f, struct tls_client *client, size_t max, int64_t deadline,
    char **p, size_t *len, char why[FETCH_WHY_MAX])
{
	struct talk *t = calloc(1, sizeof(*t));
	char tls_why[TLS_WHY_MAX];
	enum net_fail fail;
	int fd, rc = -1;

	if (t == NULL) {
		snprintf(why, FETCH_WHY_MAX, "no memory");
		return -1;
	}
	t->deadline = deadline;
	if ((fd = net_dial(f->host, f->port, deadline, -1, &fail)) == -1) {
		snprintf(why, FETCH_WHY_MAX, "cannot connect to %.100s: %s", f->authority,
		    fail == NET_RESOLVE ? "its name is not known" : strerror(errno));
		free(t);
		return -1;
	}
	conn_plain(&t->conn, fd);
	if (f->tls && tlsconn_connect(&t->conn, client, f->host, deadline, -1, tls_why) != TLS_OK)
		snprintf(why, FETCH_WHY_MAX, "%s", tls_why);
	else
		rc = talk(t, f, max, why);
	conn_close(&t->conn);
	if (rc == 0) {
		*p = t->content;
		*len = t->ncontent;
	} else
		free(t->content);
	free(t);
	return rc;
}
