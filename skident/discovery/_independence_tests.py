"""Kernel tests of conditional independence, by residuals of random features."""

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import chi2

from skident.discovery._kernel_ridge import SmoothRegression

_N_FEATURES = 5
_N_CENTRES = 100
_MEDIAN_ROWS = 500


def _features(x, rng):
    """Random features (n, 5) of a Gaussian kernel of median width."""
    gaps = pdist(x[:_MEDIAN_ROWS, None])
    width = np.median(gaps)
    width = width if width > 0 else max(gaps.max(), 1e-300)
    frequency = rng.standard_normal(_N_FEATURES) / width
    phase = rng.uniform(0.0, 2.0 * np.pi, _N_FEATURES)
    return np.sqrt(2.0) * np.cos((x - x.mean())[:, None] * frequency + phase)


def residual_products(x, y, given, rng):
    """Products (n, 25) of what features of x and y keep when others are known.

    Their mean is zero if x and y are independent given the others, up to the product
    of two regressions' errors.
    """
    both = np.hstack([_features(x, rng), _features(y, rng)])
    regression = SmoothRegression(given, rng, max_centres=_N_CENTRES)
    # One bandwidth, the median, for all: this many regressions are to be quick.
    bandwidth = regression.bandwidths[1] if regression.bandwidths else None
    _, left_out, _ = regression.fit(both, bandwidth=bandwidth)
    one, two = left_out[:, :_N_FEATURES], left_out[:, _N_FEATURES:]
    return (one[:, :, None] * two[:, None, :]).reshape(len(x), -1)


def independence_p_value(blocks, i, j, given, rng):
    """P-value that two nodes are independent given others, in every environment.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, d)
    i, j : int
    given : sequence of int
    rng : numpy.random.Generator

    Returns
    -------
    p_value : float
    """
    statistic, weights = 0.0, []
    for block in blocks:
        products = residual_products(block[:, i], block[:, j], block[:, given], rng)
        mean = products.mean(axis=0)
        statistic += len(block) * (mean @ mean)
        weights.append(np.linalg.eigvalsh(np.cov(products.T, bias=True)))
    return weighted_chi2_sf(statistic, np.concatenate(weights))


def weighted_chi2_sf(value, weights):
    """Upper tail of a sum of weighted chi-squared variables of one degree each.

    By the chi-squared law with the same mean, variance and skewness (Hall, Buckley
    and Eagleson), which errs by little where no single weight dominates.
    """
    first, second, third = (np.sum(weights**k) for k in (1, 2, 3))
    if second <= 0 or third <= 0:
        return 1.0
    degrees = second**3 / third**2
    z = (value - first) / np.sqrt(2.0 * second)
    return float(chi2.sf(degrees + z * np.sqrt(2.0 * degrees), degrees))
