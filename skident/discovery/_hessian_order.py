"""Order of the nodes from Hessians of log-densities where all noises are zero."""

import numpy as np
from joblib import Parallel, delayed
from scipy import linalg, optimize

from skident.discovery._causal_order import (
    CausalOrder,
    Path,
    densest,
    on_one_scale,
    pooled_points,
    thinned,
)
from skident.discovery._scores import choose_eta, covariance_of, precision_of
from skident.solvers import stein_score

# Share of the points, those where the scores agree best, whose Hessians are averaged.
_SHARE_AVERAGED = 0.05
_FEWEST_AVERAGED = 5


def hessian_order(
    blocks,
    *,
    score_estimator="stein",
    marginals="normal",
    eta=0.3,
    bandwidth=1.0,
    keep_fraction=0.5,
    max_points=1000,
    max_kernel_samples=2000,
    n_jobs=None,
    rng=None,
):
    """Order the nodes by eigenvectors of a ratio of Hessian differences.

    Parameters
    ----------
    blocks : list of E + 1 ndarrays of shape (n_e, d), float64
        Rows of each environment, base first; E >= 2, or E >= 1 for "gaussian".
    score_estimator : {"stein", "gaussian"}, default="stein"
    marginals, eta, bandwidth, keep_fraction, max_points, max_kernel_samples, n_jobs, \
            rng
        As in :func:`skident.discovery._causal_order.sink_order`.

    Returns
    -------
    found : CausalOrder
        Its criterion is the mass off the diagonal in each remaining node's column of
        the Jacobian of noises by nodes, rows scaled to a diagonal of ones.
    """
    rng = np.random.default_rng(rng)
    if score_estimator == "gaussian":
        blocks = on_one_scale(blocks, "standard")
        sizes = np.array([len(block) for block in blocks])
        covariances = [covariance_of(block) for block in blocks]
        precisions = np.stack(
            [precision_of(C, n) for C, n in zip(covariances, sizes, strict=True)]
        )
        return order_of_hessians(
            *hessians_of_precisions(precisions),
            differences=precisions[1:] - precisions[0],
            covariance=np.tensordot(sizes / sizes.sum(), np.stack(covariances), axes=1),
        )
    blocks = on_one_scale(blocks, marginals)
    points = pooled_points(blocks, max_points, rng)
    blocks = thinned(blocks, max_kernel_samples, rng)
    if eta == "cv":
        eta, _ = choose_eta(blocks, bandwidth=bandwidth, n_jobs=n_jobs, rng=rng)
    fits = Parallel(n_jobs=n_jobs)(
        delayed(stein_score)(block, eta=eta, bandwidth=bandwidth) for block in blocks
    )
    at_points = [fit.score_and_density(points) for fit in fits]
    density = np.min([density for _, density in at_points], axis=0)
    kept = densest(density, keep_fraction)
    differences = np.stack([score[kept] for score, _ in at_points])
    differences = differences[1:] - differences[0]
    # All noises are zero where all environments have one score.
    gap = np.square(differences).sum(axis=(0, 2))
    n_averaged = min(len(gap), max(_FEWEST_AVERAGED, round(_SHARE_AVERAGED * len(gap))))
    best = kept[np.argsort(gap, kind="stable")[:n_averaged]]
    hessians = np.stack([fit.jacobian(points[best]).mean(axis=0) for fit in fits])
    changes = hessians[0] - hessians[1:]
    found = order_of_hessians(*_groups(changes), differences=changes)
    strength = np.sqrt(np.square(differences).mean(axis=1))
    return _with(found, strength, eta, tuple(map(len, blocks)))


def hessians_of_precisions(precisions):
    """The two Hessian differences of linear models, from their precision matrices."""
    if len(precisions) == 2:
        # A linear model fixes the ratio of the two precisions themselves.
        return precisions[0], precisions[1]
    return _groups(precisions[1:] - precisions[0])


def _groups(differences):
    return differences[0::2].sum(axis=0), differences[1::2].sum(axis=0)


def order_of_hessians(first, second, *, differences=None, covariance=None):
    """Order of the nodes from two matrices J^T W J with diagonal W.

    Parameters
    ----------
    first, second : ndarray of shape (d, d)
        Hessian differences of two groups of environments.
    differences : ndarray of shape (E, d, d) or None, default=None
        Those of each auxiliary environment; None are the two groups.
    covariance : ndarray of shape (d, d) or None, default=None
        Of the nodes, for the size of the noises; None has noises of size one.

    Returns
    -------
    found : CausalOrder
        ``directions`` holds the diagonals W of each environment, node by node, as unit
        vectors.
    """
    if differences is None:
        differences = np.stack([first, second])
    d = len(first)
    values, vectors = linalg.eig(second, first, check_finite=False)
    notes = ()
    if np.abs(values[np.isfinite(values)].imag).max(initial=0.0) > 0:
        notes = (
            "eigenvalues are complex: ratios of noises are too close to each other",
        )
    # Two conjugate eigenvectors span the plane of their real and imaginary parts.
    vectors = np.where(values.imag < 0, vectors.imag, vectors.real)
    rows = linalg.pinv(vectors)
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-300)
    # A zero on the diagonal would have infinite cost: what rounding makes of it.
    cost = -np.log(np.maximum(np.abs(rows), np.finfo(float).eps))
    source, node = optimize.linear_sum_assignment(cost)
    J = np.empty((d, d))
    J[node] = rows[source]
    pivots = np.diag(J).copy()
    J /= np.where(np.abs(pivots) > 0, pivots, 1.0)[:, None]
    inverse = linalg.pinv(J)
    scales = np.einsum("ki,ekl,li->ie", inverse, differences, inverse)
    lengths = np.linalg.norm(scales, axis=1, keepdims=True)
    directions = np.divide(
        scales, lengths, out=np.zeros_like(scales), where=lengths > 0
    )
    directions *= np.where(directions.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    spread = np.ones(d)
    if covariance is not None:
        spread = np.sqrt(np.einsum("ik,kl,il->i", J, covariance, J))
    strength = np.abs(scales) * spread[:, None]
    path, remaining = Path(d, len(differences)), np.arange(d)
    mass = np.abs(J) - np.diag(np.abs(np.diag(J)))
    while len(remaining):
        crit = mass[np.ix_(remaining, remaining)].sum(axis=0)
        at = directions[remaining]
        _, remaining = path.remove(remaining, crit, at, strength[remaining].T)
    return path.found(notes=notes)


def _with(found, strength, eta, n_kernel_rows):
    return CausalOrder(
        found.order,
        found.criterion_path,
        found.remaining_path,
        found.directions,
        strength,
        eta=eta,
        n_kernel_rows=n_kernel_rows,
        notes=found.notes,
    )
