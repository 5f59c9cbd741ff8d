"""Fields of Burgers: the equation, closed forms, shocks."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from skident.datasets import make_burgers
from tests.datasets._equations import check_measurement, worst_residual


def test_field_solves_its_equation():
    # Differences in time of order 6 are right to about dt^6 = 2e-10 times a sixth
    # power of the rate of change, which is a few per unit of time in fronts.
    assert worst_residual(make_burgers(length=40.0, n_x=512))["u"] < 1e-5


def test_viscous_field_is_that_of_cole_and_hopf():
    nu, length = 0.2, 2 * np.pi
    data = make_burgers(nu, 64, 21, length=length, dt=0.05, u0=np.sin)
    # u = -2 nu (log phi)_x with phi a solution of the heat equation, here by a sum
    # over modes: phi = exp(cos(x) / (2 nu)) at time 0, up to a factor.
    x = np.linspace(0, length, 512, endpoint=False)
    modes = np.fft.rfft(np.exp(np.cos(x) / (2 * nu)))[:60] / 512
    k = np.arange(60)
    weights = np.where(k == 0, 1.0, 2.0) * modes.real
    for t, row in zip(data.times, data.X, strict=True):
        decayed = weights * np.exp(-nu * k**2 * t)
        angle = np.outer(data.coordinates[0], k)
        expected = 2 * nu * (np.sin(angle) @ (k * decayed)) / (np.cos(angle) @ decayed)
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-7)


def test_thin_fronts_are_resolved_on_a_finer_grid():
    coarse = make_burgers(0.05, 32, 2, length=8.0, dt=2.0)
    fine = make_burgers(0.05, 256, 2, length=8.0, dt=2.0)
    # The start has a kink of size 1 / cosh(4) where the period closes.
    np.testing.assert_allclose(coarse.X, fine.X[:, ::8], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"nu=1e-05 .* more than 32768; take nu=0"):
        make_burgers(1e-5)


def test_inviscid_field_follows_its_characteristics():
    data = make_burgers(0.0, 128, 15, dt=0.125)
    assert data.coef == {"u": {"u u_x": -1.0}}
    x = data.coordinates[0]
    # Before the shock, at time 2, u(x + t u0(x), t) = u0(x).
    for t, row in zip(data.times, data.X, strict=True):
        origin = np.mod(x - t * row + 10, 20) - 10
        np.testing.assert_allclose(row, 1 / np.cosh(origin), rtol=0, atol=1e-10)


def test_shock_moves_at_the_mean_of_its_sides_and_mass_is_kept():
    data = make_burgers(0.0, 256, 49, dt=0.125)
    mass = data.X.sum(axis=1) * data.spacing
    # The field jumps by less than 1 at one node: the mass is known to one step.
    np.testing.assert_allclose(mass, mass[0], rtol=0, atol=data.spacing)
    late = slice(30, 49)
    rows, times = data.X[late], data.times[late]
    front = np.diff(rows, axis=1).argmin(axis=1)
    position = data.coordinates[0][front] + 0.5 * data.spacing
    speed = 0.5 * (
        rows[np.arange(len(rows)), front] + rows[np.arange(len(rows)), front + 1]
    )
    expected = trapezoid(speed, times)
    assert abs(position[-1] - position[0] - expected) < 2 * data.spacing
    # Entropy: the field only ever jumps down.
    assert np.diff(data.X, axis=1).max() < 0.5 * -np.diff(rows, axis=1).min()


def test_vanishing_viscosity_leads_to_the_entropy_solution():
    errors = []
    sharp = make_burgers(0.0, 128, 2, dt=3.0).X[1]
    for nu in (0.1, 0.05):
        viscous = make_burgers(nu, 128, 2, dt=3.0).X[1]
        errors.append(np.abs(viscous - sharp).mean())
    # The misfit is in a front whose width is proportional to the viscosity.
    assert errors[1] < 0.7 * errors[0]


def test_start_of_the_user_wraps_round():
    def u0(x):
        return 1.0 + 0.5 * np.sin(np.pi * x / 2)

    data = make_burgers(0.0, 64, 9, length=4.0, dt=0.1, u0=u0)
    x = data.coordinates[0]
    for t, row in zip(data.times, data.X, strict=True):
        np.testing.assert_allclose(row, u0(x - t * row), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="u0 must return one finite value"):
        make_burgers(u0=lambda x: 1.0)


def test_measurement():
    check_measurement(make_burgers, n_x=64, n_t=64)
