"""Equations of all fields, from all terms to those that are kept."""

from dataclasses import replace
from functools import partial

import numpy as np

from skident.dynamics._pde_correction import take_off_errors
from skident.dynamics._pde_elimination import (
    CHANCE_JUMP,
    JUMP,
    EliminationPath,
    EliminationStep,
    chance_tol,
    cut_off,
    eliminate,
    near_fit,
)
from skident.dynamics._pde_lm import fit_pde_terms
from skident.dynamics._pde_units import term_units


def corrects(model):
    """Whether the error of the grid is taken off the data."""
    by_steps = model.fitter == "lm" or model.sparsifier == "elimination"
    return by_steps and model.n_corrections > 0


def find_path(model, patches, terms, field, start=None):
    """Equation of one field, from all terms to those that are kept.

    Parameters
    ----------
    model : MechanisticPDERegressor
    patches : list of Patch
    terms : list of PDETerm
    field : int
    start : ndarray of shape (n_terms,) or None, default=None
        Coefficients to start from; those that a network learnt where there is one.

    Returns
    -------
    path : EliminationPath
    gaps : list of ndarray, each of its patch's shape, or None
        Errors of the patches' grids, which were taken off the data of this field; None
        where there are none.
    """
    if not corrects(model):
        return _path(model, patches, terms, field, start), None
    options = {"field": field, **_options(model)}

    def near(patches, theta):
        return near_fit(patches, terms, None, theta, max_iter=model.max_iter, **options)

    # Before terms are removed: the error can be larger than what a true term does. A
    # fit of all terms that has stalled shows none; then those that are left will.
    first, known, gaps = near(patches, start), patches, None
    left = model.n_corrections - first.converged
    if first.converged:
        first, known, gaps = take_off_errors(patches, terms, first, near, **options)
    path = _path(model, known, terms, field, first.theta)
    for _ in range(left):
        same = partial(_same_terms, model, terms, field, path.fit)
        fit, known, more = take_off_errors(patches, terms, path.fit, same, **options)
        if more is None:
            break
        gaps = more
        path = _go_on(model, known, terms, field, path, fit)
    return path, gaps


def fit_terms(
    model, patches, terms, field, support=None, start=None, max_iter=None, weights=None
):
    """:func:`skident.dynamics._pde_lm.fit_pde_terms` as a model would have it."""
    return fit_pde_terms(
        patches,
        terms,
        support,
        start,
        weights=weights,
        field=field,
        max_iter=model.max_iter if max_iter is None else max_iter,
        **_options(model),
    )


def _options(model):
    return {"linear_solver": model.linear_solver, "n_jobs": model.n_jobs}


def _same_terms(model, terms, field, fit, patches, theta):
    """Fit the terms of a fit to other data, patches weighed alike."""
    return fit_terms(
        model, patches, terms, field, fit.support, theta, weights=fit.weights
    )


def _eliminated(model, patches, terms, field, support, start, tol):
    return eliminate(
        patches,
        terms,
        field=field,
        support=support,
        theta0=start,
        tol=tol,
        jump=CHANCE_JUMP if model.elimination_tol is None else JUMP,
        max_iter=model.max_iter,
        **_options(model),
    )


def _path(model, patches, terms, field, start):
    """Path on data as they are, by the model's sparsifier."""
    if model.fitter == "adam" and model.sparsifier != "elimination":
        return _trained_path(model, patches, terms, field, start)
    if model.sparsifier == "elimination":
        tol = model.elimination_tol
        return _eliminated(model, patches, terms, field, None, start, tol)
    first = fit_terms(model, patches, terms, field, None, start)
    theta = first.theta
    if model.sparsifier == "l1":
        theta = _shrunk(model, patches, terms, field, first)
    steps = cut_off(
        [EliminationStep(first, None, 0.0, 0.0)],
        np.abs(theta) > model.threshold,
        theta,
        model.threshold,
        lambda kept, start: fit_terms(model, patches, terms, field, kept, start),
    )
    return EliminationPath(steps, len(steps) - 1, _tolerance(model, steps))


def _go_on(model, patches, terms, field, path, fit):
    """A path from its chosen model on, on other data, of which ``fit`` is."""
    before = path.steps[: path.chosen]
    if model.sparsifier == "elimination":
        after = _eliminated(
            model, patches, terms, field, fit.support, fit.theta, path.tol
        )
        again = replace(path.steps[path.chosen], fit=after.steps[0].fit)
        steps = [*before, again, *after.steps[1:]]
        return EliminationPath(steps, path.chosen + after.chosen, path.tol)
    steps = cut_off(
        before,
        fit.support,
        fit.theta,
        model.threshold,
        lambda kept, theta: fit_terms(
            model, patches, terms, field, kept, theta, weights=fit.weights
        ),
    )
    return EliminationPath(steps, len(steps) - 1, path.tol)


def _trained_path(model, patches, terms, field, theta):
    """Equation of one field whose coefficients a network was trained for."""
    first = fit_terms(model, patches, terms, field, None, theta, max_iter=0)
    kept = np.abs(theta) > model.threshold
    # No step is taken: these are the network's coefficients, with standard errors.
    fit = fit_terms(model, patches, terms, field, kept, np.where(kept, theta, 0.0), 0)
    steps = [
        EliminationStep(first, None, 0.0, 0.0),
        EliminationStep(fit, None, fit.loss - first.loss, np.inf),
    ]
    return EliminationPath(steps, 1, _tolerance(model, steps))


def _tolerance(model, steps):
    """What the removal of a superfluous term may add to the loss, as a share of it."""
    tol = model.elimination_tol
    return chance_tol(steps[0].fit) if tol is None else tol


def _shrunk(model, patches, terms, field, first):
    """Minimiser of the loss's quadratic model with a penalty on coefficients.

    In units of the data's variance, of the fields' and of the mean steps: coefficients
    are then numbers whose size says how much a term moves the field in one step.
    """
    data = np.concatenate([patch.data[..., field].ravel() for patch in patches])
    units = term_units(patches, terms)[field]
    loss = np.nanvar(data) * first.n_residuals
    hessian = first.gram * np.multiply.outer(units, units) / loss
    optimum = first.theta / units
    theta, weight = optimum.copy(), 0.5 * model.alpha_l1 / len(terms)
    curvature = np.diag(hessian)
    # Coordinate descent on a convex function: each pass lowers it.
    for _ in range(1000):
        before = theta.copy()
        for j in np.flatnonzero(curvature > 0):
            slope = hessian[j] @ (theta - optimum) - curvature[j] * theta[j]
            theta[j] = -np.sign(slope) * max(abs(slope) - weight, 0.0) / curvature[j]
        if np.abs(theta - before).max() <= 1e-10 * np.abs(theta).max(initial=0.0):
            break
    return theta * units
