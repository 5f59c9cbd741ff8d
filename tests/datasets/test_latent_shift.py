"""Mixtures of latents that shift: the truth, and what each kind of shift changes."""

import numpy as np
import pytest
from scipy import stats

from skident.datasets import make_latent_shift
from skident.datasets._latent_shift import _has_detour
from skident.utils._graphs import topological_order

SHIFTS = ["redraw", "weights", "variance", "add_edge", "reverse", "sign", "none"]
GRAPHS = ["er", "sf", "ba", "partition"]


def small(n_samples=60, n_latent=8, **options):
    return make_latent_shift(n_samples, n_latent, **{"random_state": 0, **options})


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_fields_fit_together(shift, graph):
    data = small([60, 20, 35], shift=shift, graph=graph, n_environments=3)
    np.testing.assert_array_equal(np.bincount(data.environments), [60, 20, 35])
    np.testing.assert_allclose(data.X, data.latents @ data.mixing.T, rtol=1e-13)
    assert data.X.shape == (115, 16) and data.unmixing.shape == (3, 8, 16)
    eps = np.finfo(float).eps
    for k in range(3):
        rows = data.environments == k
        topological_order(data.adjacency_matrices[k], "adjacency_matrices")
        Z, S = data.latents[rows], data.sources[rows]
        scale = np.sqrt(data.noise_variances[k])
        # Sums of at most nine terms, of the sizes added up here.
        size = np.abs(Z) @ (np.abs(data.adjacency_matrices[k]) + np.eye(8)) + 1.0
        error = np.abs(Z @ data.adjacency_matrices[k] + S * scale - Z)
        assert (error <= 64 * eps * size).all()
        # The pseudo-inverse is known to its condition times the rounding.
        M = data.unmixing[k]
        bound = 64 * eps * np.linalg.cond(data.mixing)
        found = data.X[rows] @ M.T
        assert (np.abs(found - S) <= bound * (np.abs(data.X[rows]) @ np.abs(M.T))).all()
        to_sources = (np.eye(8) - data.adjacency_matrices[k].T) / scale[:, None]
        np.testing.assert_allclose(M @ data.mixing, to_sources, atol=1e-10)


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifted_nodes_are_those_whose_rows_differ(shift):
    data = small(5, 12, shift=shift, n_environments=4, shift_fraction=0.3)
    assert sorted(data.shifted) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for (k, k2), nodes in data.shifted.items():
        same = np.ones(12, dtype=bool)
        same[nodes] = False
        A, A2 = (data.adjacency_matrices[e].T for e in (k, k2))
        w, w2 = data.noise_variances[[k, k2]]
        differs = (A != A2).any(axis=1) | (w != w2)
        np.testing.assert_array_equal(differs, ~same)
        # What an estimator of the unmixing can see: equal rows, or rows that are
        # neither equal nor opposite.
        M, M2 = data.unmixing[[k, k2]]
        size = np.abs(M).sum(axis=1) + np.abs(M2).sum(axis=1)
        gap = np.minimum(np.abs(M - M2).sum(axis=1), np.abs(M + M2).sum(axis=1)) / size
        assert (gap[same] < 1e-12).all() and (gap[~same] > 1e-3).all()
    if shift == "none":
        assert not any(len(nodes) for nodes in data.shifted.values())
    elif shift == "reverse":
        assert len(data.shifted[0, 1]) == 4
    else:
        assert [len(data.shifted[0, k]) for k in (1, 2, 3)] == [4, 4, 4]


def one_shift(shift, seed):
    """The reference, what became of it, and masks of edges and nodes that changed."""
    data = small(2, 10, shift=shift, shift_fraction=0.4, random_state=seed)
    A, A2 = data.adjacency_matrices
    w, w2 = data.noise_variances
    assert (np.abs(A[A != 0]) >= 0.25).all() and (np.abs(A) <= 1).all()
    assert (w >= 2).all() and (w <= 4).all()
    return A, A2, w, w2, data.shifted[0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_redrawn_mechanisms(seed):
    A, A2, w, w2, nodes = one_shift("redraw", seed)
    np.testing.assert_array_equal(A != 0, A2 != 0)
    new = A2[:, nodes][A2[:, nodes] != 0]
    assert len(nodes) == 4 and (new >= 6).all() and (new <= 8).all()
    assert (w2[nodes] >= 6).all() and (w2[nodes] <= 8).all()
    A, A2, w, w2, nodes = one_shift("weights", seed)
    np.testing.assert_array_equal(A != 0, A2 != 0)
    assert (A[:, nodes] != 0).any(axis=0).all() and A2[:, nodes].max() >= 6
    np.testing.assert_array_equal(w, w2)
    A, A2, w, w2, nodes = one_shift("variance", seed)
    np.testing.assert_array_equal(A, A2)
    assert len(nodes) == 4 and (w2[nodes] >= 6).all()


@pytest.mark.parametrize("seed", range(5))
def test_signs_and_new_edges(seed):
    A, A2, w, w2, nodes = one_shift("sign", seed)
    np.testing.assert_array_equal(A2[:, nodes], -A[:, nodes])
    np.testing.assert_array_equal(np.abs(A), np.abs(A2))
    np.testing.assert_array_equal(w, w2)
    A, A2, w, w2, nodes = one_shift("add_edge", seed)
    added = (A2 != 0) & (A == 0)
    np.testing.assert_array_equal(np.flatnonzero(added.any(axis=0)), nodes)
    assert added.sum() == len(nodes) == 4 and (A2[~added] == A[~added]).all()
    new = np.abs(A2[added])
    assert (new >= 0.25).all() and (new <= 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_reversed_edges_leave_the_graph_acyclic(seed):
    # All pairs of four nodes are linked: most edges cannot be reversed.
    data = small(2, 4, degree=3, shift="reverse", random_state=seed)
    A, A2 = data.adjacency_matrices
    changed = np.argwhere((A != 0) & (A2 == 0))
    assert len(changed) == 1 and sorted(changed[0]) == data.shifted[0, 1].tolist()
    i, j = changed[0]
    assert A2[j, i] == A[i, j] and A2[i, j] == 0
    order = topological_order(A, "A")
    # In a complete graph only neighbours in the order can change places.
    assert abs(int(np.argmax(order == i)) - int(np.argmax(order == j))) == 1
    topological_order(A2, "A2")


def test_detours():
    A = np.zeros((4, 4))
    A[1, 0] = A[2, 1] = A[3, 2] = A[3, 0] = 1.0
    assert _has_detour(A, 0, 3) and not _has_detour(A, 0, 1)
    assert not _has_detour(A, 2, 3)


def test_a_change_of_variance_has_its_closed_form():
    data = small(5, 10, shift="variance", shift_fraction=0.5)
    M, M2 = data.unmixing
    size = np.abs(M).sum(axis=1) + np.abs(M2).sum(axis=1)
    gap = np.abs(M - M2).sum(axis=1) / size
    w, w2 = np.sqrt(data.noise_variances)
    np.testing.assert_allclose(gap, np.abs(w2 - w) / (w2 + w), atol=1e-12)
    found = gap[data.shifted[0, 1]]
    assert len(found) == 5 and found.min() > 0.1 and found.max() < 1 / 3 + 1e-12


@pytest.mark.parametrize("noise", ["distinct", "laplace", "gaussian", "uniform"])
def test_noises_have_their_laws(noise):
    data = small(5000, 6, noise=noise)
    one = {"laplace": 1.0, "gaussian": 2.0, "uniform": 200.0}
    for j, column in enumerate(data.sources.T):
        law = stats.gennorm(one.get(noise, j + 1.0))
        if noise == "uniform":
            law = stats.uniform()
        standard = law.mean() + law.std() * column
        assert stats.kstest(standard, law.cdf).pvalue > 1e-4
    correlations = np.corrcoef(data.sources, rowvar=False)
    assert np.abs(correlations - np.eye(6)).max() < 4.5 / np.sqrt(10_000)


def test_sources_are_resampled_one_by_one():
    rng = np.random.RandomState(0)
    pool = rng.laplace(size=(700, 3)) @ rng.normal(size=(3, 3)) + 5.0
    assert np.abs(np.corrcoef(pool, rowvar=False) - np.eye(3)).max() > 0.5
    G = rng.normal(size=(9, 3))
    data = make_latent_shift(4000, sources=pool, mixing=G, random_state=0)
    assert data.X.shape == (8000, 9) and data.latents.shape == (8000, 3)
    np.testing.assert_array_equal(data.mixing, G)
    standard = (pool - pool.mean(axis=0)) / pool.std(axis=0)
    for j in range(3):
        assert np.isin(data.sources[:, j].round(9), standard[:, j].round(9)).all()
    fourth = np.mean(standard**4, axis=0)
    error = np.abs(np.mean(data.sources**2, axis=0) - 1.0)
    assert (error < 4.5 * np.sqrt((fourth - 1.0) / 8000)).all()
    assert np.abs(data.sources.mean(axis=0)).max() < 4.5 / np.sqrt(8000)
    correlations = np.corrcoef(data.sources, rowvar=False)
    assert np.abs(correlations - np.eye(3)).max() < 4.5 / np.sqrt(8000)
    assert "resampled" in data.DESCR


def test_mixings():
    data = small(mixing="identity")
    np.testing.assert_array_equal(data.X, data.latents)
    data = small(n_observed=9)
    assert data.X.shape == (120, 9) and np.abs(data.mixing).max() <= 0.25
    G = np.eye(10)[:, :8]
    data = small(mixing=G)
    G[0, 0] = 5.0
    assert data.mixing[0, 0] == 1.0 and not data.X[:, 8:].any()


def test_the_truth_does_not_depend_on_the_number_of_rows():
    few, many = small(3, n_environments=3), small([9, 4, 7], n_environments=3)
    for name in ("adjacency_matrices", "noise_variances", "mixing", "unmixing"):
        np.testing.assert_array_equal(few[name], many[name])


def test_number_of_shifted_nodes():
    for d, wanted in ((3, 1), (5, 1), (10, 2), (20, 3), (30, 4), (40, 6)):
        assert len(small(2, d).shifted[0, 1]) == wanted
    # One environment has no pair, and a share that no graph could give is cut.
    assert small(2, n_environments=1).shifted == {}
    weights = small(2, 6, shift="weights", shift_fraction=1.0)
    effects = np.flatnonzero(weights.adjacency_matrices[0].any(axis=0))
    np.testing.assert_array_equal(weights.shifted[0, 1], effects)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_observed": 4}, "n_observed must be at least the number of latents, 5"),
        ({"n_observed": 6, "mixing": "identity"}, "n_observed must be the number of"),
        ({"mixing": np.ones((4, 5))}, "mixing must be of shape"),
        ({"mixing": np.ones((6, 4))}, "mixing must be of shape"),
        ({"mixing": np.ones((6, 5))}, "full column rank 5, got rank 1"),
        ({"mixing": np.eye(5), "n_observed": 6}, r"<= n_observed = 6, got shape"),
        ({"sources": np.ones((9, 3))}, r"constant columns: \[0, 1, 2\]"),
        ({"sources": np.full((9, 3), np.nan)}, "sources"),
        ({"degree": 0, "shift": "weights"}, "no node that has parents"),
        ({"degree": 0, "shift": "sign"}, "no node that has parents"),
        ({"degree": 0, "shift": "reverse"}, "no edge to reverse"),
        ({"degree": 5, "shift": "add_edge"}, "no node that could get another parent"),
        ({"n_samples": [5, 5, 5]}, "one for each of the 2 environments"),
        ({"shift_fraction": 0.0}, "shift_fraction"),
        ({"shift": "swap"}, "shift"),
        ({"noise": "normal"}, "noise"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_latent_shift(**{"n_samples": 10, **wrong})
