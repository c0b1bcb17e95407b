/* Binary messages put together again: what the browser client writes at once, cut as it cuts it. */
#include "../pieces.h"
#include "test.h"

#define LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define A	"0123456789ab"
#define B	"ba9876543210"
#define OLD	"00000000000f"	/* its connection has gone */
#define NONE	"ffffffffffff"	/* never was */
#define Q	"a1b2c3d4e5f6"	/* of a request that waits */

enum { OUT = 1 << 20 };

struct sim {			/* wsproxy.c's part, and all that came of it: "A<bytes>", "!<object>" in turn */
	struct pieces p;
	int waits;
	char *held, *out;
	size_t nheld, n;
	char to[WSPROXY_ID + 1];	/* of the data that was written last */
};

static int
known(void *arg, const char *id)
{
	(void)arg;
	return strcmp(id, A) == 0 || strcmp(id, B) == 0 || strcmp(id, OLD) == 0;
}

static int
waiting(void *arg)
{
	return ((struct sim *)arg)->waits;
}

static void
put(struct sim *s, const void *p, size_t len)
{
	if (len > OUT - s->n)
		abort();
	memcpy(s->out + s->n, p, len);
	s->n += len;
}

static void
data(struct sim *s, const void *p, size_t len)
{
	if (strcmp(s->p.id, A) != 0 && strcmp(s->p.id, B) != 0)
		return;		/* nobody's */
	if (strcmp(s->to, s->p.id) != 0)
		put(s, s->p.id, 1);
	memcpy(s->to, s->p.id, sizeof(s->to));
	put(s, p, len);
}

static int
is_ours(const char *text, size_t len)
{
	struct str all = { text, len };
	struct wsproxy_control c;
	const char *why;

	switch (wsproxy_read(&c, all, &why)) {
	case WSPROXY_CLOSE:
		return strcmp(c.id, A) == 0 || strcmp(c.id, B) == 0;
	case WSPROXY_RESPONSE:
		return strcmp(c.id, Q) == 0;
	default:
		return 0;
	}
}

static void
object(struct sim *s, const void *p, size_t len)
{
	put(s, "!", 1);
	put(s, p, len);
	s->to[0] = '\0';
}

static void
let_go(struct sim *s, int is_data)
{
	if (is_data)
		data(s, s->held, s->nheld);
	s->nheld = 0;
}

static void
message(struct sim *s, const void *msg, size_t len)
{
	struct pieces_ask ask = { known, waiting, s };
	uint8_t *p = exact(msg, len);
	enum pieces_verdict v;
	size_t at = 0;
	int ours;

	while ((v = pieces_take(&s->p, p, len, &ask, &at)) == PIECES_RELEASE || v == PIECES_FORGET)
		let_go(s, v == PIECES_RELEASE);
	if (v == PIECES_DATA)
		data(s, p + at, len - at);
	else if (v == PIECES_CONTROL)
		object(s, p, len);
	else if (v != PIECES_DROP) {
		memcpy(s->held + s->nheld, p, len);
		s->nheld += len;
	}
	if (v == PIECES_LAST || v == PIECES_CHECK) {
		ours = v == PIECES_LAST || is_ours(s->held, s->nheld);
		if (v == PIECES_CHECK)
			pieces_checked(&s->p, ours, len);
		if (ours)
			object(s, s->held, s->nheld);
		let_go(s, !ours);
	}
	free(p);
}

static void
sim_init(struct sim *s)
{
	memset(s, 0, sizeof(*s));
	s->waits = 1;
	if ((s->held = malloc(OUT)) == NULL || (s->out = malloc(OUT)) == NULL)
		abort();
}

static void
sim_free(struct sim *s)
{
	free(s->held);
	free(s->out);
}

/* What the client writes at once: a frame's header if id is not "", then text, then fill bytes up to len. */
struct write {
	const char *id, *text;
	size_t len;		/* in all, header too; 0: text's own */
	char fill;
	const char *tail;	/* its last bytes */
};

/* An object of so many bytes, as the client orders its members. */
#define LONG(len)	{ "", "{\"body\":\"", len, 'x', "\",\"headers\":{},\"id\":\"" Q "\",\"status\":200,\"type\":\"http_response\"}" }
#define CLOSE(id)	{ "", "{\"connId\":\"" id "\",\"type\":\"tcp_close\"}", 0, 0, "" }

static size_t
build(const struct write *w, char *out)
{
	size_t n = 0, tail = w->tail != NULL ? strlen(w->tail) : 0;

	if (w->id[0] != '\0') {
		wsproxy_frame_put((uint8_t *)out, w->id);
		n = WSPROXY_HEADER;
	}
	memcpy(out + n, w->text, strlen(w->text));
	n += strlen(w->text);
	while (n + tail < w->len)
		out[n++] = w->fill;
	if (tail > 0)
		memcpy(out + n, w->tail, tail);
	return n + tail;
}

static void
send_cut(struct sim *s, const char *p, size_t len)
{
	size_t at, n;

	for (at = 0; at < len; at += n) {
		n = len - at < PIECE ? len - at : PIECE;
		message(s, p + at, n);
	}
}

/* Each write must come out whole, in turn, and nothing else. */
static const struct {
	const char *name;
	struct write w[6];	/* up to the first without text */
} runs[] = {
	{ "E8, a response", { LONG(5000) } },
	{ "E8, a read of 10000 bytes", { { A, "x", 10016, 'y', NULL } } },
	{ "a small frame, an object", { { A, "SSH-2.0-x\r\n", 0, 0, NULL }, CLOSE(A) } },
	{ "a piece, the same connection's next", { { A, "x", 4096, 'y', NULL }, { A, "z", 0, 0, NULL } } },
	{ "two pieces, another's", { { A, "x", 8192, 'y', NULL }, { B, "z", 8192, 'y', NULL }, { A, "z", 5000, 'z', NULL } } },
	{ "two pieces, an object", { { A, "x", 8192, 'y', NULL }, CLOSE(B), { A, "z", 4096, 'z', NULL }, CLOSE(A) } },
	{ "two pieces, a long object", { { A, "x", 8192, 'y', NULL }, LONG(9000), { B, "x", 20, 'y', NULL } } },
	{ "two pieces, an object of two", { { A, "x", 8192, 'y', NULL }, LONG(8192), { B, "x", 20, 'y', NULL } } },
	{ "two pieces, an object of one", { { A, "x", 8192, 'y', NULL }, LONG(4096), LONG(4097), LONG(4095), { B, "x", 20, 'y', NULL } } },
	{ "objects of two pieces", { LONG(8192), LONG(8192), { A, "x", 8192, 'y', NULL }, LONG(12288), CLOSE(A) } },
	{ "blanks before it", { { A, "x", 4096, 'y', NULL }, { "", " \t\r\n{ \"type\":\"tcp_close\",\"connId\":\"" A "\"}\n", 0, 0, "" } } },
	{ "names in any case", { { A, "x", 4096, 'y', NULL }, { "", "{\"TYPE\":\"tcp_close\",\"connid\":\"" A "\"}", 0, 0, "" } } },
	{ "braces in its strings", { { "", "{\"body\":\"}{\\\"}\\\\\",\"headers\":{\"a\":\"}]\"},\"x\":[{},[]],\"y\":\"", 9000, '}', "\"}" } } },
	{ "a backslash where it is cut", { { "", "{\"body\":\"", 12001, '\\', "\"}" } } },
	/* frames that carry such texts */
	{ "data of braces", { { A, "x", 16384, '{', NULL }, { B, "x", 20, 'y', NULL } } },
	{ "data of quotes and braces", { { A, "x", 12288, '"', NULL }, CLOSE(A) } },
};

static void
test_runs(void)
{
	struct sim got, want;
	char *text = malloc(OUT);
	size_t i, k, n;

	if (text == NULL)
		abort();
	for (i = 0; i < LEN(runs); i++) {
		sim_init(&got);
		sim_init(&want);
		for (k = 0; k < 6 && runs[i].w[k].text != NULL; k++) {
			n = build(&runs[i].w[k], text);
			send_cut(&got, text, n);
			if (runs[i].w[k].id[0] == '\0') {
				object(&want, text, n);
				continue;
			}
			memcpy(want.p.id, runs[i].w[k].id, sizeof(want.p.id));
			data(&want, text + WSPROXY_HEADER, n - WSPROXY_HEADER);
		}
		check(got.n == want.n && memcmp(got.out, want.out, got.n) == 0 && got.nheld == 0, runs[i].name, i);
		sim_free(&got);
		sim_free(&want);
	}
	free(text);
}

/* One write of a connection's bytes, in which at a cut there stands what might be something else. 1: it is that. */
static const struct {
	const char *name, *text;
	int other, waits;
} cuts[] = {
	{ "a brace", "{", 0, 1 },
	{ "an object", "{\"a\":1}", 0, 1 },
	{ "an empty one", "{}", 0, 1 },
	{ "one like ours", "{\"body\":\"", 0, 1 },
	{ "and nobody waits", "{\"body\":\"", 0, 0 },
	{ "a control object of an unknown connection", "{\"connId\":\"" NONE "\",\"type\":\"tcp_close\"}", 0, 1 },
	{ "of one that has gone", "{\"connId\":\"" OLD "\",\"type\":\"tcp_close\"}", 0, 1 },
	{ "a response nobody waits for", "{\"id\":\"" NONE "\",\"status\":200,\"type\":\"http_response\"}", 0, 1 },
	{ "a control object and more", "{\"connId\":\"" A "\",\"type\":\"tcp_close\"}x", 0, 1 },
	{ "of another type", "{\"connId\":\"" A "\",\"type\":\"tcp_open\"}", 0, 1 },
	{ "a frame of no connection", "\0\0\0\014" NONE "x", 0, 1 },
	{ "part of a header", "\0\0\0\014" "0123456789a", 0, 1 },
	{ "a frame of another length", "\0\0\0\015" A "xx", 0, 1 },
	{ "upper case", "\0\0\0\014" "0123456789AB" "x", 0, 1 },
};

static void
test_cuts(void)
{
	struct sim s;
	char *text = malloc(OUT);
	size_t i, k, total, n;

	if (text == NULL)
		abort();
	for (i = 0; i < LEN(cuts); i++)
		for (k = 1; k < 4; k++)
			for (total = k * PIECE; total < (k + 1) * PIECE + 200; total += total % PIECE == 0 ? 100 : 1333) {
				wsproxy_frame_put((uint8_t *)text, A);
				memset(text + WSPROXY_HEADER, 'y', 5 * PIECE);
				n = strlen(cuts[i].text);
				if (cuts[i].text[0] == '\0')	/* a header has NULs */
					n = 4 + strlen(cuts[i].text + 4);
				memcpy(text + k * PIECE, cuts[i].text, n);
				sim_init(&s);
				s.waits = cuts[i].waits;
				send_cut(&s, text, total);
				wsproxy_frame_put((uint8_t *)text + total, B);
				memcpy(text + total + WSPROXY_HEADER, "end", 3);
				send_cut(&s, text + total, WSPROXY_HEADER + 3);
				n = total - WSPROXY_HEADER;
				check(s.n == 1 + n + 4 && s.out[0] == '0' && memcmp(s.out + 1, text + WSPROXY_HEADER, n) == 0 &&
				    memcmp(s.out + 1 + n, "bend", 4) == 0 && s.nheld == 0, cuts[i].name, total);
				sim_free(&s);
			}
	free(text);
}

/* Frames of connections that have gone, or never were, are dropped with all their pieces, and nothing of them is another's. */
static void
test_dropped(void)
{
	static const struct { const char *first, *then; } rows[] = { { OLD, A }, { NONE, A }, { A, OLD }, { OLD, OLD } };
	struct write w = { NULL, "x", 0, 'y', NULL };
	struct sim s;
	char *text = malloc(OUT);
	size_t i, len, want;

	if (text == NULL)
		abort();
	for (i = 0; i < LEN(rows); i++)
		for (len = PIECE; len <= 4 * PIECE; len += 1024) {
			sim_init(&s);
			want = 0;
			w.len = len;
			w.id = rows[i].first;
			send_cut(&s, text, build(&w, text));
			want += strcmp(w.id, A) == 0 ? 1 + len - WSPROXY_HEADER : 0;
			w.id = rows[i].then;
			send_cut(&s, text, build(&w, text));
			want += strcmp(w.id, A) == 0 ? 1 + len - WSPROXY_HEADER : 0;
			check(s.n == want, "nobody's frames", i * 100 + len / 1024);
			sim_free(&s);
		}
	free(text);
}

/* What is neither is dropped, and what comes behind it is not. */
static const struct {
	const char *name, *p;
	size_t len;
} junk[] = {
	{ "nothing", "", 0 },
	{ "E9, N = 0", "\0\0\0\0\1", 5 },
	{ "E9, N = 65", "\0\0\0\101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 69 },
	{ "E9, short", "\0\0\0\01401", 6 },
	{ "no payload", "\0\0\0\014" A, 16 },
	{ "half a header", "\0\0", 2 },
	{ "a brace", "{", 1 },
	{ "an object cut short", "{\"a\":\"", 6 },
	{ "an object and more", "{}x", 3 },
	{ "a control in a string", "{\"a\":\"\n\"}", 9 },
	{ "an array", "[]", 2 },
	{ "blanks", "  \n", 3 },
	{ "anything", "\xff\xfe", 2 },
};

static void
test_junk(void)
{
	static const char frame[] = "\0\0\0\014" A "z";
	struct sim s;
	size_t i;
	char *piece = malloc(PIECE);

	if (piece == NULL)
		abort();
	for (i = 0; i < LEN(junk); i++) {
		sim_init(&s);
		message(&s, junk[i].p, junk[i].len);
		message(&s, frame, sizeof(frame) - 1);
		check(s.n == 2 && memcmp(s.out, "0z", 2) == 0, junk[i].name, i);
		sim_free(&s);
	}
	/* half an object, then something else: the rest never comes */
	memset(piece, ' ', PIECE);
	memcpy(piece, "{\"body\":\"", 9);
	for (i = 0; i < 3; i++) {
		sim_init(&s);
		message(&s, piece, PIECE);
		check(s.nheld == PIECE, "half an object", i);
		s.p.whole = i == 2;	/* it has spoken in text */
		if (i == 1)
			message(&s, "xyz", 3);
		message(&s, frame, sizeof(frame) - 1);
		check(s.n == 2 && memcmp(s.out, "0z", 2) == 0 && s.nheld == 0, "then a frame", i);
		sim_free(&s);
	}
	free(piece);
}

/* A client whose messages are whole: a message of a piece's length is one, too. */
static void
test_whole(void)
{
	struct sim s;
	char *text = calloc(1, 2 * PIECE);
	int i;

	if (text == NULL)
		abort();
	for (i = 0; i < 2; i++) {
		sim_init(&s);
		wsproxy_frame_put((uint8_t *)text, A);
		s.p.whole = i == 0;
		if (i == 1)	/* so long a message shows it */
			message(&s, text, PIECE + 1);
		message(&s, text, PIECE);
		message(&s, "xyz", 3);
		check(s.n == 1 + PIECE - WSPROXY_HEADER + (size_t)i * (PIECE + 1 - WSPROXY_HEADER), "nothing behind a whole message", (size_t)i);
		memset(text, ' ', PIECE);
		text[0] = '{';
		message(&s, text, PIECE);
		check(s.nheld == 0, "nothing is held", (size_t)i);
		sim_free(&s);
	}
	free(text);
}

/* Held as what may be an object: given up when nobody waits any more, and no message comes. */
static void
test_stale(void)
{
	struct pieces_ask ask = { known, waiting, NULL };
	struct sim s;
	char *text = malloc(PIECE);

	if (text == NULL)
		abort();
	sim_init(&s);
	ask.arg = &s;
	wsproxy_frame_put((uint8_t *)text, A);
	memset(text + WSPROXY_HEADER, 'y', PIECE - WSPROXY_HEADER);
	message(&s, text, PIECE);
	memcpy(text, "{\"body\":\"yyyyyyyy", 17);
	message(&s, text, PIECE);
	check(s.nheld == PIECE && !pieces_stale(&s.p, &ask), "held while somebody waits", 0);
	s.waits = 0;
	check(pieces_stale(&s.p, &ask), "and given up then", 0);
	let_go(&s, 1);
	message(&s, "tail", 4);
	check(s.n == 1 + 2 * PIECE - WSPROXY_HEADER + 4 && memcmp(s.out + s.n - 5, "ytail", 5) == 0, "in order", 0);
	check(!pieces_stale(&s.p, &ask), "once", 0);
	sim_free(&s);
	free(text);
}

/* Writes of all kinds one behind another, of lengths about what matters. */
static void
test_many(void)
{
	static const size_t lens[] = { 17, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 12289, 20000 };
	static const char *const ids[] = { A, B, OLD, NONE };
	struct write w = { NULL, "", 0, 'y', NULL }, object_of = LONG(0);
	struct sim got, want;
	unsigned state = 1, round, k;
	char *text = malloc(OUT);
	size_t n;

	if (text == NULL)
		abort();
	for (round = 0; round < 300; round++) {
		sim_init(&got);
		sim_init(&want);
		for (k = 0; k < 24; k++) {
			state = state * 1103515245 + 12345;
			n = lens[(state >> 16) % LEN(lens)];
			if (state >> 28 < 5) {
				object_of.len = n < 100 ? 100 : n;
				n = build(&object_of, text);
				object(&want, text, n);
			} else {
				/* one of no connection is not told from data; behind a whole number of pieces only */
				w.id = ids[(state >> 24) % 3];
				w.len = n;
				w.fill = "y{\"}"[state >> 22 & 3];
				n = build(&w, text);
				memcpy(want.p.id, w.id, sizeof(want.p.id));
				data(&want, text + WSPROXY_HEADER, n - WSPROXY_HEADER);
			}
			send_cut(&got, text, n);
		}
		check(got.n == want.n && memcmp(got.out, want.out, got.n) == 0, "a mixture", round);
		sim_free(&got);
		sim_free(&want);
	}
	free(text);
}

int
main(void)
{
	test_runs();
	test_cuts();
	test_dropped();
	test_junk();
	test_whole();
	test_stale();
	test_many();
	return test_end();
}
