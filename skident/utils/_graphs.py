"""Directed graphs: checks, order, and as other libraries want them."""

import numpy as np

from skident.utils._optional import import_optional


def check_adjacency(matrix, name: str, *, n_nodes: int | None = None) -> np.ndarray:
    """Check an adjacency matrix.

    Parameters
    ----------
    matrix : array-like of shape (n_nodes, n_nodes)
        Entry ``[i, j]`` is 1 or the weight of the edge i -> j, 0 for no edge.
    name : str
        Of the argument, for the errors.
    n_nodes : int, default=None
        Number of nodes wanted; None takes any.

    Returns
    -------
    matrix : ndarray of shape (n_nodes, n_nodes)
        As given, of a number's dtype.

    Raises
    ------
    ValueError
        If the matrix is not square, is empty, has another number of nodes than wanted,
        holds anything but finite numbers, or has an edge from a node to itself.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(
            f"{name} must be of shape (n_nodes, n_nodes), got shape {matrix.shape}."
        )
    if n_nodes is not None and len(matrix) != n_nodes:
        raise ValueError(f"{name} must have {n_nodes} nodes, got {len(matrix)}.")
    if matrix.dtype.kind == "O":
        try:
            matrix = matrix.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be numbers, got objects.") from None
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got dtype {matrix.dtype}.")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite: it contains NaN or infinity.")
    loops = np.flatnonzero(np.diag(matrix))
    if loops.size:
        raise ValueError(
            f"{name} must have a zero diagonal, got an edge from node {loops[0]} to "
            "itself."
        )
    return matrix


def topological_order(matrix: np.ndarray, name: str) -> np.ndarray:
    """Order of the nodes of an acyclic graph in which every edge points onwards.

    Parameters
    ----------
    matrix : ndarray of shape (n_nodes, n_nodes)
        As :func:`check_adjacency` returns it.
    name : str
        Of the argument, for the errors.

    Returns
    -------
    order : ndarray of shape (n_nodes,), int
        Nodes, sources first; of nodes that are free to come next the lowest does.

    Raises
    ------
    ValueError
        If the graph has a cycle.
    """
    edges = matrix != 0
    waits_for = edges.sum(axis=0)
    order = np.empty(len(edges), dtype=np.intp)
    for position in range(len(edges)):
        node = np.argmin(waits_for)
        if waits_for[node] > 0:
            cycle = " -> ".join(map(str, _cycle(edges, waits_for)))
            raise ValueError(f"{name} must be acyclic, got the cycle {cycle}.")
        order[position] = node
        waits_for[edges[node]] -= 1
        waits_for[node] = len(edges)
    return order


def _cycle(edges, waits_for):
    """Nodes of one cycle, the first once more at the end, where no node is free."""
    left = np.flatnonzero(waits_for < len(edges))
    seen = [left[0]]
    while True:
        # Every node that is left has a parent that is left: backwards, until it closes.
        parent = left[np.argmax(edges[left, seen[-1]])]
        if parent in seen:
            return [parent, *reversed(seen[seen.index(parent) :])]
        seen.append(parent)


def to_networkx(adjacency_matrix, names=None):
    """Convert an adjacency matrix to a networkx graph.

    Parameters
    ----------
    adjacency_matrix : array-like of shape (n_nodes, n_nodes)
        Entry ``[i, j]`` is the weight of the edge i -> j, 0 for no edge.
    names : array-like of shape (n_nodes,), default=None
        Distinct names of the nodes, for instance ``feature_names_in_``; None numbers
        them from 0.

    Returns
    -------
    graph : networkx.DiGraph
        Every node, and an edge with attribute ``weight`` for each non-zero entry.

    Raises
    ------
    ImportError
        If networkx is not installed.
    ValueError
        If the matrix is not square, or the names do not fit or are not distinct.

    Examples
    --------
    >>> from skident.utils import to_networkx
    >>> graph = to_networkx([[0, 0.5], [0, 0]], names=["dose", "response"])
    >>> list(graph.edges(data="weight"))
    [('dose', 'response', 0.5)]
    """
    networkx = import_optional("networkx", extra="graph", purpose="to_networkx")
    matrix = np.asarray(adjacency_matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            "adjacency_matrix must be of shape (n_nodes, n_nodes), "
            f"got shape {matrix.shape}."
        )
    nodes = list(range(len(matrix))) if names is None else np.asarray(names).tolist()
    if len(nodes) != len(matrix) or len(set(nodes)) != len(nodes):
        raise ValueError(
            f"names must be {len(matrix)} distinct names, one a node, got {nodes}."
        )
    graph = networkx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_weighted_edges_from(
        (nodes[i], nodes[j], matrix[i, j].item())
        for i, j in zip(*np.nonzero(matrix), strict=True)
    )
    return graph
