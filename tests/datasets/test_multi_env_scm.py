"""One causal model under several noises: its truth, exact to rounding."""

import pickle

import numpy as np
import pytest
from scipy import stats

from skident.datasets import load_published_graph, make_multi_env_scm

KINDS = ["linear", "additive", "general", "pnl", "lsnm", "neural", "gp"]
PAIRS = ["bivariate_i", "bivariate_ii", "bivariate_iii"]
NOISES = ["gaussian", "gamma", "gumbel", "uniform", "mlp"]


def small(kind, **options):
    options = {"n_samples": 300, "n_nodes": 6, "random_state": 0, **options}
    if kind in PAIRS:
        options["n_nodes"] = 2
    return make_multi_env_scm(kind=kind, **options)


def descendants(edges, node):
    reached = np.zeros(len(edges), dtype=bool)
    reached[node] = True
    for _ in edges:
        reached |= edges[reached].any(axis=0)
    return reached


@pytest.mark.parametrize("kind", KINDS + PAIRS)
@pytest.mark.parametrize("noise", NOISES)
def test_noises_and_variables_determine_each_other(kind, noise):
    data = small(kind, noise=noise)
    assert data.X.shape == data.noises.shape == (900, len(data.adjacency_matrix))
    np.testing.assert_array_equal(data.environments, np.repeat([0, 1, 2], 300))
    np.testing.assert_array_equal(data.scm.generate(data.noises), data.X)
    # Where mechanisms contract or explode, up to some 500 rounding errors of values up
    # to 70 were seen over 500 draws.
    np.testing.assert_allclose(data.scm.abduct(data.X), data.noises, atol=1e-11)
    assert data.weights is None or kind == "linear"


@pytest.mark.parametrize("kind", KINDS + PAIRS)
def test_counterfactuals_are_those_of_the_same_noises(kind):
    data = small(kind, edges_per_node=2, random_state=3)
    scm = data.scm
    for node in range(data.X.shape[1]):
        factual = scm.counterfactual(data.X, {node: data.X[:, node]})
        np.testing.assert_array_equal(factual, data.X)
        values = data.X[:, node] + np.linspace(-1, 1, 900)
        found = scm.counterfactual(data.X, {node: values})
        np.testing.assert_array_equal(found[:, node], values)
        others = ~descendants(data.adjacency_matrix, node)
        np.testing.assert_array_equal(found[:, others], data.X[:, others])
        expected = scm.generate(data.noises, {node: values})
        # Wiggly processes magnify the rounding of the noises along the graph.
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
        children = np.flatnonzero(data.adjacency_matrix[node])
        changed = found[:, children] != data.X[:, children]
        assert changed.sum() >= 0.99 * changed.size


def test_interventions_on_several_nodes():
    data = small("additive", edges_per_node=2)
    first, last = data.causal_order[[0, -1]]
    found = data.scm.counterfactual(data.X, {first: 0.5, np.int64(last): data.X[:, 0]})
    assert (found[:, first] == 0.5).all()
    np.testing.assert_array_equal(found[:, last], data.X[:, 0])
    np.testing.assert_array_equal(data.scm.counterfactual(data.X, {}), data.X)
    # Rows whose value is the factual one stay as they are.
    half = data.X[:, first].copy()
    half[::2] += 1.0
    found = data.scm.counterfactual(data.X, {first: half})
    np.testing.assert_array_equal(found[1::2], data.X[1::2])


def test_linear_models_have_the_weights_they_give():
    data = small("linear", edges_per_node=2)
    np.testing.assert_array_equal(data.weights != 0, data.adjacency_matrix == 1)
    own = data.noises * data.scm.column_scales
    np.testing.assert_allclose(data.X, data.X @ data.weights + own, atol=1e-12)
    raw = small("linear", edges_per_node=2, rescale=False)
    size = np.abs(raw.weights[raw.weights != 0])
    assert size.min() >= 0.05 and size.max() <= 1.0


@pytest.mark.parametrize("noise", NOISES)
def test_noises_have_their_scales(noise):
    data = small("linear", noise=noise, n_samples=4000, n_environments=4)
    scales, std = data.noise_scales, data.noise_std
    assert scales.shape == (4, 6) and (scales[0] == 1).all()
    assert std.min() >= 0.5 and std.max() <= 1.5
    change = np.abs(np.log(scales[1:]))
    assert np.log(1.5) <= change.min() and change.max() <= np.log(4) + 1e-12
    assert (scales[1:] > 1).any() and (scales[1:] < 1).any()
    for e in range(4):
        standard = data.noises[data.environments == e] / (std * scales[e])
        fourth = np.mean(standard**4, axis=0)
        assert (np.abs(standard.mean(axis=0)) < 4.5 / np.sqrt(4000)).all()
        error = np.abs(np.mean(standard**2, axis=0) - 1.0)
        assert (error < 4.5 * np.sqrt((fourth - 1.0) / 4000)).all()
    correlations = np.corrcoef(standard, rowvar=False)
    assert np.abs(correlations - np.eye(6)).max() < 4.5 / np.sqrt(4000)


def test_noise_laws():
    data = small("linear", noise="gamma", gamma_shape=1.0, n_samples=4000)
    standard = data.noises[:4000] / data.noise_std + 1.0
    for column in standard.T:
        assert stats.kstest(column, stats.expon().cdf).pvalue > 1e-4


def test_given_scales():
    scales = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 0.5]])
    data = small("bivariate_i", noise_scales=scales)
    np.testing.assert_array_equal(data.noise_scales, scales)
    same = small("bivariate_i", noise_scales=np.ones((3, 2)))
    ratio = data.noises / same.noises
    np.testing.assert_allclose(ratio, scales[data.environments], rtol=1e-14)
    scales[1, 0] = 9.0
    assert data.noise_scales[1, 0] == 2.0


def test_rescaling_is_one_factor_a_column():
    data, raw = small("general"), small("general", rescale=False)
    assert (raw.scm.column_scales == 1).all()
    np.testing.assert_array_equal(data.X, raw.X * data.scm.column_scales)
    np.testing.assert_array_equal(data.noises, raw.noises)
    spread = data.X.std(axis=0)
    assert spread.min() >= 0.5 and spread.max() <= 2.0 and np.ptp(spread) > 0.2


def test_variances_tell_the_order_only_before_rescaling():
    shares = {True: [], False: []}
    for seed in range(40):
        for rescale in (True, False):
            data = make_multi_env_scm(
                200, 10, edges_per_node=2, rescale=rescale, random_state=seed
            )
            variances = data.X.var(axis=0)
            causes, effects = np.nonzero(data.adjacency_matrix)
            shares[rescale].append(np.mean(variances[causes] > variances[effects]))
    # Random order: one half. A share of 20 edges has a standard deviation below 0.2.
    assert abs(np.mean(shares[True]) - 0.5) < 4 * 0.2 / np.sqrt(40)
    assert np.mean(shares[False]) < 0.5 - 4 * 0.2 / np.sqrt(40)


def test_the_model_does_not_depend_on_the_number_of_rows():
    few = small("general", n_samples=10, rescale=False)
    many = small("general", n_samples=[50, 7, 9], rescale=False)
    np.testing.assert_array_equal(np.bincount(many.environments), [50, 7, 9])
    np.testing.assert_array_equal(few.adjacency_matrix, many.adjacency_matrix)
    np.testing.assert_array_equal(few.noise_scales, many.noise_scales)
    np.testing.assert_array_equal(few.scm.generate(few.noises), few.X)
    np.testing.assert_allclose(many.scm.generate(few.noises), few.X, rtol=1e-12)


def test_given_graph():
    graph = load_published_graph("sachs").adjacency_matrix
    data = make_multi_env_scm(50, kind="pnl", adjacency_matrix=graph, random_state=0)
    np.testing.assert_array_equal(data.adjacency_matrix, graph)
    assert data.X.shape == (150, 11) and "(given)" in data.DESCR
    position = np.argsort(data.causal_order)
    causes, effects = np.nonzero(graph)
    assert (position[causes] < position[effects]).all()
    weighted = make_multi_env_scm(
        50, kind="pnl", adjacency_matrix=-0.3 * graph, random_state=0
    )
    np.testing.assert_array_equal(weighted.X, data.X)


def test_model_pickles():
    data = small("lsnm", noise="mlp")
    again = pickle.loads(pickle.dumps(data.scm))
    np.testing.assert_array_equal(again.generate(data.noises), data.X)


def test_errors_of_the_model():
    scm, X = (data := small("linear")).scm, data.X
    with pytest.raises(ValueError, match=r"X must be of shape \(n_samples, 6\)"):
        scm.abduct(X[:, :5])
    with pytest.raises(ValueError, match="noises must be of shape"):
        scm.generate(X[0])
    with pytest.raises(ValueError, match="on nodes 0 to 5, got 6"):
        scm.counterfactual(X, {6: 0.0})
    with pytest.raises(ValueError, match="got 'a'"):
        scm.counterfactual(X, {"a": 0.0})
    with pytest.raises(ValueError, match=r"node 2 must be .* got shape \(3,\)"):
        scm.counterfactual(X, {2: [0.0, 1.0, 2.0]})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "quadratic"}, "kind"),
        ({"kind": "bivariate_i", "n_nodes": 3}, "'bivariate_i' is for n_nodes = 2"),
        ({"n_samples": [10, 20]}, "n_samples must be a positive int, or one for each"),
        ({"n_samples": [10, 20, 0]}, "n_samples"),
        ({"n_samples": 1.5}, "n_samples"),
        ({"scale_range": (0.5, 2)}, "scale_range must be two finite numbers"),
        ({"scale_range": (3, 2)}, "scale_range"),
        ({"noise_scales": np.ones((2, 5))}, r"noise_scales must be of shape \(3, 5\)"),
        ({"noise_scales": np.full((3, 5), 2.0)}, "with ones in the first row"),
        ({"adjacency_matrix": [[0, 1], [1, 0]]}, "acyclic"),
        ({"adjacency_matrix": [[0, 1]]}, "adjacency_matrix must be of shape"),
        ({"noise": "cauchy"}, "noise"),
        ({"n_samples": 1, "n_environments": 1}, "at least two rows, got n_samples = 1"),
        ({"gamma_shape": 0.0}, "gamma_shape"),
        ({"graph": "ER"}, "graph"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_multi_env_scm(**{"n_samples": 10, **wrong})
