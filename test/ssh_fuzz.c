/*
 * ssh_fuzz.c: packets and messages from bytes nobody has checked, before and after authentication, without the ciphers that would keep
 * them out. What is fed in pieces must come out as if fed at once; what is sent must be whole packets.
 */
#include "../sshint.h"
#include "fuzz.h"

enum { OUT = SSH_OUTPUT_MIN + 100 };

static struct sshkey key;
static unsigned choices;		/* what users answer, a bit at a time */

static int
choose(void)
{
	choices = choices >> 1 | (choices & 1) << 7;
	return choices & 1;
}

static int
no_random(void *p, size_t n)
{
	memset(p, 0x2a, n);
	return 0;
}

static void
conf_init(struct sshtrans_conf *c, int server)
{
	memset(c, 0, sizeof(*c));
	c->server = server;
	c->ident = "SSH-2.0-x";
	c->keys[0] = &key;
	c->user = "u";
	c->random = no_random;
}

/* The transport: the verdict, and the number of messages before it. */
static int
feed(int server, const uint8_t *p, size_t n, size_t step, int *messages)
{
	static struct sshtrans t;
	static uint8_t out[OUT];
	struct sshtrans_conf c;
	const char *why = NULL;
	uint8_t *msg, *piece;
	size_t len, at, k;
	long took;
	int rc = 0;

	conf_init(&c, server);
	CHECK(sshtrans_init(&t, &c) == 0);
	for (*messages = 0; n > 0 && rc >= 0; p += k, n -= k) {
		k = n < step ? n : step;
		piece = copy(p, k);
		for (at = 0; at < k && rc >= 0; at += (size_t)took) {
			took = sshtrans_take(&t, piece + at, k - at, &msg, &len, &why);
			if (took < 0) {
				rc = (int)took;
				break;
			}
			CHECK(took > 0 && (size_t)took <= k - at);
			if (msg == NULL)
				continue;
			++*messages;
			rc = sshtrans_message(&t, msg, len, &why);
			if (rc == SSHTRANS_HOST_KEY || rc == SSHTRANS_AUTH)
				rc = sshtrans_answer(&t, 1, &why);
			while ((len = sshtrans_next(&t, out + SSH_PAYLOAD_AT, SSH_QUEUE_MAX)) > 0)
				sshtrans_seal(&t, out, len);
		}
		free(piece);
	}
	CHECK(rc >= 0 || why != NULL);
	sshtrans_free(&t);
	return rc < 0 ? rc : 0;
}

static void
fuzz_transport(int server, const uint8_t *p, size_t n, size_t step)
{
	int a, b, rc = feed(server, p, n, n, &a);

	CHECK(feed(server, p, n, step, &b) == rc && a == b);
}

/* The connection: streams whose users do something at every chance. */

static void
on_data(void *arg, const uint8_t *p, size_t n)
{
	(void)p;
	if (choose())
		stream_credit(arg, n, 0);
}

static void
on_event(void *arg)
{
	if (choose())
		stream_fin(arg);
}

static const struct stream_ops stream_ops = { on_data, on_event, on_event, on_event };

static int
yes(void *arg, struct str blob)
{
	(void)arg;
	(void)blob;
	return choose();
}

static int
let_in(void *arg, struct str user, struct str blob)
{
	(void)arg;
	(void)user;
	(void)blob;
	return choose();
}

static void
on_ready(void *arg)
{
	(void)arg;
}

enum { STREAMS = 8 };
static struct stream *streams[STREAMS];

static int
on_open(void *arg, struct stream *s, struct str type, struct str data)
{
	int i;

	(void)arg;
	(void)type;
	(void)data;
	for (i = 0; i < STREAMS; i++)
		if (streams[i] == NULL && choose()) {
			s->ops = &stream_ops;
			s->arg = s;
			streams[i] = s;
			if (choose())
				ssh_confirm(s);
			return 0;
		}
	return SSH_OPEN_PROHIBITED;
}

static int
on_request(void *arg, struct stream *s, struct str type, struct str data)
{
	(void)arg;
	(void)s;
	(void)type;
	(void)data;
	return choose();
}

static void
on_global(void *arg, struct str name, struct str data, int want)
{
	struct ssh **s = arg;

	(void)name;
	if (want)
		ssh_reply(*s, choose(), data.p, data.len);
}

static void
on_reply(void *arg, int ok, struct str data)
{
	(void)arg;
	(void)ok;
	(void)data;
}

static const struct ssh_ops ops = { yes, let_in, on_ready, on_open, on_request, on_global, on_reply };

static void
on_kick(void *arg)
{
	(void)arg;
}

static void
act(struct ssh *s, unsigned what)
{
	struct stream **p = &streams[what % STREAMS];
	struct iovec iov = { "some bytes", 10 };

	if (*p == NULL && (*p = ssh_open(s)) != NULL) {
		(*p)->arg = *p;
		(*p)->ops = &stream_ops;
		if (what & 64)
			ssh_ask(*p, "t", NULL, 0);
	} else if (*p != NULL && what & 8)
		stream_write(*p, &iov, 1, what & 16, 0);
	else if (*p != NULL && what & 32) {
		stream_leave(*p);
		*p = NULL;
	} else if (*p != NULL)
		stream_reset(*p);
}

/* What goes out must be packets. */
static void
drain(struct ssh *s, int first)
{
	static uint8_t out[OUT];
	const char *why;
	uint8_t *msg;
	size_t n, at = 0, len;
	int more;
	long whole;

	n = ssh_output(s, out, OUT, &more);
	CHECK(n <= OUT);
	if (first)
		at = strlen("SSH-2.0-x\r\n");
	for (; at < n; at += (size_t)whole) {
		whole = ssh_open_packet(NULL, 8, 0, out + at, n - at, &msg, &len, &why);
		CHECK(whole > 0);
	}
}

/* Each message with its length in front; 0: we do something. */
static void
fuzz_connection(enum sshtrans_phase phase, int server, const uint8_t *p, size_t n)
{
	static uint8_t out[1024];
	struct ssh_conf c;
	struct ssh *s;
	const char *why = NULL;
	size_t len;
	int rc = 0, i;

	memset(&c, 0, sizeof(c));
	conf_init(&c.trans, server);
	c.channels_max = STREAMS;
	c.window = 100;
	CHECK((s = ssh_new(&c, &ops, &s)) != NULL);
	ssh_attach(s, on_kick, NULL);
	drain(s, 1);
	s->t.ident_seen = s->t.first_done = 1;
	s->t.init_sent = 0;
	s->t.phase = phase;
	while (n > 1 && rc == 0) {
		len = *p++;
		n--;
		if (len == 0) {
			act(s, *p++);
			n--;
			continue;
		}
		len = len < n ? len : n;
		memcpy(out + SSH_PAYLOAD_AT, p, len);
		p += len;
		n -= len;
		rc = ssh_input(s, out, ssh_seal(NULL, 8, 0, out, len), &why);
		if (s->t.in != NULL)	/* new keys: what follows could not be read */
			break;
		if (s->t.out == NULL && !s->t.newkeys_waits)
			drain(s, 0);
	}
	CHECK(rc == 0 || why != NULL);
	ssh_end(s);
	for (i = 0; i < STREAMS; i++) {
		if (streams[i] != NULL)
			stream_leave(streams[i]);
		streams[i] = NULL;
	}
	ssh_unref(s);
}

static void
fuzz_keys(const uint8_t *p, size_t n)
{
	struct sshkex_choice choice;
	struct str mine, theirs, sig;
	const char *why = NULL;
	struct buf b;
	uint8_t text[SSH_KEXINIT_MAX];
	struct sshkex_offer o = { 1, 1, SSH_KEY_ALGS, "aes128-gcm@openssh.com" };

	buf_init(&b, text, sizeof(text));
	sshkex_put_init(&b, key.secret, &o);
	mine.p = b.p;
	mine.len = b.len;
	theirs.p = (const char *)p;
	theirs.len = n;
	CHECK(sshkex_choose(&choice, &mine, &theirs, 1, &why) == 0 || why != NULL);
	sig.p = (const char *)p + n / 2;
	sig.len = n - n / 2;
	CHECK(!sshkey_verify(p, n / 2, sig, "message", 7));
	CHECK(!sshkey_verify(key.blob, key.nblob, theirs, "message", 7));
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t len)
{
	uint8_t *p;

	if (len < 3 || len > 8192)
		return 0;
	if (key.nblob == 0 && (sshcrypt_init() == -1 || sshkey_init(&key, SSHKEY_ED25519, key.secret) == -1))
		abort();
	choices = data[1];
	p = copy(data + 2, len - 2);
	switch (data[0] % 6) {
	case 0:
	case 1:
		fuzz_transport(data[0] % 6, p, len - 2, data[1] + 1U);
		break;
	case 2:
		fuzz_connection(SSH_PHASE_SERVICE + (data[1] & 1), 1, p, len - 2);
		break;
	case 3:
		fuzz_keys(p, len - 2);
		break;
	default:
		fuzz_connection(SSH_PHASE_RUN, data[0] % 6 == 4, p, len - 2);
	}
	free(p);
	return 0;
}
