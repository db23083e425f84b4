#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program program;
struct state now;
bool tracing;
uint8_t *var;

/* The thread that runs at this moment, and how far. */
static struct {
    jmp_buf out;
    unsigned thread, log_at, moves, choice_at;
    struct choices *choices;
    struct thread *me;
    struct view *view;
    uint8_t var[VARS];
    const char *function;
    operation *handler;
    bool nesting;
} run;

static char text[256];

static void die(const char *what) {
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

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
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

static bool replaying(void) {
    return run.log_at < run.me->nlog;
}

static uint8_t log_next(void) {
    return run.me->log[run.log_at++];
}

static uint8_t log_put(uint8_t value) {
    if (run.me->nlog >= LOG) {
        die("an operation takes too many steps");
    }
    run.me->log[run.me->nlog++] = value;
    run.log_at = run.me->nlog;
    return value;
}

static unsigned choose(unsigned n) {
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

static void signal_point(void) {
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
static bool visible(void) {
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

/* Views. */

static void view_join(struct view *view, const struct view *with) {
    view->seen |= with->seen;
    for (unsigned t = 0; t < program.nthreads; t++) {
        view->seen_read[t] |= with->seen_read[t];
    }
    for (unsigned i = 0; i < program.natoms; i++) {
        if (with->at[i] > view->at[i]) {
            view->at[i] = with->at[i];
        }
    }
}

static bool view_covers(const struct view *view, const struct view *other) {
    bool covers = !(other->seen & ~view->seen);
    for (unsigned i = 0; covers && i < program.natoms; i++) {
        covers = other->at[i] <= view->at[i];
    }
    return covers;
}

static unsigned nmessages_total(const struct state *state) {
    unsigned n = 0;
    for (unsigned i = 0; i < program.natoms; i++) {
        n += state->nmessages[i];
    }
    return n;
}

static struct message *messages_of(int atom) {
    struct message *m = now.message;
    for (int i = 0; i < atom; i++) {
        m += now.nmessages[i];
    }
    return m;
}

static uint8_t last_at(int atom) {
    return (uint8_t)(now.nmessages[atom] - 1);
}

static struct message *message_add(int atom, uint8_t value, const struct view *view) {
    struct message *m = messages_of(atom) + now.nmessages[atom];
    unsigned total = nmessages_total(&now);
    if (total >= MESSAGES) {
        die("too many writes to remember");
    }
    memmove(m + 1, m, (size_t)(now.message + total - m) * sizeof *m);
    memset(m, 0, sizeof *m);
    m->value = value;
    m->view = *view;
    m->view.at[atom] = now.nmessages[atom]++;
    return m;
}

/* The order S of SEQ accesses. */

void thread_settle(unsigned thread) {
    struct thread *t = &now.thread[thread];
    if (!t->pending) {
        return;
    }
    if (now.nsc >= SC_MAX) {
        die("too many sequentially consistent writes");
    }
    now.sc[now.nsc++] = (struct sc_write){t->pending - 1, t->pending_at};
    t->sc_at = now.nsc;
    t->pending = t->pending_at = 0;
}

static void sc_write(int atom) {
    run.me->pending = (uint8_t)(atom + 1);
    run.me->pending_at = last_at(atom);
}

/* Reading write AT of ATOM: that write comes before us in S, if it is one of S's. */
static void sc_read(int atom, uint8_t at) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (t != run.thread && now.thread[t].pending == atom + 1 && now.thread[t].pending_at <= at) {
            thread_settle(t);
        }
    }
    for (unsigned i = run.me->sc_at; i < now.nsc; i++) {
        if (now.sc[i].atom == atom && now.sc[i].at <= at) {
            run.me->sc_at = (uint8_t)(i + 1);
        }
    }
}

static uint8_t sc_bound(int atom) {
    uint8_t at = now.sc_base[atom];
    for (unsigned i = 0; i < run.me->sc_at; i++) {
        if (now.sc[i].atom == atom && now.sc[i].at > at) {
            at = now.sc[i].at;
        }
    }
    return at;
}

/* Atoms. */

static const char *order_name(int order) {
    static const char *const names[] = {"relaxed", "acquire", "release", "acq_rel"};
    return order & SEQ ? "seq_cst" : names[order & 3];
}

static uint8_t load(int atom, int order, uint64_t leads_to, int next) {
    if (order & SEQ) {
        thread_settle(run.thread);
    }
    uint8_t oldest = run.view->at[atom];
    if (order & SEQ && sc_bound(atom) > oldest) {
        oldest = sc_bound(atom);
    }
    uint8_t at = (uint8_t)(last_at(atom) - choose(last_at(atom) - oldest + 1u));
    const struct message *m = messages_of(atom) + at;
    uint8_t value = m->value;
    if (order & SEQ) {
        sc_read(atom, at);
    }
    run.view->at[atom] = at;
    if (order & ACQUIRE) {
        view_join(run.view, &m->view);
    }
    run.view->seen |= m->view.seen & leads_to;
    if (next >= 0 && m->view.at[next] > run.view->at[next]) {
        run.view->at[next] = m->view.at[next];
    }
    say("%s is %u%s (%s)", program.atom_name[atom], value, at < last_at(atom) ? ", not the newest" : "",
        order_name(order));
    return value;
}

uint8_t atom_load(int atom, int order) {
    return visible() ? log_next() : log_put(load(atom, order, 0, -1));
}

uint8_t atom_load_leading_to(int atom, uint64_t mask, int next, int order) {
    return visible() ? log_next() : log_put(load(atom, order, mask, next));
}

void atom_store(int atom, uint8_t value, int order) {
    if (visible()) {
        log_next();
        return;
    }
    if (run.view->at[atom] != last_at(atom)) {
        violation("two stores to %s that nothing orders", program.atom_name[atom]);
    }
    if (order & SEQ) {
        thread_settle(run.thread);
    }
    const struct view nothing = {0};
    message_add(atom, value, order & RELEASE ? run.view : &nothing);
    run.view->at[atom] = last_at(atom);
    if (order & SEQ) {
        sc_write(atom);
    }
    say("%s = %u (%s)", program.atom_name[atom], value, order_name(order));
    log_put(0);
}

enum modify { SET, ADD, OR, AND };

static uint8_t modify(int atom, enum modify how, uint8_t with_value, int order) {
    if (order & SEQ) {
        thread_settle(run.thread);
    }
    uint8_t at = last_at(atom);
    const struct message *m = messages_of(atom) + at;
    struct view view = m->view; /* the release sequence goes on */
    uint8_t before = m->value, after = with_value;
    if (order & SEQ) {
        sc_read(atom, at);
    }
    if (order & ACQUIRE) {
        view_join(run.view, &view);
    }
    run.view->at[atom] = at;
    if (order & RELEASE) {
        view_join(&view, run.view);
    }
    after = how == ADD ? before + with_value : how == OR ? before | with_value : how == AND ? before & with_value : after;
    message_add(atom, after, &view);
    run.view->at[atom] = last_at(atom);
    if (order & SEQ) {
        sc_write(atom);
    }
    say("%s from %u to %u (%s)", program.atom_name[atom], before, after, order_name(order));
    return before;
}

uint8_t atom_exchange(int atom, uint8_t value, int order) {
    return visible() ? log_next() : log_put(modify(atom, SET, value, order));
}

uint8_t atom_add(int atom, uint8_t value, int order) {
    return visible() ? log_next() : log_put(modify(atom, ADD, value, order));
}

uint8_t atom_or(int atom, uint8_t bits, int order) {
    return visible() ? log_next() : log_put(modify(atom, OR, bits, order));
}

uint8_t atom_and(int atom, uint8_t bits, int order) {
    return visible() ? log_next() : log_put(modify(atom, AND, bits, order));
}

static bool cas(int atom, uint8_t from, uint8_t to, int order) {
    uint8_t way[MESSAGES];
    unsigned n = 0;
    const struct message *m = messages_of(atom);
    for (unsigned at = run.view->at[atom]; at <= last_at(atom); at++) {
        if (m[at].value != from || at == last_at(atom)) {
            way[n++] = (uint8_t)at;
        }
    }
    uint8_t at = way[n - 1 - choose(n)];
    if (m[at].value == from) {
        modify(atom, SET, to, order);
        return true;
    }
    run.view->at[atom] = at;
    say("%s is %u, not %u", program.atom_name[atom], m[at].value, from);
    return false;
}

bool atom_cas(int atom, uint8_t from, uint8_t to, int order) {
    return visible() ? log_next() : log_put(cas(atom, from, to, order));
}

/* Plain data. */

static void see(int plain, const char *does) {
    if (!(run.view->seen & plain_mask(plain))) {
        violation("data race: %s %s without having seen the last write", does, program.plain_name[plain]);
    }
}

/* BITS of what every view has seen, in the word that lies where WORD lies in a view, are so no more but for the running
 * thread's. */
static void unseen_by_others(const uint64_t *word, uint64_t bits) {
    size_t at = (size_t)((const char *)word - (const char *)run.view);
    unsigned n = nmessages_total(&now);
    for (unsigned t = 0; t < program.nthreads; t++) {
        *(uint64_t *)(void *)((char *)&now.view[t] + at) &= ~bits;
    }
    for (unsigned i = 0; i < program.nlocks; i++) {
        *(uint64_t *)(void *)((char *)&now.lock_view[i] + at) &= ~bits;
    }
    for (unsigned i = 0; i < n; i++) {
        *(uint64_t *)(void *)((char *)&now.message[i].view + at) &= ~bits;
    }
    *(uint64_t *)(void *)((char *)run.view + at) |= bits;
}

static void see_reads(int plain) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (now.readers[plain] >> t & 1 && t != run.thread && !(run.view->seen_read[t] & plain_mask(plain))) {
            violation("data race: writes %s, which %s may still be reading", program.plain_name[plain],
                      program.thread_name[t]);
        }
    }
}

uint8_t plain_read(int plain) {
    if (replaying()) {
        return log_next();
    }
    see(plain, "reads");
    now.readers[plain] |= (uint8_t)(1u << run.thread);
    unseen_by_others(&run.view->seen_read[run.thread], plain_mask(plain));
    say("%s is %u", program.plain_name[plain], now.plain[plain]);
    return log_put(now.plain[plain]);
}

static void overwrite(int plain, uint8_t value) {
    unseen_by_others(&run.view->seen, plain_mask(plain));
    now.plain[plain] = value;
    now.readers[plain] = 0;
    say("%s = %u", program.plain_name[plain], value);
    log_put(0);
}

void plain_write(int plain, uint8_t value) {
    signal_point();
    if (replaying()) {
        log_next();
        return;
    }
    see(plain, "writes");
    see_reads(plain);
    overwrite(plain, value);
}

void plain_reset(int plain, uint8_t value) {
    if (replaying()) {
        log_next();
        return;
    }
    overwrite(plain, value);
}

/* Locks. */

static void lock_acquired(int lock) {
    now.lock_holder[lock] = (uint8_t)(run.thread + 1);
    run.me->holds |= (uint8_t)(1u << lock);
    view_join(run.view, &now.lock_view[lock]);
    say("takes %s", program.lock_name[lock]);
}

void lock_take(int lock) {
    if (visible()) {
        log_next();
        return;
    }
    if (run.me->holds && !run.nesting) {
        violation("waits for %s while it holds another lock", program.lock_name[lock]);
    }
    if (now.lock_holder[lock]) {
        longjmp(run.out, STEP_BLOCKED);
    }
    lock_acquired(lock);
    log_put(0);
}

bool lock_try(int lock) {
    if (visible()) {
        return log_next();
    }
    bool held = now.lock_holder[lock], may_see_old = !view_covers(run.view, &now.lock_view[lock]);
    bool taken = !held && !(may_see_old && choose(2));
    if (taken) {
        lock_acquired(lock);
    } else {
        say("does not get %s", program.lock_name[lock]);
    }
    return log_put(taken);
}

static void lock_free(int lock) {
    now.lock_holder[lock] = 0;
    run.me->holds &= (uint8_t)~(1u << lock);
    view_join(&now.lock_view[lock], run.view);
}

void lock_drop(int lock) {
    if (visible()) {
        log_next();
        return;
    }
    if (now.lock_holder[lock] != run.thread + 1) {
        violation("drops %s, which it does not hold", program.lock_name[lock]);
    }
    lock_free(lock);
    say("drops %s", program.lock_name[lock]);
    log_put(0);
}

bool lock_mine(int lock) {
    return replaying() ? log_next() : log_put(now.lock_holder[lock] == run.thread + 1);
}

void lock_reset(int lock) {
    if (replaying()) {
        log_next();
        return;
    }
    lock_free(lock);
    say("%s is free", program.lock_name[lock]);
    log_put(0);
}

void lock_nesting(bool allowed) {
    run.nesting = allowed;
}

void system_call(const char *name) {
    if (visible()) {
        log_next();
        return;
    }
    if (run.me->holds) {
        violation("%s with a lock held", name);
    }
    say("%s", name);
    log_put(0);
}

/* Futexes: the kernel compares and sleeps in one step. */

void futex_wait(int atom, uint8_t value) {
    if (visible()) {
        log_next();
        return;
    }
    bool sleeps = !rule(LOCK_FUTEX_COMPARES) || messages_of(atom)[last_at(atom)].value == value;
    say("%s on %s", sleeps ? "sleeps" : "does not sleep", program.atom_name[atom]);
    log_put(0);
    if (sleeps) {
        run.me->sleeping = (uint8_t)(atom + 1);
        longjmp(run.out, STEP_DONE);
    }
}

void futex_wake(int atom) {
    if (visible()) {
        log_next();
        return;
    }
    unsigned sleeper[THREADS], n = 0;
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (now.thread[t].sleeping == atom + 1) {
            sleeper[n++] = t;
        }
    }
    say("wakes %s", n ? "one" : "nobody");
    if (n) {
        now.thread[sleeper[choose(n)]].sleeping = 0;
    }
    log_put(0);
}

/* Fork. */

static bool waits_for_fork(unsigned t) {
    return program.operations[t][0] == wait_for_fork && !now.thread[t].pc;
}

void wait_for_fork(void) {
    if (visible()) {
        log_next();
        return;
    }
    if (now.forked != 2) {
        longjmp(run.out, STEP_BLOCKED);
    }
    log_put(0);
}

static void forget_others(void) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        struct thread *other = &now.thread[t];
        if (t != run.thread && !waits_for_fork(t)) {
            memset(other, 0, sizeof *other);
            other->done = 1;
        }
    }
    for (unsigned atom = 0; atom < program.natoms; atom++) {
        unsigned oldest = run.view->at[atom];
        unsigned keep = oldest + choose(last_at((int)atom) - oldest + 1u);
        unsigned total = nmessages_total(&now);
        struct message *m = messages_of((int)atom);
        struct message kept = m[keep];
        memmove(m + 1, m + now.nmessages[atom], (size_t)(now.message + total - m - now.nmessages[atom]) * sizeof *m);
        m[0] = kept;
        now.nmessages[atom] = 1;
    }
    for (unsigned atom = 0; atom < program.natoms; atom++) {
        memset(now.message[atom].view.at, 0, ATOMS);
    }
    memset(run.view->at, 0, ATOMS);
    for (unsigned i = 0; i < program.nlocks; i++) {
        memset(now.lock_view[i].at, 0, ATOMS);
    }
    /* The kernel copies page by page while others write: that a write is there says nothing about those before it. */
    for (unsigned atom = 0; atom < program.natoms; atom++) {
        now.message[atom].view.seen &= run.view->seen;
    }
    for (unsigned plain = 0; plain < program.nplains; plain++) {
        now.readers[plain] &= (uint8_t)(1u << run.thread);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (now.object[i] && now.object[i] != run.thread + 1) {
            now.object[i] = OBJECT_LEAKED;
        }
    }
    memset(now.sc, 0, sizeof now.sc);
    memset(now.sc_base, 0, sizeof now.sc_base);
    now.nsc = 0;
    run.me->sc_at = run.me->pending = run.me->pending_at = 0;
}

bool fork_here(void) {
    if (visible()) {
        return log_next();
    }
    bool child = choose(2);
    if (child) {
        now.forked = 1;
        forget_others();
    }
    say("forks; goes on as the %s", child ? "child" : "parent");
    return log_put(child);
}

bool in_child(void) {
    return replaying() ? log_next() : log_put(now.forked != 0);
}

void fork_child_ready(void) {
    if (replaying()) {
        log_next();
        return;
    }
    now.forked = 2;
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (waits_for_fork(t)) {
            now.view[t] = *run.view;
        }
    }
    log_put(0);
}

/* Ghosts. */

void object_handed_out(unsigned object) {
    if (replaying()) {
        log_next();
        return;
    }
    if (now.object[object] && now.object[object] != OBJECT_LEAKED) {
        violation("object %u handed out twice", object);
    }
    if (now.object[object] == OBJECT_LEAKED) {
        violation("object %u, which a thread of the parent had, handed out in the child", object);
    }
    now.object[object] = (uint8_t)(run.thread + 1);
    say("object %u is handed out", object);
    log_put(0);
}

void object_taken_back(unsigned object) {
    if (replaying()) {
        log_next();
        return;
    }
    if (!now.object[object]) {
        violation("object %u freed twice", object);
    }
    now.object[object] = 0;
    say("object %u is freed", object);
    log_put(0);
}

bool object_is_out(unsigned object) {
    return replaying() ? log_next() : log_put(now.object[object] != 0);
}

bool object_is_mine(unsigned object) {
    return replaying() ? log_next() : log_put(now.object[object] == run.thread + 1);
}

uint8_t atom_newest(int atom) {
    return replaying() ? log_next() : log_put(final_atom(atom));
}

uint8_t plain_newest(int plain) {
    return replaying() ? log_next() : log_put(now.plain[plain]);
}

unsigned self_thread(void) {
    return run.thread;
}

uint8_t final_atom(int atom) {
    return messages_of(atom)[last_at(atom)].value;
}

uint8_t final_plain(int plain) {
    return now.plain[plain];
}

bool final_object_out(unsigned object) {
    return now.object[object] != 0;
}

bool final_forked(void) {
    return now.forked;
}

/* States. */

size_t state_bytes(const struct state *state) {
    return offsetof(struct state, message) + nmessages_total(state) * sizeof(struct message);
}

static bool is_live(unsigned t) {
    return !now.thread[t].done && (!waits_for_fork(t) || now.forked == 2);
}

bool all_done(void) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (is_live(t)) {
            return false;
        }
    }
    return true;
}

static void lower(uint8_t *at, uint8_t by) {
    *at = *at > by ? *at - by : 0;
}

static void forget_oldest(unsigned atom, uint8_t n) {
    struct message *m = messages_of((int)atom);
    unsigned total = nmessages_total(&now);
    memmove(m, m + n, (size_t)(now.message + total - m - n) * sizeof *m);
    now.nmessages[atom] -= n;
    total -= n;
    for (unsigned i = 0; i < total; i++) {
        lower(&now.message[i].view.at[atom], n);
    }
    for (unsigned t = 0; t < program.nthreads; t++) {
        lower(&now.view[t].at[atom], n);
        if (now.thread[t].pending == atom + 1) {
            lower(&now.thread[t].pending_at, n);
        }
    }
    for (unsigned i = 0; i < program.nlocks; i++) {
        lower(&now.lock_view[i].at[atom], n);
    }
    for (unsigned i = 0; i < now.nsc; i++) {
        if (now.sc[i].atom == atom) {
            lower(&now.sc[i].at, n);
        }
    }
    lower(&now.sc_base[atom], n);
}

static void forget_sc(void) {
    uint8_t known = now.nsc;
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (is_live(t) && now.thread[t].sc_at < known) {
            known = now.thread[t].sc_at;
        }
    }
    for (unsigned i = 0; i < known; i++) {
        uint8_t *base = &now.sc_base[now.sc[i].atom];
        *base = now.sc[i].at > *base ? now.sc[i].at : *base;
    }
    memmove(now.sc, now.sc + known, (now.nsc - known) * sizeof *now.sc);
    memset(now.sc + now.nsc - known, 0, known * sizeof *now.sc);
    now.nsc -= known;
    for (unsigned t = 0; t < program.nthreads; t++) {
        lower(&now.thread[t].sc_at, known);
    }
}

void state_normalize(void) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (!is_live(t)) {
            memset(&now.view[t], 0, sizeof now.view[t]);
        }
    }
    for (unsigned atom = 0; atom < program.natoms; atom++) {
        uint8_t oldest = last_at((int)atom);
        for (unsigned t = 0; t < program.nthreads; t++) {
            if (is_live(t) && now.view[t].at[atom] < oldest) {
                oldest = now.view[t].at[atom];
            }
        }
        if (oldest) {
            forget_oldest(atom, oldest);
        }
    }
    forget_sc();
}
