#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MPOL_DEFAULT 0
#define MPOL_PREFERRED 1
#define MPOL_INTERLEAVE 3
#define MPOL_LOCAL 4
#define MPOL_MODE_MASK 0xff /* the rest are flags */
#define MPOL_F_MEMS_ALLOWED 4

bool (*sys_fault_hook)(enum sys_call call);

static bool fault_due(enum sys_call call) {
    return unlikely(sys_fault_hook != NULL) && sys_fault_hook(call);
}

void *sys_map(void *hint, size_t bytes) {
    if (fault_due(SYS_MAP)) {
        return NULL;
    }
    int saved = errno;
    void *p = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

int sys_unmap(void *address, size_t bytes) {
    if (fault_due(SYS_UNMAP)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = munmap(address, bytes) ? -errno : 0;
    errno = saved;
    return result;
}

int sys_grow(void *address, size_t old_bytes, size_t new_bytes) {
    if (fault_due(SYS_REMAP)) {
        return -EPERM;
    }
    int saved = errno;
    int result = mremap(address, old_bytes, new_bytes, 0) == MAP_FAILED ? -errno : 0;
    errno = saved;
    return result;
}

bool sys_move(void *address, size_t old_bytes, size_t new_bytes, void *to) {
    if (fault_due(SYS_REMAP)) {
        return false;
    }
    int saved = errno;
    void *p = mremap(address, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    errno = saved;
    return p != MAP_FAILED;
}

int sys_advise(void *address, size_t bytes, enum sys_advice advice) {
    static const int native[] = {
        [SYS_DONTNEED] = MADV_DONTNEED,
        [SYS_HUGEPAGE] = MADV_HUGEPAGE,
        [SYS_NOHUGEPAGE] = MADV_NOHUGEPAGE,
    };
    if (fault_due(SYS_ADVISE)) {
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
    if (fault_due(SYS_BIND)) {
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
    if (fault_due(SYS_GETCPU)) {
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
    if (fault_due(SYS_NODES)) {
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
    if (fault_due(SYS_POLICY)) {
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
    if (fault_due(SYS_READ)) {
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

uint64_t sys_now_ms(void) {
    if (fault_due(SYS_CLOCK)) {
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

int sys_guard(void *address, size_t bytes) {
    if (fault_due(SYS_THREAD)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = mprotect(address, bytes, PROT_NONE) ? -errno : 0;
    errno = saved;
    return result;
}

int sys_clone(int (*main)(void *), void *stack_top, void *pointer, _Atomic uint32_t *alive) {
    if (fault_due(SYS_THREAD)) {
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
    if (fault_due(SYS_WAIT)) {
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

void sys_write(int fd, const char *text, size_t bytes) {
    if (fault_due(SYS_WRITE)) {
        return;
    }
    int saved = errno;
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        text += n;
        bytes -= (size_t)n;
    }
    errno = saved;
}

int sys_key(pthread_key_t *key, void (*at_exit)(void *kept)) {
    return fault_due(SYS_KEY) ? -EAGAIN : -pthread_key_create(key, at_exit);
}

int sys_keep(pthread_key_t key, const void *kept) {
    if (fault_due(SYS_KEEP)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = -pthread_setspecific(key, kept);
    errno = saved;
    return result;
}

int sys_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    if (fault_due(SYS_ATFORK)) {
        return -ENOMEM;
    }
    int saved = errno;
    int result = -pthread_atfork(prepare, parent, child);
    errno = saved;
    return result;
}
