/*
 * symbolic: computer algebra on expression trees.
 *
 * Stands for the programs that build, copy and drop trees of small nodes of a few sizes: compilers' syntax trees,
 * theorem provers, computer algebra (the allocation behaviour studied in D. Grunwald, B. Zorn, R. Henderson, "Improving
 * the Cache Locality of Memory Allocation", PLDI 1993). Random expressions are differentiated several times and
 * simplified; every pass builds a new tree and frees the old one. Checked by evaluating each derivative modulo a prime
 * before and after its simplification.
 */
#include "workload.h"

enum { EXPRESSIONS = 4500, DEPTH = 6, DERIVATIVES = 3, NODES_MAX = 100000, PRIME = 1000003 };

enum node_kind { NODE_NUMBER, NODE_VARIABLE, NODE_SUM, NODE_PRODUCT, NODE_POWER };

/* Allocated no longer than its kind needs, so that several sizes live side by side. */
struct node {
    enum node_kind kind;
    int32_t value;             /* number, or exponent of a power */
    struct node *left, *right; /* left alone for a power */
};

static size_t node_bytes(enum node_kind kind) {
    switch (kind) {
    case NODE_NUMBER:
    case NODE_VARIABLE:
        return offsetof(struct node, left);
    case NODE_POWER:
        return offsetof(struct node, right);
    default:
        return sizeof(struct node);
    }
}

static struct node *node_make(enum node_kind kind, int32_t value, struct node *left, struct node *right) {
    struct node *node = workload_alloc(node_bytes(kind));
    node->kind = kind;
    node->value = value;
    if (kind >= NODE_SUM)
        node->left = left;
    if (kind == NODE_SUM || kind == NODE_PRODUCT)
        node->right = right;
    return node;
}

static struct node *node_number(int64_t value) {
    return node_make(NODE_NUMBER, (int32_t)(value % PRIME), NULL, NULL);
}

static void node_free(struct node *node) {
    if (node->kind >= NODE_SUM)
        node_free(node->left);
    if (node->kind == NODE_SUM || node->kind == NODE_PRODUCT)
        node_free(node->right);
    free(node);
}

static struct node *node_copy(const struct node *node) {
    switch (node->kind) {
    case NODE_SUM:
    case NODE_PRODUCT:
        return node_make(node->kind, 0, node_copy(node->left), node_copy(node->right));
    case NODE_POWER:
        return node_make(NODE_POWER, node->value, node_copy(node->left), NULL);
    default:
        return node_make(node->kind, node->value, NULL, NULL);
    }
}

static size_t node_count(const struct node *node) {
    size_t count = 1;
    if (node->kind >= NODE_SUM)
        count += node_count(node->left);
    if (node->kind == NODE_SUM || node->kind == NODE_PRODUCT)
        count += node_count(node->right);
    return count;
}

static struct node *node_random(uint64_t *random, unsigned depth) {
    if (depth == 0)
        return workload_below(random, 3) ? node_make(NODE_VARIABLE, 0, NULL, NULL)
                                         : node_number((int64_t)workload_below(random, 10));
    enum node_kind kind = NODE_SUM + workload_below(random, 3);
    struct node *left = node_random(random, depth - 1);
    if (kind == NODE_POWER)
        return node_make(NODE_POWER, (int32_t)workload_between(random, 2, 9), left, NULL);
    return node_make(kind, 0, left, node_random(random, depth - 1));
}

static int64_t power_modulo(int64_t base, int32_t exponent) {
    int64_t result = 1;
    for (; exponent > 0; exponent--)
        result = result * base % PRIME;
    return result;
}

static int64_t node_evaluate(const struct node *node, int64_t x) {
    switch (node->kind) {
    case NODE_NUMBER:
        return node->value;
    case NODE_VARIABLE:
        return x;
    case NODE_SUM:
        return (node_evaluate(node->left, x) + node_evaluate(node->right, x)) % PRIME;
    case NODE_PRODUCT:
        return node_evaluate(node->left, x) * node_evaluate(node->right, x) % PRIME;
    case NODE_POWER:
        return power_modulo(node_evaluate(node->left, x), node->value);
    }
    return 0;
}

static struct node *node_derive(const struct node *node) {
    switch (node->kind) {
    case NODE_NUMBER:
        return node_number(0);
    case NODE_VARIABLE:
        return node_number(1);
    case NODE_SUM:
        return node_make(NODE_SUM, 0, node_derive(node->left), node_derive(node->right));
    case NODE_PRODUCT: {
        struct node *first = node_make(NODE_PRODUCT, 0, node_derive(node->left), node_copy(node->right));
        struct node *second = node_make(NODE_PRODUCT, 0, node_copy(node->left), node_derive(node->right));
        return node_make(NODE_SUM, 0, first, second);
    }
    case NODE_POWER: {
        struct node *lower = node_make(NODE_POWER, node->value - 1, node_copy(node->left), NULL);
        struct node *outer = node_make(NODE_PRODUCT, 0, node_number(node->value), lower);
        return node_make(NODE_PRODUCT, 0, outer, node_derive(node->left));
    }
    }
    return NULL;
}

static bool node_is(const struct node *node, int32_t value) {
    return node->kind == NODE_NUMBER && node->value == value;
}

static struct node *simplify_sum(struct node *left, struct node *right) {
    struct node *result;
    if (left->kind == NODE_NUMBER && right->kind == NODE_NUMBER)
        result = node_number((int64_t)left->value + right->value);
    else if (node_is(left, 0))
        result = node_copy(right);
    else if (node_is(right, 0))
        result = node_copy(left);
    else
        return node_make(NODE_SUM, 0, left, right);
    node_free(left);
    node_free(right);
    return result;
}

static struct node *simplify_product(struct node *left, struct node *right) {
    struct node *result;
    if (left->kind == NODE_NUMBER && right->kind == NODE_NUMBER)
        result = node_number((int64_t)left->value * right->value);
    else if (node_is(left, 0) || node_is(right, 0))
        result = node_number(0);
    else if (node_is(left, 1))
        result = node_copy(right);
    else if (node_is(right, 1))
        result = node_copy(left);
    else
        return node_make(NODE_PRODUCT, 0, left, right);
    node_free(left);
    node_free(right);
    return result;
}

static struct node *simplify_power(struct node *base, int32_t exponent) {
    if (exponent > 1 && base->kind != NODE_NUMBER)
        return node_make(NODE_POWER, exponent, base, NULL);
    struct node *result = exponent == 1 ? node_copy(base) : node_number(power_modulo(node_evaluate(base, 0), exponent));
    node_free(base);
    return result;
}

/* Returns a new tree, bottom up; the argument stays as it is. */
static struct node *node_simplify(const struct node *node) {
    switch (node->kind) {
    case NODE_SUM:
        return simplify_sum(node_simplify(node->left), node_simplify(node->right));
    case NODE_PRODUCT:
        return simplify_product(node_simplify(node->left), node_simplify(node->right));
    case NODE_POWER:
        return simplify_power(node_simplify(node->left), node->value);
    default:
        return node_copy(node);
    }
}

static uint64_t symbolic_work(uint64_t *random) {
    struct node *expression = node_random(random, DEPTH);
    int64_t x = (int64_t)workload_between(random, 2, 1000);
    uint64_t sum = 0;
    for (int i = 0; i < DERIVATIVES && node_count(expression) < NODES_MAX; i++) {
        struct node *derivative = node_derive(expression);
        struct node *simple = node_simplify(derivative);
        if (node_evaluate(derivative, x) != node_evaluate(simple, x))
            workload_fail("simplification changed a value");
        sum = sum * 31 + (uint64_t)node_evaluate(simple, x) + node_count(simple);
        node_free(derivative);
        node_free(expression);
        expression = simple;
    }
    node_free(expression);
    return sum;
}

static uint64_t symbolic_thread(const struct workload *load, unsigned index) {
    uint64_t random = workload_seed(load, index);
    uint64_t sum = 0;
    for (uint64_t n = workload_amount(load, EXPRESSIONS); n > 0; n--)
        sum += symbolic_work(&random);
    return sum;
}

int main(int argc, char **argv) {
    struct workload load = workload_start(argc, argv, 1);
    return workload_finish(&load, workload_run(&load, symbolic_thread));
}
