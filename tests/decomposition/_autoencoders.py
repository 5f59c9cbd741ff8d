"""Data and comparisons that the tests of the autoencoder share."""

import numpy as np
import pytest
import torch

from skident.decomposition import AutoencoderTransformer

quiet = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
X = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32)
X[:, 3:] = X[:, :3] @ np.array([[1, 0, 1], [0, 1, 1], [1, -1, 0]], dtype=np.float32)
EPS = np.finfo(np.float32).eps


def autoencoder(n_latents=3, hidden=(8,), **params):
    params = {"max_epochs": 3, "batch_size": 50, "random_state": 0} | params
    return AutoencoderTransformer(n_latents, hidden, **params)


def learned(estimator):
    return {k: v for k, v in vars(estimator).items() if k.endswith("_")}


def assert_same(one, two):
    """The same learned state, bit for bit."""
    assert learned(one).keys() == learned(two).keys()
    for name, value in learned(one).items():
        if name == "module_":
            a, b = value.state_dict(), two.module_.state_dict()
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a)
        else:
            np.testing.assert_equal(getattr(two, name), value, name)
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
