"""Edges kept out of an order: levels, power, and agreement with nested models."""

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import chi2, f, kstest

from skident.datasets import make_multi_env_scm
from skident.discovery._edge_pruning import preselect, prune_order
from skident.discovery._independence_tests import (
    independence_p_value,
    weighted_chi2_sf,
)
from skident.discovery._mechanisms import stack
from skident.discovery._spline_tests import (
    SplineBasis,
    n_basis_functions,
    spline_block,
    spline_p_values,
)
from skident.solvers import stein_score
from tests.discovery._models import environments


def stein_differences(blocks, points):
    """Score differences at points, and the least density there."""
    found = [stein_score(block).score_and_density(points) for block in blocks]
    scores = np.stack([score for score, _ in found])
    return scores[1:] - scores[0], np.min([density for _, density in found], axis=0)


def confounded(n_samples, seed):
    """x0 -> x1, x2, x3, of which x3 has a spread that x0 moves too."""
    noises, _ = environments(n_samples, 4, seed)
    blocks = []
    for S in noises:
        x0 = S[:, 0]
        x1 = np.tanh(x0) + S[:, 1]
        x2 = 0.8 * x0 + S[:, 2]
        x3 = 1.5 * np.tanh(x0) + np.exp(0.5 * np.tanh(x0)) * S[:, 3]
        blocks.append(np.column_stack([x0, x1, x2, x3]))
    return blocks


def spread_only(n_samples, seed):
    """x0 -> x1 by the spread alone, and x2 on its own."""
    noises, _ = environments(n_samples, 3, seed)
    return [
        np.column_stack([S[:, 0], np.exp(0.8 * np.tanh(S[:, 0])) * S[:, 1], S[:, 2]])
        for S in noises
    ]


# -- the F test -----------------------------------------------------------------


def nested(basis, y, columns, k, weights):
    """P-value of a block by two least-squares fits."""

    def residual_sum(kept):
        places = [basis.places[0], *(basis.places[c + 1] for c in kept)]
        M = basis.matrix[:, np.concatenate(places)] * np.sqrt(weights)[:, None]
        target = y * np.sqrt(weights)
        coef, _, rank, _ = np.linalg.lstsq(M, target, rcond=1e-6)
        return np.sum((target - M @ coef) ** 2), rank

    full, rank = residual_sum(columns)
    less, rank_less = residual_sum([c for c in columns if c != k])
    size, free = rank - rank_less, len(y) - rank
    return f.sf((less - full) / size / (full / free), size, free) if size else 1.0


@pytest.mark.parametrize("columns", [[0, 1], [2, 0, 1]])
def test_block_tests_are_those_of_nested_models(columns):
    X, codes = stack(confounded(80, 0))
    basis = SplineBasis(X, codes)
    y = X[:, 3] + 0.3 * X[:, 1]
    rng = np.random.default_rng(0)
    by_environment, by_row = np.array([1.0, 0.3, 4.0]), rng.uniform(0.5, 2.0, len(y))
    for kwargs, weights in (
        ({}, np.ones(len(y))),
        ({"weights": by_environment}, by_environment[codes]),
        ({"row_weights": by_row}, by_row),
    ):
        found = basis.fit(y, columns, **kwargs).p_values()
        truth = [nested(basis, y, columns, k, weights) for k in columns]
        np.testing.assert_allclose(found, truth, rtol=1e-6)


def test_columns_that_span_each_other_are_not_told_apart():
    X, codes = stack(confounded(80, 0))
    X[:, 2] = 2.0 * X[:, 0] + 1.0
    basis = SplineBasis(X, codes)
    y, columns = X[:, 3], [0, 1, 2]
    found = basis.fit(y, columns).p_values()
    assert found[0] == found[2] == 1.0
    truth = nested(basis, y, columns, 1, np.ones(len(y)))
    np.testing.assert_allclose(found[1], truth, rtol=1e-4)


def test_leverages_are_the_diagonal_of_the_projection():
    X, codes = stack(confounded(50, 1))
    fit = SplineBasis(X, codes).fit(X[:, 3], [0, 1], weights=np.array([1.0, 2.0, 0.1]))
    root = np.sqrt(fit.weights)[:, None] * fit.matrix
    q, _ = np.linalg.qr(root)
    np.testing.assert_allclose(fit.leverage, np.sum(q**2, axis=1), atol=1e-9)
    assert fit.leverage.sum() == pytest.approx(fit.rank)


@pytest.mark.parametrize(
    ("n_samples", "n_blocks", "n_basis"),
    [(300, 10, 10), (299, 10, 10), (200, 10, 7), (90, 10, 4), (10, 10, 4), (50, 0, 10)],
)
def test_number_of_basis_functions(n_samples, n_blocks, n_basis):
    assert n_basis_functions(n_samples, n_blocks) == n_basis


def test_spline_blocks_are_orthonormal_and_know_few_values():
    rng = np.random.default_rng(0)
    block = spline_block(rng.standard_cauchy(200), 10)
    assert block.shape == (200, 9)
    np.testing.assert_allclose(block.T @ block, np.eye(9), atol=1e-6)
    np.testing.assert_allclose(block.mean(axis=0), 0.0, atol=1e-9)
    assert spline_block(rng.integers(0, 2, 200).astype(float), 10).shape == (200, 1)
    assert spline_block(rng.integers(0, 3, 200).astype(float), 10).shape == (200, 2)
    assert spline_block(np.ones(200), 10).shape == (200, 0)


# -- levels ---------------------------------------------------------------------


def test_p_values_of_unrelated_columns_are_uniform():
    of_mean, of_spread = [], []
    for seed in range(50):
        noises, _ = environments(150, 4, seed)
        X, codes = stack(noises)
        found = spline_p_values(X[:, 3], SplineBasis(X, codes), np.arange(3), 5e-4)
        of_mean.append(found[0])
        of_spread.append(found[1])
    # Blocks of one fit are nearly independent; the test is at one in a thousand.
    assert kstest(np.ravel(of_mean), "uniform").pvalue > 1e-3
    assert kstest(np.ravel(of_spread), "uniform").pvalue > 1e-3


def test_level_beside_a_parent_that_moves_mean_and_spread():
    rejected = []
    for seed in range(40):
        X, codes = stack(confounded(200, seed))
        basis = SplineBasis(X, codes)
        mean, spread = spline_p_values(X[:, 3], basis, np.arange(3), 5e-4)
        assert mean[0] < 1e-8
        rejected.append([mean[1:] < 0.05, spread[1:] < 0.05])
    # 160 tests at 0.05: eight expected, a standard deviation of 2.8; four of these for
    # the tests themselves and as many for what the splines leave out.
    assert np.sum(rejected) <= 30


def test_level_of_kernel_independence_given_a_common_cause():
    p_values = []
    for seed in range(40):
        blocks = confounded(100, seed)
        rng = np.random.default_rng(seed)
        p_values.append(independence_p_value(blocks, 1, 3, [0, 2], rng))
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert np.sum(np.array(p_values) < 0.05) <= 9  # 2 expected


def test_tail_of_weighted_chi_squares():
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=30)
    drawn = rng.chisquare(1, size=(100_000, 30)) @ weights
    for level in (0.1, 0.01, 1e-3):
        value = np.quantile(drawn, 1.0 - level)
        assert weighted_chi2_sf(value, weights) == pytest.approx(level, rel=0.3)
    # Equal weights: exact.
    assert weighted_chi2_sf(9.0, np.full(4, 2.0)) == pytest.approx(chi2.sf(4.5, 4))
    assert weighted_chi2_sf(0.0, np.zeros(3)) == 1.0


# -- power ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "additive", "general"])
def test_splines_find_the_graph(kind):
    missed = extra = 0
    for seed in range(3):
        data = make_multi_env_scm(500, 6, kind=kind, random_state=seed)
        blocks = [data.X[data.environments == e] for e in range(3)]
        found, scores = prune_order(blocks, data.causal_order)
        truth = data.adjacency_matrix != 0
        missed += np.sum(truth & (found == 0))
        extra += np.sum(~truth & (found == 1))
        np.testing.assert_array_equal(found == 1, scores > 3.0)
    # 18 edges and 27 pairs without one, a false edge in a thousand.
    assert missed <= 2
    assert extra <= 1


@pytest.mark.parametrize("method", ["cam", "ci"])
def test_a_parent_of_the_spread_alone_is_found(method):
    found, scores = prune_order(spread_only(500, 0), [2, 0, 1], method=method, rng=0)
    np.testing.assert_array_equal(found, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert scores[0, 1] > 3.0 > scores[2, 1]


def test_kernels_find_the_graph():
    found, _ = prune_order(confounded(400, 0), range(4), method="ci", rng=0)
    truth = np.zeros((4, 4))
    truth[0, 1:] = 1
    np.testing.assert_array_equal(found, truth)


@pytest.mark.slow
def test_score_differences_find_the_parent_and_not_its_parent():
    found = np.zeros((3, 3))
    for seed in range(6):
        noises, _ = environments(300, 3, seed, low=2.5)
        blocks = []
        for S in noises:
            x1 = S[:, 0] + S[:, 1]
            blocks.append(np.column_stack([S[:, 0], x1, x1 + S[:, 2]]))
        _, scores = prune_order(
            blocks,
            [0, 1, 2],
            method="score",
            score_differences=stein_differences,
            rng=0,
        )
        found += scores > 2.0
    # A rule of thumb more than a test: kernels that smooth two correlated parents
    # take one for the other now and then.
    assert found[0, 1] + found[1, 2] >= 9
    assert found[0, 2] <= 2


def test_score_differences_of_no_edges():
    noises, _ = environments(200, 3, 0, low=2.5)
    found, _ = prune_order(
        noises, [0, 1, 2], method="score", score_differences=stein_differences, rng=0
    )
    assert not found.any()


# -- what it is made of -----------------------------------------------------------


def test_no_pruning_keeps_the_complete_graph_of_the_order():
    found, scores = prune_order(confounded(30, 0), [2, 0, 3, 1], method=None)
    np.testing.assert_array_equal(
        found, [[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]]
    )
    assert (scores[found == 1] == np.inf).all()
    assert (scores[found == 0] == 0).all()


@pytest.mark.parametrize("method", ["cam", "ci"])
def test_units_columns_and_jobs_do_not_matter(method):
    blocks, order = confounded(150, 3), np.array([0, 1, 2, 3])
    _, scores = prune_order(blocks, order, method=method, rng=0)
    units, shift = np.array([1e4, 1e-4, 1.0, 30.0]), np.array([0.0, 5.0, -1.0, 2.0])
    with parallel_config("threading", n_jobs=2):
        _, moved = prune_order(
            [block * units + shift for block in blocks], order, method=method, rng=0
        )
    np.testing.assert_allclose(moved, scores, rtol=1e-5, atol=1e-8)
    places = np.array([3, 1, 0, 2])
    _, turned = prune_order(
        [block[:, places] for block in blocks],
        np.argsort(places)[order],
        method=method,
        rng=0,
    )
    np.testing.assert_allclose(turned, scores[np.ix_(places, places)], rtol=1e-5)


def test_known_noise_scales_are_used():
    rng = np.random.default_rng(0)
    scales = np.array([[1.0, 1.0], [1.0, 10.0], [1.0, 0.1]])
    blocks = []
    for scale in scales:
        S = rng.standard_normal((100, 2)) * scale
        blocks.append(np.column_stack([S[:, 0], 0.1 * S[:, 0] + S[:, 1]]))
    _, with_scales = prune_order(blocks, [0, 1], noise_scales=scales)
    _, without = prune_order(blocks, [0, 1])
    _, wrong = prune_order(blocks, [0, 1], noise_scales=np.ones((3, 2)))
    # In the quiet environment the slope is as large as the noise; one a hundred times
    # as loud buries it unless it weighs less.
    assert with_scales[0, 1] > 6.0
    assert without[0, 1] > 4.0
    assert wrong[0, 1] < 3.0


def test_one_environment_and_two_nodes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(200)
    block = np.column_stack([x, np.sin(2 * x) + 0.5 * rng.standard_normal(200)])
    for method in ("cam", "ci"):
        found, _ = prune_order([block], [0, 1], method=method, rng=0)
        np.testing.assert_array_equal(found, [[0, 1], [0, 0]])


def test_exact_relations_and_constant_columns():
    rng = np.random.default_rng(0)
    blocks = []
    for scale in (1.0, 2.0, 0.5):
        x = scale * rng.standard_normal((100, 2))
        blocks.append(np.column_stack([x, 2.0 * x[:, 0], np.ones(100)]))
    for method in ("cam", "ci"):
        found, scores = prune_order(blocks, [0, 1, 2, 3], method=method, rng=0)
        assert found[0, 2] == 1 and found[1, 2] == 0
        assert not found[:, 3].any()
        assert np.isfinite(scores).all()


def test_more_predecessors_than_rows_can_bear():
    noises, _ = environments(20, 12, 0)
    blocks = []
    for S in noises:
        X = S.copy()
        X[:, 11] = 3.0 * X[:, 4] + S[:, 11]
        blocks.append(X)
    found, scores = prune_order(blocks, np.arange(12), rng=0)
    assert found[4, 11] == 1
    assert np.isfinite(scores).all()
    # Chosen by forests on the rows that test them: of 65 edges more than one in a
    # thousand are false.
    assert found.sum() <= 8


def test_forests_choose_parents_of_the_mean_and_of_the_spread():
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((1500, 40))
    y = np.sin(columns[:, 3]) * 2.0
    y += np.exp(columns[:, 7]) * rng.standard_normal(1500)
    chosen = preselect(columns, y, np.repeat([0, 1, 2], 500), 5, rng)
    assert {3, 7} <= set(chosen.tolist())
    assert len(chosen) <= 10


def test_rows_are_drawn_where_there_are_many():
    blocks = confounded(600, 2)
    few, _ = prune_order(blocks, range(4), method="ci", max_rows=200, rng=0)
    again, _ = prune_order(blocks, range(4), method="ci", max_rows=200, rng=0)
    np.testing.assert_array_equal(few, again)
    assert few[0, 1:].all()
