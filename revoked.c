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
#include "store.h"

enum {
	TEXT_MAX = 16 << 20,
	DIGITS = 2 * SHA256_LEN,
	LINE = DIGITS + 32,
	KEEP = 30 * 86400	/* seconds: a line is of use for so long after its token has expired, for leeway and clocks that differ */
};

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

/* The file, the caller's to free; *text is NULL if there is none. 0, or -1 with errno. */
static int
read_text(int dir, char **text, size_t *len)
{
	int fd = openat(dir, revoked_name, O_RDONLY | O_CLOEXEC), rc, err;

	*text = NULL;
	*len = 0;
	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	rc = file_read(fd, TEXT_MAX, text, len);
	err = errno;
	close(fd);
	errno = err;
	return rc;
}

int
revoked_load(struct revoked *r, int dir, char *why, size_t whylen)
{
	char *text;
	size_t len, line;
	int rc, err;

	r->hash = NULL;
	r->n = 0;
	if (read_text(dir, &text, &len) == -1) {
		err = errno;
		snprintf(why, whylen, "%s: %s", revoked_name, strerror(err));
		errno = err;
		return -1;
	}
	if (text == NULL)
		return 0;
	rc = revoked_parse(r, text, len, &line);
	free(text);
	if (rc == 0)
		return 0;
	snprintf(why, whylen, "%s:%zu: no hash and time", revoked_name, line);
	errno = line > 0 ? EINVAL : ENOMEM;
	return -1;
}

/* Is it of a token that is believed no more, revoked or not? */
static int
is_over(const char *p, size_t len, int64_t now)
{
	uint8_t hash[SHA256_LEN];
	int64_t expires = 0;
	size_t i;

	if (take_line(hash, p, len) != 1 || p[DIGITS + 1] == '-')
		return 0;
	for (i = DIGITS + 1; i < len && expires < INT64_MAX / 16; i++)
		expires = 10 * expires + (p[i] - '0');
	return expires < now - KEEP;
}

/* The lines of text that are of use still, each with its end. */
static void
put_lines(struct buf *b, const char *text, size_t len, int64_t now)
{
	const char *p = text, *end = text + len, *nl;

	for (; p < end; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		if (is_over(p, (size_t)(nl - p), now))
			continue;
		buf_put(b, p, (size_t)(nl - p));
		buf_char(b, '\n');
	}
}

static void
put_new(struct buf *b, const char *jti, int64_t expires)
{
	uint8_t hash[SHA256_LEN];

	sha256(jti, strlen(jti), hash);
	buf_hex(b, hash, sizeof(hash));
	buf_char(b, ' ');
	if (expires > 0)
		buf_u64(b, (unsigned long long)expires);
	else
		buf_char(b, '-');
	buf_char(b, '\n');
}

/* Under the lock. */
static int
add_locked(int dir, const char *jti, int64_t expires, int64_t now)
{
	char *text, *fresh;
	struct buf b;
	size_t len;
	int rc = -1, err;

	if (read_text(dir, &text, &len) == -1)
		return -1;
	if ((fresh = malloc(len + 1 + LINE)) != NULL) {
		buf_init(&b, fresh, len + 1 + LINE);
		if (text != NULL)
			put_lines(&b, text, len, now);
		put_new(&b, jti, expires);
		errno = EFBIG;
		if (b.len <= TEXT_MAX)		/* else it could not be read again */
			rc = store_replace(dir, revoked_name, b.p, b.len);
	}
	err = errno;
	free(text);
	free(fresh);
	errno = err;
	return rc;
}

int
revoked_add(int dir, const char *jti, int64_t expires, int64_t now)
{
	int lock = store_lock(dir), rc, err;

	if (lock == -1)
		return -1;
	rc = add_locked(dir, jti, expires, now);
	err = errno;
	close(lock);		/* which unlocks it */
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
