"""Independent component analysis of whitened data."""

from typing import NamedTuple

import numpy as np
from scipy import linalg

from skident.solvers._ica_kernel import CHUNK_ROWS, Rows, evaluate
from skident.solvers._random import generator


class ICAResult(NamedTuple):
    """What :func:`ica` found.

    Parameters
    ----------
    rotation : ndarray of shape (k, k)
        Map from whitened rows to sources; orthogonal but for "picard".
    n_iter : int
        Iterations over all rows.
    converged : bool
        Whether ``gradient_norm`` is at most the tolerance.
    gradient_norm : float
        Largest entry in absolute value of the relative gradient.
    loss : float
        Mean signed loss a row, up to a constant.
    density_sign : ndarray of shape (k,)
        1 for components taken as super-Gaussian, -1 for sub-Gaussian ones.
    history : ndarray
        ``gradient_norm`` at every iteration.
    """

    rotation: np.ndarray
    n_iter: int
    converged: bool
    gradient_norm: float
    loss: float
    density_sign: np.ndarray
    history: np.ndarray


def ica(
    X,
    whitening,
    *,
    algorithm="picard-o",
    fun="tanh",
    extended=True,
    max_iter=500,
    tol=1e-6,
    memory=7,
    ls_tries=10,
    lambda_min=0.01,
    n_init=1,
    w_init=None,
    warm_start_subsample=10_000,
    random_state=None,
    device="cpu",
):
    """Rotate whitened data to sources as independent as they can be made."""
    X = np.asarray(X) if not isinstance(X, np.ndarray) else X
    rows = Rows(X, whitening.mean, whitening.matrix)
    rng = generator(random_state)
    k = rows.n_components
    if w_init is None:
        w_init = rng.standard_normal((k, k))
    W = _polar(np.array(w_init, dtype=np.float64))
    if algorithm == "fastica":
        return _fastica(rows, W, fun, extended, max_iter, tol)
    if algorithm != "picard-o":
        raise ValueError(
            f"algorithm must be 'picard-o' or 'fastica', got {algorithm!r}."
        )
    return _picard_o(
        rows, W, fun, extended, max_iter, tol, memory, ls_tries, lambda_min
    )


def ica_gradient(Y, fun="tanh", extended=True):
    """Relative gradient of the ICA loss on the rotation group, for given sources.

    Parameters
    ----------
    Y : array-like of shape (n_samples, k)
        Sources, whitened.
    fun : {"tanh", "exp", "cube"}, default="tanh"
        Score function.
    extended : bool, default=True
        Whether each component may be sub- or super-Gaussian.

    Returns
    -------
    gradient : ndarray of shape (k, k)
        The skew part of ``diag(s) E[psi(y) y^T]``.
    loss : float
        Signed loss a row, up to a constant.
    density_sign : ndarray of shape (k,)
        The signs s: those of ``E psi'(y_i) E y_i^2 - E psi(y_i) y_i``.
    """
    Y = np.asarray(Y)
    n_samples, k = Y.shape
    chunks = (
        Y[low : low + CHUNK_ROWS].astype(np.float64)
        for low in range(0, n_samples, CHUNK_ROWS)
    )
    found = evaluate(chunks, n_samples, k, fun)
    signs = _signs(found, extended)
    return _skew(signs[:, None] * found.product), float(signs @ found.loss), signs


def _signs(found, extended):
    if not extended:
        return np.ones(len(found.slope))
    gain = found.slope * found.square - np.diag(found.product)
    return np.where(gain >= 0, 1.0, -1.0)


def _skew(A):
    return (A - A.T) / 2


def _polar(W):
    """Nearest orthogonal matrix."""
    left, _, right = linalg.svd(W)
    return left @ right


def _picard_o(rows, W, fun, extended, max_iter, tol, memory, ls_tries, lambda_min):
    past, history = [], []
    signs = step = previous = None
    found = rows.evaluate(W, fun)
    for _ in range(max_iter + 1):
        fresh = _signs(found, extended)
        if signs is not None and (fresh != signs).any():
            past, step = [], None
        product, slope = fresh[:, None] * found.product, fresh * found.slope
        gradient, loss, signs = _skew(product), float(fresh @ found.loss), fresh
        history.append(float(np.abs(gradient).max()))
        if history[-1] <= tol or len(history) > max_iter:
            break
        own = slope - np.diag(product)
        hessian = np.maximum((own[:, None] + own[None, :]) / 2, lambda_min)
        if step is not None:
            change = gradient - previous
            inner = np.sum(step * change)
            if inner > 0:
                past = [*past[-(memory - 1) :], (step, change, 1.0 / inner)]
        direction = -_two_loop(gradient, hessian, past)
        for attempt in range(2):
            alpha, accepted = 1.0, False
            for _ in range(ls_tries):
                turned = linalg.expm(alpha * direction) @ W
                trial = rows.evaluate(turned, fun)
                if signs @ trial.loss < loss:
                    accepted = True
                    break
                alpha /= 2
            if accepted or attempt:
                break
            direction, past = -gradient, []
        if not accepted:
            break
        W, found, previous, step = turned, trial, gradient, alpha * direction
        if len(history) % 20 == 0:
            W = _polar(W)
    return ICAResult(
        rotation=W,
        n_iter=len(history) - 1,
        converged=history[-1] <= tol,
        gradient_norm=history[-1],
        loss=loss,
        density_sign=signs,
        history=np.array(history),
    )


def _two_loop(gradient, hessian, past):
    q, weights = gradient.copy(), []
    for s, y, r in reversed(past):
        weights.append(r * np.sum(s * q))
        q -= weights[-1] * y
    z = q / hessian
    for (s, y, r), a in zip(past, reversed(weights), strict=True):
        z += (a - r * np.sum(y * z)) * s
    return _skew(z)


def _fastica(rows, W, fun, extended, max_iter, tol):
    history = []
    for _ in range(max_iter + 1):
        found = rows.evaluate(W, fun)
        signs = _signs(found, extended)
        gradient = _skew(signs[:, None] * found.product)
        history.append(float(np.abs(gradient).max()))
        if history[-1] <= tol or len(history) > max_iter:
            break
        W = _polar((found.product - np.diag(found.slope)) @ W)
    return ICAResult(
        rotation=W,
        n_iter=len(history) - 1,
        converged=history[-1] <= tol,
        gradient_norm=history[-1],
        loss=float(signs @ found.loss),
        density_sign=signs,
        history=np.array(history),
    )
