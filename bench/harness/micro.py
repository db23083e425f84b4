"""Google Benchmark's micro-benchmarks under each library. They explain a result and count in no mean."""

import json
import os
import re
import statistics

from .common import Failure, last_lines
from .probes import in_rounds
from .runner import run_group


def item_ns(bench):
    """Processor time of all threads an item: other load on the machine disturbs it far less than wall time."""
    return bench["cpu_time"] * bench["iterations"] / bench["items"]


def run_micro(options, runner, libraries, subject):
    program = runner.program("micro")
    times, skipped = {}, []

    def once(name, preload):
        out_file = os.path.join(runner.work_dir, "micro.json")
        command = runner.measured(preload, [
            program, f"--benchmark_out={out_file}", "--benchmark_out_format=json",
            f"--benchmark_filter={options.only or '.'}", f"--benchmark_min_time={options.min_time}"])
        status, _, err = run_group(command, runner.environment_for("micro", name), None)
        if status != 0:
            raise Failure(f"status {status}: {last_lines(err)}")
        runner.read_result("micro", name)
        for bench in json.load(open(out_file))["benchmarks"]:
            if bench.get("error_occurred"):
                skipped.append((bench["name"], name, bench.get("error_message", "")))
            else:
                label = re.sub("/(real|process)_time", "", bench["name"])
                times.setdefault(label, {}).setdefault(name, []).append(item_ns(bench))

    failures = in_rounds(libraries, options.rounds, "micro", once) + skipped
    medians = {bench: {n: statistics.median(v) for n, v in by.items()} for bench, by in times.items()}
    print_micro(medians, libraries, subject, options.rounds)
    return medians, failures


def print_micro(medians, libraries, subject, rounds):
    print(f"\nMicro-benchmarks: processor nanoseconds an item, median of {rounds} ({subject}'s ratio to it)\n")
    print(f"{'benchmark':<44}" + "".join(f"{n:>22}" for n in libraries))
    for bench, by in medians.items():
        cells = []
        for name in libraries:
            if name not in by:
                cells.append("failed")
            elif name == subject or subject not in by:
                cells.append(f"{by[name]:.2f}")
            else:
                cells.append(f"{by[name]:.2f} ({by[subject] / by[name]:.2f})")
        print(f"{bench:<44}" + "".join(f"{c:>22}" for c in cells))
