/* sshlink.c: an SSH connection over a WebSocket; see sshlink.h. */
#include "sshlink.h"

static int
input(void *arg, uint8_t opcode, uint8_t *buf, size_t len, int fin, const char **why)
{
	int rc = ssh_input(arg, buf, len, why);

	(void)opcode;		/* nor does it matter how messages cut the bytes */
	(void)fin;
	if (rc == 0)
		return 0;
	if (ssh_said_bye(arg))	/* the other side has: an orderly end */
		return -WS_NORMAL;
	ssh_disconnect(arg, -rc, *why);
	return -WS_PROTOCOL_ERROR;
}

static size_t
owed(void *arg, uint8_t *buf, size_t cap, int64_t rtt_us, int *more)
{
	(void)rtt_us;
	return ssh_output(arg, buf, cap, more);
}

static void
idle(void *arg)
{
	if (ssh_pending(arg))
		link_owe_later(ssh_carrier(arg));
}

const struct link_ops sshlink_ops = { input, owed, idle };

static void
kick(void *link)
{
	link_owe(link);
}

void
sshlink_attach(struct ssh *s, struct link *l)
{
	ssh_attach(s, kick, l);
}
