"""A plain autoencoder followed by ICA finds independent factors; its controls do not.

    python benchmarks/bench_autoencoder_ica.py [--quick]

Independent factors go through a near-isometry into 16 features; an autoencoder of
widths 16-64-64-4 is trained on 10,000 rows for 30 epochs, twice from two seeds, and its
code post-processed. On 5,000 other rows: mean correlation (MCC) of matched components
with the factors, for the code as it is, whitened, whitened and turned by random
rotations, and after ICA; and the errors between the two trainings in units of the
code's diameter, after the best transformation of each kind. The claim, in each of six
settings: ICA reaches 0.95, and beats whitening by 0.1 and a random rotation by 0.07.
"""

import argparse
import sys
import time
import warnings

import numpy as np
from _common import Report
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_near_isometric_sources
from skident.decomposition import AutoencoderTransformer, ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import alignment_errors, mean_correlation_coefficient

SETTINGS = [
    (source, slope) for source in ("uniform", "laplace") for slope in (1, 0.7, 0.4)
]
N_TRAIN, N_TEST = 10_000, 5_000
N_ROTATIONS = 20
ERRORS = ("permutation", "rigid", "whitened_rigid", "linear", "ica")


def autoencoder(seed, epochs, **params):
    """The autoencoder of the claim."""
    return AutoencoderTransformer(
        4, (64, 64), max_epochs=epochs, device="cpu", random_state=seed, **params
    )


def correlations(code, test_code, factors):
    """MCC with the factors, by what is done to the code."""

    def after(rotation, seed=0):
        ica = ICAPostProcessor(rotation=rotation, random_state=seed).fit(code)
        return mean_correlation_coefficient(ica.transform(test_code), factors)

    turned = [after("random", seed) for seed in range(N_ROTATIONS)]
    return {
        "raw": mean_correlation_coefficient(test_code, factors),
        "whitening": after("none"),
        "random rotation": np.mean(turned),
        "best of them": np.max(turned),
        "ICA": after("ica"),
    }


def data_of(source, slope):
    """Training rows, other rows, and the factors of these."""
    data = make_near_isometric_sources(
        N_TRAIN + N_TEST, source=source, negative_slope=slope, random_state=0
    )
    return data.X[:N_TRAIN], data.X[N_TRAIN:], data.sources[N_TRAIN:]


def recovery(report, epochs):
    """The factors found in each setting, and the agreement of two trainings."""
    found, agreement = [], []
    for source, slope in SETTINGS:
        X, X_test, factors = data_of(source, slope)
        codes = []
        for seed in (0, 1):
            start = time.process_time()
            ae = autoencoder(seed, epochs).fit(X)
            seconds = time.process_time() - start
            test_code = ae.transform(X_test)
            codes.append(test_code)
            scores = correlations(ae.transform(X), test_code, factors)
            found.append(
                {"source": source, "slope": slope, "seed": seed}
                | {"R2": ae.score(X_test), **scores, "CPU s": seconds}
            )
            print(found[-1], flush=True)
        errors = alignment_errors(*codes)
        agreement.append([source, slope, *(f"{errors[name]:.3f}" for name in ERRORS)])
    columns = list(found[0])
    report.table(
        columns,
        [
            [v if isinstance(v, str | int) else f"{v:.4g}" for v in row.values()]
            for row in found
        ],
    )
    report.say(
        f"Random rotation: mean and largest of {N_ROTATIONS}. Between two trainings:"
    )
    report.say()
    report.table(["source", "slope", *ERRORS], agreement)
    worst = [
        ("MCC with the factors, ICA", lambda row: row["ICA"], 0.95),
        ("ICA above whitening", lambda row: row["ICA"] - row["whitening"], 0.1),
        (
            "ICA above a random rotation",
            lambda row: row["ICA"] - row["random rotation"],
            0.07,
        ),
    ]
    for claim, of, limit in worst:
        value = min(of(row) for row in found)
        report.bar(f"{claim}, least of {len(found)} fits", value, limit, at_most=False)
    report.say()


def penalties(report, epochs):
    """What the isometry penalty does to the decoder's distortion."""
    X, X_test, factors = data_of("uniform", 0.4)
    rows = []
    for penalty in (0.0, 0.1, 1.0):
        for seed in (0, 1, 2):
            ae = autoencoder(seed, epochs, isometry_penalty=penalty).fit(X)
            low, high = ae.bilipschitz_
            scores = correlations(ae.transform(X), ae.transform(X_test), factors)
            distortion = np.sqrt(high / low) - 1
            rows.append((penalty, seed, distortion, ae.score(X_test), scores["ICA"]))
    report.say("Isometry penalty, uniform factors, slope 0.4 (whose map has L = 1.5):")
    report.say()
    report.table(
        ["penalty", "seed", "distortion L", "R2", "ICA"],
        [[*row[:2], *(f"{v:.3f}" for v in row[2:])] for row in rows],
    )
    distortion = {row[:2]: row[2] for row in rows}
    for penalty in (0.1, 1.0):
        ratios = [distortion[penalty, s] / distortion[0.0, s] for s in (0, 1, 2)]
        report.bar(
            f"distortion with penalty {penalty:g} over that without, worst seed",
            max(ratios),
            0.9,
            at_most=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs, nothing kept")
    args = parser.parse_args()
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    warnings.simplefilter("ignore", ConvergenceWarning)
    report = Report("autoencoder_ica", "Independent factors by autoencoder and ICA")
    epochs = 4 if args.quick else 30
    recovery(report, epochs)
    penalties(report, epochs)
    if not args.quick:
        report.write()
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
