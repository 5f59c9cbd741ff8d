"""ICA of the rows of one environment, in d dimensions, from rows that are read once."""

from typing import NamedTuple

import numpy as np
from scipy import linalg

from skident.discovery._rescaling import CHUNK_ROWS
from skident.discovery._shift_statistics import (
    Sources,
    functional,
    quantiles,
)
from skident.solvers import Moments, Whitening, ica, whitening

# Rows of sources on which laws and dependence are compared.
SAMPLE_ROWS = 20_000
# Eigenvalues of a covariance below this share of the largest are rounding. What a map
# to unit variance makes of them is decided by the rows themselves.
_COVARIANCE_NOISE = 1e-15
# Variance below this, of rows that would be white but for lost digits, is none.
_EMPTY = 1e-12
# Share of the variance of a whitened direction that rounding of X may have.
_MAX_ROUNDING = 0.5


class Search(NamedTuple):
    """Settings of the search for a rotation, as ``skident.solvers.ica`` takes them."""

    fun: str
    max_iter: int
    tol: float
    n_init: int

    def run(self, Z, white, seed):
        """Search on rows ``Z`` with their whitening."""
        return ica(Z, white, random_state=int(seed), **self._asdict())


class EnvironmentRows:
    """The rows of one environment, read in chunks from all rows.

    Parameters
    ----------
    shards : Shards
        All rows.
    rows : ndarray of int
        Ascending numbers of this environment's rows.
    """

    def __init__(self, shards, rows):
        self.shards = shards
        self.n_features = shards.n_features
        self._numbers = rows
        whole = shards.in_memory
        stacked = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
        # A view where the rows stand together in memory.
        self._view = (
            whole[rows[0] : rows[-1] + 1] if stacked and whole is not None else None
        )

    def __len__(self):
        return len(self._numbers)

    def chunks(self, n_rows=CHUNK_ROWS):
        """All rows in order, ``n_rows`` at a time."""
        for low in range(0, len(self), n_rows):
            if self._view is not None:
                yield self._view[low : low + n_rows]
            else:
                yield self.shards.read(self._numbers[low : low + n_rows])

    def read(self, chosen):
        """Some rows, by ascending numbers within the environment."""
        return self.shards.read(self._numbers[chosen])


def span_angles(spans):
    """Largest principal angle, in radians, of each span to the first.

    Parameters
    ----------
    spans : list of K ndarrays of shape (p, d)
        Orthonormal columns.

    Returns
    -------
    angles : ndarray of shape (K,)
    """
    first, angles = spans[0], np.zeros(len(spans))
    for k, span in enumerate(spans[1:], start=1):
        # By the sine, which keeps the digits of small angles.
        outside = span - first @ (first.T @ span)
        angles[k] = np.arcsin(min(1.0, np.linalg.norm(outside, 2)))
    return angles


class Unmixed(NamedTuple):
    """What ICA found for one environment.

    Parameters
    ----------
    sources : Sources
    psi_stderr : ndarray of shape (d,)
    mixing : ndarray of shape (p, d)
        Pseudoinverse of ``sources.rows``.
    kurtosis : ndarray of shape (d,)
        Excess kurtosis of each source.
    mean_abs : ndarray of shape (d,)
        Mean absolute value of each source.
    sample : ndarray of shape (n_rows, d), float32
        Sources of some rows.
    rounding : ndarray of shape (d,)
        Standard deviation that rounding of X gives each source.
    n_iter : int
    converged : bool
    gradient_norm : float
    """

    sources: Sources
    psi_stderr: np.ndarray
    mixing: np.ndarray
    kurtosis: np.ndarray
    mean_abs: np.ndarray
    sample: np.ndarray
    rounding: np.ndarray
    n_iter: int
    converged: bool
    gradient_norm: float

    @property
    def psi(self):
        """A functional of the law of each source."""
        return self.sources.psi


class LowerRank(ValueError):
    """The rows of an environment span fewer dimensions than wanted."""


def project(rows, mean, matrix):
    """Rows ``matrix @ (x - mean)``, computed in float64 and kept in float32."""
    Z = np.empty((len(rows), len(matrix)), dtype=np.float32)
    low = 0
    for chunk in rows.chunks():
        Z[low : low + len(chunk)] = (chunk - mean) @ matrix.T
        low += len(chunk)
    return Z


def turned(Z, mean, turn):
    """Rows ``turn @ (z - mean)`` of rows in memory, in float32."""
    Y = np.empty((len(Z), len(turn)), dtype=np.float32)
    for low in range(0, len(Z), CHUNK_ROWS):
        chunk = Z[low : low + CHUNK_ROWS]
        Y[low : low + CHUNK_ROWS] = (chunk - mean) @ turn.T
    return Y


def first_whitening(covariance, vectors):
    """Map to nearly white coordinates within the span of some directions.

    Nearly: the covariance has lost digits of its small eigenvalues.

    Returns
    -------
    matrix : ndarray of shape (d, p)
    back : ndarray of shape (p, d)
        Its pseudoinverse.
    """
    values, turn = linalg.eigh(vectors.T @ covariance @ vectors)
    floor = _COVARIANCE_NOISE * values[-1]
    if not floor > 0:
        raise LowerRank
    scale = np.sqrt(np.maximum(values, floor))
    directions = vectors @ turn
    # Signs that rounding does not flip, as a search starts from these coordinates.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(len(scale))])
    return (directions / scale).T, directions * scale


def symmetric_whitening(Z):
    """Map of nearly white rows to white ones that turns them as little as can be.

    Directions of nearly white rows are made by rounding: no search may start from them.

    Returns
    -------
    white : Whitening
    back : ndarray of shape (d, d)
        Inverse of its matrix.

    Raises
    ------
    LowerRank
        If the rows span fewer dimensions than they have columns.
    """
    d = Z.shape[1]
    moments = Moments(d).update(Z)
    values, turn = linalg.eigh(moments.covariance)
    if not values[0] > _EMPTY * values[-1]:
        raise LowerRank
    scale = np.sqrt(values)
    white = Whitening(
        mean=moments.mean,
        matrix=(turn / scale) @ turn.T,
        explained_variance=values[::-1],
        rank=d,
        spectrum=values[::-1],
        condition_number=float(values[-1] / values[0]),
        solver="eigh",
    )
    return white, (turn * scale) @ turn.T


def unmix(rows, described, vectors, search, psi, matching, kept, seeds):
    """ICA of one environment within the span of some directions.

    Parameters
    ----------
    rows : EnvironmentRows
    described : Described
    vectors : ndarray of shape (p, d)
        Orthonormal directions.
    search : Search
    psi : str or callable
        Functional of the law of a source.
    matching : str
        Decides whether quantiles are needed.
    kept : Kept
        Which rows to return.
    seeds : sequence of two ints
        Of the search, and of the choice of rows.

    Returns
    -------
    unmixed : Unmixed or None
        None where the rows span fewer dimensions.
    part : Part or None
        Some rows.
    """
    mean = described.moments.mean
    try:
        matrix, back = first_whitening(described.moments.covariance, vectors)
        Z = project(rows, mean, matrix)
        white, unwhite = symmetric_whitening(Z)
    except LowerRank:
        return None, None
    eps = np.finfo(rows.shards.dtype).eps
    # An entry x is off by at most eps |x| / 2, uniformly.
    noise = eps**2 / 12 * described.mean_square
    if (np.square(white.matrix @ matrix) @ noise > _MAX_ROUNDING).any():
        return None, None
    found = search.run(Z, white, seeds[0])
    turn = found.rotation @ white.matrix
    components = turn @ matrix
    Y = turned(Z, white.mean, turn)
    values, stderr = functional(Y, psi)
    sample = Y[:: max(1, -(-len(Y) // SAMPLE_ROWS))].copy()
    unmixed = Unmixed(
        sources=Sources(components, values, _quantiles(sample, matching)),
        psi_stderr=stderr,
        mixing=back @ unwhite @ found.rotation.T,
        kurtosis=_kurtosis(Y),
        mean_abs=np.abs(Y).mean(axis=0, dtype=np.float64),
        sample=sample,
        rounding=np.sqrt(np.square(components) @ noise),
        n_iter=max(1, int(found.n_iter)),
        converged=bool(found.converged),
        gradient_norm=float(found.gradient_norm),
    )
    del Y
    return unmixed, kept.part(rows, mean, Z, matrix, unmixed.sources, seeds[1])


class Part(NamedTuple):
    """Some rows of one environment.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        In coordinates of q dimensions.
    matrix : ndarray of shape (q, p)
        Map from rows of ``X`` to these coordinates.
    sources : Sources
        What all rows gave.
    n_rows : int
        Number of all rows.
    """

    Z: np.ndarray
    matrix: np.ndarray
    sources: Sources
    n_rows: int


class Kept(NamedTuple):
    """Which rows of an environment are kept after its ICA.

    Parameters
    ----------
    n_rows : int
        At most so many; zero for none.
    whole : bool
        Whether with all features, and not only within the span of the directions.
    """

    n_rows: int
    whole: bool

    def part(self, rows, mean, Z, matrix, sources, seed):
        """The rows, at random and in order."""
        if self.n_rows == 0:
            return None
        chosen = np.arange(len(Z))
        if len(Z) > self.n_rows:
            generator = np.random.default_rng(int(seed))
            chosen = np.sort(generator.choice(len(Z), self.n_rows, replace=False))
        if not self.whole:
            return Part(Z[chosen], matrix, sources, len(Z))
        centred = (rows.read(chosen) - mean).astype(np.float32)
        return Part(centred, np.eye(len(mean)), sources, len(Z))


def unmix_part(Z, matrix, d, search, psi, matching, seed):
    """ICA of some rows, whitened anew onto their principal directions.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, q)
        Coordinates, q at least d.
    matrix : ndarray of shape (q, p)
        Map from rows of ``X`` to these coordinates.
    d : int
    search : Search
    psi : str or callable
    matching : str
    seed : int

    Returns
    -------
    sources : Sources or None
        None where the rows span fewer than d dimensions.
    """
    try:
        if Z.shape[1] == d:
            white = symmetric_whitening(Z)[0]
        else:
            moments = Moments(Z.shape[1]).update(Z)
            white = whitening(moments, d, rank_tol=_COVARIANCE_NOISE)
    except ValueError:
        return None
    found = search.run(Z, white, seed)
    turn = found.rotation @ white.matrix
    values = law = None
    if matching != "assignment":
        Y = turned(Z, white.mean, turn)
        values = functional(Y, psi)[0]
        law = _quantiles(Y[:: max(1, len(Y) // SAMPLE_ROWS)], matching)
    return Sources(turn @ matrix, values, law)


def _kurtosis(Y):
    total = np.zeros(Y.shape[1])
    for low in range(0, len(Y), CHUNK_ROWS):
        total += np.square(np.square(Y[low : low + CHUNK_ROWS], dtype=np.float64)).sum(
            axis=0
        )
    return total / len(Y) - 3.0


def _quantiles(Y, matching):
    return quantiles(Y) if matching == "distribution" else None
