"""One structural causal model, seen under noises of different strength."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.datasets._environment_sizes import environment_sizes
from skident.datasets._mechanism_kinds import draw_mechanism
from skident.datasets._noise_laws import noise_sampler
from skident.datasets._random_graphs import GRAPHS, random_dag
from skident.datasets._structural_model import StructuralModel
from skident.utils._graphs import check_adjacency
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_PAIRS = {"bivariate_i", "bivariate_ii", "bivariate_iii"}
_KINDS = {"linear", "additive", "general", "pnl", "lsnm", "neural", "gp"}
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "n_nodes": [Interval(Integral, 1, None, closed="left")],
    "kind": [StrOptions(_KINDS | _PAIRS)],
    "n_environments": [Interval(Integral, 1, None, closed="left")],
    "edges_per_node": [Interval(Real, 0, None, closed="left")],
    "graph": [StrOptions(set(GRAPHS))],
    "adjacency_matrix": ["array-like", None],
    "noise": [StrOptions({"gaussian", "gamma", "gumbel", "uniform", "mlp"})],
    "gamma_shape": [Interval(Real, 0, None, closed="neither")],
    "scale_range": ["array-like"],
    "noise_scales": ["array-like", None],
    "rescale": ["boolean"],
    "random_state": ["random_state"],
}


def make_multi_env_scm(
    n_samples=2000,
    n_nodes=5,
    *,
    kind="additive",
    n_environments=3,
    edges_per_node=1,
    graph="er",
    adjacency_matrix=None,
    noise="gaussian",
    gamma_shape=2.5,
    scale_range=(1.5, 4),
    noise_scales=None,
    rescale=True,
    random_state=None,
):
    """Data of one causal model in environments that differ in the size of the noises.

    Node j is x_j = F_j(parents, s_j), with mechanisms F_j that are increasing in their
    noise and the same in every environment. In environment e the noise s_j is
    multiplied by λ_j(e); the first environment is the base, with all λ equal to 1. From
    a base and two others the graph is identified, even where all is linear and
    Gaussian [1]_ [2]_.

    Parameters
    ----------
    n_samples : int or array-like of shape (n_environments,), default=2000
        Rows of each environment.
    n_nodes : int, default=5
        Number of nodes. Not used where ``adjacency_matrix`` is given.
    kind : {"linear", "additive", "general", "pnl", "lsnm", "neural", "gp", \
            "bivariate_i", "bivariate_ii", "bivariate_iii"}, default="additive"
        The mechanisms, see Notes. The bivariate ones are for two nodes.
    n_environments : int, default=3
        Number K of environments, the base included.
    edges_per_node : float, default=1
        Edges per node of the random graph; at least two edges, and as many as there
        can be at most.
    graph : {"er", "sf", "ba", "partition"}, default="er"
        Random graph in random order: Erdős-Rényi with a fixed number of edges;
        scale-free with hubs that are effects ("sf") or causes ("ba"); clusters.
    adjacency_matrix : array-like of shape (n_nodes, n_nodes) or None, default=None
        Graph to take instead of a random one: non-zero in ``[i, j]`` for i -> j.
    noise : {"gaussian", "gamma", "gumbel", "uniform", "mlp"}, default="gaussian"
        Law of the noises, of zero mean. "mlp" is a normal variable through a random
        network, drawn for each node.
    gamma_shape : float, default=2.5
        Shape of the gamma law; 1 is exponential, larger ones come closer to normal.
    scale_range : tuple of two floats, default=(1.5, 4)
        Bounds a <= b, with a >= 1, of the change of the noises: log λ is uniform on
        ±[log a, log b] for every node and environment but the base.
    noise_scales : array-like of shape (n_environments, n_nodes) or None, default=None
        λ instead of random ones; positive, with ones in the first row.
    rescale : bool, default=True
        Multiply each column, in all environments alike, by a factor that makes its
        standard deviation over all rows uniform on [0.5, 2]. Without it variances grow
        along the graph, and sorting the nodes by variance finds much of the order.
    random_state : int, RandomState instance or None, default=None
        Seed. The graph, the mechanisms and the scales do not depend on ``n_samples``.

    Returns
    -------
    data : Bunch
        With N rows in all and the fields

        X : ndarray of shape (N, n_nodes)
            The variables, environment after environment.
        environments : ndarray of int of shape (N,)
            Environment of each row, from 0, the base.
        adjacency_matrix : ndarray of int of shape (n_nodes, n_nodes)
            1 in ``[i, j]`` for i -> j.
        weights : ndarray of shape (n_nodes, n_nodes) or None
            For ``kind="linear"`` the slope of x_j in x_i, in the units of ``X``.
        causal_order : ndarray of int of shape (n_nodes,)
            The nodes, causes before effects.
        noise_std : ndarray of shape (n_nodes,)
            Standard deviations of the noises in the base, uniform on [0.5, 1.5].
        noise_scales : ndarray of shape (n_environments, n_nodes)
            λ.
        noises : ndarray of shape (N, n_nodes)
            s.
        scm : object
            The model: ``generate(noises, interventions=None)`` gives rows of ``X``,
            ``abduct(X)`` their noises, ``counterfactual(X, interventions)`` what they
            would have been; ``adjacency_matrix``, ``causal_order`` and
            ``column_scales``, the factors of ``rescale``. Interventions are a dict
            from nodes to values, each a number or of shape (n_samples,). It pickles.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range, the graph has a cycle, a bivariate kind is
        asked for other than two nodes, or there is but one row to rescale by.

    Notes
    -----
    Nodes without parents are their noise. The others, before columns are rescaled,
    with weights w of random sign, abs(w) uniform on [0.5, 1], and
    g = Σ w_k (1.5 tanh x_k + 0.3 x_k):

    - "linear": Σ w_k x_k + s, abs(w) uniform on [0.05, 1];
    - "additive": g + s;
    - "general": g + s exp(0.3 tanh(w·x)) + 0.1 s³ sigmoid(g);
    - "pnl": 1.5 asinh(g + s);
    - "lsnm": g + s exp(0.6 tanh(v·x)), v drawn as w;
    - "neural": s + a network with one hidden layer of ten units, PReLU and layer
      normalisation, and "gp": s + a Gaussian process of unit variance and kernel
      exp(-abs(x - x')²), from 200 random Fourier features; both after [3]_. The latter
      is too wiggly to be found from a few thousand rows;
    - "bivariate_i": p + s exp(0.25 tanh p) + 0.15 s³ sigmoid(p);
      "bivariate_ii": sinh(0.7 (s + 0.8 tanh p)) + 0.5 p;
      "bivariate_iii": 1.5 tanh p + softplus(s + 0.5 p) - softplus(-s + 0.2 p), with
      p the parent: not additive, not of location-scale form, not post-nonlinear.

    All are inverted in the noise in closed form, so noises and counterfactuals are
    exact to rounding.

    References
    ----------
    .. [1] Montagna and Locatello, "Causal learning with the invariance principle",
       arXiv 2605.13589, 2026.
    .. [2] Montagna, "On the identifiability of causal graphs with the invariance
       principle", ICLR 2026.
    .. [3] Montagna et al., "Assumption violations in causal discovery and the
       robustness of score matching", NeurIPS 2023.

    Examples
    --------
    >>> from skident.datasets import make_multi_env_scm
    >>> data = make_multi_env_scm(500, 4, kind="general", random_state=0)
    >>> data.X.shape, int(data.adjacency_matrix.sum())
    ((1500, 4), 4)
    >>> bool(np.allclose(data.scm.abduct(data.X), data.noises))
    True
    >>> cause = data.causal_order[0]
    >>> bool(data.scm.counterfactual(data.X, {cause: 0.0})[:, cause].any())
    False
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_multi_env_scm"
    )
    sizes = environment_sizes(n_samples, n_environments)
    if rescale and sizes.sum() == 1:
        raise ValueError("rescale=True needs at least two rows, got n_samples = 1.")
    rng = check_random_state(random_state)
    if adjacency_matrix is None:
        edges = random_dag(n_nodes, edges_per_node, graph, rng)
    else:
        given = check_adjacency(adjacency_matrix, "adjacency_matrix")
        edges = (given != 0).astype(int)
    scm = StructuralModel(edges, [], np.ones(len(edges)))
    d = len(edges)
    if kind in _PAIRS and d != 2:
        raise ValueError(f"kind={kind!r} is for n_nodes = 2, got {d}.")
    scm.mechanisms = [draw_mechanism(kind, n, rng) for n in edges.sum(axis=0)]
    std = rng.uniform(0.5, 1.5, d)
    scales = _noise_scales(noise_scales, scale_range, n_environments, d, rng)
    samplers = [noise_sampler(noise, gamma_shape, rng) for _ in range(d)]
    targets = rng.uniform(0.5, 2.0, d)
    environments = np.repeat(np.arange(n_environments), sizes)
    noises = np.column_stack([draw(len(environments), rng) for draw in samplers])
    noises *= std
    noises *= scales[environments]
    X = scm.generate(noises)
    if rescale:
        scm.column_scales = targets / X.std(axis=0)
        X = X * scm.column_scales
    return Bunch(
        X=X,
        environments=environments,
        adjacency_matrix=edges,
        weights=_weights(scm) if kind == "linear" else None,
        causal_order=scm.causal_order,
        noise_std=std,
        noise_scales=scales,
        noises=noises,
        scm=scm,
        DESCR=(
            f"{d} nodes, {edges.sum()} edges "
            f"({'given' if adjacency_matrix is not None else graph}), {kind} "
            f"mechanisms and {noise} noises in {n_environments} environments that "
            "differ in the size of the noises alone; columns "
            f"{'rescaled' if rescale else 'as they come'}."
        ),
    )


def _noise_scales(given, scale_range, n_environments, d, rng):
    """λ of every environment and node, the base first."""
    bounds = np.asarray(scale_range)
    if bounds.shape != (2,) or not 1 <= bounds[0] <= bounds[1] < np.inf:
        raise ValueError(
            f"scale_range must be two finite numbers, 1 <= a <= b, got {scale_range!r}."
        )
    if given is None:
        size = rng.uniform(*np.log(bounds), (n_environments, d))
        scales = np.exp(rng.choice([-1.0, 1.0], size.shape) * size)
        scales[0] = 1.0
        return scales
    scales = np.array(given, dtype=np.float64)
    if scales.shape != (n_environments, d):
        raise ValueError(
            f"noise_scales must be of shape ({n_environments}, {d}), got shape "
            f"{scales.shape}."
        )
    if not (np.isfinite(scales).all() and scales.min() > 0 and (scales[0] == 1).all()):
        raise ValueError(
            "noise_scales must be positive and finite, with ones in the first row."
        )
    return scales


def _weights(scm):
    """Slopes of a linear model, in the units of the columns."""
    weights = np.zeros(scm.adjacency_matrix.shape)
    for j, mechanism in enumerate(scm.mechanisms):
        parents = scm.parents(j)
        if len(parents):
            raw = mechanism.mean.weights
            weights[parents, j] = raw * scm.column_scales[j]
            weights[parents, j] /= scm.column_scales[parents]
    return weights
