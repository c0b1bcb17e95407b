/* tunneld.c: the daemon: start, signals and stop. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "log.h"
#include "privileges.h"
#include "sha256.h"
#include "sshfront.h"
#include "supervise.h"
#include "takeover.h"
#include "tunneld.h"

static struct daemon d;
static struct conf conf;
static struct supervise sup;
static struct takeover take;	/* with --takeover */
static int state_dir;

static void
stop(void)
{
	kill(getpid(), SIGTERM);
}

static void
drained(void)
{
	int moved = daemon_moved(&d);	/* then what is in the state folder is not ours any more */

	if (!moved)
		unlinkat(state_dir, "control", 0);	/* its path may lead nowhere in a chroot */
	log_tell(1);
	log_line(LOG_INFO, "stopped", (char *)NULL);
	if (!moved)
		supervise_end(&sup);
	exit(0);
}

static void
handed(long pid)
{
	if (pid > 0)
		notify_main(&sup.notify, pid);
}

static void
raise_limits(void)
{
	/* what busy sessions and callers need, and some */
	rlim_t want = (rlim_t)(5 * conf.d.sessions + (conf.d.nrelay > 0 || conf.d.npass > 0 ? 4 : 3) * conf.d.callers + conf.d.ports_max + 64);
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

/* Have the running daemon offer its sockets. Those that a supervisor had opened for it are as good as opened for us. */
static void
ask_running(void)
{
	char why[300];
	int i, own = sup.sockets.n;

	if (takeover_ask(&take, conf.state, why, sizeof(why)) == -1) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			die(1, "no daemon runs with state folder %s: start without --takeover", conf.state);
		die(1, "the daemon that runs with state folder %s cannot be taken over: %s", conf.state, why);
	}
	for (i = 0; own == 0 && i < take.n && sup.sockets.n < ACTIVATE_MAX; i++) {
		if (!take.have[i].given)
			continue;
		sup.sockets.fd[sup.sockets.n] = take.have[i].fd;
		sup.sockets.connect[sup.sockets.n] = take.have[i].connect;
		sup.sockets.ssh[sup.sockets.n] = take.have[i].ssh;
		sup.sockets.tls[sup.sockets.n++] = take.have[i].tls;
		take.have[i].fd = -1;
	}
}

/* What the running daemon has of it; arg: of which kind. */
static int
have(void *arg, const struct sockaddr *want)
{
	return takeover_find(&take, arg, want);
}

/* Listen on text, with sockets that are like this one, behind the n that there are. How many are there then. */
static int
listen_on(struct daemon_listener *l, int n, const char *text, struct daemon_listener like)
{
	char host[NET_HOST_MAX], port[6];
	int fd[NET_LISTEN_MAX], k;
	const char *why;

	if (n + NET_LISTEN_MAX > LISTENERS_MAX)
		die(EXIT_USAGE, "%s is one listener too many", text);
	if ((k = net_listen(text, have, &like, fd, &why)) == -1)
		die(1, "cannot listen on %s: %s", text, why);
	like.any = net_split(text, host, port) == 0 && strtol(port, NULL, 10) == 0;
	for (; k > 0; n++) {
		l[n] = like;
		l[n].fd = fd[--k];
	}
	return n;
}

enum kind { KIND_HTTP, KIND_CONNECT, KIND_SSH };

/* What socket i of the supervisor's is for. */
static enum kind
kind_of(int i)
{
	return sup.sockets.connect[i] ? KIND_CONNECT : sup.sockets.ssh[i] ? KIND_SSH : KIND_HTTP;
}

/* Sockets of this kind that are there already. */
static int
given(enum kind kind)
{
	int i, n = 0;

	for (i = 0; i < sup.sockets.n; i++)
		n += kind_of(i) == kind;
	return n;
}

/* They are in place of our own. How many there are then. */
static int
add_given(struct daemon_listener *l, int n, enum kind kind)
{
	int i;

	for (i = 0; i < sup.sockets.n; i++) {
		if (kind_of(i) != kind)
			continue;
		l[n].fd = sup.sockets.fd[i];
		l[n].tls = sup.sockets.tls[i];
		l[n].connect = kind == KIND_CONNECT;
		l[n].ssh = kind == KIND_SSH;
		l[n++].given = 1;
	}
	return n;
}

/* A proxy that anybody can reach is one that anybody would use. */
static void
check_proxy_at(const struct sockaddr_storage *ss)
{
	static const struct cidr loopback[] = {
		{ { { [10] = 0xff, [11] = 0xff, [12] = 127 } }, 96 + 8 }, { { { [15] = 1 } }, 128 }
	};
	char host[NET_ADDR_MAX];
	struct addr a;

	net_format_host(ss, host);
	if (conf.proxy_auth[0] == '\0' && (addr_parse(&a, host) == -1 || (!cidr_match(&loopback[0], &a) && !cidr_match(&loopback[1], &a))))
		die(EXIT_USAGE, "--proxy on %s, which is not loopback, needs --proxy-auth-file FILE: who may use it", host);
}

static int
listen_all(struct daemon_listener l[LISTENERS_MAX])
{
	struct daemon_listener like;
	struct sockaddr_storage ss;
	int i, n, first;

	memset(l, 0, LISTENERS_MAX * sizeof(*l));
	first = n = add_given(l, 0, KIND_HTTP);
	for (i = 0; first == 0 && i < conf.nlisten; i++) {
		memset(&like, 0, sizeof(like));
		like.proxy = conf.proxy[i];
		like.tls = conf.tls[i];
		n = listen_on(l, n, conf.listen[i], like);
	}
	first = n;
	n = add_given(l, n, KIND_CONNECT);
	for (i = 0; given(KIND_CONNECT) == 0 && i < conf.nproxy_at; i++) {
		memset(&like, 0, sizeof(like));
		like.connect = 1;
		n = listen_on(l, n, conf.proxy_at[i], like);
	}
	for (i = first; i < n; i++) {
		net_local(l[i].fd, &ss);
		check_proxy_at(&ss);
	}
	memset(&like, 0, sizeof(like));
	like.ssh = 1;
	n = add_given(l, n, KIND_SSH);
	for (i = 0; given(KIND_SSH) == 0 && i < conf.ssh.nlisten; i++)
		n = listen_on(l, n, conf.ssh.listen[i], like);
	if (conf.takeover)
		takeover_drop(&take);
	return n;
}

/* Where public ports are bound: looked up now, for later it cannot be. */
static void
find_bind(void)
{
	const char *why = "it is no host", *host = conf.ports_bind;
	char bare[NET_HOST_MAX], text[NET_HOST_MAX + 4], port[6];

	if (host[0] == '\0')
		return;
	snprintf(text, sizeof(text), strchr(host, ':') != NULL && host[0] != '[' ? "[%s]:0" : "%s:0", host);
	if (net_split(text, bare, port) == -1 || (conf.d.nbind = net_listen_addresses(bare, conf.d.bind, &why)) == -1)
		die(EXIT_USAGE, "--ports-bind: '%s': %s", host, why);
}

/* Who may use the CONNECT proxy. */
static void
load_proxy_users(void)
{
	struct guard *g = &conf.d.proxy_users;
	char line[GUARD_USER_MAX + 3], hex[2 * SHA256_LEN + 1];
	uint8_t hash[SHA256_LEN];
	const char *why;
	struct buf b;
	FILE *f;
	int n;

	if ((f = fopen(conf.proxy_auth, "r")) == NULL)
		die(1, "--proxy-auth-file: %s: %s", conf.proxy_auth, strerror(errno));
	for (n = 1; fgets(line, sizeof(line), f) != NULL; n++) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (!guard_user_ok(line))	/* never quoted */
			die(1, "%s:%d: the line is not USER:PASSWORD, or too long", conf.proxy_auth, n);
		sha256(line, strlen(line), hash);
		buf_init(&b, hex, sizeof(hex) - 1);
		buf_hex(&b, hash, sizeof(hash));
		hex[b.len] = '\0';
		if (guard_add_user(g, hex, &why) == -1)
			die(1, "%s:%d: %s", conf.proxy_auth, n, why);
	}
	wipe(line, sizeof(line));
	if (ferror(f) || g->nusers == 0)	/* not: then everybody may come */
		die(1, "--proxy-auth-file: %s holds no USER:PASSWORD line", conf.proxy_auth);
	fclose(f);
}

/* The CONNECT proxy's options. */
static void
check_proxy(void)
{
	char host[NET_HOST_MAX], port[6];
	struct sockaddr_storage at[NET_LISTEN_MAX];
	const char *why;
	int i, k, n = conf.nproxy_at;

	if (conf.pass_verb[0] != '\0')
		die(EXIT_USAGE, "--proxy-pass: '%s' is without its TARGET", conf.pass_verb);
	n += given(KIND_CONNECT);
	if (n == 0 && (conf.d.npass > 0 || conf.proxy_auth[0] != '\0'))
		die(EXIT_USAGE, "--proxy-pass and --proxy-auth-file are for the proxy, which is off without --proxy");
	for (i = 0; i < conf.nproxy_at; i++) {
		if (net_split(conf.proxy_at[i], host, port) == -1 || host[0] == '\0')
			continue;
		if ((k = net_listen_addresses(host, at, &why)) == -1)
			die(EXIT_USAGE, "--proxy: '%s': %s", conf.proxy_at[i], why);
		while (k > 0)
			check_proxy_at(&at[--k]);
	}
	if (conf.proxy_auth[0] != '\0')
		load_proxy_users();
}

/* Certificates for the listeners that want them. NULL: none does. */
static struct tls_server *
load_tls(void)
{
	char why[TLS_WHY_MAX];
	struct tls_server *s;
	int i, n = 0;

	for (i = 0; i < sup.sockets.n; i++)
		n += sup.sockets.tls[i];
	for (i = 0; given(KIND_HTTP) == 0 && i < conf.nlisten; i++)
		n += conf.tls[i];
	if (n > 0 && conf.ncerts == 0)
		die(EXIT_USAGE, "a listener with ,tls needs --cert FILE and --key FILE");
	if (n == 0 && conf.ncerts > 0)
		die(EXIT_USAGE, "--cert is for a listener with ,tls: --listen 0.0.0.0:443,tls");
	if (conf.nkeys != 0 && conf.nkeys != conf.ncerts)
		die(EXIT_USAGE, "each --cert needs a --key, or none does: then the key is in the same file");
	if (n == 0 && conf.d.redirect && strncmp(conf.d.url, "https://", 8) != 0)
		die(EXIT_USAGE, "--redirect needs a listener with ,tls, or an https:// --url");
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

/* vtunnel's keys, and the daemon's own in the state folder (-1: this is a check). NULL: it is off. */
static struct vtunnel *
load_vtunnel(int dir)
{
	struct vtunnel *v;
	char why[300];

	conf.vtunnel.keys = conf.vtunnel_key;
	conf.vtunnel.file = conf.vtunnel_keys[0] != '\0' ? conf.vtunnel_keys : NULL;
	conf.vtunnel.state = conf.state;
	if (!vtunnel_configured(&conf.vtunnel))
		return NULL;
	if (conf.vtunnel_key_full)
		die(EXIT_USAGE, "--vtunnel-key: too many, or too long; put them into a file: --vtunnel-keys");
	if (conf.d.no_ports)
		die(EXIT_USAGE, "vtunnel's clients want ports: --ports none leaves them nothing");
	if ((v = vtunnel_new(&conf.vtunnel, dir, why, sizeof(why))) == NULL)
		die(errno == EINVAL ? EXIT_USAGE : 1, "vtunnel: %s", why);
	return v;
}

static void
check_listen(void)
{
	int i;

	for (i = 0; i < conf.nlisten; i++)
		if (conf.proxy[i] && conf.d.ntrust == 0)
			die(EXIT_USAGE, "a listener with ,proxy needs --trust ADDRESS: from whom the PROXY header is believed");
}

/* The keys of JWTs. NULL: none are believed. */
static struct jwtauth *
load_jwt(void)
{
	char why[JWT_WHY_MAX];
	struct jwtauth *a;

	jwt_settings(&conf);
	if (!jwtauth_configured(&conf.d.jwt))
		return NULL;
	/* what is there now may be replaced later: that it can be read is all that is asked of it */
	if (conf.d.jwt.jwks != NULL && !jwtauth_is_url(conf.d.jwt.jwks) && access(conf.d.jwt.jwks, R_OK) == -1)
		die(1, "--jwks: %s: %s", conf.d.jwt.jwks, strerror(errno));
	if ((a = jwtauth_new(&conf.d.jwt, why)) == NULL)
		die(1, "%s", why);
	return a;
}

/* Whom /relay trusts with TLS. NULL: nobody; the rest of it does without. */
static struct tls_client *
load_relay(void)
{
	char why[TLS_WHY_MAX];
	struct tls_trust trust;
	struct tls_client *t;

	if (conf.relay_verb[0] != '\0')
		die(EXIT_USAGE, "--relay: '%s' is without its TARGET", conf.relay_verb);
	if (conf.d.nrelay == 0 && conf.relay_ca[0] != '\0')
		die(EXIT_USAGE, "--relay-ca is for /relay, which is off without --relay");
	if (conf.d.nrelay == 0)
		return NULL;
	memset(&trust, 0, sizeof(trust));
	trust.ca = conf.relay_ca[0] != '\0' ? conf.relay_ca : NULL;
	trust.many = 1;
	if ((t = tls_client_new(&trust, why)) == NULL && trust.ca != NULL)
		die(1, "--relay-ca: %s", why);
	return t;
}

static int
wants_ssh(void)
{
	return conf.ssh.nlisten > 0 || given(KIND_SSH) > 0;
}

/* The host key and the clients' keys. NULL: nobody listens for SSH. state: the folder; -1: only look (--check). */
static struct sshfront *
load_ssh(int state)
{
	struct sshfront_conf c = { conf.ssh.host_key, state, conf.state, conf.ssh.keys };
	struct sshfront *f;
	char why[SSHFRONT_WHY_MAX];

	if (!wants_ssh() && (conf.ssh.keys[0] != '\0' || conf.ssh.host_key[0] != '\0'))
		die(EXIT_USAGE, "--ssh-keys and --ssh-host-key are for --ssh-listen [HOST:]PORT, which is not given");
	if (!wants_ssh())
		return NULL;
	if (conf.ssh.keys[0] == '\0')
		die(EXIT_USAGE, "--ssh-listen needs --ssh-keys FILE: whose keys may come in");
	if ((f = sshfront_new(&c, why)) == NULL)
		die(1, "%s", why);
	return f;
}

static int
listen_control(void)
{
	char path[CONTROL_PATH_MAX];
	int fd;

	if (conf.takeover)
		return take.control;
	if (control_path(path, conf.state) == -1)
		die(1, "the path of state folder %s is too long for its control socket", conf.state);
	if ((fd = privileges_listen(state_dir, path)) == -1) {
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
	sigaddset(set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a log that may not grow any more is like a full disk */
}

/* Log files are opened again, too. */
static void
drop_privileges(void)
{
	char *log[3];
	int n = 0;

	if (sup.log.path != NULL)
		log[n++] = sup.log.path == sup.path ? sup.path : conf.log;
	if (sup.has_access && sup.access.path != NULL)
		log[n++] = conf.access_log;
	log[n] = NULL;
	privileges_drop(&conf, state_dir, log);
}

static void
await_signals(const sigset_t *set)
{
	int sig, moved, stopping = 0;

	for (;;) {
		if (sigwait(set, &sig) != 0)
			continue;
		moved = daemon_moved(&d);	/* then the supervisor hears from the next daemon */
		if (sig == SIGHUP && !moved) {
			notify_reloading(&sup.notify);
			daemon_reload(&d, 1);
			notify_ready(&sup.notify);
		} else if (sig == SIGHUP) {
			daemon_reload(&d, 1);
		} else if (sig == SIGUSR1) {
			supervise_reopen(&sup);
		} else {
			if (!moved)
				notify_stopping(&sup.notify);
			if (stopping++ || daemon_drain(&d) == -1) {
				if (!moved)
					supervise_end(&sup);
				exit(1);
			}
		}
	}
}

static void
serve(void)
{
	struct daemon_listener l[LISTENERS_MAX];
	struct tls_server *tls;
	struct jwtauth *jwt;
	struct tls_client *relay;
	int n, control;
	char why[300];
	sigset_t set;

	privileges_check(&conf, 1);
	check_listen();
	if (conf.takeover)
		ask_running();
	check_proxy();
	tls = load_tls();
	jwt = load_jwt();
	relay = load_relay();
	find_bind();
	umask(077);
	raise_limits();
	supervise_logs(&sup, &conf);
	block_signals(&set);
	n = listen_all(l);
	state_dir = open_state(&conf, 1);
	if (daemon_init(&d, &conf.d, state_dir, why, sizeof(why)) == -1)
		die(1, "%s: %s", conf.state, why);
	d.jwt = jwt;
	d.ssh_front = load_ssh(state_dir);
	if ((d.vtunnel = load_vtunnel(state_dir)) != NULL)
		vtunnel_tell(d.vtunnel);
	if (jwt != NULL && conf.d.jwt.jwks != NULL && conf.d.jwt.audience == NULL)
		log_line(LOG_WARN, "jwt_any_audience", "reason", "without --jwt-audience tokens that the issuer of --jwks "
		    "made for others are believed, too", (char *)NULL);
	d.stop = stop;
	d.drained = drained;
	d.handed = handed;
	d.tls = tls;
	d.relay_tls = relay;
	d.access = sup.has_access ? &sup.access : NULL;
	control = listen_control();
	drop_privileges();
	if (conf.takeover && takeover_go(&take, &d, why, sizeof(why)) == -1)
		die(1, "the running daemon stays: %s", why);
	if (daemon_start(&d, l, n, control) == -1)
		die(1, "no thread can be had: %s", strerror(errno));
	if (conf.takeover && takeover_taken(&take, &d, why, sizeof(why)) == -1)
		die(1, "the running daemon stays: %s", why);
	supervise_ready(&sup, &conf, state_dir);
	daemon_up(&d);
	await_signals(&set);
}

/* Lines go to standard error, until options say otherwise. */
static void
start_log(void)
{
	static struct sink to_stderr = SINK_STDERR;
	struct log *l = log_new(sink_log, &to_stderr);

	if (l == NULL)
		die(1, "no memory");
	log_use(l);
}

/* A command is done only when what it says, a token that is shown once, has got out. */
static int
told(int rc)
{
	if (fflush(stdout) == EOF || ferror(stdout))
		die(1, "standard output: %s", strerror(errno));
	return rc;
}

int
main(int argc, char **argv)
{
	struct sshfront *ssh;
	struct tls_server *tls;
	struct jwtauth *jwt;
	struct tls_client *relay;
	struct vtunnel *vtunnel;

	start_log();
	if (argc > 1 && argv[1][0] != '-')
		return told(command(argc - 1, argv + 1));
	options(&conf, OPTIONS_DAEMON, argc, argv, 0);
	if (conf.check) {
		privileges_check(&conf, 0);
		check_listen();
		check_proxy();
		if ((tls = load_tls()) != NULL)
			tls_server_unref(tls);
		if ((jwt = load_jwt()) != NULL)
			jwtauth_free(jwt);
		if ((relay = load_relay()) != NULL)
			tls_client_free(relay);
		if ((ssh = load_ssh(-1)) != NULL)
			sshfront_free(ssh);
		find_bind();
		if ((vtunnel = load_vtunnel(-1)) != NULL)
			vtunnel_free(vtunnel);
		supervise_check(&conf);
		printf("tunneld: the configuration is sound\n");
		return 0;
	}
	supervise_start(&sup, &conf);
	serve();
	return 0;
}
