"""Seconds a training step and a transform, against dense codes and overcomplete.

    python benchmarks/bench_sae_speed.py [--quick] [--label NAME]

Ratios hang on the processor; a label keeps the table of another one beside the first.
All contenders alternate in one process, so that only ratios of one run count. The peer,
overcomplete, is timed where it is installed (requirements/bench.txt).
"""

import argparse
import importlib.util
import sys
import time
import types
import warnings

import numpy as np
import torch
from _common import Report
from skorch.callbacks import Callback
from torch import nn

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE

B, N, K, ACTIVE = 2048, 768, 4096, 40
WARM = 3


class Clock(Callback):
    """Times of all batches of a fit."""

    def __init__(self, times):
        self.times = times

    def on_batch_begin(self, net, **kwargs):
        self.times.append(time.perf_counter())


def ours(X, variant, n_steps):
    """Seconds a step inside ``fit``, and the fitted estimator."""
    times = []
    sae = IdentifiableSAE(
        K,
        ACTIVE,
        variant=variant,
        max_steps=n_steps + 1,
        batch_size=B,
        decay_start=1.0,
        bias_init="mean",
        random_state=0,
        net_params={"callbacks": [("clock", Clock(times))]},
    ).fit(X)
    return np.diff(times)[WARM:], sae


class Dense(nn.Module):
    """The same autoencoder with a dense code matrix, as one writes it first."""

    def __init__(self):
        super().__init__()
        self.dictionary = nn.Parameter(
            nn.functional.normalize(torch.randn(K, N), dim=1)
        )
        self.encoder = nn.Parameter(self.dictionary.detach().clone())
        self.bias = nn.Parameter(torch.zeros(N))

    def forward(self, x):
        """Rows as reproduced."""
        u = ((x - self.bias) @ self.encoder.t()).relu()
        values, columns = u.topk(ACTIVE, sorted=False)
        z = torch.zeros_like(u).scatter(1, columns, values)
        return z @ self.dictionary + self.bias


def dense(X, n_steps):
    """Seconds a step of the dense autoencoder, and the model."""
    torch.manual_seed(0)
    model = Dense()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4)
    scale = X.var()
    times = []
    for step in range(n_steps + 1):
        times.append(time.perf_counter())
        x = batch(X, step)
        for group in optimiser.param_groups:
            group["lr"] = 3e-4 * min(1.0, (step + 1) / 100)
        with torch.no_grad():
            model.dictionary.div_(model.dictionary.norm(dim=1, keepdim=True))
        loss = (model(x) - x).square().mean() / scale
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return np.diff(times)[WARM:], model


def overcomplete(X, n_steps):
    """Seconds a step of overcomplete's TopK autoencoder in its own training loop."""
    if "overcomplete" not in sys.modules:
        # Its vision models want torchvision, which has no CPU build here; the
        # autoencoders do not need them.
        found = importlib.util.find_spec("overcomplete")
        if found is None:
            return None, None
        package = types.ModuleType("overcomplete")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["overcomplete"] = package
    from overcomplete.sae import TopKSAE, train_sae

    torch.manual_seed(0)
    model = TopKSAE(N, K, top_k=ACTIVE, encoder_module="linear")
    times = []

    def batches():
        for step in range(n_steps + 1):
            times.append(time.perf_counter())
            yield batch(X, step)

    def criterion(x, x_hat, pre_codes, codes, dictionary):
        return (x - x_hat).square().mean() / X.var()

    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4)
    train_sae(model, batches(), criterion, optimiser, nb_epochs=1, monitoring=0)
    return np.diff(times)[WARM:], model


def batch(X, step):
    """Rows of a step, as a normalised tensor."""
    low = step * B % (len(X) - B + 1)
    return torch.from_numpy(X[low : low + B])


def product(X, n_steps):
    """Seconds of the encoder's product alone, with a buffer kept."""
    weights, out = torch.randn(K, N), torch.empty(B, K)
    x, times = batch(X, 0), []
    for _ in range(n_steps):
        start = time.perf_counter()
        torch.mm(x, weights.t(), out=out)
        times.append(time.perf_counter() - start)
    return np.array(times[WARM:]), None


def unexplained(predict, X):
    """FVU of rows already normalised."""
    with torch.no_grad():
        x = torch.from_numpy(X)
        return float((predict(x) - x).square().sum() / (x - x.mean(0)).square().sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no FVU")
    parser.add_argument("--label", help="added to the name of the results file")
    args = parser.parse_args()
    quick = args.quick
    warnings.simplefilter("ignore")
    X = make_sparse_dictionary(20 * B, N, K, ACTIVE, random_state=0).X
    test, X = X[-2 * B :], X[: -2 * B]

    contenders = {
        "encoder product": lambda n: product(X, 3 * n),
        "topk": lambda n: ours(X, "topk", n),
        "abstopk": lambda n: ours(X, "abstopk", n),
        "isae": lambda n: ours(X, "isae", n),
        "isae_me": lambda n: ours(X, "isae_me", max(6, n // 2)),
        "dense PyTorch": lambda n: dense(X, max(6, n // 2)),
        "overcomplete": lambda n: overcomplete(X, max(6, n // 2)),
    }
    seconds = {name: [] for name in contenders}
    for _ in range(2 if quick else 3):
        for name, run in contenders.items():
            times, _model = run(12)
            if times is not None:
                seconds[name].append(np.median(times))
    seconds = {name: float(np.median(t)) for name, t in seconds.items() if t}

    _, sae = ours(X, "topk", 1)
    transform = []
    for _ in range(5):
        start = time.perf_counter()
        sae.transform(test)
        mid = time.perf_counter()
        floor = np.median(product(test, 6)[0]) * len(test) / B
        transform.append((mid - start) / floor)

    claim = f"sae_speed_{args.label}" if args.label else "sae_speed"
    report = Report(claim, f"A step at (B, N, K, k) = {(B, N, K, ACTIVE)}, CPU")
    floor, topk = seconds["encoder product"], seconds["topk"]
    report.table(
        ["contender", "ms a step", "over the encoder product", "over topk"],
        [
            [name, f"{1e3 * s:.1f}", f"{s / floor:.2f}", f"{s / topk:.2f}"]
            for name, s in seconds.items()
        ],
    )
    rate = 2 * B * N * K / floor / 1e9
    report.say(f"The encoder's product runs at {rate:.0f} GFLOP/s.")
    report.bar(
        "dense step over topk", seconds["dense PyTorch"] / topk, 4, at_most=False
    )
    if "overcomplete" in seconds:
        report.bar(
            "overcomplete over topk", seconds["overcomplete"] / topk, 4, at_most=False
        )
    report.bar("topk over the encoder product", topk / floor, 1.6, at_most=True)
    report.bar("isae over topk", seconds["isae"] / topk, 1.3, at_most=True)
    report.bar("isae_me over topk", seconds["isae_me"] / topk, 2.5, at_most=True)
    report.bar(
        "isae_me over the dense step",
        seconds["isae_me"] / seconds["dense PyTorch"],
        1,
        at_most=True,
    )
    report.bar(
        "transform over the encoder product", np.median(transform), 1.2, at_most=True
    )
    if not quick:
        n_steps = 100
        _, sae = ours(X, "topk", n_steps)
        found = {"topk": 1.0 - sae.score(test)}
        found["dense PyTorch"] = unexplained(dense(X, n_steps)[1], test)
        model = overcomplete(X, n_steps)[1]
        if model is not None:
            found["overcomplete"] = unexplained(lambda x: model(x)[2], test)
        report.say()
        report.table(
            [f"FVU after {n_steps} steps on the same rows", ""],
            [[name, f"{value:.4f}"] for name, value in found.items()],
        )
        others = min(value for name, value in found.items() if name != "topk")
        report.bar(
            "FVU of topk over the best other",
            found["topk"] / others,
            1.01,
            at_most=True,
        )
        report.write()


if __name__ == "__main__":
    main()
