"""Patches of the bundled photographs."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from skident.datasets import load_image_patches

pytest.importorskip("PIL")


@pytest.mark.parametrize("color", [False, True])
def test_each_row_is_the_patch_at_its_place(color):
    patches = load_image_patches(
        patch_shape=(5, 9), n_patches=300, color=color, random_state=0
    )
    assert patches.data.shape == (300, 5 * 9 * (3 if color else 1))
    assert patches.data.dtype == np.float32
    assert patches.data.flags.c_contiguous
    for row, (image, top, left) in zip(patches.data, patches.place, strict=True):
        cut = patches.images[image, top : top + 5, left : left + 9]
        np.testing.assert_array_equal(row.reshape(patches.patch_shape), cut)
    assert len(np.unique(patches.place, axis=0)) == 300
    assert set(patches.place[:, 0]) == {0, 1}


def test_values_are_those_of_scikit_learn():
    patches = load_image_patches("flower.jpg", n_patches=1, color=True)
    expected = load_sample_image("flower.jpg") / np.float32(255)
    np.testing.assert_allclose(patches.images[0], expected, rtol=2.0**-23)
    grey = load_image_patches("flower.jpg", n_patches=1)
    expected = expected @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.images[0], expected, atol=1e-6)


@pytest.mark.parametrize("color", [False, True])
def test_places_are_all_those_with_contrast(color):
    params = {"patch_shape": (40, 60), "color": color, "min_contrast": 0.33}
    with pytest.raises(ValueError, match="the number of places") as caught:
        load_image_patches("china.jpg", n_patches=10**9, **params)
    n_places = int(str(caught.value).split(" and ")[1].split(",")[0])
    patches = load_image_patches("china.jpg", n_patches=n_places, **params)
    # Brute force over a grid of places; float32 rounding of the intensities moves the
    # standard deviation by less than 1e-6.
    found = {tuple(place) for place in patches.place.tolist()}
    image = patches.images[0].astype(np.float64)
    n_checked = 0
    for top in range(0, 388, 6):
        for left in range(0, 581, 6):
            deviation = image[top : top + 40, left : left + 60].std()
            if abs(deviation - 0.33) > 1e-6:
                assert ((0, top, left) in found) == (deviation > 0.33)
                n_checked += deviation > 0.33
    assert n_checked > 10
    assert patches.data.std(axis=1, dtype=np.float64).min() >= 0.33 - 1e-6


def test_random_state():
    def places(seed):
        return load_image_patches(n_patches=50, random_state=seed).place

    np.testing.assert_array_equal(places(0), places(0))
    assert (places(0) != places(1)).any()


def test_zero_contrast_keeps_every_place():
    n_places = (427 - 7) * (640 - 7)
    with pytest.raises(ValueError, match=f"between 1 and {n_places}"):
        load_image_patches("china.jpg", n_patches=n_places + 1, min_contrast=0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image": "cat.jpg"}, "image must be"),
        ({"patch_shape": (0, 8)}, "patch_shape must lie"),
        ({"patch_shape": (8, 641)}, "patch_shape must lie"),
        ({"n_patches": 0}, "n_patches must lie"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        load_image_patches(**params)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'PIL.*"skident\[plot\]"'):
        load_image_patches()
