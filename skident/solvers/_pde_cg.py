"""Conjugate gradients for several right sides at once."""

from typing import NamedTuple

import numpy as np


class CgResult(NamedTuple):
    """What conjugate gradients ended with.

    Attributes
    ----------
    values : ndarray of shape (n, k)
        The iterates.
    residual : ndarray of shape (k,)
        Norm of what is left of each right side, relative to the right side's own.
    n_iterations : int
        Iterations done, the most over right sides.
    converged : bool
        Whether every relative residual is at most the tolerance.
    """

    values: np.ndarray
    residual: np.ndarray
    n_iterations: int
    converged: bool


def conjugate_gradients(multiply, rhs, precondition, *, tol=1e-8, max_iter=60):
    """Solve a symmetric positive definite system by preconditioned iteration.

    Parameters
    ----------
    multiply : callable
        Takes an array of shape (n, j) and returns the matrix times it.
    rhs : ndarray of shape (n, k)
        Right sides. Each stops by itself; the others go on without it.
    precondition : callable
        Takes residuals of shape (n, j) and returns corrections of that shape: a
        symmetric positive definite linear map, near the inverse of the matrix.
    tol : float, default=1e-8
        Norm of the residual, relative to that of the right side, at which to stop.
    max_iter : int, default=60
        Iterations before giving up.

    Returns
    -------
    result : CgResult
        With residuals computed from the iterates, not from the recurrence. Iteration
        ends early, with ``converged`` False, where the matrix or the preconditioner
        turns out not to be positive definite, or numbers are not finite.
    """
    values = np.zeros_like(rhs)
    scale = np.linalg.norm(rhs, axis=0)
    active = np.flatnonzero(scale > 0)
    residual = rhs[:, active]
    goal = tol * scale[active]
    direction = np.zeros_like(residual)
    last = np.ones(len(active))
    done = 0
    for done in range(1, max_iter + 1 if len(active) else 1):
        step = precondition(residual)
        size = _dots(residual, step)
        direction = step + (size / last) * direction if done > 1 else step
        image = multiply(direction)
        curvature = _dots(direction, image)
        if not ((curvature > 0) & (size > 0)).all():
            done -= 1
            break
        length = size / curvature
        values[:, active] += length * direction
        residual -= length * image
        left = np.linalg.norm(residual, axis=0)
        # Comparisons with NaN are false: such a column stays and stops the loop.
        stays = ~(left <= goal)
        if not stays.any():
            break
        last = size
        if not stays.all():
            active, goal, last = active[stays], goal[stays], last[stays]
            residual, direction = residual[:, stays], direction[:, stays]
    left = np.linalg.norm(rhs - multiply(values), axis=0)
    relative = left / np.where(scale > 0, scale, 1.0)
    # The recurrence drifts from the residual by rounding: a few times its own size.
    converged = bool((relative <= 2.0 * tol).all())
    return CgResult(values, relative, done, converged)


def _dots(a, b):
    return np.einsum("nk,nk->k", a, b)
