import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skident.compose import FromColumns
from skident.datasets import make_multi_env_scm
from skident.discovery import TwoEnvCausalDiscovery
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import structural_hamming_distance
from skident.model_selection import EnvironmentKFold

CHAIN = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
# Noises whose ratios differ between all nodes.
SCALES = [[1, 1, 1], [3, 0.5, 2], [0.5, 3, 2]]


def chain(n_samples=400, kind="additive", seed=4, **options):
    """x0 -> x1 -> x2 in a base and two auxiliary environments."""
    # The seed of a linear model with strong edges, of weights near -0.9 and 1.
    options = {"noise_scales": SCALES} | options
    return make_multi_env_scm(
        n_samples, kind=kind, adjacency_matrix=CHAIN, random_state=seed, **options
    )


def linear_model(**params):
    settings = {"score_estimator": "gaussian", "random_state": 0}
    return TwoEnvCausalDiscovery(**(settings | params))


@pytest.fixture(scope="module")
def fitted():
    data = chain(1000)
    model = TwoEnvCausalDiscovery(random_state=0)
    return data, model.fit(data.X, environments=data.environments)


# -- what is found -----------------------------------------------------------------


def test_a_nonlinear_chain_is_found(fitted):
    _, model = fitted
    np.testing.assert_array_equal(model.causal_order_, [0, 1, 2])
    np.testing.assert_array_equal(model.adjacency_matrix_, CHAIN)
    assert model.identifiability_.ok
    np.testing.assert_array_equal(model.environments_, [0, 1, 2])
    # A scale of n rows has a relative error of 1 / sqrt(2 n), and the base's as much.
    np.testing.assert_allclose(model.noise_scales_, SCALES, rtol=0.15)
    np.testing.assert_array_equal(model.noise_scales_[0], 1)
    assert model.shift_strength_.shape == (2, 3)
    assert model.margins_.shape == (2,) and (model.margins_ > 1).all()
    assert [len(crit) for crit in model.criterion_path_] == [3, 2]
    assert (model.edge_scores_[CHAIN == 1] > 3).all()
    assert (model.edge_scores_[np.tril_indices(3)] == 0).all()
    assert (model.sink_p_values_ > 0.05).all() and model.history_ == {}


@pytest.mark.parametrize("mechanism", ["location_scale", "quantile"])
def test_noises_and_rows_map_to_each_other(mechanism):
    data = chain()
    model = TwoEnvCausalDiscovery(mechanism=mechanism, random_state=0)
    S = model.fit_transform(data.X, environments=data.environments)
    for j in range(3):
        # Noises are known up to a monotone relabelling.
        ranks = [pd.Series(s).rank() for s in (S[:, j], data.noises[:, j])]
        assert np.corrcoef(ranks)[0, 1] > 0.95
    back = model.inverse_transform(S)
    np.testing.assert_allclose(back, data.X, atol=1e-6 * data.X.std())
    np.testing.assert_array_equal(S, model.transform(data.X))
    made = model.predict(data.X)
    np.testing.assert_allclose(made[:, 0], made[0, 0])  # a root has one median
    assert made[:, 1].std() > 0.1 * data.X[:, 1].std()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"score_estimator": "stein"},
        {"score_estimator": "gaussian"},
        {"score_estimator": "gaussian", "criterion": "collinearity"},
        {"score_estimator": "gaussian", "method": "hessian"},
        {"method": "hessian", "eta": 1.0},
        {"criterion": "studentized", "eta": "cv", "max_kernel_samples": 400},
        {"marginals": "normal"},
        {"marginals": "standard"},
        {"score_estimator": "logistic", "eta": 1.0},
        {"prune": "ci"},
        pytest.param({"prune": "score"}, marks=pytest.mark.slow),
        {"prune": None, "mechanism": None},
    ],
)
def test_every_setting_finds_a_linear_chain(params):
    data = chain(700, kind="linear")
    model = TwoEnvCausalDiscovery(random_state=0, **({"mechanism": None} | params))
    model.fit(data.X, environments=data.environments)
    np.testing.assert_array_equal(model.causal_order_, [0, 1, 2])
    wanted = CHAIN if model.prune else np.triu(np.ones((3, 3)), 1)
    np.testing.assert_array_equal(model.adjacency_matrix_, wanted)


# So few epochs leave noises that are not quite independent.
@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"score_estimator": "neural", "max_epochs": 40, "mechanism": None},
        {"mechanism": "monotone", "max_epochs": 40},
    ],
)
def test_networks_find_a_chain(params):
    data = chain(500)
    model = TwoEnvCausalDiscovery(random_state=0, device="cpu", **params)
    model.fit(data.X, environments=data.environments)
    np.testing.assert_array_equal(model.causal_order_, [0, 1, 2])
    if model.mechanism:
        assert len(model.history_["total"]) == len(model.history_["validation"])
        again = pickle.loads(pickle.dumps(model)).transform(data.X)
        np.testing.assert_array_equal(again, model.transform(data.X))


def test_coefficients_of_noises():
    data = chain(5000, kind="linear")
    model = linear_model().fit(data.X, environments=data.environments)
    c = 1 - np.array(SCALES)[1:] ** -2.0
    # Relative errors of a few percent: each coefficient comes from 5,000 rows.
    np.testing.assert_allclose(model.noise_ratio_, c[0] / c[1], rtol=0.25)
    off = ~np.eye(3, dtype=bool)
    assert (model.ratio_gaps_[off] > 3).all()
    assert np.isnan(np.diag(model.ratio_gaps_)).all()


# -- counterfactuals, draws, likelihood --------------------------------------------


def test_counterfactuals_of_a_chain(fitted):
    data, model = fitted
    rows = data.X[data.environments == 0]
    interventions = {0: rows[:, 0] + rows[:, 0].std()}
    truth = data.scm.counterfactual(rows, interventions)
    found = model.predict_counterfactual(rows, interventions)
    np.testing.assert_array_equal(found[:, 0], truth[:, 0])
    for j in (1, 2):
        error = np.sqrt(np.mean((found[:, j] - truth[:, j]) ** 2))
        assert error < 0.2 * rows[:, j].std()
        assert error < 0.5 * np.sqrt(np.mean((rows[:, j] - truth[:, j]) ** 2))


@pytest.mark.parametrize("mechanism", ["location_scale", "quantile"])
def test_counterfactuals_leave_what_is_not_downstream(mechanism):
    data = chain(300)
    model = TwoEnvCausalDiscovery(mechanism=mechanism, random_state=0)
    model.fit(data.X, environments=data.environments)
    X = data.X[:50]
    sink = model.predict_counterfactual(X, {2: 1.0})
    np.testing.assert_array_equal(sink[:, :2], X[:, :2])
    np.testing.assert_array_equal(sink[:, 2], 1.0)
    factual = model.predict_counterfactual(X, {0: X[:, 0], 1: X[:, 1]})
    np.testing.assert_allclose(factual, X, atol=1e-4)


def test_draws_look_like_the_rows(fitted):
    data, model = fitted
    for label in (0, 1, 2):
        rows = data.X[data.environments == label]
        drawn = model.sample(4000, environment=label, random_state=1)
        np.testing.assert_allclose(drawn.std(axis=0), rows.std(axis=0), rtol=0.2)
    five = model.sample(5, random_state=3)
    np.testing.assert_array_equal(model.sample(5, random_state=3), five)
    np.testing.assert_array_equal(model.sample(5, environment=0, random_state=3), five)
    done = model.sample(6, interventions={1: np.linspace(-1, 1, 6)}, random_state=0)
    np.testing.assert_array_equal(done[:, 1], np.linspace(-1, 1, 6))


def test_the_likelihood_knows_environments(fitted):
    _, model = fitted
    held = chain(1000)
    right = model.score(held.X, environments=held.environments)
    wrong = model.score(held.X, environments=(held.environments + 1) % 3)
    unknown = model.score(held.X)
    assert wrong < unknown < right
    # Labels are worth at most their entropy.
    assert right - unknown <= np.log(3) + 1e-9
    one = model.score(held.X[:1000], environments=np.zeros(1000))
    assert np.isfinite(one)


def test_the_likelihood_prefers_the_right_edges():
    data = chain(600)
    X, labels = data.X, data.environments
    train = np.arange(len(X)) % 2 == 0
    rng = np.random.default_rng(0)
    # The same columns, in every environment, without what joins them.
    broken = X[train].copy()
    for label in range(3):
        rows = np.flatnonzero(labels[train] == label)
        for j in range(3):
            broken[rows, j] = broken[rng.permutation(rows), j]
    scores = [
        TwoEnvCausalDiscovery(random_state=0)
        .fit(rows, environments=labels[train])
        .score(X[~train], environments=labels[~train])
        for rows in (X[train], broken)
    ]
    assert scores[0] > scores[1] + 0.3


# -- interface ---------------------------------------------------------------------


def test_the_base_environment_may_be_chosen():
    scales = np.array([[1, 1, 1], [3, 0.5, 2], [0.5, 3, 0.4]])
    data = chain(500, kind="linear", noise_scales=scales)
    labels = np.array(["b", "c", "a"])[data.environments]
    first = linear_model().fit(data.X, environments=labels)
    assert first.environments_.tolist() == ["a", "b", "c"]
    chosen = linear_model(base_environment="b").fit(data.X, environments=labels)
    assert chosen.environments_.tolist() == ["b", "a", "c"]
    np.testing.assert_allclose(chosen.noise_scales_, scales[[0, 2, 1]], rtol=0.2)
    np.testing.assert_allclose(
        first.noise_scales_, scales[[2, 0, 1]] / scales[2], rtol=0.2
    )
    with pytest.raises(ValueError, match="base_environment must be among environments"):
        linear_model(base_environment="d").fit(data.X, environments=labels)


def test_interventions_beyond_the_rows_warn(fitted):
    data, model = fitted
    row, most = data.X[:1], data.X[:, 0].max()
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        model.predict_counterfactual(row, {0: most})
        model.predict_counterfactual(row, {0: np.float32(most)})
    with pytest.warns(IdentifiabilityWarning, match=r"interventions\[0\] is ") as w:
        model.predict_counterfactual(row, {0: most + 1.0})
    assert w[0].filename == __file__
    with pytest.warns(IdentifiabilityWarning, match=r"reaches -1000, beyond in 1 rows"):
        model.sample(2, interventions={0: [most, -1e3]})


def test_names_of_nodes():
    data = chain(300, kind="linear")
    frame = pd.DataFrame(data.X, columns=["dose", "level", "pain"])
    model = linear_model().fit(frame, environments=data.environments)
    by_name = model.predict_counterfactual(frame, {"dose": 1.0})
    np.testing.assert_array_equal(by_name, model.predict_counterfactual(frame, {0: 1}))
    with pytest.raises(TypeError, match="interventions must be a dict"):
        model.predict_counterfactual(frame, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"interventions\[0\] must be finite"):
        model.predict_counterfactual(frame, {0: "high"})
    for wrong in ("cost", 3, -1):
        with pytest.raises(ValueError, match="interventions must be on one of"):
            model.predict_counterfactual(frame, {wrong: 1.0})
    for value in (np.nan, np.ones(7)):
        with pytest.raises(ValueError, match=r"interventions\['dose'\] must be finite"):
            model.predict_counterfactual(frame, {"dose": value})
    with pytest.raises(ValueError, match="set a node once, got 0"):
        model.predict_counterfactual(frame, {"dose": 1.0, 0: 2.0})
    out = clone(model).set_output(transform="pandas")
    noises = out.fit(frame, environments=data.environments).transform(frame)
    assert list(noises.columns) == [f"twoenvcausaldiscovery{j}" for j in range(3)]


def test_labels_in_a_column():
    data = chain(300, kind="linear")
    frame = pd.DataFrame(data.X, columns=["a", "b", "c"]).assign(site=data.environments)
    model = FromColumns(linear_model(), environments="site").fit(frame)
    np.testing.assert_array_equal(model.estimator_.adjacency_matrix_, CHAIN)


@pytest.mark.parametrize("routing", [False, True])
def test_in_a_pipeline_with_and_without_routing(routing):
    data = chain(300, kind="linear")
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe = make_pipeline(StandardScaler(), linear_model())
        name = "environments" if routing else "twoenvcausaldiscovery__environments"
        pipe.fit(data.X, **{name: data.environments})
    np.testing.assert_array_equal(pipe[-1].adjacency_matrix_, CHAIN)


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_searches_route_the_labels():
    data = chain(150, kind="linear")
    rows = np.random.default_rng(0).permutation(len(data.X))
    X, labels = data.X[rows], data.environments[rows]
    grid = {"prune": ["cam", None], "mechanism": ["location_scale", "quantile"]}
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(linear_model(), grid, cv=2)
        search.fit(X, environments=labels)
        found = cross_validate(linear_model(), X, cv=2, params={"environments": labels})
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(found["test_score"]).all()


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
@pytest.mark.parametrize("routing", [False, True])
def test_a_search_over_a_pipeline_with_and_without_routing(routing):
    data = chain(100, kind="linear")
    rows = np.random.default_rng(0).permutation(len(data.X))
    X, labels = data.X[rows], data.environments[rows]
    grid = {"twoenvcausaldiscovery__alpha": [1e-3, 1e-2]}
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe = make_pipeline(StandardScaler(), linear_model())
        # Without routing labels reach the splitter and the fit only: rows are scored as
        # those of an unknown environment.
        search = GridSearchCV(pipe, grid, cv=EnvironmentKFold(2), error_score="raise")
        name = "environments" if routing else "twoenvcausaldiscovery__environments"
        search.fit(X, groups=labels, **{name: labels})
        best = search.best_estimator_
        assert best[-1].environments_.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(best[-1].causal_order_, [0, 1, 2])
        given = {"environments": labels} if routing else {}
        in_sample = best.score(X, **given)
    # Held out, a row loses little of a likelihood that was fitted to 150 others.
    assert search.best_score_ == pytest.approx(in_sample, abs=0.3)
    model = best[-1]
    scaled = best[:-1].transform(X)
    assert in_sample == pytest.approx(model.score(scaled, **given), rel=1e-12)
    informed = model.score(scaled, environments=labels)
    assert (in_sample == informed) == routing


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_leaving_an_environment_out():
    data = chain(200, kind="linear")
    with sklearn.config_context(enable_metadata_routing=True):
        model = linear_model().set_fit_request(environments="groups")
        # Its likelihood is one of unknown environments: fit has not seen the label.
        model.set_score_request(environments=False)
        found = cross_validate(
            model,
            data.X,
            cv=LeaveOneGroupOut(),
            params={"groups": data.environments},
            error_score="raise",
        )
    assert np.isfinite(found["test_score"]).all()


def test_parallel_jobs_and_seeds():
    data = chain(150)
    one = TwoEnvCausalDiscovery(random_state=1, max_kernel_samples=100, max_points=60)
    fits = [clone(one), clone(one).set_params(n_jobs=2)]
    with joblib.parallel_config(backend="threading"):
        for model in fits:
            model.fit(data.X, environments=data.environments)
    np.testing.assert_array_equal(*(m.causal_order_ for m in fits))
    np.testing.assert_allclose(*(m.transform(data.X) for m in fits), rtol=1e-6)


def test_single_precision_is_kept():
    data = chain(200, kind="linear")
    X = data.X.astype(np.float32)
    model = linear_model().fit(X, environments=data.environments)
    results = [
        model.transform(X),
        model.inverse_transform(X),
        model.predict(X),
        model.predict_counterfactual(X, {0: 1.0}),
    ]
    assert {result.dtype for result in results} == {np.dtype(np.float32)}


def test_without_mechanisms_there_is_a_graph_only():
    data = chain(200, kind="linear")
    model = linear_model(mechanism=None).fit(data.X, environments=data.environments)
    np.testing.assert_array_equal(model.adjacency_matrix_, CHAIN)
    assert model.mechanisms_ is None and model.noise_scales_ is None
    calls = [
        lambda: model.transform(data.X),
        lambda: model.inverse_transform(data.X),
        lambda: model.predict(data.X),
        lambda: model.predict_counterfactual(data.X, {0: 1.0}),
        lambda: model.sample(3),
        lambda: model.score(data.X),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="mechanism=None finds the graph only"):
            call()


def test_a_callable_score_estimator():
    def normal(X):
        precision = np.linalg.inv(np.cov(X.T, bias=True).reshape(X.shape[1], -1))
        return lambda Y: (X.mean(axis=0) - Y) @ precision

    data = chain(1000, kind="linear")
    model = TwoEnvCausalDiscovery(
        score_estimator=normal, marginals="standard", mechanism=None, random_state=0
    )
    model.fit(data.X, environments=data.environments)
    assert structural_hamming_distance(CHAIN, model.adjacency_matrix_) == 0


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"criterion": "invariance", "score_estimator": "stein"}, "likelihood ratio"),
        ({"criterion": "collinearity", "score_estimator": "splines"}, "take criterion"),
        ({"method": "hessian", "score_estimator": "splines"}, "needs Hessians"),
        ({"method": "hessian", "score_estimator": "logistic"}, "needs Hessians"),
        ({"eta": "best"}, "eta"),
        ({"keep_fraction": 0.0}, "keep_fraction"),
    ],
)
def test_settings_that_do_not_go_together(params, message):
    data = chain(50)
    with pytest.raises(ValueError, match=message):
        TwoEnvCausalDiscovery(**params).fit(data.X, environments=data.environments)


def test_data_that_cannot_be_used():
    data = chain(50, kind="linear")
    X, labels = data.X, data.environments
    constant = X.copy()
    constant[:, 1] = 7.0
    with pytest.raises(ValueError, match=r"constant columns, got \['1'\]"):
        linear_model().fit(constant, environments=labels)
    hole = X.copy()
    hole[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        linear_model().fit(hole, environments=labels)
    with pytest.raises(ValueError, match="1 feature"):
        linear_model().fit(X[:, :1], environments=labels)
    mixed = np.array([0, "a"], dtype=object)[labels % 2]
    with pytest.raises(ValueError, match="labels of one type"):
        linear_model().fit(X, environments=mixed)
    single = np.where(np.arange(len(X)) == 0, 9, labels)
    with pytest.raises(ValueError, match="at least two rows each, got one of 9"):
        linear_model().fit(X, environments=single)


def test_environments_that_fit_has_not_seen():
    data = chain(100, kind="linear")
    model = linear_model().fit(data.X, environments=data.environments)
    new = np.where(data.environments == 2, 5, data.environments)
    with pytest.raises(ValueError, match=r"among those of fit, \[0, 1, 2\], got 5"):
        model.score(data.X, environments=new)
    with pytest.raises(ValueError, match="environment must be among those of fit"):
        model.sample(3, environment="base")
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        model.sample(0)
    # One that fit has seen may be absent; and noises need no label.
    some = data.environments != 1
    part = data.X[some]
    assert np.isfinite(model.score(part, environments=data.environments[some]))
    np.testing.assert_array_equal(model.transform(part), model.transform(data.X)[some])


@pytest.mark.parametrize("environments", [None, "one"])
def test_one_environment_is_said_not_raised(environments):
    X = chain(300, kind="gp").X[:300]
    labels = None if environments is None else np.full(len(X), "one")
    model = TwoEnvCausalDiscovery(random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="a base and two auxiliary"):
        model.fit(X, environments=labels)
    assert not model.identifiability_.ok
    assert "curvature" in model.identifiability_.notes[0]
    assert model.shift_strength_.shape == (0, 3)
    assert np.isnan(model.noise_ratio_).all()
    assert np.isfinite(model.score(X, environments=labels))
    assert np.isfinite(model.sample(3)).all()
