"""What the stability plot draws."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE, SAEStability
from skident.exceptions import IdentifiabilityWarning
from skident.inspection import StabilityDisplay

matplotlib = pytest.importorskip("matplotlib")
STABILITY = np.array([0.2, 0.99, 0.5, 0.95, 0.9])


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


class Fitted(BaseEstimator):
    def __init__(self, min_stability=0.9):
        self.min_stability = min_stability

    def fit(self):
        self.atom_stability_ = STABILITY
        # A rule of the estimator's own, which the display must not replace.
        self.stable_ = np.array([False, True, False, True, False])
        return self


def test_curve_is_sorted_and_marks_the_kept_atoms(plt):
    display = StabilityDisplay.from_predictions(STABILITY, threshold=0.9)
    curve, kept, rest, line = display.ax_.lines
    np.testing.assert_array_equal(curve.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(curve.get_ydata(), [0.99, 0.95, 0.9, 0.5, 0.2])
    np.testing.assert_array_equal(kept.get_ydata(), [0.99, 0.95, 0.9])
    np.testing.assert_array_equal(rest.get_ydata(), [0.5, 0.2])
    assert set(line.get_ydata()) == {0.9}
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["stable (3 of 5)", "not stable", "threshold 0.9"]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_ylabel() == "Stability"


def test_histogram_counts_every_atom_once(plt):
    _, ax = plt.subplots()
    display = StabilityDisplay.from_predictions(
        STABILITY, threshold=0.9, kind="hist", ax=ax
    )
    assert display.ax_ is ax
    assert sum(patch.get_height() for patch in ax.patches) == 5
    assert ax.get_ylabel() == "Number of atoms"


@pytest.mark.parametrize("kind", ["curve", "hist"])
def test_without_threshold_all_are_kept(plt, kind):
    display = StabilityDisplay.from_predictions(STABILITY, kind=kind)
    assert display.stable.all()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["stable (5 of 5)"]


def test_from_estimator(plt):
    est = Fitted()
    with pytest.raises(NotFittedError):
        StabilityDisplay.from_estimator(est)
    display = StabilityDisplay.from_estimator(est.fit())
    np.testing.assert_array_equal(display.stable, est.stable_)
    assert display.threshold == 0.9
    np.testing.assert_array_equal(display.ax_.lines[1].get_ydata(), [0.99, 0.95])


def test_from_a_real_analysis(plt):
    data = make_sparse_dictionary(400, 8, 12, 1, random_state=0)
    sae = IdentifiableSAE(12, 1, learning_rate=0.01, max_epochs=2, batch_size=100)
    with warnings.catch_warnings():
        # The theorem's assumptions need not hold for what is only drawn here.
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = SAEStability(sae, n_fits=2, random_state=0).fit(data.X)
    display = StabilityDisplay.from_estimator(fitted)
    np.testing.assert_array_equal(display.stable, fitted.stable_)
    assert display.threshold == fitted.min_stability
    assert len(display.ax_.lines[0].get_ydata()) == 12


def test_errors_name_the_argument(plt):
    with pytest.raises(ValueError, match="atom_stability must be one-dimensional"):
        StabilityDisplay(np.ones((2, 2)))
    with pytest.raises(ValueError, match="stable must have one entry an atom"):
        StabilityDisplay(STABILITY, stable=[True])
    with pytest.raises(ValueError, match=r"kind must be .*, got 'pie'"):
        StabilityDisplay(STABILITY).plot(kind="pie")


def test_missing_matplotlib_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    display = StabilityDisplay(STABILITY)
    with pytest.raises(ImportError, match=r"StabilityDisplay.plot needs matplotlib"):
        display.plot(ax=SimpleNamespace())
