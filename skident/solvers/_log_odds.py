"""A smooth log-odds between two samples, and its gradient."""

import numpy as np
from scipy import linalg
from scipy.special import expit

from skident.solvers._random import generator

_MAX_ITER = 50
# Newton's decrement is half the loss still to be gained, in nats over all rows.
_MAX_DECREMENT = 1e-8


class LogOdds:
    """Estimated log-odds of two densities, which :func:`log_odds` returns.

    Attributes
    ----------
    coef : ndarray of shape (n_terms,)
        Of the constant, the coordinates, their products, and the Fourier features.
    frequencies : ndarray of shape (n_features, n_fourier)
    phases : ndarray of shape (n_fourier,)
    """

    def __init__(self, coef, frequencies, phases):
        self.coef = coef
        self.frequencies = frequencies
        self.phases = phases

    def value(self, Y):
        """Log of the ratio of the densities at the rows of ``Y``, of shape (n,)."""
        return _terms(np.asarray(Y, float), self.frequencies, self.phases) @ self.coef

    def gradient(self, Y):
        """Gradient of :meth:`value` at the rows of ``Y``, of their shape."""
        Y = np.asarray(Y, dtype=np.float64)
        r = Y.shape[1]
        linear = self.coef[1 : 1 + r]
        upper = np.zeros((r, r))
        upper[np.triu_indices(r)] = self.coef[1 + r : 1 + r + r * (r + 1) // 2]
        waves = self.coef[1 + r + r * (r + 1) // 2 :]
        slopes = -np.sin(Y @ self.frequencies + self.phases) * _amplitude(len(waves))
        return linear + Y @ (upper + upper.T) + (slopes * waves) @ self.frequencies.T


def log_odds(X, base, *, eta=1.0, bandwidth=1.0, n_fourier=200, random_state=None):
    """Log of the ratio of the densities of two samples, by logistic regression.

    Parameters
    ----------
    X, base : array-like of shape (n_samples, n_features) and (n_base, n_features)
        Rows of features of similar scale. They may differ in number: the odds are
        those of the densities.
    eta : float, default=1.0
        Ridge on all coefficients but the constant, in nats.
    bandwidth : float, default=1.0
        Width of the kernel that the Fourier features stand for, in ``sqrt(n_features)``
        pooled standard deviations.
    n_fourier : int, default=200
        Number of random Fourier features, beside all terms up to degree two.
    random_state : int, Generator, RandomState instance or None, default=None
        Draws the Fourier features.

    Returns
    -------
    odds : LogOdds

    Notes
    -----
    Newton's method on the penalised likelihood, with halved steps: O((n_samples +
    n_base) p^2 + p^3) an iteration for p terms.

    Examples
    --------
    >>> import numpy as np
    >>> from skident.solvers._log_odds import log_odds
    >>> rows = np.random.default_rng(0).standard_normal((4000, 1))
    >>> odds = log_odds(2 * rows, rows[::-1], random_state=0)  # 3/8 x^2 - log 2
    >>> bool(abs(odds.gradient([[1.0]]).item() - 0.75) < 0.1)
    True
    """
    X, base = np.asarray(X, dtype=np.float64), np.asarray(base, dtype=np.float64)
    both = np.concatenate([X, base])
    rng = generator(random_state)
    r = both.shape[1]
    scale = bandwidth * np.sqrt(r) * both.std(axis=0)
    frequencies = rng.standard_normal((r, n_fourier)) / scale[:, None]
    phases = rng.uniform(0, 2 * np.pi, n_fourier)
    terms = _terms(both, frequencies, phases)
    target = np.repeat([1.0, 0.0], [len(X), len(base)])
    ridge = np.full(terms.shape[1], float(eta))
    ridge[0] = 0.0
    offset = np.log(len(X) / len(base))
    coef = _newton(terms, target, ridge, offset)
    return LogOdds(coef, frequencies, phases)


def _terms(Y, frequencies, phases):
    i, j = np.triu_indices(Y.shape[1])
    waves = np.cos(Y @ frequencies + phases) * _amplitude(len(phases))
    return np.hstack([np.ones((len(Y), 1)), Y, Y[:, i] * Y[:, j], waves])


def _amplitude(n_fourier):
    return np.sqrt(2.0 / max(n_fourier, 1))


def _newton(terms, target, ridge, offset):
    def loss_of(coef, logits):
        fit = np.logaddexp(0.0, logits) - target * logits
        return fit.sum() + 0.5 * ridge @ np.square(coef)

    coef = np.zeros(terms.shape[1])
    logits = np.full(len(terms), offset)
    loss = loss_of(coef, logits)
    for _ in range(_MAX_ITER):
        p = expit(logits)
        gradient = terms.T @ (p - target) + ridge * coef
        hessian = (terms * (p * (1 - p))[:, None]).T @ terms
        hessian[np.diag_indices_from(hessian)] += ridge
        # Where the samples are told apart perfectly the constant's row vanishes: a
        # relative ridge at the level of rounding keeps the step finite.
        rounding = np.finfo(float).eps * len(ridge) * np.trace(hessian)
        hessian[np.diag_indices_from(hessian)] += rounding
        step = linalg.solve(hessian, gradient, assume_a="pos", check_finite=False)
        decrement = gradient @ step
        size, move = 1.0, terms @ step
        while size > 1e-6:
            trial = loss_of(coef - size * step, logits - size * move)
            if trial <= loss - 1e-4 * size * decrement:
                break
            size /= 2
        else:
            break
        coef, logits, loss = coef - size * step, logits - size * move, trial
        if decrement < _MAX_DECREMENT:
            break
    return coef
