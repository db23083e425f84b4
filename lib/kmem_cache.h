/*
 * kmem_cache.h: object caches (slabmalloc/kmem_cache.h says what they promise).
 *
 *      struct slabmalloc_cache --> struct kmem_class --> slabs of that class, in all owners
 *          one for each name       one for those that share slabs
 *
 *      owner -> class_table -> magazine
 *                           -> class_chunk -> class_entry: slabs, remote objects
 *
 * The fast path is that of malloc, one table further: allocation pops from the class's magazine; a free first compares
 * the page's tag with the one an own object of this cache must have. Slabs, stealing, depots, fork and reclaim know the
 * class as they know malloc's. What is different:
 *
 * Construction. A slab has a bit for each constructed object. Whoever takes objects from a slab sets the bits of all,
 * and constructs those that had none after the lock is dropped. From then on an object stays constructed wherever it
 * waits. Before its page can go, the bit is taken back: by a destructor's run, or simply if there is none (kmem_class.h
 * says who may run destructors).
 *
 * Remote frees do not go through inboxes, but are gathered by class and put into the slabs by the freeing thread, owner
 * by owner, under each owner's lock. So all objects of a class that are neither live nor in a slab are in some owner's
 * entry for it, and who destroys the cache can collect them: no thread is in a call of the cache then, and those that
 * exit or trim hold the owner's lock while they touch an entry.
 *
 * Checked caches have no magazines: every call takes one object from its slab or gives one back (kmem_debug.h).
 *
 * Lock: that of kmem_class.h for caches and classes, the owner's for everything in an entry and a slab. The program's
 * functions are called with none.
 */
#ifndef SLABMALLOC_KMEM_CACHE_INTERNAL_H
#define SLABMALLOC_KMEM_CACHE_INTERNAL_H

#include "magazine.h"

struct slabmalloc_cache {
    uint32_t class;
    uint32_t offset;      /* of its magazine in an owner's class_table, bytes */
    uint32_t size, align; /* bytes, as asked for; as it became */
    unsigned flags;
    struct kmem_class *kmem;
    struct slabmalloc_cache *next; /* that shares the class; with the lock */
    char name[SLABMALLOC_CACHE_NAME_BYTES];
};

static inline struct magazine *kmem_magazine(struct magazines *self, const struct slabmalloc_cache *cache) {
    return (struct magazine *)((char *)self->table + cache->offset);
}

/* A constructed object, or NULL: kmem_alloc_slow. */
static inline void *kmem_pop(const struct slabmalloc_cache *cache) {
    struct magazine *m = kmem_magazine(magazines_self, cache);
    return likely(m->top != NULL) ? magazine_pop_from(m) : NULL;
}

/* True: P was one of ours and is in its magazine now. False: kmem_free_slow. */
static inline bool kmem_push(const struct slabmalloc_cache *cache, void *p) {
    struct magazines *self = magazines_self;
    if (unlikely(pagemap_tag(p) != (self->tag | cache->class))) {
        return false;
    }
    struct magazine *m = kmem_magazine(self, cache);
    void **top = m->top;
    if (unlikely(top[1] == MAGAZINE_GUARD) || unlikely(*top == p)) {
        return false;
    }
    top[1] = p;
    magazine_set_top(m, top + 1);
    return true;
}

/* One object, filling the magazine of OWNER (NULL: the thread has none). NULL: no memory, or the constructor failed.
 * CALLER: who asked, for STORE_USER. */
void *kmem_alloc_slow(struct owner *owner, struct kmem_class *kmem, const void *caller);

/* Up to N constructed objects from slabs into OUT: how many; 0: no memory. */
size_t kmem_alloc_some(struct owner *owner, struct kmem_class *kmem, void **out, size_t n);

/* OWNER (or NULL) frees P, whose page has a cache's TAG. */
void kmem_free_slow(struct owner *owner, uint32_t tag, void *p, const void *caller);

/* P is not of CACHE: aborts with a line that says what it is. */
void kmem_wrong_cache(const struct slabmalloc_cache *cache, uint32_t tag, void *p) __attribute__((noreturn, cold));

/* Puts N objects, constructed or RAW, of whatever owners, back into their slabs; they come out reordered. */
void kmem_give(void **objects, size_t n, bool raw);

/* How many objects are gathered in ENTRY: a guess for others than its thread. With the lock. */
size_t kmem_remote_count(const struct class_entry *entry);

/* What OWNER gathered of one class, or of all, goes into the slabs. With RELEASE the memory to gather in is freed too.
 */
void kmem_flush_class(struct owner *owner, unsigned class, bool release);
void kmem_flush_remote(struct owner *owner);

/* Destructs what is parked, and gives the slabs back; returns the pages. If there is a destructor: in a call of the
 * cache, or pinned. */
size_t kmem_destruct_parked(struct kmem_class *kmem);

/* Destructs the objects on pages of OWNER's slabs on which none is out, so that these are holes. The same. */
void kmem_destruct_holes(struct owner *owner, struct kmem_class *kmem);

/* --- Caches, kmem_create.c --- */

/* As slabmalloc_cache_create and slabmalloc_cache_destroy, but for PANIC; 0 or an errno value. */
int kmem_create(struct slabmalloc_cache **cache, const char *name, size_t size, size_t align, unsigned flags,
                const struct slabmalloc_cache_args *args);
int kmem_destroy(struct slabmalloc_cache *cache);

/* Some cache's name of those that share the class; perhaps cut or gone when others create and destroy. */
const char *kmem_name(const struct kmem_class *kmem);

/* As slabmalloc_cache_shrink. */
size_t kmem_shrink(struct kmem_class *kmem);

/* For malloc_trim: reclaim functions, then everything of caches that can be given back. */
void kmem_trim(void);

/* The kernel refuses memory: reclaim functions, and all empty slabs. True: some were given back. */
bool kmem_relieve(void);

/* What is parked and needs no destructor goes: with ALL, or if it was not wanted for long. Returns the pages. */
size_t kmem_release_parked(bool all);

/* In a fork child. */

void kmem_fork_child(void);

void kmem_info(const struct slabmalloc_cache *cache, struct slabmalloc_cache_info *info);

/* Calls VISIT with every cache that is there, by class, without any lock: a cache that is created or destroyed
 * meanwhile is perhaps visited. The slabs are those of KMEM->class in each owner (owner_entry, with that owner's lock).
 */
void kmem_each(void (*visit)(const struct slabmalloc_cache_info *info, const struct kmem_class *kmem, void *arg),
               void *arg);

#endif
