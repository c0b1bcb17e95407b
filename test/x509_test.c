/* x509_test.c: certificates of OpenSSL's, certificates put together by hand, and both broken. */
#include "../base64.h"
#include "../pem.h"
#include "../sha256.h"
#include "../x509.h"
#include "test.h"
#include "x509_certs.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

enum { DER_MAX = 2048, TEXT_MAX = 1024 };

struct bytes {
	uint8_t p[DER_MAX];
	size_t len;
};

/*
 * Certificates put together from text: hexadecimal digits are bytes, 'abc' is
 * what it says, and "30(...)" is a tag and the length of what is inside.
 */
#define ALG "30(06(2a0304))"
#define HEAD "02(01)" ALG "30()"		/* serialNumber, signature, issuer */
#define NOT_BEFORE "17('700101000000Z')"
#define NOT_AFTER "17('491231235959Z')"
#define DATES "30(" NOT_BEFORE NOT_AFTER ")"
#define CN "06(550403)"
#define SPKI "30(" ALG "03(00aabb))"
#define REST DATES "30()" SPKI
#define V1 HEAD REST
#define V3 "a0(02(02))" HEAD REST
#define CERT(tbs) "30(30(" tbs ")" ALG "03(00cc))"
#define EXT(ext) CERT(V3 "a3(30(" ext "))")
#define SAN(names) EXT("30(06(551d11)04(30(" names ")))")
#define UNKNOWN "30(06(551d12)04(05))"

/* What is wrong, as the parser says it. */
#define BAD_DER "not a certificate in DER"
#define BAD_END "bytes behind the certificate"
#define BAD_VERSION "certificate of unknown version"
#define BAD_ISSUER "bad serialNumber, signature or issuer in certificate"
#define BAD_DATES "bad validity in certificate"
#define BAD_SUBJECT "bad subject in certificate"
#define BAD_KEY "bad subjectPublicKeyInfo in certificate"
#define BAD_ELEMENT "unexpected element in certificate"
#define BAD_LIST "bad extensions in certificate"
#define BAD_EXT "bad extension in certificate"
#define BAD_SAN "bad subjectAltName in certificate"

static const struct { const char *name, *text, *why; } rows[] = {
	{ "version 1", CERT(V1), NULL },
	{ "version 2", CERT("a0(02(01))" HEAD REST), NULL },
	{ "version 3", CERT(V3), NULL },
	{ "version 1, the default, written out", CERT("a0(02(00))" HEAD REST), NULL },
	{ "unique identifiers", CERT("a0(02(01))" HEAD REST "81(00)82(00)"), NULL },
	{ "unique identifiers and extensions", CERT(V3 "81(00)82(00)a3(30(" UNKNOWN "))"), NULL },
	{ "a long serialNumber",
	    CERT("02(7f000102030405060708090a0b0c0d0e0f10111213141516)" ALG "30()" REST), NULL },
	{ "a negative serialNumber", CERT("02(ff)" ALG "30()" REST), NULL },
	{ "issuer that is not empty", CERT("02(01)" ALG "30(31(30(" CN "0c('x'))))" REST), NULL },
	{ "GeneralizedTime before 2050",
	    CERT(HEAD "30(18('19700101000000Z')18('20491231235959Z'))30()" SPKI), NULL },
	{ "extensions nobody knows", EXT("30(06(2a03)0101ff04(ab))30(06(2a)04())"), NULL },
	{ "subjectAltName", SAN("82('a.b')"), NULL },
	{ "subjectAltName of other kinds",
	    SAN("a0(06(2a)a0(0c('x')))81('a@b')a3()a4(30())a5()86('a:')88(2a)"), NULL },
	{ "subjectAltName, critical", EXT("30(06(551d11)0101ff04(30(82('a'))))"), NULL },
	{ "subjectAltName, FALSE written out", EXT("30(06(551d11)01010004(30(82('a'))))"), NULL },
	{ "subjectAltName behind others",
	    EXT(UNKNOWN UNKNOWN "30(06(551d11)04(30(82('a'))))" UNKNOWN), NULL },
	{ "subject of several RDNs",
	    CERT(HEAD DATES "30(31(30(" CN "0c('x'))30(06(2a)02(01)))31(30(" CN "13('y'))))" SPKI),
	    NULL },

	{ "nothing", "", BAD_DER },
	{ "a tag", "30", BAD_DER },
	{ "an empty SEQUENCE", "30()", BAD_DER },
	{ "a SET", "31(30(" V1 ")" ALG "03(00))", BAD_DER },
	{ "zeros", "00000000", BAD_DER },
	{ "a byte behind", CERT(V1) "00", BAD_END },
	{ "two certificates", CERT(V1) CERT(V1), BAD_END },
	{ "no signature", "30(30(" V1 ")" ALG ")", BAD_DER },
	{ "no signatureAlgorithm", "30(30(" V1 ")03(00))", BAD_DER },
	{ "signature of another type", "30(30(" V1 ")" ALG "04(00))", BAD_DER },
	{ "something behind the signature", "30(30(" V1 ")" ALG "03(00)0500)", BAD_DER },
	{ "a key is no certificate", "30(02(00)30(06(2a))04(30(02(00))))", BAD_DER },
	{ "version 4", CERT("a0(02(03))" HEAD REST), BAD_VERSION },
	{ "version -1", CERT("a0(02(ff))" HEAD REST), BAD_VERSION },
	{ "version of two bytes", CERT("a0(02(0002))" HEAD REST), BAD_VERSION },
	{ "version of no bytes", CERT("a0(02())" HEAD REST), BAD_VERSION },
	{ "version and more", CERT("a0(02(02)0500)" HEAD REST), BAD_VERSION },
	{ "empty version", CERT("a0()" HEAD REST), BAD_VERSION },
	{ "empty serialNumber", CERT("02()" ALG "30()" REST), BAD_ISSUER },
	{ "no serialNumber", CERT(ALG "30()" REST), BAD_ISSUER },
	{ "no signature in tbs", CERT("02(01)" REST), BAD_DATES },
	{ "issuer of another type", CERT("02(01)" ALG "31()" REST), BAD_ISSUER },
	{ "one date", CERT(HEAD "30(" NOT_BEFORE ")30()" SPKI), BAD_DATES },
	{ "three dates", CERT(HEAD "30(" NOT_BEFORE NOT_AFTER NOT_AFTER ")30()" SPKI), BAD_DATES },
	{ "no dates", CERT(HEAD "30()30()" SPKI), BAD_DATES },
	{ "subject of another type", CERT(HEAD DATES "31()" SPKI), BAD_SUBJECT },
	{ "RDN of no attributes", CERT(HEAD DATES "30(31())" SPKI), BAD_SUBJECT },
	{ "RDN that is no SET", CERT(HEAD DATES "30(30(30(" CN "0c('x'))))" SPKI), BAD_SUBJECT },
	{ "attribute without a value", CERT(HEAD DATES "30(31(30(" CN ")))" SPKI), BAD_SUBJECT },
	{ "attribute of two values", CERT(HEAD DATES "30(31(30(" CN "0c('x')0c('y'))))" SPKI),
	    BAD_SUBJECT },
	{ "attribute with a tag of two octets", CERT(HEAD DATES "30(31(30(" CN "1f01'x')))" SPKI),
	    BAD_SUBJECT },
	{ "attribute without a type", CERT(HEAD DATES "30(31(30(0c('x'))))" SPKI), BAD_SUBJECT },
	{ "no key", CERT(HEAD DATES "30()"), BAD_KEY },
	{ "key of one part", CERT(HEAD DATES "30()30(" ALG ")"), BAD_KEY },
	{ "key of three parts", CERT(HEAD DATES "30()30(" ALG "03(00)03(00))"), BAD_KEY },
	{ "key without algorithm", CERT(HEAD DATES "30()30(03(00)03(00))"), BAD_KEY },
	{ "extensions in version 1", CERT(V1 "a3(30(" UNKNOWN "))"), BAD_ELEMENT },
	{ "extensions in version 2", CERT("a0(02(01))" V1 "a3(30(" UNKNOWN "))"), BAD_ELEMENT },
	{ "extensions twice", CERT(V3 "a3(30(" UNKNOWN "))a3(30(" UNKNOWN "))"), BAD_ELEMENT },
	{ "unique identifiers in disorder", CERT(V3 "82(00)81(00)"), BAD_ELEMENT },
	{ "unique identifier behind extensions", CERT(V3 "a3(30(" UNKNOWN "))81(00)"),
	    BAD_ELEMENT },
	{ "broken unique identifier", CERT(V3 "8105"), BAD_ELEMENT },
	{ "broken extensions", CERT(V3 "a30530"), BAD_ELEMENT },
	{ "no extension", EXT(""), BAD_LIST },
	{ "no list of extensions", CERT(V3 "a3()"), BAD_LIST },
	{ "two lists of extensions", CERT(V3 "a3(30(" UNKNOWN ")30(" UNKNOWN "))"), BAD_LIST },
	{ "extension without a value", EXT("30(06(2a))"), BAD_EXT },
	{ "extension without a name", EXT("30(04(2a))"), BAD_EXT },
	{ "extension of two values", EXT("30(06(2a)04()04())"), BAD_EXT },
	{ "extension of another type", EXT("31(06(2a)04())"), BAD_EXT },
	{ "two BOOLEANs", EXT("30(06(2a)0101ff0101ff04())"), BAD_EXT },
	{ "two subjectAltNames", EXT("30(06(551d11)04(30(82('a'))))30(06(551d11)04(30(82('b'))))"),
	    "two subjectAltNames in certificate" },
	{ "subjectAltName of no names", SAN(""), BAD_SAN },
	{ "subjectAltName that is no SEQUENCE", EXT("30(06(551d11)04(82('a')))"), BAD_SAN },
	{ "subjectAltName and more", EXT("30(06(551d11)04(30(82('a'))00))"), BAD_SAN },
	{ "subjectAltName of nothing", EXT("30(06(551d11)04())"), BAD_SAN },
	{ "name of an unknown kind", SAN("82('a')89('b')"), BAD_SAN },
	{ "name of a universal type", SAN("16('a')"), BAD_SAN },
	{ "dNSName in pieces", SAN("a2(16('a'))"), BAD_SAN },
	{ "dNSName cut", SAN("8205'abcd'"), BAD_SAN },
	{ "a tag of two octets", SAN("9f2201'a'"), BAD_SAN },
	{ "iPAddress of no bytes", SAN("87()"), BAD_SAN },
	{ "iPAddress of 3 bytes", SAN("87(7f0001)"), BAD_SAN },
	{ "iPAddress with a mask", SAN("87(7f000001ff000000)"), BAD_SAN },
	{ "iPAddress of 17 bytes", SAN("87(0000000000000000000000000000000001)"), BAD_SAN },
};

/* Lengths, X.690 8.1.3 and 10.1, of a dNSName that is the one byte 'a' or 128 of them. */
static const struct { const char *name, *length; size_t n; int want; } lengths[] = {
	{ "short", "01", 1, 0 }, { "one octet", "8180", 128, 0 }, { "two octets", "820100", 256, 0 },
	{ "indefinite", "80", 1, -1 }, { "indefinite, with its end", "80'a'0000", 0, -1 },
	{ "one octet for 1", "8101", 1, -1 }, { "one octet for 127", "817f", 127, -1 },
	{ "two octets for 1", "820001", 1, -1 }, { "two octets for 128", "820080", 128, -1 },
	{ "two octets for 255", "8200ff", 255, -1 }, { "three for 256", "83000100", 256, -1 },
	{ "four octets for 256", "8400000100", 256, -1 }, { "five for 256", "850000000100", 256, -1 },
	{ "one more than there is", "02", 1, -1 }, { "127 more", "7f", 0, -1 },
	{ "less than there is", "01", 2, -1 }, { "2^16 - 1", "82ffff", 1, -1 },
	{ "2^32 - 1", "84ffffffff", 1, -1 }, { "2^32 - 2", "84fffffffe", 1, -1 },
	{ "2^31", "8480000000", 1, -1 }, { "2^40", "850100000000", 1, -1 },
	{ "2^64 - 1", "88ffffffffffffffff", 1, -1 }, { "127 octets", "ff", 127, -1 },
	{ "octets that are not there", "84", 0, -1 }, { "no length", "", 0, -1 },
};

#define NEVER INT64_MIN

/* RFC 5280 4.1.2.5, as notBefore and as notAfter. */
static const struct { const char *time; int64_t want; } times[] = {
	{ "17('700101000000Z')", 0 }, { "17('700101000001Z')", 1 }, { "17('691231235959Z')", -1 },
	{ "17('500101000000Z')", -631152000 }, { "17('491231235959Z')", 2524607999 },
	{ "17('991231235959Z')", 946684799 }, { "17('000101000000Z')", 946684800 },
	{ "17('000229120000Z')", 951825600 }, { "17('240229000001Z')", 1709164801 },
	{ "17('380119031407Z')", 2147483647 }, { "17('380119031408Z')", 2147483648 },
	{ "18('20500101000000Z')", 2524608000 }, { "18('99991231235959Z')", INT64_C(253402300799) },
	{ "18('19700101000000Z')", 0 }, { "18('21000301000000Z')", INT64_C(4107542400) },
	{ "18('19000301000000Z')", INT64_C(-2203891200) }, { "18('20000229120000Z')", 951825600 },
	{ "18('00010101000000Z')", INT64_C(-62135596800) },
	{ "18('00000101000000Z')", INT64_C(-62167219200) },
	{ "17('230229000000Z')", NEVER }, { "18('21000229000000Z')", NEVER },
	{ "18('19000229000000Z')", NEVER }, { "17('240230000000Z')", NEVER },
	{ "17('240001000000Z')", NEVER }, { "17('241301000000Z')", NEVER },
	{ "17('240100000000Z')", NEVER }, { "17('240132000000Z')", NEVER },
	{ "17('240431000000Z')", NEVER }, { "17('240631000000Z')", NEVER },
	{ "17('240931000000Z')", NEVER }, { "17('241131000000Z')", NEVER },
	{ "17('240101240000Z')", NEVER }, { "17('240101006000Z')", NEVER },
	{ "17('240101000060Z')", NEVER }, { "17('161231235960Z')", NEVER },
	{ "17('2401010000Z')", NEVER }, { "17('240101000000')", NEVER },
	{ "17('240101000000z')", NEVER },
	{ "17('240101000000+0000')", NEVER }, { "17('2401010000+0000')", NEVER },
	{ "17('240101000000ZZ')", NEVER }, { "17('20240101000000Z')", NEVER },
	{ "18('240101000000Z')", NEVER }, { "18('20240101000000')", NEVER },
	{ "18('2024010100Z')", NEVER }, { "18('202401010000Z')", NEVER },
	{ "18('20240101000000.5Z')", NEVER }, { "18('20240101000000+01')", NEVER },
	{ "17('24 101000000Z')", NEVER }, { "17('-40101000000Z')", NEVER },
	{ "17(':40101000000Z')", NEVER }, { "17('2/0101000000Z')", NEVER },
	{ "17('24010100000:Z')", NEVER }, { "17('24010100000/Z')", NEVER },
	{ "17('2401010000')005a", NEVER }, { "18('2024-01-01T000Z')", NEVER },
	{ "17()", NEVER }, { "18()", NEVER }, { "17('Z')", NEVER }, { "16('240101000000Z')", NEVER },
	{ "30(17('240101000000Z'))", NEVER }, { "", NEVER },
};

#define V4A "87(c0000201)"			/* 192.0.2.1 */
#define V6A "87(20010db800000000000000000000000a)"
#define L63 "123456789012345678901234567890123456789012345678901234567890abc"
#define N253 L63 "." L63 "." L63 "." "123456789012345678901234567890123456789012345678901234567890a"

static const struct { const char *names, *host; int want; } hosts[] = {
	{ "82('example.org')", "example.org", 1 }, { "82('example.org')", "EXAMPLE.Org", 1 },
	{ "82('Example.ORG')", "example.org", 1 }, { "82('example.org')", "example.org.", 1 },
	{ "82('example.org')", "example.org..", 0 }, { "82('example.org')", ".example.org", 0 },
	{ "82('example.org')", "www.example.org", 0 }, { "82('www.example.org')", "example.org", 0 },
	{ "82('example.org')", "example.orga", 0 }, { "82('example.org')", "xample.org", 0 },
	{ "82('example.org')", "example", 0 }, { "82('example.org')", "", 0 },
	{ "82('example.org')", ".", 0 }, { "82('example.org')", "example.org ", 0 },
	{ "82('example.org')", " example.org", 0 }, { "82('example.org')", "example.org\n", 0 },
	{ "82('example.org')", "example_org", 0 }, { "82('example.org')", "example.org:443", 0 },
	{ "82('a')82('b')82('c')", "a", 1 }, { "82('a')82('b')82('c')", "c", 1 },
	{ "82('a')82('b')82('c')", "d", 0 }, { "82('localhost')", "localhost", 1 },
	{ "82('')", "", 0 }, { "82('.')", ".", 0 }, { "82('')", "a", 0 }, { "82()82('a')", "a", 1 },
	{ "82('" L63 ".org')", L63 ".org", 1 }, { "82('" L63 "d.org')", L63 "d.org", 0 },
	{ "82('" N253 "')", N253, 1 }, { "82('" N253 "')", N253 ".", 1 },
	{ "82('" N253 "b')", N253 "b", 0 },
	/* case is ASCII's alone, and '@' '[' '`' '{' are no letters */
	{ "82('a[b')", "a{b", 0 }, { "82('a@b')", "a`b", 0 }, { "82(c3a9)", "\xc3\xa9", 0 },
	{ "82(c389)", "\xc3\xa9", 0 }, { "82('xn--bcher-kva.example')", "XN--bcher-KVA.example", 1 },
	{ "82('b'c3bc'cher.example')", "xn--bcher-kva.example", 0 },
	/* bytes that end a C string, or are no part of a host name */
	{ "82('example.org'00)", "example.org", 0 },
	{ "82('example.org'00'.evil.test')", "example.org", 0 },
	{ "82(00'example.org')", "example.org", 0 }, { "82('exam'00'ple.org')", "exam", 0 },
	{ "82('example.org.')", "example.org", 0 }, { "82('example.org.')", "example.org.", 0 },
	{ "82('example.org ')", "example.org", 0 }, { "82(' example.org')", "example.org", 0 },
	{ "82('example.org'0a)", "example.org", 0 }, { "82('a_b.example')", "a_b.example", 0 },
	{ "82('-a.example')", "-a.example", 0 }, { "82('https://example.org')", "example.org", 0 },
	/* RFC 9525 6.3 */
	{ "82('*.example.org')", "www.example.org", 1 },
	{ "82('*.example.org')", "WWW.EXAMPLE.ORG.", 1 },
	{ "82('*.EXAMPLE.org')", "www.example.org", 1 },
	{ "82('*.example.org')", "xn--bcher-kva.example.org", 1 },
	{ "82('*.xn--bcher-kva.example')", "www.xn--bcher-kva.example", 1 },
	{ "82('*.example.org')", "example.org", 0 }, { "82('*.example.org')", ".example.org", 0 },
	{ "82('*.example.org')", "a.b.example.org", 0 }, { "82('*.example.org')", "wwwexample.org", 0 },
	{ "82('*.example.org')", "*.example.org", 0 }, { "82('*.example.org')", "www.example.com", 0 },
	{ "82('*.example.org')", "www.xexample.org", 0 },
	{ "82('*.example.org')", "www.example.org.test", 0 },
	{ "82('*')", "example", 0 }, { "82('*')", "example.org", 0 }, { "82('*')", "*", 0 },
	{ "82('*.')", "example.", 0 },
	{ "82('*.org')", "example.org", 0 }, { "82('*.org')", "org", 0 },
	{ "82('*.org')", "a.example.org", 0 },
	{ "82('*.org.')", "example.org.", 0 }, { "82('*.example.org.')", "www.example.org.", 0 },
	{ "82('w*.example.org')", "www.example.org", 0 },
	{ "82('*w.example.org')", "www.example.org", 0 },
	{ "82('w*w.example.org')", "www.example.org", 0 },
	{ "82('**.example.org')", "www.example.org", 0 },
	{ "82('x*.example.org')", "xn--bcher-kva.example.org", 0 },
	{ "82('*.*.example.org')", "a.b.example.org", 0 }, { "82('*.*.org')", "a.b.org", 0 },
	{ "82('www.*.org')", "www.example.org", 0 }, { "82('www.*')", "www.example", 0 },
	{ "82('.example.org')", "www.example.org", 0 }, { "82('*example.org')", "www.example.org", 0 },
	{ "82('*..example.org')", "www..example.org", 0 },
	{ "82('?.example.org')", "a.example.org", 0 },
	{ "82('*.example.org'00)", "www.example.org", 0 },
	{ "82('*'00'.example.org')", "www.example.org", 0 },
	{ "82('*.exam'00'ple.org')", "www.exam", 0 },
	/* addresses: bytes against bytes, and against nothing else */
	{ V4A, "192.0.2.1", 1 }, { V4A, "192.0.2.2", 0 }, { V4A, "192.0.2.1.", 0 },
	{ V4A, "192.0.2", 0 },
	{ V4A, "::ffff:192.0.2.1", 0 }, { V4A, "::192.0.2.1", 0 }, { V4A, "3221225985", 0 },
	{ V4A, "0300.0.2.1", 0 }, { V4A, "192.0.2.01", 0 }, { V4A, " 192.0.2.1", 0 }, { V4A, "", 0 },
	{ V6A, "2001:db8::a", 1 }, { V6A, "2001:DB8:0:0:0:0:0:A", 1 }, { V6A, "2001:db8::b", 0 },
	{ V6A, "[2001:db8::a]", 0 }, { V6A, "2001:db8::a%lo", 0 }, { V6A, "0.0.0.10", 0 },
	{ "87(00000000000000000000ffffc0000201)", "192.0.2.1", 0 },
	{ "87(00000000000000000000ffffc0000201)", "::ffff:192.0.2.1", 1 },
	{ "87(00000000000000000000ffffc0000201)", "::ffff:c000:201", 1 },
	{ "87(00000000000000000000000000000001)", "::1", 1 }, { "87(00000000)", "0.0.0.0", 1 },
	{ "87(00000000)", "::", 0 }, { "87(ffffffff)", "255.255.255.255", 1 },
	{ "82('192.0.2.1')", "192.0.2.1", 0 }, { "82('192.0.2.1')", "192.0.2.1.", 0 },
	{ "82('*.0.2.1')", "192.0.2.1", 0 }, { "82('*.0.2.1')", "192.0.2.1.", 0 },
	{ "82('2001:db8::a')", "2001:db8::a", 0 }, { "82('127.1')", "127.1", 0 }, { "82('1')", "1", 0 },
	{ "82('::1')", "::1", 0 }, { "82('[::1]')", "[::1]", 0 }, { "82(c0000201)", "192.0.2.1", 0 },
	{ "87('a.b.')", "a.b.", 0 }, { "87('a.bc')", "a.bc", 0 },
	{ "87('a.example.com.au')", "a.example.com.au", 0 },
	{ "82('a')" V4A "82('b')" V6A, "192.0.2.1", 1 },
	{ "82('a')" V4A "82('b')" V6A, "2001:db8::a", 1 },
	{ "82('a')" V4A "82('b')" V6A, "b", 1 },
	/* names of other kinds */
	{ "81('example.org')", "example.org", 0 }, { "86('example.org')", "example.org", 0 },
	{ "a4(30(31(30(" CN "0c('a.b')))))", "a.b", 0 }, { "81('a@b')86('a:')82('a.b')", "a.b", 1 },
	{ "a0(06(2a)a0(82('a.b')))", "a.b", 0 }, { "88('a.b')", "a.b", 0 },
};

static const struct {
	const char *name, *pem, *pin;	/* pin: "openssl pkey -pubin -outform der", SHA-256 */
	int64_t not_before, not_after;
	const char *cn, *names;
	const char *is[5], *is_not[5];
} certs[] = {
	{ "RSA", rsa_pem, "wx8118rNPbjd8pQyJuuP/KL4/lU6y3a9M9LxDr1Uk18=", 1795277016, 2110637016,
	    "tunnel.example.org", "tunnel.example.org *.tunnel.example.org ",
	    { "tunnel.example.org", "a.tunnel.example.org", "b.TUNNEL.example.org." },
	    { "example.org", "a.b.tunnel.example.org", "*.tunnel.example.org", "192.0.2.1" } },
	{ "wildcard and addresses", wild_pem, "f3LcKcYmmfw5xBsjmTbuqMZe9/VeKTeIs7I+CMGGN1I=",
	    1795277016, 1803053016, "last one",
	    "example.org *.Example.org c0000201 20010db800000000000000000000000a "
	    "00000000000000000000ffffc0000202 localhost ",
	    { "example.org", "www.example.org", "192.0.2.1", "2001:db8::A", "localhost" },
	    { "192.0.2.2", "::ffff:192.0.2.1", "first", "last one", "a.localhost" } },
	{ "many names", many_pem, "wzG+iNf0a9S9kanf+On+18wrugHxHxyB2y3xIjqv5cI=",
	    1795277016, 1829577816, NULL,
	    "a.example.net b.example.net c.example.net d.example.net e.example.net "
	    "xn--bcher-kva.example.net *.xn--bcher-kva.example.net w*.example.net * *.net "
	    "*.*.example.net a.*.example.net dot.example.net. under_score.example.net "
	    "192.0.2.7 last.example.net *.dot.example.net. *.0.2.7 ",
	    { "a.example.net", "xn--bcher-kva.example.net", "www.xn--bcher-kva.example.net", "last.example.net" },
	    { "dir.example.net", "www.example.net", "192.0.2.7", "uri.example.net", "dot.example.net" } },
	{ "critical subjectAltName", crit_pem, "0f3S6YfrJ0sruv+dCBgHP9Bnb8OHJ4EX01AmeJdDv3U=",
	    1795277016, 1797869016, NULL, "crit.example.org ",
	    { "crit.example.org" }, { "unknown.example.org" } },
	{ "good until 2059", late_pem, "aW+ak4eTPCWZBz/1TzGfIXO4sttLmdU4kV7txEj3cAs=",
	    1795277016, 2832077016, "late.example.org", "late.example.org ",
	    { "late.example.org" }, { "example.org" } },
	{ "no subjectAltName", nosan_pem, "EIYGQYkAk2Wy/n30XpxOywYQUUdtkrObwLy9RjPNgYw=",
	    1795277016, 1797869016, "nosan.example.org", "", { NULL }, { "nosan.example.org" } },
	{ "version 1", v1_pem, "yWYT/kiX4ZaSyJWH+RhxBseRhJ+DCZIePnCP+ZYUwGU=",
	    1795277016, 1797869016, "v1.example.org", "", { NULL }, { "v1.example.org" } },
};

/* The text from *s to its end or to the ')' it is inside of, as bytes. */
static size_t
assemble(const char **s, uint8_t *out)
{
	uint8_t inner[DER_MAX];
	unsigned byte;
	size_t n = 0, len;

	for (; **s != '\0' && **s != ')'; ++*s)
		if (**s == '\'')
			for (++*s; **s != '\''; ++*s)
				out[n++] = (uint8_t)**s;
		else if (**s == '(') {
			++*s;
			len = assemble(s, inner);
			if (len > 255)
				out[n++] = 0x82;
			else if (len > 127)
				out[n++] = 0x81;
			if (len > 255)
				out[n++] = (uint8_t)(len >> 8);
			out[n++] = (uint8_t)len;
			memcpy(out + n, inner, len);
			n += len;
		} else {
			if (sscanf(*s, "%2x", &byte) != 1)
				abort();
			out[n++] = (uint8_t)byte;
			++*s;
		}
	return n;
}

static void
from_text(struct bytes *b, const char *text)
{
	b->len = assemble(&text, b->p);
	if (*text != '\0')
		abort();
}

static void
from_pem(struct bytes *b, const char *pem)
{
	char label[PEM_LABEL_MAX];
	const char *why;
	size_t at = 0;

	if (pem_next(pem, strlen(pem), &at, label, b->p, sizeof(b->p), &b->len, &why) != 1 ||
	    strcmp(label, "CERTIFICATE") != 0)
		abort();
}

static int
inside(struct der d, const uint8_t *p, size_t len)
{
	return d.p == NULL ? d.len == 0 : d.p >= p && d.len <= len && d.p <= p + (len - d.len);
}

/* Parse p[0..len) and use what comes of it. 0, -1, or -2 if that is not as it should be. */
static int
examine(struct x509 *x, const uint8_t *p, size_t len, const char **why)
{
	struct der name;
	size_t at = 0, was = 0, n = 0;
	int is_ip, rc;

	*why = NULL;
	rc = x509_parse(x, p, len, why);
	if ((rc == -1) != (*why != NULL))
		return -2;
	if (rc == -1)
		return x->san.p == NULL && x->spki.p == NULL && x->cn.p == NULL ? -1 : -2;
	if (x->spki.p == NULL || !inside(x->spki, p, len) || !inside(x->san, p, len) ||
	    !inside(x->cn, p, len))
		return -2;
	for (; x509_next_name(x, &at, &name, &is_ip); was = at, n++)
		if (!inside(name, x->san.p, x->san.len) || at <= was || n > len ||
		    (is_ip && name.len != 4 && name.len != 16))
			return -2;
	x509_names_host(x, "www.example.org");
	x509_names_host(x, "192.0.2.1");
	return 0;
}

/* In memory of exactly that size. x is good for its dates only. */
static int
verdict(struct x509 *x, const uint8_t *p, size_t len, const char **why)
{
	uint8_t *copy = exact(p, len);
	int rc = examine(x, copy, len, why);

	free(copy);
	return rc;
}

static void
test_rows(void)
{
	struct bytes b;
	struct x509 x;
	const char *why;
	size_t i, n;

	for (i = 0; i < LEN(rows); i++) {
		from_text(&b, rows[i].text);
		check(verdict(&x, b.p, b.len, &why) == (rows[i].why == NULL ? 0 : -1), rows[i].name, i);
		check(rows[i].why == NULL ? why == NULL : why != NULL && strcmp(why, rows[i].why) == 0,
		    rows[i].name, i);
		for (n = 0; n < b.len && rows[i].why == NULL; n++)
			check(verdict(&x, b.p, n, &why) == -1, rows[i].name, n);
	}
}

/* The length as it stands in the table, before a name of n bytes, all else put right. */
static void
test_lengths(void)
{
	char text[TEXT_MAX], as[513];
	struct bytes b;
	struct x509 x;
	const char *why;
	size_t i, n;

	for (i = 0; i < LEN(lengths); i++) {
		for (n = 0; n < lengths[i].n; n++)
			memcpy(as + 2 * n, "61", 2);
		as[2 * n] = '\0';
		snprintf(text, sizeof(text), SAN("82%s%s"), lengths[i].length, as);
		from_text(&b, text);
		check(verdict(&x, b.p, b.len, &why) == lengths[i].want, lengths[i].name, i);
		/* and as that of the certificate */
		if (lengths[i].want == -1 && lengths[i].length[0] == '8') {
			snprintf(text, sizeof(text), "30%s%s", lengths[i].length, as);
			from_text(&b, text);
			check(verdict(&x, b.p, b.len, &why) == -1, lengths[i].name, i);
		}
	}
}

static void
test_times(void)
{
	char text[TEXT_MAX];
	struct bytes b;
	struct x509 x;
	const char *why;
	size_t i;
	int want;

	for (i = 0; i < LEN(times); i++) {
		want = times[i].want == NEVER ? -1 : 0;
		snprintf(text, sizeof(text), CERT(HEAD "30(%s" NOT_AFTER ")30()" SPKI), times[i].time);
		from_text(&b, text);
		check(verdict(&x, b.p, b.len, &why) == want, times[i].time, i);
		check(want == -1 || x.not_before == times[i].want, times[i].time, i);
		snprintf(text, sizeof(text), CERT(HEAD "30(" NOT_BEFORE "%s)30()" SPKI), times[i].time);
		from_text(&b, text);
		check(verdict(&x, b.p, b.len, &why) == want, times[i].time, i);
		check(want == -1 || x.not_after == times[i].want, times[i].time, i);
	}
}

/* Every day of 400 years, which is when the calendar begins anew, comes a day after the one before. */
static void
test_calendar(void)
{
	struct bytes b;
	struct x509 x;
	const char *why;
	uint8_t *at;
	char day[9];
	int64_t last = -INT64_C(11676096000) - 86400;	/* of 1599 */
	int y, m, d, days, bad = 0;

	from_text(&b, CERT(HEAD "30(18('16000101000000Z')" NOT_AFTER ")30()" SPKI));
	for (at = b.p; memcmp(at, "16000101", 8) != 0; at++)
		;
	for (y = 1600; y < 2000; y++) {
		for (days = 0, m = 0; m <= 13; m++)
			for (d = 0; d <= 32; d++) {
				snprintf(day, sizeof(day), "%04d%02d%02d", y, m, d);
				memcpy(at, day, 8);
				if (x509_parse(&x, b.p, b.len, &why) == -1)
					continue;
				bad += x.not_before != last + 86400 || d < 1 || m < 1 || m > 12;
				last = x.not_before;
				days++;
			}
		check(days == ((y % 4 == 0 && y % 100 != 0) || y == 1600 ? 366 : 365), "days of a year", (size_t)y);
	}
	check(bad == 0, "days one after another", (size_t)bad);
	check(last == 946684800 - 86400, "the last day of 1999", 0);
}

static void
test_hosts(void)
{
	char text[TEXT_MAX], *host;
	struct bytes b;
	struct x509 x;
	const char *why;
	uint8_t *copy;
	size_t i;

	for (i = 0; i < LEN(hosts); i++) {
		snprintf(text, sizeof(text), SAN("%s"), hosts[i].names);
		from_text(&b, text);
		copy = exact(b.p, b.len);
		host = exact(hosts[i].host, strlen(hosts[i].host) + 1);
		check(examine(&x, copy, b.len, &why) == 0, hosts[i].names, i);
		check(x509_names_host(&x, host) == hosts[i].want, hosts[i].names, i);
		free(host);
		free(copy);
	}
	/* the same name as commonName names nothing */
	from_text(&b, CERT("a0(02(02))" HEAD DATES "30(31(30(" CN "0c('a.b'))))" SPKI));
	check(examine(&x, b.p, b.len, &why) == 0 && x.cn.len == 3 && !x509_names_host(&x, "a.b"),
	    "commonName", 0);
}

static void
names_text(const struct x509 *x, char *out, size_t cap)
{
	struct der name;
	size_t at = 0, n = 0, i;
	int is_ip;

	out[0] = '\0';
	while (x509_next_name(x, &at, &name, &is_ip) && n + name.len * 2 + 2 < cap) {
		for (i = 0; i < name.len; i++)
			n += (size_t)snprintf(out + n, cap - n, is_ip ? "%02x" : "%c", name.p[i]);
		n += (size_t)snprintf(out + n, cap - n, " ");
	}
}

/* What OpenSSL made, and each cut of it, each byte of it changed. */
static void
test_cert(size_t i)
{
	char text[TEXT_MAX], pin[BASE64_LEN(SHA256_LEN) + 1];
	uint8_t sum[SHA256_LEN], *p, was;
	const char *why, *name = certs[i].name;
	struct bytes b;
	struct x509 x;
	size_t n, cut;
	int c, odd = 0;

	from_pem(&b, certs[i].pem);
	p = exact(b.p, b.len);
	check(examine(&x, p, b.len, &why) == 0, name, i);
	sha256(x.spki.p, x.spki.len, sum);
	base64_encode(pin, sum, sizeof(sum));
	check(strcmp(pin, certs[i].pin) == 0, name, i);
	check(x.not_before == certs[i].not_before && x.not_after == certs[i].not_after, name, i);
	check(certs[i].cn == NULL ? x.cn.p == NULL : x.cn.len == strlen(certs[i].cn) &&
	    memcmp(x.cn.p, certs[i].cn, x.cn.len) == 0, name, i);
	names_text(&x, text, sizeof(text));
	check(strcmp(text, certs[i].names) == 0, name, i);
	check((x.san.p == NULL) == (text[0] == '\0'), name, i);
	for (n = 0; n < LEN(certs[i].is) && certs[i].is[n] != NULL; n++)
		check(x509_names_host(&x, certs[i].is[n]), certs[i].is[n], n);
	for (n = 0; n < LEN(certs[i].is_not) && certs[i].is_not[n] != NULL; n++)
		check(!x509_names_host(&x, certs[i].is_not[n]), certs[i].is_not[n], n);
	for (n = 0; n < b.len; n++) {
		was = p[n];
		for (c = 0; c < 256; c++) {
			p[n] = (uint8_t)c;
			odd += examine(&x, p, b.len, &why) == -2;
		}
		p[n] = was;
	}
	check(odd == 0, name, (size_t)odd);
	free(p);
	for (cut = 0; cut < b.len; cut++)
		check(verdict(&x, b.p, cut, &why) == -1, name, cut);
	b.p[b.len] = 0;
	check(verdict(&x, b.p, b.len + 1, &why) == -1, name, cut);
}

static uint32_t
xorshift(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

/* A few bytes anew, moved, or gone. */
static void
mutate(struct bytes *b, uint32_t *seed)
{
	size_t from, to, n;
	unsigned i;

	for (i = xorshift(seed) % 4 + 1; i > 0 && b->len > 8; i--) {
		from = xorshift(seed) % b->len;
		to = xorshift(seed) % b->len;
		n = xorshift(seed) % 8;
		if (n > b->len - (from > to ? from : to))
			n = 1;
		switch (xorshift(seed) % 8) {
		case 0:
			memmove(b->p + to, b->p + from, n);
			break;
		case 1:
			memmove(b->p + from, b->p + from + n, b->len - from - n);
			b->len -= n;
			break;
		case 2:
			b->p[from] ^= (uint8_t)(1u << n);
			break;
		case 3:
			b->p[from]++;
			break;
		case 4:
			b->p[from]--;
			break;
		default:
			b->p[from] = (uint8_t)xorshift(seed);
		}
	}
}

static void
test_mutations(void)
{
	struct bytes seeds[LEN(certs) + 2], b;
	uint32_t seed = 0x5eed1234;
	const char *why;
	struct x509 x;
	size_t i, good = 0, odd = 0;

	for (i = 0; i < LEN(certs); i++)
		from_pem(&seeds[i], certs[i].pem);
	from_text(&seeds[i], SAN("82('www.example.org')" V4A V6A));	/* short: each byte counts */
	from_text(&seeds[i + 1], CERT(V1));
	for (i = 0; i < 200000; i++) {
		b = seeds[i % LEN(seeds)];
		mutate(&b, &seed);
		switch (verdict(&x, b.p, b.len, &why)) {
		case 0:
			good++;
			break;
		case -2:
			odd++;
			break;
		}
	}
	check(odd == 0, "mutations", odd);
	check(good > 1000, "some mutations are taken", good);
}

int
main(void)
{
	size_t i;

	test_rows();
	test_lengths();
	test_times();
	test_calendar();
	test_hosts();
	for (i = 0; i < LEN(certs); i++)
		test_cert(i);
	test_mutations();
	return test_end();
}
