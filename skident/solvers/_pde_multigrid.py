"""Multigrid for condensed least-squares systems on grids."""

import numpy as np
from scipy import sparse

from skident.solvers._pde_blocks import LineBlocks, interpolation, kept_nodes
from skident.utils._memory import check_memory

# Per number of axes: lines of a block along each axis across the lines, lines to one on
# the next level, and up to how many lines an axis is not coarsened. Larger blocks cost
# more than the iterations they save.
_PLANS = {2: (8, 4, 12), 3: (4, 3, 8)}
_SMOOTHERS = ("gauss_seidel", "chebyshev")


class MultigridPreconditioner:
    """One multigrid V-cycle, near the inverse of a condensed system on a grid.

    The matrix is symmetric positive definite and couples nodes at most four apart along
    an axis. Lines of nodes (along x with one axis of space, along time with two) are
    never coarsened; blocks of neighbouring lines are solved exactly, colour after
    colour, and what is smooth across the lines is left to coarser levels, whose
    matrices are Galerkin products. One cycle is a symmetric positive definite map, fit
    for conjugate gradients.

    Parameters
    ----------
    matrix : sparse matrix of shape (n_nodes, n_nodes)
        The system, nodes in C order with time first.
    coordinates : list of array-like, each of shape (n_i,)
        Increasing coordinates of the nodes, time first, then one or two axes of space.
        They may be unevenly spaced, and of any number.
    block : int or None, default=None
        Lines of a block along each axis across them; None is 8 levels of time with one
        axis of space and 4 x 4 nodes with two. One is the classical line relaxation.
    coarsening : int or None, default=None
        Every so many lines go to the next level, with the last; None is 4 with one axis
        of space, 3 with two.
    degree : int, default=3
        Degree of the interpolating polynomials.
    n_sweeps : int, default=1
        Sweeps of the smoother before, and as many after, each visit to the coarser
        levels. Of "chebyshev" it is the polynomial's degree divided by four.
    smoother : {"gauss_seidel", "chebyshev"}, default="gauss_seidel"
        "gauss_seidel" goes through the colours forwards before the coarse correction
        and backwards after it; "chebyshev" solves all blocks at once and combines
        4 n_sweeps such steps by the polynomial for the upper seven eighths of the
        spectrum: twice the work, with no order in it.

    Attributes
    ----------
    shape : tuple of int
        Shape of the matrix.
    level_shapes : list of tuple of int
        Nodes of each level: lines along each axis across them, then the length of a
        line. The last is solved exactly.
    operator_complexity : float
        Entries of the matrices of all levels over those of the first.
    n_bytes : int
        Memory of what is kept.

    Raises
    ------
    ValueError
        If the matrix does not belong to the grid.
    numpy.linalg.LinAlgError
        If a block is not positive definite.
    MemoryError
        If the levels would not fit into the memory that is free.

    Notes
    -----
    With N nodes and b entries of a block's band a node (4 times ``block``, or
    ``block`` squared, in two dimensions of space), set-up takes O(N b^2) time, a cycle
    O(N b) time and memory. Iterations of conjugate gradients hardly depend on the size
    of the grid where values are given on the faces; with values at the first time alone
    they grow with it.

    References
    ----------
    .. [1] Trottenberg, Oosterlee and Schüller, "Multigrid", Academic Press, 2001,
       chapters 2 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import MultigridPreconditioner, PdeSystem
    >>> t, x = np.linspace(0, 1, 32), np.linspace(0, 1, 32)
    >>> system = PdeSystem([t, x])
    >>> heat = np.tile([0.0, 1.0, 0.0, 0.0, -0.1], (system.n_nodes, 1))
    >>> matrix = system.condensation.condense(heat).matrix
    >>> cycle = MultigridPreconditioner(matrix, [t, x])
    >>> cycle.level_shapes
    [(32, 32), (9, 32)]
    >>> rhs = np.ones(system.n_nodes)
    >>> left = rhs - matrix @ cycle.solve(rhs)
    >>> bool(np.linalg.norm(left) < 0.5 * np.linalg.norm(rhs))
    True
    """

    def __init__(
        self,
        matrix,
        coordinates,
        *,
        block=None,
        coarsening=None,
        degree=3,
        n_sweeps=1,
        smoother="gauss_seidel",
    ):
        axes = [np.asarray(x, dtype=np.float64) for x in coordinates]
        if len(axes) not in _PLANS:
            raise ValueError(
                "coordinates must hold one axis of time and one or two of space, got "
                f"{len(axes)} in all."
            )
        n_nodes = int(np.prod([len(x) for x in axes]))
        if matrix.shape != (n_nodes, n_nodes):
            raise ValueError(
                f"matrix is of shape {matrix.shape}, and the coordinates are those of "
                f"{n_nodes} nodes."
            )
        if smoother not in _SMOOTHERS:
            raise ValueError(
                f"smoother must be one of {', '.join(_SMOOTHERS)}, got {smoother!r}."
            )
        plan = _PLANS[len(axes)]
        block = plan[0] if block is None else block
        coarsening = plan[1] if coarsening is None else coarsening
        if block < 1 or coarsening < 2 or degree < 1 or n_sweeps < 1:
            raise ValueError(
                "block, degree and n_sweeps must be at least 1 and coarsening at least "
                f"2, got {block}, {degree}, {n_sweeps} and {coarsening}."
            )
        self.shape = matrix.shape
        self.n_sweeps, self.smoother = n_sweeps, smoother
        matrix = sparse.csr_matrix(matrix, dtype=np.float64)
        numbers = np.arange(n_nodes).reshape([len(x) for x in axes])
        if len(axes) == 3:
            # Lines along time: the axes across them are those of space.
            axes = [axes[1], axes[2], axes[0]]
            numbers = numbers.transpose(1, 2, 0)
            flat = numbers.ravel()
            matrix = matrix[flat][:, flat]
        across = len(axes) - 1
        width = 4 * block**across
        check_memory(
            # Bands and matrices of all levels, and the products they come from.
            16.0 * n_nodes * (width + 1) + 60.0 * matrix.nnz,
            "Multigrid, narrower with a smaller block,",
        )
        self._build(matrix, numbers.ravel(), axes, block, coarsening, degree, plan[2])

    def _build(self, matrix, numbers, axes, block, coarsening, degree, last):
        n_entries = matrix.nnz
        self.levels, self._transfers, self.level_shapes = [], [], []
        transfer, total = None, 0
        while True:
            counts = [len(x) for x in axes]
            coarsest = all(n <= last for n in counts[:-1])
            level = LineBlocks(
                matrix,
                counts,
                max(counts) if coarsest else block,
                keep_matrix=self.smoother == "chebyshev" and not coarsest,
            )
            total += matrix.nnz
            self.levels.append(level)
            self.level_shapes.append(tuple(counts))
            if transfer is None:
                # Numbers of the caller's nodes, in the order of the first level.
                self._order = numbers[level.order]
            else:
                inward = transfer[self.levels[-2].order][:, level.order].tocsr()
                self._transfers.append((inward, inward.T.tocsr()))
            if coarsest:
                break
            transfer = None
            for i, x in enumerate(axes[:-1]):
                kept = kept_nodes(len(x), coarsening if len(x) > last else 1)
                part = interpolation(x, kept, degree)
                transfer = part if transfer is None else sparse.kron(transfer, part)
                axes[i] = x[kept]
            line = sparse.identity(counts[-1], format="csr")
            transfer = sparse.kron(transfer, line, format="csr")
            matrix = (transfer.T.tocsr() @ (matrix @ transfer)).tocsr()
        self.operator_complexity = total / n_entries
        parts = [level.n_bytes for level in self.levels]
        parts += [_csr_bytes(m) for pair in self._transfers for m in pair]
        self.n_bytes = sum(parts)

    def __repr__(self):
        return f"MultigridPreconditioner(level_shapes={self.level_shapes})"

    def solve(self, rhs):
        """Apply one V-cycle.

        Parameters
        ----------
        rhs : ndarray of shape (n_nodes,) or (n_nodes, k)
            Right sides or residuals, nodes in the order of the matrix.

        Returns
        -------
        ndarray of the shape of ``rhs``
            Approximation of the inverse times ``rhs``.
        """
        rhs = np.asarray(rhs, dtype=np.float64)
        out = np.empty(rhs.shape)
        out[self._order] = self._cycle(0, rhs[self._order])
        return out

    def _cycle(self, k, rhs):
        level = self.levels[k]
        if k == len(self._transfers):
            return level.solve_blocks(rhs)
        inward, outward = self._transfers[k]
        chebyshev = self.smoother == "chebyshev"
        if chebyshev:
            values, left = level.chebyshev(None, rhs, 4 * self.n_sweeps)
        else:
            values, left = level.forward(rhs, self.n_sweeps)
        values += inward @ self._cycle(k + 1, outward @ left)
        if chebyshev:
            left = rhs - level.matrix @ values
            return level.chebyshev(values, left, 4 * self.n_sweeps)[0]
        return level.backward(values, rhs, self.n_sweeps)


def _csr_bytes(matrix):
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
