import numpy as np
import pytest

from skident.dynamics._libraries import MAX_TERMS, Monomials, make_library

NAMES = ["x", "y", "z"]


def test_monomials_by_degree():
    library = make_library("polynomial", NAMES[:2], 2, True)
    assert library.names == ["1", "x", "y", "x^2", "x y", "y^2"]
    assert make_library("polynomial", ["x"], 3, False).names == ["x", "x^2", "x^3"]
    X = np.array([[2.0, 3.0], [0.0, -1.0]])
    np.testing.assert_array_equal(
        library.evaluate(X), [[1, 2, 3, 4, 6, 9], [1, 0, -1, 0, 0, 1]]
    )


@pytest.mark.parametrize("degree", [0, 1, 4])
@pytest.mark.parametrize("include_bias", [True, False])
def test_terms_are_counted_before_they_are_built(degree, include_bias):
    if degree == 0 and not include_bias:
        return
    names = NAMES if degree else NAMES[:1]
    for kind in ("polynomial", "fourier"):
        if kind == "fourier" and degree == 0 and not include_bias:
            continue
        (part,) = make_library(kind, names, degree, include_bias).parts
        assert part.count(len(names), degree, include_bias) == len(part.names)


def test_too_many_terms_are_refused_unbuilt(monkeypatch):
    def fail(*args):
        raise AssertionError("built")

    monkeypatch.setattr(Monomials, "__init__", fail)
    # 50 variables to the tenth degree: 75 billion terms.
    with pytest.raises(ValueError, match="75,394,027,566 terms or more"):
        make_library("polynomial", [f"x{i}" for i in range(50)], 10, True)
    assert MAX_TERMS == 20_000


def test_a_list_has_one_constant():
    library = make_library(
        ["polynomial", "fourier", {"norm": lambda X: np.linalg.norm(X, axis=1)}],
        NAMES[:1],
        2,
        True,
    )
    assert library.names == [
        "1", "x", "x^2", "sin(x)", "cos(x)", "sin(2 x)", "cos(2 x)", "norm"
    ]  # fmt: skip
    assert len(library) == 8


def test_slopes_are_those_of_the_terms():
    library = make_library(
        ["polynomial", "fourier", {"f": lambda X: X[:, 0] ** 3 * np.exp(X[:, 2])}],
        NAMES,
        3,
        True,
    )
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 4, 3))
    X[0, 0] = 0.0
    slopes = library.jacobian(X)
    assert slopes.shape == (2, 4, len(library), 3)
    for j in range(3):
        step = np.zeros(3)
        step[j] = 1e-5
        rise = library.evaluate(X + step) - library.evaluate(X - step)
        # Central differences err by step^2 times third derivatives, of up to 3^3 in
        # waves and some tens in f, and by rounding over the step, 1e-11.
        np.testing.assert_allclose(slopes[..., j], rise / 2e-5, atol=2e-8)


def test_points_may_stand_in_any_shape():
    library = make_library(["polynomial", "fourier"], NAMES, 2, True)
    X = np.random.default_rng(1).normal(size=(5, 3))
    whole, slopes = library.evaluate(X), library.jacobian(X)
    np.testing.assert_array_equal(library.evaluate(X[2]), whole[2])
    np.testing.assert_array_equal(library.jacobian(X[2]), slopes[2])
    np.testing.assert_array_equal(library.evaluate(X[None]), whole[None])
