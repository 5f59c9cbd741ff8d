"""Score matching under selection: its networks, its weights and what it admits."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skident.effects import ScoreMatchingSelectionATE
from skident.effects._score_matching_fit import (
    _average,
    density_of,
    fit_score_matching,
    least_penalty,
)
from skident.effects._score_matching_net import (
    ArmModel,
    ScoreMatchingLoss,
    SelectionNet,
)
from skident.exceptions import IdentifiabilityWarning
from skident.utils._training_net import train_module

quiet = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
OPTIONS = {
    "max_epochs": 200,
    "batch_size": 100,
    "learning_rate": 0.005,
    "tol": 0.01,
    "device": "cpu",
    "net_params": None,
    "verbose": 0,
}


def trial(n=400, effect=2.0, seed=0):
    """A randomised trial without selection, with Gaussian noise of variance 1."""
    rng = np.random.default_rng(seed)
    X, treatment = rng.uniform(-1, 1, (n, 2)), np.arange(n) % 2
    y = X[:, 0] + effect * treatment + rng.standard_normal(n)
    return X, y, treatment


def model(**params):
    cheap = {
        "hidden": (8,),
        "selection_hidden": 4,
        "max_epochs": 3,
        "n_draws": 50,
        "n_grid": 40,
        "propensity_learner": LogisticRegression(),
        "random_state": 0,
    }
    return ScoreMatchingSelectionATE(**(cheap | params))


# --- networks and loss -------------------------------------------------------------


def slope_by(y, value):
    """Derivative of a sum of row-wise values by the rows' y."""
    return torch.autograd.grad(value.sum(), y, create_graph=True)[0]


@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
def test_slopes_carried_forward_are_those_of_autograd(hidden):
    torch.manual_seed(0)
    arm = ArmModel(2, hidden, 6, arm=1, double=True)
    X = torch.randn(20, 2, dtype=torch.float64)
    y = torch.randn(20, dtype=torch.float64, requires_grad=True)
    score, slope = arm.score(X, y)
    torch.testing.assert_close(arm.score.value(X, y), score)
    torch.testing.assert_close(slope_by(y, score), slope)
    log_beta, first, second = arm.selection(X, y, 1)
    torch.testing.assert_close(slope_by(y, log_beta), first)
    torch.testing.assert_close(slope_by(y, first), second)
    psi, psi_slope, _ = arm(X, y)
    # As published: s + d log(beta + 1e-6) / dy.
    whole = score + slope_by(y, torch.log(log_beta.exp() + 1e-6))
    torch.testing.assert_close(psi, whole)
    torch.testing.assert_close(psi_slope, slope_by(y, psi))


def test_selection_is_bounded_and_flat_beyond_its_bound():
    selection = SelectionNet(1, 3)
    with torch.no_grad():
        selection.last.bias.fill_(50.0)
    log_beta, first, second = selection(torch.zeros(4, 1), torch.randn(4), 0)
    assert (log_beta == 10).all() and not first.any() and not second.any()


def test_loss_of_a_linear_score_is_its_closed_form():
    y = torch.tensor([-1.0, 0.5, 3.0])
    score, slope = -2.0 * y + 1.0, torch.full((3,), -2.0)
    loss = ScoreMatchingLoss(0.1, 0.05)
    assert loss((score, slope, None), {}).item() == pytest.approx(
        np.mean([0.5 * 9.0 - 2, 0.5 * 0.0 - 2, 0.5 * 25.0 - 2])
    )
    beta = torch.tensor([0.5, 1.0, 2.0])
    penalty = 0.05 * np.mean([0.25, 1, 4]) - 0.1 * np.mean(np.log([0.5, 1, 2]))
    with_beta = loss((score, slope, beta.log()), {}).item()
    assert with_beta == pytest.approx(loss((score, slope, None), {}).item() + penalty)


def test_a_linear_score_learns_the_moments_of_a_gaussian():
    rng = np.random.default_rng(0)
    y = rng.normal(1.0, 2.0, 300).astype(np.float32)
    X = np.zeros((300, 1), np.float32)
    arm, _ = train_module(
        ArmModel,
        {"n_features": 1, "hidden": (), "selection_hidden": None},
        ScoreMatchingLoss,
        {"X": X, "y": y},
        options=OPTIONS | {"batch_size": 300, "learning_rate": 0.5, "max_epochs": 20},
        seed=0,
        optimizer=torch.optim.LBFGS,
        criterion__penalty_log=0.1,
        criterion__penalty_square=0.05,
    )
    # The least of mean((a y + b)^2) / 2 + a is at a = -1 / var, b = mean / var.
    weight, bias = arm.score.last.weight[0, 1].item(), arm.score.last.bias.item()
    assert weight == pytest.approx(-1 / y.var(), rel=1e-3)
    assert bias == pytest.approx(y.mean() / y.var(), rel=1e-3)


@pytest.mark.parametrize(("penalty_log", "penalty_square"), [(0.1, 0.05), (0.1, 0.2)])
def test_penalty_alone_makes_selection_the_stated_constant(penalty_log, penalty_square):
    X, y, _ = trial()
    arm, _ = train_module(
        ArmModel,
        {"n_features": 2, "hidden": (4,), "selection_hidden": 64},
        ScoreMatchingLoss,
        {"X": X.astype(np.float32), "y": y.astype(np.float32)},
        # All rows a step, and to the end: no noise is left of batches.
        options=OPTIONS | {"batch_size": 400, "learning_rate": 1.0, "max_epochs": 20},
        seed=0,
        optimizer=torch.optim.LBFGS,
        criterion__penalty_log=penalty_log,
        criterion__penalty_square=penalty_square,
        criterion__match=False,
    )
    with torch.inference_mode():
        rows = torch.tensor(X, dtype=torch.float32), torch.tensor(y).float()
        log_beta = arm.selection(*rows, 0)[0].double()
    beta = log_beta.exp().numpy()
    np.testing.assert_allclose(
        beta, np.sqrt(penalty_log / (2 * penalty_square)), rtol=0.02
    )
    penalty = penalty_square * np.mean(beta**2) - penalty_log * log_beta.mean().item()
    least = least_penalty(penalty_log, penalty_square)
    # The penalty is flat there: 2 % off in beta is 2 penalty_log 0.02^2 / 2 in it.
    assert least - 1e-12 <= penalty <= least + penalty_log * 0.02**2


@quiet
def test_nothing_in_the_objective_tells_selection_from_outcome():
    X, y, treatment = trial()
    fitted = model(max_epochs=20).fit(X, y, treatment=treatment)
    arm = fitted.module_.arms[1]
    rows = torch.tensor((X - fitted.location_[:-1]) / fitted.scale_[:-1])
    outcomes = torch.tensor((y - fitted.location_[-1]) / fitted.scale_[-1])
    loss = ScoreMatchingLoss(0.1, 0.05)
    score, slope, log_beta = arm(rows, outcomes)
    # The same sum, all of it outcome: a constant selection, and less penalty.
    constant = torch.full_like(log_beta, 0.5 * np.log(0.1 / (2 * 0.05)))
    split, other = (
        loss((score, slope, log_beta), {}),
        loss((score, slope, constant), {}),
    )
    match = ScoreMatchingLoss(0.1, 0.05)((score, slope, None), {})
    assert other < split
    assert (other - match).item() == pytest.approx(least_penalty(0.1, 0.05))


# --- densities and weights ---------------------------------------------------------


def test_densities_come_from_their_scores():
    grid = np.linspace(-8.0, 8.0, 400)
    means = np.array([[-1.0], [0.0], [2.0]])
    density = density_of(-(grid - means) / 0.25, grid)
    np.testing.assert_allclose(density.sum(axis=1), 1.0)
    np.testing.assert_allclose(density @ grid, means[:, 0], atol=1e-10)
    spread = (density * (grid - means) ** 2).sum(axis=1)
    # The trapezoid rule is exact for the quadratic log-density at the nodes.
    np.testing.assert_allclose(spread, 0.25, rtol=1e-10)


def stub(share, control, treated, beta=(1.0, 1.0)):
    """A fit whose moments and treated share are given."""
    moments = {0: np.array(control), 1: np.array(treated)}
    proba = np.column_stack([1 - np.array(share), share])
    return SimpleNamespace(
        _moments=lambda draws, t: moments[t],
        classifier=SimpleNamespace(predict_proba=lambda draws: proba),
        module=SimpleNamespace(
            log_selection=lambda t, X, y: np.log(np.full(len(X), beta[t]))
        ),
        scale=np.array([1.0, 3.0]),
        location=np.array([0.0, 5.0]),
    )


def test_harmonic_weights_undo_the_selection_exactly():
    # Two values of x, equally frequent in the population, with selection by the arm
    # and x; what is left of each arm gives the draws and the share of the treated.
    propensity = np.array([0.3, 0.6])
    kept = {0: np.array([0.5, 0.9]), 1: np.array([0.2, 0.7])}
    left = {0: (1 - propensity) * kept[0], 1: propensity * kept[1]}
    total = left[0] + left[1]
    share = left[1] / total
    effect = np.array([1.0, 4.0])
    zeros = np.zeros(2)
    fit = stub(share, [zeros, zeros, kept[0]], [effect / 3, zeros, kept[1]])
    counts = np.round(total * 1000).astype(int)
    repeated = stub(
        np.repeat(share, counts),
        np.repeat([zeros, zeros, kept[0]], counts, axis=1),
        np.repeat([effect / 3, zeros, kept[1]], counts, axis=1),
    )
    draws = np.zeros((counts.sum(), 1))
    found = _average(repeated, draws, "harmonic", 0.0, None)
    assert found["effect"] == pytest.approx(2.5)
    assert found["extrapolation_share"] == 0.0
    plain = _average(repeated, draws, None, 0.0, None)["effect"]
    assert plain == pytest.approx(total @ effect / total.sum())
    # In print: selection at the mean outcome, averaged over the arms.
    fit = stub(share, [zeros, zeros, kept[0]], [effect / 3, zeros, kept[1]], (0.5, 0.2))
    weights = 1 / (0.2 * share + 0.5 * (1 - share))
    paper = _average(fit, np.zeros((2, 1)), "paper", 0.0, None)["effect"]
    assert paper == pytest.approx(weights @ effect / weights.sum())


def test_a_support_rule_replaces_the_overlap():
    zeros, ones = np.zeros(4), np.ones(4)
    fit = stub(np.full(4, 0.5), [zeros, zeros, ones], [ones, zeros, ones])
    draws = np.arange(4.0)[:, None]

    def eligible(X, t):
        return (t == 1) | (X[:, 0] < 2)

    found = _average(fit, draws, "harmonic", 0.05, eligible)
    # Two draws with both arms have weight 1, two with one arm 1/2.
    assert found["extrapolation_share"] == pytest.approx(1 / 3)
    assert found["weight_share"] == pytest.approx(9 / 2.5 / 4)
    with pytest.raises(ValueError, match="support_mask must leave an arm"):
        _average(fit, draws, "harmonic", 0.05, lambda X, t: np.zeros(len(X), bool))


# --- the estimator -----------------------------------------------------------------


@quiet
def test_a_trial_without_selection_gives_its_effect():
    X, y, treatment = trial(600)
    fitted = model(
        estimate_selection=False,
        hidden=(16,),
        max_epochs=30,
        batch_size=30,
        learning_rate=0.02,
        n_mixture=None,
        n_grid=60,
    ).fit(X, y, treatment=treatment)
    # Over six seeds errors had a standard deviation of 0.2, effects at rows were
    # within 0.5 of their mean, and the correlation below was at least 0.97.
    assert abs(fitted.effect_ - 2.0) < 0.8
    np.testing.assert_allclose(fitted.effect(X[:20]), fitted.effect_, atol=1.5)
    # Of the covariates only the first one counts, and the mix of arms is even.
    assert np.corrcoef(fitted.predict(X), X[:, 0])[0, 1] > 0.9
    assert fitted.extrapolation_share_ < 0.05
    assert fitted.identifiability_.ok
    verdicts = {a.name: a.verdict for a in fitted.identifiability_.assumptions}
    assert verdicts["selection ignores the outcome"] == "untestable"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fitted_selection_is_reported_as_not_identified():
    X, y, treatment = trial(100)
    with pytest.warns(IdentifiabilityWarning, match="tells selection from outcome"):
        fitted = model().fit(X, y, treatment=treatment)
    line = fitted.identifiability_.assumptions[0]
    assert line.name == "the objective tells selection from outcome"
    assert line.verdict == "violated"
    assert line.statistic == fitted.excess_penalty_ > 0
    assert np.isnan(fitted.stderr_)
    assert np.isnan(fitted.confidence_interval()).all()
    low, high = fitted.selection_range_
    assert 0 < low <= 1 <= high


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_treatment_there_is_no_effect():
    X, y, _ = trial(100)
    with pytest.warns(IdentifiabilityWarning, match="a treatment is recorded"):
        fitted = model().fit(X, y)
    assert np.isnan(fitted.effect_) and np.isnan(fitted.effect(X)).all()
    assert np.isfinite(fitted.predict(X)).all()
    assert set(fitted.history_) == {"total_0"}
    with pytest.raises(ValueError, match="treatment must be an arm of fit"):
        fitted.predict_outcome(X, 0)


@quiet
def test_prediction_mixes_the_arms_as_they_are_selected():
    X, y, treatment = trial(100)
    fitted = model().fit(X, y, treatment=treatment)
    inside = fitted._fit
    share = inside.propensity(X)
    arms = [inside.outcome_mean(X, t, selected=True) for t in (0, 1)]
    np.testing.assert_allclose(
        fitted.predict(X), (1 - share) * arms[0] + share * arms[1]
    )
    population = fitted.predict_outcome(X, 1) - fitted.predict_outcome(X, 0)
    np.testing.assert_allclose(fitted.effect(X), population)
    beta = inside.selection_probability(X, 1, y)
    assert beta.shape == (100,) and (beta > 0).all()


@quiet
def test_units_and_state_and_seed():
    X, y, treatment = trial(100)
    fitted = model().fit(X, y, treatment=treatment)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.effect(X), fitted.effect(X))
    assert b"torch" not in pickle.dumps(fitted.__getstate__()["_module"])
    before = torch.get_rng_state()
    twin = clone(fitted).fit(X, y, treatment=treatment.astype(bool))
    assert torch.equal(before, torch.get_rng_state())
    assert twin.effect_ == fitted.effect_
    # Powers of two change no digit.
    scaled = clone(fitted).fit(2 * X, 4 * y, treatment=treatment)
    assert scaled.effect_ == 4 * fitted.effect_
    other = clone(fitted).set_params(random_state=1).fit(X, y, treatment=treatment)
    assert other.effect_ != fitted.effect_


@quiet
def test_reference_covariates_replace_draws_and_weights():
    X, y, treatment = trial(100)
    reference = X[:30] + 0.5
    fitted = model(x_reference=reference).fit(X, y, treatment=treatment)
    assert fitted.effect_ == pytest.approx(fitted.effect(reference).mean())
    assert fitted.weight_share_ == pytest.approx(1.0)
    rows = model(n_mixture=None).fit(X, y, treatment=treatment)
    assert len(rows.identifiability_.notes) == len(fitted.identifiability_.notes) + 1


@quiet
def test_held_out_rows_end_the_training():
    X, y, treatment = trial(200)
    fitted = model(
        validation_fraction=0.3, max_epochs=200, learning_rate=0.05, tol=0.05
    ).fit(X, y, treatment=treatment)
    assert set(fitted.history_) == {
        f"{name}_{arm}" for name in ("total", "validation") for arm in (0, 1)
    }
    assert len(fitted.history_["validation_1"]) < 200
    assert fitted.n_epochs_ == max(map(len, fitted.history_.values()))


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_an_unfinished_training_warns():
    X, y, treatment = trial(100)
    with pytest.warns(ConvergenceWarning, match="max_epochs=3"):
        model(tol=0.0).fit(X, y, treatment=treatment)


@quiet
def test_the_default_classifier_takes_arms_of_one_row():
    X, y, treatment = trial(60)
    treatment = np.zeros(60)
    treatment[7] = 1
    fitted = model(propensity_learner=None).fit(X, y, treatment=treatment)
    assert np.isfinite(fitted.effect_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(50)}, "y must vary to have a density"),
        ({"treatment": np.ones(50)}, "treatment must have rows of both arms"),
        ({"treatment": np.arange(50) % 3}, "treatment must be 0 or 1"),
        ({"treatment": np.ones((50, 1))}, r"treatment must be of shape \(n_samples,\)"),
    ],
)
def test_data_that_cannot_be_used_are_refused(change, message):
    X, y, treatment = trial(50)
    data = {"y": y, "treatment": treatment} | change
    with pytest.raises(ValueError, match=message):
        model().fit(X, data["y"], treatment=data["treatment"])
    with pytest.raises(ValueError, match="x_reference must have the 2 columns"):
        model(x_reference=np.ones((3, 1))).fit(X, y, treatment=treatment)


def test_a_diverging_fit_says_so():
    X, y, treatment = trial(50)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        model(learning_rate=1e30, clip=None).fit(X, y, treatment=treatment)


@quiet
def test_treatment_is_routed():
    X, y, treatment = trial(120)
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            model(), X, y, cv=2, params={"treatment": treatment}, error_score="raise"
        )
    assert np.isfinite(scores).all()


def test_the_function_alone_needs_no_generator():
    X, y, treatment = trial(60)
    settings = {"hidden": (4,), "max_epochs": 2, "n_draws": 20, "n_grid": 20}
    settings["propensity_learner"] = LogisticRegression()
    one, two = (
        fit_score_matching(X, y, treatment, device="cpu", **settings) for _ in range(2)
    )
    assert one.effect == two.effect
    assert one.effect_at(X[:3]).shape == (3,)
