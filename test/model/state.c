/* What two equal states have in common, and no more. */
#include <string.h>

#include "memory.h"

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
