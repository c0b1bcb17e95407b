/*
 * bifrosttoken.h: bifrost's token file, tokens.json. Pure, but that it allocates what it returns.
 */
#ifndef BIFROSTTOKEN_H
#define BIFROSTTOKEN_H

#include <stddef.h>

#include "tokens.h"

/*
 * Read an array of {id, hash, scope, created}. 0, and *t is the caller's to free, *n of them; or -1, *why (a constant
 * string) and *entry: which one it is about, from 1; 0: the whole.
 */
int bifrost_tokens(const char *text, size_t len, struct token **t, size_t *n, size_t *entry, const char **why);

#endif
