"""Memory and speed of a fit on activations that do not fit in memory.

    python benchmarks/bench_sae_out_of_core.py [--quick] [--directory DIR]

Writes 8 GB of float16 rows of 768 features, drops them from the page cache and fits
one epoch in a process of its own, whose memory is sampled from /proc (so Linux only).
The claim: at most 2 GB that are not pages of the mapped file, and the same weights,
to the last bit, from four shards, from one file and from an array in memory.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from _common import Report
from _memory import memory, watched
from skorch.callbacks import Callback

from skident.datasets import make_sparse_dictionary
from skident.decomposition import IdentifiableSAE

N, K, ACTIVE, BATCH = 768, 1024, 16, 2048
CHUNK = 8192
WEIGHTS = ("components_", "encoder_", "intercept_")
# Bytes: the file, its part that is also fitted in memory, the one cut in shards.
FULL, PART, SHARDED = 8e9, 0.8e9, 0.2e9


class Clock(Callback):
    """Seconds that each step takes, and that each batch is waited for."""

    def __init__(self):
        self.steps, self.waits, self.end = [], [], None

    def on_batch_begin(self, net, **kwargs):
        self.begin = time.perf_counter()
        if self.end is not None:
            self.waits.append(self.begin - self.end)

    def on_batch_end(self, net, **kwargs):
        self.end = time.perf_counter()
        self.steps.append(self.end - self.begin)


def autoencoder(**params):
    """The estimator all parts of this benchmark fit."""
    settings = {"variant": "topk", "max_epochs": 1, "batch_size": BATCH}
    return IdentifiableSAE(K, ACTIVE, random_state=0, **(settings | params))


def write_rows(path, n_bytes):
    """Write float16 rows; return how many, and the seconds it took.

    Each chunk is the same sparse rows, with signs of its own and another piece of the
    noise: drawing all anew would take as long as training.
    """
    start = time.perf_counter()
    n_rows = int(n_bytes) // (2 * N)
    rows = make_sparse_dictionary(CHUNK, N, K, ACTIVE, random_state=0).X
    rng = np.random.default_rng(0)
    noise = 0.1 / N**0.5 * rng.standard_normal(2 * rows.size, dtype=np.float32)
    with open(path, "wb") as stream:
        for low in range(0, n_rows, CHUNK):
            chunk = rows * rng.choice(np.float32([-1, 1]), (CHUNK, 1))
            at = rng.integers(rows.size)
            chunk += noise[at : at + rows.size].reshape(rows.shape)
            stream.write(chunk[: n_rows - low].astype(np.float16).tobytes())
        stream.flush()
        os.fsync(stream.fileno())
        # What was just written would else be read from memory.
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return n_rows, time.perf_counter() - start


def child(path, n_rows, in_memory):
    """Fit one epoch and print its figures: what runs in a process of its own."""
    warnings.simplefilter("ignore")
    X = np.memmap(path, dtype=np.float16, mode="r", shape=(n_rows, N))
    if in_memory:
        X = np.array(X)
    # What importing torch takes is there before any row is read.
    before = memory(os.getpid())[0]
    clock = Clock()
    start = time.perf_counter()
    autoencoder(net_params={"callbacks": [("clock", clock)]}).fit(X)
    steps, waits = np.array(clock.steps), np.array(clock.waits)
    figures = {
        "before": before,
        "seconds": time.perf_counter() - start,
        "loop": float(steps.sum() + waits.sum()),
        "waited": float(waits.sum()),
        "longest_wait": float(waits.max()),
        "step": float(np.median(steps)),
        "n_steps": len(steps),
    }
    print(json.dumps(figures))


def run(path, n_rows, in_memory=False):
    """Run :func:`child` in a new process; its figures with the peaks of its memory."""
    flags = ["--in-memory"] if in_memory else []
    figures = watched(__file__, "--child", path, "--rows", n_rows, *flags)
    return figures | {"rate": n_rows / figures["loop"]}


def largest_difference(directory, n_bytes):
    """Largest difference of weights: four shards and one file against an array."""
    path = directory / "small.bin"
    n_rows, _ = write_rows(path, n_bytes)
    whole = np.memmap(path, dtype=np.float16, mode="r", shape=(n_rows, N))
    # Cuts inside blocks of the stream.
    cuts = [0, n_rows // 7, n_rows // 3 + 1, n_rows // 2 + 5, n_rows]
    shards = []
    for i, (low, high) in enumerate(pairwise(cuts)):
        part = directory / f"shard{i}.npy"
        np.save(part, whole[low:high])
        shards.append(np.load(part, mmap_mode="r"))
    # A buffer of a few windows, so that the order on disk is not a plain permutation.
    fits = [
        autoencoder(shuffle_buffer=n_rows // 3, bias_init_samples=5000).fit(X)
        for X in (np.array(whole), whole, shards)
    ]
    return max(
        float(np.abs(getattr(fit, name) - getattr(fits[0], name)).max())
        for fit in fits[1:]
        for name in WEIGHTS
    )


def benchmark(directory, quick):
    """Measure, print, write; return whether a bar was missed."""
    full, part, sharded = (s / 16 if quick else s for s in (FULL, PART, SHARDED))
    report = Report("sae_out_of_core", f"One epoch on a file of {full / 1e9:g} GB")
    path = directory / "rows.bin"
    n_rows, seconds = write_rows(path, full)
    print(f"{n_rows} rows written in {seconds:.0f} s", flush=True)
    n_part = min(n_rows, int(part) // (2 * N))
    found = {"file, whole": (n_rows, run(path, n_rows))}
    found["file, its first part"] = (n_part, run(path, n_part))
    found["that part in memory"] = (n_part, run(path, n_part, in_memory=True))
    path.unlink()
    report.say(
        f"{n_rows} float16 rows, (B, N, K, k) = {(BATCH, N, K, ACTIVE)}, variant topk, "
        "shuffle_buffer 500,000 rows. Own memory is RssAnon + RssShmem; pages of "
        "mapped files (libraries, data) are RssFile."
    )
    report.say()
    header = ["data", "rows", "rows/s", "ms a step", "waiting for data"]
    header += ["longest wait, s", "own peak, GB", "own before fit, GB", "mapped, GB"]
    report.table(
        header,
        [
            [
                name,
                rows,
                f"{f['rate']:.0f}",
                f"{1e3 * f['step']:.1f}",
                f"{f['waited'] / f['loop']:.1%}",
                f"{f['longest_wait']:.2f}",
                f"{f['own'] / 1e9:.2f}",
                f"{f['before'] / 1e9:.2f}",
                f"{f['mapped'] / 1e9:.2f}",
            ]
            for name, (rows, f) in found.items()
        ],
    )
    whole = found["file, whole"][1]
    share = whole["rate"] / found["that part in memory"][1]["rate"]
    report.say(f"The file's rows/s are {share:.2f} times those of rows in memory.")
    report.say()
    report.bar("own memory, GB", whole["own"] / 1e9, 2, at_most=True)
    difference = largest_difference(directory, sharded)
    report.bar(
        "largest difference of weights, shards and file against array",
        difference,
        0,
        at_most=True,
    )
    if not quick:
        report.write()
    return report.failed > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a GB, no results")
    parser.add_argument("--directory", help="where to put the file; default: /tmp")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, args.rows, args.in_memory)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        if shutil.disk_usage(directory).free < 20e9:
            sys.exit(f"{directory} has less than 20 GB left: give another --directory.")
        return benchmark(Path(directory), args.quick)


if __name__ == "__main__":
    sys.exit(main())
