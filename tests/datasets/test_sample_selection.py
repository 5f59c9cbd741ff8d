"""Outcomes that are missing by choice: laws, and what undoes the choice."""

import numpy as np
import pytest
from scipy.linalg import toeplitz

from skident.datasets import make_sample_selection

N = 40_000


def effect_by_regression(data):
    """Least squares on the rows that show their outcome, with its standard error."""
    seen = data.selected
    Z = np.column_stack([data.treatment, np.ones(N), data.X])[seen]
    coef, (squares,), _, _ = np.linalg.lstsq(Z, data.y[seen], rcond=None)
    covariance = np.linalg.inv(Z.T @ Z) * squares / seen.sum()
    return coef[0], np.sqrt(covariance[0, 0])


@pytest.mark.parametrize("mar", [True, False])
def test_laws(mar):
    data = make_sample_selection(N, 4, theta=0.7, mar=mar, random_state=0)
    covariance = toeplitz(0.5 ** np.arange(4))
    assert np.abs(np.cov(data.X.T) - covariance).max() < 4.5 * np.sqrt(2 / N)
    np.testing.assert_allclose(data.coef, [0.4, 0.1, 0.4 / 9, 0.025])
    for happened, prob in (
        (data.treatment, data.propensity),
        (data.selected, data.selection_prob),
    ):
        surprise = happened - prob
        moments = np.column_stack([surprise, surprise[:, None] * data.X])
        # Each has a standard error below 0.5 / sqrt(N).
        assert np.abs(moments.mean(axis=0)).max() < 4.5 * 0.5 / np.sqrt(N)
    u = data.outcomes - 0.7 * data.treatment - data.X @ data.coef
    assert abs(u.mean()) < 4.5 / np.sqrt(N) and abs(u.var() - 1) < 4.5 * np.sqrt(2 / N)
    np.testing.assert_array_equal(np.isnan(data.y), ~data.selected)
    np.testing.assert_array_equal(data.y[data.selected], data.outcomes[data.selected])
    # The outcome's noise goes with the selection, and the instrument with it as well,
    # only where outcomes are not missing at random.
    surprise = data.selected - data.selection_prob
    together = np.corrcoef(u, surprise)[0, 1]
    moved = np.corrcoef(data.instrument, data.selected)[0, 1]
    if mar:
        assert abs(together) < 4.5 / np.sqrt(N) and abs(moved) < 4.5 / np.sqrt(N)
    else:
        assert together > 0.3 and moved > 0.3
    assert abs(np.corrcoef(u, data.instrument)[0, 1]) < 4.5 / np.sqrt(N)


def test_only_what_is_missing_at_random_can_be_ignored():
    data = make_sample_selection(N, 4, random_state=1)
    effect, error = effect_by_regression(data)
    assert data.true_effect == 1.0 and abs(effect - 1.0) < 4.5 * error
    hard = make_sample_selection(N, 4, mar=False, random_state=1)
    effect, error = effect_by_regression(hard)
    assert effect - 1.0 < -10 * error


def test_same_seed_same_data():
    one, two = (make_sample_selection(30, 3, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.y, two.y)


@pytest.mark.parametrize(
    "wrong", [{"n_samples": 0}, {"n_features": 0}, {"theta": np.inf}, {"mar": "no"}]
)
def test_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_sample_selection(**wrong)
