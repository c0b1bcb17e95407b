/*
 * file.h: whole files, read and written.
 */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>
#include <sys/stat.h>

/*
 * Read fd to its end. 0, and *p, the caller's to free, holds *len bytes and a NUL
 * after them; or -1 with errno, EFBIG if there are more than max bytes.
 */
int file_read(int fd, size_t max, char **p, size_t *len);

/* Write all len bytes: 0, or -1 with errno. */
int file_write(int fd, const void *p, size_t len);

/* 1: the same file with the same content, owner and mode, as far as two looks at it tell. */
int file_same(const struct stat *a, const struct stat *b);

#endif
