/*
 * sshfront.h: SSH over TCP for OpenSSH's client, which needs nothing else: "ssh -R 80:localhost:3000 preview@tunnel.example.com". Its remote
 * forwards (RFC 4254, 7) are tunnels: port 80 or 443 is an HTTP name, any other a raw TCP port. There is nothing else to be had: no shell, no
 * command, no way on from here.
 */
#ifndef SSHFRONT_H
#define SSHFRONT_H

#include <stddef.h>
#include <sys/socket.h>

struct daemon;
struct sshfront;

enum { SSHFRONT_WHY_MAX = 800 };

struct sshfront_conf {
	const char *host_key;	/* file, "": ssh_host_ed25519_key in the state folder, */
	int state;		/* which is open; -1: read what is there, and make none */
	const char *state_path;
	const char *keys;	/* file, see sshkeys.h; it must stay, and may change before there are threads (chroot) */
};

/* Once, before the sandbox. NULL, and why: a build without SSH, or a file that will not do. */
struct sshfront *sshfront_new(const struct sshfront_conf *, char why[SSHFRONT_WHY_MAX]);

void sshfront_free(struct sshfront *);	/* when nobody is served */

/* Look at the clients' keys again; force: whether their file has changed or not. */
void sshfront_reload(struct sshfront *, int force);

/* Serve the connection fd, which has been told to arrive, to its end. */
void sshfront_serve(struct daemon *, int fd, const struct sockaddr_storage *peer);

#endif
