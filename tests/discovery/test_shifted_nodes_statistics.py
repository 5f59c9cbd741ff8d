"""Matchings and scores, on unmixing matrices that are known exactly."""

from itertools import permutations
from typing import NamedTuple

import numpy as np
import pytest
from scipy import integrate, special, stats

from skident.datasets import make_latent_shift
from skident.discovery._shift_fit import Aligned, n_disagreements
from skident.discovery._shift_statistics import (
    Sources,
    all_scores,
    central_mass,
    excess_kurtosis,
    functional,
    match_rows,
    noise_scores,
    quantile_costs,
    quantiles,
    row_costs,
    row_scores,
    smallest_gap,
)


def sources(rows, psi=None, law=None):
    d = len(rows)
    return Sources(rows, np.arange(d, 0.0, -1.0) if psi is None else psi, law)


def shuffled(rows, rng):
    """Rows in another order and with other signs, and that order."""
    order = rng.permutation(len(rows))
    return rows[order] * rng.choice([-1.0, 1.0], len(rows))[:, None], order


@pytest.mark.parametrize("graph", ["er", "sf"])
@pytest.mark.parametrize("d", [5, 10, 20, 30])
@pytest.mark.parametrize("statistic", ["signed", "abs"])
def test_exact_rows_give_exactly_the_shifted_nodes(d, graph, statistic):
    rng = np.random.default_rng(d)
    for seed in range(7):
        data = make_latent_shift(1, d, graph=graph, degree=2, random_state=seed)
        first = data.unmixing[0]
        other, order = shuffled(data.unmixing[1], rng)
        match = match_rows(sources(first), sources(other), "assignment")
        matched = other[match.permutation] * match.signs[:, None]
        scores = row_scores(first, matched, statistic)
        shifted = data.shifted[0, 1]
        still = np.setdiff1d(np.arange(d), shifted)
        # A row that did not shift is its own partner, up to the sign drawn for it.
        np.testing.assert_array_equal(order[match.permutation[still]], still)
        assert scores[still].max() < 1e-10
        assert scores[shifted].min() > 0.05
        np.testing.assert_array_equal(np.flatnonzero(scores > 0.05), shifted)


def test_scores_of_exact_rows_do_not_depend_on_the_units_or_order_of_features():
    rng = np.random.default_rng(0)
    data = make_latent_shift(1, 8, random_state=0)
    scores = all_scores(data.unmixing, "signed")
    order = rng.permutation(data.unmixing.shape[2])
    np.testing.assert_allclose(
        all_scores(data.unmixing[:, :, order] * 1e3, "signed"), scores, atol=1e-14
    )
    np.testing.assert_allclose(all_scores(data.unmixing[::-1], "signed"), scores)


@pytest.mark.parametrize(("before", "after"), [(3.0, 7.0), (2.0, 8.0), (4.0, 6.0)])
def test_a_node_without_parents_scores_by_its_standard_deviations(before, after):
    rng = np.random.default_rng(1)
    row = rng.standard_normal(6)
    A, B = row[None] / np.sqrt(before), -row[None] / np.sqrt(after)
    roots = np.sqrt(before), np.sqrt(after)
    expected = (roots[1] - roots[0]) / (roots[1] + roots[0])
    assert row_scores(A, B, "signed")[0] == pytest.approx(expected, abs=1e-14)
    assert row_scores(A, B, "abs")[0] == pytest.approx(expected, abs=1e-14)


def test_a_change_of_sign_alone_is_seen_by_the_signed_statistic_only():
    data = make_latent_shift(1, 6, shift="sign", mixing="identity", random_state=2)
    signed = all_scores(data.unmixing, "signed")[0, 1]
    absolute = all_scores(data.unmixing, "abs")[0, 1]
    np.testing.assert_array_equal(np.flatnonzero(signed > 0.05), data.shifted[0, 1])
    assert absolute.max() < 1e-14


def test_scores_lie_between_zero_and_one_and_absolute_ones_below_signed_ones():
    rng = np.random.default_rng(3)
    for scale in (1e-3, 1.0, 1e3):
        A, B = rng.standard_normal((50, 7)), scale * rng.standard_normal((50, 7))
        signed, absolute = (row_scores(A, B, s) for s in ("signed", "abs"))
        assert (absolute <= signed + 1e-15).all()
        assert (absolute >= 0).all() and (signed <= 1).all()


def test_costs_and_matching_agree_with_brute_force():
    rng = np.random.default_rng(4)
    A, B = rng.standard_normal((5, 6)), rng.standard_normal((5, 6))
    costs, signs = row_costs(A, B)
    for i in range(5):
        for j in range(5):
            total = np.abs(A[i]).sum() + np.abs(B[j]).sum()
            same, opposite = np.abs(A[i] - B[j]).sum(), np.abs(A[i] + B[j]).sum()
            assert costs[i, j] == pytest.approx(min(same, opposite) / total, rel=1e-12)
            assert signs[i, j] == (1 if same <= opposite else -1)
    best = min(permutations(range(5)), key=lambda p: costs[range(5), p].sum())
    match = match_rows(sources(A), sources(B), "assignment")
    np.testing.assert_array_equal(match.permutation, best)
    for i, j in enumerate(best):
        others = np.delete(costs[i], j)
        assert match.margins[i] == pytest.approx(others.min() - costs[i, j], rel=1e-12)


def test_psi_sorts_in_the_same_direction():
    rows = np.eye(3)
    first = sources(rows, psi=np.array([0.6, 0.8, 0.7]))
    other = sources(rows, psi=np.array([0.8, 0.7, 0.6]))
    match = match_rows(first, other, "psi")
    np.testing.assert_array_equal(match.permutation, [2, 0, 1])
    assert np.isnan(match.margins).all()


def test_laws_are_matched_up_to_a_mirror_image():
    rng = np.random.default_rng(5)
    n = 20_000
    draws = np.column_stack(
        [
            rng.exponential(size=n) - 1,
            rng.laplace(size=n) / np.sqrt(2),
            rng.uniform(-1, 1, n) * np.sqrt(3),
        ]
    )
    again = np.column_stack(
        [
            rng.uniform(-1, 1, n) * np.sqrt(3),
            1 - rng.exponential(size=n),
            rng.laplace(size=n) / np.sqrt(2),
        ]
    )
    costs = quantile_costs(quantiles(draws), quantiles(again))
    np.testing.assert_array_equal(costs.argmin(axis=1), [1, 2, 0])
    # Against scipy's distance between the samples themselves; 500 quantiles leave out
    # less than 1 / 500 of the mass at each end.
    direct = stats.wasserstein_distance(draws[:, 1], again[:, 0])
    assert costs[1, 0] == pytest.approx(direct, abs=0.01)
    first = sources(np.eye(3), law=quantiles(draws))
    match = match_rows(first, sources(np.eye(3), law=quantiles(again)), "distribution")
    np.testing.assert_array_equal(match.permutation, [1, 2, 0])
    assert (match.margins > 0).all()


def test_one_component_has_nothing_to_be_confused_with():
    match = match_rows(sources(np.eye(1)), sources(-np.eye(1)), "assignment")
    assert match.permutation[0] == 0 and match.signs[0] == -1
    assert np.isnan(match.margins[0])


class Found(NamedTuple):
    sources: Sources


def test_nodes_that_were_mistaken_for_each_other_are_counted():
    rng = np.random.default_rng(6)
    rows = np.repeat(rng.standard_normal((1, 4, 5)), 3, axis=0)
    # The first two nodes are alike in the last two environments, not in the first.
    rows[1:, :2] = rng.standard_normal((2, 5))
    found = [Found(sources(r)) for r in rows]
    orders = np.tile(np.arange(4), (3, 1))
    right = Aligned(found, orders, np.ones((3, 4)), np.ones((3, 4)))
    orders = orders.copy()
    orders[2, :2] = 1, 0
    wrong = right._replace(orders=orders)
    for aligned, expected in ((right, 0), (wrong, 2)):
        shifted = all_scores(aligned.unmixing, "signed") > 0.1
        n_nodes = n_disagreements(aligned, shifted, 0.1, "signed", "assignment")
        assert n_nodes == expected


# --- functionals -------------------------------------------------------------------


def generalised_normal_mass(b):
    """P(|y| <= 1) of the law of unit variance with density exp(-|x|^b)."""
    end = np.sqrt(special.gamma(3 / b) / special.gamma(1 / b))
    part, _ = integrate.quad(lambda x: np.exp(-(x**b)), 0, end)
    return part / special.gamma(1 + 1 / b)


def test_central_mass_falls_with_the_exponent_and_its_gaps_shrink():
    masses = [generalised_normal_mass(b) for b in (1, 2, 3, 10, 20)]
    np.testing.assert_allclose(masses, [0.757, 0.683, 0.648, 0.589, 0.5806], atol=5e-4)
    n = 200_000
    data = make_latent_shift(n, 3, n_environments=1, shift="none", random_state=0)
    error = np.sqrt(np.array(masses[:3]) * (1 - np.array(masses[:3])) / n)
    assert (np.abs(central_mass(data.sources) - masses[:3]) < 5 * error).all()


def test_functionals_are_even_and_their_errors_shrink_with_the_root_of_n():
    rng = np.random.default_rng(7)
    Y = rng.uniform(-1, 1, (40_000, 3)) * np.sqrt(3)
    for function in (central_mass, excess_kurtosis):
        np.testing.assert_allclose(function(Y), function(-Y), atol=1e-12)
    psi, error = functional(Y, "central_mass")
    np.testing.assert_array_equal(psi, central_mass(Y))
    # Ten batches give a standard error with nine degrees of freedom.
    true = np.sqrt(psi * (1 - psi) / len(Y))
    low, high = np.sqrt(stats.chi2.ppf([1e-5, 1 - 1e-5], 9) / 9)
    assert ((error > low * true) & (error < high * true)).all()
    assert excess_kurtosis(Y) == pytest.approx(np.full(3, -1.2), abs=0.05)


def test_too_few_rows_have_no_error_and_odd_answers_are_refused():
    Y = np.ones((5, 2))
    assert np.isnan(functional(Y, "kurtosis")[1]).all()
    with pytest.raises(ValueError, match="must return 2 finite numbers"):
        functional(Y, lambda Y: Y)
    with pytest.raises(ValueError, match="must return 2 finite numbers"):
        functional(Y, lambda Y: np.full(2, np.nan))


def test_the_smallest_gap_is_in_standard_errors():
    psi, error = np.array([0.5, 0.8, 0.6]), np.array([0.03, 0.01, 0.04])
    assert smallest_gap(psi, error) == pytest.approx(0.1 / 0.05)
    assert smallest_gap(np.array([0.5, 0.5]), np.zeros(2)) == 0
    assert smallest_gap(np.array([0.5, 0.6]), np.zeros(2)) == np.inf
    assert np.isnan(smallest_gap(psi[:1], error[:1]))


def test_scores_of_noise_are_those_of_whitening_with_it():
    rng = np.random.default_rng(4)
    rows = np.stack([rng.standard_normal((3, 5))] * 2)
    rows[1, 0] *= 2
    variance = 1e-5
    noisy = []
    for M in rows:
        # The symmetric inverse root of the covariance of the sources with noise.
        values, turn = np.linalg.eigh(np.eye(3) + variance * M @ M.T)
        noisy.append(turn / np.sqrt(values) @ turn.T @ M)
    scores = noise_scores(rows, variance)
    assert scores.shape == (2, 2, 3)
    assert np.array_equal(scores, scores.transpose(1, 0, 2))
    assert not scores[[0, 1], [0, 1]].any()
    # To first order in variance |M|^2, which is about 1e-4.
    found = row_scores(*noisy, "signed")[1:]
    assert scores[0, 1, 1:] == pytest.approx(found, rel=1e-2)
