"""Scorers in cross-validation, searches and pipelines."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA, FastICA
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skident.metrics import (
    dci_scores,
    hoyer_sparsity,
    infomec_scores,
    linear_r2_score,
    make_representation_scorer,
    mean_correlation_coefficient,
)


class Same(TransformerMixin, BaseEstimator):
    """Returns what it is given."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X

    def decide(self, X):
        return -X


def test_every_name_is_its_function():
    rng = np.random.default_rng(0)
    s = rng.integers(3, size=(200, 2))
    Z = s + 0.3 * rng.standard_normal((200, 2))
    tree = DecisionTreeClassifier(min_samples_leaf=10)
    infomec, dci = infomec_scores(s, Z), dci_scores(s, Z, estimator=tree)
    expected = {
        "mcc": mean_correlation_coefficient(s, Z),
        "linear_r2": linear_r2_score(s, Z),
        "hoyer": hoyer_sparsity(Z).mean(),
        **{name: infomec[name] for name in ("infom", "infoe", "infoc")},
        **{
            name: dci[name]
            for name in ("disentanglement", "completeness", "informativeness")
        },
    }
    for name, value in expected.items():
        params = {"estimator": tree} if name in dci else {}
        assert make_representation_scorer(name, **params)(Same(), Z, s) == value


def test_parameters_methods_and_functions_are_passed_on():
    Z = np.random.default_rng(0).standard_normal((60, 2))
    held_out = make_representation_scorer("linear_r2", cv=3)
    assert held_out(Same(), Z, Z + 1) == linear_r2_score(Z + 1, Z, cv=3)

    def distance(factors, latents, power):
        return -(np.abs(factors - latents).max() ** power)

    scorer = make_representation_scorer(distance, method="decide", power=2)
    assert scorer(Same(), Z, -Z) == 0.0
    assert "distance" in repr(scorer) and "power=2" in repr(scorer)


def test_sparse_codes():
    codes = sparse.random(50, 8, density=0.3, random_state=0, format="csr")
    assert make_representation_scorer("mcc")(Same(), codes, codes.toarray()) == (
        pytest.approx(1.0)
    )
    expected = np.nanmean(hoyer_sparsity(codes))
    assert make_representation_scorer("hoyer")(Same(), codes) == expected


def test_in_cross_validation_search_and_pickles():
    # Principal axes at 45 degrees to the sources, which correlate at sqrt(1 / 2) with
    # them.
    u = np.random.default_rng(0).laplace(size=(900, 2))
    X = u @ np.array([[1.0, 0.8], [0.8, 1.0]])
    scoring = {name: make_representation_scorer(name) for name in ("mcc", "linear_r2")}
    scores = {
        type(last).__name__: cross_validate(
            make_pipeline(StandardScaler(), last),
            X,
            u,
            cv=3,
            scoring=scoring,
        )
        for last in (PCA(2), FastICA(2, whiten="unit-variance", random_state=0))
    }
    # The same linear information; only ICA finds the axes.
    pca, ica = scores["PCA"], scores["FastICA"]
    np.testing.assert_allclose(pca["test_linear_r2"], ica["test_linear_r2"], atol=1e-6)
    assert ica["test_mcc"].min() > 0.98 > 0.8 > pca["test_mcc"].max()

    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), PCA()),
        {"pca__n_components": [1, 2]},
        scoring=pickle.loads(pickle.dumps(scoring["linear_r2"])),
        cv=2,
    ).fit(X, u)
    assert search.best_params_ == {"pca__n_components": 2}


def test_unknown_metric():
    with pytest.raises(ValueError, match=r"metric must be one of .*'mcc'.* got 'mce'"):
        make_representation_scorer("mce")
