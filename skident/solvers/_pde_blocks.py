"""Blocks of lines of a grid, solved exactly as bands, and maps between grids."""

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

# Of the upper part of the spectrum that a Chebyshev smoother treats.
_LOWER = 1.0 / 8.0
_POWER_STEPS = 15


class LineBlocks:
    """A symmetric matrix on a grid as blocks of lines and what couples them.

    Nodes are kept in an order of their own: colour after colour, and in a block along
    the lines first, so that each block is a band. Blocks of one colour are not coupled.

    Parameters
    ----------
    matrix : csr_matrix of shape (n, n)
        Symmetric positive definite, nodes in C order.
    counts : list of int
        Lines along each axis across them, then the nodes of a line.
    block : int
        Lines of a block along each axis across them.
    keep_matrix : bool, default=False
        Whether to keep the matrix too, as :meth:`chebyshev` needs it.

    Attributes
    ----------
    order : ndarray of shape (n,), int64
        Nodes in the order kept; all methods take and return arrays in it.
    n_colours : int
    width : int
        Diagonals of the band below the main one.
    n_bytes : int
    """

    def __init__(self, matrix, counts, block, keep_matrix=False):
        n, length = matrix.shape[0], counts[-1]
        index = matrix.indices.dtype
        blocks = _block_of_lines(counts[:-1], block).astype(index)
        # Arrays of the stored entries, row by row.
        row = np.repeat(np.arange(n, dtype=index), np.diff(matrix.indptr))
        column, data = matrix.indices, matrix.data
        here, there = blocks[row // length], blocks[column // length]
        n_blocks = int(blocks.max()) + 1
        coupled = sparse.csr_matrix(
            (np.ones(len(here), dtype=bool), (here, there)), shape=(n_blocks, n_blocks)
        )
        colours = _colour(coupled)
        self.n_colours = int(colours.max()) + 1
        node_block = np.repeat(blocks, length)
        along = np.tile(np.arange(length), len(blocks))
        self.order = np.lexsort((along, node_block, colours[node_block]))
        place = np.empty(n, dtype=index)
        place[self.order] = np.arange(n)
        row, column = place[row], place[column]
        inside = (here == there) & (row >= column)
        offset = row[inside] - column[inside]
        self.width = int(offset.max())
        band = np.zeros((n, self.width + 1))
        band[column[inside], offset] = data[inside]
        # The transposed view is in the order that LAPACK works in, without a copy.
        self._factor = linalg.cholesky_banded(
            band.T, overwrite_ab=True, lower=True, check_finite=False
        )
        ends = np.cumsum(np.bincount(colours[node_block]))
        self._parts = [
            slice(start, end)
            for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True)
        ]
        below = (here != there) & (row > column)
        data, row, column = data[below], row[below], column[below]
        self.lower = sparse.csr_matrix((data, (row, column)), shape=(n, n))
        self.upper = self.lower.T.tocsr()
        self._lower_rows = [_rows(self.lower, part) for part in self._parts]
        self._upper_rows = [_rows(self.upper, part) for part in self._parts]
        self.n_bytes = self._factor.nbytes + sum(
            m.data.nbytes + m.indices.nbytes for m in (self.lower, self.upper)
        )
        if keep_matrix:
            self.matrix = matrix[self.order][:, self.order].tocsr()
            self.n_bytes += self.matrix.data.nbytes + self.matrix.indices.nbytes
            self._largest = self._spectral_bound()

    def solve_blocks(self, rhs, part=slice(None)):
        """Solve with the blocks alone, all of them or those of one colour.

        Parameters
        ----------
        rhs : ndarray of shape (n_part,) or (n_part, k)
        part : slice, default=slice(None)

        Returns
        -------
        ndarray of the shape of ``rhs``
        """
        return lapack.dpbtrs(self._factor[:, part], rhs, lower=1)[0]

    def forward(self, rhs, n_sweeps):
        """Sweep through the colours from zero.

        Returns
        -------
        values, left : ndarrays of the shape of ``rhs``
            The values reached, and the residual of the matrix there.
        """
        values = np.zeros_like(rhs)
        ahead = None
        for _ in range(n_sweeps):
            known = rhs if ahead is None else rhs - ahead
            for rows, part in zip(self._lower_rows, self._parts, strict=True):
                values[part] = self.solve_blocks(known[part] - rows @ values, part)
            before, ahead = ahead, self.upper @ values
        # The blocks and what is below them are met exactly: what is above has changed.
        return values, -ahead if before is None else before - ahead

    def backward(self, values, rhs, n_sweeps):
        """Sweep through the colours in the other order, from the values given."""
        for _ in range(n_sweeps):
            known = rhs - self.lower @ values
            for rows, part in zip(
                self._upper_rows[::-1], self._parts[::-1], strict=True
            ):
                values[part] = self.solve_blocks(known[part] - rows @ values, part)
        return values

    def chebyshev(self, values, left, n_steps):
        """Polynomial in the block solves, for the upper part of the spectrum.

        Parameters
        ----------
        values : ndarray of shape (n,) or (n, k), or None
            Where to start; None is zero.
        left : ndarray of shape (n,) or (n, k)
            Residual there.
        n_steps : int
            Degree of the polynomial.

        Returns
        -------
        values, left : ndarrays of the shape of ``left``
        """
        centre = 0.5 * self._largest * (1.0 + _LOWER)
        radius = 0.5 * self._largest * (1.0 - _LOWER)
        ratio = centre / radius
        last = 1.0 / ratio
        step = self.solve_blocks(left) / centre
        values = step if values is None else values + step
        left = left - self.matrix @ step
        for _ in range(n_steps - 1):
            rho = 1.0 / (2.0 * ratio - last)
            step = rho * last * step + (2.0 * rho / radius) * self.solve_blocks(left)
            values = values + step
            left = left - self.matrix @ step
            last = rho
        return values, left

    def _spectral_bound(self):
        """Largest eigenvalue of the matrix over its blocks, from power steps."""
        vector = np.random.default_rng(0).standard_normal(self.matrix.shape[0])
        largest = 1.0
        for _ in range(_POWER_STEPS):
            vector /= np.linalg.norm(vector)
            image = self.solve_blocks(self.matrix @ vector)
            largest = np.linalg.norm(image)
            vector = image
        # Power steps approach it from below.
        return 1.1 * largest


def kept_nodes(n, every):
    """Nodes of an axis that go to the next level: every so many, and the last."""
    return np.unique(np.r_[np.arange(0, n, every), n - 1])


def interpolation(nodes, kept, degree):
    """Interpolation from some nodes of an axis to all of them.

    Parameters
    ----------
    nodes : ndarray of shape (n,)
        Increasing coordinates.
    kept : ndarray of shape (m,), int64
        Indices of those with values, the first and the last node among them.
    degree : int
        Of the polynomials; lower where fewer nodes are kept.

    Returns
    -------
    matrix : csr_matrix of shape (n, m)
        Rows sum to one.
    """
    n, m = len(nodes), len(kept)
    at = nodes[kept]
    k = min(degree + 1, m)
    first = np.clip(np.searchsorted(at, nodes) - k // 2, 0, m - k)
    columns = first[:, None] + np.arange(k)
    support = at[columns]
    gaps = nodes[:, None] - support
    weights = np.ones((n, k))
    for i in range(k):
        for j in range(k):
            if i != j:
                weights[:, i] *= gaps[:, j] / (support[:, i] - support[:, j])
    matrix = sparse.csr_matrix(
        (weights.ravel(), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, m)
    )
    # Kept nodes interpolate nothing: their other weights are exactly zero.
    matrix.eliminate_zeros()
    return matrix


def _block_of_lines(counts, block):
    """Number of the block that each line belongs to."""
    number = np.zeros(1, dtype=np.int64)
    for n in counts:
        own = np.arange(n) // block
        number = (number[:, None] * (own[-1] + 1) + own).ravel()
    return number


def _colour(coupled):
    """Lowest colour that no coupled block has, block after block."""
    colours = np.full(coupled.shape[0], -1, dtype=np.int64)
    for i in range(len(colours)):
        taken = colours[coupled.indices[coupled.indptr[i] : coupled.indptr[i + 1]]]
        free = np.ones(len(taken) + 1, dtype=bool)
        free[taken[(taken >= 0) & (taken <= len(taken))]] = False
        colours[i] = int(np.argmax(free))
    return colours


def _rows(matrix, part):
    """Rows of a matrix as one of their own that shares its arrays."""
    start, end = matrix.indptr[part.start], matrix.indptr[part.stop]
    return sparse.csr_matrix(
        (
            matrix.data[start:end],
            matrix.indices[start:end],
            matrix.indptr[part.start : part.stop + 1] - start,
        ),
        shape=(part.stop - part.start, matrix.shape[1]),
    )
