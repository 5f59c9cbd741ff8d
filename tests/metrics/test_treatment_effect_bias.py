"""Bias of effects on predictions: against sums by hand, and in searches."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skident.effects import DERMClassifier
from skident.metrics import (
    best_above_accuracy_floor,
    neg_abs_teb_scorer,
    treatment_effect_bias,
)


def trial(n=400, seed=0):
    rng = np.random.default_rng(seed)
    ward = rng.integers(0, 2, n)
    treatment = (rng.random(n) < 0.3 + 0.4 * ward).astype(int)
    y = 2.0 * ward + treatment + rng.standard_normal(n)
    y_pred = 0.5 * y + 0.3 * treatment + 0.1 * rng.standard_normal(n)
    return y_pred, y, treatment, ward


def difference(values, treatment, weights=None):
    weights = np.ones(len(values)) if weights is None else weights
    arms = [
        np.average(values[treatment == t], weights=weights[treatment == t])
        for t in (0, 1)
    ]
    return arms[1] - arms[0]


def test_perfect_predictions_have_no_bias():
    _, y, treatment, ward = trial()
    assert treatment_effect_bias(y, y, treatment) == 0
    assert treatment_effect_bias(y, y, treatment, covariates=ward[:, None]) == 0
    # A shift that is the same for both arms is none.
    assert treatment_effect_bias(y + 3, y, treatment) == pytest.approx(0, abs=1e-12)


def test_arms_are_compared_by_their_means():
    y_pred, y, treatment, _ = trial()
    expected = difference(y_pred, treatment) - difference(y, treatment)
    assert treatment_effect_bias(y_pred, y, treatment) == pytest.approx(expected)
    assert treatment_effect_bias(
        y_pred, y, treatment == 1, relative=True
    ) == pytest.approx(expected / difference(y, treatment))


def test_covariates_are_adjusted_for_cell_by_cell():
    y_pred, y, treatment, ward = trial()
    per_ward = [
        difference((y_pred - y)[ward == w], treatment[ward == w]) for w in (0, 1)
    ]
    expected = np.average(per_ward, weights=np.bincount(ward))
    covariates = np.column_stack([ward, np.zeros(len(ward))])
    found = treatment_effect_bias(y_pred, y, treatment, covariates=covariates)
    assert found == pytest.approx(expected)


def test_weights_stand_for_rows():
    y_pred, y, treatment, ward = trial()
    weight = np.random.default_rng(1).integers(0, 3, len(y))
    copies = np.repeat(np.arange(len(y)), weight)
    for covariates in (None, ward[:, None]):
        found = treatment_effect_bias(
            y_pred, y, treatment, covariates=covariates, sample_weight=weight
        )
        expected = treatment_effect_bias(
            y_pred[copies],
            y[copies],
            treatment[copies],
            covariates=None if covariates is None else covariates[copies],
        )
        assert found == pytest.approx(expected)


def test_units_count_once_however_many_rows_they_have():
    y_pred, y, treatment, ward = trial(60)
    repeats = np.random.default_rng(1).integers(1, 5, 60)
    rows = np.repeat(np.arange(60), repeats)
    noise = np.random.default_rng(2).standard_normal(len(rows))
    noise -= (np.bincount(rows, noise) / repeats)[rows]
    found = treatment_effect_bias(
        y_pred[rows] + noise,
        y[rows],
        treatment[rows],
        covariates=ward[rows, None],
        units=np.array([f"video {u}" for u in rows]),
    )
    expected = treatment_effect_bias(y_pred, y, treatment, covariates=ward[:, None])
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="same in all rows of a unit"):
        treatment_effect_bias(y_pred, y, treatment, units=np.zeros(60))


def test_another_estimator_of_the_effect_takes_the_place_of_means():
    y_pred, y, treatment, ward = trial()
    seen = []

    def ate(values, treatment, **given):
        seen.append(sorted(given))
        return difference(values, treatment)

    bias = treatment_effect_bias(
        y_pred, y, treatment, covariates=ward[:, None], ate=ate
    )
    assert bias == pytest.approx(treatment_effect_bias(y_pred, y, treatment))
    assert seen == [["covariates"]] * 2

    from skident.effects import aipw_ate

    found = treatment_effect_bias(y_pred, y, treatment, covariates=ward, ate=aipw_ate)
    # With saturated models of few cells it is the same adjustment.
    assert found == pytest.approx(
        treatment_effect_bias(y_pred, y, treatment, covariates=ward[:, None])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_pred": [0.0, 1.0]}, "y_pred must have a value for each"),
        ({"y_pred": [0.0, np.nan, 1.0, 1.0]}, "y_pred must be finite"),
        ({"y": ["a", "b", "a", "b"]}, "y must be numbers"),
        ({"treatment": [1, 1, 1, 1]}, "treatment must take both values"),
        ({"treatment": [0, 1, 2, 1]}, "treatment must be 0 or 1"),
        ({"treatment": np.zeros((4, 2))}, "treatment must be of shape"),
        ({"covariates": [[0], [0], [1], [1]]}, "in every cell of the covariates"),
        ({"sample_weight": [0, 0, 1, 1]}, "treatment must take both values"),
        ({"y": [0.0, 1.0, 0.0, 1.0], "relative": True}, "an effect on the outcomes"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    given = {
        "y_pred": [0.0, 1.0, 2.0, 3.0],
        "y": [0.0, 1.0, 2.0, 3.0],
        "treatment": [0, 0, 1, 1],
    }
    with pytest.raises(ValueError, match=message):
        treatment_effect_bias(**(given | change))


# --- the scorer ----------------------------------------------------------------------


def test_the_scorer_takes_the_expected_outcome():
    _, y, treatment, _ = trial()
    X = np.column_stack([y, treatment])
    scorer = neg_abs_teb_scorer()
    ridge = Ridge(100.0).fit(X, y)
    expected = -abs(treatment_effect_bias(ridge.predict(X), y, treatment))
    assert scorer(ridge, X, y, treatment=treatment) == pytest.approx(expected)

    labels = (y > 1).astype(int) * 2
    logistic = LogisticRegression().fit(X, labels)
    expected = -abs(
        treatment_effect_bias(2 * logistic.predict_proba(X)[:, 1], labels, treatment)
    )
    assert scorer(logistic, X, labels, treatment=treatment) == pytest.approx(expected)
    names = np.where(labels == 2, "yes", "no")
    named = LogisticRegression().fit(X, names)
    assert scorer(named, X, names, treatment=treatment) == pytest.approx(expected / 2)

    machine = LinearSVC(C=1e-3).fit(X, names)
    hard = (machine.predict(X) == "yes").astype(float)
    expected = -abs(treatment_effect_bias(hard, labels / 2, treatment))
    assert scorer(machine, X, names, treatment=treatment) == pytest.approx(expected)
    relative = neg_abs_teb_scorer(relative=True)
    assert relative(ridge, X, y, treatment=treatment) != scorer(
        ridge, X, y, treatment=treatment
    )


@pytest.mark.parametrize("dtype", [str, object])
def test_labels_that_are_numbers_stand_for_themselves(dtype):
    _, y, treatment, _ = trial()
    X = np.column_stack([y, treatment])
    numbers = np.where(y > 1, 3, 1)
    labels = numbers.astype(str).astype(dtype)
    scorer = neg_abs_teb_scorer()
    expected = scorer(
        LogisticRegression().fit(X, numbers), X, numbers, treatment=treatment
    )
    named = LogisticRegression().fit(X, labels)
    assert scorer(named, X, labels, treatment=treatment) == pytest.approx(expected)
    derm = DERMClassifier(cv=None).fit(X, labels, settings=treatment[:, None])
    bias = derm.treatment_effect_bias(X, labels, treatment).effect
    found = scorer(derm, X, labels, treatment=treatment)
    assert found == pytest.approx(-abs(bias))
    labels[0] = "2"
    with pytest.raises(ValueError, match=r"fit has not seen: \['2'\]"):
        scorer(named, X, labels, treatment=treatment)


def test_the_scorer_needs_a_treatment_and_numbers():
    X = np.arange(6.0)[:, None]
    model = LinearRegression().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="needs treatment: pass it through metadata"):
        neg_abs_teb_scorer()(model, X, X[:, 0])
    names = np.array(list("aabbcc"))
    with pytest.raises(ValueError, match="classes that are numbers"):
        neg_abs_teb_scorer()(
            LogisticRegression().fit(X, names), X, names, treatment=[0, 1] * 3
        )


def test_searches_route_the_treatment_to_the_scorer():
    _, y, treatment, ward = trial()
    X = np.column_stack([y + np.random.default_rng(1).standard_normal(400), treatment])
    units = np.arange(400)
    pipe = make_pipeline(StandardScaler(), Ridge())
    search = GridSearchCV(
        pipe,
        {"ridge__alpha": [1.0, 1e4]},
        scoring={"neg_abs_teb": neg_abs_teb_scorer(), "accuracy": "r2"},
        refit=best_above_accuracy_floor(0.2),
        cv=GroupKFold(4),
    )
    given = {"treatment": treatment, "covariates": ward[:, None], "units": units}
    with config_context(enable_metadata_routing=True):
        found = search.fit(X, y, groups=units, **given)
        clone(search)
        scores = cross_validate(
            pipe, X, y, scoring=neg_abs_teb_scorer(), params=given, cv=4
        )
    assert found.best_params_ == {"ridge__alpha": 1.0}
    # The flat candidate misses an effect of 1 and cannot be chosen by its bias either.
    assert found.cv_results_["mean_test_neg_abs_teb"][1] < -0.5
    assert (scores["test_score"] > -0.5).all()


def test_scorers_and_choices_pickle_and_print():
    scorer = pickle.loads(pickle.dumps(neg_abs_teb_scorer(relative=True)))
    assert repr(scorer) == "neg_abs_teb_scorer(ate=None, relative=True)"
    results = {"mean_test_r2": [0.1, 0.9], "mean_test_neg_abs_teb": [0.0, -1.0]}
    refit = best_above_accuracy_floor(0.5, accuracy="r2")
    assert pickle.loads(pickle.dumps(refit))(results) == 1


def test_the_best_among_the_accurate_is_chosen():
    results = {
        "mean_test_accuracy": np.array([0.9, 0.7, 0.85, 0.95]),
        "mean_test_neg_abs_teb": np.array([-0.2, 0.0, -0.1, np.nan]),
    }
    assert best_above_accuracy_floor(0.8)(results) == 2
    assert best_above_accuracy_floor(0.6)(results) == 1
    with pytest.warns(UserWarning, match=r"No candidate has .* of 0.99 and"):
        assert best_above_accuracy_floor(0.99)(results) == 3
    # The last one is accurate, and its score has failed.
    with pytest.warns(UserWarning, match="and a neg_abs_teb: the most accurate"):
        assert best_above_accuracy_floor(0.92)(results) == 3
    with pytest.raises(ValueError, match="needs 'f1' in the search's scoring"):
        best_above_accuracy_floor(0.8, accuracy="f1")(results)
    with pytest.raises(ValueError, match="floor must be a number"):
        best_above_accuracy_floor("high")
