"""Mixtures for the tests of ICA, and what is measured on its results."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skident.solvers import ica, whitening

FUNCTIONS = ["tanh", "exp", "cube"]
ALGORITHMS = ["picard-o", "fastica", "picard", "infomax"]


def mixture(kind="laplace", n_samples=10_000, k=10, seed=0):
    """Mixed independent sources of unit variance, and the sources."""
    rng = np.random.default_rng(seed)
    S = rng.laplace(size=(n_samples, k)) / np.sqrt(2.0)
    uniform = {"laplace": slice(0), "uniform": slice(None), "mixed": slice(0, None, 2)}
    S[:, uniform[kind]] = rng.uniform(-1, 1, S[:, uniform[kind]].shape) * np.sqrt(3.0)
    return S @ rng.standard_normal((k, k)).T + rng.standard_normal(k), S


def relu_features(n_samples=4000, k=20, seed=0):
    """Latents that no linear map makes independent."""
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((n_samples, k // 2))
    return np.maximum(U @ rng.standard_normal((k // 2, k)), 0.0)


def sources(X, white, result):
    return (X - white.mean) @ (result.rotation @ white.matrix).T


def matched_correlations(Y, S):
    k = Y.shape[1]
    C = np.abs(np.corrcoef(Y.T, S.T)[:k, k:])
    return C[linear_sum_assignment(-C)]


def fit(X, n_components=None, **params):
    white = whitening(X, n_components)
    result = ica(X, white, **({"random_state": 0} | params))
    return sources(X, white, result), result


def antiderivative(Y, fun):
    if fun == "tanh":
        return np.logaddexp(Y, -Y) - np.log(2.0)
    return -np.exp(-(Y**2) / 2) if fun == "exp" else Y**4 / 4
