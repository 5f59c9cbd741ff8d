"""Alignment of unmixing matrices across environments, and scores of their rows.

Rows of two unmixing matrices of one model agree up to order and sign where the
mechanism of their node has not shifted. Everything here takes the matrices as given.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

# Batches of rows whose spread gives the standard error of a mean.
N_BATCHES = 10
# Quantiles of a law that are compared.
N_QUANTILES = 500


class RowMatch(NamedTuple):
    """Which row of a matrix goes with each row of another.

    Parameters
    ----------
    permutation : ndarray of int of shape (d,)
        Row i of the first matrix goes with row ``permutation[i]`` of the second.
    signs : ndarray of shape (d,)
        1 or -1, by which that row is to be multiplied.
    margins : ndarray of shape (d,)
        Cost of the best other row minus that of the chosen one, negative where another
        row is nearer; NaN where the method has no such cost, or no other row.
    """

    permutation: np.ndarray
    signs: np.ndarray
    margins: np.ndarray


class Sources(NamedTuple):
    """What a matching may need to know of the sources of one environment.

    Parameters
    ----------
    rows : ndarray of shape (d, p)
        The unmixing matrix.
    psi : ndarray of shape (d,)
        A functional of the law of each source.
    quantiles : ndarray of shape (d, N_QUANTILES) or None
        Of each source; only the matching by distribution takes them.
    """

    rows: np.ndarray
    psi: np.ndarray
    quantiles: np.ndarray | None


def row_costs(A, B):
    """Relative l1 distance of every row of A to every row of B, up to sign.

    Parameters
    ----------
    A, B : ndarrays of shape (d, p)

    Returns
    -------
    costs : ndarray of shape (d, d)
        ``min(|a - b|, |a + b|) / (|a| + |b|)`` in l1 norms, in [0, 1].
    signs : ndarray of shape (d, d)
        1 where ``a - b`` is the shorter one, else -1.
    """
    total = np.abs(A).sum(axis=1)[:, None] + np.abs(B).sum(axis=1)
    same, opposite = cdist(A, B, "cityblock"), cdist(A, -B, "cityblock")
    signs = np.where(same <= opposite, 1.0, -1.0)
    return np.minimum(same, opposite) / total, signs


def quantile_costs(Q, R):
    """Wasserstein distance of every law in Q to every law in R or its mirror image.

    Parameters
    ----------
    Q, R : ndarrays of shape (d, n_quantiles)
        Quantiles at levels that are symmetric about one half.

    Returns
    -------
    costs : ndarray of shape (d, d)
    """
    mirrored = -R[:, ::-1]
    same, opposite = cdist(Q, R, "cityblock"), cdist(Q, mirrored, "cityblock")
    return np.minimum(same, opposite) / Q.shape[1]


def match_rows(reference, other, matching):
    """Match the rows of another environment to those of the reference.

    Parameters
    ----------
    reference, other : Sources
    matching : {"assignment", "psi", "distribution"}
        By the cheapest assignment of rows, by the rank of psi, or by the cheapest
        assignment of laws. The sign is in each case the one that brings a row nearer.

    Returns
    -------
    match : RowMatch
    """
    distance, signs = row_costs(reference.rows, other.rows)
    d = len(distance)
    if matching == "psi":
        permutation = np.empty(d, dtype=np.intp)
        permutation[descending(reference.psi)] = descending(other.psi)
        margins = np.full(d, np.nan)
    else:
        costs = distance
        if matching == "distribution":
            costs = quantile_costs(reference.quantiles, other.quantiles)
        permutation = linear_sum_assignment(costs)[1]
        margins = _margins(costs, permutation)
    return RowMatch(permutation, signs[np.arange(d), permutation], margins)


def descending(values):
    """Order from the largest to the smallest value, ties by position."""
    return np.argsort(-values, kind="stable")


def _margins(costs, permutation):
    d = len(costs)
    if d == 1:
        return np.full(1, np.nan)
    chosen = costs[np.arange(d), permutation]
    others = costs.copy()
    others[np.arange(d), permutation] = np.inf
    return others.min(axis=1) - chosen


def row_scores(A, B, statistic):
    """Score of the shift of each node, from matched rows.

    Parameters
    ----------
    A, B : ndarrays of shape (d, p)
        Row i of both belongs to node i.
    statistic : {"signed", "abs"}
        ``min(|a - b|, |a + b|) / (|a| + |b|)`` in l1 norms, or the same of the absolute
        values of all entries, which is blind to changes of sign.

    Returns
    -------
    scores : ndarray of shape (d,)
        In [0, 1], zero where a row is the other one up to sign; the absolute statistic
        is at most the signed one.
    """
    total = (np.abs(A) + np.abs(B)).sum(axis=1)
    if statistic == "abs":
        return np.abs(np.abs(A) - np.abs(B)).sum(axis=1) / total
    shorter = np.minimum(np.abs(A - B).sum(axis=1), np.abs(A + B).sum(axis=1))
    return shorter / total


def all_scores(unmixing, statistic):
    """Scores of all pairs of environments.

    Parameters
    ----------
    unmixing : ndarray of shape (K, d, p)
        Matched rows.
    statistic : {"signed", "abs"}

    Returns
    -------
    scores : ndarray of shape (K, K, d)
        Symmetric in the environments, with a zero diagonal.
    """
    K, d = unmixing.shape[:2]
    scores = np.zeros((K, K, d))
    for k in range(K):
        for k2 in range(k):
            pair = row_scores(unmixing[k], unmixing[k2], statistic)
            scores[k, k2] = scores[k2, k] = pair
    return scores


def noise_scores(unmixing, variance):
    """Scores that measurement noise gives rows of which none has shifted.

    Noise of covariance ``variance`` times the identity adds ``N = variance M M^T`` to
    that of the sources, and whitening takes ``N M / 2`` from M, to first order. Next to
    nodes that shifted this differs between environments.

    Parameters
    ----------
    unmixing : ndarray of shape (K, d, p)
        Matched rows.
    variance : float
        Of the noise of each feature.

    Returns
    -------
    scores : ndarray of shape (K, K, d)
    """
    taken = variance / 2 * (unmixing @ unmixing.transpose(0, 2, 1)) @ unmixing
    size = np.abs(unmixing).sum(axis=-1)
    apart = np.abs(taken[:, None] - taken[None]).sum(axis=-1)
    return apart / (size[:, None] + size[None])


# --- functionals of the law of a source --------------------------------------------


def central_mass(Y):
    """Share of each column within one standard deviation of zero, (n, d) -> (d,)."""
    return (np.abs(Y) <= 1.0).mean(axis=0)


def excess_kurtosis(Y):
    """Fourth moment of each column of unit variance less three, (n, d) -> (d,)."""
    square = np.square(Y, dtype=np.float64)
    return np.square(square).mean(axis=0) - 3.0


TEST_FUNCTIONS = {"central_mass": central_mass, "kurtosis": excess_kurtosis}


def functional(Y, function):
    """A functional of the law of each source, and its standard error.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, d)
        Sources.
    function : {"central_mass", "kurtosis"} or callable
        Callables take ``Y`` and return one number a column.

    Returns
    -------
    psi : ndarray of shape (d,)
    stderr : ndarray of shape (d,)
        From the spread over batches of rows; NaN where there are too few.

    Raises
    ------
    ValueError
        If a callable returns another shape, or what is not finite.
    """
    if isinstance(function, str):
        function = TEST_FUNCTIONS[function]
    psi = _checked(function(Y), Y)
    if len(Y) < 2 * N_BATCHES:
        return psi, np.full(len(psi), np.nan)
    batches = [_checked(function(Y[b::N_BATCHES]), Y) for b in range(N_BATCHES)]
    return psi, np.std(batches, axis=0, ddof=1) / np.sqrt(N_BATCHES)


def _checked(psi, Y):
    psi = np.asarray(psi, dtype=np.float64)
    if psi.shape != Y.shape[1:] or not np.isfinite(psi).all():
        raise ValueError(
            f"test_function must return {Y.shape[1]} finite numbers for sources of "
            f"shape {Y.shape}, got shape {psi.shape}."
        )
    return psi


def quantiles(Y):
    """Quantiles of every column at symmetric levels, (n, d) -> (d, N_QUANTILES)."""
    levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    return np.quantile(Y, levels, axis=0).T


def smallest_gap(psi, stderr):
    """Smallest gap between two values of psi over its standard error.

    NaN for a single component, or without standard errors.
    """
    if len(psi) < 2:
        return np.nan
    order = descending(psi)
    gaps = -np.diff(psi[order])
    errors = np.hypot(stderr[order][1:], stderr[order][:-1])
    # Equal values have no gap, whatever their errors.
    ratios = np.divide(gaps, errors, out=np.zeros_like(gaps), where=errors != 0)
    ratios[(errors == 0) & (gaps > 0)] = np.inf
    return float(ratios.min())
