/* Options: opt.h. */
#include <errno.h>
#include <unistd.h>

#include "../opt.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define X10	"xxxxxxxxxx"
#define X60	X10 X10 X10 X10 X10 X10

/* Settings that write down what they were told: "grace=5;listen=a;". */
struct conf {
	char told[4096];
};

static const char *
tell(struct conf *c, const char *name, const char *value)
{
	size_t len = strlen(c->told);

	snprintf(c->told + len, sizeof(c->told) - len, "%s=%s;", name, value);
	return strstr(value, "bad") != NULL ? "is not a thing" : NULL;
}

static const char *
set_grace(void *conf, const char *value)
{
	long ms;

	tell(conf, "grace", value);
	return opt_seconds(value, &ms) == 0 ? NULL : "is not a number of seconds";
}

static const char *
set_listen(void *conf, const char *value)
{
	return tell(conf, "listen", value);
}

static const char *
set_half_close(void *conf, const char *value)
{
	return tell(conf, "half-close", value);
}

static const char *
set_user(void *conf, const char *value)
{
	return tell(conf, "user", value);
}

static const char *
set_check(void *conf, const char *value)
{
	return tell(conf, "check", value);
}

static const char *
set_verbose(void *conf, const char *value)
{
	return tell(conf, "verbose", value);
}

static const struct opt opts[] = {
	{ "grace", 0, OPT_VALUE, "10", "SECONDS", "how long names are kept", set_grace },
	{ "listen", 'l', OPT_LIST, "127.0.0.1:9001", "ADDR", "public address", set_listen },
	{ "half-close", 0, OPT_VALUE, NULL, "SECONDS", "patience", set_half_close },
	{ "user", 'u', OPT_VALUE, NULL, "NAME", "run as", set_user },
	{ "check", 'n', OPT_FLAG, NULL, NULL, "check and exit", set_check },
	{ "verbose", 'v', OPT_FLAG, NULL, NULL, "say more", set_verbose },
};

#define NARGV	8

/* want: what was told, then the operands after '|'; or the error. */
static const struct { const char *name, *argv[NARGV], *want; int bad; } args[] = {
	{ "nothing", { NULL }, "|", 0 },
	{ "long, value apart", { "--grace", "5" }, "grace=5;|", 0 },
	{ "long, value joined", { "--grace=5" }, "grace=5;|", 0 },
	{ "empty value", { "--user=" }, "user=;|", 0 },
	{ "empty value apart", { "--user", "" }, "user=;|", 0 },
	{ "value with '='", { "--user=a=b" }, "user=a=b;|", 0 },
	{ "value that begins with '-'", { "--user", "-n" }, "user=-n;|", 0 },
	{ "short, value apart", { "-u", "me" }, "user=me;|", 0 },
	{ "short, value joined", { "-ume" }, "user=me;|", 0 },
	{ "short flags together", { "-nv" }, "check=yes;verbose=yes;|", 0 },
	{ "short flags and a value", { "-nvume" }, "check=yes;verbose=yes;user=me;|", 0 },
	{ "short flags and a value apart", { "-nu", "me" }, "check=yes;user=me;|", 0 },
	{ "flag", { "--check" }, "check=yes;|", 0 },
	{ "list", { "-l", "a", "--listen=b" }, "listen=a;listen=b;|", 0 },
	{ "a list's value is not split", { "-l", "a b" }, "listen=a b;|", 0 },
	{ "the last value counts", { "--user=a", "--user=b" }, "user=a;user=b;|", 0 },
	{ "operands", { "a", "b" }, "|a b ", 0 },
	{ "mixed", { "a", "-n", "b", "-u", "me", "c" }, "check=yes;user=me;|a b c ", 0 },
	{ "after --", { "-n", "--", "-v", "--grace", "--" }, "check=yes;|-v --grace -- ", 0 },
	{ "- alone", { "-", "-n" }, "check=yes;|- ", 0 },
	{ "empty operand", { "", "-n" }, "check=yes;| ", 0 },
	{ "-- as a value", { "--user", "--", "x" }, "user=--;|x ", 0 },
	{ "unknown long", { "--lisen", "x" }, "unknown option --lisen", 1 },
	{ "unknown long, joined", { "--lisen=x" }, "unknown option --lisen", 1 },
	{ "no abbreviations", { "--list=x" }, "unknown option --list", 1 },
	{ "longer than a name", { "--listening" }, "unknown option --listening", 1 },
	{ "no name", { "--=x" }, "unknown option --", 1 },
	{ "unknown short", { "-x" }, "unknown option -x", 1 },
	{ "unknown short, later", { "-nx" }, "unknown option -x", 1 },
	{ "no value, long", { "--grace" }, "--grace needs a value", 1 },
	{ "no value, short", { "-nu" }, "--user needs a value", 1 },
	{ "flag with a value", { "--check=yes" }, "--check takes no value", 1 },
	{ "bad value", { "--grace", "x" }, "--grace: 'x' is not a number of seconds", 1 },
	{ "bad value, short", { "-lbad" }, "--listen: 'bad' is not a thing", 1 },
	{ "controls", { "--listen=bad\033[2J\n" }, "--listen: 'bad?[2J?' is not a thing", 1 },
	{ "a long value", { "--listen", "bad" X60 "x" }, "--listen: 'bad" X60 "x' is not a thing", 1 },
	{ "too long a value", { "--listen", "bad" X60 "xx" },
	    "--listen: 'bad" X60 "x...' is not a thing", 1 },
	{ "too long a name", { "--" X60 "xxxxx" }, "unknown option --" X60 "xxxx...", 1 },
};

/* want: what was told, or the error with FILE for the file's name. */
static const struct { const char *name, *text; size_t len; const char *want; int bad; } files[] = {
#define T(s)	s, sizeof(s) - 1
	{ "empty", T(""), "", 0 },
	{ "comments and empty lines", T("# a\n\n  # b\n \t\n"), "", 0 },
	{ "value", T("grace 5\n"), "grace=5;", 0 },
	{ "blanks", T(" \tgrace\t  5 \t\n"), "grace=5;", 0 },
	{ "CR LF", T("grace 5\r\nuser me\r\n"), "grace=5;user=me;", 0 },
	{ "no newline at the end", T("grace 5"), "grace=5;", 0 },
	{ "'#' in a value", T("user a#b #c\n"), "user=a#b #c;", 0 },
	{ "list", T("listen a\nlisten b\n"), "listen=a;listen=b;", 0 },
	{ "flags", T("check\nverbose no\n"), "check=yes;verbose=no;", 0 },
	{ "unknown", T("grace 5\n\n#\nlisen x\n"), "FILE:4: unknown name 'lisen'", 1 },
	{ "a dash too many", T("--grace 5\n"), "FILE:1: unknown name '--grace'", 1 },
	{ "bad value", T("\n\ngrace x\n"), "FILE:3: grace: 'x' is not a number of seconds", 1 },
	{ "no value", T("grace\n"), "FILE:1: grace needs a value", 1 },
	{ "neither yes nor no", T("check maybe\n"), "FILE:1: check: 'maybe' is not yes or no", 1 },
	{ "NUL", T("grace 5\nuser a\0b\n"), "FILE:2: a NUL byte", 1 },
	{ "NUL at the end", T("grace 5\n\0"), "FILE:2: a NUL byte", 1 },
};

static const struct { const char *var, *value, *want; int bad; } envs[] = {
	{ "T_GRACE", "5", "grace=5;", 0 },
	{ "T_HALF_CLOSE", "7", "half-close=7;", 0 },
	{ "T_USER", "a b", "user=a b;", 0 },
	{ "T_USER", "", "user=;", 0 },
	{ "T_LISTEN", "a", "listen=a;", 0 },
	{ "T_LISTEN", "  a \tb\nc ", "listen=a;listen=b;listen=c;", 0 },
	{ "T_LISTEN", " ", "", 0 },
	{ "T_CHECK", "yes", "check=yes;", 0 },
	{ "T_CHECK", "no", "check=no;", 0 },
	{ "T_OTHER", "x", "", 0 },
	{ "T_GRACE", "x", "T_GRACE: 'x' is not a number of seconds", 1 },
	{ "T_HALF_CLOSE", "bad", "T_HALF_CLOSE: 'bad' is not a thing", 1 },
	{ "T_LISTEN", "a bad c", "T_LISTEN: 'bad' is not a thing", 1 },
	{ "T_CHECK", "1", "T_CHECK: '1' is not yes or no", 1 },
	{ "T_CHECK", "", "T_CHECK: '' is not yes or no", 1 },
};

static char path[] = "/tmp/opt_test.XXXXXX";

static void
write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || fwrite(text, 1, len, f) != len || fclose(f) != 0)
		abort();
}

static void
begin(struct opt_set *s, struct conf *c)
{
	memset(c, 0, sizeof(*c));
	opt_init(s, opts, LEN(opts), "T");
}

static void
test_args(void)
{
	struct opt_set s;
	struct conf c;
	char *argv[NARGV + 1], *copy[NARGV + 1], got[8192];
	size_t i, len;
	int j, argc, nargs, rc;

	for (i = 0; i < LEN(args); i++) {
		begin(&s, &c);
		argv[0] = NULL;
		for (argc = 1; argc < NARGV && args[i].argv[argc - 1] != NULL; argc++)
			argv[argc] = copy[argc] = exact(args[i].argv[argc - 1],
			    strlen(args[i].argv[argc - 1]) + 1);
		rc = opt_args(&s, &c, argc, argv, &nargs);
		check(rc == (args[i].bad ? -1 : 0), args[i].name, i);
		if (rc == 0) {
			len = (size_t)snprintf(got, sizeof(got), "%s|", c.told);
			for (j = 0; j < nargs; j++)
				len += (size_t)snprintf(got + len, sizeof(got) - len, "%s ", argv[j]);
		}
		check(strcmp(rc == 0 ? got : s.err, args[i].want) == 0, args[i].name, i);
		while (--argc > 0)
			free(copy[argc]);
	}
}

static void
test_env(void)
{
	struct opt_set s;
	struct conf c;
	size_t i;
	int rc;

	for (i = 0; i < LEN(envs); i++) {
		begin(&s, &c);
		setenv(envs[i].var, envs[i].value, 1);
		rc = opt_env(&s, &c);
		unsetenv(envs[i].var);
		check(rc == (envs[i].bad ? -1 : 0), envs[i].var, i);
		check(strcmp(rc == 0 ? c.told : s.err, envs[i].want) == 0, envs[i].var, i);
	}
}

static void
test_files(void)
{
	struct opt_set s;
	struct conf c;
	char want[512];
	size_t i, n;
	int rc;

	for (i = 0; i < LEN(files); i++) {
		begin(&s, &c);
		write_file(files[i].text, files[i].len);
		rc = opt_file(&s, &c, path);
		if (strncmp(files[i].want, "FILE", 4) == 0)
			snprintf(want, sizeof(want), "%s%s", path, files[i].want + 4);
		else
			snprintf(want, sizeof(want), "%s", files[i].want);
		check(rc == (files[i].bad ? -1 : 0), files[i].name, i);
		check(rc == 0 || errno == EINVAL, files[i].name, i);
		check(strcmp(rc == 0 ? c.told : s.err, want) == 0, files[i].name, i);
		for (n = 0; n < files[i].len; n++) {	/* a verdict for every cut */
			begin(&s, &c);
			write_file(files[i].text, n);
			rc = opt_file(&s, &c, path);
			check(rc == 0 ? s.err[0] == '\0' : strncmp(s.err, path, strlen(path)) == 0,
			    files[i].name, n);
		}
	}
}

static void
test_file_errors(void)
{
	struct opt_set s;
	struct conf c;
	char *big;
	size_t len = (1 << 20) + 1;

	begin(&s, &c);
	check(opt_file(&s, &c, "/nonexistent/x") == -1 && errno == ENOENT, "missing file", 0);
	check(strcmp(s.err, "/nonexistent/x: No such file or directory") == 0, s.err, 0);
	check(opt_file(&s, &c, "/") == -1 && errno == EISDIR, "a folder", 0);
	if ((big = malloc(len)) == NULL)
		abort();
	memset(big, '#', len);
	write_file(big, len - 1);
	check(opt_file(&s, &c, path) == 0, "1 MiB", 0);
	write_file(big, len);
	check(opt_file(&s, &c, path) == -1 && errno == EFBIG, "more than 1 MiB", 0);
	free(big);
}

static void
test_precedence(void)
{
	struct opt_set s;
	struct conf c;
	char a0[] = "x", a1[] = "--listen=args", a2[] = "op", *argv[] = { a0, a1, a2, NULL };
	const char *want;
	int nargs;

	begin(&s, &c);
	write_file("listen file1\nlisten file2\ngrace 3\nuser file\ncheck\n", 50);
	setenv("T_LISTEN", "env1 env2", 1);
	setenv("T_GRACE", "4", 1);
	check(opt_args(&s, &c, 3, argv, &nargs) == 0 && nargs == 1, "args", 0);
	check(opt_env(&s, &c) == 0, "env", 0);
	check(opt_file(&s, &c, path) == 0, "file", 0);
	opt_defaults(&s, &c);
	want = "listen=args;grace=4;user=file;check=yes;";
	check(strcmp(c.told, want) == 0, c.told, 0);

	begin(&s, &c);			/* a list of the environment's hides the file's */
	setenv("T_LISTEN", "", 1);
	check(opt_env(&s, &c) == 0 && opt_file(&s, &c, path) == 0, "empty list", 0);
	check(strcmp(c.told, "grace=4;user=file;check=yes;") == 0, c.told, 0);
	unsetenv("T_LISTEN");
	unsetenv("T_GRACE");

	begin(&s, &c);
	opt_defaults(&s, &c);
	check(strcmp(c.told, "grace=10;listen=127.0.0.1:9001;") == 0, c.told, 0);
}

static void
test_help(void)
{
	static const char want[] =
	    "      --grace SECONDS        how long names are kept (10)\n"
	    "  -l, --listen ADDR          public address (127.0.0.1:9001)\n"
	    "      --half-close SECONDS   patience\n"
	    "  -u, --user NAME            run as\n"
	    "  -n, --check                check and exit\n"
	    "  -v, --verbose              say more\n";
	static const char names[] =
	    "  --grace SECONDS (10),\n"
	    "  --listen ADDR (127.0.0.1:9001),\n"
	    "  --half-close SECONDS, --user NAME, --check,\n"
	    "  --verbose\n";
	char got[1024], *cut;
	size_t n;

	opt_help(opts, LEN(opts), got, sizeof(got));
	check(strcmp(got, want) == 0, got, 0);
	for (n = 1; n < sizeof(want); n++) {
		cut = malloc(n);
		opt_help(opts, LEN(opts), cut, n);
		check(strlen(cut) == n - 1 && strncmp(cut, want, n - 1) == 0, "help, cut", n);
		free(cut);
	}
	opt_names(opts, LEN(opts), 50, got, sizeof(got));
	check(strcmp(got, names) == 0, got, 0);
	for (n = 1; n < sizeof(names); n++) {
		cut = malloc(n);
		opt_names(opts, LEN(opts), 50, cut, n);
		check(strlen(cut) == n - 1 && strncmp(cut, names, n - 1) == 0, "names, cut", n);
		free(cut);
	}
	opt_names(opts, 1, 1, got, sizeof(got));
	check(strcmp(got, "  --grace SECONDS (10)\n") == 0, got, 1);
}

static const struct { const char *text; long min, max, want; int bad; } numbers[] = {
	{ "0", 0, 10, 0, 0 }, { "10", 0, 10, 10, 0 }, { "11", 0, 10, 0, 1 }, { "-1", 0, 10, 0, 1 },
	{ "-1", -1, 10, -1, 0 }, { "007", 0, 10, 7, 0 }, { "2147483647", 0, 2147483647, 2147483647, 0 },
	{ "", 0, 10, 0, 1 }, { "-", -9, 10, 0, 1 }, { "+1", 0, 10, 0, 1 }, { " 1", 0, 10, 0, 1 },
	{ "1 ", 0, 10, 0, 1 }, { "0x1", 0, 10, 0, 1 }, { "1.0", 0, 10, 0, 1 }, { "--1", -9, 10, 0, 1 },
	{ "18446744073709551617", 0, 10, 0, 1 }, { "99999999999999999999999", 0, 10, 0, 1 },
};

static const struct { const char *text; long want; } seconds[] = {	/* want 0: refused */
	{ "30", 30000 }, { "30s", 30000 }, { "0.5", 500 }, { "0.05", 50 }, { "0.001", 1 },
	{ "500ms", 500 }, { "2m", 120000 }, { "1.5m", 90000 }, { "1h", 3600000 },
	{ "20d", 1728000000 }, { "1.000", 1000 }, { "2.0ms", 2 }, { "0.5d", 43200000 },
	{ "0", 0 }, { "0ms", 0 }, { "0.000", 0 }, { "0.0001", 0 }, { "0.5ms", 0 }, { "", 0 },
	{ ".5", 0 }, { "5.", 0 }, { "-1", 0 }, { "+1", 0 }, { " 1", 0 }, { "1 ", 0 }, { "1x", 0 },
	{ "1sm", 0 }, { "1M", 0 }, { "1e3", 0 }, { "1,5", 0 }, { "ms", 0 }, { "1.5.5", 0 },
	{ "9223372036854775807", 0 }, { "9223372036854775807d", 0 },
	{ "99999999999999999999999", 0 },
};

static const struct { const char *text; long want; } bytes[] = {	/* want -1: refused */
	{ "0", 0 }, { "65536", 65536 }, { "256k", 262144 }, { "256K", 262144 }, { "8M", 8388608 },
	{ "8m", 8388608 }, { "1G", 1073741824 }, { "1g", 1073741824 },
	{ "", -1 }, { "k", -1 }, { "-1", -1 }, { "1.5M", -1 }, { "1kb", -1 }, { "1kk", -1 },
	{ "1T", -1 }, { " 1", -1 }, { "1 ", -1 }, { "0x10", -1 }, { "9223372036854775807k", -1 },
	{ "9223372036854775808", -1 }, { "99999999999999999999999", -1 },
};

static void
test_numbers(void)
{
	long n;
	size_t i;

	for (i = 0; i < LEN(numbers); i++) {
		n = -99;
		check(opt_number(numbers[i].text, numbers[i].min, numbers[i].max, &n) ==
		    (numbers[i].bad ? -1 : 0), numbers[i].text, i);
		check(n == (numbers[i].bad ? -99 : numbers[i].want), numbers[i].text, i);
	}
	for (i = 0; i < LEN(seconds); i++) {
		n = 0;
		check(opt_seconds(seconds[i].text, &n) == (seconds[i].want == 0 ? -1 : 0),
		    seconds[i].text, i);
		check(n == seconds[i].want, seconds[i].text, i);
	}
	for (i = 0; i < LEN(bytes); i++) {
		n = -1;
		check(opt_bytes(bytes[i].text, &n) == (bytes[i].want == -1 ? -1 : 0),
		    bytes[i].text, i);
		check(n == bytes[i].want, bytes[i].text, i);
	}
}

int
main(void)
{
	int fd = mkstemp(path);

	if (fd == -1)
		return 1;
	close(fd);
	test_args();
	test_env();
	test_files();
	test_file_errors();
	test_precedence();
	test_help();
	test_numbers();
	unlink(path);
	return test_end();
}
