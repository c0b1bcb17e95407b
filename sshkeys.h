/*
 * sshkeys.h: which public keys may come in, and what they may use: a file like OpenSSH's authorized_keys, sshd(8). Pure.
 *
 *	# comment
 *	scope="preview,9000" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA... alice@laptop
 *	restrict,expiry-time="20271231Z" ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYA...
 *
 * A line that is sound but not for us (a type of key we do not speak, an option we do not know, which may be a limit that we would not keep)
 * is left out and told of; one that is damaged condemns the text, for nobody knows what it was to say.
 */
#ifndef SSHKEYS_H
#define SSHKEYS_H

#include <stddef.h>
#include <stdint.h>

#include "sshkey.h"

enum {
	SSHKEYS_LINE_MAX = 8192,	/* bytes */
	SSHKEYS_SCOPE_MAX = 1024,
	SSHKEYS_WHY_MAX = 160		/* a message, with its NUL */
};

struct sshkeys_key {
	uint8_t blob[SSH_BLOB_MAX];
	size_t nblob;
	int64_t expires;		/* seconds since 1970, 0: never */
	char scope[SSHKEYS_SCOPE_MAX + 1];	/* as scope.h has it; "*" if the line has none */
};

enum sshkeys_line {
	SSHKEYS_NOTHING,	/* empty, or a comment */
	SSHKEYS_KEY,		/* it is in *k */
	SSHKEYS_LEFT_OUT,	/* why says so */
	SSHKEYS_DAMAGED		/* likewise */
};

/* A line without its newline. */
enum sshkeys_line sshkeys_line(struct sshkeys_key *k, const char *line, size_t len, char why[SSHKEYS_WHY_MAX]);

/* "20271231Z", "202712312359Z", "20271231235959Z", in UTC: seconds since 1970, or -1. */
int64_t sshkeys_time(const char *text, size_t len);

#endif
