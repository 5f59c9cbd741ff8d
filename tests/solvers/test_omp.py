"""Batched matching pursuit against scikit-learn, a naive pursuit and known codes."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import orthogonal_mp

from skident.solvers import _omp, batched_omp


def unit_rows(rng, n_components, n_features):
    D = rng.standard_normal((n_components, n_features))
    return D / np.linalg.norm(D, axis=1, keepdims=True)


def naive_omp(x, D, n_nonzero, tol=1e-12):
    support, coef, residual = [], np.zeros(0), x
    while len(support) < n_nonzero and np.linalg.norm(residual) > tol:
        score = np.abs(D @ residual)
        score[support] = -1.0
        support.append(int(score.argmax()))
        coef = np.linalg.lstsq(D[support].T, x, rcond=None)[0]
        residual = x - coef @ D[support]
    code = np.zeros(len(D))
    code[support] = coef
    return code


@pytest.fixture(params=["gram", "residual"])
def route(request, monkeypatch):
    """Force one of the two ways of updating the correlations."""
    if request.param == "gram":
        monkeypatch.setattr(_omp, "_SPARSE_TO_DENSE_COST", 0)
    else:
        monkeypatch.setattr(_omp, "_MAX_GRAM_BYTES", 0)
    return request.param


@pytest.mark.parametrize("n_nonzero", [1, 3, 7])
def test_equals_scikit_learn(route, n_nonzero):
    rng = np.random.default_rng(0)
    D, X = unit_rows(rng, 60, 20), rng.standard_normal((80, 20))
    codes = batched_omp(X, D, n_nonzero)
    expected = orthogonal_mp(D.T, X.T, n_nonzero_coefs=n_nonzero).T
    np.testing.assert_allclose(codes.toarray(), expected, atol=1e-12)


def test_equals_naive_pursuit_when_undercomplete(route):
    rng = np.random.default_rng(1)
    D, X = unit_rows(rng, 6, 15), rng.standard_normal((30, 15))
    # More atoms are asked for than exist: all six are used.
    codes = batched_omp(X, D, 50)
    np.testing.assert_array_equal(codes.getnnz(axis=1), 6)
    expected = np.array([naive_omp(x, D, 6) for x in X])
    np.testing.assert_allclose(codes.toarray(), expected, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_recovers_exactly_sparse_rows_and_stops_there(route, dtype, rtol):
    # Coherence below 1 / (2 k - 1) guarantees recovery (Tropp 2004). The identity
    # beside a Hadamard basis has coherence 1 / 8, which allows k = 4.
    hadamard = np.array([[1.0]])
    while len(hadamard) < 64:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    D = np.vstack([np.eye(64), hadamard / 8.0]).astype(dtype)
    rng = np.random.default_rng(2)
    truth = np.zeros((200, 128), dtype=dtype)
    for row in truth:
        size = rng.integers(0, 5)
        at = rng.choice(128, size, replace=False)
        row[at] = rng.uniform(0.5, 2.0, size) * rng.choice([-1, 1], size)
    codes = batched_omp(truth @ D, D, 10)
    assert codes.dtype == dtype
    np.testing.assert_allclose(codes.toarray(), truth, atol=2 * rtol)
    # Nothing is added once the residual is rounding: supports are those of the truth.
    np.testing.assert_array_equal(codes.getnnz(axis=1), (truth != 0).sum(axis=1))


def test_both_routes_agree_in_float32(monkeypatch):
    rng = np.random.default_rng(3)
    D = unit_rows(rng, 300, 40).astype(np.float32)
    X = rng.standard_normal((100, 40), dtype=np.float32)
    monkeypatch.setattr(_omp, "_SPARSE_TO_DENSE_COST", 0)
    by_gram = batched_omp(X, D, 8)
    monkeypatch.setattr(_omp, "_MAX_GRAM_BYTES", 0)
    by_residual = batched_omp(X, D, 8)
    exact = batched_omp(X.astype(float), D.astype(float), 8)
    np.testing.assert_array_equal(by_gram.indices, exact.indices)
    np.testing.assert_array_equal(by_residual.indices, exact.indices)
    # Refinement leaves the rounding of the data times the conditioning of 8 atoms.
    np.testing.assert_allclose(by_gram.data, exact.data, atol=5e-6)
    np.testing.assert_allclose(by_residual.data, exact.data, atol=5e-6)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_survives_duplicated_atoms(route, distance, dtype):
    rng = np.random.default_rng(4)
    D = unit_rows(rng, 20, 12)
    twin = D + distance * rng.standard_normal(D.shape)
    twin /= np.linalg.norm(twin, axis=1, keepdims=True)
    D = np.vstack([D, twin]).astype(dtype)
    X = rng.standard_normal((50, 12)).astype(dtype)
    codes = batched_omp(X, D, 12)
    assert np.isfinite(codes.data).all()
    residual = np.linalg.norm(X - codes @ D, axis=1) / np.linalg.norm(X, axis=1)
    # Twelve atoms of R^12 leave nothing; twins would cost a dimension each. Pursuit
    # may stop at an atom within sqrt(100 eps) of the span, and leave that share.
    assert residual.max() < 1e-2
    if distance == 0.0:
        used = codes.toarray() != 0
        assert not (used[:, :20] & used[:, 20:]).any()


def test_rank_deficient_dictionary_stops_at_its_rank(route):
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((10, 3)))[0].T
    D = unit_rows(rng, 30, 3) @ basis
    X = rng.standard_normal((40, 10))
    codes = batched_omp(X, D, 8)
    assert codes.getnnz(axis=1).max() == 3
    np.testing.assert_allclose(codes @ D, X @ basis.T @ basis, atol=1e-12)


def test_zero_rows_and_structure(route):
    rng = np.random.default_rng(6)
    D, X = unit_rows(rng, 30, 10), rng.standard_normal((9, 10))
    X[[0, 4, 8]] = 0.0
    codes = batched_omp(X, D, 4)
    assert sparse.issparse(codes) and codes.format == "csr"
    assert codes.shape == (9, 30) and codes.has_sorted_indices
    assert all(np.all(np.diff(row.indices) > 0) for row in codes)
    np.testing.assert_array_equal(codes.getnnz(axis=1), [0, 4, 4, 4, 0, 4, 4, 4, 0])
    assert batched_omp(X[:0], D, 4).shape == (0, 30)
    assert batched_omp(np.zeros((3, 10)), D, 4).nnz == 0


def test_chunks_do_not_matter_and_memory_maps_are_read(monkeypatch, tmp_path):
    rng = np.random.default_rng(7)
    D = unit_rows(rng, 40, 16)
    X = rng.standard_normal((70, 16)).astype(np.float16)
    path = tmp_path / "rows"
    X.tofile(path)
    mapped = np.memmap(path, dtype=np.float16, mode="r", shape=X.shape)
    whole = batched_omp(X.astype(np.float32), D, 5)
    monkeypatch.setattr(_omp, "_GRAM_CHUNK_BYTES", 8000)
    monkeypatch.setattr(_omp, "_RESIDUAL_CHUNK_BYTES", 8000)
    chunked = batched_omp(mapped, D, 5)
    assert chunked.dtype == np.float32
    np.testing.assert_array_equal(chunked.indices, whole.indices)
    np.testing.assert_allclose(chunked.data, whole.data, atol=2e-6)


def test_equivariant_under_signed_permutation_and_scale(route):
    rng = np.random.default_rng(8)
    D, X = unit_rows(rng, 50, 16), rng.standard_normal((40, 16))
    order, signs = rng.permutation(50), rng.choice([-1.0, 1.0], 50)
    codes = batched_omp(X, D, 6).toarray()
    moved = batched_omp(1e-6 * X, signs[:, None] * D[order], 6).toarray()
    np.testing.assert_allclose(1e6 * moved * signs, codes[:, order], atol=1e-11)


def test_gram_is_used_only_where_it_is_small_and_pays():
    assert _omp._gram_pays(10_000, (256, 64), 5, 4)
    assert not _omp._gram_pays(10, (4096, 768), 5, 4)  # few rows: its cost is not met
    assert not _omp._gram_pays(10**6, (16384, 2304), 64, 4)  # 1 GiB


def test_errors_name_the_argument():
    rng = np.random.default_rng(9)
    D, X = unit_rows(rng, 8, 5), rng.standard_normal((4, 5))
    with pytest.raises(ValueError, match="dictionary must have as many columns"):
        batched_omp(X[:, :4], D, 2)
    with pytest.raises(ValueError, match="n_nonzero must be at least 1, got 0"):
        batched_omp(X, D, 0)
    with pytest.raises(ValueError, match="dictionary must have rows of unit norm"):
        batched_omp(X, 2 * D, 2)
    with pytest.raises(ValueError, match="dictionary must have rows of unit norm"):
        batched_omp(X, np.full_like(D, np.nan), 2)
    with pytest.raises(ValueError, match="X must be two-dimensional, got 1"):
        batched_omp(X[0], D, 2)
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"X must be finite.*n_samples = 4"):
        batched_omp(X, D, 2)
