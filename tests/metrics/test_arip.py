"""aRIP and the assumptions of the identifiability theorem against brute force."""

import pickle
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from skident.datasets import make_ambiguous_dictionary, make_sparse_dictionary
from skident.decomposition import IdentifiableSAE
from skident.metrics import (
    AripReport,
    _arip_supports,
    arip,
    arip_report,
    arip_statistics,
    top_supports,
)
from skident.metrics import _arip as module


def unit_rows(seed, n_components, n_features):
    D = np.random.default_rng(seed).standard_normal((n_components, n_features))
    return D / np.linalg.norm(D, axis=1, keepdims=True)


def subsets(seed, n, n_components, size):
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(n_components, size, replace=False) for _ in range(n)])


def codes_on(supports, values, n_components):
    codes = np.zeros((len(supports), n_components))
    for code, support, value in zip(codes, supports, values, strict=True):
        code[support] = value
    return sparse.csr_matrix(codes)


def verdicts(report, **kwargs):
    short = {a.name.split(":")[0]: a for a in report.assumptions(**kwargs)}
    return {name.split()[0]: a.verdict for name, a in short.items()}


def test_arip_is_the_mean_squared_distance_of_eigenvalues_to_one():
    D, S = unit_rows(0, 50, 20), subsets(1, 30, 50, 8)
    spectra = [np.linalg.eigvalsh(D[s] @ D[s].T) for s in S]
    expected = [np.mean((spectrum - 1) ** 2) for spectrum in spectra]
    np.testing.assert_allclose(arip(D, S), expected, rtol=1e-10)
    for scale in (1e-3, 7.0):
        np.testing.assert_allclose(arip(scale * D, S), expected, rtol=1e-10)


def test_arip_is_the_expectation_of_the_stochastic_form():
    D, S = unit_rows(0, 50, 20), subsets(1, 1, 50, 8)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((20_000, 8))
    p = noise @ D[S[0]]
    h, h2 = (p**2).sum(axis=1), ((p @ D[S[0]].T) ** 2).sum(axis=1)
    estimate = 8 * h2.mean() / h.mean() ** 2 - 1
    # Standard error of the ratio by the delta method.
    influence = (estimate + 1) * (h2 / h2.mean() - 2 * h / h.mean())
    error = influence.std() / np.sqrt(len(h))
    assert abs(estimate - arip(D, S)[0]) < 3 * error


def test_arip_of_known_supports():
    D = np.vstack([np.eye(6), np.eye(6)[[0, 0]]])
    values = arip(D, [[0, 1, 2], [0, 6, 7], [3, -1, -1], [-1, -1, -1], [0, 6, -1]])
    np.testing.assert_allclose(values, [0, 2, 0, np.nan, 1], atol=1e-12)


def test_arip_of_random_atoms_has_the_floor_as_its_mean():
    N, size, n = 30, 7, 4000
    values = arip(unit_rows(0, n * size, N), np.arange(n * size).reshape(n, size))
    error = values.std() / np.sqrt(n)
    assert abs(values.mean() - (size - 1) / N) < 4 * error


def test_chunks_do_not_matter(monkeypatch):
    data = make_sparse_dictionary(90, 12, 20, 3, noise_std=0.1, random_state=0)
    S = subsets(0, 90, 20, 6)
    args = data.X, data.dictionary, data.codes, S
    whole = arip_statistics(*args, random_state=0)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 2000)
    monkeypatch.setattr(_arip_supports, "_CHUNK_BYTES", 2000)
    parts = arip_statistics(*args, random_state=0)
    pd.testing.assert_frame_equal(parts.to_frame(), whole.to_frame(), rtol=1e-9)


def test_statistics_against_brute_force():
    rng = np.random.default_rng(0)
    n, N, K, k = 40, 10, 14, 3
    D, S = unit_rows(1, K, N), subsets(2, n, K, 2 * k)
    active = subsets(3, n, K, k)
    codes = codes_on(active, rng.standard_normal((n, k)), K)
    X = codes @ D + 0.1 * rng.standard_normal((n, N))
    report = arip_statistics(X, D, codes, S, random_state=0)

    values = arip(D, S)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    assert report.arip_mean == pytest.approx(values.mean())
    assert report.arip_quantiles == pytest.approx(np.quantile(values, levels))
    assert report.arip_floor == pytest.approx((2 * k - 1) / N)
    delta = [np.abs(np.linalg.eigvalsh(D[s] @ D[s].T) - 1).max() for s in S]
    assert report.delta_quantiles == pytest.approx(np.quantile(delta, levels))
    # That of the theorem is over unions of pairs of codes, one drawn a row.
    pairs = zip(
        active, active[np.random.RandomState(0).randint(n, size=n)], strict=True
    )
    unions = [np.union1d(a, b) for a, b in pairs]
    delta = [np.abs(np.linalg.eigvalsh(D[u] @ D[u].T) - 1).max() for u in unions]
    assert report.delta == pytest.approx(max(delta))
    assert report.n_supports == len({frozenset(s.tolist()) for s in active})
    cosines = np.abs(D @ D.T) - np.eye(K)
    assert report.coherence == pytest.approx(cosines.max())
    residual = np.linalg.norm(X - codes @ D, axis=1)
    assert report.residual_quantiles == pytest.approx(np.quantile(residual, levels))
    dense = codes.toarray()
    gaps = [
        np.linalg.norm(z[s] - np.linalg.lstsq(D[s].T, x, rcond=None)[0])
        for x, z, s in zip(X, dense, active, strict=True)
    ]
    assert report.gap_quantiles == pytest.approx(np.quantile(gaps, levels))
    norms = np.linalg.norm(dense, axis=1)
    assert report.code_norm == pytest.approx(norms.mean())
    assert report.max_norm == pytest.approx(np.linalg.norm(X, axis=1).max())
    assert (report.n_samples, report.n_features, report.n_components) == (n, N, K)
    assert report.n_active == k and report.support_size == 2 * k


def test_theorem_quantities():
    D = np.array([[1.0, 0.0], [0.6, 0.8]])
    codes = sparse.csr_matrix([[2.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    report = arip_statistics(codes @ D, D, codes, [[0, 1]] * 3, random_state=0)
    assert report.delta == pytest.approx(0.6)  # eigenvalues 0.4 and 1.6
    alpha = np.sqrt(1 - (1.2 / 1.6) ** 2)
    assert report.alpha == pytest.approx(alpha)
    # Supports {0}, {1} have a code each, {0, 1} one of the two that it needs.
    assert report.zeta == pytest.approx(1.0)
    assert report.zeta_coverage == pytest.approx(2 / 3)
    unit = np.sqrt(1 - 0.6) * alpha / (4 * np.sqrt(2))
    assert report.threshold == pytest.approx(unit)
    assert report.threshold_ceiling == pytest.approx(2 * unit)


def test_diversity_takes_the_best_rows_of_a_support():
    # Twenty parallel codes and two nearly orthogonal ones, of norms 2 and 3.
    few = [[2.0, 1e-3], [1e-3, 3.0]]
    values = np.vstack([np.tile([1.0, 1e-3], (20, 1)), few])
    codes = sparse.csr_matrix(values)
    report = arip_statistics(values, np.eye(2), codes, [[0, 1]] * 22)
    assert report.zeta == pytest.approx(np.linalg.svd(few)[1][-1])
    assert report.zeta_coverage == 1.0


@pytest.mark.parametrize(("seed", "k", "n"), [(0, 3, 12), (1, 2, 25), (2, 4, 60)])
def test_richness_against_brute_force(seed, k, n):
    K = 9
    active = subsets(seed, n, K - 1, k)  # the last atom is never used
    sets = [set(s.tolist()) for s in active]
    alone = {next(iter(a & b)) for a, b in combinations(sets, 2) if len(a & b) == 1}
    apart = {(i, j) for a in sets for b in sets if not a & b for i in a for j in b}
    used = set().union(*sets)
    pairs = [(i, j) for i in used for j in used if i != j]
    codes = codes_on(active, np.ones((n, k)), K)
    D = unit_rows(0, K, 20)
    report = arip_statistics(codes @ D, D, codes, active, random_state=0)
    assert report.unused == pytest.approx(1 - len(used) / K)
    assert report.never_alone == pytest.approx(1 - len(alone) / K)
    missing = [p for p in pairs if p not in apart]
    assert report.never_apart == pytest.approx(len(missing) / len(pairs))
    # The counts that the verdict is worded with.
    richness = report.assumptions()[1]
    assert f"{K - len(alone)} of {K} atoms never alone" in richness.test
    ways = len(pairs) // 2
    assert f"{len(missing) // 2} of {ways} pairs never apart" in richness.test


def test_atoms_that_always_come_together_leave_richness_open():
    # Atoms 0 and 1 are always active together.
    active = np.array([[0, 1, 2], [0, 1, 3], [2, 4, 5], [3, 4, 5], [2, 3, 5]] * 10)
    codes = codes_on(active, np.ones((50, 3)), 6)
    D = unit_rows(0, 6, 30)
    report = arip_statistics(codes @ D, D, codes, active, random_state=0)
    assert report.never_alone >= 2 / 6
    # Another row may part them: that there is none cannot be seen.
    assert verdicts(report)["A2"] == "untestable"
    apart = codes_on(np.array([[0, 4], [1, 5], [0, 5], [1, 4]]), np.ones((4, 2)), 6)
    more = sparse.vstack([codes, apart], format="csr")
    supports = np.vstack([active, np.full((4, 3), -1)])
    report = arip_statistics(more @ D, D, more, supports, random_state=0)
    assert report.never_alone == 0


def ideal(repeats=6):
    """Orthonormal atoms and all pairs of them as supports, many times."""
    rng = np.random.default_rng(0)
    D = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    active = np.array(list(combinations(range(6), 2)) * repeats)
    # Signs (+, +) and (+, -) in turn: singular values are at least sqrt(2).
    signs = np.repeat(1.0 - 2.0 * (np.arange(repeats) % 2), 15)
    values = np.column_stack([np.ones(len(active)), signs])
    codes = codes_on(active, values, 6)
    return codes @ D, D, codes, active


def test_every_assumption_can_hold():
    report = arip_statistics(*ideal(), norm_bound=2.0, random_state=0)
    assert report.zeta == pytest.approx(np.sqrt(2))
    assert report.zeta_coverage == 1.0
    assert report.delta == pytest.approx(0, abs=1e-12)
    assert report.alpha == pytest.approx(1)
    assert report.threshold == pytest.approx(np.sqrt(2) / (4 * np.sqrt(2)))
    assert report.theorem_holds is True
    assert set(verdicts(report).values()) == {"holds"}
    assert [*verdicts(report)] == ["A1", "A2", "A3", "A4", "A5", "A6", "competing"]
    assert "error below threshold     holds" in str(report)
    assert "theorem applies           yes" in str(report)


def test_each_assumption_can_fail_alone():
    X, D, codes, active = ideal()
    # A3: a residual of norm 1 in every row, above 0.25.
    X7, D7 = np.hstack([X, np.ones((len(X), 1))]), np.hstack([D, np.zeros((6, 1))])
    wrong = arip_statistics(X7, D7, codes, active, norm_bound=2.0, random_state=0)
    assert wrong.residual_quantiles[-1] == pytest.approx(1.0)
    assert wrong.theorem_holds is False
    assert {k for k, v in verdicts(wrong).items() if v != "holds"} == {"A3"}
    # A5: a bound that the rows exceed; without any bound, untestable.
    wrong = arip_statistics(X, D, codes, active, norm_bound=1.0, random_state=0)
    assert {k for k, v in verdicts(wrong).items() if v != "holds"} == {"A5"}
    unknown = arip_statistics(X, D, codes, active, random_state=0)
    assert verdicts(unknown)["A5"] == "untestable"
    # The theorem needs all of them.
    assert wrong.theorem_holds is False
    assert unknown.theorem_holds is None
    # A6: codes 5 % too short are not least squares; the residual stays below 0.25.
    args = X, D, 0.95 * codes, active
    wrong = arip_statistics(*args, norm_bound=2.0, random_state=0)
    assert {k for k, v in verdicts(wrong).items() if v != "holds"} == {"A6"}
    assert verdicts(wrong, gap_tolerance=0.1)["A6"] == "holds"
    # A4: the same code in every row of a support has rank one; then zeta is 0 and the
    # threshold of A3 unknown. Other rows may have other codes.
    same = abs(codes)
    wrong = arip_statistics(same @ D, D, same, active, norm_bound=2.0, random_state=0)
    assert wrong.zeta == pytest.approx(0, abs=1e-12)
    assert {k for k, v in verdicts(wrong).items() if v != "holds"} == {"A3", "A4"}
    assert verdicts(wrong)["A3"] == verdicts(wrong)["A4"] == "untestable"
    assert wrong.theorem_holds is None
    # A1: two atoms that codes use together are one and the same.
    D8 = np.vstack([D, D[:1]])
    twice = np.array([[0, 6], [1, 2]] * 10)
    values = np.tile([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, -1.0]], (5, 1))
    doubled = codes_on(twice, values, 7)
    args = doubled @ D8, D8, doubled, [[1, 2]] * 20
    wrong = arip_statistics(*args, norm_bound=2.0, random_state=0)
    assert wrong.delta == pytest.approx(1.0)
    assert verdicts(wrong)["A1"] == verdicts(wrong)["A3"] == "violated"
    assert verdicts(wrong)["competing"] == "holds"
    assert wrong.theorem_holds is False


def test_error_between_the_threshold_and_its_ceiling_proves_nothing():
    X, D, codes, active = ideal()
    # On each support a long code and one a hundredth as long: zeta is small, and rows
    # yet unseen may raise it. The residual of 0.1 is between what either would give.
    short = np.repeat(np.where(np.arange(6) % 2, 0.01, 1.0), 15)
    codes = sparse.diags(short) @ codes
    X = np.hstack([codes @ D, np.full((len(X), 1), 0.1)])
    D = np.hstack([D, np.zeros((6, 1))])
    report = arip_statistics(X, D, codes, active, random_state=0)
    assert report.threshold < 0.1 < report.threshold_ceiling
    assert verdicts(report)["A3"] == "untestable"
    assert verdicts(report)["A4"] == "holds"


def test_unrepeated_supports_leave_diversity_untestable():
    report = arip_statistics(*ideal(repeats=1), norm_bound=2.0, random_state=0)
    assert np.isnan(report.zeta) and report.zeta_coverage == 0.0
    assert np.isnan(report.threshold)
    assert report.theorem_holds is None
    found = verdicts(report)
    assert found["A3"] == found["A4"] == "untestable"
    assert "0 of 15 observed supports" in report.assumptions()[3].test
    assert "error below threshold     untestable" in str(report)
    assert "theorem applies           untestable" in str(report)


@pytest.mark.parametrize("k", [2, 4])
def test_ambiguous_codes_are_flagged(k):
    data = make_ambiguous_dictionary(40, 12, k + 8, k, random_state=0)
    D = data.dictionary
    tops = module.top_supports(data.X @ D.T, 2 * k)
    for codes in (data.codes, data.other_codes):
        report = arip_statistics(data.X, D, codes, tops, random_state=0)
        # 2 k atoms in k dimensions: the smallest eigenvalue of the Gram matrix is 0.
        assert min(report.delta_quantiles) >= 1 - 1e-12
        assert verdicts(report)["competing"] == "violated"
        # Either codes alone are on one support, of independent atoms: none of the
        # theorem's own conditions is violated, nor do all of them hold.
        assert report.n_supports == 1
        assert report.residual_quantiles[-1] < 1e-12
        assert report.theorem_holds is None
    # Orthonormal atoms, that of the first codes.
    first = arip_statistics(data.X, D, data.codes, tops, random_state=0)
    assert first.delta == pytest.approx(0, abs=1e-12)
    # Rows of both kinds show it: the union of both supports is dependent.
    codes = sparse.vstack([data.codes, data.other_codes])
    X, tops = np.vstack([data.X] * 2), np.vstack([tops] * 2)
    report = arip_statistics(X, D, codes, tops, random_state=0)
    assert report.delta >= 1 - 1e-12
    assert verdicts(report)["A1"] == verdicts(report)["A3"] == "violated"
    assert report.theorem_holds is False
    assert report.threshold_ceiling == 0.0


def test_copies_of_atoms_that_no_code_uses_only_violate_the_competing_line():
    # e1 to e4, and e1 and e2 once more. Exact codes on the first four, of all pairs.
    D = np.vstack([np.eye(4), np.eye(4)[:2]])
    active = np.array(list(combinations(range(4), 2)) * 4)
    signs = np.repeat([1.0, -1.0, 1.0, -1.0], 6)
    codes = codes_on(active, np.column_stack([np.ones(24), signs]), 6)
    X = codes @ D
    tops = top_supports(X @ D.T, 4)
    report = arip_statistics(X, D, codes, tops, norm_bound=2.0, random_state=0)
    assert report.delta == pytest.approx(0, abs=1e-12)
    assert report.delta_quantiles[-1] == pytest.approx(1)
    found = verdicts(report)
    assert [found[a] for a in ("A1", "A3", "A4", "A5", "A6")] == ["holds"] * 5
    assert found["competing"] == "violated"
    assert found["A2"] == "untestable"  # of the copies no overlap is seen
    assert report.theorem_holds is None


def test_gap_ignores_directions_that_least_squares_leaves_free():
    D = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    codes = sparse.csr_matrix([[1.0, 2.0, 0.0], [0.0, 0.0, 1.5]])
    X = np.array([[3.0, 5.0], [0.0, 1.0]])
    report = arip_statistics(X, D, codes, [[0, 1], [1, 2]], random_state=0)
    np.testing.assert_allclose(report.gap_quantiles[-1], 0.5, atol=1e-12)
    np.testing.assert_allclose(report.gap_quantiles[2], 0.25, atol=1e-12)


def test_empty_codes_and_supports():
    codes = sparse.csr_matrix((3, 4))
    X = np.ones((3, 2)) / np.sqrt(2)
    D = unit_rows(0, 4, 2)
    report = arip_statistics(X, D, codes, np.full((3, 2), -1))
    assert np.isnan(report.arip_mean) and report.unused == 1.0
    assert report.residual_quantiles == pytest.approx((1.0,) * 6)
    assert np.isnan(report.delta) and report.n_supports == 0
    found = verdicts(report)
    assert found["A1"] == found["A3"] == found["A6"] == "untestable"
    assert "nan" in str(report)


class FittedSAE(BaseEstimator):
    """What a report asks of a fit; the encoder is the dictionary itself."""

    def __init__(self, dictionary, n_active, variant="abstopk", normalize="l2"):
        self.components_, self.k_ = dictionary, n_active
        self.variant, self.normalize = variant, normalize
        self.intercept_ = np.zeros(dictionary.shape[1])

    def pre_activations(self, X):
        return np.asarray(X) @ self.components_.T

    def transform(self, X):
        u = self.pre_activations(X)
        if self.variant == "topk":
            u = np.maximum(u, 0.0)
        cut = np.sort(np.abs(u), axis=1)[:, [-self.k_]]
        return sparse.csr_matrix(np.where(np.abs(u) >= cut, u, 0.0))


@pytest.fixture(scope="module")
def data():
    return make_sparse_dictionary(
        300, 16, 24, 2, normalize="l2", noise_std=0.01, random_state=0
    )


@pytest.mark.parametrize("variant", ["topk", "abstopk"])
def test_report_of_an_estimator(data, variant):
    est = FittedSAE(data.dictionary, 2, variant)
    report = arip_report(est, data.X, random_state=0)
    u = est.pre_activations(data.X)
    score = u if variant == "topk" else np.abs(u)
    order = np.argsort(-score, axis=1)[:, :4]
    top = np.take_along_axis(score, order, axis=1)
    supports = np.where(top > 0, order, -1)
    expected = arip(est.components_, supports)
    assert report.arip_mean == pytest.approx(np.nanmean(expected), rel=1e-6)
    assert report.support_size == pytest.approx((supports >= 0).sum() / 300)
    residual = data.X - est.transform(data.X) @ est.components_
    assert report.residual_quantiles[-1] == pytest.approx(
        np.linalg.norm(residual, axis=1).max(), rel=1e-5
    )
    assert report.norm_bound == 1.0 and verdicts(report)["A5"] == "holds"
    wide = arip_report(est, data.X, rip_multiplier=3, random_state=0)
    assert wide.support_size > report.support_size
    # The supports never hold more atoms than there are.
    assert arip_report(est, data.X, rip_multiplier=50).support_size <= 24


def test_report_uses_intercept_and_units(data):
    est = FittedSAE(data.dictionary, 2)
    plain = arip_report(est, data.X, random_state=0)
    scaled = arip_report(est, pd.DataFrame(data.X), random_state=0)
    assert scaled == plain
    est.intercept_ = np.full(16, 0.01)
    moved = arip_report(est, data.X, random_state=0)
    residual = data.X - 0.01 - est.transform(data.X) @ est.components_
    assert moved.residual_quantiles[-1] == pytest.approx(
        np.linalg.norm(residual, axis=1).max(), rel=1e-5
    )
    assert moved.norm_bound == pytest.approx(1.04)
    est.normalize = None
    assert np.isnan(arip_report(est, data.X).norm_bound)


def test_report_examines_a_sample(data):
    est = FittedSAE(data.dictionary, 2)
    part = arip_report(est, data.X, max_samples=100, random_state=0)
    assert part.n_samples == 100
    assert part == arip_report(est, data.X, max_samples=100, random_state=0)
    other = arip_report(est, data.X, max_samples=100, random_state=1)
    assert part.arip_mean != other.arip_mean
    assert arip_report(est, data.X, max_samples=None).n_samples == 300


def test_report_of_shards_and_of_memory_maps(data, tmp_path):
    est = FittedSAE(data.dictionary, 2)
    X = data.X.astype(np.float64)
    for n_rows in (100, None):
        whole = arip_report(est, X, max_samples=n_rows, random_state=0)
        shards = [X[:7], X[7:130], X[130:]]
        assert arip_report(est, shards, max_samples=n_rows, random_state=0) == whole
    half = np.lib.format.open_memmap(
        tmp_path / "half.npy", mode="w+", dtype=np.float16, shape=(300, 16)
    )
    half[:] = data.X
    half.flush()
    for stored in (half, [half[:200], half[200:]]):
        report = arip_report(est, stored, max_samples=100, random_state=0)
        # The same rows, to the three digits that they are stored with.
        near = arip_report(est, X, max_samples=100, random_state=0)
        assert report.n_samples == 100
        assert report.arip_mean == pytest.approx(near.arip_mean, rel=0.05)
        assert report.residual_quantiles[-1] == pytest.approx(
            near.residual_quantiles[-1], abs=0.05
        )
    X[5, 3] = np.nan
    with pytest.raises(ValueError, match="NaN, in row 5 of shard 0 of 2"):
        arip_report(est, [X[:7], X[7:]])


def test_report_of_a_dataframe_keeps_column_names(data):
    X = pd.DataFrame(data.X).rename(columns="x{}".format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = IdentifiableSAE(24, 2, max_steps=2, random_state=0).fit(X)
    # Warnings are errors: the estimator would warn of missing names.
    assert arip_report(sae, X, max_samples=50, random_state=0).n_samples == 50


def test_top_supports_against_sorting():
    u = np.random.default_rng(0).standard_normal((50, 12))
    for size in (1, 5, 12):
        expected = np.argsort(-np.abs(u), axis=1)[:, :size]
        np.testing.assert_array_equal(np.sort(top_supports(u, size)), np.sort(expected))
        order = np.argsort(-u, axis=1)[:, :size]
        kept = np.where(np.take_along_axis(u, order, axis=1) > 0, order, -1)
        np.testing.assert_array_equal(
            np.sort(top_supports(u, size, positive=True)), np.sort(kept)
        )


def test_record(data):
    report = arip_report(FittedSAE(data.dictionary, 2), data.X, random_state=0)
    assert isinstance(report, AripReport)
    assert pickle.loads(pickle.dumps(report)) is not report
    with pytest.raises(AttributeError):
        report.delta = 0.0
    frame = report.to_frame()
    assert frame.loc["arip_mean", "value"] == report.arip_mean
    assert frame.loc["delta_max", "value"] == report.delta_quantiles[-1]
    assert frame.loc["residual_q50", "value"] == report.residual_quantiles[2]
    assert frame["value"].dtype == np.float64
    text = str(report)
    for piece in ("24 atoms in 16 dimensions", "300 rows", "q05", "max", "mean aRIP"):
        assert piece in text


def test_errors_name_the_argument(data):
    est = FittedSAE(data.dictionary, 2)
    D, S = data.dictionary, np.zeros((300, 1), dtype=int)
    with pytest.raises(ValueError, match="rip_multiplier must be at least 1, got 0"):
        arip_report(est, data.X, rip_multiplier=0)
    with pytest.raises(ValueError, match="max_samples must be at least 1, got 0"):
        arip_report(est, data.X, max_samples=0)
    with pytest.raises(ValueError, match=r"supports must hold indices in \[-1, 24\)"):
        arip(D, [[24]])
    with pytest.raises(ValueError, match="supports must hold integers"):
        arip(D, [[0.5]])
    with pytest.raises(ValueError, match="supports must be two-dimensional"):
        arip(D, [0, 1])
    with pytest.raises(ValueError, match="dictionary must be two-dimensional"):
        arip(D[0], S)
    with pytest.raises(ValueError, match="dictionary must have rows of unit norm"):
        arip_statistics(data.X, 2 * D, data.codes, S)
    with pytest.raises(ValueError, match=r"target must have shape \(300, 16\)"):
        arip_statistics(data.X[:, :3], D, data.codes, S)
    with pytest.raises(ValueError, match=r"codes must have shape \(300, 24\)"):
        arip_statistics(data.X, D, data.codes[:5], S)
    with pytest.raises(ValueError, match="pre_activations must be two-dimensional"):
        top_supports(D[0], 2)
    for size in (0, 17):
        with pytest.raises(ValueError, match=f"from 1 to the 16 columns .* got {size}"):
            top_supports(D, size)
    with pytest.raises(ValueError, match="at least one row"):
        arip_statistics(data.X[:0], D, data.codes[:0], S[:0])
