"""Average effects of a treatment when rows were selected, or a refusal."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from skident.effects._effect_estimate import normal_interval
from skident.effects._selection_families import FAMILIES
from skident.effects._selection_fit import (
    fit_model,
    mean_outcome,
    predict_chance,
    score_rows,
    sensitivity_table,
)
from skident.effects._selection_inputs import check_arm_labels, check_inputs
from skident.effects._selection_strategies import STRATEGIES
from skident.effects._selection_summary import make_summary
from skident.utils._copies import blank_copy, take_over
from skident.utils._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)

_NATURAL = Interval(Integral, 1, None, closed="left")


class SelectionBiasATE(RegressorMixin, BaseEstimator):
    """Average effect in the whole population from rows that were selected.

    Rows reach the analyst with a probability that may depend on covariates ``X``,
    treatment T and outcome Y. What is declared of that decides whether the average
    effect in the *whole* population is identified: an estimate with an interval, bounds
    where they can be had, or a refusal with its reason. By default selection may depend
    on everything in any way, and nothing is answered.

    Parameters
    ----------
    strategy : {"auto", "known", "mar", "reference", "extrapolate", "joint", \
            "score_matching", "bounds"}, default="auto"
        How to estimate. "auto" takes what the declarations allow. "known":
        ``selection_prob`` in ``fit``. "mar": unselected rows, with covariates and
        treatments, and selection without Y. "reference": ``x_reference``, and
        selection without Y. "extrapolate": a rule on X and T, polynomial outcomes.
        "joint": a parametric selection that may depend on Y, and a family of outcomes;
        named, it declares "logistic" and "normal" where they are None.
        "score_matching": networks, right in the limit only. "bounds": no more than
        bounds.
    selection_depends_on : sequence of {"X", "T", "Y"}, default=("X", "T", "Y")
        What selection may depend on. The empty sequence: on nothing.
    selection_form : {"free", "logistic", "probit"} or None, default=None
        Form of that dependence; None is not declared, and taken as free.
    outcome_family : {"normal", "laplace", "lognormal", "pareto", "mixture", \
            "lognormal_noise", "lomax_noise"} or None, default=None
        Law of the outcome given covariates and treatment, in the population; None is
        not declared. "mixture" is one of normals of one mean; the last two add a
        centred noise of that law to the mean.
    noise : {"additive", "multiplicative"}, default="additive"
        Whether the spread of outcomes is constant or grows with their mean.
    degree : int, pair of int or "bic", default="bic"
        Total degree of the polynomials of "extrapolate", "joint" and the bounds, in
        both arms or (control, treated).
    max_degree : int, default=6
        Highest that "bic" tries.
    propensity_degree : int, default=1
        Of the polynomial in the logit of the propensity.
    x_density : int or "bic", default="bic"
        Degree, 0 to 2, of the log-density of the covariates for "joint" without
        ``x_reference``.
    x_reference : array-like of shape (n_reference, n_features) or None, default=None
        Covariates sampled from the population, whether or not some of them were
        selected, in the units and with the columns of ``X``. Steps of a pipeline before
        the estimator do not transform it.
    support_mask : callable or None, default=None
        Rule ``(X, t) -> bool of shape (n_samples,)``: whether arm t can be observed at
        the rows of the array ``X``. t is 0, 1 or an array of an arm a row.
    c_overlap : float, default=0.05
        Propensities in [c, 1 - c] are overlap.
    min_selection_prob : float or None, default=None
        Least selection probability over the largest, in (0, 1]; for bounds.
    outcome_range : pair of float or None, default=None
        Least and largest outcome that is possible; for bounds.
    selection_rate : float or None, default=None
        Share of the population that was selected, for ``outcome_range`` without
        unselected rows.
    outcome_learner : estimator or None, default=None
        For the outcome of each arm; None is ridge regression. A classifier is for
        outcomes 0 and 1.
    propensity_learner : estimator or None, default=None
        Classifier for the treatment; None is penalised logistic regression.
    selection_learner : estimator or None, default=None
        Classifier for selection, or for the reference; None as above.
    n_folds : int, default=5
        Folds of cross-fitting; 1 fits and predicts on the same rows.
    trim : float, default=0.01
        Probabilities are clipped to [trim, 1 - trim].
    ridge : float, default=1e-3
        Penalty on the slopes of selection for "joint".
    n_quad : int, default=32
        Quadrature nodes over the outcome for "joint".
    n_starts : int, default=4
        Starts of the optimiser for "joint".
    inference : {"auto", "sandwich", "bootstrap"}, default="auto"
        Standard errors. "auto" is the bootstrap where there is no other ("extrapolate",
        families whose support moves with the parameters, bounds with a learner).
    n_boot : int, default=200
        Bootstrap draws.
    alpha : float, default=0.05
        1 minus the level of the intervals in ``summary``.
    on_unidentified : {"bounds", "raise"}, default="bounds"
        "raise" raises an error where there is no point estimate, unless bounds were
        asked for.
    n_jobs : int or None, default=None
        Fits of nuisances or bootstrap draws at a time, through joblib.
    random_state : int, RandomState instance or None, default=None
        Draws folds, bootstrap samples and starts.

    Attributes
    ----------
    effect_ : float
        Average effect in the population, in units of ``y``; NaN where it is not
        identified.
    stderr_ : float
        Its standard error. For "joint", where dependence on the outcome was not seen,
        ``effect_`` is without it, and the interval holds those with and without.
    bounds_ : ndarray of shape (2,) or None
        Bounds on it, where declarations give some.
    bounds_stderr_ : ndarray of shape (2,) or None
        Their standard errors.
    identification_ : Identification
        ``status`` ("point", "partial" or "none"), ``strategy``, ``code`` and
        ``reason``, ``assumptions``, ``paper_result``.
    effect_naive_ : EffectEstimate or None
        Difference of the selected arms' means.
    effect_selected_ : EffectEstimate or None
        Effect adjusted for ``X`` in the selected rows. The average effect among them
        where selection does not depend on Y, an association otherwise.
    weights_ : ndarray of shape (n_selected,) or None
        What each selected row stands for in the population, mean one.
    ess_ : float or None
        Effective number of rows, by Kish.
    selection_prob_ : ndarray of shape (n_selected,) or None
        Probability of selection of each selected row, given or fitted.
    selection_scale_known_ : bool
        Whether those are probabilities, not only proportional to them.
    overlap_ : dict or None
        "share" of rows in the overlap, "min" and "max" propensity, and the share of
        rows with a probability that was "clipped".
    nuisances_ : dict or None
        Models with ``predict(X)``, means over folds: "outcome" (a pair, of arms 0 and
        1), "propensity", "selection" (a pair for "mar", of the reference's probability
        for "reference"). None for "extrapolate", "joint" and "score_matching".
    influence_ : ndarray or None
        Of the rows that entered ``effect_``: the selected; all rows for "mar"; the
        selected and then the reference for "reference".
    bootstrap_effects_ : ndarray of shape (n_boot,) or None
        Estimates on resampled rows.
    degree_ : tuple of int or None
        Degrees of the polynomials of arms 0 and 1.
    selection_coef_ : dict or None
        Fitted coefficients of selection of "joint", in the units of the data.
    likelihood_ratio_ : tuple of float or None
        Statistic and p-value of the dependence of selection on the outcome.
    selection_range_ : tuple of float or None
        Least and largest fitted selection probability of the rows.
    information_condition_ : float or None
        Least over largest eigenvalue of the information.
    family_check_ : tuple of float or None
        Kolmogorov-Smirnov p-values of the arms' ranks under the fitted law.
    arm_check_ : float or None
        P-value of how often the arms occur under the fitted law.
    extrapolation_share_ : float or None
        Share of the population at which an arm is not observed.
    identifiability_ : IdentifiabilityReport
        Each assumption, its test and what came of it.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    selection_bounds : The bounds alone, for arrays.
    ScoreMatchingSelectionATE : The published networks, with all their settings.
    skident.inspection.EffectDisplay : Effects, intervals and bounds side by side.

    Notes
    -----
    *Identified*: the average effect in the population, if treatment is as good as
    random given ``X`` there, and selection is as declared. What follows from what:

    ====================== ============================= ==============================
    selection depends on   supplied or declared          the average effect is
    ====================== ============================= ==============================
    anything               ``selection_prob``            a point ("known")
    X, T                   unselected rows               a point ("mar")
    X, T                   ``x_reference``               a point ("reference")
    X, T, by a rule        ``support_mask``              a point ("extrapolate")
    X, T                   nothing                       open; that at each X is not
    X, T, Y                a form and a family           a point ("joint")
    X, T, Y                a family, a floor             bounded, a point in the limit
    X, T, Y                ``min_selection_prob``        bounded
    X, T, Y                ``outcome_range``, a rate     bounded
    X, T, Y, y binary      nothing                       refused
    ====================== ============================= ==============================

    Free forms of selection are told from outcomes by the tails alone [1]_, which no
    finite sample does at a known rate, and for Laplace outcomes not even that: their
    location is open by half a scale times the logarithm of the ratio of selection
    probabilities. Hence "joint" takes a parametric form, and tests what it can. Without
    a treatment the estimator is the outcome model of the selected rows, and says so.

    Linear nuisances take O(n d^2) operations. "joint" takes O((n + g) q p) an
    iteration, for g nodes over covariates, q over the outcome and p parameters.

    References
    ----------
    .. [1] Qiu, Kovačević, Huang, Spirtes and Locatello, "Towards a holistic
       understanding of selection bias for causal effect identification", ICML 2026,
       arXiv:2605.13430.
    .. [2] Bia, Huber and Lafférs, "Double machine learning for sample selection
       models", Journal of Business & Economic Statistics 42, 2024.
    .. [3] Correa, Tian and Bareinboim, "Generalized adjustment under confounding and
       selection biases", AAAI 2018.
    .. [4] Aronow and Lee, "Interval estimation of population means under unknown but
       bounded probabilities of sample selection", Biometrika 100, 2013.

    Examples
    --------
    >>> from skident.effects import SelectionBiasATE
    >>> rng = np.random.default_rng(0)
    >>> X, t = rng.standard_normal((4000, 2)), rng.integers(0, 2, 4000)
    >>> y = X[:, 0] * (1 + t) + 2 * t + rng.standard_normal(4000)
    >>> selected = rng.random(4000) < 1 / (1 + np.exp(-2 * X[:, 0]))
    >>> y[~selected] = np.nan
    >>> model = SelectionBiasATE(selection_depends_on=("X", "T"), random_state=0)
    >>> model = model.fit(X, y, treatment=t, selected=selected)
    >>> model.identification_.strategy
    'mar'
    >>> low, high = model.confidence_interval()
    >>> bool(low < 2 < high < model.effect_naive_.effect)
    True
    """

    __metadata_request__fit = {
        "treatment": True,
        "selected": True,
        "selection_prob": True,
    }
    __metadata_request__predict = {"treatment": True}
    __metadata_request__score = {"treatment": True, "selected": True}

    _parameter_constraints: dict = {
        "strategy": [StrOptions({"auto", *filter(None, STRATEGIES)})],
        "selection_depends_on": [tuple, list, set, frozenset, str],
        "selection_form": [StrOptions({"free", "logistic", "probit"}), None],
        "outcome_family": [StrOptions(set(FAMILIES)), None],
        "noise": [StrOptions({"additive", "multiplicative"})],
        "degree": [_NATURAL, StrOptions({"bic"}), tuple, list],
        "max_degree": [_NATURAL],
        "propensity_degree": [_NATURAL],
        "x_density": [Interval(Integral, 0, 2, closed="both"), StrOptions({"bic"})],
        "x_reference": ["array-like", None],
        "support_mask": [callable, None],
        "c_overlap": [Interval(Real, 0, 0.5, closed="left")],
        "min_selection_prob": [Interval(Real, 0, 1, closed="right"), None],
        "outcome_range": ["array-like", None],
        "selection_rate": [Interval(Real, 0, 1, closed="right"), None],
        "outcome_learner": [HasMethods(["fit", "predict"]), None],
        "propensity_learner": [HasMethods(["fit", "predict_proba"]), None],
        "selection_learner": [HasMethods(["fit", "predict_proba"]), None],
        "n_folds": [_NATURAL],
        "trim": [Interval(Real, 0, 0.5, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="left")],
        "n_quad": [Interval(Integral, 2, None, closed="left")],
        "n_starts": [_NATURAL],
        "inference": [StrOptions({"auto", "sandwich", "bootstrap"})],
        "n_boot": [Interval(Integral, 2, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "on_unidentified": [StrOptions({"bounds", "raise"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        strategy="auto",
        selection_depends_on=("X", "T", "Y"),
        *,
        selection_form=None,
        outcome_family=None,
        noise="additive",
        degree="bic",
        max_degree=6,
        propensity_degree=1,
        x_density="bic",
        x_reference=None,
        support_mask=None,
        c_overlap=0.05,
        min_selection_prob=None,
        outcome_range=None,
        selection_rate=None,
        outcome_learner=None,
        propensity_learner=None,
        selection_learner=None,
        n_folds=5,
        trim=0.01,
        ridge=1e-3,
        n_quad=32,
        n_starts=4,
        inference="auto",
        n_boot=200,
        alpha=0.05,
        on_unidentified="bounds",
        n_jobs=None,
        random_state=None,
    ):
        self.strategy = strategy
        self.selection_depends_on = selection_depends_on
        self.selection_form = selection_form
        self.outcome_family = outcome_family
        self.noise = noise
        self.degree = degree
        self.max_degree = max_degree
        self.propensity_degree = propensity_degree
        self.x_density = x_density
        self.x_reference = x_reference
        self.support_mask = support_mask
        self.c_overlap = c_overlap
        self.min_selection_prob = min_selection_prob
        self.outcome_range = outcome_range
        self.selection_rate = selection_rate
        self.outcome_learner = outcome_learner
        self.propensity_learner = propensity_learner
        self.selection_learner = selection_learner
        self.n_folds = n_folds
        self.trim = trim
        self.ridge = ridge
        self.n_quad = n_quad
        self.n_starts = n_starts
        self.inference = inference
        self.n_boot = n_boot
        self.alpha = alpha
        self.on_unidentified = on_unidentified
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        *,
        treatment=None,
        selected=None,
        selection_prob=None,
        sample_weight=None,
    ):
        """Decide what is identified, and estimate it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Covariates of the selected rows, and of the unselected where they are there.
        y : array-like of shape (n_samples,)
            Outcomes; those of unselected rows may be NaN.
        treatment : array-like of shape (n_samples,), default=None
            0 or 1. None: no effect, only the outcome model of the selected rows.
        selected : array-like of shape (n_samples,), default=None
            Whether each row was selected; None: every row was.
        selection_prob : array-like of shape (n_samples,), default=None
            Probability with which each selected row was selected, in (0, 1].
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : SelectionBiasATE

        Raises
        ------
        ValueError
            If an input is malformed or not finite, no row or one arm only was selected,
            or a named strategy lacks what it is computed from.
        IdentificationError
            If there is no point estimate and ``on_unidentified="raise"``.

        Warns
        -----
        IdentifiabilityWarning
            If the average effect is not identified, or these data contradict an
            assumption that they can test.
        """
        side = {
            "treatment": treatment,
            "selected": selected,
            "selection_prob": selection_prob,
            "sample_weight": sample_weight,
        }
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, _learned)
        fit_model(fitted, X, y, side, self)
        take_over(self, fitted, _learned)
        self.identifiability_.warn(self)
        return self

    def predict(self, X, treatment=None):
        """Mean outcome of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        treatment : array-like of shape (n_samples,), default=None
            Arm of each row; None averages over the arms, by the propensity.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            In the population where that is identified, else among the selected.
        """
        X = self._rows(X)
        if treatment is not None:
            treatment = check_arm_labels(treatment, X)
        return mean_outcome(self, X, treatment)

    def effect(self, X):
        """Effect at rows, the difference of the arms' mean outcomes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        effect : ndarray of shape (n_samples,)
            In units of ``y``; NaN where it is not identified.
        """
        X = self._rows(X)
        if not self._conditional:
            return np.full(len(X), np.nan, dtype=X.dtype)
        gap = self._model.outcome_mean(X, 1) - self._model.outcome_mean(X, 0)
        return gap.astype(X.dtype, copy=False)

    def predict_selection(self, X, treatment, y=None):
        """Probability with which rows are selected.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        treatment : array-like of shape (n_samples,)
        y : array-like of shape (n_samples,), default=None
            Outcomes, for "joint" and "score_matching".

        Returns
        -------
        chance : ndarray of shape (n_samples,)
            Up to a factor where ``selection_scale_known_`` is false.

        Raises
        ------
        ValueError
            If the fit has no model of selection, or one that needs outcomes.
        """
        X = self._rows(X)
        chance = predict_chance(self, X, check_arm_labels(treatment, X), y)
        return chance.astype(X.dtype, copy=False)

    def confidence_interval(self, level=0.95):
        """Interval of the average effect in the population.

        Parameters
        ----------
        level : float, default=0.95
            Coverage in (0, 1).

        Returns
        -------
        low, high : float
            By percentiles of the bootstrap where there is one, else by the normal
            approximation; NaN where the effect is not identified.
        """
        check_is_fitted(self)
        normal = normal_interval(self.effect_, self.stderr_, level)
        if self.bootstrap_effects_ is None:
            return normal
        ends = np.quantile(self.bootstrap_effects_, [(1 - level) / 2, (1 + level) / 2])
        return float(ends[0]), float(ends[1])

    def bounds_confidence_interval(self, level=0.95):
        """Interval that covers the effect wherever it lies in the bounds.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        low, high : float
            By Imbens and Manski; NaN without bounds.
        """
        check_is_fitted(self)
        if self._bounds is None:
            return float("nan"), float("nan")
        return self._bounds.confidence_interval(level)

    def summary(self):
        """Naive, adjusted, population and bounds side by side.

        Returns
        -------
        summary : SelectionSummary
            Prints as a table, in a notebook too; ``to_frame()`` gives a dataframe.
        """
        check_is_fitted(self)
        return make_summary(self)

    def sensitivity(
        self,
        X,
        y,
        *,
        treatment,
        lambdas=(1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
        selected=None,
        sample_weight=None,
    ):
        """Bounds for several ratios of selection probabilities.

        How unequal would selection have to be for a conclusion to fall? Ratios are of
        probabilities that differ by what ``selection_depends_on`` holds.

        Parameters
        ----------
        X, y, treatment, selected, sample_weight
            As in :meth:`fit`, which need not have been called.
        lambdas : sequence of float
            How much selection probabilities may differ: ratios of the largest to the
            least, at least 1.

        Returns
        -------
        table : pandas.DataFrame
            "lower" and "upper" bounds, and the ends "low" and "high" of the interval
            at level ``1 - alpha``, indexed by the ratio.

        Raises
        ------
        ValueError
            If a ratio is below 1, an input is malformed, or no ratio changes the
            bounds: selection without the outcome, covariates of the population there.
        """
        inputs = check_inputs(
            blank_copy(self, _learned),
            X,
            y,
            treatment,
            selected,
            None,
            sample_weight,
            self.x_reference,
        )
        return sensitivity_table(self, inputs, lambdas)

    def score(self, X, y, treatment=None, selected=None, sample_weight=None):
        """How well the fitted model says what the selected rows are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        treatment : array-like of shape (n_samples,), default=None
        selected : array-like of shape (n_samples,), default=None
            Rows that were not selected do not count; None: those without an outcome
            (NaN) do not.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            For "joint" with treatments given, the mean log-density of a selected row,
            in nats; otherwise R² of :meth:`predict` on the selected rows.
        """
        check_is_fitted(self)
        return score_rows(self, X, y, treatment, selected, sample_weight)

    def _rows(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=[np.float64, np.float32])


def _learned(name):
    return name.endswith("_") or name in _PRIVATE


_PRIVATE = ("_model", "_bounds", "_conditional", "_likelihood", "_among_identified")
