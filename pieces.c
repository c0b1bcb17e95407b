/* pieces.c: binary messages put together again; see pieces.h. */
#include <string.h>

#include "pieces.h"

static int
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t
skip_blanks(const uint8_t *p, size_t len, size_t at)
{
	while (at < len && is_blank(p[at]))
		at++;
	return at;
}

/* 1: with these bytes the object is over, blanks behind it aside; 0: it is not; -1: it is none. */
static int
walk(struct pieces *s, const uint8_t *p, size_t len)
{
	size_t i;
	uint8_t c;

	for (i = 0; i < len; i++) {
		c = p[i];
		if (c < ' ' && (s->in_string || !is_blank(c)))
			return -1;
		if (s->escaped)
			s->escaped = 0;
		else if (s->in_string && c == '\\')
			s->escaped = 1;
		else if (c == '"')
			s->in_string = !s->in_string;
		else if (!s->in_string && (c == '{' || c == '['))
			s->depth++;
		else if (!s->in_string && (c == '}' || c == ']') && --s->depth == 0)
			return skip_blanks(p, len, i + 1) == len ? 1 : -1;
	}
	return 0;
}

static int
begin_walk(struct pieces *s, const uint8_t *p, size_t len)
{
	s->depth = 0;
	s->in_string = s->escaped = 0;
	return walk(s, p, len);
}

static int
is_object(const uint8_t *p, size_t len)
{
	size_t at = skip_blanks(p, len, 0);

	return at < len && p[at] == '{';
}

/* Does its first member have a name as ours do? */
static int
like_ours(const uint8_t *p, size_t len)
{
	static const char *const names[] = { "type", "id", "connId", "status", "headers", "body", "bodyEncoding" };
	size_t at = skip_blanks(p, len, 0) + 1, i, n;

	at = skip_blanks(p, len, at);
	if (at >= len || p[at++] != '"')
		return 0;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		n = strlen(names[i]);
		if (len - at > n && http_same((const char *)p + at, names[i], n) && p[at + n] == '"')
			return 1;
	}
	return 0;
}

/* More of the frame, which goes on if this is a whole piece. */
static enum pieces_verdict
more_data(struct pieces *s, size_t len, size_t *at)
{
	s->state = len == PIECE ? PIECES_FRAME : PIECES_NONE;
	*at = 0;
	return PIECES_DATA;
}

/* A message behind which nothing is open: an object, a frame, or nothing. */
static enum pieces_verdict
first(struct pieces *s, const uint8_t *p, size_t len, size_t *at)
{
	int cut = len == PIECE && !s->whole, rc;

	s->state = PIECES_NONE;
	if (is_object(p, len)) {
		if ((rc = begin_walk(s, p, len)) == 1)
			return PIECES_CONTROL;
		if (rc == -1 || !cut)
			return PIECES_DROP;
		s->state = PIECES_OBJECT;
		return PIECES_HOLD;
	}
	if (wsproxy_frame(p, len, s->id) == -1)
		return PIECES_DROP;
	if (cut)
		s->state = PIECES_FRAME;
	*at = WSPROXY_HEADER;
	return PIECES_DATA;
}

/* Behind a piece of a frame. */
static enum pieces_verdict
behind_frame(struct pieces *s, const uint8_t *p, size_t len, const struct pieces_ask *ask, size_t *at)
{
	char id[WSPROXY_ID + 1];
	int rc;

	if (wsproxy_frame(p, len, id) == 0 && ask->known(ask->arg, id))
		return first(s, p, len, at);
	if (!is_object(p, len) || !like_ours(p, len) || (rc = begin_walk(s, p, len)) == -1)
		return more_data(s, len, at);
	if (rc == 0 && (len < PIECE || !ask->waiting(ask->arg)))
		return more_data(s, len, at);
	s->state = PIECES_PERHAPS;
	return rc == 1 ? PIECES_CHECK : PIECES_HOLD;
}

/* Behind a piece of what is, or may be, an object. */
static enum pieces_verdict
behind_object(struct pieces *s, const uint8_t *p, size_t len)
{
	enum pieces_verdict lost = s->state == PIECES_PERHAPS ? PIECES_RELEASE : PIECES_FORGET;
	struct pieces before = *s;
	int rc = walk(s, p, len);

	if (rc == 1)
		return s->state == PIECES_PERHAPS ? PIECES_CHECK : (s->state = PIECES_NONE, PIECES_LAST);
	if (rc == 0 && len == PIECE)
		return PIECES_HOLD;
	*s = before;
	s->state = lost == PIECES_RELEASE ? PIECES_FRAME : PIECES_NONE;
	return lost;
}

enum pieces_verdict
pieces_take(struct pieces *s, const uint8_t *p, size_t len, const struct pieces_ask *ask, size_t *at)
{
	if (len > PIECE)	/* the browser client sends none so long */
		s->whole = 1;
	if (s->whole && s->state == PIECES_PERHAPS) {
		s->state = PIECES_NONE;
		return PIECES_RELEASE;
	}
	if (s->whole && s->state == PIECES_OBJECT) {
		s->state = PIECES_NONE;
		return PIECES_FORGET;
	}
	if (s->whole || s->state == PIECES_NONE)
		return first(s, p, len, at);
	if (s->state == PIECES_FRAME)
		return behind_frame(s, p, len, ask, at);
	return behind_object(s, p, len);
}

void
pieces_checked(struct pieces *s, int yes, size_t last)
{
	s->state = yes || last < PIECE ? PIECES_NONE : PIECES_FRAME;
}

int
pieces_stale(struct pieces *s, const struct pieces_ask *ask)
{
	if (s->state != PIECES_PERHAPS || ask->waiting(ask->arg))
		return 0;
	s->state = PIECES_FRAME;
	return 1;
}
