/*
 * startup: what a preloaded library adds to the smallest program.
 *
 *     startup [-n SPAWNS] [-H PROGRAM] [-e EMPTY.so] [-c] NAME=LIBRARY.so...
 *
 * Starts PROGRAM (default: hello beside this program) under an empty library and under each given one, interleaved, and
 * prints the median differences to the empty one:
 *   time       posix_spawn to wait4, paired spawn by spawn;
 *   anonymous  anonymous memory when the program exits;
 *   peak RSS   high-water mark when the program exits.
 * Memory is read from outside, in runs of their own, while the tracer holds the program at its exit: nothing in the
 * program changes. (ru_maxrss will not do: execve carries the spawner's own high-water mark over.)
 * -c: exit status 1 when a library is over one of the limits slabmalloc promises to keep.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

enum { VARIANTS_MAX = 16, SPAWNS_MAX = 10000, MEMORY_RUNS = 15 };
enum { LIMIT_MICROSECONDS = 100, LIMIT_ANONYMOUS_KIB = 64, LIMIT_PEAK_KIB = 250 };

struct startup_variant {
    const char *name, *library;
    char *environment[2];
    double microseconds[SPAWNS_MAX];
    double anonymous_kib[MEMORY_RUNS], peak_kib[MEMORY_RUNS], rss_kib[MEMORY_RUNS];
};

static struct startup_variant startup_variants[VARIANTS_MAX];
static unsigned startup_count;

static _Noreturn void startup_fail(const char *what, const char *detail) {
    fprintf(stderr, "startup: %s: %s\n", what, detail);
    exit(2);
}

static void startup_add(const char *name, const char *library) {
    if (startup_count == VARIANTS_MAX)
        startup_fail("too many libraries", name);
    if (access(library, R_OK) != 0)
        startup_fail(library, strerror(errno));
    struct startup_variant *variant = &startup_variants[startup_count++];
    variant->name = name;
    variant->library = library;
    if (asprintf(&variant->environment[0], "LD_PRELOAD=%s", library) < 0)
        startup_fail(library, "out of memory");
}

static double startup_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static double startup_time(const char *program, const struct startup_variant *variant) {
    char *arguments[] = {(char *)program, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    double start = startup_now();
    int error = posix_spawn(&child, program, &actions, NULL, arguments, variant->environment);
    if (error != 0)
        startup_fail(program, strerror(error));
    while (waitpid(child, &status, 0) < 0)
        continue;
    double end = startup_now();
    posix_spawn_file_actions_destroy(&actions);
    if (status != 0)
        startup_fail(variant->name, "the program failed");
    return end - start;
}

static pid_t startup_trace(const char *program, const struct startup_variant *variant) {
    char *arguments[] = {(char *)program, NULL};
    int status;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        close(null);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
            execve(program, arguments, variant->environment);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        startup_fail(program, "cannot be traced");
    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL));
    return child;
}

/* Lets the program run to its exit stop, where its memory is still mapped, and reads it there. */
static void startup_weigh(const char *program, struct startup_variant *variant, unsigned run) {
    pid_t child = startup_trace(program, variant);
    char path[64], rollup[4096], state[4096];
    int status, pass_on = 0;
    do {
        ptrace(PTRACE_CONT, child, NULL, (void *)(long)pass_on);
        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
            startup_fail(variant->name, "the program ended without an exit stop");
        pass_on = status >> 16 == 0 ? WSTOPSIG(status) : 0;
    } while (status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8));
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)child);
    probe_read(path, rollup, sizeof(rollup));
    snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
    probe_read(path, state, sizeof(state));
    ptrace(PTRACE_CONT, child, NULL, NULL);
    while (waitpid(child, &status, 0) == child && !WIFEXITED(status) && !WIFSIGNALED(status))
        continue;
    double rss = (double)probe_find_kib(rollup, "Rss"), peak = (double)probe_find_kib(state, "VmHWM");
    variant->anonymous_kib[run] = (double)probe_find_kib(rollup, "Anonymous");
    variant->rss_kib[run] = rss;
    variant->peak_kib[run] = peak > rss ? peak : rss;
    if (rss < 0)
        startup_fail(variant->name, "no smaps_rollup to read");
}

static int startup_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double startup_quantile(const double *values, unsigned count, double quantile) {
    double sorted[SPAWNS_MAX];
    memcpy(sorted, values, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), startup_compare);
    return sorted[(unsigned)((count - 1) * quantile + 0.5)];
}

static void startup_measure(const char *program, unsigned spawns) {
    for (unsigned i = 0; i < startup_count; i++) /* into the page cache */
        startup_time(program, &startup_variants[i]);
    for (unsigned n = 0; n < spawns; n++)
        for (unsigned i = 0; i < startup_count; i++) {
            struct startup_variant *variant = &startup_variants[(i + n) % startup_count];
            variant->microseconds[n] = startup_time(program, variant);
        }
    for (unsigned n = 0; n < MEMORY_RUNS; n++)
        for (unsigned i = 0; i < startup_count; i++)
            startup_weigh(program, &startup_variants[i], n);
}

/* Prints one line a library; true when all keep the limits. */
static bool startup_report(unsigned spawns) {
    const struct startup_variant *empty = &startup_variants[0];
    double base_time = startup_quantile(empty->microseconds, spawns, 0.5);
    double base_anonymous = startup_quantile(empty->anonymous_kib, MEMORY_RUNS, 0.5);
    double base_peak = startup_quantile(empty->peak_kib, MEMORY_RUNS, 0.5);
    double base_rss = startup_quantile(empty->rss_kib, MEMORY_RUNS, 0.5);
    bool good = true;
    printf("%-14s%24s%18s%16s%14s\n", "library", "time us (quartiles)", "anonymous KiB", "peak RSS KiB",
           "exit RSS KiB");
    printf("%-14s%10.0f (%4.0f..%4.0f)%18.0f%16.0f%14.0f\n", "empty", base_time,
           startup_quantile(empty->microseconds, spawns, 0.25), startup_quantile(empty->microseconds, spawns, 0.75),
           base_anonymous, base_peak, base_rss);
    for (unsigned i = 1; i < startup_count; i++) {
        struct startup_variant *variant = &startup_variants[i];
        for (unsigned n = 0; n < spawns; n++)
            variant->microseconds[n] -= empty->microseconds[n];
        double time = startup_quantile(variant->microseconds, spawns, 0.5);
        double anonymous = startup_quantile(variant->anonymous_kib, MEMORY_RUNS, 0.5) - base_anonymous;
        double peak = startup_quantile(variant->peak_kib, MEMORY_RUNS, 0.5) - base_peak;
        double rss = startup_quantile(variant->rss_kib, MEMORY_RUNS, 0.5) - base_rss;
        printf("%-14s%+10.0f (%+4.0f..%+4.0f)%+18.0f%+16.0f%+14.0f\n", variant->name, time,
               startup_quantile(variant->microseconds, spawns, 0.25),
               startup_quantile(variant->microseconds, spawns, 0.75), anonymous, peak, rss);
        good = good && time <= LIMIT_MICROSECONDS && anonymous <= LIMIT_ANONYMOUS_KIB && peak <= LIMIT_PEAK_KIB;
    }
    printf("limits: time +%d us, anonymous +%d KiB, peak RSS +%d KiB\n", LIMIT_MICROSECONDS, LIMIT_ANONYMOUS_KIB,
           LIMIT_PEAK_KIB);
    return good;
}

/* A file beside this program. */
static const char *startup_beside(const char *name) {
    char path[4096];
    char *full;
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length < 0)
        startup_fail("/proc/self/exe", strerror(errno));
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    if (asprintf(&full, "%s/%s", path, name) < 0)
        startup_fail(name, "out of memory");
    return full;
}

int main(int argc, char **argv) {
    const char *program = startup_beside("hello"), *empty = startup_beside(".libs/libempty.so");
    unsigned spawns = 500;
    bool check = false;
    int option;
    while ((option = getopt(argc, argv, "n:H:e:c")) != -1) {
        if (option == 'n' && atoi(optarg) > 0 && atoi(optarg) <= SPAWNS_MAX)
            spawns = (unsigned)atoi(optarg);
        else if (option == 'H')
            program = optarg;
        else if (option == 'e')
            empty = optarg;
        else if (option == 'c')
            check = true;
        else
            startup_fail("usage", "startup [-n SPAWNS] [-H PROGRAM] [-e EMPTY.so] [-c] NAME=LIBRARY.so...");
    }
    startup_add("empty", empty);
    for (int i = optind; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL)
            startup_fail(argv[i], "not NAME=LIBRARY.so");
        *equals = '\0';
        startup_add(argv[i], equals + 1);
    }
    startup_measure(program, spawns);
    return startup_report(spawns) || !check ? 0 : 1;
}
