"""The neural estimate of an effect under selection by the outcome."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_array, check_random_state

from skident.effects._score_matching_fit import ScoreMatchingFit, fit_score_matching
from skident.utils import Assumption, IdentifiabilityReport, iterate
from skident.utils._copies import blank_copy, take_over
from skident.utils._kept_module import KeepsModule
from skident.utils._module_state import learned, warn_if_unfinished
from skident.utils._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from skident.utils._validation import check_treatment

# What fit_score_matching returns under the names of fitted attributes.
_FIELDS = (
    "location",
    "scale",
    "grid",
    "classifier",
    "excess_penalty",
    "selection_range",
    "weight_share",
    "extrapolation_share",
)


class ScoreMatchingSelectionATE(
    KeepsModule, CallbackSupportMixin, RegressorMixin, BaseEstimator
):
    """Treatment effect under selection by the outcome, through score matching.

    The published neural estimate: in each arm one network is the score of the outcome's
    density before selection, another the selection probability, and their sum is
    matched to the selected rows [1]_ [2]_. It is here for comparison. Nothing in its
    objective says which part of the sum is selection; see Notes, and
    :class:`SelectionBiasATE` for estimates that are identified.

    Parameters
    ----------
    reweight : {"harmonic", "paper"}, default="harmonic"
        Weight of covariates x in the average effect. "harmonic" is
        ``e / B1 + (1 - e) / B0``, with e the share of the treated among the selected
        and B the mean selection probability of an arm at x, which undoes the selection;
        "paper" is ``1 / (b1 e + b0 (1 - e))``, with b the selection probability of an
        arm at its mean outcome, as published.
    estimate_selection : bool, default=True
        Whether selection may depend on the outcome ("SM+beta" in print, else "SM").
    hidden : tuple of int, default=(64, 64)
        Widths of the layers of a score network.
    selection_hidden : int, default=64
        Width of the layer of a selection network.
    penalty_log, penalty_square : float, default=0.1 and 0.05
        Weights of ``-mean log(beta)`` and ``mean beta^2``, which are least at
        ``beta = sqrt(penalty_log / (2 penalty_square))``; positive.
    clip : float or None, default=1.0
        Bound on the norm of the gradient.
    c_overlap : float, default=0.05
        An arm counts as observed where its share among the selected is at least this.
    support_mask : callable or None, default=None
        Known rule of eligibility: from rows (n, n_features) in the units of ``X`` and
        arms (n,) to booleans (n,), whether the arm can be observed there. None goes by
        ``c_overlap``.
    x_reference : array-like of shape (n_reference, n_features) or None, default=None
        Covariates from the population. The effect is then averaged over them, without
        weights.
    n_mixture : int or None, default=10
        Components of the Gaussian mixture of the selected covariates; None averages
        over the rows themselves.
    n_draws : int, default=5000
        Draws from the mixture.
    n_grid : int, default=200
        Outcomes at which a density is evaluated.
    propensity_learner : estimator or None, default=None
        Classifier of the treatment among the selected; None is a calibrated network of
        two layers of 32.
    max_epochs : int, default=200
        Passes over the rows of each arm.
    batch_size : int, default=256
        Rows an optimiser step; 64 in print, which takes more than twice the time.
    learning_rate : float, default=0.005
        Of Adam.
    tol : float, default=0.01
        Training counts as converged when from one tenth of ``max_epochs`` to the next
        the mean loss falls by no more than this share of its size; ``fit`` warns if
        not. With rows held out, an epoch must improve their loss by this share.
    validation_fraction : float, default=0.0
        Share of the rows of each arm held out. Training then ends after 10 epochs
        without improvement of their loss, and the best epoch is kept.
    device : str, default="auto"
        Device of the training; "auto" is "cuda" if there is one, else "cpu". All else
        runs on the CPU.
    net_params : dict or None, default=None
        Further settings passed on to skorch.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of initialisation, order of rows, mixture and propensity. On a CPU the same
        seed and thread count give the same bits; across devices, fits agree as fits of
        different seeds do.

    Attributes
    ----------
    effect_ : float
        Average effect in the population, in units of ``y``; NaN without a treatment.
    stderr_ : float
        NaN: no standard error is known for a number that the objective does not fix.
    module_ : torch.nn.Module
        The networks of the arms, on the CPU and in float64.
    location_, scale_ : ndarray of shape (n_features + 1,)
        What covariates and, last, the outcome are standardised by. The unit of the
        outcome is twice its standard deviation about a cubic in each arm.
    grid_ : ndarray of shape (n_grid,)
        Outcomes at which densities are evaluated, standardised.
    classifier_ : estimator or None
        Of the treatment among the selected, on standardised covariates.
    selection_range_ : tuple of two floats
        Least and largest fitted selection probability at the rows, over their mean.
    excess_penalty_ : float
        Mean penalty of the fitted selection above that of a constant one.
    weight_share_ : float
        Kish's effective share of the covariate draws; NaN without a treatment.
    extrapolation_share_ : float
        Weighted share of the draws at which an arm is not observed, likewise.
    history_ : dict of ndarray
        Mean loss of each epoch in each arm, "total_0" and "total_1", and of the rows
        held out, "validation_0" and "validation_1".
    n_epochs_ : int
        Passes over the rows of the arm that took most.
    identifiability_ : IdentifiabilityReport
        What is not identified, with what these data say of it.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names, when ``X`` is a dataframe whose column names are strings.

    See Also
    --------
    SelectionBiasATE : Refuses or gives bounds where an effect is not identified.

    Notes
    -----
    *Identified*: the score of the outcome among the selected rows,
    ``psi = s + d log(beta) / dy``. Only this sum enters the objective. A constant beta
    with the score ``psi`` fits as well as any other split, and costs the least penalty.
    With networks large enough and trained to the end there is no correction for
    selection at all; what correction there is comes from where the training stops. With
    few rows or epochs, and so few steps, the answer is mostly that of the initial
    networks. The report therefore calls the split violated whenever a selection was
    fitted. Without one ("SM") the estimate takes for granted that selection ignores the
    outcome.

    The weights undo selection by covariates and outcome as far as the fitted selection
    is right. They do not undo a rule that removes an arm at some covariates: there the
    removed arm is an extrapolation by its network, and the covariates count as often as
    they are seen in the other arm.

    Training takes O(max_epochs n h^2) operations for layers of width h, the average
    O(n_draws n_grid h^2). Memory is O(n n_features) beside some tens of MB.

    References
    ----------
    .. [1] Qiu, Kovačević, Huang, Spirtes and Locatello, "Towards a holistic
       understanding of selection bias for causal effect identification", ICML 2026,
       arXiv:2605.13430.
    .. [2] Hyvärinen, "Estimation of non-normalized statistical models by score
       matching", JMLR 6, 2005.

    Examples
    --------
    >>> import warnings
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skident.effects import ScoreMatchingSelectionATE
    >>> rng = np.random.default_rng(0)
    >>> X, treatment = rng.uniform(-1, 1, (400, 1)), np.arange(400) % 2
    >>> y = X[:, 0] + 2 * treatment + rng.standard_normal(400)
    >>> model = ScoreMatchingSelectionATE(
    ...     hidden=(16,), max_epochs=5, propensity_learner=LogisticRegression()
    ... )
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # five epochs are few
    ...     model = model.fit(X, y, treatment=treatment)
    >>> model.effect(X).shape
    (400,)
    >>> model.identifiability_.violated[0].name
    'the objective tells selection from outcome'
    """

    __metadata_request__fit = {"treatment": True}

    _parameter_constraints: dict = {
        "reweight": [StrOptions({"harmonic", "paper"})],
        "estimate_selection": ["boolean"],
        "hidden": [tuple, list],
        "selection_hidden": [Interval(Integral, 1, None, closed="left")],
        "penalty_log": [Interval(Real, 0, None, closed="neither")],
        "penalty_square": [Interval(Real, 0, None, closed="neither")],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
        "c_overlap": [Interval(Real, 0, 0.5, closed="left")],
        "support_mask": [callable, None],
        "x_reference": ["array-like", None],
        "n_mixture": [Interval(Integral, 1, None, closed="left"), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "n_grid": [Interval(Integral, 10, None, closed="left")],
        "propensity_learner": [HasMethods(["fit", "predict_proba"]), None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "net_params": [dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        reweight="harmonic",
        estimate_selection=True,
        *,
        hidden=(64, 64),
        selection_hidden=64,
        penalty_log=0.1,
        penalty_square=0.05,
        clip=1.0,
        c_overlap=0.05,
        support_mask=None,
        x_reference=None,
        n_mixture=10,
        n_draws=5000,
        n_grid=200,
        propensity_learner=None,
        max_epochs=200,
        batch_size=256,
        learning_rate=0.005,
        tol=0.01,
        validation_fraction=0.0,
        device="auto",
        net_params=None,
        verbose=0,
        random_state=None,
    ):
        self.reweight = reweight
        self.estimate_selection = estimate_selection
        self.hidden = hidden
        self.selection_hidden = selection_hidden
        self.penalty_log = penalty_log
        self.penalty_square = penalty_square
        self.clip = clip
        self.c_overlap = c_overlap
        self.support_mask = support_mask
        self.x_reference = x_reference
        self.n_mixture = n_mixture
        self.n_draws = n_draws
        self.n_grid = n_grid
        self.propensity_learner = propensity_learner
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.device = device
        self.net_params = net_params
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, *, treatment=None):
        """Fit the networks and average the effect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Covariates of the selected rows; at least two.
        y : array-like of shape (n_samples,)
            Their outcomes, continuous and not all equal.
        treatment : array-like of shape (n_samples,), default=None
            0 or 1, both present. None fits the law of ``y`` among the selected and no
            effect, which the report and a warning say.

        Returns
        -------
        self : ScoreMatchingSelectionATE

        Raises
        ------
        ValueError
            If an array is malformed or not finite, ``y`` is constant, an arm is
            missing, or ``x_reference`` has other columns than ``X``.
        FloatingPointError
            If the loss is no longer finite.

        Warns
        -----
        IdentifiabilityWarning
            If the report has a violated assumption, which it has whenever a selection
            or no treatment was fitted.
        ConvergenceWarning
            If the loss was still falling at the end.
        """
        # On a copy: whatever goes wrong, this estimator stays as it was.
        fitted = blank_copy(self, learned)
        X, y = validate_data(
            fitted,
            X,
            y,
            dtype=[np.float32, np.float64],
            y_numeric=True,
            ensure_min_samples=2,
        )
        if treatment is not None:
            treatment = check_treatment(treatment, X, binary=True)
            if treatment.ndim != 1:
                raise ValueError(
                    "treatment must be of shape (n_samples,), got shape "
                    f"{treatment.shape}; n_samples = {len(X)}."
                )
        params = self.get_params(deep=False)
        params["x_reference"] = self._reference(X.shape[1])
        seed = check_random_state(params.pop("random_state")).randint(2**31 - 1)
        fit = fit_score_matching(
            X,
            y,
            treatment,
            rng=np.random.default_rng(seed),
            epochs=iterate(self, self.max_epochs, X, y),
            **params,
        )
        fitted.effect_, fitted.stderr_ = fit.effect, np.nan
        fitted.module_, fitted.history_ = fit.module, fit.history
        for name in _FIELDS:
            setattr(fitted, f"{name}_", getattr(fit, name))
        fitted.n_epochs_ = max(len(losses) for losses in fit.history.values())
        fitted.identifiability_ = score_matching_report(
            fit, y, self.estimate_selection, with_reference=self.x_reference is not None
        )
        take_over(self, fitted, learned)
        for arm in range(len(fit.module.arms)):
            losses = {
                name.removesuffix(f"_{arm}"): values
                for name, values in fit.history.items()
                if name.endswith(f"_{arm}")
            }
            unit = abs(np.mean(losses["total"][-max(1, self.max_epochs // 10) :]))
            warn_if_unfinished(losses, self.tol, self.max_epochs, unit)
        self.identifiability_.warn(self)
        return self

    def predict(self, X):
        """Mean outcome of selected rows with these covariates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In units of ``y``, over both arms as they are mixed among the selected.
        """
        X = self._rows(X)
        fit = self._fit
        mean = fit.outcome_mean(X, 0, selected=True)
        if fit.classifier is not None:
            share = fit.propensity(X)
            treated = fit.outcome_mean(X, 1, selected=True)
            mean = (1.0 - share) * mean + share * treated
        return mean.astype(X.dtype, copy=False)

    def predict_outcome(self, X, treatment):
        """Mean outcome of an arm in the population at covariates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        treatment : {0, 1}

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In units of ``y``.

        Raises
        ------
        ValueError
            If the arm was not in ``fit``.
        """
        X = self._rows(X)
        n_arms = len(self.module_.arms)
        if treatment not in range(n_arms) or n_arms == 1:
            raise ValueError(
                f"treatment must be an arm of fit, of which there were {n_arms} "
                f"(without a treatment none is known), got {treatment!r}."
            )
        return self._fit.outcome_mean(X, int(treatment)).astype(X.dtype, copy=False)

    def effect(self, X):
        """Effect at covariates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        effect : ndarray of shape (n_samples,)
            In units of ``y``; NaN without a treatment.
        """
        X = self._rows(X)
        if len(self.module_.arms) == 1:
            return np.full(len(X), np.nan, dtype=X.dtype)
        return self._fit.effect_at(X).astype(X.dtype, copy=False)

    def confidence_interval(self, level=0.95):
        """Interval of the effect: unknown, whatever the level.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        low, high : float
            NaN both; see ``stderr_``.
        """
        check_is_fitted(self)
        return np.nan, np.nan

    @staticmethod
    def _module_type():
        from skident.effects._score_matching_net import ArmModels

        return ArmModels

    # --- inside ----------------------------------------------------------------------

    @property
    def _fit(self):
        return ScoreMatchingFit(
            effect=self.effect_,
            module=self.module_,
            history=self.history_,
            **{name: getattr(self, f"{name}_") for name in _FIELDS},
        )

    def _rows(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=[np.float32, np.float64])

    def _reference(self, n_features):
        if self.x_reference is None:
            return None
        reference = check_array(
            self.x_reference, dtype=np.float64, input_name="x_reference"
        )
        if reference.shape[1] != n_features:
            raise ValueError(
                f"x_reference must have the {n_features} columns of X, got "
                f"{reference.shape[1]}."
            )
        return reference


def score_matching_report(fit, y, estimate_selection, *, with_reference=False):
    """What score matching identifies of an effect under selection: less than it gives.

    Parameters
    ----------
    fit : ScoreMatchingFit
    y : ndarray of shape (n,)
    estimate_selection, with_reference : bool

    Returns
    -------
    report : IdentifiabilityReport
    """
    assumptions = []
    if fit.classifier is None:
        assumptions.append(
            Assumption.at_least(
                "a treatment is recorded", "number of arms in the rows", 1, 2
            )
        )
    if estimate_selection:
        assumptions.append(
            Assumption.at_most(
                "the objective tells selection from outcome",
                "only the sum of both scores enters it: penalty of the fitted "
                "selection above that of a constant one, which fits as well",
                fit.excess_penalty,
                0.0,
            )
        )
    else:
        assumptions.append(
            Assumption(
                "selection ignores the outcome",
                "needs rows that were not selected",
            )
        )
    assumptions.append(
        Assumption.at_least(
            "the outcome has a density",
            "share of distinct values among the outcomes",
            len(np.unique(y)) / len(y),
            0.5,
        )
    )
    if fit.classifier is not None:
        assumptions += [
            Assumption.at_most(
                "both arms are observed everywhere",
                "weighted share of covariates at which networks extrapolate an arm",
                fit.extrapolation_share,
                0.05,
            ),
            Assumption.at_least(
                "weights do not concentrate",
                "Kish's effective share of the covariate draws",
                fit.weight_share,
                0.1,
            ),
            Assumption("no hidden confounder", "needs an instrument or a trial"),
        ]
    notes = [
        "0.5, 0.05 and 0.1 are conventions.",
        "The fitted selection runs from {:.3g} to {:.3g} times its mean over the "
        "rows.".format(*fit.selection_range),
    ]
    if not with_reference and fit.classifier is not None:
        notes.append(
            "No covariates of the population were given: the average rests on weights "
            "that come from the fitted selection."
        )
    target = "the outcome's law among the selected rows"
    if fit.classifier is not None:
        target = "the average effect in the population"
    return IdentifiabilityReport(
        target=target,
        up_to="nothing",
        assumptions=assumptions,
        notes=notes,
        advice="Declare a form of selection, give selection_prob, unselected rows or "
        "x_reference to SelectionBiasATE, or ask it for bounds.",
    )
