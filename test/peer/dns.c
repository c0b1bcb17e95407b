/*
 * dns.c: for LD_PRELOAD: names under .test have the addresses that stand in the file DNS_FILE ("a.test 192.0.2.1 ::1", a line
 * a name); each question is appended to DNS_FILE.asked. A connection to port 443 goes to DNS_HTTPS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void *
next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* The line of a name, without it, in out. 0, or -1. */
static int
look_up(const char *host, char *out, size_t cap)
{
	char path[4096], line[1024];
	size_t n = strlen(host);
	FILE *f;
	int rc = -1;

	snprintf(path, sizeof(path), "%s.asked", getenv("DNS_FILE"));
	if ((f = fopen(path, "a")) != NULL) {
		fprintf(f, "%s\n", host);
		fclose(f);
	}
	if ((f = fopen(getenv("DNS_FILE"), "r")) == NULL)
		return -1;
	while (rc == -1 && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, host, n) == 0 && line[n] == ' ') {
			snprintf(out, cap, "%s", line + n + 1);
			rc = 0;
		}
	fclose(f);
	return rc;
}

int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	void *symbol = next("getaddrinfo");
	struct addrinfo **tail = res;
	size_t n = host != NULL ? strlen(host) : 0;
	char line[1024], *word, *p;

	memcpy(&real, &symbol, sizeof(real));
	if (n < 6 || strcmp(host + n - 5, ".test") != 0)
		return real(host, port, hints, res);
	*res = NULL;
	if (look_up(host, line, sizeof(line)) == -1)
		return EAI_NONAME;
	for (word = strtok_r(line, " \n", &p); word != NULL; word = strtok_r(NULL, " \n", &p))
		if (real(word, port, hints, tail) == 0)
			while (*tail != NULL)
				tail = &(*tail)->ai_next;
	return *res != NULL ? 0 : EAI_NONAME;
}

int
connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	int (*real)(int, const struct sockaddr *, socklen_t);
	void *symbol = next("connect");
	const char *https = getenv("DNS_HTTPS");
	struct sockaddr_in in;

	memcpy(&real, &symbol, sizeof(real));
	if (sa->sa_family != AF_INET || https == NULL || len != sizeof(in))
		return real(fd, sa, len);
	memcpy(&in, sa, sizeof(in));
	if (in.sin_port == htons(443))
		in.sin_port = htons((unsigned short)atoi(https));
	return real(fd, (const struct sockaddr *)&in, sizeof(in));
}
