"""Mixtures that the tests of ICAPostProcessor share."""

import numpy as np

from skident.decomposition import ICAPostProcessor

SOURCES = {
    "laplace": lambda rng, size: rng.laplace(size=size) / np.sqrt(2),
    "uniform": lambda rng, size: rng.uniform(-np.sqrt(3), np.sqrt(3), size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
}


def mixture(kind="laplace", n=4000, k=4, n_features=None, seed=0):
    """Sources and a random mixture of them."""
    rng = np.random.default_rng(seed)
    u = SOURCES[kind](rng, (n, k))
    return u, u @ rng.standard_normal((k, n_features or k)) + 3


def post(**params):
    return ICAPostProcessor(**({"random_state": 0} | params))
