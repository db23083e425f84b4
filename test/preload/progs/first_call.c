/*
 * A thread's first call may be any of the family, and its memory may be used by any destructor that runs after the
 * thread or the program has said goodbye.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <malloc.h>
#include <pthread.h>

static char *from_constructor[3];
static void *early;

__attribute__((constructor(101))) static void allocate_early(void) {
    early = opaque(malloc(10000));
    for (int i = 0; i < 3; i++)
        memset(from_constructor[i] = opaque(malloc(100u << (8 * i))), 'c', 100u << (8 * i));
}

/* Runs after main has printed its plan: what goes wrong here shows as a bad exit status. */
__attribute__((destructor(101))) static void allocate_late(void) {
    char *p = opaque(malloc(100000));
    if (!p || !early)
        _exit(9);
    memset(p, 1, 100000);
    free(p);
    free(early);
    p = opaque(calloc(1, 100));
    p = opaque(realloc(p, 10000));
    free(p);
}

static char *kept_for_exit;

static void at_exit_handler(void) {
    if (!kept_for_exit || strcmp(kept_for_exit, "kept"))
        _exit(8);
    free(kept_for_exit);
    kept_for_exit = opaque(strdup("another"));
    free(kept_for_exit);
}

struct task {
    const char *name;
    void *given;
    int bad;
};

static void *first_is_free(void *argument) {
    struct task *task = argument;
    free(task->given);
    return NULL;
}

static void *first_is_realloc(void *argument) {
    struct task *task = argument;
    char *p = opaque(realloc(task->given, 5000));
    task->bad += !p || pattern_check(p, 100, 1) != 100;
    free(p);
    return NULL;
}

static void *first_is_realloc_to_nothing(void *argument) {
    struct task *task = argument;
    task->bad += opaque(realloc(task->given, opaque_size(0))) != NULL;
    return NULL;
}

static void *first_is_calloc(void *argument) {
    struct task *task = argument;
    char *p = opaque(calloc(10, 10));
    task->bad += !p || p[99];
    free(p);
    free(task->given);
    return NULL;
}

static void *first_is_malloc_large(void *argument) {
    struct task *task = argument;
    char *p = opaque(malloc(10 << 20));
    task->bad += !p;
    p[5 << 20] = 1;
    free(p);
    free(task->given);
    return NULL;
}

static void *first_is_posix_memalign(void *argument) {
    struct task *task = argument;
    void *p = NULL;
    task->bad += posix_memalign(&p, 4096, 100) || !aligned_to(p, 4096);
    free(p);
    free(task->given);
    return NULL;
}

static void *first_is_usable_size(void *argument) {
    struct task *task = argument;
    task->bad += malloc_usable_size(task->given) < 100;
    free(task->given);
    return NULL;
}

static void *first_is_failure(void *argument) {
    struct task *task = argument;
    errno = 0;
    task->bad += opaque(malloc(opaque_size(PTRDIFF_MAX))) || errno != ENOMEM;
    free(task->given);
    return NULL;
}

static void *first_is_trim(void *argument) {
    struct task *task = argument;
    malloc_trim(0);
    free(task->given);
    return NULL;
}

static void *first_is_free_null(void *argument) {
    struct task *task = argument;
    free(NULL);
    free(task->given);
    return NULL;
}

static void threads_begin(void) {
    static const struct {
        const char *name;
        void *(*body)(void *);
    } cases[] = {{"free", first_is_free},
                 {"realloc", first_is_realloc},
                 {"realloc to 0", first_is_realloc_to_nothing},
                 {"calloc", first_is_calloc},
                 {"malloc of 10 MiB", first_is_malloc_large},
                 {"posix_memalign", first_is_posix_memalign},
                 {"malloc_usable_size", first_is_usable_size},
                 {"a malloc that fails", first_is_failure},
                 {"malloc_trim", first_is_trim},
                 {"free(NULL)", first_is_free_null}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task task = {cases[i].name, NULL, 0};
        static const size_t sizes[] = {100, 3000, 100000, 3 << 20};
        for (size_t k = 0; k < 4; k++)
            for (int round = 0; round < 20; round++) {
                pthread_t thread;
                task.given = opaque(malloc(sizes[k]));
                pattern_fill(task.given, 100, 1);
                if (pthread_create(&thread, NULL, cases[i].body, &task) != 0)
                    task.bad++;
                else
                    pthread_join(thread, NULL);
            }
        ok(task.bad == 0, "a thread's first call may be %s", task.name);
    }
}

static pthread_key_t first_key, second_key;
static int destructor_rounds;

/* Sets itself again: the last of the rounds comes after every other destructor. */
static void key_destructor(void *value) {
    char *old = value, *p = opaque(malloc(300));
    memset(p, 1, 300);
    free(old);
    p = opaque(realloc(p, 70000));
    __atomic_add_fetch(&destructor_rounds, 1, __ATOMIC_RELAXED);
    pthread_setspecific(first_key, p);
    pthread_setspecific(second_key, opaque(malloc(10)));
}

static void *uses_keys(void *argument) {
    pthread_setspecific(first_key, opaque(malloc(100)));
    pthread_setspecific(second_key, opaque(malloc(100)));
    return argument;
}

static void *uses_keys_without_malloc(void *argument) {
    pthread_setspecific(first_key, argument);
    return NULL;
}

static void destructors_allocate(void) {
    pthread_key_create(&first_key, key_destructor);
    pthread_key_create(&second_key, free);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        if (i % 2)
            pthread_create(&thread, NULL, uses_keys, NULL);
        else
            pthread_create(&thread, NULL, uses_keys_without_malloc, opaque(malloc(100)));
        pthread_join(thread, NULL);
    }
    ok(destructor_rounds >= 200, "thread-exit destructors may allocate, free and realloc, in every round");
}

int main(void) {
    tap_begin();
    int bad = 0;
    for (int i = 0; i < 3; i++) {
        bad += !from_constructor[i] || from_constructor[i][(100u << (8 * i)) - 1] != 'c';
        free(from_constructor[i]);
    }
    ok(!bad, "blocks from a constructor that ran before all others are good");
    threads_begin();
    destructors_allocate();
    kept_for_exit = opaque(strdup("kept"));
    ok(atexit(at_exit_handler) == 0, "an exit handler that frees and allocates is set");
    /* Alive at exit: its destructor runs in the exiting main thread, or not at all. */
    pthread_setspecific(first_key, opaque(malloc(100)));
    return done_testing();
}
