"""Effects in the whole population from a sample selected by its outcomes too."""

import warnings

import numpy as np
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skident.effects._polynomials import (
    Box,
    choose_degree,
    highest_degree,
    n_terms,
)
from skident.effects._selection_families import make_family
from skident.effects._selection_likelihood import SelectionLikelihood
from skident.effects._selection_maximum import describe_maximum
from skident.effects._selection_mirror import LEAST_GAP, fit_mirror
from skident.effects._selection_points import (
    arm_mask,
    check_mask,
    compress,
    covariate_points,
    outcome_units,
)
from skident.effects._selection_search import (
    Search,
    first_starts,
    maximise,
    starts_with_slopes,
)

# Rows of a reference sample that the likelihood is averaged over, at most, and cells
# that stand for them while degrees and starts are searched, by number of covariates.
_MOST_POINTS = 2**14
_CELLS = {1: 256, 2: 1024}
_DETECT = 0.05
# Of a log-likelihood, for the nodes over the outcome: a likelihood ratio of 1.1.
_MOST_ERROR = 0.1


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
    law, finer = (
        make_family(family, z, noise=noise, n_quad=count)
        for count in (n_quad, 2 * n_quad)
    )
    depends_on = tuple(name for name in ("X", "T", "Y") if name in depends_on)

    def likelihood(degree, density_degree, depends_on, points=few, law=law):
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
    ratio, detected, declared = (np.nan, np.nan), False, None
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
            declared = chosen, q, depends_on
            # What is left may depend on x and t, if these data show that at all.
            options = {names: choose(names, [q]) for names in {without, ()}}
            depends_on = min(
                options, key=lambda names: search.fit(*options[names], names)[3]
            )
            chosen, q = options[depends_on]

    def finish(chosen, q, depends_on):
        scout, theta, *_ = search.fit(chosen, q, depends_on)
        theta, value, converged = maximise(scout, theta)
        rival, rival_value = fit_mirror(scout, theta)
        check = likelihood(chosen, q, depends_on, law=finer)
        if rival is not None and not _resolved(scout, check, rival):
            rival, rival_value = None, -np.inf
        # By less than that neither is refuted, and slopes run off for next to nothing.
        if rival_value > value + LEAST_GAP:
            better, _, done = maximise(scout, rival)
            theta, rival, converged = better, theta, done
        model = scout
        if reference is not None:
            model = likelihood(chosen, q, depends_on, (points, log_volume, mask))
            theta, _, converged = maximise(model, theta, scout=scout)
        fit = describe_maximum(
            model,
            scout,
            theta,
            converged,
            ratio=ratio,
            detected=detected,
            rival=(rival, abs(value - rival_value)),
            units=units,
            X=X,
            y=y,
            reference=None if reference is None else (reference, some),
            named={"family": family, "noise": noise, "form": form},
            support_mask=support_mask,
        )
        if fit.refusal is None and not _resolved(scout, check, theta):
            fit.refusal = (
                "coarse_quadrature",
                f"The nodes over the outcome, n_quad={n_quad}, are too few for what "
                "was fitted: with twice as many its likelihood is another one.",
            )
        return fit

    fit = finish(chosen, q, depends_on)
    if not fit.converged:
        warnings.warn(
            "The likelihood of the selected sample was still rising after 200 steps, "
            f"at {fit.log_likelihood:g}; fewer terms (max_degree, propensity_degree, "
            "selection_depends_on) or a reference sample (x_reference) may help.",
            ConvergenceWarning,
            stacklevel=2,
        )
    if declared is not None:
        fit.hold(finish(*declared))
    if fit.refusal is not None:
        fit.effect = fit.stderr = np.nan
    return fit


def _resolved(model, check, theta):
    """Whether the nodes over the outcome suffice for parameters.

    A selection that is steep next to a wide law falls between nodes, and the likelihood
    then rises without bound.
    """
    return abs(model.value(theta) - check.value(theta)) < _MOST_ERROR


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
