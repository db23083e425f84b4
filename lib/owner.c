#include "owner.h"

#include <limits.h>

#include "expose.h"
#include "kmem_cache.h"
#include "magazine.h"
#include "meta.h"
#include "page.h"
#include "remote.h"
#include "run.h"
#include "sys.h"
#include "zone.h"

/* Locks of this many owners lie together, a cache line each. */
#define LINES 16

struct lock_line {
    struct lock lock;
} __attribute__((aligned(CACHE_LINE)));

/* What fork and its child write to comes first, and so lies on one page. */
static struct {
    _Atomic uint32_t count;
    struct lock lock; /* creation of owners */
    struct lock settling;
    _Atomic bool unsettled; /* a fork child, whose owners are still as its parent's threads had them */
    struct owner *survivor; /* of the thread it has */
    void (*settled)(void);  /* what else is to be done then */
    pthread_key_t key;
    _Atomic bool key_valid;
    _Atomic(struct owner *) by_id[OWNERS_MAX];
} owners;

EXPOSE(OWNERS, owners.by_id);
EXPOSE(OWNER_COUNT, owners.count);

static struct depot {
    struct lock lock;
    struct owner *idle;
    _Atomic uint32_t partial[(CLASS_COUNT + 31) / 32]; /* bit: an idle owner may have free objects of the class */
} depots[NODE_SETS];

static _Atomic uint32_t *partial_word(unsigned node, unsigned class) {
    return kmem_is_class(class) ? kmem_partial_word(node, class) : &depots[node].partial[class / 32];
}

/* Exit handlers run in rounds, and those of other keys may allocate: this thread's owner stays until this many of ours
 * ran. One round is left for handlers that come later still. */
#define THREAD_GONE (PTHREAD_DESTRUCTOR_ITERATIONS - 1)

/* How many times this thread's exit handler ran. */
static __thread unsigned char thread_phase __attribute__((tls_model("initial-exec")));

/* Owners on their way from a depot to this thread, or back: in a child of fork in a signal handler they are still its.
 */
static __thread struct { struct owner *arriving, *leaving; } transit __attribute__((tls_model("initial-exec")));

/* Not before what the program did before, nor after what it does next, as this thread's signal handlers see it. */
static void transit_set(struct owner **which, struct owner *owner) {
    atomic_signal_fence(memory_order_seq_cst);
    *which = owner;
    atomic_signal_fence(memory_order_seq_cst);
}

uint32_t owner_count(void) {
    return atomic_load_explicit(&owners.count, memory_order_acquire);
}

struct owner *owner_by_id(uint32_t id) {
    return atomic_load_explicit(&owners.by_id[id], memory_order_acquire);
}

struct owner *owner_of_tag(uint32_t tag) {
    return owner_by_id(tag >> TAG_CLASS_BITS);
}

/* The owner that brought the lines in which the lock of owner ID lies. */
static uint32_t first_of_lines(uint32_t id) {
    return id < LINES ? 1 : id - id % LINES;
}

static struct lock *lock_of(uint32_t id) {
    uint32_t first = first_of_lines(id);
    struct lock_line *line = (struct lock_line *)owner_by_id(first)->lock;
    return &line[id - first].lock;
}

/* With the table's lock: OWNER gets the next id, if that has a lock; *LINES are used if it is the first of them. */
static bool enter(struct owner *owner, struct lock_line **lines) {
    uint32_t id = owner_count() + 1;
    bool first = id == first_of_lines(id);
    if (first && !*lines) {
        return false;
    }
    owner->lock = first ? &(*lines)[0].lock : lock_of(id);
    *lines = first ? NULL : *lines;
    owner->magazines.tag = id << TAG_CLASS_BITS;
    atomic_store_explicit(&owners.by_id[id], owner, memory_order_release);
    atomic_store_explicit(&owners.count, id, memory_order_release);
    return true;
}

/* OWNER into the table; false: no memory, or the table is full. */
static bool enter_when_possible(struct owner *owner) {
    const size_t bytes = LINES * sizeof(struct lock_line);
    struct lock_line *lines = NULL;
    bool entered = false, room = true;
    while (!entered && room) {
        lock_take(&owners.lock);
        room = owner_count() + 1 < OWNERS_MAX;
        entered = room && enter(owner, &lines);
        lock_drop(&owners.lock);
        if (!entered && room) {
            room = (lines = meta_alloc(bytes));
        }
    }
    if (lines) {
        meta_free(lines, bytes);
    }
    return entered;
}

static struct owner *owner_create(unsigned node) {
    struct owner *owner = meta_alloc(sizeof *owner);
    if (!owner) {
        return NULL;
    }
    owner->node = node;
    magazine_init(owner);
    transit_set(&transit.arriving, owner);
    if (!enter_when_possible(owner)) {
        transit_set(&transit.arriving, NULL);
        meta_free(owner, sizeof *owner);
        return NULL;
    }
    return owner;
}

/* An idle owner of NODE, or a new one; active from now on, and arriving until the caller says otherwise. NULL: no
 * memory. */
static struct owner *owner_adopt(unsigned node) {
    struct depot *depot = &depots[node];
    lock_take(&depot->lock);
    struct owner *owner = depot->idle;
    if (owner) {
        transit_set(&transit.arriving, owner);
        depot->idle = owner->next_idle;
    }
    lock_drop(&depot->lock);
    if (!owner) {
        owner = owner_create(node);
    }
    if (owner) {
        /* Relaxed: a sender that still reads idle does a little more than it must. */
        atomic_store_explicit(&owner->state, OWNER_ACTIVE, memory_order_relaxed);
    }
    /* fork in a signal handler may have come after the caller looked: before the owner is used, it is known as ours. */
    owner_settle();
    return owner;
}

static void depot_add(struct owner *owner) {
    struct depot *depot = &depots[owner->node];
    lock_take(&depot->lock);
    owner->next_idle = depot->idle;
    depot->idle = owner;
    transit_set(&transit.leaving, NULL);
    lock_drop(&depot->lock);
}

/* With the lock. */
static void announce_all(struct owner *owner) {
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        const struct owner_cache *cache = owner_cache(owner, class);
        if (cache->list[SLAB_BUSY] || cache->list[SLAB_SPARSE] || cache->list[SLAB_EMPTY]) {
            owner_announce(owner, class);
        }
    }
}

/* The thread that owned it is done with it, and has said that it is leaving. */
static void owner_release(struct owner *owner) {
    page_cache_flush(owner);
    run_cache_flush(owner);
    remote_flush(owner);
    if (owner->spare) {
        meta_free(owner->spare, sizeof(struct remote_magazine));
        owner->spare = NULL;
    }
    kmem_flush_remote(owner);
    magazine_flush(owner, true);
    atomic_store_explicit(&owner->state, OWNER_IDLE, memory_order_seq_cst);
    remote_return_inbox(owner);
    owner_lock(owner);
    owner_drop_empty_slabs(owner);
    owner_unlock(owner);
    depot_add(owner);
    /* After: a thief that finds nothing takes the announcement back. */
    owner_lock(owner);
    announce_all(owner);
    owner_unlock(owner);
}

static void thread_exit(void *arg) {
    struct owner *owner = arg;
    owner_settle();
    if (++thread_phase < THREAD_GONE && !sys_keep(owners.key, owner)) {
        return;
    }
    thread_phase = THREAD_GONE;
    owner = (struct owner *)magazines_self; /* migration may have changed it */
    transit_set(&transit.leaving, owner);
    magazines_self = MAGAZINES_NONE;
    owner_release(owner);
}

/* Tried again with each thread's first call until it works. */
static void register_exit(void) {
    lock_take(&owners.lock);
    if (!atomic_load_explicit(&owners.key_valid, memory_order_relaxed) && !sys_key(&owners.key, thread_exit)) {
        atomic_store_explicit(&owners.key_valid, true, memory_order_release);
    }
    lock_drop(&owners.lock);
}

/* OWNER, this thread's, will be released at its exit; false: the C library has no key or no memory for that. */
static bool keep_until_exit(struct owner *owner) {
    if (unlikely(!atomic_load_explicit(&owners.key_valid, memory_order_acquire))) {
        register_exit();
    }
    return atomic_load_explicit(&owners.key_valid, memory_order_relaxed) && !sys_keep(owners.key, owner);
}

struct owner *owner_have(void) {
    struct magazines *self = magazines_self;
    return self->tag == OWNER_NONE_TAG ? NULL : (struct owner *)self;
}

struct owner *owner_get(void) {
    owner_settle();
    struct owner *owner = owner_have();
    if (likely(owner != NULL) || thread_phase == THREAD_GONE) {
        return owner;
    }
    owner = owner_adopt(numa_home());
    if (!owner) {
        return NULL;
    }
    magazines_self = &owner->magazines;
    transit_set(&transit.arriving, NULL);
    /* May call calloc, which finds the owner in place. An owner that nobody would release is not kept: the thread
     * borrows one for each slow call until it can have its own. */
    if (unlikely(!keep_until_exit(owner))) {
        transit_set(&transit.leaving, owner);
        magazines_self = MAGAZINES_NONE;
        owner_release(owner);
        return NULL;
    }
    return owner;
}

struct owner *owner_borrow(void) {
    return owner_adopt(numa_home());
}

void owner_return(struct owner *owner) {
    transit_set(&transit.leaving, owner);
    transit_set(&transit.arriving, NULL);
    owner_release(owner);
}

void owner_migrate(struct owner *owner, unsigned node) {
    struct owner *next = owner_adopt(node);
    if (next) {
        transit_set(&transit.leaving, owner);
        magazines_self = &next->magazines;
        transit_set(&transit.arriving, NULL);
        owner_release(owner);
    }
}

static bool is_sparse(unsigned bin) {
    return bin == SLAB_SPARSE || bin == SLAB_EMPTY;
}

static void list_remove(struct owner *owner, struct slab *slab) {
    struct owner_cache *cache = owner_cache(owner, slab->class);
    struct slab **head = &cache->list[slab->bin];
    if (slab == *head) {
        *head = slab->next;
    } else {
        slab->prev->next = slab->next;
    }
    if (slab->next) {
        slab->next->prev = slab->prev;
    } else if (*head) {
        (*head)->prev = slab->prev;
    }
    cache->count[slab->bin]--;
    if (is_sparse(slab->bin)) {
        counter_sub(&owner->sparse_pages, slab->npages);
    }
}

static void list_insert(struct owner *owner, struct slab *slab, enum slab_bin bin, bool at_tail) {
    struct owner_cache *cache = owner_cache(owner, slab->class);
    struct slab **head = &cache->list[bin], *first = *head;
    slab->bin = (uint8_t)bin;
    slab->next = at_tail ? NULL : first;
    slab->prev = first ? first->prev : slab;
    if (first && at_tail) {
        first->prev->next = slab;
    }
    if (first) {
        first->prev = slab;
    }
    if (!first || !at_tail) {
        *head = slab;
    }
    cache->count[bin]++;
    if (is_sparse(bin)) {
        counter_add(&owner->sparse_pages, slab->npages);
    }
}

static enum slab_bin bin_of(const struct slab *slab) {
    if (!slab->nfree) {
        return SLAB_FULL;
    }
    if (slab->nfree == slab->nobjects) {
        return SLAB_EMPTY;
    }
    return 2 * slab->nfree > slab->nobjects ? SLAB_SPARSE : SLAB_BUSY;
}

void owner_unlock(struct owner *owner) {
    struct slab *emptied = owner->emptied;
    owner->emptied = NULL;
    lock_drop(owner->lock);
    while (unlikely(emptied != NULL)) {
        struct slab *next = emptied->next;
        slab_destroy(emptied);
        emptied = next;
    }
}

/* With the lock; the owner's thread reads it without. */
static void count_slabs(struct owner_cache *cache, uint32_t n) {
    __atomic_store_n(&cache->nslabs, n, __ATOMIC_RELAXED);
}

void owner_drop_slab(struct owner *owner, struct slab *slab) {
    ASSERT(lock_held(owner->lock) && slab->bin == SLAB_EMPTY);
    struct owner_cache *cache = owner_cache(owner, slab->class);
    list_remove(owner, slab);
    count_slabs(cache, cache->nslabs - 1);
    slab->bin = SLAB_UNFILED;
    slab->next = owner->emptied;
    owner->emptied = slab;
}

void owner_add_slab(struct owner *owner, struct slab *slab) {
    ASSERT(lock_held(owner->lock) && slab->owner == owner && slab->bin == SLAB_UNFILED);
    struct owner_cache *cache = owner_cache(owner, slab->class);
    count_slabs(cache, cache->nslabs + 1);
    list_insert(owner, slab, bin_of(slab), false);
}

/* From its list into that for BIN. The one empty slab a class has already makes another one superfluous. */
static void refile(struct owner *owner, struct slab *slab, enum slab_bin bin, bool at_tail) {
    bool superfluous = bin == SLAB_EMPTY && owner_cache(owner, slab->class)->count[SLAB_EMPTY];
    list_remove(owner, slab);
    list_insert(owner, slab, bin, at_tail);
    if (superfluous) {
        owner_drop_slab(owner, slab);
    }
}

bool owner_file_slab(struct owner *owner, struct slab *slab) {
    ASSERT(lock_held(owner->lock) && slab->owner == owner);
    enum slab_bin bin = bin_of(slab), before = slab->bin;
    if (bin == before || before == SLAB_UNFILED || before == SLAB_HELD) {
        return false;
    }
    refile(owner, slab, bin, false);
    return before == SLAB_FULL;
}

void owner_rotate(struct owner *owner, unsigned class, enum slab_bin bin) {
    ASSERT(lock_held(owner->lock));
    struct slab *slab = owner_cache(owner, class)->list[bin];
    list_remove(owner, slab);
    list_insert(owner, slab, bin, true);
}

void owner_hold_slab(struct owner *owner, struct slab *slab) {
    ASSERT(lock_held(owner->lock) && slab->nfree);
    refile(owner, slab, SLAB_HELD, false);
}

void owner_unhold_slab(struct owner *owner, struct slab *slab) {
    ASSERT(lock_held(owner->lock) && slab->bin == SLAB_HELD);
    refile(owner, slab, bin_of(slab), true);
}

void owner_drop_empty_slabs_of(struct owner *owner, unsigned class) {
    while (owner_cache(owner, class)->list[SLAB_EMPTY]) {
        owner_drop_slab(owner, owner_cache(owner, class)->list[SLAB_EMPTY]);
    }
}

void owner_drop_empty_slabs(struct owner *owner) {
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        owner_drop_empty_slabs_of(owner, class);
    }
}

/* Relaxed, as all that is done to the bits: what they announce is ordered by the locks. */
void owner_announce(const struct owner *owner, unsigned class) {
    if (atomic_load_explicit(&owner->state, memory_order_relaxed) == OWNER_IDLE) {
        atomic_fetch_or_explicit(partial_word(owner->node, class), 1u << class % 32, memory_order_relaxed);
    }
}

/* With FROM's lock: its fullest slab with free objects, retagged for OWNER. */
static struct slab *steal_from(struct owner *from, struct owner *owner, unsigned class) {
    struct owner_cache *cache = owner_cache(from, class);
    for (unsigned bin = SLAB_BUSY; bin <= SLAB_EMPTY; bin++) {
        struct slab *slab = cache->list[bin];
        if (slab) {
            list_remove(from, slab);
            count_slabs(cache, cache->nslabs - 1);
            slab->bin = SLAB_UNFILED;
            slab_retag(slab, owner, owner_tag(owner));
            return slab;
        }
    }
    return NULL;
}

struct slab *owner_steal_slab(struct owner *owner, unsigned class) {
    struct depot *depot = &depots[owner->node];
    _Atomic uint32_t *word = partial_word(owner->node, class);
    uint32_t bit = 1u << class % 32;
    if (likely(!(atomic_load_explicit(word, memory_order_relaxed) & bit))) {
        return NULL;
    }
    /* Cleared before the walk: what becomes free behind its back sets it again. */
    atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed);
    struct slab *slab = NULL;
    bool missed = false;
    lock_take(&depot->lock);
    for (struct owner *from = depot->idle; from && !slab; from = from->next_idle) {
        if (!owner_try_lock(from)) {
            missed = true; /* somebody is returning objects to it: next time */
            continue;
        }
        slab = !kmem_is_class(class) || owner_entry(from, class) ? steal_from(from, owner, class) : NULL;
        owner_unlock(from);
    }
    lock_drop(&depot->lock);
    if (slab || missed) {
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    }
    return slab;
}

static const char *check_idle(const struct owner *owner, unsigned node) {
    if (atomic_load_explicit(&owner->state, memory_order_relaxed) != OWNER_IDLE || owner->node != node) {
        return "an owner in a depot is active or of another node";
    }
    bool empty = !owner->run_cache_pages && !page_cache_pages(owner) && !owner->spare;
    for (unsigned way = 0; way < REMOTE_WAYS; way++) {
        empty = empty && !owner->open[way];
    }
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        empty = empty && !owner_cache(owner, class)->capacity && !magazine_count(owner, class);
        empty = empty && !(kmem_is_class(class) && owner_entry(owner, class)->remote);
    }
    return empty ? NULL : "an idle owner holds more than slabs";
}

/* With the depot's lock: nobody can adopt one meanwhile. */
static const char *check_depot(const struct depot *depot, unsigned node) {
    uint32_t count = 0;
    for (const struct owner *owner = depot->idle; owner; owner = owner->next_idle) {
        const char *broken = check_idle(owner, node);
        if (broken) {
            return broken;
        }
        if (++count > owner_count()) {
            return "a depot's list of owners has a loop";
        }
    }
    return NULL;
}

const char *owner_check_idle(void) {
    const char *broken = NULL;
    for (unsigned node = 0; node < NODE_SETS && !broken; node++) {
        lock_take(&depots[node].lock);
        broken = check_depot(&depots[node], node);
        lock_drop(&depots[node].lock);
    }
    return broken;
}

void owner_each_lock(void (*visit)(struct lock *lock)) {
    visit(&owners.settling);
    for (unsigned node = 0; node < NODE_SETS; node++) {
        visit(&depots[node].lock);
    }
    /* The count is stable while the table's lock is held: before a visit that drops it, after one that takes it. */
    uint32_t n = owner_count();
    visit(&owners.lock);
    n = lock_held(&owners.lock) ? owner_count() : n;
    for (uint32_t id = 1; id <= n; id++) {
        visit(lock_of(id));
    }
}

/* An owner whose thread is not there: its slabs are sound (their locks were held across fork), but its magazines were
 * read in mid-step; what they held stays out for ever. An idle owner may be one of a thread that was just releasing it,
 * and had not announced it yet. */
static void owner_orphan(struct owner *owner) {
    magazine_abandon(owner);
    for (unsigned i = 0; i < RUN_CACHE_SLOTS; i++) {
        owner->run_cache[i] = 0;
    }
    owner->run_cache_pages = 0;
    page_cache_forget(owner);
    for (unsigned way = 0; way < REMOTE_WAYS; way++) {
        owner->open[way] = NULL;
    }
    owner->spare = NULL;
    atomic_store_explicit(&owner->state, OWNER_IDLE, memory_order_relaxed);
    announce_all(owner);
}

static bool is_mine(const struct owner *owner) {
    bool survives = owner == owners.survivor && owner_active(owner);
    return survives || owner == owner_have() || owner == transit.arriving || owner == transit.leaving;
}

/* A depot whose lock this thread held before is in its own mid-step: it is left as it is, at the price of the owners
 * that are not in it. */
static void bury_the_lost(void) {
    for (unsigned node = 0; node < NODE_SETS; node++) {
        if (!lock_held(&depots[node].lock)) {
            depots[node].idle = NULL;
        }
    }
    for (uint32_t id = owner_count(); id; id--) {
        struct owner *owner = owner_by_id(id);
        /* A sender may have been between writing a remote magazine and pushing it: none can be trusted. */
        atomic_store_explicit(&owner->inbox, NULL, memory_order_relaxed);
        atomic_store_explicit(&owner->inbox_count, 0, memory_order_relaxed);
        if (is_mine(owner)) {
            continue;
        }
        owner_orphan(owner);
        struct depot *depot = &depots[owner->node];
        if (!lock_held(&depot->lock)) {
            owner->next_idle = depot->idle;
            depot->idle = owner;
        }
    }
}

void owner_settle(void) {
    if (likely(!atomic_load_explicit(&owners.unsettled, memory_order_acquire))) {
        return;
    }
    lock_take(&owners.settling);
    if (atomic_load_explicit(&owners.unsettled, memory_order_relaxed)) {
        bury_the_lost();
        owners.settled();
        atomic_store_explicit(&owners.unsettled, false, memory_order_release);
    }
    lock_drop(&owners.settling);
}

void owner_fork_child(bool inside, void (*settled)(void)) {
    if (lock_held(&owners.settling)) {
        return; /* this thread goes on with it when its signal handler returns */
    }
    bool at_once = inside || transit.arriving || transit.leaving;
    owners.survivor = owner_have();
    owners.settled = settled;
    atomic_store_explicit(&owners.unsettled, !at_once, memory_order_relaxed);
    if (at_once) {
        bury_the_lost();
    }
    if (at_once && !inside) {
        settled();
    }
}
