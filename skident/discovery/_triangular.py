"""What a fitted triangular model answers: noises, rows, counterfactuals, likelihoods.

A model is its mechanisms, its graph ``adjacency`` (entry [i, j] not 0 for i -> j) and
an ``order`` of the nodes in which parents come first. Interventions are a dict from
the index of a node to the value it is set to, a scalar or one for each row.
"""

import warnings
from collections.abc import Mapping
from numbers import Integral

import numpy as np

from skident.exceptions import IdentifiabilityWarning


def abduct(mechanisms, adjacency, X):
    """Noises behind rows.

    Parameters
    ----------
    mechanisms : list of d mechanisms
    adjacency : ndarray of shape (d, d)
    X : ndarray of shape (n, d), float64

    Returns
    -------
    S : ndarray of shape (n, d)
        In units of the base environment.
    """
    S = np.empty(X.shape)
    for j, mechanism in enumerate(mechanisms):
        S[:, j] = mechanism.noise(X[:, j], X[:, np.flatnonzero(adjacency[:, j])])
    return S


def generate(mechanisms, adjacency, order, S, interventions=None):
    """Rows (n, d) that noises (n, d) make, under interventions."""
    interventions = interventions or {}
    X = np.empty(S.shape)
    for j in order:
        if j in interventions:
            X[:, j] = interventions[j]
        else:
            parents = X[:, np.flatnonzero(adjacency[:, j])]
            X[:, j] = mechanisms[j].value(S[:, j], parents)
    return X


def counterfactual(mechanisms, adjacency, order, X, interventions):
    """What rows would have been, had some nodes been set.

    Parameters
    ----------
    mechanisms : list of d mechanisms
    adjacency : ndarray of shape (d, d)
    order : sequence of int
    X : ndarray of shape (n, d), float64
    interventions : dict of int to float or ndarray of shape (n,)

    Returns
    -------
    Y : ndarray of shape (n, d)
        Nodes without an intervened ancestor are those of ``X``, bit for bit.
    """
    Y = X.copy()
    touched = set()
    for j in order:
        if j in interventions:
            Y[:, j] = interventions[j]
            touched.add(j)
            continue
        parents = np.flatnonzero(adjacency[:, j])
        if touched.isdisjoint(parents):
            continue
        noise = mechanisms[j].noise(X[:, j], X[:, parents])
        Y[:, j] = mechanisms[j].value(noise, Y[:, parents])
        touched.add(j)
    return Y


def sample(mechanisms, adjacency, order, n, noise_scales, rng, interventions=None):
    """New rows.

    Parameters
    ----------
    mechanisms : list of d mechanisms
    adjacency : ndarray of shape (d, d)
    order : sequence of int
    n : int
    noise_scales : ndarray of shape (d,)
        Of the environment to draw from; ones for the base.
    rng : numpy.random.Generator
    interventions : dict or None, default=None

    Returns
    -------
    X : ndarray of shape (n, d)
    """
    S = np.column_stack([mechanism.law.draw(n, rng) for mechanism in mechanisms])
    return generate(mechanisms, adjacency, order, S * noise_scales, interventions)


def log_likelihood(mechanisms, adjacency, X, noise_scales):
    """Log-likelihood of each row.

    Parameters
    ----------
    mechanisms : list of d mechanisms
    adjacency : ndarray of shape (d, d)
    X : ndarray of shape (n, d), float64
    noise_scales : ndarray of shape (d,) or (n, d)
        Of the rows' environments.

    Returns
    -------
    values : ndarray of shape (n,)
        In nats.
    """
    noise_scales = np.broadcast_to(noise_scales, X.shape)
    total = np.zeros(len(X))
    for j, mechanism in enumerate(mechanisms):
        parents, scale = X[:, np.flatnonzero(adjacency[:, j])], noise_scales[:, j]
        s = mechanism.noise(X[:, j], parents) / scale
        total += mechanism.log_density(s) - np.log(scale)
        total += mechanism.log_slope(X[:, j], parents)
    return total


def reconstruct(mechanisms, adjacency, X):
    """Each node (n, d) from its parents in ``X``, at the median of its noise."""
    made = np.empty(X.shape)
    for j, mechanism in enumerate(mechanisms):
        parents = X[:, np.flatnonzero(adjacency[:, j])]
        made[:, j] = mechanism.value(np.full(len(X), mechanism.law.median), parents)
    return made


def check_interventions(interventions, names, n_nodes, n_samples):
    """Values to set, by the number of the node.

    Parameters
    ----------
    interventions : dict
        Of names or numbers of nodes to numbers or arrays (n_samples,).
    names : list of str
        Names of the nodes; empty if they have none.
    n_nodes : int
    n_samples : int

    Returns
    -------
    values : dict of int to ndarray of shape () or (n_samples,)

    Raises
    ------
    TypeError
        If ``interventions`` is no dict.
    ValueError
        If a node is unknown or set twice, or a value is no finite number.
    """
    if not isinstance(interventions, Mapping):
        raise TypeError(
            "interventions must be a dict of nodes to values, got "
            f"{type(interventions).__name__}."
        )
    values = {}
    for node, value in interventions.items():
        if isinstance(node, str) and node in names:
            j = names.index(node)
        elif isinstance(node, Integral) and 0 <= node < n_nodes:
            j = int(node)
        else:
            raise ValueError(
                f"interventions must be on one of the {n_nodes} nodes "
                f"{names or 'by number'}, got {node!r}."
            )
        if j in values:
            raise ValueError(
                f"interventions must set a node once, got {node!r} by its name and by "
                "its number."
            )
        try:
            number = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            number = np.full((), np.nan)
        if number.shape not in ((), (n_samples,)) or not np.isfinite(number).all():
            raise ValueError(
                f"interventions[{node!r}] must be finite, a number or of shape "
                f"({n_samples},), got {value!r:.60}."
            )
        values[j] = number
    return values


def warn_outside(values, ranges, names):
    """Warn of interventions beyond the rows of the fit.

    Parameters
    ----------
    values : dict of int to ndarray of shape () or (n_samples,)
    ranges : ndarray of shape (2, d)
        Smallest and largest value of each node in these rows.
    names : list of str
        Names of the nodes; empty if they have none.
    """
    for j, value in values.items():
        low, high = ranges[:, j]
        # Rows may have been rounded to float32 in between.
        slack = np.finfo(np.float32).eps * max(abs(low), abs(high))
        beyond = (value < low - slack) | (value > high + slack)
        if beyond.any():
            if value.ndim:
                worst = value[np.argmax(np.maximum(low - value, value - high))]
                which = f"reaches {worst:.4g}, beyond in {beyond.sum()} rows"
            else:
                which = f"is {value:.4g}"
            warnings.warn(
                f"interventions[{names[j] if names else j!r}] {which}: the rows of fit "
                f"go from {low:.4g} to {high:.4g}, and mechanisms are not known "
                "elsewhere. Answers there are extrapolations.",
                IdentifiabilityWarning,
                stacklevel=4,
            )
