"""What skorch, validation of the feed and callbacks add to a training step.

    python benchmarks/bench_sae_overhead.py [--quick]

Seconds a step inside ``IdentifiableSAE.fit`` over those of a bare torch loop with the
same module, loss, fused Adam, clipping and schedule, on batches sliced from one
tensor. Both alternate in one process; a ratio is the median over rounds of the ratio
of a round's two median steps. The claim: at most 1.4 at each size, on one thread and
on two. Seconds are CPU seconds on one thread, where other work on the machine then
does not count, and those of the clock on more.
"""

import argparse
import sys
import time
import warnings

import numpy as np
import torch
from _common import Report
from skorch.callbacks import Callback

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE
from skident.decomposition._identifiable_sae_net import SparseAutoencoder

# Batch, features, atoms, nonzeros, and steps a round.
SIZES = [
    (512, 64, 256, 5, 100),
    (512, 256, 1024, 16, 40),
    (2048, 768, 4096, 40, 10),
]
WARM = 3
RATE, WARMUP = 3e-4, 100


def now():
    """Seconds, from an arbitrary start."""
    one = torch.get_num_threads() == 1
    return time.process_time() if one else time.perf_counter()


class Clock(Callback):
    """Times at which the batches of a fit begin."""

    def __init__(self, times):
        self.times = times

    def on_batch_begin(self, net, **kwargs):
        self.times.append(now())


def fit_steps(X, size, variant):
    """Seconds of the steps inside ``fit``, and the last step's loss."""
    batch, _, n_atoms, active, n_steps = size
    times = []
    sae = IdentifiableSAE(
        n_atoms,
        active,
        variant=variant,
        max_steps=n_steps + 1,
        batch_size=batch,
        learning_rate=RATE,
        warmup_steps=WARMUP,
        decay_start=1.0,
        bias_init="mean",
        bias_init_samples=5000,
        random_state=0,
        net_params={"callbacks": [("clock", Clock(times))]},
    ).fit(X)
    return np.diff(times)[WARM:], sae.history_["total"][-1]


def bare_steps(X, size, variant):
    """Seconds of the steps of a plain loop, and the last step's loss."""
    batch, n_features, n_atoms, active, n_steps = size
    weights = {"reconstruction": 1.0, "aux": 1 / 32}
    if variant == "isae":
        weights |= {"rip": 0.1, "l1": 0.01}
    torch.manual_seed(0)
    module = SparseAutoencoder(
        n_features,
        n_atoms,
        active,
        variant=variant,
        rip_active=2 * active if variant == "isae" else 0,
        aux_k=n_features // 2,
    )
    rows = torch.from_numpy(X)
    module.initialise(rows[:5000].mean(0), float(rows.var()))
    module.noise = torch.Generator().manual_seed(0)
    parameters = list(module.parameters())
    optimiser = torch.optim.Adam(parameters, lr=RATE, fused=True)
    times = []
    for step in range(n_steps + 1):
        times.append(now())
        low = step * batch % (len(rows) - batch + 1)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        optimiser.zero_grad()
        terms = module(rows[low : low + batch])
        loss = sum(weight * terms[name] for name, weight in weights.items())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        # The module counts the uses of atoms by step.
        module.n_steps += 1
    return np.diff(times)[WARM:], float(loss.detach())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two sizes, two rounds")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    args = parser.parse_args()
    quick = args.quick
    warnings.simplefilter("ignore")
    n_rounds = 2 if quick else 7
    threads_before = torch.get_num_threads()
    report = Report("sae_overhead", "Seconds a step in `fit` over a bare torch loop")
    rows, ratios = [], []
    for size in SIZES[:2] if quick else SIZES:
        batch, n_features, n_atoms, active, _ = size
        X = make_sparse_dictionary(
            20 * batch, n_features, n_atoms, active, random_state=0
        ).X
        for variant in ("topk", "isae"):
            for threads in args.threads:
                torch.set_num_threads(threads)
                found = []
                for _ in range(n_rounds):
                    fit, loss = fit_steps(X, size, variant)
                    bare, bare_loss = bare_steps(X, size, variant)
                    found.append((np.median(fit), np.median(bare)))
                fit, bare = np.median(found, axis=0)
                each = np.array([a / b for a, b in found])
                ratios.append((size[:4], variant, threads, float(np.median(each))))
                rows.append(
                    [
                        size[:4],
                        variant,
                        threads,
                        f"{1e3 * fit:.2f}",
                        f"{1e3 * bare:.2f}",
                        f"{1e3 * (fit - bare):.2f}",
                        f"{np.median(each):.2f}",
                        f"{each.min():.2f} to {each.max():.2f}",
                        f"{loss:.3f}, {bare_loss:.3f}",
                    ]
                )
                print(*rows[-1], flush=True)
    torch.set_num_threads(threads_before)
    header = ["(B, N, K, k)", "variant", "threads", "ms in fit", "ms bare"]
    header += ["difference", "ratio", "over rounds", "last losses"]
    report.table(header, rows)
    report.say(
        f"{n_rounds} alternating rounds. The last losses of both loops show that they "
        "do the same work, on the same rows in another order."
    )
    report.say()
    for size, variant, threads, ratio in ratios:
        report.bar(
            f"fit over the bare loop, {variant}, {size}, {threads} thread(s)",
            ratio,
            1.4,
            at_most=True,
        )
    if not quick:
        report.write()
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
