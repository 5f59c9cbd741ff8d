"""Order of the nodes of an additive model, from regressions that do not change."""

from dataclasses import replace

import numpy as np
from scipy import stats
from scipy.linalg import lapack

from skident.discovery._causal_order import Path, marginal_precisions, on_one_scale
from skident.discovery._invariance_order import noise_coefficients, rows_that_count
from skident.discovery._scores import covariance_of, precision_of, regular_covariance
from skident.discovery._spline_columns import additive_columns

# Variances, in those of the columns, that rounding leaves of an exact relation.
_EXACT = 1e-12
# Of each column's own weighted variance: settles what no row tells, and no more.
_RIDGE = 1e-9
_MAX_ROUNDS = 20
# Of logarithms of variances. They minimise the likelihood ratio, whose error is then
# the square of theirs.
_TOL = 3e-3
# Logarithm of a p-value below which one sink does not speak against a scale any louder.
_LOUDEST = -30.0
_SCALES = {
    "standard": "columns were taken as they are",
    "normal": "columns were taken as their normal scores",
}


def additive_order(blocks, *, marginals="auto", given=None):
    """Order the nodes by removing sinks, whose regressions no environment changes.

    As :func:`skident.discovery._invariance_order.invariance_order`, with means that
    are sums of cubic splines of all other nodes. Given such a mean that environments
    share, each may add to it a linear one of its own: those of a node with children,
    whose regression is a compromise between noises, do.

    Parameters
    ----------
    blocks : list of E + 1 ndarrays of shape (n_e, d), float64
        Rows of each environment, base first; E >= 1.
    marginals : {"auto", "standard", "normal"}, default="auto"
        Scale of the columns. "auto" is the one on which the sinks' p-values are larger
        (the sum of their logarithms), columns as they are if none is.
    given : sequence of d ints or None, default=None
        An order to follow, for its criteria.

    Returns
    -------
    found : CausalOrder
        Its criterion is twice the log-likelihood ratio, which for a sink has at most a
        chi-squared law of E (r - 1) degrees of freedom, r the number of nodes that
        remain: curves that are shared take up a part of what environments add. That is
        in large samples, for errors whose spread does not hang on the causes; rows are
        counted as in :func:`invariance_order`, less those that the curves take.
    """
    scales = ["standard", "normal"] if marginals == "auto" else [marginals]
    found = [
        replace(_order(on_one_scale(blocks, scale), given), notes=(_SCALES[scale],))
        for scale in scales
    ]
    return max(found, key=lambda order: _plausibility(order, len(blocks) - 1))


def _plausibility(found, n_pairs):
    d = len(found.order)
    free = n_pairs * np.arange(d - 1, 0, -1)
    return np.maximum(stats.chi2.logsf(found.sink_criteria, free), _LOUDEST).sum()


def _order(blocks, given):
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    columns, owner = additive_columns(np.concatenate(blocks))
    ends = np.cumsum([len(block) for block in blocks])
    M = np.stack([covariance_of(F) for F in np.split(columns, ends[:-1])])
    d = blocks[0].shape[1]
    linear = np.searchsorted(owner, np.arange(d))
    both = np.ix_(range(len(M)), linear, linear)
    M[both] = [regular_covariance(C, n) for C, n in zip(M[both], sizes, strict=True)]
    P = np.stack([precision_of(C, n) for C, n in zip(M[both], sizes, strict=True)])
    path, remaining = Path(d, len(sizes) - 1, given), np.arange(d)
    shared = np.maximum(M[:, linear, linear].T, _EXACT)
    while len(remaining):
        r = len(remaining)
        own = np.empty_like(shared)
        for k in range(r):
            mine = slice(*np.searchsorted(owner, [remaining[k], remaining[k] + 1]))
            fit = _shared_fit(M, sizes, mine, shared[k])
            shared[k], toward = fit[0], fit[1][:, linear]
            # What a linear regression of the errors would take off their variance.
            toward[:, k] = 0.0
            along = np.einsum("ejk,ek->ej", P, toward)
            gain = np.einsum("ej,ej->e", along, toward) - along[:, k] ** 2 / P[:, k, k]
            own[k] = np.maximum(shared[k] - np.maximum(gain, 0.0), _EXACT)
        counted = rows_that_count(sizes, r, n_curves=len(owner) - r)
        crit = np.log(shared / own) @ counted
        coefficients = noise_coefficients(own, shared, sizes)
        k, left = path.remove(remaining, crit, *coefficients)
        kept = owner != remaining[k]
        # In this order in memory, or every product would copy it.
        M = np.ascontiguousarray(M[:, kept][:, :, kept])
        owner, remaining = owner[kept], left
        linear, shared = np.searchsorted(owner, left), np.delete(shared, k, axis=0)
        P = marginal_precisions(P, k)
    return path.found()


def _shared_fit(M, sizes, mine, variances):
    """Regression of a node on all others that is the same in every environment.

    Parameters
    ----------
    M : ndarray of shape (E + 1, q, q)
        Covariances of the columns that remain.
    sizes : ndarray of shape (E + 1,)
    mine : slice
        Columns of the node, itself first.
    variances : ndarray of shape (E + 1,)
        Of its errors, to start from.

    Returns
    -------
    variances : ndarray of shape (E + 1,)
    toward : ndarray of shape (E + 1, q)
        Covariances of the errors with all columns.
    """
    target = M[:, mine.start]
    for _ in range(_MAX_ROUNDS):
        weights = sizes / variances
        weights /= weights.sum()
        normal = np.tensordot(weights, M, 1)
        coefficients = _solve_without(normal, weights @ target, mine)
        toward = target - M @ coefficients
        before = variances
        variances = target[:, mine.start] - (target + toward) @ coefficients
        variances = np.maximum(variances, _EXACT)
        if np.abs(np.log(variances / before)).max() < _TOL:
            break
    return variances, toward


def _solve_without(normal, right, own):
    """Coefficients of a regression on all columns but a node's own, which are zero.

    Parameters
    ----------
    normal : ndarray of shape (q, q)
        Normal matrix of all columns; overwritten.
    right : ndarray of shape (q,)
        Overwritten.
    own : slice

    Returns
    -------
    coefficients : ndarray of shape (q,)
    """
    normal[own], normal[:, own], right[own] = 0.0, 0.0, 0.0
    diagonal = normal.diagonal()
    # Columns that are constant wherever weights are large have a variance of zero.
    floor = np.finfo(float).eps * diagonal.max()
    normal.flat[:: len(normal) + 1] += _RIDGE * diagonal + floor
    normal[own, own] = np.eye(own.stop - own.start)
    _, coefficients, info = lapack.dposv(normal.T, right, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError("normal equations that are not positive definite.")
    return coefficients
