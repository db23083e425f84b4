/*
 * footprint: anonymous memory of whole programs under glibc's malloc and under a preloaded library in both its modes.
 *
 *     footprint [-e EMPTY.so] [-r RUNS] LIBRARY.so COMMAND...       each COMMAND is one argument, split at blanks
 *
 * Columns: anonymous KiB when the program's process exits (from outside, at its exit stop, smaps_rollup), the median of
 * RUNS [9]; and the high-water mark of its resident memory less the file pages resident at the end, which bounds the
 * peak of the anonymous ones. "empty" preloads a library that does nothing: that alone costs three pages, so it is what
 * a preloaded allocator competes with where a program hardly allocates. Processes that the command starts are not
 * measured.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "memory_probe.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum { RUNS_MAX = 99, WORDS_MAX = 32 };

struct footprint_variant {
    const char *name, *library, *conf;
};

struct footprint {
    long exit_kib, peak_kib;
};

static _Noreturn void footprint_fail(const char *what, const char *detail) {
    fprintf(stderr, "footprint: %s: %s\n", what, detail);
    exit(2);
}

static pid_t footprint_start(char **words, const struct footprint_variant *variant) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        close(null);
        if (variant->library != NULL)
            setenv("LD_PRELOAD", variant->library, 1);
        setenv("SLABMALLOC_CONF", variant->conf, 1);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
            execvp(words[0], words);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        footprint_fail(words[0], "cannot be traced");
    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL));
    return child;
}

static struct footprint footprint_of(char **words, const struct footprint_variant *variant) {
    pid_t child = footprint_start(words, variant);
    char path[64], rollup[4096], state[4096];
    int status, pass_on = 0;
    do {
        ptrace(PTRACE_CONT, child, NULL, (void *)(long)pass_on);
        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
            footprint_fail(words[0], "ended without an exit stop");
        pass_on = status >> 16 == 0 ? WSTOPSIG(status) : 0;
    } while (status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8));
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)child);
    probe_read(path, rollup, sizeof(rollup));
    snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
    probe_read(path, state, sizeof(state));
    ptrace(PTRACE_CONT, child, NULL, NULL);
    while (waitpid(child, &status, 0) == child && !WIFEXITED(status) && !WIFSIGNALED(status))
        continue;
    long anonymous = probe_find_kib(rollup, "Anonymous"), resident = probe_find_kib(rollup, "Rss");
    if (anonymous < 0)
        footprint_fail(words[0], "no smaps_rollup to read");
    long peak = probe_find_kib(state, "VmHWM") - (resident - anonymous);
    return (struct footprint){anonymous, peak > anonymous ? peak : anonymous};
}

static int footprint_compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static void footprint_report(const char *command, const struct footprint_variant *variant, unsigned runs) {
    char text[4096], *words[WORDS_MAX + 1] = {NULL}, *rest = NULL;
    long exits[RUNS_MAX], peaks[RUNS_MAX];
    snprintf(text, sizeof(text), "%s", command);
    char *word = strtok_r(text, " ", &rest);
    for (unsigned i = 0; i < WORDS_MAX && word != NULL; i++, word = strtok_r(NULL, " ", &rest))
        words[i] = word;
    if (words[0] == NULL)
        footprint_fail("a command", "is empty");
    for (unsigned i = 0; i < runs; i++) {
        struct footprint one = footprint_of(words, variant);
        exits[i] = one.exit_kib;
        peaks[i] = one.peak_kib;
    }
    qsort(exits, runs, sizeof(exits[0]), footprint_compare);
    qsort(peaks, runs, sizeof(peaks[0]), footprint_compare);
    printf("%8ld (%6ld)", exits[runs / 2], peaks[runs / 2]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *empty = NULL;
    unsigned runs = 9;
    int option;
    while ((option = getopt(argc, argv, "+e:r:")) != -1) {
        if (option == 'e')
            empty = optarg;
        else if (option == 'r' && atoi(optarg) > 0 && atoi(optarg) <= RUNS_MAX)
            runs = (unsigned)atoi(optarg);
        else
            footprint_fail("usage", "footprint [-e EMPTY.so] [-r RUNS] LIBRARY.so COMMAND...");
    }
    if (argc - optind < 2)
        footprint_fail("usage", "footprint [-e EMPTY.so] [-r RUNS] LIBRARY.so COMMAND...");
    const char *library = argv[optind];
    struct footprint_variant variants[] = {
        {"glibc", NULL, ""}, {"glibc + empty", empty, ""}, {"slab", library, ""}, {"slob", library, "heap:slob"}};
    printf("%-44s", "anonymous KiB at exit (at most)");
    for (unsigned v = 0; v < 4; v++)
        if (v != 1 || empty != NULL)
            printf("%17s", variants[v].name);
    printf("\n");
    for (int i = optind + 1; i < argc; i++) {
        printf("%-44.43s", argv[i]);
        for (unsigned v = 0; v < 4; v++)
            if (v != 1 || empty != NULL)
                footprint_report(argv[i], &variants[v], runs);
        printf("\n");
    }
    return 0;
}
