/*
 * tunnel.h: tunnels as a library, tunnel(3): a client, that is local services behind a tunneld, and a server, that is the
 * tunneld's side of it in a program of one's own. Several of each may live in one process.
 *
 * Unstable: it may change until version 1. No output, no signals, no exit, no process-wide state: what happens is
 * told by callbacks, from threads of the library's own. C99, or C++.
 */
#ifndef TUNNEL_H
#define TUNNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The client. */

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

enum tunnel_level { TUNNEL_DEBUG, TUNNEL_INFO, TUNNEL_WARN, TUNNEL_ERROR };	/* of a log line */

/*
 * Any may be NULL; they must not block for long, nor call what waits: tunnel_run, tunnel_connect, tunnel_ready, tunnel_relay, tunnel_probe or tunnel_free. i: which tunnel, from 0
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
	/* All of it as lines "level=info event=ready url=...", each with its newline, of printable ASCII whatever came from the network. */
	void (*log)(void *arg, int level, const char *line);
};

struct tunnel_spec {		/* one of several tunnels; zero all, then set */
	const char *name;	/* of no two the same; NULL only if there is but this one, or with tcp */
	const char *target;	/* as below, and with tcp "tls://host:port": TLS goes on from here; NULL with accept */
	const char *host;
	int insecure_target;
	int path, rewrite;	/* the last five as below */
	int tcp;		/* a TCP port's callers, and not HTTP: host, path and rewrite are not for it, nor is name but in vtunnel */
	int port;		/* the daemon's; 0: any of its pool. vtunnel: 0 is for a domain, name, that a proxy of the server's leads here */
	int is_public;		/* for callers from everywhere, else from the daemon's own machine */
	int proxy_protocol;	/* 1 or 2: target is told the caller by a PROXY protocol header of that version; 0: not */
	/*
	 * Not NULL: no target, but the program itself serves this tunnel. Each connection is one end of a socketpair(2), fd, which blocks
	 * and is the program's to close. With tcp, peer is the caller's address; else it is "", and HTTP/1.1 requests of
	 * many callers come one after the other. From a thread of the connection's own, which goes on when it returns: it must not serve.
	 */
	void (*accept)(void *arg, int i, int fd, const char *peer);
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
	int ntunnels;		/* up to TUNNEL_MAX */
	const char *target;	/* NULL, and no tunnels: none yet, see tunnel_listen. "3000", "host:port", "http://host[:port]", "https://host[:port]", "unix:/path" */
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
	const char *const *headers;	/* "Name: value", more fields of the WebSocket's opening handshake, up to 8 KiB; none that it has itself */
	int nheaders;
	long ping_ms;		/* the connection is pinged so often, and lost if nothing at all comes until the next; 0: as the daemon says; -1: never */
	long retry_min_ms;	/* how long after a failure it is tried again: the first time at once, then after retry_min_ms, twice that, */
	long retry_max_ms;	/* and so on, up to this, less up to a quarter by chance. 0: 1000 and 30000 */
};

/* events: NULL for none; copied. NULL and why, one line that names the offending word, if an option is wrong or memory is short. */
struct tunnel_client *tunnel_new(const struct tunnel_options *, const struct tunnel_events *events,
    void *arg, char *why, size_t whylen);

/*
 * One more tunnel, at any time, of those dialects that know more than one: its number, or -1 and why, as above. It is asked for at
 * once where there is a connection; tunnel_ready, or the callbacks ready and lost, tell what comes of it.
 */
int tunnel_listen(struct tunnel_client *, const struct tunnel_spec *, char *why, size_t whylen);

/*
 * Connect, and from now on serve and reconnect, on threads of the client's own. Waits until there is a connection: 0; or -1 and why: it is over, as
 * tunnel_run tells, or ms have passed. Then it goes on trying: call it again to go on waiting, or tunnel_close.
 */
int tunnel_connect(struct tunnel_client *, long ms, char *why, size_t whylen);

/* Wait until callers can come to tunnel i: 0 and its URL, or "tcp://host:port"; or -1 and why: it is lost, all is over, or ms have passed. */
int tunnel_ready(struct tunnel_client *, int i, long ms, char *url, size_t urllen, char *why, size_t whylen);

/* Connect, unless that has been done, and wait for the end: until tunnel_close or until it makes no sense any more. why says what ended it. */
enum tunnel_end tunnel_run(struct tunnel_client *, char *why, size_t whylen);

void tunnel_close(struct tunnel_client *);	/* it ends soon. From any thread, callbacks too; not after tunnel_free, of course */
/* Close, wait until its threads have gone and no callback runs, and give all back. Once, when no other call is under way. NULL is fine. */
void tunnel_free(struct tunnel_client *);

struct tunnel_relay {		/* zero all, then set; in and out may be the same */
	const char *host;	/* the target, from where the daemon is */
	int port;
	int in, out;		/* descriptors, blocking ones will do; they become the call's */
	int stop;		/* another, -1: none: when it can be read from, it is over */
	int over;		/* when the target has ended, it is over, whatever in may still have */
};

/*
 * Connect to a TCP target through the daemon's /relay (or wsproxy's), of o's endpoint, token, ca, pins, proxy and no_proxy: bytes from in
 * go there, its bytes to out, until both ways have ended. One of each pair of ends may end before the other, where the daemon
 * is ours; wsproxy is told of the end of in by nothing. TUNNEL_STOPPED: it was in order; else why says what happened.
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

/* The server: what tunneld does, but for listening: connections come from the program. */

struct tunnel_server;

struct tunnel_token {
	const char *token;	/* as clients give it: any text without blanks and controls */
	const char *scope;	/* the names and ports it may have: "preview,9000,9100-9199", or "*" */
};

struct tunnel_server_options {	/* copied; zero all, then set */
	const struct tunnel_token *tokens;
	int ntokens;		/* 0: no client is let in yet, see tunnel_server_tokens */
	const char *keys;	/* vtunnel's clients, a line each: "vt-pub-... [SCOPE] [path=/PATH]"; NULL: none. Their host key is derived from theirs */
	const char *domain;	/* a tunnel is reached at NAME.domain; NULL: at NAME.localhost and NAME.tunnel.ANYTHING */
	const char *url;	/* scheme and port of the URLs told to clients, "https://example.com"; NULL: as they have come */
	const char *ports;	/* TCP ports, on loopback, for clients that name none: "9100-9199"; NULL: they must name one; "none": there are no ports */
	long grace_ms;		/* a lost session keeps its names so long; 0: 10 s; -1: not at all */
	long timeout_ms;	/* for a response head; 0: 30 s */
	int sessions, callers;	/* at most so many of each; 0: 1024 */
	void (*log)(void *arg, int level, const char *line);	/* as in struct tunnel_events; NULL: none */
	void *arg;
};

/* NULL and why, one line. */
struct tunnel_server *tunnel_server_new(const struct tunnel_server_options *, char *why, size_t whylen);

/* From now on these tokens, and no others: sessions of others end within a second. 0; or -1 and why, and all stays as it was. */
int tunnel_server_tokens(struct tunnel_server *, const struct tunnel_token *, int n, char *why, size_t whylen);

struct tunnel_handover {	/* what the program knows of a connection; zero all, then set */
	const void *early;	/* bytes that it has read from it already, up to 64 KiB; copied */
	size_t nearly;
	int websocket;		/* the program has answered the upgrade of a client with 101 and subprotocol tunnel.v1; early came behind the request */
	const char *token;	/* whose credential that was; NULL: the program has judged it, and the next two are what came of it: */
	const char *who;	/* the same for the same credential, up to 100 bytes */
	const char *scope;	/* as in struct tunnel_token */
};

/*
 * Serve a connection, a stream socket, on a thread of the server's own: a client that comes with an upgrade of /_tunnel, or a caller of
 * a tunnel; or what h (NULL: nothing) says. fd is the server's from now on, whatever comes of it. 0; or -1 with errno: EACCES, the
 * credential is none; EAGAIN, it has too many already, or no thread can be had; ENOMEM; EINVAL, h makes no sense; EBADF, fd is none.
 */
int tunnel_server_handle_fd(struct tunnel_server *, int fd, const struct tunnel_handover *h);

/*
 * The tunnel that callers of this host ("preview.example.com:443", a request's Host) come to: by a domain with its port that a client of vtunnel's has
 * registered and serves, else by its name: 1 and the name; or 0. The latter may be in its grace period.
 */
int tunnel_server_find(struct tunnel_server *, const char *host, char *name, size_t namelen);

/*
 * Connect to a tunnel, "preview" or "tcp:9000", as a caller: a descriptor that blocks, one end of a socketpair(2). HTTP/1.1 to the former, whatever Host
 * says. -1 with errno: ENOENT, nobody has it; EAGAIN, EMFILE, ENOMEM.
 */
int tunnel_server_open(struct tunnel_server *, const char *name);

/* Close all connections, wait until the server's threads have gone, and give all back. Once, when no other call is under way. NULL is fine. */
void tunnel_server_free(struct tunnel_server *);

#ifdef __cplusplus
}
#endif

#endif
