#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sys.h"

#ifdef HAVE_HUGETLBFS
#include <dlfcn.h>
#include <hugetlbfs.h>
#include <stdlib.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MPOL_DEFAULT 0
#define MPOL_PREFERRED 1
#define MPOL_INTERLEAVE 3
#define MPOL_LOCAL 4
#define MPOL_MODE_MASK 0xff /* the rest are flags */
#define MPOL_F_NODE 1
#define MPOL_F_ADDR 2
#define MPOL_F_MEMS_ALLOWED 4

/* Linux 5.14; the C library's headers may be older. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define MAP_HUGE_SHIFT_BITS 26

bool (*sys_fault_hook)(enum sys_call call);

void *sys_map(void *hint, size_t bytes) {
    if (sys_fault_due(SYS_MAP)) {
        return NULL;
    }
    int saved = errno;
    void *p = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

void *sys_map_shared(void *hint, size_t bytes) {
    if (sys_fault_due(SYS_MAP)) {
        return NULL;
    }
    int saved = errno;
    void *p = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

int sys_map_huge(void *hint, size_t bytes, unsigned shift, bool shared, void **address) {
    if (sys_fault_due(SYS_HUGE)) {
        return -ENOMEM;
    }
    int saved = errno;
    int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_HUGETLB | (int)shift << MAP_HUGE_SHIFT_BITS;
    void *p = mmap(hint, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    int result = p == MAP_FAILED ? -errno : 0;
    errno = saved;
    *address = p;
    return result;
}

#ifdef HAVE_HUGETLBFS
static void *(*get_huge_pages_there)(size_t bytes, ghp_t flags);

/* With its default, an empty pool is a line on stderr each time. Whoever wants to read them says so. The environment
 * may be changed: the program has not begun. */
static void *open_silently(void) {
    bool said = secure_getenv("HUGETLB_VERBOSE");
    if (!said) {
        setenv("HUGETLB_VERBOSE", "0", 0); /* NOLINT(concurrency-mt-unsafe) */
    }
    void *library = dlopen("libhugetlbfs.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!said) {
        unsetenv("HUGETLB_VERBOSE"); /* NOLINT(concurrency-mt-unsafe) */
    }
    return library;
}

size_t sys_hugetlbfs_open(void) {
    if (sys_fault_due(SYS_HUGE)) {
        return 0;
    }
    int saved = errno;
    void *library = open_silently();
    long (*page_bytes)(void) = NULL;
    if (library) {
        *(void **)&page_bytes = dlsym(library, "gethugepagesize");
        *(void **)&get_huge_pages_there = dlsym(library, "get_huge_pages");
    }
    long bytes = page_bytes && get_huge_pages_there ? page_bytes() : 0;
    errno = saved;
    return bytes > 0 ? (size_t)bytes : 0;
}

void *sys_hugetlbfs_get(size_t bytes) {
    if (sys_fault_due(SYS_HUGE)) {
        return NULL;
    }
    int saved = errno;
    void *p = get_huge_pages_there(bytes, GHP_DEFAULT);
    errno = saved;
    return p;
}
#else
size_t sys_hugetlbfs_open(void) {
    return 0;
}

void *sys_hugetlbfs_get(size_t bytes) {
    (void)bytes;
    return NULL;
}
#endif

int sys_unmap(void *address, size_t bytes) {
    if (sys_fault_due(SYS_UNMAP)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = munmap(address, bytes) ? -errno : 0;
    errno = saved;
    return result;
}

int sys_grow(void *address, size_t old_bytes, size_t new_bytes) {
    if (sys_fault_due(SYS_REMAP)) {
        return -EPERM;
    }
    int saved = errno;
    int result = mremap(address, old_bytes, new_bytes, 0) == MAP_FAILED ? -errno : 0;
    errno = saved;
    return result;
}

bool sys_move(void *address, size_t old_bytes, size_t new_bytes, void *to) {
    if (sys_fault_due(SYS_REMAP)) {
        return false;
    }
    int saved = errno;
    void *p = mremap(address, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    errno = saved;
    return p != MAP_FAILED;
}

int sys_advise(void *address, size_t bytes, enum sys_advice advice) {
    static const int native[] = {
        [SYS_DONTNEED] = MADV_DONTNEED, [SYS_HUGEPAGE] = MADV_HUGEPAGE,       [SYS_NOHUGEPAGE] = MADV_NOHUGEPAGE,
        [SYS_DONTFORK] = MADV_DONTFORK, [SYS_POPULATE] = MADV_POPULATE_WRITE, [SYS_FAULT_IN] = MADV_POPULATE_READ,
    };
    if (sys_fault_due(SYS_ADVISE)) {
        return -EINVAL;
    }
    int saved = errno;
    if (advice == SYS_DONTNEED && getauxval(AT_PAGESZ) > PAGE_BYTES) {
        return -EINVAL; /* the kernel would round up, over what is in use */
    }
    int result = madvise(address, bytes, native[advice]) ? -errno : 0;
    errno = saved;
    return result;
}

static int bind_to(void *address, size_t bytes, int mode, unsigned long mask) {
    if (sys_fault_due(SYS_BIND)) {
        return -EPERM;
    }
    int saved = errno;
    /* The kernel takes one bit less than it is told there are. */
    long result = syscall(SYS_mbind, address, bytes, mode, &mask, 8 * sizeof mask + 1, 0) ? -errno : 0;
    errno = saved;
    return (int)result;
}

int sys_bind(void *address, size_t bytes, unsigned node) {
    return bind_to(address, bytes, MPOL_PREFERRED, 1ul << node);
}

int sys_interleave(void *address, size_t bytes, uint64_t nodes) {
    return bind_to(address, bytes, MPOL_INTERLEAVE, nodes);
}

unsigned sys_node(void) {
    if (sys_fault_due(SYS_GETCPU)) {
        return 0;
    }
    int saved = errno;
    unsigned cpu = 0, node = 0;
    if (getcpu(&cpu, &node)) {
        node = 0;
    }
    errno = saved;
    return node;
}

uint64_t sys_nodes(void) {
    if (sys_fault_due(SYS_NODES)) {
        return 0;
    }
    int saved = errno;
    /* The kernel wants room for every node it was built for: 1024 is its largest configuration. */
    unsigned long mask[1024 / 8 / sizeof(unsigned long)] = {0};
    long result = syscall(SYS_get_mempolicy, NULL, mask, 8 * sizeof mask, NULL, MPOL_F_MEMS_ALLOWED);
    errno = saved;
    return result ? 0 : mask[0];
}

bool sys_has_policy(void) {
    if (sys_fault_due(SYS_POLICY)) {
        return false;
    }
    int saved = errno, mode = MPOL_DEFAULT;
    long result = syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    errno = saved;
    mode &= MPOL_MODE_MASK;
    return !result && mode != MPOL_DEFAULT && mode != MPOL_LOCAL;
}

/* By system calls: the C library's functions are points where a thread can be cancelled. */
int sys_read_file(const char *path, char *text, size_t bytes) {
    if (sys_fault_due(SYS_READ)) {
        return -ENOENT;
    }
    int saved = errno;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    long result = fd < 0 ? -errno : syscall(SYS_read, fd, text, bytes - 1);
    if (fd >= 0) {
        result = result < 0 ? -errno : result;
        syscall(SYS_close, fd);
    }
    text[result > 0 ? result : 0] = 0;
    errno = saved;
    return (int)result;
}

bool sys_copy(void *to, const void *from, size_t bytes) {
    if (sys_fault_due(SYS_COPY)) {
        return false;
    }
    int saved = errno;
    struct iovec there = {to, bytes}, here = {(void *)(uintptr_t)from, bytes};
    ssize_t n = syscall(SYS_process_vm_readv, syscall(SYS_getpid), &there, 1, &here, 1, 0);
    errno = saved;
    return n == (ssize_t)bytes;
}

int sys_node_of(const void *address) {
    if (sys_fault_due(SYS_NODES)) {
        return -1;
    }
    int saved = errno, node = -1;
    if (syscall(SYS_get_mempolicy, &node, NULL, 0, address, MPOL_F_NODE | MPOL_F_ADDR)) {
        node = -1;
    }
    errno = saved;
    return node;
}

size_t sys_page_bytes(void) {
    return getauxval(AT_PAGESZ);
}

uint64_t sys_now_ms(void) {
    if (sys_fault_due(SYS_CLOCK)) {
        return 0;
    }
    int saved = errno;
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    errno = saved;
    return result ? 0 : (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sys_sleep(uint64_t ms) {
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    int saved = errno;
    syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
    errno = saved;
}

int32_t sys_pid(void) {
    return (int32_t)syscall(SYS_getpid);
}

int32_t sys_thread_id(void) {
    return (int32_t)syscall(SYS_gettid);
}

/* The C library's own signals, which sigset_t leaves out: 32 cancels threads, 33 makes all of them change ids. */
uint64_t sys_block_signals(void) {
    uint64_t all = ~((uint64_t)1 << (33 - 1)), before = 0;
    int saved = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    errno = saved;
    return before;
}

void sys_restore_signals(uint64_t blocked) {
    int saved = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof blocked);
    errno = saved;
}

#define PIPE_MASK ((uint64_t)1 << (SIGPIPE - 1))

struct sys_held_pipe sys_hold_pipe(void) {
    uint64_t pipe = PIPE_MASK, before = 0, pending = 0;
    int saved = errno;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pipe, &before, sizeof pipe);
    syscall(SYS_rt_sigpending, &pending, sizeof pending);
    errno = saved;
    return (struct sys_held_pipe){before, pending & PIPE_MASK};
}

void sys_release_pipe(struct sys_held_pipe held) {
    uint64_t pipe = PIPE_MASK;
    const struct timespec now = {0, 0};
    int saved = errno;
    if (!held.pending) {
        syscall(SYS_rt_sigtimedwait, &pipe, NULL, &now, sizeof pipe);
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &held.blocked, NULL, sizeof held.blocked);
    errno = saved;
}

int sys_guard(void *address, size_t bytes) {
    if (sys_fault_due(SYS_THREAD)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = mprotect(address, bytes, PROT_NONE) ? -errno : 0;
    errno = saved;
    return result;
}

int sys_clone(int (*main)(void *), void *stack_top, void *pointer, _Atomic uint32_t *alive) {
    if (sys_fault_due(SYS_THREAD)) {
        return -EAGAIN;
    }
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    uint64_t all = ~(uint64_t)0, before = 0; /* the C library's own signals too, which sigset_t leaves out */
    int saved = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    int result = clone(main, stack_top, flags, NULL, alive, pointer, alive) < 0 ? -errno : 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    errno = saved;
    return result;
}

void sys_name_thread(const char *name) {
    const struct sched_param none = {0};
    int saved = errno;
    syscall(SYS_prctl, PR_SET_NAME, name, 0, 0, 0);
    syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &none);
    errno = saved;
}

void sys_futex_wait(_Atomic uint32_t *word, uint32_t value) {
    if (sys_fault_due(SYS_WAIT)) {
        return;
    }
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

void sys_futex_wake(_Atomic uint32_t *word) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

/* Fewer bytes than asked for is no error, but none at all would be for ever. */
static ssize_t write_some(int fd, const char *text, size_t bytes) {
    ssize_t n;
    do {
        n = write(fd, text, bytes);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n ? n : -EIO;
}

int sys_write_all(int fd, const char *text, size_t bytes) {
    if (sys_fault_due(SYS_WRITE)) {
        return -EIO;
    }
    int saved = errno, result = 0;
    while (bytes && !result) {
        ssize_t n = write_some(fd, text, bytes);
        if (n < 0) {
            result = (int)n;
        } else {
            text += n;
            bytes -= (size_t)n;
        }
    }
    errno = saved;
    return result;
}

void sys_write(int fd, const char *text, size_t bytes) {
    sys_write_all(fd, text, bytes);
}

int sys_file_of(int fd, struct sys_file *file) {
    struct stat stat;
    int saved = errno;
    int result = fstat(fd, &stat) ? -errno : 0;
    if (!result) {
        *file = (struct sys_file){.device = stat.st_dev, .inode = stat.st_ino};
    }
    errno = saved;
    return result;
}

bool sys_is_file(int fd, const struct sys_file *file) {
    struct sys_file now;
    return !sys_file_of(fd, &now) && now.device == file->device && now.inode == file->inode;
}

int sys_dup(int fd) {
    if (sys_fault_due(SYS_OPEN)) {
        return -EMFILE;
    }
    int saved = errno;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    copy = copy < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : copy;
    int result = copy < 0 ? -errno : copy;
    errno = saved;
    return result;
}

int sys_open_append(const char *path) {
    if (sys_fault_due(SYS_OPEN)) {
        return -ENFILE;
    }
    int saved = errno;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0600);
    int result = fd < 0 ? -errno : fd;
    if (fd >= 0) {
        fcntl(fd, F_SETFL, O_APPEND); /* only opening must not wait: a FIFO's reader gets all of it */
    }
    errno = saved;
    return result;
}

void sys_close(int fd) {
    int saved = errno;
    close(fd);
    errno = saved;
}

int sys_key(pthread_key_t *key, void (*at_exit)(void *kept)) {
    return sys_fault_due(SYS_KEY) ? -EAGAIN : -pthread_key_create(key, at_exit);
}

int sys_keep(pthread_key_t key, const void *kept) {
    if (sys_fault_due(SYS_KEEP)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = -pthread_setspecific(key, kept);
    errno = saved;
    return result;
}

int sys_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    if (sys_fault_due(SYS_ATFORK)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = -pthread_atfork(prepare, parent, child);
    errno = saved;
    return result;
}
