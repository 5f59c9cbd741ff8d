"""The signed matching of the components of two representations."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from skident.metrics import _inputs, match_components, mean_correlation_coefficient


def rows(seed, n_samples, n_components):
    return np.random.default_rng(seed).laplace(size=(n_samples, n_components))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finds_order_and_signs_and_ignores_shift_and_scale(dtype):
    rng = np.random.default_rng(0)
    Y = rows(1, 500, 20)
    order, signs = rng.permutation(20), rng.choice([-1.0, 1.0], 20)
    other = (signs * rng.uniform(0.1, 9.0, 20)) * Y[:, order] + rng.normal(size=20)
    match = match_components(Y.astype(dtype), other.astype(dtype))
    np.testing.assert_array_equal(order[match.permutation], np.arange(20))
    np.testing.assert_array_equal(match.signs, signs[match.permutation])
    # Rounding of the data, once; the sums are float64.
    np.testing.assert_allclose(match.correlations, 1.0, atol=10 * np.finfo(dtype).eps)
    assert match.correlations.max() <= 1.0
    aligned = match.signs * other[:, match.permutation]
    assert (np.corrcoef(aligned[:, 3], Y[:, 3])[0, 1]) > 0.999


def test_maximises_the_total_absolute_correlation():
    Y1, Y2 = rows(0, 30, 6), rows(1, 30, 6)
    correlations = np.corrcoef(Y1, Y2, rowvar=False)[:6, 6:]
    best = max(np.abs(correlations[range(6), p]).mean() for p in permutations(range(6)))
    match = match_components(Y1, Y2)
    assert mean_correlation_coefficient(Y1, Y2) == pytest.approx(best, rel=1e-12)
    matched = correlations[range(6), match.permutation]
    np.testing.assert_allclose(match.signs * match.correlations, matched, rtol=1e-10)
    # Each component's favourite alone would not be a matching here.
    assert len(set(np.abs(correlations).argmax(axis=1))) < 6


def test_unequal_numbers_of_components():
    Y = rows(0, 200, 7)
    few = match_components(Y[:, :3], -Y)
    np.testing.assert_array_equal(few.permutation, [0, 1, 2])
    np.testing.assert_array_equal(few.signs, [-1, -1, -1])
    many = match_components(Y, Y[:, [4, 1]])
    np.testing.assert_array_equal(many.permutation, [-1, 1, -1, -1, 0, -1, -1])
    np.testing.assert_array_equal(many.signs, [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(np.isnan(many.correlations), many.permutation < 0)
    assert mean_correlation_coefficient(Y, Y[:, [4, 1]]) == pytest.approx(1.0)


def test_a_constant_component_correlates_with_nothing():
    Y = rows(0, 100, 2)
    # 0.1 has no exact mean: its rounding must not pass for a signal.
    match = match_components(Y, np.column_stack([np.full(100, 0.1), Y[:, 0]]))
    np.testing.assert_array_equal(match.permutation, [1, 0])
    np.testing.assert_allclose(match.correlations, [1.0, 0.0], atol=1e-14)


def test_a_large_offset_costs_only_its_rounding(monkeypatch):
    Y = rows(0, 1000, 3)
    other = rows(1, 1000, 3) + Y
    expected = mean_correlation_coefficient(Y, other)
    # An entry near 1e6 is rounded by 1e-10.
    shifted = mean_correlation_coefficient(Y + 1e6, other - 1e6)
    assert shifted == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(_inputs, "_CHUNK_ENTRIES", 6 * 17)
    assert mean_correlation_coefficient(Y, other) == pytest.approx(expected, rel=1e-13)


def test_mcc_is_symmetric_and_invariant():
    rng = np.random.default_rng(2)
    Y1, Y2 = rows(3, 100, 8), rows(4, 100, 8)
    score = mean_correlation_coefficient(Y1, Y2)
    assert 0 < score < 1
    assert mean_correlation_coefficient(Y2, Y1) == pytest.approx(score, rel=1e-12)
    moved = rng.choice([-2.0, 0.5], 8) * Y2[:, rng.permutation(8)] + 3.0
    assert mean_correlation_coefficient(Y1, moved) == pytest.approx(score, rel=1e-12)
    order = rng.permutation(100)
    shuffled = mean_correlation_coefficient(Y1[order], Y2[order])
    assert shuffled == pytest.approx(score, rel=1e-12)


def test_unrelated_representations_score_what_chance_gives():
    k, n = 10, 10_000
    score = mean_correlation_coefficient(rows(0, n, k), rows(1, n, k))
    # Correlations are about N(0, 1/n); the mean of the best of a row is an upper bound.
    assert score < np.sqrt(2 * np.log(2 * k) / n)


def test_takes_dataframes_and_single_columns():
    Y = rows(0, 50, 2)
    frame = pd.DataFrame(Y, columns=["a", "b"])
    assert mean_correlation_coefficient(frame, -Y) == pytest.approx(1.0)
    assert mean_correlation_coefficient(Y[:, 0], frame["a"]) == pytest.approx(1.0)
    np.testing.assert_array_equal(match_components(frame, Y).permutation, [0, 1])


@pytest.mark.parametrize("score", [match_components, mean_correlation_coefficient])
def test_errors_name_the_argument(score):
    Y = rows(0, 10, 3)
    hole = Y.copy()
    hole[-1, 2] = np.nan
    with pytest.raises(ValueError, match="Y1 and Y2 must be of the same rows: got 10"):
        score(Y, Y[:9])
    with pytest.raises(ValueError, match=r"Y2 must be finite.* n_samples = 10"):
        score(Y, hole)
    with pytest.raises(ValueError, match="Y1 must be finite"):
        score(np.full_like(Y, np.inf), Y)
    with pytest.raises(ValueError, match=r"Y1 must be two-dimensional and not empty"):
        score(Y[:0], Y[:0])
    with pytest.raises(ValueError, match=r"Y2 must be two-dimensional .* \(10, 3, 1\)"):
        score(Y, Y[:, :, None])
    for wrong in ([["1"], ["2"]], [[1j], [2]], [[None], [{}]]):
        with pytest.raises(ValueError, match="Y1 must be numbers, got"):
            score(wrong, Y[:2])


@pytest.mark.parametrize("unit", [1e-170, 1e170])
def test_units_of_any_size(unit):
    Y = np.random.default_rng(0).laplace(size=(100, 3))
    assert mean_correlation_coefficient(Y, unit * Y) == pytest.approx(1.0, abs=1e-12)
