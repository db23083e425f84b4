#include "report_exit.h"

#include <string.h>

#include "fault.h"
#include "fork.h"
#include "gather.h"
#include "options.h"
#include "report.h"
#include "sys.h"

#define STDERR 2

static struct {
    int fd; /* < 0: none */
    struct sys_file file;
} kept = {.fd = -1};

void report_exit_init(void) {
    if (options.report_exit && !*options.report_file && !sys_file_of(STDERR, &kept.file)) {
        kept.fd = sys_dup(STDERR);
    }
}

/* PATH with the process's number for %p. */
static int open_file(const char *path) {
    char expanded[REPORT_FILE_MAX + 16];
    size_t length = 0;
    for (; *path && length < sizeof expanded - 16; path++) {
        if (path[0] != '%' || path[1] != 'p') {
            expanded[length++] = *path;
            continue;
        }
        char digits[16];
        size_t at = sizeof digits;
        for (unsigned pid = (unsigned)sys_pid(); pid; pid /= 10) {
            digits[--at] = (char)('0' + pid % 10);
        }
        while (at < sizeof digits) {
            expanded[length++] = digits[at++];
        }
        path++;
    }
    expanded[length] = 0;
    return sys_open_append(expanded);
}

static int open_stderr(void) {
    if (kept.fd >= 0 && sys_is_file(kept.fd, &kept.file)) {
        return kept.fd;
    }
    return sys_is_file(STDERR, &kept.file) ? STDERR : -1;
}

static void write_report(const char *file) {
    int fd = *file ? open_file(file) : open_stderr();
    if (fd < 0 && !*file) {
        return; /* nowhere to complain either */
    }
    struct snapshot snapshot;
    snapshot_gather(&snapshot);
    if (fd < 0 || report_write_all(fd, options.report_exit, &snapshot)) {
        fault_warn("report_exit: cannot write to", *file ? file : "stderr", *file ? strlen(file) : strlen("stderr"),
                   "ignored");
    }
    if (fd >= 0 && *file) {
        sys_close(fd);
    }
}

__attribute__((destructor)) static void report_at_exit(void) {
    if (!options.report_exit) {
        return;
    }
    if (fork_inside()) {
        fault_warn("report_exit:", "exit", strlen("exit"), "was called inside malloc: not written");
        return;
    }
    struct sys_held_pipe held = sys_hold_pipe(); /* the program's status is its own, whoever reads its reports */
    write_report(options.report_file);
    sys_release_pipe(held);
}
