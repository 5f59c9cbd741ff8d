"""Five-point derivatives on the nodes of one axis, at any spacing."""

import math

import numpy as np

WIDTH = 5


class AxisStencil:
    """Rows that tie a field to its first two derivatives along one axis.

    Lengths are in units of the mean step, so that nothing here changes when the axis
    is stretched.

    Attributes
    ----------
    n : int
        Number of nodes.
    mean_step : float
        Mean distance of neighbours, in the units of the axis.
    nodes : ndarray of shape (n,)
        Coordinates, in mean steps from the first node.
    step : ndarray of shape (n,)
        Local step: mean of the gaps on either side.
    columns : ndarray of shape (n, k), int64
        Nodes of each stencil: the five nearest, fewer on a shorter axis.
    weights : ndarray of shape (n, 2, k)
        Weights of the first and the second derivative.
    """

    def __init__(self, coordinates):
        coordinates = np.asarray(coordinates, dtype=np.float64)
        self.n = n = len(coordinates)
        self.mean_step = (coordinates[-1] - coordinates[0]) / (n - 1)
        self.nodes = (coordinates - coordinates[0]) / self.mean_step
        self.gaps = np.diff(self.nodes)
        self.step = 0.5 * (
            np.r_[self.gaps[0], self.gaps] + np.r_[self.gaps, self.gaps[-1]]
        )
        k = min(WIDTH, n)
        first = np.clip(np.arange(n) - k // 2, 0, n - k)
        self.columns = first[:, None] + np.arange(k)
        offsets = self.nodes[self.columns] - self.nodes[:, None]
        self.weights = derivative_weights(offsets)

    def neighbours(self):
        """Both directions of every adjacent pair.

        Returns
        -------
        node, other : ndarrays of shape (2 n - 2,), int64
            Expanding about ``node`` must give the value at ``other``.
        """
        left = np.arange(self.n - 1)
        return np.r_[left, left + 1], np.r_[left + 1, left]


def derivative_weights(offsets):
    """Weights of the first and the second derivative at offset 0.

    Parameters
    ----------
    offsets : ndarray of shape (n, k)
        Distinct offsets of the nodes of each stencil.

    Returns
    -------
    weights : ndarray of shape (n, 2, k)
        Exact for polynomials of degree below k; with two nodes the second derivative
        is zero.
    """
    k = offsets.shape[1]
    power = np.arange(k)
    scale = np.array([math.factorial(p) for p in power], dtype=np.float64)
    moments = offsets[:, None, :] ** power[:, None] / scale[:, None]
    target = np.zeros((len(offsets), k, 2))
    target[:, 1, 0] = 1.0
    if k > 2:
        target[:, 2, 1] = 1.0
    return np.linalg.solve(moments, target).transpose(0, 2, 1)
