"""The signed matching of two dictionaries."""

from itertools import permutations

import numpy as np
import pytest

from skident.metrics import AtomMatch, dictionary_cosine_similarity, match_atoms


def atoms(seed, n_components, n_features):
    return np.random.default_rng(seed).standard_normal((n_components, n_features))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finds_permutation_signs_and_ignores_scale(dtype):
    rng = np.random.default_rng(0)
    a = atoms(1, 40, 15).astype(dtype)
    order, signs = rng.permutation(40), rng.choice([-1.0, 1.0], 40)
    b = (signs * rng.uniform(0.1, 9.0, 40))[:, None] * a[order]
    match = match_atoms(a, b.astype(dtype))
    np.testing.assert_array_equal(order[match.permutation], np.arange(40))
    np.testing.assert_array_equal(match.signs, signs[match.permutation])
    np.testing.assert_allclose(match.cosines, 1.0, atol=10 * np.finfo(dtype).eps)
    assert match.cosines.max() <= 1.0


def test_maximises_the_total_over_all_matchings():
    a, b = atoms(0, 6, 3), atoms(1, 6, 3)
    unit = [d / np.linalg.norm(d, axis=1, keepdims=True) for d in (a, b)]
    cosines = np.abs(unit[0] @ unit[1].T)
    best = max(cosines[range(6), p].sum() for p in permutations(range(6)))
    match = match_atoms(a, b)
    assert match.cosines.sum() == pytest.approx(best, rel=1e-12)
    np.testing.assert_allclose(
        match.cosines, cosines[range(6), match.permutation], rtol=1e-12
    )
    # Each atom's favourite alone would not be a matching here.
    assert len(set(cosines.argmax(axis=1))) < 6


def test_unequal_sizes():
    a = atoms(0, 7, 20)
    few = match_atoms(a[:3], -a)
    np.testing.assert_array_equal(few.permutation, [0, 1, 2])
    np.testing.assert_array_equal(few.signs, [-1, -1, -1])
    many = match_atoms(a, a[[4, 1]])
    np.testing.assert_array_equal(many.permutation, [-1, 1, -1, -1, 0, -1, -1])
    np.testing.assert_array_equal(many.signs, [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(np.isnan(many.cosines), many.permutation < 0)
    assert dictionary_cosine_similarity(a, a[[4, 1]]) == pytest.approx(1.0)


def test_a_zero_atom_matches_with_cosine_zero():
    a = np.array([[1.0, 0.0], [0.0, 0.0]])
    match = match_atoms(a, np.array([[0.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(match.permutation, [1, 0])
    np.testing.assert_array_equal(match.cosines, [1.0, 0.0])


def test_similarity_is_symmetric_and_invariant():
    rng = np.random.default_rng(2)
    a, b = atoms(3, 30, 8), atoms(4, 30, 8)
    score = dictionary_cosine_similarity(a, b)
    assert 0 < score < 1
    assert dictionary_cosine_similarity(b, a) == pytest.approx(score, rel=1e-12)
    moved = rng.choice([-2.0, 0.5], 30)[:, None] * b[rng.permutation(30)]
    assert dictionary_cosine_similarity(a, moved) == pytest.approx(score, rel=1e-12)
    match = match_atoms(a, b)
    assert dictionary_cosine_similarity(a, b, match) == score
    assert dictionary_cosine_similarity(a, a) == pytest.approx(1.0, rel=1e-12)


def test_errors_name_the_argument():
    a = atoms(0, 4, 3)
    with pytest.raises(ValueError, match="as many features: got 3 and 2"):
        match_atoms(a, a[:, :2])
    with pytest.raises(ValueError, match="dictionary_a must be two-dimensional"):
        match_atoms(a[0], a)
    with pytest.raises(ValueError, match="dictionary_b must be two-dimensional and"):
        match_atoms(a, a[:0])
    with pytest.raises(ValueError, match="dictionary_b must be finite"):
        match_atoms(a, np.full_like(a, np.nan))
    with pytest.raises(ValueError, match="match must be of the 4 atoms"):
        dictionary_cosine_similarity(a, a, AtomMatch(*np.ones((3, 2))))
