"""Solutions of a condensed least-squares system for one set of coefficients."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.linalg import LinearOperator, onenormest
from sklearn.exceptions import ConvergenceWarning

from skident.solvers._pde_direct import factor_direct
from skident.solvers._pde_iterative import ITERATIVE, is_large

SOLVERS = ("auto", "direct", "multigrid", "multigrid_paper")
# A factor whose solutions leave more than this of the right side, after refinement,
# has lost the equation to rounding.
_LOST = 1e-6
# A backward stable solve leaves some hundred units of rounding.
_ROUNDING = 1e-12
NOT_DETERMINED = (
    "The equation and the given values do not determine the field: the condensed "
    "system is singular to working precision."
)


@dataclass(frozen=True, eq=False)
class PdeSolution:
    """What a least-squares solve found.

    Attributes
    ----------
    values : ndarray of shape (n_nodes, n_variables) or (n_nodes, n_variables, k)
        The field and its derivatives at each node, in the units of the coordinates.
    residual : float
        Largest relative residual of the condensed system, over right sides.
    n_iterations : int
        Of the iterative solver, the most over right sides; 0 for a direct one.
    solver : str
        The solver that was used.
    factor : PdeFactor or None
        What solved it, kept in memory with the solution; None in a copy by pickling.
    """

    values: np.ndarray
    residual: float
    n_iterations: int
    solver: str
    factor: "PdeFactor | None" = field(default=None, repr=False)

    @property
    def condition(self):
        """Estimated condition number of the condensed system, at some ten solves.

        NaN in a copy by pickling.
        """
        return np.nan if self.factor is None else self.factor.condition

    def __getstate__(self):
        return {**self.__dict__, "factor": None}


class PdeFactor:
    """A system with its coefficients, ready for any number of right sides.

    Made by :meth:`PdeSystem.factor`.

    Attributes
    ----------
    system : PdeSystem
    coefficients : ndarray of shape (n_nodes, n_variables)
    residual : float
        Relative residual of the last solve, on the condensed system.
    n_iterations : int
        Iterations of the last solve; 0 for a direct one.
    """

    def __init__(self, system, coefficients, *, linear_solver="auto", tol=1e-8):
        if linear_solver not in SOLVERS:
            raise ValueError(
                f"linear_solver must be one of {', '.join(SOLVERS)}, got "
                f"{linear_solver!r}."
            )
        self.system = system
        self.coefficients = coefficients
        self.tol = tol
        self.condensed = system.condensation.condense(coefficients)
        try:
            self._inner = self._make_inner(linear_solver)
        except (np.linalg.LinAlgError, RuntimeError) as error:
            raise ValueError(NOT_DETERMINED) from error
        self.residual, self.n_iterations = 0.0, 0

    def __repr__(self):
        return f"PdeFactor(shape={self.system.shape}, solver={self.solver!r})"

    def _make_inner(self, linear_solver):
        if linear_solver == "auto":
            large = is_large(self.system.shape)
            linear_solver = "multigrid" if large else "direct"
        if linear_solver == "direct":
            return factor_direct(self.condensed)
        return ITERATIVE[linear_solver](self.condensed, self.coefficients, self.tol)

    @property
    def solver(self):
        """Name of the solver in use."""
        return self._inner.name

    @property
    def condition(self):
        """Estimated condition number, in the 1-norm, of the condensed system."""
        n = self.system.n_nodes
        matrix = self.condensed.matrix

        def solve(rhs):
            # Without refinement: an estimate needs a digit.
            return self._inner.solve(np.asarray(rhs).reshape(n, -1))

        inverse = LinearOperator(
            (n, n), matvec=lambda v: solve(v)[:, 0], rmatvec=lambda v: solve(v)[:, 0],
            matmat=solve, rmatmat=solve, dtype=np.float64,
        )  # fmt: skip
        largest = float(abs(matrix).sum(axis=0).max())
        return largest * float(onenormest(inverse))

    def solve(self, source, boundary_values):
        """Least-squares solution for a source and given values.

        Parameters
        ----------
        source : array-like of shape (n_nodes,) or (n_nodes, k)
            Right side of the equation; read at the equation nodes only.
        boundary_values : array-like of shape (n_boundary,) or (n_boundary, k)
            Given values, in the order of ``system.boundary_nodes``; or a whole field
            of shape (n_nodes,) to read them from.

        Returns
        -------
        solution : PdeSolution

        Raises
        ------
        ValueError
            If lengths differ from the system's, or values that are read are not finite.
        """
        system = self.system
        source = np.asarray(source, dtype=np.float64)
        if source.shape[0] != system.n_nodes:
            raise ValueError(
                f"source must hold {system.n_nodes} nodes, got {source.shape[0]}."
            )
        given = system.check_boundary_values(boundary_values)
        flat = source.ndim == given.ndim == 1
        source = source[system.equation_nodes]
        source = source[:, None] if source.ndim == 1 else source
        given = given[:, None] if given.ndim == 1 else given
        k = max(source.shape[1], given.shape[1])
        if not (np.isfinite(source).all() and np.isfinite(given).all()):
            raise ValueError("source and boundary_values must be finite.")
        rhs = np.zeros((system.n_nodes, system.n_variables, k))
        rhs[system.boundary_nodes, system.boundary_variables] = (
            given * system.boundary_scale()[:, None]
        )
        source = np.broadcast_to(source / system.structure_weight, (len(source), k))
        values = self._solve(rhs, source) / system.units[:, None]
        values = values[:, :, 0] if flat else values
        return PdeSolution(values, self.residual, self.n_iterations, self.solver, self)

    def solve_normal(self, rhs):
        """Solve with the matrix of the normal equations.

        Parameters
        ----------
        rhs : ndarray of shape (n_nodes, n_variables) or (n_nodes, n_variables, k)

        Returns
        -------
        ndarray of the shape of ``rhs``
            ``N^-1 rhs`` with ``N = A^T A`` for the ``A`` of ``system.rows``: the part
            of N that comes from the equation is the outer product of the coefficients
            with themselves at each equation node.
        """
        system = self.system
        shape = np.shape(rhs)
        scale = (system.units * system.structure_weight)[:, None]
        rhs = np.asarray(rhs, dtype=np.float64)
        rhs = rhs.reshape(system.n_nodes, system.n_variables, -1)
        return (self._solve(rhs / scale, None) / scale).reshape(shape)

    def sensitivities(self, solution, source, changes):
        """Derivatives of the field by the sizes of changes of the equation.

        Parameters
        ----------
        solution : PdeSolution
            Of one source and one set of given values.
        source : array-like of shape (n_nodes,)
            That source.
        changes : sequence of (str, array-like of shape (n_nodes,))
            Variable whose coefficient changes, or "source", and by how much at each
            node; read at the equation nodes only.

        Returns
        -------
        ndarray of shape (n_nodes, n_changes)
            Derivative of the field at each node by a factor of each change, at zero.

        Raises
        ------
        ValueError
            If a change names neither a variable nor the source.

        Notes
        -----
        As :meth:`solve_normal` on the derivatives of the normal equations, without
        their right sides being built and derivatives of the field found.
        """
        system, nodes = self.system, self.system.equation_nodes
        unknown = {name for name, _ in changes} - {"source", *system.variables}
        if unknown:
            raise ValueError(
                f"changes name {sorted(unknown)}; variables here are "
                f"{', '.join(system.variables)}, and 'source'."
            )
        z, c = solution.values[nodes], self.coefficients[nodes]
        gap = np.asarray(source, dtype=np.float64)[nodes] - (c * z).sum(axis=1)
        rhs = np.zeros((system.n_nodes, len(changes)))
        for name in dict.fromkeys(name for name, _ in changes):
            mine = [j for j, (other, _) in enumerate(changes) if other == name]
            weights = np.stack([np.asarray(changes[j][1])[nodes] for j in mine], axis=1)
            # With E z = b the equation, N dz = E'(db - dE z) + dE'(b - E z).
            if name == "source":
                variable, along, single = 0, weights, np.zeros_like(weights)
            else:
                variable = system.variables.index(name)
                along = -weights * z[:, variable, None]
                scale = system.units[variable] * system.structure_weight
                single = weights * (gap / scale)[:, None]
            rhs[:, mine] = self.condensed.reduce_at(variable, along, single)
        return self._solve_condensed(rhs) / system.structure_weight

    def _solve(self, rhs, source):
        condensed = self.condensed
        field = self._solve_condensed(condensed.reduce(rhs, source))
        return condensed.expand(field, rhs, source)

    def _solve_condensed(self, rhs):
        """S^-1 @ rhs, with one step of refinement where rounding shows."""
        field = self._inner.solve(rhs)
        gap = rhs - self.condensed.multiply(field)
        self.residual = _relative(gap, rhs)
        self.n_iterations = self._inner.n_iterations
        if self.solver != "direct":
            # Iterations end at the tolerance, or with a warning of their own.
            return field
        if self.residual > _ROUNDING:
            field += self._inner.solve(gap)
            gap = rhs - self.condensed.multiply(field)
            self.residual = _relative(gap, rhs)
        warn_if_lost(self.residual, stacklevel=5)
        return field


def warn_if_lost(residual, stacklevel):
    """Warn where a direct solve left more than rounding explains."""
    if not residual <= _LOST:
        warnings.warn(
            f"The direct solve left a relative residual of {residual:.1e}, above "
            f"{_LOST:.0e}: the equation and the given values hardly determine the "
            "field. Coefficients of like size in units of the mean steps, or more "
            "given values, help.",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )


def _relative(gap, rhs):
    """Largest relative residual over right sides; those that are zero are solved."""
    scale = np.linalg.norm(rhs, axis=0)
    left = np.linalg.norm(gap, axis=0)
    return float((left / np.where(scale > 0, scale, 1.0)).max(initial=0.0))
