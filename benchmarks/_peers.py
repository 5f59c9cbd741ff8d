"""The contenders of bench_sae_peers.py, each a function that trains on a budget.

Sparse autoencoders share batch size, learning rate and its schedule. overcomplete's
TopKSAE has its own training loop and default encoder. MiniBatchDictionaryLearning
starts from rows of the data with alpha=0.3, the best of 0.05, 0.1, 0.2, 0.3, 0.4 and
0.5 at (N, K, k) = (64, 256, 5) (at the default, 1, codes of unit rows are all zero),
and codes by orthogonal matching pursuit.
"""

import importlib.util
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning
from skorch.callbacks import Callback

from skident.decomposition import IdentifiableSAE
from skident.utils._torch import Stop

BATCH, RATE, WARMUP, DECAY_START = 512, 1e-3, 100, 0.8


class Budget:
    """What a training may use up: seconds from now on, or optimiser steps."""

    def __init__(self, seconds=None, n_steps=None):
        self.start, self.seconds, self.n_steps = time.process_time(), seconds, n_steps

    def share(self, step):
        """Share used up before a step; 1 and more is the end."""
        if self.n_steps is not None:
            return step / self.n_steps
        return (time.process_time() - self.start) / self.seconds

    def rate(self, step, share):
        """Learning rate: linear warm-up, constant, linear to zero at the end."""
        left = min(1.0, (1.0 - share) / (1.0 - DECAY_START))
        return RATE * min(1.0, (step + 1) / WARMUP) * left


class Spend(Callback):
    """Puts a fit on a budget."""

    def __init__(self, budget):
        self.budget = budget

    def on_batch_begin(self, net, **kwargs):
        step = net.module_.n_steps
        share = self.budget.share(step)
        if share >= 1.0:
            raise Stop
        for group in net.optimizer_.param_groups:
            group["lr"] = self.budget.rate(step, share)


class Fit(NamedTuple):
    """A trained contender; its rows are ``codes @ atoms + bias``."""

    n_seen: int
    atoms: np.ndarray
    bias: np.ndarray | float
    transform: Callable


def ours(variant, X, size, seed, budget):
    """IdentifiableSAE."""
    sae = IdentifiableSAE(
        *size[1:],
        variant=variant,
        batch_size=BATCH,
        max_epochs=10**6,
        bias_init_samples=5000,
        random_state=seed,
        net_params={"callbacks": [("spend", Spend(budget))]},
    ).fit(X)
    n_seen = len(sae.history_["total"]) * BATCH
    return Fit(n_seen, sae.components_, sae.intercept_, sae.transform)


def overcomplete(X, size, seed, budget):
    """overcomplete's TopKSAE."""
    from overcomplete.sae import TopKSAE, train_sae

    torch.manual_seed(seed)
    model = TopKSAE(size[0], size[1], top_k=size[2], encoder_module="linear")
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    rng, scale, step = np.random.default_rng(seed), float(X.var()), 0

    def batches():
        nonlocal step
        while True:
            order = rng.permutation(len(X))
            for low in range(0, len(X) - BATCH + 1, BATCH):
                share = budget.share(step)
                if share >= 1.0:
                    return
                for group in optimiser.param_groups:
                    group["lr"] = budget.rate(step, share)
                step += 1
                yield torch.from_numpy(X[order[low : low + BATCH]])

    def criterion(x, x_hat, pre_codes, codes, dictionary):
        return (x - x_hat).square().mean() / scale

    train_sae(model, batches(), criterion, optimiser, nb_epochs=1, monitoring=0)
    model.eval()

    @torch.inference_mode()
    def transform(rows):
        parts = torch.from_numpy(rows).split(2048)
        return torch.cat([model.encode(part)[1] for part in parts]).numpy()

    atoms = model.get_dictionary().detach().numpy()
    return Fit(step * BATCH, atoms, 0.0, transform)


def dictionary_learning(X, size, seed, budget):
    """scikit-learn's online dictionary learning, with OMP codes."""
    rng = np.random.default_rng(seed)
    model = MiniBatchDictionaryLearning(
        size[1],
        alpha=0.3,
        batch_size=BATCH,
        dict_init=X[rng.choice(len(X), size[1], replace=False)],
        transform_algorithm="omp",
        transform_n_nonzero_coefs=size[2],
        random_state=seed,
    )
    step = 0
    while budget.share(step) < 1.0:
        model.partial_fit(X[rng.choice(len(X), BATCH, replace=False)])
        step += 1
    return Fit(step * BATCH, model.components_, 0.0, model.transform)


def contenders():
    """Training functions by name, of the peers that are installed among them."""
    made = {v: partial(ours, v) for v in ("topk", "abstopk", "isae")}
    found = importlib.util.find_spec("overcomplete")
    if found is not None:
        # Its top level imports vision models; the autoencoders do not need them.
        package = types.ModuleType("overcomplete")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["overcomplete"] = package
        made["overcomplete"] = overcomplete
    return made | {"dictionary learning": dictionary_learning}
