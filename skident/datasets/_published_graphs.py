"""Causal graphs from the literature, to put mechanisms on."""

import numpy as np
from sklearn.utils import Bunch

from skident.utils._sklearn import StrOptions, validate_parameter_constraints

_GRAPHS = {
    "asia": {
        "names": ("asia", "tub", "smoke", "lung", "bronc", "either", "xray", "dysp"),
        "parents": {
            "tub": ("asia",),
            "lung": ("smoke",),
            "bronc": ("smoke",),
            "either": ("tub", "lung"),
            "xray": ("either",),
            "dysp": ("either", "bronc"),
        },
        "about": (
            'The chest clinic, also called "Asia": a visit to Asia, tuberculosis, '
            "smoking, lung cancer, bronchitis, either of the first two diseases, a "
            "positive X-ray and shortness of breath. An expert system made up by its "
            "authors, with binary variables."
        ),
        "citation": (
            "S. L. Lauritzen and D. J. Spiegelhalter, Local computations with "
            "probabilities on graphical structures and their application to expert "
            "systems, Journal of the Royal Statistical Society B 50(2), 1988, 157-224, "
            "Figure 2."
        ),
    },
    "sachs": {
        "names": (
            "Raf",
            "Mek",
            "Plcg",
            "PIP2",
            "PIP3",
            "Erk",
            "Akt",
            "PKA",
            "PKC",
            "P38",
            "Jnk",
        ),
        "parents": {
            "Raf": ("PKA", "PKC"),
            "Mek": ("Raf", "PKA", "PKC"),
            "PIP2": ("Plcg", "PIP3"),
            "PIP3": ("Plcg",),
            "Erk": ("Mek", "PKA"),
            "Akt": ("Erk", "PKA"),
            "PKA": ("PKC",),
            "P38": ("PKA", "PKC"),
            "Jnk": ("PKA", "PKC"),
        },
        "about": (
            "Proteins and lipids of the signalling of human T cells, measured one cell "
            "at a time, in the order of the published table. The graph is the one that "
            "the authors validated, with 17 arcs, as the Bayesian network repository "
            "of the R package bnlearn gives it. The signalling is known to have "
            "feedback and hidden causes: take it as a graph for simulations, not as "
            "the truth about those measurements."
        ),
        "citation": (
            "K. Sachs, O. Perez, D. Pe'er, D. A. Lauffenburger and G. P. Nolan, Causal "
            "protein-signaling networks derived from multiparameter single-cell data, "
            "Science 308, 2005, 523-529; arcs as in M. Scutari, Learning Bayesian "
            "networks with the bnlearn R package, Journal of Statistical Software "
            "35(3), 2010."
        ),
    },
}


def load_published_graph(name):
    """Give a causal graph of the literature (directed, acyclic).

    Parameters
    ----------
    name : {"asia", "sachs"}
        "asia" is the chest clinic, 8 nodes and 8 edges; "sachs" the signalling of T
        cells, 11 nodes and 17 edges.

    Returns
    -------
    graph : :class:`~sklearn.utils.Bunch`
        adjacency_matrix : ndarray of int of shape (n_nodes, n_nodes)
            1 in ``[i, j]`` for i -> j.
        names : ndarray of str of shape (n_nodes,)
            Names of the nodes.
        DESCR, citation : str
            What it is, and what to cite.

    Raises
    ------
    ValueError
        If there is no graph of that name.

    See Also
    --------
    make_multi_env_scm : Draws mechanisms and data for a given graph.

    Examples
    --------
    >>> from skident.datasets import load_published_graph, make_multi_env_scm
    >>> graph = load_published_graph("asia")
    >>> graph.names[graph.adjacency_matrix[:, 7] == 1].tolist()
    ['bronc', 'either']
    >>> data = make_multi_env_scm(
    ...     100, kind="general", adjacency_matrix=graph.adjacency_matrix, random_state=0
    ... )
    >>> data.X.shape
    (300, 8)
    """
    validate_parameter_constraints(
        {"name": [StrOptions(set(_GRAPHS))]},
        {"name": name},
        caller_name="load_published_graph",
    )
    graph = _GRAPHS[name]
    names = graph["names"]
    adjacency = np.zeros((len(names), len(names)), dtype=int)
    for effect, causes in graph["parents"].items():
        for cause in causes:
            adjacency[names.index(cause), names.index(effect)] = 1
    return Bunch(
        adjacency_matrix=adjacency,
        names=np.array(names),
        DESCR=f"{graph['about']} {len(names)} nodes, {adjacency.sum()} edges.",
        citation=graph["citation"],
    )
