"""The workloads: the tree's own, and any others named in a file.

A workload file has one workload a line, "name: command", split into words as a shell would; leading VARIABLE=VALUE
words are its environment. Indented lines below it say more:

    stdin FILE         standard input (default: empty)
    time REGEX         the program's own figure, first group, in seconds, stands for wall time
    rate REGEX         the same for a figure of which more is better: its inverse stands for wall time
    fixed-duration     it runs for a fixed time: processor time is scaled to the same amount of work
    same-output        what it prints must not depend on the allocator
    real               a real program, for the means over those alone
    script             it measures a part of itself: with "$BENCH_MEASURE" -p "$BENCH_PRELOAD" -o "$BENCH_RESULT" -- ...

Programs run in a temporary folder, so name them in full or have them in PATH; FILE is relative to the workload file's
folder. "#" starts a comment line.
"""

import os
import re
import shlex

from .common import die

SOURCE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CPUS = str(min(os.cpu_count() or 1, 16))

# The tree's own: name, program or script, arguments, in the quick set. "N" stands for the number of processors.
TREE = [
    ("larson-1", "larson", ["-t", "1"], False),
    ("larson-N", "larson", ["-t", "N"], True),
    ("cache-scratch-N", "cache_scratch", ["-t", "N"], False),
    ("cache-thrash-N", "cache_thrash", ["-t", "N"], False),
    ("xmalloc-N", "xmalloc", ["-t", "N"], True),
    ("sh6-1", "sh6", ["-t", "1"], False),
    ("sh6-N", "sh6", ["-t", "N", "-n", "50"], False),
    ("sh8-N", "sh8", ["-t", "N"], False),
    ("mstress-N", "mstress", ["-t", "N"], True),
    ("alloc-test-1", "alloc_test", ["-t", "1"], True),
    ("alloc-test-N", "alloc_test", ["-t", "N", "-n", "50"], False),
    ("large", "large", ["-t", "1"], False),
    ("vectors", "vectors", ["-t", "1"], False),
    ("simple-pairs", "simple_pairs", [], False),
    ("thread-set-N", "thread_set", ["-t", "N"], False),
    ("symbolic", "symbolic", [], True),
    ("cubes", "cubes", [], False),
    ("bignum", "bignum", [], False),
    ("rbtree", "rbtree", [], True),
    ("sqlite3", "sqlite3.sh", [], True),
    ("python3", "python3.sh", [], True),
    ("g++", "gxx.sh", [], False),
    ("redis", "redis.sh", [], True),
    ("perl", "perl.sh", [], False),
    ("git-pack", "git.sh", ["pack"], False),
    ("git-log", "git.sh", ["log"], False),
    ("lua", "lua.sh", [], False),
    ("jq", "jq.sh", [], False),
    ("gs", "gs.sh", [], False),
    ("node", "node.sh", [], False),
]


class Workload:
    """Words of the command may hold "@build" (the build directory) and "@work" (its folder for generated inputs)."""

    def __init__(self, name, command, source):
        self.name = name
        self.command = command
        self.source = source
        self.environment = {}
        self.prepare = None
        self.stdin = None
        self.figure = None
        self.is_rate = False
        self.fixed_duration = False
        self.same_output = False
        self.real = False
        self.script = False
        self.quick = False

    def __str__(self):
        kind = "real program" if self.real else "benchmark"
        return f"{self.name:<18}{kind:<14}{shlex.join(self.command)}{'  (quick)' if self.quick else ''}"


def tree_workload(name, program, arguments, quick):
    arguments = [CPUS if a == "N" else a for a in arguments]
    if program.endswith(".sh"):
        path = os.path.join(SOURCE_DIR, "workloads", program)
        workload = Workload(name, ["sh", path, "run", "@work", *arguments], "tree")
        workload.prepare = ["sh", path, "prepare", "@work", *arguments]
        workload.script = workload.real = True
    else:
        workload = Workload(name, [f"@build/bench/workloads/{program}", *arguments], "tree")
    workload.same_output = True
    workload.quick = quick
    return workload


def set_attribute(workload, words, folder, place):
    """One indented line; the regular expression is everything after its first word."""
    key, _, value = words.partition(" ")
    value = value.strip()
    flags = {"fixed-duration": "fixed_duration", "same-output": "same_output", "real": "real", "script": "script"}
    if key == "stdin" and value:
        workload.stdin = os.path.join(folder, value)
    elif key in ("time", "rate") and value:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            die(f"{place}: '{value}' is not a regular expression: {error}")
        if groups < 1:
            die(f"{place}: '{value}' has no group for the figure")
        workload.figure, workload.is_rate = value, key == "rate"
    elif key in flags and not value:
        setattr(workload, flags[key], True)
    else:
        die(f"{place}: cannot understand '{words}'")


def read_file(path):
    try:
        lines = open(path).read().splitlines()
    except OSError as error:
        die(f"cannot read workloads: {error}")
    folder = os.path.dirname(os.path.abspath(path))
    found = []
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            if not found:
                die(f"{place}: an indented line before the first workload")
            set_attribute(found[-1], line.strip(), folder, place)
            continue
        name, colon, command = line.partition(":")
        try:
            words = shlex.split(command)
        except ValueError as error:
            die(f"{place}: {error}")
        environment = {}
        while words and re.match(r"[A-Za-z_]\w*=", words[0]):
            variable, _, value = words.pop(0).partition("=")
            environment[variable] = value
        if not (name.strip() and colon and words):
            die(f"{place}: not 'name: command'")
        if name.strip() in [w.name for w in found]:
            die(f"{place}: a second workload named {name.strip()}")
        found.append(Workload(name.strip(), words, path))
        found[-1].environment = environment
    return found


def choose(files, quick, only, skip):
    """The tree's workloads, or those of the files; the file name "tree" stands for the former."""
    chosen = []
    for path in files or ["tree"]:
        chosen += [tree_workload(*row) for row in TREE] if path == "tree" else read_file(path)
    if quick:
        chosen = [w for w in chosen if w.quick or w.source != "tree"]
        for workload in chosen:
            if workload.source == "tree" and not workload.script:
                workload.command += ["-n", "50"]
    if only:
        chosen = [w for w in chosen if re.search(only, w.name)]
    if skip:
        chosen = [w for w in chosen if not re.search(skip, w.name)]
    if not chosen:
        die("no workload is left: see --list")
    names = [w.name for w in chosen]
    for name in names:
        if names.count(name) > 1:
            die(f"two workloads are named {name}")
    return chosen
