"""The coefficient of determination of the best linear map."""

import numpy as np
import pytest

from skident.metrics import linear_r2_score


def test_is_the_share_of_variance_explained():
    rng = np.random.default_rng(0)
    S, Z = rng.standard_normal((50, 2)), rng.standard_normal((50, 3))
    S[:, 0] += Z[:, 1]
    design = np.column_stack([np.ones(50), Z])
    left = S - design @ np.linalg.lstsq(design, S, rcond=None)[0]
    expected = np.mean(1 - left.var(axis=0) / S.var(axis=0))
    assert linear_r2_score(S, Z) == pytest.approx(expected, rel=1e-12)
    # Each source counts alike, whatever its units; latents may be mixed at will.
    A = rng.standard_normal((3, 3))
    mixed = linear_r2_score(S * [1, 1e6] - 3, Z @ A + 5)
    assert mixed == pytest.approx(expected, rel=1e-9)
    single = linear_r2_score(S[:, 0], Z)
    assert single == pytest.approx(1 - left[:, 0].var() / S[:, 0].var(), rel=1e-12)


def test_noise_scores_its_degrees_of_freedom_unless_held_out():
    rng = np.random.default_rng(0)
    S, Z = rng.standard_normal((400, 30)), rng.standard_normal((400, 100))
    # R^2 of one source is Beta(50, 149.5), of standard deviation 0.031.
    error = 4 * 0.031 / np.sqrt(30)
    assert linear_r2_score(S, Z) == pytest.approx(100 / 399, abs=error)
    assert linear_r2_score(S, Z, cv=4) < 0
    assert linear_r2_score(Z[:, :2] + Z[:, 3:5], Z, cv=4) == pytest.approx(1.0)


@pytest.mark.parametrize("unit", [2.0**-900, 1e-170, 1e200, 1e306])
def test_units_do_not_matter(unit):
    rng = np.random.default_rng(0)
    u = rng.uniform(size=(200, 2))
    z = u + 0.1 * rng.standard_normal((200, 2))
    wanted = linear_r2_score(u, z)
    for one, two in ((unit, unit), (1.0, unit), ([unit, 1.0], unit)):
        assert linear_r2_score(u * one, z * two) == pytest.approx(wanted, rel=1e-9)


def test_float32():
    Z = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    assert linear_r2_score(Z @ np.ones((3, 1), np.float32), Z) == pytest.approx(1.0)


def test_errors_name_the_argument():
    Z = np.random.default_rng(0).standard_normal((20, 3))
    hole = Z.copy()
    hole[0, 0] = np.nan
    with pytest.raises(
        ValueError, match="sources and latents must be of the same rows"
    ):
        linear_r2_score(Z[:-1], Z)
    with pytest.raises(ValueError, match="latents must be finite"):
        linear_r2_score(Z, hole)
    with pytest.raises(
        ValueError, match="sources must be two-dimensional and not empty"
    ):
        linear_r2_score(Z[:0], Z[:0])
    with pytest.raises(ValueError, match="sources must vary: column 2 is constant"):
        linear_r2_score(Z * [1, 1, 0], Z)
