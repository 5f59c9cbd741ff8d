"""What networks are judged by shares nothing with what they were trained on."""

import numpy as np
import pytest

from skident.dynamics._mechanistic_pde_net import _split as split_patches
from skident.dynamics._ode_neural import _split as split_windows
from skident.dynamics._ode_operators import solve_groups
from skident.dynamics._pde_patches import make_patches
from skident.dynamics._windows import cut_windows, order_series


def windows(times, trajectories=None, window=20, stride=1):
    """Groups of windows, and the rows of all of them."""
    trajectories = np.zeros(len(times)) if trajectories is None else trajectories
    series = order_series(np.zeros((len(times), 1)), trajectories, times, 1.0)
    whole = solve_groups(cut_windows(series, window, stride), 2, 1)
    return whole, np.concatenate([group.group.rows for group in whole])


@pytest.mark.filterwarnings("ignore:Steps vary")
def test_windows_held_out_are_the_last_and_share_no_row():
    # The windows across the gap make a group of their own, behind all others.
    times = np.arange(300.0) + (np.arange(300) >= 100)
    whole, rows = windows(times, stride=4)
    assert len(whole) > 1
    train, held = split_windows(whole, 0.1)
    assert len(held) == int(0.1 * len(rows))
    assert rows[held].min() == np.sort(rows[:, 0])[-len(held)]
    assert rows[train].max() < rows[held].min()
    # No more is left out than must be.
    between = np.setdiff1d(np.arange(len(rows)), [*train, *held])
    assert (rows[between, -1] >= rows[held].min()).all()


def test_trajectories_that_are_held_out_cost_no_other_windows():
    whole, _ = windows(np.tile(np.arange(50.0), 2), np.repeat([0, 1], 50))
    train, held = split_windows(whole, 0.5)
    np.testing.assert_array_equal(train, np.arange(31))
    np.testing.assert_array_equal(held, np.arange(31, 62))


def test_windows_of_a_short_series_cannot_be_held_out():
    whole, rows = windows(np.arange(30.0))
    with pytest.raises(ValueError, match=r"validation_fraction=0.2 leaves no window"):
        split_windows(whole, 0.2)
    train, held = split_windows(whole, 0.01)
    assert len(train) == len(rows) and held is None


def film(n_frames=40, n_x=30, size=(10, 12), experiment=0):
    field = np.zeros((n_frames, n_x, 1))
    axes = [np.arange(float(n_frames)), np.arange(float(n_x))]
    return make_patches(field, field, axes, patch_size=size, experiment=experiment)


def test_patches_held_out_are_of_the_last_frames_and_share_none():
    patches = film(n_frames=44)
    train, held = split_patches(patches, 0.1)
    begins = np.array([patch.start[0] for patch in patches])
    # The last ones end with the film and reach back into those before.
    assert set(begins[held]) == {34} and set(begins[train]) == {0, 10, 20}
    assert held.sum() == (begins == 34).sum() >= 0.1 * len(patches)


def test_a_film_that_is_held_out_costs_no_other_patches():
    one, two = film(), film(experiment=1)
    train, held = split_patches(one + two, 0.5)
    np.testing.assert_array_equal(train, np.arange(len(one + two)) < len(one))
    np.testing.assert_array_equal(held, ~train)


def test_patches_of_one_time_cannot_be_held_out():
    patches = film(n_frames=10)
    with pytest.raises(ValueError, match=r"validation_fraction=0.5 leaves no patch"):
        split_patches(patches, 0.5)
    train, held = split_patches(patches, 0.01)
    assert train.all() and not held.any()
