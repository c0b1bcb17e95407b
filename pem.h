/*
 * pem.h: keys and certificates as text, RFC 7468. Pure, no allocation.
 * Lines end in LF, CR or CRLF; blanks and line breaks may stand anywhere in
 * the base64, nothing else may. Text around objects is skipped, but not a
 * line that looks like part of one: it would be a certificate lost in silence.
 */
#ifndef PEM_H
#define PEM_H

#include <stddef.h>
#include <stdint.h>

enum { PEM_LABEL_MAX = 64 };	/* bytes, with the NUL */

/*
 * Read the next object, "-----BEGIN LABEL-----" to its END line. Start with
 * *at = 0; *at is the walk's own.
 *   1  label is set ("CERTIFICATE", "PRIVATE KEY"), what it holds is in
 *      der[0..*n), *n > 0, and *at is behind the END line
 *   0  no further object
 *  -1  and *why, a constant string: malformed, a BEGIN or END line missing or of
 *      another label, more than cap bytes, or headers of RFC 1421 ("the key is
 *      encrypted" where they say so). Do not go on.
 * *why is set with -1 alone. The label tells an "ENCRYPTED PRIVATE KEY". der
 * may hold a part of a key after -1, too: whoever reads keys wipes all of it.
 */
int pem_next(const char *text, size_t len, size_t *at, char label[PEM_LABEL_MAX],
    uint8_t *der, size_t cap, size_t *n, const char **why);

#endif
