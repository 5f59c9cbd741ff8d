"""Least-squares solutions of linear partial differential equations on grids."""

from skident.solvers._pde_system import PdeSystem


def solve_linear_pde(
    coefficients,
    source,
    boundary_values,
    coordinates,
    *,
    boundary="faces",
    linear_solver="auto",
    tol=1e-8,
):
    """Solve a linear partial differential equation in the least-squares sense.

    The equation is ``sum over variables v of c_v(p) v(p) = b(p)`` at each inner node p
    of a grid over time and one or two axes of space, with the field and its first and
    pure second derivatives as variables.

    Parameters
    ----------
    coefficients : array-like of shape (n_nodes, n_variables)
        Coefficient of each variable at each node, nodes in C order (time first);
        variables are "u", "u_t", "u_x", ["u_y",] "u_tt", "u_xx"[, "u_yy"].
    source : array-like of shape (n_nodes,) or (n_nodes, k)
        Right side b, for one or k problems.
    boundary_values : array-like of shape (n_boundary,) or (n_boundary, k)
        Given values at the nodes that ``boundary`` names, in their order; or a whole
        field of shape (n_nodes,) to read them from.
    coordinates : list of array-like, each of shape (n_i,)
        Increasing coordinates of the nodes of each axis, time first.
    boundary : {"faces", "initial", "box"} or list of (int, str), default="faces"
        Where values are given; see :class:`PdeSystem`.
    linear_solver : {"auto", "direct", "multigrid", "multigrid_paper"}, default="auto"
        How the condensed system is solved.
    tol : float, default=1e-8
        Relative residual at which an iterative solver stops.

    Returns
    -------
    solution : PdeSolution
        ``values`` of shape (n_nodes, n_variables) or (n_nodes, n_variables, k), with
        the residual, the iterations and the solver.

    Raises
    ------
    ValueError
        If shapes do not fit each other, coordinates do not increase, or values are not
        finite.
    MemoryError
        If a direct factor would not fit into the memory that is free.

    Notes
    -----
    See :class:`PdeSystem` for the rows that are minimised and their weights. All is
    computed in float64 and in units of the mean steps.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import solve_linear_pde
    >>> t, x = np.linspace(0, 1, 16), np.linspace(0, np.pi, 16)
    >>> exact = (np.exp(-t)[:, None] * np.sin(x)).ravel()
    >>> heat = np.tile([0.0, 1.0, 0.0, 0.0, -1.0], (256, 1))
    >>> solution = solve_linear_pde(heat, np.zeros(256), exact, [t, x])
    >>> bool(abs(solution.values[:, 0] - exact).max() < 1e-3)
    True
    """
    system = PdeSystem(coordinates, boundary=boundary)
    factor = system.factor(coefficients, linear_solver=linear_solver, tol=tol)
    return factor.solve(source, boundary_values)
