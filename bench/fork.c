/*
 * fork: how long fork, exit of the child and wait take in a process whose threads are busy in malloc.
 *
 *     fork [-t THREADS] [-n FORKS] [-p MICROSECONDS] [-r ROUNDS] [-c] NAME=LIBRARY.so...
 *
 * Runs itself under glibc's malloc and under each library in turn, ROUNDS times in rotated order: THREADS threads
 * allocate and free small blocks, their own and each other's, in bursts with a pause of MICROSECONDS between them,
 * while the main thread forks FORKS times. Prints, as medians over the rounds of each round's median: wall time from
 * fork to the end of wait, processor time of the forking thread and the child, both also as ratios to glibc in the same
 * round, and the page faults of the child (memory copied before it could end). -c: exit status 1 when a library takes
 * more than the 1.1 times glibc's wall time that slabmalloc promises.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VARIANTS_MAX = 16, ROUNDS_MAX = 1000, FORKS_MAX = 10000, THREADS_MAX = 4096 };
enum { OWN = 1000, SHARED = 1024, BURST = 500, STACK_BYTES = 256 << 10, WARM_UP_MICROSECONDS = 200000 };
#define LIMIT_RATIO 1.1

struct fork_result {
    double wall, cpu, faults; /* medians of one round; times in microseconds */
};

struct fork_variant {
    const char *name;
    char *environment[2];
    struct fork_result result[ROUNDS_MAX];
};

static struct fork_variant fork_variants[VARIANTS_MAX];
static unsigned fork_count;
static unsigned fork_threads = 64, fork_forks = 100, fork_pause = 20000;

static _Noreturn void fork_fail(const char *what, const char *detail) {
    fprintf(stderr, "fork: %s: %s\n", what, detail);
    exit(2);
}

static double fork_now(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static double fork_micros(struct timeval time) {
    return (double)time.tv_sec * 1e6 + (double)time.tv_usec;
}

static int fork_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double fork_median(double *values, unsigned count) {
    qsort(values, count, sizeof(values[0]), fork_compare);
    return values[count / 2];
}

/* --- One round, in a process of its own --- */

static void *fork_shared[SHARED];

static void *fork_busy(void *argument) {
    uint64_t seed = (uintptr_t)argument * 2654435761u;
    void *own[OWN] = {NULL};
    for (unsigned n = 1;; n++) {
        if (fork_pause != 0 && n % BURST == 0)
            usleep(fork_pause);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t bytes = ((size_t)16 << (seed >> 33) % 6) + (seed >> 40) % 16; /* 16 to 527, small ones most often */
        void **slot = &own[(seed >> 44) % OWN];
        free(*slot);
        *slot = malloc(bytes);
        if (*slot == NULL)
            abort();
        *(volatile char *)*slot = 1;
        if ((seed >> 20) % 16 == 0)
            *slot = __atomic_exchange_n(&fork_shared[(seed >> 24) % SHARED], *slot, __ATOMIC_ACQ_REL);
    }
    return NULL;
}

static void fork_worker(void) {
    static double wall[FORKS_MAX], cpu[FORKS_MAX], faults[FORKS_MAX];
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (uintptr_t i = 0; i < fork_threads; i++)
        if (pthread_create(&thread, &attributes, fork_busy, (void *)(i + 1)) != 0)
            fork_fail("pthread_create", "failed");
    usleep(WARM_UP_MICROSECONDS);
    for (unsigned i = 0; i < fork_forks; i++) {
        struct rusage usage;
        int status;
        double start = fork_now(CLOCK_MONOTONIC), cpu_start = fork_now(CLOCK_THREAD_CPUTIME_ID);
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0)
            fork_fail("a child", "failed");
        wall[i] = fork_now(CLOCK_MONOTONIC) - start;
        cpu[i] =
            fork_now(CLOCK_THREAD_CPUTIME_ID) - cpu_start + fork_micros(usage.ru_utime) + fork_micros(usage.ru_stime);
        faults[i] = (double)usage.ru_minflt;
    }
    printf("%f %f %f\n", fork_median(wall, fork_forks), fork_median(cpu, fork_forks), fork_median(faults, fork_forks));
    fflush(stdout);
    _exit(0);
}

/* --- The comparison --- */

static void fork_add(const char *name, const char *library) {
    if (fork_count == VARIANTS_MAX)
        fork_fail("too many libraries", name);
    struct fork_variant *variant = &fork_variants[fork_count++];
    variant->name = name;
    if (library == NULL)
        return;
    if (access(library, R_OK) != 0)
        fork_fail(library, strerror(errno));
    if (asprintf(&variant->environment[0], "LD_PRELOAD=%s", library) < 0)
        fork_fail(library, "out of memory");
}

static struct fork_result fork_run(const struct fork_variant *variant) {
    char threads[16], forks[16], pause[16];
    char *arguments[] = {(char *)"fork", (char *)"-w", (char *)"-t", threads, (char *)"-n",
                         forks,          (char *)"-p", pause,        NULL};
    int ends[2], status;
    posix_spawn_file_actions_t actions;
    pid_t child;
    struct fork_result result;
    snprintf(threads, sizeof(threads), "%u", fork_threads);
    snprintf(forks, sizeof(forks), "%u", fork_forks);
    snprintf(pause, sizeof(pause), "%u", fork_pause);
    if (pipe(ends) != 0)
        fork_fail("pipe", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    int error = posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, (char **)variant->environment);
    if (error != 0)
        fork_fail("/proc/self/exe", strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *answer = fdopen(ends[0], "r");
    int fields = fscanf(answer, "%lf %lf %lf", &result.wall, &result.cpu, &result.faults);
    fclose(answer);
    while (waitpid(child, &status, 0) < 0)
        continue;
    if (fields != 3 || status != 0)
        fork_fail(variant->name, "the run failed");
    return result;
}

/* The median over the rounds of FIELD, divided by glibc's of the same round if RATIO. */
static double fork_over_rounds(const struct fork_variant *variant, size_t field, bool ratio, unsigned rounds) {
    double values[ROUNDS_MAX];
    for (unsigned n = 0; n < rounds; n++) {
        values[n] = *(const double *)((const char *)&variant->result[n] + field);
        if (ratio)
            values[n] /= *(const double *)((const char *)&fork_variants[0].result[n] + field);
    }
    return fork_median(values, rounds);
}

/* Prints one line a library; true when all keep the limit. */
static bool fork_report(unsigned rounds) {
    const size_t wall = offsetof(struct fork_result, wall), cpu = offsetof(struct fork_result, cpu);
    bool good = true;
    printf("%-14s%12s%10s%12s%10s%10s\n", "library", "wall us", "/ glibc", "cpu us", "/ glibc", "faults");
    for (unsigned i = 0; i < fork_count; i++) {
        const struct fork_variant *variant = &fork_variants[i];
        double ratio = fork_over_rounds(variant, wall, true, rounds);
        printf("%-14s%12.0f%10.2f%12.0f%10.2f%10.0f\n", variant->name, fork_over_rounds(variant, wall, false, rounds),
               ratio, fork_over_rounds(variant, cpu, false, rounds), fork_over_rounds(variant, cpu, true, rounds),
               fork_over_rounds(variant, offsetof(struct fork_result, faults), false, rounds));
        good = good && ratio <= LIMIT_RATIO;
    }
    printf("limit: wall %.1f times glibc's\n", LIMIT_RATIO);
    return good;
}

int main(int argc, char **argv) {
    unsigned rounds = 7;
    bool check = false, worker = false;
    int option;
    while ((option = getopt(argc, argv, "t:n:p:r:cw")) != -1) {
        int number = optarg != NULL ? atoi(optarg) : 0;
        if (option == 't' && number >= 0 && number <= THREADS_MAX)
            fork_threads = (unsigned)number;
        else if (option == 'n' && number > 0 && number <= FORKS_MAX)
            fork_forks = (unsigned)number;
        else if (option == 'p' && number >= 0)
            fork_pause = (unsigned)number;
        else if (option == 'r' && number > 0 && number <= ROUNDS_MAX)
            rounds = (unsigned)number;
        else if (option == 'c')
            check = true;
        else if (option == 'w')
            worker = true;
        else
            fork_fail("usage", "fork [-t THREADS] [-n FORKS] [-p MICROSECONDS] [-r ROUNDS] [-c] NAME=LIBRARY.so...");
    }
    if (worker)
        fork_worker();
    fork_add("glibc", NULL);
    for (int i = optind; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL)
            fork_fail(argv[i], "not NAME=LIBRARY.so");
        *equals = '\0';
        fork_add(argv[i], equals + 1);
    }
    for (unsigned n = 0; n < rounds; n++)
        for (unsigned i = 0; i < fork_count; i++) {
            struct fork_variant *variant = &fork_variants[(i + n) % fork_count];
            variant->result[n] = fork_run(variant);
        }
    return fork_report(rounds) || !check ? 0 : 1;
}
