/*
 * scope.h: names, and what a credential may use.
 *
 * A scope is "*" or a comma-separated list of names, ports (1-65535) and
 * port ranges: "preview,9000,9100-9199". "*" is every name and every port
 * from 1024 up.
 * A name is 1-63 of a-z 0-9 '-', first a letter or digit; with a dot in it,
 * a custom domain of such labels, at most 253 in all, of which the last is not
 * of digits alone: 192.0.2.1 is an address. In a scope "8080" and "80-90" are
 * ports; the names are written "name:8080" and "name:80-90" there.
 */
#ifndef SCOPE_H
#define SCOPE_H

enum { NAME_LEN_MAX = 253 };

/* 0, or -1 and *why names the offence, a constant string. */
int scope_check(const char *scope, const char **why);

/* 1 or 0. A text that scope_check refuses grants nothing, or what is sound in it. */
int scope_has_name(const char *scope, const char *name);	/* name in lower case */
int scope_has_port(const char *scope, unsigned port);
int scope_only_ports(const char *scope);	/* it is sound, and holds ports and nothing else */
/* The lowest port it holds that is above after; 0: there is none. "*": as above. */
unsigned scope_next_port(const char *scope, unsigned after);
/* 1 and the scope's name in out[NAME_LEN_MAX + 1] if it holds just one, ports aside; else 0. */
int scope_only_name(const char *scope, char *out);

/* 1 if text is a name as above; upper case is refused (fold first: name_fold). */
int name_ok(const char *name);
void name_fold(char *name);	/* A to Z to lower case */
int domain_ok(const char *name);	/* and is not of digits alone, as no domain is */

#endif
