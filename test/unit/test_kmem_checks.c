/* Each of a cache's checks catches its corruption, in the process that makes it, with one line that names cache and
 * object. */
#include "kmem_support.h"

#define BYTES 100

static struct slabmalloc_cache *checked(unsigned flags) {
    struct slabmalloc_cache *cache = slabmalloc_cache_create("checked", BYTES, 0, flags, NULL);
    MUST(cache);
    return cache;
}

/* As must_die_of; the line also names the cache. Without CHECKED nothing notices. */
static void must_notice(const char *what, unsigned flags, void (*body)(void *)) {
    struct slabmalloc_cache *cache = checked(flags);
    must_die_of(what, body, cache);
    MUST(!slabmalloc_cache_destroy(cache));
    cache = checked(SLABMALLOC_CACHE_NO_MERGE);
    child_must_end_well(body, cache);
    MUST(!slabmalloc_cache_destroy(cache));
}

static void write_behind(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    p[BYTES] = 0;
    slabmalloc_cache_free(cache, p);
}

static void write_before(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    p = slabmalloc_cache_alloc(cache);
    p[-1] = 0;
    slabmalloc_cache_free(cache, p);
}

static void write_behind_a_free_one(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    slabmalloc_cache_free(cache, p);
    p[BYTES + 3] = 0;
    MUST(slabmalloc_cache_alloc(cache) == p);
}

Test(kmem_checks, red_zones_catch_writes_beside_objects) {
    must_notice("write beside an object", SLABMALLOC_CACHE_RED_ZONE, write_behind);
    must_notice("write beside an object", SLABMALLOC_CACHE_RED_ZONE, write_before);
    must_notice("write beside a free object", SLABMALLOC_CACHE_RED_ZONE, write_behind_a_free_one);
}

static void use_after_free(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    slabmalloc_cache_free(cache, p);
    p[BYTES - 1] = 1;
    MUST(slabmalloc_cache_alloc(cache) == p);
}

static void leave_corruption_to_destroy(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    slabmalloc_cache_free(cache, p);
    p[10] = 1;
    slabmalloc_cache_destroy(cache);
}

Test(kmem_checks, poison_catches_writes_to_free_objects) {
    must_notice("write to a free object", SLABMALLOC_CACHE_POISON, use_after_free);
    must_die_of("write to a free object", leave_corruption_to_destroy, checked(SLABMALLOC_CACHE_POISON));
}

Test(kmem_checks, poison_shows_in_objects) {
    struct slabmalloc_cache *cache = checked(SLABMALLOC_CACHE_POISON);
    char *p = slabmalloc_cache_alloc(cache);
    MUST(all_bytes_are(p, BYTES, 0x5a));
    slabmalloc_cache_free(cache, p);
    MUST(all_bytes_are(p, BYTES - 1, 0x6b) && (unsigned char)p[BYTES - 1] == 0xa5);
    MUST(!slabmalloc_cache_destroy(cache));
}

static void free_twice(void *cache) {
    void *p = slabmalloc_cache_alloc(cache), *q = slabmalloc_cache_alloc(cache);
    slabmalloc_cache_free(cache, p);
    slabmalloc_cache_free(cache, q);
    slabmalloc_cache_free(cache, p);
}

static void free_inside(void *cache) {
    char *p = slabmalloc_cache_alloc(cache);
    slabmalloc_cache_free(cache, p + 8);
}

static void damage_the_slab(void *cache) {
    void *p = slabmalloc_cache_alloc(cache);
    slab_of(p)->nfree--;
    slabmalloc_cache_free(cache, p);
}

Test(kmem_checks, consistency_checks_catch_what_else_is_wrong) {
    unsigned flags = SLABMALLOC_CACHE_CONSISTENCY_CHECKS;
    must_die_of("double free", free_twice, checked(flags));
    must_die_of("free of a pointer inside an object", free_inside, checked(flags));
    must_notice("a slab's free count differs from its bitmap", flags, damage_the_slab);
}

/* --- Who --- */

/* What BODY writes to stderr. */
static const char *stderr_of(void (*body)(void *), void *arg) {
    static char text[16384];
    int ends[2];
    MUST(!pipe(ends));
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    while (length < sizeof text - 1 && (n = read(ends[0], text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)n;
    }
    text[length] = 0;
    close(ends[0]);
    MUST(waitpid(pid, NULL, 0) == pid);
    return text;
}

Test(kmem_checks, lines_name_cache_object_and_users) {
    struct slabmalloc_cache *cache = checked(SLABMALLOC_CACHE_CHECKS);
    const char *line = stderr_of(free_twice, cache);
    MUST(strstr(line, " of cache 'checked'"));
    const char *allocated = strstr(line, ", allocated from 0x"), *freed = strstr(line, ", freed from 0x");
    MUST(allocated && freed && strstr(allocated, " by thread ") && strchr(line, '\n') == line + strlen(line) - 1);
    /* The call is in the function that made it. */
    uintptr_t by = strtoul(allocated + strlen(", allocated from "), NULL, 16);
    MUST(by - (uintptr_t)free_twice < 256);
}

static void leave_live(void *cache) {
    for (size_t i = 0; i < 3; i++) {
        MUST(slabmalloc_cache_alloc(cache));
    }
    MUST(slabmalloc_cache_destroy(cache) == -1 && errno == EBUSY);
}

static void leave_many_live(void *cache) {
    for (size_t i = 0; i < 300; i++) {
        MUST(slabmalloc_cache_alloc(cache));
    }
    MUST(slabmalloc_cache_destroy(cache) == -1 && errno == EBUSY);
}

static size_t count_of(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

Test(kmem_checks, destroy_names_live_objects) {
    const char *lines = stderr_of(leave_live, checked(SLABMALLOC_CACHE_STORE_USER));
    MUST(count_of(lines, "slabmalloc: still live: 0x") == 3 && count_of(lines, ", allocated from 0x") == 3);
    lines = stderr_of(leave_many_live, checked(SLABMALLOC_CACHE_RED_ZONE));
    MUST(count_of(lines, "slabmalloc: still live: 0x") == 64);
    MUST(strstr(lines, "slabmalloc: still live: 300 objects in all of cache 'checked'\n"));
    MUST(!*stderr_of(leave_live, checked(SLABMALLOC_CACHE_NO_MERGE)));
}

static void panic_name(void *arg) {
    (void)arg;
    slabmalloc_cache_create("bad", 0, 0, SLABMALLOC_CACHE_PANIC, NULL);
}

Test(kmem_checks, panic_aborts_with_a_line) {
    MUST(!strcmp(stderr_of(panic_name, NULL), "slabmalloc: fatal: no cache 'bad': invalid argument\n"));
}

/* --- What checks must not change --- */

Test(kmem_checks, red_zones_lie_in_the_object_s_own_slot) {
    for (size_t align = 8; align <= PAGE_BYTES; align *= 2) {
        struct slabmalloc_cache *cache =
            slabmalloc_cache_create("zoned", BYTES, align, SLABMALLOC_CACHE_RED_ZONE, NULL);
        char *p[100];
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            p[i] = slabmalloc_cache_alloc(cache);
            MUST(p[i] && !((uintptr_t)p[i] & (align - 1)));
            MUST(slabmalloc_usable_size(p[i]) == BYTES);
            memset(p[i], (int)i, BYTES);
        }
        for (size_t i = 0; i < COUNT_OF(p); i++) {
            MUST(all_bytes_are(p[i], BYTES, (unsigned char)i));
            slabmalloc_cache_free(cache, p[i]);
        }
        MUST_BE_SOUND();
        MUST(!slabmalloc_cache_destroy(cache));
    }
}

Test(kmem_checks, pages_of_checked_caches_are_not_taken_for_fresh) {
    for (unsigned round = 0; round < 30; round++) {
        struct slabmalloc_cache *cache = checked(SLABMALLOC_CACHE_CHECKS);
        for (size_t i = 0; i < 200; i++) {
            slabmalloc_cache_free(cache, slabmalloc_cache_alloc(cache));
        }
        MUST(!slabmalloc_cache_destroy(cache));
        char *p = slabmalloc_calloc(1, 64 * KIB);
        MUST(all_bytes_are(p, 64 * KIB, 0));
        slabmalloc_free(p);
    }
}

Test(kmem_checks, constructed_objects_keep_their_state_under_all_checks) {
    struct books books = {0};
    struct slabmalloc_cache *cache = things_create("thing", 72, SLABMALLOC_CACHE_CHECKS, &books);
    struct thing *thing[500];
    for (unsigned round = 0; round < 5; round++) {
        for (size_t i = 0; i < COUNT_OF(thing); i++) {
            thing[i] = thing_alloc(cache);
        }
        for (size_t i = 0; i < COUNT_OF(thing); i++) {
            thing_free(cache, thing[i]);
        }
    }
    MUST(books.constructed <= info_of(cache).objects + books.destructed);
    things_destroy(cache, &books);
}
