"""Mechanisms: their formulas, their slopes and their inverses in the noise."""

import pickle

import numpy as np
import pytest
from scipy.special import expit

from skident.datasets._mechanism_kinds import (
    Cubic,
    FourierMean,
    LinearMean,
    NetworkMean,
    draw_mechanism,
)

MULTIVARIATE = ["linear", "additive", "general", "pnl", "lsnm", "neural", "gp"]
PAIRS = ["bivariate_i", "bivariate_ii", "bivariate_iii"]


def softplus(z):
    return np.log1p(np.exp(z))


def written_out(kind, mechanism, s, P):
    """x by the formulas of the documentation."""
    p = P[:, 0]
    if kind == "bivariate_i":
        return p + s * np.exp(0.25 * np.tanh(p)) + 0.15 * s**3 * expit(p)
    if kind == "bivariate_ii":
        return np.sinh(0.7 * (s + 0.8 * np.tanh(p))) + 0.5 * p
    if kind == "bivariate_iii":
        return 1.5 * np.tanh(p) + softplus(s + 0.5 * p) - softplus(-s + 0.2 * p)
    w = mechanism.mean.weights
    if kind == "linear":
        return sum(w[k] * P[:, k] for k in range(len(w))) + s
    g = sum(w[k] * (1.5 * np.tanh(P[:, k]) + 0.3 * P[:, k]) for k in range(len(w)))
    if kind == "additive":
        return g + s
    if kind == "pnl":
        return 1.5 * np.arcsinh(g + s)
    if kind == "lsnm":
        return g + s * np.exp(0.6 * np.tanh(P @ mechanism.direction))
    return g + s * np.exp(0.3 * np.tanh(P @ w)) + 0.1 * s**3 * expit(g)


def draw(kind, seed, size=400):
    rng = np.random.RandomState(seed)
    n_parents = 1 if kind in PAIRS else 3
    mechanism = draw_mechanism(kind, n_parents, rng)
    return mechanism, rng.uniform(-20, 20, size), rng.normal(0, 3, (size, n_parents))


# Random networks and functions have tests of their own below.
WRITTEN_OUT = [k for k in MULTIVARIATE + PAIRS if k not in ("neural", "gp")]


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_formulas(kind):
    mechanism, s, P = draw(kind, 0)
    np.testing.assert_allclose(
        mechanism.value(s, P),
        written_out(kind, mechanism, s, P),
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("kind", MULTIVARIATE + PAIRS)
@pytest.mark.parametrize("seed", range(3))
def test_noise_inverts_value(kind, seed):
    mechanism, s, P = draw(kind, seed)
    x = mechanism.value(s, P)
    step = 1e-4
    slope = (mechanism.value(s + step, P) - mechanism.value(s - step, P)) / (2 * step)
    assert slope.min() > 0
    # Rounding of x, and of its parts, of the size of x or of x without noise.
    size = 1.0 + np.abs(x) + np.abs(mechanism.value(0.0 * s, P))
    bound = 32 * np.finfo(float).eps * (size / slope + np.abs(s))
    assert (np.abs(mechanism.noise(x, P) - s) <= bound).all()


@pytest.mark.parametrize("kind", MULTIVARIATE + PAIRS)
def test_a_root_is_its_noise_and_mechanisms_pickle(kind):
    s = np.linspace(-3, 3, 7)
    root = draw_mechanism(kind, 0, np.random.RandomState(0))
    np.testing.assert_array_equal(root.value(s, np.empty((7, 0))), s)
    np.testing.assert_array_equal(root.noise(s, np.empty((7, 0))), s)
    mechanism, s, P = draw(kind, 1)
    again = pickle.loads(pickle.dumps(mechanism))
    np.testing.assert_array_equal(again.value(s, P), mechanism.value(s, P))


def test_cubic_becomes_linear_where_the_sigmoid_vanishes():
    one = np.ones(1)
    mechanism = Cubic(LinearMean(one), one, 0.25, 0.15)
    s, P = np.linspace(-5, 5, 11), np.full((11, 1), -2000.0)
    x = mechanism.value(s, P)
    np.testing.assert_allclose(x, -2000 + s * np.exp(-0.25), rtol=1e-15)
    np.testing.assert_allclose(mechanism.noise(x, P), s, atol=1e-11)


def test_weights_keep_off_zero():
    rng = np.random.RandomState(0)
    linear = draw_mechanism("linear", 4000, rng).mean.weights
    additive = draw_mechanism("additive", 4000, rng).mean.weights
    for weights, smallest in ((linear, 0.05), (additive, 0.5)):
        size = np.abs(weights)
        assert smallest <= size.min() < smallest + 0.01 and 0.99 < size.max() <= 1
        assert abs(np.mean(weights > 0) - 0.5) < 4 * np.sqrt(0.25 / 4000)


def test_network_is_the_one_written_out():
    mean = NetworkMean(3, np.random.RandomState(0))
    (first, first_offsets), (second, second_offsets) = mean._layers
    P = np.random.RandomState(1).normal(0, 3, (50, 3))
    for row, value in zip(P, mean(P), strict=True):
        hidden = [row @ first[:, k] + first_offsets[k] for k in range(10)]
        hidden = [max(h, 0.0) + 0.25 * min(h, 0.0) for h in hidden]
        middle = sum(hidden) / 10
        variance = sum((h - middle) ** 2 for h in hidden) / 10
        hidden = [(h - middle) / (variance + 1e-5) ** 0.5 for h in hidden]
        total = sum(h * w for h, w in zip(hidden, second[:, 0], strict=True))
        assert value == pytest.approx(total + second_offsets[0], abs=1e-12)


def test_process_has_its_kernel():
    rng = np.random.RandomState(0)
    P = np.array([[0.0, 0.0], [0.5, 0.0], [0.5, -0.7], [3.0, 3.0]])
    values = np.array([FourierMean(2, rng)(P) for _ in range(3000)])
    distances = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    # A product of two normal variables of unit variance has variance 2 at most.
    error = np.abs(values.T @ values / 3000 - np.exp(-distances))
    assert error.max() < 4.5 * np.sqrt(2 / 3000)
