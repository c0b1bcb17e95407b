/* libserver.c: a server of somebody else's that uses libtunnel as it is installed, and others' clients; see libpeer.h. */
#include "libpeer.h"

/* upgraded FILE: a WebSocket whose opening handshake is the program's; what belongs into the 101 comes in FILE. */
static void
upgraded(const char *file)
{
	struct party p = { "server", 0, 0, 0, 0, NULL };
	struct tunnel_server *s = (sessions = 1, new_server(&p));
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
	fact(fcntl(fd, F_GETFD) == FD_CLOEXEC, "which no other program inherits", strerror(errno));
	close(fd);
	fact(tunnel_server_open(s, "other") == -1, "and has no other name", "it has");
	fact(heard(&p.programs) > 0, "the log has the program's word for it", "not so");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	fact(tunnel_server_handle_fd(s, fd, &h) == -1 && errno == EAGAIN, "a second one is too many", strerror(errno));
	tunnel_server_free(s);

	sessions = 0;
	s = new_server(&p);
	memset(in, 'a', 101);
	in[101] = '\0';
	h.who = in;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	fact(tunnel_server_handle_fd(s, fd, &h) == -1 && errno == EINVAL && fcntl(fd, F_GETFD) == -1, "a name that is too long; the descriptor is closed",
	    strerror(errno));

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
	static const char much[(1 << 16) + 1];
	struct party p = { "server", 0, 0, 0, 0, NULL };
	struct tunnel_server *s = (callers = 1, new_server(&p));
	struct tunnel_handover h;
	char answer[400];
	int fd[2], more[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		abort();
	memset(&h, 0, sizeof(h));
	h.early = head;
	h.nearly = sizeof(head) - 1;
	h.early = NULL;
	fact(tunnel_server_handle_fd(s, dup(fd[0]), &h) == -1 && errno == EINVAL, "bytes that are not there", strerror(errno));
	fact(tunnel_server_handle_fd(s, -1, NULL) == -1 && errno == EBADF, "a connection that is not there", strerror(errno));
	h.early = head;
	fact(tunnel_server_handle_fd(s, fd[0], &h) == 0 && talk(fd[1], "", "ok\n"), "a request that was read before", strerror(errno));
	fact(talk(fd[1], "lth HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n"), "the next, of which a part was", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, more) == -1)
		abort();
	fact(tunnel_server_handle_fd(s, more[0], NULL) == 0 && read(more[1], answer, sizeof(answer)) > 12 && memcmp(answer, "HTTP/1.1 503", 12) == 0,
	    "one more caller than may be", strerror(errno));
	close(more[1]);
	h.early = much;
	h.nearly = sizeof(much);
	more[0] = socket(AF_INET, SOCK_STREAM, 0);
	fact(tunnel_server_handle_fd(s, more[0], &h) == -1 && errno == EINVAL, "more than may have been read", strerror(errno));
	tunnel_server_free(s);	/* with a connection that waits for its next request */
	fact(read(fd[1], &p, 1) == 0, "the end closes connections", "it is open");
	close(fd[1]);
}

struct jam {			/* sessions that have ended, and whose last line does not get out; guarded by mtx */
	pthread_cond_t cond;
	int n, open;
};

static void
hold(void *arg, int level, const char *line)
{
	struct jam *j = arg;

	(void)level;
	if (strstr(line, "event=session_end ") == NULL)
		return;
	pthread_mutex_lock(&mtx);
	j->n++;
	while (!j->open)
		pthread_cond_wait(&j->cond, &mtx);
	pthread_mutex_unlock(&mtx);
}

/* Whose place is free again may have its thread for a moment more. */
static void
leaving(void)
{
	enum { ALL = 1 + 1 + 1 };	/* sessions, callers, and who waits for all of them */
	struct jam j = { PTHREAD_COND_INITIALIZER, 0, 0 };
	struct tunnel_server_options o;
	struct tunnel_server *s;
	struct tunnel_handover h;
	int fd[2], i, k;

	memset(&o, 0, sizeof(o));
	o.sessions = o.callers = 1;
	o.log = hold;
	o.arg = &j;
	s = tunnel_server_new(&o, why, sizeof(why));
	memset(&h, 0, sizeof(h));
	h.websocket = 1;
	h.who = "ann";
	h.scope = "preview";
	for (i = 1; i <= ALL; i++) {
		if (s == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
			abort();
		fact(tunnel_server_handle_fd(s, fd[0], &h) == 0, "a session, when the one before has ended", strerror(errno));
		close(fd[1]);
		for (k = 0; k < WAIT_MS / 20 && heard(&j.n) < i; k++)
			nap();
	}
	fact(heard(&j.n) == ALL, "all have ended, and their threads are still there", "not so");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1)
		abort();
	fact(tunnel_server_handle_fd(s, fd[0], NULL) == 0 && talk(fd[1], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n"), "there is one for a caller",
	    strerror(errno));
	pthread_mutex_lock(&mtx);
	j.open = 1;
	pthread_cond_broadcast(&j.cond);
	pthread_mutex_unlock(&mtx);
	tunnel_server_free(s);
	close(fd[1]);
}

/* keys KEY PORT DOMAIN: vtunnel's clients, of which one comes with a port and a domain, and another that says nothing. */
static void
with_keys(const char *key, int port, const char *domain)
{
	struct party p = { "server", 0, 0, 0, 0, NULL };
	char name[260] = "", want[32], host[300];
	struct sockaddr_in in;
	struct gate g;
	int i, fd = -1, mute, called;

	keys = "nonsense";
	{
		struct tunnel_server_options o;

		memset(&o, 0, sizeof(o));
		o.keys = keys;
		fact(tunnel_server_new(&o, why, sizeof(why)) == NULL && why[0] != '\0', "keys that are none", why);
	}
	{
		struct tunnel_spec spec;
		struct tunnel_options o;
		struct tunnel_client *c;

		memset(&spec, 0, sizeof(spec));
		memset(&o, 0, sizeof(o));
		spec.tcp = 1;
		spec.port = port;
		spec.target = "127.0.0.1:1";
		o.endpoint = "ws://127.0.0.1:1/";
		o.dialect = "vtunnel";
		o.tunnels = &spec;
		o.ntunnels = 1;
		fact((c = tunnel_new(&o, NULL, NULL, why, sizeof(why))) != NULL, "a client of the dialect", why);
		spec.port++;
		fact(tunnel_listen(c, &spec, why, sizeof(why)) == -1 && strstr(why, "from the start") != NULL, "has its tunnels from the start", why);
		tunnel_free(c);
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
	for (i = called = 0; i < WAIT_MS / 20 && !called; i++) {	/* the daemon knows a moment before its client what the port is for */
		nap();
		fd = tunnel_server_open(g.s, name);
		called = talk(fd, "hello", "hello");
		close(fd);
	}
	fact(called, "which is called", strerror(errno));
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

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct process before;

	begin(&before);
	if (strcmp(what, "upgraded") == 0 && argc == 3)
		upgraded(argv[2]);
	else if (strcmp(what, "early") == 0)
		early();
	else if (strcmp(what, "leaving") == 0)
		leaving();
	else if (strcmp(what, "keys") == 0 && argc == 5)
		with_keys(argv[2], (int)strtol(argv[3], NULL, 10), argv[4]);
	else
		return 2;
	return end(&before);
}
