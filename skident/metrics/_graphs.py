"""Scores of a directed graph that was found, against the true one."""

import numpy as np

from skident.utils._graphs import check_adjacency, topological_order


def structural_hamming_distance(true, found, *, double_for_reversed=False):
    """Number of edges to add, remove or turn to make one graph the other.

    Parameters
    ----------
    true : array-like of shape (n_nodes, n_nodes)
        True graph: entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0 for none.
    found : array-like of shape (n_nodes, n_nodes)
        Graph to score; only which entries are zero matters.
    double_for_reversed : bool, default=False
        Whether an edge that points the wrong way counts as two errors, one edge too
        many and one missing, instead of one.

    Returns
    -------
    distance : int
        0 for equal graphs; at most ``n_nodes (n_nodes - 1) / 2``, or twice that with
        ``double_for_reversed=True``.

    Raises
    ------
    ValueError
        If a matrix is not square, the numbers of nodes differ, an entry is no finite
        number, or a node has an edge to itself.

    Notes
    -----
    The number of pairs of nodes between which the two graphs differ, so it is a metric,
    and symmetric. Cycles are allowed: both ``[i, j]`` and ``[j, i]`` may stand for an
    edge without direction, which is one error away from an edge either way.

    An edge weighs the same whatever follows from it, see
    :func:`structural_intervention_distance`. In a sparse truth the empty graph is hard
    to beat: its distance is the number of true edges.

    References
    ----------
    .. [1] Tsamardinos, Brown and Aliferis, "The max-min hill-climbing Bayesian network
       structure learning algorithm", Machine Learning 65, 2006.

    Examples
    --------
    >>> from skident.metrics import structural_hamming_distance
    >>> chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    >>> first_turned = [[0, 0, 0], [1, 0, 1], [0, 0, 0]]
    >>> structural_hamming_distance(chain, first_turned)
    1
    >>> structural_hamming_distance(chain, first_turned, double_for_reversed=True)
    2
    """
    true, found = _check_graphs(true, found)
    differs = true != found
    if not double_for_reversed:
        differs = np.triu(differs | differs.T)
    return int(differs.sum())


def topological_divergence(order, adjacency_matrix, *, normalize=True):
    """Edges of a graph that a causal order makes impossible.

    Parameters
    ----------
    order : array-like of shape (n_nodes,), int
        Nodes, sources first: a permutation of ``0, ..., n_nodes - 1``.
    adjacency_matrix : array-like of shape (n_nodes, n_nodes)
        True graph, acyclic: entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0
        for none.
    normalize : bool, default=True
        Whether to divide by the number of edges.

    Returns
    -------
    divergence : float or int
        Share of the edges i -> j with j placed before i, in [0, 1]; their number with
        ``normalize=False``. 0 for a valid order, 1 for a valid one turned round, 0.5 on
        average for a random one; 0 for a graph without edges.

    Raises
    ------
    ValueError
        If ``order`` is no permutation of the nodes, the matrix is not square, an entry
        is no finite number, or the graph has a cycle.

    Notes
    -----
    The number of true edges that no pruning of the complete graph of this order can
    find: a lower bound of the Hamming distance. It says nothing of edges too many.

    References
    ----------
    .. [1] Rolland et al., "Score matching enables causal discovery of nonlinear
       additive noise models", ICML 2022.

    Examples
    --------
    >>> from skident.metrics import topological_divergence
    >>> chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    >>> topological_divergence([1, 0, 2], chain)
    0.5
    """
    edges = check_adjacency(adjacency_matrix, "adjacency_matrix") != 0
    topological_order(edges, "adjacency_matrix")
    order, n_nodes = np.asarray(order), len(edges)
    if (
        order.shape != (n_nodes,)
        or order.dtype.kind not in "iu"
        or (np.sort(order) != np.arange(n_nodes)).any()
    ):
        raise ValueError(
            f"order must be a permutation of the {n_nodes} nodes 0, ..., "
            f"{n_nodes - 1}, got {order.tolist()}."
        )
    backwards = int(np.tril(edges[np.ix_(order, order)]).sum())
    return backwards / max(int(edges.sum()), 1) if normalize else backwards


def orientation_scores(true, found):
    """Precision and recall of edges, with and without their direction.

    Parameters
    ----------
    true : array-like of shape (n_nodes, n_nodes)
        True graph: entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0 for none.
    found : array-like of shape (n_nodes, n_nodes)
        Graph to score; only which entries are zero matters.

    Returns
    -------
    scores : dict of float
        With the entries

        precision, recall, f1
            Of directed edges: an edge is right if the other graph has it in the same
            direction.
        skeleton_precision, skeleton_recall, skeleton_f1
            Of adjacencies, whatever their direction.
        orientation_accuracy
            Of the adjacencies that both graphs have, the share on whose direction they
            agree; NaN if they share none.

    Raises
    ------
    ValueError
        As :func:`structural_hamming_distance`.

    Notes
    -----
    Where nothing was found, precision is 1, as nothing found is false; where there is
    nothing to find, recall is 1. The score f1 is then 1 only if both hold. Both entries
    ``[i, j]`` and ``[j, i]`` count as two directed edges and as one adjacency.

    ``orientation_accuracy`` rests on shared adjacencies only: read it with
    ``skeleton_recall``, as a method that keeps few edges may choose easy ones.
    Directions chosen by chance score 0.5.

    Examples
    --------
    >>> from skident.metrics import orientation_scores
    >>> true = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    >>> found = [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    >>> for name, value in orientation_scores(true, found).items():
    ...     print(f"{name} {value:.2f}")
    precision 0.50
    recall 0.33
    f1 0.40
    skeleton_precision 1.00
    skeleton_recall 0.67
    skeleton_f1 0.80
    orientation_accuracy 0.50
    """
    true, found = _check_graphs(true, found)
    scores = overlap_scores((true & found).sum(), true.sum(), found.sum())
    # One entry an adjacency: above the diagonal.
    adjacent, adjacent_found = np.triu(true | true.T), np.triu(found | found.T)
    shared = adjacent & adjacent_found
    skeleton = overlap_scores(shared.sum(), adjacent.sum(), adjacent_found.sum())
    scores |= {f"skeleton_{name}": value for name, value in skeleton.items()}
    agree = shared & (true == found) & (true == found).T
    n_shared = int(shared.sum())
    scores["orientation_accuracy"] = (
        int(agree.sum()) / n_shared if n_shared else float("nan")
    )
    return scores


def overlap_scores(n_both, n_true, n_found):
    """Precision, recall and F1 of two sets from their sizes; see the users' notes."""
    n_both, n_true, n_found = int(n_both), int(n_true), int(n_found)
    n_total = n_true + n_found
    return {
        "precision": n_both / n_found if n_found else 1.0,
        "recall": n_both / n_true if n_true else 1.0,
        "f1": 2 * n_both / n_total if n_total else 1.0,
    }


def _check_graphs(true, found):
    """Edges of both graphs, bool."""
    true = check_adjacency(true, "true")
    found = check_adjacency(found, "found", n_nodes=len(true))
    return true != 0, found != 0
