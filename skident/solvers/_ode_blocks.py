"""Rows and normal equations of the least-squares system of a linear ODE.

Everything here is written for arrays and tensors alike: ``xp`` is numpy or torch.
"""

import math

import numpy as np


class OdeRows:
    """The rows whose sum of squares a solution of a linear ODE minimises.

    Unknowns are ``z[t, d, r] = unit**r y[t, d, r]``: derivatives by time in ``unit``.
    Whatever the unit, the rows are those of :func:`skident.solvers.solve_linear_ode`,
    so that the unit alters nothing but rounding.

    Parameters
    ----------
    xp : module
        numpy or torch.
    coefficients : array of shape (..., n_steps or 1, n_equations, n_states, n_orders)
    steps : array of shape (..., n_steps - 1 or 1)
    unit : array of shape (...) or float
        Unit of time, without gradient.
    n_steps, n_init_steps, n_init_orders : int
    w_eq, w_init, w_smooth : float
        Weights of the rows.
    central : bool
        Central differences in place of the rows that continue the top order.
    constant : callable
        Makes an array of ``xp`` of a list of floats.
    """

    def __init__(
        self,
        xp,
        coefficients,
        steps,
        unit,
        *,
        n_steps,
        n_init_steps,
        n_init_orders,
        w_eq,
        w_init,
        w_smooth,
        central,
        constant,
    ):
        n_states, n_orders = coefficients.shape[-2:]
        self.xp, self.n_steps, self.central = xp, n_steps, central
        self.n_states, self.n_orders = n_states, n_orders
        self.n_init_steps, self.n_init_orders = n_init_steps, n_init_orders
        self.weights = (w_eq, w_init, w_smooth)
        exponents = np.arange(float(n_orders))
        orders = constant(exponents)
        unit = constant(unit) if isinstance(unit, float) else unit
        self.unit = unit[..., None]
        # One factor unit**r for each order.
        self.powers = self.unit**orders
        scaled = coefficients / self.powers[..., None, None, None, :]
        block = n_states * n_orders
        self.equations = scaled.reshape(*scaled.shape[:-2], block)
        ratio = steps / self.unit
        self.e = ratio[..., None, None] ** orders
        # Taylor's matrix F[r, o] = 1 / (o - r)!, and the signs of a step backward.
        taylor = [
            [1 / math.factorial(o - r) if o >= r else 0.0 for o in range(n_orders)]
            for r in range(n_orders)
        ]
        self.kept = n_orders - 1 if central else n_orders
        F, signs = np.array(taylor)[: self.kept], (-1.0) ** exponents
        still = np.eye(self.kept, n_orders)
        ahead = -still.T @ F
        self.taylor, self.signs = constant(F), constant(signs)
        # Products of the rows of one step with themselves and with the next.
        self.squares = constant(F.T @ F + still.T @ still)
        self.next_squares = constant(F.T @ F * np.outer(signs, signs) + still.T @ still)
        self.products = constant(ahead + (ahead * np.outer(signs, signs)).T)
        if central:
            ratio = xp.broadcast_to(ratio, (*ratio.shape[:-1], n_steps - 1))
            double = ratio[..., 1:] + ratio[..., :-1]
            lower = double ** float(n_orders - 3) / self.unit
            self.central_outer, self.central_inner = lower, lower * double

    def apply(self, z):
        """Rows of the unknowns ``z`` of shape (..., n_steps, n_states, n_orders).

        Returns
        -------
        rows : tuple of arrays
            Equations (..., n_steps, n_equations); initial values (..., n_init_steps,
            n_states, n_init_orders); steps forward and backward, each (..., n_steps -
            1, n_states, n_orders), one order less with ``central``; then its own
            (..., n_steps - 2, n_states).
        """
        xp, kept = self.xp, self.kept
        flat = z.reshape(*z.shape[:-2], self.n_states * self.n_orders)
        equations = xp.einsum("...qb,...b->...q", self.equations, flat)
        powers = self.powers[..., None, None, : self.n_init_orders]
        init = z[..., : self.n_init_steps, :, : self.n_init_orders] / powers
        left, right = self.e * z[..., :-1, :, :], self.e * z[..., 1:, :, :]
        forward = _rows_times(left, self.taylor.T) - right[..., :kept]
        backward = _rows_times(right * self.signs, self.taylor.T)
        backward = backward - (left * self.signs)[..., :kept]
        rows = (equations, init, forward, backward)
        if self.central:
            outer, inner = self.central_outer[..., None], self.central_inner[..., None]
            gap = z[..., :-2, :, -2] - z[..., 2:, :, -2]
            rows += (outer * gap + inner * z[..., 1:-1, :, -1],)
        return rows

    def adjoint(self, rows):
        """Transposed :meth:`apply` of weighted rows; those past the first two may lack.

        Returns
        -------
        z : array of shape (..., n_steps, n_states, n_orders)
        """
        xp, kept = self.xp, self.kept
        equations, init, *smooth = self.weighted(rows)
        flat = xp.einsum("...qb,...q->...b", self.equations, equations)
        z = flat.reshape(*flat.shape[:-1], self.n_states, self.n_orders)
        powers = self.powers[..., None, None, : self.n_init_orders]
        z[..., : self.n_init_steps, :, : self.n_init_orders] += init / powers
        if not smooth:
            return z
        forward, backward, *central = smooth
        left = _rows_times(forward, self.taylor)
        right = _rows_times(backward, self.taylor) * self.signs
        left[..., :kept] -= backward * self.signs[:kept]
        right[..., :kept] -= forward
        z[..., :-1, :, :] += self.e * left
        z[..., 1:, :, :] += self.e * right
        for row in central:
            outer = self.central_outer[..., None] * row
            z[..., :-2, :, -2] += outer
            z[..., 2:, :, -2] -= outer
            z[..., 1:-1, :, -1] += self.central_inner[..., None] * row
        return z

    def weighted(self, rows):
        """Rows times their squared weights."""
        w_eq, w_init, w_smooth = (w * w for w in self.weights)
        equations, init, *smooth = rows
        return (w_eq * equations, w_init * init, *(w_smooth * row for row in smooth))

    def blocks(self):
        """Blocks of the normal matrix N = A^T A.

        Returns
        -------
        diagonal : array of shape (..., n_steps, block, block)
            With block = n_states n_orders, states first.
        below : array of shape (..., n_steps - 1 or 1, n_orders, n_orders)
            Block (t + 1, t) of each state; other states do not meet in it.
        below2 : array of shape (..., n_steps - 2 or 1) or None
            Entry of block (t + 2, t) at the last order but one of each state, with
            ``central``; the others are zero.
        """
        xp, n = self.xp, self.n_steps
        w_eq, w_init, w_smooth = (w * w for w in self.weights)
        e = self.e[..., 0, :]
        outer = w_smooth * e[..., :, None] * e[..., None, :]
        left, right = outer * self.squares, outer * self.next_squares
        below = outer * self.products
        equations = self.equations
        normal = w_eq * (equations.swapaxes(-1, -2) @ equations)
        shape = np.broadcast_shapes(tuple(normal.shape[:-3]), tuple(outer.shape[:-3]))
        block = self.n_states * self.n_orders
        diagonal = _copied(xp, normal, (*shape, n, block, block))
        by_state = diagonal.reshape(
            *shape, n, self.n_states, self.n_orders, self.n_states, self.n_orders
        )
        below2 = None
        init = w_init / self.powers[..., : self.n_init_orders] ** 2
        if self.central:
            middle, ends = self.central_inner, self.central_outer
            below2 = -w_smooth * ends**2
            both = w_smooth * ends * middle
            below = _copied(xp, below, (*below.shape[:-3], n - 1, *below.shape[-2:]))
            # Step t + 1 meets t by +, and t + 2 by -, at orders (top, top - 1).
            below[..., :-1, -1, -2] += both
            below[..., 1:, -2, -1] -= both
        for d in range(self.n_states):
            own = by_state[..., d, :, d, :]
            own[..., :-1, :, :] += left
            own[..., 1:, :, :] += right
            for r in range(self.n_init_orders):
                own[..., : self.n_init_steps, r, r] += init[..., None, r]
            if self.central:
                own[..., :-2, -2, -2] -= below2
                own[..., 2:, -2, -2] -= below2
                own[..., 1:-1, -1, -1] += w_smooth * middle**2
        return diagonal, below, below2


def _rows_times(array, matrix):
    """Product of the last axis with a matrix, in one call for all steps."""
    flat = array.reshape(-1, array.shape[-1]) @ matrix
    return flat.reshape((*array.shape[:-1], matrix.shape[-1]))


def _copied(xp, array, shape):
    """An array of that shape which may be written to."""
    wide = xp.broadcast_to(array, shape)
    return wide.copy() if xp is np else wide.clone()
