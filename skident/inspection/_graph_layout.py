"""Where the nodes and edges of an acyclic graph are drawn."""

import numpy as np

from skident.utils._graphs import topological_order

# Bends tried for an edge, as a share of its length, the flattest first.
_BENDS = np.array([0.0, 0.15, -0.15, 0.3, -0.3, 0.45, -0.45])
# Weights of the points of a curve of three control points, its ends left out.
_ALONG = np.linspace(0, 1, 27)[1:-1]
_CURVE = np.stack([(1 - _ALONG) ** 2, 2 * _ALONG * (1 - _ALONG), _ALONG**2], axis=1)
_N_SWEEPS = 8
# In units of the layout: somewhat more than half the height of a label.
_CLEARANCE = 0.25


def layered_layout(edges, name, *, steps=(1.5, 0.6)):
    """Positions from left to right, causes before effects.

    Parameters
    ----------
    edges : ndarray of shape (n_nodes, n_nodes), bool
        Acyclic graph, ``[i, j]`` for i -> j.
    name : str
        Of the argument, for the errors.
    steps : tuple of two floats, default=(1.5, 0.6)
        Distance of layers, and of neighbours in a layer.

    Returns
    -------
    positions : ndarray of shape (n_nodes, 2)
        All distinct; every edge points to the right.

    Raises
    ------
    ValueError
        If the graph has a cycle.

    Notes
    -----
    The layer of a node is the number of edges of the longest path to it. Within a layer
    nodes are sorted by the mean height of their neighbours, in sweeps to and fro, which
    leaves few edges crossing.
    """
    n_nodes = len(edges)
    layer = np.zeros(n_nodes, dtype=int)
    for node in topological_order(edges, name):
        layer[edges[node]] = np.maximum(layer[edges[node]], layer[node] + 1)
    if edges.any():
        # A node without edges would crowd the first layer: it goes to the last one.
        layer[~(edges.any(axis=0) | edges.any(axis=1))] = layer.max()
    members = [np.flatnonzero(layer == k) for k in range(layer.max() + 1)]
    height = np.zeros(n_nodes)
    for nodes in members:
        height[nodes] = _spread(len(nodes))
    linked = edges | edges.T
    for sweep in range(_N_SWEEPS):
        for k in range(len(members)) if sweep % 2 == 0 else range(len(members))[::-1]:
            nodes = members[k]
            before = layer < k if sweep % 2 == 0 else layer > k
            neighbours = linked[nodes] & before
            n_neighbours = neighbours.sum(axis=1)
            mean = neighbours @ height / np.maximum(n_neighbours, 1)
            mean = np.where(n_neighbours > 0, mean, height[nodes])
            members[k] = nodes[np.argsort(-mean, kind="stable")]
            height[members[k]] = _spread(len(nodes))
    # Layers of one node would all be at one height, and their edges on one line.
    height += np.where(layer % 2 == 0, 0.2, -0.2) * (len(members) > 2)
    return np.column_stack([steps[0] * layer, steps[1] * height])


def clear_curve(positions, i, j):
    """The flattest curve from i to j that keeps clear of the other nodes.

    Parameters
    ----------
    positions : ndarray of shape (n_nodes, 2)
    i, j : int

    Returns
    -------
    bend : float
        As matplotlib's connection style "arc3" takes it.
    curve : ndarray of shape (n_points, 2)
        Points on it.
    """
    others = np.delete(positions, [i, j], axis=0)
    start, end = positions[i], positions[j]
    along = end - start
    middle = (start + end) / 2 + _BENDS[:, None] * [along[1], -along[0]]
    controls = np.stack(np.broadcast_arrays(start, middle, end), axis=1)
    curves = _CURVE @ controls
    gaps = curves[:, :, None] - others
    # Labels are wide: a distance to the side counts for half.
    distance = np.hypot(gaps[..., 0] / 2, gaps[..., 1]).min(axis=(1, 2), initial=np.inf)
    clear = distance > _CLEARANCE
    chosen = np.argmax(clear) if clear.any() else np.argmax(distance)
    return float(_BENDS[chosen]), curves[chosen]


def _spread(n):
    """Heights of n neighbours around 0, the first on top."""
    return (n - 1) / 2 - np.arange(n)
