import numpy as np
import pytest

from skident.solvers import Moments, whitening


def rows(n_samples=2000, variances=(9.0, 4.0, 1.0, 0.25, 0.01), seed=0):
    """Rows whose sample covariance has exactly these eigenvalues."""
    rng = np.random.default_rng(seed)
    p = len(variances)
    U = rng.laplace(size=(n_samples, p))
    U = np.linalg.qr(U - U.mean(axis=0))[0] * np.sqrt(n_samples)
    V = np.linalg.qr(rng.standard_normal((p, p)))[0]
    return (U * np.sqrt(variances)) @ V.T + rng.standard_normal(p)


def whitened(X, found):
    return (X - found.mean) @ found.matrix.T


def assert_white(X, found, tolerance=1e-12):
    Z = whitened(np.asarray(X, dtype=np.float64), found)
    gap = Z.T @ Z / len(Z) - np.eye(Z.shape[1])
    assert np.abs(gap).max() <= tolerance
    assert np.abs(Z.mean(axis=0)).max() <= tolerance


@pytest.mark.parametrize("solver", ["auto", "eigh", "svd"])
def test_every_solver_whitens(solver):
    variances = [9.0, 4.0, 1.0, 0.25, 0.01]
    X = rows(variances=variances)
    found = whitening(X, solver=solver)
    assert_white(X, found)
    assert found.solver == ("eigh" if solver == "auto" else solver)
    assert found.rank == 5
    np.testing.assert_allclose(found.explained_variance, variances, rtol=1e-10)
    np.testing.assert_allclose(found.spectrum, variances, rtol=1e-10)
    assert found.condition_number == pytest.approx(900.0)
    np.testing.assert_allclose(found.mean, X.mean(axis=0), atol=1e-14)
    # Rows are eigenvectors over root eigenvalues, largest entry positive.
    np.testing.assert_allclose(
        found.matrix @ found.matrix.T, np.diag(1 / np.array(variances)), atol=1e-9
    )
    peaks = found.matrix[np.arange(5), np.abs(found.matrix).argmax(axis=1)]
    assert (peaks > 0).all()


def test_solvers_agree_entry_by_entry():
    X = rows()
    reference = whitening(X, 3, solver="svd")
    for other in (
        whitening(X, 3, solver="eigh"),
        whitening(Moments(5).update(X), 3),
        whitening(X, 3, solver="randomized", random_state=0),
        whitening(Moments(5).update(X), 3, solver="randomized", random_state=0),
        whitening(X[::-1], 3),
    ):
        np.testing.assert_allclose(other.matrix, reference.matrix, atol=1e-9)
        np.testing.assert_allclose(other.mean, reference.mean, atol=1e-14)
        assert_white(X, other)


def test_randomized_finds_the_largest_components_of_a_decaying_spectrum():
    X = rows(1500, variances=1.0 / np.arange(1, 61) ** 2)
    exact, found = whitening(X, 5), whitening(X, 5, solver="randomized", random_state=1)
    # Seven products shrink what stands outside the 15 directions by
    # (lambda_16 / lambda_5)^7 = 9e-8 at least, from about 10 at the start.
    np.testing.assert_allclose(found.matrix, exact.matrix, atol=1e-5)
    assert found.solver == "randomized" and len(found.spectrum) == 15
    again = whitening(X, 5, solver="randomized", random_state=1)
    np.testing.assert_array_equal(found.matrix, again.matrix)


@pytest.mark.parametrize(
    ("n_components", "expected"),
    [(None, 5), (2, 2), (np.int64(4), 4), (0.5, 1), (0.63, 1), (0.64, 2), (0.9999, 5)],
)
def test_number_of_components(n_components, expected):
    # Shares: 0.631, 0.912, 0.982, 0.9993, 1.
    X = rows(variances=[9.0, 4.0, 1.0, 0.25, 0.01])
    found = whitening(X, n_components)
    assert found.matrix.shape == (expected, 5)
    assert_white(X, found)


def test_a_share_that_is_met_exactly_asks_for_no_more():
    X = rows(variances=[2.0, 1.0, 1.0])
    assert len(whitening(X, 0.5).matrix) == 1
    assert len(whitening(X, 0.75).matrix) == 2


@pytest.mark.parametrize(("n_samples", "n_features"), [(4000, 100), (300, 400)])
@pytest.mark.parametrize("n_factors", [3, 8])
def test_mp_counts_the_factors_above_noise(n_samples, n_features, n_factors):
    rng = np.random.default_rng(n_factors)
    loadings = np.linalg.qr(rng.standard_normal((n_features, n_factors)))[0]
    factors = rng.standard_normal((n_samples, n_factors)) * np.sqrt(30.0)
    X = 0.1 * (factors @ loadings.T + rng.standard_normal((n_samples, n_features)))
    # Variance 31 is far above the edge, at most (1 + sqrt(4/3))^2 = 4.6; fluctuations
    # of the edge of pure noise are of order n^(-2/3), hence one more at most.
    found = len(whitening(X, "mp").matrix)
    assert n_factors <= found <= n_factors + 1


def test_rank_of_constant_and_repeated_columns():
    X = rows(500)
    X = np.column_stack([X, np.full(500, 1e3), X[:, 1], X[:, 0] - 2 * X[:, 2]])
    for solver in ("auto", "eigh", "svd"):
        found = whitening(X, solver=solver)
        assert found.rank == 5 and found.matrix.shape == (5, 8)
        assert_white(X, found, 1e-10)
        with pytest.raises(ValueError, match=r"n_components = 6 exceeds.*which is 5"):
            whitening(X, 6, solver=solver)
    # Float32 columns that repeat are repeated in float64 too.
    assert whitening(X[:, [0, 1, 6]].astype(np.float32)).rank == 2


@pytest.mark.parametrize("solver", ["auto", "eigh", "svd", "randomized"])
def test_a_large_constant_column_hides_no_others(solver):
    X = np.random.default_rng(0).laplace(size=(500, 5))
    wide = np.column_stack([X[:, :2], np.full(500, 1.7e15), X[:, 2:]])
    found = whitening(wide, 5, solver=solver, random_state=0)
    assert found.rank == 5 and found.matrix.shape == (5, 6)
    assert_white(wide, found, 1e-10)
    np.testing.assert_allclose(found.matrix[:, 2], 0, atol=1e-12)


def test_fewer_rows_than_features():
    X = np.random.default_rng(0).standard_normal((20, 50))
    found = whitening(X)
    assert found.solver == "svd" and found.rank == 19
    assert_white(X, found)
    assert len(found.spectrum) == 50
    with pytest.raises(ValueError, match="which is 19"):
        whitening(X, 20)


def test_rank_tol_decides_what_is_kept():
    X = rows(variances=[1.0, 1e-4, 1e-8])
    assert whitening(X, rank_tol=1e-3).rank == 1
    assert whitening(X, rank_tol=1e-6).rank == 2
    assert whitening(X).rank == 3


def test_auto_keeps_the_digits_of_badly_conditioned_data():
    variances = np.logspace(0, -9, 8)
    X = rows(3000, variances=variances)
    eigh, auto = whitening(X, solver="eigh"), whitening(X)
    svd = whitening(X, solver="svd")
    assert auto.solver == "svd" and auto.condition_number == pytest.approx(1e9)
    # Relative errors: eps cond for the covariance, eps sqrt(cond) for the data,
    # times a modest number.
    for found, tolerance in ((auto, 1e-10), (svd, 1e-10), (eigh, 1e-5)):
        np.testing.assert_allclose(found.explained_variance, variances, rtol=tolerance)
    assert_white(X, auto, 1e-9)
    # A threshold below what a covariance resolves takes the decomposition.
    tiny = whitening(X, rank_tol=1e-15)
    assert tiny.solver == "svd" and tiny.rank == 8


def test_float16_memory_map(tmp_path):
    X = rows(1000).astype(np.float16)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for solver in ("eigh", "svd"):
        found = whitening(mapped, solver=solver)
        assert found.matrix.dtype == np.float64
        assert_white(X, found, 1e-10)


@pytest.mark.parametrize("solver", ["eigh", "svd", "randomized"])
def test_bad_data_are_refused(solver):
    X = rows(100)
    for bad in (np.nan, np.inf):
        spoilt = X.copy()
        spoilt[42, 1] = bad
        with pytest.raises(ValueError, match=r"X must be finite.*n_samples = 100"):
            whitening(spoilt, 2, solver=solver)
    with pytest.raises(ValueError, match=r"two rows are needed.*n_samples = 1"):
        whitening(X[:1], 1, solver=solver)
    with pytest.raises(ValueError, match="all rows of X are the same"):
        whitening(np.full((30, 3), [0.1, 1e8, -7.3]), 1, solver=solver)


@pytest.mark.parametrize("solver", ["auto", "eigh", "svd", "randomized"])
@pytest.mark.parametrize("unit", [1e-310, 1e-170, 1e-150, 1e150, 1e200, 1e307])
def test_units_in_which_no_variance_is_a_float(solver, unit):
    # Of rows that differ: not "all the same", nor a NaN or an overflow on the way.
    X = rows(100) * unit
    with pytest.raises(
        ValueError, match=r"deviations must be within 1e-140 and 1e\+140"
    ):
        whitening(X, 2, solver=solver)
    # Nor is it what rows far from zero, or one column, are in.
    usual = rows(100)
    usual[:, 0] = unit
    assert whitening(usual, 2, solver=solver).condition_number < 1e3
    usual[::2, 0] = 0.0
    if unit < 1:
        assert whitening(usual, 2, solver=solver).condition_number < 1e3


@pytest.mark.parametrize("solver", ["eigh", "svd", "randomized"])
def test_units_change_nothing_but_the_scale(solver):
    X = rows(300)
    one = whitening(X, 3, solver=solver, random_state=0)
    for unit in (2.0**-460, 2.0**460):
        two = whitening(X * unit, 3, solver=solver, random_state=0)
        # Powers of two round nothing.
        np.testing.assert_allclose(two.matrix * unit, one.matrix, rtol=1e-9)
        assert two.condition_number == pytest.approx(one.condition_number)


def test_bad_arguments_are_refused():
    X = rows(100)
    for bad in (0, -1, 1.5, 0.0, True, "all"):
        with pytest.raises(ValueError, match="n_components must be None"):
            whitening(X, bad)
    with pytest.raises(ValueError, match="solver must be"):
        whitening(X, solver="lu")
    with pytest.raises(ValueError, match="needs an integer n_components"):
        whitening(X, 0.5, solver="randomized")
    with pytest.raises(ValueError, match="needs the data, not their moments"):
        whitening(Moments(5).update(X), solver="svd")
    with pytest.raises(ValueError, match="two-dimensional"):
        whitening(X[0])


def test_random_states_of_every_kind():
    X = rows(500, variances=1.0 / np.arange(1, 41))
    for state in (np.random.default_rng(0), np.random.RandomState(0), None):
        found = whitening(X, 3, solver="randomized", random_state=state)
        assert_white(X, found, 1e-2)
