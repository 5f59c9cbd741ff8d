"""The contenders of bench_two_env.py: each gives an order of the nodes and a graph.

Peers get columns on one scale, rows of all environments pooled, and the labels of the
environments where they take them. What gives an order alone, by variances, by LiNGAM or
by chance, gets the edges of skident's splines along it.
"""

import importlib
import os
import warnings

import numpy as np

from skident.discovery import TwoEnvCausalDiscovery
from skident.discovery._edge_pruning import prune_order

# Level of the peers' tests; that of the papers' tables and of causal-learn.
ALPHA = 0.05


def blocks_of(X, environments):
    """Rows of each environment, the base first."""
    return [X[environments == e] for e in np.unique(environments)]


def _ours(**settings):
    def run(X, environments, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = TwoEnvCausalDiscovery(
                mechanism=None, random_state=seed, **settings
            ).fit(X, environments=environments)
        return model.causal_order_, model.adjacency_matrix_

    return run


def _pruned(order, X, environments):
    return order, prune_order(blocks_of(X, environments), order, rng=0)[0]


def by_variance(X, environments, seed):
    """Nodes by their variance in the base."""
    return _pruned(np.argsort(X[environments == 0].var(axis=0)), X, environments)


def at_random(X, environments, seed):
    """A random order."""
    order = np.random.default_rng(seed).permutation(X.shape[1])
    return _pruned(order, X, environments)


def _lingam(X, environments, seed):
    from causallearn.search.FCMBased.lingam import MultiGroupDirectLiNGAM

    model = MultiGroupDirectLiNGAM(random_state=seed)
    model.fit(blocks_of(X, environments))
    return _pruned(np.array(model.causal_order_), X, environments)


def _pc(X, environments, seed):
    from causallearn.search.ConstraintBased.PC import pc

    found = pc(X, alpha=ALPHA, show_progress=False)
    return an_extension(found.G.graph, seed)


def _cdnod(X, environments, seed):
    from causallearn.search.ConstraintBased.CDNOD import cdnod

    labels = environments[:, None].astype(float)
    found = cdnod(X, labels, alpha=ALPHA, show_progress=False)
    # The environment is its last node.
    return an_extension(found.G.graph[:-1, :-1], seed)


def _ges(X, environments, seed):
    from causallearn.search.ScoreBased.GES import ges

    return an_extension(ges(X)["G"].graph, seed)


def an_extension(ends, seed):
    """An order and a directed acyclic graph out of an equivalence class.

    Parameters
    ----------
    ends : ndarray of shape (d, d)
        As in causal-learn: -1 at [i, j] and 1 at [j, i] for i -> j, -1 at both for an
        edge that is not oriented, 1 at both for one that is oriented both ways.
    seed : int
        Nodes that could stand at the same place are drawn.

    Returns
    -------
    order : ndarray of shape (d,)
    adjacency : ndarray of shape (d, d), int
    """
    d = len(ends)
    edges = ends != 0
    directed = edges & (ends == -1) & (ends.T == 1)
    loose = edges & ~directed & ~directed.T
    remaining = list(np.random.default_rng(seed).permutation(d))
    order = []
    while remaining:
        # Dor and Tarsi: a sink whose loose neighbours know all its neighbours. Where a
        # contradictory graph has none, the one with fewest effects.
        def unfit(node):
            others = [k for k in remaining if k != node]
            around = [k for k in others if edges[node, k]]
            gaps = sum(
                not edges[a, b]
                for a in others
                if loose[node, a]
                for b in around
                if a != b
            )
            return directed[node, others].sum(), gaps

        sink = min(remaining, key=unfit)
        remaining.remove(sink)
        order.insert(0, int(sink))
    place = np.argsort(order)
    adjacency = edges & (place[:, None] < place)
    return np.array(order), adjacency.astype(int)


OURS = {
    "skident": _ours(),
    "skident, closed form": _ours(score_estimator="gaussian"),
    "skident, Stein scores": _ours(score_estimator="stein"),
    "skident, Hessians": _ours(method="hessian"),
}
BASELINES = {"variance sorting": by_variance, "random": at_random}
PEERS = {"PC": _pc, "GES": _ges, "CD-NOD": _cdnod, "MultiGroup LiNGAM": _lingam}


def peers():
    """Contenders of causal-learn, where it is installed."""
    # Its loops draw progress bars, of which one cannot be turned off otherwise.
    os.environ["TQDM_DISABLE"] = "1"
    try:
        # Imported here, so that it is not counted with the seconds of the first call.
        for module in ("ConstraintBased.CDNOD", "ScoreBased.GES", "FCMBased.lingam"):
            importlib.import_module(f"causallearn.search.{module}")
    except ImportError:
        return {}
    return PEERS
