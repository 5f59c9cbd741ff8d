"""Rows: scaled block by block, and parted into those to train on and the others."""

from typing import Literal

import numpy as np

# Elements of the float64 work array: 4 MiB, so that the five passes over a block
# run in cache and a memory map is never copied whole.
_BLOCK_ELEMENTS = 2**19


def scale_rows(
    X: np.ndarray, how: Literal["center_l2", "l2"] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale every row on its own, so that ``X = scaled * scale + shift``.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Finite numbers, in any unit. float32 and float64 are kept; float16 becomes
        float32 and everything else float64.
    how : {"center_l2", "l2", None}
        "center_l2" subtracts the row's mean over features, then divides by the
        Euclidean norm of what is left; "l2" only divides; None changes nothing
        (and does not copy).

    Returns
    -------
    scaled : ndarray of shape (n_samples, n_features)
        Rows of unit norm. A row whose norm is zero (constant, with "center_l2")
        becomes zeros.
    shift : ndarray of shape (n_samples, 1)
        Mean that was subtracted, in the units of ``X``; zeros where none was.
    scale : ndarray of shape (n_samples, 1)
        Norm that was divided by, in the units of ``X``; 0 for a zero-norm row, ones
        where nothing was divided.

    Raises
    ------
    ValueError
        If ``how`` is none of the three.

    Notes
    -----
    Everything is computed in float64 after dividing by the row's largest magnitude,
    so that no row overflows and a constant row is centred to exact zeros.

    Examples
    --------
    >>> from skident.utils._rows import scale_rows
    >>> scaled, shift, scale = scale_rows(np.array([[1.0, 1.0, 4.0]]), "center_l2")
    >>> (scaled * scale + shift).round(12)
    array([[1., 1., 4.]])
    """
    if how not in ("center_l2", "l2", None):
        raise ValueError(f'how must be "center_l2", "l2" or None, got {how!r}.')
    X = np.asarray(X)
    dtype = {"float16": np.float32, "float32": np.float32}.get(X.dtype.name, np.float64)
    n_samples, n_features = X.shape
    shift = np.zeros((n_samples, 1), dtype=dtype)
    scale = np.ones((n_samples, 1), dtype=dtype)
    if how is None:
        return X.astype(dtype, copy=False), shift, scale

    scaled = np.empty((n_samples, n_features), dtype=dtype)
    step = max(1, _BLOCK_ELEMENTS // max(1, n_features))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        block = X[rows].astype(np.float64)
        peak = np.maximum(
            block.max(axis=1, keepdims=True, initial=0.0),
            -block.min(axis=1, keepdims=True, initial=0.0),
        )
        block /= np.where(peak > 0, peak, 1.0)
        if how == "center_l2":
            mean = block.mean(axis=1, keepdims=True)
            block -= mean
            shift[rows] = mean * peak
        norm = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        block /= np.where(norm > 0, norm, 1.0)
        scaled[rows] = block
        scale[rows] = norm * peak
    return scaled, shift, scale


def restore_rows(
    scaled: np.ndarray, shift: np.ndarray, scale: np.ndarray, first_row: int = 0
) -> np.ndarray:
    """Undo :func:`scale_rows`, in float32.

    Parameters
    ----------
    scaled : ndarray of shape (n_samples, n_features)
    shift, scale : ndarray of shape (n_samples, 1)
        As of :func:`scale_rows`.
    first_row : int, default=0
        What an error counts rows from.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features), float32

    Raises
    ------
    ValueError
        If float32 cannot hold a row in its own units, which would come back as
        infinities or zeros.
    """
    with np.errstate(over="ignore"):
        rows = (scaled * scale.astype(np.float64) + shift).astype(np.float32)
    lost = (scale[:, 0] > 0) & (scale[:, 0] < np.finfo(np.float32).tiny)
    lost |= ~np.isfinite(rows).all(axis=1)
    if lost.any():
        row = int(np.argmax(lost))
        raise ValueError(
            f"X has rows that float32 cannot hold in their own units: row "
            f"{first_row + row} has norm {float(scale[row, 0]):.3g} and mean "
            f"{float(shift[row, 0]):.3g}. Scale X, or use inverse_transform."
        )
    return rows


def split_rows(
    n_samples: int, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, both sorted.

    Parameters
    ----------
    n_samples : int
    fraction : float
        Share held out: at least one row and not all, or none for 0.
    rng : numpy.random.Generator

    Returns
    -------
    train, held : ndarray of int
    """
    n_held = 0
    if fraction > 0:
        n_held = min(max(1, round(fraction * n_samples)), n_samples - 1)
    order = rng.permutation(n_samples) if n_held else np.arange(n_samples)
    return np.sort(order[n_held:]), np.sort(order[:n_held])
