/* command.c: tunneld's commands: token, status, stop; see tunneld.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bifrosttoken.h"
#include "clock.h"
#include "control.h"
#include "file.h"
#include "tunneld.h"

enum { IMPORT_MAX = 16 << 20 };

/* Where it listens, "http://ADDR" or https, a running daemon knows best. text stays as it is if none runs. */
static void
ask_address(const struct conf *c, char *text, size_t cap)
{
	char line[NET_ADDR_MAX + 10];
	int fd[2];
	ssize_t n;

	if (pipe(fd) == -1)
		return;
	n = control_ask(c->state, "listening\n", fd[1]) == 0 ? read(fd[0], line, sizeof(line) - 1) : 0;
	close(fd[0]);
	close(fd[1]);
	if (n <= 0)
		return;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	opt_copy(text, cap, line);
}

void
print_client_line(struct conf *c, const char *token)
{
	char host[NET_HOST_MAX], port[6], text[NET_HOST_MAX + 20];
	int i = 0, tls;

	printf("client: tunnel use ");
	if (c->d.url[0] != '\0')
		printf("%s", c->d.url);
	else {
		while (i < c->nlisten - 1 && !c->tls[i])
			i++;
		if (!c->tls[i])
			i = 0;
		snprintf(text, sizeof(text), "%s://%s", c->tls[i] ? "https" : "http", c->listen[i]);
		ask_address(c, text, sizeof(text));
		tls = strncmp(text, "https://", 8) == 0;
		net_split(text + (tls ? 8 : 7), host, port);
		if (c->d.domain[0] != '\0')
			opt_copy(host, sizeof(host), c->d.domain);
		else if (host[0] == '\0' || strcmp(host, "*") == 0 ||
		    strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
			opt_copy(host, sizeof(host), "127.0.0.1");
		printf(strchr(host, ':') != NULL ? "%s://[%s]" : "%s://%s", tls ? "https" : "http", host);
		if (strcmp(port, tls ? "443" : "80") != 0)
			printf(":%s", port);
	}
	printf(" %s\n", token);
}

static int
token_issue(int argc, char **argv)
{
	char text[TOKEN_LEN + 1], why[300];
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	const char *wrong;
	struct token t;
	struct conf c;
	int dir;

	options(&c, OPTIONS_ISSUE, argc, argv, 0);
	if ((c.scope[0] != '\0') == c.global)
		die(EXIT_USAGE, "token issue needs --scope NAME or --global, one of the two");
	if (c.global)
		opt_copy(c.scope, sizeof(c.scope), "*");
	if (scope_check(c.scope, &wrong) == -1)
		die(EXIT_USAGE, "--scope: '%.60s' %s", c.scope, wrong);
	if (!tokens_note_ok(c.note))
		die(EXIT_USAGE, "--note: the text has controls, or is no UTF-8, or is too long");
	dir = open_state(&c, 1);
	if (store_issue(dir, c.scope, now, c.expires_ms == 0 ? 0 : now + c.expires_ms / 1000,
	    c.note, &t, text, why, sizeof(why)) == -1)
		die(1, "%s/%s", c.state, why);
	printf("id: %s\nscope: %s\ntoken: %s\n", t.id, t.scope, text);
	print_client_line(&c, text);
	wipe(text, sizeof(text));
	close(dir);
	return 0;
}

static void
print_day(const char *name, int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;
	char text[32];

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf(" %s=%s", name, when == 0 ? "never" : text);
}

static int
token_list(int argc, char **argv)
{
	struct store s = { NULL, 0 };
	char why[300];
	struct conf c;
	size_t i;
	int dir;

	options(&c, OPTIONS_PLAIN, argc, argv, 0);
	dir = open_state(&c, 0);
	if (store_load(&s, dir, why, sizeof(why)) == -1)
		die(1, "%s/%s", c.state, why);
	for (i = 0; i < s.n; i++) {
		printf("id=%s scope=%s", s.token[i].id, s.token[i].scope);
		print_day("created", s.token[i].created);
		print_day("expires", s.token[i].expires);
		printf(" note=%s\n", s.token[i].note);
	}
	store_free(&s);
	close(dir);
	return 0;
}

static int
token_revoke(int argc, char **argv)
{
	char why[300];
	struct conf c;
	int dir, rc;

	options(&c, OPTIONS_PLAIN, argc, argv, 1);
	dir = open_state(&c, 0);
	if ((rc = store_revoke(dir, argv[0], why, sizeof(why))) == -1)
		die(1, "%s/%s", c.state, why);
	if (rc == 0)
		die(1, "no token has the id '%.60s'; see tunneld token list", argv[0]);
	printf("revoked: %s\n", argv[0]);
	close(dir);
	return 0;
}

/* Take over bifrost's tokens: its file has hashes only, and so has ours. */
static int
token_import(int argc, char **argv)
{
	struct token *t;
	struct conf c;
	char *text = NULL, why[300];
	const char *wrong;
	size_t len = 0, n, entry;
	long added;
	int fd, dir;

	options(&c, OPTIONS_PLAIN, argc, argv, 1);
	if ((fd = open(argv[0], O_RDONLY | O_CLOEXEC)) == -1 || file_read(fd, IMPORT_MAX, &text, &len) == -1)
		die(1, "%s: %s", argv[0], strerror(errno));
	close(fd);
	if (bifrost_tokens(text, len, &t, &n, &entry, &wrong) == -1) {
		if (entry > 0)
			die(1, "%s: entry %lu %s", argv[0], (unsigned long)entry, wrong);
		die(1, "%s: %s", argv[0], wrong);
	}
	dir = open_state(&c, 1);
	if ((added = store_add(dir, t, n, why, sizeof(why))) == -1)
		die(1, "%s/%s", c.state, why);
	printf("imported: %ld, there already: %ld\n", added, (long)n - added);
	free(t);
	free(text);
	close(dir);
	return 0;
}

static int
ask(int argc, char **argv, int stop)
{
	struct conf c;

	options(&c, stop ? OPTIONS_PLAIN : OPTIONS_STATUS, argc, argv, 0);
	if (control_ask(c.state, stop ? "stop\n" : c.json ? "status json\n" : "status\n", 1) == -1) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			die(1, "no daemon runs with state folder %s", c.state);
		if (errno == EAGAIN || errno == ETIMEDOUT)
			die(1, "the daemon with state folder %s does not answer; is it stopped, or being taken over?", c.state);
		die(1, "%s/control: %s", c.state, strerror(errno));
	}
	return 0;
}

int
command(int argc, char **argv)
{
	if (strcmp(argv[0], "status") == 0)
		return ask(argc, argv, 0);
	if (strcmp(argv[0], "stop") == 0)
		return ask(argc, argv, 1);
	if (strcmp(argv[0], "completion") == 0)
		return completion(argc == 2 ? argv[1] : "");
	if (strcmp(argv[0], "jwt") == 0)
		return jwt_command(argc, argv);
	if (strcmp(argv[0], "token") != 0)
		die(EXIT_USAGE, "unknown word '%.60s'; see tunneld --help", argv[0]);
	if (argc > 1 && strcmp(argv[1], "issue") == 0)
		return token_issue(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "list") == 0)
		return token_list(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "revoke") == 0)
		return token_revoke(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "import") == 0)
		return token_import(argc - 1, argv + 1);
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		usage();
	if (argc > 1)
		die(EXIT_USAGE, "unknown word '%.60s' after token; see tunneld --help", argv[1]);
	die(EXIT_USAGE, "token is followed by issue, list, revoke or import; see tunneld --help");
	return EXIT_USAGE;
}
