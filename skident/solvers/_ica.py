"""Independent component analysis of whitened data."""

from typing import NamedTuple

import numpy as np

from skident.solvers._ica_kernel import FUNCTIONS, Rows, evaluate_sources
from skident.solvers._ica_lbfgs import (
    Descent,
    InvertibleMaps,
    Rotations,
    extended_signs,
    polar,
    signed_loss,
    skew,
)
from skident.solvers._ica_stages import best_start, fastica, minibatches
from skident.solvers._parallel import workers
from skident.solvers._random import generator

ALGORITHMS = ("picard-o", "fastica", "picard", "infomax")

# Single precision is trusted with gradients down to this size, several times what
# rounding leaves of them.
_FLOAT32_FLOOR = 2e-7
_INFOMAX_PASSES = 3


class ICAResult(NamedTuple):
    """What :func:`ica` found, for k components.

    Parameters
    ----------
    rotation : ndarray of shape (k, k)
        Map from whitened rows to sources: the sources of a row x are
        ``rotation @ whitening.matrix @ (x - whitening.mean)``. Orthogonal but for
        "picard", whose sources have no exact unit variance either.
    n_iter : int
        Steps over all rows; those on the subsample do not count.
    converged : bool
        Whether ``gradient_norm`` is at most the tolerance.
    gradient_norm : float
        Largest entry in absolute value of the relative gradient over all rows, good
        to 1e-8: of the skew part of ``diag(s) E[psi(y) y^T]`` for the density signs
        s, and for "picard" of the gradient of the likelihood.
    loss : float
        ``sum_i s_i E[f(y_i) - f(g)]`` with f the antiderivative of the score and g
        standard normal, zero for Gaussian sources and the lower the farther from
        these, good to 1e-6; for "picard" the mean negative log-likelihood up to a
        constant.
    density_sign : ndarray of shape (k,)
        The signs s. With "tanh" and "exp", 1 is super-Gaussian and -1 is
        sub-Gaussian; with "cube" it is the other way round.
    history : ndarray of shape (n_passes,)
        ``gradient_norm`` at every pass over all rows.
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
    """Turn whitened data to sources as independent as they can be made.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data, not whitened; a memory map is read chunk by chunk and never held
        whole.
    whitening : Whitening
        Of :func:`skident.solvers.whitening`, for these data.
    algorithm : {"picard-o", "fastica", "picard", "infomax"}, default="picard-o"
        "picard-o" is preconditioned L-BFGS on the rotations [1]_; "fastica" is the
        parallel fixed point with symmetric decorrelation [2]_, which has the same
        fixed points and may never come to rest where the model does not hold;
        "picard" is L-BFGS on all invertible matrices [3]_, whose sources may be
        correlated (with "exp" only when extended, with "cube" only when not);
        "infomax" starts with three passes of natural gradient steps on minibatches,
        for data that are slow to read, and ends like "picard-o".
    fun : {"tanh", "exp", "cube"}, default="tanh"
        Score psi: tanh(y), y exp(-y^2 / 2) or y^3.
    extended : bool, default=True
        Whether each component may be sub- or super-Gaussian. Otherwise all are
        super-Gaussian with "tanh" and "exp", and sub-Gaussian with "cube".
    max_iter : int, default=500
        Largest number of iterations over all rows.
    tol : float, default=1e-6
        Bound on the gradient, see :class:`ICAResult`, that ends the iterations of
        every algorithm.
    memory : int, default=7
        Steps that L-BFGS remembers.
    ls_tries : int, default=10
        Step lengths tried along a direction.
    lambda_min : float, default=0.01
        Smallest curvature that the diagonal approximation of the Hessian may have.
    n_init : int, default=1
        Number of random starts. All are followed on the subsample; the one with the
        lowest loss goes on.
    w_init : array-like of shape (k, k) or None, default=None
        First start, in whitened coordinates, of which the nearest rotation is taken
        (but for "picard"). Alone, it is used without a warm start.
    warm_start_subsample : int or None, default=10_000
        About this many evenly spaced rows, but at least ``k**2``, serve to come near
        the optimum before all are used; None or 0 is all rows.
    random_state : int, Generator, RandomState or None, default=None
        For the starts and the order of minibatches.
    device : str, default="cpu"
        "cpu" runs on numpy; any other name is a device of torch, and "torch" is its
        CPU.

    Returns
    -------
    ICAResult

    Raises
    ------
    ValueError
        If a parameter is out of its range, shapes disagree, or a value is not finite.

    Notes
    -----
    Sources are identified up to order and sign when they are independent and at most
    one is Gaussian. Without these assumptions the result is a local optimum, of which
    there can be many.

    An iteration takes 4 n k^2 operations and n k exponentials. Passes run in float32
    with float64 sums until the gradient is small, then with sources in float64 (and
    scores too, when ``tol`` is below 2e-7 or the score is "cube"); the whitened rows
    are kept, in float32, when they take at most 256 MiB (64 MiB for a memory map) and
    are made anew in every pass beyond that. Below a gradient of 0.03 a step is accepted
    by the slope at its end instead of the loss, which rounding would hide (the
    approximate Wolfe condition [4]_). Chunks of rows run on as many threads as the
    BLAS library may use, and results do not depend on how many.

    References
    ----------
    .. [1] Ablin, Cardoso and Gramfort, "Faster ICA under orthogonal constraint",
       ICASSP 2018.
    .. [2] Hyvärinen, "Fast and robust fixed-point algorithms for independent component
       analysis", IEEE Transactions on Neural Networks 10(3), 1999.
    .. [3] Ablin, Cardoso and Gramfort, "Faster independent component analysis by
       preconditioning with Hessian approximations", IEEE Transactions on Signal
       Processing 66(15), 2018.
    .. [4] Hager and Zhang, "A new conjugate gradient method with guaranteed descent
       and an efficient line search", SIAM Journal on Optimization 16(1), 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import ica, whitening
    >>> sources = np.random.default_rng(0).laplace(size=(5000, 2))
    >>> X = sources @ np.array([[1.0, 0.5], [0.2, 1.0]])
    >>> found = whitening(X)
    >>> result = ica(X, found, random_state=0)
    >>> Y = (X - found.mean) @ (result.rotation @ found.matrix).T
    >>> np.abs(np.corrcoef(Y.T, sources.T))[:2, 2:].max(axis=0).round(2)
    array([1., 1.])
    """
    X = _checked_data(X, whitening)
    _check_parameters(
        algorithm, fun, extended, max_iter, tol, memory, ls_tries, lambda_min, n_init
    )
    rng = generator(random_state)
    starts = _starts(len(whitening.matrix), algorithm, n_init, w_init, rng)
    kind = InvertibleMaps if algorithm == "picard" else Rotations
    geometry = kind(fun, extended, lambda_min)
    with workers() as map_groups:
        rows = _rows(X, whitening, map_groups, device)
        W = starts[0]
        if n_init > 1 or (w_init is None and algorithm != "infomax"):
            # Of fewer rows than this, many components fit what chance has made.
            n_few = max(warm_start_subsample or rows.n_samples, rows.n_components**2)
            few = rows.subsample(n_few)
            descend = algorithm != "fastica"
            W = best_start(few, starts, geometry, memory, ls_tries, descend=descend)
        if algorithm == "fastica":
            found = fastica(rows, W, geometry, tol, max_iter, _FLOAT32_FLOOR)
            return _result(geometry, *found, tol)
        descent = Descent(geometry, W, memory, ls_tries)
        if algorithm == "infomax":
            n_passes = min(_INFOMAX_PASSES, max_iter)
            descent.W, descent.history = minibatches(rows, W, geometry, n_passes, rng)
            descent.n_iter = n_passes
        descent.run(rows, max(0.5 * tol, _FLOAT32_FLOOR), max_iter, np.float32)
        descent.run(rows, tol, max_iter, np.float64)
    ended = descent.W, descent.found, descent.n_iter, descent.history
    return _result(geometry, *ended, tol)


def ica_gradient(Y, fun="tanh", extended=True):
    """Relative gradient of the ICA loss on the rotations, for given sources.

    Parameters
    ----------
    Y : array-like of shape (n_samples, k)
        Sources, centred, of unit variance and uncorrelated.
    fun : {"tanh", "exp", "cube"}, default="tanh"
        Score psi: tanh(y), y exp(-y^2 / 2) or y^3.
    extended : bool, default=True
        Whether each component may be sub- or super-Gaussian.

    Returns
    -------
    gradient : ndarray of shape (k, k)
        The skew part of ``diag(s) E[psi(y) y^T]``: the derivative of the loss at
        ``expm(E) y`` along skew-symmetric E is ``(gradient * E).sum()``.
    loss : float
        ``sum_i s_i E[f(y_i) - f(g)]``, with f the antiderivative of psi and g standard
        normal.
    density_sign : ndarray of shape (k,)
        The signs s, those of ``E psi'(y_i) E y_i^2 - E psi(y_i) y_i``; all 1 when not
        extended.

    Raises
    ------
    ValueError
        If ``Y`` is not two-dimensional or not finite, or ``fun`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers import ica_gradient
    >>> Y = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> gradient, loss, signs = ica_gradient(Y)
    >>> float(np.abs(gradient).max()), signs
    (0.0, array([-1., -1.]))
    """
    Y = Y if isinstance(Y, np.ndarray) else np.asarray(Y)
    if Y.ndim != 2 or Y.size == 0:
        raise ValueError(f"Y must be two-dimensional and not empty, got {Y.shape}.")
    _check_fun(fun)
    found = evaluate_sources(Y, fun)
    signs = np.ones(Y.shape[1])
    if extended:
        square = np.einsum("ij,ij->j", Y, Y, dtype=np.float64) / len(Y)
        signs = extended_signs(found, square)
    gradient = skew(signs[:, None] * found.product)
    return gradient, signed_loss(found, signs, fun), signs


def _rows(X, whitening, map_groups, device):
    if device == "cpu":
        return Rows(X, whitening.mean, whitening.matrix, map_groups)
    from skident.solvers._ica_torch import TorchRows

    return TorchRows(X, whitening.mean, whitening.matrix, device)


def _result(geometry, W, found, n_iter, history, tol):
    signs = geometry.signs(found, W)
    norm = float(np.abs(geometry.gradient(found, W, signs)).max())
    return ICAResult(
        rotation=W,
        n_iter=n_iter,
        converged=norm <= tol,
        gradient_norm=norm,
        loss=geometry.loss(found, W, signs),
        density_sign=signs,
        history=np.array(history),
    )


def _starts(k, algorithm, n_init, w_init, rng):
    starts = [_random_rotation(k, rng) for _ in range(n_init)]
    if w_init is not None:
        first = np.array(w_init, dtype=np.float64)
        if first.shape != (k, k) or not np.isfinite(first).all():
            raise ValueError(
                f"w_init must be a finite matrix of shape {(k, k)}, got {first.shape}."
            )
        starts[0] = first if algorithm == "picard" else polar(first)
    return starts


def _random_rotation(k, rng):
    Q, R = np.linalg.qr(rng.standard_normal((k, k)))
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def _checked_data(X, whitening):
    X = X if isinstance(X, np.ndarray) else np.asarray(X)
    n_features = len(whitening.mean)
    if X.ndim != 2 or len(X) == 0 or X.shape[1] != n_features:
        raise ValueError(
            f"X must be of shape (n_samples, {n_features}), as it was whitened, got "
            f"{X.shape}."
        )
    return X if X.dtype.kind == "f" else X.astype(np.float64)


def _check_fun(fun):
    if fun not in FUNCTIONS:
        raise ValueError(f"fun must be one of {FUNCTIONS}, got {fun!r}.")


def _check_parameters(
    algorithm, fun, extended, max_iter, tol, memory, ls_tries, lambda_min, n_init
):
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {algorithm!r}.")
    _check_fun(fun)
    if algorithm == "picard" and (fun, extended) in (("cube", True), ("exp", False)):
        raise ValueError(
            f"algorithm='picard' has no likelihood with fun={fun!r} and "
            f"extended={extended}, whose densities do not fall off. Use "
            f"extended={not extended}, or fun='tanh'."
        )
    counts = {"memory": memory, "ls_tries": ls_tries, "n_init": n_init}
    for name, value in {"max_iter": max_iter, **counts}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    for name, value in {"tol": tol, "lambda_min": lambda_min}.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}.")
