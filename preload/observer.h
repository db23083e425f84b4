/*
 * observer.h: one attempt at an observation: what observe.c and observe_caches.c share.
 */
#ifndef SLABMALLOC_OBSERVER_H
#define SLABMALLOC_OBSERVER_H

#include "observe.h"

#include "report_root.h"

/* Slabs read at a time. */
#define SLABS_BATCH 256

struct observer {
    struct target *target;
    const struct exposed *table; /* by id */
    struct observation *out;
    bool torn; /* something did not fit */
    struct zone *zone;
    unsigned nzones;
    uintptr_t slab[SLABS_BATCH], base[SLABS_BATCH]; /* descriptors to be read, and the pages where they must begin */
    size_t nslabs;
};

static inline uintptr_t address_of(const struct observer *o, enum exposed_id id) {
    return (uintptr_t)o->table[id].at;
}

static inline bool read_at(struct observer *o, uintptr_t at, void *to, size_t bytes) {
    bool read = target_read(o->target, at, to, bytes);
    o->torn |= !read;
    return read;
}

static inline size_t read_size(struct observer *o, enum exposed_id id) {
    size_t n = 0;
    read_at(o, address_of(o, id), &n, sizeof n);
    return n;
}

static inline uint32_t read_word(struct observer *o, enum exposed_id id) {
    uint32_t n = 0;
    read_at(o, address_of(o, id), &n, sizeof n);
    return n;
}

/* The object caches there are, without slabs; false: no memory here. */
bool observe_caches(struct observer *o);

/* What CLASS is counted in; NULL: no such class. */
struct snapshot_cache *observed_class(struct observer *o, unsigned class);

/* What is in the magazines of OWNER, a copy. */
void observe_magazines(struct observer *o, const struct owner *owner);

/* For snapshot.next_cache. */
bool observed_next_cache(const struct snapshot *snapshot, const void **place, struct snapshot_object_cache *out);

#endif
