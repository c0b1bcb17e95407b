/* local.c: local services, and the connections kept to them; see local.h and localint.h. */
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "clock.h"
#include "localint.h"

int
local_parse(struct local_target *t, const char *text, const char **why)
{
	size_t len;
	char host[NET_HOST_MAX + 8];
	const char *port = NULL;	/* what the scheme implies */

	t->tls = t->raw = 0;
	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] == '\0' || strlen(text + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
			*why = "unix: needs the path of a socket, not too long";
			return -1;
		}
		memcpy(t->host, text + 5, strlen(text + 5) + 1);
		t->port[0] = '\0';
		return 0;
	}
	t->tls = strncmp(text, "https://", 8) == 0;
	t->raw = strncmp(text, "tls://", 6) == 0;
	if (t->raw) {
		text += 6;
		t->tls = 1;
	} else if (t->tls || strncmp(text, "http://", 7) == 0) {
		text += t->tls ? 8 : 7;
		port = t->tls ? ":443" : ":80";
	}
	len = strlen(text);
	if (len > 0 && text[len - 1] == '/')
		len--;
	*why = t->raw ? "is not tls://HOST:PORT" : "is not PORT, HOST:PORT, http[s]://HOST[:PORT] or unix:/PATH";
	if (len == 0 || len >= sizeof(host) - 5)
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	if (port != NULL && (strchr(host, ':') == NULL || host[len - 1] == ']'))
		memcpy(host + len, port, strlen(port) + 1);
	if (net_split(host, t->host, t->port) == -1 || strcmp(t->port, "0") == 0 ||
	    strcmp(t->host, "*") == 0 || (t->raw && t->host[0] == '\0'))
		return -1;
	if (t->host[0] == '\0')
		memcpy(t->host, "localhost", sizeof("localhost"));
	return 0;
}

struct local *
local_new(const struct local_conf *conf)
{
	struct local *l = calloc(1, sizeof(*l) + (size_t)conf->max * sizeof(l->pool[0]));
	int i;

	if (l == NULL)
		return NULL;
	l->request = conf->request;
	l->arg = conf->arg;
	l->n = conf->n;
	for (i = 0; i < conf->n; i++)
		l->pool[i].to = conf->service[i];
	if ((l->workers = workers_new(conf->stack, WORKERS_MAX)) == NULL) {
		free(l);
		return NULL;
	}
	l->watch = watch_new(l->workers);
	pthread_mutex_init(&l->mtx, NULL);
	return l;
}

void
local_add(struct local *l, const struct local_service *s)
{
	pthread_mutex_lock(&l->mtx);
	l->pool[l->n++].to = *s;
	pthread_mutex_unlock(&l->mtx);
}

void
local_rouse_locked(struct job *j)
{
	if (j->watches)
		watch_post(&j->watched);
	else
		wake_post(&j->wake);
}

int
local_end(struct local *l, int ms)
{
	struct job *j;
	int i;

	pthread_mutex_lock(&l->mtx);
	l->ending = 1;
	for (i = 0; i < l->n; i++)
		for (j = l->pool[i].parked; j != NULL; j = j->next)
			local_rouse_locked(j);
	pthread_mutex_unlock(&l->mtx);
	if (l->watch != NULL)
		watch_end(l->watch);
	if (!workers_end(l->workers, ms))
		return 0;
	if (l->watch != NULL)
		watch_free(l->watch);
	pthread_mutex_destroy(&l->mtx);
	for (i = 0; i < l->n; i++)
		if (l->pool[i].to.tls != NULL)
			tls_client_free(l->pool[i].to.tls);
	free(l);
	return 1;
}

/* Parked jobs. */

void
local_park_locked(struct job *j)
{
	j->parked = 1;
	j->started = 0;
	j->next = j->pool->parked;
	j->pool->parked = j;
	j->pool->nparked++;
}

void
local_unpark_locked(struct job *j)
{
	struct job **p;

	for (p = &j->pool->parked; *p != j; p = &(*p)->next)
		;
	*p = j->next;
	j->parked = 0;
	j->pool->nparked--;
}

int
local_park(struct job *j)
{
	struct local *l = j->l;
	int events = POLLIN, ev, rc = -1;

	j->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_lock(&l->mtx);
	if (l->ending || j->pool->nparked >= PARKED_MAX / l->n)
		rc = 0;
	else
		local_park_locked(j);
	pthread_mutex_unlock(&l->mtx);
	while (rc == -1) {
		/* taken, its connection is left alone until the request is whole */
		ev = conn_wait(&j->conn, events, events != 0 ? j->since + IDLE_MS : CONN_FOREVER,
		    j->wake.rd, NULL);
		pthread_mutex_lock(&l->mtx);
		if (j->waiting)
			wake_clear(&j->wake);
		if (j->started)
			rc = 1;
		else if (j->parked && (ev != 0 || l->ending ||
		    clock_ms(CLOCK_STEADY) >= j->since + IDLE_MS)) {
			local_unpark_locked(j);	/* its time is over, or the service ended it */
			rc = 0;
		}
		j->waiting = rc == -1 && !j->parked;
		events = j->waiting ? 0 : POLLIN;
		pthread_mutex_unlock(&l->mtx);
	}
	return rc;
}

int
local_leave(struct job *j)
{
	struct local *l = j->l;
	int ok;

	if (!j->watched.joined)
		watch_join(&j->watched, l->watch, j->conn.fd, local_called, local_later);
	j->since = clock_ms(CLOCK_STEADY);
	pthread_mutex_lock(&l->mtx);
	j->waiting = 0;
	if ((ok = !l->ending && j->pool->nparked < PARKED_MAX / l->n))
		local_park_locked(j);
	pthread_mutex_unlock(&l->mtx);
	if (ok)
		watch_idle(&j->watched, j->since + IDLE_MS);
	return ok;
}

/* It is parked, or taken for an exchange that has not begun. 1: its time is over, or the service has ended it. */
static int
judge_parked(struct job *j)
{
	struct local *l = j->l;
	int quiet = conn_quiet(&j->conn), over;

	pthread_mutex_lock(&l->mtx);
	over = j->parked && (!quiet || l->ending || clock_ms(CLOCK_STEADY) >= j->since + IDLE_MS);
	if (over)
		local_unpark_locked(j);
	pthread_mutex_unlock(&l->mtx);
	return over;
}

void
local_called(struct watched *w)
{
	struct job *j = local_job(w);
	struct local *l = j->l;
	int64_t until;
	int started;

	pthread_mutex_lock(&l->mtx);
	started = j->started;
	j->waiting = !started && !j->parked;	/* its connection is left alone until the request is whole */
	until = j->waiting ? CONN_FOREVER : j->since + IDLE_MS;
	pthread_mutex_unlock(&l->mtx);
	if (started)
		local_serve(j);
	else if (judge_parked(j))
		local_drop(j);
	else
		watch_idle(w, until);
}

/* Jobs. */

struct job *
local_job_new(struct local *l, struct pool *pool)
{
	struct job *j = malloc(sizeof(*j));	/* not zeroed: most of it is never touched */

	if (j == NULL)
		return NULL;
	if (wake_open(&j->wake) == -1) {
		free(j);
		return NULL;
	}
	j->l = l;
	j->pool = pool;
	j->conn.fd = -1;
	j->watched.joined = 0;
	j->watches = l->watch != NULL && pool->to.tls == NULL;	/* TLS may have read what the system does not tell of */
	j->threaded = j->parked = j->waiting = 0;
	j->partial = NULL;
	return j;
}

struct job *
local_job(struct watched *w)
{
	return (struct job *)(void *)((char *)w - offsetof(struct job, watched));
}

void
local_job_free(struct job *j)
{
	free(j->partial);
	wake_close(&j->wake);
	free(j);
}
