"""What solving with a factor of normal equations shares, for arrays and tensors."""

import math

import numpy as np

# Steps of refinement at most, and the relative length of the last one. What a step
# leaves is about its own length times that of the first: rounding, after one so short.
_STEPS = 4
_STEP = 1e-8
# Relative residuals below say nothing about which of two solutions is better.
_ROUNDING = 1e-13


def refined(xp, rows, factor, rhs, init):
    """Unknowns of least squares, their residuals taken from the rows.

    Parameters
    ----------
    xp : module
        numpy or torch.
    rows : OdeRows
    factor : BandedFactor or ReducedFactor
    rhs : array of shape (n_columns, n_systems, n_steps, n_equations)
    init : array of shape (n_columns, n_systems, n_init_steps, n_states, n_init_orders)

    Returns
    -------
    z : array of shape (n_columns, n_systems, n_steps, n_states, n_orders)
    relative : array of shape (n_columns, n_systems)
        Norm of the residual of the normal equations over that of their right side,
        both scaled to a diagonal of ones.
    """
    shape = (*rhs.shape[:3], rows.n_states, rows.n_orders)

    def right_side(z):
        """Of the normal equations, once the rows of z are taken off the data."""
        equations, start, *smooth = rows.apply(z)
        return rows.adjoint((rhs - equations, init - start, *(-row for row in smooth)))

    def norm(scaled):
        return xp.sqrt((scaled * scaled).sum(axis=(-1, -2)))

    def residual(right):
        return norm(right.reshape(*shape[:3], -1) * factor.scale)

    def length(z):
        return norm(z.reshape(*shape[:3], -1) / factor.scale)

    def solve(right):
        return factor.solve(right.reshape(*shape[:3], -1)).reshape(shape)

    right = rows.adjoint((rhs, init))
    size = residual(right)
    size = xp.where(size == 0, xp.ones_like(size), size)
    z = solve(right)
    right = right_side(z)
    relative = residual(right) / size
    # With residuals from the rows a step undoes most of the squaring of the condition
    # number, even where the residual is at rounding already.
    for _ in range(_STEPS):
        step = solve(right)
        right = right_side(z + step)
        now = residual(right) / size
        taken = now <= 2 * relative + _ROUNDING
        z = xp.where(taken[..., None, None, None], z + step, z)
        relative = xp.where(taken, now, relative)
        if not (taken & (length(step) > _STEP * length(z))).any():
            break
    return z, relative


def inverse_norms(xp, factor):
    """Hager's estimates of the 1-norms of the inverses of scaled matrices.

    Parameters
    ----------
    xp : module
        numpy or torch.
    factor : BandedFactor or ReducedFactor

    Returns
    -------
    norms : array of shape (n_systems,)
    """
    scale = factor.scale
    n_systems = len(scale)

    def solve(right):
        shaped = (right.reshape(scale.shape) / scale)[None]
        return (factor.solve(shaped)[0] / scale).reshape((n_systems, -1))

    ones = xp.ones_like(scale).reshape((n_systems, -1))
    # The norm is largest at a unit vector: that of the steepest ascent from the mean
    # of all, after which further steps hardly ever add a tenth.
    start = solve(ones / ones.shape[1])
    ascent = abs(solve(xp.where(start >= 0, ones, -ones)))
    column = ones * (ascent >= xp.amax(ascent, -1)[:, None])
    column = column / column.sum(axis=-1)[:, None]
    ends = [abs(y).sum(axis=-1) for y in (start, solve(column))]
    return xp.maximum(*ends)


def residual_norms(xp, rows, rhs, init):
    """Norms of the rows of equations, of smoothness and of initial values."""
    equations, start, *smooth = rows
    equations, start = equations - rhs, start - init
    forward, backward, *central = smooth
    total = (forward * forward + backward * backward).sum(axis=(-1, -2, -3))
    for row in central:
        total = total + (row * row).sum(axis=(-1, -2))
    return (
        xp.sqrt((equations * equations).sum(axis=(-1, -2))),
        xp.sqrt(total),
        xp.sqrt((start * start).sum(axis=(-1, -2, -3))),
    )


class Layout:
    """Order of a batch in which the axes that the factor varies over come last.

    Parameters
    ----------
    xp : module
        numpy or torch.
    factor : tuple of int
        Shape of the batch of the factor.
    *others : tuple of int
        Shapes of the batches that broadcast with it.
    """

    def __init__(self, xp, factor, *others):
        self.xp = xp
        self.total = np.broadcast_shapes(factor, *others)
        own = (1,) * (len(self.total) - len(factor)) + tuple(factor)
        varied = [axis for axis, size in enumerate(own) if size != 1]
        shared = [axis for axis, size in enumerate(own) if size == 1]
        self.order = shared + varied
        self.n_columns = math.prod(self.total[axis] for axis in shared)
        self.n_systems = math.prod(factor)

    def fold(self, array, n_core):
        """To (n_columns, n_systems, ...), whose last ``n_core`` axes stay."""
        core = tuple(array.shape[array.ndim - n_core :])
        wide = self.xp.broadcast_to(array, (*self.total, *core))
        wide = self.xp.moveaxis(wide, tuple(self.order), tuple(range(len(self.order))))
        return wide.reshape((self.n_columns, self.n_systems, *core))

    def unfold(self, array, n_core):
        """From that to the batch's shape."""
        core = tuple(array.shape[array.ndim - n_core :])
        array = array.reshape((*(self.total[axis] for axis in self.order), *core))
        return self.xp.moveaxis(array, tuple(range(len(self.order))), tuple(self.order))


def one_axis(xp, array, batch, n_core):
    """Leading axes broadcast to a batch, and made a single one."""
    core = tuple(array.shape[array.ndim - n_core :])
    if math.prod(array.shape[: array.ndim - n_core]) == 1:
        return array.reshape((1, *core))
    return xp.broadcast_to(array, (*batch, *core)).reshape((-1, *core))
