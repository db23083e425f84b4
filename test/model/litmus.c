/*
 * The explorer explored: small programs whose outcomes under C11 are known. Each says whether its weak outcome, which
 * the check at the end names, can come about.
 */
#include "scenarios.h"

static int x, y, a, b, data;
static int result[4];

static void results(int n, uint8_t start) {
    for (int i = 0; i < n; i++) {
        result[i] = plain_new("result", i, start);
    }
}

static void atoms(void) {
    x = atom_new("x", -1, 0);
    y = atom_new("y", -1, 0);
    results(4, 0);
}

static uint8_t got(int i) {
    return final_plain(result[i]);
}

static const char *weak(bool outcome) {
    return outcome ? "the weak outcome" : NULL;
}

#define STORE(name, atom, order)                                                                                       \
    static void name(void) {                                                                                           \
        atom_store(atom, 1, order);                                                                                    \
    }
#define LOAD(name, i, atom, order)                                                                                     \
    static void name(void) {                                                                                           \
        plain_write(result[i], atom_load(atom, order));                                                                \
    }

STORE(x_relaxed, x, RELAXED)
STORE(y_relaxed, y, RELAXED)
STORE(y_release, y, RELEASE)
STORE(x_release, x, RELEASE)
STORE(x_sc, x, RELEASE | SEQ)
STORE(y_sc, y, RELEASE | SEQ)
LOAD(get_0_x_relaxed, 0, x, RELAXED)
LOAD(get_1_x_relaxed, 1, x, RELAXED)
LOAD(get_0_y_relaxed, 0, y, RELAXED)
LOAD(get_0_y_acquire, 0, y, ACQUIRE)
LOAD(get_1_y_acquire, 1, y, ACQUIRE)
LOAD(get_0_x_acquire, 0, x, ACQUIRE)
LOAD(get_2_y_acquire, 2, y, ACQUIRE)
LOAD(get_3_x_acquire, 3, x, ACQUIRE)
LOAD(get_1_x_sc, 1, x, ACQUIRE | SEQ)
LOAD(get_0_y_sc, 0, y, ACQUIRE | SEQ)
LOAD(get_0_x_sc, 0, x, ACQUIRE | SEQ)
LOAD(get_1_y_sc, 1, y, ACQUIRE | SEQ)
LOAD(get_2_y_sc, 2, y, ACQUIRE | SEQ)
LOAD(get_3_x_sc, 3, x, ACQUIRE | SEQ)

/* Store buffering: both loads miss the other's store. */
static const char *both_zero(void) {
    return weak(!got(0) && !got(1));
}

#define TWO(name, first, second, third, fourth)                                                                        \
    static void name(void) {                                                                                           \
        atoms();                                                                                                       \
        THREAD("one", first, second);                                                                                  \
        THREAD("two", third, fourth);                                                                                  \
    }

TWO(sb_acq_rel, x_release, get_0_y_acquire, y_release, get_1_x_relaxed)
TWO(sb_sc, x_sc, get_0_y_sc, y_sc, get_1_x_sc)
TWO(sb_three_sc, x_sc, get_0_y_sc, y_sc, get_1_x_relaxed)

static void y_exchange_sc(void) {
    atom_exchange(y, 1, ACQUIRE | RELEASE | SEQ);
}

static void y_exchange_release(void) {
    atom_exchange(y, 1, RELEASE);
}

static void y_exchange_acq_rel(void) {
    atom_exchange(y, 1, ACQUIRE | RELEASE);
}

/* One side's load is an exchange that finds the other's exchange missing: the shape of release and send. */
static void take_y_sc(void) {
    plain_write(result[0], atom_exchange(y, 2, ACQUIRE | RELEASE | SEQ));
}

static void take_y_acquire(void) {
    plain_write(result[0], atom_exchange(y, 2, ACQUIRE));
}

TWO(sb_exchange_sc, x_sc, take_y_sc, y_exchange_sc, get_1_x_sc)
TWO(sb_exchange_acquire, x_sc, take_y_acquire, y_exchange_sc, get_1_x_sc)
TWO(sb_exchange_release, x_sc, take_y_sc, y_exchange_release, get_1_x_sc)
TWO(sb_exchange_acq_rel, x_sc, take_y_sc, y_exchange_acq_rel, get_1_x_sc)

/* Message passing: the flag is seen and the message is not. */
static const char *stale_message(void) {
    return weak(got(0) && !got(1));
}

TWO(mp_relaxed, x_relaxed, y_relaxed, get_0_y_relaxed, get_1_x_relaxed)
TWO(mp_release_relaxed, x_relaxed, y_release, get_0_y_relaxed, get_1_x_relaxed)
TWO(mp_relaxed_acquire, x_relaxed, y_relaxed, get_0_y_acquire, get_1_x_relaxed)
TWO(mp_release_acquire, x_relaxed, y_release, get_0_y_acquire, get_1_x_relaxed)

/* A relaxed read-modify-write goes on with the release before it. */
static void y_add_relaxed(void) {
    if (atom_load(y, RELAXED)) {
        atom_add(y, 1, RELAXED);
    }
}

static void get_0_y_is_2(void) {
    plain_write(result[0], atom_load(y, ACQUIRE) == 2);
}

static void release_sequence(void) {
    atoms();
    THREAD("one", x_relaxed, y_release);
    THREAD("two", y_add_relaxed);
    THREAD("three", get_0_y_is_2, get_1_x_relaxed);
}

/* Two loads of one atom do not go back. */
static void coherence(void) {
    atoms();
    THREAD("one", x_relaxed);
    THREAD("two", get_0_x_relaxed, get_1_x_relaxed);
}

/* Two readers see two independent writes in opposite orders. */
static const char *opposite_orders(void) {
    return weak(got(0) && !got(1) && got(2) && !got(3));
}

#define FOUR(name, write_x, write_y, r0, r1, r2, r3)                                                                   \
    static void name(void) {                                                                                           \
        atoms();                                                                                                       \
        THREAD("one", write_x);                                                                                        \
        THREAD("two", write_y);                                                                                        \
        THREAD("three", r0, r1);                                                                                       \
        THREAD("four", r2, r3);                                                                                        \
    }

FOUR(iriw_acquire, x_release, y_release, get_0_x_acquire, get_1_y_acquire, get_2_y_acquire, get_3_x_acquire)
FOUR(iriw_sc, x_sc, y_sc, get_0_x_sc, get_1_y_sc, get_2_y_sc, get_3_x_sc)

/* Plain data: a race is found whoever comes first. */
static void read_then_flag(int order) {
    plain_read(data);
    atom_store(x, 1, order);
}

static void read_then_release(void) {
    read_then_flag(RELEASE);
}

static void read_then_relaxed(void) {
    read_then_flag(RELAXED);
}

static void write_if_flagged(void) {
    if (atom_load(x, ACQUIRE)) {
        plain_write(data, 1);
    }
}

static void race_setup(operation *reader) {
    static operation *readers[1];
    atoms();
    data = plain_new("data", -1, 0);
    readers[0] = reader;
    thread_new("reader", readers, 1);
    THREAD("writer", write_if_flagged);
}

static void race_after_release(void) {
    race_setup(read_then_release);
}

static void race_after_relaxed(void) {
    race_setup(read_then_relaxed);
}

static const char *nothing_wrong(void) {
    return NULL;
}

/* Locks: two in opposite orders, waiting. */
static void take_a_b(void) {
    lock_nesting(true);
    lock_take(a);
    lock_take(b);
    lock_drop(b);
    lock_drop(a);
}

static void take_b_a(void) {
    lock_nesting(true);
    lock_take(b);
    lock_take(a);
    lock_drop(a);
    lock_drop(b);
}

static void opposite_locks(void) {
    a = lock_new("a", -1);
    b = lock_new("b", -1);
    THREAD("one", take_a_b);
    THREAD("two", take_b_a);
}

static void same_locks(void) {
    a = lock_new("a", -1);
    b = lock_new("b", -1);
    THREAD("one", take_a_b);
    THREAD("two", take_a_b);
}

const struct litmus litmus[] = {
    {{"store buffering, acquire and release", "", sb_acq_rel, both_zero}, true},
    {{"store buffering, seq_cst", "", sb_sc, both_zero}, false},
    {{"store buffering, one load relaxed", "", sb_three_sc, both_zero}, true},
    {{"store buffering by exchange, seq_cst", "", sb_exchange_sc, both_zero}, false},
    {{"store buffering by exchange, one that acquires only", "", sb_exchange_acquire, both_zero}, true},
    {{"store buffering by exchange, one that releases only", "", sb_exchange_release, both_zero}, true},
    {{"store buffering by exchange, one that synchronizes", "", sb_exchange_acq_rel, both_zero}, false},
    {{"message passing, relaxed", "", mp_relaxed, stale_message}, true},
    {{"message passing, no acquire", "", mp_release_relaxed, stale_message}, true},
    {{"message passing, no release", "", mp_relaxed_acquire, stale_message}, true},
    {{"message passing, release and acquire", "", mp_release_acquire, stale_message}, false},
    {{"message passing by a release sequence", "", release_sequence, stale_message}, false},
    {{"two loads of one atom", "", coherence, stale_message}, false},
    {{"independent reads, acquire and release", "", iriw_acquire, opposite_orders}, true},
    {{"independent reads, seq_cst", "", iriw_sc, opposite_orders}, false},
    {{"write after a read, released", "", race_after_release, nothing_wrong}, false},
    {{"write after a read, relaxed", "", race_after_relaxed, nothing_wrong}, true},
    {{"two locks in opposite orders", "", opposite_locks, nothing_wrong}, true},
    {{"two locks in one order", "", same_locks, nothing_wrong}, false},
};
const unsigned nlitmus = sizeof litmus / sizeof *litmus;
