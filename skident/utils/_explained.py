"""The share of the rows' variance that a reconstruction explains."""

import numpy as np


def explained_variance(pairs, weights=None) -> float:
    """1 minus the squared error over the squared distance to the mean row.

    Parameters
    ----------
    pairs : iterable of two ndarrays of shape (n_rows, n_features)
        Rows and what a reconstruction leaves of them, block by block.
    weights : ndarray of shape (n_samples,), default=None
        What the rows of all blocks count, not negative and not all zero.

    Returns
    -------
    score : float
        At most 1. Rows that are all equal score 1 if reproduced, else 0.
    """
    if weights is not None:
        # Of mean 1: in whatever unit they come, rounding is bounded alike below.
        weights = weights * (len(weights) / weights.sum())
    total, error, n_rows, mean = 0.0, 0.0, 0, 0.0
    for rows, residual in pairs:
        low, n_rows = n_rows, n_rows + len(rows)
        weigh = np.ones(len(rows)) if weights is None else weights[low:n_rows]
        weigh = weigh[:, None]
        mean = mean + (weigh * rows).sum(axis=0)
        total += (weigh * np.square(rows, dtype=np.float64)).sum()
        error += (weigh * np.square(residual, dtype=np.float64)).sum()
    spread = total - np.square(mean).sum() / n_rows
    # Rounding of float32 rows, when all of them are equal.
    rounding = 1e-12 * max(total, 1.0)
    if spread <= rounding:
        return float(error <= rounding)
    return float(1.0 - error / spread)
