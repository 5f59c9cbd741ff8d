"""Graphs of the literature."""

import re

import numpy as np
import pytest

from skident.datasets import load_published_graph
from skident.utils._graphs import topological_order

# The notation of the Bayesian network repository: each node with its parents.
STRINGS = {
    "asia": "[asia][smoke][tub|asia][lung|smoke][bronc|smoke][either|lung:tub]"
    "[xray|either][dysp|bronc:either]",
    "sachs": "[PKC][Plcg][PKA|PKC][Raf|PKA:PKC][Mek|PKA:PKC:Raf][Erk|Mek:PKA]"
    "[Akt|Erk:PKA][P38|PKA:PKC][Jnk|PKA:PKC][PIP3|Plcg][PIP2|PIP3:Plcg]",
}


@pytest.mark.parametrize(("name", "n_edges"), [("asia", 8), ("sachs", 17)])
def test_edges(name, n_edges):
    graph = load_published_graph(name)
    names = graph.names.tolist()
    expected = set()
    for effect, causes in re.findall(r"\[(\w+)\|?([\w:]*)\]", STRINGS[name]):
        expected |= {(cause, effect) for cause in causes.split(":") if cause}
    edges = np.argwhere(graph.adjacency_matrix)
    assert {(names[i], names[j]) for i, j in edges} == expected
    assert graph.adjacency_matrix.sum() == len(expected) == n_edges
    topological_order(graph.adjacency_matrix, name)
    assert f"{len(names)} nodes, {n_edges} edges" in graph.DESCR and graph.citation


def test_each_call_gives_its_own_array():
    load_published_graph("asia").adjacency_matrix[:] = 0
    assert load_published_graph("asia").adjacency_matrix.sum() == 8


def test_unknown_graph():
    with pytest.raises(ValueError, match=r"'name' parameter.*'asia'"):
        load_published_graph("alarm")
