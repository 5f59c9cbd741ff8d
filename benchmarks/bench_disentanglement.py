"""Factors in the code of a plain autoencoder: as it is, whitened, turned, after ICA.

    python benchmarks/bench_disentanglement.py [--quick] [--seeds 3]

The published comparison (InfoM, InfoE and InfoC of an autoencoder with and without ICA)
at a scale for two cores, with the two controls that tell whether a gain is due to *the*
rotation: whitening alone, and whitening with a random rotation. Two kinds of data:
independent factors through near-isometries into 16 features, and images of a square, of
which the position varies (nearly an isometry) or four factors do (far from one, and
trained with as many latents as factors and with twice as many). Everything is scored on
rows that neither the autoencoder nor ICA has seen. Codes are kept in benchmarks/output,
so that an interrupted run goes on where it was. `--quick` is a smaller measurement of
its own, with its own results file.
"""

import argparse
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _common import Report
from bench_autoencoder_ica import SETTINGS, autoencoder
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_near_isometric_sources, make_square_images
from skident.decomposition import AutoencoderTransformer, ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import infomec_scores, mean_correlation_coefficient

OUTPUT = Path(__file__).parent / "output" / "disentanglement"
N_LEVELS = 10
N_ROTATIONS = {"MCC": 20, "InfoMEC": 3}
ARMS = ("AE", "AE + whitening", "AE + random rotation", "AE + ICA")
SCORES = ("InfoM", "InfoE", "InfoC", "MCC")
# Name, latents, and whether only the position varies.
IMAGES = [
    ("squares, position", 2, True),
    ("squares, 4 factors", 4, False),
    ("squares, 8 latents", 8, False),
]
FULL = {
    "n_train": 10_000,
    "n_test": 5_000,
    "epochs": 30,
    "image_epochs": 60,
    "size": 32,
    "seeds": 3,
}
QUICK = {
    "n_train": 4_000,
    "n_test": 1_000,
    "epochs": 20,
    "image_epochs": 30,
    "size": 16,
    "seeds": 2,
}


def sources_of(source, slope, scale):
    """Training rows, other rows, factors and labels of these: the generator."""
    n = scale["n_train"]
    data = make_near_isometric_sources(
        n + scale["n_test"], source=source, negative_slope=slope, random_state=0
    )
    factors = data.sources[n:]
    return data.X[:n], data.X[n:], factors, tenths(factors)


def tenths(factors):
    """Labels for InfoMEC: to which tenth of the rows each belongs, by each factor."""
    ranks = factors.argsort(axis=0).argsort(axis=0)
    return ranks * N_LEVELS // len(factors)


def squares_of(moving_only, scale):
    """The same of the images."""
    n = scale["n_train"]
    data = make_square_images(n + scale["n_test"], scale["size"], random_state=0)
    X, factors = data.X, data.factors[n:]
    if moving_only:
        X, factors = moved(data), factors[:, :2]
    return X[:n], X[n:], factors, tenths(factors)


def moved(data):
    """Images of the same squares, all of the largest side and full intensity."""
    factors = np.tile(data.ranges[:, 1], (len(data.factors), 1))
    factors[:, :2] = data.factors[:, :2]
    return data.decode(factors).astype(np.float32)


def image_autoencoder(n_latents, seed, epochs):
    """An autoencoder of images; the penalty keeps its decoder near an isometry."""
    return AutoencoderTransformer(
        n_latents,
        (128, 128),
        activation="gelu",
        isometry_penalty=0.1,
        learning_rate=6e-3,
        max_epochs=epochs,
        device="cpu",
        random_state=seed,
    )


def codes_of(name, scale, seed, epochs, new_autoencoder, data_of):
    """Codes of training and other rows, with R2 and seconds; from the cache, or new."""
    X, X_test, factors, labels = data_of(scale)
    key = f"{name}-{scale['n_train']}-{scale['n_test']}-{X.shape[1]}-{epochs}-{seed}"
    path = OUTPUT / f"{key.replace(' ', '_')}.npz"
    if not path.exists():
        start = time.perf_counter()
        ae = new_autoencoder(seed, epochs).fit(X)
        seconds = time.perf_counter() - start
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(".part.npz")
        np.savez(
            partial_path,
            train=ae.transform(X),
            test=ae.transform(X_test),
            R2=ae.score(X_test),
            seconds=seconds,
        )
        # Whole or not at all, so that no half-written codes are scored.
        partial_path.rename(path)
    with np.load(path) as kept:
        return dict(kept), factors, labels


def scores_of(train, test, factors, labels):
    """Scores of each arm; those of random rotations are means."""

    def after(rotation, seed=0):
        return (
            ICAPostProcessor(rotation=rotation, random_state=seed)
            .fit(train)
            .transform(test)
        )

    n_turned = max(N_ROTATIONS.values())
    codes = {
        "AE": [test],
        "AE + whitening": [after("none")],
        "AE + random rotation": [after("random", seed) for seed in range(n_turned)],
        "AE + ICA": [after("ica")],
    }
    scores = {}
    for arm in ARMS:
        some = codes[arm][: N_ROTATIONS["InfoMEC"]]
        found = [infomec_scores(labels, code) for code in some]
        scores[arm] = {
            name: np.mean([f[name.lower()] for f in found]) for name in SCORES[:3]
        }
        scores[arm]["MCC"] = np.mean(
            [mean_correlation_coefficient(code, factors) for code in codes[arm]]
        )
    return scores


def tasks_of(quick):
    """Name, epochs, autoencoder and data of each line of the table."""
    settings = [("uniform", 0.7), ("laplace", 0.7)] if quick else SETTINGS
    tasks = [
        (f"{source} {slope}", "epochs", autoencoder, partial(sources_of, source, slope))
        for source, slope in settings
    ]
    for name, n_latents, moving_only in IMAGES:
        new = partial(image_autoencoder, n_latents)
        data_of = partial(squares_of, moving_only)
        tasks.append((name, "image_epochs", new, data_of))
    return tasks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="minutes, fewer data")
    parser.add_argument("--seeds", type=int, help="training seeds (3; 2 with --quick)")
    args = parser.parse_args()
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    warnings.simplefilter("ignore", ConvergenceWarning)
    scale = QUICK if args.quick else FULL
    n_seeds = args.seeds or scale["seeds"]
    report = Report(
        "disentanglement" + "_quick" * args.quick,
        "Factors in the code of an autoencoder, with ICA and its controls"
        + ", small" * args.quick,
    )
    report.say(
        f"{scale['n_train']} rows to train on and {scale['n_test']} others to score, "
        f"{n_seeds} training seeds; generator {scale['epochs']} epochs, images of "
        f"{scale['size']} x {scale['size']} pixels {scale['image_epochs']}. Means over "
        "seeds, with the lowest MCC of a seed; random rotations are themselves means "
        f"of {N_ROTATIONS['InfoMEC']} (InfoMEC) and {N_ROTATIONS['MCC']} (MCC)."
    )
    report.say()
    rows, generator, images = [], [], {}
    for name, epochs, new_autoencoder, data_of in tasks_of(args.quick):
        fits = []
        for seed in range(n_seeds):
            kept, *truth = codes_of(
                name, scale, seed, scale[epochs], new_autoencoder, data_of
            )
            fits.append(kept | scores_of(kept["train"], kept["test"], *truth))
            mcc = {arm: f"{fits[-1][arm]['MCC']:.3f}" for arm in ARMS}
            print(name, seed, f"{kept['seconds']:.1f} s", mcc, flush=True)
        if name.startswith("squares"):
            images[name] = fits
        else:
            generator += fits
        for arm in ARMS:
            means = [np.mean([fit[arm][score] for fit in fits]) for score in SCORES]
            lowest = min(fit[arm]["MCC"] for fit in fits)
            R2 = np.mean([fit["R2"] for fit in fits])
            rows.append([name, arm, *(f"{v:.3f}" for v in (*means, lowest, R2))])
    report.table(["data", "model", *SCORES, "lowest MCC", "R2"], rows)
    bars(report, generator, images)
    report.write()
    return report.failed > 0


def bars(report, generator, images):
    """The bars on the generator; and, with no bar, what the images say."""

    def least(fits, control):
        return min(fit["AE + ICA"]["MCC"] - fit[control]["MCC"] for fit in fits)

    report.bar(
        f"MCC of AE + ICA on the generator, least of {len(generator)} fits",
        min(fit["AE + ICA"]["MCC"] for fit in generator),
        0.95,
        at_most=False,
    )
    for control, limit in (("AE + whitening", 0.1), ("AE + random rotation", 0.07)):
        report.bar(
            f"MCC of AE + ICA minus {control} on the generator, least of them",
            least(generator, control),
            limit,
            at_most=False,
        )
    for name, fits in images.items():
        report.say(
            f"- no bar: {name}, least over seeds of AE + ICA minus AE + whitening "
            f"{least(fits, 'AE + whitening'):.3f}, minus AE + random rotation "
            f"{least(fits, 'AE + random rotation'):.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
