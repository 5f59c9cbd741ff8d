"""Populations under selection: their laws, their truth, and what selection does."""

import pickle

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from skident.datasets import make_selection_bias, make_selection_bias_semisynthetic


def within(values, expected, n_errors=4.5):
    """Whether a mean is as expected, up to so many of its standard errors."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return abs(values.mean() - expected) < n_errors * error


@pytest.mark.parametrize(
    ("x_func", "effect"),
    # E x^2 = 3 and E x^4 = 81 / 5; the logarithm's integral is done by quadrature.
    [
        ("polynomial", 1 + 3 + 0.1 * 81 / 5),
        ("sin", 1 + 3 + 0.1 * 81 / 5),
        ("log", None),
    ],
)
def test_effect_is_that_of_the_means(x_func, effect):
    data = make_selection_bias(40_000, x_func=x_func, random_state=0)
    x = data.X_population[:, 0]
    if effect is None:
        nodes, weights = np.polynomial.legendre.leggauss(200)
        g = (3 * nodes) ** 2 * np.log(3 * nodes + 4)
        effect = 1 + weights @ g / 2 + 0.1 * 81 / 5
    assert np.abs(x).max() <= 3 and within(x, 0.0)
    effects = data.outcome_means[:, 1] - data.outcome_means[:, 0]
    assert within(effects, effect)
    assert data.true_effect == pytest.approx(effects.mean(), rel=1e-12)
    # Noise is not part of the effect, and averages out of the outcomes.
    noise = data.potential_outcomes - data.outcome_means
    assert within(noise[:, 0], 0) and within(noise[:, 1], 0)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4.5 / 200
    expected = {"polynomial": x, "sin": 2 * x * np.sin(2 * x), "log": x * np.log(x + 4)}
    np.testing.assert_allclose(data.outcome_means[:, 0], expected[x_func])


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        ("normal", stats.norm(scale=0.5)),
        ("laplace", stats.laplace(scale=0.5)),
        ("lognormal", stats.lognorm(0.5, loc=-np.exp(0.125))),
        ("lomax", stats.lomax(3, scale=0.5, loc=-0.25)),
    ],
)
def test_noise_has_its_law(noise, law):
    options = {"noise": noise, "random_state": 1}
    data = make_selection_bias(20_000, **options)
    drawn = (data.potential_outcomes - data.outcome_means).ravel()
    # Centring at the sample mean moves it by its error, 0.6 / sqrt(20,000) at most.
    assert stats.kstest(drawn, law.cdf).statistic < 0.03
    same = make_selection_bias(20_000, noise_func="multiplicative", **options)
    np.testing.assert_allclose(
        same.potential_outcomes, same.outcome_means * (1 + drawn.reshape(-1, 2))
    )


def test_treatment_and_selection_follow_their_probabilities():
    data = make_selection_bias(60_000, random_state=2)
    x, t, y = data.X_population, data.treatment_population, data.y_population
    np.testing.assert_allclose(data.propensity, expit(x[:, 0] / 2))
    score = (t - data.propensity)[:, None] * np.column_stack([np.ones(len(x)), x])
    assert within(score[:, 0], 0) and within(score[:, 1], 0)
    np.testing.assert_array_equal(y, data.potential_outcomes[np.arange(len(t)), t])
    # A row is seen where its arm can be, and then with its probability.
    can = data.support_mask(x, t)
    np.testing.assert_array_equal(can, (t == 1) | (np.abs(x[:, 0]) <= 1.5))
    prob = expit(3.0 * (y - 1.5))
    assert not data.selected[~can].any()
    surprise = (data.selected - prob)[can]
    assert within(surprise, 0) and within(surprise * y[can], 0)
    np.testing.assert_allclose(data.selection_prob, prob[data.selected])
    coef = data.selection_coef
    assert coef["y"] == 3 and coef["treatment"] == 0 and coef["intercept"] == -4.5
    for name in ("X", "y", "treatment"):
        np.testing.assert_array_equal(
            data[name], data[f"{name}_population"][data.selected]
        )


def test_few_controls_survive():
    counts = np.array(
        [
            [data.selected.sum(), (data.treatment == 0).sum()]
            for data in (make_selection_bias(random_state=seed) for seed in range(10))
        ]
    )
    # Counts are binomial: their means over ten draws have errors below 12 and 3.2.
    assert abs(counts[:, 0].mean() - 2065) < 60
    assert abs(counts[:, 1].mean() - 97) < 15
    fewer = make_selection_bias(50_000, beta_center=2.0, random_state=0)
    assert 30 < (fewer.treatment == 0).sum() / 10 < 46


def test_selection_hides_the_effect():
    data = make_selection_bias(20_000, random_state=3)
    naive = data.y[data.treatment == 1].mean() - data.y[data.treatment == 0].mean()
    assert abs(naive - data.true_effect) > 0.5
    assert data.true_effect_selected > data.true_effect + 0.5
    # Known probabilities undo the selection by the outcome, where arms are all seen.
    options = {"deterministic": False, "random_state": 3}
    data = make_selection_bias(200_000, beta_scale=0.5, **options)
    x = data.X[:, 0]
    arm = expit(x / 2) * data.treatment + expit(-x / 2) * (1 - data.treatment)
    weights = (2 * data.treatment - 1) / (data.selection_prob * arm)
    terms = np.zeros(200_000)
    terms[data.selected] = weights * data.y
    assert within(terms, data.true_effect)


def test_switches():
    plain = make_selection_bias(
        500, deterministic=False, nondeterministic=False, random_state=0
    )
    assert plain.selected.all() and (plain.selection_prob == 1).all()
    assert plain.true_effect_selected == pytest.approx(
        np.diff(plain.potential_outcomes, axis=1).mean()
    )
    assert plain.selection_coef["y"] == 0 and np.isinf(
        plain.selection_coef["intercept"]
    )
    banded = make_selection_bias(500, nondeterministic=False, random_state=0)
    np.testing.assert_array_equal(banded.X_population, plain.X_population)
    np.testing.assert_array_equal(
        banded.selected,
        banded.support_mask(banded.X_population, banded.treatment_population),
    )
    assert 0 < (~banded.selected).sum() < 250
    none = make_selection_bias(20, beta_center=1e4, random_state=0)
    assert none.X.shape == (0, 1) and np.isnan(none.true_effect_selected)


def test_several_covariates():
    one, two = (make_selection_bias(4000, 3, random_state=seed) for seed in (0, 1))
    # Outcome functions are the same in all draws, directions are not.
    design = [
        np.column_stack([np.ones(4000), d.X_population, d.X_population**2])
        for d in (one, two)
    ]
    control = [
        np.linalg.lstsq(Z, d.outcome_means[:, 0], rcond=None)[0]
        for Z, d in zip(design, (one, two), strict=True)
    ]
    np.testing.assert_allclose(*control, atol=1e-10)
    a = control[0][1:4]
    assert (a >= 0.5 / 3).all() and (a <= 1.5 / 3).all()
    X = one.X_population
    effects = np.diff(one.outcome_means, axis=1)[:, 0] - 1
    powers = np.linalg.lstsq(np.hstack([X**2, X**4]), effects, rcond=None)
    assert powers[1][0] < 1e-12 * (effects**2).sum()
    bounds = np.repeat([1 / 3, 0.1 / 3], 3)
    assert (powers[0] >= 0.5 * bounds).all() and (powers[0] <= 1.5 * bounds).all()
    assert not np.allclose(one.support_mask.direction, two.support_mask.direction)
    assert (one.selection_coef["X"] >= 0.05).all()  # 3 * 0.1 * 0.5 / 3
    index = np.abs(X @ one.support_mask.direction)
    controls = one.treatment_population == 0
    assert not one.selected[controls & (index > 1.5)].any()
    np.testing.assert_allclose(
        one.selection_prob,
        expit(3 * (one.y - 1.5) + one.X @ one.selection_coef["X"]),
    )


def test_mask_pickles_and_takes_a_single_arm():
    data = make_selection_bias(100, random_state=0)
    again = pickle.loads(pickle.dumps(data.support_mask))
    X = np.array([[-2.0], [0.0], [1.6]])
    assert again(X, 1).tolist() == [True, True, True]
    assert again(X, 0).tolist() == [False, True, False]
    assert again(X, np.array([0, 0, 1])).tolist() == [False, True, True]


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_patients(share):
    data = make_selection_bias_semisynthetic(
        20_000, treated_share=share, random_state=0
    )
    x = data.X_population[:, 0]
    assert len(np.unique(x)) <= 442 and within(x, 0.0) and within(x**2, 1.0)
    assert within(data.propensity, share)
    assert within(data.treatment_population - data.propensity, 0.0)
    # The intercept is exact over the patients, each taken once.
    _, first = np.unique(data.patients, return_index=True)
    assert len(first) == 442
    assert data.propensity[first].mean() == pytest.approx(share, abs=1e-9)
    np.testing.assert_allclose(
        data.outcome_means[:, 1] - data.outcome_means[:, 0], 1 + x**2 + 0.1 * x**4
    )
    odds = np.log(data.propensity / (1 - data.propensity))
    assert np.polyfit(x, odds, 1)[0] == pytest.approx(0.5)
    assert "Efron" in data.citation and "BSD" in data.licence
    assert f"{data.selected.sum()} are selected" in data.DESCR


def test_same_seed_same_data():
    for make in (make_selection_bias, make_selection_bias_semisynthetic):
        one, two = (make(50, random_state=7) for _ in range(2))
        np.testing.assert_array_equal(one.y_population, two.y_population)
        np.testing.assert_array_equal(one.selected, two.selected)


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (make_selection_bias, {"n_samples": 0}, "n_samples"),
        (make_selection_bias, {"noise": "cauchy"}, "noise"),
        (make_selection_bias, {"noise_scale": -1.0}, "noise_scale"),
        (
            make_selection_bias,
            {"n_features": 2, "x_func": "sin"},
            "x_func='sin' is defined for one covariate alone, got n_features=2",
        ),
        (make_selection_bias_semisynthetic, {"treated_share": 1.0}, "treated_share"),
    ],
)
def test_errors(make, wrong, message):
    with pytest.raises(ValueError, match=message):
        make(**wrong)
