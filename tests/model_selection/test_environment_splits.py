"""Splitters by environment: what a fold holds, and how the labels get there."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skident.model_selection import EnvironmentKFold, EnvironmentShuffleSplit
from tests._anchor import AnchorRegressor

SIZES = {"north": 40, "south": 13, "west": 7}
SITES = np.random.default_rng(0).permutation(
    np.repeat(list(SIZES), list(SIZES.values()))
)
N_SAMPLES = len(SITES)
RNG = np.random.default_rng(1)
X = RNG.standard_normal((N_SAMPLES, 2)) + (SITES == "west")[:, None]
Y = X @ [1.0, -2.0] + 3.0 * (SITES == "west") + RNG.standard_normal(N_SAMPLES)
BOTH = [EnvironmentKFold(5), EnvironmentShuffleSplit(5, test_size=0.2, random_state=0)]


def counts(rows):
    return np.array([(SITES[rows] == site).sum() for site in SIZES])


@pytest.mark.parametrize(
    "splitter",
    [EnvironmentKFold(5), EnvironmentKFold(5, shuffle=True, random_state=0)],
    ids=["ordered", "shuffled"],
)
def test_folds_are_a_partition_with_every_environment(splitter):
    folds = list(splitter.split(X, groups=SITES))
    assert len(folds) == splitter.get_n_splits(X, Y, SITES) == 5
    tests = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tests), np.arange(N_SAMPLES))
    in_test = np.array([counts(test) for _, test in folds])
    # No environment and no fold has more than one row more than another's.
    assert (np.ptp(in_test, axis=0) <= 1).all()
    assert np.ptp(in_test.sum(axis=1)) <= 1
    assert (in_test > 0).all()
    for train, test in folds:
        np.testing.assert_array_equal(
            np.sort(np.concatenate([train, test])), np.arange(N_SAMPLES)
        )
        assert (counts(train) > 0).all()


def test_without_shuffling_test_rows_are_neighbours_in_their_environment():
    for _, test in EnvironmentKFold(4).split(X, groups=SITES):
        for site in SIZES:
            among = np.flatnonzero(np.isin(np.flatnonzero(site == SITES), test))
            assert (np.diff(among) == 1).all()


def test_shuffled_splits_keep_shares_and_every_environment():
    splitter = EnvironmentShuffleSplit(20, test_size=0.2, random_state=0)
    folds = list(splitter.split(X, groups=SITES))
    assert len(folds) == splitter.get_n_splits() == 20
    share = np.array(list(SIZES.values())) * 0.8
    for train, test in folds:
        assert len(train) == 48 and len(test) == 12
        assert not np.intersect1d(train, test).size
        assert (np.abs(counts(train) - share) < 1).all()
        assert (np.abs(counts(test) - share / 4) < 1).all()
        assert (counts(train) > 0).all()
    assert len({tuple(np.sort(test)) for _, test in folds}) == 20


@pytest.mark.parametrize("n_rows", [(2, 2), (2, 30), (3, 3, 50), (9,)])
def test_no_environment_is_lost_however_small(n_rows):
    labels = np.repeat(np.arange(len(n_rows)), n_rows)
    rows = np.zeros((len(labels), 1))
    splitters = [
        EnvironmentKFold(2),
        EnvironmentShuffleSplit(20, test_size=len(n_rows), random_state=0),
        EnvironmentShuffleSplit(20, train_size=0.5, test_size=0.5, random_state=0),
    ]
    for splitter in splitters:
        for train, _ in splitter.split(rows, groups=labels):
            assert set(labels[train]) == set(labels)


@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_names_of_environments_do_not_matter(splitter):
    codes = np.unique(SITES, return_inverse=True)[1]
    renamings = [
        codes,
        codes + 0.5,
        pd.Series(SITES),
        list(SITES),
        SITES.astype(object),
    ]
    expected = list(splitter.split(X, groups=SITES))
    for labels in renamings:
        for fold, wanted in zip(splitter.split(X, None, labels), expected, strict=True):
            np.testing.assert_array_equal(fold[0], wanted[0])
            np.testing.assert_array_equal(fold[1], wanted[1])


def test_the_seed_decides():
    def first(seed, cls):
        params = {"shuffle": True} if cls is EnvironmentKFold else {}
        splitter = cls(3, random_state=seed, **params)
        return next(iter(splitter.split(X, groups=SITES)))[1].tolist()

    for cls in (EnvironmentKFold, EnvironmentShuffleSplit):
        assert first(0, cls) == first(0, cls) != first(1, cls)


def pipeline():
    return make_pipeline(StandardScaler(), AnchorRegressor())


def expected_scores(splitter):
    scores = []
    for train, test in splitter.split(X, groups=SITES):
        pipe = pipeline().fit(
            X[train], Y[train], anchorregressor__environments=SITES[train]
        )
        scores.append(pipe.score(X[test], Y[test]))
    return np.array(scores)


@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_cross_validation_without_routing(splitter):
    scores = cross_validate(
        pipeline(),
        X,
        Y,
        groups=SITES,
        cv=splitter,
        params={"anchorregressor__environments": SITES},
        error_score="raise",
    )["test_score"]
    np.testing.assert_allclose(scores, expected_scores(splitter), rtol=1e-12)


@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_cross_validation_with_routing(splitter):
    with sklearn.config_context(enable_metadata_routing=True):
        params = {"environments": SITES, "groups": SITES}
        settings = {"cv": splitter, "params": params, "error_score": "raise"}
        both = cross_validate(pipeline(), X, Y, **settings)["test_score"]
        aliased = copy.deepcopy(splitter).set_split_request(groups="environments")
        settings |= {"cv": aliased, "params": {"environments": SITES}}
        one = cross_validate(pipeline(), X, Y, **settings)["test_score"]
    np.testing.assert_allclose(both, expected_scores(splitter), rtol=1e-12)
    np.testing.assert_allclose(one, both, rtol=1e-12)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_grid_search(splitter, routing):
    grid = {"anchorregressor__gamma": [0.0, 1.0, 10.0]}
    search = GridSearchCV(pipeline(), grid, cv=splitter, error_score="raise")
    with sklearn.config_context(enable_metadata_routing=routing):
        if routing:
            search.fit(X, Y, environments=SITES, groups=SITES)
        else:
            search.fit(X, Y, groups=SITES, anchorregressor__environments=SITES)
    assert search.n_splits_ == 5
    found = search.cv_results_["mean_test_score"][2]
    assert found == pytest.approx(expected_scores(splitter).mean(), rel=1e-12)
    environments = search.best_estimator_[-1].environments_
    np.testing.assert_array_equal(environments, sorted(SIZES))


def test_holding_an_environment_out_takes_one_entry_too():
    with sklearn.config_context(enable_metadata_routing=True):
        anchor = AnchorRegressor().set_fit_request(environments="groups")
        results = cross_validate(
            make_pipeline(StandardScaler(), anchor),
            X,
            Y,
            cv=LeaveOneGroupOut(),
            params={"groups": SITES},
            return_estimator=True,
            error_score="raise",
        )
    seen = [set(pipe[-1].environments_) for pipe in results["estimator"]]
    assert seen == [set(SIZES) - {site} for site in sorted(SIZES)]


def test_an_estimator_that_takes_no_environments_can_be_split_by_them():
    scores = cross_val_score(LinearRegression(), X, Y, groups=SITES, cv=BOTH[0])
    assert scores.shape == (5,)


@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_labels_must_be_given_and_fit(splitter):
    def split(groups):
        list(splitter.split(X, Y, groups))

    with pytest.raises(ValueError, match="groups must be given, the label of each row"):
        split(None)
    with pytest.raises(ValueError, match=r"groups must be of shape .*n_samples = 60"):
        split(SITES[:-1])
    with pytest.raises(ValueError, match="groups must have a label in every row"):
        split(np.where(SITES == "west", np.nan, 1.0))


def test_environments_too_small_for_the_folds_are_named():
    with pytest.raises(
        ValueError, match=r"n_splits = 8 rows .* got 7 of 'west'; n_sam"
    ):
        next(EnvironmentKFold(8).split(X, groups=SITES))
    lonely = np.arange(10) == 3
    with pytest.raises(
        ValueError, match="at least 2 rows of each label, got 1 of True"
    ):
        next(EnvironmentShuffleSplit(test_size=0.5).split(X[:10], groups=lonely))


def test_parts_too_small_for_every_environment():
    splitter = EnvironmentShuffleSplit(train_size=8, random_state=0)
    with pytest.raises(ValueError, match="train_size = 8 makes 8 training rows, less"):
        next(splitter.split(X, groups=SITES))
    # The first size that is large enough: its share of 7 of 60 rows is one row.
    splitter = EnvironmentShuffleSplit(train_size=9, random_state=0)
    assert all((counts(train) > 0).all() for train, _ in splitter.split(X, None, SITES))
    with pytest.raises(
        ValueError, match="test_size = 2 makes 2 test rows, less than one"
    ):
        next(EnvironmentShuffleSplit(test_size=2).split(X, groups=SITES))


@pytest.mark.parametrize(
    "params", [{"n_splits": 1}, {"n_splits": 2.5}, {"random_state": 0}, {"shuffle": 1}]
)
def test_parameters_are_checked_at_once(params):
    with pytest.raises((ValueError, TypeError)):
        EnvironmentKFold(**params)


@pytest.mark.parametrize("splitter", BOTH, ids=["folds", "shuffled"])
def test_splitters_pickle_and_print(splitter):
    again = pickle.loads(pickle.dumps(splitter))
    assert repr(again) == repr(splitter)
    assert repr(splitter).startswith(f"{type(splitter).__name__}(n_splits=5")
