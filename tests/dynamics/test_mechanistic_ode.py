import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skident.datasets import make_lorenz
from skident.dynamics import MechanisticODERegressor
from skident.exceptions import IdentifiabilityWarning
from tests.dynamics._trajectories import (
    PREY,
    jaccard,
    largest_error,
    lorenz_coef,
    pendulum,
    prey_and_predators,
)

STARTS = ((2.0, 1.5), (4.0, 1.0), (1.0, 3.0))


@pytest.fixture(scope="module")
def lorenz():
    return make_lorenz(10000)


def model(**params):
    return MechanisticODERegressor(**({"order": 3, "dt": 0.05} | params))


def many(lengths=(300, 180, 30)):
    """Trajectories from several starts, of several lengths, as one long table."""
    parts = [
        prey_and_predators(n, start=s) for n, s in zip(lengths, STARTS, strict=True)
    ]
    labels = np.repeat(["c", "a", "b"], lengths)
    times = np.concatenate([0.05 * np.arange(n) for n in lengths])
    return np.concatenate(parts), labels, times


# -- what is found -----------------------------------------------------------------


@pytest.mark.parametrize(("order", "bar"), [(2, 0.03), (3, 0.002)])
def test_clean_lorenz_is_found(lorenz, order, bar):
    found = MechanisticODERegressor(order=order, dt=lorenz.dt).fit(lorenz.X)
    truth = lorenz_coef(lorenz, found.terms_)
    assert jaccard(found.support_, truth) == 1
    assert largest_error(found.coef_, truth) < bar
    assert found.identifiability_.ok
    assert found.score(lorenz.X) > 0.9999
    # Relative errors of rates are those of coefficients, squared here.
    assert found.score_derivative(lorenz.X, lorenz.derivatives) > 1 - bar**2


def test_a_higher_order_is_more_accurate():
    X = prey_and_predators()
    errors = [
        largest_error(model(order=order, threshold=None).fit(X).coef_, PREY)
        for order in (2, 3, 4)
    ]
    assert errors[0] > 3 * errors[1] > 6 * errors[2]


def test_rescaled_time_rescales_rates():
    X = prey_and_predators()
    one, ten = model(threshold=None).fit(X), model(threshold=None, dt=0.5).fit(X)
    np.testing.assert_allclose(10 * ten.coef_, one.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(10 * ten.stderr_, one.stderr_, rtol=1e-4)
    assert ten.step_ == pytest.approx(10 * one.step_)


def test_permuted_states_permute_coefficients():
    X = prey_and_predators()
    one, two = model().fit(X), model().fit(X[:, ::-1])
    order = [0, 2, 1, 5, 4, 3]
    np.testing.assert_allclose(two.coef_[::-1][:, order], one.coef_, rtol=1e-6)


def test_trajectories_of_unequal_length_are_one_table():
    X, labels, times = many()
    found = model().fit(X, trajectories=labels)
    assert jaccard(found.support_, PREY) == 1
    assert largest_error(found.coef_, PREY) < 1e-3
    # Rows may come in any order if they say when they were.
    order = np.random.default_rng(0).permutation(len(X))
    mixed = model().fit(X[order], trajectories=labels[order], times=times[order])
    np.testing.assert_allclose(mixed.coef_, found.coef_, rtol=1e-9)
    back = mixed.reconstruct(X[order], trajectories=labels[order], times=times[order])
    np.testing.assert_allclose(back, X[order], atol=1e-3)
    # As one trajectory, windows would jump from one end to the next start.
    with pytest.warns(UserWarning, match="explain"):
        jumped = model().fit(X)
    assert jumped.reconstruction_mse_ > 1e3 * found.reconstruction_mse_


def test_times_at_uneven_steps():
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(600, 400, replace=False))
    X = prey_and_predators(600, dt=0.03)[kept]
    with pytest.warns(UserWarning, match="Steps vary"):
        found = model(window=20).fit(X, times=0.03 * kept)
    assert jaccard(found.support_, PREY) == 1
    assert largest_error(found.coef_, PREY) < 5e-3


def test_controls_drive_states():
    t = 0.05 * np.arange(300)
    u = np.sin(t) + np.cos(0.3 * t)
    # x' = -0.5 x + u, by its solution for each wave.
    x = (0.5 * np.sin(t) - np.cos(t)) / 1.25
    x += (0.5 * np.cos(0.3 * t) + 0.3 * np.sin(0.3 * t)) / 0.34
    X = np.column_stack([x, u])
    found = model(degree=1, n_controls=1).fit(X)
    assert found.equations(3) == ["x0' = -0.5 x0 + u0"]
    assert found.predict(X).shape == (300, 1)
    simulated = found.simulate(x[:1], t, controls=u[:, None])
    np.testing.assert_allclose(simulated[:, 0], x, atol=2e-3)
    np.testing.assert_array_equal(found.simulate(x[:1], t, controls=u), simulated)
    by_function = found.simulate(
        x[:1], t, controls=lambda s: [np.sin(s) + np.cos(0.3 * s)]
    )
    np.testing.assert_allclose(by_function[:, 0], x, atol=2e-3)


@pytest.mark.parametrize(
    "library",
    [
        ["polynomial", {"sin(x)": lambda X: np.sin(X[:, 0])}],
        {
            "x": lambda X: X[:, 0],
            "v": lambda X: X[:, 1],
            "sin(x)": lambda X: np.sin(X[:, 0]),
        },
    ],
)
def test_a_library_of_functions(library):
    X = pendulum()
    found = model(library=library, degree=1, threshold=0.05).fit(X)
    speed, force = found.equations(2)
    assert speed == ("x0' = x1" if "x1" in found.terms_ else "x0' = v")
    assert {"sin(x)"} < set(np.array(found.terms_)[found.support_[1]])
    at = found.terms_.index("sin(x)")
    assert found.coef_[1, at] == pytest.approx(-1, abs=2e-3)
    assert force.endswith("- sin(x)")


def test_a_library_of_waves():
    X = pendulum()
    found = model(library=["fourier", "polynomial"], degree=1, threshold=0.05).fit(X)
    assert found.terms_[:5] == ["1", "sin(x0)", "cos(x0)", "sin(x1)", "cos(x1)"]
    assert found.terms_[5:] == ["x0", "x1"]
    assert set(np.flatnonzero(found.support_[1])) == {1, 6}


# -- elimination and errors --------------------------------------------------------


def test_elimination_needs_no_units():
    # In these units the coefficients of x y are below 0.001.
    X = 1000 * prey_and_predators(400, noise=0.01)
    found = model(sparsifier="elimination", fitter="joint", window=20).fit(X)
    assert jaccard(found.support_, PREY) == 1
    for d, path in enumerate(found.path_):
        # One term fewer a step, down to none, at a loss that never falls.
        np.testing.assert_array_equal(path.support.sum(axis=1), np.arange(6, -1, -1))
        assert (path.support[1:] <= path.support[:-1]).all()
        assert (np.diff(path.loss) >= -1e-9 * path.loss[1:]).all()
        np.testing.assert_array_equal(path.support[path.chosen], found.support_[d])
        assert np.isnan(path.t_ratios[~path.support]).all()


@pytest.mark.parametrize("level", [1.0, 5.0])
def test_elimination_survives_terms_that_are_one(level):
    # A control that never changes is the constant, and its products are the states:
    # dependent terms have no t-ratio, and nor have those beside them.
    X = np.column_stack([prey_and_predators(400, noise=0.02), np.full(400, level)])
    with pytest.warns(UserWarning, match="terms differ on the visited states"):
        found = model(sparsifier="elimination", n_controls=1).fit(X)
    names = np.array(found.terms_)
    assert set(names[found.support_[0]]) == {"x0", "x0 x1"}
    assert set(names[found.support_[1]]) == {"x1", "x0 x1"}


def test_relative_thresholds_need_no_units():
    X = prey_and_predators()
    one = model(threshold=None, threshold_rel=0.01).fit(X)
    two = model(threshold=None, threshold_rel=0.01).fit(1000 * X)
    np.testing.assert_array_equal(one.support_, two.support_)
    assert jaccard(one.support_, PREY) == 1


def test_standard_errors_are_of_the_size_of_errors():
    z = []
    for seed in range(12):
        X = prey_and_predators(240, noise=0.02, seed=seed)
        found = model(fitter="joint", sparsifier="elimination", window=20).fit(X)
        at = (PREY != 0) & found.support_
        z.append(((found.coef_ - PREY) / found.stderr_)[at])
    z = np.concatenate(z)
    assert len(z) >= 40
    # 48 standard scores, correlated in fours or so: their root mean square has a
    # standard error of about 1 / sqrt(2 * 12) = 0.2.
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.7


# -- what a fit can do -------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    X = prey_and_predators()
    return X, model().fit(X)


def test_equations_read_as_written(fitted, capsys):
    _, found = fitted
    assert found.equations(2) == ["x0' = x0 - 0.5 x0 x1", "x1' = -0.8 x1 + 0.3 x0 x1"]
    found.print(2)
    assert (
        capsys.readouterr().out == "x0' = x0 - 0.5 x0 x1\nx1' = -0.8 x1 + 0.3 x0 x1\n"
    )
    assert found.terms_ == ["1", "x0", "x1", "x0^2", "x0 x1", "x1^2"]


def test_rates_and_terms_row_by_row(fitted):
    X, found = fitted
    x, y = X.T
    terms = np.column_stack([np.ones(len(X)), x, y, x * x, x * y, y * y])
    np.testing.assert_allclose(found.transform(X), terms)
    np.testing.assert_allclose(found.predict(X), terms @ found.coef_.T)
    assert list(found.get_feature_names_out()) == found.terms_
    frame = found.set_output(transform="pandas").transform(X[:3])
    assert list(frame.columns) == found.terms_
    found.set_output(transform="default")


def test_simulations_follow_the_system(fitted):
    X, found = fitted
    t = 0.05 * np.arange(len(X))
    np.testing.assert_allclose(found.simulate(X[0], t), X, atol=5e-3)
    two = found.simulate(X[[0, 100]], t[:50])
    np.testing.assert_allclose(two[1], X[100:150], atol=5e-3)
    assert found.simulate(X[0], [3.0]).tolist() == [X[0].tolist()]


def test_windows_are_solved_from_their_first_rows(fitted):
    X, found = fitted
    np.testing.assert_allclose(found.reconstruct(X), X, atol=1e-3)
    assert found.score(X) == pytest.approx(1, abs=1e-6)
    assert found.score(X + [5, 5]) < 0.9
    # A row alone is its own first row.
    labels = np.r_[np.zeros(399), 1]
    back = found.reconstruct(X, trajectories=labels)
    np.testing.assert_array_equal(back[-1], X[-1])
    constant = np.ones((5, 2))
    assert found.score(constant) == 0


# Noise of 5 % is what "varpro" is warned of.
@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.parametrize(
    ("params", "share"), [({"encoder": "savgol"}, 0.6), ({"fitter": "joint"}, 0.5)]
)
def test_reconstructions_are_nearer_the_truth(params, share):
    clean = prey_and_predators(600)
    X = prey_and_predators(600, noise=0.05)
    found = model(**params).fit(X).reconstruct(X)
    # Two states are all that 50 rows of a window have to determine.
    assert np.mean((found - clean) ** 2) < share**2 * np.mean((X - clean) ** 2)


def test_dataframes_name_the_equations():
    frame = pd.DataFrame(prey_and_predators(), columns=["hare", "lynx"])
    found = model().fit(frame)
    assert found.equations(2)[0] == "hare' = hare - 0.5 hare lynx"
    assert found.feature_names_in_.tolist() == ["hare", "lynx"]
    # Its names are known wherever it is taken; a warning of their absence is an error.
    assert found.score(frame) > 0.99


def test_float32_is_solved_in_float64():
    X = prey_and_predators().astype(np.float32)
    found = model().fit(X)
    assert {found.coef_.dtype, found.predict(X).dtype} == {np.dtype(np.float32)}
    assert found.reconstruct(X).dtype == np.float32
    double = model().fit(X.astype(np.float64))
    np.testing.assert_array_equal(found.coef_, double.coef_.astype(np.float32))


def test_a_pickle_says_the_same(fitted):
    X, found = fitted
    twin = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(twin.predict(X), found.predict(X))
    np.testing.assert_array_equal(twin.reconstruct(X), found.reconstruct(X))
    assert twin.identifiability_ == found.identifiability_
    assert not hasattr(clone(found), "coef_")


def test_whole_trajectories_are_held_out():
    X, labels, times = many((120, 110, 100))
    with sklearn.config_context(enable_metadata_routing=True):
        est = model(window=20).set_fit_request(trajectories="groups")
        est.set_score_request(trajectories="groups")
        folds = cross_validate(
            est,
            X,
            cv=GroupKFold(3),
            params={"groups": labels, "times": times},
            return_indices=True,
        )
        assert (folds["test_score"] > 0.999).all()
        held = [set(labels[rows]) for rows in folds["indices"]["test"]]
        assert sorted(map(len, held)) == [1, 1, 1]
        search = GridSearchCV(est, {"order": [2, 3]}, cv=GroupKFold(3))
        search.fit(X, groups=labels, times=times)
        assert search.best_params_ == {"order": 3}
        pipe = make_pipeline(FunctionTransformer(), model(window=20))
        pipe.fit(X, trajectories=labels, times=times)
    assert jaccard(pipe[-1].support_, PREY) == 1
    pipe.fit(X, mechanisticoderegressor__trajectories=labels)
    assert jaccard(pipe[-1].support_, PREY) == 1


def test_a_search_in_a_pipeline_holds_trajectories_out():
    X, labels, times = many((120, 110, 100))
    frame = pd.DataFrame(X, columns=["hare", "lynx"])
    name = "mechanisticoderegressor__threshold"
    with sklearn.config_context(enable_metadata_routing=True):
        est = model(window=20).set_fit_request(trajectories="groups")
        est.set_score_request(trajectories="groups")
        pipe = make_pipeline(FunctionTransformer(), est)
        search = GridSearchCV(pipe, {name: [0.1, 0.9]}, cv=GroupKFold(3))
        with warnings.catch_warnings():
            # Of coefficients up to 0.9 a single one is left, and the report says so.
            warnings.simplefilter("ignore", IdentifiabilityWarning)
            search.fit(frame, groups=labels, times=times)
        assert search.score(frame, groups=labels, times=times) > 0.999
    assert search.best_params_ == {name: 0.1}
    best = search.best_estimator_[-1]
    assert jaccard(best.support_, PREY) == 1
    assert best.equations(2)[0] == "hare' = hare - 0.5 hare lynx"


def test_rows_that_weigh_nothing_do_not_score(fitted):
    X, found = fitted
    # From a window's start on, as windows are solved from their first rows.
    spoilt, weight = X.copy(), np.ones(400)
    spoilt[300:] += np.random.default_rng(0).standard_normal((100, 2))
    weight[300:] = 0
    assert found.score(spoilt) < 0.9
    wanted = found.score(X[:300])
    assert found.score(spoilt, sample_weight=weight) == pytest.approx(wanted, abs=1e-9)
