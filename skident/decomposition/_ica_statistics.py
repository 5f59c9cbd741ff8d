"""Statistics of components: canonical form, non-Gaussianity, errors, dependence."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, stats

# Every test errs once in a thousand times where its null hypothesis is true.
LEVEL = 1e-3

# Entropy of a variable of unit variance falls short of the Gaussian's by half the sum
# of the squared means of functions that are orthonormal to each other and to 1, y and
# y^2 under the Gaussian law (Hyvarinen 1998). The odd one comes from y exp(-y^2 / 2),
# the even one from exp(-y^2 / 2); the two variances are what y, and 1 and y^2, leave.
_ODD_VARIANCE = 3**-1.5 - 1 / 8
_EVEN_MEAN = 2**-0.5
_EVEN_VARIANCE = 3**-0.5 - 1 / 2 - 1 / 16
# Mean squared slope of the two functions under the Gaussian law: 3.85 and 4.54.
_SLOPE = max((3**-0.5 * 2 / 3 - 1 / 8) / _ODD_VARIANCE, _ODD_VARIANCE / _EVEN_VARIANCE)

# Rows of a block of the products of pairs, of which there are six.
_PAIR_ROWS = 1024
# Rows for the two measures of dependence; the second takes O(rows^2) an entry.
_RANK_ROWS = 4096
_DISTANCE_ENTRIES = 2**22
_DISTANCE_ROWS = 500
# Fewer rows say nothing of dependence.
_LEAST_ROWS = 32


# --- canonical form ----------------------------------------------------------------


def canonical_order(energy, kurtosis, how):
    """Order of components: "energy", "kurtosis" or "none".

    Energies within 1 % of the largest of their group count as equal; the group is then
    ordered by absolute kurtosis.
    """
    if how == "none":
        return np.arange(len(energy))
    if how == "kurtosis":
        return np.argsort(-np.abs(kurtosis), kind="stable")
    order = np.argsort(-energy, kind="stable")
    low = 0
    while low < len(order):
        group = energy[order] >= 0.99 * energy[order[low]]
        high = max(low + 1, int(group.sum()))
        peak = -np.abs(kurtosis[order[low:high]])
        order[low:high] = order[low:high][np.argsort(peak, kind="stable")]
        low = high
    return order


def canonical_signs(marginals, mixing, how):
    """Signs that make third moments positive, or else the largest mixing entries.

    A third moment decides if it exceeds four of its standard errors, and four of those
    it would have under the Gaussian law: heavy tails make it noisier than that.
    """
    n_components = mixing.shape[1]
    if how == "none":
        return np.ones(n_components)
    largest = np.abs(mixing).argmax(axis=0)
    signs = np.where(mixing[largest, np.arange(n_components)] < 0, -1.0, 1.0)
    skew = marginals.skewness
    decided = np.abs(skew) > 4 * marginals.skewness_stderr
    return np.where(decided, np.where(skew < 0, -1.0, 1.0), signs)


# --- one component at a time -------------------------------------------------------


class Marginals(NamedTuple):
    """Means over rows of functions of each component.

    Parameters
    ----------
    means : ndarray of shape (8, n_components)
        Of y, y^2, ..., y^6, exp(-y^2 / 2) and y exp(-y^2 / 2).
    n_samples : float
        Number of rows, or the number of rows of equal weight that tell as much.
    """

    means: np.ndarray
    n_samples: float

    @property
    def skewness(self):
        return self.means[2] / self.means[1] ** 1.5

    @property
    def kurtosis(self):
        """Excess kurtosis."""
        return self.means[3] / self.means[1] ** 2 - 3.0

    @property
    def skewness_stderr(self):
        """By the delta method, but not below that of the Gaussian law."""
        scale = np.sqrt(self.means[1])
        m3, m4, m5, m6 = (self.means[i] / scale ** (i + 1) for i in (2, 3, 4, 5))
        variance = m6 - 6 * m4 + 9 + m3**2 * (9 * m4 + 35) / 4 - 3 * m3 * m5
        return np.sqrt(np.maximum(6.0, variance) / self.n_samples)

    @property
    def negentropy(self):
        odd = self.means[7] ** 2 / _ODD_VARIANCE
        even = (self.means[6] - _EVEN_MEAN) ** 2 / _EVEN_VARIANCE
        return (odd + even) / 2

    def turned(self, order, signs):
        """Of the components in another order and with other signs."""
        means = self.means[:, order].copy()
        means[[0, 2, 4, 7]] *= signs
        return self._replace(means=means)


def marginal_sums(Y):
    """The sums over rows whose means a :class:`Marginals` holds, in float64."""
    square = Y * Y
    decay = np.exp(-0.5 * square)
    powers = [Y, square]
    for _ in range(2):
        powers += [powers[-2] * square, powers[-1] * square]
    pieces = (*powers, decay, Y * decay)
    ones = np.ones(len(Y), dtype=Y.dtype)
    return np.stack([ones @ piece for piece in pieces]).astype(np.float64)


def negentropy_bound(n_components, n_samples, *, searched):
    """Negentropy that the components of Gaussian rows stay below.

    For a fixed direction of Gaussian rows, 2 n negentropy follows the chi-squared law
    with two degrees of freedom. ICA chooses its directions for their non-Gaussianity,
    so that the law of the *largest* value over all directions is needed: the root of
    2 n negentropy is then the maximum of a smooth Gaussian process over directions w
    and over the angle between the two functions. Its increments are at most those of
    ``sqrt(_SLOPE) g.w + h.angle`` with standard normal g and h, so by Sudakov and
    Fernique its mean is at most ``sqrt(_SLOPE k) + sqrt(pi / 2)``, and by Borell it
    exceeds its mean by ``sqrt(2 log(1 / LEVEL))`` with probability below ``LEVEL``.
    """
    tail = -2.0 * np.log(LEVEL)
    if n_components == 1:
        root = np.sqrt(tail)
    elif searched:
        root = np.sqrt(_SLOPE * n_components) + np.sqrt(np.pi / 2) + np.sqrt(tail)
    else:
        root = np.sqrt(tail + 2.0 * np.log(n_components))
    return root**2 / (2 * n_samples)


# --- pairs of components -----------------------------------------------------------


def score_functions(Y, fun):
    """Score psi and its derivative, for every entry."""
    if fun == "tanh":
        psi = np.tanh(Y)
        return psi, 1.0 - psi * psi
    square = Y * Y
    if fun == "exp":
        decay = np.exp(-0.5 * square)
        return Y * decay, (1.0 - square) * decay
    return Y * square, 3.0 * square


def score_means(Y, fun):
    """E[psi_i], of shape (k,)."""
    total = np.zeros(Y.shape[1])
    for low in range(0, len(Y), _PAIR_ROWS):
        total += score_functions(Y[low : low + _PAIR_ROWS], fun)[0].sum(axis=0)
    return total / len(Y)


def pair_means(Y, fun, level):
    """Means over rows that the errors of the rotation are made of.

    Scores are centred: data are, by their own mean, and with ``mean(y_j) = 0`` the
    errors are those of ``mean((psi_i - E psi_i) y_j)``.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, k)
    fun : {"tanh", "exp", "cube"}
    level : ndarray of shape (k,)
        Of :func:`score_means`, of all rows.

    Returns
    -------
    means : ndarray of shape (6, k, k)
        With psi short for ``psi - level``:
        E[psi_i y_j], E[psi'_i y_j^2], E[psi_i^2 y_j^2], E[psi_i y_i psi_j y_j],
        E[psi_i y_i y_j^2] and E[y_i^2 y_j^2].
    slope : ndarray of shape (k,)
        E[psi'_i].
    """
    k = Y.shape[1]
    means, total = np.zeros((6, k, k)), np.zeros(k)
    for low in range(0, len(Y), _PAIR_ROWS):
        y = Y[low : low + _PAIR_ROWS]
        psi, slope = score_functions(y, fun)
        psi = psi - level
        square, own = y * y, psi * y
        pieces = (psi, y), (slope, square), (psi * psi, square)
        pieces += (own, own), (own, square), (square, square)
        for mean, (left, right) in zip(means, pieces, strict=True):
            mean += left.T @ right
        total += slope.sum(axis=0)
    return means / len(Y), total / len(Y)


def density_signs(means, slope):
    """1 where E psi' exceeds E psi y, else -1."""
    return np.where(slope >= np.diag(means[0]), 1.0, -1.0)


class RotationErrors(NamedTuple):
    """What finite samples do to a rotation.

    Parameters
    ----------
    angle : ndarray of shape (n_components,)
        Standard error of the direction of each component, in radians, at most pi / 2.
    gradient : tuple of two floats
        Smallest and largest standard error of an entry of the gradient; zero where
        there is only one component.
    """

    angle: np.ndarray
    gradient: tuple[float, float]


def rotation_errors(means, slope, signs, n_samples):
    """Standard errors of components for which the gradient vanishes.

    The directions that whitened data give are off in two ways. Turning components i
    and j into each other changes the loss at the rate 2 S_ij, with
    ``S_ij = E[s_i psi_i y_j - s_j psi_j y_i] / 2``, and at second order by 2 H_ij: the
    angle found is off by -S_ij / H_ij. And the covariance that whitens is off by
    ``e = mean(y_i y_j)``: that mixes them by -e / 2 each, and S_ij by -e d_ij / 2 with
    ``d_ij = (c_i - c_j) / 2`` and ``c_i = s_i E[psi'_i + psi_i y_i]``. The rows
    themselves give the variance of what row by row sums to both. Angles of other pairs
    enter H only off its diagonal, which vanishes for independent components and is
    left out.
    """
    product, curve, spread, cross, mixed, squares = means
    k = len(signs)
    if k == 1:
        return RotationErrors(np.zeros(1), (0.0, 0.0))
    own = np.diag(product)
    level = signs * (slope + own)
    gap = (level[:, None] - level) / 2
    # Second moments of v = (s_i psi_i y_j - s_j psi_j y_i - d y_i y_j) / 2.
    signed = signs[:, None] * mixed
    signed = signed - signed.T
    variance = spread + spread.T - 2 * np.outer(signs, signs) * cross
    variance += gap**2 * squares - 2 * gap * signed
    variance = np.maximum(variance, 0.0) / 4
    with_whitening = (signed - gap * squares) / 2
    curve = signs[:, None] * (curve - own[:, None])
    hessian = (curve + curve.T) / 2
    off = ~np.eye(k, dtype=bool)
    # Where the loss does not curve upwards nothing holds the angle.
    held = off & (hessian > 0)
    h = hessian[held]
    total = np.full((k, k), np.inf)
    total[held] = variance[held] / h**2 + with_whitening[held] / h + squares[held] / 4
    np.fill_diagonal(total, 0.0)
    total = np.maximum(total, 0.0).sum(axis=1) / n_samples
    gradient = np.sqrt(variance[off] / n_samples)
    return RotationErrors(
        np.minimum(np.sqrt(total), np.pi / 2),
        (float(gradient.min()), float(gradient.max())),
    )


def likelihood_errors(means, slope, scale, extended, n_samples):
    """Standard errors of components that solve ``E[phi_i y_j] = delta_ij``.

    These are the equations of maximum likelihood without the orthogonal constraint, for
    ``phi_i = s_i psi_i + y_i`` when extended, else psi_i. Whitening has no part in
    them: they have the same solution in any coordinates. If the solution is off by the
    relative error e, so that ``y + e y`` are the sources, independence leaves, for each
    pair, ``mean(phi_i y_j) + h_ij e_ij + e_ji = 0`` with ``h_ij = E[phi'_i y_j^2]``,
    and therefore ``e_ij = -mean(h_ji phi_i y_j - phi_j y_i) / (h_ij h_ji - 1)``. The
    rows themselves give the variance of that mean.

    Parameters
    ----------
    means, slope
        As :func:`pair_means` returns them, of components with these scales.
    scale : ndarray of shape (k,)
        Standard deviations of components.
    extended : bool
    n_samples : float

    Returns
    -------
    errors : RotationErrors
        Angles are those of components of unit variance.
    """
    product, curve, spread, cross, mixed, squares = means
    k = len(scale)
    if k == 1:
        return RotationErrors(np.zeros(1), (0.0, 0.0))
    variance = scale**2
    if extended:
        signs = np.where(slope * variance >= np.diag(product), 1.0, -1.0)[:, None]
        curve = signs * curve + variance
        spread = spread + 2 * signs * mixed + squares
        cross = signs * signs.T * cross + signs * mixed + (signs * mixed).T + squares
    off = ~np.eye(k, dtype=bool)
    determinant = curve * curve.T - 1
    # Elsewhere the likelihood has no maximum.
    held = off & (curve > 0) & (determinant > 0)
    second = curve.T**2 * spread - 2 * curve.T * cross + spread.T
    total = np.full((k, k), np.inf)
    relative = variance / variance[:, None]
    total[held] = (second * relative)[held] / determinant[held] ** 2
    np.fill_diagonal(total, 0.0)
    total = np.maximum(total, 0.0).sum(axis=1) / n_samples
    gradient = np.sqrt(spread[off] / n_samples)
    return RotationErrors(
        np.minimum(np.sqrt(total), np.pi / 2),
        (float(gradient.min()), float(gradient.max())),
    )


class Dependence(NamedTuple):
    """A measure of dependence, maximal over pairs, and its bound for independence."""

    statistic: float
    bound: float
    n_samples: int


def rank_dependence(Y):
    """Largest rank correlation of squared components, in absolute value.

    Ranks make the law under independence the same for every density: variance
    ``1 / (n - 1)``, close to normal. Squares of heavy-tailed components would exceed
    any such bound now and then.
    """
    Y = _thinned(Y, _RANK_ROWS)
    n_samples, n_components = Y.shape
    if n_components < 2 or n_samples < _LEAST_ROWS:
        return Dependence(np.nan, np.nan, n_samples)
    ranks = np.stack([_ranks(np.abs(y)) for y in Y.T])
    ranks -= (n_samples + 1) / 2
    ranks /= np.sqrt(np.maximum(np.square(ranks).sum(axis=1, keepdims=True), 1.0))
    found = np.abs(ranks @ ranks.T)[np.triu_indices(n_components, 1)]
    level = LEVEL / (2 * len(found))
    bound = stats.norm.isf(level) / np.sqrt(n_samples - 1)
    return Dependence(float(found.max()), float(bound), n_samples)


def _ranks(y):
    """Ranks from 1, ties averaged; several times as fast as ``rankdata`` without."""
    order = np.argsort(y)
    if (np.diff(y[order]) == 0).any():
        return stats.rankdata(y)
    ranks = np.empty(len(y))
    ranks[order] = np.arange(1.0, len(y) + 1)
    return ranks


def distance_dependence(Y):
    """Largest distance correlation of squared components, bias-corrected.

    Under independence ``n R^2 + 1`` lies below a chi-squared variable with one degree
    of freedom in the upper tail, whatever the densities (Shen, Panda and Vogelstein
    2022).
    """
    n_rows = int(np.sqrt(_DISTANCE_ENTRIES / Y.shape[1]))
    Y = _thinned(Y, min(n_rows, _DISTANCE_ROWS))
    n_samples, n_components = Y.shape
    if n_components < 2 or n_samples < _LEAST_ROWS:
        return Dependence(np.nan, np.nan, n_samples)
    centred = np.empty((n_components, n_samples * n_samples), dtype=np.float32)
    for row, y in zip(centred, Y.T, strict=True):
        square = np.square(y, dtype=np.float64).astype(np.float32)
        distance = np.abs(square[:, None] - square[None, :])
        mean = distance.sum(axis=1, dtype=np.float64) / (n_samples - 2)
        whole = mean.sum() / (n_samples - 1)
        mean = mean.astype(np.float32)
        distance -= mean[:, None]
        distance -= mean[None, :]
        distance += np.float32(whole)
        np.fill_diagonal(distance, 0.0)
        row[:] = distance.ravel()
    products = (centred @ centred.T).astype(np.float64)
    size = np.sqrt(np.maximum(np.diag(products), np.finfo(np.float32).tiny))
    pairs = np.triu_indices(n_components, 1)
    squared = (products / size[:, None] / size)[pairs]
    bound = (stats.chi2.isf(LEVEL / len(squared), 1) - 1) / n_samples
    statistic = np.sqrt(max(float(squared.max()), 0.0))
    return Dependence(statistic, float(np.sqrt(bound)), n_samples)


def _thinned(Y, n_rows):
    """About ``n_rows`` rows, spread evenly."""
    return Y[:: max(1, -(-len(Y) // n_rows))]


# --- the whitened space ------------------------------------------------------------


def rounding_angles(components, mean_square, eps):
    """Standard deviation that rounding of the data gives each component.

    An entry x is off by at most ``eps |x| / 2``, uniformly: its variance is at most
    ``eps^2 x^2 / 12``. Components have unit variance, so that the result is also the
    angle in radians by which rounding can turn a component.
    """
    return eps * np.sqrt(np.square(components) @ mean_square / 12)


def cut_angle(spectrum, n_kept, n_samples):
    """Standard error, in radians, of the last principal direction that is kept.

    It is mixed with each direction left out at the variance
    ``l_i l_j / ((l_i - l_j)^2 n)`` that principal components of Gaussian rows have.
    """
    last, rest = spectrum[n_kept - 1], spectrum[n_kept:]
    gap = last - rest
    if (gap <= 0).any():
        return np.pi / 2
    return float(min(np.sqrt((last * rest / gap**2).sum() / n_samples), np.pi / 2))


def nearest_rotation(components, scale):
    """Rotation of a whitened space that keeps earlier components as they were.

    Parameters
    ----------
    components : ndarray of shape (n_old, n_features)
        Earlier components.
    scale : ndarray of shape (n_features, k)
        ``K^T diag(explained variance)``, the pseudoinverse of the whitening K.

    Returns
    -------
    rotation : ndarray of shape (k, k)
        Orthogonal. With more dimensions than before, new components complete the old
        ones; with fewer, those with the smallest share in the space are left out.
    """
    wanted = components @ scale
    n_components = scale.shape[1]
    if len(wanted) > n_components:
        share = np.square(wanted).sum(axis=1)
        kept = np.sort(np.argsort(-share, kind="stable")[:n_components])
        wanted = wanted[kept]
    left, _, right = linalg.svd(wanted, full_matrices=True)
    n_old = len(wanted)
    return np.concatenate([left @ right[:n_old], right[n_old:]])
