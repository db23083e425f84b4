/*
 * fuzz_ops: runs sequences of heap operations, files or random ones, without a fuzzer.
 *
 * A finding ends the process with the abort or another signal; the sequence it came up in is in the file named on
 * stderr then, and `fuzz_ops FILE` runs it again.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sequence.h"

static const char usage[] = "Usage: fuzz_ops [--mode ordered|free] FILE-OR-FOLDER...\n"
                            "       fuzz_ops [--mode ordered|free] --random [--ops N] [--seed N]\n"
                            "\n"
                            "Runs operation sequences against the heap and compares it with a model: those\n"
                            "of the files, or random ones with N operations together [200000], the same for\n"
                            "the same seed [1]. --mode overrides what the sequences say.\n";

#define SEQUENCE_OPS_MAX 4000
#define SEQUENCE_BYTES_MAX (SEQUENCE_HEAD_BYTES + SEQUENCE_OPS_MAX * SEQUENCE_OP_BYTES)

/* What is being run. */
static struct {
    uint8_t bytes[SEQUENCE_BYTES_MAX];
    size_t nbytes;
    char found[64]; /* where it is written to if it is a finding */
} now;

static int mode = -1; /* as the sequence says */

static unsigned long done_ops, done_sequences;

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        _exit(2);
    }
}

static void on_finding(int number) {
    int fd = open(now.found, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, now.bytes, now.nbytes) == (ssize_t)now.nbytes) {
        say("the sequence is in ");
        say(now.found);
        say("\n");
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void run_one(void) {
    if (mode >= 0) {
        now.bytes[0] = (uint8_t)((now.bytes[0] & ~SEQUENCE_FREE) | mode);
    }
    sequence_run(now.bytes, now.nbytes);
    done_ops += now.nbytes < SEQUENCE_HEAD_BYTES ? 0 : (now.nbytes - SEQUENCE_HEAD_BYTES) / SEQUENCE_OP_BYTES;
    done_sequences++;
}

/* --- Files --- */

static bool run_path(const char *path);

static bool run_folder(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    bool good = n >= 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        good = (entries[i]->d_name[0] == '.' || run_path(name)) && good;
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    return good;
}

static bool run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        return false;
    }
    now.nbytes = fread(now.bytes, 1, sizeof now.bytes, file);
    fclose(file);
    run_one();
    return true;
}

static bool run_path(const char *path) {
    struct stat status;
    bool good = !stat(path, &status) && (S_ISDIR(status.st_mode) ? run_folder(path) : run_file(path));
    if (!good) {
        perror(path);
    }
    return good;
}

/* --- Random sequences --- */

static uint64_t rng_state;

/* splitmix64 */
static uint64_t rng_next(void) {
    uint64_t z = rng_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Bytes that stay the same for a while: a thread goes on, a kind of size comes again, a code fills or empties. */
static void random_sequence(size_t nops) {
    now.nbytes = SEQUENCE_HEAD_BYTES + nops * SEQUENCE_OP_BYTES;
    for (size_t i = 0; i < now.nbytes; i++) {
        now.bytes[i] = (uint8_t)rng_next();
    }
    static const struct {
        size_t byte;
        unsigned changes_in; /* one in that many operations, on average */
    } sticky[] = {{0, 2}, {1, 12}, {4, 6}, {5, 3}};
    for (uint8_t *op = now.bytes + SEQUENCE_HEAD_BYTES + SEQUENCE_OP_BYTES; op < now.bytes + now.nbytes;
         op += SEQUENCE_OP_BYTES) {
        for (size_t i = 0; i < sizeof sticky / sizeof *sticky; i++) {
            if (rng_next() % sticky[i].changes_in) {
                op[sticky[i].byte] = op[sticky[i].byte - SEQUENCE_OP_BYTES];
            }
        }
    }
}

static void run_random(unsigned long nops, uint64_t seed) {
    rng_state = seed;
    while (done_ops < nops) {
        unsigned long left = nops - done_ops, most = 1 + rng_next() % SEQUENCE_OPS_MAX;
        random_sequence(left < most ? left : most);
        run_one();
    }
}

int main(int argc, char **argv) {
    bool random = false;
    unsigned long nops = 200000, seed = 1;
    int npaths = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--random")) {
            random = true;
        } else if (!strcmp(argv[i], "--ops")) {
            nops = strtoul(value, NULL, 10);
            i++;
        } else if (!strcmp(argv[i], "--seed")) {
            seed = strtoul(value, NULL, 10);
            i++;
        } else if (!strcmp(argv[i], "--mode") && (!strcmp(value, "free") || !strcmp(value, "ordered"))) {
            mode = !strcmp(value, "free") ? SEQUENCE_FREE : 0;
            i++;
        } else if (argv[i][0] == '-') {
            fputs(usage, stderr);
            return 2;
        } else {
            argv[++npaths] = argv[i];
        }
    }
    if (random == (npaths > 0)) {
        fputs(usage, stderr);
        return 2;
    }
    snprintf(now.found, sizeof now.found, "fuzz_ops.%ld.finding", (long)getpid());
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        signal(fatal[i], on_finding);
    }
    bool good = true;
    if (random) {
        run_random(nops, seed);
    }
    for (int i = 1; i <= npaths; i++) {
        good = run_path(argv[i]) && good;
    }
    printf("%lu operations in %lu sequences: no finding\n", done_ops, done_sequences);
    return good && done_ops ? 0 : 2;
}
