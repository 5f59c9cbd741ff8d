"""Effects with outcomes missing at random, beside doubleml's sample-selection model.

    python benchmarks/bench_selection_mar.py [--quick | --part {point,linear,forests}]

The same data, learners and folds. Every fit is written to ``benchmarks/output`` as it
ends, and not run again by a later call; ``--fresh`` starts anew. Seconds are of one
core, of contenders that take turns.

doubleml fits each learner to the rows of each fold. So do we, but for linear learners,
whose fits to all folds share their passes over the rows: it is given scikit-learn's,
by two solvers, and ours. Ours models the selection of each arm by itself, doubleml's
that of both with the treatment as one more column.
"""

import argparse
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from skident.effects import SelectionBiasATE
from skident.effects._nuisances import (
    default_classifier,
    default_outcome,
    make_folds,
    row_order,
)
from skident.effects._selection_scores import mar_effect

KEPT = OUTPUT / "selection_mar.jsonl"
LEARNERS = {
    "scikit-learn": lambda: (LinearRegression(), LogisticRegression()),
    "scikit-learn, newton-cholesky": lambda: (
        LinearRegression(),
        LogisticRegression(solver="newton-cholesky"),
    ),
    "ours": lambda: (default_outcome(), default_classifier()),
    "forests": lambda: (
        RandomForestRegressor(50, min_samples_leaf=5, max_features=0.5, random_state=0),
        RandomForestClassifier(
            50, min_samples_leaf=5, max_features=0.5, random_state=0
        ),
    ),
}


def make_data(n, d, seed):
    """Selection depends on the covariates and the treatment; the effect is 1."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    index = X @ (0.4 / np.arange(1, d + 1) ** 2)
    treatment = (rng.random(n) < expit(1.5 * index)) * 1.0
    odds = 2 * index - 0.5 + treatment * (0.8 + 0.5 * X[:, 0])
    selected = rng.random(n) < expit(odds)
    y = 2 * index + treatment * (1 + X[:, 0]) + rng.standard_normal(n)
    return X, np.where(selected, y, np.nan), treatment, selected


def folds_of(data, seed):
    """Those that :func:`mar_effect` draws with the seed."""
    X, y, treatment, selected = data
    order = row_order(X, np.where(selected, y, 0.0), selected)
    return make_folds(5, treatment + 2 * selected, seed, order=order)


def fit_doubleml(data, learners, folds=None, seed=0):
    """doubleml's model, fitted; its folds are its own without ``folds``."""
    import doubleml

    X, y, treatment, selected = data
    y = np.where(selected, y, 0.0)
    np.random.seed(seed)  # noqa: NPY002 - it draws its folds from the global generator
    table = doubleml.DoubleMLSSMData.from_arrays(X, y, treatment, s=selected * 1.0)
    outcome, classifier = learners
    model = doubleml.DoubleMLSSM(
        table, outcome, classifier, classifier, draw_sample_splitting=folds is None
    )
    if folds is not None:
        model.set_sample_splitting([folds])
    return model.fit()


def compare_points(n, d, seed):
    """Estimates, standard errors, and how far their score of our nuisances is off."""
    data = make_data(n, d, seed)
    _, y, treatment, selected = data
    folds = folds_of(data, seed)
    theirs = fit_doubleml(data, LEARNERS["scikit-learn"](), folds)
    ours = mar_effect(*data, random_state=seed)
    # Our nuisances in their score.
    seen = np.where(selected, y, 0.0)
    _, score = theirs._score_elements(
        treatment == 1,
        treatment == 0,
        ours.outcome_means[:, 1],
        ours.outcome_means[:, 0],
        ours.selection_prob,
        ours.propensity,
        selected * 1.0,
        seen,
    )
    return {
        "ours": [ours.effect, ours.stderr],
        "doubleml": [float(theirs.coef[0]), float(theirs.se[0])],
        "score": abs(float(score.mean()) - ours.effect),
        "naive": float(y[selected & (treatment == 1)].mean())
        - float(y[selected & (treatment == 0)].mean()),
    }


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_ours(data, learners=(None, None)):
    X, y, treatment, selected = data
    outcome, classifier = learners
    model = SelectionBiasATE(
        "mar",
        ("X", "T"),
        outcome_learner=outcome,
        propensity_learner=classifier,
        selection_learner=classifier,
        random_state=0,
    )
    return timed(lambda: model.fit(X, y, treatment=treatment, selected=selected))


def compare_times(n, d, seed, names, same):
    """Seconds of our fit and of doubleml's with each of the learners.

    With ``same``, ours has theirs; else its own defaults.
    """
    data = make_data(n, d, seed)
    found = {}
    for name in names:
        mine = LEARNERS[name]() if same else (None, None)
        found[f"ours beside {name}"] = time_ours(data, mine)
        learners = LEARNERS[name]()
        found[name] = timed(
            lambda learners=learners: fit_doubleml(data, learners, seed=seed)
        )
    return found


def point(report, runs, n, d, n_runs):
    """Bias, spread and coverage of both."""
    for seed in range(n_runs):
        key = ["point", n, d, seed]
        runs.get(key, lambda key=key: compare_points(*key[1:]))
    found = runs.some("point", n, d)
    rows = []
    for name in ("ours", "doubleml"):
        effects, errors = np.array([run[name] for run in found]).T
        covered = np.abs(effects - 1) < 1.96 * errors
        figures = effects.mean() - 1, effects.std(), errors.mean(), covered.mean()
        rows.append([name, *(f"{value:.3f}" for value in figures)])
    naive = np.mean([run["naive"] for run in found]) - 1
    report.say(f"{len(found)} data sets of n = {n:,}, d = {d}; the same folds.")
    report.say(f"The difference of the selected arms' means is off by {naive:.2f}.")
    report.say()
    report.table(["", "bias", "sd", "mean standard error", "coverage"], rows)
    apart = [
        abs(run["ours"][0] - run["doubleml"][0]) / run["doubleml"][1] for run in found
    ]
    report.say(f"Apart by {np.max(apart):.2f} standard errors at most.")
    report.say()
    score = max(run["score"] for run in found)
    report.bar("our nuisances in their score, apart", score, 1e-8, at_most=True)
    claim = "apart in standard errors, mean"
    report.bar(claim, float(np.mean(apart)), 0.5, at_most=True)
    report.bar("size of the bias", abs(float(rows[0][1])), 0.03, at_most=True)
    report.bar("coverage", float(rows[0][4]), 0.90, at_most=False)
    report.bar("coverage", float(rows[0][4]), 0.98, at_most=True)
    report.say()


def times(report, runs, part, sizes, names, n_runs, bar):
    """Seconds of both, and their ratio."""
    rows, ratios = [], []
    for n, d in sizes:
        for seed in range(n_runs):
            key = [part, n, d, seed]
            runs.get(
                key,
                lambda key=key: compare_times(*key[1:], names, same=part == "forests"),
            )
        found = runs.some(part, n, d)
        for name in names:
            theirs = np.median([run[name] for run in found])
            ours = np.median([run[f"ours beside {name}"] for run in found])
            ratio = np.median([run[f"ours beside {name}"] / run[name] for run in found])
            ratios.append(float(ratio))
            figures = f"{ours:.2f}", f"{theirs:.2f}", f"{ratio:.3f}"
            rows.append([f"{n:,}", d, name, len(found), *figures])
    report.table(
        ["n", "d", "doubleml's learners", "runs", "ours, s", "doubleml, s", "ratio"],
        rows,
    )
    claim = f"{part}: seconds over doubleml's, largest"
    report.bar(claim, max(ratios), bar, at_most=True)
    report.say()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, not kept")
    parser.add_argument(
        "--part", choices=["point", "linear", "forests"], help="only one"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("selection_mar", "Outcomes missing at random, beside doubleml")
    cases = {
        "point": (2000, 5, 200),
        "linear": ([(100_000, 20), (100_000, 50)], 5),
        "forests": ([(20_000, 20)], 3),
    }
    if args.quick:
        cases = {
            "point": (2000, 5, 8),
            "linear": ([(20_000, 20)], 2),
            "forests": ([(500, 10)], 1),
        }
    chosen = [args.part] if args.part else list(cases)
    linear = ["scikit-learn", "scikit-learn, newton-cholesky", "ours"]
    if "point" in chosen:
        point(report, runs, *cases["point"])
    if "linear" in chosen:
        sizes, n_runs = cases["linear"]
        times(report, runs, "linear", sizes, linear, n_runs, 1 / 3)
    if "forests" in chosen:
        sizes, n_runs = cases["forests"]
        times(report, runs, "forests", sizes, ["forests"], n_runs, 1.1)
    if not args.quick and args.part is None:
        report.write()


if __name__ == "__main__":
    main()
