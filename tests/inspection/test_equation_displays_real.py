"""Plots of equations that were really found."""

import warnings

import numpy as np
import pandas as pd
import pytest

from skident.datasets import make_burgers, make_lorenz
from skident.dynamics import MechanisticODERegressor, MechanisticPDERegressor
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import (
    EquationPathDisplay,
    FieldDisplay,
    PhasePortraitDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def orbit():
    data = make_lorenz(600)
    states = pd.DataFrame(data.X, columns=["a", "b", "c"])
    model = MechanisticODERegressor(
        order=3, dt=data.dt, stride=10, sparsifier="elimination", threshold=None
    )
    return model.fit(states), states


def test_path_of_states(orbit):
    model, _ = orbit
    for equation, name in enumerate("abc"):
        display = EquationPathDisplay.from_estimator(model, equation=equation)
        assert display.title == f"{name}'" and display.names == model.terms_
        chosen = display.support[display.chosen]
        np.testing.assert_array_equal(chosen, model.support_[equation])
    display = EquationPathDisplay.from_estimator(model, kind="terms")
    assert display.ax_.images[0].get_array().shape == display.support.T.shape


def test_phase_plane_of_states(orbit):
    model, states = orbit
    simulation = model.simulate(states.iloc[0], np.linspace(0, 1, 50))
    display = PhasePortraitDisplay.from_estimator(
        model, states, states=(0, 2), simulation=simulation
    )
    assert display.labels == ("a", "c")
    np.testing.assert_array_equal(display.states, states[["a", "c"]])
    np.testing.assert_array_equal(display.directions, model.predict(states)[:, [0, 2]])
    np.testing.assert_array_equal(display.simulation, simulation[:, [0, 2]])


def test_path_and_picture_of_a_field():
    data = make_burgers(n_x=64, n_t=32, dt=0.1, noise=0.05, random_state=0)
    model = MechanisticPDERegressor(
        spacing=data.spacing,
        dt=data.dt,
        degree=1,
        blocks=("u_x", "u_xx"),
        patch_size=(16, 16),
        max_patches=3,
    )
    with warnings.catch_warnings():
        # So few nodes need not tell the equation; only drawing it is tested.
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        model.fit(data.X)
    display = EquationPathDisplay.from_estimator(model)
    assert display.title == "u_t"
    assert display.names == ["u_x", "u u_x", "u_xx", "u u_xx"]
    np.testing.assert_array_equal(display.support[display.chosen], model.support_[0])
    display = FieldDisplay.from_estimator(model, data.X, truth=data.X_true)
    np.testing.assert_array_equal(display.data, data.X)
    np.testing.assert_array_equal(display.reconstruction, model.reconstruct(data.X))
    assert display.extent == pytest.approx((0, 63 * data.spacing, 0, 3.1))
    assert len(display.axes_) == 4 and display.title == "u"
