"""A first look at skident, on data that scikit-learn brings along.

Run it with ``make demo``, or ``python examples/quickstart.py``. It needs no network and
no GPU, and takes about a minute on two cores.
"""

import os
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE, SAEStability
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import DictionaryDisplay
from skident.metrics import match_atoms

# Each fit warns when the data contradict an assumption; part 4 prints the report.
warnings.simplefilter("ignore", IdentifiabilityWarning)


def heading(text):
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def say(text):
    """Print a paragraph."""
    print(textwrap.fill(" ".join(text.split()), 88), flush=True)


def main():
    """Run the four parts and save the figure."""
    start = time.perf_counter()
    digits = load_digits()
    say(
        """skident: scikit-learn estimators that say what they identify. Two trainings
        of one model on the same data often end in different features. Here is how to
        see which features can be relied on, in a minute or so on two free cores."""
    )
    as_a_transformer(digits)
    known = with_known_truth()
    real = on_real_data(digits.data)
    report(real[1])
    path = figure(known, real)
    heading("Next")
    print(f"  figure: {path}")
    print("  examples/decomposition/   image patches, the inside of a language model,")
    print("                            canonical coordinates of any representation")
    print("  make doc                  user guide and API")
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")


def as_a_transformer(digits):
    """Choose the sparsity of the codes for a classifier."""
    heading("1. A sparse autoencoder is a scikit-learn transformer")
    say(
        f"""IdentifiableSAE rewrites each of {len(digits.data)} handwritten digits (8 x
        8 pixels) as a sum of a few atoms. In a Pipeline under GridSearchCV, the number
        of atoms a digit may have is chosen for a classifier:"""
    )
    X_train, X_test, y_train, y_test = train_test_split(
        digits.data, digits.target, test_size=0.3, random_state=0
    )
    sae = IdentifiableSAE(
        96, batch_size=128, max_epochs=15, learning_rate=1e-2, random_state=0
    )
    classifier = LogisticRegression(C=10, max_iter=1000)
    pipeline = make_pipeline(MinMaxScaler(), sae, classifier)
    search = GridSearchCV(pipeline, {"identifiablesae__n_active": [4, 8, 16]}, cv=3)
    search.fit(X_train, y_train)
    pixels = make_pipeline(MinMaxScaler(), classifier).fit(X_train, y_train)
    print()
    results = search.cv_results_
    for n_active, score in zip(
        results["param_identifiablesae__n_active"],
        results["mean_test_score"],
        strict=True,
    ):
        print(f"  {n_active:3} of 96 atoms a digit: accuracy {score:.3f}")
    print(
        f"  held out: {search.score(X_test, y_test):.3f} from the chosen codes, "
        f"{pixels.score(X_test, y_test):.3f} from the 64 pixels"
    )


def refit(X, n_components, n_active, max_epochs):
    """Train the usual sparse autoencoder and the identifiable one over three seeds."""
    stabilities = []
    for variant in ("topk", "isae"):
        sae = IdentifiableSAE(
            n_components,
            n_active,
            variant=variant,
            max_epochs=max_epochs,
            batch_size=128,
            learning_rate=1e-2,
        )
        stability = SAEStability(sae, n_fits=3, n_jobs=-1, random_state=0)
        stabilities.append(stability.fit(X))
    return stabilities


def table(stabilities, X, extra=()):
    """Print what came back, a line a variant."""
    print("\n           atoms that   same atoms active   variance")
    print("           come back    on a row (IoU)      explained", *extra[:1])
    for i, stability in enumerate(stabilities):
        sae = stability.estimator_
        line = (
            f"  {sae.variant:<8} {stability.stable_.sum():3} of "
            f"{len(stability.stable_):<5}  {stability.pairwise_['iou'].mean():^17.2f}  "
            f" {sae.score(X):^9.2f}"
        )
        print(line.rstrip(), *(f"    {column[i]}" for column in extra[1:]))


def share(stable):
    """In words, how many of the atoms come back."""
    n_stable, n_atoms = int(stable.sum()), len(stable)
    if n_stable in (0, n_atoms):
        return "all" if n_stable else "none"
    if 2 * n_stable > n_atoms:
        return "most"
    return "few" if 4 * n_stable <= n_atoms else "at most half"


def with_known_truth():
    """Compare the two on data made from a known dictionary."""
    heading("2. Would the same atoms come back from another seed? With a known truth")
    say(
        """20,000 rows, each made of 3 out of 96 known atoms. The usual sparse
        autoencoder ("topk") and the identifiable one ("isae", the default) are each
        trained from three seeds. An atom comes back if the other trainings have it too
        and use it on the same rows:"""
    )
    data = make_sparse_dictionary(
        20_000, n_features=48, n_components=96, n_active=3, random_state=0
    )
    stabilities = refit(data.X, 96, 3, max_epochs=5)
    found = []
    for stability in stabilities:
        cosines = match_atoms(data.dictionary, stability.estimator_.components_).cosines
        found.append(f"{np.sum(cosines > 0.9):2} of 96")
    table(stabilities, data.X, ("   true atoms found", found))
    print()
    usual, identifiable = (stability.stable_ for stability in stabilities)
    say(
        f"""Same data, same budget: of the usual autoencoder {share(usual)} of the atoms
        come back, of the identifiable one {share(identifiable)}. What does not come
        back belongs to its seed."""
    )
    return stabilities


def on_real_data(X):
    """Compare the two on the digits."""
    heading("3. The same question about real data")
    say(
        f"""The {len(X)} digits again, 80 atoms, 3 a digit. Nobody knows the true atoms
        here, or whether there are any; whether atoms come back can be measured all the
        same:"""
    )
    stabilities = refit(X, 80, 3, max_epochs=40)
    table(stabilities, X)
    print()
    usual, identifiable = (stability.stable_ for stability in stabilities)
    both = f"""Of the usual autoencoder {share(usual)} of the atoms come back, of the
        identifiable one {share(identifiable)}."""
    if share(usual) == share(identifiable):
        both = f"Of either autoencoder {share(usual)} of the atoms come back."
    pinned = ""
    if max(usual.mean(), identifiable.mean()) < 0.5:
        pinned = "Trained either way, these images pin down no dictionary of this size."
    say(
        f"""{both} {pinned} SAEStability.transform keeps the atoms that do; a story
        about others would be a story about a random seed."""
    )
    return stabilities


def report(stability):
    """Print what the estimator says about itself."""
    heading("4. What a fitted estimator says about itself")
    say(
        """Every estimator has identifiability_: what is identified, up to what, and
        which assumptions of the theory these data support, contradict or cannot test.
        For one of the trainings on digits:"""
    )
    print(f"\n{stability.estimator_.identifiability_}\n")
    say("And for the three trainings together:")
    print(f"\n{stability.identifiability_}")


def figure(known, real):
    """Draw how far atoms agree, and atoms themselves; return the path."""
    fig, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained")
    for ax, stabilities, title in (
        (axes[0], known, "Known truth"),
        (axes[1], real, "Digits"),
    ):
        for stability, colour in zip(stabilities, ("0.5", "C0"), strict=True):
            agreement = np.sort(stability.atom_cosine_)[::-1]
            ax.plot(agreement, color=colour, label=stability.estimator_.variant)
        ax.axhline(stability.min_cosine, color="C3", ls="--", label="taken as equal")
        ax.set(title=title, xlabel="atom, best agreement first", ylim=(0, 1.03))
    axes[0].set_ylabel("mean |cosine| with its match\nin the other trainings")
    axes[0].legend(loc="lower left")
    isae = real[1]
    order = np.lexsort((-isae.atom_cosine_, -isae.atom_stability_))
    for ax, atoms, title in (
        (axes[2], order[:16], "Digits, isae: the 16 atoms\nthat come back best"),
        (axes[3], order[-16:], "Digits, isae: the 16 atoms\nthat come back worst"),
    ):
        DictionaryDisplay.from_estimator(
            isae.estimator_, image_shape=(8, 8), order=atoms, ax=ax
        )
        ax.set_title(title)
    folder = Path(__file__).parent / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp())
    path = folder / "quickstart.png"
    fig.savefig(path, dpi=110)
    return path


if __name__ == "__main__":
    main()
