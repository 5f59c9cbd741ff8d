import numpy as np
import pytest

from skident.solvers import _stein as module
from skident.solvers import stein_hessian_diagonal, stein_score

COVARIANCE = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 1.0]])


def gaussian_rows(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(np.zeros(3), COVARIANCE, n_samples)


def brute_force(X, Y, eta, bandwidth):
    """Score at Y, straight from the definition."""
    gaps = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    pairs = gaps[np.triu_indices(len(X), 1)]
    h2 = bandwidth**2 * np.median(pairs)

    def kernel(A, B):
        return np.exp(-((A[:, None] - B[None]) ** 2).sum(axis=-1) / (2 * h2))

    def zeta(A):
        return np.stack(
            [(kernel(a[None], X)[0][:, None] * (a - X)).sum(axis=0) / h2 for a in A]
        )

    S = -np.linalg.solve(kernel(X, X) + eta * np.eye(len(X)), zeta(X))
    density = (kernel(Y, X) ** 4).mean(axis=1)
    return S, -(zeta(Y) + kernel(Y, X) @ S) / eta, density


@pytest.mark.parametrize(("eta", "bandwidth"), [(0.3, 1.0), (0.05, 0.6)])
def test_agrees_with_the_definition(eta, bandwidth):
    X, Y = gaussian_rows(60), gaussian_rows(9, seed=1) + 0.2
    estimate = stein_score(X, eta=eta, bandwidth=bandwidth)
    in_sample, score, density = brute_force(X, Y, eta, bandwidth)
    np.testing.assert_allclose(estimate.in_sample, in_sample, rtol=1e-9, atol=1e-10)
    found, found_density = estimate.score_and_density(Y)
    np.testing.assert_allclose(found, score, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found_density, density, rtol=1e-10)


def test_at_the_sample_both_formulas_agree():
    X = gaussian_rows(800)
    for eta in (0.01, 0.3, 3.0):
        estimate = stein_score(X, eta=eta)
        np.testing.assert_allclose(
            estimate.score(X), estimate.in_sample, rtol=0, atol=1e-8
        )


@pytest.mark.parametrize("seed", range(3))
def test_score_of_a_gaussian(seed):
    X, P = gaussian_rows(1500, seed), gaussian_rows(1000, 10 + seed)
    truth = -np.linalg.solve(COVARIANCE, P.T).T
    errors = []
    for eta in (0.1, 0.3, 1.0, 3.0):
        score, density = stein_score(X, eta=eta).score_and_density(P)
        kept = np.argsort(-density)[: len(P) // 2]
        gap = np.linalg.norm((score - truth)[kept])
        errors.append(gap / np.linalg.norm(truth[kept]))
    assert min(errors) < 0.15


def test_the_error_falls_with_the_sample():
    # The ridge estimate is consistent for a ridge that falls against n; measured over
    # 10 seeds the ratio of errors from n = 150 to 1,500 is 0.22 to 0.49.
    P = gaussian_rows(300, 77) * 0.7
    truth = -np.linalg.solve(COVARIANCE, P.T).T
    few, many = (
        np.linalg.norm(stein_score(gaussian_rows(n, 5)).score(P) - truth)
        for n in (150, 1500)
    )
    assert many < 0.8 * few


def test_jacobian_matches_finite_differences():
    X, Y, step = gaussian_rows(400), gaussian_rows(6, seed=2), 1e-5
    estimate = stein_score(X, eta=0.1)
    differences = np.stack(
        [
            (estimate.score(Y + move) - estimate.score(Y - move)) / (2 * step)
            for move in step * np.eye(3)
        ],
        axis=-1,
    )
    jacobian = estimate.jacobian(Y)
    symmetric = (differences + differences.transpose(0, 2, 1)) / 2
    np.testing.assert_allclose(jacobian, symmetric, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(jacobian, jacobian.transpose(0, 2, 1))
    trace = np.trace(jacobian, axis1=1, axis2=2)
    np.testing.assert_allclose(estimate.divergence(Y), trace, rtol=1e-9, atol=1e-9)
    loss = (0.5 * (estimate.score(Y) ** 2).sum(axis=1) + trace).mean()
    assert estimate.hyvarinen_loss(Y) == pytest.approx(loss, rel=1e-9)


def test_held_out_loss_prefers_the_score_that_is_nearer():
    X, Y = gaussian_rows(500), gaussian_rows(2000, seed=3)
    truth = -np.linalg.solve(COVARIANCE, Y.T).T
    losses, errors = [], []
    for eta in (0.003, 0.3, 300.0):
        estimate = stein_score(X, eta=eta)
        losses.append(estimate.hyvarinen_loss(Y))
        errors.append(((estimate.score(Y) - truth) ** 2).sum(axis=1).mean() / 2)
    # The loss is the error plus a constant: E|s|^2 / 2 - E|truth|^2 = -trace / 2.
    np.testing.assert_array_equal(np.argsort(losses), np.argsort(errors))
    gaps = np.array(losses) - np.array(errors)
    assert np.ptp(gaps) < 0.1 * np.ptp(errors)


def test_distances_may_be_passed_in():
    X, Y = gaussian_rows(100), gaussian_rows(7, seed=4)
    ours = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
    theirs = ((Y[:, None] - X[None]) ** 2).sum(axis=-1)
    kept = ours.copy(), theirs.copy()
    one, two = stein_score(X), stein_score(X, squared_distances=ours)
    np.testing.assert_allclose(two.in_sample, one.in_sample, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(
        two.score(Y, squared_distances=theirs), one.score(Y), rtol=1e-9, atol=1e-11
    )
    np.testing.assert_array_equal(ours, kept[0])
    np.testing.assert_array_equal(theirs, kept[1])


def test_points_are_taken_in_chunks(monkeypatch):
    X, Y = gaussian_rows(50), gaussian_rows(23, seed=4)
    estimate = stein_score(X)
    whole = estimate.score(Y), estimate.jacobian(Y), estimate.divergence(Y)
    monkeypatch.setattr(module, "_CHUNK_ENTRIES", 200)
    pieces = estimate.score(Y), estimate.jacobian(Y), estimate.divergence(Y)
    for one, two in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-10, atol=1e-12)


def test_units_and_origin_change_the_score_as_they_should():
    X, Y = gaussian_rows(80), gaussian_rows(5, seed=6)
    one = stein_score(X).score(Y)
    moved = stein_score(10 * X + 1e3).score(10 * Y + 1e3)
    # Digits are lost to the offset: 1e6 / 1e2 in a squared distance, before centring.
    np.testing.assert_allclose(10 * moved, one, rtol=0, atol=1e-8)


def test_median_leaves_out_the_diagonal():
    for n in (2, 3, 8, 9):
        X = np.random.default_rng(n).standard_normal((n, 2))
        distances = ((X[:, None] - X[None]) ** 2).sum(axis=-1)
        wanted = np.median(distances[np.triu_indices(n, 1)])
        assert module.median_of_pairs(distances) == pytest.approx(wanted, rel=1e-12)
    # Where most pairs coincide the median says nothing.
    mostly = np.r_[np.zeros(9), 1.0][:, None]
    distances = (mostly - mostly.T) ** 2
    assert module.median_of_pairs(distances) == pytest.approx(18 / 90)


def test_second_derivatives_of_a_gaussian():
    # Measured over 10 seeds: means within 0.14 of the truth.
    found = stein_hessian_diagonal(gaussian_rows(1000), eta=0.1)
    truth = -np.diag(np.linalg.inv(COVARIANCE))
    np.testing.assert_allclose(found.mean(axis=0), truth, rtol=0, atol=0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.0}, "eta must be positive, got 0.0"),
        ({"bandwidth": -1.0}, "bandwidth must be positive, got -1.0"),
        ({"X": np.ones((5, 2))}, "rows that differ"),
        ({"X": np.ones(5)}, "two-dimensional"),
        ({"X": np.ones((1, 2))}, "n_samples = 1"),
        ({"X": np.array([[np.nan], [1.0], [2.0]])}, "must be finite"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        stein_score(**({"X": gaussian_rows(5)} | change))


def test_points_of_another_width_are_refused():
    with pytest.raises(ValueError, match="Y must be of shape"):
        stein_score(gaussian_rows(5)).score(np.ones((2, 2)))
