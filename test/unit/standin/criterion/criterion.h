/*
 * Stands in for Criterion under sanitizers: ThreadSanitizer does not let its runner start. A build that has
 * this folder before Criterion's on its include path compiles the same tests into programs that take the same options
 * and write the same TAP, so nothing else knows the difference.
 *
 * Here is what the tests use and no more: Test, TestSuite with .init and .signal, cr_assert and its like, cr_skip_test.
 * As with Criterion each test is a process of its own. A test is one source file, so main is here too.
 */
#ifndef TEST_UNIT_STANDIN_CRITERION_H
#define TEST_UNIT_STANDIN_CRITERION_H

#include <fnmatch.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct standin_options {
    void (*init)(void);
    int signal;     /* that is to end the test; 0: none */
    double timeout; /* unused: test/run_test ends what hangs */
};

struct standin_case {
    const char *suite, *name; /* name NULL: the suite itself */
    void (*body)(void);
    struct standin_options options;
    struct standin_case *next;
};

static struct standin_case *standin_first, **standin_last = &standin_first;

/* Why a test was skipped, from its process to the runner's. */
#define STANDIN_REASON_BYTES 256
#define STANDIN_SKIPPED 77
static char *standin_reason;

static inline void standin_add(struct standin_case *c) {
    *standin_last = c;
    standin_last = &c->next;
}

#define STANDIN_CASE(id, ...)                                                                                          \
    static struct standin_case standin_case_##id = {__VA_ARGS__};                                                      \
    __attribute__((constructor)) static void standin_add_##id(void) {                                                  \
        standin_add(&standin_case_##id);                                                                               \
    }

#define TestSuite(suite_, ...) STANDIN_CASE(suite_, .suite = #suite_, .options = {__VA_ARGS__})

#define Test(suite_, name_, ...)                                                                                       \
    static void standin_test_##suite_##_##name_(void);                                                                 \
    STANDIN_CASE(suite_##_##name_, .suite = #suite_, .name = #name_, .body = standin_test_##suite_##_##name_,          \
                 .options = {__VA_ARGS__})                                                                             \
    static void standin_test_##suite_##_##name_(void)

__attribute__((format(printf, 4, 5), noreturn)) static inline void
standin_fail(const char *file, int line, const char *condition, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: must be: %s", file, line, condition);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void standin_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(standin_reason, STANDIN_REASON_BYTES, format, args);
    va_end(args);
    _exit(STANDIN_SKIPPED);
}

#define cr_assert(condition, ...)                                                                                      \
    ((condition) ? (void)0 : standin_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__))
#define cr_assert_fail(...) standin_fail(__FILE__, __LINE__, "never here", " " __VA_ARGS__)
#define cr_assert_str_eq(a, b) cr_assert(!strcmp(a, b), "'%s', '%s'", a, b)
#define cr_skip_test(...) standin_skip(__VA_ARGS__)

/* Many tests watch a child's end: a finding must end the process it is in. Forking while threads run is what some test.
 */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "halt_on_error=1:die_after_fork=0:second_deadlock_stack=1";
}

static inline void standin_run_here(const struct standin_case *test) {
    for (const struct standin_case *suite = standin_first; suite; suite = suite->next) {
        if (!suite->name && !strcmp(suite->suite, test->suite) && suite->options.init) {
            suite->options.init();
        }
    }
    if (test->options.init) {
        test->options.init();
    }
    test->body();
    exit(0);
}

/* The wait status of TEST's process. */
static inline int standin_run(const struct standin_case *test) {
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        standin_run_here(test);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(int argc, char **argv) {
    FILE *tap = stdout;
    const char *filter = "*";
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--tap=", 6)) {
            tap = fopen(argv[i] + 6, "w");
        } else if (!strncmp(argv[i], "--filter=", 9)) {
            filter = argv[i] + 9;
        }
    }
    standin_reason = mmap(NULL, STANDIN_REASON_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!tap || standin_reason == MAP_FAILED) {
        perror(argv[0]);
        return 2;
    }
    unsigned count = 0, failed = 0;
    for (const struct standin_case *test = standin_first; test; test = test->next) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
        if (!test->name || fnmatch(filter, name, 0)) {
            continue;
        }
        snprintf(name, sizeof name, "%s::%s", test->suite, test->name);
        printf("[RUN ] %s\n", name);
        int status = standin_run(test), wanted = test->options.signal;
        bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == STANDIN_SKIPPED;
        bool ended_well = wanted ? WIFSIGNALED(status) && WTERMSIG(status) == wanted : !status;
        bool good = ended_well || skipped;
        printf("[%s] %s: wait status 0x%x\n", skipped ? "SKIP" : good ? "PASS" : "FAIL", name, (unsigned)status);
        fprintf(tap, "%s - %s%s%s\n", good ? "ok" : "not ok", name, skipped ? " # SKIP " : "",
                skipped ? standin_reason : "");
        fflush(tap);
        count++;
        failed += !good;
    }
    fprintf(tap, "1..%u\n", count);
    fclose(tap);
    return failed != 0;
}

#endif
