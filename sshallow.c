/* sshallow.c: the host key, and whose keys may come in; see sshallow.h. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "random.h"
#include "sha256.h"
#include "sshallow.h"
#include "sshkeys.h"
#include "sshpriv.h"
#include "store.h"

enum {
	TEXT_MAX = 16 << 20,	/* of the clients' keys, bytes */
	WHY_MAX = 300
};

static const char host_key[] = "ssh_host_ed25519_key";

static int
fail(char *why, size_t whylen, const char *path, const char *text)
{
	snprintf(why, whylen, "%s: %s", path, text);
	return -1;
}

/* A regular file as a whole, the caller's to free; nobody else may have any of the bits of mask. 0; or -1 with errno, and why. */
static int
read_whole(int dir, const char *name, const char *path, mode_t mask, size_t max, struct stat *st, char **p, size_t *len, char *why, size_t whylen)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), saved, rc = -1;

	if (fd == -1) {
		saved = errno;
		fail(why, whylen, path, strerror(saved));
		errno = saved;
		return -1;
	}
	if (fstat(fd, st) == -1)
		fail(why, whylen, path, strerror(errno));
	else if (!S_ISREG(st->st_mode))
		fail(why, whylen, path, "it is no regular file");
	else if ((st->st_mode & mask) != 0)
		fail(why, whylen, path, mask & 044 ? "others than its owner may use it: chmod 600 it" :
		    "others than its owner may write to it: chmod go-w it");
	else if (file_read(fd, max, p, len) == -1)
		fail(why, whylen, path, strerror(errno));
	else
		rc = 0;
	close(fd);
	errno = 0;
	return rc;
}

/* The host key. */

static int
make_host_key(struct sshkey *k, int dir, const char *name, const char *path, char *why, size_t whylen)
{
	char text[SSHPRIV_MAX];
	uint8_t secret[SSH_ED25519_SEED];
	uint32_t check;
	size_t n;
	int rc;

	if (random_bytes(secret, sizeof(secret)) == -1 || random_bytes(&check, sizeof(check)) == -1)
		return fail(why, whylen, path, strerror(errno));
	sshkey_init(k, SSHKEY_ED25519, secret);
	n = sshpriv_put(k, check, "tunneld", text);
	rc = store_replace(dir, name, text, n);
	wipe(secret, sizeof(secret));
	wipe(text, sizeof(text));
	if (rc == -1)
		return fail(why, whylen, path, strerror(errno));
	log_line(LOG_INFO, "ssh_host_key_made", "file", path, (char *)NULL);
	return 0;
}

/* The folder that path is in, open, and its last part. -1 with errno. */
static int
open_folder(const char *path, const char **leaf)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash != NULL ? (size_t)(slash - path) + 1 : 0;
	char *folder;
	int fd;

	*leaf = path + n;
	if (n == 0)
		return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if ((folder = malloc(n + 1)) == NULL)
		return -1;
	memcpy(folder, path, n);
	folder[n] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return fd;
}

static int
host_key_at(struct sshkey *k, int dir, const char *name, const char *path, int make, char *why, size_t whylen)
{
	const char *wrong;
	char *text = NULL;
	struct stat st;
	size_t len;
	int rc;

	if (read_whole(dir, name, path, 077, SSHPRIV_MAX * 8, &st, &text, &len, why, whylen) == -1) {
		if (errno != ENOENT)
			return -1;
		memset(k, 0, sizeof(*k));
		return make ? make_host_key(k, dir, name, path, why, whylen) : 0;
	}
	if ((rc = sshpriv_parse(k, text, len, &wrong)) == -1)
		fail(why, whylen, path, wrong);
	wipe(text, len);
	free(text);
	return rc;
}

int
sshallow_host_key(struct sshkey *k, const char *path, int dir, const char *state, int make, char *why, size_t whylen)
{
	char shown[600];
	const char *leaf;
	int fd, rc;

	if (path == NULL) {
		snprintf(shown, sizeof(shown), "%s/%s", state, host_key);
		if (dir == -1 && !make)
			return host_key_at(k, AT_FDCWD, shown, shown, 0, why, whylen);
		return host_key_at(k, dir, host_key, shown, make, why, whylen);
	}
	if ((fd = open_folder(path, &leaf)) == -1)
		return fail(why, whylen, path, strerror(errno));
	rc = host_key_at(k, fd, leaf, path, make, why, whylen);
	close(fd);
	return rc;
}

/* The clients' keys. */

struct left {			/* a line that was left out */
	size_t line;
	char why[SSHKEYS_WHY_MAX];
};

struct set {
	struct sshkeys_key *key;
	size_t n;
	struct left *left;
	size_t nleft;
};

struct sshallow {
	const char *path;	/* constant once threads run */
	pthread_mutex_t reload;	/* one reads the file at a time; before mtx. Guards the next two */
	struct stat seen;	/* as it was when last read, well or not */
	char why[WHY_MAX];	/* what the last reading failed for, so that it is told once; "": nothing */
	pthread_mutex_t mtx;	/* guards what follows */
	struct set set;
};

static const struct sshkeys_key *
find(const struct set *s, const void *blob, size_t len)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->key[i].nblob == len && memcmp(s->key[i].blob, blob, len) == 0)
			return &s->key[i];
	return NULL;
}

static int
add(struct set *s, const struct sshkeys_key *k)
{
	struct sshkeys_key *more = realloc(s->key, (s->n + 1) * sizeof(*more));

	if (more == NULL)
		return -1;
	s->key = more;
	s->key[s->n++] = *k;
	return 0;
}

static int
leave_out(struct set *s, size_t line, const char *why)
{
	struct left *more = realloc(s->left, (s->nleft + 1) * sizeof(*more));

	if (more == NULL)
		return -1;
	s->left = more;
	s->left[s->nleft].line = line;
	snprintf(s->left[s->nleft++].why, sizeof(s->left->why), "%s", why);
	return 0;
}

static int
take(struct set *s, size_t line, enum sshkeys_line what, const struct sshkeys_key *k, const char *why)
{
	if (what == SSHKEYS_LEFT_OUT)
		return leave_out(s, line, why);
	if (what == SSHKEYS_KEY && find(s, k->blob, k->nblob) != NULL)
		return leave_out(s, line, "the same key stands further up");
	return what == SSHKEYS_KEY ? add(s, k) : 0;
}

/* All lines. 0; or -1 and why, and s is to be freed all the same. */
static int
parse(struct set *s, const char *path, const char *text, size_t len, char *why, size_t whylen)
{
	const char *p = text, *end = text + len, *nl;
	char wrong[SSHKEYS_WHY_MAX];
	enum sshkeys_line what;
	struct sshkeys_key k;
	size_t line = 0;

	for (; p < end; p = nl + 1) {
		if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
			nl = end;
		line++;
		what = sshkeys_line(&k, p, (size_t)(nl - p), wrong);
		if (what == SSHKEYS_DAMAGED) {
			snprintf(why, whylen, "%s:%zu: %s", path, line, wrong);
			return -1;
		}
		if (take(s, line, what, &k, wrong) == -1)
			return fail(why, whylen, path, "no memory");
	}
	return 0;
}

/* Read the file: 0, and the set is in force, *told what is to be told of it, which is the caller's; or -1 and why. */
static int
load(struct sshallow *a, struct set *told, char *why, size_t whylen)
{
	struct set fresh, old;
	char *text = NULL;
	struct stat st;
	size_t len;
	int rc;

	memset(&fresh, 0, sizeof(fresh));
	memset(told, 0, sizeof(*told));
	if (read_whole(AT_FDCWD, a->path, a->path, 022, TEXT_MAX, &st, &text, &len, why, whylen) == -1)
		return -1;
	a->seen = st;
	rc = parse(&fresh, a->path, text, len, why, whylen);
	free(text);
	if (rc == 0) {
		told->n = fresh.n;
		told->left = fresh.left;
		told->nleft = fresh.nleft;
		fresh.left = NULL;
		pthread_mutex_lock(&a->mtx);
		old = a->set;
		a->set = fresh;
		pthread_mutex_unlock(&a->mtx);
		fresh = old;
	}
	free(fresh.key);
	free(fresh.left);
	return rc;
}

static void
tell(const struct sshallow *a, struct set *told)
{
	char num[24];
	size_t i;

	for (i = 0; i < told->nleft; i++) {
		snprintf(num, sizeof(num), "%zu", told->left[i].line);
		log_line(LOG_WARN, "ssh_key_left_out", "file", a->path, "line", num, "reason", told->left[i].why, (char *)NULL);
	}
	snprintf(num, sizeof(num), "%zu", told->n);
	log_line(LOG_INFO, "ssh_keys_read", "file", a->path, "keys", num, (char *)NULL);
	free(told->left);
}

struct sshallow *
sshallow_new(const char *path, char *why, size_t whylen)
{
	struct sshallow *a = calloc(1, sizeof(*a));
	struct set told;

	if (a == NULL) {
		fail(why, whylen, path, "no memory");
		return NULL;
	}
	a->path = path;
	pthread_mutex_init(&a->reload, NULL);
	pthread_mutex_init(&a->mtx, NULL);
	if (load(a, &told, why, whylen) == 0) {
		tell(a, &told);
		return a;
	}
	sshallow_free(a);
	return NULL;
}

void
sshallow_free(struct sshallow *a)
{
	pthread_mutex_destroy(&a->reload);
	pthread_mutex_destroy(&a->mtx);
	free(a->set.key);
	free(a);
}

/* Is it another file than the one read last? What cannot be seen is one: reading it tells why. */
static int
changed(const struct sshallow *a)
{
	struct stat now;

	return stat(a->path, &now) == -1 || !file_same(&now, &a->seen);
}

void
sshallow_reload(struct sshallow *a, int force)
{
	char why[WHY_MAX];
	struct set told;
	int rc = 1;

	pthread_mutex_lock(&a->reload);
	if (force || changed(a)) {
		rc = load(a, &told, why, sizeof(why));
		if (rc == -1 && !force && strcmp(a->why, why) == 0)
			rc = 1;		/* told already */
		if (rc != 1)
			snprintf(a->why, sizeof(a->why), "%s", rc == 0 ? "" : why);
	}
	pthread_mutex_unlock(&a->reload);
	if (rc == 0)
		tell(a, &told);
	else if (rc == -1)
		log_line(LOG_ERROR, "ssh_keys_bad", "reason", why, "kept", "the last good set", (char *)NULL);
}

int
sshallow_find(struct sshallow *a, struct str blob, int64_t now, struct identity *who)
{
	const struct sshkeys_key *k;
	int ok;

	pthread_mutex_lock(&a->mtx);
	k = find(&a->set, blob.p, blob.len);
	ok = k != NULL && (k->expires == 0 || now < k->expires);
	if (ok) {
		memcpy(who->scope, k->scope, strlen(k->scope) + 1);
		who->expires = k->expires;
	}
	pthread_mutex_unlock(&a->mtx);
	return ok;
}

const char *
sshallow_lost(struct sshallow *a, struct str blob, int64_t now, const struct identity *who)
{
	const struct sshkeys_key *k;
	const char *code;

	pthread_mutex_lock(&a->mtx);
	k = find(&a->set, blob.p, blob.len);
	code = k == NULL || strcmp(k->scope, who->scope) != 0 ? "revoked" :
	    k->expires != 0 && now >= k->expires ? "expired" : NULL;
	pthread_mutex_unlock(&a->mtx);
	return code;
}
