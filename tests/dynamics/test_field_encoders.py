"""Smooth fields: what is kept exactly, how noise falls, gaps, cut-offs, rows."""

import numpy as np
import pytest

from skident.dynamics._field_encoders import encode_field, encode_rows, noise_level
from skident.dynamics._field_gaps import fill_gaps
from skident.dynamics._field_modes import mode_basis

T, X = np.linspace(0.0, 2.0, 40), np.linspace(0.0, 3.0, 50)


def smooth_field(t=T, x=X):
    """A line and a parabola in time times half a wave in space, in the span."""
    place = (x - x[0] + 0.5 * (x[1] - x[0])) / (len(x) * (x[1] - x[0]))
    time = 1.0 + 0.5 * t - 0.3 * t**2
    return np.multiply.outer(time, 1.0 + np.cos(2 * np.pi * place))[..., None]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("n", [2, 3, 40, 41])
def test_modes_are_orthonormal_and_complete(n, periodic):
    basis, orders = mode_basis(np.linspace(0.0, 1.0, n), periodic)
    np.testing.assert_allclose(basis.T @ basis, np.eye(n), atol=1e-12)
    assert len(orders) == n
    assert (np.diff(orders) >= 0).all()


def test_slopes_at_the_ends_are_free_on_uneven_nodes_too():
    nodes = np.sort(np.random.default_rng(0).uniform(0, 1, 30))
    basis, orders = mode_basis(nodes)
    low = basis[:, orders <= 1]
    parabola = 2.0 - nodes + 3.0 * nodes**2
    np.testing.assert_allclose(low @ (low.T @ parabola), parabola, atol=1e-12)


def test_what_lies_in_the_modes_is_kept_to_rounding():
    field = smooth_field()
    found = encode_field(field, [T, X], cutoff=(2, 4))
    np.testing.assert_allclose(found.field, field, atol=1e-12)
    assert found.cutoff == [(2.0, 4.0)]


def test_waves_of_the_period_are_kept_where_space_closes():
    x = np.arange(50) * 0.1
    field = np.multiply.outer(1.0 + T, np.sin(2 * np.pi * x / 5.0))[..., None]
    found = encode_field(field, [T, x], cutoff=(2, 2.5), periodic=True)
    np.testing.assert_allclose(found.field, field, atol=1e-12)


@pytest.mark.parametrize("encoder", ["dct", "savgol"])
def test_noise_is_taken_off_and_measured(encoder):
    field = smooth_field()
    noisy = field + 0.1 * np.random.default_rng(1).standard_normal(field.shape)
    found = encode_field(noisy, [T, X], encoder=encoder)
    # The median of 1,656 differences, correlated over nine nodes an axis: what 200
    # independent ones tell, 1.17 / sqrt(200) = 8 %.
    assert found.noise[0] == pytest.approx(0.1, rel=0.2)
    assert found.ratio[0] == pytest.approx(1.0, abs=0.2)
    error = np.sqrt(np.mean((found.field - field) ** 2))
    # Ten modes of 2,000 would leave 0.007; windows of five an axis 0.05.
    assert error < (0.02 if encoder == "dct" else 0.05)


def test_the_error_falls_with_the_root_of_the_number_of_nodes():
    rng = np.random.default_rng(2)

    def error(n):
        t = np.linspace(0.0, 2.0, n)
        field = smooth_field(t, X)
        noisy = field + 0.1 * rng.standard_normal(field.shape)
        found = encode_field(noisy, [t, X], cutoff=(2, 4))
        return np.mean((found.field - field) ** 2)

    # sigma^2 n_modes / n: about twenty modes, twenty draws of each, so that the ratio
    # of the means has a relative spread of 2 / sqrt(2 * 20 * 20) or so.
    errors = np.mean([[error(20), error(80)] for _ in range(20)], axis=0)
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.35)


def test_cut_offs_follow_the_noise():
    field = np.sin(np.multiply.outer(T, X) * 1.5)[..., None]
    rng = np.random.default_rng(3)
    kept = []
    for scale in (0.0, 0.01, 0.5):
        noisy = field + scale * rng.standard_normal(field.shape)
        kept.append(encode_field(noisy, [T, X]).cutoff[0])
    areas = [a * b for a, b in kept]
    assert areas[0] > areas[1] > areas[2]


def test_missing_frames_and_pixels_are_solved_for():
    field = smooth_field()
    gaps = field.copy()
    rng = np.random.default_rng(4)
    gaps[[0, 7, 8, 21]] = np.nan
    gaps[rng.random(field.shape) < 0.2] = np.nan
    found = encode_field(gaps, [T, X], cutoff=(2, 4))
    # Conjugate gradients stop at a relative residual of 1e-6 on a system whose
    # eigenvalues lie between about 0.4 and 1.
    np.testing.assert_allclose(found.field, field, atol=1e-5)
    chosen = encode_field(gaps, [T, X])
    assert np.sqrt(np.mean((chosen.field - field) ** 2)) < 1e-3
    assert np.isfinite(chosen.field).all()


@pytest.mark.parametrize("encoder", ["dct", "savgol", "identity"])
def test_units_do_not_matter(encoder):
    rng = np.random.default_rng(5)
    field = smooth_field() + 0.1 * rng.standard_normal((40, 50, 1))
    field[3, 4] = np.nan
    one = encode_field(field, [T, X], encoder=encoder)
    other = encode_field(-8.0 * field + 4.0, [T, 5.0 + 3.0 * X], encoder=encoder)
    np.testing.assert_allclose(other.field, -8.0 * one.field + 4.0, atol=1e-4)
    np.testing.assert_allclose(other.noise, 8.0 * one.noise, rtol=1e-8)
    assert other.cutoff == one.cutoff


def test_fields_are_smoothed_each_by_itself_in_two_dimensions():
    rng = np.random.default_rng(6)
    grid = [np.arange(9.0), np.arange(12.0), 0.5 * np.arange(10.0)]
    wave = np.cos(0.2 * grid[0])[:, None, None] * np.sin(0.4 * grid[1])[:, None]
    wave = wave + 0.1 * grid[2]
    both = np.stack([wave, rng.standard_normal(wave.shape)], axis=-1)
    found = encode_field(both, grid)
    alone = encode_field(both[..., :1], grid)
    np.testing.assert_array_equal(found.field[..., 0], alone.field[..., 0])
    assert found.noise[1] == pytest.approx(1.0, rel=0.3)


def test_savgol_keeps_cubics():
    cubic = np.add.outer(T**3 - T, X**2)[..., None]
    found = encode_field(cubic, [T, X], encoder="savgol", cutoff=(7, 9))
    np.testing.assert_allclose(found.field, cubic, atol=1e-10)


def test_identity_fills_gaps_and_changes_nothing_else():
    field = smooth_field()
    field[5, 6] = np.nan
    found = encode_field(field, [T, X], encoder="identity").field
    assert found[5, 6] == pytest.approx((field[4, 6] + field[6, 6]) / 2)
    seen = np.isfinite(field)
    np.testing.assert_array_equal(found[seen], field[seen])


def test_gaps_are_linear_in_time_and_nearest_in_space():
    data = np.add.outer(np.array([0.0, 1.0, 4.0]), 10.0 * np.arange(4))
    gaps = data.copy()
    gaps[1, 0], gaps[2, 1], gaps[:, 3] = np.nan, np.nan, np.nan
    filled = fill_gaps(gaps, [np.array([0.0, 1.0, 4.0]), np.arange(4.0)])
    assert filled[1, 0] == pytest.approx(1.0)
    assert filled[2, 1] == filled[1, 1] == 11.0
    np.testing.assert_array_equal(filled[:, 3], data[:, 2])
    with pytest.raises(ValueError, match="no observed entry"):
        fill_gaps(np.full((2, 2), np.nan), [np.arange(2.0), np.arange(2.0)])


def test_noise_is_not_told_from_too_few_nodes():
    assert np.isnan(noise_level(np.zeros((4, 4))))
    rng = np.random.default_rng(7)
    # Every other frame is missing: time is left out.
    data = rng.standard_normal((20, 60))
    data[::2] = np.nan
    assert noise_level(data) == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("encoder", ["dct", "savgol", "identity"])
def test_rows_are_smoothed_each_by_itself(encoder):
    rng = np.random.default_rng(8)
    field = smooth_field() + 0.1 * rng.standard_normal((40, 50, 1))
    field[2, 7] = np.nan
    field[9] = np.nan
    cutoff = encode_field(field, [T, X], encoder=encoder).cutoff
    known = np.zeros((50, 1))
    options = {"encoder": encoder, "cutoff": cutoff, "known": known}
    whole = encode_rows(field, [X], **options)
    order = rng.permutation(40)
    np.testing.assert_array_equal(
        encode_rows(field[order], [X], **options), whole[order]
    )
    assert np.isfinite(whole).all()
    assert (whole[9] == 0.0).all()
    del options["known"]
    assert np.isnan(encode_rows(field, [X], **options)[9]).all()
