"""Equal seconds, equal rows: IdentifiableSAE, overcomplete, dictionary learning.

    python benchmarks/bench_sae_peers.py small|medium [--quick] [--seconds 60]

Every contender gets the same rows, one thread and the same CPU seconds (those of the
clock on a free core, and fair on a busy one), twice with another seed; then as many
rows as the slowest one got through, and a fixed number. The claim: trained for equal
seconds, the codes and the dictionary of "isae" come back from seed to seed at least as
well as those of every peer.

How each is set up stands in _peers.py; overcomplete (requirements/bench.txt) is left
out where it is missing.
"""

import argparse
import sys
import time
import warnings

import numpy as np
import torch
from _common import Report
from _peers import BATCH, RATE, Budget, contenders
from scipy import sparse
from threadpoolctl import threadpool_limits

from skident.datasets import make_sparse_dictionary
from skident.metrics import code_stability, dictionary_cosine_similarity, match_atoms

SIZES = {"small": (64, 256, 5), "medium": (256, 1024, 16)}
# Rows to train on, and how many of them all gradient methods are compared at.
N_ROWS = {"small": 1_000_000, "medium": 500_000}
N_SAME = {"small": 500_000, "medium": 100_000}
N_TEST = 4000
COLUMNS = ["FVU", "DCS", "IoU", "true", "rows/s", "transform rows/s", "rows seen"]
COLUMNS += ["seconds"]


def unexplained(fit, codes, X):
    """FVU of held-out rows."""
    residual = codes @ fit.atoms + fit.bias - X
    return float(np.square(residual).sum() / np.square(X - X.mean(axis=0)).sum())


def measure(train, X, test, truth, size, seconds):
    """Scores of a contender over two seeds."""
    pair, found = [], []
    for seed in range(2):
        start = time.process_time()
        fit = train(X, size, seed, Budget(seconds=seconds))
        trained = time.process_time()
        codes = fit.transform(test)
        ended = time.process_time()
        pair.append((fit.atoms, sparse.csr_matrix(codes)))
        found.append(
            {
                "FVU": unexplained(fit, codes, test),
                "true": dictionary_cosine_similarity(truth, fit.atoms),
                "rows seen": fit.n_seen,
                "seconds": trained - start,
                "rows/s": fit.n_seen / (trained - start),
                "transform rows/s": len(test) / (ended - trained),
            }
        )
    (atoms_a, codes_a), (atoms_b, codes_b) = pair
    match = match_atoms(atoms_a, atoms_b)
    mean = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
    mean["DCS"] = dictionary_cosine_similarity(atoms_a, atoms_b, match)
    mean["IoU"] = code_stability(codes_a, codes_b, match, random_state=0)["iou"]
    return mean


def compare(name, seconds, n_same, report):
    """All contenders at one size: two tables and the bars."""
    size = SIZES[name]
    data = make_sparse_dictionary(N_ROWS[name] + N_TEST, *size, random_state=42)
    X, test, truth = data.X[:-N_TEST], data.X[-N_TEST:], data.dictionary
    trainers, found = contenders(), {}
    for who, train in trainers.items():
        found[who] = measure(train, X, test, truth, size, seconds)
        print(who, found[who], flush=True)
    report.table(
        ["contender", *COLUMNS],
        [
            [who, *(f"{f[c]:.0f}" if f[c] > 100 else f"{f[c]:.3f}" for c in COLUMNS)]
            for who, f in found.items()
        ],
    )
    fewest = round(min(f["rows seen"] for f in found.values()) / BATCH)
    budgets, table = [fewest, n_same // BATCH], []
    for who, train in trainers.items():
        table.append([who])
        for n_steps in budgets:
            # So many rows would take dictionary learning an hour.
            if who == "dictionary learning" and n_steps > 2 * fewest:
                table[-1].append("-")
                continue
            fit = train(X, size, 0, Budget(n_steps=n_steps))
            table[-1].append(f"{unexplained(fit, fit.transform(test), test):.3f}")
    report.table(["FVU after", *(f"{n * BATCH} rows" for n in budgets)], table)
    best = {c: max(found, key=lambda w, c=c: found[w][c]) for c in COLUMNS[1:6]}
    best = {"FVU": min(found, key=lambda w: found[w]["FVU"])} | best
    told = ", ".join(f"{column} {who}" for column, who in best.items())
    report.say(f"Best in the same time: {told}.")
    if "overcomplete" in found:
        ratio = found["topk"]["rows/s"] / found["overcomplete"]["rows/s"]
        report.say(f"topk trains on {ratio:.2f} times as many rows/s as overcomplete.")
    report.say()
    for score in ("IoU", "DCS"):
        for peer in ("overcomplete", "dictionary learning"):
            if peer in found:
                gap = found["isae"][score] - found[peer][score]
                report.bar(f"{score} of isae minus {peer}", gap, 0, at_most=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--quick", action="store_true", help="3 s each, no results")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seconds = 3 if args.quick else args.seconds
    report = Report(
        f"sae_peers_{args.size}",
        f"Peers in {seconds:g} s on one thread, (N, K, k) = {SIZES[args.size]}",
    )
    report.say(
        f"{N_ROWS[args.size]} rows, batches of {BATCH}, learning rate {RATE:g}; scores "
        f"on {N_TEST} held-out rows. DCS and IoU compare two seeds, the rest is their "
        'mean; "true" is the cosine of true atoms and their matches. Seconds are CPU '
        "seconds."
    )
    report.say()
    with threadpool_limits(1):
        compare(args.size, seconds, 20_000 if args.quick else N_SAME[args.size], report)
    if not args.quick:
        report.write()
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
