"""The programs of bench/ that answer one question each: memory, latency, startup, and any other by name.

A probe prints lines of "label", two spaces or more, "figure unit"; the labels are what the tables below are made of.
"""

import re

from .common import Failure, last_lines, say, shuffled
from .runner import run_group
from .tables import Measure

LINE = re.compile(r"^\s*(.+?)\s{2,}(-?[0-9.]+) (\S.*)$")


def in_rounds(libraries, rounds, what, measure_one):
    """Calls measure_one(library, preload) interleaved; a library that failed once is left out from then on."""
    names, failures, broken = list(libraries), [], set()
    for round_number in range(rounds):
        for name in shuffled(names, round_number, what):
            if name in broken:
                continue
            say(f"round {round_number + 1}/{rounds} {what} {name}")
            try:
                measure_one(name, libraries[name])
            except Failure as error:
                broken.add(name)
                failures.append((what, name, str(error)))
                say(f"FAILED {what} under {name}: {error}")
    return failures


def run_program(options, runner, libraries):
    """Prints what a program says under each library."""
    outputs, failures = {}, []
    for name, preload in libraries.items():
        try:
            outputs[name] = runner.probe(name, preload, options.run.split())
            print(f"== {name}\n{outputs[name].rstrip()}")
        except Failure as error:
            failures.append((options.run, name, str(error)))
    return outputs, failures


# --- startup ----------------------------------------------------------------------------------------------------


def startup_output(runner, libraries, arguments=()):
    """bench/startup preloads by itself; an empty library is its base line, and glibc needs none."""
    command = [runner.program("startup"), *arguments]
    command += [f"{name}={path}" for name, path in libraries.items() if path]
    status, out, err = run_group(command, runner.environment, runner.timeout)
    if status != 0:
        raise Failure(f"status {status}: {last_lines(err)}")
    return out


def run_startup(runner, libraries):
    try:
        out = startup_output(runner, libraries)
    except Failure as error:
        return "", [("startup", "(all)", str(error))]
    print(out, end="")
    return out, []


def startup_figures(out):
    """library -> (microseconds, anonymous KiB, peak RSS KiB), over an empty library."""
    pattern = re.compile(r"^(\S+)\s+([-+]\d+) \(.*?\)\s+([-+]\d+)\s+([-+]\d+)", re.MULTILINE)
    return {m.group(1): tuple(float(m.group(i)) for i in (2, 3, 4)) for m in pattern.finditer(out)}


# --- latency ----------------------------------------------------------------------------------------------------

LATENCY_QUANTILES = ("p50", "p99", "p99.9", "max")
LATENCY_LIMIT = 1.1
LATENCY_BOUND = f"p99.9 against the lowest other library's, at most {LATENCY_LIMIT:g} times that"


def latency_rows(out):
    """(heap, threads, operation) -> {quantile: nanoseconds}"""
    lines = out.splitlines()
    heading = lines[0].split()
    for line in lines[1:]:
        row = dict(zip(heading, line.split()))
        yield (row["heap"], row["threads"], row["operation"]), {q: float(row[q]) for q in LATENCY_QUANTILES}


def run_latency(options, runner, libraries, subject):
    """Every quantile of every heap, thread count and operation, and p99.9 against the lowest other library's."""
    measures = {}

    def once(name, preload):
        for (heap, threads, operation), figures in latency_rows(runner.probe(name, preload, ["latency"])):
            for quantile, value in figures.items():
                label = f"{operation} {quantile}, {threads} thread{'s' if threads != '1' else ''}, {heap}"
                measures.setdefault((heap, threads, operation, quantile), Measure(label, "ns")).add(name, value)

    failures = in_rounds(libraries, options.rounds, "latency", once)
    for key, measure in measures.items():
        if key[3] == "p99.9":
            measure.bound_by([n for n in libraries if n != subject], LATENCY_LIMIT)
    return list(measures.values()), failures


# --- memory -----------------------------------------------------------------------------------------------------

PAGE_FACTOR, PEAK_SLACK_MIB = 1.10, 8


def labelled(out):
    return {m.group(1): float(m.group(2)) for m in map(LINE.match, out.splitlines()) if m}


def after_peak(figures):
    live = figures["pages with a live byte"]
    idle, start = figures["after idling"], figures["before"]
    yield "after a peak, idle: RSS", "MiB", None, idle
    yield "  pages with a live byte", "MiB", None, live
    yield f"  (RSS - {PEAK_SLACK_MIB}) / those pages", "times", PAGE_FACTOR, (idle - PEAK_SLACK_MIB) / live
    yield "after a peak, malloc_trim: RSS", "MiB", None, figures["after malloc_trim"]
    yield "all freed, idle: RSS over the start", "MiB", 16, figures["all freed, after idling"] - start
    yield "all freed, malloc_trim: RSS over the start", "MiB", 2, figures["all freed, after malloc_trim"] - start


def huge_blocks(figures):
    yield "realloc 3 -> 4 GiB: RSS gained", "MiB", 8, figures["realloc: peak RSS gained"]
    yield "realloc 3 -> 4 GiB: time", "ms", None, figures["realloc from 3 to 4 GiB"]
    yield "calloc 2 GiB, read each 64 KiB: resident", "MiB", 128, figures["calloc: resident after reading"]
    yield "malloc 3 GiB, written each 64 KiB: resident", "MiB", None, figures["malloc: resident after writing"]


def consumer(figures):
    yield "consumer that never allocates: peak / live", "times", 1.15, figures["peak RSS over live"]


def consumer_shifting(figures):
    yield "  the same, sizes shifting", "times", None, figures["peak RSS over live"]


def idle_threads(classes, limit):
    def measures(figures):
        yield (f"idle thread, an object in each of {classes} classes", "KiB", limit,
               figures["holding one object of each"])
    return measures


MEMORY_PROBES = [
    (["after_peak"], after_peak),
    (["consumer", "-i", "0"], consumer),
    (["consumer", "-s", "-i", "0"], consumer_shifting),
    (["huge_blocks"], huge_blocks),
    (["idle_threads", "-c", "4"], idle_threads(4, 32)),
    (["idle_threads", "-c", "16"], idle_threads(16, 80)),
]
STARTUP_MEASURES = (("hello, world: time", "us", 100), ("hello, world: anonymous memory", "KiB", 64),
                    ("hello, world: peak RSS", "KiB", 250))


def run_memory(options, runner, libraries):
    measures, failures = {}, []

    def add(name, label, unit, limit, value):
        measures.setdefault(label, Measure(label, unit, limit)).add(name, value)

    for words, figures_of in MEMORY_PROBES:
        def once(name, preload):
            for label, unit, limit, value in figures_of(labelled(runner.probe(name, preload, words))):
                add(name, label, unit, limit, value)
        failures += in_rounds(libraries, options.rounds, " ".join(words), once)
    trimmed = measures.get("after a peak, malloc_trim: RSS")
    if trimmed and trimmed.median("glibc") is not None:
        measures["after a peak, idle: RSS"].limit = round(trimmed.median("glibc"), 1)
    try:
        for name, figures in startup_figures(startup_output(runner, libraries)).items():
            for (label, unit, limit), value in zip(STARTUP_MEASURES, figures):
                if name in libraries:
                    add(name, label, unit, limit, value)
    except Failure as error:
        failures.append(("startup", "(all)", str(error)))
    return list(measures.values()), failures
