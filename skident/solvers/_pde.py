"""Least-squares solutions of linear partial differential equations on grids."""

import sys

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
    coefficients : array-like of shape (n_nodes, n_variables) or tensor of shape \
            (..., n_nodes, n_variables)
        Coefficient of each variable at each node, nodes in C order (time first);
        variables are "u", "u_t", "u_x", ["u_y",] "u_tt", "u_xx"[, "u_yy"].
    source : array-like of shape (n_nodes,) or (n_nodes, k), or tensor of shape \
            (..., n_nodes)
        Right side b, for one or k problems.
    boundary_values : array-like of shape (n_boundary,) or (n_boundary, k), or tensor \
            of shape (..., n_boundary)
        Given values at the nodes that ``boundary`` names, in their order; or a whole
        field, of n_nodes values, to read them from.
    coordinates : list of array-like or tensor, each of shape (n_i,), or PdeSystem
        Increasing coordinates of the nodes of each axis, time first; or a system, made
        once for many solves, that brings its own boundary.
    boundary : {"faces", "initial", "box"} or list of (int, str), default="faces"
        Where values are given; see :class:`PdeSystem`.
    linear_solver : {"auto", "direct", "multigrid", "multigrid_paper"}, default="auto"
        How the condensed system is solved. "multigrid" is conjugate gradients with
        a :class:`MultigridPreconditioner`, "multigrid_paper" the published cycle
        under GMRES, for small grids; after 60 and 300 iterations the direct solver
        takes over with a warning. "auto" is "direct" while a banded factor takes
        fewer than 4e9 operations (up to about 127 x 127 nodes, or 6000 with two
        axes of space), and "multigrid" beyond.
    tol : float, default=1e-8
        Relative residual at which an iterative solver stops.

    Returns
    -------
    solution : PdeSolution
        ``values`` of shape (n_nodes, n_variables) or (n_nodes, n_variables, k), with
        the residual, the iterations and the solver. If any argument is a tensor, the
        values alone, a tensor of shape (..., n_nodes, n_variables) that is
        differentiable in coefficients, source, given values and coordinates.

    Raises
    ------
    ValueError
        If shapes do not fit each other, coordinates do not increase, or values are not
        finite.
    MemoryError
        If a direct factor would not fit into the memory that is free.

    Warns
    -----
    ConvergenceWarning
        If the relative residual of the condensed system stays above what the solver
        was asked for.

    Notes
    -----
    See :class:`PdeSystem` for the rows that are minimised and their weights. All is
    computed in float64 and in units of the mean steps. On smooth fields the error
    falls with the square of the step. Gradients come from one more solve with the same
    factor, whatever the solver.

    With N nodes and M variables, forming the condensed system takes O(N M) time. A
    direct factor of it takes O(N w^2) time and O(N w) memory, w four times the nodes of
    a slice across the longest axis.

    References
    ----------
    .. [1] Pervez, Gavves and Locatello, "Mechanistic PDE networks for discovery of
       governing equations", ICML 2025, arXiv:2502.18377.

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
    torch = sys.modules.get("torch")
    if torch is not None and any(
        isinstance(a, torch.Tensor)
        for a in (coefficients, source, boundary_values, *_listed(coordinates))
    ):
        # Torch is loaded only by who uses it.
        from skident.solvers._pde_torch import solve_tensors

        return solve_tensors(
            coefficients,
            source,
            boundary_values,
            coordinates,
            boundary=boundary,
            linear_solver=linear_solver,
            tol=tol,
        )
    system = coordinates
    if not isinstance(system, PdeSystem):
        system = PdeSystem(coordinates, boundary=boundary)
    factor = system.factor(coefficients, linear_solver=linear_solver, tol=tol)
    return factor.solve(source, boundary_values)


def _listed(coordinates):
    return () if isinstance(coordinates, PdeSystem) else coordinates
