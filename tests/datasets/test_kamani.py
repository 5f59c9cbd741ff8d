"""Stress of a yield-stress fluid, and made-up sea temperatures."""

import numpy as np
import pytest

from skident.datasets import make_kamani, make_sst_like


def test_stress_solves_its_equation():
    data = make_kamani(5, 2001, cycles=1.0)
    p = data.coef
    stress, rate, acceleration = data.X_true.T
    flow = p["yield_stress"] / np.abs(rate) + p["consistency"] * np.abs(rate) ** (
        p["exponent"] - 1
    )
    left = (flow + p["viscosity"]) / p["modulus"] * data.derivatives[:, 0] + stress
    right = flow * (rate + p["viscosity"] / p["modulus"] * acceleration)
    moving = np.abs(rate) > 1e-6
    np.testing.assert_allclose(left[moving], right[moving], rtol=1e-9, atol=1e-9)
    # The derivative is that of the stress: differences of order 2, away from the
    # times at which the strain turns and the derivative has a kink.
    for k in range(5):
        mine = data.trajectories == k
        s, d = stress[mine], data.derivatives[mine, 0]
        misfit = np.abs((s[2:] - s[:-2]) / (2 * data.dt) - d[1:-1])
        assert np.quantile(misfit, 0.95) < 1e-4 * np.abs(d).max()


def test_small_amplitudes_are_a_solid():
    data = make_kamani(2, 400)
    small = data.trajectories == 0
    strain = data.amplitudes[0] * np.sin(data.times[small])
    rate = data.X[small, 1]
    # Below the yield stress σ = G γ + η (γ' - γ'(0)), but for a fluidity times time.
    elastic = 430.0 * strain + 23.0 * (rate - rate[0])
    leak = 430.0 / 94.0 * data.amplitudes[0] * 10 * np.pi
    assert np.abs(data.X[small, 0] - elastic).max() < leak * np.abs(elastic).max()
    np.testing.assert_allclose(data.amplitudes, [1e-3, 10.0], rtol=1e-12)


def test_noise_is_in_the_stress_alone():
    data = make_kamani(3, 400, noise=0.1, random_state=0)
    np.testing.assert_array_equal(data.X[:, 1:], data.X_true[:, 1:])
    error = data.X[:, 0] - data.X_true[:, 0]
    assert abs(error.std() / data.noise_std - 1) < 4.5 / np.sqrt(2 * len(error))
    assert data.noise_std == pytest.approx(0.1 * data.X_true[:, 0].std())
    with pytest.raises(ValueError, match="'exponent'"):
        make_kamani(exponent=1.5)


def test_weather_persists_and_has_its_size():
    data = make_sst_like(1200, 6, 10, weather=0.5, persistence=0.8, random_state=0)
    weather = data.X - data.climate
    # 60 nodes of 1200 weeks, of which 1 in (1 + 0.8) / (1 - 0.8) = 9 is independent.
    n = 60 * 1200 / 9
    assert abs(weather.std() / 0.5 - 1) < 4.5 / np.sqrt(2 * n)
    lagged = np.mean(weather[1:] * weather[:-1]) / np.mean(weather**2)
    assert abs(lagged - 0.8) < 4.5 * np.sqrt((1 - 0.8**2) / (60 * 1200))
    assert data.X.shape == (1200, 60) and data.grid_shape == (6, 10)
    assert data.spacing == (30.0, 36.0)


def test_seasons_are_opposite_and_the_trend_is_as_said():
    n_weeks = 40 * 1461 // 28  # forty years
    data = make_sst_like(n_weeks, 8, 4, weather=0.0, trend=0.02)
    np.testing.assert_array_equal(data.X, data.climate)
    zonal = data.X.reshape(n_weeks, 8, 4).mean(axis=2)
    year = 2 * np.pi * data.times / (365.25 / 7)
    waves = np.column_stack(
        [np.ones(n_weeks), data.times, np.cos(year), np.sin(year)]
        + [np.cos(2 * year), np.sin(2 * year)]
    )
    coef = np.linalg.lstsq(waves, zonal, rcond=None)[0]
    phase = np.arctan2(coef[3], coef[2])
    assert abs(abs(phase[0] - phase[-1]) - np.pi) < 1e-6
    warmth = np.cos(np.deg2rad(data.coordinates[0]))
    slope = coef[1] * 365.25 / 7
    np.testing.assert_allclose(slope, 0.02 * (0.5 + 0.5 * warmth), rtol=1e-6)
    # Warm at the equator, cold at the poles.
    assert coef[0].argmax() in (3, 4) and coef[0].argmin() in (0, 7)
