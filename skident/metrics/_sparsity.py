"""How unevenly a vector, or a signal over features, is spread."""

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from skident.metrics._inputs import check_matrix, in_range
from skident.utils._validation import _check_labels


def hoyer_sparsity(X):
    """Hoyer sparsity of each row: 0 if all entries are alike, 1 if one alone is not 0.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_features,)
        Rows of at least two entries.

    Returns
    -------
    sparsity : ndarray of shape (n_samples,), or float
        ``(sqrt(d) - |x|_1 / |x|_2) / (sqrt(d) - 1)`` of each row x of d entries, in
        [0, 1]; NaN for a row of zeros. A float for a single vector.

    Raises
    ------
    ValueError
        If ``X`` has another shape, is empty or is not finite, or if rows have a single
        entry.

    Notes
    -----
    Unchanged when entries are permuted, flipped, or all multiplied by one number; not
    when they are rotated, and not when columns are scaled each by its own. A row of
    independent normals has about ``1 - sqrt(2 / pi) = 0.2``, and not 0.

    References
    ----------
    .. [1] Hoyer, "Non-negative matrix factorization with sparseness constraints",
       JMLR 5, 2004.

    Examples
    --------
    >>> from skident.metrics import hoyer_sparsity
    >>> hoyer_sparsity([[0, 0, -3, 0], [1, -1, 1, 1], [2, 0, 2, 0]]).round(3)
    array([1.   , 0.   , 0.586])
    """
    if sparse.issparse(X):
        X = sparse.csr_matrix(X, dtype=np.float64)
        check_matrix(X.data[None, :] if X.nnz else [[0.0]], "X")
        largest = np.asarray(abs(X).max(axis=1).todense()).ravel()
        scale = sparse.diags(1.0 / np.where(largest > 0, largest, 1.0))
        X = scale @ X
        sums = np.asarray(abs(X).sum(axis=1)).ravel()
        squares = np.asarray(X.multiply(X).sum(axis=1)).ravel()
        single = False
    else:
        X = np.asarray(X)
        single = X.ndim == 1
        X = check_matrix(X[None, :] if single else X, "X").astype(np.float64)
        # Squares of very small or large entries would leave the range of floats.
        largest = np.abs(X).max(axis=1, keepdims=True)
        X /= np.where(largest > 0, largest, 1.0)
        sums, squares = np.abs(X).sum(axis=1), np.einsum("ij,ij->i", X, X)
    if X.shape[1] < 2:
        raise ValueError(f"X must have at least two columns, got {X.shape[1]}.")
    root = np.sqrt(X.shape[1])
    ratio = np.full(len(sums), np.nan)
    np.divide(sums, np.sqrt(squares), out=ratio, where=squares > 0)
    sparsity = np.clip((root - ratio) / (root - 1.0), 0.0, 1.0)
    return float(sparsity[0]) if single else sparsity


def signal_concentration(X, y, *, top=0.25, signal="auroc"):
    """Share of the features' signal about ``y`` that the strongest features hold.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        A representation.
    y : array-like of shape (n_samples,)
        What single features are to tell.
    top : float in (0, 1), default=0.25
        Share of the features that count as the strongest; at least one feature.
    signal : {"auroc", "r2"} or callable, default="auroc"
        Signal of a feature by itself: ``|2 AUROC - 1|``, averaged over the labels, each
        against the others; the squared correlation with numbers ``y``; or a function of
        ``(X, y)`` that returns one number a feature, not negative (or a tuple with
        these first, as ``f_classif`` does).

    Returns
    -------
    concentration : float
        Between ``top`` (all features tell as much) and 1; NaN if none tells anything.

    Raises
    ------
    ValueError
        If ``X`` is not two-dimensional, is empty or is not finite, if the numbers of
        rows differ, if ``y`` is constant, if a signal is negative or not finite, or if
        ``top`` of the features is less than one.

    Notes
    -----
    If ``top * n_features`` is no integer the last feature counts in part. ``|2 AUROC
    - 1|`` of a feature without signal is about ``0.9 / sqrt(n)`` on average, for n
    rows of two equally frequent labels: where signals are of that size, noise
    evens them out.

    A stand-in for the concentration measure of [1]_, whose exact formula is not known
    here; its published values lie below 0.25 for some representations, so they are of
    another scale and comparable only in order. Unchanged when features are permuted,
    flipped, shifted or scaled.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import signal_concentration
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=2000)
    >>> X = rng.standard_normal((2000, 8))
    >>> X[:, 3] += y
    >>> round(signal_concentration(X, y), 1)
    0.9
    """
    X = check_matrix(X, "X")
    y = np.asarray(y)
    if y.shape != (len(X),):
        raise ValueError(
            f"y must be of shape (n_samples,), got {y.shape}; n_samples = {len(X)}."
        )
    if not 0 < top < 1:
        raise ValueError(f"top must be in (0, 1), got {top}.")
    if top * X.shape[1] < 1:
        raise ValueError(
            f"top = {top} of {X.shape[1]} features is less than one of them."
        )
    if isinstance(signal, Callable):
        values = signal(X, y)
        values = values[0] if isinstance(values, tuple) else values
    elif signal in _SIGNALS:
        values = _SIGNALS[signal](X, y)
    else:
        raise ValueError(
            f"signal must be one of {sorted(_SIGNALS)} or callable, got {signal!r}."
        )
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (X.shape[1],) or not np.isfinite(values).all():
        raise ValueError(
            f"signal must give one finite number a feature ({X.shape[1]}), got shape "
            f"{values.shape}."
        )
    if (values < 0).any():
        raise ValueError(f"signal must not be negative, got {values.min():g}.")
    if not values.any():
        return float("nan")
    held = np.concatenate([[0.0], np.cumsum(-np.sort(-values))])
    share = np.interp(top * len(values), np.arange(len(held)), held) / held[-1]
    return float(min(share, 1.0))


def _auroc_signal(X, y):
    labels, codes = _check_labels("y", y, X, at_least=2)
    counts = np.bincount(codes)
    members = np.zeros((len(labels), len(y)))
    members[codes, np.arange(len(y))] = 1.0
    # The sum of ranks of a label's rows is its Mann-Whitney statistic, but for a shift.
    wins = members @ rankdata(X, axis=0) - (counts * (counts + 1) / 2)[:, None]
    auroc = wins / (counts * (len(y) - counts))[:, None]
    return np.abs(2.0 * auroc - 1.0).mean(axis=0)


def _r2_signal(X, y):
    y = check_matrix(y, "y", column=True).astype(np.float64)
    (y,) = in_range(y)
    y = y[:, 0] - y[:, 0].mean()
    (X,) = in_range(X.astype(np.float64), by_column=True)
    X = X - X.mean(axis=0)
    if np.ptp(y) == 0:
        raise ValueError(f"y must vary, all of it is the same; n_samples = {len(y)}.")
    scale = np.einsum("ij,ij->j", X, X) * (y @ y)
    products = (y @ X) ** 2
    return np.divide(products, scale, out=np.zeros(X.shape[1]), where=scale > 0)


_SIGNALS = {"auroc": _auroc_signal, "r2": _r2_signal}
