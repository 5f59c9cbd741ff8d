"""Shrinkage of predictions, undone where the response to the outcome is known."""

import numpy as np
import pytest

from skident.effects._label_shift import (
    class_response,
    confusion_matrix,
    corrected,
    linear_response,
    neighbouring_rises,
)


def predictions_of(classes, confusion, rng):
    """Hard predictions drawn from the columns of a confusion matrix."""
    cumulative = confusion.cumsum(axis=0)[:, classes]
    return (rng.random(len(classes)) > cumulative).sum(axis=0)


CONFUSION = np.array([[0.8, 0.2, 0.1], [0.15, 0.7, 0.2], [0.05, 0.1, 0.7]])


def test_perfect_predictions_are_left_alone():
    level = np.arange(90) % 3
    values = np.array([-1.0, 0.5, 7.0])
    response = class_response(np.eye(3)[level], level, values)
    np.testing.assert_allclose(response.means, np.eye(3))
    np.testing.assert_allclose(response.solve(), values, rtol=1e-12)
    assert response.reliability == pytest.approx(1)
    assert response.extra_variance(np.ones(3)) == pytest.approx(0, abs=1e-12)


def test_class_shares_are_recovered_through_a_known_confusion():
    # With columns met exactly in 10^5 rows a class, only the ridge, 0.25 / 10^5 over
    # a smallest squared singular value of 0.3, is left: below 10^-5.
    level = np.repeat([0, 1, 2], 100_000)
    hard = np.concatenate(
        [np.repeat([0, 1, 2], np.round(1e5 * column).astype(int))
         for column in CONFUSION.T]
    )  # fmt: skip
    np.testing.assert_allclose(confusion_matrix(hard, level, 3), CONFUSION, rtol=1e-9)
    shares = np.array([0.2, 0.5, 0.3])
    seen = CONFUSION @ shares
    for k in range(3):
        response = class_response(np.eye(3)[hard], level, np.eye(3)[k])
        found = response.solve() @ seen
        assert found == pytest.approx(shares[k], abs=1e-3)


def test_binary_soft_predictions_are_stretched_to_the_two_means():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 2, 5000)
    p = np.clip(0.35 + 0.3 * level + 0.1 * rng.standard_normal(5000), 0, 1)
    parts = np.column_stack([1 - p, p])
    response = class_response(parts, level, np.array([0.0, 1.0]))
    low, high = p[level == 0].mean(), p[level == 1].mean()
    assert response.reliability == pytest.approx(high - low)
    found = corrected(response, p, parts)
    # The ridge, 0.25 / 2500, over the smallest squared singular value, about 0.09.
    np.testing.assert_allclose(found, (p - low) / (high - low), atol=5e-3)


def test_rows_are_weighted():
    rng = np.random.default_rng(0)
    level, weight = np.arange(60) % 2, rng.integers(0, 3, 60).astype(float)
    p = rng.random((60, 2))
    copies = np.repeat(np.arange(60), weight.astype(int))
    values = np.array([0.0, 1.0])
    one = class_response(p, level, values, weight)
    two = class_response(p[copies], level[copies], values)
    np.testing.assert_allclose(one.means, two.means)
    for j in (0, 1):
        here = level[copies] == j
        np.testing.assert_allclose(one.means[:, j], p[copies][here].mean(axis=0))
        outcome = p[copies][here] @ two.solve()
        assert two.spread[j] == pytest.approx(outcome.var())
    kish = [weight[level == j].sum() ** 2 / (weight[level == j] ** 2).sum()
            for j in (0, 1)]  # fmt: skip
    np.testing.assert_allclose(one.counts, kish)


@pytest.mark.parametrize("soft", [False, True])
def test_the_error_of_the_response_is_the_spread_over_draws(soft):
    rng = np.random.default_rng(0)
    values = np.array([0.0, 1.0, 2.0])
    shares = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])  # by arm
    effects, stderrs = [], []
    for _ in range(400):
        level = rng.integers(0, 3, 900)
        parts = np.eye(3)[predictions_of(level, CONFUSION, rng)]
        if soft:
            parts = 0.7 * parts + 0.3 * rng.dirichlet(np.ones(3), len(level))
        response = class_response(parts, level, values)
        u = response.solve()
        expected = 0.7 * CONFUSION + 0.1 if soft else CONFUSION
        class_effects = expected @ (shares[1] - shares[0])
        effects.append(u @ class_effects)
        stderrs.append(np.sqrt(response.extra_variance(class_effects)))
    # The truth is 0.8; a standard deviation of 400 draws is known to 3.5 %, and the
    # delta method and the ridge are off by the order of the error itself.
    assert np.mean(effects) == pytest.approx(0.8, abs=0.02)
    assert np.mean(stderrs) == pytest.approx(np.std(effects), rel=0.2)


def test_classes_that_cannot_be_told_are_refused():
    level = np.arange(40) % 2
    with pytest.raises(ValueError, match="tell the classes apart"):
        class_response(np.full((40, 2), 0.5), level, np.array([0.0, 1.0])).solve()
    with pytest.raises(ValueError, match="got none of 1 of 3 classes"):
        class_response(np.eye(3)[level], level, np.arange(3.0)).solve()
    confusion = confusion_matrix(level, level, 3)
    np.testing.assert_allclose(confusion[:, :2], np.eye(3)[:, :2], atol=1e-12)
    assert np.isnan(confusion[:, 2]).all()
    one_class = class_response(np.ones((4, 1)), np.zeros(4, dtype=int), np.ones(1))
    assert np.isnan(one_class.reliability)


def test_a_line_in_the_outcome_is_straightened():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(4000)
    g = 0.3 + 0.6 * y + 0.2 * rng.standard_normal(4000)
    response = linear_response(g, y)
    # Standard errors of the regression, 0.2 / sqrt(4000): four of them.
    assert response.stderr == pytest.approx(0.2 / np.sqrt(4000), rel=0.1)
    assert response.slope == pytest.approx(0.6, abs=4 * response.stderr)
    again = linear_response(corrected(response, g, None), y)
    assert again.slope == pytest.approx(1)
    assert again.intercept == pytest.approx(0, abs=1e-12)
    assert response.extra_variance(2.0) == pytest.approx(
        (2 * response.stderr / response.slope) ** 2
    )
    weight = rng.integers(0, 3, 4000)
    copies = np.repeat(np.arange(4000), weight)
    assert linear_response(g, y, weight).slope == pytest.approx(
        linear_response(g[copies], y[copies]).slope
    )


def test_predictions_that_do_not_rise_are_refused():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(200)
    for g in (rng.standard_normal(200), -y):
        with pytest.raises(ValueError, match="rise with the outcome"):
            linear_response(g, y).solve()
    with pytest.raises(ValueError, match="rise with the outcome"):
        linear_response(y, np.ones(200)).solve()


# --- rises from outcome to outcome ---------------------------------------------------


def test_rises_are_those_of_the_means_and_weights_count_rows():
    rng = np.random.default_rng(0)
    level = np.repeat([0, 1, 2], [40, 50, 60])
    y = np.array([3.0, -1.0, 0.0])[level]  # codes need not be in the order of values
    expected = 0.5 * y + rng.standard_normal(150)
    found = neighbouring_rises(expected, y, level)
    groups = [expected[level == k] for k in (1, 2, 0)]
    means = np.array([g.mean() for g in groups])
    errors = np.array([g.var() / (len(g) - 1) for g in groups])
    np.testing.assert_allclose(found.rise, np.diff(means) / [1.0, 3.0])
    np.testing.assert_allclose(
        found.stderr, np.sqrt(errors[1:] + errors[:-1]) / [1.0, 3.0]
    )
    assert found.least == pytest.approx(min(found.rise + 3 * found.stderr))
    assert found.clearest == pytest.approx(min(found.rise / found.stderr))
    kept = rng.random(150) < 0.5
    weighted = neighbouring_rises(expected, y, level, kept.astype(float))
    part = neighbouring_rises(expected[kept], y[kept], level[kept])
    np.testing.assert_allclose(weighted.rise, part.rise)
    np.testing.assert_allclose(weighted.stderr, part.stderr)


def test_perfect_predictions_rise_without_error_and_one_outcome_does_not():
    y = np.array([0.0, 0.0, 2.0, 2.0])
    found = neighbouring_rises(y, y, np.array([0, 0, 1, 1]))
    assert found.least == 1 and found.clearest == np.inf
    flat = neighbouring_rises(np.ones(4), y, np.array([0, 0, 1, 1]))
    assert flat.least == 0 and flat.clearest == 0
    single = neighbouring_rises(y, np.ones(4), np.zeros(4, dtype=int))
    assert np.isnan(single.least) and np.isnan(single.clearest)
