"""Numbers of rows of several environments."""

import numpy as np


def environment_sizes(n_samples, n_environments):
    """Rows of each environment, from one number for all or one for each.

    Raises
    ------
    ValueError
        If it is neither, or an environment would be empty.
    """
    sizes = np.asarray(n_samples)
    if (
        sizes.shape not in ((), (n_environments,))
        or not np.issubdtype(sizes.dtype, np.integer)
        or sizes.min() < 1
    ):
        raise ValueError(
            "n_samples must be a positive int, or one for each of the "
            f"{n_environments} environments, got {n_samples!r}."
        )
    return np.broadcast_to(sizes, n_environments)
