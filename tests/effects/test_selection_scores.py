import pathlib

import numpy as np
import pytest
from joblib import parallel_config
from scipy.special import expit
from scipy.stats import ttest_ind
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

import skident
from skident.effects._nuisances import make_folds, row_order
from skident.effects._selection_scores import (
    known_effect,
    mar_effect,
    naive_effect,
    reference_effect,
    selected_effect,
)

SLOPES = 0.4 / np.arange(1, 6) ** 2


def missing_at_random(n=2000, seed=0):
    """Selection depends on X and on treatment; the effect is 1."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 5))
    treatment = (rng.random(n) < expit(1.5 * X @ SLOPES)) * 1.0
    odds = 2 * X @ SLOPES + treatment * (0.8 + 0.5 * X[:, 0]) - 0.5
    selection_prob = expit(odds)
    selected = rng.random(n) < selection_prob
    y = 2 * X @ SLOPES + treatment * (1 + X[:, 0]) + rng.standard_normal(n)
    return X, y, treatment, selected, selection_prob


def known_case(n=2000, seed=0):
    X, y, treatment, selected, prob = missing_at_random(n, seed)
    kept = [values[selected] for values in (X, y, treatment, prob)]
    return known_effect, dict(
        zip(("X", "y", "treatment", "selection_prob"), kept, strict=True)
    )


def mar_case(n=2000, seed=0):
    X, y, treatment, selected, _ = missing_at_random(n, seed)
    y = np.where(selected, y, np.nan)
    given = {"X": X, "y": y, "treatment": treatment, "selected": selected}
    return mar_effect, given


def reference_case(n=2000, seed=0):
    X, y, treatment, selected, _ = missing_at_random(n, seed)
    reference = np.random.default_rng(1000 + seed).standard_normal((n, 5))
    return reference_effect, {
        "X": X[selected],
        "y": y[selected],
        "treatment": treatment[selected],
        "x_reference": reference,
    }


def selected_case(n=2000, seed=0):
    X, y, treatment, _, _ = missing_at_random(n, seed)
    return selected_effect, {"X": X, "y": y, "treatment": treatment}


CASES = [known_case, mar_case, reference_case, selected_case]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
FOLDED = ("X", "y", "treatment", "selected", "selection_prob")


def plain_aipw(X, y, treatment, folds, weight=None):
    """Cross-fitted augmented weighting, written out: scores of each row."""
    weight = np.ones(len(y)) if weight is None else weight
    scores = np.empty(len(y))
    for train, test in folds:
        means = []
        for arm in (0, 1):
            rows = train[treatment[train] == arm]
            model = LinearRegression().fit(X[rows], y[rows], sample_weight=weight[rows])
            means.append(model.predict(X[test]))
        model = LogisticRegression(tol=1e-8)
        model.fit(X[train], treatment[train], sample_weight=weight[train])
        chance = np.clip(model.predict_proba(X[test])[:, 1], 0.01, 0.99)
        t = treatment[test]
        scores[test] = (
            means[1]
            - means[0]
            + t * (y[test] - means[1]) / chance
            - (1 - t) * (y[test] - means[0]) / (1 - chance)
        )
    return scores


LINEAR = {
    "outcome_learner": LinearRegression(),
    "propensity_learner": LogisticRegression(tol=1e-8),
}


def test_selection_with_probability_1_is_plain_aipw():
    function, given = known_case(600)
    given["selection_prob"] = np.ones(len(given["y"]))
    found = function(**given, **LINEAR, random_state=0)
    X, y, treatment = given["X"], given["y"], given["treatment"]
    folds = make_folds(5, treatment, 0, order=row_order(X, y))
    scores = plain_aipw(X, y, treatment, folds)
    assert abs(found.effect - scores.mean()) < 1e-10
    assert found.stderr == pytest.approx(scores.std(ddof=1) / np.sqrt(len(y)))
    np.testing.assert_allclose(found.influence, scores - scores.mean(), atol=1e-10)
    assert found.effect_selected.effect == pytest.approx(found.effect, rel=1e-12)
    # So do the defaults, up to the penalty, and the effect among the selected.
    for other in (
        function(**given, random_state=0),
        selected_effect(X, y, treatment, random_state=0),
    ):
        assert other.effect == pytest.approx(found.effect, abs=0.05 * found.stderr)


def test_known_probabilities_weigh_nuisances_and_scores():
    function, given = known_case(600)
    found = function(**given, **LINEAR, random_state=0)
    X, y, treatment = given["X"], given["y"], given["treatment"]
    weight = 1 / given["selection_prob"]
    weight /= weight.mean()
    folds = make_folds(5, treatment, 0, order=row_order(X, y))
    scores = plain_aipw(X, y, treatment, folds, weight)
    assert found.effect == pytest.approx(np.average(scores, weights=weight), rel=1e-10)
    np.testing.assert_allclose(found.weights, weight)
    selected = plain_aipw(X, y, treatment, folds).mean()
    assert found.effect_selected.effect == pytest.approx(selected, rel=1e-10)


def test_selection_on_the_outcome_is_undone_where_its_probability_is_known():
    errors, naive = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, y, treatment, _, _ = missing_at_random(4000, seed)
        prob = 0.1 + 0.9 * expit(2 * y - 1)
        kept = rng.random(4000) < prob
        found = known_effect(
            X[kept], y[kept], treatment[kept], prob[kept], random_state=0
        )
        errors.append((found.effect - 1) / found.stderr)
        naive.append(found.effect_selected.effect)
    # The mean of 20 standard normals is beyond 0.8 once in 3000.
    assert abs(np.mean(errors)) < 0.8
    assert abs(np.mean(naive) - 1) > 0.1


def selection_scores(data, nuisances):
    """The score for outcomes missing at random, from the moment that defines it.

    Each arm's mean is that of the modelled outcome and of the error of the observed
    ones, each of which stands for 1 / (chance of its arm and of being observed) rows.
    """
    X, y, treatment, selected = (
        data[name] for name in ("X", "y", "treatment", "selected")
    )
    g, chance, observed = nuisances
    means = []
    for arm in (0, 1):
        stand_for = np.zeros(len(X))
        seen = selected & (treatment == arm)
        of_arm = chance if arm else 1 - chance
        stand_for[seen] = 1 / (of_arm[seen] * observed[seen])
        error = np.where(seen, np.where(selected, y, 0.0) - g[:, arm], 0.0)
        means.append(g[:, arm] + stand_for * error)
    return means[1] - means[0]


def test_the_score_for_outcomes_missing_at_random_is_the_published_one():
    function, given = mar_case()
    found = function(**given, random_state=0)
    nuisances = found.outcome_means, found.propensity, found.selection_prob
    scores = selection_scores(given, nuisances)
    assert abs(found.effect - scores.mean()) < 1e-8
    assert found.stderr == pytest.approx(scores.std(ddof=1) / np.sqrt(2000), rel=1e-8)
    np.testing.assert_allclose(found.influence, scores - scores.mean(), atol=1e-8)


def test_nuisances_for_outcomes_missing_at_random_are_cross_fitted():
    function, given = mar_case(600)
    learners = LINEAR | {"selection_learner": LogisticRegression(tol=1e-8)}
    found = function(**given, **learners, random_state=0)
    X, y, treatment, selected = given.values()
    order = row_order(X, np.where(selected, y, 0.0), selected)
    for train, test in make_folds(5, treatment + 2 * selected, 0, order=order):
        model = LogisticRegression(tol=1e-8).fit(X[train], treatment[train])
        expected = np.clip(model.predict_proba(X[test])[:, 1], 0.01, 0.99)
        np.testing.assert_allclose(found.propensity[test], expected, rtol=1e-10)
        for arm in (0, 1):
            rows = train[treatment[train] == arm]
            model = LogisticRegression(tol=1e-8).fit(X[rows], selected[rows])
            mine = test[treatment[test] == arm]
            expected = np.maximum(model.predict_proba(X[mine])[:, 1], 0.01)
            np.testing.assert_allclose(found.selection_prob[mine], expected, rtol=1e-10)
            rows = rows[selected[rows]]
            expected = LinearRegression().fit(X[rows], y[rows]).predict(X[test])
            np.testing.assert_allclose(found.outcome_means[test, arm], expected)


@pytest.mark.parametrize("n_folds", [1, 5])
def test_the_score_with_a_reference_is_augmented_weighting_of_a_trial(n_folds):
    # Dahabreh et al. (2020): a trial carried to a target of which covariates are there.
    function, given = reference_case(800)
    X, y, treatment, reference = given.values()
    n, m = len(X), len(reference)
    exact = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000)
    learners = {"propensity_learner": exact, "selection_learner": exact}
    learners |= {"outcome_learner": LinearRegression(), "n_folds": n_folds}
    found = function(**given, **learners, trim=1e-6, random_state=0)

    everyone, here = np.vstack([X, reference]), np.arange(n + m) < n
    t, outcome = np.append(treatment, np.full(m, -1.0)), np.append(y, np.zeros(m))
    folds = [(np.arange(n + m), np.arange(n + m))]
    if n_folds > 1:
        order = row_order(everyone, outcome, here)
        folds = make_folds(n_folds, t, 0, order=order)
    means, chance, trial = np.empty((n + m, 2)), np.empty(n + m), np.empty(n + m)
    for train, test in folds:
        for arm in (0, 1):
            rows = train[t[train] == arm]
            model = LinearRegression().fit(everyone[rows], outcome[rows])
            means[test, arm] = model.predict(everyone[test])
        rows = train[here[train]]
        model = clone(exact).fit(everyone[rows], t[rows])
        chance[test] = model.predict_proba(everyone[test])[:, 1]
        model = clone(exact).fit(everyone[train], here[train])
        trial[test] = model.predict_proba(everyone[test])[:, 1]
    # Odds of the target, and the chance of the arm that a row is in.
    weight = ((1 - trial) / trial)[:n]
    sign = np.where(treatment == 1, 1 / chance[:n], -1 / (1 - chance[:n]))
    residual = sign * (y - means[np.arange(n), treatment.astype(int)])
    modelled = means[n:, 1] - means[n:, 0]
    effect = modelled.mean() + weight @ residual / weight.sum()
    assert found.effect == pytest.approx(effect, abs=1e-7)
    np.testing.assert_allclose(found.weights, weight / weight.mean(), rtol=1e-5)
    spread = weight / weight.mean() * (residual - weight @ residual / weight.sum())
    variance = modelled.var(ddof=1) / m + spread.var(ddof=1) / n
    assert found.stderr == pytest.approx(np.sqrt(variance), rel=1e-5)


def replicate(case, seeds, **params):
    """Estimates, standard errors and whether the interval covers 1."""
    found = []
    for seed in seeds:
        function, given = case(seed=seed)
        result = function(**given, **params, random_state=seed)
        inside = abs(result.effect - 1) < 1.959964 * result.stderr
        found.append((result.effect, result.stderr, inside))
    return np.array(found).T


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.__name__)
def test_bias_and_coverage(case):
    effects, errors, covered = replicate(case, range(200))
    assert abs(effects.mean() - 1) < 0.03
    assert 0.90 <= covered.mean() <= 0.98
    assert errors.mean() == pytest.approx(effects.std(), rel=0.2)


def test_bias_and_coverage_of_a_few():
    effects, _, covered = replicate(mar_case, range(16))
    # t with 15 degrees is beyond 4 once in 1000 draws; so often is Binomial(16, 0.95)
    # below 12.
    assert abs(effects.mean() - 1) < 4 * effects.std(ddof=1) / 4
    assert covered.sum() >= 12
    _, given = mar_case()
    seen = given["selected"]
    naive = naive_effect(given["y"][seen], given["treatment"][seen])
    assert naive.effect - 1 > 5 * naive.stderr


@every_case
@pytest.mark.parametrize("wrong", ["outcome", "propensity"])
def test_one_of_two_models_may_be_wrong(case, wrong):
    params = {
        "outcome": {"outcome_learner": DummyRegressor()},
        "propensity": {"propensity_learner": DummyClassifier(strategy="prior")},
    }[wrong]
    if wrong == "propensity" and case in (mar_case, reference_case):
        params["selection_learner"] = DummyClassifier(strategy="prior")
    effects, _, _ = replicate(case, range(12), **params)
    # Three standard errors of a mean of 12, with t's quantile.
    assert abs(effects.mean() - 1) < 4 * effects.std(ddof=1) / np.sqrt(12)


@every_case
def test_both_models_wrong_is_wrong(case):
    params = {
        "outcome_learner": DummyRegressor(),
        "propensity_learner": DummyClassifier(strategy="prior"),
    }
    if case in (mar_case, reference_case):
        params["selection_learner"] = DummyClassifier(strategy="prior")
    effects, _, _ = replicate(case, range(6), **params)
    # The difference of means is off by 0.5 and more, with a standard error of 0.1.
    assert effects.mean() - 1 > 0.3


@every_case
def test_the_standard_error_falls_with_the_root_of_the_rows(case):
    errors = []
    for n in (500, 8000):
        several = [case(n, seed) for seed in range(5)]
        found = [function(**given, random_state=0) for function, given in several]
        errors.append(np.median([result.stderr for result in found]))
    # 4 in the limit; the weights' tails leave medians of five a spread of 7 %.
    assert 3.2 < errors[0] / errors[1] < 4.8


@every_case
def test_order_of_rows_units_and_labels(case):
    function, given = case(400)
    expected = function(**given, random_state=0)
    moved = np.random.default_rng(0).permutation(len(given["y"]))
    shuffled = {k: v[moved] if k in FOLDED else v[::-1] for k, v in given.items()}
    found = function(**shuffled, random_state=0)
    assert found.effect == pytest.approx(expected.effect, rel=1e-6)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-6)
    np.testing.assert_allclose(found.weights, expected.weights[moved], rtol=1e-5)

    scale, shift = np.array([3.0, 0.01, 1e4, -1.0, 1.0]), np.arange(5.0)
    units = {
        k: v * scale + shift if k in ("X", "x_reference") else v
        for k, v in given.items()
    }
    units["y"] = 2 - 5 * given["y"]
    found = function(**units, random_state=0)
    assert found.effect == pytest.approx(-5 * expected.effect, rel=1e-6)
    assert found.stderr == pytest.approx(5 * expected.stderr, rel=1e-6)

    swapped = given | {"treatment": 1 - given["treatment"]}
    found = function(**swapped, random_state=0)
    assert found.effect == pytest.approx(-expected.effect, rel=1e-6)
    assert found.effect_selected.effect == pytest.approx(
        -expected.effect_selected.effect, rel=1e-6
    )


@every_case
def test_weights_count_and_those_of_zero_do_not(case):
    function, given = case(400)
    n = len(given["y"])
    expected = function(**given, random_state=0)
    same = function(**given, sample_weight=np.full(n, 7.0), random_state=0)
    assert same.effect == pytest.approx(expected.effect, rel=1e-10)
    assert same.stderr == pytest.approx(expected.stderr, rel=1e-10)
    weight = np.random.default_rng(0).random(n)
    one = function(**given, sample_weight=weight, random_state=0)
    two = function(**given, sample_weight=2 * weight, random_state=0)
    assert one.effect == pytest.approx(two.effect, rel=1e-8)
    assert one.stderr == pytest.approx(two.stderr, rel=1e-8)
    # Without folds nothing hangs on the rows that do not count.
    weight[: n // 3] = 0
    params = {"n_folds": 1, "random_state": 0}
    zeros = function(**given, sample_weight=weight, **params)
    kept = {k: v[n // 3 :] if k in FOLDED else v for k, v in given.items()}
    dropped = function(**kept, sample_weight=weight[n // 3 :], **params)
    assert zeros.effect == pytest.approx(dropped.effect, rel=1e-6)
    assert zeros.stderr == pytest.approx(dropped.stderr, rel=1e-6)


@every_case
def test_the_parts_fit_together(case):
    function, given = case(500)
    found = function(**given, random_state=0)
    n = len(given["y"])
    assert found.weights.mean() == pytest.approx(1)
    assert found.influence.mean() == pytest.approx(0, abs=1e-8)
    units = len(found.influence)
    assert units == n + (len(given["x_reference"]) if case is reference_case else 0)
    spread = np.sqrt(found.influence @ found.influence) / units
    assert found.stderr == pytest.approx(spread, rel=0.01)
    assert ((found.propensity >= 0.01) & (found.propensity <= 0.99)).all()
    assert (
        found.outcome_means.shape == (n, 2) and np.isfinite(found.outcome_means).all()
    )
    X = given["X"]
    models = [found.fitted["propensity"], *found.fitted["outcome"]]
    if case is mar_case:
        models += found.fitted["selection"]
        assert (found.weights[~given["selected"]] == 0).all()
    elif case is reference_case:
        models.append(found.fitted["selection"])
    for model in models:
        assert model.predict(X[:7]).shape == (7,)
    fitted = np.column_stack([model.predict(X) for model in found.fitted["outcome"]])
    assert np.corrcoef(fitted[:, 1], found.outcome_means[:, 1])[0, 1] > 0.99


def test_the_effect_among_the_selected_agrees_with_their_own_analysis():
    X, y, treatment, selected, prob = missing_at_random(4000)
    rows = X[selected], y[selected], treatment[selected]
    own = selected_effect(*rows, random_state=0)
    others = [
        mar_effect(X, y, treatment, selected, random_state=0),
        known_effect(*rows, prob[selected], random_state=0),
        reference_effect(*rows, X, random_state=0),
    ]
    for other in others:
        found = other.effect_selected
        assert found.n_units == selected.sum()
        assert found.effect == pytest.approx(own.effect, abs=0.3 * own.stderr)
        assert found.stderr == pytest.approx(own.stderr, rel=0.05)
        # Selection favours rows on which the treatment does more.
        assert found.effect > other.effect + 2 * found.stderr


def test_naive_is_welchs():
    _, y, treatment, _, _ = missing_at_random(300)
    found = naive_effect(y, treatment)
    welch = ttest_ind(y[treatment == 1], y[treatment == 0], equal_var=False)
    assert found.effect / found.stderr == pytest.approx(welch.statistic, rel=1e-12)
    assert found.n_units == 300 and found.influence.mean() == pytest.approx(
        0, abs=1e-12
    )
    repeats = np.random.default_rng(0).integers(0, 3, 300)
    repeated = naive_effect(np.repeat(y, repeats), np.repeat(treatment, repeats))
    weighted = naive_effect(y, treatment, repeats.astype(float))
    assert weighted.effect == pytest.approx(repeated.effect, rel=1e-12)


@every_case
def test_one_arm_is_refused(case):
    function, given = case(400)
    n = len(given["y"])
    for treatment in (np.zeros(n), (np.arange(n) == 0) * 1.0):
        with pytest.raises(ValueError, match=f"each arm, got .* n_samples = {n}"):
            function(**given | {"treatment": treatment}, random_state=0)
    with pytest.raises(ValueError, match="at least 1 rows in each arm"):
        naive_effect(given["y"], np.ones(n))


def test_an_arm_that_is_never_selected_is_refused():
    function, given = mar_case(400)
    given["selected"] = given["selected"] & (given["treatment"] == 0)
    with pytest.raises(
        ValueError, match=r"2 selected rows in each arm, got .* 0 of arm"
    ):
        function(**given)


@every_case
def test_two_rows_of_an_arm_are_enough(case):
    # Folds then are without the arm, and their rows still are predicted for it.
    function, given = case(400)
    rows = np.flatnonzero(given["treatment"] == 1)
    if case is mar_case:
        rows = rows[given["selected"][rows]]
    treatment = np.zeros(len(given["y"]))
    treatment[rows[:2]] = 1
    found = function(**given | {"treatment": treatment}, random_state=0)
    assert np.isfinite([found.effect, found.stderr]).all()


@every_case
def test_two_rows_that_count_are_enough(case):
    function, given = case(400)
    weight = np.ones(len(given["y"]))
    rows = np.flatnonzero(given["treatment"] == 1)
    if case is mar_case:
        rows = rows[given["selected"][rows]]
    weight[given["treatment"] == 1] = 0
    weight[rows[:2]] = 1
    for seed in range(4):
        found = function(**given, sample_weight=weight, random_state=seed)
        assert np.isfinite([found.effect, found.stderr]).all()


@every_case
def test_a_constant_outcome_has_no_effect(case):
    function, given = case(400)
    given["y"] = np.where(np.isnan(given["y"]), np.nan, 3.0)
    found = function(**given, random_state=0)
    assert abs(found.effect) < 1e-10 and found.stderr < 1e-10


@every_case
def test_a_treatment_that_x_decides_is_clipped_and_said(case):
    function, given = case(400)
    given["treatment"] = (given["X"][:, 0] > 0) * 1.0
    found = function(**given, trim=0.05, random_state=0)
    assert found.clipped > 0.2
    assert np.isfinite([found.effect, found.stderr]).all()
    assert found.propensity.min() == 0.05 and found.propensity.max() == 0.95


def test_weights_that_concentrate_on_three_rows():
    function, given = known_case(400)
    given["selection_prob"] = np.ones(len(given["y"]))
    given["selection_prob"][:3] = 1e-9
    found = function(**given, random_state=0)
    assert np.isfinite([found.effect, found.stderr]).all()
    kish = found.weights.sum() ** 2 / (found.weights @ found.weights)
    assert kish == pytest.approx(3, abs=1e-3)
    # The estimate rests on three rows, and its error is that of a mean of about three.
    share = np.abs(found.influence[:3]).sum() / np.abs(found.influence).sum()
    assert share > 0.99


def test_everyone_selected_needs_no_model_of_selection():
    X, y, treatment, _, _ = missing_at_random(600)
    found = mar_effect(X, y, treatment, np.ones(600, bool), random_state=0)
    plain = selected_effect(X, y, treatment, random_state=0)
    assert (found.selection_prob == 1).all()
    assert found.effect == pytest.approx(plain.effect, rel=1e-8)
    assert found.effect_selected.effect == pytest.approx(plain.effect, rel=1e-8)


def test_sizes_of_the_reference_do_not_matter_to_the_ratio():
    function, given = reference_case(1000)
    X = given["X"]
    many = function(
        **given | {"x_reference": np.tile(X, (30, 1))}, trim=0.1, random_state=0
    )
    # The same population: ratios near 1, and none clipped for the sizes' sake.
    assert (many.weights > 0.5).all() and (many.weights < 2).all()
    assert many.clipped < 0.05
    few = function(**given | {"x_reference": X[:20]}, trim=0.1, random_state=0)
    assert few.stderr > many.stderr and np.isfinite(few.effect)


def test_a_binary_outcome_takes_a_classifier():
    function, given = mar_case(600)
    given["y"] = np.where(given["selected"], given["y"] > 0.5, np.nan)
    params = {"outcome_learner": LogisticRegression(), "random_state": 0}
    found = function(**given, **params)
    assert ((found.outcome_means > 0) & (found.outcome_means < 1)).all()
    linear = function(**given, random_state=0)
    assert found.effect == pytest.approx(linear.effect, abs=linear.stderr)
    with pytest.raises(
        ValueError, match="y must be 0 or 1 for a classifier as outcome"
    ):
        function(**given | {"y": given["y"] + 1}, **params)


def test_learners_without_weights_are_refused_where_rows_differ():
    function, given = known_case(400)
    with pytest.raises(
        TypeError, match=r"KNeighborsRegressor\.fit takes no sample_weight"
    ):
        function(**given, outcome_learner=KNeighborsRegressor())
    given["selection_prob"] = np.full(len(given["y"]), 0.5)
    found = function(**given, outcome_learner=KNeighborsRegressor(), random_state=0)
    assert np.isfinite(found.effect)


@every_case
@pytest.mark.parametrize("forests", [False, True])
def test_jobs_change_nothing(case, forests):
    function, given = case(120)
    params = {"n_folds": 2, "random_state": 0}
    if forests:
        params["outcome_learner"] = RandomForestRegressor(2)
        params["propensity_learner"] = RandomForestClassifier(2)
    expected = function(**given, **params)
    with parallel_config("threading", n_jobs=2):
        found = function(**given, **params)
    assert found.effect == expected.effect and found.stderr == expected.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_cluster_gives_the_answer_of_one_process():
    distributed = pytest.importorskip("distributed")
    function, given = mar_case(300)
    forests = {
        "outcome_learner": RandomForestRegressor(2),
        "propensity_learner": RandomForestClassifier(2),
        "selection_learner": RandomForestClassifier(2),
    }
    root = pathlib.Path(skident.__file__).parents[1]
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={"PYTHONPATH": str(root)},
        ) as cluster,
        distributed.Client(cluster),
    ):
        for learners in ({}, forests):
            here = function(**given, **learners, random_state=0)
            with parallel_config(backend="dask"):
                there = function(**given, **learners, random_state=0)
            assert there.effect == pytest.approx(here.effect, rel=1e-8)
            assert there.stderr == pytest.approx(here.stderr, rel=1e-8)
