import numpy as np
import pytest
import sklearn
from scipy.special import expit, logit
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skident.effects import _linear_nuisances as module
from skident.effects._linear_nuisances import (
    FoldBlocks,
    FoldLogistic,
    FoldRidge,
    logistic_by_fold,
    ridge_by_fold,
)

SIZES = [(60, 3), (400, 10), (25, 40), (6000, 6)]


def data(n, d, seed=0):
    """Columns of very different units, a repeated and a constant one."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    X[:, 1] = X[:, 0]
    slopes = rng.standard_normal(d) / np.sqrt(d)
    y = X @ slopes + rng.standard_normal(n) + 5
    labels = (rng.random(n) < expit(2 * X @ slopes)).astype(int)
    X = X * 10.0 ** rng.integers(-3, 4, d) + rng.integers(-3, 4, d)
    X[:, 2] = 7.7
    return X, y, labels, rng


def blocks_of(X, rng, n_folds=4, n_strata=3):
    fold = rng.permutation(len(X)) % n_folds
    stratum = rng.integers(0, n_strata, len(X))
    return FoldBlocks(X, fold, stratum), fold, stratum


def on_rows(learner, X, y, rows, weight):
    return learner.fit(X[rows], y[rows], sample_weight=weight[rows])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_fits_to_folds_are_those_to_their_rows(size, weighted):
    X, y, labels, rng = data(*size)
    blocks, fold, stratum = blocks_of(X, rng)
    weight = rng.integers(0, 4, len(X)) + 0.5 if weighted else np.ones(len(X))
    given = weight if weighted else None
    taken = np.isin(stratum, [0, 2])
    slopes = ridge_by_fold(blocks, [0, 2], np.where(taken, y, np.nan), given)
    odds = logistic_by_fold(blocks, [0, 2], np.where(taken, labels, 9), given)
    outcomes, chances = blocks.predict(slopes), expit(blocks.predict(odds))
    for k in range(4):
        train, test = taken & (fold != k), fold == k
        alone = on_rows(FoldRidge(), X, y, train, weight)
        # Both solve to rounding; the ridge's penalty is at least 1e-8 of its largest
        # root, which leaves half of the digits in the worst direction.
        np.testing.assert_allclose(outcomes[test], alone.predict(X[test]), rtol=1e-6)
        alone = on_rows(FoldLogistic(), X, labels, train, weight)
        expected = alone.predict_proba(X[test])[:, 1]
        np.testing.assert_allclose(chances[test], expected, atol=1e-7)
    whole = on_rows(FoldRidge(), X, y, taken, weight)
    coef, intercept = blocks.in_units(slopes[-1])
    np.testing.assert_allclose(X @ coef + intercept, whole.predict(X), rtol=1e-6)


def test_logistic_regression_is_scikit_learns_on_standardised_columns():
    X, _, labels, _ = data(300, 6)
    oracle = make_pipeline(
        StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-10)
    )
    expected = oracle.fit(X, labels).predict_proba(X)
    np.testing.assert_allclose(
        FoldLogistic().fit(X, labels).predict_proba(X), expected, atol=1e-7
    )


def test_ridge_minimises_generalised_cross_validation():
    X, y, _, _ = data(50, 8)
    Z = StandardScaler().fit_transform(X)
    criteria, fits = [], []
    for penalty in module._PENALTIES:
        ridge = Ridge(alpha=50 * penalty).fit(Z, y)
        hat = Z @ np.linalg.solve(Z.T @ Z + 50 * penalty * np.eye(8), Z.T)
        freedom = 1 - (np.trace(hat) + 1) / 50
        criteria.append(np.mean((y - ridge.predict(Z)) ** 2) / freedom**2)
        fits.append(ridge.predict(Z))
    expected = fits[int(np.argmin(criteria))]
    np.testing.assert_allclose(FoldRidge().fit(X, y).predict(X), expected, rtol=1e-6)


def test_ridge_is_least_squares_where_rows_are_many():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 3))
    y = X @ [1.0, -2.0, 3.0] + rng.standard_normal(20_000)
    ours, oracle = FoldRidge().fit(X, y), LinearRegression().fit(X, y)
    # Far below the standard errors, 0.007.
    np.testing.assert_allclose(ours.coef_, oracle.coef_, atol=2e-4)


def test_slopes_stay_finite_where_classes_are_apart():
    X = np.linspace(-1, 1, 40)[:, None]
    labels = (X[:, 0] > 0).astype(int)
    found = FoldLogistic().fit(X, labels)
    chance = found.predict_proba(X)[:, 1]
    assert np.isfinite(found.coef_).all() and ((chance > 0) & (chance < 1)).all()
    assert (found.predict(X) == labels).all()
    oracle = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10))
    expected = oracle.fit(X, labels).predict_proba(X)[:, 1]
    np.testing.assert_allclose(chance, expected, atol=1e-5)


def test_a_start_that_misleads_is_left():
    # Every eighth row, from which fits of many rows start, is of one class.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 3))
    labels = (X[:, 0] + rng.logistic(size=4000) > 0).astype(int)
    labels[:: module._THIN] = 0
    oracle = make_pipeline(
        StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-10)
    )
    expected = oracle.fit(X, labels).predict_proba(X)
    found = FoldLogistic().fit(X, labels).predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_one_class_has_probability_1():
    X = np.arange(6.0)[:, None]
    alone = FoldLogistic().fit(X, np.full(6, "b"))
    assert (alone.predict_proba(X) == 1).all() and (alone.predict(X) == "b").all()
    weight = np.array([1.0, 1, 1, 0, 0, 0])
    labels = np.array([1, 1, 1, 0, 0, 0])
    found = FoldLogistic().fit(X, labels, sample_weight=weight)
    assert (found.predict_proba(X)[:, 1] == 1).all()
    # Only the first fold is left without class 1.
    blocks = FoldBlocks(X, np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, dtype=int))
    odds = blocks.predict(logistic_by_fold(blocks, [0], labels))
    assert (odds[:3] == -np.inf).all() and (odds[3:] == np.inf).all()


def test_folds_that_contradict_each_other_fall_back_to_newton(monkeypatch):
    # One fold's labels contradict the rest, so that steps with shared curvature miss.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 2)) * [1, 30]
    labels = (X[:, 0] > 0).astype(int)
    fold = np.arange(90) % 3
    labels[fold == 0] = 1 - labels[fold == 0]
    blocks = FoldBlocks(X, fold, np.zeros(90, dtype=int))
    calls, newton = [], module._Logistic.newton
    monkeypatch.setattr(
        module._Logistic,
        "newton",
        lambda self, left_out, **tol: (
            calls.append(left_out) or newton(self, left_out, **tol)
        ),
    )
    chance = expit(blocks.predict(logistic_by_fold(blocks, [0], labels)))
    assert calls == [3, 0, 1, 2, 3]
    for k in range(3):
        alone = FoldLogistic().fit(X[fold != k], labels[fold != k])
        expected = alone.predict_proba(X[fold == k])[:, 1]
        np.testing.assert_allclose(logit(chance[fold == k]), logit(expected), rtol=1e-5)


def test_a_fold_with_nearly_all_the_weight():
    X, y, _, rng = data(120, 4)
    blocks, fold, _ = blocks_of(X, rng, n_strata=1)
    weight = np.where(fold == 0, 1e14, 1.0)
    outcomes = blocks.predict(ridge_by_fold(blocks, [0], y, weight))
    train, test = fold != 0, fold == 0
    alone = on_rows(FoldRidge(), X, y, train, weight)
    np.testing.assert_allclose(outcomes[test], alone.predict(X[test]), rtol=1e-6)


def test_float32_columns_give_the_same_to_their_precision():
    X, y, labels, _ = data(200, 5)
    narrow = X.astype(np.float32)
    for learner, target in ((FoldRidge(), y), (FoldLogistic(), labels)):
        wide = learner.fit(narrow.astype(np.float64), target).coef_
        np.testing.assert_allclose(learner.fit(narrow, target).coef_, wide, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("learner", [FoldRidge(), FoldLogistic()], ids=repr)
def test_scikit_learns_checks_pass(learner):
    expected = {}
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):
        expected["check_sample_weight_equivalence_on_dense_data"] = (
            "names the classes of the two data sets it compares in opposite ways"
        )
    failed = [
        found["check_name"]
        for found in check_estimator(learner, on_skip=None, on_fail=None)
        if found["status"] == "failed" and found["check_name"] not in expected
    ]
    assert not failed
