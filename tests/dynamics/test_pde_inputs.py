"""Rows of snapshots as fields on grids: sorting, absent frames, coordinates, errors."""

import numpy as np
import pytest

from skident.dynamics._pde_equations import equation_strings, field_names
from skident.dynamics._pde_inputs import (
    check_grid,
    check_informative,
    check_spacing,
    make_experiments,
)


def experiments(X, trajectories=None, times=None, shape=None, n_fields=1, dt=0.5):
    shape = check_grid(X.shape[1], shape, n_fields)
    return make_experiments(
        X,
        trajectories,
        times,
        grid_shape=shape,
        n_fields=n_fields,
        space=check_spacing(1.0, shape),
        dt=dt,
    )


def frames(n=6, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width))


def test_rows_in_order_are_dt_apart():
    X = frames()
    (one,) = experiments(X)
    np.testing.assert_array_equal(one.coordinates[0], 0.5 * np.arange(6))
    np.testing.assert_array_equal(one.field[..., 0], X)


def test_columns_are_read_in_c_order_fields_last():
    X = frames(4, 24)
    (one,) = experiments(X, shape=(3, 4), n_fields=2)
    assert one.field.shape == (4, 3, 4, 2)
    assert one.field[2, 1, 3, 1] == X[2, (1 * 4 + 3) * 2 + 1]


def test_trajectories_are_sorted_apart_and_single_rows_left_out():
    X = frames(7)
    labels = np.array(["b", "a", "b", "a", "b", "c", "a"])
    times = np.array([3.0, 10.0, 1.0, 12.0, 2.0, 0.0, 11.0])
    a, b = experiments(X, labels, times)
    assert (a.label, b.label) == ("a", "b")
    np.testing.assert_array_equal(a.rows, [1, 6, 3])
    np.testing.assert_array_equal(b.field[..., 0], X[[2, 4, 0]])
    np.testing.assert_array_equal(b.coordinates[0], [0, 1, 2])


def test_absent_frames_of_regular_times_are_missing_rows():
    X = frames(5)
    times = 7.0 + 0.1 * np.array([0, 1, 2, 5, 6])
    (one,) = experiments(X, times=times)
    assert one.n_frames == 7
    np.testing.assert_array_equal(one.frames, [0, 1, 2, 5, 6])
    assert np.isnan(one.field[[3, 4]]).all()
    np.testing.assert_allclose(one.coordinates[0], 0.1 * np.arange(7), atol=1e-12)


@pytest.mark.parametrize(
    "times", [[0, 1, 2.3, 3, 4.1, 5], [0, 1e-3, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]
)
def test_other_times_stay_as_they_are(times):
    (one,) = experiments(frames(), times=np.array(times))
    np.testing.assert_array_equal(one.coordinates[0], times)


def test_a_gap_in_times_is_told_and_a_growing_step_is_not():
    times = np.array([0, 1, 2, 3.5, 400, 401])
    with pytest.warns(UserWarning, match="One step, of 396.5, is 264 times as long"):
        experiments(frames(), times=times)
    experiments(frames(), times=30.0 ** np.arange(6) / 2)


def test_dates_are_refused_with_what_is_wanted():
    times = np.datetime64("2020-01-01", "D") + np.arange(6)
    with pytest.raises(ValueError, match="times must be numbers, such as seconds"):
        experiments(frames(), times=times)


def test_spacing_is_a_step_or_coordinates():
    np.testing.assert_array_equal(check_spacing(0.5, (3,))[0], [0, 0.5, 1])
    x, y = check_spacing((0.5, [4.0, 5.0, 7.0]), (2, 3))
    np.testing.assert_array_equal(x, [0, 0.5])
    np.testing.assert_array_equal(y, [0, 1, 3])
    np.testing.assert_array_equal(check_spacing(np.r_[1.0, 2, 4], (3,))[0], [0, 1, 3])


@pytest.mark.parametrize(
    ("spacing", "shape", "message"),
    [
        (-1.0, (4,), "spacing must be positive and finite, got -1"),
        (np.nan, (4,), "spacing must be positive and finite"),
        ((1.0, 1.0), (4,), "one entry for each of 1 spatial axes, got 2"),
        (([0.0, 1, 1], 1.0), (3, 4), "coordinates of axis 0 must be finite and incr"),
        (([0.0, 1, 2], 1.0), (4, 4), r"shape \(3,\) for axis 0, which has 4 nodes"),
    ],
)
def test_wrong_spacing_is_refused(spacing, shape, message):
    with pytest.raises(ValueError, match=message):
        check_spacing(spacing, shape)


@pytest.mark.parametrize(
    ("n_features", "shape", "n_fields", "message"),
    [
        (7, None, 2, "n_features = 7 columns cannot hold n_fields = 2"),
        (8, (3, 3), 1, r"grid_shape = \(3, 3\) and n_fields = 1 make 9 columns"),
        (8, (2, 2, 2), 1, "one or two spatial axes"),
        (8, (4, 2.0), 1, "one or two spatial axes"),
        (8, (1, 8), 1, "at least 2 nodes on every spatial axis"),
        (1, None, 1, r"1 feature\(s\)"),
    ],
)
def test_unknown_grid_shape_is_refused(n_features, shape, n_fields, message):
    with pytest.raises(ValueError, match=message):
        check_grid(n_features, shape, n_fields)


def test_trajectories_of_one_row_each_are_refused():
    with pytest.raises(ValueError, match=r"has 1 sample, .* n_samples = 6"):
        experiments(frames(), np.arange(6))


def test_one_time_twice_is_refused():
    with pytest.raises(ValueError, match="times must be distinct within a traj"):
        experiments(frames(), times=[0, 1, 2, 2, 3, 4])


def test_constant_and_absent_fields_carry_no_information():
    X = frames(6, 16)
    X[:, 1::2] = np.arange(8)
    with pytest.raises(ValueError, match="Field v is constant in time and carries"):
        check_informative(experiments(X, n_fields=2), ["u", "v"])
    X[:, 1::2] = np.arange(6)[:, None]
    with pytest.raises(ValueError, match="Field v is constant in space and carries"):
        check_informative(experiments(X, n_fields=2), ["u", "v"])
    X[:, 1::2] = np.nan
    with pytest.raises(ValueError, match="Field v has no observed entry"):
        check_informative(experiments(X, n_fields=2), ["u", "v"])


def test_a_steady_experiment_beside_a_moving_one_is_no_error():
    X = np.concatenate([frames(3), np.tile(frames(1), (3, 1))])
    check_informative(experiments(X, [0, 0, 0, 1, 1, 1]), ["u"])


def test_equations_read_as_they_are_written():
    coef = np.array([[-0.99871234, 0.1, 2.0], [0.5, 0.0, -1e-5]])
    support = np.array([[True, True, False], [True, False, True]])
    names = [["u u_x", "u_xx", "1"], ["1", "v", "u"]]
    lines = equation_strings(["u", "v"], names, coef, support, precision=3)
    assert lines == ["u_t = -0.999 u u_x + 0.1 u_xx", "v_t = 0.5 - 1e-05 u"]
    empty = equation_strings(["u"], names[:1], coef[:1], support[:1] & False)
    assert empty == ["u_t = 0"]


def test_fields_have_letters_while_they_last():
    assert field_names(2) == ["u", "v"]
    assert field_names(4) == ["u0", "u1", "u2", "u3"]
