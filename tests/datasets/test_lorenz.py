"""Trajectories of Lorenz: their equation, their measurement, their starts."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from skident.datasets import make_lorenz
from tests.datasets._equations import right_side


def test_derivatives_are_those_of_the_coefficients():
    data = make_lorenz(300, sigma=9.0, rho=30.0, beta=2.5)
    values = dict(zip("xyz", data.X_true.T, strict=True))
    for i, name in enumerate(data.feature_names):
        np.testing.assert_allclose(
            data.derivatives[:, i],
            right_side(data.coef[name], values),
            rtol=0,
            atol=1e-12 * np.abs(data.derivatives).max(),
        )


def test_states_agree_with_another_integrator():
    data = make_lorenz(201)

    def rate(t, s):
        return [
            10 * (s[1] - s[0]),
            s[0] * (28 - s[2]) - s[1],
            s[0] * s[1] - 8 / 3 * s[2],
        ]

    found = solve_ivp(
        rate,
        (0, 2),
        (1, 1, 1),
        method="LSODA",
        t_eval=data.times,
        rtol=1e-11,
        atol=1e-11,
    )
    # Two units of time let errors grow about tenfold.
    np.testing.assert_allclose(data.X, found.y.T, rtol=0, atol=1e-6)


def test_each_start_makes_a_trajectory():
    starts = np.array([[1.0, 1.0, 1.0], [-3.0, 2.0, 20.0]])
    data = make_lorenz(50, 0.02, x0=starts)
    assert data.X.shape == (100, 3)
    np.testing.assert_array_equal(data.trajectories, np.repeat([0, 1], 50))
    np.testing.assert_allclose(data.times, np.tile(0.02 * np.arange(50), 2))
    np.testing.assert_array_equal(data.X[[0, 50]], starts)
    np.testing.assert_array_equal(data.X[:50], make_lorenz(50, 0.02).X)


def test_noise_has_its_size():
    data = make_lorenz(4000, noise=0.05, random_state=0)
    size = 0.05 * data.X_true.std()
    assert data.noise_std == pytest.approx(size, rel=1e-12)
    error = data.X - data.X_true
    # A standard deviation of N numbers is known to one part in sqrt(2 N).
    assert abs(error.std() / size - 1) < 4.5 / np.sqrt(2 * error.size)
    again = make_lorenz(4000, noise=0.05, random_state=0)
    np.testing.assert_array_equal(again.X, data.X)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"x0": (1.0, 2.0)}, r"x0 must be of shape \(3,\)"),
        ({"dt": 0.0}, "'dt'"),
        ({"noise": -1.0}, "'noise'"),
        ({"n_samples": 1}, "'n_samples'"),
    ],
)
def test_errors_name_the_argument(options, match):
    with pytest.raises(ValueError, match=match):
        make_lorenz(**options)
