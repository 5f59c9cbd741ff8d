"""vREx and IRM: penalties, batches by environment, and what the report says."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from torch import nn

from skident.compose import FromColumns
from skident.datasets import make_ppci_shortcut
from skident.effects import IRMClassifier, VRExClassifier
from skident.effects._invariant_risk import _calibration_p, _cells_of, _risks
from skident.effects._invariant_risk_net import (
    EnvironmentLoader,
    InvariantRisk,
    risks,
    scale_slopes,
)
from skident.exceptions import IdentifiabilityWarning
from skident.utils._torch import _Whole

quiet = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
both = pytest.mark.parametrize("cls", [VRExClassifier, IRMClassifier])
# All rows a step and a second-order method: the optimum.
EXACT = {
    "hidden": (),
    "max_epochs": 15,
    "batch_size": 10**6,
    "learning_rate": 1.0,
    "device": "cpu",
    "net_params": {
        "optimizer": torch.optim.LBFGS,
        "optimizer__line_search_fn": "strong_wolfe",
    },
    "random_state": 0,
}


def experiment(n=400, seed=0):
    """Two environments of as many rows each."""
    data = make_ppci_shortcut(4 * n, random_state=seed)
    arms = [np.flatnonzero(data.treatment == t)[: n // 2] for t in (0, 1)]
    rows = np.concatenate(arms)
    return data.X[rows], data.y[rows], data.treatment[rows][:, None]


def cheap(cls, **params):
    return cls(**({"hidden": (4,), "max_epochs": 2, "random_state": 0} | params))


def slopes_of(model):
    weight = model.module_.layers[-1].weight.detach().numpy()
    return weight[1] - weight[0]


# --- penalties ---------------------------------------------------------------------


def tiny():
    """Four rows, two in each of two environments."""
    logits = torch.tensor(
        [[0.0, 1.0], [2.0, 0.0], [0.5, 0.0], [0.0, 0.0]],
        dtype=torch.float64,
        requires_grad=True,
    )
    return logits, torch.tensor([1, 0, 1, 0]), torch.tensor([0, 1, 1, 0])


def test_penalties_are_their_closed_forms():
    logits, y, environments = tiny()
    # Row losses are log(1 + exp(-margin)), margins 1, 2, -0.5 and 0.
    losses = np.log1p(np.exp([-1.0, -2.0, 0.5, 0.0]))
    expected = np.array([losses[[0, 3]].mean(), losses[[1, 2]].mean()])
    batch = {"y": y, "environments": environments}
    np.testing.assert_allclose(
        risks(logits, y, environments).detach().numpy(), expected
    )
    vrex = InvariantRisk("vrex", 3.0)(logits, batch).item()
    assert vrex == pytest.approx(expected.sum() + 3.0 * expected.var())
    # The slope of log(1 + exp(-s m)) by s at 1 is -m / (1 + exp(m)).
    margins = np.array([1.0, 2.0, -0.5, 0.0])
    slopes = -margins / (1 + np.exp(margins))
    slopes = np.array([slopes[[0, 3]].mean(), slopes[[1, 2]].mean()])
    irm = InvariantRisk("irm", 3.0)(logits, batch).item()
    assert irm == pytest.approx(expected.sum() + 3.0 * (slopes**2).sum())
    held_out = InvariantRisk("irm", 3.0).eval()(logits, batch).item()
    assert held_out == pytest.approx(losses.mean())


def test_slopes_are_those_of_autograd_with_several_classes():
    torch.manual_seed(0)
    logits = torch.randn(30, 4, dtype=torch.float64)
    y, environments = torch.randint(4, (30,)), torch.arange(30) % 3
    factor = torch.ones(3, dtype=torch.float64, requires_grad=True)
    scaled = risks(factor[environments][:, None] * logits, y, environments)
    (expected,) = torch.autograd.grad(scaled.sum(), factor)
    torch.testing.assert_close(scale_slopes(logits, y, environments), expected)


@pytest.mark.parametrize("penalty", ["vrex", "irm"])
def test_penalties_have_gradients(penalty):
    logits, y, environments = tiny()
    batch = {"y": y, "environments": environments}

    def gradient(weight):
        loss = InvariantRisk(penalty, weight)(logits, batch)
        return torch.autograd.grad(loss, logits)[0]

    # Of the penalty alone; zero if it were computed from detached logits.
    found = gradient(1.0) - gradient(0.0)
    assert found.abs().max() > 1e-3
    step = 1e-6
    for i, k in ((0, 1), (2, 0)):
        moved = []
        for sign in (1, -1):
            shifted = logits.detach().clone()
            shifted[i, k] += sign * step
            loss = InvariantRisk(penalty, 1.0)(shifted, batch)
            moved.append((loss - InvariantRisk(penalty, 0.0)(shifted, batch)).item())
        difference = (moved[0] - moved[1]) / (2 * step)
        assert found[i, k].item() == pytest.approx(difference, rel=1e-6)


# --- batches -----------------------------------------------------------------------


def loader(counts, batch_size):
    codes = np.repeat(np.arange(len(counts)), counts)
    tensors = {"X": torch.arange(len(codes)), "environments": torch.tensor(codes)}
    return EnvironmentLoader(_Whole(tensors), batch_size)


def test_each_batch_has_as_many_rows_of_each_environment():
    torch.manual_seed(0)
    batches = [batch for batch, _ in loader([10, 40], 4)]
    # As many rows as there are, rounded up to whole batches.
    assert len(batches) == 7
    for batch in batches:
        assert torch.bincount(batch["environments"]).tolist() == [4, 4]
    small = torch.cat([b["X"][b["environments"] == 0] for b in batches])
    # 28 draws of 10 rows: each one twice or three times, whole orders one by one.
    assert set(torch.bincount(small).tolist()) == {2, 3}
    assert sorted(small[:10].tolist()) == list(range(10))


def test_batches_shrink_to_the_smallest_environment():
    made = loader([3, 50], 20)
    assert made.batch_size == 3
    assert len(made) == len(list(made)) == 9


# --- the estimators ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_without_weight_both_are_plain_risk_minimisation():
    X, y, settings = experiment()
    # The two environments have as many rows: their risks add up to twice the mean.
    plain = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000).fit(X, y).coef_[0]
    for cls in (VRExClassifier, IRMClassifier):
        free = cls(0.0, **EXACT).fit(X, y, settings=settings)
        np.testing.assert_allclose(slopes_of(free), plain, rtol=1e-3, atol=1e-3)
        held = cls(100.0, **EXACT).fit(X, y, settings=settings)
        assert np.abs(slopes_of(held) - plain).max() > 0.05


@quiet
def test_the_variance_penalty_makes_risks_equal():
    data = make_ppci_shortcut(300, p1=0.95, p0=0.5, random_state=0)
    settings = data.treatment[:, None]

    def gap(weight):
        model = VRExClassifier(weight, **(EXACT | {"max_epochs": 5}))
        return np.ptp(model.fit(data.X, data.y, settings=settings).environment_risks_)

    assert gap(100.0) < 0.2 * gap(0.0)


@quiet
def test_the_slope_penalty_makes_slopes_small():
    data = make_ppci_shortcut(300, p1=0.95, p0=0.5, random_state=0)
    settings = data.treatment[:, None]

    def slope(weight):
        model = IRMClassifier(weight, **(EXACT | {"max_epochs": 5})).fit(
            data.X, data.y, settings=settings
        )
        with torch.inference_mode():
            logits = model.module_(torch.tensor(data.X))
        found = scale_slopes(logits, torch.tensor(data.y), torch.tensor(data.treatment))
        return found.square().sum().item()

    # A penalty of detached logits would leave this as it is.
    assert slope(1000.0) < 0.2 * slope(0.0)


@both
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_settings_the_report_says_so(cls):
    X, y, _ = experiment(100)
    with pytest.warns(IdentifiabilityWarning, match="there are several environments"):
        model = cheap(cls).fit(X, y)
    assert model.environments_.shape == (1, 0)
    assert "plain risk minimisation" in str(model.identifiability_)
    p = model.predict_proba(X)[np.arange(len(y)), y]
    np.testing.assert_allclose(model.environment_risks_, [-np.log(p).mean()])


@both
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_predictions_that_ignore_the_settings_are_not_calibrated(cls):
    X, y, settings = experiment()
    with pytest.warns(IdentifiabilityWarning, match="calibrated in every environment"):
        # Noise instead of features: the outcome's share is 0.1 and 0.9.
        cheap(cls).fit(X[:, 2:], y, settings=settings)


def test_calibration_gaps_are_tested_as_written():
    rng = np.random.default_rng(0)
    environments = np.arange(2000) % 2
    p = rng.uniform(size=2000)
    probabilities = np.column_stack([1 - p, p])
    codes = (rng.uniform(size=2000) < p).astype(int)
    assert _calibration_p(probabilities, codes, environments) > 0.01
    shifted = np.where(environments == 1, 1, codes)
    assert _calibration_p(probabilities, shifted, environments) < 1e-10
    assert np.isnan(_calibration_p(probabilities[:1], codes[:1], environments[:1]))
    single = np.ones((10, 1))
    assert _calibration_p(single, np.zeros(10, int), np.zeros(10, int)) == 1.0


def test_environments_of_few_rows_refute_no_calibration():
    # Three rows: by the normal law a quarter of calibrated draws fell below 0.01.
    rng = np.random.default_rng(0)
    environments = np.repeat(np.arange(4), 3)
    found = 0
    for _ in range(300):
        p = rng.dirichlet([1, 1], 12)
        codes = (rng.random(12) < p[:, 1]).astype(int)
        found += _calibration_p(p, codes, environments) < 0.01
    assert found <= 12


def test_environments_of_one_row_are_none():
    trial = make_ppci_shortcut(200, random_state=0)
    ids = np.arange(200)[:, None]
    model = VRExClassifier(1.0, (), max_epochs=2, tol=100.0, random_state=0)
    with pytest.warns(IdentifiabilityWarning, match="rows enough to tell their risks"):
        model.fit(trial.X, trial.y, settings=ids)
    assert not model.identifiability_.ok


def test_environments_are_the_combinations_that_occur():
    settings = pd.DataFrame({"batch": ["a", "b", "b", "a"], "dose": [1, 2, 1, 1]})
    cells, members = _cells_of(settings.to_numpy(object), np.zeros((4, 1)))
    assert cells.tolist() == [["a", 1], ["b", 1], ["b", 2]]
    assert members.tolist() == [0, 2, 1, 0]
    p = np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    found = _risks(p, np.array([0, 1, 0, 1]), members, 4)
    np.testing.assert_allclose(found, [np.log(2), np.log(2), -np.log(0.8), np.nan])


@both
@quiet
def test_combinations_of_few_rows_are_left_out(cls):
    X, y, settings = experiment(200)
    settings = settings.astype(float)
    settings[:3] = 7.0
    model = cheap(cls).fit(X, y, settings=settings)
    assert model.environments_.tolist() == [[0.0], [1.0]]
    assert "1 combinations of settings had too few rows" in str(model.identifiability_)


@both
@quiet
def test_state_and_seed_and_images(cls):
    rng = np.random.default_rng(0)
    X, y, settings = rng.uniform(size=(60, 16)), rng.integers(0, 3, 60), None
    settings = np.arange(60)[:, None] % 2
    model = cheap(cls, image_shape=(1, 4, 4), validation_fraction=0.2)
    before = torch.get_rng_state()
    model.fit(X.astype(np.float32), y, settings=settings)
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(model.module_.layers[1], nn.Conv2d)
    assert "validation" in model.history_
    assert "rows held out" in model.identifiability_.assumptions[1].test
    again = pickle.loads(pickle.dumps(model))
    twin = clone(model).fit(X.astype(np.float32), y, settings=settings)
    for other in (again, twin):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32


@both
def test_an_unfinished_training_warns(cls):
    X, y, settings = experiment(100)
    with (
        pytest.warns(ConvergenceWarning, match="max_epochs=2"),
        pytest.warns(IdentifiabilityWarning),
    ):
        cheap(cls, tol=0.0).fit(X[:, 2:], y, settings=settings)


@both
def test_data_that_cannot_be_used_are_refused(cls):
    X, y, settings = experiment(50)
    with pytest.raises(ValueError, match=r"settings must be of shape"):
        cheap(cls).fit(X, y, settings=settings[:, 0])
    with pytest.raises(ValueError, match="image_shape must be"):
        cheap(cls, image_shape=(1, 4, 4)).fit(X, y, settings=settings)
    with pytest.raises(ValueError, match="Unknown label type"):
        cheap(cls).fit(X, X[:, 0], settings=settings)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        cheap(cls, learning_rate=1e300, max_epochs=5).fit(X, y, settings=settings)


@both
@quiet
def test_settings_are_routed_and_taken_from_columns(cls):
    X, y, settings = experiment(120)
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(
            cheap(cls), X, y, cv=2, params={"settings": settings}, error_score="raise"
        )
    assert np.isfinite(scores).all()
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    frame["dose"] = settings[:, 0]
    wrapped = FromColumns(cheap(cls), settings=["dose"]).fit(frame, y)
    assert wrapped.estimator_.environments_.tolist() == [[0], [1]]
