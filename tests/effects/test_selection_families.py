"""Laws of outcomes: they integrate to one, and nodes integrate against them."""

import numpy as np
import pytest
from scipy.special import expit

from skident.effects._selection_families import (
    FAMILIES,
    log_selection,
    make_family,
)

# Shape parameters, and a mean clear of zero, where multiplicative noise vanishes.
SHAPES = {
    "normal": [-0.3],
    "laplace": [-0.5],
    "lognormal": [-0.7],
    "pareto": [],
    "mixture": [0.4, -0.8, 0.2],
    "lognormal_noise": [0.2, -0.6],
    "lomax_noise": [0.1, 0.9],
}
ETA = 1.3
CASES = [
    (name, noise)
    for name in FAMILIES
    for noise in ("additive", "multiplicative")
    if noise == "additive" or name not in ("lognormal", "pareto")
]


def law(name, noise, n_quad=32):
    family = make_family(name, np.array([0.5, 2.0]), noise=noise, n_quad=n_quad)
    return family, np.array(SHAPES[name])


def expectation(family, shape, function):
    """By 20 Gauss nodes in each of 80 pieces; kinks lie between pieces."""
    edges = family.grid(np.array([ETA]), shape, 81)[0]
    u, w = np.polynomial.legendre.leggauss(20)
    half = 0.5 * np.diff(edges)[:, None]
    y = (edges[:-1, None] + half * (1.0 + u)).ravel()
    density = np.exp(family.log_density(y, np.full(len(y), ETA), shape)[0])
    return (half * w).ravel() @ (density * function(y))


@pytest.mark.parametrize(("name", "noise"), CASES)
def test_density_integrates_to_one_and_to_the_mean(name, noise):
    family, shape = law(name, noise)
    # The grid leaves out tails of mass exp(-30) at most, or 9 standard deviations; a
    # mean of tail index a gains exp(-30 (1 - 1 / a)) there, 3e-6 for a = 2.3.
    assert expectation(family, shape, np.ones_like) == pytest.approx(1.0, abs=1e-8)
    mean = family.mean(np.array([ETA]), shape)[0][0]
    assert expectation(family, shape, lambda y: y) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(("name", "noise"), CASES)
@pytest.mark.parametrize("form", ["logistic", "probit"])
def test_nodes_integrate_the_chance_of_selection(name, noise, form):
    family, shape = law(name, noise)

    def chance(y):
        return np.exp(log_selection(1.2 * (y - 1.0), form)[0])

    y, log_weight, *_ = family.nodes(np.array([ETA]), shape)
    by_nodes = (np.exp(log_weight) * chance(y)).sum()
    # Sixteen nodes a side are the fewest, of "laplace"; their error is 1e-5 at most.
    assert by_nodes == pytest.approx(expectation(family, shape, chance), rel=5e-5)


@pytest.mark.parametrize(("name", "noise"), CASES)
def test_derivatives_are_those_of_the_density(name, noise):
    family, shape = law(name, noise)
    y = family.grid(np.array([ETA]), shape, 9)[0, 3:7] + 0.01
    eta = np.full(len(y), ETA)
    _, by_eta, by_shape = family.log_density(y, eta, shape)

    def value(eta, shape):
        return family.log_density(y, eta, shape)[0]

    h = 1e-6
    numeric = (value(eta + h, shape) - value(eta - h, shape)) / (2 * h)
    np.testing.assert_allclose(by_eta, numeric, rtol=1e-6, atol=1e-7)
    for j, row in enumerate(by_shape):
        step = h * np.eye(len(shape))[j]
        numeric = (value(eta, shape + step) - value(eta, shape - step)) / (2 * h)
        np.testing.assert_allclose(row, numeric, rtol=1e-6, atol=1e-7)


def test_support_ends_where_the_density_does():
    for name in ("lognormal_noise", "lomax_noise"):
        family, shape = law(name, "additive")
        lowest = family.grid(np.array([ETA]), shape, 2)[0, 0]
        for y, inside in ((lowest - 0.01, False), (lowest + 0.01, True)):
            args = np.array([y]), np.array([ETA]), shape
            assert np.isfinite(family.log_density(*args)[0][0]) == inside
            assert np.isfinite(family.log_support(*args)[0][0]) == inside


@pytest.mark.parametrize("form", ["logistic", "probit"])
def test_slope_of_the_log_chance_of_selection(form):
    eta = np.linspace(-40, 8, 97)
    h = 1e-5
    numeric = (log_selection(eta + h, form)[0] - log_selection(eta - h, form)[0]) / (
        2 * h
    )
    # Rounding of values up to 800 in size, over the step.
    np.testing.assert_allclose(
        log_selection(eta, form)[1], numeric, rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(np.exp(log_selection(eta, "logistic")[0]), expit(eta))
