/*
 * Hole purge: the purger takes a partial slab out of its owner's lists, so that nobody allocates from it, and drops the
 * lock during the madvise; frees go on.
 */
#include "owners.h"

static void set_purging(bool purging) {
    if (heap.forks) {
        plain_write(heap.purging[self_thread()], purging);
    }
}

static uint8_t slab_holes(unsigned slab) {
    FN("slab.c:slab_holes");
    return plain_read(heap.free[slab]);
}

/* Returns the holes. */
static uint8_t hold_batch(unsigned owner, unsigned slab) {
    FN("reclaim.c:hold_batch");
    uint8_t holes = rule(HOLES_READ_LOCKED) ? 0 : slab_holes(slab);
    if (rule(HOLD_LOCKS)) {
        owner_lock(owner);
    }
    bool held = owner_hold_slab(owner, slab);
    if (rule(HOLES_READ_LOCKED) || !held) {
        holes = held ? slab_holes(slab) : 0;
    }
    if (rule(HOLD_LOCKS) && (rule(HOLES_WITHOUT_LOCK) || !held)) {
        lock_drop(heap.owner_lock[owner]);
    }
    return holes;
}

/* The kernel may refuse. Returns the holes that were given back. */
static uint8_t purge_holes(unsigned slab, uint8_t holes) {
    FN("reclaim.c:purge_holes");
    system_call("madvise");
    if (!either(2)) {
        return rule(HOLES_CLEARED_IF_PURGED) ? 0 : holes;
    }
    for (unsigned i = 0; i < SLAB_OBJECTS; i++) {
        if (holes >> i & 1) {
            plain_write(heap.page[slab * SLAB_OBJECTS + i], 0);
        }
    }
    return holes;
}

static void unhold_batch(unsigned owner, unsigned slab, uint8_t holes) {
    FN("reclaim.c:unhold_batch");
    if (rule(UNHOLD_LOCKS)) {
        owner_lock(owner);
    }
    plain_write(heap.touched[slab], plain_read(heap.touched[slab]) & (uint8_t)~holes);
    owner_unhold_slab(owner, slab);
    if (rule(UNHOLD_LOCKS)) {
        owner_unlock(owner);
    }
    if (rule(UNHOLD_ANNOUNCES)) {
        owner_announce(owner);
    }
}

void reclaim_slab(unsigned owner, unsigned slab) {
    FN("reclaim.c:reclaim_slabs");
    set_purging(true);
    uint8_t holes = hold_batch(owner, slab);
    if (holes) {
        holes = purge_holes(slab, holes);
        if (rule(HOLD_LOCKS) && !rule(HOLES_WITHOUT_LOCK)) {
            lock_drop(heap.owner_lock[owner]);
        }
        unhold_batch(owner, slab, holes);
    }
    set_purging(false);
}
