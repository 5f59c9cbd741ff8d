import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDRegressor
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags

from skident.compose import FromColumns
from skident.utils._sklearn import _get_feature_names, check_is_fitted, validate_data
from skident.utils._validation import check_environments
from tests._anchor import AnchorRegressor

RNG = np.random.default_rng(0)
N_SAMPLES = 60
SITES = np.repeat(["north", "south", "west"], 20)
# A shift of the error between sites: the anchor estimate depends on the labels.
COVARIATES = RNG.standard_normal((N_SAMPLES, 2)) + (SITES == "west")[:, None]
Y = COVARIATES @ [1.0, -2.0] + 3.0 * (SITES == "west") + RNG.standard_normal(N_SAMPLES)
WEIGHTS = RNG.uniform(0.5, 2, N_SAMPLES)


def table(kind="pandas"):
    columns = {
        "age": COVARIATES[:, 0],
        "site": SITES,
        "dose": COVARIATES[:, 1],
        "weight": WEIGHTS,
    }
    if kind == "pandas":
        return pd.DataFrame(columns, index=np.arange(N_SAMPLES)[::-1])
    return pytest.importorskip("polars").DataFrame(columns)


def with_names(X):
    """X, where this scikit-learn reads the column names of this polars."""
    if _get_feature_names(X) is None:
        pytest.skip("scikit-learn below 1.8 reads no names from polars 2")
    return X


def assert_same(found, wanted):
    """Equal to rounding, for numbers of order one to ten.

    A dataframe is contiguous by column and an array by row, so sums over either are
    taken in another order.
    """
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


class CentreByEnvironment(TransformerMixin, BaseEstimator):
    """Subtracts environment means; every method but one takes the labels."""

    __metadata_request__fit = {"environments": True}
    __metadata_request__partial_fit = {"environments": True}
    __metadata_request__transform = {"environments": True}

    def fit(self, X, y=None, *, environments):
        X = validate_data(self, X)
        self.labels_, codes = check_environments(environments, X)
        self.means_ = np.stack(
            [X[codes == i].mean(axis=0) for i in range(len(self.labels_))]
        )
        self.n_calls_ = 1
        return self

    def partial_fit(self, X, y=None, *, environments):
        calls = getattr(self, "n_calls_", 0)
        self.fit(X, environments=environments).n_calls_ = calls + 1
        return self

    def fit_transform(self, X, y=None, *, environments):
        return self.fit(X, environments=environments).transform(
            X, environments=environments
        )

    def transform(self, X, *, environments):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        _, codes = check_environments(environments, X)
        return X - self.means_[codes]

    def inverse_transform(self, X):
        return X

    def get_feature_names_out(self, input_features=None):
        names = self.feature_names_in_ if input_features is None else input_features
        return np.asarray([f"{name}_centred" for name in names], dtype=object)


class Remembers(BaseEstimator):
    """Keeps the shapes of what ``fit`` was given."""

    def fit(self, X, y=None, *, treatment=None, instruments=None, settings=None):
        given = {"treatment": treatment, "instruments": instruments}
        given["settings"] = settings
        self.shapes_ = {k: np.shape(v) for k, v in given.items() if v is not None}
        self.n_features_in_ = np.shape(X)[1]
        return self

    def effect(self, X):
        return np.full(len(X), np.shape(X)[1])

    def score_samples(self, X):
        return np.full(len(X), -np.shape(X)[1])


# -- the columns ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_fit_and_predict_as_with_arrays(kind):
    X = table(kind)
    model = FromColumns(AnchorRegressor(), environments="site")
    drop = X.drop(columns="weight") if kind == "pandas" else X.drop("weight")
    model.fit(drop, Y)
    plain = AnchorRegressor().fit(COVARIATES, Y, environments=SITES)
    assert_same(model.estimator_.coef_, plain.coef_)
    assert_same(model.predict(drop), plain.predict(COVARIATES))
    assert model.score(drop, Y) == plain.score(COVARIATES, Y)
    # The labels matter, or the test would show nothing.
    least_squares = LinearRegression().fit(COVARIATES, Y)
    assert abs(plain.coef_ - least_squares.coef_).max() > 0.01


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_predict_needs_the_covariates_only(kind):
    X = with_names(table(kind)[["site", "age", "dose"]])
    model = FromColumns(AnchorRegressor(), environments="site").fit(X, Y)
    assert_same(model.predict(X), model.predict(X[["age", "dose"]]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[["dose", "age"]])


def test_fitted_attributes_tell_of_all_columns():
    X = table()
    model = FromColumns(AnchorRegressor(), environments="site").fit(
        X.drop(columns="weight"), Y
    )
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["age", "site", "dose"]
    assert model.estimator_.feature_names_in_.tolist() == ["age", "dose"]
    # A refit on an array, with no column asked, forgets the names.
    model.set_params(environments=None, estimator=LinearRegression())
    assert not hasattr(model.fit(COVARIATES, Y), "feature_names_in_")
    assert model.n_features_in_ == 2


def test_columns_whose_names_are_no_strings():
    X = table().rename(columns={"age": 0, "dose": 1}).drop(columns="weight")
    X = X[["site"]].join(X[[0, 1]])
    model = FromColumns(AnchorRegressor(), environments="site").fit(X, Y)
    assert model.n_features_in_ == 3 and not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("columns", "shapes"),
    [
        ({"treatment": "dose"}, {"treatment": (60,)}),
        ({"treatment": ["dose", "age"]}, {"treatment": (60, 2)}),
        ({"instruments": "dose"}, {"instruments": (60, 1)}),
        ({"settings": "site"}, {"settings": (60, 1)}),
        (
            {"settings": ["site", "dose"], "instruments": ["dose"]},
            {"settings": (60, 2), "instruments": (60, 1)},
        ),
    ],
)
def test_lists_of_columns_are_tables(kind, columns, shapes):
    model = FromColumns(Remembers(), **columns).fit(table(kind))
    assert model.estimator_.shapes_ == shapes
    taken = {c for v in columns.values() for c in ([v] if isinstance(v, str) else v)}
    assert model.estimator_.n_features_in_ == 4 - len(taken)
    assert model.effect(table(kind))[0] == -model.score_samples(table(kind))[0]
    assert model.effect(table(kind))[0] == 4 - len(taken)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_every_method_that_takes_the_labels_gets_them(kind):
    X = table(kind)[["age", "site", "dose"]]
    model = FromColumns(CentreByEnvironment(), environments="site")
    centred = model.fit_transform(X)
    for site in np.unique(SITES):
        np.testing.assert_allclose(centred[site == SITES].mean(axis=0), 0, atol=1e-14)
    assert_same(model.transform(X), centred)
    assert_same(model.fit(X).transform(X), centred)
    with pytest.raises(ValueError, match=r"environments='site' names columns .*age"):
        model.transform(X[["age", "dose"]])
    assert model.partial_fit(X).partial_fit(X).estimator_.n_calls_ == 3
    assert clone(model).partial_fit(X).estimator_.n_calls_ == 1
    assert_same(model.inverse_transform(centred), centred)


def test_weights_reach_fit_and_score():
    X = table()[["age", "dose", "weight"]]
    model = FromColumns(LinearRegression(), sample_weight="weight").fit(X, Y)
    plain = LinearRegression().fit(COVARIATES, Y, sample_weight=WEIGHTS)
    assert_same(model.predict(X), plain.predict(COVARIATES))
    assert_same(model.score(X, Y), plain.score(COVARIATES, Y, sample_weight=WEIGHTS))
    assert_same(model.score(X[["age", "dose"]], Y), plain.score(COVARIATES, Y))


# -- refusals ------------------------------------------------------------------


@pytest.mark.parametrize(
    "X", [COVARIATES, COVARIATES.tolist(), pd.Series(COVARIATES[:, 0])]
)
def test_what_is_no_dataframe_is_refused(X):
    model = FromColumns(AnchorRegressor(), environments="site")
    wanted = (
        "takes environments out of X by column name, so X must be a pandas or polars "
        f"dataframe, got {type(X).__name__}"
    )
    with pytest.raises(TypeError, match=wanted):
        model.fit(X, Y)
    fitted = model.fit(table()[["age", "site"]], Y)
    with pytest.raises(TypeError, match=wanted):
        fitted.predict(X)


def test_a_missing_column_is_named_beside_those_that_exist():
    model = FromColumns(Remembers(), treatment=["dose", "drug"])
    wanted = (
        r"treatment=\['dose', 'drug'\] names columns that X does not have exactly "
        r"once: \['drug'\]\. The columns of X are \['age', 'site', 'dose', 'weight'\]"
    )
    with pytest.raises(ValueError, match=wanted):
        model.fit(table())


def test_a_column_that_stands_twice_is_refused():
    X = pd.concat([table(), table()[["site"]]], axis=1)
    with pytest.raises(ValueError, match=r"exactly once: \['site'\]"):
        FromColumns(AnchorRegressor(), environments="site").fit(X, Y)


def test_an_estimator_that_takes_no_such_side_input_says_so():
    wanted = r"LinearRegression\.fit takes no environments: leave environments=None"
    with pytest.raises(ValueError, match=wanted):
        FromColumns(LinearRegression(), environments="site").fit(table(), Y)
    pipeline = make_pipeline(FunctionTransformer(), LinearRegression())
    with pytest.raises(TypeError, match=r"environments.* not routed"):
        FromColumns(pipeline, environments="site").fit(
            table().drop(columns="weight"), Y
        )


def test_given_as_column_and_as_argument():
    model = FromColumns(AnchorRegressor(), environments="site")
    with pytest.raises(ValueError, match="environments is given twice"):
        model.fit(table().drop(columns="weight"), Y, environments=SITES)


@pytest.mark.parametrize("params", [{"environments": ["site"]}, {"times": 3}])
def test_parameters_are_checked(params):
    with pytest.raises(ValueError, match=f"The '{next(iter(params))}' parameter"):
        FromColumns(AnchorRegressor(), **params).fit(table(), Y)


def test_a_refused_fit_leaves_the_fitted_model():
    X = table().drop(columns="weight")
    model = FromColumns(AnchorRegressor(), environments="site").fit(X, Y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="n_samples"):
        model.fit(X.assign(extra=1.0, site=None), Y)
    assert model.n_features_in_ == 3
    assert_same(model.predict(X), before)


# -- scikit-learn around and inside --------------------------------------------


def test_the_inner_estimator_is_cloned():
    inner = AnchorRegressor()
    model = FromColumns(inner, environments="site").fit(
        table().drop(columns="weight"), Y
    )
    assert model.estimator is inner and not hasattr(inner, "coef_")
    again = pickle.loads(pickle.dumps(model))
    assert_same(again.estimator_.coef_, model.estimator_.coef_)


def test_cross_validation_slices_the_labels_without_routing():
    X = table().drop(columns="weight")
    model = FromColumns(AnchorRegressor(gamma=7), environments="site")
    order = RNG.permutation(N_SAMPLES)
    folds = [(order[:40], order[40:]), (order[20:], order[:20])]
    found = cross_validate(model, X, Y, cv=folds)["test_score"]
    wanted = [
        AnchorRegressor(gamma=7)
        .fit(COVARIATES[train], Y[train], environments=SITES[train])
        .score(COVARIATES[test], Y[test])
        for train, test in folds
    ]
    assert_same(found, wanted)


def test_grid_search_reaches_inner_parameters():
    X = table().drop(columns="weight").sample(frac=1, random_state=0)
    y = pd.Series(Y, index=table().index)[X.index]
    model = FromColumns(AnchorRegressor(), environments="site")
    search = GridSearchCV(model, {"estimator__gamma": [1.0, 100.0]}, cv=2).fit(X, y)
    assert (
        search.best_estimator_.estimator_.gamma
        == search.best_params_["estimator__gamma"]
    )
    assert search.cv_results_["mean_test_score"].std() > 0


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("routing", [False, True])
def test_a_pipeline_inside_gets_the_labels_at_the_right_step(kind, routing):
    X = table(kind)[["age", "site", "dose"]]
    pipeline = make_pipeline(StandardScaler(), AnchorRegressor(gamma=7))
    with sklearn.config_context(enable_metadata_routing=routing):
        model = FromColumns(pipeline, environments="site").fit(X, Y)
        found = model.predict(X)
        score = model.score(X, Y)
    assert not sklearn.get_config()["enable_metadata_routing"]
    pipeline.fit(COVARIATES, Y, anchorregressor__environments=SITES)
    assert_same(found, pipeline.predict(COVARIATES))
    assert_same(score, pipeline.score(COVARIATES, Y))


def test_a_transformer_inside_a_pipeline_gets_labels_in_transform():
    X = table()[["age", "site", "dose"]]
    pipeline = make_pipeline(CentreByEnvironment(), LinearRegression())
    # Metadata that predict hands on to the transformer before it.
    model = FromColumns(pipeline, environments="site").fit(X, Y)
    centred = CentreByEnvironment().fit_transform(COVARIATES, environments=SITES)
    plain = LinearRegression().fit(centred, Y)
    np.testing.assert_allclose(model.predict(X), plain.predict(centred), rtol=1e-12)
    assert model.score(X, Y) == pytest.approx(plain.score(centred, Y))


def test_a_search_inside_gets_the_labels_of_each_fold():
    X = table().drop(columns="weight").sample(frac=1, random_state=0)
    y = pd.Series(Y, index=table().index)[X.index].to_numpy()
    grid = {"gamma": [1.0, 100.0]}
    inside = FromColumns(GridSearchCV(AnchorRegressor(), grid), environments="site")
    inside.fit(X, y)
    plain = GridSearchCV(AnchorRegressor(), grid).fit(
        X[["age", "dose"]].to_numpy(), y, environments=X["site"].to_numpy()
    )
    assert inside.estimator_.best_params_ == plain.best_params_
    assert_same(
        inside.estimator_.cv_results_["mean_test_score"],
        plain.cv_results_["mean_test_score"],
    )


def test_in_a_pipeline_after_a_step_that_keeps_names():
    keep = FunctionTransformer(lambda X: X.assign(age=X["age"] * 2))
    model = FromColumns(AnchorRegressor(), environments="site")
    X = table().drop(columns="weight")
    pipeline = make_pipeline(keep, model).fit(X, Y)
    plain = AnchorRegressor().fit(COVARIATES * [2, 1], Y, environments=SITES)
    assert_same(pipeline.predict(X), plain.predict(COVARIATES * [2, 1]))


def test_metadata_from_outside_are_routed_when_no_column_is_named():
    with sklearn.config_context(enable_metadata_routing=True):
        order = RNG.permutation(N_SAMPLES)
        scores = [
            cross_validate(
                estimator,
                COVARIATES[order],
                Y[order],
                params={"environments": SITES[order]},
                error_score="raise",
            )["test_score"]
            for estimator in (AnchorRegressor(), FromColumns(AnchorRegressor()))
        ]
    np.testing.assert_array_equal(*scores)


def test_legacy_arguments_pass_through():
    model = FromColumns(LinearRegression())
    model.fit(COVARIATES, Y, sample_weight=WEIGHTS)
    plain = LinearRegression().fit(COVARIATES, Y, sample_weight=WEIGHTS)
    assert_same(model.predict(COVARIATES), plain.predict(COVARIATES))
    assert model.score(COVARIATES, Y, sample_weight=WEIGHTS) == plain.score(
        COVARIATES, Y, sample_weight=WEIGHTS
    )


def test_methods_are_those_of_the_inner_estimator():
    classifier = FromColumns(LogisticRegression())
    regressor, transformer = FromColumns(LinearRegression()), FromColumns(PCA())
    names = ("predict", "predict_proba", "decision_function", "transform", "effect")
    names += ("inverse_transform", "get_feature_names_out", "partial_fit", "score")
    for model in (classifier, regressor, transformer, FromColumns(SGDRegressor())):
        for name in names:
            assert hasattr(model, name) == hasattr(model.estimator, name), name
    with pytest.raises(AttributeError, match="predict_proba"):
        regressor.predict_proba(COVARIATES)


def test_a_classifier_is_one():
    X, y = table()[["age", "dose", "weight"]], SITES
    model = FromColumns(LogisticRegression(), sample_weight="weight").fit(X, y)
    plain = LogisticRegression().fit(COVARIATES, y, sample_weight=WEIGHTS)
    assert is_classifier(model) and not is_classifier(FromColumns(PCA()))
    assert model.classes_.tolist() == ["north", "south", "west"]
    for name in ("predict_proba", "predict_log_proba", "decision_function"):
        assert_same(getattr(model, name)(X), getattr(plain, name)(COVARIATES))
    assert not hasattr(FromColumns(LinearRegression()).fit(COVARIATES, Y), "classes_")


def test_tags_are_those_of_the_inner_estimator():
    inner = LogisticRegression()
    tags, wanted = get_tags(FromColumns(inner)), get_tags(inner)
    assert tags.estimator_type == wanted.estimator_type
    assert tags.input_tags == wanted.input_tags
    assert tags.target_tags == wanted.target_tags
    assert tags.classifier_tags == wanted.classifier_tags


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_set_output_names_the_columns(kind):
    X = with_names(table(kind)[["age", "site", "dose"]])
    model = FromColumns(CentreByEnvironment(), environments="site")
    model.set_output(transform=kind)
    out = model.fit_transform(X)
    assert type(out).__module__.startswith(kind)
    assert list(out.columns) == ["age_centred", "dose_centred"]
    if kind == "pandas":
        assert (out.index == X.index).all()
    model.set_output(transform="default")
    assert isinstance(model.transform(X), np.ndarray)
    assert isinstance(clone(model).fit_transform(X), np.ndarray)


def test_feature_names_out_leave_side_inputs_out():
    X = table()[["age", "site", "dose"]]
    model = FromColumns(CentreByEnvironment(), environments="site").fit(X)
    wanted = ["age_centred", "dose_centred"]
    assert list(model.get_feature_names_out()) == wanted
    assert list(model.get_feature_names_out(["age", "site", "dose"])) == wanted


def test_fit_transform_of_an_estimator_without_one():
    class Doubles(BaseEstimator):
        def fit(self, X, y=None, *, sample_weight=None):
            self.factor_ = 2.0
            return self

        def transform(self, X):
            return np.asarray(X) * self.factor_

    X = table()[["age", "dose", "weight"]]
    model = FromColumns(Doubles(), sample_weight="weight")
    assert_same(model.fit_transform(X), 2 * COVARIATES)


def test_the_report_is_passed_on():
    class Reports(AnchorRegressor):
        identifiability_ = "a report"

    model = FromColumns(Reports(), environments="site")
    assert not hasattr(model, "identifiability_")
    fitted = model.fit(table().drop(columns="weight"), Y)
    assert fitted.identifiability_ == "a report"
