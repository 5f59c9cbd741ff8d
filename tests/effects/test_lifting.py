"""Whether predictions depend on settings given the outcome."""

import numpy as np
import pandas as pd
import pytest

from skident.effects._lifting import calibration_gaps, lifting_check

CELLS = pd.Index(["a", "b", "c"], name="site")


def rows(n=1500, seed=0, leak=0.0):
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, 3, n)
    level = (rng.random(n) < 0.2 + 0.3 * cell).astype(int)
    g = 0.2 + 0.6 * level + leak * cell + 0.1 * rng.standard_normal(n)
    return g, level.astype(float), level, cell


def check(g, values, level, cell, labels=(0, 1), seed=0, **params):
    options = {"n_permutations": 99, "min_count": 20} | params
    rng = np.random.default_rng(seed)
    return lifting_check(g, values, level, cell, labels, CELLS, rng=rng, **options)


def test_statistic_and_table_are_those_by_hand():
    g, y, level, cell = rows()
    found = check(g, y, level, cell)
    expected = 0.0
    for k in (0, 1):
        for z, name in enumerate(CELLS):
            here = g[(level == k) & (cell == z)]
            away = here.mean() - g[level == k].mean()
            row = found.frame.loc[(k, name)]
            assert row["n"] == len(here)
            assert row["mean"] == pytest.approx(here.mean())
            assert row["difference"] == pytest.approx(away)
            expected = max(expected, abs(away) / y.std())
    assert found.statistic == pytest.approx(expected)
    assert found.frame.index.names == ["y", "site"]


def test_a_leak_is_found():
    found = check(*rows(leak=0.05))
    assert found.pvalue == 0.01  # none of 99 permutations comes near
    assert found.statistic > found.critical


def test_without_a_leak_the_level_is_kept():
    # p <= 0.1 in one of ten draws: of 100 more than 20 with probability 0.001.
    pvalues = [
        check(*rows(300, seed), seed=seed, n_permutations=49).pvalue
        for seed in range(100)
    ]
    assert np.mean(np.array(pvalues) <= 0.1) <= 0.2
    assert np.mean(np.array(pvalues) <= 0.5) >= 0.3


def test_cells_of_few_rows_are_not_compared():
    g, y, level, cell = rows()
    g = g.copy()
    odd = np.flatnonzero((level == 1) & (cell == 0))
    g[odd[:5]] = 50.0
    keep = np.ones(len(g), dtype=bool)
    keep[odd[5:]] = False
    found = check(g[keep], y[keep], level[keep], cell[keep])
    assert np.isnan(found.frame.loc[(1, "a"), "difference"])
    assert found.frame.loc[(1, "a"), "n"] == 5


def test_nothing_to_compare_is_said():
    g, y, level, _ = rows(100)
    found = check(g, y, level, np.zeros(100, dtype=int))
    assert np.isnan([found.statistic, found.pvalue, found.critical]).all()
    assert "No outcome was seen often enough" in str(found)


def test_flat_predictions_depend_on_nothing():
    _, y, level, cell = rows()
    found = check(np.full(len(y), 0.4), y, level, cell)
    assert found.statistic == pytest.approx(0, abs=1e-12)
    assert found.pvalue == 1


def test_the_text_claims_no_more_than_the_test():
    text = str(check(*rows()))
    assert "A large one does not show that they do" in text
    assert "Only outcomes of the target could tell" in text


def test_gaps_of_calibration_and_their_errors():
    rng = np.random.default_rng(0)
    cell = np.repeat([0, 1, 2], [400, 400, 1])
    y = rng.standard_normal(801)
    g = np.where(cell == 1, -0.5, 0.0)
    found = calibration_gaps(g, y, cell, CELLS)
    error = y[cell == 1] + 0.5
    assert found.loc["b", "gap"] == pytest.approx(error.mean())
    assert found.loc["b", "stderr"] == pytest.approx(error.std(ddof=1) / 20)
    assert found["flagged"].tolist() == [False, True, False]
    assert np.isnan(found.loc["c", "stderr"])


@pytest.mark.parametrize(("n_cells", "n_rows"), [(3, 100), (40, 2), (40, 5)])
def test_flags_keep_their_level_over_all_cells(n_cells, n_rows):
    # 0.05 over 300 draws: more than 27 with probability 0.001. By the normal law 40
    # cells of five rows were flagged in 0.73 of the draws.
    cell = np.repeat(np.arange(n_cells), n_rows)
    index = pd.RangeIndex(n_cells)
    rng = np.random.default_rng(0)
    flags = 0
    for _ in range(300):
        y = rng.standard_normal(len(cell))
        found = calibration_gaps(np.zeros(len(cell)), y, cell, index)
        flags += found["flagged"].any()
    assert 3 <= flags <= 27


def test_a_real_outcome_is_taken_out_within_its_bins():
    # Within a bin y differs between cells, and so do predictions that are y itself.
    rng = np.random.default_rng(0)
    cell = rng.integers(0, 3, 6000)
    y = cell + rng.standard_normal(6000)
    level = np.searchsorted([0.0, 1.0, 2.0], y)
    labels = list("wxyz")
    crude = check(y, y, level, cell, labels)
    fine = check(y, y, level, cell, labels, linear=True)
    assert crude.statistic > crude.critical
    assert fine.statistic == pytest.approx(0, abs=1e-9)
    leaking = check(y + 0.3 * cell, y, level, cell, labels, linear=True)
    assert leaking.statistic > 0.1 and leaking.pvalue == 0.01
