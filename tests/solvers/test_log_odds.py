import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skident.solvers import _log_odds as module
from skident.solvers._log_odds import log_odds


def normal_pair(n, seed=0):
    """Rows of two normal laws whose log-odds are quadratic, and its gradient."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((n, 2))
    X = rng.standard_normal((n, 2)) * [0.7, 1.5] + [0.3, 0.0]

    def gradient(Y):
        return Y - (Y - [0.3, 0.0]) / np.square([0.7, 1.5])

    return X, base, gradient


def test_gradient_of_normal_laws_comes_nearer_with_the_rows():
    Y = np.random.default_rng(9).standard_normal((200, 2)) * 0.7
    errors = []
    for n in (500, 8000):
        X, base, gradient = normal_pair(n)
        found = log_odds(X, base, n_fourier=0, eta=1e-6).gradient(Y)
        errors.append(np.sqrt(np.mean((found - gradient(Y)) ** 2)))
    # A right model: errors fall with the root of the rows, here by four.
    assert errors[1] < 0.1
    assert errors[1] < 0.6 * errors[0]


def test_gradient_is_that_of_the_value():
    X, base, _ = normal_pair(300)
    odds = log_odds(X, base, random_state=0)
    Y, step = base[:5], 1e-6
    moves = step * np.eye(2)
    differences = [(odds.value(Y + m) - odds.value(Y - m)) / (2 * step) for m in moves]
    np.testing.assert_allclose(odds.gradient(Y), np.stack(differences, 1), atol=1e-6)


def test_is_the_optimum_of_the_penalised_likelihood():
    X, base, _ = normal_pair(150)
    odds = log_odds(X, base, eta=0.7, n_fourier=5, random_state=0)
    terms = module._terms(np.vstack([X, base]), odds.frequencies, odds.phases)
    target = np.repeat([1, 0], 150)
    # scikit-learn's C is the inverse of the ridge; its constant is not penalised.
    oracle = LogisticRegression(C=1 / 0.7, tol=1e-10, max_iter=10_000)
    oracle.fit(terms[:, 1:], target)
    np.testing.assert_allclose(odds.coef[1:], oracle.coef_[0], atol=1e-5)
    assert odds.coef[0] == pytest.approx(oracle.intercept_[0], abs=1e-5)


def test_numbers_of_rows_are_no_odds():
    X, base, _ = normal_pair(4000)
    Y = base[:50] * 0.5
    whole = log_odds(X, base, n_fourier=0).value(Y)
    part = log_odds(X, base[:1000], n_fourier=0).value(Y)
    # A constant of log 4 if the odds were those of the rows.
    assert abs(np.mean(whole - part)) < 0.2


def test_samples_far_apart_have_finite_odds():
    base = np.random.default_rng(0).standard_normal((50, 2))
    odds = log_odds(base + 100, base, random_state=0)
    assert np.isfinite(odds.gradient(base)).all()
    assert odds.value(base + 100).min() > odds.value(base).max()


def test_draws_are_the_seeds():
    X, base, _ = normal_pair(60)
    one, two, other = (log_odds(X, base, random_state=s).coef for s in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
