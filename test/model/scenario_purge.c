/* Memory goes back to the kernel: free blocks of a zone, and the free pages of slabs in use. */
#include "owners.h"
#include "scenarios.h"

/* One block of a zone: in its lists as dirty or fresh, or with somebody. */
enum { BLOCK_TAKEN, BLOCK_DIRTY, BLOCK_FRESH };
static int zone_lock, block, content, isolated;

/* MADV_DONTNEED; the kernel may refuse. */
static bool region_purge(void) {
    FN("region.c:region_purge");
    system_call("madvise");
    if (!either(2)) {
        return false;
    }
    plain_write(content, 0);
    return true;
}

static void purge(void) {
    FN("zone.c:isolate");
    if (rule(ISOLATE_LOCKS)) {
        lock_take(zone_lock);
    }
    bool dirty = plain_read(block) == BLOCK_DIRTY;
    if (dirty && rule(ISOLATE_TAKES_OUT)) {
        plain_write(block, BLOCK_TAKEN);
        plain_write(isolated, 1);
    }
    if (rule(ISOLATE_LOCKS) && (rule(MADVISE_WITHOUT_LOCK) || !dirty)) {
        lock_drop(zone_lock);
    }
    if (!dirty) {
        return;
    }
    bool purged = region_purge();
    if (rule(ISOLATE_LOCKS) && !rule(MADVISE_WITHOUT_LOCK)) {
        lock_drop(zone_lock);
    }
    if (rule(ISOLATE_END_LOCKS)) {
        lock_take(zone_lock);
    }
    if (rule(ISOLATE_END_PUTS_BACK)) {
        plain_write(block, purged || !rule(FRESH_ONLY_IF_PURGED) ? BLOCK_FRESH : BLOCK_DIRTY);
        plain_write(isolated, 0);
    }
    if (rule(ISOLATE_END_LOCKS)) {
        lock_drop(zone_lock);
    }
}

/* calloc of a run: var[0] says that this thread has the block. */
static void run_calloc(void) {
    FN("zone.c:zone_take");
    lock_take(zone_lock);
    uint8_t how = plain_read(block);
    plain_write(block, BLOCK_TAKEN);
    lock_drop(zone_lock);
    var[0] = how != BLOCK_TAKEN;
    if (how == BLOCK_FRESH && plain_read(content)) {
        violation("calloc hands out what somebody wrote");
    }
    if (var[0]) {
        plain_write(content, 7);
    }
}

static void run_free(void) {
    FN("zone.c:zone_free");
    if (!var[0]) {
        return;
    }
    if (plain_read(content) != 7) {
        violation("a live object was zeroed");
    }
    lock_take(zone_lock);
    plain_write(block, rule(FRESH_ENDS_WITH_USE) ? BLOCK_DIRTY : BLOCK_FRESH);
    lock_drop(zone_lock);
}

static void purge_setup(void) {
    zone_lock = lock_new("zone.lock", -1);
    block = plain_new("block", -1, BLOCK_DIRTY);
    content = plain_new("content", -1, 1);
    isolated = plain_new("zone.isolated", -1, 0);
    THREAD("purger", purge, purge);
    THREAD("user", run_calloc, run_free);
    THREAD("user", run_calloc, run_free);
}

static const char *purge_check(void) {
    return final_plain(block) == BLOCK_TAKEN || final_plain(isolated) ? "a block did not come back" : NULL;
}

const struct scenario scenario_purge = {"purge", "a zone's block is purged between uses", purge_setup, purge_check};

/*
 * Hole purge: each object has a page of its own. The purger takes a partial slab out of its owner's lists, so that
 * nobody allocates from it, and drops the lock during the madvise; frees go on.
 */
static int page[SLABS * SLAB_OBJECTS];

static uint8_t pages_of_free_objects(unsigned slab) {
    return plain_read(heap.free[slab]);
}

static void purge_pages(uint8_t free) {
    FN("region.c:region_purge");
    system_call("madvise");
    for (unsigned i = 0; i < SLAB_OBJECTS; i++) {
        if (free >> i & 1) {
            plain_write(page[i], 0);
        }
    }
}

static void hole_purge(void) {
    unsigned owner = 0, slab = 0;
    FN("slab.c:slab_purge_holes");
    uint8_t free = rule(HOLE_READS_LOCKED) ? 0 : pages_of_free_objects(slab);
    if (rule(HOLD_LOCKS)) {
        owner_lock(owner);
    }
    bool held = owner_hold_slab(owner, slab);
    if (rule(HOLE_READS_LOCKED)) {
        free = held ? pages_of_free_objects(slab) : 0;
    }
    if (rule(HOLD_LOCKS) && (rule(HOLE_MADVISE_WITHOUT_LOCK) || !held)) {
        lock_drop(heap.owner_lock[owner]);
    }
    if (!held) {
        return;
    }
    purge_pages(free);
    if (rule(HOLD_LOCKS) && !rule(HOLE_MADVISE_WITHOUT_LOCK)) {
        lock_drop(heap.owner_lock[owner]);
    }
    if (rule(REFILE_LOCKS)) {
        owner_lock(owner);
    }
    owner_refile_slab(owner, slab);
    if (rule(REFILE_LOCKS)) {
        lock_drop(heap.owner_lock[owner]);
    }
    if (rule(REFILE_ANNOUNCES)) {
        owner_announce(owner);
    }
}

static void use(unsigned owner) {
    var[1] = (uint8_t)heap_malloc(owner);
    if (var[1] != NONE) {
        plain_write(page[var[1]], 7);
    }
}

static void use_and_free(unsigned owner) {
    if (var[1] == NONE) {
        return;
    }
    if (plain_read(page[var[1]]) != 7) {
        violation("a live object was zeroed");
    }
    heap_free(owner, var[1], 3);
}

static void use_0(void) {
    use(0);
}

static void free_by_0(void) {
    use_and_free(0);
}

static void use_1(void) {
    use(1);
}

static void free_by_1(void) {
    use_and_free(1);
}

static void give_1(void) {
    if (plain_read(page[1]) != 7) {
        violation("a live object was zeroed");
    }
    heap_free(NONE, 1, 0);
}

static void release_0(void) {
    owner_release(0);
}

static void pages_setup(unsigned nowners) {
    heap_setup(nowners, 1);
    setup_out(1, 1);
    for (unsigned i = 0; i < SLAB_OBJECTS; i++) {
        page[i] = plain_new("page", (int)i, 7);
    }
}

static void hole_setup(void) {
    pages_setup(1);
    heap.magazine_slots = 0;
    setup_active(0);
    THREAD("owner 0", use_0, free_by_0, use_0);
    THREAD("giver", give_1);
    if (bounds_long) {
        THREAD("purger", hole_purge, hole_purge);
    } else {
        THREAD("purger", hole_purge);
    }
}

const struct scenario scenario_hole = {"hole", "free pages of a slab in use are purged", hole_setup, heap_check};

static void hole_idle_setup(void) {
    pages_setup(2);
    setup_active(0);
    setup_active(1);
    THREAD("owner 0", release_0);
    THREAD("owner 1", use_1, free_by_1);
    THREAD("purger", hole_purge);
}

const struct scenario scenario_hole_idle = {"hole_idle", "free pages of a slab are purged while its owner goes idle",
                                            hole_idle_setup, heap_check};
