"""Interleaved rounds of workloads under libraries, and further ones for workloads whose figures spread.

Some programs have two speeds, chosen anew at each start by where the kernel puts their memory: a median of five is
then a coin toss. Which workloads get further rounds depends on how far the figures of one library lie apart, for any
library, and never on a comparison: rounds that went on until somebody won would find a winner everywhere. For the same
reason a chosen workload gets all of them, whatever they show.
"""

import statistics
import time

from .common import Failure, last_lines, say, shuffled

SPREAD_LIMIT = 0.10


def spread(values):
    """The interquartile range over the median: one odd round among five does not move it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 0.0


def spreads(runs_by_library, metrics):
    """Whether some library's figures lie further apart than SPREAD_LIMIT."""
    return any(spread([run[metric] for run in runs]) > SPREAD_LIMIT
               for runs in runs_by_library.values() if len(runs) > 1 and all(runs) for metric in metrics)


class Rounds:
    """samples[workload][library] = one entry a round (None: failed); failures = [(workload, library, why)]."""

    def __init__(self, runner, workloads, libraries, keep):
        """keep(samples) is called after every round, so that an interrupted run is not lost."""
        self.runner, self.workloads, self.libraries, self.keep = runner, workloads, libraries, keep
        self.samples = {w.name: {name: [] for name in libraries} for w in workloads}
        self.answers, self.failures, self.broken = {}, [], set()
        self.start = time.monotonic()

    def run(self, rounds, more, time_metric):
        """ROUNDS of all workloads, then MORE of those that spread."""
        for number in range(rounds):
            self.one_round(self.workloads, number, rounds)
        restless = [w for w in self.workloads if spreads(self.samples[w.name], (time_metric, "maxrss_kib"))]
        if more and restless:
            say(f"{more} further rounds of what spreads by more than {SPREAD_LIMIT:.0%}: "
                + ", ".join(w.name for w in restless))
            for number in range(rounds, rounds + more):
                self.one_round(restless, number, rounds + more)

    def one_round(self, workloads, number, of):
        for workload in workloads:
            for name in shuffled(list(self.libraries), number, workload.name):
                sample = None
                if (workload.name, name) not in self.broken:
                    sample = self.one_run(workload, name, f"round {number + 1}/{of}")
                self.samples[workload.name][name].append(sample)
        self.keep(self.samples)

    def one_run(self, workload, name, when):
        """None: failed, and is not tried again."""
        try:
            sample, answer = self.runner.run(workload, name, self.libraries[name])
            expected = self.answers.setdefault(workload.name, answer)
            if workload.same_output and answer != expected:
                raise Failure(f"answers differ: {last_lines(answer)} / {last_lines(expected)}")
        except (Failure, OSError, ValueError) as error:
            self.broken.add((workload.name, name))
            self.failures.append((workload.name, name, str(error)))
            say(f"FAILED {workload.name} under {name}: {error}")
            return None
        say(f"[{time.monotonic() - self.start:5.0f} s] {when} {workload.name:<16} {name:<11} "
            f"{sample['wall_s']:7.3f} s {sample['cpu_s']:7.3f} cpu {sample['maxrss_kib'] / 1024:8.1f} MiB")
        return sample
