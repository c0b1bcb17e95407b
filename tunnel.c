/* tunnel.c: the client's command line; the work is behind tunnel.h. See cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "completion.h"

void
die(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("tunnel: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

/* Options. */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define SETTER(name, call) \
	static const char *name(void *arg, const char *v) \
	{ struct conf *c = arg; return call; }

SETTER(set_name, (c->has_name = 1, opt_copy(c->name, sizeof(c->name), v)))
SETTER(set_key_file, opt_copy(c->key_file, sizeof(c->key_file), v))
SETTER(set_host_key, opt_copy(c->host_key, sizeof(c->host_key), v))
SETTER(set_host, (c->has_host = 1, opt_copy(c->host, sizeof(c->host), v)))
SETTER(set_run, opt_copy(c->run, sizeof(c->run), v))
SETTER(set_endpoint, opt_copy(c->endpoint, sizeof(c->endpoint), v))
SETTER(set_token_file, opt_copy(c->token_file, sizeof(c->token_file), v))
/* may hold a password, which an error would quote: judged later */
SETTER(set_proxy, (c->proxy_bad = opt_copy(c->proxy, sizeof(c->proxy), v) != NULL, (const char *)NULL))
SETTER(set_share, (c->share = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_path, (c->path = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_rewrite, (c->rewrite = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_file, opt_copy(c->file, sizeof(c->file), v))
SETTER(set_wait, (c->wait = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_quiet, (c->quiet = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_help, (c->help = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_version, (c->version = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_ca, opt_copy(c->ca, sizeof(c->ca), v))
SETTER(set_insecure, (c->insecure_target = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_auth_file, (c->has_auth_file = 1, opt_copy(c->auth_file, sizeof(c->auth_file), v)))
SETTER(set_connections, opt_number(v, 1, 64, &c->connections) == -1 ? "is not a number from 1 to 64" : NULL)

SETTER(set_public, (c->public = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_proxy_protocol, (c->proxy_protocol = strcmp(v, "v1") == 0 ? 1 : 2, \
    strcmp(v, "v1") == 0 || strcmp(v, "v2") == 0 ? NULL : "is not v1 or v2"))

/* Else it would be known only when everything else is. */
static const char *
set_dialect(void *arg, const char *v)
{
	static const char *const known[] = { "native", "pipegate", "bifrost", "vtunnel" };
	struct conf *c = arg;
	size_t i;

	for (i = 0; i < COUNT(known); i++)
		if (strcmp(v, known[i]) == 0)
			return opt_copy(c->dialect, sizeof(c->dialect), v);
	return "is not native, pipegate, bifrost or vtunnel";
}

static const char *
set_timeout(void *arg, const char *v)
{
	struct conf *c = arg;

	return opt_seconds(v, &c->timeout_ms) == -1 || c->timeout_ms > 86400000 ? "is not a time up to a day, such as 30 or 2m" : NULL;
}

static const char *
set_allow(void *arg, const char *v)
{
	struct conf *c = arg;

	return c->nallow == GUARDS_MAX ? "is one network too many" : opt_copy(c->allow[c->nallow++], NET_SIZE, v);
}

const char *
set_pin(void *arg, const char *v)
{
	struct conf *c = arg;

	return c->npins == PINS_MAX ? "is one pin too many" : opt_copy(c->pin[c->npins++], PIN_SIZE, v);
}

#define RUN_OPT { "run", 'r', OPT_VALUE, NULL, "CMD", "start CMD, wait for TARGET, end with it", set_run }
#define WAIT_OPT { "wait", 'w', OPT_FLAG, NULL, NULL, "register when something listens at TARGET", set_wait }
#define ALLOW_OPT { "allow", 0, OPT_LIST, NULL, "ADDR[/BITS]", "let in callers from this network", set_allow }
#define INSECURE_OPT { "insecure-target", 0, OPT_FLAG, NULL, NULL, "do not verify TARGET's certificate", set_insecure }
#define SHARE_OPTS \
	{ "share", 0, OPT_FLAG, NULL, NULL, "share the name with others of this token", set_share }, \
	{ "connections", 0, OPT_VALUE, "1", "N", "sessions to spread over; implies --share", set_connections }
#define QUIET_OPT { "quiet", 'q', OPT_FLAG, NULL, NULL, "do not show requests", set_quiet }
#define ENDPOINT_OPTS \
	{ "endpoint", 'e', OPT_VALUE, NULL, "URL", "the daemon, in place of the saved one", set_endpoint }, \
	{ "token-file", 't', OPT_VALUE, NULL, "FILE", "the token, in place of the saved one", set_token_file }, \
	{ "ca", 0, OPT_VALUE, NULL, "FILE", "CA certificates, in place of the system's", set_ca }
#define DIALECT_OPT { "dialect", 0, OPT_VALUE, NULL, "NAME", "native, or what the server speaks: pipegate, bifrost", set_dialect }
#define PROXY_OPT { "proxy", 0, OPT_VALUE, NULL, "URL|none", "http://[USER:PASSWORD@]HOST[:PORT] to go through", set_proxy }
#define PIN_OPT { "pin", 0, OPT_LIST, NULL, "sha256:HASH", "the daemon's key; no CA is needed then", set_pin }
#define HELP_OPT { "help", 'h', OPT_FLAG, NULL, NULL, "show this help", set_help }
#define VERSION_OPT { "version", 'V', OPT_FLAG, NULL, NULL, "show the version", set_version }

static const struct opt top_opts[] = { HELP_OPT, VERSION_OPT };

static const struct opt help_opts[] = { HELP_OPT };

static const struct opt use_opts[] = { PIN_OPT, DIALECT_OPT, HELP_OPT };

static const struct opt opts[] = {	/* --name, TUNNEL_NAME */
	{ "name", 'n', OPT_VALUE, NULL, "NAME", "the tunnel's name; default: the token's only one", set_name },
	{ "host-header", 0, OPT_VALUE, NULL, "keep|HOST", "Host for the service; default: TARGET's", set_host },
	RUN_OPT,
	WAIT_OPT,
	{ "tunnels", 0, OPT_VALUE, NULL, "FILE", "NAME TARGET lines, in place of the saved ones", set_file },
	{ "path", 'p', OPT_FLAG, NULL, NULL, "callers may come to the daemon's own host, too: /NAME/", set_path },
	{ "rewrite", 0, OPT_FLAG, NULL, NULL, "put the callers' URLs into redirections and cookies", set_rewrite },
	{ "auth-file", 0, OPT_VALUE, NULL, "FILE", "let in callers with one of its USER:PASSWORD lines", set_auth_file },
	ALLOW_OPT,
	SHARE_OPTS,
	QUIET_OPT,
	ENDPOINT_OPTS,
	PIN_OPT,
	INSECURE_OPT,
	PROXY_OPT,
	DIALECT_OPT,		/* from here on in the help's last line: it is as long as a terminal */
	{ "timeout", 0, OPT_VALUE, NULL, "TIME", "for the service's answer, in dialects but native", set_timeout },
	HELP_OPT,
	VERSION_OPT,
};

static const struct opt forward_opts[] = {	/* --name, TUNNEL_NAME */
	{ "public", 0, OPT_FLAG, NULL, NULL, "for callers from everywhere, if the daemon allows it", set_public },
	{ "proxy-protocol", 0, OPT_VALUE, NULL, "v1|v2", "tell TARGET the caller in a PROXY header", set_proxy_protocol },
	ALLOW_OPT,
	SHARE_OPTS,
	RUN_OPT,
	WAIT_OPT,
	QUIET_OPT,
	ENDPOINT_OPTS,
	PIN_OPT,
	{ "key-file", 'k', OPT_VALUE, NULL, "FILE", "a vtunnel server's client: its private key", set_key_file },
	{ "host-key", 0, OPT_VALUE, NULL, "SHA256:HASH", "vtunnel: the server's own host key", set_host_key },
	{ "dialect", 0, OPT_VALUE, NULL, "NAME", "native, or vtunnel: as with --key-file", set_dialect },
	INSECURE_OPT,
	PROXY_OPT,
	HELP_OPT,
	VERSION_OPT,
};

static const struct opt relay_opts[] = {	/* --name, TUNNEL_NAME */
	ENDPOINT_OPTS,
	PIN_OPT,
	PROXY_OPT,
	HELP_OPT,
	VERSION_OPT,
};

static const struct completion commands[] = {
	{ "", "", top_opts, COUNT(top_opts), NULL, NULL },
	{ "use", "save endpoint and token", use_opts, COUNT(use_opts), NULL, NULL },
	{ "connect", "put local services on the internet", opts, COUNT(opts), NULL, "completion names" },
	{ "forward", "put TCP services on ports of the daemon", forward_opts, COUNT(forward_opts), NULL, NULL },
	{ "relay", "connect to HOST PORT from where the daemon is", relay_opts, COUNT(relay_opts), NULL, NULL },
	{ "keygen", "make a key for vtunnel", help_opts, COUNT(help_opts), "FILE", NULL },
	{ "completion", "print completions for a shell", help_opts, COUNT(help_opts), "bash zsh fish", NULL },
};

static void
usage(void)
{
	char text[4096];

	opt_help(opts, COUNT(opts) - 4, text, sizeof(text));	/* the last line has the others */
	printf("usage: tunnel use [--pin sha256:HASH] [--dialect NAME] ENDPOINT TOKEN   TOKEN -: from stdin\n"
	    "       tunnel connect [OPTION...] TARGET | NAME=TARGET...   none: the saved tunnels\n"
	    "       tunnel forward PORT=TARGET... | relay HOST PORT | keygen [FILE] | completion SHELL\n"
	    "TARGET: 3000, HOST:PORT, http[s]://HOST[:PORT] or unix:/PATH. More: forward --help, relay --help\n%s"
	    "Exit: 0 stopped, 1 failed, 2 usage, 3 token refused, 4 name lost, 5 not trusted.\n"
	    "Other servers: --dialect pipegate|bifrost, --timeout TIME. -h, --help; -V, --version; tunnel(1)\n", text);
	exit(0);
}

static void
usage_forward(void)
{
	char text[4096];

	opt_help(forward_opts, COUNT(forward_opts), text, sizeof(text));
	printf("usage: tunnel forward [OPTION...] PORT=TARGET...\n"
	    "PORT: of the daemon, 1 to 65535; 0: any of its pool; vtunnel: or a domain\n"
	    "TARGET: 5432, HOST:PORT, tls://HOST:PORT or unix:/PATH\n%s"
	    "Exit: 0 stopped, 1 failed, 2 usage, 3 token refused, 4 port lost, 5 not trusted.\n"
	    "See tunnel(1).\n", text);
	exit(0);
}

static void
usage_relay(void)
{
	char text[4096];

	opt_help(relay_opts, COUNT(relay_opts), text, sizeof(text));
	printf("usage: tunnel relay [OPTION...] HOST PORT\n"
	    "Standard input and output are connected to HOST and PORT from where the daemon is:\n"
	    "ssh -o ProxyCommand='tunnel relay %%h %%p' host\n%s"
	    "Exit: 0 ended, 1 failed, 2 usage, 3 token or target refused, 5 not trusted.\n"
	    "See tunnel(1).\n", text);
	exit(0);
}

/* The pins as options of the library. */
void
give_pins(const struct conf *c, struct tunnel_options *o, const char *pins[PINS_MAX])
{
	int i;

	for (i = 0; i < c->npins; i++)
		pins[i] = c->pin[i];
	o->pins = pins;
	o->npins = c->npins;
}

/* An environment variable that curl, too, knows in both spellings; the lower one is stronger. */
static const char *
either(const char *lower, const char *upper)
{
	const char *v = getenv(lower);

	if (v == NULL || v[0] == '\0')
		v = getenv(upper);
	return v != NULL && v[0] != '\0' ? v : NULL;
}

/* The option, or what the environment says for such an endpoint. */
void
choose_proxy(const struct conf *c, struct tunnel_options *o)
{
	if (c->proxy_bad)
		die(TUNNEL_USAGE, "--proxy is too long");
	if (c->proxy[0] != '\0') {
		o->proxy = strcmp(c->proxy, "none") != 0 ? c->proxy : NULL;
		return;
	}
	if (strncmp(c->endpoint, "https://", 8) == 0 || strncmp(c->endpoint, "wss://", 6) == 0)
		o->proxy = either("https_proxy", "HTTPS_PROXY");
	if (o->proxy == NULL)
		o->proxy = either("all_proxy", "ALL_PROXY");
	o->no_proxy = either("no_proxy", "NO_PROXY");
}

struct tunnel_client *
new_client(const struct conf *c)
{
	struct tunnel_spec spec[TUNNEL_MAX];
	struct tunnel_events events = show_events;
	struct tunnel_options o;
	struct tunnel_client *client;
	const char *pins[PINS_MAX], *auth[GUARDS_MAX], *allow[GUARDS_MAX];
	char why[CLI_WHY_MAX];
	long port;
	int i;

	memset(&o, 0, sizeof(o));
	for (i = 0; i < c->nauth; i++)
		auth[i] = c->auth[i];
	o.auth = auth;
	o.nauth = c->nauth;
	for (i = 0; i < c->nallow; i++)
		allow[i] = c->allow[i];
	o.allow = allow;
	o.nallow = c->nallow;
	memset(spec, 0, sizeof(spec));
	for (i = 0; i < c->tunnels.n; i++) {
		spec[i].tcp = c->tunnels.tcp;
		if (c->tunnels.tcp) {
			spec[i].target = c->tunnels.t[i].target;
			if (opt_number(c->tunnels.t[i].name, 0, 65535, &port) == 0)
				spec[i].port = (int)port;
			else
				spec[i].name = c->tunnels.t[i].name;
			spec[i].insecure_target = c->insecure_target;
			spec[i].is_public = c->public;
			spec[i].proxy_protocol = c->proxy_protocol;
			continue;
		}
		spec[i].name = c->tunnels.t[i].name[0] != '\0' ? c->tunnels.t[i].name : NULL;
		spec[i].target = c->tunnels.t[i].target;
		spec[i].host = c->has_host ? c->host : NULL;
		spec[i].insecure_target = c->insecure_target;
		spec[i].path = c->path;
		spec[i].rewrite = c->rewrite;
	}
	o.tunnels = spec;
	o.ntunnels = c->tunnels.n;
	o.endpoint = c->endpoint;
	o.dialect = c->dialect[0] != '\0' ? c->dialect : NULL;
	o.timeout_ms = c->timeout_ms;
	o.token = c->token;
	o.key = c->key[0] != '\0' ? c->key : NULL;
	o.host_key = c->host_key[0] != '\0' ? c->host_key : NULL;
	o.share = c->share;
	o.connections = (int)c->connections;
	choose_proxy(c, &o);
	o.ca = c->ca[0] != '\0' ? c->ca : NULL;
	give_pins(c, &o, pins);
	o.stack = STACK_SIZE * 2;
	if (c->quiet)
		events.request = NULL;
	if ((client = tunnel_new(&o, &events, NULL, why, sizeof(why))) == NULL)
		die(TUNNEL_USAGE, "%s", why);
	return client;
}

/* Which tunnels. */

/* The tunnels of a file, or none if it is not there and was not asked for by name. Returns its path. */
static const char *
read_tunnels(const struct conf *c, struct tunnels *ts)
{
	static char path[CLI_PATH_MAX];

	if (saved_tunnels(ts, c->file, path) == -1 && (c->file[0] != '\0' || errno != ENOENT))
		die(TUNNEL_USAGE, "%s: %s", path, strerror(errno));
	return path;
}

/* An operand that is no target, but the name of a tunnel in the file. */
static int
find_saved(const struct conf *c, const char *word, struct tunnels *out)
{
	static struct tunnels saved;
	char name[NAME_SIZE], text[NAME_SIZE + 2], why[CLI_WHY_MAX];
	const char *rest;
	int i;

	snprintf(text, sizeof(text), "%.*s=", NAME_SIZE, word);
	if (strchr(word, '=') != NULL || tunnel_split(text, name, sizeof(name), &rest, why, sizeof(why)) != 1)
		return 0;
	read_tunnels(c, &saved);
	for (i = 0; i < saved.n; i++)
		if (strcmp(saved.t[i].name, name) == 0) {
			out->t[out->n++] = saved.t[i];
			return 1;
		}
	return 0;
}

static void
take_operand(struct conf *c, const char *word)
{
	struct tunnels *ts = &c->tunnels;
	char host[256], port[8], why[CLI_WHY_MAX];
	const char *target;
	int rc;

	if (ts->n == TUNNEL_MAX)
		die(TUNNEL_USAGE, "more than %d tunnels", TUNNEL_MAX);
	if ((rc = tunnel_split(word, ts->t[ts->n].name, NAME_SIZE, &target, why, sizeof(why))) == -1)
		die(TUNNEL_USAGE, "%s", why);
	if (rc == 0)
		ts->t[ts->n].name[0] = '\0';
	if (tunnel_target(target, host, sizeof(host), port, sizeof(port), why, sizeof(why)) == -1) {
		if (rc == 1 || !find_saved(c, word, ts))
			die(TUNNEL_USAGE, "%s", why);
		return;
	}
	if (opt_copy(ts->t[ts->n].target, TARGET_SIZE, target) != NULL)
		die(TUNNEL_USAGE, "'%.60s...' is too long", target);
	ts->n++;
}

/* named: --name stood on the command line, where it can only mean a single target. */
static void
choose_tunnels(struct conf *c, int n, char **words, int named)
{
	struct tunnels *ts = &c->tunnels;
	const char *path;
	int i;

	if (n == 0) {
		path = read_tunnels(c, ts);
		if (ts->n == 0)
			die(TUNNEL_USAGE, c->file[0] != '\0' ? "%s names no tunnels" :
			    "connect needs a TARGET, or NAME TARGET lines in %s; see tunnel --help", path);
	}
	for (i = 0; i < n; i++)
		take_operand(c, words[i]);
	for (i = 0; i < ts->n && ts->n > 1; i++)
		if (ts->t[i].name[0] == '\0')
			die(TUNNEL_USAGE, "of several tunnels each needs a name: NAME=%.100s", ts->t[i].target);
	if (ts->t[0].name[0] != '\0') {
		if (named)
			die(TUNNEL_USAGE, "--name is for a single TARGET without a name of its own");
		return;
	}
	if (c->has_name && c->name[0] == '\0')
		die(TUNNEL_USAGE, "'' is no name");
	opt_copy(ts->t[0].name, NAME_SIZE, c->name);
}

/* "9000=localhost:3000"; with domains, "example.com=localhost:3000", too. */
static void
take_port(struct tunnels *ts, const char *word, int domains)
{
	size_t n = strcspn(word, "=");
	long port;

	if (ts->n == TUNNEL_MAX)
		die(TUNNEL_USAGE, "more than %d ports", TUNNEL_MAX);
	if (word[n] != '=')
		die(TUNNEL_USAGE, "'%.100s' is not PORT=TARGET; PORT 0 is any of the daemon's pool", word);
	if (n >= NAME_SIZE)
		n = NAME_SIZE - 1;	/* no port either */
	memcpy(ts->t[ts->n].name, word, n);
	ts->t[ts->n].name[n] = '\0';
	if (opt_number(ts->t[ts->n].name, 0, 65535, &port) == -1 && (!domains || n == 0 || strspn(word, "0123456789-") == n))
		die(TUNNEL_USAGE, "'%.100s' is no port: a number from 1 to 65535, or 0 for any%s", ts->t[ts->n].name,
		    domains ? "" : "; a domain is for vtunnel's servers: --key-file");
	if (opt_copy(ts->t[ts->n].target, TARGET_SIZE, word + n + 1) != NULL)
		die(TUNNEL_USAGE, "'%.60s...' is too long", word);
	ts->n++;
}

/* Commands. */

static int
cmd_use(int argc, char **argv)
{
	static struct conf c;
	struct opt_set set;
	int nargs;

	opt_init(&set, use_opts, COUNT(use_opts), "TUNNEL");
	if (opt_args(&set, &c, argc, argv, &nargs) == -1)
		die(TUNNEL_USAGE, "%s; see tunnel --help", set.err);
	if (c.help)
		usage();
	if (nargs != 2)
		die(TUNNEL_USAGE, "use needs ENDPOINT and TOKEN; see tunnel --help");
	if (strcmp(argv[1], "-") == 0) {
		if (read_line(0, c.token, sizeof(c.token)) == -1)
			die(TUNNEL_USAGE, "no token came on standard input");
	} else if (opt_copy(c.token, sizeof(c.token), argv[1]) != NULL)
		die(TUNNEL_USAGE, "the token is too long");
	saved_use(&c, argv[0], c.token);
	printf("saved; now: tunnel connect PORT\n");
	return 0;
}

/* The options of a command that serves, wherever they come from. named: --name stood on the command line. How many operands. */
static int
take_options(struct conf *c, const struct opt *table, size_t n, void (*help)(void), int argc, char **argv, int *named)
{
	struct opt_set set;
	int nargs;

	opt_init(&set, table, n, "TUNNEL");
	if (opt_args(&set, c, argc, argv, &nargs) == -1)
		die(TUNNEL_USAGE, "%s; see tunnel --help", set.err);
	if (c->help)
		help();
	if (c->version) {
		printf("tunnel %s\n", VERSION);
		exit(0);
	}
	*named = c->has_name;
	set.n -= 2;		/* help and version are for the command line alone */
	if (opt_env(&set, c) == -1)
		die(TUNNEL_USAGE, "%s", set.err);
	opt_defaults(&set, c);
	return nargs;
}

static int
cmd_forward(int argc, char **argv)
{
	static struct conf c;
	int i, vtunnel, named, nargs = take_options(&c, forward_opts, COUNT(forward_opts), usage_forward, argc, argv, &named);

	if (c.key_file[0] != '\0' && c.dialect[0] == '\0')
		opt_copy(c.dialect, sizeof(c.dialect), "vtunnel");
	vtunnel = strcmp(c.dialect, "vtunnel") == 0;
	if (!vtunnel && (c.key_file[0] != '\0' || c.host_key[0] != '\0'))
		die(TUNNEL_USAGE, "--key-file and --host-key are for the dialect vtunnel");
	c.tunnels.tcp = 1;
	if (nargs == 0)
		die(TUNNEL_USAGE, "forward needs PORT=TARGET; see tunnel --help");
	for (i = 0; i < nargs; i++)
		take_port(&c.tunnels, argv[i], vtunnel);
	saved_read(&c);
	if (vtunnel && c.key[0] == '\0')
		show_line("no key: the server lets in whoever comes%s; see tunnel keygen",
		    c.host_key[0] != '\0' ? "" : ", and whoever answers is taken for it");
	else if (!vtunnel && c.dialect[0] != '\0' && strcmp(c.dialect, "native") != 0)
		die(TUNNEL_USAGE, "%s, which the endpoint speaks, has no TCP ports: give another --endpoint", c.dialect);
	saved_auth(&c);
	if (c.nauth > 0)	/* it would let everybody in */
		die(TUNNEL_USAGE, "TUNNEL_AUTH is set, but callers of a TCP port have no user and password: use --allow, or unset it");
	show_init(&c);
	return runner(&c);
}

static int
cmd_relay(int argc, char **argv)
{
	static struct conf c;
	int named, nargs = take_options(&c, relay_opts, COUNT(relay_opts), usage_relay, argc, argv, &named);

	if (nargs != 2)
		die(TUNNEL_USAGE, "relay needs HOST and PORT; see tunnel relay --help");
	saved_read(&c);
	return relay_command(&c, argv[0], argv[1]);
}

static int
cmd_connect(int argc, char **argv)
{
	static struct conf c;
	int named, nargs = take_options(&c, opts, COUNT(opts), usage, argc, argv, &named);

	choose_tunnels(&c, nargs, argv, named);
	saved_read(&c);
	saved_auth(&c);
	show_init(&c);
	return runner(&c);
}

static int
cmd_keygen(int argc, char **argv)
{
	static struct conf c;
	struct opt_set set;
	int nargs;

	opt_init(&set, help_opts, COUNT(help_opts), "TUNNEL");
	if (opt_args(&set, &c, argc, argv, &nargs) == -1)
		die(TUNNEL_USAGE, "%s; see tunnel --help", set.err);
	if (c.help)
		usage();
	if (nargs > 1)
		die(TUNNEL_USAGE, "keygen is followed by a file for the private key, or by nothing");
	return keygen_command(nargs == 1 ? argv[0] : NULL);
}

/* The script for a shell; or for such a script the names of the saved tunnels. */
static int
cmd_completion(int argc, char **argv)
{
	static struct conf c;
	static char text[65536];
	struct opt_set set;
	int i, nargs;

	opt_init(&set, help_opts, COUNT(help_opts), "TUNNEL");
	if (opt_args(&set, &c, argc, argv, &nargs) == -1)
		die(TUNNEL_USAGE, "%s; see tunnel --help", set.err);
	if (c.help)
		usage();
	if (nargs == 1 && strcmp(argv[0], "names") == 0) {
		read_tunnels(&c, &c.tunnels);
		for (i = 0; i < c.tunnels.n; i++)
			printf("%s\n", c.tunnels.t[i].name);
		return 0;
	}
	if (nargs != 1 || completion_write(argv[0], "tunnel", commands, COUNT(commands), text, sizeof(text)) == -1)
		die(TUNNEL_USAGE, "completion is followed by bash, zsh or fish");
	fputs(text, stdout);
	return 0;
}

/* What is closed of 0, 1 and 2 would else be our next pipe or socket. */
static void
fill_standard(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) != -1 && fd <= STDERR_FILENO)
		;
	if (fd != -1)
		close(fd);
}

int
main(int argc, char **argv)
{
	fill_standard();
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		usage();
	if (argc > 1 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
		printf("tunnel %s\n", VERSION);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "use") == 0)
		return cmd_use(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "connect") == 0)
		return cmd_connect(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "forward") == 0)
		return cmd_forward(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "relay") == 0)
		return cmd_relay(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "keygen") == 0)
		return cmd_keygen(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "completion") == 0)
		return cmd_completion(argc - 1, argv + 1);
	if (argc > 1)
		die(TUNNEL_USAGE, "unknown word '%.60s'; see tunnel --help", argv[1]);
	die(TUNNEL_USAGE, "a command is missing; see tunnel --help");
	return TUNNEL_USAGE;
}
