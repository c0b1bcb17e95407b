/* sshauth.c: authentication, both roles (RFC 4252): `none` and `publickey`; see sshtrans.h. */
#include <string.h>

#include "sshtrans.h"

#define SERVICE "ssh-connection"

enum {
	FAILURES_MAX = 6,
	REQUEST_MAX = 512		/* a request as far as it is signed, bytes */
};

static int
malformed(const char **why)
{
	return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "message of authentication is malformed");
}

static int
out_of_place(const char **why)
{
	return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "message of authentication out of place");
}

static int
push_service(struct sshtrans *t, uint8_t type, const char **why)
{
	uint8_t text[32];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_char(&b, (char)type);
	ssh_put_cstr(&b, "ssh-userauth");
	return sshtrans_push(t, &b, why);
}

/* What a signature is over: the session's name, then the request (7). */
static void
put_signed(struct buf *b, const struct sshtrans *t, struct str request)
{
	ssh_put_str(b, t->session, sizeof(t->session));
	buf_put(b, request.p, request.len);
}

/* The server */

static int
failure(struct sshtrans *t, int counts, const char **why)
{
	uint8_t text[32];
	struct buf b;

	if (counts && ++t->failures >= FAILURES_MAX)
		return sshtrans_fail(why, SSH_PROTOCOL_ERROR, "too many authentication failures");
	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_USERAUTH_FAILURE);
	ssh_put_cstr(&b, "publickey");
	buf_char(&b, 0);
	return sshtrans_push(t, &b, why);
}

static int
success(struct sshtrans *t, const char **why)
{
	uint8_t type = SSH_USERAUTH_SUCCESS;
	struct buf b;
	int rc;

	buf_init(&b, &type, 1);
	b.len = 1;
	if ((rc = sshtrans_push(t, &b, why)) < 0)
		return rc;
	memcpy(t->user, t->ask.user.p, t->ask.user.len);
	t->user[t->ask.user.len] = '\0';
	memcpy(t->key, t->ask.blob.p, t->ask.blob.len);
	t->nkey = t->ask.blob.len;
	t->phase = SSH_PHASE_RUN;
	return SSHTRANS_READY;
}

static int
pk_ok(struct sshtrans *t, const char **why)
{
	uint8_t text[SSH_BLOB_MAX + 64];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	buf_char(&b, SSH_USERAUTH_PK_OK);
	ssh_put_cstr(&b, t->ask.alg);
	ssh_put_str(&b, t->ask.blob.p, t->ask.blob.len);
	return sshtrans_push(t, &b, why);
}

static int
signed_well(const struct sshtrans *t)
{
	uint8_t text[4 + SHA256_LEN + REQUEST_MAX];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	put_signed(&b, t, t->ask.request);
	return !b.full && sshkey_verify(t->ask.blob.p, t->ask.blob.len, t->ask.sig, text, b.len);
}

int
sshauth_answer(struct sshtrans *t, int yes, const char **why)
{
	int none = t->ask.blob.len == 0, counts = !none || t->none_tried;

	t->none_tried |= none;
	if (!yes)
		return failure(t, counts, why);
	if (none)
		return success(t, why);
	if (!t->ask.has_sig)
		return pk_ok(t, why);
	if (signed_well(t))
		return success(t, why);
	t->forged = 1;
	return failure(t, 1, why);
}

/* A request: ask the user, if it is one that can be granted. */
static int
request(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	struct sshtrans_ask *a = &t->ask;
	struct ssh_in in;
	struct str service, method, alg;

	if (t->phase == SSH_PHASE_RUN)
		return SSHTRANS_DONE;	/* 5.1: ignored */
	memset(a, 0, sizeof(*a));
	ssh_in_init(&in, msg + 1, n - 1);
	a->user = ssh_get_str(&in);
	service = ssh_get_str(&in);
	method = ssh_get_str(&in);
	if (in.bad)
		return malformed(why);
	if (a->user.len > SSH_USER_MAX || !str_is(service, SERVICE))
		return failure(t, 1, why);
	a->blob.p = "";
	if (str_is(method, "none"))
		return in.left == 0 ? SSHTRANS_AUTH : malformed(why);
	if (!str_is(method, "publickey"))
		return failure(t, 1, why);
	a->has_sig = ssh_get_bool(&in);
	alg = ssh_get_str(&in);
	a->blob = ssh_get_str(&in);
	a->request.p = (const char *)msg;
	a->request.len = n - in.left;
	if (a->has_sig)
		a->sig = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return malformed(why);
	a->alg = sshkey_blob_alg(a->blob.p, a->blob.len);
	if (a->alg == NULL || !str_is(alg, a->alg))
		return failure(t, 1, why);
	return SSHTRANS_AUTH;
}

static int
server_message(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	struct ssh_in in;
	struct str name;
	int rc;

	if (msg[0] == SSH_USERAUTH_REQUEST && t->phase >= SSH_PHASE_AUTH)
		return request(t, msg, n, why);
	if (msg[0] != SSH_SERVICE_REQUEST || t->phase != SSH_PHASE_SERVICE)
		return out_of_place(why);
	ssh_in_init(&in, msg + 1, n - 1);
	name = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return malformed(why);
	if (!str_is(name, "ssh-userauth"))
		return sshtrans_fail(why, SSH_SERVICE_NOT_AVAILABLE, "no such service");
	rc = push_service(t, SSH_SERVICE_ACCEPT, why);
	t->phase = SSH_PHASE_AUTH;
	return rc;
}

/* The client */

int
sshauth_begin(struct sshtrans *t, const char **why)
{
	return push_service(t, SSH_SERVICE_REQUEST, why);
}

static void
put_request(struct buf *b, const struct sshtrans *t, const char *method)
{
	buf_char(b, SSH_USERAUTH_REQUEST);
	ssh_put_cstr(b, t->conf.user);
	ssh_put_cstr(b, SERVICE);
	ssh_put_cstr(b, method);
}

static int
push_none(struct sshtrans *t, const char **why)
{
	uint8_t text[REQUEST_MAX];
	struct buf b;

	buf_init(&b, text, sizeof(text));
	put_request(&b, t, "none");
	return sshtrans_push(t, &b, why);
}

/* Would this key do? Or, signed: it is this key. */
static int
push_key(struct sshtrans *t, int with_sig, const char **why)
{
	const struct sshkey *k = t->conf.keys[0];
	uint8_t text[REQUEST_MAX + 4 + SSH_SIGNATURE_MAX], over[4 + SHA256_LEN + REQUEST_MAX], sig[SSH_SIGNATURE_MAX];
	struct buf b, o, s;
	struct str r;

	buf_init(&b, text, sizeof(text));
	put_request(&b, t, "publickey");
	buf_char(&b, (char)with_sig);
	ssh_put_cstr(&b, sshkey_alg(k->type));
	ssh_put_str(&b, k->blob, k->nblob);
	if (with_sig) {
		r.p = b.p;
		r.len = b.len;
		buf_init(&o, over, sizeof(over));
		put_signed(&o, t, r);
		buf_init(&s, sig, sizeof(sig));
		sshkey_sign(k, &s, over, o.len);
		ssh_put_str(&b, s.p, s.len);
	}
	return sshtrans_push(t, &b, why);
}

static int
refused(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	struct ssh_in in;
	struct str methods;

	ssh_in_init(&in, msg + 1, n - 1);
	methods = ssh_get_str(&in);
	ssh_get_bool(&in);
	if (!ssh_in_whole(&in))
		return malformed(why);
	if (t->auth_tried > 0)
		return sshtrans_fail(why, SSH_NO_MORE_AUTH_METHODS, "the server does not take our key");
	if (t->conf.keys[0] == NULL || !ssh_list_has(methods, "publickey"))
		return sshtrans_fail(why, SSH_NO_MORE_AUTH_METHODS, t->conf.keys[0] == NULL ?
		    "the server wants a key" : "the server takes no keys");
	t->auth_tried = 1;
	return push_key(t, 0, why);
}

static int
key_would_do(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	const struct sshkey *k = t->conf.keys[0];
	struct ssh_in in;
	struct str alg, blob;

	ssh_in_init(&in, msg + 1, n - 1);
	alg = ssh_get_str(&in);
	blob = ssh_get_str(&in);
	if (!ssh_in_whole(&in))
		return malformed(why);
	if (t->auth_tried != 1 || !str_is(alg, sshkey_alg(k->type)) || blob.len != k->nblob ||
	    memcmp(blob.p, k->blob, blob.len) != 0)
		return out_of_place(why);
	t->auth_tried = 2;
	return push_key(t, 1, why);
}

static int
client_message(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	if (msg[0] == SSH_USERAUTH_BANNER)
		return SSHTRANS_DONE;
	if (msg[0] == SSH_SERVICE_ACCEPT && t->phase == SSH_PHASE_SERVICE) {
		t->phase = SSH_PHASE_AUTH;
		return push_none(t, why);
	}
	if (t->phase != SSH_PHASE_AUTH)
		return out_of_place(why);
	switch (msg[0]) {
	case SSH_USERAUTH_SUCCESS:
		t->phase = SSH_PHASE_RUN;
		return SSHTRANS_READY;
	case SSH_USERAUTH_FAILURE:
		return refused(t, msg, n, why);
	case SSH_USERAUTH_PK_OK:
		return key_would_do(t, msg, n, why);
	default:
		return out_of_place(why);
	}
}

int
sshauth_message(struct sshtrans *t, const uint8_t *msg, size_t n, const char **why)
{
	return t->conf.server ? server_message(t, msg, n, why) : client_message(t, msg, n, why);
}
