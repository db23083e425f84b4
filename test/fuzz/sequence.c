#include "sequence.h"

#include <pthread.h>
#include <semaphore.h>

#include "model.h"
#include "ops.h"
#include "options.h"

struct sequence {
    const uint8_t *bytes;
    size_t nops;
};

static struct op op_at(const struct sequence *sequence, size_t i) {
    return op_decode(sequence->bytes + i * SEQUENCE_OP_BYTES);
}

/* Thread 0 is the caller's; it does not end. */
struct worker {
    const struct sequence *sequence;
    unsigned index;
    bool alive;
    pthread_t thread;
    pthread_t before; /* free mode: the thread this one replaces */
    size_t at, end;   /* operations to do */
    sem_t go, done;
};

/* --- Ordered: the caller hands each stretch of operations of one thread to that thread and waits for it --- */

static void do_stretch(const struct worker *worker) {
    for (size_t i = worker->at; i < worker->end; i++) {
        struct op op = op_at(worker->sequence, i);
        op_do(&op, true);
    }
}

static void *work_ordered(void *arg) {
    struct worker *worker = arg;
    for (;;) {
        sem_wait(&worker->go);
        if (worker->at == worker->end) {
            return NULL;
        }
        do_stretch(worker);
        sem_post(&worker->done);
    }
}

static void end_ordered(struct worker *worker) {
    if (worker->alive) {
        worker->at = worker->end = 0;
        sem_post(&worker->go);
        pthread_join(worker->thread, NULL);
        worker->alive = false;
    }
}

static void hand_over(struct worker *worker, size_t from, size_t to) {
    worker->at = from;
    worker->end = to;
    if (!worker->index) {
        do_stretch(worker);
        return;
    }
    if (!worker->alive) {
        HOLDS(!pthread_create(&worker->thread, NULL, work_ordered, worker));
        worker->alive = true;
    }
    sem_post(&worker->go);
    sem_wait(&worker->done);
}

static void run_ordered(const struct sequence *sequence, struct worker *workers) {
    for (size_t i = 0, end; i < sequence->nops; i = end) {
        struct op op = op_at(sequence, i);
        end = i + 1;
        if (op.code == OP_EXIT) {
            end_ordered(&workers[op.thread]);
            continue;
        }
        for (struct op next; end < sequence->nops; end++) {
            next = op_at(sequence, end);
            if (next.thread != op.thread || next.code == OP_EXIT) {
                break;
            }
        }
        hand_over(&workers[op.thread], i, end);
    }
    for (unsigned i = 1; i < OP_THREADS; i++) {
        end_ordered(&workers[i]);
    }
}

/* --- Free: each thread picks its operations out of the sequence --- */

static void *work_free(void *arg);

/* The rest of WORKER's operations are another thread's. */
static void replace(struct worker *worker) {
    worker->before = pthread_self();
    worker->alive = true;
    HOLDS(!pthread_create(&worker->thread, NULL, work_free, worker));
}

static void do_own(struct worker *worker) {
    while (worker->at < worker->end) {
        struct op op = op_at(worker->sequence, worker->at++);
        if (op.thread != worker->index) {
            continue;
        }
        if (op.code == OP_EXIT && worker->index) {
            replace(worker);
            return;
        }
        op_do(&op, false);
    }
    sem_post(&worker->done);
}

static void *work_free(void *arg) {
    struct worker *worker = arg;
    if (worker->alive) {
        pthread_join(worker->before, NULL);
    }
    do_own(worker);
    return NULL;
}

static void run_free(const struct sequence *sequence, struct worker *workers) {
    for (unsigned i = 0; i < OP_THREADS; i++) {
        workers[i].at = 0;
        workers[i].end = sequence->nops;
        if (i) {
            HOLDS(!pthread_create(&workers[i].thread, NULL, work_free, &workers[i]));
        }
    }
    do_own(&workers[0]);
    for (unsigned i = 1; i < OP_THREADS; i++) {
        sem_wait(&workers[i].done);
        pthread_join(workers[i].thread, NULL);
    }
}

/* --- The whole --- */

static void set_options(uint8_t settings) {
    static const int64_t decay_ms[] = {500, 0, -1, 1};
    static const size_t magazine_max[] = {(size_t)32 << 10, 0, 4096, (size_t)1 << 20};
    static const size_t map_cache[] = {(size_t)16 << 20, 0, (size_t)4 << 20, (size_t)1 << 30};
    options.background =
        false; /* its passes are operations here: what it isolates at a moment of its own would be missed */
    options.decay_ms = decay_ms[settings % 4];
    options.magazine_max = magazine_max[settings / 4 % 4];
    options.map_cache = map_cache[settings / 16 % 4];
    options.hugepages = settings / 64 % 2;
    options.huge_threshold = settings / 128 ? 0 : (size_t)32 << 20;
}

static void must_be_empty(void) {
    op_faults_end();
    op_free_all();
    slabmalloc_trim();
    model_check_heap();
    model_compare(true);
    struct slabmalloc_stats stats;
    slabmalloc_stats(&stats, sizeof stats);
    HOLDS(stats.used_bytes == 0 && stats.slab_bytes == 0);
}

void sequence_run(const uint8_t *bytes, size_t nbytes) {
    if (nbytes < SEQUENCE_HEAD_BYTES) {
        return;
    }
    struct sequence sequence = {bytes + SEQUENCE_HEAD_BYTES, (nbytes - SEQUENCE_HEAD_BYTES) / SEQUENCE_OP_BYTES};
    struct worker workers[OP_THREADS] = {0};
    for (unsigned i = 0; i < OP_THREADS; i++) {
        workers[i].sequence = &sequence;
        workers[i].index = i;
        sem_init(&workers[i].go, 0, 0);
        sem_init(&workers[i].done, 0, 0);
    }
    set_options(bytes[1]);
    op_faults_begin();
    if (bytes[0] & SEQUENCE_FREE) {
        run_free(&sequence, workers);
    } else {
        run_ordered(&sequence, workers);
    }
    must_be_empty();
}
