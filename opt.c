/* opt.c: options from one table; see opt.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "file.h"
#include "opt.h"

enum { WORD_MAX = 64, PATH_SHOWN = 100, FILE_SIZE_MAX = 1 << 20 };

enum source { NOWHERE, FROM_FILE, FROM_ENV, FROM_ARGS };	/* rising precedence */

struct origin {			/* where a value stands, for messages */
	enum source source;
	const char *path;	/* with FROM_FILE */
	size_t line;
};

void
opt_init(struct opt_set *s, const struct opt *opts, size_t n, const char *prefix)
{
	assert(n <= sizeof(s->from));
	memset(s, 0, sizeof(*s));
	s->opts = opts;
	s->n = n;
	s->prefix = prefix;
}

static const struct opt *
find(const struct opt_set *s, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strlen(s->opts[i].name) == len && memcmp(s->opts[i].name, name, len) == 0)
			return &s->opts[i];
	return NULL;
}

static const struct opt *
find_letter(const struct opt_set *s, char letter)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->opts[i].letter == letter)
			return &s->opts[i];
	return NULL;
}

/* Text of the user's, cut to max bytes; what a terminal would obey becomes '?'. */
static void
put_word(struct buf *b, const char *p, size_t len, size_t max)
{
	size_t i;

	for (i = 0; i < len && i < max; i++)
		buf_char(b, (unsigned char)p[i] < ' ' || p[i] == 0x7f ? '?' : p[i]);
	if (len > max)
		buf_str(b, "...");
}

static void
put_env_name(struct buf *b, const char *prefix, const char *name)
{
	buf_str(b, prefix);
	buf_char(b, '_');
	for (; *name != '\0'; name++)
		buf_char(b, *name == '-' ? '_' :
		    *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
}

static void
put_place(struct buf *b, const struct origin *o)
{
	if (o->source != FROM_FILE)
		return;
	put_word(b, o->path, strlen(o->path), PATH_SHOWN);
	buf_char(b, ':');
	buf_u64(b, o->line);
	buf_str(b, ": ");
}

/* The option as the user wrote it there. */
static void
put_opt(struct buf *b, const struct opt_set *s, const struct opt *opt, const struct origin *o)
{
	put_place(b, o);
	if (o->source == FROM_ENV) {
		put_env_name(b, s->prefix, opt->name);
		return;
	}
	if (o->source == FROM_ARGS)
		buf_str(b, "--");
	buf_str(b, opt->name);
}

static void
err_begin(struct opt_set *s, struct buf *b)
{
	buf_init(b, s->err, sizeof(s->err) - 1);
}

static int
err_end(struct opt_set *s, const struct buf *b, int error)
{
	s->err[b->len] = '\0';
	errno = error;
	return -1;
}

/* "--flag takes no value" */
static int
err_opt(struct opt_set *s, const struct opt *opt, const struct origin *o, const char *text)
{
	struct buf b;

	err_begin(s, &b);
	put_opt(&b, s, opt, o);
	buf_str(&b, text);
	return err_end(s, &b, EINVAL);
}

/* "unknown option --lisen" */
static int
err_unknown(struct opt_set *s, const char *dashes, const char *name, size_t len)
{
	struct buf b;

	err_begin(s, &b);
	buf_str(&b, "unknown option ");
	buf_str(&b, dashes);
	put_word(&b, name, len, WORD_MAX);
	return err_end(s, &b, EINVAL);
}

/* Hand one value to the program, unless a source of more weight has set the option. */
static int
set(struct opt_set *s, void *conf, const struct opt *opt, const struct origin *o,
    const char *value)
{
	unsigned char *from = &s->from[opt - s->opts];
	const char *why;
	struct buf b;

	if (*from > o->source)
		return 0;
	*from = (unsigned char)o->source;
	if (opt->kind == OPT_FLAG && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		why = "is not yes or no";
	else
		why = opt->set(conf, value);
	if (why == NULL)
		return 0;
	err_begin(s, &b);
	put_opt(&b, s, opt, o);
	buf_str(&b, ": '");
	put_word(&b, value, strlen(value), WORD_MAX);
	buf_str(&b, "' ");
	buf_str(&b, why);
	return err_end(s, &b, EINVAL);
}

/* A list's words, separated by blanks, one by one. */
static int
set_words(struct opt_set *s, void *conf, const struct opt *opt, const struct origin *o,
    const char *value)
{
	char *copy, *p, *rest;
	int rc = 0;

	if ((copy = strdup(value)) == NULL)
		return err_opt(s, opt, o, ": out of memory");
	for (p = strtok_r(copy, " \t\n", &rest); rc == 0 && p != NULL;
	    p = strtok_r(NULL, " \t\n", &rest))
		rc = set(s, conf, opt, o, p);
	free(copy);
	return rc;
}

/* --name, --name value or --name=value at argv[*i]; *i moves on to the last word used. */
static int
long_opt(struct opt_set *s, void *conf, int argc, char **argv, int *i)
{
	static const struct origin o = { FROM_ARGS, NULL, 0 };
	const char *name = argv[*i] + 2;
	size_t len = strcspn(name, "=");
	const struct opt *opt = find(s, name, len);

	if (opt == NULL)
		return err_unknown(s, "--", name, len);
	if (opt->kind == OPT_FLAG) {
		if (name[len] == '=')
			return err_opt(s, opt, &o, " takes no value");
		return set(s, conf, opt, &o, "yes");
	}
	if (name[len] == '=')
		return set(s, conf, opt, &o, name + len + 1);
	if (*i + 1 >= argc)
		return err_opt(s, opt, &o, " needs a value");
	return set(s, conf, opt, &o, argv[++*i]);
}

/* -l value, -lvalue, or flags together: -nv. */
static int
short_opts(struct opt_set *s, void *conf, int argc, char **argv, int *i)
{
	static const struct origin o = { FROM_ARGS, NULL, 0 };
	const char *p;
	const struct opt *opt;

	for (p = argv[*i] + 1; *p != '\0'; p++) {
		if ((opt = find_letter(s, *p)) == NULL)
			return err_unknown(s, "-", p, 1);
		if (opt->kind != OPT_FLAG)
			break;
		if (set(s, conf, opt, &o, "yes") == -1)
			return -1;
	}
	if (*p == '\0')
		return 0;
	if (p[1] != '\0')
		return set(s, conf, opt, &o, p + 1);
	if (*i + 1 >= argc)
		return err_opt(s, opt, &o, " needs a value");
	return set(s, conf, opt, &o, argv[++*i]);
}

int
opt_args(struct opt_set *s, void *conf, int argc, char **argv, int *nargs)
{
	int i, rc, n = 0, only_operands = 0;

	for (i = 1; i < argc; i++) {
		if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0') {
			argv[n++] = argv[i];	/* n < i: nothing unread is lost */
			continue;
		}
		if (strcmp(argv[i], "--") == 0) {
			only_operands = 1;
			continue;
		}
		if (argv[i][1] == '-')
			rc = long_opt(s, conf, argc, argv, &i);
		else
			rc = short_opts(s, conf, argc, argv, &i);
		if (rc == -1)
			return -1;
	}
	*nargs = n;
	return 0;
}

int
opt_env(struct opt_set *s, void *conf)
{
	static const struct origin o = { FROM_ENV, NULL, 0 };
	char name[128];
	const char *value;
	struct buf b;
	size_t i;
	int rc;

	for (i = 0; i < s->n; i++) {
		buf_init(&b, name, sizeof(name) - 1);
		put_env_name(&b, s->prefix, s->opts[i].name);
		name[b.len] = '\0';
		if (s->from[i] > FROM_ENV || (value = getenv(name)) == NULL)
			continue;
		s->from[i] = FROM_ENV;	/* an empty list, too, replaces the file's */
		if (s->opts[i].kind == OPT_LIST)
			rc = set_words(s, conf, &s->opts[i], &o, value);
		else
			rc = set(s, conf, &s->opts[i], &o, value);
		if (rc == -1)
			return -1;
	}
	return 0;
}

/* One line of the file, NUL-terminated; its end is trimmed in place. */
static int
file_line(struct opt_set *s, void *conf, const struct origin *o, char *p)
{
	static const char blanks[] = " \t\r";
	size_t len;
	const struct opt *opt;
	struct buf b;

	p += strspn(p, blanks);
	for (len = strlen(p); len > 0 && strchr(blanks, p[len - 1]) != NULL; len--)
		p[len - 1] = '\0';
	if (*p == '\0' || *p == '#')
		return 0;
	len = strcspn(p, blanks);
	if ((opt = find(s, p, len)) == NULL) {
		err_begin(s, &b);
		put_place(&b, o);
		buf_str(&b, "unknown name '");
		put_word(&b, p, len, WORD_MAX);
		buf_char(&b, '\'');
		return err_end(s, &b, EINVAL);
	}
	p += len;
	p += strspn(p, blanks);
	if (*p != '\0')
		return set(s, conf, opt, o, p);
	if (opt->kind != OPT_FLAG)
		return err_opt(s, opt, o, " needs a value");
	return set(s, conf, opt, o, "yes");
}

/* The lines of text, len bytes and the NUL behind them. */
static int
file_lines(struct opt_set *s, void *conf, const char *path, char *text, size_t len)
{
	struct origin o = { FROM_FILE, path, 0 };
	struct buf b;
	char *p, *end, *next;

	text[len] = '\n';
	for (p = text; p < text + len; p = next) {
		o.line++;
		end = memchr(p, '\n', (size_t)(text + len - p) + 1);
		next = end + 1;
		*end = '\0';
		if (strlen(p) != (size_t)(end - p)) {
			err_begin(s, &b);
			put_place(&b, &o);
			buf_str(&b, "a NUL byte");
			return err_end(s, &b, EINVAL);
		}
		if (file_line(s, conf, &o, p) == -1)
			return -1;
	}
	return 0;
}

/* "/etc/tunneld.conf: Permission denied"; errno stays error. */
static int
err_file(struct opt_set *s, const char *path, int error)
{
	char reason[96];
	struct buf b;

	err_begin(s, &b);
	put_word(&b, path, strlen(path), PATH_SHOWN);
	buf_str(&b, ": ");
	buf_str(&b, strerror_r(error, reason, sizeof(reason)) == 0 ? reason : "cannot be read");
	return err_end(s, &b, error);
}

int
opt_file(struct opt_set *s, void *conf, const char *path)
{
	char *text = NULL;
	size_t len;
	int fd, saved, rc;

	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1)
		return err_file(s, path, errno);
	if (file_read(fd, FILE_SIZE_MAX, &text, &len) == -1)
		rc = err_file(s, path, errno);
	else
		rc = file_lines(s, conf, path, text, len);
	saved = errno;
	free(text);
	close(fd);
	errno = saved;
	return rc;
}

void
opt_defaults(struct opt_set *s, void *conf)
{
	const char *why;
	size_t i;

	for (i = 0; i < s->n; i++) {
		if (s->from[i] != NOWHERE || s->opts[i].dflt == NULL)
			continue;
		why = s->opts[i].set(conf, s->opts[i].dflt);
		assert(why == NULL);
		(void)why;
	}
}

/* "  -l, --listen ADDR" */
static void
put_usage(struct buf *b, const struct opt *opt)
{
	if (opt->letter != 0) {
		buf_str(b, "  -");
		buf_char(b, opt->letter);
		buf_str(b, ", --");
	} else {
		buf_str(b, "      --");
	}
	buf_str(b, opt->name);
	if (opt->arg != NULL) {
		buf_char(b, ' ');
		buf_str(b, opt->arg);
	}
}

static size_t
usage_width(const struct opt *opt)
{
	return 8 + strlen(opt->name) + (opt->arg != NULL ? 1 + strlen(opt->arg) : 0);
}

/* " (127.0.0.1:9001)", or nothing */
static void
put_default(struct buf *b, const struct opt *opt)
{
	if (opt->dflt == NULL || opt->kind == OPT_FLAG)
		return;
	buf_str(b, " (");
	buf_str(b, opt->dflt);
	buf_char(b, ')');
}

void
opt_help(const struct opt *opts, size_t n, char *out, size_t cap)
{
	struct buf b;
	size_t i, pad, widest = 0;

	for (i = 0; i < n; i++)
		if (usage_width(&opts[i]) > widest)
			widest = usage_width(&opts[i]);
	buf_init(&b, out, cap - 1);
	for (i = 0; i < n; i++) {
		put_usage(&b, &opts[i]);
		for (pad = usage_width(&opts[i]); pad < widest + 3; pad++)
			buf_char(&b, ' ');
		buf_str(&b, opts[i].help);
		put_default(&b, &opts[i]);
		buf_char(&b, '\n');
	}
	out[b.len] = '\0';
}

void
opt_names(const struct opt *opts, size_t n, size_t width, char *out, size_t cap)
{
	char word[128];
	size_t i, column = 0;
	struct buf b, w;

	buf_init(&b, out, cap - 1);
	for (i = 0; i < n; i++) {
		buf_init(&w, word, sizeof(word) - 1);
		buf_str(&w, "--");
		buf_str(&w, opts[i].name);
		if (opts[i].arg != NULL) {
			buf_char(&w, ' ');
			buf_str(&w, opts[i].arg);
		}
		put_default(&w, &opts[i]);
		if (i < n - 1)
			buf_char(&w, ',');
		if (column > 0 && column + 1 + w.len > width) {
			buf_char(&b, '\n');
			column = 0;
		}
		buf_str(&b, column > 0 ? " " : "  ");
		buf_put(&b, word, w.len);
		column += (column > 0 ? 1 : 2) + w.len;
	}
	buf_char(&b, '\n');
	out[b.len] = '\0';
}

/* Digits at *p, moving it past them: 0, or -1 if there are none or they exceed LONG_MAX. */
static int
digits(const char **p, long *out)
{
	const char *start = *p;
	long n = 0;
	int digit;

	for (; **p >= '0' && **p <= '9'; ++*p) {
		digit = **p - '0';
		if (n > (LONG_MAX - digit) / 10)
			return -1;
		n = n * 10 + digit;
	}
	*out = n;
	return *p == start ? -1 : 0;
}

int
opt_number(const char *text, long min, long max, long *out)
{
	int negative = *text == '-';
	long n;

	text += negative;
	if (digits(&text, &n) == -1 || *text != '\0')
		return -1;
	if (negative)
		n = -n;
	if (n < min || n > max)
		return -1;
	*out = n;
	return 0;
}

/* Up to three decimals after a '.', in thousandths. */
static int
thousandths(const char **p, long *out)
{
	long scale = 100;

	*out = 0;
	if (**p != '.')
		return 0;
	++*p;
	if (**p < '0' || **p > '9')
		return -1;
	for (; **p >= '0' && **p <= '9'; ++*p, scale /= 10) {
		if (scale == 0)
			return -1;
		*out += (**p - '0') * scale;
	}
	return 0;
}

int
opt_seconds(const char *text, long *ms)
{
	static const struct { const char *name; long ms; } units[] = {
		{ "", 1000L }, { "ms", 1L }, { "s", 1000L }, { "m", 60000L },
		{ "h", 3600000L }, { "d", 86400000L },
	};
	long whole, part, unit = 0;
	long long parts;
	size_t i;

	if (digits(&text, &whole) == -1 || thousandths(&text, &part) == -1)
		return -1;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(text, units[i].name) == 0)
			unit = units[i].ms;
	if (unit == 0 || whole > LONG_MAX / unit - 1)
		return -1;
	parts = (long long)part * unit;
	if (parts % 1000 != 0)		/* finer than a millisecond */
		return -1;
	if (whole == 0 && parts == 0)
		return -1;
	*ms = whole * unit + (long)(parts / 1000);
	return 0;
}

int
opt_bytes(const char *text, long *out)
{
	long n, unit = 1;

	if (digits(&text, &n) == -1)
		return -1;
	if (*text == 'k' || *text == 'K')
		unit = 1024L;
	else if (*text == 'm' || *text == 'M')
		unit = 1024L * 1024;
	else if (*text == 'g' || *text == 'G')
		unit = 1024L * 1024 * 1024;
	if (unit > 1)
		text++;
	if (*text != '\0' || n > LONG_MAX / unit)
		return -1;
	*out = n * unit;
	return 0;
}

const char *
opt_copy(char *to, size_t cap, const char *v)
{
	size_t len = strlen(v);

	if (len >= cap)
		return "is too long";
	memcpy(to, v, len + 1);
	return NULL;
}
