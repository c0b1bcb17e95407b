/*
 * libpeer.c: a program of somebody else's that uses libtunnel as it is installed: t_lib.py builds it against <tunnel.h> and the
 * archive alone. Each fact is a line, "ok WHAT" or "FAIL WHAT: WHY".
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <tunnel.h>

enum { WAIT_MS = 20000, ROUNDS = 3, THREADS = 6, GETS = 20, WHY = 512, URL = 1500 };

static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards what is said and counted */
static char why[WHY];		/* the main thread's */

static void
fact(int ok, const char *what, const char *detail)
{
	pthread_mutex_lock(&mtx);
	printf(ok ? "ok %s\n" : "FAIL %s: %s\n", what, detail);
	fflush(stdout);
	pthread_mutex_unlock(&mtx);
}

static int
entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
nap(void)
{
	poll(NULL, 0, 20);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Threads of the system's own take a moment to go. */
static void
back_to(int fds, int tasks, const char *what)
{
	int64_t end = now_ms() + WAIT_MS;
	char text[100];

	while ((entries("/proc/self/fd") != fds || entries("/proc/self/task") != tasks) && now_ms() < end)
		nap();
	snprintf(text, sizeof(text), "%d descriptors where %d were, %d threads where %d were", entries("/proc/self/fd"), fds,
	    entries("/proc/self/task"), tasks);
	fact(entries("/proc/self/fd") == fds && entries("/proc/self/task") == tasks, what, text);
}

static void
start(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg) != 0)
		abort();
	pthread_detach(t);
}

/* Services of the program's own. */

struct party {			/* a client, or a server, and what it has heard */
	const char *name;
	int lines, ready, lost;
	struct tunnel_client *close;	/* from within ready */
};

struct visit {
	int fd;
	const char *name;
};

static void *
serve_http(void *arg)
{
	struct visit v = *(struct visit *)arg;
	char in[8192], out[300];
	size_t len = 0;
	ssize_t n = 1;

	free(arg);
	for (in[0] = '\0'; n > 0 && len < sizeof(in) - 1; ) {
		if (strstr(in, "\r\n\r\n") != NULL) {	/* kept alive: one request after the other, none with content */
			n = snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(v.name), v.name);
			send(v.fd, out, (size_t)n, MSG_NOSIGNAL);
			len = 0;
		}
		if ((n = read(v.fd, in + len, sizeof(in) - 1 - len)) > 0)
			len += (size_t)n;
		in[len] = '\0';
	}
	close(v.fd);
	return NULL;
}

static void *
serve_echo(void *arg)
{
	struct visit v = *(struct visit *)arg;
	char buf[4096];
	ssize_t n;

	free(arg);
	while ((n = read(v.fd, buf, sizeof(buf))) > 0)
		if (send(v.fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	close(v.fd);
	return NULL;
}

static void
visit(void *(*fn)(void *), void *arg, int fd)
{
	struct visit *v = malloc(sizeof(*v));

	if (v == NULL)
		abort();
	v->fd = fd;
	v->name = ((struct party *)arg)->name;
	start(fn, v);
}

static void
accept_http(void *arg, int i, int fd, const char *peer)
{
	(void)i;
	if (peer[0] != '\0')
		fact(0, "an HTTP connection is nobody's alone", peer);
	visit(serve_http, arg, fd);
}

static void
accept_echo(void *arg, int i, int fd, const char *peer)
{
	(void)i;
	if (peer[0] == '\0')
		fact(0, "a TCP caller's address is told", "it is empty");
	visit(serve_echo, arg, fd);
}

static void
on_log(void *arg, int level, const char *line)
{
	struct party *p = arg;
	size_t len = strlen(line);

	if (strncmp(line, "level=", 6) != 0 || line[len - 1] != '\n' || level < TUNNEL_DEBUG || level > TUNNEL_ERROR)
		fact(0, "a log line", line);
	pthread_mutex_lock(&mtx);
	p->lines++;
	pthread_mutex_unlock(&mtx);
}

static void
on_ready(void *arg, int i, const char *url, const char *path_url, const char *target, int again)
{
	struct party *p = arg;

	(void)i;
	(void)url;
	(void)path_url;
	(void)target;
	(void)again;
	pthread_mutex_lock(&mtx);
	p->ready++;
	pthread_mutex_unlock(&mtx);
	if (p->close != NULL)
		tunnel_close(p->close);
}

static void
on_lost(void *arg, int i, const char *code, const char *message)
{
	struct party *p = arg;

	(void)i;
	(void)code;
	(void)message;
	pthread_mutex_lock(&mtx);
	p->lost++;
	pthread_mutex_unlock(&mtx);
}

static struct tunnel_client *
new_client(struct party *p, const char *endpoint, const char *token)
{
	struct tunnel_options o;
	struct tunnel_events e;
	struct tunnel_client *c;

	memset(&o, 0, sizeof(o));
	o.endpoint = endpoint;
	o.token = token;
	memset(&e, 0, sizeof(e));
	e.log = on_log;
	e.ready = on_ready;
	e.lost = on_lost;
	if ((c = tunnel_new(&o, &e, p, why, sizeof(why))) == NULL)
		fact(0, "a client", why);
	return c;
}

static int
http(struct tunnel_client *c, const char *name)
{
	struct tunnel_spec spec;

	memset(&spec, 0, sizeof(spec));
	spec.name = name;
	spec.accept = accept_http;
	return tunnel_listen(c, &spec, why, sizeof(why));
}

static int
tcp(struct tunnel_client *c, int port)
{
	struct tunnel_spec spec;

	memset(&spec, 0, sizeof(spec));
	spec.tcp = 1;
	spec.port = port;
	spec.accept = accept_echo;
	return tunnel_listen(c, &spec, why, sizeof(why));
}

/* Callers. */

/* Send text, and read until the other side has sent want or ended. Is it there? */
static int
talk(int fd, const char *text, const char *want)
{
	char in[4096];
	size_t len = 0;
	ssize_t n;
	int found;

	if (fd == -1 || send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		return 0;
	for (found = 0; !found && (n = read(fd, in + len, sizeof(in) - 1 - len)) > 0; ) {
		len += (size_t)n;
		in[len] = '\0';
		found = strstr(in, want) != NULL;
	}
	return found;
}

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

/* A server whose connections come over TCP. */

struct gate {
	struct tunnel_server *s;
	int fd, stop[2], left;
	char endpoint[64];
};

static void *
let_in(void *arg)
{
	struct gate *g = arg;
	struct pollfd pfd[2];
	int fd;

	pfd[0].fd = g->fd;
	pfd[1].fd = g->stop[0];
	pfd[0].events = pfd[1].events = POLLIN;
	while (poll(pfd, 2, -1) > 0 && pfd[1].revents == 0)
		if ((fd = accept(g->fd, NULL, NULL)) != -1 && tunnel_server_handle_fd(g->s, fd, NULL) == -1)
			fact(0, "a connection is taken", strerror(errno));
	close(g->fd);
	pthread_mutex_lock(&mtx);
	g->left = 1;
	pthread_mutex_unlock(&mtx);
	return NULL;
}

static int
listen_any(char endpoint[64])
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 || bind(fd, (struct sockaddr *)&in, sizeof(in)) == -1 || listen(fd, 64) == -1 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) == -1)
		abort();
	snprintf(endpoint, 64, "http://127.0.0.1:%u", ntohs(in.sin_port));
	return fd;
}

static const char *keys;	/* of the next server; NULL: none */

static struct tunnel_server *
new_server(struct party *p)
{
	static const struct tunnel_token token = { "sesame", "*" };
	struct tunnel_server_options o;
	struct tunnel_server *s;

	memset(&o, 0, sizeof(o));
	o.tokens = &token;
	o.ntokens = 1;
	o.domain = "tunnels.example";
	o.keys = keys;
	o.log = on_log;
	o.arg = p;
	if ((s = tunnel_server_new(&o, why, sizeof(why))) == NULL) {
		fact(0, "a server", why);
		exit(1);
	}
	return s;
}

static void
open_gate(struct gate *g, struct party *p)
{
	g->s = new_server(p);
	g->fd = listen_any(g->endpoint);
	g->left = 0;
	if (pipe(g->stop) == -1)
		abort();
	start(let_in, g);
}

static void
close_gate(struct gate *g)
{
	int left = 0;

	if (write(g->stop[1], "", 1) != 1)
		abort();
	while (!left) {
		nap();
		pthread_mutex_lock(&mtx);
		left = g->left;
		pthread_mutex_unlock(&mtx);
	}
	close(g->stop[0]);
	close(g->stop[1]);
	tunnel_server_free(g->s);
}

/* both ENDPOINT TOKEN PORT: a server, a client of its own and one of a tunneld's, at once. */

static int
heard(const int *count)
{
	int n;

	pthread_mutex_lock(&mtx);
	n = *count;
	pthread_mutex_unlock(&mtx);
	return n;
}

static void
round_of(const char *endpoint, const char *token, int port)
{
	struct party ps = { "server", 0, 0, 0, NULL }, pa = { "ours", 0, 0, 0, NULL }, pb = { "theirs", 0, 0, 0, NULL };
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
	struct party p = { "c", 0, 0, 0, NULL };
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
	struct party p = { "c", 0, 0, 0, NULL };
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
	struct party ps = { "server", 0, 0, 0, NULL }, pc = { "c", 0, 0, 0, NULL };
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
	struct party p = { "c", 0, 0, 0, NULL };
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

/* upgraded FILE: a WebSocket whose opening handshake is the program's; what belongs into the 101 comes in FILE. */
static void
upgraded(const char *file)
{
	struct party p = { "server", 0, 0, 0, NULL };
	struct tunnel_server *s = new_server(&p);
	struct tunnel_handover h;
	char in[8192], accept_key[128], endpoint[64], answer[400], *key;
	int fd, conn, i;
	ssize_t n = 0, k;
	FILE *f;

	fd = listen_any(endpoint);
	printf("at %s\n", endpoint);
	fflush(stdout);
	conn = accept(fd, NULL, NULL);
	for (in[0] = '\0'; strstr(in, "\r\n\r\n") == NULL; in[n] = '\0')
		if ((k = read(conn, in + n, sizeof(in) - 1 - (size_t)n)) > 0)
			n += k;
	key = strstr(in, "Sec-WebSocket-Key: ");
	printf("key %.24s\n", key != NULL ? key + 19 : "?");
	fflush(stdout);
	if ((f = fopen(file, "r")) == NULL || fgets(accept_key, sizeof(accept_key), f) == NULL)
		abort();
	fclose(f);
	accept_key[strcspn(accept_key, "\n")] = '\0';
	n = snprintf(answer, sizeof(answer), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: tunnel.v1\r\n\r\n", accept_key);
	send(conn, answer, (size_t)n, MSG_NOSIGNAL);
	memset(&h, 0, sizeof(h));
	h.websocket = 1;
	h.who = "ann";
	h.scope = "preview";
	h.early = in;
	h.nearly = (size_t)read(conn, in, 40);	/* of its first frame, and perhaps not all of that */
	fact(tunnel_server_handle_fd(s, conn, &h) == 0, "a WebSocket is taken over", strerror(errno));
	close(fd);
	for (i = 0; i < WAIT_MS / 20 && (fd = tunnel_server_open(s, "preview")) == -1; i++)
		nap();
	fact(talk(fd, "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK"), "its tunnel is called", strerror(errno));
	close(fd);
	fact(tunnel_server_open(s, "other") == -1, "and has no other name", "it has");

	fd = socket(AF_INET, SOCK_STREAM, 0);
	h.token = "wrong";
	fact(tunnel_server_handle_fd(s, fd, &h) == -1 && errno == EACCES, "a wrong token", strerror(errno));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	h.token = h.who = NULL;
	fact(tunnel_server_handle_fd(s, fd, &h) == -1 && errno == EINVAL, "nobody's WebSocket", strerror(errno));
	tunnel_server_free(s);
}

/* A connection on which something has been read, by the program that wanted to know whose it is. */
static void
early(void)
{
	static const char head[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea";
	struct party p = { "server", 0, 0, 0, NULL };
	struct tunnel_server *s = new_server(&p);
	struct tunnel_handover h;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		abort();
	memset(&h, 0, sizeof(h));
	h.early = head;
	h.nearly = sizeof(head) - 1;
	fact(tunnel_server_handle_fd(s, fd[0], &h) == 0 && talk(fd[1], "", "ok\n"), "a request that was read before", strerror(errno));
	fact(talk(fd[1], "lth HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n"), "the next, of which a part was", strerror(errno));
	tunnel_server_free(s);	/* with a connection that waits for its next request */
	fact(read(fd[1], &p, 1) == 0, "the end closes connections", "it is open");
	close(fd[1]);
}

/* keys KEY PORT DOMAIN: vtunnel's clients, of which one comes with a port and a domain, and another that says nothing. */
static void
with_keys(const char *key, int port, const char *domain)
{
	struct party p = { "server", 0, 0, 0, NULL };
	char name[260] = "", want[32], host[300];
	struct sockaddr_in in;
	struct gate g;
	int i, fd = -1, mute;

	keys = "nonsense";
	{
		struct tunnel_server_options o;

		memset(&o, 0, sizeof(o));
		o.keys = keys;
		fact(tunnel_server_new(&o, why, sizeof(why)) == NULL && why[0] != '\0', "keys that are none", why);
	}
	keys = key;
	open_gate(&g, &p);
	printf("at %s\n", g.endpoint);
	fflush(stdout);
	snprintf(want, sizeof(want), "tcp:%d", port);
	for (i = 0; i < WAIT_MS / 20 && (fd = tunnel_server_open(g.s, want)) == -1; i++)
		nap();
	fact(talk(fd, "hello", "hello"), "a vtunnel client's port", strerror(errno));
	close(fd);
	snprintf(host, sizeof(host), "%s:443", domain);
	for (i = 0; i < WAIT_MS / 20 && !tunnel_server_find(g.s, host, name, sizeof(name)); i++)
		nap();
	fact(strncmp(name, "tcp:", 4) == 0 && strcmp(name, want) != 0, "a domain leads to a port of its own", name);
	fd = tunnel_server_open(g.s, name);
	fact(talk(fd, "hello", "hello"), "which is called", strerror(errno));
	close(fd);
	snprintf(host, sizeof(host), "%s:444", domain);
	fact(tunnel_server_find(g.s, host, name, sizeof(name)) == 0, "but not at another port", name);

	mute = socket(AF_INET, SOCK_STREAM, 0);
	memset(&in, 0, sizeof(in));
	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons((uint16_t)strtol(strrchr(g.endpoint, ':') + 1, NULL, 10));
	fact(connect(mute, (struct sockaddr *)&in, sizeof(in)) == 0 && talk(mute, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
	    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", " 101 "),
	    "one that does not log in", strerror(errno));
	close_gate(&g);
	close(mute);
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
	so.ntokens = 0;
	so.domain = "no domain";
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "domain") != NULL, "a bad domain", why);
	so.domain = NULL;
	so.ports = "preview";
	fact(tunnel_server_new(&so, why, sizeof(why)) == NULL && strstr(why, "ports") != NULL, "ports that are none", why);
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

struct signals {		/* as whoever has started us left them: a shell's background jobs ignore some */
	sigset_t mask;
	struct sigaction action[32];
};

static void
remember(struct signals *s)
{
	int sig;

	memset(s, 0, sizeof(*s));
	pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
	for (sig = 1; sig < 32; sig++)
		sigaction(sig, NULL, &s->action[sig]);
}

/* The process is as it was. */
static void
unchanged(const struct signals *before)
{
	struct sigaction sa;
	sigset_t now, pending;
	int sig, same = 1;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	sigpending(&pending);
	for (sig = 1; sig < 32; sig++) {
		same &= sigismember(&now, sig) == sigismember(&before->mask, sig) && sigismember(&pending, sig) == 0;
		if (sig != SIGSEGV && sig != SIGBUS && sig != SIGFPE && sig != SIGABRT && sig != SIGILL && sig != SIGTRAP &&	/* a sanitizer's */
		    sigaction(sig, NULL, &sa) == 0)
			same &= sa.sa_handler == before->action[sig].sa_handler;
	}
	fact(same, "signals are as they were", "they are not");
}

static void *
nothing(void *arg)
{
	return arg;
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t t;
	struct signals before;
	int fds, tasks;

	signal(SIGPIPE, SIG_DFL);	/* whatever has started us: nothing here may cause one */
	remember(&before);
	pthread_create(&t, NULL, nothing, NULL);	/* a sanitizer's own threads are there from now on */
	pthread_join(t, NULL);
	fds = entries("/proc/self/fd");
	tasks = entries("/proc/self/task");
	if (strcmp(what, "both") == 0 && argc == 5)
		both(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
	else if (strcmp(what, "ends") == 0 && argc == 5)
		ends(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
	else if (strcmp(what, "upgraded") == 0 && argc == 3)
		upgraded(argv[2]);
	else if (strcmp(what, "early") == 0)
		early();
	else if (strcmp(what, "keys") == 0 && argc == 5)
		with_keys(argv[2], (int)strtol(argv[3], NULL, 10), argv[4]);
	else if (strcmp(what, "options") == 0)
		options();
	else if (strcmp(what, "relay") == 0 && argc == 6)
		relay(argv + 2);
	else
		return 2;
	back_to(fds, tasks, "at the end nothing is left");
	unchanged(&before);
	return 0;
}
