"""Fits that are killed or interrupted, and what they leave behind."""

import copy
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from skorch.callbacks import Callback

from skident.decomposition import IdentifiableSAE
from skident.decomposition import _identifiable_sae_fit_net as training
from tests._stored import on_disk

pytestmark = pytest.mark.filterwarnings(
    "ignore::skident.exceptions.IdentifiabilityWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
LEARNED = ("components_", "encoder_", "intercept_", "activation_frequency_")


class Interrupt(Callback):
    """Ctrl-C, or another end, after so many steps of one net; counts all steps."""

    steps_taken = 0

    def __init__(self, at=None, error=KeyboardInterrupt):
        self.at, self.error = at, error

    def on_batch_begin(self, net, **kwargs):
        Interrupt.steps_taken += 1

    def on_batch_end(self, net, **kwargs):
        if net.module_.n_steps == self.at:
            raise self.error


def sae(directory=None, at=None, **params):
    params = {
        "batch_size": 100,
        "max_epochs": 3,
        "n_encode_steps": 3,
        "shuffle_buffer": 4096,
        "random_state": 0,
        "net_params": {"callbacks": [("interrupt", Interrupt(at))]},
    } | params
    return IdentifiableSAE(24, 3, checkpoint_dir=directory, **params)


def assert_same_bits(one, two):
    for name in LEARNED:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), name)
    assert (one.step_factor_ is None) == (two.step_factor_ is None)
    if one.step_factor_ is not None:
        np.testing.assert_array_equal(one.step_factor_, two.step_factor_)
    assert (one.n_steps_, one.n_epochs_) == (two.n_steps_, two.n_epochs_)
    for name, values in one.history_.items():
        np.testing.assert_array_equal(values, two.history_[name], name)


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)


# --- resuming ----------------------------------------------------------------------


@pytest.mark.parametrize("on_file", [False, True])
# With 10 steps an epoch and a checkpoint every 5: in an epoch, at the end of one,
# just before a checkpoint, before the first one.
@pytest.mark.parametrize(("at", "kept"), [(16, 15), (20, 20), (27, 25), (3, 0)])
def test_an_interrupted_fit_goes_on_to_the_same_bits(
    tmp_path, monkeypatch, X, at, kept, on_file
):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    X = on_disk(tmp_path / "x", X) if on_file else X
    whole = sae(max_steps=28).fit(X)
    with pytest.raises(KeyboardInterrupt):
        sae(tmp_path / "saved", at, max_steps=28).fit(X)
    Interrupt.steps_taken = 0
    resumed = sae(str(tmp_path / "saved"), max_steps=28).fit(X)
    assert Interrupt.steps_taken == 28 - kept
    assert_same_bits(resumed, whole)
    assert not os.path.exists(tmp_path / "saved") or not os.listdir(tmp_path / "saved")


KINDS = {
    "isae_me": {"variant": "isae_me"},
    "low rank": {"variant": "isae_me", "step_rank": 4},
    "topk": {"variant": "topk"},
    "rows held out": {"validation_fraction": 0.2},
    "no seed": {"random_state": None},
    "generator": {"random_state": np.random.RandomState(5)},
    "windows": {"shuffle_buffer": 512, "batch_size": 70},
    "own optimizer": {
        "net_params": {"callbacks": [("interrupt", Interrupt())], "optimizer__eps": 1}
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fit_can_be_resumed(tmp_path, monkeypatch, X, kind):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    params = copy.deepcopy(KINDS[kind])
    callbacks = {"callbacks": [("interrupt", Interrupt(17))]}
    killed = sae(tmp_path, **copy.deepcopy(params))
    killed.set_params(net_params=(killed.net_params or {}) | callbacks)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(X)
    (saved,) = tmp_path.iterdir()
    # An unseeded fit goes on with the seed that the checkpoint tells.
    with np.load(saved) as archive:
        seed = json.loads(archive["__meta__"].tobytes())["identity"]["seed"]
    Interrupt.steps_taken = 0
    resumed = sae(tmp_path, **copy.deepcopy(params)).fit(X)
    assert Interrupt.steps_taken == resumed.n_steps_ - 15
    if params.get("random_state", 0) is None:
        params["random_state"] = FixedDraw(seed)
    assert_same_bits(resumed, sae(**params).fit(X))


class FixedDraw(np.random.RandomState):
    """Draws the one seed that it is given."""

    def __init__(self, seed):
        super().__init__(0)
        self.drawn = seed

    def randint(self, *args, **kwargs):
        return self.drawn


OTHERS = {
    "another data set": ({}, lambda X: X[::-1].copy()),
    "fewer rows": ({}, lambda X: X[:900]),
    "another seed": ({"random_state": 1}, lambda X: X),
    "another parameter": ({"learning_rate": 1e-3}, lambda X: X),
    "another variant": ({"variant": "abstopk"}, lambda X: X),
    "another setting of the optimizer": (
        {
            "net_params": {
                "callbacks": [("interrupt", Interrupt())],
                "optimizer__eps": 1e-3,
            }
        },
        lambda X: X,
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_fit_does_not_go_on_from_a_checkpoint(tmp_path, monkeypatch, X, what):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    with pytest.raises(KeyboardInterrupt):
        sae(tmp_path, 12).fit(X)
    (saved,) = tmp_path.iterdir()
    before = saved.read_bytes()
    params, change = OTHERS[what]
    X = change(X)
    assert_same_bits(sae(tmp_path, **params).fit(X), sae(**params).fit(X))
    # The one that is not done is kept; the other has removed its own.
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_warm_start_from_other_weights_does_not_go_on(tmp_path, monkeypatch, X):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    one, two = (sae(warm_start=True, random_state=s).fit(X) for s in (0, 1))
    again = copy.deepcopy(two)
    one.set_params(random_state=0, checkpoint_dir=tmp_path)
    stop = {"callbacks": [("interrupt", Interrupt(12))]}
    with pytest.raises(KeyboardInterrupt):
        one.set_params(net_params=stop).fit(X)
    free = {"callbacks": [("interrupt", Interrupt())]}
    two.set_params(random_state=0, checkpoint_dir=tmp_path, net_params=free).fit(X)
    assert_same_bits(two, again.set_params(random_state=0).fit(X))


def test_a_half_written_checkpoint_is_never_read(tmp_path, monkeypatch, X):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 5)
    with pytest.raises(KeyboardInterrupt):
        sae(tmp_path, 12).fit(X)
    (saved,) = tmp_path.iterdir()
    whole = saved.read_bytes()
    # What a writer killed before its first rename leaves.
    part = tmp_path / f".{saved.name}.4242.part"
    part.write_bytes(whole[: len(whole) // 2])
    saved.unlink()
    Interrupt.steps_taken = 0
    assert_same_bits(sae(tmp_path).fit(X), sae().fit(X))
    assert Interrupt.steps_taken == 2 * 30
    assert not list(tmp_path.iterdir())
    # One that was cut in two by other means is named, and not removed.
    saved.write_bytes(whole[: len(whole) // 2])
    estimator = sae(tmp_path)
    with pytest.raises(ValueError, match=f"{saved.name} is damaged"):
        estimator.fit(X)
    assert not hasattr(estimator, "components_") and saved.exists()


# --- killed for good ---------------------------------------------------------------

KILLED = """
import sys, warnings
import numpy as np
from skident.decomposition import IdentifiableSAE
from skident.decomposition import _identifiable_sae_fit_net as training

warnings.simplefilter("ignore")
training.CHECKPOINT_STEPS = 7
source, variant, directory, out = sys.argv[1:]
X = np.memmap(source, np.float16, "r", shape=(20_000, 16))
if variant == "isae":
    X = np.array(X)
fitted = IdentifiableSAE(
    64, 4, variant=variant, n_encode_steps=3, batch_size=256, max_steps=400,
    shuffle_buffer=8192, checkpoint_dir=directory or None, random_state=0,
).fit(X)
np.savez(
    out, components=fitted.components_, encoder=fitted.encoder_,
    intercept=fitted.intercept_, step=np.array(fitted.step_factor_, dtype=np.float32)
    if fitted.step_factor_ is not None else 0, **fitted.history_,
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["isae", "isae_me"])
def test_kill_9_at_any_moment_costs_no_bit(tmp_path, variant):
    source, directory = tmp_path / "x", tmp_path / "saved"
    rng = np.random.default_rng(0)
    on_disk(source, rng.standard_normal((20_000, 16)).astype(np.float16))
    # Threads change the order of sums.
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(out, directory):
        arguments = [source, variant, directory, tmp_path / out]
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, *map(str, arguments)], env=env
        )

    assert start("whole.npz", "").wait() == 0
    for _ in range(2):
        stamp = max((p.stat().st_mtime_ns for p in directory.glob("*.npz")), default=0)
        process = start("killed.npz", directory)
        while process.poll() is None:
            if any(p.stat().st_mtime_ns > stamp for p in directory.glob("*.npz")):
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start("killed.npz", directory).wait() == 0
    with (
        np.load(tmp_path / "whole.npz") as one,
        np.load(tmp_path / "killed.npz") as two,
    ):
        for name in one.files:
            np.testing.assert_array_equal(one[name], two[name], name)
    assert not list(directory.iterdir())


# --- interrupted calls -------------------------------------------------------------


def state(estimator):
    return {k: v for k, v in vars(estimator).items() if k.endswith("_")}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_fit_that_ends_early_leaves_the_estimator_as_it_was(X, error):
    estimator = sae(net_params={"callbacks": [("interrupt", Interrupt(7, error))]})
    with pytest.raises(error):
        estimator.fit(X)
    assert state(estimator) == {}
    estimator.set_params(net_params=None, max_steps=20).fit(X)
    before = state(estimator)
    estimator.set_params(
        net_params={"callbacks": [("interrupt", Interrupt(7, error))]}, random_state=1
    )
    with pytest.raises(error):
        estimator.fit(X * 2)
    assert state(estimator) == before  # the very same objects
    assert estimator.transform(X).shape == (1000, 24)


def test_a_partial_fit_that_ends_early_leaves_the_last_one(X):
    estimator = sae(at=13)
    estimator.partial_fit(X)
    before = copy.deepcopy(state(estimator))
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(X)
    for name in LEARNED:
        np.testing.assert_array_equal(getattr(estimator, name), before[name])
    assert estimator.n_steps_ == 10
    estimator.partial_fit(X[:100])
    # From the last weights, with a new optimiser.
    assert np.isfinite(estimator.history_["total"]).all()
    assert not np.array_equal(estimator.components_, before["components_"])
    assert np.abs(estimator.components_ - before["components_"]).max() < 0.01


def test_a_loss_that_is_not_finite_tells_the_step(X):
    fitted = sae(max_steps=3).fit(X)
    before = state(fitted)
    fitted.set_params(learning_rate=1e30, warmup_steps=0, max_steps=None)
    with pytest.raises(FloatingPointError, match=r"at step 1 .*learning_rate"):
        fitted.fit(X)
    assert state(fitted) == before
    with pytest.raises(FloatingPointError, match=r"at step \d+ "):
        fitted.partial_fit(X)
    assert state(fitted) == before
