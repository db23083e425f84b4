/*
 * Breadth-first walk. A visited state is kept as a 128-bit fingerprint and the move that led to it; only the states of
 * two levels are kept whole. Two different states with one fingerprint would hide one of them: with 10 million states
 * the chance is below 10^-24.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* A move: a thread takes a step, making its choices in the ORDINAL'th way, or its pending SEQ write settles. */
struct move {
    uint8_t thread, settles;
    uint16_t ordinal;
};

struct node {
    uint64_t print[2];
    uint32_t parent;
    struct move move;
};

struct level {
    char *bytes;
    size_t used, room;
};

static struct {
    struct node *node;
    uint32_t *slot; /* index + 1 of the node in this slot of the hash table */
    size_t nnodes, room, nslots;
    struct level level[2];
    size_t steps;
    const char *violation;
    uint32_t violation_parent;
    struct move violation_move;
} walk;

static char violation_kept[256];

static void *grow(void *p, size_t bytes) {
    p = realloc(p, bytes);
    if (!p) {
        fprintf(stderr, "model: out of memory\n");
        exit(99);
    }
    return p;
}

static uint64_t mix(uint64_t h, uint64_t word, uint64_t k) {
    h = (h ^ word) * k;
    return h ^ h >> 29;
}

static void fingerprint(uint64_t print[2]) {
    size_t words = state_bytes(&now) / sizeof(uint64_t);
    const uint64_t *word = (const uint64_t *)(const void *)&now;
    uint64_t a = words, b = ~words;
    for (size_t i = 0; i < words; i++) {
        a = mix(a, word[i], 0x9e3779b97f4a7c15u);
        b = mix(b, word[i] + 0x632be59bd9b4e019u, 0xd1342543de82ef95u);
    }
    print[0] = mix(a, a >> 32, 0x94d049bb133111ebu);
    print[1] = mix(b, b >> 32, 0xbf58476d1ce4e5b9u);
}

static void rehash(void) {
    walk.nslots = walk.nslots ? 2 * walk.nslots : 1 << 16;
    walk.slot = grow(walk.slot, walk.nslots * sizeof *walk.slot);
    memset(walk.slot, 0, walk.nslots * sizeof *walk.slot);
    for (size_t i = 0; i < walk.nnodes; i++) {
        size_t at = walk.node[i].print[0] & (walk.nslots - 1);
        while (walk.slot[at]) {
            at = (at + 1) & (walk.nslots - 1);
        }
        walk.slot[at] = (uint32_t)i + 1;
    }
}

/* The state `now` was reached. Kept in LEVEL unless it was seen before. */
static void reached(uint32_t parent, struct move move, struct level *level) {
    uint64_t print[2];
    state_normalize();
    fingerprint(print);
    if (2 * walk.nnodes >= walk.nslots) {
        rehash();
    }
    size_t at = print[0] & (walk.nslots - 1);
    for (; walk.slot[at]; at = (at + 1) & (walk.nslots - 1)) {
        if (!memcmp(walk.node[walk.slot[at] - 1].print, print, sizeof print)) {
            return;
        }
    }
    if (walk.nnodes == walk.room) {
        walk.room = walk.room ? 2 * walk.room : 1 << 15;
        walk.node = grow(walk.node, walk.room * sizeof *walk.node);
    }
    walk.node[walk.nnodes] = (struct node){{print[0], print[1]}, parent, move};
    walk.slot[at] = (uint32_t)++walk.nnodes;
    size_t bytes = state_bytes(&now), need = level->used + sizeof(uint64_t) + bytes;
    if (need > level->room) {
        level->room = 2 * need;
        level->bytes = grow(level->bytes, level->room);
    }
    uint64_t id = walk.nnodes - 1;
    memcpy(level->bytes + level->used, &id, sizeof id);
    memcpy(level->bytes + level->used + sizeof id, &now, bytes);
    level->used = need;
}

static void found(const char *message, uint32_t parent, struct move move) {
    snprintf(violation_kept, sizeof violation_kept, "%s", message);
    walk.violation = violation_kept;
    walk.violation_parent = parent;
    walk.violation_move = move;
}

/* All ways THREAD can take its next step from STATE. True: it can. */
static bool expand_thread(const struct state *state, size_t bytes, uint32_t id, unsigned thread, struct level *next) {
    struct choices choices = {0};
    struct move move = {.thread = (uint8_t)thread};
    bool any = false;
    do {
        memcpy(&now, state, bytes);
        enum outcome outcome = thread_step(thread, &choices);
        walk.steps++;
        if (outcome == STEP_VIOLATION) {
            found(violation_text(), id, move);
            return true;
        }
        if (outcome == STEP_DONE) {
            reached(id, move, next);
            any = true;
        }
        move.ordinal++;
    } while (choices_next(&choices));
    return any;
}

static void expand_settle(const struct state *state, size_t bytes, uint32_t id, struct level *next) {
    for (unsigned t = 0; t < program.nthreads; t++) {
        if (state->thread[t].pending) {
            memcpy(&now, state, bytes);
            thread_settle(t);
            reached(id, (struct move){.thread = (uint8_t)t, .settles = 1}, next);
        }
    }
}

static void expand(const struct scenario *scenario, const struct state *state, size_t bytes, uint32_t id,
                   struct level *next) {
    bool any = false;
    memcpy(&now, state, bytes);
    if (all_done()) {
        const char *wrong = scenario->check();
        if (wrong) {
            found(wrong, id, (struct move){.thread = THREADS});
        }
        return;
    }
    for (unsigned t = 0; t < program.nthreads && !walk.violation; t++) {
        if (!state->thread[t].done && !state->thread[t].sleeping) {
            any |= expand_thread(state, bytes, id, t, next);
        }
    }
    if (!any) {
        found("nobody can go on: a deadlock, or a wakeup was lost", id, (struct move){.thread = THREADS});
        return;
    }
    expand_settle(state, bytes, id, next);
}

static void start(const struct scenario *scenario) {
    memset(&program, 0, sizeof program);
    memset(&now, 0, sizeof now);
    scenario->setup();
}

static void take_move(struct move move) {
    if (move.settles) {
        thread_settle(move.thread);
        return;
    }
    struct choices choices = {0};
    struct state before = now;
    tracing = false;
    for (unsigned i = 0; i < move.ordinal; i++) {
        thread_step(move.thread, &choices);
        now = before;
        choices_next(&choices);
    }
    tracing = true;
    thread_step(move.thread, &choices);
    tracing = false;
}

static void show(const struct scenario *scenario) {
    unsigned depth = 0;
    struct move path[1024];
    if (walk.violation_move.thread < THREADS) {
        path[depth++] = walk.violation_move;
    }
    for (uint32_t at = walk.violation_parent; at && depth < 1024; at = walk.node[at].parent) {
        path[depth++] = walk.node[at].move;
    }
    start(scenario);
    while (depth) {
        take_move(path[--depth]);
        state_normalize();
    }
    printf("#   => %s\n", walk.violation);
}

struct result explore(const struct scenario *scenario, bool show_trace) {
    static struct state state;
    struct result result = {0};
    start(scenario);
    walk.nnodes = walk.steps = 0;
    walk.level[0].used = walk.level[1].used = 0;
    walk.violation = NULL;
    if (walk.slot) {
        memset(walk.slot, 0, walk.nslots * sizeof *walk.slot);
    }
    reached(0, (struct move){0}, &walk.level[0]);
    while (walk.level[result.depth % 2].used && !walk.violation) {
        struct level *from = &walk.level[result.depth % 2], *to = &walk.level[++result.depth % 2];
        to->used = 0;
        for (size_t at = 0; at < from->used && !walk.violation;) {
            uint64_t id;
            memcpy(&id, from->bytes + at, sizeof id);
            size_t room = from->used - at - sizeof id;
            memcpy(&state, from->bytes + at + sizeof id, room < sizeof state ? room : sizeof state);
            size_t bytes = state_bytes(&state);
            at += sizeof id + bytes;
            expand(scenario, &state, bytes, (uint32_t)id, to);
        }
    }
    result.violation = walk.violation;
    result.states = walk.nnodes;
    result.steps = walk.steps;
    if (walk.violation && show_trace) {
        show(scenario);
    }
    return result;
}
