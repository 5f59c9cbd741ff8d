import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skident.solvers import Moments
from skident.solvers import _moments as module


def rows(n_samples=3000, n_features=7, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n_features, n_features))
    return rng.laplace(size=(n_samples, n_features)) @ mixing + 5.0


def assert_moments_of(moments, X):
    X = np.asarray(X, dtype=np.float64)
    scale = np.abs(X).max()
    assert moments.n_samples == len(X)
    np.testing.assert_allclose(moments.mean, X.mean(axis=0), rtol=0, atol=1e-14 * scale)
    covariance = np.cov(X.T, bias=True)
    # A sum of n products rounds by at most about n eps of the sum of magnitudes.
    tolerance = len(X) * np.finfo(float).eps * np.abs(covariance).max()
    np.testing.assert_allclose(moments.covariance, covariance, rtol=0, atol=tolerance)


def test_mean_and_covariance_of_one_piece():
    assert_moments_of(Moments(7).update(rows()), rows())


@pytest.mark.parametrize("sizes", [[1] * 50, [1, 2, 3, 100], [0, 150, 0, 1]])
def test_any_cut_into_pieces_agrees(sizes):
    X = rows(sum(sizes))
    moments = Moments(7)
    for piece in np.split(X, np.cumsum(sizes)[:-1]):
        moments.update(piece)
    assert_moments_of(moments, X)


@pytest.mark.parametrize("n_bytes", [8 * 7, 8 * 7 * 11, 2**30])
def test_the_size_of_chunks_changes_rounding_only(monkeypatch, n_bytes):
    X = rows(500)
    monkeypatch.setattr(module.row_slices, "__defaults__", (n_bytes,))
    assert_moments_of(Moments(7).update(X), X)


def test_merging_equals_updating():
    X = rows()
    parts = [Moments(7).update(X[i::3]) for i in range(3)]
    total = parts[0].merge(parts[1]).merge(parts[2]).merge(Moments(7))
    assert_moments_of(total, np.concatenate([X[i::3] for i in range(3)]))
    assert parts[1].n_samples == len(X) // 3
    assert_moments_of(Moments(7).merge(Moments(7).update(X)), X)


def test_a_mean_far_from_zero_costs_no_digits():
    X = rows(1000)
    shifted = Moments(7)
    # Rounding X + 1e8 itself leaves about 1e-8 of each entry, independent of the rest:
    # squares of sums as in E[x^2] - E[x]^2 would leave nothing right.
    for part in np.array_split(X + 1e8, 5):
        shifted.update(part)
    expected = np.cov(X.T, bias=True)
    np.testing.assert_allclose(shifted.covariance, expected, rtol=0, atol=1e-7)


def test_pieces_with_means_apart_are_joined():
    # Between-piece variance dominates: 1e6 against 1.
    X = rows(900) + np.repeat([-1e3, 0.0, 1e3], 300)[:, None]
    moments = Moments(7)
    for piece in np.split(X, 3):
        moments.update(piece)
    assert_moments_of(moments, X)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_other_dtypes_are_summed_in_float64(dtype):
    X = (rows(400) * 3).astype(dtype)
    moments = Moments(7).update(X)
    assert moments.covariance.dtype == moments.mean.dtype == np.float64
    assert_moments_of(moments, X)


def test_a_memory_map_is_read(tmp_path):
    X = rows(2000).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_moments_of(Moments(7).update(mapped), X)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(module.row_slices, "__defaults__", (8 * 7 * 100,))
    X = rows()
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append(Moments(7).update(X))
    np.testing.assert_array_equal(found[0].covariance, found[1].covariance)
    np.testing.assert_array_equal(found[0].mean, found[1].mean)


def test_the_covariance_is_symmetric_to_the_last_bit():
    covariance = Moments(7).update(rows()).covariance
    np.testing.assert_array_equal(covariance, covariance.T)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_leave_no_trace(monkeypatch, bad):
    monkeypatch.setattr(module.row_slices, "__defaults__", (8 * 7 * 100,))
    X = rows()
    moments = Moments(7).update(X)
    before = moments.covariance.copy()
    X[1234, 3] = bad
    X[1250, 3] = -bad
    with pytest.raises(ValueError, match=r"rows 1200 to 1299.*n_samples = 3000"):
        moments.update(X)
    assert moments.n_samples == 3000
    np.testing.assert_array_equal(moments.covariance, before)


def test_squares_beyond_the_range_of_floats_leave_no_trace():
    moments = Moments(7).update(rows())
    before = moments.covariance.copy()
    with pytest.raises(ValueError, match="Change its units"):
        moments.update(rows() * 1e200)
    with pytest.raises(ValueError, match="Change its units"):
        moments.update(np.full((3, 7), 1e200))
    assert moments.n_samples == len(rows())
    np.testing.assert_array_equal(moments.covariance, before)
    moments.check_range()


def test_rows_that_differ_too_little_are_told_from_equal_ones():
    equal = Moments(2)
    for _ in range(3):
        equal.update(np.full((5, 2), [0.1, 1e-200]))
    # No rows differ: that is for others to judge.
    equal.check_range()
    pieces = Moments(1).update(np.zeros((3, 1))).update(np.full((3, 1), 1e-200))
    whole = Moments(1).update(np.array([[0.0], [1e-200]]))
    for moments in (pieces, whole, Moments(1).merge(whole)):
        with pytest.raises(ValueError, match="varies too little"):
            moments.check_range()
        moments.update(np.array([[1.0]])).check_range()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Moments(0)
    with pytest.raises(ValueError, match=r"\(n_rows, 7\), got \(5, 6\)"):
        Moments(7).update(np.zeros((5, 6)))
    with pytest.raises(ValueError, match=r"got \(7,\)"):
        Moments(7).update(np.zeros(7))
    with pytest.raises(ValueError, match="got 7 and 6"):
        Moments(7).merge(Moments(6))


def test_no_rows_yet():
    moments = Moments(2).update(np.zeros((0, 2)))
    assert repr(moments) == "Moments(n_features=2, n_samples=0)"
    np.testing.assert_array_equal(moments.covariance, np.zeros((2, 2)))
