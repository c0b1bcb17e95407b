/* log.c: log lines; see log.h. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "clock.h"
#include "log.h"
#include "loglimit.h"

enum { LINE_SIZE = 4096, LINE_USUAL = 512, VALUE_MAX = 512 };

static const char cut_mark[] = " cut=yes\n";	/* ends a line that lacks pairs */

struct log {
	log_write *write;
	void *arg;
	enum log_level least;
	int stamp;
	pthread_mutex_t mtx;	/* a leaf; guards what limit points to */
	struct loglimit *limit;	/* NULL: none */
};

/* Under which each thread keeps its log. Made once, and the same for all: the one thing here that is of the process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int made;

static void
make_key(void)
{
	made = pthread_key_create(&key, NULL) == 0;
}

struct log *
log_used(void)
{
	pthread_once(&once, make_key);
	return made ? pthread_getspecific(key) : NULL;
}

struct log *
log_use(struct log *l)
{
	struct log *had = log_used();

	if (made && l != had)
		pthread_setspecific(key, l);
	return had;
}

struct log *
log_new(log_write *write, void *arg)
{
	struct log *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->least = LOG_INFO;
	log_to(l, write, arg);
	pthread_mutex_init(&l->mtx, NULL);
	return l;
}

void
log_free(struct log *l)
{
	pthread_mutex_destroy(&l->mtx);
	free(l->limit);
	free(l);
}

void
log_setup(struct log *l, enum log_level least, int stamp)
{
	l->least = least;
	l->stamp = stamp;
}

void
log_to(struct log *l, log_write *write, void *arg)
{
	l->write = write;
	l->arg = arg;
}

int
log_limit(struct log *l)
{
	struct loglimit *limit = malloc(sizeof(*limit));

	if (limit == NULL)
		return -1;
	loglimit_init(limit);
	pthread_mutex_lock(&l->mtx);
	l->limit = limit;
	pthread_mutex_unlock(&l->mtx);
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
put_pair(struct buf *b, const char *name, const char *value)
{
	size_t len = b->len;

	buf_char(b, ' ');
	buf_str(b, name);
	buf_char(b, '=');
	put_value(b, value);
	if (b->full)
		b->len = len;
}

/* The line as a whole into b; cut if it is full. */
static void
format(struct buf *b, int stamp, enum log_level level, const char *event, va_list ap)
{
	const char *name, *value;

	b->cap -= sizeof(cut_mark) - 1;
	if (stamp)
		put_time(b, clock_ms(CLOCK_WALL));
	buf_str(b, "level=");
	buf_str(b, level_name(level));
	put_pair(b, "event", event);
	while (!b->full && (name = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		if (value != NULL)
			put_pair(b, name, value);
	}
	b->cap += sizeof(cut_mark) - 1;	/* the room kept for the end */
	buf_str(b, b->full ? cut_mark : "\n");
}

static void
put_line(struct log *l, enum log_level level, const char *event, va_list pairs)
{
	char line[LINE_USUAL], *big = NULL;	/* stacks are small, and there are many */
	struct buf b;
	va_list ap;

	buf_init(&b, line, sizeof(line) - 1);
	va_copy(ap, pairs);
	format(&b, l->stamp, level, event, ap);
	va_end(ap);
	if (b.full && (big = malloc(LINE_SIZE)) != NULL) {
		buf_init(&b, big, LINE_SIZE - 1);
		va_copy(ap, pairs);
		format(&b, l->stamp, level, event, ap);
		va_end(ap);
	}
	b.p[b.len] = '\0';
	l->write(l->arg, (int)level, b.p, b.len);
	free(big);
}

/* 0: it is one too many of its kind. */
static int
allowed(struct log *l, const char *event, va_list pairs)
{
	const char *name, *value, *reason = NULL, *who = NULL;
	int64_t now = clock_ms(CLOCK_STEADY);
	va_list ap;
	int ok;

	va_copy(ap, pairs);
	while ((name = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		if (strcmp(name, "reason") == 0)
			reason = value;
		else if (strcmp(name, "who") == 0)
			who = value;
	}
	va_end(ap);
	pthread_mutex_lock(&l->mtx);
	ok = l->limit == NULL || loglimit_take(l->limit, event, reason, who, now);
	pthread_mutex_unlock(&l->mtx);
	return ok;
}

void
log_line(enum log_level level, const char *event, ...)
{
	struct log *l = log_used();
	int saved = errno;
	va_list ap;

	if (l == NULL || level < l->least)
		return;
	va_start(ap, event);
	if (level == LOG_ERROR || allowed(l, event, ap))
		put_line(l, level, event, ap);
	va_end(ap);
	errno = saved;
}

/* Without a limit. */
static void
put(struct log *l, enum log_level level, const char *event, ...)
{
	va_list ap;

	va_start(ap, event);
	put_line(l, level, event, ap);
	va_end(ap);
}

void
log_tell(int all)
{
	int64_t now = clock_ms(CLOCK_STEADY);
	struct log *l = log_used();
	struct loglimit_kind k;
	char count[24];
	int more;

	while (l != NULL) {
		pthread_mutex_lock(&l->mtx);
		more = l->limit != NULL && loglimit_tell(l->limit, now, all, &k);
		pthread_mutex_unlock(&l->mtx);
		if (!more)
			return;
		snprintf(count, sizeof(count), "%llu", (unsigned long long)k.count);
		put(l, LOG_WARN, "suppressed", "what", k.event, "count", count,
		    "reason", k.reason[0] != '\0' ? k.reason : NULL,
		    "who", k.who[0] != '\0' ? k.who : NULL, (char *)NULL);
	}
}
