"""Small pictures of clothes."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

_FOLDER = "/usr/share/datasets/fashion-mnist"
_PREFIX = {"train": "train", "test": "t10k"}
_SHAPE = (28, 28)
_N_IMAGES = {"train": 60_000, "test": 10_000}
# Of the contents: how a file was compressed does not matter.
_SHA256 = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_DESCR = """Fashion-MNIST, {subset}: {n_images} grey pictures of articles of clothing.

28 x 28 pixels each, flattened row by row, with intensities in [0, 1] (multiples of
1/255), the article bright on a dark ground. Ten kinds of article, equally frequent:
{names}.
Made by Zalando Research from the shop's own photographs, in the format of MNIST.
"""
_CITATION = (
    "H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for "
    "Benchmarking Machine Learning Algorithms, arXiv:1708.07747, 2017."
)


def load_fashion_mnist(subset="train", *, folder=None):
    """Fashion-MNIST: 28 by 28 pictures of clothes, of ten kinds (classification).

    The files are those of the Debian package ``dataset-fashion-mnist``; nothing is
    downloaded.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The first 60,000 pictures, the last 10,000, or both in this order.
    folder : str, path or None, default=None
        Where the four files ``*-ubyte.gz`` are; None is where the Debian package puts
        them, ``/usr/share/datasets/fashion-mnist``.

    Returns
    -------
    clothes : :class:`~sklearn.utils.Bunch`
        data : ndarray of shape (n_images, 784)
            One flattened picture a row, float32, intensities in [0, 1].
        target : ndarray of shape (n_images,)
            Kind of article, 0 to 9.
        images : ndarray of shape (n_images, 28, 28)
            The same numbers as ``data``, not copied.
        target_names : ndarray of shape (10,)
            Names of the kinds.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If a file is missing, with the command that installs it.
    ValueError
        If ``subset`` is unknown, or a file is not what it should be.

    Examples
    --------
    >>> from skident.datasets import load_fashion_mnist
    >>> clothes = load_fashion_mnist("test")  # doctest: +SKIP
    >>> clothes.data.shape, str(clothes.target_names[clothes.target[0]])
    ... # doctest: +SKIP
    ((10000, 784), 'Ankle boot')
    """
    if subset not in (*_PREFIX, "all"):
        raise ValueError(f"subset must be 'train', 'test' or 'all', got {subset!r}.")
    folder = Path(_FOLDER if folder is None else folder)
    parts = list(_PREFIX) if subset == "all" else [subset]
    n_pixels = _SHAPE[0] * _SHAPE[1]
    total = sum(_N_IMAGES[part] for part in parts)
    data, target = np.empty((total, n_pixels), dtype=np.float32), []
    low = 0
    for part in parts:
        high = low + _N_IMAGES[part]
        pixels = _contents(folder, f"{_PREFIX[part]}-images", 3)
        np.divide(pixels.reshape(-1, n_pixels), np.float32(255), out=data[low:high])
        target.append(_contents(folder, f"{_PREFIX[part]}-labels", 1))
        low = high
    return Bunch(
        data=data,
        target=np.concatenate(target).astype(np.int64),
        images=data.reshape(-1, *_SHAPE),
        target_names=np.array(_NAMES),
        DESCR=_DESCR.format(
            subset={"all": "all of it"}.get(subset, f"{subset} part"),
            n_images=total,
            names=", ".join(_NAMES),
        ),
        licence="MIT (Expat), Copyright 2017 Zalando SE",
        citation=_CITATION,
    )


def _contents(folder, name, n_dimensions):
    """The bytes of a file behind its header: a magic number and each dimension."""
    path = folder / f"{name}-idx{n_dimensions}-ubyte.gz"
    if not path.is_file():
        raise ImportError(
            f"load_fashion_mnist needs {path}, which is not there. The files come with "
            "the Debian package dataset-fashion-mnist: apt-get install "
            "dataset-fashion-mnist; or give the folder that has them."
        )
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    # Which also says that the header, and with it the shape, is the right one.
    if hashlib.sha256(content).hexdigest() != _SHA256[name]:
        raise ValueError(
            f"{path} differs from the file that this loader was written for."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + n_dimensions))
