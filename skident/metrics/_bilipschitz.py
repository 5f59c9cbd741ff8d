"""How far a map changes distances."""

import sys
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skident.metrics._inputs import check_matrix, row_chunks
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

# Rows on which the sizes and spreads of codes and outputs are read off.
_PILOT_ROWS = 256
# Share of the spread that rounding may take; derivatives are then good to its power
# 2 / 3, one part in a hundred.
_MAX_ROUNDING = 1e-3

_CONSTRAINTS = {
    "method": [StrOptions({"jacobian", "pairwise"})],
    "max_samples": [Interval(Integral, 1, None, closed="left"), None],
    "step": [Interval(Real, 0, None, closed="neither"), None],
    "random_state": ["random_state"],
}


class BilipschitzConstants(NamedTuple):
    """Factors between which a map changes distances.

    Attributes
    ----------
    lower : float
        Smallest factor found.
    upper : float
        Largest factor found.
    distortion : float
        ``sqrt(upper / lower) - 1``: the constant L for which the map, after the best
        global scale, changes distances by factors in [1 / (1 + L), 1 + L]. 0 for an
        isometry with a scale, infinite where a direction is lost.
    """

    lower: float
    upper: float
    distortion: float


def bilipschitz_constants(
    decode,
    Z,
    *,
    method="jacobian",
    max_samples=1000,
    step=None,
    random_state=0,
):
    """Estimate between which factors a decoder changes distances of codes.

    Parameters
    ----------
    decode : callable or torch.nn.Module
        Map from codes (n, n_latents) to data (n, n_features), or (n, ...), each row by
        itself. A module is evaluated on the CPU, in evaluation mode and in float64.
    Z : array-like of shape (n_samples, n_latents)
        Codes at which to look: those of real rows, as the constants matter there.
    method : {"jacobian", "pairwise"}, default="jacobian"
        "jacobian": extreme singular values of the Jacobian, exact for a module and by
        central differences for any other callable. "pairwise": extreme ratios of
        distances of random pairs of codes.
    max_samples : int or None, default=1000
        Number of codes, or of pairs, that are looked at, drawn at random; None is all
        codes, and as many pairs as there are rows.
    step : float or None, default=None
        Step of the central differences, in units of ``Z``; None is
        ``(eps r) ** (1/3)`` times the largest standard deviation of a column of ``Z``,
        with the eps of the precision in which ``decode`` returns and with r the size of
        codes or outputs over their spread, whichever is larger and at least 1.
    random_state : int, RandomState instance or None, default=0
        Draws the codes or pairs.

    Returns
    -------
    constants : BilipschitzConstants
        ``lower``, ``upper`` and ``distortion``.

    Raises
    ------
    ValueError
        If ``Z`` is not two-dimensional, is empty or is not finite, if ``decode``
        returns another number of rows or values that are not finite real numbers, or if
        no two codes of the pairs differ. If codes or outputs are so large beside
        their spread that the precision of ``decode`` does not hold it, and no ``step``
        was given; and if a Jacobian is asked of a ``decode`` that returns integers or
        is constant around every code.

    Notes
    -----
    These are extremes over a sample: ``lower`` is at least and ``upper`` at most what
    holds everywhere. The two methods see different things. The Jacobian is local: on a
    convex set of codes its largest singular value bounds all ratios, while a map that
    folds back onto itself can have a good smallest one. Pairs are global, and rarely
    close enough to feel the worst direction.

    In theory [1]_ the representations of two trainings differ from a rigid map of
    each other by an amount of order ``sqrt(2 L + L^2)`` for small distortion L, with
    a factor that is not known: use L to compare, never as a bound.

    O(n d) evaluations of ``decode`` on a row and O(n p d^2) time for n codes of d
    latents and p features.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import bilipschitz_constants
    >>> Z = np.random.default_rng(0).uniform(size=(100, 2))
    >>> found = bilipschitz_constants(lambda Z: Z @ np.diag([1.0, 4.0]), Z)
    >>> round(found.lower, 6), round(found.upper, 6), round(found.distortion, 6)
    (1.0, 4.0, 1.0)
    """
    validate_parameter_constraints(
        _CONSTRAINTS,
        {"method": method, "max_samples": max_samples, "step": step}
        | {"random_state": random_state},
        caller_name="bilipschitz_constants",
    )
    Z = check_matrix(Z, "Z").astype(np.float64, copy=False)
    rng = check_random_state(random_state)
    value, derivative = _backend(decode, Z, method, step)
    if method == "pairwise":
        factors = _ratios(value, Z, max_samples, rng)
    else:
        if max_samples is not None and max_samples < len(Z):
            Z = Z[rng.choice(len(Z), max_samples, replace=False)]
        factors = _singular_values(value, derivative, Z)
    lower, upper = float(factors.min()), float(factors.max())
    distortion = np.sqrt(upper / lower) - 1.0 if lower > 0 else np.inf
    return BilipschitzConstants(lower, upper, float(distortion))


def _backend(decode, Z, method, step):
    """The map and its Jacobian, as functions of arrays of codes."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(decode, torch.nn.Module):
        from skident.solvers import _jacobian_torch

        return (
            partial(_jacobian_torch.forward, decode),
            partial(_jacobian_torch.jacobian, decode),
        )
    value = partial(_flat_output, decode)
    pilot = Z[:: -(-len(Z) // _PILOT_ROWS)]
    X = value(pilot)
    dtype = _precision(X)
    if step is None:
        if dtype is None and method == "jacobian":
            raise ValueError(
                f"decode must return floats for a Jacobian, got {X.dtype}: integers "
                'are constant around most codes. Use method="pairwise", or a step that '
                "spans many of them."
            )
        rounding = _rounding(pilot, X, dtype)
        # Balances rounding, rounding / step, and curvature, step^2.
        step = rounding ** (1 / 3) * _spread(Z)
    return value, partial(_central_differences, value, step, dtype or np.float64)


def _flat_output(decode, Z):
    X = np.asarray(decode(Z))
    if X.ndim < 1 or len(X) != len(Z):
        raise ValueError(
            f"decode must return a row for each of {len(Z)} codes, got shape {X.shape}."
        )
    if X.dtype.kind not in "biuf":
        raise ValueError(f"decode must return real numbers, got dtype {X.dtype}.")
    return X.reshape(len(X), -1)


def _precision(X):
    """Precision in which a map computes, by its output; None for integers."""
    if X.dtype.kind != "f":
        return None
    if X.dtype.itemsize < 8:
        return X.dtype.type
    # Wider arrays can hold what was computed in less.
    with np.errstate(over="ignore"):
        narrow = (X.astype(np.float32) == X).all() and (np.round(X) != X).any()
    return np.float32 if narrow else np.float64


def _rounding(Z, X, dtype):
    """Share of their spread to which codes and outputs are rounded."""
    if dtype is None:
        return 0.0
    X = X.astype(np.float64)
    varies = (X[0] != X).any(axis=0)
    eps, found = float(np.finfo(dtype).eps), 0.0
    for what, values in (("Z has codes", Z), ("decode returns values", X[:, varies])):
        if values.size == 0:
            continue
        size, spread = np.sqrt(np.square(values).mean(axis=0).max()), _spread(values)
        found = max(found, eps * max(1.0, size / spread))
        if found > _MAX_ROUNDING:
            raise ValueError(
                f"{what} of size {size:.3g} with standard deviations of up to "
                f"{spread:.3g}, which {np.dtype(dtype).name}, in which decode "
                "computes, hardly tells apart. Shift them, compute in float64, or "
                "give a step."
            )
    return found


def _spread(values):
    """Largest standard deviation of a column; where there is none, the size."""
    return values.std(axis=0).max() or np.abs(values).max() or 1.0


def _central_differences(value, step, dtype, Z):
    columns = []
    for j in range(Z.shape[1]):
        ahead, behind = Z.copy(), Z.copy()
        # Codes that a map of this precision takes as they are.
        ahead[:, j] = _rounded(Z[:, j] + step, dtype)
        behind[:, j] = _rounded(Z[:, j] - step, dtype)
        # The step as it was taken, after rounding.
        width = (ahead[:, j] - behind[:, j])[:, None]
        if not (width > 0).all():
            raise ValueError(
                f"step={step:.3g} is lost in the rounding of codes of size "
                f"{np.abs(Z[:, j]).max():.3g} to {np.dtype(dtype).name}."
            )
        difference = value(ahead).astype(np.float64) - value(behind)
        columns.append(difference / width)
    return np.stack(columns, axis=2)


def _rounded(values, dtype):
    """As in another precision, which need not have the range."""
    digits = 2.0 ** (np.finfo(dtype).nmant + 1)
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * digits) / digits, exponent)


def _singular_values(value, derivative, Z):
    """Extreme singular values of the Jacobian at each code."""
    n_features, n_latents = value(Z[:1]).shape[1], Z.shape[1]
    extremes = []
    for rows in row_chunks(len(Z), n_features * n_latents):
        jacobian = derivative(Z[rows])
        _check_finite(jacobian)
        singular = np.linalg.svd(jacobian, compute_uv=False)
        lost = 0.0 if n_features < n_latents else singular[:, -1].min()
        extremes.append((singular[:, 0].max(), lost))
    extremes = np.array(extremes)
    if not extremes.any():
        X = value(Z[:: -(-len(Z) // _PILOT_ROWS)])
        if (X[0] != X).any():
            raise ValueError(
                "decode is constant around every code, and yet its values differ, as "
                'if it rounded them: it has no Jacobian. Use method="pairwise", or a '
                "step that spans the rounding."
            )
    return extremes


def _ratios(value, Z, n_pairs, rng):
    """Ratios of distances of random pairs of codes."""
    n_pairs = len(Z) if n_pairs is None else n_pairs
    one = rng.randint(len(Z), size=n_pairs)
    # Another row than the first of the pair.
    two = (one + rng.randint(1, max(len(Z), 2), size=n_pairs)) % len(Z)
    ratios = []
    for rows in row_chunks(n_pairs, value(Z[:1]).shape[1]):
        A, B = Z[one[rows]], Z[two[rows]]
        apart = np.linalg.norm(A - B, axis=1)
        image = np.linalg.norm(value(A).astype(np.float64) - value(B), axis=1)
        _check_finite(image)
        ratios.append(image[apart > 0] / apart[apart > 0])
    ratios = np.concatenate(ratios)
    if len(ratios) == 0:
        raise ValueError(f"Z must have codes that differ; n_samples = {len(Z)}.")
    return ratios


def _check_finite(values):
    if not np.isfinite(values).all():
        raise ValueError("decode must return finite values, got NaN or infinity.")
