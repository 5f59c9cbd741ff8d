"""Random generators of the solvers."""

import numpy as np


def generator(random_state):
    """numpy ``Generator`` from an int, a ``Generator``, a ``RandomState`` or None."""
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(np.iinfo(np.int32).max)
    return np.random.default_rng(random_state)
