/* dma_probe.h: what the DMA tests look at the kernel with, apart from the library's own word. */
#ifndef SLABMALLOC_TEST_DMA_PROBE_H
#define SLABMALLOC_TEST_DMA_PROBE_H

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "hugetlb_pool.h"
#include "slabmalloc/dma.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define HUGE (2 * MIB)

static inline struct slabmalloc_dma_spec spec_at(enum slabmalloc_dma_level level, unsigned flags) {
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.level = level;
    spec.flags = flags;
    return spec;
}

static inline void *alloc_at(enum slabmalloc_dma_level level, unsigned flags, size_t bytes) {
    struct slabmalloc_dma_spec spec = spec_at(level, flags);
    return slabmalloc_dma_alloc(bytes, &spec, NULL);
}

/* The page frame behind P; 0: hidden or none. */
static inline uint64_t frame_of(const void *p) {
    uint64_t word = 0;
    FILE *file = fopen("/proc/self/pagemap", "r");
    MUST(file && !fseek(file, (long)((uintptr_t)p / PAGE * sizeof word), SEEK_SET));
    MUST(fread(&word, sizeof word, 1, file) == 1);
    fclose(file);
    return word >> 63 ? word & (((uint64_t)1 << 55) - 1) : 0;
}

static inline uint64_t phys_of(const void *p) {
    return frame_of(p) * PAGE + (uintptr_t)p % PAGE;
}

static inline bool frames_visible(void) {
    volatile char here = 1;
    return frame_of((const char *)&here) != 0;
}

#define NEEDS_FRAMES()                                                                                                 \
    do {                                                                                                               \
        if (!frames_visible()) {                                                                                       \
            cr_skip_test("no CAP_SYS_ADMIN: the kernel hides page frame numbers");                                     \
        }                                                                                                              \
    } while (0)

#define NEEDS_ROOT()                                                                                                   \
    do {                                                                                                               \
        if (geteuid()) {                                                                                               \
            cr_skip_test("needs root, to give up capabilities one by one");                                            \
        }                                                                                                              \
    } while (0)

/* Where io_uring is off, LONGTERM cannot be had. */
#define NEEDS_RING()                                                                                                   \
    do {                                                                                                               \
        void *ring_probe = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 1);                                                    \
        if (!ring_probe) {                                                                                             \
            cr_skip_test("no io_uring here: %s", strerror(errno));                                                     \
        }                                                                                                              \
        MUST(!slabmalloc_dma_free(ring_probe));                                                                        \
    } while (0)

static inline void drop_capability(int capability) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    MUST(!syscall(SYS_capget, &header, data));
    data[capability / 32].effective &= ~(1u << capability % 32);
    data[capability / 32].permitted &= ~(1u << capability % 32);
    MUST(!syscall(SYS_capset, &header, data));
}

static inline void limit_locked_memory(size_t bytes) {
    MUST(!setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){bytes, bytes}));
    drop_capability(CAP_IPC_LOCK);
}

/* System call NUMBER fails with ERROR from now on. */
static inline void forbid_call(unsigned number, unsigned error) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(filter), filter};
    MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

/* Everything that makes the kernel move pages: compaction of all memory, reclaim of these, and a process that takes and
 * frees a lot. */
static inline void stir_memory(void *p, size_t bytes) {
    compact_memory();
    madvise(p, bytes, MADV_PAGEOUT);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid) {
        size_t much = 256 * MIB;
        char *taken = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t at = 0; taken != MAP_FAILED && at < much; at += PAGE) {
            taken[at] = 1;
        }
        _exit(0);
    }
    MUST(waitpid(pid, NULL, 0) == pid);
}

#endif
