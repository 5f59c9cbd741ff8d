"""Orthogonal matching pursuit for many rows at once, on one dictionary."""

import numpy as np
from scipy import sparse

# A Gram matrix above this size is never formed.
_MAX_GRAM_BYTES = 2**28
# A multiply-add of a sparse-times-Gram product costs about as much as this many
# of a dense product (measured 24 on AVX-512, 15 to 30 elsewhere).
_SPARSE_TO_DENSE_COST = 24
# Work arrays of a chunk of rows: small enough for the cache where the Gram matrix is
# streamed, large enough to feed a dense product where it is not.
_GRAM_CHUNK_BYTES = 2**23
_RESIDUAL_CHUNK_BYTES = 2**27


def batched_omp(X, dictionary, n_nonzero):
    """Code every row with at most ``n_nonzero`` atoms by matching pursuit.

    Each step adds to a row's support the atom whose correlation with the row's
    residual is largest in absolute value, then refits all its coefficients by
    least squares. Coefficients are signed.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to code; float32 and float64 are kept, all else becomes float64 (float16
        becomes float32). Memory maps are read chunk by chunk.
    dictionary : array-like of shape (n_components, n_features)
        Atoms, of unit norm to 1e-3. Used in the precision of ``X``.
    n_nonzero : int
        Largest number of atoms a row, at least 1. No more than
        ``min(n_components, n_features)`` can be used.

    Returns
    -------
    codes : scipy.sparse.csr_matrix of shape (n_samples, n_components)
        Coefficients, with sorted indices. A row has fewer than ``n_nonzero``
        entries when its residual is zero to rounding, or when the atom to add
        lies, to rounding, in the span of those it has.

    Raises
    ------
    ValueError
        If shapes disagree, ``n_nonzero`` is below 1, an atom is not of unit norm,
        or a value is not finite.

    Notes
    -----
    The inverse of the Cholesky factor of each row's small Gram matrix grows by one
    line a step [1]_, in float64. Correlations are updated either through the Gram
    matrix of the dictionary, in O(n_nonzero^2 n_components) a row, or through the
    residual, in O(n_nonzero n_features n_components): whichever is cheaper, and
    never through a Gram matrix larger than 256 MiB. One step of iterative
    refinement against the true residual ends the pursuit. Rows are processed in
    chunks, whose work arrays take 8 MiB with the Gram matrix and 128 MiB without.

    References
    ----------
    .. [1] Rubinstein, Zibulevsky and Elad, "Efficient implementation of the K-SVD
       algorithm using batch orthogonal matching pursuit", Technion CS-2008-08, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import batched_omp
    >>> atoms = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> batched_omp(np.array([[3.0, 4.0], [0.0, -2.0]]), atoms, 1).toarray()
    array([[ 0.,  0.,  5.],
           [ 0., -2.,  0.]])
    """
    X = _two_dimensional(X, "X")
    dtype = _working_dtype(X.dtype)
    D = np.ascontiguousarray(_two_dimensional(dictionary, "dictionary"), dtype=dtype)
    n_samples, n_features = X.shape
    n_components = D.shape[0]
    if D.shape[1] != n_features:
        raise ValueError(
            f"dictionary must have as many columns as X: got {D.shape[1]} and "
            f"{n_features} (n_samples = {n_samples})."
        )
    if n_nonzero < 1:
        raise ValueError(f"n_nonzero must be at least 1, got {n_nonzero}.")
    norms = np.sqrt(np.einsum("ij,ij->i", D, D, dtype=np.float64))
    # Written so that NaN fails.
    if not np.all(np.abs(norms - 1.0) <= 1e-3):
        raise ValueError(
            "dictionary must have rows of unit norm; found norms from "
            f"{norms.min():.6g} to {norms.max():.6g}."
        )
    size = int(min(n_nonzero, n_components, n_features))
    gram = D @ D.T if _gram_pays(n_samples, D.shape, size, dtype.itemsize) else None

    width = 4 * n_components * dtype.itemsize + 8 * size * size
    budget = _GRAM_CHUNK_BYTES
    if gram is None:
        width += size * n_features * dtype.itemsize
        budget = _RESIDUAL_CHUNK_BYTES
    step = max(1, budget // width)
    blocks = []
    for start in range(0, n_samples, step):
        rows = np.ascontiguousarray(X[start : start + step], dtype=dtype)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"X must be finite; rows {start} to {start + len(rows) - 1} hold NaN "
                f"or infinity (n_samples = {n_samples})."
            )
        blocks.append(_Pursuit(rows, D, gram, size).run())
    if not blocks:
        return sparse.csr_matrix((n_samples, n_components), dtype=dtype)
    return sparse.vstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]


class _Pursuit:
    """The pursuit of one chunk of rows; rows leave it when they are finished."""

    def __init__(self, X, D, gram, size):
        self.D, self.gram, self.size = D, gram, size
        n_rows, n_features = X.shape
        eps = np.finfo(X.dtype).eps
        # A dot product of n terms is wrong by about sqrt(n) eps times the norms:
        # a correlation below four times that selects nothing.
        self.noise = 4.0 * np.sqrt(n_features) * eps
        # Squared distance to the span below which an atom counts as inside it.
        self.in_span = 100.0 * eps
        self.support = np.zeros((n_rows, size), dtype=np.intp)
        self.values = np.zeros((n_rows, size), dtype=X.dtype)
        self.counts = np.zeros(n_rows, dtype=np.intp)
        norms = np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64))
        self.index = np.flatnonzero(norms > 0)
        self.X, self.norms = X[self.index], norms[self.index]
        self.base = self.X @ D.T
        self.corr = self.base.copy()
        n_live = len(self.index)
        self.chosen = np.zeros((n_live, size), dtype=np.intp)
        # Rows of `factor` are the inverse Cholesky factor, `coords` the row's
        # coordinates along the orthonormalised atoms.
        self.factor = np.zeros((n_live, size, size))
        self.coords = np.zeros((n_live, size))
        self.coef = np.zeros((n_live, size))
        shape = (n_live, size, n_features)
        self.atoms = np.empty(shape, dtype=X.dtype) if gram is None else None

    def run(self):
        magnitude = np.empty_like(self.corr)
        for j in range(self.size):
            n_live = len(self.index)
            if n_live == 0:
                break
            every = np.arange(n_live)
            magnitude = magnitude[:n_live]
            pick = np.abs(self.corr, out=magnitude).argmax(axis=1)
            scale = self.norms + np.abs(self.coef[:, :j]).sum(axis=1)
            live = magnitude[every, pick] > self.noise * scale
            coords = _apply(self.factor[:, :j, :j], self._cross(pick, j))
            new = self.D[pick]
            squared = np.einsum("ij,ij->i", new, new, dtype=np.float64)
            squared -= np.einsum("ij,ij->i", coords, coords)
            live &= squared > self.in_span
            if not live.all():
                self._finish(~live, j)
                self._keep(live)
                pick, coords = pick[live], coords[live]
                squared, new = squared[live], new[live]
                every = np.arange(len(pick))
            self._add(j, every, pick, new, coords, np.sqrt(squared))
            if j + 1 < self.size:
                self._update_correlations(j + 1)
        else:
            self._finish(np.ones(len(self.index), dtype=bool), self.size)
        return self._codes()

    def _cross(self, pick, j):
        """Inner products of the picked atoms with those chosen before."""
        if self.gram is not None:
            return self.gram[pick[:, None], self.chosen[:, :j]].astype(np.float64)
        return _apply(self.atoms[:, :j], self.D[pick]).astype(np.float64)

    def _add(self, j, every, pick, new, coords, pivot):
        past = self.factor[:, :j, :j]
        self.factor[:, j, :j] = _apply_left(coords, past) / -pivot[:, None]
        self.factor[:, j, j] = 1.0 / pivot
        self.coords[:, j] = self.corr[every, pick] / pivot
        self.chosen[:, j] = pick
        if self.atoms is not None:
            self.atoms[:, j] = new
        now = self.factor[:, : j + 1, : j + 1]
        self.coef[:, : j + 1] = _apply_left(self.coords[:, : j + 1], now)

    def _update_correlations(self, j):
        coef = self.coef[:, :j].astype(self.X.dtype)
        if self.gram is None:
            residual = self.X - _apply_left(coef, self.atoms[:, :j])
            np.matmul(residual, self.D.T, out=self.corr)
        else:
            indptr = np.arange(0, coef.size + 1, j)
            indices = self.chosen[:, :j].ravel()
            shape = (len(coef), len(self.D))
            fitted = sparse.csr_matrix((coef.ravel(), indices, indptr), shape=shape)
            np.subtract(self.base, fitted @ self.gram, out=self.corr)
        # Exactly zero but for rounding, which must not select an atom twice.
        np.put_along_axis(self.corr, self.chosen[:, :j], 0.0, axis=1)

    def _finish(self, done, j):
        """Refine the coefficients of finished rows and store them."""
        if j == 0:
            return
        rows = np.flatnonzero(done)
        n_features = self.D.shape[1]
        step = max(1, _GRAM_CHUNK_BYTES // (j * n_features * self.X.itemsize))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            atoms = self.D[self.chosen[part, :j]]
            coef, factor = self.coef[part, :j], self.factor[part, :j, :j]
            residual = self.X[part] - _apply_left(coef.astype(self.X.dtype), atoms)
            left = _apply(atoms, residual).astype(np.float64)
            coef = coef + _apply_left(_apply(factor, left), factor)
            where = self.index[part]
            self.support[where, :j] = self.chosen[part, :j]
            self.values[where, :j] = coef
            self.counts[where] = j

    def _keep(self, live):
        names = ["index", "X", "norms", "base", "corr"]
        names += ["chosen", "factor", "coords", "coef"]
        if self.atoms is not None:
            names.append("atoms")
        for name in names:
            setattr(self, name, getattr(self, name)[live])

    def _codes(self):
        used = np.arange(self.size) < self.counts[:, None]
        indptr = np.concatenate([[0], np.cumsum(self.counts)])
        shape = (len(self.counts), len(self.D))
        codes = sparse.csr_matrix(
            (self.values[used], self.support[used], indptr), shape=shape
        )
        codes.sort_indices()
        return codes


def _apply(matrices, vectors):
    """Batched matrix-vector product, (n, p, q) by (n, q) to (n, p)."""
    return np.matmul(matrices, vectors[:, :, None])[:, :, 0]


def _apply_left(vectors, matrices):
    """Batched vector-matrix product, (n, p) by (n, p, q) to (n, q)."""
    return np.matmul(vectors[:, None, :], matrices)[:, 0]


def _gram_pays(n_samples, shape, size, itemsize):
    n_components, n_features = shape
    if n_components * n_components * itemsize > _MAX_GRAM_BYTES:
        return False
    # Multiply-adds, over n_components: the Gram matrix and one sparse product a
    # step with (size / 2) entries on average, against one dense product a step.
    gram = n_components * n_features
    gram += n_samples * size * (size / 2) * _SPARSE_TO_DENSE_COST
    return gram < n_samples * size * n_features


def _two_dimensional(array, name):
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional, got {array.ndim}.")
    return array


def _working_dtype(dtype):
    if dtype == np.float16 or dtype == np.float32:
        return np.dtype(np.float32)
    return np.dtype(np.float64)
