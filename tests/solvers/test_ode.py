import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skident.solvers import (
    LinearOdeFactor,
    OdeSolveInfo,
    _ode_banded,
    _ode_checks,
    _ode_refine,
    solve_linear_ode,
)
from skident.utils import _memory
from tests.solvers._ode_problems import (
    CLOSED_FORMS,
    closed_form_arrays,
    dense_solution,
    random_problem,
)

DERIVATIVE = np.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)


@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize(
    ("n", "n_equations", "n_states", "n_orders", "n_init"),
    [
        (7, 2, 3, 4, 3),
        (2, 3, 3, 4, 2),
        (3, 1, 1, 3, 1),
        (2, 1, 1, 2, 1),
        (6, 2, 2, 2, 1),
        (9, 1, 2, 3, 9),
    ],
)
def test_agrees_with_the_rows_one_by_one(
    n, n_equations, n_states, n_orders, n_init, central
):
    problem = random_problem(n, n_equations, n_states, n_orders, n_init)
    found = solve_linear_ode(*problem, central=central)
    wanted = dense_solution(*problem, central=central)
    assert found.shape == (n, n_states, n_orders)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("central", [False, True])
def test_weights_orders_and_initial_values(central):
    coefficients, rhs, _, steps = random_problem(6, 2, 2, 3)
    rng = np.random.default_rng(1)
    weights = (1.3, 0.7, 2.0)
    names = dict(zip(("w_eq", "w_init", "w_smooth"), weights, strict=True))
    for shape in ((3, 2, 2), (1, 2, 3), (0, 2, 1), (2, 2, 0)):
        problem = (coefficients, rhs, rng.standard_normal(shape), steps)
        found = solve_linear_ode(*problem, **names, central=central)
        wanted = dense_solution(*problem, weights=weights, central=central)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_one_order_is_a_random_walk_about_the_data():
    rng = np.random.default_rng(0)
    problem = np.ones((1, 1, 1, 1)), rng.standard_normal((8, 1)), np.empty((0, 1, 1))
    steps = np.ones(1)
    found = solve_linear_ode(*problem, steps, w_smooth=3.0)
    wanted = dense_solution(*problem, steps, weights=(1.0, 1.0, 3.0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize(
    # An error of third (fifth) order a step is of second (fourth) over all steps, so
    # that half the step divides it by 4 (16), but for terms of higher order.
    ("n_orders", "bound", "lowest", "highest"),
    [(3, 3e-4, 3.5, 4.5), (4, 1e-7, 12.0, 18.0)],
)
def test_closed_forms(name, n_orders, bound, lowest, highest):
    coefficients, rhs, init, state = closed_form_arrays(name, n_orders)
    errors = []
    for h in (0.01, 0.005):
        times = h * np.arange(round(10 / h) + 1)
        wide = np.broadcast_to(rhs, (len(times), rhs.shape[1]))
        y = solve_linear_ode(coefficients, wide, init, h)
        errors.append(abs(y[:, 0, 0] - state(times)).max())
    assert errors[0] <= bound
    assert lowest < errors[0] / errors[1] < highest


@pytest.mark.parametrize("central", [False, True])
def test_polynomials_of_lower_degree_are_exact(central):
    # Every row holds: Taylor's expansions end, and the top derivative is constant.
    rng = np.random.default_rng(0)
    steps = np.full(11, 0.3) if central else rng.uniform(0.1, 0.5, 11)
    t = np.concatenate([[0.0], np.cumsum(steps)])
    y = np.stack([1 + t - 2 * t**2, 1 - 4 * t, np.full(12, -4.0)], axis=-1)[:, None]
    coefficients = rng.standard_normal((12, 1, 1, 3))
    rhs = np.einsum("tqdr,tdr->tq", coefficients, y)
    found = solve_linear_ode(coefficients, rhs, y[:1, :, :1], steps, central=central)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-11)


def test_axes_of_one_step_and_batches_broadcast():
    coefficients, _, _, steps = random_problem(7, 2, 2, 3, batch=(4, 1))
    _, rhs, init, _ = random_problem(7, 2, 2, 3, seed=1, batch=(5,))
    init = init[0]
    y, info = solve_linear_ode(coefficients, rhs, init, steps, return_info=True)
    assert y.shape == (4, 5, 7, 2, 3)
    assert all(figure.shape == (4, 5) for figure in info)
    for i, j in np.ndindex(4, 5):
        one = solve_linear_ode(coefficients[i, 0], rhs[j], init, steps[i, 0])
        np.testing.assert_allclose(y[i, j], one, rtol=0, atol=1e-11)
    # One step stands for all.
    short = solve_linear_ode(coefficients[0, 0, :1], rhs[0, :1], init, steps[0, 0])
    wide = solve_linear_ode(
        np.broadcast_to(coefficients[0, 0, :1], (7, 2, 2, 3)),
        np.broadcast_to(rhs[0, :1], (7, 2)),
        init,
        steps[0, 0],
    )
    np.testing.assert_allclose(short, wide, rtol=0, atol=1e-13)
    same = solve_linear_ode(coefficients[0, 0], rhs[0], init, 0.3)
    wide = solve_linear_ode(coefficients[0, 0], rhs[0], init, np.full(6, 0.3))
    np.testing.assert_allclose(same, wide, rtol=0, atol=1e-11)
    two = solve_linear_ode(coefficients[0, 0, :1], rhs[0, :1], init, [0.5])
    assert two.shape == (2, 2, 3)


@pytest.mark.parametrize("central", [False, True])
def test_systems_are_factored_in_chunks(central, monkeypatch):
    problem = random_problem(7, 2, 2, 3, batch=(5,))
    whole, info = solve_linear_ode(*problem, central=central, return_info=True)
    monkeypatch.setattr(_ode_banded, "_CHUNK", 2 * 7 * 6)
    parts, other = solve_linear_ode(*problem, central=central, return_info=True)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.condition, info.condition, rtol=1e-9)


def test_units_of_time_do_not_matter():
    coefficients, rhs, init, steps = random_problem(40, 1, 1, 4)
    factors = 10.0 ** (3 * np.arange(4))
    y = solve_linear_ode(coefficients, rhs, init, steps)
    slow = solve_linear_ode(coefficients * factors, rhs, init, 1000 * steps)
    np.testing.assert_allclose(slow * factors, y, rtol=1e-9, atol=1e-9)


def test_refinement_undoes_the_squaring_of_the_condition(monkeypatch):
    # A cubic of time meets every row, so that what is missed is rounding: 1e-16 times
    # the condition number of the normal equations, or nearly its root after refinement.
    n, h = 300, 1e-3
    t = h * np.arange(n)
    derivatives = (1 + t - t**3, 1 - 3 * t**2, -6 * t, np.full(n, -6.0))
    y = np.stack(derivatives, axis=-1)[:, None]
    coefficients = np.array([2.1, 0.0, 1.0, 0.0]).reshape(1, 1, 1, 4)
    rhs = np.einsum("tqdr,tdr->tq", coefficients, y)
    found, info = solve_linear_ode(coefficients, rhs, y[:1, :, :2], h, return_info=True)
    assert 1e9 < info.condition < 1e12
    assert abs(found - y)[..., 0].max() < 1e-9
    monkeypatch.setattr(_ode_refine, "_STEPS", 0)
    found = solve_linear_ode(coefficients, rhs, y[:1, :, :2], h)
    assert abs(found - y)[..., 0].max() > 1e-8


def test_info_tells_condition_and_residuals():
    coefficients, rhs, init, steps = random_problem(7, 2, 2, 3)
    y, info = solve_linear_ode(coefficients, rhs, init, steps, return_info=True)
    assert isinstance(info, OdeSolveInfo)
    assert all(isinstance(figure, float) for figure in info)
    equations = np.einsum("tqdr,tdr->tq", coefficients, y) - rhs
    assert info.equation_residual == pytest.approx(np.linalg.norm(equations))
    start = np.linalg.norm(y[:1, :, :1] - init)
    assert info.init_residual == pytest.approx(start)
    h = steps[:, None, None]
    (p0, p1, p2), (q0, q1, q2) = np.split(y[:-1], 3, -1), np.split(y[1:], 3, -1)
    rows = [
        *(p0 + h * p1 + h**2 / 2 * p2 - q0, h * (p1 + h * p2 - q1), h**2 * (p2 - q2)),
        *(q0 - h * q1 + h**2 / 2 * q2 - p0, -h * (q1 - h * q2 - p1), h**2 * (q2 - p2)),
    ]
    smoothness = np.sqrt(sum(np.square(row).sum() for row in rows))
    assert info.smoothness_residual == pytest.approx(smoothness)
    assert info.relative_residual < 1e-13
    # The normal matrix is N e = A^T A e: its columns are answers to data A e.
    basis = np.eye(7 * 2 * 3).reshape(-1, 7, 2, 3)
    factor = LinearOdeFactor(coefficients, steps)
    normal = factor._rows.adjoint(factor._rows.apply(basis[:, None])).reshape(42, 42)
    scale = 1 / np.sqrt(np.diag(normal))
    true = np.linalg.cond(normal * scale * scale[:, None], 1)
    assert true / 3 < info.condition < true * (1 + 1e-9)


def test_a_factor_serves_many_right_sides():
    coefficients, _, _, steps = random_problem(9, 2, 2, 3)
    factor = LinearOdeFactor(coefficients, steps, n_init_steps=2)
    _, rhs, init, _ = random_problem(9, 2, 2, 3, n_init=2, seed=1, batch=(6, 3))
    y, info = factor.solve(rhs, init, return_info=True)
    assert y.shape == (6, 3, 9, 2, 3)
    assert info.relative_residual.shape == (6, 3)
    assert (info.condition == factor.condition).all()
    one = solve_linear_ode(coefficients, rhs[4, 1], init[4, 1], steps)
    np.testing.assert_allclose(y[4, 1], one, rtol=0, atol=1e-11)
    twice = factor.solve(2 * rhs, 2 * init)
    np.testing.assert_allclose(twice, 2 * y, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(factor.solve(0 * rhs, 0 * init), 0.0)


def test_float32_is_solved_in_float64():
    problem = random_problem(9, 1, 2, 3)
    single = [np.float32(a) for a in problem]
    found = solve_linear_ode(*single)
    assert found.dtype == np.float64
    wanted = solve_linear_ode(*(np.float64(a) for a in single))
    np.testing.assert_array_equal(found, wanted)


def test_a_singular_system_warns_and_is_answered():
    # Nothing ties the state down: no equation, no initial value.
    args = (np.zeros((1, 1, 1, 3)), np.ones((30, 1)), np.empty((0, 1, 1)), 0.1)
    with pytest.warns(ConvergenceWarning, match="more than 1e\\+13"):
        y, info = solve_linear_ode(*args, return_info=True)
    assert info.condition > 1e13
    assert np.isfinite(y).all()


def test_an_inaccurate_solve_warns_with_its_residual(monkeypatch):
    monkeypatch.setattr(_ode_checks, "_RESIDUAL", -1.0)
    with pytest.warns(ConvergenceWarning, match="relative residual is"):
        solve_linear_ode(*random_problem(9, 1, 1, 3))


def test_memory_is_checked_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 2**30)
    with pytest.raises(MemoryError, match="10000000 steps"):
        LinearOdeFactor(DERIVATIVE, 0.1, n_steps=10_000_000)
    factor = LinearOdeFactor(DERIVATIVE, 0.1, n_steps=1000)
    rhs = np.broadcast_to(np.ones(1), (100_000, 1000, 1))
    with pytest.raises(MemoryError, match="100000 linear ODE"):
        factor.solve(rhs, np.zeros((1, 1, 1)))


NAN = np.full((5, 1), np.nan)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"coefficients": np.ones(3)}, "coefficients must have at least 4 axes"),
        ({"coefficients": np.ones((4, 1, 1, 3))}, "coefficients must be of shape"),
        ({"coefficients": np.ones((1, 1, 1, 0))}, "at least one state and one order"),
        ({"rhs": np.ones((4, 1)), "steps": np.ones(4)}, "rhs must be of shape"),
        ({"rhs": np.ones((5, 2))}, "rhs must be of shape"),
        ({"rhs": NAN}, "rhs contains NaN or infinity"),
        ({"init": np.ones((1, 2, 1))}, "init must be of shape"),
        ({"init": np.ones((6, 1, 1))}, "init must be of shape"),
        ({"init": np.ones((1, 1, 4))}, "init must be of shape"),
        ({"steps": np.ones(3)}, "steps must be of shape"),
        ({"steps": 0.0}, "steps must be positive, got 0"),
        ({"steps": [1.0, 1.0, -1.0, 1.0]}, "steps must be positive, got -1"),
        ({"w_eq": -1.0}, "w_eq must be positive"),
        ({"w_smooth": 0.0}, "w_smooth must be positive"),
        ({"backend": "cupy"}, "backend must be"),
        ({"coefficients": np.ones((1, 1, 1, 1)), "central": True}, "two orders"),
    ],
)
def test_refuses_what_does_not_fit(changes, match):
    given = {
        "coefficients": DERIVATIVE,
        "rhs": np.ones((5, 1)),
        "init": np.ones((1, 1, 1)),
        "steps": 0.1,
    }
    with pytest.raises(ValueError, match=match):
        solve_linear_ode(**(given | changes))


def test_a_factor_refuses_what_does_not_fit():
    factor = LinearOdeFactor(DERIVATIVE, 0.1, n_steps=5)
    with pytest.raises(ValueError, match="rhs must be of shape"):
        factor.solve(np.ones((4, 1)), np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="init must be of shape"):
        factor.solve(np.ones((5, 1)), np.ones((2, 1, 1)))
    with pytest.raises(ValueError, match="At least 2 steps"):
        LinearOdeFactor(DERIVATIVE, 0.1, n_steps=1)
