/* dlopen_plugin PLUGIN: loads and unloads a library that allocates, from several threads, and outlives its memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dlfcn.h>
#include <pthread.h>

static const char *path;

static void *loads_and_unloads(void *argument) {
    size_t bad = 0;
    char *texts[50];
    (void)argument;
    for (size_t i = 0; i < 50; i++) {
        void *handle = dlopen(path, i % 2 ? RTLD_NOW : RTLD_LAZY);
        if (!handle) {
            texts[i] = NULL;
            bad++;
            continue;
        }
        char *(*text)(size_t) = (char *(*)(size_t))dlsym(handle, "plugin_text");
        void (*forget)(void) = (void (*)(void))dlsym(handle, "plugin_forget_thread");
        texts[i] = text(i * 100);
        forget();
        bad += dlclose(handle) != 0;
    }
    for (size_t i = 0; i < 50; i++) {
        bad += texts[i] && strlen(texts[i]) != i * 100;
        free(texts[i]);
    }
    return (void *)bad;
}

/* In a namespace of its own the plugin has a C library of its own, and that one's malloc. */
static void loads_into_namespace(void) {
    size_t bad = 0;
    /* Each takes some of the static TLS for good: a few rounds only. */
    for (size_t i = 0; i < 3; i++) {
        void *handle = dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
            bad++;
            continue;
        }
        char *(*text)(size_t) = (char *(*)(size_t))dlsym(handle, "plugin_text");
        void (*forget)(void) = (void (*)(void))dlsym(handle, "plugin_forget_thread");
        void (*other_free)(void *) = (void (*)(void *))dlsym(handle, "free");
        char *p = text(5000), *q = opaque(malloc(5000));
        bad += !p || !q || strlen(p) != 5000;
        free(q);
        other_free(p);
        forget();
        bad += dlclose(handle) != 0;
    }
    ok(bad == 0, "dlmopen: a plugin with a C library of its own works beside this one");
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc < 2)
        return 2;
    path = argv[1];
    /* Libraries that leave hardly any room for static TLS. */
    for (int i = 2; i < argc; i++) {
        void *hog = dlopen(argv[i], RTLD_NOW);
        void (*touch)(void) = hog ? (void (*)(void))dlsym(hog, "hog_touch") : NULL;
        if (touch)
            touch();
    }
    ok(loads_and_unloads(NULL) == NULL, "a plugin that allocates is loaded and unloaded 50 times");
    pthread_t threads[4];
    size_t bad = 0;
    for (int i = 0; i < 4; i++)
        bad += pthread_create(&threads[i], NULL, loads_and_unloads, NULL) != 0;
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    ok(bad == 0, "and by four threads at once");
    if (argc == 2)
        loads_into_namespace();
    ok(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL && dlerror() != NULL, "a dlopen that fails says why");
    return done_testing();
}
