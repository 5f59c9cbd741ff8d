"""Mechanisms of a causal graph: what each node makes of its parents and its noise.

A mechanism has ``noise(x, parents)``, ``value(s, parents)`` which undoes it,
``log_slope(x, parents)``, ``log_density(s)`` and a ``law`` of its noise in the base
environment, with ``median`` and ``draw(n, rng)``.
"""

import numpy as np
from joblib import Parallel, delayed

from skident.discovery._location_scale import fit_location_scale
from skident.discovery._quantile_map import fit_quantile

_FITS = {"location_scale": fit_location_scale, "quantile": fit_quantile}
KINDS = (*_FITS, "monotone")


def fit_mechanisms(
    blocks,
    adjacency,
    *,
    kind="location_scale",
    max_kernel_samples=2000,
    max_epochs=300,
    batch_size=256,
    learning_rate=1e-3,
    weight_decay=1e-4,
    tol=1e-4,
    patience=30,
    validation_fraction=0.2,
    device="cpu",
    net_params=None,
    verbose=0,
    epochs=None,
    n_jobs=None,
    rng=None,
):
    """Fit the mechanism of every node, shared by all environments.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, d), float64
        Rows of each environment, the base first.
    adjacency : ndarray of shape (d, d)
        Entry [i, j] is not 0 if i is a parent of j.
    kind : {"location_scale", "quantile", "monotone"}, default="location_scale"
    max_kernel_samples : int, default=2000
        Rows an environment for the first two kinds; more are drawn from.
    max_epochs, batch_size, learning_rate, weight_decay, tol, patience, \
            validation_fraction, device, net_params, verbose, epochs
        Of the training of "monotone". ``tol`` is the fall of a node's loss on the rows
        held out, in nats, without which ``patience`` epochs end training.
    n_jobs : int or None, default=None
        Nodes fitted at a time, for the first two kinds.
    rng : numpy.random.Generator or None, default=None

    Returns
    -------
    mechanisms : list of d mechanisms
    noise_scales : ndarray of shape (n_environments, d)
        Scale of each noise in each environment, 1 in the base.
    history : dict of ndarray
        Losses by epoch of "monotone", else empty.
    """
    rng = np.random.default_rng(rng)
    n_environments, d = len(blocks), blocks[0].shape[1]
    if kind == "monotone":
        from skident.discovery._monotone_net import fit_monotone

        options = {
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "tol": tol,
            "patience": patience,
            "validation_fraction": validation_fraction,
            "device": device,
            "net_params": net_params,
            "verbose": verbose,
            "epochs": epochs,
        }
        X, codes = stack(blocks)
        return fit_monotone(
            X, codes, np.asarray(adjacency), n_environments, options=options, rng=rng
        )
    blocks = [
        block
        if len(block) <= max_kernel_samples
        else block[np.sort(rng.permutation(len(block))[:max_kernel_samples])]
        for block in blocks
    ]
    X, codes = stack(blocks)
    seeds = rng.integers(np.iinfo(np.int64).max, size=d)
    found = Parallel(n_jobs=n_jobs)(
        delayed(_fit_node)(kind, X, codes, n_environments, adjacency, j, seeds[j])
        for j in range(d)
    )
    scales = np.column_stack([scale for _, scale in found])
    return [mechanism for mechanism, _ in found], scales, {}


def _fit_node(kind, X, codes, n_environments, adjacency, j, seed):
    parents = np.flatnonzero(adjacency[:, j])
    return _FITS[kind](
        X[:, j], X[:, parents], codes, n_environments, np.random.default_rng(seed)
    )


def stack(blocks):
    """All rows, base first, and the environment of each."""
    codes = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    return np.concatenate(blocks), codes
