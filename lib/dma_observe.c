#include <errno.h>

#include "dma.h"
#include "sys.h"

/* An observer's number is its slot, and its bit in a region's `told`. The containers' slots are behind those of the
 * program's observers. */
#define SLOTS (SLABMALLOC_DMA_OBSERVERS_MAX + SLABMALLOC_DMA_CONTAINERS_MAX)

struct slot {
    struct slabmalloc_dma_observer observer;
    enum { SLOT_FREE, SLOT_ACTIVE, SLOT_ENDING } state;
    unsigned calls; /* running now */
};

static struct slot slots[SLOTS];

static uint32_t bit_of(const struct slot *slot) {
    return (uint32_t)1 << (slot - slots);
}

/* --- One call --- */

/* Without the lock. */
static int tell(unsigned number, const struct slabmalloc_dma_observer *observer, const struct dma_region *copy,
                struct dma_region *region, bool added) {
    if (number < SLABMALLOC_DMA_OBSERVERS_MAX) {
        struct slabmalloc_dma_info info = dma_describe(copy);
        return (added ? observer->added : observer->removed)(&info, observer->context);
    }
    unsigned container = number - SLABMALLOC_DMA_OBSERVERS_MAX;
    if (added) {
        return dma_vfio_added(container, region);
    }
    dma_vfio_removed(container, region);
    return 0;
}

/* From the lock, back to the lock. */
static int call(struct slot *slot, struct dma_region *region, bool added) {
    struct slabmalloc_dma_observer observer = slot->observer;
    slot->calls++;
    region->told ^= bit_of(slot);
    struct dma_region copy = *region;
    lock_drop(dma_lock());
    int refused = tell((unsigned)(slot - slots), &observer, &copy, region, added);
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

/* The Ith to be told: containers before the others that a region comes, after them that it goes. */
static struct slot *in_turn(unsigned i, bool added) {
    return &slots[(i + (added ? SLABMALLOC_DMA_OBSERVERS_MAX : 0)) % SLOTS];
}

/* With the lock. */
static struct slot *next_slot(const struct dma_region *region, bool added) {
    for (unsigned i = 0; i < SLOTS; i++) {
        if (is_due(in_turn(i, added), region, added)) {
            return in_turn(i, added);
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
    for (unsigned i = 0; i < SLOTS; i++) {
        if (is_due(in_turn(i, added), region, added)) {
            call(in_turn(i, added), region, added);
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

/* With the lock. */
static int begin(struct slot *slot, struct slabmalloc_dma_observer observer) {
    *slot = (struct slot){.observer = observer, .state = SLOT_ACTIVE};
    int refused = replay(slot, true);
    if (refused) {
        end(slot);
    }
    return refused;
}

/* The observer's number, or a negative errno value. */
int dma_observe(const struct slabmalloc_dma_observer *observer) {
    if (!observer || !observer->added || !observer->removed) {
        return -EINVAL;
    }
    lock_take(dma_lock());
    struct slot *slot = free_slot();
    int refused = slot ? begin(slot, *observer) : -ENOSPC;
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

int dma_observe_container(unsigned index) {
    lock_take(dma_lock());
    int refused = begin(&slots[SLABMALLOC_DMA_OBSERVERS_MAX + index], (struct slabmalloc_dma_observer){0});
    lock_drop(dma_lock());
    return refused;
}

void dma_unobserve_container(unsigned index) {
    lock_take(dma_lock());
    end(&slots[SLABMALLOC_DMA_OBSERVERS_MAX + index]);
    lock_drop(dma_lock());
}

void dma_observers_fork_child(void) {
    for (struct slot *slot = slots; slot < slots + SLOTS; slot++) {
        *slot = (struct slot){.state = SLOT_FREE};
    }
}
