"""Numerical engines that know nothing of estimators: arrays in, arrays out."""

from skident.solvers._geometric_median import geometric_median
from skident.solvers._omp import batched_omp

__all__ = ["batched_omp", "geometric_median"]
