/* kmem_cache.h (both) promise: layouts, objects that stay constructed, bulk calls, merging, shrink and destroy. */
#include "kmem_support.h"

#include "heap.h"
#include "reclaim.h"

#define MANY 3000

static void *objects[MANY];

static struct slabmalloc_cache *plain(const char *name, size_t size, size_t align, unsigned flags) {
    struct slabmalloc_cache *cache = slabmalloc_cache_create(name, size, align, flags, NULL);
    MUST(cache);
    return cache;
}

static void fill(struct slabmalloc_cache *cache, size_t n) {
    for (size_t i = 0; i < n; i++) {
        objects[i] = slabmalloc_cache_alloc(cache);
        MUST(objects[i]);
    }
}

static void empty(struct slabmalloc_cache *cache, size_t n) {
    for (size_t i = 0; i < n; i++) {
        slabmalloc_cache_free(cache, objects[i]);
    }
}

/* --- Layout --- */

Test(kmem_cache, objects_of_any_size_and_alignment_are_apart_and_keep_their_bytes) {
    static const size_t sizes[] = {1, 7, 8, 24, 48, 100, 640, 1400, 4096, 5000, 20000, 66000, 131072};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        for (size_t align = 8; align <= PAGE_BYTES; align *= 8) {
            size_t size = sizes[s], n = min_size(300, 4 * MIB / size);
            struct slabmalloc_cache *cache = plain("any", size, align, 0);
            fill(cache, n);
            for (size_t i = 0; i < n; i++) {
                MUST(!((uintptr_t)objects[i] & (align - 1)));
                words_fill(objects[i], size, i);
            }
            for (size_t i = 0; i < n; i++) {
                MUST(words_hold(objects[i], size, i));
            }
            MUST(info_of(cache).live == n);
            MUST_BE_SOUND();
            empty(cache, n);
            MUST(!slabmalloc_cache_destroy(cache));
        }
    }
    MUST_BE_SOUND();
}

Test(kmem_cache, alignment_follows_from_size_and_flags) {
    static const struct {
        size_t size, align, expected, slot;
        unsigned flags;
    } cases[] = {
        {1, 0, 8, 8, 0},
        {24, 0, 8, 24, 0},
        {48, 0, 16, 48, 0},
        {64, 0, 16, 64, 0},
        {20, 32, 32, 32, 0},
        {20, 0, 32, 32, SLABMALLOC_CACHE_HWCACHE_ALIGN},
        {100, 0, 64, 128, SLABMALLOC_CACHE_HWCACHE_ALIGN},
        {16, 0, 16, 16, SLABMALLOC_CACHE_HWCACHE_ALIGN},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slabmalloc_cache *cache = plain("aligned", cases[i].size, cases[i].align, cases[i].flags);
        struct slabmalloc_cache_info info = info_of(cache);
        MUST(info.align == cases[i].expected && info.slot_bytes == cases[i].slot);
        MUST(info.object_bytes == cases[i].size && info.flags == cases[i].flags);
        MUST(!slabmalloc_cache_destroy(cache));
    }
}

Test(kmem_cache, slabs_waste_at_most_a_quarter) {
    for (size_t size = 8; size <= SLABMALLOC_CACHE_OBJECT_MAX; size += size / 7 + 8) {
        struct slabmalloc_cache *cache = plain("waste", size, 0, 0);
        struct slabmalloc_cache_info info = info_of(cache);
        size_t bytes = info.slab_pages << PAGE_SHIFT;
        MUST(info.slab_objects >= 1 && info.slab_objects * info.slot_bytes <= bytes);
        MUST(bytes - info.slab_objects * info.slot_bytes <= bytes / 4);
        MUST(bytes <= 32 * KIB || info.slab_objects <= 8);
        MUST(!slabmalloc_cache_destroy(cache));
    }
}

Test(kmem_cache, slabs_begin_in_different_colours) {
    struct slabmalloc_cache *cache = plain("colour", 704, 64, SLABMALLOC_CACHE_NO_MERGE);
    fill(cache, MANY);
    uint64_t colours = 0;
    for (size_t i = 0; i < MANY; i++) {
        const struct slab *slab = slab_of(objects[i]);
        colours |= (uint64_t)1 << slab_skew(slab) / 64;
        MUST(slab->nobjects == min_size(((size_t)slab->npages << PAGE_SHIFT) / 704, 512));
    }
    MUST(__builtin_popcountll(colours) > 2);
    MUST_BE_SOUND();
    empty(cache, MANY);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, refuses_what_it_cannot_serve) {
    static const struct slabmalloc_cache_args only_dtor = {.dtor = thing_destruct};
    static const struct {
        const char *name;
        size_t size, align;
        unsigned flags;
        const struct slabmalloc_cache_args *args;
    } cases[] = {
        {NULL, 8, 0, 0, NULL},          {"", 8, 0, 0, NULL},
        {"x", 0, 0, 0, NULL},           {"x", SLABMALLOC_CACHE_OBJECT_MAX + 1, 0, 0, NULL},
        {"x", 8, 24, 0, NULL},          {"x", 8, 2 * PAGE_BYTES, 0, NULL},
        {"x", 8, 0, 0x80000000u, NULL}, {"x", 8, 0, 0, &only_dtor},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        errno = 0;
        MUST(!slabmalloc_cache_create(cases[i].name, cases[i].size, cases[i].align, cases[i].flags, cases[i].args));
        MUST(errno == EINVAL);
    }
}

Test(kmem_cache, names_are_copied_and_cut) {
    char name[100];
    memset(name, 'n', sizeof name);
    name[99] = 0;
    struct slabmalloc_cache *cache = plain(name, 40, 0, 0);
    memset(name, 'x', 99);
    MUST(strlen(slabmalloc_cache_name(cache)) == SLABMALLOC_CACHE_NAME_BYTES - 1);
    MUST(slabmalloc_cache_name(cache)[62] == 'n' && slabmalloc_cache_size(cache) == 40);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, ids_run_out_with_an_error_and_serve_again) {
    static struct slabmalloc_cache *cache[KMEM_CLASSES + 1];
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < KMEM_CLASSES; i++) {
            cache[i] = plain("one of many", 64, 0, SLABMALLOC_CACHE_NO_MERGE);
        }
        errno = 0;
        MUST(!slabmalloc_cache_create("too many", 64, 0, SLABMALLOC_CACHE_NO_MERGE, NULL) && errno == ENOSPC);
        void *last = slabmalloc_cache_alloc(cache[KMEM_CLASSES - 1]);
        MUST(last);
        slabmalloc_cache_free(cache[KMEM_CLASSES - 1], last);
        MUST_BE_SOUND();
        for (size_t i = 0; i < KMEM_CLASSES; i++) {
            MUST(!slabmalloc_cache_destroy(cache[i]));
        }
    }
}

/* --- malloc's functions take objects too --- */

Test(kmem_cache, free_and_realloc_take_objects) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    struct thing *thing = slabmalloc_cache_alloc(cache);
    MUST(slabmalloc_usable_size(thing) == sizeof *thing);
    thing->payload = 42;
    slabmalloc_free(thing);
    MUST(info_of(cache).live == 0);
    MUST(slabmalloc_cache_alloc(cache) == thing);
    struct thing *moved = slabmalloc_realloc(thing, 1000);
    MUST(moved != thing && moved->payload == 42 && info_of(cache).live == 0);
    slabmalloc_free(moved);
    things_destroy(cache, &books);
}

static void free_to_another(void *arg) {
    struct slabmalloc_cache *other = plain("other", 200, 0, 0);
    void *p = slabmalloc_cache_alloc(arg);
    slabmalloc_cache_free(other, p);
}

static void free_a_mallocs(void *arg) {
    slabmalloc_cache_free(arg, slabmalloc_malloc(100));
}

static void free_inside(void *arg) {
    char *p = slabmalloc_cache_alloc(arg);
    slabmalloc_free(p + 8);
}

static void free_twice(void *arg) {
    void *p = slabmalloc_cache_alloc(arg);
    slabmalloc_cache_free(arg, p);
    slabmalloc_cache_free(arg, p);
}

Test(kmem_cache, wrong_frees_abort) {
    struct slabmalloc_cache *cache = plain("mine", 100, 0, 0);
    must_die_of("free to the wrong cache", free_to_another, cache);
    must_die_of("free to the wrong cache", free_a_mallocs, cache);
    must_die_of("free of a pointer inside an object", free_inside, cache);
    must_die_of("double free", free_twice, cache);
}

/* --- Construction --- */

Test(kmem_cache, an_object_is_constructed_once_and_stays_so) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    for (unsigned round = 0; round < 50; round++) {
        for (size_t i = 0; i < 500; i++) {
            objects[i] = thing_alloc(cache);
        }
        for (size_t i = 0; i < 500; i++) {
            thing_free(cache, objects[i]);
        }
    }
    struct slabmalloc_cache_info info = info_of(cache);
    MUST(books.constructed >= 500 && books.constructed <= info.objects && books.destructed == 0);
    MUST(info.constructed == books.constructed && info.live == 0);
    things_destroy(cache, &books);
    MUST(books.destructed >= 500);
}

static void *nested(struct slabmalloc_cache *inner) {
    return slabmalloc_cache_alloc(inner);
}

struct outer {
    void *inner, *block;
};

static struct slabmalloc_cache *inner_cache;

static int outer_construct(void *object, void *private_data) {
    struct outer *outer = object;
    (void)private_data;
    outer->inner = nested(inner_cache);
    outer->block = slabmalloc_malloc(300);
    return outer->inner && outer->block ? 0 : -1;
}

static void outer_destruct(void *object, void *private_data) {
    struct outer *outer = object;
    (void)private_data;
    slabmalloc_cache_free(inner_cache, outer->inner);
    slabmalloc_free(outer->block);
}

Test(kmem_cache, a_constructor_may_allocate_and_a_destructor_may_free) {
    static const struct slabmalloc_cache_args args = {.ctor = outer_construct, .dtor = outer_destruct};
    struct books books = {0};
    inner_cache = things_create("inner", sizeof(struct thing), 0, &books);
    struct slabmalloc_cache *cache = slabmalloc_cache_create("outer", sizeof(struct outer), 0, 0, &args);
    for (unsigned round = 0; round < 3; round++) {
        fill(cache, MANY);
        MUST(info_of(inner_cache).live >= MANY);
        empty(cache, MANY);
        slabmalloc_cache_shrink(cache);
        MUST_BE_SOUND();
    }
    MUST(!slabmalloc_cache_destroy(cache));
    MUST(info_of(inner_cache).live == 0);
    things_destroy(inner_cache, &books);
}

Test(kmem_cache, a_constructor_that_fails_loses_nothing) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    for (size_t ok = 0; ok < 40; ok++) {
        books.fail_after = ok + 1;
        size_t n = 0;
        while (n < MANY && (objects[n] = thing_alloc(cache))) {
            n++;
        }
        MUST(n < MANY && errno == ENOMEM && info_of(cache).live == n && info_of(cache).cached == 0);
        MUST(info_of(cache).constructed == n);
        MUST_BE_SOUND();
        books.fail_after = 0;
        for (size_t i = 0; i < n; i++) {
            thing_free(cache, objects[i]);
        }
        slabmalloc_cache_shrink(cache);
        MUST(info_of(cache).constructed == 0);
    }
    things_destroy(cache, &books);
}

Test(kmem_cache, zalloc_clears_and_refuses_constructed_objects) {
    struct books books = {0};
    struct slabmalloc_cache *things = things_create("thing", sizeof(struct thing), 0, &books);
    errno = 0;
    MUST(!slabmalloc_cache_zalloc(things) && errno == EINVAL);
    struct slabmalloc_cache *cache = plain("zero", 77, 0, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < 200; i++) {
            objects[i] = slabmalloc_cache_zalloc(cache);
            MUST(objects[i] && all_bytes_are(objects[i], 77, 0));
            memset(objects[i], 0xff, 77);
        }
        empty(cache, 200);
    }
    MUST(!slabmalloc_cache_destroy(cache) && !slabmalloc_cache_destroy(things));
}

/* --- Giving back --- */

static void batches(struct slabmalloc_cache *cache) {
    for (unsigned round = 0; round < 10; round++) {
        for (size_t i = 0; i < MANY; i++) {
            objects[i] = thing_alloc(cache);
        }
        for (size_t i = 0; i < MANY; i++) {
            thing_free(cache, objects[i]);
        }
    }
}

Test(kmem_cache, empty_slabs_keep_their_objects_constructed_until_they_decay) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("batch", 500, 0, &books);
    options.decay_ms = -1;
    batches(cache);
    MUST(books.constructed < 2 * MANY && books.destructed == 0);
    options.decay_ms = 0;
    batches(cache);
    MUST(books.destructed > 5 * MANY);
    things_destroy(cache, &books);
}

Test(kmem_cache, without_destructor_the_helper_gives_empty_slabs_back) {
    struct books books = {0};
    struct slabmalloc_cache_args args = {.ctor = thing_construct, .private_data = &books};
    struct slabmalloc_cache *cache = slabmalloc_cache_create("batch", 500, 0, 0, &args);
    options.decay_ms = -1;
    batches(cache);
    size_t parked = stats_now().zone_free_bytes;
    options.decay_ms = 0;
    reclaim_slabs(false);
    MUST(stats_now().zone_free_bytes >= parked + MANY / 2 * 500);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, shrink_destructs_and_gives_back_what_no_object_needs) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("big", 1000, 0, &books);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = thing_alloc(cache);
    }
    for (size_t i = 0; i < MANY; i++) {
        if (i % 30) {
            thing_free(cache, objects[i]);
        }
    }
    size_t before = books.destructed, given = slabmalloc_cache_shrink(cache);
    MUST(books.reclaims == 1 && given > MANY / 2 * 1000);
    MUST(books.destructed - before > MANY / 2);
    MUST(info_of(cache).constructed == books.constructed - books.destructed);
    MUST(info_of(cache).live == MANY / 30);
    MUST_BE_SOUND();
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = i % 30 ? thing_alloc(cache) : objects[i];
    }
    for (size_t i = 0; i < MANY; i++) {
        thing_free(cache, objects[i]);
    }
    things_destroy(cache, &books);
}

Test(kmem_cache, trim_does_the_same_for_all_caches) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("big", 1000, 0, &books);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = thing_alloc(cache);
    }
    for (size_t i = 0; i < MANY; i++) {
        thing_free(cache, objects[i]);
    }
    slabmalloc_trim();
    MUST(books.reclaims == 1 && books.destructed == books.constructed && info_of(cache).slabs == 0);
    things_destroy(cache, &books);
}

Test(kmem_cache, malloc_and_free_never_destruct) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("big", 1000, 0, &books);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = thing_alloc(cache);
    }
    for (size_t i = 0; i < MANY; i++) {
        thing_unmark(objects[i]);
        slabmalloc_free(objects[i]);
    }
    MUST(books.destructed == 0);
    slabmalloc_cache_free(cache, slabmalloc_cache_alloc(cache));
    slabmalloc_cache_shrink(cache);
    MUST(books.destructed == books.constructed);
    things_destroy(cache, &books);
}

Test(kmem_cache, memory_the_kernel_refuses_comes_from_reclaim_functions_and_empty_slabs) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    fault_arm(1u << SYS_MAP, 0, FOREVER);
    void *p = slabmalloc_malloc(64 * MIB);
    fault_disarm();
    MUST(!p && books.reclaims == 1);
    things_destroy(cache, &books);
}

Test(kmem_cache, requests_that_no_memory_can_serve_ask_no_reclaim_function) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    MUST(!slabmalloc_malloc(SIZE_MAX / 2) && errno == ENOMEM && books.reclaims == 0);
    MUST(!slabmalloc_aligned_alloc((size_t)1 << 62, 4096) && books.reclaims == 0);
    things_destroy(cache, &books);
}

/* Another thread's pin, which fork leaves behind: destroy would wait for it, and give up. */
Test(kmem_cache, a_child_can_destroy_what_a_thread_it_does_not_have_was_using) {
    struct slabmalloc_cache *cache = plain("pinned", 100, 0, 0);
    fill(cache, 10);
    empty(cache, 10);
    lock_take(kmem_lock());
    cache->kmem->pins++;
    lock_drop(kmem_lock());
    pid_t pid = fork();
    if (!pid) {
        MUST(!slabmalloc_cache_destroy(cache));
        _exit(0);
    }
    lock_take(kmem_lock());
    cache->kmem->pins--;
    lock_drop(kmem_lock());
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    MUST_BE_GOOD_END(status);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, check_looks_at_slabs_of_caches_too) {
    struct slabmalloc_cache *cache = plain("checked", 100, 0, 0);
    fill(cache, 10);
    MUST_BE_SOUND();
    struct slab *slab = slab_of(objects[0]);
    slab->nfree++;
    MUST(slabmalloc_check() != NULL);
    slab->nfree--;
    MUST_BE_SOUND();
    empty(cache, 10);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, destroy_refuses_while_objects_are_live) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    struct thing *one = thing_alloc(cache), *two = thing_alloc(cache);
    errno = 0;
    MUST(slabmalloc_cache_destroy(cache) == -1 && errno == EBUSY);
    MUST(info_of(cache).live == 2);
    thing_free(cache, one);
    MUST(slabmalloc_cache_destroy(cache) == -1);
    struct thing *three = thing_alloc(cache);
    thing_free(cache, two);
    thing_free(cache, three);
    things_destroy(cache, &books);
    MUST(!slabmalloc_cache_destroy(NULL));
}

Test(kmem_cache, a_class_serves_a_cache_of_another_layout_after_destroy) {
    for (size_t size = 8; size < 100000; size = size * 3 + 8) {
        struct slabmalloc_cache *cache = plain("next", size, 0, SLABMALLOC_CACHE_NO_MERGE);
        size_t n = min_size(MANY, 8 * MIB / size);
        MUST(cache->class == KMEM_CLASS_FIRST);
        fill(cache, n);
        MUST_BE_SOUND();
        empty(cache, n);
        MUST(!slabmalloc_cache_destroy(cache));
    }
}

Test(kmem_cache, pages_that_come_back_from_caches_are_not_taken_for_fresh) {
    for (size_t size = 40; size < 9000; size = size * 5 / 3) {
        for (unsigned round = 0; round < 4; round++) {
            struct slabmalloc_cache *cache = plain("dirty", size, 0, SLABMALLOC_CACHE_NO_MERGE);
            size_t n = 100 + 150 * round;
            fill(cache, n);
            for (size_t i = 0; i < n; i++) {
                memset(objects[i], 0xff, size);
            }
            empty(cache, n);
            MUST(!slabmalloc_cache_destroy(cache));
            for (size_t i = 0; i < 20; i++) {
                objects[i] = slabmalloc_calloc(1, 100 * KIB);
                MUST(all_bytes_are(objects[i], 100 * KIB, 0));
            }
            for (size_t i = 0; i < 20; i++) {
                slabmalloc_free(objects[i]);
            }
        }
    }
}

/* Without destructor a stamp may be left in raw memory. */
static int construct_again(void *object, void *private_data) {
    ((struct thing *)object)->stamp = 0;
    return thing_construct(object, private_data);
}

/* Purged memory reads zero: an object that counted as constructed would show it. */
Test(kmem_cache, objects_in_purged_holes_are_constructed_again) {
    struct books books = {0};
    struct slabmalloc_cache_args args = {.ctor = construct_again, .private_data = &books};
    struct slabmalloc_cache *cache = slabmalloc_cache_create("holes", 2048, 0, 0, &args);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = thing_alloc(cache);
    }
    for (size_t i = 0; i < MANY; i++) {
        if (i % 16) {
            thing_free(cache, objects[i]);
        }
    }
    magazine_flush(owner_get(), false);
    size_t before = books.constructed;
    MUST(reclaim_slabs(true) > MANY / 4);
    for (size_t i = 0; i < MANY; i++) {
        objects[i] = i % 16 ? thing_alloc(cache) : objects[i];
    }
    MUST(books.constructed - before > MANY / 2);
    for (size_t i = 0; i < MANY; i++) {
        thing_free(cache, objects[i]);
    }
    MUST(!slabmalloc_cache_destroy(cache));
}

static void destruct_and_fork(void *object, void *private_data) {
    static bool done;
    (void)object;
    if (!done) {
        done = true;
        pid_t pid = fork();
        MUST(pid >= 0);
        *(pid_t *)private_data = pid;
    }
}

static int construct_nothing(void *object, void *private_data) {
    (void)object;
    (void)private_data;
    return 0;
}

Test(kmem_cache, a_destructor_may_fork) {
    pid_t pid = -1;
    struct slabmalloc_cache_args args = {construct_nothing, destruct_and_fork, NULL, &pid};
    struct slabmalloc_cache *cache = slabmalloc_cache_create("forks", 2000, 0, 0, &args);
    fill(cache, MANY);
    for (size_t i = 0; i < MANY; i++) {
        if (i % 20) {
            slabmalloc_cache_free(cache, objects[i]);
        }
    }
    slabmalloc_cache_shrink(cache);
    MUST(pid >= 0);
    MUST_BE_SOUND();
    for (size_t i = 0; i < MANY; i += 20) {
        slabmalloc_cache_free(cache, objects[i]);
    }
    slabmalloc_trim();
    MUST(!slabmalloc_cache_destroy(cache));
    if (!pid) {
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    MUST_BE_GOOD_END(status);
}

/* --- Bulk --- */

Test(kmem_cache, bulk_calls_give_all) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    for (size_t n = 0; n <= MANY; n = n * 2 + 1) {
        MUST(slabmalloc_cache_alloc_bulk(cache, n, objects) == n);
        for (size_t i = 0; i < n; i++) {
            thing_mark(objects[i]);
        }
        MUST(info_of(cache).live == n);
        for (size_t i = 0; i < n; i++) {
            thing_unmark(objects[i]);
        }
        slabmalloc_cache_free_bulk(cache, n, objects);
        MUST(info_of(cache).live == 0);
    }
    things_destroy(cache, &books);
}

Test(kmem_cache, bulk_allocation_gives_none_when_memory_ends) {
    struct slabmalloc_cache *cache = plain("bulk", 64 * KIB, 0, 0);
    for (long first = 0; first < 3; first++) {
        fault_arm(1u << SYS_MAP, first, FOREVER);
        errno = 0;
        size_t got = slabmalloc_cache_alloc_bulk(cache, MANY, objects);
        fault_disarm();
        MUST(got == 0 && errno == ENOMEM && info_of(cache).live == 0);
        MUST_BE_SOUND();
    }
    MUST(slabmalloc_cache_alloc_bulk(cache, MANY, objects) == MANY);
    slabmalloc_cache_free_bulk(cache, MANY, objects);
    MUST(!slabmalloc_cache_destroy(cache));
}

Test(kmem_cache, bulk_allocation_gives_none_when_a_constructor_fails) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", sizeof(struct thing), 0, &books);
    for (size_t after = 1; after < MANY; after = after * 2 + 1) {
        books.fail_after = after;
        errno = 0;
        MUST(slabmalloc_cache_alloc_bulk(cache, MANY, objects) == 0 && errno == ENOMEM);
        MUST(info_of(cache).live == 0);
        books.fail_after = 0;
        slabmalloc_cache_shrink(cache);
        MUST(info_of(cache).constructed == 0 && books.constructed == books.destructed);
    }
    things_destroy(cache, &books);
}

/* --- Merging --- */

Test(kmem_cache, alike_caches_share_slabs_and_keep_their_names) {
    struct slabmalloc_cache *a = plain("a", 60, 0, 0), *b = plain("b", 57, 0, SLABMALLOC_CACHE_PANIC);
    MUST(a->kmem == b->kmem && info_of(a).sharers == 2);
    MUST(!strcmp(slabmalloc_cache_name(a), "a") && !strcmp(slabmalloc_cache_name(b), "b"));
    MUST(slabmalloc_cache_size(a) == 60 && slabmalloc_cache_size(b) == 57);
    void *p = slabmalloc_cache_alloc(a);
    MUST(!slabmalloc_cache_destroy(b) && info_of(a).sharers == 1);
    MUST(slabmalloc_cache_destroy(a) == -1);
    slabmalloc_cache_free(a, p);
    MUST(!slabmalloc_cache_destroy(a));
}

Test(kmem_cache, caches_that_differ_do_not_share) {
    struct books books = {0};
    static const struct slabmalloc_cache_args only_reclaim = {.reclaim = thing_reclaim};
    struct slabmalloc_cache *cache[] = {
        plain("a", 64, 0, 0),
        plain("b", 72, 0, 0),
        plain("c", 64, 64, 0),
        plain("d", 64, 0, SLABMALLOC_CACHE_NO_MERGE),
        plain("e", 64, 0, SLABMALLOC_CACHE_CONSISTENCY_CHECKS),
        things_create("f", 64, 0, &books),
        slabmalloc_cache_create("g", 64, 0, 0, &only_reclaim),
    };
    for (size_t i = 0; i < COUNT_OF(cache); i++) {
        for (size_t j = 0; j < i; j++) {
            MUST(cache[i]->kmem != cache[j]->kmem);
        }
        MUST(info_of(cache[i]).sharers == 1);
    }
    for (size_t i = 0; i < COUNT_OF(cache); i++) {
        MUST(!slabmalloc_cache_destroy(cache[i]));
    }
}

static void count_named(const struct slabmalloc_cache_info *info, const struct kmem_class *kmem, void *arg) {
    size_t *n = arg;
    MUST(kmem->slot_bytes == info->slot_bytes);
    n[info->name[0] - 'a']++;
}

Test(kmem_cache, each_cache_is_reported_once) {
    struct slabmalloc_cache *cache[] = {plain("a", 64, 0, 0), plain("b", 64, 0, 0), plain("c", 128, 0, 0)};
    size_t n[26] = {0};
    kmem_each(count_named, n);
    MUST(n[0] == 1 && n[1] == 1 && n[2] == 1);
    for (size_t i = 0; i < COUNT_OF(cache); i++) {
        MUST(!slabmalloc_cache_destroy(cache[i]));
    }
    kmem_each(count_named, n);
    MUST(n[0] == 1 && n[1] == 1 && n[2] == 1);
}
