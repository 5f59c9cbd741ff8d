"""Columns of additive models: variables, and splines of them."""

import numpy as np
from sklearn.preprocessing import SplineTransformer

_DEGREE = 3
# Orders are as good with eight of them as with more. The bias of so few would be seen
# by the tests of many rows, so that their number grows like the cubic root of these,
# while the columns are few enough to be solved for quickly.
_ENOUGH_BASIS, _MOST_BASIS = 8, 30
_MOST_COLUMNS = 300
# Rows for each of them that there are to be, and rows for each coefficient of cubics,
# the least of splines, below which models are linear.
_ROWS_A_BASIS, _ROWS_A_CUBIC = 3, 2
# Directions below this share of the largest are rounding.
_RANK_TOL = 1e-8


def n_spline_functions(n_rows, n_variables):
    """Splines of each variable; 0 leaves it linear."""
    share = n_rows / max(n_variables - 1, 1)
    if share < _ROWS_A_CUBIC * _DEGREE:
        return 0
    few = max(_ENOUGH_BASIS, _MOST_COLUMNS // n_variables)
    wanted = max(_ENOUGH_BASIS, round(n_rows ** (1 / 3)))
    wanted = min(wanted, few, _MOST_BASIS)
    return min(wanted, max(_DEGREE + 1, int(np.ceil(share / _ROWS_A_BASIS))))


class SplineColumns:
    """Columns of an additive model: each variable, and what cubic splines of it add.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64
        Rows that knots and units come from. Columns have mean zero, unit variance and
        no correlation within a variable, over them.

    Attributes
    ----------
    owner : ndarray of int of shape (q,)
        Variable of each column.
    linear : ndarray of int of shape (d,)
        Column of each variable itself, its first.
    """

    def __init__(self, X):
        n, d = X.shape
        n_basis = n_spline_functions(n, d)
        self.mean, self.scale = X.mean(axis=0), X.std(axis=0)
        self.scale = np.where(self.scale > 0, self.scale, 1.0)
        self.curves = [_Curve(x, n_basis) for x in self._units(X).T]
        widths = [1 + curve.width for curve in self.curves]
        self.owner = np.repeat(np.arange(d), widths)
        self.linear = np.cumsum([0, *widths[:-1]])

    def __call__(self, Y):
        """The columns (m, q) of rows (m, d)."""
        Y = self._units(Y)
        pairs = zip(Y.T, self.curves, strict=True)
        return np.hstack([np.column_stack([y, curve(y)]) for y, curve in pairs])

    def _units(self, Y):
        return (Y - self.mean) / self.scale


class _Curve:
    """What splines of one standardised variable add to a constant and itself."""

    def __init__(self, x, n_basis):
        knots = np.unique(
            np.quantile(x, np.linspace(0.0, 1.0, max(n_basis - _DEGREE + 1, 0)))
        )
        self.width = 0
        if len(knots) < 2:
            return
        self.splines = SplineTransformer(
            degree=_DEGREE, knots=knots[:, None], extrapolation="linear"
        ).fit(x[:, None])
        basis = self.splines.transform(x[:, None])
        plain = np.column_stack([np.ones_like(x), x])
        self.plain = np.linalg.lstsq(plain, basis, rcond=None)[0]
        basis -= plain @ self.plain
        values, vectors = np.linalg.eigh(basis.T @ basis / len(x))
        kept = values > _RANK_TOL
        self.turn = vectors[:, kept] / np.sqrt(values[kept])
        self.width = self.turn.shape[1]

    def __call__(self, y):
        if not self.width:
            return np.zeros((len(y), 0))
        plain = np.column_stack([np.ones_like(y), y])
        return (self.splines.transform(y[:, None]) - plain @ self.plain) @ self.turn
