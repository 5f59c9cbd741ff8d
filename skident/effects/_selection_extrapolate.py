"""Effects where a rule keeps one arm from being seen: polynomials across the gap."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from skident.effects._polynomials import (
    Box,
    choose_degree,
    design,
    least_squares,
    logit,
)
from skident.effects._selection_points import arm_mask, check_mask

_MAX_SEED = np.iinfo(np.int32).max


@dataclass
class ExtrapolateFit:
    """Regressions of both arms, continued to where one of them is not seen.

    Attributes
    ----------
    effect, stderr : float
        Mean effect in the population, and its standard error given the degrees and the
        region of overlap; a bootstrap has those vary too.
    influence : ndarray of shape (n,)
        Of each row on ``effect``, mean zero.
    weights : ndarray of shape (n,)
        By which the rows stand for the population, mean one.
    degree : tuple of two ints
        Of the arms' polynomials.
    overlap : dict
        "share" of the rows in the region of overlap, "min_propensity" and
        "max_propensity" in the population over the rows, "n_control" and "n_treated"
        rows in the region.
    extrapolation_share : float
        Share of the population where one arm is not seen.
    extrapolation_distance : float
        How far the rows are from those that one arm was fitted on, at most: 1 is at
        their edge, 2 as far from their centre again.
    """

    effect: float
    stderr: float
    influence: np.ndarray
    weights: np.ndarray
    degree: tuple
    overlap: dict
    extrapolation_share: float
    extrapolation_distance: float
    coef: tuple = field(repr=False)
    propensity_coef: np.ndarray = field(repr=False)
    propensity_degree: int = field(repr=False)
    _box: Box = field(repr=False)
    _support: object = field(repr=False)

    def outcome_mean(self, X, t):
        """Mean outcome of arm t at rows of X, (n,)."""
        return design(self._box.scale(X), self.degree[t]) @ self.coef[t]

    def effect_at(self, X):
        """Difference of the mean outcomes at rows of X, (n,)."""
        return self.outcome_mean(X, 1) - self.outcome_mean(X, 0)

    def propensity(self, X):
        """Probability of treatment at rows of X in the population, (n,)."""
        C = design(self._box.scale(X), self.propensity_degree)
        return expit(C @ self.propensity_coef)

    def selection_probability(self, X, t, y=None):
        """1 where the rule keeps a row, else 0, (n,)."""
        t = np.broadcast_to(np.asarray(t, dtype=int), len(X))
        return self._support(X)[np.arange(len(X)), t].astype(float)


class _Rule:
    """Arms that a declared rule keeps at rows of X."""

    def __init__(self, support_mask):
        self.support_mask = support_mask

    def __call__(self, X):
        return arm_mask(self.support_mask, X)


class _Overlap:
    """Arms whose share of the selected rows is not below a threshold."""

    def __init__(self, classifier, c_overlap):
        self.classifier, self.c_overlap = classifier, c_overlap

    def __call__(self, X):
        return self.classifier.predict_proba(X) >= self.c_overlap


def find_support(X, t, weight, support_mask, c_overlap):
    """Which arms can be observed, as a function of rows: (n, d) to (n, 2) bool.

    Without a rule, by the arms' shares in boosted trees, which follow the jumps that
    rules make and are the same in any monotone unit of the covariates.
    """
    if support_mask is not None:
        return _Rule(support_mask)
    classifier = HistGradientBoostingClassifier(
        max_iter=50, early_stopping=False, random_state=0
    )
    return _Overlap(classifier.fit(X, t, sample_weight=weight), c_overlap)


def fit_extrapolate(
    X,
    y,
    treatment,
    *,
    degree="bic",
    max_degree=6,
    propensity_degree=1,
    support_mask=None,
    c_overlap=0.05,
    x_reference=None,
    sample_weight=None,
):
    """Continue polynomial regressions to covariates where an arm is not observed.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Covariates of the selected rows.
    y : ndarray of shape (n,)
    treatment : ndarray of shape (n,)
        0 and 1.
    degree : "bic", int or tuple of two ints, default="bic"
        Of each arm's polynomial.
    max_degree : int, default=6
        Largest degree that "bic" tries.
    propensity_degree : int, default=1
        Of the logit of treatment in the population.
    support_mask : callable or None, default=None
        ``support_mask(X, t)`` says where arm t can be observed, (n,) bool. None has it
        told by the arms' shares.
    c_overlap : float, default=0.05
        Least share of an arm that is observed, without ``support_mask``.
    x_reference : ndarray of shape (m, d) or None, default=None
        Covariates of the whole population, over which effects are averaged.
    sample_weight : ndarray of shape (n,) or None, default=None

    Returns
    -------
    ExtrapolateFit

    Raises
    ------
    ValueError
        If ``support_mask`` excludes rows, or an arm has too few rows where both are
        observed.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    t = np.asarray(treatment).astype(int)
    n = len(X)
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight)
    weight = weight / weight.sum() * n
    support = find_support(X, t, weight, support_mask, c_overlap)
    kept = support(X)
    if support_mask is not None:
        check_mask(kept, t)
    own, both = kept[np.arange(n), t] & (weight > 0), kept.all(axis=1) & (weight > 0)
    sizes = np.bincount(t[both], minlength=2)
    if sizes.min() < 2:
        raise ValueError(
            "Both arms must have two rows or more where both can be observed, got "
            f"{sizes[0]} of arm 0 and {sizes[1]} of arm 1; n_samples = {n}."
        )
    box = Box.around(X if x_reference is None else np.vstack([X, x_reference]))
    U = box.scale(X)

    degrees, coefs = [], []
    for arm in (0, 1):
        rows = own & (t == arm)
        chosen = degree if np.ndim(degree) == 0 else degree[arm]
        if chosen == "bic":
            chosen = choose_degree(U[rows], y[rows], weight[rows], max_degree)
        degrees.append(int(chosen))
        B = design(U[rows], degrees[arm])
        coefs.append(least_squares(B, y[rows], weight[rows]))
    C = design(U, propensity_degree)
    c, hessian = logit(C[both], t[both], weight[both])
    e = expit(C @ c)

    # Where one arm is kept alone, its rows stand for those of the other too. The share
    # of the arm is bounded away from zero, as it has to be for one row to do so.
    arms = np.column_stack([1.0 - e, e])
    seen = np.where(kept.any(axis=1)[:, None], kept, True)
    share = np.maximum((arms * seen).sum(axis=1), 1e-3)
    W = weight / share
    B = [design(U, degrees[arm]) for arm in (0, 1)]
    difference = B[1] @ coefs[1] - B[0] @ coefs[0]
    influence = np.zeros(n)
    if x_reference is None:
        effect = W @ difference / W.sum()
        average = [W @ B[arm] / W.sum() for arm in (0, 1)]
        influence += n * W * (difference - effect) / W.sum()
        # Through the propensity, on which the weights depend.
        by_share = -W / share * (difference - effect) / W.sum()
        by_e = by_share * (seen[:, 1].astype(float) - seen[:, 0])
        by_c = (by_e * (share > 1e-3) * e * (1.0 - e)) @ C
        step = np.linalg.lstsq(hessian, by_c, rcond=None)[0]
        influence += both * weight * (t - e) * (C @ step) * n / weight[both].sum()
        extra = 0.0
    else:
        R = box.scale(np.asarray(x_reference, dtype=np.float64))
        at = [design(R, degrees[arm]) for arm in (0, 1)]
        effects = at[1] @ coefs[1] - at[0] @ coefs[0]
        effect = effects.mean()
        average = [at[arm].mean(axis=0) for arm in (0, 1)]
        extra = effects.var(ddof=1) / len(R) if len(R) > 1 else 0.0
    for arm, sign in ((0, -1.0), (1, 1.0)):
        rows = own & (t == arm)
        gram = (B[arm][rows].T * weight[rows]) @ B[arm][rows]
        direction = np.linalg.lstsq(gram, average[arm], rcond=None)[0]
        residual = y[rows] - B[arm][rows] @ coefs[arm]
        # Residuals of a regression are short by its leverage.
        k = B[arm].shape[1]
        residual = residual * np.sqrt(rows.sum() / max(rows.sum() - k, 1))
        influence[rows] += (
            sign * n * weight[rows] * residual * (B[arm][rows] @ direction)
        )
    influence -= influence.mean()
    variance = (influence @ influence) / n / max(n - 1, 1) + extra
    distance = [
        np.abs(Box.around(X[own & (t == arm)]).scale(X)).max() for arm in (0, 1)
    ]
    return ExtrapolateFit(
        effect=float(effect),
        stderr=float(np.sqrt(variance)),
        influence=influence,
        weights=W * n / W.sum(),
        degree=tuple(degrees),
        overlap={
            "share": float(weight[both].sum() / weight.sum()),
            "min_propensity": float(e.min()),
            "max_propensity": float(e.max()),
            "n_control": int(sizes[0]),
            "n_treated": int(sizes[1]),
        },
        extrapolation_share=float(W[~both].sum() / W.sum()),
        extrapolation_distance=float(max(distance)),
        coef=tuple(coefs),
        propensity_coef=c,
        propensity_degree=propensity_degree,
        _box=box,
        _support=support,
    )


def bootstrap_effect(
    fit_function, arrays, n_boot=200, n_jobs=None, rng=None, *, x_reference=None
):
    """Effects of refits to rows drawn with replacement.

    Parameters
    ----------
    fit_function : callable
        Takes the arrays, with ``x_reference`` as a keyword where there is one, and
        returns an effect or an object with ``effect``. Module-level, or a partial of
        such, for joblib's processes.
    arrays : sequence of ndarray of n rows, or None
        None is passed on.
    n_boot : int, default=200
    n_jobs : int or None, default=None
    rng : int, numpy.random.Generator or None, default=None
    x_reference : ndarray of shape (m, d) or None, default=None
        A sample of its own, drawn from too.

    Returns
    -------
    draws : ndarray of shape (n_boot,)
        nan where a draw could not be fitted: an arm with too few rows, say.
    """
    seeds = np.random.default_rng(rng).integers(_MAX_SEED, size=n_boot)
    draws = Parallel(n_jobs=n_jobs)(
        delayed(_draw)(fit_function, arrays, x_reference, seed) for seed in seeds
    )
    return np.array(draws)


def _draw(fit_function, arrays, x_reference, seed):
    rng = np.random.default_rng(seed)
    n = next(len(a) for a in arrays if a is not None)
    rows = rng.integers(n, size=n)
    options = {}
    if x_reference is not None:
        drawn = rng.integers(len(x_reference), size=len(x_reference))
        options["x_reference"] = x_reference[drawn]
    drawn = [None if a is None else a[rows] for a in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = fit_function(*drawn, **options)
        except (ValueError, np.linalg.LinAlgError):
            return np.nan
    return float(getattr(result, "effect", result))
