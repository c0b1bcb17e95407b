/*
 * Log lines. A socket that keeps messages apart stands in for stderr, so
 * that one line must be one write.
 */
#include <sys/resource.h>
#include <sys/socket.h>

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "../log.h"
#include "../sink.h"
#include "../workers.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))

static const struct { const char *name, *value, *want; } values[] = {
	{ "plain", "127.0.0.1:41234", "127.0.0.1:41234" },
	{ "every mark that needs no quotes", "!#$%&'()*+,-./:;<>?@[]^_`{|}~",
	    "!#$%&'()*+,-./:;<>?@[]^_`{|}~" },
	{ "empty", "", "\"\"" },
	{ "blank", "a b", "\"a b\"" },
	{ "equals sign", "a=b", "\"a=b\"" },
	{ "quote", "a\"b", "\"a\\\"b\"" },
	{ "backslash", "a\\b", "\"a\\\\b\"" },
	{ "tab", "\t", "\"\\t\"" },
	{ "carriage return", "\r", "\"\\x0d\"" },
	{ "escape", "\033[2J", "\"\\x1b[2J\"" },
	{ "delete", "\x7f", "\"\\x7f\"" },
	{ "UTF-8", "\xc3\xa9", "\"\\xc3\\xa9\"" },
	{ "0xff", "\xff", "\"\\xff\"" },
	{ "a forged line", "x\nlevel=info event=issued", "\"x\\nlevel=info event=issued\"" },
	{ "a forged pair", "x\" user=\"root", "\"x\\\" user=\\\"root\"" },
};

static int ours;		/* our end of the socket */

/* The next write to stderr, NUL-terminated; "" if there was none. */
static void
next(char *out, size_t cap)
{
	ssize_t n = recv(ours, out, cap - 1, MSG_DONTWAIT);

	out[n > 0 ? n : 0] = '\0';
}

static void
test_values(void)
{
	char got[8192], want[8192], *value;
	size_t i;

	for (i = 0; i < LEN(values); i++) {
		value = exact(values[i].value, strlen(values[i].value) + 1);
		log_line(LOG_INFO, "try", "v", value, "w", "1", (char *)NULL);
		free(value);
		next(got, sizeof(got));
		snprintf(want, sizeof(want), "level=info event=try v=%s w=1\n", values[i].want);
		check(strcmp(got, want) == 0, values[i].name, i);
	}
}

static void
test_pairs(void)
{
	char got[8192];

	log_line(LOG_WARN, "none", (char *)NULL);
	next(got, sizeof(got));
	check(strcmp(got, "level=warn event=none\n") == 0, "no pairs", 0);
	log_line(LOG_ERROR, "some", "a", "1", "b", (char *)NULL, "c", "3", (char *)NULL);
	next(got, sizeof(got));
	check(strcmp(got, "level=error event=some a=1 c=3\n") == 0, "a NULL value", 0);
	errno = EPIPE;
	log_line(LOG_ERROR, "x", (char *)NULL);
	check(errno == EPIPE, "errno is kept", 0);
	next(got, sizeof(got));
}

/* Values of every length around the limit, plain and where each byte becomes four. */
static void
test_long(void)
{
	char value[520], got[8192], want[8192], *p;
	size_t i, n;

	for (n = 508; n < sizeof(value); n++) {
		memset(value, 'x', n);
		value[n] = '\0';
		p = exact(value, n + 1);
		log_line(LOG_INFO, "long", "v", p, (char *)NULL);
		free(p);
		next(got, sizeof(got));
		snprintf(want, sizeof(want), "level=info event=long v=%.512s%s\n", value,
		    n > 512 ? "..." : "");
		check(strcmp(got, want) == 0, "cut at 512 bytes", n);
	}
	memset(value, '\n', 519);
	value[519] = '\0';
	for (i = 0; i < 512; i++)
		memcpy(want + 2 * i, "\\n", 3);
	log_line(LOG_INFO, "long", "v", value, (char *)NULL);
	next(got, sizeof(got));
	p = strchr(got, '"');
	check(p != NULL && strncmp(p + 1, want, 1024) == 0, "escapes do not count", 0);
	check(p != NULL && strcmp(p + 1 + 1024, "...\"\n") == 0, "cut inside the quotes", 0);
}

/* A line that is too long loses whole pairs and says so. */
static void
test_full(void)
{
	char value[513], got[8192];
	size_t n, len;

	for (n = 0; n <= 512; n++) {
		memset(value, '\x01', n);
		value[n] = '\0';
		log_line(LOG_INFO, "full", "a", value, "b", value, "c", value, "d", "end",
		    (char *)NULL);
		next(got, sizeof(got));
		len = strlen(got);
		check(len > 0 && len <= 4096 && got[len - 1] == '\n', "at most 4096 bytes", n);
		check(strstr(got, " d=end\n") != NULL || strstr(got, "\" cut=yes\n") != NULL,
		    "whole, or marked as cut", n);
	}
}

static void
test_levels(void)
{
	static const enum log_level all[] = { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
	char got[8192];
	size_t i, least;

	for (least = 0; least < LEN(all); least++) {
		log_setup(log_used(), all[least], 0);
		for (i = 0; i < LEN(all); i++) {
			log_line(all[i], "x", (char *)NULL);
			next(got, sizeof(got));
			check((got[0] != '\0') == (i >= least), "level", i);
		}
	}
	log_setup(log_used(), LOG_DEBUG, 0);
	log_line(LOG_DEBUG, "x", (char *)NULL);
	next(got, sizeof(got));
	check(strcmp(got, "level=debug event=x\n") == 0, "debug", 0);
}

static void
stamp(char *out, size_t cap)
{
	int64_t ms = clock_ms(CLOCK_WALL);
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + 19, cap - 19, ".%03dZ", (int)(ms % 1000));
}

static void
test_stamp(void)
{
	char got[8192], before[64], after[64];

	log_setup(log_used(), LOG_INFO, 1);
	stamp(before, sizeof(before));
	log_line(LOG_INFO, "x", "a", "1", (char *)NULL);
	stamp(after, sizeof(after));
	next(got, sizeof(got));
	check(strncmp(got, "time=", 5) == 0, "the stamp comes first", 0);
	check(strcmp(got + 5 + 24, " level=info event=x a=1\n") == 0, "24 characters of it", 0);
	got[5 + 24] = '\0';
	check(strcmp(before, got + 5) <= 0 && strcmp(got + 5, after) <= 0, got + 5, 0);
	log_setup(log_used(), LOG_INFO, 0);
}

struct other {			/* a log, and what has come there */
	char text[128];
	struct log *used;	/* by a thread that was started with it */
	int done;
};

static void
keep(void *arg, int level, const char *line, size_t len)
{
	struct other *o = arg;

	(void)level;
	memcpy(o->text, line, len);
	o->text[len] = '\0';
}

static void *
say(void *arg)
{
	struct other *o = arg;

	log_line(LOG_INFO, "thread", (char *)NULL);
	o->used = log_used();
	__atomic_store_n(&o->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Each thread has its own, and those that it starts have the same. */
static void
test_threads(void)
{
	struct other o = { "", NULL, 0 };
	struct log *l = log_new(keep, &o), *had = log_use(l);
	char got[8192];

	check(thread_start(1048576, say, &o) == 0, "a thread", 0);
	while (!__atomic_load_n(&o.done, __ATOMIC_SEQ_CST))
		usleep(1000);
	check(o.used == l && strcmp(o.text, "level=info event=thread\n") == 0, "has the log of who started it", 0);
	log_line(LOG_INFO, "here", (char *)NULL);
	check(strcmp(o.text, "level=info event=here\n") == 0, "this thread's", 0);
	check(log_use(NULL) == l, "the one before", 0);
	log_line(LOG_INFO, "nowhere", (char *)NULL);
	log_tell(1);
	check(strcmp(o.text, "level=info event=here\n") == 0, "without one it is silent", 0);
	log_use(had);
	next(got, sizeof(got));
	check(got[0] == '\0', "nothing of all that came to the other", 0);
	log_free(l);
}

/* The file may grow to so many bytes: as on a full disk, a line that does not fit is cut. */
static void
room(rlim_t bytes)
{
	struct rlimit rl;

	getrlimit(RLIMIT_FSIZE, &rl);
	rl.rlim_cur = bytes == RLIM_INFINITY ? rl.rlim_max : bytes;
	check(setrlimit(RLIMIT_FSIZE, &rl) == 0, "room", (size_t)bytes);
}

/* A line that was cut is not glued to the next. */
static void
test_cut(void)
{
	static const struct { rlim_t room; const char *line; } steps[] = {
		{ 16, "whole line\n" }, { 16, "cut behind five\n" }, { 16, "lost\n" }, { 17, "lost but for an end\n" },
		{ 20, "cut behind three\n" }, { 23, "cut behind two\n" }, { RLIM_INFINITY, "end\n" }, { RLIM_INFINITY, "more\n" }
	};
	static const char want[] = "whole line\n" "cut b\n" "cut\n" "cu\n" "end\n" "more\n";
	char path[] = "/tmp/log_test.XXXXXX", got[256];
	int fd = mkstemp(path);
	struct sink s;
	ssize_t n;
	size_t i;

	signal(SIGXFSZ, SIG_IGN);
	check(fd != -1 && sink_open(&s, path) == 0, "a file", 0);
	for (i = 0; i < LEN(steps); i++) {
		room(steps[i].room);
		sink_write(&s, LOG_INFO, steps[i].line, strlen(steps[i].line));
	}
	n = read(fd, got, sizeof(got) - 1);
	got[n > 0 ? n : 0] = '\0';
	check(strcmp(got, want) == 0, got, 0);
	close(s.fd);
	close(fd);
	unlink(path);
}

int
main(void)
{
	static struct sink to_stderr = SINK_STDERR;
	int fds[2], saved;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == -1 || (saved = dup(2)) == -1 ||
	    dup2(fds[1], 2) == -1)
		return 1;
	ours = fds[0];
	log_use(log_new(sink_log, &to_stderr));
	test_values();
	test_pairs();
	test_long();
	test_full();
	test_levels();
	test_stamp();
	test_threads();
	test_cut();
	log_free(log_use(NULL));
	dup2(saved, 2);		/* for what a sanitizer has to say */
	return test_end();
}
