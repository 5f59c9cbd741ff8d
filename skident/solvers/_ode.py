"""Linear ordinary differential equations on a grid, solved all steps at once."""

import sys

import numpy as np

from skident.solvers._ode_checks import check_positive, count_steps, finite_array
from skident.solvers._ode_factor import LinearOdeFactor


def solve_linear_ode(
    coefficients,
    rhs,
    init,
    steps,
    *,
    w_eq=1.0,
    w_init=1.0,
    w_smooth=1.0,
    central=False,
    backend="auto",
    return_info=False,
):
    """Solve linear ordinary differential equations on a grid, all steps at once.

    The unknowns are the states and their derivatives ``y[t, d, r]``, of state d and
    order r at step t. They minimise the sum of squares of the rows listed in Notes.

    Parameters
    ----------
    coefficients : array-like or tensor of shape (..., n_steps or 1, n_equations, \
            n_states, n_orders)
        Of ``sum over d and r of coefficients[t, q, d, r] y[t, d, r] = rhs[t, q]``.
        ``n_orders`` counts the state itself: equations of second order have 3.
    rhs : array-like or tensor of shape (..., n_steps or 1, n_equations)
    init : array-like or tensor of shape (..., n_init_steps, n_states, n_init_orders)
        Given values at the first steps of the first orders; either size may be 0.
    steps : array-like or tensor of shape (..., n_steps - 1 or 1), or float
        Gaps in time from each step to the next, positive.
    w_eq, w_init, w_smooth : float, default=1.0
        Weights of the rows of equations, of initial values and of smoothness.
    central : bool, default=False
        Use central differences of the top order but one, as in [1]_, in place of the
        rows that continue the top order.
    backend : {"auto", "banded", "torch"}, default="auto"
        "banded" is LAPACK's banded Cholesky factorisation on the CPU, "torch" a
        reduction by blocks in as many batched operations as log2(n_steps), on the
        device of the tensors. "auto" takes the former for arrays, and for tensors on
        the CPU, the latter on a GPU.
    return_info : bool, default=False
        Return an :class:`OdeSolveInfo` too.

    Returns
    -------
    y : ndarray or tensor of shape (..., n_steps, n_states, n_orders)
        In float64, of units of the state over time to the order. Leading shapes
        broadcast. A tensor if any argument is one, and then differentiable in
        coefficients, rhs, init and steps.
    info : OdeSolveInfo
        With ``return_info``.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or steps or weights not positive.
    MemoryError
        If the arrays would take more memory than is free.

    Warns
    -----
    ConvergenceWarning
        If the relative residual exceeds 1e-8 or the condition number 1e13.

    Notes
    -----
    With h the step from t to t + 1 and R = ``n_orders``, the rows are

    1. each equation at each step, times ``w_eq``;
    2. ``y[t, d, r] - init[t, d, r]``, times ``w_init``;
    3. ``h^r (sum over o >= r of h^(o - r) y[t, d, o] / (o - r)! - y[t + 1, d, r])``,
       times ``w_smooth``: Taylor's expansion of each order;
    4. the same backward, t and t + 1 exchanged and -h in place of h.

    With ``central``, rows 3 and 4 leave out r = R - 1, and with g the gap from t to
    t + 2 there are ``g^(R - 3) (y[t, d, R - 2] - y[t + 2, d, R - 2]) + g^(R - 2)
    y[t + 1, d, R - 1]``.

    The answer is a compromise between the rows: look at their residuals. On smooth
    solutions its error falls with the square of the step for R = 3 and faster for
    R = 4. Computation is in units of the mean step, which alters nothing but rounding,
    and in float64 whatever the input. The normal equations are block-tridiagonal
    (block-pentadiagonal with ``central``): with B = n_states R, O(n_steps B^3) time
    and O(n_steps B^2) memory. Refinement takes residuals from the rows and not from
    the normal equations. Gradients come from one more solve with the same factor.

    References
    ----------
    .. [1] Pervez, Locatello and Gavves, "Mechanistic neural networks for scientific
       machine learning", ICML 2024, arXiv:2402.13077.
    .. [2] Chen, Yao, Pervez, Alistarh and Locatello, "Scalable mechanistic neural
       networks", ICLR 2025, arXiv:2410.06074.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import solve_linear_ode
    >>> decay = np.array([0.6, 1.0, 0.0]).reshape(1, 1, 1, 3)  # 0.6 y + y' = 0.32
    >>> y = solve_linear_ode(decay, [[0.32]], [[[0.14]]], np.full(1000, 0.01))
    >>> truth = 0.32 / 0.6 + (0.14 - 0.32 / 0.6) * np.exp(-0.6 * 0.01 * np.arange(1001))
    >>> bool(abs(y[:, 0, 0] - truth).max() < 1e-5)
    True
    """
    weights = {"w_eq": w_eq, "w_init": w_init, "w_smooth": w_smooth}
    arguments = (coefficients, rhs, init, steps)
    if backend not in ("auto", "banded", "torch"):
        raise ValueError(
            f'backend must be "auto", "banded" or "torch", got {backend!r}.'
        )
    torch = sys.modules.get("torch")
    tensors = torch is not None and any(isinstance(a, torch.Tensor) for a in arguments)
    if tensors or backend == "torch":
        # Torch is loaded only by who uses it.
        from skident.solvers._ode_torch import solve_tensors

        y, info = solve_tensors(
            *arguments,
            **weights,
            central=central,
            backend=backend,
            with_info=return_info,
        )
        if not tensors:
            y = y.numpy()
        return (y, info) if return_info else y
    coefficients = finite_array(coefficients, "coefficients", 4)
    rhs, init = finite_array(rhs, "rhs", 2), finite_array(init, "init", 3)
    steps = finite_array(steps, "steps", 1)
    factor = LinearOdeFactor(
        coefficients,
        steps,
        n_init_steps=init.shape[-3],
        n_init_orders=init.shape[-1],
        n_steps=count_steps(coefficients.shape, rhs.shape, steps.shape),
        **weights,
        central=central,
    )
    return factor.solve(rhs, init, return_info=return_info)


def ode_window_operator(
    n_steps, steps, *, n_orders, n_init_steps=1, w_eq=100.0, w_init=1.0, w_smooth=1.0
):
    """Matrices that solve ``u' = rhs`` on a window, from rhs and initial values.

    Parameters
    ----------
    n_steps : int
        Length of the window, at least 2.
    steps : float or array-like of shape (n_steps - 1,) or (1,)
        Gaps in time, positive.
    n_orders : int
        Derivatives kept, the state itself counted; at least 2.
    n_init_steps : int, default=1
        Number of steps, from the first, whose states are given; at least 1.
    w_eq : float, default=100.0
        Weight of the rows ``u' = rhs``, times the mean step, beside those of
        smoothness; from 10 on the answer hardly depends on it.
    w_init, w_smooth : float, default=1.0
        Weights of the other rows, as in :func:`solve_linear_ode`.

    Returns
    -------
    S : ndarray of shape (n_steps, n_steps)
        Of ``u = S rhs + s init``, in units of time.
    s : ndarray of shape (n_steps, n_init_steps)
        Dimensionless.

    Raises
    ------
    ValueError
        If sizes are too small, or steps not positive.

    Notes
    -----
    The rows are those of :func:`solve_linear_ode` in units of the mean step: S is
    proportional to the unit of time, and s does not depend on it.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import ode_window_operator
    >>> S, s = ode_window_operator(21, 0.1, n_orders=4)
    >>> times = 0.1 * np.arange(21)
    >>> u = S @ np.cos(times) + s @ [0.0]
    >>> bool(abs(u - np.sin(times)).max() < 1e-4)
    True
    """
    if n_orders < 2:
        raise ValueError(f"n_orders must be at least 2, got {n_orders}.")
    if n_init_steps < 1:
        raise ValueError(f"n_init_steps must be at least 1, got {n_init_steps}.")
    steps = finite_array(steps, "steps", 1)
    check_positive(steps)
    unit = steps.mean()
    derivative = np.zeros((1, 1, 1, n_orders))
    derivative[..., 1] = 1.0
    factor = LinearOdeFactor(
        derivative,
        steps / unit,
        n_init_steps=n_init_steps,
        n_steps=n_steps,
        w_eq=w_eq,
        w_init=w_init,
        w_smooth=w_smooth,
    )
    rhs = np.zeros((n_steps + n_init_steps, n_steps, 1))
    init = np.zeros((n_steps + n_init_steps, n_init_steps, 1, 1))
    rhs[:n_steps, :, 0] = np.eye(n_steps)
    init[n_steps:, :, 0, 0] = np.eye(n_init_steps)
    columns = factor.solve(rhs, init)[..., 0, 0].T
    return unit * columns[:, :n_steps], columns[:, n_steps:].copy()
