/* verb_report.c: `slabmalloc report PID`: the reports of slabmalloc/report.h, of a running process, from outside. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "observe.h"
#include "report.h"
#include "verbs.h"
#include "version.h"

static bool parse_kind(const char *argument, unsigned *kinds) {
    for (unsigned kind = 0; kind < REPORT_KINDS && !strncmp(argument, "--", 2); kind++) {
        if (!strcmp(argument + 2, report_option(kind))) {
            *kinds |= 1u << kind;
            return true;
        }
    }
    return false;
}

static bool parse_pid(const char *argument, pid_t *pid) {
    char *end;
    errno = 0;
    long n = strtol(argument, &end, 10);
    *pid = (pid_t)n;
    return *argument >= '0' && *argument <= '9' && !*end && !errno && n > 0 && *pid == n;
}

static int refuse(enum observe_result result, const char *process, const char *version) {
    const char *why = strerror(errno);
    char text[128];
    switch (result) {
    case OBSERVE_NO_PROCESS:
        why = "no such process";
        break;
    case OBSERVE_NO_RIGHT:
        why = "no permission to read its memory (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS)";
        break;
    case OBSERVE_NO_MEMORY:
        why = "it has no memory: it has ended, or is the kernel's";
        break;
    case OBSERVE_NO_LIBRARY:
        why = "it does not run slabmalloc";
        break;
    case OBSERVE_OTHER_VERSION:
        snprintf(text, sizeof text, "it runs %sslabmalloc %s, and this is %s",
                 strcmp(version, LIBRARY_VERSION) ? "" : "another build of ", version, LIBRARY_VERSION);
        why = text;
        break;
    default:
        break;
    }
    return verb_fail(EXIT_FAILED, "process ", process, why);
}

static int report(pid_t pid, const char *process, unsigned kinds) {
    static struct observation observation;
    char version[32];
    enum observe_result result = observe(pid, &observation, version);
    int status = 0;
    if (result != OBSERVED) {
        status = refuse(result, process, version);
    } else {
        if (!observation.snapshot.consistent) {
            verb_fail(0, "process ", process,
                      "it went on while it was read: numbers are of slightly different moments");
        }
        if (report_write_all(STDOUT_FILENO, kinds, &observation.snapshot)) {
            status = verb_fail(EXIT_FAILED, "cannot write", "", strerror(errno));
        }
    }
    observe_free(&observation);
    return status;
}

int verb_report(char **arguments) {
    unsigned kinds = 0;
    while (*arguments && parse_kind(*arguments, &kinds)) {
        arguments++;
    }
    if (!kinds) {
        kinds = ~(1u << REPORT_JSON) & ((1u << REPORT_KINDS) - 1);
    }
    pid_t pid;
    if (!*arguments || arguments[1] || !parse_pid(*arguments, &pid)) {
        return verb_fail(EXIT_USAGE, "report needs the number of one process; see slabmalloc --help", "", NULL);
    }
    return report(pid, *arguments, kinds);
}
