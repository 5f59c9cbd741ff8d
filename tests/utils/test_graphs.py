from itertools import pairwise

import numpy as np
import pytest

from skident.utils import _graphs, to_networkx

WEIGHTS = np.array([[0.0, 0.5, 0.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0]])


def test_networkx_gives_the_matrix_back():
    networkx = pytest.importorskip("networkx")
    graph = to_networkx(WEIGHTS)
    assert list(graph) == [0, 1, 2]
    np.testing.assert_array_equal(networkx.to_numpy_array(graph), WEIGHTS)
    # Kept as plain numbers: a graph is often written to JSON.
    assert all(type(w) is float for _, _, w in graph.edges(data="weight"))


def test_names_become_nodes_even_without_edges():
    pytest.importorskip("networkx")
    graph = to_networkx(WEIGHTS, names=np.array(["a", "b", "c"], dtype=object))
    assert list(graph.edges(data="weight")) == [("a", "b", 0.5), ("b", "c", -2.0)]
    assert list(to_networkx(np.zeros((2, 2)), names=["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize("shape", [(2, 3), (4,)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    pytest.importorskip("networkx")
    with pytest.raises(ValueError, match=r"adjacency_matrix must be of shape"):
        to_networkx(np.ones(shape))


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "a"]])
def test_names_that_do_not_fit_are_refused(names):
    pytest.importorskip("networkx")
    with pytest.raises(ValueError, match="names must be 3 distinct names"):
        to_networkx(WEIGHTS, names=names)


def test_networkx_is_asked_for_by_its_extra(monkeypatch):
    def missing(module, *, extra, purpose):
        raise ImportError(f"{purpose} needs {module}: {extra}")

    monkeypatch.setattr(_graphs, "import_optional", missing)
    with pytest.raises(ImportError, match="to_networkx needs networkx: graph"):
        to_networkx(WEIGHTS)


def test_order_of_an_acyclic_graph_points_every_edge_onwards():
    rng = np.random.default_rng(0)
    for n_nodes in (1, 2, 9):
        edges = np.triu(rng.random((n_nodes, n_nodes)) < 0.4, 1)
        shuffled = rng.permutation(n_nodes)
        edges = edges[np.ix_(shuffled, shuffled)]
        order = _graphs.topological_order(edges, "graph")
        assert sorted(order) == list(range(n_nodes))
        assert not np.tril(edges[np.ix_(order, order)]).any()
    # Free nodes come by number.
    order = _graphs.topological_order(np.zeros((3, 3)), "graph")
    np.testing.assert_array_equal(order, [0, 1, 2])


def test_a_cycle_is_named():
    edges = np.zeros((6, 6))
    edges[[0, 1, 2, 3, 3], [1, 2, 3, 1, 5]] = 1
    with pytest.raises(
        ValueError, match="graph must be acyclic, got the cycle"
    ) as error:
        _graphs.topological_order(edges, "graph")
    cycle = [
        int(node) for node in str(error.value)[:-1].split("cycle ")[1].split(" -> ")
    ]
    assert cycle[0] == cycle[-1] and sorted(cycle[1:]) == [1, 2, 3]
    assert all(edges[a, b] for a, b in pairwise(cycle))
    with pytest.raises(ValueError, match=r"cycle 0 -> 1 -> 0|cycle 1 -> 0 -> 1"):
        _graphs.topological_order(np.array([[0, 1], [1, 0]]), "graph")
