"""A linear ODE on a grid, factored once for many right sides."""

import math
from typing import NamedTuple

import numpy as np

from skident.solvers._ode_banded import BandedFactor
from skident.solvers._ode_blocks import OdeRows
from skident.solvers._ode_checks import (
    check_factor_memory,
    check_positive,
    check_sizes,
    check_solve_memory,
    count_steps,
    finite_array,
    warn_of_condition,
    warn_of_residual,
)
from skident.solvers._ode_refine import Layout, one_axis, refined, residual_norms


class OdeSolveInfo(NamedTuple):
    """How a linear ODE was solved; every figure is an array of the batch's shape.

    Attributes
    ----------
    condition : ndarray or float
        Estimated 1-norm condition number of the normal equations, scaled to a diagonal
        of ones; infinite where they were singular to rounding.
    equation_residual : ndarray or float
        Norm of the equation rows, ``sum(c y) - b``.
    smoothness_residual : ndarray or float
        Norm of the rows that join each step to the next, in units of the state.
    init_residual : ndarray or float
        Norm of the rows of initial values.
    relative_residual : ndarray or float
        Norm of the residual of the normal equations over that of their right side.
    """

    condition: np.ndarray
    equation_residual: np.ndarray
    smoothness_residual: np.ndarray
    init_residual: np.ndarray
    relative_residual: np.ndarray


class LinearOdeFactor:
    """Factored system of :func:`solve_linear_ode`, for many right sides.

    Parameters
    ----------
    coefficients : array-like of shape (..., n_steps or 1, n_equations, n_states, \
            n_orders)
    steps : array-like of shape (..., n_steps - 1 or 1) or float
        Positive.
    n_init_steps : int, default=1
        Number of steps, from the first, whose values are given to :meth:`solve`.
    n_init_orders : int, default=1
        Number of orders, from the state itself, which are given there.
    n_steps : int or None, default=None
        Number of steps, where neither array tells it.
    w_eq, w_init, w_smooth, central
        As in :func:`solve_linear_ode`.

    Attributes
    ----------
    condition : ndarray of shape (...) or float
        As in :class:`OdeSolveInfo`.

    Raises
    ------
    ValueError, MemoryError
        As :func:`solve_linear_ode`.

    Warns
    -----
    ConvergenceWarning
        If the condition number exceeds 1e13.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import LinearOdeFactor
    >>> derivative = np.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)  # y' = rhs
    >>> factor = LinearOdeFactor(derivative, 0.1, n_steps=11)
    >>> rhs = np.ones((4, 11, 1))
    >>> factor.solve(rhs, np.zeros((1, 1, 1)))[:, -1, 0, 0].round(6)
    array([1., 1., 1., 1.])
    """

    def __init__(
        self,
        coefficients,
        steps,
        *,
        n_init_steps=1,
        n_init_orders=1,
        n_steps=None,
        w_eq=1.0,
        w_init=1.0,
        w_smooth=1.0,
        central=False,
    ):
        coefficients = finite_array(coefficients, "coefficients", 4)
        steps = finite_array(steps, "steps", 1)
        self.n_steps = count_steps(coefficients.shape, None, steps.shape, n_steps)
        weights = {"w_eq": w_eq, "w_init": w_init, "w_smooth": w_smooth}
        init = (n_init_steps, coefficients.shape[-2], n_init_orders)
        check_sizes(
            coefficients.shape, None, init, steps.shape, self.n_steps, weights, central
        )
        check_positive(steps)
        self.batch = np.broadcast_shapes(coefficients.shape[:-4], steps.shape[:-1])
        n_systems = math.prod(self.batch)
        states_orders = coefficients.shape[-2:]
        check_factor_memory(n_systems, self.n_steps, *states_orders, central)
        self._rows = OdeRows(
            np,
            one_axis(np, coefficients, self.batch, 4),
            one_axis(np, steps, self.batch, 1),
            one_axis(np, steps.mean(axis=-1, keepdims=True), self.batch, 1)[..., 0],
            n_steps=self.n_steps,
            n_init_steps=n_init_steps,
            n_init_orders=n_init_orders,
            **weights,
            central=central,
            constant=np.asarray,
        )
        diagonal, below, below2 = self._rows.blocks()
        self._factor = BandedFactor(
            *(_systems(diagonal, n_systems), _systems(below, n_systems)),
            None if below2 is None else _systems(below2, n_systems),
        )
        self.condition = _scalar(self._factor.condition.reshape(self.batch))
        warn_of_condition(self._factor.condition)

    def solve(self, rhs, init, *, return_info=False):
        """Solve for right sides and initial values.

        Parameters
        ----------
        rhs : array-like of shape (..., n_steps or 1, n_equations)
        init : array-like of shape (..., n_init_steps, n_states, n_init_orders)
        return_info : bool, default=False

        Returns
        -------
        y : ndarray of shape (..., n_steps, n_states, n_orders)
        info : OdeSolveInfo
            With ``return_info``.

        Raises
        ------
        ValueError
            If a shape does not fit that of the factor, or values are not finite.

        Warns
        -----
        ConvergenceWarning
            If the relative residual exceeds 1e-8.
        """
        rows = self._rows
        rhs, init = finite_array(rhs, "rhs", 2), finite_array(init, "init", 3)
        wanted = (rows.n_init_steps, rows.n_states, rows.n_init_orders)
        if init.shape[-3:] != wanted:
            raise ValueError(
                f"init must be of shape (..., {str(wanted)[1:-1]}), got {init.shape}."
            )
        n_equations = rows.equations.shape[-2]
        if rhs.shape[-1] != n_equations or rhs.shape[-2] not in (1, self.n_steps):
            raise ValueError(
                f"rhs must be of shape (..., {self.n_steps} or 1, {n_equations}), got "
                f"{rhs.shape}."
            )
        layout = Layout(np, self.batch, rhs.shape[:-2], init.shape[:-3])
        n_series = layout.n_columns * layout.n_systems
        check_solve_memory(n_series, self.n_steps, rows.n_states, rows.n_orders)
        rhs = np.broadcast_to(rhs, (*rhs.shape[:-2], self.n_steps, n_equations))
        rhs, init = layout.fold(rhs, 2), layout.fold(init, 3)
        z, relative = refined(np, rows, self._factor, rhs, init)
        y = layout.unfold(z / rows.powers[..., None, None, :], 3)
        figures = None
        if return_info:
            norms = residual_norms(np, rows.apply(z), rhs, init)
            figures = [layout.unfold(norm, 0) for norm in norms]
            condition = np.broadcast_to(self._factor.condition, relative.shape)
            condition = layout.unfold(condition, 0)
        relative = layout.unfold(relative, 0)
        warn_of_residual(relative)
        if not return_info:
            return y
        values = (condition, *figures, relative)
        return y, OdeSolveInfo(*(_scalar(value) for value in values))


def _systems(array, n_systems):
    return np.broadcast_to(array, (n_systems, *array.shape[1:]))


def _scalar(array):
    return float(array) if np.ndim(array) == 0 else array
