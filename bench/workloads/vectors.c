/*
 * vectors: many arrays that grow by realloc.
 *
 * The growth pattern of std::vector, string builders and interpreters' lists: vectors of 16-byte items are appended to
 * at random, capacity growing by half; short ones are common, a few reach megabytes; full-grown ones are freed and
 * start again. Measures in-place growth, copying and mremap.
 */
#include "workload.h"

enum { VECTORS = 400, APPENDS = 240000000, FIRST_ITEMS = 4 };

struct vectors_item {
    uint64_t value, check;
};

struct vectors_vector {
    struct vectors_item *items;
    size_t count, capacity, limit;
};

static void vectors_reset(struct vectors_vector *vector, uint64_t *random) {
    *vector = (struct vectors_vector){.limit = workload_log_size(random, 3, 18)};
}

static uint64_t vectors_free(struct vectors_vector *vector) {
    uint64_t sum = vector->count;
    for (size_t i = 0; i < vector->count; i += 1 + vector->count / 16) {
        if (vector->items[i].check != ~vector->items[i].value)
            workload_fail("a vector lost its contents");
        sum += vector->items[i].value;
    }
    free(vector->items);
    return sum;
}

static void vectors_append(struct vectors_vector *vector, uint64_t value) {
    if (vector->count == vector->capacity) {
        vector->capacity = vector->capacity ? vector->capacity + vector->capacity / 2 : FIRST_ITEMS;
        vector->items = workload_hide(realloc(vector->items, vector->capacity * sizeof(*vector->items)));
        if (vector->items == NULL)
            workload_fail("out of memory");
    }
    vector->items[vector->count++] = (struct vectors_item){value, ~value};
}

static uint64_t vectors_thread(const struct workload *load, unsigned index) {
    struct vectors_vector vectors[VECTORS];
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (int i = 0; i < VECTORS; i++)
        vectors_reset(&vectors[i], &random);
    for (uint64_t n = workload_amount(load, APPENDS); n > 0;) {
        struct vectors_vector *vector = &vectors[workload_below(&random, VECTORS)];
        uint64_t burst = 1 + vector->limit / 64;
        for (; burst > 0 && n > 0; burst--, n--)
            vectors_append(vector, n);
        if (vector->count >= vector->limit) {
            sum += vectors_free(vector);
            vectors_reset(vector, &random);
        }
    }
    for (int i = 0; i < VECTORS; i++)
        sum += vectors_free(&vectors[i]);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, vectors_thread));
}
