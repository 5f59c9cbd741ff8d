"""What a sparse autoencoder keeps: pickles, copies, chunks, scikit-learn's tools."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skident.decomposition import IdentifiableSAE
from tests._copies import by_joblib, by_pickle, by_skops

pytestmark = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
X = np.random.default_rng(0).standard_normal((1200, 8)).astype(np.float32)
EPS = np.finfo(np.float32).eps
VARIANTS = [{}, {"variant": "isae_me"}, {"variant": "isae_me", "step_rank": 3}]


def sae(**params):
    params = {"n_encode_steps": 3, "batch_size": 100, "max_steps": 6} | params
    return IdentifiableSAE(24, 3, **({"random_state": 0} | params))


def assert_same(one, two):
    """Same learned state and the same codes, bit for bit."""
    assert learned(one).keys() == learned(two).keys()
    for name, value in learned(one).items():
        np.testing.assert_equal(getattr(two, name), value, name)
    np.testing.assert_array_equal(
        one.transform(X).toarray(), two.transform(X).toarray()
    )


def learned(estimator):
    return {k: v for k, v in vars(estimator).items() if k.endswith("_")}


WAYS = [by_pickle, by_joblib, by_skops, copy.deepcopy, copy.copy]


# --- round trips -------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_a_fitted_estimator_survives(way, params):
    fitted = sae(**params).fit(X)
    assert_same(way(fitted), fitted)
    assert_same(fitted, sae(**params).fit(X))  # and is not changed by it
    assert fitted.get_params() == way(fitted).get_params()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_partial_fit_goes_on_after_a_round_trip_to_the_same_bits(way, params):
    straight = sae(**params).partial_fit(X[:400])
    there = way(straight)
    # The optimiser's moments, the noise and the counts of uses come along.
    straight.partial_fit(X[400:])
    back = way(way(there)).partial_fit(X[400:])
    assert_same(back, straight)
    assert straight.n_steps_ == 12 and len(straight.history_["rip"]) == 12
    # Looking at the state, as repr of a search or a copy does, leaves the net alone.
    plain = sae(**params).partial_fit(X[:400]).partial_fit(X[400:])
    assert_same(straight, plain)
    assert_same(straight.partial_fit(X[:200]), back.partial_fit(X[:200]))


def kinds(value, seen):
    """Types of all objects within a state."""
    seen.add(type(value))
    if isinstance(value, dict):
        for part in value.values():
            kinds(part, seen)
    elif isinstance(value, list | tuple | set):
        for part in value:
            kinds(part, seen)
    elif not isinstance(value, np.ndarray) and hasattr(value, "__dict__"):
        kinds(vars(value), seen)
    return seen


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_a_state_has_nothing_of_torch_or_of_a_device(params):
    estimator = sae(**params).partial_fit(X)
    assert "_run" in vars(estimator)
    for state in (estimator.__getstate__(), sae(**params).fit(X).__getstate__()):
        modules = {kind.__module__.split(".")[0] for kind in kinds(state, set())}
        assert modules <= {"builtins", "numpy", "skident"}
    assert "_run" in vars(estimator)
    assert b"torch" not in pickle.dumps(estimator)


def test_a_pickle_has_no_training_data():
    many = np.tile(X, (10, 1))  # 384 kB
    one, two = (len(pickle.dumps(sae().fit(rows))) for rows in (X, many))
    assert abs(two - one) < 100
    one, two = (len(pickle.dumps(sae().partial_fit(rows))) for rows in (X, many))
    # Five terms of the loss a step, as float64 and as float32.
    assert abs(two - one) < (120 - 12) * 5 * 12 + 100


def test_clone_keeps_parameters_only():
    cloned = clone(sae(betas=(0.8, 0.99)).partial_fit(X))
    assert cloned.get_params() == sae(betas=(0.8, 0.99)).get_params()
    assert not {"_run", "_resume"} & set(vars(cloned))
    with pytest.raises(NotFittedError):
        cloned.transform(X)


def assert_close(one, two):
    """Equal but for atoms of unit norm having been divided by their norm again."""
    if one is None:
        assert two is None
    elif isinstance(one, np.ndarray):
        # One rounding a step of the ten after the first call.
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=10 * EPS)
    else:
        one, two = (v.values() if isinstance(v, dict) else v for v in (one, two))
        for a, b in zip(one, two, strict=True):
            assert_close(a, b)


# --- chunks ------------------------------------------------------------------------


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_chunks_of_whole_batches_give_the_same_answer(params):
    chunkings = [[(200, 1200)], [(200, 300), (300, 1200)]]
    chunkings.append([(i, i + 100) for i in range(200, 1200, 100)])
    results = []
    for chunks in chunkings:
        # What it starts from is a matter of the first call.
        estimator = sae(**params).partial_fit(X[:200])
        for low, high in chunks:
            estimator.partial_fit(X[low:high])
        results.append(estimator)
    for name in ("components_", "encoder_", "intercept_", "step_factor_", "history_"):
        for other in results[1:]:
            np.testing.assert_equal(getattr(other, name), getattr(results[0], name))
    assert [r.n_steps_ for r in results] == [12] * 3


def test_a_small_first_chunk_does_not_shrink_later_batches():
    estimator = sae().partial_fit(X[:7]).partial_fit(X)
    assert estimator.n_steps_ == 1 + 12
    assert by_pickle(sae().partial_fit(X[:7])).partial_fit(X).n_steps_ == 13


def test_partial_fit_after_fit_starts_from_the_fitted_weights():
    fitted = sae(warmup_steps=0).partial_fit(X * 3).fit(X)
    before = fitted.components_
    fresh = copy.deepcopy(sae(warmup_steps=0).fit(X))
    np.testing.assert_array_equal(before, fresh.components_)
    assert_same(fitted.partial_fit(X[:100]), fresh.partial_fit(X[:100]))
    # One step of Adam moves a weight by the learning rate at most.
    moved = np.abs(fitted.encoder_ - sae(warmup_steps=0).fit(X).encoder_).max()
    assert 0 < moved <= 3e-4 * (1 + 1e-3)


def test_warm_start_goes_on_and_refit_does_not():
    fitted = sae(warm_start=True, max_steps=12).fit(X)
    first = fitted.history_["reconstruction"]
    fitted.fit(X)
    # Of the same batches, after having been trained on them.
    assert (fitted.history_["reconstruction"] < first).all()
    refitted = sae(max_steps=12).fit(X * 2 + 1).fit(X)
    assert_same(refitted, sae(max_steps=12).fit(X))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"n_components": 25}, r"components_ .*\(25, 8\).*\(24, 8\)"),
        ({"variant": "isae_me"}, r"step_factor_ .*\(24, 24\).*None"),
    ],
)
def test_a_warm_start_from_other_shapes_is_refused(changed, name):
    fitted = sae(warm_start=True).fit(X)
    with pytest.raises(ValueError, match=f"warm_start=True, {name}"):
        fitted.set_params(**changed).fit(X)
    with pytest.raises(ValueError, match=r"components_ .*\(24, 7\).*\(24, 8\)"):
        sae(warm_start=True).fit(X).fit(X[:, :7])


def test_rows_held_out_are_scored_and_not_trained_on():
    fitted = sae(validation_fraction=0.25, max_steps=None, max_epochs=2).fit(X)
    # About 300 of 1200 rows are held out, in runs of consecutive ones.
    assert fitted.n_steps_ in (18, 20)
    assert -1 < fitted.validation_score_ <= 1
    assert not hasattr(
        fitted.set_params(validation_fraction=0.0).fit(X), "validation_score_"
    )


# --- scikit-learn's tools ----------------------------------------------------------


def test_kinds_of_input_agree():
    fitted = sae().fit(X)
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    by_name = sae().fit(frame)
    np.testing.assert_array_equal(by_name.components_, fitted.components_)
    codes = fitted.transform(X).toarray()
    alike = [(by_name, frame)]
    for other in ([X[:500], X[500:]], np.asfortranarray(X)):
        assert_same(sae().fit(other), fitted)
        alike.append((fitted, other))
    for other in (X.astype(float), X.tolist()):
        # Normalised in float64: the same rows but for float32 rounding.
        wide = sae().fit(other)
        np.testing.assert_allclose(wide.components_, fitted.components_, atol=1e-5)
        alike.append((fitted, other))
    for estimator, other in alike:
        # A product sums in another order for other strides.
        np.testing.assert_allclose(
            estimator.transform(other).toarray(), codes, rtol=0, atol=8 * EPS
        )


def test_features_are_checked_by_number_and_name():
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    fitted, unnamed = sae().fit(frame), sae().fit(X)
    assert fitted.feature_names_in_.tolist() == list("abcdefgh")
    methods = ("transform", "score", "partial_fit", "pre_activations", "reconstruct")
    for name in (*methods, "oracle_transform"):
        with pytest.raises(ValueError, match="feature names should match"):
            getattr(fitted, name)(frame[list("bacdefgh")])
        with pytest.raises(ValueError, match="has 7 features, but IdentifiableSAE is"):
            getattr(unnamed, name)(X[:, :7])
    with pytest.raises(ValueError, match="24 columns, one an atom; got 23"):
        fitted.inverse_transform(np.zeros((2, 23)))
    assert not hasattr(fitted.fit(X), "feature_names_in_")


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_names_the_atoms(container):
    pytest.importorskip(container)
    fitted = sae(sparse_output=False).fit(X).set_output(transform=container)
    codes = fitted.transform(X)
    assert list(codes.columns) == [f"identifiablesae{i}" for i in range(24)]
    plain = sae().fit(X).transform(X)
    assert sparse.isspmatrix_csr(plain) and plain.dtype == np.float32
    np.testing.assert_array_equal(codes.to_numpy(), plain.toarray())


def test_a_search_over_a_pipeline_prefers_what_explains_more():
    # The other one has hardly moved from its start.
    pipeline = make_pipeline(StandardScaler(), sae(max_steps=40, warmup_steps=0))
    grid = {"identifiablesae__learning_rate": [1e-6, 1e-2]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X)
    assert search.best_params_ == {"identifiablesae__learning_rate": 1e-2}
    assert search.best_estimator_.transform(X).shape == (1200, 24)
    assert pickle.loads(pickle.dumps(search)).score(X) == search.score(X)
