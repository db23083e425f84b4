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

int main(int argc, char **argv) {
    tap_begin();
    if (argc != 2)
        return 2;
    path = argv[1];
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
    ok(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL && dlerror() != NULL, "a dlopen that fails says why");
    return done_testing();
}
