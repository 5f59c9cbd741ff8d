"""The trial whose recordings show the treatment."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skident.datasets import make_ppci_shortcut


def test_laws_of_the_columns():
    n = 40_000
    data = make_ppci_shortcut(n, p1=0.7, p0=0.2, sigma=0.8, random_state=0)
    t, y = data.treatment, data.y
    assert data.true_effect == pytest.approx(0.5)
    # Shares have errors of at most 0.5 / sqrt(n / 2), moments of 1.5 / sqrt(n).
    error = 4 * 0.5 / np.sqrt(n / 2)
    assert abs(t.mean() - 0.5) < error
    assert abs(y[t == 1].mean() - 0.7) < error and abs(y[t == 0].mean() - 0.2) < error
    np.testing.assert_array_equal(y, data.potential_outcomes[np.arange(n), t])
    assert abs(np.diff(data.potential_outcomes, axis=1).mean() - 0.5) < error
    np.testing.assert_array_equal(data.settings, t[:, None])
    noise = np.column_stack(
        [(data.X[:, 0] - y) / 0.8, (data.X[:, 1] - t) / 0.3, data.X[:, 2:]]
    )
    known = np.column_stack([noise, t, y])
    assert np.abs(noise.mean(axis=0)).max() < 6 / np.sqrt(n)
    assert np.abs(noise.var(axis=0) - 1).max() < 6 * np.sqrt(2 / n)
    correlations = np.corrcoef(known, rowvar=False)[:5]
    assert np.abs(correlations - np.eye(5, 7)).max() < 4.5 / np.sqrt(n)


def test_plain_learning_takes_the_shortcut():
    train = make_ppci_shortcut(4000, random_state=0)
    target = make_ppci_shortcut(4000, p1=0.5, p0=0.5, random_state=1)
    assert target.true_effect == 0
    predicted = LogisticRegression().fit(train.X, train.y).predict_proba(target.X)[:, 1]
    t = target.treatment == 1
    # 0.365 over many draws, each with an error of 0.02.
    assert predicted[t].mean() - predicted[~t].mean() > 0.25
    honest = LogisticRegression().fit(train.X[:, [0]], train.y)
    predicted = honest.predict_proba(target.X[:, [0]])[:, 1]
    assert abs(predicted[t].mean() - predicted[~t].mean()) < 0.06


def test_same_seed_same_data():
    one, two = (make_ppci_shortcut(30, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.X, two.X)


@pytest.mark.parametrize(
    "wrong", [{"n_samples": 0}, {"p1": 1.1}, {"p0": -0.1}, {"sigma": -1.0}]
)
def test_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_ppci_shortcut(**wrong)
