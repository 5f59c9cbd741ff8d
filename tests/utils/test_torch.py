import contextlib
import threading

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from torch import nn

from skident.utils._torch import (
    BatchLoader,
    EarlyStopping,
    Net,
    Stop,
    _Whole,
    fits_on_device,
    mean_over_world,
    module_arrays,
    resolve_device,
    seeded,
    shared_over_world,
    train_net,
    world,
)


class Line(nn.Module):
    """y = a x + b, with a side input that multiplies."""

    def __init__(self, n_features=3):
        super().__init__()
        self.linear = nn.Linear(n_features, 1)

    def forward(self, X, weight, y):
        self.dtype_inside = self.linear(X).dtype
        return self.linear(X)[:, 0] * weight


class Squared(nn.Module):
    """Squared error against what the batch holds."""

    def forward(self, predicted, batch):
        assert set(batch) == {"X", "weight", "y"}
        return (predicted - batch["y"]).square().mean()


def arrays(n=200, dtype=np.float32):
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((n, 3)), rng.uniform(1, 2, n)
    y = (X @ [1.0, -2.0, 0.5] + 0.25) * weight
    return {k: v.astype(dtype) for k, v in {"X": X, "weight": weight, "y": y}.items()}


def train(seed=0, data=None, **params):
    params = {"max_epochs": 3, "lr": 0.1, "batch_size": 32} | params
    return train_net(
        Line,
        Squared,
        arrays() if data is None else data,
        seed=seed,
        device="cpu",
        **params,
    )


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.module_.parameters()]).numpy()


# --- training ----------------------------------------------------------------------


def test_a_side_input_reaches_the_module_and_the_criterion():
    net = train(max_epochs=60)
    # The model is exact, so SGD's error falls by a factor below 1/2 an epoch.
    np.testing.assert_allclose(weights(net), [1.0, -2.0, 0.5, 0.25], atol=1e-4)
    losses = net.history[:, "train_loss"]
    assert len(losses) == 60 and losses[-1] < 1e-8 < losses[0]


def test_same_seed_same_bits_and_another_seed_not():
    one, same, other = train(0), train(0), train(1)
    np.testing.assert_array_equal(weights(one), weights(same))
    assert one.history[:, "train_loss"] == same.history[:, "train_loss"]
    assert not np.array_equal(weights(one), weights(other))


def test_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train()
    with contextlib.suppress(ZeroDivisionError), seeded(3):
        torch.rand(2)
        raise ZeroDivisionError
    assert torch.equal(torch.rand(3), expected)
    with seeded(5):
        assert torch.equal(torch.rand(3), expected)


def test_read_only_arrays_are_copied():
    data = arrays()
    before = {name: array.copy() for name, array in data.items()}
    for array in data.values():
        array.flags.writeable = False
    train(data=data)
    for name, array in data.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_autocast_reaches_products_and_leaves_parameters(dtype):
    net = train(autocast=dtype)
    inside = torch.bfloat16 if dtype else torch.float32
    assert net.module_.dtype_inside == inside
    assert net.module_.linear.weight.dtype == torch.float32
    if dtype:
        # Rounded to 8 bits in each product, so near the other and not equal to it.
        exact = train()
        difference = np.abs(weights(net) - weights(exact)).max()
        assert 0 < difference < 20 * 2**-8


def test_settings_of_skorch_pass_through():
    net = train(optimizer=torch.optim.LBFGS, lr=1.0, batch_size=-1, max_epochs=5)
    assert isinstance(net.optimizer_, torch.optim.LBFGS)
    # A quadratic in four variables: L-BFGS ends it in a few steps.
    np.testing.assert_allclose(weights(net), [1.0, -2.0, 0.5, 0.25], atol=1e-4)


def test_arrays_of_a_module_are_copies():
    net = train(max_epochs=1)
    found = module_arrays(net.module_)
    assert set(found) == {"linear.weight", "linear.bias"}
    assert all(type(array) is np.ndarray for array in found.values())
    with torch.no_grad():
        net.module_.linear.weight += 1
    difference = module_arrays(net.module_)["linear.weight"] - found["linear.weight"]
    np.testing.assert_allclose(difference, 1, rtol=1e-6)


# --- the end of training -----------------------------------------------------------


class Scripted(Callback):
    """Writes given validation losses, and keeps the weights of every epoch."""

    def __init__(self, losses):
        self.losses = losses
        self.weights = []

    def on_epoch_end(self, net, **kwargs):
        loss = self.losses[len(net.history) - 1]
        net.history.record("scripted", loss)
        self.weights.append(weights(net).copy())


class Ends(Callback):
    """Counts beginnings and ends, and may raise."""

    def __init__(self, error=None, when="on_batch_end"):
        self.error, self.when = error, when
        self.begun = self.ended = 0

    def on_train_begin(self, net, **kwargs):
        self.begun += 1

    def on_train_end(self, net, **kwargs):
        self.ended += 1

    def notified(self, when):
        if self.error is not None and when == self.when:
            raise self.error

    def on_batch_end(self, net, **kwargs):
        self.notified("on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self.notified("on_epoch_end")


@pytest.mark.parametrize("cls", [SkorchEarlyStopping, EarlyStopping])
def test_early_stopping_loads_the_best_and_ends_as_planned(cls):
    scripted, ends = Scripted([3.0, 2.0, 1.0, 4.0, 5.0, 6.0, 7.0]), Ends()
    stopping = cls("scripted", patience=2, load_best=True, sink=lambda text: None)
    net = train(
        max_epochs=7,
        callbacks=[("scripted", scripted), ("stopping", stopping), ("ends", ends)],
    )
    assert type(dict(net.callbacks_)["stopping"]) is EarlyStopping
    assert dict(net.callbacks_)["stopping"].patience == 2
    assert len(net.history) == 5 and (ends.begun, ends.ended) == (1, 1)
    np.testing.assert_array_equal(weights(net), scripted.weights[2])


def test_a_subclass_of_early_stopping_is_left_as_it_is():
    class Mine(SkorchEarlyStopping):
        pass

    stopping = Mine("train_loss", patience=50)
    net = train(callbacks=[("stopping", stopping)])
    assert type(dict(net.callbacks_)["stopping"]) is Mine


@pytest.mark.parametrize("when", ["on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_ctrl_c_and_errors_pass_through(when, error):
    ends = Ends(error, when)
    with pytest.raises(error):
        train(callbacks=[("ends", ends)])
    assert (ends.begun, ends.ended) == (1, 1)


def test_stop_ends_training_quietly_and_it_can_go_on():
    ends = Ends(Stop, "on_epoch_end")
    net = train(callbacks=[("ends", ends)])
    assert ends.ended == 1
    ends.error = None
    before = weights(net).copy()
    assert net.resume(_Whole({k: torch.tensor(v) for k, v in arrays().items()})) is net
    assert ends.ended == 2 and not np.array_equal(weights(net), before)


def test_epochs_can_be_drawn_from_outside():
    drawn = []

    def epochs():
        for i in range(2):
            drawn.append(i)
            yield i

    net = Net(Line, criterion=Squared, iterator_train=BatchLoader, train_split=None)
    net.set_params(verbose=0, max_epochs=50).initialize()
    net.resume(_Whole({k: torch.tensor(v) for k, v in arrays().items()}), epochs())
    assert drawn == [0, 1] and len(net.history) == 2


# --- batches -----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 32, 200, 1000, -1])
def test_batches_cover_all_rows_once(batch_size):
    data = {"i": torch.arange(200), "X": torch.arange(400.0).reshape(200, 2)}
    loader = BatchLoader(_Whole(data), batch_size=batch_size)
    with seeded(0):
        first, second = (list(loader) for _ in range(2))
    assert len(first) == len(loader)
    orders = []
    for epoch in (first, second):
        order = torch.cat([batch["i"] for batch, _ in epoch])
        assert torch.equal(order.sort().values, torch.arange(200))
        for batch, y in epoch:
            assert torch.equal(batch["X"], data["X"][batch["i"]])
            assert len(y) == len(batch["i"])
        orders.append(order)
    assert not torch.equal(*orders)
    plain = BatchLoader(_Whole(data), batch_size=batch_size, shuffle=False)
    order = torch.cat([batch["i"] for batch, _ in plain])
    assert torch.equal(order, torch.arange(200))


def test_a_cpu_always_holds_the_tensors():
    assert fits_on_device([torch.empty(10)], "cpu")
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=r"device must be 'auto' or .*, got 'gpu'"):
        resolve_device("gpu")


# --- alone in the world ------------------------------------------------------------


def test_alone_means_and_shared_numbers_are_what_they_are():
    tensor = torch.tensor([1.0, 2.0], requires_grad=True)
    assert world() == (0, 1)
    assert mean_over_world(tensor) is tensor
    assert shared_over_world(12) == 12


def test_training_in_a_thread_works():
    # torch's modes are per thread; nothing may rest on the main one's.
    found = []
    thread = threading.Thread(target=lambda: found.append(weights(train())))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], weights(train()))


def test_callbacks_of_skorch_see_every_epoch():
    seen = []

    def score(net, X, y=None):
        seen.append(len(net.history))
        return 0.0

    scoring = EpochScoring(score, name="mine", on_train=True, use_caching=False)
    train(callbacks=[("mine", scoring)])
    assert seen == [1, 2, 3]
