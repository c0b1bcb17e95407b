/*
 * fuzz.h: what the fuzzers have in common. A fact that is none ends the process, which is what a fuzzer looks for.
 *   make CC=clang CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address,undefined" libtunnel.a
 *   clang -fsanitize=fuzzer,address,undefined -D_XOPEN_SOURCE=700 -D_DEFAULT_SOURCE -I. -o test/http_fuzz test/http_fuzz.c \
 *       libtunnel.a -lbearssl -lsodium
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(fact) do { if (!(fact)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Memory of exactly that size, to be freed. */
static inline void *
copy(const void *p, size_t len)
{
	void *c = malloc(len > 0 ? len : 1);

	CHECK(c != NULL);
	if (len > 0)
		memcpy(c, p, len);
	return c;
}

#endif
