/*
 * test.h: counting checks. A test program includes this once, calls check()
 * for each fact and returns test_end() from main.
 */
#ifndef TEST_H
#define TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_passed, test_failed;

/* One fact about the case called name; n tells rows or cuts of it apart. */
static void
check(int ok, const char *name, size_t n)
{
	if (ok) {
		test_passed++;
		return;
	}
	test_failed++;
	printf("FAIL %s [%zu]\n", name, n);
}

/* A copy of exactly len bytes, so that a sanitizer sees any read past them. */
static inline void *
exact(const void *p, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (copy == NULL)
		abort();
	if (len > 0)
		memcpy(copy, p, len);
	return copy;
}

static int
test_end(void)
{
	printf("%d passed, %d failed\n", test_passed, test_failed);
	return test_failed != 0 || test_passed == 0;
}

#endif
