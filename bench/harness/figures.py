"""Medians, ratios and their intervals.

Every ratio is the subject's to another library's, so below 1 is better for the subject, for time and memory alike. It
is the median of the per-round ratios: a machine that slows down for a minute slows both sides of a round. Its 95%
interval is a percentile bootstrap over rounds. A loss is a ratio whose whole interval lies above 1, a win one whose
interval lies below; the rest is undecided.
"""

import math
import random
import statistics

METRICS = {"wall_s": "wall time", "cpu_s": "processor time", "maxrss_kib": "peak RSS"}
RESAMPLES = 1000
SEED = 20240229
EPSILON = 1e-6


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else float("nan")


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Ratio:
    """A ratio, the draws of its bootstrap, and what they say."""

    def __init__(self, value, draws):
        self.value = value
        self.draws = draws
        self.low, self.high = quantile(draws, 0.025), quantile(draws, 0.975)

    @property
    def verdict(self):
        return "loss" if self.low > 1 else "win" if self.high < 1 else "undecided"

    @property
    def counted(self):
        """A ratio above 1 that the interval does not confirm counts as 1."""
        return self.value if self.value <= 1 or self.verdict == "loss" else 1.0

    def __str__(self):
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Comparison:
    """Samples of every workload under every library, seen from one library, the subject."""

    def __init__(self, samples, libraries, subject, real):
        self.samples = samples
        self.libraries = libraries
        self.subject = subject
        self.peers = [name for name in libraries if name != subject]
        self.real = real
        counts = [len(runs) for by in samples.values() for runs in by.values()]
        self.fewest_rounds, self.most_rounds = min(counts, default=0), max(counts, default=0)
        self.medians = {w: {n: self.summarize(runs) for n, runs in by.items() if runs and all(runs)}
                        for w, by in samples.items()}
        self.ratios = {}
        for workload, by in samples.items():
            choices = self.resample(workload)
            for peer in self.peers:
                if subject in self.medians[workload] and peer in self.medians[workload]:
                    for metric in METRICS:
                        self.ratios[workload, peer, metric] = self.ratio(by[subject], by[peer], metric, choices)

    @property
    def rounds(self):
        """In words; workloads that spread had more than the others."""
        few, most = self.fewest_rounds, self.most_rounds
        return f"{most} rounds" if few == most else f"{few} to {most} rounds"

    @staticmethod
    def summarize(runs):
        row = {}
        for metric in METRICS:
            values = [run[metric] for run in runs]
            row[metric] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        return row

    def resample(self, workload):
        """Draws of as many rounds as the workload had, the same ones for all libraries and metrics."""
        rounds = max(len(runs) for runs in self.samples[workload].values())
        generator = random.Random(f"{SEED} {workload}")
        return [[generator.randrange(rounds) for _ in range(rounds)] for _ in range(RESAMPLES)]

    @staticmethod
    def ratio(own, peers, metric, choices):
        pairs = [a[metric] / max(b[metric], EPSILON) for a, b in zip(own, peers)]
        pairs = [max(pair, EPSILON) for pair in pairs]
        draws = [statistics.median([pairs[i] for i in choice if i < len(pairs)] or pairs) for choice in choices]
        return Ratio(statistics.median(pairs), draws)

    def workloads_with(self, peer, metric, keep=lambda workload: True):
        return [w for w in self.samples if (w, peer, metric) in self.ratios and keep(w)]

    def mean(self, peer, metric, keep=lambda workload: True):
        """Geometric mean over workloads, equal weight; None without any."""
        ratios = [self.ratios[w, peer, metric] for w in self.workloads_with(peer, metric, keep)]
        if not ratios:
            return None
        draws = [geometric_mean(column) for column in zip(*(r.draws for r in ratios))]
        return Ratio(geometric_mean([r.value for r in ratios]), draws)

    def best(self, workload, metric, among=None):
        """The peer with the lowest median on a workload; None when subject or peers failed."""
        there = [p for p in (among or self.peers) if (workload, p, metric) in self.ratios]
        return min(there, key=lambda p: self.medians[workload][p][metric]["median"], default=None)

    def against_best(self, metric, among=None):
        """(workload, best peer, ratio), the worst first."""
        rows = [(w, self.best(w, metric, among)) for w in self.samples]
        rows = [(w, peer, self.ratios[w, peer, metric]) for w, peer in rows if peer]
        return sorted(rows, key=lambda row: -row[2].value)


# --- what it must show ------------------------------------------------------------------------------------------

LARGE_KIB = 8 * 1024


class Goal:
    def __init__(self, measure, found, bound, detail=""):
        self.measure, self.found, self.bound, self.detail = measure, found, bound, detail

    @property
    def kept(self):
        return self.found <= self.bound


def worst_mean(comparison, metric, peers, keep=lambda workload: True):
    """(ratio, peer) for the peer against which the mean is worst."""
    means = [(comparison.mean(p, metric, keep), p) for p in peers]
    means = [(mean.value, p) for mean, p in means if mean]
    return max(means, default=None)


def goals(comparison, time_metric):
    """The bounds the project set itself, as far as the libraries compared allow to check them."""
    peers, out = comparison.peers, []
    fast = [p for p in peers if p != "glibc"]

    def add_mean(measure, bound, metric, names, keep=lambda workload: True):
        found = worst_mean(comparison, metric, names, keep)
        if found:
            out.append(Goal(measure, found[0], bound, f"against {found[1]}"))

    add_mean("time, geometric mean, against the best peer", 0.95, time_metric, peers)
    singles = comparison.against_best(time_metric)
    if singles:
        counted = sorted((r.counted, w, p) for w, p, r in singles)
        worst = counted[-1]
        out.append(Goal("time against each workload's best peer, median", counted[len(counted) // 2][0], 1.02))
        out.append(Goal("time against each workload's best peer, 90th percentile",
                        quantile([c[0] for c in counted], 0.9), 1.15))
        out.append(Goal("time against each workload's best peer, worst", worst[0], 1.30,
                        f"{worst[1]} against {worst[2]}"))
    add_mean("time, real programs alone, against the best peer", 0.98, time_metric, peers,
             lambda w: w in comparison.real)
    add_mean("peak RSS, geometric mean, against the leanest fast peer", 0.95, "maxrss_kib", fast)
    if "glibc" in peers:
        def is_large(workload):
            return comparison.medians[workload]["glibc"]["maxrss_kib"]["median"] >= LARGE_KIB
        add_mean("peak RSS, geometric mean, against glibc, 8 MiB and more", 1.00, "maxrss_kib", ["glibc"], is_large)
        add_mean("peak RSS, geometric mean, against glibc, below 8 MiB", 1.10, "maxrss_kib", ["glibc"],
                 lambda w: not is_large(w))
    leanest = comparison.against_best("maxrss_kib", fast) if fast else []
    if leanest:
        workload, peer, ratio = leanest[0]
        out.append(Goal("peak RSS against each workload's leanest fast peer, worst", ratio.value, 1.30,
                        f"{workload} against {peer}"))
    return out
