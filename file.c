/* file.c: whole files, read and written; see file.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "sha256.h"

enum { FIRST_SIZE = 4096 };

int
file_read(int fd, size_t max, char **out, size_t *outlen)
{
	char *p = NULL, *grown;
	size_t len = 0, cap = 0;
	ssize_t n;
	int saved;

	for (;;) {
		if (len > max) {
			errno = EFBIG;
			break;
		}
		if (cap - len < 2) {	/* a byte to read and the NUL */
			if ((grown = malloc(cap == 0 ? FIRST_SIZE : cap * 2)) == NULL)
				break;
			cap = cap == 0 ? FIRST_SIZE : cap * 2;
			if (p != NULL) {	/* it may be a key */
				memcpy(grown, p, len);
				wipe(p, len);
				free(p);
			}
			p = grown;
		}
		n = read(fd, p + len, cap - len - 1);
		if (n == 0) {
			p[len] = '\0';
			*out = p;
			*outlen = len;
			return 0;
		}
		if (n == -1 && errno != EINTR)
			break;
		if (n > 0)
			len += (size_t)n;
	}
	saved = errno;
	if (p != NULL)
		wipe(p, len);
	free(p);
	errno = saved;
	return -1;
}

int
file_write(int fd, const void *buf, size_t len)
{
	const char *p = buf;
	ssize_t n;

	while (len > 0) {
		n = write(fd, p, len);
		if (n == -1 && errno != EINTR)
			return -1;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int
file_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mode == b->st_mode &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}
