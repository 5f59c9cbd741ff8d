"""DCI at its limits, with any estimator that weighs its features."""

import joblib
import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from skident.metrics import dci_scores


def labels(seed, n_samples, n_sources, n_labels=4):
    return np.random.default_rng(seed).integers(n_labels, size=(n_samples, n_sources))


def uniform(seed, n_samples, k):
    return np.random.default_rng(seed).uniform(-1, 1, size=(n_samples, k))


def test_latents_that_are_the_sources_score_one():
    s = labels(0, 600, 3)
    scores = dci_scores(s, s @ np.eye(3)[[2, 0, 1]], estimator=DecisionTreeClassifier())
    for name in ("disentanglement", "completeness", "informativeness"):
        assert scores[name] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(scores["importance"], np.eye(3)[[2, 0, 1]], atol=1e-12)


def test_default_forests():
    s = labels(0, 200, 2)
    discrete = dci_scores(s, s)
    forest = RandomForestClassifier(100, min_samples_leaf=10, max_features=None)
    named = dci_scores(s, s, estimator=forest)
    np.testing.assert_array_equal(discrete["importance"], named["importance"])
    u = uniform(0, 200, 2)
    continuous = dci_scores(u, u, discrete_sources=False)
    for scores in (discrete, continuous):
        assert scores["disentanglement"] > 0.95 and scores["completeness"] > 0.95
        assert scores["informativeness"] > 0.95


def test_scores_follow_from_linear_weights():
    # Sources are linear in the latents: the weights are known.
    z = uniform(0, 500, 3)
    weights = np.array([[3.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    scores = dci_scores(
        z @ weights.T, z, discrete_sources=False, estimator=Ridge(alpha=1e-9)
    )
    np.testing.assert_allclose(scores["importance"], np.abs(weights), atol=1e-6)
    by_latent = [1.0, 1 - entropy([1, 1]) / np.log(2)]
    disentanglement = (3 * by_latent[0] + 2 * by_latent[1]) / 5
    by_source = [1 - entropy([3, 1]) / np.log(3), 1.0]
    assert scores["disentanglement"] == pytest.approx(disentanglement, abs=1e-4)
    assert scores["completeness"] == pytest.approx(np.mean(by_source), abs=1e-4)
    assert scores["informativeness"] == pytest.approx(1.0)


def test_weights_of_several_classes_are_added_up():
    s = labels(0, 300, 2, 3)
    model = LogisticRegression()
    scores = dci_scores(s, s, estimator=model, random_state=0)
    assert scores["importance"].shape == (2, 2)
    assert scores["disentanglement"] > 0.5
    assert not hasattr(model, "coef_")


def test_informativeness_is_held_out():
    s, z = labels(0, 400, 2), uniform(1, 400, 4)
    scores = dci_scores(s, z, estimator=DecisionTreeClassifier())
    # A fully grown tree knows the rows it was fitted to; chance is a quarter.
    error = 4 * np.sqrt(0.25 * 0.75 / (2 * 200))
    assert scores["informativeness"] == pytest.approx(0.25, abs=error)


def test_order_and_signs_do_not_matter():
    s = labels(0, 400, 2)
    z = s @ np.array([[1.0, 0.4], [-0.4, 1.0]])
    one, two = (
        dci_scores(t, y, estimator=DecisionTreeClassifier(min_samples_leaf=20))
        for t, y in ((s, z), (s[:, ::-1], -z[:, ::-1]))
    )
    for name in ("disentanglement", "completeness", "informativeness"):
        assert two[name] == pytest.approx(one[name], abs=0.05)


def test_degenerate_shapes():
    s = labels(0, 200, 2)
    tree = DecisionTreeClassifier()
    assert np.isnan(dci_scores(s[:, 0], s, estimator=tree)["disentanglement"])
    assert np.isnan(dci_scores(s, s[:, :1], estimator=tree)["completeness"])
    silent = dci_scores(s, np.zeros((200, 3)), estimator=tree)
    assert silent["disentanglement"] == 0.0
    assert silent["completeness"] == pytest.approx(0.0, abs=1e-14)


@pytest.mark.slow
def test_workers_do_not_matter():
    s, z = labels(0, 200, 2), uniform(1, 200, 2)
    # Sums on other numbers of threads round differently.
    with threadpool_limits(1), joblib.parallel_config("loky", inner_max_num_threads=1):
        one, two = dci_scores(s, z), dci_scores(s, z, n_jobs=2)
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_errors_name_the_argument():
    s, z = labels(0, 40, 2), uniform(0, 40, 3)
    hole = z.copy()
    hole[0, 0] = np.nan
    with pytest.raises(
        ValueError, match="sources and latents must be of the same rows"
    ):
        dci_scores(s[:-1], z)
    with pytest.raises(ValueError, match="latents must be finite"):
        dci_scores(s, hole)
    with pytest.raises(ValueError, match="sources must be finite"):
        dci_scores(hole, z, discrete_sources=False)
    with pytest.raises(ValueError, match="sources must be discrete"):
        dci_scores(z, z)
    for discrete in (True, False):
        with pytest.raises(ValueError, match="sources must vary: column 1 is constant"):
            dci_scores(s * [1, 0], z, discrete_sources=discrete)
        with pytest.raises(ValueError, match="sources must be two-dimensional and not"):
            dci_scores(s[:0], z[:0], discrete_sources=discrete)
