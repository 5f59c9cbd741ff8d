"""Effects of a whole population from selected rows, beside what others do.

    python benchmarks/bench_selection_bias.py [--quick | --part {both,rule,laplace}]
        [--no-nets]

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call: stop and go on at will. ``--fresh`` starts anew. The results file is written by a
call without ``--quick``, of whatever is there by then.

Errors are from the mean effect in the very population that was drawn. Intervals are of
95 %, where a contender has them, and count as covering that effect or not; those for
the law of the population (a mean effect of 5.62) leave out how its rows were drawn.
"""

import argparse
import time

import numpy as np
from _common import OUTPUT, Report, Runs
from _effect_peers import CONTENDERS

from skident.datasets import make_selection_bias

KEPT = OUTPUT / "selection_bias.jsonl"
N_SEEDS = 20
PARTS = {
    "both": ("a rule and the outcome, normal noise", {}),
    "rule": ("a rule alone", {"nondeterministic": False}),
    "laplace": ("a rule and the outcome, Laplace noise", {"noise": "laplace"}),
}
OURS = "joint on Y, rule"
OURS_X = "joint on Y, rule, population X"
PUBLISHED = "SM+beta, rule"


def evaluate(part, name, seed):
    """Error, cover and seconds of a contender on one data set."""
    data = make_selection_bias(random_state=seed, **PARTS[part][1])
    start = time.perf_counter()
    effect, low, high = CONTENDERS[name](data, seed)
    seconds = time.perf_counter() - start
    truth = data.true_effect
    return {
        "error": float(effect - truth),
        "covers": float("nan") if np.isnan(low) else float(low <= truth <= high),
        "seconds": seconds,
    }


def rmse(found):
    return float(np.sqrt(np.mean([result["error"] ** 2 for result in found])))


def share(covers):
    """Of the intervals that there are; NaN without any."""
    return float(np.nanmean(covers)) if np.isfinite(covers).any() else np.nan


def number(value, digits=3):
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def table(report, runs, part, names, n_seeds):
    """Run the contenders of a part and print what they gave."""
    for seed in range(n_seeds):
        for name in names:
            runs.get(
                [part, name, seed],
                lambda key=(part, name, seed): evaluate(*key),
            )
    report.say(f"Selection by {PARTS[part][0]}:")
    report.say()
    rows = []
    for name in names:
        found = runs.some(part, name)
        columns = {key: np.array([result[key] for result in found]) for key in found[0]}
        error = columns["error"]
        answered = ~np.isnan(error)
        rows.append(
            [
                name,
                f"{answered.sum()} of {len(error)}",
                number(np.nanmean(error)),
                number(float(np.nanstd(error))),
                number(float(np.sqrt(np.nanmean(error**2)))),
                number(share(columns["covers"]), 2),
                number(float(np.mean(columns["seconds"])), 2),
            ]
        )
    report.table(
        ["contender", "answers", "bias", "sd", "RMSE", "coverage", "seconds"], rows
    )


def bars(report, runs):
    """Verdicts on the claims that the runs so far can judge."""
    ours, theirs = runs.some("both", OURS), runs.some("both", PUBLISHED)
    if ours and theirs:
        ratio = rmse(ours) / rmse(theirs)
        report.bar("RMSE over that of SM+beta", ratio, 0.5, at_most=True)
        beside = rmse(runs.some("both", OURS_X)) / rmse(theirs)
        report.bar("the same with the population's X", beside, 0.5, at_most=True)
        cubic = runs.some("both", "cubic")
        mean = np.mean([abs(result["error"]) for result in theirs])
        report.bar("mean error of SM+beta", mean, 1.0, at_most=True)
        ratio = mean / np.mean([abs(result["error"]) for result in cubic])
        report.bar("the same over that of the cubic", ratio, 1.0, at_most=True)
        report.bar(
            "coverage of 95 % intervals",
            float(np.mean([result["covers"] for result in ours])),
            0.83,
            at_most=False,
        )
    rule = runs.some("rule", "extrapolate, rule")
    if rule:
        report.bar("RMSE of extrapolate under a rule", rmse(rule), 0.16, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes, not kept")
    parser.add_argument("--part", choices=list(PARTS), help="only one")
    parser.add_argument(
        "--no-nets", action="store_true", help="without SM, which takes half a minute"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("selection_bias", "Selection by treatment and outcome")
    report.say(
        f"Populations of 5000, of which about 2000 are selected; {N_SEEDS} seeds. The "
        "nets, in the first part, train for their default number of epochs on one "
        "core. Errors and coverage are of the mean effect in the 5000 rows drawn, "
        "which has a standard deviation of 0.07 over seeds: intervals for the law "
        "behind them, of contenders without the population's X, are too short for it "
        "by design."
    )
    report.say()
    for part in [args.part] if args.part else PARTS:
        names = list(CONTENDERS)
        # The nets take most of the time: once is enough.
        if args.quick or args.no_nets or part != "both":
            names = [name for name in names if not name.startswith("SM")]
        table(report, runs, part, names, 2 if args.quick else N_SEEDS)
    bars(report, runs)
    if not (args.quick or args.no_nets) and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
