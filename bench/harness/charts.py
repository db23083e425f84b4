"""Charts as SVG, drawn by hand: no dependency, legible on light and on dark pages.

The axis is logarithmic, so that half and double lie equally far from 1. Left of 1 the subject is better, right of it
worse: bars of wins and of losses have equal weight, and what the interval does not decide is grey.
"""

import math
import os
from xml.sax.saxutils import escape

from .common import capital
from .figures import METRICS

ROW, LABELS, WIDTH, NOTES, TOP, BOTTOM = 18, 130, 420, 190, 64, 46
TICKS = (0.1, 0.125, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 4, 5, 8, 10)
TICK_SPACE = 34  # pixels between two labels at least
EDGE = 1e-3  # what is drawn for ratios of next to nothing

STYLE = """
    text { font: 12px sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: bold } .small { font-size: 11px }
    .page { fill: #ffffff } .grid { stroke: #d0d7de } .one { stroke: #24292f; stroke-width: 1.5 }
    .interval { stroke: #24292f; stroke-width: 1.2 } .peer { stroke: #6e7781; stroke-width: 1.2 }
    .win { fill: #4393c3 } .loss { fill: #e08214 } .undecided { fill: #afb8c1 } .note { fill: #57606a }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .page { fill: #0d1117 } .grid { stroke: #30363d } .one { stroke: #e6edf3 }
      .interval { stroke: #e6edf3 } .peer { stroke: #8b949e } .undecided { fill: #484f58 } .note { fill: #9da7b3 }
    }"""


class Axis:
    """Wide enough for all values, and at least from 0.8 to 1.25."""

    def __init__(self, values):
        values = [v for v in values if v > 0] + [0.8, 1.25]
        self.low, self.high = math.log(max(min(values), 0.05) / 1.05), math.log(min(max(values), 20) * 1.05)

    def x(self, value):
        part = (math.log(max(value, EDGE)) - self.low) / (self.high - self.low)
        return LABELS + WIDTH * min(max(part, 0.0), 1.0)

    def ticks(self):
        """1 first, then outwards whatever leaves room for its label."""
        kept = []
        for value in sorted(TICKS, key=lambda t: abs(math.log(t))):
            inside = self.low <= math.log(value) <= self.high
            if inside and all(abs(self.x(value) - self.x(other)) >= TICK_SPACE for other in kept):
                kept.append(value)
        return sorted(kept)


class Row:
    """One bar: its label, its ratio, what to write at its end, and the ratios to mark beside it."""

    def __init__(self, label, ratio, note="", others=()):
        self.label, self.ratio, self.note, self.others = label, ratio, note, others


def text(x, y, words, anchor="start", style=""):
    style = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def line(x1, y1, x2, y2, style):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def draw_row(axis, row, top):
    middle, one, at = top + ROW / 2, axis.x(1), axis.x(row.ratio.value)
    left, width = min(one, at), max(abs(at - one), 1)
    out = [text(LABELS - 8, middle + 4, row.label, "end"),
           f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="{ROW - 6}" class="{row.ratio.verdict}"/>']
    out += [line(axis.x(v), middle - 4, axis.x(v), middle + 4, "peer") for v in row.others]
    out.append(line(axis.x(row.ratio.low), middle, axis.x(row.ratio.high), middle, "interval"))
    out.append(text(LABELS + WIDTH + 10, middle + 4, f"{row.ratio.value:.2f}", style="small"))
    out.append(text(LABELS + WIDTH + 44, middle + 4, row.note, style="small"))
    return out


def legend(right, y):
    out = []
    for verdict in ("undecided", "loss", "win"):
        out.append(text(right, y, verdict, "end", "small note"))
        right -= 7 * len(verdict) + 12
        out.append(f'<rect x="{right}" y="{y - 9}" width="10" height="10" class="{verdict}"/>')
        right -= 12
    return out


def draw(title, subtitle, rows, sections=()):
    """sections: (index of the row before which a heading stands, heading)."""
    headings = dict(sections)
    height = TOP + ROW * (len(rows) + len(headings)) + BOTTOM
    axis = Axis([v for row in rows for v in (row.ratio.value, row.ratio.low, row.ratio.high, *row.others)])
    bottom = height - BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABELS + WIDTH + NOTES}" height="{height}" '
           f'viewBox="0 0 {LABELS + WIDTH + NOTES} {height}" role="img">',
           f"<title>{escape(title)}</title>", f"<style>{STYLE}\n</style>",
           '<rect class="page" width="100%" height="100%"/>',
           text(12, 22, title, style="title"), text(12, 40, subtitle, style="small note")]
    out += legend(LABELS + WIDTH + NOTES - 12, 22)
    for value in axis.ticks():
        out.append(line(axis.x(value), TOP - 4, axis.x(value), bottom, "one" if value == 1 else "grid"))
        out.append(text(axis.x(value), bottom + 15, f"{value:g}", "middle", "small"))
    top = TOP
    for index, row in enumerate(rows):
        if index in headings:
            out.append(text(12, top + ROW / 2 + 4, headings[index], style="note"))
            top += ROW
        out += draw_row(axis, row, top)
        top += ROW
    out.append(line(axis.x(1), TOP - 4, axis.x(1), bottom, "one"))
    out.append(text(axis.x(1) - 8, bottom + 34, "\u2190 better", "end", "small note"))
    out.append(text(axis.x(1) + 8, bottom + 34, "worse \u2192", "start", "small note"))
    return "\n".join(out) + "\n</svg>\n"


def workload_chart(comparison, metric):
    rows = []
    for workload, peer, ratio in comparison.against_best(metric):
        others = [comparison.ratios[workload, p, metric].value for p in comparison.peers
                  if p != peer and (workload, p, metric) in comparison.ratios]
        rows.append(Row(workload, ratio, peer, others))
    verdicts = [row.ratio.verdict for row in rows]
    title = f"{capital(METRICS[metric])}: {comparison.subject} / best other library, by workload"
    subtitle = (f"{verdicts.count('loss')} lost, {verdicts.count('win')} won, {verdicts.count('undecided')} undecided; "
                f"line: 95% interval; ticks: ratios to the other libraries; log scale; {comparison.rounds}")
    return draw(title, subtitle, rows)


def mean_chart(comparison, time_metric):
    rows, sections = [], []
    for metric in (time_metric, "maxrss_kib"):
        means = [(comparison.mean(peer, metric), peer) for peer in comparison.peers]
        means = sorted(((mean, peer) for mean, peer in means if mean), key=lambda pair: -pair[0].value)
        sections.append((len(rows), capital(METRICS[metric])))
        for mean, peer in means:
            ratios = [comparison.ratios[w, peer, metric] for w in comparison.workloads_with(peer, metric)]
            lost = sum(r.verdict == "loss" for r in ratios)
            rows.append(Row(peer, mean, f"{lost} of {len(ratios)} lost"))
    title = f"{comparison.subject} / each library, geometric means"
    subtitle = f"{len(comparison.samples)} workloads, equal weight; line: 95% interval; log scale"
    return draw(title, subtitle, rows, sections)


def write_charts(comparison, folder, time_metric):
    os.makedirs(folder, exist_ok=True)
    for name, chart in (("time.svg", workload_chart(comparison, time_metric)),
                        ("rss.svg", workload_chart(comparison, "maxrss_kib")),
                        ("means.svg", mean_chart(comparison, time_metric))):
        with open(os.path.join(folder, name), "w") as file:
            file.write(chart)
