"""One checker for each side input: what has a value a row and is no covariate.

All of them refuse what does not fit with a ``ValueError`` that names the argument,
what came, what is wanted and the number of rows of ``X``. No label value has a secret
meaning, and what is missing is refused rather than read as a label.
"""

import numpy as np

from skident.utils._labels import distinct
from skident.utils._sklearn import _num_samples


def check_environments(
    environments, X, *, at_least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Check the label of each row's environment.

    Parameters
    ----------
    environments : array-like of shape (n_samples,)
        Labels that can be sorted: all strings, all numbers, all dates, ...
    X : array-like of shape (n_samples, n_features)
        The covariates, for their number of rows.
    at_least : int, default=1
        Number of distinct labels needed.

    Returns
    -------
    labels : ndarray of shape (n_environments,)
        Sorted distinct labels.
    codes : ndarray of shape (n_samples,)
        Position of each row's label in ``labels``.

    Raises
    ------
    ValueError
        If the shape is wrong, a label is missing, labels of several types are mixed,
        or there are too few distinct ones.
    """
    return _check_labels("environments", environments, X, at_least)


def check_trajectories(
    trajectories, X, *, at_least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Check the label of each row's trajectory; as :func:`check_environments`."""
    return _check_labels("trajectories", trajectories, X, at_least)


def check_settings(settings, X) -> tuple[list[np.ndarray], np.ndarray]:
    """Check discrete settings of the experiment, several a row.

    Parameters
    ----------
    settings : array-like of shape (n_samples, n_settings)
        Labels; each column is of one type.
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    labels : list of n_settings ndarrays
        Sorted distinct labels of each column.
    codes : ndarray of shape (n_samples, n_settings)
        Position of each label in its column's ``labels``.

    Raises
    ------
    ValueError
        As :func:`check_environments`, for any column.
    """
    values = _as_labels(settings)
    if values.ndim == 1 and len(values) == _num_samples(X):
        _refuse(
            "settings",
            "must be of shape (n_samples, n_settings), as frame[['arm']] or "
            "arm.reshape(-1, 1) are",
            f"shape {values.shape}",
            X,
        )
    _check_shape("settings", values, X, "(n_samples, n_settings)")
    columns = [_encode("settings", column, X) for column in values.T]
    return [labels for labels, _ in columns], np.column_stack(
        [codes for _, codes in columns]
    )


def check_treatment(treatment, X, *, binary: bool = False) -> np.ndarray:
    """Check recorded treatments.

    Parameters
    ----------
    treatment : array-like of shape (n_samples,) or (n_samples, n_treatments)
        Finite numbers: doses, or 0 and 1.
    X : array-like of shape (n_samples, n_features)
    binary : bool, default=False
        Whether only 0 and 1 (or False and True) are wanted.

    Returns
    -------
    treatment : ndarray of float64, of the shape given

    Raises
    ------
    ValueError
        If the shape is wrong, an entry is not a finite number, or not 0 or 1 where
        that is wanted.
    """
    shapes = "(n_samples,) or (n_samples, n_treatments)"
    wanted = _BINARY if binary else "must be numbers"
    values = _as_float("treatment", treatment, X, shapes, wanted)
    if binary:
        _check_binary("treatment", values, X)
    return values


def check_instruments(instruments, X) -> np.ndarray:
    """Check instruments.

    Parameters
    ----------
    instruments : array-like of shape (n_samples, n_instruments)
        Finite numbers.
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    instruments : ndarray of float64 of shape (n_samples, n_instruments)

    Raises
    ------
    ValueError
        If the shape is wrong or an entry is not a finite number.
    """
    return _as_float("instruments", instruments, X, "(n_samples, n_instruments)")


def check_selected(selected, X) -> np.ndarray:
    """Check which rows were selected into the sample.

    Parameters
    ----------
    selected : array-like of shape (n_samples,)
        Booleans, or 0 and 1.
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    selected : ndarray of bool of shape (n_samples,)

    Raises
    ------
    ValueError
        If the shape is wrong or an entry is neither.
    """
    values = _as_float("selected", selected, X, "(n_samples,)")
    _check_binary("selected", values, X)
    return values.astype(bool)


def check_selection_prob(selection_prob, X, *, selected=None) -> np.ndarray:
    """Check the probability with which each selected row was selected.

    Parameters
    ----------
    selection_prob : array-like of shape (n_samples,)
        Numbers in (0, 1]; anything where a row was not selected.
    X : array-like of shape (n_samples, n_features)
    selected : ndarray of bool of shape (n_samples,), default=None
        As :func:`check_selected` returns it; None for all rows.

    Returns
    -------
    selection_prob : ndarray of float64 of shape (n_samples,)
        1 where a row was not selected.

    Raises
    ------
    ValueError
        If the shape is wrong, or an entry of a selected row is not in (0, 1].
    """
    values = np.asarray(selection_prob)
    if selected is not None and values.shape == selected.shape:
        values = values.copy()
        values[~selected] = 1
    values = _as_float("selection_prob", values, X, "(n_samples,)")
    outside = values[(values <= 0) | (values > 1)]
    if outside.size:
        _refuse("selection_prob", "must lie in (0, 1]", f"{outside[0]:g}", X)
    return values


def check_times(times, X, *, trajectories=None) -> np.ndarray:
    """Check the time at which each row was observed.

    Parameters
    ----------
    times : array-like of shape (n_samples,)
        Finite numbers, in the unit in which the method's rates are wanted.
    X : array-like of shape (n_samples, n_features)
    trajectories : array-like of int of shape (n_samples,), default=None
        Code of each row's trajectory, as :func:`check_trajectories` returns it; None
        for a single one.

    Returns
    -------
    times : ndarray of float64 of shape (n_samples,)

    Raises
    ------
    ValueError
        If the shape is wrong, an entry is not a finite number (a date is not: it has
        no unit), or a trajectory has two rows at one time.
    """
    wanted = "must be numbers, such as seconds from a start"
    values = _as_float("times", times, X, "(n_samples,)", wanted)
    codes = np.zeros(len(values), int) if trajectories is None else trajectories
    order = np.lexsort((values, codes))
    twice = (np.diff(values[order]) == 0) & (np.diff(codes[order]) == 0)
    if twice.any():
        _refuse(
            "times",
            "must be distinct within a trajectory",
            f"{values[order][1:][twice][0]:g} twice in one",
            X,
        )
    return values


def check_sample_weight(sample_weight, X, *, dtype=np.float64) -> np.ndarray:
    """Check sample weights.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
        Finite non-negative weights, not all zero; one number or None weighs every row
        alike.
    X : array-like of shape (n_samples, n_features)
    dtype : dtype, default=float64
        Of the result.

    Returns
    -------
    sample_weight : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the shape is wrong, an entry is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        sample_weight = 1.0
    if np.asarray(sample_weight).ndim == 0:
        sample_weight = np.full(_num_samples(X), sample_weight)
    values = _as_float("sample_weight", sample_weight, X, "(n_samples,)")
    if (values < 0).any():
        _refuse("sample_weight", "must not be negative", f"{values.min():g}", X)
    if not values.any():
        raise ValueError(
            "sample_weight: Sample weights must contain at least one non-zero number, "
            f"got all zeros; n_samples = {len(values)}."
        )
    return values.astype(dtype, copy=False)


def _refuse(name, wanted, got, X):
    raise ValueError(f"{name} {wanted}, got {got}; n_samples = {_num_samples(X)}.")


def _check_shape(name, values, X, shapes):
    """Refuse ``values`` unless it has a row each and a number of axes in ``shapes``."""
    n_axes = [2 if ", n_" in shape else 1 for shape in shapes.split(" or ")]
    if values.ndim not in n_axes or values.shape[0] != _num_samples(X):
        _refuse(name, f"must be of shape {shapes}", f"shape {values.shape}", X)
    if values.ndim == 2 and values.shape[1] == 0:
        _refuse(name, "must have at least one column", f"shape {values.shape}", X)


def _as_float(name, values, X, shapes, wanted="must be numbers"):
    """Finite float64 array of one of the shapes."""
    array = np.asarray(values)
    _check_shape(name, array, X, shapes)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            _refuse(name, wanted, "objects that are no numbers", X)
    if array.dtype.kind not in "biuf":
        _refuse(name, wanted, f"dtype {array.dtype}", X)
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        _refuse(name, "must be finite", f"{array[~finite][0]}", X)
    return array


_BINARY = "must be 0 or 1 (or booleans)"


def _check_binary(name, values, X):
    other = values[(values != 0) & (values != 1)]
    if other.size:
        _refuse(name, _BINARY, f"{other[0]:g}", X)


def _check_labels(name, values, X, at_least):
    values = _as_labels(values)
    _check_shape(name, values, X, "(n_samples,)")
    labels, codes = _encode(name, values, X)
    if len(labels) < at_least:
        _refuse(
            name,
            f"must have at least {at_least} distinct labels",
            f"{len(labels)}: {labels.tolist()}",
            X,
        )
    return labels, codes


def _as_labels(values):
    """Array of labels, of dtype object where numpy would cast some to strings."""
    # np.asarray(["a", np.nan]) would make a label "nan", and [1, "1"] one label.
    return np.asarray(values, dtype=None if hasattr(values, "dtype") else object)


def _encode(name, values, X):
    """Sorted distinct labels of one column, and the position of each row's."""
    if values.dtype.kind == "O":
        if any(_is_missing(value) for value in values):
            _refuse(name, "must have a label in every row", "missing ones", X)
        native = np.array(values.tolist())
        # Equality, or 1 and "1" (and integers beyond 2**53) would become one label.
        if native.shape == values.shape and (native == values).all():
            values = native
    elif values.dtype.kind in "fcmM" and (values != values).any():
        _refuse(name, "must have a label in every row", "missing ones", X)
    try:
        labels, codes = distinct(values)
    except TypeError:
        types = sorted({type(value).__name__ for value in values})
        wanted = "must be labels of one type that can be sorted"
        _refuse(name, wanted, f"types {', '.join(types)}", X)
    return labels, codes


def _is_missing(value):
    # pandas.NA compares to NA, whose truth value raises: it is known by its type.
    if value is None or type(value).__name__ == "NAType":
        return True
    return bool(np.all(value != value))
