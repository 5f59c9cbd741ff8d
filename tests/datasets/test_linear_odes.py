"""Trajectories with closed forms."""

import numpy as np
import pytest

from skident.datasets import make_linear_odes, make_logistic_family, make_noisy_sine
from tests.datasets._equations import right_side


@pytest.fixture(scope="module")
def systems():
    return make_linear_odes(5.0, 0.05, order=3).systems


@pytest.mark.parametrize(
    "name",
    ["rc_charge", "growth", "language_death", "harmonic", "damped", "third_order"],
)
def test_system_solves_its_equations(systems, name):
    system = systems[name]
    solution = system.solution
    # The arguments of the solver, and the explicit form, both hold exactly.
    left = np.einsum("qdr,tdr->tq", system.coefficients[0], solution)
    scale = np.abs(solution).max()
    np.testing.assert_allclose(left, system.rhs.repeat(101, 0), atol=1e-12 * scale)
    np.testing.assert_array_equal(solution[0, :, 0], system.init[0, :, 0])
    values = dict(zip(system.feature_names, system.X.T, strict=True))
    for i, state in enumerate(system.feature_names):
        np.testing.assert_allclose(
            system.derivatives[:, i],
            right_side(system.coef[state], values),
            rtol=0,
            atol=1e-12 * scale,
        )
    # Derivatives are those of the states: Taylor's polynomial of order 3 leads from
    # one time to the next, with a remainder of h^4 / 24 times the fourth derivative.
    h = system.dt
    powers = h ** np.arange(4) / [1, 1, 2, 6]
    fourth = np.abs(np.diff(solution[..., 3], axis=0)).max() / h
    misfit = np.abs(solution[:-1] @ powers - system.X[1:]).max()
    assert misfit < 1.1 * h**4 / 24 * fourth


def test_solutions_are_the_textbooks(systems):
    t = systems["growth"].times
    np.testing.assert_allclose(
        systems["growth"].X[:, 0], 4.78 * np.exp(0.23 * t), rtol=1e-12
    )
    rc = 0.84 + (10 - 0.84) * np.exp(-t / (1.2 * 2.31))
    np.testing.assert_allclose(systems["rc_charge"].X[:, 0], rc, rtol=1e-12)
    w = np.sqrt(2.1)
    harmonic = 0.4 * np.cos(w * t) - 0.03 / w * np.sin(w * t)
    np.testing.assert_allclose(systems["harmonic"].X[:, 0], harmonic, atol=1e-13)


def test_order_and_length_are_as_asked():
    data = make_linear_odes(1.0, 0.1, order=1)
    assert data.systems["damped"].solution.shape == (11, 2, 2)
    assert data.systems["damped"].coefficients.shape == (1, 2, 2, 2)
    assert "11 times 0.1 apart" in data.DESCR
    with pytest.raises(ValueError, match="'order'"):
        make_linear_odes(order=0)


def test_sine_solves_its_equation_and_noise_decays():
    data = make_noisy_sine(4001, 40.0, random_state=0)
    x, rate = data.X_true[:, 0], data.derivatives[:, 0]
    second = np.gradient(rate, data.dt)[1:-1]
    coef = data.coef["x"]
    expected = (coef["x"] * x + coef["x_t"] * rate)[1:-1]
    # Central differences are off by dt^2 / 6 times a third derivative of about 16.
    np.testing.assert_allclose(second, expected, atol=1.5 * data.dt**2 / 6 * 16)
    noise = (data.X - data.X_true)[:, 0] * np.exp(0.1 * data.times)
    assert abs(noise.std() / 0.5 - 1) < 4.5 / np.sqrt(2 * len(noise))
    assert abs(noise[:2000].std() / noise[2000:].std() - 1) < 4.5 / np.sqrt(2000)


def test_logistic_family_solves_its_equations():
    data = make_logistic_family(400, 31, random_state=0)
    x = data.X_true[:, 0]
    c = data.coefficients[data.trajectories]
    np.testing.assert_allclose(
        data.derivatives[:, 0], c[:, 0] + c[:, 1] * x + c[:, 2] * x**2, atol=1e-12
    )
    # Fourth-order differences check that these are the derivatives of the states.
    states = x.reshape(400, 31)
    rate = (
        states[:, :-4] - 8 * states[:, 1:-3] + 8 * states[:, 3:-1] - states[:, 4:]
    ) / (12 * data.dt)
    found = data.derivatives.reshape(400, 31)[:, 2:-2]
    # dt^4 / 30 times a fifth derivative of about r^5 K / 4, with r up to 4.5.
    assert np.abs(rate - found).max() < data.dt**4 / 30 * 4.5**5 * 4.5 / 4
    assert (data.starts > 0).all() and (data.X_true > 0).all()
    assert data.train.sum() == 320 and data.train[:320].all()
    assert data.coef[7]["x"]["x^2"] == -data.rates[7] / data.capacities[7]
    noise = data.X - data.X_true
    assert abs(noise.std() / 1e-3 - 1) < 4.5 / np.sqrt(2 * noise.size)
    # Rates and capacities are normal with mean 3 and standard deviation 1/2.
    for values in (data.rates, data.capacities):
        assert abs(values.mean() - 3) < 4.5 * 0.5 / np.sqrt(400)
        assert abs(values.std() / 0.5 - 1) < 4.5 / np.sqrt(800)
