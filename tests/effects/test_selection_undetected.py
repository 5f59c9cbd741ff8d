"""Selection by the outcome that the selected rows do not show, or not the form of."""

import warnings

import numpy as np
import pytest
from scipy.special import expit

from skident.effects import SelectionBiasATE, _selection_strategies
from skident.effects._selection_joint import fit_joint
from skident.exceptions import IdentifiabilityWarning

TRUTH = 1.0


def sample(seed, n=1000):
    """Rows kept by their outcome, and the covariates of all.

    Noise of sd 1 among controls and 0.5 among treated: a selection that keeps high
    outcomes raises the controls' more, and normal laws stay nearly normal.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    t = (rng.random(n) < expit(x)).astype(int)
    y = x + TRUTH * t + np.where(t == 1, 0.5, 1.0) * rng.standard_normal(n)
    keep = rng.random(n) < expit(1.2 * y)
    return x[keep, None], y[keep], t[keep], x[:, None]


def fits(seed, n=1000):
    X, y, t, everyone = sample(seed, n)
    settings = {"degree": 1, "x_reference": everyone, "rng": 0}
    found = fit_joint(X, y, t, depends_on=("X", "T", "Y"), **settings)
    return found, fit_joint(X, y, t, depends_on=("X", "T"), **settings)


def covers(fit):
    return abs(fit.effect - TRUTH) < 1.96 * fit.stderr


def test_the_interval_holds_those_of_both_models():
    found, without = fits(0)
    assert not found.outcome_dependent_detected and found.refusal is None
    # The narrow interval of the model that is left misses by five standard errors.
    assert abs(without.effect - TRUTH) > 3 * without.stderr
    assert found.effect == pytest.approx(without.effect, abs=without.stderr)
    assert covers(found)
    low, high = found.effect + 1.96 * found.stderr * np.array([-1, 1])
    for effect, stderr in [found.alternative, (without.effect, without.stderr)]:
        assert low <= effect - 1.9599 * stderr and effect + 1.9599 * stderr <= high


@pytest.mark.slow
def test_intervals_cover_where_dependence_is_not_seen():
    pairs = [fits(seed) for seed in range(10)]
    unseen = [pair for pair in pairs if not pair[0].outcome_dependent_detected]
    assert len(unseen) >= 8
    # Measured over 20: 19, and none for the model without the outcome.
    assert np.mean([covers(found) for found, _ in unseen]) >= 0.75
    assert np.mean([covers(without) for _, without in unseen]) <= 0.2


def test_the_report_names_the_other_effect():
    X, y, t, everyone = sample(0)
    model = SelectionBiasATE("joint", x_reference=everyone, degree=1, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="depends on the outcome"):
        model.fit(X, y, treatment=t)
    low, high = model.confidence_interval()
    assert model.identification_.status == "point" and low < TRUTH < high
    report = str(model.identifiability_)
    assert not model.identifiability_.ok
    assert "with it the effect is" in report and "holds both" in report
    # There is a reference already.
    assert "worth most" not in report


def test_bootstrap_draws_of_one_model_are_no_interval_of_two(monkeypatch):
    X, y, t, everyone = sample(0, 600)
    params = {"x_reference": everyone, "degree": 1, "n_starts": 1, "random_state": 0}
    models = []
    for draws in (np.array([-1e-3, 1e-3]), np.array([-1e3, 1e3])):
        monkeypatch.setattr(
            _selection_strategies, "bootstrap_effect", lambda *_, d=draws, **__: d
        )
        model = SelectionBiasATE("joint", inference="bootstrap", n_boot=2, **params)
        with pytest.warns(IdentifiabilityWarning):
            models.append(model.fit(X, y, treatment=t))
        assert model.likelihood_ratio_[1] > 0.05
        assert model.bootstrap_effects_ is None
    # The wider of the two, about the estimate.
    assert 0.1 < models[0].stderr_ < 100 < models[1].stderr_
    low, high = models[0].confidence_interval()
    assert low + high == pytest.approx(2 * models[0].effect_)


def test_dependence_that_is_not_seen_is_not_excluded():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 1))
    t = rng.integers(0, 2, 300)
    y = X[:, 0] + t + rng.standard_normal(300)
    model = SelectionBiasATE("joint", ("Y",), x_reference=X, degree=1, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="selection depends on the outcome"):
        model.fit(X, y, treatment=t)
    assert model.identification_.status == "point"
    assert abs(model.effect_ - 1) < 5 * model.stderr_


def far_tilted(n=1000, seed=0):
    """Rows kept by a logistic curve centred far above all of them.

    Eight standard deviations up the curve is an exponential: normal outcomes of slope
    one stay normal, twice the variance higher.
    """
    rng = np.random.default_rng(seed)
    t = (rng.random(n) < expit(2)).astype(int)
    low, high = np.exp(-2), np.exp(2)
    X = 0.5 * np.log(rng.uniform(low, high, (n, 1)))
    y = X[:, 0] + t + 2 * 0.7**2 + 0.7 * rng.standard_normal(n)
    return X, y, t, rng.uniform(-1, 1, (n, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_tilt_is_refused():
    refused = []
    for seed in range(3):
        X, y, t, everyone = far_tilted(400, seed)
        model = SelectionBiasATE(
            "joint",
            ("Y",),
            x_reference=everyone,
            min_selection_prob=0.05,
            degree=1,
            n_starts=1,
            random_state=0,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y, treatment=t)
        code = model.identification_.code
        refused.append(code in ("exponential_tilt", "singular_information"))
        if refused[-1]:
            assert any(w.category is IdentifiabilityWarning for w in caught)
            assert np.isnan(model.effect_) and model.identification_.status == "partial"
            assert model.bounds_[0] < 1 < model.bounds_[1]
            # What it was decided on is still there to be read.
            assert model.likelihood_ratio_ is not None
        else:
            # What chance lets pass has a wide interval: 1.4 and 1.9 beside it.
            assert abs(model.effect_ - 1) < 3 * model.stderr_
    # A bend of chance is let pass one time in twenty; twice in three is one in 140.
    assert sum(refused) >= 2
