"""Linear ODEs on a grid for tensors: batched, on any device, with gradients."""

from functools import cached_property

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skident.solvers._ode_banded import BandedFactor
from skident.solvers._ode_blocks import OdeRows
from skident.solvers._ode_checks import (
    AXES,
    NAMES,
    check_axes,
    check_factor_memory,
    check_positive,
    check_sizes,
    check_solve_memory,
    count_steps,
    finite_array,
    warn_of_condition,
    warn_of_residual,
)
from skident.solvers._ode_factor import OdeSolveInfo
from skident.solvers._ode_refine import (
    Layout,
    inverse_norms,
    one_axis,
    refined,
    residual_norms,
)

_EPS = np.finfo(np.float64).eps


def solve_tensors(
    coefficients,
    rhs,
    init,
    steps,
    *,
    w_eq,
    w_init,
    w_smooth,
    central,
    backend,
    with_info,
):
    """What :func:`skident.solvers.solve_linear_ode` does for tensors.

    Returns
    -------
    y : tensor
    info : OdeSolveInfo or None
    """
    given = (coefficients, rhs, init, steps)
    device = next(
        (a.device for a in given if isinstance(a, torch.Tensor)), torch.device("cpu")
    )
    given = [_tensor(a, device) for a in given]
    _check_values(*given)
    coefficients, rhs, init, steps = given
    steps = steps[None] if steps.ndim == 0 else steps
    shapes = [tuple(a.shape) for a in (coefficients, rhs, init, steps)]
    for shape, name, n_axes in zip(shapes, NAMES, AXES, strict=True):
        check_axes(shape, name, n_axes)
    n_steps = count_steps(shapes[0], shapes[1], shapes[3])
    weights = {"w_eq": w_eq, "w_init": w_init, "w_smooth": w_smooth}
    check_sizes(*shapes, n_steps, weights, central)
    batch = np.broadcast_shapes(shapes[0][:-4], shapes[3][:-1])
    layout = Layout(torch, batch, shapes[1][:-2], shapes[2][:-3])
    rhs = rhs.expand(*rhs.shape[:-2], n_steps, -1)
    if device.type == "cpu":
        states_orders = shapes[0][-2:]
        check_factor_memory(layout.n_systems, n_steps, *states_orders, central)
        n_series = layout.n_columns * layout.n_systems
        check_solve_memory(n_series, n_steps, *states_orders)
    if backend == "auto":
        backend = "banded" if device.type == "cpu" else "torch"
    if backend == "banded" and device.type != "cpu":
        raise ValueError(f'backend="banded" needs tensors on the CPU, got {device}.')
    problem = _Problem(
        backend,
        with_info,
        n_steps=n_steps,
        n_init_steps=init.shape[-3],
        n_init_orders=init.shape[-1],
        **weights,
        central=central,
    )
    y = _Solve.apply(
        one_axis(torch, coefficients, batch, 4),
        layout.fold(rhs, 2),
        layout.fold(init, 3),
        one_axis(torch, steps, batch, 1),
        problem,
    )
    warn_of_condition(problem.condition)
    warn_of_residual(problem.relative)
    info = None
    if with_info:
        figures = (layout.unfold(a, 0) for a in (*problem.figures, problem.relative))
        info = OdeSolveInfo(*(a.cpu().numpy()[()] for a in figures))
    return layout.unfold(y, 3), info


class _Problem:
    """Settings of a solve, and what came of it beside the solution."""

    def __init__(self, backend, with_info, **settings):
        self.backend, self.with_info, self.settings = backend, with_info, settings
        self.condition = self.relative = self.figures = None

    def rows(self, coefficients, steps):
        def constant(values):
            return torch.as_tensor(
                values, dtype=torch.float64, device=coefficients.device
            )

        unit = steps.detach().mean(dim=-1)
        return OdeRows(
            torch, coefficients, steps, unit, **self.settings, constant=constant
        )

    def factor(self, rows):
        diagonal, below, below2 = rows.blocks()
        if self.backend == "banded":
            return _OnCpu(diagonal, below, below2)
        return ReducedFactor(diagonal, below, below2)


class _Solve(torch.autograd.Function):
    """Least squares, and its adjoint from one more solve with the same factor."""

    @staticmethod
    def forward(ctx, coefficients, rhs, init, steps, problem):
        rows = problem.rows(coefficients, steps)
        factor = problem.factor(rows)
        z, problem.relative = refined(torch, rows, factor, rhs, init)
        # Elsewhere only what is singular to rounding is worth the further solves.
        seen = problem.with_info or factor.raised
        problem.condition = factor.condition if seen else torch.zeros(1)
        if problem.with_info:
            norms = residual_norms(torch, rows.apply(z), rhs, init)
            condition = problem.condition.expand(problem.relative.shape)
            problem.figures = (condition, *norms)
        ctx.save_for_backward(coefficients, rhs, init, steps, z)
        ctx.problem, ctx.factor = problem, factor
        return z / rows.powers[..., None, None, :]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        *inputs, z = ctx.saved_tensors
        problem, wanted = ctx.problem, ctx.needs_input_grad[:4]
        inputs = [
            a.detach().requires_grad_(needed)
            for a, needed in zip(inputs, wanted, strict=True)
        ]
        with torch.enable_grad():
            rows = problem.rows(inputs[0], inputs[3])
        with torch.no_grad():
            v = _adjoint_solve(rows, ctx.factor, grad / rows.powers[..., None, None, :])
        # With z = argmin |A z - b|^2, N = A^T A and N v = grad, the differential of
        # <grad, z> is that of <A v, b - A z> at fixed z and v: A enters twice.
        with torch.enable_grad():
            equations, start, *smooth = rows.apply(z)
            misfit = (inputs[1] - equations, inputs[2] - start, *(-r for r in smooth))
            pairs = zip(rows.weighted(rows.apply(v)), misfit, strict=True)
            value = sum((a * b).sum() for a, b in pairs)
            grads = iter(
                torch.autograd.grad(
                    value, [a for a in inputs if a.requires_grad], allow_unused=True
                )
            )
        return *(next(grads) if needed else None for needed in wanted), None


def _adjoint_solve(rows, factor, grad):
    """Solve N v = grad, refined once."""
    flat = (*grad.shape[:3], -1)
    v = factor.solve(grad.reshape(flat))
    residual = grad - rows.adjoint(rows.apply(v.reshape(grad.shape)))
    return (v + factor.solve(residual.reshape(flat))).reshape(grad.shape)


class _OnCpu:
    """A banded factor that takes and returns tensors."""

    def __init__(self, diagonal, below, below2):
        parts = (diagonal, below, below2)
        parts = [None if a is None else a.detach().numpy() for a in parts]
        n_systems = len(parts[0])
        parts = [
            None if a is None else np.broadcast_to(a, (n_systems, *a.shape[1:]))
            for a in parts
        ]
        self._factor = BandedFactor(*parts)
        self.scale = torch.from_numpy(self._factor.scale)
        self.raised = self._factor.raised

    @property
    def condition(self):
        return torch.from_numpy(self._factor.condition)

    def solve(self, right):
        """As that of the banded factor."""
        return torch.from_numpy(self._factor.solve(right.detach().numpy()))


class ReducedFactor:
    """Cholesky factor of block-tridiagonal equations by odd-even reduction.

    Every other step is eliminated at once, which leaves a system of the same form for
    the rest: as stable as elimination from first to last, since it is Cholesky's in
    another order of the steps, and over after log2(n_steps) batched operations.

    Parameters
    ----------
    diagonal, below, below2
        As :meth:`OdeRows.blocks` returns them, in batches of shape (n_systems,).

    Attributes
    ----------
    scale : tensor of shape (n_systems, n_steps, block)
        The matrix is scaled to a diagonal of ones before.
    raised : bool
    condition : tensor of shape (n_systems,)
        As those of the banded factor.
    """

    def __init__(self, diagonal, below, below2=None):
        n_systems, n_steps, block, _ = diagonal.shape
        self.scale = diagonal.diagonal(dim1=-2, dim2=-1).rsqrt()
        n_orders = below.shape[-1]
        states = torch.eye(block // n_orders, dtype=below.dtype, device=below.device)
        below = torch.kron(states, below.expand(n_systems, n_steps - 1, -1, -1))
        left, right = self.scale[..., None, :], self.scale[..., :, None]
        diagonal = diagonal * left * right
        below = below * left[:, :-1] * right[:, 1:]
        column_sums = diagonal.abs().sum(-2)
        column_sums[:, 1:] += below.abs().sum(-1)
        column_sums[:, :-1] += below.abs().sum(-2)
        # Two steps make a block where second neighbours meet.
        self.paired = below2 is not None
        if self.paired:
            below2 = below2.expand(n_systems, max(n_steps - 2, 0))
            order = torch.arange(block, device=below.device) % n_orders == n_orders - 2
            across = torch.diag(order.to(below.dtype))
            across = across * below2[..., None, None]
            across = across * left[:, :-2] * right[:, 2:]
            column_sums[:, 2:] += across.abs().sum(-1)
            column_sums[:, :-2] += across.abs().sum(-2)
            diagonal, below = _paired(diagonal, below, across)
        self._norms = column_sums.amax((-1, -2))
        self.levels, self.raised = _reduced(diagonal, below)

    @cached_property
    def condition(self):
        """Estimated from the factor when it is first asked for."""
        if self.raised:
            return torch.full_like(self._norms, torch.inf)
        return self._norms * inverse_norms(torch, self)

    def solve(self, right):
        """Solve for right sides of shape (n_columns, n_systems, n_steps, block)."""
        n_columns, n_systems, n_steps, block = right.shape
        columns = (right * self.scale).permute(1, 2, 3, 0)
        if self.paired:
            columns = torch.nn.functional.pad(columns, (0, 0, 0, 0, 0, n_steps % 2))
            columns = columns.reshape(n_systems, -1, 2 * block, n_columns)
        solved = _substituted(self.levels, columns)
        if self.paired:
            solved = solved.reshape(n_systems, -1, block, n_columns)[:, :n_steps]
        return solved.permute(3, 0, 1, 2) * self.scale


def _paired(diagonal, below, across):
    """Blocks of two steps each; a step of its own is added to an odd number."""
    n_systems, n_steps, block, _ = diagonal.shape
    n = n_steps + n_steps % 2
    wide = diagonal.new_zeros(n_systems, n // 2, 2 * block, 2 * block)
    low = diagonal.new_zeros(n_systems, n // 2 - 1, 2 * block, 2 * block)
    wide[:, :, :block, :block] = diagonal[:, 0::2]
    wide[:, : n_steps // 2, block:, block:] = diagonal[:, 1::2]
    if n > n_steps:
        wide[:, -1, block:, block:] = torch.eye(block).to(wide)
    wide[:, : n_steps // 2, block:, :block] = below[:, 0::2]
    wide[:, :, :block, block:] = wide[:, :, block:, :block].mT
    later = below[:, 1::2]
    low[:, : later.shape[1], :block, block:] = later
    low[:, : across[:, 0::2].shape[1], :block, :block] = across[:, 0::2]
    low[:, : across[:, 1::2].shape[1], block:, block:] = across[:, 1::2]
    return wide, low


def _reduced(diagonal, below):
    """Levels of the reduction, and whether a diagonal had to be raised for them.

    A level holds the inverse factor and the couplings of the steps taken out.
    """
    levels, raised = [], False
    while diagonal.shape[1] > 1:
        n = diagonal.shape[1]
        inverse, failed = _inverse_factor(diagonal[:, 1::2])
        raised |= failed
        # Couplings of each odd step with the step before and the one behind.
        before = inverse @ below[:, 0::2]
        behind = inverse[:, : (n - 1) // 2] @ below[:, 1::2].mT
        kept = diagonal[:, 0::2].clone()
        kept[:, : n // 2] -= before.mT @ before
        kept[:, 1:] -= behind.mT @ behind
        below = -behind.mT @ before[:, : (n - 1) // 2]
        levels.append((inverse, before, behind))
        diagonal = kept
    inverse, failed = _inverse_factor(diagonal)
    return [*levels, (inverse, None, None)], raised | failed


def _inverse_factor(matrices):
    """Inverses of Cholesky factors, and whether the diagonal was raised for them.

    Substitution is then by products alone.
    """
    # Rounding moves the eigenvalues of a matrix of unit diagonal by about so much.
    size = matrices.shape[-1]
    shift = size * _EPS
    unit = torch.eye(size, dtype=matrices.dtype, device=matrices.device)
    factor, failed = torch.linalg.cholesky_ex(matrices)
    raised = False
    while failed.any():
        raised = True
        matrices = matrices + shift * unit
        shift *= 10
        factor, failed = torch.linalg.cholesky_ex(matrices)
    return torch.linalg.solve_triangular(factor, unit, upper=False), raised


def _substituted(levels, right):
    """Solve for right sides of shape (n_systems, n_steps, block, n_columns)."""
    taken = []
    for inverse, before, behind in levels[:-1]:
        n = right.shape[1]
        own = inverse @ right[:, 1::2]
        kept = right[:, 0::2].clone()
        kept[:, : n // 2] -= before.mT @ own
        kept[:, 1:] -= behind.mT @ own[:, : (n - 1) // 2]
        taken.append(own)
        right = kept
    inverse = levels[-1][0]
    solved = inverse.mT @ (inverse @ right)
    for (inverse, before, behind), own in zip(levels[-2::-1], taken[::-1], strict=True):
        own = own - before @ solved[:, : own.shape[1]]
        own[:, : behind.shape[1]] -= behind @ solved[:, 1:]
        n = own.shape[1] + solved.shape[1]
        both = own.new_empty(own.shape[0], n, *own.shape[2:])
        both[:, 0::2], both[:, 1::2] = solved, inverse.mT @ own
        solved = both
    return solved


def _tensor(array, device):
    if not isinstance(array, torch.Tensor):
        # A copy: torch warns of arrays that are not to be written to.
        array = torch.tensor(np.asarray(array, dtype=np.float64))
    return array.to(device, torch.float64)


def _check_values(coefficients, rhs, init, steps):
    """Refuse what is not finite, and steps that are not positive."""
    given = (coefficients, rhs, init, steps)
    # One wait for the device where all is well.
    sound = [torch.isfinite(a).all() for a in given] + [(steps > 0).all()]
    if not torch.stack(sound).all():
        for name, array in zip(NAMES, given, strict=True):
            finite_array(array.detach().cpu().numpy(), name, 0)
        check_positive(steps)
