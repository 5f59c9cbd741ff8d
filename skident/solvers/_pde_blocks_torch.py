"""Batches of condensed systems, factored together as block tridiagonal matrices."""

import warnings

import numpy as np
import torch

from skident.solvers._band_cholesky import ROUNDING
from skident.solvers._pde_factor import NOT_DETERMINED, warn_if_lost
from skident.utils._memory import check_memory

# The condensed system couples nodes at most four apart along an axis: blocks of four
# levels of the longest axis have neighbours only.
_LEVELS = 4

with warnings.catch_warnings():
    # torch tells once a process that its CSR tensors are in beta.
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 1], [0], [0.0], size=(1, 1), check_invariants=False)


class BlockLayout:
    """The parts of a batch that do not depend on coefficients, on one device.

    Parameters
    ----------
    system : PdeSystem
    device : torch.device
    """

    def __init__(self, system, device):
        base = system.condensation
        nodes = system.equation_nodes
        n, m = system.n_nodes, system.n_variables
        self.n_nodes, self.device = n, device
        shape = system.shape
        axes = np.argsort(shape, kind="stable")[::-1]
        order = np.arange(n).reshape(shape).transpose(axes).ravel()
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        self.size = size = min(_LEVELS * (n // max(shape)), n)
        self.n_blocks = n_blocks = -(-n // size)

        def where(row, column):
            row, column = np.maximum(row, column), np.minimum(row, column)
            block = row // size
            below = block != column // size
            start = np.where(below, n_blocks + column // size, block)
            return (start * size + row % size) * size + column % size

        left, right = np.tril_indices(base.star.shape[1])
        star = place[base.star]
        self.left, self.right = self._index(left), self._index(right)
        self.target = self._index(where(star[:, left], star[:, right])).ravel()
        entries = base.base.tocoo()
        row, column = place[entries.row], place[entries.col]
        keep = row >= column
        blocks = np.zeros(2 * n_blocks * size * size)
        np.add.at(blocks, where(row[keep], column[keep]), entries.data[keep])
        # Nodes that fill up the last block stand alone.
        padding = np.arange(n, n_blocks * size)
        blocks[where(padding, padding)] = 1.0
        self.blocks = self._real(blocks)
        self.place, self.order = self._index(place), self._index(order)
        self.star = self._index(base.star)
        self.nodes = self._index(nodes)
        unit = np.eye(m)
        # The equation in the field alone and the elimination of derivatives, both
        # linear in the coefficients.
        self.rows = self._real(
            np.stack([base.equation_rows(np.tile(e, (len(nodes), 1))) for e in unit])
        )
        inverse = base.apply_inverse(np.tile(np.eye(m - 1), (n, 1, 1)))
        self.inverse = self._real(inverse)
        self.scale = self._real(system.units * system.structure_weight)
        self.units = self._real(system.units)
        self.base = self._matrix(base.base)
        self.derivatives = self._matrix(base.derivatives)
        self.adjoint = self._matrix(base.derivatives.T.tocsr())

    def _index(self, array):
        return torch.as_tensor(array.copy(), dtype=torch.int64, device=self.device)

    def _real(self, array):
        return torch.as_tensor(array, dtype=torch.float64, device=self.device)

    def _matrix(self, matrix):
        return torch.sparse_csr_tensor(
            self._index(matrix.indptr),
            self._index(matrix.indices),
            self._real(matrix.data),
            size=matrix.shape,
            check_invariants=False,
        )


class BlockFactor:
    """Factors of a batch of systems on one grid, of any device.

    Parameters
    ----------
    system : PdeSystem
    coefficients : tensor of shape (batch, n_nodes, n_variables), float64
    """

    def __init__(self, system, coefficients):
        self.system = system
        self.layout = layout = _layout(system, coefficients.device)
        self._check_memory(coefficients)
        scaled = coefficients[:, layout.nodes] / layout.scale
        if not torch.isfinite(scaled).all():
            raise ValueError("coefficients must be finite at the equation nodes.")
        self._pull = torch.einsum(
            "nde,bne->bnd", layout.inverse[layout.nodes], scaled[..., 1:]
        )
        self._tau = 1.0 + (scaled[..., 1:] * self._pull).sum(-1)
        self._values = torch.einsum("bnm,mns->bns", scaled, layout.rows)
        try:
            self._lower, self._below = self._factor()
        except torch.linalg.LinAlgError as error:
            raise ValueError(NOT_DETERMINED) from error
        pivots = torch.stack([block.diagonal(0, 1, 2) for block in self._lower], 1)
        least, most = pivots.amin((1, 2)) ** 2, pivots.amax((1, 2)) ** 2
        if (least <= ROUNDING * most).any():
            raise ValueError(NOT_DETERMINED)
        self.residual = 0.0

    def _check_memory(self, coefficients):
        # The blocks and their factors, twice each, and the products they come from.
        n_pairs = len(self.layout.left)
        n_bytes = 8.0 * len(coefficients) * 2 * len(self.layout.blocks)
        n_bytes += 24.0 * len(coefficients) * len(self.layout.nodes) * n_pairs
        what = f"A batch of {len(coefficients)} patches, halved by halving it,"
        available = None
        if coefficients.is_cuda:
            available = torch.cuda.mem_get_info(coefficients.device)[0]
        check_memory(n_bytes, what, available)

    def _factor(self):
        layout, values = self.layout, self._values
        n_batch = len(values)
        blocks = layout.blocks.repeat(n_batch, 1)
        rows = values / self._tau[..., None]
        products = rows[..., layout.left] * values[..., layout.right]
        blocks.index_add_(1, layout.target, products.flatten(1))
        size, n_blocks = layout.size, layout.n_blocks
        blocks = blocks.view(n_batch, 2, n_blocks, size, size)
        lower, below = [], []
        diagonal = blocks[:, 0, 0]
        for k in range(n_blocks):
            lower.append(torch.linalg.cholesky(diagonal))
            if k + 1 < n_blocks:
                # Row block k + 1 of the factor, left of its diagonal.
                side = torch.linalg.solve_triangular(
                    lower[k].mT, blocks[:, 1, k], upper=True, left=False
                )
                below.append(side)
                diagonal = blocks[:, 0, k + 1] - side @ side.mT
        return lower, below

    def solve(self, source, given):
        """Least-squares solutions.

        Parameters
        ----------
        source : tensor of shape (batch, n_nodes)
        given : tensor of shape (batch, n_boundary)

        Returns
        -------
        values : tensor of shape (batch, n_nodes, n_variables)
        """
        system, layout = self.system, self.layout
        rhs = source.new_zeros(len(source), system.n_nodes, system.n_variables)
        nodes = layout._index(system.boundary_nodes)
        variables = layout._index(system.boundary_variables)
        rhs[:, nodes, variables] = given * layout.units[variables]
        source = source[:, layout.nodes] / system.structure_weight
        return self._solve(rhs, source) / layout.units

    def solve_normal(self, rhs):
        """Solve with the normal equations; rhs (batch, n_nodes, n_variables)."""
        scale = self.layout.scale
        return self._solve(rhs / scale, 0.0) / scale

    def _solve(self, rhs, source):
        layout = self.layout
        n_batch, n_nodes, m = rhs.shape
        flat = rhs[..., 1:].permute(2, 1, 0).reshape(-1, n_batch)
        project = (self._pull * rhs[:, layout.nodes, 1:]).sum(-1)
        reduced = rhs[..., 0] + (layout.adjoint @ flat).T
        reduced = reduced + self._spread((source - project) / self._tau)
        field = self._substitute(reduced)
        # One step of refinement.
        field = field + self._substitute(reduced - self._multiply(field))
        gap = reduced - self._multiply(field)
        size = torch.linalg.vector_norm(reduced, dim=1)
        size = torch.where(size > 0, size, 1.0)
        self.residual = float((torch.linalg.vector_norm(gap, dim=1) / size).max())
        warn_if_lost(self.residual, stacklevel=6)
        derivatives = (layout.derivatives @ field.T.contiguous()).view(
            m - 1, n_nodes, -1
        )
        out = torch.empty_like(rhs)
        out[..., 0] = field
        out[..., 1:] = torch.einsum("nde,bne->bnd", layout.inverse, rhs[..., 1:])
        out[..., 1:] += derivatives.permute(2, 1, 0)
        gap = (self._gather(field) + project - source) / self._tau
        out[:, layout.nodes, 1:] -= self._pull * gap[..., None]
        return out

    def _gather(self, field):
        return (self._values * field[:, self.layout.star]).sum(-1)

    def _spread(self, equation):
        out = equation.new_zeros(len(equation), self.layout.n_nodes)
        products = (self._values * equation[..., None]).flatten(1)
        return out.index_add_(1, self.layout.star.ravel(), products)

    def _multiply(self, field):
        base = (self.layout.base @ field.T.contiguous()).T
        return base + self._spread(self._gather(field) / self._tau)

    def _substitute(self, rhs):
        layout = self.layout
        size, n_blocks = layout.size, layout.n_blocks
        x = rhs.new_zeros(len(rhs), n_blocks * size)
        x[:, : layout.n_nodes] = rhs[:, layout.order]
        x = list(x.view(len(rhs), n_blocks, size, 1).unbind(1))
        for k in range(n_blocks):
            if k:
                x[k] = x[k] - self._below[k - 1] @ x[k - 1]
            x[k] = torch.linalg.solve_triangular(self._lower[k], x[k], upper=False)
        for k in reversed(range(n_blocks)):
            if k + 1 < n_blocks:
                x[k] = x[k] - self._below[k].mT @ x[k + 1]
            x[k] = torch.linalg.solve_triangular(self._lower[k].mT, x[k], upper=True)
        return torch.cat(x, dim=1)[:, layout.place, 0]


def _layout(system, device):
    layouts = system.condensation.layouts
    if device not in layouts:
        layouts[device] = BlockLayout(system, device)
    return layouts[device]
