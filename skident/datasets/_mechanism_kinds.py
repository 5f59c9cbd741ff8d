"""Mechanisms x = F(s, parents), increasing in the noise s, with exact inverses.

Each has ``value(s, parents)`` and ``noise(x, parents)``, its inverse in the first
argument; ``parents`` is of shape (n_samples, n_parents), the others (n_samples,).
"""

import numpy as np
from scipy.special import expit

_N_HIDDEN, _N_FOURIER = 10, 200


class LinearMean:
    """sum_k w_k x_k."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, parents):
        return parents @ self.weights


class TanhMean(LinearMean):
    """sum_k w_k (1.5 tanh x_k + 0.3 x_k)."""

    def __call__(self, parents):
        return (1.5 * np.tanh(parents) + 0.3 * parents) @ self.weights


class NetworkMean:
    """A random network: linear, PReLU, layer normalisation, linear.

    The weights are standard normal; the offsets are uniform between plus and minus one
    over the root of the number of inputs.
    """

    def __init__(self, n_parents, rng):
        self._layers = []
        for n_in, n_out in ((n_parents, _N_HIDDEN), (_N_HIDDEN, 1)):
            weights = rng.standard_normal((n_in, n_out))
            offsets = rng.uniform(-1.0, 1.0, n_out) / np.sqrt(n_in)
            self._layers.append((weights, offsets))

    def __call__(self, parents):
        (first, first_offsets), (second, second_offsets) = self._layers
        hidden = parents @ first + first_offsets
        hidden = np.where(hidden < 0, 0.25 * hidden, hidden)
        hidden -= hidden.mean(axis=1, keepdims=True)
        hidden /= np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-5)
        return (hidden @ second + second_offsets)[:, 0]


class FourierMean:
    """A Gaussian process of unit variance and kernel exp(-|x - x'|^2), approximated.

    200 random Fourier features make it one function for all environments, with
    derivatives of every order.
    """

    def __init__(self, n_parents, rng):
        # The spectral density of exp(-|x|^2) is normal with variance 2.
        self._frequencies = np.sqrt(2.0) * rng.standard_normal((n_parents, _N_FOURIER))
        self._phases = rng.uniform(0.0, 2.0 * np.pi, _N_FOURIER)
        self._amplitudes = np.sqrt(2.0 / _N_FOURIER) * rng.standard_normal(_N_FOURIER)

    def __call__(self, parents):
        return np.cos(parents @ self._frequencies + self._phases) @ self._amplitudes


class Root:
    """x = s."""

    def value(self, s, parents):
        """The noise itself."""
        return s

    noise = value


class Additive:
    """x = g(parents) + s."""

    def __init__(self, mean):
        self.mean = mean

    def value(self, s, parents):
        """x, from the noise."""
        return self.mean(parents) + s

    def noise(self, x, parents):
        """The noise, from x."""
        return x - self.mean(parents)


class PostNonlinear:
    """x = 1.5 asinh(g(parents) + s)."""

    def __init__(self, mean):
        self.mean = mean

    def value(self, s, parents):
        """x, from the noise."""
        return 1.5 * np.arcsinh(self.mean(parents) + s)

    def noise(self, x, parents):
        """The noise, from x."""
        return np.sinh(x / 1.5) - self.mean(parents)


class LocationScale:
    """x = g(parents) + s exp(0.6 tanh(v . parents))."""

    def __init__(self, mean, direction):
        self.mean = mean
        self.direction = direction

    def _scale(self, parents):
        return np.exp(0.6 * np.tanh(parents @ self.direction))

    def value(self, s, parents):
        """x, from the noise."""
        return self.mean(parents) + s * self._scale(parents)

    def noise(self, x, parents):
        """The noise, from x."""
        return (x - self.mean(parents)) / self._scale(parents)


class Cubic:
    """x = g + s exp(bend tanh(v . parents)) + cubic s^3 sigmoid(g), g = g(parents)."""

    def __init__(self, mean, direction, bend, cubic):
        self.mean = mean
        self.direction = direction
        self.bend = bend
        self.cubic = cubic

    def _coefficients(self, parents):
        g = self.mean(parents)
        slope = np.exp(self.bend * np.tanh(parents @ self.direction))
        # A bound that keeps the root below finite, and changes x by 1e-300 s^3.
        return g, slope, np.maximum(self.cubic * expit(g), 1e-300)

    def value(self, s, parents):
        """x, from the noise."""
        g, slope, cubic = self._coefficients(parents)
        return g + s * slope + cubic * s**3

    def noise(self, x, parents):
        """The noise, from x."""
        # With s = 2 t sinh(u), t = sqrt(slope / (3 cubic)), the cubic polynomial is
        # 2 t^3 cubic sinh(3 u) by the formula of the triple angle.
        g, slope, cubic = self._coefficients(parents)
        t = np.sqrt(slope / (3.0 * cubic))
        return 2.0 * t * np.sinh(np.arcsinh(1.5 * (x - g) / (slope * t)) / 3.0)


class SinhPair:
    """x = sinh(0.7 (s + 0.8 tanh p)) + 0.5 p, of one parent p."""

    def value(self, s, parents):
        """x, from the noise."""
        p = parents[:, 0]
        return np.sinh(0.7 * (s + 0.8 * np.tanh(p))) + 0.5 * p

    def noise(self, x, parents):
        """The noise, from x."""
        p = parents[:, 0]
        return np.arcsinh(x - 0.5 * p) / 0.7 - 0.8 * np.tanh(p)


class SoftplusPair:
    """x = 1.5 tanh p + softplus(s + 0.5 p) - softplus(-s + 0.2 p), of one parent p."""

    def value(self, s, parents):
        """x, from the noise."""
        p = parents[:, 0]
        return (
            1.5 * np.tanh(p)
            + np.logaddexp(0.0, s + 0.5 * p)
            - np.logaddexp(0.0, -s + 0.2 * p)
        )

    def noise(self, x, parents):
        """The noise, from x."""
        # exp(y) = (1 + exp(s + a)) / (1 + exp(b - s)) is a quadratic equation in exp(s)
        # which, after scaling by exp((y + b - a) / 2), is v - 1 / v = 2 sinh(log v).
        p = parents[:, 0]
        y = x - 1.5 * np.tanh(p)
        a, b = 0.5 * p, 0.2 * p
        return 0.5 * (y + b - a) + np.arcsinh(np.sinh(0.5 * y) * np.exp(-0.5 * (a + b)))


def draw_mechanism(kind, n_parents, rng):
    """A random mechanism of a kind of ``make_multi_env_scm``."""
    if n_parents == 0:
        return Root()
    if kind == "linear":
        return Additive(LinearMean(_signed(0.05, n_parents, rng)))
    if kind == "neural":
        return Additive(NetworkMean(n_parents, rng))
    if kind == "gp":
        return Additive(FourierMean(n_parents, rng))
    if kind == "bivariate_i":
        one = np.ones(n_parents)
        return Cubic(LinearMean(one), one, 0.25, 0.15)
    if kind == "bivariate_ii":
        return SinhPair()
    if kind == "bivariate_iii":
        return SoftplusPair()
    weights = _signed(0.5, n_parents, rng)
    mean = TanhMean(weights)
    if kind == "additive":
        return Additive(mean)
    if kind == "pnl":
        return PostNonlinear(mean)
    if kind == "lsnm":
        return LocationScale(mean, _signed(0.5, n_parents, rng))
    return Cubic(mean, weights, 0.3, 0.1)


def _signed(smallest, n, rng):
    """Uniform on -1 ... 1 without the middle."""
    return rng.choice([-1.0, 1.0], n) * rng.uniform(smallest, 1.0, n)
