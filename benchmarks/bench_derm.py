"""Effects on predictions of a second experiment, by how the first one was weighted.

Training data show their settings, and the outcome depends on them. The same linear
learner is trained plainly (ERM), with the weights of Kamiran and Calders, with inverse
frequencies of outcome and cell, and with those of DERM; linear networks are trained
with the penalties of vREx and IRM. Effects on their predictions are compared with the
truth, where the treatment has no effect and where it has one. In the third problem the
outcome never occurs in one cell of the settings.
"""

import argparse
import time
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs
from sklearn.linear_model import LogisticRegression

from skident.datasets import make_causal_digits, make_ppci_shortcut
from skident.effects import (
    DERMClassifier,
    IRMClassifier,
    VRExClassifier,
    aipw_ate,
)

KEPT = OUTPUT / "derm.jsonl"
SEEDS = range(10)
METHODS = {
    "ERM": "plain training",
    "Kamiran-Calders": "P(y) P(z) / P(y, z)",
    "inverse P(y, z)": "1 / P(y, z)",
    "DERM": "Var(y | z) / P(y, z)",
    "DERM, corrected": "and correction='label_shift'",
    "vREx 0.1": "penalty 0.1, as published",
    "vREx 10": "penalty 10",
    "IRM 0.1": "penalty 0.1, as published",
    "IRM 10": "penalty 10",
}


def digits(seed, success, *, target):
    """Coloured digits in which every outcome occurs in every cell."""
    data = make_causal_digits(
        4000 if target else 6000,
        "B" if target else "A",
        mechanism="full_support",
        p_w=0.5,
        p_u=0.0,
        success=success,
        noise=0.3,
        random_state=2 * seed + target,
    )
    settings = data.settings[:, [0, 2]]  # U is always 0
    return data.X / 255.0, data, settings, settings[:, 0] if target else None


def shortcut(seed, p1, p0, *, target):
    """Five noisy features, of which one shows the treatment."""
    data = make_ppci_shortcut(4000, p1=p1, p0=p0, random_state=2 * seed + target)
    return data.X, data, data.settings, None


def failed_batch(seed):
    """The same, and a batch of untreated rows in which every outcome was lost."""
    X, data, _, _ = shortcut(seed, 0.9, 0.1, target=False)
    lost = make_ppci_shortcut(2000, p1=0.0, p0=0.0, random_state=10_000 + seed)
    rows = lost.treatment == 0
    batch = np.repeat([0, 1], [len(X), rows.sum()])
    treatment = np.concatenate([data.treatment, lost.treatment[rows]])
    data.y = np.concatenate([data.y, lost.y[rows]])
    X = np.concatenate([X, lost.X[rows]])
    return X, data, np.column_stack([treatment, batch]), None


# Name: training data, targets by name, and the learner.
PROBLEMS = {
    "digits": (
        lambda seed: digits(seed, (0.25, 0.25, 0.25), target=False),
        {
            "null": lambda seed: digits(seed, (0.5, 0.0, 0.0), target=True),
            "effect": lambda seed: digits(seed, (0.35, 0.3, 0.0), target=True),
        },
        LogisticRegression(C=0.05, max_iter=300),
    ),
    "shortcut": (
        lambda seed: shortcut(seed, 0.9, 0.1, target=False),
        {
            "null": lambda seed: shortcut(seed, 0.5, 0.5, target=True),
            "effect": lambda seed: shortcut(seed, 0.8, 0.4, target=True),
        },
        LogisticRegression(),
    ),
    "failed batch": (
        failed_batch,
        {
            "null": lambda seed: shortcut(seed, 0.5, 0.5, target=True),
            "effect": lambda seed: shortcut(seed, 0.8, 0.4, target=True),
        },
        LogisticRegression(),
    ),
}


def cell_weights(y, settings, rule):
    """Weights of mean 1 by frequencies of outcome and cell."""
    cell = np.unique(settings, axis=0, return_inverse=True)[1].ravel()
    table = np.zeros((cell.max() + 1, y.max() + 1))
    np.add.at(table, (cell, y), 1 / len(y))
    weights = 1 / table[cell, y]
    if rule == "Kamiran-Calders":
        weights *= table.sum(axis=1)[cell] * table.sum(axis=0)[y]
    return weights / weights.mean()


def train(method, learner, X, y, settings, seed):
    """The fitted predictor."""
    if method == "ERM":
        return learner.fit(X, y)
    if method in ("Kamiran-Calders", "inverse P(y, z)"):
        return learner.fit(X, y, cell_weights(y, settings, method))
    if method.startswith("DERM"):
        corrected = method != "DERM"
        model = DERMClassifier(
            learner,
            correction="label_shift" if corrected else "none",
            cv=5 if corrected else None,
            random_state=seed,
        )
        return model.fit(X, y, settings=settings)
    name, penalty = method.split()
    Model = {"vREx": VRExClassifier, "IRM": IRMClassifier}[name]
    # As many steps and as small ones as a linear model of these features needs.
    model = Model(float(penalty), (), max_epochs=30, random_state=seed)
    return model.fit(X.astype(np.float32), y, settings=settings)


def expected(model, X):
    """Expected outcome of each row."""
    if hasattr(model, "predict_expected"):
        return model.predict_expected(X)
    return model.predict_proba(X).astype(np.float64) @ model.classes_


def evaluate(problem, method, seed):
    """Bias and accuracy on the targets, and seconds of the fit."""
    draw, targets, learner = PROBLEMS[problem]
    X, data, settings, _ = draw(seed)
    learner = type(learner)(**learner.get_params())
    start = time.process_time()
    model = train(method, learner, X, data.y, settings, seed)
    result = {"seconds": round(time.process_time() - start, 3)}
    for name, draw_target in targets.items():
        X_new, new, _, covariates = draw_target(seed)
        X_new = X_new.astype(np.float32) if method[0] in "vI" else X_new
        estimate = aipw_ate(expected(model, X_new), new.treatment, covariates)
        result[name] = round(estimate.effect - new.true_effect, 4)
        result[f"{name} accuracy"] = round(
            float((model.predict(X_new) == new.y).mean()), 4
        )
    return result


def of(runs, problem, method, name):
    return np.array([result[name] for result in runs.some(problem, method)])


def table(report, runs, problem):
    """Print what has been run of a problem."""
    rows = []
    for method, how in METHODS.items():
        if not runs.some(problem, method):
            continue
        cells = [method, how, len(runs.some(problem, method))]
        for name in ("null", "effect"):
            bias = of(runs, problem, method, name)
            spread = bias.std(ddof=1) if len(bias) > 1 else np.nan
            cells.append(f"{bias.mean():+.3f} ± {spread:.3f}")
        cells.append(f"{of(runs, problem, method, 'null accuracy').mean():.3f}")
        rows.append([*cells, f"{of(runs, problem, method, 'seconds').mean():.2f}"])
    effect = PROBLEMS[problem][1]["effect"](0)[1].true_effect
    report.say(f"**{problem}**: bias ± its standard deviation over draws")
    report.say()
    header = ["trained by", "", "draws", "no effect", f"effect {effect:g}"]
    report.table([*header, "accuracy (no effect)", "CPU seconds"], rows)


def bars(report, runs):
    """Verdicts on the claims that the runs can judge."""

    def bias(problem, method, name="null"):
        return float(abs(of(runs, problem, method, name).mean()))

    peers = [method for method in METHODS if not method.startswith("DERM")]
    for problem, largest in (("digits", 0.15), ("shortcut", 0.02)):
        derm, erm = bias(problem, "DERM"), bias(problem, "ERM")
        report.bar(f"{problem}: bias of DERM, no effect", derm, largest, at_most=True)
        claim = f"{problem}: the same, over that of plain training"
        report.bar(claim, derm / erm, 1 / 3, at_most=True)
        # Two standard errors of a mean of ten draws.
        best = min(bias(problem, method) for method in peers)
        claim = f"{problem}: the same, less that of the best other"
        report.bar(claim, derm - best, 0.02, at_most=True)
    best = min(bias("failed batch", method) for method in peers)
    claim = "failed batch: bias of DERM over that of the best other, no effect"
    report.bar(claim, bias("failed batch", "DERM") / best, 1 / 2, at_most=True)
    gain = of(runs, "digits", "DERM", "null accuracy").mean()
    gain -= of(runs, "digits", "ERM", "null accuracy").mean()
    report.bar("digits: accuracy gained on the target", gain, 0.08, at_most=False)
    corrected = bias("shortcut", "DERM, corrected", "effect")
    report.bar("shortcut: bias of the corrected effect", corrected, 0.03, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two draws, not kept")
    parser.add_argument("--part", choices=list(PROBLEMS), help="only one")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    runs = Runs(None if args.quick else KEPT)
    report = Report("derm", "Predictions that carry no effect of their experiment")
    report.say("Linear learners of one kind; 6,000 digits of 192 pixels, or 4,000 rows")
    report.say("of 5 features, to train, and 4,000 new ones. In the last problem 1,000")
    report.say("rows come from untreated units whose outcomes were lost.")
    report.say()
    for problem in [args.part] if args.part else PROBLEMS:
        for seed in range(2) if args.quick else SEEDS:
            for method in METHODS:
                key = [problem, method, seed]
                runs.get(key, lambda key=key: evaluate(*key))
        table(report, runs, problem)
    if args.part is None:
        bars(report, runs)
        if not args.quick:
            report.write()


if __name__ == "__main__":
    main()
