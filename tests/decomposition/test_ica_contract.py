"""ICAPostProcessor as an estimator: copies, names, pipelines, odd input."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skident.decomposition import ICAPostProcessor
from skident.metrics import mean_correlation_coefficient
from tests._copies import by_joblib, by_pickle, by_skops
from tests.decomposition._mixtures import mixture, post

# --- the estimator's contract ------------------------------------------------------


def test_check_estimator_passes_bare():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(ICAPostProcessor())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "way",
    [by_pickle, by_joblib, by_skops, copy.deepcopy],
    ids=["pickle", "joblib", "skops", "deepcopy"],
)
def test_a_copy_works_as_the_original(way, streamed):
    _, X = mixture()
    est = post().partial_fit(X) if streamed else post().fit(X)
    twin = way(est)
    np.testing.assert_array_equal(twin.transform(X), est.transform(X))
    assert str(twin.identifiability_) == str(est.identifiability_)
    if streamed:
        est.partial_fit(X[:100])
        twin.partial_fit(X[:100])
        np.testing.assert_array_equal(twin.transform(X), est.transform(X))
    unfitted = clone(twin)
    with pytest.raises(NotFittedError):
        unfitted.transform(X)


def test_names_and_dataframes():
    _, X = mixture()
    frame = pd.DataFrame(X, columns=list("abcd"))
    est = post().set_output(transform="pandas").fit(frame)
    assert list(est.feature_names_in_) == list("abcd")
    out = est.transform(frame)
    assert list(out.columns) == ["ica0", "ica1", "ica2", "ica3"]
    # A dataframe's columns lie one after the other: sums round differently.
    np.testing.assert_allclose(out, post().fit(X).transform(X), atol=1e-8)
    with pytest.raises(ValueError, match="input_features"):
        est.get_feature_names_out(["a"])
    with pytest.warns(UserWarning, match="feature names"):
        est.transform(X)


def test_polars_output():
    polars = pytest.importorskip("polars")
    _, X = mixture()
    out = post().set_output(transform="polars").fit_transform(X)
    assert isinstance(out, polars.DataFrame) and out.columns[0] == "ica0"


def test_precision_follows_the_data():
    _, X = mixture()
    wanted = post().fit(X)
    for dtype, tolerance in ((np.float32, 1e-3), (np.float16, 3e-2)):
        est = post().fit(X.astype(dtype))
        Y = est.transform(X.astype(dtype))
        assert Y.dtype == est.components_.dtype == est.mixing_.dtype == np.float32
        assert est.inverse_transform(Y).dtype == np.float32
        # Rounding of numbers near 5 over the least standard deviation, about 0.2.
        np.testing.assert_allclose(Y, wanted.transform(X), atol=tolerance)
    integers = np.round(X * 100).astype(int)
    assert post().fit(integers).transform(integers).dtype == np.float64


def test_in_a_pipeline_and_a_grid_search():
    u, X = mixture(n=1500, k=3)
    pipe = make_pipeline(StandardScaler(), post())
    grid = {"icapostprocessor__rotation": ["random", "ica", "none"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X)
    assert search.best_params_ == {"icapostprocessor__rotation": "ica"}
    assert mean_correlation_coefficient(u, search.transform(X)) > 0.99


def test_start_of_the_rotation():
    _, X = mixture()
    first = post(order="none", sign="none").fit(X)
    found = post(order="none", sign="none", w_init=first.rotation_).fit(X)
    np.testing.assert_allclose(found.transform(X), first.transform(X), atol=1e-4)
    assert found.n_iter_ <= first.n_iter_


def test_every_parameter_reaches_the_search(monkeypatch):
    from skident.decomposition import _ica_search

    given = {
        "algorithm": "fastica",
        "fun": "exp",
        "extended": False,
        "max_iter": 77,
        "tol": 1e-4,
        "memory": 5,
        "ls_tries": 6,
        "lambda_min": 0.02,
        "n_init": 2,
        "w_init": np.eye(4),
        "warm_start_subsample": 123,
        "device": "cpu",
    }
    seen = {}
    original = _ica_search.ica

    def spy(X, whitening, **kwargs):
        # The first search; refits follow, with starts of their own.
        seen.update(kwargs | seen)
        return original(X, whitening)

    monkeypatch.setattr(_ica_search, "ica", spy)
    _, X = mixture()
    post(**given).fit(X)
    assert seen.pop("random_state") is not None
    assert seen == given


# --- when things go wrong ----------------------------------------------------------


def test_too_few_rows():
    X = np.random.default_rng(0).laplace(size=(9, 5))
    with pytest.raises(ValueError, match=r"n_samples = 9 is too few for 5 components"):
        post().fit(X)
    with pytest.raises(ValueError, match=r"n_samples = 1"):
        post().fit(X[:1])


def test_components_above_the_rank_name_the_rank():
    _, X = mixture(k=3, n_features=6)
    with pytest.raises(ValueError, match=r"n_components = 5 .* rank .* 3 "):
        post(n_components=5).fit(X)
    with pytest.raises(ValueError, match="rank"):
        post(n_components=7).fit(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("n_components", [None, 0.9, "mp"])
def test_the_randomized_solver_needs_a_number(method, n_components):
    est = post(n_components=n_components, whiten_solver="randomized")
    with pytest.raises(
        ValueError,
        match=r'whiten_solver="randomized" .* n_components must be an integer, got',
    ):
        getattr(est, method)(mixture()[1])


def test_constant_columns_are_left_out_with_a_warning():
    _, X = mixture(k=3)
    wide = np.insert(X, [1, 3], 7.5, axis=1)
    with pytest.warns(UserWarning, match=r"2 of 5 features .* constant .*: 1, 4\."):
        est = post().fit(wide)
    assert est.n_components_ == 3
    np.testing.assert_allclose(est.components_[:, [1, 4]], 0, atol=1e-9)
    np.testing.assert_allclose(est.transform(wide), post().fit_transform(X), atol=1e-4)
    np.testing.assert_allclose(est.inverse_transform(est.transform(wide)), wide)


@pytest.mark.filterwarnings("ignore:1 of 4 features")
@pytest.mark.parametrize("value", [1e12, 1e200])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_large_constant_column_spoils_nothing(method, value):
    _, X = mixture(k=3)
    one = getattr(post(), method)(X)
    wide = np.insert(X, 1, value, axis=1)
    two = getattr(post(), method)(wide)
    np.testing.assert_allclose(two.transform(wide), one.transform(X), atol=1e-4)
    assert two.identified_mask_.all() and two.identifiability_.ok


def test_small_columns_are_not_called_combinations_of_others():
    # Independent columns, so that what is left of them is on the model.
    X = np.random.default_rng(0).laplace(size=(4000, 3)) * [1e8, 1e8, 1.0]
    with pytest.warns(UserWarning, match="numerical rank 2.*or vary too little beside"):
        assert post().fit(X).n_components_ == 2


def test_duplicated_columns_name_the_rank():
    _, X = mixture(k=3)
    with pytest.warns(UserWarning, match="rank 3 with 5 features"):
        est = post().fit(np.c_[X, X[:, :2]])
    assert est.n_components_ == 3
    np.testing.assert_allclose(est.transform(np.c_[X, X[:, :2]]).std(axis=0), 1)


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e30])
def test_equal_rows(n_features, value):
    X = np.full((77, n_features), value)
    for method in (post().fit, post().partial_fit):
        with pytest.raises(
            ValueError, match=r"rows of X are the same \(n_samples = 77"
        ):
            method(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_extreme_units(method):
    _, X = mixture(n=2000, k=3)
    one = getattr(post(), method)(X)
    for unit in (1e-120, 1e120):
        two = getattr(post(), method)(X * unit)
        np.testing.assert_allclose(two.transform(X * unit), one.transform(X), atol=1e-4)
        assert two.identifiability_.ok and two.identified_mask_.all()
        wanted = one.score(X) - 3 * np.log(unit)
        assert two.score(X * unit) == pytest.approx(wanted, abs=1e-6)
        assert two.stability(X * unit) == pytest.approx(one.stability(X), abs=1e-4)
    for unit in (1e-200, 1e200):
        with pytest.raises(ValueError, match=r"within 1e-140 and 1e\+140 .*units"):
            getattr(post(), method)(X * unit)
    # Numbers near 1e-40 are float32, their inverses are not.
    with pytest.raises(ValueError, match="no float32: change its units"):
        getattr(post(), method)((X * 1e-40).astype(np.float32))


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_non_convergence_tells_the_gradient():
    _, X = mixture(k=6)
    est = post(max_iter=1, warm_start_subsample=10)
    with pytest.warns(ConvergenceWarning, match=r"gradient is .*, wanted tol=1e-06"):
        est.fit(X)
    assert not est.converged_ and est.gradient_norm_ > 1e-6


def test_wrong_width_of_codes():
    _, X = mixture()
    with pytest.raises(ValueError, match="X must have 4 columns"):
        post().fit(X).inverse_transform(X[:, :3])


@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 0},
        {"n_components": 1.5},
        {"n_components": "all"},
        {"algorithm": "sobi"},
        {"order": "size"},
        {"rotation": "procrustes"},
    ],
)
def test_parameters_are_checked(params):
    _, X = mixture(n=100)
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        ICAPostProcessor(**params).fit(X)
