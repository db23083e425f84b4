/* Locks, system calls, futexes, fork, and the ghosts that checks look at. */
#include <string.h>

#include "memory.h"

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
    run.me->holds &= (uint8_t) ~(1u << lock);
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

bool waits_for_fork(unsigned t) {
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
