/* completion.c: completions for shells, from tables of options; see completion.h. */
#include <stdarg.h>
#include <string.h>

#include "buf.h"
#include "completion.h"

enum value { VALUE_NONE, VALUE_TEXT, VALUE_FILE, VALUE_DIR, VALUE_CMD, VALUE_WORDS };

struct script {			/* one being written */
	struct buf b;
	const char *prog;
	const struct completion *c;
	size_t n;
};

/* What the value of an option is; words[cap] gets those it may be, with blanks between them. */
static enum value
value_of(const struct opt *o, char *words, size_t cap)
{
	const char *p = o->arg;
	struct buf b;
	size_t len;

	if (o->kind == OPT_FLAG || p == NULL)
		return VALUE_NONE;
	if (strcmp(p, "FILE") == 0)
		return VALUE_FILE;
	if (strcmp(p, "DIR") == 0)
		return VALUE_DIR;
	if (strcmp(p, "CMD") == 0)
		return VALUE_CMD;
	buf_init(&b, words, cap - 1);
	for (; strchr(o->arg, '|') != NULL && *p != '\0'; p += len + (p[len] != '\0')) {
		len = strcspn(p, "|");
		if (len == 0 || strspn(p, "abcdefghijklmnopqrstuvwxyz-") != len)
			continue;
		if (b.len > 0)
			buf_char(&b, ' ');
		buf_put(&b, p, len);
	}
	words[b.len] = '\0';
	return b.len > 0 ? VALUE_WORDS : VALUE_TEXT;
}

static int
are_files(const struct completion *c)
{
	return c->operands != NULL && strcmp(c->operands, "FILE") == 0;
}

/* The entry is a second word behind this first one. */
static int
is_below(const struct completion *c, const char *first)
{
	size_t len = strlen(first);

	return len > 0 && strncmp(c->words, first, len) == 0 && c->words[len] == ' ';
}

static int
has_below(const struct script *s, const char *first)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (is_below(&s->c[i], first))
			return 1;
	return 0;
}

static const char *
last_word(const struct completion *c)
{
	const char *p = strchr(c->words, ' ');

	return p != NULL ? p + 1 : c->words;
}

/* The entry is one that may come directly behind first; "": behind the program's name. */
static int
follows(const struct completion *c, const char *first)
{
	return first[0] != '\0' ? is_below(c, first) : c->words[0] != '\0' && strchr(c->words, ' ') == NULL;
}

/* The words that may, with blanks between them. */
static void
put_below(struct script *s, const char *first)
{
	size_t i;
	int some = 0;

	for (i = 0; i < s->n; i++)
		if (follows(&s->c[i], first)) {
			buf_str(&s->b, some++ ? " " : "");
			buf_str(&s->b, last_word(&s->c[i]));
		}
}

/* Several strings, up to NULL. */
static void
put(struct script *s, ...)
{
	const char *p;
	va_list ap;

	va_start(ap, s);
	while ((p = va_arg(ap, const char *)) != NULL)
		buf_str(&s->b, p);
	va_end(ap);
}

/* Text in single quotes, as shells read them; also: characters that want a backslash. fish: within quotes it knows \'. */
static void
put_text(struct script *s, const char *p, const char *also, int fish)
{
	for (; *p != '\0'; p++)
		if (*p == '\'')
			buf_str(&s->b, fish ? "\\'" : "'\\''");
		else {
			if (strchr(also, *p) != NULL)
				buf_char(&s->b, '\\');
			buf_char(&s->b, *p);
		}
}

static void
put_head(struct script *s, const char *shell)
{
	put(s, "# ", shell, " completion for ", s->prog, ", made by: ", s->prog, " completion ", shell, "\n", (char *)NULL);
}

/* bash. */

static void
bash_value(struct script *s, const struct completion *c, const struct opt *o)
{
	static const char *const how[] = { "", "", "-f", "-d", "-c", "-W '" };
	char words[128], letter[2] = { o->letter, '\0' };
	enum value v = value_of(o, words, sizeof(words));

	if (v == VALUE_NONE)
		return;
	put(s, "\t'", c->words, ":--", o->name, "'", (char *)NULL);
	if (o->letter != 0)
		put(s, "|'", c->words, ":-", letter, "'", (char *)NULL);
	buf_str(&s->b, ") ");
	if (v != VALUE_TEXT)
		put(s, "_", s->prog, "_add ", how[v], v == VALUE_WORDS ? words : "", v == VALUE_WORDS ? "'; " : "; ", (char *)NULL);
	buf_str(&s->b, "return ;;\n");
}

static void
bash_command(struct script *s, const struct completion *c)
{
	size_t k;

	put(s, "\t'", c->words, "')\n\t\twords='", (char *)NULL);
	for (k = 0; k < c->n; k++)
		put(s, k > 0 ? " --" : "--", c->opts[k].name, (char *)NULL);
	put(s, "'\n\t\t[[ $cur == -*", c->words[0] == '\0' ? " || $COMP_CWORD -gt 1" : "", " ]] || words=", (char *)NULL);
	if (c->ask != NULL)
		put(s, "$(", s->prog, " ", c->ask, " 2>/dev/null) ;;\n", (char *)NULL);
	else if (are_files(c))
		put(s, "''\n\t\t[[ $cur == -* ]] || _", s->prog, "_add -f ;;\n", (char *)NULL);
	else {
		buf_str(&s->b, "'");
		if (c->operands != NULL)
			buf_str(&s->b, c->operands);
		else if (c->words[0] == '\0' || has_below(s, c->words))
			put_below(s, c->words);
		buf_str(&s->b, "' ;;\n");
	}
}

static void
bash(struct script *s)
{
	size_t i, k;

	put_head(s, "bash");
	put(s, "_", s->prog, "_add()\n{\n\tlocal word\n"
	    "\t[ \"$1\" = -W ] || compopt -o filenames 2>/dev/null\n"
	    "\twhile IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen \"$@\" -- \"$cur\")\n}\n"
	    "_", s->prog, "()\n{\n"
	    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd='' words=''\n"
	    "\tCOMPREPLY=()\n"
	    "\tif [ \"$cur\" = = ]; then\n"	/* a word of its own there */
	    "\t\tcur=''\n"
	    "\telif [ \"$prev\" = = ] && [ \"$COMP_CWORD\" -gt 2 ]; then\n"
	    "\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n"
	    "\tfi\n"
	    "\t[ \"$COMP_CWORD\" -eq 1 ] || cmd=${COMP_WORDS[1]}\n"
	    "\tcase $cmd in\n\t-*) cmd='' ;;\n", (char *)NULL);
	for (i = 0; i < s->n; i++)
		if (has_below(s, s->c[i].words))
			put(s, "\t", s->c[i].words, ") [ \"$COMP_CWORD\" -eq 2 ] || cmd=\"$cmd ${COMP_WORDS[2]}\" ;;\n", (char *)NULL);
	buf_str(&s->b, "\tesac\n\tcase $cmd:$prev in\n");
	for (i = 0; i < s->n; i++)
		for (k = 0; k < s->c[i].n; k++)
			bash_value(s, &s->c[i], &s->c[i].opts[k]);
	buf_str(&s->b, "\tesac\n\tcase $cmd in\n");
	for (i = 0; i < s->n; i++)
		bash_command(s, &s->c[i]);
	put(s, "\tesac\n\t_", s->prog, "_add -W \"$words\"\n}\ncomplete -F _", s->prog, " ", s->prog, "\n", (char *)NULL);
}

/* zsh. */

static void
zsh_option(struct script *s, const struct opt *o)
{
	static const char *const action[] = { "", " ", "_files", "_files -/", "_command_names -e", "" };
	char words[128], letter[2] = { o->letter, '\0' };
	enum value v = value_of(o, words, sizeof(words));
	const char *plus = v != VALUE_NONE ? "+" : "", *is = v != VALUE_NONE ? "=" : "";

	buf_str(&s->b, " \\\n\t\t\t");
	if (o->kind == OPT_LIST)
		buf_str(&s->b, "'*'");
	else if (o->letter != 0)
		put(s, "'(-", letter, " --", o->name, ")'", (char *)NULL);
	if (o->letter != 0)
		put(s, "{-", letter, plus, ",--", o->name, is, "}'[", (char *)NULL);
	else
		put(s, "'--", o->name, is, "[", (char *)NULL);
	put_text(s, o->help, "[]\\", 0);
	buf_str(&s->b, "]");
	if (v != VALUE_NONE) {
		buf_str(&s->b, ":");
		put_text(s, o->arg, ":\\", 0);
		put(s, ":", v == VALUE_WORDS ? "(" : action[v], v == VALUE_WORDS ? words : "", v == VALUE_WORDS ? ")" : "",
		    (char *)NULL);
	}
	buf_str(&s->b, "'");
}

static void
zsh_command(struct script *s, const struct completion *c)
{
	size_t i;

	put(s, "\t'", c->words, "')\n", (char *)NULL);
	if (c->words[0] == '\0' || has_below(s, c->words)) {
		buf_str(&s->b, "\t\tbelow=(");
		for (i = 0; i < s->n; i++)
			if (follows(&s->c[i], c->words)) {
				put(s, "\n\t\t\t'", last_word(&s->c[i]), ":", (char *)NULL);
				put_text(s, s->c[i].help, ":\\", 0);
				buf_str(&s->b, "'");
			}
		put(s, ")\n\t\t(( CURRENT > 2 )) || _describe -t commands command below\n", (char *)NULL);
	}
	if (c->n > 0 || c->ask != NULL || c->operands != NULL) {
		buf_str(&s->b, "\t\t_arguments -s :");
		for (i = 0; i < c->n; i++)
			zsh_option(s, &c->opts[i]);
		if (c->ask != NULL)
			put(s, " \\\n\t\t\t'*:saved tunnel:{below=(${(f)\"$(", s->prog, " ", c->ask,
			    " 2>/dev/null)\"}); compadd -a below}'", (char *)NULL);
		else if (are_files(c))
			buf_str(&s->b, " \\\n\t\t\t'1:FILE:_files'");
		else if (c->operands != NULL)
			put(s, " \\\n\t\t\t'1:word:(", c->operands, ")'", (char *)NULL);
		buf_str(&s->b, "\n");
	}
	buf_str(&s->b, "\t\t;;\n");
}

static void
zsh(struct script *s)
{
	size_t i;

	put(s, "#compdef ", s->prog, "\n", (char *)NULL);
	put_head(s, "zsh");
	put(s, "_", s->prog, "()\n{\n"
	    "\tlocal cmd=''\n\tlocal -a below\n"
	    "\tif (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then\n"
	    "\t\tcmd=$words[2]\n\t\tshift words\n\t\t(( CURRENT-- ))\n\tfi\n", (char *)NULL);
	for (i = 0; i < s->n; i++)
		if (has_below(s, s->c[i].words))
			put(s, "\tif [[ $cmd == ", s->c[i].words, " ]] && (( CURRENT > 2 )); then\n"
			    "\t\tcmd=\"$cmd $words[2]\"\n\t\tshift words\n\t\t(( CURRENT-- ))\n\tfi\n", (char *)NULL);
	buf_str(&s->b, "\tcase $cmd in\n");
	for (i = 0; i < s->n; i++)
		zsh_command(s, &s->c[i]);
	put(s, "\tesac\n}\n"
	    "if [ \"$funcstack[1]\" = _", s->prog, " ]; then\n"	/* loaded by its first use */
	    "\t_", s->prog, " \"$@\"\n"
	    "else\n"
	    "\tcompdef _", s->prog, " ", s->prog, "\n"
	    "fi\n", (char *)NULL);
}

/* fish. */

/* "complete -c tunnel -n 'when this command is there' " */
static void
fish_begin(struct script *s, const struct completion *c)
{
	size_t len = strcspn(c->words, " ");

	put(s, "complete -c ", s->prog, " -n '", (char *)NULL);
	if (c->words[0] == '\0') {
		buf_str(&s->b, "not __fish_seen_subcommand_from ");
		put_below(s, "");
	} else {
		buf_str(&s->b, "__fish_seen_subcommand_from ");
		buf_put(&s->b, c->words, len);
	}
	if (c->words[len] == ' ')
		put(s, "; and __fish_seen_subcommand_from", c->words + len, (char *)NULL);
	else if (c->words[0] != '\0' && has_below(s, c->words)) {
		buf_str(&s->b, "; and not __fish_seen_subcommand_from ");
		put_below(s, c->words);
	}
	buf_str(&s->b, "' ");
}

static void
fish_option(struct script *s, const struct completion *c, const struct opt *o)
{
	static const char *const how[] = { "", " -x", " -r -F", " -x -a '(__fish_complete_directories)'",
	    " -x -a '(__fish_complete_command)'", " -x -a '" };
	char words[128], letter[2] = { o->letter, '\0' };
	enum value v = value_of(o, words, sizeof(words));

	fish_begin(s, c);
	if (o->letter != 0)
		put(s, "-s ", letter, " ", (char *)NULL);
	put(s, "-l ", o->name, how[v], v == VALUE_WORDS ? words : "", v == VALUE_WORDS ? "'" : "", " -d '", (char *)NULL);
	put_text(s, o->help, "\\", 1);
	buf_str(&s->b, "'\n");
}

static void
fish(struct script *s)
{
	const struct completion *c;
	size_t i, k;

	put_head(s, "fish");
	put(s, "complete -c ", s->prog, " -f\n", (char *)NULL);
	for (c = s->c; c < s->c + s->n; c++) {
		for (k = 0; k < c->n; k++)
			fish_option(s, c, &c->opts[k]);
		for (i = 0; i < s->n; i++)
			if ((c->words[0] == '\0' || has_below(s, c->words)) && follows(&s->c[i], c->words)) {
				fish_begin(s, c);
				put(s, "-a ", last_word(&s->c[i]), " -d '", (char *)NULL);
				put_text(s, s->c[i].help, "\\", 1);
				buf_str(&s->b, "'\n");
			}
		if (c->ask == NULL && c->operands == NULL)
			continue;
		fish_begin(s, c);
		if (c->ask != NULL)
			put(s, "-a '(", s->prog, " ", c->ask, " 2>/dev/null)'\n", (char *)NULL);
		else if (are_files(c))
			buf_str(&s->b, "-F\n");
		else
			put(s, "-a '", c->operands, "'\n", (char *)NULL);
	}
}

int
completion_write(const char *shell, const char *prog, const struct completion *c, size_t n, char *out, size_t cap)
{
	static const struct {
		const char *name;
		void (*write)(struct script *);
	} shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };
	struct script s;
	size_t i;

	buf_init(&s.b, out, cap - 1);
	s.prog = prog;
	s.c = c;
	s.n = n;
	for (i = 0; i < sizeof(shells) / sizeof(shells[0]); i++)
		if (strcmp(shells[i].name, shell) == 0) {
			shells[i].write(&s);
			out[s.b.len] = '\0';
			return s.b.full ? -1 : 0;
		}
	return -1;
}
