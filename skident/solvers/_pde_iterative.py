"""Condensed systems solved by iteration, and which of them are."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skident.solvers._pde_cg import conjugate_gradients
from skident.solvers._pde_direct import factor_direct
from skident.solvers._pde_multigrid import MultigridPreconditioner
from skident.solvers._pde_vcycle import PublishedCycle, flexible_gmres

# Iterations after which the direct solver takes over, of conjugate gradients and of the
# published cycle, which needs more the larger the grid is.
_MAX_ITER, _MAX_PUBLISHED = 60, 300
# Operations of a banded factor, nodes times the square of the band, from which on
# multigrid is as fast: 128^2 nodes, and about 6000 nodes in two dimensions of space.
_DIRECT_WORK = 4.0e9


def is_large(shape):
    """Whether multigrid is the faster way to solve on a grid of that shape."""
    n_nodes = float(np.prod(shape))
    return n_nodes * (4.0 * n_nodes / max(shape)) ** 2 >= _DIRECT_WORK


class IterativeFactor:
    """A condensed system solved by iteration, or directly where that fails.

    Parameters
    ----------
    condensed : Condensed
    coefficients : ndarray of shape (n_nodes, n_variables)
        From which it was made.
    tol : float
        Relative residual of the condensed system at which to stop.

    Attributes
    ----------
    name : str
        Of the solver; "direct" once the iteration has failed.
    n_iterations : int
        Of the last solve, the most over right sides.
    """

    def __init__(self, condensed, coefficients, tol):
        self.condensed, self.tol = condensed, tol
        self.name, self.n_iterations = self._name, 0
        self._direct = None
        try:
            self._set_up(coefficients)
        except np.linalg.LinAlgError:
            self._fall_back("a block of it is not positive definite")

    def solve(self, rhs):
        """S^-1 @ rhs, of shape (n_nodes, k)."""
        if self._direct is None:
            result = self._iterate(rhs)
            self.n_iterations = result.n_iterations
            if result.converged:
                return result.values
            residual = float(result.residual.max())
            why = (
                f"its relative residual is {residual:.1e} after "
                f"{result.n_iterations} iterations, and {self.tol:.0e} was asked for"
            )
            if not self._fall_back(why):
                return result.values
        else:
            self.n_iterations = 0
        return self._direct.solve(rhs)

    def _fall_back(self, why):
        """Factor directly, unless that does not fit into memory; whether it did."""
        try:
            self._direct = factor_direct(self.condensed)
        except MemoryError as error:
            then = f"The last iterate is kept, for want of memory: {error}"
        else:
            self.name = "direct"
            then = "It is solved directly, as linear_solver='direct' does at once."
        warnings.warn(
            f"The solver {self._name!r} did not converge on this system: {why}. {then}",
            ConvergenceWarning,
            stacklevel=6,
        )
        return self._direct is not None


class MultigridFactor(IterativeFactor):
    """Conjugate gradients on S, preconditioned by a multigrid cycle."""

    _name = "multigrid"

    def _set_up(self, coefficients):
        axes = [axis.nodes for axis in self.condensed.system.axes]
        self._cycle = MultigridPreconditioner(self.condensed.matrix, axes)

    def _iterate(self, rhs):
        matrix = self.condensed.matrix
        return conjugate_gradients(
            lambda field: matrix @ field,
            rhs,
            self._cycle.solve,
            tol=self.tol,
            max_iter=_MAX_ITER,
        )


class PublishedFactor(IterativeFactor):
    """Flexible GMRES on the normal equations, preconditioned as published."""

    _name = "multigrid_paper"

    def _set_up(self, coefficients):
        self._cycle = PublishedCycle(self.condensed.system, coefficients)

    def _iterate(self, rhs):
        return flexible_gmres(
            self._cycle,
            self.condensed.matrix,
            rhs,
            tol=self.tol,
            max_iter=_MAX_PUBLISHED,
        )


ITERATIVE = {"multigrid": MultigridFactor, "multigrid_paper": PublishedFactor}
