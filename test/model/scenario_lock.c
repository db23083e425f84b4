/* lib/lock.h and lock.c to the letter, the futex included. */
#include "scenarios.h"

#define CONTENDED 0x80

static int word, data;

static bool word_change(uint8_t from, uint8_t to) {
    if (rule(LOCK_CAS)) {
        return atom_cas(word, from, to, with(LOCK_ACQUIRE, ACQUIRE));
    }
    if (atom_load(word, ACQUIRE) != from) {
        return false;
    }
    atom_store(word, to, RELAXED);
    return true;
}

static void wait_for_word(uint8_t name) {
    FN("lock.c:lock_wait");
    if (!atom_load(word, RELAXED) && word_change(0, name)) {
        return;
    }
    uint8_t sleeper = rule(LOCK_SLEEPER_CONTENDS) ? name | CONTENDED : name;
    unsigned begin = round_begin();
    for (;;) {
        uint8_t seen = atom_load(word, RELAXED);
        if (!seen) {
            if (word_change(0, sleeper)) {
                return;
            }
        } else if (seen & CONTENDED || !rule(LOCK_SLEEPER_MARKS) || word_change(seen, seen | CONTENDED)) {
            futex_wait(word, rule(LOCK_SLEEPER_MARKS) ? seen | CONTENDED : seen);
            if (!rule(LOCK_SLEEPER_TRIES_AGAIN)) {
                return;
            }
        }
        round_again(begin);
    }
}

static void take(uint8_t name) {
    FN("lock.h:lock_take");
    if (!word_change(0, name)) {
        wait_for_word(name);
    }
}

static void drop(void) {
    FN("lock.h:lock_drop");
    uint8_t before;
    if (rule(LOCK_DROP_EXCHANGES)) {
        before = atom_exchange(word, 0, with(LOCK_RELEASE, RELEASE));
    } else {
        before = atom_load(word, RELAXED);
        atom_store(word, 0, RELEASE);
    }
    if (before & CONTENDED && rule(LOCK_DROP_WAKES)) {
        futex_wake(word);
    }
}

/* Object 0 is the right to be in the section: handed out to two, the lock failed. */
static void inside(void) {
    object_handed_out(0);
    plain_write(data, plain_read(data) + 1);
    object_taken_back(0);
}

static void section(uint8_t name) {
    take(name);
    inside();
    drop();
}

static void section_1(void) {
    section(1);
}

static void section_3(void) {
    section(3);
}

static void section_5(void) {
    section(5);
}

static void try_5(void) {
    FN("lock.h:lock_try");
    if (word_change(0, 5)) {
        inside();
        drop();
    }
}

static void setup(void) {
    word = atom_new("lock.word", -1, 0);
    data = plain_new("data", -1, 0);
    if (bounds_long) {
        THREAD("first", section_1, section_1);
        THREAD("second", section_3, section_3);
        THREAD("third", section_5, try_5, section_5);
    } else {
        THREAD("first", section_1);
        THREAD("second", section_3);
        THREAD("third", section_5, try_5);
    }
}

static const char *check(void) {
    return final_atom(word) ? "the lock is held by nobody's hand" : NULL;
}

const struct scenario scenario_lock = {"lock", "three threads take a lock by its word and futex", setup, check};
