/*
 * x509.h: what a certificate says of itself, RFC 5280: key, names, dates.
 * Pure, no allocation. No signature and no chain is verified here, that is
 * the TLS library's: whoever made the bytes chose all that is read from them.
 */
#ifndef X509_H
#define X509_H

#include <stddef.h>
#include <stdint.h>

#include "der.h"

struct x509 {			/* slices of the certificate */
	struct der spki;	/* subjectPublicKeyInfo, tag and length too: a pin is its hash */
	struct der san;		/* what is in subjectAltName, for x509_next_name; p is NULL if none */
	struct der cn;		/* the subject's last commonName, any bytes; p is NULL if none.
				   To be shown, never to be compared */
	int no_server;		/* extKeyUsage is there, and a server's is not in it (4.2.1.12) */
	int64_t not_before, not_after;	/* seconds since 1970; valid at both and in between */
};

/*
 * Read the one certificate that der[0..len) is. 0, and the slices point into
 * der; or -1, *why (a constant string) and all of x zero: it names no host.
 * Refused: what is not DER (indefinite or longer than needed lengths), bytes
 * left over, extensions outside of v3, two subjectAltNames or an empty one or
 * an iPAddress in it of neither 4 nor 16 bytes, times that are not to the
 * second and in Z (4.1.2.5). Let pass, as real certificates have them and
 * they read in one way only: a DEFAULT that is written out, GeneralizedTime
 * before 2050. Extensions that are not known here are skipped, critical or
 * not: to heed those is a part of verifying.
 */
int x509_parse(struct x509 *x, const uint8_t *der, size_t len, const char **why);

/*
 * The next dNSName or iPAddress of subjectAltName; names of other kinds are
 * skipped. Start with *at = 0; *at is the walk's own. 1, or 0 at the end.
 * A dNSName is as it was written and may hold any bytes: escape it in a log.
 * An iPAddress is 4 or 16 bytes in network order.
 */
int x509_next_name(const struct x509 *x, size_t *at, struct der *name, int *is_ip);

/*
 * 1 if subjectAltName names host (RFC 9525 6), else 0. host is a DNS name in
 * any case, A-labels as such, one final dot ignored; or an address as
 * addr_parse (cidr.h) takes it. An address is only ever an iPAddress of the
 * same bytes: 192.0.2.1 is not ::ffff:192.0.2.1. "*" stands for one label, if
 * it is all of the first and two or more follow. What is no host name (other
 * bytes than letters, digits, '-'; a last label of digits alone) matches
 * nothing, and a dNSName with such bytes, or a final dot, neither.
 */
int x509_names_host(const struct x509 *x, const char *host);

#endif
