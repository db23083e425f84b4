/*
 * text.h: text to a file descriptor, without stdio, which may allocate and takes locks of the C library.
 *
 * Collected in a buffer of the caller's and written when that is full and at the end. After an error nothing more is
 * written, and the end reports it. Widths pad as printf's: positive to the right, negative to the left.
 */
#ifndef SLABMALLOC_TEXT_H
#define SLABMALLOC_TEXT_H

#include "base.h"

#define TEXT_BUFFER 1024

struct text {
    int fd;
    int error; /* a negative errno value */
    size_t length;
    char buffer[TEXT_BUFFER];
};

void text_begin(struct text *text, int fd);

void text_add(struct text *text, const char *string);
void text_pad(struct text *text, const char *string, int width);
void text_number(struct text *text, size_t n, int width);

/* N thousandths with three decimals: "0.250", "-1.000"; at least WIDTH wide. */
void text_milli(struct text *text, int n, int width);

/* STRING in JSON's quotes. */
void text_quoted(struct text *text, const char *string);

/* 0, or -1 with errno: the write's. */
int text_end(struct text *text);

#endif
