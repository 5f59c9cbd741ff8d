"""What the plots of components draw."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skident.decomposition import ICAPostProcessor
from skident.inspection import ComponentEnergyDisplay, ComponentMatchDisplay

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.laplace(size=(3000, 4)) @ rng.standard_normal((4, 4))


def test_matched_components_stand_on_the_diagonal(plt):
    Y = np.random.default_rng(0).laplace(size=(500, 4))
    order = np.array([2, 0, 3, 1])
    display = ComponentMatchDisplay.from_predictions(Y, -Y[:, order])
    drawn = np.asarray(display.ax_.images[0].get_array())
    np.testing.assert_allclose(np.diag(drawn), 1)
    np.testing.assert_array_equal(display.columns, np.argsort(order))
    expected = np.abs(np.corrcoef(Y.T))
    np.testing.assert_allclose(drawn, expected, atol=1e-12)
    # Rounding of a mean of four products of unit vectors.
    assert display.mcc == pytest.approx(1, abs=1e-12)
    assert "1.000" in display.ax_.get_title()
    assert display.figure_ is display.ax_.figure


@pytest.mark.parametrize("wide_first", [True, False])
def test_runs_of_different_width(plt, wide_first):
    Y = np.random.default_rng(0).laplace(size=(500, 4))
    two = Y[:, [3, 1]]
    pair = (Y, two) if wide_first else (two, Y)
    display = ComponentMatchDisplay.from_predictions(*pair)
    drawn = np.asarray(display.ax_.images[0].get_array())
    assert drawn.shape == ((4, 2) if wide_first else (2, 4))
    np.testing.assert_allclose(np.diag(drawn), 1)
    assert display.mcc == pytest.approx(1, abs=1e-12)
    rows = [1, 3, 0, 2] if wide_first else [0, 1]
    np.testing.assert_array_equal(display.rows, rows)
    labels = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert labels == [str(row) for row in rows]


def test_a_constant_component_correlates_with_nothing(plt):
    Y = np.random.default_rng(0).laplace(size=(100, 2))
    display = ComponentMatchDisplay.from_predictions(Y, Y * [1, 0])
    assert np.isfinite(display.correlation).all()
    assert display.mcc == pytest.approx(0.5)


def test_two_fits_from_their_estimators(plt, rows):
    one = ICAPostProcessor(random_state=0)
    with pytest.raises(NotFittedError):
        ComponentMatchDisplay.from_estimator(one, one, rows)
    one.fit(rows[::2])
    two = ICAPostProcessor(random_state=1).fit(rows[1::2])
    _, ax = plt.subplots()
    display = ComponentMatchDisplay.from_estimator(one, two, rows, ax=ax)
    assert display.ax_ is ax
    assert display.mcc > 0.98


def test_energies_and_what_is_identified(plt, rows):
    est = ICAPostProcessor(random_state=0)
    with pytest.raises(NotFittedError):
        ComponentEnergyDisplay.from_estimator(est)
    est.fit(rows)
    est.identified_mask_ = np.array([True, True, False, True])
    display = ComponentEnergyDisplay.from_estimator(est)
    kept, rest = display.ax_.containers
    heights = [bar.get_height() for bar in kept]
    share = est.component_energy_ / est.component_energy_.sum()
    np.testing.assert_allclose(heights, share[[0, 1, 3]])
    assert [bar.get_x() + bar.get_width() / 2 for bar in rest] == [2.0]
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["identified (3 of 4)", "not identified"]


def test_energies_at_hand_are_all_identified(plt):
    _, ax = plt.subplots()
    display = ComponentEnergyDisplay.from_predictions([3.0, 1.0], ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["identified (2 of 2)"]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="correlation must be two-dimensional"):
        ComponentMatchDisplay(np.ones(3), np.arange(3))
    with pytest.raises(ValueError, match="permutation must have one entry a row"):
        ComponentMatchDisplay(np.ones((2, 2)), np.arange(3))
    with pytest.raises(ValueError, match="energy must be one-dimensional"):
        ComponentEnergyDisplay(np.ones((2, 2)))
    with pytest.raises(ValueError, match="energy must be finite"):
        ComponentEnergyDisplay([1.0, np.nan])
    with pytest.raises(ValueError, match="identified must have one entry a comp"):
        ComponentEnergyDisplay([1.0, 2.0], identified=[True])


@pytest.mark.parametrize("name", ["ComponentMatchDisplay", "ComponentEnergyDisplay"])
def test_missing_matplotlib_names_the_extra(monkeypatch, name):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    display = {
        "ComponentMatchDisplay": lambda: ComponentMatchDisplay(np.eye(2), np.arange(2)),
        "ComponentEnergyDisplay": lambda: ComponentEnergyDisplay([1.0]),
    }[name]()
    with pytest.raises(ImportError, match=f"{name}.plot needs matplotlib"):
        display.plot()
