/* background.h promises: an idle process gives its memory back, by a thread that comes and goes. */
#include "background.h"

#include <dirent.h>

#include "program.h"
#include "support.h"
#include "zone.h"

#define BLOCKS 1000
#define BLOCK 50000

static void *block[BLOCKS];

static void peak(void) {
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = slabmalloc_malloc(BLOCK);
        MUST(block[i]);
        memset(block[i], 1, BLOCK);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        slabmalloc_free(block[i]);
    }
}

/* Threads of this process; with a NAME, those that are called so. */
static unsigned threads(const char *name) {
    DIR *tasks = opendir("/proc/self/task");
    unsigned n = 0;
    for (const struct dirent *entry; tasks && (entry = readdir(tasks));) {
        char path[300], text[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (comm) {
            n += fgets(text, sizeof text, comm) && (!name || !strncmp(text, name, strlen(name)));
            fclose(comm);
        }
    }
    closedir(tasks);
    return n;
}

static bool helper_is_gone(void) {
    return threads("slabmalloc") == 0;
}

static void in_a_short_interval(void) {
    slabmalloc_free(slabmalloc_malloc(1)); /* the environment is read before this overrides it */
    options.decay_ms = 50;
}

TestSuite(background, .init = in_a_short_interval);

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

/* Waits for what must come some time; a minute is for ever. */
static bool comes_true(bool (*condition)(void)) {
    for (unsigned i = 0; i < 6000; i++) {
        if (condition()) {
            return true;
        }
        usleep(10000);
    }
    return false;
}

static bool helper_is_there(void) {
    return threads("slabmalloc") > 0;
}

Test(background, an_idle_process_gives_its_peak_back_and_the_helper_ends) {
    peak();
    MUST(comes_true(helper_is_there));
    MUST(comes_true(helper_is_gone));
    MUST(zone_dirty_pages() << PAGE_SHIFT < 4 * MIB);
    MUST_BE_SOUND();
}

Test(background, every_peak_gets_its_helper) {
    for (unsigned i = 0; i < 3; i++) {
        peak();
        MUST(comes_true(helper_is_there));
        MUST(comes_true(helper_is_gone));
    }
}

Test(background, the_helper_takes_no_signals) {
    peak();
    MUST(comes_true(helper_is_there));
    DIR *tasks = opendir("/proc/self/task");
    unsigned seen = 0;
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        char path[300], line[128], name[64] = "";
        unsigned long long blocked = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "r");
        while (status && fgets(line, sizeof line, status)) {
            sscanf(line, "Name: %63s", name);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (status) {
            fclose(status);
        }
        if (!strcmp(name, "slabmalloc")) {
            seen++;
            /* All but SIGKILL and SIGSTOP, the C library's own included. */
            MUST((blocked | 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)) == ~0ull);
        }
    }
    closedir(tasks);
    MUST(seen == 1);
}

static void child_starts_its_own(void *unused) {
    (void)unused;
    MUST(threads(NULL) == 1);
    peak();
    MUST(comes_true(helper_is_there));
    MUST(comes_true(helper_is_gone));
    MUST_BE_SOUND();
}

Test(background, a_fork_child_has_no_helper_until_it_needs_one) {
    peak();
    MUST(comes_true(helper_is_there));
    child_must_end_well(child_starts_its_own, NULL);
}

Test(background, the_process_can_end_while_the_helper_runs) {
    peak();
    MUST(comes_true(helper_is_there));
    exit(0);
}

#endif

Test(background, no_helper_when_it_is_off) {
    options.background = false;
    peak();
    usleep(200000);
    MUST(helper_is_gone());
}

Test(background, no_helper_for_a_small_heap) {
    void *p = slabmalloc_malloc(8 * MIB / 10);
    memset(p, 1, 8 * MIB / 10);
    slabmalloc_free(p);
    usleep(200000);
    MUST(helper_is_gone());
}

Test(background, a_refused_thread_leaves_purging_to_the_slow_paths) {
    fault_arm(1u << SYS_THREAD, 0, FOREVER);
    peak();
    usleep(200000);
    MUST(helper_is_gone());
    MUST(!background_runs(sys_now_ms()));
    peak();
    fault_disarm();
    MUST_BE_SOUND();
}

Test(background, a_pass_gives_back_what_the_last_one_saw_unused) {
    options.background = false;
    peak();
    size_t before = zone_dirty_pages();
    MUST(before << PAGE_SHIFT > 30 * MIB);
    /* The first one's interval saw the peak in use, unless the slow paths ended it before. */
    size_t first = background_pass(sys_now_ms());
    MUST(first + background_pass(sys_now_ms()) > 30 * MIB);
    MUST(zone_dirty_pages() << PAGE_SHIFT < 2 * MIB);
    MUST(background_pass(sys_now_ms()) < 1 * MIB); /* the empty slabs that the second one took */
    MUST(zone_dirty_pages() << PAGE_SHIFT < 512 * KIB);
    MUST(background_pass(sys_now_ms()) == 0);
    MUST_BE_SOUND();
}

Test(background, a_program_without_unshare_may_have_threads) {
    MUST(!program_must_stay_single());
}
