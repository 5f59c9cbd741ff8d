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
