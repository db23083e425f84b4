/*
 * device CASE: a device behind an IOMMU reads and writes DMA buffers. What the device does says whether they can be
 * reached, the pagemap whether they stay, /proc/self/status whether they are counted: not the library. Prints TAP.
 */
#include "edu.h"
#include "slabmalloc/dma.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)

static struct edu edu;

static void *alloc_at(enum slabmalloc_dma_level level, unsigned flags, size_t bytes) {
    struct slabmalloc_dma_spec spec = SLABMALLOC_DMA_SPEC;
    spec.level = level;
    spec.flags = flags;
    return slabmalloc_dma_alloc(bytes, &spec, NULL);
}

static uint64_t iova_of(const void *p) {
    uint64_t iova = 0;
    return slabmalloc_dma_iova(edu.container, p, &iova) ? 0 : iova;
}

static struct slabmalloc_dma_info info_of(const void *p) {
    struct slabmalloc_dma_info info = {0};
    slabmalloc_dma_info(p, &info);
    return info;
}

static uint64_t frame_of(const void *p) {
    uint64_t word = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    if (pread(fd, &word, sizeof word, (off_t)((uintptr_t)p / PAGE * sizeof word)) != sizeof word) {
        word = 0;
    }
    close(fd);
    return word >> 63 ? word & (((uint64_t)1 << 55) - 1) : 0;
}

/* The number after KEY in /proc/self/status, in bytes. */
static size_t status_bytes(const char *key) {
    const char *at = strstr(read_text("/proc/self/status"), key);
    return at ? strtoul(at + strlen(key), NULL, 10) * 1024 : 0;
}

static unsigned rings(void) {
    unsigned n = 0;
    for (int fd = 3; fd < 1024; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        n += readlink(path, target, sizeof target - 1) > 0 && strstr(target, "io_uring");
    }
    return n;
}

/* The device takes a page's bytes from one buffer and puts them into another. */
static bool device_copies(const char *from, char *to) {
    static unsigned char seed;
    seed++;
    char expected[EDU_BYTES_MAX];
    for (size_t i = 0; i < sizeof expected; i++) {
        expected[i] = (char)(seed + i * 7 + i / 256);
    }
    memcpy((char *)(uintptr_t)from, expected, sizeof expected);
    memset(to, 0, sizeof expected);
    edu_read_memory(&edu, iova_of(from), sizeof expected);
    edu_write_memory(&edu, iova_of(to), sizeof expected);
    return !memcmp(to, expected, sizeof expected) && !memcmp(from, expected, sizeof expected);
}

static bool device_reaches(uint64_t iova, const char *memory) {
    char before[64];
    memcpy(before, memory, sizeof before);
    for (size_t i = 0; i < sizeof before; i++) {
        ((char *)(uintptr_t)memory)[i] ^= 0x55;
    }
    edu_read_memory(&edu, iova, sizeof before);
    memcpy((char *)(uintptr_t)memory, before, sizeof before);
    edu_write_memory(&edu, iova, sizeof before);
    return memcmp(memory, before, sizeof before) != 0;
}

/* Whether something of the process is mapped there. */
static bool is_mapped(uint64_t iova, size_t bytes) {
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof map, .flags = VFIO_DMA_MAP_FLAG_READ, .iova = iova};
    map.size = bytes;
    map.vaddr = (uintptr_t)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool there = ioctl(edu.container, VFIO_IOMMU_MAP_DMA, &map) && errno == EEXIST;
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof unmap, .iova = iova, .size = bytes};
    if (!there) {
        ioctl(edu.container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    }
    munmap((void *)(uintptr_t)map.vaddr, bytes);
    return there;
}

static void attach(const struct slabmalloc_dma_vfio *how) {
    if (!edu_open(&edu) || !edu_start(&edu) || slabmalloc_dma_attach_vfio(edu.container, how)) {
        say(false, "the container is attached: %s", strerror(errno));
        exit(1);
    }
}

static bool fails_with(int error, int result) {
    bool good = result == -1 && errno == error;
    if (!good) {
        printf("# %d: %s\n", result, strerror(errno));
    }
    return good;
}

/* --- Cases --- */

static void errors_case(void) {
    int null = open("/dev/null", O_RDWR), closed = dup(null);
    close(closed);
    say(fails_with(EBADF, slabmalloc_dma_attach_vfio(closed, NULL)), "no file is EBADF");
    say(fails_with(ENOTTY, slabmalloc_dma_attach_vfio(null, NULL)), "another file is ENOTTY");
    say(edu_open(&edu), "there is a device and a container");
    int refused = slabmalloc_dma_attach_vfio(edu.container, NULL);
    say(refused == -1 && errno != EBUSY, "a container without an IOMMU is refused: %s", strerror(errno));
    say(edu_start(&edu), "it gets one");
    say(!slabmalloc_dma_attach_vfio(edu.container, NULL), "and is attached");
    say(fails_with(EBUSY, slabmalloc_dma_attach_vfio(edu.container, NULL)), "once");
    say(!slabmalloc_dma_detach_vfio(edu.container), "and detached");
    say(fails_with(EINVAL, slabmalloc_dma_detach_vfio(edu.container)), "once");
}

static void levels_case(void) {
    char *early = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 64 * KIB);
    say(early && info_of(early).may_move && info_of(early).level == SLABMALLOC_DMA_RESIDENT, "at first it may move");
    attach(NULL);
    say(!info_of(early).may_move && info_of(early).level == SLABMALLOC_DMA_LONGTERM, "once mapped it is LONGTERM");
    char *late = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, 64 * KIB);
    char *pinned = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 64 * KIB);
    char *huge = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, 64 * KIB);
    char *both = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_HUGE, 64 * KIB);
    say(late && pinned && huge && both, "there are buffers of every level");
    say(!rings(), "no io_uring is needed for that: %u", rings());
    say(device_copies(early, late), "the device reads what was there, writes what came later");
    say(device_copies(late + 60 * KIB, pinned + 60 * KIB), "it reaches the last page of RESIDENT and of LONGTERM");
    say(device_copies(pinned, huge + 32 * KIB), "it reaches HUGETLB");
    say(device_copies(huge, both), "it reaches LONGTERM on huge pages");
    say(!slabmalloc_dma_free(both) && !slabmalloc_dma_free(huge), "buffers go while they are mapped");
    say(fails_with(EBUSY, slabmalloc_dma_detach_vfio(edu.container)), "a LONGTERM buffer keeps the container");
    say(device_copies(early, pinned), "which works as before");
    say(!slabmalloc_dma_free(pinned) && !slabmalloc_dma_detach_vfio(edu.container), "without it the container goes");
    say(info_of(early).level == SLABMALLOC_DMA_RESIDENT && info_of(early).may_move, "levels are what they were");
    char *ringed = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 64 * KIB);
    say(ringed && rings() == 1, "LONGTERM is io_uring's again");
}

static void stays_case(void) {
    set_pool(0, 0);
    attach(NULL);
    size_t bytes = MIB, n = bytes / PAGE, locked = status_bytes("VmLck:");
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, bytes);
    uint64_t *frames = malloc(n * sizeof *frames);
    for (size_t i = 0; p && i < n; i++) {
        frames[i] = frame_of(p + i * PAGE);
    }
    say(status_bytes("VmLck:") == locked + bytes, "the kernel counts the pin once: %zu KiB",
        (status_bytes("VmLck:") - locked) / KIB);
    for (unsigned round = 0; round < 2; round++) {
        write_text("/proc/sys/vm/compact_memory", "1");
        madvise(p, bytes, MADV_PAGEOUT);
        pid_t pid = fork();
        if (!pid) {
            size_t much = 100 * MIB;
            char *taken = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
            _exit(taken == MAP_FAILED);
        }
        waitpid(pid, NULL, 0);
        memset(p, (int)round, bytes);
        bool same = true;
        for (size_t i = 0; i < n; i++) {
            same = same && frames[i] && frame_of(p + i * PAGE) == frames[i];
        }
        say(same, "frames stay through compaction, pressure and fork, round %u", round);
        say(device_copies(p, p + bytes - PAGE), "and the device finds them");
    }
    say(!slabmalloc_dma_free(p) && status_bytes("VmLck:") == locked, "and the pin ends: %zu KiB",
        status_bytes("VmLck:") / KIB);
}

static void unmapped_case(void) {
    attach(NULL);
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB), *q = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    uint64_t at_p = iova_of(p), at_q = iova_of(q);
    say(is_mapped(at_p, MIB) && is_mapped(at_q, MIB), "buffers are mapped");
    say(!slabmalloc_dma_free(p) && !is_mapped(at_p, MIB), "a pinned one is not after its end");
    say(device_reaches(at_q, q), "the device reaches the other");
    say(!slabmalloc_dma_detach_vfio(edu.container), "until the container is detached");
    say(!is_mapped(at_q, MIB) && !device_reaches(at_q, q), "then it does not");
    char *late = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, MIB);
    say(late && !iova_of(late) && !is_mapped((uintptr_t)late, MIB), "nor what comes after that");
}

static void fork_case(void) {
    attach(NULL);
    char *shared = alloc_at(SLABMALLOC_DMA_LONGTERM, SLABMALLOC_DMA_SHARED, 64 * KIB);
    char *own = alloc_at(SLABMALLOC_DMA_RESIDENT, SLABMALLOC_DMA_SHARED, 64 * KIB);
    pid_t pid = fork();
    if (!pid) {
        uint64_t iova;
        bool good = fails_with(EINVAL, slabmalloc_dma_iova(edu.container, shared, &iova)) && info_of(own).level == 0 &&
                    fails_with(EINVAL, slabmalloc_dma_detach_vfio(edu.container));
        memset(shared, 'c', PAGE);
        good = good && !slabmalloc_dma_free(shared) && !slabmalloc_dma_free(own);
        _exit(good ? 0 : 1);
    }
    int status;
    say(waitpid(pid, &status, 0) == pid && !status, "a child has buffers, but not the container: %x", (unsigned)status);
    say(shared[PAGE - 1] == 'c' && device_copies(shared, own), "what it frees the parent's device reaches still");
}

static void limit_case(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    attach(NULL);
    syscall(SYS_capget, &header, data);
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    data[0].permitted &= ~(1u << CAP_IPC_LOCK);
    say(!syscall(SYS_capset, &header, data), "CAP_IPC_LOCK can be given up");
    setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){128 * KIB, 128 * KIB});
    void *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 132 * KIB);
    say(!p && errno == EAGAIN, "more than RLIMIT_MEMLOCK is EAGAIN: %s", strerror(errno));
    p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 68 * KIB);
    say(!p && errno == EAGAIN, "as it is where both the lock and the container count: %s", strerror(errno));
    p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 128 * KIB);
    say(p && !slabmalloc_dma_free(p), "what fits is had");
    p = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 64 * KIB);
    say(p && device_copies(p, (char *)p + PAGE), "even if a region for others too would not");
}

static void no_ring_case(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(filter), filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    say(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "io_uring can be forbidden");
    say(!alloc_at(SLABMALLOC_DMA_LONGTERM, 0, PAGE) && errno == ENOTSUP, "without it LONGTERM is ENOTSUP");
    attach(NULL);
    char *p = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 2 * PAGE);
    say(p && info_of(p).level == SLABMALLOC_DMA_LONGTERM && device_copies(p, p + PAGE), "with a container it is there");
}

#define ENTRIES "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

static void entries_case(void) {
    set_pool(0, 0);
    if (!write_text(ENTRIES, "3")) {
        say(false, "the number of mappings can be limited");
    }
    attach(NULL);
    void *p[4];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB);
    }
    say(p[0] && p[1] && p[2] && !p[3] && errno == ENOSPC, "a container without mappings left is ENOSPC: %s",
        strerror(errno));
    say(!slabmalloc_dma_free(p[1]) && (p[1] = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB)), "one that goes makes room");
    write_text(ENTRIES, "65535");
}

/* --- An IOMMU, or a device, that reaches less than the process --- */

static void narrow_case(void) {
    const struct slabmalloc_dma_vfio same = {.flags = SLABMALLOC_DMA_IOVA_VA}, below = {.last = 0xfffffff};
    char *early = alloc_at(SLABMALLOC_DMA_RESIDENT, 0, 64 * KIB);
    say(edu_open(&edu) && edu_start(&edu), "there is a device");
    say(fails_with(ERANGE, slabmalloc_dma_attach_vfio(edu.container, &same)), "addresses beyond it are ERANGE");
    struct vfio_iommu_type1_dma_map taken = {.argsz = sizeof taken, .flags = VFIO_DMA_MAP_FLAG_READ};
    taken.vaddr = (uintptr_t)mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    taken.size = MIB;
    say(!ioctl(edu.container, VFIO_IOMMU_MAP_DMA, &taken), "the program maps something itself");
    say(!slabmalloc_dma_attach_vfio(edu.container, &below), "with IOVAs of its own it works");
    char *late = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, 64 * KIB);
    uint64_t first = iova_of(early), second = iova_of(late);
    say(first >= MIB && first <= below.last && second >= MIB && second <= below.last, "low ones: %llx, %llx",
        (unsigned long long)first, (unsigned long long)second);
    say(iova_of(late + 5000) == second + 5000, "in one piece");
    say(device_copies(early, late + 60 * KIB), "by which the device reaches them");
    char *huge = alloc_at(SLABMALLOC_DMA_HUGETLB, 0, MIB);
    say(huge && iova_of(huge) % (2 * MIB) == ((uintptr_t)huge & (2 * MIB - 1)), "huge pages are aligned for the IOMMU");
    say(device_copies(huge, late), "and reached");
}

static void window_case(void) {
    const struct slabmalloc_dma_vfio window = {.first = 64 * MIB, .last = 66 * MIB - 1};
    attach(&window);
    char *p[3];
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        p[i] = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB);
    }
    say(p[0] && p[1] && !p[2] && errno == ENOSPC, "a full window is ENOSPC: %s", strerror(errno));
    for (unsigned round = 0; round < 5; round++) {
        say(!slabmalloc_dma_free(p[round % 2]), "one goes");
        p[round % 2] = alloc_at(SLABMALLOC_DMA_LONGTERM, 0, MIB);
        say(p[round % 2] && device_copies(p[0], p[1]), "another has its place");
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"errors", errors_case}, {"levels", levels_case}, {"stays", stays_case},     {"unmapped", unmapped_case},
        {"fork", fork_case},     {"limit", limit_case},   {"no_ring", no_ring_case}, {"entries", entries_case},
        {"narrow", narrow_case}, {"window", window_case},
    };
    const char *what = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (!strcmp(what, cases[i].name)) {
            cases[i].run();
            return failures != 0;
        }
    }
    say(false, "%s is a case", what);
    return 1;
}
