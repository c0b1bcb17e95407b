/*
 * tokens.h: the text of the token store. Lines to tokens and back; no I/O.
 *
 * One line a token, fields separated by one blank:
 *	ID SHA256HEX CREATED EXPIRES SCOPE NOTE
 * ID is 4 to 16 hex digits, unique; CREATED and EXPIRES are seconds since 1970, EXPIRES
 * "-" for never; SCOPE as in scope.h; NOTE is the rest of the line, UTF-8 without
 * controls, and may be empty (then the line ends after SCOPE). Hex digits are in lower
 * case. Empty lines and those beginning with '#' are kept and ignored; the last line may
 * lack its newline.
 * A token is "tn_" and 43 characters of base64url (32 random bytes); the store holds
 * the SHA-256 of the whole text only.
 */
#ifndef TOKENS_H
#define TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

enum {
	STORE_ID_MAX = 16,
	STORE_SCOPE_MAX = 1024,
	STORE_NOTE_MAX = 256,
	TOKEN_LEN = 46,
	TOKENS_DIGITS_MAX = 18,	/* of a time: they surely fit an int64_t */
	TOKENS_LINE_MAX = STORE_ID_MAX + 2 * SHA256_LEN + 2 * TOKENS_DIGITS_MAX +
	    STORE_SCOPE_MAX + STORE_NOTE_MAX + 5	/* without newline */
};

struct token {
	char id[STORE_ID_MAX + 1];
	uint8_t hash[SHA256_LEN];
	int64_t created, expires;	/* seconds since 1970; expires 0: never */
	char scope[STORE_SCOPE_MAX + 1];
	char note[STORE_NOTE_MAX + 1];
};

struct store {			/* a set of tokens as read; plain data, owned by the caller */
	struct token *token;
	size_t n;
};

struct buf;

/*
 * Read text. 0, and *s is the caller's, to be given back by free(s->token). Or -1,
 * *s untouched: *why, a constant string, is what is wrong with line *line (the first is
 * 1), or, if *line is 0, memory ran out.
 */
int tokens_parse(struct store *s, const char *text, size_t len, size_t *line, const char **why);

/* Write a token's line, at most TOKENS_LINE_MAX + 1 bytes with its newline. */
void tokens_put(struct buf *, const struct token *);

/* Where in sound text the token with this id has its line, newline included: 1, or 0. */
int tokens_find_line(const char *text, size_t textlen, const char *id, size_t *at, size_t *len);

int tokens_note_ok(const char *note);	/* 1 or 0 */

#endif
