/* login.c: whom a caller's credential makes of it; see login.h. */
#include <stdio.h>

#include "backoff.h"
#include "caller.h"
#include "clock.h"
#include "jwt.h"
#include "log.h"
#include "login.h"

const char login_later[] = "too many failed logins from this address";

int
login_waits(struct caller *c)
{
	struct addr a;
	long ms;

	caller_address(c, &a);
	ms = backoff_wait(c->d->logins, &a, clock_ms(CLOCK_STEADY));
	c->retry = (ms + 999) / 1000;
	return ms > 0;
}

void
login_tell(const char *peer, long ms)
{
	char seconds[24];

	snprintf(seconds, sizeof(seconds), "%ld", ms / 1000);
	log_line(LOG_WARN, "logins_failing", "peer", peer, "wait", seconds, (char *)NULL);
}

void
login_failed(struct caller *c, const struct str *credential)
{
	struct addr a;
	long ms;

	caller_address(c, &a);
	ms = backoff_failed(c->d->logins, &a, credential->p, credential->len, clock_ms(CLOCK_STEADY));
	if (ms > 0)
		login_tell(c->peer, ms);
}

int
login_check(struct caller *c, const struct str *credential, int scopeless, struct identity *who)
{
	int status, waits = login_waits(c);

	/* our own tokens cannot be guessed, and cost one look: no stranger keeps out others who share an address with him */
	if (waits && c->d->jwt != NULL && jwt_shaped(credential->p, credential->len))
		return 429;
	status = daemon_auth(c->d, credential, scopeless, c->peer, who);
	if (status != 401)
		return status;
	if (waits)
		return 429;
	login_failed(c, credential);
	return 401;
}

int
login_bearer(struct caller *c, struct identity *who)
{
	struct str credential;

	return auth_bearer(http_field(&c->head, "Authorization"), &credential) ? login_check(c, &credential, 0, who) : 401;
}
