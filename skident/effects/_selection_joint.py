"""Effects in the whole population from a sample selected by its outcomes too."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skident.effects._polynomials import (
    Box,
    choose_degree,
    design,
    highest_degree,
    least_squares,
    logit,
    n_terms,
)
from skident.effects._selection_families import log_selection, make_family
from skident.effects._selection_likelihood import SelectionLikelihood

_NODES = {1: 64, 2: 24}
# Twice as many a side where a rule of support cuts the box, as in one dimension the
# cuts are found and in two they are not.
_NODES_CUT = {1: 64, 2: 64}
_LOG2_SOBOL = 12
# Rows of a reference sample that the likelihood is averaged over, at most, and cells
# that stand for them while degrees and starts are searched, by number of covariates.
_MOST_POINTS = 2**14
_CELLS = {1: 256, 2: 1024}
# Fitted probabilities of selection that all stay below this cannot be told from an
# exponential, whose tilt of the outcome is one of its mean.
_TILT = 0.1
_LEAST_CONDITION = 1e-8
_DETECT = 0.05
# Slopes of selection to start from: per spread of the noise or of the outcome, and the
# quantile of the selected outcomes, from the side that is selected against, where the
# chance is even. Rows of small chance are few: even chances are found far out.
_START_SLOPES = (
    ("noise", 1.0, 0.05),
    ("outcome", 1.0, 0.05),
    ("noise", 3.0, 0.25),
    ("outcome", 0.3, 0.25),
)
# Log-likelihood a step may still be expected to bring when the search stops.
_COARSE, _FINE, _KINK = 1e-4, 1e-14, 1e-3
# Of the log-distance of each row from its support's end, where that moves.
_BARRIERS = (0.1, 0.01)
_N_CHECKED = 2000
_N_GRID = 400


@dataclass(frozen=True)
class _Units:
    """Scales on which the likelihood works."""

    box: Box
    shift: float
    scale: float

    def outcome(self, y):
        return (y - self.shift) / self.scale


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
    _units: _Units = field(repr=False)
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


def arm_mask(support_mask, X):
    """Where each arm can be observed, (n, 2) bool; everywhere without a rule."""
    if support_mask is None:
        return np.ones((len(X), 2), dtype=bool)
    return np.column_stack(
        [np.asarray(support_mask(X, arm), dtype=bool).reshape(-1) for arm in (0, 1)]
    )


def check_mask(kept, t):
    """Refuse rows that a rule of support excludes."""
    outside = ~kept[np.arange(len(t)), t]
    if outside.any():
        raise ValueError(
            "support_mask must be true of every selected row, got "
            f"{outside.sum()} rows it excludes; n_samples = {len(t)}."
        )


def covariate_points(box, support_mask, rng):
    """Points and log-weights of the integral over a box, in its units.

    Parameters
    ----------
    box : Box
    support_mask : callable or None
    rng : numpy.random.Generator

    Returns
    -------
    points : ndarray of shape (G, d)
    log_volume : ndarray of shape (G,)
        Of shares of the box.
    """
    d = len(box.half)
    if d > 2:
        from scipy.stats import qmc

        points = qmc.Sobol(d, scramble=False).random_base2(_LOG2_SOBOL)
        points = 2.0 * ((points + rng.random(d)) % 1.0) - 1.0
        return points, np.full(len(points), -np.log(len(points)))
    sizes = _NODES if support_mask is None else _NODES_CUT
    if d == 1:
        edges = np.r_[-1.0, _cuts(box, support_mask), 1.0]
        lengths = np.diff(edges)
        counts = np.maximum(np.ceil(sizes[1] * lengths / 2.0).astype(int), 16)
        rules = [leggauss(count) for count in counts]
        points = np.concatenate(
            [
                edge + 0.5 * length * (1.0 + u)
                for (u, _), edge, length in zip(rules, edges, lengths, strict=False)
            ]
        )
        weights = np.concatenate(
            [0.25 * length * w for (_, w), length in zip(rules, lengths, strict=True)]
        )
        return points[:, None], np.log(weights)
    u, w = leggauss(sizes[2])
    points = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.log(np.outer(w, w).ravel() / 4.0)


def _cuts(box, support_mask, n_grid=2049):
    """Where a rule of support changes along one covariate, by bisection."""
    if support_mask is None:
        return np.zeros(0)
    grid = np.linspace(-1.0, 1.0, n_grid)

    def rule(u):
        return arm_mask(support_mask, box.unscale(u[:, None]))

    values = rule(grid)
    jump = np.flatnonzero((values[1:] != values[:-1]).any(axis=1))
    low, high, before = grid[jump], grid[jump + 1], values[jump]
    for _ in range(50):
        middle = 0.5 * (low + high)
        same = (rule(middle) == before).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.unique(0.5 * (low + high))


def compress(points, mask, n_cells):
    """A few points with weights in place of many.

    Cells are halved at the median of the widest side; arms are observed all over a cell
    or nowhere in it.

    Parameters
    ----------
    points : ndarray of shape (m, d)
    mask : ndarray of bool of shape (m, 2)
    n_cells : int
        About as many are left.

    Returns
    -------
    points : ndarray of shape (G, d)
    log_volume : ndarray of shape (G,)
    mask : ndarray of bool of shape (G, 2)
    """
    most = max(len(points) // n_cells, 1)
    code = 2 * mask[:, 0] + mask[:, 1]
    pending = [np.flatnonzero(code == value) for value in np.unique(code)]
    cells = []
    while pending:
        rows = pending.pop()
        if len(rows) <= most:
            cells.append(rows)
            continue
        widest = np.argmax(np.ptp(points[rows], axis=0))
        order = rows[np.argsort(points[rows, widest], kind="stable")]
        pending += [order[: len(order) // 2], order[len(order) // 2 :]]
    sizes = np.array([len(rows) for rows in cells])
    return (
        np.stack([points[rows].mean(axis=0) for rows in cells]),
        np.log(sizes / len(points)),
        mask[[rows[0] for rows in cells]],
    )


class _Search:
    """Likelihoods of one sample under several settings, and their maxima."""

    def __init__(self, likelihood, starts, weight):
        self.likelihood, self.starts, self.weight = likelihood, starts, weight
        self.found = {}

    def fit(self, degree, density_degree, depends_on, warm=()):
        """Model and parameters at the best maximum from the starts and ``warm``."""
        key = degree, density_degree, depends_on
        if key in self.found and not warm:
            return self.found[key]
        model = self.likelihood(degree, density_degree, depends_on)
        starts = [model.join(**parts) for parts in warm]
        if key in self.found:
            starts.append(self.found[key][1])
        elif not warm:
            starts += self.starts(model)
        rough = {"max_iter": 25, "tol": 1.0, "barriers": _BARRIERS[:1]}
        ends = [maximise(model, theta, **rough) for theta in starts]
        best = max(ends, key=lambda end: end[1])
        theta, value, _ = maximise(model, best[0], tol=_COARSE, barriers=_BARRIERS[:1])
        bic = -2.0 * value + model.n_params * np.log(len(self.weight))
        self.found[key] = model, theta, value, bic
        return self.found[key]

    def degrees(self, degree, density_degree, depends_on, limits):
        """Degrees of least BIC, by single steps from those given."""
        best = self.fit(degree, density_degree, depends_on)
        while True:
            parts = best[0].parts(best[1])
            steps = []
            for arm, by in ((0, -1), (0, 1), (1, -1), (1, 1)):
                new = list(degree)
                new[arm] += by
                if 1 <= new[arm] <= limits[arm]:
                    steps.append(tuple(new))
            tried = [
                (self.fit(new, density_degree, depends_on, [parts])[3], new)
                for new in steps
                if (new, density_degree, depends_on) not in self.found
            ]
            if not tried or min(tried)[0] >= best[3]:
                return degree
            degree = min(tried)[1]
            best = self.found[degree, density_degree, depends_on]


def maximise(model, theta, *, max_iter=200, tol=_FINE, scout=None, barriers=_BARRIERS):
    """Maximum of a likelihood by scoring, damped as Levenberg and Marquardt do.

    Parameters
    ----------
    model : SelectionLikelihood
    theta : ndarray of shape (p,)
        Start.
    max_iter : int, default=200
    tol : float
        Stop when a step is expected to add less than that to the log-likelihood.
    scout : SelectionLikelihood or None, default=None
        A cheaper model whose information is as good, for the steps.
    barriers : sequence of float
        Weights of the barrier of families whose support moves, one after the other.

    Returns
    -------
    theta : ndarray of shape (p,)
    value : float
        Penalised log-likelihood.
    converged : bool
    """
    scout = scout or model
    if not model.family.smooth:
        # Kinks of single rows move the gradient by that much.
        tol = max(tol, _KINK)
    with np.errstate(all="ignore"):
        if not model.family.barrier:
            return _maximise(model, scout, theta, max_iter, tol, 0.0)
        for barrier in barriers:
            theta, _, converged = _maximise(model, scout, theta, max_iter, tol, barrier)
        return theta, model.value(theta), converged


def _maximise(model, scout, theta, max_iter, tol, barrier):
    def objective(theta):
        value = model.value(theta)
        if barrier and np.isfinite(value):
            value += barrier * model.log_support(theta)[0]
        return value

    value, damping = objective(theta), 1e-2
    if not np.isfinite(value):
        return theta, -np.inf, False
    for _ in range(max_iter):
        gradient, information = model.gradient(theta), scout.information(theta)
        if barrier:
            _, slope, curvature = model.log_support(theta)
            gradient = gradient + barrier * slope
            information = information + barrier * curvature
        if not (np.isfinite(information).all() and np.isfinite(gradient).all()):
            return theta, value, False
        diagonal = np.diag(information)
        diagonal = np.maximum(diagonal, 1e-8 * diagonal.max())
        while True:
            step = _solve(information + np.diag(damping * diagonal), gradient)
            gain = gradient @ step
            if gain < tol:
                return theta, value, True
            new = objective(theta + step)
            # Gains below rounding of the sum cannot be seen in it.
            if new > value or (gain < 1e-9 * abs(value) and np.isfinite(new)):
                break
            damping = max(damping * 5.0, 1e-6)
            if damping > 1e8:
                # Where kinks of the density meet, no direction leads up any more.
                return theta, value, not model.family.smooth
        expected = gain - 0.5 * step @ information @ step
        ratio = (new - value) / max(expected, 1e-300)
        damping *= 0.1 if ratio > 0.75 else 1.0 if ratio > 0.25 else 3.0
        damping = max(damping, 1e-10)
        theta, value, gained = theta + step, new, new - value
        if not model.family.smooth and gained < 0.1 * _KINK:
            return theta, value, True
    return theta, value, False


def _solve(matrix, vector):
    """Solution of a positive semi-definite system, in the units of its diagonal."""
    diagonal = np.diag(matrix)
    # Directions along which nothing changes are left alone by lstsq.
    size = 1.0 / np.sqrt(np.maximum(diagonal, 1e-14 * diagonal.max()))
    scaled = matrix * size[:, None] * size
    return size * np.linalg.lstsq(scaled, size * vector, rcond=1e-15)[0]


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
    units = _outcome_units(y, weight, family, noise, box)
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

    search = _Search(likelihood, lambda m: _starts(m, kept, n_starts), weight)
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
            starts = _sloped(full[0], flat, n_starts)
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
    theta, _, converged = maximise(scout, theta)
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
        units=units,
        X=X,
        y=y,
        reference=None if reference is None else (reference, some),
        named={"family": family, "noise": noise, "form": form},
        support_mask=support_mask,
    )


def _outcome_units(y, weight, family, noise, box):
    """Shift and scale of the outcome, as the family allows."""
    if family in ("lognormal", "pareto"):
        return _Units(box, 0.0, float(np.exp(np.average(np.log(y), weights=weight))))
    mean = np.average(y, weights=weight)
    sd = np.sqrt(np.average((y - mean) ** 2, weights=weight))
    # A constant outcome has no scale of its own.
    scale = sd if sd > 0 else max(abs(mean), 1.0)
    return _Units(box, 0.0 if noise == "multiplicative" else mean, scale)


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


def _starts(model, kept, n_starts):
    """Parameters to start from: least squares, and several slopes of selection."""
    parts = {}
    target = model.family.linear_start(model.y)
    for arm in (0, 1):
        rows, B = model.rows[arm], model.basis[arm]
        w, y = model.weight[rows], target[rows]
        b = least_squares(B, y, w)
        if getattr(model.family, "multiplicative", False):
            for _ in range(10):
                size = np.hypot(B @ b, 0.05)
                b = least_squares(B, y, w / size**2)
        parts[f"b{arm}"] = b
        parts[f"s{arm}"] = model.family.start(model.y[rows], B @ b, w)
    both = kept.all(axis=1)
    arms = np.unique(model.t[both])
    rows = both if len(arms) == 2 else np.ones(len(both), dtype=bool)
    C = model.basis_propensity
    parts["c"], _ = logit(C[rows], model.t[rows], model.weight[rows], ridge=1e-3)
    flat = model.join(**parts)
    if "Y" not in model.depends_on:
        return [flat]
    return [model.join(**start) for start in _with_slopes(parts, model, n_starts)]


def _with_slopes(parts, model, n_starts):
    """Parts with slopes of selection on the outcome, of both signs."""
    p = model.parts(model.join(**parts))
    away = np.empty_like(model.y)
    for arm in (0, 1):
        rows = model.rows[arm]
        eta = model.basis[arm] @ p[f"b{arm}"]
        away[rows] = model.y[rows] - model.family.mean(eta, p[f"s{arm}"])[0]
    spreads = {"noise": np.median(np.abs(away)) / 0.6745, "outcome": model.y.std()}
    slopes = [
        (sign * slope / max(spreads[unit], 1e-6), level if sign > 0 else 1.0 - level)
        for unit, slope, level in _START_SLOPES
        for sign in (1.0, -1.0)
    ]
    for slope, level in slopes[:n_starts]:
        constant = -slope * np.quantile(model.y, level)
        yield {**parts, "g": np.array([constant]), "gy": np.array([slope])}


def _sloped(model, flat, n_starts):
    """Starts with slopes, from a fit without dependence on the outcome."""
    parts = {k: v for k, v in flat[0].parts(flat[1]).items() if len(v) and k != "g"}
    return list(_with_slopes(parts, model, n_starts))


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
        curvature = information + _BARRIERS[-1] * model.log_support(theta)[2]
    elif model.family.smooth:
        observed = scout.observed_information(theta, information)
        if np.linalg.eigvalsh(observed)[0] > 0:
            curvature = observed
            # A last step by the exact curvature, unless it leads astray.
            step = theta + _solve(curvature, model.gradient(theta))
            value = model.value(theta)
            if model.value(step) >= value - 1e-9 * abs(value):
                theta = step
    condition = model.condition(information if model.family.barrier else curvature)
    sample, some = (None, None) if reference is None else reference
    effect, gradient, differences = _population_effect(model, theta, units, sample)
    direction = _solve(curvature, gradient)
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
        base = model._selection_design(U, arm) @ p["g"]
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
        variance = _solve(curvature, unit)[where][0]
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
