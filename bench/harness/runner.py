"""Runs programs under libraries, one at a time, and measures them from outside.

Only the measured program gets LD_PRELOAD: the small program bench/measure starts it and reads wall time, user + system
time and the peak RSS of its largest process from wait4.

Before each run bench/measure touches and frees as much memory as the run may need (bench/measure.c says why): what the
workload has taken at most so far under any library and a margin, at least FIRST_WARM_MIB for a library not seen yet.
All libraries are treated alike, whatever they need themselves.
"""

import json
import os
import re
import signal
import subprocess

from .common import Failure, die, last_lines, say

ROOT_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIRST_WARM_MIB = 512
WARM_VARIABLE = "BENCH_WARM_MIB"  # read by bench/measure, from an environment so that scripts need not know
SKIP_STATUS = 77  # a script's answer to "prepare": the program it drives is not installed


def find_build_dir(given):
    here = os.getcwd()
    places = [given] if given else [os.path.join(ROOT_DIR, "build"), os.path.join(here, "build"), here, ROOT_DIR]
    for place in places:
        if os.access(os.path.join(place, "bench", "measure"), os.X_OK):
            return os.path.abspath(place)
    die(f"no benchmark programs under {' or '.join(places)}; {how_to_build(given or 'build')}")


def how_to_build(build_dir):
    return f"build them with: make -C {build_dir} bench (after configure), or name the build directory with --build"


def run_group(command, environment, timeout, stdin=subprocess.DEVNULL, folder=None):
    """Runs a command in its own process group, so that a timeout ends everything it started and nothing else."""
    process = subprocess.Popen(command, env=environment, stdin=stdin, stdout=subprocess.PIPE, cwd=folder,
                               stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failure(f"no end after {timeout} s") from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def warm_mib(peaks, library):
    """peaks: library -> KiB at most so far. A program may be several processes and the peak is the largest one's."""
    mib = max(peaks.values(), default=0) * 5 // 4 // 1024 + 32
    return mib if library in peaks else max(mib, FIRST_WARM_MIB)


class Runner:
    def __init__(self, build_dir, work_dir, timeout, settings, warm_up=True):
        self.build_dir = build_dir
        self.measure = os.path.join(build_dir, "bench", "measure")
        self.work_dir = work_dir
        self.result = os.path.join(work_dir, "result.json")
        self.timeout = timeout
        self.settings = settings
        self.warm_up = warm_up
        self.peaks = {}  # workload or probe -> {library: KiB}
        self.environment = {k: v for k, v in os.environ.items()
                            if k not in ("LD_PRELOAD", "GLIBC_TUNABLES", WARM_VARIABLE) and not k.startswith("MALLOC_")}
        self.environment.update(LC_ALL="C", BENCH_MEASURE=self.measure)

    def program(self, name):
        path = os.path.join(self.build_dir, "bench", name)
        if not os.access(path, os.X_OK):
            die(f"{path} is missing; {how_to_build(self.build_dir)}")
        return path

    def environment_for(self, what, library):
        """For a measured run of WHAT, a workload or a probe."""
        warm = {WARM_VARIABLE: str(warm_mib(self.peaks.get(what, {}), library))} if self.warm_up else {}
        return {**self.environment, **self.settings.get(library, {}), **warm}

    def read_result(self, what, library):
        """What bench/measure wrote about a run of WHAT."""
        sample = json.load(open(self.result))
        peaks = self.peaks.setdefault(what, {})
        peaks[library] = max(peaks.get(library, 0), sample["maxrss_kib"])
        return sample

    def measured(self, preload, command):
        return [self.measure, "-p", preload, "-o", self.result, "--"] + command

    def probe(self, library, preload, words):
        """What a program of bench/ prints under a library."""
        what = " ".join(words)
        command = self.measured(preload, [self.program(words[0])] + words[1:])
        status, out, err = run_group(command, self.environment_for(what, library), self.timeout)
        if status != 0:
            raise Failure(f"status {status}: {last_lines(err)}")
        self.read_result(what, library)
        return out

    def words(self, workload, command):
        folder = os.path.join(self.work_dir, re.sub(r"\W", "_", workload.name))
        if "@work" in command:
            os.makedirs(folder, exist_ok=True)
        return [w.replace("@build", self.build_dir) if w.startswith("@build/") else folder if w == "@work" else w
                for w in command]

    def prepare(self, workload):
        """Generates a script's inputs once, unmeasured. False: the program it drives is not installed."""
        if workload.prepare is None:
            if workload.command[0].startswith("@build/bench/"):
                self.program(workload.command[0].removeprefix("@build/bench/"))
            return True
        status, out, err = run_group(self.words(workload, workload.prepare), self.environment, self.timeout)
        if status == SKIP_STATUS:
            say(f"skipping {workload.name}: {last_lines(out + err)}")
            return False
        if status != 0:
            raise Failure(f"prepare: status {status}: {last_lines(err)}")
        return True

    def run(self, workload, name, preload):
        """One measured run: the measurements and what the program printed."""
        result, client = self.result, self.result + ".client"
        for stale in (result, client):
            if os.path.exists(stale):
                os.unlink(stale)
        command = self.words(workload, workload.command)
        environment = {**self.environment_for(workload.name, name), **workload.environment}
        if workload.script:
            environment.update(BENCH_PRELOAD=preload, BENCH_RESULT=result)
        else:
            command = self.measured(preload, command)
        with open(workload.stdin or os.devnull) as stdin:
            status, out, err = run_group(command, environment, self.timeout, stdin, self.work_dir)
        if status != 0:
            raise Failure(f"status {status}: {last_lines(err)}")
        sample = self.read_result(workload.name, name)
        if sample["exit"] != 0:
            raise Failure(f"status {sample['exit']}: {last_lines(err)}")
        if os.path.exists(client):  # a server was measured: what its client waited is the time that counts
            sample["wall_s"] = json.load(open(client))["wall_s"]
        sample["cpu_s"] = sample["user_s"] + sample["sys_s"]
        if workload.figure:
            use_own_figure(sample, workload, out + err)
        return sample, out


def use_own_figure(sample, workload, text):
    match = re.search(workload.figure, text)
    if match is None:
        raise Failure(f"no figure '{workload.figure}' in its output: {last_lines(text)}")
    figure = float(match.group(1))
    if figure <= 0:
        raise Failure(f"its figure is {match.group(1)}")
    own = 1e9 / figure if workload.is_rate else figure
    if workload.fixed_duration:
        sample["cpu_s"] *= own / sample["wall_s"]
    sample["wall_s"] = own
