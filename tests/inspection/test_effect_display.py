"""What the forest plot of effects draws."""

import sys

import numpy as np
import pandas as pd
import pytest

from skident.compose import FromColumns
from skident.effects import SelectionBiasATE, aipw_ate
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import EffectDisplay

matplotlib = pytest.importorskip("matplotlib")

NAN = np.nan
NAMES = ["naive", "adjusted", "population", "refused"]
EFFECTS = [1.0, 2.0, NAN, NAN]
INTERVALS = [[0.5, 1.5], [1.2, 2.8], [NAN, NAN], [NAN, NAN]]
BOUNDS = [[NAN, NAN], [NAN, NAN], [-1.0, 4.0], [NAN, NAN]]


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


class Estimator:
    """Has what a fitted estimator of an effect has."""

    effect_ = 2.0
    bounds_ = None

    def confidence_interval(self, level=0.95):
        half = 0.8 if level == 0.95 else 0.4
        return self.effect_ - half, self.effect_ + half


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_rows_are_drawn_from_the_top(plt):
    display = EffectDisplay.from_predictions(
        NAMES, EFFECTS, INTERVALS, bounds=BOUNDS, truth=2.5
    )
    ax = display.ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert ax.yaxis_inverted()
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert points.get_xdata().tolist() == [1.0, 2.0]
    assert points.get_ydata().tolist() == [0, 1]
    (intervals,) = ax.collections
    drawn = [segment.tolist() for segment in intervals.get_segments()]
    assert drawn == [[[0.5, 0], [1.5, 0]], [[1.2, 1], [2.8, 1]]]
    (bar,) = ax.patches
    assert (bar.get_x(), bar.get_width()) == (-1.0, 5.0)
    assert bar.get_y() + bar.get_height() / 2 == pytest.approx(2.0)
    # Only the row that has nothing says so.
    (text,) = ax.texts
    assert text.get_text() == "not identified" and text.get_position()[1] == 3
    assert legend(display) == ["estimate", "95 % interval", "bounds", "truth"]
    positions = [line.get_xdata()[0] for line in ax.lines]
    assert 2.5 in positions and 0.0 in positions
    low, high = ax.get_xlim()
    assert low < -1.0 and high > 4.0


def test_legend_names_only_what_is_drawn(plt):
    display = EffectDisplay.from_predictions(["one"], [3.0])
    assert legend(display) == ["estimate"]
    assert not display.ax_.patches and not display.ax_.collections
    low, high = display.ax_.get_xlim()
    assert low < 3.0 < high
    nothing = EffectDisplay.from_predictions(["one"], [NAN])
    assert nothing.ax_.get_legend() is None and len(nothing.ax_.texts) == 1
    zero = EffectDisplay.from_predictions(["one"], [0.0])
    assert np.ptp(zero.ax_.get_xlim()) > 0


def test_infinite_bounds_reach_the_edge(plt):
    display = EffectDisplay.from_predictions(
        ["one", "two"], [NAN, 1.0], bounds=[[0.0, np.inf], [NAN, NAN]]
    )
    (bar,) = display.ax_.patches
    assert bar.get_x() == 0.0
    assert bar.get_x() + bar.get_width() == pytest.approx(display.ax_.get_xlim()[1])


def test_one_estimator_is_shown_beside_what_it_corrects(plt):
    estimator = Estimator()
    display = EffectDisplay.from_estimator(estimator, truth=1.0, level=0.5)
    assert display.names == ["effect"] and display.level == 0.5
    np.testing.assert_allclose(display.intervals, [[1.6, 2.4]])
    assert "50 % interval" in legend(display)
    rng = np.random.default_rng(0)
    treatment = np.arange(100) % 2
    naive = aipw_ate(rng.normal(size=100) + treatment, treatment, method="difference")
    estimator.effect_naive_ = naive
    estimator.effect_selected_ = None
    estimator.effect_ = NAN
    estimator.bounds_ = np.array([-2.0, 3.0])
    display = EffectDisplay.from_estimator(estimator)
    assert display.names == ["naive", "whole population"]
    assert display.effects[0] == naive.effect
    np.testing.assert_allclose(display.intervals[0], naive.confidence_interval())
    assert display.identified.tolist() == [True, False]
    np.testing.assert_array_equal(display.bounds[1], [-2.0, 3.0])
    assert np.isnan(display.intervals[1]).all()


def test_a_fit_under_selection(plt):
    rng = np.random.default_rng(0)
    X, treatment = rng.normal(size=(200, 1)), np.arange(200) % 2
    y = X[:, 0] + treatment + rng.normal(size=200)
    options = {"min_selection_prob": 0.5, "random_state": 0}
    model = SelectionBiasATE(**options)
    with pytest.warns(IdentifiabilityWarning):
        model.fit(X, y, treatment=treatment)
    display = EffectDisplay.from_estimator(model, truth=1.0)
    assert display.names == ["naive", "selected rows, adjusted", "whole population"]
    assert display.identified.tolist() == [True, True, False]
    np.testing.assert_array_equal(display.bounds[2], model.bounds_)
    # The interval of an effect between the bounds reaches beyond both.
    np.testing.assert_allclose(display.intervals[2], model.bounds_confidence_interval())
    assert display.intervals[2, 0] < model.bounds_[0]
    assert display.intervals[2, 1] > model.bounds_[1]


def test_a_fit_to_columns_of_a_dataframe_is_shown_as_itself(plt):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=200), "treated": np.arange(200) % 2})
    y = frame["age"] + frame["treated"] + rng.normal(size=200)
    model = SelectionBiasATE(selection_depends_on=(), random_state=0)
    model = FromColumns(model, treatment="treated")
    with pytest.raises(TypeError, match="is a FromColumns without"):
        EffectDisplay.from_estimator(model)
    model.fit(frame, y)
    display = EffectDisplay.from_estimator(model)
    expected = EffectDisplay.from_estimator(model.estimator_)
    assert display.names == expected.names and len(display.names) == 3
    np.testing.assert_array_equal(display.effects, expected.effects)
    beside = EffectDisplay.from_estimator({"whole": model})
    assert beside.effects.tolist() == [model.estimator_.effect_]


def test_several_estimators(plt):
    y, treatment = np.arange(20.0), np.arange(20) % 2
    found = {
        "difference": aipw_ate(y, treatment, method="difference"),
        "b": Estimator(),
    }
    _, ax = plt.subplots()
    display = EffectDisplay.from_estimator(found, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert display.names == ["difference", "b"]
    np.testing.assert_allclose(display.effects, [1.0, 2.0])
    with pytest.raises(TypeError, match="'c' is a object without"):
        EffectDisplay.from_estimator({"c": object()})


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = EffectDisplay(["one"], [1.0])
    with pytest.raises(ImportError, match=r"skident\[plot\]"):
        display.plot()


@pytest.mark.parametrize(
    ("names", "effects", "wrong", "message"),
    [
        ([], [], {}, "not empty"),
        (["a"], [[1.0]], {}, "one-dimensional"),
        (["a"], [np.inf], {}, "finite, or NaN"),
        (["a", "b"], [1.0], {}, "one entry an effect, got 2 for 1"),
        (
            ["a"],
            [1.0],
            {"intervals": [1.0, 2.0]},
            r"intervals must be of shape \(1, 2\)",
        ),
        (["a"], [1.0], {"intervals": [[2.0, 1.0]]}, r"got \(2, 1\) in row 0"),
        (["a"], [1.0], {"bounds": [[NAN, 1.0]]}, "bounds must have both ends"),
    ],
)
def test_errors(names, effects, wrong, message):
    with pytest.raises(ValueError, match=message):
        EffectDisplay(names, effects, **wrong)
