"""Agreement of codes against a dense reference, and its invariances."""

import numpy as np
import pytest
from scipy import sparse

from skident.datasets import make_ambiguous_dictionary, make_sparse_dictionary
from skident.metrics import (
    AtomMatch,
    code_stability,
    dictionary_cosine_similarity,
    match_atoms,
    sae_stability,
)
from skident.solvers import batched_omp


def random_codes(seed, n_samples, n_components, density=0.2):
    return sparse.random(
        n_samples,
        n_components,
        density=density,
        format="csr",
        random_state=seed,
        data_rvs=np.random.default_rng(seed).standard_normal,
    )


def identity(n):
    return AtomMatch(np.arange(n), np.ones(n), np.ones(n))


def test_equals_a_dense_computation():
    a, b = random_codes(0, 60, 25).toarray(), random_codes(1, 60, 25).toarray()
    rng = np.random.default_rng(2)
    match = AtomMatch(rng.permutation(25), rng.choice([-1.0, 1.0], 25), np.ones(25))
    scores = code_stability(
        sparse.csr_matrix(a), sparse.csr_matrix(b), match, random_state=5
    )
    aligned = b[:, match.permutation] * match.signs
    both, either = (a != 0) & (aligned != 0), (a != 0) | (aligned != 0)
    count = either.sum(axis=1)
    iou = np.where(count > 0, both.sum(axis=1) / np.maximum(count, 1), 1.0)
    assert scores["iou"] == pytest.approx(iou.mean(), rel=1e-12)
    distance = np.linalg.norm(a - aligned, axis=1).mean()
    norms = [np.linalg.norm(z, axis=1).mean() for z in (a, b)]
    assert scores["l2_norm"] == pytest.approx(distance / np.mean(norms), rel=1e-12)
    # The mean distance to another row, over all of them, is what the random
    # permutation estimates: each row meets one other, so the error is below the
    # spread of distances over sqrt(60), times 4.
    apart = np.linalg.norm(a[:, None] - aligned[None], axis=2)
    apart = apart[~np.eye(60, dtype=bool)]
    unit = distance / scores["l2"]
    assert abs(unit - apart.mean()) < 4 * apart.std() / np.sqrt(60)
    # Dense codes give the same, and the inputs are left as they were.
    dense = code_stability(a, b, match, random_state=5)
    assert dense == pytest.approx(scores, rel=1e-12)


def test_a_fit_against_itself():
    codes = random_codes(0, 50, 20)
    assert code_stability(codes, codes, identity(20)) == {
        "iou": 1.0,
        "l2": 0.0,
        "l2_norm": 0.0,
    }


def test_unrelated_codes():
    n, K = 4000, 400
    a, b = random_codes(0, n, K, 0.02), random_codes(1, n, K, 0.02)
    scores = code_stability(a, b, identity(K), random_state=0)
    # Both distances have one law: their ratio is 1 within 4 / sqrt(n) of its scatter.
    assert abs(scores["l2"] - 1) < 4 / np.sqrt(n)
    # Overlap of 2 % in 2 %: two unions of eight atoms share about 1 %.
    assert scores["iou"] < 0.03
    assert abs(scores["l2_norm"] - np.sqrt(2)) < 0.1


def test_invariant_under_signed_permutation_of_either_fit():
    rng = np.random.default_rng(0)
    n, K = 80, 30
    D = rng.standard_normal((2, K, 12))
    Z = [random_codes(3, n, K), random_codes(4, n, K)]
    match = match_atoms(*D)
    scores = code_stability(*Z, match, random_state=1)
    dcs = dictionary_cosine_similarity(*D)
    for which in (0, 1):
        order, signs = rng.permutation(K), rng.choice([-1.0, 1.0], K)
        D2, Z2 = list(D), list(Z)
        D2[which] = signs[:, None] * D[which][order]
        Z2[which] = Z[which][:, order] @ sparse.diags(signs)
        moved = code_stability(*Z2, match_atoms(*D2), random_state=1)
        assert moved == pytest.approx(scores, abs=1e-12)
        assert dictionary_cosine_similarity(*D2) == pytest.approx(dcs, abs=1e-12)


def test_one_matching_for_dictionary_and_codes():
    # The codes agree under a permutation that the dictionaries do not share.
    codes = np.eye(4)
    D = np.eye(4)
    shifted = np.roll(codes, 1, axis=1)
    scores = code_stability(codes, shifted, match_atoms(D, D))
    assert scores["iou"] == 0.0
    assert scores["l2_norm"] == pytest.approx(np.sqrt(2))
    # And a flipped sign is a disagreement of values, not of supports.
    flipped = code_stability(codes, -codes, match_atoms(D, D))
    assert flipped["iou"] == 1.0
    assert flipped["l2_norm"] == pytest.approx(2.0)


def test_unmatched_atoms_agree_with_nothing():
    D = np.eye(5)
    codes = np.array([[1.0, 0.0, 0.0, 0.0, 2.0], [0.0, 3.0, 0.0, 0.0, 0.0]])
    # a lacks atom 4: its code of the first row is half right.
    small = code_stability(codes[:, :4], codes, match_atoms(D[:4], D))
    large = code_stability(codes, codes[:, :4], match_atoms(D, D[:4]))
    for scores in (small, large):
        assert scores["iou"] == pytest.approx((1 / 2 + 1) / 2)
        norm = (np.sqrt(5) + 3 + 1 + 3) / 4
        assert scores["l2_norm"] == pytest.approx((2 + 0) / 2 / norm)


def test_empty_rows_and_stored_zeros():
    a = np.array([[0.0, 0.0], [1.0, 0.0]])
    stored = sparse.csr_matrix((np.zeros(3), ([0, 0, 1], [0, 1, 0])), shape=(2, 2))
    scores = code_stability(a, stored, identity(2))
    # Two empty codes agree; one atom against none does not.
    assert scores["iou"] == 0.5
    assert stored.nnz == 3
    both = code_stability(stored, stored, identity(2))
    assert both == {"iou": 1.0, "l2": 0.0, "l2_norm": 0.0}
    one = code_stability(a[1:], 2 * a[1:], identity(2))
    assert np.isnan(one["l2"]) and one["l2_norm"] == pytest.approx(2 / 3)


def test_random_state():
    a, b = random_codes(0, 30, 10), random_codes(1, 30, 10)
    first = code_stability(a, b, identity(10), random_state=0)
    assert code_stability(a, b, identity(10), random_state=0) == first
    assert code_stability(a, b, identity(10), random_state=1)["l2"] != first["l2"]


@pytest.mark.parametrize("k", [2, 4, 7])
def test_a_stable_dictionary_does_not_make_stable_codes(k):
    data = make_ambiguous_dictionary(50, 12, k + 6, k, random_state=0)
    errors = [
        np.linalg.norm(data.X - codes @ data.dictionary)
        for codes in (data.codes, data.other_codes)
    ]
    np.testing.assert_allclose(errors, 0, atol=1e-12)
    match = match_atoms(data.dictionary, data.dictionary)
    scores = code_stability(data.codes, data.other_codes, match, random_state=0)
    assert match.cosines.min() > 1 - 1e-12
    assert scores["iou"] == pytest.approx((k - 2) / (k + 2))
    assert scores["l2_norm"] > 0.3


class FittedSAE:
    """The three things that a comparison asks of a fit."""

    def __init__(self, components, n_active, encoder=None):
        self.components_, self.k_ = components, n_active
        self.encoder = components if encoder is None else encoder

    def transform(self, X):
        u = X @ self.encoder.T
        cut = np.sort(np.abs(u), axis=1)[:, [-self.k_]]
        return sparse.csr_matrix(np.where(np.abs(u) >= cut, u, 0.0))

    def oracle_transform(self, X, k=None):
        return batched_omp(X, self.components_, self.k_ if k is None else k)


def test_sae_stability_takes_fitted_estimators():
    with pytest.raises(TypeError, match=r"est_a must be a fitted estimator.*ndarray"):
        sae_stability(np.eye(3), np.eye(3), np.eye(3))


def test_sae_stability_tells_encoders_from_dictionaries():
    data = make_sparse_dictionary(300, 24, 40, 2, normalize="l2", random_state=0)
    rng = np.random.default_rng(1)
    D = data.dictionary.astype(float)
    order, signs = rng.permutation(40), rng.choice([-1.0, 1.0], 40)
    a = FittedSAE(D, 2)
    b = FittedSAE(signs[:, None] * D[order], 2)
    X = data.X.astype(float)
    same = sae_stability(a, b, X, oracle=True, random_state=0)
    assert list(same) == [
        "dcs",
        "iou",
        "l2",
        "l2_norm",
        "oracle_iou",
        "oracle_l2",
        "oracle_l2_norm",
    ]
    assert same["dcs"] == pytest.approx(1)
    assert same["iou"] == same["oracle_iou"] == 1.0
    assert same["l2"] == pytest.approx(0, abs=1e-12)
    # A bad encoder on the same dictionary shows in the codes, not in the oracle's.
    worse = FittedSAE(
        b.components_, 2, b.components_ + 0.3 * rng.standard_normal(D.shape)
    )
    scores = sae_stability(a, worse, X, oracle=True, random_state=0)
    assert scores["dcs"] == pytest.approx(1)
    assert scores["iou"] < 0.7
    assert scores["oracle_iou"] == 1.0
    assert "oracle_iou" not in sae_stability(a, b, X)
    one = sae_stability(a, worse, X, oracle=True, n_nonzero=1, random_state=0)
    assert one["oracle_iou"] == 1.0 and one["iou"] == scores["iou"]


def test_errors_name_the_argument():
    a = random_codes(0, 5, 4)
    with pytest.raises(ValueError, match="codes_a and codes_b must have the same rows"):
        code_stability(a, a[:3], identity(4))
    with pytest.raises(ValueError, match="at least one: got 0 and 0"):
        code_stability(a[:0], a[:0], identity(4))
    with pytest.raises(ValueError, match="match must be of the 4 atoms of codes_a"):
        code_stability(a, a, identity(3))
    with pytest.raises(ValueError, match="3 of codes_b; it has 4 entries, up to 3"):
        code_stability(a, a[:, :3], identity(4))
    with pytest.raises(ValueError, match="codes_b must be two-dimensional"):
        code_stability(a, np.ones(5), identity(4))
    with pytest.raises(ValueError, match="codes_b must be finite"):
        code_stability(a, np.full((5, 4), np.nan), identity(4))


@pytest.mark.parametrize(
    ("dtype", "container"),
    [
        (np.uint8, np.asarray),
        (np.uint8, sparse.csr_matrix),
        (np.int8, sparse.csr_matrix),
        (np.float16, np.asarray),
        (bool, np.asarray),
        (bool, sparse.csr_matrix),
    ],
)
def test_codes_of_any_type_are_compared_as_numbers(dtype, container):
    a = (np.arange(24).reshape(6, 4) % 5) * 25
    b = np.roll(a, 1, axis=1) + 1
    if dtype is bool:
        a, b = a > 50, b > 50
    match = match_atoms(np.eye(4), -np.eye(4))
    expected = code_stability(
        a.astype(np.float64), b.astype(np.float64), match, random_state=0
    )
    a, b = container(a.astype(dtype)), container(b.astype(dtype))
    assert code_stability(a, b, match, random_state=0) == pytest.approx(expected)
