"""Forecasts through a solved ODE: what they are, what they see, when they fail."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.fft import dct
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skident.datasets import make_lorenz
from skident.dynamics import ScalableMNNRegressor
from skident.dynamics._scalable_mnn import _equation_residual, _smoothness_residual
from skident.dynamics._scalable_mnn_net import Forecaster, WindowLoss
from skident.exceptions import IdentifiabilityWarning
from skident.solvers import solve_linear_ode


def sines(n, seed, n_past=12, n_future=8):
    """Windows of sines whose frequency, amplitude and phase differ from row to row."""
    rng = np.random.default_rng(seed)
    frequency, amplitude = rng.uniform(0.2, 1.0, n), rng.uniform(0.5, 1.5, n)
    phase = rng.uniform(0, 2 * np.pi, n)
    angle = frequency[:, None] * np.arange(n_past + n_future) + phase[:, None]
    windows = amplitude[:, None] * np.sin(angle)
    return windows[:, :n_past], windows[:, n_past:]


def pairs(n, seed, n_past=6, n_future=4):
    """Windows of two states of different sizes, flattened step by step."""
    X, y = sines(n, seed, n_past, n_future)
    windows = np.stack([np.hstack([X, y]), 5 - 40 * np.hstack([X, y])], axis=2)
    return windows[:, :n_past].reshape(n, -1), windows[:, n_past:].reshape(n, -1)


def quick(X, y, **params):
    """A fit too short to be good, and its warnings kept to itself."""
    settings = {"hidden": (16,), "max_epochs": 3, "random_state": 0} | params
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ScalableMNNRegressor(**settings).fit(X, y)


@pytest.mark.parametrize(("order", "init"), [(1, "past"), (2, "past"), (3, "target")])
def test_predictions_solve_the_equations_that_are_shown(order, init):
    X, y = pairs(30, 0)
    model = quick(X, y, state_dim=2, order=order, init=init, n_init_steps=3)
    past = X.reshape(30, -1, 2)
    given = past[:, -3:] if init == "past" else np.repeat(past[:, -1:], 3, axis=1)
    n_nodes = 3 + 4 if init == "past" else 4
    coefficients, rhs = model.ode_coefficients(X), model.ode_rhs(X)
    steps = model.learned_steps(X)
    assert model.n_nodes_ == n_nodes
    assert coefficients.shape == (30, n_nodes, 2, order + 1)
    assert rhs.shape == (30, n_nodes, 2)
    assert steps.shape == (30, n_nodes - 1)
    # The system of the states is that of the standardised ones times their scale.
    for d in range(2):
        solution = solve_linear_ode(
            coefficients[:, :, None, d : d + 1],
            rhs[:, :, d : d + 1],
            given[:, :, d : d + 1, None],
            steps,
        )[..., -4:, 0, 0]
        # Steps of 0.1 give condition numbers up to 1e7 (order 3), and rounding 1e-16
        # times that, in units of the second state, 40.
        np.testing.assert_allclose(model.predict(X)[:, d::2], solution, atol=1e-6)


@pytest.mark.slow
def test_forecasts_of_a_family_of_frequencies_beat_the_last_state():
    X, y = sines(300, 0)
    X_new, y_new = sines(300, 100)
    model = quick(
        X, y, hidden=(64, 64), dct_keep=None, learning_rate=5e-3, max_epochs=30
    )
    error = np.mean((model.predict(X_new) - y_new) ** 2)
    # 0.017 to 0.048 over five seeds of fit and data.
    assert error < 0.15 * np.mean((X_new[:, -1:] - y_new) ** 2)


@pytest.mark.slow
def test_lorenz_is_forecast_better_than_by_a_linear_map():
    states = make_lorenz(3000, 0.02).X[500:]
    windows = np.lib.stride_tricks.sliding_window_view(states, 18, axis=0)
    windows = windows.transpose(0, 2, 1)[::6]
    X = windows[:, :6].reshape(len(windows), -1)
    y = windows[:, 6:].reshape(len(windows), -1)
    # Three pairs between the two share steps with both, and are left out.
    train, test = slice(300), slice(303, None)
    model = quick(
        X[train],
        y[train],
        state_dim=3,
        hidden=(64, 64),
        dct_keep=None,
        learning_rate=5e-3,
        max_epochs=30,
    )
    linear = RidgeCV(np.logspace(-6, 3, 10)).fit(X[train], y[train])
    # 0.004 to 0.011 over three seeds of the fit, beside 0.13.
    left = 1 - model.score(X[test], y[test])
    assert left < 0.5 * (1 - linear.score(X[test], y[test]))


def test_target_mode_forecasts_without_the_target_and_from_its_first_states():
    X, y = sines(200, 0)
    model = quick(X, y, init="target", n_init_steps=3, max_epochs=10)
    blind = model.predict(X)
    persistent = model.predict_from(X, np.repeat(X[:, -1:], 3, axis=1))
    np.testing.assert_allclose(blind, persistent, atol=1e-9)
    told = model.predict_from(X, y[:, :3])
    # The given states alone are known; the rest is forecast, and better for them.
    # 0.03 to 0.06, and 0.63 to 0.79 beyond, over four seeds.
    assert np.mean((told - y)[:, :3] ** 2) < 0.2 * np.mean((blind - y)[:, :3] ** 2)
    assert np.mean((told - y)[:, 3:] ** 2) < np.mean((blind - y)[:, 3:] ** 2)


def test_only_target_mode_takes_first_states():
    X, y = sines(20, 0)
    assert not hasattr(quick(X, y), "predict_from")
    model = quick(X, y, init="target", n_init_steps=2)
    with pytest.raises(ValueError, match=r"start must be of shape \(20, 2\)"):
        model.predict_from(X, y)
    with pytest.raises(ValueError, match="more steps than n_init_steps=8"):
        quick(X, y, init="target", n_init_steps=8)


def test_the_encoder_sees_the_lowest_frequencies_alone():
    X, y = sines(40, 0)
    model = quick(X, y, dct_keep=0.25)
    modes = dct(np.eye(12), axis=0, norm="ortho")
    for k, seen in ((2, True), (3, False), (11, False)):
        moved = model.ode_coefficients(X + modes[k]) - model.ode_coefficients(X)
        assert (np.abs(moved).max() > 1e-6) == seen
    whole = quick(X, y, dct_keep=None)
    moved = whole.ode_coefficients(X + modes[11]) - whole.ode_coefficients(X)
    assert np.abs(moved).max() > 1e-6


def test_steps_start_where_they_are_told_and_are_learned():
    X, y = sines(100, 0)
    start = quick(X, y, step_init=0.3, max_epochs=1, learning_rate=1e-12)
    np.testing.assert_allclose(start.learned_steps(X), 0.3, rtol=1e-6)
    steps = quick(X, y, step_init=0.3, max_epochs=5).learned_steps(X)
    assert np.ptp(steps) > 1e-3
    assert steps.min() >= 1e-3
    assert steps.max() <= 0.999


def test_every_network_learns_through_the_solver():
    torch.manual_seed(0)
    module = Forecaster(5, 3, 2, 2, 2, True, (4,), 3, 2, 0.1, double=True)
    X = torch.randn(6, 10, dtype=torch.float64)
    module(X).square().sum().backward()
    for name, parameter in module.named_parameters():
        # The last layer of the steps starts at zero and hides those below.
        hidden = name.startswith("steps.0")
        assert (parameter.grad.abs().max() > 0) != hidden, name


def test_the_loss_is_that_of_the_cosine_transforms():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 7, 9))
    transforms = dct(one, norm="ortho") - dct(two, norm="ortho")
    loss = WindowLoss()(torch.tensor(one), {"y": torch.tensor(two)})
    assert loss.item() == pytest.approx(np.mean(transforms**2), rel=1e-12)


def test_units_of_states_do_not_matter():
    X, y = pairs(60, 0)
    unit, shift = np.array([1e3, 1e-2]), np.array([-5.0, 7.0])

    def moved(windows):
        states = windows.reshape(len(windows), -1, 2) * unit + shift
        return states.reshape(windows.shape)

    one = quick(X, y, state_dim=2).predict(X)
    two = quick(moved(X), moved(y), state_dim=2).predict(moved(X))
    # Equal but for rounding, which three epochs of Adam have hardly raised.
    off = (two - moved(one)).reshape(60, -1, 2) / unit
    np.testing.assert_allclose(off, 0, atol=1e-6 * np.abs(one).max())


def test_the_last_rows_are_held_out():
    X, y = sines(100, 0)
    other = y.copy()
    other[80:] += 3.0
    one, two = (quick(X, t, validation_fraction=0.2) for t in (y, other))
    np.testing.assert_array_equal(one.history_["total"], two.history_["total"])
    assert two.history_["validation"][0] > one.history_["validation"][0]
    tested = two.identifiability_.assumptions[0].test
    assert "held out" in tested


@pytest.mark.parametrize("n_past", [1, 2])
def test_windows_may_be_short(n_past):
    X, y = sines(40, 0)
    model = quick(X[:, -n_past:], y[:, :1])
    assert model.predict(X[:, -n_past:]).shape == (40, 1)
    assert model.n_nodes_ == n_past + 1


def test_a_flat_target_comes_back_flat():
    X, y = sines(40, 0)
    model = quick(X, y[:, 0])
    assert model.predict(X).shape == (40,)
    np.testing.assert_array_equal(model.predict(X), quick(X, y[:, :1]).predict(X)[:, 0])


def test_constant_states_are_forecast_as_they_are():
    X = np.full((30, 6), 7.1)
    model = quick(X, X[:, :3], max_epochs=30)
    assert model.scale_ == 1.0
    np.testing.assert_allclose(model.predict(X), 7.1, atol=0.5)
    verdict = model.identifiability_.assumptions[0].verdict
    assert verdict == "untestable"


def test_networks_beyond_memory_are_refused_before_they_are_made():
    X, y = sines(20, 0)
    # 1e14 weights of eight bytes.
    with pytest.raises(MemoryError, match=r"narrower hidden.*TiB"):
        quick(X, y, hidden=(10_000_000, 10_000_000))


def test_columns_must_be_whole_steps():
    X, y = sines(20, 0)
    with pytest.raises(ValueError, match=r"X must have windows of state_dim=5.*12 col"):
        quick(X, y[:, :5], state_dim=5)
    with pytest.raises(ValueError, match=r"y must have windows of state_dim=3.*8 col"):
        quick(X, y, state_dim=3)


def test_an_unfinished_training_warns():
    X, y = sines(100, 0)
    model = ScalableMNNRegressor(hidden=(16,), max_epochs=20, random_state=0)
    warnings.simplefilter("ignore", IdentifiabilityWarning)
    with pytest.warns(ConvergenceWarning, match="max_epochs=20"):
        model.fit(X, y)


def test_a_law_that_turns_is_not_identified():
    rng = np.random.default_rng(0)
    level = rng.standard_normal((150, 1))
    X = level + 0.1 * rng.standard_normal((150, 6))
    # The rows held out stay where they are, which those trained on do not.
    y = np.where(np.arange(150)[:, None] < 100, -1, 1) * level
    y = y + 0.1 * rng.standard_normal((150, 4))
    model = ScalableMNNRegressor(
        hidden=(32,),
        max_epochs=30,
        learning_rate=5e-3,
        validation_fraction=1 / 3,
        random_state=0,
    )
    # The statistic is 2.6 to 20 over four seeds, beside its bound of 1.
    with pytest.warns(IdentifiabilityWarning, match="more than its last state"):
        model.fit(X, y)


def test_a_diverging_training_says_so():
    X, y = sines(50, 0)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        quick(X, y, learning_rate=1e80, max_epochs=10)


def test_a_fit_is_kept_by_pickle_and_clone():
    X, y = pairs(40, 0)
    model = quick(X, y, state_dim=2)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    twin = clone(model)
    assert not hasattr(twin, "module_")
    assert twin.get_params() == model.get_params()


def test_float32_is_kept_though_the_solver_is_exact():
    X, y = sines(60, 0)
    single = quick(X.astype(np.float32), y.astype(np.float32))
    for made in (single.predict, single.ode_coefficients, single.ode_rhs):
        assert made(X.astype(np.float32)).dtype == np.float32
    # Weights are drawn in the networks' precision: the same to some 1e-7 of them.
    twice = quick(X, y)
    np.testing.assert_allclose(
        single.predict(X.astype(np.float32)), twice.predict(X), atol=1e-2
    )


def test_dataframes_and_searches():
    X, y = sines(60, 0)
    frame = pd.DataFrame(X, columns=[f"lag{k}" for k in range(12)])
    search = GridSearchCV(
        make_pipeline(
            FunctionTransformer(),
            ScalableMNNRegressor(hidden=(8,), max_epochs=2, random_state=0),
        ),
        {"scalablemnnregressor__order": [1, 2]},
        cv=TimeSeriesSplit(2),
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(frame, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[-1]
    assert list(best.feature_names_in_) == list(frame.columns)
    assert best.predict(frame).shape == y.shape


def test_white_noise_has_no_equation():
    windows = np.random.default_rng(1).standard_normal((60, 20))
    # Hardly trained: 0.58 to 0.77 and 0.16 to 0.25 over four seeds, where 0.1 is borne.
    start = ScalableMNNRegressor(
        hidden=(16,), step_init=0.5, max_epochs=1, learning_rate=1e-12, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(IdentifiabilityWarning, match="satisfy their hidden"):
            start.fit(windows[:, :12], windows[:, 12:])
    violated = {a.name for a in start.identifiability_.violated}
    assert "the derivatives of solutions are those of their states" in violated


def test_solutions_whose_derivatives_are_not_theirs():
    # Equations of one step after the other alone, with steps that say nothing.
    states = np.array([[0.0, 1.0, -1.0, 1.0], [0.0, 0.5, 1.0, 1.5]])[:, :, None, None]
    flat = np.concatenate([states, np.zeros_like(states)], axis=-1)
    steps = np.ones((2, 3))
    assert _smoothness_residual(flat, steps) == pytest.approx(1.0)
    slopes = np.full((1, 4, 1, 1), 0.5)
    line = np.concatenate([states[1:], slopes], axis=-1)
    assert _smoothness_residual(line, steps[:1]) == pytest.approx(0.0, abs=1e-15)
    rhs = slopes[..., 0]
    assert _equation_residual(line, np.array([0.0, 1.0]), rhs) == 0.0
    assert _equation_residual(line, np.array([0.0, 1.0]), -rhs) == pytest.approx(2.0)
