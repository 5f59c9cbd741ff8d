import numpy as np
import pytest
from joblib import parallel_config
from scipy.special import expit
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skident.effects._nuisances import (
    Nuisance,
    clip_probability,
    cross_fit,
    default_classifier,
    default_outcome,
    fit_nuisances,
    make_folds,
    row_order,
)


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    y = X @ [1.0, 2.0, 0.0] + rng.standard_normal(n)
    labels = (rng.random(n) < expit(X[:, 0])) * 1.0
    return X, y, labels


def test_folds_part_the_rows_and_each_stratum():
    strata = np.repeat(["a", "b", "c"], [50, 23, 3])
    folds = make_folds(5, strata, 0)
    assert len(folds) == 5
    tests = np.concatenate([test for _, test in folds])
    assert sorted(tests) == list(range(76))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(76))
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        for label, size in (("a", 50), ("b", 23), ("c", 3)):
            found = np.count_nonzero(strata[test] == label)
            assert size // 5 <= found <= -(-size // 5)


def test_folds_are_no_more_than_rows_and_one_is_all():
    assert len(make_folds(5, np.zeros(3), 0)) == 3
    [(train, test)] = make_folds(1, np.arange(4) % 2, 0)
    assert list(train) == list(test) == [0, 1, 2, 3]


def test_folds_follow_the_rows_and_not_their_labels():
    X, _, labels = data()
    moved = np.random.default_rng(1).permutation(len(X))
    expected = make_folds(5, labels, 0, order=row_order(X))
    swapped = make_folds(5, 1 - labels, 0, order=row_order(X))
    found = make_folds(5, labels[moved], 0, order=row_order(X[moved]))
    for (_, a), (_, b), (_, c) in zip(expected, swapped, found, strict=True):
        assert list(a) == list(b) == sorted(moved[c])


def test_order_of_rows_reads_on_where_columns_tie():
    X = np.array([[1.0, 2.0], [0.0, 5.0], [1.0, 1.0], [0.0, 5.0]])
    y = np.array([0.0, np.nan, 0.0, 3.0])
    assert list(row_order(X, y)) == [3, 1, 2, 0]
    assert list(row_order(np.array([np.nan, 1.0, np.nan]))) == [1, 0, 2]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("proba", [False, True])
def test_predictions_are_of_models_that_have_not_seen_the_row(weighted, proba):
    X, y, labels = data()
    y = labels if proba else y
    rows = X[:, 1] > -0.5
    weight = np.random.default_rng(0).random(len(X)) if weighted else None
    folds = make_folds(4, labels, 0)
    learner = LogisticRegression() if proba else LinearRegression()
    found = cross_fit(
        learner, X, y, folds, rows=rows, sample_weight=weight, proba=proba
    )
    for train, test in folds:
        train = train[rows[train]]
        seen = None if weight is None else weight[train]
        learner.fit(X[train], y[train], sample_weight=seen)
        expected = learner.predict_proba(X[test])[:, 1] if proba else None
        expected = learner.predict(X[test]) if expected is None else expected
        np.testing.assert_array_equal(found[test], expected)


def test_defaults_agree_with_their_own_fits_fold_by_fold():
    X, y, labels = data()
    folds = make_folds(4, labels, 0)
    for learner, target, proba in (
        (default_outcome(), y, False),
        (default_classifier(), labels, True),
    ):

        class Alone(type(learner)):
            """Not recognised, and so fitted fold by fold."""

        shared = cross_fit(learner, X, target, folds, proba=proba)
        alone = cross_fit(Alone(), X, target, folds, proba=proba)
        np.testing.assert_allclose(shared, alone, rtol=1e-6)
        # Folds that are no partition are fitted one by one.
        part = cross_fit(learner, X, target, folds[:2], proba=proba)
        tested = np.concatenate([test for _, test in folds[:2]])
        np.testing.assert_allclose(part[tested], alone[tested], rtol=1e-6)
        assert np.isnan(np.delete(part, tested)).all()


def test_models_average_the_folds_or_are_fitted_to_all_rows():
    X, y, labels = data()
    folds = make_folds(4, labels, 0)
    wanted = [
        Nuisance("y", LinearRegression(), y),
        Nuisance("y", default_outcome(), y),
        Nuisance("labels", default_classifier(), labels, proba=True),
    ]
    fitted = fit_nuisances(X, wanted, folds)
    models = [LinearRegression().fit(X[a], y[a]) for a, _ in folds]
    expected = np.mean([model.predict(X) for model in models], axis=0)
    np.testing.assert_allclose(fitted[0][1].predict(X), expected)
    expected = default_outcome().fit(X, y).predict(X)
    np.testing.assert_allclose(fitted[1][1].predict(X), expected)
    expected = default_classifier().fit(X, labels).predict_proba(X)[:, 1]
    np.testing.assert_allclose(fitted[2][1].predict(X), expected, atol=1e-8)


def test_folds_that_see_one_class_predict_it():
    X, _, _ = data(40)
    labels = (np.arange(40) < 2) * 1.0
    folds = [(np.arange(2, 40), np.arange(2)), (np.arange(30), np.arange(2, 40))]
    for learner in (LogisticRegression(), default_classifier()):
        found = cross_fit(learner, X, labels, folds, proba=True)
        assert (found[:2] == 0).all() and (found[2:] > 0).all()
    # So does a class whose rows have no weight.
    weight = 1.0 - labels
    for learner in (LogisticRegression(), default_classifier()):
        found = cross_fit(learner, X, labels, folds, proba=True, sample_weight=weight)
        assert (found == 0).all()


@pytest.mark.parametrize("learner", [LinearRegression(), default_outcome()], ids=repr)
def test_a_fold_without_a_row_to_learn_from_is_refused(learner):
    X, y, _ = data(20)
    folds = make_folds(4, np.zeros(20), 0)
    rows = np.isin(np.arange(20), folds[0][1])
    with pytest.raises(ValueError, match="no row to learn y from; n_samples = 20"):
        cross_fit(learner, X, y, folds, rows=rows)


def test_weights_find_their_way_into_pipelines_and_searches():
    X, y, _ = data()
    weight = np.random.default_rng(0).random(len(X))
    folds = make_folds(3, np.zeros(len(X)), 0)
    expected = cross_fit(LinearRegression(), X, y, folds, sample_weight=weight)
    pipe = make_pipeline(StandardScaler(), LinearRegression())
    search = GridSearchCV(pipe, {"linearregression__fit_intercept": [True]}, cv=2)
    for learner in (pipe, search):
        for routing in (False, True):
            with config_context(enable_metadata_routing=routing):
                found = cross_fit(learner, X, y, folds, sample_weight=weight)
            np.testing.assert_allclose(found, expected, rtol=1e-8)


class NoWeights(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize(
    "learner",
    [
        NoWeights(),
        make_pipeline(StandardScaler(), NoWeights()),
        GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [2]}),
    ],
    ids=["plain", "pipeline", "search"],
)
def test_learners_without_weights_are_refused_where_rows_differ(learner):
    X, y, _ = data()
    folds = make_folds(3, np.zeros(len(X)), 0)
    assert np.isfinite(cross_fit(learner, X, y, folds)).all()
    with pytest.raises(TypeError, match=r"fit takes no\s+sample_weight"):
        cross_fit(learner, X, y, folds, sample_weight=np.arange(len(X)) + 1.0)


def test_probabilities_are_not_asked_of_a_regressor():
    X, _, labels = data()
    with pytest.raises(TypeError, match="y must have predict_proba, LinearRegression"):
        cross_fit(LinearRegression(), X, labels, make_folds(2, labels, 0), proba=True)


def test_seeds_are_drawn_before_the_fits_and_jobs_change_nothing():
    X, y, _ = data(60)
    folds = make_folds(3, np.zeros(60), 0)
    forest = RandomForestRegressor(5, random_state=None)
    given = {"random_state": 0}
    found = cross_fit(forest, X, y, folds, **given)
    with parallel_config("threading", n_jobs=2):
        again = cross_fit(forest, X, y, folds, **given)
    np.testing.assert_array_equal(found, again)
    assert forest.random_state is None and not hasattr(forest, "estimators_")
    fixed = cross_fit(forest.set_params(random_state=3), X, y, folds, **given)
    expected = forest.fit(X[folds[0][0]], y[folds[0][0]]).predict(X[folds[0][1]])
    np.testing.assert_array_equal(fixed[folds[0][1]], expected)


def test_clipping_says_which():
    clipped, outside = clip_probability(np.array([0.0, 0.5, 1.0]), 0.1, 0.9)
    assert list(clipped) == [0.1, 0.5, 0.9] and list(outside) == [True, False, True]


def test_a_constant_classifier_is_taken():
    X, _, labels = data()
    folds = make_folds(2, labels, 0)
    found = cross_fit(DummyClassifier(strategy="prior"), X, labels, folds, proba=True)
    train, test = folds[0]
    np.testing.assert_allclose(found[test], labels[train].mean())
