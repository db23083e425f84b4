/* scenarios.h: what the explorer is run on. */
#ifndef MODEL_SCENARIOS_H
#define MODEL_SCENARIOS_H

#include "explore.h"

extern const struct scenario scenario_lock, scenario_pagemap, scenario_table, scenario_start;
extern const struct scenario scenario_idle, scenario_readopt, scenario_limit, scenario_received;
extern const struct scenario scenario_steal, scenario_receive, scenario_follow, scenario_announce, scenario_rest,
    scenario_allfree;
extern const struct scenario scenario_purge, scenario_hole, scenario_hole_idle, scenario_helper;
extern const struct scenario scenario_fork, scenario_fork_hole, scenario_fork_received, scenario_two_forks,
    scenario_signal, scenario_signal_hole;

/* Programs whose outcome is known, for the explorer itself. */
struct litmus {
    struct scenario scenario;
    bool possible; /* the weak outcome, or another violation */
};
extern const struct litmus litmus[];
extern const unsigned nlitmus;

#endif
