/* libpeer.c: a program of somebody else's that uses libtunnel as it is installed: clients, and servers beside them; see libpeer.h. */
#include "libpeer.h"

enum { ROUNDS = 3, THREADS = 6, GETS = 20 };

/* Callers. */

struct crowd {
	struct tunnel_server *s;
	const char *http, *tcp, *want;
	int bad, left;
};

/* A caller: some requests on a connection of their own each, some on one, and some bytes. */
static void *
call(void *arg)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n";
	struct crowd *c = arg;
	int i, fd, kept = tunnel_server_open(c->s, c->http), bad = 0;
	char text[64];

	for (i = 0; i < GETS; i++) {
		fd = tunnel_server_open(c->s, c->http);
		bad += !talk(fd, get, c->want) + !talk(kept, get, c->want);
		close(fd);
		fd = tunnel_server_open(c->s, c->tcp);
		snprintf(text, sizeof(text), "%p says %d", (void *)&fd, i);
		bad += !talk(fd, text, text);
		close(fd);
	}
	close(kept);
	pthread_mutex_lock(&mtx);
	c->bad += bad;
	c->left--;
	pthread_mutex_unlock(&mtx);
	return NULL;
}

static void
crowd(struct tunnel_server *s, const char *name, const char *port, const char *want)
{
	struct crowd c = { s, name, port, want, 0, THREADS };
	char text[40];
	int i, left = THREADS;

	for (i = 0; i < THREADS; i++)
		start(call, &c);
	while (left > 0) {
		nap();
		pthread_mutex_lock(&mtx);
		left = c.left;
		pthread_mutex_unlock(&mtx);
	}
	snprintf(text, sizeof(text), "%d of %d were not", c.bad, THREADS * GETS * 3);
	fact(c.bad == 0, "calls from several threads are answered", text);
}

/* both ENDPOINT TOKEN PORT: a server, a client of its own and one of a tunneld's, at once. */

static void
round_of(const char *endpoint, const char *token, int port)
{
	struct party ps = { "server", 0, 0, 0, 0, NULL }, pa = { "ours", 0, 0, 0, 0, NULL }, pb = { "theirs", 0, 0, 0, 0, NULL };
	char url[URL], name[260], tcp_name[16];
	struct tunnel_client *a, *b;
	struct gate g;
	int i, k;

	open_gate(&g, &ps);
	if ((a = new_client(&pa, g.endpoint, "sesame")) == NULL || (b = new_client(&pb, endpoint, token)) == NULL)
		return;
	fact(http(a, "early") == 0, "a tunnel before there is a connection", why);
	fact(tunnel_connect(a, WAIT_MS, why, sizeof(why)) == 0, "connected to the library's server", why);
	fact(tunnel_connect(b, WAIT_MS, why, sizeof(why)) == 0, "and to a tunneld", why);
	fact((i = http(a, "late")) == 1, "a tunnel once there is one", why);
	fact((k = tcp(a, port)) == 2, "a port", why);
	fact(http(a, "late") == -1 && strstr(why, "two tunnels") != NULL, "a name twice is refused", why);
	fact(tunnel_ready(a, 0, WAIT_MS, url, sizeof(url), why, sizeof(why)) == 0 && strncmp(url, "http://early.tunnels.example", 28) == 0,
	    "the first one is ready", url);
	fact(tunnel_ready(a, i, WAIT_MS, url, sizeof(url), why, sizeof(why)) == 0, "the second one is ready", why);
	snprintf(tcp_name, sizeof(tcp_name), "tcp:%d", port);
	snprintf(name, sizeof(name), "tcp://127.0.0.1:%d", port);
	fact(tunnel_ready(a, k, WAIT_MS, url, sizeof(url), why, sizeof(why)) == 0 && strcmp(url, name) == 0, "the port is ready", url);
	fact((i = http(b, "theirs")) == 0 && tunnel_ready(b, i, WAIT_MS, url, sizeof(url), why, sizeof(why)) == 0,
	    "one at the tunneld", why);
	fact(tunnel_server_find(g.s, "LATE.tunnels.example:443", name, sizeof(name)) == 1 && strcmp(name, "late") == 0,
	    "the name of a host", name);
	fact(tunnel_server_find(g.s, "late.tunnels.example", name, 4) == 0 && strcmp(name, "late") == 0, "which must have room", name);
	fact(tunnel_server_find(g.s, "theirs.tunnels.example", name, sizeof(name)) == 0, "another server's is not there", name);
	fact(tunnel_server_open(g.s, "theirs") == -1 && errno == ENOENT, "nor can it be called", strerror(errno));
	crowd(g.s, "late", tcp_name, "\r\n\r\nours");
	fact(heard(&pa.ready) == 3 && heard(&pb.ready) == 1 && heard(&pa.lost) == 0, "each has heard of its own", "not so");
	fact(heard(&ps.lines) > 0 && heard(&pa.lines) > 3 && heard(&pb.lines) > 1, "each has a log of its own", "not so");
	fact(tunnel_server_tokens(g.s, NULL, 0, why, sizeof(why)) == 0 && tunnel_run(a, why, sizeof(why)) == TUNNEL_DENIED,
	    "a token that is gone ends its client", why);
	fact(heard(&pa.lost) == 3, "which has lost all", "not so");
	tunnel_free(a);
	close_gate(&g);
	tunnel_free(b);
}

static int
both(const char *endpoint, const char *token, int port)
{
	int i, fds, tasks;

	fds = entries("/proc/self/fd");
	tasks = entries("/proc/self/task");
	for (i = 0; i < ROUNDS; i++) {
		round_of(endpoint, token, port);
		back_to(fds, tasks, "nothing is left");
	}
	return 0;
}

/* ends ENDPOINT TOKEN PORT: ends of all kinds. */

static void *
close_it(void *arg)
{
	tunnel_close(arg);
	return NULL;
}

static void
end_by_threads(const char *endpoint, const char *token)
{
	struct party p = { "c", 0, 0, 0, 0, NULL };
	struct tunnel_client *c = new_client(&p, endpoint, token);
	pthread_t t[THREADS];
	int i;

	http(c, "closing");
	tunnel_connect(c, WAIT_MS, why, sizeof(why));
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, close_it, c) != 0)
			abort();
	fact(tunnel_run(c, why, sizeof(why)) == TUNNEL_STOPPED, "closed from several threads", why);
	fact(tunnel_connect(c, WAIT_MS, why, sizeof(why)) == -1 && strcmp(why, "stopped") == 0, "it says that it has ended", why);
	fact(http(c, "more") == -1, "and takes no more tunnels", "it did");
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	tunnel_free(c);
}

/* Tunnels from several threads, while several connections come up. */

static int bad;			/* guarded by mtx */

static void *
add_some(void *arg)
{
	struct tunnel_spec spec;
	char name[32], url[URL], mine[WHY];
	int i, k;

	memset(&spec, 0, sizeof(spec));
	spec.name = name;
	spec.accept = accept_http;
	for (k = 0; k < 5; k++) {
		snprintf(name, sizeof(name), "t%lx-%d", (unsigned long)(uintptr_t)&spec, k);
		if ((i = tunnel_listen(arg, &spec, mine, sizeof(mine))) != -1 &&
		    tunnel_ready(arg, i, WAIT_MS, url, sizeof(url), mine, sizeof(mine)) == 0)
			continue;
		fact(0, "a tunnel of several", mine);
		pthread_mutex_lock(&mtx);
		bad++;
		pthread_mutex_unlock(&mtx);
	}
	return NULL;
}

static void
add_by_threads(const char *endpoint, const char *token)
{
	struct party p = { "c", 0, 0, 0, 0, NULL };
	struct tunnel_events e;
	struct tunnel_options o;
	struct tunnel_client *c;
	pthread_t t[THREADS];
	int i;

	memset(&o, 0, sizeof(o));
	o.endpoint = endpoint;
	o.token = token;
	o.connections = 3;
	o.ping_ms = 1000;
	o.retry_min_ms = 100;
	memset(&e, 0, sizeof(e));
	e.ready = on_ready;
	c = tunnel_new(&o, &e, &p, why, sizeof(why));
	tunnel_connect(c, 0, why, sizeof(why));
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, add_some, c) != 0)
			abort();
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < WAIT_MS / 20 && heard(&p.ready) < THREADS * 5; i++)	/* another connection's may have been first, and its callback on the way */
		nap();
	fact(heard(&bad) == 0 && heard(&p.ready) == THREADS * 5, "tunnels from several threads", why);
	tunnel_free(c);
}

/* The server ends while everything is in use. */
static void
end_in_use(int port)
{
	struct party ps = { "server", 0, 0, 0, 0, NULL }, pc = { "c", 0, 0, 0, 0, NULL };
	static char bulk[1 << 16];
	struct tunnel_client *c;
	struct gate g;
	char url[URL], name[32], byte;
	int fd[4], i;

	open_gate(&g, &ps);
	c = new_client(&pc, g.endpoint, "sesame");
	http(c, "kept");
	tcp(c, port);
	tunnel_connect(c, WAIT_MS, why, sizeof(why));
	for (i = 0; i < 2; i++)
		fact(tunnel_ready(c, i, WAIT_MS, url, sizeof(url), why, sizeof(why)) == 0, "in use", why);
	snprintf(name, sizeof(name), "tcp:%d", port);
	for (i = 0; i < 4; i++) {
		fd[i] = tunnel_server_open(g.s, i < 2 ? name : "kept");
		fact(i < 2 ? talk(fd[i], "x", "x") : talk(fd[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nc"), "in use by a caller", strerror(errno));
	}
	while (send(fd[0], bulk, sizeof(bulk), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)	/* the echo is read by nobody */
		;
	close_gate(&g);
	for (i = 1; i < 4; i++)
		fact(read(fd[i], &byte, 1) <= 0, "cut off at the end", "it is not");
	for (i = 0; i < 4; i++)
		close(fd[i]);
	tunnel_free(c);		/* which tries to come back */
}

static void
ends(const char *endpoint, const char *token, int port)
{
	struct party p = { "c", 0, 0, 0, 0, NULL };
	struct tunnel_client *c;
	char nobody[64];
	int64_t began;
	int fd;

	end_by_threads(endpoint, token);
	add_by_threads(endpoint, token);
	end_in_use(port);
	c = new_client(&p, endpoint, token);
	p.close = c;
	http(c, "closing");
	fact(tunnel_run(c, why, sizeof(why)) == TUNNEL_STOPPED && heard(&p.ready) == 1, "closed from a callback", why);
	tunnel_free(c);
	p.close = NULL;

	fd = listen_any(nobody);
	close(fd);
	began = now_ms();
	c = new_client(&p, nobody, token);
	fact(tunnel_connect(c, 300, why, sizeof(why)) == -1 && strstr(why, "cannot reach") != NULL && now_ms() - began >= 300,
	    "connecting in vain takes the time it is given", why);
	tunnel_free(c);

	c = new_client(&p, endpoint, "wrong");
	fact(tunnel_connect(c, WAIT_MS, why, sizeof(why)) == -1 && strstr(why, "401") != NULL, "a wrong token is told", why);
	fact(tunnel_run(c, why, sizeof(why)) == TUNNEL_DENIED, "and ends it", why);
	tunnel_free(c);

	c = new_client(&p, endpoint, token);
	tunnel_free(c);		/* never run */
	fact(1, "freed without having run", "");
}

/* options: what tunnel_new and tunnel_server_new refuse. */
static void
refuse(const char *field, const char *what)
{
	const char *fields[1];
	struct tunnel_options o;
	struct tunnel_client *c;

	memset(&o, 0, sizeof(o));
	o.endpoint = "http://127.0.0.1:1";
	o.token = "t";
	fields[0] = field;
	o.headers = fields;
	o.nheaders = 1;
	c = tunnel_new(&o, NULL, NULL, why, sizeof(why));
	fact((c != NULL) == (what == NULL), what != NULL ? what : "a field", c != NULL ? "taken" : why);
	if (c == NULL && (strstr(why, what) == NULL || strstr(why, "secret") != NULL))
		fact(0, "what is wrong with it", why);
	if (c != NULL)
		tunnel_free(c);
}

/* What is not there at all: of a variable that is not set, say. */
static void
missing(void)
{
	struct tunnel_server_options so;
	struct tunnel_token token = { NULL, "*" };
	struct tunnel_options o;
	struct tunnel_spec spec;
	struct tunnel_client *c;

	memset(&o, 0, sizeof(o));
	o.endpoint = "http://127.0.0.1:1";
	fact(tunnel_new(&o, NULL, NULL, why, sizeof(why)) == NULL && strstr(why, "token") != NULL, "no token", why);
	o.token = "t";
	o.endpoint = NULL;
	fact(tunnel_new(&o, NULL, NULL, why, sizeof(why)) == NULL && strstr(why, "endpoint") != NULL, "no endpoint", why);
	o.endpoint = "http://127.0.0.1:1";
	memset(&spec, 0, sizeof(spec));
	spec.name = "a";
	if ((c = tunnel_new(&o, NULL, NULL, why, sizeof(why))) != NULL) {
		fact(tunnel_listen(c, &spec, why, sizeof(why)) == -1 && strstr(why, "PORT") != NULL, "no target", why);
		tunnel_free(c);
	}
	memset(&so, 0, sizeof(so));
	so.tokens = &token;
	so.ntokens = 1;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "token") != NULL, "a server's token that is none", why);
	token.token = "a";
	token.scope = NULL;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "scope") != NULL, "and its scope", why);
}

/* What has been forgotten, as getenv(3) may have had nothing, and counts that are none. */
static void
incomplete(const struct tunnel_options *o, const char *what)
{
	struct tunnel_client *c = tunnel_new(o, NULL, NULL, why, sizeof(why));

	fact(c == NULL && why[0] != '\0', what, c != NULL ? "taken" : "no word about it");
	if (c != NULL)
		tunnel_free(c);
}

static void
absent(void)
{
	static const char *const nothing_in[] = { "10.0.0.0/8", NULL };
	struct tunnel_options o, sound;
	struct tunnel_server_options so;
	struct tunnel_relay to;
	char host[4], port[6];

	memset(&sound, 0, sizeof(sound));
	sound.endpoint = "http://127.0.0.1:1";
	sound.token = "t";
	sound.target = "3000";
	o = sound;
	o.endpoint = NULL;
	incomplete(&o, "no endpoint at all");
	o = sound;
	o.token = NULL;
	incomplete(&o, "no token");
	o.dialect = "bifrost";
	incomplete(&o, "no token of another dialect's");
	o = sound;
	o.ntunnels = 1;
	incomplete(&o, "tunnels that are not there");
	o = sound;
	o.nauth = -1;
	o.allow = nothing_in;
	o.nallow = 1;
	incomplete(&o, "a negative number of users beside a network: it must not let everybody in");
	o.nauth = 0;
	o.nallow = 2;
	incomplete(&o, "a network that is not there");
	o = sound;
	o.nauth = 1;
	incomplete(&o, "users that are not there");
	o = sound;
	o.nheaders = 1;
	incomplete(&o, "fields that are not there");
	o = sound;
	o.endpoint = "https://127.0.0.1:1";
	o.npins = 1;
	incomplete(&o, "pins that are not there");
	o.npins = -1;
	incomplete(&o, "a negative number of pins");
	memset(&to, 0, sizeof(to));
	to.in = to.out = to.stop = -1;
	fact(tunnel_relay(&sound, &to, why, sizeof(why)) == TUNNEL_USAGE && why[0] != '\0', "a relay to no host", why);
	fact(tunnel_target("localhost:3000", host, sizeof(host), port, sizeof(port), why, sizeof(why)) == -1, "a host that its buffer cannot hold", host);
	memset(&so, 0, sizeof(so));
	so.ntokens = 1;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "tokens") != NULL, "tokens that are not there", why);
	tunnel_free(NULL);
	tunnel_server_free(NULL);
}

static void
options(void)
{
	struct tunnel_server_options so;
	struct tunnel_token token = { "a b", "*" };
	struct tunnel_options o;

	missing();
	refuse("X-Key: secret", NULL);
	refuse("Cookie: a=b; c=d", NULL);
	refuse("X-Key: secret\r\nX-More: 1", "X-Key");
	refuse("X-Key: secret\n", "X-Key");
	refuse("X Key: secret", "'X'");
	refuse("X-Key", "X-Key");
	refuse(": secret", "''");
	refuse("host: secret", "'host'");
	refuse("Sec-WebSocket-Key: secret", "Sec-WebSocket-Key");
	refuse("Authorization: secret", "Authorization");
	refuse("Connection: secret", "Connection");
	absent();
	memset(&o, 0, sizeof(o));
	o.endpoint = "http://127.0.0.1:1";
	o.token = "t";
	o.retry_min_ms = 5000;
	o.retry_max_ms = 1000;
	fact(tunnel_new(&o, NULL, NULL, why, sizeof(why)) == NULL && strstr(why, "retry_min_ms") != NULL, "a back-off that shrinks", why);
	o.retry_min_ms = o.retry_max_ms = 0;
	o.dialect = "pipegate";
	fact(tunnel_new(&o, NULL, NULL, why, sizeof(why)) == NULL, "a dialect that wants its tunnel at once", "taken");
	memset(&so, 0, sizeof(so));
	so.tokens = &token;
	so.ntokens = 1;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "blanks") != NULL, "a token with a blank", why);
	token.token = "a";
	token.scope = "no name";
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL, "a bad scope", "taken");
	token.scope = NULL;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL, "no scope", "taken");
	so.ntokens = 0;
	so.sessions = -1;
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "sessions") != NULL, "a number below 0", why);
	so.sessions = 0;
	so.domain = "no domain";
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "domain") != NULL, "a bad domain", why);
	so.domain = NULL;
	so.ports = "preview";
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "ports") != NULL, "ports that are none", why);
}

/* signals: the program's are its own threads' alone. */

static volatile sig_atomic_t strayed;

static void
on_usr1(int sig)
{
	(void)sig;
	strayed = 1;
}

static void
signals(void)
{
	struct party p = { "server", 0, 0, 0, 0, NULL }, pc = { "c", 0, 0, 0, 0, NULL };
	struct sigaction act, before;
	struct tunnel_client *c;
	sigset_t set, had, pending;
	struct gate g;
	int sig = 0, i;

	memset(&act, 0, sizeof(act));
	act.sa_handler = on_usr1;
	sigaction(SIGUSR1, &act, &before);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	open_gate(&g, &p);	/* and only then */
	pthread_sigmask(SIG_BLOCK, &set, &had);
	c = new_client(&pc, g.endpoint, "sesame");
	pthread_sigmask(SIG_SETMASK, &had, NULL);
	fact(tunnel_connect(c, WAIT_MS, why, sizeof(why)) == 0, "there are threads of both kinds", why);
	close(g.stop[1]);	/* the gate's thread is the program's, and would take it */
	for (i = 0; i < WAIT_MS / 20 && !heard(&g.left); i++)
		nap();
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	for (i = 0; i < 10 && !strayed; i++)
		nap();
	sigpending(&pending);
	fact(!strayed && sigismember(&pending, SIGUSR1), "a signal waits for the program's own thread", "a thread of the library has taken it");
	if (sigismember(&pending, SIGUSR1))
		sigwait(&set, &sig);
	tunnel_free(c);
	close(g.stop[0]);
	tunnel_server_free(g.s);
	pthread_sigmask(SIG_SETMASK, &had, NULL);
	sigaction(SIGUSR1, &before, NULL);
}

/* relay ENDPOINT TOKEN HOST PORT: what it brings goes to a pipe that nobody reads. */
static void
relay(char **argv)
{
	struct tunnel_options o;
	struct tunnel_relay to;
	int in[2], out[2];

	if (pipe(in) == -1 || pipe(out) == -1)
		abort();
	memset(&o, 0, sizeof(o));
	o.endpoint = argv[0];
	o.token = argv[1];
	memset(&to, 0, sizeof(to));
	to.host = argv[2];
	to.port = (int)strtol(argv[3], NULL, 10);
	to.in = in[0];
	to.out = out[1];
	to.stop = -1;
	close(out[0]);
	if (write(in[1], "hello", 5) != 5)
		abort();
	why[0] = '\0';
	tunnel_relay(&o, &to, why, sizeof(why));
	close(in[1]);
	fact(1, "whoever has closed its pipe is still alive", "");
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct process before;

	begin(&before);
	if (strcmp(what, "both") == 0 && argc == 5)
		both(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
	else if (strcmp(what, "ends") == 0 && argc == 5)
		ends(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
	else if (strcmp(what, "options") == 0)
		options();
	else if (strcmp(what, "signals") == 0)
		signals();
	else if (strcmp(what, "relay") == 0 && argc == 6)
		relay(argv + 2);
	else
		return 2;
	return end(&before);
}
