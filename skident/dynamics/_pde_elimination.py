"""Terms removed one after the other, until the data miss one."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skident.dynamics._pde_lm import (
    CLEAN,
    ROUGH,
    LMFit,
    field_data,
    fit_pde_terms,
    gram_inverse,
    patch_weights,
)
from skident.dynamics._pde_patches import every_few

# Removing a term of the equation costs this many times what any removal before did: as
# published, and where the tolerance is that of chance. What chance allows says nothing
# of the next term, and multiples of it would take faint true terms along. But rare
# superfluous ones add a little more than the quantile, and mark the level themselves.
JUMP, CHANCE_JUMP = 5.0, 2.0
# Losses that should be ordered differ by the tolerance of the fits at most this many
# times it.
_SLACK = 10.0
# So many patches, spread evenly, bring the first fit near its end.
_FEW = 6
# A removal that adds this many times what stops the path is refused, whatever the last
# steps of its fit would bring.
_FAR = 10.0
_ALL = slice(None)
# Of a squared standard normal, at 0.999.
_QUANTILE = 10.83
# Fits of parents that may be gone back to, in all.
_REPAIRS = 10
# Rounds of weighting patches and fitting again; a third changes nothing.
_ROUNDS = 2


@dataclass(frozen=True)
class EliminationStep:
    """One model of a path.

    Attributes
    ----------
    fit : LMFit
        Without its fields on patches, except for the chosen model.
    removed : int or None
        Term whose removal led here; None for the first model.
    increment : float
        What that removal added to the loss.
    bound : float
        The increment from which on it stops the path.
    """

    fit: LMFit
    removed: int | None
    increment: float
    bound: float

    @property
    def support(self):
        """Mask of the terms that are left, of shape (n_terms,)."""
        return self.fit.support

    @property
    def theta(self):
        """Coefficients, of shape (n_terms,)."""
        return self.fit.theta

    @property
    def loss(self):
        """Mean squared residual."""
        return self.fit.loss

    @property
    def t_ratios(self):
        """Coefficients over their standard errors, of shape (n_terms,)."""
        return self.fit.t_ratios


@dataclass(frozen=True)
class EliminationPath:
    """Models of falling size, and the one that was chosen.

    Attributes
    ----------
    steps : list of EliminationStep
        From the full model down: to the first model that was refused, or to none.
    chosen : int
        Number of the step before the first removal that the data refuse.
    tol : float
        Share of the loss that a removal may add.
    """

    steps: list
    chosen: int
    tol: float

    @property
    def fit(self):
        """The chosen model's LMFit."""
        return self.steps[self.chosen].fit

    @property
    def margin(self):
        """How clear the choice is: the refused increment over its bound, above 1.

        Infinite where nothing was refused because nothing was left.
        """
        if self.chosen + 1 == len(self.steps):
            return np.inf
        refused = self.steps[self.chosen + 1]
        return refused.increment / refused.bound


def eliminate(
    patches,
    terms,
    *,
    field=0,
    support=None,
    theta0=None,
    tol=0.004,
    jump=JUMP,
    max_iter=12,
    fit_tol=1e-6,
    full_path=False,
    linear_solver="auto",
    n_jobs=None,
):
    """Fit all terms, then remove the one that is missed least, again and again.

    Parameters
    ----------
    patches : sequence of Patch
    terms : sequence of PDETerm
    field : int, default=0
        Whose equation it is.
    support : array-like of bool of shape (n_terms,) or None, default=None
        Terms of the first model; ``None`` is all.
    theta0 : array-like of shape (n_terms,) or None, default=None
        Start of the first fit.
    tol : float or None, default=0.004
        The path stops before the first removal that adds both more than
        ``tol * loss + 1e-6 * variance of the data`` to the loss, and more than ``jump``
        times what any removal before it added. ``None`` is what the removal of a term
        that the equation lacks adds in one case of a thousand, as :func:`chance_tol`
        tells it from the data's own errors: the default suits some ten thousand
        residuals, and is too little where there are much fewer.
    jump : float, default=5
        2 goes with the tolerance of chance, :data:`CHANCE_JUMP`.
    max_iter, fit_tol, linear_solver, n_jobs
        As :func:`fit_pde_terms` takes them, ``fit_tol`` as its ``tol``.
    full_path : bool, default=False
        Whether to go on to the empty model behind the first refused removal.

    Returns
    -------
    path : EliminationPath
        All its fits weigh patches by the loss of the full model.
    """
    options = {
        "field": field,
        "max_iter": max_iter,
        "linear_solver": linear_solver,
        "n_jobs": n_jobs,
    }

    weights = None

    def fit(kept, start, cut=_ALL, **control):
        part = weights if weights is None else weights[cut]
        control = {"tol": fit_tol} | control
        return fit_pde_terms(
            patches[cut], terms, kept, start, weights=part, **control, **options
        )

    floor = CLEAN * float(field_data(patches, field).var())
    few = every_few(patches, _FEW)
    first = near_fit(patches, terms, support, theta0, **options)
    first = _settled(fit, support, first)
    for _ in range(_ROUNDS):
        before, weights = weights, patch_weights(first, floor)
        if np.array_equal(before, weights):
            break
        first = fit(support, first.theta)
    if tol is None:
        tol = chance_tol(first)
    steps, chosen, largest = [EliminationStep(first, None, 0.0, 0.0)], None, 0.0
    repaired = 0
    while steps[-1].support.any() and (chosen is None or full_path):
        parent = steps[-1].fit
        dropped, start = _least_missed(parent)
        bound = max(tol * parent.loss + floor, jump * largest)
        far = parent.loss + _FAR * bound if chosen is None else np.inf
        child = _refit(partial(fit, far=far), parent, dropped, start, fit_tol)
        if child.loss < (1.0 - _SLACK * fit_tol) * parent.loss and repaired < _REPAIRS:
            # Fewer terms fit better: the model above had stalled.
            repaired += 1
            better = fit(parent.support, child.theta)
            if better.loss < parent.loss:
                steps[-1] = _refitted(steps, better)
                # What the stalled fit seemed to cost bounds nothing.
                largest = max(step.increment for step in steps)
                continue
        increment = child.loss - parent.loss
        if increment > bound and chosen is None:
            # A refusal ends the search: it must not be one of the solver's.
            other = fit(child.support, None, few, tol=ROUGH)
            if other.loss < (1.0 - ROUGH) * child.loss_on(few):
                other = fit(child.support, other.theta)
                child = other if other.loss < child.loss else child
            increment = child.loss - parent.loss
            if increment > bound:
                chosen = len(steps) - 1
        if chosen is None:
            largest = max(largest, increment)
        steps.append(EliminationStep(child, dropped, increment, bound))
    if chosen is None:
        chosen = len(steps) - 1
    steps = [
        step
        if i == chosen
        else replace(step, fit=replace(step.fit, residuals=[], solutions=[]))
        for i, step in enumerate(steps)
    ]
    return EliminationPath(steps, chosen, tol)


def near_fit(patches, terms, support=None, theta0=None, **options):
    """Fit to one per cent of the loss, from a few patches to all.

    Parameters
    ----------
    patches, terms, support, theta0
        As :func:`fit_pde_terms` takes them.
    **options
        Further ones of it.

    Returns
    -------
    fit : LMFit
    """
    few = patches[every_few(patches, _FEW)]
    options["tol"] = ROUGH
    if theta0 is None and len(few) < len(patches):
        theta0 = fit_pde_terms(few, terms, support, **options).theta
    return fit_pde_terms(patches, terms, support, theta0, **options)


def cut_off(steps, kept, theta, threshold, fit):
    """Fit, and drop terms of small coefficients, until none is small.

    Parameters
    ----------
    steps : sequence of EliminationStep
        Those before.
    kept : ndarray of bool of shape (n_terms,)
        Terms of the first fit.
    theta : ndarray of shape (n_terms,)
        Its start.
    threshold : float
    fit : callable
        ``fit(kept, theta)`` gives an LMFit of these terms.

    Returns
    -------
    steps : list of EliminationStep
        Those before and one a fit; the last is the model that is left.
    """
    steps = list(steps)
    while True:
        found = fit(kept, np.where(kept, theta, 0.0))
        rise = found.loss - steps[-1].loss if steps else 0.0
        steps.append(EliminationStep(found, None, rise, np.inf))
        smaller = kept & (np.abs(found.theta) > threshold)
        if (smaller == kept).all():
            return steps
        kept, theta = smaller, found.theta


def chance_tol(fit):
    """Share of the loss that the removal of a superfluous term may add by chance.

    Parameters
    ----------
    fit : LMFit
        Of all terms.

    Returns
    -------
    tol : float
        Quantile 0.999 over terms of coefficient zero, the largest over the terms.

    Notes
    -----
    Removing a term adds ``theta_j^2 / (H^-1)_jj`` to the sum of squares, where a
    superfluous coefficient has the variance of its standard error: that over boxes of
    the grid, to which a bootstrap of such boxes tends.
    """
    spread = np.diag(gram_inverse(fit.gram))
    variance = np.diag(fit.covariance)
    known = spread > 0
    if not known.any() or fit.loss == 0:
        return 0.0
    total = fit.loss * (fit.weights @ [len(part) for part in fit.residuals])
    return float(_QUANTILE * (variance[known] / spread[known]).max() / total)


def _least_missed(parent):
    """Term whose removal adds least to the loss, and the others' best response.

    Both to first order at the parent: removing j adds theta_j^2 / (H^-1)_jj to the
    sum of squares, with H the Gauss-Newton matrix. That is the term of smallest
    t-ratio, the errors taken as independent.
    """
    inverse = gram_inverse(parent.gram)
    chosen = np.flatnonzero(parent.support)
    spread = np.diag(inverse)
    theta = parent.theta[chosen]
    # A direction that nothing moves has no error either: its term goes first.
    cost = np.divide(theta**2, spread, out=np.zeros(len(theta)), where=spread > 0)
    j = int(np.argmin(cost))
    start = parent.theta.copy()
    if spread[j] > 0:
        start[chosen] -= inverse[:, j] * (theta[j] / spread[j])
    start[chosen[j]] = 0.0
    return int(chosen[j]), start


def _without(theta, dropped):
    theta = theta.copy()
    theta[dropped] = 0.0
    return theta


def _settled(fit, support, first):
    """A first fit that has come to its end, from where it is or from zero."""
    for _ in range(_REPAIRS):
        if first.converged:
            break
        starts = (first.theta, None)
        found = [fit(support, start, tol=ROUGH) for start in starts]
        best = min(found, key=lambda each: each.loss)
        if best.loss >= first.loss:
            break
        first = best
    return first


def _refit(fit, parent, dropped, start, tol):
    """Refit without a term, and again from elsewhere where that stalled."""
    support = parent.support.copy()
    support[dropped] = False
    child = fit(support, start)
    if not child.converged:
        for again in (_without(parent.theta, dropped), None):
            other = fit(support, again)
            child = other if other.loss < child.loss * (1.0 - tol) else child
    return child


def _refitted(steps, better):
    """The last step with a better fit of its model."""
    step = steps[-1]
    above = steps[-2].loss if len(steps) > 1 else better.loss
    return replace(step, fit=better, increment=better.loss - above)
