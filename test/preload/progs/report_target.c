/*
 * report_target still DIRECTORY     fills the heap, writes the library's own reports to DIRECTORY/{slab,...}, says "ready"
 *                                   and waits for the end of its input
 * report_target churn THREADS       allocates and frees in THREADS threads until the end of its input
 * report_target filtered ERRNO PROGRAM ARGUMENT...
 *                                   runs PROGRAM, for which process_vm_readv fails with ERRNO
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tap.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const char *const names[][2] = {{"slab", "slabmalloc_report_slabinfo"},
                                       {"buddy", "slabmalloc_report_buddyinfo"},
                                       {"pagetype", "slabmalloc_report_pagetypeinfo"},
                                       {"zone", "slabmalloc_report_zoneinfo"},
                                       {"json", "slabmalloc_report_json"}};

static void wait_for_end(void) {
    char byte;
    if (write(1, "ready\n", 6) != 6)
        _exit(2);
    while (read(0, &byte, 1) > 0)
        ;
}

static size_t size_of(unsigned i) {
    return i % 50 == 0 ? (size_t)(i % 7) << 19 : (i * 2654435761u >> 8) % (i % 10 ? 2000 : 60000);
}

/* An object cache and blocks of pages, some of them free. */
static void use_more(void) {
    void *(*create)(const char *, size_t, size_t, unsigned, const void *) =
        (void *(*)(const char *, size_t, size_t, unsigned, const void *))dlsym(RTLD_DEFAULT, "slabmalloc_cache_create");
    void *(*alloc)(void *) = (void *(*)(void *))dlsym(RTLD_DEFAULT, "slabmalloc_cache_alloc");
    void (*give)(void *, void *) = (void (*)(void *, void *))dlsym(RTLD_DEFAULT, "slabmalloc_cache_free");
    void *(*pages)(unsigned, unsigned) = (void *(*)(unsigned, unsigned))dlsym(RTLD_DEFAULT, "slabmalloc_alloc_pages");
    void (*give_pages)(void *, unsigned) = (void (*)(void *, unsigned))dlsym(RTLD_DEFAULT, "slabmalloc_free_pages");
    void *first = create("first cache", 200, 0, 0, NULL), *second = create("second", 3000, 64, 2, NULL), *p[500];
    for (unsigned i = 0; i < 500; i++)
        p[i] = alloc(i % 2 ? first : second);
    for (unsigned i = 0; i < 400; i++)
        give(i % 2 ? first : second, p[i]);
    for (unsigned order = 0; order < 10; order++)
        give_pages(pages(0, order), order), pages(0, order);
}

static int still(const char *directory) {
    static void *p[20000];
    use_more();
    for (unsigned i = 0; i < sizeof p / sizeof *p; i++)
        p[i] = malloc(size_of(i));
    for (unsigned i = 0; i < sizeof p / sizeof *p; i += 3)
        free(p[i]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", directory, names[i][0]);
        int (*report)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, names[i][1]);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (!report || report(fd))
            return 1;
        close(fd);
    }
    wait_for_end();
    return 0;
}

static atomic_int over;

static void *churn(void *arg) {
    unsigned i = (unsigned)(size_t)arg;
    void *p[300] = {NULL};
    while (!over) {
        void **at = &p[(i * 2654435761u >> 12) % 300];
        free(*at);
        *at = malloc(size_of(i++));
        if (i % 100000 == 0) {
            for (unsigned k = 0; k < 300; k++)
                free(p[k]), p[k] = NULL;
        }
    }
    return NULL;
}

static int threads(unsigned n) {
    pthread_t thread[64];
    for (unsigned i = 0; i < n && i < 64; i++)
        pthread_create(&thread[i], NULL, churn, (void *)(size_t)(i * 1000003u));
    wait_for_end();
    over = 1;
    for (unsigned i = 0; i < n && i < 64; i++)
        pthread_join(thread[i], NULL);
    return 0;
}

static int filtered(unsigned error, char **command) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0))
        return 77;
    execvp(*command, command);
    return 127;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "still"))
        return still(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "churn"))
        return threads((unsigned)atoi(argv[2]));
    if (argc > 3 && !strcmp(argv[1], "filtered"))
        return filtered((unsigned)atoi(argv[2]), argv + 3);
    return 2;
}
