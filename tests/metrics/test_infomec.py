"""InfoMEC against its definition, at its limits and where it is known to mislead."""

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from skident.metrics import _infomec, infomec_scores


def labels(seed, n_samples, n_sources, n_labels=4):
    return np.random.default_rng(seed).integers(n_labels, size=(n_samples, n_sources))


def noise(seed, n_samples, n_latents):
    return np.random.default_rng(seed).standard_normal((n_samples, n_latents))


def ross(z, s, k):
    """Mutual information of a continuous and a discrete variable, by counting."""
    same = s[:, None] == s
    distances = np.abs(z[:, None] - z)
    radius = [np.sort(distances[i, same[i]])[k] for i in range(len(z))]
    # Neighbours strictly within the k-th, the point itself counted.
    m = (distances < np.array(radius)[:, None]).sum(axis=1)
    n = same.sum(axis=1)
    return digamma(len(z)) + digamma(k) - digamma(n).mean() - digamma(m).mean()


def test_normalised_information_is_that_of_ten_neighbours():
    s = labels(0, 200, 2, 3)
    z = noise(1, 200, 3) + s[:, :1] * [2.0, 0.5, 0.0]
    found = infomec_scores(s, 5 * z - 3)["nmi"]
    for i in range(2):
        p = np.bincount(s[:, i]) / 200
        for j in range(3):
            expected = max(ross(z[:, j], s[:, i], 10), 0.0) / -(p @ np.log(p))
            assert found[i, j] == pytest.approx(expected, rel=1e-9)


def test_scores_follow_from_the_information(monkeypatch):
    nmi = np.array([[0.5, 0.1, 0.0, 0.9], [0.1, 0.3, 0.0, 0.1]])
    monkeypatch.setattr(
        _infomec, "_score_source", lambda source, *rest: (next(rows), 0.5)
    )
    rows = iter(nmi)
    z = noise(0, 50, 4) * [1.0, 1.0, 1.0, 1e-3]
    scores = infomec_scores(labels(0, 50, 2), z)
    np.testing.assert_array_equal(scores["active"], [True, True, True, False])
    # Of the silent third latent all sources have the same share.
    infom = (np.mean([5 / 6, 3 / 4, 1 / 2]) - 1 / 2) / (1 / 2)
    infoc = (np.mean([5 / 6, 3 / 4]) - 1 / 3) / (2 / 3)
    assert scores["infom"] == pytest.approx(infom)
    assert scores["infoc"] == pytest.approx(infoc)
    assert scores["infoe"] == 0.5


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.7, 0.2, 0.05, 0.05]])
def test_explicitness_is_that_of_two_logistic_regressions(shares):
    rng = np.random.default_rng(0)
    s = rng.choice(4, p=shares, size=(400, 1))
    z = rng.standard_normal((400, 3)) + s
    losses = []
    for inputs in ((z - z.mean(axis=0)) / z.std(axis=0), np.zeros((400, 3))):
        model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100)
        model.fit(inputs, s[:, 0])
        losses.append(log_loss(s[:, 0], model.predict_proba(inputs)))
    expected = (losses[1] - losses[0]) / losses[1]
    assert infomec_scores(s, z)["infoe"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("discrete", [False, True])
def test_latents_that_are_the_sources_score_one(discrete):
    s = labels(0, 2000, 3)
    scores = infomec_scores(s, s, discrete_latents=discrete)
    # Unequal sources have an estimated information of order 10 / n, not 0; 100
    # iterations leave a loss of order 1e-3.
    for name in ("infom", "infoe", "infoc"):
        assert scores[name] == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(np.diag(scores["nmi"]), 1.0, atol=0.01)
    assert scores["active"].all()


def test_independent_noise_is_not_explicit():
    n, n_latents, n_labels = 2000, 5, 4
    scores = infomec_scores(labels(0, n, 3, n_labels), noise(1, n, n_latents))
    # 2 n times the fall of the log-loss is chi-squared with (labels - 1) * latents
    # degrees of freedom, for each of three sources.
    freedom = (n_labels - 1) * n_latents
    unit = 2 * n * np.log(n_labels)
    error = 4 * np.sqrt(2 * freedom / 3) / unit
    assert scores["infoe"] == pytest.approx(freedom / unit, abs=error)
    assert scores["nmi"].max() < 0.05


def test_a_rotation_costs_modularity_and_compactness_only():
    s = labels(0, 2000, 2)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    straight, turned = infomec_scores(s, s), infomec_scores(s, s @ turn)
    assert turned["infom"] < straight["infom"] - 0.3
    assert turned["infoc"] < straight["infoc"] - 0.3
    assert turned["infoe"] > 0.95


def test_order_signs_and_shifts_do_not_matter_but_relative_scale_does():
    s = labels(0, 500, 2)
    z = np.column_stack([s, s.sum(axis=1)]) + 0.5 * noise(1, 500, 3)
    one = infomec_scores(s, z)
    # Labels in another order change nothing for a classifier; nor do their names.
    names = np.array(["d", "b", "a", "c"])
    two = infomec_scores(names[s][:, ::-1], -7 * z[:, [2, 0, 1]] + 3)
    for name in ("infom", "infoe", "infoc"):
        assert two[name] == pytest.approx(one[name], abs=1e-4)
    # A nuisance too small to be active does not count; blown up, it does.
    small = infomec_scores(s, z * [1, 1, 1e-3])
    np.testing.assert_array_equal(small["active"], [True, True, False])
    np.testing.assert_allclose(small["nmi"], one["nmi"], atol=1e-9)
    assert small["infoe"] == pytest.approx(one["infoe"], rel=1e-6)
    assert small["infom"] > one["infom"] + 0.1


@pytest.mark.parametrize("unit", [1e-300, 1e-170, 2.0**-900, 1e200, 1e307])
def test_units_do_not_matter(unit):
    s = labels(0, 300, 2)
    z = np.column_stack([s, s.sum(axis=1)]) + 0.5 * noise(1, 300, 3)
    wanted = infomec_scores(s, z)
    # Labels are names: they may be of any size as well.
    found = infomec_scores(s * unit, z * unit)
    np.testing.assert_array_equal(found["active"], wanted["active"])
    # Numbers times a unit that is no power of two are rounded.
    np.testing.assert_allclose(found["nmi"], wanted["nmi"], atol=1e-9)
    for name in ("infom", "infoe", "infoc"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-6)
    # One column alone in such a unit is inactive, and explains as before; one beside
    # which all others are so small likewise.
    z[:, 2] *= unit
    mixed = infomec_scores(s, z)
    np.testing.assert_allclose(mixed["nmi"], wanted["nmi"], atol=1e-9)
    assert mixed["infoe"] == pytest.approx(wanted["infoe"], abs=1e-6)
    large = [False, False, True] if unit > 1 else [True, True, False]
    np.testing.assert_array_equal(mixed["active"], large)


def test_constant_latents_and_single_sources():
    s = labels(0, 300, 2)
    scores = infomec_scores(s, np.column_stack([s, np.full(300, 0.1)]))
    np.testing.assert_array_equal(scores["active"], [True, True, False])
    np.testing.assert_array_equal(scores["nmi"][:, 2], 0.0)
    assert scores["infom"] > 0.9 and scores["infoc"] > 0.9
    silent = infomec_scores(s, np.zeros((300, 2)))
    assert np.isnan(silent["infom"]) and np.isnan(silent["infoc"])
    assert silent["infoe"] == pytest.approx(0.0, abs=1e-12)
    single = infomec_scores(s[:, 0], s)
    assert np.isnan(single["infom"]) and single["infoc"] > 0.9


def test_discrete_latents_are_active_unless_constant():
    s = labels(0, 300, 2)
    latents = pd.DataFrame({"a": s[:, 0] * 1000, "b": s[:, 1], "c": 5})
    scores = infomec_scores(s, latents, discrete_latents=True)
    np.testing.assert_array_equal(scores["active"], [True, True, False])


def test_without_ties_the_seed_does_not_matter():
    s, z = labels(0, 200, 2), noise(1, 200, 2)
    one, two = (infomec_scores(s, z, random_state=seed)["nmi"] for seed in (0, 1))
    np.testing.assert_allclose(one, two, atol=1e-9)
    np.testing.assert_array_equal(one, infomec_scores(s, z)["nmi"])


@pytest.mark.slow
def test_workers_do_not_matter():
    s, z = labels(0, 200, 2), noise(1, 200, 2)
    # Sums on other numbers of threads round differently.
    with threadpool_limits(1), joblib.parallel_config("loky", inner_max_num_threads=1):
        one, two = infomec_scores(s, z), infomec_scores(s, z, n_jobs=2)
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_errors_name_the_argument():
    s, z = labels(0, 40, 2), noise(0, 40, 3)
    hole = z.copy()
    hole[0, 0] = np.nan
    with pytest.raises(
        ValueError, match="sources and latents must be of the same rows"
    ):
        infomec_scores(s[:-1], z)
    with pytest.raises(ValueError, match="latents must be finite"):
        infomec_scores(s, hole)
    with pytest.raises(
        ValueError, match="latents must be two-dimensional and not empty"
    ):
        infomec_scores(s, z[:, :0])
    with pytest.raises(
        ValueError, match="sources must be two-dimensional and not empty"
    ):
        infomec_scores(s[:0], z[:0])
    with pytest.raises(ValueError, match="sources must be discrete: column 1 has 40"):
        infomec_scores(np.column_stack([s[:, 0], z[:, 0]]), z)
    with pytest.raises(ValueError, match="sources must vary: column 0 is constant"):
        infomec_scores(np.zeros((40, 1)), z)
    with pytest.raises(ValueError, match="sources must have a label in every row"):
        infomec_scores(np.where(s == 0, np.nan, s), z)
    with pytest.raises(ValueError, match="latents must have a label in every row"):
        infomec_scores(s, [["a", None]] * 40, discrete_latents=True)
