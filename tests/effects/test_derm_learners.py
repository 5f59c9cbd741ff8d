"""DERM around learners of many kinds, in pipelines and in searches."""

import numpy as np
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skident.datasets import make_ppci_shortcut
from skident.effects import DERMClassifier, DERMRegressor, derm_weights
from skident.effects._derm_base import weight_route
from skident.metrics import best_above_accuracy_floor, neg_abs_teb_scorer

pytestmark = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning"
)


def weighted_problem(n=600, seed=0):
    data = make_ppci_shortcut(n, random_state=seed)
    return data, derm_weights(data.y, data.settings)[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("estimator", [DERMClassifier(), DERMRegressor()], ids=repr)
def test_scikit_learns_checks_pass_bare(estimator):
    check_estimator(estimator)


class WithSettingsClassifier(DERMClassifier):
    """Is always given settings."""

    def fit(self, X, y, *, settings=None, sample_weight=None):
        settings = _rows_of(X) if settings is None else settings
        return super().fit(X, y, settings=settings, sample_weight=sample_weight)


class WithSettingsRegressor(DERMRegressor):
    """Is always given settings."""

    def fit(self, X, y, *, settings=None, sample_weight=None):
        settings = _rows_of(X) if settings is None else settings
        return super().fit(X, y, settings=settings, sample_weight=sample_weight)


def _rows_of(X):
    """Settings from the number of rows alone, two rows of a kind in a row."""
    n = X.shape[0] if hasattr(X, "shape") else len(np.asarray(X))
    return (np.arange(n) // 2 % 2)[:, None]


# {check: why it cannot hold with settings that are made so}.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "settings do not follow the rows",
    "check_sample_weight_equivalence_on_sparse_data": "settings do not follow the rows",
    "check_classifiers_classes": "three named classes have no variance",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "estimator", [WithSettingsClassifier(cv=2), WithSettingsRegressor(cv=2)], ids=repr
)
def test_scikit_learns_checks_pass_with_settings(estimator):
    check_estimator(estimator, expected_failed_checks=EXPECTED_FAILURES)


# --- routes of the weights -----------------------------------------------------------


def test_weights_reach_the_last_step_of_a_pipeline():
    data, w = weighted_problem()
    pipe = make_pipeline(StandardScaler(), make_pipeline(LogisticRegression()))
    model = DERMClassifier(pipe, cv=None).fit(data.X, data.y, settings=data.settings)
    scaled = StandardScaler().fit_transform(data.X)
    expected = LogisticRegression().fit(scaled, data.y, w)
    np.testing.assert_array_equal(
        model.predict_proba(data.X), expected.predict_proba(scaled)
    )
    assert weight_route(pipe) == "pipeline__logisticregression__sample_weight"


def test_weights_go_where_the_user_has_routed_them():
    data, w = weighted_problem()
    with config_context(enable_metadata_routing=True):
        plain = make_pipeline(StandardScaler(), LogisticRegression())
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            LogisticRegression().set_fit_request(sample_weight=True),
        )
        found = []
        for pipe in (plain, routed):
            model = DERMClassifier(pipe, n_jobs=1, random_state=0)
            model.fit(data.X, data.y, settings=data.settings)
            found.append(model.predict_proba(data.X))
        DERMClassifier().fit(data.X, data.y, settings=data.settings)
    for scaler, proba in (
        (StandardScaler().fit(data.X), found[0]),
        (StandardScaler().fit(data.X, sample_weight=w), found[1]),
    ):
        scaled = scaler.transform(data.X)
        expected = LogisticRegression().fit(scaled, data.y, w)
        np.testing.assert_array_equal(proba, expected.predict_proba(scaled))


def test_weights_pass_through_searches_and_wrappers():
    data, w = weighted_problem()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1]},
        cv=2,
    )
    model = DERMClassifier(search, cv=None).fit(data.X, data.y, settings=data.settings)
    scaled = StandardScaler().fit_transform(data.X)
    expected = LogisticRegression(C=0.1).fit(scaled, data.y, w)
    np.testing.assert_allclose(
        model.predict_proba(data.X), expected.predict_proba(scaled)
    )
    target = TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=np.power)
    assert weight_route(target) == "sample_weight"
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=2)
    with config_context(enable_metadata_routing=True):
        DERMClassifier(calibrated, cv=None).fit(data.X, data.y, settings=data.settings)


@pytest.mark.parametrize(
    "base",
    [
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [5]}),
    ],
    ids=["learner", "pipeline", "search"],
)
def test_learners_without_weights_are_refused(base):
    data, _ = weighted_problem(200)
    with pytest.raises(TypeError, match=r"KNeighborsClassifier.fit takes no sample_w"):
        DERMClassifier(base).fit(data.X, data.y, settings=data.settings)
    with pytest.raises(TypeError, match="mode='resample'"):
        DERMClassifier(base).fit(data.X, data.y, sample_weight=np.ones(200))
    # Without anything to weigh there is no need for weights.
    DERMClassifier(base).fit(data.X, data.y).predict(data.X)


def test_learners_without_weights_train_on_drawn_rows():
    data, _ = weighted_problem(4000)
    base = KNeighborsClassifier(50)
    new = make_ppci_shortcut(4000, p1=0.5, p0=0.5, random_state=1)
    plain = DERMClassifier(base).fit(data.X, data.y)
    model = DERMClassifier(base, mode="resample", cv=None, random_state=0)
    model.fit(data.X, data.y, settings=data.settings)
    again = clone(model).fit(data.X, data.y, settings=data.settings)
    np.testing.assert_array_equal(model.predict(new.X), again.predict(new.X))
    effects = [abs(m.ate(new.X, new.treatment).effect) for m in (plain, model)]
    # 700 effective rows remain: an effect of 0.3 becomes one of the size of its error.
    assert effects[1] < effects[0] / 3
    regressor = DERMRegressor(KNeighborsRegressor(20), mode="resample", random_state=0)
    regressor.fit(data.X, data.X[:, 0], settings=data.settings)
    assert np.corrcoef(regressor.predict(data.X), data.X[:, 0])[0, 1] > 0.8


def test_drawn_rows_may_lack_a_class():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2))
    y = np.arange(40) % 2
    settings = np.arange(40)[:, None] // 2 % 2
    # In a cell of its own a row has no weight, and is never drawn.
    y[-1], settings[-1] = 2, 9
    model = DERMClassifier(mode="resample", random_state=0, cv=2)
    model.fit(X, y, settings=settings)
    assert model.estimator_.classes_.tolist() == [0, 1]
    proba = model.predict_proba(X)
    assert proba.shape == (40, 3) and (proba[:, 2] == 0).all()
    assert model.predict_expected(X).max() < 1


class Constant(ClassifierMixin, BaseEstimator):
    """Predicts one class; has no probabilities."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Images(RegressorMixin, BaseEstimator):
    """Takes rows of three axes only."""

    def fit(self, X, y, sample_weight=None):
        assert X.ndim == 3
        flat = X.reshape(len(X), -1)
        self.model_ = Ridge().fit(flat, y, sample_weight)
        return self

    def predict(self, X):
        return self.model_.predict(X.reshape(len(X), -1))


def test_rows_may_be_images_lists_and_sparse():
    data, _ = weighted_problem(200)
    images = np.stack([data.X, data.X**2], axis=2)
    model = DERMRegressor(Images(), random_state=0)
    model.fit(images, data.X[:, 0], settings=data.settings)
    assert model.score(images, data.X[:, 0]) > 0.9
    assert not hasattr(model, "n_features_in_")
    dense = DERMClassifier(random_state=0).fit(data.X, data.y, settings=data.settings)
    for other in (
        data.X.tolist(),
        sparse.csr_matrix(data.X),
        sparse.coo_matrix(data.X),
    ):
        model = DERMClassifier(random_state=0)
        model.fit(other, data.y.tolist(), settings=data.settings.tolist())
        np.testing.assert_allclose(
            model.predict_proba(data.X), dense.predict_proba(data.X)
        )
    texts = np.array(["no", "yes"])[data.y].tolist()
    lengths = FunctionTransformer(lambda words: np.array([[len(w)] for w in words]))
    model = DERMClassifier(make_pipeline(lengths, LogisticRegression(C=100)))
    model.fit(texts, data.y, settings=data.settings)
    assert model.score(texts, data.y) == 1


def test_missing_features_are_up_to_the_learner():
    data, _ = weighted_problem(300)
    X = data.X.copy()
    X[::7, 2] = np.nan
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    model = DERMClassifier(trees, cv=2, random_state=0)
    model.fit(X, data.y, settings=data.settings)
    assert model.__sklearn_tags__().input_tags.allow_nan
    assert not DERMClassifier().__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match="contains NaN"):
        DERMClassifier().fit(X, data.y, settings=data.settings)


def test_a_flat_learner_is_said_to_be_unreliable():
    data, _ = weighted_problem(200)
    model = DERMClassifier(Constant(), prediction="hard", random_state=0)
    model.fit(data.X, data.y, settings=data.settings)
    assert model.reliability_ == 0
    with pytest.raises(ValueError, match="tell the classes apart"):
        model.ate(data.X, data.treatment, correction="label_shift")


def test_a_seed_reaches_learners_without_one():
    data, _ = weighted_problem(200)
    forest = RandomForestClassifier(3)
    params = {"cv": None, "random_state": 0}
    found = [
        DERMClassifier(make_pipeline(StandardScaler(), forest), **params)
        .fit(data.X, data.y, settings=data.settings)
        .predict_proba(data.X)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)
    model = DERMClassifier(forest.set_params(random_state=7), **params)
    model.fit(data.X, data.y, settings=data.settings)
    assert model.estimator_.random_state == 7


def test_workers_give_the_same_answer():
    data, _ = weighted_problem(300)
    found = []
    for n_jobs in (None, 2):
        with parallel_config(backend="threading"):
            model = DERMClassifier(n_jobs=n_jobs, random_state=0)
            model.fit(data.X, data.y, settings=data.settings)
        found.append(model.confusion_)
    np.testing.assert_array_equal(*found)


# --- searches ------------------------------------------------------------------------


def test_a_search_routes_settings_and_treatment():
    data, _ = weighted_problem(1200)
    units = np.arange(1200) // 3
    treatment = data.treatment
    search = GridSearchCV(
        DERMClassifier(cv=None, random_state=0),
        {"estimator": [LogisticRegression(C=c) for c in (1e-6, 1.0)]},
        scoring={"neg_abs_teb": neg_abs_teb_scorer(), "accuracy": "accuracy"},
        refit=best_above_accuracy_floor(0.7),
        cv=GroupKFold(3),
    )
    with config_context(enable_metadata_routing=True):
        search.fit(
            data.X, data.y, settings=data.settings, treatment=treatment, groups=units
        )
    best = search.best_estimator_
    assert best.cells_["n"].sum() == 1200
    assert search.best_params_["estimator"].C == 1.0
    # Weights are made of each training part alone.
    train, _ = next(GroupKFold(3).split(data.X, data.y, units))
    w, _ = derm_weights(data.y[train], data.settings[train])
    alone = clone(best).fit(data.X[train], data.y[train], settings=data.settings[train])
    np.testing.assert_allclose(alone.sample_weight_, w)


def test_settings_pass_through_a_pipeline():
    data, _ = weighted_problem(400)
    pipe = make_pipeline(StandardScaler(), DERMClassifier(random_state=0))
    pipe.fit(data.X, data.y, dermclassifier__settings=data.settings)
    assert len(pipe[-1].cells_) == 2
    with config_context(enable_metadata_routing=True):
        again = clone(pipe).fit(data.X, data.y, settings=data.settings)
        scores = cross_validate(
            pipe, data.X, data.y, params={"settings": data.settings}, cv=3
        )
    np.testing.assert_array_equal(again.predict(data.X), pipe.predict(data.X))
    assert (scores["test_score"] > 0.6).all()
