"""One fit of an effect under selection: what is decided, done and reported."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)

from skident.effects._expectile_bounds import (
    SelectionBounds,
    bound_effect,
    range_bounds,
    share_bounds,
)
from skident.effects._nuisances import (
    Nuisance,
    default_outcome,
    fit_nuisances,
    make_folds,
)
from skident.effects._selection_identification import identify, refuse
from skident.effects._selection_inputs import (
    check_arm_labels,
    check_inputs,
    check_rows,
    gather_facts,
)
from skident.effects._selection_report import make_report
from skident.effects._selection_scores import naive_effect, selected_effect
from skident.effects._selection_strategies import (
    STRATEGIES,
    Estimate,
    ScoreModel,
    in_float64,
    learners,
)
from skident.exceptions import IdentificationError
from skident.utils._validation import check_sample_weight


def fit_model(fitted, X, y, side, settings):
    """Fit, and set all learned attributes on ``fitted``.

    Parameters
    ----------
    fitted : SelectionBiasATE
        Takes the learned attributes.
    X, y : array-like
        As given to ``fit``.
    side : dict
        Side inputs given to ``fit``.
    settings : SelectionBiasATE
        Holds the parameters.
    """
    inputs = check_inputs(fitted, X, y, **side, x_reference=settings.x_reference)
    facts = gather_facts(settings, inputs)
    found = identify(facts)
    rng = check_random_state(settings.random_state)
    if inputs.treatment is None:
        estimate = Estimate(model=_outcome_model(inputs, settings, rng))
        naive = None
    else:
        _, y_kept, t_kept, w_kept = inputs.kept()
        naive = naive_effect(y_kept, t_kept, w_kept)
        estimate = STRATEGIES[found.strategy](inputs, settings, rng)
        if estimate.refusal is not None:
            found = refuse(facts, *estimate.refusal)
            estimate = Estimate(fit=estimate.fit, details=estimate.details)
    refused = found.status != "point" and settings.strategy != "bounds"
    if refused and settings.on_unidentified == "raise":
        raise IdentificationError(f"{found.code}: {found.reason}")
    _adjust_selected(estimate, inputs, settings, rng)
    bounds = _bounds(found, facts, inputs, estimate, settings, rng)
    report = make_report(found, facts, inputs, estimate, bounds, settings)
    _store(fitted, found, facts, inputs, estimate, naive, bounds, report)


def _store(fitted, found, facts, inputs, estimate, naive, bounds, report):
    fitted.effect_ = float(estimate.effect)
    fitted.stderr_ = float(estimate.stderr)
    fitted.bounds_ = None if bounds is None else np.array([bounds.lower, bounds.upper])
    fitted.bounds_stderr_ = None if bounds is None else bounds.stderr
    fitted.identification_ = found
    fitted.identifiability_ = report
    fitted.effect_naive_ = naive
    fitted.effect_selected_ = estimate.among
    fitted.weights_ = estimate.weights
    fitted.ess_ = _effective_size(estimate.weights)
    fitted.selection_prob_ = estimate.selection_prob
    fitted.selection_scale_known_ = estimate.scale_known
    fitted.influence_ = estimate.influence
    fitted.bootstrap_effects_ = estimate.draws
    fitted.overlap_ = _overlap(estimate, fitted.c_overlap)
    details = {"degree_": None, "selection_coef_": None, "likelihood_ratio_": None}
    details |= {"information_condition_": None, "selection_range_": None}
    details |= {"family_check_": None, "arm_check_": None}
    details |= {"extrapolation_share_": None}
    for name, value in (details | estimate.details).items():
        setattr(fitted, name, value)
    fitted.nuisances_ = getattr(estimate.model, "fitted", None)
    fitted._model = estimate.model
    fitted._bounds = bounds
    fitted._conditional = inputs.treatment is not None and (
        found.status == "point" or not facts.on_outcome
    )
    fitted._likelihood = found.strategy == "joint"
    fitted._among_identified = not facts.on_outcome


def _effective_size(weights):
    if weights is None:
        return None
    return float(weights.sum() ** 2 / (weights @ weights))


def _overlap(estimate, c):
    if estimate.propensity is None:
        return None
    e = estimate.propensity
    return {
        "share": float(((e >= c) & (e <= 1 - c)).mean()),
        "min": float(e.min()),
        "max": float(e.max()),
        "clipped": estimate.clipped,
    }


def _adjust_selected(estimate, inputs, settings, rng):
    """The adjusted effect in the selected rows, and their models where none fits."""
    if inputs.treatment is None:
        return
    if estimate.among is not None and estimate.model is not None:
        return
    X, y, treatment, weight = inputs.kept()
    found = selected_effect(
        X,
        y,
        treatment,
        sample_weight=weight,
        random_state=rng.randint(np.iinfo(np.int32).max),
        **learners(settings),
    )
    estimate.among = found.effect_selected
    if estimate.model is None:
        estimate.model = ScoreModel(found.fitted)
    if estimate.propensity is None:
        estimate.propensity, estimate.clipped = found.propensity, found.clipped


def _outcome_model(inputs, settings, rng):
    """Model of the selected outcomes, without a treatment."""
    X, y, _, weight = inputs.kept()
    learner = settings.outcome_learner
    learner = default_outcome() if learner is None else learner
    folds = make_folds(1, np.zeros(len(y)), rng)
    wanted = Nuisance("the outcome", learner, y, None, weight, is_classifier(learner))
    ((_, model),) = fit_nuisances(X, [wanted], folds, random_state=rng)
    return model


def _bounds(found, facts, inputs, estimate, settings, rng):
    if found.bounds is None:
        return None
    _, y, treatment, weight = inputs.kept()
    if found.bounds == "selection":
        ratio = 1 / settings.min_selection_prob
        return _bound_by_ratio(inputs, settings, ratio, facts.on_outcome, rng)
    if not facts.on_outcome:
        among = estimate.among
        rate = settings.selection_rate if inputs.selected.all() else inputs.rate
        return share_bounds(among.effect, among.stderr, settings.outcome_range, rate)
    if inputs.selected.all():
        return range_bounds(
            y, treatment == 1, settings.outcome_range, settings.selection_rate, weight
        )
    # Where the covariates of the unselected are there, an outcome at an end of the
    # range stands in for each that is missing.
    low, high = settings.outcome_range
    seed = rng.randint(np.iinfo(np.int32).max)
    ends, stderr = [], []
    for treated, control in ((low, high), (high, low)):
        missing = np.where(inputs.treatment == 1, treated, control)
        end = selected_effect(
            inputs.X,
            np.where(inputs.selected, inputs.y, missing),
            inputs.treatment,
            sample_weight=inputs.weight,
            random_state=seed,
            **learners(settings),
        )
        ends.append(end.effect)
        stderr.append(end.stderr)
    return SelectionBounds(*ends, np.array(stderr), float("inf"))


def mean_outcome(model, X, treatment):
    """Mean outcome of rows of an arm each, or of both by the propensity.

    Parameters
    ----------
    model : SelectionBiasATE
        Fitted.
    X : ndarray of shape (n_samples, n_features)
    treatment : ndarray of shape (n_samples,) or None

    Returns
    -------
    mean : ndarray of shape (n_samples,)
    """
    if model.effect_naive_ is None:
        return model._model.predict(X).astype(X.dtype, copy=False)
    share = model._model.propensity(X) if treatment is None else treatment
    control, treated = (model._model.outcome_mean(X, t) for t in (0, 1))
    # Exactly an arm's own mean where its share is one.
    mean = (1 - share) * control + share * treated
    return mean.astype(X.dtype, copy=False)


def predict_chance(model, X, treatment, y):
    """Probabilities of selection of new rows.

    Parameters
    ----------
    model : SelectionBiasATE
        Fitted.
    X : ndarray of shape (n_samples, n_features)
    treatment : ndarray of shape (n_samples,)
    y : array-like of shape (n_samples,) or None

    Returns
    -------
    chance : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the fit has no model of selection, or one that needs ``y``.
    """
    found = model.identification_
    if found.code == "selected_at_random":
        return np.ones(len(X))
    if found.status == "point" and found.strategy == "mar":
        arms = [arm.predict(X) for arm in model.nuisances_["selection"]]
        return np.maximum(np.where(treatment == 1, arms[1], arms[0]), model.trim)
    if found.status != "point" or not hasattr(model._model, "selection_probability"):
        raise ValueError(
            "predict_selection needs a fit with a model of selection given X and "
            f"treatment, got one of code {found.code!r} and strategy "
            f"{found.strategy!r}."
        )
    if found.strategy == "extrapolate":
        return model._model.selection_probability(X, treatment)
    if y is None:
        raise ValueError(
            f"y must be given where strategy={found.strategy!r} models a selection "
            "that may depend on it, got None."
        )
    y = column_or_1d(check_array(y, dtype=np.float64, ensure_2d=False, input_name="y"))
    check_consistent_length(X, y)
    if found.strategy == "joint":
        return model._model.selection_probability(X, treatment, y)
    arms = [model._model.selection_probability(X, t, y) for t in (0, 1)]
    return np.where(treatment == 1, arms[1], arms[0])


def score_rows(model, X, y, treatment, selected, sample_weight):
    """Mean log-density of selected rows for "joint", R² of their outcomes else.

    Parameters
    ----------
    model : SelectionBiasATE
        Fitted.
    X, y, treatment, selected, sample_weight
        As given to ``score``.

    Returns
    -------
    score : float
    """
    if selected is None:
        selected = ~np.isnan(np.asarray(y, dtype=np.float64)).ravel()
    X, y, selected = check_rows(model, X, y, selected, reset=False)
    X, y = X[selected], y[selected]
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight)
        weight = check_sample_weight(weight, selected)[selected]
    if treatment is not None:
        treatment = check_arm_labels(treatment, selected)[selected]
        if model._likelihood:
            found = model._model.log_density(X, y, treatment)
            return float(np.average(found, weights=weight))
    return r2_score(y, mean_outcome(model, X, treatment), sample_weight=weight)


def sensitivity_table(settings, inputs, lambdas):
    """Bounds for several ratios of selection probabilities.

    Parameters
    ----------
    settings : SelectionBiasATE
        Holds the parameters.
    inputs : Inputs
    lambdas : sequence of float
        Ratios, at least 1.

    Returns
    -------
    table : pandas.DataFrame
        Columns "lower", "upper", "low" and "high", indexed by the ratio.

    Raises
    ------
    ValueError
        If a ratio is below 1, there is no treatment, or nothing is open to ratios.
    """
    import pandas as pd

    ratios = np.asarray(lambdas, dtype=np.float64).ravel()
    if not (ratios >= 1).all():
        raise ValueError(f"lambdas must be at least 1, got {lambdas}.")
    if inputs.treatment is None:
        raise ValueError("treatment must be given for an effect to bound, got None.")
    on_outcome = "Y" in settings.selection_depends_on
    if not on_outcome and inputs.population is not None:
        raise ValueError(
            "selection_depends_on must hold 'Y' for a sensitivity where covariates of "
            "the population are there, got "
            f"{settings.selection_depends_on!r}: without it no ratio changes the "
            "effect. SelectionBiasATE().sensitivity says how much a dependence on the "
            "outcome would."
        )
    records = []
    for ratio in ratios:
        # The same bootstrap draws for every ratio.
        rng = np.random.RandomState(0)
        bounds = _bound_by_ratio(inputs, settings, ratio, on_outcome, rng)
        interval = bounds.confidence_interval(1 - settings.alpha)
        records.append((bounds.lower, bounds.upper, *interval))
    index = pd.Index(ratios, name="ratio")
    return pd.DataFrame(records, index, columns=["lower", "upper", "low", "high"])


def _bound_by_ratio(inputs, settings, ratio, on_outcome, rng):
    """Bounds where selection probabilities differ by a ratio at most."""
    X, y, treatment, weight = inputs.kept()
    boot = settings.inference == "bootstrap" or (
        settings.inference == "auto" and settings.outcome_learner is not None
    )
    return bound_effect(
        in_float64(X),
        y,
        treatment == 1,
        ratio,
        reference=in_float64(inputs.population),
        on_outcome=on_outcome,
        degree=settings.degree,
        max_degree=settings.max_degree,
        learner=settings.outcome_learner,
        weight=weight,
        n_boot=settings.n_boot if boot else 0,
        n_jobs=settings.n_jobs,
        rng=rng,
    )
