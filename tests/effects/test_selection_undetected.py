"""Dependence of selection on the outcome that a test does not see."""

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
