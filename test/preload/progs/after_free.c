/*
 * after_free: what a program may do right after it has freed 100 MiB.
 *
 * That is the moment at which an allocator may have work to do behind the program's back. Whatever does it, another
 * thread perhaps, must not be noticed: not by fork, exec, exit, signals, wait, ids or a sandbox. (What asks for a
 * process of one thread, unshare and strict sandboxes, is in confined.c: a program that refers to unshare or prctl is a
 * case of its own, so here these are raw system calls.)
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
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

enum { MIB = 1 << 20, BLOCK = 1000, COUNT = 100 * MIB / BLOCK, HANG_SECONDS = 60 };

static void *blocks[COUNT];

static void small_calls(void) {
    for (size_t i = 0; i < 20000; i++)
        blocks[i] = opaque(malloc(i % 600));
    for (size_t i = 0; i < 20000; i++)
        free(blocks[i]);
}

static int heap_works(void) {
    int bad = 0;
    for (size_t n = 1; n < (size_t)8 * MIB; n = n * 3 + 1) {
        char *p = opaque(malloc(n)), *q = opaque(calloc(1, n));
        bad += !p || !q || q[0] || q[n - 1];
        if (p)
            pattern_fill(p, n, n);
        p = opaque(realloc(p, 2 * n));
        bad += !p || pattern_check(p, n, n) != n;
        free(p);
        free(q);
    }
    small_calls();
    return !bad;
}

/* Frees 100 MiB in small and large blocks, and goes on long enough for the allocator to notice. */
static void free_much(void) {
    for (size_t i = 0; i < COUNT; i++)
        memset(blocks[i] = opaque(malloc(i % 1000 ? BLOCK : MIB)), 1, BLOCK);
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
    for (int i = 0; i < 5; i++) {
        small_calls();
        usleep(2000);
    }
}

static int count_tasks(void) {
    int n = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        n += entry->d_name[0] != '.';
    if (directory)
        closedir(directory);
    return n;
}

/* --- Processes --- */

static int forks(void) {
    int status;
    free_much();
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(HANG_SECONDS);
            int good = heap_works();
            free_much();
            _exit(good && heap_works() ? 0 : 1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 0;
    }
    return heap_works();
}

static int has_no_strange_children(void) {
    free_much();
    errno = 0;
    return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD;
}

static int vforks(void) {
    char again[] = "nothing", *arguments[] = {again, again, NULL};
    int status;
    free_much();
    for (int i = 0; i < 20; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execv("/proc/self/exe", arguments);
            _exit(1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 0;
        if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0)
            return 0;
        small_calls();
    }
    return heap_works();
}

static int execs(void) {
    char again[] = "nothing", *arguments[] = {again, again, NULL};
    free_much();
    execv("/proc/self/exe", arguments);
    return 0;
}

static int exits(void) {
    free_much();
    exit(0);
}

/* --- Threads --- */

/* The last of the program's threads ends: so does the process, with status 0. */
static int main_ends_alone(void) {
    free_much();
    pthread_exit(NULL);
}

static void *outlives_main(void *argument) {
    usleep(20000);
    exit(heap_works() ? 0 : 1);
    return argument;
}

static int main_ends_first(void) {
    pthread_t thread;
    free_much();
    pthread_create(&thread, NULL, outlives_main, NULL);
    pthread_exit(NULL);
}

/* What was started for the work ends when the work is done. */
static int is_alone_again(void) {
    free_much();
    for (int i = 0; i < 300 && count_tasks() != 1; i++)
        usleep(100000);
    return count_tasks() == 1;
}

/* --- Signals --- */

static volatile sig_atomic_t handled, strangers;
static pid_t listener_id;

static void count_signal(int number) {
    (void)number;
    handled = handled + 1;
    if (syscall(SYS_gettid) != listener_id)
        strangers = strangers + 1;
}

static void *listens(void *argument) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    listener_id = (pid_t)syscall(SYS_gettid);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_barrier_wait(argument);
    while (handled < 200)
        usleep(1000);
    return NULL;
}

/* All signals but one thread's are blocked: that thread gets each of them. */
static int signals_go_to_listeners(void) {
    pthread_barrier_t barrier;
    pthread_t thread;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    signal(SIGUSR1, count_signal);
    free_much(); /* before the mask is set: a thread started meanwhile must block signals by itself */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, listens, &barrier);
    pthread_barrier_wait(&barrier);
    while (handled < 200) {
        int before = handled;
        kill(getpid(), SIGUSR1);
        while (handled == before)
            usleep(100);
    }
    pthread_join(thread, NULL);
    return strangers == 0;
}

static int signals_wait_for_sigwait(void) {
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    free_much();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 100; i++) {
        kill(getpid(), SIGUSR2); /* the default action would end the process, on whatever thread */
        if (sigwait(&set, &got) != 0 || got != SIGUSR2)
            return 0;
    }
    return 1;
}

/* --- Ids --- */

static int ids_of_all_tasks_are(long id) {
    int same = 1;
    char path[300], line[64];
    DIR *directory = opendir("/proc/self/task");
    snprintf(line, sizeof line, "Uid:\t%ld\t%ld\t%ld\t%ld", id, id, id, id);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char text[4096];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        int fd = entry->d_name[0] == '.' ? -1 : open(path, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0) { /* or it has just ended */
            text[n] = '\0';
            same = same && strstr(text, line);
        }
    }
    if (directory)
        closedir(directory);
    return same;
}

/* A thread that stays root in a process that gave root up is a hole in it. */
static int gives_root_up(void) {
    free_much();
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 0;
    syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); /* /proc/self stays readable */
    /* What is there at the moment may still be on its way out. */
    for (int i = 0; i < 100 && !ids_of_all_tasks_are(65534); i++)
        usleep(20000);
    return ids_of_all_tasks_are(65534) && heap_works() && ids_of_all_tasks_are(65534);
}

/* --- Sandboxes --- */

static int lives_without_clone(void) {
    static const int refused[] = {SYS_clone, SYS_clone3, SYS_prctl, SYS_sched_setscheduler, SYS_clock_nanosleep};
    enum { CALLS = sizeof refused / sizeof *refused };
    struct sock_filter code[CALLS + 3];
    unsigned short n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned char i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i],
                                                 (unsigned char)(CALLS - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog filter = {n, code};
    if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
        return 0;
    free_much();
    return heap_works();
}

static int has_no_processes_left(void) {
    struct rlimit none = {1, 1};
    if (setrlimit(RLIMIT_NPROC, &none) != 0 || (getuid() == 0 && setuid(65534) != 0))
        return 0;
    free_much();
    return heap_works();
}

static const struct {
    const char *name;
    int (*run)(void);
    int root;
} cases[] = {
    {"it may fork, and its children too", forks, 0},
    {"it has no child it did not start", has_no_strange_children, 0},
    {"it may vfork and spawn", vforks, 0},
    {"it may exec", execs, 0},
    {"it may exit", exits, 0},
    {"its main thread may end by pthread_exit, which ends the process", main_ends_alone, 0},
    {"its main thread may end before another thread", main_ends_first, 0},
    {"it has one thread again when nothing is left to do", is_alone_again, 0},
    {"signals are handled by the thread that does not block them", signals_go_to_listeners, 0},
    {"signals wait for sigwait", signals_wait_for_sigwait, 0},
    {"it may give root up, and no thread stays root", gives_root_up, 1},
    {"it lives where clone is refused", lives_without_clone, 0},
    {"it lives where no process may be added", has_no_processes_left, 0},
};

int main(int argc, char **argv) {
    tap_begin();
    (void)argv;
    if (argc > 1) /* exec came here */
        return heap_works() ? 0 : 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].root && geteuid() != 0) {
            skip(cases[i].name, "needs root");
            continue;
        }
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(HANG_SECONDS);
            _exit(cases[i].run() ? 0 : 1);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        if (!ok(status == 0, "after freeing 100 MiB: %s", cases[i].name))
            note("wait status 0x%x", status);
    }
    return done_testing();
}
