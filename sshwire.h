/*
 * sshwire.h: SSH's data types (RFC 4251, 5), identification line and binary packets (RFC 4253, 4 and 6).
 * Pure: the caller owns every buffer.
 */
#ifndef SSHWIRE_H
#define SSHWIRE_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "http.h"	/* struct str */
#include "sshcrypt.h"

enum ssh_msg {
	SSH_DISCONNECT = 1, SSH_IGNORE, SSH_UNIMPLEMENTED, SSH_DEBUG, SSH_SERVICE_REQUEST, SSH_SERVICE_ACCEPT,
	SSH_EXT_INFO,				/* RFC 8308 */
	SSH_KEXINIT = 20, SSH_NEWKEYS,
	SSH_ECDH_INIT = 30, SSH_ECDH_REPLY,	/* RFC 5656 */
	SSH_USERAUTH_REQUEST = 50, SSH_USERAUTH_FAILURE, SSH_USERAUTH_SUCCESS, SSH_USERAUTH_BANNER,
	SSH_USERAUTH_PK_OK = 60,
	SSH_GLOBAL_REQUEST = 80, SSH_REQUEST_SUCCESS, SSH_REQUEST_FAILURE,
	SSH_CHANNEL_OPEN = 90, SSH_CHANNEL_OPEN_CONFIRMATION, SSH_CHANNEL_OPEN_FAILURE,
	SSH_CHANNEL_WINDOW_ADJUST, SSH_CHANNEL_DATA, SSH_CHANNEL_EXTENDED_DATA, SSH_CHANNEL_EOF, SSH_CHANNEL_CLOSE,
	SSH_CHANNEL_REQUEST, SSH_CHANNEL_SUCCESS, SSH_CHANNEL_FAILURE,
	SSH_PING = 192, SSH_PONG		/* OpenSSH's ping@openssh.com */
};

enum ssh_reason {		/* of a disconnection (RFC 4253, 11.1); parsers answer them negated */
	SSH_PROTOCOL_ERROR = 2, SSH_KEX_FAILED = 3, SSH_MAC_ERROR = 5, SSH_SERVICE_NOT_AVAILABLE = 7,
	SSH_VERSION_NOT_SUPPORTED = 8, SSH_HOST_KEY_NOT_VERIFIABLE = 9, SSH_CONNECTION_LOST = 10, SSH_BY_APPLICATION = 11,
	SSH_NO_MORE_AUTH_METHODS = 14
};

enum ssh_open_reason {		/* why a channel is not opened (RFC 4254, 5.1) */
	SSH_OPEN_PROHIBITED = 1, SSH_OPEN_CONNECT_FAILED, SSH_OPEN_UNKNOWN_TYPE, SSH_OPEN_SHORTAGE
};

enum {
	SSH_IDENT_MAX = 255,		/* identification line with CR LF */
	SSH_PACKET_MAX = 35000,		/* a packet's length field, and the most we take (RFC 4253, 6.1) */
	SSH_PAYLOAD_MAX = 32768,	/* what everybody takes, uncompressed */
	SSH_PACKET_ROOM = 4 + SSH_PACKET_MAX + SSH_TAG_LEN,
	SSH_PAYLOAD_AT = 5,		/* where a packet's payload begins */
	SSH_OVERHEAD = SSH_PAYLOAD_AT + 19 + SSH_TAG_LEN	/* the most a packet is longer than its payload */
};

/* Reading: what is not there reads as 0 or empty, and is remembered, so that one check at the end does. */
struct ssh_in {
	const uint8_t *p;
	size_t left;		/* bytes not read yet */
	int bad;		/* something was not there */
};

void ssh_in_init(struct ssh_in *, const void *, size_t);
unsigned ssh_get_byte(struct ssh_in *);
int ssh_get_bool(struct ssh_in *);
uint32_t ssh_get_u32(struct ssh_in *);
struct str ssh_get_str(struct ssh_in *);	/* points into what is read */
/* An mpint that is not negative, as len bytes, zeros first. Longer ones are bad. */
void ssh_get_mpint(struct ssh_in *, uint8_t *out, size_t len);
int ssh_in_whole(const struct ssh_in *);	/* 1: all of it was read, and nothing was missing */

void ssh_put_u32(struct buf *, uint32_t);
void ssh_put_str(struct buf *, const void *, size_t);
void ssh_put_cstr(struct buf *, const char *);
void ssh_put_mpint(struct buf *, const uint8_t *, size_t len);	/* not negative, its highest byte first */

/* Lists of names, separated by commas. */
int ssh_list_has(struct str list, const char *name);
struct str ssh_list_next(struct str *list);	/* the first name, which is taken off; empty at the end */

/*
 * The other side's identification line at the start of buf. Bytes of it, its CR LF too, and *id without them; 0: more is
 * needed; or a reason negated, and *why. A line that does not begin with "SSH-" has *id empty: servers may send such before.
 */
long ssh_ident(const char *buf, size_t len, struct str *id, const char **why);

/*
 * A packet at out, which has the payload at SSH_PAYLOAD_AT and SSH_OVERHEAD bytes beside it: its length. c NULL: not encrypted.
 * The padding is zeros: an authenticated cipher needs no better.
 */
size_t ssh_seal(struct sshcipher *c, size_t block, uint32_t seq, uint8_t *out, size_t payload);

/* How long the packet number seq at the start of buf is as a whole; 0: its first four bytes are not there; or a reason negated, and *why. */
long ssh_packet_len(const struct sshcipher *c, size_t block, uint32_t seq, const uint8_t *buf, size_t len, const char **why);

/*
 * The packet number seq at the start of buf. Its length, *payload pointing into buf, which is decrypted in place; 0: more is
 * needed, nothing is changed; or a reason negated, and *why.
 */
long ssh_open_packet(struct sshcipher *c, size_t block, uint32_t seq, uint8_t *buf, size_t len,
    uint8_t **payload, size_t *n, const char **why);

#endif
