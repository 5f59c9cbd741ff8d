"""Effects in the whole population from a sample selected by its outcomes too."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skident.effects._polynomials import (
    Box,
    choose_degree,
    design,
    highest_degree,
    n_terms,
)
from skident.effects._selection_families import log_selection, make_family
from skident.effects._selection_likelihood import SelectionLikelihood
from skident.effects._selection_mirror import LEAST_GAP, fit_mirror, mirror_refusal
from skident.effects._selection_points import (
    Units,
    arm_mask,
    check_mask,
    compress,
    covariate_points,
    outcome_units,
)
from skident.effects._selection_search import (
    BARRIERS,
    Search,
    first_starts,
    maximise,
    solve,
    starts_with_slopes,
)

# Rows of a reference sample that the likelihood is averaged over, at most, and cells
# that stand for them while degrees and starts are searched, by number of covariates.
_MOST_POINTS = 2**14
_CELLS = {1: 256, 2: 1024}
# Fitted probabilities of selection that all stay below this cannot be told from an
# exponential, whose tilt of the outcome is one of its mean.
_TILT = 0.1
_LEAST_CONDITION = 1e-8
_DETECT = 0.05
_N_CHECKED = 2000
_N_GRID = 400


@dataclass
class JointFit:
    """Likelihood of the selected sample at its maximum, and what follows from it.

    Attributes
    ----------
    effect, stderr : float
        Mean effect in the population and its sandwich standard error; nan where
        ``refusal`` says why.
    influence : ndarray of shape (n,)
        Of each row on ``effect``, mean zero; the reference sample has its own part in
        ``stderr``.
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
    log_likelihood, bic : float
    n_params : int
    converged : bool
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
    log_likelihood: float
    bic: float
    n_params: int
    converged: bool
    refusal: tuple
    depends_on: tuple
    form: str
    family: str
    noise: str
    parts: dict = field(repr=False)
    _units: Units = field(repr=False)
    _family: object = field(repr=False)
    _settings: dict = field(repr=False)

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
        X = np.asarray(X, dtype=np.float64)
        U = units.box.scale(X)
        kept = arm_mask(settings["support_mask"], X)
        model = SelectionLikelihood(
            U,
            units.outcome(np.asarray(y, dtype=np.float64)),
            t,
            np.ones(len(t)),
            family=self._family,
            form=self.form,
            depends_on=self.depends_on,
            degree=self.degree,
            propensity_degree=settings["propensity_degree"],
            density_degree=self.x_density_degree or 0,
            points=settings["points"],
            log_volume=settings["log_volume"],
            mask=settings["mask"],
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            value = model.log_density(model.join(**self.parts)) - np.log(units.scale)
        inside = kept[np.arange(len(t)), t]
        if self.x_density_degree is not None:
            value = value - np.log(2.0 * units.box.half).sum()
            inside = inside & (np.abs(U) <= 1.0).all(axis=1)
        return np.where(inside, value, -np.inf)


def fit_joint(
    X,
    y,
    treatment,
    *,
    family="normal",
    noise="additive",
    form="logistic",
    depends_on=("X", "T", "Y"),
    degree="bic",
    max_degree=6,
    propensity_degree=1,
    x_density="bic",
    x_reference=None,
    support_mask=None,
    ridge=1e-3,
    n_quad=32,
    n_starts=4,
    sample_weight=None,
    rng=None,
):
    """Maximise the likelihood of a selected sample.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Covariates of the selected rows.
    y : ndarray of shape (n,)
    treatment : ndarray of shape (n,)
        0 and 1.
    family : str, default="normal"
        One of :data:`skident.effects._selection_families.FAMILIES`.
    noise : {"additive", "multiplicative"}, default="additive"
        Of families that are a mean and a noise.
    form : {"logistic", "probit"}, default="logistic"
        Of the probability of selection.
    depends_on : sequence of {"X", "T", "Y"}, default=("X", "T", "Y")
        What that depends on.
    degree : "bic", int or tuple of two ints, default="bic"
        Of the polynomials in the covariates that give the arms' means.
    max_degree : int, default=6
        Largest degree that "bic" tries.
    propensity_degree : int, default=1
        Of the logit of treatment in the population.
    x_density : "bic" or int, default="bic"
        Degree of the log-density of the covariates on the box around the rows, 0 for
        uniform; "bic" tries 0, 1 and 2. Unused with ``x_reference``.
    x_reference : ndarray of shape (m, d) or None, default=None
        Covariates of the whole population.
    support_mask : callable or None, default=None
        ``support_mask(X, t)`` says where arm t can be observed at all, (n,) bool.
    ridge : float, default=1e-3
        A tenth of it times the squared slopes of selection, in standard units, is
        taken off the log-likelihood.
    n_quad : int, default=32
        Nodes over the outcome.
    n_starts : int, default=4
        Slopes of selection to start from, besides none; at most 8.
    sample_weight : ndarray of shape (n,) or None, default=None
    rng : int, numpy.random.Generator or None, default=None
        Shifts the points of the integral over three covariates or more.

    Returns
    -------
    JointFit

    Raises
    ------
    ValueError
        If an arm has fewer than three rows, ``support_mask`` excludes rows, or outcomes
        of "lognormal" or "pareto" are not positive.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    t = np.asarray(treatment).astype(int)
    n = len(X)
    weight = np.ones(n) if sample_weight is None else sample_weight * n
    weight = weight / weight.sum() * n
    sizes = np.bincount(t[weight > 0], minlength=2)
    if sizes.min() < 3:
        raise ValueError(
            f"treatment must have at least three rows of each arm, got {sizes[0]} of "
            f"arm 0 and {sizes[1]} of arm 1; n_samples = {n}."
        )
    if family in ("lognormal", "pareto") and y.min() <= 0:
        raise ValueError(
            f"y must be positive for outcome_family={family!r}, got {y.min():g}; "
            f"n_samples = {n}."
        )
    kept = arm_mask(support_mask, X)
    check_mask(kept, t)
    rng = np.random.default_rng(rng)
    reference = None
    if x_reference is None:
        # Ends of a uniform law, without the bias of the least and the largest of n.
        box = Box.around(X, margin=2.0 / max(n - 1, 1))
        points, log_volume = covariate_points(box, support_mask, rng)
        mask = arm_mask(support_mask, box.unscale(points))
        few = points, log_volume, mask
    else:
        reference = np.asarray(x_reference, dtype=np.float64)
        box = Box.around(np.vstack([X, reference]))
        # The most that the likelihood is averaged over; effects are over all of them.
        some = np.arange(len(reference))
        if len(some) > _MOST_POINTS:
            some = np.sort(rng.permutation(len(some))[:_MOST_POINTS])
        points = box.scale(reference[some])
        log_volume = np.full(len(points), -np.log(len(points)))
        mask = arm_mask(support_mask, reference[some])
        few = compress(points, mask, _CELLS[min(X.shape[1], 2)])
    units = outcome_units(y, weight, family, noise, box)
    U, z = box.scale(X), units.outcome(y)
    law = make_family(family, z, noise=noise, n_quad=n_quad)
    depends_on = tuple(name for name in ("X", "T", "Y") if name in depends_on)

    def likelihood(degree, density_degree, depends_on, points=few):
        return SelectionLikelihood(
            U,
            z,
            t,
            weight,
            family=law,
            form=form,
            depends_on=depends_on,
            degree=degree,
            propensity_degree=propensity_degree,
            density_degree=density_degree,
            points=points[0],
            log_volume=points[1],
            mask=points[2],
            penalty=0.2 * ridge,
        )

    search = Search(likelihood, lambda m: first_starts(m, kept, n_starts), weight)
    first, limits = _first_degrees(
        U, law.linear_start(z), t, weight, degree, max_degree
    )
    densities = [0]
    if reference is None:
        densities = [0, 1, 2] if x_density == "bic" else [x_density]

    def choose(depends_on, densities):
        options = []
        for q in densities:
            chosen = first
            if degree == "bic":
                chosen = search.degrees(first, q, depends_on, limits)
            options.append((search.fit(chosen, q, depends_on)[3], q, chosen))
        _, q, chosen = min(options)
        return chosen, q

    chosen, q = choose(depends_on, densities)
    ratio, detected = (np.nan, np.nan), False
    if "Y" in depends_on:
        without = tuple(name for name in depends_on if name != "Y")
        flat = search.fit(chosen, q, without)
        full = search.fit(chosen, q, depends_on, [flat[0].parts(flat[1])])
        if chosen != first:
            starts = starts_with_slopes(full[0], flat, n_starts)
            full = search.fit(chosen, q, depends_on, starts)
        statistic = max(2.0 * (full[2] - flat[2]), 0.0)
        # Without the outcome the other coefficients hardly matter and are free to fit
        # what noise there is: all of them count, which is on the safe side.
        df = sum(len(full[0].parts(full[1])[name]) for name in ("g", "gy"))
        ratio = float(statistic), float(stats.chi2.sf(statistic, df))
        detected = ratio[1] < _DETECT
        if not detected:
            # What is left may depend on x and t, if these data show that at all.
            options = {names: choose(names, [q]) for names in {without, ()}}
            depends_on = min(
                options, key=lambda names: search.fit(*options[names], names)[3]
            )
            chosen, q = options[depends_on]
    scout, theta, *_ = search.fit(chosen, q, depends_on)
    theta, value, converged = maximise(scout, theta)
    rival, rival_value = fit_mirror(scout, theta)
    # By less than that neither is refuted, and slopes run off for next to nothing.
    if rival_value > value + LEAST_GAP:
        better, _, done = maximise(scout, rival)
        theta, rival, converged = better, theta, done
    gap = abs(value - rival_value)
    model = scout
    if reference is not None:
        model = likelihood(chosen, q, depends_on, (points, log_volume, mask))
        theta, _, converged = maximise(model, theta, scout=scout)
    if not converged:
        warnings.warn(
            "The likelihood of the selected sample was still rising after 200 steps, "
            f"at {model.value(theta):g}; fewer terms (max_degree, propensity_degree, "
            "selection_depends_on) or a reference sample (x_reference) may help.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return _finish(
        model,
        scout,
        theta,
        converged,
        ratio=ratio,
        detected=detected,
        rival=(rival, gap),
        units=units,
        X=X,
        y=y,
        reference=None if reference is None else (reference, some),
        named={"family": family, "noise": noise, "form": form},
        support_mask=support_mask,
    )


def _first_degrees(U, target, t, weight, degree, max_degree):
    """Degrees of separate regressions, or those asked for, and the largest to try."""
    d = U.shape[1]
    counts = np.bincount(t, minlength=2)
    limits = [highest_degree(d, count, max_degree) for count in counts]
    if degree == "bic":
        rows = [t == arm for arm in (0, 1)]
        found = [choose_degree(U[r], target[r], weight[r], max_degree) for r in rows]
        return tuple(found), limits
    pair = (degree, degree) if np.ndim(degree) == 0 else tuple(degree)
    for arm, count in enumerate(counts):
        if n_terms(d, pair[arm]) > count:
            raise ValueError(
                f"degree={pair[arm]} needs {n_terms(d, pair[arm])} rows of arm {arm}, "
                f"got {count}; n_samples = {len(U)}."
            )
    return pair, limits


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


def _finish(
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
    variance = (influence @ influence) / n / max(n - model.n_params, 1)
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
    fit.refusal = _refusal(model, theta, curvature, fit)
    other, gap = rival
    if fit.refusal is None and other is not None:
        there, *_ = _population_effect(scout, other, units, sample)
        fit.refusal = mirror_refusal(fit, float(units.scale * there), gap)
    if fit.refusal is not None:
        fit.effect = fit.stderr = np.nan
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
