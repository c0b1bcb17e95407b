/*
 * completion.h: what a shell needs to complete a program's commands and options, made from
 * its tables of options. An option's value is completed by what the table calls it:
 * FILE and DIR by paths, CMD by commands, and words in lower case, as of "URL|none", by themselves.
 */
#ifndef COMPLETION_H
#define COMPLETION_H

#include <stddef.h>

#include "opt.h"

struct completion {		/* a command */
	const char *words;	/* "connect", or "token issue"; "": none, the program's own options */
	const char *help;	/* a few words */
	const struct opt *opts;
	size_t n;
	const char *operands;	/* words for its operand: "bash zsh fish"; "FILE": paths; NULL: none */
	const char *ask;	/* or the arguments with which the program itself prints them, one a line; NULL: none */
};

/*
 * The script for a shell (bash, zsh or fish) and the n commands of prog, with a NUL, into out[cap]: 0; -1 if there
 * is none for this shell, or too little room. The first of two words ("token") has an entry of its own, too.
 */
int completion_write(const char *shell, const char *prog, const struct completion *, size_t n,
    char *out, size_t cap);

#endif
