/* x509.c: what a certificate says of itself, RFC 5280; see x509.h. */
#include <string.h>

#include "cidr.h"
#include "http.h"
#include "scope.h"
#include "x509.h"

enum {				/* identifier octets besides those of der.h */
	TBS_VERSION = 0xa0, TBS_ISSUER_ID = 0x81, TBS_SUBJECT_ID = 0x82, TBS_EXTENSIONS = 0xa3,
	NAME_DNS = 0x82, NAME_IP = 0x87	/* in a GeneralName */
};

enum { V3 = 2 };

static const uint8_t common_name[3] = { 0x55, 0x04, 0x03 };		/* 2.5.4.3 */
static const uint8_t subject_alt_name[3] = { 0x55, 0x1d, 0x11 };	/* 2.5.29.17 */
static const uint8_t ext_key_usage[3] = { 0x55, 0x1d, 0x25 };	/* 2.5.29.37 */

static int
bad(const char **why, const char *what)
{
	*why = what;
	return -1;
}

static int
is_oid(struct der oid, const uint8_t known[3])
{
	return oid.len == 3 && memcmp(oid.p, known, 3) == 0;
}

/* From 1970 to a date of the years 0 to 9999. -1 if the calendar has no such day. */
static int
days_since_1970(int year, int month, int day, int64_t *days)
{
	static const int length[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	int m, n;

	if (month < 1 || month > 12 || day < 1 || day > length[month - 1] + (month == 2 && leap))
		return -1;
	/* the years before this one since year 0, and how many of them were leap */
	n = year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
	for (m = 1; m < month; m++)
		n += length[m - 1] + (m == 2 && leap);
	*days = n + day - 1 - 719528;
	return 0;
}

static int
two_digits(const uint8_t *p)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return -1;
	return (p[0] - '0') * 10 + (p[1] - '0');
}

/* Time, 4.1.2.5: YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ. */
static int
take_time(struct der *in, int64_t *t)
{
	enum { CENTURY, YEAR, MONTH, DAY, HOUR, MINUTE, SECOND };
	int pair[SECOND + 1], n = CENTURY, tag;
	struct der v;
	size_t i;

	tag = der_any(in, &v);
	if (!(tag == DER_UTC_TIME && v.len == 13) && !(tag == DER_GENERALIZED_TIME && v.len == 15))
		return -1;
	if (tag == DER_UTC_TIME)
		pair[n++] = v.p[0] < '5' ? 20 : 19;
	for (i = 0; i < v.len - 1; i += 2) {
		pair[n] = two_digits(v.p + i);
		if (pair[n++] == -1)
			return -1;
	}
	if (v.p[i] != 'Z' || pair[HOUR] > 23 || pair[MINUTE] > 59 || pair[SECOND] > 59 ||
	    days_since_1970(pair[CENTURY] * 100 + pair[YEAR], pair[MONTH], pair[DAY], t) == -1)
		return -1;
	*t = ((*t * 24 + pair[HOUR]) * 60 + pair[MINUTE]) * 60 + pair[SECOND];
	return 0;
}

/* RDNSequence, 4.1.2.4. */
static int
parse_subject(struct x509 *x, struct der name)
{
	struct der rdn, attr, type, val;

	while (name.len > 0) {
		if (!der_take(&name, DER_SET, &rdn) || rdn.len == 0)
			return -1;
		while (rdn.len > 0) {
			if (!der_take(&rdn, DER_SEQUENCE, &attr) || !der_take(&attr, DER_OID, &type) ||
			    der_any(&attr, &val) == -1 || attr.len != 0)
				return -1;
			if (is_oid(type, common_name))
				x->cn = val;
		}
	}
	return 0;
}

static int
take_spki(struct der *in, struct der *spki)
{
	struct der v, algorithm, key;

	spki->p = in->p;
	if (!der_take(in, DER_SEQUENCE, &v) || !der_take(&v, DER_SEQUENCE, &algorithm) ||
	    !der_take(&v, DER_BIT_STRING, &key) || v.len != 0)
		return -1;
	spki->len = (size_t)(in->p - spki->p);
	return 0;
}

/* Extension subjectAltName, 4.2.1.6: every name, so that the walk meets only good ones. */
static int
parse_san(struct x509 *x, struct der in)
{
	static const uint8_t kinds[] = {	/* GeneralName's choices, [0] to [8] */
		0xa0, 0x81, NAME_DNS, 0xa3, 0xa4, 0xa5, 0x86, NAME_IP, 0x88
	};
	struct der names, v;
	int tag;

	if (!der_take(&in, DER_SEQUENCE, &names) || in.len != 0 || names.len == 0)
		return -1;
	x->san = names;
	while (names.len > 0) {
		tag = der_any(&names, &v);
		if (tag == -1 || memchr(kinds, tag, sizeof(kinds)) == NULL ||
		    (tag == NAME_IP && v.len != 4 && v.len != 16))
			return -1;
	}
	return 0;
}

/* Extension extKeyUsage, 4.2.1.12. */
static int
parse_usage(struct x509 *x, struct der in)
{
	static const uint8_t server[] = { 0x2b, 6, 1, 5, 5, 7, 3, 1 }, any[] = { 0x55, 0x1d, 0x25, 0 };
	struct der list, oid;

	if (!der_take(&in, DER_SEQUENCE, &list) || in.len != 0 || list.len == 0)
		return -1;
	x->no_server = 1;
	while (list.len > 0) {
		if (!der_take(&list, DER_OID, &oid))
			return -1;
		if ((oid.len == sizeof(server) && memcmp(oid.p, server, oid.len) == 0) ||
		    (oid.len == sizeof(any) && memcmp(oid.p, any, oid.len) == 0))
			x->no_server = 0;
	}
	return 0;
}

static int
parse_extensions(struct x509 *x, struct der in, const char **why)
{
	struct der list, ext, oid, v;

	if (!der_take(&in, DER_SEQUENCE, &list) || in.len != 0 || list.len == 0)
		return bad(why, "bad extensions in certificate");
	while (list.len > 0) {
		if (!der_take(&list, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, &oid))
			return bad(why, "bad extension in certificate");
		(void)der_take(&ext, DER_BOOLEAN, &v);	/* critical: the verifier's concern */
		if (!der_take(&ext, DER_OCTET_STRING, &v) || ext.len != 0)
			return bad(why, "bad extension in certificate");
		if (is_oid(oid, ext_key_usage) && parse_usage(x, v) == -1)
			return bad(why, "bad extKeyUsage in certificate");
		if (!is_oid(oid, subject_alt_name))
			continue;
		if (x->san.p != NULL)	/* 4.2: which of the two would count? */
			return bad(why, "two subjectAltNames in certificate");
		if (parse_san(x, v) == -1)
			return bad(why, "bad subjectAltName in certificate");
	}
	return 0;
}

/* TBSCertificate, 4.1. */
static int
parse_tbs(struct x509 *x, struct der tbs, const char **why)
{
	struct der v, number;
	int version = 0;

	if (der_take(&tbs, TBS_VERSION, &v)) {
		if (!der_take(&v, DER_INTEGER, &number) || v.len != 0 || number.len != 1 || number.p[0] > V3)
			return bad(why, "certificate of unknown version");
		version = number.p[0];
	}
	if (!der_take(&tbs, DER_INTEGER, &v) || v.len == 0 ||	/* serialNumber, signature, issuer */
	    !der_take(&tbs, DER_SEQUENCE, &v) || !der_take(&tbs, DER_SEQUENCE, &v))
		return bad(why, "bad serialNumber, signature or issuer in certificate");
	if (!der_take(&tbs, DER_SEQUENCE, &v) || take_time(&v, &x->not_before) == -1 ||
	    take_time(&v, &x->not_after) == -1 || v.len != 0)
		return bad(why, "bad validity in certificate");
	if (!der_take(&tbs, DER_SEQUENCE, &v) || parse_subject(x, v) == -1)
		return bad(why, "bad subject in certificate");
	if (take_spki(&tbs, &x->spki) == -1)
		return bad(why, "bad subjectPublicKeyInfo in certificate");
	(void)der_take(&tbs, TBS_ISSUER_ID, &v);
	(void)der_take(&tbs, TBS_SUBJECT_ID, &v);
	if (version == V3 && der_take(&tbs, TBS_EXTENSIONS, &v) && parse_extensions(x, v, why) == -1)
		return -1;
	if (tbs.len != 0)
		return bad(why, "unexpected element in certificate");
	return 0;
}

int
x509_parse(struct x509 *x, const uint8_t *der, size_t len, const char **why)
{
	struct der in, cert, tbs, v;

	memset(x, 0, sizeof(*x));
	in.p = der;
	in.len = len;
	if (!der_take(&in, DER_SEQUENCE, &cert))
		return bad(why, "not a certificate in DER");
	if (in.len != 0)
		return bad(why, "bytes behind the certificate");
	if (!der_take(&cert, DER_SEQUENCE, &tbs) || !der_take(&cert, DER_SEQUENCE, &v) ||
	    !der_take(&cert, DER_BIT_STRING, &v) || cert.len != 0)
		return bad(why, "not a certificate in DER");
	if (parse_tbs(x, tbs, why) == -1) {
		memset(x, 0, sizeof(*x));	/* half of the names must not count */
		return -1;
	}
	return 0;
}

int
x509_next_name(const struct x509 *x, size_t *at, struct der *name, int *is_ip)
{
	struct der in;
	int tag;

	while (*at < x->san.len) {
		in.p = x->san.p + *at;
		in.len = x->san.len - *at;
		tag = der_any(&in, name);
		if (tag == -1)
			return 0;
		*at = x->san.len - in.len;
		*is_ip = tag == NAME_IP;
		if (tag == NAME_DNS || tag == NAME_IP)
			return 1;
	}
	return 0;
}

/* host in lower case without its final dot. 0 if it is no DNS name. */
static int
host_fold(const char *host, char out[NAME_LEN_MAX + 1])
{
	size_t i, len = strlen(host);

	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len > NAME_LEN_MAX)
		return 0;
	for (i = 0; i < len; i++)
		out[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
	out[len] = '\0';
	return domain_ok(out);
}

/* Bytes that are no part of a name need no looking for: host, which is one, has none. */
static int
dns_matches(struct der name, const char *host)
{
	const char *p = (const char *)name.p;

	if (name.len > 0 && p[0] == '*') {
		p++;
		name.len--;
		host = strchr(host, '.');
		if (host == NULL || strchr(host + 1, '.') == NULL)	/* a whole "*.org" */
			return 0;
	}
	return name.len == strlen(host) && http_same(p, host, name.len);
}

int
x509_names_host(const struct x509 *x, const char *host)
{
	char dns[NAME_LEN_MAX + 1];
	struct addr a;
	struct der name;
	size_t at = 0, iplen = strchr(host, ':') != NULL ? 16 : 4;
	int is_addr = addr_parse(&a, host) == 0, is_ip;

	if (!is_addr && !host_fold(host, dns))
		return 0;
	while (x509_next_name(x, &at, &name, &is_ip)) {
		if (is_ip != is_addr)
			continue;
		if (is_ip ? name.len == iplen && memcmp(name.p, a.ip + 16 - iplen, iplen) == 0 :
		    dns_matches(name, dns))
			return 1;
	}
	return 0;
}
