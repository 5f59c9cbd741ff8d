"""The steps of a fit: rows of each environment, unmixing, alignment, thresholds."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy import linalg
from sklearn.utils import check_random_state

from skident.discovery._rescaling import describe
from skident.discovery._shift_calibration import (
    MAX_ROWS,
    Null,
    null_distribution,
    split_errors,
    splittable,
)
from skident.discovery._shift_statistics import (
    descending,
    match_rows,
    row_scores,
)
from skident.discovery._shift_unmixing import (
    EnvironmentRows,
    Kept,
    Search,
    unmix,
)

MAX_SEED = np.iinfo(np.int32).max
CONTRASTS = {"logcosh": "tanh", "exp": "exp", "cube": "cube"}
# Eigenvalues of a covariance at most this share of the largest can be rounding.
_ROUNDING = 1e-15


class Principal(NamedTuple):
    """All principal directions of a covariance.

    Parameters
    ----------
    vectors : ndarray of shape (p, p)
        Orthonormal columns.
    spectrum : ndarray of shape (p,)
        Eigenvalues, descending, not negative.
    """

    vectors: np.ndarray
    spectrum: np.ndarray

    @classmethod
    def of(cls, covariance):
        """Those of a covariance."""
        values, vectors = linalg.eigh(covariance)
        return cls(vectors[:, ::-1], np.maximum(values[::-1], 0.0))

    def rank(self, tolerance):
        """Number of eigenvalues above a share of the largest; zero for zeros."""
        return int((self.spectrum > tolerance * self.spectrum[0]).sum())


class Environments(NamedTuple):
    """What one pass over the rows tells of K environments.

    Parameters
    ----------
    labels : list
    sizes : ndarray of int of shape (K,)
    rows : list of EnvironmentRows
    described : list of Described
    own : list of Principal
        Of each covariance.
    pooled : Principal
        Of the mean covariance, rows weighted alike.
    """

    labels: list
    sizes: np.ndarray
    rows: list
    described: list
    own: list
    pooled: Principal


class Aligned(NamedTuple):
    """Components of all environments in the order and with the signs of the first.

    Parameters
    ----------
    unmixed : list of K Unmixed
        Rows as found.
    orders : ndarray of int of shape (K, d)
        Row of each that belongs to component i.
    signs : ndarray of shape (K, d)
    margins : ndarray of shape (K, d)
        NaN in the first row.
    """

    unmixed: list
    orders: np.ndarray
    signs: np.ndarray
    margins: np.ndarray

    def rows(self, k, values):
        """Rows of environment ``k``, the last axis but one, in order and signed."""
        return values[..., self.orders[k], :] * self.signs[k][:, None]

    @property
    def unmixing(self):
        """Matched rows of all environments, (K, d, p)."""
        return np.stack([self.rows(k, u.sources.rows) for k, u in self._each()])

    @property
    def mixing(self):
        """Their pseudoinverses, (K, p, d)."""
        return np.stack([self.rows(k, u.mixing.T).T for k, u in self._each()])

    def values(self, name):
        """An attribute of the sources that has one value each, (K, d)."""
        return np.stack([getattr(u, name)[self.orders[k]] for k, u in self._each()])

    def _each(self):
        return enumerate(self.unmixed)


def read_environments(shards, labels, codes):
    """Read all rows once.

    Parameters
    ----------
    shards : Shards
    labels : ndarray of shape (K,)
    codes : ndarray of int of shape (n_samples,)

    Returns
    -------
    environments : Environments
    """
    rows = [
        EnvironmentRows(shards, np.flatnonzero(codes == k)) for k in range(len(labels))
    ]
    described = [describe(one) for one in rows]
    covariances = [one.moments.covariance for one in described]
    sizes = np.array([len(one) for one in rows])
    mean = np.tensordot(sizes / sizes.sum(), covariances, axes=1)
    return Environments(
        labels=labels.tolist(),
        sizes=sizes,
        rows=rows,
        described=described,
        own=[Principal.of(covariance) for covariance in covariances],
        pooled=Principal.of(mean),
    )


def dimension(est, environments):
    """Number of components; refuses what cannot be had.

    Parameters
    ----------
    est : ShiftedNodeDetector
    environments : Environments

    Returns
    -------
    d : int

    Raises
    ------
    ValueError
        If ``n_components`` exceeds the rank, or an environment has too few rows or
        dimensions.
    """
    sizes, n_samples = environments.sizes, int(environments.sizes.sum())
    p = len(environments.pooled.spectrum)
    ranks = [one.rank(est.rank_tol) for one in environments.own]
    d = max(ranks) if est.n_components is None else est.n_components
    most = max(ranks)
    if est.n_components is not None:
        # The user knows of directions that are small beside the largest.
        most = environments.pooled.rank(_ROUNDING)
    if d == 0 or (d > most and most == 0):
        raise ValueError(
            "all rows of X are the same within each environment "
            f"(n_samples = {n_samples})."
        )
    if d > most:
        raise ValueError(
            f"n_components = {d} exceeds the numerical rank of X, which is {most} "
            f"(n_samples = {n_samples}, n_features = {p})."
        )
    for label, n, rank in zip(environments.labels, sizes, ranks, strict=True):
        if n < d + 1:
            raise ValueError(
                f"environments: {label!r} has {n} rows, at least {d + 1} are needed "
                f"for {d} components; n_samples = {n_samples}."
            )
        if est.n_components is None and rank < d:
            raise _low_rank(label, d, f"rank {rank}", n_samples)
    return d


def unmix_all(est, environments, d):
    """ICA of every environment.

    Parameters
    ----------
    est : ShiftedNodeDetector
    environments : Environments
    d : int

    Returns
    -------
    unmixed : list of K Unmixed
    parts : list of K Part, or of None where no calibration is wanted
    rng : numpy.random.Generator
        For the calibration.

    Raises
    ------
    ValueError
        If an environment spans fewer than d dimensions.
    """
    K, p = len(environments.labels), len(environments.pooled.spectrum)
    random_state = check_random_state(est.random_state)
    seeds = random_state.randint(MAX_SEED, size=(K, 2))
    rng = np.random.default_rng(random_state.randint(MAX_SEED))
    own = est.subspace == "per_env"
    calibrated = est.threshold == "calibrated" and K > 1
    kept = Kept(MAX_ROWS if calibrated else 0, own and d < p)
    spans = environments.own if own else [environments.pooled] * K
    found = Parallel(n_jobs=est.n_jobs)(
        delayed(unmix)(
            rows,
            described,
            span.vectors[:, :d],
            search_of(est),
            est.test_function,
            est.matching,
            kept,
            seed,
        )
        for rows, described, span, seed in zip(
            environments.rows, environments.described, spans, seeds, strict=True
        )
    )
    for label, (unmixed, _) in zip(environments.labels, found, strict=True):
        if unmixed is None:
            n_samples = int(environments.sizes.sum())
            raise _low_rank(label, d, "fewer", n_samples)
    return [one for one, _ in found], [part for _, part in found], rng


def search_of(est):
    """Settings of the search for a rotation."""
    fun = CONTRASTS[est.ica_fun]
    return Search(fun, est.max_iter, est.tol, est.n_init)


def align(unmixed, matching):
    """Bring the components of all environments into one order, with one sign.

    Parameters
    ----------
    unmixed : list of K Unmixed
    matching : {"assignment", "psi", "distribution"}

    Returns
    -------
    aligned : Aligned
    """
    first = unmixed[0]
    d = len(first.sources.rows)
    by = first.sources.psi
    if matching != "psi":
        by = np.square(first.mixing).sum(axis=0)
    order = descending(by)
    largest = np.abs(first.mixing).argmax(axis=0)
    sign = np.where(first.mixing[largest, np.arange(d)] < 0, -1.0, 1.0)[order]
    matches = [
        match_rows(first.sources, other.sources, matching) for other in unmixed[1:]
    ]
    return Aligned(
        unmixed=unmixed,
        orders=np.stack([order, *(m.permutation[order] for m in matches)]),
        signs=np.stack([sign, *(m.signs[order] * sign for m in matches)]),
        margins=np.stack([np.full(d, np.nan), *(m.margins[order] for m in matches)]),
    )


def calibrate(est, aligned, parts, rng):
    """Null scores and thresholds of all components and pairs.

    Parameters
    ----------
    est : ShiftedNodeDetector
    aligned : Aligned
    parts : list of K Part or of None
    rng : numpy.random.Generator

    Returns
    -------
    null : Null
        Without draws and with infinite thresholds, where halves have too few rows.
    n_failed : int
        Halves that could not be unmixed.
    """
    K, d = aligned.signs.shape
    if K == 1 or not splittable(parts):
        return Null(np.zeros((0, K, K, d)), np.full((K, K, d), np.inf)), 0
    errors, n_failed = split_errors(
        parts,
        est.n_calibration,
        search_of(est),
        est.test_function,
        est.matching,
        rng,
        est.n_jobs,
    )
    errors = np.stack([aligned.rows(k, error) for k, error in enumerate(errors)])
    null = null_distribution(
        aligned.unmixing, errors, est.statistic, est.calibration_quantile
    )
    return null, n_failed


def n_disagreements(aligned, shifted, threshold, statistic, matching):
    """Components that shifted or not, as environments are matched directly or not.

    With several environments all are matched with the first. Two components that
    shifted there may be mistaken for each other, and then differ between the others,
    although they do not once these are matched directly.

    Parameters
    ----------
    aligned : Aligned
    shifted : ndarray of bool of shape (K, K, d)
    threshold : float or ndarray of shape (K, K, d)
    statistic : {"signed", "abs"}
    matching : {"assignment", "psi", "distribution"}

    Returns
    -------
    most : int
        In the pair of environments with most of them.
    """
    unmixing, most = aligned.unmixing, 0
    threshold = np.broadcast_to(threshold, shifted.shape)
    sources = [unmixed.sources for unmixed in aligned.unmixed]
    for k in range(1, len(sources)):
        for k2 in range(1, k):
            direct = match_rows(sources[k], sources[k2], matching)
            partners = direct.permutation[aligned.orders[k]]
            scores = row_scores(unmixing[k], sources[k2].rows[partners], statistic)
            differ = (scores > threshold[k, k2]) != shifted[k, k2]
            most = max(most, int(differ.sum()))
    return most


def position(label, known):
    """Position of an environment's label among those of a fit."""
    if label not in known:
        raise ValueError(
            f"environments must be among those of fit, {known}, got {label!r}."
        )
    return known.index(label)


def positions(columns, names, n_features):
    """Positions of columns that are given by position or by name.

    Parameters
    ----------
    columns : iterable of int or str
    names : sequence of str
        Of the features; may be empty.
    n_features : int

    Returns
    -------
    positions : list of int

    Raises
    ------
    ValueError
        If there is no such column.
    """
    names, found = list(names), []
    for column in columns:
        position = names.index(column) if column in names else column
        if not isinstance(position, Integral) or not 0 <= position < n_features:
            raise ValueError(
                f"features: column {column!r} is none of the {n_features} features of "
                "X."
            )
        found.append(int(position))
    return found


def _low_rank(label, d, rank, n_samples):
    return ValueError(
        f"environments: the rows of {label!r} span {rank} of the {d} dimensions that "
        "are wanted in every environment. Lower n_components or raise rank_tol; "
        f"n_samples = {n_samples}."
    )
