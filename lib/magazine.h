/*
 * magazine.h: the fast path. Everything that runs on nearly every malloc and free is on this page.
 *
 * pop:   class -> magazine -> *top; NULL means empty.
 * push:  the page's tag XOR our tag is the class if the object belongs to one of our slabs; anything else
 *        (another owner's, a run, a mapping, foreign, NULL) comes out >= CLASS_COUNT, by construction of the
 *        tags. The same object as on top is an immediate double free.
 *
 * No lock, no atomic read-modify-write, no counter, and the object itself is never touched. Both use one TLS
 * pointer, which starts at magazines that are always empty and whose tag matches nothing.
 */
#ifndef SLABMALLOC_MAGAZINE_H
#define SLABMALLOC_MAGAZINE_H

#include "owner.h"

static inline void magazine_set_top(struct magazine *m, void **top) {
    __atomic_store_n(&m->top, top, __ATOMIC_RELAXED);
}

static inline void *magazine_pop_from(struct magazine *m) {
    void **top = m->top, *p = *top;
    if (likely(p != NULL)) {
        magazine_set_top(m, top - 1);
    }
    return p;
}

/* An object of the class of BYTES (<= SLAB_MAX), or NULL: magazine_refill. */
static inline void *magazine_pop(size_t bytes) {
    struct magazines *self = magazines_self;
    size_t class = sizeclass_of(bytes); /* for an unsigned gcc 12 would compute the address twice */
    return magazine_pop_from(&self->of[class]);
}

/* True: P was one of ours and is in its magazine now. False: magazine_push_slow or another kind of free. */
static inline bool magazine_push(void *p) {
    struct magazines *self = magazines_self;
    uint32_t class = pagemap_tag(p) ^ self->tag;
    if (unlikely(class >= CLASS_COUNT)) {
        return false;
    }
    struct magazine *m = &self->of[class];
    void **top = m->top;
    if (unlikely(top[1] == MAGAZINE_GUARD) || unlikely(*top == p)) {
        return false;
    }
    top[1] = p;
    magazine_set_top(m, top + 1);
    return true;
}

/* Slow paths. */

/* Fills the empty magazine of CLASS: from the inbox, own slabs, a slab of an idle owner, a new slab. Returns one
 * object; NULL: no memory. */
void *magazine_refill(struct owner *owner, unsigned class);

/* One object without a magazine: for a borrowed owner. NULL: no memory. */
void *magazine_take_one(struct owner *owner, unsigned class);

/* Up to N objects of CLASS for the *end* of OUT, from own slabs, else from one stolen, parked or new: how many; 0: no
 * memory. Of a class with constructor at most 64; bit i of *RAW: OUT[i] is to be constructed, and counts as so already.
 * Without the lock. */
size_t magazine_take(struct owner *owner, unsigned class, void **out, size_t n, uint64_t *raw);

/* How many objects a refill now asks for; the magazine has room for them. 0: it has none. */
size_t magazine_next_batch(struct owner *owner, unsigned class);

/* P is OWNER's object of CLASS and its magazine is full, or has P on top: grows or drains it, or aborts. */
void magazine_push_slow(struct owner *owner, unsigned class, void *p);

/* P, one of OWNER's objects of CLASS, goes on its magazine, which grows if it may; false: it is full. */
bool magazine_put(struct owner *owner, unsigned class, void *p);

/* Everything in OWNER's magazines goes back to the slabs; with RELEASE the slots are freed too. */
void magazine_flush(struct owner *owner, bool release);

/* The same of one class. Not only by its own thread, if that is in no call of the class's cache. */
void magazine_flush_class(struct owner *owner, unsigned class, bool release);

/* Objects in OWNER's magazine of CLASS (exact for the calling thread's own, a guess for others'). */
size_t magazine_count(const struct owner *owner, unsigned class);

/* What is in OWNER's magazines is out of its slabs, and in the budget? Names the first broken rule, else NULL. By its
 * own thread. */
const char *magazine_check(const struct owner *owner);

/* In a fork child: OWNER's magazines are as another thread left them in mid-step; forget objects and slots. */
void magazine_abandon(struct owner *owner);

/* Magazines of no slots and no classes of caches, for a new owner. */
void magazine_init(struct owner *owner);

#endif
