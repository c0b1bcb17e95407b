/*
 * libpeer.h: what the programs that t_lib.py builds against <tunnel.h> and the archive alone have in common: facts, each a line,
 * "ok WHAT" or "FAIL WHAT: WHY"; clients, the services behind them and their callers; servers; what the process was before.
 */
#ifndef LIBPEER_H
#define LIBPEER_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

enum { WAIT_MS = 20000, WHY = 512, URL = 1500 };

static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;	/* guards what is said and counted */
static char why[WHY];		/* the main thread's */

static inline void
fact(int ok, const char *what, const char *detail)
{
	pthread_mutex_lock(&mtx);
	printf(ok ? "ok %s\n" : "FAIL %s: %s\n", what, detail);
	fflush(stdout);
	pthread_mutex_unlock(&mtx);
}

static inline int
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

static inline void
nap(void)
{
	poll(NULL, 0, 20);
}

static inline int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Threads of the system's own take a moment to go. */
static inline void
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

static inline void
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
	int programs;		/* lines of those who are who the program says */
	struct tunnel_client *close;	/* from within ready */
};

struct visit {
	int fd;
	const char *name;
};

static inline void *
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

static inline void *
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

static inline void
visit(void *(*fn)(void *), void *arg, int fd)
{
	struct visit *v = malloc(sizeof(*v));

	if (v == NULL)
		abort();
	v->fd = fd;
	v->name = ((struct party *)arg)->name;
	start(fn, v);
}

static inline void
accept_http(void *arg, int i, int fd, const char *peer)
{
	(void)i;
	if (peer[0] != '\0')
		fact(0, "an HTTP connection is nobody's alone", peer);
	visit(serve_http, arg, fd);
}

static inline void
accept_echo(void *arg, int i, int fd, const char *peer)
{
	(void)i;
	if (peer[0] == '\0')
		fact(0, "a TCP caller's address is told", "it is empty");
	visit(serve_echo, arg, fd);
}

static inline void
on_log(void *arg, int level, const char *line)
{
	struct party *p = arg;
	size_t len = strlen(line);

	if (strncmp(line, "level=", 6) != 0 || line[len - 1] != '\n' || level < TUNNEL_DEBUG || level > TUNNEL_ERROR)
		fact(0, "a log line", line);
	pthread_mutex_lock(&mtx);
	p->lines++;
	p->programs += strstr(line, "who=program:ann ") != NULL;
	pthread_mutex_unlock(&mtx);
}

static inline void
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

static inline void
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

static inline struct tunnel_client *
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

static inline int
http(struct tunnel_client *c, const char *name)
{
	struct tunnel_spec spec;

	memset(&spec, 0, sizeof(spec));
	spec.name = name;
	spec.accept = accept_http;
	return tunnel_listen(c, &spec, why, sizeof(why));
}

static inline int
tcp(struct tunnel_client *c, int port)
{
	struct tunnel_spec spec;

	memset(&spec, 0, sizeof(spec));
	spec.tcp = 1;
	spec.port = port;
	spec.accept = accept_echo;
	return tunnel_listen(c, &spec, why, sizeof(why));
}

static inline int
heard(const int *count)
{
	int n;

	pthread_mutex_lock(&mtx);
	n = *count;
	pthread_mutex_unlock(&mtx);
	return n;
}

/* Send text, and read until the other side has sent want or ended. Is it there? */
static inline int
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

/* A server whose connections come over TCP. */

struct gate {
	struct tunnel_server *s;
	int fd, stop[2], left;
	char endpoint[64];
};

static inline void *
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

static inline int
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
static int sessions, callers;	/* likewise; 0: as usual */

static inline struct tunnel_server *
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
	o.sessions = sessions;
	o.callers = callers;
	o.log = on_log;
	o.arg = p;
	if ((s = tunnel_server_new(&o, why, sizeof(why))) == NULL) {
		fact(0, "a server", why);
		exit(1);
	}
	return s;
}

static inline void
open_gate(struct gate *g, struct party *p)
{
	g->s = new_server(p);
	g->fd = listen_any(g->endpoint);
	g->left = 0;
	if (pipe(g->stop) == -1)
		abort();
	start(let_in, g);
}

static inline void
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

/* The process. */

struct signals {		/* as whoever has started us left them: a shell's background jobs ignore some */
	sigset_t mask;
	struct sigaction action[32];
};

static inline void
remember(struct signals *s)
{
	int sig;

	memset(s, 0, sizeof(*s));
	pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
	for (sig = 1; sig < 32; sig++)
		sigaction(sig, NULL, &s->action[sig]);
}

/* The process is as it was. */
static inline void
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

static inline void *
nothing(void *arg)
{
	return arg;
}

struct process {
	struct signals signals;
	int fds, tasks;
};

/* How the process is before the library is used, */
static inline void
begin(struct process *s)
{
	pthread_t t;

	signal(SIGPIPE, SIG_DFL);	/* whatever has started us: nothing here may cause one */
	remember(&s->signals);
	pthread_create(&t, NULL, nothing, NULL);	/* a sanitizer's own threads are there from now on */
	pthread_join(t, NULL);
	s->fds = entries("/proc/self/fd");
	s->tasks = entries("/proc/self/task");
}

/* is how it is behind that. */
static inline int
end(const struct process *s)
{
	back_to(s->fds, s->tasks, "at the end nothing is left");
	unchanged(&s->signals);
	return 0;
}

#endif
