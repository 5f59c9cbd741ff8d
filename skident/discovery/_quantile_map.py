"""Mechanisms by conditional ranks: the noise is a normal score of x given parents."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import ndtr, ndtri

from skident.discovery._kernel_ridge import gaussian_kernel
from skident.discovery._location_scale import LocationScaleMap, fit_location_scale
from skident.discovery._noise_laws import NormalLaw

# In units of the median distance of two rows' parents; infinity weighs all rows alike.
_BANDWIDTHS = (0.1, 0.2, 0.4, 0.8, 1.6, np.inf)
_N_GRID = 100
_N_CHOICE = 50
_CHUNK_ROWS = 1000


@dataclass(frozen=True)
class QuantileMap:
    """A fitted mechanism whose noise is standard normal in the base environment.

    Parameters
    ----------
    first : LocationScaleMap
        Takes location and scale out before ranks are compared.
    parents : ndarray of shape (n, n_parents)
        Of the base rows, standardised by ``mean`` and ``scale``. None (n = 0) where
        all rows weigh alike.
    mean, scale : ndarray of shape (n_parents,)
    bandwidth : float
    grid : ndarray of shape (n_grid,)
        Increasing, from the least to the largest base row in units of ``first``.
    rows : ndarray of shape (n,)
        Of the base, in units of ``first``: each is a smooth step from 0 to 1 along the
        grid.
    width : float
        Of a step.
    shares : ndarray of shape (n_grid,)
        Mean of the steps of all rows.
    tails : (int, int)
        Where on the grid the lowest tenth of the base rows ends and the highest begins.
    """

    first: LocationScaleMap
    parents: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    bandwidth: float
    grid: np.ndarray
    rows: np.ndarray
    width: float
    shares: np.ndarray
    tails: tuple

    law = NormalLaw()

    def _scores(self, parents):
        """Normal scores (n, n_grid + 2) of :meth:`_points`, increasing along them."""
        if np.isinf(self.bandwidth):
            shares = self.shares[None]
        else:
            Z = (parents - self.mean) / self.scale
            steps = _steps(self.rows, self.grid, self.width)
            shares = local_means(Z, self.parents, self.bandwidth, steps)
        z, u, (low, high) = ndtri(shares), self.grid, self.tails
        # Beyond the base rows scores go on as steeply as over a tenth of these.
        width = u[-1] - u[0]
        first = z[:, 0] - width * (z[:, low] - z[:, 0]) / (u[low] - u[0])
        last = z[:, -1] + width * (z[:, -1] - z[:, high]) / (u[-1] - u[high])
        z = np.column_stack([first, z, last])
        return np.broadcast_to(z, (len(parents), z.shape[1]))

    def _points(self):
        width = self.grid[-1] - self.grid[0]
        ends = self.grid[0] - width, self.grid[-1] + width
        return np.concatenate([ends[:1], self.grid, ends[1:]])

    def _segment(self, scores, at):
        """Score at the left end, slope and left end of the segments ``at``."""
        rows, points = np.arange(len(scores)), self._points()
        left, width = points[at], points[at + 1] - points[at]
        low = scores[rows, at]
        return low, (scores[rows, at + 1] - low) / width, left

    def _locate(self, x, parents):
        u = self.first.noise(x, parents)
        at = np.searchsorted(self.grid, u)
        return u, *self._segment(self._scores(parents), at)

    def noise(self, x, parents):
        """Noise (n,) that makes ``x`` of its parents (n, n_parents)."""
        u, low, slope, left = self._locate(x, parents)
        return low + slope * (u - left)

    def value(self, s, parents):
        """What noise (n,) and parents make."""
        scores = self._scores(parents)
        at = np.sum(scores[:, 1:-1] <= s[:, None], axis=1)
        low, slope, left = self._segment(scores, at)
        return self.first.value(left + (s - low) / slope, parents)

    def log_slope(self, x, parents):
        """Logarithm of the derivative of :meth:`noise` in ``x``."""
        _, _, slope, _ = self._locate(x, parents)
        return np.log(slope) + self.first.log_slope(x, parents)

    def log_density(self, s):
        """Logarithm of the density of noise in the base environment."""
        return self.law.log_density(s)


def _steps(rows, grid, width):
    """From 0 to 1 along the grid, (n, n_grid), around each row."""
    steps = ndtr((grid - rows[:, None]) / width)
    # Between rows far apart steps are flat: a wide law with the weight of one row makes
    # them rise.
    wide = 0.5 + np.arctan(grid / width) / np.pi
    steps += (wide - steps) / (len(rows) + 1.0)
    return steps


def local_means(Z, centres, bandwidth, values, leave_out=False):
    """Means of ``values`` over centres weighted by a Gaussian kernel around each row.

    Parameters
    ----------
    Z : ndarray of shape (n, p)
    centres : ndarray of shape (n_centres, p)
    bandwidth : float
    values : ndarray of shape (n_centres, k)
    leave_out : bool, default=False
        Whether row i is not to see centre i.

    Returns
    -------
    means : ndarray of shape (n, k)
        All centres together count as one more row at the very spot: far from each of
        them the means are those of all.
    """
    means = np.empty((len(Z), values.shape[1]))
    overall = values.mean(axis=0)
    for low in range(0, len(Z), _CHUNK_ROWS):
        weights = gaussian_kernel(Z[low : low + _CHUNK_ROWS], centres, bandwidth)
        if leave_out:
            np.fill_diagonal(weights[:, low:], 0.0)
        total = weights.sum(axis=1, keepdims=True) + 1.0
        means[low : low + _CHUNK_ROWS] = (weights @ values + overall) / total
    return means


def _choose_bandwidth(Z, u):
    """The bandwidth whose conditional ranks predict the rows left out best."""
    if Z.shape[1] == 0 or not Z.any():
        return np.inf
    levels = np.quantile(u, (np.arange(_N_CHOICE) + 0.5) / _N_CHOICE)
    below = (u[:, None] <= levels).astype(np.float64)
    n = len(u)
    distance = np.median(pdist(Z[:: max(1, n // 500)]))
    best = None
    for factor in _BANDWIDTHS:
        if np.isinf(factor):
            left_out = (below.sum(axis=0) - below) / (n - 1.0)
        elif distance > 0:
            left_out = local_means(Z, Z, factor * distance, below, leave_out=True)
        else:
            continue
        error = np.mean((below - left_out) ** 2)
        if best is None or error < best[0]:
            best = error, factor * distance if np.isfinite(factor) else np.inf
    return best[1]


def fit_quantile(x, parents, codes, n_environments, rng):
    """Fit conditional ranks in the base environment.

    Parameters and results are those of
    :func:`skident.discovery._location_scale.fit_location_scale`, whose map is fitted
    first on all environments: what is left for the ranks varies less with the parents,
    and a kernel that averages over a neighbourhood errs less. The scales are those of
    the normal scores.
    """
    first, _ = fit_location_scale(x, parents, codes, n_environments, rng)
    base = codes == 0
    u = first.noise(x[base], parents[base])
    mean, scale = parents[base].mean(axis=0), parents[base].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    Z = (parents[base] - mean) / scale
    h = 0.9 * first.law.scale * len(u) ** -0.2
    grid = np.union1d(
        np.linspace(u.min(), u.max(), _N_GRID),
        np.quantile(u, (np.arange(_N_GRID) + 0.5) / _N_GRID),
    )
    # Segments shorter than this are rounding.
    grid = grid[np.diff(grid, prepend=-np.inf) > 1e-6 * h]
    if len(grid) < 3:
        grid = grid[0] + h * np.array([-1.0, 0.0, 1.0])
    shares, bandwidth = _steps(u, grid, h).mean(axis=0), _choose_bandwidth(Z, u)
    # Rows are kept for their places among the parents.
    n_kept = 0 if np.isinf(bandwidth) else len(u)
    tails = np.searchsorted(grid, np.quantile(u, [0.1, 0.9]))
    tails = max(int(tails[0]), 1), min(int(tails[1]), len(grid) - 2)
    mechanism = QuantileMap(
        first, Z[:n_kept], mean, scale, bandwidth, grid, u[:n_kept], h, shares, tails
    )
    s = mechanism.noise(x, parents)
    rows = np.bincount(codes, minlength=n_environments)
    rms = np.sqrt(np.bincount(codes, s**2, n_environments) / rows)
    return mechanism, rms / rms[0]
