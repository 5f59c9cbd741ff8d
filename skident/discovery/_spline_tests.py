"""Which predecessors a node depends on, by F tests of additive cubic splines."""

from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.linalg import lapack
from scipy.stats import f as f_law
from sklearn.preprocessing import SplineTransformer

_DEGREE = 3
_N_BASIS = 10
# Directions of a basis, or of a design, below this share of the largest are rounding.
_RANK_TOL = 1e-8
# Residuals below this share of the spread are those of an exact relation.
_EXACT = 1e-10
_N_ROUNDS = 2
_TINY = np.finfo(np.float64).tiny


def n_basis_functions(n_samples, n_blocks, most=_N_BASIS):
    """So many each, or a third of the rows a block, and never less than a cubic."""
    share = n_samples / max(n_blocks, 1)
    return min(most, max(_DEGREE + 1, int(np.ceil(share / 3.0))))


def spline_block(column, n_basis):
    """Orthonormal columns (n, q) of mean zero that span cubic splines of a column.

    Knots are at quantiles; q is below ``n_basis`` where there are few distinct values.
    """
    n_knots = n_basis - _DEGREE + 1
    knots = np.unique(np.quantile(column, np.linspace(0.0, 1.0, n_knots)))
    if len(knots) < 2:
        return np.zeros((len(column), 0))
    splines = SplineTransformer(degree=_DEGREE, knots=knots[:, None])
    basis = splines.fit_transform(column[:, None])
    basis = basis - basis.mean(axis=0)
    values, vectors = np.linalg.eigh(basis.T @ basis)
    kept = values > _RANK_TOL * values[-1]
    return basis @ (vectors[:, kept] / np.sqrt(values[kept]))


class SplineBasis:
    """Spline blocks of all columns, with an intercept for each environment.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    codes : ndarray of shape (n,)
        Environment of each row.
    """

    def __init__(self, X, codes):
        n, d = X.shape
        n_basis = n_basis_functions(n, d - 1)
        intercepts = (codes[:, None] == np.unique(codes)).astype(np.float64)
        # Of unit length, as the columns of the splines are.
        intercepts /= np.sqrt(intercepts.sum(axis=0))
        blocks = [intercepts, *(spline_block(column, n_basis) for column in X.T)]
        ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
        self.places = [np.arange(low, high) for low, high in pairwise(ends)]
        self.matrix = np.hstack(blocks)
        self.codes = codes
        # Weights by environment, and subsets of columns, then cost no pass over rows.
        self.grams = np.stack(
            [
                self.matrix[codes == e].T @ self.matrix[codes == e]
                for e in range(codes.max() + 1)
            ]
        )

    def fit(self, y, columns, weights=None, row_weights=None):
        """Weighted least squares on the blocks of some columns.

        Parameters
        ----------
        y : ndarray of shape (n,)
        columns : sequence of int
        weights : ndarray of shape (n_environments,) or None, default=None
            Reciprocal variances, up to a factor, by environment.
        row_weights : ndarray of shape (n,) or None, default=None
            The same by row, in place of ``weights``.

        Returns
        -------
        fit : AdditiveFit
        """
        places = [self.places[0], *(self.places[k + 1] for k in columns)]
        chosen = np.concatenate(places)
        M = self.matrix[:, chosen]
        if row_weights is None:
            weights = np.ones(len(self.grams)) if weights is None else weights
            weights = weights / weights.mean()
            row_weights = weights[self.codes]
            gram = np.tensordot(weights, self.grams[:, chosen[:, None], chosen], 1)
        else:
            row_weights = row_weights / row_weights.mean()
            root = np.sqrt(row_weights)[:, None] * M
            gram = root.T @ root
        sizes = [len(place) for place in places]
        return AdditiveFit(M, y, row_weights, gram, np.cumsum(sizes))


class AdditiveFit:
    """A fitted additive model: residuals, leverages, and a test of each block."""

    def __init__(self, matrix, y, weights, gram, ends):
        self.matrix, self.weights, self.gram, self.ends = matrix, weights, gram, ends
        self.target = matrix.T @ (weights * y)
        self.inverse, self.rank = _inverse(gram)
        self.coef = self.inverse @ self.target
        self.fitted = matrix @ self.coef
        self.residuals = y - self.fitted
        self.free = len(y) - self.rank
        self.total = float(weights @ y**2)
        self.rss = max(float(weights @ self.residuals**2), _EXACT * self.total)

    @cached_property
    def leverage(self):
        """Weight of each row in its own fitted value, (n,)."""
        products = np.einsum("ij,ij->i", self.matrix @ self.inverse, self.matrix)
        return products * self.weights

    def squares(self):
        """Squared residuals, about as large on average as those of the errors."""
        squares = self.residuals**2 / np.maximum(1.0 - self.leverage, _RANK_TOL)
        return np.maximum(squares, max(_EXACT * squares.mean(), _TINY))

    def p_values(self):
        """F test of each block given all others; 1 where these span it."""
        p_values = np.ones(len(self.ends) - 1)
        for k, (low, high) in enumerate(pairwise(self.ends)):
            gain, size = self._gain(low, high)
            if size > 0 and self.free > 0 and gain > _EXACT * self.total:
                F = gain / size / (self.rss / self.free)
                p_values[k] = f_law.sf(F, size, self.free)
        return p_values

    def _gain(self, low, high):
        """What a block explains beyond all others, and by how many dimensions."""
        if self.rank == len(self.gram):
            own, coef = self.inverse[low:high, low:high], self.coef[low:high]
            # Of nested models, from the joint fit alone.
            return (coef @ np.linalg.solve(own, coef) if high > low else 0), high - low
        others = np.r_[0:low, high : len(self.gram)]
        reduced, rank = _inverse(self.gram[np.ix_(others, others)])
        target = self.target[others]
        return self.target @ self.coef - target @ reduced @ target, self.rank - rank


def _inverse(gram):
    """Inverse of a positive semi-definite matrix on its range, and its rank."""
    factor, info = lapack.dpotrf(gram, lower=1)
    if info == 0 and np.diag(factor).min() ** 2 > _RANK_TOL * np.diag(gram).max():
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse)
        return inverse + np.tril(inverse, -1).T, len(gram)
    values, vectors = np.linalg.eigh(gram)
    kept = values > _RANK_TOL * values[-1]
    vectors = vectors[:, kept]
    return (vectors / values[kept]) @ vectors.T, int(kept.sum())


def spline_p_values(y, basis, columns, alpha, scales=None):
    """P-values that a node's mean, and its spread, depend on each predecessor.

    Parameters
    ----------
    y : ndarray of shape (n,)
    basis : SplineBasis
    columns : ndarray of int
        Predecessors.
    alpha : float
        Level at which a predecessor of the spread enters the weights.
    scales : ndarray of shape (n_environments,) or None, default=None
        Noise scales of the environments; None estimates them.

    Returns
    -------
    of_mean, of_spread : ndarray of shape (n_columns,)
    """
    rows = np.bincount(basis.codes)
    level = y.std()
    y = (y - y.mean()) / (level if level > 0 else 1.0)
    if scales is None:
        # A few rounds, each with the weights that the one before it found.
        variance = np.ones(len(rows))
        for _ in range(_N_ROUNDS):
            fit = basis.fit(y, columns, weights=1.0 / variance)
            variance = np.bincount(basis.codes, fit.squares()) / rows
            variance = np.maximum(variance, _EXACT * variance.max())
    else:
        variance = np.asarray(scales, dtype=np.float64) ** 2
    fit = basis.fit(y, columns, weights=1.0 / variance)
    of_mean, squares = fit.p_values(), fit.squares() / variance[basis.codes]
    of_spread = _spread_p_values(squares, fit, basis, columns)
    spreading = of_spread < alpha
    if spreading.any():
        # Unequal variances would spoil the level of the mean's test. Only what is
        # significant enters: noise in the weights would spoil it too.
        log_variance = basis.fit(np.log(squares), columns[spreading]).fitted
        row_weights = np.exp(-log_variance) / variance[basis.codes]
        fit = basis.fit(y, columns, row_weights=row_weights)
        of_mean, squares = fit.p_values(), fit.squares() / variance[basis.codes]
        of_spread = _spread_p_values(squares, fit, basis, columns)
    return of_mean, of_spread


def _spread_p_values(squares, fit, basis, columns):
    """P-values that the squared residuals of a fit change with each column."""
    # The fourth root of a chi-squared variable of one degree is nearly normal. Its
    # logarithm is not: skew, it has false findings where leverages are high, and only
    # 60 % of the power. There residuals hang together, too, and count for less.
    roots = squares**0.25
    free = np.maximum(1.0 - fit.leverage, _RANK_TOL)
    return basis.fit(roots, columns, row_weights=free).p_values()
