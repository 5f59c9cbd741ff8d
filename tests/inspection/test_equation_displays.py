"""What the plots of equations, of fields and of phase planes draw."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skident.inspection import (
    EquationPathDisplay,
    FieldDisplay,
    PhasePortraitDisplay,
)

matplotlib = pytest.importorskip("matplotlib")

NAMES = ["u", "u u_x", "u_xx"]
SUPPORT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=bool)
LOSS = np.array([1.0, 1.01, 2.0, 50.0])
T_RATIOS = np.array(
    [[1.5, -20, 9], [np.nan, -25, 10], [np.nan, np.nan, 4], [np.nan] * 3]
)


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


# -- path ----------------------------------------------------------------------


class Path(BaseEstimator):
    """Has what both estimators of equations have."""

    def __init__(self, steps=False):
        self.steps = steps

    def fit(self):
        path = SimpleNamespace(support=SUPPORT, loss=LOSS, t_ratios=T_RATIOS, chosen=1)
        if self.steps:
            steps = [
                SimpleNamespace(support=s, loss=l, t_ratios=t)
                for s, l, t in zip(SUPPORT, LOSS, T_RATIOS, strict=True)
            ]
            path = SimpleNamespace(steps=steps, chosen=1)
        self.path_ = [None, path]
        self.terms_ = NAMES
        if self.steps:
            self.terms_ = [
                SimpleNamespace(label=lambda own, k=k: f"{own[0]} {own[1]} {k}")
                for k in range(3)
            ]
        return self

    def equations(self):
        return ["u_t = 0", "v_t = 0"] if self.steps else ["u' = 0", "v' = 0"]


def test_loss_is_drawn_relative_to_the_smallest(plt):
    display = EquationPathDisplay.from_predictions(
        SUPPORT, LOSS * 7, NAMES, chosen=1, title="u_t"
    )
    ax = display.ax_
    curve, chosen = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), [3, 2, 1, 0])
    np.testing.assert_allclose(curve.get_ydata(), LOSS)
    assert (chosen.get_xdata(), chosen.get_ydata()) == ([2], [pytest.approx(1.01)])
    assert [text.get_text() for text in ax.texts] == ["−u", "−u u_x", "−u_xx"]
    assert ax.get_yscale() == "log" and ax.xaxis_inverted()
    assert ax.get_title() == "u_t" and display.figure_ is ax.figure


def test_flat_path_has_a_linear_axis_and_exact_fits_their_loss(plt):
    display = EquationPathDisplay.from_predictions(SUPPORT[:2], [1.0, 1.2], NAMES)
    assert display.ax_.get_yscale() == "linear" and len(display.ax_.lines) == 1
    display = EquationPathDisplay.from_predictions(SUPPORT[:2], [0.0, 2.0], NAMES)
    np.testing.assert_array_equal(display.ax_.lines[0].get_ydata(), [0.0, 2.0])
    assert display.ax_.get_ylabel() == "Loss"


def test_terms_show_their_ratios(plt):
    _, ax = plt.subplots()
    display = EquationPathDisplay.from_predictions(
        SUPPORT, LOSS, NAMES, t_ratios=T_RATIOS, chosen=1, kind="terms", ax=ax
    )
    assert display.ax_ is ax
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(
        10.0**shown, np.where(SUPPORT, np.abs(T_RATIOS), np.nan).T, rtol=1e-12
    )
    assert [tick.get_text() for tick in ax.get_yticklabels()] == NAMES
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "2", "1", "0"]


@pytest.mark.parametrize("steps", [False, True])
def test_path_of_an_estimator(plt, steps):
    estimator = Path(steps)
    with pytest.raises(NotFittedError):
        EquationPathDisplay.from_estimator(estimator)
    display = EquationPathDisplay.from_estimator(estimator.fit(), equation=1)
    np.testing.assert_array_equal(display.support, SUPPORT)
    np.testing.assert_array_equal(display.loss, LOSS)
    np.testing.assert_array_equal(display.t_ratios, T_RATIOS)
    assert display.chosen == 1
    assert display.title == ("v_t" if steps else "v'")
    # An equation's own field stands first.
    assert display.names == (["v u 0", "v u 1", "v u 2"] if steps else NAMES)
    with pytest.raises(ValueError, match=r"equation must be in \[0, 2\), got 2"):
        EquationPathDisplay.from_estimator(estimator, equation=2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"names": ["u"]}, "support must be of shape"),
        ({"loss": LOSS[:2]}, "loss must have one entry a step"),
        ({"loss": -LOSS}, "loss must be finite"),
        ({"t_ratios": T_RATIOS[:2]}, r"t_ratios must be of shape \(4, 3\)"),
        ({"chosen": 4}, r"chosen must be a step in \[0, 4\), got 4"),
    ],
)
def test_path_errors_name_the_argument(change, match):
    arguments = {"support": SUPPORT, "loss": LOSS, "names": NAMES} | change
    with pytest.raises(ValueError, match=match):
        EquationPathDisplay(**arguments)


def test_unknown_kind_is_refused():
    display = EquationPathDisplay(SUPPORT, LOSS, NAMES)
    with pytest.raises(ValueError, match=r'kind must be "loss" or "terms"'):
        display.plot(kind="pie")
    with pytest.raises(ValueError, match="needs t_ratios"):
        display.plot(kind="terms")


# -- fields --------------------------------------------------------------------


class Smoother(BaseEstimator):
    """Reconstructs a field as half of it."""

    def __init__(self, n_fields=1, spacing=1.0):
        self.n_fields, self.spacing = n_fields, spacing

    def fit(self, X, grid_shape, spacing):
        self.grid_shape_, self.spacing_ = grid_shape, np.array(spacing)
        return self

    def reconstruct(self, X, trajectories=None, times=None):
        self.seen, self.rows = (trajectories, times), X
        return 0.5 * X

    def equations(self):
        return ["u_t = u", "v_t = v"][: self.n_fields]


def pictures(display):
    return [np.ma.filled(ax.images[0].get_array(), np.nan) for ax in display.axes_]


def test_field_of_one_axis_is_drawn_against_time(plt):
    X = np.arange(12.0).reshape(4, 3)
    X[2] = np.nan
    model = Smoother().fit(X, (3,), (0.1, 2.0))
    display = FieldDisplay.from_estimator(model, X)
    data, found, left = pictures(display)
    np.testing.assert_array_equal(data, X)
    np.testing.assert_array_equal(found, 0.5 * X)
    np.testing.assert_array_equal(left, -0.5 * X)
    # Coordinates are those of the middles of pixels.
    np.testing.assert_allclose(
        display.axes_[0].images[0].get_extent(), [-1.0, 5.0, -0.05, 0.35]
    )
    assert display.ax_ is display.axes_[0] and display.labels == ("x", "t")
    assert [ax.get_title() for ax in display.axes_] == [
        "data",
        "reconstruction",
        "reconstruction − data",
    ]
    low, high = display.axes_[2].images[0].get_clim()
    assert -low == high == 5.5


def test_field_of_a_dataframe_keeps_its_names_for_the_estimator(plt):
    X = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["left", "middle", "right"])
    model = Smoother().fit(X, (3,), (0.1, 2.0))
    data, _, _ = pictures(FieldDisplay.from_estimator(model, X))
    assert model.rows is X
    np.testing.assert_array_equal(data, X)


def test_truth_is_compared_with_where_it_is_known(plt):
    X = np.arange(12.0).reshape(4, 3)
    model = Smoother().fit(X, (3,), (0.1, 2.0))
    times = np.array([0.0, 0.1, 0.3, 0.7])
    display = FieldDisplay.from_estimator(
        model,
        X,
        truth=X + 1,
        trajectories=np.array(["a", "a", "b", "b"]),
        times=times,
    )
    assert model.seen[1] is times
    data, truth, _, left = pictures(display)
    # The first experiment alone.
    np.testing.assert_array_equal(data, X[:2])
    np.testing.assert_array_equal(truth, X[:2] + 1)
    np.testing.assert_array_equal(left, -0.5 * X[:2] - 1)
    assert display.extent[2:] == (0.0, 0.1)


def test_field_of_two_axes_is_drawn_at_one_time(plt):
    X = np.random.default_rng(0).normal(size=(5, 2 * 3 * 2))
    model = Smoother(2, (1.0, 2.0)).fit(X, (2, 3), (0.5, 1.0, 2.0))
    display = FieldDisplay.from_estimator(model, X, field=1)
    np.testing.assert_array_equal(display.data, X[2].reshape(2, 3, 2)[..., 1])
    assert display.title == "v at time 1" and display.extent == (0.0, 4.0, 0.0, 1.0)
    model.spacing = [np.array([5.0, 6.0]), np.array([-1.0, 1.0, 3.0])]
    display = FieldDisplay.from_estimator(model, X, frame=4)
    assert display.extent == (-1.0, 3.0, 5.0, 6.0)
    np.testing.assert_array_equal(display.data, X[4].reshape(2, 3, 2)[..., 0])
    with pytest.raises(ValueError, match=r"frame must be in \[0, 5\), got 5"):
        FieldDisplay.from_estimator(model, X, frame=5)
    with pytest.raises(ValueError, match=r"field must be in \[0, 2\), got 2"):
        FieldDisplay.from_estimator(model, X, field=2)


def test_panels_lie_in_the_axes_that_are_given(plt):
    figure, ax = plt.subplots()
    display = FieldDisplay.from_predictions(np.eye(3), np.eye(3), title="u", ax=ax)
    assert display.ax_ is ax and display.figure_ is figure
    assert display.axes_ == ax.child_axes and not ax.axison
    figure.canvas.draw()


def test_field_errors_name_the_argument():
    with pytest.raises(ValueError, match="data must be of two axes"):
        FieldDisplay(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"truth must be of shape \(2, 2\)"):
        FieldDisplay(np.eye(2), np.eye(2), truth=np.eye(3))
    with pytest.raises(ValueError, match="data must have a finite value"):
        FieldDisplay(np.full((2, 2), np.nan), np.eye(2))
    with pytest.raises(ValueError, match="extent must be four numbers"):
        FieldDisplay(np.eye(2), np.eye(2), extent=(0, 1))


# -- phase planes --------------------------------------------------------------


class Turning(BaseEstimator):
    def fit(self, X):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.column_stack([-X[:, 1], X[:, 0], np.zeros(len(X))])


def test_arrows_stand_at_the_data_and_have_one_length(plt):
    X = np.random.default_rng(0).normal(size=(600, 3)) * [1.0, 50.0, 1.0]
    trajectories = np.repeat([0, 1], 300)
    simulation = np.random.default_rng(1).normal(size=(7, 3))
    display = PhasePortraitDisplay.from_estimator(
        Turning().fit(X), X, trajectories=trajectories, simulation=simulation
    )
    ax = display.ax_
    one, two, run, start = ax.lines
    np.testing.assert_array_equal(one.get_xydata(), X[:300, :2])
    np.testing.assert_array_equal(two.get_xydata(), X[300:, :2])
    np.testing.assert_array_equal(run.get_xydata(), simulation[:, :2])
    np.testing.assert_array_equal(start.get_xydata(), simulation[:1, :2])
    arrows = ax.collections[0]
    np.testing.assert_array_equal(arrows.XY, X[::3, :2])
    np.testing.assert_allclose(np.hypot(arrows.U, arrows.V), 1.0, rtol=1e-12)
    np.testing.assert_allclose(arrows.U * X[::3, 0], -arrows.V * X[::3, 1], rtol=1e-9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x0", "x1")


def test_other_planes_and_states_at_rest(plt):
    X = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    display = PhasePortraitDisplay.from_estimator(Turning().fit(X), X, states=(2, 1))
    assert display.labels == ("x2", "x1")
    # Where nothing moves there is no direction.
    assert len(display.ax_.collections[0].U) == 1
    with pytest.raises(ValueError, match=r"states must be two columns in \[0, 3\)"):
        PhasePortraitDisplay.from_estimator(Turning().fit(X), X, states=(0, 3))


def test_states_alone_can_be_drawn(plt):
    _, ax = plt.subplots()
    display = PhasePortraitDisplay.from_predictions(np.eye(2), ax=ax)
    assert display.ax_ is ax and not ax.collections


def test_phase_plane_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"states must be of shape \(n, 2\)"):
        PhasePortraitDisplay(np.ones((2, 3)))
    with pytest.raises(ValueError, match="directions must have one row a state"):
        PhasePortraitDisplay(np.eye(2), np.ones((3, 2)))
    with pytest.raises(ValueError, match="trajectories must have one label a state"):
        PhasePortraitDisplay(np.eye(2), trajectories=[0])


@pytest.mark.parametrize(
    "display",
    [
        EquationPathDisplay(SUPPORT, LOSS, NAMES),
        FieldDisplay(np.eye(2), np.eye(2)),
        PhasePortraitDisplay(np.eye(2)),
    ],
    ids=lambda display: type(display).__name__,
)
def test_missing_matplotlib_names_the_extra(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf"{name}\.plot needs matplotlib"):
        display.plot()
