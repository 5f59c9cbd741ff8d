"""Factors, classes and batches of the embeddings, and what separates them."""

import pickle

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from skident.datasets import make_batch_effect_embeddings
from skident.metrics import signal_concentration


def test_factors_have_their_moments():
    n = 30_000
    data = make_batch_effect_embeddings(n, effect=1.5, random_state=0)
    np.testing.assert_array_equal(data.decode(np.hstack([data.bio, data.tech])), data.X)
    before = data.bio.copy()
    before[:, data.perturbed] -= 1.5 * data.y[:, None]
    # Kurtosis 12 (that of Laplace, 6, over the activity) and 1.8: errors of moments.
    assert np.abs(before.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs(before.var(axis=0) - 1).max() < 4 * np.sqrt(11 / n)
    share = np.isclose(before, 0.0).mean(axis=0)
    assert np.abs(share - 0.5).max() < 4 * np.sqrt(0.25 / n)
    within = data.tech - data.batch_means[data.batches]
    assert np.abs(within).max() <= np.sqrt(3)
    assert np.abs(within.var(axis=0) - 1).max() < 4 * np.sqrt(0.8 / n)
    correlations = np.corrcoef(np.hstack([before, within]), rowvar=False)
    assert np.abs(correlations - np.eye(16)).max() < 4.5 / np.sqrt(n)


def test_batches_and_classes_are_balanced():
    data = make_batch_effect_embeddings(600, n_batches=5, random_state=0)
    counts = np.zeros((5, 2), int)
    np.add.at(counts, (data.batches, data.y), 1)
    np.testing.assert_array_equal(counts, 60)
    # The order of the rows tells of neither.
    assert len(set(data.batches[:20])) > 2 and len(set(data.y[:20])) == 2
    odd = make_batch_effect_embeddings(37, n_batches=4, random_state=0)
    assert np.ptp(np.bincount(odd.batches)) <= 1


def test_the_map_nearly_keeps_distances():
    data = make_batch_effect_embeddings(200, random_state=0)
    ratios = pdist(data.X) / pdist(np.hstack([data.bio, data.tech]))
    assert ratios.min() >= 0.49 and ratios.max() <= 1 + 1e-12
    again = pickle.loads(pickle.dumps(data.decode))
    np.testing.assert_array_equal(again(np.hstack([data.bio, data.tech])), data.X)


def test_strength_of_batches():
    strong = make_batch_effect_embeddings(n_batches=200, batch_effect=3, random_state=0)
    # The standard deviation of 1600 normals is known to 1 / sqrt(3200).
    assert strong.batch_means.std() == pytest.approx(3, rel=4 / np.sqrt(3200))
    none = make_batch_effect_embeddings(batch_effect=0, random_state=0)
    assert not none.batch_means.any()
    pure = make_batch_effect_embeddings(60, n_tech=0, random_state=0)
    assert pure.tech.shape == (60, 0) and pure.X.shape == (60, 64)


def test_the_label_lies_in_two_factors():
    data = make_batch_effect_embeddings(random_state=0)
    held_out = {"cv": LeaveOneGroupOut(), "groups": data.batches, "scoring": "roc_auc"}
    model = LogisticRegression(max_iter=1000)
    others = np.setdiff1d(np.arange(8), data.perturbed)

    def auroc(X):
        return cross_val_score(model, X, data.y, **held_out).mean()

    truth = auroc(data.bio[:, data.perturbed])
    assert truth > 0.8
    # AUROC of 500 rows without signal has standard error 0.026, here of six batches.
    assert abs(auroc(data.bio[:, others]) - 0.5) < 4 * 0.026 / np.sqrt(6)
    assert 0.6 < auroc(data.X) < truth
    # Two of sixteen factors hold it, which the embedding spreads over its features.
    factors = np.hstack([data.bio, data.tech])
    concentrated = signal_concentration(factors, data.y)
    assert concentrated > signal_concentration(data.X, data.y) + 0.2
    silent = make_batch_effect_embeddings(effect=0, random_state=0)
    gap = [silent.bio[silent.y == c].mean(axis=0) for c in (0, 1)]
    assert np.abs(gap[0] - gap[1]).max() < 4 * np.sqrt(4 / 3000)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"n_features": 15},
            r"n_features must be at least n_bio \+ n_tech = 16, got 15",
        ),
        ({"n_bio": 1}, "n_bio"),
        ({"n_batches": 0}, "n_batches"),
        ({"effect": -1.0}, "effect"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_batch_effect_embeddings(**wrong)
