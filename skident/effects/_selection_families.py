"""Laws of the outcome given covariates and arm, and forms of the selection.

A family is what the likelihood of a selected sample asks of a law with one linear
predictor ``eta`` a row and a few shape parameters an arm: densities with their
derivatives, nodes that integrate against it, and its mean. Everything broadcasts:
``eta`` of shape (n, 1) goes with ``y`` of shape (n, k). Derivatives by shape
parameters stand on a new first axis.
"""

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.laguerre import laggauss
from numpy.polynomial.legendre import leggauss
from scipy.special import expit, log_expit, log_ndtr, logsumexp

_LOG_ROOT_TWO_PI = 0.5 * np.log(2.0 * np.pi)
# Spread over mean below which multiplicative noise is not let fall, where the mean
# crosses zero; in standard deviations of the outcome.
_FLOOR = 1e-3
# Of shape parameters in size; noise of exp(-15) outcomes' spread is none.
_LARGEST_LOG = 15.0


def log_selection(eta, form):
    """Logarithm of the probability of selection, and its derivative.

    Parameters
    ----------
    eta : ndarray
        Linear predictor.
    form : {"logistic", "probit", "exponential"}
        The last is the far tail of the first, and no probability where eta is
        positive; a factor in it makes no difference to selected rows.

    Returns
    -------
    value, slope : ndarray
    """
    if form == "logistic":
        return log_expit(eta), expit(-eta)
    if form == "exponential":
        return eta, np.ones_like(eta)
    value = log_ndtr(eta)
    return value, np.exp(-0.5 * eta**2 - _LOG_ROOT_TWO_PI - value)


class LocationScale:
    """``y = eta + sigma v`` for a standard noise v of mean zero.

    Parameters
    ----------
    n_quad : int
        Number of nodes.
    multiplicative : bool, default=False
        The noise is ``sigma |eta| v`` instead.
    """

    n_shape = 1
    barrier = False
    positive = False
    smooth = True

    def __init__(self, n_quad, multiplicative=False):
        self.n_quad, self.multiplicative = n_quad, multiplicative
        self.nodes_, self.log_weights_ = self._rule(n_quad)

    def spread(self, eta, shape):
        """Scale of the noise, and its logarithm's derivative by eta."""
        sigma = np.exp(shape[0])
        if not self.multiplicative:
            return sigma * np.ones_like(eta), np.zeros_like(eta)
        size = np.hypot(eta, _FLOOR)
        return sigma * size, eta / size**2

    def start(self, y, eta, weight):
        """Shape parameters to start from, given fitted means."""
        size = np.hypot(eta, _FLOOR) if self.multiplicative else 1.0
        v = (y - eta) / size
        sd = np.sqrt(np.average(v**2, weights=weight))
        return np.array([np.log(max(sd, 1e-6))]) + self._start_shift

    def log_density(self, y, eta, shape):
        """Log-density, and its derivatives by eta and by the shape parameters."""
        scale, slope = self.spread(eta, shape)
        v = (y - eta) / scale
        value, by_v = self._log_noise(v)
        by_log_scale = -1.0 - v * by_v
        return (
            value - np.log(scale),
            -by_v / scale + by_log_scale * slope,
            by_log_scale[None],
        )

    def nodes(self, eta, shape):
        """Nodes, log-weights, and derivatives of both.

        Returns
        -------
        y : ndarray of shape (n, k)
        log_weight : ndarray of shape (n, k) or (k,)
        by_eta : ndarray of shape (n, k)
            Derivative of each node.
        by_shape : ndarray of shape (n_shape, n, k)
        weight_by_shape : None or ndarray of shape (n_shape, k)
            Derivative of log-weights, None where they are fixed.
        """
        scale, slope = self.spread(eta[:, None], shape)
        away = scale * self.nodes_
        return (
            eta[:, None] + away,
            self.log_weights_,
            1.0 + away * slope,
            away[None],
            None,
        )

    def mean(self, eta, shape):
        """Mean, and its derivatives by eta and by the shape parameters."""
        return eta, np.ones_like(eta), np.zeros((self.n_shape, *eta.shape))

    def linear_start(self, y):
        """Outcome on whose scale eta starts from least squares."""
        return y

    @staticmethod
    def allowed(shape):
        """Whether shape parameters are in their domain."""
        return np.abs(shape).max() < _LARGEST_LOG

    def grid(self, eta, shape, n_grid):
        """Increasing outcomes that cover the law of each row, (n, n_grid)."""
        scale, _ = self.spread(eta[:, None], shape)
        return eta[:, None] + scale * self._reach * np.linspace(-1, 1, n_grid)


class Normal(LocationScale):
    """Normal noise."""

    _start_shift = 0.0
    _reach = 9.0

    @staticmethod
    def _rule(n_quad):
        z, w = hermegauss(n_quad)
        return z, np.log(np.maximum(w, 1e-300)) - _LOG_ROOT_TWO_PI

    @staticmethod
    def _log_noise(v):
        return -0.5 * v**2 - _LOG_ROOT_TWO_PI, -v


class Laplace(LocationScale):
    """Laplace noise; ``exp(shape[0])`` is the mean absolute deviation."""

    smooth = False
    _start_shift = -0.5 * np.log(2.0)
    _reach = 30.0

    @staticmethod
    def _rule(n_quad):
        z, w = laggauss(max(n_quad // 2, 1))
        log_w = np.log(np.maximum(w, 1e-300)) - np.log(2.0)
        return np.r_[-z[::-1], z], np.r_[log_w[::-1], log_w]

    @staticmethod
    def _log_noise(v):
        return -np.abs(v) - np.log(2.0), -np.sign(v)


class Mixture(LocationScale):
    """Mixture of normal noises of mean zero: logits of all but the first, then scales.

    Parameters
    ----------
    n_quad : int
        Number of nodes of each component.
    multiplicative : bool, default=False
    n_components : int, default=2
    """

    def __init__(self, n_quad, multiplicative=False, n_components=2):
        super().__init__(n_quad, multiplicative)
        self.n_components = n_components
        self.n_shape = 2 * n_components - 1

    _rule = staticmethod(Normal._rule)

    def _parts(self, shape):
        K = self.n_components
        logits = np.r_[0.0, shape[: K - 1]]
        log_share = logits - logsumexp(logits)
        # Derivative of the log-shares by all logits but the first.
        by_logit = (np.eye(K) - np.exp(log_share))[:, 1:]
        return log_share, by_logit, shape[K - 1 :]

    def start(self, y, eta, weight):
        size = np.hypot(eta, _FLOOR) if self.multiplicative else 1.0
        sd = np.sqrt(np.average(((y - eta) / size) ** 2, weights=weight))
        K = self.n_components
        ladder = np.linspace(-0.7, 0.5, K)
        return np.r_[np.zeros(K - 1), np.log(max(sd, 1e-6)) + ladder]

    def log_density(self, y, eta, shape):
        log_share, by_logit, log_scales = self._parts(shape)
        size, slope = self.spread(eta, np.zeros(1))
        v = (y - eta) / size
        parts = np.stack(
            [
                share - 0.5 * (v * np.exp(-ls)) ** 2 - ls - _LOG_ROOT_TWO_PI
                for share, ls in zip(log_share, log_scales, strict=True)
            ]
        )
        value = logsumexp(parts, axis=0)
        own = np.exp(parts - value)
        squares = np.stack([(v * np.exp(-ls)) ** 2 for ls in log_scales])
        by_scale = own * (squares - 1.0)
        by_v = -(own * np.stack([v * np.exp(-2 * ls) for ls in log_scales])).sum(axis=0)
        by_eta = -by_v / size + slope * by_scale.sum(axis=0)
        logits = np.tensordot(by_logit.T, own, axes=1)
        return value - np.log(size), by_eta, np.concatenate([logits, by_scale])

    def nodes(self, eta, shape):
        log_share, by_logit, log_scales = self._parts(shape)
        K, q = self.n_components, self.n_quad
        size, slope = self.spread(eta[:, None], np.zeros(1))
        away = size * np.concatenate([np.exp(ls) * self.nodes_ for ls in log_scales])
        which = np.repeat(np.arange(K), q)
        by_scale = [np.where(which == k, away, 0.0) for k in range(K)]
        zeros = [np.zeros_like(away)] * (K - 1)
        weight_by_shape = np.vstack([by_logit[which].T, np.zeros((K, K * q))])
        log_weights = np.tile(self.log_weights_, K) + log_share[which]
        return (
            eta[:, None] + away,
            log_weights,
            1.0 + away * slope,
            np.stack([*zeros, *by_scale]),
            weight_by_shape,
        )

    def grid(self, eta, shape, n_grid):
        size, _ = self.spread(eta[:, None], np.zeros(1))
        widest = np.exp(shape[self.n_components - 1 :].max())
        return eta[:, None] + 9.0 * widest * size * np.linspace(-1, 1, n_grid)


class LogNormal:
    """``log y ~ N(eta, sigma^2)``."""

    n_shape = 1
    barrier = False
    positive = True
    smooth = True

    def __init__(self, n_quad):
        self.nodes_, self.log_weights_ = Normal._rule(n_quad)

    def start(self, y, eta, weight):
        sd = np.sqrt(np.average((np.log(y) - eta) ** 2, weights=weight))
        return np.array([np.log(max(sd, 1e-6))])

    allowed = staticmethod(LocationScale.allowed)

    def linear_start(self, y):
        return np.log(y)

    def log_density(self, y, eta, shape):
        v = (np.log(y) - eta) * np.exp(-shape[0])
        value = -0.5 * v**2 - _LOG_ROOT_TWO_PI - shape[0] - np.log(y)
        return value, v * np.exp(-shape[0]), (v**2 - 1.0)[None]

    def nodes(self, eta, shape):
        away = np.exp(shape[0]) * self.nodes_
        y = np.exp(eta[:, None] + away)
        return y, self.log_weights_, y, (y * away)[None], None

    def mean(self, eta, shape):
        variance = np.exp(2 * shape[0])
        value = np.exp(eta + 0.5 * variance)
        return value, value, (value * variance)[None]

    def grid(self, eta, shape, n_grid):
        reach = 9.0 * np.exp(shape[0]) * np.linspace(-1, 1, n_grid)
        return np.exp(eta[:, None] + reach)


class Pareto:
    """``P(Y > y) = (y / low)^-a`` above ``low``, tail index ``1 + softplus(eta)``.

    Parameters
    ----------
    n_quad : int
    low : float
        The least outcome.
    """

    n_shape = 0
    barrier = False
    positive = True
    smooth = True

    def __init__(self, n_quad, low):
        u, w = leggauss(n_quad)
        # Of the survival function: outcomes are low * s^(-1/a).
        self.log_survival_ = np.log(0.5 * (1.0 - u))
        self.log_weights_ = np.log(0.5 * w)
        self.low = low

    @staticmethod
    def allowed(shape):
        return True

    @staticmethod
    def index(eta):
        """Tail index, and its derivative."""
        return 1.0 + np.logaddexp(0.0, eta), expit(eta)

    def start(self, y, eta, weight):
        return np.zeros(0)

    def linear_start(self, y):
        # The log-excess has mean 1/a; the constant of least squares on it, inverted.
        index = max(1.0 / max(np.mean(np.log(y / self.low)), 1e-6), 1.1)
        return np.full(len(y), np.log(np.expm1(min(index - 1.0, 30.0))))

    def log_density(self, y, eta, shape):
        a, slope = self.index(eta)
        excess = np.log(y / self.low)
        value = np.log(a) - np.log(self.low) - (a + 1.0) * excess
        value = np.where(excess >= 0, value, -np.inf)
        return value, (1.0 / a - excess) * slope, np.zeros((0, *np.shape(value)))

    def nodes(self, eta, shape):
        a, slope = self.index(eta[:, None])
        # Outcomes beyond any double are beyond any selection's range too.
        y = self.low * np.exp(np.minimum(-self.log_survival_ / a, 600.0))
        by_eta = y * self.log_survival_ / a**2 * slope
        return y, self.log_weights_, by_eta, np.zeros((0, *y.shape)), None

    def mean(self, eta, shape):
        soft, slope = np.logaddexp(0.0, eta), expit(eta)
        value = self.low * (1.0 + 1.0 / soft)
        return value, -self.low * slope / soft**2, np.zeros((0, *eta.shape))

    def grid(self, eta, shape, n_grid):
        a, _ = self.index(eta[:, None])
        return self.low * np.exp(30.0 / a * np.linspace(0, 1, n_grid))


class LogNormalNoise:
    """``y = eta + s (exp(omega z) - exp(omega^2 / 2))``, z normal; mean eta.

    Shape parameters are log s and log omega. The support begins at
    ``eta - s exp(omega^2 / 2)`` and so moves with the parameters.
    """

    n_shape = 2
    barrier = True
    positive = False
    smooth = True

    def __init__(self, n_quad, multiplicative=False):
        self.multiplicative = multiplicative
        self.nodes_, self.log_weights_ = Normal._rule(n_quad)

    spread = LocationScale.spread
    mean = LocationScale.mean
    linear_start = LocationScale.linear_start

    @staticmethod
    def allowed(shape):
        # A support that ends at one row, with a scale of zero, has no bound on its
        # likelihood; skewness is let up to that of exp(1.2 z), about 11.
        return abs(shape[0]) < _LARGEST_LOG and -7.0 < shape[1] < np.log(1.2)

    def start(self, y, eta, weight):
        size = np.hypot(eta, _FLOOR) if self.multiplicative else 1.0
        v = (y - eta) / size
        sd = np.sqrt(np.average(v**2, weights=weight))
        omega = 0.5
        # As far down as the lowest residual, with a margin.
        low = max(-v.min() * 1.1, 1e-6)
        while omega > 1e-3 and low > sd / np.sqrt(np.expm1(omega**2)):
            omega *= 0.8
        return np.log([low * np.exp(-0.5 * omega**2), omega])

    def log_support(self, y, eta, shape):
        """Log-distance from the support's end over s, and its derivatives."""
        scale, slope = self.spread(eta, shape)
        v = (y - eta) / scale
        variance = np.exp(2 * shape[1])
        inside = v + np.exp(0.5 * variance)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(inside > 0, np.log(inside), -np.inf)
            by_eta = (-1.0 / scale - v * slope) / inside
            by_shape = np.stack(
                [-v / inside, variance * np.exp(0.5 * variance) / inside]
            )
        return value, by_eta, by_shape

    def log_density(self, y, eta, shape):
        scale, slope = self.spread(eta, shape)
        log_in, in_eta, in_shape = self.log_support(y, eta, shape)
        precision = np.exp(-2 * shape[1])
        with np.errstate(invalid="ignore"):
            value = (
                -np.log(scale)
                - log_in
                - shape[1]
                - 0.5 * precision * log_in**2
                - _LOG_ROOT_TWO_PI
            )
            value = np.where(np.isfinite(log_in), value, -np.inf)
            by_in = -1.0 - precision * log_in
            by_shape = by_in * in_shape
            by_shape[0] -= 1.0
            by_shape[1] += precision * log_in**2 - 1.0
        return value, by_in * in_eta - slope, by_shape

    def nodes(self, eta, shape):
        scale, slope = self.spread(eta[:, None], shape)
        omega = np.exp(shape[1])
        up = np.exp(omega * self.nodes_)
        centre = np.exp(0.5 * omega**2)
        v = up - centre
        by_omega = omega * self.nodes_ * up - omega**2 * centre
        return (
            eta[:, None] + scale * v,
            self.log_weights_,
            1.0 + scale * slope * v,
            np.stack([scale * v, scale * by_omega]),
            None,
        )

    def grid(self, eta, shape, n_grid):
        scale, _ = self.spread(eta[:, None], shape)
        omega = np.exp(shape[1])
        up = np.exp(omega * 9.0 * np.linspace(-1, 1, n_grid))
        return eta[:, None] + scale * (up - np.exp(0.5 * omega**2))


class LomaxNoise:
    """``y = eta + s (L - 1 / (a - 1))``, L Lomax of tail index a; mean eta.

    Shape parameters are log s and log(a - 1). The density jumps where the support
    begins, at ``eta - s / (a - 1)``.
    """

    n_shape = 2
    barrier = True
    positive = False
    smooth = True

    def __init__(self, n_quad, multiplicative=False):
        self.multiplicative = multiplicative
        u, w = leggauss(n_quad)
        self.log_survival_ = np.log(0.5 * (1.0 - u))
        self.log_weights_ = np.log(0.5 * w)

    spread = LocationScale.spread
    mean = LocationScale.mean
    linear_start = LocationScale.linear_start

    @staticmethod
    def allowed(shape):
        # Tail indices from 2, of a finite variance, to 1000, hardly one at all.
        return abs(shape[0]) < _LARGEST_LOG and 0.0 < shape[1] < np.log(1e3)

    def start(self, y, eta, weight):
        size = np.hypot(eta, _FLOOR) if self.multiplicative else 1.0
        low = max(-((y - eta) / size).min() * 1.05, 1e-6)
        # The support begins at the scale over a - 1.
        return np.array([np.log(low) + 2.0, 2.0])

    def log_support(self, y, eta, shape):
        """Log-distance from the support's end over s, and its derivatives."""
        scale, slope = self.spread(eta, shape)
        v = (y - eta) / scale
        start = np.exp(-shape[1])
        inside = v + start
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(inside > 0, np.log(inside), -np.inf)
            by_eta = (-1.0 / scale - v * slope) / inside
            by_shape = np.stack([-v / inside, -start / inside])
        return value, by_eta, by_shape

    def log_density(self, y, eta, shape):
        scale, slope = self.spread(eta, shape)
        v = (y - eta) / scale
        start = np.exp(-shape[1])
        a = 1.0 + np.exp(shape[1])
        inside = v + start
        with np.errstate(invalid="ignore", divide="ignore"):
            log_one = np.log1p(np.maximum(inside, 0.0))
            value = np.log(a) - np.log(scale) - (a + 1.0) * log_one
            value = np.where(inside > 0, value, -np.inf)
            by_in = -(a + 1.0) / (1.0 + inside)
            by_eta = by_in * (-1.0 / scale - v * slope) - slope
            by_scale = -v * by_in - 1.0
            by_a = -start * by_in + (a - 1.0) * (1.0 / a - log_one)
        return value, by_eta, np.stack([by_scale, by_a])

    def nodes(self, eta, shape):
        scale, slope = self.spread(eta[:, None], shape)
        a = 1.0 + np.exp(shape[1])
        start = np.exp(-shape[1])
        up = np.exp(-self.log_survival_ / a)
        v = up - 1.0 - start
        by_a = (a - 1.0) * up * self.log_survival_ / a**2 + start
        return (
            eta[:, None] + scale * v,
            self.log_weights_,
            1.0 + scale * slope * v,
            np.stack([scale * v, scale * by_a]),
            None,
        )

    def grid(self, eta, shape, n_grid):
        scale, _ = self.spread(eta[:, None], shape)
        a = 1.0 + np.exp(shape[1])
        up = np.expm1(30.0 / a * np.linspace(0, 1, n_grid))
        return eta[:, None] + scale * (up - np.exp(-shape[1]))


FAMILIES = (
    "normal",
    "laplace",
    "lognormal",
    "pareto",
    "mixture",
    "lognormal_noise",
    "lomax_noise",
)
# Their noise can be made proportional to the mean.
_WITH_NOISE = {
    "normal": Normal,
    "laplace": Laplace,
    "mixture": Mixture,
    "lognormal_noise": LogNormalNoise,
    "lomax_noise": LomaxNoise,
}


def make_family(name, y, *, noise="additive", n_quad=32):
    """A family of laws for outcomes y.

    Parameters
    ----------
    name : one of ``FAMILIES``
    y : ndarray of shape (n,)
        Outcomes on the scale of the likelihood; "pareto" begins at their least.
    noise : {"additive", "multiplicative"}, default="additive"
        Of families with a noise; "lognormal" and "pareto" have their own.
    n_quad : int, default=32

    Returns
    -------
    family : object
    """
    if name == "lognormal":
        return LogNormal(n_quad)
    if name == "pareto":
        return Pareto(n_quad, float(y.min()))
    return _WITH_NOISE[name](n_quad, noise == "multiplicative")
