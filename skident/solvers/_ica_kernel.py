"""One pass over the rows: scores, their products and the loss of ICA, chunk by chunk.

For sources Y (rows y) a pass gives E[psi(y) y^T], E[psi'(y)] and, where asked for, the
mean of -log p(y) of each component, before the densities' signs come in. Sums run in
float64 over chunks whose arrays stay in the cache, in float32 or in float64.
"""

from typing import NamedTuple

import numpy as np

from skident.solvers._moments import Moments
from skident.solvers._parallel import in_groups

FUNCTIONS = ("tanh", "exp", "cube")

# Rows of a chunk, fewer where a chunk of that many would leave the cache.
_CHUNK_ROWS = 4096
_CHUNK_BYTES = 2**21
# The whitened rows are kept, in float32, up to this size; beyond it every pass makes
# them from the data again. A memory map promises that memory is short.
_KEPT_BYTES = 2**28
_KEPT_BYTES_OF_MAPS = 2**26
# Sizes of what float32 holds with room for squares and sums.
_SINGLE_RANGE = 1e-15, 1e15
# Factors in [1, 2] whose product float32 holds without overflow, and terms of a sum.
_FACTORS = 16
_RUN = 256


class Pass(NamedTuple):
    """What one pass over the rows gives, for k components.

    Parameters
    ----------
    product : ndarray of shape (k, k)
        ``E[psi(y) y^T]``.
    slope : ndarray of shape (k,)
        ``E[psi'(y)]``.
    loss : ndarray of shape (k,) or None
        ``E[-log p(y)]`` of each component, up to a constant.
    """

    product: np.ndarray
    slope: np.ndarray
    loss: np.ndarray | None


class _Scratch:
    """Arrays of one chunk, kept between the chunks that one thread works on."""

    def __init__(self, n_rows, n_features, k, dtype):
        self.centred = None
        self.n_features, self.dtype = n_features, dtype
        self.Y, self.psi, self.work = np.empty((3, n_rows, k), dtype=dtype)
        self.product = np.empty((k, k), dtype=dtype)
        self.ones = np.ones(n_rows, dtype=dtype)

    def room(self, n_rows):
        """Array for centred rows of the data."""
        if self.centred is None:
            shape = (len(self.ones), self.n_features)
            self.centred = np.empty(shape, dtype=self.dtype)
        return self.centred[:n_rows]


class _Sums:
    """Sums of one group of chunks, in float64."""

    def __init__(self, k, fun, with_loss):
        self.fun = fun
        self.product = np.zeros((k, k))
        self.slope = np.zeros(k)
        self.loss = np.zeros(k) if with_loss else None
        self.n_rows = 0

    def add(self, Y, scratch):
        """Take in a chunk of sources, of shape (n_rows, k)."""
        n_rows = len(Y)
        psi, work = scratch.psi[:n_rows], scratch.work[:n_rows]
        ones = scratch.ones[:n_rows]
        self.n_rows += n_rows
        if self.fun == "tanh":
            if self.loss is None:
                np.tanh(Y, out=psi)
            else:
                self.loss += _tanh_and_log_cosh(Y, psi, work, ones)
            self.slope += n_rows - np.einsum("ij,ij->j", psi, psi)
        elif self.fun == "exp":
            np.multiply(Y, Y, out=psi)
            np.multiply(psi, -0.5, out=work)
            np.exp(work, out=work)
            self.slope += ones @ work - np.einsum("ij,ij->j", psi, work)
            if self.loss is not None:
                self.loss -= ones @ work
            np.multiply(Y, work, out=psi)
        else:
            np.multiply(Y, Y, out=work)
            self.slope += 3.0 * (ones @ work)
            if self.loss is not None:
                self.loss += 0.25 * np.einsum("ij,ij->j", work, work)
            np.multiply(Y, work, out=psi)
        self.product += np.matmul(psi.T, Y, out=scratch.product)


def _tanh_and_log_cosh(Y, psi, work, ones):
    """Write tanh(Y) into ``psi`` and return the column sums of log cosh(Y).

    Both come from u = exp(-2 |y|): tanh |y| = (1 - u) / (1 + u), and
    log cosh y = |y| + log(1 + u) - log 2.
    """
    np.abs(Y, out=work)
    # Short runs, because in float32 long sums would lose the digits of the loss.
    sums = np.zeros(work.shape[1])
    for low in range(0, len(work), _RUN):
        sums += ones[low : low + _RUN] @ work[low : low + _RUN]
    np.multiply(work, -2.0, out=work)
    np.exp(work, out=work)
    np.subtract(1.0, work, out=psi)
    np.add(work, 1.0, out=work)
    np.divide(psi, work, out=psi)
    np.copysign(psi, Y, out=psi)
    # One logarithm for the product of several factors.
    n_rows, factors = len(work), 1
    while factors < _FACTORS and n_rows % 2 == 0:
        n_rows //= 2
        factors *= 2
        np.multiply(work[:n_rows], work[n_rows : 2 * n_rows], out=work[:n_rows])
    np.log(work[:n_rows], out=work[:n_rows])
    return sums + work[:n_rows].sum(axis=0) - len(Y) * np.log(2.0)


class Rows:
    """Whitened rows ``matrix @ (x - mean)``, read chunk by chunk.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The data: any float dtype, or a memory map.
    mean, matrix : ndarrays of shape (n_features,) and (k, n_features)
        The whitening map.
    map_groups : callable
        Of :func:`skident.solvers._parallel.workers`.
    """

    def __init__(self, X, mean, matrix, map_groups):
        self.X, self.mean = X, mean
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.n_samples, self.n_components = len(X), len(matrix)
        self.map_groups = map_groups
        self._kept = None
        self._single = fits_single(self.matrix)
        self._scratch = {np.dtype(np.float32): [], np.dtype(np.float64): []}
        n_bytes = 4 * self.n_samples * self.n_components
        limit = _KEPT_BYTES_OF_MAPS if _is_mapped(X) else _KEPT_BYTES
        self._may_keep = n_bytes <= limit
        width = 8 * max(X.shape[1], self.n_components)
        step = max(64, min(_CHUNK_ROWS, _CHUNK_BYTES // width // 64 * 64))
        chunks = [
            slice(low, min(low + step, self.n_samples))
            for low in range(0, self.n_samples, step)
        ]
        self._step = min(step, self.n_samples)
        self._groups = in_groups(chunks, 8 * self.n_components**2)

    def evaluate(self, W, fun, dtype=np.float64, *, with_loss=True, narrow=False):
        """A :class:`Pass` over the sources ``W @ z`` of the whitened rows z.

        Parameters
        ----------
        W : ndarray of shape (k, k)
            Map from whitened rows to sources.
        fun : {"tanh", "exp", "cube"}
            The score.
        dtype : float32 or float64
            Of the sources and scores; sums over chunks are float64. Rows that are
            made anew in units beyond float32 are float64 always.
        with_loss : bool, default=True
            Whether to compute the loss as well.
        narrow : bool, default=False
            Whether to round float64 sources to float32 before the scores. These
            errors are as good as independent and average out, unlike those of a
            rounded ``W``.
        """
        dtype = np.dtype(dtype)
        kept = self._keep() if dtype == np.float32 and self._may_keep else None
        if kept is None and not self._single:
            dtype = np.dtype(np.float64)
        rotated = np.ascontiguousarray(W if kept is not None else W @ self.matrix)
        rotated = rotated.astype(dtype).T

        def one_group(chunks):
            scratch = self._borrow(dtype)
            inner = self._borrow(np.dtype(np.float32)) if narrow else scratch
            sums = _Sums(self.n_components, fun, with_loss)
            for rows in chunks:
                n_rows = rows.stop - rows.start
                if kept is None:
                    source = scratch.room(n_rows)
                    self._centre(rows, source)
                else:
                    source = kept[rows]
                Y = np.matmul(source, rotated, out=scratch.Y[:n_rows])
                if narrow:
                    np.copyto(inner.Y[:n_rows], Y, casting="same_kind")
                sums.add(inner.Y[:n_rows], inner)
            self._scratch[dtype].append(scratch)
            if narrow:
                self._scratch[inner.Y.dtype].append(inner)
            return sums

        return _total(self.map_groups(one_group, self._groups), self.n_samples)

    def subsample(self, n_rows):
        """About ``n_rows`` evenly spaced rows, decorrelated anew, or all rows."""
        stride = self.n_samples // max(n_rows, 1)
        if stride < 2:
            return self
        if self._may_keep:
            Z = np.ascontiguousarray(self._keep()[::stride])
        else:
            Z = (self.X[::stride] - self.mean) @ self.matrix.T
        moments = Moments(self.n_components).update(Z)
        return Rows(Z, moments.mean, decorrelation(moments), self.map_groups)

    def batches(self, n_rows, rng):
        """Whitened rows in float64, about ``n_rows`` at a time, in random order.

        Neighbouring rows stay together, so that a file is read in long runs.
        """
        n_batches = max(1, self.n_samples // n_rows)
        ends = np.linspace(0, self.n_samples, n_batches + 1).astype(np.intp)
        for i in rng.permutation(n_batches):
            yield (self.X[ends[i] : ends[i + 1]] - self.mean) @ self.matrix.T

    def _centre(self, rows, out):
        # In float64, and rounded to the precision of ``out`` only then.
        np.subtract(self.X[rows], self.mean, out=out, casting="same_kind")

    def _borrow(self, dtype):
        try:
            return self._scratch[dtype].pop()
        except IndexError:
            shape = (self._step, self.X.shape[1], self.n_components)
            return _Scratch(*shape, dtype)

    def _keep(self):
        """The whitened rows in float32, made in float64."""
        if self._kept is None:
            shape = (self.n_samples, self.n_components)
            kept = np.empty(shape, dtype=np.float32)
            matrix = self.matrix.T

            def one_group(chunks):
                scratch = self._borrow(np.dtype(np.float64))
                for rows in chunks:
                    source = scratch.room(rows.stop - rows.start)
                    self._centre(rows, source)
                    kept[rows] = np.matmul(source, matrix, out=scratch.Y[: len(source)])
                self._scratch[np.dtype(np.float64)].append(scratch)

            self.map_groups(one_group, self._groups)
            self._kept = kept
        return self._kept


def fits_single(matrix):
    """Whether a whitening map, and the centred rows it takes, can be float32."""
    low, high = _SINGLE_RANGE
    sizes = np.linalg.norm(matrix, axis=1)
    # Rows have standard deviations of up to the inverse of the smallest.
    return bool(low <= sizes.min() and sizes.max() <= high)


def decorrelation(moments):
    """Inverse square root of a covariance that is near the identity."""
    values, vectors = np.linalg.eigh(moments.covariance)
    # Few rows may span less than all components.
    return (vectors / np.sqrt(np.maximum(values, 1e-6))) @ vectors.T


def evaluate_sources(Y, fun):
    """A :class:`Pass`, in float64, over sources of shape (n_samples, k)."""
    n_samples, k = Y.shape
    step = min(n_samples, _CHUNK_ROWS)
    scratch, sums = _Scratch(step, k, k, np.float64), _Sums(k, fun, True)
    for low in range(0, n_samples, step):
        sums.add(Y[low : low + step].astype(np.float64), scratch)
    return _total([sums], n_samples)


def checked_mean(total, n_samples):
    """A sum over rows divided by their number; refuses what is not finite."""
    if not np.isfinite(total).all():
        raise ValueError(f"X must be finite (n_samples = {n_samples}).")
    return total / n_samples


def _total(groups, n_samples):
    """Mean over all rows from the sums of the groups."""
    product = checked_mean(sum(sums.product for sums in groups), n_samples)
    slope = sum(sums.slope for sums in groups) / n_samples
    if groups[0].loss is None:
        return Pass(product, slope, None)
    return Pass(product, slope, sum(sums.loss for sums in groups) / n_samples)


def _is_mapped(X):
    while X is not None:
        if isinstance(X, np.memmap):
            return True
        X = getattr(X, "base", None)
    return False
