"""How far observed supports of a dictionary are from orthonormal, and what follows."""

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skident.metrics._arip_report import QUANTILES, AripReport
from skident.metrics._arip_supports import (
    diversity,
    padded,
    richness,
    top_supports,
    unions,
)
from skident.utils._rows import scale_rows
from skident.utils._shards import check_shards

_CHUNK_BYTES = 2**24


def arip(dictionary, supports):
    """Distance of observed supports from orthonormal atoms.

    Parameters
    ----------
    dictionary : array-like of shape (n_components, n_features)
        Atoms, all of one norm.
    supports : array-like of shape (n_samples, size), int
        Indices of the atoms of each support, without repetition; -1 fills up
        supports that are smaller.

    Returns
    -------
    values : ndarray of shape (n_samples,)
        ``||G_S||_F^2 / |S| - 1`` for each support S, with ``G_S`` the Gram matrix of
        its atoms scaled to unit norm: the mean squared distance of its eigenvalues to
        1. 0 for orthonormal atoms, ``(|S| - 1) / n_features`` in the mean for random
        ones, ``|S| - 1`` for one atom repeated; NaN for an empty support.

    Raises
    ------
    ValueError
        If an index is outside ``[-1, n_components)``.

    Notes
    -----
    Computed as ``|S| ||G_S||_F^2 / tr(G_S)^2 - 1``, which does not depend on the norm
    that the atoms have. O(size^2 n_features) a support.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026, equation (6).

    Examples
    --------
    >>> import numpy as np
    >>> from skident.metrics import arip
    >>> atoms = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> arip(atoms, [[0, 1], [0, 2]]).round(4)
    array([0.  , 0.36])
    """
    dictionary, supports = _check(dictionary, supports)
    return _conditioning(dictionary, supports, eigenvalues=False)[0]


def arip_statistics(
    target,
    dictionary,
    codes,
    supports,
    *,
    n_active=None,
    norm_bound=None,
    random_state=None,
):
    """Every quantity of the identifiability theorem, from arrays.

    Parameters
    ----------
    target : array-like of shape (n_samples, n_features)
        What the codes reconstruct: normalised rows minus the decoder's intercept.
    dictionary : array-like of shape (n_components, n_features)
        Atoms of unit norm.
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes of the same rows; ``codes @ dictionary`` approximates ``target``.
    supports : array-like of shape (n_samples, size), int
        For each row the atoms that compete for its code, as in :func:`arip`; in
        training those of the 2k largest pre-activations, see :func:`top_supports`.
        They may hold atoms that no code has: of the theorem's quantities none depends
        on them.
    n_active : int or None, default=None
        k; None is the largest number of atoms in a code.
    norm_bound : float or None, default=None
        Bound on the norm of a row of ``target`` that all data obey by construction.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs of code supports whose unions are examined: each row's with
        that of one other row.

    Returns
    -------
    report : AripReport

    Raises
    ------
    ValueError
        If shapes disagree, there is no row, an atom is not of unit norm, or an index
        is outside ``[-1, n_components)``.

    Notes
    -----
    Time is O(n_samples size^2 (n_features + size)) for the spectra, O(n_components^2
    n_features) for the coherence and O(n_samples n_active (n_components + n_samples))
    for the overlaps of supports, which take O(n_samples^2) memory: meant for at most
    a few thousand rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.datasets import make_sparse_dictionary
    >>> from skident.metrics import arip_statistics
    >>> data = make_sparse_dictionary(500, 16, 32, 2, normalize=None, random_state=0)
    >>> top = data.codes.indices.reshape(-1, 2)
    >>> report = arip_statistics(data.X, data.dictionary, data.codes, top)
    >>> bool(report.residual_quantiles[-1] < 1e-6)
    True
    """
    dictionary, supports = _check(dictionary, supports)
    norms = np.linalg.norm(dictionary, axis=1)
    if not np.all(np.abs(norms - 1.0) <= 1e-3):
        raise ValueError(
            "dictionary must have rows of unit norm; found norms from "
            f"{norms.min():.6g} to {norms.max():.6g}."
        )
    target = np.asarray(target, dtype=np.float64)
    codes = sparse.csr_matrix(codes, dtype=np.float64, copy=True)
    codes.eliminate_zeros()
    codes.sort_indices()
    n_components, n_features = dictionary.shape
    n_samples = len(supports)
    wanted = {
        "target": (target.shape, (n_samples, n_features)),
        "codes": (codes.shape, (n_samples, n_components)),
    }
    for name, (got, shape) in wanted.items():
        if got != shape or n_samples == 0:
            raise ValueError(
                f"{name} must have shape {shape}, that of supports and dictionary, "
                f"with at least one row; got {got}."
            )
    active, values = padded(codes)
    k = int(n_active or max(1, active.shape[1]))

    values_arip, delta_top = _conditioning(dictionary, supports)
    pair = check_random_state(random_state).randint(n_samples, size=n_samples)
    _, delta_union = _conditioning(dictionary, unions(active, active[pair]))
    delta = _quantiles(delta_union)[-1]

    residual = target - codes @ dictionary
    gaps = _least_squares_gap(dictionary, active, residual)
    code_norms = np.linalg.norm(values, axis=1)
    # NaN stays NaN: without any atom in a code there is nothing to bound.
    below = np.minimum(delta, 1.0)
    alpha = np.sqrt(1.0 - (2.0 * below / (1.0 + below)) ** 2)
    per_zeta = np.sqrt(1.0 - below) * alpha / (4.0 * np.sqrt(k))
    zeta, coverage, n_supports = diversity(active, values)
    sizes = (supports >= 0).sum(axis=1)
    return AripReport(
        n_samples=n_samples,
        n_features=n_features,
        n_components=n_components,
        n_active=k,
        support_size=float(sizes.mean()),
        arip_mean=_mean(values_arip),
        arip_quantiles=_quantiles(values_arip),
        arip_floor=float(max(sizes.mean() - 1.0, 0.0) / n_features),
        delta_quantiles=_quantiles(delta_top),
        delta=delta,
        coherence=_coherence(dictionary),
        residual_quantiles=_quantiles(np.linalg.norm(residual, axis=1)),
        gap_quantiles=_quantiles(gaps),
        code_norm=float(code_norms.mean()),
        **richness(codes),
        n_supports=n_supports,
        zeta=zeta,
        zeta_coverage=coverage,
        alpha=float(alpha),
        threshold=float(zeta * per_zeta),
        threshold_ceiling=float(code_norms.max() * per_zeta),
        max_norm=float(np.linalg.norm(target, axis=1).max()),
        norm_bound=float("nan" if norm_bound is None else norm_bound),
    )


def arip_report(est, X, *, rip_multiplier=2, max_samples=2000, random_state=None):
    """Examine the dictionary of a fitted sparse autoencoder where ``X`` uses it.

    Parameters
    ----------
    est : fitted estimator
        A scikit-learn estimator with ``components_``, ``intercept_``, ``k_``,
        ``normalize``, ``variant``, ``transform`` and ``pre_activations``, as
        :class:`~skident.decomposition.IdentifiableSAE`.
    X : array-like of shape (n_samples, n_features), or list of such arrays
        Rows, in the units of ``fit``; of memory maps and lists of arrays ("shards")
        only the rows examined are read.
    rip_multiplier : int, default=2
        The supports S hold this many times ``est.k_`` atoms: those of the largest
        absolute pre-activations; of the positive ones only when ``est.variant`` is
        ``"topk"``.
    max_samples : int or None, default=2000
        At most this many rows are examined, drawn without replacement; None takes
        all, see the cost in :func:`arip_statistics`.
    random_state : int, RandomState instance or None, default=None
        Draws those rows, and the pairs of supports whose unions are examined.

    Returns
    -------
    report : AripReport
        Do not expect the theorem's condition on the error to hold on real data: the
        report says so when it does not.

    Raises
    ------
    ValueError
        If ``rip_multiplier`` or ``max_samples`` is below 1, or ``X`` is malformed or
        not finite.

    Notes
    -----
    A small aRIP makes codes nearly identifiable *given* the dictionary. It does not
    say that the dictionary is the true one, nor anything off the data's support. All
    statistics are those of the rows examined, and delta that of the pairs drawn among
    them: other rows and pairs can be worse.

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.
    """
    for name, value in (
        ("rip_multiplier", rip_multiplier),
        ("max_samples", max_samples),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    random_state = check_random_state(random_state)
    shards = check_shards(est, X, reset=False)
    # Draws from billions of rows without listing them all, as RandomState would.
    generator = np.random.default_rng(random_state.randint(2**31 - 1))
    n_rows = len(shards) if max_samples is None else max_samples
    numbers = shards.sample(n_rows, generator, run=1)
    rows = given = shards.read(numbers)
    # A dataframe stays one for the estimator, which knows its columns by name.
    if hasattr(X, "iloc"):
        given = X.iloc[numbers]
    elif hasattr(X, "get_column"):
        given = X[numbers]
    intercept = np.asarray(est.intercept_, dtype=np.float64)
    scaled = scale_rows(rows, est.normalize)[0]
    norm_bound = None
    if est.normalize is not None:
        norm_bound = 1.0 + np.linalg.norm(intercept)
    size = min(rip_multiplier * est.k_, len(est.components_))
    supports = top_supports(
        est.pre_activations(given), size, positive=est.variant == "topk"
    )
    return arip_statistics(
        scaled - intercept,
        est.components_,
        est.transform(given),
        supports,
        n_active=est.k_,
        norm_bound=norm_bound,
        random_state=random_state,
    )


def _check(dictionary, supports):
    dictionary = np.asarray(dictionary, dtype=np.float64)
    supports = np.asarray(supports)
    for name, array in (("dictionary", dictionary), ("supports", supports)):
        if array.ndim != 2:
            raise ValueError(f"{name} must be two-dimensional, got {array.ndim}.")
    if supports.dtype.kind not in "iu":
        raise ValueError(f"supports must hold integers, got {supports.dtype}.")
    low, high = supports.min(initial=0), supports.max(initial=-1)
    if low < -1 or high >= len(dictionary):
        raise ValueError(
            f"supports must hold indices in [-1, {len(dictionary)}), got {low} to "
            f"{high}."
        )
    return dictionary, supports.astype(np.intp, copy=False)


def _gathered(dictionary, supports):
    """Chunks of rows with their atoms, zero rows standing for index -1."""
    extended = np.vstack([dictionary, np.zeros((1, dictionary.shape[1]))])
    width = 8 * max(1, supports.shape[1]) * dictionary.shape[1]
    step = max(1, _CHUNK_BYTES // max(1, width))
    for start in range(0, len(supports), step):
        rows = slice(start, start + step)
        yield rows, extended[supports[rows]]


def _conditioning(dictionary, supports, eigenvalues=True):
    """aRIP and delta of each support; NaN where it is empty."""
    values = np.full(len(supports), np.nan)
    delta = np.full(len(supports), np.nan)
    sizes = (supports >= 0).sum(axis=1)
    diagonal = np.arange(supports.shape[1])
    for rows, atoms in _gathered(dictionary, supports):
        gram = atoms @ atoms.transpose(0, 2, 1)
        trace = np.trace(gram, axis1=1, axis2=2)
        some = trace > 0
        square = np.einsum("nij,nij->n", gram, gram)[some]
        values[rows][some] = sizes[rows][some] * square / trace[some] ** 2 - 1.0
        if eigenvalues and some.any():
            # Fillers get the eigenvalue 1, which is at distance 0.
            gram[:, diagonal, diagonal] += supports[rows] < 0
            spectrum = np.linalg.eigvalsh(gram[some])
            delta[rows][some] = np.maximum(1.0 - spectrum[:, 0], spectrum[:, -1] - 1.0)
    return values, delta


def _least_squares_gap(dictionary, active, residual):
    """Distance of each code to the least-squares codes on its support."""
    gaps = np.zeros(len(active))
    if active.shape[1] == 0:
        return gaps
    for rows, atoms in _gathered(dictionary, active):
        gram = atoms @ atoms.transpose(0, 2, 1)
        left = np.matmul(atoms, residual[rows, :, None])
        values, vectors = np.linalg.eigh(gram)
        # Directions that move the reconstruction by less than 1e-5 of the code are
        # free: least squares does not determine the code along them.
        free = values <= 1e-10 * np.maximum(values[:, -1:], 1e-300)
        steps = np.matmul(vectors.transpose(0, 2, 1), left)[:, :, 0]
        steps = np.where(free, 0.0, steps / np.where(free, 1.0, values))
        gaps[rows] = np.linalg.norm(steps, axis=1)
    return gaps


def _coherence(dictionary):
    """Largest absolute cosine of two different atoms, a block of rows at a time."""
    n_components = len(dictionary)
    largest = 0.0
    step = max(1, _CHUNK_BYTES // (8 * n_components))
    for start in range(0, n_components, step):
        block = dictionary[start : start + step] @ dictionary[start:].T
        np.abs(block, out=block)
        np.fill_diagonal(block, 0.0)
        largest = max(largest, float(block.max(initial=0.0)))
    return largest


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _quantiles(values):
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return (float("nan"),) * len(QUANTILES)
    return tuple(float(q) for q in np.quantile(values, QUANTILES))
