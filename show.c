/* show.c: what happens, as lines; see cli.h. */
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

enum { LINE_SIZE = 1024 };

static struct {
	const struct conf *conf;
	int colour;
	pthread_mutex_t mtx;	/* guards what follows */
	int lost;		/* so many tunnels' ends have been told */
	char probed[TUNNEL_MAX];	/* it has been looked whether something listens at its target */
} show = { NULL, 0, PTHREAD_MUTEX_INITIALIZER, 0, { 0 } };

void
show_init(const struct conf *c)
{
	show.conf = c;
	show.colour = isatty(2);
}

int
show_said_lost(void)
{
	int all;

	pthread_mutex_lock(&show.mtx);
	all = show.lost == show.conf->tunnels.n;
	pthread_mutex_unlock(&show.mtx);
	return all;
}

void
escape(char *out, size_t cap, const char *s)
{
	size_t n = 0;

	for (; *s != '\0' && n + 5 < cap; s++)
		if (*s >= ' ' && *s < 0x7f && *s != '\\')
			out[n++] = *s;
		else
			n += (size_t)snprintf(out + n, cap - n, "\\x%02x", (unsigned char)*s);
	out[n] = '\0';
}

static void
put_line(int fd, const char *line, int n)
{
	ssize_t done;

	if (n <= 0)
		return;
	done = write(fd, line, (size_t)n < LINE_SIZE ? (size_t)n : LINE_SIZE - 1);	/* one write a line */
	(void)done;
}

void
show_line(const char *fmt, ...)
{
	char text[LINE_SIZE - 16], line[LINE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line(2, line, snprintf(line, sizeof(line), "tunnel: %s\n", text));
}

void
show_target(char *out, size_t cap, const char *target)
{
	char host[256], port[8], why[CLI_WHY_MAX];

	if (tunnel_target(target, host, sizeof(host), port, sizeof(port), why, sizeof(why)) != 1)
		opt_copy(out, cap, target);
	else
		snprintf(out, cap, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

/* On a thread of its own: to connect may take a while. */
static void *
probe(void *arg)
{
	char text[TARGET_SIZE];

	if (tunnel_probe(arg))
		return NULL;
	show_target(text, sizeof(text), arg);
	show_line("nothing listens at %s yet; callers %s until something does; --wait waits for it", text,
	    show.conf->tunnels.tcp ? "are cut off" : "get 502");
	return NULL;
}

/* Once for each tunnel, when callers can come: does anything listen at its target? */
static void
look_at(int i)
{
	pthread_attr_t attr;
	pthread_t thread;
	int seen;

	pthread_mutex_lock(&show.mtx);
	seen = show.probed[i];
	show.probed[i] = 1;
	pthread_mutex_unlock(&show.mtx);
	if (seen || show.conf->wait || show.conf->run[0] != '\0')
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE * 2);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, probe, (char *)(uintptr_t)show.conf->tunnels.t[i].target) != 0)
		show_line("no thread can be had");
	pthread_attr_destroy(&attr);
}

static void
on_ready(void *arg, int i, const char *url, const char *path_url, const char *target, int again)
{
	char line[LINE_SIZE], text[700];

	(void)arg;
	escape(text, sizeof(text), url);
	if (again) {
		show_line("%s is back", text);
		return;
	}
	put_line(1, line, snprintf(line, sizeof(line), "%s -> %s\n", text, target));
	if (path_url[0] != '\0') {
		escape(text, sizeof(text), path_url);
		put_line(1, line, snprintf(line, sizeof(line), "%s -> %s\n", text, target));
	}
	look_at(i);
}

static void
on_lost(void *arg, int i, const char *code, const char *message)
{
	static const struct {
		const char *code, *verb, *text;
		int says;	/* the daemon's message tells more */
	} table[] = {
		{ "name_in_use", "refused", "the name is in use", 1 },
		{ "forbidden", "refused", "the daemon does not let this token have it", 1 },
		{ "bad_name", "refused", "the daemon does not take the name", 1 },
		{ "taken_over", "lost", "another process with this token took the name over", 0 },
		{ "revoked", "lost", "the token was revoked", 0 },
		{ "bad_guard", "refused", "the daemon does not take --auth-file or --allow", 1 },
		{ "unguarded", "refused", "the daemon is too old for --auth-file, TUNNEL_AUTH and --allow, and would let anybody in", 0 },
		{ "port_in_use", "refused", "the port is in use", 1 },
		{ "refused", "refused", "the server does not take it", 1 },
		{ "bad_port", "refused", "the daemon does not take the port", 1 },
		{ "expired", "lost", "the token has expired", 0 },
	};
	const struct tunnels *ts = &show.conf->tunnels;
	const char *name = ts->t[i].name[0] != '\0' ? ts->t[i].name : "the tunnel";
	char text[400], extra[400] = "", port[NAME_SIZE + 8];
	size_t k = 0;

	(void)arg;
	escape(text, sizeof(text), message);
	if (ts->tcp && strspn(name, "0123456789") == strlen(name)) {
		snprintf(port, sizeof(port), "port %s", name);
		name = strcmp(name, "0") == 0 ? "a port" : port;
	}
	while (k < sizeof(table) / sizeof(table[0]) - 1 && strcmp(table[k].code, code) != 0)
		k++;
	if (strcmp(code, "name_in_use") == 0 || strstr(message, "the daemon's own") != NULL)	/* no token may have that */
		snprintf(extra, sizeof(extra), "; take another%s", ts->n == 1 ? " with --name" : "");
	else if (strcmp(code, "forbidden") == 0 && ts->tcp)
		;		/* what the daemon says tells enough */
	else if (strcmp(code, "forbidden") == 0 && ts->t[i].name[0] != '\0')
		snprintf(extra, sizeof(extra), "; tunneld token issue --scope %s makes one that may", name);
	else if (strcmp(code, "forbidden") == 0)
		snprintf(extra, sizeof(extra), "; --name chooses one that it may");
	show_line("%s is %s: %s%s%s%s", name, table[k].verb, table[k].text, table[k].says && text[0] != '\0' ? ": " : "",
	    table[k].says ? text : "", extra);
	pthread_mutex_lock(&show.mtx);
	show.lost++;
	pthread_mutex_unlock(&show.mtx);
}

static void
on_connection(void *arg, const char *what, int64_t retry_ms)
{
	char text[700];

	(void)arg;
	escape(text, sizeof(text), what);	/* the daemon may have had a word in it */
	if (retry_ms > 0)
		show_line("%s; trying again in %lld.%lld s", text,
		    (long long)retry_ms / 1000, (long long)retry_ms % 1000 / 100);
	else if (retry_ms < 0)
		show_line("%s", text);
	else if (strcmp(what, "connected") != 0)
		show_line("%s; trying again", text);
}

static const char *
colour_of(int status)
{
	if (!show.colour)
		return "";
	return status >= 500 || status == 0 ? "\033[31m" : status >= 400 ? "\033[33m" : "\033[32m";
}

static void
on_request(void *arg, const struct tunnel_request *r)
{
	const struct tunnels *ts = &show.conf->tunnels;
	char line[LINE_SIZE], method[64], target[600];
	time_t now = time(NULL);
	struct tm tm;

	(void)arg;
	localtime_r(&now, &tm);
	escape(method, sizeof(method), r->method);
	escape(target, sizeof(target), r->target[0] != '\0' ? r->target : "-");	/* a caller that nobody has told of */
	if (ts->tcp) {
		put_line(2, line, snprintf(line, sizeof(line), "%02d:%02d:%02d %s %s %s %lldms %lluB%s%s\n", tm.tm_hour,
		    tm.tm_min, tm.tm_sec, method, ts->t[r->tunnel].name, target, (long long)r->ms, (unsigned long long)r->bytes,
		    r->error != NULL ? " " : "", r->error != NULL ? r->error : ""));
		return;
	}
	put_line(2, line, snprintf(line, sizeof(line),
	    "%02d:%02d:%02d %s%s%s %s %s%d%s %lldms %lluB%s%s\n", tm.tm_hour, tm.tm_min, tm.tm_sec,
	    ts->n > 1 ? ts->t[r->tunnel].name : "", ts->n > 1 ? " " : "",
	    method, target, colour_of(r->status), r->status, show.colour ? "\033[0m" : "",
	    (long long)r->ms, (unsigned long long)r->bytes,
	    r->error != NULL ? " " : "", r->error != NULL ? r->error : ""));
}

const struct tunnel_events show_events = { on_ready, on_lost, on_connection, on_request, NULL };
