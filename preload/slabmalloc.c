/*
 * slabmalloc.c: the launcher. `slabmalloc run -- PROGRAM ARGS` runs PROGRAM with the library preloaded.
 *
 * The library is looked for beside this program: in the build tree, then in the lib directories of the prefix the
 * program is installed in, then where it was configured to go.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slabmalloc/slabmalloc.h"

#ifndef SLABMALLOC_LIBDIR
#define SLABMALLOC_LIBDIR "/usr/local/lib"
#endif
#define LIBRARY "libslabmalloc.so"

/* As the shells do: found but not runnable, not found. */
enum { EXIT_NOT_RUNNABLE = 126, EXIT_NOT_FOUND = 127 };

static const char usage[] =
    "usage: slabmalloc run [--conf KEY:VALUE,...] [--] PROGRAM [ARGUMENT ...]\n"
    "       slabmalloc path\n"
    "       slabmalloc --help | --version\n"
    "\n"
    "  run    run PROGRAM with slabmalloc as its malloc (LD_PRELOAD, in front of what is there)\n"
    "  path   print the library's path\n"
    "\n"
    "  --conf sets SLABMALLOC_CONF for PROGRAM; keys are listed in the README\n"
    "\n"
    "Exit status: PROGRAM's; 127 if it is not found, 126 if it cannot be run, 2 for wrong usage, 1 if output fails.\n";

/* What was printed must have arrived, or the status says so. */
static int printed(void) {
    return fflush(stdout) || ferror(stdout) ? 1 : 0;
}

static int fail(int status, const char *what, const char *name, const char *why) {
    fprintf(stderr, "slabmalloc: %s%s%s%s\n", what, name, why ? ": " : "", why ? why : "");
    return status;
}

/* Libtool keeps built libraries in .libs, and a built program either beside them or in .libs itself. */
static bool find_library(char path[PATH_MAX]) {
    static const char *const beside[] = {
        ".libs", ".", "..", "../.libs", "../lib", "../lib64", "../lib/x86_64-linux-gnu", "../lib/aarch64-linux-gnu"};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        *strrchr(self, '/') = 0;
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            char candidate[PATH_MAX + 64];
            snprintf(candidate, sizeof candidate, "%s/%s/" LIBRARY, self, beside[i]);
            if (realpath(candidate, path)) {
                return true;
            }
        }
    }
    return realpath(SLABMALLOC_LIBDIR "/" LIBRARY, path);
}

static bool set_preload(const char *library) {
    const char *before = getenv("LD_PRELOAD");
    char *value = NULL;
    if (asprintf(&value, "%s%s%s", library, before && *before ? ":" : "", before ? before : "") < 0) {
        return false;
    }
    bool done = !setenv("LD_PRELOAD", value, 1);
    free(value);
    return done;
}

static int run(char **argv, const char *library) {
    if (*argv && !strcmp(*argv, "--conf")) {
        if (!argv[1] || setenv("SLABMALLOC_CONF", argv[1], 1)) {
            return fail(2, "--conf needs a value", "", NULL);
        }
        argv += 2;
    }
    if (*argv && !strcmp(*argv, "--")) {
        argv++;
    }
    if (!*argv) {
        return fail(2, "run needs a program; see slabmalloc --help", "", NULL);
    }
    if (strpbrk(library, ": ")) {
        return fail(EXIT_NOT_RUNNABLE, "LD_PRELOAD cannot hold this path: ", library, NULL);
    }
    if (!set_preload(library)) {
        return fail(EXIT_NOT_RUNNABLE, "cannot set LD_PRELOAD", "", strerror(errno));
    }
    execvp(*argv, argv);
    return fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE, "", *argv, strerror(errno));
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "--help") || !strcmp(verb, "-h")) {
        fputs(usage, stdout);
        return printed();
    }
    if (!strcmp(verb, "--version")) {
        printf("slabmalloc %d.%d.%d\n", SLABMALLOC_VERSION_MAJOR, SLABMALLOC_VERSION_MINOR, SLABMALLOC_VERSION_PATCH);
        return printed();
    }
    bool is_run = !strcmp(verb, "run");
    if (!is_run && strcmp(verb, "path")) {
        fputs(usage, stderr);
        return 2;
    }
    char library[PATH_MAX];
    if (!find_library(library)) {
        return fail(EXIT_NOT_RUNNABLE, LIBRARY " is neither beside this program nor in ", SLABMALLOC_LIBDIR, NULL);
    }
    if (!is_run) {
        puts(library);
        return printed();
    }
    return run(argv + 2, library);
}
