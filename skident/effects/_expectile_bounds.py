"""Bounds on an average effect when no more than bounds on selection are known."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import brentq
from scipy.special import ndtr
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_consistent_length, check_random_state

from skident.effects._nuisances import weight_keyword
from skident.effects._polynomials import Box, choose_degree, design
from skident.utils._validation import check_sample_weight, check_treatment

MAX_ITER = 100


@dataclass(frozen=True)
class SelectionBounds:
    """Bounds on the average effect in the population.

    Attributes
    ----------
    lower, upper : float
        The bounds, in units of the outcome.
    stderr : ndarray of shape (2,)
        Standard errors of ``lower`` and ``upper``.
    ratio : float
        How much selection probabilities may differ, at least 1; infinite where only
        the range of the outcome bounds the effect.
    degree : tuple of int
        Degree of the polynomials of arms 0 and 1; empty with a learner.
    """

    lower: float
    upper: float
    stderr: np.ndarray
    ratio: float
    degree: tuple = ()

    def confidence_interval(self, level=0.95):
        """Interval that covers the effect, wherever it lies in the bounds.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        interval : tuple of float
            By Imbens and Manski, Econometrica 72, 2004: narrower than one that covers
            both bounds, and as wide as the usual one where they meet.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), got {level}.")
        spread = self.stderr.max()
        if not np.isfinite(spread):
            return float("nan"), float("nan")
        width = (self.upper - self.lower) / spread if spread > 0 else 0.0
        factor = brentq(
            lambda c: ndtr(c + width) - ndtr(-c) - level, 0.0, 40.0, xtol=1e-12
        )
        low = self.lower - factor * self.stderr[0]
        return float(low), float(self.upper + factor * self.stderr[1])


def selection_bounds(
    X,
    y,
    treatment,
    min_selection_prob,
    *,
    x_reference=None,
    on_outcome=True,
    degree="bic",
    max_degree=6,
    outcome_learner=None,
    sample_weight=None,
    n_boot=0,
    n_jobs=None,
    random_state=None,
):
    """Bound an average effect when selection probabilities have a floor.

    Rows were selected with a probability that may depend on covariates, treatment and
    outcome in any way, and lies between ``min_selection_prob`` and 1. Nothing else is
    assumed of it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Covariates of the selected rows.
    y : array-like of shape (n_samples,)
        Their outcomes.
    treatment : array-like of shape (n_samples,)
        Their treatments, 0 or 1.
    min_selection_prob : float
        In (0, 1]. Only the ratio of the largest to the least probability enters: if
        probabilities are known to lie between 0.02 and 0.1, pass 0.2.
    x_reference : array-like of shape (n_reference, n_features), default=None
        Covariates sampled from the population. Without them their law in the
        population is bounded too, and the bounds are wider.
    on_outcome : bool, default=True
        Whether selection may depend on the outcome given covariates and treatment. If
        not, only the law of the covariates is open.
    degree : int or "bic", default="bic"
        Total degree of the polynomials of each arm; "bic" chooses it.
    max_degree : int, default=6
        Highest degree that "bic" tries.
    outcome_learner : estimator or None, default=None
        Regressor with ``sample_weight`` in place of the polynomials.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    n_boot : int, default=0
        Bootstrap draws for the standard errors. 0 computes them from the influence of
        each row, which a learner does not allow: its standard errors are then NaN.
    n_jobs : int or None, default=None
        Bootstrap draws at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Draws bootstrap samples.

    Returns
    -------
    bounds : SelectionBounds

    Raises
    ------
    ValueError
        If an argument is malformed, or a treatment arm has no row.

    Notes
    -----
    With probabilities that differ by a factor of :math:`\\Lambda` at most, the mean of
    the outcome given :math:`x` and :math:`t` in the population is at most the
    conditional expectile of the selected outcomes at level
    :math:`\\Lambda / (1 + \\Lambda)`, and at least that at
    :math:`1 / (1 + \\Lambda)`. Each is attained by a selection, so no method narrows
    them without further assumptions. Averages over the unknown law of the covariates
    are bounded in the same way, one after the other: the bounds on the average effect
    are valid, and may be wide. With :math:`\\Lambda = 1` they meet in the difference
    of the arms' regressions.

    Standard errors take the chosen degrees as given. The cost is
    O(n p^2) an iteration, with p columns of polynomials, for a handful of iterations.

    References
    ----------
    .. [1] Newey and Powell, "Asymmetric least squares estimation and testing",
       Econometrica 55, 1987.
    .. [2] Aronow and Lee, "Interval estimation of population means under unknown but
       bounded probabilities of sample selection", Biometrika 100, 2013.
    .. [3] Imbens and Manski, "Confidence intervals for partially identified
       parameters", Econometrica 72, 2004.

    Examples
    --------
    >>> from skident.effects import selection_bounds
    >>> rng = np.random.default_rng(0)
    >>> X, t = rng.standard_normal((1000, 2)), rng.integers(0, 2, 1000)
    >>> y = X[:, 0] + 2 * t + 0.5 * rng.standard_normal(1000)
    >>> bounds = selection_bounds(X, y, t, 0.8, x_reference=X)
    >>> bool(bounds.lower < 2 < bounds.upper)
    True
    """
    X = check_array(X, dtype=np.float64, input_name="X")
    y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    if y.ndim != 1:
        raise ValueError(f"y must be of shape (n_samples,), got shape {y.shape}.")
    check_consistent_length(X, y)
    treatment = check_treatment(treatment, X, binary=True)
    if treatment.ndim != 1:
        raise ValueError(
            f"treatment must be of shape (n_samples,), got shape {treatment.shape}; "
            f"n_samples = {len(X)}."
        )
    treatment = treatment.astype(bool)
    if treatment.all() or not treatment.any():
        raise ValueError(
            f"treatment must have rows of both arms, got {int(treatment.sum())} "
            f"treated; n_samples = {len(X)}."
        )
    if not 0 < min_selection_prob <= 1:
        raise ValueError(
            f"min_selection_prob must lie in (0, 1], got {min_selection_prob}."
        )
    if x_reference is not None:
        x_reference = check_array(x_reference, dtype=np.float64, input_name="reference")
        if x_reference.shape[1] != X.shape[1]:
            raise ValueError(
                f"x_reference must have the {X.shape[1]} columns of X, got "
                f"{x_reference.shape[1]}; n_samples = {len(X)}."
            )
    weight = check_sample_weight(sample_weight, X)
    return bound_effect(
        X,
        y,
        treatment,
        1 / min_selection_prob,
        reference=x_reference,
        on_outcome=on_outcome,
        degree=degree,
        max_degree=max_degree,
        learner=outcome_learner,
        weight=weight,
        n_boot=n_boot,
        n_jobs=n_jobs,
        rng=check_random_state(random_state),
    )


def bound_effect(
    X,
    y,
    treatment,
    ratio,
    *,
    reference=None,
    on_outcome=True,
    degree="bic",
    max_degree=6,
    learner=None,
    weight=None,
    n_boot=0,
    n_jobs=None,
    rng=None,
):
    """As :func:`selection_bounds`, on checked arrays and for a ratio.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    treatment : ndarray of bool of shape (n_samples,)
    ratio : float
        At least 1.
    reference : ndarray of shape (n_reference, n_features) or None
    on_outcome : bool
    degree : int, "bic" or pair of int
    max_degree : int
    learner : estimator or None
    weight : ndarray of shape (n_samples,) or None
    n_boot : int
    n_jobs : int or None
    rng : RandomState or None

    Returns
    -------
    bounds : SelectionBounds
    """
    weight = np.ones(len(X)) if weight is None else weight
    Z, Z_ref, degrees = X, reference, ()
    if learner is None:
        box = Box.around(X)
        Z = box.scale(X)
        Z_ref = None if reference is None else box.scale(reference)
        degrees = _degrees(Z, y, treatment, weight, degree, max_degree)
    compute = partial(
        _bounds, ratio=ratio, on_outcome=on_outcome, degrees=degrees, learner=learner
    )
    ends, stderr = compute(Z, y, treatment, weight, Z_ref)
    if n_boot:
        seeds = rng.randint(np.iinfo(np.int32).max, size=n_boot)
        draws = Parallel(n_jobs=n_jobs)(
            delayed(_resampled)(compute, Z, y, treatment, weight, Z_ref, seed)
            for seed in seeds
        )
        stderr = np.std(draws, axis=0, ddof=1)
    return SelectionBounds(float(ends[0]), float(ends[1]), stderr, ratio, degrees)


def _degrees(Z, y, treatment, weight, degree, max_degree):
    """Degree of each arm's polynomial."""
    if degree != "bic":
        return tuple(np.broadcast_to(degree, 2).tolist())
    return tuple(
        choose_degree(Z[rows], y[rows], weight[rows], max_degree)
        for rows in (~treatment, treatment)
    )


def _resampled(compute, Z, y, treatment, weight, Z_ref, seed):
    """Bounds of one bootstrap draw, with rows of each arm drawn among themselves."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(treatment == arm), (treatment == arm).sum())
         for arm in (False, True)]
    )  # fmt: skip
    if Z_ref is not None:
        Z_ref = Z_ref[rng.integers(len(Z_ref), size=len(Z_ref))]
    return compute(Z[rows], y[rows], treatment[rows], weight[rows], Z_ref)[0]


def _bounds(Z, y, treatment, weight, Z_ref, *, ratio, on_outcome, degrees, learner):
    """Both ends, and their standard errors."""
    inner = ratio if on_outcome else 1.0
    at = Z if Z_ref is None else Z_ref
    fit = _fit_learner if learner is not None else _fit_basis
    arms = []
    for arm in (0, 1):
        rows = treatment == bool(arm)
        how = learner if learner is not None else degrees[arm]
        arms.append([fit(Z[rows], y[rows], weight[rows], at, inner, upper, how)
                     for upper in (False, True)])  # fmt: skip
    ends, stderr = [], []
    for upper in (False, True):
        treated, control = arms[1][upper], arms[0][not upper]
        gap = treated.mean - control.mean
        if Z_ref is None:
            end, over = expectile(gap, ratio, upper=upper, sample_weight=weight)
        else:
            end, over = gap.mean(), np.ones(len(gap))
        share = over / over.sum()
        # By the envelope theorem the choice of the extreme weights adds nothing of
        # first order.
        parts = {bool(arm): side.influence(share) for arm, side in
                 ((1, treated), (0, control))}  # fmt: skip
        direct = share * (gap - end)
        if Z_ref is None:
            direct[treatment] += parts[True]
            direct[~treatment] -= parts[False]
            variance = np.sum(direct**2)
        else:
            variance = np.sum(direct**2) + sum(np.sum(v**2) for v in parts.values())
        ends.append(end)
        stderr.append(np.sqrt(variance))
    return np.array(ends), np.array(stderr)


class _Side:
    """One side of one arm: means at the points, influence of the rows on averages."""

    def __init__(self, mean, at=None, pull=None):
        self.mean, self._at, self._pull = mean, at, pull

    def influence(self, share):
        """Of each row of the arm on the average of the means with these weights."""
        if self._pull is None:
            return np.array([np.nan])
        return self._pull @ (share @ self._at)


def _fit_basis(Z, y, weight, at, ratio, upper, degree):
    basis, at = design(Z, degree), design(at, degree)
    coef, asymmetric = expectile_regression(basis, y, ratio, upper, weight)
    residual = y - basis @ coef
    hessian = basis.T @ (basis * (weight * asymmetric)[:, None])
    score = basis * (weight * asymmetric * residual)[:, None]
    # lstsq: polynomials of few distinct values are collinear.
    pull = np.linalg.lstsq(hessian, score.T, rcond=None)[0].T
    return _Side(at @ coef, at, pull)


def _fit_learner(Z, y, weight, at, ratio, upper, learner):
    keyword, proba = weight_keyword(learner), is_classifier(learner)

    def predict(model, rows):
        values = model.predict_proba(rows)[:, 1] if proba else model.predict(rows)
        return np.asarray(values, dtype=np.float64)

    asymmetric = np.ones(len(y))
    for _ in range(MAX_ITER):
        # With routing on, pipelines would ask for a request first.
        with config_context(enable_metadata_routing=False):
            model = clone(learner).fit(Z, y, **{keyword: weight * asymmetric})
        if ratio == 1:
            break
        previous = asymmetric
        asymmetric = _asymmetry(y - predict(model, Z), ratio, upper)
        if np.array_equal(previous, asymmetric):
            break
    # No warning: a learner with randomness or steps never settles, and averages of
    # its predictions move within its own noise.
    return _Side(predict(model, at))


def _asymmetry(residual, ratio, upper):
    return np.where((residual > 0) == upper, ratio, 1.0)


def expectile_regression(basis, y, ratio, upper=True, weight=None):
    """Least squares in which residuals on one side weigh more.

    Parameters
    ----------
    basis : ndarray of shape (n_samples, n_columns)
    y : ndarray of shape (n_samples,)
    ratio : float
        Weight of that side, at least 1.
    upper : bool, default=True
        Whether it is the upper one.
    weight : ndarray of shape (n_samples,) or None, default=None

    Returns
    -------
    coef : ndarray of shape (n_columns,)
    asymmetric : ndarray of shape (n_samples,)
        Weights 1 and ``ratio`` at the solution.
    """
    weight = np.ones(len(y)) if weight is None else weight
    asymmetric, fitted = np.ones(len(y)), np.full(len(y), np.inf)
    # Residuals that are zero but for rounding may go on changing their signs.
    rounding = 64 * np.finfo(np.float64).eps * np.abs(y).max()
    for _ in range(MAX_ITER):
        root = np.sqrt(weight * asymmetric)
        coef = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)[0]
        if ratio == 1:
            break
        # The loss is quadratic as long as no residual changes its sign: once none
        # does, the solution is exact.
        before, fitted = fitted, basis @ coef
        previous, asymmetric = asymmetric, _asymmetry(y - fitted, ratio, upper)
        same = np.array_equal(previous, asymmetric)
        if same or np.abs(fitted - before).max() <= rounding:
            break
    else:
        changed = int(np.sum(previous != asymmetric))
        warnings.warn(
            f"Expectile regression has not settled after {MAX_ITER} iterations: "
            f"{changed} residuals still change their sign, wanted 0. Lower degree.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return coef, asymmetric


def expectile(values, ratio, *, upper=True, sample_weight=None):
    """The largest mean of values under weights between 1 and ``ratio``.

    Parameters
    ----------
    values : ndarray of shape (n,)
    ratio : float
        At least 1.
    upper : bool, default=True
        False for the least mean.
    sample_weight : ndarray of shape (n,) or None, default=None
        Weights that the others multiply.

    Returns
    -------
    expectile : float
    weights : ndarray of shape (n,)
        Those that attain it, times ``sample_weight``.
    """
    weight = np.ones(len(values)) if sample_weight is None else sample_weight
    sign = 1.0 if upper else -1.0
    order = np.argsort(sign * values, kind="stable")
    v, w = sign * values[order], weight[order]
    # The best weights jump from 1 to ratio at a threshold: try all of them at once.
    above = np.concatenate([[0.0], np.cumsum(w[::-1])])[::-1]
    above_sum = np.concatenate([[0.0], np.cumsum((w * v)[::-1])])[::-1]
    mass = w.sum() + (ratio - 1) * above
    means = ((w * v).sum() + (ratio - 1) * above_sum) / mass
    best = int(np.argmax(means))
    extreme = weight.copy()
    extreme[order[best:]] *= ratio
    # From the weights, not from running sums: exact to rounding whatever their order.
    return float(extreme @ values / extreme.sum()), extreme


def range_bounds(y, treatment, outcome_range, rate, weight=None):
    """Bounds from the range of the outcome and the share that was selected.

    Whoever was not selected, or not in an arm, may have had any outcome there. That
    treatment is as good as random given covariates is not used: without the
    covariates of the unselected it says little.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Outcomes of the selected rows.
    treatment : ndarray of bool of shape (n_samples,)
        Of the selected rows.
    outcome_range : pair of float
    rate : float
        Share of the population that was selected, in (0, 1].
    weight : ndarray of shape (n_samples,) or None, default=None

    Returns
    -------
    bounds : SelectionBounds
    """
    low, high = outcome_range
    weight = np.ones(len(y)) if weight is None else weight
    share = weight / weight.sum()
    ends, stderr = [], []
    for treated, control in ((low, high), (high, low)):
        gain = rate * np.where(treatment, y - treated, control - y)
        mean = share @ gain
        ends.append(treated - control + mean)
        stderr.append(np.sqrt(np.sum((share * (gain - mean)) ** 2)))
    return SelectionBounds(*map(float, ends), np.array(stderr), float("inf"))


def share_bounds(effect, stderr, outcome_range, rate):
    """Bounds where the selected rows' effect is known and the others' is not.

    Parameters
    ----------
    effect, stderr : float
        In the selected rows.
    outcome_range : pair of float
    rate : float
        Share of the population that was selected, in (0, 1].

    Returns
    -------
    bounds : SelectionBounds
    """
    most = (1 - rate) * (outcome_range[1] - outcome_range[0])
    known = rate * effect
    return SelectionBounds(
        known - most, known + most, np.full(2, rate * stderr), float("inf")
    )
