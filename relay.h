/*
 * relay.h: /relay: a WebSocket whose bytes go to a TCP service that rules allow, in wsproxy's manner. It runs on the caller's
 * thread, from the request to the end of both connections.
 */
#ifndef RELAY_H
#define RELAY_H

#include <stdint.h>

struct caller;
struct relays;

/* A request for /relay. On return it was answered, or the connection was used up and c->close says so. */
void relay_serve(struct caller *);

/* Those that run. Any thread may use it. */
struct relays *relays_new(void);	/* NULL: no memory */
void relays_free(struct relays *);	/* when none runs; of NULL nothing */
int relays_running(struct relays *);	/* NULL: 0 */
void relays_look(struct relays *);	/* each is to see whether it may go on: credentials have changed, or the daemon stops */
void relays_tick(struct relays *, int64_t now);	/* those whose credential has expired by now (seconds) */

#endif
