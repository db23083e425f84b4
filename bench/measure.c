/*
 * measure: runs one command and writes what it cost, as one line of JSON.
 *
 *     measure [-p PRELOAD] [-o FILE] [--] COMMAND [ARGUMENT...]
 *
 * The command alone gets LD_PRELOAD; neither this program nor the shell or python that drives it does. It exists
 * because a process started straight from python reports python's peak RSS as its own: execve carries the high-water
 * mark of the address space it replaces over into ru_maxrss. From this small program that floor is about 1 MiB.
 *
 * Fields: wall_s; user_s and sys_s of the command and all children it waited for; maxrss_kib of the largest single
 * process among them; minor_faults; exit (128 + signal when killed). Without -o the line goes to standard error.
 * Exit status: the command's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double measure_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double measure_seconds(struct timeval value) {
    return (double)value.tv_sec + (double)value.tv_usec * 1e-6;
}

static _Noreturn void measure_usage(void) {
    fputs("usage: measure [-p PRELOAD] [-o FILE] [--] COMMAND [ARGUMENT...]\n", stderr);
    exit(2);
}

static _Noreturn void measure_exec(const char *preload, char **command) {
    if (preload != NULL && preload[0] != '\0')
        setenv("LD_PRELOAD", preload, 1);
    else
        unsetenv("LD_PRELOAD");
    execvp(command[0], command);
    fprintf(stderr, "measure: cannot run %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

int main(int argc, char **argv) {
    const char *preload = NULL, *output = NULL;
    int option;
    while ((option = getopt(argc, argv, "+p:o:")) != -1) {
        if (option == 'p')
            preload = optarg;
        else if (option == 'o')
            output = optarg;
        else
            measure_usage();
    }
    if (optind == argc)
        measure_usage();

    double start = measure_now();
    pid_t child = fork();
    if (child == 0)
        measure_exec(preload, argv + optind);
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        fprintf(stderr, "measure: %s\n", strerror(errno));
        return 126;
    }
    double wall = measure_now() - start;
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

    FILE *file = output != NULL ? fopen(output, "w") : stderr;
    if (file == NULL) {
        fprintf(stderr, "measure: cannot write %s: %s\n", output, strerror(errno));
        return 126;
    }
    fprintf(file,
            "{\"wall_s\": %.6f, \"user_s\": %.6f, \"sys_s\": %.6f, \"maxrss_kib\": %ld, \"minor_faults\": %ld, "
            "\"exit\": %d}\n",
            wall, measure_seconds(usage.ru_utime), measure_seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt,
            code);
    if (output != NULL && fclose(file) != 0)
        return 126;
    return code;
}
