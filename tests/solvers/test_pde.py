"""Linear equations of fields against closed forms, and what a solve reports."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.solvers import PdeSystem, _pde_direct, solve_linear_pde
from skident.utils import _memory
from tests.solvers._pde_problems import (
    heat,
    heat_2d,
    laplace,
    random_problem,
    random_system,
    transport,
)


def error(axes, c, exact, boundary="faces"):
    solution = solve_linear_pde(c, np.zeros(len(c)), exact, axes, boundary=boundary)
    return abs(solution.values[:, 0] - exact).max()


# Bounds are twice the errors published for this discretisation.
@pytest.mark.parametrize(
    ("problem", "boundary", "bounds"),
    [
        (heat, "faces", (2 * 9e-4, 2 * 1.7e-4, 2 * 3.7e-5)),
        (laplace, "box", (2 * 1e-3, 2 * 1.3e-4, 2 * 2e-5)),
    ],
)
def test_errors_fall_with_the_square_of_the_step(problem, boundary, bounds):
    errors = [error(*problem(n), boundary) for n in (16, 32, 64)]
    assert (np.array(errors) <= bounds).all()
    # From 15 to 63 steps.
    assert np.log(errors[0] / errors[2]) / np.log(63 / 15) > 2.0


def test_transport_without_diffusion():
    assert error(*transport(), "box") < 2 * 2.6e-3


def test_two_dimensions_of_space():
    coarse, fine = heat_2d((5, 8, 9)), heat_2d((9, 15, 17))
    errors = [error(*coarse), error(*fine)]
    # Twice the error of one dimension at 16 nodes, up to three terms more.
    assert errors[1] < 3e-3
    # Every step is halved: two orders.
    assert errors[0] / errors[1] > 4.0


def test_uneven_steps_keep_the_accuracy():
    t = np.linspace(0, 1, 32) ** 1.2
    x = np.pi * (np.linspace(0, 1, 33) + 0.03 * np.sin(np.linspace(0, 20, 33)))
    x = (x - x[0]) * np.pi / (x[-1] - x[0])
    exact = (np.exp(-t)[:, None] * np.sin(x)).ravel()
    c = np.tile([0.0, 1.0, 0.0, 0.0, -1.0], (len(exact), 1))
    # Twice the error on even nodes of that number, for steps up to 1.6 times as long.
    assert error([t, x], c, exact) < 2 * 1.6**2 * 1.4e-4


def test_derivatives_come_with_the_field():
    axes, c, exact = heat(32)
    values = solve_linear_pde(c, np.zeros(len(c)), exact, axes).values
    t, x = np.meshgrid(*axes, indexing="ij")
    u_x = (np.exp(-t) * np.cos(x)).ravel()
    # u, u_t, u_x, u_tt, u_xx: second derivatives at the corners are the least exact.
    truth = np.stack([exact, -exact, u_x, exact, -exact], axis=1)
    worst = abs(values - truth).max(axis=0)
    assert (worst < [1e-3, 2e-2, 1e-2, 0.3, 0.1]).all()
    rest = (c * values).sum(axis=1)[PdeSystem(axes).equation_nodes]
    assert abs(rest).max() < 1e-3


def test_a_field_without_change_is_found_whatever_the_grid():
    # The start of a fit: no terms but u_t, given values on the faces alone.
    rng = np.random.default_rng(0)
    system = random_system(rng, (6, 7))
    c = np.tile([0.0, 1.0, 0.0, 0.0, 0.0], (42, 1))
    solution = system.factor(c).solve(np.zeros(42), np.full(42, 3.0))
    np.testing.assert_allclose(solution.values[:, 0], 3.0, rtol=1e-9)
    np.testing.assert_allclose(solution.values[:, 1:], 0.0, atol=1e-8)


def test_many_right_sides_are_solved_as_one_each():
    rng = np.random.default_rng(1)
    system = random_system(rng, (7, 8))
    c, _, _ = random_problem(rng, system)
    source = rng.standard_normal((56, 3))
    given = rng.standard_normal((len(system.boundary_nodes), 3))
    together = solve_linear_pde(c, source, given, system)
    assert together.values.shape == (56, 5, 3)
    for j in range(3):
        one = solve_linear_pde(c, source[:, j], given[:, j], system).values
        np.testing.assert_allclose(together.values[..., j], one, rtol=0, atol=1e-9)
    mixed = solve_linear_pde(c, source, given[:, 0], system).values
    np.testing.assert_allclose(mixed[..., 0], together.values[..., 0], atol=1e-9)


def test_single_precision_is_solved_in_double():
    axes, c, exact = heat(16)
    exact = exact.astype(np.float32)
    values = solve_linear_pde(
        c.astype(np.float32), np.zeros(256, np.float32), exact, axes
    ).values
    assert values.dtype == np.float64
    again = solve_linear_pde(c, np.zeros(256), exact.astype(np.float64), axes).values
    np.testing.assert_array_equal(values, again)


def test_band_and_sparse_factors_agree():
    rng = np.random.default_rng(2)
    for shape in [(9, 14), (4, 6, 5)]:
        system = random_system(rng, shape)
        c, _, _ = random_problem(rng, system)
        condensed = system.condensation.condense(c)
        rhs = rng.standard_normal((system.n_nodes, 2))
        layout = _pde_direct.band_layout(system.condensation)
        band = _pde_direct.BandFactor(condensed, layout).solve(rhs.copy())
        other = _pde_direct.SparseFactor(condensed).solve(rhs.copy())
        np.testing.assert_allclose(band, other, rtol=0, atol=1e-8 * abs(other).max())


def test_wide_bands_are_left_to_the_sparse_factor(monkeypatch):
    axes, c, exact = heat(16)
    one = solve_linear_pde(c, np.zeros(256), exact, axes).values
    monkeypatch.setattr(_pde_direct, "_MAX_BAND_WORK", 0)
    factor = PdeSystem(axes).factor(c)
    assert isinstance(factor._inner, _pde_direct.SparseFactor)
    other = factor.solve(np.zeros(256), exact).values
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_the_condition_is_that_of_the_condensed_matrix():
    rng = np.random.default_rng(3)
    system = random_system(rng, (7, 9))
    factor = system.factor(random_problem(rng, system)[0])
    truth = np.linalg.cond(factor.condensed.matrix.toarray(), 1)
    # The estimate is a lower bound, and here nearly always exact.
    assert 0.3 * truth < factor.condition < 1.001 * truth
    assert factor.residual == 0.0


def test_a_solution_knows_its_condition_but_does_not_carry_it_away():
    axes, c, exact = heat(16)
    solution = solve_linear_pde(c, np.zeros(256), exact, axes)
    assert solution.condition == solution.factor.condition
    assert 1e2 < solution.condition < 1e8
    copy = pickle.loads(pickle.dumps(solution))
    assert (copy.values == solution.values).all()
    assert copy.factor is None
    assert np.isnan(copy.condition)
    assert "factor" not in repr(solution)


def test_what_determines_no_field_is_refused():
    system = PdeSystem([np.arange(6.0), np.arange(7.0)], boundary="initial")
    with pytest.raises(ValueError, match="do not determine the field"):
        system.factor(np.zeros((42, 5)))


def test_a_solve_that_lost_the_equation_says_so(monkeypatch):
    axes, c, exact = heat(16)
    factor = PdeSystem(axes).factor(c)
    inner = factor._inner.solve
    monkeypatch.setattr(factor._inner, "solve", lambda rhs: 0.9 * inner(rhs))
    # Each solve leaves a tenth: 0.1 and, refined, 0.01.
    with pytest.warns(ConvergenceWarning, match=r"residual of 1\.0e-02, above 1e-06"):
        solution = factor.solve(np.zeros(256), exact)
    assert solution.residual == pytest.approx(0.01, rel=1e-6)


def test_a_solve_refines_where_rounding_shows(monkeypatch):
    axes, c, exact = heat(16)
    factor = PdeSystem(axes).factor(c)
    inner = factor._inner.solve
    monkeypatch.setattr(factor._inner, "solve", lambda rhs: (1 - 1e-6) * inner(rhs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = factor.solve(np.zeros(256), exact)
    assert solution.residual < 1e-10


def test_factors_that_would_not_fit_are_refused_before(monkeypatch):
    axes, c, _ = heat(64)
    system = PdeSystem(axes)
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**20)
    monkeypatch.setattr(_memory, "_SMALL", 0)
    with pytest.raises(MemoryError, match=r"grid of 4096 nodes needs about 5\.08 MiB"):
        PdeSystem(axes)
    with pytest.raises(MemoryError, match="condensed matrix of 4096 nodes"):
        system.condensation.condense(c).matrix.sum()
    with pytest.raises(
        MemoryError, match=r"band of the condensed system.* needs about"
    ):
        system.factor(c)
    monkeypatch.setattr(_pde_direct, "_MAX_BAND_WORK", 0)
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**24)
    with pytest.raises(MemoryError, match="linear_solver='multigrid'"):
        system.factor(c)
