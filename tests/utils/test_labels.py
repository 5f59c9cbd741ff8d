"""Labels to codes, against numpy's sort."""

import numpy as np
import pytest

from skident.utils._labels import distinct


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, -2, 3, 0, 7]),
        np.array([200, 3, 200], dtype=np.uint8),
        np.array([True, False, True]),
        np.array([False, False]),
        np.array([1.0, -0.0, 0.0, 5.0], dtype=np.float32),
        np.array([0.5, 1.0, 0.5]),
        np.array([np.inf, 1.0]),
        np.array([2**62, 2**62 + 1, 0]),
        np.array([0, 10**9, 5, 5]),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        np.array([], dtype=int),
        np.random.default_rng(0).integers(-50, 50, 1000),
    ],
    ids=str,
)
def test_labels_and_codes_are_those_of_a_sort(values):
    labels, codes = distinct(values)
    expected, inverse = np.unique(values, return_inverse=True)
    assert labels.dtype == values.dtype
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(codes, inverse)


def test_labels_that_cannot_be_sorted_are_a_type_error():
    with pytest.raises(TypeError):
        distinct(np.array([1, "a"], dtype=object))
