"""Which terms an equation keeps: small coefficients dropped, or small t-ratios."""

from dataclasses import dataclass

import numpy as np

# A removal that costs as many times the dearest one before it took a term that the
# others cannot stand in for, if it also costs these shares of the loss and of the
# target's sum of squares. On Lorenz's system with 1 to 10 % of noise spurious terms
# cost less than 0.1 % of the loss in "joint"; without noise the loss is the solver's
# own error, which terms make up for.
_JUMP = 5.0
_SHARE_OF_LOSS = 1e-3
_SHARE_OF_TOTAL = 1e-6


@dataclass(frozen=True)
class EquationPath:
    """Supports of one equation from rich to poor.

    Parameters
    ----------
    support : ndarray of bool of shape (n_steps, n_terms)
        Terms in the equation at each step.
    coef : ndarray of shape (n_steps, n_terms)
        Their coefficients; 0 for a term that is not in it.
    loss : ndarray of shape (n_steps,)
        Sum of squares that solved windows leave of this equation's state.
    t_ratios : ndarray of shape (n_steps, n_terms)
        Coefficients over their standard errors; NaN for a term that is not in it.
    chosen : int
        Step whose support was kept.
    """

    support: np.ndarray
    coef: np.ndarray
    loss: np.ndarray
    t_ratios: np.ndarray
    chosen: int


class Regression:
    """The regression of one equation.

    Parameters
    ----------
    triangles : BlockTriangles
        With a column for each term, or for each one in ``terms``.
    target : int
    terms : ndarray of int or None, default=None
        Terms that the columns are of; None for all.
    n_terms : int or None, default=None
        Number of terms; None is that of the columns.
    """

    def __init__(self, triangles, target, terms=None, n_terms=None):
        self.triangles, self.target = triangles, target
        n_columns = triangles.n_columns
        terms = np.arange(n_columns) if terms is None else terms
        self._column = np.full(n_terms or n_columns, -1)
        self._column[terms] = np.arange(len(terms))

    def fit(self, support):
        """Coefficients, standard errors and loss on a support."""
        columns = self._column[support]
        coef, stderr = np.zeros(len(support)), np.full(len(support), np.nan)
        coef[support], loss = self.triangles.solve(columns, self.target)
        stderr[support] = self.triangles.errors(columns, coef[support], self.target)
        return coef, stderr, loss

    def spare(self, support):
        """A term of a support that its others make up for exactly; None without."""
        place = self.triangles.spare(self._column[support])
        return None if place is None else np.flatnonzero(support)[place]

    @property
    def total(self):
        """Sum of squares of the target."""
        target = self.triangles.triangle[:, self.triangles.n_columns + self.target]
        return float(target @ target)


def drop_small(regression, support, sizes, threshold, threshold_rel, n_cycles):
    """Refit, and drop coefficients below a threshold, until none is.

    Parameters
    ----------
    regression : Regression
    support : ndarray of bool of shape (n_terms,)
        Terms to start from.
    sizes : ndarray of shape (n_terms,)
        Size of a term with coefficient one, in units of the equation's rate.
    threshold : float or None
        On coefficients.
    threshold_rel : float or None
        On coefficients times ``sizes``.
    n_cycles : int

    Returns
    -------
    path : EquationPath
        A step a cycle.
    """
    steps, support = [], support.copy()
    for cycle in range(n_cycles):
        coef, stderr, loss = regression.fit(support)
        steps.append((support, coef, loss, t_ratios(coef, stderr)))
        kept = support & keep_large(coef, sizes, threshold, threshold_rel)
        if (kept == support).all():
            return _path(steps, cycle)
        support = kept
    coef, stderr, loss = regression.fit(support)
    steps.append((support, coef, loss, t_ratios(coef, stderr)))
    return _path(steps, n_cycles)


def keep_large(coef, sizes, threshold, threshold_rel):
    """Which coefficients are above the thresholds, same shape as ``coef``."""
    kept = np.ones(coef.shape, bool)
    if threshold is not None:
        kept &= np.abs(coef) > threshold
    if threshold_rel is not None:
        kept &= np.abs(coef) * sizes > threshold_rel
    return kept


def eliminate(regression, support, t_min):
    """Remove the term of the smallest t-ratio, again and again, and choose a step.

    Parameters
    ----------
    regression : Regression
    support : ndarray of bool of shape (n_terms,)
    t_min : float
        Terms of smaller t-ratios never stop the removals.

    Returns
    -------
    path : EquationPath
        Down to no term. The step kept is that before the first removal of a term with a
        t-ratio above ``t_min`` that raises the loss five times as much as any before,
        by a thousandth of itself and a millionth of the target's sum of squares.
    """
    support = support.copy()
    steps, chosen, dearest, before = [], None, 0.0, None
    while True:
        coef, stderr, loss = regression.fit(support)
        t = t_ratios(coef, stderr)
        if before is not None:
            rise = loss - before[0]
            bar = _SHARE_OF_LOSS * before[0] + _SHARE_OF_TOTAL * regression.total
            dear = rise > max(bar, _JUMP * dearest)
            if chosen is None and before[1] > t_min and dear:
                chosen = len(steps) - 1
            dearest = max(dearest, rise)
        steps.append((support, coef, loss, t))
        if not support.any():
            break
        # Dependent terms have no t-ratio, nor has any beside them: one of them goes.
        blind = np.isinf(stderr[support]).all()
        weakest = regression.spare(support) if blind else None
        if weakest is None:
            weakest = np.nanargmin(np.abs(t))
        before = loss, abs(t[weakest])
        support = support.copy()
        support[weakest] = False
    return _path(steps, len(steps) - 1 if chosen is None else chosen)


def t_ratios(coef, stderr):
    """Coefficients over standard errors; NaN where there is none, 0 over infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = coef / stderr
    # No error at all: an equation that holds exactly.
    return np.where((stderr == 0) & (coef == 0), 0.0, ratios)


def _path(steps, chosen):
    support, coef, loss, t = (np.array(part) for part in zip(*steps, strict=True))
    return EquationPath(support, coef, loss, t, chosen)
