"""Structural models with known noises, small enough to be written out."""

import numpy as np


def environments(n_samples, n_nodes, seed, sd=None, n_environments=3, low=1.5):
    """Noises of each environment, and their scales: the base is row 0, of ones."""
    rng = np.random.default_rng(seed)
    size = n_environments - 1, n_nodes
    signs = rng.choice([-1.0, 1.0], size)
    scales = np.exp(signs * rng.uniform(np.log(low), np.log(4.0), size))
    scales = np.vstack([np.ones(n_nodes), scales])
    sd = np.ones(n_nodes) if sd is None else np.asarray(sd)
    noises = [rng.standard_normal((n_samples, n_nodes)) * sd * row for row in scales]
    return noises, scales


def linear(noises, weights, intercepts):
    """Rows of a linear model; weights [i, j] of i -> j, upper triangular."""
    d = len(weights)
    return np.linalg.solve(np.eye(d) - weights.T, (noises + intercepts).T).T


def heteroscedastic(x1, s):
    """An effect of x1 on both location and scale, with bent noise."""
    return np.tanh(x1) + np.exp(0.7 * x1) * (s + 0.15 * s**3)


def heteroscedastic_pair(n_samples, seed):
    """Rows of each environment, their noises and scales, for x1 -> x2."""
    noises, scales = environments(n_samples, 2, seed)
    blocks = [
        np.column_stack([S[:, 0], heteroscedastic(S[:, 0], S[:, 1])]) for S in noises
    ]
    return blocks, noises, scales


PAIR = np.array([[0, 1], [0, 0]])
