/* tlstrust.c: whom a TLS client trusts, and what it says if it does not; see tlsconn.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base64.h"
#include "clock.h"
#include "file.h"
#include "sha256.h"
#include "tlsint.h"

enum { FILE_MAX = 4 << 20 };	/* bytes of a file with certificates */

int
tls_pin_parse(uint8_t pin[TLS_PIN_LEN], const char *text)
{
	enum { LEN = BASE64_LEN(TLS_PIN_LEN) };
	uint8_t raw[LEN / 4 * 3 + 2];

	if (strncmp(text, "sha256:", 7) != 0 || strlen(text + 7) != LEN ||
	    base64_decode(raw, text + 7, LEN) != TLS_PIN_LEN)
		return -1;
	memcpy(pin, raw, TLS_PIN_LEN);
	return 0;
}

const char *
tls_system_ca(void)
{
	static const char *const paths[] = {
		"/etc/ssl/certs/ca-certificates.crt",	/* Debian, Alpine with ca-certificates */
		"/etc/ssl/cert.pem",			/* OpenBSD, Alpine */
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/usr/local/share/certs/ca-root-nss.crt"
	};
	const char *env = getenv("SSL_CERT_FILE");
	size_t i;

	if (env != NULL && env[0] != '\0')
		return env;
	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (access(paths[i], R_OK) == 0)
			return paths[i];
	return NULL;
}

int
tls_slurp(const char *path, char **text, size_t *len, char why[TLS_WHY_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -1;

	if (fd != -1) {
		rc = file_read(fd, FILE_MAX, text, len);
		if (rc == -1)
			snprintf(why, TLS_WHY_MAX, "%.120s: %s", path, strerror(errno));
		close(fd);
	} else
		snprintf(why, TLS_WHY_MAX, "%.120s: %s", path, strerror(errno));
	return rc;
}

int
tls_sni_ok(const char *host)
{
	return strchr(host, ':') == NULL && host[strspn(host, "0123456789.")] != '\0';
}

static void
explain_dates(const struct x509 *leaf, const char *host, const char *detail, char why[TLS_WHY_MAX])
{
	int64_t now = clock_ms(CLOCK_WALL) / 1000;
	char day[24];
	struct tm tm;
	time_t t;

	if (leaf == NULL || (now >= leaf->not_before && now <= leaf->not_after)) {
		snprintf(why, TLS_WHY_MAX, "certificate %s: one in the chain of %.100s is not valid now",
		    detail != NULL ? detail : "expired", host);
		return;
	}
	t = (time_t)(now > leaf->not_after ? leaf->not_after : leaf->not_before);
	if (gmtime_r(&t, &tm) == NULL || strftime(day, sizeof(day), "%Y-%m-%d", &tm) == 0)
		day[0] = '\0';
	if (now > leaf->not_after)
		snprintf(why, TLS_WHY_MAX, "certificate expired: that of %.100s was good until %s", host, day);
	else
		snprintf(why, TLS_WHY_MAX, "certificate not yet valid: that of %.100s begins %s; is this machine's clock right?",
		    host, day);
}

/* Is it fit to be shown: letters, digits, "-", "." and "*"? */
static int
plain_name(const struct der *name)
{
	size_t i;

	for (i = 0; i < name->len; i++)
		if (memchr("-.*", name->p[i], 3) == NULL && !(name->p[i] >= '0' && name->p[i] <= '9') &&
		    !((name->p[i] | 0x20) >= 'a' && (name->p[i] | 0x20) <= 'z'))
			return 0;
	return 1;
}

/* With some of the names that it has. */
static void
explain_name(const struct x509 *leaf, const char *host, char why[TLS_WHY_MAX])
{
	const char *before = ", but for ";
	struct der name;
	size_t at = 0, n;
	int is_ip;

	n = (size_t)snprintf(why, TLS_WHY_MAX, "name mismatch: the certificate is not for %.70s", host);
	while (leaf != NULL && x509_next_name(leaf, &at, &name, &is_ip) == 1) {
		if (is_ip || !plain_name(&name) || n + name.len + 12 > TLS_WHY_MAX)
			continue;
		n += (size_t)snprintf(why + n, TLS_WHY_MAX - n, "%s%.*s", before, (int)name.len, (const char *)name.p);
		before = ", ";
	}
}

enum tls_result
tls_explain(enum tls_fault fault, const struct x509 *leaf, const char *host, const char *detail,
    char why[TLS_WHY_MAX])
{
	static const struct {
		const char *before, *after;	/* the host's name */
		enum tls_result rc;
	} table[] = {
		[FAULT_ISSUER] = { "unknown issuer: no CA that is trusted here has signed the certificate of ",
		    "; see --ca and --pin", TLS_UNTRUSTED },
		[FAULT_PIN] = { "pin mismatch: the public key of ", " is not one that --pin names", TLS_UNTRUSTED },
		[FAULT_WEAK] = { "weak certificate: that of ", " has a key or a signature that is not safe", TLS_UNTRUSTED },
		[FAULT_USAGE] = { "wrong certificate: that of ", " is not for a server (extKeyUsage)", TLS_UNTRUSTED },
		[FAULT_LIMITS] = { "certificate not understood: a CA of ", " sets limits (a critical extension) that this build does not know", TLS_UNTRUSTED },
		[FAULT_NEWER] = { "peer requires TLS 1.3: ", " has no TLS 1.2; a build with TLS = libtls speaks both", TLS_UNFIT },
		[FAULT_OLDER] = { "peer has no TLS 1.2: ", " is too old to be safe", TLS_UNFIT },
		[FAULT_CIPHER] = { "no safe cipher in common with ", "", TLS_UNFIT },
		[FAULT_NOT_TLS] = { "", " does not speak TLS on this port", TLS_REFUSED },
		[FAULT_OTHER] = { "TLS with ", " failed: ", TLS_REFUSED },
	};

	if (fault == FAULT_DATES)
		explain_dates(leaf, host, detail, why);
	else if (fault == FAULT_NAME)
		explain_name(leaf, host, why);
	else {
		snprintf(why, TLS_WHY_MAX, "%s%.70s%s%.60s", table[fault].before, host, table[fault].after,
		    fault == FAULT_OTHER ? detail : "");
		return table[fault].rc;
	}
	return TLS_UNTRUSTED;
}

enum tls_result
tls_judge(const struct tls_trust *trust, const struct x509 *leaf, const char *host,
    char why[TLS_WHY_MAX])
{
	uint8_t sum[SHA256_LEN];
	int i, pinned = trust->npins == 0;

	if (trust->insecure)
		return TLS_OK;
	/* a pin alone is as good as a certificate that names the host */
	if (trust->ca != NULL || trust->npins == 0) {
		if (leaf->no_server)
			return tls_explain(FAULT_USAGE, leaf, host, NULL, why);
		if (!x509_names_host(leaf, host))
			return tls_explain(FAULT_NAME, leaf, host, NULL, why);
	}
	sha256(leaf->spki.p, leaf->spki.len, sum);
	for (i = 0; i < trust->npins; i++)
		pinned |= memcmp(sum, trust->pin[i], sizeof(sum)) == 0;	/* no secret */
	return pinned ? TLS_OK : tls_explain(FAULT_PIN, leaf, host, NULL, why);
}
