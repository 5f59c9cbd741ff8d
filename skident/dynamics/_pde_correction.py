"""The grid's own error, measured on a finer one and taken off the data."""

import warnings
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.interpolate import make_interp_spline
from sklearn.exceptions import ConvergenceWarning

from skident.dynamics._pde_lm import CLEAN, field_data
from skident.dynamics._pde_patches import Patch
from skident.dynamics._pde_solve import (
    WORST_RESIDUAL,
    fine_system,
    patch_system,
    solve_patch,
)
from skident.solvers._pde_direct import direct_bytes
from skident.solvers._pde_factor import NOT_DETERMINED
from skident.utils._memory import check_memory

# What errors are of what a grid of half the steps shows, by number of axes of space.
# Those of second order fall to a quarter. On the small patches of a plane they do so
# where a field is coarse, and where it is smooth to a tenth or less, as those of the
# stencils do: 0.97 to 1.36 of what is shown were measured on spirals and vorticity,
# and the middle leaves a seventh of either.
_SHARE = {1: 4.0 / 3.0, 2: 7.0 / 6.0}
# A correction that raises the loss by more than this makes things worse: the grid is
# too coarse to show its error, or the equation at fault. Noise alone moves losses of a
# thousand values by five per cent.
_WORSE = 1.5
# Bytes a node that a solution takes by multigrid, measured, by number of axes of space.
_NODE_BYTES = {1: 2500.0, 2: 6500.0}


def refined(patch):
    """A patch with a node between any two neighbours.

    Boundary values and the fields that expressions are frozen at are interpolated, so
    that both grids solve one equation.

    Parameters
    ----------
    patch : Patch

    Returns
    -------
    fine : Patch
        Its data are the smooth field.
    """
    encoded, nodes = patch.encoded, []
    for k, axis in enumerate(patch.coordinates):
        fine = np.empty(2 * len(axis) - 1)
        fine[::2] = axis
        fine[1::2] = 0.5 * (axis[1:] + axis[:-1])
        nodes.append(fine)
        # The highest odd degree below the order of the stencils that has the nodes. Of
        # three nodes a parabola: straight lines have errors as large as the grid's.
        degree = min(5, len(axis) - 1)
        degree -= degree == 4
        encoded = make_interp_spline(axis, encoded, k=degree, axis=k)(fine)
    return Patch(nodes, encoded, encoded, patch.experiment, ())


def refinement_gap(patch, terms, theta, *, field=0, linear_solver="auto"):
    """What a solution gains when the grid is refined twice.

    Parameters
    ----------
    patch, terms, theta, field, linear_solver
        As for :func:`skident.dynamics._pde_solve.solve_patch`.

    Returns
    -------
    gap : ndarray of the patch's shape
        Solution on the fine grid less that on the patch's own, at the latter's nodes;
        NaN where one of the two was not found.
    """
    fine = refined(patch)
    solutions = []
    for each, system in ((patch, patch_system(patch)), (fine, fine_system(fine))):
        try:
            with warnings.catch_warnings():
                # The residual says whether a solution is one.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = solve_patch(
                    each,
                    terms,
                    theta,
                    field=field,
                    linear_solver=linear_solver,
                    system=system,
                )
        except ValueError as error:
            if str(error) != NOT_DETERMINED:
                raise
            return np.full(patch.shape, np.nan)
        if not found.residual <= WORST_RESIDUAL:
            return np.full(patch.shape, np.nan)
        solutions.append(found.values[:, 0].reshape(each.shape))
    coarse, fine = solutions
    return fine[(slice(None, None, 2),) * fine.ndim] - coarse


def grid_errors(patches, terms, theta, *, field=0, linear_solver="auto", n_jobs=None):
    """What solutions of one field's equation on the patches' grids lack.

    Parameters
    ----------
    patches : list of Patch
    terms : list of PDETerm
    theta : ndarray of shape (n_terms,)
        Coefficients near those that are wanted.
    field : int, default=0
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None

    Returns
    -------
    gaps : list of ndarray, each of its patch's shape
        To add to solutions, or to take off data that solutions are fitted to: then
        coefficients that fit these on the patches' own grids fit the observed data on
        finer ones ("deferred correction"). 0 where the finer grid has no solution.
    """
    shown = Parallel(n_jobs=n_jobs)(
        delayed(refinement_gap)(
            patch, terms, theta, field=field, linear_solver=linear_solver
        )
        for patch in patches
    )
    unknown = [not np.isfinite(gap).all() for gap in shown]
    if any(unknown):
        warnings.warn(
            f"On {sum(unknown)} of {len(patches)} patches no solution was found on a "
            "grid of half the steps: their data keep the error of the grid.",
            ConvergenceWarning,
            stacklevel=2,
        )
    share = _SHARE[len(patches[0].shape) - 1]
    return [
        np.zeros_like(gap) if lost else share * gap
        for gap, lost in zip(shown, unknown, strict=True)
    ]


def solve_patches(
    patches, terms, theta, *, field=0, corrected, linear_solver="auto", n_jobs=None
):
    """Solutions of one field's equation.

    Parameters
    ----------
    patches, terms, theta, field, linear_solver, n_jobs
        As for :func:`grid_errors`.
    corrected : bool
        Whether the error of the patches' grids is taken off: coefficients that were
        found without it want solutions without it.

    Returns
    -------
    values : list of ndarray, each of its patch's shape
    residual : float
        Largest relative residual of the linear systems; NaN without patches.
    """
    options = {"field": field, "linear_solver": linear_solver}
    found = Parallel(n_jobs=n_jobs)(
        delayed(_solved)(patch, terms, theta, **options) for patch in patches
    )
    values = [values for values, _ in found]
    if corrected:
        gaps = grid_errors(patches, terms, theta, n_jobs=n_jobs, **options)
        values = [value + gap for value, gap in zip(values, gaps, strict=True)]
    return values, max((residual for _, residual in found), default=np.nan)


def _solved(patch, terms, theta, **options):
    found = solve_patch(patch, terms, theta, **options)
    return found.values[:, 0].reshape(patch.shape), found.residual


def without_errors(patches, gaps, field):
    """Patches with the error of their grids taken off one field's data."""
    corrected = []
    for patch, gap in zip(patches, gaps, strict=True):
        data = patch.data.astype(float)
        data[..., field] -= gap
        corrected.append(replace(patch, data=data))
    return corrected


def with_errors(fit, gaps):
    """A fit whose solutions are those of finer grids."""
    solutions = [
        solution + gap for solution, gap in zip(fit.solutions, gaps, strict=True)
    ]
    return replace(fit, solutions=solutions)


def check_correction_memory(shape, linear_solver, n_jobs):
    """Refuse patches whose finer grids would not fit in memory, before any fit.

    Parameters
    ----------
    shape : tuple of int
        Of the largest patch.
    linear_solver : str
    n_jobs : int or None
    """
    fine = tuple(2 * n - 1 for n in shape)
    nodes = float(np.prod(fine))
    need = _NODE_BYTES[len(shape) - 1] * nodes
    if linear_solver == "direct":
        need += direct_bytes(fine)
    check_memory(
        need * effective_n_jobs(n_jobs),
        f"The error of the grid on patches of {int(np.prod(shape))} nodes (patch_size, "
        "n_jobs; n_corrections=0 does without)",
    )


def take_off_errors(
    patches, terms, fit, again, *, field=0, linear_solver="auto", n_jobs=None
):
    """Fit again, on data without the errors of the patches' grids.

    Parameters
    ----------
    patches : list of Patch
        With the data as observed.
    terms : list of PDETerm
    fit : LMFit
        The errors are those at its coefficients.
    again : callable
        ``again(patches, theta)`` fits the same terms to other data from a start.
    field : int, default=0
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None

    Returns
    -------
    fit : LMFit
        With solutions on the patches' own grids.
    known : list of Patch
        With the data of that fit.
    gaps : list of ndarray, each of its patch's shape, or None
        What was taken off the data, to add to solutions; None where there was nothing,
        or where the loss rose by half: then fit and patches are those that were given.
    """
    options = {"field": field, "linear_solver": linear_solver, "n_jobs": n_jobs}
    gaps = grid_errors(patches, terms, fit.theta, **options)
    if not any(map(np.any, gaps)):
        return fit, patches, None
    known = without_errors(patches, gaps, field)
    after = again(known, fit.theta)
    floor = CLEAN * float(field_data(patches, field).var())
    if not after.loss <= _WORSE * fit.loss + floor:
        warnings.warn(
            f"Less the error of the grid, data of field {field} fit worse than with "
            "it: the correction is left out. The grid is too coarse for the field, or "
            "the equation is not its own.",
            ConvergenceWarning,
            stacklevel=2,
        )
        return fit, patches, None
    return after, known, gaps
