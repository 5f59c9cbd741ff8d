"""Condensed systems on boxes, for the tests of iterative solvers."""

import numpy as np

from skident.solvers import PdeSystem


def heat_box(shape, nu=0.1):
    """u_t = nu laplacian(u) on unit boxes; nodes and coefficients."""
    axes = [np.linspace(0, 1, n) for n in shape]
    c = np.zeros((int(np.prod(shape)), 1 + 2 * len(shape)))
    c[:, 1] = 1.0
    c[:, 2 + len(shape) :] = -nu
    return axes, c


def burgers_box(n, nu):
    """u_t + v u_x = nu u_xx with a wave of both signs as v; nodes and coefficients."""
    axes, c = heat_box((n, n), nu)
    t, x = np.meshgrid(*axes, indexing="ij")
    c[:, 2] = (np.exp(-t) * np.sin(2 * np.pi * x) + 0.5).ravel()
    return axes, c


def wave(axes):
    """A decaying wave, flattened."""
    grids = np.meshgrid(*axes, indexing="ij")
    field = np.exp(-grids[0])
    for x in grids[1:]:
        field = field * np.sin(np.pi * x) + 0.2
    return field.ravel()


def condensed(axes, c, **params):
    """Condensed system, and its right side for a wave on the boundary."""
    system = PdeSystem(axes, **params)
    reduced = system.condensation.condense(np.asarray(c))
    rhs = np.zeros((system.n_nodes, system.n_variables, 1))
    rhs[system.boundary_nodes, 0, 0] = wave(axes)[system.boundary_nodes]
    return reduced.matrix, reduced.reduce(rhs)


def uneven(rng, shape):
    """Axes whose steps differ by up to a factor of two."""
    return [np.r_[0.0, np.cumsum(rng.uniform(0.5, 1.0, n - 1))] for n in shape]
