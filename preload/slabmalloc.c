/*
 * slabmalloc.c: the launcher: runs programs with the library preloaded, and reports what the heap of such a process
 * looks like. Each verb is a file of its own.
 */
#include <stdio.h>
#include <string.h>

#include "slabmalloc/slabmalloc.h"
#include "verbs.h"

static const char usage[] =
    "usage: slabmalloc run [--conf KEY:VALUE,...] [--] PROGRAM [ARGUMENT ...]\n"
    "       slabmalloc report [--slab] [--buddy] [--pagetype] [--zone] [--json] PID\n"
    "       slabmalloc path\n"
    "       slabmalloc --help | --version\n"
    "\n"
    "  run     run PROGRAM with slabmalloc as its malloc (LD_PRELOAD, in front of what is there)\n"
    "  report  print the heap of the running process PID, which does not notice, as the kernel's\n"
    "          slabinfo, buddyinfo, pagetypeinfo and zoneinfo, or as JSON; all but JSON if none is named\n"
    "  path    print the library's path\n"
    "\n"
    "  --conf sets SLABMALLOC_CONF for PROGRAM; keys are listed in the README\n"
    "\n"
    "Exit status of run: PROGRAM's; 127 if it is not found, 126 if it cannot be run.\n"
    "Otherwise 2 for wrong usage, 1 if a report cannot be had or output fails.\n";

static const struct {
    const char *name;
    int (*verb)(char **arguments);
} verbs[] = {{"run", verb_run}, {"report", verb_report}, {"path", verb_path}};

int verb_fail(int status, const char *what, const char *name, const char *why) {
    fprintf(stderr, "slabmalloc: %s%s%s%s\n", what, name, why ? ": " : "", why ? why : "");
    return status;
}

int verb_printed(void) {
    return fflush(stdout) || ferror(stdout) ? EXIT_FAILED : 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        fputs(usage, stdout);
        return verb_printed();
    }
    if (!strcmp(name, "--version")) {
        printf("slabmalloc %d.%d.%d\n", SLABMALLOC_VERSION_MAJOR, SLABMALLOC_VERSION_MINOR, SLABMALLOC_VERSION_PATCH);
        return verb_printed();
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (!strcmp(name, verbs[i].name)) {
            return verbs[i].verb(argv + 2);
        }
    }
    fputs(usage, stderr);
    return EXIT_USAGE;
}
