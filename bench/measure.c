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
 * process among them; minor_faults; exit (128 + signal when killed); warm_mib, see below. Without -o the line goes to
 * standard error. Exit status: the command's.
 *
 * BENCH_WARM_MIB in the environment makes it touch that much memory as huge pages, and free it again, before it starts
 * the command, which does not see the variable. On a virtual machine that reports free memory to its host (free page
 * reporting, a balloon) the host takes free huge pages back within seconds, and the first touch then costs 4 ms instead
 * of 0.1 to 0.3: what a process freed shortly before would decide what the next one pays. Blocks that were freed last
 * are handed out first, to small pages too once smaller blocks run out (those are not reported), so the command finds
 * what was just touched. A process of its own does it: the pages count neither in the command's time nor in its peak,
 * and if there is no memory for them it alone is killed. At most 3/4 of what is free is touched: the kernel would drop
 * cached files for more, which the command may be about to read.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_VARIABLE "BENCH_WARM_MIB"
#define WARM_OF_FREE(free) ((free) / 4 * 3)

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

static size_t measure_free_mib(void) {
    size_t kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "MemFree: %zu", &kib) != 1)
        continue;
    if (file != NULL)
        fclose(file);
    return kib >> 10;
}

static _Noreturn void measure_touch(size_t bytes) {
    FILE *file = fopen("/proc/self/oom_score_adj", "w");
    if (file != NULL) {
        fputs("1000", file);
        fclose(file);
    }
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        _exit(1);
    madvise(memory, bytes, MADV_HUGEPAGE);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < bytes; at += page)
        ((volatile char *)memory)[at] = 1;
    _exit(0);
}

/* Returns the MiB that were touched and are free again. */
static size_t measure_warm_up(void) {
    const char *text = getenv(WARM_VARIABLE);
    size_t mib = text != NULL ? strtoul(text, NULL, 10) : 0, most = WARM_OF_FREE(measure_free_mib());
    unsetenv(WARM_VARIABLE);
    mib = mib < most ? mib : most;
    if (mib == 0)
        return 0;
    pid_t child = fork();
    if (child == 0)
        measure_touch(mib << 20);
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? mib : 0;
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

    size_t warm_mib = measure_warm_up();
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
            "\"exit\": %d, \"warm_mib\": %zu}\n",
            wall, measure_seconds(usage.ru_utime), measure_seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt,
            code, warm_mib);
    if (output != NULL && fclose(file) != 0)
        return 126;
    return code;
}
