/*
 * fault.h: the one way out when the program has corrupted memory: a single line on stderr, then abort.
 *
 * Nothing here allocates, takes a lock or uses stdio. Lack of memory never comes here.
 */
#ifndef SLABMALLOC_FAULT_H
#define SLABMALLOC_FAULT_H

#include "base.h"

/* A line that is built in this buffer and written by one write(2), so lines of two threads do not mix. Begin with an
 * empty one; what does not fit is cut. BASE 16 puts 0x before the number. */
struct message {
    char text[256];
    size_t length;
};
void message_string(struct message *m, const char *text);
void message_number(struct message *m, uintptr_t n, unsigned base);
void message_write(struct message *m);
void message_fatal(struct message *m) __attribute__((noreturn));

/* "slabmalloc: fatal: WHAT: POINTER", then abort(). */
void fault_pointer(const char *what, const void *pointer) __attribute__((noreturn, cold));

/* "slabmalloc: WHAT 'TEXT' REMEDY" as a warning; TEXT is cut at LENGTH bytes. Returns. */
void fault_warn(const char *what, const char *text, size_t length, const char *remedy) __attribute__((cold));

#endif
