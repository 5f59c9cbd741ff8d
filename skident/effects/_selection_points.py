"""Units, where arms can be observed, and points for integrals over covariates."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss

from skident.effects._polynomials import Box

_NODES = {1: 64, 2: 24}
# Twice as many a side where a rule of support cuts the box, as in one dimension the
# cuts are found and in two they are not.
_NODES_CUT = {1: 64, 2: 64}
_LOG2_SOBOL = 12


def arm_mask(support_mask, X):
    """Where each arm can be observed, (n, 2) bool; everywhere without a rule."""
    if support_mask is None:
        return np.ones((len(X), 2), dtype=bool)
    return np.column_stack(
        [np.asarray(support_mask(X, arm), dtype=bool).reshape(-1) for arm in (0, 1)]
    )


def check_mask(kept, t):
    """Refuse rows that a rule of support excludes."""
    outside = ~kept[np.arange(len(t)), t]
    if outside.any():
        raise ValueError(
            "support_mask must be true of every selected row, got "
            f"{outside.sum()} rows it excludes; n_samples = {len(t)}."
        )


def covariate_points(box, support_mask, rng):
    """Points and log-weights of the integral over a box, in its units.

    Parameters
    ----------
    box : Box
    support_mask : callable or None
    rng : numpy.random.Generator

    Returns
    -------
    points : ndarray of shape (G, d)
    log_volume : ndarray of shape (G,)
        Of shares of the box.
    """
    d = len(box.half)
    if d > 2:
        from scipy.stats import qmc

        points = qmc.Sobol(d, scramble=False).random_base2(_LOG2_SOBOL)
        points = 2.0 * ((points + rng.random(d)) % 1.0) - 1.0
        return points, np.full(len(points), -np.log(len(points)))
    sizes = _NODES if support_mask is None else _NODES_CUT
    if d == 1:
        edges = np.r_[-1.0, _cuts(box, support_mask), 1.0]
        lengths = np.diff(edges)
        counts = np.maximum(np.ceil(sizes[1] * lengths / 2.0).astype(int), 16)
        rules = [leggauss(count) for count in counts]
        points = np.concatenate(
            [
                edge + 0.5 * length * (1.0 + u)
                for (u, _), edge, length in zip(rules, edges, lengths, strict=False)
            ]
        )
        weights = np.concatenate(
            [0.25 * length * w for (_, w), length in zip(rules, lengths, strict=True)]
        )
        return points[:, None], np.log(weights)
    u, w = leggauss(sizes[2])
    points = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.log(np.outer(w, w).ravel() / 4.0)


def _cuts(box, support_mask, n_grid=2049):
    """Where a rule of support changes along one covariate, by bisection."""
    if support_mask is None:
        return np.zeros(0)
    grid = np.linspace(-1.0, 1.0, n_grid)

    def rule(u):
        return arm_mask(support_mask, box.unscale(u[:, None]))

    values = rule(grid)
    jump = np.flatnonzero((values[1:] != values[:-1]).any(axis=1))
    low, high, before = grid[jump], grid[jump + 1], values[jump]
    for _ in range(50):
        middle = 0.5 * (low + high)
        same = (rule(middle) == before).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.unique(0.5 * (low + high))


def compress(points, mask, n_cells):
    """A few points with weights in place of many.

    Cells are halved at the median of the widest side; arms are observed all over a cell
    or nowhere in it.

    Parameters
    ----------
    points : ndarray of shape (m, d)
    mask : ndarray of bool of shape (m, 2)
    n_cells : int
        About as many are left.

    Returns
    -------
    points : ndarray of shape (G, d)
    log_volume : ndarray of shape (G,)
    mask : ndarray of bool of shape (G, 2)
    """
    most = max(len(points) // n_cells, 1)
    code = 2 * mask[:, 0] + mask[:, 1]
    pending = [np.flatnonzero(code == value) for value in np.unique(code)]
    cells = []
    while pending:
        rows = pending.pop()
        if len(rows) <= most:
            cells.append(rows)
            continue
        widest = np.argmax(np.ptp(points[rows], axis=0))
        order = rows[np.argsort(points[rows, widest], kind="stable")]
        pending += [order[: len(order) // 2], order[len(order) // 2 :]]
    sizes = np.array([len(rows) for rows in cells])
    return (
        np.stack([points[rows].mean(axis=0) for rows in cells]),
        np.log(sizes / len(points)),
        mask[[rows[0] for rows in cells]],
    )


@dataclass(frozen=True)
class Units:
    """Scales on which the likelihood works."""

    box: Box
    shift: float
    scale: float

    def outcome(self, y):
        return (y - self.shift) / self.scale


def outcome_units(y, weight, family, noise, box):
    """Shift and scale of the outcome, as the family allows."""
    if family in ("lognormal", "pareto"):
        return Units(box, 0.0, float(np.exp(np.average(np.log(y), weights=weight))))
    mean = np.average(y, weights=weight)
    sd = np.sqrt(np.average((y - mean) ** 2, weights=weight))
    # A constant outcome has no scale of its own.
    scale = sd if sd > 0 else max(abs(mean), 1.0)
    return Units(box, 0.0 if noise == "multiplicative" else mean, scale)
