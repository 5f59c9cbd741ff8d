"""What follows from the likelihood of a selected sample at its maximum."""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.special import expit

from skident.effects._polynomials import design
from skident.effects._selection_families import log_selection
from skident.effects._selection_likelihood import SelectionLikelihood
from skident.effects._selection_mirror import mirror_refusal
from skident.effects._selection_points import Units, arm_mask
from skident.effects._selection_search import BARRIERS, solve

# Fitted probabilities of selection that all stay below this cannot be told from an
# exponential, whose tilt of the outcome is one of its mean.
_TILT = 0.1
_LEAST_CONDITION = 1e-8
# Of the normal law, for intervals of 95 %.
_LEVEL_QUANTILE = stats.norm.ppf(0.975)
_N_CHECKED = 2000
_N_GRID = 400
_N_BINS = 10


@dataclass
class JointFit:
    """Likelihood of the selected sample at its maximum, and what follows from it.

    Attributes
    ----------
    effect, stderr : float
        Mean effect in the population and its standard error, the larger of the
        sandwich's and the information's; nan where ``refusal`` says why. Where
        dependence on the outcome was not detected, ``effect`` is without it, and
        ``stderr`` so wide that the 95 % interval holds that of ``alternative``.
    influence : ndarray of shape (n,)
        Of each row on ``effect``, mean zero; the reference sample has its own part in
        ``stderr``.
    alternative : None or tuple of two floats
        Effect and standard error with dependence on the outcome, where that was not
        detected.
    selection_coef : dict of str to float
        Linear predictor of selection: "intercept", "y", "treatment" and "x0", "x1",
        ..., in the units of the data; those that it does not depend on are 0.
    degree : tuple of two ints
        Of the arms' polynomials.
    x_density_degree : int or None
        Of the log-density of the covariates; None with a reference sample.
    information_condition : float
        Least over largest eigenvalue of the information.
    likelihood_ratio : tuple of two floats
        Twice the log-likelihood that dependence on the outcome adds, and its p-value.
    outcome_dependent_detected : bool
        Whether that p-value is below 0.05. If not, the fit is without it.
    selection_range : tuple of two floats
        Least and largest fitted probability of selection of the rows.
    family_check : tuple of two floats
        Kolmogorov-Smirnov p-value of each arm's outcomes under the fitted law.
    arm_check : float
        P-value of the treated among the selected, by tenths of each covariate.
    log_likelihood, bic : float
    n_params : int
    converged : bool
    mirror : float or None
        Effect with a selection of the other sign, where that cannot be told apart.
    refusal : None or tuple of two str
        A code and a sentence.
    """

    effect: float
    stderr: float
    influence: np.ndarray
    selection_coef: dict
    degree: tuple
    x_density_degree: int
    information_condition: float
    likelihood_ratio: tuple
    outcome_dependent_detected: bool
    selection_range: tuple
    family_check: tuple
    arm_check: float
    log_likelihood: float
    bic: float
    n_params: int
    converged: bool
    refusal: tuple
    depends_on: tuple
    form: str
    family: str
    noise: str
    alternative: tuple | None = None
    mirror: float | None = None
    parts: dict = field(repr=False, default=None)
    _units: Units = field(repr=False, default=None)
    _family: object = field(repr=False, default=None)
    _settings: dict = field(repr=False, default=None)

    def share_of_treated(self, X):
        """Probability of treatment among selected rows at rows of X, (n,)."""
        X = np.asarray(X, dtype=np.float64)
        U, kept = self._units.box.scale(X), arm_mask(self._settings["support_mask"], X)
        zeros = np.zeros(len(X))
        model = self._likelihood_of(U, zeros, zeros.astype(int), U, zeros, kept)
        parts = model.parts(model.join(**self.parts))
        control, treated = (model.arm_chance(parts, arm)[0] for arm in (0, 1))
        return np.where(kept.all(axis=1), expit(treated - control), kept[:, 1])

    def _likelihood_of(self, U, y, t, points, log_volume, mask):
        return SelectionLikelihood(
            U,
            y,
            t,
            np.ones(len(t)),
            family=self._family,
            form=self.form,
            depends_on=self.depends_on,
            degree=self.degree,
            propensity_degree=self._settings["propensity_degree"],
            density_degree=self.x_density_degree or 0,
            points=points,
            log_volume=log_volume,
            mask=mask,
        )

    def hold(self, other):
        """Widen the interval so that it holds that of another fit.

        Where a test does not tell two models apart, the interval of either alone does
        not cover: which one is right is not known.

        Parameters
        ----------
        other : JointFit
            With dependence on the outcome.
        """
        self.alternative = other.effect, other.stderr
        away = abs(other.effect - self.effect)
        if other.mirror is not None:
            away = max(away, abs(other.mirror - self.effect))
        reach = away / _LEVEL_QUANTILE + other.stderr
        self.stderr = float(np.fmax(self.stderr, reach))
        if other.refusal is not None and other.refusal[0] == "coarse_quadrature":
            self.refusal = other.refusal
        elif not np.isfinite(reach):
            self.refusal = (
                "singular_information",
                "Dependence of selection on the outcome was not detected, and what the "
                "effect would be with it these data do not say.",
            )

    def outcome_mean(self, X, t):
        """Mean outcome of arm t at rows of X, (n,)."""
        B = design(self._units.box.scale(X), self.degree[t])
        mean = self._family.mean(B @ self.parts[f"b{t}"], self.parts[f"s{t}"])[0]
        return self._units.shift + self._units.scale * mean

    def effect_at(self, X):
        """Difference of the mean outcomes at rows of X, (n,)."""
        return self.outcome_mean(X, 1) - self.outcome_mean(X, 0)

    def propensity(self, X):
        """Probability of treatment at rows of X in the population, (n,)."""
        U = self._units.box.scale(X)
        C = design(U, self._settings["propensity_degree"])
        return 1.0 / (1.0 + np.exp(-(C @ self.parts["c"])))

    def selection_probability(self, X, t, y):
        """Probability of selection of rows, (n,), 0 where the rule excludes them."""
        X, t, y = np.asarray(X), np.broadcast_to(t, len(X)), np.asarray(y)
        coef = self.selection_coef
        eta = coef["intercept"] + coef["y"] * y + coef["treatment"] * t
        eta = eta + X @ np.array([coef[f"x{j}"] for j in range(X.shape[1])])
        chance = np.ones(len(X))
        if self.depends_on:
            chance = np.exp(log_selection(eta, self.form)[0])
        kept = arm_mask(self._settings["support_mask"], X)
        return chance * kept[np.arange(len(X)), np.asarray(t, dtype=int)]

    def log_density(self, X, y, treatment):
        """Log-density of selected rows, (n,).

        Of covariates, treatment and outcome; after a fit with a reference sample over
        the density of the covariates in the population.
        """
        units, t = self._units, np.asarray(treatment, dtype=int)
        settings = self._settings
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        U = units.box.scale(X)
        kept = arm_mask(settings["support_mask"], X)
        at = settings["points"], settings["log_volume"], settings["mask"]
        model = self._likelihood_of(U, units.outcome(y), t, *at)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = model.log_density(model.join(**self.parts)) - np.log(units.scale)
        inside = kept[np.arange(len(t)), t]
        if self.x_density_degree is not None:
            value = value - np.log(2.0 * units.box.half).sum()
            inside = inside & (np.abs(U) <= 1.0).all(axis=1)
        return np.where(inside, value, -np.inf)


def _population_effect(model, theta, units, reference):
    """Mean effect on the family's scale, its gradient, and effects of the reference."""
    p = model.parts(theta)
    if reference is None:
        points, Q = model.points, model.at_density
        share = model.log_volume + Q @ p["k"]
        share = np.exp(share - share.max())
        share /= share.sum()
    else:
        points, Q = units.box.scale(reference), None
        share = np.full(len(points), 1.0 / len(points))
    gradient = np.zeros(model.n_params)
    difference = np.zeros(len(points))
    for arm, sign in ((0, -1.0), (1, 1.0)):
        B = design(points, model.degree[arm])
        eta = B @ p[f"b{arm}"]
        mean, by_eta, by_shape = model.family.mean(eta, p[f"s{arm}"])
        difference += sign * mean
        gradient[model.slices[f"b{arm}"]] = sign * (share * by_eta) @ B
        gradient[model.slices[f"s{arm}"]] = sign * by_shape @ share
    effect = share @ difference
    if Q is not None:
        gradient[model.slices["k"]] = (share * (difference - effect)) @ Q
    return effect, gradient, difference


def describe_maximum(
    model,
    scout,
    theta,
    converged,
    *,
    ratio,
    detected,
    rival,
    units,
    X,
    y,
    reference,
    named,
    support_mask,
):
    """Standard errors, diagnostics and refusals at the maximum."""
    n = len(y)
    information = scout.information(theta)
    curvature = information
    if model.family.barrier:
        # Where supports move the likelihood has no second derivative to speak of: this
        # gives the scale of the errors, and a bootstrap their law.
        curvature = information + BARRIERS[-1] * model.log_support(theta)[2]
    elif model.family.smooth:
        observed = scout.observed_information(theta, information)
        if np.linalg.eigvalsh(observed)[0] > 0:
            curvature = observed
            # A last step by the exact curvature, unless it leads astray.
            step = theta + solve(curvature, model.gradient(theta))
            value = model.value(theta)
            if model.value(step) >= value - 1e-9 * abs(value):
                theta = step
    condition = model.condition(information if model.family.barrier else curvature)
    sample, some = (None, None) if reference is None else reference
    effect, gradient, differences = _population_effect(model, theta, units, sample)
    direction = solve(curvature, gradient)
    scores = model.scores(theta) * model.weight[:, None]
    influence = n * units.scale * (scores @ direction)
    influence -= influence.mean()
    # Along a direction that is flat but for the penalty the scores hardly vary, and the
    # sandwich knows nothing of how little they tell: the information does.
    variance = max(
        (influence @ influence) / n / max(n - model.n_params, 1),
        units.scale**2 * (gradient @ direction),
    )
    if sample is not None:
        # Of each row of the reference, by the mean effect and by the normaliser.
        _, share, D = model.normaliser(theta, gradient=True)
        mean = share[0] @ D[0] + share[1] @ D[1]
        parts = [share[arm] * ((D[arm] - mean) @ direction) for arm in (0, 1)]
        theirs = (differences - effect) / len(sample)
        theirs[some] -= model.total * (parts[0] + parts[1])
        variance += units.scale**2 * theirs @ theirs

    volume = np.log(units.scale)
    if sample is None:
        # Volumes are shares of the box, whose sides are 2 in its own units.
        volume += np.log(2.0 * units.box.half).sum()
    value = model.weight @ (model.log_density(theta) - volume)
    parts = model.parts(theta)
    coef = _selection_coef(parts, model.depends_on, units)
    fit = JointFit(
        effect=float(units.scale * effect),
        stderr=float(np.sqrt(variance)),
        influence=influence,
        selection_coef=coef,
        degree=model.degree,
        x_density_degree=model.density_degree if sample is None else None,
        information_condition=condition,
        likelihood_ratio=ratio,
        outcome_dependent_detected=detected,
        selection_range=(1.0, 1.0),
        family_check=(np.nan, np.nan),
        arm_check=np.nan,
        log_likelihood=float(value),
        bic=float(-2.0 * value + model.n_params * np.log(n)),
        n_params=model.n_params,
        converged=converged,
        refusal=None,
        depends_on=model.depends_on,
        parts={k: v.copy() for k, v in parts.items() if len(v)} | {"k": parts["k"]},
        _units=units,
        _family=model.family,
        _settings={
            "propensity_degree": model.propensity_degree,
            "support_mask": support_mask,
            "points": model.points,
            "log_volume": model.log_volume,
            "mask": model.mask,
        },
        **named,
    )
    if model.depends_on:
        chance = fit.selection_probability(X, model.t, y)
        fit.selection_range = float(chance.min()), float(chance.max())
    fit.family_check = tuple(_outcome_check(model, theta, arm) for arm in (0, 1))
    fit.arm_check = _arm_check(fit, X, model.t, model.weight)
    fit.refusal = _refusal(model, theta, curvature, fit)
    other, gap = rival
    if other is not None:
        there = float(units.scale * _population_effect(scout, other, units, sample)[0])
        refusal = mirror_refusal(fit, there, gap)
        if refusal is not None:
            fit.mirror, fit.refusal = there, fit.refusal or refusal
    return fit


def _selection_coef(parts, depends_on, units):
    """Coefficients of selection in the units of the data."""
    d = len(units.box.half)
    coef = {"intercept": 0.0, "y": 0.0, "treatment": 0.0}
    coef |= {f"x{j}": 0.0 for j in range(d)}
    if not depends_on:
        return coef
    rest = list(parts["g"])
    coef["intercept"] = rest.pop(0)
    if "X" in depends_on:
        for j in range(d):
            slope = rest.pop(0) / units.box.half[j]
            coef[f"x{j}"] = slope
            coef["intercept"] -= slope * units.box.centre[j]
    if "T" in depends_on:
        coef["treatment"] = rest.pop(0)
        coef["intercept"] -= 0.5 * coef["treatment"]
    if "Y" in depends_on:
        coef["y"] = parts["gy"][0] / units.scale
        coef["intercept"] -= coef["y"] * units.shift
    return {name: float(value) for name, value in coef.items()}


def _outcome_check(model, theta, arm):
    """P-value of uniform ranks of an arm's outcomes under its law given selection."""
    p = model.parts(theta)
    rows = model.rows[arm]
    some = np.linspace(0, len(rows) - 1, min(len(rows), _N_CHECKED)).astype(int)
    U, y = model.U[rows[some]], model.y[rows[some]]
    eta = design(U, model.degree[arm]) @ p[f"b{arm}"]
    shape = p[f"s{arm}"]
    grid = model.family.grid(eta, shape, _N_GRID)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        density = model.family.log_density(grid, eta[:, None], shape)[0]
    if "Y" in model.depends_on:
        base = model.selection_design(U, arm) @ p["g"]
        linear = base[:, None] + p["gy"][0] * grid
        density = density + log_selection(linear, model.form)[0]
    density = np.nan_to_num(density, nan=-np.inf)
    density = np.exp(density - density.max(axis=1, keepdims=True))
    areas = 0.5 * (density[:, 1:] + density[:, :-1]) * np.diff(grid, axis=1)
    below = np.cumsum(np.column_stack([np.zeros(len(y)), areas]), axis=1)
    ranks = [np.interp(v, g, c / c[-1]) for v, g, c in zip(y, grid, below, strict=True)]
    return float(stats.kstest(ranks, "uniform").pvalue)


def _arm_check(fit, X, t, weight):
    """P-value of the treated in tenths of each covariate, under the fitted law.

    Fitted parameters are not counted off, which makes it large.
    """
    share = fit.share_of_treated(X)
    levels = np.linspace(0, 1, _N_BINS + 1)[1:-1]
    p_values = []
    for x in X.T:
        code = np.searchsorted(np.unique(np.quantile(x, levels)), x)
        away = np.bincount(code, weight * (t - share))
        variance = np.bincount(code, weight**2 * share * (1.0 - share))
        # Where one arm is all but certain, a normal law is none.
        some = variance > 1.0
        statistic = (away[some] ** 2 / variance[some]).sum()
        p_values.append(stats.chi2.sf(statistic, some.sum()) if some.any() else 1.0)
    return float(min(1.0, len(p_values) * min(p_values)))


def _refusal(model, theta, curvature, fit):
    """Why these data do not tell the effect, or None."""
    if "Y" in model.depends_on:
        where = model.slices["gy"]
        unit = np.zeros(model.n_params)
        unit[where] = 1.0
        variance = solve(curvature, unit)[where][0]
        slope = theta[where][0]
        if fit.selection_range[1] < _TILT and slope**2 > 4.0 * max(variance, 0.0):
            return (
                "exponential_tilt",
                "Every selected row has a fitted probability of selection below "
                f"{_TILT:g} (at most {fit.selection_range[1]:.2g}): there the logistic "
                "form is an exponential, which shifts outcomes just as another mean "
                "would, and the two cannot be told apart.",
            )
    if fit.information_condition <= _LEAST_CONDITION:
        return (
            "singular_information",
            "The likelihood is flat in some direction: the least eigenvalue of its "
            f"information is {fit.information_condition:.1e} of the largest, and "
            f"{_LEAST_CONDITION:g} is the least that is trusted.",
        )
    return None
