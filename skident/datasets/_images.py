"""Patches of the photographs that scikit-learn brings along."""

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.utils import Bunch, check_random_state

from skident.utils._optional import import_optional

_NAMES = ("china.jpg", "flower.jpg")
_LUMA = np.array([0.299, 0.587, 0.114])
_DESCR = """Patches of two photographs.

{n_patches} patches of {height} x {width} pixels{channels}, drawn without replacement
from all places in {images} where the standard deviation of the patch
is at least {min_contrast}. Values are intensities in [0, 1], flattened row by row;
nothing is subtracted. The photographs are those of sklearn.datasets.load_sample_images.
"""
_LICENCE = (
    "CC-BY-2.0; china.jpg by danielbuechele, flower.jpg by vultilion, both on Flickr"
)
_CITATION = (
    "F. Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011: "
    "load_sample_images."
)


def load_image_patches(
    image="both",
    *,
    patch_shape=(8, 8),
    n_patches=10_000,
    color=False,
    min_contrast=0.03,
    random_state=None,
):
    """Patches of scikit-learn's two photographs: natural image statistics, at no cost.

    Parameters
    ----------
    image : {"both", "china.jpg", "flower.jpg"}, default="both"
        The photographs, 427 by 640 pixels each.
    patch_shape : tuple of two int, default=(8, 8)
        Height and width of a patch, in pixels.
    n_patches : int, default=10_000
        Number of patches, drawn without replacement. They may overlap.
    color : bool, default=False
        Keep red, green and blue; else the patches are grey (luma of ITU-R BT.601).
    min_contrast : float, default=0.03
        Smallest standard deviation of a patch, over its pixels (and channels), with
        intensities in [0, 1]. Patches of clear sky are compression noise: an estimator
        that scales each row to unit length would learn that noise. 0 keeps all.
    random_state : int, RandomState instance or None, default=None
        Draws the places.

    Returns
    -------
    patches : :class:`~sklearn.utils.Bunch`
        data : ndarray of shape (n_patches, n_features)
            One flattened patch a row, float32, intensities in [0, 1]; `n_features` is
            height x width, times 3 with `color` (channel last).
        place : ndarray of shape (n_patches, 3)
            Number of the image in `images`, row and column of the upper left pixel.
        images : ndarray of shape (n_images, 427, 640) or (n_images, 427, 640, 3)
            The photographs the patches were cut from.
        patch_shape : tuple of int
            Shape of one patch: ``data[i].reshape(patch_shape)``.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If Pillow, which reads the photographs, is missing.
    ValueError
        If a parameter is out of range, or fewer than `n_patches` places have the
        contrast asked for.

    Examples
    --------
    >>> from skident.datasets import load_image_patches
    >>> patches = load_image_patches("flower.jpg", n_patches=100, random_state=0)
    >>> patches.data.shape, patches.data.dtype
    ((100, 64), dtype('float32'))
    """
    import_optional("PIL", extra="plot", purpose="load_image_patches")
    if image != "both" and image not in _NAMES:
        raise ValueError(f"image must be 'both' or one of {_NAMES}, got {image!r}.")
    names = _NAMES if image == "both" else (image,)
    sample = load_sample_images()
    images = np.stack([sample.images[_NAMES.index(name)] for name in names]) / 255.0
    if not color:
        images = images @ _LUMA
    height, width = patch_shape
    if not (1 <= height <= images.shape[1] and 1 <= width <= images.shape[2]):
        raise ValueError(
            f"patch_shape must lie between (1, 1) and {images.shape[1:3]}, got "
            f"{patch_shape!r}."
        )
    places = np.flatnonzero(_contrast(images, height, width) >= min_contrast)
    if not 1 <= n_patches <= len(places):
        raise ValueError(
            f"n_patches must lie between 1 and {len(places)}, the number of places "
            f"with min_contrast={min_contrast}; got {n_patches}."
        )
    rng = check_random_state(random_state)
    drawn = rng.choice(len(places), size=n_patches, replace=False)
    grid = (len(images), images.shape[1] - height + 1, images.shape[2] - width + 1)
    place = np.column_stack(np.unravel_index(places[drawn], grid))
    images = images.astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(
        images, (height, width), axis=(1, 2)
    )
    data = windows[tuple(place.T)]
    if color:
        data = np.moveaxis(data, 1, -1)
    return Bunch(
        data=np.ascontiguousarray(data.reshape(n_patches, -1)),
        place=place,
        images=images,
        patch_shape=data.shape[1:],
        DESCR=_DESCR.format(
            n_patches=n_patches,
            height=height,
            width=width,
            channels=" and 3 colours" if color else ", grey",
            images=" and ".join(names),
            min_contrast=min_contrast,
        ),
        licence=_LICENCE,
        citation=_CITATION,
    )


def _contrast(images, height, width):
    """Standard deviation of the patch at each place, (n_images, n_rows, n_columns)."""

    def window_mean(values):
        # Differences of running sums: exact to rounding at intensities up to 1.
        sums = np.pad(values, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
        inner = sums[:, height:, width:] - sums[:, :-height, width:]
        outer = sums[:, height:, :-width] - sums[:, :-height, :-width]
        return (inner - outer) / (height * width)

    channels = images if images.ndim == 4 else images[..., None]
    mean = window_mean(channels.mean(axis=-1))
    square = window_mean((channels**2).mean(axis=-1))
    return np.sqrt(np.maximum(square - mean**2, 0.0))
