"""Order of the nodes of a linear model, from regressions that do not change."""

import numpy as np

from skident.discovery._causal_order import Path, marginal_precisions, on_one_scale
from skident.discovery._scores import covariance_of, precision_of, regular_covariance


def invariance_order(blocks, *, given=None):
    """Order the nodes by removing sinks, whose regressions no environment changes.

    In a linear model a sink's regression on all other nodes has the coefficients of its
    mechanism, in every environment; only its error changes in size. For a node with
    children it is a compromise between their noises and its own, and changes with
    them. The least likelihood ratio of one regression against one an environment
    takes the sink.

    Parameters
    ----------
    blocks : list of E + 1 ndarrays of shape (n_e, d), float64
        Rows of each environment, base first; E >= 1.
    given : sequence of d ints or None, default=None
        An order to follow, for its criteria.

    Returns
    -------
    found : CausalOrder
        Its criterion is twice the log-likelihood ratio, which for a sink has a
        chi-squared law of E (r - 1) degrees of freedom, r the number of nodes that
        remain, in large samples and for noise of any law. An environment counts for
        r / 2 + 1 rows less than it has, as in Bartlett's correction for small samples.
    """
    blocks = on_one_scale(blocks, "standard")
    sizes = np.array([len(block) for block in blocks])
    covariances = np.stack([covariance_of(block) for block in blocks])
    return order_of_covariances(covariances, sizes, given=given)


def order_of_covariances(covariances, sizes, *, given=None):
    """As :func:`invariance_order`, from covariances (E + 1, d, d) of ``sizes`` rows."""
    sizes = np.asarray(sizes, dtype=np.float64)
    C = np.stack(
        [regular_covariance(C, n) for C, n in zip(covariances, sizes, strict=True)]
    )
    P = np.stack([precision_of(C, n) for C, n in zip(C, sizes, strict=True)])
    d = C.shape[1]
    path, remaining = Path(d, len(sizes) - 1, given), np.arange(d)
    while len(remaining):
        crit, own, shared = _ratios(C, P, sizes)
        coefficients = noise_coefficients(own, shared, sizes)
        k, remaining = path.remove(remaining, crit, *coefficients)
        C = np.delete(np.delete(C, k, axis=1), k, axis=2)
        P = marginal_precisions(P, k)
    return path.found()


def _ratios(C, P, sizes):
    """Likelihood ratio and both variances, (r, E + 1), of each node's errors."""
    r = C.shape[1]
    own = 1 / np.einsum("ejj->je", P)
    slopes = -np.einsum("ejk,je->jek", P, own)
    nodes = np.arange(r)
    slopes[nodes, :, nodes] = 0.0
    # Weighted least squares over environments. A node's own row and column are made
    # those of the identity, so that all nodes are one batch of equal size.
    weights = sizes / own
    normal = np.einsum("je,ekl->jkl", weights, C)
    right = np.einsum("je,ejk->jk", weights, C)
    right[nodes, nodes] = 0.0
    normal[nodes, nodes, :] = 0.0
    normal[nodes, :, nodes] = 0.0
    normal[nodes, nodes, nodes] = 1.0
    shared = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    gaps = slopes - shared[:, None]
    gaps[nodes, :, nodes] = 0.0
    excess = np.einsum("jek,ekl,jel->je", gaps, C, gaps, optimize=True)
    excess = np.maximum(excess, 0.0)
    return np.log1p(excess / own) @ rows_that_count(sizes, r), own, own + excess


def rows_that_count(sizes, n_nodes, n_curves=0):
    """Rows of each environment, corrected for small samples, (E + 1,)."""
    # At 50 rows and 20 nodes a test at 5 % would reject 20 % of the sinks, not 7 %.
    shares = sizes / sizes.sum()
    return np.maximum(sizes - n_nodes / 2 - 1 - n_curves * shares, 1.0)


def noise_coefficients(own, shared, sizes):
    """What variances of errors say of the noises of sinks.

    Parameters
    ----------
    own, shared : ndarray of shape (r, E + 1)
        Variances around one regression an environment, and around that of all.
    sizes : ndarray of shape (E + 1,)

    Returns
    -------
    directions : ndarray of shape (r, E)
        Unit vectors along the coefficients of the noises.
    strength : ndarray of shape (E, r)
        Root mean square of the score differences.
    """
    coefficients = 1 / own[:, :1] - 1 / own[:, 1:]
    length = np.linalg.norm(coefficients, axis=1, keepdims=True)
    directions = np.divide(
        coefficients, length, out=np.zeros_like(coefficients), where=length > 0
    )
    directions *= np.where(directions.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    error = np.sqrt(shared @ (sizes / sizes.sum()))
    return directions, (np.abs(coefficients) * error[:, None]).T
