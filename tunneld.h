/*
 * tunneld.h: what the daemon's files share: tunneld.c (start and stop), daemonopt.c
 * (options and files), command.c (token, status, stop), jwtcmd.c (jwt), supervise.c (what started it). Of the program, not of the library.
 */
#ifndef TUNNELD_H
#define TUNNELD_H

#include "daemon.h"
#include "net.h"
#include "opt.h"
#include "store.h"
#include "vtunnel.h"

enum {
	LISTEN_TEXTS = 16,
	FILE_PATH_MAX = 512,
	USER_MAX = 128,
	EXIT_USAGE = 2
};

struct conf {
	struct daemon_conf d;
	char listen[LISTEN_TEXTS][NET_HOST_MAX + 8];
	int tls[LISTEN_TEXTS], proxy[LISTEN_TEXTS], nlisten;
	struct {		/* for OpenSSH's clients */
		char listen[LISTEN_TEXTS][NET_HOST_MAX + 8];
		int nlisten;
		char host_key[FILE_PATH_MAX], keys[FILE_PATH_MAX];	/* "": not given */
	} ssh;
	char proxy_at[LISTEN_TEXTS][NET_HOST_MAX + 8];	/* the CONNECT proxy's */
	int nproxy_at, pass_none;
	char proxy_auth[FILE_PATH_MAX], pass_verb[8];	/* as relay_verb */
	char state[FILE_PATH_MAX], file[FILE_PATH_MAX];
	char cert[TLS_PAIRS_MAX][FILE_PATH_MAX], key[TLS_PAIRS_MAX][FILE_PATH_MAX];
	int ncerts, nkeys;
	char ports_bind[NET_HOST_MAX];	/* "": loopback alone */
	char relay_verb[8], relay_ca[FILE_PATH_MAX];	/* relay_verb: a rule's first word, of which the second has not come */
	char vtunnel_key[4096], vtunnel_keys[FILE_PATH_MAX];	/* lines, a file; where vtunnel points to: */
	int vtunnel_key_full;	/* they did not fit */
	struct vtunnel_conf vtunnel;
	char user[USER_MAX], chroot[FILE_PATH_MAX];	/* "": stay as we are */
	int sandbox;
	char log[FILE_PATH_MAX], access_log[FILE_PATH_MAX];	/* "stderr", "syslog" or a file; "": not given */
	long ready_fd;		/* 0: none */
	int log_time, log_all, background, takeover, check, json, help, version, global;
	char scope[STORE_SCOPE_MAX + 1], note[STORE_NOTE_MAX + 1];
	long expires_ms;
	char name[JWT_TEXT_MAX + 1];	/* of a JWT to be made */
	struct {		/* where d.jwt points to, after jwt_settings */
		char secret_file[FILE_PATH_MAX], key[JWT_FILES_MAX][FILE_PATH_MAX], jwks[FILE_PATH_MAX];
		char issuer[JWT_TEXT_MAX + 1], audience[JWT_TEXT_MAX + 1];
		int nkeys;
	} jwt;
};

void die(int code, const char *fmt, ...);	/* one line, "tunneld: ", and exit */

/* Options: for the daemon, and for commands. Words that are no options: exactly so many operands, moved to the front of argv. */
enum options { OPTIONS_DAEMON, OPTIONS_ISSUE, OPTIONS_JWT_ISSUE, OPTIONS_JWT_CHECK, OPTIONS_PLAIN, OPTIONS_STATUS };
void options(struct conf *, enum options, int argc, char **argv, int operands);
void usage(void);		/* prints and exits */
int completion(const char *shell);	/* prints the script for a shell; the exit status */

void jwt_settings(struct conf *);	/* d.jwt from the options and the environment: once conf stays where it is */
void print_client_line(struct conf *, const char *token);	/* for the client's user to paste */
int jwt_command(int argc, char **argv);	/* argv[0] is "jwt"; the exit status */
int open_state(const struct conf *, int make);	/* the folder's descriptor; dies without it */

int command(int argc, char **argv);	/* argv[0] is the command's name; the exit status */

#endif
