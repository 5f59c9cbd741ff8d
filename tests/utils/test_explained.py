"""Shares of variance, of rows that weigh differently."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from skident.utils._explained import explained_variance

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((50, 3)) * [1.0, 3.0, 0.2] + 5.0
RESIDUAL = 0.3 * RNG.standard_normal((50, 3))
WEIGHTS = RNG.random(50)


def blocks(*at):
    return zip(np.split(ROWS, at), np.split(RESIDUAL, at), strict=True)


def test_is_the_weighted_r2_of_all_columns_together():
    # Columns weigh by their variance, which scikit-learn takes with the row weights.
    wanted = r2_score(
        ROWS,
        ROWS - RESIDUAL,
        sample_weight=WEIGHTS,
        multioutput="variance_weighted",
    )
    for at in ((), (7, 20), (0, 50)):
        assert explained_variance(blocks(*at), WEIGHTS) == pytest.approx(wanted)


@pytest.mark.parametrize("unit", [1e-20, 3.0, 1e20])
def test_the_unit_of_weights_does_not_matter(unit):
    wanted = explained_variance(blocks(), WEIGHTS)
    assert explained_variance(blocks(), unit * WEIGHTS) == pytest.approx(wanted)


def test_equal_weights_are_none():
    assert explained_variance(blocks(), np.ones(50)) == explained_variance(blocks())


def test_rows_of_no_weight_are_as_if_left_out():
    weights = np.repeat([1.0, 0.0], 25)
    wanted = explained_variance([(ROWS[:25], RESIDUAL[:25])])
    assert explained_variance(blocks(), weights) == pytest.approx(wanted)


@pytest.mark.parametrize(("error", "score"), [(0.0, 1.0), (0.1, 0.0)])
def test_a_single_row_that_weighs_is_met_or_not(error, score):
    weights, residual = np.zeros(50), np.full((50, 3), error)
    weights[3] = 0.5
    assert explained_variance([(ROWS, residual)], weights) == score
