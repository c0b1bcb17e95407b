/* sshterm_test.c: lines on a session channel whose other side is slow, presses keys, or leaves. */
#include "../sshterm.h"
#include "sshrig.h"

enum { SHOWN = 1 << 17 };

static struct sshterm term;
static char shown[SHOWN];	/* what the peer's user sees */
static size_t nshown;
static char order[NOTED + 1];	/* the messages behind it: 'r'equest, 'e'of, 'c'lose */
static size_t norder;
static int quits;

static void
note(char c)
{
	if (norder < NOTED)
		order[norder++] = c;
	order[norder] = '\0';
}

static void
hook(const uint8_t *msg, size_t n)
{
	if (msg[0] == SSH_CHANNEL_DATA && n >= 9 && nshown + n - 9 < SHOWN) {
		memcpy(shown + nshown, msg + 9, n - 9);
		nshown += n - 9;
		shown[nshown] = '\0';
	} else if (msg[0] == SSH_CHANNEL_REQUEST)
		note('r');
	else if (msg[0] == SSH_CHANNEL_EOF)
		note('e');
	else if (msg[0] == SSH_CHANNEL_CLOSE)
		note('c');
}

static void
on_quit(void *arg)
{
	quits++;
	sshterm_exit(arg, 0, 1);
}

/* A session with a window of so many bytes, shown. */
static void
session(uint32_t window, int pty)
{
	char text[64];

	begin(WINDOW);
	peer_hook = hook;
	nshown = norder = 0;
	shown[0] = order[0] = '\0';
	quits = 0;
	sshterm_init(&term, on_quit, &term);
	sshterm_line(&term, "nobody is there");
	snprintf(text, sizeof(text), "5a0000000773657373696f6e00000000%08x00008000", (unsigned)window);
	check(say_hex(text) == 0 && sshterm_open(&term, asked.s) == 0, "opened", 0);
	check(sshterm_is(&term, asked.s) && !sshterm_shown(&term), "its own", 0);
	if (pty)
		sshterm_pty(&term);
	sshterm_line(&term, "nobody looks");
	sshterm_show(&term);
	talk();
	check(sshterm_shown(&term) && nshown == 0, "nothing before", nshown);
}

static void
done(void)
{
	sshterm_over(&term);
	sshterm_line(&term, "nobody is left");
	sshterm_exit(&term, 1, 0);
	talk();
	end();
	sshterm_over(&term);
	sshterm_free(&term);
}

static void
test_lines(void)
{
	static const char *const want[] = { "one\n\n", "one\r\n\r\n" };
	int pty;

	for (pty = 0; pty < 2; pty++) {
		session(WINDOW, pty);
		sshterm_line(&term, "one");
		sshterm_line(&term, "");
		talk();
		check(strcmp(shown, want[pty]) == 0, "lines", (size_t)pty);
		sshterm_hint(&term, "keys");
		talk();
		check((strstr(shown, "keys") != NULL) == pty, "a hint", (size_t)pty);
		sshterm_exit(&term, 1, 0);
		talk();
		check(strcmp(order, "rec") == 0, order, (size_t)pty);
		done();
	}
}

/* What does not fit is left out as whole lines, counted, and told once there is room again. */
static void
test_slow(void)
{
	char line[64], *p;
	unsigned n = 0, at, missed;
	int more;

	session(10, 1);
	for (n = 0; n < 1000; n++) {
		snprintf(line, sizeof(line), "line %u of those that are too many", n);
		sshterm_line(&term, line);
	}
	talk();
	check(nshown == 10, "as much as the window takes", nshown);
	check(say_hex("5d0000000000010000") == 0, "the window opens", 0);
	for (p = shown, at = 0; sscanf(p, "line %u of those that are too many\r\n%n", &n, &more) == 1 && n == at; at++)
		p = strchr(p, '\n') + 1;
	check(at > 300 && at < 1000, "whole lines, in order", at);
	check(sscanf(p, "(%u requests not shown)\r\n", &missed) == 1 && missed == 1000 - at, "the rest is counted", at);
	check(strchr(p, '\n')[1] == '\0', "and told once", 0);
	sshterm_line(&term, "last");
	talk();
	check(strcmp(strchr(p, '\n') + 1, "last\r\n") == 0, "then it goes on", 0);
	done();
}

/* Nobody takes anything from the connection: what waits in the channel is bounded, too. */
static void
test_stuck(void)
{
	static char line[1001];
	int i;

	session(1 << 30, 0);
	memset(line, 'x', sizeof(line) - 1);
	for (i = 0; i < 1000; i++)
		sshterm_line(&term, line);
	check(term.missed > 0 && term.len < SSHTERM_QUEUE, "some are left out", term.missed);
	talk();
	nshown = 0;
	sshterm_line(&term, "last");
	talk();
	check(strstr(shown, " requests not shown)\nlast\n") != NULL, "the rest is counted", 0);
	done();
}

static void
test_keys(void)
{
	static const char *const keys[] = { "03", "04", "71", "6162630378" };
	char text[64];
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(text, sizeof(text), "5e00000000%08x%s", (unsigned)strlen(keys[i]) / 2, keys[i]);
		session(WINDOW, 0);
		check(say_hex(text) == 0 && quits == 0 && norder == 0, "without a terminal they are none", i);
		check(say_hex("6000000000") == 0 && norder == 0, "nor is the end of them", i);
		done();
		session(WINDOW, 1);
		check(say_hex("5e0000000000000002610d") == 0 && quits == 0, "other keys", i);
		check(say_hex(text) == 0 && quits == 1, "a key", i);
		check(strcmp(order, "rec") == 0, order, i);
		check(say_hex(text) == 0 && quits == 1, "only once", i);
		done();
	}
}

/* The client closes the channel, or the connection goes. */
static void
test_ends(void)
{
	session(WINDOW, 1);
	check(say_hex("6100000000") == 0 && strcmp(order, "c") == 0, "a CLOSE is answered", norder);
	check(!sshterm_shown(&term), "nobody looks any more", 0);
	check(say_hex("5a0000000773657373696f6e000000010010000000008000") == 0 && sshterm_open(&term, asked.s) == 0, "another", 0);
	check(say_hex("5a0000000773657373696f6e000000020010000000008000") == 0, "and one more", 0);
	check(sshterm_open(&term, asked.s) == SSH_OPEN_SHORTAGE, "is one too many", 0);
	ssh_refuse(asked.s, SSH_OPEN_SHORTAGE, "one at a time");
	stream_leave(asked.s);
	done();
	session(10, 1);
	sshterm_line(&term, "a line that cannot be written");
	ssh_end(ssh);
	check(!sshterm_shown(&term), "over", 0);
	done();
}

int
main(void)
{
	rig_init();
	test_lines();
	test_slow();
	test_stuck();
	test_keys();
	test_ends();
	return test_end();
}
