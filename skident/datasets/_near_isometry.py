"""A random map of known distortion, and the sources that go through it."""

import numpy as np

_SOURCES = ("uniform", "laplace", "mixed")


class LeakyMap:
    """Composition of semi-orthogonal maps with LeakyReLU in between.

    An orthogonal map keeps distances, and a LeakyReLU of slope s shrinks each
    coordinate of a difference by a factor in [s, 1]: with L maps, L - 1 of them
    followed by an activation, distances shrink by a factor in [s^(L - 1), 1].

    Parameters
    ----------
    weights : list of ndarray
        The first of shape (n_sources, n_features), with orthonormal rows; the others
        orthogonal, of shape (n_features, n_features).
    negative_slope : float
        Slope s of the activations below 0, in (0, 1].
    """

    def __init__(self, weights, negative_slope):
        self.weights = weights
        self.negative_slope = negative_slope

    @classmethod
    def draw(cls, n_sources, n_features, n_layers, negative_slope, rng):
        """Map with Haar random weights."""
        weights = [haar(n_features, rng)[:n_sources]]
        weights += [haar(n_features, rng) for _ in range(n_layers - 1)]
        return cls(weights, negative_slope)

    @property
    def lower(self):
        """Factor by which a distance shrinks at most."""
        return self.negative_slope ** (len(self.weights) - 1)

    def __call__(self, U):
        """Image of the rows of ``U``, of shape (n_samples, n_features)."""
        X = np.asarray(U, dtype=np.float64) @ self.weights[0]
        for weight in self.weights[1:]:
            X = np.where(X < 0, self.negative_slope * X, X) @ weight
        return X


def haar(n, rng):
    """Orthogonal matrix from the uniform distribution on the group."""
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    # QR alone favours some signs.
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def draw_sources(n_samples, n_sources, source, rng):
    """Independent sources of zero mean and unit variance, and the law of each."""
    if source == "mixed":
        kinds = [_SOURCES[j % 2] for j in range(n_sources)]
    else:
        kinds = [source] * n_sources
    columns = []
    for kind in kinds:
        if kind == "uniform":
            columns.append(rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), n_samples))
        else:
            columns.append(rng.laplace(scale=np.sqrt(0.5), size=n_samples))
    return np.column_stack(columns), kinds
