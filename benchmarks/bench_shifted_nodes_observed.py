"""Shifted nodes that are measured themselves, beside methods that need that.

    python benchmarks/bench_shifted_nodes_observed.py [--quick]

The mixing is the identity, so that methods for observed variables apply: iSCAN (Stein
estimates, nonlinear additive noise) and row differences of LiNGAM, each row of
Ω^(-1/2) (I - A) scored as ours and found above the same fixed threshold. Ours knows
nothing of the identity; its components are named through the true unmixing, those of
the others are the features. DCI, of which figures are in print, has no release here.

iSCAN holds n x n x d differences (16 GB for 10^4 rows of five nodes in each of two
environments): it gets the first 1,000 rows of each. A peer that takes more than 600 s
is stopped, and not tried on larger data of the kind. Peers are left out where they are
not installed (requirements/bench.txt).

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call: stop and go on at will. ``--fresh`` starts anew. The results file is written by a
call without ``--quick``.
"""

import argparse
import importlib
import importlib.util
import sys
import time
import types
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs, limited
from bench_shifted_nodes import FIXED, mean_of, triple, true_nodes
from threadpoolctl import threadpool_info

from skident.datasets import make_latent_shift
from skident.discovery import ShiftedNodeDetector
from skident.metrics import shifted_node_scores

LIMIT = 600.0
ISCAN_ROWS = 1000
DEGREES, DIMENSIONS, SIZES, SEEDS = (2, 4), (5, 10, 15), (10_000, 100_000), range(10)
# F1 of the published procedure and of DCI, as published; n is not stated there.
PUBLISHED = {
    (2, 5): (0.80, 0.60),
    (2, 10): (1.00, 0.92),
    (2, 15): (0.78, 0.84),
    (4, 10): (1.00, 0.89),
    (4, 15): (0.73, 0.81),
}


def calibrated(data, seed):
    """ShiftedNodeDetector with its defaults."""
    d = data.X.shape[1]
    detector = ShiftedNodeDetector(d, random_state=seed)
    detector.fit(data.X, environments=data.environments)
    return {"skident": true_nodes(detector, data)[detector.shifted_nodes_]}


def preset(data, seed):
    """The published procedure; its components come sorted as the generator's laws."""
    detector = ShiftedNodeDetector.paper(data.X.shape[1], random_state=seed)
    detector.fit(data.X, environments=data.environments)
    return {"published preset": detector.shifted_nodes_}


def lingam_rows(data, seed):
    """Relative difference of the rows of two graphs with a common order."""
    from causallearn.search.FCMBased.lingam import MultiGroupDirectLiNGAM

    blocks = [data.X[data.environments == k] for k in (0, 1)]
    model = MultiGroupDirectLiNGAM(random_state=seed)
    model.fit(blocks)
    rows = []
    for X, weights in zip(blocks, model.adjacency_matrices_, strict=True):
        maps = np.eye(len(weights)) - weights
        rows.append(maps / (X @ maps.T).std(axis=0)[:, None])
    apart = np.abs(rows[0] - rows[1]).sum(axis=1) / np.abs(rows).sum(axis=(0, 2))
    return {"LiNGAM rows": np.flatnonzero(apart > FIXED)}


def iscan_module():
    """The nodes of iSCAN alone: its package also loads R, for edges."""
    if "iscan" not in sys.modules:
        found = importlib.util.find_spec("iscan")
        if found is None:
            raise ImportError("No module named 'iscan'")
        package = types.ModuleType("iscan")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["iscan"] = package
    return importlib.import_module("iscan.shifted_nodes")


def iscan(data, seed):
    """Its default, an elbow of variance ratios, and its other rule, a ratio above 2."""
    blocks = [data.X[data.environments == k][:ISCAN_ROWS] for k in (0, 1)]
    elbow, _, ratios = iscan_module().est_node_shifts(*blocks)
    above = [node for node, ratio in ratios.items() if ratio > 2]
    return {"iSCAN, elbow": elbow, "iSCAN, ratio 2": above}


CONTENDERS = {"skident": calibrated, "published preset": preset}
# What tells whether a peer is installed.
PEERS = {
    "LiNGAM rows": (
        lingam_rows,
        lambda: importlib.import_module("causallearn.search.FCMBased.lingam"),
    ),
    "iSCAN": (iscan, iscan_module),
}


def peers():
    """Those that are installed; loaded, so that no fit counts the seconds of that."""
    found = {}
    for name, (run, load) in PEERS.items():
        try:
            load()
        except ImportError as error:
            print(f"left out: {name} ({error})")
        else:
            found[name] = run
    return found


def evaluate(run, degree, d, n, seed):
    """Precision, recall and F1 of each rule of a contender, and its CPU seconds."""
    data = make_latent_shift(n, d, degree=degree, mixing="identity", random_state=seed)
    start = time.process_time()
    found = run(data, seed)
    seconds = time.process_time() - start
    result = {}
    for name, nodes in found.items():
        scores = shifted_node_scores(data.shifted[0, 1], np.asarray(nodes, dtype=int))
        result[name] = [round(scores[key], 4) for key in ("precision", "recall", "f1")]
    return {"scores": result, "seconds": round(seconds, 3)}


def stopped(runs, name, d, n):
    """Whether a peer was stopped on data that is no larger."""
    return any(
        isinstance(result, str) and result.startswith(">")
        for degree in DEGREES
        for nodes in DIMENSIONS
        for rows in SIZES
        if nodes <= d and rows <= n
        for result in runs.some("observed", name, degree, nodes, rows)
    )


def run_all(runs, cases, contenders, rivals):
    """All contenders on all data, small ones first."""
    for degree, d, n, seeds in sorted(cases, key=lambda case: case[1:3]):
        for name, run in (contenders | rivals).items():
            for seed in seeds:
                if name in rivals and stopped(runs, name, d, n):
                    break

                def one(run=run, case=(degree, d, n, seed), rival=name in rivals):
                    if rival:
                        return limited(lambda: evaluate(run, *case), LIMIT)
                    return evaluate(run, *case)

                runs.get(["observed", name, degree, d, n, seed], one)


def rows_of(runs, name, degree, d, n):
    """Rows of the table, one a rule: mean scores and median CPU seconds."""
    found = runs.some("observed", name, degree, d, n)
    whole = [result for result in found if isinstance(result, dict)]
    if not whole:
        late = stopped(runs, name, d, n)
        why = f"stopped at {LIMIT:g} s" if late else [*found, None][0]
        return [] if why is None else [[name, why, "", 0]]
    seconds = np.median([result["seconds"] for result in whole])
    return [
        [
            rule,
            triple(mean_of([result["scores"] for result in whole], rule)),
            f"{seconds:.2f}",
            len(whole),
        ]
        for rule in whole[0]["scores"]
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    path = OUTPUT / "shifted_nodes_observed.jsonl"
    if args.fresh:
        path.unlink(missing_ok=True)
    runs = Runs(None if args.quick else path)
    rivals = peers()
    cases = [(m, d, n, SEEDS) for m in DEGREES for d in DIMENSIONS for n in SIZES]
    if args.quick:
        cases = [(2, 5, SIZES[0], range(2))]
    run_all(runs, cases, CONTENDERS, rivals)
    report = Report("shifted_nodes_observed", "Shifted nodes that are measured")
    threads = max(lib["num_threads"] for lib in threadpool_info())
    report.say(
        f"BLAS threads: {threads}. Erdős-Rényi graphs, no mixing; two environments of "
        f"n rows each, iSCAN on {ISCAN_ROWS:,} of each; LiNGAM's rows found above "
        f"{FIXED}."
    )
    report.say()
    for degree, d, n, _ in cases:
        title = f"**{degree} edges a node, {d} nodes, n = {n:,}**"
        if (degree, d) in PUBLISHED:
            ours, dci = PUBLISHED[degree, d]
            title += f" (F1 in print: {ours:.2f}, DCI {dci:.2f})"
        report.say(title)
        report.say()
        rows = []
        for name in [*CONTENDERS, *PEERS]:
            rows += rows_of(runs, name, degree, d, n)
        report.table(["method", "P / R / F1", "CPU s", "data sets"], rows)
    if not args.quick:
        report.write()


if __name__ == "__main__":
    main()
