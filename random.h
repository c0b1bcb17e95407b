/*
 * random.h: bytes nobody can guess, from the kernel.
 */
#ifndef RANDOM_H
#define RANDOM_H

#include <stddef.h>

/* Fill buf: 0, or -1 with errno, and then buf must not be used. */
int random_bytes(void *buf, size_t len);

#endif
