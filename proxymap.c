/* proxymap.c: which tunnel answers for a host and port; see proxymap.h. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cidr.h"
#include "proxymap.h"

enum { ADDRESS_MAX = 46 };

enum kind { EXACT, LEADING, TRAILING };	/* in the order of precedence */

struct entry {
	struct entry *next;
	uint64_t id;		/* nobody else's, nor the same key's when it is set anew */
	enum kind kind;
	unsigned port;
	size_t len;		/* of host */
	char host[PROXYMAP_KEY_MAX + 1];	/* in lower case; of a wildcard what stands still: ".suffix", "prefix." */
	char name[sizeof(((struct proxymap_hit *)0)->name)];
	char *who, *to;
	struct str fields;
};

const char proxymap_nowhere[] = "tcp:0";
static const char owner_full[] = "the credential has as many domains as it may", full[] = "the proxy's map has as many domains as it may";

struct proxymap {
	pthread_mutex_t mtx;	/* guards what follows; alone */
	struct entry *first;
	int n;
	uint64_t last_id;
};

struct proxymap *
proxymap_new(void)
{
	struct proxymap *m = calloc(1, sizeof(*m));

	if (m != NULL)
		pthread_mutex_init(&m->mtx, NULL);
	return m;
}

static void
free_entry(struct entry *e)
{
	if (e == NULL)
		return;
	free(e->who);
	free(e->to);
	free((char *)(uintptr_t)e->fields.p);
	free(e);
}

void
proxymap_free(struct proxymap *m)
{
	struct entry *e;

	if (m == NULL)
		return;
	while ((e = m->first) != NULL) {
		m->first = e->next;
		free_entry(e);
	}
	pthread_mutex_destroy(&m->mtx);
	free(m);
}

/* Without a final dot, and without the brackets of an IPv6 address. */
static struct str
bare(struct str host)
{
	if (host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']') {
		host.p++;
		host.len -= 2;
	} else if (host.len > 0 && host.p[host.len - 1] == '.')
		host.len--;
	return host;
}

/* An address as it is always written, in out: else it would have many keys, and those that are not mapped pass. A name stays. */
static struct str
usual(struct str host, char out[ADDRESS_MAX])
{
	struct addr a;

	if (host.len >= ADDRESS_MAX)
		return host;
	memcpy(out, host.p, host.len);
	out[host.len] = '\0';
	if (strlen(out) != host.len || addr_parse(&a, out) == -1)
		return host;
	addr_format(&a, out, ADDRESS_MAX);
	host.p = out;
	host.len = strlen(out);
	return host;
}

static char
lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Bytes of names, addresses and patterns; a label is not empty, and a colon is an IPv6 address's. */
static int
host_ok(struct str host, int bracketed)
{
	static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*";
	size_t i;

	for (i = 0; i < host.len; i++) {
		if (host.p[i] != '\0' && strchr(bracketed ? "0123456789abcdefABCDEF:." : others, host.p[i]) != NULL)
			continue;
		if (host.p[i] != '.' || i == 0 || host.p[i - 1] == '.')
			return 0;
	}
	return host.len > 0;
}

/* 1 to 65535, or 0: it is none. */
static unsigned
port_of(const char *p)
{
	unsigned port = 0;
	size_t i;

	for (i = 0; p[i] >= '0' && p[i] <= '9' && i < 6; i++)
		port = port * 10 + (unsigned)(p[i] - '0');
	return i > 0 && p[i] == '\0' && port < 65536 ? port : 0;
}

/* The key's parts into e. 0, or -1: it is none. */
static int
take_key(struct entry *e, const char *key)
{
	const char *colon = strrchr(key, ':');
	char address[ADDRESS_MAX];
	struct str host;
	size_t i;

	if (colon == NULL || strlen(key) > PROXYMAP_KEY_MAX || (e->port = port_of(colon + 1)) == 0)
		return -1;
	host.p = key;
	host.len = (size_t)(colon - key);
	host = bare(host);
	if (!host_ok(host, key[0] == '['))
		return -1;
	host = usual(host, address);
	e->kind = EXACT;
	if (host.len > 2 && host.p[0] == '*' && host.p[1] == '.') {
		e->kind = LEADING;
		host.p++;
		host.len--;
	} else if (host.len > 2 && host.p[host.len - 1] == '*' && host.p[host.len - 2] == '.') {
		e->kind = TRAILING;
		host.len--;
	}
	e->len = host.len;
	for (i = 0; i < host.len; i++)
		e->host[i] = lower(host.p[i]);
	e->host[host.len] = '\0';
	return 0;
}

static int
same_key(const struct entry *a, const struct entry *b)
{
	return a->kind == b->kind && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Where the entry of the same key hangs, or the end. */
static struct entry **
find_locked(struct proxymap *m, const struct entry *e)
{
	struct entry **at = &m->first;

	while (*at != NULL && !same_key(*at, e))
		at = &(*at)->next;
	return at;
}

/* Is there room for one more of who's, which is one more in all? */
static const char *
room_locked(const struct proxymap *m, const char *who, int more)
{
	const struct entry *e;
	int n = 0;

	for (e = m->first; e != NULL; e = e->next)
		n += strcmp(e->who, who) == 0;
	return n >= PROXYMAP_OWNER_MAX ? owner_full : more && m->n >= PROXYMAP_MAX ? full : NULL;
}

/* A copy of what is to be. NULL, and *why. */
static struct entry *
new_entry(const struct proxymap_set *s, const char **why)
{
	struct entry *e = calloc(1, sizeof(*e));
	char *fields = malloc(s->fields.len + 1);

	*why = "no memory is left";
	if (e == NULL || fields == NULL || (e->who = strdup(s->who)) == NULL || (e->to = strdup(s->to)) == NULL) {
		free(fields);
		free_entry(e);
		return NULL;
	}
	if (s->fields.len > 0)
		memcpy(fields, s->fields.p, s->fields.len);
	e->fields.p = fields;
	e->fields.len = s->fields.len;
	*why = s->fields.len > PROXYMAP_FIELDS_MAX ? "the domain's header fields are too long" :
	    "a domain is HOST:PORT, *.SUFFIX:PORT or PREFIX.*:PORT";
	if (s->fields.len > PROXYMAP_FIELDS_MAX || strlen(s->name) >= sizeof(e->name) || take_key(e, s->key) == -1) {
		free_entry(e);
		return NULL;
	}
	memcpy(e->name, s->name, strlen(s->name) + 1);
	return e;
}

/*
 * Put e in, in place of what has its key: 1 and *why, NULL or what speaks against it. 0: it is another credential's, whose tunnel
 * is *name; unless that is gone, which is to be found out without the lock.
 */
static int
put_locked(struct proxymap *m, struct entry *e, const char *gone, char name[sizeof(e->name)], const char **why)
{
	struct entry **at = find_locked(m, e), *old = *at;
	int others = old != NULL && strcmp(old->who, e->who) != 0;

	*why = NULL;
	if (others && strcmp(old->name, gone) != 0) {
		memcpy(name, old->name, sizeof(old->name));
		return 0;
	}
	if ((old == NULL || others) && (*why = room_locked(m, e->who, old == NULL)) != NULL)
		return 1;
	e->id = ++m->last_id;
	e->next = old != NULL ? old->next : NULL;
	*at = e;
	m->n += old == NULL;
	free_entry(old);
	return 1;
}

/* Is the entry who's, or (NULL) anybody's? */
static int
is_of(const struct entry *e, const char *who)
{
	return who == NULL || strcmp(e->who, who) == 0;
}

/* Remove this one, if it is there still and has not been set anew. */
static void
remove_id(struct proxymap *m, uint64_t id)
{
	struct entry **at = &m->first, *e;

	pthread_mutex_lock(&m->mtx);
	while ((e = *at) != NULL && e->id != id)
		at = &e->next;
	if (e != NULL) {
		*at = e->next;
		m->n--;
		free_entry(e);
	}
	pthread_mutex_unlock(&m->mtx);
}

/* Of who's entries, or (NULL) of all, remove the one that has been there longest of those whose tunnel has gone. 0, or -1: there is none. */
static int
make_room(struct proxymap *m, const char *who, int (*held)(void *, const char *), void *arg)
{
	struct seen {
		uint64_t id;
		char name[sizeof(((struct entry *)0)->name)];
	} *seen = malloc(PROXYMAP_MAX * sizeof(*seen));
	const struct entry *e;
	int i = 0, n = 0;

	if (seen == NULL)
		return -1;
	pthread_mutex_lock(&m->mtx);
	for (e = m->first; e != NULL && n < PROXYMAP_MAX; e = e->next)
		if (is_of(e, who)) {
			seen[n].id = e->id;
			memcpy(seen[n++].name, e->name, sizeof(e->name));
		}
	pthread_mutex_unlock(&m->mtx);
	while (i < n && held(arg, seen[i].name))
		i++;
	if (i < n)
		remove_id(m, seen[i].id);
	free(seen);
	return i < n ? 0 : -1;
}

const char *
proxymap_set(struct proxymap *m, const struct proxymap_set *s, int (*held)(void *, const char *), void *arg)
{
	char name[sizeof(((struct entry *)0)->name)] = "", gone[sizeof(name)] = "";
	const char *why;
	struct entry *e = new_entry(s, &why);
	int done;

	if (e == NULL)
		return why;
	for (;;) {
		pthread_mutex_lock(&m->mtx);
		done = put_locked(m, e, gone, name, &why);
		pthread_mutex_unlock(&m->mtx);
		if (!done && held(arg, name)) {
			why = "the domain is held by another credential";
			break;
		}
		if (done && ((why != owner_full && why != full) || make_room(m, why == full ? NULL : s->who, held, arg) == -1))
			break;
		if (!done)
			memcpy(gone, name, sizeof(gone));
	}
	if (why != NULL)
		free_entry(e);
	return why;
}

void
proxymap_moved(struct proxymap *m, const char *name, const char *who, const char *to)
{
	struct entry *e;

	pthread_mutex_lock(&m->mtx);
	for (e = m->first; e != NULL; e = e->next)
		if (strcmp(e->name, name) == 0 && strcmp(e->who, who) == 0 && strcmp(e->to, to) != 0)
			memcpy(e->name, proxymap_nowhere, sizeof(proxymap_nowhere));
	pthread_mutex_unlock(&m->mtx);
}

static int
matches(const struct entry *e, struct str host, unsigned port)
{
	if (e->port != port || (e->kind == EXACT ? host.len != e->len : host.len <= e->len))
		return 0;
	return http_same(e->kind == LEADING ? host.p + (host.len - e->len) : host.p, e->host, e->len);
}

/* Does a come before b? */
static int
before(const struct entry *a, const struct entry *b)
{
	return b == NULL || a->kind < b->kind || (a->kind == b->kind && a->len > b->len);
}

static int
copy_hit(struct proxymap_hit *hit, const struct entry *e)
{
	char *fields = malloc(e->fields.len + 1);

	hit->who = strdup(e->who);
	hit->fields.p = fields;
	hit->fields.len = e->fields.len;
	if (fields == NULL || hit->who == NULL) {
		free(fields);
		free(hit->who);
		return -1;
	}
	memcpy(fields, e->fields.p, e->fields.len);
	memcpy(hit->name, e->name, sizeof(hit->name));
	return 1;
}

int
proxymap_find(struct proxymap *m, struct str host, unsigned port, struct proxymap_hit *hit)
{
	const struct entry *e, *best = NULL;
	char address[ADDRESS_MAX];
	int rc = 0;

	host = usual(bare(host), address);
	pthread_mutex_lock(&m->mtx);
	for (e = m->first; e != NULL; e = e->next)
		if (matches(e, host, port) && before(e, best))
			best = e;
	if (best != NULL)
		rc = copy_hit(hit, best);
	pthread_mutex_unlock(&m->mtx);
	return rc;
}

int
proxymap_get(struct proxymap *m, const char *key, struct proxymap_hit *hit)
{
	const struct entry *e;
	struct entry want;
	int rc = 0;

	if (take_key(&want, key) == -1)
		return 0;
	pthread_mutex_lock(&m->mtx);
	if ((e = *find_locked(m, &want)) != NULL)
		rc = copy_hit(hit, e);
	pthread_mutex_unlock(&m->mtx);
	return rc;
}

/* The key that take_key has read. */
static void
put_key(char key[PROXYMAP_TEXT_MAX], const struct entry *e)
{
	int v6 = strchr(e->host, ':') != NULL;

	snprintf(key, PROXYMAP_TEXT_MAX, "%s%s%s%s:%u", e->kind == LEADING ? "*" : v6 ? "[" : "", e->host,
	    e->kind == TRAILING ? "*" : "", v6 ? "]" : "", e->port);
}

int
proxymap_at(struct proxymap *m, int place, char key[PROXYMAP_TEXT_MAX], struct proxymap_hit *hit, char **to)
{
	const struct entry *e;
	int rc = 0;

	pthread_mutex_lock(&m->mtx);
	for (e = m->first; e != NULL && place > 0; e = e->next)
		place--;
	if (e != NULL && (rc = copy_hit(hit, e)) == 1) {
		put_key(key, e);
		if ((*to = strdup(e->to)) == NULL) {
			free(hit->who);
			free((char *)(uintptr_t)hit->fields.p);
			rc = -1;
		}
	}
	pthread_mutex_unlock(&m->mtx);
	return rc;
}
