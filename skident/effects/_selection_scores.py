"""Doubly robust scores of the average effect under selection that can be modelled."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from skident.effects._effect_estimate import (
    EffectEstimate,
    influence_stderr,
    weighted_mean_effect,
)
from skident.effects._nuisances import (
    Nuisance,
    clip_probability,
    default_classifier,
    default_outcome,
    fit_nuisances,
    make_folds,
    row_order,
)


@dataclass(frozen=True)
class ScoreEffect:
    """An average effect by a score, with all that went into it.

    Parameters
    ----------
    effect, stderr : float
        In units of the outcome.
    influence : ndarray of shape (n_units,)
        What each unit adds to the estimate's error; with a reference sample, the rows
        of the sample and then those of the reference.
    weights : ndarray of shape (n_samples,)
        What each row counts for in the population, of mean 1; 0 for rows that were not
        selected.
    propensity : ndarray of shape (n_samples,)
        Probability of treatment, clipped; of the selected with a reference sample.
    outcome_means : ndarray of shape (n_samples, 2)
        Expected outcome of each row without and with treatment.
    selection_prob : ndarray of shape (n_samples,) or None
        Probability to be selected given the row's own treatment; None where it is known
        up to a factor only.
    clipped : float
        Share of the rows of which a probability was clipped.
    fitted : dict
        Models whose ``predict(X)`` gives the expected target of new rows: "outcome" is
        the pair (control, treated), "propensity" the probability of treatment, and
        "selection" the pair of probabilities to be selected without and with treatment,
        or, with a reference sample, the probability to be of the reference.
    effect_selected : EffectEstimate
        Effect in the selected part of the population.
    """

    effect: float
    stderr: float
    influence: np.ndarray
    weights: np.ndarray
    propensity: np.ndarray
    outcome_means: np.ndarray
    selection_prob: np.ndarray | None
    clipped: float
    fitted: dict
    effect_selected: EffectEstimate


def naive_effect(y, treatment, sample_weight=None):
    """Difference of the arms' mean outcomes, with Welch's standard error.

    Parameters
    ----------
    y, treatment : ndarray of shape (n_samples,)
    sample_weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    estimate : EffectEstimate

    Raises
    ------
    ValueError
        If an arm has no row.
    """
    check_arms(treatment, weight=sample_weight, at_least=1)
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    effect, variance, influence = 0.0, 0.0, np.zeros(len(y))
    for arm, sign in ((1, 1), (0, -1)):
        rows = treatment == arm
        mean, stderr, part = weighted_mean_effect(y[rows], weight[rows])
        effect += sign * mean
        variance += stderr**2
        influence[rows] = sign * len(y) / rows.sum() * part
    return EffectEstimate(
        effect, float(np.sqrt(variance)), len(y), "difference of means", influence
    )


def selected_effect(X, y, treatment, **settings):
    """Average effect in the population that the rows are a sample of.

    The augmented inverse-probability-weighted mean, with cross-fitted nuisances: right
    if the model of the outcomes or that of the treatment is, where no confounder is
    missing in ``X``. On selected rows it is the effect among the selected.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    treatment : ndarray of shape (n_samples,)
        0 or 1.
    sample_weight : ndarray of shape (n_samples,), default=None
        Only ratios matter.
    outcome_learner, propensity_learner : estimator, default=None
        A classifier as the outcome learner is for outcomes of 0 and 1. None is ridge,
        and penalised logistic, regression.
    n_folds : int, default=5
        1 fits and predicts on the same rows.
    trim : float, default=0.01
        Probabilities of treatment are clipped to [trim, 1 - trim].
    n_jobs : int, default=None
    random_state : None, int or RandomState, default=None

    Returns
    -------
    score : ScoreEffect

    Raises
    ------
    ValueError
        If an arm has fewer than two rows (one with ``n_folds=1``), or a classifier is
        given other outcomes than 0 and 1.
    TypeError
        If weights differ and a learner takes none.
    """
    return known_effect(X, y, treatment, None, **settings)


def known_effect(
    X,
    y,
    treatment,
    selection_prob,
    *,
    sample_weight=None,
    outcome_learner=None,
    propensity_learner=None,
    n_folds=5,
    trim=0.01,
    n_jobs=None,
    random_state=None,
):
    """Average effect in the population, the probability to be selected being known.

    Every row counts ``1 / selection_prob`` times, in the nuisances and in the score;
    whatever selection depends on, the outcome included.

    Parameters
    ----------
    X, y, treatment
        Of the selected rows; these and the rest as in :func:`selected_effect`.
    selection_prob : ndarray of shape (n_samples,) or None
        In (0, 1]; only ratios matter. None is the same for all.

    Returns
    -------
    score : ScoreEffect
    """
    check_arms(treatment, weight=sample_weight, at_least=1 if n_folds == 1 else 2)
    rng = check_random_state(random_state)
    arms = [treatment == 0, treatment == 1]
    strata = fold_strata(treatment, sample_weight)
    folds = make_folds(n_folds, strata, rng, order=row_order(X, y))
    selected = _unless_equal(sample_weight)
    weight = selected
    if selection_prob is not None:
        prior = 1.0 if sample_weight is None else sample_weight
        weight = _unless_equal(prior / selection_prob)
    makers = [(weight, " in the population")]
    if weight is not selected:
        makers.append((selected, " among the selected"))
    wanted = []
    for weights, where in makers:
        wanted += outcome_nuisances(outcome_learner, y, arms, weights, where)
        wanted.append(_treatment(propensity_learner, treatment, None, weights, where))
    found = fit_nuisances(X, wanted, folds, n_jobs=n_jobs, random_state=rng)

    scores = []
    for g0, g1, e in (found[:3], found[-3:]):
        propensity, clipped = clip_probability(e[0], trim, 1 - trim)
        residual = _residual(y, treatment, (g0[0], g1[0]), propensity)
        scores.append((g1[0] - g0[0] + residual, propensity, clipped))
    (score, propensity, clipped), (score_selected, _, _) = scores
    effect, stderr, influence = weighted_mean_effect(score, weight)
    return ScoreEffect(
        effect,
        stderr,
        influence,
        np.ones(len(y)) if weight is None else weight / weight.mean(),
        propensity,
        np.column_stack([found[0][0], found[1][0]]),
        selection_prob,
        float(clipped.mean()),
        {"outcome": (found[0][1], found[1][1]), "propensity": found[2][1]},
        _estimate(score_selected, selected, "cross-fitted AIPW"),
    )


def mar_effect(
    X,
    y,
    treatment,
    selected,
    *,
    sample_weight=None,
    outcome_learner=None,
    propensity_learner=None,
    selection_learner=None,
    n_folds=5,
    trim=0.01,
    n_jobs=None,
    random_state=None,
):
    """Average effect where the outcome is missing at random given ``X`` and treatment.

    Parameters
    ----------
    X, treatment
        Of selected and unselected rows.
    y : ndarray of shape (n_samples,)
        Not read where ``selected`` is false.
    selected : ndarray of bool of shape (n_samples,)
    selection_learner : estimator, default=None
        Classifier, fitted to each arm by itself, so that selection may depend on
        ``X`` in another way in each. Probabilities are clipped to [trim, 1].

    The rest as in :func:`selected_effect`.

    Returns
    -------
    score : ScoreEffect

    References
    ----------
    .. [1] Bia, Huber and Lafférs, "Double machine learning for sample selection
           models", JBES 42(3), 2024.
    """
    check_arms(
        treatment,
        rows=selected,
        weight=sample_weight,
        at_least=1 if n_folds == 1 else 2,
    )
    rng = check_random_state(random_state)
    arms = [treatment == 0, treatment == 1]
    seen = np.where(selected, y, 0.0)
    strata = fold_strata(treatment + 2 * selected, sample_weight)
    folds = make_folds(n_folds, strata, rng, order=row_order(X, seen, selected))
    weight = _unless_equal(sample_weight)
    where = " among the selected"
    wanted = [
        *outcome_nuisances(
            outcome_learner, y, [arm & selected for arm in arms], weight, where
        ),
        _treatment(propensity_learner, treatment, None, weight, " in the population"),
    ]
    chooser = _or_default(selection_learner, default_classifier)
    wanted += [
        Nuisance(
            f"the selection of arm {t}",
            chooser,
            selected.astype(np.float64),
            arms[t],
            weight,
            proba=True,
        )
        for t in (0, 1)
    ]
    found = fit_nuisances(X, wanted, folds, n_jobs=n_jobs, random_state=rng)
    g0, g1, e, p0, p1 = (predictions for predictions, _ in found)
    propensity, clipped = clip_probability(e, trim, 1 - trim)
    own, clipped_own = clip_probability(np.where(arms[1], p1, p0), trim)
    residual = _residual(seen, treatment, (g0, g1), propensity)
    score = g1 - g0 + np.where(selected, residual / own, 0.0)
    effect, stderr, influence = weighted_mean_effect(score, weight)

    # Bayes' rule: the treatment among the selected, without a further fit.
    odds = propensity * np.maximum(p1, trim), (1 - propensity) * np.maximum(p0, trim)
    among, _ = clip_probability(odds[0] / (odds[0] + odds[1]), trim, 1 - trim)
    score_selected = g1 - g0 + _residual(seen, treatment, (g0, g1), among)
    prior = np.ones(len(y)) if weight is None else weight
    weights = np.where(selected, prior / own, 0.0)
    return ScoreEffect(
        effect,
        stderr,
        influence,
        weights / weights.mean(),
        propensity,
        np.column_stack([g0, g1]),
        own,
        float((clipped | clipped_own).mean()),
        {
            "outcome": (found[0][1], found[1][1]),
            "propensity": found[2][1],
            "selection": (found[3][1], found[4][1]),
        },
        _estimate(score_selected[selected], prior[selected], "cross-fitted AIPW"),
    )


def reference_effect(
    X,
    y,
    treatment,
    x_reference,
    *,
    sample_weight=None,
    outcome_learner=None,
    propensity_learner=None,
    selection_learner=None,
    n_folds=5,
    trim=0.01,
    n_jobs=None,
    random_state=None,
):
    """Average effect in the population that a reference sample of ``X`` stands for.

    The outcomes' models are averaged over the reference; their errors are averaged over
    the selected rows, weighted by the ratio of the densities of ``X``, which comes from
    a classifier that tells the reference from the selected.

    Parameters
    ----------
    X, y, treatment
        Of the selected rows.
    x_reference : ndarray of shape (n_reference, n_features)
        Covariates of the population, of other rows than ``X``'s.
    sample_weight : ndarray of shape (n_samples,), default=None
        Of the selected rows; those of the reference weigh 1.
    selection_learner : estimator, default=None
        Classifier. Its odds, brought to equal sizes of the samples, are clipped as
        those of probabilities in [trim, 1 - trim].

    The rest as in :func:`selected_effect`.

    Returns
    -------
    score : ScoreEffect
        ``influence`` has n_samples + n_reference entries.
    """
    check_arms(treatment, weight=sample_weight, at_least=1 if n_folds == 1 else 2)
    rng = check_random_state(random_state)
    n, m = len(X), len(x_reference)
    everyone = np.concatenate([X, x_reference.astype(X.dtype, copy=False)])
    here = np.arange(n + m) < n
    arm = np.append(treatment, np.zeros(m))
    outcome = np.append(y, np.zeros(m))
    arms = [here & (arm == 0), here & (arm == 1)]
    strata = np.append(fold_strata(treatment, sample_weight), np.full(m, -1))
    order = row_order(everyone, outcome, here)
    folds = make_folds(n_folds, strata, rng, order=order)
    weight = _unless_equal(sample_weight)
    prior = np.ones(n) if weight is None else weight
    padded = None if weight is None else np.append(weight, np.ones(m))
    where = " among the selected"
    wanted = [
        *outcome_nuisances(outcome_learner, outcome, arms, padded, where),
        _treatment(propensity_learner, arm, here, padded, where),
        Nuisance(
            "the reference",
            _or_default(selection_learner, default_classifier),
            1.0 - here,
            None,
            padded,
            proba=True,
        ),
    ]
    found = fit_nuisances(everyone, wanted, folds, n_jobs=n_jobs, random_state=rng)
    g0, g1, e, chance = (predictions for predictions, _ in found)
    propensity, clipped = clip_probability(e[:n], trim, 1 - trim)
    # The probability of the reference had both samples the same total weight.
    of_reference, of_selected = chance[:n] * prior.sum(), (1 - chance[:n]) * m
    balanced, clipped_ratio = clip_probability(
        of_reference / (of_reference + of_selected), trim, 1 - trim
    )
    ratio = prior * balanced / (1 - balanced)
    ratio /= ratio.mean()
    residual = _residual(y, treatment, (g0[:n], g1[:n]), propensity)
    modelled, _, influence_reference = weighted_mean_effect((g1 - g0)[n:])
    corrected, _, influence_selected = weighted_mean_effect(residual, ratio)
    influence = np.append(
        (n + m) / n * influence_selected, (n + m) / m * influence_reference
    )
    variance = (
        influence_stderr(influence_selected, np.count_nonzero(ratio)) ** 2
        + influence_stderr(influence_reference) ** 2
    )
    return ScoreEffect(
        modelled + corrected,
        float(np.sqrt(variance)),
        influence,
        ratio,
        propensity,
        np.column_stack([g0, g1])[:n],
        None,
        float((clipped | clipped_ratio).mean()),
        {
            "outcome": (found[0][1], found[1][1]),
            "propensity": found[2][1],
            "selection": found[3][1],
        },
        _estimate((g1 - g0)[:n] + residual, weight, "cross-fitted AIPW"),
    )


def check_arms(treatment, *, rows=None, weight=None, at_least=2):
    """Refuse rows of positive weight that lack an arm.

    Raises
    ------
    ValueError
    """
    kept = np.ones(len(treatment), bool) if rows is None else rows
    if weight is not None:
        kept = kept & (weight > 0)
    counts = [int(np.count_nonzero(kept & (treatment == arm))) for arm in (0, 1)]
    if min(counts) < at_least:
        which = "rows" if rows is None else "selected rows"
        raise ValueError(
            f"treatment must have at least {at_least} {which} in each arm, got "
            f"{counts[0]} of arm 0 and {counts[1]} of arm 1; n_samples = "
            f"{len(treatment)}."
        )


def fold_strata(groups, weight):
    """Strata for folds: the groups, and rows without weight apart.

    Folds then part the rows of a group that count, and no fold takes all of them.
    """
    return groups if weight is None else groups + 4 * (weight == 0)


def _or_default(learner, default):
    return default() if learner is None else learner


def outcome_nuisances(learner, y, arms, weight, where=""):
    """One nuisance an arm: expected outcomes, of a classifier's class 1."""
    learner = _or_default(learner, default_outcome)
    proba = is_classifier(learner)
    if proba:
        values = np.concatenate([y[rows] for rows in arms])
        other = values[(values != 0) & (values != 1)]
        if other.size:
            raise ValueError(
                "y must be 0 or 1 for a classifier as outcome_learner, got "
                f"{other[0]:g}; n_samples = {len(y)}."
            )
    return [
        Nuisance(f"the outcome of arm {t}{where}", learner, y, arms[t], weight, proba)
        for t in (0, 1)
    ]


def _treatment(learner, treatment, rows, weight, where):
    learner = _or_default(learner, default_classifier)
    name = f"the treatment{where}"
    return Nuisance(name, learner, treatment, rows, weight, proba=True)


def _unless_equal(weight):
    """Weights of mean 1 over the rows that count, or None where all are the same."""
    if weight is None or (weight == weight[0]).all():
        return None
    return weight / weight[weight > 0].mean()


def _residual(y, treatment, means, propensity):
    """What the observed outcome adds to the difference of the modelled means."""
    treated = (y - means[1]) / propensity
    return np.where(treatment == 1, treated, -(y - means[0]) / (1 - propensity))


def _estimate(scores, weight, method):
    effect, stderr, influence = weighted_mean_effect(scores, weight)
    return EffectEstimate(effect, stderr, len(scores), method, influence)
