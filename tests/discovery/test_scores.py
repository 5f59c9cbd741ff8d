import numpy as np
import pytest
import torch

from skident.discovery import _scores as module
from skident.discovery._score_net import fit_score_net
from skident.discovery._scores import (
    choose_eta,
    covariance_of,
    fit_score,
    precision_of,
    score_differences,
    smallest_density,
)
from skident.solvers import stein_score

COVARIANCE = np.array([[1.0, 0.6], [0.6, 1.0]])


def normal_blocks(n, seed=0):
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(COVARIANCE)
    return [
        rng.standard_normal((n, 2)) @ root.T * scale
        for scale in ([1, 1], [2, 0.5], [0.7, 1.4])
    ]


def true_scores(points):
    return np.stack(
        [
            -np.linalg.solve(np.outer(s, s) * COVARIANCE, points.T).T
            for s in ([1, 1], [2, 0.5], [0.7, 1.4])
        ]
    )


OPTIONS = {"eta": 0.3, "bandwidth": 1.0, "n_jobs": None, "settings": {"seed": 0}}


@pytest.mark.parametrize(
    ("estimator", "bound"), [("gaussian", 0.1), ("stein", 0.45), ("logistic", 0.35)]
)
def test_differences_of_normal_laws(estimator, bound):
    # Relative errors; measured over 6 seeds up to 0.04, 0.31 and 0.19.
    points = normal_blocks(200, seed=5)[2] * 0.7
    truth = true_scores(points)
    wanted = truth[1:] - truth[0]
    found, density = score_differences(
        normal_blocks(2000), points, estimator, **OPTIONS
    )
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert error < bound
    assert density.shape == (200,) and (density > 0).all() and (density <= 1).all()


@pytest.mark.slow
def test_the_network_learns_scores_of_all_environments():
    # Bent rows: a normal law's score, from which training starts, is far off.
    rng = np.random.default_rng(0)
    blocks = []
    for scale in (1.0, 0.6):
        x = rng.standard_normal(400)
        blocks.append(np.column_stack([x, x**2 - 1 + scale * rng.standard_normal(400)]))
    points = blocks[0][:200]
    gap = points[:, 1] - points[:, 0] ** 2 + 1
    truth = np.stack(
        [
            np.column_stack([2 * points[:, 0] * gap / v - points[:, 0], -gap / v])
            for v in (1.0, 0.36)
        ]
    )
    start = fit_score_net(blocks, seed=0, max_epochs=1, learning_rate=1e-12)(points)
    state = torch.get_rng_state()
    scores = fit_score_net(blocks, seed=0, max_epochs=60, learning_rate=0.01)(points)
    assert (torch.get_rng_state() == state).all()
    errors = [
        np.linalg.norm(s - truth) / np.linalg.norm(truth) for s in (start, scores)
    ]
    assert errors[0] > 0.7
    assert errors[1] < 0.6 * errors[0]


def test_the_network_starts_from_normal_scores():
    blocks = normal_blocks(300)
    found = fit_score_net(blocks, seed=0, max_epochs=1, learning_rate=1e-12)
    points = blocks[0][:20]
    wanted = [fit_score(block, "gaussian")(points) for block in blocks]
    np.testing.assert_allclose(found(points), wanted, rtol=1e-4, atol=1e-4)


def test_the_network_says_that_its_loss_is_not_finite():
    blocks = normal_blocks(100)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        fit_score_net(blocks, seed=0, max_epochs=30, learning_rate=1e30)


def test_without_rows_held_out_the_network_keeps_its_last_weights():
    blocks = normal_blocks(50)
    scores = fit_score_net(blocks, seed=0, max_epochs=2, validation_fraction=0.0)
    assert np.isfinite(scores(blocks[0])).all()


def test_one_score_by_every_name():
    X = normal_blocks(300)[0]
    Y = X[:7]
    by_kernel = fit_score(X, "stein", eta=0.2, bandwidth=1.5)(Y)
    wanted = stein_score(X, eta=0.2, bandwidth=1.5).score(Y)
    np.testing.assert_array_equal(by_kernel, wanted)
    normal = -np.linalg.solve(covariance_of(X), (Y - X.mean(axis=0)).T).T
    np.testing.assert_allclose(fit_score(X, "gaussian")(Y), normal, rtol=1e-9)
    called = fit_score(X, lambda rows: lambda points: points + len(rows))
    np.testing.assert_array_equal(called(Y), Y + 300)


def test_precisions_are_inverses_where_there_are_any():
    units = np.array([1e-3, 1e5])
    C = covariance_of(normal_blocks(50)[0])
    found = precision_of(C * np.outer(units, units), 50) * np.outer(units, units)
    np.testing.assert_allclose(found, np.linalg.inv(C), rtol=1e-10)
    flat = np.array([[1.0, 1.0], [1.0, 1.0]])
    ridge = precision_of(flat, 50)
    # A ridge of sqrt(2 / 50) on the correlations.
    np.testing.assert_allclose(ridge, np.linalg.inv(flat + 0.2 * np.eye(2)), rtol=1e-9)
    assert np.isfinite(precision_of(np.zeros((2, 2)), 50)).all()


def test_density_is_the_sparsest_environment_s():
    blocks = normal_blocks(400)
    points = np.vstack([np.zeros(2), [5.0, 5.0]])
    density = smallest_density(blocks, points)
    each = [stein_score(block).score_and_density(points)[1] for block in blocks]
    np.testing.assert_allclose(density, np.min(each, axis=0), rtol=1e-8)
    assert density[0] > 100 * density[1]


def test_the_ridge_with_the_least_held_out_loss():
    blocks = normal_blocks(300)
    eta, losses = choose_eta(
        blocks, bandwidth=1.0, n_jobs=None, rng=np.random.default_rng(0)
    )
    assert eta == module.ETAS[np.argmin(losses)]
    # Too little and far too much of a ridge lose to it on other rows, too.
    held = normal_blocks(1000, seed=3)

    def loss(eta):
        return sum(
            stein_score(block, eta=eta).hyvarinen_loss(other)
            for block, other in zip(blocks, held, strict=True)
        )

    assert loss(eta) < min(loss(1e-3), loss(100.0))
    with pytest.raises(ValueError, match='eta="cv" needs at least three rows'):
        choose_eta(
            [b[:2] for b in blocks],
            bandwidth=1.0,
            n_jobs=None,
            rng=np.random.default_rng(0),
        )
