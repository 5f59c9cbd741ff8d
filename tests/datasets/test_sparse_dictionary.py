"""The law of the codes and of the atoms, streams, held-out rows."""

import itertools
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from skident.datasets import make_sparse_dictionary

small = partial(make_sparse_dictionary, n_features=12, n_components=30, n_active=4)


def rows_of(matrix, k):
    """Dense (n, k) values of a CSR matrix with k entries a row."""
    return matrix.data.reshape(-1, k)


def test_shapes_and_construction():
    data = small(50, normalize=None, random_state=0)
    assert data.X.shape == (50, 12) and data.X.dtype == np.float32
    assert data.dictionary.shape == (30, 12)
    assert data.codes.shape == (50, 30) and data.codes.has_sorted_indices
    np.testing.assert_array_equal(data.codes.getnnz(axis=1), 4)
    np.testing.assert_allclose(np.linalg.norm(data.dictionary, axis=1), 1, atol=1e-6)
    norms = np.linalg.norm(rows_of(data.codes, 4), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    np.testing.assert_allclose(data.X, data.codes @ data.dictionary, atol=1e-6)
    assert "4 out of 30 atoms" in data.DESCR


def test_normalisations():
    raw = small(50, normalize=None, random_state=0).X.astype(float)
    l2 = small(50, normalize="l2", random_state=0).X
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(l2, unit, atol=1e-6)
    centred = raw - raw.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(small(50, random_state=0).X, centred, atol=1e-6)


@pytest.mark.parametrize(("n_components", "n_active"), [(30, 4), (6, 6), (9, 1)])
def test_codes_follow_the_law_of_the_largest_normals(n_components, n_active):
    n = 20_000
    data = make_sparse_dictionary(n, 5, n_components, n_active, random_state=0)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((n, n_components))
    at = np.argsort(-np.abs(z), axis=1)[:, :n_active]
    direct = np.take_along_axis(z, at, axis=1)
    direct /= np.linalg.norm(direct, axis=1, keepdims=True)
    drawn = rows_of(data.codes, n_active)
    # Each order statistic of the unit-norm codes, with sign, by a two-sample
    # Kolmogorov-Smirnov test; a code of one atom is exactly +-1.
    for rank in range(n_active if n_active > 1 else 0):
        pair = [
            np.take_along_axis(c, np.argsort(-np.abs(c), axis=1), axis=1)[:, rank]
            for c in (drawn, direct)
        ]
        assert stats.ks_2samp(*pair).pvalue > 1e-3
    assert abs(np.sign(drawn).mean()) < 4 / np.sqrt(drawn.size)
    # Every atom and every pair of atoms is equally likely.
    used = (data.codes != 0).astype(np.float64)
    pairs = (used.T @ used).toarray()
    single = n_active / n_components
    double = single * (n_active - 1) / max(n_components - 1, 1)
    expected = np.full((n_components, n_components), double)
    np.fill_diagonal(expected, single)
    error = 5 * np.sqrt(expected * (1 - expected) / n)
    assert np.all(np.abs(pairs / n - expected) <= error + 1e-12)
    # Position in the (sorted) support tells nothing about the magnitude.
    spread = np.abs(drawn).mean(axis=0)
    assert np.ptp(spread) < 6 * np.abs(drawn).std() / np.sqrt(n) + 1e-6


def test_mixture_of_centres():
    # With s = 1 atoms are the centres; balanced: 5 of 3 + 5 of 3 + 5 of 3.
    data = small(1, n_components=15, mixture_scale=1.0, n_mixtures=3, random_state=0)
    distinct, counts = np.unique(data.dictionary, axis=0, return_counts=True)
    assert len(distinct) == 3
    np.testing.assert_array_equal(counts, 5)
    # Two atoms of one centre have expected cosine about s, those of two centres 0.
    data = make_sparse_dictionary(
        1, 400, 200, 2, mixture_scale=0.3, n_mixtures=2, random_state=0
    )
    cosines = np.sort((data.dictionary @ data.dictionary.T)[np.triu_indices(200, 1)])
    same = 2 * 100 * 99 // 2
    # Centres in 400 dimensions: cosines scatter by about 1 / 20 around either value.
    assert abs(cosines[-same:].mean() - 0.3) < 0.03
    assert abs(cosines[:-same].mean()) < 0.03


def test_noise_level():
    clean = small(2000, normalize=None, random_state=0)
    noisy = small(2000, normalize=None, noise_std=0.2, random_state=0)
    np.testing.assert_array_equal(clean.codes.indices, noisy.codes.indices)
    noise = noisy.X - clean.X
    # The standard deviation of N draws is known to 1 / sqrt(2 N).
    assert abs(noise.std() / 0.2 - 1) < 4 / np.sqrt(2 * noise.size)


def test_covariance_of_the_atoms():
    covariance = np.diag([4.0, 1.0, 1.0, 0.0])
    data = make_sparse_dictionary(
        1, 4, 20_000, 2, covariance=covariance, random_state=0
    )
    # The angle of a Gaussian direction in the plane of the first two axes: tan of it
    # is Cauchy with scale 1 / 2.
    ratio = data.dictionary[:, 1] / data.dictionary[:, 0]
    assert stats.kstest(ratio, stats.cauchy(scale=0.5).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(data.dictionary[:, 3], 0)


def test_digits_covariance():
    data = make_sparse_dictionary(
        10, 64, 50_000, 3, covariance="digits", random_state=0
    )
    images = load_digits().data
    spread = images.std(axis=0)
    np.testing.assert_array_equal(np.abs(data.dictionary).max(axis=0) > 0, spread > 0)
    lively = spread > 1
    drawn = np.corrcoef(data.dictionary[:, lively], rowvar=False)
    real = np.corrcoef(images[:, lively], rowvar=False)
    # Scaling atoms to unit norm shrinks correlations a little; 0.1 bounds that and
    # 5 / sqrt(50 000) of sampling error.
    assert np.abs(drawn - real).max() < 0.1


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1000])
def test_stream_yields_the_rows_of_the_plain_call(batch_size):
    plain = small(100, noise_std=0.1, random_state=3)
    stream = small(
        100, noise_std=0.1, online=True, batch_size=batch_size, random_state=3
    )
    assert "X" not in stream
    np.testing.assert_array_equal(stream.dictionary, plain.dictionary)
    batches = list(stream.batches)
    assert [len(b.X) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.vstack([b.X for b in batches]), plain.X)
    codes = np.vstack([b.codes.toarray() for b in batches])
    np.testing.assert_array_equal(codes, plain.codes.toarray())
    assert list(stream.batches) == []


def test_endless_stream_never_repeats():
    stream = small(None, online=True, batch_size=50, random_state=0)
    X = np.vstack([b.X for b in itertools.islice(stream.batches, 20)])
    X = np.vstack([X, next(stream.batches).X])
    assert len(np.unique(X, axis=0)) == 21 * 50


def test_held_out_rows_share_the_dictionary_only():
    train = small(60, random_state=5)
    test = make_sparse_dictionary(
        60, n_active=4, dictionary=train.dictionary, random_state=5
    )
    np.testing.assert_allclose(test.dictionary, train.dictionary, atol=1e-7)
    assert test.X.shape == (60, 12)
    both = np.vstack([train.codes.toarray(), test.codes.toarray()])
    assert len(np.unique(both, axis=0)) == 120
    scaled = make_sparse_dictionary(
        60, n_active=4, dictionary=3 * train.dictionary, random_state=5
    )
    np.testing.assert_allclose(scaled.X, test.X, atol=1e-6)


def test_seeds():
    again = small(20, random_state=1).X
    np.testing.assert_array_equal(small(20, random_state=1).X, again)
    assert not np.allclose(small(20, random_state=2).X, again)
    state = np.random.RandomState(1)
    np.testing.assert_array_equal(small(20, random_state=state).X, again)
    assert not np.allclose(small(20, random_state=state).X, again)
    np.testing.assert_array_equal(
        small(3, random_state=1).dictionary, small(20, random_state=1).dictionary
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_active": 31}, "n_active must be at most n_components = 30, got 31"),
        ({"n_active": 0}, "'n_active' parameter"),
        ({"mixture_scale": 1.5}, "'mixture_scale' parameter"),
        ({"n_mixtures": 0}, "'n_mixtures' parameter"),
        ({"noise_std": -1.0}, "'noise_std' parameter"),
        ({"normalize": "l1"}, "'normalize' parameter"),
        ({"n_samples": None}, "n_samples may be None only with online=True"),
        ({"covariance": np.eye(3)}, r"covariance must have shape \(12, 12\)"),
        ({"covariance": "digits"}, r"covariance must have shape \(12, 12\)"),
        ({"covariance": np.tri(12)}, "covariance must be symmetric"),
        ({"covariance": -np.eye(12)}, "covariance must be positive semidefinite"),
        ({"dictionary": np.ones(12)}, "dictionary must be two-dimensional"),
        ({"dictionary": np.zeros((30, 12))}, "dictionary must hold finite rows"),
    ],
)
def test_errors_name_the_argument(wrong, message):
    with pytest.raises(ValueError, match=message):
        small(**{"n_samples": 5, **wrong})
