"""Bounds under a bounded selection: identities, brute force, sharpness, coverage."""

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skident.effects import selection_bounds
from skident.effects._expectile_bounds import (
    SelectionBounds,
    bound_effect,
    expectile,
    expectile_regression,
    range_bounds,
    share_bounds,
)


def trial(n=500, seed=0, d=2):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    treatment = rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))
    y = X[:, 0] + treatment * (1 + X[:, -1] ** 2) + rng.standard_normal(n)
    return X, y, treatment


def brute_force(values, ratio, upper):
    """Best weighted mean over all thresholds, one by one."""
    found = []
    for threshold in [*values, -np.inf]:
        one_side = values >= threshold if upper else values <= -threshold
        weight = np.where(one_side, ratio, 1.0)
        found.append(weight @ values / weight.sum())
    return max(found) if upper else min(found)


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("ratio", [2.0, 5.0, 20.0])
def test_expectiles_are_the_extreme_means_over_threshold_weights(ratio, upper):
    values = np.random.default_rng(1).standard_normal(500)
    signed = values if upper else -values
    sign = 1 if upper else -1
    wanted = sign * brute_force(signed, ratio, True)
    found, weight = expectile(values, ratio, upper=upper)
    assert found == pytest.approx(wanted, abs=1e-10)
    assert set(weight) == {1.0, ratio}
    coef, _ = expectile_regression(np.ones((500, 1)), values, ratio, upper)
    assert coef[0] == pytest.approx(wanted, abs=1e-10)


def test_expectile_solves_its_equation():
    values = np.random.default_rng(2).exponential(size=400)
    weight = np.random.default_rng(3).uniform(0.5, 2, 400)
    found, _ = expectile(values, 7.0, sample_weight=weight)
    above = weight @ np.maximum(values - found, 0)
    below = weight @ np.maximum(found - values, 0)
    assert 7 * above == pytest.approx(below, rel=1e-12)


def test_expectile_regression_beats_every_other_curve():
    X, y, _ = trial()
    basis = np.column_stack([np.ones(500), X])
    coef, _ = expectile_regression(basis, y, 5.0)

    def loss(coef):
        rest = y - basis @ coef
        return np.sum(np.where(rest > 0, 5.0, 1.0) * rest**2)

    rng = np.random.default_rng(4)
    for size in (1e-3, 1e-1):
        for _ in range(20):
            assert loss(coef) < loss(coef + size * rng.standard_normal(3))


@pytest.mark.parametrize("reference", [False, True])
def test_a_ratio_of_one_is_the_t_learner(reference):
    X, y, treatment = trial()
    new = np.random.default_rng(5).uniform(-1, 1, (100, 2)) if reference else None
    bounds = selection_bounds(X, y, treatment, 1.0, x_reference=new, degree=3)
    at = X if new is None else new
    model = make_pipeline(StandardScaler(), PolynomialFeatures(3), LinearRegression())
    means = [
        model.fit(X[treatment == t], y[treatment == t]).predict(at) for t in (0, 1)
    ]
    wanted = (means[1] - means[0]).mean()
    assert bounds.lower == pytest.approx(wanted, abs=1e-10)
    assert bounds.upper == pytest.approx(wanted, abs=1e-10)


def test_a_learner_takes_the_place_of_the_polynomials():
    X, y, treatment = trial()
    ours = selection_bounds(X, y, treatment, 0.3, degree=1)
    theirs = selection_bounds(X, y, treatment, 0.3, outcome_learner=LinearRegression())
    assert theirs.lower == pytest.approx(ours.lower, abs=1e-10)
    assert theirs.upper == pytest.approx(ours.upper, abs=1e-10)
    assert np.isnan(theirs.stderr).all() and theirs.degree == ()
    assert np.isnan(theirs.confidence_interval()).all()
    tree = DecisionTreeRegressor(max_depth=3, random_state=0)
    bent = selection_bounds(X, y, treatment, 0.3, outcome_learner=tree)
    assert bent.lower < bent.upper


def test_bounds_widen_with_the_ratio():
    X, y, treatment = trial()
    found = [
        selection_bounds(X, y, treatment, d, degree=2) for d in (1, 0.5, 0.2, 0.05)
    ]
    assert (np.diff([b.lower for b in found]) < 0).all()
    assert (np.diff([b.upper for b in found]) > 0).all()


def test_a_selection_without_the_outcome_leaves_the_covariates_open():
    X, y, treatment = trial()
    narrow = selection_bounds(X, y, treatment, 0.2, degree=2, on_outcome=False)
    wide = selection_bounds(X, y, treatment, 0.2, degree=2)
    assert wide.lower < narrow.lower < narrow.upper < wide.upper
    closed = selection_bounds(
        X, y, treatment, 0.2, degree=2, on_outcome=False, x_reference=X
    )
    assert closed.lower == pytest.approx(closed.upper, abs=1e-10)


def adversarial(n, floor, rng):
    """Rows that the worst selection of that floor leaves, and the true effect.

    Outcomes are standard normal in both arms but for an effect of one. Treated rows
    above a threshold and control rows below the mirrored one survive with the floor's
    probability, such that the truth is the upper bound.
    """
    treatment = rng.random(n) < 0.5
    noise = rng.standard_normal(n)
    y = noise + treatment
    # The expectile of the selected law has to be the mean of the whole, zero noise.
    keep = np.where(noise > 0, floor, 1.0)
    keep = np.where(treatment, keep, np.where(noise < 0, floor, 1.0))
    kept = rng.random(n) < keep
    return y[kept], treatment[kept], 1.0


def test_the_bounds_are_attained():
    # A worst-case selection puts the truth on the bound: no narrower ones are valid.
    y, treatment, truth = adversarial(40_000, 0.2, np.random.default_rng(6))
    X = np.random.default_rng(7).standard_normal((len(y), 1))
    bounds = selection_bounds(X, y, treatment, 0.2, x_reference=X, degree=1)
    # Off by its sampling error; five of them are exceeded once in two million draws.
    assert abs(bounds.upper - truth) < 5 * bounds.stderr[1]
    assert bounds.stderr[1] < 0.03 and bounds.lower < truth - 1


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_selection_the_truth_is_inside(seed):
    rng = np.random.default_rng(seed)
    n, floor = 6000, 0.25
    X = rng.uniform(-1, 1, (n, 2))
    treatment = rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))
    y = X[:, 0] + treatment * (1 + X[:, 1]) + rng.standard_normal(n)
    # Any function of covariates, treatment and outcome that stays above the floor.
    slopes = rng.normal(0, 2, (3, 4))
    terms = np.column_stack([X, treatment, y])
    chance = floor + (1 - floor) * np.prod(
        1 / (1 + np.exp(-terms @ slopes.T - rng.normal(size=3))), axis=1
    )
    kept = rng.random(n) < chance
    for reference in (None, X):
        bounds = selection_bounds(
            X[kept], y[kept], treatment[kept], floor, x_reference=reference, degree=1
        )
        # The effect is one on average; the bounds are off by their sampling error.
        assert bounds.lower - 4 * bounds.stderr[0] < 1
        assert bounds.upper + 4 * bounds.stderr[1] > 1


def test_standard_errors_match_their_spread_and_the_bootstrap():
    rng = np.random.default_rng(8)
    found = []
    for _ in range(200):
        y, treatment, truth = adversarial(1500, 0.3, rng)
        X = rng.standard_normal((len(y), 1))
        found.append(selection_bounds(X, y, treatment, 0.3, x_reference=X, degree=1))
    ends = np.array([(b.lower, b.upper) for b in found])
    spread = ends.std(axis=0)
    stderr = np.array([b.stderr for b in found]).mean(axis=0)
    # The standard deviation of 200 draws has a relative error of 5 %; four of them.
    np.testing.assert_allclose(stderr / spread, 1, atol=0.2)
    # The truth lies on the upper bound, where coverage is smallest: 95 % of 200, less
    # four binomial standard deviations of 1.5 %.
    covered = [b.confidence_interval()[1] >= truth for b in found]
    assert np.mean(covered) > 0.89
    again = selection_bounds(
        X, y, treatment, 0.3, x_reference=X, degree=1, n_boot=100, random_state=0
    )
    # 7 % error of 100 draws, and that of one sample's influences; four of them.
    np.testing.assert_allclose(again.stderr / found[-1].stderr, 1, atol=0.35)


def test_bootstrap_draws_do_not_depend_on_the_number_of_jobs():
    X, y, treatment = trial(200)
    params = {"degree": 1, "n_boot": 4, "random_state": 3}
    one = selection_bounds(X, y, treatment, 0.5, **params)
    with joblib.parallel_config(backend="threading"):
        two = selection_bounds(X, y, treatment, 0.5, n_jobs=2, **params)
    np.testing.assert_array_equal(one.stderr, two.stderr)


def test_weights_count_rows():
    X, y, treatment = trial(200)
    times = np.random.default_rng(9).integers(0, 3, 200)
    rows = np.repeat(np.arange(200), times)
    weighted = selection_bounds(
        X, y, treatment, 0.4, degree=2, sample_weight=times.astype(float)
    )
    repeated = selection_bounds(X[rows], y[rows], treatment[rows], 0.4, degree=2)
    assert weighted.lower == pytest.approx(repeated.lower, abs=1e-10)
    assert weighted.upper == pytest.approx(repeated.upper, abs=1e-10)


def test_units_labels_and_order_do_not_matter():
    X, y, treatment = trial()
    one = selection_bounds(X, y, treatment, 0.4)
    scaled = selection_bounds(100 * X - 7, 3 - 2 * y, treatment, 0.4)
    assert scaled.degree == one.degree
    assert scaled.lower == pytest.approx(-2 * one.upper, rel=1e-9)
    assert scaled.upper == pytest.approx(-2 * one.lower, rel=1e-9)
    swapped = selection_bounds(X, y, ~treatment, 0.4)
    assert swapped.lower == pytest.approx(-one.upper, rel=1e-9)
    order = np.random.default_rng(0).permutation(len(X))
    turned = selection_bounds(X[order], y[order], treatment[order], 0.4)
    assert turned.lower == pytest.approx(one.lower, rel=1e-9)


def test_a_constant_outcome_has_no_width():
    X, _, treatment = trial()
    bounds = selection_bounds(X, np.full(500, 3.0), treatment, 0.1)
    assert bounds.lower == pytest.approx(0, abs=1e-12)
    assert bounds.upper == pytest.approx(0, abs=1e-12)


def test_the_range_of_the_outcome_bounds_an_arbitrary_selection():
    rng = np.random.default_rng(10)
    n = 4000
    treatment = rng.random(n) < 0.5
    outcomes = np.clip(np.column_stack([rng.random(n), rng.random(n) + 0.3]), 0, 1)
    y = np.where(treatment, outcomes[:, 1], outcomes[:, 0])
    kept = np.where(treatment, y < 0.6, y > 0.2)
    truth = (outcomes[:, 1] - outcomes[:, 0]).mean()
    bounds = range_bounds(y[kept], treatment[kept], (0, 1), kept.mean())
    assert bounds.lower < truth < bounds.upper
    # Each arm is missing for all but the rows selected in it.
    assert bounds.upper - bounds.lower == pytest.approx(2 - kept.mean(), abs=1e-12)
    naive = y[kept & treatment].mean() - y[kept & ~treatment].mean()
    assert naive < truth - 0.2
    everyone = share_bounds(0.4, 0.1, (0, 1), 1.0)
    assert everyone.lower == everyone.upper == 0.4 and everyone.stderr[0] == 0.1
    half = share_bounds(0.4, 0.1, (0, 1), 0.5)
    assert (half.lower, half.upper) == pytest.approx((-0.3, 0.7))


def test_intervals_of_bounds_lie_between_one_sided_and_two_sided_ones():
    apart = SelectionBounds(0.0, 10.0, np.array([0.1, 0.1]), 2.0)
    # Far apart, the effect can be near one end only: one-sided quantiles do.
    assert apart.confidence_interval(0.95)[0] == pytest.approx(-0.16449, abs=1e-4)
    together = SelectionBounds(1.0, 1.0, np.array([0.1, 0.1]), 1.0)
    assert together.confidence_interval(0.95)[1] == pytest.approx(1.195996, abs=1e-5)
    exact = SelectionBounds(1.0, 2.0, np.zeros(2), 2.0)
    assert exact.confidence_interval() == (1.0, 2.0)
    with pytest.raises(ValueError, match="level"):
        exact.confidence_interval(95)


def test_an_expectile_regression_that_does_not_settle_says_so(monkeypatch):
    X, y, treatment = trial()
    monkeypatch.setattr("skident.effects._expectile_bounds.MAX_ITER", 1)
    with pytest.warns(UserWarning, match="has not settled after 1 iter"):
        bound_effect(X, y, treatment, 5.0, degree=1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"min_selection_prob": 0.0}, "min_selection_prob"),
        ({"min_selection_prob": 1.5}, "min_selection_prob"),
        ({"treatment": np.ones(500)}, "both arms"),
        ({"treatment": np.arange(500)}, "treatment must be 0 or 1"),
        ({"treatment": np.ones((500, 2))}, "treatment must be of shape"),
        ({"y": np.ones((500, 2))}, "y must be of shape"),
        ({"y": np.full(500, np.nan)}, "y contains NaN"),
        ({"y": np.ones(499)}, "inconsistent"),
        ({"x_reference": np.ones((3, 5))}, "x_reference must have the 2 columns"),
    ],
)
def test_malformed_arguments_are_refused(change, match):
    X, y, treatment = trial()
    good = {"X": X, "y": y, "treatment": treatment, "min_selection_prob": 0.5}
    with pytest.raises(ValueError, match=match):
        selection_bounds(**good | change)
