/*
 * inject_workloads.h: what the fault injection walks through. Every workload checks contents, alignment, zeroes, errno
 * and ENOMEM as it goes, makes the same calls in every life, and leaves what it holds to check_and_free_all.
 */
#ifndef SLABMALLOC_TEST_INJECT_WORKLOADS_H
#define SLABMALLOC_TEST_INJECT_WORKLOADS_H

#include <fcntl.h>

#include "background.h"
#include "inject.h"
#include "lock.h"
#include "magazine.h"
#include "sizeclass.h"

/* --- Blocks: contents, errno, ENOMEM --- */

#define BLOCKS 1024

static struct block_held {
    char *p;
    size_t bytes;
} held[BLOCKS];
static size_t nheld;

/* Large blocks are written to and read here and there. */
static size_t next_word(size_t at, size_t bytes) {
    size_t step = bytes <= PAGE_BYTES ? 8 : bytes <= MIB ? PAGE_BYTES : 16 * PAGE_BYTES;
    size_t last = (bytes - 1) & ~(size_t)7;
    return at == last ? bytes : min_size(at + step, last);
}

static void fill(char *p, size_t bytes, uint64_t seed) {
    for (size_t at = 0; at < bytes; at = next_word(at, bytes)) {
        uint64_t word = words_value(seed, at);
        memcpy(p + at, &word, min_size(8, bytes - at));
    }
}

/* The first KEPT bytes are as in a block of BYTES that was filled. */
static bool holds(const char *p, size_t bytes, size_t kept, uint64_t seed) {
    for (size_t at = 0; at < bytes; at = next_word(at, bytes)) {
        uint64_t word = words_value(seed, at);
        size_t n = min_size(8, bytes - at);
        if (at + n <= kept && memcmp(p + at, &word, n)) {
            return false;
        }
    }
    return true;
}

#define ERRNO_BEFORE 12345

static char *checked(void *p) {
    MUST(errno == (p ? ERRNO_BEFORE : ENOMEM));
    failures += !p;
    errno = ERRNO_BEFORE;
    return p;
}

static void hold(char *p, size_t bytes) {
    if (p) {
        MUST(nheld < BLOCKS);
        fill(p, bytes, nheld);
        held[nheld++] = (struct block_held){p, bytes};
    }
}

WORKLOAD static void take(size_t bytes) {
    errno = ERRNO_BEFORE;
    hold(checked(slabmalloc_malloc(bytes)), bytes);
}

WORKLOAD static void take_zero(size_t bytes) {
    errno = ERRNO_BEFORE;
    char *p = checked(slabmalloc_calloc(1, bytes));
    MUST(!p || all_bytes_are(p, bytes, 0));
    hold(p, bytes);
}

WORKLOAD static void take_aligned(size_t align, size_t bytes) {
    errno = ERRNO_BEFORE;
    char *p = checked(slabmalloc_aligned_alloc(align, bytes));
    MUST(((uintptr_t)p & (align - 1)) == 0);
    hold(p, bytes);
}

WORKLOAD static void drop(size_t i) {
    if (i >= nheld) {
        return;
    }
    MUST(!held[i].p || holds(held[i].p, held[i].bytes, held[i].bytes, i));
    errno = ERRNO_BEFORE;
    slabmalloc_free(held[i].p);
    MUST(errno == ERRNO_BEFORE);
    held[i].p = NULL;
}

WORKLOAD static void resize(size_t i, size_t bytes) {
    if (i >= nheld || !held[i].p) {
        return;
    }
    struct block_held *h = &held[i];
    errno = ERRNO_BEFORE;
    char *p = checked(slabmalloc_realloc(h->p, bytes));
    MUST(holds(p ? p : h->p, h->bytes, p ? min_size(bytes, h->bytes) : h->bytes, i));
    if (p) {
        *h = (struct block_held){p, bytes};
        fill(p, bytes, i);
    }
}

/* Whether there was memory or not, nothing is left. */
WORKLOAD static void take_and_drop(size_t bytes) {
    size_t before = nheld;
    take(bytes);
    if (nheld > before) {
        drop(before);
        nheld = before;
    }
}

static void check_and_free_all(void) {
    for (size_t i = 0; i < nheld; i++) {
        drop(i);
    }
    nheld = 0;
}

WORKLOAD static void drop_from(size_t first, size_t step) {
    for (size_t i = first; i < nheld; i += step) {
        drop(i);
    }
}

static void usual_options(void) {
    static struct options usual;
    usual = usual.decay_ms ? usual : options;
    options = usual;
    options.decay_ms = 1000000; /* no decay by the clock: two lives make the same calls */
    options.background = false; /* nor by a thread of its own */
    options.map_cache = 6 * MIB;
}

/* --- Workloads --- */

WORKLOAD static void small_objects(void) {
    static const size_t sizes[] = {1, 16, 24, 100, 256, 500, 1000, 2000, 4096, 5000, 8192, 10000, 20000, SLAB_MAX};
    usual_options();
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            for (size_t n = 0; n < 12; n++) {
                take(sizes[i]);
            }
        }
        drop_from(round, 2);
    }
    for (size_t n = 0; n < 300; n++) {
        take(64); /* more than one magazine's growth */
    }
    drop_from(2, 3);
    for (size_t i = 0; i < nheld; i += 7) {
        resize(i, 3 * held[i].bytes);
    }
    drop_from(0, 1);
}

WORKLOAD static void runs(void) {
    static const size_t sizes[] = {33 * KIB, 40 * KIB, 64 * KIB, 200 * KIB, 300 * KIB, MIB, 2 * MIB};
    usual_options();
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            take(sizes[i]);
            take(sizes[i]);
        }
        drop_from(1, 2);
        for (size_t i = 0; i < nheld; i += 2) {
            resize(i, held[i].bytes + held[i].bytes / 2); /* into what was freed behind it, or elsewhere */
        }
    }
    for (size_t i = 0; i < nheld; i += 4) {
        resize(i, 33 * KIB);
    }
    drop_from(0, 3);
    take(2 * MIB);
}

WORKLOAD static void mappings(void) {
    usual_options();
    take(3 * MIB);
    take(5 * MIB);
    take(12 * MIB);
    drop(1);                 /* cached */
    take(4 * MIB);           /* its head */
    drop(0);                 /* cached too: more than the cache may hold */
    take(9 * MIB);           /* what is cached grows */
    resize(2, 9 * MIB);      /* the tail goes */
    resize(2, 20 * MIB);     /* in place or moved */
    take_and_drop(40 * MIB); /* too large for the cache */
    drop_from(0, 1);
    slabmalloc_trim();
}

/* Into addresses that the page map has no tables for. */
WORKLOAD static void mappings_grown_far(void) {
    usual_options();
    char *room = mmap(NULL, 200 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(room != MAP_FAILED && !munmap(room, 200 * MIB));
    next_map_at = (char *)round_up((uintptr_t)room, BLOCK_BYTES);
    take(3 * MIB);
    resize(0, 150 * MIB); /* in place */
    resize(0, 3 * MIB);
}

/* Behind every mapping lies one that does not give way. */
WORKLOAD static void mappings_moved(void) {
    usual_options();
    options.map_cache = 0;
    for (unsigned i = 0; i < 4; i++) {
        take((3 + i) * MIB);
    }
    for (size_t i = 0; i < nheld; i++) {
        char *end = held[i].p + round_up(held[i].bytes, PAGE_BYTES);
        void *wall = mmap(end, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        resize(i, held[i].bytes + 5 * MIB);
        if (wall != MAP_FAILED) {
            munmap(wall, PAGE_BYTES);
        }
        resize(i, held[i].bytes + 20 * MIB);
    }
}

WORKLOAD static void every_kind_becomes_every_other(void) {
    static const size_t sizes[] = {10, 3000, 30000, 40 * KIB, 900 * KIB, 3 * MIB, 7 * MIB};
    usual_options();
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        for (size_t to = 0; to < COUNT_OF(sizes); to++) {
            size_t at = nheld;
            take(sizes[from]);
            resize(at, sizes[to]);
        }
        drop_from(0, 1);
    }
}

WORKLOAD static void zeroed_blocks(void) {
    static const size_t sizes[] = {100, 5000, 40 * KIB, 300 * KIB, 2 * MIB, 3 * MIB};
    usual_options();
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            take_zero(sizes[i]);
            take(sizes[i]);
        }
        drop_from(0, 1 + (round == 0)); /* dirty memory for the next round */
    }
}

WORKLOAD static void aligned_blocks(void) {
    static const size_t sizes[] = {1, 100, 5000, 40000, 3 * MIB};
    usual_options();
    for (size_t align = 32; align <= 16 * MIB; align *= 8) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            take_aligned(align, sizes[i]);
        }
    }
    drop_from(1, 2);
    take_aligned(8 * MIB, 3 * MIB);
}

WORKLOAD static void *take_many(void *arg) {
    static const size_t sizes[] = {64, 700, 9000, 50 * KIB};
    (void)arg;
    for (size_t i = 0; i < 100; i++) {
        take(sizes[i % 4]);
    }
    drop_from(3, 5);
    return NULL;
}

WORKLOAD static void *drop_half(void *arg) {
    (void)arg;
    drop_from(0, 2); /* another's */
    take(64);
    return NULL;
}

static pthread_key_t late_key;

/* Runs in every round of exit handlers: also after the library's. */
WORKLOAD static void take_late(void *rounds_left) {
    take(64);
    take_and_drop(50 * KIB);
    if ((uintptr_t)rounds_left > 1) {
        pthread_setspecific(late_key, (void *)((uintptr_t)rounds_left - 1));
    }
}

WORKLOAD static void *take_late_too(void *arg) {
    take(64);
    pthread_setspecific(late_key, arg);
    return NULL;
}

static void in_a_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    MUST(!pthread_create(&thread, NULL, body, arg) && !pthread_join(thread, NULL));
}

/* One at a time, so that two lives make the same calls. */
WORKLOAD static void threads(void) {
    usual_options();
    in_a_thread(take_many, NULL);
    drop_from(1, 2); /* of a thread that is no more */
    take_many(NULL);
    in_a_thread(drop_half, NULL);
    in_a_thread(take_many, NULL); /* the next one takes over what the last one left */
    MUST(!pthread_key_create(&late_key, take_late));
    in_a_thread(take_late_too, (void *)(uintptr_t)PTHREAD_DESTRUCTOR_ITERATIONS);
    MUST(!pthread_key_delete(late_key));
    drop_from(0, 3);
}

static _Atomic bool thread_waits;

WORKLOAD static void *take_while_locked(void *arg) {
    (void)arg;
    thread_waits = true;
    take(64);
    return NULL;
}

/* The library's lock is held for longer than a thread spins. */
WORKLOAD static void waiting_for_a_lock(void) {
    usual_options();
    pthread_t thread;
    thread_waits = false;
    lock_take(meta_lock());
    MUST(!pthread_create(&thread, NULL, take_while_locked, NULL));
    while (!thread_waits) {
        sched_yield();
    }
    usleep(2000);
    lock_drop(meta_lock());
    MUST(!pthread_join(thread, NULL));
}

/* All memory for metadata that is mapped: whoever needs some next must map more. */
static struct hoard {
    struct hoard *next;
    size_t bytes;
} * hoard;

static bool refuse_all(enum sys_call call) {
    (void)call;
    return true;
}

static void hoard_metadata(void) {
    if (inject->over) {
        return; /* each hoard makes the metadata grow: once in a life */
    }
    bool (*hook)(enum sys_call) = sys_fault_hook;
    sys_fault_hook = refuse_all;
    for (size_t bytes = MIB; bytes >= META_MIN; bytes /= 2) {
        struct hoard *piece;
        while ((piece = meta_alloc_dirty(bytes))) {
            *piece = (struct hoard){hoard, bytes};
            hoard = piece;
        }
    }
    sys_fault_hook = hook;
}

static void return_hoard(void) {
    while (hoard) {
        struct hoard *piece = hoard;
        hoard = piece->next;
        meta_free(piece, piece->bytes);
    }
}

WORKLOAD static void metadata_used_up(void) {
    usual_options();
    hoard_metadata();
    in_a_thread(take_many, NULL); /* a new owner, its magazines and slabs */
    hoard_metadata();
    take(10000); /* a slab */
    take_many(NULL);
    hoard_metadata();
    for (size_t i = 0; i < 100; i++) {
        take(48);
    }
    hoard_metadata();
    drop_from(0, 2); /* a larger magazine; another owner's objects */
    hoard_metadata();
    in_a_thread(drop_half, NULL);
    hoard_metadata();
    take(3 * MIB);
    return_hoard();
}

WORKLOAD static void trims_and_decay(void) {
    usual_options();
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < 20; i++) {
            take(100 * KIB);
            take(1000);
        }
        take(3 * MIB);
        drop_from(0, 1 + (round == 0));
        options.decay_ms = round == 1 ? 0 : options.decay_ms;
        for (unsigned i = 0; i < 80; i++) {
            take_and_drop(400 * KIB); /* never from a thread's cache: each is a slow call */
        }
        slabmalloc_trim();
    }
}

/* What the helper does, by hand: holes, empty slabs, cached runs and mappings that two looks found unused. */
WORKLOAD static void holes_given_back(void) {
    usual_options();
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < 400; i++) {
            take(2000); /* two to a page */
        }
        take(5 * MIB);
        drop_from(1, 2);
        drop_from(2, 4);
        drop_from(0, 8);
        magazine_flush(owner_get(), false);
        background_pass(sys_now_ms() + 1000);
        background_pass(sys_now_ms() + 2000);
        take_many(NULL); /* in part from what was purged */
    }
}

/* Free memory of every kind there is, and a request that the kernel refuses. */
WORKLOAD static void memory_given_up(void) {
    usual_options();
    options.map_cache = 64 * MIB;
    for (size_t i = 0; i < 12; i++) {
        take(MIB + i);
    }
    take(6 * MIB);
    take(16 * MIB);
    drop_from(0, 1);
    errno = 0;
    MUST(!slabmalloc_malloc(PTRDIFF_MAX / 2) && errno == ENOMEM);
    take(MIB);
    MUST(!slabmalloc_malloc(PTRDIFF_MAX / 2) && errno == ENOMEM);
}

WORKLOAD static void huge_pages(void) {
    usual_options();
    options.huge_threshold = 6 * MIB;
    for (size_t i = 0; i < 6; i++) {
        take(2 * MIB);
    }
    take(10000);
    take(9 * MIB);
    drop_from(2, 3);
    slabmalloc_trim();
}

/* All of it in one life, by chance that is the same each time. */
WORKLOAD static void mixed_life(void) {
    static const size_t sizes[] = {100, 2000, 20000, 50 * KIB, 400 * KIB, 3 * MIB};
    struct rng rng = {7};
    for (unsigned step = 0; step < 250; step++) {
        size_t bytes = 1 + rng_below(&rng, sizes[rng_below(&rng, COUNT_OF(sizes))]), at = rng_below(&rng, nheld + 1);
        switch (rng_below(&rng, 8)) {
        case 0:
            take_zero(bytes);
            break;
        case 1:
            take_aligned((size_t)16 << rng_below(&rng, 18), bytes);
            break;
        case 2:
        case 3:
            resize(at, bytes);
            break;
        case 4:
        case 5:
            drop(at);
            break;
        default:
            take(bytes);
        }
        if (step % 50 == 49) {
            in_a_thread(drop_half, NULL);
            slabmalloc_trim();
        }
    }
}

WORKLOAD static void mixed_life_with_decay_at_once(void) {
    usual_options();
    options.decay_ms = 0;
    mixed_life();
}

WORKLOAD static void mixed_life_without_caches(void) {
    usual_options();
    options.map_cache = options.magazine_max = 0;
    mixed_life();
}

WORKLOAD static void mixed_life_on_huge_pages(void) {
    usual_options();
    options.huge_threshold = 0;
    mixed_life();
}

WORKLOAD static void child_life(void) {
    take_many(NULL);
    take(3 * MIB);
    in_a_thread(take_many, NULL);
    check_and_free_all();
    slabmalloc_trim();
    MUST_BE_SOUND();
}

static void a_child_must_end_well(void) {
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        alarm(HANG_SECONDS);
        child_life();
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    MUST_BE_GOOD_END(status);
}

/* --- Object caches --- */

#define OBJECTS 400

static struct object {
    struct object *self;
    char *block;
} * object[OBJECTS];

static int object_construct(void *p, void *unused) {
    struct object *made = p;
    (void)unused;
    made->self = made;
    made->block = slabmalloc_malloc(700);
    return !made->block;
}

static void object_destruct(void *p, void *unused) {
    struct object *made = p;
    (void)unused;
    MUST(made->self == made);
    slabmalloc_free(made->block);
}

static void object_take_all(struct slabmalloc_cache *cache, bool constructed) {
    for (size_t i = 0; i < OBJECTS; i++) {
        errno = ERRNO_BEFORE;
        object[i] = (void *)checked(slabmalloc_cache_alloc(cache));
        MUST(!object[i] || !constructed || object[i]->self == object[i]);
    }
}

static void *object_free_all(void *cache) {
    for (size_t i = 0; i < OBJECTS; i++) {
        slabmalloc_cache_free(cache, object[i]);
    }
    return NULL;
}

WORKLOAD static void objects_of(unsigned flags, const struct slabmalloc_cache_args *args) {
    errno = ERRNO_BEFORE;
    struct slabmalloc_cache *cache = (void *)checked(slabmalloc_cache_create("objects", 3000, 0, flags, args));
    if (!cache) {
        return;
    }
    object_take_all(cache, args);
    object_free_all(cache);
    object_take_all(cache, args);
    in_a_thread(object_free_all, cache);
    void *bulk[OBJECTS];
    errno = ERRNO_BEFORE;
    size_t got = slabmalloc_cache_alloc_bulk(cache, OBJECTS, bulk);
    MUST(got == OBJECTS || (got == 0 && errno == ENOMEM));
    failures += !got;
    slabmalloc_cache_free_bulk(cache, got, bulk);
    slabmalloc_cache_shrink(cache);
    MUST(!slabmalloc_cache_destroy(cache));
}

WORKLOAD static void object_caches(void) {
    static const struct slabmalloc_cache_args args = {.ctor = object_construct, .dtor = object_destruct};
    usual_options();
    objects_of(0, NULL);
    objects_of(0, &args);
    objects_of(SLABMALLOC_CACHE_CHECKS, NULL);
}

/* Messages that nobody can read: what they are about still happens. */
WORKLOAD static void messages(void) {
    int saved = dup(2), null = open("/dev/null", O_WRONLY);
    MUST(saved >= 0 && null >= 0 && dup2(null, 2) == 2);
    options_parse("no_such_key:1,decay_ms:soon");
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        slabmalloc_free(&saved);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    MUST(dup2(saved, 2) == 2 && !close(saved) && !close(null));
}

WORKLOAD static void first_calls(void) {
    usual_options();
    take(100);
    take(40 * KIB);
    take(3 * MIB);
    take_zero(2000);
    in_a_thread(take_many, NULL);
    a_child_must_end_well();
}

WORKLOAD static void two_numa_nodes(void) {
    usual_options();
    for (unsigned round = 0; round < 2; round++) {
        node_here = round;
        take_many(NULL);
        for (unsigned i = 0; i < 400; i++) {
            take_and_drop(300 * KIB); /* a slow call: the thread is found to have moved */
        }
        in_a_thread(drop_half, NULL);
    }
    node_here = 0;
}

#endif
