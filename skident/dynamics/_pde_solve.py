"""One equation on one patch: its solution, and how that moves with coefficients."""

from functools import lru_cache

import numpy as np

from skident.dynamics._pde_terms import own_first
from skident.solvers._pde_system import PdeSystem

# Relative residual of a linear system from which on its solution is not to be trusted:
# the error of that is some hundred times as large.
WORST_RESIDUAL = 1e-6


def patch_system(patch):
    """The least-squares system of a patch's grid, shared by patches of equal grids."""
    return _system(tuple(axis.tobytes() for axis in patch.coordinates))


def fine_system(patch):
    """As :func:`patch_system`, for a grid that is large and needed for a moment."""
    return _fine_system(tuple(axis.tobytes() for axis in patch.coordinates))


@lru_cache(maxsize=16)
def _system(nodes):
    return _made(nodes)


# Sixteen of them would hold a gigabyte where grids are uneven.
@lru_cache(maxsize=1)
def _fine_system(nodes):
    return _made(nodes)


def _made(nodes):
    # Values at the first time and on the faces in space come from the smooth field.
    return PdeSystem([np.frombuffer(axis) for axis in nodes], boundary="faces")


def solve_patch(patch, terms, theta, *, field=0, linear_solver="auto", system=None):
    """Solve one field's equation on a patch, coefficients frozen at the smooth field.

    Parameters
    ----------
    patch : Patch
    terms : sequence of PDETerm
    theta : ndarray of shape (n_terms,)
        Coefficients of ``u_t = sum theta_j term_j``, in the units of the data.
    field : int, default=0
        Whose equation it is.
    linear_solver : str, default="auto"
        As :meth:`skident.solvers._pde_system.PdeSystem.factor` takes it.
    system : PdeSystem or None, default=None
        Of the patch's grid; None is :func:`patch_system`'s.

    Returns
    -------
    solution : PdeSolution
        Its ``values[:, 0]`` is the field, in C order.
    """
    system = patch_system(patch) if system is None else system
    factors = term_factors(patch, terms, np.asarray(theta) != 0, field)
    return _solve(patch, system, terms, theta, factors, field, linear_solver)[1]


def term_factors(patch, terms, chosen, field):
    """What multiplies each chosen term's block, by number of the term.

    Returns
    -------
    factors : dict of int to ndarray of shape (n_nodes,)
    """
    fields = [values.ravel() for values in own_first(patch.encoded, field)]
    return {j: terms[j].factor(fields) for j in np.flatnonzero(chosen)}


def patch_residuals(patch, terms, theta, support, *, field=0, linear_solver="auto"):
    """Solution on a patch, and its derivatives by coefficients at observed nodes.

    Parameters
    ----------
    patch, terms, theta, field, linear_solver
        As for :func:`solve_patch`.
    support : ndarray of bool of shape (n_terms,)
        Coefficients to differentiate by; those outside must be zero.

    Returns
    -------
    values : ndarray of shape (n_nodes,)
        The field that solves the equation.
    seen : ndarray of int of shape (n_observed,)
        Nodes with data of this field.
    residuals : ndarray of shape (n_observed,)
        Solution minus data.
    jacobian : ndarray of shape (n_observed, n_chosen)
        In order of the terms.
    residual : float
        Relative residual of the linear solves, the largest.
    """
    system = patch_system(patch)
    chosen = np.flatnonzero(support)
    factors = term_factors(patch, terms, support, field)
    factor, solution, source = _solve(
        patch, system, terms, theta, factors, field, linear_solver
    )
    values, worst = solution.values, solution.residual
    changes = [
        ("source", factors[j]) if terms[j].is_source else (terms[j].block, -factors[j])
        for j in chosen
    ]
    data = patch.data[..., field].ravel()
    seen = np.flatnonzero(np.isfinite(data))
    if len(chosen):
        jacobian = factor.sensitivities(solution, source, changes)[seen]
        worst = max(worst, factor.residual)
    else:
        jacobian = np.zeros((len(seen), 0))
    return values[:, 0], seen, values[seen, 0] - data[seen], jacobian, worst


def _solve(patch, system, terms, theta, factors, field, linear_solver):
    coefficients = np.zeros((system.n_nodes, len(system.variables)))
    source = np.zeros(system.n_nodes)
    coefficients[:, system.variables.index("u_t")] = 1.0
    for j, phi in factors.items():
        if terms[j].is_source:
            source += theta[j] * phi
        else:
            coefficients[:, system.variables.index(terms[j].block)] -= theta[j] * phi
    factor = system.factor(coefficients, linear_solver=linear_solver)
    given = patch.encoded[..., field].ravel()[system.boundary_nodes]
    return factor, factor.solve(source, given), source
