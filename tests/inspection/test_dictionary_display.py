"""What the dictionary plot draws."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skident.inspection import DictionaryDisplay

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def plt():
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


class Fitted(BaseEstimator):
    def fit(self, components):
        self.components_ = components
        self.activation_frequency_ = np.array([0.1, 0.0, 0.7, 0.2, 0.2])
        return self


@pytest.fixture
def components():
    return np.random.default_rng(0).standard_normal((5, 6))


def test_mosaic_places_scaled_images_in_reading_order(plt, components):
    components[3] = 0.0
    display = DictionaryDisplay.from_predictions(components, image_shape=(2, 3))
    drawn = np.ma.filled(display.ax_.images[0].get_array(), np.nan)
    # Three columns and two rows of 2 x 3 images, a pixel apart.
    assert drawn.shape == (2 * 2 + 1, 3 * 3 + 2)
    for number, (top, left) in enumerate([(0, 0), (0, 4), (0, 8), (3, 0), (3, 4)]):
        image = components[number].reshape(2, 3)
        peak = np.abs(image).max() or 1.0
        np.testing.assert_allclose(drawn[top : top + 2, left : left + 3], image / peak)
    assert np.isnan(drawn[2]).all() and np.isnan(drawn[:, 3]).all()
    assert np.isnan(drawn[3:, 8:]).all()
    assert display.ax_.images[0].get_clim() == (-1, 1)
    assert display.figure_ is display.ax_.figure


def test_colour_images(plt):
    components = np.random.default_rng(0).standard_normal((4, 12))
    display = DictionaryDisplay.from_predictions(components, image_shape=(2, 2, 3))
    drawn = np.asarray(display.ax_.images[0].get_array())
    assert drawn.shape == (5, 5, 3)
    first = components[0].reshape(2, 2, 3)
    np.testing.assert_allclose(drawn[:2, :2], 0.5 + first / np.abs(first).max() / 2)
    np.testing.assert_array_equal(drawn[2], 0.85)


def test_heat_map(plt, components):
    _, ax = plt.subplots()
    display = DictionaryDisplay.from_predictions(
        components, order=[4, 0, 2], n_atoms=2, ax=ax
    )
    assert display.ax_ is ax
    np.testing.assert_array_equal(display.indices, [4, 0])
    np.testing.assert_array_equal(ax.images[0].get_array(), components[[4, 0]])
    limit = np.abs(components[[4, 0]]).max()
    assert ax.images[0].get_clim() == (-limit, limit)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["4", "0"]


def test_from_estimator(plt, components):
    est = Fitted()
    with pytest.raises(NotFittedError):
        DictionaryDisplay.from_estimator(est)
    est.fit(components)
    by_frequency = DictionaryDisplay.from_estimator(est, n_atoms=4)
    np.testing.assert_array_equal(by_frequency.indices, [2, 3, 4, 0])
    as_is = DictionaryDisplay.from_estimator(est, order=None, n_atoms=None)
    np.testing.assert_array_equal(as_is.indices, np.arange(5))
    chosen = DictionaryDisplay.from_estimator(est, order=[1], image_shape=(3, 2))
    np.testing.assert_array_equal(chosen.components, components[[1]])
    del est.activation_frequency_
    with pytest.raises(ValueError, match="Fitted does not have"):
        DictionaryDisplay.from_estimator(est)


def test_errors_name_the_argument(plt, components):
    make = DictionaryDisplay.from_predictions
    with pytest.raises(ValueError, match="components must be two-dimensional"):
        DictionaryDisplay(components[0])
    with pytest.raises(ValueError, match=r"not empty, got shape \(0, 6\)"):
        make(components[:0])
    for shape in [(2, 2), (6,), (1, 2, 3, 1), (3, 1, 2)]:
        with pytest.raises(ValueError, match="image_shape must be"):
            make(components, image_shape=shape)
    with pytest.raises(ValueError, match=r"order must hold .* \[0, 5\), got 0 to 5"):
        make(components, order=[0, 5])
    with pytest.raises(ValueError, match="order must be one-dimensional"):
        make(components, order=[0.5])
    with pytest.raises(ValueError, match="n_atoms must be at least 1, got 0"):
        make(components, n_atoms=0)
    with pytest.raises(ValueError, match='order must be "frequency", atoms or None'):
        DictionaryDisplay.from_estimator(Fitted().fit(components), order="size")
