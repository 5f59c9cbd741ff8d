"""
=============================================
Which atoms of a photograph can be relied on?
=============================================

A sparse autoencoder finds a dictionary of small edges and blobs in patches of
photographs. Two trainings with different seeds find two dictionaries. This example asks
how much of what one training found is in the next one too: for the usual TopK
autoencoder, for the identifiable one, and for two methods with no more atoms than
pixels, PCA and ICA.
"""

# %%
# Patches
# -------
# 20,000 patches of 8 by 8 pixels from scikit-learn's two photographs. Patches of clear
# sky are left out: each row is scaled to unit norm before it is encoded, so they would
# contribute nothing but magnified compression noise.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from skident.datasets import load_image_patches
from skident.decomposition import ICAPostProcessor, IdentifiableSAE, SAEStability
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import DictionaryDisplay, StabilityDisplay
from skident.metrics import match_atoms

patches = load_image_patches(n_patches=20_000, random_state=0)
X = patches.data
print(patches.DESCR)

# %%
# Three trainings of each autoencoder
# -----------------------------------
# Both get the same data, size and number of steps. "topk" keeps the four largest
# positive pre-activations; "isae" signed ones, with a penalty on atoms that compete for
# the same patch. Every fit warns that assumptions of the identifiability theorem fail,
# as they do on most real data; the report is printed further down.

warnings.simplefilter("ignore", IdentifiabilityWarning)

stabilities = {}
for variant in ("topk", "isae"):
    sae = IdentifiableSAE(
        96, 4, variant=variant, batch_size=256, max_epochs=6, learning_rate=1e-2
    )
    stability = SAEStability(sae, n_fits=3, n_jobs=-1, random_state=0)
    stabilities[variant] = stability.fit(X)

pd.DataFrame(
    {
        variant: {
            "variance explained": s.estimator_.score(X),
            "aRIP": s.estimator_.arip_,
            "atoms: mean cosine (DCS)": s.pairwise_["dcs"].mean(),
            "the same, weighted by use": np.average(
                s.atom_cosine_, weights=s.estimator_.activation_frequency_
            ),
            "codes: shared support (IoU)": s.pairwise_["iou"].mean(),
            "codes: distance (l2)": s.pairwise_["l2"].mean(),
            "atoms that come back, of 96": s.stable_.sum(),
        }
        for variant, s in stabilities.items()
    }
).round(3)

# %%
# Read the rows together. The *codes* of the identifiable autoencoder agree better from
# seed to seed: more of the atoms used on a patch are the same, and their weights are
# closer. Its *dictionary* as a whole agrees less well, and slightly better once atoms
# are weighted by their use: what differs is atoms that few patches use. And of either
# dictionary only a few atoms, mostly of the most used, come back in the strict sense:
# same direction, same patches, in every training.
#
# The data have a part in that. Photographs look alike when they are shifted by a
# pixel, so an edge can sit anywhere in a patch, and a dictionary of 96 atoms has to
# choose some places out of a continuum.

isae = stabilities["isae"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for ax, (variant, stability) in zip(axes, stabilities.items(), strict=True):
    StabilityDisplay.from_predictions(
        stability.atom_cosine_, stable=stability.stable_, threshold=0.9, ax=ax
    )
    ax.set(title=variant, ylabel="mean cosine with its match")

# %%
# The atoms of one training, most often used first, and the atoms that came back in all
# three.

order = np.argsort(-isae.estimator_.activation_frequency_)
came_back = order[isae.stable_[order]]
fig, axes = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
for ax, atoms, title in (
    (axes[0], order[:64], "isae: the 64 atoms used most"),
    (axes[1], came_back, f"isae: the {len(came_back)} atoms that came back"),
):
    DictionaryDisplay.from_estimator(
        isae.estimator_, image_shape=patches.patch_shape, order=atoms, ax=ax
    )
    ax.set_title(title)

# %%
# What the estimator says about itself
# ------------------------------------

print(isae.estimator_.identifiability_)

# %%
print(isae.identifiability_)

# %%
# PCA and ICA
# -----------
# PCA has nothing random in it, and ICA's directions are identified, up to order and
# sign, where its model holds. A fit on half of the patches says which of its 32
# directions it vouches for; a fit on the other half, from another start, is the test.

scaled = X - X.mean(axis=1, keepdims=True)
scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
ica, other = (
    ICAPostProcessor(32, random_state=seed).fit(part)
    for seed, part in enumerate(np.split(scaled, 2))
)
cosines = match_atoms(ica.mixing_.T, other.mixing_.T).cosines
kept = ica.identified_mask_
sampled = ica.angle_stderr_ <= np.radians(15)
pd.DataFrame(
    {
        "directions": [len(kept), sampled.sum(), kept.sum()],
        "found in the other half (cosine above 0.8)": [
            np.sum(cosines[some] > 0.8) for some in (kept | True, sampled, kept)
        ],
        "mean cosine": [cosines[some].mean() for some in (kept | True, sampled, kept)],
    },
    index=["all", "with a small standard error", "identified_mask_"],
).round(2)

# %%
# Standard errors alone would keep nearly all directions: they tell how well the rows
# determine *one* optimum. On photographs there are many, and so the fit also searches
# again, on other rows and from other starts, before it calls a direction identified.
# That leaves out directions that do come back, and now and then keeps one that does so
# only roughly (:ref:`canonical_coordinates` has figures). The report says how many
# failed:

print(ica.identifiability_)

# %%
# At four numbers a patch, the dictionary explains more than the best four *fixed*
# directions, which is what a dictionary is for:

pca = PCA(4).fit(scaled)
print(
    f"variance explained by 4 principal components: "
    f"{pca.explained_variance_ratio_.sum():.2f}"
)
print(f"by 4 of 96 atoms, chosen for each patch:      {isae.estimator_.score(X):.2f}")

# By the variance that each explains, the kept ones first.
shown = np.argsort(~kept, kind="stable")[:16]
fig, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for ax, atoms, title in (
    (axes[0], PCA(16).fit(scaled).components_, "PCA: first 16"),
    (axes[1], ica.mixing_.T[shown], f"ICA: the {kept.sum()} kept, and others"),
    (axes[2], isae.estimator_.components_[order[:16]], "isae: 16 used most"),
):
    DictionaryDisplay.from_predictions(atoms, image_shape=patches.patch_shape, ax=ax)
    ax.set_title(title)
