#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program program;
struct state now;
bool tracing;
uint8_t *var;
struct run run;

static char text[256];

void die(const char *what) {
    fprintf(stderr, "model: %s\n", what);
    exit(99);
}

/* Setup. */

static int name_new(char (*names)[24], unsigned *n, unsigned most, const char *name, int index) {
    if (*n >= most) {
        die("a scenario has too many variables");
    }
    if (index < 0) {
        snprintf(names[*n], sizeof *names, "%s", name);
    } else {
        snprintf(names[*n], sizeof *names, "%s[%d]", name, index);
    }
    return (int)(*n)++;
}

int atom_new(const char *name, int index, uint8_t value) {
    int atom = name_new(program.atom_name, &program.natoms, ATOMS, name, index);
    now.nmessages[atom] = 1;
    now.message[atom].value = value;
    now.message[atom].view.seen = ~(uint64_t)0;
    return atom;
}

int plain_new(const char *name, int index, uint8_t value) {
    int plain = name_new(program.plain_name, &program.nplains, PLAINS, name, index);
    now.plain[plain] = value;
    return plain;
}

void atom_start(int atom, uint8_t value) {
    now.message[atom].value = value; /* one message each so far */
}

void plain_start(int plain, uint8_t value) {
    now.plain[plain] = value;
}

void object_start(unsigned object, unsigned thread) {
    now.object[object] = (uint8_t)(thread + 1);
}

void object_in_transit(unsigned object) {
    now.object[object] = 0;
}

int lock_new(const char *name, int index) {
    return name_new(program.lock_name, &program.nlocks, LOCKS, name, index);
}

void thread_new(const char *name, operation *const *operations, unsigned n) {
    unsigned t = program.nthreads++;
    if (t >= THREADS) {
        die("a scenario has too many threads");
    }
    program.thread_name[t] = name;
    program.operations[t] = operations;
    program.noperations[t] = n;
    now.view[t].seen = ~(uint64_t)0;
}

/* Running and tracing. */

const char *function_enter(const char *name) {
    const char *before = run.function;
    run.function = name;
    return before;
}

void function_leave(const char **before) {
    run.function = *before;
}

void say(const char *format, ...) {
    if (!tracing) {
        return;
    }
    va_list list;
    va_start(list, format);
    printf("#   %-10s %-36s ", program.thread_name[run.thread], run.function);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

void violation(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    say("VIOLATION: %s", text);
    longjmp(run.out, STEP_VIOLATION);
}

const char *violation_text(void) {
    return text;
}

bool replaying(void) {
    return run.log_at < run.me->nlog;
}

uint8_t log_next(void) {
    return run.me->log[run.log_at++];
}

uint8_t log_put(uint8_t value) {
    if (run.me->nlog >= LOG) {
        die("an operation takes too many steps");
    }
    run.me->log[run.me->nlog++] = value;
    run.log_at = run.me->nlog;
    return value;
}

unsigned choose(unsigned n) {
    struct choices *c = run.choices;
    if (n <= 1) {
        return 0;
    }
    if (run.choice_at == c->n) {
        if (c->n >= sizeof c->taken) {
            die("a step has too many choices");
        }
        c->of[c->n] = (uint8_t)n;
        c->taken[c->n++] = 0;
    }
    return c->taken[run.choice_at++];
}

bool choices_next(struct choices *c) {
    while (c->n) {
        if (++c->taken[c->n - 1] < c->of[c->n - 1]) {
            return true;
        }
        c->n--;
    }
    return false;
}

unsigned either(unsigned n) {
    return replaying() ? log_next() : log_put((uint8_t)choose(n));
}

void signal_arm(operation *handler) {
    run.handler = handler;
}

void signal_point(void) {
    if (run.handler && either(2)) {
        operation *handler = run.handler;
        run.handler = NULL;
        say("a signal arrives");
        const char *before = run.function;
        handler();
        run.function = before;
    }
}

/* Before every access that others may interleave with. True: take the result from the log. */
bool visible(void) {
    signal_point();
    if (replaying()) {
        return true;
    }
    if (!run.moves) {
        longjmp(run.out, STEP_DONE);
    }
    run.moves--;
    return false;
}

enum outcome thread_step(unsigned thread, struct choices *choices) {
    run.thread = thread;
    run.me = &now.thread[thread];
    run.view = &now.view[thread];
    run.choices = choices;
    run.choice_at = 0;
    run.moves = 1;
    memcpy(run.var, run.me->var, VARS);
    var = run.var;
    run.function = "";
    int outcome = setjmp(run.out);
    if (outcome) {
        return (enum outcome)outcome;
    }
    while (run.me->pc < program.noperations[run.thread]) {
        run.log_at = 0;
        run.handler = NULL;
        run.nesting = false;
        program.operations[run.thread][run.me->pc]();
        memcpy(run.me->var, run.var, VARS);
        run.me->pc++;
        run.me->nlog = 0;
        memset(run.me->log, 0, LOG);
    }
    if (run.me->holds) {
        violation("ends with a lock held");
    }
    run.me->done = 1;
    memset(run.me->var, 0, VARS);
    return STEP_DONE;
}

unsigned round_begin(void) {
    return run.log_at;
}

void round_again(unsigned begin) {
    memset(run.me->log + begin, 0, LOG - begin);
    run.me->nlog = (uint8_t)begin;
    run.log_at = begin;
}
