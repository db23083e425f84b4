/*
 * kmem_debug.h: what checked caches look at. Each function aborts with one line that names the cache, the object and,
 * with STORE_USER, who allocated and freed it.
 *
 *      slot   [ lead: red zone ][ object_bytes ][ red zone to the slot's end ]
 *                                ^ p
 *
 *      red zones   0xbb while the object is free, 0xcc while it is out
 *      object      POISON: 0x6b ... 0x6b 0xa5 while it is free, 0x5a when it is handed out
 *
 * The slot is the object's own, so no red zone lies in what the program was given. Who called is kept in an array
 * beside the slab's descriptor. Whoever holds the object (allocated it, is freeing it, has it out of its slab) may
 * write all this; no lock.
 */
#ifndef SLABMALLOC_KMEM_DEBUG_H
#define SLABMALLOC_KMEM_DEBUG_H

#include "kmem_cache.h"

/* Bytes of red zone before objects of ALIGN; those after are what is left of the slot, 8 at least. */
size_t kmem_debug_lead(unsigned flags, size_t align);
#define KMEM_RED_ZONE_MIN ((size_t)8)

/* P's slot is about to be used for the first time. */
void kmem_debug_prepare(const struct kmem_class *kmem, void *p);

/* P, constructed, is handed out by CALLER. */
void kmem_debug_alloc(const struct kmem_class *kmem, void *p, const void *caller);

/* P, which may be anything in a page of the class, is freed by CALLER; afterwards it can go into its slab. */
void kmem_debug_free(const struct kmem_class *kmem, void *p, const void *caller);

/* Looks at every free object of the class. */
void kmem_debug_verify(const struct kmem_class *kmem);

/* One line on stderr for each live object, up to KMEM_REPORT_MAX. The class is not in use. */
#define KMEM_REPORT_MAX 64
void kmem_debug_report_live(const struct kmem_class *kmem, const char *name);

/* P, an object of IS_OF (NULL: of no cache), is freed to the cache of NAME. */
void kmem_debug_wrong_cache(const void *p, const char *name, const struct kmem_class *is_of)
    __attribute__((noreturn, cold));

#endif
