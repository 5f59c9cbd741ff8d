"""Whitening: the linear map to uncorrelated coordinates of unit variance."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy import linalg

from skident.solvers._moments import (
    LARGEST_VARIANCE,
    SMALLEST_VARIANCE,
    Moments,
    moments_of,
    out_of_range,
    row_slices,
)
from skident.solvers._random import generator

# Beyond this ratio of eigenvalues those of the covariance have lost too many digits.
_MAX_EIGH_CONDITION = 1e6
# Share of the largest eigenvalue of a covariance that rounding can leave to others.
_COVARIANCE_NOISE = 1e-13
_OVERSAMPLING = 10
_POWER_ITERATIONS = 6


class Whitening(NamedTuple):
    """A whitening map and what it was computed from.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the data.
    matrix : ndarray of shape (n_components, n_features)
        Rows ``u_i / sqrt(lambda_i)``: the whitened row is ``matrix @ (x - mean)``.
    explained_variance : ndarray of shape (n_components,)
        Eigenvalues of the kept components, descending, in squared units of the data.
    rank : int
        Number of eigenvalues above ``rank_tol`` times the largest, and above what
        rounding of the means can leave.
    spectrum : ndarray of shape (n_eigenvalues,)
        All eigenvalues of the covariance that were computed, descending: all
        n_features of them, but for the solver "randomized".
    condition_number : float
        Largest over smallest kept eigenvalue.
    solver : str
        "eigh", "svd" or "randomized": the one that was used.
    """

    mean: np.ndarray
    matrix: np.ndarray
    explained_variance: np.ndarray
    rank: int
    spectrum: np.ndarray
    condition_number: float
    solver: str


def whitening(
    moments_or_X,
    n_components=None,
    *,
    solver="auto",
    rank_tol=1e-10,
    random_state=None,
):
    """Find the map that whitens the data, onto the principal components kept.

    Parameters
    ----------
    moments_or_X : Moments or array-like of shape (n_samples, n_features)
        The data, or their moments; a memory map is read chunk by chunk.
    n_components : int, float in (0, 1), "mp" or None, default=None
        Number of components; or the share of the variance that they explain at
        least; or "mp": as many as have eigenvalues above the edge of the
        Marchenko-Pastur law, whose noise level is read off the median eigenvalue.
        None is the numerical rank.
    solver : {"auto", "eigh", "svd", "randomized"}, default="auto"
        "eigh" decomposes the covariance. "svd" decomposes the centred data, by way
        of the triangular factor of chunks, which keeps the digits of the small
        eigenvalues of badly conditioned data; it reads ``X`` twice. "randomized"
        iterates on a few directions and needs an integer ``n_components``. "auto" is
        "eigh" when ``n_samples >= 4 n_features`` and the condition number of the kept
        components is at most 1e6, or when there are only moments, and "svd" elsewhere,
        where it can by a covariance of nearly whitened rows.
    rank_tol : float, default=1e-10
        Eigenvalues at most this share of the largest count as zero.
    random_state : int, Generator, RandomState or None, default=None
        For "randomized".

    Returns
    -------
    Whitening
        Whose rows are signed such that their largest entry in absolute value is
        positive.

    Raises
    ------
    ValueError
        If fewer than two rows came, all are the same, a value is not finite, the
        largest standard deviation is outside 1e-140 to 1e140, or ``n_components``
        exceeds the numerical rank, which is then named.

    Notes
    -----
    Everything is float64, whatever the data. "eigh" takes O(n p^2 + p^3), "svd" about
    four times as much, "randomized" O(n p k) a pass, for n rows, p features and k
    components; memory is a chunk of a few MiB and p^2 numbers. Principal components
    are identified up to sign where their eigenvalues differ; the whitened space as a
    whole is identified up to an orthogonal map.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import whitening
    >>> X = np.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
    >>> found = whitening(X)
    >>> found.explained_variance
    array([9., 1.])
    >>> ((X - found.mean) @ found.matrix.T).var(axis=0)
    array([1., 1.])
    """
    X = None
    if not isinstance(moments_or_X, Moments):
        X = moments_or_X
        X = X if isinstance(X, np.ndarray) else np.asarray(X)
        if X.ndim != 2:
            raise ValueError(f"X must be two-dimensional, got {X.ndim}.")
    if solver not in ("auto", "eigh", "svd", "randomized"):
        raise ValueError(
            f"solver must be 'auto', 'eigh', 'svd' or 'randomized', got {solver!r}."
        )
    if solver == "randomized":
        return _randomized(moments_or_X, X, n_components, rank_tol, random_state)
    if solver == "svd" and X is None:
        raise ValueError("solver='svd' needs the data, not their moments.")
    n_samples = moments_or_X.n_samples if X is None else len(X)
    n_features = len(moments_or_X.mean) if X is None else X.shape[1]
    _check_rows(n_samples)
    automatic = solver == "auto"
    if automatic:
        wide = X is not None and n_samples < 4 * n_features
        solver = "svd" if wide else "eigh"
    if solver == "eigh":
        moments = moments_or_X if X is None else Moments(n_features).update(X)
        moments.check_range()
        mean = moments.mean
        values, vectors = linalg.eigh(moments.covariance)
        found = _build(
            mean, values[::-1], vectors.T[::-1], n_samples, n_components, rank_tol
        )
        if not (automatic and X is not None):
            return found._replace(solver="eigh")
        if found.condition_number <= _MAX_EIGH_CONDITION:
            return found._replace(solver="eigh")
        factor = _refined(X, mean, values[::-1], vectors.T[::-1], rank_tol)
    else:
        mean, factor = _mean(X), None
    if factor is None:
        factor = _triangular(X, mean)
    values, vectors = _decomposed(factor, n_samples)
    found = _build(mean, values, vectors, n_samples, n_components, rank_tol)
    return found._replace(solver="svd")


def _check_rows(n_samples):
    if n_samples < 2:
        raise ValueError(
            f"at least two rows are needed to whiten (n_samples = {n_samples})."
        )


def _mean(X):
    """Column means in float64; refuses what is not finite or not of a usable size."""
    total, span = np.zeros(X.shape[1]), 0.0
    shift = X[0].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in row_slices(*X.shape):
            chunk = X[rows] - shift
            total += chunk.sum(axis=0)
            span = max(span, np.abs(chunk, out=chunk).max())
    mean = shift + total / len(X)
    if not np.isfinite(mean).all():
        if all(np.isfinite(X[rows]).all() for rows in row_slices(*X.shape)):
            raise out_of_range(len(X))
        raise ValueError(f"X must be finite (n_samples = {len(X)}).")
    # No variance is above the square of the span; one is at least span^2 / (2 n).
    limits = np.sqrt([2 * len(X) * SMALLEST_VARIANCE, LARGEST_VARIANCE])
    if span and not limits[0] <= span <= limits[1]:
        raise out_of_range(len(X))
    return mean


def _triangular(X, mean):
    """R of the QR decomposition of the centred data, chunk by chunk."""
    n_samples, n_features = X.shape
    factor = np.zeros((0, n_features))
    # A chunk should outweigh the factor that is decomposed again with it.
    n_bytes = max(2**21, 32 * n_features * n_features)
    for rows in row_slices(n_samples, n_features, n_bytes):
        stacked = np.concatenate([factor, X[rows] - mean])
        factor = linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)[0]
        factor = factor[:n_features]
    return factor


def _refined(X, mean, values, vectors, rank_tol):
    """The same R but for a rotation, from the covariance of nearly white data.

    One more product of the data instead of a decomposition. The components that
    rounding has spoilt beyond use must be below the rank; otherwise None.
    """
    if rank_tol < 10 * _COVARIANCE_NOISE:
        return None
    good = values > _COVARIANCE_NOISE * values[0]
    scales, vectors = np.sqrt(values[good])[:, None], vectors[good]
    matrix = (vectors / scales).T
    white = moments_of(X, len(vectors), lambda chunk: (chunk - mean) @ matrix)
    try:
        factor = linalg.cholesky(white.covariance)
    except linalg.LinAlgError:
        return None
    return factor @ (scales * vectors) * np.sqrt(len(X))


def _decomposed(factor, n_samples):
    """Eigenvalues and vectors of the covariance from a factor of the data."""
    values, vectors = linalg.svd(factor, full_matrices=False, check_finite=False)[1:]
    spectrum = np.zeros(factor.shape[1])
    spectrum[: len(values)] = values**2 / n_samples
    return spectrum, vectors


def _randomized(moments_or_X, X, n_components, rank_tol, random_state):
    """Subspace iteration on the covariance, which is formed only by ``Moments``."""
    if isinstance(n_components, bool) or not isinstance(n_components, Integral):
        raise ValueError(
            f"solver='randomized' needs an integer n_components, got {n_components!r}."
        )
    if X is None:
        moments = moments_or_X
        moments.check_range()
        _check_rows(moments.n_samples)
        mean, n_samples = moments.mean, moments.n_samples
        covariance = moments.covariance

        def apply(Q):
            return covariance @ Q
    else:
        _check_rows(len(X))
        mean, n_samples = _mean(X), len(X)

        def apply(Q):
            total = np.zeros_like(Q)
            for rows in row_slices(*X.shape):
                chunk = X[rows] - mean
                total += chunk.T @ (chunk @ Q)
            return total / n_samples

    n_features = len(mean)
    size = min(n_components + _OVERSAMPLING, n_features)
    rng = generator(random_state)
    Q = linalg.qr(rng.standard_normal((n_features, size)), mode="economic")[0]
    for _ in range(_POWER_ITERATIONS):
        Q = linalg.qr(apply(Q), mode="economic")[0]
    small = Q.T @ apply(Q)
    values, vectors = linalg.eigh((small + small.T) / 2)
    vectors = (Q @ vectors).T[::-1]
    found = _build(mean, values[::-1], vectors, n_samples, n_components, rank_tol)
    return found._replace(solver="randomized")


def _build(mean, values, vectors, n_samples, n_components, rank_tol):
    """Whitening from the spectrum (descending) and its vectors (rows)."""
    values = np.maximum(values, 0.0)
    # Means of columns that vary are rounded; those of constant ones are exact.
    rounding = 4.0 * np.finfo(np.float64).eps * np.abs(mean)
    varies = np.sqrt(values[: len(vectors)] @ np.square(vectors)) > rounding
    rounding = rounding[varies].max(initial=0.0)
    floor = max(rank_tol * values[0], len(mean) * rounding**2)
    rank = int((values > floor).sum())
    if rank == 0:
        raise ValueError(f"all rows of X are the same (n_samples = {n_samples}).")
    size = _n_kept(n_components, values, rank, n_samples)
    if size > rank:
        raise ValueError(
            f"n_components = {size} exceeds the numerical rank of X, which is {rank} "
            f"(n_samples = {n_samples}, n_features = {len(mean)})."
        )
    kept, vectors = values[:size].copy(), vectors[:size]
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.sign(vectors[np.arange(size), largest])
    return Whitening(
        mean=mean,
        matrix=vectors * (signs / np.sqrt(kept))[:, None],
        explained_variance=kept,
        rank=rank,
        spectrum=values,
        condition_number=float(kept[0] / kept[-1]),
        solver="",
    )


def _n_kept(n_components, values, rank, n_samples):
    if n_components is None:
        return rank
    if isinstance(n_components, str) and n_components == "mp":
        return max(1, int((values[:rank] > _noise_edge(values, rank, n_samples)).sum()))
    if isinstance(n_components, Integral) and not isinstance(n_components, bool):
        if n_components >= 1:
            return int(n_components)
    elif isinstance(n_components, Real) and 0 < n_components < 1:
        share = np.cumsum(values) / values.sum()
        # Rounding must not ask for one more than the share that is reached exactly.
        return min(int((share < n_components * (1 - 1e-12)).sum()) + 1, rank)
    raise ValueError(
        "n_components must be None, a positive integer, a float in (0, 1) or 'mp', "
        f"got {n_components!r}."
    )


def _noise_edge(values, rank, n_samples):
    """Upper edge of the Marchenko-Pastur law fitted to the median eigenvalue."""
    # With more features than rows the nonzero eigenvalues follow the law of the
    # transposed data but for a factor, which the median takes out.
    n_features = len(values) if len(values) > n_samples else rank
    ratio = min(n_features / n_samples, n_samples / n_features)
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    # The substitution takes the square roots out of the density's ends.
    angle = (np.arange(2000) + 0.5) * np.pi / 2000
    grid = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    mass = np.cumsum(np.sin(angle) ** 2 / grid)
    median = np.interp(0.5 * mass[-1], mass, grid)
    return np.median(values[:rank]) / median * high
