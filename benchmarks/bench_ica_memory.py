"""Memory that ICAPostProcessor takes on a memory map of a GB.

    python benchmarks/bench_ica_memory.py [--quick] [--directory DIR]

Writes float32 rows of 256 features, mixed from independent Laplace sources, and fits
them in processes of their own, whose memory is sampled from /proc (so Linux only). The
claim: streamed with ``partial_fit``, at most twice a chunk and some matrices of k^2
numbers beside what the process held before, whatever the number of rows; and ``fit``
on the map itself does not copy it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _common import Report
from _memory import memory, watched

from skident.decomposition import ICAPostProcessor
from skident.metrics import match_components

K = 256
N_ROWS, FEW_ROWS = 1_000_000, 250_000
CHUNK = 65_536
# Float64 matrices of k^2 numbers in the state and in the work of an update.
N_MATRICES = 32
WAYS = {"partial_fit": "in chunks, by partial_fit", "fit": "the map itself, by fit"}


def sources(rng, n_rows):
    return rng.laplace(size=(n_rows, K)).astype(np.float32)


def mixing():
    return np.random.default_rng(0).standard_normal((K, K)).astype(np.float32)


def write_rows(path, n_rows):
    """Write rows of one mixture, chunk by chunk."""
    rng, A = np.random.default_rng(1), mixing()
    with open(path, "wb") as stream:
        for low in range(0, n_rows, CHUNK):
            stream.write((sources(rng, min(CHUNK, n_rows - low)) @ A.T).tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def child(path, n_rows, way):
    """Fit, and print memory before it, seconds and the match with the sources."""
    warnings.simplefilter("ignore")
    X = np.memmap(path, dtype=np.float32, mode="r", shape=(n_rows, K))
    model = ICAPostProcessor(random_state=0)
    # A small fit first: what libraries keep is there before any row is read.
    ICAPostProcessor(random_state=0).partial_fit(np.eye(3).repeat(9, axis=0))
    before = memory(os.getpid())[0]
    start = time.perf_counter()
    if way == "fit":
        model.fit(X)
    else:
        for low in range(0, n_rows, CHUNK):
            model.partial_fit(X[low : low + CHUNK])
    seconds = time.perf_counter() - start
    S = sources(np.random.default_rng(2), 20_000)
    found = model.transform(S @ mixing().T)
    match = float(np.mean(match_components(S, found).correlations))
    print(json.dumps({"before": before, "seconds": seconds, "match": match}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows, no results")
    parser.add_argument("--directory", help="where to put the file; default: /tmp")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, args.rows, args.way)
    report = Report("ica_memory", "Independent components of a memory map")
    few, many = (25_000, 100_000) if args.quick else (FEW_ROWS, N_ROWS)
    rows, taken = [], {}
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        path = Path(directory) / "rows.bin"
        write_rows(path, many)
        for way, name in WAYS.items():
            for n_rows in (few, many):
                found = watched(
                    __file__, "--child", path, "--rows", n_rows, "--way", way
                )
                taken[way, n_rows] = found["own"] - found["before"]
                rows.append(
                    [
                        name,
                        f"{n_rows:,}",
                        f"{n_rows * K * 4 / 1e6:.0f}",
                        f"{taken[way, n_rows] / 1e6:.0f}",
                        f"{found['before'] / 1e6:.0f}",
                        f"{found['mapped'] / 1e6:.0f}",
                        f"{found['seconds']:.0f}",
                        f"{found['match']:.4f}",
                    ]
                )
    chunk, state = CHUNK * K * 4, N_MATRICES * 8 * K**2
    report.say(
        f"float32 rows of {K} features; a chunk of {CHUNK:,} rows is {chunk / 1e6:.0f} "
        f"MB, {N_MATRICES} matrices of k^2 numbers are {state / 1e6:.0f} MB. Own "
        f"memory is RssAnon + RssShmem; pages of mapped files are RssFile."
    )
    report.say()
    report.table(
        ["how", "rows", "data, MB", "own peak above start, MB", "own at start, MB"]
        + ["mapped, MB", "seconds", "mean correlation with the sources"],
        rows,
    )
    report.bar(
        "own memory of partial_fit above the start, MB",
        taken["partial_fit", many] / 1e6,
        round((2 * chunk + state) / 1e6),
        at_most=True,
    )
    report.bar(
        f"the same, {many:,} rows over {few:,}",
        taken["partial_fit", many] / taken["partial_fit", few],
        1.2,
        at_most=True,
    )
    report.bar(
        "own memory of fit above the start, over the data",
        taken["fit", many] / (many * K * 4),
        0.5,
        at_most=True,
    )
    if not args.quick:
        report.write()


if __name__ == "__main__":
    sys.exit(main())
