/*
 * sshlink.h: an SSH connection over a WebSocket: the payloads of its messages are SSH's bytes, wherever they are cut.
 */
#ifndef SSHLINK_H
#define SSHLINK_H

#include "link.h"
#include "ssh.h"

enum { SSHLINK_OWED_MAX = 2 * SSH_OUTPUT_MIN };	/* for link_conf.owed_max */

extern const struct link_ops sshlink_ops;	/* for link_new; its arg is the ssh */
void sshlink_attach(struct ssh *, struct link *);	/* before anything is sent: ssh_attach */

#endif
