#include <string.h>

#include "memory.h"

/* Views. */

void view_join(struct view *view, const struct view *with) {
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

bool view_covers(const struct view *view, const struct view *other) {
    bool covers = !(other->seen & ~view->seen);
    for (unsigned i = 0; covers && i < program.natoms; i++) {
        covers = other->at[i] <= view->at[i];
    }
    return covers;
}

unsigned nmessages_total(const struct state *state) {
    unsigned n = 0;
    for (unsigned i = 0; i < program.natoms; i++) {
        n += state->nmessages[i];
    }
    return n;
}

struct message *messages_of(int atom) {
    struct message *m = now.message;
    for (int i = 0; i < atom; i++) {
        m += now.nmessages[i];
    }
    return m;
}

uint8_t last_at(int atom) {
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
    after = how == ADD   ? before + with_value
            : how == OR  ? before | with_value
            : how == AND ? before & with_value
                         : after;
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
