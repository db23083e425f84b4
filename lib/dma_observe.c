#include <errno.h>

#include "dma.h"
#include "sys.h"

/* An observer's number is its slot, and its bit in a region's `told`. */
struct slot {
    struct slabmalloc_dma_observer observer;
    enum { SLOT_FREE, SLOT_ACTIVE, SLOT_ENDING } state;
    unsigned calls; /* running now */
};

static struct slot slots[SLABMALLOC_DMA_OBSERVERS_MAX];

static uint32_t bit_of(const struct slot *slot) {
    return (uint32_t)1 << (slot - slots);
}

/* --- One call --- */

/* From the lock, back to the lock. */
static int call(struct slot *slot, struct dma_region *region, bool added) {
    struct slabmalloc_dma_observer observer = slot->observer;
    slot->calls++;
    region->told ^= bit_of(slot);
    lock_drop(dma_lock());
    struct slabmalloc_dma_info info = dma_describe(region);
    int refused = (added ? observer.added : observer.removed)(&info, observer.context);
    lock_take(dma_lock());
    slot->calls--;
    if (!refused || slot->state == SLOT_ENDING) {
        return 0; /* an ending observer's answer does not matter */
    }
    region->told ^= bit_of(slot);
    return refused < 0 ? refused : -refused;
}

/* An observer to be told that REGION comes (ADDED) or goes. One that is ending learns of no new ones. */
static bool is_due(const struct slot *slot, const struct dma_region *region, bool added) {
    bool knows = region->told & bit_of(slot);
    return added ? !knows && slot->state == SLOT_ACTIVE : knows && slot->state != SLOT_FREE;
}

/* With the lock. */
static struct slot *next_slot(const struct dma_region *region, bool added) {
    for (struct slot *slot = slots; slot < slots + SLABMALLOC_DMA_OBSERVERS_MAX; slot++) {
        if (is_due(slot, region, added)) {
            return slot;
        }
    }
    return NULL;
}

/* --- A region comes or goes --- */

/* With the lock: every observer is told of one side; the first refusal ends it. */
static int tell_all(struct dma_region *region, bool added) {
    int refused = 0;
    struct slot *slot;
    while (!refused && (slot = next_slot(region, added))) {
        refused = call(slot, region, added);
    }
    return refused;
}

/* With the lock: as far as they can be told that all is as before. */
static void tell_back(struct dma_region *region, bool added) {
    for (struct slot *slot = slots; slot < slots + SLABMALLOC_DMA_OBSERVERS_MAX; slot++) {
        if (is_due(slot, region, added)) {
            call(slot, region, added);
        }
    }
}

int dma_tell_added(struct dma_region *region) {
    lock_take(dma_lock());
    int refused = tell_all(region, true);
    if (refused) {
        tell_back(region, false);
    } else {
        region->state = DMA_LIVE; /* in one step with finding no observer untold: later ones see it by themselves */
    }
    lock_drop(dma_lock());
    return refused;
}

int dma_tell_removed(struct dma_region *region) {
    lock_take(dma_lock());
    int refused = tell_all(region, false);
    if (refused) {
        tell_back(region, true);
    }
    lock_drop(dma_lock());
    return refused;
}

/* --- An observer comes or goes --- */

/* With the lock: tells SLOT of the regions that are LIVE, and of those that become so meanwhile. */
static int replay(struct slot *slot, bool added) {
    for (struct dma_region *region = dma_regions(); region;) {
        if (region->state != DMA_LIVE || !is_due(slot, region, added)) {
            region = region->next;
            continue;
        }
        region->pins++;
        int refused = call(slot, region, added);
        region->pins--;
        if (refused) {
            return refused;
        }
        region = dma_regions(); /* the list may be another by now */
    }
    return 0;
}

/* With the lock: a region that is COMING or LEAVING may know the observer; its thread is about to tell it. */
static bool still_known(const struct slot *slot) {
    if (slot->calls) {
        return true;
    }
    for (struct dma_region *region = dma_regions(); region; region = region->next) {
        if (region->told & bit_of(slot)) {
            return true;
        }
    }
    return false;
}

/* With the lock. ENDING observers are told of nothing new; what is in transit comes to rest, so this ends. */
static void end(struct slot *slot) {
    slot->state = SLOT_ENDING;
    replay(slot, false);
    while (still_known(slot)) {
        lock_drop(dma_lock());
        sys_sleep(1);
        lock_take(dma_lock());
        replay(slot, false);
    }
    slot->state = SLOT_FREE;
}

static struct slot *free_slot(void) {
    for (struct slot *slot = slots; slot < slots + SLABMALLOC_DMA_OBSERVERS_MAX; slot++) {
        if (slot->state == SLOT_FREE) {
            return slot;
        }
    }
    return NULL;
}

/* The observer's number, or a negative errno value. */
int dma_observe(const struct slabmalloc_dma_observer *observer) {
    if (!observer || !observer->added || !observer->removed) {
        return -EINVAL;
    }
    lock_take(dma_lock());
    struct slot *slot = free_slot();
    int refused = slot ? 0 : -ENOSPC;
    if (slot) {
        *slot = (struct slot){.observer = *observer, .state = SLOT_ACTIVE};
        refused = replay(slot, true);
    }
    if (slot && refused) {
        end(slot);
    }
    lock_drop(dma_lock());
    return refused ? refused : (int)(slot - slots);
}

int dma_unobserve(int number) {
    if (number < 0 || number >= SLABMALLOC_DMA_OBSERVERS_MAX) {
        return -EINVAL;
    }
    lock_take(dma_lock());
    struct slot *slot = &slots[number];
    int refused = slot->state == SLOT_ACTIVE ? 0 : -EINVAL;
    if (!refused) {
        end(slot);
    }
    lock_drop(dma_lock());
    return refused;
}

void dma_observers_fork_child(void) {
    for (struct slot *slot = slots; slot < slots + SLABMALLOC_DMA_OBSERVERS_MAX; slot++) {
        *slot = (struct slot){.state = SLOT_FREE};
    }
}
