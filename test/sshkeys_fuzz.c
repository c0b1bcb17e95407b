/*
 * sshkeys_fuzz.c: lines of authorized_keys, and host keys as files, from bytes nobody has checked. A key that is taken is one of ours with a sound
 * scope; a message is printable; a host key that is read can be written and read again.
 */
#include "../scope.h"
#include "../sshkeys.h"
#include "../sshpriv.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[SSHKEYS_WHY_MAX], again[SSHPRIV_MAX];
	struct sshkeys_key k;
	struct sshkey host, same;
	const char *wrong;
	size_t n;

	switch (sshkeys_line(&k, (const char *)data, size, why)) {
	case SSHKEYS_KEY:
		if (sshkey_blob_alg(k.blob, k.nblob) == NULL || scope_check(k.scope, &wrong) == -1 || k.expires < 0)
			abort();
		break;
	case SSHKEYS_LEFT_OUT:
	case SSHKEYS_DAMAGED:
		for (n = 0; why[n] != '\0'; n++)
			if (n == SSHKEYS_WHY_MAX - 1 || why[n] < ' ' || why[n] > '~')
				abort();
		if (n == 0)
			abort();
		break;
	default:
		break;
	}
	if (sshpriv_parse(&host, (const char *)data, size, &wrong) == 0) {
		n = sshpriv_put(&host, 1, "x", again);
		if (sshpriv_parse(&same, again, n, &wrong) == -1 || memcmp(same.secret, host.secret, sizeof(same.secret)) != 0)
			abort();
	}
	return 0;
}
