/* revoked.c: revoked JWTs; see revoked.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "buf.h"
#include "file.h"
#include "revoked.h"

enum { TEXT_MAX = 16 << 20, DIGITS = 2 * SHA256_LEN };

const char revoked_name[] = "jwt-revoked";

/* A line's hash: 1; 0: there is none on it; -1: it is damaged. */
static int
take_line(uint8_t hash[SHA256_LEN], const char *p, size_t len)
{
	size_t n;

	if (len == 0 || *p == '#')
		return 0;
	if (len < DIGITS + 2 || p[DIGITS] != ' ' || base16_decode(hash, p, DIGITS) == -1)
		return -1;
	p += DIGITS + 1;
	len -= DIGITS + 1;
	for (n = 0; n < len && p[n] >= '0' && p[n] <= '9'; n++)
		;
	return n == len || (len == 1 && *p == '-') ? 1 : -1;
}

int
revoked_parse(struct revoked *r, const char *text, size_t len, size_t *line)
{
	const char *p = text, *end = text + len, *nl;
	uint8_t (*hash)[SHA256_LEN] = malloc((len / (DIGITS + 2) + 1) * SHA256_LEN);
	size_t n = 0;
	int rc;

	*line = 0;
	if (hash == NULL)
		return -1;
	for (; p < end; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		++*line;
		if ((rc = take_line(hash[n], p, (size_t)(nl - p))) == -1) {
			free(hash);
			return -1;
		}
		n += (size_t)rc;
	}
	r->hash = hash;
	r->n = n;
	return 0;
}

int
revoked_load(struct revoked *r, int dir, char *why, size_t whylen)
{
	int fd = openat(dir, revoked_name, O_RDONLY | O_CLOEXEC), rc, err;
	char *text;
	size_t len, line;

	r->hash = NULL;
	r->n = 0;
	if (fd == -1 && errno == ENOENT)
		return 0;
	if (fd == -1 || file_read(fd, TEXT_MAX, &text, &len) == -1) {
		err = errno;
		snprintf(why, whylen, "%s: %s", revoked_name, strerror(err));
		if (fd != -1)
			close(fd);
		errno = err;
		return -1;
	}
	close(fd);
	rc = revoked_parse(r, text, len, &line);
	free(text);
	if (rc == 0)
		return 0;
	snprintf(why, whylen, "%s:%zu: no hash and time", revoked_name, line);
	errno = line > 0 ? EINVAL : ENOMEM;
	return -1;
}

int
revoked_add(int dir, const char *jti, int64_t expires)
{
	char text[DIGITS + 32];
	uint8_t hash[SHA256_LEN];
	struct stat folder;
	struct buf b;
	int fd, err, rc = -1;

	sha256(jti, strlen(jti), hash);
	buf_init(&b, text, sizeof(text));
	buf_hex(&b, hash, sizeof(hash));
	buf_str(&b, " ");
	if (expires > 0)
		buf_u64(&b, (unsigned long long)expires);
	else
		buf_str(&b, "-");
	buf_str(&b, "\n");
	if (fstat(dir, &folder) == -1 || (fd = openat(dir, revoked_name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) == -1)
		return -1;
	if ((geteuid() != 0 || fchown(fd, folder.st_uid, folder.st_gid) == 0) &&
	    write(fd, text, b.len) == (ssize_t)b.len && fsync(fd) == 0 && fsync(dir) == 0)	/* one write: lines of two commands do not mix */
		rc = 0;
	err = errno;
	close(fd);
	errno = err;
	return rc;
}

int
revoked_has(const struct revoked *r, const uint8_t hash[SHA256_LEN])
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (memcmp(r->hash[i], hash, SHA256_LEN) == 0)
			return 1;
	return 0;
}
