/*
 * handshake.h: the WebSocket opening handshake, RFC 6455 section 4, both sides.
 * Pure: works on parsed heads and the caller's buffers.
 */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdint.h>

#include "http.h"

enum { WS_KEY_LEN = 24, WS_ACCEPT_LEN = 28 };	/* characters, without NUL */

/* Sec-WebSocket-Accept for a key (4.2.2): text and NUL. */
void ws_accept_key(char out[WS_ACCEPT_LEN + 1], struct str key);

/* 1 if h asks for an upgrade to websocket (any version, well-formed or not). */
int ws_is_upgrade(const struct http_head *h);

/*
 * Judge a client's opening handshake (4.2.1). protocol is the subprotocol that
 * must be offered, or NULL if none is wanted. 101 and the accept key; else a status: 400
 * (method, HTTP version below 1.1, content, missing or malformed Sec-WebSocket-Key, protocol not
 * offered) or 426 (a version but 13: answer with Sec-WebSocket-Version: 13) and *why. No version
 * is 426 beside a key, 400 without one. The key's form counts only in version 13.
 */
int ws_server_check(const struct http_head *h, const char *protocol,
    char accept[WS_ACCEPT_LEN + 1], const char **why);

/* The server's answer: the whole 101 head; protocol may be NULL. */
void ws_server_answer(struct buf *out, const char *accept, const char *protocol);

/*
 * The client's request head. nonce: 16 random bytes. fields: more whole field lines,
 * each with its CRLF, or "". key receives the text sent in Sec-WebSocket-Key.
 */
void ws_client_request(struct buf *out, const char *host, const char *target,
    const char *protocol, const char *fields, const uint8_t nonce[16], char key[WS_KEY_LEN + 1]);

/*
 * Judge the server's answer (4.1). 0, or -1 and *why if it is not a 101 with
 * the right Upgrade, Connection and Sec-WebSocket-Accept, if it names
 * a subprotocol but protocol (or none where one was asked for), or any extension.
 */
int ws_client_check(const struct http_head *h, const char *key, const char *protocol, const char **why);

#endif
