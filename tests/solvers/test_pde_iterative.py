"""Conjugate gradients, the published cycle, and what takes over where they fail."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skident.solvers import PdeSystem, _pde_iterative, solve_linear_pde
from skident.solvers._pde_cg import conjugate_gradients
from skident.solvers._pde_iterative import is_large
from skident.solvers._pde_vcycle import PublishedCycle, flexible_gmres
from tests.solvers._pde_grids import burgers_box, condensed, heat_box, wave


def spd(n, seed=0):
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return q @ np.diag(np.linspace(1.0, 30.0, n)) @ q.T


def test_conjugate_gradients_solve_each_right_side_to_its_tolerance():
    matrix = spd(60)
    rng = np.random.default_rng(1)
    # Sizes that differ by many decades, one that is zero, one that takes one step.
    rhs = rng.standard_normal((60, 4)) * [1e-9, 1.0, 0.0, 1e6]
    rhs[:, 3] = np.linalg.eigh(matrix)[1][:, 7] * 1e6
    jobs = []

    def multiply(v):
        jobs.append(v.shape[1])
        return matrix @ v

    result = conjugate_gradients(multiply, rhs, lambda r: r, tol=1e-10, max_iter=200)
    assert result.converged
    assert result.residual.max() <= 2e-10
    assert result.residual[2] == 0.0
    np.testing.assert_array_equal(result.values[:, 2], 0.0)
    np.testing.assert_allclose(
        result.values[:, 1], np.linalg.solve(matrix, rhs[:, 1]), rtol=0, atol=1e-9
    )
    # The eigenvector is done after one step, and the rest goes on without it.
    assert jobs[:2] == [3, 2]


def test_conjugate_gradients_say_when_they_do_not_converge():
    matrix = spd(60)
    rhs = np.random.default_rng(1).standard_normal((60, 2))
    short = conjugate_gradients(lambda v: matrix @ v, rhs, lambda r: r, max_iter=3)
    assert short.n_iterations == 3
    assert not short.converged
    left = np.linalg.norm(rhs - matrix @ short.values, axis=0)
    np.testing.assert_allclose(short.residual, left / np.linalg.norm(rhs, axis=0))
    for wrong in (-matrix, np.full((60, 60), np.nan)):
        result = conjugate_gradients(lambda v, m=wrong: m @ v, rhs, lambda r: r)
        assert not result.converged
    indefinite = conjugate_gradients(lambda v: matrix @ v, rhs, lambda r: -r)
    assert not indefinite.converged
    assert indefinite.n_iterations == 0
    nothing = conjugate_gradients(lambda v: matrix @ v, 0 * rhs, lambda r: r)
    assert nothing.converged
    assert nothing.n_iterations == 0


@pytest.mark.parametrize(
    "problem",
    [heat_box((40, 40)), burgers_box(40, 0.001), heat_box((5, 14, 13))],
    ids=["heat", "transport", "plane"],
)
def test_all_unknowns_agree_with_the_direct_solver(problem):
    axes, c = problem
    rng = np.random.default_rng(0)
    system = PdeSystem(axes)
    source = rng.standard_normal((system.n_nodes, 2))
    given = np.stack([wave(axes)[system.boundary_nodes]] * 2, axis=1)
    exact = system.factor(c, "direct").solve(source, given)
    factor = system.factor(c, "multigrid")
    found = factor.solve(source, given)
    assert (found.solver, exact.solver) == ("multigrid", "direct")
    assert exact.n_iterations == 0 < found.n_iterations
    # The residual of the iterates, where the recurrence reached the tolerance.
    assert found.residual <= 2e-8
    error = np.linalg.norm(found.values - exact.values, axis=(0, 1))
    assert (error < 2e-7 * np.linalg.norm(exact.values, axis=(0, 1))).all()
    rhs = rng.standard_normal((system.n_nodes, system.n_variables))
    expected = system.factor(c, "direct").solve_normal(rhs)
    error = np.linalg.norm(factor.solve_normal(rhs) - expected)
    assert error < 2e-7 * np.linalg.norm(expected)


def gradients(axes, c, linear_solver, tol):
    # Rows of the equation weigh as published; they make pointwise relaxation slow.
    system = PdeSystem(axes, equation_weight=1.0)
    rng = np.random.default_rng(0)
    arrays = [c, rng.standard_normal(len(c)), wave(axes)[system.boundary_nodes]]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    z = solve_linear_pde(*tensors, system, linear_solver=linear_solver, tol=tol)
    weights = torch.tensor(rng.standard_normal(z.shape))
    (z * weights).sum().backward()
    return [z.detach(), *(tensor.grad for tensor in tensors)]


@pytest.mark.parametrize(
    ("solver", "shape"),
    [
        ("multigrid", (32, 32)),
        ("multigrid_paper", (16, 16)),
        pytest.param("multigrid_paper", (32, 32), marks=pytest.mark.slow),
        pytest.param("multigrid", (16, 16, 16), marks=pytest.mark.slow),
        pytest.param("multigrid_paper", (16, 16, 16), marks=pytest.mark.slow),
    ],
)
def test_solutions_and_gradients_agree_with_the_direct_solver(solver, shape):
    axes, c = heat_box(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        found = gradients(axes, c, solver, 1e-7)
    for one, exact in zip(found, gradients(axes, c, "direct", 1e-7), strict=True):
        assert torch.linalg.norm(one - exact) < 1e-4 * torch.linalg.norm(exact)


@pytest.mark.slow
def test_the_published_cycle_needs_more_iterations_on_larger_grids():
    counts = []
    for n in (16, 32):
        axes, c = heat_box((n, n))
        matrix, rhs = condensed(axes, c, equation_weight=1.0)
        cycle = PublishedCycle(PdeSystem(axes, equation_weight=1.0), c)
        assert (
            cycle.level_shapes
            == [(n >> k, n >> k) for k in range(n.bit_length())][: 2 if n == 16 else 3]
        )
        result = flexible_gmres(cycle, matrix, rhs, tol=1e-4, max_iter=300)
        assert result.converged
        counts.append(result.n_iterations)
        left = np.linalg.norm(rhs - matrix @ result.values) / np.linalg.norm(rhs)
        np.testing.assert_allclose(result.residual[0], left, rtol=1e-6)
    # Blocks of lines and Galerkin products take 6 on either grid.
    assert counts[1] > 1.2 * counts[0] > 12


def test_a_grid_too_small_to_halve_is_solved_at_once():
    axes, c = heat_box((9, 15))
    system = PdeSystem(axes, boundary="initial")
    found = system.factor(c, "multigrid_paper").solve(wave(axes), wave(axes))
    exact = system.factor(c, "direct").solve(wave(axes), wave(axes))
    assert (found.solver, found.n_iterations) == ("multigrid_paper", 1)
    error = np.linalg.norm(found.values - exact.values)
    assert error < 1e-7 * np.linalg.norm(exact.values)


@pytest.mark.parametrize("solver", ["multigrid", "multigrid_paper"])
def test_coefficients_on_the_faces_are_not_read(solver):
    # Nine nodes are not halved: coarse nodes along that axis are the fine ones.
    axes, c = heat_box((16, 9))
    system, source = PdeSystem(axes, equation_weight=1.0), np.zeros(16 * 9)
    wanted = system.factor(c, solver).solve(source, wave(axes))
    c[system.boundary_nodes] = np.nan
    found = system.factor(c, solver).solve(source, wave(axes))
    assert found.solver == wanted.solver == solver
    np.testing.assert_array_equal(found.values, wanted.values)


def test_the_direct_solver_takes_over_where_iterations_do_not_converge(monkeypatch):
    # Transport that enters through faces without given values: iterations grow with
    # the grid, from more than 20 here to more than 60 from 64 nodes on.
    monkeypatch.setattr(_pde_iterative, "_MAX_ITER", 10)
    axes, c = burgers_box(32, 0.0)
    system = PdeSystem(axes, boundary="initial")
    given = wave(axes)[system.boundary_nodes]
    source = np.zeros(system.n_nodes)
    factor = system.factor(c, "multigrid")
    assert factor.solver == "multigrid"
    with pytest.warns(ConvergenceWarning, match="'multigrid' did .* after 10 it"):
        found = factor.solve(source, given)
    assert (found.solver, found.n_iterations) == ("direct", 10)
    exact = system.factor(c, "direct").solve(source, given)
    np.testing.assert_allclose(found.values, exact.values, rtol=1e-10, atol=1e-10)
    # From now on without a word.
    again = factor.solve(source, given)
    assert again.n_iterations == 0
    np.testing.assert_array_equal(again.values, found.values)


def test_anti_diffusion_is_solved_all_the_same():
    axes, c = heat_box((32, 32), nu=-0.1)
    system = PdeSystem(axes)
    found = system.factor(c, "multigrid").solve(wave(axes), wave(axes))
    exact = system.factor(c, "direct").solve(wave(axes), wave(axes))
    assert found.solver == "multigrid"
    error = np.linalg.norm(found.values - exact.values)
    assert error < 2e-7 * np.linalg.norm(exact.values)


def test_the_last_iterate_is_kept_where_a_direct_factor_does_not_fit(monkeypatch):
    def refuse(condensed):
        raise MemoryError("A direct factor needs 3 TiB.")

    axes, c = burgers_box(32, 0.01)
    system = PdeSystem(axes)
    factor = system.factor(c, "multigrid")
    monkeypatch.setattr(_pde_iterative, "factor_direct", refuse)
    monkeypatch.setattr(_pde_iterative, "_MAX_ITER", 3)
    with pytest.warns(ConvergenceWarning, match="kept, for want of memory: A direct"):
        found = factor.solve(np.zeros(system.n_nodes), wave(axes))
    assert found.solver == "multigrid"
    assert found.n_iterations == 3
    assert 1e-8 < found.residual < 1.0


def test_a_block_that_is_not_positive_leaves_it_to_the_direct_solver(monkeypatch):
    def refuse(*args, **params):
        raise np.linalg.LinAlgError

    axes, c = heat_box((32, 32))
    monkeypatch.setattr(_pde_iterative, "MultigridPreconditioner", refuse)
    with pytest.warns(ConvergenceWarning, match="a block of it is not positive def"):
        factor = PdeSystem(axes).factor(c, "multigrid")
    assert factor.solver == "direct"


def test_auto_takes_multigrid_on_large_grids():
    large = [(128, 128), (256, 256), (8, 32, 32), (16, 64, 64)]
    # A band is narrow where the grid is long, whatever its length.
    small = [(120, 120), (32, 32), (32, 4096), (8, 100000), (8, 24, 24)]
    assert all(is_large(shape) for shape in large)
    assert not any(is_large(shape) for shape in small)
    axes, c = heat_box((128, 128))
    assert PdeSystem(axes).factor(c).solver == "multigrid"
    axes, c = heat_box((16, 16))
    assert PdeSystem(axes).factor(c).solver == "direct"
