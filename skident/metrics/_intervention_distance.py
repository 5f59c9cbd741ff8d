"""How many intervention effects a graph that was found would get wrong."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order

from skident.metrics._graphs import _check_graphs
from skident.utils._graphs import topological_order


def structural_intervention_distance(true, found):
    """Number of interventional distributions that a graph gets wrong.

    For each ordered pair (i, j) the graph that was found says how to get the law of j
    under an intervention on i from observations: adjust for the parents that it gives
    to i, or, where j is one of these, take the marginal law of j. Pairs for which that
    fails for some distribution of the true graph are counted.

    Parameters
    ----------
    true : array-like of shape (n_nodes, n_nodes)
        True graph, acyclic: entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0
        for none.
    found : array-like of shape (n_nodes, n_nodes)
        Graph to score, acyclic; only which entries are zero matters.

    Returns
    -------
    distance : int
        From 0 to ``n_nodes (n_nodes - 1)``.

    Raises
    ------
    ValueError
        If a matrix is not square, the numbers of nodes differ, an entry is no finite
        number, a node has an edge to itself, or a graph has a cycle.

    Notes
    -----
    Not symmetric, and 0 not only for equal graphs: with edges too many, as long as
    every true edge is among them, all effects are still right. It therefore scores the
    causal order and the missing edges; combine it with
    :func:`structural_hamming_distance`, which counts edges too many.

    Exact for directed acyclic graphs (Proposition 6 and condition (*) of [1]_). With Z
    the parents that ``found`` gives to i, and j not among them, (i, j) is right if and
    only if in ``true`` (a) no member of Z descends from a node after i on a directed
    path from i to j, and (b) Z blocks every other path from i to j. Given (a), the
    paths of (b) leave i by an edge that begins no directed path to j [2]_, so that one
    search from the parents of i and one from each child that has a descendant in Z
    serve all j. Time is O(n_nodes n_edges) up to the number of such children and
    O(n_nodes^3) for descendants; memory O(n_nodes^2).

    References
    ----------
    .. [1] Peters and Bühlmann, "Structural intervention distance for evaluating causal
       graphs", Neural Computation 27(3), 2015.
    .. [2] van der Zander, Liśkiewicz and Textor, "Constructing separators and
       adjustment sets in ancestral graphs", CI workshop at UAI 2014.

    Examples
    --------
    >>> from skident.metrics import structural_intervention_distance
    >>> true = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]

    An edge too many does no harm, a missing one does:

    >>> chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    >>> structural_intervention_distance(chain, true)
    0
    >>> structural_intervention_distance(true, chain)
    1
    """
    true, found = _check_graphs(true, found)
    topological_order(found, "found")
    reaches = _descendants(true, topological_order(true, "true"))
    tails, heads = np.nonzero(true)
    return sum(
        int(_wrong_effects(node, true, found[:, node], reaches, tails, heads).sum())
        for node in range(len(true))
    )


def _descendants(edges, order):
    """Whether each row's node is, or leads to, each column's."""
    reaches = np.eye(len(edges), dtype=bool)
    for node in order[::-1]:
        reaches[node] |= reaches[edges[node]].any(axis=0)
    return reaches


def _wrong_effects(node, edges, adjusted, reaches, tails, heads):
    """Which nodes' laws under an intervention on ``node`` the adjustment gets wrong.

    Parameters
    ----------
    node : int
    edges : ndarray of shape (n_nodes, n_nodes), bool
        True graph.
    adjusted : ndarray of shape (n_nodes,), bool
        Parents that the other graph gives to ``node``.
    reaches : ndarray of shape (n_nodes, n_nodes), bool
        Descendants in the true graph, each node among its own.
    tails, heads : ndarrays of shape (n_edges,)
        Ends of the true edges.

    Returns
    -------
    wrong : ndarray of shape (n_nodes,), bool
    """
    leads_to_adjusted = reaches[:, adjusted].any(axis=1)
    after = reaches[node].copy()
    after[node] = False
    # (a): adjusted for something that a directed path from node determines.
    wrong = reaches[after & leads_to_adjusted].any(axis=0)
    # (b): the paths that do not leave node towards the target.
    steps = _open_steps(node, adjusted, leads_to_adjusted, tails, heads)
    wrong |= _reached(steps, 2 * len(edges))
    # From a child that leads to nothing adjusted, all open walks are directed paths.
    for child in np.flatnonzero(edges[node] & leads_to_adjusted):
        wrong |= _reached(steps, child) & ~reaches[child]
    # A node that is a parent of node there is taken to be unmoved.
    wrong[adjusted] = after[adjusted]
    wrong[node] = False
    return wrong


def _open_steps(node, adjusted, leads_to_adjusted, tails, heads):
    """Steps of walks that the adjusted nodes leave open and that avoid ``node``.

    States are 0 ... d - 1, a node entered along an edge into it; d ... 2 d - 1, a node
    entered against an edge out of it; and 2 d, from where the parents of ``node`` are.
    """
    n_nodes = len(adjusted)
    from_tail, from_head = ~adjusted[tails], ~adjusted[heads]
    collider, parent = leads_to_adjusted[heads], heads == node
    steps = (
        (tails[from_tail], heads[from_tail]),
        (n_nodes + tails[from_tail], heads[from_tail]),
        (n_nodes + heads[from_head], n_nodes + tails[from_head]),
        (heads[collider], n_nodes + tails[collider]),
        (np.full(int(parent.sum()), 2 * n_nodes), n_nodes + tails[parent]),
    )
    before, after = (np.concatenate(states) for states in zip(*steps, strict=True))
    kept = after % n_nodes != node
    ones = np.ones(int(kept.sum()))
    shape = (2 * n_nodes + 1, 2 * n_nodes + 1)
    return sparse.csr_matrix((ones, (before[kept], after[kept])), shape=shape)


def _reached(steps, start):
    """Nodes that walks from the state ``start`` come to."""
    n_nodes = steps.shape[0] // 2
    states = breadth_first_order(steps, start, return_predecessors=False)
    reached = np.zeros(n_nodes, dtype=bool)
    reached[states[states < 2 * n_nodes] % n_nodes] = True
    return reached
