"""Order of the nodes without environments to compare, for additive noise models."""

import numpy as np
from joblib import Parallel, delayed

from skident.discovery._causal_order import Path, on_one_scale, thinned
from skident.solvers import stein_hessian_diagonal


def leaf_order(
    blocks, *, eta=0.3, bandwidth=1.0, max_kernel_samples=2000, n_jobs=None, rng=None
):
    """Order the nodes by removing leaves of constant curvature (SCORE).

    In a nonlinear model with additive Gaussian noise the second derivative of the
    log-density by a node's own coordinate is constant if and only if it is a leaf [1]_.

    Parameters
    ----------
    blocks : list of ndarray of shape (n_e, d), float64
        Rows of each environment; variances are summed over environments, each relative
        to the mean over nodes.
    eta, bandwidth : float
        Of the Stein estimator; "cv" is 0.3 here.
    max_kernel_samples : int, default=2000
    n_jobs : int or None, default=None
    rng : numpy.random.Generator or None, default=None

    Returns
    -------
    found : CausalOrder
        With empty directions: nothing is told about noises.

    References
    ----------
    .. [1] Rolland et al., "Score matching enables causal discovery of nonlinear
       additive noise models", ICML 2022, arXiv:2203.04413.
    """
    rng = np.random.default_rng(rng)
    eta = 0.3 if eta == "cv" else eta
    # The rule is for additive noise, which only linear maps of a column keep.
    blocks = on_one_scale(blocks, "standard")
    blocks = thinned(blocks, max_kernel_samples, rng)
    d = blocks[0].shape[1]
    path, remaining = Path(d, 0), np.arange(d)
    while len(remaining):
        variances = np.stack(
            Parallel(n_jobs=n_jobs)(
                delayed(_variances)(block[:, remaining], eta, bandwidth)
                for block in blocks
            )
        )
        means = variances.mean(axis=1, keepdims=True)
        crit = (variances / np.where(means > 0, means, 1.0)).sum(axis=0)
        nothing = np.zeros((len(remaining), 0))
        _, remaining = path.remove(remaining, crit, nothing, nothing.T)
    return path.found(eta=eta, n_kernel_rows=tuple(map(len, blocks)))


def _variances(rows, eta, bandwidth):
    if np.ptp(rows, axis=0).max() == 0:
        # A column that is constant in one of two environments has no density.
        return np.zeros(rows.shape[1])
    return stein_hessian_diagonal(rows, eta=eta, bandwidth=bandwidth).var(axis=0)
