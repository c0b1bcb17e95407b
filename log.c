/* log.c: log lines; see log.h. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "log.h"
#include "loglimit.h"
#include "sink.h"

enum { LINE_SIZE = 4096, LINE_USUAL = 512, VALUE_MAX = 512 };

static const char cut_mark[] = " cut=yes\n";	/* ends a line that lacks pairs */

static enum log_level log_least = LOG_INFO;
static int log_stamp;
static const struct sink to_stderr = { STDERR_FILENO, NULL };
static const struct sink *log_sink = &to_stderr;
static struct loglimit *limit;	/* what it points to is guarded by limit_mtx, a leaf; NULL: no limit */
static pthread_mutex_t limit_mtx = PTHREAD_MUTEX_INITIALIZER;

void
log_setup(enum log_level least, int stamp)
{
	log_least = least;
	log_stamp = stamp;
}

void
log_to(const struct sink *s)
{
	log_sink = s;
}

int
log_limit(void)
{
	struct loglimit *l = malloc(sizeof(*l));

	if (l == NULL)
		return -1;
	loglimit_init(l);
	pthread_mutex_lock(&limit_mtx);
	limit = l;
	pthread_mutex_unlock(&limit_mtx);
	return 0;
}

static const char *
level_name(enum log_level level)
{
	switch (level) {
	case LOG_DEBUG:
		return "debug";
	case LOG_INFO:
		return "info";
	case LOG_WARN:
		return "warn";
	default:
		return "error";
	}
}

static void
put_time(struct buf *b, int64_t ms)
{
	char text[48];
	struct tm tm;
	time_t t = (time_t)(ms / 1000);

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(text, sizeof(text), "time=%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return;
	buf_str(b, text);
	snprintf(text, sizeof(text), ".%03dZ ", (int)(ms % 1000));
	buf_str(b, text);
}

/* Bytes that could be taken for the end of the value, or that a terminal obeys. */
static int
needs_quotes(const char *value, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (value[i] <= ' ' || value[i] > '~' || strchr("\"=\\", value[i]) != NULL)
			return 1;
	return len == 0;
}

static void
put_escaped(struct buf *b, char c)
{
	if (c == '"' || c == '\\') {
		buf_char(b, '\\');
		buf_char(b, c);
	} else if (c == '\n') {
		buf_str(b, "\\n");
	} else if (c == '\t') {
		buf_str(b, "\\t");
	} else if (c < ' ' || c > '~') {
		buf_str(b, "\\x");
		buf_hex(b, &c, 1);
	} else {
		buf_char(b, c);
	}
}

static void
put_value(struct buf *b, const char *value)
{
	size_t i, len = 0;
	int quotes;

	while (len < VALUE_MAX && value[len] != '\0')
		len++;
	quotes = needs_quotes(value, len);
	if (quotes)
		buf_char(b, '"');
	for (i = 0; i < len; i++)
		put_escaped(b, value[i]);
	if (value[len] != '\0')
		buf_str(b, "...");
	if (quotes)
		buf_char(b, '"');
}

/* A pair goes in whole or not at all: half of one would leave a quote open. */
static void
put_pair(struct buf *b, const char *key, const char *value)
{
	size_t len = b->len;

	buf_char(b, ' ');
	buf_str(b, key);
	buf_char(b, '=');
	put_value(b, value);
	if (b->full)
		b->len = len;
}

/* The line as a whole into b; cut if it is full. */
static void
format(struct buf *b, enum log_level level, const char *event, va_list ap)
{
	const char *key, *value;

	b->cap -= sizeof(cut_mark) - 1;
	if (log_stamp)
		put_time(b, clock_ms(CLOCK_WALL));
	buf_str(b, "level=");
	buf_str(b, level_name(level));
	put_pair(b, "event", event);
	while (!b->full && (key = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		if (value != NULL)
			put_pair(b, key, value);
	}
	b->cap += sizeof(cut_mark) - 1;	/* the room kept for the end */
	buf_str(b, b->full ? cut_mark : "\n");
}

static void
put_line(enum log_level level, const char *event, va_list pairs)
{
	char line[LINE_USUAL], *big = NULL;	/* stacks are small, and there are many */
	struct buf b;
	va_list ap;

	buf_init(&b, line, sizeof(line));
	va_copy(ap, pairs);
	format(&b, level, event, ap);
	va_end(ap);
	if (b.full && (big = malloc(LINE_SIZE)) != NULL) {
		buf_init(&b, big, LINE_SIZE);
		va_copy(ap, pairs);
		format(&b, level, event, ap);
		va_end(ap);
	}
	sink_write(log_sink, (int)level, b.p, b.len);
	free(big);
}

/* 0: it is one too many of its kind. */
static int
allowed(const char *event, va_list pairs)
{
	const char *key, *value, *reason = NULL, *who = NULL;
	int64_t now = clock_ms(CLOCK_STEADY);
	va_list ap;
	int ok;

	va_copy(ap, pairs);
	while ((key = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		if (strcmp(key, "reason") == 0)
			reason = value;
		else if (strcmp(key, "who") == 0)
			who = value;
	}
	va_end(ap);
	pthread_mutex_lock(&limit_mtx);
	ok = limit == NULL || loglimit_take(limit, event, reason, who, now);
	pthread_mutex_unlock(&limit_mtx);
	return ok;
}

void
log_line(enum log_level level, const char *event, ...)
{
	int saved = errno;
	va_list ap;

	if (level < log_least)
		return;
	va_start(ap, event);
	if (level == LOG_ERROR || allowed(event, ap))
		put_line(level, event, ap);
	va_end(ap);
	errno = saved;
}

/* Without a limit. */
static void
put(enum log_level level, const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	put_line(level, event, ap);
	va_end(ap);
}

void
log_tell(int all)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	struct loglimit_kind k;
	char count[24];
	int more;

	for (;;) {
		pthread_mutex_lock(&limit_mtx);
		more = limit != NULL && loglimit_tell(limit, now, all, &k);
		pthread_mutex_unlock(&limit_mtx);
		if (!more)
			return;
		snprintf(count, sizeof(count), "%llu", (unsigned long long)k.count);
		put(LOG_WARN, "suppressed", "what", k.event, "count", count,
		    "reason", k.reason[0] != '\0' ? k.reason : NULL,
		    "who", k.who[0] != '\0' ? k.who : NULL, (char *)NULL);
	}
}
