"""DERM around networks: heads of the library, and a user's own skorch nets."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from skident.datasets import make_ppci_shortcut
from skident.effects import DERMClassifier, DERMRegressor, derm_weights, mlp_head

pytestmark = [
    pytest.mark.filterwarnings("ignore::skident.exceptions.IdentifiabilityWarning"),
    # One feature map is trained well past the point that a default tolerance asks for.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


class Linear(nn.Module):
    """A linear layer that lets the weights of a batch pass."""

    def __init__(self, n_outputs=2):
        super().__init__()
        self.layer = nn.Linear(5, n_outputs)

    def forward(self, X, sample_weight=None):
        return self.layer(X)


class Weighted:
    """Multiplies the loss of each row by its weight."""

    def get_loss(self, y_pred, y_true, X, *args, **kwargs):
        loss = super().get_loss(y_pred, y_true, X, *args, **kwargs)
        weight = X["sample_weight"] if isinstance(X, dict) else 1.0
        return (loss.squeeze() * weight).mean()


class WeightedNetClassifier(Weighted, NeuralNetClassifier):
    """Cross-entropy of rows times their weights."""


class WeightedNetRegressor(Weighted, NeuralNetRegressor):
    """Squared error of rows times their weights."""


# One L-BFGS step of many iterations on all rows is a fit to convergence.
EXACT = {
    "module": Linear,
    "criterion__reduction": "none",
    "optimizer": torch.optim.LBFGS,
    "optimizer__max_iter": 60,
    "optimizer__line_search_fn": "strong_wolfe",
    "lr": 1.0,
    "max_epochs": 2,
    "batch_size": -1,
    "train_split": None,
    "verbose": 0,
}


def problem(n=1000):
    data = make_ppci_shortcut(n, random_state=0)
    return data.X.astype(np.float32), data


def classifier(**params):
    return WeightedNetClassifier(
        criterion=nn.CrossEntropyLoss, **(EXACT | {"module__n_outputs": 2} | params)
    )


def slopes(layer):
    weight = layer.weight.detach().numpy()
    return weight[1] - weight[0] if len(weight) == 2 else weight[0]


def test_a_linear_net_is_the_linear_learner():
    X, data = problem()
    exact = DERMClassifier(LogisticRegression(C=1e6, tol=1e-8), cv=None)
    expected = exact.fit(X, data.y, settings=data.settings).estimator_.coef_[0]
    net = DERMClassifier(classifier(), cv=None, random_state=0)
    net.fit(X, data.y, settings=data.settings)
    found = slopes(net.estimator_.module_.layer)
    np.testing.assert_allclose(found, expected, atol=1e-2)
    np.testing.assert_allclose(
        net.ate(X, data.treatment).effect,
        exact.ate(X, data.treatment).effect,
        atol=1e-3,
    )


def test_a_head_is_the_linear_learner():
    X, data = problem()
    exact = DERMClassifier(LogisticRegression(C=1e6, tol=1e-8), cv=None)
    expected = exact.fit(X, data.y, settings=data.settings)
    head = mlp_head((), max_epochs=150, batch_size=1000, learning_rate=0.3)
    model = DERMClassifier(head, cv=None, random_state=0)
    model.fit(X, data.y, settings=data.settings)
    found = slopes(model.estimator_.module_.layers[-1])
    np.testing.assert_allclose(found, expected.estimator_.coef_[0], atol=1e-2)
    assert model.estimator_.random_state is not None


def test_a_net_of_real_outcomes():
    X, data = problem()
    y = X[:, 0] + 0.5 * data.treatment
    net = WeightedNetRegressor(criterion=nn.MSELoss, **EXACT, module__n_outputs=1)
    model = DERMRegressor(net, cv=None, y_bins=4, random_state=0)
    model.fit(X, y, settings=data.settings)
    w, _ = derm_weights(y, data.settings, y_bins=4)
    expected = LinearRegression().fit(X, y, w)
    found = slopes(model.estimator_.module_.layer)
    np.testing.assert_allclose(found, expected.coef_, atol=1e-3)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), atol=1e-3)


def test_nets_know_labels_folds_and_seeds():
    X, data = problem(400)
    names = np.array(["no", "yes"])[data.y]
    state = torch.get_rng_state()
    found = []
    for y in (data.y, names):
        model = DERMClassifier(classifier(max_epochs=1), cv=2, random_state=0)
        found.append(model.fit(X, y, settings=data.settings))
    numbers, named = found
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(numbers.predict_proba(X), named.predict_proba(X))
    np.testing.assert_array_equal(
        named.predict(X), np.array(["no", "yes"])[numbers.predict(X)]
    )
    assert named.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(numbers.confusion_, named.confusion_)
    twin = pickle.loads(pickle.dumps(named))
    np.testing.assert_array_equal(twin.predict_proba(X), named.predict_proba(X))


def test_nets_that_ignore_weights_are_refused():
    X, data = problem(100)
    plain = NeuralNetClassifier(Linear, max_epochs=1, verbose=0)
    with pytest.raises(TypeError, match="NeuralNetClassifier ignores weights"):
        DERMClassifier(plain).fit(X, data.y, settings=data.settings)
    with pytest.raises(TypeError, match="which a pipeline does not pass on"):
        DERMClassifier(make_pipeline(StandardScaler(), classifier())).fit(
            X, data.y, settings=data.settings
        )


def test_nets_train_on_drawn_rows_or_without_weights():
    X, data = problem(400)
    plain = NeuralNetClassifier(
        Linear,
        criterion=nn.CrossEntropyLoss,
        **{
            k: v
            for k, v in EXACT.items()
            if k not in ("module", "criterion__reduction")
        },
    )
    model = DERMClassifier(plain, mode="resample", cv=None, random_state=0)
    again = DERMClassifier(plain, mode="resample", cv=None, random_state=0)
    for one in (model, again):
        one.fit(X, data.y, settings=data.settings)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    without = DERMClassifier(plain, random_state=0).fit(X, data.y)
    expected = LogisticRegression(C=1e6).fit(X, data.y)
    np.testing.assert_allclose(
        slopes(without.estimator_.module_.layer), expected.coef_[0], atol=1e-2
    )
