/* agentvtunnel_none.c: no vtunnel, in a build without SSH; see agentvtunnel.c. */
#include <stdio.h>

#include "agent.h"

static const char needs[] = "needs a build with SSH = yes";

static int
take(struct tunnel_client *c, const struct tunnel_options *o, const char **why)
{
	(void)c;
	(void)o;
	*why = needs;
	return -1;
}

const struct agent_dialect agent_vtunnel = { .name = "vtunnel", .server = "vtunnel server", .own_path = "", .tokenless = 1, .take = take };

int
tunnel_keygen(char priv[TUNNEL_PRIV_LEN + 1], char pub[TUNNEL_PUB_LEN + 1], char *why, size_t whylen)
{
	(void)priv;
	(void)pub;
	snprintf(why, whylen, "a key of vtunnel's %s", needs);
	return -1;
}
