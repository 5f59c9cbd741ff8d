"""Shifted latent nodes: the published table, beside our defaults, and the error level.

    python benchmarks/bench_shifted_nodes.py [--quick | --part {table,null,rows}]

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call: stop and go on at will. ``--fresh`` starts anew. The results file is written by a
call without ``--quick`` and ``--part``.

Nodes found are named through the true unmixing of the first environment; for the
published procedure by their rank of psi, as it does itself. Seconds are CPU seconds
(fair on a busy machine) of a fit with a fixed threshold; the calibration comes on top
and has its own column.
"""

import argparse
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_info

from skident.datasets import make_latent_shift
from skident.discovery import ShiftedNodeDetector
from skident.metrics import shifted_node_scores

KEPT = OUTPUT / "shifted_nodes.jsonl"
GRAPHS = [(graph, degree) for degree in (2, 4, 6) for graph in ("er", "sf")]
DIMENSIONS = (5, 10, 20, 30, 40)
SEEDS = {100_000: range(10), 1_000_000: range(3)}
FIXED = 0.15
# Least precision and F1 of 20 nodes with two edges each.
LIMITS = {"ours": (0.90, 0.93), "fixed": (0.97, 0.95)}
NAMES = {"ours": "calibrated", "fixed": "fixed"}
N_NULL = 200
# (rows of the two environments, latents, noise, further parameters)
NULLS = [
    ((5000, 5000), 5, "distinct", {}),
    ((2000, 8000), 5, "laplace", {}),
    ((10_000, 10_000), 10, "distinct", {}),
    ((3000, 3000), 5, "laplace", {"statistic": "abs"}),
    ((3000, 3000, 3000, 3000), 5, "laplace", {}),
]
# F1 and seconds as published, n = 10^6, mean of 10 data sets.
PUBLISHED = {
    ("er", 2): {5: (1.0, 1.23), 10: (1.0, 3.84), 20: (0.873, 10.34)}
    | {30: (0.689, 20.06), 40: (0.605, 30.59)},
    ("sf", 2): {5: (0.9, 1.64), 10: (1.0, 3.84), 20: (0.817, 15.85)}
    | {30: (0.739, 22.12), 40: (0.667, 30.29)},
    ("er", 4): {10: (1.0, 3.89), 20: (0.933, 9.39)}
    | {30: (0.607, 30.83), 40: (0.613, 32.08)},
    ("sf", 4): {10: (1.0, 3.13), 20: (0.927, 15.12)}
    | {30: (0.711, 29.79), 40: (0.535, 30.84)},
}


def timed_fit(data, detector):
    start = time.process_time()
    detector.fit(data.X, environments=data.environments)
    return time.process_time() - start


def true_nodes(detector, data):
    """True node of each component, through the true unmixing."""
    A, B = detector.unmixing_[0], data.unmixing[0]
    lengths = np.abs(A).sum(axis=1)[:, None] + np.abs(B).sum(axis=1)
    apart = [
        np.minimum(np.abs(a - B).sum(axis=1), np.abs(a + B).sum(axis=1)) for a in A
    ]
    return linear_sum_assignment(np.array(apart) / lengths)[1]


def evaluate(graph, degree, d, n, seed):
    """Scores and seconds of all contenders on one data set."""
    data = make_latent_shift(n, d, graph=graph, degree=degree, random_state=seed)
    true = data.shifted[0, 1]

    def scores(nodes):
        found = shifted_node_scores(true, np.asarray(nodes, dtype=int))
        return [round(found[name], 4) for name in ("precision", "recall", "f1")]

    result = {}
    fixed = ShiftedNodeDetector(d, threshold=FIXED, random_state=seed)
    result["seconds"] = timed_fit(data, fixed)
    result["fixed"] = scores(true_nodes(fixed, data)[fixed.shifted_nodes_])
    ours = ShiftedNodeDetector(d, random_state=seed)
    # The same search, and the calibration.
    result["calibration"] = timed_fit(data, ours) - result["seconds"]
    result["ours"] = scores(true_nodes(ours, data)[ours.shifted_nodes_])
    result["undecided"] = len(ours.undecided_nodes_)
    paper = ShiftedNodeDetector.paper(d, random_state=seed)
    result["paper_seconds"] = timed_fit(data, paper)
    # Its components come sorted by psi, and the generator's laws too.
    result["paper"] = scores(paper.shifted_nodes_)
    return result


def false_findings(sizes, d, noise, params, seed):
    """Number of components found where nothing has shifted."""
    data = make_latent_shift(
        list(sizes),
        d,
        n_environments=len(sizes),
        shift="none",
        noise=noise,
        random_state=seed,
    )
    detector = ShiftedNodeDetector(d, random_state=seed, **params)
    detector.fit(data.X, environments=data.environments)
    return len(detector.shifted_nodes_)


def mean_of(results, name):
    return np.mean([result[name] for result in results], axis=0)


def triple(values):
    return " / ".join(f"{value:.2f}" for value in values)


def table(report, runs, cases):
    """Run the cases of the table and print it."""
    for graph, degree, d, n, seeds in cases:
        for seed in seeds:
            key = ["table", graph, degree, d, n, seed]
            runs.get(key, lambda key=key: evaluate(*key[1:]))
    rows = []
    for graph, degree, d, n, _ in cases:
        found = runs.some("table", graph, degree, d, n)
        published = PUBLISHED.get((graph, degree), {}).get(d) if n >= 10**6 else None
        rows.append(
            [
                f"{graph.upper()}{degree}",
                d,
                f"{n:,}",
                len(found),
                triple(mean_of(found, "ours")),
                triple(mean_of(found, "fixed")),
                triple(mean_of(found, "paper")),
                "-" if published is None else f"{published[0]:.2f}",
                f"{mean_of(found, 'seconds'):.2f}",
                f"{mean_of(found, 'calibration'):.1f}",
                f"{mean_of(found, 'paper_seconds'):.2f}",
                "-" if published is None else f"{published[1]:.1f}",
            ]
        )
    report.table(
        [
            "graph",
            "d",
            "n",
            "data sets",
            "calibrated: P / R / F1",
            f"fixed {FIXED}: P / R / F1",
            "published preset: P / R / F1",
            "F1 in print",
            "CPU s",
            "calibration, CPU s",
            "preset, CPU s",
            "in print, s",
        ],
        rows,
    )


def null(report, runs, nulls, n_runs):
    """Run fits of data without any shift, and print the error level."""
    rows = []
    for sizes, d, noise, params in nulls:
        key = ["null", list(sizes), d, noise, params]
        for seed in range(n_runs):
            runs.get(
                [*key, seed],
                lambda seed=seed, case=(sizes, d, noise, params): false_findings(
                    *case, seed
                ),
            )
        false = np.array(runs.some(*key)) > 0
        error = np.sqrt(0.05 * 0.95 / len(false))
        settings = ", ".join(f"{name}={value}" for name, value in params.items())
        rows.append(
            [
                " + ".join(f"{n:,}" for n in sizes),
                d,
                noise,
                settings or "defaults",
                len(false),
                f"{false.mean():.3f}",
                f"{error:.3f}",
            ]
        )
    report.table(
        ["rows", "d", "noises", "settings", "fits", "with a finding", "s.e. of 0.05"],
        rows,
    )
    return [float(row[5]) for row in rows]


def bars(report, runs, levels):
    """Verdicts on the claims that the runs so far can judge."""
    for d in (30, 40):
        for n in SEEDS:
            found = [
                result
                for graph, degree in GRAPHS[:4]
                for result in runs.some("table", graph, degree, d, n)
            ]
            if found:
                value = mean_of(found, "ours")[2]
                claim = f"F1, degrees 2 and 4, d = {d}, n = {n:,}"
                report.bar(claim, value, 0.95, at_most=False)
    for graph in ("er", "sf"):
        found = runs.some("table", graph, 2, 20, 100_000)
        for name, limits in LIMITS.items() if found else ():
            what = f"{NAMES[name]} threshold, {graph.upper()}2, d = 20, n = 100,000"
            precision, _, f1 = mean_of(found, name)
            report.bar(f"precision, {what}", precision, limits[0], at_most=False)
            report.bar(f"F1, {what}", f1, limits[1], at_most=False)
    found = runs.some("table", "er", 2, 10, 20_000)
    if found:
        value = mean_of(found, "ours")[2]
        report.bar("F1, ER2, d = 10, n = 20,000", value, 0.97, at_most=False)
    found = runs.some("table", "er", 2, 40, 1_000_000)
    if found:
        ratio = mean_of(found, "seconds") / PUBLISHED["er", 2][40][1]
        claim = "CPU seconds over those in print, ER2, d = 40, n = 1,000,000"
        report.bar(claim, ratio, 1 / 3, at_most=True)
    if levels:
        # 0.05, and two standard errors of 200 fits.
        report.bar("largest family-wise error", max(levels), 0.081, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument("--part", choices=["table", "rows", "null"], help="only one")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("shifted_nodes", "Shifted latent nodes")
    threads = max(lib["num_threads"] for lib in threadpool_info())
    report.say(f"BLAS threads: {threads}. p = 2 d; two environments of n rows each.")
    report.say()
    full = [(*g, d, n, SEEDS[n]) for n in SEEDS for g in GRAPHS for d in DIMENSIONS]
    few = [(d, n) for d in (5, 10, 20) for n in (1000, 5000, 20_000)]
    parts = {"table": full, "rows": [("er", 2, d, n, range(10)) for d, n in few]}
    nulls, n_runs, levels = NULLS, N_NULL, []
    if args.quick:
        parts = {"table": [("er", 2, 5, 20_000, range(2))], "rows": []}
        parts["rows"] = [("sf", 2, 10, 5000, range(2))]
        nulls, n_runs = NULLS[1:2], 10
    chosen = [args.part] if args.part else [*parts, "null"]
    for part in parts:
        if part in chosen:
            table(report, runs, parts[part])
    if "null" in chosen:
        report.say("Nothing has shifted; level 0.05 over all nodes and pairs:")
        report.say()
        levels = null(report, runs, nulls, n_runs)
    bars(report, runs, levels)
    if not args.quick and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
