"""Random directed acyclic graphs."""

import numpy as np

# A pair within a cluster is this much likelier to get an edge than one across.
_WITHIN_TO_ACROSS = 8.0
_CLUSTER_SIZE = 5.0
GRAPHS = ("er", "sf", "ba", "partition")


def random_dag(n_nodes, degree, graph, rng):
    """Draw a directed acyclic graph whose nodes stand in random order.

    Parameters
    ----------
    n_nodes : int
        Number of nodes d.
    degree : float
        Edges per node. "er" and "partition" have ``round(degree * d)`` edges, at least
        2 (but none for ``degree=0``) and at most d (d - 1) / 2. In "sf" and "ba" every
        node but the first ones is linked to ``m = max(1, round(degree))`` earlier ones,
        which makes m d - m (m + 1) / 2 edges for m < d.
    graph : {"er", "sf", "ba", "partition"}
        "er" picks edges uniformly (Erdős-Rényi, G(n, m)). "sf" and "ba" attach nodes
        preferentially to those that are much linked to (Barabási-Albert): in "sf" the
        hubs are effects with many causes, in "ba" causes with many effects.
        "partition" puts the nodes in clusters of sizes drawn from N(5, 5/4) and favours
        edges within one eightfold (Gaussian random partition).
    rng : RandomState

    Returns
    -------
    adjacency : ndarray of int of shape (n_nodes, n_nodes)
        1 in ``[i, j]`` for i -> j.
    """
    if degree == 0:
        return np.zeros((n_nodes, n_nodes), dtype=int)
    if graph in ("sf", "ba"):
        late_to_early = _preferential(n_nodes, max(1, round(degree)), rng)
        upper = late_to_early[::-1, ::-1] if graph == "sf" else late_to_early.T
    else:
        upper = _uniform(n_nodes, round(degree * n_nodes), graph, rng)
    order = rng.permutation(n_nodes)
    adjacency = np.zeros_like(upper)
    adjacency[np.ix_(order, order)] = upper
    return adjacency


def _uniform(n_nodes, n_edges, graph, rng):
    """Upper triangle with a given number of edges, uniform or favouring clusters."""
    rows, columns = np.triu_indices(n_nodes, k=1)
    n_edges = min(max(n_edges, 2), len(rows))
    weights = np.ones(len(rows))
    if graph == "partition":
        cluster = _clusters(n_nodes, rng)
        weights[cluster[rows] == cluster[columns]] = _WITHIN_TO_ACROSS
    upper = np.zeros((n_nodes, n_nodes), dtype=int)
    if n_edges:
        chosen = rng.choice(
            len(rows), n_edges, replace=False, p=weights / weights.sum()
        )
        upper[rows[chosen], columns[chosen]] = 1
    return upper


def _clusters(n_nodes, rng):
    """Cluster of each node, in random order."""
    sizes = []
    while sum(sizes) < n_nodes:
        size = rng.normal(_CLUSTER_SIZE, _CLUSTER_SIZE / 4.0)
        sizes.append(max(1, round(size)))
    return rng.permutation(np.repeat(np.arange(len(sizes)), sizes)[:n_nodes])


def _preferential(n_nodes, m, rng):
    """Node t is linked to min(m, t) earlier ones, by how often they were so far."""
    adjacency = np.zeros((n_nodes, n_nodes), dtype=int)
    for t in range(1, n_nodes):
        popularity = 1.0 + adjacency[:t, :t].sum(axis=0)
        chosen = rng.choice(
            t, min(m, t), replace=False, p=popularity / popularity.sum()
        )
        adjacency[t, chosen] = 1
    return adjacency
