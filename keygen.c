/* keygen.c: tunnel keygen: a new key for vtunnel; see cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* The private key into a file of its own, which must not be there. It holds all of it, or is not there. */
static void
write_key(const char *path, const char *priv)
{
	char line[TUNNEL_PRIV_LEN + 2];
	int n = snprintf(line, sizeof(line), "%s\n", priv), saved;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd == -1)
		die(errno == EEXIST ? TUNNEL_USAGE : TUNNEL_FAILED, errno == EEXIST ?
		    "%s is there already: a key is never written over" : "cannot make %s: %s", path, strerror(errno));
	if (fchmod(fd, 0600) == 0 && write(fd, line, (size_t)n) == n && fsync(fd) == 0 && close(fd) == 0)	/* whatever the umask */
		return;
	saved = errno;
	unlink(path);
	die(TUNNEL_FAILED, "cannot write %s: %s", path, strerror(saved));
}

int
keygen_command(const char *file)
{
	char priv[TUNNEL_PRIV_LEN + 1], pub[TUNNEL_PUB_LEN + 1], why[CLI_WHY_MAX];

	if (tunnel_keygen(priv, pub, why, sizeof(why)) == -1)
		die(TUNNEL_USAGE, "%s", why);
	if (file != NULL)
		write_key(file, priv);
	else
		printf("Private key (client): %s\n", priv);
	printf("Public key (server):  %s\n", pub);
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return 0;
	if (file != NULL)
		unlink(file);	/* nobody has seen the other half */
	die(TUNNEL_FAILED, "cannot write the key: %s", strerror(errno));
	return TUNNEL_FAILED;
}
