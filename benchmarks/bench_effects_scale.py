"""Effects under selection on a million rows, and weights of ten million.

    python benchmarks/bench_effects_scale.py [--quick | --part {scores,dask,weights}]

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call; ``--fresh`` starts anew. Fits run in processes of their own, whose largest
resident memory is that of the data, made there, and of the fit. ``dask`` compares fits
here with those on a local cluster of two processes (it needs ``dask[distributed]``).
"""

import argparse
import resource
import time
import warnings

import joblib
import numpy as np
from _common import OUTPUT, Report, Runs, limited
from joblib.externals.loky import get_reusable_executor
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from skident.effects import SelectionBiasATE, derm_weights

KEPT = OUTPUT / "effects_scale.jsonl"
STRATEGIES = ("known", "mar", "reference")


def make_case(strategy, n, d, seed):
    """Parameters and arguments of a fit that takes n rows in all; the effect is 1."""
    rng = np.random.default_rng(seed)
    # Of these, n and more are selected.
    drawn = 2 * n if strategy == "known" else n
    X = rng.standard_normal((drawn, d))
    index = X @ (0.4 / np.arange(1, d + 1) ** 2)
    treatment = (rng.random(drawn) < expit(index)) * 1.0
    y = 2 * index + treatment * (1 + X[:, 0]) + rng.standard_normal(drawn)
    prob = 0.2 + 0.8 * expit(index + 0.5 * treatment)
    selected = rng.random(drawn) < prob
    params = {"strategy": strategy, "selection_depends_on": ("X", "T")}
    if strategy == "mar":
        y = np.where(selected, y, np.nan)
        return params, (X, y), {"treatment": treatment, "selected": selected}
    if strategy == "known":
        kept = np.flatnonzero(selected)[:n]
        side = {"treatment": treatment[kept], "selection_prob": prob[kept]}
        return params, (X[kept], y[kept]), side
    half = n // 2
    kept = np.flatnonzero(selected[:half])
    params["x_reference"] = X[half:]
    return params, (X[kept], y[kept]), {"treatment": treatment[kept]}


def fit(strategy, n, d, n_jobs, seed=0, **more):
    params, data, side = make_case(strategy, n, d, seed)
    model = SelectionBiasATE(**params, n_jobs=n_jobs, random_state=0, **more)
    start = time.perf_counter()
    model.fit(*data, **side)
    seconds = time.perf_counter() - start
    if n_jobs == 2:
        # The workers end before this process is ended.
        get_reusable_executor().shutdown()
    return {
        "seconds": seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "effect": model.effect_,
        "stderr": model.stderr_,
    }


def weigh(n, cells=100, classes=4):
    """Seconds, and memory beyond that of the arrays given, in bytes a row."""
    rng = np.random.default_rng(0)
    side = int(np.sqrt(cells))
    settings = rng.integers(0, side, (n, 2), dtype=np.int32)
    y = rng.integers(0, classes, n, dtype=np.int32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    derm_weights(y, settings)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "bytes": (peak - before) * 1024 / n}


def scores(report, runs, n, d):
    rows, apart, slowest = [], [], 0.0
    for strategy in STRATEGIES:
        found = []
        for n_jobs in (1, 2):
            key = ["scores", strategy, n, d, n_jobs]
            found.append(
                runs.get(key, lambda key=key: limited(lambda: fit(*key[1:]), 3600))
            )
        one, two = found
        apart.append(abs(one["effect"] - two["effect"]) / one["stderr"])
        slowest = max(slowest, one["seconds"])
        off = (one["effect"] - 1) / one["stderr"]
        figures = [f"{run['seconds']:.1f}" for run in found]
        figures += [f"{one['gigabytes']:.1f}", f"{one['stderr']:.4f}", f"{off:+.2f}"]
        rows.append([strategy, f"{n:,} x {d}", *figures])
    report.table(
        [
            "strategy",
            "rows",
            "1 job, s",
            "2 jobs, s",
            "memory, GB",
            "standard error",
            "off, in standard errors",
        ],
        rows,
    )
    report.bar("slowest, in seconds", slowest, 120, at_most=True)
    claim = "one job and two, apart in standard errors"
    report.bar(claim, max(apart), 1e-10, at_most=True)
    report.say()


def compare_dask(n, d):
    """How far fits here and on a cluster are apart, in standard errors."""
    import distributed

    forests = {
        "outcome_learner": RandomForestRegressor(10, max_depth=5),
        "propensity_learner": RandomForestClassifier(10, max_depth=5),
        "selection_learner": RandomForestClassifier(10, max_depth=5),
    }
    found = {}
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        for strategy in STRATEGIES:
            for name, learners in (("linear", {}), ("forests", forests)):
                case = strategy, n if name == "linear" else n // 20, d
                here = fit(*case, None, **learners)
                with joblib.parallel_config(backend="dask"):
                    there = fit(*case, None, **learners)
                found[f"{strategy}, {name}"] = {
                    "apart": abs(here["effect"] - there["effect"]) / here["stderr"],
                    "here": here["seconds"],
                    "there": there["seconds"],
                }
    return found


def dask(report, runs, n, d):
    found = runs.get(["dask", n, d], lambda: compare_dask(n, d))
    report.table(
        ["fit", "here, s", "cluster, s", "apart, in standard errors"],
        [
            [name, f"{run['here']:.1f}", f"{run['there']:.1f}", f"{run['apart']:.1e}"]
            for name, run in found.items()
        ],
    )
    largest = max(run["apart"] for run in found.values())
    report.bar("here and on a cluster, apart", largest, 1e-10, at_most=True)
    report.say()


def weights(report, runs, sizes):
    found = []
    for n in sizes:
        key = ["weights", n]
        found.append(runs.get(key, lambda n=n: limited(lambda: weigh(n), 600)))
    report.table(
        ["rows", "cells", "seconds", "memory, bytes a row"],
        [
            [f"{n:,}", 100, f"{run['seconds']:.2f}", f"{run['bytes']:.0f}"]
            for n, run in zip(sizes, found, strict=True)
        ],
    )
    claim = f"weights of {sizes[-1]:,} rows, seconds"
    report.bar(claim, found[-1]["seconds"], 5, at_most=True)
    growth = found[-1]["bytes"] / found[0]["bytes"]
    claim = f"memory a row, {sizes[-1]:,} rows over {sizes[0]:,}"
    report.bar(claim, growth, 1.2, at_most=True)
    report.say()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument("--part", choices=["scores", "dask", "weights"])
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("effects_scale", "Effects under selection on many rows")
    cases = {
        "scores": (1_000_000, 50),
        "dask": (100_000, 50),
        "weights": ((2_500_000, 10_000_000),),
    }
    if args.quick:
        cases = {
            "scores": (20_000, 20),
            "dask": (10_000, 10),
            "weights": ((250_000, 1_000_000),),
        }
    parts = {"scores": scores, "dask": dask, "weights": weights}
    for name in [args.part] if args.part else parts:
        parts[name](report, runs, *cases[name])
    if not args.quick and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
