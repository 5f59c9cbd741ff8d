"""Sparse combinations of the atoms of a known dictionary, at once or as a stream."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from scipy.special import ndtri
from sklearn.utils import Bunch, check_random_state

from skident.utils._rows import scale_rows
from skident.utils._sklearn import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left"), None],
    "n_features": [Interval(Integral, 1, None, closed="left")],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "n_active": [Interval(Integral, 1, None, closed="left")],
    "mixture_scale": [Interval(Real, 0, 1, closed="both")],
    "n_mixtures": [Interval(Integral, 1, None, closed="left"), None],
    "noise_std": [Interval(Real, 0, None, closed="left")],
    "normalize": [StrOptions({"center_l2", "l2"}), None],
    "covariance": ["array-like", StrOptions({"digits"}), None],
    "dictionary": ["array-like", None],
    "online": ["boolean"],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}
_CHUNK = 8192


def make_sparse_dictionary(
    n_samples,
    n_features=768,
    n_components=4096,
    n_active=40,
    *,
    mixture_scale=0.0,
    n_mixtures=None,
    noise_std=0.0,
    normalize="center_l2",
    covariance=None,
    dictionary=None,
    online=False,
    batch_size=2048,
    random_state=None,
):
    """Draw rows that are sparse combinations of the atoms of a random dictionary.

    Atoms are Gaussian directions, independent (``mixture_scale=0``) or gathered
    around a few centres. A code is a standard normal vector of which the
    ``n_active`` largest entries in absolute value are kept, scaled to unit norm. The
    data are ``codes @ dictionary`` plus noise, then every row is normalised [1]_.

    Parameters
    ----------
    n_samples : int or None
        Number of rows. With ``online=True`` the length of the stream; None never
        ends.
    n_features : int, default=768
        Width of the data. Ignored when ``dictionary`` is given.
    n_components : int, default=4096
        Number of atoms. Ignored when ``dictionary`` is given.
    n_active : int, default=40
        Number of atoms in each row, at most ``n_components``.
    mixture_scale : float, default=0.0
        Share, in [0, 1], of the variance of the atoms' entries that lies between
        mixture centres; 0 draws independent atoms.
    n_mixtures : int or None, default=None
        Number of centres, of (to one) equally many atoms each; None is
        ``max(2, n_components // 100)``. Of no effect when ``mixture_scale`` is 0.
    noise_std : float, default=0.0
        Standard deviation of Gaussian noise on every entry, in units of codes of unit
        norm, before normalisation.
    normalize : {"center_l2", "l2", None}, default="center_l2"
        "center_l2" subtracts each row's mean over features and divides the row by its
        Euclidean norm; "l2" only divides; None leaves rows as they are.
    covariance : array-like of shape (n_features, n_features), "digits" or None, \
default=None
        Covariance of the entries of an atom before it is scaled to unit norm; None is
        the identity. "digits" is that of scikit-learn's 8 x 8 digits
        (``n_features=64``), for atoms with the correlations of real images.
    dictionary : array-like of shape (n_components, n_features) or None, default=None
        Atoms to use instead of random ones, scaled here to unit norm: how more rows,
        held out for instance, are drawn from the dictionary of an earlier call.
    online : bool, default=False
        Whether rows come as a stream of batches, generated as they are asked for.
    batch_size : int, default=2048
        Rows a batch of the stream; the last one of a finite stream may be shorter.
    random_state : int, RandomState instance or None, default=None
        Seed. The dictionary depends on the seed and on its own parameters alone,
        neither on ``n_samples`` nor on ``online``.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, n_features), float32
            The normalised rows. Absent with ``online=True``.
        codes : scipy.sparse.csr_matrix of shape (n_samples, n_components), float32
            The codes, of unit norm; as the normalisation of ``X`` differs from row to
            row, they are those of ``X`` up to a positive factor a row. Absent with
            ``online=True``.
        batches : iterator
            With ``online=True`` only: yields a Bunch with ``X`` and ``codes`` a batch,
            once; no row is ever repeated.
        dictionary : ndarray of shape (n_components, n_features), float32
            Atoms, of unit norm.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range, ``n_active`` exceeds ``n_components``,
        ``covariance`` is not a covariance of ``n_features`` variables, or
        ``n_samples`` is None without ``online=True``.

    Notes
    -----
    A stream yields the rows of the plain call with the same seed, whatever its
    batch size. With ``dictionary`` given, the rows differ from those that the same
    seed gave together with a random dictionary, so that one seed for training and
    held-out data is safe.

    The support of a code is uniform over the subsets of size k; given the (k+1)-th
    largest magnitude the k larger ones are independent. Codes are drawn from that law
    directly, in O(n_samples n_active^2) instead of O(n_samples n_components); the
    product with the dictionary is O(n_samples n_active n_features).

    References
    ----------
    .. [1] Nelson, Karaletsos and Locatello, "Toward identifiable sparse
       autoencoders", ICML 2026.

    Examples
    --------
    >>> from skident.datasets import make_sparse_dictionary
    >>> train = make_sparse_dictionary(100, 16, 32, 3, random_state=0)
    >>> train.X.shape, train.codes.shape, train.dictionary.shape
    ((100, 16), (100, 32), (32, 16))
    >>> test = make_sparse_dictionary(
    ...     50, n_active=3, dictionary=train.dictionary, random_state=0
    ... )
    >>> stream = make_sparse_dictionary(
    ...     100, 16, 32, 3, online=True, batch_size=40, random_state=0
    ... )
    >>> [batch.X.shape for batch in stream.batches]
    [(40, 16), (40, 16), (20, 16)]
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_sparse_dictionary"
    )
    if n_samples is None and not online:
        raise ValueError("n_samples may be None only with online=True.")
    random_state = check_random_state(random_state)
    if dictionary is None:
        seed = random_state.randint(np.iinfo(np.int32).max)
        dictionary = _draw_dictionary(
            n_features, n_components, mixture_scale, n_mixtures, covariance, seed
        )
    else:
        dictionary = _unit_rows(np.asarray(dictionary, dtype=np.float64), "dictionary")
    n_components, n_features = dictionary.shape
    if n_active > n_components:
        raise ValueError(
            f"n_active must be at most n_components = {n_components}, got {n_active}."
        )
    dictionary = dictionary.astype(np.float32)
    seed = random_state.randint(np.iinfo(np.int32).max)
    source = _Source(dictionary, n_active, noise_std, normalize, seed)
    description = (
        f"Rows of {n_active} out of {n_components} atoms in {n_features} dimensions.\n"
        f"Codes: the {n_active} largest of {n_components} standard normals, with "
        f"their signs, scaled to unit norm.\n"
        f"Noise of standard deviation {noise_std:g}; normalize={normalize!r}."
    )
    common = {"dictionary": dictionary, "DESCR": description}
    if online:
        return Bunch(batches=source.batches(n_samples, batch_size), **common)
    X = np.empty((n_samples, n_features), dtype=np.float32)
    codes, start = [], 0
    for batch in source.batches(n_samples, _CHUNK):
        X[start : start + len(batch.X)] = batch.X
        start += len(batch.X)
        codes.append(batch.codes)
    codes = sparse.vstack(codes, format="csr") if len(codes) > 1 else codes[0]
    return Bunch(X=X, codes=codes, **common)


def _draw_dictionary(
    n_features, n_components, mixture_scale, n_mixtures, covariance, seed
):
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((n_components, n_features))
    if mixture_scale > 0:
        if n_mixtures is None:
            n_mixtures = max(2, n_components // 100)
        centres = rng.standard_normal((n_mixtures, n_features))
        assignment = rng.permutation(np.arange(n_components) % n_mixtures)
        atoms *= np.sqrt(1.0 - mixture_scale)
        atoms += np.sqrt(mixture_scale) * centres[assignment]
    if covariance is not None:
        atoms = atoms @ _covariance_root(covariance, n_features)
    return _unit_rows(atoms, "dictionary")


def _covariance_root(covariance, n_features):
    """Symmetric square root of a covariance."""
    if isinstance(covariance, str):
        from sklearn.datasets import load_digits

        covariance = np.cov(load_digits().data, rowvar=False)
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (n_features, n_features):
        raise ValueError(
            f"covariance must have shape ({n_features}, {n_features}), that of "
            f"n_features, got {covariance.shape}."
        )
    size = np.abs(covariance).max()
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-8 * size):
        raise ValueError("covariance must be symmetric and finite.")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    # Rounding alone makes eigenvalues of a singular covariance slightly negative.
    if values[-1] <= 0 or values[0] < -1e-8 * values[-1]:
        raise ValueError(
            "covariance must be positive semidefinite and not zero; its eigenvalues "
            f"go from {values[0]:.3g} to {values[-1]:.3g}."
        )
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # Rounding would give constant features, such as blank pixels, tiny entries.
    root[:, np.diag(covariance) == 0] = 0.0
    return root


def _unit_rows(atoms, name):
    if atoms.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional, got {atoms.ndim}.")
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError(f"{name} must hold finite rows that are not zero.")
    return atoms / norms


class _Source:
    """Endless source of rows; what it yields does not depend on how many at a time.

    One generator a purpose, each read row after row, makes that so.
    """

    def __init__(self, dictionary, n_active, noise_std, normalize, seed):
        self.dictionary, self.n_active = dictionary, n_active
        self.noise_std, self.normalize = noise_std, normalize
        seeds = np.random.SeedSequence(seed).spawn(4)
        self.rngs = [np.random.default_rng(s) for s in seeds]

    def batches(self, n_samples, batch_size):
        left = np.inf if n_samples is None else n_samples
        while left > 0:
            size = int(min(batch_size, left))
            left -= size
            yield self.draw(size)

    def draw(self, size):
        n_components, n_features = self.dictionary.shape
        at, *value_rngs, noise_rng = self.rngs
        indices = _uniform_subsets(at, size, n_components, self.n_active)
        values = _largest_normals(value_rngs, size, n_components, self.n_active)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        codes = sparse.csr_matrix(
            (
                values.astype(np.float32).ravel(),
                indices.ravel(),
                np.arange(0, indices.size + 1, self.n_active),
            ),
            shape=(size, n_components),
        )
        X = codes @ self.dictionary
        if self.noise_std > 0:
            noise = noise_rng.standard_normal((size, n_features), dtype=np.float32)
            X += np.float32(self.noise_std) * noise
        return Bunch(X=scale_rows(X, self.normalize)[0], codes=codes)


def _uniform_subsets(rng, size, n, k):
    """Sorted uniform k-subsets of range(n), one a row, by Floyd's algorithm."""
    uniform = rng.random((size, k))
    subset = np.empty((size, k), dtype=np.int64)
    for i, top in enumerate(range(n - k, n)):
        draw = (uniform[:, i] * (top + 1)).astype(np.int64)
        taken = (subset[:, :i] == draw[:, None]).any(axis=1)
        subset[:, i] = np.where(taken, top, draw)
    subset.sort(axis=1)
    return subset


def _largest_normals(rngs, size, n, k):
    """The k largest in magnitude of n standard normals, in random order."""
    # With p = P(|Z| > |z|), uniform for each z: the (k+1)-th smallest p of n is
    # Beta(k+1, n-k), and given it the k smaller ones are independent uniforms below.
    uniform = 2.0 * rngs[0].random((size, k))
    positive = uniform >= 1.0
    tail = 1.0 - (uniform - positive)  # in (0, 1], so that no value is infinite
    if k < n:
        tail *= rngs[1].beta(k + 1, n - k, size=(size, 1))
    return np.where(positive, -1.0, 1.0) * ndtri(tail / 2.0)
