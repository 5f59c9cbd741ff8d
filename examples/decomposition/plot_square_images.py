"""
====================================
Which latent follows which factor?
====================================

A plain autoencoder and ICA, without labels, can find what images were made of: if the
map from the factors to the images nearly keeps distances. This example trains on images
of a square, once where that holds and once where it does not, and shows how to tell the
two cases apart.
"""

# %%
# Images of a square
# ------------------
# Each image is made from four independent factors: the position x and y of the square,
# the length of its side and its brightness. Edges are anti-aliased, so that images
# change smoothly with all of them.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from skident.datasets import make_square_images
from skident.decomposition import AutoencoderTransformer, ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import (
    bilipschitz_constants,
    match_components,
    mean_correlation_coefficient,
)

squares = make_square_images(4000, size=16, random_state=0)
n_train = 3000

fig, axes = plt.subplots(1, 8, figsize=(9, 1.5), layout="constrained")
for ax, image in zip(axes, squares.images, strict=False):
    ax.imshow(image, vmin=0, vmax=1, cmap="gray")
    ax.set_axis_off()

# %%
# In a second set only the position varies. The generator comes with the map from
# factors to images, so that this set can be made from the same positions, and the map
# measured: distortion 0 is an isometry up to a scale.


def moving(positions):
    """Images of a bright square of side 6 at the given positions."""
    rest = np.tile([6.0, 1.0], (len(positions), 1))
    return squares.decode(np.hstack([positions, rest]))


data = {
    "position only": (moving, squares.factors[:, :2]),
    "all four factors": (squares.decode, squares.factors),
}
for name, (decode, factors) in data.items():
    distortion = bilipschitz_constants(decode, factors[:300]).distortion
    print(f"{name}: distortion of the true map {distortion:.2f}")

# %%
# Moving the square by a pixel changes an image by the same amount wherever the square
# is. With all four factors it does not: the same step of a small or dark square changes
# the image much less. By theory, the first set should work and the second should not.
#
# Autoencoder, then ICA
# ---------------------
# The small isometry penalty holds the decoder close to an isometry. ICA comes with its
# controls: whitening alone, and whitening with random rotations.

warnings.simplefilter("ignore", IdentifiabilityWarning)  # the reports are printed below
warnings.simplefilter("ignore", ConvergenceWarning)  # longer fits gain a little more

names = {"none": "whitening", "random": "random rotation", "ica": "ICA"}
scores, encoders, components = {}, {}, {}
for name, (decode, factors) in data.items():
    X = decode(factors).astype(np.float32)
    encoder = AutoencoderTransformer(
        factors.shape[1],
        (128, 128),
        activation="gelu",
        isometry_penalty=0.1,
        learning_rate=6e-3,
        max_epochs=40,
        random_state=1,
    ).fit(X[:n_train])
    code, test_code = encoder.transform(X[:n_train]), encoder.transform(X[n_train:])
    found = {"code": mean_correlation_coefficient(test_code, factors[n_train:])}
    for rotation, label in names.items():
        runs = []
        for seed in range(10 if rotation == "random" else 1):
            post = ICAPostProcessor(rotation=rotation, random_state=seed).fit(code)
            Y = post.transform(test_code)
            runs.append(mean_correlation_coefficient(Y, factors[n_train:]))
        found[label] = np.mean(runs)
    scores[name] = {"R2": encoder.score(X[n_train:])} | found
    encoders[name], components[name] = encoder, Y

pd.DataFrame(scores).T.round(3)

# %%
# The figures after R2 are mean correlations of factors with their components, best
# matched, on images that were not trained on. Where the map keeps distances, ICA finds
# the factors; where it does not, no column does, however well images are reproduced.
# With two factors a rotation is a single angle, so that controls come near by chance.
#
# Which follows which
# -------------------

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, (name, Y) in zip(axes, components.items(), strict=True):
    factors = data[name][1][n_train:]
    order = match_components(factors, Y).permutation
    k = len(order)
    shown = np.abs(np.corrcoef(factors.T, Y[:, order].T)[:k, k:])
    image = ax.imshow(shown, vmin=0, vmax=1, cmap="Blues")
    ax.set(title=name, xlabel="component", yticks=range(k), xticks=range(k))
    ax.set_xticklabels(order)
    ax.set_yticklabels(squares.factor_names[:k])
    for i, j in np.ndindex(k, k):
        color = "white" if shown[i, j] > 0.5 else "black"
        ax.text(j, i, f"{shown[i, j]:.2f}", ha="center", va="center", color=color)
fig.colorbar(image, ax=axes, label="absolute correlation")

# %%
# Decoding a grid along the two components of the first run draws the square as each
# moves, and the other stays.

encoder = encoders["position only"]
X = moving(squares.factors[:n_train, :2]).astype(np.float32)
post = ICAPostProcessor(random_state=0).fit(encoder.transform(X))
# Uniform components of unit variance end at 1.7.
steps = np.linspace(-1.4, 1.4, 7)
fig, axes = plt.subplots(2, 7, figsize=(9, 2.8), layout="constrained")
for i, row in enumerate(axes):
    Y = np.zeros((7, 2))
    Y[:, i] = steps
    for ax, image in zip(
        row, encoder.inverse_transform(post.inverse_transform(Y)), strict=True
    ):
        ax.imshow(image.reshape(16, 16), vmin=0, vmax=1, cmap="gray")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"component {i}")

# %%
# How to tell, without the truth
# ------------------------------
# On real data there are no factors to correlate with. The reports have to do.

print(encoders["position only"].identifiability_)

# %%

print(encoders["all four factors"].identifiability_)

# %%
# ICA has a report of its own: whether the code has independent, non-Gaussian components
# at all, whatever they are. It does not see the decoder, and is no substitute for the
# report above.

for name, (decode, factors) in data.items():
    code = encoders[name].transform(decode(factors[:n_train]).astype(np.float32))
    report = ICAPostProcessor(random_state=0).fit(code).identifiability_
    names_violated = [assumption.name for assumption in report.violated]
    print(f"{name}: ICA's assumptions violated: {names_violated or 'none'}")
