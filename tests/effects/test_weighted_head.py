"""Networks with sample weights: heads for reweighting."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from skident.datasets import make_ppci_shortcut
from skident.effects import DERMClassifier, derm_weights, mlp_head
from skident.effects._weighted_head_net import Head, WeightedLoss, convolutions

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# All rows a step and a second-order method: the optimum, as other solvers find it.
EXACT = {
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


def weighted_problem(n=600, seed=0):
    data = make_ppci_shortcut(n, random_state=seed)
    weights, _ = derm_weights(data.y, data.treatment[:, None])
    return data.X, data.y, weights


def slopes_of(head):
    """Slopes of a linear head of two classes, on the log-odds."""
    weight = head.module_.layers[-1].weight.detach().numpy()
    return weight[1] - weight[0]


def test_linear_head_agrees_with_logistic_regression_under_weights():
    X, y, weights = weighted_problem()
    head = mlp_head((), **EXACT).fit(X, y, sample_weight=weights)
    # C so large that the ridge moves no digit that is compared.
    ours = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000)
    ours.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(slopes_of(head), ours.coef_[0], atol=1e-2)
    plain = LogisticRegression(C=1e8, max_iter=1000).fit(X, y)
    assert np.abs(slopes_of(head) - plain.coef_[0]).max() > 0.5
    np.testing.assert_allclose(head.predict_proba(X), ours.predict_proba(X), atol=1e-3)


def test_linear_head_agrees_with_least_squares_under_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    y = 100 + 30 * X[:, 0] + X[:, 1] ** 2 + rng.standard_normal(300)
    weights = rng.uniform(0, 3, 300)
    head = mlp_head((), task="regression", **EXACT).fit(X, y, sample_weight=weights)
    ours = LinearRegression().fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(head.predict(X), ours.predict(X), rtol=1e-5)


@quiet
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_integer_weights_are_repeated_rows(task):
    rng = np.random.default_rng(0)
    X, times = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)
    y = (X[:, 0] > 0).astype(float)
    head = mlp_head(
        (5,), task=task, max_epochs=10, batch_size=10**6, random_state=0, device="cpu"
    )
    one = clone(head).fit(X, y, sample_weight=times)
    two = clone(head).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    # Sums in another order; ten steps of Adam hardly spread the rounding.
    np.testing.assert_allclose(one.predict(X), two.predict(X), rtol=1e-6)
    three = clone(head).fit(X, y, sample_weight=7.0 * times)
    np.testing.assert_allclose(one.predict(X), three.predict(X), rtol=1e-6)


def test_weighted_loss_is_the_mean_of_weight_times_loss():
    batch = {
        "y": torch.tensor([0, 1, 1]),
        "sample_weight": torch.tensor([0.5, 2.0, 1.0]),
    }
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    losses = np.log1p(np.exp([-1.0, -2.0, 3.0]))
    expected = np.mean(losses * [0.5, 2.0, 1.0])
    assert WeightedLoss("cross_entropy")(logits, batch).item() == pytest.approx(
        expected
    )
    batch["y"] = torch.tensor([0.0, 1.0, 1.0])
    squared = np.mean(np.array([1.0, 1.0, 4.0]) * [0.5, 2.0, 1.0])
    assert WeightedLoss("squared")(logits, batch).item() == pytest.approx(squared)


def test_convolutions_for_digits_are_the_published_ones():
    layers, width = convolutions((3, 28, 28))
    assert width == 800
    assert [c.kernel_size for c in layers if isinstance(c, nn.Conv2d)] == [(5, 5)] * 2
    head = Head(3 * 28 * 28, 10, (500,), (3, 28, 28))
    sizes = [p.numel() for p in head.parameters()]
    conv = [20 * 3 * 25, 20, 50 * 20 * 25, 50]
    assert sizes == [*conv, 800 * 500, 500, 5000, 10]
    for sides in ((8, 8), (4, 5), (15, 30)):
        layers, width = convolutions((1, *sides))
        rows = torch.zeros(2, sides[0] * sides[1])
        assert nn.Sequential(*layers)(rows).shape == (2, width)


@quiet
def test_images_are_rows_and_keep_their_layout():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(120, 2, 8, 8)).astype(np.float32)
    y = rng.integers(0, 2, 120)
    # The class is the brightness of one corner of the second channel.
    images[:, 1, :4, :4] += y[:, None, None]
    head = mlp_head(
        (16,), image_shape=(2, 8, 8), max_epochs=15, batch_size=20, random_state=0
    )
    X = images.reshape(120, -1)
    head.fit(X, y)
    assert head.score(X, y) > 0.95
    assert head.predict_proba(X).dtype == np.float32
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 4), "of the 16 features of X"),
        ((16,), r"\(channels, height, width\)"),
        ((4, 2, 2), "sides of at least 4"),
    ],
)
def test_image_shapes_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=f"image_shape must .*{message}"):
        mlp_head(image_shape=shape).fit(np.zeros((4, 16)), [0, 1, 0, 1])


def test_unknown_tasks_and_arguments_are_refused():
    with pytest.raises(ValueError, match="task must be one of"):
        mlp_head(task="ranking")
    with pytest.raises(TypeError, match="widths"):
        mlp_head(widths=3)


@quiet
def test_held_out_rows_end_the_training_at_its_best():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 5)), rng.integers(0, 2, 200)
    head = mlp_head(
        (64,), validation_fraction=0.3, max_epochs=300, learning_rate=0.03
    ).set_params(random_state=0)
    head.fit(X, y)
    losses = head.history_["validation"]
    assert head.n_epochs_ == len(losses) == len(head.history_["total"]) < 300
    # Labels are noise: the last epoch is far worse than the one that is kept.
    p = head.predict_proba(X)[np.arange(200), y]
    assert losses[-1] > losses.min() + 0.05
    assert -np.log(p).mean() < losses.min() + 0.05


def test_an_unfinished_training_warns():
    X, y, _ = weighted_problem(200)
    with pytest.warns(ConvergenceWarning, match="Increase max_epochs"):
        mlp_head(max_epochs=2, random_state=0).fit(X, y)


@quiet
def test_seeds_and_global_generators():
    X, y, weights = weighted_problem(100)
    head = mlp_head((4,), max_epochs=2, random_state=0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = head.fit(X, y, sample_weight=weights).predict_proba(X)
    two = clone(head).fit(X, y, sample_weight=weights).predict_proba(X)
    np.testing.assert_array_equal(one, two)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@quiet
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_scikit_learn_checks(task):
    check_estimator(mlp_head((16,), task=task, max_epochs=100, learning_rate=0.01))


@quiet
@pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning")
def test_reweighted_training_agrees_between_network_and_solver():
    data = make_ppci_shortcut(600, random_state=0)
    settings = data.treatment[:, None]
    net, solver = (
        DERMClassifier(base).fit(data.X, data.y, settings=settings)
        for base in (mlp_head((), **EXACT), LogisticRegression(C=1e8, max_iter=1000))
    )
    slopes = slopes_of(net.estimator_)
    np.testing.assert_allclose(slopes, solver.estimator_.coef_[0], atol=1e-2)
    np.testing.assert_allclose(
        net.predict_proba(data.X), solver.predict_proba(data.X), atol=1e-3
    )
