/* lib/fork.c: a child of a multi-threaded parent, and fork in a signal handler that comes at any point. */
#include "owners.h"
#include "scenarios.h"

static int accounted; /* objects that fork must not lose */
static int memory_left;

/* In fork's order. The zone's lock is the last. */
static unsigned each_lock(int *locks) {
    unsigned n = 0;
    locks[n++] = heap.depot_lock;
    for (unsigned i = 0; i < heap.nowners; i++) {
        locks[n++] = heap.owner_lock[i];
    }
    locks[n++] = heap.zone_lock;
    return n;
}

static bool takes(int lock) {
    if (lock == heap.depot_lock) {
        return rule(FORK_TAKES_DEPOT_LOCK);
    }
    return lock == heap.zone_lock ? rule(FORK_TAKES_ZONE_LOCK) : rule(FORK_TAKES_OWNER_LOCKS);
}

/* Returns which of the locks it held before. */
static unsigned fork_prepare(const int *locks, unsigned n) {
    FN("fork.c:fork_prepare");
    unsigned mine = 0;
    lock_nesting(true);
    for (unsigned i = 0; i < n; i++) {
        unsigned at = !rule(FORK_TAKES_IN_ORDER) && self_thread() ? n - 1 - i : i;
        if (rule(FORK_SKIPS_MINE) && lock_mine(locks[at])) {
            mine |= 1u << at;
        } else if (takes(locks[at])) {
            lock_take(locks[at]);
        }
    }
    lock_nesting(false);
    return mine;
}

static void fork_parent(const int *locks, unsigned n, unsigned mine) {
    FN("fork.c:fork_parent");
    for (unsigned i = 0; i < n && rule(PARENT_DROPS); i++) {
        if (!(mine >> i & 1) && takes(locks[i])) {
            lock_drop(locks[i]);
        }
    }
}

static void owner_orphan(unsigned owner) {
    FN("owner.c:owner_orphan");
    if (rule(CHILD_FORGETS_MAGAZINES)) {
        plain_reset(heap.magazine[owner], 0);
    }
    if (rule(CHILD_SAYS_IDLE)) {
        atom_store(heap.state[owner], IDLE, RELAXED);
    }
    if (rule(CHILD_ANNOUNCES)) {
        announce_all(owner);
    }
}

/* A purger that is not there had taken slabs out of OWNER's lists. */
static void reclaim_fork_child(unsigned owner) {
    FN("reclaim.c:reclaim_fork_child");
    owner_lock(owner);
    uint8_t held = plain_read(heap.held[owner]);
    for (unsigned slab = 0; slab < heap.nslabs && rule(CHILD_FILES_HELD); slab++) {
        if (held >> slab & 1) {
            owner_unhold_slab(owner, slab);
        }
    }
    owner_unlock(owner);
    if (rule(CHILD_RETURNS_RECEIVED)) {
        remote_return_inbox(owner);
    }
}

static bool is_in_transit(unsigned owner) {
    unsigned t = self_thread();
    return rule(FORK_KNOWS_TRANSIT) && (plain_read(heap.arriving[t]) == owner || plain_read(heap.leaving[t]) == owner);
}

/* A depot whose lock we held is in our own mid-step: it is left as it is. */
static void owner_fork_child(bool depot_is_mine) {
    FN("owner.c:owner_fork_child");
    bool rebuild = !(depot_is_mine && rule(CHILD_KEEPS_OWN_DEPOT));
    if (rebuild) {
        plain_write(heap.depot, NONE);
    }
    for (unsigned owner = heap.nowners; owner-- > 0;) {
        if (rule(CHILD_FORGETS_INBOXES)) {
            atom_store(heap.inbox[owner], 0, RELAXED);
            atom_store(heap.inbox_count[owner], 0, RELAXED);
        }
        if (owner == owner_have() || is_in_transit(owner)) {
            continue;
        }
        owner_orphan(owner);
        if (rebuild && rule(CHILD_FILLS_DEPOT)) {
            plain_write(heap.next_idle[owner], plain_read(heap.depot));
            plain_write(heap.depot, (uint8_t)owner);
        }
    }
}

/* What is in slabs, or in this thread's hands, at the moment of fork. All locks are held, but for those left out. */
static void account(void) {
    uint8_t objects = 0, left = 0;
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS; object++) {
        unsigned slab = slab_of(object);
        bool in_slab = plain_newest(heap.free[slab]) & object_bit(object);
        objects |= (uint8_t)((in_slab || object_is_mine(object)) << object);
        for (unsigned i = 0; i < heap.nowners; i++) {
            left |= (uint8_t)(in_slab && plain_newest(heap.lists[i]) >> slab & 1);
        }
    }
    plain_reset(accounted, objects);
    plain_reset(memory_left, left);
}

static void fork_child(const int *locks, unsigned n, unsigned mine) {
    FN("fork.c:fork_child");
    for (unsigned i = 0; i < n && rule(CHILD_RESETS); i++) {
        if (!(mine >> i & 1)) {
            lock_reset(locks[i]);
        }
    }
    owner_fork_child(mine & 1);
    /* A thread that is inside the library goes on there, with what it has in hand. */
    bool purging = rule(CHILD_LEAVES_OWN_HELD) && plain_read(heap.purging[self_thread()]);
    for (unsigned owner = 0; owner < heap.nowners && !mine && !purging; owner++) {
        reclaim_fork_child(owner);
    }
}

/* In the parent the thread goes on as if nothing was. */
static void do_fork(void) {
    int locks[LOCKS];
    unsigned n = each_lock(locks), mine = fork_prepare(locks, n);
    if (fork_here()) {
        if (!mine) {
            account();
        }
        fork_child(locks, n, mine);
    } else {
        fork_parent(locks, n, mine);
    }
}

/* Thread 0 forks, has object 1 of owner 1's slab, and in the child frees it and allocates. */

static void start_as_0(void) {
    plain_write(heap.self[0], 0);
}

static void child_free_1(void) {
    heap_free(0, 1, 1);
}

/* Before the child has other threads. */
static void child_malloc(void) {
    unsigned object = heap_malloc(0);
    if (object == NONE && plain_read(memory_left)) {
        violation("the child cannot use the memory of its parent's threads");
    }
}

static void child_starts_thread(void) {
    if (in_child()) {
        fork_child_ready();
    }
}

static void malloc_1(void) {
    var[1] = (uint8_t)heap_malloc(1);
}

static void free_1(void) {
    if (var[1] != NONE) {
        heap_free(1, var[1], 3);
    }
}

static void release_1(void) {
    owner_release(1);
}

static void send_2(void) {
    heap_free(NONE, 2, 2);
}

static void free_own(void) {
    if (owner_have() == NONE || var[1] == NONE) {
        return;
    }
    if (heap.has_pages && plain_read(heap.page[var[1]]) != 7) {
        violation("a live object was zeroed");
    }
    heap_free(owner_have(), var[1], 4);
}

static void malloc_own(void) {
    var[1] = owner_have() == NONE ? NONE : (uint8_t)heap_malloc(owner_have());
    if (heap.has_pages && var[1] != NONE) {
        plain_reset(heap.page[var[1]], 7); /* the parent's purger may have been at it, but not in this process */
    }
}

static void reclaim_1(void) {
    reclaim_slab(1, 0);
}

static void fork_setup_heap(unsigned nslabs) {
    heap_setup(2, nslabs);
    setup_forks();
    accounted = plain_new("accounted", -1, 0);
    memory_left = plain_new("memory_left", -1, 0);
    setup_active(0);
    setup_active(1);
    for (unsigned slab = 0; slab < nslabs; slab++) {
        setup_slab_of(slab, 1);
    }
    setup_out(1, 0);
}

static void fork_setup(void) {
    fork_setup_heap(2);
    setup_out(2, 2);
    THREAD("forker", start_as_0, do_fork, child_malloc, child_starts_thread, child_free_1);
    THREAD("owner 1", malloc_1, free_1, release_1);
    THREAD("sender", send_2);
    THREAD("child's", wait_for_fork, owner_get, malloc_own, free_own, thread_exit);
}

/* In a child only what fork found in a slab or in the forking thread's hands must be there: the rest is the bounded
 * leak. */
static const char *fork_check(void) {
    if (!final_forked()) {
        return heap_check();
    }
    const char *wrong = NULL;
    for (unsigned object = 0; object < heap.nslabs * SLAB_OBJECTS && !wrong; object++) {
        const char *what = check_object(object);
        wrong = final_plain(accounted) >> object & 1 ? what : NULL;
    }
    for (unsigned i = 0; i < heap.nowners && !wrong; i++) {
        wrong = check_idle(i);
    }
    for (unsigned slab = 0; slab < heap.nslabs && !wrong; slab++) {
        wrong = final_plain(heap.bin[slab]) == HELD ? "a slab is held by a purger that is not there" : NULL;
    }
    return wrong;
}

const struct scenario scenario_fork = {"fork", "fork while a thread allocates and exits and another sends to it",
                                       fork_setup, fork_check};

static void fork_hole_setup(void) {
    fork_setup_heap(1);
    setup_pages(7);
    THREAD("forker", start_as_0, do_fork, child_malloc, child_starts_thread, child_free_1);
    THREAD("owner 1", malloc_1);
    THREAD("purger", reclaim_1);
    THREAD("child's", wait_for_fork, owner_get, malloc_own);
}

const struct scenario scenario_fork_hole = {"fork_hole", "fork while a purger holds a slab", fork_hole_setup,
                                            fork_check};

static void fork_received_setup(void) {
    fork_setup_heap(2);
    setup_sent(2, 1, 2);
    setup_sent(3, 1, 3);
    THREAD("forker", start_as_0, do_fork, child_malloc, child_free_1);
    THREAD("owner 1", malloc_1, free_1);
}

const struct scenario scenario_fork_received = {"fork_received", "fork while a thread has received more than it poured",
                                                fork_received_setup, fork_check};

/* Two threads fork at a time; a third takes an owner's lock and the depot's. */
static void two_forks_setup(void) {
    fork_setup_heap(1);
    THREAD("forker", start_as_0, do_fork);
    THREAD("forker", do_fork);
    THREAD("owner 1", malloc_1, free_1, release_1);
}

const struct scenario scenario_two_forks = {"two_forks", "two threads fork at a time", two_forks_setup, fork_check};

/*
 * The only thread is interrupted once, at any point, by a signal whose handler forks; in the child it goes on where it
 * was, beside a thread that the child starts. Nothing may be lost but owners, where the handler came with the depot's
 * lock held.
 */
static void handler(void) {
    var[7] = 1;
    do_fork();
    child_starts_thread();
}

static void arm(void) {
    if (!var[7]) {
        signal_arm(handler);
    }
}

static void armed_get(void) {
    arm();
    owner_get();
}

static void armed_malloc(void) {
    arm();
    malloc_own();
}

static void armed_free(void) {
    arm();
    free_own();
}

static void armed_exit(void) {
    arm();
    thread_exit();
}

static void armed_reclaim(void) {
    arm();
    reclaim_slab(0, 0);
}

static void signal_setup(void) {
    heap_setup(2, 1);
    setup_forks();
    accounted = plain_new("accounted", -1, 0);
    memory_left = plain_new("memory_left", -1, 0);
    setup_in_depot(1, true);
    setup_in_depot(0, true);
    THREAD("forker", armed_get, armed_malloc, armed_free, armed_exit);
    THREAD("child's", wait_for_fork, owner_get, malloc_own, free_own, thread_exit);
}

const struct scenario scenario_signal = {"signal", "fork in a signal handler, at any point", signal_setup, heap_check};

/* The same in a hole purge. */
static void signal_hole_setup(void) {
    heap_setup(1, 1);
    setup_forks();
    setup_pages(7);
    accounted = plain_new("accounted", -1, 0);
    memory_left = plain_new("memory_left", -1, 0);
    setup_in_depot(0, true);
    setup_out(1, 0);
    THREAD("forker", armed_reclaim, armed_get, armed_malloc);
    THREAD("child's", wait_for_fork, owner_get, malloc_own, free_own, thread_exit);
}

const struct scenario scenario_signal_hole = {"signal_hole", "fork in a signal handler that comes in a hole purge",
                                              signal_hole_setup, heap_check};
