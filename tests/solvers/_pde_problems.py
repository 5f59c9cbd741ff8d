"""Linear equations with known solutions, and random ones, for the tests of solvers."""

import numpy as np

from skident.solvers import PdeSystem

# Boundary rows on derivatives, on a grid of 8 times 9 nodes: a flux on the left, none
# on the first corner, and a curvature on both sides.
FLUX = [
    *((i, "u") for i in range(9)),
    *((9 * i, "u_x") for i in range(1, 8)),
    *((9 * i, "u_xx") for i in range(1, 8)),
    *((9 * i + 8, "u_xx") for i in range(1, 8)),
]


def random_system(rng, shape, boundary="faces", uneven=True, **params):
    """A system on a grid whose steps differ by up to a factor of three."""
    low = 0.5 if uneven else 1.0
    gaps = [rng.uniform(low, 2.0 - low + 0.5 * uneven, n - 1) for n in shape]
    coordinates = [0.3 * np.r_[0.0, np.cumsum(gap)] - 0.2 for gap in gaps]
    return PdeSystem(coordinates, boundary=boundary, **params)


def random_problem(rng, system):
    """Coefficients with a positive diffusion, a source and given values."""
    c = 0.3 * rng.standard_normal((system.n_nodes, system.n_variables))
    n_axes = len(system.shape)
    c[:, 1] = 1.0
    c[:, 2 + n_axes :] = -0.1 - 0.1 * rng.random((system.n_nodes, n_axes - 1))
    source = rng.standard_normal(system.n_nodes)
    given = rng.standard_normal(len(system.boundary_nodes))
    return c, source, given


def dense_solution(system, c, source, given):
    """The same minimum by dense least squares on all rows."""
    matrix = system.rows(c).toarray()
    right = np.zeros(len(matrix))
    n_equations = len(system.equation_nodes)
    right[:n_equations] = source[system.equation_nodes]
    right[n_equations : n_equations + len(given)] = (
        system.structure_weight * system.units[system.boundary_variables] * given
    )
    q, r = np.linalg.qr(matrix)
    z = np.linalg.solve(r, q.T @ right)
    return z.reshape(system.n_nodes, system.n_variables)


def grid(*axes):
    return [x.ravel() for x in np.meshgrid(*axes, indexing="ij")]


def heat(n, nu=1.0):
    """u_t = nu u_xx with u = exp(-nu t) sin x; nodes, coefficients, solution."""
    axes = [np.linspace(0, 1, n), np.linspace(0, np.pi, n)]
    t, x = grid(*axes)
    c = np.tile([0.0, 1.0, 0.0, 0.0, -nu], (n * n, 1))
    return axes, c, np.exp(-nu * t) * np.sin(x)


def laplace(n):
    """u_tt + u_xx = 0 in the unit box."""
    axes = [np.linspace(0, 1, n)] * 2
    t, x = grid(*axes)
    c = np.tile([0.0, 0.0, 0.0, 1.0, 1.0], (n * n, 1))
    return axes, c, np.sin(np.pi * x) * np.sinh(np.pi * t) / np.sinh(np.pi)


def transport():
    """u_t + u_x = 0 on 8 times 64 nodes, with u = sin 2 (x - t)."""
    axes = [0.005 * np.arange(8), np.linspace(0, 2 * np.pi, 64)]
    t, x = grid(*axes)
    c = np.tile([0.0, 1.0, 1.0, 0.0, 0.0], (512, 1))
    return axes, c, np.sin(2 * (x - t))


def heat_2d(shape):
    """u_t = 0.1 (u_xx + u_yy) with u = exp(-0.2 t) sin x sin y."""
    axes = [np.linspace(0, 1, shape[0]), *(np.linspace(0, np.pi, n) for n in shape[1:])]
    t, x, y = grid(*axes)
    c = np.tile([0.0, 1.0, 0.0, 0.0, 0.0, -0.1, -0.1], (len(t), 1))
    return axes, c, np.exp(-0.2 * t) * np.sin(x) * np.sin(y)
