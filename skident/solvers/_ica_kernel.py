"""One pass over the rows: scores, their products and the loss of ICA, chunk by chunk.

For sources Y (rows y) a pass returns E[psi(y) y^T], E[psi'(y)] and the mean of the
negative log-density of each component, before the densities' signs come in.
"""

from typing import NamedTuple

import numpy as np

CHUNK_ROWS = 4096


class Pass(NamedTuple):
    """What one pass over the rows gives, for k components.

    Parameters
    ----------
    product : ndarray of shape (k, k)
        ``E[psi(y) y^T]``.
    slope : ndarray of shape (k,)
        ``E[psi'(y)]``.
    loss : ndarray of shape (k,)
        ``E[-log p(y)]`` of each component, up to a constant.
    square : ndarray of shape (k,)
        ``E[y^2]``.
    """

    product: np.ndarray
    slope: np.ndarray
    loss: np.ndarray
    square: np.ndarray


def scores(Y, fun):
    """Score, its derivative and the negative log-density of every entry.

    Parameters
    ----------
    Y : ndarray of shape (n, k)
        Sources.
    fun : {"tanh", "exp", "cube"}
        psi = tanh(y), y exp(-y^2 / 2) or y^3.

    Returns
    -------
    psi, slope, loss : ndarrays of shape (n, k)
        The antiderivatives are log cosh(y), -exp(-y^2 / 2) and y^4 / 4.
    """
    if fun == "tanh":
        size = np.abs(Y)
        decay = np.exp(-2.0 * size)
        psi = np.tanh(Y)
        return psi, 1.0 - psi * psi, size + np.log1p(decay) - np.log(2.0)
    square = Y * Y
    if fun == "exp":
        decay = np.exp(-0.5 * square)
        return Y * decay, (1.0 - square) * decay, -decay
    return Y * square, 3.0 * square, 0.25 * square * square


class Rows:
    """Whitened rows ``matrix @ (x - mean)``, made chunk by chunk from the data."""

    def __init__(self, X, mean, matrix):
        self.X, self.mean, self.matrix = X, mean, matrix
        self.n_samples, self.n_components = len(X), len(matrix)

    def sources(self, W):
        """Chunks of ``W @ z`` for the whitened rows z, in float64."""
        rotated = (W @ self.matrix).T
        for low in range(0, self.n_samples, CHUNK_ROWS):
            yield (self.X[low : low + CHUNK_ROWS] - self.mean) @ rotated

    def evaluate(self, W, fun):
        """A :class:`Pass` over the sources ``W @ z``."""
        return evaluate(self.sources(W), self.n_samples, self.n_components, fun)


def evaluate(chunks, n_samples, n_components, fun):
    """A :class:`Pass` over chunks of sources."""
    product = np.zeros((n_components, n_components))
    slope, loss, square = np.zeros((3, n_components))
    for Y in chunks:
        psi, derivative, value = scores(Y, fun)
        product += psi.T @ Y
        slope += derivative.sum(axis=0)
        loss += value.sum(axis=0)
        square += np.einsum("ij,ij->j", Y, Y)
    return Pass(*(part / n_samples for part in (product, slope, loss, square)))
