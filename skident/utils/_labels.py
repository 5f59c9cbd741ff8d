"""Labels to codes, in linear time and memory where labels are small whole numbers."""

import numpy as np


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct values, and the position of each entry's among them.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Values that can be sorted, none of them NaN.

    Returns
    -------
    labels : ndarray of shape (n_labels,)
    codes : ndarray of int of shape (n,)

    Raises
    ------
    TypeError
        If the values cannot be sorted.
    """
    whole = _as_whole(values)
    if whole is None:
        return np.unique(values, return_inverse=True)
    low = whole.min()
    offsets = whole - low
    present = np.bincount(offsets) > 0
    labels = np.flatnonzero(present)
    codes = (np.cumsum(present) - 1)[offsets]
    return (labels + low).astype(values.dtype), codes


def class_values(classes: np.ndarray) -> np.ndarray | None:
    """Numbers that classes stand for: their own, or 0 and 1 for two labels.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted.

    Returns
    -------
    values : ndarray of float of shape (n_classes,), or None
        None if there are more than two that are no numbers.
    """
    try:
        values = np.array([float(label) for label in classes.tolist()])
        if np.isfinite(values).all():  # "nan" and "inf" are names
            return values
    except (TypeError, ValueError):
        pass
    return None if len(classes) > 2 else np.arange(len(classes), dtype=np.float64)


def _as_whole(values):
    """The values as int64 if they are whole and span little more than their number."""
    if values.dtype.kind not in "biuf" or len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    # Beyond 2**53 neighbours would be one float; a wide span would not be linear.
    if max(-low, high) > 2**53 or high - low > max(1000, 2 * len(values)):
        return None
    whole = values.astype(np.int64)
    if values.dtype.kind == "f" and (whole != values).any():
        return None
    return whole
