"""Two exact codes of every row on one dictionary."""

import numpy as np
import pytest

from skident.datasets import make_ambiguous_dictionary


@pytest.mark.parametrize(("n_features", "n_components", "k"), [(16, 20, 4), (2, 4, 2)])
def test_ambiguous_dictionary(n_features, n_components, k):
    data = make_ambiguous_dictionary(30, n_features, n_components, k, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(data.dictionary, axis=1), 1)
    for codes, support in zip(
        (data.codes, data.other_codes), data.supports, strict=True
    ):
        np.testing.assert_allclose(codes @ data.dictionary, data.X, atol=1e-14)
        assert codes.has_sorted_indices
        np.testing.assert_array_equal(codes.indices.reshape(-1, k), [support] * 30)
    # k + 2 atoms in k dimensions: the Gram matrix of the union is singular.
    union = data.dictionary[np.union1d(*data.supports)]
    assert np.linalg.eigvalsh(union @ union.T)[0] < 1e-14
    assert np.linalg.matrix_rank(data.dictionary) == k


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_active": 1}, "n_active must be in .* got 1"),
        ({"n_active": 19}, r"= \[2, 16\], got 19"),
        ({"n_components": 5}, r"= \[2, 3\], got 4"),
        ({"tilt": 1.0}, "tilt must be in"),
        ({"n_samples": 0}, "n_samples must be at least 1"),
    ],
)
def test_ambiguous_dictionary_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_ambiguous_dictionary(**wrong)
