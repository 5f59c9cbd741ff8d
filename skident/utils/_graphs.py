"""Graphs as other libraries want them."""

import numpy as np

from skident.utils._optional import import_optional


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
