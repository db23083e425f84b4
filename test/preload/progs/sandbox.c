/*
 * A program of one thread that shuts itself into a sandbox with prctl: any system call but those that a malloc of one
 * thread cannot do without ends it. A heap of 100 MiB comes and goes there, and one that was there before goes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SIZE = 1000, COUNT = 100000, UNAVAILABLE = 77 };

static void *blocks[COUNT];

static void enter_sandbox(void) {
    static const int allowed[] = {SYS_mmap, SYS_munmap,     SYS_mremap, SYS_madvise,
                                  SYS_brk,  SYS_futex,      SYS_write,  SYS_clock_gettime,
                                  SYS_exit, SYS_exit_group, SYS_getpid, SYS_clock_nanosleep};
    enum { CALLS = sizeof allowed / sizeof *allowed };
    struct sock_filter code[CALLS + 3];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned char i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i],
                                                 (unsigned char)(CALLS - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {n, code};
    free(opaque(malloc(1))); /* a first call may ask for more */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        _exit(UNAVAILABLE);
}

static void allocate(void) {
    for (size_t i = 0; i < COUNT; i++)
        memset(blocks[i] = opaque(malloc(i % 1000 ? SIZE : SIZE * SIZE)), 1, SIZE);
}

/* And goes on long enough for an allocator to notice that much is free. */
static void release(void) {
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 20000; i++)
            blocks[i] = opaque(malloc(i % 600));
        for (size_t i = 0; i < 20000; i++)
            free(blocks[i]);
        usleep(2000);
    }
}

static void heap_from_before(void) {
    allocate();
    enter_sandbox();
    release();
}

static void heap_from_inside(void) {
    enter_sandbox();
    allocate();
    release();
}

static void heap_gone_before(void) {
    allocate();
    release();
    enter_sandbox();
    allocate();
    release();
}

int main(void) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"a heap from before goes in the sandbox", heap_from_before},
                 {"a heap comes and goes in the sandbox", heap_from_inside},
                 {"a heap that went before comes and goes again", heap_gone_before}};
    tap_begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            cases[i].run();
            _exit(0);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == UNAVAILABLE)
            skip(cases[i].name, "no seccomp filters here");
        else if (!ok(status == 0, "100 MiB: %s", cases[i].name))
            note("wait status 0x%x", status);
    }
    return done_testing();
}
