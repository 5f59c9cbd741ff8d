"""Polynomials in the covariates: a basis on a box, regression and logits on it."""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.special import expit


@dataclass(frozen=True)
class Box:
    """An axis-parallel box, which the basis maps to [-1, 1] a side.

    Parameters
    ----------
    centre, half : ndarray of shape (d,)
        Middle and half length of each side.
    """

    centre: np.ndarray
    half: np.ndarray

    @classmethod
    def around(cls, X, *, margin=0.0):
        """Smallest box with the rows of X, each side longer by a share ``margin``."""
        low, high = X.min(axis=0), X.max(axis=0)
        half = 0.5 * (high - low) * (1.0 + margin)
        # A constant column has no spread to divide by; its terms drop out as zeros.
        return cls(0.5 * (low + high), np.where(half > 0, half, 1.0))

    def scale(self, X):
        """X in units of the box."""
        return (X - self.centre) / self.half

    def unscale(self, U):
        """Rows of [-1, 1]^d, in units of X."""
        return self.centre + self.half * U


def exponents(d, degree):
    """Degrees in each variable of all terms up to a total degree, (n_terms, d).

    Terms are sorted by total degree, so that those of a lower degree come first.
    """
    rows = [np.zeros(d, dtype=int)]
    for total in range(1, degree + 1):
        for which in combinations_with_replacement(range(d), total):
            rows.append(np.bincount(which, minlength=d))
    return np.array(rows)


def n_terms(d, degree):
    """Number of terms up to a total degree."""
    count = 1
    for k in range(1, d + 1):
        count = count * (degree + k) // k
    return count


def design(U, degree):
    """Products of Legendre polynomials up to a total degree, at rows of [-1, 1]^d.

    Parameters
    ----------
    U : ndarray of shape (n, d)
    degree : int

    Returns
    -------
    ndarray of shape (n, n_terms)
        The constant first, then by total degree.
    """
    d = U.shape[1]
    tables = [legvander(U[:, j], degree) for j in range(d)]
    powers = exponents(d, degree)
    out = tables[0][:, powers[:, 0]]
    for j in range(1, d):
        out = out * tables[j][:, powers[:, j]]
    return out


def highest_degree(d, n, max_degree):
    """Largest degree up to ``max_degree`` whose terms are at most half of n rows."""
    degree = 1
    while degree < max_degree and 2 * n_terms(d, degree + 1) <= n:
        degree += 1
    return degree


def least_squares(B, y, weight):
    """Weighted least squares, the shortest of all solutions."""
    root = np.sqrt(weight)
    return np.linalg.lstsq(B * root[:, None], y * root, rcond=None)[0]


def choose_degree(U, y, weight, max_degree):
    """Degree of a polynomial regression that has the least BIC.

    Parameters
    ----------
    U : ndarray of shape (n, d)
    y, weight : ndarray of shape (n,)
    max_degree : int

    Returns
    -------
    int
    """
    n, d = U.shape
    limit = highest_degree(d, n, max_degree)
    B = design(U, limit)
    spread = np.sum(weight * (y - np.average(y, weights=weight)) ** 2)
    if spread <= 0:
        return 1
    total, best = weight.sum(), (np.inf, 1)
    for degree in range(1, limit + 1):
        k = n_terms(d, degree)
        rest = y - B[:, :k] @ least_squares(B[:, :k], y, weight)
        # Exact fits are all alike: below rounding no further term is bought.
        error = max(np.sum(weight * rest**2), 1e-20 * spread)
        best = min(best, (total * np.log(error / total) + k * np.log(total), degree))
    return best[1]


def logit(B, t, weight, *, ridge=1e-6, max_iter=100, tol=1e-12):
    """Coefficients of a logistic regression on the columns of B.

    Parameters
    ----------
    B : ndarray of shape (n, k)
        The first column is the constant, which is not penalised.
    t : ndarray of shape (n,)
        0 and 1.
    weight : ndarray of shape (n,)
    ridge : float, default=1e-6
        Penalty on the mean log-likelihood. It keeps separated arms finite.
    max_iter : int, default=100
    tol : float, default=1e-12
        Newton decrement, on the mean log-likelihood, at which to stop.

    Returns
    -------
    coef : ndarray of shape (k,)
    hessian : ndarray of shape (k, k)
        Minus the second derivative of the mean penalised log-likelihood.
    """
    share = weight / weight.sum()
    penalty = np.full(B.shape[1], ridge)
    penalty[0] = 0.0

    def loss(coef):
        eta = B @ coef
        fit = share @ (np.logaddexp(0.0, eta) - t * eta)
        return fit + 0.5 * penalty @ coef**2

    coef = np.zeros(B.shape[1])
    value = loss(coef)
    for _ in range(max_iter):
        p = expit(B @ coef)
        gradient = B.T @ (share * (t - p)) - penalty * coef
        hessian = (B.T * (share * p * (1 - p))) @ B + np.diag(penalty)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if gradient @ step <= tol:
            break
        size = 1.0
        while size > 1e-8 and loss(coef + size * step) > value:
            size *= 0.5
        coef = coef + size * step
        value = loss(coef)
    return coef, hessian
