"""The strategies for an effect under selection, each from checked inputs."""

import warnings
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning

from skident.effects._selection_extrapolate import bootstrap_effect, fit_extrapolate
from skident.effects._selection_joint import fit_joint
from skident.effects._selection_scores import (
    known_effect,
    mar_effect,
    reference_effect,
)

# Families of noise that end where the parameters say.
_MOVING_SUPPORT = ("lognormal_noise", "lomax_noise")
# Level at which a logistic selection has to bend.
_BEND_LEVEL = 0.05


@dataclass
class Estimate:
    """What a strategy found.

    Parameters
    ----------
    effect, stderr : float
    model : object
        Has ``outcome_mean(X, t)`` and ``propensity(X)``.
    influence : ndarray or None
        Of the rows that entered.
    weights : ndarray of shape (n_selected,) or None
        What each selected row stands for in the population, up to a factor.
    selection_prob : ndarray of shape (n_selected,) or None
    scale_known : bool
        Whether those are probabilities, not only proportional to them.
    propensity : ndarray or None
        Probabilities of treatment of the rows that entered.
    clipped : float
        Share of the rows with a probability that was clipped.
    draws : ndarray of shape (n_boot,) or None
        Bootstrap estimates.
    among : EffectEstimate or None
        Adjusted effect in the selected rows.
    refusal : tuple of str or None
        Code and reason why these data do not tell.
    fit : JointFit or None
        The likelihood's maximum.
    details : dict
        Further fitted attributes, by name.
    """

    effect: float = np.nan
    stderr: float = np.nan
    model: object = None
    influence: np.ndarray | None = None
    weights: np.ndarray | None = None
    selection_prob: np.ndarray | None = None
    scale_known: bool = False
    propensity: np.ndarray | None = None
    clipped: float = 0.0
    draws: np.ndarray | None = None
    among: object = None
    refusal: tuple | None = None
    fit: object = None
    details: dict = field(default_factory=dict)


class ScoreModel:
    """Outcomes and treatment at new rows, from fitted nuisances.

    Parameters
    ----------
    fitted : dict
        "outcome", the pair of models (control, treated), and "propensity".
    """

    def __init__(self, fitted):
        self.fitted = fitted

    def outcome_mean(self, X, t):
        """Mean outcome of arm t, of shape (n_samples,)."""
        return self.fitted["outcome"][t].predict(X)

    def propensity(self, X):
        """Probability of treatment, of shape (n_samples,)."""
        return self.fitted["propensity"].predict(X)


def learners(settings):
    """Parameters of the nuisances, for the functions that fit them."""
    return {
        "outcome_learner": settings.outcome_learner,
        "propensity_learner": settings.propensity_learner,
        "n_folds": settings.n_folds,
        "trim": settings.trim,
        "n_jobs": settings.n_jobs,
    }


def _known(inputs, settings, rng):
    X, y, treatment, weight = inputs.kept()
    chance = np.ones(len(y))
    if inputs.selection_prob is not None:
        chance = inputs.selection_prob[inputs.selected]
    estimate = _score(_by_known, (X, y, treatment, chance, weight), settings, rng)
    estimate.selection_prob, estimate.scale_known = chance, True
    return estimate


def _mar(inputs, settings, rng):
    arrays = (inputs.X, inputs.y, inputs.treatment, inputs.selected, inputs.weight)
    more = {"selection_learner": settings.selection_learner}
    estimate = _score(_by_mar, arrays, settings, rng, more)
    kept = inputs.selected
    estimate.selection_prob, estimate.scale_known = estimate.selection_prob[kept], True
    estimate.weights = _mean_one(estimate.weights[kept])
    return estimate


def _reference(inputs, settings, rng):
    more = {"selection_learner": settings.selection_learner}
    return _score(
        _by_reference, inputs.kept(), settings, rng, more, reference=inputs.reference
    )


def _by_known(X, y, treatment, chance, weight, **params):
    return known_effect(X, y, treatment, chance, sample_weight=weight, **params)


def _by_mar(X, y, treatment, selected, weight, **params):
    return mar_effect(X, y, treatment, selected, sample_weight=weight, **params)


def _by_reference(X, y, treatment, weight, *, x_reference, **params):
    return reference_effect(
        X, y, treatment, x_reference, sample_weight=weight, **params
    )


def _score(method, arrays, settings, rng, more=None, reference=None):
    """A doubly robust score, with a bootstrap where that is asked for."""
    params = learners(settings) | (more or {})
    params["random_state"] = rng.randint(np.iinfo(np.int32).max)
    method = partial(method, **params)
    given = {} if reference is None else {"x_reference": reference}
    found = method(*arrays, **given)
    estimate = Estimate(
        effect=found.effect,
        stderr=found.stderr,
        model=ScoreModel(found.fitted),
        influence=found.influence,
        weights=found.weights,
        selection_prob=found.selection_prob,
        propensity=found.propensity,
        clipped=found.clipped,
        among=found.effect_selected,
    )
    if settings.inference == "bootstrap":
        _bootstrap(estimate, method, arrays, settings, rng, reference)
    return estimate


def _bootstrap(estimate, method, arrays, settings, rng, reference):
    """Standard error and draws from refits to resampled rows."""
    seed = rng.randint(np.iinfo(np.int32).max)
    draws = bootstrap_effect(
        method, arrays, settings.n_boot, settings.n_jobs, seed, x_reference=reference
    )
    # A draw may lack an arm; with many of those the rest is no sample of estimates.
    draws = draws[np.isfinite(draws)]
    estimate.draws = draws
    few = len(draws) < 0.9 * settings.n_boot
    estimate.stderr = np.nan if few else float(draws.std(ddof=1))


def _extrapolate(inputs, settings, rng):
    X, y, treatment, weight = inputs.kept()
    reference = in_float64(inputs.population)
    method = partial(
        _by_extrapolation,
        degree=settings.degree,
        max_degree=settings.max_degree,
        propensity_degree=settings.propensity_degree,
        support_mask=settings.support_mask,
        c_overlap=settings.c_overlap,
    )
    arrays = (in_float64(X), y, treatment, weight)
    fit = method(*arrays, x_reference=reference)
    estimate = Estimate(
        effect=fit.effect,
        stderr=fit.stderr,
        model=fit,
        influence=fit.influence,
        weights=fit.weights,
        selection_prob=fit.selection_probability(X, treatment),
        scale_known=settings.support_mask is not None,
        propensity=fit.propensity(X),
        details={
            "degree_": fit.degree,
            "extrapolation_share_": fit.extrapolation_share,
        },
    )
    if settings.inference != "sandwich":
        _bootstrap(estimate, method, arrays, settings, rng, reference)
    return estimate


def _by_extrapolation(X, y, treatment, weight, *, x_reference=None, **params):
    return fit_extrapolate(
        X, y, treatment, sample_weight=weight, x_reference=x_reference, **params
    )


def _joint(inputs, settings, rng):
    X, y, treatment, weight = inputs.kept()
    reference = in_float64(inputs.population)
    depends_on = tuple(v for v in "XTY" if v in settings.selection_depends_on)
    seed = rng.randint(np.iinfo(np.int32).max)
    params = {
        "family": settings.outcome_family or "normal",
        "noise": settings.noise,
        "form": settings.selection_form or "logistic",
        "depends_on": depends_on,
        "degree": settings.degree,
        "max_degree": settings.max_degree,
        "propensity_degree": settings.propensity_degree,
        "x_density": settings.x_density,
        "support_mask": settings.support_mask,
        "ridge": settings.ridge,
        "n_quad": settings.n_quad,
        "n_starts": settings.n_starts,
    }
    arrays = (in_float64(X), y, treatment, weight)
    try:
        fit = _by_likelihood(*arrays, x_reference=reference, seed=seed, **params)
    except np.linalg.LinAlgError as error:
        reason = f"The likelihood has no maximum that can be computed ({error})."
        return Estimate(refusal=("no_maximum", reason))
    chance = fit.selection_probability(X, treatment, y)
    estimate = Estimate(
        effect=fit.effect,
        stderr=fit.stderr,
        model=fit,
        influence=fit.influence,
        weights=_mean_one((1.0 if weight is None else weight) / chance),
        selection_prob=chance,
        scale_known=True,
        propensity=fit.propensity(X),
        refusal=fit.refusal,
        fit=fit,
        details={
            "degree_": fit.degree,
            "selection_coef_": fit.selection_coef,
            "likelihood_ratio_": fit.likelihood_ratio,
            "information_condition_": fit.information_condition,
            "selection_range_": fit.selection_range,
            "family_check_": fit.family_check,
            "arm_check_": fit.arm_check,
        },
    )
    if fit.refusal is None:
        estimate.refusal = _straight(fit, chance, arrays, reference, params, seed)
    # Where the support moves with the parameters, no expansion gives standard errors.
    moves = params["family"] in _MOVING_SUPPORT and settings.inference == "auto"
    if estimate.refusal is None and (moves or settings.inference == "bootstrap"):
        # From one start and at the chosen degrees: a draw is near the whole sample.
        params |= {"degree": fit.degree, "n_starts": 1}
        if fit.x_density_degree is not None:
            params["x_density"] = fit.x_density_degree
        method = partial(_by_likelihood, seed=seed, **params)
        _bootstrap(estimate, method, arrays, settings, rng, reference)
        if fit.alternative is not None:
            # Draws follow now the one and now the other of two models that a test does
            # not tell apart; the interval has to hold those of both.
            estimate.stderr, estimate.draws = max(estimate.stderr, fit.stderr), None
    return estimate


def _straight(fit, chance, arrays, reference, params, seed):
    """Why a logistic selection cannot be told from an exponential, or None.

    An exponential selection moves normal outcomes and leaves them normal: the bend of
    the logistic curve alone tells their mean. With half of the rows beyond its middle
    it is seen; else it has to add to the likelihood.
    """
    kinds = params["family"], params["noise"], params["form"]
    if kinds != ("normal", "additive", "logistic"):
        return None
    if not fit.outcome_dependent_detected or np.median(chance) > 0.5:
        return None
    # The penalty, of one unit of likelihood for slopes of some standard deviations,
    # keeps slopes finite that move the same things as other parameters do.
    params = params | {"form": "exponential", "n_starts": 1, "ridge": 1.0}
    params["degree"] = fit.degree
    if fit.x_density_degree is not None:
        params["x_density"] = fit.x_density_degree
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            tail = _by_likelihood(*arrays, x_reference=reference, seed=seed, **params)
        except np.linalg.LinAlgError:
            return None
    statistic = 2 * (fit.log_likelihood - tail.log_likelihood)
    p_value = float(chi2.sf(max(statistic, 0.0), 1))
    if p_value < _BEND_LEVEL:
        return None
    return (
        "exponential_tilt",
        "An exponential selection, which shifts outcomes just as another mean would, "
        f"fits the rows as well as a logistic one (p = {p_value:.2g} of its bend, "
        f"wanted at most {_BEND_LEVEL:g}): the two cannot be told apart.",
    )


def _by_likelihood(X, y, treatment, weight, *, x_reference=None, seed, **params):
    return fit_joint(
        X,
        y,
        treatment,
        sample_weight=weight,
        x_reference=x_reference,
        rng=np.random.default_rng(seed),
        **params,
    )


def _score_matching(inputs, settings, rng):
    X, y, treatment, weight = inputs.kept()
    if weight is not None:
        raise ValueError(
            "sample_weight is not taken by strategy='score_matching', which this fit "
            f"has come to; n_samples = {len(inputs.X)}."
        )
    reference = in_float64(inputs.population)
    method = partial(
        _by_scores,
        support_mask=settings.support_mask,
        c_overlap=settings.c_overlap,
        propensity_learner=settings.propensity_learner,
        seed=rng.randint(np.iinfo(np.int32).max),
    )
    arrays = (in_float64(X), y, treatment)
    fit = method(*arrays, x_reference=reference)
    arms = [fit.selection_probability(X, t, y) for t in (0, 1)]
    chance = np.where(treatment == 1, arms[1], arms[0])
    estimate = Estimate(
        effect=fit.effect,
        model=fit,
        weights=_mean_one(1 / chance),
        selection_prob=chance,
        propensity=fit.propensity(X),
        details={
            "selection_range_": fit.selection_range,
            "extrapolation_share_": fit.extrapolation_share,
        },
    )
    if settings.inference == "bootstrap":
        _bootstrap(estimate, method, arrays, settings, rng, reference)
    return estimate


def _by_scores(X, y, treatment, *, x_reference=None, seed, **params):
    from skident.effects._score_matching_fit import fit_score_matching

    rng = np.random.default_rng(seed)
    return fit_score_matching(
        X, y, treatment, x_reference=x_reference, rng=rng, **params
    )


def in_float64(values):
    """A float64 array, or None for None."""
    return None if values is None else values.astype(np.float64, copy=False)


def _mean_one(weights):
    return weights / weights.mean()


def _nothing(inputs, settings, rng):
    return Estimate()


STRATEGIES = {
    "known": _known,
    "mar": _mar,
    "reference": _reference,
    "extrapolate": _extrapolate,
    "joint": _joint,
    "score_matching": _score_matching,
    "bounds": _nothing,
    None: _nothing,
}
