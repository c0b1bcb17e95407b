/* store.c: the token store; see store.h. */
#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base64.h"
#include "buf.h"
#include "file.h"
#include "random.h"
#include "store.h"

enum { TEXT_MAX = 16 << 20, SECRET_LEN = 32, ID_BYTES = 4, ID_TRIES = 16 };

static const char file_name[] = "tokens", lock_name[] = "tokens.lock";

struct text {			/* the file as it was read */
	char *p;
	size_t len;
};

struct why {			/* where to write what went wrong */
	char *p;
	size_t len;
};

static int
fail(const struct why *why, int error, const char *text)
{
	snprintf(why->p, why->len, "%s: %s", file_name, text);
	errno = error;
	return -1;
}

static int
fail_errno(const struct why *why, const char *name)
{
	int error = errno;
	char reason[96];

	if (strerror_r(error, reason, sizeof(reason)) != 0)
		snprintf(reason, sizeof(reason), "error %d", error);
	snprintf(why->p, why->len, "%s: %s", name, reason);
	errno = error;
	return -1;
}

/* The file's text, the caller's to free; a missing file is an empty one. */
static int
read_text(struct text *text, int dir, const struct why *why)
{
	struct stat st;
	int fd, saved, rc = -1;

	text->p = NULL;
	text->len = 0;
	/* O_NONBLOCK: a FIFO put there must not hold us up. */
	fd = openat(dir, file_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1 && errno == ENOENT && (text->p = calloc(1, 1)) != NULL)
		return 0;
	if (fd == -1)
		return fail_errno(why, file_name);
	if (fstat(fd, &st) == -1)
		(void)fail_errno(why, file_name);
	else if (!S_ISREG(st.st_mode))
		(void)fail(why, EINVAL, "not a regular file");
	else if (file_read(fd, TEXT_MAX, &text->p, &text->len) == -1)
		(void)fail_errno(why, file_name);
	else
		rc = 0;
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}

static int
parse_text(struct store *s, const struct text *text, const struct why *why)
{
	const char *wrong;
	size_t line;

	if (tokens_parse(s, text->p, text->len, &line, &wrong) == 0)
		return 0;
	if (line == 0)
		return fail(why, ENOMEM, wrong);
	snprintf(why->p, why->len, "%s:%zu: %s", file_name, line, wrong);
	errno = EINVAL;
	return -1;
}

int
store_load(struct store *s, int dir, char *why, size_t whylen)
{
	struct why w = { why, whylen };
	struct text text;
	int saved, rc;

	if (read_text(&text, dir, &w) == -1)
		return -1;
	rc = parse_text(s, &text, &w);
	saved = errno;
	free(text.p);
	errno = saved;
	return rc;
}

void
store_free(struct store *s)
{
	free(s->token);
	s->token = NULL;
	s->n = 0;
}

const struct token *
store_find(const struct store *s, const char *text, size_t len)
{
	const struct token *found = NULL;
	uint8_t hash[SHA256_LEN];
	size_t i;

	sha256(text, len, hash);
	for (i = 0; i < s->n; i++)	/* all of them, whichever matches */
		if (ct_equal(s->token[i].hash, hash, sizeof(hash)))
			found = &s->token[i];
	wipe(hash, sizeof(hash));
	return found;
}

const struct token *
store_by_id(const struct store *s, const char *id)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->token[i].id, id) == 0)
			return &s->token[i];
	return NULL;
}

/* What root writes belongs to the folder's owner: the daemon that reads it is no longer root. */
static int
give_to_owner(int fd, int dir)
{
	struct stat st;

	if (geteuid() != 0)
		return 0;
	return fstat(dir, &st) == -1 ? -1 : fchown(fd, st.st_uid, st.st_gid);
}

/* A new file beside name, its name in tmp: the descriptor, or -1. */
static int
open_tmp(int dir, const char *name, char *tmp, size_t len)
{
	uint8_t random[8];
	struct buf b;

	if (random_bytes(random, sizeof(random)) == -1)
		return -1;
	buf_init(&b, tmp, len - 1);
	buf_char(&b, '.');
	buf_str(&b, name);
	buf_char(&b, '.');
	buf_hex(&b, random, sizeof(random));
	tmp[b.len] = '\0';
	if (b.full) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int
store_replace(int dir, const char *name, const void *buf, size_t len)
{
	char tmp[NAME_MAX + 1];
	int fd, saved, rc = -1;

	if ((fd = open_tmp(dir, name, tmp, sizeof(tmp))) == -1)
		return -1;
	if (fchmod(fd, 0600) == -1 || give_to_owner(fd, dir) == -1 ||
	    file_write(fd, buf, len) == -1 || fsync(fd) == -1 ||
	    renameat(dir, tmp, dir, name) == -1)
		goto out;
	rc = fsync(dir);	/* the rename itself must reach the disk */
out:
	saved = errno;		/* cleaning up must not hide the cause */
	if (rc == -1)
		unlinkat(dir, tmp, 0);
	close(fd);
	errno = saved;
	return rc;
}

struct edit {			/* the store while it is being changed */
	int dir, lock;
	struct text text;
	struct store set;
};

/*
 * The lock file. Only one made here is given away: one found in a folder that
 * is another user's may be a link to a file of root's.
 */
static int
open_lock(int dir)
{
	int fd, saved;

	do {
		fd = openat(dir, lock_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd != -1 || errno != ENOENT)
			return fd;
		fd = openat(dir, lock_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	} while (fd == -1 && errno == EEXIST);
	if (fd != -1 && give_to_owner(fd, dir) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int
store_lock(int dir)
{
	struct flock whole;
	int fd, saved;

	if ((fd = open_lock(dir)) == -1)
		return -1;
	memset(&whole, 0, sizeof(whole));
	whole.l_type = F_WRLCK;
	whole.l_whence = SEEK_SET;
	while (fcntl(fd, F_SETLKW, &whole) == -1)
		if (errno != EINTR) {
			saved = errno;
			close(fd);
			errno = saved;
			return -1;
		}
	return fd;
}

static void
edit_end(struct edit *e)
{
	int saved = errno;

	store_free(&e->set);
	free(e->text.p);
	close(e->lock);		/* which unlocks it */
	errno = saved;
}

static int
edit_begin(struct edit *e, int dir, const struct why *why)
{
	memset(e, 0, sizeof(*e));
	e->dir = dir;
	if ((e->lock = store_lock(dir)) == -1)
		return fail_errno(why, lock_name);
	if (read_text(&e->text, dir, why) == 0 && parse_text(&e->set, &e->text, why) == 0)
		return 0;
	edit_end(e);
	return -1;
}

/* Write the file with add in place of the len bytes at offset at. */
static int
edit_save(struct edit *e, size_t at, size_t len, const struct buf *add, const struct why *why)
{
	struct buf b;
	char *p;
	size_t cap = e->text.len - len + add->len;
	int rc, saved;

	if (cap > TEXT_MAX)
		return fail(why, EFBIG, "above 16 MiB");
	if ((p = malloc(cap + 1)) == NULL)
		return fail_errno(why, file_name);
	buf_init(&b, p, cap);
	buf_put(&b, e->text.p, at);
	buf_put(&b, add->p, add->len);
	buf_put(&b, e->text.p + at + len, e->text.len - at - len);
	assert(!b.full && b.len == cap);
	if ((rc = store_replace(e->dir, file_name, p, cap)) == -1)
		(void)fail_errno(why, file_name);
	saved = errno;
	free(p);
	errno = saved;
	return rc;
}

/* Everything of a token but its id and its secret: NULL, or what is wrong. */
static const char *
describe(struct token *t, const char *scope, int64_t now, int64_t expires, const char *note)
{
	static const int64_t end = INT64_C(1000000000000000000);	/* TOKENS_DIGITS_MAX */
	const char *why;

	if (strlen(scope) > STORE_SCOPE_MAX)
		return "scope too long";
	if (scope_check(scope, &why) == -1)
		return why;
	if (!tokens_note_ok(note))
		return "bad note";
	if (now < 0 || now >= end)
		return "bad time of creation";
	if (expires < 0 || expires >= end)
		return "bad time of expiry";
	memset(t, 0, sizeof(*t));
	t->created = now;
	t->expires = expires;
	memcpy(t->scope, scope, strlen(scope) + 1);
	memcpy(t->note, note, strlen(note) + 1);
	return NULL;
}

static int
make_secret(struct token *t, char text[TOKEN_LEN + 1])
{
	uint8_t raw[SECRET_LEN];

	if (random_bytes(raw, sizeof(raw)) == -1)
		return -1;
	memcpy(text, "tn_", 3);
	base64url_encode(text + 3, raw, sizeof(raw));
	wipe(raw, sizeof(raw));
	sha256(text, TOKEN_LEN, t->hash);
	return 0;
}

/* An id that no token in s has. */
static int
make_id(const struct store *s, struct token *t)
{
	uint8_t raw[ID_BYTES];
	struct buf b;
	int tries;

	for (tries = 0; tries < ID_TRIES; tries++) {
		if (random_bytes(raw, sizeof(raw)) == -1)
			return -1;
		buf_init(&b, t->id, sizeof(t->id) - 1);
		buf_hex(&b, raw, sizeof(raw));
		t->id[b.len] = '\0';
		if (store_by_id(s, t->id) == NULL)
			return 0;
	}
	errno = EAGAIN;
	return -1;
}

int
store_issue(int dir, const char *scope, int64_t now, int64_t expires, const char *note,
    struct token *t, char text[TOKEN_LEN + 1], char *why, size_t whylen)
{
	char line[TOKENS_LINE_MAX + 2];
	struct why w = { why, whylen };
	struct edit e;
	struct buf b;
	const char *wrong;
	int rc = -1;

	if ((wrong = describe(t, scope, now, expires, note)) != NULL) {
		snprintf(why, whylen, "%s", wrong);
		errno = EINVAL;
		return -1;
	}
	if (edit_begin(&e, dir, &w) == -1)
		return -1;
	if (make_id(&e.set, t) == -1 || make_secret(t, text) == -1) {
		(void)fail_errno(&w, "random bytes");
		goto out;
	}
	buf_init(&b, line, sizeof(line));
	if (e.text.len > 0 && e.text.p[e.text.len - 1] != '\n')
		buf_char(&b, '\n');	/* an editor left it out */
	tokens_put(&b, t);
	assert(!b.full);
	rc = edit_save(&e, e.text.len, 0, &b, &w);
out:
	edit_end(&e);
	if (rc == -1)
		wipe(text, TOKEN_LEN + 1);
	return rc;
}

static int
has_hash(const struct store *s, const uint8_t hash[SHA256_LEN])
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (memcmp(s->token[i].hash, hash, SHA256_LEN) == 0)	/* hashes are no secret here */
			return 1;
	return 0;
}

static int
has_id(const struct token *t, size_t n, const char *id)
{
	while (n > 0)
		if (strcmp(t[--n].id, id) == 0)
			return 1;
	return 0;
}

long
store_add(int dir, struct token *t, size_t n, char *why, size_t whylen)
{
	struct why w = { why, whylen };
	size_t cap = n * (TOKENS_LINE_MAX + 1) + 2, i;
	char *lines = malloc(cap);
	struct edit e;
	struct buf b;
	long added = 0;

	if (lines == NULL || edit_begin(&e, dir, &w) == -1) {
		if (lines == NULL)
			(void)fail_errno(&w, file_name);
		free(lines);
		return -1;
	}
	buf_init(&b, lines, cap);
	if (e.text.len > 0 && e.text.p[e.text.len - 1] != '\n')
		buf_char(&b, '\n');
	for (i = 0; i < n && added >= 0; i++) {
		if (has_hash(&e.set, t[i].hash))
			continue;
		if ((store_by_id(&e.set, t[i].id) != NULL || has_id(t, i, t[i].id)) && make_id(&e.set, &t[i]) == -1)
			added = fail_errno(&w, "random bytes");
		else {
			tokens_put(&b, &t[i]);
			added++;
		}
	}
	if (added > 0 && edit_save(&e, e.text.len, 0, &b, &w) == -1)
		added = -1;
	edit_end(&e);
	free(lines);
	return added;
}

int
store_revoke(int dir, const char *id, char *why, size_t whylen)
{
	struct why w = { why, whylen };
	struct edit e;
	struct buf nothing;
	size_t at, len;
	int rc;

	if (edit_begin(&e, dir, &w) == -1)
		return -1;
	buf_init(&nothing, NULL, 0);
	rc = tokens_find_line(e.text.p, e.text.len, id, &at, &len);
	if (rc == 1 && edit_save(&e, at, len, &nothing, &w) == -1)
		rc = -1;
	edit_end(&e);
	return rc;
}
