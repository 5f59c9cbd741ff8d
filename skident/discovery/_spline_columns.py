"""Columns of additive models: variables, and splines of them."""

import numpy as np
from scipy.linalg import null_space

from skident.discovery._spline_tests import n_basis_functions, spline_block

# Orders are as good with eight splines of a variable as with more. The bias of so few
# would be seen by the tests of many rows, so that their number grows like the cubic
# root of these, while the columns are few enough to be solved for quickly.
_ENOUGH_BASIS, _MOST_BASIS = 8, 30
_MOST_COLUMNS = 300
# Of the smallest cubic, without its constant; and the rows for each coefficient below
# which models are linear.
_CUBIC, _ROWS_A_COEFFICIENT = 3, 2


def additive_columns(X):
    """Each variable, and what cubic splines of it add.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64

    Returns
    -------
    F : ndarray of shape (n, q)
        Of mean zero, unit variance and no correlation within a variable. The first
        column of each is the variable itself.
    owner : ndarray of int of shape (q,)
        Variable of each column.
    """
    n, d = X.shape
    scale = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    n_basis = _n_basis(n, d)
    blocks = [np.column_stack([x, _curves(x, n_basis)]) for x in X.T]
    widths = [block.shape[1] for block in blocks]
    return np.hstack(blocks), np.repeat(np.arange(d), widths)


def _n_basis(n, d):
    """Splines of each variable; 0 leaves it linear."""
    if n < _ROWS_A_COEFFICIENT * _CUBIC * (d - 1):
        return 0
    wanted = max(_ENOUGH_BASIS, round(n ** (1 / 3)))
    few = max(_ENOUGH_BASIS, _MOST_COLUMNS // d)
    return n_basis_functions(n, d - 1, most=min(wanted, few, _MOST_BASIS))


def _curves(x, n_basis):
    """What splines of a standardised variable add to it, (n, n_curves)."""
    block = spline_block(x, n_basis) if n_basis else np.zeros((len(x), 0))
    if block.shape[1] < 2:
        return block[:, :0]
    # Orthonormal, they span the variable too: all directions but its own are left.
    return block @ null_space((x @ block)[None]) * np.sqrt(len(x))
