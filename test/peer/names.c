/* names.c: for LD_PRELOAD: names that end in .test are this machine, so that certificates with any name can be tried. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
	size_t n = host != NULL ? strlen(host) : 0;

	memcpy(&real, &symbol, sizeof(real));
	if ((n > 5 && strcasecmp(host + n - 5, ".test") == 0) || (n > 6 && strcasecmp(host + n - 6, ".test.") == 0))
		host = "127.0.0.1";
	return real(host, port, hints, res);
}
