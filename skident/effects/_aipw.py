"""Average effect of a binary treatment from outcomes, measured or predicted."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.utils import check_random_state

from skident.effects._effect_estimate import EffectEstimate, weighted_mean_effect
from skident.effects._nuisances import (
    Nuisance,
    clip_probability,
    default_classifier,
    fit_nuisances,
    make_folds,
    row_order,
)
from skident.effects._selection_scores import (
    check_arms,
    fold_strata,
    naive_effect,
    outcome_nuisances,
)
from skident.exceptions import IdentifiabilityWarning
from skident.utils._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from skident.utils._validation import (
    _as_float,
    check_sample_weight,
    check_settings,
    check_treatment,
)

_MAX_CELLS = 50
_CLIP = 0.001
# Least share of the units that an arm stands for.
_STAND_FOR = 0.9
_CONSTRAINTS = {
    "method": [StrOptions({"aipw", "difference", "ipw", "stratified"})],
    "propensity": [
        StrOptions({"auto", "share"}),
        Interval(Real, 0, 1, closed="neither"),
        "array-like",
        HasMethods(["fit", "predict_proba"]),
    ],
    "outcome_learner": [None, HasMethods(["fit", "predict"])],
    "n_folds": [Interval(Integral, 1, None, closed="left")],
}


def aipw_ate(
    y,
    treatment,
    covariates=None,
    *,
    units=None,
    method="aipw",
    propensity="auto",
    outcome_learner=None,
    n_folds=5,
    sample_weight=None,
    random_state=None,
):
    """Average effect of a binary treatment on ``y``.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Outcomes, measured or predicted.
    treatment : array-like of shape (n_samples,)
        0 or 1.
    covariates : array-like of shape (n_samples,) or (n_samples, n_covariates), \
            default=None
        What to adjust for. Labels of any type where they form at most 50 cells with
        two rows of each arm in each: arms are then compared cell by cell. Numbers
        otherwise.
    units : array-like of shape (n_samples,), default=None
        Label of the unit that each row is a record of. ``y`` and numeric covariates are
        averaged over a unit's rows first; a unit has one treatment. None for rows that
        are units.
    method : {"aipw", "difference", "ipw", "stratified"}, default="aipw"
        Augmented inverse-probability weighting; difference of means, which ignores the
        covariates; weighting alone; differences within cells of equal covariates,
        averaged over the units.
    propensity : "auto", "share", float, array-like or classifier, default="auto"
        Probability of treatment of a unit: the share of the treated ("share"), as in a
        randomised trial; one number or one a row, if known; or a classifier fitted to
        the covariates. "auto" is the share of the treated without covariates, that in
        each cell with few cells, and penalised logistic regression otherwise.
    outcome_learner : estimator, default=None
        Fitted to each arm. None is the arms' means without covariates, the cells' with
        few cells, and gradient-boosted trees otherwise.
    n_folds : int, default=5
        Folds in which learners predict the rows they have not seen; 1 for none.
    sample_weight : array-like of shape (n_samples,), default=None
        Only ratios matter; a unit weighs the mean of its rows' weights.
    random_state : None, int or RandomState, default=None
        Of folds and learners.

    Returns
    -------
    estimate : EffectEstimate
        In units of ``y``. With an arm of one unit, in a cell if arms are compared cell
        by cell, the standard error is NaN.

    Raises
    ------
    ValueError
        If a shape, a value or a parameter is not as above, an arm has no unit, a unit
        has two treatments, or strata are wanted and a cell lacks an arm.

    Warns
    -----
    IdentifiabilityWarning
        If inverse probabilities of an arm stand for less than 0.9 of the units, by more
        than 3 standard errors: some could not have been in it.

    Notes
    -----
    Identified where, given the covariates, the treatment is as good as random and
    either arm is possible. The estimate is right if the model of the outcomes or that
    of the treatment is. Weights are brought to mean 1 within the arms, and estimated
    probabilities clipped to [0.001, 0.999]. The standard error takes the nuisances as
    given, which is right to first order for "aipw" and too large, in general, for
    "ipw". The cost is that of the fits: O(n_samples) without learners.

    References
    ----------
    .. [1] Robins, Rotnitzky and Zhao, "Estimation of regression coefficients when some
           regressors are not always observed", JASA 89(427), 1994.
    .. [2] Cadei et al., "Prediction-powered causal inferences", NeurIPS 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.effects import aipw_ate
    >>> ward = np.repeat([0, 1], 6)
    >>> treatment = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    >>> y = 3.0 * ward + treatment
    >>> round(aipw_ate(y, treatment, method="difference").effect, 6)
    2.0
    >>> round(aipw_ate(y, treatment, ward).effect, 6)
    1.0
    """
    given = {
        "method": method,
        "propensity": propensity,
        "outcome_learner": outcome_learner,
        "n_folds": n_folds,
    }
    validate_parameter_constraints(_CONSTRAINTS, given, caller_name="aipw_ate")
    y = _as_float("y", y, y, "(n_samples,)")
    treatment = check_treatment(treatment, y, binary=True)
    if treatment.ndim != 1:
        raise ValueError(
            f"treatment must be of shape (n_samples,), got shape {treatment.shape}; "
            f"n_samples = {len(y)}."
        )
    weight = check_sample_weight(sample_weight, y)
    codes = None
    if covariates is not None:
        covariates = np.asarray(covariates)
        if covariates.ndim == 1:
            covariates = covariates[:, None]
        codes = check_settings(covariates, y)[1]
    known = not isinstance(propensity, str) and not hasattr(propensity, "fit")
    if known:
        propensity = _probabilities(propensity, y)
    if units is not None:
        unit = _Units(units, y, weight)
        treatment = unit.only("treatment", treatment)
        if covariates is not None:
            covariates, codes = unit.covariates(covariates, codes)
        if known:
            propensity = unit.mean(propensity)
        y, weight = unit.mean(y), unit.weight
    check_arms(treatment, weight=weight, at_least=1)
    if method == "difference":
        return naive_effect(y, treatment, weight)
    if covariates is None:
        learns = outcome_learner is not None or hasattr(propensity, "fit")
        if learns or method == "stratified":
            raise ValueError(
                "covariates must be given where a learner is, and for "
                f"method='stratified', got None; n_samples = {len(y)}."
            )
        cells = np.zeros(len(y), dtype=int)
    else:
        cells = _cells(codes, treatment, weight, strict=method == "stratified")
    if method == "stratified":
        propensity, outcome_learner = "auto", None

    arms = [treatment == 0, treatment == 1]
    if known:
        chance = propensity
    elif isinstance(propensity, str) and propensity == "share":
        chance = np.full(len(y), weight @ treatment / weight.sum())
    elif isinstance(propensity, str) and cells is not None:
        chance = _cell_means(treatment, cells, weight)
    else:
        chance = None
    if method == "ipw":
        # With weights of mean 1 in each arm any constants give the same estimate;
        # these leave the scores with the least variance.
        means = [np.full(len(y), np.average(y[a], weights=weight[a])) for a in arms]
    elif outcome_learner is None and cells is not None:
        means = [_cell_means(y, cells, weight * arm) for arm in arms]
    else:
        means = None
    if means is None or chance is None:
        check_arms(treatment, weight=weight, at_least=1 if n_folds == 1 else 2)
        weights = None if (weight == weight[0]).all() else weight
        wanted = []
        if means is None:
            learner = outcome_learner
            if learner is None:
                learner = HistGradientBoostingRegressor()
            wanted += outcome_nuisances(learner, y, arms, weights)
        if chance is None:
            learner = default_classifier() if propensity == "auto" else propensity
            treated = Nuisance("the treatment", learner, treatment, None, weights, True)
            wanted.append(treated)
        X = _as_float("covariates", covariates, y, "(n_samples, n_covariates)")
        rng = check_random_state(random_state)
        strata = fold_strata(treatment, weight)
        folds = make_folds(n_folds, strata, rng, order=row_order(X, y))
        found = [p for p, _ in fit_nuisances(X, wanted, folds, random_state=rng)]
        means = found[:2] if means is None else means
        chance = found[-1] if chance is None else chance
    own = cells if outcome_learner is None and method != "ipw" else None
    return _augmented(y, arms, means, chance, weight, method, own)


def _augmented(y, arms, means, chance, weight, method, cells):
    """Augmented estimate whose weights are of mean 1 in each arm.

    With ``cells`` each row has had a part in its own mean.
    """
    chance, _ = clip_probability(chance, _CLIP, 1 - _CLIP)
    scores = means[1] - means[0]
    spread = scores.copy()
    several = True
    for arm, (rows, mean, p, sign) in enumerate(
        zip(arms, means, (1 - chance, chance), (-1, 1), strict=True)
    ):
        share = 1 / p[rows]
        _warn_of_overlap(arm, rows / p, weight)
        share *= weight.sum() / (weight[rows] @ share)
        residual = sign * share * (y[rows] - mean[rows])
        scores[rows] += residual
        counted = np.zeros(len(y), int) if cells is None else cells
        number = _kish(counted[rows], weight[rows])
        # Rounding apart, one row has a Kish number of 1 whatever its weight.
        several &= (number[weight[rows] > 0] > 1 + 1e-9).all()
        if cells is not None:
            number = np.maximum(number, 1 + 1e-9)
            residual *= np.sqrt(number / (number - 1))
        spread[rows] += residual
    effect = weighted_mean_effect(scores, weight)[0]
    _, stderr, influence = weighted_mean_effect(spread, weight)
    stderr = stderr if several else math.nan
    return EffectEstimate(effect, stderr, len(y), method, influence)


def _warn_of_overlap(arm, inverse, weight):
    """Warn if an arm's inverse probabilities stand for fewer units than there are.

    Their mean is 1 where each unit could have been in the arm, and the share of those
    that could where not.
    """
    mean, stderr, _ = weighted_mean_effect(inverse, weight)
    if mean < _STAND_FOR and mean + 3 * stderr < 1:
        warnings.warn(
            f"aipw_ate: arm {arm} stands for {mean:.0%} of the units by its inverse "
            "probabilities. The covariates tell the arms apart, or the probabilities "
            "are wrong: for the others the effect is an extrapolation.",
            IdentifiabilityWarning,
            stacklevel=4,
        )


def _kish(cells, weight):
    """Kish's number of rows of each row's cell; 0 where none has weight."""
    squares = np.bincount(cells, weight**2)
    numbers = np.bincount(cells, weight) ** 2 / np.where(squares > 0, squares, 1.0)
    return numbers[cells]


def _probabilities(propensity, y):
    if np.ndim(propensity) == 0:
        return np.full(len(y), float(propensity))
    values = _as_float("propensity", propensity, y, "(n_samples,)")
    outside = values[(values <= 0) | (values >= 1)]
    if outside.size:
        raise ValueError(
            f"propensity must be between 0 and 1, got {outside[0]:g}; n_samples = "
            f"{len(y)}."
        )
    return values


def _cells(codes, treatment, weight, *, strict):
    """Number of each row's cell of equal covariates; None where cells are no use.

    They are none if they are many or one has fewer than two rows of an arm; with
    ``strict`` they are always used, and must have a row of each arm.
    """
    cells = np.zeros(len(codes), dtype=np.int64)
    for column in codes.T:
        cells = cells * (column.max() + 1) + column
        cells = np.unique(cells, return_inverse=True)[1]
        if cells.max() >= _MAX_CELLS and not strict:
            return None
    counted = weight > 0
    counts = [
        np.bincount(cells[counted & (treatment == arm)], minlength=cells.max() + 1)
        for arm in (0, 1)
    ]
    least = np.minimum(*counts)[np.unique(cells[counted])].min()
    if not strict:
        return cells if least >= 2 else None
    if least == 0:
        raise ValueError(
            "covariates must leave rows of both arms in every cell for "
            f"method='stratified', got {cells.max() + 1} cells of which some lack an "
            f"arm; n_samples = {len(cells)}."
        )
    return cells


def _cell_means(values, cells, weight):
    totals = np.bincount(cells, weight)
    sums = np.bincount(cells, weight * values)
    # A cell without weight is read by rows without weight alone.
    return (sums / np.where(totals > 0, totals, 1.0))[cells]


class _Units:
    """Means over the rows of each unit."""

    def __init__(self, units, y, weight):
        self.codes = check_settings(np.asarray(units)[:, None], y)[1][:, 0]
        self.row_weight = weight
        self.weight = np.bincount(self.codes, weight) / np.bincount(self.codes)
        self.first = np.unique(self.codes, return_index=True)[1]

    def mean(self, values):
        return _cell_means(values, self.codes, self.row_weight)[self.first]

    def constant(self, values):
        return (values == values[self.first][self.codes]).all()

    def only(self, name, values):
        """The one value of each unit."""
        if not self.constant(values):
            raise ValueError(
                f"{name} must be the same in all rows of a unit, got several in one; "
                f"n_samples = {len(values)}."
            )
        return values[self.first]

    def covariates(self, covariates, codes):
        """Covariates of the units, and codes of their labels."""
        if self.constant(codes):
            return covariates[self.first], codes[self.first]
        shape = "(n_samples, n_covariates)"
        values = _as_float("covariates", covariates, covariates, shape)
        means = np.column_stack([self.mean(column) for column in values.T])
        return means, check_settings(means, means)[1]
