"""Heat, gas, long waves and eddies: equations, closed forms, conserved quantities."""

import numpy as np
import pytest
from sklearn.utils import Bunch

from skident.datasets import (
    make_diffusion,
    make_kdv,
    make_navier_stokes_vorticity,
    make_porous_medium,
)
from skident.datasets._kdv import solve_kdv
from skident.datasets._spectral import PeriodicGrid, evolve
from tests.datasets._equations import (
    check_measurement,
    spectral_values,
    time_derivative,
    worst_residual,
)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_heat_solves_its_equation_and_spreads_as_it_must(n_dims):
    data = make_diffusion(0.5, 48, 41, dt=0.02, n_dims=n_dims)
    # A mode of rate r = D k² is differenced with an error of (r dt)^6 / 140 r; those
    # that the bumps hold have rates up to 10.
    assert worst_residual(data)["u"] < 1e-5
    # The mass stays, and each bump's variance grows by 2 D t.
    fields = data.X.reshape(41, *data.grid_shape)
    mass = fields.reshape(41, -1).sum(axis=1)
    np.testing.assert_allclose(mass, mass[0], rtol=1e-12)
    along = fields if n_dims == 1 else fields.sum(axis=2)
    x = data.coordinates[0]
    mean = along @ x / along.sum(axis=1)
    variance = along @ x**2 / along.sum(axis=1) - mean**2
    early = slice(0, 16)  # before the tails reach the ends of the period
    np.testing.assert_allclose(
        variance[early], variance[0] + data.times[early], atol=1e-3
    )


def test_gas_solves_its_equation():
    data = make_porous_medium(2.5, 96, 13, dt=0.005)
    power = spectral_values(Bunch(**data | {"X_true": data.X_true**2.5}))
    rate = time_derivative(data.X_true, data.dt)
    misfit = np.abs(rate - power["u_xx"][3:-3])
    assert misfit.max() < 1e-4 * np.abs(rate).max()
    values = spectral_values(data)
    u, slope, bend = values["u"], values["u_x"], values["u_xx"]
    expanded = 2.5 * u**1.5 * bend + 2.5 * 1.5 * u**0.5 * slope**2
    np.testing.assert_allclose(
        expanded, power["u_xx"], atol=1e-3 * np.abs(expanded).max()
    )
    assert data.coef["u"] == {"u^1.5 u_xx": 2.5, "u^0.5 u_x^2": 3.75}
    assert data.exponent == 2.5 and data.X.min() > 0.09


def test_gas_in_the_plane_keeps_its_mass():
    data = make_porous_medium(2.0, 32, 5, n_dims=2)
    mass = data.X.sum(axis=1)
    np.testing.assert_allclose(mass, mass[0], rtol=1e-10)
    assert set(data.coef["u"]) == {"u u_xx", "u_x^2", "u u_yy", "u_y^2"}


def test_soliton_travels_unchanged():
    speed, length = 1.0, 40.0
    grid = PeriodicGrid((256,), (length,))
    x = grid.coordinates[0]

    def soliton(at):
        # The tails at half the period are 3 / cosh(10)^2, about 2e-8.
        return 3 * speed / np.cosh(0.5 * np.sqrt(speed) * at) ** 2

    times = np.linspace(0, 8.0, 5)
    found = solve_kdv(soliton(x), grid, times)
    for t, row in zip(times, found, strict=True):
        at = np.mod(x - speed * t + length / 2, length) - length / 2
        np.testing.assert_allclose(row, soliton(at), rtol=0, atol=1e-6)


def test_long_waves_keep_mass_and_energy():
    options = {"n_x": 128, "n_t": 40, "duration": 8.0, "random_state": 0}
    data = make_kdv(2, **options, n_kept=30)
    assert data.X.shape == (60, 128)
    np.testing.assert_array_equal(data.trajectories, np.repeat([0, 1], 30))
    for k in range(2):
        rows = data.X[data.trajectories == k]
        np.testing.assert_allclose(rows.mean(axis=1), rows[0].mean(), atol=1e-9)
        energy = np.mean(rows**2, axis=1)
        np.testing.assert_allclose(energy, energy[0], rtol=1e-6)
        times = data.times[data.trajectories == k]
        np.testing.assert_allclose(np.diff(times), data.dts[k], rtol=1e-9)
    assert np.all(np.abs(data.spacings * 128 / 128.0 - 1) <= 0.1)
    assert data.spacing == data.spacings[0] and data.dt == data.dts[0]
    one = make_kdv(1, **options, n_kept=40)
    np.testing.assert_allclose(one.X[10:], data.X[:30], rtol=0, atol=1e-12)
    assert worst_residual(one)["u"] < 1e-3
    with pytest.raises(ValueError, match="n_kept=50 must be at most n_t=40"):
        make_kdv(**options, n_kept=50)


def test_eddies_solve_their_equation():
    data = make_navier_stokes_vorticity(0.02, 32, 9, dt=0.025, random_state=0)
    values = spectral_values(data)
    # Velocities have the vorticity as their curl, and no divergence.
    np.testing.assert_allclose(values["v_x"] - values["u_y"], values["w"], atol=1e-4)
    np.testing.assert_allclose(values["u_x"] + values["v_y"], 0.0, atol=1e-4)
    rate = time_derivative(values["w"], data.dt)
    right = (
        -values["u"] * values["w_x"]
        - values["v"] * values["w_y"]
        + 0.02 * (values["w_xx"] + values["w_yy"])
    )[3:-3]
    assert np.abs(rate - right).max() < 1e-3 * np.abs(rate).max()
    assert data.coef == {
        "w": {"u w_x": -1.0, "v w_y": -1.0, "w_xx": 0.02, "w_yy": 0.02}
    }
    start = data.X_true[0].reshape(32, 32, 3)[..., 0]
    assert np.sqrt(np.mean(start**2)) == pytest.approx(1.0, rel=1e-3)


def test_same_flow_on_every_grid():
    coarse = make_navier_stokes_vorticity(0.02, 32, 3, random_state=0)
    fine = make_navier_stokes_vorticity(0.02, 64, 3, random_state=0)
    fields = fine.X.reshape(3, 64, 64, 3)[:, ::2, ::2]
    # Both are computed with 128 nodes.
    np.testing.assert_array_equal(coarse.X, fields.reshape(3, -1))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (make_diffusion, {"n_x": 32}),
        (make_porous_medium, {"n_x": 32, "n_t": 60}),
        (make_kdv, {"n_x": 64, "n_t": 60, "n_kept": 60, "duration": 5.0}),
    ],
)
def test_measurement(make, options):
    if make is make_kdv:
        # One seed makes start, noise and gaps: the truth is the same with and without.
        options = options | {"random_state": 0}
        clean, data = make(**options), make(**options, noise=0.2, frame_drop=0.3)
        np.testing.assert_array_equal(clean.X_true, data.X_true)
        assert 0 < data.observed.sum() < 60
    else:
        check_measurement(make, **options)


def test_evolution_that_blows_up_says_when():
    with pytest.raises(ValueError, match=r"could not be followed from time (0\.9|1)"):
        evolve(lambda t, u: u * u, np.ones(1), np.linspace(0.0, 2.0, 5))
