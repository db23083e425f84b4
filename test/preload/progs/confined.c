/*
 * confined MODE: the process gives something up that an allocator may count on, and memory works on.
 *   fds       all file descriptors are closed before a thread starts
 *   no-fds    RLIMIT_NOFILE is 0: nothing can be opened
 *   chroot    an empty root directory: no /proc, no /sys (root only)
 *   seccomp   madvise, mremap, mbind, getcpu, sched_getaffinity, get_mempolicy, open, openat, readlink, membarrier are
 *             refused with EPERM
 *   unshare   a program with one thread may still unshare its user namespace, which the kernel refuses to threaded ones
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The first thing that went wrong, for the report. */
static const char *broken;
static size_t broken_size;

static size_t bad_if(int condition, const char *what, size_t size) {
    if (condition && !broken) {
        broken = what;
        broken_size = size;
    }
    return condition != 0;
}

static void *works(void *argument) {
    size_t bad = 0;
    static const size_t sizes[] = {1, 100, 3000, 20000, 100000, 1 << 20, 5 << 20};
    (void)argument;
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i], dirty = 0;
            char *p = opaque(malloc(n)), *q = opaque(calloc(1, n));
            if (bad_if(!p, "malloc is NULL", n) || bad_if(!q, "calloc is NULL", n))
                return (void *)1;
            pattern_fill(p, n, i);
            for (size_t k = 0; k < n; k++)
                dirty += q[k] != 0;
            bad += bad_if(dirty != 0, "calloc is not zero", n);
            memset(q, 0xa5, n);
            char *moved = opaque(realloc(p, n * 2));
            bad += bad_if(!moved, "realloc is NULL, doubling", n);
            p = moved ? moved : p;
            bad += bad_if(pattern_check(p, n, i) != n, "realloc lost bytes, doubling", n);
            free(p);
            free(q);
        }
    malloc_trim(0);
    return (void *)bad;
}

static void threads_work(const char *when) {
    pthread_t threads[4];
    size_t bad = 0;
    ok(works(NULL) == NULL, "%s: the main thread's memory works", when);
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, works, NULL) != 0)
            _exit(77);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    ok(bad == 0, "%s: new threads' memory works", when);
    pid_t pid = fork();
    if (pid == 0)
        _exit(works(NULL) != NULL);
    int status = -1;
    waitpid(pid, &status, 0);
    ok(status == 0, "%s: a forked child's memory works", when);
    if (broken)
        note("%s %zu", broken, broken_size);
}

static void without_descriptors(void) {
    int saved = dup(1);
    /* 1 must come back for the results; everything else goes, and whatever the allocator had open with it. */
    for (int fd = 0; fd < 1024; fd++)
        if (fd != saved)
            close(fd);
    void *bad = works(NULL);
    pthread_t thread;
    void *result = (void *)1;
    if (pthread_create(&thread, NULL, works, NULL) == 0)
        pthread_join(thread, &result);
    dup2(saved, 1);
    ok(bad == NULL && result == NULL, "all descriptors closed: memory works");
    /* Nothing may have been written to descriptors that the program reuses. */
    char name[] = "/tmp/slabmalloc-fd-XXXXXX";
    int fd = mkstemp(name);
    if (fd >= 0) {
        unlink(name);
        dup2(fd, 2);
        works(NULL);
        ok(lseek(2, 0, SEEK_END) == 0, "nothing is written to a descriptor that the program has reused");
    }
}

static void cannot_open(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    threads_work("RLIMIT_NOFILE of 0");
}

static void in_empty_root(void) {
    char name[] = "/tmp/slabmalloc-root-XXXXXX";
    if (!mkdtemp(name))
        return;
    int changed = chdir(name) == 0 && chroot(".") == 0;
    if (!changed) {
        rmdir(name);
        skip("chroot", "not permitted");
        return;
    }
    threads_work("empty root directory");
}

static void refused_calls(void) {
    static const int refused[] = {SYS_madvise,       SYS_mremap,         SYS_mbind, SYS_getcpu, SYS_sched_getaffinity,
                                  SYS_get_mempolicy, SYS_set_mempolicy,  SYS_open,  SYS_openat, SYS_readlink,
                                  SYS_membarrier,    SYS_process_madvise};
    enum { COUNT = sizeof refused / sizeof *refused };
    struct sock_filter code[COUNT + 4];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned char i = 0; i < COUNT; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i],
                                                 (unsigned char)(COUNT - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog filter = {n, code};
    works(NULL); /* some memory was purged and cached before the door closes */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        skip("seccomp", "not available");
        return;
    }
    threads_work("seccomp refuses madvise, mremap, mbind, getcpu, open");
}

static int unshares_after(size_t bytes) {
    pid_t pid = fork();
    if (pid == 0) {
        enum { SIZE = 1000 };
        size_t count = bytes / SIZE;
        void **p = malloc(count * sizeof *p);
        for (size_t i = 0; i < count; i++)
            memset(p[i] = opaque(malloc(SIZE)), 1, SIZE);
        for (size_t i = 0; i < count; i++)
            free(p[i]);
        free(p);
        _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void unshares(void) {
    if (tap_subject_is("glibc") && unshares_after(1000) == EPERM) {
        skip("unshare", "user namespaces are not permitted");
        return;
    }
    int result = unshares_after((size_t)8 << 20);
    ok(result != EINVAL && result >= 0, "a program with one thread and an 8 MiB heap may unshare its user namespace");
    result = unshares_after((size_t)256 << 20);
    ok(result != EINVAL && result >= 0, "and so may one that has just freed 256 MiB");
}

int main(int argc, char **argv) {
    tap_begin();
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "fds") == 0)
        without_descriptors();
    else if (strcmp(mode, "no-fds") == 0)
        cannot_open();
    else if (strcmp(mode, "chroot") == 0)
        in_empty_root();
    else if (strcmp(mode, "seccomp") == 0)
        refused_calls();
    else if (strcmp(mode, "unshare") == 0)
        unshares();
    else
        return 2;
    return done_testing();
}
