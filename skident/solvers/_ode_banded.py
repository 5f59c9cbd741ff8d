"""Banded Cholesky factorisation of block-tridiagonal normal equations, on the CPU."""

from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from skident.solvers._ode_refine import inverse_norms

# Unknowns factored at a time: the band of so many stays near the processor.
_CHUNK = 2**18
_EPS = np.finfo(np.float64).eps


class BandedFactor:
    """Cholesky factor of normal equations, scaled to a diagonal of ones.

    Systems of one batch stand one behind the other in a single band: they share no
    entry, and one call factors them all.

    Parameters
    ----------
    diagonal, below, below2
        As :meth:`OdeRows.blocks` returns them, in batches of shape (n_systems,).

    Attributes
    ----------
    scale : ndarray of shape (n_systems, n_steps, block)
        What the unknowns are multiples of.
    raised : bool
        Whether a matrix was singular to rounding, and its diagonal raised for that.
    condition : ndarray of shape (n_systems,)
        Estimated condition numbers of the scaled matrices in the 1-norm, most often
        within a factor of three from below; infinite where ``raised``.
    """

    def __init__(self, diagonal, below, below2=None):
        n_systems, n_steps, block, _ = diagonal.shape
        self.shape = (n_systems, n_steps, block)
        self.scale = 1 / np.sqrt(np.einsum("stbb->stb", diagonal))
        per_chunk = max(1, _CHUNK // (n_steps * block))
        self.chunks = [
            slice(low, min(low + per_chunk, n_systems))
            for low in range(0, n_systems, per_chunk)
        ]
        self.raised = False
        self._factors, self._norms = [], []
        for systems in self.chunks:
            parts = [None if a is None else a[systems] for a in (below, below2)]
            band = _pack(diagonal[systems], *parts, self.scale[systems])
            self._norms.append(_norms(band, n_steps * block))
            factor, raised = _factor(band)
            self._factors.append(factor)
            self.raised |= raised

    @cached_property
    def condition(self):
        """Estimated from the factors when it is first asked for."""
        if self.raised:
            return np.full(self.shape[0], np.inf)
        return np.concatenate(self._norms) * inverse_norms(np, self)

    def solve(self, right):
        """Solve for right sides of shape (n_columns, n_systems, n_steps, block)."""
        right = right * self.scale
        n_columns = len(right)
        solved = np.empty_like(right)
        for systems, factor in zip(self.chunks, self._factors, strict=True):
            part = right[:, systems]
            columns = np.asfortranarray(part.reshape(n_columns, -1).T)
            columns = cho_solve_banded(
                (factor, True), columns, overwrite_b=True, check_finite=False
            )
            solved[:, systems] = columns.T.reshape(part.shape)
        solved *= self.scale
        return solved


def _pack(diagonal, below, below2, scale):
    """Lower band of the scaled matrix, one column of it after the other in memory."""
    n_systems, n, block, _ = diagonal.shape
    n_orders = below.shape[-1]
    width = block + n_orders if below2 is None else 2 * block + 1
    stored = np.zeros((n_systems, n, block, width))
    for i in range(block):
        here = scale[:, :, i, None]
        stored[:, :, i, : block - i] = diagonal[:, :, i:, i] * here * scale[:, :, i:]
        # Only the orders of the same state meet in the next step.
        first, order = i - i % n_orders, i % n_orders
        offset = block - i + first
        there = scale[:, 1:, first : first + n_orders]
        next_step = stored[:, :-1, i, offset : offset + n_orders]
        next_step[...] = below[..., order] * here[:, :-1] * there
        if below2 is not None and order == n_orders - 2:
            stored[:, :-2, i, 2 * block] = below2 * scale[:, :-2, i] * scale[:, 2:, i]
    return stored.reshape(-1, width).T


def _norms(band, size):
    """1-norms of the symmetric systems of that size which stand in a lower band."""
    sums = np.abs(band).sum(axis=0)
    for k in range(1, len(band)):
        if k < len(sums):
            sums[k:] += np.abs(band[k, :-k])
    return sums.reshape(-1, size).max(axis=1)


def _factor(band):
    """Banded Cholesky factor, and whether the diagonal had to be raised for it."""
    # Rounding moves the eigenvalues of a matrix of unit diagonal by about so much.
    shift = len(band) * _EPS
    raised = False
    while True:
        try:
            # Without a copy the band would be lost for a second attempt.
            factor = cholesky_banded(band, lower=True, check_finite=False)
        except LinAlgError:
            band[0] += shift
            shift *= 10
            raised = True
        else:
            return factor, raised
