/*
 * workers.h: threads for connections and streams, kept for a while when they
 * have nothing to do, because making one costs more than a small request.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include <stddef.h>

struct workers;

/* Threads with stacks of so many bytes, at most max at a time. NULL: no memory. */
struct workers *workers_new(size_t stack, int max);

/* Run fn(arg) on a thread, at once. 0, or -1 if none can be had (EAGAIN). */
int workers_run(struct workers *, void (*fn)(void *), void *arg);

/* The same, but if there is no thread, as soon as one has nothing else to do. -1: no memory. */
int workers_run_patiently(struct workers *, void (*fn)(void *), void *arg);

/* Start one detached thread with a stack of so many bytes; it has the log of who starts it, and takes no signals. 0, or an error number. */
int thread_start(size_t stack, void *(*fn)(void *), void *arg);

/* No new jobs; wait until the running ones have ended, or ms have passed. 1 if all ended: then it is freed. */
int workers_end(struct workers *, int ms);

#endif
