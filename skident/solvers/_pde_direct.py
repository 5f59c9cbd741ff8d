"""Symmetric direct factorisation of the condensed system."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from skident.solvers._band_cholesky import BandCholesky
from skident.utils._memory import check_memory

# A banded factor takes n width^2 operations, nearly at the machine's peak; a sparse one
# fewer, about ten times slower each. They break even near 400^2 nodes, and later in
# two dimensions of space.
_MAX_BAND_WORK = 4e11


def factor_direct(condensed):
    """Factor S, by a banded Cholesky where the band is narrow, else by sparse LU.

    Parameters
    ----------
    condensed : Condensed

    Returns
    -------
    factor : BandFactor or SparseFactor
        With ``solve(rhs)`` for rhs of shape (n_nodes, k).
    """
    layout = band_layout(condensed.base)
    if float(layout.n) * layout.width**2 <= _MAX_BAND_WORK:
        return BandFactor(condensed, layout)
    return SparseFactor(condensed)


def direct_bytes(shape):
    """Upper estimate of what :func:`factor_direct` takes on a grid of that shape."""
    n_nodes = float(np.prod(shape))
    # Stencils reach four nodes, along all axes but the longest.
    width = 4.0 * n_nodes / max(shape)
    if n_nodes * width**2 <= _MAX_BAND_WORK:
        return 3 * 8 * n_nodes * (width + 1)
    return _fill_bytes(shape)


class BandLayout:
    """Order of the nodes in which the band of S is narrow, and S in it.

    Attributes
    ----------
    order : ndarray of shape (n,), int64
        Nodes, the longest axis outermost.
    width : int
        Number of diagonals below the main one.
    """

    def __init__(self, base):
        shape = base.system.shape
        self.n = base.n_nodes
        axes = np.argsort(shape, kind="stable")[::-1]
        self.order = np.arange(self.n).reshape(shape).transpose(axes).ravel()
        self.place = np.empty(self.n, dtype=np.int64)
        self.place[self.order] = np.arange(self.n)
        star = self.place[base.star]
        lower = base.base.tocoo()
        row, column = self.place[lower.row], self.place[lower.col]
        below = row >= column
        self.width = int((row - column).max())
        if len(star):
            self.width = max(self.width, int(np.ptp(star, axis=1).max()))
        self._base = (base, lower.data[below], row[below], column[below])
        self._star = star
        self._plan = None

    def fill(self, condensed):
        """Diagonals of S in this order, of shape (n, width + 1), lower form transposed.

        Parameters
        ----------
        condensed : Condensed
        """
        if self._plan is None:
            self._plan = self._make_plan()
        where, data, left, right, gather = self._plan
        values = condensed.values
        rows = values / condensed.tau[:, None]
        products = rows[:, left] * values[:, right]
        band = np.zeros(self.n * (self.width + 1))
        band[where] = data + gather @ products.ravel()
        return band.reshape(self.n, self.width + 1)

    def _make_plan(self):
        _, data, row, column = self._base
        left, right = np.tril_indices(self._star.shape[1])
        high = np.maximum(self._star[:, left], self._star[:, right]).ravel()
        low = np.minimum(self._star[:, left], self._star[:, right]).ravel()
        # Entry (i, j), i >= j, stands at [j, i - j].
        target = low * (self.width + 1) + high - low
        own = column * (self.width + 1) + row - column
        where, place = np.unique(np.r_[own, target], return_inverse=True)
        data = np.bincount(place[: len(own)], weights=data, minlength=len(where))
        n_products = len(target)
        gather = sparse.csr_matrix(
            (np.ones(n_products), (place[len(own) :], np.arange(n_products))),
            shape=(len(where), n_products),
        )
        return where, data, left, right, gather


def band_layout(base):
    """Layout of a grid's band, made once."""
    if base.band is None:
        base.band = BandLayout(base)
    return base.band


class BandFactor:
    """Cholesky factor of S as a band."""

    name, n_iterations = "direct", 0

    def __init__(self, condensed, layout):
        check_memory(
            3 * 8 * layout.n * (layout.width + 1),
            "The band of the condensed system, narrower on a smaller patch,",
        )
        self.layout = layout
        self._factor = BandCholesky(layout.fill(condensed))

    def solve(self, rhs):
        """S^-1 @ rhs, of shape (n_nodes, k)."""
        return self._factor.solve(rhs[self.layout.order])[self.layout.place]


class SparseFactor:
    """Sparse LU factor of S with a symmetric ordering and no pivoting off it."""

    name, n_iterations = "direct", 0

    def __init__(self, condensed):
        matrix = condensed.matrix
        check_memory(
            _fill_bytes(condensed.system.shape),
            "A direct factor of the condensed system, avoided by "
            "linear_solver='multigrid',",
        )
        self._factor = splu(
            matrix.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def solve(self, rhs):
        """S^-1 @ rhs, of shape (n_nodes, k)."""
        return self._factor.solve(rhs)


def _fill_bytes(shape):
    """Upper estimate of a sparse factor's size, measured up to 128^2 and 8 x 32^2."""
    n_nodes = float(np.prod(shape))
    fill = 20.0 * np.log2(n_nodes) if len(shape) == 2 else 48.0 * n_nodes ** (1 / 3)
    return 32.0 * fill * n_nodes
