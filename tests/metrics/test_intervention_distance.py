"""The structural intervention distance, against its definition and its meaning."""

from functools import cache
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest

from skident.metrics import structural_intervention_distance


def random_dag(rng, n_nodes, share):
    """Each pair has an edge with probability ``share``, along a random order."""
    edges = np.triu(rng.random((n_nodes, n_nodes)) < share, 1)
    order = rng.permutation(n_nodes)
    return edges[np.ix_(order, order)].astype(int)


@cache
def all_dags(n_nodes):
    """Every labelled acyclic graph: subsets of the upper triangle, in every order."""
    pairs = list(combinations(range(n_nodes), 2))
    found = set()
    for bits in product([0, 1], repeat=len(pairs)):
        upper = np.zeros((n_nodes, n_nodes), dtype=int)
        upper[tuple(np.transpose(pairs))] = bits
        for order in permutations(range(n_nodes)):
            found.add(upper[np.ix_(order, order)].tobytes())
    return [np.frombuffer(dag, dtype=int).reshape(n_nodes, -1) for dag in found]


def up_to_names(dags):
    """One of each set of graphs that are the same but for the names of nodes."""
    orders = list(permutations(range(len(dags[0]))))
    seen = {}
    for dag in dags:
        seen.setdefault(min(dag[np.ix_(o, o)].tobytes() for o in orders), dag)
    return list(seen.values())


@cache
def wrong_by_paths(graph, n_nodes, i, parents):
    """Targets that adjusting for ``parents`` gets wrong, path by path.

    The definition: a member of Z must not descend from a node other than i on a
    directed path from i to j, and Z must block every path that is not directed.
    """
    edges = np.frombuffer(graph, dtype=int).reshape(n_nodes, n_nodes)
    Z = set(parents)

    def descendants(node):
        found = {node}
        for child in np.flatnonzero(edges[node]):
            found |= descendants(child)
        return found

    def paths(path):
        yield path
        for node in np.flatnonzero(edges[path[-1]] + edges[:, path[-1]]):
            if node not in path:
                yield from paths([*path, node])

    def is_open(path):
        for a, b, c in zip(path, path[1:], path[2:], strict=False):
            if edges[a, b] and edges[c, b]:
                if not descendants(b) & Z:
                    return False
            elif b in Z:
                return False
        return True

    wrong = set()
    for path in paths([i]):
        j = path[-1]
        if j == i:
            continue
        directed = all(edges[a, b] for a, b in pairwise(path))
        if j in Z:
            bad = directed
        elif directed:
            bad = any(descendants(w) & Z for w in path[1:])
        else:
            bad = is_open(path)
        if bad:
            wrong.add(j)
    return wrong


def by_paths(true, found):
    return sum(
        len(wrong_by_paths(true.tobytes(), len(true), i, tuple(np.flatnonzero(z))))
        for i, z in enumerate(found.T)
    )


def by_regression(true, found, rng):
    """Wrong total effects of a linear Gaussian model with random weights.

    The population coefficient of j on i given the parents of i in ``found`` is compared
    with the total effect: what adjustment means, without a word of graphs.
    """
    d = len(true)
    weights = true * rng.uniform(0.5, 1.5, (d, d)) * rng.choice([-1, 1], (d, d))
    effect = np.linalg.inv(np.eye(d) - weights)
    covariance = effect.T @ np.diag(rng.uniform(0.5, 2, d)) @ effect
    n_wrong = 0
    for i, j in permutations(range(d), 2):
        given = np.flatnonzero(found[:, i])
        estimate = 0.0
        if j not in given:
            columns = [i, *given]
            block = covariance[np.ix_(columns, columns)]
            estimate = np.linalg.solve(block, covariance[columns, j])[0]
        # Rounding is below 1e-12 here; a wrong one is a generic number of order one.
        n_wrong += abs(estimate - effect[i, j]) > 1e-8
    return n_wrong


def test_agrees_with_path_enumeration():
    rng = np.random.default_rng(0)
    dags = all_dags(4)
    # The number of labelled acyclic graphs of four nodes, known since Robinson (1973).
    assert len(dags) == 543
    for a, b in rng.choice(543, (100, 2)):
        true, found = dags[a], dags[b]
        assert structural_intervention_distance(true, found) == by_paths(true, found)


def test_agrees_with_path_enumeration_for_every_node_and_set_of_parents():
    truths = up_to_names(all_dags(4))
    # Unlabelled acyclic graphs of four nodes; renaming both graphs changes nothing.
    assert len(truths) == 31
    complete = np.triu(np.ones((4, 4), dtype=int), 1)
    orders = [list(order) for order in permutations(range(4))]
    # In the complete graphs of all orders every node has every set of parents, and the
    # distance is a sum over nodes of what depends on their parents alone: this covers
    # all graphs that can be found.
    for true, order in product(truths, orders):
        found = complete[np.ix_(order, order)]
        assert structural_intervention_distance(true, found) == by_paths(true, found)


def test_agrees_with_path_enumeration_on_larger_graphs():
    rng = np.random.default_rng(1)
    distances = []
    for share in np.linspace(0.1, 1, 60):
        true, found = (random_dag(rng, 6, share) for _ in range(2))
        distances.append(structural_intervention_distance(true, found))
        assert distances[-1] == by_paths(true, found)
    assert len(set(distances)) > 10


def test_counts_the_effects_that_adjustment_gets_wrong():
    rng = np.random.default_rng(2)
    for share in np.linspace(0.1, 1, 80):
        true, found = (random_dag(rng, 7, share) for _ in range(2))
        expected = by_regression(true, found, rng)
        assert structural_intervention_distance(true, found) == expected


def test_published_example():
    # Figure 1 of Peters and Bühlmann: G, and two graphs of equal Hamming distance from
    # it, one with an edge too many and one with an edge turned.
    true = np.zeros((5, 5), dtype=int)
    true[0, 1:] = true[1, 2:] = 1
    more, turned = true.copy(), true.copy()
    more[2, 3] = 1
    turned[0, 1], turned[1, 0] = 0, 1
    assert structural_intervention_distance(true, more) == 0
    assert structural_intervention_distance(true, turned) == 8


def test_closed_forms():
    rng = np.random.default_rng(3)
    for n_nodes in (1, 2, 8):
        true = random_dag(rng, n_nodes, 0.5)
        complete = np.triu(np.ones((n_nodes, n_nodes), dtype=int), 1)
        assert structural_intervention_distance(true, true) == 0
        # Whatever respects the order of a truth without edges is right.
        assert structural_intervention_distance(0 * true, complete) == 0
        # The complete graph turned round: the effect of i on each j after it is taken
        # for none, and j, a common cause, is left out of the adjustment for the rest.
        n_pairs = n_nodes * (n_nodes - 1)
        assert structural_intervention_distance(complete, complete.T) == n_pairs
        # A guess without edges takes correlation for effect: in the complete graph that
        # is right for the first node only, which has no cause.
        empty = structural_intervention_distance(complete, 0 * complete)
        assert empty == (n_nodes - 1) ** 2


def test_any_order_of_the_truth_is_right_and_edges_too_many_cost_nothing():
    rng = np.random.default_rng(4)
    upper = np.triu(rng.random((9, 9)) < 0.3, 1)
    superset = upper | np.triu(rng.random((9, 9)) < 0.5, 1)
    assert structural_intervention_distance(upper, superset) == 0
    assert structural_intervention_distance(superset, upper) > 0


def test_names_weights_and_types_do_not_matter():
    rng = np.random.default_rng(5)
    true, found = random_dag(rng, 10, 0.4), random_dag(rng, 10, 0.4)
    distance = structural_intervention_distance(true, found)
    order = rng.permutation(10)
    both = (true[np.ix_(order, order)], found[np.ix_(order, order)])
    assert structural_intervention_distance(*both) == distance
    weights = true * rng.standard_normal((10, 10))
    assert structural_intervention_distance(weights, found.astype(bool)) == distance
    assert type(distance) is int


def test_errors_name_the_argument():
    chain, cycle = np.eye(3, k=1), np.roll(np.eye(3), 1, axis=1)
    with pytest.raises(ValueError, match=r"true must be acyclic, got the cycle .* -> "):
        structural_intervention_distance(cycle, chain)
    with pytest.raises(ValueError, match="found must be acyclic"):
        structural_intervention_distance(chain, cycle)
    with pytest.raises(ValueError, match="found must have 3 nodes, got 2"):
        structural_intervention_distance(chain, np.zeros((2, 2)))
