import numpy as np
import pytest

from skident.utils import _rows
from skident.utils._rows import scale_rows

RNG = np.random.default_rng(0)


def test_l2_against_a_row_by_row_computation():
    X = RNG.standard_normal((7, 5))
    scaled, shift, scale = scale_rows(X, "l2")
    for i, row in enumerate(X):
        # Two roundings, of the peak's and of the norm's division.
        np.testing.assert_allclose(scaled[i], row / np.linalg.norm(row), rtol=1e-15)
    np.testing.assert_array_equal(shift, np.zeros((7, 1)))
    np.testing.assert_allclose(scale[:, 0], np.linalg.norm(X, axis=1), rtol=1e-15)


def test_center_l2_against_a_row_by_row_computation():
    X = RNG.standard_normal((7, 5)) + 3
    scaled, shift, scale = scale_rows(X, "center_l2")
    for i, row in enumerate(X):
        left = row - row.mean()
        # Centring loses the ratio of row to what is left of it, below 10 here.
        np.testing.assert_allclose(scaled[i], left / np.linalg.norm(left), atol=1e-14)
    np.testing.assert_allclose(shift[:, 0], X.mean(axis=1), rtol=1e-15)
    np.testing.assert_allclose(scaled.sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(scaled * scale + shift, X, rtol=1e-14)


@pytest.mark.parametrize("how", ["center_l2", "l2", None])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (np.int64, np.float64),
    ],
)
def test_dtype(how, given, kept):
    X = RNG.integers(1, 9, (6, 4)).astype(given)
    results = scale_rows(X, how)
    assert [result.dtype for result in results] == [kept] * 3
    assert [result.shape for result in results] == [(6, 4), (6, 1), (6, 1)]
    scaled, shift, scale = results
    tolerance = 8 * np.finfo(kept).eps
    np.testing.assert_allclose(scaled * scale + shift, X, rtol=tolerance)


def test_float32_is_rounded_once():
    X = RNG.standard_normal((50, 300)).astype(np.float32)
    scaled, _, _ = scale_rows(X, "center_l2")
    exact, _, _ = scale_rows(X.astype(np.float64), "center_l2")
    np.testing.assert_array_equal(scaled, exact.astype(np.float32))


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1e300, 5e-324, 1e-30])
@pytest.mark.parametrize("width", [1, 3, 7, 768])
def test_constant_rows_are_centred_to_exact_zeros(value, width):
    scaled, shift, scale = scale_rows(np.full((2, width), value), "center_l2")
    np.testing.assert_array_equal(scaled, 0)
    np.testing.assert_array_equal(scale, 0)
    np.testing.assert_array_equal(shift, value)


def test_zero_rows_stay_zero_beside_others():
    X = np.array([[0.0, 0.0], [3.0, 4.0]])
    scaled, _, scale = scale_rows(X, "l2")
    np.testing.assert_allclose(scaled, [[0, 0], [0.6, 0.8]], rtol=1e-15)
    np.testing.assert_array_equal(scale, [[0], [5]])


@pytest.mark.parametrize("how", ["center_l2", "l2"])
@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_units_do_not_matter_however_extreme(how, unit):
    X = RNG.standard_normal((5, 6)) + 1
    scaled, _, _ = scale_rows(X, how)
    other, _, scale = scale_rows(unit * X, how)
    np.testing.assert_allclose(other, scaled, atol=1e-14)
    assert np.isfinite(scale).all() and (scale > 0).all()


def test_none_gives_the_array_itself():
    X = RNG.standard_normal((3, 2))
    scaled, shift, scale = scale_rows(X, None)
    assert scaled is X
    np.testing.assert_array_equal(shift, 0)
    np.testing.assert_array_equal(scale, 1)


@pytest.mark.parametrize("how", ["center_l2", "l2"])
def test_blocks_change_nothing(how, monkeypatch):
    X = RNG.standard_normal((23, 4))
    whole = scale_rows(X, how)
    monkeypatch.setattr(_rows, "_BLOCK_ELEMENTS", 9)  # two rows a block
    for one, other in zip(whole, scale_rows(X, how), strict=True):
        np.testing.assert_array_equal(one, other)


def test_input_is_left_as_it_was():
    X = RNG.standard_normal((4, 3))
    X.flags.writeable = False
    scale_rows(X, "center_l2")


def test_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match='how must be "center_l2", "l2" or None'):
        scale_rows(np.ones((2, 2)), "max")
