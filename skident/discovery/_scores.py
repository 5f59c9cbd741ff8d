"""Scores of densities, the gradients of their logarithms, by every estimator."""

import numpy as np
from joblib import Parallel, delayed
from scipy import linalg

from skident.solvers import stein_score
from skident.solvers._log_odds import log_odds
from skident.solvers._stein import median_of_pairs, squared_euclidean

ESTIMATORS = ("stein", "gaussian", "logistic", "neural")
ETAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# Rows an environment on which eta is chosen, and the share of them held out.
_CHOOSING_ROWS = 1000
_HELD_SHARE = 0.25
# Points whose density decides where the environments overlap need few rows.
_DENSITY_ROWS = 1000


def fit_score(X, estimator="stein", *, eta=0.3, bandwidth=1.0):
    """Estimate the score of one density.

    Parameters
    ----------
    X : ndarray of shape (n, r), float64
    estimator : {"stein", "gaussian"} or callable, default="stein"
        A callable takes ``X`` and returns the score, a function of points.
    eta, bandwidth : float
        Of "stein".

    Returns
    -------
    score : callable
        Maps points (m, r) to scores (m, r).
    """
    if callable(estimator):
        return estimator(X)
    if estimator == "gaussian":
        return GaussianScore(X)
    return stein_score(X, eta=eta, bandwidth=bandwidth).score


class GaussianScore:
    """Score of the normal law with the mean and covariance of ``X``."""

    def __init__(self, X):
        self.mean = X.mean(axis=0)
        self.precision = precision_of(covariance_of(X), len(X))

    def __call__(self, Y):
        return (self.mean - Y) @ self.precision


def covariance_of(X):
    """Covariance of rows, normalised by their number."""
    centred = X - X.mean(axis=0)
    return centred.T @ centred / len(X)


def precision_of(covariance, n_samples):
    """Inverse of a covariance; of a ridge solution where it is singular.

    Parameters
    ----------
    covariance : ndarray of shape (r, r)
    n_samples : int
        Rows it comes from.

    Returns
    -------
    precision : ndarray of shape (r, r)
    """
    correlation, outer = _regular(covariance, n_samples)
    factor = linalg.cho_factor(correlation, check_finite=False)
    precision = linalg.cho_solve(factor, np.eye(len(outer)), check_finite=False)
    return (precision + precision.T) / 2 / outer


def regular_covariance(covariance, n_samples):
    """The covariance (r, r) of which :func:`precision_of` is the inverse."""
    correlation, outer = _regular(covariance, n_samples)
    return correlation * outer


def _regular(covariance, n_samples):
    r = len(covariance)
    spread = np.sqrt(np.diag(covariance))
    spread = np.where(spread > 0, spread, 1.0)
    outer = np.outer(spread, spread)
    correlation = covariance / outer
    if is_singular(correlation):
        # The sampling error of a correlation: directions below it were never seen.
        correlation = correlation + np.sqrt(r / n_samples) * np.eye(r)
    return correlation, outer


def is_singular(correlation):
    """Whether a correlation matrix has no accurate inverse."""
    values = linalg.eigvalsh(correlation, check_finite=False)
    # Half the digits of the inverse are to be right.
    return not values[0] > np.sqrt(np.finfo(float).eps) * values[-1]


def score_differences(blocks, points, estimator, *, eta, bandwidth, n_jobs, settings):
    """Scores of each environment minus those of the base, at the same points.

    Parameters
    ----------
    blocks : list of E + 1 ndarrays of shape (n_e, r), float64
        Standardised rows, base first.
    points : ndarray of shape (m, r)
    estimator : str or callable
    eta, bandwidth : float
    n_jobs : int or None
    settings : dict
        ``seed`` of "logistic" and "neural", and what else "neural" takes.

    Returns
    -------
    differences : ndarray of shape (E, m, r)
    density : ndarray of shape (m,)
        The smallest density of an environment at each point.
    """
    if estimator == "stein":
        found = Parallel(n_jobs=n_jobs)(
            delayed(_stein_at)(block, points, eta, bandwidth) for block in blocks
        )
        scores = np.stack([score for score, _ in found])
        return scores[1:] - scores[0], np.min([d for _, d in found], axis=0)
    if estimator == "logistic":
        found = Parallel(n_jobs=n_jobs)(
            delayed(_odds_at)(block, blocks[0], points, eta, bandwidth, settings)
            for block in blocks[1:]
        )
        return np.stack(found), smallest_density(blocks, points)
    if estimator == "neural":
        from skident.discovery._score_net import fit_score_net

        scores = fit_score_net(blocks, **settings)(points)
    else:
        found = Parallel(n_jobs=n_jobs)(
            delayed(_score_at)(block, points, estimator) for block in blocks
        )
        scores = np.stack(found)
    return scores[1:] - scores[0], smallest_density(blocks, points)


def smallest_density(blocks, points):
    """How densely the sparsest environment lies around each point, in [0, 1]."""
    densities = []
    for block in blocks:
        # Evenly spaced rows: which ones does not matter to a smooth mean.
        step = -(-len(block) // _DENSITY_ROWS)
        rows = block[::step]
        squared_width = median_of_pairs(squared_euclidean(rows, rows))
        gaps = squared_euclidean(points, rows)
        squared_width = squared_width if squared_width > 0 else 1.0
        densities.append(np.exp(gaps * (-2.0 / squared_width)).mean(axis=1))
    return np.min(densities, axis=0)


def choose_eta(blocks, *, bandwidth, n_jobs, rng):
    """Ridge of the Stein scores with the least held-out loss, summed over environments.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, r), float64
    bandwidth : float
    n_jobs : int or None
    rng : numpy.random.Generator

    Returns
    -------
    eta : float
    losses : ndarray of shape (n_etas,)
        In the order of ``ETAS``.
    """
    parts = []
    for block in blocks:
        rows = block[rng.permutation(len(block))[:_CHOOSING_ROWS]]
        n_held = min(max(1, round(_HELD_SHARE * len(rows))), len(rows) - 2)
        if n_held < 1:
            raise ValueError(
                'eta="cv" needs at least three rows in every environment, got '
                f"n_samples = {len(rows)} in one."
            )
        parts.append((rows[n_held:], rows[:n_held]))
    losses = Parallel(n_jobs=n_jobs)(
        delayed(_held_out_losses)(train, held, bandwidth) for train, held in parts
    )
    losses = np.sum(losses, axis=0)
    return ETAS[int(np.argmin(losses))], losses


def _held_out_losses(train, held, bandwidth):
    gaps = squared_euclidean(train, train)
    return [
        stein_score(
            train, eta=eta, bandwidth=bandwidth, squared_distances=gaps
        ).hyvarinen_loss(held)
        for eta in ETAS
    ]


def _stein_at(block, points, eta, bandwidth):
    if np.ptp(block, axis=0).max() == 0:
        # A column that is constant in one environment: there is no density.
        return np.zeros(points.shape), np.zeros(len(points))
    score = stein_score(block, eta=eta, bandwidth=bandwidth)
    return score.score_and_density(points)


def _score_at(block, points, estimator):
    return np.asarray(fit_score(block, estimator)(points), dtype=np.float64)


def _odds_at(block, base, points, eta, bandwidth, settings):
    odds = log_odds(
        block, base, eta=eta, bandwidth=bandwidth, random_state=settings["seed"]
    )
    return odds.gradient(points)
