/*
 * ssh.h: SSH's connection protocol (RFC 4254) over any byte stream: channels as streams, and global requests, both roles.
 *
 * One reader thread feeds ssh_input; everybody else writes. What is to be sent waits here in the clear, within bounds, until whoever
 * writes to the connection asks for it with ssh_output: so packets are encrypted in the order in which they go out, and a key exchange
 * holds back all others. Channels take turns, a packet each.
 * Lock order: stream, carrier, ssh. No callback runs under the ssh's lock.
 *
 * SSH knows no reset: the other side's CLOSE is told as fin, and from then on writes fail with ESHUTDOWN.
 * Our stream_reset is a CLOSE that overtakes what was queued. After the CLOSE nothing is sent on a channel.
 */
#ifndef SSH_H
#define SSH_H

#include <pthread.h>

#include "budget.h"
#include "sshtrans.h"
#include "stream.h"

enum {
	SSH_WINDOW = 2 * 1024 * 1024,	/* a usual one, bytes */
	SSH_OUTPUT_MIN = SSH_PACKET_ROOM,	/* room that ssh_output needs */
	SSH_REQUEST_MAX = 16384,	/* payload of a request of ours, or a reply, bytes */
	SSH_REPLIES_MAX = 256 * 1024	/* requests and replies that wait to go out, bytes */
};

struct ssh;

struct ssh_ops {		/* the user's: in the reader, no lock held */
	int (*host_key)(void *arg, struct str blob);	/* client: 1 if it is the server's */
	int (*auth)(void *arg, struct str user, struct str blob);	/* server: 1 to let user in with this key, if it proves to be his; empty: without any */
	void (*ready)(void *arg);	/* authenticated */
	/*
	 * The other side opens a channel. 0: the user has a reference, has set ops and arg, and calls ssh_confirm or
	 * ssh_refuse, now or later; else the reason for refusing it (enum ssh_open_reason).
	 */
	int (*open)(void *arg, struct stream *, struct str type, struct str data);
	int (*request)(void *arg, struct stream *, struct str type, struct str data);	/* a channel request: 1 if granted. The user may have left the stream */
	void (*global)(void *arg, struct str name, struct str data, int want_reply);	/* a global one: if it wants a reply, ssh_reply, in turn */
	void (*reply)(void *arg, int ok, struct str data);	/* to ssh_request, in turn */
};

struct ssh_conf {
	struct sshtrans_conf trans;
	int channels_max;		/* open at once */
	uint32_t window;		/* bytes a channel's other side may be ahead of what was delivered */
	uint32_t window_more;		/* and so many more, while the budget has them; NULL: none */
	struct budget *budget;
};

/* Holds one reference. NULL: no memory, no random numbers. conf is copied, what it points to is not. */
struct ssh *ssh_new(const struct ssh_conf *, const struct ssh_ops *, void *arg);
/* kick is called, by any thread, when there is output: it must not block. */
void ssh_attach(struct ssh *, void (*kick)(void *), void *carrier);
void *ssh_carrier(struct ssh *);
void ssh_unref(struct ssh *);

/*
 * The reader: bytes that have come, the callee's to change. 0; or a reason (enum ssh_reason) negated, and *why: ssh_disconnect with
 * both, and end the connection. It does not kick: its caller sends what there is before it sleeps.
 */
int ssh_input(struct ssh *, uint8_t *buf, size_t len, const char **why);

int ssh_failed(struct ssh *);		/* the reader: what ssh_input has answered, not negated; 0: nothing but 0 */

/* Whoever writes, one at a time: bytes to be sent, at most cap (SSH_OUTPUT_MIN or more). Their number; *more: that was not all. */
size_t ssh_output(struct ssh *, uint8_t *buf, size_t cap, int *more);
int ssh_pending(struct ssh *);		/* 1: there is output */
int ssh_said_bye(struct ssh *);		/* 1: after ssh_disconnect, when there is none left */

/* The reader, when the connection has ended: every stream is reset, every writer returns. */
void ssh_end(struct ssh *);

int ssh_ready(struct ssh *);		/* authenticated */
enum sshtrans_phase ssh_phase(struct ssh *);	/* how far it has come */
int ssh_forged(struct ssh *);		/* server, the reader's: a known key was named, and the signature was not its */
int ssh_left(struct ssh *);		/* the reader's: the other side has sent DISCONNECT */
/*
 * Before the first channel is open: the other side is Go's SSH. Its programs end a channel both ways at EOF, so none is sent: what ends a
 * channel then is CLOSE, when the user leaves the stream. And UNIMPLEMENTED would end all: what is not known ends the connection in order.
 */
void ssh_for_go(struct ssh *);
const char *ssh_peer(struct ssh *);	/* its identification string, "" before it came; the network's bytes. The reader's */
const char *ssh_user(struct ssh *);	/* server, once ready: who was let in; the network's bytes */
struct str ssh_user_key(struct ssh *);	/* likewise: with which key, a blob; empty: without */
int ssh_channels(struct ssh *);		/* open ones */

/*
 * A channel of ours, which the other side has not heard of: the caller has a reference, sets ops and arg under its mtx, and then has it
 * opened by ssh_ask. NULL with errno: EPIPE (ended), EMFILE (channels_max), ENOMEM.
 */
struct stream *ssh_open(struct ssh *);
void ssh_tally(struct stream *, uint64_t *tally);	/* before ssh_ask: count its bytes, from the other side and to it, until the user leaves it */
void ssh_tally_copy(struct ssh *, const uint64_t from[2], uint64_t to[2]);	/* while they are counted */
/*
 * Send CHANNEL_OPEN; data follows the standard fields. Writes find the window shut until it is confirmed, when writable is called; if it is
 * refused, it is reset. 0, or -1: too much waits to go out, or the end; then reset it. Never blocks.
 */
int ssh_ask(struct stream *, const char *type, const void *data, size_t len);
void ssh_confirm(struct stream *);		/* never blocks; its mtx may be held */
void ssh_refuse(struct stream *, enum ssh_open_reason, const char *text);	/* then leave it */

/* Never block; any thread. -1: too much waits to go out, or the end. */
int ssh_request(struct ssh *, const char *name, int want_reply, const void *data, size_t len);
int ssh_reply(struct ssh *, int ok, const void *data, size_t len);
int ssh_channel_request(struct stream *, const char *type, int want_reply, const void *data, size_t len);

void ssh_rekey(struct ssh *);		/* new keys, now */
void ssh_disconnect(struct ssh *, int reason, const char *text);	/* the last that goes out */

#endif
