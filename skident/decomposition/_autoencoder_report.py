"""What an autoencoder's fit starts from, and what is said of it afterwards."""

import math
import warnings
from numbers import Integral

import numpy as np
from scipy.special import xlog1py, xlogy

from skident.utils import Assumption, IdentifiabilityReport

CHUNK_ROWS = 4096
_PIXELS = 64 * 64
# A direction of the code whose spread is below this share of the largest is flat.
FLAT = 1e-3
# A convention. The error moves codes by about sqrt(1 - R2) of their spread: by 22 %.
_MIN_R2 = 0.95
# From here on the theorem's slack, c sqrt(2 L + L^2) diameters with c unknown, is
# more than c diameters: the limit solves 2 L + L^2 = 1.
_MAX_DISTORTION = math.sqrt(2.0) - 1.0
# Settings of the net that the estimator's own parameters decide.
_OURS = {
    "module": "architecture",
    "criterion": "loss",
    "lr": "learning_rate",
    "max_epochs": "max_epochs",
    "batch_size": "batch_size",
    "device": "device",
    "train_split": "validation_fraction",
    "iterator_train": "batch_size",
}


def configure(est, X):
    """Arguments of the network, once parameters and data are found to fit."""
    sizes = {"hidden": list(est.hidden), "channels": list(est.channels)}
    for name, widths in sizes.items():
        if not all(isinstance(w, Integral) and w >= 1 for w in widths):
            raise ValueError(f"{name} must hold positive integers; got {widths}.")
        sizes[name] = tuple(int(w) for w in widths)
    for name in (est.net_params or {}).keys() & _OURS.keys():
        raise ValueError(
            f"net_params must not contain {name!r}: set {_OURS[name]} instead."
        )
    if est.architecture == "conv64":
        if not 1 <= len(sizes["channels"]) <= 5:
            raise ValueError(
                f"channels must have one to five entries; got {est.channels}."
            )
        if X.shape[1] % _PIXELS:
            raise ValueError(
                "architecture='conv64' takes 64 x 64 images flattened to rows: the "
                f"number of features must be a multiple of {_PIXELS}, one plane a "
                f"channel; got {X.shape[1]}."
            )
    if est.loss == "bce":
        low, high = X.min(), X.max()
        if low < 0 or high > 1:
            raise ValueError(
                f"loss='bce' takes values in [0, 1]; X has values from {low:.4g} to "
                f"{high:.4g}. Scale X, or use loss='mse'."
            )
    return {
        "n_features": X.shape[1],
        "n_latents": int(est.n_latents),
        "architecture": est.architecture,
        "activation": est.activation,
        "negative_slope": float(est.negative_slope),
        "loss": est.loss,
        "with_isometry": est.isometry_penalty > 0,
        **sizes,
    }


def location_and_scale(X, rows, loss):
    """Mean row and root mean square of centred entries, in float64."""
    n_features = X.shape[1]
    if loss == "bce":
        return np.zeros(n_features), 1.0
    pieces = range(0, len(rows), CHUNK_ROWS)
    chunks = [rows[i : i + CHUNK_ROWS] for i in pieces]
    mean = sum(X[chunk].sum(axis=0, dtype=np.float64) for chunk in chunks) / len(rows)
    square = sum(np.square(X[chunk] - mean).sum() for chunk in chunks)
    scale = math.sqrt(square / (len(rows) * n_features))
    # Equal rows leave the rounding of their mean.
    if scale <= 1e-14 * float(np.abs(mean).max()):
        warnings.warn(
            "All rows of X are equal: there is nothing to learn.",
            UserWarning,
            stacklevel=4,
        )
        scale = 1.0
    return mean, scale


def loss_of_constant(rows, loss):
    """Mean loss an entry of the best constant row."""
    if loss == "mse":
        return float(np.square(rows, dtype=np.float64).mean())
    mean = rows.mean(axis=0, dtype=np.float64)
    return float(-(xlogy(mean, mean) + xlog1py(1 - mean, -mean)).mean())


def report(*, r2, where, distortion, rank, n_latents):
    """What the theorem's assumptions say of a fit."""
    assumptions = (
        Assumption.at_least(
            "rows are reproduced",
            f"share of the variance of {where} explained",
            r2,
            _MIN_R2,
        ),
        Assumption.at_most(
            "the decoder is near an isometry",
            "L = sqrt(hi / lo) - 1 of its stretches on sampled codes",
            distortion,
            _MAX_DISTORTION,
        ),
        Assumption.at_least(
            "no latent is idle",
            f"directions with {FLAT:g} of the largest spread of the code",
            rank,
            n_latents,
        ),
    )
    slack = math.sqrt(2.0 * distortion + distortion**2)
    return IdentifiabilityReport(
        target="the code as a whole",
        up_to="a rigid motion and a scale",
        assumptions=assumptions,
        notes=(
            f"The theorem's error grows as sqrt(2 L + L^2) = {slack:.3g}, times "
            "constants that are not known.",
            "Single latents are not identified: ICAPostProcessor finds axes, if the "
            "data have independent non-Gaussian factors.",
        ),
    )
