"""The geometric median of the rows of an array."""

import numpy as np

_CHUNK_BYTES = 2**20


def geometric_median(X, *, tol=1e-5, max_iter=100):
    """Point whose summed Euclidean distance to the rows of ``X`` is smallest.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data, read in chunks of rows: a memory map is never copied whole.
    tol : float, default=1e-5
        Iteration stops when a step is at most ``tol`` times the mean distance of
        the rows to the current point.
    max_iter : int, default=100
        Largest number of steps; 0 returns the mean.

    Returns
    -------
    median : ndarray of shape (n_features,)
        In units of ``X``; float32 when ``X`` is float16 or float32, else float64.

    Raises
    ------
    ValueError
        If ``X`` is empty, not two-dimensional, or not finite.

    Notes
    -----
    Weiszfeld's iteration from the mean, in float64 and O(n_samples n_features) a
    step. The median is unique unless the rows are collinear. Distances are clamped
    at 1e-8 of the mean distance; rows that close to the current point are treated as
    coinciding with it, for which the step of Vardi and Zhang [1]_ tells whether the
    point is the median and, when it is not, leaves it.

    References
    ----------
    .. [1] Vardi and Zhang, "The multivariate L1-median and associated data depth",
       PNAS 97(4), 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import geometric_median
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -9.0]])
    >>> geometric_median(X).round(4) + 0.0
    array([0., 0.])
    """
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[0] == 0:
        raise ValueError(
            f"X must be two-dimensional with at least one row, got shape {X.shape}."
        )
    n_samples, n_features = X.shape
    step = max(1, _CHUNK_BYTES // (8 * max(n_features, 1)))
    slices = [slice(s, s + step) for s in range(0, n_samples, step)]

    point = np.zeros(n_features)
    for rows in slices:
        point += X[rows].sum(axis=0, dtype=np.float64)
    point /= n_samples
    if not np.isfinite(point).all():
        raise ValueError(f"X must be finite (n_samples = {n_samples}).")

    scale = None
    for _ in range(max_iter):
        pull, weight, total, n_here = np.zeros(n_features), 0.0, 0.0, 0
        for rows in slices:
            offset = X[rows] - point
            distance = np.sqrt(np.einsum("ij,ij->i", offset, offset))
            total += distance.sum()
            if scale is None:
                # The first chunk sets the clamp of the first pass; later passes use
                # the mean distance of all rows.
                scale = distance.mean()
            here = distance <= 1e-8 * scale
            n_here += int(here.sum())
            inverse = np.where(here, 0.0, 1.0 / np.where(here, 1.0, distance))
            pull += inverse @ offset
            weight += inverse.sum()
        scale = total / n_samples
        strength = np.linalg.norm(pull)
        # Coinciding rows hold the point with force n_here against the others' pull.
        if weight == 0.0 or strength <= n_here:
            break
        move = (1.0 - n_here / strength) * pull / weight
        point += move
        if np.linalg.norm(move) <= tol * scale:
            break
    return point.astype(
        np.float32 if X.dtype.itemsize <= 4 and X.dtype.kind == "f" else np.float64
    )
