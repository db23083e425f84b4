/* kmem_plugin PLUGIN: a plugin's object cache is used by threads that outlive the plugin, and destroyed before it goes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#define THREADS 4
#define OBJECTS 300

static void *(*plugin_alloc)(void);
static void (*plugin_free)(void *);
static int (*plugin_end)(void);
static pthread_barrier_t barrier;

static void find(void *handle, void *function, const char *name) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
}

/* Half of the objects are freed by the next thread. */
static void *use(void *argument) {
    static void *objects[THREADS][OBJECTS];
    size_t self = (size_t)(uintptr_t)argument, bad = 0;
    for (size_t i = 0; i < OBJECTS; i++) {
        objects[self][i] = plugin_alloc();
        bad += *(int *)objects[self][i] != 42;
    }
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < OBJECTS; i++)
        plugin_free(objects[(self + i % 2) % THREADS][i]);
    pthread_barrier_wait(&barrier); /* all is freed; the plugin is unloaded */
    pthread_barrier_wait(&barrier);
    free(malloc(100));
    malloc_trim(0);
    return (void *)(uintptr_t)bad;
}

static size_t load_use_unload(const char *path) {
    void *handle = dlopen(path, RTLD_NOW);
    if (!handle)
        return 1;
    find(handle, &plugin_alloc, "plugin_alloc");
    find(handle, &plugin_free, "plugin_free");
    find(handle, &plugin_end, "plugin_end");
    pthread_t threads[THREADS];
    size_t bad = 0;
    for (size_t i = 0; i < THREADS; i++)
        bad += pthread_create(&threads[i], NULL, use, (void *)(uintptr_t)i) != 0;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    bad += plugin_end() != 0;
    bad += dlclose(handle) != 0;
    bad += dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL;
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (size_t)(uintptr_t)result;
    }
    malloc_trim(0);
    return bad;
}

int main(int argc, char **argv) {
    tap_begin();
    if (argc < 2)
        return 2;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    size_t bad = 0;
    for (int i = 0; i < 20; i++)
        bad += load_use_unload(argv[1]);
    ok(bad == 0, "a plugin that destroyed its object cache can be unloaded under threads that used it");
    return done_testing();
}
