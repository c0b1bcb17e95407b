/*
 * sshpeer.c: an SSH server and client for tests against OpenSSH: the library's own ssh with as little as possible around it.
 *
 *	sshpeer public TYPE:HEX				the public key of a secret, as in authorized_keys
 *	sshpeer server PORT [OPTION...]			on 127.0.0.1; with several lines of what happens
 *	sshpeer client ADDRESS [OPTION...] WORK...
 *
 * Options: host=TYPE:HEX (server: its key, up to two; client: in place of one: the only one to be taken, as a line of
 * authorized_keys), key=TYPE:HEX (client), allow=LINE (server: may come in; without any, everybody), ciphers=LIST, rekey=BYTES, user=NAME, ws=1 (over a
 * WebSocket, at whose other end is this program, too).
 * The server runs the commands echo, sink, source N; forwards (direct-tcpip, tcpip-forward) to and from loopback.
 * The client's work: exec COMMAND (its own input and output); many N HOST PORT BYTES (so many channels at once, echoed there);
 * short N HOST PORT (so many, one after the other in each of eight threads).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base64.h"
#include "../clock.h"
#include "../deadline.h"
#include "../net.h"
#include "../random.h"
#include "../sha256.h"
#include "../sshlink.h"
#include "../sshtcp.h"
#include "../tcp.h"
#include "../wake.h"
#include "../workers.h"
#include "sshtalk.h"

enum {
	STACK = 1024 * 1024,	/* sanitizers need it */
	KEYS_MAX = 4, LINE_SIZE = 256, FORWARDS = 16, WAIT_MS = 20000
};

struct options {
	struct sshkey keys[SSH_HOST_KEYS];
	int nkeys;
	char allowed[KEYS_MAX][LINE_SIZE];
	int server, nallowed, ws;
	const char *ciphers, *user;
	uint64_t rekey;
};

struct session {
	struct options *o;
	struct ssh *ssh;
	struct sshtcp *tcp;	/* one of the two */
	struct link *link;
	pthread_mutex_t mtx;
	pthread_cond_t news;
	int ready, ended;	/* under mtx */
	int refs;		/* likewise: threads that use it */
	struct forward {
		int fd, port;	/* fd -1: none */
		struct wake wake;
	} forwards[FORWARDS];	/* the reader's, but for what their threads use */
};

static struct options options;
static pthread_mutex_t out_mtx = PTHREAD_MUTEX_INITIALIZER;

static void
say(const char *what, const char *text)
{
	FILE *to = options.server ? stdout : stderr;	/* a client's output is its command's */

	pthread_mutex_lock(&out_mtx);
	fprintf(to, "%s %s\n", what, text);
	fflush(to);
	pthread_mutex_unlock(&out_mtx);
}

/* Sessions are used by threads of their channels. */

static void
hold(struct session *e, int n)
{
	pthread_mutex_lock(&e->mtx);
	e->refs += n;
	pthread_cond_broadcast(&e->news);
	pthread_mutex_unlock(&e->mtx);
}

static void
run_thread(struct session *e, void *(*fn)(void *), void *arg)
{
	hold(e, 1);
	if (thread_start(STACK, fn, arg) != 0)
		abort();
}

/* The server's commands */

static void
source(struct talk *t, unsigned long long left)
{
	static const char zeros[CHUNK];
	size_t n;

	while (left > 0) {
		n = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
		if (talk_write(t, zeros, n, 0) == -1)
			return;
		left -= n;
	}
}

static void
sink(struct talk *t)
{
	uint8_t buf[CHUNK], hash[SHA256_LEN];
	unsigned long long sum = 0;
	char text[128];
	struct sha256 h;
	struct buf b;
	long n;

	sha256_init(&h);
	while ((n = talk_read(t, buf, sizeof(buf))) > 0) {
		sha256_update(&h, buf, (size_t)n);
		sum += (unsigned long long)n;
	}
	sha256_final(&h, hash);
	buf_init(&b, text, sizeof(text));
	buf_u64(&b, sum);
	buf_char(&b, ' ');
	buf_hex(&b, hash, sizeof(hash));
	buf_char(&b, '\n');
	if (n == 0)
		talk_write(t, b.p, b.len, 0);
}

static void *
serve_command(void *arg)
{
	static const uint8_t status[4];
	struct talk *t = arg;
	struct session *e = t->of;
	char buf[CHUNK];
	long n;

	if (strcmp(t->command, "echo") == 0) {
		while ((n = talk_read(t, buf, sizeof(buf))) > 0 && talk_write(t, buf, (size_t)n, 0) == 0)
			;
	} else if (strcmp(t->command, "sink") == 0)
		sink(t);
	else
		source(t, strtoull(t->command + 7, NULL, 10));
	ssh_channel_request(t->s, "exit-status", 0, status, sizeof(status));
	stream_fin(t->s);
	talk_end(t);
	hold(e, -1);
	return NULL;
}

/* The server's forwards: a channel and a TCP connection, joined. */

struct joint {
	struct session *of;
	struct tcp tcp;
	char host[NET_HOST_MAX], port[6];	/* of a direct-tcpip channel */
};

static struct joint *
joint_new(struct session *e)
{
	struct joint *j = calloc(1, sizeof(*j));

	if (j == NULL || tcp_init(&j->tcp) == -1)
		abort();
	j->of = e;
	return j;
}

static void *
joined(void *arg)
{
	static const struct str none = { NULL, 0 };
	struct joint *j = arg;
	struct session *e = j->of;

	tcp_end(&j->tcp, tcp_run(&j->tcp, none));
	free(j);
	hold(e, -1);
	return NULL;
}

static void *
direct(void *arg)
{
	struct joint *j = arg;
	enum net_fail fail;
	struct stream *s = j->tcp.s;
	struct session *e = j->of;
	int fd = net_dial(j->host, j->port, clock_ms(CLOCK_STEADY) + WAIT_MS, -1, &fail);

	if (fd == -1) {
		ssh_refuse(s, SSH_OPEN_CONNECT_FAILED, "connect failed");
		tcp_end(&j->tcp, NULL);
		free(j);
		hold(e, -1);
		return NULL;
	}
	conn_plain(&j->tcp.conn, fd);
	tcp_attach(&j->tcp);
	ssh_confirm(s);
	return joined(j);
}

static int
on_open(void *arg, struct stream *s, struct str type, struct str data)
{
	struct session *e = arg;
	struct joint *j;
	struct ssh_in in;
	struct str host;

	if (str_is(type, "session")) {
		talk_new(e, s);
		ssh_confirm(s);
		return 0;
	}
	if (!str_is(type, "direct-tcpip"))
		return SSH_OPEN_UNKNOWN_TYPE;
	ssh_in_init(&in, data.p, data.len);
	host = ssh_get_str(&in);
	if (host.len == 0 || host.len >= NET_HOST_MAX)
		return SSH_OPEN_CONNECT_FAILED;
	j = joint_new(e);
	memcpy(j->host, host.p, host.len);
	snprintf(j->port, sizeof(j->port), "%u", (unsigned)(ssh_get_u32(&in) & 0xffff));
	pthread_mutex_lock(&s->mtx);
	tcp_join_locked(&j->tcp, s, 0);
	pthread_mutex_unlock(&s->mtx);
	run_thread(e, direct, j);
	return 0;
}

static int
on_request(void *arg, struct stream *s, struct str type, struct str data)
{
	struct ssh_in in;
	struct str command;
	struct talk *t;
	int ok = 0;

	if (!str_is(type, "exec"))
		return 0;
	ssh_in_init(&in, data.p, data.len);
	command = ssh_get_str(&in);
	pthread_mutex_lock(&s->mtx);
	t = s->ops == &talk_ops ? s->arg : NULL;
	if (t != NULL && !t->started && command.len < sizeof(t->command)) {
		memcpy(t->command, command.p, command.len);
		ok = strcmp(t->command, "echo") == 0 || strcmp(t->command, "sink") == 0 ||
		    strncmp(t->command, "source ", 7) == 0;
		t->started = ok;
	}
	pthread_mutex_unlock(&s->mtx);
	if (ok)
		run_thread(arg, serve_command, t);
	return ok;
}

struct listener {
	struct session *of;
	struct forward *f;
	char host[64];
};

static void *
listen_thread(void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage peer;
	struct pollfd p[2];
	struct joint *j;
	struct stream *s;
	uint8_t text[256];
	struct buf b;
	int fd;

	p[0].fd = l->f->fd;
	p[1].fd = l->f->wake.rd;
	p[0].events = p[1].events = POLLIN;
	while (poll(p, 2, -1) >= 0 && !(p[1].revents & POLLIN)) {
		if ((fd = net_accept(l->f->fd, &peer)) == -1)
			continue;
		buf_init(&b, text, sizeof(text));
		ssh_put_cstr(&b, l->host);
		ssh_put_u32(&b, (uint32_t)l->f->port);
		ssh_put_cstr(&b, "127.0.0.1");
		ssh_put_u32(&b, 1);
		if ((s = ssh_open(l->of->ssh)) == NULL) {
			close(fd);
			continue;
		}
		j = joint_new(l->of);
		net_tune(fd);
		conn_plain(&j->tcp.conn, fd);
		pthread_mutex_lock(&s->mtx);
		tcp_join_locked(&j->tcp, s, 1);
		if (ssh_ask(s, "forwarded-tcpip", b.p, b.len) == -1)
			tcp_ops.reset(&j->tcp);
		pthread_mutex_unlock(&s->mtx);
		run_thread(l->of, joined, j);
	}
	close(l->f->fd);
	wake_close(&l->f->wake);
	hold(l->of, -1);
	free(l);
	return NULL;
}

/* tcpip-forward: the port, or 0. */
static int
forward(struct session *e, struct str host, unsigned port)
{
	struct sockaddr_storage ss;
	struct listener *l;
	char text[32], addr[NET_ADDR_MAX];
	int fds[NET_LISTEN_MAX], i;
	const char *why;

	for (i = 0; i < FORWARDS && e->forwards[i].port != 0; i++)
		;
	snprintf(text, sizeof(text), "127.0.0.1:%u", port & 0xffff);
	if (i == FORWARDS || net_listen(text, NULL, NULL, fds, &why) == -1)
		return 0;
	net_local(fds[0], &ss);
	net_format(&ss, addr);
	e->forwards[i].fd = fds[0];
	e->forwards[i].port = atoi(strrchr(addr, ':') + 1);
	if (wake_open(&e->forwards[i].wake) == -1 || (l = calloc(1, sizeof(*l))) == NULL)
		abort();
	l->of = e;
	l->f = &e->forwards[i];
	memcpy(l->host, host.p, host.len < sizeof(l->host) ? host.len : sizeof(l->host) - 1);
	run_thread(e, listen_thread, l);
	return e->forwards[i].port;
}

static int
unforward(struct session *e, int port)
{
	int i, n = 0;

	for (i = 0; i < FORWARDS; i++)
		if (e->forwards[i].port != 0 && (port == 0 || e->forwards[i].port == port)) {
			wake_post(&e->forwards[i].wake);
			e->forwards[i].port = 0;
			n++;
		}
	return n;
}

static void
on_global(void *arg, struct str name, struct str data, int want)
{
	struct session *e = arg;
	struct ssh_in in;
	struct str host;
	uint8_t text[4];
	struct buf b;
	unsigned port;
	int ok = 0;

	buf_init(&b, text, sizeof(text));
	ssh_in_init(&in, data.p, data.len);
	if (str_is(name, "tcpip-forward")) {
		host = ssh_get_str(&in);
		port = ssh_get_u32(&in);
		if (ssh_in_whole(&in) && (ok = forward(e, host, port)) != 0 && port == 0)
			ssh_put_u32(&b, (uint32_t)ok);
	} else if (str_is(name, "cancel-tcpip-forward")) {
		ssh_get_str(&in);
		ok = unforward(e, (int)ssh_get_u32(&in));
	}
	if (want)
		ssh_reply(e->ssh, ok != 0, b.p, b.len);
}

static void
on_reply(void *arg, int ok, struct str data)
{
	(void)arg;
	(void)ok;
	(void)data;
}

/* Both sides */

/* Is blob that of a line of authorized_keys? */
static int
is_line(const char *line, struct str blob)
{
	char text[LINE_SIZE];
	size_t n = strcspn(line, " ");

	if (line[n] == '\0' || BASE64_LEN(blob.len) >= sizeof(text))
		return 0;
	base64_encode(text, blob.p, blob.len);
	return strncmp(line + n + 1, text, strlen(text)) == 0;
}

static int
allowed(struct str blob)
{
	int i;

	for (i = 0; i < options.nallowed; i++)
		if (is_line(options.allowed[i], blob))
			return 1;
	return 0;
}

static int
on_auth(void *arg, struct str user, struct str blob)
{
	(void)arg;
	(void)user;
	return options.nallowed == 0 || (blob.len > 0 && allowed(blob));
}

static int
on_host_key(void *arg, struct str blob)
{
	(void)arg;
	return options.nallowed == 0 || allowed(blob);
}

static void
on_ready(void *arg)
{
	struct session *e = arg;

	if (options.server)
		say("login", ssh_user(e->ssh));
	pthread_mutex_lock(&e->mtx);
	e->ready = 1;
	pthread_cond_broadcast(&e->news);
	pthread_mutex_unlock(&e->mtx);
}

static const struct ssh_ops ops = { on_host_key, on_auth, on_ready, on_open, on_request, on_global, on_reply };

/* A WebSocket, without the HTTP before it. */
static void
link_to(struct session *e, const struct conn *c)
{
	struct link_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.client = !options.server;
	conf.ping_ms = WAIT_MS;
	conf.message_max = UINT64_MAX;
	conf.owed_max = SSHLINK_OWED_MAX;
	if ((e->link = link_new(c, &conf, &sshlink_ops, e->ssh, NULL, 0)) == NULL)
		abort();
	sshlink_attach(e->ssh, e->link);
}

static struct session *
session_new(int fd, int server)
{
	struct session *e = calloc(1, sizeof(*e));
	struct ssh_conf conf;
	struct conn c;
	int i;

	if (e == NULL)
		abort();
	pthread_mutex_init(&e->mtx, NULL);
	cond_init(&e->news);
	memset(&conf, 0, sizeof(conf));
	conf.trans.server = server;
	conf.trans.ident = "SSH-2.0-sshpeer";
	conf.trans.ciphers = options.ciphers;
	conf.trans.user = options.user;
	conf.trans.rekey_bytes = options.rekey;
	conf.trans.random = random_bytes;
	for (i = 0; i < options.nkeys; i++)
		conf.trans.keys[i] = &options.keys[i];
	conf.channels_max = 1024;
	conf.window = SSH_WINDOW;
	net_tune(fd);
	conn_plain(&c, fd);
	if ((e->ssh = ssh_new(&conf, &ops, e)) == NULL)
		abort();
	if (!options.ws && (e->tcp = sshtcp_new(&c, e->ssh)) == NULL)
		abort();
	if (options.ws)
		link_to(e, &c);
	return e;
}

/* Run it to its end; then wait for those that use it, and free it. */
static void *
session_run(void *arg)
{
	struct session *e = arg;
	const char *why;

	if (e->link != NULL) {
		link_run(e->link, &why);
		ssh_end(e->ssh);
	} else
		sshtcp_run(e->tcp, &why);
	unforward(e, 0);
	pthread_mutex_lock(&e->mtx);
	e->ended = 1;
	pthread_cond_broadcast(&e->news);
	while (e->refs > 0)
		pthread_cond_wait(&e->news, &e->mtx);
	pthread_mutex_unlock(&e->mtx);
	say("ended", why);
	if (e->link != NULL)
		link_free(e->link);
	else
		sshtcp_free(e->tcp);
	ssh_unref(e->ssh);
	pthread_cond_destroy(&e->news);
	pthread_mutex_destroy(&e->mtx);
	free(e);
	return NULL;
}

static int
serve(const char *port)
{
	struct sockaddr_storage ss;
	struct pollfd p;
	char addr[NET_ADDR_MAX];
	const char *why;
	int fds[NET_LISTEN_MAX], fd;

	if (net_listen(port, NULL, NULL, fds, &why) == -1) {
		fprintf(stderr, "sshpeer: %s: %s\n", port, why);
		return 1;
	}
	net_local(fds[0], &ss);
	net_format(&ss, addr);
	say("listening", addr);
	p.fd = fds[0];
	p.events = POLLIN;
	for (;;) {
		poll(&p, 1, -1);
		if ((fd = net_accept(fds[0], &ss)) != -1 && thread_start(STACK, session_run, session_new(fd, 1)) != 0)
			abort();
	}
}

static int
client(const char *addr, int argc, char **argv)
{
	char host[NET_HOST_MAX], port[6];
	enum net_fail fail;
	struct session *e;
	pthread_t reader;
	int fd, ready, ok;

	if (net_split(addr, host, port) == -1 ||
	    (fd = net_dial(host, port, clock_ms(CLOCK_STEADY) + WAIT_MS, -1, &fail)) == -1) {
		fprintf(stderr, "sshpeer: cannot connect to %s\n", addr);
		return 1;
	}
	e = session_new(fd, 0);
	e->refs = 1;
	if (pthread_create(&reader, NULL, session_run, e) != 0)
		abort();
	pthread_mutex_lock(&e->mtx);
	while (!e->ready && !e->ended)
		pthread_cond_wait(&e->news, &e->mtx);
	ready = e->ready;
	pthread_mutex_unlock(&e->mtx);
	ok = ready && work(e->ssh, argc, argv);
	ssh_disconnect(e->ssh, SSH_BY_APPLICATION, "done");
	if (e->link != NULL)
		link_close(e->link, WS_NORMAL, "");
	hold(e, -1);
	pthread_join(reader, NULL);
	return !ok;
}

/* TYPE:HEX */
static int
read_key(struct sshkey *k, const char *text)
{
	enum sshkey_type type = strncmp(text, "p256:", 5) == 0 ? SSHKEY_P256 : SSHKEY_ED25519;
	const char *colon = strchr(text, ':');
	uint8_t secret[32];

	return colon == NULL || strlen(colon + 1) != 64 || base16_decode(secret, colon + 1, 64) == -1 ? -1 : sshkey_init(k, type, secret);
}

static void
print_public(const struct sshkey *k)
{
	char text[LINE_SIZE];

	base64_encode(text, k->blob, k->nblob);
	printf("%s %s\n", sshkey_alg(k->type), text);
}

/* One option: 1, 0 if it is none. */
static int
option(const char *text)
{
	const char *value = strchr(text, '=');
	size_t n = value != NULL ? (size_t)(value++ - text) : 0;

	if (n == 4 && memcmp(text, "host", n) == 0 && options.nkeys < SSH_HOST_KEYS)
		return read_key(&options.keys[options.nkeys++], value) == 0;
	if (n == 3 && memcmp(text, "key", n) == 0 && options.nkeys == 0)
		return read_key(&options.keys[options.nkeys++], value) == 0;
	if (n == 5 && memcmp(text, "allow", n) == 0 && options.nallowed < KEYS_MAX)
		strncpy(options.allowed[options.nallowed++], value, LINE_SIZE - 1);
	else if (n == 7 && memcmp(text, "ciphers", n) == 0)
		options.ciphers = value;
	else if (n == 5 && memcmp(text, "rekey", n) == 0)
		options.rekey = strtoull(value, NULL, 10);
	else if (n == 2 && memcmp(text, "ws", n) == 0)
		options.ws = 1;
	else if (n == 4 && memcmp(text, "user", n) == 0)
		options.user = value;
	else
		return 0;
	return 1;
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	struct sshkey k;
	int i;

	if (sshcrypt_init() == -1)
		return 1;
	if (strcmp(mode, "public") == 0 && read_key(&k, argv[2]) == 0) {
		print_public(&k);
		return 0;
	}
	options.server = strcmp(mode, "server") == 0;
	options.user = "vtunnel";
	for (i = 3; i < argc && option(argv[i]); i++)
		;
	if (options.server && options.nkeys > 0 && i == argc)
		return serve(argv[2]);
	if (strcmp(mode, "client") == 0 && i < argc)
		return client(argv[2], argc - i, argv + i);
	fprintf(stderr, "usage: sshpeer public TYPE:HEX | server PORT host=KEY [OPTION...] | client ADDRESS [OPTION...] WORK...\n");
	return 1;
}
