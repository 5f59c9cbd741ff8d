"""The geometric median: optimality, equivariance, robustness."""

import numpy as np
import pytest
from scipy.optimize import minimize

from skident.solvers import _geometric_median, geometric_median


def test_one_dimension_is_the_median():
    X = np.array([[-4.0], [0.0], [1.0], [2.0], [50.0]])
    # The median is a row: the iteration must end there, not near it.
    np.testing.assert_allclose(geometric_median(X, tol=1e-10), [1.0], atol=1e-6)


def test_gradient_vanishes_at_the_median():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 6)) ** 3
    median = geometric_median(X, tol=1e-12, max_iter=1000)
    offset = X - median
    unit = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    assert np.linalg.norm(unit.mean(axis=0)) < 1e-9
    found = minimize(
        lambda p: np.linalg.norm(X - p, axis=1).mean(),
        X.mean(axis=0),
        method="BFGS",
        options={"gtol": 1e-8},
    )
    np.testing.assert_allclose(median, found.x, atol=1e-5)


def test_default_tolerance_bounds_the_error():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((2000, 8)) ** 3
    exact = geometric_median(X, tol=1e-13, max_iter=1000)
    # In eight dimensions the iteration contracts by about 1/8 + a step: the error
    # is below the last step, 1e-5 of the mean distance.
    scale = np.linalg.norm(X - exact, axis=1).mean()
    assert np.linalg.norm(geometric_median(X) - exact) < 1e-5 * scale


def test_equivariant_under_rotation_shift_and_units():
    rng = np.random.default_rng(2)
    X = rng.exponential(size=(300, 5))
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    median = geometric_median(X)
    np.testing.assert_allclose(
        geometric_median(1e-7 * (X @ Q + 3.0)), 1e-7 * (median @ Q + 3.0), rtol=1e-9
    )


def test_outliers_move_it_little():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((1000, 4))
    spoiled = X.copy()
    spoiled[:100] = 1e6
    # A tenth of the force, all from one side, is balanced within a fifth of the
    # typical distance (the mean moves by 1e5).
    shift = np.linalg.norm(geometric_median(spoiled) - geometric_median(X))
    assert shift < 0.2 * np.sqrt(4) * 2


def test_median_at_a_row():
    # Three unit vectors at 120 degrees cancel; the last two rows together pull with
    # 0.64, less than the one with which the origin, itself a row, holds the point.
    angle = 2 * np.pi * np.arange(3) / 3
    star = np.column_stack([np.cos(angle), np.sin(angle)])
    X = np.vstack([[0.0, 0.0], star, [9.0, 0.1], [-4.0, 3.0]])
    np.testing.assert_allclose(
        geometric_median(X, tol=1e-12, max_iter=10_000), 0.0, atol=1e-6
    )


def test_leaves_a_row_that_is_the_mean_but_not_the_median():
    # The mean, where the iteration starts, is the second row; the median is 0.
    X = np.array([[0.0], [1.0], [0.0], [0.0], [4.0]])
    np.testing.assert_allclose(geometric_median(X, tol=1e-9), [0.0], atol=1e-6)


def test_identical_rows_and_one_row():
    np.testing.assert_array_equal(geometric_median(np.full((7, 3), 2.5)), [2.5] * 3)
    np.testing.assert_array_equal(geometric_median([[1.0, -2.0]]), [1.0, -2.0])


def test_chunks_and_dtypes(monkeypatch):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((200, 3)).astype(np.float16)
    expected = geometric_median(X.astype(np.float64))
    monkeypatch.setattr(_geometric_median, "_CHUNK_BYTES", 200)
    median = geometric_median(X)
    assert median.dtype == np.float32 and expected.dtype == np.float64
    np.testing.assert_allclose(median, expected, atol=1e-6)
    np.testing.assert_allclose(
        geometric_median(X, max_iter=0), X.astype(float).mean(axis=0), atol=1e-6
    )


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="X must be two-dimensional"):
        geometric_median(np.ones(3))
    with pytest.raises(ValueError, match="at least one row"):
        geometric_median(np.ones((0, 3)))
    with pytest.raises(ValueError, match="X must be finite"):
        geometric_median([[1.0, np.nan]])
