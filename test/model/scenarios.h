/* scenarios.h: what the explorer is run on. */
#ifndef MODEL_SCENARIOS_H
#define MODEL_SCENARIOS_H

#include "explore.h"

extern const struct scenario scenario_lock, scenario_pagemap, scenario_table, scenario_start;
extern const struct scenario scenario_idle, scenario_readopt, scenario_limit;
extern const struct scenario scenario_steal, scenario_receive, scenario_follow, scenario_announce, scenario_rest, scenario_allfree;
extern const struct scenario scenario_purge, scenario_hole, scenario_hole_idle;
extern const struct scenario scenario_fork, scenario_fork_hole, scenario_two_forks, scenario_signal;

#endif
