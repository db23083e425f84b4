#include "fork.h"

#include "background.h"
#include "dma.h"
#include "hugetlb.h"
#include "kmem_cache.h"
#include "lock.h"
#include "mapping.h"
#include "meta.h"
#include "options.h"
#include "owner.h"
#include "pagemap.h"
#include "reclaim.h"
#include "region.h"
#include "slob.h"
#include "sys.h"
#include "zone.h"

/* Locks do not nest, but for the walk over idle owners: a thread holds two at most. */
#define HELD_MAX 2

/* Of the forking thread, in the child too; two threads may be forking at a time. */
static __thread struct {
    struct lock *mine[HELD_MAX]; /* what it held before fork */
    unsigned nmine;
    uint64_t signals; /* blocked before fork */
} forking __attribute__((tls_model("initial-exec")));

static void each_lock(void (*visit)(struct lock *lock)) {
    slob_each_lock(visit);
    owner_each_lock(visit);
    zone_each_lock(visit);
    visit(kmem_lock());
    visit(mapping_lock());
    visit(dma_lock());
    visit(pagemap_lock());
    visit(meta_lock());
}

static bool is_mine(const struct lock *lock) {
    for (unsigned i = 0; i < forking.nmine; i++) {
        if (forking.mine[i] == lock) {
            return true;
        }
    }
    return false;
}

static void prepare_one(struct lock *lock) {
    if (!lock_held(lock)) {
        lock_take(lock);
    } else {
        ASSERT(forking.nmine < HELD_MAX);
        forking.mine[forking.nmine++] = lock;
    }
}

static void parent_one(struct lock *lock) {
    if (!is_mine(lock)) {
        lock_drop(lock);
    }
}

static void child_one(struct lock *lock) {
    if (!is_mine(lock)) {
        lock_reset(lock);
    }
}

/* A handler that ran while this thread has every lock could neither fork nor free. */
static void fork_prepare(void) {
    uint64_t signals = sys_block_signals();
    forking.signals = signals;
    each_lock(prepare_one);
    hugetlb_fork_prepare();
}

static void fork_over(void) {
    forking.nmine = 0;
    sys_restore_signals(forking.signals);
}

static void fork_parent(void) {
    hugetlb_fork_parent();
    each_lock(parent_one);
    fork_over();
}

static void fork_child(void) {
    hugetlb_fork_child();
    each_lock(child_one);
    /* A thread that is inside the library goes on there when its signal handler returns, with what it has in hand. */
    bool inside = forking.nmine || region_purging;
    owner_fork_child(inside, reclaim_fork_child);
    if (!inside) {
        kmem_fork_child();
        zone_fork_child();
    }
    dma_fork_child(inside);
    if (!options.slob) {
        background_new_process();
    }
    fork_over();
}

static void count_held(struct lock *lock) {
    forking.nmine += lock_held(lock);
}

bool fork_inside(void) {
    each_lock(count_held);
    bool inside = forking.nmine;
    forking.nmine = 0;
    return inside;
}

void fork_init(void) {
    /* Refused only when a process has no memory for it at its start: then it has none for threads that need it. */
    sys_atfork(fork_prepare, fork_parent, fork_child);
}
