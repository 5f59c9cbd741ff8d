"""The signed matching of the atoms of two dictionaries."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment


class AtomMatch(NamedTuple):
    """A signed matching of the atoms of a dictionary a with those of another, b.

    Attributes
    ----------
    permutation : ndarray of shape (n_components_a,)
        Atom ``i`` of a is matched with atom ``permutation[i]`` of b; -1 for none.
    signs : ndarray of shape (n_components_a,)
        Sign, +1 or -1, that turns the atom of b towards that of a; 0 for no match.
    cosines : ndarray of shape (n_components_a,)
        Absolute cosine of the matched atoms, in [0, 1]; NaN for no match.
    """

    permutation: np.ndarray
    signs: np.ndarray
    cosines: np.ndarray


def match_atoms(dictionary_a, dictionary_b):
    """Match the atoms of two dictionaries, up to sign, for largest total cosine.

    Parameters
    ----------
    dictionary_a : array-like of shape (n_components_a, n_features)
        Atoms; only their directions matter.
    dictionary_b : array-like of shape (n_components_b, n_features)
        Atoms; only their directions matter.

    Returns
    -------
    match : AtomMatch
        Optimal one-to-one matching of ``min(n_components_a, n_components_b)`` pairs.
        With more atoms in a than in b the rest of a has no match, which
        ``permutation`` marks by -1.

    Raises
    ------
    ValueError
        If a dictionary is not two-dimensional, is empty or is not finite, or if the
        numbers of features differ.

    Notes
    -----
    Solved exactly as an assignment problem on absolute cosines: O(K^2) memory, 16 K^2
    bytes; O(K^3) time at worst, with K the larger number of atoms, and between one
    and five seconds at K = 4096. An atom that is zero has cosine 0 with all others.
    The matching is unique unless totals tie.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import match_atoms
    >>> a = np.eye(3)
    >>> match = match_atoms(a, -2 * a[[1, 2, 0]])
    >>> match.permutation, match.signs, match.cosines
    (array([2, 0, 1]), array([-1., -1., -1.]), array([1., 1., 1.]))
    """
    a = _directions(dictionary_a, "dictionary_a")
    b = _directions(dictionary_b, "dictionary_b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            "dictionary_a and dictionary_b must have as many features: got "
            f"{a.shape[1]} and {b.shape[1]}."
        )
    permutation, signs, cosines = signed_assignment(a @ b.T)
    return AtomMatch(permutation, signs, np.minimum(cosines, 1.0))


def dictionary_cosine_similarity(dictionary_a, dictionary_b, match=None):
    """Mean absolute cosine of the matched atoms of two dictionaries.

    Parameters
    ----------
    dictionary_a : array-like of shape (n_components_a, n_features)
        Atoms; only their directions matter.
    dictionary_b : array-like of shape (n_components_b, n_features)
        Atoms; only their directions matter. Give the true dictionary as either of
        the two to score recovery.
    match : AtomMatch or None, default=None
        Result of ``match_atoms(dictionary_a, dictionary_b)``, when it is at hand.

    Returns
    -------
    similarity : float
        In [0, 1], over ``min(n_components_a, n_components_b)`` pairs; 1 when every
        atom of the smaller dictionary is found in the other, up to sign.

    Raises
    ------
    ValueError
        As :func:`match_atoms`, or if ``match`` is of another number of atoms.

    Notes
    -----
    Symmetric in its arguments, and unchanged when atoms are permuted, flipped or
    scaled. A high value says nothing of the codes: there are dictionaries on which
    equally accurate codes differ [1]_; see :func:`code_stability`.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import dictionary_cosine_similarity
    >>> float(dictionary_cosine_similarity(np.eye(2), [[0.0, -1.0], [0.8, 0.6]]))
    0.9
    """
    if match is None:
        match = match_atoms(dictionary_a, dictionary_b)
    elif len(match.permutation) != len(dictionary_a):
        raise ValueError(
            f"match must be of the {len(dictionary_a)} atoms of dictionary_a, got "
            f"one of {len(match.permutation)}."
        )
    return float(np.nanmean(match.cosines))


def signed_assignment(similarity):
    """One-to-one matching of rows with columns, for largest total |similarity|.

    Parameters
    ----------
    similarity : ndarray of shape (n_rows, n_columns)

    Returns
    -------
    permutation : ndarray of shape (n_rows,)
        Column of each row; -1 for none.
    signs : ndarray of shape (n_rows,)
        Sign of its similarity, +1 for zero; 0 for no match.
    values : ndarray of shape (n_rows,)
        Absolute similarity; NaN for no match.
    """
    cost = np.abs(similarity)
    np.negative(cost, out=cost)
    rows, columns = linear_sum_assignment(cost)
    matched = similarity[rows, columns]
    permutation = np.full(len(similarity), -1, dtype=np.intp)
    permutation[rows] = columns
    signs = np.zeros(len(similarity))
    signs[rows] = np.where(matched < 0, -1.0, 1.0)
    values = np.full(len(similarity), np.nan)
    values[rows] = np.abs(matched)
    return permutation, signs, values


def _directions(dictionary, name):
    dictionary = np.asarray(dictionary, dtype=np.float64)
    if dictionary.ndim != 2 or dictionary.size == 0:
        raise ValueError(
            f"{name} must be two-dimensional and not empty, got shape "
            f"{dictionary.shape}."
        )
    norms = np.linalg.norm(dictionary, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise ValueError(f"{name} must be finite.")
    return dictionary / np.where(norms > 0, norms, 1.0)
