"""The published multigrid cycle on the normal equations of all unknowns.

Kept to compare with what was published: pointwise Gauss-Seidel on the unknowns of all
nodes in turn, coarse systems assembled anew on grids of half the nodes, residuals and
corrections carried over by linear interpolation. Its iterations grow with the grid.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from skident.solvers._pde_cg import CgResult
from skident.utils._memory import check_memory

_SWEEPS = 5
_SMALLEST = 8
_RESTART = 20
# The factor of a lower triangle is itself; its order must stay.
_AS_IT_IS = {
    "permc_spec": "NATURAL",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}


class PublishedCycle:
    """V-cycle on the normal equations, coarse levels assembled anew.

    Parameters
    ----------
    system : PdeSystem
    coefficients : ndarray of shape (n_nodes, n_variables)

    Attributes
    ----------
    level_shapes : list of tuple of int
        Nodes of each level's grid.
    normal : csr_matrix of shape (n_unknowns, n_unknowns)
        Of the first level, in units of its mean steps, node by node.

    References
    ----------
    .. [1] Pervez, Gavves and Locatello, "Mechanistic PDE networks for discovery of
       governing equations", ICML 2025, arXiv:2502.18377.
    """

    def __init__(self, system, coefficients):
        m = system.n_variables
        # Entries of normal rows: each unknown meets those of its node and the field on
        # the stencils; two copies, their triangles and the factors of these.
        check_memory(600.0 * m * m * system.n_nodes, "The published multigrid cycle")
        # All levels share the first one's units and its weights, as published.
        weight = system.structure_weight
        scale = 1.0 / (weight * system.units)
        self.level_shapes, self._smoothers, self._transfers = [], [], []
        while True:
            self.level_shapes.append(system.shape)
            columns = sparse.diags(np.tile(scale, system.n_nodes))
            rows = (system.rows(coefficients) @ columns).tocsr()
            normal = (rows.T @ rows).tocsr()
            if len(self.level_shapes) == 1:
                self.normal = normal
            counts = [n // 2 if n // 2 >= _SMALLEST else n for n in system.shape]
            if tuple(counts) == system.shape:
                self._last = splu(
                    normal.tocsc(),
                    permc_spec="MMD_AT_PLUS_A",
                    diag_pivot_thresh=0.0,
                    options={"SymmetricMode": True},
                )
                return
            lower = splu(sparse.tril(normal, format="csc"), **_AS_IT_IS)
            upper = sparse.triu(normal, k=1, format="csr")
            self._smoothers.append((normal, lower, upper))
            system, coefficients = self._coarsen(system, coefficients, counts, weight)

    def _coarsen(self, fine, coefficients, counts, weight):
        """Half the nodes along each axis that has enough, corners on corners."""
        down = up = np.ones((1, 1))
        axes, places = [], np.unravel_index(fine.boundary_nodes, fine.shape)
        numbers = np.zeros(len(fine.boundary_nodes), dtype=np.int64)
        for axis, n, place in zip(fine.axes, counts, places, strict=True):
            ratio = (axis.n - 1) / (n - 1)
            at = np.arange(n) * ratio
            nodes = np.interp(at, np.arange(axis.n), axis.nodes) * axis.mean_step
            axes.append(nodes)
            # From the coarse nodes to the fine ones, and from those to these.
            up = sparse.kron(up, _linear(at, np.arange(axis.n)))
            down = sparse.kron(down, _linear(np.arange(axis.n), at))
            numbers = numbers * n + np.rint(place / ratio).astype(np.int64)
        pairs = np.unique(np.stack([numbers, fine.boundary_variables], axis=1), axis=0)
        step = (axes[0][-1] - axes[0][0]) / (counts[0] - 1)
        coarse = type(fine)(
            axes,
            boundary=[(int(p), fine.variables[v]) for p, v in pairs],
            equation_weight=1.0 / (weight * step),
        )
        channels = sparse.identity(fine.n_variables)
        self._transfers.append(
            tuple(sparse.kron(p, channels, format="csr") for p in (up, down))
        )
        return coarse, down @ coefficients

    def solve(self, rhs):
        """Apply one cycle to an array of shape (n_unknowns,)."""
        return self._cycle(0, rhs)

    def _cycle(self, k, rhs):
        if k == len(self._smoothers):
            return self._last.solve(rhs)
        normal, lower, upper = self._smoothers[k]
        up, down = self._transfers[k]
        values = lower.solve(rhs)
        for _ in range(_SWEEPS - 1):
            values = lower.solve(rhs - upper @ values)
        values += up @ self._cycle(k + 1, down @ (rhs - normal @ values))
        for _ in range(_SWEEPS):
            values = lower.solve(rhs - upper @ values)
        return values


def flexible_gmres(cycle, matrix, rhs, *, tol, max_iter):
    """Solve a condensed system through the normal equations it comes from.

    Parameters
    ----------
    cycle : PublishedCycle
    matrix : csr_matrix of shape (n_nodes, n_nodes)
        The condensed system, on whose residual the iteration stops.
    rhs : ndarray of shape (n_nodes, k)
        Right sides, solved one after the other.
    tol : float
        Relative residual of the condensed system.
    max_iter : int
        Iterations before giving up.

    Returns
    -------
    result : CgResult
    """
    values = np.zeros_like(rhs)
    residual = np.zeros(rhs.shape[1])
    most = 0
    for j in range(rhs.shape[1]):
        scale = np.linalg.norm(rhs[:, j])
        if scale > 0:
            values[:, j], residual[j], done = _one(
                cycle, matrix, rhs[:, j], tol * scale, max_iter
            )
            residual[j] /= scale
            most = max(most, done)
    return CgResult(values, residual, most, bool((residual <= tol).all()))


def _one(cycle, matrix, rhs, goal, max_iter):
    normal = cycle.normal
    m = normal.shape[0] // len(rhs)
    # Right sides of the derivatives are zero once these are eliminated.
    full = np.zeros((len(rhs), m))
    full[:, 0] = rhs
    full = full.ravel()
    values = np.zeros_like(full)
    done, left = 0, np.linalg.norm(rhs)
    while done < max_iter:
        start = full - normal @ values
        size = np.linalg.norm(start)
        basis, steps = [start / size], []
        table = np.zeros((_RESTART + 1, _RESTART))
        for i in range(min(_RESTART, max_iter - done)):
            steps.append(cycle.solve(basis[i]))
            image = normal @ steps[i]
            for k, vector in enumerate(basis):
                table[k, i] = vector @ image
                image -= table[k, i] * vector
            table[i + 1, i] = np.linalg.norm(image)
            done += 1
            target = np.zeros(i + 2)
            target[0] = size
            weights = np.linalg.lstsq(table[: i + 2, : i + 1], target, rcond=None)[0]
            reached = values + weights @ np.array(steps)
            left = np.linalg.norm(rhs - matrix @ reached.reshape(-1, m)[:, 0])
            # Nothing new is left to search where the image lies in the basis.
            if not left > goal or table[i + 1, i] <= 1e-14 * size:
                break
            basis.append(image / table[i + 1, i])
        values = reached
        if not left > goal:
            break
    return values.reshape(-1, m)[:, 0], left, done


def _linear(at, wanted):
    """Linear interpolation from increasing places to others between them."""
    first = np.clip(np.searchsorted(at, wanted, side="right") - 1, 0, len(at) - 2)
    share = (wanted - at[first]) / (at[first + 1] - at[first])
    rows = np.arange(len(wanted))
    return sparse.csr_matrix(
        (np.r_[1.0 - share, share], (np.r_[rows, rows], np.r_[first, first + 1])),
        shape=(len(wanted), len(at)),
    )
