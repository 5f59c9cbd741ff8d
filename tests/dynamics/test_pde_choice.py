"""Which patches a fit is made on."""

import numpy as np

from skident.dynamics._pde_choice import even_choice, informative_choice, library
from skident.dynamics._pde_patches import make_patches
from skident.dynamics._pde_terms import PDETerm, block_library


def patches_of(field, size=(8, 8)):
    axes = [0.1 * np.arange(n) for n in field.shape]
    field = field[..., None]
    return make_patches(field, field, axes, patch_size=size)


def test_all_patches_are_taken_where_there_are_few():
    patches = patches_of(np.random.default_rng(0).standard_normal((16, 16)))
    terms = block_library(1, 1, 1)
    assert informative_choice(patches, terms, 6) is patches
    assert even_choice(patches, 6) == patches


def test_an_even_choice_has_both_ends():
    chosen = even_choice(list(range(101)), 5)
    assert chosen == [0, 25, 50, 75, 100]


def test_the_columns_of_the_library_are_its_terms():
    t, x = 0.1 * np.arange(8), 0.1 * np.arange(8)
    (patch,) = patches_of(np.add.outer(t, x**2))
    terms = [PDETerm("source", (2,)), PDETerm("u_x", (1,)), PDETerm("u_xx")]
    (columns,) = library(patch, terms)
    u = np.add.outer(t, x**2).ravel()
    slope = np.tile(2 * x, 8)
    wanted = np.column_stack([u**2, u * slope, np.full(64, 2.0)])
    np.testing.assert_allclose(columns, wanted, atol=1e-10)


def test_a_rare_event_is_among_the_chosen_patches():
    # Flat but for one bump: only its patches separate u_xx from the rest.
    rng = np.random.default_rng(0)
    field = np.ones((160, 64)) + 1e-3 * rng.standard_normal((160, 64))
    t, x = np.meshgrid(np.arange(160), np.arange(64), indexing="ij")
    field += np.exp(-(((t - 90) / 3) ** 2) - ((x - 28) / 3.0) ** 2)
    patches = patches_of(field)
    chosen = informative_choice(patches, block_library(1, 1, 1), 20)
    assert len(chosen) == 20

    def holds_bump(patch):
        low, left = patch.start
        return low <= 90 < low + 8 and left <= 28 < left + 8

    assert sum(map(holds_bump, patches)) == 2
    assert all(
        any(patch is c for c in chosen) for patch in patches if holds_bump(patch)
    )
    # Half of them are elsewhere.
    assert sum(patch.encoded.max() < 1.1 for patch in chosen) >= 8
