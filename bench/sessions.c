/*
 * sessions.c: thousands of clients of tunneld(8) in one process: each a session of the
 * native protocol, tunnel-protocol(7), with one name, that answers every request with "ok".
 * TUNNEL_TOKEN holds the token. It prints "ready COUNT" when all names are confirmed, and
 * serves until SIGTERM or the end of its input; then it closes the sessions.
 *
 *	-n COUNT	sessions (10000)
 *	-p PREFIX	of their names, before a number from 0 on (s)
 *	-t		over TLS, whatever the daemon's certificate; all but the first resume a TLS session
 *
 * A thread serves GROUP of them with poll(2): one for all would look at thousands of
 * descriptors for each request, for longer than the request takes.
 */
#include <pthread.h>
#include <signal.h>

#include "../conn.h"
#include "../handshake.h"
#include "../json.h"
#include "../opt.h"
#include "../random.h"
#include "../tlsconn.h"
#include "../workers.h"
#include "../ws.h"
#include "../yamux.h"
#include "bench.h"

enum {
	COUNT_MAX = 60000,
	GROUP = 256,
	OPENING_MAX = 64,	/* at a time, so that no backlog overflows */
	STACK = 256 * 1024,
	READ_MAX = 64 * 1024,
	SEND_MAX = 4096,
	NODES = 64
};

static const char response[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";

struct stream {
	struct stream *next;
	uint32_t id;
	int matched;		/* bytes of the request head's end, "\r\n\r\n" */
};

struct session {		/* small: there are many */
	struct conn conn;
	struct group *group;
	long number;
	int shaken;		/* the handshake is over */
	char key[WS_KEY_LEN + 1];
	struct stream *streams;	/* whose request is incomplete */
	uint8_t *kept;		/* a frame that has not come whole */
	size_t nkept;
};

struct group {			/* its thread's */
	struct session session[GROUP];
	struct pollfd pfd[GROUP];
	long count, begun, ready;
	uint8_t in[READ_MAX];
};

static struct {			/* constant once threads run */
	struct target target;
	struct tls_client *tls;	/* NULL: plain */
	const char *addr, *prefix, *token;
	long count;
	uint8_t mask[4];	/* one for all: nobody is to be fooled here */
	int told[2];		/* a pipe to the main thread: 'r', a group is ready; 'q', stop */
} conf;

static pthread_mutex_t ending = PTHREAD_MUTEX_INITIALIZER;	/* who holds it ends the process */

static void
tell(char what)
{
	while (write(conf.told[1], &what, 1) == -1 && errno == EINTR)
		;
}

static void
on_signal(int sig)
{
	(void)sig;
	tell('q');
}

static void
lost(const struct session *s, const char *what, const char *why)
{
	pthread_mutex_lock(&ending);
	fprintf(stderr, "sessions: %s%ld: %s: %s\n", conf.prefix, s->number, what, why);
	_exit(1);
}

static void *
allocate(size_t n)
{
	void *p = calloc(1, n);

	if (p == NULL)
		die("sessions", "memory", strerror(errno));
	return p;
}

static void
put(struct session *s, const void *p, size_t len)
{
	if (conn_write_all(&s->conn, p, len, clock_ms(CLOCK_STEADY) + DIAL_MS) == -1)
		lost(s, "write", strerror(errno));
}

/* Write a WebSocket frame to out; its length. */
static size_t
write_ws(uint8_t out[WS_HDR_MAX + SEND_MAX], uint8_t opcode, const void *p, size_t len)
{
	struct ws_hdr h = { len, { 0 }, opcode, 1, 1 };
	size_t n;

	memcpy(h.key, conf.mask, sizeof(h.key));
	n = ws_hdr_write(out, &h);
	ws_mask(out + n, p, len, h.key, 0);
	return n + len;
}

static void
put_ws(struct session *s, uint8_t opcode, const void *p, size_t len)
{
	uint8_t out[WS_HDR_MAX + SEND_MAX];

	put(s, out, write_ws(out, opcode, p, len));
}

static void
put_data(struct session *s, uint32_t id, uint16_t flags, const char *data)
{
	struct yamux_hdr h = { YAMUX_DATA, flags, id, (uint32_t)strlen(data) };
	uint8_t out[SEND_MAX];

	yamux_write(out, &h);
	memcpy(out + YAMUX_HDR, data, h.len);
	put_ws(s, WS_BINARY, out, YAMUX_HDR + h.len);
}

static void
shake_tls(struct session *s)
{
	char host[NET_HOST_MAX], port[6], why[TLS_WHY_MAX];

	net_split(conf.addr, host, port);
	if (tlsconn_connect(&s->conn, conf.tls, host, clock_ms(CLOCK_STEADY) + DIAL_MS, -1, why) != TLS_OK)
		lost(s, "TLS", why);
}

/* Ask for a session. */
static void
begin(struct group *g, struct session *s, long number)
{
	char text[SEND_MAX], fields[SEND_MAX], target[256];
	uint8_t nonce[16];
	struct buf b;
	int fd = target_dial(&conf.target);

	s->group = g;
	s->number = number;
	if (fd == -1)
		lost(s, "connect", strerror(errno));
	conn_plain(&s->conn, fd);
	if (conf.tls != NULL)
		shake_tls(s);
	snprintf(target, sizeof(target), "/_tunnel/%s%ld", conf.prefix, number);
	snprintf(fields, sizeof(fields), "Authorization: Bearer %s\r\n", conf.token);
	if (random_bytes(nonce, sizeof(nonce)) == -1)
		die("sessions", "random", strerror(errno));
	buf_init(&b, text, sizeof(text));
	ws_client_request(&b, conf.addr, target, "tunnel.v1", fields, nonce, s->key);
	if (b.full)
		die("sessions", "TUNNEL_TOKEN", "is too long");
	put(s, text, b.len);
}

/* The answer to it: its length, 0 if more must come. Then ask for the name. */
static size_t
shake(struct session *s, const uint8_t *p, size_t len)
{
	struct http_head head;
	const char *why;
	char text[SEND_MAX - YAMUX_HDR], status[32];
	int n;

	head.scanned = 0;
	if ((n = http_res_parse(&head, (const char *)p, len, 0, &why)) == 0)
		return 0;
	if (n < 0)
		lost(s, "handshake", why);
	snprintf(status, sizeof(status), "handshake, status %d", head.status);
	if (ws_client_check(&head, s->key, "tunnel.v1", &why) == -1)
		lost(s, status, why);
	s->shaken = 1;
	snprintf(text, sizeof(text), "{\"op\":\"hello\",\"version\":\"1.0.0\",\"agent\":\"sessions\","
	    "\"instance\":\"%016lx\",\"endpoint\":\"%s://%s\"}\n"
	    "{\"op\":\"listen\",\"id\":1,\"kind\":\"http\",\"name\":\"%s%ld\"}\n",
	    (unsigned long)s->number, conf.tls != NULL ? "wss" : "ws", conf.addr, conf.prefix, s->number);
	put_data(s, 1, YAMUX_SYN, text);
	return (size_t)n;
}

/* Data of the control stream: whole objects, since the daemon never splits one. */
static void
on_control(struct session *s, const char *p, size_t len)
{
	struct json_node node[NODES];
	struct json j;
	const char *why = "in pieces", *nl;
	char op[32], code[64], message[256];

	for (; len > 0; len -= (size_t)(nl - p) + 1, p = nl + 1) {
		op[0] = code[0] = message[0] = '\0';
		if ((nl = memchr(p, '\n', len)) == NULL ||
		    json_parse(&j, node, NODES, p, (size_t)(nl - p), &why) == -1)
			lost(s, "control object", why);
		json_get_str(&j, 0, "op", op, sizeof(op));
		json_get_str(&j, 0, "code", code, sizeof(code));
		json_get_str(&j, 0, "message", message, sizeof(message));
		if (strcmp(op, "ready") == 0 && ++s->group->ready == s->group->count)
			tell('r');
		else if (strcmp(op, "error") == 0)
			lost(s, code, message);
		else if (strcmp(op, "gone") == 0 || strcmp(op, "drain") == 0)
			lost(s, op, code[0] != '\0' ? code : "the daemon is leaving");
	}
}

static void
drop(struct stream **link)
{
	struct stream *x = *link;

	*link = x->next;
	free(x);
}

static void
on_frame(struct session *s, const struct yamux_hdr *h, const uint8_t *data)
{
	struct stream **link = &s->streams, *x;
	size_t i;

	if (h->type == YAMUX_GO_AWAY)
		lost(s, "ended", "go away");
	if (h->type == YAMUX_DATA && h->id == 1)
		on_control(s, (const char *)data, h->len);
	if (h->flags & YAMUX_SYN && h->id != 0) {
		x = allocate(sizeof(*x));
		x->id = h->id;
		x->next = s->streams;
		s->streams = x;
	}
	while (*link != NULL && (*link)->id != h->id)
		link = &(*link)->next;
	if ((x = *link) == NULL)
		return;
	if (h->flags & YAMUX_RST)
		drop(link);
	else if (h->type == YAMUX_DATA) {	/* the preface and a request: its end is all that matters */
		for (i = 0; i < h->len && x->matched < 4; i++)
			x->matched = data[i] == "\r\n\r\n"[x->matched] ? x->matched + 1 : data[i] == '\r';
		if (x->matched == 4) {
			put_data(s, x->id, YAMUX_ACK | YAMUX_FIN, response);
			drop(link);
		}
	}
}

/* A WebSocket frame: whole yamux frames, since the daemon never splits one. */
static void
on_message(struct session *s, uint8_t opcode, const uint8_t *p, size_t len)
{
	struct yamux_hdr h;
	const char *why = "a frame in pieces";
	char code[16];
	size_t n;

	if (opcode == WS_PING)
		put_ws(s, WS_PONG, p, len);
	if (opcode == WS_CLOSE) {
		snprintf(code, sizeof(code), "%d", ws_close_parse(p, len, &why));
		lost(s, "closed", code);
	}
	for (; opcode == WS_BINARY && len > 0; p += n, len -= n) {
		if (yamux_parse(&h, p, len, &why) <= 0 ||
		    (h.type == YAMUX_DATA && h.len > len - YAMUX_HDR))
			lost(s, "yamux", why);
		n = YAMUX_HDR + (h.type == YAMUX_DATA ? h.len : 0);
		on_frame(s, &h, p + YAMUX_HDR);
	}
}

/* Use what is whole of len bytes: how many. */
static size_t
take(struct session *s, const uint8_t *p, size_t len)
{
	struct ws_hdr h;
	const char *why;
	size_t at = 0;
	int n;

	if (!s->shaken && (at = shake(s, p, len)) == 0)
		return 0;
	while ((n = ws_hdr_parse(&h, p + at, len - at, &why)) > 0 &&
	    h.len <= len - at - (size_t)n) {
		on_message(s, h.opcode, p + at + n, (size_t)h.len);
		at += (size_t)n + (size_t)h.len;
	}
	if (n < 0)
		lost(s, "WebSocket", why);
	return at;
}

static void
receive(struct session *s, uint8_t *in)
{
	size_t len = s->nkept, at;
	ssize_t n;

	if (len > 0)
		memcpy(in, s->kept, len);
	/* over TLS, too, all that has come: it is never so much */
	n = conn_read(&s->conn, in + len, READ_MAX - len);
	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0)
		lost(s, "read", n == 0 ? "the daemon closed the connection" : strerror(errno));
	free(s->kept);
	s->kept = NULL;
	len += (size_t)n;
	at = take(s, in, len);
	s->nkept = len - at;
	if (s->nkept == READ_MAX)
		lost(s, "WebSocket", "a frame too long");
	if (s->nkept > 0) {
		s->kept = allocate(s->nkept);
		memcpy(s->kept, in + at, s->nkept);
	}
}

static void *
run(void *arg)
{
	struct group *g = arg;
	long i;

	for (;;) {
		for (; g->begun < g->count && g->begun - g->ready < OPENING_MAX; g->begun++) {
			begin(g, &g->session[g->begun], g->session[0].number + g->begun);
			g->pfd[g->begun].fd = g->session[g->begun].conn.fd;
			g->pfd[g->begun].events = POLLIN;
		}
		if (poll(g->pfd, (nfds_t)g->begun, -1) == -1)
			continue;
		for (i = 0; i < g->begun; i++)
			if (g->pfd[i].revents != 0)
				receive(&g->session[i], g->in);
	}
	return NULL;
}

/* What a thread or a signal tells; the end of input (-1: none is read) is 'q' too. */
static char
hear(int input)
{
	struct pollfd p[2] = { { input, POLLIN, 0 }, { conf.told[0], POLLIN, 0 } };
	char what;

	for (;;) {
		if (poll(p, 2, -1) == -1)
			continue;
		if (p[1].revents != 0 && read(conf.told[0], &what, 1) == 1)
			return what;
		if (p[0].revents != 0 && read(input, &what, 1) <= 0)
			return 'q';
	}
}

/* Open the sessions, one group after the other, and wait for the end. */
static void
serve(struct group **group, long ngroups)
{
	long i;

	for (i = 0; i < ngroups; i++) {
		group[i] = allocate(sizeof(*group[i]));
		group[i]->session[0].number = i * GROUP;
		group[i]->count = i < ngroups - 1 ? GROUP : conf.count - i * GROUP;
		if ((errno = thread_start(STACK, run, group[i])) != 0)
			die("sessions", "thread", strerror(errno));
		if (hear(-1) == 'q')
			return;
	}
	printf("ready %ld\n", conf.count);
	fflush(stdout);
	hear(STDIN_FILENO);
}

/* Nobody is to be fooled here. */
static struct tls_client *
trust_all(void)
{
	struct tls_trust trust = { 0 };
	struct tls_client *tls;
	char why[TLS_WHY_MAX];

	trust.insecure = 1;
	if ((tls = tls_client_new(&trust, why)) == NULL)
		die("sessions", "-t", why);
	return tls;
}

static void
options(int argc, char **argv)
{
	int ch, bad = 0, tls = 0;

	conf.count = 10000;
	conf.prefix = "s";
	while ((ch = getopt(argc, argv, "n:p:t")) != -1) {
		if (ch == 'n')
			bad |= opt_number(optarg, 1, COUNT_MAX, &conf.count);
		else if (ch == 'p')
			conf.prefix = optarg;
		else if (ch == 't')
			tls = 1;
		else
			bad = 1;
	}
	if (bad || optind != argc - 1 || strlen(conf.prefix) > 50) {
		fprintf(stderr, "usage: sessions [-n COUNT] [-p PREFIX] [-t] ADDR:PORT\n");
		exit(2);
	}
	conf.addr = argv[optind];
	if (tls)
		conf.tls = trust_all();
	if ((conf.token = getenv("TUNNEL_TOKEN")) == NULL)
		die("sessions", "TUNNEL_TOKEN", "is not set");
}

int
main(int argc, char **argv)
{
	static const uint8_t normal[] = { WS_NORMAL >> 8, WS_NORMAL & 0xff };
	static struct group *group[COUNT_MAX / GROUP + 1];
	uint8_t out[WS_HDR_MAX + SEND_MAX];
	struct sigaction sa = { 0 };
	struct iovec iov;
	size_t n;
	long i, k;

	options(argc, argv);
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	if (pipe(conf.told) == -1 || random_bytes(conf.mask, sizeof(conf.mask)) == -1)
		die("sessions", "start", strerror(errno));
	sa.sa_handler = on_signal;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	close(target_find(&conf.target, "sessions", conf.addr));
	serve(group, (conf.count + GROUP - 1) / GROUP);
	pthread_mutex_lock(&ending);
	/* a close each, since the daemon keeps the names of sessions that are just lost */
	n = write_ws(out, WS_CLOSE, normal, sizeof(normal));
	iov.iov_base = out;
	iov.iov_len = n;
	for (i = 0; group[i] != NULL; i++)
		for (k = 0; k < group[i]->begun; k++)
			if (conn_writev(&group[i]->session[k].conn, &iov, 1) == -1)
				continue;	/* nobody is left to be told */
	_exit(0);
}
