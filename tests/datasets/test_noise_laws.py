"""Laws of noises against their closed forms."""

import numpy as np
import pytest
from scipy import stats

from skident.datasets._noise_laws import generalised_normal, noise_sampler

N = 20_000


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, 10.0, 40.0])
def test_generalised_normal(exponent):
    law = stats.gennorm(exponent)
    law = stats.gennorm(exponent, scale=1.0 / law.std())
    values = generalised_normal(exponent, N, np.random.RandomState(0))
    assert stats.kstest(values, law.cdf).pvalue > 1e-3
    fourth = law.moment(4)
    assert abs(np.mean(values**2) - 1.0) < 4 * np.sqrt((fourth - 1.0) / N)


@pytest.mark.parametrize(
    ("exponent", "mass"),
    [(1, 0.757), (2, 0.683), (3, 0.648), (10, 0.589), (20, 0.5806), (np.inf, 0.5774)],
)
def test_central_mass(exponent, mass):
    # What tells the laws apart; the last one is 1 / sqrt(3).
    values = generalised_normal(exponent, 4 * N, np.random.RandomState(1))
    share = np.mean(np.abs(values) <= 1.0)
    assert abs(share - mass) < 4 * np.sqrt(0.25 / (4 * N)) + 0.0005


def test_limit_is_uniform():
    values = generalised_normal(np.inf, N, np.random.RandomState(0))
    law = stats.uniform(-np.sqrt(3.0), 2.0 * np.sqrt(3.0))
    assert stats.kstest(values, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        ("gaussian", stats.norm()),
        ("gamma", stats.gamma(1.5)),
        ("gumbel", stats.gumbel_r()),
        ("uniform", stats.uniform()),
    ],
)
def test_samplers_have_their_standardised_law(noise, law):
    rng = np.random.RandomState(0)
    values = noise_sampler(noise, 1.5, rng)(N, rng)
    assert stats.kstest(values * law.std() + law.mean(), law.cdf).pvalue > 1e-3


def test_pushed_normal_is_standardised_and_differs_between_draws():
    rng = np.random.RandomState(0)
    skews = []
    for _ in range(5):
        draw = noise_sampler("mlp", 1.0, rng)
        values = draw(N, rng)
        fourth = np.mean(values**4)
        assert abs(values.mean()) < 4.5 / np.sqrt(N)
        assert abs(np.mean(values**2) - 1.0) < 4.5 * np.sqrt((fourth - 1.0) / N)
        skews.append(stats.skew(values))
    assert np.ptp(skews) > 0.2
