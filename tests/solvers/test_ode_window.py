import numpy as np
import pytest

from skident.solvers import ode_window_operator, solve_linear_ode


def uneven_steps(n, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 0.15, n - 1)


@pytest.mark.parametrize("n_orders", [2, 3, 4, 5])
def test_polynomials_of_lower_degree_are_exact(n_orders):
    steps = uneven_steps(20)
    t = np.concatenate([[0.0], np.cumsum(steps)])
    S, s = ode_window_operator(20, steps, n_orders=n_orders, n_init_steps=3)
    assert S.shape == (20, 20)
    assert s.shape == (20, 3)
    for degree in range(n_orders):
        u = 2 + t**degree
        slope = degree * t ** max(degree - 1, 0)
        np.testing.assert_allclose(S @ slope + s @ u[:3], u, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n_orders", [3, 4])
def test_is_the_solver_in_units_of_the_mean_step(n_orders):
    rng = np.random.default_rng(0)
    steps = uneven_steps(15)
    rhs, init = rng.standard_normal((15, 1)), rng.standard_normal((2, 1, 1))
    S, s = ode_window_operator(
        15, steps, n_orders=n_orders, n_init_steps=2, w_eq=2.0, w_init=0.5, w_smooth=3.0
    )
    derivative = np.zeros((1, 1, 1, n_orders))
    derivative[..., 1] = 1.0
    unit = steps.mean()
    y = solve_linear_ode(
        *(derivative, unit * rhs, init, steps / unit),
        w_eq=2.0,
        w_init=0.5,
        w_smooth=3.0,
    )
    u = S @ rhs[:, 0] + s @ init[:, 0, 0]
    np.testing.assert_allclose(u, y[:, 0, 0], rtol=0, atol=1e-11)


def test_unit_of_time_scales_the_operator():
    steps = uneven_steps(30)
    S, s = ode_window_operator(30, steps, n_orders=4)
    slow, same = ode_window_operator(30, 1e6 * steps, n_orders=4)
    np.testing.assert_allclose(slow, 1e6 * S, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(same, s, rtol=0, atol=1e-11)


# Of an error of order n_orders - 1, or one more where that is even: half the step
# divides it by 4 for two and three orders and by 16 for four.
@pytest.mark.parametrize(("n_orders", "ratio"), [(2, 4), (3, 4), (4, 16)])
def test_error_falls_with_the_step(n_orders, ratio):
    errors = []
    for n in (51, 101):
        t = np.linspace(0, 2, n)
        S, s = ode_window_operator(n, t[1], n_orders=n_orders)
        errors.append(abs(S @ np.cos(t) + s @ [0.0] - np.sin(t)).max())
    assert 0.7 * ratio < errors[0] / errors[1] < 1.4 * ratio


def test_shortest_window_and_one_step_for_all():
    S, s = ode_window_operator(2, 0.5, n_orders=3)
    np.testing.assert_allclose(S @ [1.0, 1.0] + s @ [1.0], [1.0, 1.5], atol=1e-12)
    wide, _ = ode_window_operator(6, np.full(5, 0.5), n_orders=3)
    np.testing.assert_allclose(ode_window_operator(6, [0.5], n_orders=3)[0], wide)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"n_steps": 1}, "At least 2 steps"),
        ({"n_orders": 1}, "n_orders must be at least 2"),
        ({"n_init_steps": 0}, "n_init_steps must be at least 1"),
        ({"steps": -0.1}, "steps must be positive"),
        ({"steps": np.ones(3)}, "steps must be of shape"),
        ({"n_init_steps": 7}, "init must be of shape"),
    ],
)
def test_refuses_what_does_not_fit(args, match):
    given = {"n_steps": 6, "steps": 0.1, "n_orders": 3}
    with pytest.raises(ValueError, match=match):
        ode_window_operator(**(given | args))
