"""A dictionary on which sparse codes cannot be known."""

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state


def make_ambiguous_dictionary(
    n_samples=100,
    n_features=16,
    n_components=20,
    n_active=4,
    *,
    tilt=0.3,
    random_state=None,
):
    """Build data with two equally good sparse codes on one and the same dictionary.

    A dictionary that is the same in every fit does not make codes the same [1]_: here
    every row has two exact codes of ``n_active`` atoms, which share ``n_active - 2`` of
    them.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=16
        Width of the data, at least ``n_active``.
    n_components : int, default=20
        Number of atoms, at least ``n_active + 2``.
    n_active : int, default=4
        Number of atoms in either code, at least 2.
    tilt : float, default=0.3
        Slope t in (0, 1) of the two alternative atoms, along
        e_{k-1} + t e_k and t e_{k-1} + e_k.
    random_state : int, RandomState instance or None, default=None
        Seed of the codes and of the remaining atoms.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, n_features), float64
            Rows of unit norm, not centred.
        dictionary : ndarray of shape (n_components, n_features)
            Atoms of unit norm, all in the span of the first ``n_active`` ones.
        codes : scipy.sparse.csr_matrix of shape (n_samples, n_components)
            Codes on atoms 0 to k - 1.
        other_codes : scipy.sparse.csr_matrix of shape (n_samples, n_components)
            Codes on atoms 0 to k - 3, k and k + 1.
        supports : ndarray of shape (2, n_active)
            The two supports.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        Unless ``2 <= n_active <= min(n_features, n_components - 2)`` and
        ``0 < tilt < 1``.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026, Theorem 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.datasets import make_ambiguous_dictionary
    >>> data = make_ambiguous_dictionary(random_state=0)
    >>> np.allclose(data.codes @ data.dictionary, data.X)
    True
    >>> np.allclose(data.other_codes @ data.dictionary, data.X)
    True
    >>> data.supports
    array([[0, 1, 2, 3],
           [0, 1, 4, 5]])
    """
    k = n_active
    if not 2 <= k <= min(n_features, n_components - 2):
        raise ValueError(
            "n_active must be in [2, min(n_features, n_components - 2)] = "
            f"[2, {min(n_features, n_components - 2)}], got {k}."
        )
    if not 0 < tilt < 1:
        raise ValueError(f"tilt must be in (0, 1), got {tilt}.")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
    random_state = check_random_state(random_state)
    dictionary = np.zeros((n_components, n_features))
    dictionary[:k, :k] = np.eye(k)
    pair = np.array([[1.0, tilt], [tilt, 1.0]]) / np.hypot(1.0, tilt)
    dictionary[k : k + 2, k - 2 : k] = pair
    rest = random_state.standard_normal((n_components - k - 2, k))
    dictionary[k + 2 :, :k] = rest / np.linalg.norm(rest, axis=1, keepdims=True)

    values = random_state.standard_normal((n_samples, k))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    other = values.copy()
    other[:, k - 2 :] = np.linalg.solve(pair.T, values[:, k - 2 :].T).T
    supports = np.array([np.arange(k), np.r_[: k - 2, k, k + 1]])
    indptr = np.arange(0, values.size + 1, k)
    codes, other_codes = (
        sparse.csr_matrix(
            (data.ravel(), np.tile(support, n_samples), indptr),
            shape=(n_samples, n_components),
        )
        for data, support in zip((values, other), supports, strict=True)
    )
    X = np.zeros((n_samples, n_features))
    X[:, :k] = values
    return Bunch(
        X=X,
        dictionary=dictionary,
        codes=codes,
        other_codes=other_codes,
        supports=supports,
        DESCR=(
            f"Rows in the span of {k} atoms, with a second exact code that replaces "
            "the last two of them by two of their combinations."
        ),
    )
