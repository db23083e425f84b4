/* family.h: entry points that operators.cc shares with malloc.c; not exported. */
#ifndef SLABMALLOC_FAMILY_H
#define SLABMALLOC_FAMILY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HIDDEN __attribute__((visibility("hidden")))

/* As malloc; when there is no memory, what new_failed returns. */
HIDDEN void *family_new(size_t bytes);
HIDDEN void *family_new_aligned(size_t bytes, size_t align); /* NULL: no memory */
HIDDEN void family_delete(void *p);

/* In operators.cc: the C++ runtime's own operator new, which calls new_handler and throws bad_alloc. */
HIDDEN void *new_failed(size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
