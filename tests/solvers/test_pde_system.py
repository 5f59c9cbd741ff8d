"""Rows, counts and the exact elimination of derivatives, against dense oracles."""

import pickle

import numpy as np
import pytest

from skident.solvers import PdeSystem
from tests.solvers._pde_problems import (
    FLUX,
    dense_solution,
    random_problem,
    random_system,
)

SHAPES = [
    ((8, 11), "faces"),
    ((11, 6), "initial"),
    ((7, 7), "box"),
    ((8, 9), FLUX),
    ((5, 5, 6), "faces"),
    ((3, 4), "faces"),
    ((2, 5), "faces"),
    ((4, 2), "faces"),
]


def test_counts_of_the_published_layer():
    system = PdeSystem([np.arange(8.0), np.arange(128.0)], boundary="initial")
    c = np.ones((system.n_nodes, system.n_variables))
    assert len(system.equation_nodes) == 882
    assert len(system.boundary_nodes) == 128
    assert system.rows(c).shape == (882 + 128 + 7920, 5120)
    assert system.variables == ("u", "u_t", "u_x", "u_tt", "u_xx")


def test_the_equation_is_asked_for_inside_and_at_the_last_time():
    system = PdeSystem([np.arange(3.0), np.arange(4.0), np.arange(5.0)])
    mask = np.zeros(system.shape, dtype=bool)
    mask[1:, 1:-1, 1:-1] = True
    assert (np.flatnonzero(mask) == system.equation_nodes).all()
    assert (np.flatnonzero(~mask) == system.boundary_nodes).all()
    assert system.variables == ("u", "u_t", "u_x", "u_y", "u_tt", "u_xx", "u_yy")


@pytest.mark.parametrize("shape", [(9, 8), (6, 7, 5)])
def test_rows_vanish_on_what_they_are_exact_for(shape):
    # A field of second degree on each axis satisfies stencils and expansions.
    rng = np.random.default_rng(0)
    system = random_system(rng, shape)
    n_axes = len(shape)
    parts = [np.polynomial.Polynomial(rng.standard_normal(3)) for _ in range(n_axes)]
    axes = [axis.nodes * axis.mean_step for axis in system.axes]

    def product(orders):
        values = [
            part.deriv(k)(x) if k else part(x)
            for part, x, k in zip(parts, axes, orders, strict=True)
        ]
        grids = np.meshgrid(*values, indexing="ij")
        return np.prod(grids, axis=0).ravel()

    unit = np.eye(n_axes, dtype=int)
    orders = [0 * unit[0], *unit, *(2 * unit)]
    z = np.stack([product(o) for o in orders], axis=1)
    rows = system.rows(np.zeros_like(z))
    skip = len(system.equation_nodes) + len(system.boundary_nodes)
    size = abs(rows[skip:]) @ abs(z).ravel()
    assert (abs(rows[skip:] @ z.ravel()) <= 1e-11 * size.max()).all()


@pytest.mark.parametrize(("shape", "boundary"), SHAPES)
def test_solutions_equal_dense_least_squares(shape, boundary):
    rng = np.random.default_rng(1)
    system = random_system(rng, shape, boundary)
    c, source, given = random_problem(rng, system)
    solution = system.factor(c).solve(source, given)
    truth = dense_solution(system, c, source, given)
    # Dense least squares squares nothing; its condition number is below 1e5 here, and
    # the condensed system's is its square.
    np.testing.assert_allclose(
        solution.values, truth, rtol=0, atol=1e-8 * abs(truth).max()
    )
    assert solution.residual < 1e-11
    assert solution.n_iterations == 0
    assert solution.solver == "direct"


@pytest.mark.parametrize(("shape", "boundary"), SHAPES)
def test_normal_equations_are_solved_for_many_right_sides(shape, boundary):
    rng = np.random.default_rng(2)
    system = random_system(rng, shape, boundary)
    c, _, _ = random_problem(rng, system)
    factor = system.factor(c)
    matrix = system.rows(c).toarray()
    rhs = rng.standard_normal((system.n_nodes, system.n_variables, 3))
    found = factor.solve_normal(rhs)
    assert found.shape == rhs.shape
    truth = np.linalg.solve(matrix.T @ matrix, rhs.reshape(-1, 3))
    np.testing.assert_allclose(
        found.reshape(-1, 3), truth, rtol=0, atol=1e-7 * abs(truth).max()
    )
    one = factor.solve_normal(rhs[..., 0])
    np.testing.assert_allclose(one, found[..., 0], rtol=0, atol=1e-9 * abs(one).max())


@pytest.mark.parametrize(("shape", "boundary"), SHAPES[:5])
def test_sensitivities_equal_those_of_the_normal_equations(shape, boundary):
    rng = np.random.default_rng(7)
    system = random_system(rng, shape, boundary)
    c, source, given = random_problem(rng, system)
    factor, nodes = system.factor(c), system.equation_nodes
    solution = factor.solve(source, given)
    z, n = solution.values, system.n_nodes
    names = ["u", "u_x", "source", "u_x", system.variables[-1]]
    changes = [(name, rng.standard_normal(n)) for name in names]
    found = factor.sensitivities(solution, source, changes)
    gap = (source - (c * z).sum(axis=1))[nodes]
    rhs = np.zeros((n, system.n_variables, len(changes)))
    for j, (name, weight) in enumerate(changes):
        if name == "source":
            rhs[nodes, :, j] = (c * weight[:, None])[nodes]
            continue
        variable = system.variables.index(name)
        rhs[nodes, :, j] = -(c * (weight * z[:, variable])[:, None])[nodes]
        rhs[nodes, variable, j] += weight[nodes] * gap
    truth = factor.solve_normal(rhs)[:, 0]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-8 * abs(truth).max())
    with pytest.raises(ValueError, match=r"changes name \['u_xt'\]"):
        factor.sensitivities(solution, source, [("u_xt", source)])


def test_sensitivities_equal_central_differences():
    rng = np.random.default_rng(8)
    system = random_system(rng, (7, 8))
    c, source, given = random_problem(rng, system)
    factor = system.factor(c)
    changes = [("u_x", rng.standard_normal(56)), ("source", rng.standard_normal(56))]
    found = factor.sensitivities(factor.solve(source, given), source, changes)
    h = 1e-5
    for j, (name, weight) in enumerate(changes):
        moved = []
        for step in (h, -h):
            other, load = c.copy(), source.copy()
            if name == "source":
                load += step * weight
            else:
                other[:, system.variables.index(name)] += step * weight
            moved.append(system.factor(other).solve(load, given).values[:, 0])
        truth = (moved[0] - moved[1]) / (2 * h)
        # Truncation of order h^2, rounding of 1e-12 over h.
        np.testing.assert_allclose(
            found[:, j], truth, rtol=0, atol=1e-6 * abs(truth).max()
        )


def test_the_condensed_matrix_is_the_schur_complement():
    rng = np.random.default_rng(3)
    system = random_system(rng, (8, 9), FLUX)
    c, _, _ = random_problem(rng, system)
    matrix = system.rows(c).toarray()
    # In units of mean steps and of the structure's weight, as the condensed one.
    matrix = matrix / np.tile(system.units, system.n_nodes) / system.structure_weight
    normal = matrix.T @ matrix
    field = np.arange(normal.shape[0]) % system.n_variables == 0
    other = ~field
    schur = normal[np.ix_(field, field)] - normal[np.ix_(field, other)] @ (
        np.linalg.solve(normal[np.ix_(other, other)], normal[np.ix_(other, field)])
    )
    condensed = system.condensation.condense(c)
    found = condensed.matrix.toarray()
    np.testing.assert_allclose(found, schur, rtol=0, atol=1e-9 * abs(schur).max())
    assert (found == found.T).all() or abs(found - found.T).max() < 1e-12 * found.max()
    field = rng.standard_normal((system.n_nodes, 2))
    np.testing.assert_allclose(
        condensed.multiply(field), found @ field, rtol=0, atol=1e-10 * found.max()
    )


@pytest.mark.parametrize("shape", [(9, 8), (6, 5, 7)])
def test_stretching_and_moving_axes_changes_nothing(shape):
    rng = np.random.default_rng(4)
    system = random_system(rng, shape)
    c, source, given = random_problem(rng, system)
    base = system.factor(c).solve(source, given).values
    stretch = np.array([2.0, 3.0, 0.01][: len(shape)])
    moved = [
        s * axis.nodes * axis.mean_step + 5.0 * s
        for s, axis in zip(stretch, system.axes, strict=True)
    ]
    scale = np.r_[1.0, stretch, stretch**2]
    # The equation with its coefficient of u_t kept: all of it is over stretch[0].
    other = PdeSystem(moved).factor(c * scale / stretch[0])
    again = other.solve(source / stretch[0], given).values
    np.testing.assert_allclose(again * scale, base, rtol=0, atol=1e-8 * abs(base).max())


def test_exchanging_axes_of_space_exchanges_their_derivatives():
    rng = np.random.default_rng(5)
    system = random_system(rng, (5, 6, 7))
    c, source, _ = random_problem(rng, system)
    field = rng.standard_normal(system.n_nodes)

    def swap(values):
        shaped = values.reshape(*system.shape, -1).swapaxes(1, 2)
        return shaped.reshape(system.n_nodes, -1)

    axes = [axis.nodes * axis.mean_step for axis in system.axes]
    turned = PdeSystem([axes[0], axes[2], axes[1]])
    order = [0, 1, 3, 2, 4, 6, 5]
    one = system.factor(c).solve(source, field).values
    two = turned.factor(swap(c)[:, order])
    two = two.solve(swap(source)[:, 0], swap(field)[:, 0]).values
    np.testing.assert_allclose(
        two, swap(one)[:, order], rtol=0, atol=1e-9 * abs(one).max()
    )


def test_a_system_pickles_small_and_solves_the_same():
    rng = np.random.default_rng(6)
    system = random_system(rng, (8, 9))
    c, source, given = random_problem(rng, system)
    one = system.factor(c).solve(source, given).values
    copy = pickle.loads(pickle.dumps(system))
    assert (copy.factor(c).solve(source, given).values == one).all()
    assert "shape=(8, 9)" in repr(copy)
    assert "direct" in repr(copy.factor(c))


@pytest.mark.parametrize(
    ("coordinates", "boundary", "message"),
    [
        ([np.arange(5.0)], "faces", "one or two of space, got 1"),
        ([np.arange(5.0), [1.0]], "faces", "axis 1 of space .* at least two nodes"),
        ([[[1.0, 2.0]], np.arange(5.0)], "faces", "time must be one-dimensional"),
        ([np.arange(5.0), [0.0, 2.0, 1.0]], "faces", "finite and increasing"),
        ([[0.0, np.nan, 2.0], np.arange(5.0)], "faces", "finite and increasing"),
        ([np.arange(5.0)] * 2, "sides", "'faces', 'initial', 'box' or a list"),
        ([np.arange(5.0)] * 2, [(0, "u_y")], r"names \['u_y'\]"),
        ([np.arange(5.0)] * 2, [(25, "u")], "outside of 0 to 24"),
        ([np.arange(5.0)] * 2, [(1, "u"), (1, "u")], "twice"),
    ],
)
def test_grids_and_boundaries_that_are_refused(coordinates, boundary, message):
    with pytest.raises(ValueError, match=message):
        PdeSystem(coordinates, boundary=boundary)


def test_values_that_are_refused():
    system = PdeSystem([np.arange(6.0), np.arange(7.0)])
    c = np.tile([0.0, 1.0, 0.0, 0.0, -0.1], (42, 1))
    with pytest.raises(ValueError, match=r"shape \(42, 5\), got \(42, 4\)"):
        system.factor(c[:, 1:])
    with pytest.raises(ValueError, match="linear_solver must be one of"):
        system.factor(c, linear_solver="cg")
    bad = c.copy()
    bad[system.equation_nodes[0], 0] = np.nan
    with pytest.raises(ValueError, match="finite at the equation nodes"):
        system.factor(bad)
    bad = c.copy()
    bad[system.boundary_nodes] = np.nan
    factor = system.factor(bad)
    with pytest.raises(ValueError, match="source must hold 42 nodes, got 41"):
        factor.solve(np.zeros(41), np.zeros(42))
    n_boundary = len(system.boundary_nodes)
    with pytest.raises(ValueError, match=f"must hold {n_boundary} values"):
        factor.solve(np.zeros(42), np.zeros(n_boundary - 1))
    with pytest.raises(ValueError, match="must be finite"):
        factor.solve(np.zeros(42), np.full(n_boundary, np.inf))
