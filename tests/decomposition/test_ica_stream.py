"""Rows in files, in pieces, and with a defect somewhere."""

import tracemalloc
import warnings

import numpy as np
import pytest

from skident.decomposition import ICAPostProcessor
from skident.exceptions import IdentifiabilityWarning
from skident.metrics import match_components, mean_correlation_coefficient
from tests._stored import on_disk

CUTS = {
    "halves": [4000],
    "uneven": [70, 71, 500, 7001],
    "many": list(range(160, 8000, 160)),
}


def mixture(n=8000, k=4, kind="laplace", seed=0):
    rng = np.random.default_rng(seed)
    u = rng.laplace(size=(n, k)) / np.sqrt(2)
    flat = {"laplace": 0, "mixed": k // 2, "uniform": k}[kind]
    u[:, :flat] = rng.uniform(-np.sqrt(3), np.sqrt(3), size=(n, flat))
    return u, u @ rng.standard_normal((k, k)) + 3


def post(**params):
    return ICAPostProcessor(**({"random_state": 0} | params))


def stream(est, pieces):
    """``partial_fit`` on each piece; the first ones may be too few for a verdict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        for piece in pieces:
            est.partial_fit(piece)
    return est


# --- streams -----------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_mean_and_whitening_are_those_of_fit_whatever_the_pieces(cut):
    _, X = mixture(n=8000)
    X += 1e3
    whole = post().fit(X)
    found = stream(post(), np.split(X, CUTS[cut]))
    assert found.n_samples_seen_ == 8000
    # Sums of squares of size 1e3 + 1 leave ten digits; the spectrum spans a factor 40.
    np.testing.assert_allclose(found.mean_, whole.mean_, rtol=1e-12)
    np.testing.assert_allclose(
        found.explained_variance_, whole.explained_variance_, rtol=1e-8
    )
    precision = whole.whitening_.T @ whole.whitening_
    np.testing.assert_allclose(
        found.whitening_.T @ found.whitening_, precision, atol=1e-8 * precision.max()
    )
    Y = found.transform(X)
    np.testing.assert_allclose(Y.T @ Y / len(Y), np.eye(4), atol=1e-8)


@pytest.mark.parametrize("kind", ["laplace", "uniform", "mixed"])
@pytest.mark.parametrize("cut", ["uneven", "many"])
def test_the_rotation_is_found_on_the_way(kind, cut):
    u, X = mixture(kind=kind)
    est = stream(post(), np.split(X, CUTS[cut]))
    whole = post().fit(X)
    error = 1 - mean_correlation_coefficient(u, est.transform(X))
    # Four thirds of the variance of the optimum for all rows, by the steps' weights,
    # and what is left of the first guess.
    assert error < 2 * (1 - mean_correlation_coefficient(u, whole.transform(X))) + 1e-4
    # Pieces of 160 rows can be too few for refits: then nothing is claimed.
    unknown = cut == "many" and np.isnan(est.stability_).all()
    assert est.identifiability_.ok
    np.testing.assert_array_equal(est.identified_mask_, np.full(4, not unknown))
    match = match_components(whole.transform(X), est.transform(X))
    np.testing.assert_array_equal(match.permutation, range(4))
    np.testing.assert_array_equal(est.density_sign_, whole.density_sign_)
    np.testing.assert_allclose(est.kurtosis_, whole.kurtosis_, rtol=0.3, atol=0.05)
    # An effective three quarters of the rows.
    ratio = est.angle_stderr_ / whole.angle_stderr_
    assert (ratio > 1).all() and (ratio < 1.4).all()


def test_a_stream_forgets_a_bad_start():
    u, X = mixture(n=20_000)
    X[:40] = np.random.default_rng(9).standard_normal((40, 4)) * X.std(axis=0) + 3
    pieces = np.split(X, [40, *range(500, 20_000, 500)])
    est = stream(post(), pieces)
    assert mean_correlation_coefficient(u[40:], est.transform(X[40:])) > 0.998


def test_single_rows_are_pieces_too():
    _, X = mixture(n=260, k=2)
    est = stream(post(), [X[:200], *X[200:, None]])
    assert est.n_samples_seen_ == 260
    np.testing.assert_allclose(est.mean_, X.mean(axis=0))
    np.testing.assert_allclose(est.transform(X).std(axis=0), 1)


def test_new_directions_join_the_components():
    u, X = mixture(k=4)
    narrow = X.copy()
    # Of the first rows only two directions are there.
    narrow[:3000] = (u * [1, 1, 0, 0])[:3000] @ np.linalg.lstsq(u, X - 3, rcond=None)[0]
    est = post().partial_fit(narrow[:3000])
    assert est.n_components_ == 2
    est.partial_fit(narrow[3000:5000])
    assert est.n_components_ == 4
    stream(est, [narrow[5000:]])
    Y = est.transform(narrow)
    np.testing.assert_allclose(Y.T @ Y / len(Y), np.eye(4), atol=1e-8)


def test_controls_stream_too():
    _, X = mixture()
    pieces = np.split(X, CUTS["many"])
    none = stream(post(rotation="none"), pieces)
    whole = post(rotation="none").fit(X)
    np.testing.assert_allclose(none.transform(X), whole.transform(X), atol=1e-7)
    random = stream(post(rotation="random"), pieces)
    Y = random.transform(X)
    np.testing.assert_allclose(Y.T @ Y / len(Y), np.eye(4), atol=1e-8)
    assert mean_correlation_coefficient(Y, none.transform(X)) < 0.97


def test_gaussian_streams_are_told_at_the_first_call():
    X = np.random.default_rng(0).standard_normal((4000, 3))
    est = post()
    with pytest.warns(IdentifiabilityWarning, match="at most one Gaussian"):
        est.partial_fit(X[:1000])
    est.partial_fit(X[1000:])  # the report says it again, without a warning
    assert not est.identifiability_.ok and est.gaussian_mask_.all()


def test_a_failed_call_changes_nothing():
    _, X = mixture()
    est = post().partial_fit(X[:4000])
    before = est.transform(X)
    bad = X[4000:].copy()
    bad[17, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        est.partial_fit(bad)
    with pytest.raises(ValueError, match="4 features"):
        est.partial_fit(X[:, :3])
    np.testing.assert_array_equal(est.transform(X), before)
    est.partial_fit(X[4000:])
    assert est.n_samples_seen_ == 8000


def test_the_first_call_needs_rows_and_fit_starts_anew():
    _, X = mixture()
    with pytest.raises(ValueError, match="n_samples = 6 is too few for 4 components"):
        post().partial_fit(X[:6])
    est = post().partial_fit(X)
    fresh = post().fit(X[:4000])
    np.testing.assert_array_equal(est.fit(X[:4000]).components_, fresh.components_)
    est.partial_fit(X[4000:])
    assert est.n_samples_seen_ == 4000


# --- files -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_memory_map_is_as_good_as_its_rows(tmp_path, dtype):
    _, X = mixture()
    rows = X.astype(dtype)
    stored = on_disk(tmp_path / "rows", rows)
    for est in (post(), post(n_components=3, whiten_solver="svd")):
        from_file = est.fit(stored).transform(stored)
        in_memory = est.fit(rows.astype(np.float64)).transform(rows.astype(np.float64))
        assert from_file.dtype == (np.float64 if dtype is np.float64 else np.float32)
        # Two optima to the tolerance, and float32 output.
        np.testing.assert_allclose(from_file, in_memory, atol=1e-4)
    assert est.score(stored) == pytest.approx(est.score(rows))
    streamed = post().partial_fit(stored[:4000]).partial_fit(stored[4000:])
    wanted = rows.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(streamed.mean_, wanted, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_is_never_copied_whole(tmp_path, dtype):
    rng = np.random.default_rng(0)
    small = rng.laplace(size=(4000, 64)).astype(dtype)
    stored = on_disk(tmp_path / "rows", np.tile(small, (20, 1)))
    est = post(n_components=3, rotation="none")
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        est.fit(stored)
        for low in range(0, len(stored), 40_000):
            est.partial_fit(stored[low : low + 40_000])
    est.score(stored)
    Y = est.transform(stored)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Chunks of 4096 rows in float64, a few of them, the sample of as many rows, and
    # the output; the file has 80,000 rows of 64 numbers.
    assert peak < Y.nbytes + 8 * 64 * 6 * 4096 < 8 * stored.size / 2


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("hole", [np.nan, -np.inf])
def test_one_bad_row_in_a_million_is_named(tmp_path, where, hole):
    X = np.tile(np.random.default_rng(0).laplace(size=(1000, 2)), (1000, 1))
    X = X.astype(np.float32)
    X[765_432, 1] = hole
    if where == "file":
        X = on_disk(tmp_path / "rows", X)
    what = "NaN" if np.isnan(hole) else "infinity"
    for method in (post().fit, post().partial_fit):
        with pytest.raises(ValueError, match=f"X contains {what}.*, in row 765432"):
            method(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        fitted = post().fit(np.asarray(X[:1000]))
    for method in (fitted.transform, fitted.score):
        with pytest.raises(ValueError, match=f"X contains {what}.*, in row 765432"):
            method(X)


def test_a_file_that_is_cut_short(tmp_path):
    _, X = mixture(n=100)
    stored = on_disk(tmp_path / "rows", X)
    with open(tmp_path / "rows", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(ValueError, match="X is cut short"):
        post().fit(stored)


def test_pieces_too_small_to_refit_claim_no_component():
    _, X = mixture(2000, k=4)
    est = stream(post(), np.split(X, 200))
    assert np.isnan(est.stability_).all()
    assert not est.identified_mask_.any()
    assert est.identifiability_.target.startswith("none of the 4 components")


def test_streams_keep_components_uncorrelated_whatever_the_algorithm():
    rng = np.random.default_rng(0)
    X = rng.laplace(size=(4000, 3)) @ rng.standard_normal((3, 3))
    ests = [
        ICAPostProcessor(algorithm=algorithm, random_state=0)
        for algorithm in ("picard", "picard-o")
    ]
    for rows in (X[:1500], X[1500:]):
        for est in ests:
            est.partial_fit(rows)
            np.testing.assert_allclose(
                est.rotation_ @ est.rotation_.T, np.eye(3), atol=1e-12
            )
        one, two = ests
        np.testing.assert_array_equal(one.rotation_, two.rotation_)
        np.testing.assert_array_equal(one.angle_stderr_, two.angle_stderr_)
        np.testing.assert_array_equal(one.stability_, two.stability_)
