/* tunneld.c: the daemon: options, signals, start and stop. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "daemon.h"
#include "log.h"
#include "opt.h"

enum {
	LISTEN_TEXTS = 16,
	EXIT_USAGE = 2
};

struct conf {
	struct daemon_conf d;
	char listen[LISTEN_TEXTS][NET_HOST_MAX + 8];
	int tls[LISTEN_TEXTS], nlisten;
	char state[512], file[512];
	char cert[TLS_PAIRS_MAX][512], key[TLS_PAIRS_MAX][512];
	int ncerts, nkeys;
	int log_time, check, json, help, version, global;
	char scope[STORE_SCOPE_MAX + 1], note[STORE_NOTE_MAX + 1];
	long expires_ms;
};

static void
die(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("tunneld: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

/* Options. */

static const char *
copy(char *to, size_t cap, const char *v)
{
	if (strlen(v) >= cap)
		return "is too long";
	memcpy(to, v, strlen(v) + 1);
	return NULL;
}

static const char *
set_listen(void *arg, const char *v)
{
	struct conf *c = arg;
	char text[NET_HOST_MAX + 12], host[NET_HOST_MAX], port[6];
	size_t n = strlen(v);
	int tls = n > 4 && strcmp(v + n - 4, ",tls") == 0;

	if (copy(text, sizeof(text), v) != NULL)
		return "is too long";
	text[tls ? n - 4 : n] = '\0';
	if (net_split(text, host, port) == -1)
		return "is not [HOST:]PORT[,tls]";
	if (c->nlisten == LISTEN_TEXTS)
		return "is one listener too many";
	c->tls[c->nlisten] = tls;
	return copy(c->listen[c->nlisten++], sizeof(c->listen[0]), text);
}

/* A file of a list. */
static const char *
add_file(char (*list)[512], int *n, const char *v)
{
	if (*n == TLS_PAIRS_MAX)
		return "is one file too many";
	return copy(list[(*n)++], sizeof(list[0]), v);
}

static const char *
set_domain(void *arg, const char *v)
{
	struct conf *c = arg;

	if (v[0] != '\0' && !name_ok(v))
		return "is not a domain name in lower case";
	return copy(c->d.domain, sizeof(c->d.domain), v);
}

static const char *
set_url(void *arg, const char *v)
{
	struct conf *c = arg;

	if (v[0] != '\0' && strncmp(v, "http://", 7) != 0 && strncmp(v, "https://", 8) != 0)
		return "is not an http:// or https:// URL";
	return copy(c->d.url, sizeof(c->d.url), v);
}

static const char *
set_trust(void *arg, const char *v)
{
	struct conf *c = arg;
	const char *why;

	if (c->d.ntrust == TRUST_MAX)
		return "is one network too many";
	if (cidr_parse(&c->d.trust[c->d.ntrust], v, &why) == -1)
		return "is not ADDRESS or ADDRESS/BITS";
	c->d.ntrust++;
	return NULL;
}

static const char *
seconds(long *ms, const char *v, long min)
{
	return opt_seconds(v, ms) == -1 || *ms < min ? "is not a number of seconds" : NULL;
}

static const char *
seconds_or_0(long *ms, const char *v)
{
	if (strcmp(v, "0") == 0) {
		*ms = 0;
		return NULL;
	}
	return seconds(ms, v, 1);
}

static const char *
count(long *n, const char *v, long max)
{
	return opt_number(v, 1, max, n) == -1 ? "is not a number in range" : NULL;
}

static const char *
bytes(long *n, const char *v, long min, long max)
{
	return opt_bytes(v, n) == -1 || *n < min || *n > max ? "is not a size in range" : NULL;
}

#define SETTER(name, call) \
	static const char *name(void *arg, const char *v) \
	{ struct conf *c = arg; return call; }

SETTER(set_state, copy(c->state, sizeof(c->state), v))
SETTER(set_file, copy(c->file, sizeof(c->file), v))
SETTER(set_grace, seconds_or_0(&c->d.grace_ms, v))
SETTER(set_drain, seconds_or_0(&c->d.drain_ms, v))
SETTER(set_timeout, seconds(&c->d.timeout_ms, v, 1))
SETTER(set_head, seconds(&c->d.head_ms, v, 1))
SETTER(set_idle, seconds(&c->d.idle_ms, v, 1))
SETTER(set_half_close, seconds(&c->d.half_close_ms, v, 1))
SETTER(set_keep_alive, seconds(&c->d.keep_alive_ms, v, 1))
SETTER(set_stall, seconds(&c->d.stall_ms, v, 1))
SETTER(set_ping, seconds(&c->d.ping_ms, v, 100))
SETTER(set_slots, count(&c->d.slots, v, 65535))
SETTER(set_queue, count(&c->d.queue, v, 1000000))
SETTER(set_cert, add_file(c->cert, &c->ncerts, v))
SETTER(set_key, add_file(c->key, &c->nkeys, v))
SETTER(set_redirect, (c->d.redirect = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_handshakes, count(&c->d.handshakes, v, 1000000))
SETTER(set_streams, count(&c->d.streams, v, 1000000))
SETTER(set_callers, count(&c->d.callers, v, 1000000))
SETTER(set_sessions, count(&c->d.sessions, v, 1000000))
SETTER(set_window, bytes(&c->d.window, v, 262144, 1L << 30))
SETTER(set_buffer, bytes(&c->d.buffer, v, 0, LONG_MAX))
SETTER(set_log_time, (c->log_time = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_check, (c->check = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_help, (c->help = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_version, (c->version = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_json, (c->json = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_global, (c->global = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_scope, copy(c->scope, sizeof(c->scope), v))
SETTER(set_note, copy(c->note, sizeof(c->note), v))
SETTER(set_expires, seconds(&c->expires_ms, v, 1000))

#define STATE_OPT { "state", 's', OPT_VALUE, NULL, "DIR", "state folder", set_state }
#define CONFIG_OPT { "config", 'c', OPT_VALUE, NULL, "FILE", "configuration file", set_file }
#define HELP_OPT { "help", 'h', OPT_FLAG, NULL, NULL, "show this help", set_help }

static const struct opt opts[] = {	/* --name, "name value" in the file, TUNNELD_NAME */
	{ "listen", 'l', OPT_LIST, "127.0.0.1:9001", "[HOST:]PORT[,tls]", "public address; port 0: any free", set_listen },
	{ "cert", 0, OPT_LIST, NULL, "FILE", "certificate and its chain, for listeners with ,tls", set_cert },
	{ "key", 0, OPT_LIST, NULL, "FILE", "its key; default: in the same file", set_key },
	{ "redirect", 0, OPT_FLAG, NULL, NULL, "send plain HTTP callers to https", set_redirect },
	{ "domain", 'd', OPT_VALUE, NULL, "NAME", "a tunnel is reached at TUNNEL.NAME", set_domain },
	{ "url", 0, OPT_VALUE, NULL, "URL", "scheme and port of the URLs told to clients", set_url },
	{ "trust", 0, OPT_LIST, NULL, "ADDR[/BITS]", "believe X-Forwarded-* from this proxy", set_trust },
	{ "grace", 0, OPT_VALUE, "10", "TIME", "a lost session keeps its names", set_grace },
	{ "drain", 0, OPT_VALUE, "20", "TIME", "to finish running exchanges at the end", set_drain },
	{ "timeout", 0, OPT_VALUE, "30", "TIME", "for a response head", set_timeout },
	{ "head-timeout", 0, OPT_VALUE, "10", "TIME", "for a request head", set_head },
	{ "idle", 0, OPT_VALUE, "30", "TIME", "without a byte of a request's content", set_idle },
	{ "stall", 0, OPT_VALUE, "300", "TIME", "without a caller taking a byte", set_stall },
	{ "half-close", 0, OPT_VALUE, "5", "TIME", "for an answer to a half-closed caller", set_half_close },
	{ "keep-alive", 0, OPT_VALUE, "75", "TIME", "between requests on a connection", set_keep_alive },
	{ "ping", 0, OPT_VALUE, "30", "TIME", "between pings of a client", set_ping },
	{ "slots", 0, OPT_VALUE, "256", "N", "requests waiting for a response head", set_slots },
	{ "queue", 0, OPT_VALUE, "100", "N", "requests waiting for one lost tunnel", set_queue },
	{ "streams", 0, OPT_VALUE, "1024", "N", "running exchanges of one session", set_streams },
	{ "callers", 0, OPT_VALUE, "4096", "N", "public connections", set_callers },
	{ "sessions", 0, OPT_VALUE, "16384", "N", "client sessions", set_sessions },
	{ "handshakes", 0, OPT_VALUE, "64", "N", "TLS handshakes of one address at once", set_handshakes },
	{ "window", 0, OPT_VALUE, "8M", "BYTES", "a stream's window may grow to", set_window },
	{ "buffer", 0, OPT_VALUE, "32M", "BYTES", "all windows may grow by", set_buffer },
	{ "log-time", 0, OPT_FLAG, NULL, NULL, "begin log lines with the time", set_log_time },
	STATE_OPT,
	CONFIG_OPT,
	/* the last three are for the command line alone */
	{ "check", 'n', OPT_FLAG, NULL, NULL, "check the configuration and exit", set_check },
	HELP_OPT,
	{ "version", 'V', OPT_FLAG, NULL, NULL, "show the version", set_version },
};

static const struct opt issue_opts[] = {
	{ "scope", 0, OPT_VALUE, NULL, "NAME[,NAME...]", "names and ports it may use", set_scope },
	{ "global", 0, OPT_FLAG, NULL, NULL, "it may use every name", set_global },
	{ "expires", 0, OPT_VALUE, NULL, "TIME", "30d, 12h, ...; default: never", set_expires },
	{ "note", 0, OPT_VALUE, NULL, "TEXT", "whose it is, for the list", set_note },
	STATE_OPT, CONFIG_OPT, HELP_OPT,
};

static const struct opt plain_opts[] = { STATE_OPT, CONFIG_OPT, HELP_OPT };

static const struct opt status_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, NULL, "as JSON", set_json },
	STATE_OPT, CONFIG_OPT, HELP_OPT,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
usage(void)
{
	char text[4096];

	opt_help(opts, COUNT(opts), text, sizeof(text));
	printf("usage: tunneld [OPTION...]\n"
	    "       tunneld token issue (--scope NAME[,NAME...] | --global)\n"
	    "                           [--expires TIME] [--note TEXT]\n"
	    "       tunneld token list | token revoke ID\n"
	    "       tunneld status [--json] | stop\n"
	    "Every command takes --state and --config. TIME: 30, 500ms, 5m, 12h, 30d.\n%s"
	    "See tunneld(8).\n", text);
	exit(0);
}

/* "$XDG_STATE_HOME/tunneld" and the like: where a user's own files are. */
static void
home_path(char *out, size_t cap, const char *xdg, const char *under, const char *leaf)
{
	const char *base = getenv(xdg), *home = getenv("HOME");
	int n;

	if (base != NULL && base[0] == '/')
		n = snprintf(out, cap, "%s/%s", base, leaf);
	else
		n = snprintf(out, cap, "%s/%s/%s", home != NULL ? home : ".", under, leaf);
	if (n < 0 || (size_t)n >= cap)
		die(EXIT_USAGE, "the path of your home folder is too long");
}

/* What the environment, the file and the defaults add. file: --config of a command with a table of its own, or "". */
static void
settle(struct opt_set *set, struct conf *c, const char *file)
{
	int given;

	set->n -= 3;		/* check, help and version are for the command line alone */
	if (opt_env(set, c) == -1)
		die(EXIT_USAGE, "%s", set->err);
	if (file[0] != '\0')
		copy(c->file, sizeof(c->file), file);
	given = c->file[0] != '\0';
	if (!given && geteuid() == 0)
		copy(c->file, sizeof(c->file), CONFFILE);
	else if (!given)
		home_path(c->file, sizeof(c->file), "XDG_CONFIG_HOME", ".config", "tunneld.conf");
	if (opt_file(set, c, c->file) == -1 && (given || errno != ENOENT))
		die(EXIT_USAGE, "%s", set->err);
	opt_defaults(set, c);
	if (c->state[0] == '\0' && geteuid() == 0)
		copy(c->state, sizeof(c->state), STATEDIR);
	else if (c->state[0] == '\0')
		home_path(c->state, sizeof(c->state), "XDG_STATE_HOME", ".local/state", "tunneld");
}

/*
 * Options of a command: its own from the command line; environment and file
 * are read as the daemon reads them, so that both mean the same state folder.
 */
static void
options(struct conf *c, const struct opt *table, size_t n, int argc, char **argv, int operands)
{
	struct opt_set set;
	struct conf daemon;
	int nargs;

	memset(c, 0, sizeof(*c));
	opt_init(&set, table, n, "TUNNELD");
	if (opt_args(&set, c, argc, argv, &nargs) == -1)
		die(EXIT_USAGE, "%s; see tunneld --help", set.err);
	if (c->help)
		usage();
	if (c->version) {
		printf("tunneld %s\n", VERSION);
		exit(0);
	}
	if (nargs > operands)
		die(EXIT_USAGE, "unknown word '%.60s'; see tunneld --help", argv[operands]);
	if (nargs < operands)
		die(EXIT_USAGE, "a word is missing; see tunneld --help");
	if (table == opts) {
		settle(&set, c, "");
		return;
	}
	memset(&daemon, 0, sizeof(daemon));
	opt_init(&set, opts, COUNT(opts), "TUNNELD");
	settle(&set, &daemon, c->file);
	c->d = daemon.d;
	memcpy(c->listen, daemon.listen, sizeof(c->listen));
	memcpy(c->tls, daemon.tls, sizeof(c->tls));
	c->nlisten = daemon.nlisten;
	if (c->state[0] == '\0')
		memcpy(c->state, daemon.state, sizeof(c->state));
}

/* The state folder. */

static int
open_state(const char *path, int make)
{
	char part[sizeof(((struct conf *)0)->state)];
	size_t i;
	int fd;

	for (i = 1; make && path[i - 1] != '\0'; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) == -1 && errno != EEXIST)
			die(1, "state folder %s: %s", part, strerror(errno));
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		die(1, "state folder %s: %s; name another with --state", path, strerror(errno));
	return fd;
}

/* Commands. */

/* Where it listens, "http://ADDR" or https, a running daemon knows best. text stays as it is if none runs. */
static void
ask_address(const struct conf *c, char *text, size_t cap)
{
	char line[NET_ADDR_MAX + 10];
	int fd[2];
	ssize_t n;

	if (pipe(fd) == -1)
		return;
	n = control_ask(c->state, "listening\n", fd[1]) == 0 ? read(fd[0], line, sizeof(line) - 1) : 0;
	close(fd[0]);
	close(fd[1]);
	if (n <= 0)
		return;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	copy(text, cap, line);
}

/* The line for the client's user to paste. */
static void
print_client_line(struct conf *c, const char *token)
{
	char host[NET_HOST_MAX], port[6], text[NET_HOST_MAX + 20];
	int i = 0, tls;

	printf("client: tunnel use ");
	if (c->d.url[0] != '\0')
		printf("%s", c->d.url);
	else {
		while (i < c->nlisten - 1 && !c->tls[i])
			i++;
		if (!c->tls[i])
			i = 0;
		snprintf(text, sizeof(text), "%s://%s", c->tls[i] ? "https" : "http", c->listen[i]);
		ask_address(c, text, sizeof(text));
		tls = strncmp(text, "https://", 8) == 0;
		net_split(text + (tls ? 8 : 7), host, port);
		if (c->d.domain[0] != '\0')
			copy(host, sizeof(host), c->d.domain);
		else if (host[0] == '\0' || strcmp(host, "*") == 0 ||
		    strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
			copy(host, sizeof(host), "127.0.0.1");
		printf(strchr(host, ':') != NULL ? "%s://[%s]" : "%s://%s", tls ? "https" : "http", host);
		if (strcmp(port, tls ? "443" : "80") != 0)
			printf(":%s", port);
	}
	printf(" %s\n", token);
}

static int
token_issue(int argc, char **argv)
{
	char text[TOKEN_LEN + 1], why[300];
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	const char *wrong;
	struct token t;
	struct conf c;
	int dir;

	options(&c, issue_opts, COUNT(issue_opts), argc, argv, 0);
	if ((c.scope[0] != '\0') == c.global)
		die(EXIT_USAGE, "token issue needs --scope NAME or --global, one of the two");
	if (c.global)
		copy(c.scope, sizeof(c.scope), "*");
	if (scope_check(c.scope, &wrong) == -1)
		die(EXIT_USAGE, "--scope: '%.60s' %s", c.scope, wrong);
	if (!tokens_note_ok(c.note))
		die(EXIT_USAGE, "--note: the text has controls, or is no UTF-8, or is too long");
	dir = open_state(c.state, 1);
	if (store_issue(dir, c.scope, now, c.expires_ms == 0 ? 0 : now + c.expires_ms / 1000,
	    c.note, &t, text, why, sizeof(why)) == -1)
		die(1, "%s/%s", c.state, why);
	printf("id: %s\nscope: %s\ntoken: %s\n", t.id, t.scope, text);
	print_client_line(&c, text);
	wipe(text, sizeof(text));
	close(dir);
	return 0;
}

static void
print_day(const char *name, int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;
	char text[32];

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf(" %s=%s", name, when == 0 ? "never" : text);
}

static int
token_list(int argc, char **argv)
{
	struct store s = { NULL, 0 };
	char why[300];
	struct conf c;
	size_t i;
	int dir;

	options(&c, plain_opts, COUNT(plain_opts), argc, argv, 0);
	dir = open_state(c.state, 0);
	if (store_load(&s, dir, why, sizeof(why)) == -1)
		die(1, "%s/%s", c.state, why);
	for (i = 0; i < s.n; i++) {
		printf("id=%s scope=%s", s.token[i].id, s.token[i].scope);
		print_day("created", s.token[i].created);
		print_day("expires", s.token[i].expires);
		printf(" note=%s\n", s.token[i].note);
	}
	store_free(&s);
	close(dir);
	return 0;
}

static int
token_revoke(int argc, char **argv)
{
	char why[300];
	struct conf c;
	int dir, rc;

	options(&c, plain_opts, COUNT(plain_opts), argc, argv, 1);
	dir = open_state(c.state, 0);
	if ((rc = store_revoke(dir, argv[0], why, sizeof(why))) == -1)
		die(1, "%s/%s", c.state, why);
	if (rc == 0)
		die(1, "no token has the id '%.60s'; see tunneld token list", argv[0]);
	printf("revoked: %s\n", argv[0]);
	close(dir);
	return 0;
}

static int
ask(int argc, char **argv, int stop)
{
	struct conf c;

	options(&c, stop ? plain_opts : status_opts, stop ? COUNT(plain_opts) : COUNT(status_opts),
	    argc, argv, 0);
	if (control_ask(c.state, stop ? "stop\n" : c.json ? "status json\n" : "status\n", 1) == -1) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			die(1, "no daemon runs with state folder %s", c.state);
		die(1, "%s/control: %s", c.state, strerror(errno));
	}
	return 0;
}

static int
command(int argc, char **argv)
{
	if (strcmp(argv[0], "status") == 0)
		return ask(argc, argv, 0);
	if (strcmp(argv[0], "stop") == 0)
		return ask(argc, argv, 1);
	if (strcmp(argv[0], "token") != 0)
		die(EXIT_USAGE, "unknown word '%.60s'; see tunneld --help", argv[0]);
	if (argc > 1 && strcmp(argv[1], "issue") == 0)
		return token_issue(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "list") == 0)
		return token_list(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "revoke") == 0)
		return token_revoke(argc - 1, argv + 1);
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		usage();
	if (argc > 1)
		die(EXIT_USAGE, "unknown word '%.60s' after token; see tunneld --help", argv[1]);
	die(EXIT_USAGE, "token is followed by issue, list or revoke; see tunneld --help");
	return EXIT_USAGE;
}

/* Start and stop. */

static struct daemon d;
static struct conf conf;

static void
stop(void)
{
	kill(getpid(), SIGTERM);
}

static void
drained(void)
{
	char path[CONTROL_PATH_MAX];

	if (control_path(path, conf.state) == 0)
		unlink(path);
	log_line(LOG_INFO, "stopped", (char *)NULL);
	exit(0);
}

static void
raise_limits(void)
{
	/* what busy sessions and callers need, and some */
	rlim_t want = (rlim_t)(5 * conf.d.sessions + 3 * conf.d.callers + 64);
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == -1)
		return;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_max < want) {	/* root may */
		rl.rlim_cur = rl.rlim_max = want;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int
listen_all(struct daemon_listener *l, int max)
{
	int fd[NET_LISTEN_MAX], i, k, n = 0;
	const char *why;

	for (i = 0; i < conf.nlisten && n + NET_LISTEN_MAX <= max; i++) {
		if ((k = net_listen(conf.listen[i], fd, &why)) == -1)
			die(1, "cannot listen on %s: %s", conf.listen[i], why);
		while (k > 0) {
			l[n].fd = fd[--k];
			l[n++].tls = conf.tls[i];
		}
	}
	return n;
}

/* Certificates for the listeners that want them. NULL: none does. */
static struct tls_server *
load_tls(void)
{
	char why[TLS_WHY_MAX];
	struct tls_server *s;
	int i, n = 0;

	for (i = 0; i < conf.nlisten; i++)
		n += conf.tls[i];
	if (n > 0 && conf.ncerts == 0)
		die(EXIT_USAGE, "a listener with ,tls needs --cert FILE and --key FILE");
	if (n == 0 && conf.ncerts > 0)
		die(EXIT_USAGE, "--cert is for a listener with ,tls: --listen 0.0.0.0:443,tls");
	if (conf.nkeys != 0 && conf.nkeys != conf.ncerts)
		die(EXIT_USAGE, "each --cert needs a --key, or none does: then the key is in the same file");
	if (n == 0)
		return NULL;
	for (i = 0; i < conf.ncerts; i++) {
		conf.d.cert[i].cert = conf.cert[i];
		conf.d.cert[i].key = conf.nkeys > 0 ? conf.key[i] : conf.cert[i];
	}
	conf.d.ncerts = conf.ncerts;
	if ((s = tls_server_new(conf.d.cert, conf.d.ncerts, why)) == NULL)
		die(1, "%s", why);
	return s;
}

static int
listen_control(void)
{
	char path[CONTROL_PATH_MAX];
	int fd;

	if (control_path(path, conf.state) == -1)
		die(1, "the path of state folder %s is too long for its control socket", conf.state);
	if ((fd = net_listen_unix(path)) == -1) {
		if (errno == EADDRINUSE)
			die(1, "a daemon already runs with state folder %s", conf.state);
		die(1, "%s: %s", path, strerror(errno));
	}
	return fd;
}

/* Signals are taken by the main thread alone. */
static void
block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void
serve(void)
{
	struct daemon_listener l[LISTEN_TEXTS * NET_LISTEN_MAX];
	struct tls_server *tls = load_tls();
	int n, sig, stopping = 0;
	char why[300];
	sigset_t set;

	umask(077);
	raise_limits();
	log_setup(LOG_INFO, conf.log_time);
	block_signals(&set);
	n = listen_all(l, (int)COUNT(l));
	if (daemon_init(&d, &conf.d, open_state(conf.state, 1), why, sizeof(why)) == -1)
		die(1, "%s: %s", conf.state, why);
	d.stop = stop;
	d.drained = drained;
	d.tls = tls;
	if (daemon_start(&d, l, n, listen_control()) == -1)
		die(1, "no thread can be had: %s", strerror(errno));
	for (;;) {
		if (sigwait(&set, &sig) != 0)
			continue;
		if (sig == SIGHUP)
			daemon_reload(&d, 1);
		else if (stopping++ || daemon_drain(&d) == -1)
			exit(1);
	}
}

int
main(int argc, char **argv)
{
	struct tls_server *tls;

	if (argc > 1 && argv[1][0] != '-')
		return command(argc - 1, argv + 1);
	options(&conf, opts, COUNT(opts), argc, argv, 0);
	if (conf.check) {
		if ((tls = load_tls()) != NULL)
			tls_server_unref(tls);
		printf("tunneld: the configuration is sound\n");
		return 0;
	}
	serve();
	return 0;
}
