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
    FN("zone_purge.c:isolate");
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

/* Hole purge. */

static void reclaim_0(void) {
    reclaim_slab(0, 0);
}

static void use(unsigned owner) {
    var[1] = (uint8_t)heap_malloc(owner);
    if (var[1] != NONE) {
        plain_write(heap.page[var[1]], 7);
    }
}

static void use_and_free(unsigned owner) {
    if (var[1] == NONE) {
        return;
    }
    if (plain_read(heap.page[var[1]]) != 7) {
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
    if (plain_read(heap.page[1]) != 7) {
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
    setup_pages(7);
}

/* What is not touched reads zero: calloc relies on it. */
static const char *pages_check(void) {
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        unsigned slab = slab_of(object);
        bool touched = final_plain(heap.touched[slab]) & object_bit(object);
        if (final_plain(heap.bin[slab]) != GONE && !touched && final_plain(heap.page[object])) {
            return "a page is taken for fresh that somebody wrote to";
        }
    }
    return heap_check();
}

static void hole_setup(void) {
    pages_setup(1);
    heap.magazine_slots = 0;
    heap.keeps_empty = bounds_long;
    setup_active(0);
    THREAD("owner 0", use_0, free_by_0, use_0);
    THREAD("giver", give_1);
    if (bounds_long) {
        THREAD("purger", reclaim_0, reclaim_0);
    } else {
        THREAD("purger", reclaim_0);
    }
}

const struct scenario scenario_hole = {"hole", "free pages of a slab in use are purged", hole_setup, pages_check};

static void hole_idle_setup(void) {
    pages_setup(2);
    setup_active(0);
    setup_active(1);
    THREAD("owner 0", release_0);
    THREAD("owner 1", use_1, free_by_1);
    THREAD("purger", reclaim_0);
}

const struct scenario scenario_hole_idle = {"hole_idle", "free pages of a slab are purged while its owner goes idle",
                                            hole_idle_setup, pages_check};

/* The helper thread: one at a time, whose end the kernel tells by clearing the word. */
enum { STARTING = 1, RUNS = 2 };
static int alive, helper_thread;

static bool helper_claim(void) {
    if (rule(HELPER_CAS)) {
        return atom_cas(alive, 0, STARTING, with(HELPER_ACQUIRE, ACQUIRE));
    }
    if (atom_load(alive, ACQUIRE)) {
        return false;
    }
    atom_store(alive, STARTING, RELAXED);
    return true;
}

/* Its thread's life is a part of the starter's here: what matters is that the next starter reuses its stack. */
static void helper_start(void) {
    FN("background.c:start");
    if (atom_load(alive, RELAXED) || !helper_claim()) {
        return;
    }
    plain_write(helper_thread, plain_read(helper_thread) + 1);
    if (either(2)) {
        atom_store(alive, RUNS, RELAXED);
        plain_write(helper_thread, plain_read(helper_thread) + 1);
        atom_store(alive, 0, RELEASE);
    } else {
        atom_store(alive, 0, with(HELPER_RELEASE, RELEASE));
    }
}

static void helper_setup(void) {
    alive = atom_new("background.alive", -1, 0);
    helper_thread = plain_new("background.thread", -1, 0);
    THREAD("first", helper_start, helper_start);
    THREAD("second", helper_start);
    THREAD("third", helper_start);
}

static const char *helper_check(void) {
    return final_atom(alive) ? "nobody can start a helper any more" : NULL;
}

const struct scenario scenario_helper = {"helper", "three threads want a helper", helper_setup, helper_check};
