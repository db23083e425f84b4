/* Where a magazine's objects come from, in which order and how many; what its slots cost; when it looks at a free. */
#include "lock_wait.h"
#include "magazine.h"
#include "meta.h"
#include "region.h"
#include "remote.h"
#include "support.h"

/* Enough objects to overflow any magazine. */
#define MANY 1200

static void *object[MANY];

static void allocate(size_t n, size_t bytes) {
    for (size_t i = 0; i < n; i++) {
        object[i] = slabmalloc_malloc(bytes);
        MUST(object[i] != NULL);
    }
}

static void release(size_t n) {
    for (size_t i = 0; i < n; i++) {
        slabmalloc_free(object[i]);
    }
}

static size_t batch_max(unsigned class) {
    return min_size(64, max_size(1, 32 * KIB / sizeclass_bytes(class)));
}

Test(refill, refill_asks_for_more_while_misses_go_on_up_to_64_objects_or_32_kib) {
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        size_t largest = 0;
        for (size_t i = 0; i < 400; i++) {
            object[i] = slabmalloc_malloc(sizeclass_bytes(class));
            largest = max_size(largest, magazine_count(owner_have(), class) + 1);
        }
        MUST(largest <= batch_max(class) && largest >= batch_max(class) / 2); /* slots come in powers of two minus 1 */
        release(400);
    }
}

Test(refill, first_refill_is_small) {
    slabmalloc_free(slabmalloc_malloc(16));
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        object[0] = slabmalloc_malloc(sizeclass_bytes(class));
        MUST(magazine_count(owner_have(), class) + 1 <= 4);
    }
    allocate(MANY, 16);
    magazine_flush(owner_have(), true); /* what was learned goes with the slots */
    object[0] = slabmalloc_malloc(16);
    MUST(magazine_count(owner_have(), sizeclass_of(16)) + 1 == 4);
}

/* Growth keeps all; where there is none the oldest go back to the slabs. Each time the next misses count less. */
Test(refill, full_magazine_grows_or_gives_its_oldest_objects_back) {
    static const size_t sizes[] = {16, 100, 1000, 8 * KIB};
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        unsigned class = sizeclass_of(sizes[k]);
        const struct owner *owner = owner_get();
        const struct owner_cache *cache = &owner->cache[class];
        unsigned drains = 0;
        allocate(MANY, sizes[k]);
        for (size_t i = 0; i < MANY; i++) {
            size_t count = magazine_count(owner, class), capacity = cache->capacity, batch = cache->batch;
            bool full = count == capacity, grows;
            slabmalloc_free(object[i]);
            grows = cache->capacity > capacity;
            size_t drained = full && !grows ? min_size(64, count - count / 2) : 0;
            MUST(cache->batch == (full ? batch / 2 : batch));
            MUST(!grows || (full && cache->capacity == 2 * capacity + 2));
            MUST(magazine_count(owner, class) == count - drained + 1);
            for (size_t j = 0; j < count / 2 && j <= i; j++) {
                MUST(!slab_is_free(slab_of(object[i - j]), (size_t)slab_index(slab_of(object[i - j]), object[i - j])));
            }
            drains += full && !grows;
        }
        MUST(drains > 0);
        MUST_BE_SOUND();
    }
}

/* Many objects; the slabs they are in, each once; how many objects were in each. */
#define LOTS 4800
static void *lots[LOTS];
static struct slab *slabs[LOTS];
static size_t nfree[LOTS], nslabs;

/* Moves one object of each slab to the front of LOTS: while they live, so do the slabs. The others are shuffled. */
static void note_slabs(struct rng *rng) {
    nslabs = 0;
    for (size_t i = 0; i < LOTS; i++) {
        size_t at = 0;
        while (at < nslabs && slabs[at] != slab_of(lots[i])) {
            at++;
        }
        if (at == nslabs) {
            void *first = lots[i];
            lots[i] = lots[nslabs];
            lots[nslabs] = first;
            slabs[nslabs++] = slab_of(first);
            nfree[at] = slabs[at]->nfree;
        }
    }
    for (size_t i = LOTS - 1; i > nslabs; i--) {
        size_t j = nslabs + rng_below(rng, i - nslabs + 1);
        void *swapped = lots[i];
        lots[i] = lots[j];
        lots[j] = swapped;
    }
}

/* What happened to the slabs since the last look. */
static void must_have_moved_little(void) {
    size_t objects = 0, changed = 0;
    for (size_t i = 0; i < nslabs; i++) {
        size_t now = slabs[i]->nfree;
        objects += now > nfree[i] ? now - nfree[i] : nfree[i] - now;
        changed += now != nfree[i];
        nfree[i] = now;
    }
    MUST(objects <= 64 && changed <= 16);
}

/* Every STEP'th object is freed and allocated again; AFRESH: from slabs. */
static void replace_each(size_t step, size_t bytes, bool afresh) {
    for (size_t i = nslabs; i < LOTS; i += step) {
        slabmalloc_free(lots[i]);
        must_have_moved_little();
    }
    if (afresh) {
        magazine_flush(owner_have(), false);
        for (size_t i = 0; i < nslabs; i++) {
            nfree[i] = slabs[i]->nfree;
        }
    }
    for (size_t i = nslabs; i < LOTS; i += step) {
        lots[i] = slabmalloc_malloc(bytes);
        must_have_moved_little();
    }
}

Test(refill, one_call_moves_at_most_64_objects_of_16_slabs) {
    static const size_t sizes[] = {16, 100, 512, 3000};
    struct rng rng = {5};
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        for (size_t i = 0; i < LOTS; i++) {
            lots[i] = slabmalloc_malloc(sizes[k]);
        }
        note_slabs(&rng);
        for (unsigned round = 0; round < 3; round++) {
            replace_each(1, sizes[k], false);
            replace_each(38, sizes[k], true);
        }
        for (size_t i = 0; i < LOTS; i++) {
            slabmalloc_free(lots[i]);
        }
    }
    MUST_BE_SOUND();
}

static void free_forty(unsigned index) {
    (void)index;
    release(40);
}

static bool is_one_of(const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (object[i] == p) {
            return true;
        }
    }
    return false;
}

Test(refill, refill_takes_what_waits_in_the_inbox_before_anything_else) {
    allocate(100, 64);
    struct owner *owner = owner_have();
    unsigned class = sizeclass_of(64);
    threads_run(1, free_forty);
    MUST(owner->inbox && owner->inbox_count == 1);
    for (size_t n = magazine_count(owner, class); n; n--) {
        MUST(!is_one_of(slabmalloc_malloc(64), 40));
    }
    MUST(owner->inbox);
    for (size_t i = 0; i < 40; i++) {
        MUST(is_one_of(slabmalloc_malloc(64), 40));
        MUST(!owner->inbox && owner->inbox_count == 0);
    }
    MUST(!is_one_of(slabmalloc_malloc(64), 40));
    MUST_BE_SOUND();
}

Test(refill, of_what_was_sent_home_the_magazine_gets_only_the_class_that_is_wanted) {
    enum { PAIRS = 20 };
    const struct owner *owner = owner_get();
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        object[i] = slabmalloc_malloc(i % 2 ? 96 : 64);
    }
    magazine_flush(owner_get(), false);
    threads_run(1, free_forty);
    MUST(owner->inbox_count == 1);
    MUST(is_one_of(slabmalloc_malloc(64), 2 * PAIRS) && !owner->inbox);
    MUST(magazine_count(owner, sizeclass_of(64)) == PAIRS - 1 && magazine_count(owner, sizeclass_of(96)) == 0);
    for (size_t i = 1; i < 2 * PAIRS; i += 2) {
        MUST(slab_is_free(slab_of(object[i]), (size_t)slab_index(slab_of(object[i]), object[i])));
    }
    MUST_BE_SOUND();
}

/* Two slabs with few objects free each, while the batch is larger than that. */
Test(refill, refill_takes_from_one_slab) {
    const struct owner *owner = owner_get();
    unsigned class = sizeclass_of(512);
    allocate(400, 512);
    const struct slab *first = slab_of(object[0]), *second = slab_of(object[399]);
    MUST(first != second);
    magazine_flush(owner_get(), false);
    while (owner->cache[class].batch < 16) {
        slabmalloc_malloc(512); /* the batch grows; what is not full yet is filled up */
    }
    magazine_flush(owner_get(), false);
    while (owner_cache(owner, class)->list[SLAB_BUSY] || owner_cache(owner, class)->list[SLAB_SPARSE]) {
        magazine_take_one(owner_get(), class);
    }
    for (size_t i = 0; i < 3; i++) {
        slabmalloc_free(object[i]);
        slabmalloc_free(object[399 - i]);
    }
    magazine_flush(owner_get(), false);
    MUST(first->nfree == 3 && second->nfree == 3);
    slabmalloc_malloc(512);
    MUST(magazine_count(owner, class) == 2 && first->nfree + second->nfree == 3);
    MUST_BE_SOUND();
}

/* Without slots every malloc is a refill of one and every free goes to its slab. */
static void use_no_slots(void) {
    magazine_flush(owner_get(), true);
    options.magazine_max = 0;
}

/* Frees every object in SLAB but the first KEEP of OBJECT's. */
static size_t free_in_slab(const struct slab *slab, size_t keep) {
    size_t freed = 0;
    for (size_t i = 0; i < MANY; i++) {
        if (object[i] && slab_of(object[i]) == slab) {
            if (keep) {
                keep--;
                continue;
            }
            slabmalloc_free(object[i]);
            object[i] = NULL;
            freed++;
        }
    }
    return freed;
}

Test(refill, busy_slabs_serve_before_sparse_ones_and_these_before_empty_ones) {
    use_no_slots();
    allocate(MANY, 256);
    struct slab *sparse = slab_of(object[0]), *empty = slab_of(object[sparse->nobjects]);
    struct slab *busy = slab_of(object[(size_t)sparse->nobjects + empty->nobjects]);
    MUST(sparse != empty && empty != busy && owner_have()->cache[sparse->class].list[SLAB_BUSY] != busy);
    while (owner_have()->cache[sparse->class].list[SLAB_BUSY] || owner_have()->cache[sparse->class].list[SLAB_SPARSE]) {
        MUST(slabmalloc_malloc(256)); /* fills the last slab */
    }
    size_t in_busy = free_in_slab(busy, busy->nobjects - 2), in_sparse = free_in_slab(sparse, 1);
    size_t in_empty = free_in_slab(empty, 0);
    MUST(busy->bin == SLAB_BUSY && sparse->bin == SLAB_SPARSE && empty->bin == SLAB_EMPTY);
    for (size_t i = 0; i < in_busy + in_sparse + in_empty; i++) {
        const struct slab *expected = i < in_busy ? busy : i < in_busy + in_sparse ? sparse : empty;
        MUST(slab_of(slabmalloc_malloc(256)) == expected);
    }
    MUST_BE_SOUND();
}

Test(refill, each_doubling_of_the_slabs_of_a_class_doubles_the_next_ones_size) {
    use_no_slots();
    unsigned class = sizeclass_of(64);
    const struct slab *last = NULL;
    for (unsigned have = 0; have < 40;) {
        const struct slab *slab = slab_of(slabmalloc_malloc(64));
        if (slab != last) {
            unsigned generation = 31 - (unsigned)__builtin_clz(have + 1);
            MUST(slab->npages == slab_npages(class, generation));
            last = slab;
            have++;
        }
    }
}

Test(refill, growing_and_dropping_slots_costs_no_metadata) {
    size_t mapped = 0;
    for (unsigned round = 0; round < 3000; round++) {
        allocate(500, 64);
        release(500);
        MUST(owner_have()->cache[sizeclass_of(64)].capacity > 100);
        magazine_flush(owner_have(), true);
        mapped = round == 10 ? meta_mapped() : mapped;
    }
    MUST(meta_mapped() == mapped);
}

/* --- What slots cost --- */

/* Leaves not one piece of metadata of any size, and no way to get more. */
static void exhaust_metadata(void) {
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    for (size_t bytes = 1 * MIB; bytes >= META_MIN; bytes /= 2) {
        while (meta_alloc_dirty(bytes)) {
        }
    }
}

/* What all magazines may pin in a small heap. */
#define BUDGET (128 * MIB)

/* The pages this thread's magazines pin after each got as many slots as it can get. (Those of small classes may have
 * lost them again when the heap grew for others.) */
static size_t pages_pinned_by_greed(void) {
    magazine_flush(owner_get(), true);
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        for (unsigned round = 0; round < 10; round++) { /* each may double the slots once */
            allocate(MANY, sizeclass_bytes(class));
            release(MANY);
        }
    }
    size_t pages = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        pages += owner_have()->cache[class].capacity * pages_of(sizeclass_bytes(class));
    }
    return pages;
}

Test(refill, budget_is_128_mib_and_an_eighth_of_the_heap) {
    options.magazine_max = 64 * MIB;
    size_t small = pages_pinned_by_greed() * PAGE_BYTES;
    MUST(small <= BUDGET + region_footprint() / 8);
    MUST(small >= BUDGET / 2);      /* a magazine that would go beyond stays at half of it */
    region_account((ptrdiff_t)GIB); /* as if so much were mapped */
    size_t large = pages_pinned_by_greed() * PAGE_BYTES;
    MUST(large <= BUDGET + region_footprint() / 8);
    MUST(large >= small + GIB / 8 / 2);
}

Test(refill, slots_refused_for_want_of_metadata_cost_no_budget) {
    options.magazine_max = 64 * MIB;
    magazine_flush(owner_get(), true);
    allocate(MANY, 64);
    slabmalloc_free(object[0]); /* some slots */
    MUST(owner_have()->cache[sizeclass_of(64)].capacity < 511);
    object[0] = slabmalloc_malloc(64);
    exhaust_metadata();
    for (unsigned round = 0; round < 100; round++) {
        release(MANY); /* overflows and would grow */
        for (size_t i = 0; i < MANY; i++) {
            object[i] = slabmalloc_malloc(64);
        }
    }
    fault_disarm();
    size_t pinned_bytes = pages_pinned_by_greed() * PAGE_BYTES;
    MUST(pinned_bytes >= BUDGET / 2 && pinned_bytes <= BUDGET + region_footprint() / 8);
}

Test(refill, magazines_without_slots_cost_no_metadata) {
    use_no_slots();
    allocate(MANY, 64);
    size_t mapped = meta_mapped();
    for (unsigned round = 0; round < 20; round++) {
        release(MANY);
        allocate(MANY, 64);
    }
    MUST(meta_mapped() <= mapped + 64 * KIB);
}

static pthread_barrier_t all_greedy, child_ended;
static size_t pages_of_first;

static void greed_in_child(unsigned index) {
    (void)index;
    MUST(pages_pinned_by_greed() >= pages_of_first / 4 * 3);
}

static void child_gets_as_much(void *arg) {
    (void)arg;
    magazine_flush(owner_get(), true);
    threads_run(1, greed_in_child);
}

static void greed_beside_forker(unsigned index) {
    (void)index;
    size_t pages = pages_pinned_by_greed() + pages_of_first;
    MUST(pages * PAGE_BYTES <= BUDGET + region_footprint() / 8);
}

static void child_counts_its_own(void *arg) {
    (void)arg;
    threads_run(1, greed_beside_forker);
}

Test(refill, fork_child_counts_what_the_thread_that_forked_pinned) {
    options.magazine_max = 64 * MIB;
    pages_of_first = pages_pinned_by_greed();
    child_must_end_well(child_counts_its_own, NULL);
}

static void be_greedy_and_stay(unsigned index) {
    static pthread_mutex_t in_turn = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&in_turn);
    size_t pages = pages_pinned_by_greed();
    pages_of_first = max_size(pages_of_first, pages);
    pthread_mutex_unlock(&in_turn);
    pthread_barrier_wait(&all_greedy);
    if (index == 0) {
        child_must_end_well(child_gets_as_much, NULL);
    }
    pthread_barrier_wait(&child_ended);
}

Test(refill, fork_child_has_what_threads_it_does_not_have_pinned) {
    SKIP_UNDER_TSAN("a fork child starts threads");
    options.magazine_max = 64 * MIB;
    pthread_barrier_init(&all_greedy, NULL, 4);
    pthread_barrier_init(&child_ended, NULL, 4);
    threads_run(4, be_greedy_and_stay);
}

/* --- Locking --- */

static struct owner *owner_used;
static void *object_used;

static void refill_it(void) {
    magazine_refill(owner_used, 0);
}

static void take_one(void) {
    object_used = magazine_take_one(owner_used, 0);
}

static void flush_it(void) {
    magazine_flush(owner_used, true);
}

static void push_it(void) {
    magazine_push_slow(owner_used, 0, object_used);
}

static void return_its_inbox(void) {
    remote_return_inbox(owner_used);
}

static void give_it_directly(void) {
    remote_free(NULL, pagemap_tag(object_used), object_used);
}

Test(refill, every_change_to_slabs_waits_for_the_owners_lock) {
    owner_used = owner_borrow();
    struct lock *lock = owner_used->lock;
    MUST(waits_for(lock, refill_it));
    MUST(waits_for(lock, flush_it));
    MUST(waits_for(lock, take_one));
    MUST(waits_for(lock, give_it_directly));
    MUST(waits_for(lock, return_its_inbox));
    options.magazine_max = 0; /* no slots: pushing goes to the slab */
    MUST(waits_for(lock, take_one));
    MUST(waits_for(lock, push_it));
    owner_return(owner_used);
    MUST_BE_SOUND();
}

/* --- What a full magazine sees --- */

/* Frees objects from the second on until the magazine of CLASS is full. */
static void fill_by_frees(unsigned class) {
    const struct owner *owner = owner_have();
    for (size_t i = 1; i == 1 || magazine_count(owner, class) < owner->cache[class].capacity; i++) {
        MUST(i < MANY);
        slabmalloc_free(object[i]);
    }
}

static void free_inside_when_full(void *arg) {
    (void)arg;
    allocate(MANY, 100);
    fill_by_frees(sizeclass_of(100));
    slabmalloc_free((char *)object[0] + 16);
}

Test(refill, free_inside_an_object_aborts_at_once_when_the_magazine_is_full) {
    must_die_of("free of a pointer inside an object", free_inside_when_full, NULL);
}

static void free_again_when_full(void *arg) {
    (void)arg;
    allocate(MANY, 100);
    use_no_slots();
    slabmalloc_free(object[0]); /* into its slab */
    options.magazine_max = 32 * KIB;
    fill_by_frees(sizeclass_of(100));
    slabmalloc_free(object[0]);
}

Test(refill, double_free_of_an_object_in_its_slab_aborts_at_once_when_the_magazine_is_full) {
    must_die_of("double free", free_again_when_full, NULL);
}

/* As many objects of 1 KiB as a heap of ordinary regions takes anew between two sweeps, and some. */
#define GROWTH 1100

static void leave_in_magazine(size_t n, size_t bytes) {
    allocate(n, bytes);
    release(n);
    MUST(magazine_count(owner_have(), sizeclass_of(bytes)) > 0);
}

Test(refill, growing_heap_takes_back_what_magazines_of_small_classes_hold) {
    leave_in_magazine(MANY, 64);
    leave_in_magazine(3, 640);
    allocate(GROWTH, 1 * KIB);
    const struct owner *owner = owner_have();
    MUST(!owner->cache[sizeclass_of(64)].capacity && !owner->cache[sizeclass_of(64)].nslabs);
    MUST(!owner->cache[sizeclass_of(640)].capacity && !owner->cache[sizeclass_of(640)].nslabs);
    MUST_BE_SOUND();
    release(GROWTH);
}

Test(refill, growing_heap_leaves_magazines_of_large_classes_and_its_own) {
    leave_in_magazine(3, 8 * KIB);
    size_t large = magazine_count(owner_have(), sizeclass_of(8 * KIB));
    allocate(GROWTH, 1 * KIB);
    MUST(magazine_count(owner_have(), sizeclass_of(8 * KIB)) == large);
    MUST(owner_have()->cache[sizeclass_of(1 * KIB)].capacity > 0);
    release(GROWTH);
}

Test(refill, heap_that_grows_into_resident_memory_leaves_all_magazines) {
    allocate(GROWTH, 1 * KIB);
    release(GROWTH);
    magazine_flush(owner_have(), true); /* all of it is free, and resident */
    leave_in_magazine(100, 64);
    size_t small = magazine_count(owner_have(), sizeclass_of(64));
    owner_have()->fresh_pages = 0;
    allocate(GROWTH / 2, 1 * KIB);
    MUST(magazine_count(owner_have(), sizeclass_of(64)) == small);
    release(GROWTH / 2);
}
