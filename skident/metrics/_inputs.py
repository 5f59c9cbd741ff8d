"""Checks of what the metrics of representations take."""

from collections.abc import Iterator

import numpy as np

from skident.utils._validation import _as_labels, _encode

# Entries a pass over rows touches at a time: 32 MB in float64.
_CHUNK_ENTRIES = 1 << 22


def row_chunks(n_rows: int, row_size: int) -> Iterator[slice]:
    """Slices that cover ``range(n_rows)``, a bounded number of entries each."""
    step = max(1, _CHUNK_ENTRIES // max(row_size, 1))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def check_matrix(values, name: str, *, column: bool = False) -> np.ndarray:
    """Finite real matrix, in its own precision; other numbers become float64.

    Parameters
    ----------
    values : array-like of shape (n_samples, n_columns)
    name : str
        Of the argument, for the errors.
    column : bool, default=False
        Whether (n_samples,) is taken, as one column.

    Returns
    -------
    matrix : ndarray of shape (n_samples, n_columns), float32 or float64

    Raises
    ------
    ValueError
        If the shape is wrong, there is no entry, or one is no finite number.
    """
    matrix = np.asarray(values)
    if column and matrix.ndim == 1:
        matrix = matrix[:, None]
    _check_shape(matrix, name)
    if matrix.dtype not in (np.float32, np.float64):
        # Strings of digits and complex numbers would go through astype.
        if matrix.dtype.kind not in "biufO":
            raise ValueError(f"{name} must be numbers, got dtype {matrix.dtype}.")
        try:
            matrix = matrix.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be numbers, got objects.") from None
    for rows in row_chunks(*matrix.shape):
        if not np.isfinite(matrix[rows]).all():
            raise ValueError(
                f"{name} must be finite: it contains NaN or infinity; "
                f"n_samples = {len(matrix)}."
            )
    return matrix


def in_range(*matrices: np.ndarray, by_column: bool = False) -> list[np.ndarray]:
    """Matrices in one unit, in which squares and sums of entries stay in range.

    Parameters
    ----------
    *matrices : ndarray, float64 and finite
    by_column : bool, default=False
        Whether each column gets a unit of its own.

    Returns
    -------
    scaled : list of ndarray
        Times a power of two, which rounds no entry, such that the largest is about 1.
    """
    axis = 0 if by_column else None
    largest = [np.abs(matrix).max(axis=axis) for matrix in matrices]
    if not by_column:
        largest = [max(largest)] * len(matrices)
    return [
        np.ldexp(matrix, -np.frexp(size)[1])
        for matrix, size in zip(matrices, largest, strict=True)
    ]


def check_sources(values, name: str = "sources") -> np.ndarray:
    """As :func:`check_matrix`, of columns that vary; (n_samples,) is one column."""
    sources = check_matrix(values, name, column=True)
    constant = np.flatnonzero(np.ptp(sources, axis=0) == 0)
    if constant.size:
        _refuse_constant(name, constant[0], len(sources))
    return sources


def check_labels(values, name: str, *, constant: bool = False) -> np.ndarray:
    """Discrete columns, each encoded as 0, 1, ... in the order of its sorted labels.

    Parameters
    ----------
    values : array-like of shape (n_samples, n_columns) or (n_samples,)
        Labels; each column of one type.
    name : str
        Of the argument, for the errors.
    constant : bool, default=False
        Whether a column may have a single label.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_columns), int

    Raises
    ------
    ValueError
        If the shape is wrong, a label is missing, a column has a single label, or so
        many that they are no labels: more than half as many as rows.
    """
    columns = _as_labels(np.asarray(values) if hasattr(values, "iloc") else values)
    if columns.ndim == 1:
        columns = columns[:, None]
    _check_shape(columns, name)
    codes = np.empty(columns.shape, dtype=np.intp)
    for j, column in enumerate(columns.T):
        labels, codes[:, j] = _encode(name, column, columns)
        if len(labels) == 1 and not constant:
            _refuse_constant(name, j, len(column))
        if 2 * len(labels) > len(column) > 1:
            raise ValueError(
                f"{name} must be discrete: column {j} has {len(labels)} distinct "
                f"values; n_samples = {len(column)}. Cut a continuous one into bins."
            )
    return codes


def check_same_rows(first, second, names: tuple[str, str]) -> None:
    """Refuse two arrays of unequal numbers of rows."""
    if len(first) != len(second):
        raise ValueError(
            f"{names[0]} and {names[1]} must be of the same rows: got {len(first)} and "
            f"{len(second)}."
        )


def _refuse_constant(name, column, n_samples):
    raise ValueError(
        f"{name} must vary: column {column} is constant; n_samples = {n_samples}."
    )


def _check_shape(matrix, name):
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            f"{name} must be two-dimensional and not empty, got shape {matrix.shape}."
        )
