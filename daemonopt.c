/* daemonopt.c: the daemon's options, its files and folders; see tunneld.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "completion.h"
#include "privileges.h"
#include "tunneld.h"

void
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

/* An address of a list of listeners; form: how it is to be written. */
static const char *
add_address(char (*list)[NET_HOST_MAX + 8], int *n, const char *v, const char *form)
{
	char host[NET_HOST_MAX], port[6];

	if (net_split(v, host, port) == -1)
		return form;
	if (*n == LISTEN_TEXTS)
		return "is one listener too many";
	return opt_copy(list[(*n)++], sizeof(*list), v);
}

static const char *
set_listen(void *arg, const char *v)
{
	struct conf *c = arg;
	char text[NET_HOST_MAX + 18], *comma;
	int tls = 0, proxy = 0, n = c->nlisten;
	const char *wrong;

	if (opt_copy(text, sizeof(text), v) != NULL)
		return "is too long";
	for (; (comma = strrchr(text, ',')) != NULL; *comma = '\0') {
		if (!tls && strcmp(comma, ",tls") == 0)
			tls = 1;
		else if (!proxy && strcmp(comma, ",proxy") == 0)
			proxy = 1;
		else
			break;
	}
	if ((wrong = add_address(c->listen, &c->nlisten, text, "is not [HOST:]PORT[,tls][,proxy]")) != NULL)
		return wrong;
	c->tls[n] = tls;
	c->proxy[n] = proxy;
	return NULL;
}

static const char *
set_ssh_listen(void *arg, const char *v)
{
	struct conf *c = arg;

	return add_address(c->ssh.listen, &c->ssh.nlisten, v, "is not [HOST:]PORT");
}

/* A file of a list of at most max. */
static const char *
add_file(char (*list)[FILE_PATH_MAX], int *n, int max, const char *v)
{
	if (*n == max)
		return "is one file too many";
	return opt_copy(list[(*n)++], sizeof(list[0]), v);
}

static const char *
set_domain(void *arg, const char *v)
{
	struct conf *c = arg;

	if (v[0] != '\0' && !domain_ok(v))
		return "is not a domain name in lower case";
	return opt_copy(c->d.domain, sizeof(c->d.domain), v);
}

static const char *
set_url(void *arg, const char *v)
{
	struct conf *c = arg;

	if (v[0] != '\0' && strncmp(v, "http://", 7) != 0 && strncmp(v, "https://", 8) != 0)
		return "is not an http:// or https:// URL";
	return opt_copy(c->d.url, sizeof(c->d.url), v);
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
yes_or_no(int *n, const char *v)
{
	*n = strcmp(v, "yes") == 0;
	return *n || strcmp(v, "no") == 0 ? NULL : "is not yes or no";
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

static const char *
set_ports(void *arg, const char *v)
{
	struct conf *c = arg;

	if ((c->d.no_ports = strcmp(v, "none") == 0))
		return NULL;
	return scope_only_ports(v) ? opt_copy(c->d.ports, sizeof(c->d.ports), v) : "is not PORT, PORT-PORT, a list of these, or none";
}

static const char *
set_open(void *arg, const char *v)
{
	struct conf *c = arg;

	if (strcmp(v, "wsproxy") == 0)
		c->d.open_wsproxy = c->d.web = 1;
	else if (strcmp(v, "vtunnel") == 0)
		c->vtunnel.open = 1;
	else
		return "is not wsproxy or vtunnel, the dialects that can do without credentials";
	return NULL;
}

/*
 * Each a line, as in a file of them; where lists are split at blanks, what does not begin with a key belongs to the one before. What is wrong is
 * found later: here it would be repeated, and it may be a secret.
 */
static const char *
set_vtunnel_key(void *arg, const char *v)
{
	struct conf *c = arg;
	size_t n = strlen(c->vtunnel_key), len = strlen(v);

	c->vtunnel_key_full |= len + 2 > sizeof(c->vtunnel_key) - n;
	if (c->vtunnel_key_full)
		return NULL;
	if (n > 0 && strncmp(v, "vt-", 3) != 0)
		c->vtunnel_key[n - 1] = ' ';
	memcpy(c->vtunnel_key + n, v, len);
	memcpy(c->vtunnel_key + n + len, "\n", 2);
	return NULL;
}

static const char *
set_origin(void *arg, const char *v)
{
	struct conf *c = arg;
	const char *why;

	c->d.web = 1;
	if (c->d.norigins == ORIGINS_MAX)
		return "is one origin too many";
	return origin_rule_ok(v, &why) ? opt_copy(c->d.origin[c->d.norigins++], sizeof(c->d.origin[0]), v) : why;
}

/* A rule of a list. Where lists are split at blanks, as in the environment, one of two words comes in two. */
static const char *
add_rule(struct netrule *list, int *n, char verb[8], const char *v)
{
	char text[NETRULE_HOST_MAX + 80];
	const char *why;

	if (strcmp(v, "allow") == 0 || strcmp(v, "deny") == 0)
		return verb[0] != '\0' ? "is without its TARGET" : opt_copy(verb, 8, v);
	if (strlen(v) + 8 >= sizeof(text))
		return "is too long";
	snprintf(text, sizeof(text), "%s%s%s", verb, verb[0] != '\0' ? " " : "", v);
	verb[0] = '\0';
	if (*n == NETRULES_MAX)
		return "is one rule too many";
	if (netrule_parse(&list[*n], text, &why) == -1)
		return why;
	++*n;
	return NULL;
}

static const char *
set_relay(void *arg, const char *v)
{
	struct conf *c = arg;

	c->d.web = 1;
	return add_rule(c->d.relay, &c->d.nrelay, c->relay_verb, v);
}

static const char *
set_proxy(void *arg, const char *v)
{
	struct conf *c = arg;

	return add_address(c->proxy_at, &c->nproxy_at, v, "is not [HOST:]PORT");
}

static const char *
set_proxy_pass(void *arg, const char *v)
{
	struct conf *c = arg;
	int none = c->pass_none;

	c->pass_none = strcmp(v, "none") == 0;
	if (none || (c->pass_none && (c->d.npass > 0 || c->pass_verb[0] != '\0')))
		return "is beside none, which stands alone";
	return c->pass_none ? NULL : add_rule(c->d.pass, &c->d.npass, c->pass_verb, v);
}

#define SETTER(name, call) \
	static const char *name(void *arg, const char *v) \
	{ struct conf *c = arg; return call; }

SETTER(set_state, opt_copy(c->state, sizeof(c->state), v))
SETTER(set_file, opt_copy(c->file, sizeof(c->file), v))
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
SETTER(set_cert, add_file(c->cert, &c->ncerts, TLS_PAIRS_MAX, v))
SETTER(set_key, add_file(c->key, &c->nkeys, TLS_PAIRS_MAX, v))
SETTER(set_ssh_host_key, opt_copy(c->ssh.host_key, sizeof(c->ssh.host_key), v))
SETTER(set_ssh_keys, opt_copy(c->ssh.keys, sizeof(c->ssh.keys), v))
SETTER(set_relay_ca, opt_copy(c->relay_ca, sizeof(c->relay_ca), v))
SETTER(set_redirect, (c->d.redirect = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_handshakes, count(&c->d.handshakes, v, 1000000))
SETTER(set_conns_per_ip, count(&c->d.conns_per_ip, v, 1000000))
SETTER(set_conns_per_user, count(&c->d.conns_per_user, v, 1000000))
SETTER(set_exchanges_per_ip, opt_number(v, 0, 1000000, &c->d.exchanges_per_ip) == -1 ? "is not a number in range" : NULL)
SETTER(set_login_failures, count(&c->d.login_failures, v, 1000000))
SETTER(set_streams, count(&c->d.streams, v, 1000000))
SETTER(set_callers, count(&c->d.callers, v, 1000000))
SETTER(set_sessions, count(&c->d.sessions, v, 1000000))
SETTER(set_ports_bind, opt_copy(c->ports_bind, sizeof(c->ports_bind), v))
SETTER(set_ports_max, count(&c->d.ports_max, v, 65535))
SETTER(set_port_callers, count(&c->d.port_callers, v, 1000000))
SETTER(set_port_callers_all, count(&c->d.port_callers_all, v, 1000000))
SETTER(set_window, bytes(&c->d.window, v, 262144, 1L << 30))
SETTER(set_bodies, bytes(&c->d.bodies, v, 0, LONG_MAX))
SETTER(set_content, bytes(&c->d.content, v, 1, 64L << 20))
SETTER(set_pipegate_timeout, seconds(&c->d.pipegate_timeout_ms, v, 1))
SETTER(set_pipegate_legacy, (c->d.pipegate_legacy = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_wsproxy_timeout, seconds(&c->d.wsproxy_timeout_ms, v, 1))
SETTER(set_wsproxy_hold, seconds_or_0(&c->d.wsproxy_hold_ms, v))
SETTER(set_buffer, bytes(&c->d.buffer, v, 0, LONG_MAX))
SETTER(set_proxy_auth, opt_copy(c->proxy_auth, sizeof(c->proxy_auth), v))
SETTER(set_proxy_idle, seconds_or_0(&c->d.proxy_idle_ms, v))
SETTER(set_user, opt_copy(c->user, sizeof(c->user), v))
SETTER(set_chroot, opt_copy(c->chroot, sizeof(c->chroot), v))
SETTER(set_sandbox, yes_or_no(&c->sandbox, v))
SETTER(set_log, opt_copy(c->log, sizeof(c->log), v))
SETTER(set_access_log, opt_copy(c->access_log, sizeof(c->access_log), v))
SETTER(set_ready_fd, opt_number(v, 3, 1000000, &c->ready_fd) == -1 ? "is not a descriptor from 3 on" : NULL)
SETTER(set_daemon, (c->background = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_log_time, (c->log_time = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_log_all, (c->log_all = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_takeover, (c->takeover = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_check, (c->check = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_vtunnel_keys, opt_copy(c->vtunnel_keys, sizeof(c->vtunnel_keys), v))
SETTER(set_help, (c->help = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_version, (c->version = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_json, (c->json = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_global, (c->global = strcmp(v, "yes") == 0, (const char *)NULL))
SETTER(set_scope, opt_copy(c->scope, sizeof(c->scope), v))
SETTER(set_note, opt_copy(c->note, sizeof(c->note), v))
SETTER(set_name, opt_copy(c->name, sizeof(c->name), v))
SETTER(set_jwt_secret, opt_copy(c->jwt.secret_file, sizeof(c->jwt.secret_file), v))
SETTER(set_jwt_key, add_file(c->jwt.key, &c->jwt.nkeys, JWT_FILES_MAX, v))
SETTER(set_jwks, opt_copy(c->jwt.jwks, sizeof(c->jwt.jwks), v))
SETTER(set_jwt_issuer, opt_copy(c->jwt.issuer, sizeof(c->jwt.issuer), v))
SETTER(set_jwt_audience, opt_copy(c->jwt.audience, sizeof(c->jwt.audience), v))
SETTER(set_jwt_leeway, seconds_or_0(&c->d.jwt.leeway_ms, v))
SETTER(set_expires, seconds(&c->expires_ms, v, 1000))

#define STATE_OPT { "state", 's', OPT_VALUE, NULL, "DIR", "state folder", set_state }
#define JWT_OPTS \
	{ "jwt-secret-file", 0, OPT_VALUE, NULL, "FILE", "JWTs: the secret of HS256", set_jwt_secret }, \
	{ "jwt-key", 0, OPT_LIST, NULL, "FILE", "JWTs: a public key in PEM", set_jwt_key }, \
	{ "jwks", 0, OPT_VALUE, NULL, "FILE|URL", "JWTs: a JWK Set of public keys", set_jwks }, \
	{ "jwt-issuer", 0, OPT_VALUE, NULL, "TEXT", "JWTs: what iss must be", set_jwt_issuer }, \
	{ "jwt-audience", 0, OPT_VALUE, NULL, "TEXT", "JWTs: what aud must hold", set_jwt_audience }, \
	{ "jwt-leeway", 0, OPT_VALUE, NULL, "TIME", "JWTs: clocks may differ by this (30)", set_jwt_leeway }
#define CONFIG_OPT { "config", 'c', OPT_VALUE, NULL, "FILE", "configuration file", set_file }
#define HELP_OPT { "help", 'h', OPT_FLAG, NULL, NULL, "show this help", set_help }

static const struct opt opts[] = {	/* --name, "name value" in the file, TUNNELD_NAME */
	{ "listen", 'l', OPT_LIST, "127.0.0.1:9001", "[HOST:]PORT[,tls][,proxy]", "public address; port 0: any free", set_listen },
	{ "cert", 0, OPT_LIST, NULL, "FILE", "certificate and its chain, for listeners with ,tls", set_cert },
	{ "key", 0, OPT_LIST, NULL, "FILE", "its key; default: in the same file", set_key },
	{ "redirect", 0, OPT_FLAG, NULL, NULL, "send plain HTTP callers to https", set_redirect },
	{ "domain", 'd', OPT_VALUE, NULL, "NAME", "a tunnel is reached at TUNNEL.NAME", set_domain },
	{ "url", 0, OPT_VALUE, NULL, "URL", "scheme and port of the URLs told to clients", set_url },
	{ "ports", 0, OPT_VALUE, NULL, "PORT-PORT|none", "raw TCP ports for clients that name none", set_ports },
	{ "ports-bind", 0, OPT_VALUE, NULL, "HOST", "where clients may have ports in public", set_ports_bind },
	{ "relay", 0, OPT_LIST, NULL, "RULE", "where /relay may lead: any, or allow or deny TARGET", set_relay },
	{ "relay-ca", 0, OPT_VALUE, NULL, "FILE", "CA certificates for /relay, in place of the system's", set_relay_ca },
	{ "ssh-listen", 0, OPT_LIST, NULL, "[HOST:]PORT", "address for OpenSSH's clients: ssh -R", set_ssh_listen },
	{ "ssh-keys", 0, OPT_VALUE, NULL, "FILE", "whose keys they are, as in authorized_keys", set_ssh_keys },
	{ "ssh-host-key", 0, OPT_VALUE, NULL, "FILE", "the daemon's own; default: made in the state folder", set_ssh_host_key },
	{ "proxy", 0, OPT_LIST, NULL, "[HOST:]PORT", "HTTP and CONNECT proxy; loopback without HOST", set_proxy },
	{ "proxy-pass", 0, OPT_LIST, NULL, "none|any|RULE", "where it may lead but for clients' domains (none)", set_proxy_pass },
	{ "proxy-auth-file", 0, OPT_VALUE, NULL, "FILE", "it is for those with one of its USER:PASSWORD lines", set_proxy_auth },
	{ "proxy-idle", 0, OPT_VALUE, "3600", "TIME", "a connection through it without a byte; 0: for ever", set_proxy_idle },
	{ "trust", 0, OPT_LIST, NULL, "ADDR[/BITS]", "believe X-Forwarded-* from this proxy", set_trust },
	{ "open", 0, OPT_LIST, NULL, "wsproxy|vtunnel", "serve this dialect to anybody", set_open },
	{ "vtunnel-key", 0, OPT_LIST, NULL, "KEY", "vtunnel: the public key of a client, vt-pub-...", set_vtunnel_key },
	{ "vtunnel-keys", 0, OPT_VALUE, NULL, "FILE", "vtunnel: a file of such keys, a line each", set_vtunnel_keys },
	{ "origin", 0, OPT_LIST, NULL, "ORIGIN", "pages that may use them: *.example.com, *", set_origin },
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
	{ "ports-max", 0, OPT_VALUE, "1024", "N", "sockets of raw ports", set_ports_max },
	{ "port-callers", 0, OPT_VALUE, "256", "N", "connections to one raw port", set_port_callers },
	{ "port-callers-all", 0, OPT_VALUE, "2048", "N", "and to all of them", set_port_callers_all },
	{ "handshakes", 0, OPT_VALUE, "64", "N", "TLS handshakes of one address at once", set_handshakes },
	{ "conns-per-ip", 0, OPT_VALUE, "10", "N", "open /relay and /tunnel of one address", set_conns_per_ip },
	{ "conns-per-user", 0, OPT_VALUE, "20", "N", "and of one credential", set_conns_per_user },
	{ "exchanges-per-ip", 0, OPT_VALUE, "0", "N", "running exchanges of one address; 0: any number", set_exchanges_per_ip },
	{ "login-failures", 0, OPT_VALUE, "30", "N", "bad logins of one address before it has to wait", set_login_failures },
	{ "window", 0, OPT_VALUE, "8M", "BYTES", "a stream's window may grow to", set_window },
	{ "buffer", 0, OPT_VALUE, "32M", "BYTES", "all windows may grow by", set_buffer },
	{ "bodies", 0, OPT_VALUE, "256M", "BYTES", "messages with whole bodies, all together", set_bodies },
	{ "content", 0, OPT_VALUE, "10M", "BYTES", "of a request for a client that takes it whole", set_content },
	{ "pipegate-timeout", 0, OPT_VALUE, "300", "TIME", "for an answer of PipeGate's clients", set_pipegate_timeout },
	{ "pipegate-legacy", 0, OPT_FLAG, NULL, NULL, "PipeGate's old tokens, of sub and exp, will do", set_pipegate_legacy },
	{ "wsproxy-timeout", 0, OPT_VALUE, "60", "TIME", "for an answer of wsproxy's clients", set_wsproxy_timeout },
	{ "wsproxy-hold", 0, OPT_VALUE, "1", "TIME", "a raw caller's first bytes, where a browser may lose them", set_wsproxy_hold },
	JWT_OPTS,
	{ "user", 0, OPT_VALUE, NULL, "NAME[:GROUP]", "who to be once all is open", set_user },
	{ "chroot", 0, OPT_VALUE, NULL, "DIR", "and to see no files but those in it", set_chroot },
	{ "sandbox", 0, OPT_VALUE, "yes", "yes|no", "refuse system calls and files it does not need", set_sandbox },
	{ "log", 0, OPT_VALUE, NULL, "WHERE", "stderr, syslog or a file", set_log },
	{ "access-log", 0, OPT_VALUE, NULL, "WHERE", "a line a request; stderr, syslog or a file", set_access_log },
	{ "log-all", 0, OPT_FLAG, NULL, NULL, "leave no repeated log lines out", set_log_all },
	{ "log-time", 0, OPT_FLAG, NULL, NULL, "begin log lines with the time", set_log_time },
	{ "daemon", 0, OPT_FLAG, NULL, NULL, "go to the background once it accepts", set_daemon },
	{ "ready-fd", 0, OPT_VALUE, NULL, "N", "write a newline there once it accepts", set_ready_fd },
	STATE_OPT,
	CONFIG_OPT,
	/* the last four are for the command line alone */
	{ "takeover", 0, OPT_FLAG, NULL, NULL, "take the place of the running daemon", set_takeover },
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

static const struct opt jwt_issue_opts[] = {
	{ "name", 0, OPT_VALUE, NULL, "ID", "whose it is: sub", set_name },
	{ "scope", 0, OPT_VALUE, NULL, "NAME[,NAME...]", "names and ports it may use; default: ID", set_scope },
	{ "expires", 0, OPT_VALUE, NULL, "TIME", "30d, 12h, ...; default: 21d", set_expires },
	JWT_OPTS, STATE_OPT, CONFIG_OPT, HELP_OPT,
};

static const struct opt jwt_check_opts[] = { JWT_OPTS, STATE_OPT, CONFIG_OPT, HELP_OPT };

static const struct opt plain_opts[] = { STATE_OPT, CONFIG_OPT, HELP_OPT };

static const struct opt status_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, NULL, "as JSON", set_json },
	STATE_OPT, CONFIG_OPT, HELP_OPT,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct completion commands[] = {
	{ "", "", opts, COUNT(opts), NULL, NULL },
	{ "token", "who may connect", NULL, 0, NULL, NULL },
	{ "token issue", "make a token", issue_opts, COUNT(issue_opts), NULL, NULL },
	{ "token list", "show the tokens", plain_opts, COUNT(plain_opts), NULL, NULL },
	{ "token revoke", "end a token", plain_opts, COUNT(plain_opts), NULL, NULL },
	{ "token import", "take over bifrost's tokens", plain_opts, COUNT(plain_opts), "FILE", NULL },
	{ "jwt", "JSON Web Tokens", NULL, 0, NULL, NULL },
	{ "jwt issue", "make a JWT", jwt_issue_opts, COUNT(jwt_issue_opts), NULL, NULL },
	{ "jwt check", "explain a JWT", jwt_check_opts, COUNT(jwt_check_opts), NULL, NULL },
	{ "jwt revoke", "end a JWT", plain_opts, COUNT(plain_opts), NULL, NULL },
	{ "status", "show the tunnels", status_opts, COUNT(status_opts), NULL, NULL },
	{ "stop", "stop the daemon", plain_opts, COUNT(plain_opts), NULL, NULL },
	{ "completion", "print completions for a shell", NULL, 0, "bash zsh fish", NULL },
};

int
completion(const char *shell)
{
	static char text[65536];

	if (completion_write(shell, "tunneld", commands, COUNT(commands), text, sizeof(text)) == -1)
		die(EXIT_USAGE, "completion is followed by bash, zsh or fish; see tunneld --help");
	fputs(text, stdout);
	return 0;
}

void
usage(void)
{
	static const char *const first[] = {	/* what a first daemon needs; the rest has its defaults */
		"listen", "cert", "key", "redirect", "domain", "trust", "ports", "relay", "user", "log", "daemon", "state", "config",
		"takeover", "check", "help", "version"
	};
	struct opt words[COUNT(opts)], names[COUNT(opts)];
	char text[4096], more[4096];
	size_t i, k, nwords = 0, nnames = 0;

	for (i = 0; i < COUNT(opts); i++) {
		for (k = 0; k < COUNT(first) && strcmp(first[k], opts[i].name) != 0; k++)
			;
		if (k < COUNT(first))
			words[nwords++] = opts[i];
		else
			names[nnames++] = opts[i];
	}
	opt_help(words, nwords, text, sizeof(text));
	opt_names(names, nnames, 94, more, sizeof(more));
	printf("usage: tunneld [OPTION...]\n"
	    "       tunneld token issue (--scope NAME[,NAME...] | --global) [--expires TIME] [--note TEXT]\n"
	    "       tunneld token list | token revoke ID | token import FILE\n"
	    "       tunneld jwt issue --name ID [--expires TIME] [--scope NAME[,NAME...]]\n"
	    "       tunneld jwt check TOKEN|- | jwt revoke TOKEN|JTI|-\n"
	    "       tunneld status [--json] | stop | completion bash|zsh|fish\n"
	    "Every command takes --state and --config. TIME: 30, 500ms, 5m, 12h, 30d.\n%s"
	    "Also, each in tunneld(8):\n%s", text, more);
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

	set->n -= 4;		/* takeover, check, help and version are for the command line alone */
	if (opt_env(set, c) == -1)
		die(EXIT_USAGE, "%s", set->err);
	if (file[0] != '\0')
		opt_copy(c->file, sizeof(c->file), file);
	given = c->file[0] != '\0';
	if (!given && geteuid() == 0)
		opt_copy(c->file, sizeof(c->file), CONFFILE);
	else if (!given)
		home_path(c->file, sizeof(c->file), "XDG_CONFIG_HOME", ".config", "tunneld.conf");
	if (opt_file(set, c, c->file) == -1 && (given || errno != ENOENT))
		die(EXIT_USAGE, "%s", set->err);
	opt_defaults(set, c);
	if (c->state[0] == '\0' && geteuid() == 0)
		opt_copy(c->state, sizeof(c->state), STATEDIR);
	else if (c->state[0] == '\0')
		home_path(c->state, sizeof(c->state), "XDG_STATE_HOME", ".local/state", "tunneld");
}

static void
inherit(char *to, const char *from)
{
	if (to[0] == '\0')
		strcpy(to, from);	/* as large as each other */
}

/* What a command was not told of JWTs itself, it has from where the daemon has it; in d, which is c's next. */
static void
inherit_jwt(struct conf *c, struct conf *d)
{
	inherit(c->jwt.secret_file, d->jwt.secret_file);
	inherit(c->jwt.jwks, d->jwt.jwks);
	inherit(c->jwt.issuer, d->jwt.issuer);
	inherit(c->jwt.audience, d->jwt.audience);
	if (c->jwt.nkeys == 0) {
		memcpy(c->jwt.key, d->jwt.key, sizeof(c->jwt.key));
		c->jwt.nkeys = d->jwt.nkeys;
	}
	if (c->d.jwt.leeway_ms != -1)
		d->d.jwt.leeway_ms = c->d.jwt.leeway_ms;
}

/*
 * Options of a command: its own from the command line; environment and file
 * are read as the daemon reads them, so that both mean the same state folder.
 */
void
options(struct conf *c, enum options which, int argc, char **argv, int operands)
{
	static const struct {
		const struct opt *opts;
		size_t n;
	} table[] = {
		[OPTIONS_DAEMON] = { opts, COUNT(opts) }, [OPTIONS_ISSUE] = { issue_opts, COUNT(issue_opts) },
		[OPTIONS_JWT_ISSUE] = { jwt_issue_opts, COUNT(jwt_issue_opts) },
		[OPTIONS_JWT_CHECK] = { jwt_check_opts, COUNT(jwt_check_opts) },
		[OPTIONS_PLAIN] = { plain_opts, COUNT(plain_opts) }, [OPTIONS_STATUS] = { status_opts, COUNT(status_opts) }
	};
	struct opt_set set;
	struct conf daemon;
	int nargs;

	memset(c, 0, sizeof(*c));
	c->d.jwt.leeway_ms = -1;	/* 0 may be given */
	opt_init(&set, table[which].opts, table[which].n, "TUNNELD");
	if (opt_args(&set, c, argc, argv, &nargs) == -1)
		die(EXIT_USAGE, "%s; see tunneld --help", set.err);
	if (c->help)
		usage();
	if (c->version) {
		printf("tunneld %s\n", VERSION);
		exit(0);
	}
	if (nargs > operands)
		die(EXIT_USAGE, "unknown word '%.60s'; a command comes first, before options; see tunneld --help", argv[operands]);
	if (nargs < operands)
		die(EXIT_USAGE, "a word is missing; see tunneld --help");
	if (which == OPTIONS_DAEMON) {
		settle(&set, c, "");
		return;
	}
	memset(&daemon, 0, sizeof(daemon));
	daemon.d.jwt.leeway_ms = -1;
	opt_init(&set, opts, COUNT(opts), "TUNNELD");
	settle(&set, &daemon, c->file);
	inherit_jwt(c, &daemon);
	c->d = daemon.d;
	memcpy(c->listen, daemon.listen, sizeof(c->listen));
	memcpy(c->tls, daemon.tls, sizeof(c->tls));
	c->nlisten = daemon.nlisten;
	if (c->state[0] == '\0')
		memcpy(c->state, daemon.state, sizeof(c->state));
	memcpy(c->user, daemon.user, sizeof(c->user));
}

static const char *
or_null(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : NULL;
}

void
jwt_settings(struct conf *c)
{
	struct jwt_conf *j = &c->d.jwt;
	int i;

	j->secret = or_null(getenv("TUNNELD_JWT_SECRET"));	/* no option: ps shows those */
	j->secret_file = or_null(c->jwt.secret_file);
	for (i = 0; i < c->jwt.nkeys; i++)
		j->key[i] = c->jwt.key[i];
	j->nkeys = c->jwt.nkeys;
	j->jwks = or_null(c->jwt.jwks);
	j->issuer = or_null(c->jwt.issuer);
	j->audience = or_null(c->jwt.audience);
}

/* The state folder. */

/* Made by root, it is --user's. */
static void
make_folder(const struct conf *c, const char *path)
{
	int fd;

	if (mkdir(path, 0700) == -1) {
		if (errno != EEXIST)
			die(1, "state folder %s: %s", path, strerror(errno));
		return;
	}
	/* a link now is not what we made: somebody may write beside it */
	if ((fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) == -1)
		die(1, "state folder %s: %s", path, strerror(errno));
	privileges_own(c, fd);
	close(fd);
}

int
open_state(const struct conf *c, int make)
{
	const char *path = c->state;
	char part[FILE_PATH_MAX];
	size_t i;
	int fd;

	for (i = 1; make && path[i - 1] != '\0'; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		make_folder(c, part);
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		die(1, "state folder %s: %s; name another with --state", path, strerror(errno));
	return fd;
}
