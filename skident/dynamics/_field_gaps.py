"""Gaps of a field on a grid, filled from the entries around them."""

import numpy as np
from scipy.ndimage import distance_transform_edt


def fill_gaps(data, coordinates):
    """Fill missing entries: along the first axis linearly, else from the nearest.

    Parameters
    ----------
    data : ndarray of shape (n_0, n_1, ...)
        NaN where missing; the first axis is time where there is one.
    coordinates : list of ndarray, one an axis

    Returns
    -------
    filled : ndarray of that shape
        ``data`` itself where nothing is missing. Before the first and behind the last
        entry of a node its nearest one in time stands; a node never seen takes the
        values of the nearest node of the same frame, in steps of the grid.

    Raises
    ------
    ValueError
        If nothing was observed.
    """
    missing = np.isnan(data)
    if not missing.any():
        return data
    if missing.all():
        raise ValueError("A field has no observed entry: all of it is missing.")
    n = len(data)
    filled = data.reshape(n, -1).copy()
    gaps = missing.reshape(n, -1)
    for node in np.flatnonzero(gaps.any(axis=0) & ~gaps.all(axis=0)):
        seen = ~gaps[:, node]
        filled[~seen, node] = np.interp(
            coordinates[0][~seen], coordinates[0][seen], filled[seen, node]
        )
    never = gaps.all(axis=0).reshape(data.shape[1:])
    filled = filled.reshape(data.shape)
    if never.any():
        nearest = distance_transform_edt(
            never, return_distances=False, return_indices=True
        )
        filled = filled[(slice(None), *nearest)]
    return filled
