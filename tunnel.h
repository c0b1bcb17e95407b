/*
 * tunnel.h: the client as a library: local services behind a tunneld.
 *
 * Unstable: it may change until version 1. No output, no signals, no exit, no
 * process-wide state: what happens is told by callbacks, from the client's own threads.
 */
#ifndef TUNNEL_H
#define TUNNEL_H

#include <stddef.h>
#include <stdint.h>

struct tunnel_client;

enum { TUNNEL_MAX = 64 };	/* tunnels of a client: what a daemon takes of one session */

/* How a client ended; tunnel(1) exits with these. */
enum tunnel_end {
	TUNNEL_STOPPED = 0,	/* asked to */
	TUNNEL_FAILED = 1,
	TUNNEL_USAGE = 2,	/* a bad name or target */
	TUNNEL_DENIED = 3,	/* credential bad, expired or revoked, or its scope too small */
	TUNNEL_LOST = 4,	/* the name is, or was taken by, somebody else's; of several, the last one's */
	TUNNEL_UNTRUSTED = 5	/* the daemon's certificate or key, or its TLS, is not to be trusted */
};

/*
 * A request that has been served, or a TCP tunnel's connection: method is "TCP" then, target the caller's address, status 0.
 * Valid for the call only. The strings come from the network.
 */
struct tunnel_request {
	int tunnel;		/* which one, from 0 on */
	const char *method, *target;
	int status;		/* 0: none was sent */
	int64_t ms;		/* how long it took */
	uint64_t bytes;		/* of the response's content; of a connection, to the caller */
	const char *error;	/* what went wrong, in a word or a line; NULL: nothing */
};

/*
 * Any may be NULL; they must not block for long, nor call tunnel_run or tunnel_free. i: which tunnel, from 0
 * on. url, code, message and what may hold bytes from the network: escape them before a terminal sees them.
 */
struct tunnel_events {
	/* Callers can come, with path to path_url, too (else it is ""). again: after it was lost. */
	void (*ready)(void *arg, int i, const char *url, const char *path_url, const char *target, int again);
	/* Tunnel i is gone for good; the others stay. Each one's end is told once. */
	void (*lost)(void *arg, int i, const char *code, const char *message);
	/* The connection: "connected", or why it is not, and after how many milliseconds it is tried again (-1: not). */
	void (*connection)(void *arg, const char *what, int64_t retry_ms);
	void (*request)(void *arg, const struct tunnel_request *);
};

struct tunnel_spec {		/* one of several tunnels */
	const char *name;	/* of no two the same; NULL only if there is but this one, or with tcp */
	const char *target;	/* as below, and with tcp "tls://host:port": TLS goes on from here */
	const char *host;
	int insecure_target;
	int path, rewrite;	/* the last five as below */
	int tcp;		/* a TCP port's callers, and not HTTP: host, path and rewrite are not for it, nor is name but in vtunnel */
	int port;		/* the daemon's; 0: any of its pool. vtunnel: 0 is for a domain, name, that a proxy of the server's leads here */
	int public;		/* for callers from everywhere, else from the daemon's own machine */
	int proxy_protocol;	/* 1 or 2: target is told the caller by a PROXY protocol header of that version; 0: not */
};

struct tunnel_options {		/* copied by tunnel_new; zero all, then set */
	const char *dialect;	/* what the server speaks: "native" (or NULL), "pipegate" or "bifrost"; the latter two have one tunnel, and
				   no path, share, connections, auth and allow. Or "vtunnel": tunnels with tcp alone, with a key and no token */
	const char *endpoint;	/* "https://host[:port]", or wss, or without TLS http or ws; with a path, but for a native one */
	const char *token;
	const char *key;	/* vtunnel: "vt-priv-…": who we are, and who the server has to be; NULL: neither is known */
	const char *host_key;	/* vtunnel: "SHA256:BASE64" of the host key of the server's own, in place of the one that is made of our public key */
	long timeout_ms;	/* not native: for an answer of the local service; 0: what suits the dialect */
	const struct tunnel_spec *tunnels;	/* several, over one session each of connections; NULL: the one of the next six members */
	int ntunnels;		/* 1 to TUNNEL_MAX */
	const char *target;	/* "3000", "host:port", "http://host[:port]", "https://host[:port]", "unix:/path" */
	int insecure_target;	/* an https target's certificate is not verified */
	const char *name;	/* NULL: the token's only name, else "default" */
	const char *host;	/* Host told to the local service; NULL: the target's, "keep": the caller's */
	int path;		/* callers may come to the daemon's own host, too: /name/... */
	int rewrite;		/* URLs and cookies in answers become those of the callers' side */
	const char *ca;		/* PEM file of the CAs to trust; NULL: the system's */
	const char *const *pins;	/* "sha256:BASE64" of the endpoint's public key: one of these; without ca that is enough */
	int npins;		/* up to 8 */
	int share;		/* other sessions of this credential may hold the names too */
	int connections;	/* sessions, 1 to 64; more than 1 implies share. 0 means 1 */
	const char *const *auth;	/* callers need one of these, "user:password" (HTTP's basic authentication) */
	int nauth;		/* up to 64; 0: they need none */
	const char *const *allow;	/* and an address in one of these networks, "192.0.2.0/24" */
	int nallow;		/* up to 64; 0: any address */
	const char *proxy;	/* "http://[user[:password]@]host[:port]": CONNECT through it; NULL: none */
	const char *no_proxy;	/* endpoints that are reached without it, as NO_PROXY lists them; NULL: none */
	size_t stack;		/* of each thread, bytes; 0: the library's choice */
};

/* NULL and why, one line that names the offending word, if an option is wrong or memory is short. */
struct tunnel_client *tunnel_new(const struct tunnel_options *, const struct tunnel_events *,
    void *arg, char *why, size_t whylen);

/* Connect, serve, reconnect, until tunnel_close or until it makes no sense any more. why says what ended it. */
enum tunnel_end tunnel_run(struct tunnel_client *, char *why, size_t whylen);

void tunnel_close(struct tunnel_client *);	/* from any thread: tunnel_run ends soon */
void tunnel_free(struct tunnel_client *);	/* after tunnel_run */

struct tunnel_relay {		/* zero all, then set */
	const char *host;	/* the target, from where the daemon is */
	int port;
	int in, out;		/* descriptors, blocking ones will do; they become the call's */
	int stop;		/* another, -1: none: when it can be read from, it is over */
	int over;		/* when the target has ended, it is over, whatever in may still have */
};

/*
 * Connect to a TCP target through the daemon's /relay (or wsproxy's), of o's endpoint, token, ca, pins, proxy and no_proxy: bytes from in
 * go there, its bytes to out, until both ways have ended. One of each pair of ends may end before the other, where the daemon
 * is ours; wsproxy is told of the end of in by nothing. TUNNEL_STOPPED: it was in order; else why says what happened. SIGPIPE is to be ignored.
 */
enum tunnel_end tunnel_relay(const struct tunnel_options *o, const struct tunnel_relay *, char *why, size_t whylen);

enum { TUNNEL_PRIV_LEN = 51, TUNNEL_PUB_LEN = 50 };	/* vtunnel's keys as text, bytes */

/* A new key for vtunnel, "vt-priv-…" and "vt-pub-…": both are secrets. 0; or -1 and why. */
int tunnel_keygen(char priv[TUNNEL_PRIV_LEN + 1], char pub[TUNNEL_PUB_LEN + 1], char *why, size_t whylen);

int tunnel_auth_ok(const char *text);	/* 1: "user:password", up to 255 bytes, both there, without controls */

/* Host and port of a target, tls://host:port too: 1, or 0 for a unix socket, or -1 and why if it is none. */
int tunnel_target(const char *target, char *host, size_t hostlen, char *port, size_t portlen,
    char *why, size_t whylen);

int tunnel_probe(const char *target);	/* 1 if something accepts connections there */

/*
 * "name=target" in two: 1, with name in lower case and target behind the '='; 0 if text is a target alone; or -1 and why if the name
 * is none. A target may hold '=', but only behind the ':' or '/' that no name has: "unix:/a=b", "http://…".
 */
int tunnel_split(const char *text, char *name, size_t namelen, const char **target, char *why, size_t whylen);

#endif
