/* log.c: log lines on stderr; see log.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "log.h"

enum { LINE_SIZE = 4096, LINE_USUAL = 512, VALUE_MAX = 512 };

static const char cut_mark[] = " cut=yes\n";	/* ends a line that lacks pairs */

static enum log_level log_least = LOG_INFO;
static int log_stamp;

void
log_setup(enum log_level least, int stamp)
{
	log_least = least;
	log_stamp = stamp;
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

void
log_line(enum log_level level, const char *event, ...)
{
	char line[LINE_USUAL], *big = NULL;	/* stacks are small, and there are many */
	struct buf b;
	int saved = errno;
	va_list ap;

	if (level < log_least)
		return;
	buf_init(&b, line, sizeof(line));
	va_start(ap, event);
	format(&b, level, event, ap);
	va_end(ap);
	if (b.full && (big = malloc(LINE_SIZE)) != NULL) {
		buf_init(&b, big, LINE_SIZE);
		va_start(ap, event);
		format(&b, level, event, ap);
		va_end(ap);
	}
	while (write(STDERR_FILENO, b.p, b.len) == -1 && errno == EINTR)
		;	/* otherwise there is nowhere left to complain */
	free(big);
	errno = saved;
}
