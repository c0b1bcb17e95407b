/*
 * expose.c: a program that serves HTTP to the internet without a port of its own: requests come through libtunnel.
 *
 *	cc -o expose expose.c $(pkg-config --cflags --libs libtunnel)
 *	TUNNEL_TOKEN=tn_... ./expose https://tunnel.example.com hello
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tunnel.h>

enum { HEAD_MAX = 16384, WAIT_MS = 30000 };

/* Read a request's head, and answer it. A real service would understand it. */
static void *
serve(void *arg)
{
	static const char page[] = "hello from a program without a port\n";
	int fd = (int)(intptr_t)arg;
	char in[HEAD_MAX + 1], out[256];
	size_t len = 0;
	ssize_t n;

	in[0] = '\0';
	while (strstr(in, "\r\n\r\n") == NULL && len < HEAD_MAX) {
		if ((n = read(fd, in + len, HEAD_MAX - len)) <= 0)
			break;
		len += (size_t)n;
		in[len] = '\0';
	}
	if (strstr(in, "\r\n\r\n") != NULL) {
		n = snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
		    "Connection: close\r\n\r\n%s", sizeof(page) - 1, strncmp(in, "HEAD ", 5) == 0 ? "" : page);
		send(fd, out, (size_t)n, MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

/* A connection for us: it must not be served here, on the library's thread. */
static void
on_accept(void *arg, int i, int fd, const char *peer)
{
	pthread_t t;

	(void)arg;
	(void)i;
	(void)peer;
	if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) != 0)
		close(fd);
	else
		pthread_detach(t);
}

static void
on_log(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	fputs(line, stderr);
}

/* Wait for a signal, on a thread of its own, and close. */
static void *
await_signal(void *arg)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigwait(&set, &sig);
	tunnel_close(arg);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct tunnel_options o;
	struct tunnel_events events;
	struct tunnel_spec spec;
	struct tunnel_client *c;
	enum tunnel_end end;
	char why[512], url[1500];
	pthread_t t;
	sigset_t set;
	int i;

	if (argc != 3 || getenv("TUNNEL_TOKEN") == NULL) {
		fprintf(stderr, "usage: TUNNEL_TOKEN=... expose ENDPOINT NAME\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	memset(&o, 0, sizeof(o));
	o.endpoint = argv[1];
	o.token = getenv("TUNNEL_TOKEN");
	memset(&events, 0, sizeof(events));
	events.log = on_log;
	if ((c = tunnel_new(&o, &events, NULL, why, sizeof(why))) == NULL) {
		fprintf(stderr, "expose: %s\n", why);
		return 2;
	}
	if (pthread_create(&t, NULL, await_signal, c) != 0)
		return 1;
	memset(&spec, 0, sizeof(spec));
	spec.name = argv[2];
	spec.accept = on_accept;
	if (tunnel_connect(c, WAIT_MS, why, sizeof(why)) == -1 || (i = tunnel_listen(c, &spec, why, sizeof(why))) == -1 ||
	    tunnel_ready(c, i, WAIT_MS, url, sizeof(url), why, sizeof(why)) == -1) {
		fprintf(stderr, "expose: %s\n", why);
		tunnel_close(c);
	} else {
		printf("%s\n", url);
		fflush(stdout);
	}
	end = tunnel_run(c, why, sizeof(why));
	if (end != TUNNEL_STOPPED)
		fprintf(stderr, "expose: %s\n", why);
	pthread_kill(t, SIGTERM);	/* which it waits for, if none has come */
	pthread_join(t, NULL);
	tunnel_free(c);
	return (int)end;
}
