/*
 * fault.h: the one way out when the program has corrupted memory: a single line on stderr, then abort.
 *
 * Nothing here allocates, takes a lock or uses stdio. Lack of memory never comes here.
 */
#ifndef SLABMALLOC_FAULT_H
#define SLABMALLOC_FAULT_H

#include "base.h"

/* "slabmalloc: fatal: WHAT: POINTER", then abort(). */
void fault_pointer(const char *what, const void *pointer) __attribute__((noreturn, cold));

/* "slabmalloc: WHAT 'TEXT' REMEDY" as a warning; TEXT is cut at LENGTH bytes. Returns. */
void fault_warn(const char *what, const char *text, size_t length, const char *remedy) __attribute__((cold));

#endif
