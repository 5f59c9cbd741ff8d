"""Patches of fields: small boxes of the grid in which the equation is solved."""

from dataclasses import dataclass
from itertools import product

import numpy as np

# Gaps between nodes that agree to this share of their mean count as equal, so that
# all patches of an even grid share one system: far above rounding of stored
# coordinates, far below what a stencil's weights notice.
_EVEN = 1e-7


def every_few(patches, n):
    """Some patches evenly over all, as a slice: at least ``n`` where there are so many.

    Parameters
    ----------
    patches : sequence
    n : int

    Returns
    -------
    few : slice
    """
    return slice(None, None, max(len(patches) // n, 1))


@dataclass(frozen=True)
class Patch:
    """One box of nodes, with the data and the smooth field on it.

    Attributes
    ----------
    coordinates : list of ndarray
        Time first; each starts at 0. On an even axis they are multiples of the axis's
        mean step, the same for every patch.
    encoded : ndarray of shape (*shape, n_fields)
        The smooth field.
    data : ndarray of shape (*shape, n_fields)
        NaN where nothing was observed.
    experiment : int
    start : tuple of int
        Place of the first node in the experiment's grid.
    """

    coordinates: list
    encoded: np.ndarray
    data: np.ndarray
    experiment: int
    start: tuple

    @property
    def shape(self):
        """Nodes on each axis, time first."""
        return self.encoded.shape[:-1]

    @property
    def box(self):
        """Slices of the experiment's grid."""
        return tuple(
            slice(low, low + n) for low, n in zip(self.start, self.shape, strict=True)
        )


def patch_shape(shape, patch_size=None):
    """Nodes of a patch on each axis.

    Parameters
    ----------
    shape : tuple of int
        Of the grid, time first.
    patch_size : int, tuple of int or None, default=None
        ``None`` is 64 an axis with one axis of space, (8, 16, 16) with two. The values
        given on a patch's faces carry the error of the smooth field, and the smaller
        the patch the more of what it says comes from them.

    Returns
    -------
    size : tuple of int
        No larger than the grid.

    Raises
    ------
    ValueError
        If there is not one size an axis, or a size below 2.
    """
    if patch_size is None:
        patch_size = (64, 64) if len(shape) == 2 else (8, 16, 16)
    sizes = [patch_size] * len(shape) if np.ndim(patch_size) == 0 else list(patch_size)
    if len(sizes) != len(shape):
        raise ValueError(
            f"patch_size must have one entry for time and for each of "
            f"{len(shape) - 1} spatial axes, got {patch_size!r}."
        )
    if min(sizes) < 2:
        raise ValueError(f"patch_size must be at least 2 nodes, got {patch_size!r}.")
    return tuple(int(min(size, n)) for size, n in zip(sizes, shape, strict=True))


def make_patches(
    data, encoded, coordinates, *, patch_size=None, patch_stride=None, experiment=0
):
    """Cut a field into patches that cover it.

    Parameters
    ----------
    data, encoded : ndarray of shape (n_t, *grid_shape, n_fields)
        What was observed, NaN where nothing was, and the smooth field.
    coordinates : list of ndarray
        Time first.
    patch_size, patch_stride : int, tuple of int or None, default=None
        In nodes, time first. The stride is by default the size in time and half of it
        in space. A last patch along an axis ends with the axis, whatever the stride.
    experiment : int, default=0

    Returns
    -------
    patches : list of Patch
        In C order of their places, those without one observed entry of every field
        left out.
    """
    shape = data.shape[:-1]
    size = patch_shape(shape, patch_size)
    if patch_stride is None:
        stride = (size[0], *(max(n // 2, 1) for n in size[1:]))
    elif np.ndim(patch_stride) == 0:
        stride = (patch_stride,) * len(shape)
    else:
        stride = tuple(patch_stride)
    if len(stride) != len(shape) or min(stride) < 1:
        raise ValueError(
            f"patch_stride must have one entry of at least 1 for time and for each of "
            f"{len(shape) - 1} spatial axes, got {patch_stride!r}."
        )
    starts = [
        _starts(n, width, step)
        for n, width, step in zip(shape, size, stride, strict=True)
    ]
    steps = [_even_step(nodes) for nodes in coordinates]
    patches = []
    for start in product(*starts):
        box = tuple(slice(low, low + n) for low, n in zip(start, size, strict=True))
        seen = np.isfinite(data[box])
        if not seen.any(axis=tuple(range(len(shape)))).all():
            continue
        nodes = [
            axis[cut] - axis[cut.start] if step is None else step * np.arange(n)
            for axis, step, cut, n in zip(coordinates, steps, box, size, strict=True)
        ]
        patches.append(Patch(nodes, encoded[box], data[box], experiment, start))
    return patches


def stitch(patches, values, shape):
    """Put fields on patches together, weighted towards the middle of each patch.

    Parameters
    ----------
    patches : sequence of Patch
        Of one experiment.
    values : sequence of ndarray, each of its patch's shape
    shape : tuple of int
        Of the experiment's grid.

    Returns
    -------
    field : ndarray of shape ``shape``
        NaN where no patch reaches.
    """
    total, weight = np.zeros(shape), np.zeros(shape)
    for patch, value in zip(patches, values, strict=True):
        taper = np.ones(())
        for axis, n in enumerate(patch.shape):
            # Values on the faces in space and at the first time are given, not
            # solved for: they count least.
            place = np.arange(n)
            rise = place + 1.0 if axis == 0 else np.minimum(place, n - 1 - place) + 1.0
            taper = np.multiply.outer(taper, rise)
        total[patch.box] += taper * value
        weight[patch.box] += taper
    return np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0)


def _starts(n, width, step):
    starts = list(range(0, n - width + 1, step))
    if starts[-1] + width < n:
        starts.append(n - width)
    return starts


def _even_step(nodes):
    step = (nodes[-1] - nodes[0]) / (len(nodes) - 1)
    even = np.abs(np.diff(nodes) - step).max() <= _EVEN * step
    return float(step) if even else None
