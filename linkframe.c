/* linkframe.c: the frames of a link on their way out; see linkint.h. */
#include <errno.h>
#include <string.h>

#include "linkint.h"

enum {
	AT_ONCE = 16384,	/* a shorter payload is copied: it goes out with others */
	PIECES = 8
};

/*
 * A masking-key must not be foreseen by whoever chose the payload (10.3). The
 * state is seeded by the system; a step is splitmix64, whose output a network attacker never
 * sees unmixed with a payload he does not choose. Bulk speed rules out a system call a frame.
 */
static void
new_key_locked(struct link *l, uint8_t key[4])
{
	uint64_t z = (l->mask_state += 0x9e3779b97f4a7c15u);
	uint32_t k;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	k = (uint32_t)((z ^ (z >> 31)) >> 16);
	memcpy(key, &k, 4);
}

void
linkframe_hdr_locked(struct link *l, struct ws_hdr *h, uint8_t opcode, size_t len)
{
	h->opcode = opcode;
	h->fin = 1;
	h->masked = l->conf.client != 0;
	h->len = len;
	if (h->masked)
		new_key_locked(l, h->key);
}

size_t
linkframe_put(uint8_t *p, const struct ws_hdr *h, const struct iovec *iov, size_t at)
{
	size_t k = ws_hdr_write(p, h), end = k + (size_t)h->len, phase = 0, n;
	const uint8_t *src;

	for (; k < end; iov++) {
		if (at >= iov->iov_len) {
			at -= iov->iov_len;
			continue;
		}
		src = (const uint8_t *)iov->iov_base + at;
		n = iov->iov_len - at < end - k ? iov->iov_len - at : end - k;
		if (h->masked)
			phase = ws_mask(p + k, src, n, h->key, phase);
		else
			memmove(p + k, src, n);
		k += n;
		at = 0;
	}
	return end;
}

int
linkframe_send(struct link *l, const struct ws_hdr *h, const struct iovec *iov, size_t at, struct span *out)
{
	struct iovec v[1 + PIECES];
	ssize_t sent;
	int n, k = 0;

	if (h->masked || h->len < AT_ONCE || (n = iov_cut(v + 1, PIECES, iov, at, (size_t)h->len)) == -1) {
		out->to += linkframe_put(l->out + out->to, h, iov, at);
		return 0;
	}
	out->to += ws_hdr_write(l->out + out->to, h);
	v[0].iov_base = l->out + out->from;
	v[0].iov_len = out->to - out->from;
	sent = conn_writev(&l->conn, v, 1 + n);
	if (sent == -1 && errno != EAGAIN)
		return -1;
	iov_skip(v, 1 + n, &k, sent == -1 ? 0 : (size_t)sent);
	if (k == 0) {
		out->from = out->to - v[0].iov_len;
		k = 1;
	} else
		out->from = out->to = 0;
	for (; k <= n; k++) {
		memcpy(l->out + out->to, v[k].iov_base, v[k].iov_len);
		out->to += v[k].iov_len;
	}
	return 1;
}
