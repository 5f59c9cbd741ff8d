"""Score matching under selection by rule and outcome, beside cubic regression.

    python benchmarks/bench_score_matching.py [--quick]

Five draws of the published generator, with its defaults: "SM", which takes selection to
ignore the outcome, "SM+beta" with the weights of this library and of the paper, and
cubic regressions of the two arms averaged over the rows. Every fit is written to
``benchmarks/output`` as it ends, and not run again by a later call; ``--fresh`` starts
anew.
"""

import argparse
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs

from skident.datasets import make_selection_bias
from skident.effects import ScoreMatchingSelectionATE

KEPT = OUTPUT / "score_matching.jsonl"
SEEDS = range(5)
SETTINGS = {
    "SM+beta": {},
    "SM+beta, weights as in print": {"reweight": "paper"},
    "SM+beta, batches of 64": {"batch_size": 64},
    "SM": {"estimate_selection": False},
}


def cubic(data):
    """Difference of cubic regressions of the two arms, averaged over the rows."""
    basis = np.vander(data.X[:, 0], 4)
    treated, control = (
        np.linalg.lstsq(basis[rows], data.y[rows], rcond=None)[0]
        for rows in (data.treatment == 1, data.treatment == 0)
    )
    return float((basis @ (treated - control)).mean())


def evaluate(name, seed, epochs):
    """Error of one estimate, and its seconds of processor time."""
    data = make_selection_bias(random_state=seed)
    start = time.process_time()
    if name == "cubic":
        effect = cubic(data)
    else:
        params = SETTINGS[name] | ({} if epochs is None else {"max_epochs": epochs})
        model = ScoreMatchingSelectionATE(device="cpu", random_state=seed, **params)
        effect = model.fit(data.X, data.y, treatment=data.treatment).effect_
    seconds = time.process_time() - start
    return {"error": effect - data.true_effect, "seconds": round(seconds, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    seeds, epochs = (range(2), 5) if args.quick else (SEEDS, None)
    report = Report("score_matching", "Score matching under selection")
    rows, size = [], {}
    for name in ("cubic", *SETTINGS):
        found = [
            runs.get([name, s], lambda name=name, s=s: evaluate(name, s, epochs))
            for s in seeds
        ]
        errors = np.array([result["error"] for result in found])
        size[name] = np.abs(errors).mean()
        each = ", ".join(f"{error:+.2f}" for error in errors)
        seconds = np.mean([result["seconds"] for result in found])
        rows.append([name, each, f"{size[name]:.2f}", f"{seconds:.0f}"])
    report.table(["", "errors, seed by seed", "mean size", "processor seconds"], rows)
    report.bar("mean size of SM+beta's error", size["SM+beta"], 1.0, at_most=True)
    ratio = size["SM+beta"] / size["cubic"]
    report.bar("that over the cubic regression's", ratio, 1.0, at_most=True)
    if not args.quick:
        report.write()


if __name__ == "__main__":
    main()
