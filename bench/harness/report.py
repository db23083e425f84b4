"""Tables: for the terminal, as Markdown and as TSV."""

import os

from .common import FEW_ROUNDS, capital
from .figures import METRICS, goals


def terminal_table(comparison):
    subject = comparison.subject
    print(f"\n{'workload':<17}{'library':<13}{'wall s':>9}{'min..max':>16}{'cpu s':>9}{'peak MiB':>10}{'min..max':>17}"
          f"   {subject}/library: wall, cpu, rss")
    for workload, rows in comparison.medians.items():
        label = workload
        for name in comparison.libraries:
            if name not in rows:
                print(f"{label:<17}{name:<13}{'failed':>9}")
            else:
                wall, cpu, rss = (rows[name][m] for m in METRICS)
                wall_range = f"{wall['min']:.3f}..{wall['max']:.3f}"
                rss_range = f"{rss['min'] / 1024:.1f}..{rss['max'] / 1024:.1f}"
                ratios = [comparison.ratios.get((workload, name, m)) for m in METRICS]
                tail = "".join(f"{r.value:9.3f}" if r else f"{'-':>9}" for r in ratios)
                print(f"{label:<17}{name:<13}{wall['median']:9.3f}{wall_range:>16}{cpu['median']:9.3f}"
                      f"{rss['median'] / 1024:10.1f}{rss_range:>17}   {tail}")
            label = ""


def mean_rows(comparison):
    """(metric, peer, mean, workloads, losses, wins, worst workload, worst ratio)"""
    for metric in METRICS:
        for peer in comparison.peers:
            mean = comparison.mean(peer, metric)
            if mean is None:
                continue
            there = comparison.workloads_with(peer, metric)
            ratios = {w: comparison.ratios[w, peer, metric] for w in there}
            verdicts = [r.verdict for r in ratios.values()]
            worst = max(ratios, key=lambda w: ratios[w].value)
            yield (metric, peer, mean, len(there), verdicts.count("loss"), verdicts.count("win"), worst,
                   ratios[worst].value)


def terminal_means(comparison):
    print(f"\nGeometric means over whole-process workloads, equal weight, {comparison.subject}'s ratio to each "
          "(below 1 is better), 95% interval:")
    for metric, peer, mean, count, losses, wins, worst, value in mean_rows(comparison):
        print(f"  {METRICS[metric]:<15}{peer:<15}{mean.value:7.3f} [{mean.low:.3f}, {mean.high:.3f}]   {count} "
              f"workloads: {losses} lost, {wins} won; worst {value:.3f} ({worst})")


def terminal_goals(comparison, time_metric):
    print(f"\nBounds ({METRICS[time_metric]}):")
    for goal in goals(comparison, time_metric):
        print(f"  {goal.measure:<60}{goal.found:7.3f}  <= {goal.bound:.2f}  {'kept' if goal.kept else 'MISSED':<7}"
              f"{goal.detail}")


def warn_of_few_rounds(comparison):
    return "" if comparison.fewest_rounds >= FEW_ROUNDS else (
        f"Only {comparison.fewest_rounds} rounds: the intervals are too narrow to be believed; take {FEW_ROUNDS} or more.")


def print_all(comparison, time_metric):
    terminal_table(comparison)
    terminal_means(comparison)
    if comparison.peers:
        terminal_goals(comparison, time_metric)
    warning = warn_of_few_rounds(comparison)
    if warning:
        print(f"\n{warning}")


# --- files ------------------------------------------------------------------------------------------------------


def markdown_table(heading, rows):
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def markdown_best(comparison, metric, scale):
    rows = []
    for workload, peer, ratio in comparison.against_best(metric):
        medians = comparison.medians[workload]
        rows.append([workload, f"{medians[comparison.subject][metric]['median'] * scale:.3g}", peer,
                     f"{medians[peer][metric]['median'] * scale:.3g}", str(ratio),
                     {"loss": "**loss**", "win": "win", "undecided": ""}[ratio.verdict]])
    return rows


def markdown_matrix(comparison, metric):
    rows = []
    for workload in comparison.samples:
        cells = []
        for peer in comparison.peers:
            ratio = comparison.ratios.get((workload, peer, metric))
            mark = "**" if ratio and ratio.verdict == "loss" else ""
            cells.append(f"{mark}{ratio.value:.2f}{mark}" if ratio else "failed")
        rows.append([workload] + cells)
    means = [comparison.mean(peer, metric) for peer in comparison.peers]
    rows.append(["**geometric mean**"] + [f"**{mean.value:.3f}**" if mean else "" for mean in means])
    return rows


def measured_with(comparison, record):
    host = record["host"]
    fewest, most = comparison.fewest_rounds, comparison.most_rounds
    rounds = f"{fewest} interleaved rounds" + ("" if fewest == most else f", up to {most} of what spreads")
    warm = "; free memory is touched before each run" if record.get("warm_up") else ""
    return (f"{host['processor']}, {host['cpus']} processors, Linux {host['kernel']}, {host['libc']}, THP "
            f"`{host['thp']}`; {rounds}{warm}.")


def markdown(comparison, time_metric, record):
    subject = comparison.subject
    parts = [f"# {subject} compared\n",
             f"{measured_with(comparison, record)} Every ratio is {subject}'s to another's: below 1 is better. Brackets "
             "are 95% intervals; a loss or a win is a ratio whose interval excludes 1.\n",
             warn_of_few_rounds(comparison) + "\n" if warn_of_few_rounds(comparison) else "",
             f"## Bounds ({METRICS[time_metric]})\n",
             markdown_table(["measure", "found", "bound", "", ""],
                            [[g.measure, f"{g.found:.3f}", f"<= {g.bound:.2f}", "kept" if g.kept else "**missed**",
                              g.detail] for g in goals(comparison, time_metric)]),
             "## Geometric means\n",
             markdown_table(["", "library", "ratio", "workloads", "lost", "won", "worst"],
                            [[METRICS[metric], peer, f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]", count,
                              losses, wins, f"{value:.2f} ({worst})"]
                             for metric, peer, mean, count, losses, wins, worst, value in mean_rows(comparison)])]
    for metric, scale, unit in ((time_metric, 1, "s"), ("maxrss_kib", 1 / 1024, "MiB")):
        parts += [f"## {capital(METRICS[metric])}, against the best library on each workload\n",
                  markdown_table(["workload", f"{subject} {unit}", "best", unit, "ratio", ""],
                                 markdown_best(comparison, metric, scale)),
                  f"## {capital(METRICS[metric])}, against each library\n",
                  markdown_table(["workload"] + comparison.peers, markdown_matrix(comparison, metric))]
    return "\n".join(part for part in parts if part)


def write_tsv(path, heading, rows):
    with open(path, "w") as file:
        for row in [heading] + rows:
            file.write("\t".join(str(cell) for cell in row) + "\n")


def write_files(comparison, folder, time_metric, record):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "report.md"), "w") as file:
        file.write(markdown(comparison, time_metric, record))
    rows = []
    for workload, by in comparison.medians.items():
        for name in comparison.libraries:
            if name in by:
                cells = [f"{by[name][m][part]:.6g}" for m in METRICS for part in ("median", "min", "max")]
                rows.append([workload, name] + cells)
    heading = ["workload", "library"] + [f"{m}_{part}" for m in METRICS for part in ("median", "min", "max")]
    write_tsv(os.path.join(folder, "medians.tsv"), heading, rows)
    rows = []
    for (workload, peer, metric), ratio in comparison.ratios.items():
        best = "best" if comparison.best(workload, metric) == peer else ""
        rows.append([workload, metric, peer, f"{ratio.value:.4f}", f"{ratio.low:.4f}", f"{ratio.high:.4f}",
                     ratio.verdict, best])
    for metric, peer, mean, *_ in mean_rows(comparison):
        rows.append(["(geometric mean)", metric, peer, f"{mean.value:.4f}", f"{mean.low:.4f}", f"{mean.high:.4f}",
                     mean.verdict, ""])
    write_tsv(os.path.join(folder, "ratios.tsv"),
              ["workload", "metric", "library", "ratio", "low", "high", "verdict", "best"], rows)
