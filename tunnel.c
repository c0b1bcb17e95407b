/* tunnel.c: the client's command line; the work is behind tunnel.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "opt.h"
#include "tunnel.h"

enum {
	PATH_SIZE = 1024,
	TOKEN_SIZE = 8192,
	LINE_SIZE = 1024,
	PROXY_SIZE = 4096,	/* credentials may be percent-encoded */
	PINS_MAX = 8, PIN_SIZE = 64,
	LOOK_MS = 100,		/* how often --run looks for its port */
	KILL_MS = 5000		/* from SIGTERM to SIGKILL for --run's command */
};

struct conf {
	char name[256], host[256], run[4096], endpoint[512], token_file[PATH_SIZE];
	char token[TOKEN_SIZE], proxy[PROXY_SIZE];
	int share, quiet, help, version, has_name, has_host, proxy_bad;
	long connections;
	char ca[PATH_SIZE], pin[PINS_MAX][PIN_SIZE];
	int npins, insecure_target;
};

static void
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

#define SETTER(name, call) \
	static const char *name(void *arg, const char *v) \
	{ struct conf *c = arg; return call; }

SETTER(set_name, (c->has_name = 1, opt_copy(c->name, sizeof(c->name), v)))
SETTER(set_host, (c->has_host = 1, opt_copy(c->host, sizeof(c->host), v)))
SETTER(set_run, opt_copy(c->run, sizeof(c->run), v))
SETTER(set_endpoint, opt_copy(c->endpoint, sizeof(c->endpoint), v))
SETTER(set_token_file, opt_copy(c->token_file, sizeof(c->token_file), v))
/* may hold a password, which an error would quote: judged later */
SETTER(set_proxy, (c->proxy_bad = opt_copy(c->proxy, sizeof(c->proxy), v) != NULL, (const char *)NULL))
SETTER(set_share, (c->share = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_quiet, (c->quiet = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_help, (c->help = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_version, (c->version = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_ca, opt_copy(c->ca, sizeof(c->ca), v))
SETTER(set_pin, c->npins == PINS_MAX ? "is one pin too many" : opt_copy(c->pin[c->npins++], PIN_SIZE, v))
SETTER(set_insecure, (c->insecure_target = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_connections, opt_number(v, 1, 64, &c->connections) == -1 ? "is not a number from 1 to 64" : NULL)

#define PIN_OPT { "pin", 0, OPT_LIST, NULL, "sha256:HASH", "the daemon's key; no CA is needed then", set_pin }
#define HELP_OPT { "help", 'h', OPT_FLAG, NULL, NULL, "show this help", set_help }

static const struct opt use_opts[] = { PIN_OPT, HELP_OPT };

static const struct opt opts[] = {	/* --name, TUNNEL_NAME */
	{ "name", 'n', OPT_VALUE, NULL, "NAME", "the tunnel's name; default: the token's only one", set_name },
	{ "host-header", 0, OPT_VALUE, NULL, "keep|HOST", "Host for the service; default: TARGET's", set_host },
	{ "run", 'r', OPT_VALUE, NULL, "CMD", "start CMD, wait for TARGET, end with it", set_run },
	{ "share", 0, OPT_FLAG, NULL, NULL, "share the name with others of this token", set_share },
	{ "connections", 0, OPT_VALUE, "1", "N", "sessions to spread over; implies --share", set_connections },
	{ "quiet", 'q', OPT_FLAG, NULL, NULL, "do not show requests", set_quiet },
	{ "endpoint", 'e', OPT_VALUE, NULL, "URL", "the daemon, in place of the saved one", set_endpoint },
	{ "token-file", 't', OPT_VALUE, NULL, "FILE", "the token, in place of the saved one", set_token_file },
	{ "ca", 0, OPT_VALUE, NULL, "FILE", "CA certificates, in place of the system's", set_ca },
	PIN_OPT,
	{ "insecure-target", 0, OPT_FLAG, NULL, NULL, "do not verify TARGET's certificate", set_insecure },
	{ "proxy", 0, OPT_VALUE, NULL, "URL|none", "http://[USER:PASSWORD@]HOST[:PORT] to go through", set_proxy },
	HELP_OPT,
	{ "version", 'V', OPT_FLAG, NULL, NULL, "show the version", set_version },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
usage(void)
{
	char text[4096];

	opt_help(opts, COUNT(opts), text, sizeof(text));
	printf("usage: tunnel use ENDPOINT TOKEN [--pin sha256:HASH]   save them; TOKEN - reads it from stdin\n"
	    "       tunnel connect TARGET [OPTION...]\n"
	    "TARGET: 3000, HOST:PORT, http[s]://HOST[:PORT] or unix:/PATH\n%s"
	    "Exit: 0 stopped, 1 failed, 2 usage, 3 token refused, 4 name lost, 5 not trusted.\n"
	    "See tunnel(1).\n", text);
	exit(0);
}

/* The folder of saved settings. */

static void
config_path(char out[PATH_SIZE], const char *leaf)
{
	const char *dir = getenv("TUNNEL_CONFIG_DIR"), *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int n = -1;

	if (dir != NULL && dir[0] != '\0')
		n = snprintf(out, PATH_SIZE, "%s%s%s", dir, leaf[0] ? "/" : "", leaf);
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(out, PATH_SIZE, "%s/tunnel%s%s", xdg, leaf[0] ? "/" : "", leaf);
	else if (home != NULL && home[0] != '\0')
		n = snprintf(out, PATH_SIZE, "%s/.config/tunnel%s%s", home, leaf[0] ? "/" : "", leaf);
	else
		die(TUNNEL_USAGE, "no home folder: set TUNNEL_CONFIG_DIR");
	if (n < 0 || n >= PATH_SIZE)
		die(TUNNEL_USAGE, "the path of the configuration folder is too long");
}

static void
make_folder(void)
{
	char path[PATH_SIZE];
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
	char path[PATH_SIZE], tmp[PATH_SIZE + 8];
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

/* Read one line from fd: 0, or -1 if there is none or it is too long. */
static int
read_line(int fd, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t n;

	while (len < cap && (n = read(fd, out + len, cap - len)) > 0) {
		len += (size_t)n;
		if (memchr(out, '\n', len) != NULL)
			break;
	}
	if (len == cap)
		return -1;
	out[len] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
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
		die(TUNNEL_USAGE, "%s holds no usable line", path);
	close(fd);
	return 0;
}

/* The pins as options of the library. */
static void
give_pins(const struct conf *c, struct tunnel_options *o, const char *pins[PINS_MAX])
{
	int i;

	for (i = 0; i < c->npins; i++)
		pins[i] = c->pin[i];
	o->pins = pins;
	o->npins = c->npins;
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

static void
save_pins(const struct conf *c)
{
	char path[PATH_SIZE], text[PINS_MAX * (PIN_SIZE + 1) + 1];
	size_t n = 0;
	int i;

	for (i = 0; i < c->npins; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? " " : "", c->pin[i]);
	config_path(path, "pins");
	if (c->npins > 0)
		save("pins", text);
	else if (unlink(path) == -1 && errno != ENOENT)
		die(TUNNEL_FAILED, "cannot remove %s: %s", path, strerror(errno));
}

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
	check_use(&c, argv[0], c.token);
	make_folder();
	save("endpoint", argv[0]);
	save("token", c.token);
	save_pins(&c);
	printf("saved; now: tunnel connect PORT\n");
	return 0;
}

/* The saved endpoint, with its pins unless others were given. */
static void
saved_endpoint(struct conf *c)
{
	char path[PATH_SIZE], text[PINS_MAX * (PIN_SIZE + 1) + 1], *p, *word;

	config_path(path, "endpoint");
	if (load(path, c->endpoint, sizeof(c->endpoint)) == -1)
		die(TUNNEL_USAGE, "no endpoint: run tunnel use ENDPOINT TOKEN, or give --endpoint");
	config_path(path, "pins");
	if (c->npins > 0 || c->ca[0] != '\0' || load(path, text, sizeof(text)) == -1)
		return;
	for (word = strtok_r(text, " ", &p); word != NULL; word = strtok_r(NULL, " ", &p))
		if (set_pin(c, word) != NULL)
			die(TUNNEL_USAGE, "%s holds no usable line", path);
}

/* What connect is to use: option, environment, saved file. */
static void
credentials(struct conf *c)
{
	char path[PATH_SIZE];
	const char *env = getenv("TUNNEL_TOKEN");

	if (c->endpoint[0] == '\0')
		saved_endpoint(c);
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
static void
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

/* What happens, as lines. */

static struct {
	int quiet, colour, lost;	/* lost: why it ends has been said */
} show;

/* Bytes from the network as text that cannot play with a terminal. */
static void
escape(char *out, size_t cap, const char *s)
{
	size_t n = 0;

	for (; *s != '\0' && n + 5 < cap; s++)
		if (*s >= ' ' && *s < 0x7f && *s != '\\')
			out[n++] = *s;
		else
			n += (size_t)snprintf(out + n, cap - n, "\\x%02x", (unsigned char)*s);
	out[n] = '\0';
}

static void
put_line(int fd, const char *line, int n)
{
	ssize_t done;

	if (n <= 0)
		return;
	done = write(fd, line, (size_t)n < LINE_SIZE ? (size_t)n : LINE_SIZE - 1);	/* one write a line */
	(void)done;
}

static void
on_ready(void *arg, const char *url, const char *target, int again)
{
	char line[LINE_SIZE], text[700];

	(void)arg;
	escape(text, sizeof(text), url);
	if (!again)
		put_line(1, line, snprintf(line, sizeof(line), "%s -> %s\n", text, target));
	else
		put_line(2, line, snprintf(line, sizeof(line), "tunnel: %s is back\n", text));
}

static void
on_lost(void *arg, const char *code, const char *message)
{
	char line[LINE_SIZE], text[400];

	(void)arg;
	show.lost = 1;
	escape(text, sizeof(text), message);
	put_line(2, line, snprintf(line, sizeof(line), "tunnel: the tunnel is lost: %.40s%s%s\n",
	    code, text[0] != '\0' ? ": " : "", text));
}

static void
on_connection(void *arg, const char *what, int64_t retry_ms)
{
	char line[LINE_SIZE], text[700];

	(void)arg;
	escape(text, sizeof(text), what);	/* the daemon may have had a word in it */
	if (retry_ms > 0)
		put_line(2, line, snprintf(line, sizeof(line), "tunnel: %s; trying again in %lld.%lld s\n",
		    text, (long long)retry_ms / 1000, (long long)retry_ms % 1000 / 100));
	else if (strcmp(what, "connected") != 0)
		put_line(2, line, snprintf(line, sizeof(line), "tunnel: %s; trying again\n", text));
}

static const char *
colour_of(int status)
{
	if (!show.colour)
		return "";
	return status >= 500 || status == 0 ? "\033[31m" : status >= 400 ? "\033[33m" : "\033[32m";
}

static void
on_request(void *arg, const struct tunnel_request *r)
{
	char line[LINE_SIZE], method[64], target[600];
	time_t now = time(NULL);
	struct tm tm;

	(void)arg;
	if (show.quiet)
		return;
	localtime_r(&now, &tm);
	escape(method, sizeof(method), r->method);
	escape(target, sizeof(target), r->target);
	put_line(2, line, snprintf(line, sizeof(line),
	    "%02d:%02d:%02d %s %s %s%d%s %lldms %lluB%s%s\n", tm.tm_hour, tm.tm_min, tm.tm_sec,
	    method, target, colour_of(r->status), r->status, show.colour ? "\033[0m" : "",
	    (long long)r->ms, (unsigned long long)r->bytes,
	    r->error != NULL ? " " : "", r->error != NULL ? r->error : ""));
}

/* --run: a command that lives with the tunnel. */

static pid_t
start_command(const char *cmd, const char *port)
{
	sigset_t none;
	pid_t pid = fork();

	if (pid == -1)
		die(TUNNEL_FAILED, "cannot start the command: %s", strerror(errno));
	if (pid != 0) {
		setpgid(pid, pid);	/* both do it, so that neither can be too late */
		return pid;
	}
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (port[0] != '\0')
		setenv("PORT", port, 1);
	unsetenv("TUNNEL_TOKEN");	/* no business of its */
	unsetenv("TUNNEL_PROXY");
	execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
	_exit(127);
}

/* Has the command ended? Its status if so. */
static int
command_ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

static void
stop_command(pid_t pid, int ended)
{
	int status, ms;

	kill(-pid, SIGTERM);
	for (ms = 0; !ended && ms < KILL_MS; ms += LOOK_MS) {
		if (command_ended(pid, &status))
			ended = 1;
		else
			poll(NULL, 0, LOOK_MS);
	}
	kill(-pid, SIGKILL);
	if (!ended)
		waitpid(pid, &status, 0);
}

/* The main thread takes the signals; the client runs on another. */

struct runner {
	struct tunnel_client *client;
	enum tunnel_end end;
	char why[256];
	pthread_mutex_t mtx;	/* guards done */
	int done;		/* the client has ended */
};

static void *
run_client(void *arg)
{
	struct runner *r = arg;

	r->end = tunnel_run(r->client, r->why, sizeof(r->why));
	pthread_mutex_lock(&r->mtx);
	r->done = 1;
	pthread_mutex_unlock(&r->mtx);
	kill(getpid(), SIGUSR1);	/* sigwait in the main thread returns */
	return NULL;
}

static int
client_ended(struct runner *r)
{
	int done;

	pthread_mutex_lock(&r->mtx);
	done = r->done;
	pthread_mutex_unlock(&r->mtx);
	return done;
}

static void
block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Wait until something accepts at the target: 0; -1 if the command ended or a signal came first. */
static int
await_target(const char *target, pid_t pid, int *status, int *ended)
{
	sigset_t pending;

	while (!tunnel_probe(target)) {
		if (command_ended(pid, status)) {
			*ended = 1;
			return -1;
		}
		sigpending(&pending);
		if (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
		    sigismember(&pending, SIGHUP))
			return -1;
		poll(NULL, 0, LOOK_MS);
	}
	return 0;
}

/* Until the client has ended. Signals and the command's end stop it. */
static void
supervise(const sigset_t *set, struct runner *r, pid_t pid, int *status, int *ended)
{
	int sig, asked = 0;

	for (;;) {
		if (sigwait(set, &sig) != 0)
			continue;
		if (client_ended(r))
			return;
		if (sig == SIGUSR1)	/* somebody else's */
			continue;
		if (sig == SIGCHLD) {
			if (pid != 0 && !*ended && command_ended(pid, status)) {
				*ended = 1;
				tunnel_close(r->client);
			}
			continue;
		}
		if (asked++ && pid == 0)
			exit(TUNNEL_FAILED);	/* asked twice: at once */
		tunnel_close(r->client);
	}
}

static struct tunnel_client *
new_client(const struct conf *c, const char *target)
{
	struct tunnel_events events;
	struct tunnel_options o;
	struct tunnel_client *client;
	const char *pins[PINS_MAX];
	char why[256];

	memset(&events, 0, sizeof(events));
	events.ready = on_ready;
	events.lost = on_lost;
	events.connection = on_connection;
	events.request = on_request;
	memset(&o, 0, sizeof(o));
	o.endpoint = c->endpoint;
	o.token = c->token;
	o.target = target;
	o.name = c->has_name ? c->name : NULL;
	o.host = c->has_host ? c->host : NULL;
	o.share = c->share;
	o.connections = (int)c->connections;
	choose_proxy(c, &o);
	o.ca = c->ca[0] != '\0' ? c->ca : NULL;
	give_pins(c, &o, pins);
	o.insecure_target = c->insecure_target;
	o.stack = STACK_SIZE * 2;
	if ((client = tunnel_new(&o, &events, NULL, why, sizeof(why))) == NULL)
		die(TUNNEL_USAGE, "%s", why);
	return client;
}

static int
connect_with(const struct conf *c, const char *target)
{
	char host[256], port[8] = "", why[1024];
	struct runner r;
	pthread_t thread;
	sigset_t set;
	pid_t pid = 0;
	int status = 0, ended = 0;

	block_signals(&set);
	r.client = new_client(c, target);
	r.done = 0;
	pthread_mutex_init(&r.mtx, NULL);
	if (c->run[0] != '\0') {
		tunnel_target(target, host, sizeof(host), port, sizeof(port), why, sizeof(why));
		pid = start_command(c->run, port);
		if (await_target(target, pid, &status, &ended) == -1) {
			stop_command(pid, ended);
			tunnel_free(r.client);
			if (ended)
				die(TUNNEL_FAILED, "the command ended before it listened at %s", target);
			return TUNNEL_STOPPED;
		}
	}
	if (pthread_create(&thread, NULL, run_client, &r) != 0)
		die(TUNNEL_FAILED, "no thread can be had");
	supervise(&set, &r, pid, &status, &ended);
	pthread_join(thread, NULL);
	if (pid != 0)
		stop_command(pid, ended);
	tunnel_free(r.client);
	if (r.end != TUNNEL_STOPPED && show.lost)
		return (int)r.end;
	if (r.end != TUNNEL_STOPPED) {
		escape(why, sizeof(why), r.why);	/* the daemon may have had a word in it */
		die((int)r.end, "%s", why);
	}
	return ended && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) ?
	    TUNNEL_FAILED : TUNNEL_STOPPED;
}

static int
cmd_connect(int argc, char **argv)
{
	static struct conf c;
	struct opt_set set;
	int nargs;

	opt_init(&set, opts, COUNT(opts), "TUNNEL");
	if (opt_args(&set, &c, argc, argv, &nargs) == -1)
		die(TUNNEL_USAGE, "%s; see tunnel --help", set.err);
	if (c.help)
		usage();
	if (c.version) {
		printf("tunnel %s\n", VERSION);
		return 0;
	}
	set.n -= 2;		/* help and version are for the command line alone */
	if (opt_env(&set, &c) == -1)
		die(TUNNEL_USAGE, "%s", set.err);
	opt_defaults(&set, &c);
	if (nargs != 1)
		die(TUNNEL_USAGE, nargs == 0 ? "connect needs a TARGET; see tunnel --help" :
		    "connect takes one TARGET; see tunnel --help");
	credentials(&c);
	show.quiet = c.quiet;
	show.colour = isatty(2);
	return connect_with(&c, argv[0]);
}

int
main(int argc, char **argv)
{
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
	if (argc > 1)
		die(TUNNEL_USAGE, "unknown word '%.60s'; see tunnel --help", argv[1]);
	die(TUNNEL_USAGE, "a command is missing; see tunnel --help");
	return TUNNEL_USAGE;
}
