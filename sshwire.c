/* sshwire.c: SSH's data types, identification line and packets; see sshwire.h. */
#include <string.h>

#include "be32.h"
#include "sshwire.h"

enum { BLOCK_MIN = 8, PADDING_MIN = 4 };

/* Reading */

void
ssh_in_init(struct ssh_in *in, const void *p, size_t len)
{
	in->p = p;
	in->left = len;
	in->bad = 0;
}

static const uint8_t *
take(struct ssh_in *in, size_t n)
{
	const uint8_t *p = in->p;

	if (in->bad || n > in->left) {
		in->bad = 1;
		in->left = 0;
		return NULL;
	}
	in->p += n;
	in->left -= n;
	return p;
}

unsigned
ssh_get_byte(struct ssh_in *in)
{
	const uint8_t *p = take(in, 1);

	return p != NULL ? *p : 0;
}

int
ssh_get_bool(struct ssh_in *in)
{
	return ssh_get_byte(in) != 0;
}

uint32_t
ssh_get_u32(struct ssh_in *in)
{
	const uint8_t *p = take(in, 4);

	return p != NULL ? be32_get(p) : 0;
}

struct str
ssh_get_str(struct ssh_in *in)
{
	struct str s = { "", 0 };
	uint32_t len = ssh_get_u32(in);
	const uint8_t *p = take(in, len);

	if (p != NULL) {
		s.p = (const char *)p;
		s.len = len;
	}
	return s;
}

void
ssh_get_mpint(struct ssh_in *in, uint8_t *out, size_t len)
{
	struct str s = ssh_get_str(in);

	memset(out, 0, len);
	if (s.len > 0 && (uint8_t)s.p[0] & 0x80) {
		in->bad = 1;
		return;
	}
	for (; s.len > 0 && s.p[0] == 0; s.p++)
		s.len--;
	if (s.len > len)
		in->bad = 1;
	else if (s.len > 0)
		memcpy(out + len - s.len, s.p, s.len);
}

int
ssh_in_whole(const struct ssh_in *in)
{
	return !in->bad && in->left == 0;
}

/* Writing */

void
ssh_put_u32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	be32_put(p, v);
	buf_put(b, p, sizeof(p));
}

void
ssh_put_str(struct buf *b, const void *p, size_t len)
{
	ssh_put_u32(b, (uint32_t)len);
	buf_put(b, p, len);
}

void
ssh_put_cstr(struct buf *b, const char *s)
{
	ssh_put_str(b, s, strlen(s));
}

void
ssh_put_mpint(struct buf *b, const uint8_t *p, size_t len)
{
	for (; len > 0 && *p == 0; p++)
		len--;
	if (len > 0 && *p & 0x80) {
		ssh_put_u32(b, (uint32_t)len + 1);
		buf_char(b, 0);
	} else
		ssh_put_u32(b, (uint32_t)len);
	buf_put(b, p, len);
}

/* Lists */

struct str
ssh_list_next(struct str *list)
{
	const char *comma = list->len > 0 ? memchr(list->p, ',', list->len) : NULL;
	struct str name = *list;

	if (comma == NULL) {
		list->len = 0;
		return name;
	}
	name.len = (size_t)(comma - list->p);
	list->p += name.len + 1;
	list->len -= name.len + 1;
	return name;
}

int
ssh_list_has(struct str list, const char *name)
{
	while (list.len > 0)
		if (str_is(ssh_list_next(&list), name))
			return 1;
	return 0;
}

/* The identification line */

static long
bad(const char **why, enum ssh_reason reason, const char *what)
{
	*why = what;
	return -(long)reason;
}

long
ssh_ident(const char *buf, size_t len, struct str *id, const char **why)
{
	size_t max = len < SSH_IDENT_MAX ? len : SSH_IDENT_MAX;
	const char *nl = max > 0 ? memchr(buf, '\n', max) : NULL;
	size_t n;

	if (nl == NULL)
		return len < SSH_IDENT_MAX ? 0 : bad(why, SSH_PROTOCOL_ERROR, "identification line too long");
	n = (size_t)(nl - buf);
	id->p = buf;
	id->len = n > 0 && buf[n - 1] == '\r' ? n - 1 : n;
	if (memchr(buf, '\0', n) != NULL)
		return bad(why, SSH_PROTOCOL_ERROR, "NUL in the identification line");
	if (id->len < 4 || memcmp(buf, "SSH-", 4) != 0)
		id->len = 0;
	else if (id->len < 8 || (memcmp(buf, "SSH-2.0-", 8) != 0 &&
	    (id->len < 9 || memcmp(buf, "SSH-1.99-", 9) != 0)))
		return bad(why, SSH_VERSION_NOT_SUPPORTED, "not version 2.0 of SSH");
	return (long)n + 1;
}

/* Packets */

size_t
ssh_seal(struct sshcipher *c, size_t block, uint32_t seq, uint8_t *out, size_t payload)
{
	size_t clear = c != NULL ? 0 : 4;	/* without a cipher the length field counts, too */
	size_t pad, len;

	pad = block - (clear + 1 + payload) % block;
	if (pad < PADDING_MIN)
		pad += block;
	len = 1 + payload + pad;
	be32_put(out, (uint32_t)len);
	out[4] = (uint8_t)pad;
	memset(out + SSH_PAYLOAD_AT + payload, 0, pad);
	if (c == NULL)
		return 4 + len;
	sshcipher_seal(c, seq, out, len);
	return 4 + len + SSH_TAG_LEN;
}

long
ssh_packet_len(const struct sshcipher *c, size_t block, uint32_t seq, const uint8_t *buf, size_t len, const char **why)
{
	size_t size;

	if (len < 4)
		return 0;
	size = c != NULL ? sshcipher_length(c, seq, buf) : be32_get(buf);
	if (size > SSH_PACKET_MAX)
		return bad(why, SSH_PROTOCOL_ERROR, "packet too long");
	if (size < BLOCK_MIN || ((c != NULL ? 0 : 4) + size) % block != 0)
		return bad(why, SSH_PROTOCOL_ERROR, "packet of a wrong length");
	return (long)(4 + size + (c != NULL ? SSH_TAG_LEN : 0));
}

long
ssh_open_packet(struct sshcipher *c, size_t block, uint32_t seq, uint8_t *buf, size_t len,
    uint8_t **payload, size_t *n, const char **why)
{
	long whole = ssh_packet_len(c, block, seq, buf, len, why);
	size_t size, pad;

	if (whole <= 0 || (size_t)whole > len)
		return whole < 0 ? whole : 0;
	size = (size_t)whole - 4 - (c != NULL ? SSH_TAG_LEN : 0);
	if (c != NULL && sshcipher_open(c, seq, buf, size) == -1)
		return bad(why, SSH_MAC_ERROR, "packet's authentication tag is wrong");
	pad = buf[4];
	if (pad < PADDING_MIN || pad + 2 > size)	/* a payload has a byte at least: its number */
		return bad(why, SSH_PROTOCOL_ERROR, "packet's padding is wrong");
	*payload = buf + SSH_PAYLOAD_AT;
	*n = size - 1 - pad;
	return whole;
}
