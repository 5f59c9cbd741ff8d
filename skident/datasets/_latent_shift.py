"""Linear causal latents whose mechanisms shift between environments."""

from itertools import combinations
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_array, check_random_state

from skident.datasets._environment_sizes import environment_sizes
from skident.datasets._noise_laws import generalised_normal
from skident.datasets._random_graphs import GRAPHS, random_dag
from skident.utils._graphs import topological_order
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_WEIGHTS, _VARIANCES, _SHIFTED = (0.25, 1.0), (2.0, 4.0), (6.0, 8.0)
_MIXING = 0.25
_EXPONENTS = {"laplace": 1.0, "gaussian": 2.0, "uniform": np.inf}
_SHIFTS = {"redraw", "weights", "variance", "add_edge", "reverse", "sign", "none"}
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "n_latent": [Interval(Integral, 1, None, closed="left")],
    "n_observed": [Interval(Integral, 1, None, closed="left"), None],
    "graph": [StrOptions(set(GRAPHS))],
    "degree": [Interval(Real, 0, None, closed="left")],
    "n_environments": [Interval(Integral, 1, None, closed="left")],
    "shift_fraction": [Interval(Real, 0, 1, closed="right")],
    "noise": [StrOptions({"distinct", *_EXPONENTS})],
    "shift": [StrOptions(_SHIFTS)],
    "mixing": [StrOptions({"random", "identity"}), "array-like"],
    "sources": ["array-like", None],
    "random_state": ["random_state"],
}


def make_latent_shift(
    n_samples=10000,
    n_latent=5,
    n_observed=None,
    *,
    graph="er",
    degree=2,
    n_environments=2,
    shift_fraction=0.15,
    noise="distinct",
    shift="redraw",
    mixing="random",
    sources=None,
    random_state=None,
):
    """Mixtures of linear causal latents, some of which shift between environments.

    In environment k the latents solve z = A(k) z + Ω(k)^(1/2) ε with independent noises
    ε of unit variance, and x = G z is observed with one mixing G for all [1]_. Row i of
    A(k) and entry i of Ω(k) are the mechanism of node i; the nodes whose mechanism
    differs between two environments are what can be found.

    Parameters
    ----------
    n_samples : int or array-like of shape (n_environments,), default=10000
        Rows of each environment.
    n_latent : int, default=5
        Number d of latents. Not used where ``sources`` are given.
    n_observed : int or None, default=None
        Number p >= d of features; None is 2 d for a random mixing.
    graph : {"er", "sf", "ba", "partition"}, default="er"
        Random graph in random order: Erdős-Rényi with a fixed number of edges;
        scale-free with hubs that are effects ("sf") or causes ("ba"); clusters.
    degree : float, default=2
        Edges per node; as many as d nodes can have at most.
    n_environments : int, default=2
        Number K of environments. The first one is the reference.
    shift_fraction : float, default=0.15
        Fraction of the nodes that shift in every other environment, drawn anew for
        each: ``max(1, round(shift_fraction * d))`` of those that the shift applies to.
    noise : {"distinct", "laplace", "gaussian", "uniform"}, default="distinct"
        Laws of the noises, at unit variance. "distinct" has the density proportional to
        exp(-abs(x)^(i + 1)) for node i = 0, 1, ...: Laplace, normal, ... With
        "gaussian" nothing is identified.
    shift : {"redraw", "weights", "variance", "add_edge", "reverse", "sign", "none"}, \
            default="redraw"
        What happens to a node that shifts, compared with the reference. "weights": the
        weights on all its parents are drawn from [6, 8]; "variance": its variance is;
        "redraw": both are. "add_edge": it gets one more parent, with a weight drawn as
        in the reference. "sign": the weights on its parents change their sign.
        "reverse": an edge is turned round with its weight, which shifts both its nodes,
        until enough nodes have shifted. "none": nothing shifts.
    mixing : {"random", "identity"} or array-like of shape (n_observed, n_latent), \
            default="random"
        G: entries uniform on [-0.25, 0.25], the identity (the latents are observed), or
        as given.
    sources : array-like of shape (n_rows, n_latent) or None, default=None
        Noises to draw from instead of ``noise``: each column is scaled to zero mean and
        unit variance, and resampled with replacement on its own, which makes the
        columns independent. Together with a ``mixing`` that was estimated they make
        semi-synthetic data.
    random_state : int, RandomState instance or None, default=None
        Seed. Graphs, weights and mixing do not depend on ``n_samples``.

    Returns
    -------
    data : Bunch
        With N rows in all and the fields

        X : ndarray of shape (N, n_observed)
            ``latents @ mixing.T``, environment after environment.
        environments : ndarray of int of shape (N,)
            Environment of each row, from 0.
        shifted : dict
            ``shifted[k, k2]``, for k < k2, is the sorted ndarray of the nodes whose
            mechanism differs between the environments k and k2.
        adjacency_matrices : ndarray of shape (n_environments, n_latent, n_latent)
            Weight of i -> j in ``[k, i, j]``: the transpose of A(k).
        noise_variances : ndarray of shape (n_environments, n_latent)
            The diagonals of Ω(k).
        mixing : ndarray of shape (n_observed, n_latent)
            G.
        sources : ndarray of shape (N, n_latent)
            The noises ε, of unit variance.
        latents : ndarray of shape (N, n_latent)
            z.
        unmixing : ndarray of shape (n_environments, n_latent, n_observed)
            M(k) = Ω(k)^(-1/2) (I - A(k)) G⁺, which turns rows of environment k into
            ``sources``.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range, there are fewer features than latents, the
        graph has no node that ``shift`` applies to, or a column of ``sources`` is
        constant.

    Notes
    -----
    Reference weights are uniform on ±[0.25, 1], reference variances on [2, 4].

    References
    ----------
    .. [1] Chen, Bello, Locatello, Aragam and Ravikumar, "Identifying general mechanism
       shifts in linear causal representations", NeurIPS 2024, section 5.

    Examples
    --------
    >>> from skident.datasets import make_latent_shift
    >>> data = make_latent_shift(1000, 10, random_state=0)
    >>> data.X.shape, data.sources.shape, len(data.shifted[0, 1])
    ((2000, 20), (2000, 10), 2)
    >>> second = data.environments == 1
    >>> np.allclose(data.X[second] @ data.unmixing[1].T, data.sources[second])
    True
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_latent_shift"
    )
    sizes = environment_sizes(n_samples, n_environments)
    pool = None if sources is None else _standardised(sources)
    d = n_latent if pool is None else pool.shape[1]
    rng = check_random_state(random_state)
    G = _mixing(mixing, n_observed, d, rng)
    A = np.empty((n_environments, d, d))
    variances = np.empty((n_environments, d))
    edges = random_dag(d, degree, graph, rng)
    signs = rng.choice([-1.0, 1.0], (d, d))
    A[:] = (edges * signs * rng.uniform(*_WEIGHTS, (d, d))).T
    variances[:] = rng.uniform(*_VARIANCES, d)
    if shift != "none":
        n_shifted = max(1, round(shift_fraction * d))
        for k in range(1, n_environments):
            _SHIFT_BY_NAME[shift](A[k], variances[k], n_shifted, rng)
    to_sources = (np.eye(d) - A) / np.sqrt(variances)[:, :, None]
    N = int(sizes.sum())
    environments = np.repeat(np.arange(n_environments), sizes)
    eps = np.empty((N, d))
    for j in range(d):
        if pool is not None:
            eps[:, j] = pool[rng.randint(len(pool), size=N), j]
        else:
            exponent = j + 1.0 if noise == "distinct" else _EXPONENTS[noise]
            eps[:, j] = generalised_normal(exponent, N, rng)
    latents = np.empty((N, d))
    stops = np.cumsum(sizes)
    for k, (start, stop) in enumerate(zip(stops - sizes, stops, strict=True)):
        total = np.linalg.solve(to_sources[k], np.eye(d))
        np.matmul(eps[start:stop], total.T, out=latents[start:stop])
    return Bunch(
        X=latents @ G.T,
        environments=environments,
        shifted=_differences(A, variances),
        adjacency_matrices=A.transpose(0, 2, 1).copy(),
        noise_variances=variances,
        mixing=G,
        sources=eps,
        latents=latents,
        unmixing=to_sources @ np.linalg.pinv(G),
        DESCR=(
            f"{d} causal latents on a random graph ({graph}, {edges.sum()} edges) in "
            f"{n_environments} environments, {len(G)} features; shift: {shift}; "
            f"noises: {'resampled' if pool is not None else noise}."
        ),
    )


def _standardised(sources):
    """Columns of zero mean and unit variance."""
    sources = check_array(
        sources, dtype=np.float64, ensure_min_samples=2, input_name="sources"
    )
    centred = sources - sources.mean(axis=0)
    std = centred.std(axis=0)
    # The rounding of the mean of a constant column stays below this.
    constant = std <= 1e-12 * np.abs(sources).max(axis=0)
    if constant.any():
        raise ValueError(
            f"sources has constant columns: {np.flatnonzero(constant).tolist()}."
        )
    return centred / std


def _mixing(mixing, n_observed, d, rng):
    """G, checked against the numbers of latents and of features."""
    if isinstance(mixing, str):
        wanted = d if mixing == "identity" else max(d, n_observed or 2 * d)
        if n_observed not in (None, wanted):
            raise ValueError(
                f"n_observed must be {'at least ' if mixing == 'random' else ''}the "
                f"number of latents, {d}, for mixing={mixing!r}, got {n_observed}."
            )
        if mixing == "identity":
            return np.eye(d)
        return rng.uniform(-_MIXING, _MIXING, (wanted, d))
    G = check_array(mixing, dtype=np.float64, copy=True, input_name="mixing")
    if G.shape[1] != d or len(G) < d or n_observed not in (None, len(G)):
        raise ValueError(
            "mixing must be of shape (n_observed, n_latent) with n_latent = "
            f"{d} <= n_observed{'' if n_observed is None else f' = {n_observed}'}, "
            f"got shape {G.shape}."
        )
    if np.linalg.matrix_rank(G) < d:
        raise ValueError(
            f"mixing must have full column rank {d}, got rank "
            f"{np.linalg.matrix_rank(G)}."
        )
    return G


def _differences(A, variances):
    """Nodes whose mechanism differs, for every pair of environments."""
    mechanisms = np.concatenate([A, variances[:, :, None]], axis=2)
    return {
        (k, k2): np.flatnonzero((mechanisms[k] != mechanisms[k2]).any(axis=1))
        for k, k2 in combinations(range(len(A)), 2)
    }


def _choose(eligible, n_shifted, need, rng):
    if len(eligible) == 0:
        raise ValueError(f"The graph has no node {need}; draw one with another degree.")
    return rng.choice(eligible, min(n_shifted, len(eligible)), replace=False)


def _effects(A):
    return np.flatnonzero(A.any(axis=1))


# Each changes A, whose row i holds the weights of the parents of i, and the variances
# in place.
def _shift_redraw(A, variances, n_shifted, rng):
    for i in _choose(np.arange(len(A)), n_shifted, "", rng):
        A[i] = np.where(A[i] != 0, rng.uniform(*_SHIFTED, len(A)), 0.0)
        variances[i] = rng.uniform(*_SHIFTED)


def _shift_weights(A, variances, n_shifted, rng):
    for i in _choose(_effects(A), n_shifted, "that has parents", rng):
        A[i] = np.where(A[i] != 0, rng.uniform(*_SHIFTED, len(A)), 0.0)


def _shift_variance(A, variances, n_shifted, rng):
    for i in _choose(np.arange(len(A)), n_shifted, "", rng):
        variances[i] = rng.uniform(*_SHIFTED)


def _shift_sign(A, variances, n_shifted, rng):
    for i in _choose(_effects(A), n_shifted, "that has parents", rng):
        A[i] = np.where(A[i] != 0, -A[i], 0.0)


def _shift_add_edge(A, variances, n_shifted, rng):
    order = topological_order(A.T, "adjacency_matrix")
    # Any earlier node keeps the order, however many edges are added.
    earlier = {i: order[:position] for position, i in enumerate(order)}
    new = {i: [j for j in earlier[i] if A[i, j] == 0] for i in range(len(A))}
    eligible = [i for i in new if new[i]]
    for i in _choose(eligible, n_shifted, "that could get another parent", rng):
        A[i, rng.choice(new[i])] = rng.choice([-1.0, 1.0]) * rng.uniform(*_WEIGHTS)


def _shift_reverse(A, variances, n_shifted, rng):
    shifted = set()
    while len(shifted) < n_shifted:
        edges = [
            (i, j)
            for i, j in np.argwhere(A)
            if not shifted & {i, j} and not _has_detour(A, j, i)
        ]
        if not edges:
            break
        i, j = edges[rng.randint(len(edges))]
        A[j, i], A[i, j] = A[i, j], 0.0
        shifted |= {i, j}
    if not shifted:
        raise ValueError("The graph has no edge to reverse; draw one with more edges.")


def _has_detour(A, cause, effect):
    """Whether a path of two or more edges leads from the cause to the effect."""
    reached = A[:, cause] != 0
    reached[effect] = False
    for _ in range(len(A)):
        reached = reached | (A[:, reached] != 0).any(axis=1)
    return bool(reached[effect])


_SHIFT_BY_NAME = {
    "redraw": _shift_redraw,
    "weights": _shift_weights,
    "variance": _shift_variance,
    "sign": _shift_sign,
    "add_edge": _shift_add_edge,
    "reverse": _shift_reverse,
}
