"""Patches cover their field, share grids, and go together again."""

import numpy as np
import pytest

from skident.dynamics._pde_patches import make_patches, patch_shape, stitch
from skident.dynamics._pde_solve import patch_system


def grid(*shape, n_fields=1, seed=0):
    rng = np.random.default_rng(seed)
    axes = [0.1 * (i + 1) * np.arange(n) - 3.0 for i, n in enumerate(shape)]
    return rng.standard_normal((*shape, n_fields)), axes


def test_sizes_are_no_larger_than_the_grid():
    assert patch_shape((200, 300)) == (64, 64)
    assert patch_shape((200, 20)) == (64, 20)
    assert patch_shape((200, 64, 64)) == (8, 16, 16)
    assert patch_shape((200, 64, 10), 12) == (12, 12, 10)
    assert patch_shape((9, 9), (4, 5)) == (4, 5)


@pytest.mark.parametrize("size", [(4, 5, 6), (4,), 1, (8, 1)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="patch_size"):
        patch_shape((20, 20), size)


@pytest.mark.parametrize("stride", [0, (1, 2, 3), (4, 0)])
def test_strides_that_do_not_fit_are_refused(stride):
    field, axes = grid(10, 12)
    with pytest.raises(ValueError, match="patch_stride"):
        make_patches(field, field, axes, patch_size=4, patch_stride=stride)


@pytest.mark.parametrize("shape", [(21, 30), (9, 17, 18)])
def test_every_node_lies_in_a_patch_and_what_is_cut_goes_together_again(shape):
    field, axes = grid(*shape)
    patches = make_patches(field, field, axes, patch_size=8)
    whole = stitch(patches, [patch.data[..., 0] for patch in patches], shape)
    np.testing.assert_allclose(whole, field[..., 0], rtol=1e-12)
    assert all(patch.shape == patch.encoded.shape[:-1] for patch in patches)
    starts = [patch.start for patch in patches]
    assert len(set(starts)) == len(starts)


def test_strides_are_the_size_in_time_and_half_of_it_in_space():
    field, axes = grid(16, 16)
    starts = [p.start for p in make_patches(field, field, axes, patch_size=8)]
    assert starts == [(t, x) for t in (0, 8) for x in (0, 4, 8)]
    few = make_patches(field, field, axes, patch_size=8, patch_stride=8)
    assert [p.start for p in few] == [(0, 0), (0, 8), (8, 0), (8, 8)]


def test_where_no_patch_lies_nothing_is_said_and_overlaps_are_averages():
    field, axes = grid(8, 12)
    patches = make_patches(field, field, axes, patch_size=8, patch_stride=4)
    assert np.isnan(stitch(patches[:1], [np.ones((8, 8))], (8, 12))[:, 8:]).all()
    both = stitch(patches, [np.ones((8, 8)), np.full((8, 8), 2.0)], (8, 12))
    assert (both[:, :4] == 1.0).all()
    middle = both[:, 4:8]
    assert ((middle > 1.0) & (middle < 2.0)).all()
    # The nearer to the middle of a patch, the more it counts.
    assert (np.diff(middle, axis=1) > 0).all()


def test_even_grids_share_one_system_and_uneven_ones_do_not():
    field, axes = grid(64, 48)
    patches = make_patches(field, field, axes, patch_size=16)
    assert len({id(patch_system(patch)) for patch in patches}) == 1
    uneven = [axes[0], axes[1] ** 3]
    patches = make_patches(field, field, uneven, patch_size=16, patch_stride=16)
    assert len({id(patch_system(patch)) for patch in patches}) == 3
    for patch in patches:
        low = patch.start[1]
        nodes = uneven[1][low : low + 16]
        np.testing.assert_allclose(patch.coordinates[1], nodes - nodes[0])


def test_patches_without_data_of_a_field_are_left_out():
    field, axes = grid(16, 8, n_fields=2)
    gaps = field.copy()
    gaps[:8, :, 1] = np.nan
    gaps[9] = np.nan
    patches = make_patches(gaps, field, axes, patch_size=8)
    assert [patch.start for patch in patches] == [(8, 0)]
    assert np.isnan(patches[0].data).sum() == 16
