"""Moments and scales of the rows of each environment, and signs of a rescaling."""

from dataclasses import dataclass

import numpy as np

from skident.solvers import Moments
from skident.utils import Assumption

CHUNK_ROWS = 8192
# Long pieces, so that the moments run on all threads.
_PASS_BYTES = 2**25
# Standard deviations (or extremes) of rows that were not rescaled one environment at a
# time differ by about 1 / sqrt(n); those of rows that were, by rounding.
SAME_SCALE = 1e-5


class Block:
    """The rows (n, n_features) of one environment, in memory."""

    def __init__(self, rows):
        self.rows = rows
        self.n_features = rows.shape[1]

    def __len__(self):
        return len(self.rows)

    def chunks(self, n_rows=CHUNK_ROWS):
        """All rows in order, ``n_rows`` at a time."""
        for low in range(0, len(self), n_rows):
            yield self.rows[low : low + n_rows]


@dataclass
class Described:
    """Moments and extremes of the rows of one environment.

    Parameters
    ----------
    moments : Moments
    low, high : ndarrays of shape (n_features,)
        Smallest and largest value of each feature.
    """

    moments: Moments
    low: np.ndarray
    high: np.ndarray

    @property
    def mean_square(self):
        """Mean square of each feature."""
        return np.diag(self.moments.covariance) + np.square(self.moments.mean)


def describe(rows):
    """Moments and extremes of an environment, in one pass.

    Parameters
    ----------
    rows : EnvironmentRows or Block

    Returns
    -------
    described : Described
    """
    p = rows.n_features
    moments, low, high = Moments(p), np.full(p, np.inf), np.full(p, -np.inf)
    for chunk in rows.chunks(max(1024, _PASS_BYTES // (8 * p))):
        moments.update(chunk)
        np.minimum(low, chunk.min(axis=0), out=low)
        np.maximum(high, chunk.max(axis=0), out=high)
    return Described(moments, low, high)


def rescaled_alike(described, rows):
    """How far the features' scales are from being the same in all environments.

    Parameters
    ----------
    described : list of K Described
    rows : list of K EnvironmentRows or Block

    Returns
    -------
    difference : float
        The largest relative difference between two environments of a standard
        deviation (over n or n - 1), or of a smallest or largest value, or of a largest
        magnitude, where a single row has it. NaN where fewer than two features vary in
        all environments, or covariances agree too.
    """
    variances = np.stack([np.diag(one.moments.covariance) for one in described])
    varies = (variances > 0).all(axis=0)
    if len(described) < 2 or varies.sum() < 2:
        return np.nan
    deviations = np.sqrt(variances[:, varies])
    n = np.array([len(one) for one in rows])[:, None]
    found = [_apart(deviations), _apart(deviations * np.sqrt(n / (n - 1)))]
    if min(found) < SAME_SCALE:
        # Copies of one environment are alike in everything.
        covariances = [one.moments.covariance[varies][:, varies] for one in described]
        correlations = [
            covariance / np.outer(scale, scale)
            for covariance, scale in zip(covariances, deviations, strict=True)
        ]
        others = np.abs(np.stack(correlations) - correlations[0])
        return np.nan if others.max() < SAME_SCALE else float(min(found))
    low = np.stack([one.low[varies] for one in described])
    high = np.stack([one.high[varies] for one in described])
    ends = (np.abs([low - low[0], high - high[0]]) / (high[0] - low[0])).max()
    peaks = _apart(np.maximum(-low, high))
    if min(ends, peaks) < min(found):
        lows, highs = _counts(described, rows, varies)
        if (lows == 1).all() and (highs == 1).all():
            found.append(ends)
        if (np.where(high > -low, highs, lows) == 1).all():
            found.append(peaks)
    return float(min(found))


def one_scale(what, difference):
    """Line of a report on a rescaling of each environment by itself.

    Parameters
    ----------
    what : {"feature", "column"}
    difference : float
        As :func:`rescaled_alike` gives it.

    Returns
    -------
    assumption : Assumption
    """
    name = f"{what}s were not rescaled one environment at a time"
    if np.isnan(difference):
        return Assumption(name, f"takes two {what}s that vary in every environment")
    return Assumption.at_least(
        name,
        f"largest relative difference of a {what}'s standard deviation (or of its "
        "extremes, or largest magnitude) between environments, against rounding",
        difference,
        SAME_SCALE,
    )


def _apart(scales):
    """Largest relative difference of positive scales (K, m) to the first ones."""
    return np.abs(scales / scales[0] - 1).max()


def _counts(described, rows, varies):
    """Rows that have the smallest, and the largest, value of a feature, (2, K, m).

    Extremes of continuous features are the value of a single row.
    """
    counts = np.zeros((2, len(rows), len(varies)), dtype=int)
    for k, (about, of) in enumerate(zip(described, rows, strict=True)):
        for chunk in of.chunks():
            counts[0, k] += (chunk == about.low).sum(axis=0)
            counts[1, k] += (chunk == about.high).sum(axis=0)
    return counts[:, :, varies]
