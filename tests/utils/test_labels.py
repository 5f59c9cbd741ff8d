"""Labels to codes, against numpy's sort."""

import numpy as np
import pytest

from skident.utils._labels import class_values, distinct


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


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (np.array([False, True]), [0, 1]),
        (np.array([-1, 4, 7]), [-1, 4, 7]),
        (np.array(["1", "3"]), [1, 3]),
        (np.array(["1", "2.5", "9"], dtype=object), [1, 2.5, 9]),
        (np.array(["no", "yes"]), [0, 1]),
        (np.array(["inf", "nan"]), [0, 1]),
        (np.array(["only"]), [0]),
        (np.array(["a", "b", "c"]), None),
    ],
    ids=str,
)
def test_classes_stand_for_numbers(classes, expected):
    values = class_values(classes)
    assert (None if values is None else values.tolist()) == expected
