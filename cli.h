/*
 * cli.h: what the client's files share: tunnel.c (options, start), saved.c (the folder of
 * saved settings), show.c (what happens, as lines), runner.c (signals, --run, --wait), relaycmd.c (relay), keygen.c (keygen).
 * Of the program, not of the library.
 */
#ifndef CLI_H
#define CLI_H

#include "opt.h"
#include "tunnel.h"

enum {
	CLI_PATH_MAX = 1024,
	CLI_TOKEN_MAX = 8192,
	PROXY_SIZE = 4096,	/* credentials may be percent-encoded */
	PINS_MAX = 8, PIN_SIZE = 64, KEY_SIZE = 128,
	NAME_SIZE = 256, TARGET_SIZE = 300,
	GUARDS_MAX = 64, AUTH_SIZE = 256, NET_SIZE = 64,
	CLI_WHY_MAX = 600
};

/* The tunnels of a command line or a file. */
struct tunnels {
	struct {
		char name[NAME_SIZE];	/* "": the daemon chooses */
		char target[TARGET_SIZE];
	} t[TUNNEL_MAX];
	int n;
	int tcp;		/* the names are ports, "9000", or "0" for any; with vtunnel domains, too */
};

struct conf {
	char name[NAME_SIZE], host[256], run[4096], endpoint[512], token_file[CLI_PATH_MAX];
	char token[CLI_TOKEN_MAX], proxy[PROXY_SIZE], file[CLI_PATH_MAX];
	int share, path, rewrite, quiet, wait, help, version, has_name, has_host, proxy_bad;
	long connections;
	char ca[CLI_PATH_MAX], pin[PINS_MAX][PIN_SIZE];
	int npins, insecure_target;
	char auth_file[CLI_PATH_MAX], auth[GUARDS_MAX][AUTH_SIZE], allow[GUARDS_MAX][NET_SIZE];
	int has_auth_file, nauth, nallow;
	int public, proxy_protocol;	/* of TCP ports */
	char key_file[CLI_PATH_MAX], host_key[PIN_SIZE], key[KEY_SIZE];	/* vtunnel's; "": none */
	char dialect[16];	/* "": the saved one's, if the saved endpoint is used; else native */
	long timeout_ms;	/* 0: the dialect's */
	struct tunnels tunnels;
};

void die(int code, const char *fmt, ...);	/* one line, "tunnel: ", and exit */

/* tunnel.c */
struct tunnel_client *new_client(const struct conf *);
void choose_proxy(const struct conf *, struct tunnel_options *);
void give_pins(const struct conf *, struct tunnel_options *, const char *pins[PINS_MAX]);
const char *set_pin(void *conf, const char *);

/* saved.c */
void saved_use(const struct conf *, const char *endpoint, const char *token);	/* save them, the pins and the dialect */
void saved_read(struct conf *);		/* endpoint, pins, dialect, and token or key, where conf has none yet */
void saved_auth(struct conf *);		/* the lines of --auth-file, or TUNNEL_AUTH */
int read_line(int fd, char *out, size_t cap);	/* 0, or -1 if there is none or it is too long */
/*
 * The tunnels of a file: path, or "" for the folder's own. out holds its path then. 0; -1 if there
 * is no such file; dies on an unusable one, naming file and line.
 */
int saved_tunnels(struct tunnels *, const char *path, char out[CLI_PATH_MAX]);

/* show.c */
void show_init(const struct conf *);
extern const struct tunnel_events show_events;
int show_said_lost(void);	/* the end of every tunnel has been told */
void show_line(const char *fmt, ...);	/* to standard error, with "tunnel: " before it and a line end */
void show_target(char *out, size_t cap, const char *target);	/* "localhost:3000", "unix:/path" */
void escape(char *out, size_t cap, const char *s);	/* bytes from the network as text that cannot play with a terminal */

/* relaycmd.c */
int relay_command(const struct conf *, const char *host, const char *port);	/* until it is over; the exit status */

/* keygen.c */
int keygen_command(const char *file);	/* NULL: both keys go to standard output; the exit status */

/* runner.c */
int runner(const struct conf *);	/* serve, until it is over; the exit status */

#endif
