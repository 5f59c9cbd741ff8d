"""How much the codes of two fits agree, under the matching of their dictionaries."""

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skident.metrics._matching import dictionary_cosine_similarity, match_atoms
from skident.utils._sklearn import check_is_fitted


def code_stability(codes_a, codes_b, match, *, random_state=None):
    """Agreement of two sets of sparse codes of the same rows.

    Codes b are brought to the order and the signs of codes a by ``match``, the
    matching of the two *dictionaries*: matching codes afresh would hide their
    disagreement.

    Parameters
    ----------
    codes_a : {array-like, sparse matrix} of shape (n_samples, n_components_a)
        Codes from one fit.
    codes_b : {array-like, sparse matrix} of shape (n_samples, n_components_b)
        Codes of the same rows from another fit.
    match : AtomMatch
        Result of ``match_atoms(dictionary_a, dictionary_b)``.
    random_state : int, RandomState instance or None, default=None
        Draws the row permutation against which ``l2`` is measured.

    Returns
    -------
    scores : dict
        With the entries

        iou : float
            Mean over rows of the number of atoms active in both codes over the number
            active in either, in [0, 1]; 1 for a row without any.
        l2 : float
            Mean over rows of ``||a_i - b_i||``, divided by the mean of
            ``||a_i - b_j||`` with ``j`` another row, drawn at random: 0 for equal
            codes, about 1 for unrelated ones.
        l2_norm : float
            The same numerator, divided by the mean norm of the codes (of both fits);
            about sqrt(2) for unrelated codes.

    Raises
    ------
    ValueError
        If the numbers of rows differ, ``match`` does not fit the codes, or a value is
        not finite.

    Notes
    -----
    An atom without a match, in the larger of two dictionaries of unequal size, agrees
    with nothing: it counts in the union of supports and in the distances. Rows are
    permuted by one random cycle, so that none meets itself. A ratio of zeros is 0; of
    anything else to zero (one row, say, for ``l2``) NaN. Codes are never made dense:
    O(n_samples n_active) time and memory.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import code_stability, match_atoms
    >>> codes = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    >>> order = [2, 0, 1]
    >>> match = match_atoms(np.eye(3), -np.eye(3)[order])
    >>> code_stability(codes, -codes[:, order], match, random_state=0)
    {'iou': 1.0, 'l2': 0.0, 'l2_norm': 0.0}
    """
    a, b = _matched(codes_a, codes_b, match)
    n_samples = a.shape[0]

    cycle = check_random_state(random_state).permutation(n_samples)
    other = np.empty(n_samples, dtype=np.intp)
    other[cycle] = np.roll(cycle, -1)
    distance = _row_norms(a - b).mean()
    norm = (_row_norms(a).mean() + _row_norms(b).mean()) / 2
    shuffled = _row_norms(a - b[other]).mean() if n_samples > 1 else 0.0
    return {
        "iou": float(_iou(a, b).mean()),
        "l2": _ratio(distance, shuffled),
        "l2_norm": _ratio(distance, norm),
    }


def support_overlap(codes_a, codes_b, match):
    """The ``iou`` of :func:`code_stability` in each row, of shape (n_samples,)."""
    return _iou(*_matched(codes_a, codes_b, match))


def chance_overlap(codes_a, codes_b, match, weights=None):
    """The ``iou`` of codes whose atoms are active as often, each on rows of its own.

    Parameters
    ----------
    codes_a, codes_b, match
        As for :func:`code_stability`.
    weights : ndarray of shape (n_samples,) or None, default=None

    Returns
    -------
    overlap : float
        Mean number of atoms that would be active in both, over that in either; 1 where
        no atom is.
    """
    a, b = _matched(codes_a, codes_b, match)
    weights = np.ones(a.shape[0]) if weights is None else weights
    shares = [_pattern(codes).T @ (weights / weights.sum()) for codes in (a, b)]
    both = shares[0] @ shares[1]
    either = sum(share.sum() for share in shares) - both
    return float(both / either) if either > 0 else 1.0


def sae_stability(est_a, est_b, X, *, oracle=False, n_nonzero=None, random_state=None):
    """Agreement of two fitted sparse autoencoders on the rows of ``X``.

    Parameters
    ----------
    est_a, est_b : fitted estimators
        With ``components_`` and ``transform``; with ``oracle_transform(X, k)`` when
        ``oracle=True``. :class:`~skident.decomposition.IdentifiableSAE` has them.
    X : array-like of shape (n_samples, n_features)
        Rows to code, or what else ``transform`` takes, best held out from both fits.
    oracle : bool, default=False
        Whether to compare also the codes that orthogonal matching pursuit finds on
        either dictionary: large there and small here, the encoders are at fault; small
        in both, the dictionaries are.
    n_nonzero : int or None, default=None
        Number of atoms of the oracle's codes; None is each estimator's own.
    random_state : int, RandomState instance or None, default=None
        See :func:`code_stability`.

    Returns
    -------
    scores : dict
        ``dcs`` of :func:`dictionary_cosine_similarity`; ``iou``, ``l2`` and
        ``l2_norm`` of :func:`code_stability`; with ``oracle=True`` also
        ``oracle_iou``, ``oracle_l2`` and ``oracle_l2_norm``.

    Raises
    ------
    ValueError
        If the two dictionaries differ in their number of features.
    TypeError
        If ``est_a`` or ``est_b`` is no fitted estimator.

    Notes
    -----
    One signed matching of the dictionaries serves all scores. Unequal numbers of
    components are allowed, see :func:`match_atoms`.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.
    """
    for name, est in (("est_a", est_a), ("est_b", est_b)):
        if hasattr(est, "fit"):
            check_is_fitted(est)
        if not (hasattr(est, "components_") and hasattr(est, "transform")):
            raise TypeError(
                f"{name} must be a fitted estimator with components_ and transform, "
                f"got {type(est).__name__}."
            )
    # Both comparisons shuffle rows alike.
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    match = match_atoms(est_a.components_, est_b.components_)
    scores = {
        "dcs": dictionary_cosine_similarity(est_a.components_, est_b.components_, match)
    }
    scores |= code_stability(
        est_a.transform(X), est_b.transform(X), match, random_state=seed
    )
    if oracle:
        by_pursuit = code_stability(
            est_a.oracle_transform(X, n_nonzero),
            est_b.oracle_transform(X, n_nonzero),
            match,
            random_state=seed,
        )
        scores |= {f"oracle_{name}": value for name, value in by_pursuit.items()}
    return scores


def _as_codes(codes, name):
    if not sparse.issparse(codes):
        codes = np.asarray(codes, dtype=np.float64)
        if codes.ndim != 2:
            raise ValueError(f"{name} must be two-dimensional, got {codes.ndim}.")
    # A copy of its own: zeros are dropped and columns renumbered in place below. In
    # float64, as differences of unsigned or coarse numbers wrap or round.
    codes = sparse.csr_matrix(codes, dtype=np.float64, copy=True)
    if not np.isfinite(codes.data).all():
        raise ValueError(f"{name} must be finite.")
    codes.sum_duplicates()
    codes.eliminate_zeros()
    return codes


def _matched(codes_a, codes_b, match):
    """Checked codes of the same rows, on common columns."""
    a, b = _as_codes(codes_a, "codes_a"), _as_codes(codes_b, "codes_b")
    if a.shape[0] != b.shape[0] or a.shape[0] == 0:
        raise ValueError(
            "codes_a and codes_b must have the same rows, at least one: got "
            f"{a.shape[0]} and {b.shape[0]}."
        )
    return _align(a, b, match)


def _align(a, b, match):
    """Both codes on common columns: those of a, then those of b without a match."""
    permutation, signs = np.asarray(match.permutation), np.asarray(match.signs)
    matched = permutation >= 0
    if len(permutation) != a.shape[1] or permutation.max(initial=-1) >= b.shape[1]:
        raise ValueError(
            f"match must be of the {a.shape[1]} atoms of codes_a with the "
            f"{b.shape[1]} of codes_b; it has {len(permutation)} entries, up to "
            f"{permutation.max(initial=-1)}."
        )
    column = np.full(b.shape[1], -1, dtype=np.intp)
    sign = np.ones(b.shape[1])
    column[permutation[matched]] = np.flatnonzero(matched)
    sign[permutation[matched]] = signs[matched]
    lonely = column < 0
    column[lonely] = a.shape[1] + np.arange(lonely.sum())
    shape = (a.shape[0], a.shape[1] + int(lonely.sum()))
    data = b.data * sign[b.indices]
    b = sparse.csr_matrix((data, column[b.indices], b.indptr), shape=shape)
    b.sort_indices()
    a = sparse.csr_matrix((a.data, a.indices, a.indptr), shape=shape)
    return a, b


def _iou(a, b):
    """Atoms active in both over those active in either; 1 for a row without any."""
    both = np.asarray(_pattern(a).multiply(_pattern(b)).sum(axis=1)).ravel()
    either = a.getnnz(axis=1) + b.getnnz(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _pattern(codes):
    ones = np.ones(codes.nnz)
    return sparse.csr_matrix((ones, codes.indices, codes.indptr), shape=codes.shape)


def _row_norms(codes):
    rows = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))
    squares = codes.data**2
    return np.sqrt(np.bincount(rows, weights=squares, minlength=codes.shape[0]))


def _ratio(value, unit):
    if unit > 0:
        return float(value / unit)
    return 0.0 if value == 0 else float("nan")
