"""Random directed acyclic graphs, their numbers of edges and their hubs."""

import numpy as np
import pytest
from scipy import stats

from skident.datasets import _random_graphs
from skident.datasets._random_graphs import random_dag
from skident.utils._graphs import topological_order

GRAPHS = ["er", "sf", "ba", "partition"]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(("n_nodes", "degree"), [(1, 2), (2, 1), (7, 1.5), (30, 4)])
def test_graphs_are_acyclic_with_the_number_of_edges(graph, n_nodes, degree):
    for seed in range(5):
        edges = random_dag(n_nodes, degree, graph, np.random.RandomState(seed))
        assert edges.shape == (n_nodes, n_nodes) and set(np.unique(edges)) <= {0, 1}
        order = topological_order(edges, "edges")
        assert not np.tril(edges[np.ix_(order, order)]).any()
        most = n_nodes * (n_nodes - 1) // 2
        if graph in ("sf", "ba"):
            m = min(round(degree), n_nodes)
            wanted = m * n_nodes - m * (m + 1) // 2
        else:
            wanted = max(2, round(degree * n_nodes))
        assert edges.sum() == min(wanted, most)


def test_no_edges_and_at_least_two():
    rng = np.random.RandomState(0)
    for graph in GRAPHS:
        assert not random_dag(5, 0, graph, rng).any()
    assert random_dag(5, 0.01, "er", rng).sum() == 2


def test_edges_of_er_are_uniform():
    rng = np.random.RandomState(0)
    counts = sum(random_dag(4, 0.5, "er", rng) for _ in range(3000))
    # Two edges of twelve directed pairs in each draw, every pair alike. The sum of
    # squares is not quite chi-squared, as a draw holds two different pairs, but its
    # mean is below the degrees of freedom.
    observed = counts[~np.eye(4, dtype=bool)]
    assert observed.sum() == 6000
    statistic = np.sum((observed - 500) ** 2 / 500)
    assert statistic < stats.chi2(11).isf(1e-4)


def test_hubs_are_effects_or_causes():
    for graph, axis in (("sf", 0), ("ba", 1)):
        edges = random_dag(100, 2, graph, np.random.RandomState(0))
        linked, chosen = edges.sum(axis=axis), edges.sum(axis=1 - axis)
        # Every node chose at most two; preference makes hubs of order sqrt(n) links.
        assert chosen.max() == 2 and linked.max() >= 8


def test_preference_is_in_proportion_to_links():
    # Node 1 is linked to node 0, so node 2 chooses node 0 with probability 2 / 3.
    rng = np.random.RandomState(0)
    hits = sum(random_dag(3, 1, "ba", rng).sum(axis=1).max() == 2 for _ in range(3000))
    assert stats.binomtest(int(hits), 3000, 2 / 3).pvalue > 1e-4


def test_partitions_favour_edges_within_clusters(monkeypatch):
    cluster = np.repeat([0, 1], 5)
    monkeypatch.setattr(_random_graphs, "_clusters", lambda n_nodes, rng: cluster)
    rng = np.random.RandomState(0)
    counts = np.zeros((10, 10), dtype=int)
    for _ in range(1500):
        counts += _random_graphs._uniform(10, 2, "partition", rng)
    within = counts[:5, :5].sum() + counts[5:, 5:].sum()
    # 20 pairs of weight 8 and 25 of weight 1: the first edge lies within with
    # probability 160 / 185 = 0.8649, the second, of another pair, with 0.8602.
    assert counts.sum() == 3000
    assert abs(within / 3000 - 0.8625) < 4 * np.sqrt(0.8625 * 0.1375 / 3000)


def test_clusters_have_about_five_nodes():
    cluster = _random_graphs._clusters(1000, np.random.RandomState(0))
    sizes = np.bincount(cluster)
    assert len(cluster) == 1000 and len(set(cluster[:20])) > 10
    # The standard deviation of a size is 5 / 4, and rounding adds 1 / 12 to its square.
    assert abs(sizes.mean() - 5.0) < 4 * np.sqrt((25 / 16 + 1 / 12) / len(sizes))
