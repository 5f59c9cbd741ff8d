"""Checks of what linear ODEs are given, and warnings of how they were solved."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skident.utils._memory import check_memory

# A larger relative residual is warned of, as is a larger condition number.
_RESIDUAL = 1e-8
_CONDITION = 1e13

NAMES = ("coefficients", "rhs", "init", "steps")
AXES = (4, 2, 3, 1)


def count_steps(coefficients, rhs, steps, n_steps=None):
    """Number of steps that the shapes tell, the largest where some broadcast."""
    told = [coefficients[-4], steps[-1] + 1]
    if rhs is not None:
        told.append(rhs[-2])
    return max(told) if n_steps is None else n_steps


def check_sizes(coefficients, rhs, init, steps, n_steps, weights, central):
    """Refuse shapes that do not fit, sizes too small, and weights out of range."""
    n_equations, n_states, n_orders = coefficients[-3:]
    n_init_steps, n_init_orders = init[-3], init[-1]
    if min(n_states, n_orders) < 1:
        raise ValueError(
            f"coefficients need at least one state and one order, got {coefficients}."
        )
    if n_steps < 2:
        raise ValueError(f"At least 2 steps are needed, got n_steps = {n_steps}.")
    if coefficients[-4] not in (1, n_steps):
        raise ValueError(
            f"coefficients must be of shape (..., {n_steps} or 1, n_equations, "
            f"n_states, n_orders), got {coefficients}."
        )
    if steps[-1] not in (1, n_steps - 1):
        raise ValueError(
            f"steps must be of shape (..., {n_steps - 1} or 1), got {steps}."
        )
    if rhs is not None and (rhs[-1] != n_equations or rhs[-2] not in (1, n_steps)):
        raise ValueError(
            f"rhs must be of shape (..., {n_steps} or 1, {n_equations}), got {rhs}."
        )
    if init[-2] != n_states or n_init_steps > n_steps or n_init_orders > n_orders:
        raise ValueError(
            f"init must be of shape (..., at most {n_steps}, {n_states}, at most "
            f"{n_orders}), got {init}."
        )
    if central and n_orders < 2:
        raise ValueError("central needs at least two orders, got n_orders = 1.")
    for name, weight in weights.items():
        if not (weight > 0 or (weight == 0 and name != "w_smooth")):
            raise ValueError(f"{name} must be positive, got {weight}.")


def check_positive(steps):
    """Refuse steps that are not positive."""
    if not (steps > 0).all():
        raise ValueError(f"steps must be positive, got {float(steps.min())}.")


def check_factor_memory(n_systems, n_steps, n_states, n_orders, central):
    """Refuse to factor what would not fit in memory."""
    block = n_states * n_orders
    # Blocks and band, each twice while they are copied.
    width = 2 * block + 1 if central else block + n_orders
    n_bytes = 16 * n_systems * n_steps * block * (block + width)
    check_memory(n_bytes, f"Factoring {n_systems} linear ODE(s) of {n_steps} steps")


def check_solve_memory(n_series, n_steps, n_states, n_orders):
    """Refuse to solve what would not fit in memory."""
    # Unknowns, right sides and rows during refinement.
    n_bytes = 8 * 12 * n_series * n_steps * n_states * n_orders
    check_memory(n_bytes, f"Solving {n_series} linear ODE(s) of {n_steps} steps")


def warn_of_condition(condition):
    """Warn of normal equations that are singular to rounding."""
    worst = float(condition.max())
    if worst > _CONDITION:
        warnings.warn(
            f"The equations of the steps are ill-conditioned: their condition number "
            f"is about {worst:.1e}, more than {_CONDITION:.0e}. Longer steps, fewer "
            "orders, or more initial values would lower it.",
            ConvergenceWarning,
            stacklevel=3,
        )


def warn_of_residual(relative):
    """Warn of a solution that does not solve the normal equations."""
    worst = float(relative.max())
    if not worst <= _RESIDUAL:
        warnings.warn(
            f"The linear ODE was not solved accurately: its relative residual is "
            f"{worst:.1e}, more than {_RESIDUAL:.0e}. Longer steps or fewer orders "
            "would lower it.",
            ConvergenceWarning,
            stacklevel=3,
        )


def check_axes(shape, name, n_axes):
    """Refuse arrays of fewer axes than what stands for one system."""
    if len(shape) < n_axes:
        raise ValueError(f"{name} must have at least {n_axes} axes, got shape {shape}.")


def finite_array(array, name, n_axes):
    """A finite float64 array of so many axes or more."""
    array = np.asarray(array, dtype=np.float64)
    if array.ndim == 0 and n_axes == 1:
        array = array[None]
    check_axes(array.shape, name, n_axes)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity.")
    return array
