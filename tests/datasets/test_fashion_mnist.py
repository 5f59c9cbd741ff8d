"""The loader of the clothes, on small files of the same format and on the real ones."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from skident.datasets import _fashion_mnist, load_fashion_mnist

installed = pytest.mark.skipif(
    not Path(_fashion_mnist._FOLDER).is_dir(),
    reason="the Debian package dataset-fashion-mnist is not installed",
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of a few pictures, which the loader takes for the real ones."""
    rng = np.random.default_rng(0)
    sizes = {"train": 7, "test": 3}
    images, labels, hashes = {}, {}, {}
    for subset, n in sizes.items():
        prefix = _fashion_mnist._PREFIX[subset]
        images[subset] = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        labels[subset] = rng.integers(10, size=n, dtype=np.uint8)
        for kind, header, values in (
            ("images", struct.pack(">IIII", 2051, n, 28, 28), images[subset]),
            ("labels", struct.pack(">II", 2049, n), labels[subset]),
        ):
            content = header + values.tobytes()
            hashes[f"{prefix}-{kind}"] = hashlib.sha256(content).hexdigest()
            dimensions = {"images": 3, "labels": 1}[kind]
            name = f"{prefix}-{kind}-idx{dimensions}-ubyte.gz"
            (tmp_path / name).write_bytes(gzip.compress(content))
    monkeypatch.setattr(_fashion_mnist, "_N_IMAGES", sizes)
    monkeypatch.setattr(_fashion_mnist, "_SHA256", hashes)
    return tmp_path, images, labels


@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_pictures_and_labels_are_those_of_the_files(files, subset):
    folder, images, labels = files
    parts = ["train", "test"] if subset == "all" else [subset]
    wanted = np.concatenate([images[part] for part in parts])
    clothes = load_fashion_mnist(subset, folder=str(folder))
    assert clothes.data.dtype == np.float32
    np.testing.assert_array_equal(clothes.images, wanted / np.float32(255))
    np.testing.assert_array_equal(clothes.data, clothes.images.reshape(-1, 784))
    assert np.shares_memory(clothes.data, clothes.images)
    expected = np.concatenate([labels[part] for part in parts])
    np.testing.assert_array_equal(clothes.target, expected)
    assert clothes.target_names.shape == (10,)
    assert f"{len(wanted)} grey pictures" in clothes.DESCR
    assert "MIT" in clothes.licence and "1708.07747" in clothes.citation


def test_missing_files_name_the_package(files):
    folder, _, _ = files
    with pytest.raises(ImportError, match="apt-get install dataset-fashion-mnist"):
        load_fashion_mnist(folder=folder / "elsewhere")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ImportError, match=r"t10k-labels-idx1-ubyte\.gz, which is not"):
        load_fashion_mnist("test", folder=folder)
    load_fashion_mnist("train", folder=folder)


def test_other_files_are_refused(files):
    folder, _, _ = files
    path = folder / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        load_fashion_mnist(folder=folder)
    path.write_bytes(b"no such format")
    with pytest.raises(ValueError, match="cannot be read"):
        load_fashion_mnist(folder=folder)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-1] + b"x"))
    with pytest.raises(ValueError, match="differs from the file"):
        load_fashion_mnist(folder=folder)


def test_unknown_subset():
    with pytest.raises(ValueError, match="subset must be 'train', 'test' or 'all'"):
        load_fashion_mnist("validation")


@installed
def test_the_real_files():
    clothes = load_fashion_mnist("test")
    assert clothes.data.shape == (10_000, 784)
    np.testing.assert_array_equal(np.bincount(clothes.target), np.full(10, 1000))
    assert clothes.data.min() == 0 and clothes.data.max() == 1
    assert clothes.target_names[clothes.target[0]] == "Ankle boot"
