/* relaycmd.c: tunnel relay: a target's bytes on standard input and output; see cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int stop[2];		/* a signal writes to stop[1] */

static void
on_signal(int number)
{
	int saved = errno;
	ssize_t n;

	(void)number;
	n = write(stop[1], "", 1);
	(void)n;
	errno = saved;
}

static void
take_signals(void)
{
	static const int number[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction act;
	size_t i;

	if (pipe(stop) == -1 || fcntl(stop[1], F_SETFL, O_NONBLOCK) == -1)
		die(TUNNEL_FAILED, "pipe: %s", strerror(errno));
	memset(&act, 0, sizeof(act));
	act.sa_handler = on_signal;
	act.sa_flags = (int)SA_RESETHAND;	/* asked twice: at once */
	for (i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		sigaction(number[i], &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int
relay_command(const struct conf *c, const char *host, const char *port)
{
	char why[CLI_WHY_MAX], text[CLI_WHY_MAX];
	const char *pins[PINS_MAX];
	struct tunnel_options o;
	struct tunnel_relay to;
	enum tunnel_end end;
	long number;

	if (opt_number(port, 1, 65535, &number) == -1)
		die(TUNNEL_USAGE, "'%.100s' is no port: a number from 1 to 65535", port);
	memset(&o, 0, sizeof(o));
	memset(&to, 0, sizeof(to));
	o.endpoint = c->endpoint;
	o.token = c->token;
	o.ca = c->ca[0] != '\0' ? c->ca : NULL;
	choose_proxy(c, &o);
	give_pins(c, &o, pins);
	take_signals();
	to.host = host;
	to.port = (int)number;
	to.in = 0;
	to.out = 1;
	to.stop = stop[0];
	to.over = isatty(0);
	end = tunnel_relay(&o, &to, why, sizeof(why));
	if (end == TUNNEL_STOPPED)
		return 0;
	escape(text, sizeof(text), why);	/* the daemon may have had a word in it */
	die((int)end, "%s", text);
	return 1;
}
