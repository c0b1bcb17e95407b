/* control.c: the control socket; see control.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "control.h"
#include "json.h"
#include "net.h"
#include "relay.h"
#include "takeover.h"

enum { TALK_MS = 5000, CMD_MAX = 64, LINE_MAX_ = 2048 };

int
control_path(char out[CONTROL_PATH_MAX], const char *state)
{
	int n = snprintf(out, CONTROL_PATH_MAX, "%s/control", state);

	return n < 0 || n >= CONTROL_PATH_MAX ? -1 : 0;
}

static void
put_time(struct buf *b, int64_t ms)
{
	time_t when = (time_t)(ms / 1000);
	struct tm tm;
	char text[32];

	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_str(b, text);
}

static void
put_number(struct buf *b, const char *name, unsigned long long value)
{
	json_put_name(b, name);
	buf_u64(b, value);
}

/* "4be1c0de" of a token; of a JWT all of it, which says that it is one. */
static const char *
token_id(const char *who)
{
	return strncmp(who, "token:", 6) == 0 ? who + 6 : who;
}

static void
put_json(struct buf *b, const struct tunnel_status *t)
{
	char text[32];
	struct buf when;

	buf_init(&when, text, sizeof(text) - 1);
	put_time(&when, t->since);
	text[when.len] = '\0';
	buf_str(b, "{");
	json_put_member(b, "name", t->name);
	json_put_member(b, "token", token_id(t->who));
	json_put_member(b, "peer", t->peer);
	if (t->dialect[0] != '\0')
		json_put_member(b, "dialect", t->dialect);
	json_put_member(b, "since", text);
	json_put_name(b, "lost");
	buf_str(b, t->lost ? "true" : "false");
	json_put_name(b, "path");
	buf_str(b, t->path ? "true" : "false");
	if (t->url[0] != '\0')
		json_put_member(b, "url", t->url);
	if (t->path_url[0] != '\0')
		json_put_member(b, "path_url", t->path_url);
	json_put_name(b, "guarded");
	buf_str(b, t->guarded ? "true" : "false");
	put_number(b, "running", (unsigned)t->running);
	put_number(b, "requests", t->requests);
	put_number(b, "in", t->in);
	put_number(b, "out", t->out);
	buf_str(b, "}");
}

static void
put_plain(struct buf *b, const struct tunnel_status *t)
{
	buf_str(b, "name=");
	buf_str(b, t->name);
	buf_str(b, " token=");
	buf_str(b, token_id(t->who));
	buf_str(b, " peer=");
	buf_str(b, t->lost ? "lost" : t->peer);
	buf_str(b, " since=");
	put_time(b, t->since);
	buf_str(b, " running=");
	buf_u64(b, (unsigned)t->running);
	buf_str(b, " requests=");
	buf_u64(b, t->requests);
	buf_str(b, " in=");
	buf_u64(b, t->in);
	buf_str(b, " out=");
	buf_u64(b, t->out);
	if (t->url[0] != '\0') {
		buf_str(b, " url=");
		buf_str(b, t->url);
	}
	if (t->path_url[0] != '\0') {
		buf_str(b, " path_url=");
		buf_str(b, t->path_url);
	}
	buf_str(b, "\n");
}

/* How many run of what is no tunnel, where it is offered. */
static void
put_relays(struct buf *b, int n, int json, int behind)
{
	buf_str(b, json && behind ? ",\n " : "");
	buf_str(b, json ? "{\"relays\":" : "relays=");
	buf_u64(b, (unsigned)n);
	buf_str(b, json ? "}" : "\n");
}

static void
status(struct daemon *d, struct conn *c, int json, int64_t deadline)
{
	struct tunnel_status *t = NULL;
	char line[LINE_MAX_];
	size_t n, have = 0, i;
	struct buf b;

	/* a name may come while we look: take what there was room for */
	if ((n = registry_status(d->registry, NULL, 0)) > 0 &&
	    (t = calloc(n, sizeof(*t))) != NULL) {
		have = registry_status(d->registry, t, n);
		if (have > n)
			have = n;
	}
	if (json)
		conn_write_all(c, "[", 1, deadline);
	for (i = 0; i < have; i++) {
		buf_init(&b, line, sizeof(line));
		if (json && i > 0)
			buf_str(&b, ",\n ");
		if (json)
			put_json(&b, &t[i]);
		else
			put_plain(&b, &t[i]);
		if (conn_write_all(c, line, b.len, deadline) == -1)
			break;
	}
	buf_init(&b, line, sizeof(line));
	if (d->relays != NULL)
		put_relays(&b, relays_running(d->relays), json, have > 0);
	if (json)
		buf_str(&b, "]\n");
	conn_write_all(c, line, b.len, deadline);
	free(t);
}

void
control_serve(struct daemon *d, int fd)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + TALK_MS;
	char cmd[CMD_MAX];
	size_t len = 0;
	struct conn c;
	ssize_t n;

	conn_plain(&c, fd);
	while (len < sizeof(cmd) - 1 && (len == 0 || cmd[len - 1] != '\n')) {
		n = conn_read(&c, cmd + len, sizeof(cmd) - 1 - len);
		if (n > 0)
			len += (size_t)n;
		else if (n == 0 || errno != EAGAIN || conn_wait(&c, POLLIN, deadline, -1, NULL) == 0)
			break;
	}
	cmd[len] = '\0';
	if (strcmp(cmd, "status\n") == 0)
		status(d, &c, 0, deadline);
	else if (strcmp(cmd, "status json\n") == 0)
		status(d, &c, 1, deadline);
	else if (strcmp(cmd, "listening\n") == 0) {
		conn_write_all(&c, d->addr_tls ? "https://" : "http://", d->addr_tls ? 8 : 7, deadline);
		conn_write_all(&c, d->addr, strlen(d->addr), deadline);
		conn_write_all(&c, "\n", 1, deadline);
	} else if (strcmp(cmd, "stop\n") == 0)
		d->stop();
	else if (strcmp(cmd, "takeover\n") == 0)
		takeover_give(d, &c);
	else
		conn_write_all(&c, "unknown command\n", 16, deadline);
	conn_close(&c);
}

int
control_ask(const char *state, const char *cmd, int out)
{
	int64_t deadline = clock_ms(CLOCK_STEADY) + 2 * TALK_MS;
	char path[CONTROL_PATH_MAX], buf[4096];
	enum net_fail fail;
	struct conn c;
	ssize_t n;
	int fd, rc = 0;

	if (control_path(path, state) == -1) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if ((fd = net_dial_unix(path, &fail)) == -1)
		return -1;
	conn_plain(&c, fd);
	if (conn_write_all(&c, cmd, strlen(cmd), deadline) == -1)
		rc = -1;
	while (rc == 0) {
		n = conn_read(&c, buf, sizeof(buf));
		if (n == 0)
			break;
		if (n > 0)
			rc = write(out, buf, (size_t)n) == n ? 0 : -1;
		else if (errno != EAGAIN || conn_wait(&c, POLLIN, deadline, -1, NULL) == 0)
			rc = -1;
	}
	conn_close(&c);
	return rc;
}
