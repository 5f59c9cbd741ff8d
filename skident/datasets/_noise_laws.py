"""Laws of exogenous noises, of zero mean and unit variance."""

import numpy as np
from scipy.special import expit, gammaln

_MLP_WIDTH = 10


def generalised_normal(exponent, n_samples, rng):
    """Draw from the density proportional to exp(-|x|^exponent), at unit variance.

    The exponent 1 is Laplace, 2 the normal law; infinity is the uniform one.
    """
    # |x| = Gamma(1/b)^(1/b), and Gamma(a) has the law of Gamma(a + 1) U^(1/a): the
    # product with a uniform sign is free of the underflow of small shapes.
    signed = rng.uniform(-1.0, 1.0, n_samples)
    if np.isinf(exponent):
        return signed * np.sqrt(3.0)
    radius = rng.standard_gamma(1.0 + 1.0 / exponent, n_samples)
    radius **= 1.0 / exponent
    log_variance = gammaln(3.0 / exponent) - gammaln(1.0 / exponent)
    signed *= radius
    signed *= np.exp(-0.5 * log_variance)
    return signed


class PushedNormal:
    """A normal variable through a random network with one hidden layer of sigmoids.

    Input weights and offsets are uniform on [-3, 3], output weights normal; the result
    is centred and scaled to unit variance.
    """

    def __init__(self, rng):
        self._input = rng.uniform(-3.0, 3.0, (2, _MLP_WIDTH))
        self._output = rng.standard_normal(_MLP_WIDTH)
        # The trapezoidal rule converges faster than any power of the step for these
        # analytic integrands; beyond 10 the normal weight is below 1e-22.
        grid = np.linspace(-10.0, 10.0, 4001)
        weight = np.exp(-0.5 * grid**2)
        weight /= weight.sum()
        values = self._push(grid)
        self._mean = weight @ values
        self._std = np.sqrt(weight @ (values - self._mean) ** 2)

    def _push(self, z):
        return expit(z[:, None] * self._input[0] + self._input[1]) @ self._output

    def __call__(self, n_samples, rng):
        """Draw ``n_samples`` values."""
        return (self._push(rng.standard_normal(n_samples)) - self._mean) / self._std


def noise_sampler(noise, gamma_shape, rng):
    """Function of (n_samples, rng) that draws from a law of zero mean and variance 1.

    Parameters
    ----------
    noise : {"gaussian", "gamma", "gumbel", "uniform", "mlp"}
    gamma_shape : float
        Shape of the gamma law.
    rng : RandomState
        Draws the network of "mlp"; the other laws take nothing from it.
    """
    if noise == "mlp":
        return PushedNormal(rng)
    if noise == "gamma":
        return lambda n, rng: (
            (rng.standard_gamma(gamma_shape, n) - gamma_shape) / np.sqrt(gamma_shape)
        )
    if noise == "gumbel":
        return lambda n, rng: (
            (rng.gumbel(size=n) - np.euler_gamma) * np.sqrt(6.0) / np.pi
        )
    if noise == "uniform":
        return lambda n, rng: rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), n)
    return lambda n, rng: rng.standard_normal(n)
