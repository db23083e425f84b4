/*
 * Batch and residence are separate. A refill asks for a batch that doubles while the misses go on, up to
 * CALL_OBJECTS objects or BATCH_BYTES: objects carved but not touched cost no memory. What a magazine may keep (its
 * capacity) starts small and doubles when it overflows after it ran empty, up to options.magazine_max bytes where the
 * class has many objects: how many of them are live varies by the square root of their number or more. A full
 * magazine that may not grow gives some of its older half back to the slabs. Neither that nor a refill moves more than
 * CALL_OBJECTS.
 *
 * What waits in a magazine keeps its slab from becoming empty, so it should come from few slabs: a refill takes from
 * one only, and of what other threads sent home (remote.h) the magazine gets no more than the objects it is short of.
 *
 * An owner that takes fresh memory for slabs makes the heap's peak larger, perhaps while its magazines hold what a
 * phase of the program left there. So each time this was a share of the heap, the magazines of small classes are
 * emptied before the next slab is made, and with them the empty slabs kept for their classes; slots that are wanted
 * still come back within a few calls. Those of large classes stay: programs often touch only parts of large objects,
 * and such objects laid out anew would make the rest resident too.
 *
 * All magazines of the process together hold at most the objects of a budget counted in pages pinned: an object pins at
 * least its page, whatever its size. A magazine that gets no slots works with none: one object at a time.
 */
#include "magazine.h"

#include <string.h>

#include "fault.h"
#include "meta.h"
#include "options.h"
#include "region.h"
#include "remote.h"

#define CAPACITY_FIRST ((size_t)6)
#define CAPACITY_MAX 2046

/* One call moves at most this many objects between magazine and slabs, from one slab or to at most so many; a sweep
 * more. */
#define CALL_OBJECTS ((size_t)64)
#define CALL_SLABS 16

#define BATCH_FIRST 4
#define BATCH_BYTES ((size_t)32 << 10)

/* A magazine holds this part of options.magazine_max in any heap. More it holds only of objects up to 8 KiB, few of
 * which fit into that, up to so many, and as far as it is this part of what the class has in the owner's slabs. */
#define SMALL_PART 4
#define MORE_BYTES ((size_t)8 << 10)
#define MORE_OBJECTS 30
#define HEAP_PART 4

/* See sweep: a share of the heap in fresh pages, and the largest objects that leave their magazines. */
#define SWEEP_SHARE 8
#define SWEEP_BYTES 1024

/* The pages that all magazines may pin: this many, and a share of the heap. */
#define BUDGET_PAGES (((size_t)128 << 20) >> PAGE_SHIFT)
#define BUDGET_SHARE 8

static void *const magazine_nil[2] = {NULL, MAGAZINE_GUARD};

const struct magazines magazines_none = {
    .tag = OWNER_NONE_TAG,
    .of = {[0 ... CLASS_COUNT - 1] = {(void **)magazine_nil}},
    .table = CLASS_TABLE_NONE,
};

const struct magazine magazine_empty = {(void **)magazine_nil};

__thread struct magazines *magazines_self = MAGAZINES_NONE;

/* In a fork child a few pages off, if other threads were just changing it, and so perhaps below zero. */
static _Atomic size_t pinned_pages;

static size_t pages_pinned(unsigned class, size_t nobjects) {
    return nobjects ? nobjects * pages_of(class_bytes(class)) : 0; /* none: the class may be another cache's by now */
}

static bool budget_take(unsigned class, size_t nobjects) {
    ptrdiff_t budget = (ptrdiff_t)(BUDGET_PAGES + (region_footprint() >> PAGE_SHIFT) / BUDGET_SHARE);
    size_t pages = pages_pinned(class, nobjects);
    size_t before = atomic_fetch_add_explicit(&pinned_pages, pages, memory_order_relaxed);
    if ((ptrdiff_t)(before + pages) <= budget) {
        return true;
    }
    atomic_fetch_sub_explicit(&pinned_pages, pages, memory_order_relaxed);
    return false;
}

static void budget_return(unsigned class, size_t nobjects) {
    atomic_fetch_sub_explicit(&pinned_pages, pages_pinned(class, nobjects), memory_order_relaxed);
}

/* Each doubling of the class's slabs in an owner doubles the size of the next one. */
static unsigned generation_of(uint32_t nslabs) {
    return 31 - (unsigned)__builtin_clz(nslabs + 1u);
}

/* By OWNER's thread, without the lock. */
static uint32_t slab_count(const struct owner *owner, unsigned class) {
    return __atomic_load_n(&owner_cache(owner, class)->nslabs, __ATOMIC_RELAXED);
}

/* Bytes of CLASS in OWNER's slabs, too many rather than too few: early slabs are smaller. */
static size_t bytes_in_slabs(const struct owner *owner, unsigned class) {
    uint32_t nslabs = slab_count(owner, class);
    return nslabs * slab_npages(class, generation_of(nslabs)) << PAGE_SHIFT;
}

static bool may_hold(const struct owner *owner, unsigned class, size_t capacity) {
    size_t bytes = capacity * class_bytes(class);
    if (capacity > CAPACITY_MAX || bytes > options.magazine_max) {
        return false;
    }
    bool more = capacity <= MORE_OBJECTS && class_bytes(class) <= MORE_BYTES;
    return bytes <= options.magazine_max / SMALL_PART || (more && bytes <= bytes_in_slabs(owner, class) / HEAP_PART);
}

/* Slots to begin with: half of what the thread before had, if that is more than usual. */
static size_t capacity_first(const struct owner *owner, unsigned class) {
    size_t wanted = max_size(CAPACITY_FIRST, owner_cache(owner, class)->before), capacity = 0;
    while (capacity < wanted && may_hold(owner, class, 2 * capacity + 2)) {
        capacity = 2 * capacity + 2;
    }
    return capacity;
}

static size_t slots_bytes(size_t capacity) {
    return (capacity + 2) * sizeof(void *);
}

size_t magazine_count(const struct owner *owner, unsigned class) {
    const struct owner_cache *cache = owner_cache(owner, class);
    void **top = __atomic_load_n(&owner_magazine(owner, class)->top, __ATOMIC_RELAXED);
    return __atomic_load_n(&cache->capacity, __ATOMIC_RELAXED)
               ? (size_t)(top - __atomic_load_n(&cache->slots, __ATOMIC_RELAXED))
               : 0;
}

/* The magazine is SLOTS from now on: a NULL, COUNT objects, room for CAPACITY in all, a guard. */
static void magazine_set_slots(struct owner *owner, unsigned class, void **slots, size_t count, size_t capacity) {
    struct owner_cache *cache = owner_cache(owner, class);
    magazine_set_top(owner_magazine(owner, class), slots + count);
    __atomic_store_n(&cache->slots, slots, __ATOMIC_RELAXED);
    __atomic_store_n(&cache->capacity, (uint16_t)capacity, __ATOMIC_RELAXED);
}

/* Its thread's to write; reports read it. */
static void set_batch(struct owner_cache *cache, size_t batch) {
    __atomic_store_n(&cache->batch, (uint8_t)batch, __ATOMIC_RELAXED);
}

void magazine_init(struct owner *owner) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        owner->magazines.of[class] = magazine_empty;
    }
    owner->magazines.table = CLASS_TABLE_NONE;
}

/* Doubles the slots, keeping the objects. False: at most, over budget or no memory. */
static bool magazine_grow(struct owner *owner, unsigned class) {
    const struct owner_cache *cache = owner_cache(owner, class);
    size_t old = cache->capacity, grown = old ? 2 * old + 2 : capacity_first(owner, class);
    if (!grown || !may_hold(owner, class, grown) || !budget_take(class, grown - old)) {
        return false;
    }
    void **slots = meta_alloc_dirty(slots_bytes(grown));
    if (!slots) {
        budget_return(class, grown - old);
        return false;
    }
    size_t count = magazine_count(owner, class);
    void **before = cache->slots;
    slots[0] = NULL;
    slots[grown + 1] = MAGAZINE_GUARD;
    memcpy(slots + 1, before + 1, count * sizeof *slots);
    magazine_set_slots(owner, class, slots, count, grown);
    if (old) {
        meta_free(before, slots_bytes(old));
    }
    return true;
}

static void magazine_drop_slots(struct owner *owner, unsigned class) {
    owner_lock(owner);
    size_t capacity = owner_cache(owner, class)->capacity;
    void **slots = owner_cache(owner, class)->slots;
    magazine_set_slots(owner, class, (void **)magazine_nil, 0, 0);
    set_batch(owner_cache(owner, class), 0);
    owner_cache(owner, class)->before = (uint16_t)(capacity ? capacity / 2 - 1 : 0);
    owner_unlock(owner);
    if (capacity) {
        meta_free(slots, slots_bytes(capacity));
        budget_return(class, capacity);
    }
}

/* Up to N of SLAB's objects into the end of OUT, first to be used last; bit i of *RAW: OUT[i] is to be constructed.
 * With the lock. */
static size_t take_from(struct owner *owner, struct slab *slab, void **out, size_t n, uint64_t *raw) {
    size_t taken = slab_take(slab, out, n);
    *raw = slab_construct(slab, out + n - taken, taken) << (n - taken) % 64;
    owner_file_slab(owner, slab);
    return taken;
}

/* The same of one own slab, a full one rather than an empty one. With the lock. */
static size_t take_from_slabs(struct owner *owner, unsigned class, void **out, size_t n, uint64_t *raw) {
    for (unsigned bin = SLAB_BUSY; bin <= SLAB_EMPTY; bin++) {
        struct slab *slab = owner_cache(owner, class)->list[bin];
        if (slab) {
            return take_from(owner, slab, out, n, raw);
        }
    }
    return 0;
}

/* By its own thread; not the magazine of CLASS, which is being filled. */
static void sweep(struct owner *owner, unsigned class) {
    owner->fresh_pages = 0;
    for (unsigned other = 0; other < CLASS_COUNT && sizeclass_bytes(other) <= SWEEP_BYTES; other++) {
        if (other != class) {
            magazine_flush_class(owner, other, true);
            owner_lock(owner);
            owner_drop_empty_slabs_of(owner, other);
            owner_unlock(owner);
        }
    }
}

static struct slab *slab_create_counted(struct owner *owner, unsigned class) {
    if (owner->fresh_pages >= (region_footprint() >> PAGE_SHIFT) / SWEEP_SHARE) {
        sweep(owner, class);
    }
    unsigned generation = generation_of(slab_count(owner, class));
    struct slab *slab = slab_create(owner, owner_tag(owner), owner->node, class, generation);
    if (slab) {
        owner->fresh_pages += slab->npages - (size_t)__builtin_popcountll(slab->touched);
    }
    return slab;
}

static struct slab *slab_for(struct owner *owner, unsigned class) {
    struct slab *slab = owner_steal_slab(owner, class);
    if (slab) {
        return slab;
    }
    if (kmem_is_class(class) && (slab = kmem_unpark(kmem_class_of(class)))) {
        slab_retag(slab, owner, owner_tag(owner));
        return slab;
    }
    return slab_create_counted(owner, class);
}

size_t magazine_take(struct owner *owner, unsigned class, void **out, size_t n, uint64_t *raw) {
    owner_lock(owner);
    size_t got = take_from_slabs(owner, class, out, n, raw);
    owner_unlock(owner);
    if (got) {
        return got;
    }
    struct slab *slab = slab_for(owner, class);
    if (!slab) {
        return 0;
    }
    owner_lock(owner);
    owner_add_slab(owner, slab);
    got = take_from(owner, slab, out, n, raw);
    owner_unlock(owner);
    return got;
}

void *magazine_take_one(struct owner *owner, unsigned class) {
    void *p;
    uint64_t raw;
    return magazine_take(owner, class, &p, 1, &raw) ? p : NULL;
}

size_t magazine_next_batch(struct owner *owner, unsigned class) {
    struct owner_cache *cache = owner_cache(owner, class);
    size_t most = min_size(CALL_OBJECTS, max_size(1, BATCH_BYTES / class_bytes(class)));
    size_t batch = min_size(cache->batch ? 2 * (size_t)cache->batch : BATCH_FIRST, most);
    if (batch > cache->capacity) {
        magazine_grow(owner, class);
    }
    batch = min_size(batch, cache->capacity);
    set_batch(cache, batch);
    return batch;
}

void *magazine_refill(struct owner *owner, unsigned class) {
    struct magazine *m = owner_magazine(owner, class);
    if (unlikely(remote_waits(owner)) && remote_receive(owner, class)) {
        void *received = magazine_pop_from(m);
        if (received) {
            return received;
        }
    }
    owner_cache(owner, class)->missed = true;
    size_t batch = magazine_next_batch(owner, class);
    if (!batch) {
        return magazine_take_one(owner, class);
    }
    void **slots = owner_cache(owner, class)->slots + 1;
    uint64_t raw;
    size_t got = magazine_take(owner, class, slots, batch, &raw);
    if (!got) {
        return NULL;
    }
    memmove(slots, slots + (batch - got), got * sizeof *slots);
    magazine_set_top(m, slots + got - 2);
    return slots[got - 1];
}

/* The N objects from SLOTS on go back to their slabs, up to the first of the SLABS+1st one. Returns how many. With the
 * lock. */
static size_t give_to_slabs(struct owner *owner, void **slots, size_t n, size_t slabs) {
    size_t given = 0;
    for (; given < n && slabs; slabs--) {
        struct slab *slab = slab_of(slots[given]);
        given += slab_give(slab, slots + given, n - given);
        owner_file_slab(owner, slab);
    }
    return given;
}

/* A call's share of the older half goes back to the slabs, and the newest objects take its place: what is left stays in
 * order but for them, and nothing else moves. The next call goes on where this one ended. With the lock. */
static void magazine_drain(struct owner *owner, unsigned class) {
    struct owner_cache *cache = owner_cache(owner, class);
    struct magazine *m = owner_magazine(owner, class);
    size_t count = magazine_count(owner, class), n = min_size(CALL_OBJECTS, count - count / 2);
    if (cache->drained + 2 * n > count) {
        cache->drained = 0; /* what is up there is the newest */
    }
    void **slots = cache->slots + 1 + cache->drained;
    n = give_to_slabs(owner, slots, n, CALL_SLABS);
    magazine_set_top(m, m->top - n);
    memmove(slots, m->top + 1, n * sizeof *slots);
    cache->drained += (uint16_t)n;
}

static bool is_full(const struct owner *owner, unsigned class) {
    return magazine_count(owner, class) == owner_cache(owner, class)->capacity;
}

static bool try_push(struct owner *owner, unsigned class, void *p) {
    if (is_full(owner, class)) {
        return false;
    }
    struct magazine *m = owner_magazine(owner, class);
    m->top[1] = p;
    magazine_set_top(m, m->top + 1);
    return true;
}

bool magazine_put(struct owner *owner, unsigned class, void *p) {
    return try_push(owner, class, p) || (magazine_grow(owner, class) && try_push(owner, class, p));
}

/* More room would have saved something only if the magazine ran empty since it was last full: a program that frees what
 * it will not ask for again fills no larger magazines. */
static bool magazine_grow_if_it_pays(struct owner *owner, unsigned class) {
    struct owner_cache *cache = owner_cache(owner, class);
    bool pays = cache->missed || !cache->capacity;
    cache->missed = false;
    return pays && magazine_grow(owner, class);
}

void magazine_push_slow(struct owner *owner, unsigned class, void *p) {
    struct slab *slab = slab_of(p);
    long index = slab_index(slab, p);
    if (index < 0) {
        fault_pointer("free of a pointer inside an object", p);
    }
    if (*owner_magazine(owner, class)->top == p || slab_is_free(slab, (size_t)index)) {
        fault_pointer("double free", p);
    }
    struct owner_cache *cache = owner_cache(owner, class);
    set_batch(cache, cache->batch / 2u); /* a run of frees: the next misses are not consecutive */
    if (is_full(owner, class) && !magazine_grow_if_it_pays(owner, class)) {
        owner_lock(owner);
        magazine_drain(owner, class);
        owner_unlock(owner);
    }
    if (!try_push(owner, class, p)) {
        owner_lock(owner);
        slab_give(slab, &p, 1);
        owner_file_slab(owner, slab);
        owner_unlock(owner);
    }
}

/* Counted with the lock: who destroys a cache may be emptying the magazine too. */
void magazine_flush_class(struct owner *owner, unsigned class, bool release) {
    if (!__atomic_load_n(&owner_cache(owner, class)->capacity, __ATOMIC_RELAXED)) {
        return;
    }
    owner_lock(owner);
    size_t count = magazine_count(owner, class);
    give_to_slabs(owner, owner_cache(owner, class)->slots + 1, count, count);
    magazine_set_top(owner_magazine(owner, class), owner_cache(owner, class)->slots);
    owner_unlock(owner);
    if (release) {
        magazine_drop_slots(owner, class);
    }
}

void magazine_flush(struct owner *owner, bool release) {
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        magazine_flush_class(owner, class, release);
    }
}

static size_t pinned_by(const struct owner *owner) {
    size_t pinned = 0;
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        pinned += pages_pinned(class, owner_cache(owner, class)->capacity);
    }
    return pinned;
}

void magazine_abandon(struct owner *owner) {
    atomic_fetch_sub_explicit(&pinned_pages, pinned_by(owner), memory_order_relaxed);
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        *owner_magazine(owner, class) = magazine_empty;
        if (kmem_is_class(class)) {
            owner_entry(owner, class)->remote = NULL;
        }
        owner_cache(owner, class)->capacity = 0;
        set_batch(owner_cache(owner, class), 0);
    }
}

static bool is_out(const void *p) {
    const struct slab *slab = slab_of(p);
    long index = slab_index(slab, p);
    return index >= 0 && !slab_is_free(slab, (size_t)index);
}

static const char *check_objects(const struct owner *owner, unsigned class) {
    const struct owner_cache *cache = owner_cache(owner, class);
    size_t count = magazine_count(owner, class);
    void **slots = owner_magazine(owner, class)->top - count;
    if (*slots || slots[cache->capacity + 1] != MAGAZINE_GUARD || count > cache->capacity) {
        return "a magazine is not between its NULL and its guard";
    }
    for (size_t i = 1; i <= count; i++) {
        if (pagemap_tag(slots[i]) != (owner_tag(owner) | class)) {
            return "an object in a magazine is another owner's or class's";
        }
        if (!is_out(slots[i])) {
            return "an object in a magazine is in its slab too";
        }
    }
    return NULL;
}

const char *magazine_check(const struct owner *owner) {
    for (unsigned class = 0; class < TAG_CLASSES; class = owner_next_class(owner, class)) {
        const char *broken = check_objects(owner, class);
        if (broken) {
            return broken;
        }
    }
    size_t pinned = pinned_by(owner);
    return pinned <= atomic_load_explicit(&pinned_pages, memory_order_relaxed) ? NULL
                                                                               : "magazines exceed what was budgeted";
}
