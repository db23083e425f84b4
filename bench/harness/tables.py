"""Tables of measures by libraries, with the bound beside: what --latency and --memory print."""

import os
import statistics

from .report import markdown_table, write_tsv


class Measure:
    """values[library] = one figure a round; limit: one for all, None: no bound; rival: the library it is taken from."""

    def __init__(self, name, unit, limit=None):
        self.name, self.unit, self.limit = name, unit, limit
        self.rival = None
        self.values = {}

    def add(self, library, value):
        self.values.setdefault(library, []).append(value)

    def median(self, library):
        values = self.values.get(library)
        return statistics.median(values) if values else None

    def bound_by(self, libraries, factor):
        """At most FACTOR times the lowest median of LIBRARIES."""
        there = [name for name in libraries if self.median(name) is not None]
        if there:
            self.rival = min(there, key=self.median)
            self.limit = round(factor * self.median(self.rival), 1)

    def over(self, library):
        value = self.median(library)
        return self.limit is not None and value is not None and value > self.limit


def number(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def bound(measure):
    return "" if measure.limit is None else f"<= {measure.limit:g}"


def print_measures(title, measures, libraries, subject):
    widths = [max(len(name), 9) + 3 for name in libraries]
    print(f"\n{title}; medians, '!' over the bound\n")
    print(f"{'measure':<46}{'unit':<7}{'bound':>9}" + "".join(f"{n:>{w}}" for n, w in zip(libraries, widths)))
    for measure in measures:
        cells = [number(measure.median(n)) + ("!" if measure.over(n) else " ") for n in libraries]
        print(f"{measure.name:<46}{measure.unit:<7}{bound(measure):>9}"
              + "".join(f"{c:>{w}}" for c, w in zip(cells, widths)))
    bounded = [m for m in measures if m.limit is not None and m.median(subject) is not None]
    if bounded:
        print(f"\n{subject}: {sum(not m.over(subject) for m in bounded)} of {len(bounded)} bounds kept")


RIVAL_HEADING = ("measure", "median", "min..max", "lowest other", "library", "ratio", "")


def rival_rows(measures, subject):
    """What is bounded by the lowest other library's: the subject's median and range over rounds beside that."""
    for measure in measures:
        own = measure.median(subject)
        if measure.rival is not None and own is not None:
            values, lowest = measure.values[subject], measure.median(measure.rival)
            yield (f"{measure.name} ({measure.unit})", number(own), f"{number(min(values))}..{number(max(values))}",
                   number(lowest), measure.rival, f"{own / lowest:.2f}" if lowest > 0 else "-",
                   "MISSED" if measure.over(subject) else "kept")


def print_rivals(title, measures, subject):
    rows = list(rival_rows(measures, subject))
    if rows:
        print(f"\n{subject}: {title}\n")
        widths = [max(len(row[i]) for row in [RIVAL_HEADING] + rows) for i in range(len(RIVAL_HEADING))]
        for row in [RIVAL_HEADING] + rows:
            left = "".join(f"{cell:>{width}}  " for cell, width in zip(row[1:-1], widths[1:-1]))
            print(f"{row[0]:<{widths[0]}}  {left}{row[-1]}".rstrip())


def write_rivals(folder, stem, title, measures, subject):
    """Added to what write_measures wrote."""
    rows = list(rival_rows(measures, subject))
    if rows:
        with open(os.path.join(folder, f"{stem}.md"), "a") as file:
            file.write(f"\n## {subject}: {title}\n\n{markdown_table(RIVAL_HEADING, rows)}")


def write_measures(folder, stem, title, measures, libraries):
    os.makedirs(folder, exist_ok=True)
    rows = []
    for measure in measures:
        cells = [f"**{number(measure.median(n))}**" if measure.over(n) else number(measure.median(n)) for n in libraries]
        rows.append([measure.name, measure.unit, bound(measure)] + cells)
    with open(os.path.join(folder, f"{stem}.md"), "w") as file:
        file.write(f"# {title}\n\nMedians. Bold: over the bound.\n\n")
        file.write(markdown_table(["measure", "unit", "bound"] + list(libraries), rows))
    rows = [[m.name, m.unit, "" if m.limit is None else m.limit]
            + [m.median(n) if m.values.get(n) else "" for n in libraries] for m in measures]
    write_tsv(os.path.join(folder, f"{stem}.tsv"), ["measure", "unit", "bound"] + list(libraries), rows)


def as_record(measures):
    return [{"measure": m.name, "unit": m.unit, "bound": m.limit, "values": m.values} for m in measures]
