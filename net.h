/*
 * net.h: listening, dialling, and addresses as text.
 * Every descriptor made here is non-blocking and close-on-exec.
 */
#ifndef NET_H
#define NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr;

enum { NET_ADDR_MAX = 64, NET_HOST_MAX = 256, NET_LISTEN_MAX = 8 };

/*
 * Split "HOST:PORT", "[V6]:PORT", ":PORT" or "PORT" (host becomes "").
 * Host and port have no blanks. 0, or -1 if text is none of these or the port is not a number below 65536.
 */
int net_split(const char *text, char host[NET_HOST_MAX], char port[6]);

/*
 * Listen on "[HOST:]PORT": without HOST on 127.0.0.1, with "*" on every address. A
 * name that has several addresses takes them all, with the same port. Returns how many
 * sockets were put in fd[NET_LISTEN_MAX], or -1 with *why set to a constant string.
 * have (NULL: none), with arg, gives a socket that listens there already, or -1; it is as if it were made here.
 */
int net_listen(const char *text, int (*have)(void *, const struct sockaddr *), void *arg, int *fd, const char **why);

/* What host, without brackets, means for listening ("*": every address), to be kept for net_listen_at. How many of out, or -1 and *why. */
int net_listen_addresses(const char *host, struct sockaddr_storage out[NET_LISTEN_MAX], const char **why);
int net_listen_at(const struct sockaddr_storage *, unsigned port);	/* asks nobody about names; -1 with errno */

/* Listen on a unix socket (mode 0600), replacing one that nobody listens on. -1 with errno. */
int net_listen_unix(const char *path);

/* Next connection, or -1 with errno. peer: its address. */
int net_accept(int fd, struct sockaddr_storage *peer);

enum net_fail { NET_OK, NET_RESOLVE, NET_REFUSED, NET_TIMEOUT, NET_LOCAL };

/*
 * Connect to host and port, trying each address until deadline (clock_ms,
 * CLOCK_STEADY) or until wakefd (-1: none) is readable. The descriptor; or -1, errno and *fail: NET_LOCAL for want of descriptors or memory.
 * "localhost" is 127.0.0.1, then ::1, whatever the resolver says (RFC 6761).
 */
int net_dial(const char *host, const char *port, int64_t deadline, int wakefd, enum net_fail *fail);
int net_dial_unix(const char *path, enum net_fail *fail);

/* The addresses of host, with the port: how many of out[max]; 0: none are known. The same is said of "localhost". */
int net_resolve(const char *host, const char *port, struct sockaddr_storage *out, int max);

/* Connect to one of n addresses, as above: each has its share of the time. which: the one it is. */
int net_dial_any(const struct sockaddr_storage *, int n, int64_t deadline, int wakefd, enum net_fail *fail, int *which);

/* "127.0.0.1:80", "[::1]:80", "unix". net_format_host leaves port and brackets out. */
void net_format(const struct sockaddr_storage *, char out[NET_ADDR_MAX]);
void net_format_host(const struct sockaddr_storage *, char out[NET_ADDR_MAX]);
void net_local(int fd, struct sockaddr_storage *);
/* An address with a port, to dial or to show. */
void net_at(const struct addr *, unsigned port, struct sockaddr_storage *);
/* want is the address a, the port being the same too; or want's is 0. IPv4 or IPv6. */
int net_same(const struct sockaddr_storage *a, const struct sockaddr *want);
int net_any_port(const struct sockaddr *);	/* the port is 0 */
int net_listens(int fd);	/* the family of a stream socket that listens; -1: it is none */

int net_flags(int fd);		/* non-blocking and close-on-exec: 0, or -1 with errno */
void net_tune(int fd);		/* TCP_NODELAY, keep-alive, a short unsent backlog */
void net_tune_local(int fd);	/* without the last: to a service of ours that is near and reads, the kernel drains a long one without us */

#endif
