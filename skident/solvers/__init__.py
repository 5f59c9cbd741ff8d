"""Numerical engines that know nothing of estimators: arrays in, arrays out."""

from skident.solvers._geometric_median import geometric_median
from skident.solvers._ica import ICAResult, ica, ica_gradient
from skident.solvers._moments import Moments
from skident.solvers._ode import ode_window_operator, solve_linear_ode
from skident.solvers._ode_factor import LinearOdeFactor, OdeSolveInfo
from skident.solvers._omp import batched_omp
from skident.solvers._pde import solve_linear_pde
from skident.solvers._pde_factor import PdeFactor, PdeSolution
from skident.solvers._pde_multigrid import MultigridPreconditioner
from skident.solvers._pde_system import PdeSystem
from skident.solvers._stein import SteinScore, stein_hessian_diagonal, stein_score
from skident.solvers._whitening import Whitening, whitening

__all__ = [
    "ICAResult",
    "LinearOdeFactor",
    "Moments",
    "MultigridPreconditioner",
    "OdeSolveInfo",
    "PdeFactor",
    "PdeSolution",
    "PdeSystem",
    "SteinScore",
    "Whitening",
    "batched_omp",
    "geometric_median",
    "ica",
    "ica_gradient",
    "ode_window_operator",
    "solve_linear_ode",
    "solve_linear_pde",
    "stein_hessian_diagonal",
    "stein_score",
    "whitening",
]
