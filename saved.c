/* saved.c: the folder of saved settings, and the file of tunnels in it; see cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

enum { LINE_SIZE = 1024 };

static void
config_path(char out[CLI_PATH_MAX], const char *leaf)
{
	const char *dir = getenv("TUNNEL_CONFIG_DIR"), *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int n = -1;

	if (dir != NULL && dir[0] != '\0')
		n = snprintf(out, CLI_PATH_MAX, "%s%s%s", dir, leaf[0] ? "/" : "", leaf);
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(out, CLI_PATH_MAX, "%s/tunnel%s%s", xdg, leaf[0] ? "/" : "", leaf);
	else if (home != NULL && home[0] != '\0')
		n = snprintf(out, CLI_PATH_MAX, "%s/.config/tunnel%s%s", home, leaf[0] ? "/" : "", leaf);
	else
		die(TUNNEL_USAGE, "no home folder: set TUNNEL_CONFIG_DIR");
	if (n < 0 || n >= CLI_PATH_MAX)
		die(TUNNEL_USAGE, "the path of the configuration folder is too long");
}

static void
make_folder(void)
{
	char path[CLI_PATH_MAX];
	size_t i;

	config_path(path, "");
	for (i = 1; ; i++) {
		char c = path[i];

		if (c != '/' && c != '\0')
			continue;
		path[i] = '\0';
		if (mkdir(path, 0700) == -1 && errno != EEXIST)
			die(TUNNEL_FAILED, "cannot make %s: %s", path, strerror(errno));
		path[i] = c;
		if (c == '\0')
			return;
	}
}

/* Replace a file of the folder by one line: old or new, never a mix. */
static void
save(const char *leaf, const char *text)
{
	char path[CLI_PATH_MAX], tmp[CLI_PATH_MAX + 8];
	size_t len = strlen(text);
	int fd;

	config_path(path, leaf);
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1 || write(fd, text, len) != (ssize_t)len || write(fd, "\n", 1) != 1 ||
	    fsync(fd) == -1 || close(fd) == -1 || rename(tmp, path) == -1)
		die(TUNNEL_FAILED, "cannot write %s: %s", path, strerror(errno));
}

int
read_line(int fd, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t n = 1;
	char *end = NULL;

	while (end == NULL && n > 0 && len < cap) {
		if ((n = read(fd, out + len, cap - len)) > 0)
			len += (size_t)n;
		end = memchr(out, '\n', len);
	}
	if (end == NULL && len == cap)
		return -1;
	*(end != NULL ? end : out + len) = '\0';
	out[strcspn(out, "\r")] = '\0';
	return out[0] != '\0' ? 0 : -1;
}

/* 0; -1 with errno if there is no such file; dies on an unusable one. */
static int
load(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return -1;
	if (read_line(fd, out, cap) == -1)
		die(TUNNEL_USAGE, "%s holds no usable line: the first one is empty, or too long", path);
	close(fd);
	return 0;
}

/* Would they do? The CAs may come later, so that a pin stands in for them. */
static void
check_use(const struct conf *c, const char *endpoint, const char *token)
{
	static const char *const any[] = { "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
	const char *pins[PINS_MAX];
	struct tunnel_options o;
	struct tunnel_events none;
	struct tunnel_client *client;
	char why[256];

	memset(&o, 0, sizeof(o));
	memset(&none, 0, sizeof(none));
	o.endpoint = endpoint;
	o.dialect = c->dialect[0] != '\0' ? c->dialect : NULL;
	o.token = token;
	o.target = "1";
	give_pins(c, &o, pins);
	if (c->npins == 0 && (strncmp(endpoint, "https:", 6) == 0 || strncmp(endpoint, "wss:", 4) == 0)) {
		o.pins = any;
		o.npins = 1;
	}
	if ((client = tunnel_new(&o, &none, NULL, why, sizeof(why))) == NULL)
		die(TUNNEL_USAGE, "%s", why);
	tunnel_free(client);
}

/* A file that is there only if it says something. */
static void
save_or_remove(const char *leaf, const char *text)
{
	char path[CLI_PATH_MAX];

	config_path(path, leaf);
	if (text[0] != '\0')
		save(leaf, text);
	else if (unlink(path) == -1 && errno != ENOENT)
		die(TUNNEL_FAILED, "cannot remove %s: %s", path, strerror(errno));
}

static void
save_pins(const struct conf *c)
{
	char text[PINS_MAX * (PIN_SIZE + 1) + 1] = "";
	size_t n = 0;
	int i;

	for (i = 0; i < c->npins; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? " " : "", c->pin[i]);
	save_or_remove("pins", text);
}

void
saved_use(const struct conf *c, const char *endpoint, const char *token)
{
	check_use(c, endpoint, token);
	make_folder();
	save("endpoint", endpoint);
	save("token", token);
	save_pins(c);
	save_or_remove("dialect", strcmp(c->dialect, "native") != 0 ? c->dialect : "");
}

/* What the saved endpoint speaks, unless the command line says something else. */
static void
saved_dialect(struct conf *c)
{
	char path[CLI_PATH_MAX];

	config_path(path, "dialect");
	if (c->dialect[0] == '\0')
		load(path, c->dialect, sizeof(c->dialect));
}

/* The saved endpoint, with its dialect, and its pins unless others were given. */
static void
saved_endpoint(struct conf *c)
{
	char path[CLI_PATH_MAX], text[PINS_MAX * (PIN_SIZE + 1) + 1], *p, *word;

	config_path(path, "endpoint");
	if (load(path, c->endpoint, sizeof(c->endpoint)) == -1)
		die(TUNNEL_USAGE, "no endpoint: run tunnel use ENDPOINT TOKEN, or give --endpoint");
	saved_dialect(c);
	config_path(path, "pins");
	if (c->npins > 0 || c->ca[0] != '\0' || load(path, text, sizeof(text)) == -1)
		return;
	for (word = strtok_r(text, " ", &p); word != NULL; word = strtok_r(NULL, " ", &p))
		if (set_pin(c, word) != NULL)
			die(TUNNEL_USAGE, "%s holds no usable line", path);
}

/* vtunnel has a key in place of a token, or none. It is in a file alone: what is in the environment others can see. */
static void
saved_key(struct conf *c)
{
	struct stat st;

	if (c->key_file[0] == '\0')
		return;
	if (load(c->key_file, c->key, sizeof(c->key)) == -1)
		die(TUNNEL_USAGE, "%s: %s", c->key_file, strerror(errno));
	if (stat(c->key_file, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		show_line("%s can be read by others than you: chmod 600", c->key_file);
}

/* What connect is to use: option, environment, saved file. */
void
saved_read(struct conf *c)
{
	char path[CLI_PATH_MAX];
	const char *env = getenv("TUNNEL_TOKEN");

	if (c->endpoint[0] == '\0')
		saved_endpoint(c);
	if (strcmp(c->dialect, "vtunnel") == 0) {
		saved_key(c);
		return;
	}
	if (c->token_file[0] != '\0') {
		if (load(c->token_file, c->token, sizeof(c->token)) == -1)
			die(TUNNEL_USAGE, "%s: %s", c->token_file, strerror(errno));
		return;
	}
	if (env != NULL && env[0] != '\0') {
		if (opt_copy(c->token, sizeof(c->token), env) != NULL)
			die(TUNNEL_USAGE, "TUNNEL_TOKEN is too long");
		return;
	}
	config_path(path, "token");
	if (load(path, c->token, sizeof(c->token)) == -1)
		die(TUNNEL_USAGE, "no token: run tunnel use ENDPOINT TOKEN, or give --token-file");
}

/* Callers. */

static void
take_auth(struct conf *c, const char *text, const char *path, int line)
{
	if (c->nauth == GUARDS_MAX)
		die(TUNNEL_USAGE, "%s:%d: more than %d users", path, line, GUARDS_MAX);
	if (opt_copy(c->auth[c->nauth], AUTH_SIZE, text) == NULL && tunnel_auth_ok(text)) {
		c->nauth++;
		return;
	}
	if (line == 0)		/* never quoted */
		die(TUNNEL_USAGE, "%s is not USER:PASSWORD, or too long", path);
	die(TUNNEL_USAGE, "%s:%d: the line is not USER:PASSWORD, or too long", path, line);
}

void
saved_auth(struct conf *c)
{
	const char *env = getenv("TUNNEL_AUTH"), *allow = getenv("TUNNEL_ALLOW");
	char line[LINE_SIZE];
	FILE *f;
	int n;

	/* empty, as where a secret has not been filled in, is no wish to let everybody in */
	if (allow != NULL && c->nallow == 0)
		die(TUNNEL_USAGE, "TUNNEL_ALLOW is empty: unset it to let everybody in");
	if (!c->has_auth_file) {
		if (env != NULL)
			take_auth(c, env, "TUNNEL_AUTH", 0);
		return;
	}
	if ((f = fopen(c->auth_file, "r")) == NULL)
		die(TUNNEL_USAGE, "%s: %s", c->auth_file, strerror(errno));
	for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] != '\0' && line[0] != '#')
			take_auth(c, line, c->auth_file, n);
	}
	if (ferror(f))
		die(TUNNEL_USAGE, "%s: %s", c->auth_file, strerror(errno));
	fclose(f);
	if (c->nauth == 0)	/* not: then everybody may come */
		die(TUNNEL_USAGE, "%s holds no USER:PASSWORD line", c->auth_file);
}

/* Tunnels. */

/* One line of the file, without its end; *why: what is wrong with it. */
static int
tunnel_line(struct tunnels *ts, char *p, char *why, size_t whylen)
{
	char host[256], port[8], *target, *end;
	const char *rest;
	char text[NAME_SIZE + 2];
	size_t i;

	p += strspn(p, " \t\r");
	for (i = 0; p[i] != '\0'; i++)
		if (p[i] == '#' && (i == 0 || p[i - 1] == ' ' || p[i - 1] == '\t'))
			p[i--] = '\0';
	for (end = p + strlen(p); end > p && strchr(" \t\r", end[-1]) != NULL; )
		*--end = '\0';
	if (*p == '\0')
		return 0;
	target = p + strcspn(p, " \t");
	if (*target == '\0') {
		snprintf(why, whylen, "'%.100s' is not followed by a target: NAME TARGET", p);
		return -1;
	}
	*target++ = '\0';
	target += strspn(target, " \t");
	if (ts->n == TUNNEL_MAX) {
		snprintf(why, whylen, "more than %d tunnels", TUNNEL_MAX);
		return -1;
	}
	snprintf(text, sizeof(text), "%.*s=", NAME_SIZE, p);	/* one too long is no name */
	if (tunnel_split(text, ts->t[ts->n].name, NAME_SIZE, &rest, why, whylen) != 1 || *rest != '\0') {
		snprintf(why, whylen, "'%.100s' is no name: 1 to 63 of a-z, 0-9 and '-', first a letter or digit", p);
		return -1;
	}
	if (opt_copy(ts->t[ts->n].target, TARGET_SIZE, target) != NULL) {
		snprintf(why, whylen, "'%.60s...' is too long", target);
		return -1;
	}
	if (tunnel_target(target, host, sizeof(host), port, sizeof(port), why, whylen) == -1)
		return -1;
	for (i = 0; i < (size_t)ts->n; i++)
		if (strcmp(ts->t[i].name, ts->t[ts->n].name) == 0) {
			snprintf(why, whylen, "'%.100s' is there twice", p);
			return -1;
		}
	ts->n++;
	return 0;
}

int
saved_tunnels(struct tunnels *ts, const char *path, char out[CLI_PATH_MAX])
{
	char line[LINE_SIZE], why[CLI_WHY_MAX], text[CLI_WHY_MAX];
	size_t len;
	FILE *f;
	int n;

	ts->n = 0;
	if (path[0] == '\0')
		config_path(out, "tunnels");
	else
		opt_copy(out, CLI_PATH_MAX, path);
	if ((f = fopen(out, "r")) == NULL)
		return -1;
	for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
		len = strlen(line);
		if (len == sizeof(line) - 1 && line[len - 1] != '\n')
			die(TUNNEL_USAGE, "%s:%d: the line is too long", out, n);
		line[strcspn(line, "\n")] = '\0';
		if (tunnel_line(ts, line, why, sizeof(why)) == 0)
			continue;
		escape(text, sizeof(text), why);
		die(TUNNEL_USAGE, "%s:%d: %s", out, n, text);
	}
	if (ferror(f))
		die(TUNNEL_USAGE, "%s: %s", out, strerror(errno));
	fclose(f);
	return 0;
}
