/*
 * fortify.c: what an archive that was compiled against glibc's headers with _FORTIFY_SOURCE
 * calls, and musl does not have. Those functions with a size too little for them end the program.
 */
#include <stdlib.h>
#include <string.h>

void *__memcpy_chk(void *, const void *, size_t, size_t);
void *__memmove_chk(void *, const void *, size_t, size_t);
void *__memset_chk(void *, int, size_t, size_t);
void __explicit_bzero_chk(void *, size_t, size_t);

void *
__memcpy_chk(void *to, const void *from, size_t len, size_t room)
{
	if (len > room)
		abort();
	return memcpy(to, from, len);
}

void *
__memmove_chk(void *to, const void *from, size_t len, size_t room)
{
	if (len > room)
		abort();
	return memmove(to, from, len);
}

void *
__memset_chk(void *to, int c, size_t len, size_t room)
{
	if (len > room)
		abort();
	return memset(to, c, len);
}

void
__explicit_bzero_chk(void *to, size_t len, size_t room)
{
	if (len > room)
		abort();
	explicit_bzero(to, len);
}
