"""Mechanisms that shift and stretch their noise: x = m(parents) + exp(g(parents)) s."""

from dataclasses import dataclass, replace

import numpy as np

from skident.discovery._kernel_ridge import SmoothFunction, SmoothRegression
from skident.discovery._noise_laws import SmoothedLaw

_N_ROUNDS = 3
# Residuals below this share of their mean are taken for it before the logarithm.
_LEAST_RESIDUAL = 1e-6


@dataclass(frozen=True)
class LocationScaleMap:
    """A fitted mechanism ``x = mean(parents) + exp(log_scale(parents)) * s``.

    Parameters
    ----------
    mean, log_scale : SmoothFunction
    bounds : (float, float)
        Range to which the log scale is clipped.
    law : SmoothedLaw
        Of the noise in the base environment.
    """

    mean: SmoothFunction
    log_scale: SmoothFunction
    bounds: tuple
    law: SmoothedLaw

    def _log_scale(self, parents):
        return np.clip(self.log_scale(parents)[:, 0], *self.bounds)

    def noise(self, x, parents):
        """Noise (n,) that makes ``x`` of its parents (n, n_parents)."""
        return (x - self.mean(parents)[:, 0]) * np.exp(-self._log_scale(parents))

    def value(self, s, parents):
        """What noise (n,) and parents make."""
        return self.mean(parents)[:, 0] + np.exp(self._log_scale(parents)) * s

    def log_slope(self, x, parents):
        """Logarithm of the derivative of :meth:`noise` in ``x``."""
        return -self._log_scale(parents)

    def log_density(self, s):
        """Logarithm of the density of noise in the base environment."""
        return self.law.log_density(s)


def fit_location_scale(x, parents, codes, n_environments, rng):
    """Fit mean and scale on all environments.

    In environment e the residual is ``exp(g(parents)) (c_e + lambda_e s)`` with
    ``c_0 = 0`` and ``lambda_0 = 1``: where the noise of the mechanism is a relabelling
    of one that was rescaled, its mean need not stay zero.

    Parameters
    ----------
    x : ndarray of shape (n,)
    parents : ndarray of shape (n, n_parents)
    codes : ndarray of shape (n,)
        Environment of each row, 0 the base.
    n_environments : int
    rng : numpy.random.Generator

    Returns
    -------
    mechanism : LocationScaleMap
    scales : ndarray of shape (n_environments,)
        Root mean square of the noise in each, in units of the base.
    """
    regression = SmoothRegression(parents, rng)
    others = (codes[:, None] == np.arange(1, n_environments)).astype(np.float64)
    rows = np.bincount(codes, minlength=n_environments)
    log_scale, wide = np.zeros(len(x)), np.ones(n_environments)
    h_mean = h_scale = None
    for step in range(_N_ROUNDS):
        scale = np.exp(log_scale)
        mean, left_out, h_mean = regression.fit(
            x[:, None],
            weights=(scale * wide[codes]) ** -2.0,
            offsets=others * scale[:, None],
            bandwidth=h_mean,
        )
        size = np.abs(left_out[:, 0])
        # A noise of exactly zero everywhere still has to have a scale.
        size = np.maximum(size, _LEAST_RESIDUAL * size.mean())
        size = np.maximum(size, np.finfo(np.float64).eps * x.std())
        relative = size / scale
        wide = np.bincount(codes, relative, n_environments) / rows
        if step == 0:
            target = np.log(size / wide[codes])
        else:
            # A step of scoring for the likelihood of Laplace's law: sizes have less
            # variance than their logarithms, and no long tail towards zero.
            target = log_scale + relative / wide[codes] - 1.0
        function, _, h_scale = regression.fit(
            target[:, None], offsets=others, bandwidth=h_scale
        )
        fitted = function(parents)[:, 0]
        # Beyond the rows the scale is a guess; e times the extremes bounds it.
        bounds = fitted.min() - 1.0, fitted.max() + 1.0
        log_scale = fitted
        wide = np.bincount(codes, size / np.exp(log_scale), n_environments) / rows
    s = (x - mean(parents)[:, 0]) * np.exp(-log_scale)
    rms = np.sqrt(np.bincount(codes, s**2, n_environments) / rows)
    rms = np.maximum(rms, np.finfo(np.float64).tiny)
    unit = float(np.log(rms[0]))
    mechanism = LocationScaleMap(
        mean,
        replace(function, intercept=function.intercept + unit),
        (bounds[0] + unit, bounds[1] + unit),
        SmoothedLaw.fit(s[codes == 0] / rms[0]),
    )
    return mechanism, rms / rms[0]
