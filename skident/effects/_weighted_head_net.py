"""Heads and their weighted losses."""

import math

from torch import nn
from torch.nn import functional as F

# Filters of the two convolutions, and the side from which on they have size 5.
_FILTERS = (20, 50)
_LARGE_SIDE = 16


class Head(nn.Module):
    """Dense layers with ReLU between them, after two convolutions for images.

    Parameters
    ----------
    n_features, n_outputs : int
    hidden : sequence of int
    image_shape : tuple (channels, height, width) or None, default=None
        Rows are then images, flattened in this order.
    double : bool, default=False
        Whether to compute in float64.
    """

    def __init__(self, n_features, n_outputs, hidden, image_shape=None, double=False):
        super().__init__()
        self.config = {
            "n_features": n_features,
            "n_outputs": n_outputs,
            "hidden": tuple(hidden),
            "image_shape": None if image_shape is None else tuple(image_shape),
            "double": double,
        }
        layers, width = [], n_features
        if image_shape is not None:
            layers, width = convolutions(image_shape)
        for wide in hidden:
            layers += [nn.Linear(width, wide), nn.ReLU()]
            width = wide
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))
        if double:
            self.double()

    def forward(self, X, **batch):
        """Outputs (n, n_outputs) of rows; what else a batch holds is for the loss."""
        return self.layers(X)


def convolutions(image_shape):
    """Two convolutions, each with ReLU and pooling, and the width they end in.

    Filters of size 5 without padding, as published for digits of 28 by 28 pixels; of
    size 3 with padding where a side is shorter than 16.

    Parameters
    ----------
    image_shape : tuple (channels, height, width)

    Returns
    -------
    layers : list of torch.nn.Module
    width : int
    """
    n_channels, *sides = image_shape
    size, padding = (5, 0) if min(sides) >= _LARGE_SIDE else (3, 1)
    layers = [nn.Unflatten(1, tuple(image_shape))]
    for n_filters in _FILTERS:
        layers += [
            nn.Conv2d(n_channels, n_filters, size, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        n_channels = n_filters
        sides = [(side - size + 1 + 2 * padding) // 2 for side in sides]
    return [*layers, nn.Flatten()], n_channels * math.prod(sides)


class WeightedLoss(nn.Module):
    """Mean over rows of weight times loss; the weights are not normalised here.

    Parameters
    ----------
    loss : {"cross_entropy", "squared"}
    """

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, outputs, batch):
        """Loss of a batch with "y" and "sample_weight"."""
        return (batch["sample_weight"] * self.rows(outputs, batch["y"])).mean()

    def rows(self, outputs, y):
        """Loss of each row."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(outputs, y, reduction="none")
        return (outputs[:, 0] - y).square()
