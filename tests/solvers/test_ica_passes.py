"""Passes over the rows: chunks, precision, memory, threads, torch."""

import threading
import tracemalloc

import numpy as np
import pytest
from scipy import linalg
from threadpoolctl import threadpool_info, threadpool_limits

from skident.solvers import _ica_kernel as kernel
from skident.solvers import ica, whitening
from skident.solvers._ica_lbfgs import polar, rotation_of
from skident.solvers._parallel import workers
from tests.solvers._ica_problems import (
    ALGORITHMS,
    FUNCTIONS,
    antiderivative,
    fit,
    matched_correlations,
    mixture,
    sources,
)

# -- chunks, precision, memory -----------------------------------------------------


def test_rows_kept_and_rows_made_anew_give_the_same(monkeypatch):
    X, _ = mixture("mixed", 20_000, 8)
    white = whitening(X)
    kept = ica(X, white, random_state=0)
    monkeypatch.setattr(kernel, "_KEPT_BYTES", 0)
    anew = ica(X, white, random_state=0)
    assert anew.converged
    # Both are within the tolerance of one optimum.
    np.testing.assert_allclose(anew.rotation, kept.rotation, rtol=0, atol=1e-4)
    result = ica(X, white, random_state=0, algorithm="infomax", tol=1e-9)
    assert matched_correlations(
        sources(X, white, kept), sources(X, white, result)
    ).min() >= (1 - 1e-9)


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_passes_agree_with_plain_formulas(fun, monkeypatch):
    monkeypatch.setattr(kernel, "_CHUNK_ROWS", 128)
    X, _ = mixture("mixed", 1000, 5)
    white = whitening(X, 4)
    W = polar(np.random.default_rng(0).standard_normal((4, 4)))
    Y = (X - white.mean) @ (W @ white.matrix).T
    scores = {
        "tanh": (np.tanh(Y), 1 - np.tanh(Y) ** 2),
        "exp": (Y * np.exp(-(Y**2) / 2), (1 - Y**2) * np.exp(-(Y**2) / 2)),
        "cube": (Y**3, 3 * Y**2),
    }
    psi, slope = scores[fun]
    expected = psi.T @ Y / 1000, slope.mean(axis=0), antiderivative(Y, fun).mean(axis=0)
    with workers() as map_groups:
        rows = kernel.Rows(X, white.mean, white.matrix, map_groups)
        for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-6)):
            found = rows.evaluate(W, fun, dtype)
            for value, truth in zip(found, expected, strict=True):
                size = np.abs(truth).max()
                np.testing.assert_allclose(value, truth, atol=tolerance * size, rtol=0)
            assert rows.evaluate(W, fun, dtype, with_loss=False).loss is None


def test_sources_far_out_do_not_overflow():
    Y = np.array([[1e4, -1e4, 500.0, 0.0]]).T * np.ones(3)
    found = kernel.evaluate_sources(Y, "tanh")
    np.testing.assert_allclose(found.loss, (2.05e4 - 3 * np.log(2)) / 4)
    assert np.isfinite(kernel.evaluate_sources(Y, "exp").loss).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_memory_map_is_never_held(tmp_path, monkeypatch, dtype):
    X, S = mixture("laplace", 200_000, 16)
    X = (X / np.abs(X).max()).astype(dtype)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(kernel, "_KEPT_BYTES_OF_MAPS", 0)
    ica(mapped[:1000], whitening(mapped[:1000]), max_iter=1)  # loads and caches
    del X
    with threadpool_limits(2, user_api="blas"):
        tracemalloc.start()
        white = whitening(mapped)
        result = ica(mapped, white, random_state=0, warm_start_subsample=2_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert result.converged
    # Two threads, each with arrays of 4096 rows and 16 columns: at most six in float64
    # (of half a MB) and four in float32. In float64 the rows would take 25.6 MB.
    assert peak < 2 * (6 * 0.53e6 + 4 * 0.27e6) + 1.5e6
    bar = 0.999 if dtype == np.float32 else 0.99
    assert matched_correlations(sources(mapped, white, result), S).mean() >= bar


def test_integers_and_lists_are_taken():
    X = np.round(10 * mixture("laplace", 500, 3)[0]).astype(int)
    white = whitening(X)
    one, two = ica(X, white, random_state=0), ica(X.tolist(), white, random_state=0)
    np.testing.assert_array_equal(one.rotation, two.rotation)


def test_units_do_not_matter():
    X, _ = mixture("mixed", 3000, 4)
    one = fit(X)[0]
    for scale in (1e-120, 1e120):
        two = fit(scale * X)[0]
        # Rounding moves the start of another search for the same optimum.
        assert matched_correlations(one, two).min() >= 1 - 1e-9


@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("unit", [1e-120, 1e120])
def test_units_beyond_single_precision_of_rows_made_anew(monkeypatch, unit, device):
    monkeypatch.setattr(kernel, "_KEPT_BYTES", 0)
    monkeypatch.setattr("skident.solvers._ica_torch._KEPT_BYTES_ON_CPU", 0)
    X, _ = mixture("mixed", 3000, 4)
    one = ica(X, whitening(X), random_state=0, device=device)
    white = whitening(unit * X)
    two = ica(unit * X, white, random_state=0, device=device)
    assert two.converged and two.n_iter <= one.n_iter + 3
    Y1, Y2 = sources(X, whitening(X), one), sources(unit * X, white, two)
    assert matched_correlations(Y1, Y2).min() >= 1 - 1e-9


# -- threads -----------------------------------------------------------------------


def test_thread_limits_are_put_back_after_concurrent_fits():
    X, _ = mixture("laplace", 20_000, 8)
    white = whitening(X)
    found = {}

    def run(seed):
        found[seed] = ica(X, white, random_state=seed)

    with threadpool_limits(2, user_api="blas"):
        before = [lib["num_threads"] for lib in threadpool_info()]
        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [lib["num_threads"] for lib in threadpool_info()] == before
        with pytest.raises(ZeroDivisionError), workers():
            raise ZeroDivisionError
        assert [lib["num_threads"] for lib in threadpool_info()] == before
    for seed, result in found.items():
        np.testing.assert_array_equal(
            result.rotation, ica(X, white, random_state=seed).rotation
        )


# -- matrices ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-8, 1e-2, 1.0, 30.0])
def test_the_exponential_of_a_skew_matrix(size):
    A = np.random.default_rng(0).standard_normal((7, 7))
    A = size * (A - A.T) / np.linalg.norm(A - A.T)
    # 1e-9 before squaring, doubled by each of at most 8 squarings.
    np.testing.assert_allclose(rotation_of(A), linalg.expm(A), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(rotation_of(np.zeros((3, 3))), np.eye(3))


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-12, 0.0])
def test_the_orthogonal_polar_factor(smallest):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    A = 50.0 * (U * np.append(np.linspace(2, 1, 5), smallest)) @ V
    Q = polar(A)
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=1e-12)
    if smallest > 1e-6:
        np.testing.assert_allclose(Q, U @ V, atol=1e-9)


# -- torch -------------------------------------------------------------------------


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_torch_passes_equal_those_of_numpy(fun):
    from skident.solvers._ica_torch import TorchRows

    X, _ = mixture("mixed", 3000, 5)
    white = whitening(X, 4)
    W = polar(np.random.default_rng(0).standard_normal((4, 4)))
    with workers() as map_groups:
        ours = kernel.Rows(X, white.mean, white.matrix, map_groups)
        theirs = TorchRows(X, white.mean, white.matrix, "torch")
        # Sums of 3000 terms round by about sqrt(3000) eps = 3e-6 in float32.
        for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
            for one, two in zip(
                ours.evaluate(W, fun, dtype),
                theirs.evaluate(W, fun, dtype),
                strict=True,
            ):
                size = np.abs(one).max()
                np.testing.assert_allclose(two, one, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_torch_finds_what_numpy_finds(algorithm):
    X, _ = mixture("mixed", 12_000, 6)
    white = whitening(X)
    params = {"algorithm": algorithm, "random_state": 0, "warm_start_subsample": 4000}
    ours, theirs = (ica(X, white, device=name, **params) for name in ("cpu", "torch"))
    assert theirs.converged
    np.testing.assert_allclose(theirs.rotation, ours.rotation, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(theirs.density_sign, ours.density_sign)


@pytest.mark.gpu
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_gpu_finds_what_the_cpu_finds(algorithm):
    X, _ = mixture("mixed", 50_000, 32)
    white = whitening(X)
    ours, theirs = (
        ica(X, white, algorithm=algorithm, random_state=0, device=name)
        for name in ("cpu", "cuda")
    )
    assert theirs.converged
    np.testing.assert_allclose(theirs.rotation, ours.rotation, rtol=0, atol=1e-5)
