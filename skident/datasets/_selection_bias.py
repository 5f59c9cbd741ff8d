"""Populations whose rows reach the analyst selectively, with the true effect."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.datasets import load_diabetes
from sklearn.utils import Bunch, check_random_state

from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_BOX = 3.0  # covariates are uniform on [-3, 3]
_SLOPE = 0.5  # of the log-odds of treatment in the single covariate
_COEF_SEED = 0  # outcome functions of several covariates are the same in all draws
_X_SHARE = 0.1  # weight of the covariates in the selection, beside the outcome
_LOMAX_SHAPE = 3.0
_BMI = 2  # column of scikit-learn's diabetes table
_SELECTION = {
    "x_func": [StrOptions({"polynomial", "sin", "log"})],
    "noise": [StrOptions({"normal", "laplace", "lognormal", "lomax"})],
    "noise_func": [StrOptions({"additive", "multiplicative"})],
    "noise_scale": [Interval(Real, 0, None, closed="left")],
    "deterministic": ["boolean"],
    "x_threshold": [Interval(Real, 0, None, closed="neither")],
    "nondeterministic": ["boolean"],
    "beta_center": [Interval(Real, None, None, closed="neither")],
    "beta_scale": [Interval(Real, None, None, closed="neither")],
    "random_state": ["random_state"],
}
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    **_SELECTION,
}
_SEMISYNTHETIC_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "treated_share": [Interval(Real, 0, 1, closed="neither")],
    "treatment_slope": [Interval(Real, None, None, closed="neither")],
    **_SELECTION,
}
_CITATION = (
    "Y. Qiu, F. Kovačević, S. Huang, P. Spirtes and F. Locatello, Towards a Holistic "
    "Understanding of Selection Bias for Causal Effect Identification, ICML 2026, "
    "arXiv:2605.13430."
)


@dataclass(frozen=True)
class EligibleArm:
    """Which arm can be observed where: controls need a small enough index of X.

    Parameters
    ----------
    direction : ndarray of shape (n_features,)
        Weights of the index ``X @ direction``.
    threshold : float
        Controls whose index exceeds it in size are never selected.
    """

    direction: np.ndarray
    threshold: float

    def __call__(self, X, treatment):
        """Whether rows of the arm can be selected, of shape (n_samples,)."""
        index = np.abs(np.asarray(X, dtype=np.float64) @ self.direction)
        return (np.asarray(treatment) == 1) | (index <= self.threshold)


def make_selection_bias(
    n_samples=5000,
    n_features=1,
    *,
    x_func="polynomial",
    noise="normal",
    noise_func="additive",
    noise_scale=0.5,
    deterministic=True,
    x_threshold=1.5,
    nondeterministic=True,
    beta_center=1.5,
    beta_scale=3.0,
    random_state=None,
):
    """A population of which rows are selected by covariates, treatment and outcome.

    The generator of [1]_. Covariates X are uniform on [-3, 3], the treatment T depends
    on X, and the outcome is Y(T). Two selections then remove rows: controls whose
    covariates lie outside a band are never seen, and of the others a row is kept with
    a probability that is logistic in its outcome.

    Parameters
    ----------
    n_samples : int, default=5000
        Size of the population, before the selection.
    n_features : int, default=1
        Number of covariates.
    x_func : {"polynomial", "sin", "log"}, default="polynomial"
        Shape of the mean outcomes, see Notes; several covariates need "polynomial".
    noise : {"normal", "laplace", "lognormal", "lomax"}, default="normal"
        Law of the noise, independent in the two arms. The two skewed ones are centred
        at their sample mean.
    noise_func : {"additive", "multiplicative"}, default="additive"
        Outcomes are ``mean + noise`` or ``mean * (1 + noise)``.
    noise_scale : float, default=0.5
        Standard deviation of the normal noise, scale of the Laplace and of the Lomax
        noise (of shape 3), standard deviation of the logarithm of the lognormal.
    deterministic : bool, default=True
        Remove controls outside the band.
    x_threshold : float, default=1.5
        Half the width of the band, in units of X. (The authors' function has 2.0, their
        script 1.5.)
    nondeterministic : bool, default=True
        Keep rows with a probability that depends on the outcome.
    beta_center : float, default=1.5
        Outcome that is kept with probability one half, in units of ``y``; with 2.0 the
        default population keeps half as many controls.
    beta_scale : float, default=3.0
        Slope of the log-odds of being kept, per unit of ``y``.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X, y, treatment : ndarrays
            Covariates (n_selected, n_features), outcomes (n_selected,) and treatment
            (n_selected,), 0 or 1: the selected rows.
        X_population, y_population, treatment_population : ndarrays
            The same of all rows.
        selected : ndarray of bool of shape (n_samples,)
            Which rows of the population were selected.
        selection_prob : ndarray of shape (n_selected,)
            Their probability of having been selected, given that their arm can be.
        support_mask : callable
            ``support_mask(X, treatment)`` is True where a row of the arm can be
            selected. It pickles.
        propensity : ndarray of shape (n_samples,)
            Probability of treatment, in the population.
        outcome_means : ndarray of shape (n_samples, 2)
            Means of Y(0) and Y(1) given X.
        potential_outcomes : ndarray of shape (n_samples, 2)
            Y(0) and Y(1).
        selection_coef : dict
            Log-odds of being kept: their ``"intercept"`` and the slopes in ``"X"``
            (an ndarray of shape (n_features,)), ``"treatment"`` and ``"y"``. All but
            the intercept are 0, and that is infinite, with ``nondeterministic=False``.
        true_effect : float
            Mean of Y(1) - Y(0) given X over the population.
        true_effect_selected : float
            Mean of Y(1) - Y(0) over the selected rows; NaN if there are none.
        DESCR, citation : str
            How the data were made, and what to cite.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or ``x_func`` is not "polynomial" although
        there are several covariates.

    Notes
    -----
    With one covariate x the probability of treatment is :math:`\\sigma(x/2)`, with
    :math:`\\sigma` the logistic function, and the mean outcomes are

    - "polynomial": :math:`\\mu_0 = x`, :math:`\\mu_1 = \\mu_0 + 1 + x^2 + x^4/10`;
    - "sin": :math:`\\mu_0 = 2x\\sin 2x`, :math:`\\mu_1` as above;
    - "log": :math:`\\mu_0 = x\\log(x+4)`,
      :math:`\\mu_1 = \\mu_0 + 1 + x^2\\log(x+4) + x^4/10`.

    The first two have a mean effect of 5.62 over all populations. With d covariates it
    is :math:`\\sigma(-X\\cdot A)` and :math:`\\mu_0 = X\\cdot a`,
    :math:`\\mu_1 = \\mu_0 + 1 + X^2\\cdot b + X^4\\cdot c`; a, b, c are the same in all
    draws, ``random_state`` draws A, the direction of the band, and that in which the
    covariates act on the selection. Entries are uniform on [0.5, 1.5] / d, those of c
    a tenth of that. The band is :math:`|x| \\le` ``x_threshold``, or that of the
    covariates' index; of the kept rows, a share
    :math:`\\sigma(s(y + X\\cdot A''/10 - c))` survives, where one covariate does not
    act.

    References
    ----------
    .. [1] Qiu, Kovačević, Huang, Spirtes and Locatello, "Towards a Holistic
       Understanding of Selection Bias for Causal Effect Identification", ICML 2026.

    Examples
    --------
    >>> from skident.datasets import make_selection_bias
    >>> data = make_selection_bias(random_state=0)
    >>> data.X.shape[1], round(data.true_effect, 1)
    (1, 5.6)
    >>> bool(data.y[data.treatment == 0].mean() > data.outcome_means[:, 0].mean() + 1)
    True
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_selection_bias"
    )
    if n_features > 1 and x_func != "polynomial":
        raise ValueError(
            f"x_func={x_func!r} is defined for one covariate alone, got n_features="
            f"{n_features}; take 'polynomial'."
        )
    rng = check_random_state(random_state)
    X = rng.uniform(-_BOX, _BOX, size=(n_samples, n_features))
    if n_features == 1:
        propensity = expit(_SLOPE * X[:, 0])
    else:
        propensity = expit(-X @ _direction(n_features, rng))
    data = _population(X, propensity, parameters, rng)
    data.DESCR = (
        f"{n_samples} rows with {n_features} uniform covariates, of which "
        f"{data.selected.sum()} are selected ({(data.treatment == 0).sum()} of them "
        f"controls). {_describe(parameters)} Mean effect in the population: "
        f"{data.true_effect:.4g}."
    )
    return data


def make_selection_bias_semisynthetic(
    n_samples=5000,
    *,
    treated_share=0.3,
    treatment_slope=0.5,
    x_func="polynomial",
    noise="normal",
    noise_func="additive",
    noise_scale=0.5,
    deterministic=True,
    x_threshold=1.5,
    nondeterministic=True,
    beta_center=1.5,
    beta_scale=3.0,
    random_state=None,
):
    """Real body mass indices, with treatment, outcome and selection of known law.

    The covariate is the standardised body mass index of the 442 patients of
    scikit-learn's diabetes table, drawn with replacement; treatment, outcomes and
    selection are those of :func:`make_selection_bias`. It stands in for the study of
    [1]_ on medical records to which access is restricted.

    Parameters
    ----------
    n_samples : int, default=5000
        Size of the population, before the selection.
    treated_share : float, default=0.3
        Mean probability of treatment over the patients, in (0, 1). The study of [1]_
        has about 0.05.
    treatment_slope : float, default=0.5
        Slope of the log-odds of treatment per standard deviation of the index.
    x_func : {"polynomial", "sin", "log"}, default="polynomial"
        Shape of the mean outcomes.
    noise : {"normal", "laplace", "lognormal", "lomax"}, default="normal"
        Law of the noise.
    noise_func : {"additive", "multiplicative"}, default="additive"
        Outcomes are ``mean + noise`` or ``mean * (1 + noise)``.
    noise_scale : float, default=0.5
        Scale of the noise.
    deterministic : bool, default=True
        Remove controls whose index is further than ``x_threshold`` from its mean.
    x_threshold : float, default=1.5
        In standard deviations of the index.
    nondeterministic : bool, default=True
        Keep rows with a probability that depends on the outcome.
    beta_center : float, default=1.5
        Outcome that is kept with probability one half.
    beta_scale : float, default=3.0
        Slope of the log-odds of being kept, per unit of ``y``.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields of :func:`make_selection_bias`, of one covariate, and

        patients : ndarray of int of shape (n_samples,)
            Row of the diabetes table behind each row of the population.
        licence : str
            Terms of the table.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    .. [1] Qiu, Kovačević, Huang, Spirtes and Locatello, "Towards a Holistic
       Understanding of Selection Bias for Causal Effect Identification", ICML 2026.

    Examples
    --------
    >>> from skident.datasets import make_selection_bias_semisynthetic
    >>> data = make_selection_bias_semisynthetic(2000, random_state=0)
    >>> data.X_population.shape, bool(data.selected.mean() < 0.6)
    ((2000, 1), True)
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _SEMISYNTHETIC_CONSTRAINTS,
        parameters,
        caller_name="make_selection_bias_semisynthetic",
    )
    rng = check_random_state(random_state)
    bmi = load_diabetes().data[:, _BMI]
    bmi = (bmi - bmi.mean()) / bmi.std()
    slopes = treatment_slope * bmi
    # The share rises with the intercept; at these ends it lies beyond the wanted one.
    reach = np.abs(slopes).max() + abs(np.log(treated_share / (1 - treated_share))) + 1
    intercept = brentq(
        lambda a: expit(a + slopes).mean() - treated_share, -reach, reach
    )
    patients = rng.randint(len(bmi), size=n_samples)
    data = _population(
        bmi[patients, None], expit(intercept + slopes[patients]), parameters, rng
    )
    data.patients = patients
    data.licence = (
        "The diabetes table comes with scikit-learn (BSD-3-Clause); its authors made "
        "it public with the article to cite."
    )
    data.citation += (
        " Table: B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle "
        "Regression, Annals of Statistics 32(2), 2004, 407-499."
    )
    data.DESCR = (
        f"{n_samples} draws from the body mass indices of {len(bmi)} patients, "
        f"standardised, of which {treated_share:g} are treated; "
        f"{data.selected.sum()} are selected ({(data.treatment == 0).sum()} of them "
        f"controls). {_describe(parameters)} Mean effect in the population: "
        f"{data.true_effect:.4g}."
    )
    return data


def _population(X, propensity, parameters, rng):
    """Treatment, outcomes and selection of a population of covariates."""
    n_samples, n_features = X.shape
    treatment = (rng.uniform(size=n_samples) < propensity).astype(np.int64)
    means = _outcome_means(X, parameters["x_func"])
    noise = np.column_stack(
        [
            _noise(parameters["noise"], parameters["noise_scale"], n_samples, rng)
            for _ in range(2)
        ]
    )
    if parameters["noise_func"] == "additive":
        outcomes = means + noise
    else:
        outcomes = means * (1.0 + noise)
    y = outcomes[np.arange(n_samples), treatment]
    # Drawn whether they are used or not, so that the switches change nothing else.
    several = n_features > 1
    band = _direction(n_features, rng) if several else np.ones(1)
    drift = _direction(n_features, rng) if several else np.zeros(1)
    uniform = rng.uniform(size=n_samples)
    mask = EligibleArm(
        band,
        float(parameters["x_threshold"]) if parameters["deterministic"] else np.inf,
    )
    coef = {"intercept": np.inf, "X": np.zeros(n_features), "treatment": 0.0, "y": 0.0}
    prob = np.ones(n_samples)
    if parameters["nondeterministic"]:
        scale, center = float(parameters["beta_scale"]), parameters["beta_center"]
        coef.update(intercept=-scale * center, X=scale * _X_SHARE * drift, y=scale)
        prob = expit(coef["intercept"] + X @ coef["X"] + scale * y)
    selected = mask(X, treatment) & (uniform < prob)
    effects = outcomes[selected, 1] - outcomes[selected, 0]
    return Bunch(
        X=X[selected],
        y=y[selected],
        treatment=treatment[selected],
        X_population=X,
        y_population=y,
        treatment_population=treatment,
        selected=selected,
        selection_prob=prob[selected],
        support_mask=mask,
        propensity=propensity,
        outcome_means=means,
        potential_outcomes=outcomes,
        selection_coef=coef,
        true_effect=float((means[:, 1] - means[:, 0]).mean()),
        true_effect_selected=float(effects.mean()) if effects.size else np.nan,
        citation=_CITATION,
    )


def _direction(n_features, rng):
    return rng.uniform(0.5, 1.5, size=n_features) / n_features


def _outcome_means(X, x_func):
    if X.shape[1] > 1:
        coef_rng = np.random.RandomState(_COEF_SEED)
        a, b, c = (_direction(X.shape[1], coef_rng) for _ in range(3))
        control = X @ a
        return np.column_stack([control, control + 1 + X**2 @ b + X**4 @ (0.1 * c)])
    x = X[:, 0]
    square = x**2
    if x_func == "polynomial":
        control = x
    elif x_func == "sin":
        control = 2 * x * np.sin(2 * x)
    else:
        control, square = x * np.log(x + 4), square * np.log(x + 4)
    return np.column_stack([control, control + 1 + square + 0.1 * x**4])


def _noise(name, scale, n_samples, rng):
    if name == "normal":
        return scale * rng.standard_normal(n_samples)
    if name == "laplace":
        return scale * rng.laplace(size=n_samples)
    if name == "lognormal":
        noise = rng.lognormal(0.0, scale, size=n_samples)
    else:
        noise = scale * rng.pareto(_LOMAX_SHAPE, size=n_samples)
    return noise - noise.mean()


def _describe(parameters):
    parts = [
        f"Mean outcomes: {parameters['x_func']}; noise: {parameters['noise']}, "
        f"{parameters['noise_func']}."
    ]
    if parameters["deterministic"]:
        parts.append(f"No controls beyond {parameters['x_threshold']:g}.")
    if parameters["nondeterministic"]:
        parts.append(
            f"Log-odds of being kept rise by {parameters['beta_scale']:g} per unit of "
            f"the outcome, from 0 at {parameters['beta_center']:g}."
        )
    return " ".join(parts)
