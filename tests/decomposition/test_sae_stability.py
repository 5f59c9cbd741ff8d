import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skident.decomposition import IdentifiableSAE, SAEStability
from skident.exceptions import IdentifiabilityWarning

quiet = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
N_ATOMS, N_FEATURES = 20, 200


class Known(TransformerMixin, BaseEstimator):
    """A dictionary of which all seeds find the first atoms, the rest each its own.

    Rows are one-hot on the atoms; fits differ by a permutation and signs besides.
    """

    def __init__(self, n_kept=12, own_codes=False, random_state=None):
        self.n_kept = n_kept
        self.own_codes = own_codes
        self.random_state = random_state

    def fit(self, X, y=None):
        rng = np.random.default_rng(self.random_state)
        self.n_features_in_ = X.shape[1]
        # The others go to axes on which two fits seldom meet.
        axes = np.arange(N_ATOMS)
        lost = axes[self.n_kept :]
        axes[self.n_kept :] = (
            N_ATOMS + rng.permutation(N_FEATURES - N_ATOMS)[: len(lost)]
        )
        self.order_ = rng.permutation(N_ATOMS)
        self.signs_ = rng.choice([-1.0, 1.0], N_ATOMS)
        self.axes_ = axes[self.order_]
        self.components_ = np.eye(N_FEATURES)[self.axes_] * self.signs_[:, None]
        self.shift_ = rng.integers(1000) if self.own_codes else 0
        return self

    def transform(self, X):
        codes = np.roll(X, self.shift_, axis=0)[:, self.axes_] * self.signs_
        return sparse.csr_matrix(codes)

    def get_feature_names_out(self, input_features=None):
        return np.array([f"atom{i}" for i in range(N_ATOMS)], dtype=object)


def one_hot(n_rows=400):
    """Each axis is active on a tenth of the rows, at random."""
    rng = np.random.default_rng(0)
    return (rng.random((n_rows, N_FEATURES)) < 0.1).astype(np.float32) * 2


def spread(n_kept, **params):
    return SAEStability(Known(n_kept), random_state=0, **params)


# --- what comes back ---------------------------------------------------------------


@pytest.mark.parametrize("n_kept", [12, 20])
def test_atoms_that_come_back_by_construction(n_kept):
    X = one_hot()
    stability = spread(n_kept, n_fits=4).fit(X)
    reference = stability.estimators_[stability.reference_]
    assert stability.estimator_ is reference
    kept = reference.axes_ < n_kept
    # A lost atom can be found by another fit, on an axis that both drew.
    share = np.zeros(N_ATOMS)
    for other in stability.estimators_:
        if other is not reference:
            share += np.isin(reference.axes_, other.axes_) / 3
    np.testing.assert_allclose(stability.atom_stability_, share)
    assert (share[kept] == 1).all()
    np.testing.assert_allclose(stability.atom_cosine_[kept], 1)
    np.testing.assert_allclose(stability.atom_overlap_[kept], 1)
    np.testing.assert_array_equal(stability.stable_, share >= 0.8)
    np.testing.assert_array_equal(
        stability.components_, reference.components_[share >= 0.8]
    )
    np.testing.assert_array_equal(
        stability.transform(X).toarray(),
        reference.transform(X).toarray()[:, share >= 0.8],
    )
    assert stability.n_features_in_ == N_FEATURES
    assert stability.identifiability_.ok


def test_pairs_are_scored_by_what_they_share():
    stability = spread(12, n_fits=4).fit(one_hot())
    table = stability.pairwise_
    assert table[["fit_a", "fit_b"]].to_numpy().tolist() == [
        [0, 1],
        [0, 2],
        [0, 3],
        [1, 2],
        [1, 3],
        [2, 3],
    ]
    fits = stability.estimators_
    for a, b, dcs, back in table[["fit_a", "fit_b", "dcs", "back"]].to_numpy():
        common = np.isin(fits[int(a)].axes_, fits[int(b)].axes_).mean()
        np.testing.assert_allclose([dcs, back], common)
    mean_back = [
        table.loc[(table.fit_a == i) | (table.fit_b == i), "back"].mean()
        for i in range(4)
    ]
    assert stability.reference_ == np.argmax(mean_back)
    assert stability.identifiability_.stability == pytest.approx(
        {name: table[name].mean() for name in ("dcs", "iou", "back")}
    )


def test_all_the_same_gives_one_everywhere():
    stability = spread(20, n_fits=3).fit(one_hot())
    assert (stability.atom_stability_ == 1).all() and stability.stable_.all()
    assert (stability.pairwise_[["dcs", "iou", "back"]] == 1).all(axis=None)
    assert (stability.pairwise_[["l2", "l2_norm"]] == 0).all(axis=None)
    assert stability.score(one_hot(100)) == 1.0


def test_scores_are_beyond_chance():
    X = one_hot()
    # Other fits' codes are on other rows: a tenth of each, 1/19 of either in both.
    unrelated = SAEStability(Known(20, own_codes=True), n_fits=3, random_state=0)
    # All atoms on all rows agree whatever they are.
    everywhere = SAEStability(Known(20), n_fits=2, random_state=0)
    with pytest.warns(IdentifiabilityWarning):
        unrelated.fit(X)
    assert unrelated.pairwise_["iou"].mean() > 0.04
    # The mean over rows of a ratio is not quite the ratio of means: for 20 atoms it is
    # within a hundredth.
    assert abs(unrelated.score(X)) < 0.02
    assert everywhere.fit(X).score(np.ones_like(X)) == 0.0


def test_a_search_does_not_end_at_codes_of_every_atom():
    # Noise: nothing comes back, and intersection over union grows up to 1.
    X = np.random.default_rng(0).standard_normal((600, 8))
    sae = IdentifiableSAE(24, batch_size=128, learning_rate=1e-2, max_steps=60)
    scores = []
    for k in (2, 12, 24):
        stability = SAEStability(clone(sae).set_params(n_active=k), 2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores.append(stability.fit(X).score(X))
    assert scores[0] > scores[1] > scores[2] == 0.0


def test_scores_draw_no_random_numbers():
    stability = spread(20, n_fits=3).fit(one_hot())
    before = np.random.get_state()[1:3]  # noqa: NPY002
    stability.score(one_hot(100))
    after = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_equal(after, before)


def test_a_stable_dictionary_with_other_codes_does_not_come_back():
    # Theorem 3.2: directions agree to the last bit, the rows they explain do not.
    stability = SAEStability(Known(20, own_codes=True), n_fits=3, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="most atoms come back"):
        stability.fit(one_hot())
    assert (stability.pairwise_["dcs"] == 1).all()
    assert (stability.atom_cosine_ == 1).all()
    # Two random tenths of the rows overlap in 1/19 of their union.
    assert abs(stability.atom_overlap_.mean() - 1 / 19) < 0.02
    assert (stability.atom_stability_ == 0).all() and not stability.stable_.any()
    assert not stability.identifiability_.ok


def test_no_stable_atom_leaves_no_column():
    stability = SAEStability(Known(20, own_codes=True), n_fits=2, random_state=0)
    with pytest.warns(IdentifiabilityWarning):
        stability.fit(one_hot())
    assert stability.transform(one_hot()).shape == (400, 0)
    assert stability.components_.shape == (0, N_FEATURES)
    assert stability.get_feature_names_out().shape == (0,)


def test_an_atom_that_is_never_active_does_not_come_back():
    X = one_hot()
    X[:, :3] = 0
    stability = spread(20, n_fits=2).fit(X)
    silent = stability.estimator_.axes_ < 3
    np.testing.assert_array_equal(stability.stable_, ~silent)
    assert (stability.atom_overlap_[silent] == 0).all()


# --- warnings ----------------------------------------------------------------------


def test_thresholds_decide_and_are_named():
    with pytest.warns(IdentifiabilityWarning, match=r"most atoms come back.*0\.5"):
        spread(5, n_fits=3).fit(one_hot())
    some = spread(12, n_fits=4).fit(one_hot())
    all_of = spread(12, n_fits=4, min_stability=1.0).fit(one_hot())
    none_of = spread(12, n_fits=4, min_stability=0.0).fit(one_hot())
    assert all_of.stable_.sum() <= some.stable_.sum() < none_of.stable_.sum() == 20


def test_cosines_that_chance_reaches_are_told():
    message = "cosines above chance"
    with pytest.warns(IdentifiabilityWarning, match=message):
        low = spread(20, n_fits=2, min_cosine=0.3).fit(one_hot())
    assert low.chance_cosine_ > 0.3
    assert [a.name for a in low.identifiability_.violated] == [message]
    # On one feature every atom is every other one, up to sign.
    one = SAEStability(PCA(1, svd_solver="randomized"), n_fits=2, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match=message):
        one.fit(np.arange(20.0)[:, None])
    assert one.chance_cosine_ == pytest.approx(1)


def test_warnings_of_single_fits_are_told_once_and_reports_kept():
    X = np.random.default_rng(0).standard_normal((200, 6))
    sae = IdentifiableSAE(12, 2, max_steps=2)
    with pytest.warns() as caught:
        stability = SAEStability(sae, n_fits=3, random_state=0).fit(X)
    told = [w.category for w in caught]
    assert told.count(ConvergenceWarning) == 1
    assert told.count(IdentifiabilityWarning) == 1  # our own
    assert all(not fit.identifiability_.ok for fit in stability.estimators_)


# --- what it takes -----------------------------------------------------------------


@quiet
def test_every_transformer_with_atoms_and_a_seed_will_do():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((200, 5)) * (rng.random((200, 5)) < 0.3)
    X = codes @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    learner = MiniBatchDictionaryLearning(
        5,
        alpha=0.1,
        transform_algorithm="threshold",
        transform_alpha=0.1,
        max_iter=10,
    )
    stability = SAEStability(learner, n_fits=3, random_state=0).fit(X)
    # An orthonormal dictionary of sparse codes is found by every seed.
    assert stability.stable_.all() and stability.score(X) > 0.9


@quiet
def test_jobs_and_seeds():
    X = np.random.default_rng(0).standard_normal((200, 6))
    sae = IdentifiableSAE(12, 2, max_steps=3)
    one, two, other = (
        SAEStability(sae, n_fits=2, n_jobs=n, random_state=seed).fit(X)
        for n, seed in ((None, 0), (1, 0), (None, 1))
    )
    pd.testing.assert_frame_equal(one.pairwise_, two.pairwise_)
    assert not one.pairwise_.equals(other.pairwise_)
    seeds = [fit.random_state for fit in one.estimators_]
    assert len(set(seeds)) == 2 and sae.random_state is None
    assert not hasattr(sae, "components_")


@quiet
@pytest.mark.slow
def test_two_jobs_give_the_answer_of_one():
    X = np.random.default_rng(0).standard_normal((200, 6))
    sae = IdentifiableSAE(12, 2, max_steps=3)
    one, two = (
        SAEStability(sae, n_fits=3, n_jobs=n, random_state=0).fit(X) for n in (None, 2)
    )
    pd.testing.assert_frame_equal(one.pairwise_, two.pairwise_)
    np.testing.assert_array_equal(one.components_, two.components_)
    assert one.chance_cosine_ == two.chance_cosine_


@quiet
def test_frames_and_shards():
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    template = SAEStability(
        IdentifiableSAE(8, 2, max_steps=3), n_fits=2, max_samples=100, random_state=0
    )
    plain = clone(template).fit(X)
    shards = clone(template).fit([X[:100], X[100:]])
    pd.testing.assert_frame_equal(plain.pairwise_, shards.pairwise_)
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = clone(template).fit(frame)
    np.testing.assert_array_equal(
        named.estimator_.components_, plain.estimator_.components_
    )
    assert named.feature_names_in_.tolist() == list("abcd")
    assert named.transform(frame).shape == (300, named.stable_.sum())
    with pytest.raises(ValueError, match="feature names should match"):
        named.transform(frame[list("bacd")])
    assert not hasattr(named.fit(X), "feature_names_in_")
    polars = pytest.importorskip("polars")
    clone(template).fit(polars.DataFrame(dict(zip("abcd", X.T, strict=True))))


@quiet
def test_names_of_atoms_are_those_of_the_reference():
    stability = spread(5, n_fits=3).fit(one_hot())
    expected = [f"atom{i}" for i in np.flatnonzero(stability.stable_)]
    assert stability.get_feature_names_out().tolist() == expected


@quiet
def test_the_default_is_the_sparse_autoencoder():
    X = np.random.default_rng(0).standard_normal((64, 9))
    stability = SAEStability(n_fits=2, random_state=0).fit(X)
    assert type(stability.estimator_) is IdentifiableSAE
    assert stability.estimator is None and len(stability.stable_) == 36


@quiet
def test_it_survives_pickle_and_skops():
    X = np.random.default_rng(0).standard_normal((200, 6))
    fitted = SAEStability(IdentifiableSAE(12, 2, max_steps=3), n_fits=2).fit(X)
    ways = [pickle.loads(pickle.dumps(fitted))]
    skops_io = pytest.importorskip("skops.io")
    data = skops_io.dumps(fitted)
    trusted = skops_io.get_untrusted_types(data=data)
    assert trusted and all(name.startswith("skident.") for name in trusted)
    ways.append(skops_io.loads(data, trusted=trusted))
    for back in ways:
        pd.testing.assert_frame_equal(back.pairwise_, fitted.pairwise_)
        np.testing.assert_array_equal(back.components_, fitted.components_)
        np.testing.assert_array_equal(
            back.transform(X).toarray(), fitted.transform(X).toarray()
        )
        assert back.score(X) == fitted.score(X)
    assert isinstance(fitted.pairwise_, pd.DataFrame)


def test_what_cannot_be_refitted_is_refused():
    X = one_hot()
    with pytest.raises(ValueError, match=r"must have a random_state.*Seedless"):
        SAEStability(Seedless()).fit(X)
    with pytest.raises(TypeError, match=r"an instance, Seedless\(\), not the class"):
        SAEStability(Seedless).fit(X)
    with pytest.raises(ValueError, match="n_fits"):
        SAEStability(Known(), n_fits=1).fit(X)
    with pytest.raises(ValueError, match="estimator"):
        SAEStability(3).fit(X)
    for method in ("transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(SAEStability(), method)(X)
    bad = X.copy()
    bad[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN, in row 3"):
        SAEStability(IdentifiableSAE(max_steps=1)).fit(bad)


class Seedless(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X
