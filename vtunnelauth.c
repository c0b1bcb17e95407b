/* vtunnelauth.c: vtunnel's keys, and what is kept from one session to the next; see vtunnel.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "file.h"
#include "log.h"
#include "random.h"
#include "sha256.h"
#include "store.h"
#include "vtunnelint.h"

enum { FILE_MAX = 1 << 20, PORTS_MAX = 4096, WHO_MAX = 64, OWN_PATH_MAX = 4096 };

static const char own_name[] = "vtunnel-host-key";

struct domain {			/* which port it has had */
	char who[WHO_MAX];
	char domain[VTUNNEL_ADDR_MAX];
	unsigned port;
	struct domain *next;
};

struct vtunnel {
	struct vtunnel_conf conf;	/* constant */
	struct sshkey own;	/* constant; the host key that no client knows beforehand */
	struct sshkey fresh;	/* constant; of this process, beside it for whoever comes without a key, as vtunnel's server has one */
	pthread_mutex_t reload;	/* one reads the file at a time; before mtx */
	struct stat seen;	/* guarded by it: the file as it was when last read, well or not */
	pthread_mutex_t mtx;	/* guards the rest */
	struct vtunnel_keys keys;
	unsigned generation;	/* of keys */
	struct domain *domains;
	int ndomains;
};

int
vtunnel_configured(const struct vtunnel_conf *c)
{
	return c->open || c->file != NULL || c->keys[0] != '\0';
}

const struct sshkey *
vtunnel_fresh(const struct vtunnel *v)
{
	return &v->fresh;
}

struct str
vtunnel_path(struct str target)
{
	const char *query = target.len > 0 ? memchr(target.p, '?', target.len) : NULL;

	if (query != NULL)
		target.len = (size_t)(query - target.p);
	return target;
}

/* The keys of the command line. 0, or -1 and why. */
static int
take_options(const struct vtunnel_conf *c, struct vtunnel_keys *l, char *why, size_t whylen)
{
	const char *wrong;
	size_t line;

	if (vtunnel_keys_add(l, c->keys, strlen(c->keys), &line, &wrong) == 0)
		return 0;
	snprintf(why, whylen, "--vtunnel-key, the %zu. one: %s", line, wrong);
	return -1;
}

/* Those of the file. 0, or -1 and why, with the file's state in *st as far as it is known. */
static int
take_file(const struct vtunnel_conf *c, struct vtunnel_keys *l, struct stat *st, char *why, size_t whylen)
{
	int fd = open(c->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;
	const char *wrong;
	char *text = NULL;
	size_t len = 0, line;

	if (fd == -1 || fstat(fd, st) == -1 || file_read(fd, FILE_MAX, &text, &len) == -1) {
		snprintf(why, whylen, "%s: %s", c->file, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	close(fd);
	if ((rc = vtunnel_keys_add(l, text, len, &line, &wrong)) == -1)
		snprintf(why, whylen, "%s:%zu: %s", c->file, line, wrong);
	wipe(text, len);
	free(text);
	return rc;
}

/* 0; or why, and EINVAL: it is what the options say, or EIO: it is the file. */
static int
take_keys(const struct vtunnel_conf *c, struct vtunnel_keys *l, struct stat *st, char *why, size_t whylen)
{
	int err = 0;

	l->key = NULL;
	l->n = 0;
	memset(st, 0, sizeof(*st));
	if (take_options(c, l, why, whylen) == -1)
		err = EINVAL;
	else if (c->file != NULL && take_file(c, l, st, why, whylen) == -1)
		err = EIO;
	if (err != 0)
		vtunnel_keys_free(l);
	return err;
}

/* The clients' at the start, likewise. */
static int
first_keys(struct vtunnel *v, char *why, size_t whylen)
{
	int err = take_keys(&v->conf, &v->keys, &v->seen, why, whylen);

	if (err != 0 || !v->conf.open || vtunnel_keys_first(&v->keys, "", 0) == NULL)	/* no path is empty */
		return err;
	snprintf(why, whylen, "--open vtunnel is for paths without keys, and a key without path= is for all");
	return EINVAL;
}

/* What is wrong with the daemon's own key. */
static int
complain(const struct vtunnel_conf *c, const char *text, char *why, size_t whylen)
{
	snprintf(why, whylen, "%s/%s: %s", c->state, own_name, text);
	return -1;
}

/* The daemon's own key: a line of the state folder, as a client's private key is written. 0, or -1 and why. */
static int
read_own(const struct vtunnel_conf *c, uint8_t seed[VTUNNEL_KEY], int fd, char *why, size_t whylen)
{
	char *text;
	size_t len;
	int rc;

	if (file_read(fd, 4096, &text, &len) == -1)
		return complain(c, strerror(errno), why, whylen);
	rc = vtunnel_priv_parse(seed, text, strcspn(text, "\r\n"));
	if (rc == -1)
		complain(c, "no key is in it; remove it, and another is made", why, whylen);
	wipe(text, len);
	free(text);
	return rc;
}

static int
make_own(const struct vtunnel_conf *c, uint8_t seed[VTUNNEL_KEY], int dir, char *why, size_t whylen)
{
	char text[VTUNNEL_PRIV_LEN + 2];
	int rc;

	if (random_bytes(seed, VTUNNEL_KEY) == -1) {
		snprintf(why, whylen, "no random bytes can be had: %s", strerror(errno));
		return -1;
	}
	vtunnel_priv_format(text, seed);
	memcpy(text + VTUNNEL_PRIV_LEN, "\n", 2);
	if ((rc = store_replace(dir, own_name, text, VTUNNEL_PRIV_LEN + 1)) == -1)
		complain(c, strerror(errno), why, whylen);
	wipe(text, sizeof(text));
	return rc;
}

/* Its file, to be read, or -1 with errno. dir -1: by its name. */
static int
open_own(const struct vtunnel_conf *c, int dir)
{
	char path[OWN_PATH_MAX];

	if (dir != -1)
		return openat(dir, own_name, O_RDONLY | O_CLOEXEC);
	if (c->state == NULL || snprintf(path, sizeof(path), "%s/%s", c->state, own_name) >= (int)sizeof(path)) {
		errno = ENOENT;
		return -1;
	}
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int
load_own(const struct vtunnel_conf *c, struct sshkey *own, int dir, char *why, size_t whylen)
{
	uint8_t seed[VTUNNEL_KEY];
	int fd = open_own(c, dir), rc;

	if (fd == -1 && errno != ENOENT)
		return complain(c, strerror(errno), why, whylen);
	if (fd == -1 && dir == -1)
		snprintf(why, whylen, "no random bytes can be had");
	rc = fd != -1 ? read_own(c, seed, fd, why, whylen) : dir != -1 ? make_own(c, seed, dir, why, whylen) : random_bytes(seed, sizeof(seed));
	if (fd != -1)
		close(fd);
	if (rc == 0)
		rc = sshkey_init(own, SSHKEY_ED25519, seed);
	wipe(seed, sizeof(seed));
	return rc;
}

/* 0, or -1: no random numbers. */
static int
make_fresh(struct sshkey *k)
{
	uint8_t secret[SSH_P256_SECRET];
	int rc = -1, tries;

	for (tries = 0; rc == -1 && tries < 8 && random_bytes(secret, sizeof(secret)) == 0; tries++)	/* hardly any is none */
		rc = sshkey_init(k, SSHKEY_P256, secret);
	wipe(secret, sizeof(secret));
	return rc;
}

struct vtunnel *
vtunnel_new(const struct vtunnel_conf *c, int dir, char *why, size_t whylen)
{
	struct vtunnel *v = calloc(1, sizeof(*v));
	int err = EIO, wrong;

	if (v == NULL) {
		snprintf(why, whylen, "no memory");
		return NULL;
	}
	v->conf = *c;
	pthread_mutex_init(&v->reload, NULL);
	pthread_mutex_init(&v->mtx, NULL);
	if (sshcrypt_init() == -1)	/* now, while what it needs can still be opened */
		snprintf(why, whylen, "libsodium cannot be used");
	else if ((wrong = first_keys(v, why, whylen)) != 0)
		err = wrong;
	else if (make_fresh(&v->fresh) == -1)
		snprintf(why, whylen, "no random numbers are to be had");
	else if (load_own(c, &v->own, dir, why, whylen) == 0)
		return v;
	vtunnel_free(v);
	errno = err;
	return NULL;
}

void
vtunnel_free(struct vtunnel *v)
{
	struct domain *n;

	while ((n = v->domains) != NULL) {
		v->domains = n->next;
		free(n);
	}
	vtunnel_keys_free(&v->keys);
	pthread_mutex_destroy(&v->reload);
	pthread_mutex_destroy(&v->mtx);
	wipe(&v->own, sizeof(v->own));
	wipe(&v->fresh, sizeof(v->fresh));
	free(v);
}

/* What operators should know of these keys. */
static void
warn_of(const struct vtunnel_conf *c, const struct vtunnel_keys *l, const struct stat *st)
{
	size_t i;

	if (c->file != NULL && st->st_mode & (S_IRWXG | S_IRWXO))
		log_line(LOG_WARN, "vtunnel_keys_open", "file", c->file, "reason",
		    "others may read it: whoever knows a vt-pub- key can pose as this daemon; chmod 600", (char *)NULL);
	for (i = 0; i < l->n; i++)
		if (vtunnel_keys_shared(l, &l->key[i]))
			log_line(LOG_WARN, "vtunnel_path_shared", "path", l->key[i].path[0] != '\0' ? l->key[i].path : "/", "reason",
			    "several keys are for this path: vtunnel's own clients of all but the first will refuse the host key; "
			    "give each a path=/NAME", (char *)NULL);
}

void
vtunnel_tell(struct vtunnel *v)
{
	char text[8 + BASE64_LEN(SHA256_LEN) + 1] = "SHA256:", count[24];
	uint8_t hash[SHA256_LEN];
	size_t n;

	sha256(v->own.blob, v->own.nblob, hash);
	n = base64_encode(text + 7, hash, sizeof(hash));
	while (text[6 + n] == '=')
		text[6 + n--] = '\0';
	pthread_mutex_lock(&v->mtx);
	snprintf(count, sizeof(count), "%zu", v->keys.n);
	pthread_mutex_unlock(&v->mtx);
	log_line(LOG_INFO, "vtunnel", "keys", count, "open", v->conf.open ? "yes" : NULL, "host_key", text, (char *)NULL);
	if (v->conf.open)
		log_line(LOG_WARN, "vtunnel_open", "reason", "anybody who reaches this daemon may open its loopback ports from 1024 up", (char *)NULL);
	pthread_mutex_lock(&v->reload);
	warn_of(&v->conf, &v->keys, &v->seen);	/* nobody changes them meanwhile */
	pthread_mutex_unlock(&v->reload);
}

static void
reload(struct vtunnel *v, int force)
{
	struct vtunnel_keys fresh, old;
	struct stat now;
	char why[300];

	memset(&now, 0, sizeof(now));	/* as a file that is not there */
	if (stat(v->conf.file, &now) == -1)
		memset(&now, 0, sizeof(now));
	if (file_same(&now, &v->seen) && !force)
		return;
	v->seen = now;
	if (take_keys(&v->conf, &fresh, &now, why, sizeof(why)) != 0) {
		log_line(LOG_ERROR, "vtunnel_keys_bad", "reason", why, "kept", "the last good set", (char *)NULL);
		return;
	}
	pthread_mutex_lock(&v->mtx);
	old = v->keys;
	v->keys = fresh;
	v->generation++;
	pthread_mutex_unlock(&v->mtx);
	vtunnel_keys_free(&old);
	v->seen = now;
	log_line(LOG_INFO, "vtunnel_keys_read", (char *)NULL);
	warn_of(&v->conf, &v->keys, &v->seen);
}

void
vtunnel_reload(struct vtunnel *v, int force)
{
	if (v == NULL || v->conf.file == NULL)
		return;
	pthread_mutex_lock(&v->reload);
	reload(v, force);
	pthread_mutex_unlock(&v->reload);
}

/* Who may come in. */

enum vtunnel_serves
vtunnel_serves(struct vtunnel *v, struct str target)
{
	struct str path = vtunnel_path(target);
	const struct vtunnel_key *k;
	enum vtunnel_serves who;

	pthread_mutex_lock(&v->mtx);
	k = vtunnel_keys_first(&v->keys, path.p, path.len);
	who = k != NULL && k->path[0] != '\0' ? VTUNNEL_OWNER : k != NULL || v->conf.open ? VTUNNEL_SOMEBODY : VTUNNEL_NOBODY;
	pthread_mutex_unlock(&v->mtx);
	return who;
}

enum vtunnel_door
vtunnel_door(struct vtunnel *v, struct str path, int own, struct sshkey *host)
{
	const struct vtunnel_key *k;
	uint8_t seed[VTUNNEL_KEY];
	enum vtunnel_door door;

	pthread_mutex_lock(&v->mtx);
	k = vtunnel_keys_first(&v->keys, path.p, path.len);
	door = k != NULL ? VTUNNEL_KEYED : v->conf.open ? VTUNNEL_OPEN : VTUNNEL_SHUT;
	if (k != NULL)
		vtunnel_host_seed(seed, k->pub);
	pthread_mutex_unlock(&v->mtx);
	if (door == VTUNNEL_OPEN || own)
		*host = v->own;
	else if (door == VTUNNEL_KEYED && sshkey_init(host, SSHKEY_ED25519, seed) == -1)
		door = VTUNNEL_SHUT;
	wipe(seed, sizeof(seed));
	return door;
}

int
vtunnel_key_ok(struct vtunnel *v, struct str path, struct str blob, char scope[STORE_SCOPE_MAX + 1])
{
	const struct vtunnel_key *k;

	pthread_mutex_lock(&v->mtx);
	if ((k = vtunnel_keys_find(&v->keys, path.p, path.len, blob.p, blob.len)) != NULL)
		memcpy(scope, k->scope, sizeof(k->scope));
	pthread_mutex_unlock(&v->mtx);
	return k != NULL;
}

unsigned
vtunnel_generation(struct vtunnel *v)
{
	unsigned n;

	pthread_mutex_lock(&v->mtx);
	n = v->generation;
	pthread_mutex_unlock(&v->mtx);
	return n;
}

/* Ports of domains. */

static struct domain *
find_locked(struct vtunnel *v, const char *who, const char *domain)
{
	struct domain *n;

	for (n = v->domains; n != NULL && (strcmp(n->who, who) != 0 || strcmp(n->domain, domain) != 0); n = n->next)
		;
	return n;
}

unsigned
vtunnel_port_of(struct vtunnel *v, const char *who, const char *domain)
{
	struct domain *n;
	unsigned port;

	pthread_mutex_lock(&v->mtx);
	n = find_locked(v, who, domain);
	port = n != NULL ? n->port : 0;
	pthread_mutex_unlock(&v->mtx);
	return port;
}

void
vtunnel_port_is(struct vtunnel *v, const char *who, const char *domain, unsigned port)
{
	struct domain *n;

	pthread_mutex_lock(&v->mtx);
	n = find_locked(v, who, domain);
	if (n == NULL && v->ndomains < PORTS_MAX && strlen(who) < sizeof(n->who) && (n = calloc(1, sizeof(*n))) != NULL) {
		snprintf(n->who, sizeof(n->who), "%s", who);
		snprintf(n->domain, sizeof(n->domain), "%s", domain);
		n->next = v->domains;
		v->domains = n;
		v->ndomains++;
	}
	if (n != NULL)
		n->port = port;
	pthread_mutex_unlock(&v->mtx);
}
