"""Two fields that react and diffuse: their equations."""

import numpy as np
import pytest

from skident.datasets import make_ginzburg_landau, make_spiral_rd
from tests.datasets._equations import check_measurement, worst_residual


def test_spiral_solves_its_equations():
    # The start has a kink where the square closes; later it is smooth.
    data = make_spiral_rd(48, 17, diffusion=0.2, beta=1.5, dt=0.025)
    worst = worst_residual(data, times=slice(-3, None))
    assert max(worst.values()) < 1e-4
    assert data.coef["u"]["v^3"] == 1.5 and data.coef["v"]["u^3"] == -1.5
    assert data.coef["u"]["u_xx"] == data.coef["u"]["u_yy"] == 0.2


def test_spiral_without_diffusion_has_no_such_terms():
    data = make_spiral_rd(16, 9, diffusion=0.0, beta=0.0, dt=0.02)
    assert data.coef == {
        "u": {"u": 1.0, "u^3": -1.0, "u v^2": -1.0},
        "v": {"v": 1.0, "v^3": -1.0, "v u^2": -1.0},
    }
    assert max(worst_residual(data).values()) < 1e-8


def test_rows_are_in_c_order_with_fields_last():
    data = make_spiral_rd(32, 2)
    fields = data.X.reshape(2, 32, 32, 2)
    x, y = np.meshgrid(*data.coordinates, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    np.testing.assert_allclose(
        fields[0, ..., 1], np.tanh(radius) * np.sin(angle - radius), atol=1e-15
    )
    assert data.spacing == pytest.approx((10 / 32, 10 / 32), rel=1e-12)


def test_oscillators_solve_their_equations():
    options = {"n_x": 24, "n_t": 9, "dt": 0.05, "random_state": 0}
    data = make_ginzburg_landau(**options)
    assert max(worst_residual(data).values()) < 1e-5
    assert data.coef["v"]["v^2 u"] == -1.5
    amplitude = np.hypot(*data.X.reshape(-1, 2).T)
    assert 0.5 < amplitude.max() < 1.05
    # Turns of diffusion and reaction are off by the square of their length alone.
    exact = make_ginzburg_landau(**options | {"settle": 0.0, "n_t": 281})
    misfit = np.abs(data.X[0] - exact.X[280]).max()
    assert misfit < 0.02


def test_start_is_noise():
    data = make_ginzburg_landau(16, 2, settle=0.0, random_state=0)
    assert 0.9e-4 < np.abs(data.X[0]).max() < 1e-4
    other = make_ginzburg_landau(16, 2, settle=0.0, random_state=1)
    assert np.abs(np.corrcoef(data.X[0], other.X[0])[0, 1]) < 0.3


def test_measurement():
    check_measurement(make_spiral_rd, n_x=16, n_t=40)
