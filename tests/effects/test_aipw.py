import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression

from skident.datasets import make_causal_digits
from skident.effects import aipw_ate
from skident.effects._effect_estimate import EffectEstimate
from skident.exceptions import IdentifiabilityWarning

METHODS = ("aipw", "difference", "ipw", "stratified")


def two_wards(n=400, seed=0):
    """Treatment and outcome depend on the ward; the effect is 1."""
    rng = np.random.default_rng(seed)
    ward = rng.integers(0, 3, n)
    treatment = (rng.random(n) < 0.2 + 0.25 * ward) * 1.0
    y = 2.0 * ward + treatment + rng.standard_normal(n)
    return y, treatment, ward


def numbers(n=600, seed=0):
    """Continuous confounders; the effect is 1."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    treatment = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))) * 1.0
    y = X @ [1.0, 0.5, 0.0] + treatment + rng.standard_normal(n)
    return y, treatment, X


@pytest.mark.parametrize("method", ["aipw", "ipw", "difference"])
def test_without_covariates_it_is_the_difference_of_means(method):
    y, treatment, _ = two_wards()
    found = aipw_ate(y, treatment, method=method)
    difference = y[treatment == 1].mean() - y[treatment == 0].mean()
    assert abs(found.effect - difference) < 1e-10
    welch = stats.ttest_ind(y[treatment == 1], y[treatment == 0], equal_var=False)
    expected = difference / welch.statistic
    # The pooled correction for degrees of freedom in place of one an arm.
    assert found.stderr == pytest.approx(expected, rel=0.01)
    if method == "difference":
        assert found.stderr == pytest.approx(expected, rel=1e-12)


def test_constant_propensity_and_arm_means_are_the_difference_of_means():
    y, treatment, ward = two_wards()
    found = aipw_ate(y, treatment, ward, method="ipw", propensity="share")
    difference = y[treatment == 1].mean() - y[treatment == 0].mean()
    assert abs(found.effect - difference) < 1e-10


@pytest.mark.parametrize("method", ["aipw", "stratified"])
def test_few_cells_are_compared_one_by_one(method):
    y, treatment, ward = two_wards()
    found = aipw_ate(y, treatment, ward, method=method)
    effects, variances, shares = [], [], []
    for cell in range(3):
        treated, control = (y[(ward == cell) & (treatment == t)] for t in (1, 0))
        effects.append(treated.mean() - control.mean())
        # Each mean has used up a degree of freedom: with few rows a cell it counts.
        variances.append(sum(x.var(ddof=1) / len(x) for x in (treated, control)))
        shares.append(np.mean(ward == cell))
    expected = np.dot(shares, effects)
    assert abs(found.effect - expected) < 1e-10
    variance = np.square(shares) @ variances
    variance += np.dot(shares, (np.array(effects) - expected) ** 2) / len(y)
    assert found.stderr == pytest.approx(np.sqrt(variance * 400 / 399), rel=1e-10)
    if method == "aipw":
        labelled = np.array(["a", "b", "c"])[ward]
        assert aipw_ate(y, treatment, labelled).effect == pytest.approx(found.effect)


def test_the_interval_covers_and_ignoring_the_ward_does_not():
    covered, naive = [], []
    for seed in range(100):
        y, treatment, ward = two_wards(seed=seed)
        low, high = aipw_ate(y, treatment, ward).confidence_interval()
        covered.append(low <= 1 <= high)
        low, high = aipw_ate(y, treatment, method="difference").confidence_interval()
        naive.append(low <= 1 <= high)
    # Binomial(100, 0.95) is below 88 with probability 0.001.
    assert np.mean(covered) >= 0.88
    assert np.mean(naive) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("population", list("BCDE"))
def test_true_labels_of_published_populations_give_their_effect(population):
    # Pictures of a pixel: only labels and settings are read.
    pixels = np.zeros((20, 1, 1), dtype=np.uint8), np.arange(20) % 10
    errors, covered = [], []
    for seed in range(200):
        data = make_causal_digits(
            4000, population, images=pixels, pad=0, random_state=seed
        )
        found = aipw_ate(data.y, data.treatment, data.settings[:, 0])
        errors.append(found.effect - data.true_effect)
        low, high = found.confidence_interval()
        covered.append(low <= data.true_effect <= high)
    assert abs(np.mean(errors)) < 0.1
    # At a coverage of 0.95 fewer than 180 of 200 come once in 860, and more than 198
    # once in 2400.
    assert 0.90 <= np.mean(covered) <= 0.99
    assert found.stderr == pytest.approx(np.std(errors), rel=0.35)


def test_cells_that_lack_an_arm_are_left_to_learners():
    data = make_causal_digits(600, "B", random_state=0)
    settings = data.settings[:, :2]
    rare = (settings == 1).all(axis=1)
    counts = [np.sum(rare & (data.treatment == arm)) for arm in (0, 1)]
    assert min(counts) < 2
    found = aipw_ate(data.y, data.treatment, settings, n_folds=2, random_state=0)
    assert abs(found.effect - data.true_effect) < 4 * found.stderr
    with pytest.raises(ValueError, match="some lack an arm"):
        aipw_ate(data.y, data.treatment, settings, method="stratified")


def test_units_that_could_not_have_been_in_an_arm_are_warned_of():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2))
    able = X[:, 1] < 0.5  # 0.31 of the units are never treated
    treatment = ((rng.random(600) < 0.5) & able).astype(int)
    y = X[:, 0] + treatment
    learners = {"outcome_learner": LinearRegression(), "random_state": 0}
    # With one probability for all, half of whom could be treated.
    with pytest.warns(IdentifiabilityWarning, match=r"arm 1 stands for [67]\d%"):
        aipw_ate(y, treatment, X, propensity=0.5, **learners)
    # Arms that the covariates tell apart: each stands for itself.
    apart = (X[:, 1] > 0).astype(int)
    for method in ("aipw", "ipw"):
        with pytest.warns(IdentifiabilityWarning, match=r"stands for [45]\d%"):
            aipw_ate(y, apart, apart.astype(float), method=method, **learners)
    # As likely as they say, however unlikely.
    p = expit(X[:, 1])
    drawn = (rng.random(600) < p).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aipw_ate(y, drawn, X, propensity=p, **learners)
        aipw_ate(y, drawn, X, **learners)


def test_permuted_treatments_have_no_effect():
    y, treatment, ward = two_wards()
    rng = np.random.default_rng(1)
    effects = [aipw_ate(y, rng.permutation(treatment), ward).effect for _ in range(200)]
    error = np.std(effects) / np.sqrt(200)
    assert abs(np.mean(effects)) < 4 * error


@pytest.mark.parametrize("learner", [None, LinearRegression()])
def test_continuous_covariates_are_adjusted_for(learner):
    y, treatment, X = numbers(300)
    given = {"outcome_learner": learner, "n_folds": 2, "random_state": 0}
    found = aipw_ate(y, treatment, X, **given)
    naive = aipw_ate(y, treatment, method="difference")
    assert abs(found.effect - 1) < 4 * found.stderr
    assert abs(naive.effect - 1) > 3 * naive.stderr
    assert aipw_ate(y, treatment, X, **given).effect == found.effect


def test_known_probabilities_and_classifiers_are_taken():
    y, treatment, X = numbers(2000)
    chance = 1 / (1 + np.exp(-X[:, 0]))
    given = {"method": "ipw", "random_state": 0}
    known = aipw_ate(y, treatment, X, propensity=chance, **given)
    fitted = aipw_ate(y, treatment, X, propensity=LogisticRegression(), **given)
    for found in (known, fitted):
        assert abs(found.effect - 1) < 4 * found.stderr
    half = aipw_ate(y, treatment, X, propensity=0.5, **given)
    share = aipw_ate(y, treatment, X, propensity="share", **given)
    # A constant propensity drops out where weights are brought to mean 1.
    assert half.effect == pytest.approx(share.effect, abs=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_units_are_averaged_first(method):
    y, treatment, ward = two_wards(60)
    rows = np.repeat(np.arange(60), 4)
    wiggle = np.tile([1.0, -1.0, 2.0, -2.0], 60)
    shuffled = np.random.default_rng(0).permutation(240)
    long = (y[rows] + wiggle)[shuffled], treatment[rows][shuffled], ward[rows][shuffled]
    found = aipw_ate(*long, units=rows[shuffled], method=method)
    expected = aipw_ate(y, treatment, ward, method=method)
    assert found.n_units == 60 and found.influence.shape == (60,)
    assert found.effect == pytest.approx(expected.effect, rel=1e-10)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-10)


def test_covariates_that_vary_within_a_unit_are_averaged():
    y, treatment, X = numbers(200)
    rows = np.repeat(np.arange(200), 2)
    moved = X[rows] + np.tile([1.0, -1.0], 200)[:, None]
    given = {"outcome_learner": LinearRegression(), "random_state": 0}
    found = aipw_ate(y[rows], treatment[rows], moved, units=rows, **given)
    expected = aipw_ate(y, treatment, X, **given)
    assert found.effect == pytest.approx(expected.effect, rel=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_rows_units_and_labels(method):
    y, treatment, ward = two_wards()
    expected = aipw_ate(y, treatment, ward, method=method)
    order = np.random.default_rng(0).permutation(len(y))
    moved = aipw_ate(y[order], treatment[order], ward[order], method=method)
    assert moved.effect == pytest.approx(expected.effect, rel=1e-10)
    np.testing.assert_allclose(moved.influence, expected.influence[order], atol=1e-8)
    scaled = aipw_ate(3 - 2 * y, treatment, ward, method=method)
    assert scaled.effect == pytest.approx(-2 * expected.effect, rel=1e-10)
    assert scaled.stderr == pytest.approx(2 * expected.stderr, rel=1e-10)
    swapped = aipw_ate(y, 1 - treatment, ward, method=method)
    assert swapped.effect == pytest.approx(-expected.effect, rel=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_weights_count_rows(method):
    y, treatment, ward = two_wards()
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    repeated = [np.repeat(values, weight) for values in (y, treatment, ward)]
    given = aipw_ate(y, treatment, ward, sample_weight=weight, method=method)
    expected = aipw_ate(*repeated, method=method)
    assert given.effect == pytest.approx(expected.effect, rel=1e-10)
    kept = weight > 0
    dropped = aipw_ate(
        y[kept], treatment[kept], ward[kept], sample_weight=weight[kept], method=method
    )
    assert given.effect == pytest.approx(dropped.effect, rel=1e-10)
    assert given.stderr == pytest.approx(dropped.stderr, rel=1e-10)
    assert len(given.influence) == len(y)


def test_a_frame_is_taken():
    y, treatment, ward = two_wards()
    sex = np.arange(len(y)) % 2
    table = pd.DataFrame({"ward": np.array(["a", "b", "c"])[ward], "sex": sex})
    found = aipw_ate(pd.Series(y), pd.Series(treatment), table)
    expected = aipw_ate(y, treatment, np.column_stack([ward, sex]))
    assert found.effect == pytest.approx(expected.effect, rel=1e-12)


def test_an_arm_of_one_unit_has_no_standard_error():
    for method in ("aipw", "difference"):
        found = aipw_ate([1.0, 2.0, 6.0], [0, 0, 1], method=method)
        assert found.effect == pytest.approx(4.5) and np.isnan(found.stderr)
        assert np.isnan(found.pvalue)
    found = aipw_ate(
        [1.0, 2.0, 6.0, 3.0, 5.0, 4.0],
        [0, 0, 1, 0, 1, 1],
        [0, 0, 0, 1, 1, 1],
        method="stratified",
    )
    assert found.effect == pytest.approx(3.0) and np.isnan(found.stderr)
    assert np.isfinite(found.influence).all()


def test_two_rows_of_an_arm_in_each_cell_are_enough_for_an_interval():
    # 30 cells, and 300 draws, whose share of 0.95 has a standard error of 0.013; means
    # of two rows that hide half of their variance would leave 0.89.
    ward = np.repeat(np.arange(30), 4)
    treatment = np.tile([0, 0, 1, 1], 30)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        y = treatment + rng.standard_normal(120)
        low, high = aipw_ate(y, treatment, ward).confidence_interval()
        covered += low <= 1 <= high
    assert covered / 300 > 0.93


def test_a_constant_outcome_has_no_effect():
    _, treatment, X = numbers(200)
    found = aipw_ate(np.full(200, 3.0), treatment, X, n_folds=2, random_state=0)
    assert abs(found.effect) < 1e-12 and found.stderr < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": np.zeros(400)}, "at least 1 rows in each arm, got 400 of arm 0"),
        ({"treatment": np.full(400, 2)}, "treatment must be 0 or 1"),
        ({"treatment": np.zeros((400, 2))}, r"treatment must be of shape \(n_samples,"),
        ({"y": np.full(400, np.nan)}, "y must be finite, got nan; n_samples = 400"),
        ({"method": "magic"}, "The 'method' parameter of aipw_ate"),
        ({"propensity": 1.0}, "The 'propensity' parameter of aipw_ate"),
        ({"propensity": np.ones(400)}, "propensity must be between 0 and 1, got 1"),
        ({"units": np.zeros(400)}, "treatment must be the same in all rows of a unit"),
        (
            {"covariates": None, "method": "stratified"},
            "covariates must be given where a learner is",
        ),
        (
            {"covariates": np.arange(400), "method": "stratified"},
            "got 400 cells of which some lack an arm; n_samples = 400",
        ),
        (
            {"covariates": np.arange(400).astype(str), "method": "aipw"},
            "covariates must be numbers",
        ),
    ],
)
def test_refusals(change, message):
    y, treatment, ward = two_wards()
    given = {"y": y, "treatment": treatment, "covariates": ward} | change
    with pytest.raises(ValueError, match=message):
        aipw_ate(**given)


def test_the_estimate_prints_and_gives_intervals():
    found = EffectEstimate(1.0, 0.5, 10, "aipw", np.zeros(10))
    low, high = found.confidence_interval(0.9)
    half = stats.norm.ppf(0.95) * 0.5
    assert (low, high) == pytest.approx((1 - half, 1 + half))
    assert found.pvalue == pytest.approx(2 * stats.norm.sf(2))
    assert "95% interval=[0.02002, 1.98]" in repr(found)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        found.confidence_interval(1.0)
    assert EffectEstimate(0.0, 0.0, 2, "aipw", np.zeros(2)).pvalue == 1.0
