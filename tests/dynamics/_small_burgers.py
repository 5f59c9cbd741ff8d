"""Fields of known equations that tests of their estimator share."""

import functools

import numpy as np

from skident.datasets import make_burgers
from skident.dynamics import MechanisticPDERegressor

# Of the small problem, in the order of the terms u_x, u u_x, u_xx, u u_xx.
TRUTH = np.array([0.0, -1.0, 0.1, 0.0])
# Its grid has five nodes in the front: what that costs, measured, is 0.8 % and 1.0 %
# of the two coefficients.
GRID_ERROR = 0.02


@functools.cache
def burgers(noise=0.0, seed=0):
    """A small field of Burgers' equation, without noise by default."""
    return make_burgers(n_x=96, n_t=48, dt=1 / 15, noise=noise, random_state=seed)


def small(**params):
    """An estimator for it that takes a second."""
    defaults = {
        "spacing": burgers().spacing,
        "dt": burgers().dt,
        "blocks": ("u_x", "u_xx"),
        "degree": 1,
        "patch_size": (16, 16),
        "max_patches": 6,
        "encoder": "identity",
        "random_state": 0,
    }
    return MechanisticPDERegressor(**(defaults | params))


@functools.cache
def fitted():
    """The estimator fitted to the field without noise; not to be changed."""
    return small().fit(burgers().X)


def error(coef, truth=TRUTH):
    """Largest relative error of the coefficients that are not zero."""
    there = truth != 0
    return np.abs(coef[there] / truth[there] - 1).max()
