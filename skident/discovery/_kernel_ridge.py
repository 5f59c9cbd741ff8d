"""Smooth functions of several variables: kernel ridge, chosen in closed form."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist, pdist

# In units of the median distance between two centres.
_BANDWIDTHS = (0.5, 1.0, 2.0)
_PENALTIES = np.logspace(-8.0, 2.0, 21)
# Directions of the kernel below this share of its largest eigenvalue are rounding.
_RANK_TOL = 1e-10
# A row of leverage one says nothing of the fit without it.
_LEAST_FREE = 1e-6


@dataclass(frozen=True)
class SmoothFunction:
    """A linear function plus Gaussian bumps; linear far away from all bumps.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_parents,)
        Standardisation of the parents.
    centres : ndarray of shape (n_centres, n_parents)
        Standardised.
    bandwidth : float
    bumps : ndarray of shape (n_centres, n_targets)
    slopes : ndarray of shape (n_parents, n_targets)
    intercept : ndarray of shape (n_targets,)
    """

    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray
    bandwidth: float
    bumps: np.ndarray
    slopes: np.ndarray
    intercept: np.ndarray

    def __call__(self, parents):
        """Values (n, n_targets) at parents (n, n_parents)."""
        Z = (parents - self.mean) / self.scale
        values = Z @ self.slopes + self.intercept
        if len(self.bumps):
            values += gaussian_kernel(Z, self.centres, self.bandwidth) @ self.bumps
        return values


def gaussian_kernel(A, B, bandwidth):
    """``exp(-|a - b|^2 / (2 bandwidth^2))``, of shape (len(A), len(B))."""
    return np.exp(cdist(A, B, "sqeuclidean") / (-2.0 * bandwidth**2))


class SmoothRegression:
    """Regressions on the same parents, with several targets, weights and offsets.

    The fit is ridge in the span of a Gaussian kernel at a random subset of the rows
    (Nyström), with slopes, an intercept and any further columns left free. The penalty
    of each target and the bandwidth minimise the squared error of leaving one row out,
    which is known in closed form.

    Parameters
    ----------
    parents : ndarray of shape (n, n_parents), float64
    rng : numpy.random.Generator
        Draws the centres.
    max_centres : int, default=200
    """

    def __init__(self, parents, rng, max_centres=200):
        n, p = parents.shape
        self.mean = parents.mean(axis=0)
        scale = parents.std(axis=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        self.Z = (parents - self.mean) / self.scale
        rows = rng.permutation(n)[:max_centres] if p else []
        self.centres = np.unique(self.Z[rows], axis=0)
        self._features = {}
        if len(self.centres) < 2:
            self.bandwidths = ()
            return
        self.bandwidths = tuple(np.median(pdist(self.centres)) * np.array(_BANDWIDTHS))

    def _kernel_features(self, bandwidth):
        """Features whose ridge is kernel ridge, and their map from kernel columns."""
        if bandwidth not in self._features:
            values, vectors = eigh(
                gaussian_kernel(self.centres, self.centres, bandwidth)
            )
            kept = values > _RANK_TOL * values[-1]
            root = vectors[:, kept] / np.sqrt(values[kept])
            kernel = gaussian_kernel(self.Z, self.centres, bandwidth)
            self._features[bandwidth] = kernel @ root, root
        return self._features[bandwidth]

    def fit(self, targets, *, weights=None, offsets=None, bandwidth=None):
        """Fit a smooth function.

        Parameters
        ----------
        targets : ndarray of shape (n, n_targets)
        weights : ndarray of shape (n,) or None, default=None
            Reciprocal variances, up to a factor.
        offsets : ndarray of shape (n, n_offsets) or None, default=None
            Columns with coefficients of their own, which are not part of the function.
        bandwidth : float or None, default=None
            None chooses one.

        Returns
        -------
        function : SmoothFunction
        left_out : ndarray of shape (n, n_targets)
            Targets minus what all other rows predict, offsets included.
        bandwidth : float or None
            The one used.
        """
        n, p = self.Z.shape
        root_weights = np.ones(n) if weights is None else np.sqrt(weights)
        root_weights = (root_weights / root_weights.mean())[:, None]
        free = [np.ones((n, 1)), self.Z]
        if offsets is not None:
            free.append(offsets)
        free = np.hstack(free) * root_weights
        left, sizes, _ = np.linalg.svd(free, full_matrices=False)
        basis = left[:, sizes > sizes[0] * n * np.finfo(np.float64).eps]
        y = targets * root_weights
        rest = y - basis @ (basis.T @ y)
        leverage = np.einsum("ij,ij->i", basis, basis)
        best = None
        for h in self.bandwidths if bandwidth is None else (bandwidth,):
            found = self._ridge(h, root_weights, basis, rest, leverage)
            if best is None or found[0] < best[0]:
                best = found
        if best is None:
            left_out = rest / np.maximum(1.0 - leverage, _LEAST_FREE)[:, None]
            bumps, h = np.zeros((0, y.shape[1])), None
        else:
            _, h, coef, root, left_out = best
            y = y - (self._kernel_features(h)[0] * root_weights) @ coef
            bumps = root @ coef
        linear = np.linalg.lstsq(free, y, rcond=None)[0]
        function = SmoothFunction(
            self.mean,
            self.scale,
            self.centres if len(bumps) else np.zeros((0, p)),
            1.0 if h is None else float(h),
            bumps,
            linear[1 : 1 + p],
            linear[0],
        )
        return function, left_out / root_weights, h

    def _ridge(self, bandwidth, root_weights, basis, rest, leverage):
        features, root = self._kernel_features(bandwidth)
        F = features * root_weights
        F = F - basis @ (basis.T @ F)
        values, vectors = eigh(F.T @ F)
        values = np.maximum(values, 0.0)
        F = F @ vectors
        products = F.T @ rest
        penalties = _PENALTIES * max(values[-1], np.finfo(np.float64).tiny)
        shrunk = 1.0 / (values[:, None] + penalties)
        free = np.maximum(1.0 - leverage[:, None] - F**2 @ shrunk, _LEAST_FREE)
        coefs, errors, left_out = [], 0.0, []
        for t in range(rest.shape[1]):
            coef = shrunk * products[:, [t]]
            residuals = (rest[:, [t]] - F @ coef) / free
            press = np.mean(residuals**2, axis=0)
            i = int(np.argmin(press))
            spread = np.mean(rest[:, t] ** 2)
            errors += press[i] / spread if spread > 0 else 0.0
            coefs.append(vectors @ coef[:, i])
            left_out.append(residuals[:, i])
        return errors, bandwidth, np.array(coefs).T, root, np.array(left_out).T
