"""Sources behind a near isometry, and two runs that agree up to a slack."""

import pickle

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from skident.datasets import (
    make_near_isometric_sources,
    make_perturbed_representations,
)
from skident.datasets._near_isometry import haar


@pytest.mark.parametrize("source", ["uniform", "laplace", "mixed"])
def test_sources_have_their_law(source):
    n = 20_000
    data = make_near_isometric_sources(n, 4, source=source, random_state=0)
    uniform = stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))
    laplace = stats.laplace(scale=np.sqrt(0.5))
    laws = {"uniform": [uniform], "laplace": [laplace], "mixed": [uniform, laplace]}
    for j, column in enumerate(data.sources.T):
        law = laws[source][j % len(laws[source])]
        assert law.std() == pytest.approx(1.0)
        assert stats.kstest(column, law.cdf).pvalue > 1e-3
    correlations = np.corrcoef(data.sources, rowvar=False)
    # Six correlations of standard error 1 / sqrt(n).
    assert np.abs(correlations - np.eye(4)).max() < 4 / np.sqrt(n)
    assert source in data.DESCR or source == "mixed"


@pytest.mark.parametrize(("slope", "n_layers"), [(0.7, 3), (0.2, 2), (0.5, 1), (1, 4)])
def test_distances_change_by_the_known_factors(slope, n_layers):
    data = make_near_isometric_sources(
        300, 3, 8, n_layers=n_layers, negative_slope=slope, random_state=0
    )
    np.testing.assert_array_equal(data.decode(data.sources), data.X)
    assert data.lower == pytest.approx(slope ** (n_layers - 1)) and data.upper == 1
    best = np.sqrt(data.lower * data.upper)
    assert data.distortion == pytest.approx(max(1 / best, best / data.lower) - 1)
    ratios = pdist(data.X) / pdist(data.sources)
    assert ratios.min() >= data.lower - 1e-12 and ratios.max() <= 1 + 1e-12
    if data.lower == 1:
        np.testing.assert_allclose(ratios, 1.0, rtol=1e-12)
    else:
        assert ratios.max() - ratios.min() > 0.1 * (1 - data.lower)


def test_the_map_is_the_same_for_more_rows_and_pickles():
    few = make_near_isometric_sources(5, random_state=3)
    many = make_near_isometric_sources(50, random_state=3)
    np.testing.assert_array_equal(few.decode(many.sources), many.X)
    again = pickle.loads(pickle.dumps(many.decode))
    np.testing.assert_array_equal(again(many.sources), many.X)


def test_perturbed_representations_are_what_they_say():
    data = make_perturbed_representations(1000, 4, 0.0, cond=7.0, random_state=0)
    for F, A in zip((data.F1, data.F2), data.mixing, strict=True):
        np.testing.assert_allclose(F, data.sources @ A, atol=1e-12)
        singular = np.linalg.svd(A, compute_uv=False)
        np.testing.assert_allclose(singular, np.linspace(7.0, 1.0, 4))
    assert not np.allclose(*data.mixing)


def test_perturbations_are_bounded_and_proportional_to_eps():
    same = {"n_samples": 500, "n_sources": 3, "random_state": 0}
    zero, one, two = (
        make_perturbed_representations(eps=eps, **same) for eps in (0.0, 0.1, 0.2)
    )
    bends = []
    for name, A in zip(("F1", "F2"), zero.mixing, strict=True):
        bend = np.linalg.solve(A.T, (one[name] - zero[name]).T).T
        assert 0.05 < np.abs(bend).max() <= 0.1 + 1e-12
        np.testing.assert_allclose(
            two[name] - zero[name], 2 * (one[name] - zero[name]), atol=1e-12
        )
        bends.append(bend)
    # The two runs are bent each in its own way.
    assert abs(np.corrcoef(bends[0].ravel(), bends[1].ravel())[0, 1]) < 0.9


def test_orthogonal_matrices_are_uniform():
    rng = np.random.RandomState(0)
    matrices = np.array([haar(3, rng) for _ in range(4000)])
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1),
        np.tile(np.eye(3), (4000, 1, 1)),
        atol=1e-12,
    )
    # An entry of a point on the sphere in three dimensions is uniform.
    for i, j in ((0, 0), (2, 1), (1, 2)):
        law = stats.uniform(-1, 2)
        assert stats.kstest(matrices[:, i, j], law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_sources": 17}, "n_sources must be at most n_features = 16, got 17"),
        ({"negative_slope": 0.0}, "negative_slope"),
        ({"negative_slope": 1.5}, "negative_slope"),
        ({"n_layers": 0}, "n_layers"),
        ({"source": "normal"}, "source"),
        ({"n_samples": 0}, "n_samples"),
    ],
)
def test_near_isometric_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_near_isometric_sources(**{"n_samples": 10, **wrong})


@pytest.mark.parametrize(
    "wrong", [{"eps": -0.1}, {"cond": 0.5}, {"n_sources": 0}, {"source": "normal"}]
)
def test_perturbed_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_perturbed_representations(**{"n_samples": 10, **wrong})
