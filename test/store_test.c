/* The token store: store.h, tokens.h. */
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../buf.h"
#include "../store.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define S(s)	s, sizeof(s) - 1
#define HASH	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define X10	"xxxxxxxxxx"
#define X50	X10 X10 X10 X10 X10
#define X250	X50 X50 X50 X50 X50
#define X1000	X250 X250 X250 X250
#define A50	"a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,"
#define A1000	A50 A50 A50 A50 A50 A50 A50 A50 A50 A50 \
		A50 A50 A50 A50 A50 A50 A50 A50 A50 A50

/* Files that load: so many tokens. */
static const struct { const char *name, *text; size_t len, n; } sound[] = {
	{ "empty", S(""), 0 },
	{ "one", S("abcd " HASH " 1 - * a note\n"), 1 },
	{ "no note", S("abcd " HASH " 1 - *\n"), 1 },
	{ "no newline at the end", S("abcd " HASH " 1 - *"), 1 },
	{ "comments and empty lines", S("\n# x\nabcd " HASH " 1 - *\n\n#"), 1 },
	{ "two", S("abcd " HASH " 1 - *\nabce " HASH " 1 2 a,9000\n"), 2 },
	{ "longest id", S("0123456789abcdef " HASH " 1 - *\n"), 1 },
	{ "longest times", S("abcd " HASH " 999999999999999999 999999999999999999 *\n"), 1 },
	{ "longest scope", S("abcd " HASH " 1 - " A1000 "a,a,a,a,a,a,a,a,a,a,a,aa\n"), 1 },
	{ "longest note", S("abcd " HASH " 1 - * " X250 "xxxxxx\n"), 1 },
	{ "note in UTF-8", S("abcd " HASH " 1 - * caf\xc3\xa9 \xe2\x82\xac \xc2\xa0\n"), 1 },
	{ "note of blanks", S("abcd " HASH " 1 - *   x  \n"), 1 },
};

/* Files that do not, and the reason after "tokens:". */
static const struct { const char *name, *text; size_t len; const char *why; } damaged[] = {
	{ "id too short", S("abc " HASH " 1 - *\n"), "1: bad id" },
	{ "id too long", S("0123456789abcdef0 " HASH " 1 - *\n"), "1: bad id" },
	{ "id not hex", S("abcg " HASH " 1 - *\n"), "1: bad id" },
	{ "id in upper case", S("ABCD " HASH " 1 - *\n"), "1: bad id" },
	{ "id missing", S(" " HASH " 1 - *\n"), "1: bad id" },
	{ "on line 3", S("#\nabcd " HASH " 1 - *\nx\n"), "3: bad id" },
	{ "after empty lines", S("\n\n\nx\n"), "4: bad id" },
	{ "last line, no newline", S("\nx"), "2: bad id" },
	{ "id only", S("abcd\n"), "1: bad hash" },
	{ "hash too short", S("abcd 00 1 - *\n"), "1: bad hash" },
	{ "hash too long", S("abcd " HASH "0 1 - *\n"), "1: bad hash" },
	{ "hash not hex", S("abcd g123456789abcdef0123456789abcdef0123456789abcdef"
	    "0123456789abcdef 1 - *\n"), "1: bad hash" },
	{ "two blanks", S("abcd  " HASH " 1 - *\n"), "1: bad hash" },
	{ "a tab", S("abcd\t" HASH " 1 - *\n"), "1: bad id" },
	{ "hash last", S("abcd " HASH "\n"), "1: bad time of creation" },
	{ "created empty", S("abcd " HASH "  - *\n"), "1: bad time of creation" },
	{ "created negative", S("abcd " HASH " -1 - *\n"), "1: bad time of creation" },
	{ "created not a number", S("abcd " HASH " 1x - *\n"), "1: bad time of creation" },
	{ "created too long", S("abcd " HASH " 1000000000000000000 - *\n"),
	    "1: bad time of creation" },
	{ "created '-'", S("abcd " HASH " - - *\n"), "1: bad time of creation" },
	{ "expires missing", S("abcd " HASH " 1\n"), "1: bad time of expiry" },
	{ "expires 0", S("abcd " HASH " 1 0 *\n"), "1: bad time of expiry" },
	{ "expires '--'", S("abcd " HASH " 1 -- *\n"), "1: bad time of expiry" },
	{ "expires negative", S("abcd " HASH " 1 -5 *\n"), "1: bad time of expiry" },
	{ "scope missing", S("abcd " HASH " 1 -\n"), "1: empty entry in scope" },
	{ "scope empty", S("abcd " HASH " 1 -  note\n"), "1: empty entry in scope" },
	{ "scope bad", S("abcd " HASH " 1 - A\n"), "1: bad name in scope: 1 to 63 of a-z, 0-9 and '-', first a letter or digit" },
	{ "scope's port bad", S("abcd " HASH " 1 - a,70000\n"), "1: bad port in scope" },
	{ "scope too long", S("abcd " HASH " 1 - " A1000 "a,a,a,a,a,a,a,a,a,a,a,a,a\n"),
	    "1: scope too long" },
	{ "note too long", S("abcd " HASH " 1 - * " X250 "xxxxxxx\n"), "1: bad note" },
	{ "CR LF", S("abcd " HASH " 1 - * note\r\n"), "1: bad note" },
	{ "control in the note", S("abcd " HASH " 1 - * a\033[2J\n"), "1: bad note" },
	{ "DEL in the note", S("abcd " HASH " 1 - * a\x7f\n"), "1: bad note" },
	{ "C1 in the note", S("abcd " HASH " 1 - * a\xc2\x9b" "2J\n"), "1: bad note" },
	{ "note no UTF-8", S("abcd " HASH " 1 - * a\xff\n"), "1: bad note" },
	{ "note's UTF-8 cut", S("abcd " HASH " 1 - * a\xc3\n"), "1: bad note" },
	{ "NUL in a note", S("abcd " HASH " 1 - * a\0b\n"), "1: NUL byte" },
	{ "NUL in a comment", S("#\n#\0\n"), "2: NUL byte" },
	{ "long line", S("#\n" X1000 X250 X250 "\n"), "2: line too long" },
	{ "long comment", S("#" X1000 X250 X250 "\n"), "1: line too long" },
	{ "duplicate id", S("abcd " HASH " 1 - *\n#\nabce " HASH " 1 - *\nabcd " HASH " 1 - *\n"),
	    "4: duplicate id" },
	{ "two duplicates", S("abcd " HASH " 1 - *\nabcc " HASH " 1 - *\n\nabcd " HASH
	    " 1 - *\nabcc " HASH " 1 - *\n"), "4: duplicate id" },
	{ "three times", S("abcd " HASH " 1 - *\nabcd " HASH " 1 - *\nabcd " HASH " 1 - *\n"),
	    "2: duplicate id" },
};

static char folder[] = "/tmp/store_test.XXXXXX";
static int dir;

static void
write_file(const void *text, size_t len)
{
	int fd = openat(dir, "tokens", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd == -1 || write(fd, text, len) != (ssize_t)len || close(fd) == -1)
		abort();
}

/* The file's text: its length, or -1 if there is no file. */
static ssize_t
read_file(char *out, size_t cap)
{
	int fd = openat(dir, "tokens", O_RDONLY);
	ssize_t n = -1;

	if (fd != -1) {
		n = read(fd, out, cap - 1);
		close(fd);
	}
	out[n > 0 ? n : 0] = '\0';
	return n;
}

/* Files in the folder that are neither tokens nor its lock. */
static int
strays(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int n = 0;

	if (d == NULL)
		abort();
	while ((e = readdir(d)) != NULL)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, "tokens") != 0 && strcmp(e->d_name, "tokens.lock") != 0;
	closedir(d);
	return n;
}

static void
empty_folder(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;

	if (d == NULL)
		abort();
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(dir, e->d_name, 0);
	closedir(d);
}

/* How many tokens the file holds, -1 if it is damaged. */
static long
count(void)
{
	struct store s;
	char why[256];
	long n;

	if (store_load(&s, dir, why, sizeof(why)) == -1) {
		printf("%s\n", why);
		return -1;
	}
	n = (long)s.n;
	store_free(&s);
	return n;
}

static int
issue(struct token *t, char text[TOKEN_LEN + 1])
{
	char why[256];

	return store_issue(dir, "a", 1, 0, "", t, text, why, sizeof(why));
}

static void
test_sound(void)
{
	struct store s;
	const char *why;
	char *text;
	size_t i, n, line;
	int rc;

	for (i = 0; i < LEN(sound); i++)
		for (n = 0; n <= sound[i].len; n++) {	/* a verdict for every cut */
			text = exact(sound[i].text, n);
			line = 99;
			rc = tokens_parse(&s, text, n, &line, &why);
			free(text);
			if (n == sound[i].len)
				check(rc == 0 && s.n == sound[i].n, sound[i].name, n);
			if (rc == 0)
				check(s.n <= sound[i].n, sound[i].name, n);
			else
				check(line > 0 && line <= 5 && why != NULL, sound[i].name, n);
			if (rc == 0)
				free(s.token);
		}
}

static void
test_damaged(void)
{
	struct store s = { NULL, 42 };
	struct token t;
	char why[256], want[256], text[TOKEN_LEN + 1], now[4096];
	size_t i;

	for (i = 0; i < LEN(damaged); i++) {
		write_file(damaged[i].text, damaged[i].len);
		snprintf(want, sizeof(want), "tokens:%s", damaged[i].why);
		errno = 0;
		check(store_load(&s, dir, why, sizeof(why)) == -1, damaged[i].name, i);
		check(errno == EINVAL && strcmp(why, want) == 0, damaged[i].name, i);
		check(s.token == NULL && s.n == 42, "untouched", i);
		check(store_issue(dir, "a", 1, 0, "", &t, text, why, sizeof(why)) == -1 &&
		    strcmp(why, want) == 0, damaged[i].name, i);
		check(store_revoke(dir, "abcd", why, sizeof(why)) == -1 &&
		    strcmp(why, want) == 0, damaged[i].name, i);
		check(read_file(now, sizeof(now)) == (ssize_t)damaged[i].len &&
		    memcmp(now, damaged[i].text, damaged[i].len) == 0, "never rewritten", i);
	}
	empty_folder();
}

static void
test_fields(void)
{
	static const char text[] = "#c\n0a1b " HASH " 12 34 web,9000 a note\nabcd " HASH " 5 - *\n";
	char out[512];
	struct buf b;
	struct store s;
	size_t line, at, len;
	const char *why;

	check(tokens_parse(&s, text, strlen(text), &line, &why) == 0 && s.n == 2, "fields", 0);
	check(strcmp(s.token[0].id, "0a1b") == 0 && s.token[0].created == 12 &&
	    s.token[0].expires == 34, "fields", 1);
	check(strcmp(s.token[0].scope, "web,9000") == 0 &&
	    strcmp(s.token[0].note, "a note") == 0, "fields", 2);
	check(s.token[0].hash[0] == 0x01 && s.token[0].hash[31] == 0xef, "fields", 3);
	check(s.token[1].expires == 0 && s.token[1].note[0] == '\0', "fields", 4);
	buf_init(&b, out, sizeof(out));
	tokens_put(&b, &s.token[0]);
	tokens_put(&b, &s.token[1]);
	check(b.len == strlen(text) - 3 && memcmp(out, text + 3, b.len) == 0, "and back", 0);
	check(tokens_find_line(text, strlen(text), "abcd", &at, &len) == 1 &&
	    at + len == strlen(text) && text[at] == 'a', "line of the last", 0);
	check(tokens_find_line(text, strlen(text), "0a1b", &at, &len) == 1 && at == 3 &&
	    text[at + len - 1] == '\n', "line of the first", 0);
	check(tokens_find_line(text, strlen(text), "0a1", &at, &len) == 0, "a prefix", 0);
	check(tokens_find_line(text, strlen(text), "#c", &at, &len) == 0, "a comment", 0);
	check(store_by_id(&s, "abcd") == &s.token[1] && store_by_id(&s, "abc") == NULL, "by id", 0);
	store_free(&s);
	check(s.token == NULL && s.n == 0, "freed", 0);
}

static void
test_issue(void)
{
	static const char before[] = "# kept\n\nabcd " HASH " 1 - * note";
	struct store s;
	struct stat st, own;
	struct token a, b;
	char text[TOKEN_LEN + 1], other[TOKEN_LEN + 1], why[256], file[4096];

	check(count() == 0, "a missing file is an empty set", 0);
	write_file(before, strlen(before));
	check(store_issue(dir, "web,9000", 7, 8, "caf\xc3\xa9 x", &a, text, why, sizeof(why)) == 0,
	    "issue", 0);
	check(store_issue(dir, "*", 7, 0, "", &b, other, why, sizeof(why)) == 0, "issue", 1);
	check(strlen(text) == TOKEN_LEN && strncmp(text, "tn_", 3) == 0, "its text", 0);
	check(strspn(text + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	    == TOKEN_LEN - 3, "its text", 1);
	check(strlen(a.id) == 8 && strcmp(a.id, b.id) != 0 && strcmp(text, other) != 0, "unique", 0);
	read_file(file, sizeof(file));
	check(strncmp(file, before, strlen(before)) == 0, "the other lines are kept", 0);
	check(strstr(file, text) == NULL && strstr(file, text + 3) == NULL, "not the secret", 0);
	check(fstatat(dir, "tokens", &st, 0) == 0 && (st.st_mode & 07777) == 0600, "mode", 0);
	check(fstat(dir, &own) == 0 && st.st_uid == own.st_uid, "owner", 0);
	check(fstatat(dir, "tokens.lock", &st, 0) == 0 && (st.st_mode & 07777) == 0600, "mode", 1);

	check(store_load(&s, dir, why, sizeof(why)) == 0 && s.n == 3, "load", 0);
	check(memcmp(store_find(&s, text, TOKEN_LEN), &a, sizeof(a)) == 0, "find", 0);
	check(memcmp(store_find(&s, other, TOKEN_LEN), &b, sizeof(b)) == 0, "find", 1);
	check(a.created == 7 && a.expires == 8 && strcmp(a.scope, "web,9000") == 0, "filled in", 0);
	check(store_find(&s, text, TOKEN_LEN - 1) == NULL, "find, cut", 0);
	check(store_find(&s, "", 0) == NULL, "find, empty", 0);
	text[10] ^= 1;
	check(store_find(&s, text, TOKEN_LEN) == NULL, "find, a bit wrong", 0);
	store_free(&s);

	check(store_revoke(dir, a.id, why, sizeof(why)) == 1, "revoke", 0);
	check(store_revoke(dir, a.id, why, sizeof(why)) == 0, "revoke again", 0);
	check(store_revoke(dir, "", why, sizeof(why)) == 0, "revoke nothing", 0);
	check(store_revoke(dir, "# kept", why, sizeof(why)) == 0, "revoke a comment", 0);
	check(store_revoke(dir, "abcd", why, sizeof(why)) == 1, "revoke", 1);
	check(store_load(&s, dir, why, sizeof(why)) == 0 && s.n == 1, "revoked", 0);
	check(store_find(&s, other, TOKEN_LEN) != NULL, "the other stays", 0);
	store_free(&s);
	read_file(file, sizeof(file));
	check(strncmp(file, "# kept\n\n", 8) == 0, "comments are kept", 0);
	check(strays() == 0, "nothing left behind", 0);
	empty_folder();
}

static void
test_refused(void)
{
	static const struct { const char *scope; int64_t now, expires; const char *note; } bad[] = {
		{ "", 1, 0, "" }, { "A", 1, 0, "" }, { "a b", 1, 0, "" }, { "a\n", 1, 0, "" },
		{ A1000 A50 "a", 1, 0, "" }, { "a", -1, 0, "" }, { "a", 1, -1, "" },
		{ "a", INT64_MAX, 0, "" }, { "a", 1, INT64_MAX, "" }, { "a", 1, 0, "x\ny" },
		{ "a", 1, 0, "\t" }, { "a", 1, 0, "\xff" }, { "a", 1, 0, "\xc2\x85" },
		{ "a", 1, 0, X250 "xxxxxxx" },
	};
	struct token t;
	char text[TOKEN_LEN + 1], why[256];
	size_t i;

	for (i = 0; i < LEN(bad); i++) {
		why[0] = '\0';
		errno = 0;
		check(store_issue(dir, bad[i].scope, bad[i].now, bad[i].expires, bad[i].note, &t,
		    text, why, sizeof(why)) == -1, "refused", i);
		check(errno == EINVAL && why[0] != '\0', "refused", i);
	}
	check(count() == 0 && strays() == 0, "nothing written", 0);
}

static void
test_files(void)
{
	struct store s;
	struct token t;
	char text[TOKEN_LEN + 1], why[256];
	int fd;

	fd = openat(dir, "tokens", O_WRONLY | O_CREAT, 0600);
	check(ftruncate(fd, (16 << 20) + 1) == 0 && close(fd) == 0, "large file", 0);
	check(store_load(&s, dir, why, sizeof(why)) == -1 && errno == EFBIG, "large file", 1);
	empty_folder();
	check(mkdirat(dir, "tokens", 0700) == 0, "a folder", 0);
	check(store_load(&s, dir, why, sizeof(why)) == -1 &&
	    strcmp(why, "tokens: not a regular file") == 0, "a folder", 1);
	check(store_replace(dir, "tokens", "x", 1) == -1 && strays() == 0, "a folder", 2);
	unlinkat(dir, "tokens", AT_REMOVEDIR);
	check(mkfifoat(dir, "tokens", 0600) == 0, "a FIFO", 0);
	check(store_load(&s, dir, why, sizeof(why)) == -1 &&
	    strcmp(why, "tokens: not a regular file") == 0, "a FIFO", 1);
	empty_folder();
	check(symlinkat("/etc/passwd", dir, "tokens") == 0, "a link", 0);
	check(store_load(&s, dir, why, sizeof(why)) == -1 && strncmp(why, "tokens: ", 8) == 0,
	    "a link", 1);
	empty_folder();
	check(symlinkat("/nonexistent/x", dir, "tokens.lock") == 0, "the lock a link", 0);
	check(store_issue(dir, "a", 1, 0, "", &t, text, why, sizeof(why)) == -1 &&
	    strncmp(why, "tokens.lock: ", 13) == 0, "the lock a link", 1);
	empty_folder();
	check(store_replace(dir, X250, "x", 1) == -1 && errno == ENAMETOOLONG, "long name", 0);
	check(store_replace(dir, "new", "", 0) == 0 && strays() == 1, "an empty file", 0);
	empty_folder();
	check(store_load(&s, -1, why, sizeof(why)) == -1 && errno == EBADF, "no folder", 0);
	/* why is cut, never overrun */
	write_file("x", 1);
	check(store_load(&s, dir, why, 4) == -1 && strcmp(why, "tok") == 0, "short why", 0);
	empty_folder();
}

/* What root writes is the folder's owner's, but nothing that was there before changes hands. */
static void
test_owner(void)
{
	struct token t;
	struct stat st;
	char text[TOKEN_LEN + 1];

	if (geteuid() != 0)
		return;
	if (fchown(dir, 1234, 1235) == -1)
		abort();
	check(issue(&t, text) == 0, "issue for another", 0);
	check(fstatat(dir, "tokens", &st, 0) == 0 && st.st_uid == 1234 && st.st_gid == 1235 &&
	    (st.st_mode & 07777) == 0600, "owner of tokens", 0);
	check(fstatat(dir, "tokens.lock", &st, 0) == 0 && st.st_uid == 1234, "owner of the lock", 0);
	empty_folder();
	close(openat(dir, "roots", O_WRONLY | O_CREAT, 0600));
	check(linkat(dir, "roots", dir, "tokens.lock", 0) == 0 && issue(&t, text) == 0, "link", 0);
	check(fstatat(dir, "roots", &st, 0) == 0 && st.st_uid == 0, "root's stays root's", 0);
	if (fchown(dir, 0, 0) == -1)
		abort();
	empty_folder();
}

static void
test_together(void)
{
	enum { PROCESSES = 6, EACH = 15 };
	struct token t;
	char text[TOKEN_LEN + 1], why[256];
	pid_t pid;
	int i, j, status;

	for (i = 0; i < PROCESSES; i++) {
		if ((pid = fork()) == -1)
			abort();
		if (pid > 0)
			continue;
		for (j = 0; j < EACH; j++)
			if (issue(&t, text) == -1)
				_exit(1);
		if (store_revoke(dir, t.id, why, sizeof(why)) != 1)
			_exit(1);
		_exit(0);
	}
	for (i = 0; i < PROCESSES; i++)
		check(wait(&status) > 0 && status == 0, "process", (size_t)i);
	check(count() == PROCESSES * (EACH - 1), "no token is lost", 0);
	check(strays() == 0, "nothing left behind", 1);
	empty_folder();
}

/* Whenever a process is killed, the file is whole, nothing issued is lost, and the lock is free. */
static void
test_killed(void)
{
	enum { ROUNDS = 25 };
	struct timespec nap = { 0, 0 };
	struct token t;
	char text[TOKEN_LEN + 1];
	long before, now;
	pid_t pid;
	int i, status;

	for (before = 0, i = 0; i < ROUNDS; i++, before = now) {
		if ((pid = fork()) == -1)
			abort();
		if (pid == 0)
			for (;;)
				if (issue(&t, text) == -1)
					_exit(1);
		nap.tv_nsec = 1000000 + i * 700000;
		nanosleep(&nap, NULL);
		kill(pid, SIGKILL);
		check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "killed", (size_t)i);
		now = count();
		check(now >= before, "whole after a kill", (size_t)i);
		check(issue(&t, text) == 0 && count() == now + 1, "still works", (size_t)i);
		now++;
	}
	empty_folder();
}

int
main(void)
{
	if (mkdtemp(folder) == NULL ||
	    (dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return 1;
	test_sound();
	test_damaged();
	test_fields();
	test_issue();
	test_refused();
	test_files();
	test_owner();
	test_together();
	test_killed();
	close(dir);
	rmdir(folder);
	return test_end();
}
