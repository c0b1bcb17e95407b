/* runner.c: the client's life: signals, --run, --wait; see cli.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

enum {
	LOOK_MS = 100,		/* how often --run looks for its port */
	WAIT_MS = 500,		/* and --wait for its targets */
	KILL_MS = 5000		/* from SIGTERM to SIGKILL for --run's command */
};

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
	unsetenv("TUNNEL_AUTH");
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
	char why[CLI_WHY_MAX];
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

/* A signal has come that asks to stop; it stays pending. */
static int
asked_to_stop(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) || sigismember(&pending, SIGHUP);
}

/* "http://a, http://b": the targets from i on where nothing listens. */
static void
list_missing(const struct tunnels *ts, int i, char *out, size_t cap)
{
	char text[TARGET_SIZE];
	size_t n = 0;

	for (; i < ts->n && n + TARGET_SIZE + 8 < cap; i++) {
		if (n > 0 && tunnel_probe(ts->t[i].target))
			continue;
		show_target(text, sizeof(text), ts->t[i].target);
		n += (size_t)snprintf(out + n, cap - n, "%s%s", n > 0 ? ", " : "", text);
	}
	if (i < ts->n)
		snprintf(out + n, cap - n, ", ...");
}

/* Wait until something accepts at every target: 0; -1 if the command (0: none) ended or a signal came first. */
static int
await_targets(const struct conf *c, pid_t pid, int *status, int *ended)
{
	char text[CLI_WHY_MAX];
	int i, told = 0;

	for (i = 0; i < c->tunnels.n; i++)
		while (!tunnel_probe(c->tunnels.t[i].target)) {
			if (pid != 0 && command_ended(pid, status)) {
				*ended = 1;
				return -1;
			}
			if (c->wait && !told++) {
				list_missing(&c->tunnels, i, text, sizeof(text));
				show_line("waiting until something listens at %s", text);
			}
			if (asked_to_stop())
				return -1;
			poll(NULL, 0, pid != 0 ? LOOK_MS : WAIT_MS);
			if (asked_to_stop())
				return -1;
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

/* Start --run's command, if there is one, and wait for the targets as asked. 0; -1: it is over. */
static int
prepare(const struct conf *c, pid_t *pid, int *status, int *ended)
{
	char host[256], port[8] = "", why[CLI_WHY_MAX];
	const char *target = c->tunnels.t[0].target;

	if (c->run[0] != '\0') {
		tunnel_target(target, host, sizeof(host), port, sizeof(port), why, sizeof(why));
		*pid = start_command(c->run, port);
	}
	if (*pid == 0 && !c->wait)
		return 0;
	if (await_targets(c, *pid, status, ended) == 0)
		return 0;
	if (*pid != 0)
		stop_command(*pid, *ended);
	return -1;
}

int
runner(const struct conf *c)
{
	char why[CLI_WHY_MAX];
	struct runner r;
	pthread_t thread;
	sigset_t set;
	pid_t pid = 0;
	int status = 0, ended = 0;

	block_signals(&set);
	r.client = new_client(c);
	r.done = 0;
	pthread_mutex_init(&r.mtx, NULL);
	if (prepare(c, &pid, &status, &ended) == -1) {
		tunnel_free(r.client);
		if (ended)
			die(TUNNEL_FAILED, "the command ended before it listened at %s", c->tunnels.t[0].target);
		return TUNNEL_STOPPED;
	}
	if (pthread_create(&thread, NULL, run_client, &r) != 0)
		die(TUNNEL_FAILED, "no thread can be had");
	supervise(&set, &r, pid, &status, &ended);
	pthread_join(thread, NULL);
	if (pid != 0)
		stop_command(pid, ended);
	tunnel_free(r.client);
	if (r.end != TUNNEL_STOPPED && show_said_lost())
		return (int)r.end;
	if (r.end != TUNNEL_STOPPED) {
		escape(why, sizeof(why), r.why);	/* the daemon may have had a word in it */
		die((int)r.end, "%s", why);
	}
	return ended && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) ?
	    TUNNEL_FAILED : TUNNEL_STOPPED;
}
