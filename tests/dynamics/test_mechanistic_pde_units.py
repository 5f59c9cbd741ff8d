"""Equations of fields in other units, from other origins and with axes swapped."""

import numpy as np
from scipy.interpolate import CubicSpline

from skident.dynamics import MechanisticPDERegressor, PDETerm
from tests.dynamics._small_burgers import GRID_ERROR, burgers, error, fitted, small

# Solvers work in units of the mean steps: what is left is rounding, amplified by the
# condition of a fit, 1e2 to 1e3, and by the tolerance at which its steps stop.
ROUNDING = 1e-6


def test_stretched_axes_stretch_coefficients_by_the_chain_rule():
    data, model = burgers(), fitted()
    stretched = small(dt=2 * data.dt, spacing=3 * data.spacing).fit(data.X)
    # u_t -> u_t / 2, u u_x -> u u_x / 3, u_xx -> u_xx / 9.
    factor = np.array([3 / 2, 3 / 2, 9 / 2, 9 / 2])
    np.testing.assert_allclose(stretched.coef_, factor * model.coef_, rtol=ROUNDING)
    stderr = (factor * model.stderr_)[model.support_]
    np.testing.assert_allclose(stretched.stderr_[model.support_], stderr, rtol=1e-4)


def test_units_of_the_field_change_what_is_not_linear():
    model = small().fit(10 * burgers().X)
    factor = np.array([1, 1 / 10, 1, 1 / 10])
    np.testing.assert_allclose(model.coef_, factor * fitted().coef_, rtol=ROUNDING)


def test_the_origins_of_space_and_time_do_not_matter():
    data = burgers()
    nodes = data.coordinates[0]
    one = small(spacing=nodes).fit(data.X)
    two = small(spacing=[nodes + 100.0]).fit(data.X, times=data.times - 7.0)
    np.testing.assert_allclose(one.coef_, fitted().coef_, rtol=ROUNDING)
    np.testing.assert_allclose(two.coef_, fitted().coef_, rtol=ROUNDING)


def test_coordinates_with_uneven_steps_give_the_same_equation():
    # The same field at nodes that crowd around the origin.
    data = burgers()
    nodes = data.coordinates[0]
    uneven = nodes - 0.8 * np.sin(np.pi * (nodes - nodes[0]) * 2 / np.ptp(nodes))
    X = CubicSpline(nodes, data.X, axis=1)(uneven)
    terms = [PDETerm("u_x", (1,)), PDETerm("u_xx")]
    model = small(spacing=uneven, terms=terms).fit(X)
    # Where steps are a quarter longer, errors of fourth order are 2.4 times as large.
    assert error(model.coef_[0], np.array([-1.0, 0.1])) < 2.4 * GRID_ERROR


def plane(n_t=8, n_x=9, n_y=10):
    """Modes of u_t = 0.1 u_xx + 0.2 u_yy, shape (n_t, n_x, n_y), and their steps."""
    t = np.linspace(0, 0.7, n_t)[:, None, None]
    x = np.linspace(0, 2, n_x)[:, None]
    y = np.linspace(0, 2, n_y)
    field = 0.0
    for k, m, phase in ((1, 2, 0.3), (2, 1, 1.0), (2, 2, 2.0)):
        decay = np.exp(-(0.1 * k**2 + 0.2 * m**2) * t)
        field = field + decay * np.sin(k * x + phase) * np.cos(m * y - phase)
    return field, (x[1, 0], y[1]), t[1, 0, 0]


def diffusion(shape, spacing, dt):
    terms = [PDETerm("u_xx"), PDETerm("u_yy"), PDETerm("u_x"), PDETerm("u_y")]
    return MechanisticPDERegressor(
        shape, spacing=spacing, dt=dt, terms=terms, encoder="identity"
    )


def test_swapped_axes_swap_the_blocks():
    field, spacing, dt = plane()
    one = diffusion((9, 10), spacing, dt).fit(field.reshape(8, -1))
    swapped = field.transpose(0, 2, 1).reshape(8, -1)
    two = diffusion((10, 9), spacing[::-1], dt).fit(swapped)
    np.testing.assert_array_equal(one.support_, [[True, True, False, False]])
    # Ten nodes an axis leave an error of 3 %, measured.
    np.testing.assert_allclose(one.coef_[0, :2], [0.1, 0.2], rtol=0.06)
    np.testing.assert_allclose(
        two.coef_[0, [1, 0, 3, 2]], one.coef_[0], rtol=ROUNDING, atol=1e-12
    )
    rates = one.predict(field.reshape(8, -1)).reshape(8, 9, 10)
    other = two.predict(swapped).reshape(8, 10, 9)
    np.testing.assert_allclose(other.transpose(0, 2, 1), rates, rtol=1e-5, atol=1e-9)


def test_a_plane_is_simulated():
    field, spacing, dt = plane()
    X = field.reshape(8, -1)
    model = diffusion((9, 10), spacing, dt).fit(X)
    fields = model.simulate(X[0], dt * np.arange(8), boundary=X)
    assert np.linalg.norm(fields - X) < 0.01 * np.linalg.norm(X)
