"""Scores of a set of shifted nodes that was found, against the true one."""

import numpy as np

from skident.metrics._graphs import overlap_scores


def shifted_node_scores(true, found):
    """Precision, recall and F1 of the nodes that were found to be shifted.

    Parameters
    ----------
    true : array-like of shape (n_true,), int
        Indices of the nodes that shifted; may be empty.
    found : array-like of shape (n_found,), int
        Indices of the nodes that were found, in the same numbering; may be empty.

    Returns
    -------
    scores : dict of float
        ``precision``, the share of found nodes that shifted; ``recall``, the share of
        shifted nodes that were found; ``f1``, their harmonic mean. All in [0, 1].

    Raises
    ------
    ValueError
        If an argument is not one-dimensional or holds anything but indices; a mask is
        refused, ``np.flatnonzero`` gives its indices.

    Notes
    -----
    Where nothing was found, ``precision`` is 1, as no finding is false; where nothing
    shifted, ``recall`` is 1, as nothing was missed. ``f1`` is then 1 only if both hold:
    0 for any finding where nothing shifted.

    Latent nodes are found in an order of their own. Bring both sets to one numbering
    first, through the true unmixing or the true noises: see
    :func:`~skident.metrics.match_atoms` and :func:`~skident.metrics.match_components`.

    References
    ----------
    .. [1] Chen, Bello, Locatello, Aragam and Ravikumar, "Identifying general mechanism
       shifts in linear causal representations", NeurIPS 2024, arXiv:2410.24059.

    Examples
    --------
    >>> from skident.metrics import shifted_node_scores
    >>> shifted_node_scores([1, 4], [4])
    {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666}
    """
    true, found = _as_nodes(true, "true"), _as_nodes(found, "found")
    return overlap_scores(len(true & found), len(true), len(found))


def _as_nodes(nodes, name):
    nodes = np.asarray(nodes)
    if nodes.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, node indices, got shape {nodes.shape}."
        )
    # An empty list is of dtype float64.
    if nodes.size and (nodes.dtype.kind not in "iu" or nodes.min() < 0):
        raise ValueError(
            f"{name} must be node indices, integers from 0, got {nodes.tolist()} of "
            f"dtype {nodes.dtype}."
        )
    return set(nodes.tolist())
