"""Images of a square, a smooth function of four factors."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skident.utils._sklearn import Interval, validate_parameter_constraints

_NAMES = ("x", "y", "side", "intensity")
_CHUNK = 1024
_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "size": [Interval(Integral, 8, None, closed="left")],
    "n_levels": [Interval(Integral, 2, None, closed="left"), None],
    "random_state": ["random_state"],
}


def make_square_images(n_samples, size=32, *, n_levels=None, random_state=None):
    """Draw images of one bright square on a dark ground, and what made them.

    Pixels hold the share of their area that the square covers, times its intensity.
    Moving the square by a fraction of a pixel changes the image, and by as much
    everywhere: for translations the map from factors to images has constant speed, as
    an autoencoder that is to recover the factors needs it [1]_.

    Parameters
    ----------
    n_samples : int
        Number of images.
    size : int, default=32
        Height and width of an image, in pixels; at least 8.
    n_levels : int or None, default=None
        Number of evenly spaced values of each factor; None draws them from intervals.
        Metrics that want discrete factors need it.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    data : Bunch
        With the fields

        X : ndarray of shape (n_samples, size * size), float32
            Images, one flattened a row, in [0, 1].
        images : ndarray of shape (n_samples, size, size), float32
            The same as images, row by row from the top; a view of ``X``.
        factors : ndarray of shape (n_samples, 4)
            Independent uniform factors: position x (to the right) and y (down) of the
            centre and length of the side, in pixels; intensity, in [0, 1].
        factor_names : list of str
            "x", "y", "side" and "intensity".
        ranges : ndarray of shape (4, 2)
            Smallest and largest value of each factor; no square leaves the image.
        labels : ndarray of int of shape (n_samples, 4)
            Level of each factor, from 0. Only with ``n_levels``.
        decode : callable
            From factors (n, 4) to images (n, size * size), in float64; it pickles.
        DESCR : str
            How the data were made.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    .. [1] Nelson, Fumero, Karaletsos and Locatello, "Statistical and structural
       identifiability in representation learning", ICLR 2026.

    Examples
    --------
    >>> from skident.datasets import make_square_images
    >>> data = make_square_images(10, size=16, random_state=0)
    >>> data.images.shape, data.factors.shape
    ((10, 16, 16), (10, 4))
    >>> side, intensity = data.factors[:, 2:].T
    >>> np.allclose(data.X.sum(axis=1), intensity * side**2)
    True
    """
    parameters = dict(locals())
    validate_parameter_constraints(
        _CONSTRAINTS, parameters, caller_name="make_square_images"
    )
    rng = check_random_state(random_state)
    largest = 3 * size / 8
    position = (largest / 2, size - largest / 2)
    ranges = np.array([position, position, (size / 8, largest), (0.25, 1.0)])
    fields = {}
    if n_levels is None:
        unit = rng.uniform(size=(n_samples, 4))
    else:
        fields["labels"] = rng.randint(n_levels, size=(n_samples, 4))
        unit = fields["labels"] / (n_levels - 1)
    factors = ranges[:, 0] + unit * (ranges[:, 1] - ranges[:, 0])
    decode = SquareRenderer(size)
    X = np.empty((n_samples, size * size), dtype=np.float32)
    for start in range(0, n_samples, _CHUNK):
        X[start : start + _CHUNK] = decode(factors[start : start + _CHUNK])
    levels = "" if n_levels is None else f", each at one of {n_levels} levels"
    return Bunch(
        X=X,
        images=X.reshape(n_samples, size, size),
        factors=factors,
        factor_names=list(_NAMES),
        ranges=ranges,
        decode=decode,
        DESCR=(
            f"Anti-aliased squares in images of {size} x {size} pixels, from four "
            f"independent uniform factors ({', '.join(_NAMES)}){levels}."
        ),
        **fields,
    )


class SquareRenderer:
    """Renders squares, by the exact area of each pixel that they cover.

    Parameters
    ----------
    size : int
        Height and width of an image, in pixels.
    """

    def __init__(self, size):
        self.size = size

    def __call__(self, factors):
        """Images (n, size * size) of factors (n, 4): x, y, side, intensity."""
        x, y, side, intensity = np.asarray(factors, dtype=np.float64).T
        across, down = (self._cover(at - side / 2, at + side / 2) for at in (x, y))
        images = (intensity[:, None] * down)[:, :, None] * across[:, None, :]
        return images.reshape(len(images), -1)

    def _cover(self, start, stop):
        """Length of each unit interval that [start, stop] covers."""
        left = np.arange(self.size)
        overlap = np.minimum(stop[:, None], left + 1) - np.maximum(start[:, None], left)
        return np.maximum(overlap, 0.0)
