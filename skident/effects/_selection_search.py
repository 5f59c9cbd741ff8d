"""The search for the greatest likelihood of a selected sample."""

import numpy as np

from skident.effects._polynomials import least_squares, logit

# Slopes of selection to start from: per spread of the noise or of the outcome, and the
# quantile of the selected outcomes, from the side that is selected against, where the
# chance is even. Rows of small chance are few: even chances are found far out.
_START_SLOPES = (
    ("noise", 1.0, 0.05),
    ("outcome", 1.0, 0.05),
    ("noise", 3.0, 0.25),
    ("outcome", 0.3, 0.25),
)
# Log-likelihood a step may still be expected to bring when the search stops: between
# settings, at the end, and where densities have kinks.
_COARSE, _FINE, _KINK = 1e-4, 1e-14, 1e-3
# Where parameters run off, the likelihood rises to a plateau: so many steps that bring
# no more than that together, a seventh of a standard error in any direction, end it.
_PATIENCE, _PLATEAU = 20, 1e-2
# Of the log-distance of each row from its support's end, where that moves.
BARRIERS = (0.1, 0.01)


class Search:
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
        rough = {"max_iter": 25, "tol": 1.0, "barriers": BARRIERS[:1]}
        ends = [maximise(model, theta, **rough) for theta in starts]
        best = max(ends, key=lambda end: end[1])
        theta, value, _ = maximise(model, best[0], tol=_COARSE, barriers=BARRIERS[:1])
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


def maximise(model, theta, *, max_iter=200, tol=_FINE, scout=None, barriers=BARRIERS):
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

    value, damping, passed = objective(theta), 1e-2, []
    if not np.isfinite(value):
        return theta, -np.inf, False
    for _ in range(max_iter):
        passed.append(value)
        if len(passed) > _PATIENCE and value - passed[-1 - _PATIENCE] < _PLATEAU:
            return theta, value, True
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
            step = solve(information + np.diag(damping * diagonal), gradient)
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


def solve(matrix, vector):
    """Solution of a positive semi-definite system, in the units of its diagonal."""
    diagonal = np.diag(matrix)
    # Directions along which nothing changes are left alone by lstsq.
    size = 1.0 / np.sqrt(np.maximum(diagonal, 1e-14 * diagonal.max()))
    scaled = matrix * size[:, None] * size
    return size * np.linalg.lstsq(scaled, size * vector, rcond=1e-15)[0]


def first_starts(model, kept, n_starts):
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


def starts_with_slopes(model, flat, n_starts):
    """Starts with slopes, from a fit without dependence on the outcome."""
    parts = {k: v for k, v in flat[0].parts(flat[1]).items() if len(v) and k != "g"}
    return list(_with_slopes(parts, model, n_starts))
