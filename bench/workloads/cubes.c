/*
 * cubes: minimisation of boolean functions in two-level form.
 *
 * Stands for espresso, the logic minimiser used as an allocator benchmark since B. Zorn and D. Grunwald, "Empirical
 * Measurements of Six Allocation-intensive C Programs" (1992). Written after the method of R. Brayton et al., "Logic
 * Minimization Algorithms for VLSI Synthesis" (1984): a cover is a list of cubes; the complement comes from Shannon
 * expansion, cubes are expanded against it, covered cubes are dropped. Lists of small blocks of two sizes,
 * made and freed recursively. Checked by evaluating random points before and after.
 */
#include "workload.h"

enum { VARIABLES = 14, CUBES = 22, FUNCTIONS = 1900, POINTS = 200 };

enum literal { LITERAL_ZERO, LITERAL_ONE, LITERAL_ANY };

struct cube {
    struct cube *next;
    unsigned char *literals; /* VARIABLES of them */
};

static struct cube *cube_make(struct cube *next) {
    struct cube *cube = workload_alloc(sizeof(*cube));
    cube->literals = workload_alloc(VARIABLES);
    cube->next = next;
    return cube;
}

static struct cube *cube_copy(const struct cube *cube, struct cube *next) {
    struct cube *copy = cube_make(next);
    memcpy(copy->literals, cube->literals, VARIABLES);
    return copy;
}

static struct cube *cube_free(struct cube *cube) {
    struct cube *next = cube->next;
    free(cube->literals);
    free(cube);
    return next;
}

static void cover_free(struct cube *cover) {
    while (cover != NULL)
        cover = cube_free(cover);
}

static bool cube_contains(const struct cube *big, const struct cube *small) {
    for (int v = 0; v < VARIABLES; v++)
        if (big->literals[v] != LITERAL_ANY && big->literals[v] != small->literals[v])
            return false;
    return true;
}

static bool cube_intersects(const struct cube *a, const struct cube *b) {
    for (int v = 0; v < VARIABLES; v++)
        if (a->literals[v] != LITERAL_ANY && b->literals[v] != LITERAL_ANY && a->literals[v] != b->literals[v])
            return false;
    return true;
}

/* Removes every cube that one other cube of the list contains. */
static struct cube *cover_drop_contained(struct cube *cover) {
    struct cube **link = &cover;
    while (*link != NULL) {
        const struct cube *other = cover;
        while (other != NULL && (other == *link || !cube_contains(other, *link)))
            other = other->next;
        if (other != NULL)
            *link = cube_free(*link);
        else
            link = &(*link)->next;
    }
    return cover;
}

/* The part of the cover in the half space variable = value, with that variable made free. */
static struct cube *cover_cofactor(const struct cube *cover, int variable, enum literal value) {
    struct cube *result = NULL;
    for (; cover != NULL; cover = cover->next) {
        if (cover->literals[variable] != LITERAL_ANY && cover->literals[variable] != value)
            continue;
        result = cube_copy(cover, result);
        result->literals[variable] = LITERAL_ANY;
    }
    return result;
}

/* The variable most cubes depend on, or -1 when some cube is the whole space. */
static int cover_pick_variable(const struct cube *cover) {
    int uses[VARIABLES] = {0};
    int best = 0;
    for (; cover != NULL; cover = cover->next) {
        int fixed = 0;
        for (int v = 0; v < VARIABLES; v++)
            if (cover->literals[v] != LITERAL_ANY) {
                uses[v]++;
                fixed++;
            }
        if (fixed == 0)
            return -1;
    }
    for (int v = 1; v < VARIABLES; v++)
        if (uses[v] > uses[best])
            best = v;
    return best;
}

static struct cube *cover_fix(struct cube *cover, int variable, enum literal value, struct cube *tail) {
    struct cube **link = &cover;
    for (; *link != NULL; link = &(*link)->next)
        (*link)->literals[variable] = (unsigned char)value;
    *link = tail;
    return cover;
}

static struct cube *cover_complement(const struct cube *cover) {
    if (cover == NULL) {
        struct cube *everything = cube_make(NULL);
        memset(everything->literals, LITERAL_ANY, VARIABLES);
        return everything;
    }
    int variable = cover_pick_variable(cover);
    if (variable < 0)
        return NULL;
    struct cube *zero = cover_cofactor(cover, variable, LITERAL_ZERO);
    struct cube *one = cover_cofactor(cover, variable, LITERAL_ONE);
    struct cube *not_zero = cover_complement(zero);
    struct cube *not_one = cover_complement(one);
    cover_free(zero);
    cover_free(one);
    return cover_fix(not_zero, variable, LITERAL_ZERO, cover_fix(not_one, variable, LITERAL_ONE, NULL));
}

/* Frees each literal of each cube as long as the cube stays off the complement. */
static void cover_expand(struct cube *cover, const struct cube *complement) {
    for (; cover != NULL; cover = cover->next)
        for (int v = 0; v < VARIABLES; v++) {
            unsigned char old = cover->literals[v];
            const struct cube *off = complement;
            cover->literals[v] = LITERAL_ANY;
            while (off != NULL && !cube_intersects(cover, off))
                off = off->next;
            if (off != NULL)
                cover->literals[v] = old;
        }
}

static struct cube *cover_random(uint64_t *random) {
    struct cube *cover = NULL;
    for (int i = 0; i < CUBES; i++) {
        cover = cube_make(cover);
        for (int v = 0; v < VARIABLES; v++)
            cover->literals[v] =
                (unsigned char)(workload_below(random, 10) < 5 ? LITERAL_ANY : workload_below(random, 2));
    }
    return cover;
}

static bool cover_holds(const struct cube *cover, uint64_t point) {
    for (; cover != NULL; cover = cover->next) {
        int v = 0;
        while (v < VARIABLES && (cover->literals[v] == LITERAL_ANY || cover->literals[v] == (point >> v & 1)))
            v++;
        if (v == VARIABLES)
            return true;
    }
    return false;
}

static uint64_t cubes_minimise(uint64_t *random) {
    struct cube *original = cover_random(random);
    struct cube *minimal = NULL;
    for (const struct cube *cube = original; cube != NULL; cube = cube->next)
        minimal = cube_copy(cube, minimal);
    struct cube *complement = cover_drop_contained(cover_complement(original));
    cover_expand(minimal, complement);
    minimal = cover_drop_contained(minimal);

    uint64_t sum = 0;
    for (int i = 0; i < POINTS; i++) {
        uint64_t point = workload_random(random);
        bool value = cover_holds(original, point);
        if (cover_holds(minimal, point) != value || cover_holds(complement, point) == value)
            workload_fail("minimisation changed a function");
        sum = sum * 3 + value;
    }
    for (const struct cube *cube = minimal; cube != NULL; cube = cube->next)
        sum += cube->literals[0] + 1u;
    cover_free(original);
    cover_free(minimal);
    cover_free(complement);
    return sum;
}

static uint64_t cubes_thread(const struct workload *load, unsigned index) {
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, FUNCTIONS); n > 0; n--)
        sum += cubes_minimise(&random);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, cubes_thread));
}
