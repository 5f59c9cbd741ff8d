"""Differentiable least-squares solutions of linear equations on grids.

For a minimiser z of |A z - d|^2 and a function of z with gradient g, let
q = (A^T A)^-1 g. The function's derivative along any change of A and d is that of
(d - A z) . (A q) with z and q held fixed, so one more solve gives every gradient: by
coefficients, source and given values it is written out below, by coordinates it is
taken through the rows that hold them.
"""

import math

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skident.solvers._parallel import workers
from skident.solvers._pde_blocks_torch import BlockFactor
from skident.solvers._pde_system import PdeSystem

_DIRECT = ("auto", "direct")


def solve_tensors(
    coefficients,
    source,
    boundary_values,
    coordinates,
    *,
    boundary="faces",
    linear_solver="auto",
    tol=1e-8,
):
    """Differentiable twin of :func:`solve_linear_pde`, for one problem or a batch.

    Parameters
    ----------
    coefficients : tensor of shape (..., n_nodes, n_variables)
    source : tensor of shape (..., n_nodes)
    boundary_values : tensor of shape (..., n_boundary) or (..., n_nodes)
    coordinates : list of tensor or array-like, each of shape (n_i,), or PdeSystem
        Shared by the batch; a tensor that requires a gradient receives one.
    boundary, linear_solver, tol
        As for :func:`solve_linear_pde`; a system brings its own boundary.

    Returns
    -------
    values : tensor of shape (..., n_nodes, n_variables)
        Of the dtype and on the device of ``coefficients``; computed in float64.
    """
    if isinstance(coordinates, PdeSystem):
        system, axes = coordinates, []
    else:
        axes = [torch.as_tensor(x, dtype=torch.float64) for x in coordinates]
        system = PdeSystem([x.detach().cpu().numpy() for x in axes], boundary=boundary)
    coefficients = torch.as_tensor(coefficients)
    like = {"dtype": torch.float64, "device": coefficients.device}
    c = coefficients.to(**like)
    b = torch.as_tensor(source, **like)
    g = torch.as_tensor(boundary_values, **like)
    n_boundary = len(system.boundary_nodes)
    if g.shape[-1:] == (system.n_nodes,) and not system.boundary_variables.any():
        g = g[..., torch.as_tensor(system.boundary_nodes, device=g.device)]
    wanted = (system.n_nodes, system.n_variables)
    if c.shape[-2:] != wanted:
        raise ValueError(
            f"coefficients must be of shape (..., {wanted[0]}, {wanted[1]}), got "
            f"{tuple(c.shape)}."
        )
    if b.shape[-1:] != (system.n_nodes,) or g.shape[-1:] != (n_boundary,):
        raise ValueError(
            f"source must hold {system.n_nodes} values and boundary_values "
            f"{n_boundary}, got shapes {tuple(b.shape)} and {tuple(g.shape)}."
        )
    batch = torch.broadcast_shapes(c.shape[:-2], b.shape[:-1], g.shape[:-1])
    c = c.expand(*batch, *wanted).reshape(-1, *wanted)
    b = b.expand(*batch, system.n_nodes).reshape(-1, system.n_nodes)
    g = g.expand(*batch, n_boundary).reshape(-1, n_boundary)
    make = _batched if c.is_cuda and linear_solver in _DIRECT else _one_by_one
    z = _Solve.apply(
        system, lambda c: make(system, c, linear_solver, tol), c, b, g, *axes
    )
    return z.reshape(*batch, *wanted).to(coefficients.dtype)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, system, make, c, b, g, *axes):
        factor = make(c)
        z = factor.solve(b, g)
        ctx.system, ctx.factor = system, factor
        ctx.save_for_backward(c, b, g, z, *axes)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        c, b, g, z, *axes = ctx.saved_tensors
        system = ctx.system
        q = ctx.factor.solve_normal(grad)
        nodes = _index(system.equation_nodes, c)
        at, z_at, q_at = c[:, nodes], z[:, nodes], q[:, nodes]
        residual = b[:, nodes] - (at * z_at).sum(-1)
        image = (at * q_at).sum(-1)
        of_c, of_b = torch.zeros_like(c), torch.zeros_like(b)
        of_c[:, nodes] = residual[..., None] * q_at - image[..., None] * z_at
        of_b[:, nodes] = image
        given, variables = system.boundary_nodes, system.boundary_variables
        scale = system.structure_weight * system.boundary_scale()
        of_g = q[:, _index(given, c), _index(variables, c)]
        of_g = of_g * torch.as_tensor(scale**2, device=c.device)
        of_axes = [None] * len(axes)
        if any(ctx.needs_input_grad[5:]):
            with torch.enable_grad():
                axes = [x.detach().requires_grad_() for x in axes]
                product = _structure_product(system, axes, z, q, g)
                of_axes = torch.autograd.grad(product, axes)
        return None, None, of_c, of_b, of_g, *of_axes


class _LoopFactor:
    """One factor a problem, on as many cores as the CPU's products use."""

    def __init__(self, system, c, linear_solver, tol):
        def factor(one):
            return system.factor(one, linear_solver=linear_solver, tol=tol)

        self.factors = _in_threads(factor, c)

    def solve(self, b, g):
        def solve(factor, b, g):
            return factor.solve(b, g).values

        return self._stack(_in_threads(solve, self.factors, b, g), b)

    def solve_normal(self, rhs):
        def solve(factor, rhs):
            return factor.solve_normal(rhs)

        return self._stack(_in_threads(solve, self.factors, rhs), rhs)

    def _stack(self, values, like):
        return torch.as_tensor(np.stack(values), device=like.device)


def _in_threads(function, *lists):
    lists = [
        x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x for x in lists
    ]
    with workers() as map_groups:
        return map_groups(lambda of: function(*of), list(zip(*lists, strict=True)))


def _one_by_one(system, c, linear_solver, tol):
    return _LoopFactor(system, c, linear_solver, tol)


def _batched(system, c, linear_solver, tol):
    return BlockFactor(system, c.detach())


def _structure_product(system, axes, z, q, g):
    """(d - A z) . (A q) over the rows that hold coordinates, as a function of these.

    Parameters
    ----------
    axes : list of tensor of shape (n_i,)
    z, q : tensors of shape (batch, n_nodes, n_variables)
    g : tensor of shape (batch, n_boundary)
    """
    n_axes = len(axes)
    steps = [(x[-1] - x[0]) / (len(x) - 1) for x in axes]
    both = torch.stack([z, q]).to(axes[0].device)
    both = both.reshape(2, -1, *system.shape, system.n_variables)
    total = axes[0].new_zeros(())
    for i, x in enumerate(axes):
        moved = both.movedim(2 + i, 1).reshape(2, len(x), -1, system.n_variables)
        field = moved[..., 0]
        first, second = moved[..., 1 + i], moved[..., 1 + n_axes + i]
        gaps = torch.diff(x)
        local = 0.5 * (torch.cat([gaps[:1], gaps]) + torch.cat([gaps, gaps[-1:]]))
        columns = _index(system.axes[i].columns, x)
        weights = _derivative_weights(x[columns] - x[:, None])
        for order, derivative in ((0, first), (1, second)):
            rows = torch.einsum("nk,cnkr->cnr", weights[:, order], field[:, columns])
            rows = (rows - derivative) * (local ** (order + 1))[:, None]
            total = total - (rows[0] * rows[1]).sum()
        node, other = (_index(a, x) for a in system.axes[i].neighbours())
        gap = (x[other] - x[node])[:, None]
        rows = field[:, node] + gap * first[:, node] - field[:, other]
        rows = rows + 0.5 * gap**2 * second[:, node]
        total = total - (rows[0] * rows[1]).sum()
    nodes, variables = _index(system.boundary_nodes, z), system.boundary_variables
    units = torch.stack(
        [torch.ones_like(steps[0]), *steps, *(step**2 for step in steps)]
    )
    scale = units[_index(variables, units)]
    variables = _index(variables, z)
    miss = (g - z[:, nodes, variables]).to(units.device)
    given = (miss * q[:, nodes, variables].to(units.device)).sum(0)
    total = total + (given * scale**2).sum()
    # The weight of these rows is in units of the mean time step.
    weight = system.structure_weight * steps[0].detach() / steps[0]
    return total * weight**2


def _derivative_weights(offsets):
    """As the stencils' own, differentiable; of shape (n, 2, k)."""
    k = offsets.shape[1]
    scale = [math.factorial(p) for p in range(k)]
    moments = torch.stack([offsets**p / scale[p] for p in range(k)], dim=1)
    target = offsets.new_zeros(k, 2)
    target[1, 0] = 1.0
    if k > 2:
        target[2, 1] = 1.0
    target = target.expand(len(offsets), k, 2)
    return torch.linalg.solve(moments, target).transpose(1, 2)


def _index(array, like):
    return torch.as_tensor(np.asarray(array), dtype=torch.int64, device=like.device)
