/*
 * inject.h: walks a workload through every place where it calls the system, refusing each in turn.
 *
 * A first life of the workload, without faults, writes down all its calls and the chain of library functions that led
 * to each. A *point* is one chain in one workload. Its first call is refused, and its last, each in a process of its
 * own, in three ways: that call alone, from there on all calls of its kind, from there on all calls. Then the fault
 * ends, and the process must be as good as one that never met it: see life().
 *
 * The plan lies in memory that all children share, so what a workload's own children call is counted too.
 */
#ifndef SLABMALLOC_TEST_INJECT_H
#define SLABMALLOC_TEST_INJECT_H

#include <inttypes.h>
#include <limits.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <sys/personality.h>
#include <unwind.h>

#include "meta.h"
#include "owner.h"
#include "page.h"
#include "remote.h"
#include "support.h"

/* Chains end at the workload: its functions, and the helpers they call, lie in a section of their own. */
#define WORKLOAD __attribute__((section("workload_text"), noinline))
extern const char __start_workload_text[], __stop_workload_text[], __executable_start[], etext[];

struct workload {
    const char *name;
    void (*run)(void);
    bool at_start; /* in a fresh process, watched from before its first call to the library */
};

/* In a fresh process's environment: the descriptor of the plan's memory. */
#define INJECT_ENVIRONMENT "SLABMALLOC_TEST_INJECT"

enum fault_extent { REFUSE_ONE, REFUSE_KIND, REFUSE_ALL, FAULT_EXTENTS };

/* What a process holds when a run is over and all was freed. */
struct level {
    size_t zone_bytes, metadata_bytes, space_bytes, resident_bytes;
    size_t other_bytes; /* of the space, what is neither zone nor metadata: page map, stacks, the program itself */
};

/* A life takes a fraction of a second. */
#define HANG_SECONDS (100 * SUPPORT_SLOWDOWN)

#define CALLS_MAX 8192
#define FRAMES 12

struct seen_call {
    enum sys_call call;
    uintptr_t frame[FRAMES];
};

static struct inject {
    size_t workload; /* index */
    enum fault_extent extent;
    long at; /* this call is refused; NOT_AT_ALL: a life without faults */
    _Atomic long seen;
    _Atomic bool met, over;
    _Atomic bool space_refused; /* an unmap or a move, after which addresses may be given up */
    struct level normal;        /* after a life without faults */
    struct seen_call call[CALLS_MAX];
} * inject;

#define NOT_AT_ALL LONG_MAX

static const char *const call_name[] = {
    [SYS_MAP] = "mmap",
    [SYS_UNMAP] = "munmap",
    [SYS_REMAP] = "mremap",
    [SYS_ADVISE] = "madvise",
    [SYS_BIND] = "mbind",
    [SYS_GETCPU] = "getcpu",
    [SYS_NODES] = "get_mempolicy of nodes",
    [SYS_POLICY] = "get_mempolicy",
    [SYS_READ] = "read",
    [SYS_HUGE] = "mmap of the hugetlb pool",
    [SYS_LOCK] = "mlock2",
    [SYS_RING] = "io_uring",
    [SYS_VFIO] = "VFIO",
    [SYS_PAGEMAP] = "pagemap",
    [SYS_COPY] = "process_vm_readv",
    [SYS_THREAD] = "clone",
    [SYS_CLOCK] = "clock_gettime",
    [SYS_WAIT] = "futex",
    [SYS_WRITE] = "write",
    [SYS_OPEN] = "open",
    [SYS_KEY] = "pthread_key_create",
    [SYS_KEEP] = "pthread_setspecific",
    [SYS_ATFORK] = "pthread_atfork",
};
_Static_assert(COUNT_OF(call_name) == SYS_NCALLS, "every call has a name");

/* --- In the process under test --- */

static inline _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg) {
    struct seen_call *seen = arg;
    uintptr_t at = _Unwind_GetIP(context), start = (uintptr_t)__executable_start;
    if (at >= (uintptr_t)__start_workload_text && at < (uintptr_t)__stop_workload_text) {
        return _URC_END_OF_STACK;
    }
    for (size_t i = 0; i < FRAMES && at >= start && at < (uintptr_t)etext; i++) {
        if (!seen->frame[i]) {
            seen->frame[i] = at - start; /* the same wherever the program is loaded */
            break;
        }
    }
    return _URC_NO_REASON;
}

static inline bool refused_by_plan(enum sys_call call, long n) {
    if (n <= inject->at) {
        inject->met |= n == inject->at;
        return n == inject->at;
    }
    return inject->extent == REFUSE_ALL || (inject->extent == REFUSE_KIND && call == inject->call[inject->at].call);
}

static inline bool refused(enum sys_call call) {
    if (inject->over) {
        return false;
    }
    long n = inject->seen++;
    if (inject->at == NOT_AT_ALL) {
        MUST(n < CALLS_MAX);
        inject->call[n].call = call;
        _Unwind_Backtrace(note_frame, &inject->call[n]);
        return false;
    }
    bool now = refused_by_plan(call, n);
    inject->space_refused |= now && (call == SYS_UNMAP || call == SYS_REMAP);
    return now;
}

/* --- What the linker puts in place of the library's own (--wrap) --- */

/* Two nodes, on any machine. */
static bool two_nodes;
static unsigned node_here;

uint64_t __real_sys_nodes(void);
uint64_t __wrap_sys_nodes(void);
uint64_t __wrap_sys_nodes(void) {
    uint64_t nodes = __real_sys_nodes();
    return two_nodes && nodes ? nodes | 2 : nodes;
}

unsigned __real_sys_node(void);
unsigned __wrap_sys_node(void);
unsigned __wrap_sys_node(void) {
    unsigned node = __real_sys_node();
    return node_here ? node_here : node;
}

/* Where the next mapping shall lie. */
static char *next_map_at;

void *__real_sys_map(void *hint, size_t bytes);
void *__wrap_sys_map(void *hint, size_t bytes);
void *__wrap_sys_map(void *hint, size_t bytes) {
    if (next_map_at) {
        hint = next_map_at;
        next_map_at = NULL;
    }
    return __real_sys_map(hint, bytes);
}

/* Metadata that is out. */
static _Atomic size_t metadata_out;

void *__real_meta_alloc(size_t bytes);
void *__wrap_meta_alloc(size_t bytes);
void *__wrap_meta_alloc(size_t bytes) {
    void *piece = __real_meta_alloc(bytes);
    metadata_out += piece ? bytes : 0;
    return piece;
}

void *__real_meta_alloc_dirty(size_t bytes);
void *__wrap_meta_alloc_dirty(size_t bytes);
void *__wrap_meta_alloc_dirty(size_t bytes) {
    void *piece = __real_meta_alloc_dirty(bytes);
    metadata_out += piece ? bytes : 0;
    return piece;
}

void __real_meta_free(void *piece, size_t bytes);
void __wrap_meta_free(void *piece, size_t bytes);
void __wrap_meta_free(void *piece, size_t bytes) {
    metadata_out -= bytes;
    __real_meta_free(piece, bytes);
}

/* What the classes of object caches keep once they were used. */
static inline size_t class_metadata_held(const struct owner *owner) {
    const struct class_table *table = owner->magazines.table;
    size_t bytes = table == CLASS_TABLE_NONE ? 0 : sizeof *table;
    for (size_t i = 0; i < COUNT_OF(table->chunk); i++) {
        bytes += table->chunk[i] ? sizeof *table->chunk[i] : 0;
    }
    return bytes;
}

/* What has an owner of metadata when nothing is allocated. */
static inline size_t metadata_held(void) {
    size_t bytes = owner_count() * sizeof(struct owner);
    /* Their locks lie apart, sixteen together. */
    bytes += (owner_count() / 16 + 1) * 16 * CACHE_LINE;
    bytes += kmem_class_count() * sizeof(struct kmem_class) + kmem_tables_bytes();
    for (uint32_t id = 1; id <= owner_count(); id++) {
        const struct owner *owner = owner_by_id(id);
        for (unsigned class = 0; class < CLASS_COUNT; class ++) {
            size_t capacity = owner->cache[class].capacity;
            bytes += capacity ? (capacity + 2) * sizeof(void *) : 0;
        }
        bytes += owner->page_cache ? sizeof(struct page_cache) : 0;
        MUST(!owner->inbox);
        bytes += class_metadata_held(owner);
        bytes += owner->spare ? sizeof(struct remote_magazine) : 0;
        for (unsigned way = 0; way < REMOTE_WAYS; way++) {
            bytes += owner->open[way] ? sizeof(struct remote_magazine) : 0;
        }
    }
    return bytes;
}

static size_t failures; /* allocations that got no memory in this run */

static void check_and_free_all(void);

/* AddressSanitizer keeps a byte for every eight. */
static inline bool is_sanitizers(uintptr_t address) {
#ifdef __SANITIZE_ADDRESS__
    size_t scale, start;
    __asan_get_shadow_mapping(&scale, &start);
    return address >= start && address - start < (UINT64_C(1) << 47) >> scale;
#else
    (void)address;
    return false;
#endif
}

/* Without what a sanitizer keeps about addresses it was asked about: where the kernel has no page of zeros for all to
 * read, each such question may take a page. */
static inline size_t anonymous_resident(void) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    MUST(maps != NULL);
    size_t bytes = 0, kib;
    uintptr_t start, end;
    bool ours = false;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            ours = !is_sanitizers(start);
        } else if (sscanf(line, "Anonymous: %zu kB", &kib) == 1 && ours) {
            bytes += kib * KIB;
        }
    }
    fclose(maps);
    return bytes;
}

/* The end of a run, out of the fault's reach: everything goes back, nothing is lost. */
static inline struct level come_to_rest(void) {
    MUST_BE_SOUND();
    check_and_free_all();
    slabmalloc_trim();
    MUST_BE_SOUND();
    struct slabmalloc_stats s = stats_now();
    MUST(s.used_bytes == 0 && s.slab_bytes == 0 && s.magazine_bytes == 0);
    MUST(s.run_cached_bytes == 0 && s.mapping_cached_bytes == 0 && s.page_cached_bytes == 0);
    MUST(s.zone_free_bytes == s.zone_bytes && s.zone_dirty_bytes == 0);
    MUST(s.mapped_bytes == s.zone_bytes);
    MUST(metadata_out == metadata_held());
    size_t space = address_space_bytes();
    return (struct level){s.zone_bytes, s.metadata_bytes, space, anonymous_resident(),
                          space - s.zone_bytes - s.metadata_bytes};
}

static inline bool no_larger(struct level now, struct level before) {
    return now.zone_bytes <= before.zone_bytes && now.metadata_bytes <= before.metadata_bytes &&
           now.space_bytes <= before.space_bytes;
}

/* What was refused whole may be got in pieces: one of the largest regions more. */
#define REGION_MAX (16 * BLOCK_BYTES)

/* A heap may take a few runs to settle, since blocks come to lie elsewhere; one that lost memory never does. */
#define RUNS_TO_SETTLE 8

/* One run with the fault, then runs without: they want for nothing, and leave the process no larger than the one
 * before, nor than one that had no fault. */
static inline void life(const struct workload *workload) {
    workload->run();
    inject->over = true;
    struct level before = come_to_rest(), now;
    for (unsigned i = 0;; i++) {
        failures = 0;
        workload->run();
        MUST(failures == 0);
        now = come_to_rest();
        if (no_larger(now, before)) {
            break;
        }
        MUST(i < RUNS_TO_SETTLE);
        before = now;
    }
    if (inject->at == NOT_AT_ALL) {
        inject->normal = now;
        return;
    }
    MUST(inject->met);
    MUST(now.zone_bytes <= inject->normal.zone_bytes + REGION_MAX);
    MUST(now.metadata_bytes <= inject->normal.metadata_bytes + 256 * KIB);
    MUST(now.resident_bytes <= inject->normal.resident_bytes + 256 * KIB);
    MUST(inject->space_refused || now.other_bytes < inject->normal.other_bytes + BLOCK_BYTES);
}

/* --- In the test's process --- */

static int inject_fd; /* of the plan's memory */

static inline void inject_share(void) {
    inject_fd = memfd_create("inject", 0);
    MUST(inject_fd >= 0 && !ftruncate(inject_fd, sizeof *inject));
    inject = mmap(NULL, sizeof *inject, PROT_READ | PROT_WRITE, MAP_SHARED, inject_fd, 0);
    MUST(inject != MAP_FAILED);
}

/* Runs the plan in a child and returns its wait status. */
static inline int inject_run(const struct workload *workload) {
    inject->seen = 0;
    inject->met = inject->over = inject->space_refused = false;
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        alarm(HANG_SECONDS);
    }
    if (!pid && workload->at_start) {
        char name[] = "/proc/self/exe", fd[16];
        snprintf(fd, sizeof fd, "%d", inject_fd);
        setenv(INJECT_ENVIRONMENT, fd, 1);
        personality(ADDR_NO_RANDOMIZE); /* two lives make the same calls */
        execl(name, name, NULL);
        _exit(127);
    } else if (!pid) {
        sys_fault_hook = refused;
        life(workload);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    return status;
}

static inline bool same_chain(long a, long b) {
    return inject->call[a].call == inject->call[b].call &&
           !memcmp(inject->call[a].frame, inject->call[b].frame, sizeof inject->call[a].frame);
}

/* Lives without faults. POINT[i] and LAST[i] are the first and last call of the i'th chain; returns how many. */
static inline size_t inject_points(const struct workload *workload, long *point, long *last) {
    memset(inject->call, 0, sizeof inject->call);
    inject->at = NOT_AT_ALL;
    int status = inject_run(workload);
    cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s: without faults: wait status 0x%x", workload->name,
              (unsigned)status);
    size_t n = 0;
    for (long i = 0; i < inject->seen; i++) {
        size_t k = 0;
        while (k < n && !same_chain(point[k], i)) {
            k++;
        }
        last[k] = i;
        if (k == n) {
            point[n++] = i;
        }
    }
    return n;
}

static inline bool inject_survives(const struct workload *workload, long at, enum fault_extent extent) {
    static const char *const words[] = {"alone", "and all of its kind", "and all after it"};
    inject->at = at;
    inject->extent = extent;
    int status = inject_run(workload);
    if (WIFEXITED(status) && !WEXITSTATUS(status)) {
        return true;
    }
    const struct seen_call *seen = &inject->call[at];
    printf("%s: call %ld, %s, refused %s: wait status 0x%x; called from (addr2line -e %s)", workload->name, at,
           call_name[seen->call], words[extent], (unsigned)status, program_invocation_short_name);
    for (size_t i = 0; i < FRAMES && seen->frame[i]; i++) {
        printf(" 0x%lx", (unsigned long)seen->frame[i]);
    }
    puts("");
    return false;
}

#endif
