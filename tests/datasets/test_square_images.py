"""Squares rendered by area: mass, place and speed are exact."""

import pickle

import numpy as np
import pytest
from scipy import stats

from skident.datasets import make_square_images
from skident.metrics import bilipschitz_constants


@pytest.mark.parametrize("size", [8, 15, 32])
def test_mass_and_place(size):
    data = make_square_images(2000, size, random_state=0)
    assert data.X.dtype == np.float32 and data.X.shape == (2000, size**2)
    assert np.shares_memory(data.images, data.X)
    x, y, side, intensity = data.factors.T
    images = data.decode(data.factors).reshape(data.images.shape)
    np.testing.assert_array_equal(data.images, images.astype(np.float32))
    mass = intensity * side**2
    np.testing.assert_allclose(images.sum(axis=(1, 2)), mass, rtol=1e-12)
    # The first and last pixels that are lit are those that hold the edges.
    lit = images.max(axis=1) > 0
    assert np.all(lit.argmax(axis=1) == np.floor(x - side / 2))
    last = size - 1 - lit[:, ::-1].argmax(axis=1)
    assert np.all(last == np.ceil(x + side / 2) - 1)
    lit = images.max(axis=2) > 0
    assert np.all(lit.argmax(axis=1) == np.floor(y - side / 2))
    # From a side of two on a pixel is covered whole.
    whole = side >= 2
    brightest = images.max(axis=(1, 2))
    np.testing.assert_allclose(brightest[whole], intensity[whole], rtol=1e-12)
    assert np.all(brightest <= intensity * (1 + 1e-12))


def test_partial_cover_by_hand():
    data = make_square_images(1, 8, random_state=0)
    image = data.decode([[3.25, 4.0, 1.5, 0.5]]).reshape(8, 8)
    expected = np.zeros((8, 8))
    # Across [2.5, 4.0], down [3.25, 4.75].
    expected[3, 2:4] = 0.75 * np.array([0.5, 1.0])
    expected[4, 2:4] = 0.75 * np.array([0.5, 1.0])
    np.testing.assert_allclose(image, 0.5 * expected, atol=1e-15)


def test_factors_are_uniform_independent_and_inside():
    n = 20_000
    data = make_square_images(n, 16, random_state=1)
    for column, (low, high) in zip(data.factors.T, data.ranges, strict=True):
        assert stats.kstest(column, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    correlations = np.corrcoef(data.factors, rowvar=False)
    assert np.abs(correlations - np.eye(4)).max() < 4 / np.sqrt(n)
    x, y, side, _ = data.factors.T
    for at in (x, y):
        assert (at - side / 2).min() >= 0 and (at + side / 2).max() <= 16
    assert data.factor_names == ["x", "y", "side", "intensity"]


def test_translation_has_constant_speed():
    data = make_square_images(1, 32, random_state=0)
    x = np.linspace(8, 24, 641)[:-1] + 0.0123
    track = np.column_stack([x, np.full((640, 1), 13.0), np.full((640, 2), 6.5)])
    track[:, 3] = 0.8
    step = 1e-3
    change = data.decode(track + [step, 0, 0, 0]) - data.decode(track)
    speed = np.linalg.norm(change, axis=1) / step
    # Two edges move over rows with cover c: speed intensity * sqrt(2 sum c^2), here
    # with 6 full rows and two of 0.25. A pixel's border is crossed within a step in one
    # of 25 places only.
    expected = 0.8 * np.sqrt(2 * (6 + 2 * 0.25**2))
    usual = np.isclose(speed, expected, rtol=1e-8)
    assert usual.mean() > 0.9
    assert np.all(np.abs(speed / expected - 1) < 0.3)
    moving = bilipschitz_constants(
        lambda Z: data.decode(np.column_stack([Z, track[:, 1:][: len(Z)]])), x[:, None]
    )
    assert moving.distortion < 1e-3


def test_levels():
    data = make_square_images(3000, 16, n_levels=5, random_state=0)
    assert data.labels.shape == (3000, 4)
    for j in range(4):
        values, codes = np.unique(data.factors[:, j], return_inverse=True)
        np.testing.assert_allclose(values, np.linspace(*data.ranges[j], 5))
        np.testing.assert_array_equal(codes, data.labels[:, j])
    assert "labels" not in make_square_images(2, random_state=0)


def test_seeds_and_pickles():
    one, two = (make_square_images(30, random_state=4) for _ in range(2))
    np.testing.assert_array_equal(one.X, two.X)
    again = pickle.loads(pickle.dumps(one.decode))(one.factors)
    np.testing.assert_array_equal(again.astype(np.float32), one.X)


@pytest.mark.parametrize("wrong", [{"size": 7}, {"n_levels": 1}, {"n_samples": 0}])
def test_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_square_images(**{"n_samples": 3, **wrong})
