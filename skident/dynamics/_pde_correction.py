"""The grid's own error, measured on a finer one and taken off the data."""

from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed
from scipy.interpolate import make_interp_spline

from skident.dynamics._pde_elimination import EliminationPath, eliminate
from skident.dynamics._pde_lm import fit_pde_terms
from skident.dynamics._pde_patches import Patch
from skident.dynamics._pde_solve import solve_patch


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
        # The highest odd degree below the order of the stencils that has the nodes.
        degree = min(5, len(axis) - 1)
        degree -= 1 - degree % 2
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
        Solution on the fine grid less that on the patch's own, at the latter's nodes.
    """
    options = {"field": field, "linear_solver": linear_solver}
    coarse, fine = (
        solve_patch(p, terms, theta, **options).values[:, 0].reshape(p.shape)
        for p in (patch, refined(patch))
    )
    return fine[(slice(None, None, 2),) * fine.ndim] - coarse


def corrected_patches(patches, terms, thetas, *, linear_solver="auto", n_jobs=None):
    """Patches whose data hold the error that solutions on their grid have.

    Deferred correction: coefficients that fit these data on the patches' own grids fit
    the observed data on finer ones.

    Parameters
    ----------
    patches : list of Patch
    terms : list of PDETerm
    thetas : sequence of n_fields ndarrays of shape (n_terms,)
        Coefficients near those that are wanted.
    linear_solver : str, default="auto"
    n_jobs : int or None, default=None

    Returns
    -------
    corrected : list of Patch
    gaps : list of ndarray of shape (*shape, n_fields)
        What was taken off the data, to add to solutions on the patches.

    Notes
    -----
    Errors of second order fall to a quarter on the finer grid: they are 4/3 of what it
    shows.
    """
    shown = Parallel(n_jobs=n_jobs)(
        delayed(refinement_gap)(
            patch, terms, theta, field=field, linear_solver=linear_solver
        )
        for patch in patches
        for field, theta in enumerate(thetas)
    )
    n_fields = len(thetas)
    gaps = [
        np.stack(shown[i * n_fields : (i + 1) * n_fields], axis=-1) * (4.0 / 3.0)
        for i in range(len(patches))
    ]
    corrected = [
        replace(patch, data=patch.data - gap)
        for patch, gap in zip(patches, gaps, strict=True)
    ]
    return corrected, gaps


def correct_paths(
    patches,
    terms,
    paths,
    *,
    rounds=1,
    eliminating=True,
    max_iter=12,
    linear_solver="auto",
    n_jobs=None,
):
    """Fit the chosen terms again, on data without the errors of the patches' grids.

    Parameters
    ----------
    patches : list of Patch
    terms : list of PDETerm
    paths : list of n_fields EliminationPath
    rounds : int, default=1
        How often, each time at the coefficients of the last.
    eliminating : bool, default=True
        Whether to remove further terms: some only made up for the grid.
    max_iter, linear_solver, n_jobs
        As :func:`skident.dynamics._pde_lm.fit_pde_terms` takes them.

    Returns
    -------
    patches : list of Patch
        With the corrected data.
    paths : list of n_fields EliminationPath
        From the chosen model on they are those of the corrected data. Solutions are
        those of the finer grid, at the nodes of the patches.
    """
    options = {"max_iter": max_iter, "linear_solver": linear_solver, "n_jobs": n_jobs}
    known = patches
    for _ in range(rounds):
        known, gaps = corrected_patches(
            patches,
            terms,
            [path.fit.theta for path in paths],
            linear_solver=linear_solver,
            n_jobs=n_jobs,
        )
        go_on = _eliminated if eliminating else _refitted
        paths = [
            go_on(path, known, terms, field=field, **options)
            for field, path in enumerate(paths)
        ]
        for field, path in enumerate(paths):
            for solution, gap in zip(path.fit.solutions, gaps, strict=True):
                solution += gap[..., field]
    return known, paths


def _eliminated(path, patches, terms, **options):
    """A path that goes on from its chosen model, on other data."""
    before, chosen = path.steps[: path.chosen], path.steps[path.chosen]
    after = eliminate(
        patches,
        terms,
        support=chosen.support,
        theta0=chosen.theta,
        tol=path.tol,
        **options,
    )
    again = replace(chosen, fit=after.steps[0].fit)
    steps = [*before, again, *after.steps[1:]]
    return EliminationPath(steps, path.chosen + after.chosen, path.tol)


def _refitted(path, patches, terms, **options):
    """A path whose chosen model is fitted to other data."""
    before, chosen = path.steps[: path.chosen], path.steps[path.chosen]
    fit = fit_pde_terms(
        patches,
        terms,
        chosen.support,
        chosen.theta,
        weights=chosen.fit.weights,
        **options,
    )
    return EliminationPath([*before, replace(chosen, fit=fit)], path.chosen, path.tol)
