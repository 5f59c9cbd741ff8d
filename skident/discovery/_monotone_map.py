"""Mechanisms of any monotone form in the noise, evaluated without torch."""

from dataclasses import dataclass

import numpy as np

from skident.discovery._noise_laws import NormalLaw

N_BUMPS = 8
# |b| stays below this: scales within a factor e^4 of the column's own.
LARGEST_LOG_SCALE = 4.0
_N_BISECTIONS = 60


def _softplus(v):
    return np.logaddexp(0.0, v)


@dataclass(frozen=True)
class MonotoneMap:
    """``s = a + exp(b) (x + sum_m softplus(w_m) tanh(softplus(u_m) x + v_m))``.

    a, b, w, u and v are functions of the parents, the outputs of a network with two
    hidden layers; x and parents are standardised.

    Parameters
    ----------
    mean, scale : float
        Standardisation of x.
    parent_mean, parent_scale : ndarray of shape (n_parents,)
    layers : tuple of (weight, bias)
        Of shapes (n_in, n_out) and (n_out,): two hidden layers and the outputs.
    slopes : ndarray of shape (n_parents,)
        A linear term of a in the parents.
    unit : float, default=1.0
        s is divided by it.
    """

    mean: float
    scale: float
    parent_mean: np.ndarray
    parent_scale: np.ndarray
    layers: tuple
    slopes: np.ndarray
    unit: float = 1.0

    law = NormalLaw()

    def _coefficients(self, parents):
        Z = (parents - self.parent_mean) / self.parent_scale
        hidden = Z
        for weight, bias in self.layers[:-1]:
            hidden = hidden @ weight + bias
            hidden = hidden / (1.0 + np.exp(-np.clip(hidden, -500.0, 500.0)))
        weight, bias = self.layers[-1]
        raw = hidden @ weight + bias
        a = raw[:, 0] + Z @ self.slopes
        b = LARGEST_LOG_SCALE * np.tanh(raw[:, 1] / LARGEST_LOG_SCALE)
        w, u, v = np.split(raw[:, 2:], 3, axis=1)
        return a, b, _softplus(w), _softplus(u), v

    def noise(self, x, parents):
        """Noise (n,) that makes ``x`` of its parents (n, n_parents)."""
        a, b, w, u, v = self._coefficients(parents)
        z = (x - self.mean) / self.scale
        bent = z + np.sum(w * np.tanh(u * z[:, None] + v), axis=1)
        return (a + np.exp(b) * bent) / self.unit

    def value(self, s, parents):
        """What noise (n,) and parents make, by bisection."""
        a, b, w, u, v = self._coefficients(parents)
        goal = (self.unit * s - a) * np.exp(-b)
        # All bumps together lie within +- sum(w): that brackets the root.
        reach = w.sum(axis=1)
        low, high = goal - reach, goal + reach
        for _ in range(_N_BISECTIONS):
            middle = 0.5 * (low + high)
            made = middle + np.sum(w * np.tanh(u * middle[:, None] + v), axis=1)
            above = made > goal
            high = np.where(above, middle, high)
            low = np.where(above, low, middle)
        return self.mean + self.scale * 0.5 * (low + high)

    def log_slope(self, x, parents):
        """Logarithm of the derivative of :meth:`noise` in ``x``."""
        _, b, w, u, v = self._coefficients(parents)
        z = (x - self.mean) / self.scale
        bends = w * u * (1.0 - np.tanh(u * z[:, None] + v) ** 2)
        return b + np.log1p(bends.sum(axis=1)) - np.log(self.scale * self.unit)

    def log_density(self, s):
        """Logarithm of the density of noise in the base environment."""
        return self.law.log_density(s)
