"""Banded factors against dense solves, through SciPy's addresses and its wrappers."""

import numpy as np
import pytest

from skident.solvers import _band_cholesky
from skident.solvers._band_cholesky import BandCholesky


def random_band(rng, n, width):
    """A band with a dominant diagonal, and the matrix it stands for."""
    band = rng.standard_normal((n, width + 1))
    band[:, 0] = 4.0 * (width + 1) + rng.random(n)
    matrix = np.zeros((n, n))
    for j in range(n):
        m = min(width + 1, n - j)
        matrix[j : j + m, j] = matrix[j, j : j + m] = band[j, :m]
    return band, matrix


@pytest.fixture(params=["compiled", "wrappers"])
def route(request, monkeypatch):
    if request.param == "wrappers":
        monkeypatch.setattr(_band_cholesky, "_ROUTINES", None)
    elif _band_cholesky._ROUTINES is None:
        pytest.skip("SciPy publishes other routines")


@pytest.mark.parametrize("k", [1, 5, 6, 9])
@pytest.mark.parametrize(
    ("n", "width"),
    # Widths that divide n, that do not, that reach over all of it, and none.
    [(12, 3), (10, 3), (9, 4), (5, 4), (6, 5), (5, 0), (1, 0), (40, 7), (7, 1)],
)
def test_solves_as_a_dense_matrix(route, n, width, k):
    rng = np.random.default_rng(0)
    band, matrix = random_band(rng, n, width)
    rhs = rng.standard_normal((n, k))
    kept = rhs.copy()
    # Where a band reaches past the last row there is nothing to be read.
    for j in range(n):
        band[j, n - j :] = np.nan
    solved = BandCholesky(band).solve(rhs)
    # The condition number is below 3, a diagonal more than twice its row.
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, rhs), atol=1e-13)
    assert (rhs == kept).all()


def test_a_matrix_that_is_not_positive_is_refused(route):
    band, _ = random_band(np.random.default_rng(1), 9, 2)
    band[4, 0] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        BandCholesky(band)


def test_a_matrix_that_is_singular_but_for_rounding_is_refused(route):
    # Differences of neighbours: constants are not seen, but for 1e-15 of them.
    band = np.full((9, 2), -1.0)
    band[:, 0] = 2.0
    band[0, 0] = band[8, 0] = 1.0 + 1e-15
    with pytest.raises(np.linalg.LinAlgError):
        BandCholesky(band)


@pytest.mark.parametrize(
    "text", ["void (char *, long *)", "", "void (char *, int *, float *)"]
)
def test_other_signatures_are_told_apart(text):
    wanted = {kinds for _, kinds in _band_cholesky._WANTED.values()}
    assert _band_cholesky._signature(text) not in wanted
    known = "void (char *, int *, int *, __pyx_t_5scipy_6linalg_d *, int *, int *)"
    assert _band_cholesky._signature(known) in wanted


def test_no_routines_where_one_is_missing(monkeypatch):
    class Bare:
        __pyx_capi__: dict = {}

    monkeypatch.setitem(
        _band_cholesky._WANTED, "dgemm", (Bare, _band_cholesky._WANTED["dgemm"][1])
    )
    assert _band_cholesky._routines() is None
