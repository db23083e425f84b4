/*
 * The concurrent protocol of lib/, explored: see README.md.
 *
 *   model                    programs of known outcome, every scenario with all rules, every rule left out; TAP
 *   model --long             the same with more operations a thread
 *   model --explain RULE     the shortest run that goes wrong without RULE
 *   model --scenario NAME    one scenario, with all rules
 *   model --list             the rules
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "scenarios.h"

static const struct scenario *const scenarios[] = {
    &scenario_lock,          &scenario_pagemap,   &scenario_table,    &scenario_start,       &scenario_idle,
    &scenario_readopt,       &scenario_limit,     &scenario_received, &scenario_steal,       &scenario_receive,
    &scenario_follow,        &scenario_announce,  &scenario_rest,     &scenario_allfree,     &scenario_purge,
    &scenario_hole,          &scenario_hole_idle, &scenario_helper,   &scenario_fork,        &scenario_fork_hole,
    &scenario_fork_received, &scenario_two_forks, &scenario_signal,   &scenario_signal_hole,
};
enum { NSCENARIOS = sizeof scenarios / sizeof *scenarios };

#define RULE_ROW(name, scenario, says) {#name, #scenario, says},
static const struct { const char *name, *scenario, *says; } rules[] = {RULES(RULE_ROW)};

bool bounds_long;
static int left_out = RULE_COUNT;
static unsigned ntests, nfailed;

bool rule(enum rule r) {
    return (int)r != left_out;
}

static const struct scenario *scenario_named(const char *name) {
    for (unsigned i = 0; i < NSCENARIOS; i++) {
        if (!strcmp(scenarios[i]->name, name)) {
            return scenarios[i];
        }
    }
    return NULL;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tap(bool ok, const char *name, const char *glue, const char *says) {
    printf("%sok %u - %s%s%s\n", ok ? "" : "not ", ++ntests, name, glue, says);
    nfailed += !ok;
}

static void test_scenario(const struct scenario *scenario) {
    double from = seconds();
    struct result result = explore(scenario, true);
    printf("# %zu states, %zu steps, %u deep, %.1f s\n", result.states, result.steps, result.depth, seconds() - from);
    tap(!result.violation, scenario->name, ": ", scenario->says);
    fflush(stdout);
}

static void test_rule(unsigned r, bool explain) {
    double from = seconds();
    left_out = (int)r;
    struct result result = explore(scenario_named(rules[r].scenario), explain);
    left_out = RULE_COUNT;
    printf("# %zu states, %u deep, %.1f s: %s\n", result.states, result.depth, seconds() - from,
           result.violation ? result.violation : "nothing goes wrong");
    tap(result.violation, rules[r].name, " is needed: ", rules[r].says);
    fflush(stdout);
}

static int rule_named(const char *name) {
    for (int i = 0; i < RULE_COUNT; i++) {
        if (!strcmp(rules[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static int usage(void) {
    fprintf(stderr, "usage: model [--long] [--list | --explain RULE | --scenario NAME]\n");
    return 2;
}

static void test_litmus(const struct litmus *test) {
    struct result result = explore(&test->scenario, false);
    tap((result.violation != NULL) == test->possible, test->scenario.name,
        test->possible ? ": can go wrong" : ": cannot go wrong", "");
}

static void test_all(void) {
    for (unsigned i = 0; i < nlitmus; i++) {
        test_litmus(&litmus[i]);
    }
    for (unsigned i = 0; i < NSCENARIOS; i++) {
        test_scenario(scenarios[i]);
    }
    for (unsigned i = 0; i < RULE_COUNT; i++) {
        test_rule(i, false);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--long")) {
        bounds_long = true;
        argc--;
        argv++;
    }
    if (argc == 1) {
        test_all();
    } else if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (int i = 0; i < RULE_COUNT; i++) {
            printf("%-26s %-12s %s\n", rules[i].name, rules[i].scenario, rules[i].says);
        }
        return 0;
    } else if (argc == 3 && !strcmp(argv[1], "--explain") && rule_named(argv[2]) >= 0) {
        test_rule((unsigned)rule_named(argv[2]), true);
    } else if (argc == 3 && !strcmp(argv[1], "--scenario") && scenario_named(argv[2])) {
        test_scenario(scenario_named(argv[2]));
    } else {
        return usage();
    }
    printf("1..%u\n", ntests);
    return nfailed ? 1 : 0;
}
