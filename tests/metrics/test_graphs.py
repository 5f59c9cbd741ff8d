"""Scores of a found graph: Hamming distance, order and directions."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from skident.metrics import (
    orientation_scores,
    structural_hamming_distance,
    topological_divergence,
)

CHAIN = np.eye(4, k=1)


def random_graph(seed, n_nodes=8):
    """Any directed graph, cycles included."""
    graph = np.random.default_rng(seed).integers(0, 2, (n_nodes, n_nodes))
    np.fill_diagonal(graph, 0)
    return graph


def test_hamming_distance_counts_edges_added_removed_and_turned():
    found = CHAIN.copy()
    assert structural_hamming_distance(CHAIN, found) == 0
    found[0, 3] = 1
    assert structural_hamming_distance(CHAIN, found) == 1
    found[1, 2] = 0
    assert structural_hamming_distance(CHAIN, found) == 2
    found[0, 1], found[1, 0] = 0, 1
    assert structural_hamming_distance(CHAIN, found) == 3
    assert structural_hamming_distance(CHAIN, found, double_for_reversed=True) == 4
    # An edge without direction is one error away from one with.
    found[0, 1] = 1
    assert structural_hamming_distance(CHAIN, found) == 3
    assert structural_hamming_distance(CHAIN, found, double_for_reversed=True) == 3


def test_hamming_distance_in_closed_form():
    assert structural_hamming_distance(CHAIN, 0 * CHAIN) == 3
    assert structural_hamming_distance(CHAIN, CHAIN.T) == 3
    assert structural_hamming_distance(CHAIN, CHAIN.T, double_for_reversed=True) == 6
    upper = np.triu(np.ones((4, 4)), 1)
    assert structural_hamming_distance(upper, 0 * upper) == 6


@pytest.mark.parametrize("double", [False, True])
def test_hamming_distance_is_a_metric(double):
    distance = {
        (a, b): structural_hamming_distance(
            random_graph(a), random_graph(b), double_for_reversed=double
        )
        for a in range(5)
        for b in range(5)
    }
    for a, b, c in permutations(range(5), 3):
        assert distance[a, b] == distance[b, a] > 0
        assert distance[a, c] <= distance[a, b] + distance[b, c]


def test_hamming_distance_ignores_weights_and_names():
    rng = np.random.default_rng(0)
    true, found = random_graph(0), random_graph(1)
    distance = structural_hamming_distance(true, found)
    assert type(distance) is int
    frame = pd.DataFrame(-0.1 * found)
    assert structural_hamming_distance(true.astype(bool), frame) == distance
    order = rng.permutation(8)
    both = (true[np.ix_(order, order)], found[np.ix_(order, order)])
    assert structural_hamming_distance(*both) == distance


def test_divergence_of_the_orders_of_a_chain():
    assert topological_divergence([0, 1, 2, 3], CHAIN) == 0
    assert topological_divergence([3, 2, 1, 0], CHAIN) == 1
    assert topological_divergence([1, 0, 2, 3], CHAIN) == pytest.approx(1 / 3)
    count = topological_divergence([3, 0, 1, 2], -2.5 * CHAIN, normalize=False)
    assert count == 1 and type(count) is int
    assert topological_divergence([0, 1], np.zeros((2, 2))) == 0
    assert topological_divergence([0], [[0]], normalize=False) == 0


def test_divergence_over_all_orders_is_a_half_on_average():
    graph = np.triu(random_graph(0, 5), 1)
    orders = list(permutations(range(5)))
    # An order and its reverse share the edges between them.
    mean = np.mean([topological_divergence(order, graph) for order in orders])
    assert mean == pytest.approx(0.5, abs=1e-12)
    best = min(topological_divergence(order, graph) for order in orders)
    assert best == 0


def test_divergence_bounds_the_hamming_distance_of_any_pruning():
    rng = np.random.default_rng(0)
    for seed in range(20):
        true, order = np.triu(random_graph(seed), 1), rng.permutation(8)
        position = np.argsort(order)
        allowed = position[:, None] < position[None, :]
        found = allowed & (rng.random((8, 8)) < 0.5)
        bound = topological_divergence(order, true, normalize=False)
        assert structural_hamming_distance(true, found) >= bound
        assert structural_hamming_distance(true, true * allowed) == bound


def test_orientation_scores_by_hand():
    true = np.zeros((5, 5))
    true[[0, 0, 1, 2], [1, 2, 3, 3]] = 1
    found = np.zeros((5, 5))
    found[[0, 2, 3, 3], [1, 0, 1, 4]] = 1  # one right, two turned, one too many
    scores = orientation_scores(true, found)
    expected = {
        "precision": 1 / 4,
        "recall": 1 / 4,
        "f1": 1 / 4,
        "skeleton_precision": 3 / 4,
        "skeleton_recall": 3 / 4,
        "skeleton_f1": 3 / 4,
        "orientation_accuracy": 1 / 3,
    }
    assert scores == pytest.approx(expected)
    assert list(scores) == list(expected)


def test_orientation_scores_of_equal_and_of_empty_graphs():
    assert set(orientation_scores(CHAIN, CHAIN).values()) == {1.0}
    empty = orientation_scores(0 * CHAIN, 0 * CHAIN)
    assert math.isnan(empty.pop("orientation_accuracy"))
    assert set(empty.values()) == {1.0}
    nothing = orientation_scores(CHAIN, 0 * CHAIN)
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (1, 0, 0)
    false = orientation_scores(0 * CHAIN, CHAIN)
    assert (false["precision"], false["recall"], false["f1"]) == (0, 1, 0)


def test_an_edge_without_direction_is_half_right():
    scores = orientation_scores(CHAIN, CHAIN + CHAIN.T)
    assert scores["precision"] == 0.5 and scores["recall"] == 1
    assert scores["skeleton_f1"] == 1 and scores["orientation_accuracy"] == 0


def test_scores_are_plain_floats_that_ignore_weights():
    true, found = random_graph(0), random_graph(1)
    scores = orientation_scores(true, found)
    assert {type(value) for value in scores.values()} == {float}
    assert orientation_scores(-3.0 * true, found.astype(bool)) == scores
    # Turned round: precision and recall swap.
    swapped = orientation_scores(found, true)
    assert swapped["precision"] == scores["recall"]
    assert swapped["f1"] == scores["f1"]


@pytest.mark.parametrize("score", [structural_hamming_distance, orientation_scores])
def test_errors_name_the_argument(score):
    with pytest.raises(ValueError, match=r"true must be of shape .*shape \(2, 3\)"):
        score(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="true must be of shape"):
        score(np.zeros((0, 0)), np.zeros((0, 0)))
    with pytest.raises(ValueError, match="found must have 4 nodes, got 2"):
        score(CHAIN, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="found must be finite"):
        score(CHAIN, np.where(CHAIN, np.nan, 0))
    with pytest.raises(ValueError, match="found must be numbers, got dtype"):
        score(CHAIN, CHAIN.astype(str))
    with pytest.raises(ValueError, match="found must be numbers, got objects"):
        score(CHAIN, np.full((4, 4), "a", dtype=object))
    with pytest.raises(ValueError, match=r"true must have a zero diagonal.*node 2"):
        score(np.diag([0, 0, 1, 0]), CHAIN)


@pytest.mark.parametrize(
    "order", [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [0.0, 1, 2, 3], [[0, 1, 2, 3]]]
)
def test_an_order_must_be_a_permutation(order):
    with pytest.raises(ValueError, match="order must be a permutation of the 4 nodes"):
        topological_divergence(order, CHAIN)


def test_an_order_needs_a_graph_without_cycles():
    cycle = np.roll(np.eye(3), 1, axis=1)
    with pytest.raises(ValueError, match="adjacency_matrix must be acyclic, got the"):
        topological_divergence([0, 1, 2], cycle)
