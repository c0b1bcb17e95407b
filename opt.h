/*
 * opt.h: options from one table, for the command line, the environment and the
 * configuration file. Precedence: command line, environment, file, default;
 * a list given at one of them replaces the list of those below it.
 * Nothing here prints or exits: errors are written to err as one line that
 * names the offending word.
 */
#ifndef OPT_H
#define OPT_H

#include <stddef.h>

enum opt_kind {
	OPT_FLAG,		/* no value; in file and environment: yes or no */
	OPT_VALUE,
	OPT_LIST		/* may be given several times; the environment separates by blanks */
};

struct opt {
	const char *name;	/* "half-close": --half-close, half-close in the file, PREFIX_HALF_CLOSE */
	char letter;		/* -l, or 0 */
	enum opt_kind kind;
	const char *dflt;	/* NULL: none. Passed to set like any other value */
	const char *arg;	/* the value's name in --help, NULL for a flag */
	const char *help;	/* a few words */
	/*
	 * Take a value into the program's settings: NULL, or what is wrong (a constant
	 * string, "is not a port"). A flag gets "yes" or "no". The value lives only
	 * for the call: copy what is kept. A wrong one is quoted in err, so a secret's
	 * set must take anything and leave judging it for later.
	 */
	const char *(*set)(void *conf, const char *value);
};

struct opt_set {		/* where values came from so far; the caller's memory */
	const struct opt *opts;
	size_t n;		/* entries in opts; at most 128 */
	const char *prefix;	/* environment: "TUNNELD" */
	unsigned char from[128];	/* per option: the highest source seen */
	char err[256];		/* the last error */
};

void opt_init(struct opt_set *, const struct opt *, size_t n, const char *prefix);

/*
 * The command line: argv[0] is not looked at. Long "--name value", "--name=value", short "-l value",
 * "-lvalue"; "--" ends the options; operands and options may be mixed. Operands are moved, in order, to the front: argv[0..*nargs).
 * 0, or -1 and err ("unknown option --lisen", "--listen: 'x' is not a port", "--grace needs a value").
 * Call before opt_env and opt_file: what is set here is not set there again.
 */
int opt_args(struct opt_set *, void *conf, int argc, char **argv, int *nargs);
int opt_env(struct opt_set *, void *conf);
/* "name value" lines, '#' comments, blanks around ignored. err names file and line. A missing file: -1 with errno ENOENT and err set. */
int opt_file(struct opt_set *, void *conf, const char *path);
void opt_defaults(struct opt_set *, void *conf);	/* those that nothing set; a bad default is a programming error (assert) */
/* For set: v into to[cap], or "is too long". */
const char *opt_copy(char *to, size_t cap, const char *v);

/* Help lines "  -l, --listen ADDR   public address and port (127.0.0.1:9001)", NUL-terminated, into out[cap]. */
void opt_help(const struct opt *, size_t n, char *out, size_t cap);

/* Without the words: "  --grace TIME (10), --drain TIME (20)", in lines of at most width characters if a name is not longer. */
void opt_names(const struct opt *, size_t n, size_t width, char *out, size_t cap);

/* Values: 0, or -1 if text is not wholly one. */
int opt_number(const char *text, long min, long max, long *out);
int opt_seconds(const char *text, long *ms);	/* "30", "0.5", "2m", "500ms", "1h", "30d" to milliseconds, above 0 */
int opt_bytes(const char *text, long *out);	/* "65536", "256k", "8M", "1G" (powers of 1024) */

#endif
