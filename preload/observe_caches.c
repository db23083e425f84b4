#include <stdlib.h>
#include <string.h>

#include "observer.h"

/* Object caches of one class that are counted, at most. */
#define SHARERS_MAX 1000

/* --- Classes --- */

/* How many share the class of which CACHE is the first; its name. */
static size_t observe_names(struct observer *o, uintptr_t cache, char name[SNAPSHOT_NAME]) {
    struct slabmalloc_cache one;
    size_t sharers = 0;
    strcpy(name, "(destroyed)");
    for (; cache && sharers < SHARERS_MAX && read_at(o, cache, &one, sizeof one); sharers++) {
        if (!sharers) {
            memcpy(name, one.name, sizeof one.name);
            name[SNAPSHOT_NAME - 1] = 0;
        }
        cache = (uintptr_t)one.next;
    }
    return sharers;
}

static void observe_class(struct observer *o, uintptr_t at, struct snapshot_object_cache *out) {
    struct kmem_class kmem;
    char name[SNAPSHOT_NAME];
    memset(out, 0, sizeof *out);
    if (!read_at(o, at, &kmem, sizeof kmem)) {
        return;
    }
    if (!kmem.slot_bytes) {
        o->torn = true;
        return;
    }
    size_t sharers = observe_names(o, (uintptr_t)kmem.caches, name);
    snapshot_describe(out, &kmem, name, sharers);
}

bool observe_caches(struct observer *o) {
    struct observation *out = o->out;
    uintptr_t at[KMEM_CLASSES];
    size_t n = min_size(read_word(o, EXPOSED_KMEM_COUNT), KMEM_CLASSES);
    free(out->cache);
    out->cache = calloc(n + 1, sizeof *out->cache);
    out->ncaches = 0;
    uintptr_t tables = 0;
    if (!out->cache || !n || !read_at(o, address_of(o, EXPOSED_KMEM_TABLES), &tables, sizeof tables) || !tables ||
        !read_at(o, tables, at, n * sizeof *at)) {
        return out->cache;
    }
    for (size_t i = 0; i < n; i++) {
        observe_class(o, at[i], &out->cache[i]);
    }
    out->ncaches = n;
    return true;
}

struct snapshot_cache *observed_class(struct observer *o, unsigned class) {
    if (class < CLASS_COUNT) {
        return &o->out->snapshot.class[class];
    }
    return kmem_is_class(class) && class - KMEM_CLASS_FIRST < o->out->ncaches
               ? &o->out->cache[class - KMEM_CLASS_FIRST].cache
               : NULL;
}

bool observed_next_cache(const struct snapshot *snapshot, const void **place, struct snapshot_object_cache *out) {
    const struct observation *observation = snapshot->source;
    const struct snapshot_object_cache *end = observation->cache + observation->ncaches;
    const struct snapshot_object_cache *at =
        *place ? (const struct snapshot_object_cache *)*place + 1 : observation->cache;
    while (at < end && !at->cache.sharers && !at->cache.slabs) {
        at++;
    }
    if (at == end) {
        return false;
    }
    *place = at;
    *out = *at;
    return true;
}

/* --- Magazines --- */

/* As magazine_count, of pointers of another process. */
static void observe_magazine(struct observer *o, const struct magazine *m, const struct owner_cache *of,
                             struct snapshot_cache *out) {
    intptr_t above = (intptr_t)m->top - (intptr_t)of->slots;
    size_t count = of->capacity ? (size_t)(above / (intptr_t)sizeof *m->top) : 0;
    if (count <= of->capacity) {
        snapshot_add_magazine(out, of, count, SIZE_MAX);
    } else {
        o->torn = true;
    }
}

static void observe_entry(struct observer *o, const struct magazine *m, const struct class_entry *entry,
                          unsigned class) {
    struct snapshot_cache *out = observed_class(o, class);
    size_t remote = 0;
    if (!out) {
        return;
    }
    observe_magazine(o, m, &entry->cache, out);
    if (entry->remote && read_at(o, (uintptr_t)entry->remote, &remote, sizeof remote)) {
        out->cached += remote; /* its first word is their number */
    }
}

static void observe_chunk(struct observer *o, uintptr_t chunk, uintptr_t magazines, unsigned first) {
    struct class_chunk copy;
    struct magazine m[CLASS_CHUNK];
    if (!read_at(o, chunk, &copy, sizeof copy) || !read_at(o, magazines, m, sizeof m)) {
        return;
    }
    for (unsigned i = 0; i < CLASS_CHUNK; i++) {
        observe_entry(o, &m[i], &copy.of[i], first + i);
    }
}

void observe_magazines(struct observer *o, const struct owner *owner) {
    uintptr_t chunk[KMEM_CLASSES / CLASS_CHUNK], table = (uintptr_t)owner->magazines.table;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        observe_magazine(o, &owner->magazines.of[class], &owner->cache[class], &o->out->snapshot.class[class]);
    }
    if (!o->out->ncaches || !read_at(o, table + offsetof(struct class_table, chunk), chunk, sizeof chunk)) {
        return;
    }
    for (unsigned i = 0; i < KMEM_CLASSES / CLASS_CHUNK; i++) {
        uintptr_t magazines =
            table + offsetof(struct class_table, magazine) + i * CLASS_CHUNK * sizeof(struct magazine);
        if (chunk[i]) {
            observe_chunk(o, chunk[i], magazines, KMEM_CLASS_FIRST + i * CLASS_CHUNK);
        }
    }
}
