/*
 * memory.h: one state of the explored program, and how a thread is run on it. Between explore.c, which walks the
 * states, and memory.c, which defines what an access does.
 */
#ifndef MODEL_MEMORY_H
#define MODEL_MEMORY_H

#include <setjmp.h>

#include "explore.h"

/* Which writes a thread or a message knows: the index of each atom's, per plain whether the last one, and whether each
 * thread's last read of it. */
struct view {
    uint64_t seen, seen_read[THREADS];
    uint8_t at[ATOMS];
    uint8_t pad[4];
};

struct message {
    struct view view;
    uint8_t value, pad[7];
};

struct thread {
    uint8_t pc, done, nlog, holds, sleeping; /* sleeping: atom + 1 */
    uint8_t pending, pending_at, sc_at;      /* pending: atom + 1 of a SEQ write that is not in S yet */
    uint8_t var[VARS];
    uint8_t log[LOG];
};

struct sc_write {
    uint8_t atom, at;
};

/* Everything that two equal states have in common; hashed and stored as bytes up to the last message in use. */
struct state {
    struct view view[THREADS];
    struct view lock_view[LOCKS];
    struct thread thread[THREADS];
    uint8_t lock_holder[LOCKS]; /* thread + 1 */
    uint8_t plain[PLAINS];
    uint8_t readers[PLAINS]; /* threads that read it after its last write */
    uint8_t object[OBJECTS]; /* ghost: thread + 1 that has it, OBJECT_LEAKED */
    uint8_t nmessages[ATOMS];
    uint8_t sc_base[ATOMS]; /* S before the writes listed */
    struct sc_write sc[SC_MAX];
    uint8_t nsc, forked, pad[2];
    struct message message[MESSAGES]; /* by atom, oldest first */
};

#define OBJECT_LEAKED 0xff

/* The program: what all states share. */
struct program {
    unsigned natoms, nplains, nlocks, nthreads;
    char atom_name[ATOMS][24], plain_name[PLAINS][24], lock_name[LOCKS][24];
    const char *thread_name[THREADS];
    operation *const *operations[THREADS];
    unsigned noperations[THREADS];
};

extern struct program program;
extern struct state now;
extern bool tracing;

/* The thread that runs at this moment, and how far. */
struct choices;
struct run {
    jmp_buf out;
    unsigned thread, log_at, moves, choice_at;
    struct choices *choices;
    struct thread *me;
    struct view *view;
    uint8_t var[VARS];
    const char *function;
    operation *handler;
    bool nesting;
};
extern struct run run;

/* How a step of a thread ended. */
enum outcome { STEP_DONE = 1, STEP_BLOCKED, STEP_VIOLATION };

/* One step of THREAD on `now`. Choices are taken from a counter: call with the same CHOICES until it returns false from
 * choices_next. */
struct choices {
    unsigned n;
    uint8_t taken[32], of[32];
};
enum outcome thread_step(unsigned thread, struct choices *choices);
bool choices_next(struct choices *choices);
const char *violation_text(void);

/* The pending SEQ write of THREAD enters S. */
void thread_settle(unsigned thread);

/* No thread has anything left to do. */
bool all_done(void);

size_t state_bytes(const struct state *state);

/* Forgets writes that no thread can read any more, and numbers from zero what is left. */
void state_normalize(void);

/* For accesses: results come from the log while an operation is run again up to where it was. */
bool visible(void); /* before an access that others may interleave with; true: take its result from the log */
bool replaying(void);
uint8_t log_next(void);
uint8_t log_put(uint8_t value);
unsigned choose(unsigned n);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *what) __attribute__((noreturn));

void view_join(struct view *view, const struct view *with);
bool view_covers(const struct view *view, const struct view *other);
struct message *messages_of(int atom);
unsigned nmessages_total(const struct state *state);
uint8_t last_at(int atom);
void signal_point(void);

/* THREAD is one that a fork child starts, and it was not started yet. */
bool waits_for_fork(unsigned thread);

#endif
