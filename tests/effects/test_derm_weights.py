"""Weights that make an outcome independent of settings: identities and edge cases."""

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from skident.effects import derm_weights
from skident.effects._derm_weights import combine, weigh

# Cells of 10^4 rows and sums over them: rounding stays far below.
EXACT = 1e-12


def problem(n=4000, n_classes=4, seed=0):
    """Outcomes that depend on two settings, every class in every cell."""
    rng = np.random.default_rng(seed)
    settings = np.column_stack([rng.integers(0, 2, n), rng.integers(0, 3, n)])
    p = 0.25 + 0.2 * settings[:, 0] + 0.1 * settings[:, 1]
    return rng.binomial(n_classes - 1, p), settings


def joint(weights, y, settings):
    """Weighted law of outcome (columns) and cell (rows)."""
    cell = np.unique(settings, axis=0, return_inverse=True)[1].ravel()
    table = np.zeros((cell.max() + 1, y.max() + 1))
    np.add.at(table, (cell, y), weights)
    return table / table.sum()


def test_the_worked_example():
    y = [0, 0, 0, 1, 0, 1, 1, 1]
    settings = [[0]] * 4 + [[1]] * 4
    weights, cells = derm_weights(y, settings)
    expected = np.array([2 / 3] * 3 + [2] + [2] + [2 / 3] * 3)
    np.testing.assert_allclose(weights, expected, rtol=EXACT)
    np.testing.assert_allclose(cells.variance, 0.25, rtol=EXACT)

    weights, cells = derm_weights([*y, 1, 1], [*settings, [2], [2]])
    # The mean over all rows is one, those of no weight included.
    np.testing.assert_allclose(weights[:8], expected * 10 / 8, rtol=EXACT)
    assert (weights[8:] == 0).all()
    assert cells.status.tolist() == ["full", "full", "dropped"]
    assert cells.loc[2, "n_missing"] == 1


def test_the_weighted_law_is_the_one_of_the_theory():
    y, settings = problem()
    # One cell never sees the largest outcome, another one sees a single outcome.
    y[(settings == [0, 0]).all(axis=1) & (y == 3)] = 0
    y[(settings == [1, 2]).all(axis=1)] = 3
    weights, cells = derm_weights(y, settings)
    law = joint(weights, y, settings)
    support = np.bincount(np.unique(np.column_stack([
        np.unique(settings, axis=0, return_inverse=True)[1].ravel(), y
    ]), axis=0)[:, 0])  # fmt: skip
    variance = [
        y[(settings == cell).all(axis=1)].var(ddof=1)
        for cell in np.unique(settings, axis=0)
    ]
    mass = support * variance
    assert support.tolist() == [3, 4, 4, 4, 4, 1]
    np.testing.assert_allclose(law.sum(axis=1), mass / mass.sum(), atol=EXACT)
    for row, size in zip(law[:-1], support, strict=False):
        np.testing.assert_allclose(row[row > 0], row.sum() / size, atol=EXACT)
    assert (law[-1] == 0).all()
    assert abs(weights.mean() - 1) < EXACT
    assert cells.support_size.tolist() == support.tolist()
    np.testing.assert_allclose(cells.mass, mass / mass.sum(), atol=EXACT)
    assert cells.status.tolist() == ["partial", *["full"] * 4, "dropped"]


def test_a_binary_outcome_has_a_closed_form():
    y, settings = problem(n_classes=2)
    weights, _ = derm_weights(y, settings, normalize=None)
    for cell in np.unique(settings, axis=0):
        rows = (settings == cell).all(axis=1)
        n, p = rows.sum(), y[rows].mean()
        factor = n / (n - 1) * len(y) / n
        np.testing.assert_allclose(weights[rows & (y == 1)], (1 - p) * factor)
        np.testing.assert_allclose(weights[rows & (y == 0)], p * factor)


def test_with_full_support_outcome_and_settings_are_independent():
    y, settings = problem()
    weights, cells = derm_weights(y, settings)
    law = joint(weights, y, settings)
    ratio = law / (law.sum(axis=1, keepdims=True) * law.sum(axis=0))
    assert (law * np.log(ratio)).sum() < EXACT
    assert (cells.status == "full").all()
    found = weigh(
        y.astype(float), y, [np.arange(2), np.arange(3)], settings
    ).mutual_information()
    assert 0 <= found < EXACT


def test_missing_outcomes_leave_mutual_information():
    y, settings = problem()
    y[(settings[:, 0] == 0) & (y > 1)] = 0
    found = weigh(y.astype(float), y, [np.arange(2), np.arange(3)], settings)
    law = joint(found.weights, y, settings)
    some = law > 0
    ratio = law[some] / np.outer(law.sum(axis=1), law.sum(axis=0))[some]
    expected = (law[some] * np.log(ratio)).sum()
    assert expected > 0.05
    assert found.mutual_information() == pytest.approx(expected, abs=EXACT)


def test_units_row_order_and_label_names_do_not_matter():
    y, settings = problem()
    weights, _ = derm_weights(y, settings)
    order = np.random.default_rng(1).permutation(len(y))
    shuffled, _ = derm_weights(y[order], settings[order])
    np.testing.assert_allclose(shuffled, weights[order], rtol=EXACT)
    named = np.array(["b", "a", "c"])[settings]
    for other in (named, settings * 10 - 7.5, pd.DataFrame(named)):
        np.testing.assert_allclose(derm_weights(y, other)[0], weights, rtol=EXACT)
    np.testing.assert_allclose(derm_weights(5 - 3.0 * y, settings)[0], weights)


def test_labels_of_two_classes_are_zero_and_one():
    y, settings = problem(n_classes=2)
    expected = derm_weights(y, settings)[0]
    for labels in (np.array(["no", "yes"])[y], y == 1, np.array([3.5, 9.0])[y]):
        np.testing.assert_allclose(derm_weights(labels, settings)[0], expected)
    numbers = np.array(["1", "2"], dtype=object)[y]
    np.testing.assert_allclose(derm_weights(numbers, settings)[0], expected)


def test_sample_weights_stand_for_rows_and_have_no_unit():
    y, settings = problem(n=600)
    rng = np.random.default_rng(2)
    s = rng.integers(0, 4, len(y)).astype(float)
    weights, cells = derm_weights(y, settings, sample_weight=s)
    again, _ = derm_weights(y, settings, sample_weight=1e-3 * s)
    np.testing.assert_allclose(again, weights, rtol=EXACT)
    assert s @ weights / s.sum() == pytest.approx(1, abs=EXACT)
    there = s > 0
    without, _ = derm_weights(y[there], settings[there], sample_weight=s[there])
    np.testing.assert_allclose(weights[there], without, rtol=EXACT)
    # Copies of rows differ by degrees of freedom only: n / (n - 1) of some 70 rows.
    copies = np.repeat(np.arange(len(y)), s.astype(int))
    repeated, cells_of_copies = derm_weights(y[copies], settings[copies])
    np.testing.assert_allclose(weights[copies], repeated, rtol=0.02)
    np.testing.assert_allclose(cells.n, cells_of_copies.n)


def test_a_weighted_variance_has_kish_degrees_of_freedom():
    s = np.array([1.0, 2.0, 3.0, 1.0, 1.0])
    y, settings = np.array([0, 1, 1, 0, 1]), np.array([[0]] * 3 + [[1]] * 2)
    _, cells = derm_weights(y, settings, sample_weight=s)
    p, kish = 5 / 6, 36 / 14
    assert cells.loc[0, "variance"] == pytest.approx(p * (1 - p) * kish / (kish - 1))
    assert cells.loc[1, "variance"] == pytest.approx(0.5)


def test_caps_and_floors():
    y, settings = problem()
    plain, _ = derm_weights(y, settings)
    floored, _ = derm_weights(y, settings, prob_floor=0.02)
    assert floored.max() < plain.max()
    assert floored.mean() == pytest.approx(1)

    multiple, _ = derm_weights(y, settings, weight_cap=2.0)
    expected = np.minimum(plain, 2.0)
    np.testing.assert_allclose(multiple, expected / expected.mean())
    quantile, _ = derm_weights(y, settings, weight_cap=0.9)
    cut = np.quantile(plain, 0.9, method="inverted_cdf")
    expected = np.minimum(plain, cut)
    np.testing.assert_allclose(quantile, expected / expected.mean())
    unchanged, _ = derm_weights(y, settings, weight_cap=1e9, prob_floor=1e-9)
    np.testing.assert_allclose(unchanged, plain)


def test_real_outcomes_are_weighted_by_their_bins():
    rng = np.random.default_rng(0)
    settings = rng.integers(0, 2, (2000, 1))
    y = settings[:, 0] + rng.standard_normal(2000)
    weights, cells = derm_weights(y, settings, y_bins=5)
    edges = np.quantile(y, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")
    bins = np.searchsorted(edges, y)
    law = joint(weights, bins, settings)
    for row in law:
        np.testing.assert_allclose(row, row.sum() / 5, atol=EXACT)
    mass = np.array([y[settings[:, 0] == z].var(ddof=1) for z in (0, 1)])
    np.testing.assert_allclose(law.sum(axis=1), mass / mass.sum(), atol=EXACT)
    assert cells.support_size.tolist() == [5, 5]

    weights, _ = derm_weights(y, settings, y_bins=5, bin_strategy="uniform")
    bins = np.searchsorted(np.linspace(y.min(), y.max(), 6)[1:-1], y)
    per_bin = [np.unique(weights[(bins == b) & (settings[:, 0] == 0)]) for b in (1, 2)]
    assert [len(found) for found in per_bin] == [1, 1]


def test_bins_of_weighted_rows_are_those_of_copies():
    rng = np.random.default_rng(0)
    y, settings = rng.standard_normal(300), rng.integers(0, 2, (300, 1))
    s = rng.integers(0, 3, 300)
    copies = np.repeat(np.arange(300), s)
    one, _ = derm_weights(y, settings, y_bins=4, sample_weight=s)
    two, _ = derm_weights(y[copies], settings[copies], y_bins=4)
    np.testing.assert_allclose(one[copies], two, rtol=0.02)


def test_an_outcome_of_few_values_has_few_bins():
    y, settings = problem(n_classes=2)
    binned, _ = derm_weights(y, settings, y_bins=10)
    np.testing.assert_allclose(binned, derm_weights(y, settings)[0])


def test_cells_keep_the_names_and_levels_of_settings():
    y, settings = problem()
    frame = pd.DataFrame({"arm": settings[:, 0], "site": np.array(list("xyz"))[
        settings[:, 1]]})  # fmt: skip
    cells = derm_weights(y, frame)[1]
    assert cells.index.names == ["arm", "site"]
    assert cells.loc[(1, "z"), "n"] == (settings == [1, 2]).all(axis=1).sum()
    assert cells.share.sum() == pytest.approx(1)
    one = derm_weights(y, frame[["site"]])[1]
    assert one.index.tolist() == ["x", "y", "z"]


def test_a_cell_of_one_row_has_no_weight():
    y, settings = problem()
    y, settings = np.append(y, 2), np.vstack([settings, [9, 9]])
    weights, cells = derm_weights(y, settings)
    assert weights[-1] == 0
    assert cells.loc[(9, 9), "status"] == "dropped"
    weighted, _ = derm_weights(y, settings, sample_weight=np.full(len(y), 0.1))
    np.testing.assert_allclose(weighted, weights)


def test_kish_numbers_of_cells():
    y, settings = problem()
    weights, cells = derm_weights(y, settings)
    for cell, row in cells.iterrows():
        w = weights[(settings == cell).all(axis=1)]
        assert row.effective_sample_size == pytest.approx(w.sum() ** 2 / (w @ w))


@pytest.mark.parametrize(
    ("y", "settings", "message"),
    [
        ([1, 1, 1], [[0], [0], [1]], "y has a single class or value"),
        ([0, 0, 1, 1], [[0], [0], [1], [1]], "none of the 2 combinations"),
        ([0.1, 0.1, 0.1], [[0], [0], [1]], "nothing to learn"),
        ([0, np.nan, 1], [[0], [0], [1]], "y contains NaN"),
        (["a", "b", "c"], [[0], [0], [0]], "y must be numbers"),
        ([0, 1], [[0], [0], [1]], "settings must be of shape"),
        ([0, 1], [0, 1], "settings must be of shape"),
        ([0, 1], [[0.0], [np.nan]], "settings must have a label in every row"),
    ],
)
def test_what_cannot_be_weighted_is_refused(y, settings, message):
    with pytest.raises(ValueError, match=message):
        derm_weights(y, settings)


@pytest.mark.parametrize(
    "params",
    [
        {"prob_floor": 1.0},
        {"weight_cap": 0.0},
        {"normalize": "sum"},
        {"y_bins": 1},
        {"bin_strategy": "kmeans"},
        {"sample_weight": [-1, 1, 1]},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        derm_weights([0, 1, 1], [[0], [0], [0]], **params)


def test_many_settings_of_many_levels_do_not_overflow():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1000, (50, 12))
    codes[25:] = codes[:25]
    cell, found = combine(codes, [1000] * 12)
    expected, inverse = np.unique(codes, axis=0, return_inverse=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(cell, inverse.ravel())
    weights, cells = derm_weights(np.arange(50) // 25, codes)
    assert len(cells) == 25
    np.testing.assert_allclose(weights, 1)


def test_memory_is_linear_in_the_rows():
    rng = np.random.default_rng(0)

    def peak(n):
        y, settings = rng.integers(0, 5, n), rng.integers(0, 10, (n, 2))
        tracemalloc.start()
        derm_weights(y, settings)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1000)  # pandas is imported here
    assert peak(200_000) < 2.2 * peak(100_000)


def test_a_million_rows_take_less_than_a_second():
    rng = np.random.default_rng(0)
    y, settings = rng.integers(0, 5, 10**6), rng.integers(0, 10, (10**6, 2))
    start = time.process_time()
    _, cells = derm_weights(y, settings)
    # Measured 0.13 s of one core, which a loaded machine does not make more.
    assert time.process_time() - start < 1
    assert len(cells) == 100
