/* Totals are right to the byte when nobody else allocates, and the check finds what is broken. */
#include "buddy.h"
#include "lock.h"
#include "magazine.h"
#include "owner.h"
#include "pagemap.h"
#include "region.h"
#include "run.h"
#include "support.h"
#include "zone.h"

/* Every page and byte is counted once. */
static void must_add_up(const struct slabmalloc_stats *s) {
    MUST(s->used_bytes == s->slab_used_bytes + s->run_bytes + s->mapping_bytes);
    MUST(s->zone_bytes == s->slab_bytes + s->run_bytes + s->run_cached_bytes + s->zone_free_bytes);
    MUST(s->mapped_bytes == s->zone_bytes + s->mapping_bytes + s->mapping_cached_bytes);
    MUST(s->slab_used_bytes + s->magazine_bytes <= s->slab_bytes);
    MUST(s->zone_dirty_bytes <= s->zone_free_bytes);
}

Test(stats, used_grows_by_what_is_allocated_and_comes_back) {
    struct rng rng = {8};
    static struct {
        void *p;
        size_t usable;
    } live[2000];
    size_t start = stats_now().used_bytes, sum = 0;
    for (unsigned step = 0; step < 30000 / SUPPORT_SLOWDOWN; step++) {
        size_t i = rng_below(&rng, COUNT_OF(live));
        if (live[i].p) {
            sum -= live[i].usable;
            slabmalloc_free(live[i].p);
            live[i].p = NULL;
        } else {
            live[i].p = slabmalloc_malloc(random_size(&rng, rng_below(&rng, 16) ? 20 * KIB : 4 * MIB));
            live[i].usable = slabmalloc_usable_size(live[i].p);
            sum += live[i].usable;
        }
        if (step % 50 == 0) {
            struct slabmalloc_stats s = stats_now();
            MUST(s.used_bytes == start + sum);
            must_add_up(&s);
        }
    }
    for (size_t i = 0; i < COUNT_OF(live); i++) {
        slabmalloc_free(live[i].p);
    }
    slabmalloc_trim();
    struct slabmalloc_stats s = stats_now();
    must_add_up(&s);
    MUST(s.used_bytes == start);
    MUST(s.slabs == 0 && s.slab_bytes == 0 && s.magazine_bytes == 0);
    MUST(s.run_cached_bytes == 0 && s.mapping_cached_bytes == 0 && s.zone_dirty_bytes == 0);
    MUST(s.purged_bytes > 0);
    MUST_BE_SOUND();
}

Test(stats, each_route_is_counted_under_its_name) {
    slabmalloc_trim();
    struct slabmalloc_stats before = stats_now();
    void *slab = slabmalloc_malloc(1000), *run = slabmalloc_malloc(100 * KIB), *mapping = slabmalloc_malloc(6 * MIB);
    struct slabmalloc_stats now = stats_now();
    MUST(now.slab_used_bytes == before.slab_used_bytes + slabmalloc_usable_size(slab));
    MUST(now.run_bytes == before.run_bytes + 100 * KIB);
    MUST(now.mapping_bytes == before.mapping_bytes + 6 * MIB && now.mappings == before.mappings + 1);
    slabmalloc_free(slab);
    slabmalloc_free(run);
    slabmalloc_free(mapping);
    now = stats_now();
    MUST(now.magazine_bytes > before.magazine_bytes);
    MUST(now.run_bytes == before.run_bytes && now.mapping_bytes == before.mapping_bytes);
    MUST(now.mappings == before.mappings);
}

static pthread_barrier_t meet;

static void wait_active(unsigned index) {
    (void)index;
    void *p = slabmalloc_malloc(10);
    pthread_barrier_wait(&meet);
    pthread_barrier_wait(&meet);
    slabmalloc_free(p);
}

static void *wait_thread(void *arg) {
    (void)arg;
    wait_active(0);
    return NULL;
}

Test(stats, owners_active_counts_threads_with_a_cache) {
    pthread_t thread[7];
    pthread_barrier_init(&meet, NULL, 8);
    for (unsigned i = 0; i < 7; i++) {
        pthread_create(&thread[i], NULL, wait_thread, NULL);
    }
    pthread_barrier_wait(&meet);
    MUST(stats_now().owners_active == 8);
    pthread_barrier_wait(&meet);
    for (unsigned i = 0; i < 7; i++) {
        pthread_join(thread[i], NULL);
    }
    MUST(stats_now().owners_active == 1);
}

/* --- The check finds what is broken --- */

static void *object[100];

/* A heap with partial slabs, free blocks and runs, and one slab of it. */
static struct slab *furnish(void) {
    for (size_t i = 0; i < COUNT_OF(object); i++) {
        object[i] = slabmalloc_malloc(200);
    }
    magazine_flush(owner_get(), true);
    run_alloc(NULL, 3, 0, false);
    return slab_of(object[0]);
}

static struct zone *some_zone(void) {
    struct zone *zone = zone_next(NULL);
    MUST(zone != NULL);
    return zone;
}

static uintptr_t some_free_block(void) {
    struct zone *zone = some_zone();
    for (uintptr_t pfn = (slab_of(object[0])->base >> PAGE_SHIFT) & ~(BLOCK_PAGES - 1);; pfn++) {
        if (pagemap_page(pfn)->state == PAGE_FREE) {
            MUST(zone_of(pfn) == zone);
            return pfn;
        }
    }
}

static void wrong_free_count(void *arg) {
    ((struct slab *)arg)->nfree ^= 1;
}

static void wrong_bitmap(void *arg) {
    ((struct slab *)arg)->free[0] ^= 1;
}

static void double_bit_beyond_the_end(void *arg) {
    struct slab *slab = arg;
    slab->free[SLAB_OBJECTS_MAX / 64 - 1] |= (uint64_t)1 << 63;
}

static void wrong_bin(void *arg) {
    ((struct slab *)arg)->bin ^= 1;
}

static void wrong_owner(void *arg) {
    ((struct slab *)arg)->owner = NULL;
}

static void wrong_tag(void *arg) {
    pagemap_set_tag(((struct slab *)arg)->base >> PAGE_SHIFT, TAG_RUN);
}

static void wrong_page_link(void *arg) {
    pagemap_page(((struct slab *)arg)->base >> PAGE_SHIFT)->link = 0x1000;
}

static void wrong_back_link(void *arg) {
    struct slab *slab = arg;
    slab->prev = slab;
}

static void wrong_slab_number(void *arg) {
    owner_get()->cache[((struct slab *)arg)->class].nslabs++;
}

static void wrong_free_pages(void *arg) {
    (void)arg;
    some_zone()->buddy.free_pages++;
}

static void wrong_dirty_pages(void *arg) {
    (void)arg;
    some_zone()->buddy.dirty_pages++;
}

static void wrong_mapped_pages(void *arg) {
    (void)arg;
    some_zone()->mapped_pages -= BLOCK_PAGES;
}

static void wrong_page_state(void *arg) {
    (void)arg;
    pagemap_page(some_free_block())->state = PAGE_BODY;
}

static void wrong_order(void *arg) {
    (void)arg;
    pagemap_page(some_free_block())->order ^= 1;
}

static void stray_free_page(void *arg) {
    pagemap_page((((struct slab *)arg)->base >> PAGE_SHIFT) + 0)->state = PAGE_FREE;
}

static void bits_beyond_the_end_for_objects(void *arg) {
    struct slab *slab = arg;
    slab->free[0] &= ~(uint64_t)1;
    slab->free[SLAB_OBJECTS_MAX / 64 - 1] |= (uint64_t)1 << 63;
}

static void untouched_page_in_use(void *arg) {
    ((struct slab *)arg)->touched = 0;
}

static void wrong_object_size(void *arg) {
    ((struct slab *)arg)->bytes += CLASS_GRANULE;
}

static void wrong_tag_of_last_page(void *arg) {
    (void)arg;
    const struct slab *slab = slab_of(object[COUNT_OF(object) - 1]);
    MUST(slab->npages > 1);
    pagemap_set_tag((slab->base >> PAGE_SHIFT) + slab->npages - 1, TAG_FOREIGN);
}

static void wrong_page_index(void *arg) {
    pagemap_page(((struct slab *)arg)->base >> PAGE_SHIFT)->extra++;
}

static void wrong_empty_number(void *arg) {
    owner_get()->cache[((struct slab *)arg)->class].count[SLAB_EMPTY]++;
}

static void slab_not_given_back(void *arg) {
    struct owner *owner = owner_get();
    (void)arg;
    owner->emptied = slab_create(owner, owner_tag(owner), 0, sizeclass_of(200), 0);
}

static void tag_on_a_free_page(void *arg) {
    (void)arg;
    pagemap_set_tag(some_free_block(), TAG_RUN);
}

static void run_too_long(void *arg) {
    (void)arg;
    void *p = run_alloc(NULL, 1, 0, false), *q = run_alloc(NULL, 1, 0, false);
    pagemap_page(min_size(pointer_pfn(p), pointer_pfn(q)))->link = BLOCK_PAGES / 2;
}

static void wrong_isolated_pages(void *arg) {
    (void)arg;
    some_zone()->isolated_pages++;
}

static void object_in_magazine_and_slab(void *arg) {
    (void)arg;
    void *p = slabmalloc_malloc(200);
    struct slab *slab = slab_of(p);
    slabmalloc_free(p);
    slab_give(slab, &p, 1);
    owner_lock(owner_get());
    owner_file_slab(owner_get(), slab);
    owner_unlock(owner_get());
}

static void foreign_object_in_magazine(void *arg) {
    (void)arg;
    slabmalloc_free(slabmalloc_malloc(200));
    *owner_get()->magazines.of[sizeclass_of(200)].top = slabmalloc_malloc(300);
}

static void wrong_run_cache(void *arg) {
    (void)arg;
    slabmalloc_free(slabmalloc_malloc(100 * KIB));
    owner_get()->run_cache_pages++;
}

static void live_run_in_cache(void *arg) {
    (void)arg;
    void *p = slabmalloc_malloc(100 * KIB);
    slabmalloc_free(p);
    pagemap_set_tag(pointer_pfn(p), TAG_RUN);
}

static void live_mapping_in_cache(void *arg) {
    (void)arg;
    void *p = slabmalloc_malloc(5 * MIB);
    slabmalloc_free(p);
    pagemap_set_tag(pointer_pfn(p), TAG_MAPPING);
}

static void idle_owner_with_run(void *arg) {
    (void)arg;
    struct owner *owner = owner_borrow();
    owner_return(owner);
    owner->run_cache_pages++;
}

static void active_owner_in_depot(void *arg) {
    (void)arg;
    struct owner *owner = owner_borrow();
    owner_return(owner);
    owner->state = owner_have()->state;
}

static void free_one_elsewhere(unsigned index) {
    (void)index;
    slabmalloc_free(object[0]);
    struct slab *slab = slab_of(object[0]);
    owner_lock(slab->owner);
    slab_give(slab, &object[0], 1);
    owner_file_slab(slab->owner, slab);
    owner_unlock(slab->owner);
    if (slabmalloc_check()) {
        _exit(0); /* as break_and_check when it is found */
    }
}

static void object_in_remote_magazine_and_slab(void *arg) {
    (void)arg;
    threads_run(1, free_one_elsewhere);
}

static void (*const breakage[])(void *) = {
    wrong_free_count,
    wrong_bitmap,
    double_bit_beyond_the_end,
    bits_beyond_the_end_for_objects,
    untouched_page_in_use,
    wrong_object_size,
    wrong_bin,
    wrong_owner,
    wrong_page_link,
    wrong_page_index,
    wrong_tag,
    wrong_tag_of_last_page,
    wrong_back_link,
    wrong_slab_number,
    wrong_empty_number,
    slab_not_given_back,
    wrong_free_pages,
    wrong_dirty_pages,
    wrong_mapped_pages,
    wrong_isolated_pages,
    wrong_page_state,
    wrong_order,
    tag_on_a_free_page,
    run_too_long,
    object_in_magazine_and_slab,
    foreign_object_in_magazine,
    object_in_remote_magazine_and_slab,
    wrong_run_cache,
    live_run_in_cache,
    live_mapping_in_cache,
    idle_owner_with_run,
    active_owner_in_depot,
};

static void break_and_check(void *arg) {
    struct slab *slab = furnish();
    MUST_BE_SOUND();
    size_t which = *(size_t *)arg;
    breakage[which](slab);
    if (!slabmalloc_check()) {
        dprintf(2, "breakage %zu was not found\n", which);
        _exit(1);
    }
}

Test(stats, check_finds_planted_damage) {
    for (size_t i = 0; i < COUNT_OF(breakage); i++) {
        child_must_end_well(break_and_check, &i);
    }
}

/* A page that says it is free but is in no list: the sum over the page map tells. In release builds only, where nothing
 * stops earlier. */
static void stray(void *arg) {
    (void)arg;
    stray_free_page(furnish());
    if (!slabmalloc_check()) {
        _exit(1);
    }
}

Test(stats, check_finds_a_stray_free_page) {
#ifndef SLABMALLOC_DEBUG
    child_must_end_well(stray, NULL);
#else
    (void)stray;
#endif
}
