"""Mean and covariance of rows that arrive in pieces."""

import numpy as np

from skident.solvers._parallel import in_groups, workers

# Variances within these are floats with all their digits, and so are products of them
# with the numbers of components.
SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e-280, 1e280
# Work arrays of a chunk of rows: two float64 copies of it in the cache.
_CHUNK_BYTES = 2**21


def row_slices(n_samples, n_features, n_bytes=_CHUNK_BYTES):
    """Slices that cut rows into chunks of at most ``n_bytes`` in float64."""
    step = max(1, min(n_samples, n_bytes // (8 * max(n_features, 1))))
    return [slice(low, min(low + step, n_samples)) for low in range(0, n_samples, step)]


def out_of_range(n_samples):
    """Error for data whose variances no float holds."""
    return ValueError(
        "X varies too little or too much for its variance to be a float of full "
        f"precision: standard deviations must be within {SMALLEST_VARIANCE**0.5:.0e} "
        f"and {LARGEST_VARIANCE**0.5:.0e} (n_samples = {n_samples}). Change its units."
    )


class Moments:
    """Running mean and covariance of the columns, exact to rounding, in float64.

    Parameters
    ----------
    n_features : int
        Number of columns of every piece, at least 1.

    Attributes
    ----------
    n_samples : int
        Number of rows seen.
    mean : ndarray of shape (n_features,), float64
        Mean of each column, in its units.
    covariance : ndarray of shape (n_features, n_features), float64
        Covariance, normalised by ``n_samples``; symmetric to the last bit.

    Raises
    ------
    ValueError
        If ``n_features`` is below 1.

    Notes
    -----
    Pieces are joined by the pairwise update of Chan, Golub and LeVeque [1]_: rows are
    centred by the mean of their own chunk before they are squared, so that a mean far
    from zero costs no digits, and any cut into pieces gives the same result to
    rounding. An update takes O(n_samples n_features^2) operations and a chunk of
    2 MiB beside the state of n_features^2 numbers.

    References
    ----------
    .. [1] Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
       computing sample variances", COMPSTAT 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import Moments
    >>> moments = Moments(1).update(np.array([[1.0], [3.0]]))
    >>> moments.merge(Moments(1).update(np.array([[5.0]]))).mean
    array([3.])
    """

    def __init__(self, n_features):
        if n_features < 1:
            raise ValueError(f"n_features must be at least 1, got {n_features}.")
        self.n_samples = 0
        self.mean = np.zeros(n_features)
        self._varies = False
        self._scatter = np.zeros((n_features, n_features))

    def __repr__(self):
        return f"Moments(n_features={len(self.mean)}, n_samples={self.n_samples})"

    @property
    def covariance(self):
        """Covariance normalised by ``n_samples``, zeros before the first row."""
        return self._scatter / max(self.n_samples, 1)

    def update(self, X):
        """Take in the rows of ``X``.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows of any real dtype; a memory map is read chunk by chunk.

        Returns
        -------
        self : Moments

        Raises
        ------
        ValueError
            If the number of columns differs, a value is not finite, or squares of
            differences exceed the range of float64; the moments are then as they were
            before.
        """
        X = X if isinstance(X, np.ndarray) else np.asarray(X)
        n_features = len(self.mean)
        if X.ndim != 2 or X.shape[1] != n_features:
            raise ValueError(
                f"X must be of shape (n_rows, {n_features}), got {X.shape}."
            )
        return self.merge(moments_of(X, n_features))

    def merge(self, other):
        """Take in all that another instance has seen.

        Parameters
        ----------
        other : Moments
            With the same number of features; left as it is.

        Returns
        -------
        self : Moments

        Raises
        ------
        ValueError
            If the numbers of features differ.
        """
        if len(other.mean) != len(self.mean):
            raise ValueError(
                "moments must have as many features: got "
                f"{len(self.mean)} and {len(other.mean)}."
            )
        if other.n_samples:
            self._join(other.n_samples, other.mean, other._scatter, other._varies)
        return self

    def check_range(self):
        """Raise ``ValueError`` for rows that differ, but too little for a variance."""
        largest = np.diag(self.covariance).max()
        if largest > LARGEST_VARIANCE or (largest < SMALLEST_VARIANCE and self._varies):
            raise out_of_range(self.n_samples)

    def _join(self, n_rows, mean, scatter, varies):
        total = self.n_samples + n_rows
        # The first rows have no gap to others.
        gap = mean - (self.mean if self.n_samples else mean)
        with np.errstate(over="ignore"):
            between = np.outer(gap, gap) * (self.n_samples * n_rows / total)
        if not np.isfinite(between.trace()):
            raise out_of_range(total)
        self.mean = (
            self.mean + gap * (n_rows / total) if self.n_samples else mean.copy()
        )
        self._scatter = self._scatter + scatter + between
        self._varies |= varies or bool(gap.any())
        self.n_samples = total

    def _add_chunk(self, chunk):
        """Take in a chunk of float64 rows, which is overwritten."""
        with np.errstate(invalid="ignore", over="ignore"):
            mean = np.full(len(chunk), 1.0 / len(chunk)) @ chunk
        if not np.isfinite(mean).all():
            return False
        # The mean of a constant column is rounded: its variance is to be zero.
        first = chunk[0].copy()
        alike = (first == chunk[-1]) & (first == chunk[len(chunk) // 2])
        alike = np.flatnonzero(alike)
        alike = alike[(chunk[:, alike] == first[alike]).all(axis=0)]
        mean[alike] = first[alike]
        with np.errstate(over="ignore", invalid="ignore"):
            chunk -= mean
            scatter = chunk.T @ chunk
        if not np.isfinite(scatter.trace()):
            raise out_of_range(len(chunk))
        # Squares that vanish hide whether rows differ.
        varies = scatter.trace() > 0 or bool(chunk.any())
        self._join(len(chunk), mean, scatter, varies)
        return True


def moments_of(X, n_features, transform=None):
    """Moments of the rows of ``X``, or of ``transform`` of their chunks.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    n_features : int
        Number of columns after the transform.
    transform : callable or None, default=None
        Maps a chunk of float64 rows to rows of ``n_features`` columns.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If a value is not finite.
    """

    def one_group(chunks):
        found = Moments(n_features)
        for rows in chunks:
            chunk = X[rows].astype(np.float64)
            if transform is not None:
                chunk = transform(chunk)
            if not found._add_chunk(chunk):
                raise ValueError(
                    f"X must be finite; rows {rows.start} to {rows.stop - 1} hold "
                    f"NaN or infinity (n_samples = {len(X)})."
                )
        return found

    total = Moments(n_features)
    groups = in_groups(row_slices(*X.shape), 8 * n_features**2)
    if len(groups) <= 1:
        parts = map(one_group, groups)
    else:
        with workers() as map_groups:
            parts = map_groups(one_group, groups)
    for part in parts:
        total.merge(part)
    return total
