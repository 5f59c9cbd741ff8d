"""How the supports of observed codes overlap, and how diverse codes on them are."""

import numpy as np
from scipy import linalg, sparse

_CHUNK_BYTES = 2**24


def top_supports(pre_activations, size, *, positive=False):
    """Atoms that compete for each row: those of its largest pre-activations.

    Parameters
    ----------
    pre_activations : array-like of shape (n_samples, n_components)
        What codes are chosen from.
    size : int
        Number of atoms a row, from 1 to ``n_components``.
    positive : bool, default=False
        Whether only positive pre-activations count; else their absolute values.

    Returns
    -------
    supports : ndarray of shape (n_samples, size), int
        Indices in no order. With ``positive``, -1 fills up the supports of rows that
        have fewer positive pre-activations. Of ties any may be taken.

    Raises
    ------
    ValueError
        If ``pre_activations`` is not two-dimensional, or ``size`` is out of range.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import top_supports
    >>> u = np.array([[0.1, -3.0, 2.0], [1.0, 0.5, -0.2]])
    >>> np.sort(top_supports(u, 2))
    array([[1, 2],
           [0, 1]])
    >>> np.sort(top_supports(u[:1], 3, positive=True))
    array([[-1,  0,  2]])
    """
    score = np.asarray(pre_activations)
    if score.ndim != 2:
        raise ValueError(f"pre_activations must be two-dimensional, got {score.ndim}.")
    if not 1 <= size <= score.shape[1]:
        raise ValueError(
            f"size must be from 1 to the {score.shape[1]} columns of pre_activations, "
            f"got {size}."
        )
    if not positive:
        score = np.abs(score)
    start = score.shape[1] - size
    supports = np.argpartition(score, start - 1 if start else 0, axis=1)[:, start:]
    if positive:
        chosen = np.take_along_axis(score, supports, axis=1)
        supports = np.where(chosen > 0, supports, -1)
    return supports


def padded(codes):
    """Supports and values of CSR codes as (n_samples, largest size) arrays."""
    sizes = np.diff(codes.indptr)
    filled = np.arange(sizes.max(initial=0)) < sizes[:, None]
    active = np.full(filled.shape, -1, dtype=np.intp)
    values = np.zeros(filled.shape)
    active[filled] = codes.indices
    values[filled] = codes.data
    return active, values


def unions(a, b):
    """Union of two supports, row by row; repetitions become -1."""
    union = np.sort(np.hstack([a, b]), axis=1)
    union[:, 1:][union[:, 1:] == union[:, :-1]] = -1
    return union


def diversity(active, values):
    """Smallest singular value of codes on a shared support, for A4.

    Returns that value, the share of the distinct supports that enough rows have for
    one, and the number of these supports.
    """
    sizes = (active >= 0).sum(axis=1)
    active, values, sizes = active[sizes > 0], values[sizes > 0], sizes[sizes > 0]
    if len(active) == 0:
        return float("nan"), 0.0, 0
    distinct, group = np.unique(active, axis=0, return_inverse=True)
    group = group.ravel()
    counts = np.bincount(group)
    enough = np.flatnonzero(counts >= (distinct >= 0).sum(axis=1))
    zeta = np.inf
    for which in enough:
        rows = np.flatnonzero(group == which)
        block = values[rows, : sizes[rows[0]]]
        # Pivoted QR picks as many rows as there are atoms, well conditioned.
        order = linalg.qr(block.T, mode="r", pivoting=True)[1]
        block = block[order[: block.shape[1]]]
        zeta = min(zeta, np.linalg.svd(block, compute_uv=False)[-1])
    coverage = len(enough) / len(distinct)
    zeta = float(zeta) if len(enough) else float("nan")
    return zeta, float(coverage), len(distinct)


def richness(codes):
    """The two parts of A2, on the observed supports."""
    n_samples, n_components = codes.shape
    ones = np.ones(codes.nnz, dtype=np.float32)
    use = sparse.csr_matrix((ones, codes.indices, codes.indptr), shape=codes.shape)
    counts = np.bincount(codes.indices, minlength=n_components)

    # Of an overlap of exactly one atom, the sum of the atoms' numbers tells which.
    numbered = use.multiply(np.arange(n_components, dtype=np.float64)[None, :]).tocsr()
    by_atom = use.T.tocsr()
    alone = np.zeros(n_components, dtype=bool)
    disjoint = np.empty((n_samples, n_samples), dtype=np.float32)
    step = max(1, _CHUNK_BYTES // (8 * n_samples))
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        overlap = (use[rows] @ by_atom).toarray()
        which = (numbered[rows] @ by_atom).toarray()
        alone[which[overlap == 1].astype(np.intp)] = True
        disjoint[rows] = overlap == 0

    # Atoms i and j are apart if some support with i is disjoint from one with j.
    used = np.flatnonzero(counts)
    n_together = 0
    step = max(1, _CHUNK_BYTES // (8 * max(n_samples, n_components)))
    for start in range(0, len(used), step):
        atoms = used[start : start + step]
        reach = (by_atom[atoms] @ disjoint) > 0
        apart = (by_atom @ reach.T.astype(np.float32)).T > 0
        together = ~apart
        together[:, counts == 0] = False
        together[np.arange(len(atoms)), atoms] = False
        n_together += int(together.sum())
    n_pairs = len(used) * (len(used) - 1)
    return {
        "unused": float(np.mean(counts == 0)),
        "never_alone": float(np.mean(~alone)),
        "never_apart": n_together / n_pairs if n_pairs else 0.0,
    }
