#include "ops.h"

#include <errno.h>

#include "background.h"
#include "mapping.h"
#include "model.h"
#include "owner.h"
#include "run.h"
#include "sys.h"
#include "zone.h"

/* More than this is not asked for while it lives. */
#define LIVE_BYTES_MAX ((size_t)256 << 20)

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static _Atomic(struct live *) slots[MODEL_BLOCKS];

static struct live *slot_take(size_t slot) {
    return atomic_exchange(&slots[slot % MODEL_BLOCKS], NULL);
}

static void free_block(struct live *block) {
    model_leave(block);
    errno = 12345;
    slabmalloc_free(block->p);
    HOLDS(errno == 12345);
    model_forget(block);
}

/* The slot may have been filled by another thread meanwhile. */
static void slot_put(size_t slot, struct live *block) {
    struct live *before = atomic_exchange(&slots[slot % MODEL_BLOCKS], block);
    if (before) {
        free_block(before);
    }
}

void op_free_all(void) {
    for (size_t slot = 0; slot < MODEL_BLOCKS; slot++) {
        struct live *block = slot_take(slot);
        if (block) {
            free_block(block);
        }
    }
}

/* --- Refused system calls --- */

static struct {
    _Atomic uint32_t calls; /* bit: enum sys_call; 0: no faults */
    _Atomic int wait, count;
    _Atomic unsigned long refused;
} faults;

static bool fault_due(enum sys_call call) {
    if (!(faults.calls >> call & 1) || atomic_fetch_sub(&faults.wait, 1) > 0 ||
        atomic_fetch_sub(&faults.count, 1) <= 0) {
        return false;
    }
    faults.refused++;
    return true;
}

void op_faults_begin(void) {
    sys_fault_hook = fault_due;
}

void op_faults_end(void) {
    faults.calls = 0;
}

static void faults_arm(const struct op *op) {
    if (faults.calls) {
        op_faults_end();
        return;
    }
    faults.wait = op->detail % 16;
    faults.count = 1 << op->detail / 16;
    faults.calls = op->kind % (1u << SYS_NCALLS);
}

/* --- Sizes --- */

/* OFFSET is one of -2 .. 1. */
static size_t near(size_t bytes, int offset) {
    return bytes + (size_t)(ptrdiff_t)offset;
}

/* Most are small: a large block takes as long as a hundred of them. */
static size_t size_of(const struct op *op) {
    static const size_t absurd[] = {
        SIZE_MAX,        (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX / 2 - 4096,
        SIZE_MAX - 4095, (size_t)1 << 47,     (size_t)1 << 62,         SIZE_MAX - BLOCK_BYTES,
    };
    int offset = op->kind / 64 - 2;
    unsigned kind = op->kind % 32;
    size_t detail = op->detail;
    if (kind < 8) {
        return detail % 128;
    }
    if (kind < 16) {
        return near(sizeclass_bytes((unsigned)detail % CLASS_COUNT), offset);
    }
    if (kind < 23) {
        return 1 + (detail << op->kind / 32);
    }
    if (kind < 27) {
        return near((detail / 8 + 1) << PAGE_SHIFT, offset);
    }
    if (kind < 29) {
        return near((detail % 8 + 1) * (SLAB_MAX / 4), offset);
    }
    if (kind == 29) {
        return near((2 * detail + 1) << PAGE_SHIFT, offset);
    }
    if (kind == 30) {
        return near((detail % 32 + 1) * (BLOCK_BYTES / 4), offset);
    }
    return detail < 128 ? absurd[detail % COUNT_OF(absurd)] : near(BLOCK_BYTES, offset) + detail * 512;
}

static bool is_absurd(size_t bytes) {
    return bytes >= (size_t)1 << 47;
}

/* --- Operations --- */

/* The call may return NULL: it asked for too much, or a system call it may have depended on was refused. */
static void must_have_reason(size_t bytes, unsigned long refused_before, bool ordered) {
    HOLDS(errno == ENOMEM);
    HOLDS(is_absurd(bytes) || faults.refused > (ordered ? refused_before : 0));
}

static bool too_much(size_t bytes) {
    return !is_absurd(bytes) && bytes + model_live_bytes() > LIVE_BYTES_MAX;
}

static void *call_for(const struct op *op, size_t bytes, size_t align) {
    switch (op->code) {
    case OP_CALLOC: {
        size_t count = op->extra % 2 && bytes % 8 == 0 ? 8 : 1;
        return slabmalloc_calloc(count, bytes / count);
    }
    case OP_ALIGNED:
        return slabmalloc_aligned_alloc(align, bytes);
    default:
        return slabmalloc_malloc(bytes);
    }
}

static void allocate(const struct op *op, size_t slot, bool ordered) {
    size_t bytes = size_of(op), align = op->code == OP_ALIGNED ? (size_t)1 << op->extra % 25 : 16;
    if (too_much(bytes)) {
        return;
    }
    unsigned long refused = faults.refused;
    errno = 0;
    void *p = call_for(op, bytes, align);
    if (!p) {
        must_have_reason(bytes, refused, ordered);
        return;
    }
    HOLDS(!is_absurd(bytes));
    slot_put(slot, model_add(p, bytes, align, op->code == OP_CALLOC));
}

static void allocate_or_free(const struct op *op, bool ordered) {
    struct live *block = slot_take(op->slot);
    if (block) {
        free_block(block);
    } else {
        allocate(op, op->slot, ordered);
    }
}

static void refuse_bad_alignment(const struct op *op) {
    errno = 0;
    HOLDS(!slabmalloc_aligned_alloc(op->detail | 3u, 1) && errno == EINVAL);
}

static void resize(const struct op *op, bool ordered) {
    struct live *block = slot_take(op->slot);
    size_t bytes = size_of(op);
    if (!block) {
        allocate(op, op->slot, ordered);
        return;
    }
    if (too_much(bytes)) {
        slot_put(op->slot, block);
        return;
    }
    model_leave(block);
    unsigned long refused = faults.refused;
    errno = 0;
    void *p = slabmalloc_realloc(block->p, bytes);
    if (p) {
        HOLDS(bytes && !is_absurd(bytes));
        model_rejoin(block, p, bytes);
    } else if (!bytes) {
        model_forget(block);
        return;
    } else {
        must_have_reason(bytes, refused, ordered);
        model_rejoin(block, block->p, block->filled);
    }
    slot_put(op->slot, block);
}

static void with_block(const struct op *op, void (*act)(struct live *block)) {
    struct live *block = slot_take(op->slot);
    if (block) {
        act(block);
        slot_put(op->slot, block);
    }
}

static void verify(struct live *block) {
    model_verify(block);
}

static void free_one(size_t slot) {
    struct live *block = slot_take(slot);
    if (block) {
        free_block(block);
    } else {
        slabmalloc_free(NULL);
    }
}

/* Up to 128 slots on from the operation's, from either end. */
static size_t many(const struct op *op) {
    return 2 * ((size_t)op->extra + 1);
}

static void allocate_many(const struct op *op, bool ordered) {
    for (size_t i = 0; i < many(op) && size_of(op) <= SLAB_MAX; i++) {
        if (!atomic_load(&slots[(op->slot + i) % MODEL_BLOCKS])) {
            allocate(op, op->slot + i, ordered);
        }
    }
}

static void free_many(const struct op *op) {
    size_t n = many(op), step = op->kind % 4 ? 1 : 2;
    for (size_t i = 0; i < n; i += step) {
        free_one(op->slot + (op->detail % 2 ? n - 1 - i : i));
    }
}

/* What waits for its time to pass is as old as OP says; now and then address space becomes scarce too. */
static void age(const struct op *op) {
    static _Atomic uint64_t ahead;
    uint64_t now = sys_now_ms() + atomic_fetch_add(&ahead, op->detail * 8u);
    if (op->kind % 8 < 2) {
        background_pass(now); /* as the helper does it, holes included */
    } else {
        zone_decay(now);
        mapping_decay(now);
    }
    if (owner_have() && op->kind % 4 == 0) {
        run_cache_flush(owner_have());
    }
    if (op->kind % 16 == 0) {
        zone_unmap_free();
    }
}

static void compare(bool ordered) {
    if (ordered) {
        model_compare(false);
    } else {
        struct slabmalloc_stats stats;
        slabmalloc_stats(&stats, sizeof stats);
        HOLDS(stats.zone_free_bytes <= stats.zone_bytes);
    }
}

/* Nodes that are not there too: their requests are served by those that are. */
static void migrate(const struct op *op) {
    if (owner_have()) {
        owner_migrate(owner_have(), op->detail % 3);
    }
}

struct op op_decode(const uint8_t *bytes) {
    /* Out of 64: how often each operation comes up in random bytes. */
    static const uint8_t share[] = {
        [OP_MALLOC] = 15, [OP_CALLOC] = 5,      [OP_ALIGNED] = 4,   [OP_REALLOC] = 10, [OP_FREE] = 8,  [OP_USE_ALL] = 2,
        [OP_VERIFY] = 2,  [OP_MALLOC_MANY] = 4, [OP_FREE_MANY] = 5, [OP_TRIM] = 1,     [OP_CHECK] = 1, [OP_COMPARE] = 1,
        [OP_AGE] = 2,     [OP_FAULTS] = 1,      [OP_MIGRATE] = 1,   [OP_EXIT] = 2,
    };
    unsigned code = 0;
    for (int left = bytes[0] % 64; (left -= share[code]) >= 0;) {
        code++;
    }
    return (struct op){
        .code = code,
        .thread = bytes[1] % OP_THREADS,
        .slot = (bytes[2] | (size_t)bytes[3] << 8) % MODEL_BLOCKS,
        .extra = bytes[3] / 4,
        .kind = bytes[4],
        .detail = bytes[5],
    };
}

void op_do(const struct op *op, bool ordered) {
    switch (op->code) {
    case OP_ALIGNED:
        if (op->extra == 63) {
            refuse_bad_alignment(op);
            break;
        }
        allocate_or_free(op, ordered);
        break;
    case OP_MALLOC:
    case OP_CALLOC:
        allocate_or_free(op, ordered);
        break;
    case OP_REALLOC:
        resize(op, ordered);
        break;
    case OP_FREE:
        free_one(op->slot);
        break;
    case OP_USE_ALL:
        with_block(op, model_use_all);
        break;
    case OP_VERIFY:
        with_block(op, verify);
        break;
    case OP_MALLOC_MANY:
        allocate_many(op, ordered);
        break;
    case OP_FREE_MANY:
        free_many(op);
        break;
    case OP_TRIM:
        slabmalloc_trim();
        break;
    case OP_CHECK:
        model_check_heap();
        break;
    case OP_COMPARE:
        compare(ordered);
        break;
    case OP_AGE:
        age(op);
        break;
    case OP_FAULTS:
        faults_arm(op);
        break;
    case OP_MIGRATE:
        migrate(op);
        break;
    case OP_EXIT: /* the sequence's to do */
        break;
    }
}
