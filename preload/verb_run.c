/*
 * verb_run.c: `slabmalloc run -- PROGRAM ARGS` runs PROGRAM with the library preloaded; `slabmalloc path` says which.
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

#include "verbs.h"

#ifndef SLABMALLOC_LIBDIR
#define SLABMALLOC_LIBDIR "/usr/local/lib"
#endif
#define LIBRARY "libslabmalloc.so"

/* As the shells do: found but not runnable, not found. */
enum { EXIT_NOT_RUNNABLE = 126, EXIT_NOT_FOUND = 127 };

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
            return verb_fail(EXIT_USAGE, "--conf needs a value", "", NULL);
        }
        argv += 2;
    }
    if (*argv && !strcmp(*argv, "--")) {
        argv++;
    }
    if (!*argv) {
        return verb_fail(EXIT_USAGE, "run needs a program; see slabmalloc --help", "", NULL);
    }
    if (strpbrk(library, ": ")) {
        return verb_fail(EXIT_NOT_RUNNABLE, "LD_PRELOAD cannot hold this path: ", library, NULL);
    }
    if (!set_preload(library)) {
        return verb_fail(EXIT_NOT_RUNNABLE, "cannot set LD_PRELOAD", "", strerror(errno));
    }
    execvp(*argv, argv);
    return verb_fail(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE, "", *argv, strerror(errno));
}

/* The library's path in PATH; false: said so. */
static bool must_find_library(char path[PATH_MAX]) {
    bool found = find_library(path);
    if (!found) {
        verb_fail(0, LIBRARY " is neither beside this program nor in ", SLABMALLOC_LIBDIR, NULL);
    }
    return found;
}

int verb_run(char **arguments) {
    char library[PATH_MAX];
    return must_find_library(library) ? run(arguments, library) : EXIT_NOT_RUNNABLE;
}

int verb_path(char **arguments) {
    char library[PATH_MAX];
    (void)arguments;
    if (!must_find_library(library)) {
        return EXIT_NOT_RUNNABLE;
    }
    puts(library);
    return verb_printed();
}
