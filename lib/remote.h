/*
 * remote.h: frees of other owners' objects.
 *
 *      freeing thread                                        owning thread
 *      open[id % 8]: remote magazine, filling
 *         full, or the way is wanted for another owner
 *         push: one CAS on the owner's inbox  ------------>  next refills: take all by one exchange; of each the
 *                                                            class that is wanted into its magazine, all else
 *                                                            into slabs
 *
 * An object is checked to be the start of one before it is put in; the owner's memory is not written. At most
 * REMOTE_OBJECTS objects or REMOTE_BYTES bytes wait in a magazine. If the inbox of an owner grows past
 * INBOX_LIMIT, or the owner is idle, the sender takes the owner's lock if it is free and puts the objects back
 * into their slabs itself: a thread that never allocates strands nothing.
 *
 * A slab may have been stolen from the target while its objects were in flight; whoever empties the inbox forwards
 * them.
 *
 * Ordering: a releasing owner first says idle, then empties its inbox; a sender first pushes, then reads the
 * state. All four sequentially consistent, so at least one of the two sees the other.
 */
#ifndef SLABMALLOC_REMOTE_H
#define SLABMALLOC_REMOTE_H

#include "owner.h"

#define REMOTE_OBJECTS 62
#define REMOTE_BYTES ((size_t)64 << 10)
#define INBOX_LIMIT 16

struct remote_magazine {
    struct remote_magazine *next; /* in an inbox */
    uint32_t owner;               /* id of the owner it is for */
    uint16_t count, granules;     /* objects, and their size in CLASS_GRANULE */
    void *object[REMOTE_OBJECTS];
};
_Static_assert(sizeof(struct remote_magazine) == 512, "a remote magazine is 512 bytes");

/* P, whose page says TAG, another owner's, joins the magazine SELF gathers for that owner. False: there is none, it is
 * nearly full, or P is not an object or was freed just before: remote_free. */
static inline bool remote_gather(struct owner *self, uint32_t tag, void *p) {
    uint32_t id = tag >> TAG_CLASS_BITS, class = tag & TAG_CLASS_MASK;
    struct remote_magazine *m = self->open[id & (REMOTE_WAYS - 1)];
    if (!m || m->owner != id || m->count == REMOTE_OBJECTS - 1 || !slab_may_start(p, class)) {
        return false;
    }
    uint32_t granules = m->granules + sizeclass_granules[class];
    if (granules >= REMOTE_BYTES / CLASS_GRANULE || (m->count && m->object[m->count - 1] == p)) {
        return false;
    }
    m->granules = (uint16_t)granules;
    m->object[m->count++] = p;
    return true;
}

/* SELF (NULL: a thread without owner) frees P, whose page says TAG, another owner's. */
void remote_free(struct owner *self, uint32_t tag, void *p);

/* Something waits to be received. */
static inline bool remote_waits(const struct owner *self) {
    return atomic_load_explicit(&self->inbox, memory_order_relaxed) ||
           atomic_load_explicit(&self->received, memory_order_relaxed);
}

/* Pours one remote magazine of those that were sent to SELF: objects of CLASS into its magazine, others, and what does
 * not fit, into their slabs; false: there is none. By its own thread. */
bool remote_receive(struct owner *self, unsigned class);

/* Sends everything SELF is still gathering. By its own thread. */
void remote_flush(struct owner *self);

/* What SELF gathers are objects out of slabs? Names the first broken rule, else NULL. By its own thread. */
const char *remote_check(const struct owner *self);

/* Puts everything in OWNER's inbox back into slabs. By a thread that does not hold its lock. */
void remote_return_inbox(struct owner *owner);

#endif
