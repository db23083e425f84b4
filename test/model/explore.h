/*
 * explore.h: an exhaustive explorer for small concurrent programs under the C11 memory model.
 *
 * A *scenario* is shared memory and two to four threads, each a list of operations written as plain C functions that
 * call the accesses below. The explorer runs every interleaving of the accesses and every value each of them may read,
 * breadth first, so that a counterexample is a shortest one.
 *
 * Memory (views, as in the "promising" semantics without promises):
 *   atom    has a history of writes, each with the view of its writer if it was a release. A thread's view says which
 *           write of every atom it knows; a load returns that one or any later one, and an acquire joins the views.
 *   SEQ     accesses also have places in one order S. A write may enter S late, but before the next SEQ access of its
 *           thread; a load returns nothing older than the last write before its own place. (Weaker than C11 where C11
 *           would order accesses of other orders around them.)
 *   plain   not atomic: an access by a thread that has not seen the last write, or a write by one that has not seen the
 *           last reads, is a data race and ends the run.
 *   lock    take, try and drop, with acquire and release. Waiting for one while holding another ends the run.
 * Stores to an atom that do not happen after the one before are reported too, so the history is the modification order.
 * Not covered: values out of thin air and other load-to-store reordering (as in RC11).
 *
 * A thread is not suspended but run again from the start of its current operation, with the logged results of what it
 * did so far. So operations keep nothing in statics; what outlives an operation is in var[].
 *
 * Scheduling happens before each access to an atom, lock or futex. Plain accesses go with the access before them: races
 * are found from views, whoever comes first.
 */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

enum { THREADS = 4, ATOMS = 20, PLAINS = 64, LOCKS = 8, OBJECTS = 8, VARS = 8, LOG = 240, MESSAGES = 96, SC_MAX = 24 };

enum order { RELAXED = 0, ACQUIRE = 1, RELEASE = 2, SEQ = 4 };

struct scenario {
    const char *name, *says;
    void (*setup)(void);
    const char *(*check)(void); /* of a run's end: NULL, or what is wrong */
};

/* The rules in force. */
bool rule(enum rule r);

/* ORDER if R is in force, else nothing. */
static inline int with(enum rule r, int order) {
    return rule(r) ? order : RELAXED;
}

/* More operations a thread, for check-long. */
extern bool bounds_long;

/* Setup. */
int atom_new(const char *name, int index, uint8_t value);
int plain_new(const char *name, int index, uint8_t value);
int lock_new(const char *name, int index);
void atom_start(int atom, uint8_t value);
void plain_start(int plain, uint8_t value);
void object_start(unsigned object, unsigned thread); /* THREAD, by its number, has it */
void object_in_transit(unsigned object);             /* no thread has it */
typedef void operation(void);
void thread_new(const char *name, operation *const *operations, unsigned n);
#define THREAD(name, ...)                                                                                              \
    do {                                                                                                               \
        static operation *const operations_[] = {__VA_ARGS__};                                                         \
        thread_new(name, operations_, sizeof operations_ / sizeof *operations_);                                       \
    } while (0)

/* Which function of lib/ the accesses that follow in this block stand for. */
#define FN(name) __attribute__((cleanup(function_leave))) const char *function_before_ = function_enter(name)
const char *function_enter(const char *name);
void function_leave(const char **before);

/* Accesses. */
uint8_t atom_load(int atom, int order);
void atom_store(int atom, uint8_t value, int order);
uint8_t atom_exchange(int atom, uint8_t value, int order);
uint8_t atom_add(int atom, uint8_t value, int order);
uint8_t atom_or(int atom, uint8_t bits, int order);
uint8_t atom_and(int atom, uint8_t bits, int order);
/* Fails if the value it reads, the newest or an older one, is not FROM; failing is relaxed. */
bool atom_cas(int atom, uint8_t from, uint8_t to, int order);
/* A load whose value leads to the plain data in MASK and the atom NEXT (-1: none): the processor orders what follows
 * the pointer after the load, whatever the language says. */
uint8_t atom_load_leading_to(int atom, uint64_t mask, int next, int order);

uint8_t plain_read(int plain);
void plain_write(int plain, uint8_t value);
/* In a fork child, where no other thread is: whatever was there is overwritten. */
void plain_reset(int plain, uint8_t value);
static inline uint64_t plain_mask(int plain) {
    return (uint64_t)1 << plain;
}

void lock_take(int lock);
bool lock_try(int lock);
void lock_drop(int lock);
bool lock_mine(int lock);
void lock_reset(int lock);
/* Waiting for locks while holding others is meant: fork, which takes them in one order. */
void lock_nesting(bool allowed);
void system_call(const char *name); /* no lock may be held */

void futex_wait(int atom, uint8_t value);
void futex_wake(int atom);

/* One of N ways this can go. */
unsigned either(unsigned n);

/* The first operation of a thread that only a fork child starts. */
void wait_for_fork(void);

/* Only this thread goes on, with the memory it sees: any write it had not seen may or may not be there. False: goes on
 * as the parent. */
bool fork_here(void);

/* The child's atfork handlers are done: threads that wait for it may start. */
void fork_child_ready(void);
bool in_child(void);

/* A signal whose handler is HANDLER may come at any point of this operation, once. */
void signal_arm(operation *handler);

/* A loop's next round: all its state is in shared memory, so the log can forget the round. */
unsigned round_begin(void);
void round_again(unsigned begin);

unsigned self_thread(void);

/* What outlives an operation, private to the thread. */
extern uint8_t *var;

/* Ghosts: who has which object, as the program sees it. Not memory: no order, no step. */
void object_handed_out(unsigned object);
void object_taken_back(unsigned object);
bool object_is_out(unsigned object);
bool object_is_mine(unsigned object);
uint8_t atom_newest(int atom); /* for checks: no order, no step, no race */
uint8_t plain_newest(int plain);

/* Ends the run as a counterexample. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* For checks at the end: the newest values. */
uint8_t final_atom(int atom);
uint8_t final_plain(int plain);
bool final_object_out(unsigned object);
bool final_forked(void);

/* Explores. NULL: no counterexample; else its message, valid until the next call. */
struct result {
    const char *violation;
    size_t states, steps;
    unsigned depth;
};
struct result explore(const struct scenario *scenario, bool show_trace);

#endif
