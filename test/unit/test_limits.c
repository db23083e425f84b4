/* Lack of memory of every kind is NULL with ENOMEM, and over when memory is back. */
#include <fcntl.h>
#include <grp.h>

#include "heap.h"
#include "pagemap.h"
#include "support.h"

/* --- One life with a shadow, in which any call may fail --- */

#define BLOCKS 120

static struct {
    char *p;
    size_t bytes;
    uint64_t seed;
} block[BLOCKS];

static _Atomic size_t failures;

/* NULL is all right only with ENOMEM. */
static char *maybe(void *p) {
    if (!p) {
        MUST(errno == ENOMEM);
        failures++;
    }
    errno = 0;
    return p;
}

static void try_thread(unsigned index) {
    char *p[50];
    errno = 0;
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = maybe(slabmalloc_malloc(100 * (i + 1) * (i % 10 ? 1 : 300)));
        if (p[i]) {
            words_fill(p[i], 100 * (i + 1), index + i);
        }
    }
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        MUST(!p[i] || words_hold(p[i], 100 * (i + 1), index + i));
        slabmalloc_free(p[i]);
    }
}

static void *try_thread_start(void *arg) {
    try_thread((unsigned)(uintptr_t)arg);
    return NULL;
}

/* As many of two threads as the limit lets the C library make. */
static void try_threads(void) {
    pthread_t thread[2];
    bool made[2];
    for (uintptr_t i = 0; i < 2; i++) {
        made[i] = !pthread_create(&thread[i], NULL, try_thread_start, (void *)i);
    }
    for (size_t i = 0; i < 2; i++) {
        MUST(!made[i] || !pthread_join(thread[i], NULL));
    }
}

static void live(unsigned nsteps, size_t most) {
    struct rng rng = {3};
    errno = 0;
    for (unsigned step = 0; step < nsteps; step++) {
        size_t i = rng_below(&rng, BLOCKS), bytes = 1 + random_size(&rng, rng_below(&rng, 4) ? 100 * KIB : most);
        if (!block[i].p) {
            size_t kind = rng_below(&rng, 4), align = (size_t)16 << rng_below(&rng, 19);
            block[i].p = maybe(kind == 0   ? slabmalloc_calloc(1, bytes)
                               : kind == 1 ? slabmalloc_aligned_alloc(align, bytes)
                                           : slabmalloc_malloc(bytes));
            MUST(kind || !block[i].p || all_bytes_are(block[i].p, bytes, 0));
            block[i].bytes = bytes;
        } else if (rng_below(&rng, 3)) {
            MUST(words_hold(block[i].p, block[i].bytes, block[i].seed));
            slabmalloc_free(block[i].p);
            block[i].p = NULL;
        } else {
            char *p = maybe(slabmalloc_realloc(block[i].p, bytes));
            char *now = p ? p : block[i].p; /* a failed realloc leaves the block */
            size_t kept = p ? min_size(bytes, block[i].bytes) & ~(size_t)7 : block[i].bytes;
            MUST(words_hold(now, kept, block[i].seed));
            block[i].p = now;
            block[i].bytes = p ? bytes : block[i].bytes;
        }
        if (block[i].p) {
            block[i].seed = step;
            words_fill(block[i].p, block[i].bytes, step);
        }
        if (step % 64 == 63) {
            slabmalloc_trim();
        }
    }
    /* The random part may not come to growing a mapping. */
    char *p = maybe(slabmalloc_malloc(3 * MIB)), *q = p ? maybe(slabmalloc_realloc(p, 5 * MIB)) : NULL;
    slabmalloc_free(q ? q : p);
    try_threads();
}

static void end_life(void) {
    for (size_t i = 0; i < BLOCKS; i++) {
        MUST(!block[i].p || words_hold(block[i].p, block[i].bytes, block[i].seed));
        slabmalloc_free(block[i].p);
        block[i].p = NULL;
    }
    slabmalloc_trim();
    MUST_BE_SOUND();
    MUST(stats_now().used_bytes == 0);
}

static void live_after_recovery(void) {
    failures = 0;
    live(300, 6 * MIB);
    MUST(failures == 0);
    end_life();
}

/* --- Every system call fails, once and from then on --- */

struct plan {
    uint32_t calls;
    long first, length, seen;
};

static void live_by_plan(void *arg) {
    const struct plan *plan = arg;
    fault_arm(plan->calls, plan->first, plan->length == FOREVER ? FOREVER : plan->first + plan->length);
    live(300, 6 * MIB);
    long seen = fault_disarm();
    end_life();
    live_after_recovery();
    /* All failures that the plan had were met: the next plan would change nothing. */
    _exit(seen <= plan->first ? 1 : 0);
}

/* How many calls there are is found by going on until a run saw no failure. */
static void fail_each(uint32_t calls, long length, long stride) {
    for (long first = 0;; first += stride) {
        struct plan plan = {calls, first, length, 0};
        pid_t pid = fork();
        MUST(pid >= 0);
        if (!pid) {
            live_by_plan(&plan);
        }
        int status;
        MUST(waitpid(pid, &status, 0) == pid);
        cr_assert(WIFEXITED(status), "calls 0x%x from %ld for %ld: wait status 0x%x", calls, first, length,
                  (unsigned)status);
        if (WEXITSTATUS(status)) {
            MUST(first > 0);
            return;
        }
    }
}

#define STRIDE (SUPPORT_SLOWDOWN * (check_level_is("quick") ? 10 : 1))

Test(limits, any_one_map_may_fail) {
    fail_each(1u << SYS_MAP, 1, STRIDE);
}

Test(limits, all_maps_may_fail_from_any_moment_on) {
    fail_each(1u << SYS_MAP, FOREVER, STRIDE);
}

Test(limits, maps_and_remaps_may_fail_in_a_row) {
    fail_each(1u << SYS_MAP | 1u << SYS_REMAP, 4, 3 * STRIDE);
}

Test(limits, any_remap_may_fail) {
    fail_each(1u << SYS_REMAP, 1, 2 * STRIDE);
    fail_each(1u << SYS_REMAP, FOREVER, 5 * STRIDE);
}

Test(limits, any_unmap_may_fail) {
    fail_each(1u << SYS_UNMAP, 1, 5 * STRIDE);
    fail_each(1u << SYS_UNMAP, FOREVER, 11 * STRIDE);
}

Test(limits, any_advice_may_fail) {
    fail_each(1u << SYS_ADVISE, 1, 11 * STRIDE);
    fail_each(1u << SYS_ADVISE, FOREVER, 23 * STRIDE);
}

Test(limits, everything_may_fail) {
    fail_each(~0u, FOREVER, 37 * STRIDE);
}

Test(limits, refused_system_calls_keep_errno) {
    char *odd = (char *)1;
    errno = 12345;
    MUST(sys_map(NULL, (size_t)1 << 60) == NULL);
    MUST(sys_unmap(odd, PAGE_BYTES) < 0);
    MUST(sys_grow(odd, PAGE_BYTES, 2 * PAGE_BYTES));
    MUST(sys_advise(odd, PAGE_BYTES, SYS_DONTNEED) < 0);
    MUST(sys_bind(odd, PAGE_BYTES, 0) < 0);
    MUST(errno == 12345);
}

Test(limits, node_calls_may_fail) {
    fault_arm(1u << SYS_GETCPU | 1u << SYS_BIND | 1u << SYS_NODES, 0, FOREVER);
    live(300, 6 * MIB);
    fault_disarm();
    end_life();
}

/* --- Address space --- */

static size_t address_space(void) {
    size_t npages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    MUST(statm && fscanf(statm, "%zu", &npages) == 1);
    fclose(statm);
    return npages * PAGE_BYTES;
}

static void limit_address_space(size_t more) {
    struct rlimit limit = {address_space() + more, RLIM_INFINITY};
    MUST(!setrlimit(RLIMIT_AS, &limit));
}

static void *hoard[200000];

static size_t hoard_until_null(size_t bytes) {
    size_t n = 0;
    errno = 0;
    while (n < COUNT_OF(hoard) && (hoard[n] = slabmalloc_malloc(bytes))) {
        n++;
    }
    MUST(n < COUNT_OF(hoard) && errno == ENOMEM);
    return n;
}

static void hoard_and_free(void *arg) {
    size_t bytes = *(size_t *)arg;
    limit_address_space(64 * MIB);
    size_t first = hoard_until_null(bytes);
    MUST(first * bytes >= 40 * MIB); /* most of what there is */
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < 10; i++) {
            errno = 0;
            MUST(!slabmalloc_malloc(64 * MIB) && errno == ENOMEM);
        }
        MUST_BE_SOUND();
        for (size_t i = 0; i < first; i++) {
            slabmalloc_free(hoard[i]);
        }
        size_t again = hoard_until_null(bytes);
        MUST(again + again / 8 + 2 >= first);
        first = again;
    }
    for (size_t i = 0; i < first; i++) {
        slabmalloc_free(hoard[i]);
    }
    slabmalloc_trim();
    MUST(stats_now().used_bytes == 0);
    MUST_BE_SOUND();
    MUST(!setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}));
    live_after_recovery();
}

Test(limits, exhausted_address_space_is_enomem_and_comes_back) {
    SKIP_UNDER_TSAN("it needs address space too");
    static const size_t sizes[] = {512, 5000, SLAB_MAX, 100 * KIB, 1 * MIB, 5 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t bytes = sizes[i];
        child_must_end_well(hoard_and_free, &bytes);
    }
}

static void grow_until_null(void *arg) {
    (void)arg;
    limit_address_space(128 * MIB);
    size_t bytes = 1000;
    char *p = slabmalloc_malloc(bytes), *q;
    words_fill(p, bytes, bytes);
    errno = 0;
    while ((q = slabmalloc_realloc(p, bytes + bytes / 4))) {
        MUST(words_hold(q, bytes & ~(size_t)7, bytes));
        p = q;
        bytes += bytes / 4;
        words_fill(p, bytes, bytes);
    }
    MUST(errno == ENOMEM && bytes > 40 * MIB);
    MUST(words_hold(p, bytes, bytes));
    p = slabmalloc_realloc(p, 100);
    MUST(p && words_hold(p, 96, bytes));
    slabmalloc_free(p);
    MUST_BE_SOUND();
}

Test(limits, realloc_keeps_the_block_when_address_space_ends) {
    child_must_end_well(grow_until_null, NULL);
}

static void live_tightly(void *arg) {
    limit_address_space(*(size_t *)arg);
    live(3000, 20 * MIB);
    setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    end_life();
    live_after_recovery();
}

Test(limits, life_goes_on_in_little_address_space) {
    for (size_t room = 1 * MIB; room <= 64 * MIB; room *= 2) {
        child_must_end_well(live_tightly, &room);
    }
}

static void data_limit(void *arg) {
    (void)arg;
    setrlimit(RLIMIT_DATA, &(struct rlimit){48 * MIB, RLIM_INFINITY});
    live(3000, 20 * MIB);
    setrlimit(RLIMIT_DATA, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    end_life();
    live_after_recovery();
}

Test(limits, data_limit_is_enomem) {
    SKIP_UNDER_SANITIZERS("it needs memory too");
    child_must_end_well(data_limit, NULL);
}

/* --- Map areas --- */

/* With every map area used up, even munmap of a middle part fails. */
static void use_up_map_areas(void *arg) {
    (void)arg;
    live(300, 6 * MIB);
    size_t npages = 200000;
    char *room = mmap(NULL, npages * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(room != MAP_FAILED);
    size_t i = 0;
    while (i < npages && !mprotect(room + i * PAGE_BYTES, PAGE_BYTES, PROT_READ)) {
        i += 2;
    }
    if (i >= npages) {
        return; /* vm.max_map_count is raised here: nothing to see */
    }
    struct rng rng = {1};
    for (unsigned step = 0; step < 2000; step++) {
        size_t at = rng_below(&rng, BLOCKS);
        MUST(!block[at].p || words_hold(block[at].p, block[at].bytes, block[at].seed));
        errno = 12345;
        slabmalloc_free(block[at].p);
        MUST(errno == 12345); /* even if munmap was refused */
        block[at].bytes = 1 + random_size(&rng, 6 * MIB);
        block[at].p = maybe(slabmalloc_malloc(block[at].bytes));
        if (block[at].p) {
            words_fill(block[at].p, block[at].bytes, block[at].seed);
        }
        if (step % 100 == 0) {
            slabmalloc_trim();
        }
    }
    munmap(room, npages * PAGE_BYTES);
    end_life();
    live_after_recovery();
}

Test(limits, map_areas_may_run_out) {
    SKIP_UNDER_TSAN("it needs map areas too");
    child_must_end_well(use_up_map_areas, NULL);
}

/* --- Locked memory --- */

/* Locked pages refuse MADV_DONTNEED: they are not zero after a trim. */
static void live_locked(void *arg) {
    (void)arg;
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
        return; /* not allowed here: the next test covers the refusal */
    }
    failures = 0;
    live(1000, 6 * MIB);
    MUST(failures == 0);
    end_life();
    live_after_recovery();
}

Test(limits, locked_memory_works) {
    child_must_end_well(live_locked, NULL);
}

static void live_with_little_locked(void *arg) {
    (void)arg;
    setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){32 * MIB, 32 * MIB});
    if (setgroups(0, NULL) || setgid(65534) || setuid(65534) || mlockall(MCL_FUTURE)) {
        return;
    }
    live(1000, 6 * MIB);
    munlockall();
    end_life();
    live_after_recovery();
}

Test(limits, memlock_limit_is_enomem) {
    child_must_end_well(live_with_little_locked, NULL);
}

/* --- Overcommit 2: every mapping is charged, MAP_NORESERVE or not --- */

static const char overcommit[] = "/proc/sys/vm/overcommit_memory";

static bool set_overcommit(char mode) {
    int fd = open(overcommit, O_WRONLY);
    bool done = fd >= 0 && write(fd, &mode, 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

static char get_overcommit(void) {
    char mode = '?';
    int fd = open(overcommit, O_RDONLY);
    if (fd >= 0) {
        MUST(read(fd, &mode, 1) == 1);
        close(fd);
    }
    return mode;
}

static void live_charged(void *arg) {
    (void)arg;
    alarm(20);
    failures = 0;
    live(1000, 6 * MIB);
    /* More than any commit limit. */
    errno = 0;
    MUST(slabmalloc_malloc((size_t)1 << 46) == NULL && errno == ENOMEM);
    end_life();
}

Test(limits, works_where_the_kernel_never_overcommits) {
    SKIP_UNDER_SANITIZERS("its shadow memory, and that of other tests starting now, is overcommitted");
    char before = get_overcommit();
    if (before != '2' && !set_overcommit('2')) {
        cr_skip_test("cannot set %s", overcommit);
    }
    pid_t pid = fork(); /* the mode is put back whatever becomes of the child */
    if (!pid) {
        live_charged(NULL);
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    MUST(before == '2' || set_overcommit(before));
    MUST(pid > 0);
    MUST_BE_GOOD_END(status);
}
