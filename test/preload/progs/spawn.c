/* vfork and posix_spawn: the child borrows the parent's memory and must leave the heap as it was. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static volatile int stop;

static void *busy(void *argument) {
    size_t i = 0;
    while (!stop) {
        void *p = opaque(malloc(i++ % 3000));
        free(p);
    }
    return argument;
}

int main(int argc, char **argv) {
    tap_begin();
    /* The child is this program again: preloaded, too. */
    if (argc > 1) {
        char *p = opaque(strdup(argv[1]));
        int status = atoi(p);
        free(p);
        return status;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, busy, NULL);
    int bad_vfork = 0, bad_spawn = 0, bad_exec = 0;
    char seven[] = "7", *arguments[] = {argv[0], seven, NULL};
    for (int i = 0; i < 100; i++) {
        char *kept = opaque(malloc(500));
        pattern_fill(kept, 500, (size_t)i);
        pid_t pid = vfork();
        if (pid == 0) {
            execv("/proc/self/exe", arguments);
            _exit(1);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        bad_vfork += !WIFEXITED(status) || WEXITSTATUS(status) != 7 || pattern_check(kept, 500, (size_t)i) != 500;

        if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0) {
            waitpid(pid, &status, 0);
            bad_spawn += !WIFEXITED(status) || WEXITSTATUS(status) != 7;
        } else
            bad_spawn++;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        bad_exec += posix_spawnp(&pid, "/nonexistent/program", &actions, NULL, arguments, environ) != ENOENT;
        posix_spawn_file_actions_destroy(&actions);
        free(kept);
    }
    stop = 1;
    pthread_join(thread, NULL);
    ok(!bad_vfork, "vfork and exec from a busy parent, 100 times");
    ok(!bad_spawn, "posix_spawn from a busy parent, 100 times");
    ok(!bad_exec, "posix_spawn that fails, 100 times");
    return done_testing();
}
